"""The contract's line on emitting (S3): acceptance, settling, back-pressure, no deadlock, no orphan."""

import asyncio
from typing import Any

import pytest

from tests.support import Gauge, now, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]


async def test_s03_emit_returns_once_the_signal_is_accepted() -> None:
    """S3: "`await data.async_emit(name, value)` returns once the signal is accepted; the chunks it triggers run
    concurrently with the emitter." """
    flow, times = TriggerFlow(), dict[str, float]()

    async def source(data: Data) -> str:
        for number in range(5):
            await data.async_emit("work", number)
        times["emitted"] = now()
        await asyncio.sleep(1)
        times["source"] = now()
        return "done"

    async def work(data: Data) -> None:
        await asyncio.sleep(10)
        times[f"work {data.value}"] = now()

    flow.to(source).end()
    flow.when("work").to(work)
    assert await flow.async_start() == "done"
    assert times == {"emitted": 0, "source": 1, **{f"work {number}": 10 for number in range(5)}}


async def test_s03_settle_waits_until_everything_it_caused_has_settled_and_for_nothing_else() -> None:
    """S3: "`settle=True` waits until everything it caused has settled." Directly and indirectly, through chains, state,
    batches and further emits; not for what others caused."""
    flow, times = TriggerFlow(), dict[str, float]()

    async def source(data: Data) -> None:
        await data.async_emit("other")
        await data.async_emit("first", settle=True)
        times["settled"] = now()

    async def first(data: Data) -> None:
        await asyncio.sleep(1)
        data.state.set("k", 1)

    async def on_state(data: Data) -> None:
        await asyncio.sleep(1)
        await data.async_emit("second")

    async def pause(data: Data) -> None:
        await asyncio.sleep(1)

    async def other(data: Data) -> None:
        await asyncio.sleep(100)

    flow.to(source)
    flow.when("other").to(other)
    flow.when("first").to(first)
    flow.when({"runtime_data": "k"}).to(on_state)
    flow.when("second").batch(("left", pause), ("right", pause)).to(("last", pause))
    await flow.async_start()
    assert times["settled"] == 4
    assert now() == 100


async def test_s03_settling_covers_work_whose_emitter_has_ended_long_ago() -> None:
    """S3: "`settle=True` waits until everything it caused has settled.", also what a fire-and-forget link passed on."""
    flow = TriggerFlow()

    async def source(data: Data) -> float:
        await data.async_emit("link", 20, settle=True)
        return now()

    async def link(data: Data) -> None:
        if data.value:
            await data.async_emit("slow", data.value)

    async def slow(data: Data) -> None:
        await asyncio.sleep(1)
        data.emit("link", data.value - 1)

    flow.to(source).end()
    flow.when("link").to(link)
    flow.when("slow").to(slow)
    assert await flow.async_start() == 20


async def test_s03_settle_returns_at_once_when_nothing_was_started() -> None:
    """S3: nobody listens, or a join took the signal and waits for others: nothing is pending."""
    flow = TriggerFlow()

    async def source(data: Data) -> float:
        await data.async_emit("nobody", settle=True)
        await data.async_emit("half", settle=True)
        await data.async_emit("half", settle=True)
        return now()

    async def never(data: Data) -> None:
        raise AssertionError("the join was never full")

    flow.to(source).end()
    flow.when(["half", "other half"]).to(never)
    assert await flow.async_start() == 0


async def test_s03_a_set_that_completes_a_join_is_what_caused_the_work_behind_it() -> None:
    """S3: "`settle=True` waits until everything it caused has settled.": the signal that fills a join causes its
    work."""
    flow, times = TriggerFlow(), list[float]()

    async def source(data: Data) -> None:
        await data.async_emit("one", settle=True)
        times.append(now())
        await data.async_emit("two", settle=True)
        times.append(now())

    async def work(data: Data) -> None:
        await asyncio.sleep(3)

    flow.to(source)
    flow.when(["one", "two"]).to(work)
    await flow.async_start()
    assert times == [0, 3]


@pytest.mark.parametrize("concurrency", [1, 2, None])
@pytest.mark.parametrize("depth", [1, 2, 30])
async def test_s03_settling_cannot_deadlock_on_a_limit_at_any_depth(concurrency: int | None, depth: int) -> None:
    """S3: "Nothing can deadlock on a concurrency limit: a chunk that waits for work it triggered (`settle=True` ...)
    gives up its place while it waits." Every level waits for the next, and the last one fans out."""
    flow, gauge = TriggerFlow(), Gauge()

    async def level(data: Data) -> int:
        with gauge.inside():
            await asyncio.sleep(1)
        if data.value < depth:
            await data.async_emit("go_deeper", data.value + 1, settle=True)
        else:
            await data.async_emit("fan_out", settle=True)
        with gauge.inside():
            await asyncio.sleep(1)
        return data.value

    async def leaf(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)

    flow.to(level).end()
    flow.when("go_deeper").to(("deeper", level))
    flow.when("fan_out").batch(*((f"leaf{number}", leaf) for number in range(5)), concurrency=2).to(("last", leaf))
    assert await flow.async_start(1, concurrency=concurrency) == 1
    assert gauge.total == 2 * depth + 6
    assert gauge.peak == min(concurrency or 2, 2)


async def test_s03_a_chunk_with_its_own_limit_can_wait_for_runs_of_itself() -> None:
    """S3: "Nothing can deadlock on a concurrency limit", the limit of the chunk that waits for itself included."""
    flow, gauge = TriggerFlow(), Gauge()

    @flow.chunk("walk", concurrency=1)
    async def walk(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)
        if data.value:
            await data.async_emit("walk_on", data.value - 1, settle=True)
            await data.async_emit("walk_on", 0, settle=True)

    flow.when("walk_on").to(walk)
    execution = flow.create_execution(concurrency=1)
    await execution.async_emit("walk_on", 5, settle=True)
    assert gauge.total == 11
    assert gauge.peak == 1
    assert now() == 11
    await execution.async_start()
    await execution.async_close()


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_s03_several_settling_emits_of_one_chunk_at_a_time(concurrency: int) -> None:
    """S3: a chunk that waits for several signals at once gives up one place, and takes one back."""
    flow, gauge = TriggerFlow(), Gauge()

    async def source(data: Data) -> str:
        for _ in range(3):
            await asyncio.gather(*(data.async_emit("work", number, settle=True) for number in range(4)))
            with gauge.inside():
                await asyncio.sleep(1)
        return "done"

    async def work(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(data.value)

    flow.to(source).end()
    flow.to(("second", source))
    flow.when("work").to(work)
    assert await flow.async_start(concurrency=concurrency) == "done"
    assert gauge.total == 30
    assert gauge.peak == concurrency


async def test_s03_a_settling_wait_that_is_given_up_leaves_the_limit_whole() -> None:
    """S3 with S9: a chunk that stops waiting (a time-out of its own) goes on only with a place, and frees it at its
    end."""
    flow, gauge = TriggerFlow(), Gauge()

    async def source(data: Data) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(data.async_emit("work", settle=True), 1)
        await asyncio.sleep(20)

    async def work(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(5)

    flow.to(source)
    flow.when("work").to(work)
    flow.when(work).batch(*((f"more{number}", work) for number in range(4)))
    await flow.async_start(concurrency=1)
    assert gauge.total == 5
    assert gauge.peak == 1


@pytest.mark.parametrize("concurrency", [1, 3, None])
async def test_s03_back_pressure_holds_an_emitter_at_the_declared_limit(concurrency: int | None) -> None:
    """S3: "or because too many of its signals are still pending: back-pressure, with a declared limit"."""
    flow, pending, peak = TriggerFlow(), 0, 0

    async def source(data: Data) -> str:
        nonlocal pending, peak
        for number in range(200):
            pending += 1
            peak = max(peak, pending)
            await data.async_emit("work", number)
        return "done"

    async def work(data: Data) -> None:
        nonlocal pending
        await asyncio.sleep(1)
        pending -= 1

    flow.to(source).end()
    flow.when("work").to(work)
    execution = flow.create_execution(concurrency=concurrency, max_pending=10)
    assert await execution.async_start() == "done"
    assert pending == 0
    assert peak == 11, "the emit that goes over the limit of 10 is the one that waits"


async def test_s03_emitters_that_flood_each_other_under_a_limit_of_one_come_to_an_end() -> None:
    """S3: "Nothing can deadlock on a concurrency limit": held-up emitters on three levels, one place, one pending."""
    flow, done = TriggerFlow(), 0

    async def top(data: Data) -> None:
        for _ in range(10):
            await data.async_emit("middle")

    async def middle(data: Data) -> None:
        for _ in range(10):
            await data.async_emit("bottom")

    async def bottom(data: Data) -> None:
        nonlocal done
        await asyncio.sleep(0.1)
        done += 1

    flow.to(top)
    flow.when("middle").to(middle)
    flow.when("bottom").to(bottom)
    execution = flow.create_execution(concurrency=1, max_pending=1)
    await execution.async_start()
    assert done == 100


async def test_s03_a_reader_that_emits_and_settles_cannot_deadlock_with_the_chunk_it_holds_up() -> None:
    """S3: "Nothing can deadlock on a concurrency limit." A chunk waits for a slow reader; the reader waits for a signal
    that needs the place of that chunk."""
    flow, answered = TriggerFlow(), list[int]()

    async def source(data: Data) -> None:
        for number in range(5):
            await data.async_put_into_stream(number)

    async def answer(data: Data) -> None:
        answered.append(data.value)

    flow.to(source)
    flow.when(flow.signal("item", external=True)).to(answer)
    execution = flow.create_execution(concurrency=1)
    async for item in execution.get_async_runtime_stream("go", buffer=1):
        await execution.async_emit("item", item, settle=True)
        assert answered[-1] == item
        if item == 4:
            await execution.async_close()
    assert answered == [0, 1, 2, 3, 4]


async def test_s03_nothing_emitted_is_ever_orphaned() -> None:
    """S3: "Nothing emitted is ever orphaned: an execution closes only when all its work has settled." Not when its
    result is fixed, and not when its first chain has ended."""
    flow, done = TriggerFlow(), list[int]()

    async def source(data: Data) -> str:
        for number in range(5):
            data.emit("work", number)
        asyncio.get_running_loop().call_later(0.5, data.emit, "late", 99)
        data.set_result("early")
        return "early"

    async def work(data: Data) -> None:
        await asyncio.sleep(1)
        done.append(data.value)
        if data.value == 4:
            data.emit("work", 5)

    flow.to(source).end()
    flow.when("work").to(work)
    flow.when("late").to(("late_work", work))
    execution = flow.create_execution()
    reader = execution.get_async_runtime_stream("go")
    assert await execution.async_start("go") == "early"
    assert sorted(done) == [0, 1, 2, 3, 4, 5, 99]
    assert await anext(reader, "ended") == "ended"


async def test_s03_a_signal_from_outside_before_the_start_is_kept() -> None:
    """S3: "Nothing emitted is ever orphaned", before the start either."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow.to(("at_start", note))
    flow.when(flow.signal("go", external=True)).to(note)
    execution = flow.create_execution()
    await execution.async_emit("go", 1, settle=True)
    assert seen == [1]
    assert execution.get_status() == "created"
    execution.begin(2)
    await turns()
    assert execution.get_status() == "waiting"
    await execution.async_close()
    assert seen == [1, 2]


async def test_s03_settle_from_outside() -> None:
    """S3, for the handle: without `settle` it returns at once, with it when all is settled."""
    flow = TriggerFlow()

    async def work(data: Data) -> None:
        await asyncio.sleep(2)

    flow.when(flow.signal("go", external=True)).to(work).to(("more", work))
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("go")
    assert now() == 0
    await asyncio.sleep(1)
    await asyncio.gather(*(execution.async_emit("go", settle=True) for _ in range(3)))
    assert now() == 5
    await execution.async_close()
