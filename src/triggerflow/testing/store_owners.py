"""The contract of stores as tests: lists of executions, who runs what, deleting, opening and closing."""

# ruff: noqa: D102 (the name of a test says what it states)

import asyncio
from typing import Any

from .._core.errors import (
    ExecutionLeased,
    StoreConflict,
    StoreUnavailable,
    UnknownExecution,
    UsageError,
    WrongLoopError,
)
from ..stores.protocol import StatusName, Store
from .store_base import StoreTests, more, new, refused


class OwnerTests(StoreTests):
    """An execution has one owner, and what it had goes to another one only when it is gone."""

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

    # -- who runs what -----------------------------------------------------------------------------------------------

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
            # What nobody has claimed is still its own.
            await store.append([more("y", 1, b"b")])
            with refused(ExecutionLeased):
                await other.claim("y")
            assert await other.records("x") == await other.records("y") == [(0, b"a"), (1, b"b")]

    async def test_a_take_over_and_back_leaves_no_memory_of_what_was(self) -> None:
        """The first owner gets it back with the records that the other one has added, not with what it remembers."""
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

    async def test_work_is_what_runs_or_is_due_and_nobody_has(self) -> None:
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

    # -- keeping house, and the ends of a store ----------------------------------------------------------------------

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
