"""Conformance tests for the inboxes and the change feed of a store, and for what lists show. See `StoreConformance`."""

# ruff: noqa: D102 (the name of a test states what it checks)

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import msgspec

from .._core.errors import StoreConflict, StoreUnavailable, UnknownExecution
from ..stores.protocol import REPLY_KEPT, Append, Changes, ExecutionRow, Reply, Request, StatusName, Store
from .store_tools import ManualClock, fields, more, new, refused

__all__ = ["ChangesConformance", "request"]

#: How long a test waits for a change that has to come, in real seconds.
PATIENCE = 30.0


def request(id: str, execution: str = "x", data: bytes = b"data", at: float = 5.0) -> Request:
    """A request to post."""
    return Request(id=id, execution=execution, kind="emit", data=data, at=at)


def reply(id: str, data: bytes = b"done", *, ok: bool = True, at: float = 1_700_000_000.0) -> Reply:
    """A reply to a request."""
    return Reply(request=id, ok=ok, data=data, at=at)


class Feed:
    """Follows the changes of a store from now on."""

    def __init__(self, store: Store, cursor: str) -> None:
        self.store = store
        self.cursor = cursor
        self.executions: set[str] = set()
        self.requests: set[str] = set()
        self.resync = False

    async def read(self, timeout: float | None = 0.0) -> Changes:
        """Take one answer of the store."""
        changes = await self.store.wait_changes(self.cursor, timeout=timeout)
        self.cursor = changes.cursor
        self.executions.update(changes.executions)
        self.requests.update(changes.requests)
        self.resync = self.resync or changes.resync
        return changes

    async def until(self, reached: Callable[[], Any]) -> None:
        """Wait until what has changed is enough."""
        async with asyncio.timeout(PATIENCE):
            while not reached():
                await self.read(None)

    async def take(self) -> tuple[set[str], set[str]]:
        """What has changed since the last call, and is known by now."""
        while (changes := await self.read()).executions or changes.requests:
            pass
        found = self.executions, self.requests
        self.executions, self.requests = set(), set()
        return found


async def follow(store: Store) -> Feed:
    """Follow the changes of a store from now on."""
    return Feed(store, (await store.wait_changes()).cursor)


def marks(requests: Iterable[Request]) -> list[tuple[str, bool]]:
    """Ids of requests, and whether they were taken."""
    return [(each.id, each.taken) for each in requests]


class ChangesConformance:
    """Tests for inboxes, the change feed, labels, errors, questions and counts. See `StoreConformance`."""

    lease: float
    clock: ManualClock
    open_store: Callable[[], Store]
    lose: Callable[[Store], Any]
    #: whether stores over the same data can be opened on several threads: then tests with parallel owners do so
    on_threads = False
    two: Callable[[], AbstractAsyncContextManager[tuple[Store, Store]]]

    async def together(self, *works: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run these at the same time: each on a thread and a loop of its own, if the store allows that."""
        async with asyncio.timeout(2 * PATIENCE):
            if self.on_threads:
                await asyncio.gather(*[asyncio.to_thread(asyncio.run, work()) for work in works])
            else:
                await asyncio.gather(*[work() for work in works])

    # -- the inbox ---------------------------------------------------------------------------------------------------

    async def test_anybody_posts_and_the_owner_replies_in_the_append_of_the_records(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x"), new("child", parent="x"), new("y")])
            await store.release(["y"])
            posted = await other.post(request("1"))
            assert posted == request("1")
            for id, execution in (("2", "child"), ("3", "y"), ("4", "x")):
                await other.post(request(id, execution))
            with refused(UnknownExecution, "'nobody'"):
                await other.post(request("5", "nobody"))
            assert await other.requests() == []
            found = await store.requests()
            assert found == [request("1"), request("2", "child"), request("4")]
            assert [each.id for each in await store.requests(limit=1)] == ["1"]
            assert [each.id for each in await store.requests(limit=1, without=["1", "nobody"])] == ["2"]
            await store.append([Append(**fields(more("x", 0, b"a"), replies=[reply("1", b"well")]))])
            assert await store.records("x") == [(0, b"a")]
            answered = Request(**fields(request("1"), reply=reply("1", b"well")))
            assert await other.requests(["4", "1", "nobody", "2"]) == [request("4"), answered, request("2", "child")]
            assert [each.id for each in await store.requests()] == ["2", "4"]
            refusal = reply("4", b"no", ok=False)
            await store.append([Append(**fields(more("x", 1), replies=[refusal]))])
            assert (await other.requests(["4"]))[0].reply == refusal

    async def test_a_request_is_posted_once_and_answered_once(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x"), new("y")])
            await other.post(request("1", data=b"first"))
            assert await store.post(request("1", "y", b"second")) == request("1", data=b"first")
            assert [each.id for each in await store.requests()] == ["1"]
            both = [reply("1", b"first"), reply("1", b"second"), reply("nobody")]
            await store.append([Append(**fields(more("y", 0), replies=[reply("1", b"of another execution")]))])
            await store.append([Append(**fields(more("x", 0), replies=both))])
            await store.append([Append(**fields(more("x", 0), replies=[reply("1", b"third")], taken=["1"]))])
            expected = Request(**fields(request("1", data=b"first"), reply=reply("1", b"first")))
            assert await other.post(request("1")) == expected
            assert await store.requests() == []

    async def test_a_refused_append_replies_to_nothing(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x"), new("y")])
            await other.post(request("1"))
            with refused(StoreConflict):
                await store.append([Append(**fields(more("x", 0, b"a"), replies=[reply("1")])), more("y", 7)])
            assert await store.requests(["1"]) == [request("1")]
            with refused(StoreConflict):
                await other.append([Append(**fields(more("x", 0, b"a"), replies=[reply("1")], taken=["1"]))])
            assert await store.requests(["1"]) == [request("1")]

    async def test_the_next_owner_gets_what_is_open_and_sees_what_was_taken(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x")])
            for id in ("1", "2", "3"):
                await other.post(request(id))
            assert len(await store.requests()) == 3
            await store.append([Append(**fields(more("x", 0, b"a"), replies=[reply("1")], taken=["2"]))])
            assert marks(await store.requests()) == [("2", True), ("3", False)]
            await self.lose(store)
            await other.claim("x")
            assert marks(await other.requests()) == [("2", True), ("3", False)]
            with refused(StoreConflict):
                await store.append([Append(**fields(more("x", 1, b"late"), replies=[reply("3")]))])
            await other.append([Append(**fields(more("x", 1, b"b"), replies=[reply("2"), reply("3")]))])
            assert await other.requests() == []
            assert [each.reply for each in await store.requests(["1", "2", "3"])] == [
                reply("1"),
                reply("2"),
                reply("3"),
            ]

    async def test_a_request_can_be_withdrawn_as_long_as_nobody_may_perform_it(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x")])
            for id in ("open", "fetched", "taken", "replied"):
                await other.post(request(id))
            assert await other.withdraw("nobody") is None
            assert await other.withdraw("open") is None
            assert await other.requests(["open"]) == []
            assert [each.id for each in await store.requests()] == ["fetched", "taken", "replied"]
            assert await other.withdraw("fetched") == request("fetched")
            await store.append([Append(**fields(more("x", 0), replies=[reply("replied")], taken=["taken"]))])
            for id in ("taken", "replied"):
                assert [await other.withdraw(id)] == await store.requests([id]) != []
            await self.lose(store)
            assert await other.withdraw("fetched") == request("fetched")  # the owner may come back, and perform it
            await other.claim("x")
            assert await other.withdraw("fetched") is None
            assert marks(await other.requests()) == [("taken", True)]
            await other.release(["x"])
            assert await store.withdraw("taken") == (await store.requests(["taken"]))[0]

    async def test_a_request_to_an_execution_that_has_ended_stays_until_it_runs_again(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", status="failed")])
            await other.post(request("1"))
            await other.post(request("2"))
            assert await other.claim_work(["flow"]) == []
            assert await other.withdraw("2") is None
            await store.claim("x")
            await store.append([more("x", 0, b"again", reopens=True)])
            assert await store.requests() == [request("1")]

    async def test_an_open_request_is_work(self) -> None:
        async with self.two() as (store, other):
            await store.append(
                [
                    new("x", status="waiting", created=3.0),
                    new("y", status="waiting", created=2.0, due=self.clock() + 1000),
                    new("asked below", status="waiting", created=1.0),
                    new("child", parent="asked below", status="waiting"),
                    new("grandchild", parent="child", status="waiting"),
                    new("nothing to do", status="waiting"),
                    new("of another flow", status="waiting", flow="other"),
                    new("over", status="completed"),
                ]
            )
            for number, execution in enumerate(("x", "y", "grandchild", "of another flow", "over", "x")):
                await other.post(request(f"{number}", execution))
            assert await other.claim_work(["flow"]) == []
            await store.release(["x", "y", "asked below", "nothing to do", "of another flow"])
            assert [row.id for row in await other.claim_work(["flow"], limit=1, without=["asked below"])] == ["y"]
            assert [row.id for row in await other.claim_work(["flow"])] == ["asked below", "x"]
            assert [each.id for each in await other.requests()] == ["0", "1", "2", "5"]
            await other.append([Append(**fields(more("x", 0, status="waiting"), replies=[reply("0"), reply("5")]))])
            await other.release(["x"])
            assert await store.claim_work(["flow"]) == []

    async def test_a_request_goes_with_its_execution_and_some_time_after_its_reply(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", status="failed"), new("y")])
            for id in ("1", "2"):
                await other.post(request(id, "y"))
            await other.post(request("of x"))
            await store.append([Append(**fields(more("y", 0), replies=[reply("1", at=self.clock())]))])
            assert await store.delete(["x"]) == 1
            assert await other.requests(["of x"]) == []
            self.clock.turn(REPLY_KEPT - 1)
            await other.post(request("3", "y"))
            assert len(await other.requests(["1", "2", "3"])) == 3

    async def test_each_request_is_performed_once_by_parallel_owners_that_die(self) -> None:
        """Three owners claim, perform, forget and leave, while others post. Each request has its record once, and every
        poster gets its reply."""
        async with self.two() as (store, observer):
            names = [f"x{number}" for number in range(6)]
            await store.append([new(name, status="waiting") for name in names])
            await store.release(names)
            total = 60

            async def own(number: int) -> None:
                turn = 0
                while len(done) < total:
                    async with self.open_store() as mine:
                        for _ in range(4):
                            turn += 1
                            for row in await mine.claim_work(["flow"], limit=2):
                                if (turn + number) % 3 == 0:
                                    await mine.requests(limit=3)  # fetched, and not performed
                                    break
                                while found := await mine.requests(limit=3):
                                    await perform(mine, found)
                                await mine.release([row.id])
                            await asyncio.sleep(0.001)

            async def perform(mine: Store, found: list[Request]) -> None:
                for each in found:
                    row = await mine.find(each.execution)
                    assert row is not None
                    add = more(row.id, row.records, each.data, status="waiting")
                    try:
                        await mine.append([Append(**fields(add, replies=[reply(each.id, each.data)]))])
                    except StoreConflict:
                        continue

            async def post(number: int) -> None:
                async with self.open_store() as mine:
                    for index in range(number, total, 3):
                        id = f"r{index}"
                        feed = await follow(mine)
                        await mine.post(request(id, names[index % 6], id.encode()))
                        while not (found := await mine.requests([id])) or found[0].reply is None:
                            await feed.read(PATIENCE)
                        assert found[0].reply.data == id.encode()
                        done.add(id)

            done: set[str] = set()
            numbers = range(3)
            await self.together(*[partial(post, each) for each in numbers], *[partial(own, each) for each in numbers])
            records = [data.decode() for name in names for _, data in await observer.records(name)]
            assert len(records) == total
            assert sorted(records) == sorted(done)

    # -- the change feed ---------------------------------------------------------------------------------------------

    async def test_what_one_store_changes_the_others_are_told(self) -> None:
        async with self.two() as (store, other):
            feeds = [await follow(store), await follow(other)]

            async def told(*executions: str, requests: Iterable[str] = ()) -> None:
                for feed in feeds:
                    assert await feed.take() == (set(executions), set(requests))

            await told()
            await store.append([new("x", b"a"), new("y"), new("child", parent="x")])
            await told("x", "y", "child")
            await store.append([more("x", 1, b"b")])
            await told("x")
            await store.append([more("y", 0, status="waiting", due=9.0)])
            await told("y")
            await store.append([Append(**fields(more("y", 0, status="waiting", due=9.0), questions={"q": b"?"}))])
            await told("y")
            await other.post(request("1"))
            await told("x", requests=["1"])
            await other.post(request("1"))
            await told()
            await store.append([Append(**fields(more("x", 2), taken=["1"]))])
            await told("x", requests=["1"])
            await store.append([Append(**fields(more("x", 2), replies=[reply("1")]))])
            await told("x", requests=["1"])
            await other.post(request("2"))
            await other.withdraw("2")
            await told("x", requests=["2"])
            await store.release(["x"])
            await told("x", "child")
            await other.claim("x")
            await told("x", "child")
            await self.lose(other)
            assert [row.id for row in await store.claim_work(["flow"])] == ["x"]
            await told("x", "child")
            await store.put_snapshot("x", 2, "d2", b"moved")
            await told("x")
            await store.trim("x", 1)
            await told("x")
            await store.append([more("x", 2, status="completed"), more("child", 0, b"a", status="completed")])
            await told("x", "child")
            await store.delete(["x"])
            await told("x", "child", requests=["1"])

    async def test_closing_announces_what_it_releases(self) -> None:
        async with self.open_store() as other:
            async with self.open_store() as store:
                await store.append([new("x"), new("child", parent="x"), new("over", status="completed")])
                feed = await follow(other)
            while (await feed.read()).executions:
                pass
            assert feed.resync or "x" in feed.executions
            assert [row.id for row in await other.claim_work(["flow"])] == ["x"]

    async def test_a_waiter_is_woken_by_this_and_by_another_store(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x")])
            feed = await follow(store)
            for number, writer in enumerate((store, other, store, other)):
                waiting = asyncio.create_task(feed.read(PATIENCE))
                await asyncio.sleep(0.01)
                assert not waiting.done()
                await writer.post(request(f"{number}"))
                changes = await waiting
                assert (changes.executions, changes.requests) == (("x",), (f"{number}",))

    async def test_who_ignores_own_records_misses_nothing_of_others(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x")])
            await other.append([new("y")])
            cursor = (await store.wait_changes()).cursor
            for number in range(20):
                waiting = asyncio.create_task(store.wait_changes(cursor, timeout=PATIENCE, own=False))
                await asyncio.sleep(0)
                await store.append([more("x", 2 * number, b"a")])
                await other.append([more("y", number, b"b")])
                await store.append([more("x", 2 * number + 1, b"c")])
                told = set[str]()
                async with asyncio.timeout(PATIENCE):
                    while "y" not in told:
                        changes = await waiting
                        told.update(changes.executions)
                        cursor = changes.cursor
                        waiting = asyncio.create_task(store.wait_changes(cursor, timeout=0, own=False))
                await waiting

    async def test_who_ignores_own_records_hears_of_a_release_and_a_request(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x")])
            cursor = (await store.wait_changes()).cursor
            await store.append([msgspec.structs.replace(more("x", 0, b"a"), releases=True)])
            changes = await store.wait_changes(cursor, timeout=PATIENCE, own=False)
            assert changes.executions == ("x",)
            await store.post(request("1"))
            assert (await store.wait_changes(changes.cursor, timeout=PATIENCE, own=False)).requests == ("1",)

    async def test_a_wait_ends_with_its_time_its_task_or_its_store(self) -> None:
        async with self.open_store() as other:
            async with self.open_store() as store:
                feed = await follow(store)
                before = feed.cursor
                changes = await feed.read(0.01)
                assert (changes.executions, changes.requests, changes.resync) == ((), (), False)
                cancelled = asyncio.create_task(store.wait_changes(before))
                waiting = asyncio.create_task(store.wait_changes(before))
                await asyncio.sleep(0.01)
                cancelled.cancel()
                await asyncio.wait([cancelled])
                assert cancelled.cancelled()
            with refused(StoreUnavailable, "closed"):
                await asyncio.wait_for(waiting, PATIENCE)
            with refused(StoreUnavailable, "closed"):
                await store.wait_changes(before)
            assert (await other.wait_changes(before, timeout=0)).resync is False

    async def test_a_cursor_outlives_the_store(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x")])
            cursor = (await store.wait_changes()).cursor
            await store.append([more("x", 0, b"a"), new("y")])
            await store.post(request("1", "y"))
        async with self.open_store() as store:
            feed = Feed(store, cursor)
            await feed.take()
            feed = Feed(store, cursor)
            while (await feed.read()).executions:
                pass
            assert not feed.resync
            assert feed.executions >= {"x", "y"}
            assert feed.requests == {"1"}

    async def test_a_cursor_of_another_store_or_of_nonsense_is_answered_with_resync(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x", b"a")])
            for cursor in ("", "nonsense", "1.2.3", "x.99999999999", "٣.٣", "ffffffff.0", "-1", "a" * 1000):
                changes = await store.wait_changes(cursor)
                assert changes.resync
                feed = Feed(store, changes.cursor)
                assert await feed.take() == (set(), set())
                assert not feed.resync

    async def test_what_was_deleted_is_told_or_answered_with_resync(self) -> None:
        async with self.two() as (store, other):
            feed = await follow(other)
            for turn in range(5):
                names = [f"{turn}-{number}" for number in range(20)]
                await store.append([new(name, b"a", status="completed") for name in names])
                assert await store.delete(names) == 20
                await store.append([new("again", b"a", status="completed")])
                await feed.read()
                feed.executions.clear()
                await store.delete(["again"])
                await feed.take()
                feed = Feed(other, feed.cursor)
                await store.append([new("again", b"a", b"b", status="completed")])
                await feed.read()
                assert feed.resync or "again" in feed.executions
                await store.delete(["again"])

    async def test_many_changes_come_in_several_answers(self) -> None:
        async with self.two() as (store, other):
            feed = await follow(other)
            names = [f"x{number}" for number in range(2_500)]
            await store.append([new(name, b"a", b"b") for name in names])
            for name in names[:5]:
                await other.post(request(f"to {name}", name))
            sizes: list[int] = []
            while (changes := await feed.read()).executions or changes.requests:
                sizes.append(len(changes.executions) + len(changes.requests))
            assert feed.executions == set(names)
            assert len(feed.requests) == 5
            assert max(sizes) <= 2_100

    async def test_no_change_is_left_out_with_concurrent_writers(self) -> None:
        """Four stores write at the same time while two follow; each sees the last record of each execution."""
        async with self.two() as (one, two):
            feeds = [await follow(one), await follow(two)]
            seen: list[dict[str, int]] = [{}, {}]

            async def write(number: int) -> None:
                async with self.open_store() as mine:
                    name = f"x{number}"
                    await mine.append([new(name)])
                    for first in range(40):
                        await mine.append([more(name, first, b"a")])
                        if first % 7 == number:
                            await mine.post(request(f"{name}-{first}", name))

            async def read(feed: Feed, found: dict[str, int]) -> None:
                while len(found) < 4 or min(found.values()) < 40:
                    changes = await feed.read(PATIENCE)
                    assert changes.executions or changes.requests, f"nothing came for {PATIENCE} s: {found}"
                    for name in changes.executions:
                        row = await feed.store.find(name)
                        assert row is not None
                        found[name] = row.records

            writing = self.together(*[partial(write, number) for number in range(4)])
            await asyncio.gather(writing, *map(read, feeds, seen))
            posted = {f"x{number}-{first}" for number in range(4) for first in range(40) if first % 7 == number}
            for feed in feeds:
                await feed.take() if feed.requests >= posted else await feed.until(lambda: feed.requests >= posted)  # noqa: B023

    # -- labels, errors, questions, counts ---------------------------------------------------------------------------

    async def test_an_execution_is_found_by_its_labels(self) -> None:
        async with self.open_store() as store:
            appends: list[Append] = []
            for number in range(12):
                labels = {"tenant": f"T{number % 3}", "Order": f"A-{number}"}
                appends.append(labelled(new(f"x{number}", created=float(number)), labels))
            await store.append([*appends, new("plain"), labelled(new("child", parent="x1"), {"tenant": "T1"})])
            row = await store.find("x4")
            assert row is not None
            assert row.labels == {"tenant": "T1", "Order": "A-4"}

            async def ids(**filters: Any) -> list[str]:
                return [row.id for row in await store.executions(**filters)]

            assert await ids(labels={"tenant": "T1"}) == ["x10", "x7", "x4", "x1"]
            assert await ids(labels={"tenant": "T1"}, limit=2, after="x7") == ["x4", "x1"]
            assert await ids(labels={"tenant": "T1", "Order": "A-7"}) == ["x7"]
            assert await ids(labels={"tenant": "T1"}, status=["completed"]) == []
            assert await ids(labels={"tenant": "T1"}, since=2.0, until=8.0) == ["x7", "x4"]
            assert await ids(labels={"tenant": "T1"}, parent="x1") == ["child"]
            for none in ({"tenant": "t1"}, {"Tenant": "T1"}, {"tenant": "T"}, {"tenant": "T1", "Order": "A-2"}):
                assert await ids(labels=none) == []
            assert len(await ids(labels={})) == 13
            await store.append([more("x1", 0, status="completed"), more("child", 0, status="completed")])
            await store.delete(["x1"])
            assert await ids(labels={"tenant": "T1"}) == ["x10", "x7", "x4"]
            await store.append([new("x1")])
            assert await ids(labels={"tenant": "T1"}) == ["x10", "x7", "x4"]

    async def test_an_execution_is_found_by_a_text(self) -> None:
        async with self.open_store() as store:
            error = "ValueError: die Bestellung ORD-17 ist zu groß (1.200 €)"
            failed = Append(**fields(new("order-1", status="failed"), error=error))
            await store.append(
                [
                    failed,
                    labelled(new("order-2", created=2.0), {"customer": "Ärger GmbH", "note": "100%_sure"}),
                    new("other", created=3.0, error=None),
                    Append(**fields(new("Order-3", parent="other", status="failed"), error=error)),
                ]
            )

            async def ids(text: str, **filters: Any) -> list[str]:
                return [row.id for row in await store.executions(text=text, **filters)]

            for text, expected in (
                ("order", ["order-2", "order-1"]),
                ("order-2", ["order-2"]),
                ("ORDER", []),
                ("der", []),
                ("ärger g", ["order-2"]),
                ("GmbH", []),
                ("100%", ["order-2"]),
                ("1__", []),
                ("%", []),
                ("valueerror", ["order-1"]),
                ("GROSS", ["order-1"]),
                ("bestell ord", ["order-1"]),
                ("bestell-17", ["order-1"]),
                ("bestellung other", []),
                ("rror", []),
                ("?", []),
                ("", ["other", "order-2", "order-1"]),
            ):
                assert await ids(text) == expected, text
            assert await ids("Order", parent="other") == ["Order-3"]
            assert await ids("o", status=["running"], limit=1) == ["other"]
            row = await store.find("order-1")
            assert row is not None
            assert row.error == error
            await store.claim("order-1")
            await store.append([more("order-1", 0, b"again", reopens=True)])
            row = await store.find("order-1")
            assert row is not None
            assert row.error is None
            assert await ids("valueerror") == []

    async def test_an_execution_that_fails_again_in_the_append_that_reopens_it(self) -> None:
        """Its status and due time are as before, but its owner has changed twice."""
        async with self.open_store() as store:
            await store.append([new("x", status="failed")])
            await store.claim("x")
            await store.append([more("x", 0, b"again", status="failed", reopens=True)])
            row = await store.find("x")
            assert row is not None
            assert (row.status, row.owner, row.records) == ("failed", None, 1)

    async def test_how_many_executions_there_are(self) -> None:
        async with self.open_store() as store:
            assert await store.counts() == {}
            statuses: list[StatusName] = ["running", "running", "waiting", "failed"]
            await store.append(
                [
                    *(
                        new(f"a{number}", status=status, created=float(number))
                        for number, status in enumerate(statuses)
                    ),
                    new("b", flow="b", status="completed", created=9.0),
                    new("child", parent="a0"),
                ]
            )
            expected = {"flow": {"running": 2, "waiting": 1, "failed": 1}, "b": {"completed": 1}}
            assert await store.counts() == expected
            assert await store.counts(since=1.0, until=3.0) == {"flow": {"running": 1, "waiting": 1}}
            assert await store.counts(since=10.0) == {}
            await store.append([more("a0", 0, status="completed"), more("child", 0, status="completed")])
            assert (await store.counts())["flow"] == {"running": 1, "waiting": 1, "failed": 1, "completed": 1}
            await store.delete(["a0", "b"])
            assert await store.counts() == {"flow": {"running": 1, "waiting": 1, "failed": 1}}

    async def test_open_questions_of_all_executions(self) -> None:
        async with self.two() as (store, other):

            def asks(append: Append, at: float, **questions: bytes | None) -> Append:
                return Append(**fields(append, questions=questions, at=at))

            await store.append(
                [
                    asks(new("x", status="waiting"), 10.0, q1=b"one", q2=b"two"),
                    asks(new("child", parent="x", flow="inner", status="waiting"), 30.0, q3=b"three"),
                    asks(new("grandchild", parent="child", flow="inner", status="waiting"), 20.0, q4=b"four"),
                    asks(new("y", flow="other", status="waiting"), 20.0, q5=b"five"),
                ]
            )

            async def ids(**filters: Any) -> list[str]:
                return [question.id for question in await other.questions(**filters)]

            assert await ids() == ["q1", "q2", "q4", "q5", "q3"]
            question = (await other.questions(execution="grandchild"))[0]
            assert (question.execution, question.root, question.flow) == ("grandchild", "x", "flow")
            assert (question.since, question.data) == (20.0, b"four")
            assert await ids(flow="flow") == await ids(execution="x") == ["q1", "q2", "q4", "q3"]
            assert await ids(execution="child") == ["q4", "q3"]
            assert await ids(flow="inner") == await ids(execution="nobody") == []
            assert await ids(flow="other") == await ids(execution="y", flow="other") == ["q5"]
            row = await other.find("x")
            assert row is not None
            assert row.questions == 2
            first = await other.questions(limit=2)
            await store.append([asks(more("x", 0, status="waiting"), 40.0, q2=None, q1=b"again", never=None)])
            assert [each.id for each in first] == ["q1", "q2"]
            assert await ids(after=first[-1]) == ["q4", "q5", "q3"]
            assert await ids(after=first[-1], limit=1) == ["q4"]
            one = (await other.questions())[0]
            assert (one.id, one.since, one.data) == ("q1", 10.0, b"again")
            await store.append([more("y", 0, status="cancelled")])
            assert await ids() == ["q1", "q4", "q3"]
            with refused(StoreConflict):
                await store.append([asks(more("x", 0, status="waiting"), 50.0, q9=b"nine"), more("child", 7)])
            assert await ids() == ["q1", "q4", "q3"]
            ends = [more(name, 0, status="completed") for name in ("grandchild", "child", "x")]
            await store.append(ends)
            assert await ids() == []
            assert await store.delete(["x"]) == 3

    async def test_an_append_can_release(self) -> None:
        async with self.two() as (store, other):
            await store.append([Append(**fields(new("left", b"a", status="created"), releases=True))])
            row = await other.find("left")
            assert row is not None
            assert (row.owner, row.records) == (None, 1)
            with refused(StoreConflict, "'left'"):
                await store.append([more("left", 1)])
            assert [row.id for row in await other.claim_work(["flow"])] == ["left"]
            await store.append([new("x"), new("child", parent="x")])
            last = Append(**fields(more("x", 0, b"a", status="waiting"), releases=True))
            with refused(StoreConflict):
                await store.append([last, more("x", 1, b"b")])
            assert await store.records("x") == []
            await store.append([last])
            for name, first in (("x", 1), ("child", 0)):
                with refused(StoreConflict, f"'{name}'"):
                    await store.append([more(name, first)])
            await other.claim("x")
            await other.append([more("child", 0, b"a"), more("x", 1, b"b")])


def labelled(append: Append, labels: dict[str, str]) -> Append:
    """The append with these labels in its new row."""
    assert append.create is not None
    return Append(**fields(append, create=ExecutionRow(**fields(append.create, labels=labels))))
