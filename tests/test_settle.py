"""S3: `settle=True` and back-pressure wait for what a signal has caused, whichever operators stand in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.support import Lazy, now
from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def slow(data: Data) -> Any:
    await asyncio.sleep(1)
    return data.value


# -- what for_each takes: in place, pulled at once, pulled over time ---------------------------------------------------


def sync_items(count: int) -> Iterator[int]:
    yield from range(count)


async def async_items(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def late_items(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(1)
        yield number
    await asyncio.sleep(1)


SOURCES: dict[str, Callable[[int], Any]] = {
    "list": lambda count: list(range(count)),
    "generator": sync_items,
    "async generator": async_items,
    "slow async generator": late_items,
    "set": lambda count: set(range(count)),
}


def before_and_after(build: Callable[[TriggerFlow, Callable[[Any], Any]], None], **options: Any) -> Any:
    """Emit "work" with `settle` and give (what had been done when that returned, what was done in the end)."""
    flow, done = TriggerFlow(), list[Any]()
    at_return = list[Any]()

    async def note(data: Data) -> Any:
        await asyncio.sleep(1)
        done.append(data.value)
        return data.value

    async def source(data: Data) -> None:
        await data.async_emit("work", settle=True)
        at_return.extend(done)

    flow.to(source)
    build(flow, note)
    return flow, at_return, done


async def run(build: Callable[[TriggerFlow, Callable[[Any], Any]], None], concurrency: int | None = None) -> Any:
    flow, at_return, done = before_and_after(build)
    await flow.create_execution(concurrency=concurrency).async_start(timeout=1000)
    return sorted(at_return, key=str), sorted(done, key=str)


@pytest.mark.parametrize("concurrency", [None, 1, 2])
@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("kind", SOURCES)
async def test_s03_settle_waits_for_the_items_of_a_for_each(
    kind: str, window: int | None, concurrency: int | None
) -> None:
    """S3: "`settle=True` waits until everything it caused has settled", also the items that a source has still to
    give."""

    def build(flow: TriggerFlow, note: Any) -> None:
        flow.when("work").to(lambda data: SOURCES[kind](3)).for_each(concurrency=window).to(note).end_for_each()

    assert await run(build, concurrency) == ([0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize("kind", SOURCES)
async def test_s03_settle_waits_for_what_follows_a_for_each(kind: str) -> None:
    """S3: with an empty source, too: what follows the block is caused by the signal."""

    def build(flow: TriggerFlow, note: Any) -> None:
        flow.when("work").to(lambda data: SOURCES[kind](0)).for_each().to(echo).end_for_each().to(note)

    assert await run(build) == ([[]], [[]])


@pytest.mark.parametrize("outer", SOURCES)
@pytest.mark.parametrize("inner", SOURCES)
async def test_s03_settle_waits_for_a_for_each_in_a_for_each(outer: str, inner: str) -> None:
    """S3: "everything it caused", at any depth."""

    def build(flow: TriggerFlow, note: Any) -> None:
        at = flow.when("work").to(lambda data: SOURCES[outer](2)).for_each(concurrency=1)
        at = at.to(("inner", lambda data: SOURCES[inner](2))).for_each().to(note).end_for_each()
        at.end_for_each().to(("after", note))

    both = [[0, 1], [0, 1]]
    assert await run(build) == ([0, 0, 1, 1, both], [0, 0, 1, 1, both])


def lazily(at: Any, note: Any, kind: str) -> Any:
    """A chain with a pass of two items at the end."""
    return at.to(("items", lambda data: SOURCES[kind](2))).for_each().to(note).end_for_each()


def in_batch(flow: TriggerFlow, note: Any, kind: str) -> None:
    flow.when("work").batch(("items", lambda data: SOURCES[kind](2)), ("other", echo))
    flow.when({"chunk": "items"}).for_each().to(note).end_for_each()


def in_match(flow: TriggerFlow, note: Any, kind: str) -> None:
    lazily(flow.when("work").match().case(None), note, kind).end_match()


def in_condition(flow: TriggerFlow, note: Any, kind: str) -> None:
    lazily(flow.when("work").match().case(lambda data: True), note, kind).end_match()


def in_sub_flow(flow: TriggerFlow, note: Any, kind: str) -> None:
    child = TriggerFlow(name="child")
    lazily(child, note, kind).end()
    flow.when("work").to_sub_flow(child)


def behind_a_join(flow: TriggerFlow, note: Any, kind: str) -> None:
    flow.when("work").to(("one", echo)).to(("two", slow))
    lazily(flow.when({"chunk": ["one", "two"]}), note, kind)


def behind_a_collection(flow: TriggerFlow, note: Any, kind: str) -> None:
    flow.when("work").to(("one", echo)).collect("both", "one")
    lazily(flow.when("work").to(("two", slow)).collect("both", "two"), note, kind)


def on_a_side_branch(flow: TriggerFlow, note: Any, kind: str) -> None:
    flow.when("work").side_branch(("aside", echo)).to(("main", echo))
    lazily(flow.when({"chunk": "aside"}), note, kind)


def behind_state(flow: TriggerFlow, note: Any, kind: str) -> None:
    async def change(data: Data) -> None:
        data.state.set("key", 1)

    flow.when("work").to(change)
    lazily(flow.when({"runtime_data": "key"}), note, kind)


def behind_shared_data(flow: TriggerFlow, note: Any, kind: str) -> None:
    async def change(data: Data) -> None:
        data.flow_state.set("key", 1)

    flow.when("work").to(change)
    lazily(flow.when({"flow_data": "key"}), note, kind)


def behind_an_emit(flow: TriggerFlow, note: Any, kind: str) -> None:
    async def emit(data: Data) -> None:
        await data.async_emit("more")

    flow.when("work").to(emit)
    lazily(flow.when("more"), note, kind)


def behind_a_settling_emit(flow: TriggerFlow, note: Any, kind: str) -> None:
    """A settle of a settle: both wait for the source."""

    async def emit(data: Data) -> None:
        await data.async_emit("more", settle=True)

    flow.when("work").to(emit)
    lazily(flow.when("more"), note, kind)


def behind_a_delay(flow: TriggerFlow, note: Any, kind: str) -> None:
    async def emit(data: Data) -> None:
        await data.async_emit("more", delay=5)

    flow.when("work").to(emit)
    lazily(flow.when("more"), note, kind)


def behind_an_error(flow: TriggerFlow, note: Any, kind: str) -> None:
    async def broken(data: Data) -> None:
        raise ValueError("broken")

    flow.when("work").to(broken)
    lazily(flow.when({"error": broken}), note, kind)


def behind_a_source_that_raises(flow: TriggerFlow, note: Any, kind: str) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    flow.when("work").to(("first", lambda data: items())).for_each().to(("item", slow)).end_for_each()
    lazily(flow.when({"error": "*"}), note, kind)


BETWEEN = [
    in_batch,
    in_match,
    in_condition,
    in_sub_flow,
    behind_a_join,
    behind_a_collection,
    on_a_side_branch,
    behind_state,
    behind_shared_data,
    behind_an_emit,
    behind_a_settling_emit,
    behind_a_delay,
    behind_an_error,
    behind_a_source_that_raises,
]


@pytest.mark.parametrize("kind", ["list", "generator", "slow async generator"])
@pytest.mark.parametrize("between", BETWEEN, ids=lambda it: it.__name__)
async def test_s03_settle_waits_whatever_stands_in_between(between: Any, kind: str) -> None:
    """S3: "`settle=True` waits until everything it caused has settled", for every operator."""
    assert await run(lambda flow, note: between(flow, note, kind)) == ([0, 1], [0, 1])


# -- sources that end early --------------------------------------------------------------------------------------------


async def test_s03_settle_ends_with_a_source_that_raises_where_only_its_branch_ends() -> None:
    """S3 with S7: what had started goes on and is waited for, and nothing waits for items that will never come."""
    done = list[Any]()
    flow = TriggerFlow(skip_exceptions=True)

    async def items() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(1)
        raise ValueError("broken")

    async def item(data: Data) -> None:
        await asyncio.sleep(10)
        done.append(data.value)

    async def source(data: Data) -> Any:
        await data.async_emit("work", settle=True)
        return list(done), round(now())

    flow.to(source).end()
    flow.when("work").to(lambda data: items()).for_each().to(item).end_for_each()
    assert await flow.async_start(timeout=100) == ([1], 10)


async def test_s03_settle_ends_when_the_source_it_waits_for_is_retracted() -> None:
    """S3 with S22: a provisional signal inside is taken back; nothing of it is waited for any more."""
    flow = TriggerFlow()

    async def never() -> AsyncIterator[int]:
        await asyncio.sleep(1000)
        yield 1

    async def source(data: Data) -> int:
        await data.async_emit("outer", settle=True)
        return round(now())

    async def guess(data: Data) -> None:
        number = await data.async_emit("work", provisional=True)
        await asyncio.sleep(3)
        await data.async_retract(number, "wrong")

    flow.to(source).end()
    flow.when("outer").to(guess)
    flow.when("work").to(lambda data: never()).for_each().to(echo).end_for_each()
    assert await flow.async_start(timeout=500) == 3


async def test_s08_a_waiter_for_an_endless_source_can_be_cancelled() -> None:
    """S3 with S8: cancelling the execution ends the wait and the source."""
    flow, closed = TriggerFlow(), list[str]()

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await asyncio.sleep(1)
                yield 1
        finally:
            closed.append("closed")

    async def source(data: Data) -> None:
        await data.async_emit("work", settle=True)

    flow.to(source)
    flow.when("work").to(lambda data: endless()).for_each().to(echo).end_for_each()
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(10)
    assert execution.get_status() == "running"
    await execution.async_cancel()
    await asyncio.sleep(0)
    assert closed == ["closed"]


async def test_s03_an_emitter_that_leaves_its_wait_goes_on_beside_the_source() -> None:
    """S3 with S8: a time-out around the wait ends only the wait."""
    flow = TriggerFlow()

    async def source(data: Data) -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(data.async_emit("work", settle=True), 2)
        return round(now())

    flow.to(source).end()
    flow.when("work").to(lambda data: late_items(5)).for_each().to(echo).end_for_each()
    execution = flow.create_execution(concurrency=1)
    assert await execution.async_start(timeout=100) == 2
    assert round(now()) == 6


async def test_s03_settle_from_outside_waits_for_a_source() -> None:
    """S3, for the handle."""
    flow, done = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        done.append(data.value)

    flow.signal("work", external=True)
    flow.when("work").to(lambda data: late_items(3)).for_each().to(note).end_for_each()
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("work", settle=True)
    assert (done, round(now())) == ([0, 1, 2], 4)
    await execution.async_close()


# -- back-pressure -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "list"])
@pytest.mark.parametrize("count", [0, 1, 3])
async def test_s03_back_pressure_counts_sources_that_are_being_asked(kind: str, count: int) -> None:
    """S3: an emitter waits "because too many of its signals are still pending: back-pressure, with a declared limit"; a
    signal is pending as long as its source has items to give."""
    flow, pending, peak = TriggerFlow(), 0, 0

    async def source(data: Data) -> None:
        nonlocal pending, peak
        for _ in range(40):
            pending += 1
            peak = max(peak, pending)
            await data.async_emit("work")

    async def done(data: Data) -> None:
        nonlocal pending
        pending -= 1

    flow.to(source)
    flow.when("work").to(lambda data: SOURCES[kind](count)).for_each().to(echo).end_for_each().to(done)
    await flow.create_execution(max_pending=5).async_start(timeout=1000)
    assert (pending, peak) == (0, 6)


# -- what an answer starts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", *SOURCES])
@pytest.mark.parametrize("window", [None, 1])
async def test_s03_a_question_to_the_outside_is_not_waited_for(kind: str, window: int | None) -> None:
    """S3 with S17: "`pause_for` ends the chunk", and a question to the outside is no work: `settle` returns with the
    question open, so that whoever settles can be the one who answers. What the answer starts is not waited for."""
    flow, answers = TriggerFlow(), list[Any]()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=f"q{data.value}")

    async def note(data: Data) -> None:
        answers.append(data.value)

    at = flow.when(flow.signal("work", external=True))
    if kind == "none":
        at.to(("value", lambda data: 0)).to(ask).to(note)
    else:
        source = at.to(lambda data: SOURCES[kind](2))
        source.for_each(concurrency=window).to(ask).to(note).end_for_each()
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("work", settle=True)
    while asked := execution.get_pending_interrupts():
        for id in asked:
            await execution.async_continue_with(id, id)
        await asyncio.sleep(5)
    assert answers == (["q0"] if kind == "none" else ["q0", "q1"])
    await execution.async_close()


async def test_s03_a_sub_flow_that_asks_is_waited_for_until_it_has_ended() -> None:
    """S3 with S17: a sub-flow is a chunk that goes on while it asks; only its end settles it."""
    child, flow = TriggerFlow(name="child"), TriggerFlow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    child.to(ask).end()
    flow.when(flow.signal("work", external=True)).to_sub_flow(child)
    execution = flow.create_execution()
    execution.begin()
    settled = asyncio.ensure_future(execution.async_emit("work", settle=True))
    await asyncio.sleep(5)
    assert not settled.done()
    (asked,) = execution.get_pending_interrupts()
    await execution.async_continue_with(asked, "yes")
    await settled
    await execution.async_close()


# -- saved and loaded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [0, 1, 5])
async def test_s18_an_emitter_that_is_loaded_waits_for_the_source_again(items: int) -> None:
    """S3 with S18: "a loaded execution re-issues what was running": the emitter's next attempt waits for what the first
    one's signal caused, the items included that its source has still to give."""
    flow, seen = TriggerFlow(name="saved"), list[Any]()
    flow.register_type(Lazy)
    gate = asyncio.Event()

    @flow.chunk("source")
    async def source(data: Data) -> Any:
        await data.async_emit("work", settle=True)
        return list(seen)

    @flow.chunk("item")
    async def item(data: Data) -> None:
        await gate.wait()
        await asyncio.sleep(1)
        seen.append(data.value)

    @flow.chunk("items")
    async def lazy(data: Data) -> Any:
        return Lazy([*range(items)])

    flow.to(source).end()
    flow.when("work").to(lazy).for_each(concurrency=2).to(item).end_for_each().to(("after", slow))
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(0.5)
    saved = json.loads(json.dumps(execution.save()))
    await execution.async_cancel()
    gate.set()
    loaded = flow.load_execution(saved)
    assert await loaded.async_start(timeout=100) == [*range(items)]


async def test_a_caller_that_waits_for_the_result_beside_one_that_waits_until_it_has_settled() -> None:
    """The second is told of each record. The first still waits for the end."""
    flow = TriggerFlow("beside")

    @flow.chunk("first")
    async def first(data: Any) -> int:
        await asyncio.sleep(1)
        return 1

    @flow.chunk("second")
    async def second(data: Any) -> int:
        await asyncio.sleep(1)
        return data.value + 1

    flow.to(first).to(second).end()
    execution = flow.create_execution()
    await execution.async_begin()
    result = asyncio.ensure_future(execution.async_get_result())
    bounded = asyncio.ensure_future(execution.async_get_result(timeout=1.5))
    assert await execution.async_settled()
    assert await result == 2
    with pytest.raises(TimeoutError):
        await bounded
