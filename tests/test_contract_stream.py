"""The contract's lines on the runtime stream: numbers and readers (S14), and how it ends (S16)."""

import asyncio
import gc
from typing import Any

import pytest

from tests.support import now, read, turns
from triggerflow import StreamReader, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import AlreadyStarted, ContractError, DefinitionError, StreamGapError

Data = TriggerFlowRuntimeData[Any]


def counting(count: int, pause: float = 0, fail: bool = False) -> TriggerFlow:
    """A flow that puts 0, 1, 2 ... with a pause between two items, and returns their number."""
    flow = TriggerFlow()

    async def source(data: Data) -> int:
        for number in range(count):
            if number:
                await asyncio.sleep(pause)
            await data.async_put_into_stream(number)
        if fail:
            raise ValueError("broken")
        return count

    flow.to(source).end()
    return flow


async def numbered(reader: StreamReader[Any], limit: int | None = None) -> list[tuple[int, Any]]:
    """Number and item, as a client would keep them to come back."""
    found: list[tuple[int, Any]] = []
    async for item in reader:
        found.append((reader.position, item))
        if len(found) == limit:
            break
    return found


# -- S14 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0, 1])
async def test_s14_any_number_of_readers_from_any_number_on_at_any_time(pause: float) -> None:
    """S14: "Every item has a sequence number. Any number of readers, each from any number on, at any time ...:
    nothing lost, nothing twice." Before the start, while it runs, after its end; from the first item, in between, the
    future."""
    execution = counting(20, pause).create_execution()
    wanted = [(number + 1, number) for number in range(20)]

    async def join(delay: float, after: int) -> None:
        await asyncio.sleep(delay)
        assert await numbered(execution.get_async_runtime_stream(after=after)) == wanted[after:]

    early = [join(0, after) for after in (0, 7, 19, 20)]
    later = [join(delay, after) for delay in (0.5, 5, 10.5, 18.5, 100) for after in (0, 3, 15, 20)]
    answers = await asyncio.gather(execution.async_start(), *early, *later)
    assert answers[0] == 20


async def test_s14_a_reader_that_comes_back_continues_where_it_left() -> None:
    """S14: "also after a reconnect": read some, leave, come back with the last number, as often as one likes."""
    execution = counting(50, 1).create_execution()
    found: list[tuple[int, Any]] = []
    while len(found) < 50:
        reader = execution.get_async_runtime_stream("go", after=found[-1][0] if found else 0)
        found += await numbered(reader, 7)
        await asyncio.sleep(len(found) % 3)
    assert found == [(number + 1, number) for number in range(50)]
    assert await read(execution.get_async_runtime_stream(after=50)) == []


async def test_s14_two_tasks_may_share_one_reader() -> None:
    """S14: "nothing lost, nothing twice", also when several tasks take from one reader in turns."""
    reader = counting(30, 1).create_execution().get_async_runtime_stream("go")
    parts = await asyncio.gather(read(reader), read(reader), read(reader))
    assert sorted(item for part in parts for item in part) == list(range(30))


async def test_s14_reading_starts_the_execution_once() -> None:
    """S14: a start and any number of readers in any order mean one run; a reader without a value leaves it to
    others."""
    flow, starts = TriggerFlow(), list[Any]()

    async def source(data: Data) -> Any:
        starts.append(data.value)
        await data.async_put_into_stream(data.value)
        return data.value

    flow.to(source).end()
    execution = flow.create_execution()
    answers = await asyncio.gather(
        read(execution.get_async_runtime_stream()),
        read(execution.get_async_runtime_stream("go")),
        execution.async_start("go"),
        execution.async_start(),
        read(execution.get_async_runtime_stream("go")),
    )
    assert answers == [["go"], ["go"], "go", "go", ["go"]]
    assert starts == ["go"]
    with pytest.raises(AlreadyStarted, match="another value"):
        await anext(execution.get_async_runtime_stream("other"))


async def test_s14_a_reader_alone_starts_the_execution_with_none() -> None:
    """S14: with nobody else to start it, reading does; making a reader that is not read does nothing."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        await data.async_put_into_stream(data.value)

    flow.to(source)
    execution = flow.create_execution()
    execution.get_async_runtime_stream("never read")
    await turns()
    assert execution.get_status() == "created"
    assert await read(execution.get_async_runtime_stream()) == [None]


async def test_s14_items_are_the_objects_that_were_put() -> None:
    """S14: in memory any object passes, unchecked and uncopied; None and exceptions are items as well."""
    items: list[Any] = [None, False, 0, "", [], {}, object(), ValueError("an item"), StopAsyncIteration(), ...]
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        for item in items:
            await data.async_put_into_stream(item)

    flow.to(source)
    found = await read(flow.get_async_runtime_stream())
    assert len(found) == len(items)
    assert all(one is other for one, other in zip(found, items, strict=True))


async def test_s14_items_of_concurrent_chunks_keep_each_chunks_order() -> None:
    """S14 with S1: many writers, one sequence; every reader sees the same one."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        for number in range(20):
            await data.async_put_into_stream((data.chunk_name, number))
            await asyncio.sleep(number % 3)

    flow.batch(*((f"source{number}", source) for number in range(5)))
    execution = flow.create_execution()
    first, second = await asyncio.gather(
        read(execution.get_async_runtime_stream("go")), read(execution.get_async_runtime_stream("go"))
    )
    assert first == second
    assert len(first) == 100
    for name in {name for name, _ in first}:
        assert [number for chunk, number in first if chunk == name] == list(range(20))


async def test_s14_items_that_are_no_longer_held_are_announced_not_skipped() -> None:
    """S14: "nothing lost" without a word: who asks for more than the bounded history holds is told what is gone."""
    execution = counting(1_000).create_execution(stream_history=10)
    assert await execution.async_start() == 1_000
    with pytest.raises(StreamGapError, match=r"items 1 to \d+.*stream_history"):
        await anext(execution.get_async_runtime_stream())
    tail = await numbered(execution.get_async_runtime_stream(after=995))
    assert tail == [(number + 1, number) for number in range(995, 1_000)]


@pytest.mark.parametrize("bad", [{"after": -1}, {"buffer": 0}, {"lag": "sometimes"}])
async def test_s14_a_reader_with_senseless_options_is_refused_at_once(bad: dict[str, Any]) -> None:
    """S14 and S15: the mistake shows where it was made, not at the first item."""
    with pytest.raises(DefinitionError, match=str(next(iter(bad.values())))):
        counting(1).create_execution().get_async_runtime_stream(**bad)


# -- S16 -------------------------------------------------------------------------------------------------------------


async def test_s16_the_stream_ends_when_the_execution_closes() -> None:
    """S16: "The stream ends when stopped or when the execution closes", without anybody having to stop it."""
    execution = counting(3, 1).create_execution()
    assert await read(execution.get_async_runtime_stream("go", timeout=None)) == [0, 1, 2]
    assert now() == 2
    silent = TriggerFlow()
    silent.to(lambda data: None)
    assert await read(silent.get_async_runtime_stream()) == []


async def test_s16_the_stream_ends_when_stopped_and_the_execution_goes_on() -> None:
    """S16: "The stream ends when stopped": after the items put before, for every reader; the work goes on."""
    flow = TriggerFlow()

    async def source(data: Data) -> str:
        await data.async_put_into_stream(1)
        await data.async_stop_stream()
        await data.async_put_into_stream("after the end")
        await asyncio.sleep(10)
        return "done"

    flow.to(source).end()
    execution = flow.create_execution()
    assert await read(execution.get_async_runtime_stream("go")) == [1]
    assert now() == 0
    assert await read(execution.get_async_runtime_stream()) == [1]
    assert execution.get_status() == "running"
    assert await execution.async_get_result() == "done"
    assert await read(execution.get_async_runtime_stream()) == [1]


async def test_s16_an_item_put_after_the_stop_is_not_lost_silently(caplog: pytest.LogCaptureFixture) -> None:
    """S16: it comes too late for the stream, and the log says so."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        data.stop_stream()
        data.stop_stream()
        await data.async_put_into_stream("too late")

    flow.to(source)
    assert await read(flow.get_async_runtime_stream()) == []
    assert [record.levelname for record in caplog.records if record.name == "triggerflow"] == ["WARNING"]


@pytest.mark.parametrize("late", [False, True])
async def test_s16_on_failure_it_raises_the_failure_after_the_last_item(late: bool) -> None:
    """S16: "on failure it raises the failure after the last item." For readers of then and later, and once each."""
    execution = counting(3, 1, fail=True).create_execution()
    execution.begin()
    if late:
        await asyncio.sleep(10)
    reader = execution.get_async_runtime_stream()
    assert [await anext(reader) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken"):
        await anext(reader)
    assert await anext(reader, "ended") == "ended"
    with pytest.raises(ValueError, match="broken"):
        await execution.async_get_result()


async def test_s16_a_gap_longer_than_the_timeout_raises_and_loses_nothing() -> None:
    """S16: "An item gap longer than `timeout` raises; it never ends silently." The reader may go on, or others may."""
    execution = counting(3, 5).create_execution()
    reader = execution.get_async_runtime_stream("go", timeout=2)
    assert await anext(reader) == 0
    with pytest.raises(TimeoutError, match="2 s"):
        await anext(reader)
    assert now() == 2
    with pytest.raises(TimeoutError):
        await anext(reader)
    assert await anext(reader) == 1
    assert await read(execution.get_async_runtime_stream(after=1, timeout=5.1)) == [1, 2]
    assert await execution.async_get_result() == 3


async def test_s16_the_timeout_is_for_gaps_not_for_the_whole_stream() -> None:
    """S16: "An item gap": a stream that flows may take any time, and the reader's own time does not count."""
    execution = counting(20, 1.5).create_execution()
    items: list[int] = []
    async for item in execution.get_async_runtime_stream("go", timeout=2):
        items.append(item)
        await asyncio.sleep(4)
    assert items == list(range(20))
    flow = TriggerFlow()
    flow.to(lambda data: None)
    flow.when(flow.signal("never", external=True)).to(lambda data: None)
    with pytest.raises(TimeoutError):
        await read(flow.create_execution().get_async_runtime_stream("go", timeout=3))


async def test_s16_a_wait_for_an_item_that_is_given_up_costs_no_item_and_no_memory() -> None:
    """S16 and S14: polling with a time-out of one's own neither loses an item nor piles up what waits."""
    execution = counting(3, 1_000).create_execution()
    reader = execution.get_async_runtime_stream("go")
    found: list[int] = []
    futures = 0
    before = sum(isinstance(thing, asyncio.Future) for thing in gc.get_objects())
    while len(found) < 3:
        try:
            found.append(await asyncio.wait_for(anext(reader), 1))
        except TimeoutError:
            if now() == 998:
                futures = sum(isinstance(thing, asyncio.Future) for thing in gc.get_objects())
    assert found == [0, 1, 2]
    assert futures < before + 50
    assert await read(reader) == []


async def test_a_reader_without_a_value_is_told_that_nothing_could_start() -> None:
    """S7: "Nothing hangs": the contract asks for a start value, and whoever reads gives none."""
    flow = TriggerFlow().set_contract(initial_input=int)
    flow.to(lambda data: None)
    execution = flow.create_execution()
    reader = execution.get_async_runtime_stream()
    with pytest.raises(ContractError):
        await anext(reader)
    assert await execution.async_start(1) is None
    assert await read(reader) == []
