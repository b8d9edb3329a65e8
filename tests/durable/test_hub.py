"""The hub of a store: who waits for an execution or a request is told when it changes, whoever has changed it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from triggerflow.durable.executions.commit import session_of
from triggerflow.durable.hub import Watch
from triggerflow.errors import StoreUnavailable
from triggerflow.stores import Changes, MemoryData, MemoryStore
from triggerflow.testing.store_changes import request
from triggerflow.testing.store_tools import more, new


class CountedStore(MemoryStore):
    """Counts the calls that wait for changes; each fails once for each entry of `fails`."""

    waits = 0
    waiting = 0
    fails = 0

    async def wait_changes(
        self, cursor: str | None = None, *, timeout: float | None = None, own: bool = True
    ) -> Changes:
        self.waits += 1
        self.waiting += 1
        try:
            if cursor is not None and self.fails:
                self.fails -= 1
                raise StoreUnavailable("the disk is full")
            return await super().wait_changes(cursor, timeout=timeout, own=own)
        finally:
            self.waiting -= 1


@asynccontextmanager
async def two() -> AsyncGenerator[tuple[CountedStore, MemoryStore]]:
    data = MemoryData()
    async with CountedStore(data) as store, MemoryStore(data) as other:
        await other.append([new("x"), new("y")])
        yield store, other


async def is_told(watch: Watch) -> bool:
    """Whether the watch is told something now."""
    for _ in range(5):
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(0):
            await watch.changed()
    except TimeoutError:
        return False
    return True


async def test_who_waits_is_told_of_changes_of_what_he_waits_for_only() -> None:
    async with two() as (store, other):
        hub = session_of(store).hub
        with hub.watch(executions=["x"]) as x, hub.watch(executions=["y"], requests=["1"]) as y:
            await x.changed()  # the feed began
            await y.changed()
            assert not await is_told(x)
            await other.append([more("x", 0, b"a")])
            assert (await is_told(x), await is_told(y)) == (True, False)
            await other.append([more("y", 0, b"a")])
            assert (await is_told(x), await is_told(y)) == (False, True)
            await other.post(request("1", "x"))
            assert (await is_told(x), await is_told(y)) == (True, True)
            await other.post(request("2", "x"))
            await other.post(request("3", "x"))
            assert (await is_told(x), await is_told(x), await is_told(y)) == (True, False, False)
            x.add("executions", ["y"])
            await other.append([more("y", 1, b"a")])
            assert (await is_told(x), await is_told(y)) == (True, True)


async def test_a_change_between_the_making_and_the_first_answer_of_the_store_is_told() -> None:
    async with two() as (store, other):
        with session_of(store).hub.watch(executions=["x"]) as watch:
            assert await store.records("x") == []
            await other.append([more("x", 0, b"a")])
            await watch.changed()
            assert len(await store.records("x")) == 1


async def test_one_call_waits_for_all_and_none_when_nobody_waits() -> None:
    async with two() as (store, other):
        hub = session_of(store).hub
        watches = [hub.watch(executions=["x"]) for _ in range(1000)]
        waiting = [asyncio.create_task(watch.changed()) for watch in watches]
        await asyncio.wait(waiting)
        waiting = [asyncio.create_task(watch.changed()) for watch in watches]
        await asyncio.sleep(0)
        assert (store.waits, store.waiting) == (2, 1)
        await other.append([more("x", 0, b"a")])
        await asyncio.wait(waiting)
        assert (store.waits, store.waiting) == (3, 1)
        for watch in watches:
            watch.close()
            watch.close()
        await asyncio.sleep(0)
        assert store.waiting == 0
        await other.append([more("x", 1, b"b")])
        with hub.watch(executions=["x"]) as watch:
            await watch.changed()
            await other.append([more("x", 2, b"c")])
            await watch.changed()
            assert len(await store.records("x")) == 3


async def test_a_watch_keeps_the_hub() -> None:
    async with two() as (store, _):
        with session_of(store).hub.watch(executions=["x"]), session_of(store).hub.watch(executions=["y"]):
            await asyncio.sleep(0)
            assert store.waiting == 1


async def test_a_watch_of_everything_is_told_the_names() -> None:
    async with two() as (store, other):
        with session_of(store).hub.watch_others() as watch:
            assert (await watch.changed()).resync
            await asyncio.sleep(0)
            while await is_told(watch):
                pass
            await other.append([more("x", 0, b"a"), more("y", 0, b"a")])
            await other.post(request("1", "x"))
            for _ in range(5):
                await asyncio.sleep(0)
            changes = await watch.changed()
            assert (set(changes.executions), changes.requests, changes.resync) == ({"x", "y"}, ("1",), False)


async def test_a_store_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async with two() as (store, other):
        with session_of(store).hub.watch(executions=["x"]) as watch:
            await watch.changed()  # the feed began
            store.fails = 3
            await other.append([more("x", 0, b"a")])
            while store.fails:
                await watch.changed()  # the store has failed: nobody knows what has changed
            await asyncio.sleep(5)
            while await is_told(watch):
                pass
            await other.append([more("x", 1, b"b")])
            await watch.changed()
            assert len(await store.records("x")) == 2
    assert caplog.text.count("the disk is full") == 1


async def test_closing_the_store_ends_the_wait_with_its_error() -> None:
    async with two() as (store, _):
        watch = session_of(store).hub.watch(executions=["x"])

        async def wait() -> None:
            while True:
                await watch.changed()

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await waiting
    async with store:
        with session_of(store).hub.watch(executions=["x"]) as watch:
            await watch.changed()
