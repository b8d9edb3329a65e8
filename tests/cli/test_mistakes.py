"""Each mistake gets one line that says what, where and what next, and its exit code."""

import asyncio
import gzip
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.command_line import REPORT, environment
from triggerflow import TriggerFlow
from triggerflow.cli.command import command
from triggerflow.stores import SQLiteStore

V1 = Path(__file__).parent.parent / "stored" / "v1" / "store.sqlite.gz"

Run = Callable[..., tuple[int, str, str]]


async def fill(path: Path) -> None:
    """A store with a report that asks, one that has ended, and one that has failed."""
    names: dict[str, object] = {}
    exec(compile(REPORT, "report.py", "exec"), names)  # noqa: S102 - the text is above
    flow = names["flow"]
    assert isinstance(flow, TriggerFlow)
    async with SQLiteStore(path) as store:
        for id, answer in (("report-1", None), ("report-2", True), ("report-3", False)):
            execution = flow.create_execution(id=id, store=store, labels={"team": "space"})
            await execution.async_begin("sails")
            await execution.async_settled()
            if answer is not None:
                await execution.async_continue_with("approve", answer)
                await asyncio.wait([asyncio.ensure_future(execution.async_get_result())])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with that store, which no test changes."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "report.py").write_text(REPORT)
    (folder / "empty.py").write_text("x = 1\n")
    (folder / "broken.py").write_text("import nothing_of_that_name\n")
    (folder / "raises.py").write_text("\n\n1 / 0\n")
    (folder / "text.txt").write_text("no store\n" * 1000)
    (folder / "tokens.json").write_text("{")
    (folder / "report.jsonl").write_text('{"line":"triggerflow-execution","format":1,"id":"report-1","executions":1}\n')
    logger = logging.getLogger("triggerflow")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # the failure of report-3
    asyncio.run(fill(folder / "runs.db"))
    logger.setLevel(level)
    with closing(sqlite3.connect(folder / "newer.db")) as newer, closing(sqlite3.connect(folder / "runs.db")) as store:
        store.backup(newer)
        newer.execute("PRAGMA user_version = 99")
    (folder / "older.db").write_bytes(gzip.decompress(V1.read_bytes()))
    return folder


@pytest.fixture
def run(filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command in that folder; the result is the exit code, the output and the errors."""
    monkeypatch.chdir(filled)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in list(os.environ):
        if name.startswith("TRIGGERFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRIGGERFLOW_STORE", "runs.db")
    logger, modules = logging.getLogger("triggerflow"), set(sys.modules)
    handlers, propagates = list(logger.handlers), logger.propagate

    def call(*arguments: str) -> tuple[int, str, str]:
        code = command(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call
    logger.handlers, logger.propagate = handlers, propagates
    for name in set(sys.modules) - modules:
        if name in ("report", "empty", "broken", "raises"):
            del sys.modules[name]


MISTAKES = [
    # verbs, options and arguments
    ("shwo report-1", 2, "there is no verb 'shwo'; did you mean 'show'?"),
    ("--store runs.db runs", 2, "options come after the verb: triggerflow VERB --store"),
    ("runs --stats failed", 2, "Did you mean --status?"),
    ("runs --status faild", 2, 'Did you mean "failed"?'),
    ("runs --limit 0", 2, "--limit"),
    ("runs --limit many", 2, "--limit"),
    ("diff report-1", 2, "OTHER"),
    ("runs extra", 2, "see triggerflow runs --help"),
    ("stream report-1 --after -1", 2, "--after"),
    ("runs --since yesterday", 2, "--since takes an age such as 30min"),
    ("prune report", 2, "--older-than 30d, --keep 100"),
    ("prune report --older-than soon", 2, "--older-than takes a span"),
    # flows, executions, questions, labels
    ("runs --flow reprot", 3, "there is no flow 'reprot' here; did you mean 'report'?"),
    ("graph reprot", 3, "did you mean 'report'?"),
    ("show reprot-1", 3, "there is no execution 'reprot-1' here; did you mean 'report-1'?"),
    ("show zzz", 3, "`triggerflow runs` lists them"),
    ("show report-", 3, "3 executions have an id that begins with 'report-'"),
    ("show report-1 --at 999", 2, "there is no moment 999"),
    ("answer report-1 aprove true", 3, "has no open question 'aprove'; did you mean 'approve'?"),
    ("answer report-2 approve true", 4, "report-2' has ended (completed)"),
    ("signal report-1 go 1", 3, "no chunk of flow 'report' listens to a signal 'go'"),
    ("signal report-2 go 1", 4, "has ended (completed): it takes no signals"),
    ("cancel report-2", 4, "there is nothing to cancel"),
    ("retry report-1", 4, "is waiting: only one that has failed"),
    ("retry report-3", 2, "needs the code of flow 'report': name it with --target"),
    ("retry report-3 --target report.py:slow", 2, "is of flow 'report'; the code that --target names is of slow"),
    ("fork report-1 --at 0", 2, "--at is a frame of 'report-1', which has 1 to"),
    ("fork report-1 --at 2 --set topic", 2, "--set takes name=value, not 'topic'"),
    ("runs --label team", 2, "--label takes name=value, not 'team'"),
    ("runs --label teem=space", 0, "no execution has a label 'teem'; did you mean 'team'?"),
    ("runs --label team=spcae", 0, "did you mean 'space'?"),
    # values
    ("answer report-1 approve tru", 2, "'tru' is no JSON, and has to be a boolean: for example true or false"),
    ("run report.py:typed seven", 2, "'seven' is no JSON, and has to be an integer: for example 7"),
    ("run report.py:flow [1,2", 2, "Expecting ',' delimiter at column 5\n  [1,2\n      ^"),
    ("run report.py:flow x --input text.txt", 2, "VALUE is given twice"),
    ("run report.py:flow --input nope.txt", 3, "there is no file 'nope.txt'"),
    # the code
    ("run reprot.py x", 2, "'reprot.py' is not there; did you mean 'report.py'?"),
    ("run report.py x", 2, "3 flows; say which: report.py:flow, report.py:slow, report.py:typed"),
    ("run report.py:flwo x", 2, "report.py has no 'flwo'; did you mean 'flow'?"),
    ("run report.py:draft x", 2, "is a Chunk, and no TriggerFlow"),
    ("run nothing_here:flow x", 2, "there is no module 'nothing_here'"),
    ("run empty.py", 2, "has no flow"),
    ("run broken.py", 2, "No module named 'nothing_of_that_name'"),
    ("run raises.py", 2, "ZeroDivisionError: division by zero (raises.py, line 3)"),
    ("worker report.py:flow --store http://127.0.0.1:1", 4, "a server does not offer `worker`"),
    # the store
    ("runs --store rnus.db", 6, "there is no file 'rnus.db'; did you mean 'runs.db'?"),
    ("runs --store nowhere/runs.db", 6, "there is no folder 'nowhere' either"),
    ("run report.py:flow x --store nowhere/runs.db", 6, "there is no folder"),
    ("open nope.db", 6, "there is no file 'nope.db'"),
    ("runs --store .", 2, "is a folder"),
    ("runs --store mysql://localhost", 2, "not mysql://"),
    ("runs --store :memory:", 2, "ends with this command"),
    ("runs --store text.txt", 6, "no SQLite file"),
    ("runs --store report.jsonl", 2, "triggerflow load report.jsonl TARGET --store"),
    ("open report.jsonl", 2, "one execution that `export` has written"),
    ("runs --store newer.db", 6, "version 99"),
    ("runs --store postgresql://nobody@127.0.0.1:1/x", 6, "cannot be reached"),
    ("runs --store http://127.0.0.1:1", 6, "no server answers at http://127.0.0.1:1: check the address"),
    ("runs --store http://me:secret@127.0.0.1:1", 2, "TRIGGERFLOW_TOKEN"),
    ("runs --store http://127.0.0.1:1 --token-file nope", 2, "the token cannot be read from 'nope'"),
    ("prune report --keep 1 --store http://127.0.0.1:1", 4, "a server does not offer `prune`"),
    # files and the server
    ("export report-1 -o nowhere/x.jsonl", 2, "-o takes a file in a folder that is there"),
    ("load nope.jsonl report.py:flow", 3, "there is no file 'nope.jsonl'"),
    ("load text.txt report.py:flow", 4, "text.txt cannot be loaded as an execution of flow 'report'"),
    ("serve report.py:flow --host 0.0.0.0", 2, "add --tokens FILE"),
    ("serve report.py:flow --tokens nope.json", 2, "`triggerflow token` makes one"),
    ("token me --tokens tokens.json", 2, "is no file of tokens"),
]


@pytest.mark.parametrize(("line", "code", "text"), MISTAKES, ids=[it[0] for it in MISTAKES])
def test_a_mistake_gets_a_line_that_helps(run: Run, filled: Path, line: str, code: int, text: str) -> None:
    before = sorted(os.listdir(filled))
    found, out, err = run(*line.split())
    assert (found, text in err) == (code, True), (found, out, err)
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("error: ") or code == 0
    if "^" not in text:
        assert err.count("\n") == 1
    after = [it for it in sorted(os.listdir(filled)) if it != "__pycache__" and not it.endswith(("-wal", "-shm"))]
    assert after == [it for it in before if it != "__pycache__"]


def test_a_password_is_in_no_error(run: Run) -> None:
    code, out, err = run("runs", "--store", "postgresql://me:secret@127.0.0.1:1/x")
    assert code == 6
    assert "secret" not in out + err


def test_a_file_of_an_earlier_release_is_read_and_stays_as_it_is(run: Run, filled: Path) -> None:
    before = (filled / "older.db").read_bytes()
    code, out, err = run("open", "older.db")
    assert code == 0
    assert "executions of" in out
    assert "version 1" in err
    assert (filled / "older.db").read_bytes() == before


def test_reading_does_not_change_the_store(run: Run, filled: Path) -> None:
    before = (filled / "runs.db").read_bytes()
    for line in ("runs", "flows", "questions", "show report-1", "frames report-2", "stream report-3", "open runs.db"):
        assert run(*line.split())[0] == 0
    assert (filled / "runs.db").read_bytes() == before


def test_without_a_store_it_says_how_to_name_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIGGERFLOW_STORE")
    code, _, err = run("runs")
    assert code == 2
    assert "--store FILE, or set TRIGGERFLOW_STORE" in err
    code, _, err = run("run", "report.py:flow", "x", "--label", "a=b")
    assert code == 2
    assert "--label needs a store" in err


def test_debug_shows_where_an_error_comes_from(run: Run) -> None:
    with pytest.raises(Exception, match="zzz"):
        run("show", "zzz", "--debug")


@pytest.mark.parametrize(
    ("package", "line", "extra"),
    [
        ("httpx2", "runs --store http://127.0.0.1:1", "[client]"),
        ("psycopg", "runs --store postgresql://x@127.0.0.1:1/y", "[postgres]"),
        ("starlette", "serve report.py:flow --store new.db", "[server]"),
        ("cyclopts", "runs", "[cli]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(filled: Path, package: str, line: str, extra: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; from triggerflow.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *line.split()],
        cwd=filled,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert f"triggerflow-engine{extra}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (filled / "new.db").exists()
