"""The sync twins, from scripts and threads: a loop in the background does the work. These tests run in real time."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support import until
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import AlreadyStarted, BlockingCallError, ExecutionCancelled, ExecutionClosed

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


def counting(count: int, *, pause: float = 0, fail: bool = False) -> TriggerFlow:
    flow = TriggerFlow(name="counting")

    async def source(data: Data) -> int:
        for number in range(count):
            await asyncio.sleep(pause)
            await data.async_put_into_stream(number)
        if fail:
            raise ValueError("broken")
        return count

    flow.to(source).end()
    return flow


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


def test_start_returns_the_result() -> None:
    """S13: "Every async entry has a sync twin for scripts". Falsy results included."""
    flow = TriggerFlow()
    flow.to(echo).end()
    for value in (5, 0, None, []):
        assert flow.start(value) is value
        assert flow.create_execution().start(value) is value


def test_start_raises_what_a_chunk_raised() -> None:
    """S7, from a script: the original object, with its note."""
    error = ValueError("broken")

    def fail(data: Data) -> None:
        raise error

    flow = TriggerFlow()
    flow.to(fail)
    execution = flow.create_execution()
    for call in (flow.start, execution.start, execution.get_result, lambda: list(execution.get_runtime_stream())):
        with pytest.raises(ValueError, match="broken") as caught:
            call()
        assert caught.value is error


def test_timeouts() -> None:
    """S6: "`timeout` raises `TimeoutError`": that of the flow's call cancels, that of the handle's does not."""
    flow, seen = TriggerFlow(), list[str]()
    released, cleaned = threading.Event(), threading.Event()

    async def slow(data: Data) -> str:
        try:
            await until(released)
            return "slow"
        finally:
            seen.append(data.execution_id)
            cleaned.set()

    flow.to(slow).end()
    with pytest.raises(TimeoutError):
        flow.start(timeout=0.005)
    assert cleaned.is_set()
    execution = flow.create_execution()
    with pytest.raises(TimeoutError):
        execution.start(timeout=0.005)
    with pytest.raises(TimeoutError):
        execution.get_result(timeout=0)
    released.set()
    assert execution.get_result(timeout=5) == "slow"
    assert len(seen) == 2


def test_one_execution_from_many_threads_is_one_run(pool: ThreadPoolExecutor) -> None:
    """A start and any number of waiters in any order mean one run, across threads too."""
    flow, starts = TriggerFlow(), list[int]()

    async def source(data: Data) -> Any:
        starts.append(1)
        await asyncio.sleep(0.01)
        await data.async_put_into_stream("item")
        return data.value

    flow.to(source).end()
    execution = flow.create_execution()
    results = [pool.submit(execution.start, 7) for _ in range(6)]
    results += [pool.submit(execution.get_result) for _ in range(4)]
    readers = [pool.submit(lambda: list(execution.get_runtime_stream(7))) for _ in range(6)]
    assert [future.result(5) for future in results] == [7] * 10
    assert [future.result(5) for future in readers] == [["item"]] * 6
    assert len(starts) == 1
    with pytest.raises(AlreadyStarted):
        execution.start(8)


def test_many_executions_from_many_threads(pool: ThreadPoolExecutor) -> None:
    """They share one loop in the background, and nothing else."""
    flow = TriggerFlow()

    async def pause(data: Data) -> Any:
        await asyncio.sleep(0.01)
        return data.value

    flow.to(pause).batch(("left", echo), ("right", lambda data: data.value)).end()
    threads = threading.active_count()
    assert list(pool.map(flow.start, range(100))) == [{"left": number, "right": number} for number in range(100)]
    assert threading.active_count() < threads + 16 + 60


def test_the_runtime_stream_of_a_flow() -> None:
    """Items in order, to the end of the execution; the caller's own time does not lose any."""
    found: list[int] = []
    for item in counting(5).get_runtime_stream():
        found.append(item)
        time.sleep(0.002)
    assert found == [0, 1, 2, 3, 4]


def test_the_runtime_stream_of_an_execution() -> None:
    """From any number on, by several readers, before and after; the result comes separately."""
    execution = counting(5).create_execution()
    first, second = execution.get_runtime_stream("go"), execution.get_runtime_stream("go", after=2)
    assert [next(first), next(second), next(first), next(second)] == [0, 2, 1, 3]
    assert execution.get_result() == 5
    assert list(first) == [2, 3, 4]
    assert list(second) == [4]
    assert list(execution.get_runtime_stream(after=4)) == [4]


def test_the_runtime_stream_raises_the_failure_after_the_last_item() -> None:
    """S16, from a script; the generator is over then."""
    stream = counting(2, fail=True).get_runtime_stream()
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert next(stream, "over") == "over"


def test_a_gap_longer_than_the_timeout_raises() -> None:
    """S16, from a script."""
    stream = counting(2, pause=0.03).get_runtime_stream(timeout=0.005)
    with pytest.raises(TimeoutError):
        next(stream)


def test_leaving_the_runtime_stream_early_does_not_stop_the_execution() -> None:
    """A reader that leaves holds nobody up, from a script either."""
    execution = counting(3_000).create_execution()
    for item in execution.get_runtime_stream("go"):
        if item == 3:
            break
    assert execution.get_result(timeout=5) == 3_000


def test_emit_from_worker_threads(pool: ThreadPoolExecutor) -> None:
    """Signals of many threads are all accepted, in each thread's order; with `settle` they are done on return."""
    flow, seen = TriggerFlow(), list[tuple[int, int]]()

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow.when(flow.signal("note", external=True)).to(note)
    execution = flow.create_execution()
    with pytest.raises(TimeoutError):
        execution.start(timeout=0.001)

    def emit(thread: int) -> None:
        for number in range(25):
            execution.emit("note", (thread, number), settle=number % 5 == 0)
            if number % 5 == 0:
                assert seen.count((thread, number)) == 1

    list(pool.map(emit, range(8)))
    execution.emit("note", (99, 0), settle=True)
    assert len(seen) == 8 * 25 + 1
    for thread in range(8):
        assert [number for one, number in seen if one == thread] == list(range(25))
    execution.cancel("enough")
    assert execution.get_status() == "cancelled"


def test_cancel_waits_for_clean_up_and_tells_waiters(pool: ThreadPoolExecutor) -> None:
    """S8, from a script: who waits in other threads gets the reason."""
    flow, seen = TriggerFlow(), list[str]()
    started = threading.Event()

    async def slow(data: Data) -> None:
        started.set()
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.005)
            seen.append("cleaned up")

    flow.to(slow)
    execution = flow.create_execution()
    waits = [pool.submit(execution.start), pool.submit(lambda: list(execution.get_runtime_stream()))]
    assert started.wait(5)
    execution.cancel("the user left")
    assert seen == ["cleaned up"]
    for wait in waits:
        with pytest.raises(ExecutionCancelled, match="the user left"):
            wait.result(5)
    execution.cancel("again")
    with pytest.raises(ExecutionClosed):
        execution.emit("late")


def test_a_sync_chunk_may_start_another_flow() -> None:
    """It runs in a thread, not on the loop, so that it may block: even for a flow on the same background loop."""
    inner, outer = TriggerFlow(name="inner"), TriggerFlow(name="outer")
    inner.to(("double", lambda data: data.value * 2)).end()

    @outer.chunk
    def nested(data: Data) -> Any:
        return inner.start(data.value) + sum(counting(3).get_runtime_stream())

    outer.to(nested).end()
    assert outer.start(4) == 11
    assert asyncio.run(outer.async_start(4)) == 11


def test_an_execution_that_ended_on_another_loop() -> None:
    """Result, stream and errors of an execution that ran under `asyncio.run` are there for the script."""
    flow = counting(3)
    execution = flow.create_execution()
    assert asyncio.run(execution.async_start("go")) == 3
    assert execution.get_result() == execution.start() == 3
    assert list(execution.get_runtime_stream(after=1)) == [1, 2]
    execution.cancel()
    assert execution.get_status() == "completed"
    with pytest.raises(ExecutionClosed):
        execution.emit("late")


async def test_threads_reach_an_execution_on_the_loop_of_an_async_program() -> None:
    """The sync twins work from any thread, whichever loop the execution lives on."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> Any:
        seen.append(data.value)
        await data.async_put_into_stream(data.value)
        return data.value

    flow.when(flow.signal("note", external=True)).to(note)
    flow.when("stop").to(("last", echo)).end()
    execution = flow.create_execution()
    execution.begin()

    def work() -> tuple[list[Any], Any]:
        for number in range(3):
            execution.emit("note", number, settle=True)
            assert seen[-1] == number
        stream = execution.get_runtime_stream()
        items = [next(stream) for _ in range(3)]
        execution.state.set("k", "from a thread")
        execution.emit("stop", "done")
        return items, execution.get_result()

    assert await asyncio.to_thread(work) == ([0, 1, 2], "done")
    assert execution.state.get("k") == "from a thread"


async def test_shared_data_reaches_executions_on_every_loop() -> None:
    """One flow, executions on the background loop and on this one: who sets shared data need not know who lives
    where."""
    flow = TriggerFlow()
    started, released = threading.Event(), threading.Event()

    async def hold(data: Data) -> None:
        started.set()
        await until(released)

    flow.to(hold)
    flow.when({"flow_data": "k"}).to(echo).end()
    other = asyncio.create_task(asyncio.to_thread(flow.start))
    await asyncio.to_thread(started.wait, 5)
    mine = asyncio.create_task(flow.async_start())
    await asyncio.sleep(0.001)
    try:
        flow.set_flow_data("k", "news")
    except BlockingCallError as error:
        pytest.fail(f"shared data cannot be set beside an execution on another loop: {error}")
    finally:
        released.set()
        results = await asyncio.gather(mine, other)
    assert results == ["news", "news"]
