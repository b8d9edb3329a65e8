"""Conformance tests for the schedules of a store. See `StoreConformance`."""

# ruff: noqa: D102 (the name of a test states what it checks)

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from .._core.errors import StoreConflict
from ..stores.protocol import ScheduleRow, Store
from .store_tools import new, refused

__all__ = ["SchedulesConformance"]


def _schedule(
    id: str, *, flow: str = "flow", data: bytes = b"{}", due: float | None = 1.0, version: str = "1"
) -> ScheduleRow:
    return ScheduleRow(id=id, flow=flow, data=data, due=due, version=version)


class SchedulesConformance:
    """Tests for schedules: a change of one is made by one process only, together with the executions that it starts.
    See `StoreConformance`."""

    open_store: Callable[[], Store]
    two: Callable[[], AbstractAsyncContextManager[tuple[Store, Store]]]

    async def test_a_schedule_is_read_back_and_replaced_and_deleted(self) -> None:
        async with self.two() as (one, other):
            first = _schedule("nightly", due=5.0, data=b'{"a": 1}')
            await one.put_schedule(first)
            assert await other.schedule("nightly") == first
            second = _schedule("nightly", flow="other", due=None, version="2")
            await other.put_schedule(second, replaces="1")
            assert await one.schedule("nightly") == second
            assert await one.delete_schedule("nightly") is True
            assert await other.schedule("nightly") is None
            assert await other.delete_schedule("nightly") is False

    async def test_a_schedule_is_replaced_by_whoever_has_read_its_version(self) -> None:
        async with self.two() as (one, other):
            await one.put_schedule(_schedule("nightly"))
            with refused(StoreConflict, "nightly"):
                await other.put_schedule(_schedule("nightly", version="2"))
            with refused(StoreConflict, "daily"):
                await other.put_schedule(_schedule("daily", version="2"), replaces="1")
            await one.put_schedule(_schedule("nightly", version="2"), replaces="1")
            with refused(StoreConflict, "nightly"):
                await other.put_schedule(_schedule("nightly", version="3"), replaces="1")
            assert await other.schedule("nightly") == _schedule("nightly", version="2")
            assert await other.schedule("daily") is None

    async def test_of_many_who_replace_a_schedule_at_once_one_succeeds(self) -> None:
        async with self.two() as stores:
            await stores[0].put_schedule(_schedule("nightly"))

            async def replace(number: int) -> int:
                start = new(f"x{number}", b"a", releases=True)
                try:
                    await stores[number % 2].put_schedule(
                        _schedule("nightly", version=f"v{number}"), replaces="1", starts=[start]
                    )
                except StoreConflict:
                    return 0
                return 1

            assert sum(await asyncio.gather(*(replace(number) for number in range(20)))) == 1
            assert len(await stores[0].executions()) == 1

    async def test_a_schedule_and_what_it_starts_are_stored_together_or_not_at_all(self) -> None:
        async with self.two() as (one, other):
            await one.put_schedule(_schedule("nightly"))
            await one.append([new("taken", b"a")])
            starts = [new(name, b"a", releases=True) for name in ("x", "taken", "y")]
            with refused(StoreConflict, "taken"):
                await other.put_schedule(_schedule("nightly", version="2"), replaces="1", starts=starts)
            assert await one.schedule("nightly") == _schedule("nightly")
            assert await one.find("x") is None
            await other.put_schedule(_schedule("nightly", version="2"), replaces="1", starts=[starts[0], starts[2]])
            with refused(StoreConflict):
                await one.put_schedule(_schedule("nightly", version="3"), replaces="1", starts=[new("z", b"a")])
            assert await one.find("z") is None
            claimed = await one.claim_work(["flow"])
            assert {row.id for row in claimed} == {"x", "y"}
            assert await one.records("y") == [(0, b"a")]

    async def test_schedules_are_listed_by_id_and_by_due_time(self) -> None:
        async with self.open_store() as store:
            for number in range(10):
                due = None if number == 7 else float(-number // 2)
                await store.put_schedule(_schedule(f"s{number}", flow=f"flow{number % 3}", due=due))
            assert [it.id for it in await store.schedules(limit=3)] == ["s0", "s1", "s2"]
            assert [it.id for it in await store.schedules(after="s7")] == ["s8", "s9"]
            assert [it.id for it in await store.schedules(flow="flow1")] == ["s1", "s4", "s7"]
            assert await store.schedules(flow="nobody") == []
            some = await store.next_schedules(["flow0", "flow1", "nobody"])
            assert [(it.due, it.id) for it in some] == [
                (-5.0, "s9"), (-3.0, "s6"), (-2.0, "s3"), (-2.0, "s4"), (-1.0, "s1"), (0.0, "s0")
            ]  # fmt: skip
            page = await store.next_schedules(["flow0", "flow1"], after=(-2.0, "s3"), limit=2)
            assert [it.id for it in page] == ["s4", "s1"]
            assert await store.next_schedules([]) == []

    async def test_a_change_of_a_schedule_is_told_to_all(self) -> None:
        async with self.two() as (one, other):
            cursor = (await other.wait_changes()).cursor
            await one.put_schedule(_schedule("nightly"))
            told = await other.wait_changes(cursor, timeout=10)
            assert told.resync or "nightly" in told.schedules
            await one.delete_schedule("nightly")
            told = await other.wait_changes(told.cursor, timeout=10)
            assert told.resync or "nightly" in told.schedules
