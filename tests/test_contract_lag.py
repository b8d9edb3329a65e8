"""The contract's line on memory (S15): readers that lag, and what is kept for them."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from tests.support import now, read, turns
from triggerflow import StreamGap, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ReaderDisconnected, StreamGapError

Data = TriggerFlowRuntimeData[Any]


class Source:
    """A flow that puts numbers as fast as it may; `put` is how many it has put, `ended` when it was through."""

    def __init__(self, count: int, *, sync: bool = False) -> None:
        self.put = 0
        self.ended: float | None = None
        self.flow = TriggerFlow()

        async def source(data: Data) -> str:
            for number in range(count):
                self.put = number + 1
                await data.async_put_into_stream(number)
            self.ended = now()
            return "done"

        def thread(data: Data) -> str:
            for number in range(count):
                self.put = number + 1
                data.put_into_stream(number)
            return "done"

        self.flow.to(thread if sync else source).end()


@pytest.mark.parametrize("buffer", [1, 2, 7, 100])
@pytest.mark.parametrize("sync", [False, True])
async def test_s15_block_holds_the_writer_to_the_slowest_reader(buffer: int, sync: bool) -> None:
    """S15: "`block` with a bounded buffer": nothing is lost, and never more than the buffer is ahead."""
    source = Source(300, sync=sync)
    execution = source.flow.create_execution()
    quick = asyncio.create_task(read(execution.get_async_runtime_stream("go", buffer=buffer)))
    found: list[int] = []
    async for item in execution.get_async_runtime_stream("go", buffer=buffer):
        found.append(item)
        if not sync:
            await asyncio.sleep(1)
        assert source.put <= item + 1 + buffer + 1
    assert found == await quick == list(range(300))
    assert await execution.async_get_result() == "done"


@pytest.mark.parametrize(("history", "buffer"), [(1, 1), (1, 64), (10, 1_024), (100, 10_000)])
async def test_s15_a_blocking_reader_loses_nothing_whatever_the_history(history: int, buffer: int) -> None:
    """S15: "`block` with a bounded buffer": that policy promises every item, however little is kept for others."""
    source = Source(3_000)
    execution = source.flow.create_execution(stream_history=history)
    found: list[int] = []
    async for item in execution.get_async_runtime_stream("go", buffer=buffer):
        found.append(item)
        if item % 500 == 0:
            await asyncio.sleep(1)
    assert found == list(range(3_000))


@pytest.mark.parametrize("buffer", [1, 5, 64])
async def test_s15_drop_oldest_marks_every_gap(buffer: int) -> None:
    """S15: "`drop_oldest` with a gap marker": the writer never waits, and items and gaps cover every number once."""
    source = Source(1_000)
    execution = source.flow.create_execution(stream_history=100)
    reader = execution.get_async_runtime_stream("go", lag="drop_oldest", buffer=buffer)
    covered: list[int] = []
    gaps = 0
    async for item in reader:
        if isinstance(item, StreamGap):
            gaps += 1
            covered.extend(range(item.first, item.last + 1))
            assert reader.position == item.last
        else:
            covered.append(item + 1)
            assert reader.position == item + 1
        await asyncio.sleep(1)
    assert source.ended == 0
    assert covered == list(range(1, 1_001))
    assert gaps >= 1


async def test_s15_disconnect_says_where_to_come_back() -> None:
    """S15: "`disconnect`": the writer never waits; the reader is told, and can come back at its position."""
    flow, ended = TriggerFlow(), list[float]()

    async def source(data: Data) -> None:
        for number in range(100):
            await data.async_put_into_stream(number)
            await asyncio.sleep(1)
        ended.append(now())

    flow.to(source)
    execution = flow.create_execution()
    reader = execution.get_async_runtime_stream("go", lag="disconnect", buffer=10)
    found = [await anext(reader) for _ in range(5)]
    await asyncio.sleep(10)
    found += [await anext(reader), await anext(reader)]
    await asyncio.sleep(50)
    with pytest.raises(ReaderDisconnected, match=f"after={reader.position}"):
        await anext(reader)
    assert await anext(reader, "left") == "left"
    found += await read(execution.get_async_runtime_stream(after=reader.position))
    assert found == list(range(100))
    assert ended == [100]


async def test_s15_a_disconnected_reader_whose_items_are_gone_is_told_that() -> None:
    """S15: "older items come from the store, or, without one, from a bounded history": beyond it there is no way
    back."""
    execution = Source(1_000).flow.create_execution(stream_history=10)
    reader = execution.get_async_runtime_stream("go", lag="disconnect", buffer=10)
    await execution.async_start("go")
    with pytest.raises((StreamGapError, ReaderDisconnected)):
        await anext(reader)


async def test_s15_policies_side_by_side_do_not_disturb_each_other() -> None:
    """S15: each reader has its own declared policy; only blocking ones hold the writer."""
    source = Source(200)
    execution = source.flow.create_execution()
    blocking = asyncio.create_task(read(execution.get_async_runtime_stream("go", buffer=4)))

    async def slow(reader: Any) -> list[Any]:
        found: list[Any] = []
        try:
            async for item in reader:
                found.append(item)
                await asyncio.sleep(1)
        except ReaderDisconnected:
            found.append("disconnected")
        return found

    dropping = asyncio.create_task(slow(execution.get_async_runtime_stream("go", lag="drop_oldest", buffer=4)))
    leaving = asyncio.create_task(slow(execution.get_async_runtime_stream("go", lag="disconnect", buffer=4)))
    assert await blocking == list(range(200))
    assert source.ended == 0
    assert isinstance((await dropping)[1], StreamGap)
    assert (await leaving)[-1] == "disconnected"


@pytest.mark.parametrize(
    "way", ["break", "aclose", "cancelled while waiting", "cancelled in its body", "raises", "forgotten"]
)
async def test_s15_a_reader_that_leaves_holds_nobody_up(way: str) -> None:
    """S15 and S7's "Nothing hangs": a blocking reader counts as long as it is there."""
    source = Source(500)
    execution = source.flow.create_execution()

    async def reading() -> None:
        async for item in execution.get_async_runtime_stream("go", buffer=2):
            if item == 3 and way == "raises":
                raise KeyError("in the reader")
            await asyncio.sleep(1)

    held: list[Any] = []
    if way == "break":
        async for item in execution.get_async_runtime_stream("go", buffer=2):
            if item == 3:
                break
    elif way == "aclose":
        reader = execution.get_async_runtime_stream("go", buffer=2)
        await read(reader, 3)
        held.append(reader)
        await asyncio.sleep(1)
        assert source.ended is None
        await reader.aclose()
        assert await anext(reader, "left") == "left"
    elif way == "forgotten":
        reader = execution.get_async_runtime_stream("go", buffer=2)
        await read(reader, 3)
        del reader
    elif way == "cancelled while waiting":
        waiting = execution.get_async_runtime_stream(after=1_000, buffer=2)
        held.append(asyncio.create_task(read(waiting)))
        del waiting
        execution.begin("go")
        await turns()
        held[0].cancel()
    else:
        held.append(asyncio.create_task(reading()))
        await asyncio.sleep(10)
        held[0].cancel()
        await asyncio.wait(held)
        if way == "raises":
            assert isinstance(held[0].exception(), KeyError)
    assert await execution.async_get_result(timeout=100) == "done"
    await asyncio.gather(*(task for task in held if isinstance(task, asyncio.Task)), return_exceptions=True)


class Item:
    """Something that can be counted while it is alive."""

    def __init__(self, alive: "weakref.WeakSet[Item]") -> None:
        alive.add(self)


@pytest.mark.parametrize("readers", ["none", "blocking", "drop_oldest", "left", "late"])
async def test_s15_memory_is_bounded_whoever_reads(readers: str) -> None:
    """S15: "Memory is bounded": of 20,000 items only the declared history, journal and buffers are alive."""
    flow, alive, peak = TriggerFlow(), weakref.WeakSet[Item](), 0

    async def source(data: Data) -> None:
        nonlocal peak
        for number in range(20_000):
            await data.async_put_into_stream(Item(alive))
            if number % 100 == 0:
                peak = max(peak, len(alive))

    flow.to(source)
    execution = flow.create_execution(stream_history=16, journal_limit=16)
    if readers == "none":
        await execution.async_start("go")
    elif readers == "left":
        await read(execution.get_async_runtime_stream("go", buffer=4), 3)
        await execution.async_get_result()
    elif readers == "late":
        await execution.async_start("go")
        assert len(await read(execution.get_async_runtime_stream(after=19_990))) == 10
    else:
        async for _ in execution.get_async_runtime_stream(
            "go", lag="drop_oldest" if readers == "drop_oldest" else "block", buffer=16
        ):
            await asyncio.sleep(0)
    assert peak <= 2 * 16 + 1 + 2 * 16 + 1 + 16 + 4
    gc.collect()
    assert len(alive) <= 2 * 16 + 1 + 2 * 16 + 1
