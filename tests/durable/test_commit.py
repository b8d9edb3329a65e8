"""What the executions of one opened store share: that it ends with the store, and what one commit holds."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.durable.counted import CountedStore
from tests.support import read
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import StoreConflict
from triggerflow.stores import SQLiteStore

Open = Callable[..., Any]
Data = TriggerFlowRuntimeData[Any]


# -- a store that nobody uses any more ---------------------------------------------------------------------------------


def ending(name: str = "ending") -> TriggerFlow:
    """Puts an item, and ends as its value says: with a question, with an error, or well."""
    flow = TriggerFlow(name=name)

    async def work(data: Data) -> Any:
        await data.async_put_into_stream(data.value)
        if data.value == "asks":
            data.pause_for(interrupt_id="question")
        if data.value == "fails":
            raise ValueError(data.value)
        return data.value

    flow.to(("work", work)).end()
    return flow


async def begun(flow: TriggerFlow, store: Any, value: str) -> Any:
    execution = flow.create_execution(store=store, id="run")
    await execution.async_begin(value)
    with suppress(ValueError, TimeoutError):  # an error that nobody waits for is kept by the log of the tests
        await execution.async_get_result(timeout=1)
    return execution


async def suspended(flow: TriggerFlow, store: Any, value: str) -> None:
    await (await begun(flow, store, value)).async_suspend()


async def worked_on(flow: TriggerFlow, store: Any, value: str) -> None:
    async with Worker(store, flow):
        await begun(flow, store, value)


async def looked_at(flow: TriggerFlow, store: Any, value: str) -> None:
    await suspended(flow, store, value)
    history = flow.history(store)
    await read(history.stream("run", follow=False))
    await history.compact("run")


async def in_a_sub_flow(flow: TriggerFlow, store: Any, value: str) -> None:
    outer = TriggerFlow(name="outer")
    outer.to_sub_flow(flow).end()
    await begun(outer, store, value)


@pytest.mark.parametrize(
    ("use", "value"),
    [
        *((use, value) for use in (begun, suspended, worked_on) for value in ("ends", "asks", "fails")),
        *((looked_at, value) for value in ("ends", "asks")),
        (in_a_sub_flow, "ends"),
    ],
)
async def test_a_store_that_was_closed_is_not_kept(
    open_store: Open, use: Callable[[TriggerFlow, Any, str], Awaitable[Any]], value: str
) -> None:
    """A service opens and closes as many as it likes; what has ended, waits or was let go of holds none of them."""
    stores: list[weakref.ref[Any]] = []
    flow = ending()

    async def one() -> None:
        async with open_store() as store:
            stores.append(weakref.ref(store))
            await use(flow, store, value)

    await one()
    await asyncio.sleep(1)
    gc.collect()
    assert [store() for store in stores] == [None]


async def test_a_definition_is_written_once_for_a_store(open_store: Open) -> None:
    """Also where no execution of it is held between two: it is known as long as the store is."""
    async with open_store() as inner:
        store = CountedStore(inner)
        for number in range(3):
            await ending().create_execution(store=store, id=f"run-{number}").async_start("well")
            gc.collect()
    assert store.calls["put_definition"] == 1


# -- one commit for a tree ---------------------------------------------------------------------------------------------


TREES = [["a", "a/in.1", "a/in.1/in.1"], ["b", "b/in.1", "b/in.1/in.1"]]


class Noted:
    """A store that notes which executions a commit was refused for, and after each how many items each one has."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.refused: list[list[str]] = []
        self.items: list[dict[str, int]] = []

    async def append(self, appends: Any) -> dict[str, int]:
        try:
            newest = await self.inner.append(appends)
        except StoreConflict:
            self.refused.append(sorted(add.execution for add in appends))
            raise
        rows = [await self.inner.find(id) for tree in TREES for id in tree]
        self.items.append({row.id: row.items for row in rows if row is not None})
        return newest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def putting(start: asyncio.Event, name: str) -> TriggerFlow:
    """Puts an item when it is told to, and another one."""
    flow = TriggerFlow(name=name)

    async def put(data: Data) -> str:
        await start.wait()
        await data.async_put_into_stream(1)
        await asyncio.sleep(0)
        await data.async_put_into_stream(2)
        return "put"

    flow.to(("put", put)).end()
    return flow


def around(flow: TriggerFlow, name: str) -> TriggerFlow:
    """A flow whose only step is that flow."""
    outer = TriggerFlow(name=name)
    outer.to_sub_flow(flow, name="in").end()
    return outer


async def with_an_alien(open_store: Open, taken_away: str) -> tuple[Noted, dict[str, Any], dict[str, Any]]:
    """Two trees and a lone execution write in one commit, when one of them is not this owner's any more; the store,
    the results, and how they stand on disk."""
    start = asyncio.Event()
    tree = around(around(putting(start, "inner"), "middle"), "outer")
    async with open_store() as inner:
        store = Noted(inner)
        runs = {id: tree.create_execution(store=store, id=id) for id in ("a", "b")}
        runs["alone"] = putting(start, "single").create_execution(store=store, id="alone")
        for execution in runs.values():
            await execution.async_begin()
        await asyncio.sleep(1)
        await inner.release([taken_away])
        start.set()
        results = await asyncio.gather(*(it.async_get_result() for it in runs.values()), return_exceptions=True)
        rows = {id: await inner.find(id) for id in (*runs, *TREES[0], *TREES[1])}
    return store, dict(zip(runs, results, strict=True)), rows


@pytest.mark.parametrize("taken_away", ["alone", "a", "a/in.1/in.1"])
async def test_after_a_conflict_a_tree_is_still_committed_as_one(open_store: Open, taken_away: str) -> None:
    """`stores.protocol`: "`append` adds to several executions *atomically*"; an item of a sub-flow is one of its
    parent's too, and no crash in between may leave one of them alone."""
    store, results, rows = await with_an_alien(open_store, taken_away)
    assert ["a", *TREES[0][1:], "alone", *TREES[1]] in store.refused
    lost = taken_away.partition("/")[0]
    for id, result in results.items():
        assert isinstance(result, StoreConflict) if id == lost else result == "put"
        assert rows[id].status == ("running" if id == lost else "completed")
    for items in store.items:
        for tree in TREES:
            assert len({items.get(id, 0) for id in tree}) == 1, items


async def test_of_a_tree_that_was_taken_away_nothing_is_written(open_store: Open) -> None:
    """All of it or nothing: neither the sub-flow that is still this owner's, nor its parents."""
    _, _, rows = await with_an_alien(open_store, "a/in.1/in.1")
    assert [rows[id].items for id in TREES[0]] == [0, 0, 0]
    assert [rows[id].items for id in TREES[1]] == [2, 2, 2]


# -- records that come together ----------------------------------------------------------------------------------------


@pytest.mark.every_store
@pytest.mark.parametrize("fails_first", [True, False])
async def test_a_chunk_that_ends_in_the_commit_that_cancels_it(open_store: Open, fails_first: bool) -> None:
    """Two chunks end in one turn of the loop: the failure of one asks to cancel the other, which has ended by then."""
    flow, both = TriggerFlow(name="f"), asyncio.Barrier(2)

    async def fails(data: Data) -> None:
        await both.wait()
        raise KeyError("one")

    async def ends(data: Data) -> int:
        await both.wait()
        return 1

    branches = [("fails", fails), ("ends", ends)]
    flow.batch(*(branches if fails_first else branches[::-1])).end()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="run")
        with pytest.raises(KeyError, match="one"):
            await execution.async_start(0)
        assert (await store.find("run")).status == "failed"


# -- snapshots ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Unwritable:
    """Raises an error of its own where it is to be written."""

    text: str = ""

    def __getattribute__(self, name: str) -> Any:
        if name == "text":
            raise ZeroDivisionError("not today")
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("spoil", [object(), Unwritable()], ids=["no type of ours", "an error of its own"])
async def test_a_snapshot_that_cannot_be_written_is_told_once(
    open_store: Open, spoil: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a cache, and the execution goes on; but each recovery is longer, which somebody should know."""
    monkeypatch.setattr("triggerflow.durable.executions.stored.SNAPSHOT_EVERY", 10)
    flow = TriggerFlow(name="flow")
    flow.register_type(Unwritable)

    async def count(data: Data) -> None:
        held = data.state.get("held")
        if data.value == 0:
            data.state.set("held", [])
        elif data.value == 5:
            list.append(held, spoil)  # past the refusal of the list, as code in C can do
        elif data.value == 50:
            data.state.set("held", [])

    flow.for_each(concurrency=1).to(("count", count)).end_for_each().end()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="run")
        await execution.async_start(list(range(40)))
        assert await store.snapshot("run") is None
        told = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
        assert len(told) == 1
        assert "run" in told[0]
        assert "state['held']" in told[0] or "not today" in told[0]
        assert "state.set(key, value)" in told[0]
        good = flow.create_execution(store=store, id="good")
        await good.async_start([*range(20), *range(50, 70)])
        assert await store.snapshot("good") is not None


async def test_a_file_that_was_replaced_while_the_store_was_closed_gets_the_definitions_again(tmp_path: Path) -> None:
    """The same store object is opened again, over an empty file."""
    store = SQLiteStore(tmp_path / "runs.db")
    async with store:
        await begun(ending(), store, "ends")
    (tmp_path / "runs.db").unlink()
    async with store:
        await begun(ending(), store, "ends")
    async with SQLiteStore(tmp_path / "runs.db") as other:
        assert await (await ending().async_resume("run", store=other)).async_get_result() == "ends"
        row = await other.find("run")
        assert row is not None
        assert await other.definition(row.definition) is not None
