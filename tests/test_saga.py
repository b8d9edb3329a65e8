"""`examples/saga`: each command in a process of its own, over one store."""

import subprocess
import sys
from pathlib import Path

import pytest

SAGA = Path(__file__).parent.parent / "examples" / "saga" / "main.py"
ASKED = ["done: reserve", "asked: the card for a kite was declined"]


def run(*arguments: str | Path) -> list[str]:
    finished = subprocess.run(
        [sys.executable, SAGA, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_a_good_card_ships(tmp_path: Path) -> None:
    assert run("start", tmp_path / "orders.db", "good") == [
        "done: reserve",
        "done: charge",
        "done: ship",
        "shipped a kite",
    ]


def test_a_carrier_that_fails_undoes_the_charge_and_the_reservation(tmp_path: Path) -> None:
    assert run("start", tmp_path / "orders.db", "good", "broken")[2:] == [
        "undone: refund the card",
        "undone: release the article",
        "cancelled, because the carrier takes no parcels; undone: refund the card, release the article",
    ]


@pytest.mark.parametrize(
    ("answer", "carrier", "then"),
    [
        ("yes", "fine", ["done: charge the account", "done: ship", "shipped a kite"]),
        (
            "no",
            "fine",
            [
                "undone: release the article",
                "cancelled, because nobody pays for the order; undone: release the article",
            ],
        ),
        (
            "yes",
            "broken",
            [
                "done: charge the account",
                "undone: credit the account",
                "undone: release the article",
                "cancelled, because the carrier takes no parcels; undone: credit the account, release the article",
            ],
        ),
    ],
)
def test_a_declined_card_is_decided_by_a_person_in_another_process(
    answer: str, carrier: str, then: list[str], tmp_path: Path
) -> None:
    """Goods are never shipped after the card was declined, unless the person agrees; and a later failure is undone."""
    assert run("start", tmp_path / "orders.db", "declined", carrier) == ASKED
    assert run("answer", tmp_path / "orders.db", answer) == then
