"""Real faults: a full disk, a locked, read-only, damaged or foreign file, a killed process. Nothing is imitated.

Where root rights are needed (mounting a small disk, making a directory read-only for root, too) and missing, the test
takes the way that is left to an ordinary user, or is skipped.
"""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from tests import soak
from triggerflow._core.errors import ExecutionLeased, StoreConflict, StoreDamaged, StoreError, StoreUnavailable
from triggerflow.stores import Append, NewRecord, SQLiteStore
from triggerflow.stores.lifecycle import Pulse
from triggerflow.stores.sqlite import schema
from triggerflow.testing.stores import ManualClock, more, new, refused

ROOT = os.geteuid() == 0


def mount(*arguments: str) -> bool:
    return ROOT and subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Nobody may write into the directory: root is stopped by a mount, others by the mode."""
    if mount("--bind", str(directory), str(directory)):
        if not mount("-o", "remount,ro,bind", str(directory)):
            unmount(directory)
            pytest.skip("a mount cannot be made read-only here")
        try:
            yield
        finally:
            unmount(directory)
        return
    if ROOT:
        pytest.skip("root writes everywhere, and cannot mount here")
    modes = {path: path.stat().st_mode for path in [directory, *directory.iterdir()]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Nobody may write into the file: root is stopped by its being immutable, others by the mode."""
    if ROOT and subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("root writes everywhere, and this file system knows no immutable files")
    path.chmod(0o444) if not ROOT else None
    try:
        yield
    finally:
        path.chmod(0o644) if not ROOT else subprocess.run(["chattr", "-i", str(path)], check=True)


@contextmanager
def locked(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has the write lock until it is told to go."""
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            let_go(process)


def let_go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    if process.poll() is None:
        process.communicate("go\n")


async def fill(path: Path, *executions: str, records: int = 200) -> None:
    async with SQLiteStore(path) as store:
        await store.append([new(name, *[b"%0200d" % number for number in range(records)]) for name in executions])


async def count(store: SQLiteStore, execution: str) -> int:
    row = await store.find(execution)
    assert row is not None
    return row.records


# -- no place, no right ----------------------------------------------------------------------------------------------


async def test_a_full_disk_is_told_and_the_store_goes_on_when_there_is_space(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)):
        pytest.skip("no small disk can be mounted here")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_000_000))
        async with SQLiteStore(disk / "runs.db") as store:
            await store.append([new("x", b"a")])
            kept = 1
            with refused(StoreUnavailable, "disk", "runs.db", "space"):
                while True:
                    await store.append([more("x", kept, bytes(50_000)), new(f"y{kept}", b"b")])
                    kept += 1
            assert await count(store, "x") == kept  # reading goes on
            assert await store.find(f"y{kept}") is None
            ballast.unlink()
            await store.append([more("x", kept, b"small again")])
            assert await count(store, "x") == kept + 1
        async with SQLiteStore(disk / "runs.db") as store:
            assert [number for number, _ in await store.records("x")] == list(range(kept + 1))
    finally:
        unmount(disk)


async def test_a_limit_on_the_size_of_files_is_told_and_lifted(tmp_path: Path) -> None:
    """As on a full disk, but for any user: writing fails in the middle of a transaction."""
    async with SQLiteStore(tmp_path / "runs.db") as store:
        await store.append([new("x", b"a")])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        try:
            for _ in range(3):
                with refused(StoreUnavailable, "runs.db", "disk"):
                    await store.append([more("x", 1, b"b", bytes(5_000_000)), new("y", b"b")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await store.records("x") == [(0, b"a")]
        await store.append([more("x", 1, b"b", bytes(5_000_000)), new("y", b"b")])
        assert await count(store, "x") == 3


async def test_a_read_only_directory(tmp_path: Path) -> None:
    await fill(tmp_path / "runs.db", "x")
    with read_only(tmp_path):
        for name in ("runs.db", "new.db"):
            with refused(StoreUnavailable, name, "writable"):
                async with SQLiteStore(tmp_path / name):
                    pass
    async with SQLiteStore(tmp_path / "runs.db") as store:
        assert await count(store, "x") == 200


async def test_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await fill(path, "x")
    with unwritable(path), refused(StoreUnavailable, "runs.db", "writable"):
        async with SQLiteStore(path):
            pass
    async with SQLiteStore(path) as store:
        assert await count(store, "x") == 200


async def test_a_missing_directory_and_a_path_that_is_one(tmp_path: Path) -> None:
    with refused(StoreUnavailable, f"there is no directory {tmp_path / 'none'}"):
        async with SQLiteStore(tmp_path / "none" / "runs.db"):
            pass
    with refused(StoreUnavailable, str(tmp_path)):
        async with SQLiteStore(tmp_path):
            pass
    for path in ("", ":memory:"):
        with refused(ValueError, "MemoryStore"):
            SQLiteStore(path)


# -- locks -----------------------------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_a_lock_of_another_process_is_told_and_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with SQLiteStore(path, busy_timeout=0.1) as store, SQLiteStore(path, busy_timeout=30) as patient:
        await store.append([new("x", b"a")])
        await patient.append([new("y", b"a")])
        with locked(path) as other:
            with refused(StoreUnavailable, "runs.db", "locked", "busy_timeout"):
                await store.append([more("x", 1, b"b")])
            with refused(StoreUnavailable, "locked"):
                async with SQLiteStore(path, busy_timeout=0.1):
                    pass
            assert await store.records("x") == [(0, b"a")]  # reading waits for nobody
            waiting = asyncio.create_task(patient.append([more("y", 1, b"b")]))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            let_go(other)
            await waiting
        await store.append([more("x", 1, b"b")])
        assert await count(store, "x") == await count(store, "y") == 2


@pytest.mark.real_time
async def test_reading_does_not_wait_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with SQLiteStore(path, busy_timeout=30) as store:
        await store.append([new("x", b"a")])
        with locked(path) as other:
            append = asyncio.create_task(store.append([more("x", 1, b"b")]))
            assert await store.records("x") == [(0, b"a")]
            assert not append.done()
            let_go(other)
            await append


@pytest.mark.real_time
async def test_many_processes_make_the_file_at_once(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from triggerflow.stores import SQLiteStore\n"
        "from triggerflow.testing.stores import new\n"
        "async def main():\n"
        "    async with SQLiteStore(sys.argv[1]) as store:\n"
        "        await store.append([new(sys.argv[2], b'a')])\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "runs.db")]
    processes = [await asyncio.create_subprocess_exec(*command, f"{number}") for number in range(6)]
    assert [await process.wait() for process in processes] == [0] * 6
    async with SQLiteStore(tmp_path / "runs.db") as store:
        assert len(await store.claim_work(["flow"])) == 6


# -- damaged files ---------------------------------------------------------------------------------------------------


async def test_a_damaged_page_is_told_by_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await fill(path, *[f"x{number}" for number in range(20)])
    data = path.read_bytes()
    record = data.index(b"%0200d" % 100, len(data) // 2)  # a page of records: one of an index would not be read
    with path.open("r+b") as file:
        file.seek(record // 4096 * 4096)
        file.write(b"\xff" * 4096)
    messages: list[str] = []
    async with SQLiteStore(path) as store:
        for number in range(20):
            try:
                read = await store.records(f"x{number}")
            except StoreDamaged as error:
                messages.append(str(error))
            else:
                assert read == [(each, b"%0200d" % each) for each in range(200)]  # the rest is as it was
        await store.append([new("y", b"a")])
    assert 0 < len(messages) < 20
    assert all("runs.db" in message and "restore" in message for message in messages)


@pytest.mark.parametrize("part", [0.9, 0.5, 0.01])
async def test_a_file_that_was_cut_off(tmp_path: Path, part: float) -> None:
    path = tmp_path / "runs.db"
    await fill(path, *[f"x{number}" for number in range(20)])
    os.truncate(path, int(path.stat().st_size * part))
    with refused(StoreDamaged, "runs.db"):
        async with SQLiteStore(path) as store:
            for number in range(20):
                await store.records(f"x{number}")


async def test_a_table_that_vanishes_under_an_open_store(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with SQLiteStore(path) as store:
        await store.append([new("x", b"a")])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE records")
        with refused(StoreDamaged, "runs.db", "records"):
            await store.append([more("x", 1, b"b")])
        with refused(StoreDamaged, "runs.db", "records"):
            await store.records("x")


# -- foreign files ---------------------------------------------------------------------------------------------------

STRANGE = {
    "table": "CREATE TABLE more (a)",
    "view": "CREATE VIEW spy AS SELECT load_extension('/tmp/evil.so')",
    "trigger": "CREATE TRIGGER spy AFTER INSERT ON records BEGIN DELETE FROM executions; END",
    "temporary name": "CREATE TRIGGER sqlite_stat1 AFTER INSERT ON records BEGIN DELETE FROM executions; END",
    "index": "CREATE INDEX slow ON records (abs(data))",
    "column": "ALTER TABLE records ADD COLUMN spy DEFAULT 7",
    "missing": "DROP INDEX records_number",
}


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("kind", STRANGE)
async def test_a_file_with_something_added_is_refused_and_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "runs.db"
    await fill(path, "x")
    statement = STRANGE[kind]
    if kind == "temporary name":  # a name that only a prepared file can have
        run(path, statement.replace("sqlite_stat1", "prepared"))
        run(
            path,
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET name = 'sqlite_stat1', sql = replace(sql, 'prepared', 'sqlite_stat1') "
            "WHERE name = 'prepared'",
        )
    else:
        run(path, statement)
    before = path.read_bytes()
    with refused(StoreDamaged, "runs.db", "not touched"):
        async with SQLiteStore(path):
            pass
    assert path.read_bytes() == before


async def test_statistics_for_the_planner_are_nothing_strange(tmp_path: Path) -> None:
    await fill(tmp_path / "runs.db", "x")
    run(tmp_path / "runs.db", "ANALYZE")
    async with SQLiteStore(tmp_path / "runs.db") as store:
        assert await count(store, "x") == 200


async def test_files_of_others_are_refused_and_not_touched(tmp_path: Path) -> None:
    text, other, marked = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "marked.db"
    text.write_text("no database\n" * 1_000)
    run(other, "CREATE TABLE customers (name)")
    run(marked, "CREATE TABLE customers (name)", "PRAGMA application_id = 77")
    for path, words in ((text, "no SQLite file"), (other, "another program"), (marked, "77")):
        before = path.read_bytes()
        with refused(StoreDamaged, path.name, words):
            async with SQLiteStore(path):
                pass
        assert path.read_bytes() == before
        assert not path.with_name(f"{path.name}-wal").exists()
    (tmp_path / "empty.db").touch()
    async with SQLiteStore(tmp_path / "empty.db") as store:
        await store.append([new("x", b"a")])


async def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await fill(path, "x")
    run(path, "PRAGMA user_version = 99")
    with refused(StoreDamaged, "99", str(len(schema.STEPS)), "newer"):
        async with SQLiteStore(path):
            pass


async def test_an_older_file_is_brought_up_to_date_with_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await fill(path, "x")
    newer = [*schema.STEPS, ["CREATE TABLE tags (name TEXT)", "INSERT INTO tags SELECT id FROM executions"]]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.check(connection, path, newer)
        connection.execute("BEGIN IMMEDIATE")
        schema.migrate(connection, newer)
        connection.execute("COMMIT")
        assert connection.execute("SELECT name FROM tags").fetchall() == [("x",)]
        schema.check(connection, path, newer)
        with refused(StoreDamaged, str(len(newer))):
            schema.check(connection, path)


# -- owners and their clock ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-7200, -1, 7200])
async def test_a_clock_that_jumps_lets_no_two_owners_append(tmp_path: Path, seconds: float) -> None:
    clock = ManualClock()
    path = tmp_path / "runs.db"
    async with SQLiteStore(path, clock=clock) as store, SQLiteStore(path, clock=clock) as other:
        await store.append([new("x", b"a")])
        clock.turn(seconds)
        if seconds < 0:  # set back: nobody dies of it
            with refused(StoreConflict, "is run by owner"):
                await other.claim("x")
            await store.append([more("x", 1, b"b")])
            with refused(StoreConflict):
                await other.claim("x")
            clock.turn(31)  # since the owner's newest sign of life, by the clock as it is now
        await other.claim("x")
        with refused(StoreConflict, "'x'", other.owner):
            await store.append([more("x", await count(store, "x"), b"late")])
        await other.append([more("x", await count(other, "x"), b"c")])


@pytest.mark.real_time
async def test_an_owner_whose_event_loop_is_stuck_loses_its_executions(tmp_path: Path) -> None:
    """The thread that writes is alive, but it renews the lease only while the loop answers."""
    path = tmp_path / "runs.db"

    async def claim() -> None:
        async with SQLiteStore(path, lease=0.3) as other:
            while True:
                with suppress(ExecutionLeased):
                    await other.claim("x")
                    return
                await asyncio.sleep(0.02)

    async with SQLiteStore(path, lease=0.3) as store:
        await store.append([new("x", b"a")])
        thread = Thread(target=asyncio.run, args=(claim(),))
        thread.start()
        thread.join(30)  # this blocks the loop of the first owner
        assert not thread.is_alive()
        with refused(StoreConflict, "'x'"):
            await store.append([more("x", 1, b"late")])


async def test_a_pulse_beats_when_the_loop_has_answered_the_last_beat() -> None:
    pulse = Pulse(asyncio.get_running_loop())
    assert pulse.beat()
    assert not pulse.beat()
    await asyncio.sleep(0)
    assert pulse.beat()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*sqlite3.Connection:pytest.PytestUnraisableExceptionWarning")  # its thread is gone
async def test_a_thread_that_dies_leaves_nobody_waiting(tmp_path: Path) -> None:
    class Deadly(ManualClock):
        kills = False

        def __call__(self) -> float:
            if self.kills:
                raise SystemExit
            return super().__call__()

    clock = Deadly()
    with refused(StoreUnavailable, "thread", "runs.db"):
        async with SQLiteStore(tmp_path / "runs.db", clock=clock) as store:
            await store.append([new("x", b"a")])
            clock.kills = True
            appends = [asyncio.create_task(store.append([more("x", 1, b"b")])) for _ in range(10)]
            results = await asyncio.gather(*appends, return_exceptions=True)
            assert [type(result) for result in results] == [StoreUnavailable] * 10
            assert await store.records("x") == [(0, b"a")]
            await store.append([more("x", 1, b"b")])
    clock.kills = False
    clock.turn(31)
    async with SQLiteStore(tmp_path / "runs.db", clock=clock) as store:
        await store.claim("x")


# -- what is promised of the disk ------------------------------------------------------------------------------------


@pytest.mark.real_time
@pytest.mark.needs("strace")
@pytest.mark.parametrize("level", ["FULL", "NORMAL"])
async def test_every_append_waits_for_the_disk_with_full(tmp_path: Path, level: str) -> None:
    """Killing a process cannot show this, since the system keeps what was written; counting its calls does."""
    script = (
        "import asyncio, sys\n"
        "from triggerflow.stores import SQLiteStore\n"
        "from triggerflow.testing.stores import more, new\n"
        "async def main(path, level):\n"
        "    async with SQLiteStore(path, synchronous=level) as store:\n"
        "        await store.append([new('x')])\n"
        "        for number in range(50):\n"
        "            await store.append([more('x', number, b'a')])\n"
        "asyncio.run(main(*sys.argv[1:]))\n"
    )
    log = tmp_path / "calls"
    process = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(log)),
        *(sys.executable, "-c", script, str(tmp_path / "runs.db"), level),
        stderr=subprocess.PIPE,
    )
    _, complaint = await process.communicate()
    if process.returncode and b"ptrace" in complaint:
        pytest.skip("strace may not trace here")
    assert process.returncode == 0, complaint
    calls = log.read_text().count("sync(")
    assert (calls > 50) if level == "FULL" else (calls < 25), calls


# -- ends ------------------------------------------------------------------------------------------------------------


async def test_closing_completes_what_was_begun(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "runs.db") as store:
        await store.append([new(f"{number}") for number in range(100)])
        appends = [asyncio.create_task(store.append([more(f"{number}", 0, b"a")])) for number in range(100)]
        reads = [asyncio.create_task(store.records(f"{number}")) for number in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*appends, *reads)
    assert os.listdir(tmp_path) == ["runs.db"]  # the log was folded into the file
    async with SQLiteStore(tmp_path / "runs.db") as store:
        for number in range(100):
            assert await store.records(f"{number}") == [(0, b"a")]


async def test_bad_arguments_tear_nothing(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "runs.db") as store:
        await store.append([new("x", b"a")])
        for bad in (NewRecord(object()), NewRecord(b"", 2**70)):  # type: ignore[arg-type]
            with pytest.raises((sqlite3.Error, TypeError, OverflowError, StoreError)):
                await store.append(
                    [more("x", 1, b"b"), Append(execution="x", first=2, records=[bad], status="running", at=1.0)]
                )
        await store.append([more("x", 1, b"b")])
        assert await store.records("x") == [(0, b"a"), (1, b"b")]


def append_until_killed(path: Path, round: int) -> Iterator[tuple[str, int]]:
    """What a process says it has kept, until it is killed after more records in each round."""
    command = [sys.executable, str(Path(__file__).with_name("appender.py")), str(path), str(round)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # the last one may be cut off
                execution, kept = line.split()
                yield execution, int(kept)
                if int(kept) >= 20 + 7 * round:
                    process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("rounds", soak.cases([6, 40], some=[6]))
async def test_what_a_killed_process_was_told_is_kept_is_there(tmp_path: Path, rounds: int) -> None:
    """Rounds of SIGKILL at any moment: every acknowledged record is read back, and no append is there in part."""
    path = tmp_path / "runs.db"
    acknowledged: dict[str, int] = {}
    for round in range(rounds):
        acknowledged.update(append_until_killed(path, round))
    assert len(acknowledged) == 3 * rounds
    async with SQLiteStore(path) as store:
        for execution, kept in acknowledged.items():
            records = await store.records(execution, limit=1_000_000)
            assert len(records) >= kept
            assert len(records) % 2 == 0  # they came in pairs
            assert records == [(number, b"%d" % number) for number in range(len(records))]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
