"""Folders and places for the command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import Terminal
from tests.postgres import USER, shared_cluster


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A folder with `report.py`, and no store yet."""
    return Terminal(tmp_path)


@pytest.fixture(params=["file", pytest.param("postgres", marks=pytest.mark.needs("postgres")), "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Terminal]]:
    """A store file, a database, and a server, with a terminal whose environment names it."""
    if request.param == "file":
        yield "file", Terminal(tmp_path, TRIGGERFLOW_STORE="runs.db")
    elif request.param == "postgres":
        cluster = shared_cluster()
        yield (
            "postgres",
            Terminal(
                tmp_path,
                TRIGGERFLOW_STORE=f"postgresql://{USER}@{cluster.host}:{cluster.port}/postgres#{cluster.schema()}",
            ),
        )
    else:
        serving = Terminal(tmp_path)
        secret = serving("token", "me", "--tokens", "tokens.json", "--act").out.strip()
        command = ("serve", "report.py:flow", "report.py:slow", "report.py:typed", "--store", "runs.db", "--port", "0")
        with serving.running(*command, "--tokens", "tokens.json", until="serving") as process:
            address = process.begin.split(" at ")[1].split(",")[0]  # type: ignore[attr-defined]
            yield "url", Terminal(tmp_path, TRIGGERFLOW_STORE=address, TRIGGERFLOW_TOKEN=secret)
