"""Conformance tests for stores. Every implementation of `Store` has to pass them:

    class TestMyStore(StoreConformance):
        def open_store(self):
            return MyStore("the same data each time", clock=self.clock, lease=self.lease)

pytest collects them, and pytest-asyncio in auto mode runs them. Override `lose` if an owner of your store does not die
when the clock passes its lease.
"""

# ruff: noqa: D102 (the name of a test states what it checks)

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec

from .._core.errors import (
    ExecutionLeased,
    StoreConflict,
    StoreDamaged,
    StoreUnavailable,
    UnknownExecution,
    UsageError,
    WrongLoopError,
)
from ..stores.protocol import Append, ExecutionCopy, ExecutionRow, NewRecord, StatusName, Store, payload_digest
from .store_changes import ChangesConformance
from .store_schedules import SchedulesConformance
from .store_shared import SharedConformance
from .store_tools import ManualClock, fields, more, new, refused

__all__ = ["ManualClock", "StoreConformance", "fields", "more", "new", "refused"]


class StoreConformance(ChangesConformance, SchedulesConformance, SharedConformance):
    """Tests for a store. A subclass implements `open_store`.

    They check that a store returns exactly the data that it was given, that a failed call changes nothing, and that
    another owner gets an execution only after its owner is dead or has released it.
    """

    #: the lease in seconds that `open_store` has to pass to its stores
    lease = 30.0

    def setup_method(self) -> None:
        """Make a new clock for each test. It starts far from 0."""
        self.clock = ManualClock()

    def open_store(self) -> Store:
        """A new store over the data of this test, not opened yet, with `self.clock` and `self.lease`.

        Each call has to return a new store object, which is an owner of its own.
        """
        raise NotImplementedError

    async def lose(self, store: Store) -> None:
        """Make the owner of `store` dead, without closing it."""
        self.clock.turn(self.lease + 1)

    @asynccontextmanager
    async def two(self) -> AsyncGenerator[tuple[Store, Store]]:
        """Open two stores over the same data."""
        async with self.open_store() as one, self.open_store() as other:
            assert one.owner != other.owner
            yield one, other

    # -- records and items -------------------------------------------------------------------------------------------

    async def test_records_are_numbered_without_gap_and_read_back_in_pages(self) -> None:
        async with self.open_store() as store:
            data = [b"%d" % number for number in range(10_000)]
            await store.append([new("x", *data[:4_000])])
            await store.append([more("x", 4_000, *data[4_000:])])
            read: list[tuple[int, bytes]] = []
            while page := await store.records("x", first=len(read)):
                assert len(page) == 1_000
                read += page
            assert read == list(enumerate(data))
            assert await store.records("x", first=9_998, limit=1) == [(9_998, b"9998")]
            assert await store.records("nobody") == await store.items("nobody") == []

    async def test_records_outlive_the_store(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x", b"a")])
            owner = store.owner
        async with self.open_store() as store:
            assert store.owner != owner
            assert await store.records("x") == [(0, b"a")]
            row = await store.claim("x")
            assert (row.id, row.records, row.owner) == ("x", 1, store.owner)
            await store.append([more("x", 1, b"b")])
            assert await store.records("x") == [(0, b"a"), (1, b"b")]

    async def test_an_append_with_another_first_number_is_refused(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x", b"a")])
            for first in (0, 2):
                with refused(StoreConflict, "'x'", "1"):
                    await store.append([more("x", first, b"b")])
            with refused(StoreConflict):
                await store.append([Append(**fields(new("y", b"a"), first=1))])
            assert await store.find("y") is None
            assert await store.records("x") == [(0, b"a")]

    async def test_a_failed_execution_can_be_reopened_by_its_owner(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", b"a", status="failed"), new("y", b"a", status="completed")])
            again = more("x", 1, b"b", status="running", reopens=True)
            with refused(StoreConflict):  # it has no owner
                await store.append([again])
            await other.claim("x")
            with refused(StoreConflict):
                await store.append([again])
            with refused(StoreConflict):
                await other.append([more("x", 1, b"b", status="running")])
            await other.append([again, more("x", 2, b"c", status="running")])
            row = await store.find("x")
            assert row is not None
            assert (row.status, row.records, row.owner) == ("running", 3, other.owner)
            with refused(StoreConflict):  # it has not ended now
                await other.append([more("x", 3, b"d", status="running", reopens=True)])
            await store.claim("y")
            with refused(StoreConflict, "completed"):
                await store.append([more("y", 1, b"b", status="running", reopens=True)])
            assert len(await store.records("y")) == 1

    async def test_an_append_is_all_or_nothing(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x", b"a"), new("y", b"a")])
            bad = more("y", 7, b"never")
            payload = {payload_digest(b"never"): b"never"}
            with refused(StoreConflict):
                await store.append([more("x", 1, b"b", status="waiting", due=9.0), new("z", payloads=payload), bad])
            row = await store.find("x")
            assert row is not None
            assert (row.records, row.status, row.due, row.updated) == (1, "running", None, 1.0)
            assert await store.find("z") is None
            with refused(StoreDamaged):
                await store.payloads(payload)
            await store.append([more("x", 1, b"c"), more("y", 1, b"c"), new("z", b"c")])
            assert [(await store.records(name))[-1][1] for name in "xyz"] == [b"c", b"c", b"c"]

    async def test_several_appends_of_one_execution_are_taken_in_order(self) -> None:
        async with self.open_store() as store:
            await store.append(
                [new("x", b"0", b"1"), more("x", 2, b"2"), more("x", 3, b"3", status="waiting", due=5.0)]
            )
            row = await store.find("x")
            assert row is not None
            assert (row.records, row.status, row.due) == (4, "waiting", 5.0)
            with refused(StoreConflict):
                await store.append([more("x", 4, b"4", status="completed"), more("x", 5, b"5")])
            assert len(await store.records("x")) == 4

    async def test_an_id_is_created_once(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", b"a")])
            for again in (store, other):
                with refused(StoreConflict, "'x'"):
                    await again.append([new("x", b"b")])
            with refused(StoreConflict):
                await store.append([new("y"), new("y")])
            assert await store.find("y") is None
            with refused(StoreConflict, "'nobody'"):
                await store.append([more("nobody", 0, b"a")])

    async def test_an_execution_that_has_ended_takes_no_record(self) -> None:
        async with self.open_store() as store:
            for status in ("completed", "failed", "cancelled"):
                await store.append([new(status, b"a")])
                await store.append([more(status, 1, b"b", status=status)])
                row = await store.find(status)
                assert row is not None
                assert (row.status, row.owner, row.records) == (status, None, 2)
                with refused(StoreConflict, f"'{status}'"):
                    await store.append([more(status, 2, b"c")])
                await store.claim(status)
                with refused(StoreConflict):
                    await store.append([more(status, 2, b"c")])

    async def test_a_row_tells_what_was_appended(self) -> None:
        async with self.open_store() as store:
            row = ExecutionRow(
                id="x", flow="flow", definition="d1", options=b'{"a":1}', forked_from=("w", 7), created=5.0, updated=5.0
            )
            append = Append(execution="x", first=0, records=[], status="created", at=6.0, create=row)
            await store.append([append])
            expected = fields(row, updated=6.0, owner=store.owner)
            assert await store.find("x") == ExecutionRow(**expected)
            items = [NewRecord(b"a"), NewRecord(b"b", 1), NewRecord(b"c", 2)]
            await store.append([Append(execution="x", first=0, records=items, status="waiting", due=9.5, at=7.0)])
            expected |= {"updated": 7.0, "status": "waiting", "due": 9.5, "records": 3, "items": 2}
            assert await store.find("x") == ExecutionRow(**expected)
            assert await store.find("y") is None

    async def test_items_are_the_records_that_have_a_number_in_the_stream(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x")])
            for first in range(0, 100, 2):
                records = [NewRecord(b"record"), NewRecord(b"%d" % first, first // 2 + 1)]
                await store.append([Append(execution="x", first=first, records=records, status="running", at=1.0)])
            items = [(number // 2 + 1, b"%d" % number) for number in range(0, 100, 2)]
            assert await store.items("x") == items
            assert await store.items("x", after=10, limit=3) == items[10:13]
            assert await store.items("x", after=50) == []
            again = Append(execution="x", first=100, records=[NewRecord(b"", 50)], status="running", at=1.0)
            with refused(StoreConflict):
                await store.append([again])

    async def test_concurrent_appends_and_one_whose_waiter_is_cancelled(self) -> None:
        """A cancelled append is done wholly or not at all, and later appends still work."""
        async with self.open_store() as store:
            await store.append([new(f"{number}") for number in range(50)])
            tasks = [asyncio.create_task(store.append([more(f"{number}", 0, b"a", b"b")])) for number in range(50)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for number in range(50):
                row = await store.find(f"{number}")
                assert row is not None
                assert row.records == 2 or (row.records == 0 and number % 2 == 0)
                await store.append([more(f"{number}", row.records, b"c")])

    async def test_any_bytes_and_any_text(self) -> None:
        async with self.open_store() as store:
            name, data = "é 💡 ' \" % \x00 ;--", bytes(range(256))
            await store.append([new(name, data, b"", flow="' OR 1")])
            assert await store.records(name) == [(0, data), (1, b"")]
            row = await store.find(name)
            assert row is not None
            assert (row.id, row.flow) == (name, "' OR 1")
            assert [row.id for row in await store.executions(flow="' OR 1")] == [name]

    # -- payloads, snapshots, definitions ----------------------------------------------------------------------------

    async def test_a_payload_is_kept_once_and_as_long_as_one_refers_to_it(self) -> None:
        async with self.open_store() as store:
            large, small = b"5 MB!" * 1_000_000, b"small"
            digests = [payload_digest(large), payload_digest(small)]
            await store.append([new("x", b"a", payloads={digests[0]: large, digests[1]: small})])
            await store.append([new("y", b"a"), new("child", parent="y", payloads={digests[0]: large})])
            assert await store.payloads(digests) == {digests[0]: large, digests[1]: small}
            await store.append([more("x", 1, b"b", status="completed")])
            assert await store.delete(["x"]) == 1
            assert await store.payloads(digests[:1]) == {digests[0]: large}
            with refused(StoreDamaged, digests[1]):
                await store.payloads(digests)
            await store.append([more("y", 1, status="failed"), more("child", 0, status="cancelled")])
            assert await store.delete(["y"]) == 2
            with refused(StoreDamaged, digests[0]):
                await store.payloads(digests[:1])
            assert await store.payloads([]) == {}

    async def test_a_payload_that_is_not_what_its_digest_says_is_not_given(self) -> None:
        async with self.open_store() as store:
            digest = payload_digest(b"true")
            await store.append([new("x", payloads={digest: b"false"})])
            with refused(StoreDamaged, digest):
                await store.payloads([digest])

    async def test_the_newest_snapshot_at_or_before_a_number(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", *[b"a"] * 10)])
            assert await store.snapshot("x") is None
            await store.put_snapshot("x", 3, "d1", b"at 3")
            await store.put_snapshot("x", 7, "d2", b"at 7")
            assert await other.snapshot("x") == (7, "d2", b"at 7")
            assert await other.snapshot("x", records=7) == (7, "d2", b"at 7")
            assert await other.snapshot("x", records=6) == (3, "d1", b"at 3")
            assert await other.snapshot("x", records=2) is None
            assert await other.snapshot("nobody") is None
            row = await other.find("x")
            assert row is not None
            assert row.definition == "d2"
            await store.put_snapshot("x", 7, "d2", b"again")
            assert await other.snapshot("x") == (7, "d2", b"again")
            with refused(StoreConflict):
                await store.put_snapshot("x", 11, "d1", b"of the future")
            for who, name in ((other, "x"), (store, "nobody")):
                with refused(StoreConflict, name):
                    await who.put_snapshot(name, 0, "d1", b"")

    async def test_older_snapshots_are_thinned(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", *[b"a"] * 200)])
            for count in range(1, 201):
                definition = "d1" if count < 120 else "d2"
                await store.put_snapshot("x", count, definition, b"at %d" % count)
            found: list[int] = []
            last = 200
            while (snapshot := await other.snapshot("x", records=last)) is not None:
                records, definition, data = snapshot
                assert (definition, data) == ("d1" if records < 120 else "d2", b"at %d" % records)
                found.append(records)
                last = records - 1
            assert {200, 199, 120, 1} <= set(found), "the newest two, the first, and the first under each definition"
            assert len(found) < 25
            for near, far in pairwise(found):
                assert 200 - far <= 4 * (200 - near) + 2, "the distances between snapshots grow slowly"

    async def test_an_execution_that_has_ended_takes_a_snapshot_of_its_end_only(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", b"a", b"b", status="completed")])
            for records, definition in ((1, "d1"), (3, "d1"), (2, "d2")):
                with refused(StoreConflict, "'x'"):
                    await store.put_snapshot("x", records, definition, b"")
            await other.put_snapshot("x", 2, "d1", b"its end")
            assert await store.snapshot("x") == (2, "d1", b"its end")

    async def test_whole_executions_are_copied_with_their_numbers(self) -> None:
        async with self.two() as (store, other):
            payload = {payload_digest(b"large"): b"large"}
            row = ExecutionRow(id="x", flow="flow", definition="d1", created=3.0, updated=8.0, status="running")
            copies = [
                ExecutionCopy(
                    row=msgspec.structs.replace(row, records=9, items=2),
                    records=[(2, NewRecord(b"2", 1)), (7, NewRecord(b"7")), (8, NewRecord(b"8", 2))],
                    snapshots=[(7, "d1", b"at 7"), (9, "d1", b"at 9")],
                    payloads=payload,
                ),
                ExecutionCopy(row=msgspec.structs.replace(row, id="child", parent="x", records=4), records=[]),
                ExecutionCopy(row=msgspec.structs.replace(row, id="over", status="failed", owner="nobody"), records=[]),
            ]
            with refused(StoreConflict, "'x'"):
                await store.put_copies([*copies, copies[0]])
            assert await store.executions() == []
            await store.put_copies(copies)
            with refused(StoreConflict, "'child'"):
                await other.put_copies(copies[1:2])
            for copy in copies:
                owner = None if copy.row.status == "failed" else store.owner
                assert await other.find(copy.row.id) == msgspec.structs.replace(copy.row, owner=owner)
            assert await other.records("x") == [(2, b"2"), (7, b"7"), (8, b"8")]
            assert await other.items("x") == [(1, b"2"), (2, b"8")]
            assert await other.snapshot("x", records=8) == (7, "d1", b"at 7")
            assert await other.payloads(payload) == payload
            await store.append([more("x", 9, b"9"), more("child", 4, b"4")])
            await store.release(["x"])
            await other.claim("x")
            await other.append([more("child", 5, status="completed"), more("x", 10, status="completed")])
            assert await other.delete(["x"]) == 2

    async def test_trimming_leaves_items_and_what_follows_a_snapshot(self) -> None:
        async with self.open_store() as store:
            await store.append([new("x")])
            records = [NewRecord(b"%d" % number, number // 2 if number % 2 == 0 else 0) for number in range(11)]
            await store.append([Append(execution="x", first=0, records=records, status="running", at=3.0)])
            await store.put_snapshot("x", 4, "d1", b"at 4")
            with refused(StoreConflict, "'x'"):
                await store.trim("x", 5)
            with refused(UnknownExecution, "'nobody'"):
                await store.trim("nobody", 0)
            await store.put_snapshot("x", 11, "d1", b"at 11")
            assert await store.trim("x", 8) == 5  # records 0, 1, 3, 5 and 7, which are no stream items
            assert [number for number, _ in await store.records("x")] == [2, 4, 6, 8, 9, 10]
            assert [item for item, _ in await store.items("x")] == [1, 2, 3, 4, 5]
            assert await store.snapshot("x", records=10) is None
            assert await store.trim("x", 11) == 1
            await store.append([more("x", 11, b"11")])
            await store.put_snapshot("x", 12, "d1", b"at 12")
            assert await store.trim("x", 12) == 1
        async with self.open_store() as store:
            row = await store.claim("x")
            assert (row.records, row.items, row.updated) == (12, 5, 13.0)
            await store.append([more("x", 12, b"12")])
            assert (await store.records("x", first=11)) == [(12, b"12")]

    async def test_trimming_gives_up_payloads_that_nothing_refers_to_any_more(self) -> None:
        async with self.open_store() as store:
            names = {payload_digest(data): data for data in (b"item", b"old", b"shared", b"new")}
            item, old, shared, fresh = names
            payloads = {digest: names[digest] for digest in (item, old, shared)}
            await store.append([new("x", b"0", b"1", payloads=payloads), new("y", b"0", payloads={shared: b"shared"})])
            await store.put_snapshot("x", 2, "d1", b"at 2")
            later = more("x", 2, b"2")
            later.payloads = {fresh: b"new"}
            await store.append([later])
            assert await store.trim("x", 2, payloads=[item]) == 2
            assert await store.payloads(names) == names  # record 2 is not in the snapshot, and may refer to any of them
            await store.put_snapshot("x", 3, "d1", b"at 3")
            assert await store.trim("x", 3) == 1
            assert await store.payloads(names) == names  # without payloads=, trim drops no payload
            assert await store.trim("x", 3, payloads=[item]) == 0
            assert await store.payloads([item, shared]) == {item: b"item", shared: b"shared"}
            for digest in (old, fresh):
                with refused(StoreDamaged, digest):
                    await store.payloads([digest])
            again = more("x", 3, b"3", status="completed")
            again.payloads = {old: b"old"}
            await store.append([again, more("y", 1, status="completed")])
            assert await store.payloads([old]) == {old: b"old"}
            assert await store.delete(["y"]) == 1
            with refused(StoreDamaged, shared):
                await store.payloads([shared])

    async def test_definitions_are_kept_as_they_came_first(self) -> None:
        async with self.two() as (store, other):
            assert await store.definition("d1") is None
            await store.put_definition("d1", b"first")
            await other.put_definition("d1", b"second")
            assert await other.definition("d1") == b"first"

    # -- executions --------------------------------------------------------------------------------------------------

    async def test_executions_newest_first_filtered_and_in_pages(self) -> None:
        async with self.open_store() as store:
            statuses: list[StatusName] = ["created", "running", "waiting", "completed", "failed"]
            await store.append(
                [
                    new(
                        f"x{number}",
                        flow="even" if number % 2 == 0 else "odd",
                        status=status,
                        created=float(number // 2),
                    )
                    for number, status in enumerate(statuses * 4)
                ]
            )
            await store.append([new("child", parent="x2", created=99.0), new("grandchild", parent="child")])
            everything = [f"x{number}" for number in reversed(range(20))]

            async def ids(**filters: Any) -> list[str]:
                return [row.id for row in await store.executions(**filters)]

            assert await ids() == everything
            assert await ids(limit=3) == everything[:3]
            paged: list[str] = []
            while page := await ids(limit=3, after=paged[-1] if paged else None):
                paged += page
            assert paged == everything
            assert await ids(flow="odd") == [name for name in everything if int(name[1:]) % 2]
            assert await ids(flow="neither") == await ids(status=[]) == []
            assert await ids(status=["failed", "created"]) == ["x19", "x15", "x14", "x10", "x9", "x5", "x4", "x0"]
            assert await ids(since=3.0, until=5.0) == ["x9", "x8", "x7", "x6"]
            assert await ids(since=3.0, until=5.0, flow="even", status=["completed"]) == ["x8"]
            assert await ids(parent="x2") == ["child"]
            assert await ids(parent="child") == ["grandchild"]
            with refused(UnknownExecution, "'nobody'"):
                await ids(after="nobody")

    # -- ownership ---------------------------------------------------------------------------------------------------

    async def test_what_a_living_owner_has_is_not_claimed(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", b"a")])
            with refused(ExecutionLeased, "'x'", store.owner):
                await other.claim("x")
            assert await other.claim_work(["flow"]) == []
            with refused(StoreConflict, "'x'"):
                await other.append([more("x", 1, b"b")])
            with refused(UnknownExecution, "'nobody'"):
                await other.claim("nobody")
            assert (await store.claim("x")).owner == store.owner
            await other.release(["x", "nobody"])
            await store.append([more("x", 1, b"b")])

    async def test_what_is_released_can_be_claimed(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", b"a")])
            await store.release(["x"])
            row = await other.find("x")
            assert row is not None
            assert row.owner is None
            with refused(StoreConflict, "'x'"):
                await store.append([more("x", 1, b"b")])
            assert (await other.claim("x")).owner == other.owner
            await other.append([more("x", 1, b"b")])
            with refused(StoreConflict, other.owner):
                await store.append([more("x", 2, b"c")])

    async def test_closing_releases(self) -> None:
        async with self.open_store() as other:
            async with self.open_store() as store:
                await store.append([new("x", b"a")])
            assert [row.id for row in await other.claim_work(["flow"])] == ["x"]

    async def test_what_a_dead_owner_had_is_taken_over_and_it_can_append_nothing_to_it(self) -> None:
        async with self.two() as (store, other):
            await store.append([new("x", b"a"), new("y", b"a")])
            await self.lose(store)
            row = await other.find("x")
            assert row is not None
            assert row.owner is None
            assert (await other.claim("x")).owner == other.owner
            for _ in range(2):
                with refused(StoreConflict, "'x'"):
                    await store.append([more("x", 1, b"late")])
                with refused(StoreConflict, "'x'"):
                    await store.put_snapshot("x", 1, "d1", b"late")
            with refused(StoreConflict):
                await store.append([more("y", 1, b"with it"), more("x", 1, b"late")])
            await other.append([more("x", 1, b"b")])
            # The other owner has not claimed "y", so that this owner still has it.
            await store.append([more("y", 1, b"b")])
            with refused(ExecutionLeased):
                await other.claim("y")
            assert await other.records("x") == await other.records("y") == [(0, b"a"), (1, b"b")]

    async def test_an_owner_that_claims_an_execution_back_sees_its_new_records(self) -> None:
        """An owner that claims an execution back sees the records that the other owner has added, not its cached
        state."""
        async with self.two() as (store, other):
            await store.append([new("x", b"a")])
            await self.lose(store)
            await other.claim("x")
            await other.append([more("x", 1, b"b")])
            await other.release(["x"])
            with refused(StoreConflict, "'x'"):
                await store.append([more("x", 1, b"late")])
            assert (await store.claim("x")).records == 2
            await store.append([more("x", 2, b"c")])
            assert len(await store.records("x")) == 3

    async def test_work_is_what_runs_or_is_due_and_has_no_owner(self) -> None:
        async with self.two() as (store, other):
            now = self.clock()
            await store.append(
                [
                    new("runs", created=3.0),
                    new("created", created=2.0, status="created"),
                    new("due", created=1.0, status="waiting", due=now - 1),
                    new("later", status="waiting", due=now + 10),
                    new("waits", status="waiting"),
                    new("over", status="completed"),
                    new("other flow", flow="other"),
                    new("third flow", flow="third", created=9.0),
                    new("child", parent="runs"),
                ]
            )
            assert await other.claim_work(["flow"]) == []
            await store.release(["runs", "created", "due", "later", "waits", "over", "other flow", "third flow"])
            assert await other.claim_work([]) == []
            assert [row.id for row in await other.claim_work(["flow", "third"], limit=2)] == ["due", "created"]
            rows = await other.claim_work(["flow", "third"])
            assert [(row.id, row.owner) for row in rows] == [("runs", other.owner), ("third flow", other.owner)]
            assert await store.claim_work(["flow"]) == []
            self.clock.turn(10)
            assert [row.id for row in await store.claim_work(["flow"])] == ["later"]

    async def test_when_the_next_one_is_due(self) -> None:
        async with self.two() as (store, other):
            await store.append(
                [
                    new("x", status="waiting", due=500.0),
                    new("y", status="waiting", due=400.0),
                    new("z", status="waiting", due=300.0, flow="other"),
                    new("runs", due=100.0),
                    new("child", status="waiting", due=200.0, parent="x"),
                ]
            )
            assert await other.next_due(["flow", "other"]) is None
            await store.release(["x", "runs"])
            assert await other.next_due(["flow"]) == 500.0
            await self.lose(store)
            assert await other.next_due(["flow"]) == 400.0
            assert await other.next_due(["flow", "other"]) == 300.0
            assert await other.next_due([]) is None

    async def test_what_is_to_be_left_alone_is_neither_claimed_nor_due(self) -> None:
        async with self.two() as (store, other):
            names = [f"x{number}" for number in range(6)]
            await store.append(
                [
                    new(name, status="waiting", due=float(number), created=float(number))
                    if number % 2
                    else new(name, created=float(number))
                    for number, name in enumerate(names)
                ]
            )
            await store.release(names)
            assert await other.next_due(["flow"], without=["x1", "nobody"]) == 3.0
            assert await other.next_due(["flow"], without=names) is None
            assert await other.claim_work(["flow"], without=names) == []
            rows = await other.claim_work(["flow"], limit=2, without={"x0", "x3"})
            assert [row.id for row in rows] == ["x1", "x2"]
            for name in ("x0", "x3"):
                row = await store.find(name)
                assert row is not None
                assert row.owner is None
            assert [row.id for row in await store.claim_work(["flow"], limit=2, without=("x4",))] == ["x0", "x3"]
            assert [row.id for row in await store.claim_work(["flow"])] == ["x4", "x5"]

    async def test_sub_flows_go_with_the_execution_they_belong_to(self) -> None:
        async with self.two() as (store, other):
            await store.append(
                [new("x"), new("child", parent="x"), new("grandchild", parent="child", status="waiting")]
            )
            await store.release(["x"])
            with refused(StoreConflict):
                await store.append([more("grandchild", 0, b"a")])
            assert [row.id for row in await other.claim_work(["flow"])] == ["x"]
            await other.append([more("grandchild", 0, b"a"), more("child", 0, b"a")])
            await self.lose(other)
            await store.claim("x")
            with refused(StoreConflict):
                await other.append([more("grandchild", 1, b"b")])
            await store.append([more("grandchild", 1, b"b")])

    async def test_only_one_of_many_gets_it(self) -> None:
        async with self.two() as (store, other):
            await store.append([new(f"{number}") for number in range(40)])
            await store.release([f"{number}" for number in range(40)])
            shares = await asyncio.gather(*[who.claim_work(["flow"], limit=7) for who in (store, other) * 3])
            ids = [row.id for rows in shares for row in rows]
            assert len(ids) == len(set(ids)) == 40

    # -- retention, opening and closing ------------------------------------------------------------------------------

    async def test_deleting_forgets_what_has_ended_with_its_sub_flows(self) -> None:
        async with self.open_store() as store:
            await store.append(
                [
                    new("over", b"a", status="completed"),
                    new("child", b"a", parent="over", status="failed"),
                    new("grandchild", b"a", parent="child", status="cancelled"),
                    new("runs", b"a"),
                    new("ended", b"a", status="completed"),
                    new("still runs", b"a", parent="ended"),
                ]
            )
            assert await store.delete(["over", "runs", "ended", "nobody"]) == 3
            for name in ("over", "child", "grandchild"):
                assert await store.find(name) is None
                assert await store.records(name) == []
            for name in ("runs", "ended", "still runs"):
                assert len(await store.records(name)) == 1
            await store.append([more("still runs", 1, status="completed"), new("over", b"again")])
            assert await store.delete(["ended", "ended"]) == 2
            assert await store.records("over") == [(0, b"again")]

    async def test_a_store_is_used_between_opening_and_closing_and_can_be_opened_again(self) -> None:
        store = self.open_store()
        with refused(UsageError):
            await store.find("x")
        async with store:
            await store.append([new("x", b"a")])
            with refused(UsageError):
                await store.__aenter__()
        with refused(StoreUnavailable, "closed"):
            await store.append([more("x", 1, b"b")])
        async with store:
            await store.claim("x")
            await store.append([more("x", 1, b"b")])
            assert len(await store.records("x")) == 2

    async def test_another_event_loop_is_told_so(self) -> None:
        def elsewhere(store: Store) -> None:
            with refused(WrongLoopError):
                asyncio.run(_find(store))

        async with self.open_store() as store:
            await asyncio.get_running_loop().run_in_executor(None, elsewhere, store)


async def _find(store: Store) -> None:
    await store.find("x")
