"""Event loops with a task factory of their own: an eager one (Python 3.12) begins tasks in the line that makes them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.stores import MemoryStore

Data = TriggerFlowRuntimeData[Any]


def plain(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    return asyncio.Task(coroutine, loop=loop, **options)


FACTORIES: dict[str, Any] = {"a plain one": plain}
if sys.version_info >= (3, 12):
    FACTORIES["an eager one"] = asyncio.eager_task_factory


@pytest.fixture(params=FACTORIES)
def factory(request: pytest.FixtureRequest) -> Any:
    return FACTORIES[request.param]


def everything(log: list[Any]) -> TriggerFlow:
    """A flow with a bit of all that makes tasks."""
    flow = TriggerFlow(name="everything")
    child = TriggerFlow(name="child")
    child.to(("double", lambda data: data.value * 2)).end()

    @flow.chunk("begin", retry=Retry(2, initial_interval=1))
    async def begin(data: Data) -> Any:
        log.append("begin")
        if data.attempt == 1:
            raise ValueError("once")
        await data.async_emit("note", 1, settle=True)
        data.state.set("k", 2)
        log.append("begun")
        return [1, 2, 3]

    async def note(data: Data) -> None:
        log.append(f"note {data.value}")

    async def step(data: Data) -> Any:
        asyncio.create_task(asyncio.sleep(0))  # noqa: RUF006 - user code has tasks of its own
        await data.async_put_into_stream(data.value)
        return data.value

    flow.to(begin).for_each(concurrency=2).to(step).to_sub_flow(child).end_for_each().end()
    flow.when("note").to(note)
    flow.when({"runtime_data": "k"}).to(("heard", note))
    return flow


WANTED = ["begin", "begin", "note 1", "begun", "note 2"]


async def test_a_run_in_memory(factory: Any) -> None:
    """S1 and the rest hold: what a signal starts never begins in the middle of what sends it."""
    asyncio.get_running_loop().set_task_factory(factory)
    log = list[Any]()
    execution = everything(log).create_execution()
    items = asyncio.create_task(_read(execution))
    assert await execution.async_start() == [2, 4, 6]
    assert await items == [1, 2, 3]
    assert log == WANTED


async def _read(execution: Any) -> list[Any]:
    return [item async for item in execution.get_async_runtime_stream()]


async def test_a_durable_run(factory: Any) -> None:
    """A commit that begins at once is no commit that is forgotten."""
    asyncio.get_running_loop().set_task_factory(factory)
    log = list[Any]()
    flow = everything(log)
    async with MemoryStore() as store:
        for _ in range(3):
            assert await flow.create_execution(store=store).async_start(timeout=100) == [2, 4, 6]
        assert log == WANTED * 3
        async with Worker(store, flow):
            execution = flow.create_execution(store=store)
            assert await execution.async_start(timeout=100) == [2, 4, 6]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_sources_and_cancellation(factory: Any, kind: str) -> None:
    """A source is read and closed in its thread or task, whatever the factory."""
    asyncio.get_running_loop().set_task_factory(factory)
    closed = list[str]()

    def items() -> Iterator[int]:
        try:
            yield from range(20)
        finally:
            closed.append("closed")

    async def async_items() -> AsyncIterator[int]:
        try:
            for number in range(20):
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    make: Callable[[], Any] = items if kind == "sync" else async_items
    flow = TriggerFlow()
    flow.for_each(concurrency=3).to(("body", lambda data: data.value)).end_for_each().end()
    assert await flow.async_start(make()) == list(range(20))

    async def sleeper(data: Data) -> None:
        await asyncio.sleep(100)

    slow = TriggerFlow()
    slow.for_each(concurrency=3).to(sleeper).end_for_each()
    execution = slow.create_execution()
    execution.begin(make())
    await asyncio.sleep(1)
    await execution.async_cancel()
    assert closed == ["closed", "closed"]
