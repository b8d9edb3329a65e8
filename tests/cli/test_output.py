"""What the command prints: tables that fit, no control characters, colours where they are wanted; and what it loads."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import COMMAND, Terminal, environment
from triggerflow import TriggerFlow
from triggerflow.cli.looking import replacing
from triggerflow.cli.places import without_password
from triggerflow.cli.printing import age
from triggerflow.cli.values import described, kinds_of, moment_of, seconds_of, value_of
from triggerflow.stores import SQLiteStore
from triggerflow.terminal import safe

HOSTILE = """
from triggerflow import TriggerFlow

flow = TriggerFlow("hostile")


async def say(data):
    await data.async_put_into_stream("red \\x1b[31m and \\x9b31m and \\u202egnorw")
    data.state.set("key\\x1b]0;title\\x07", "\\x1b[2J")
    raise ValueError("cleared \\x1b[2J\\nsecond line")


flow.to(say).end()
"""

FILL = """
from hostile import flow
from triggerflow.stores import SQLiteStore

with SQLiteStore("runs.db") as store:
    try:
        flow.create_execution(store=store, id="one\x1b[2J").start()
    except ValueError:
        pass
"""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0.0s"), (3.9, "3.9s"), (60, "1m 00s"), (7265, "2h 01m")])
def test_an_age_is_a_duration(seconds: float, text: str) -> None:
    assert age(1000.0, 1000.0 + seconds) == text
    assert not seconds or age(1000.0 + seconds, 1000.0) == f"in {text}"


def test_texts_are_cut_by_the_columns_they_take() -> None:
    assert (safe.width("abc"), safe.width("日本"), safe.width("e\u0301")) == (3, 4, 1)
    assert (safe.cut("abcdef", 4), safe.cut("日本語", 4), safe.cut("abc", 3)) == ("abc…", "日…", "abc")
    assert safe.cut("日" * 4_000_000, 4) == "日…"  # a value may be as large as a store takes


@pytest.mark.parametrize("text", ["a" * 5_000_000, "日" * 1_000_000])
def test_a_long_text_is_cut_as_fast_as_it_is_read(text: str) -> None:
    assert 19 <= safe.width(safe.cut(text, 20)) <= 20


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:se/cret@host/db#s", "postgresql://me@host/db#s"),
        ("postgresql://host:54/db?a=1&password=secret#s", "postgresql://host:54/db?a=1&password=#s"),
        ("runs.db", "runs.db"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    with replacing(str(file)) as written:
        written.write(b"old")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with replacing(str(file)) as written:
        written.write(b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)


def test_values_are_json_or_what_the_schema_says() -> None:
    text, number, anything = {"type": "string"}, {"type": "integer"}, {}
    assert value_of("sails", anything, "VALUE") == "sails"
    assert value_of("7", anything, "VALUE") == 7
    assert value_of("7", text, "VALUE") == "7"
    assert value_of('"7"', text, "VALUE") == "7"
    assert value_of("[1", text, "VALUE") == "[1"
    assert value_of("7", number, "VALUE") == 7
    assert value_of("", anything, "VALUE") == ""
    assert kinds_of(
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}, {"$defs": {"A": {"type": "string"}}}
    ) == {"string"}
    assert kinds_of({"anyOf": [{"type": "string"}, {"type": "null"}]}, {}) == {"string", "null"}
    endless = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}}}
    assert kinds_of(endless, endless) == {"null"}
    two = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}}
    assert "object" in kinds_of(two, two)
    assert described({"enum": ["yes", "no"]}) == '"yes" | "no"'
    assert described({"type": "object", "properties": {"a": {}, "b": {}}}) == "object {a, b}"


def test_times_are_ages_or_moments() -> None:
    assert (seconds_of("90", "x"), seconds_of("2h", "x"), seconds_of("1.5 min", "x")) == (90, 7200, 90)
    assert moment_of("2h", "x", 10_000.0) == 2_800
    assert moment_of("2026-11-30T14:00+00:00", "x", 0.0) == 1796047200


def test_what_a_store_holds_does_not_drive_the_terminal(terminal: Terminal) -> None:
    (terminal.folder / "hostile.py").write_text(HOSTILE)
    (terminal.folder / "fill.py").write_text(FILL)
    place = ("--store", "runs.db")
    subprocess.run([sys.executable, "fill.py"], cwd=terminal.folder, env=environment(), check=True, timeout=120)
    said = [terminal("run", "hostile.py", "--id", "two", *place, code=1)]
    said.append(terminal("run", "hostile.py", "--id", "two\x1b[2J", *place, code=2))
    for verb in ("runs", "show one", "stream one", "frames one", "open runs.db", "runs --json", "show one --json"):
        words = verb.split()
        said.append(terminal(*words, *(place if words[0] != "open" else ())))
    for it in said:
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(it.out + it.err)


def test_tables_fit_the_terminal(terminal: Terminal) -> None:
    place = ("--store", "runs.db")
    long = "a topic with many words " * 10
    terminal(
        "run", "report.py:flow", long, "--id", "report-with-a-rather-long-id", "--label", f"t={long}", *place, code=5
    )
    for width in ("60", "80", "160"):
        for verb in ("runs", "questions", "open"):
            words = ["open", "runs.db"] if verb == "open" else [verb, *place]
            lines = terminal(*words, COLUMNS=width).out.splitlines()
            assert max(map(safe.width, lines)) <= int(width)
            assert width == "160" or any("…" in line for line in lines)
    assert long.strip() in terminal("runs", *place).out


def on_a_terminal(folder: Path, *arguments: str, typed: bytes = b"", code: int = 0, **more: str) -> str:
    """What a command prints on a terminal, where a person types this as soon as it asks."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(TERM="xterm", **more),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            seen += piece
            if typed and seen.rstrip().endswith(b">"):
                line, _, typed = typed.partition(b"\n")
                os.write(ours, line + b"\n")
    finally:
        process.kill() if process.poll() is None and not seen else None
        found = process.wait(60)
        os.close(ours)
    assert found == code, seen
    return seen.decode()


on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


@on_posix
def test_colours_are_for_terminals_that_want_them(terminal: Terminal) -> None:
    terminal("run", "report.py:flow", "sails", "--store", "runs.db", code=5)
    words = ("runs", "--store", "runs.db")
    assert "\x1b[33mwaiting" in on_a_terminal(terminal.folder, *words)
    assert "\x1b" not in on_a_terminal(terminal.folder, *words, NO_COLOR="1")
    assert "\x1b" not in terminal(*words).out


@on_posix
@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", [(), ("--store", "runs.db")], ids=["in memory", "in a store"])
def test_a_question_is_answered_at_the_terminal(terminal: Terminal, place: tuple[str, ...]) -> None:
    seen = on_a_terminal(terminal.folder, "run", "report.py:flow", "sails", *place, typed=b"maybe\ntrue\n")
    assert "asks approve" in seen
    assert seen.count("answer (") == 2
    assert "sails: True" in seen
    left = on_a_terminal(terminal.folder, "run", "report.py:flow", "sails", *place, typed=b"\n", code=5)
    assert "approve" in left


async def test_schedules_are_listed(terminal: Terminal) -> None:
    flow = TriggerFlow("nightly report")

    async def same(data):
        return data.value

    flow.to(same).end()
    async with SQLiteStore(terminal.folder / "runs.db") as store:
        await flow.async_schedule("nightly", cron="0 2 * * *", store=store)
        await flow.async_schedule("often", every=90, paused=True, store=store)
    listed = terminal("schedules", "--store", "runs.db").out.splitlines()
    assert [line.split()[0] for line in listed] == ["ID", "nightly", "often"]
    assert "0 2 * * * UTC" in listed[1]
    assert "every 90 s" in listed[2]
    assert "paused" in listed[2]
    found = json.loads(terminal("schedules", "--store", "runs.db", "--json").out)
    assert [(it["id"], it["every"], it["paused"]) for it in found] == [("nightly", None, False), ("often", 90, True)]


def test_help_and_reading_load_only_what_they_need(terminal: Terminal) -> None:
    heavy = ("sqlite3", "psycopg", "starlette", "uvicorn", "httpx2", "textual", "opentelemetry", "triggerflow.durable")
    script = (
        "import sys; from triggerflow.cli.command import command; code = command(sys.argv[1:]);"
        f"print([it for it in {heavy!r} if it in sys.modules], file=sys.stderr)"
    )

    def loaded(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=terminal.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stderr.splitlines()[-1]

    assert loaded("--help") == "[]"
    assert loaded("runs", "--help") == "[]"
    terminal("run", "report.py:typed", "1", "--detach", "--store", "runs.db")
    assert loaded("runs", "--store", "runs.db") == "['sqlite3', 'triggerflow.durable']"


def test_shells_get_their_completion(terminal: Terminal) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "triggerflow" in terminal("completion", shell).out
    assert json.loads(terminal("graph", "report.py:flow", "--json").out)["flow"] == "report"
    assert terminal("--version").out.strip()
