"""Defects, continued from `test_defects`: what executions cost, what they keep, and what blocks."""

import asyncio
import gc
import logging
import threading
import time
import weakref
from typing import Any

import pytest

from tests.support import turns
from triggerflow import Execution, StreamGap, TriggerFlow, TriggerFlowRuntimeData  # fmt: skip
from triggerflow.errors import BlockingCallError

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def test_d17_a_producer_waits_for_its_slow_reader() -> None:
    """D17: a producer never waited: it had put 20,000 items when its reader had read one, and all were kept for
    ever."""
    flow, ahead, put = TriggerFlow(), 0, 0

    async def source(data: Data) -> None:
        nonlocal put
        for number in range(20_000):
            put = number + 1
            await data.async_put_into_stream(number)

    flow.to(source)
    execution = flow.create_execution(stream_history=64)
    async for item in execution.get_async_runtime_stream("go", buffer=64):
        assert not isinstance(item, StreamGap)
        ahead = max(ahead, put - item)
        if item % 1_000 == 0:
            await asyncio.sleep(1)
    assert put == 20_000
    assert ahead <= 66


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled", "skipped"])
async def test_d18_nothing_is_kept_of_an_execution_that_has_ended(
    outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D18: a flow kept every execution it had ever made, some 30 KB each."""
    monkeypatch.setattr(logging.getLogger("triggerflow"), "disabled", True)  # pytest keeps what is logged
    flow = TriggerFlow(skip_exceptions=outcome == "skipped")

    async def chunk(data: Data) -> None:
        data.flow_state.set("k", 1)
        await data.async_put_into_stream(1)
        await data.async_emit("e")
        if outcome in ("failed", "skipped"):
            raise ValueError("broken")
        if outcome == "cancelled":
            await asyncio.sleep(100)

    flow.to(chunk)
    flow.when({"flow_data": "k"}).to(("heard", echo))
    flow.when(["e", "f"]).to(("joined", echo))
    alive = weakref.WeakSet[Execution]()

    async def once() -> None:
        execution = flow.create_execution()
        alive.add(execution)
        execution.begin()
        await turns(3)
        if outcome == "cancelled":
            await execution.async_cancel()
        else:
            await asyncio.gather(execution.async_close(), return_exceptions=True)

    for _ in range(50):
        await once()
    await turns()
    gc.collect()
    assert len(alive) == 0


async def test_d19_a_chain_costs_no_task_and_a_constant_number_of_records_per_chunk() -> None:
    """D19: every chunk cost milliseconds, and the more items a loop had the more each cost. Here the parts are counted:
    no task and no thread per chunk, and records per chunk that do not depend on the length."""

    async def cost(length: int) -> tuple[int, int, int]:
        flow, tasks = TriggerFlow(), set[asyncio.Task[Any]]()

        async def step(data: Data) -> int:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            return data.value + 1

        process = flow.to(("step0", step))
        for number in range(1, length):
            process = process.to((f"step{number}", step))
        process.end()
        execution = flow.create_execution(journal_limit=10 * length)
        assert await execution.async_start(0) == length
        return len(tasks), len(execution.records), threading.active_count()

    threads = threading.active_count()
    assert await cost(10) == (1, 11, threads)
    assert await cost(400) == (1, 401, threads)


@pytest.mark.parametrize("count", [50, 400])
async def test_d19_a_fan_out_costs_a_constant_number_of_records_and_tasks_per_item(count: int) -> None:
    """D19: doubling the items more than doubled the time. Records: the start, the source, and two per item."""
    flow, tasks = TriggerFlow(), 0

    async def source(data: Data) -> None:
        nonlocal tasks
        for number in range(count):
            await data.async_emit("item", number)
        await asyncio.sleep(0.5)
        tasks = len(asyncio.all_tasks())

    async def work(data: Data) -> None:
        await asyncio.sleep(1)

    flow.to(source)
    flow.when("item").to(work)
    execution = flow.create_execution(journal_limit=10 * count)
    await execution.async_start()
    assert len(execution.records) == 2 + 2 * count
    assert tasks == 2 + count, "this test, the source, and one for each that sleeps"


async def test_d25_emitting_without_await_makes_no_threads() -> None:
    """D25: a loop of a hundred turns by a sync emit held 102 threads alive."""
    flow, peak, turns_done = TriggerFlow(), 0, 0

    async def turn(data: Data) -> None:
        nonlocal peak, turns_done
        peak = max(peak, threading.active_count())
        turns_done += 1
        if data.value:
            data.emit("again", data.value - 1)

    flow.to(turn)
    flow.when("again").to(("next", turn))
    threads = threading.active_count()
    await flow.async_start(100)
    assert turns_done == 101
    assert peak == threads


async def test_d28_a_sync_start_inside_a_running_loop_is_an_error() -> None:
    """D28: it blocked the running loop, with everything else on it, until the flow was through."""
    flow = TriggerFlow()

    async def slow(data: Data) -> None:
        await asyncio.sleep(5)

    flow.to(slow)
    before = time.monotonic()
    with pytest.raises(BlockingCallError, match="async_start"):
        flow.start()
    assert time.monotonic() - before < 4


async def test_d29_functions_on_one_line_are_different_functions() -> None:
    """D29: two lambdas on one source line were taken for one, so that the second condition was never asked."""
    flow = TriggerFlow()
    flow.batch(("one", lambda data: data.value == 1), ("two", lambda data: data.value == 2)).end()
    assert await flow.async_start(1) == {"one": True, "two": False}
    assert await flow.async_start(2) == {"one": False, "two": True}
    chain = TriggerFlow()
    chain.to(lambda data: data.value + 1).to(lambda data: data.value * 10).to(lambda data: data.value + 1).end()
    assert await chain.async_start(1) == 21
    chunks = TriggerFlow()
    first, second = chunks.chunk(lambda data: "first"), chunks.chunk(lambda data: "second")
    assert first.name != second.name
    chunks.batch(first, second).end()
    assert list((await chunks.async_start()).values()) == ["first", "second"]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_d26_conditions_are_judged_by_truth_and_awaited(kind: str) -> None:
    """D26: a condition that gave something true but not `True` did not match, and an async one was never awaited."""
    flow = TriggerFlow()

    async def condition(data: Data) -> int:
        return 5

    process = flow.to(echo).if_condition(condition if kind == "async" else lambda data: 5)
    process.to(("yes", lambda data: "yes")).else_condition().to(("no", lambda data: "no")).end_condition().end()
    assert await flow.async_start() == "yes"


async def test_d29_two_conditions_on_one_line_are_two_conditions() -> None:
    """D29: two lambdas on one source line were taken for one, so that the second was never asked."""
    small, even = (lambda data: data.value < 9), (lambda data: data.value % 2 == 0)
    for mode, wanted in (("hit_first", "small"), ("hit_all", ["small", "even"])):
        flow = TriggerFlow()
        process = flow.to(echo).match(mode=mode)
        process = process.case(small).to(("small", lambda data: "small"))
        process.case(even).to(("even", lambda data: "even")).end_match().end()
        assert await flow.async_start(2) == wanted
        assert await flow.async_start(10) == ("even" if mode == "hit_first" else ["even"])
