"""The contract's line on concurrency limits (S9): true upper bounds, everywhere, and no place lost or wasted."""

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from tests.support import Gauge, now
from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]


def worker(gauge: Gauge, seconds: float = 1) -> Any:
    """A chunk that is inside the gauge for some seconds."""

    async def work(data: Data) -> Any:
        with gauge.inside():
            await asyncio.sleep(seconds)
        return data.value

    return work


def named(count: int, handler: Any, prefix: str = "work") -> list[tuple[str, Any]]:
    return [(f"{prefix}{number}", handler) for number in range(count)]


@pytest.mark.parametrize("limit", [1, 2, 3, 12, 50])
@pytest.mark.parametrize("way", ["batch", "events", "starts", "state", "chunk", "batch of an execution"])
async def test_s09_a_limit_is_a_true_upper_bound_and_is_used_to_the_full(way: str, limit: int) -> None:
    """S9: "`concurrency` on an execution, batch, for_each or chunk is a true upper bound on chunks running at once".
    Twelve runs of one second each, in exactly as many seconds as the limit asks for."""
    flow, gauge = TriggerFlow(), Gauge()
    work = worker(gauge)
    on_execution: int | None = limit

    async def emit(data: Data) -> None:
        for number in range(12):
            data.emit("e", number)
            data.state.set("k", number)

    if way == "batch":
        flow.batch(*named(12, work), concurrency=limit)
        on_execution = None
    elif way == "batch of an execution":
        flow.batch(*named(12, work))
    elif way == "starts":
        for name, handler in named(12, work):
            flow.to((name, handler))
    else:
        flow.to(emit)
        chunk: Any = work
        if way == "chunk":
            chunk = flow.chunk("limited", concurrency=limit)(work)
            on_execution = None
        flow.when({"runtime_data": "k"} if way == "state" else "e").to(chunk)
    await flow.async_start(concurrency=on_execution)
    assert gauge.total == 12
    assert gauge.peak == min(limit, 12)
    assert now() == -(-12 // limit)


async def test_s09_all_limits_hold_together() -> None:
    """S9: execution, batch and chunk limits bound the same runs: each holds, and the tightest decides."""
    flow = TriggerFlow()
    whole, block, single = Gauge(), Gauge(), Gauge()

    @flow.chunk("single", concurrency=1)
    async def one_at_a_time(data: Data) -> None:
        with whole.inside(), single.inside():
            await asyncio.sleep(1)

    async def in_block(data: Data) -> None:
        with whole.inside(), block.inside():
            data.emit("e")
            await asyncio.sleep(1)

    flow.batch(*named(8, in_block), concurrency=2)
    flow.when("e").to(one_at_a_time)
    for name, handler in named(6, worker(whole), "free"):
        flow.to((name, handler))
    await flow.async_start(concurrency=4)
    assert (whole.peak, block.peak, single.peak) == (4, 2, 1)
    assert (whole.total, block.total, single.total) == (22, 8, 8)
    assert now() <= 12, "22 runs on 4 places, of which 8 come one at a time"


@pytest.mark.parametrize("limit", [1, 2])
async def test_s09_at_every_nesting_depth(limit: int) -> None:
    """S9: "at every nesting depth": batches chained behind batches, and batches that branches start and wait for."""
    flow, gauge = TriggerFlow(), Gauge()
    work = worker(gauge)

    async def nest(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)
        await data.async_emit("inner", settle=True)
        with gauge.inside():
            await asyncio.sleep(1)

    flow.batch(("left", nest), ("right", nest)).batch(*named(4, work)).to(("last", work))
    flow.when("inner").batch(*named(3, work, "inner"), concurrency=2).batch(*named(3, work, "deeper"))
    await flow.async_start(concurrency=limit)
    assert gauge.total == 2 * 2 + 2 * 6 + 5
    assert gauge.peak == limit


@pytest.mark.seeds(15, 100)
async def test_s09_random_programs_keep_their_limits_and_end(seed: int) -> None:
    """S9 with S3: chunks that at random sleep, emit, settle, put and start batches, under random limits on
    everything."""
    draw = random.Random(seed)
    limit, own, in_batch = (draw.randint(1, 3) for _ in range(3))
    flow, whole, chunk = TriggerFlow(), Gauge(), Gauge()
    left = 120

    async def act(data: Data, gauge: Gauge) -> None:
        nonlocal left
        for _ in range(draw.randint(1, 4)):
            with whole.inside(), gauge.inside():
                await asyncio.sleep(draw.choice((0, 0.5, 1)))
            if left <= 0:
                return
            left -= 1
            name, settle = draw.choice(("limited", "free", "fan")), draw.random() < 0.5
            await data.async_emit(f"go {name}", settle=settle)

    async def limited(data: Data) -> None:
        await act(data, chunk)

    async def free(data: Data) -> None:
        await act(data, Gauge())

    flow.to(("first", free))
    flow.when("go limited").to(flow.chunk("limited", concurrency=own)(limited))
    flow.when("go free").to(free)
    flow.when("go fan").batch(*named(3, free), concurrency=in_batch).to(("after", free))
    execution = flow.create_execution(concurrency=limit, max_pending=draw.randint(1, 5))
    execution.begin()
    await execution.async_close()
    assert left <= 0
    assert whole.peak <= limit
    assert chunk.peak <= own
    assert whole.count == 0


async def test_s09_limits_bound_threads_as_well() -> None:
    """S9: sync chunks in threads are chunks running."""
    flow, gauge = TriggerFlow(), Gauge()

    def work(data: Data) -> None:
        with gauge.inside():
            time.sleep(0.002)

    flow.batch(*named(10, work))
    await flow.async_start(concurrency=2)
    assert gauge.total == 10
    assert gauge.peak <= 2


async def test_s09_a_thread_that_waits_for_settling_gives_up_its_place() -> None:
    """S9 with S3: "`concurrency=1` works everywhere.", for sync chunks that wait for what they emit too."""
    flow, seen = TriggerFlow(), list[str]()

    def source(data: Data) -> str:
        data.emit("e", settle=True)
        seen.append("source")
        return threading.current_thread().name

    def heard(data: Data) -> None:
        seen.append("heard")

    flow.to(source).end()
    flow.when("e").to(heard)
    assert await flow.async_start(concurrency=1) != threading.main_thread().name
    assert seen == ["heard", "source"]


async def test_s09_signals_sent_before_the_start_are_bounded_too() -> None:
    """S9: the limit is the execution's, whether its runs were asked for before or after it was started."""
    flow, gauge = TriggerFlow(), Gauge()
    flow.when("go").to(worker(gauge))
    execution = flow.create_execution(concurrency=1)
    for _ in range(3):
        await execution.async_emit("go")
    execution.begin()
    for _ in range(3):
        await execution.async_emit("go")
    await execution.async_close()
    assert gauge.total == 6
    assert gauge.peak == 1


@pytest.mark.parametrize("limit", [1, 2, None])
async def test_s09_concurrency_one_works_in_definition_order(limit: int | None) -> None:
    """S9: "`concurrency=1` works everywhere." The queue is served in the order of acceptance."""
    flow, started = TriggerFlow(), list[str]()

    async def work(data: Data) -> str:
        started.append(data.chunk_name)
        await asyncio.sleep(10 - len(started))
        return data.chunk_name

    flow.batch(*named(6, work)).end()
    result = await flow.async_start(concurrency=limit)
    assert started == [f"work{number}" for number in range(6)]
    assert result == {name: name for name in started}
    assert list(result) == started


@pytest.mark.parametrize("outcome", ["skipped", "cancelled"])
async def test_s09_runs_that_end_badly_give_their_places_back(outcome: str) -> None:
    """S9: no place is lost, whatever way a run ends."""
    flow, gauge = TriggerFlow(), Gauge()

    async def work(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)
            raise ValueError(outcome)

    flow.batch(*named(6, work), concurrency=2).to(("after", worker(gauge)))
    execution = flow.create_execution(concurrency=3, skip_exceptions=True)
    execution.begin()
    if outcome == "skipped":
        await execution.async_close()
        assert gauge.total == 6, "what follows the batch does not run"
        assert gauge.peak == 2
        assert now() == 3
    else:
        await asyncio.sleep(1.5)
        await execution.async_cancel()
        assert gauge.total == 4
        assert now() == 1.5
    assert gauge.count == 0


async def test_s09_executions_do_not_share_limits() -> None:
    """S9: a limit on an execution bounds that execution; a hundred of them run beside each other."""
    flow, gauge = TriggerFlow(), Gauge()
    work = worker(gauge)
    flow.batch(flow.chunk("limited", concurrency=1)(work), ("other", work), concurrency=1)
    await asyncio.gather(*(flow.async_start(concurrency=1) for _ in range(100)))
    assert gauge.peak == 100
    assert now() == 2


async def test_s09_passes_through_one_batch_at_a_time_each_have_their_limit() -> None:
    """S9: the limit of a batch counts the branches of one pass; that of the execution counts them all."""
    flow, gauge = TriggerFlow(), Gauge()

    async def source(data: Data) -> None:
        for _ in range(3):
            data.emit("pass")

    flow.to(source)
    flow.when("pass").batch(*named(4, worker(gauge)), concurrency=2)
    await flow.async_start()
    assert gauge.peak == 6
    assert now() == 2
