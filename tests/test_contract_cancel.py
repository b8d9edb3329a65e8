"""The contract's line on cancellation (S8): from outside, by time-out, of a waiter, during clean-up."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from tests.support import now, read, turns
from triggerflow import TriggerFlow, TriggerFlowError, TriggerFlowRuntimeData
from triggerflow.errors import ExecutionCancelled

Data = TriggerFlowRuntimeData[Any]


def sleeping_flow(seen: list[str], clean_up: float = 0) -> TriggerFlow:
    """Two chunks that sleep and note their clean-up, one in a batch and one by event."""
    flow = TriggerFlow(name="brief")

    async def sleeper(data: Data) -> None:
        data.emit("event")
        try:
            await asyncio.sleep(100)
            seen.append("finished")
        finally:
            await asyncio.sleep(clean_up)
            seen.append("cleaned up")

    async def never(data: Data) -> None:
        seen.append("never")

    async def heard(data: Data) -> None:
        await asyncio.sleep(100)

    flow.batch(("one", sleeper)).to(never)
    flow.when("event").to(heard)
    return flow


@pytest.mark.parametrize("clean_up", [0, 3])
async def test_s08_cancel_stops_cleans_up_and_has_a_reason(clean_up: float) -> None:
    """S8: "Cancellation is structured, has a reason, waits for clean-up up to a deadline, and leaves status
    `cancelled`." All waiters and readers are told."""
    seen: list[str] = []
    execution = sleeping_flow(seen, clean_up).create_execution(id="run-8")
    waits = [
        asyncio.create_task(wait)
        for wait in (
            execution.async_start("go"),
            execution.async_get_result(timeout=1_000),
            read(execution.get_async_runtime_stream("go")),
        )
    ]
    await asyncio.sleep(10)
    await execution.async_cancel("the user left")
    assert now() == 10 + clean_up
    assert seen == ["cleaned up"]
    assert execution.get_status() == "cancelled"
    for wait in waits:
        with pytest.raises(ExecutionCancelled, match="the user left") as caught:
            await wait
        assert caught.value.reason == "the user left"
        assert "run-8" in str(caught.value)
    with pytest.raises(ExecutionCancelled, match="the user left"):
        await execution.async_get_result()
    await execution.async_cancel("again")
    with pytest.raises(ExecutionCancelled, match="the user left"):
        await anext(execution.get_async_runtime_stream())


@pytest.mark.parametrize("delay", ["none", "one turn", "some turns"])
async def test_s08_cancel_right_after_the_start_takes_no_time(delay: str) -> None:
    """S8: the deadline is for clean-up; chunks that have not begun have nothing to clean up."""
    seen: list[str] = []
    execution = sleeping_flow(seen).create_execution()
    execution.begin("go")
    if delay != "none":
        await turns(1 if delay == "one turn" else 5)
    await execution.async_cancel()
    assert now() == 0
    assert execution.get_status() == "cancelled"
    assert "finished" not in seen


async def test_s08_a_flow_that_never_stops_by_itself_can_be_cancelled_at_once() -> None:
    """S8, where no chunk ever suspends: a loop of emits lets others run, and can be stopped in between."""
    flow, done = TriggerFlow(), 0

    async def turn(data: Data) -> None:
        nonlocal done
        done += 1
        data.emit("again")

    flow.to(turn)
    flow.when("again").to(("next", turn))
    execution = flow.create_execution()
    execution.begin()
    await turns(1_000)
    assert done > 1_000
    await execution.async_cancel()
    assert now() == 0
    count = done
    await turns()
    assert done == count


async def test_s08_the_deadline_bounds_the_wait_for_clean_up() -> None:
    """S8: "waits for clean-up up to a deadline"; a chunk that swallows its cancellation holds nobody up for longer."""
    flow = TriggerFlow()

    async def stubborn(data: Data) -> str:
        end = now() + 50
        while now() < end:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(end - now())
        return "done"

    flow.to(stubborn).end()
    execution = flow.create_execution(cleanup_timeout=2)
    execution.begin()
    await asyncio.sleep(1)
    await execution.async_cancel("no patience")
    assert now() == 3
    assert execution.get_status() == "cancelled"
    await asyncio.sleep(100)
    assert execution.get_status() == "cancelled"
    with pytest.raises(ExecutionCancelled):
        await execution.async_get_result()


async def test_s08_a_thread_is_waited_for_up_to_the_deadline() -> None:
    """S8: a sync chunk cannot be interrupted, so the deadline decides."""
    flow, gate = TriggerFlow(), threading.Event()
    flow.to(("blocked", lambda data: gate.wait(5)))
    execution = flow.create_execution(cleanup_timeout=0.02)
    execution.begin()
    await turns()
    await execution.async_cancel()
    assert execution.get_status() == "cancelled"
    assert not gate.is_set()
    gate.set()


async def test_s08_work_in_clean_up_is_recorded_and_starts_nothing() -> None:
    """S8: what chunks write while they clean up is kept, what they emit triggers nothing, and no call of theirs
    fails."""
    flow, seen = TriggerFlow(), list[str]()

    async def chunk(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await data.state.async_set("k", "kept")
            await data.async_emit("e", settle=True)
            await data.async_put_into_stream("last words")
            data.set_result("too late")

    async def never(data: Data) -> None:
        seen.append(data.chunk_name)

    flow.to(chunk)
    flow.when("e").to(never)
    flow.when({"runtime_data": "k"}).to(("never either", never))
    execution = flow.create_execution()
    execution.begin()
    reader = execution.get_async_runtime_stream()
    await turns()
    await execution.async_cancel("enough")
    assert execution.state.get("k") == "kept"
    assert await anext(reader) == "last words"
    with pytest.raises(ExecutionCancelled):
        await anext(reader)
    with pytest.raises(ExecutionCancelled):
        await execution.async_get_result()
    assert seen == []


@pytest.mark.parametrize("way", ["cancel", "timeout", "wait_for", "asyncio.timeout", "task group"])
async def test_s08_cancelling_or_timing_out_async_start_of_the_flow_cancels_that_execution(way: str) -> None:
    """S8: "Cancelling or timing out `await flow.async_start(...)` cancels that execution": its chunks have stopped and
    cleaned up before the caller goes on."""
    seen: list[str] = []
    flow = sleeping_flow(seen, clean_up=1)
    if way == "cancel":
        task = asyncio.create_task(flow.async_start())
        await asyncio.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif way == "timeout":
        with pytest.raises(TimeoutError):
            await flow.async_start(timeout=10)
    elif way == "wait_for":
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.async_start(), 10)
    elif way == "asyncio.timeout":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await flow.async_start()
    else:

        async def group_of_tasks() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(flow.async_start())
                await asyncio.sleep(10)
                raise ValueError("the group ends")

        with pytest.raises(ExceptionGroup):
            await group_of_tasks()
    assert seen == ["cleaned up"]
    assert now() == 11
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("way", ["cancel", "timeout", "wait_for"])
@pytest.mark.parametrize("method", ["async_start", "async_get_result"])
async def test_s08_cancelling_or_timing_out_a_waiter_ends_only_the_wait(way: str, method: str) -> None:
    """S8: "cancelling or timing out a waiter on an execution handle ends only the wait." """
    flow = TriggerFlow()

    async def slow(data: Data) -> str:
        await asyncio.sleep(100)
        return "slow"

    flow.to(slow).end()
    execution = flow.create_execution()
    execution.begin("go")
    other = asyncio.create_task(execution.async_get_result())
    wait = getattr(execution, method)
    if way == "cancel":
        task = asyncio.create_task(wait())
        await asyncio.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(TimeoutError):
            await (wait(timeout=10) if way == "timeout" else asyncio.wait_for(wait(), 10))
    assert now() == 10
    assert execution.get_status() == "running"
    assert await other == "slow"


async def test_s08_cancel_while_others_cancel_too() -> None:
    """S8: everyone who cancels waits for the clean-up, and the first reason stands."""
    seen: list[str] = []
    execution = sleeping_flow(seen, clean_up=2).create_execution()
    execution.begin()
    await turns()
    ends: list[float] = []

    async def cancel(reason: str) -> None:
        await execution.async_cancel(reason)
        ends.append(now())

    await asyncio.gather(cancel("first"), cancel("second"))
    assert ends == [2, 2]
    with pytest.raises(ExecutionCancelled, match="first"):
        await execution.async_get_result()


async def test_s08_a_caller_cancelled_during_the_clean_up_does_not_leave_it_undone() -> None:
    """S8: cancelling the caller twice ends its wait; the clean-up still goes its way."""
    seen: list[str] = []
    task = asyncio.create_task(sleeping_flow(seen, clean_up=3).async_start())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(5)
    assert seen == ["cleaned up"]
    assert len(asyncio.all_tasks()) == 1


async def test_s08_a_chunk_may_cancel_its_own_execution() -> None:
    """S8: structured, also from within: the chunk that asks is itself stopped."""
    flow, seen = TriggerFlow(), list[str]()

    async def chunk(data: Data) -> None:
        try:
            await data.execution.async_cancel("had enough")
        finally:
            seen.append("stopped")

    flow.to(chunk).to(lambda data: seen.append("never"))
    with pytest.raises(ExecutionCancelled, match="had enough"):
        await flow.async_start()
    assert seen == ["stopped"]
    assert now() == 0


async def test_s08_cancel_before_the_start() -> None:
    """S8: an execution that never ran is cancelled as well; it can then neither run nor wait."""
    seen: list[str] = []
    execution = sleeping_flow(seen).create_execution()
    await execution.async_cancel("changed my mind")
    assert execution.get_status() == "cancelled"
    with pytest.raises(TriggerFlowError):
        await execution.async_start("go")
    with pytest.raises(ExecutionCancelled, match="changed my mind"):
        await execution.async_get_result()
    with pytest.raises(ExecutionCancelled, match="changed my mind"):
        await anext(execution.get_async_runtime_stream())
    assert seen == []


@pytest.mark.parametrize("concurrency", [1, 2, None])
async def test_s08_cancel_reaches_chunks_in_every_kind_of_wait(concurrency: int | None) -> None:
    """S8: chunks that queue for a place, wait for settling, for room in a reader's buffer or under back-pressure."""
    flow = TriggerFlow()

    async def settling(data: Data) -> None:
        await data.async_emit("work", settle=True)

    async def flooding(data: Data) -> None:
        for _ in range(100):
            await data.async_emit("work")

    async def putting(data: Data) -> None:
        for number in range(100):
            await data.async_put_into_stream(number)

    async def work(data: Data) -> None:
        await asyncio.sleep(100)

    flow.batch(putting, settling, flooding, ("queued", work))
    flow.when("work").to(work)
    execution = flow.create_execution(concurrency=concurrency, max_pending=3)
    reader = execution.get_async_runtime_stream("go", buffer=1)
    await anext(reader)
    await asyncio.sleep(1)
    await execution.async_cancel()
    assert now() == 1
    with pytest.raises(ExecutionCancelled):
        await read(reader)
    await turns()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("held_by", ["settling", "a slow reader"])
async def test_s08_a_thread_that_waits_inside_the_engine_is_released(held_by: str) -> None:
    """S8: a thread cannot be interrupted in the user's code; in a call of ours it can be, and does not use up the
    deadline."""
    flow = TriggerFlow()

    def settling(data: Data) -> None:
        data.emit("work", settle=True)

    def putting(data: Data) -> None:
        for number in range(100):
            data.put_into_stream(number)

    async def work(data: Data) -> None:
        await asyncio.sleep(1_000)

    flow.to(settling if held_by == "settling" else putting)
    flow.when("work").to(work)
    execution = flow.create_execution(cleanup_timeout=0.3)
    reader = execution.get_async_runtime_stream("go", buffer=1)
    if held_by == "settling":
        execution.begin("go")
    else:
        await anext(reader)
    await asyncio.sleep(0.02)
    before = now()
    await execution.async_cancel()
    assert now() - before < 0.2
