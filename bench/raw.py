"""The same work as hand-written asyncio: what a program without any engine does. Functions as in `adapter`.

Nothing is looked up and nothing can be watched, so where no concurrency is needed (chain, loop) this is a plain `await`
that no engine reaches; it shows what an engine costs at most.
"""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


async def _increment(value: int) -> int:
    return value + 1


def w1(n: int) -> Any:
    """A chain of awaits."""

    async def run() -> int:
        value = 0
        for _ in range(n):
            value = await _increment(value)
        return value

    return run


def w2(n: int) -> Any:
    """One gather."""

    async def run() -> int:
        return sum(await asyncio.gather(*[_increment(1) for _ in range(n)]))

    return run


def w3(n: int, conc: int) -> Any:
    """`conc` workers that take items from one iterator."""

    async def double(value: int) -> int:
        return value * 2

    async def run() -> list[int]:
        results = [0] * n
        items = iter(range(n))

        async def work() -> None:
            for index in items:
                results[index] = await double(await _increment(index))

        await asyncio.gather(*[work() for _ in range(conc)])
        return results

    return run


def w4(hold: Any = None) -> Any:
    """Five awaits, each giving way to the loop once."""

    async def step(index: int, value: int) -> int:
        if hold is not None and index == 2:
            await hold()
        await asyncio.sleep(0)
        return value + 1

    async def one(x: int) -> int:
        for index in range(5):
            x = await step(index, x)
        return x

    return one


def w5(n: int) -> Any:
    """One task per event, in a task group."""

    async def run() -> int:
        calls = 0

        async def handle(value: int) -> None:
            nonlocal calls
            calls += 1

        async with asyncio.TaskGroup() as tasks:
            for index in range(n):
                tasks.create_task(handle(index))
        return calls

    return run


def w6(n: int) -> Any:
    """A bounded queue between two tasks."""

    async def produce(queue: asyncio.Queue[Any]) -> None:
        for index in range(n):
            await queue.put({"i": index})
        await queue.put(None)

    async def run() -> int:
        queue: asyncio.Queue[Any] = asyncio.Queue(1024)
        count = 0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce(queue))
            while await queue.get() is not None:
                count += 1
        return count

    return run


def w8(n: int) -> Any:
    """A while loop."""

    async def run() -> int:
        value = 0
        while value < n:
            value = await _increment(value)
        return value

    return run


def w9() -> Any:
    """The playbook with one gather."""

    async def fetch_facts(topic: str) -> str:
        await asyncio.sleep(0.05)
        return f"facts({topic})"

    async def fetch_risks(topic: str) -> str:
        await asyncio.sleep(0.03)
        return f"risks({topic})"

    async def one(topic: str) -> dict[str, str]:
        topic = topic.strip()
        facts, risks = await asyncio.gather(fetch_facts(topic), fetch_risks(topic))
        return {"topic": topic, "facts": facts, "risks": risks}

    return one


def w10(dir: str, synchronous: str = "FULL") -> Any:
    """Five awaits, the result of each kept before the next; whoever waits for the disk shares one commit."""
    thread = ThreadPoolExecutor(1)
    database = sqlite3.connect(Path(dir) / "raw.db", isolation_level=None, check_same_thread=False)
    database.execute("pragma journal_mode = wal")
    database.execute(f"pragma synchronous = {synchronous}")
    database.execute("create table steps (execution integer, step integer, value integer)")
    waiting: list[tuple[tuple[int, int, int], asyncio.Future[None]]] = []
    committing: asyncio.Task[None] | None = None

    def write(rows: list[tuple[int, int, int]]) -> None:
        database.execute("begin immediate")
        database.executemany("insert into steps values (?, ?, ?)", rows)
        database.execute("commit")

    async def commit() -> None:
        nonlocal waiting, committing
        while waiting:
            batch, waiting = waiting, []
            await asyncio.get_running_loop().run_in_executor(thread, write, [row for row, _ in batch])
            for _, future in batch:
                future.set_result(None)
        committing = None

    async def one(i: int) -> int:
        nonlocal committing
        value = i
        for step in range(5):
            value = await _increment(value)
            future = asyncio.get_running_loop().create_future()
            waiting.append(((i, step, value), future))
            if committing is None:
                committing = asyncio.create_task(commit())
            await future
        return value

    def close() -> None:
        thread.shutdown()
        database.close()

    return one, close
