"""The contract's line on sync chunks and sync twins (S13), as far as a running loop is concerned."""

import asyncio
import functools
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest

from tests.support import now
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import BlockingCallError

Data = TriggerFlowRuntimeData[Any]


class Callable1:
    def __call__(self, data: Data) -> Any:
        return threading.get_ident()

    def method(self, data: Data) -> Any:
        return threading.get_ident()

    @staticmethod
    def static(data: Data) -> Any:
        return threading.get_ident()


def plain(data: Data) -> Any:
    return threading.get_ident()


SYNC = [
    plain,
    lambda data: threading.get_ident(),
    Callable1(),
    Callable1().method,
    Callable1.static,
    functools.partial(plain),
]


@pytest.mark.parametrize("handler", SYNC, ids=["function", "lambda", "object", "method", "static", "partial"])
async def test_s13_sync_chunks_run_in_a_worker_thread(handler: Any) -> None:
    """S13: "Sync chunks run in a worker thread, never on the loop". Every form of callable."""
    flow = TriggerFlow()
    flow.to(("sync", handler)).end()
    assert await flow.async_start() != threading.get_ident()


@pytest.mark.parametrize("handler", SYNC, ids=["function", "lambda", "object", "method", "static", "partial"])
async def test_s13_one_that_is_declared_cheap_runs_inline(handler: Any) -> None:
    """S13: "(one that is declared cheap runs inline)"."""
    flow = TriggerFlow()
    flow.to(flow.chunk("sync", inline=True)(handler)).end()
    assert await flow.async_start() == threading.get_ident()


async def test_s13_async_chunks_of_every_form_run_on_the_loop() -> None:
    """S13, the other way round: what gives a coroutine needs no thread."""

    class Async:
        async def __call__(self, data: Data) -> int:
            return threading.get_ident()

        async def method(self, data: Data) -> int:
            return threading.get_ident()

    flow = TriggerFlow()
    function = Async().method
    flow.batch(("object", Async()), ("method", function), ("partial", functools.partial(function))).end()
    assert set((await flow.async_start()).values()) == {threading.get_ident()}


async def test_s13_a_sync_chunk_does_not_stop_the_loop() -> None:
    """S13: "never on the loop": other chunks go on while it blocks, and several block at once."""
    flow, barrier = TriggerFlow(), threading.Barrier(3, timeout=5)
    ticks = 0

    def block(data: Data) -> None:
        barrier.wait()
        time.sleep(0.02)

    async def tick(data: Data) -> None:
        nonlocal ticks
        for _ in range(20):
            await asyncio.sleep(0.0005)
            ticks += 1

    started = time.monotonic()
    flow.batch(*((f"block{number}", block) for number in range(3)), tick)
    await flow.async_start()
    assert ticks == 20
    assert time.monotonic() - started < 1


async def test_s13_a_sync_chunk_may_do_all_that_an_async_one_may() -> None:
    """S13: from its thread it sets state, emits, waits for settling, puts items and fixes the result."""
    flow, seen = TriggerFlow(), list[Any]()

    def source(data: Data) -> str:
        assert data.state.get("k") is None
        data.state.set("k", 1)
        data.state.append("list", 2)
        data.state.delete("k", emit=False)
        data.flow_state.set("f", 3)
        data.put_into_stream("item")
        data.emit("e", 4, settle=True)
        assert seen[-1] == ("e", 4)
        data.set_result("set")
        data.stop_stream()
        return data.execution.get_status()

    async def note(data: Data) -> None:
        seen.append((data.trigger_event, data.value))

    flow.to(source).to(("after", note)).end()
    flow.when({"runtime_data": ["k", "list"], "flow_data": "f", "event": "e"}, mode="simple_or").to(("heard", note))
    execution = flow.create_execution()
    reader = execution.get_async_runtime_stream("go")
    assert await anext(reader) == "item"
    assert await anext(reader, "end") == "end"
    assert await execution.async_get_result() == "set"
    assert seen == [("k", 1), ("list", [2]), ("f", 3), ("e", 4), ("source", "running")]
    assert execution.state.to_dict() == {"list": [2]}


async def test_s13_context_variables_reach_the_thread() -> None:
    """S13: a sync chunk sees the context of the execution, and what it changes stays with it."""
    flow = TriggerFlow()
    tenant: ContextVar[str] = ContextVar("tenant")
    tenant.set("acme")

    def look(data: Data) -> str:
        found = tenant.get()
        tenant.set("other")
        return found

    flow.batch(("one", look), ("two", look)).to(("three", lambda data: {**data.value, "three": tenant.get()})).end()
    assert set((await flow.async_start()).values()) == {"acme"}
    assert tenant.get() == "acme"


async def test_s13_a_sync_handler_that_gives_an_awaitable_is_awaited() -> None:
    """S13: a lambda around an async function is a common form of chunk."""

    async def later(value: int) -> int:
        await asyncio.sleep(3)
        return value + 1

    flow = TriggerFlow()
    flow.to(("first", lambda data: later(data.value))).to(
        flow.chunk("second", inline=True)(lambda data: later(data.value))
    ).end()
    assert await flow.async_start(1) == 3
    assert 6 <= now() < 7


@pytest.mark.parametrize(
    "call",
    [
        lambda flow, execution: flow.start(1),
        lambda flow, execution: next(iter(flow.get_runtime_stream(1))),
        lambda flow, execution: execution.start(1),
        lambda flow, execution: execution.get_result(),
        lambda flow, execution: execution.cancel(),
        lambda flow, execution: execution.emit("e", settle=True),
        lambda flow, execution: next(iter(execution.get_runtime_stream(1))),
    ],
    ids=["flow.start", "flow.stream", "start", "get_result", "cancel", "emit", "stream"],
)
async def test_s13_inside_a_running_loop_the_twin_raises_instead_of_blocking(call: Any) -> None:
    """S13: "from inside a running loop the twin raises a clear error instead of blocking it.", with the name to use."""
    flow = TriggerFlow()

    async def slow(data: Data) -> None:
        await asyncio.sleep(1)

    flow.to(slow)
    execution = flow.create_execution()
    for begun in (False, True):
        if begun:
            execution.begin(1)
        before = time.monotonic()
        with pytest.raises(BlockingCallError, match=r"await .*async_"):
            call(flow, execution)
        assert time.monotonic() - before < 0.5
    assert execution.get_status() == "running"
    await execution.async_get_result()


async def test_s13_inside_a_chunk_the_twin_raises_too() -> None:
    """S13: an async chunk is inside a running loop; `emit` that need not wait is no blocking call."""
    flow, seen = TriggerFlow(), list[Any]()

    async def chunk(data: Data) -> None:
        data.emit("e", 1)
        with pytest.raises(BlockingCallError, match="async_emit"):
            data.emit("e", 2, settle=True)
        with pytest.raises(BlockingCallError, match="async_start"):
            flow.start()

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow.to(chunk)
    flow.when("e").to(note)
    await flow.async_start()
    assert seen == [1]


async def test_s13_sync_chunks_at_once_append_to_flow_data_without_losing_anything() -> None:
    """S13: "Sync chunks run in a worker thread": what they append to the shared data is all there."""
    flow = TriggerFlow()

    def note(data: Data) -> None:
        data.flow_state.append("seen", data.value)

    flow.for_each().to(note).end_for_each().end()
    await asyncio.gather(*(flow.async_start(range(50)) for _ in range(4)))
    assert sorted(await flow.async_get_flow_data("seen")) == sorted([*range(50)] * 4)
