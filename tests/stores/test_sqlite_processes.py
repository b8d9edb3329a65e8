"""Owners in processes of their own, which are killed again and again: each request is performed once, and told."""

import asyncio
import random
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from triggerflow.stores import SQLiteStore
from triggerflow.testing.store_changes import request
from triggerflow.testing.store_tools import new

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
                with suppress(ProcessLookupError):
                    process.kill()
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
