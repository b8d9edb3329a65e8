"""Readers of durable executions: out of the store, live and past without gap or repeat, compaction for who comes late.

A reader that is disconnected 1,000 times at random and resumes from its last number loses and repeats nothing.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.durable.brief import WORDS, asking, brief
from tests.support import drain, read
from triggerflow import TriggerFlow
from triggerflow._core.errors import RemoteChunkError, UnknownExecution
from triggerflow.errors import ExecutionCancelled
from triggerflow.stores import ExecutionRow, MemoryData, MemoryStore

Open = Callable[[], Any]
COUNT = 6000


def numbers() -> TriggerFlow:
    """Puts the numbers from 0 on, in two chunks with a question between them, now and then resting for a moment."""
    flow = TriggerFlow(name="numbers")

    async def put(data: Any, first: int, last: int) -> None:
        for number in range(first, last):
            await data.async_put_into_stream(number)
            if number % 7 == 0:
                await asyncio.sleep(0.001)

    @flow.chunk("first half")
    async def first_half(data: Any) -> None:
        await put(data, 0, COUNT // 2)
        data.pause_for(interrupt_id="go on")

    @flow.chunk("second half")
    async def second_half(data: Any) -> str:
        await put(data, COUNT // 2, COUNT)
        return "done"

    flow.to(first_half).to(second_half).end()
    return flow


async def takes(reader: Any, chance: random.Random) -> tuple[list[tuple[int, Any]], bool]:
    """What a reader gets until its connection breaks, between two items or in the middle of waiting for one."""
    found: list[tuple[int, Any]] = []

    async def take() -> bool:
        for _ in range(chance.randrange(1, 12)):
            try:
                item = await anext(reader)
            except StopAsyncIteration:
                return True
            found.append((reader.position, item))
        return False

    task = asyncio.ensure_future(take())
    await asyncio.wait([task], timeout=chance.choice((0.0005, 0.003, 5.0)))
    task.cancel()
    ended = False
    with suppress(asyncio.CancelledError):
        ended = await task
    await reader.aclose()
    return found, ended


@pytest.mark.seeds(1, 10)
async def test_a_reader_that_is_disconnected_1000_times_loses_and_repeats_nothing(open_store: Open, seed: int) -> None:
    chance, flow = random.Random(seed), numbers()
    async with open_store() as store, open_store() as elsewhere:
        execution = flow.create_execution(store=store, id="n")
        await execution.async_begin()
        running = asyncio.ensure_future(execution.async_get_result())
        history = flow.history(elsewhere)
        got: list[tuple[int, Any]] = []
        disconnects, ended = 0, False
        while not ended:
            after = got[-1][0] if got else 0
            if after >= COUNT // 4 and disconnects and execution is not None and after < COUNT // 2:
                await execution.async_suspend()  # the process goes away, and another one goes on
                with suppress(Exception):
                    await running
                execution = None
                resumed = await flow.async_resume("n", store=elsewhere)
                running = asyncio.ensure_future(resumed.async_get_result())
                break
            found, ended = await takes(history.stream("n", after=after, poll=0.01), chance)
            got += found
            disconnects += 1
        while not ended:
            if not running.done() and resumed.get_pending_interrupts():
                await resumed.async_continue_with("go on")
            after = got[-1][0]
            local = chance.random() < 0.5
            reader: Any = (
                resumed.get_async_runtime_stream(after=after)
                if local
                else flow.history(store).stream("n", after=after, poll=0.01)
            )
            found, ended = await takes(reader, chance)
            got += found
            disconnects += 1
        assert await running == "done"
        everything = [item async for item in history.stream("n")]
        assert disconnects >= 1000
        assert got == list(enumerate(everything, 1))
        chunks = [item for item in everything if isinstance(item, int)]
        assert sorted(set(chunks)) == list(range(COUNT))


async def test_live_and_past_are_joined_from_any_number_on(open_store: Open) -> None:
    flow = asking()
    async with open_store() as there, open_store() as here:
        execution = flow.create_execution(store=there, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        reading = [asyncio.ensure_future(read(flow.history(here).stream("a", after=after))) for after in range(3)]
        await asyncio.sleep(1)
        assert not any(task.done() for task in reading)
        await execution.async_continue_with("approve", "yes")
        whole, *others = await asyncio.gather(*reading)
        assert whole[0] == "draft of news"
        assert whole[-1] == "published: yes"
        assert others == [whole[1:], whole[2:]]


async def test_without_follow_it_ends_with_what_is_there(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        assert len(await read(flow.history(store).stream("a", follow=False))) == 2
        with pytest.raises(TimeoutError, match="no item of execution 'a' for 3 s"):
            await read(flow.history(store).stream("a", timeout=3))
        await execution.async_suspend()


async def test_a_failure_comes_after_the_last_item(open_store: Open) -> None:
    flow = TriggerFlow(name="fails")

    @flow.chunk("fail")
    async def fail(data: Any) -> None:
        await data.async_put_into_stream("last words")
        raise ValueError("no more")

    flow.to(fail)
    async with open_store() as store:
        with pytest.raises(ValueError, match="no more"):
            await flow.create_execution(store=store, id="f").async_start()
        items, error = await drain(flow.history(store).stream("f"))
        assert items == ["last words"]
        assert isinstance(error, RemoteChunkError)
        assert "chunk 'fail' failed: ValueError: no more" in str(error)


async def test_a_cancellation_ends_a_reader_elsewhere(open_store: Open) -> None:
    flow = asking()
    async with open_store() as there, open_store() as here:
        execution = flow.create_execution(store=there, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        reading = asyncio.ensure_future(drain(flow.history(here).stream("a")))
        await asyncio.sleep(1)
        await execution.async_cancel("not needed")
        _, error = await reading
        assert isinstance(error, ExecutionCancelled)
        assert error.reason == "not needed"


async def test_a_stream_that_is_stopped_ends_while_the_execution_goes_on(open_store: Open) -> None:
    flow = TriggerFlow(name="stops")

    @flow.chunk("stop")
    async def stop(data: Any) -> None:
        await data.async_put_into_stream("only")
        await data.async_stop_stream()
        data.pause_for(interrupt_id="wait")

    flow.to(stop)
    async with open_store() as store, open_store() as elsewhere:
        execution = flow.create_execution(store=store, id="s")
        running = asyncio.ensure_future(execution.async_start())
        await asyncio.sleep(0.1)
        assert (await read(flow.history(elsewhere).stream("s")))[0] == "only"
        await flow.history(store).compact("s")
        assert (await read(flow.history(elsewhere).stream("s")))[0] == "only"
        await execution.async_suspend()
        with suppress(Exception):
            await running


async def test_a_reader_of_nothing_is_told(open_store: Open) -> None:
    async with open_store() as store:
        with pytest.raises(UnknownExecution):
            await read(brief().history(store).stream("nobody"))


# -- compaction ------------------------------------------------------------------------------------------------------


async def test_a_late_reader_gets_one_merged_value_and_then_live_deltas(open_store: Open) -> None:
    flow, gate = TriggerFlow(name="model"), asyncio.Event()

    @flow.chunk("answer")
    async def answer(data: Any) -> None:
        for word in ("a ", "b ", "c "):
            await data.async_put_into_stream(word)
        await gate.wait()
        for word in ("d ", "e"):
            await data.async_put_into_stream(word)
            await asyncio.sleep(1)

    flow.to(answer)
    async with open_store() as store, open_store() as elsewhere:
        execution = flow.create_execution(store=store, id="m")
        running = asyncio.ensure_future(execution.async_start())
        await asyncio.sleep(0.1)
        for reader in (
            execution.get_async_runtime_stream(compact=True),
            flow.history(elsewhere).stream("m", compact=True),
        ):
            assert await anext(reader) == "a b c "
            assert reader.position == 3
        gate.set()
        assert [item async for item in execution.get_async_runtime_stream(after=3, compact=True)] == ["d ", "e"]
        await running
        assert await read(flow.history(elsewhere).stream("m", compact=True, after=1)) == ["b c d e"]


async def test_only_what_differs_in_its_delta_is_merged(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="b")
        await execution.async_start("sails")
        merged = [
            {"stage": "plan", "delta": "".join(WORDS)},
            {"found": "sails history"},
            {"found": "sails physics"},
        ]
        assert await read(execution.get_async_runtime_stream(compact=True)) == merged
        reader = flow.history(store).stream("b", compact=True)
        assert [(item, reader.position) async for item in reader] == list(zip(merged, (4, 5, 6), strict=True))


async def test_a_merged_value_goes_over_pages_and_what_is_held(open_store: Open) -> None:
    flow = TriggerFlow(name="long")

    @flow.chunk("write")
    async def write(data: Any) -> None:
        for number in range(5000):
            await data.async_put_into_stream({"delta": f"{number},"})

    flow.to(write)
    text = "".join(f"{number}," for number in range(5000))
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="l", stream_history=100)
        await execution.async_start()
        assert await read(execution.get_async_runtime_stream(compact=True)) == [{"delta": text}]
        assert await read(flow.history(store).stream("l", compact=True)) == [{"delta": text}]
        assert execution.get_async_runtime_stream(compact=True).position == 0


class CountedStore(MemoryStore):
    """Counts the queries of readers."""

    queries = 0

    async def find(self, execution: str) -> ExecutionRow | None:
        self.queries += 1
        return await super().find(execution)

    async def items(self, execution: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        self.queries += 1
        return await super().items(execution, after=after, limit=limit)

    async def records(self, execution: str, *, first: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        self.queries += 1
        return await super().records(execution, first=first, limit=limit)


def ticking(count: int) -> TriggerFlow:
    flow = TriggerFlow(name="ticking")

    @flow.chunk("tick")
    async def tick(data: Any) -> str:
        for number in range(count):
            await data.async_put_into_stream(number)
            await asyncio.sleep(10)
        return "done"

    flow.to(tick).end()
    return flow


async def test_a_thousand_readers_of_one_execution_query_as_often_as_one() -> None:
    data, flow = MemoryData(), ticking(20)

    async def queries(count: int, id: str) -> int:
        async with MemoryStore(data) as owner, CountedStore(data) as store:
            execution = flow.create_execution(store=owner, id=id)
            await execution.async_begin()
            history = flow.history(store)
            found = await asyncio.gather(*[read(history.stream(id, after=number % 3)) for number in range(count)])
            assert found == [list(range(number % 3, 20)) for number in range(count)]
            return store.queries

    one = await queries(1, "one")
    assert await queries(1000, "many") <= one + 10


async def test_a_reader_queries_nothing_while_nothing_changes() -> None:
    data, flow = MemoryData(), asking()
    async with MemoryStore(data) as owner, CountedStore(data) as store:
        execution = flow.create_execution(store=owner, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        reading = asyncio.ensure_future(read(flow.history(store).stream("a")))
        await asyncio.sleep(1)
        before = store.queries
        await asyncio.sleep(1000)
        await flow.create_execution(store=owner, id="b").async_open()  # nobody waits for this one
        await asyncio.sleep(1000)
        assert store.queries == before
        await execution.async_continue_with("approve", "yes")
        assert (await reading)[-1] == "published: yes"


async def test_a_late_reader_gets_what_is_not_kept_for_others() -> None:
    flow = TriggerFlow(name="many")

    @flow.chunk("put")
    async def put(data: Any) -> str:
        for number in range(3000):
            await data.async_put_into_stream(number)
        data.pause_for(interrupt_id="go on")
        return "done"

    @flow.chunk("end")
    async def end(data: Any) -> str:
        await data.async_put_into_stream("last")
        return "done"

    flow.to(put).to(end).end()
    data = MemoryData()
    async with MemoryStore(data) as owner, MemoryStore(data) as store:
        execution = flow.create_execution(store=owner, id="m")
        await execution.async_begin()
        history = flow.history(store)
        early = asyncio.ensure_future(read(history.stream("m")))
        await asyncio.sleep(1)
        late = [asyncio.ensure_future(read(history.stream("m", after=after))) for after in (0, 1, 1999, 2000, 2999)]
        await asyncio.sleep(1)
        await execution.async_continue_with("go on")
        everything = await early
        assert everything == await read(history.stream("m", follow=False))
        assert [item for item in everything if not isinstance(item, dict)] == [*range(3000), "last"]
        assert await asyncio.gather(*late) == [everything[after:] for after in (0, 1, 1999, 2000, 2999)]


async def test_the_id_of_a_deleted_execution_can_be_read_again() -> None:
    data, flow = MemoryData(), asking()
    async with MemoryStore(data) as store:
        history = flow.history(store)
        for turn in range(3):
            async with MemoryStore(data) as owner:
                execution = flow.create_execution(store=owner, id="a")
                await read(execution.get_async_runtime_stream(f"news {turn}"), 2)
                reading = asyncio.ensure_future(read(history.stream("a")))
                waiting = asyncio.ensure_future(read(history.stream("a", after=50)))
                await asyncio.sleep(1)
                await execution.async_continue_with("approve", "yes")
                assert (await reading)[0] == f"draft of news {turn}"
                assert await waiting == []
                assert (await history.prune(keep=0)).deleted == 1
        with pytest.raises(UnknownExecution, match="'a'"):
            await read(history.stream("a"))


async def test_a_reader_ends_when_its_execution_is_deleted_meanwhile() -> None:
    data, flow = MemoryData(), asking()
    async with MemoryStore(data) as owner, MemoryStore(data) as store:
        execution = flow.create_execution(store=owner, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        reader = flow.history(store).stream("a")
        assert await read(reader, 2) == await read(flow.history(store).stream("a", follow=False))
        await execution.async_continue_with("approve", "yes")
        await execution.async_get_result()
        await flow.history(store).prune(keep=0)
        with pytest.raises(UnknownExecution, match="'a'"):
            await anext(reader)
