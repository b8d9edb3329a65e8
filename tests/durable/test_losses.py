"""Attempts that end with their process are counted apart from those that fail, and have a bound of their own.

`crash` is the death of a process: nothing of it is cleaned up, and the lease has to end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import RemoteChunkError, RunLost
from triggerflow.stores import MemoryStore
from triggerflow.stores.memory import MemoryData

Data = TriggerFlowRuntimeData[Any]


class Deadly(BaseException):
    """What a chunk does that kills its process: see `process`."""


async def process(data: MemoryData, work: Callable[[MemoryStore], Any], *, dies: asyncio.Event) -> Any:
    """A process that ends with its work, or dies when the event is set."""
    dies.clear()
    store = await MemoryStore(data, lease=1.0).__aenter__()
    task, end = asyncio.ensure_future(work(store)), asyncio.ensure_future(dies.wait())
    await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
    if end.done():
        store.crash()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(2)
        return None
    end.cancel()
    await store.__aexit__(None, None, None)
    return await task


def flaky(attempts: list[int], hangs: int) -> TriggerFlow:
    """A chunk with three attempts that always fails, after it has hung for some of them."""
    flow = TriggerFlow(name="flaky")

    @flow.chunk("work", retry=Retry(3, initial_interval=1, jitter=0))
    async def work(data: Data) -> None:
        attempts.append(data.attempt)
        if len(attempts) <= hangs:
            await asyncio.sleep(10**6)
        raise ValueError("flaky")

    flow.to(work).end()
    return flow


async def test_an_orderly_stop_uses_up_no_attempt_of_the_policy() -> None:
    data, attempts = MemoryData(), list[int]()
    for number in range(8):
        flow = flaky(attempts, hangs=8)
        async with MemoryStore(data) as store:
            execution = flow.create_execution(store=store, id="x")
            await (execution.async_begin(1) if not number else execution.async_open())
            await asyncio.sleep(1)
            await execution.async_suspend()
    async with MemoryStore(data) as store:
        with pytest.raises(ValueError, match="flaky"):
            await (await flaky(attempts, hangs=8).async_resume("x", store=store)).async_get_result()
    assert attempts == list(range(1, 12))  # eight were interrupted, three have failed


async def test_a_crash_uses_up_no_attempt_of_the_policy() -> None:
    data, attempts, dies = MemoryData(), list[int](), asyncio.Event()

    async def crashing(store: MemoryStore) -> None:
        execution = flaky(attempts, hangs=3).create_execution(store=store, id="x")
        await (execution.async_begin(1) if not attempts else execution.async_open())
        await asyncio.sleep(1)
        dies.set()

    for _ in range(3):
        await process(data, crashing, dies=dies)
    async with MemoryStore(data) as store:
        with pytest.raises(ValueError, match="flaky"):
            await (await flaky(attempts, hangs=3).async_resume("x", store=store)).async_get_result()
    assert attempts == [1, 2, 3, 4, 5, 6]


async def test_the_pause_before_a_retry_counts_the_failures_only() -> None:
    data, begun = MemoryData(), list[float]()
    flow = TriggerFlow(name="f")

    @flow.chunk("work", retry=Retry(2, initial_interval=8, jitter=0))
    async def work(chunk: Data) -> None:
        begun.append(asyncio.get_running_loop().time())
        if chunk.attempt < 4:
            await asyncio.sleep(10**6)
        raise ValueError("flaky")

    flow.to(work).end()
    async with MemoryStore(data) as store:
        execution = flow.create_execution(store=store, id="x")
        await execution.async_begin(1)
        for _ in range(3):
            await asyncio.sleep(1)
            await execution.async_suspend()
            await execution.async_open()
        with pytest.raises(ValueError, match="flaky"):
            await execution.async_get_result()
    assert begun[-1] - begun[-2] == pytest.approx(8, abs=0.5)


def deadly(dies: asyncio.Event, begun: list[Any], **options: Any) -> TriggerFlow:
    """A chunk that kills its process, whenever it runs."""
    flow = TriggerFlow(name="deadly")

    @flow.chunk("poison", **options)
    async def poison(data: Data) -> None:
        begun.append((data.execution_id, data.attempt))
        dies.set()
        await asyncio.sleep(10**6)

    flow.to(poison).end()
    return flow


async def serve(store: MemoryStore, *flows: TriggerFlow, seconds: float = 5) -> None:
    async with Worker(store, *flows, poll=0.2):
        await asyncio.sleep(seconds)


async def test_a_chunk_that_kills_its_process_fails_in_the_end_and_says_so() -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()
    flow = deadly(dies, begun, retry=Retry(3, initial_interval=0))
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x")
    for _ in range(9):
        await process(data, lambda store: serve(store, flow), dies=dies)
    assert begun == [("x", number) for number in (1, 2, 3, 4, 5)]
    async with MemoryStore(data) as store:
        row = await store.find("x")
        assert row is not None
        assert (row.status, row.owner) == ("failed", None)
        assert "RunLost" in (row.error or "")
        with pytest.raises(RemoteChunkError, match=r"RunLost: chunk 'poison' .*\(5 times\).*max_losses=5"):
            await (await flow.async_resume("x", store=store)).async_get_result()


@pytest.mark.parametrize("bound", [1, 2, 3, 7])
async def test_the_bound_is_an_option(bound: int) -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()
    flow = deadly(dies, begun)
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=bound)
    for _ in range(bound + 2):
        await process(data, lambda store: serve(store, flow), dies=dies)
    assert len(begun) == bound


async def test_the_error_route_takes_what_was_lost() -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()
    flow = deadly(dies, begun)

    async def told(chunk: Data) -> Any:
        return chunk.value["chunk"], chunk.value["type"]

    flow.when({"error": "poison"}).to(("told", told)).end()
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=1)
    for _ in range(2):
        await process(data, lambda store: serve(store, flow), dies=dies)
    async with MemoryStore(data) as store:
        assert await (await flow.async_resume("x", store=store)).async_get_result() == ("poison", RunLost.__name__)


async def test_a_fallback_that_kills_the_process_is_bounded_too() -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()
    calls: list[int] = []

    async def instead(chunk: Data) -> None:
        calls.append(chunk.attempt)
        dies.set()
        await asyncio.sleep(10**6)

    flow = deadly(dies, begun, fallback=instead)
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=3)
    for _ in range(9):
        await process(data, lambda store: serve(store, flow), dies=dies)
    assert (len(begun), len(calls)) == (3, 3)
    async with MemoryStore(data) as store:
        row = await store.find("x")
        assert row is not None
        assert row.status == "failed"


async def test_those_that_ran_beside_it_are_innocent() -> None:
    """A process that ends takes all its runs with it. Suspects begin one after the other, so that the others get on."""
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()
    poison = deadly(dies, begun)
    innocent = TriggerFlow(name="innocent")

    async def work(chunk: Data) -> Any:
        await asyncio.sleep(0.3)
        return chunk.value

    innocent.to(("work", work)).end()
    async with MemoryStore(data) as store:
        await poison.async_submit(0, store=store, id="poison")
        for number in range(12):
            await innocent.async_submit(number, store=store, id=f"run-{number}")
    for _ in range(9):
        await process(data, lambda store: serve(store, poison, innocent, seconds=9), dies=dies)
    async with MemoryStore(data) as store:
        assert Counter({row.id: row.status for row in await store.executions()}.values()) == {
            "completed": 12,
            "failed": 1,
        }


@pytest.mark.parametrize("poison", ["chunk", "source"])
async def test_a_retry_in_place_begins_to_count_anew(poison: str) -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()
    flow = deadly(dies, begun) if poison == "chunk" else reading(poisoned("async", dies, begun))
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=2)
    for _ in range(3):
        await process(data, lambda store: serve(store, flow), dies=dies)
    assert len(begun) == 2
    async with MemoryStore(data) as store:
        await (await flow.async_retry("x", store=store)).async_suspend()
    begun.clear()
    for _ in range(3):
        await process(data, lambda store: serve(store, flow), dies=dies)
    assert len(begun) == 2


async def test_the_step_of_a_sub_flow_is_not_to_blame_for_its_chunks() -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()
    outer = TriggerFlow(name="outer")
    outer.to_sub_flow(deadly(dies, begun), name="step").end()
    async with MemoryStore(data) as store:
        await outer.async_submit(1, store=store, id="x", max_losses=3)
    for _ in range(5):
        await process(data, lambda store: serve(store, outer), dies=dies)
    assert len(begun) == 3
    async with MemoryStore(data) as store:
        with pytest.raises(RemoteChunkError, match=r"chunk 'step' failed.*chunk 'poison'"):
            await (await outer.async_resume("x", store=store)).async_get_result()


# -- lazy sources ------------------------------------------------------------------------------------------------------


def reading(source: Callable[..., Any], **each: Any) -> TriggerFlow:
    """A for_each over a source that is asked for one item after another. Its result: the items."""
    flow = TriggerFlow(name="reading")
    numbers: Callable[..., Any] = flow.source(source, name="numbers")

    async def begin(chunk: Data) -> Any:
        return numbers()

    async def work(chunk: Data) -> Any:
        return chunk.value

    flow.to(("begin", begin)).for_each(concurrency=1, **each).to(("work", work)).end_for_each().end()
    return flow


def poisoned(kind: str, dies: asyncio.Event, begun: list[int], good: int = 0) -> Callable[..., Any]:
    """A source that kills its process when it is asked for the item after the first `good` ones."""
    loop = asyncio.get_running_loop()

    async def in_task() -> Any:
        begun.append(len(begun))
        for number in range(good):
            yield number
        dies.set()
        await asyncio.sleep(10**6)

    def in_thread() -> Any:
        begun.append(len(begun))
        yield from range(good)
        loop.call_soon_threadsafe(dies.set)
        Event().wait(0.3)  # no cancellation reaches it; the next process begins meanwhile

    return in_task if kind == "async" else in_thread


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("good", [0, 2])
async def test_a_source_that_kills_its_process_fails_in_the_end_and_says_so(kind: str, good: int) -> None:
    """Those that it takes after items that were recorded are counted from there: it has got on."""
    data, dies, begun = MemoryData(), asyncio.Event(), list[int]()
    flow = reading(poisoned(kind, dies, begun, good))
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=4)
    for _ in range(9):
        await process(data, lambda store: serve(store, flow), dies=dies)
    assert len(begun) == 4
    async with MemoryStore(data) as store:
        row = await store.find("x")
        assert row is not None
        assert (row.status, row.owner) == ("failed", None)
        with pytest.raises(RemoteChunkError, match=r"RunLost: the source of the items of 'for_each.*\(4 times\)"):
            await (await flow.async_resume("x", store=store)).async_get_result()


async def test_the_error_route_takes_a_source_that_was_lost() -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[int]()
    flow = reading(poisoned("async", dies, begun))

    async def told(chunk: Data) -> Any:
        return chunk.value["type"]

    flow.on_error(("told", told)).end()
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=1)
    for _ in range(2):
        await process(data, lambda store: serve(store, flow), dies=dies)
    async with MemoryStore(data) as store:
        assert await (await flow.async_resume("x", store=store)).async_get_result() == "RunLost"


async def test_orderly_stops_are_no_losses_of_a_source() -> None:
    data, begun = MemoryData(), list[int]()

    async def numbers() -> Any:
        begun.append(1)
        yield 1
        await asyncio.sleep(3 if len(begun) > 6 else 10**6)
        yield 2

    flow = reading(numbers)
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=1)
    for _ in range(6):
        async with MemoryStore(data) as store:
            await serve(store, flow, seconds=2)
    async with MemoryStore(data) as store:
        assert await (await flow.async_resume("x", store=store)).async_get_result() == [1, 2]


async def test_a_source_that_waits_beside_a_deadly_chunk_is_innocent() -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[Any]()

    async def slow() -> Any:
        await asyncio.sleep(0.6)
        yield 1

    flow, poison = reading(slow), deadly(dies, begun)
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=3)
        await poison.async_submit(1, store=store, id="poison", max_losses=3)
    for _ in range(6):
        await process(data, lambda store: serve(store, flow, poison, seconds=9), dies=dies)
    async with MemoryStore(data) as store:
        rows = {row.id: row.status for row in await store.executions()}
        assert rows == {"x": "completed", "poison": "failed"}


async def test_losses_of_a_source_outlive_a_snapshot() -> None:
    data, dies, begun = MemoryData(), asyncio.Event(), list[int]()
    flow = reading(poisoned("async", dies, begun))
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=4)
    for _ in range(6):
        await process(data, lambda store: serve(store, flow), dies=dies)
        async with MemoryStore(data) as store:
            row = await store.find("x")
            assert row is not None
            if row.status == "running":
                await flow.history(store).compact("x")
    assert len(begun) == 4


# -- other code of users -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["condition", "case", "fallback of a case"])
async def test_code_of_a_user_that_kills_its_process_is_bounded_wherever_it_is_called(where: str) -> None:
    """What runs as part of a chunk or a condition counts for that."""
    data, dies, begun = MemoryData(), asyncio.Event(), list[int]()
    flow = TriggerFlow(name="f")

    async def kill(*_: Any) -> Any:
        begun.append(1)
        dies.set()
        await asyncio.sleep(10**6)

    class Why(Exception):
        def __str__(self) -> str:
            return "why"

    async def fails(chunk: Data) -> None:
        raise Why

    async def echo(chunk: Data) -> Any:
        return chunk.value

    if where == "condition":
        flow.if_condition(kill).to(("echo", echo)).end_condition().end()
    elif where == "case":
        flow.match().case(kill).to(("echo", echo)).end_match().end()
    else:
        flow.match().case(True).to(flow.chunk("fails", fallback=kill)(fails)).end_match().end()
    async with MemoryStore(data) as store:
        await flow.async_submit(1, store=store, id="x", max_losses=2)
    for _ in range(5):
        await process(data, lambda store: serve(store, flow), dies=dies)
    async with MemoryStore(data) as store:
        row = await store.find("x")
        assert row is not None
        assert row.status == "failed"
        assert "RunLost" in (row.error or "")
    assert len(begun) in (2, 4)
