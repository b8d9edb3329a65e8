"""Following frames and streams: of executions that other processes run, over a crash, a retry and a compaction."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.backend.reading import check_execution, of_frame, of_moment
from tests.durable.test_crashes import LEASE
from triggerflow import TriggerFlow
from triggerflow.backend import BadRequest, Frame, Moment, StoreBackend
from triggerflow.durable import Worker
from triggerflow.errors import StoreError, UnknownExecution, UsageError
from triggerflow.stores import MemoryData, MemoryStore
from triggerflow.testing import ManualClock


def counting(steps: int = 20) -> TriggerFlow:
    """Counts in its state and its stream, a second each, in a loop; asks nobody."""
    flow = TriggerFlow("counting")

    @flow.chunk("count")
    async def count(data: Any) -> Any:
        await asyncio.sleep(1)
        await data.async_put_into_stream(data.value)
        data.state.set("count", data.value)
        if data.value < steps:
            await data.async_emit("more", data.value + 1)
        return data.value

    flow.to(count)
    flow.when("more").to(count)
    return flow


def _many(data: Any) -> list[int]:
    return list(range(600))


async def collect(frames: Any, into: list[Frame]) -> None:
    async for frame in frames:
        into.append(frame)  # noqa: PERF401 - the caller looks at it meanwhile


async def test_a_follower_gets_every_frame_once_over_a_crash_of_the_owner() -> None:
    data, clock, flow = MemoryData(), ManualClock(), counting()
    async with AsyncExitStack() as stack:
        watching = await stack.enter_async_context(MemoryStore(data, lease=LEASE, clock=clock))
        backend = StoreBackend(watching, flow)
        await backend.start("counting", 1, id="one")
        found, items, late = list[Frame](), list[Any](), list[Frame]()
        followers = [
            asyncio.create_task(collect(backend.frames("one", follow=True), found)),
            asyncio.create_task(collect(backend.stream("one", follow=True), items)),
        ]
        dying = await stack.enter_async_context(MemoryStore(data, lease=LEASE, clock=clock))
        worker = Worker(dying, flow)
        await worker.__aenter__()
        await asyncio.sleep(5.5)
        followers.append(asyncio.create_task(collect(StoreBackend(watching).frames("one", after=3, follow=True), late)))
        dying.crash()
        clock.turn(LEASE + 1)
        await worker.__aexit__(None, None, None)
        seen = len(found)
        assert 3 < seen < 40
        next_one = await stack.enter_async_context(MemoryStore(data, lease=LEASE, clock=clock))
        async with Worker(next_one, flow):
            await asyncio.gather(*followers)
        assert [it.number for it in found] == list(range(1, len(found) + 1))
        assert len(found) == (await backend.get("one")).frames > seen
        assert found[-1].status == "completed"
        assert [of_frame(it) for it in late] == [of_frame(it) for it in found[3:]]
        assert [it.item for it in items] == [*range(1, 21)]
        assert [it.number for it in items] == [*range(1, 21)]
        assert "recovered" in [it.kind for it in found[seen:]]
        await check_execution(backend, "one")


async def test_one_who_reads_what_there_is_does_not_wait_for_those_who_follow() -> None:
    flow = TriggerFlow("open")
    flow.signal("go", external=True)
    flow.when("go").to(lambda data: None, name="go")
    async with MemoryStore() as store:
        backend = StoreBackend(store, flow)
        execution = flow.create_execution(id="one", store=store)
        await execution.async_begin()
        followed = list[Any]()
        following = asyncio.create_task(collect(backend.stream("one", follow=True), followed))
        for number in range(5):
            await asyncio.sleep(1)  # the follower knows all there is
            await execution.async_put_into_stream(number)
            assert [it.item async for it in backend.stream("one")] == list(range(number + 1))
        await execution.async_cancel()
        await following
        assert [it.item for it in followed] == list(range(5))


async def test_what_follows_ends_with_the_execution_and_can_be_left_at_any_time() -> None:
    async with MemoryStore() as store:
        flow = counting(3)
        backend = StoreBackend(store, flow)
        await backend.start("counting", 1, id="one")
        async for frame in backend.frames("one", follow=True):
            assert frame.kind == "started"
            break  # nothing is left behind
        waiting = asyncio.create_task(backend.result("one", wait=100))
        async with Worker(store, flow):
            assert (await waiting).status == "completed"
        whole = [it async for it in backend.frames("one")]
        assert [it async for it in backend.frames("one", follow=True)] == whole
        assert [it async for it in backend.frames("one", after=len(whole), follow=True)] == []
        with pytest.raises(BadRequest):
            await anext(backend.frames("one", after=len(whole) + 1))
        with pytest.raises(UnknownExecution):
            await anext(backend.frames("two", follow=True))


async def test_a_follower_that_a_compaction_overtakes_gets_the_whole_state() -> None:
    async with MemoryStore() as store:
        flow = counting(30)
        backend, history = StoreBackend(store, flow), flow.history(store)
        await backend.start("counting", 1, id="one")
        async with Worker(store, flow):
            frames = backend.frames("one", follow=True)
            moment = Moment()
            for _ in range(5):
                moment.take(await anext(frames))
            await asyncio.sleep(10)
            await history.compact("one")
            async for frame in frames:
                moment.take(frame)
            assert moment.status == "completed"
            assert moment.state == {"count": 30}
        first = await anext(backend.frames("one"))
        assert first.kind == "moment"
        assert first.state is not None
        assert first.state.moment == first.number
        moment = Moment()
        async for frame in backend.frames("one"):
            moment.take(frame)
        assert of_moment(moment)["state"] == {"count": 30}
        assert moment.items == 30


async def test_changes_tell_which_executions_to_look_at_again() -> None:
    async with MemoryStore() as store:
        flow = counting(2)
        backend = StoreBackend(store, flow)
        cursor = (await backend.changes()).cursor
        await backend.start("counting", 1, id="one")
        changed = await backend.changes(cursor)
        assert changed.executions == ["one"]
        assert not changed.resync
        assert (await backend.changes(changed.cursor, wait=2)).executions == []


async def test_followers_of_any_pace_get_every_frame_once() -> None:
    """They share the newest frames; who is slower than that reads the store."""
    async with MemoryStore() as store:
        flow = TriggerFlow("long")

        @flow.chunk("work")
        async def work(data: Any) -> Any:
            if not data.value % 10:
                await asyncio.sleep(0.1)
            data.state.set("item", data.value)
            return data.value

        flow.to(_many).for_each(concurrency=2).to(work).end_for_each().end()
        backend = StoreBackend(store, flow)
        await backend.start("long", id="one")
        found: list[list[int]] = []

        async def follow(begin: float, after: int, pace: float) -> None:
            await asyncio.sleep(begin)
            numbers: list[int] = []
            async for frame in backend.frames("one", after=after, follow=True):
                numbers.append(frame.number)
                if not len(numbers) % 100:
                    await asyncio.sleep(pace)
            found.append([after, *numbers])

        async with Worker(store, flow):
            paces = [(0.1 * number, min(number, 1), pace) for number in range(5) for pace in (0, 0.3, 10)]
            await asyncio.gather(*(follow(*it) for it in paces))
        count = (await backend.get("one")).frames
        assert count > 1000
        assert all(numbers == list(range(numbers[0], count + 1)) for numbers in found)
        assert len(found) == len(paces)


async def test_the_stream_of_a_failed_execution_ends_like_any_other() -> None:
    """Its status and its error are read, not raised."""
    async with MemoryStore() as store:
        flow = TriggerFlow("failing")

        @flow.chunk("work")
        async def work(data: Any) -> None:
            await data.async_put_into_stream("one")
            raise ValueError("no")

        flow.to(work)
        backend = StoreBackend(store, flow)
        await backend.start("failing", id="one")
        items = asyncio.create_task(anext(backend.stream("one", follow=True)))
        async with Worker(store, flow):
            assert (await items).item == "one"
            assert [it.number async for it in backend.stream("one", follow=True)] == [1]
            (last,) = [it async for it in backend.frames("one", follow=True) if it.error is not None]
            assert (last.status, last.error and last.error.type) == ("failed", "ValueError")


async def test_who_follows_is_told_when_the_store_is_closed() -> None:
    async with MemoryStore() as store:
        backend = StoreBackend(store, counting())
        await backend.start("counting", 1, id="one")
        following = [asyncio.create_task(collect(backend.frames("one", follow=True), [])) for _ in range(3)]
        following.append(asyncio.create_task(collect(backend.stream("one", follow=True), [])))
        waiting = asyncio.create_task(backend.result("one", wait=200))
        await asyncio.sleep(1)
    for task in (*following, waiting):
        with pytest.raises((StoreError, UsageError)):
            await task
