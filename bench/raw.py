"""The same work as hand-written asyncio: what a program without any engine does. Functions as in `adapter`.

Nothing is looked up and nothing can be watched, so where no concurrency is needed (chain, loop) this is a plain `await`
that no engine reaches; it shows what an engine costs at most.
"""

import asyncio
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
