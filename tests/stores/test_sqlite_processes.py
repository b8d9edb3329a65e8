"""Owners in processes of their own, which are killed again and again: each request is performed once, and told."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from tests.support import kill
from triggerflow.stores import SQLiteStore
from triggerflow.testing.store_changes import request
from triggerflow.testing.store_tools import more, new

PERFORMER = Path(__file__).parent / "performer.py"
REQUESTS = 120


@pytest.mark.real_time
async def test_each_request_is_performed_once_by_processes_that_are_killed(tmp_path: Path) -> None:
    path, chance = tmp_path / "runs.db", random.Random(14)
    names = [f"x{number}" for number in range(4)]
    killed = 0

    async def owner() -> None:
        nonlocal killed
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(PERFORMER), str(path), stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            try:
                await process.stdout.readline()  # it has opened the store: from here on, it can be killed in its work
                await asyncio.wait_for(process.wait(), chance.uniform(0.2, 1.0))
                raise AssertionError(f"an owner ended by itself: {process.returncode}")
            except TimeoutError:
                killed += 1
            finally:
                kill(process)
                await process.wait()

    async with SQLiteStore(path, synchronous="NORMAL", busy_timeout=30) as store:
        await store.append([new(name, status="waiting") for name in names])
        await store.release(names)
        owners = [asyncio.create_task(owner()) for _ in range(2)]

        async def post(number: int) -> None:
            for index in range(number, REQUESTS, 4):
                id = f"r{index}"
                cursor = (await store.wait_changes()).cursor
                await store.post(request(id, chance.choice(names), id.encode()))
                while not (found := await store.requests([id])) or found[0].reply is None:
                    cursor = (await store.wait_changes(cursor)).cursor
                assert found[0].reply.data == id.encode()
                await asyncio.sleep(chance.uniform(0, 0.1))

        async with asyncio.timeout(120):
            await asyncio.gather(*[post(number) for number in range(4)])
        for task in owners:
            task.cancel()
        assert [it for it in await asyncio.gather(*owners, return_exceptions=True) if isinstance(it, Exception)] == []
        records = [data.decode() for name in names for _, data in await store.records(name)]
        assert sorted(records) == sorted(f"r{index}" for index in range(REQUESTS))
        assert killed > 0


#: Appends one record to execution "y" for each line that it reads.
WRITER = """
import asyncio, sys
from triggerflow.stores import SQLiteStore
from triggerflow.testing.store_tools import more, new

async def main():
    async with SQLiteStore(sys.argv[1], synchronous="NORMAL") as store:
        await store.append([new("y")])
        print("ready", flush=True)
        for number, _ in enumerate(iter(sys.stdin.readline, "")):
            await store.append([more("y", number, b"b")])
            print("done", flush=True)

asyncio.run(main())
"""


@pytest.mark.real_time
async def test_a_record_of_another_process_is_told_although_own_ones_follow_at_once(tmp_path: Path) -> None:
    """A store looks at the file from time to time; the newest record is an own one then."""
    path = tmp_path / "runs.db"
    async with SQLiteStore(path, synchronous="NORMAL", busy_timeout=30) as store:
        await store.append([new("x")])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, str(path)), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert await process.stdout.readline() == b"ready\n"
            cursor = (await store.wait_changes()).cursor
            for number in range(20):
                waiting = asyncio.create_task(store.wait_changes(cursor, timeout=10, own=False))
                await asyncio.sleep(0.01)
                process.stdin.write(b"\n")
                await process.stdout.readline()
                await store.append([more("x", number, b"a")])
                changes = await waiting
                assert "y" in changes.executions
                cursor = changes.cursor
        finally:
            process.stdin.close()
            await process.wait()
