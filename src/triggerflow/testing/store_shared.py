"""Conformance tests for the shared data of a store. See `StoreConformance`."""

# ruff: noqa: D102 (the name of a test states what it checks)

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any

from .._core.errors import StoreConflict
from ..stores.protocol import Append, ExecutionCopy, SharedChange, Store
from .store_tools import fields, more, new, refused

__all__ = ["SharedConformance"]


def put(key: str, data: bytes = b"1", **options: Any) -> SharedChange:
    """A change that sets a key."""
    return SharedChange(key=key, op="set", data=data, **options)


def add(key: str, data: bytes = b"1", **options: Any) -> SharedChange:
    """A change that appends to the list at a key."""
    return SharedChange(key=key, op="append", data=data, **options)


def also(append: Append, **changes: Any) -> Append:
    """The append with other fields."""
    return Append(**fields(append, **changes))


class SharedConformance:
    """Tests for the shared data of flows. See `StoreConformance`."""

    open_store: Callable[[], Store]
    two: Callable[[], AbstractAsyncContextManager[tuple[Store, Store]]]

    async def parked(self, store: Store, id: str, *keys: str, heard: int | None = None, flow: str = "flow") -> None:
        """An execution that waits, has no owner, and listens to these keys."""
        await store.append([also(new(id, b"a", flow=flow, status="waiting"), listens=keys, heard=heard)])
        await store.release([id])

    async def heard(self, store: Store, id: str) -> int | None:
        row = await store.find(id)
        assert row is not None
        return row.heard

    async def work(self, store: Store, flow: str = "flow", without: Collection[str] = ()) -> list[str]:
        """The executions that the store claims as work. They are released again."""
        found = [row.id for row in await store.claim_work([flow], without=without)]
        await store.release(found)
        return found

    # -- changes -----------------------------------------------------------------------------------------------------

    async def test_shared_data_is_empty_at_first(self) -> None:
        async with self.open_store() as store:
            log = await store.shared("flow")
            assert (log.newest, log.values, log.changes) == (0, {}, [])

    async def test_changes_are_numbered_in_the_order_of_the_commits(self) -> None:
        async with self.two() as (store, other):
            assert await store.append([also(new("x", b"a"), shared=[put("k", b"1"), add("l", b"2", emit=False)])]) == {
                "flow": 2
            }
            assert await other.append([also(new("y", b"a"), shared=[SharedChange(key="k", op="delete")])]) == {
                "flow": 3
            }
            assert await store.change_shared("flow", [put("k", b"4"), put("k", b"5")]) == 5
            assert await other.append([also(new("z", b"a", flow="other"), shared=[put("k")])]) == {"other": 1}
            log = await other.shared("flow")
            assert (log.newest, log.values) == (5, {})
            assert [fields(it) for it in log.changes] == [
                {"key": "k", "op": "set", "data": b"1", "emit": True, "number": 1, "by": "x"},
                {"key": "l", "op": "append", "data": b"2", "emit": False, "number": 2, "by": "x"},
                {"key": "k", "op": "delete", "data": b"", "emit": True, "number": 3, "by": "y"},
                {"key": "k", "op": "set", "data": b"4", "emit": True, "number": 4, "by": None},
                {"key": "k", "op": "set", "data": b"5", "emit": True, "number": 5, "by": None},
            ]
            assert [it.number for it in (await store.shared("flow", after=3)).changes] == [4, 5]
            assert [it.number for it in (await store.shared("flow", after=1, limit=2)).changes] == [2, 3]

    async def test_every_append_tells_the_newest_change_of_its_flows(self) -> None:
        async with self.two() as (store, other):
            assert await store.append([new("x", b"a"), new("y", b"a", flow="quiet")]) == {}
            await other.change_shared("flow", [put("k"), put("k")])
            assert await store.append([more("x", 1, b"b"), more("y", 1, b"b")]) == {"flow": 2}

    async def test_a_refused_append_changes_no_shared_data(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", b"a")])
            with refused(StoreConflict):
                await other.append([also(new("y", b"a"), shared=[put("k")]), more("x", 1, b"b")])
            with refused(StoreConflict):
                await store.append([also(more("x", 5, b"b"), shared=[put("k")], listens=["k"])])
            assert (await store.shared("flow")).newest == 0
            assert await self.heard(store, "x") is None

    async def test_changes_outlive_the_store(self) -> None:
        async with self.open_store() as store:
            await store.change_shared("flow", [put("k", b"1")])
            await store.fold_shared("flow", {"k": (1, b"1")})
            await store.change_shared("flow", [put("k", b"2")])
        async with self.open_store() as store:
            log = await store.shared("flow")
            assert (log.newest, log.values) == (2, {"k": (1, b"1")})
            assert [it.data for it in log.changes] == [b"2"]

    async def test_changes_of_shared_data_are_announced(self) -> None:
        async with self.two() as (store, other):
            cursor = (await other.wait_changes()).cursor
            await store.append([also(new("x", b"a"), shared=[put("k")])])
            changes = await other.wait_changes(cursor, timeout=5)
            assert changes.flows == ("flow",)
            await store.change_shared("flow", [put("k")])
            assert "flow" in (await other.wait_changes(changes.cursor, timeout=5)).flows

    # -- folding -----------------------------------------------------------------------------------------------------

    async def test_changes_are_folded_by_key(self) -> None:
        async with self.open_store() as store:
            await store.change_shared("flow", [add("k", b"1"), put("l", b"2"), add("k", b"3"), add("k", b"4")])
            assert await store.fold_shared("flow", {"k": (3, b"[1,3]")}) == ["k"]
            log = await store.shared("flow")
            assert (log.newest, log.whole, log.values) == (4, False, {"k": (3, b"[1,3]")})
            assert [it.number for it in log.changes] == [2, 4]
            later = await store.shared("flow", after=3)
            assert (later.values, [it.number for it in later.changes]) == ({}, [4])
            assert await store.fold_shared("flow", {"k": (2, b"[1]")}) == []
            assert await store.fold_shared("flow", {"k": (4, b"[1,3,4]"), "l": (4, b"2")}) == ["k", "l"]
            log = await store.shared("flow", after=3)
            assert (log.values, log.changes) == ({"k": (4, b"[1,3,4]"), "l": (4, b"2")}, [])

    async def test_a_deleted_key_is_forgotten_and_late_readers_read_all_again(self) -> None:
        async with self.open_store() as store:
            await store.change_shared("flow", [put("k"), put("l", b"2"), SharedChange(key="k", op="delete"), put("l")])
            await store.fold_shared("flow", {"k": (3, None), "l": (2, b"2")})
            log = await store.shared("flow", after=1)
            assert (log.whole, log.values) == (True, {"l": (2, b"2")})
            assert [it.number for it in log.changes] == [4]
            assert not (await store.shared("flow", after=3)).whole
            assert (await store.shared("flow", after=99)).whole

    async def test_what_a_listener_has_not_heard_is_not_folded(self) -> None:
        async with self.open_store() as store:
            await store.append([also(new("x", b"a"), listens=["k"])])
            await store.change_shared("flow", [put("k"), put("l"), put("k", emit=False)])
            assert await store.fold_shared("flow", {"k": (3, b"1"), "l": (3, b"1")}) == ["l"]
            await store.append([also(more("x", 1, b"b"), heard=1)])
            assert await store.fold_shared("flow", {"k": (3, b"1")}) == ["k"]

    # -- listeners ---------------------------------------------------------------------------------------------------

    async def test_an_execution_listens_from_its_append_on(self) -> None:
        async with self.open_store() as store:
            await store.change_shared("flow", [put("k"), put("k")])
            await store.append([also(new("x", b"a"), listens=["k"], shared=[put("l")]), new("y", b"a")])
            assert (await self.heard(store, "x"), await self.heard(store, "y")) == (3, None)
            await store.append([also(new("z", b"a"), listens=["k", "l"], heard=1)])
            assert await self.heard(store, "z") == 1
            await store.append([also(more("z", 1, b"a"), heard=2)])
            await store.append([also(more("x", 1, b"a"), listens=[])])
            assert (await self.heard(store, "x"), await self.heard(store, "z")) == (None, 2)

    async def test_a_listener_hears_its_own_changes_if_nothing_comes_between(self) -> None:
        async with self.two() as (store, other):
            await store.append([also(new("x", b"a"), listens=["k"])])
            await store.append([also(more("x", 1, b"b"), shared=[put("k"), put("k")])])
            assert await self.heard(store, "x") == 2
            await other.change_shared("flow", [put("k")])
            await store.append([also(more("x", 2, b"b"), shared=[put("k")])])
            assert await self.heard(store, "x") == 2

    async def test_one_that_has_ended_listens_no_more(self) -> None:
        async with self.open_store() as store:
            await store.append([also(new("x", b"a"), listens=["k"])])
            await store.append([more("x", 1, b"b", status="failed")])
            assert await self.heard(store, "x") is None
            await store.change_shared("flow", [put("k")])
            assert await store.fold_shared("flow", {"k": (1, b"1")}) == ["k"]

    async def test_a_parked_listener_that_is_behind_is_work(self) -> None:
        async with self.two() as (store, other):
            await self.parked(store, "x", "k", "l")
            await self.parked(store, "y", "m")
            await self.parked(store, "z", "k", flow="other")
            assert await self.work(other) == []
            await other.change_shared("flow", [put("k", emit=False), put("n")])
            assert await self.work(other) == []
            await other.change_shared("flow", [put("l")])
            assert await self.work(other) == ["x"]
            assert await self.work(other, without=["x"]) == []
            await other.claim("x")
            assert await self.work(store) == []
            await other.append([also(more("x", 1, b"b", status="waiting"), heard=3)])
            await other.release(["x"])
            assert await self.work(store) == []

    async def test_an_own_change_is_no_work(self) -> None:
        async with self.two() as (store, other):
            await store.append([also(new("x", b"a", status="waiting"), listens=["k"])])
            await other.change_shared("flow", [put("n")])
            await store.append([also(more("x", 1, b"b", status="waiting"), shared=[put("k")], releases=True)])
            assert await self.heard(store, "x") == 0
            assert await self.work(other) == []

    async def test_a_copy_listens_from_its_making_on(self) -> None:
        async with self.open_store() as store:
            await self.parked(store, "x", "k")
            await store.change_shared("flow", [put("k")])
            row = await store.find("x")
            assert row is not None
            copied = ExecutionCopy(row=type(row)(**fields(row, id="y")), records=[], listens=["k"])
            await store.put_copies([copied])
            await store.release(["y"])
            assert await self.heard(store, "y") == 1
            assert await self.work(store) == ["x"]
            await store.change_shared("flow", [put("k")])
            assert await self.work(store) == ["x", "y"]
