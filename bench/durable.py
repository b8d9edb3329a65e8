"""What durability costs: executions and signals per second on disk, and what waits in the store without any memory.

    python -m bench.durable                     # about 30 s
    python -m bench.durable --parked 100000     # parks so many executions, too: a few minutes

"by hand" is the same work in plain asyncio and `sqlite3`, without an engine: one commit for each step, or one that all
who wait share, as ours does. They take turns; figures are medians of wall time. The disk decides the rows with FULL:
trust the ratios.
"""

import argparse
import asyncio
import gc
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

from . import adapter, raw
from .measure import resident_kb

ROUNDS = 5
EVENTS = 5_000


@contextmanager
def directory() -> Iterator[Path]:
    """A directory of its own, on the disk of the temporary files."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def each_step(path: str, synchronous: str) -> Any:
    """Five awaits by hand, each followed by a commit of its own."""
    database = sqlite3.connect(Path(path) / "each.db", isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute(f"pragma synchronous = {synchronous}")
    database.execute("create table steps (execution integer, step integer, value integer)")

    async def one(i: int) -> int:
        value = i
        for step in range(5):
            await asyncio.sleep(0)
            value += 1
            database.execute("insert into steps values (?, ?, ?)", (i, step, value))
        return value

    return one, database.close


# -- executions ------------------------------------------------------------------------------------------------------

CONTESTANTS: dict[str, Callable[[str], Any]] = {
    "ours, FULL": lambda path: adapter.w10(path, "FULL"),
    "ours, NORMAL": lambda path: adapter.w10(path, "NORMAL"),
    "by hand, shared commits, FULL": lambda path: raw.w10(path, "FULL"),
    "by hand, shared commits, NORMAL": lambda path: raw.w10(path, "NORMAL"),
    "by hand, a commit each step, FULL": lambda path: each_step(path, "FULL"),
    "by hand, a commit each step, NORMAL": lambda path: each_step(path, "NORMAL"),
}


async def settled(made: Any) -> Any:
    return await made if asyncio.iscoroutine(made) else made


async def executions(at_once: int, count: int) -> dict[str, float]:
    """Executions of five steps per second, so many at once."""
    with directory() as root:
        opened: dict[str, Any] = {}
        for place, (name, make) in enumerate(CONTESTANTS.items()):
            (root / str(place)).mkdir()
            opened[name] = await settled(make(str(root / str(place))))
        taken: dict[str, list[float]] = {name: [] for name in opened}
        for round in range(ROUNDS + 1):
            for name, (one, _) in opened.items():
                begun = time.perf_counter()
                for first in range(0, count, at_once):
                    values = range(first, first + at_once)
                    assert await asyncio.gather(*map(one, values)) == [value + 5 for value in values]
                if round:  # the first one warms up
                    taken[name].append(time.perf_counter() - begun)
        for _, close in opened.values():
            await settled(close())
    return {name: count / median(seconds) for name, seconds in taken.items()}


# -- signals ---------------------------------------------------------------------------------------------------------


def emitting(waits: bool) -> TriggerFlow:
    """A chunk that emits as many signals as it is told, each handled once."""
    flow = TriggerFlow(name="emits")

    async def source(data: Any) -> int:
        for index in range(data.value):
            if waits:
                await data.async_emit("Event", index)
            else:
                data.emit("Event", index)
        return data.value

    async def handle(data: Any) -> None: ...

    flow.to(source).end()
    flow.when("Event").to(handle)
    return flow


async def signals(at_once: int, *, waits: bool) -> float:
    """Signals per second that are emitted, on disk and handled, with so many executions at once, FULL."""
    each = min(1000, EVENTS // at_once)
    flow, taken = emitting(waits), list[float]()
    with directory() as root:
        async with SQLiteStore(root / "runs.db") as store:
            for _ in range(3):
                begun = time.perf_counter()
                runs = [flow.create_execution(store=store).async_start(each) for _ in range(at_once)]
                assert await asyncio.gather(*runs) == [each] * at_once
                taken.append(time.perf_counter() - begun)
    return each * at_once / median(taken)


# -- parked ----------------------------------------------------------------------------------------------------------


def asking() -> TriggerFlow:
    flow = TriggerFlow(name="asks")

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="question", payload={"number": data.value})

    async def use(data: Any) -> Any:
        return data.value

    flow.to(ask).to(use).end()
    return flow


def megabytes() -> float:
    return resident_kb("VmRSS") / 1024


async def parked(count: int) -> None:
    """Executions that wait for an answer: what they cost where they are not."""
    flow = asking()
    with directory() as root:
        path = root / "runs.db"
        async with SQLiteStore(path) as store, Worker(store, flow) as worker:
            await make_parked(flow, store, worker, 0, 1000)  # what comes after grows from here
            gc.collect()
            before, begun = megabytes(), time.perf_counter()
            await make_parked(flow, store, worker, 1000, count)
            seconds = time.perf_counter() - begun
            gc.collect()
            print(f"  made and parked       {(count - 1000) / seconds:>10,.0f} /s")
            print(f"  memory, growth        {megabytes() - before:>10.1f} MB  (from {before:.0f} MB with 1,000)")
        size = path.stat().st_size
        print(f"  file                  {size / 1e6:>10.1f} MB  ({size / count:,.0f} bytes each)")
        begun = time.perf_counter()
        async with SQLiteStore(path) as store:
            opened = time.perf_counter() - begun
            async with Worker(store, flow) as worker:
                print(f"  open, and its worker  {opened * 1e3:>10.1f} ms, {(time.perf_counter() - begun) * 1e3:.1f} ms")
                taken: list[float] = []
                for number in range(0, count, max(1, count // 200)):
                    begun = time.perf_counter()
                    execution = await flow.async_resume(f"asks-{number}", store=store)
                    await execution.async_continue_with("question", number)
                    assert await execution.async_get_result() == number
                    taken.append(time.perf_counter() - begun)
                print(f"  answer to result      {median(taken) * 1e3:>10.1f} ms  (median of {len(taken)})")


async def make_parked(flow: TriggerFlow, store: SQLiteStore, worker: Worker, first: int, end: int) -> None:
    """Start executions, five hundred at a time, and wait until the worker has parked them."""
    for base in range(first, end, 500):
        for number in range(base, min(base + 500, end)):
            execution = flow.create_execution(store=store, id=f"asks-{number}")
            await execution.async_open()
            execution.begin(number)
        execution = None
        while worker.running:  # noqa: ASYNC110 - it tells nobody when it has parked the last one
            await asyncio.sleep(0.001)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.durable")
    parser.add_argument("--parked", type=int, default=5_000, metavar="COUNT", help="how many executions to park")
    options = parser.parse_args()
    print("5-step executions per second, wall")
    many, single = asyncio.run(executions(200, 200)), asyncio.run(executions(1, 20))
    print(f"  {'':<38}{'200 at once':>12}{'one by one':>12}")
    for name in many:
        print(f"  {name:<38}{many[name]:>12,.0f}{single[name]:>12,.0f}")
    print("\nsignals per second, wall, FULL")
    print(f"  {'executions at once':<38}{'awaited':>12}{'not awaited':>12}")
    for at_once in (1, 10, 100, 1000):
        awaited, sent = (asyncio.run(signals(at_once, waits=waits)) for waits in (True, False))
        print(f"  {at_once:<38,}{awaited:>12,.0f}{sent:>12,.0f}")
    print(f"\n{options.parked:,} executions that wait for an answer")
    asyncio.run(parked(options.parked))


if __name__ == "__main__":
    main()
