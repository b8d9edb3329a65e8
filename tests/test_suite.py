"""What `make test`, `make soak` and `make services` promise to those who write tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

TESTS = """
import pytest
from hypothesis import given, strategies as st
from tests import soak

def test_plain(): ...

@pytest.mark.parametrize("case", soak.cases([1, 2, 3], some=[2]))
def test_cases(case): ...

@pytest.mark.seeds(2, 5)
def test_seeds(seed): print("seed", seed)

@given(st.integers())
def test_examples(number): print("number", number)

@soak.examples(10)
@given(st.integers())
def test_own_examples(number): print("own", number)

@pytest.mark.needs("strace")
def test_needs(): ...
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_it.py").write_text(TESTS)
    (folder / "failing.py").write_text(TESTS.replace('print("seed", seed)', "assert seed > 10**9"))
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return folder


def run(suite: Path, *arguments: str, **environment: str) -> str:
    """What pytest prints for the tests above."""
    plugins = ["-p", "tests.soak", "-p", "tests.services", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "TRIGGERFLOW_EXAMPLES")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-vs", *plugins, *arguments],
        cwd=suite,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def soaked(suite: Path) -> str:
    """What a whole soak with seed 7 prints."""
    return run(suite, "--soak", "--soak-seed", "7")


def names(printed: str) -> list[str]:
    """The tests that have run, in their order."""
    return re.findall(r"^test_it\.py::(\S+)", printed, re.MULTILINE)


def test_each_case_runs_in_the_one_or_in_the_other(suite: Path, soaked: str) -> None:
    usual, soak = names(run(suite)), names(soaked)
    assert usual == ["test_plain", "test_cases[2]", "test_seeds[0]", "test_seeds[1]", "test_examples",
                     "test_own_examples", "test_needs"]  # fmt: skip
    assert {name for name in soak if "seeds" not in name} == {
        "test_cases[1]", "test_cases[3]", "test_examples", "test_own_examples"
    }  # fmt: skip
    assert len([name for name in soak if "seeds" in name]) == 5


def test_a_soak_is_repeated_by_its_seed(suite: Path, soaked: str) -> None:
    """The same tests in the same order with the same input; another seed has another order and input."""
    again, other = (run(suite, "--soak", "--soak-seed", seed) for seed in ("7", "8"))

    def drawn(printed: str) -> list[str]:
        return [line for line in printed.splitlines() if "seed " in line or "number " in line or "own " in line]

    assert names(soaked) == names(again) != names(other)
    assert drawn(soaked) == drawn(again) != drawn(other)
    assert sum("own " in line for line in drawn(soaked)) > 10 * 10
    assert "make soak SEED=7" in soaked


def test_slices_of_a_soak_are_parts_of_it(suite: Path, soaked: str) -> None:
    whole = set(names(soaked))
    assert set(names(run(suite, "--soak", "--soak-seed", "7", "--soak-slice", "3"))) < whole
    late = run(suite, "--soak", "--soak-seed", "7", "--soak-minutes", "1e-9")
    assert f"{len(whole)} tests were left out" in late


def test_a_failed_soak_prints_what_repeats_it(suite: Path) -> None:
    printed = run(suite, "--soak", "--soak-seed", "7", "-k", "seeds", "failing.py")
    assert "-m pytest --soak --soak-seed 7 'failing.py::test_seeds[" in printed


def test_what_a_test_needs_is_skipped_or_fails_where_ci_is_set(suite: Path) -> None:
    printed = run(suite, "-k", "needs", PATH=str(suite))
    assert "1 skipped" in printed
    assert "1 tests were skipped, `make services`" in printed
    printed = run(suite, "-k", "needs", PATH=str(suite), CI="true")
    assert "1 error" in printed
    assert "strace is missing: run `make services`" in printed
