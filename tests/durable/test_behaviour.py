"""Law 6: the whole behaviour suite passes with a store behind every flow; `every_flow.py` says how.

`TRIGGERFLOW_TEST_STORE=sqlite pytest tests/test_contract_pause.py` runs one file of it by hand.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What an execution does, as opposed to how a flow is written, drawn, saved to a file or exported.
NAMES = ["contract_*", "defects", "error_routes", "external", "faults", "misuse", "playbook", "policies", "provisional",
         "sub_flow", "sync_api", "time", "timers", "typed"]  # fmt: skip
FILES = sorted(str(path.relative_to(ROOT)) for name in NAMES for path in (ROOT / "tests").glob(f"test_{name}.py"))

#: In `make test` all run with the store that is cheapest, in two parts for its two processes, and those that exercise a
#: store most run with SQLite. `make soak` has all files with all stores, one by one.
PARTS = [
    pytest.param("memory", FILES[::2], id="memory-first"),
    pytest.param("memory", FILES[1::2], id="memory-second"),
    pytest.param("sqlite", ["tests/test_contract_pause.py", "tests/test_sub_flow.py"], id="sqlite-some"),
    *(
        pytest.param(store, [file], id=f"{store}-{Path(file).stem}", marks=pytest.mark.soak)
        for store in ("memory", "sqlite")
        for file in FILES
    ),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("store", "files"), PARTS)
def test_the_behaviour_suite_passes_with_a_store(store: str, files: list[str]) -> None:
    """ "The whole behaviour suite passes on memory, SQLite"."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", *files],
        cwd=ROOT,
        env={**os.environ, "TRIGGERFLOW_TEST_STORE": store},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
