"""TriggerFlow under the workloads of the comparison suite: one function per workload, defined outside the timed part.

Each function returns an async callable; what it has to evaluate to is checked by whoever times it. Only the public API
is used, as the documentation teaches it, with every default on.
"""

import asyncio
from pathlib import Path
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.stores import SQLiteStore


async def _increment(data: Any) -> Any:
    return data.value + 1


def w1(n: int) -> Any:
    """flow.to(c0).to(c1)...end()"""
    flow = TriggerFlow()
    process: Any = flow
    for index in range(n):
        process = process.to((f"c{index}", _increment))
    process.end()

    async def run() -> Any:
        return await flow.async_start(0)

    return run


def w2(n: int) -> Any:
    """flow.batch(b0, b1, ...).to(total).end()"""
    flow = TriggerFlow()

    async def total(data: Any) -> int:
        return sum(data.value.values())

    flow.batch(*[(f"b{index}", _increment) for index in range(n)]).to(total).end()

    async def run() -> Any:
        return await flow.async_start(1)

    return run


def w3(n: int, conc: int) -> Any:
    """for_each(concurrency=...).to(increment).to(double).end_for_each().end()"""
    flow = TriggerFlow()

    async def double(data: Any) -> Any:
        return data.value * 2

    flow.for_each(concurrency=conc).to(_increment).to(double).end_for_each().end()
    items = list(range(n))

    async def run() -> Any:
        return await flow.async_start(items)

    return run


def w4(hold: Any = None) -> Any:
    """Five chunks in a chain, each giving way to the loop once"""
    flow = TriggerFlow()
    process: Any = flow

    def make(index: int) -> Any:
        async def step(data: Any) -> Any:
            if hold is not None and index == 2:
                await hold()
            await asyncio.sleep(0)
            return data.value + 1

        return step

    for index in range(5):
        process = process.to((f"c{index}", make(index)))
    process.end()

    async def one(x: int) -> Any:
        return await flow.async_start(x)

    return one


def w5(n: int) -> Any:
    """Await data.async_emit("Ev", i) n times; flow.when("Ev").to(handler)"""
    flow = TriggerFlow()
    calls = 0

    async def source(data: Any) -> None:
        for index in range(n):
            await data.async_emit("Ev", index)

    async def handler(data: Any) -> None:
        nonlocal calls
        calls += 1

    flow.to(source)
    flow.when("Ev").to(handler)

    async def run() -> int:
        nonlocal calls
        calls = 0
        await flow.async_start(None)
        return calls

    return run


def w6(n: int) -> Any:
    """async_put_into_stream n times; async for item in get_async_runtime_stream()"""
    flow = TriggerFlow()

    async def source(data: Any) -> int:
        for index in range(n):
            await data.async_put_into_stream({"i": index})
        return n

    flow.to(source).end()

    async def run() -> int:
        count = 0
        async for _ in flow.get_async_runtime_stream(None):
            count += 1
        return count

    return run


def w8(n: int) -> Any:
    """A chunk that emits "Loop", which triggers it again"""
    flow = TriggerFlow()

    @flow.chunk("step")
    async def step(data: Any) -> None:
        x = data.value + 1
        await data.async_emit("Loop" if x < n else "Done", x)

    async def done(data: Any) -> Any:
        return data.value

    flow.to(step)
    flow.when("Loop").to(step)
    flow.when("Done").to(done).end()

    async def run() -> Any:
        return await flow.async_start(0)

    return run


def w9() -> Any:
    """when({"runtime_data": "topic"}).batch(fetch_facts, fetch_risks).to(compile_report).end()"""
    flow = TriggerFlow()

    async def normalize(data: Any) -> str:
        topic = str(data.value).strip()
        data.state.set("topic", topic)
        return topic

    async def fetch_facts(data: Any) -> str:
        await asyncio.sleep(0.05)
        return f"facts({data.value})"

    async def fetch_risks(data: Any) -> str:
        await asyncio.sleep(0.03)
        return f"risks({data.value})"

    async def compile_report(data: Any) -> dict[str, Any]:
        value = data.value
        return {"topic": data.state.get("topic"), "facts": value["fetch_facts"], "risks": value["fetch_risks"]}

    flow.to(normalize)
    flow.when({"runtime_data": "topic"}).batch(fetch_facts, fetch_risks, concurrency=2).to(compile_report).end()

    async def one(topic: str) -> Any:
        return await flow.async_start(topic)

    return one


async def w10(dir: str, synchronous: Any = "FULL") -> Any:
    """Five chunks in a chain; SQLiteStore, every record synced to disk (FULL) before anything is done with it"""
    flow = TriggerFlow(name="five")
    process: Any = flow
    for index in range(5):
        process = process.to((f"c{index}", _increment))
    process.end()
    store = SQLiteStore(Path(dir) / "runs.db", synchronous=synchronous)
    await store.__aenter__()

    async def one(i: int) -> Any:
        return await flow.create_execution(store=store).async_start(i)

    async def close() -> None:
        await store.__aexit__(None, None, None)

    return one, close
