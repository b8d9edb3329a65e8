"""Defects of 4.0.9 that are not kept; the numbers are those of docs/coming-from-agently.md."""

import asyncio
import gc
import time
import tracemalloc
from typing import Any

import pytest
from agently import TriggerFlow

from tests.bridge.support import after, boom, double, ident, inc, items_of, noting

Flow = TriggerFlow[Any, Any, Any]


def elapsed(begun: float) -> float:
    return asyncio.get_running_loop().time() - begun


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_d02_a_change_of_state_does_not_block_the_loop() -> None:
    flow, beats = Flow(), list[float]()

    async def work(data: Any) -> float:
        begun = now()
        data.state.set("k", 1)
        return elapsed(begun)

    async def heart() -> None:
        while True:
            await asyncio.sleep(0.1)
            beats.append(now())

    flow.to(work).end()
    flow.when({"runtime_data": "k"}).to(after(1))
    task = asyncio.create_task(heart())
    assert await flow.async_start(1) == pytest.approx(0)
    task.cancel()
    assert len(beats) >= 9


async def test_d05_emits_of_a_chunk_run_beside_it_and_none_is_orphaned() -> None:
    flow, done = Flow(), list[Any]()

    async def produce(data: Any) -> float:
        begun = now()
        for number in range(5):
            await data.async_emit("Ev", number)
        return elapsed(begun)

    flow.to(produce).end()
    flow.when("Ev").to(after(0.2)).to(noting(done))
    begun = now()
    assert await flow.async_start(1) == pytest.approx(0)
    assert (sorted(done), elapsed(begun)) == ([0, 1, 2, 3, 4], pytest.approx(0.2))


async def test_d06_for_each_over_nothing_is_done_at_once() -> None:
    flow = Flow()
    flow.for_each().for_each().to(inc).end_for_each().end_for_each().end()
    begun = now()
    assert [await flow.async_start(it) for it in ([], [[], [1]], {7})] == [[], [[], [2]], [[8]]]
    assert elapsed(begun) == 0


async def test_d07_passes_through_one_batch_do_not_mix() -> None:
    flow, seen = Flow(), list[Any]()

    async def jitter(data: Any) -> Any:
        await asyncio.sleep(data.value * 7 % 5)
        return data.value

    flow.when("Ev").batch(("a", ident), ("b", jitter)).to(noting(seen))
    execution = flow.create_execution()
    await asyncio.gather(*[execution.async_emit("Ev", number) for number in range(50)])
    assert sorted(it["a"] for it in seen) == list(range(50))
    assert all(it["a"] == it["b"] for it in seen)


async def test_d08_a_join_takes_a_full_set_once() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when({"event": ["A", "B"]}).to(after(1)).to(noting(seen))
    execution = flow.create_execution()
    await asyncio.gather(*[execution.async_emit(name, n) for n in range(100) for name in "AB"])
    assert len(seen) == 100


async def test_d09_siblings_go_on_while_one_branch_pauses() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(lambda data: data.pause_for(interrupt_id="1"))
    flow.to(lambda data: data.pause_for(interrupt_id="2"))
    flow.to(after(1)).to(noting(seen))
    execution = flow.create_execution()
    await execution.async_start(5, wait_for_result=False)
    assert seen == [5]
    await execution.async_continue_with("1")
    assert execution.get_status() == "waiting"
    await execution.async_continue_with("2")
    assert execution.get_status() == "completed"


async def test_d12_the_stream_ends_with_the_execution() -> None:
    flow = Flow()

    async def put(data: Any) -> None:
        await data.async_put_into_stream(1)

    flow.to(put).end()
    for timeout in (3, None):
        begun = now()
        assert await items_of(flow.get_async_runtime_stream(timeout=timeout)) == [1]
        assert elapsed(begun) == 0


async def test_d13_a_failure_is_told_at_once() -> None:
    flow = Flow()
    flow.to(boom).end()
    execution = flow.create_execution()
    begun = now()
    with pytest.raises(RuntimeError, match="boom"):
        await items_of(execution.get_async_runtime_stream(timeout=3))
    with pytest.raises(RuntimeError, match="boom"):
        await execution.async_get_result()
    assert elapsed(begun) == 0


async def test_d14_skipped_failures_do_not_keep_it_running() -> None:
    flow = Flow()
    flow.to(boom).end()
    execution = flow.create_execution(skip_exceptions=True)
    begun = now()
    assert await execution.async_start(1) is None
    assert (execution.get_status(), elapsed(begun)) == ("completed", 0)


async def test_d14_a_failing_flow_data_handler_fails_the_execution() -> None:
    flow = Flow()
    flow.when({"flow_data": "k"}).to(boom)
    flow.when("go").to(ident).end()
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    flow.set_flow_data("k", 1)
    with pytest.raises(RuntimeError, match="boom"):
        await execution.async_get_result()


async def test_d16_cancelling_is_structured() -> None:
    flow = Flow()
    flow.to(after(60)).end()
    execution = flow.create_execution()
    task = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(1)
    await execution.async_cancel("enough")
    with pytest.raises(Exception, match="enough"):
        await execution.async_get_result()
    with pytest.raises(Exception, match="enough"):
        await task
    assert execution.get_status() == "cancelled"


async def test_d17_a_producer_waits_for_a_slow_reader() -> None:
    flow, put = Flow(), list[int]()

    async def produce(data: Any) -> None:
        for number in range(5000):
            await data.async_put_into_stream(number)
            put.append(number)

    flow.to(produce)
    stream = flow.create_execution().get_async_runtime_stream(1)
    assert await anext(stream) == 0
    await asyncio.sleep(1)
    assert len(put) < 1100
    assert [item async for item in stream] == list(range(1, 5000))


async def test_d18_executions_are_not_kept() -> None:
    flow = Flow()
    flow.to(inc).to(double).end()
    flow.when("Ev").to(ident)

    async def run(count: int) -> int:
        for _ in range(count):
            execution = flow.create_execution()
            await execution.async_start(1)
            await execution.async_emit("Ev", 1)
            assert await flow.async_start(1, wait_for_result=False) is None
        del execution
        await asyncio.sleep(0)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        await run(20)
        before = await run(20)
        assert await run(200) - before < 20_000
    finally:
        tracemalloc.stop()


def test_d19_the_cost_of_an_item_does_not_grow() -> None:
    flow = Flow()
    flow.for_each().to(inc).end_for_each().end()

    def cost(count: int) -> float:
        begun = time.process_time()
        assert len(flow.start(range(count))) == count
        return (time.process_time() - begun) / count

    cost(100)
    assert min(cost(10_000) for _ in range(3)) < 5 * min(cost(1_000) for _ in range(3))


def test_d25_sync_emits_in_a_loop_do_not_pile_up_threads() -> None:
    import threading

    flow, peak = Flow(), 0

    @flow.chunk("step")
    def step(data: Any) -> None:
        nonlocal peak
        peak = max(peak, threading.active_count())
        data.emit("Loop" if data.value < 100 else "Done", data.value + 1)

    flow.to(step)
    flow.when("Loop").to(step)
    flow.when("Done").to(ident).end()
    before = threading.active_count()
    assert flow.start(0) == 101
    assert peak - before < 10


async def test_d26_d29_conditions() -> None:
    flow = Flow()

    async def later(data: Any) -> Any:
        await asyncio.sleep(1)
        return [data.value] if data.value == 5 else None

    flow.match(mode="hit_all").case(lambda d: d.value and 7).to(inc).case(later).to(double).case_else().to(
        ident
    ).end_match().end()
    assert (await flow.async_start(5), await flow.async_start(0)) == ([6, 10], 0)
    two = Flow()
    two.match().case(lambda d: d.value == 1).to(inc).case(lambda d: d.value == 2).to(double).case_else().to(
        ident
    ).end_match().end()
    assert [await two.async_start(it) for it in (1, 2, 3)] == [2, 4, 3]


async def test_d27_set_replaces_and_falsy_values_can_be_deleted() -> None:
    flow = Flow()

    async def work(data: Any) -> Any:
        data.state.set("list", [1, 2])
        data.state.set("list", [2, 3])
        data.state.set("dict", {"a": 1})
        data.state.set("dict", {"b": 2})
        data.state.set("list2", [1])
        data.state.set("list2", 5)
        for name, value in (("zero", 0), ("empty", "")):
            data.state.set(name, value)
            data.state.delete(name)
        return data.state.to_dict()

    flow.to(work).end()
    assert await flow.async_start() == {"list": [2, 3], "dict": {"b": 2}, "list2": 5}


async def test_d28_a_blocking_call_in_a_running_loop_is_an_error_and_not_a_stop() -> None:
    flow = Flow()
    flow.to(after(60)).end()
    execution = flow.create_execution()
    for call in (flow.start, execution.start, flow.start_execution, lambda it: execution.get_result()):
        with pytest.raises(RuntimeError, match="await"):
            call(1)
