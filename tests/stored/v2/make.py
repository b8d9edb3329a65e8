"""Makes the files of this folder, once, with the version that wrote the first SQLite files of version 2:

PYTHONPATH=src:. python tests/stored/v2/make.py
"""

import asyncio
import gzip
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.stored.v2 import flows
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

HERE = Path(__file__).parent


async def asked(execution: Any) -> Any:
    for _ in range(500):
        if execution.get_pending_interrupts():
            return execution
        await asyncio.sleep(0.02)
    raise TimeoutError


async def fill(file: Path) -> None:
    async with SQLiteStore(file) as store:
        approval, outer, rates = flows.approval(), flows.outer(), flows.rate()
        # Submitted, and run by nobody yet.
        await approval.async_submit("one", store=store, id="submitted", labels={"team": "press", "page": "1"})
        await approval.async_submit("later", store=store, id="submitted-later", delay=5)
        await flows.doubling().async_submit(4, store=store, id="order")
        async with Worker(store, flows.doubling()):
            done = await flows.doubling().async_attach("order", store=store)
            await done.async_get_result()
        await flows.doubling().async_submit(5, store=store, id="order", reuse="new_after_end")
        # Asked, in an execution and in a sub-flow of one.
        for id, flow in (("asked", approval), ("asked-inside", outer)):
            execution = await asked(await begun(flow, "two", store, id, labels={"team": "news"}))
            await execution.async_suspend()
        # Ended and failed, one of them retried.
        for id in ("failed", "retried"):
            execution = flows.failing().create_execution(store=store, id=id)
            with suppress(ValueError):
                await execution.async_start("bad")
        retried = await flows.failing().async_retry("retried", store=store)
        await retried.async_suspend()
        # Shared data: folded and later changes; a listener that is behind, and one that has taken all.
        for number in range(130):
            await rates.async_set_flow_data("rate", number, store=store)
        await rates.async_append_flow_data("log", "first", store=store)
        behind = await begun(rates, None, store, "behind")
        await behind.async_suspend()
        for number in (7, 8):
            await rates.async_set_flow_data("rate", number, store=store)
        heard = await begun(rates, None, store, "heard")
        await rates.async_set_flow_data("rate", 9, store=store)
        await asyncio.sleep(0.3)
        await heard.async_suspend()
        # Schedules.
        await put_schedules(store)


async def begun(flow: Any, value: Any, store: SQLiteStore, id: str, **options: Any) -> Any:
    execution = flow.create_execution(store=store, id=id, keep_open=flow.name == "rates", **options)
    await execution.async_begin(value)
    await asyncio.sleep(0.2)
    return execution


async def put_schedules(store: SQLiteStore) -> None:
    await flows.doubling().async_schedule("hourly", every=timedelta(hours=1), value=3, store=store)


async def post(file: Path) -> None:
    """A request that nobody has performed: its caller has died."""
    async with SQLiteStore(file) as store:
        shown = await flows.approval().async_attach("asked", store=store)
        asyncio.get_running_loop().call_later(0.4, os._exit, 9)
        await shown.async_emit("left", "the building")


async def die(file: Path, name: str) -> None:
    async with SQLiteStore(file, lease=0.5) as store, Worker(store, flows.FLOWS[name](), poll=0.1):
        await asyncio.sleep(60)


def child(*what: str) -> None:
    subprocess.run([sys.executable, __file__, *what], env={**os.environ, flows.DEADLY: "1"}, check=False)


async def submit_poison(file: Path) -> None:
    async with SQLiteStore(file) as store:
        for name in ("poison", "reading"):
            await flows.FLOWS[name]().async_submit(1, store=store, id=name, max_losses=8)


def main() -> None:
    file = HERE / "runs.db"
    child("fill", str(file))
    asyncio.run(submit_poison(file))
    for name in ("poison", "reading"):
        for _ in range(4):
            child("die", str(file), name)
    child("post", str(file))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM owners")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        for row in connection.execute("SELECT id, status FROM executions ORDER BY id"):
            print(*row)
    (HERE / "runs.db.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    for path in HERE.glob("runs.db*"):
        if path.suffix != ".gz":
            path.unlink()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", path]:
            asyncio.run(fill(Path(path)))
        case ["die", path, name]:
            asyncio.run(die(Path(path), name))
        case ["post", path]:
            asyncio.run(post(Path(path)))
        case _:
            main()
