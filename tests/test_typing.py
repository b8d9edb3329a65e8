"""The public types: each mistake in `typing/mistakes.py` is found by pyright and by mypy, and nothing else is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MISTAKES = ROOT / "tests" / "typing" / "mistakes.py"


def pyright() -> set[int]:
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(MISTAKES)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    found = json.loads(run.stdout)["generalDiagnostics"]
    return {it["range"]["start"]["line"] + 1 for it in found if it["file"].endswith(MISTAKES.name)}


def mypy() -> set[int]:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-incremental", str(MISTAKES)],
        capture_output=True, text=True, check=False, cwd=ROOT, env={"MYPYPATH": str(ROOT / "src"), "PATH": ""},
    )  # fmt: skip
    found = set(re.findall(rf"{MISTAKES.name}:(\d+): error:", run.stdout))
    assert found, run.stdout + run.stderr
    return {int(line) for line in found}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", [pyright, mypy])
def test_a_type_checker_finds_each_mistake_and_nothing_else(checker: object) -> None:
    assert callable(checker)
    pytest.importorskip(getattr(checker, "__name__", ""))
    lines = MISTAKES.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) >= 12
    assert checker() == wrong
