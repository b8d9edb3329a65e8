"""Sync chunks and their threads: time-outs, threads that wait for each other, how many there are, and the end."""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from typing import Any

import pytest

from tests.support import Gauge, until
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ExecutionCancelled, UsageError
from triggerflow.stores import MemoryStore

Data = TriggerFlowRuntimeData[Any]

pytestmark = pytest.mark.real_time


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocked chunks wait for; opened when the test ends."""
    event = threading.Event()
    yield event
    event.set()


# -- time-outs ---------------------------------------------------------------------------------------------------------


async def test_a_sync_chunk_that_times_out_fails_at_once(gate: threading.Event) -> None:
    """ "A sync chunk that times out fails at once, and its thread goes on: what it returns is dropped"."""
    flow, seen = TriggerFlow(), list[Any]()
    ended = threading.Event()

    @flow.chunk("slow", timeout=0.05)
    def slow(data: Data) -> str:
        gate.wait(20)
        ended.set()
        return "late"

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow.to(slow).to(note).end()
    with pytest.raises(TimeoutError, match=r"'slow' did not finish within its timeout of 0\.05 s"):
        await flow.async_start()
    assert not ended.is_set()
    gate.set()
    await until(ended)
    assert seen == []


async def test_an_error_route_and_a_retry_hear_of_a_time_out_at_once(gate: threading.Event) -> None:
    """ "the next attempt may start, while it still runs": three threads, of which nobody waits for the first two."""
    flow, gauge, attempts = TriggerFlow(), Gauge(), list[int]()

    @flow.chunk("slow", timeout=0.05, retry=Retry(3, initial_interval=0), concurrency=1)
    def slow(data: Data) -> str:
        attempts.append(data.attempt)
        with gauge.inside():
            if data.attempt < 3:
                gate.wait(20)
        return f"attempt {data.attempt}"

    flow.to(slow).end()
    execution = flow.create_execution()
    assert await execution.async_start() == "attempt 3"
    assert attempts == [1, 2, 3]
    assert gauge.peak == 3


async def test_what_a_timed_out_thread_still_does_does_not_count(gate: threading.Event) -> None:
    """ "its next call into the engine raises": nothing of it is taken for what the next attempt does."""
    flow, raised = TriggerFlow(), dict[str, BaseException]()
    ended = threading.Event()

    @flow.chunk("slow", timeout=0.3, retry=Retry(2, initial_interval=0))
    def slow(data: Data) -> Any:
        state = data.state
        if data.attempt == 2:
            gate.set()
            ended.wait(20)
            return state.get("late")
        gate.wait(20)
        for name, call in {
            "state": lambda: state.set("late", 1),
            "update": lambda: state.update("late", lambda held: 1),
            "flow state": lambda: data.flow_state.set("late", 1),
            "emit": lambda: data.emit("late"),
            "settle": lambda: data.emit("late", settle=True),
            "put": lambda: data.put_into_stream("late"),
            "result": lambda: data.set_result("late"),
            "stop": data.stop_stream,
        }.items():
            try:
                call()
            except BaseException as error:
                raised[name] = error
        ended.set()
        return "late"

    heard = list[Any]()

    async def hear(data: Data) -> None:
        heard.append(data.value)

    flow.to(slow).end()
    flow.when({"event": "late", "runtime_data": "late", "flow_data": "late"}, mode="or").to(hear)
    execution = flow.create_execution()
    reader = execution.get_async_runtime_stream()
    result = asyncio.create_task(execution.async_start())
    items = [item async for item in reader]
    assert await result is None
    assert items == heard == []
    assert len(raised) == 8
    for error in raised.values():
        assert isinstance(error, UsageError)
        assert "no caller waits for chunk 'slow' any more" in str(error)


async def test_a_thread_that_waits_inside_the_engine_when_it_times_out_is_woken() -> None:
    """It waits for what its signal has caused; the time-out ends that wait, and the thread."""
    flow, raised = TriggerFlow(), list[BaseException]()
    ended = threading.Event()

    @flow.chunk("slow", timeout=0.05)
    def slow(data: Data) -> None:
        try:
            data.emit("work", settle=True)
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    async def work(data: Data) -> None:
        await asyncio.sleep(0.3)

    flow.to(slow)
    flow.when("work").to(work)
    with pytest.raises(TimeoutError, match="'slow'"):
        await flow.async_start()
    await until(ended)
    assert [type(error) for error in raised] == [UsageError]


async def test_a_thread_that_waits_for_another_flow_when_it_times_out_ends_that(gate: threading.Event) -> None:
    """A sync chunk may start a flow of its own, which runs on the loop in the background."""
    inner, outer = TriggerFlow(), TriggerFlow()
    begun, cleaned = threading.Event(), threading.Event()

    async def sleeper(data: Data) -> None:
        begun.set()
        try:
            await asyncio.sleep(20)
        finally:
            cleaned.set()

    inner.to(sleeper)

    @outer.chunk("slow", timeout=0.3)
    def slow(data: Data) -> None:
        inner.start()

    outer.to(slow)
    with pytest.raises(TimeoutError, match="'slow'"):
        await outer.async_start()
    assert begun.is_set()
    await until(cleaned)


async def test_a_time_out_of_a_chunk_that_waits_for_a_thread_needs_none(gate: threading.Event) -> None:
    """A call that has not begun never begins."""
    flow, begun = TriggerFlow(), list[Any]()

    def block(data: Data) -> None:
        begun.append(data.value)
        gate.wait(20)

    flow.for_each(concurrency=2).to(block).end_for_each()
    execution = flow.create_execution(cleanup_timeout=0)
    execution.begin([1, 2, 3])
    while len(begun) < 2:  # noqa: ASYNC110 - threads cannot set an asyncio.Event
        await asyncio.sleep(0.001)
    await execution.async_cancel()
    assert sorted(begun) == [1, 2]


# -- cancellation ------------------------------------------------------------------------------------------------------


async def test_cancellation_waits_for_a_thread_as_long_as_clean_up_may_take(gate: threading.Event) -> None:
    """S8: "cancellation waits for clean-up", "up to the execution's clean-up time-out": a thread has that time, too."""
    flow, begun = TriggerFlow(), threading.Event()

    def block(data: Data) -> None:
        begun.set()
        gate.wait(20)

    flow.to(block)
    execution = flow.create_execution(cleanup_timeout=0.1)
    execution.begin()
    await until(begun)
    await execution.async_cancel()
    assert not gate.is_set()
    with pytest.raises(ExecutionCancelled):
        await execution.async_get_result()
    await asyncio.sleep(0.05)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == [], "the worker has left its thread"


async def test_a_thread_that_stops_in_time_is_waited_for(gate: threading.Event) -> None:
    """What a sync chunk does at its end is done when the cancellation returns."""
    flow, log, begun = TriggerFlow(), list[str](), threading.Event()

    def block(data: Data) -> None:
        begun.set()
        gate.wait(20)
        time.sleep(0.02)
        log.append("ended")

    flow.to(block)
    execution = flow.create_execution(cleanup_timeout=20)
    execution.begin()
    await until(begun)
    asyncio.get_running_loop().call_later(0.05, gate.set)
    await execution.async_cancel()
    assert log == ["ended"]


async def test_a_durable_execution_waits_for_its_thread_to_end(gate: threading.Event) -> None:
    """Another process may run the chunk as soon as this one has stopped: so it has not before the thread has."""
    flow, begun, log = TriggerFlow(name="durable"), threading.Event(), list[str]()

    def block(data: Data) -> None:
        begun.set()
        gate.wait(20)
        log.append("ended")

    flow.to(block)
    async with MemoryStore() as store:
        execution = flow.create_execution(store=store, cleanup_timeout=0.05)
        await execution.async_begin()
        await until(begun)

        async def owner() -> str | None:
            row = await store.find(execution.id)
            assert row is not None
            return row.owner

        await execution.async_suspend()
        await asyncio.sleep(0.1)
        assert await owner() == store.owner
        gate.set()
        while await owner() is not None:  # noqa: ASYNC110 - the store is asked
            await asyncio.sleep(0.01)
        assert log == ["ended"]


# -- how many ----------------------------------------------------------------------------------------------------------

MANY = 1_300


@pytest.mark.parametrize("way", ["settle", "sub flow"])
async def test_threads_that_wait_for_threads_never_use_them_up(way: str) -> None:
    """S3: nothing deadlocks: more sync chunks than threads may be busy wait for sync chunks at the same time."""
    flow, inner, gauge = TriggerFlow(), TriggerFlow(), Gauge()
    gate = Future[None]()

    async def hold(data: Data) -> Any:
        await asyncio.wrap_future(gate)  # needs no thread: chunks that block in threads would fill the pool first
        return data.value

    def work(data: Data) -> Any:
        return data.value

    def outer(data: Data) -> Any:
        with gauge.inside():
            if gauge.count >= 1_100:
                with contextlib.suppress(InvalidStateError):
                    gate.set_result(None)
            if way == "settle":
                data.emit("work", data.value, settle=True)
            else:
                assert inner.start(data.value) == data.value
        return data.value

    inner.to(hold).to(work).end()
    flow.when("work").to(hold).to(work)
    flow.for_each(concurrency=MANY).to(outer).end_for_each().end()
    assert await asyncio.wait_for(flow.async_start(range(MANY)), 50) == list(range(MANY))
    assert gauge.peak >= 1_100


async def test_threads_with_loops_of_their_own_wait_for_threads() -> None:
    """A sync chunk that runs an event loop of its own, with sync chunks on it, three deep."""
    flows = [TriggerFlow(name=f"level {number}") for number in range(4)]
    flows[0].to(lambda data: data.value).end()

    def starts(flow: TriggerFlow) -> Any:
        return lambda data: asyncio.run(flow.async_start(data.value))

    for below, flow in itertools.pairwise(flows):
        flow.for_each().to(starts(below)).end_for_each().to(lambda data: sum(data.value)).end()
    top: Any = flows[3]
    assert await asyncio.wait_for(top.async_start([[[1, 2], [3]], [[4]]]), 30) == 10


async def test_threads_that_were_left_are_no_loss(gate: threading.Event) -> None:
    """However many have timed out and never end, there is a thread for the next chunk."""
    flow = TriggerFlow()

    @flow.chunk("stuck", timeout=1)
    def stuck(data: Data) -> None:
        gate.wait(50)

    async def handle(data: Data) -> None:
        pass

    flow.for_each(concurrency=600).to(stuck).end_for_each()
    flow.on_error(handle)
    for _ in range(2):
        await flow.async_start(range(600))
    other = TriggerFlow()
    other.to(lambda data: "done").end()
    assert await asyncio.wait_for(other.async_start(), 10) == "done"


async def test_idle_threads_are_few() -> None:
    """A burst of sync chunks leaves no crowd of threads behind."""
    flow, barrier = TriggerFlow(), threading.Barrier(300, timeout=30)

    def meet(data: Data) -> None:
        barrier.wait()

    flow.for_each().to(meet).end_for_each()
    before = threading.active_count()
    await flow.async_start(range(300))
    for _ in range(200):
        if threading.active_count() - before < 64:
            break
        await asyncio.sleep(0.01)
    assert threading.active_count() - before < 64


async def test_a_thread_holds_nothing_of_what_it_has_done() -> None:
    """An idle thread keeps neither the value nor the result of its last chunk alive."""
    import gc
    import weakref

    class Big:
        pass

    flow, alive = TriggerFlow(), weakref.WeakSet[Big]()

    def make(data: Data) -> Big:
        big = Big()
        alive.add(big)
        return big

    flow.to(make).to(("use", lambda data: None)).end()
    await flow.async_start()
    await asyncio.sleep(0.05)
    gc.collect()
    assert len(alive) == 0


# -- the end of the process --------------------------------------------------------------------------------------------

HEAD = """
    import asyncio, sys, threading, time
    from triggerflow import TriggerFlow

    flow = TriggerFlow()
"""

SCRIPTS = {
    "timed out": (
        """
        flow.to(flow.chunk("slow", timeout=0.1)(lambda data: time.sleep(30)))
        try:
            flow.start()
        except TimeoutError:
            print("timed out")
        """,
        "timed out\n",
    ),
    "timed out in asyncio.run": (
        """
        flow.to(flow.chunk("slow", timeout=0.1)(lambda data: time.sleep(30)))
        async def main():
            try:
                await flow.async_start()
            except TimeoutError:
                print("timed out")
        asyncio.run(main())
        """,
        "timed out\n",
    ),
    "cancelled, and it does not stop": (
        """
        begun = threading.Event()
        flow.to(lambda data: (begun.set(), time.sleep(30)))
        async def main():
            execution = flow.create_execution(cleanup_timeout=0.1)
            execution.begin()
            while not begun.is_set():
                await asyncio.sleep(0.01)
        asyncio.run(main())
        print("end")
        """,
        "end\n",
    ),
    "still waited for": (
        """
        def work(data):
            time.sleep(0.5)
            data.put_into_stream("late")
            print("worked")
        flow.to(work)
        threading.Thread(target=flow.start, daemon=True).start()
        time.sleep(0.2)
        print("end")
        """,
        "end\nworked\n",
    ),
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_the_end_of_a_program_waits_for_sync_chunks_that_somebody_waits_for(what: str) -> None:
    """ "the process waits at its end for what still runs in them; but not for calls that were left"; quietly."""
    script, printed = SCRIPTS[what]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-Werror", "-c", textwrap.dedent(HEAD) + textwrap.dedent(script)],
        capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == printed
    assert done.returncode == 0
    assert time.monotonic() - begun < 20  # and not the 30 s that the thread sleeps
