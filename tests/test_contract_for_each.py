"""The contract's line on for_each (S10): any iterable, lazily, a window of it, results in input order."""

import asyncio
import gc
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.support import Gauge, Lazy, now, turns
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]
ERROR = ValueError("broken")


async def echo(data: Data) -> Any:
    return data.value


async def double(data: Data) -> Any:
    return data.value * 2


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Numbers:
    """An async iterable that is no generator, and can be read twice."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __aiter__(self) -> AsyncIterator[int]:
        return numbers(self.count)


class Legacy:
    """An iterable by the old sequence protocol."""

    def __getitem__(self, index: int) -> int:
        if index >= 3:
            raise IndexError
        return index


def each(body: Any = double, *, concurrency: int | None = None) -> TriggerFlow:
    flow = TriggerFlow()
    flow.for_each(concurrency=concurrency).to(("body", body)).end_for_each().end()
    return flow


# -- what is taken -----------------------------------------------------------------------------------------------------

SOURCES: dict[str, Callable[[], Any]] = {
    "list": lambda: [0, 1, 2],
    "tuple": lambda: (0, 1, 2),
    "range": lambda: range(3),
    "set": lambda: {0, 1, 2},
    "frozenset": lambda: frozenset({0, 1, 2}),
    "deque": lambda: deque([0, 1, 2]),
    "generator": lambda: (number for number in range(3)),
    "iterator": lambda: iter([0, 1, 2]),
    "map": lambda: map(int, "012"),
    "dict view": lambda: {0: "a", 1: "b", 2: "c"}.keys(),
    "async generator": lambda: numbers(3),
    "async iterable": lambda: Numbers(3),
    "sequence protocol": Legacy,
}


@pytest.mark.parametrize("concurrency", [None, 1, 2, 3, 50])
@pytest.mark.parametrize("kind", SOURCES)
async def test_s10_any_iterable_or_async_iterable(kind: str, concurrency: int | None) -> None:
    """S10: "for_each takes any iterable or async iterable ... results in input order"."""
    assert await each(concurrency=concurrency).async_start(SOURCES[kind]()) == [0, 2, 4]


@pytest.mark.parametrize("value", ["text", "", b"bytes", bytearray(b"x"), {"a": 1}, {}, 5, None, 0, 1.5, object()])
async def test_s10_what_is_one_item(value: Any) -> None:
    """S10: a string, a mapping, or what cannot be iterated, is one item."""
    assert await each(echo).async_start(value) == [value]


@pytest.mark.parametrize("concurrency", [None, 1])
@pytest.mark.parametrize(
    "empty", [list, tuple, set, lambda: range(0), lambda: iter(()), lambda: numbers(0), lambda: (n for n in ())]
)
async def test_s10_nothing_gives_nothing_at_once(empty: Callable[[], Any], concurrency: int | None) -> None:
    """S10: "`[]` gives `[]` at once". D6: there the empty list never completed."""
    assert await each(concurrency=concurrency).async_start(empty()) == []
    assert now() == 0


async def test_d06_an_empty_inner_list_does_not_lose_the_rest() -> None:
    """S10: "nesting any depth". D6: there one empty inner list lost the whole result."""
    flow = TriggerFlow()
    flow.for_each().for_each().to(double).end_for_each().end_for_each().end()
    assert await flow.async_start([[1, 2], [], (), [3], iter(())]) == [[2, 4], [], [], [6], []]
    assert await flow.async_start([[], []]) == [[], []]


async def test_s10_an_empty_body_gives_the_items() -> None:
    """S10: a loop without a chunk in it is the list of its items, at any size."""
    flow = TriggerFlow()
    flow.for_each().end_for_each().end()
    assert await flow.async_start(range(20_000)) == list(range(20_000))
    assert await flow.async_start(iter(range(20_000))) == list(range(20_000))


async def test_s10_falsy_results_keep_their_place() -> None:
    """S10 with S5: None, 0 and "" are results."""
    assert await each(echo).async_start([None, 0, "", [], False]) == [None, 0, "", [], False]


# -- order and nesting -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [None, 3])
async def test_s10_results_in_input_order_whatever_finishes_first(concurrency: int | None) -> None:
    """S10: "results in input order"."""

    async def body(data: Data) -> Any:
        await asyncio.sleep((data.value * 7) % 5)
        return data.value

    assert await each(body, concurrency=concurrency).async_start(range(20)) == list(range(20))


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
async def test_s10_nesting_any_depth(depth: int) -> None:
    """S10: "nesting any depth"; each item knows its place by `data.path`."""
    flow, paths = TriggerFlow(), set[tuple[int, ...]]()

    async def body(data: Data) -> Any:
        paths.add(tuple(index for _, _, index in data.path))
        return data.value

    process: Any = flow
    for _ in range(depth):
        process = process.for_each()
    process = process.to(body)
    for _ in range(depth):
        process = process.end_for_each()
    process.end()
    value: Any = "leaf"
    for _ in range(depth):
        value = [value, value]
    assert await flow.async_start(value) == value
    assert len(paths) == 2**depth
    assert {len(path) for path in paths} == {depth}


async def test_s10_two_passes_through_one_block_never_mix() -> None:
    """S10: the same for_each entered twice at once, by two signals, gives two lists."""
    flow, found = TriggerFlow(), list[Any]()

    async def body(data: Data) -> Any:
        await asyncio.sleep(data.value % 3)
        return data.value

    async def note(data: Data) -> None:
        found.append(data.value)

    flow.when(flow.signal("go", external=True)).for_each(concurrency=2).to(body).end_for_each().to(note)
    execution = flow.create_execution()
    execution.begin()
    for start in (0, 100):
        await execution.async_emit("go", list(range(start, start + 9)))
    await execution.async_close()
    assert sorted(found) == [list(range(9)), list(range(100, 109))]


# -- laziness ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("window", [1, 2, 10])
async def test_s10_holds_a_window_and_not_the_input(kind: str, window: int) -> None:
    """S10: "lazily, holding a window and not the input": never more than the window is taken beyond what is done."""
    taken = done = worst = 0

    def take() -> Iterator[int]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number

    async def take_async() -> AsyncIterator[int]:
        for number in take():
            yield number

    async def body(data: Data) -> None:
        nonlocal done, worst
        worst = max(worst, taken - done)
        await asyncio.sleep(1)
        done += 1

    await each(body, concurrency=window).async_start(take() if kind == "sync" else take_async())
    assert done == 200
    assert worst <= window


async def test_s10_without_a_limit_the_window_is_max_pending() -> None:
    """S10: a for_each without a limit holds no more than `max_pending` items open at once."""
    gauge = Gauge()

    async def body(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)

    execution = each(body).create_execution(max_pending=7)
    await execution.async_start(iter(range(50)))
    assert (gauge.peak, gauge.total) == (7, 50)


async def test_s10_an_endless_source_can_be_left() -> None:
    """S10: "lazily": an endless source is no problem until somebody wants its end."""
    seen = 0

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    async def body(data: Data) -> None:
        nonlocal seen
        seen += 1
        await asyncio.sleep(1)

    execution = each(body, concurrency=5).create_execution()
    execution.begin(endless())
    await asyncio.sleep(100.5)
    await execution.async_cancel()
    assert seen == pytest.approx(505, abs=5)


async def test_s10_items_start_as_they_come() -> None:
    """S10: "async iterable, lazily": an item that is here does not wait for the next one."""
    started = list[float]()

    async def slow() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(10)
            yield number

    async def body(data: Data) -> None:
        started.append(now())

    await each(body, concurrency=5).async_start(slow())
    assert started == [10, 20, 30]


async def test_s10_ten_thousand_items_in_constant_memory() -> None:
    """S10: "holding a window and not the input. Cost per item is constant": items do not pile up."""

    class Item:
        pass

    alive = worst = 0

    def items() -> Iterator[Item]:
        for _ in range(10_000):
            yield Item()

    async def body(data: Data) -> int:
        nonlocal worst, alive
        alive += 1
        if alive % 2_500 == 0:
            await asyncio.sleep(0.1)
            gc.collect()
            worst = max(worst, sum(isinstance(it, Item) for it in gc.get_objects()))
        return 1

    execution = each(body, concurrency=20).create_execution(journal_limit=10)
    assert sum(await execution.async_start(items())) == 10_000
    assert worst <= 60


async def test_s10_concurrency_bounds_every_chunk_of_a_pass() -> None:
    """S10 with S9: two chunks in the body, one limit for both."""
    gauge, flow = Gauge(), TriggerFlow()
    flow.register_type(Lazy)

    async def work(data: Data) -> Any:
        with gauge.inside():
            await asyncio.sleep(1)
        return data.value

    flow.for_each(concurrency=4).to(("one", work)).to(("two", work)).end_for_each().end()
    assert await flow.async_start(Lazy([*range(30)])) == list(range(30))
    assert (gauge.peak, gauge.total) == (4, 60)


# -- what stands inside ------------------------------------------------------------------------------------------------


def block(kind: str, process: Any, prefix: str = "") -> Any:
    """The block of this kind, chained; every item becomes 10 times itself in it. `prefix` names its chunks apart."""

    async def ten(data: Data) -> Any:
        await asyncio.sleep(data.value % 3)
        return data.value * 10

    def named(name: str, function: Any) -> tuple[str, Any]:
        return prefix + name, function

    match kind:
        case "batch":
            both = process.batch(named("ten", ten), named("echo", echo), concurrency=1)
            return both.to(named("one", lambda data: data.value[f"{prefix}ten"]))
        case "match":
            odd = process.match().case(lambda data: data.value % 2).to(named("odd", ten))
            return odd.case_else().to(named("even", ten)).end_match()
        case "hit_all":
            process = process.match(mode="hit_all").case(lambda data: True).to(named("all", ten))
            process = process.case(-1).to(named("never", echo))
            return process.end_match().to(named("first", lambda data: data.value[0]))
        case "sub flow":
            child = TriggerFlow(name="child")
            child.to(ten).end()
            return process.to_sub_flow(child)
        case "for_each":
            process = process.to(named("wrap", lambda data: Lazy([data.value]))).for_each().to(named("inner", ten))
            return process.end_for_each().to(named("unwrap", lambda data: data.value[0]))
        case _:
            raise AssertionError(kind)


@pytest.mark.parametrize("concurrency", [None, 1, 3])
@pytest.mark.parametrize("kind", ["batch", "match", "hit_all", "sub flow", "for_each"])
async def test_s10_blocks_inside(kind: str, concurrency: int | None) -> None:
    """S10: "nesting any depth", with every kind of block in the body, under any limit."""
    flow = TriggerFlow()
    flow.register_type(Lazy)
    block(kind, flow.for_each(concurrency=concurrency)).end_for_each().end()
    assert await flow.async_start(Lazy([*range(12)])) == [number * 10 for number in range(12)]


@pytest.mark.parametrize(
    ("outer", "inner"), list(itertools.permutations(["batch", "match", "hit_all", "sub flow", "for_each"], 2))
)
async def test_s10_blocks_after_blocks_inside(outer: str, inner: str) -> None:
    """S10: two blocks in one body do not take each other's results."""
    flow = TriggerFlow()
    flow.register_type(Lazy)
    between = block(outer, flow.for_each(concurrency=2)).to(("between", echo))
    block(inner, between, "second ").end_for_each().end()
    assert await flow.async_start(range(5)) == [number * 100 for number in range(5)]


async def test_s10_a_joined_collection_inside_leaves_nothing_behind() -> None:
    """S10: "Cost per item is constant": what a pass has collected goes with the pass."""
    flow = TriggerFlow()
    process = flow.for_each(concurrency=2)
    first = process.to(("one", echo)).collect("both", "one")
    process.to(("two", echo)).collect("both", "two")

    async def hold(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    first.end_for_each().to(hold).end()
    execution = flow.create_execution()
    execution.begin(list(range(50)))
    await turns(500)
    assert execution.get_pending_interrupts()
    assert execution.save()["state"]["joins"] == []
    await execution.async_cancel()


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [None, 1, 2])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_s10_a_source_that_raises_fails_the_execution(kind: str, concurrency: int | None) -> None:
    """S10 with S7: the exception of the source is what every waiter gets, and nothing hangs."""
    ERROR.__notes__ = []

    def items() -> Iterator[int]:
        yield 1
        raise ERROR

    async def async_items() -> AsyncIterator[int]:
        yield 1
        raise ERROR

    async def body(data: Data) -> None:
        await asyncio.sleep(10)

    execution = each(body, concurrency=concurrency).create_execution(id="run-1")
    with pytest.raises(ValueError, match="broken") as caught:
        await execution.async_start(items() if kind == "sync" else async_items())
    assert caught.value is ERROR
    assert "run-1" in " ".join(ERROR.__notes__)
    assert execution.get_status() == "failed"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), StopIteration(), StopAsyncIteration(), RuntimeError("x")])
async def test_s10_whatever_a_source_raises_nothing_hangs(error: BaseException) -> None:
    """S10 with S7: "Nothing hangs after a failure", not even if the source ends with a cancellation of its own."""

    class Source:
        def __aiter__(self) -> "Source":
            return self

        async def __anext__(self) -> Any:
            raise error

    flow = each()
    result = await asyncio.gather(flow.async_start(Source(), timeout=50), return_exceptions=True)
    assert now() == 0, f"it ended by its timeout: {result}"


async def test_s10_a_failing_item_cancels_its_siblings() -> None:
    """S10 with S7: one item fails, the others are cancelled, the source is not read on."""
    taken, cancelled = 0, list[int]()

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    async def body(data: Data) -> None:
        try:
            await asyncio.sleep(1 + data.value)
        except asyncio.CancelledError:
            cancelled.append(data.value)
            raise
        raise ERROR

    with pytest.raises(ValueError, match="broken"):
        await each(body, concurrency=3).async_start(items())
    assert sorted(cancelled) == [1, 2]
    assert taken == 3


@pytest.mark.parametrize("kind", ["list", "generator"])
async def test_s10_skip_exceptions_leaves_the_failed_items_out(kind: str) -> None:
    """S10 with S7: "`skip_exceptions=True` ends only the failing branch and keeps the error in the record"."""

    async def body(data: Data) -> Any:
        if data.value % 3 == 0:
            raise ERROR
        return data.value

    execution = each(body, concurrency=2).create_execution(skip_exceptions=True)
    values = range(7)
    assert await execution.async_start(list(values) if kind == "list" else iter(values)) == [1, 2, 4, 5]
    assert len(execution.skipped) == 3


async def test_s10_a_retried_item_keeps_its_place() -> None:
    """S10 with policies: an item that is tried again is one item."""
    flow, tries = TriggerFlow(), dict[int, int]()
    flow.register_type(Lazy)

    @flow.chunk("body", retry=Retry(3, initial_interval=1, jitter=0))
    async def body(data: Data) -> Any:
        tries[data.value] = data.attempt
        if data.attempt <= data.value % 3:
            raise ERROR
        return data.value

    flow.for_each(concurrency=2).to(body).end_for_each().end()
    assert await flow.async_start(Lazy([*range(6)])) == list(range(6))
    assert tries == {0: 1, 1: 2, 2: 3, 3: 1, 4: 2, 5: 3}


@pytest.mark.parametrize("end", ["cancel", "failing item", "timeout"])
@pytest.mark.parametrize("kind", ["sync", "async, waiting", "async, resting"])
async def test_s10_a_source_is_closed_when_the_pass_ends_early(kind: str, end: str) -> None:
    """S10 with S8: cancellation is structured: a source with something to clean up (a cursor, a file) is closed when
    the execution has ended, and not when the collector finds it."""
    closed = list[str]()

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append("closed")

    async def async_items() -> AsyncIterator[int]:
        try:
            for number in range(100):
                if kind == "async, waiting" and number == 1:
                    await asyncio.sleep(100)
                yield number
        finally:
            closed.append("closed")

    async def body(data: Data) -> None:
        await asyncio.sleep(1)
        if end == "failing item":
            raise ERROR
        await asyncio.sleep(100)

    source = items() if kind == "sync" else async_items()
    execution = each(body, concurrency=3).create_execution()
    execution.begin(source)
    await asyncio.sleep(0.5)
    if end == "cancel":
        await execution.async_cancel()
    elif end == "timeout":
        with pytest.raises(TimeoutError):
            await execution.async_get_result(timeout=10)
        await execution.async_cancel()
    else:
        with pytest.raises(ValueError, match="broken"):
            await execution.async_get_result()
    await turns()
    assert closed == ["closed"], "the source is still open"


async def test_s10_an_error_route_inside_leaves_the_item_out_and_goes_on() -> None:
    """S10 with S7: an item whose failure is routed is left out of the list, and the pass goes on."""
    flow, routed = TriggerFlow(), list[Any]()

    async def body(data: Data) -> Any:
        if data.value == 1:
            raise ERROR
        return data.value

    async def handle(data: Data) -> None:
        routed.append(data.value["value"])

    flow.for_each().to(body).end_for_each().end()
    flow.when({"error": body}).to(handle)
    assert await flow.async_start(range(3)) == [0, 2]
    assert routed == [1]


async def test_s10_a_set_is_gone_through_in_an_order_that_a_restart_does_not_change() -> None:
    """S10 with S18: the order of a set is another in each process, and a loaded execution goes on in the middle."""
    flow = TriggerFlow()
    flow.for_each(concurrency=1).to(echo).end_for_each().end()
    words = {f"word {number}" for number in range(100)}
    assert await flow.async_start(words) == sorted(words)
    mixed: Any = {3, "b", 1, "a", (2, "x"), (1, "y"), frozenset({"q", "p"}), None, 2.5, b"z"}
    assert await flow.async_start(mixed) == [
        None, b"z", 2.5, frozenset({"q", "p"}), 1, 3, "a", "b", (1, "y"), (2, "x"),
    ]  # fmt: skip
