"""Defects that were proved in another engine with this interface, and that this one must not have.

The numbers are those of the list they were collected in. Each docstring says what went wrong elsewhere. What an
execution costs and keeps stands in `test_defects_cost`; pause, save and model streams (D9-D11, D20-D24) have tests of
their own."""

import asyncio
import threading
import time
from typing import Any

import pytest

from tests.support import Gauge, drain, external, now, read, turns
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData  # fmt: skip
from triggerflow.errors import ExecutionCancelled

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


def research(seconds: float = 1.0) -> TriggerFlow:
    """A chunk sets a key, its listeners fan out and join, and a last chunk reports and stops the stream."""
    flow = TriggerFlow(name="research")

    async def normalize(data: Data) -> str:
        data.state.set("topic", data.value.strip())
        await data.async_put_into_stream("normalized")
        return data.value

    async def fetch(data: Data) -> str:
        await asyncio.sleep(seconds)
        await data.async_put_into_stream(data.chunk_name)
        return f"{data.chunk_name}({data.value})"

    async def report(data: Data) -> Any:
        await data.async_put_into_stream("compiled")
        await data.async_stop_stream()
        return data.value

    flow.to(normalize)
    flow.when({"runtime_data": "topic"}).batch(("facts", fetch), ("risks", fetch), concurrency=2).to(report).end()
    return flow


async def test_d01_an_item_put_after_a_state_change_is_in_the_stream_before_what_the_change_triggered() -> None:
    """D1: setting a key ran everything downstream before the next line of the chunk, the stop of the stream included,
    so that the chunk's own item came after the stop and was lost."""
    execution = research().create_execution(concurrency=2)
    items = await read(execution.get_async_runtime_stream(" x "))
    assert items == ["normalized", "facts", "risks", "compiled"]
    assert await execution.async_get_result() == {"facts": "facts(x)", "risks": "risks(x)"}


async def test_d02_setting_state_neither_blocks_the_loop_nor_makes_a_thread() -> None:
    """D2: setting a key in an async chunk ran the chunks downstream on a loop of a new thread, and blocked the main
    loop until they were through."""
    beats: list[float] = []

    async def heart() -> None:
        while True:
            beats.append(now())
            await asyncio.sleep(0.1)

    beating = asyncio.create_task(heart())
    threads = threading.active_count()
    before = time.monotonic()
    await research(seconds=1.0).async_start("x")
    beating.cancel()
    assert len(beats) >= 10
    assert time.monotonic() - before < 0.9
    assert threading.active_count() == threads


async def test_d03_a_limit_of_one_does_not_deadlock_a_chunk_that_sets_state() -> None:
    """D3: with one place, the chunk that set the key held it while the change waited for it: nothing ever went on, and
    the blocked loop could not even be cancelled."""
    flow = research()
    assert await flow.async_start("x", concurrency=1) == {"facts": "facts(x)", "risks": "risks(x)"}
    assert now() == 2


async def test_d04_the_limit_of_an_execution_counts_all_its_chunks() -> None:
    """D4: only the outermost dispatches were counted, so that an execution with two places ran twenty chunks at
    once."""
    flow, gauge = TriggerFlow(), Gauge()

    async def source(data: Data) -> None:
        for number in range(20):
            await data.async_emit("item", number)

    async def work(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)

    flow.to(source)
    flow.when("item").to(work)
    await flow.async_start(concurrency=2)
    assert gauge.total == 20
    assert gauge.peak == 2


async def test_d05_emitting_is_not_serial_and_orphans_nothing() -> None:
    """D5: an awaited emit waited for the chunks it triggered, so that a producer was as slow as all of them together;
    one that was not awaited was forgotten when the result came."""
    flow, done, times = TriggerFlow(), list[int](), list[float]()

    async def producer(data: Data) -> str:
        for number in range(5):
            await data.async_emit("field", number)
        times.append(now())
        return "answer"

    async def handle(data: Data) -> None:
        await asyncio.sleep(0.2)
        done.append(data.value)

    flow.to(producer).end()
    flow.when("field").to(handle)
    assert await flow.async_start() == "answer"
    assert times == [0]
    assert now() == 0.2
    assert sorted(done) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("items", [[], [[], [1], []], (), range(0), {1, 2}])
async def test_d06_for_each_over_nothing_completes(items: Any) -> None:
    """D6: a loop over an empty list never completed; one empty inner list lost the whole result; sets were refused."""
    flow = TriggerFlow()
    flow.to(echo).for_each().for_each().to(echo).end_for_each().end_for_each().end()
    wanted = [list(item) if isinstance(item, list) else [item] for item in items]
    assert await flow.async_start(items) == wanted
    assert now() == 0


async def test_d07_passes_through_one_batch_never_mix() -> None:
    """D7: of fifty signals sent at once into one batch, forty-nine joins held branches of two different signals."""
    flow, joined = TriggerFlow(), list[dict[str, Any]]()

    async def branch(data: Data) -> Any:
        number = data.value if isinstance(data.value, int) else data.value["left"]
        await asyncio.sleep((number * 7 + len(data.chunk_name)) % 5)
        return data.value

    async def note(data: Data) -> None:
        joined.append(data.value)

    flow.signal("go", external=True)
    flow.when("go").batch(("left", branch), ("middle", branch), ("right", branch), concurrency=2).batch(
        ("again", echo), ("twice", branch)
    ).to(note)
    execution = flow.create_execution(concurrency=20)
    execution.begin()
    await asyncio.gather(*(execution.async_emit("go", number) for number in range(50)))
    await execution.async_close()
    assert len(joined) == 50
    for value in joined:
        assert value["again"] == value["twice"]
        assert len(set(value["again"].values())) == 1
    assert sorted(value["again"]["left"] for value in joined) == list(range(50))


async def test_d08_join_consumes_a_full_set_once() -> None:
    """D8: a full set was dropped only after all chunks behind the join were through. Until then a single new signal
    fired it again with a stale partner: a hundred pairs gave 199 joins."""
    flow, pairs = TriggerFlow(), list[tuple[int, int]]()

    async def slow(data: Data) -> None:
        pairs.append((data.value["event"]["a"], data.value["event"]["b"]))
        await asyncio.sleep(10)

    flow.when({"event": ["a", "b"]}).to(slow)
    external(flow, "a", "b")
    execution = flow.create_execution()
    execution.begin()
    for number in range(100):
        await execution.async_emit("a", number)
        await asyncio.sleep(0.01)
        await execution.async_emit("b", number)
    await execution.async_close()
    assert pairs == [(number, number) for number in range(100)]


async def test_d08_a_signal_that_the_joined_chunk_sends_is_not_lost() -> None:
    """D8: a partner sent again by the joined chunk met the stale set, and was then missing for the next."""
    flow, pairs = TriggerFlow(), list[tuple[int, ...]]()

    async def again(data: Data) -> None:
        pairs.append(tuple(data.value["event"].values()))
        if len(pairs) == 1:
            await data.async_emit("a", 2)

    flow.when({"event": ["a", "b"]}).to(again)
    external(flow, "a", "b")
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("a", 1)
    await execution.async_emit("b", 1, settle=True)
    assert pairs == [(1, 1)]
    await execution.async_emit("b", 2)
    await execution.async_close()
    assert pairs == [(1, 1), (2, 2)]


@pytest.mark.parametrize("timeout", [None, 3.0])
async def test_d12_the_stream_ends_with_the_execution(timeout: float | None) -> None:
    """D12: a stream that nobody stopped ended only after the reader's whole time-out, and without one never."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        await data.async_put_into_stream(1)

    flow.to(source)
    assert await read(flow.get_async_runtime_stream(timeout=timeout)) == [1]
    assert now() == 0


async def test_d12_a_gap_longer_than_the_timeout_is_an_error() -> None:
    """D12: a gap longer than the time-out ended the stream as if all were well, and the items after it were lost."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        await data.async_put_into_stream(1)
        await asyncio.sleep(1)
        await data.async_put_into_stream(2)

    flow.to(source)
    items, error = await drain(flow.get_async_runtime_stream(timeout=0.3))
    assert items == [1]
    assert isinstance(error, TimeoutError)


async def test_d13_a_failure_reaches_the_reader_at_once_and_every_waiter() -> None:
    """D13: the reader of a failed execution learnt it after its full time-out; who asked for the result afterwards
    waited for ever."""
    flow = TriggerFlow()

    async def fail(data: Data) -> None:
        raise ValueError("broken")

    flow.to(fail)
    execution = flow.create_execution()
    for wait in (
        read(execution.get_async_runtime_stream("go", timeout=3)),
        execution.async_get_result(),
        execution.async_start("go"),
        read(execution.get_async_runtime_stream()),
    ):
        with pytest.raises(ValueError, match="broken"):
            await wait
    assert now() == 0


async def test_d14_skipping_an_exception_still_ends_the_execution() -> None:
    """D14: with exceptions skipped the execution stayed `running` for ever, and its result was None after a
    time-out."""
    flow = TriggerFlow(skip_exceptions=True)

    async def fail(data: Data) -> None:
        raise ValueError("broken")

    flow.to(fail).to(("never", echo)).end()
    flow.to(("fine", echo)).end()
    execution = flow.create_execution()
    assert await execution.async_start("value") == "value"
    assert execution.get_status() == "completed"
    assert [error.message for error in execution.skipped] == ["broken"]
    assert now() == 0


async def test_d14_an_error_behind_shared_data_is_not_swallowed() -> None:
    """D14: an exception in a chunk that a change of shared data had triggered vanished, and the status was
    `completed`."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        data.flow_state.set("k", 1)

    async def fail(data: Data) -> None:
        raise ValueError("broken")

    flow.to(source)
    flow.when({"flow_data": "k"}).to(fail)
    execution = flow.create_execution()
    with pytest.raises(ValueError, match="broken"):
        await execution.async_start()
    assert execution.get_status() == "failed"


async def test_d15_a_timeout_bounds_the_call_and_raises() -> None:
    """D15: the time-out counted only after all work was through, and then returned None like a flow that returns
    None."""
    flow = TriggerFlow()

    async def slow(data: Data) -> None:
        await asyncio.sleep(1)

    flow.to(slow).end()
    with pytest.raises(TimeoutError):
        await flow.async_start(timeout=0.2)
    assert now() == 0.2
    assert await flow.async_start(timeout=2) is None


async def test_d15_a_flow_without_an_end_does_not_wait_for_one() -> None:
    """D15: a flow that fixes no result waited its whole time-out for it."""
    flow = TriggerFlow()
    flow.to(echo)
    assert await flow.async_start(timeout=10) is None
    assert now() == 0


async def test_d16_cancelling_ends_the_execution() -> None:
    """D16: cancelling the start left the status at `running`, a later wait hung, and there was no way to cancel."""
    flow, stopped = TriggerFlow(), list[str]()
    handles: list[Execution] = []

    async def slow(data: Data) -> None:
        handles.append(data.execution)
        try:
            await asyncio.sleep(1_000)
        finally:
            stopped.append(data.execution_id)

    flow.to(slow)
    task = asyncio.create_task(flow.async_start())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    held = flow.create_execution()
    held.begin()
    await turns()
    await held.async_cancel("enough")
    handles.append(held)
    for execution in handles:
        assert execution.get_status() == "cancelled"
        with pytest.raises(ExecutionCancelled):
            await execution.async_get_result()
    assert len(stopped) == 2
    assert now() == 0
