"""The files of an `SQLiteStore`: who may read them, how they shrink, and how an older one is taken over."""

import asyncio
import gzip
import os
import sqlite3
import stat
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.run.environment import machine_time
from triggerflow.stores import Append, Reply, Request, SQLiteStore
from triggerflow.stores.sqlite import inbox
from triggerflow.stores.sqlite.schema import STEPS
from triggerflow.testing.store_tools import more, new

V1 = Path(__file__).parent.parent / "stored" / "v1" / "store.sqlite.gz"

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


@contextmanager
def umask(mask: int) -> Generator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(path: Path) -> set[int]:
    """The permissions of the file and its companions."""
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
    return {stat.S_IMODE(file.stat().st_mode) for file in files}


@on_posix
async def test_only_its_user_can_read_a_new_file_unless_one_says_otherwise(tmp_path: Path) -> None:
    with umask(0o022):
        async with SQLiteStore(tmp_path / "private.db") as store:
            await store.append([new("x", b"secret")])
            assert modes(tmp_path / "private.db") == {0o600}
        async with SQLiteStore(tmp_path / "group.db", mode=0o660) as store:
            await store.append([new("x", b"for the group")])
            assert modes(tmp_path / "group.db") == {0o660}
    for mode in (0, 0o444, 0o1600, -1):
        with pytest.raises(ValueError, match="permissions"):
            SQLiteStore(tmp_path / "x.db", mode=mode)


@on_posix
async def test_the_permissions_of_a_file_that_is_there_do_not_change(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.touch(0o640)
    path.chmod(0o640)
    async with SQLiteStore(path) as store:
        await store.append([new("x", b"a")])
        assert modes(path) == {0o640}


@on_posix
async def test_only_its_user_can_read_what_an_execution_is_written_to(tmp_path: Path) -> None:
    flow = TriggerFlow(name="f")

    @flow.chunk
    async def step(data: Any) -> Any:
        return "secret"

    flow.to(step).end()
    saved, archive, config = tmp_path / "saved.json", tmp_path / "archive.jsonl", tmp_path / "flow.json"
    with umask(0o022):
        async with SQLiteStore(tmp_path / "runs.db") as store:
            execution = flow.create_execution(store=store, id="1")
            await execution.async_start(0)
            await flow.history(store).export("1", archive)
        execution = flow.create_execution()
        await execution.async_start(0)
        execution.save(saved)
        flow.get_json_flow(config)
        for path in (saved, archive):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(config.stat().st_mode) == 0o644
        saved.chmod(0o640)
        execution.save(saved)
        assert stat.S_IMODE(saved.stat().st_mode) == 0o640


async def test_a_file_shrinks_on_request_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with SQLiteStore(path, synchronous="NORMAL") as store, SQLiteStore(path, synchronous="NORMAL") as other:
        names = [f"x{number}" for number in range(40)]
        for name in names:
            await store.append([new(name, *[os.urandom(20_000)] * 20, status="completed")])
        await other.append([new("kept", b"a")])
        assert await store.delete(names) == len(names)
        before = await asyncio.to_thread(path.stat)
        shrinking = asyncio.create_task(store.shrink())
        first = 1
        while not shrinking.done():
            await other.append([more("kept", first, b"a")])
            first += 1
        assert await shrinking > 10_000_000
        await store.shrink()
        after = await asyncio.to_thread(path.stat)
        assert after.st_size < before.st_size / 10
        assert len(await other.records("kept", limit=100_000)) == first
        assert await store.shrink() == 0


async def test_pruning_can_shrink_the_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    flow = TriggerFlow(name="f")

    @flow.chunk
    async def step(data: Any) -> Any:
        return data.value * 2

    flow.to(step).end()
    async with SQLiteStore(path, synchronous="NORMAL") as store:
        for number in range(20):
            await flow.create_execution(store=store, id=f"{number}").async_start("x" * 100_000)
        pruned = await flow.history(store).prune(keep=1, shrink=True)
        assert pruned.deleted == 19
    assert (await asyncio.to_thread(path.stat)).st_size < 1_500_000


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that version 0.1 has written."""
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(V1.read_bytes()))
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


async def test_a_file_of_version_1_becomes_one_of_the_newest_version(old: Path) -> None:
    assert version(old) == 1
    async with SQLiteStore(old) as store:
        rows = await store.executions(limit=1000)
        assert sum(sum(count.values()) for count in (await store.counts()).values()) == len(rows) > 20
        failed = await store.executions(status=["failed"])
        assert [row.id for row in failed] == ["ending-badly"]
        cursor = (await store.wait_changes()).cursor
        await store.append([new("new", b"a")])
        changes = await store.wait_changes(cursor)
        assert changes.executions == ("new",)
        assert not changes.resync
    assert version(old) == len(STEPS)
    async with SQLiteStore(old) as store:
        assert await store.records("new") == [(0, b"a")]


async def test_many_processes_open_a_file_of_version_1_at_once(old: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from triggerflow.stores import SQLiteStore\n"
        "async def main():\n"
        "    async with SQLiteStore(sys.argv[1], busy_timeout=30) as store:\n"
        "        print(len(await store.executions(limit=1000)))\n"
        "asyncio.run(main())\n"
    )
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(old), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    outputs = [await process.communicate() for process in running]
    assert [error for _, error in outputs] == [b""] * 3
    assert len({output for output, _ in outputs}) == 1


async def test_an_old_file_shrinks_too(old: Path) -> None:
    async with SQLiteStore(old, synchronous="NORMAL") as store:
        await store.append([new("huge", *[os.urandom(20_000)] * 100, status="completed")])
        await store.delete(["huge"])
        assert await store.shrink() > 1_000_000
        await store.append([new("more", *[os.urandom(20_000)] * 100, status="completed")])
        await store.delete(["more"])
        assert await store.shrink() > 1_000_000
        assert await store.find("everything") is not None


async def test_looking_into_the_inbox_costs_the_same_however_many_requests_were_replied_to(tmp_path: Path) -> None:
    """Replies stay for a day. An owner looks with each request."""

    async def reply(numbers: range) -> None:
        requests = [Request(id=str(number), execution="e", kind="k", data=b"", at=1.0) for number in numbers]
        for request in requests:
            await store.post(request)
        replies = [Reply(request=request.id, ok=True, data=b"", at=machine_time()) for request in requests]
        await store.append([Append(execution="e", first=0, records=[], status="running", at=1.0, replies=replies)])

    def cost() -> int:
        """How many steps SQLite takes."""
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
            connection.execute("SELECT 1 FROM requests").fetchone()  # reads the schema
            connection.set_progress_handler(step, 1)
            assert inbox.of_owner(connection, store.owner, 100, set()) == []
        return steps

    async with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as store:
        await store.append([new("e")])
        await reply(range(5))
        few = cost()
        await reply(range(5, 200))
        assert cost() == few
