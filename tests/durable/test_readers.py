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
