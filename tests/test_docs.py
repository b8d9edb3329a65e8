"""The documents tell the truth: their Python runs and prints what they say, their paths and links are there.

A block runs by itself, in a fresh interpreter where warnings are errors. `<!-- continues -->` on the line before it
says that it goes on from the block above. A `text` block right after it is exactly what it prints. A `mermaid` block
right after it is the drawing of its `flow`.

A `console` block is a shell in a folder: what `$ ` begins is run, and what follows it is what it prints, with any times
and random ids. All `console` blocks of a page go on from each other. `<!-- file: NAME -->` before a Python block puts
it into their folder.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

BLOCK = re.compile(
    r"(?P<continues><!-- continues -->\n)?^```python\n(?P<code>.*?)^```\n"
    r"(?:```mermaid\n(?P<drawing>.*?)^```\n)?(?:```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]+)(?:#[^)]*)?\)")
CODE_SPAN = re.compile(r"`(?P<text>[\w./-]+)`")
SESSION = re.compile(
    r"<!-- file: (?P<file>\S+) -->\n```python\n(?P<code>.*?)^```\n|^```console\n(?P<console>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)
#: What differs from run to run: spans and moments of time, and random ids.
VARYING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "MOMENT"),
    (re.compile(r"\b(\d+(\.\d)?s|\d+[mhd] \d+[smh])\b"), "SPAN"),
    (re.compile(r"\b\d+\.\d+\b"), "NUMBER"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "ID"),
    (re.compile(r" +"), " "),
)
SEPARATOR = "-- the block itself --"


class Block(NamedTuple):
    """A Python block, after those it continues."""

    before: str
    code: str
    output: str | None
    drawing: str | None


def blocks(page: Path) -> list[tuple[int, Block]]:
    """The Python blocks of a page, by line number."""
    text = page.read_text(encoding="utf-8")
    found: list[tuple[int, Block]] = []
    for match in BLOCK.finditer(text):
        before = ""
        if match["continues"]:
            previous = found[-1][1]
            before = previous.before + previous.code
        line = text.count("\n", 0, match.start("code"))
        found.append((line, Block(before, match["code"], match["output"], match["drawing"])))
    return found


def run(*arguments: str, cwd: Path = ROOT) -> str:
    """What a fresh, strict interpreter prints; it must neither fail nor complain."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=cwd, capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


RUNNABLE = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{line}") for page in PAGES for line, block in blocks(page)
]


@pytest.mark.parametrize("block", RUNNABLE)
def test_block_runs_and_prints_what_the_page_says(block: Block, tmp_path: Path) -> None:
    printed = run("-c", f"{block.before}\nprint({SEPARATOR!r})\n{block.code}", cwd=tmp_path)
    if block.output is not None:
        assert printed.partition(f"{SEPARATOR}\n")[2] == block.output


@pytest.mark.parametrize("block", [it for it in RUNNABLE if it.values[0].drawing is not None])
def test_a_drawing_is_that_of_the_flow(block: Block, tmp_path: Path) -> None:
    draw = "from triggerflow.diagram import to_mermaid\nprint(to_mermaid(flow.definition), end='')"
    printed = run("-c", f"{block.before}\n{block.code}\nprint({SEPARATOR!r})\n{draw}", cwd=tmp_path)
    assert printed.partition(f"{SEPARATOR}\n")[2].strip() == (block.drawing or "").strip()


def comparable(text: str) -> list[str]:
    """The lines of an output without what differs from run to run."""
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [it for it in PAGES if "```console" in it.read_text("utf-8")], ids=lambda it: it.name)
def test_a_session_in_a_shell_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "triggerflow"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m triggerflow.cli "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    kept = {name: it for name, it in os.environ.items() if not name.startswith(("TRIGGERFLOW_", "COLUMNS"))}
    settings = {**kept, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    for block in SESSION.finditer(page.read_text(encoding="utf-8")):
        if block["file"]:
            (folder / block["file"]).write_text(block["code"], encoding="utf-8")
            continue
        for step in block["console"].removeprefix("$ ").split("\n$ "):
            command, _, expected = step.partition("\n")
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                settings[name] = value
                continue
            done = subprocess.run(
                ["bash", "-c", f"{command} 2>&1"], cwd=folder, env=settings, capture_output=True, text=True, timeout=60
            )
            assert comparable(done.stdout) == comparable(expected), command


def test_the_first_program_of_the_readme_is_among_the_blocks() -> None:
    assert any("get_async_runtime_stream" in block.code for _, block in blocks(ROOT / "README.md"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(example: Path) -> None:
    assert run(str(example))
    assert f"({example.name})" in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_pattern_of_instant_dispatch_takes_at_most_15_lines() -> None:
    _, block = blocks(ROOT / "docs" / "models.md")[0]
    assert '.fields("' in block.code
    assert len([line for line in block.code.splitlines() if line]) <= 15


def test_paths_in_the_architecture_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    spans = {match["text"] for match in CODE_SPAN.finditer(text)}
    paths = {span for span in spans if "/" in span or span.endswith((".py", ".md", ".toml"))}
    roots = (ROOT, ROOT / "src" / "triggerflow", ROOT / "bridge" / "agently" / "src" / "agently")
    assert len(paths) > 10
    assert [path for path in sorted(paths) if not any((root / path).exists() for root in roots)] == []


def test_every_decision_is_listed() -> None:
    """`docs/decisions/README.md` names every record there is."""
    folder = Path(__file__).parent.parent / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    missing = [path.name for path in folder.glob("*.md") if path.name != "README.md" and f"({path.name})" not in listed]
    assert not missing
