"""A failed durable execution runs again, in place: `flow.async_retry`."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triggerflow import Retry, TriggerFlow
from triggerflow.durable import Worker
from triggerflow.errors import ExecutionLeased, PayloadError, RecordsTrimmed, StoreConflict, UsageError
from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore

Data = Any
Opener = Callable[[], Any]


@pytest.fixture(params=["memory", "sqlite"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Makes stores over the same data: each is an owner of its own."""
    if request.param == "sqlite":
        return lambda: SQLiteStore(tmp_path / "runs.db")
    data = MemoryData()
    return lambda: MemoryStore(data)


class World:
    """What the outside does: which chunks fail, and what has run."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.ran: list[Any] = []

    def work(self, name: str) -> Any:
        async def work(data: Data) -> Any:
            self.ran.append((name, data.attempt))
            await data.async_put_into_stream(name)
            if name in self.broken:
                raise ConnectionError(f"{name} is broken")
            return data.value + 1

        return name, work


async def failed(flow: TriggerFlow, store: Any, value: Any = 0) -> str:
    execution = flow.create_execution(store=store)
    with pytest.raises(ConnectionError):
        await execution.async_start(value)
    return execution.id


async def test_what_had_completed_stays_and_what_failed_runs_again(opener: Opener) -> None:
    world = World("second")
    flow = TriggerFlow("f")
    flow.to(world.work("first")).to(world.work("second")).to(world.work("third")).end()
    async with opener() as store:
        id = await failed(flow, store)
        rows = await flow.history(store).executions()
        world.broken.clear()
        execution = await flow.async_retry(id, store=store)
        assert execution.id == id
        assert await execution.async_get_result() == 3
        assert world.ran == [("first", 1), ("second", 1), ("second", 2), ("third", 1)]
        row = (await flow.history(store).executions())[0]
        assert (row.status, row.items, rows[0].items) == ("completed", 3, 2)
        kinds = [type(record).__name__ async for _, record in flow.history(store).journal(id)]
        assert len(kinds) == row.records > rows[0].records
        assert kinds[rows[0].records] == "Retried"


@pytest.mark.parametrize("start", [0, 1, 2])
async def test_a_restart_between_retry_and_end(opener: Opener, start: int) -> None:
    """Records are added in one append: before it the execution has failed, after it any process goes on with it."""
    from triggerflow.durable.retrying import reopen

    world = World("second")
    flow = TriggerFlow("f")
    flow.to(world.work("first")).to(world.work("second")).end()
    async with opener() as store:
        id = await failed(flow, store)
        world.broken.clear()
        for _ in range(start):
            world.broken.add("second")
            with pytest.raises(ConnectionError):
                await (await flow.async_retry(id, store=store)).async_get_result()
            world.broken.clear()
        runtime = flow._runtime  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        await reopen(runtime.program(), store, id, runtime.environment.now())
    async with opener() as store, Worker(store, flow):
        execution = await flow.async_resume(id, store=store)
        assert await execution.async_get_result() == 2
    assert world.ran == [("first", 1), *(("second", attempt) for attempt in range(1, start + 3))]


async def test_items_of_a_for_each_that_had_ended_stay(opener: Opener) -> None:
    world = World("item 2")

    async def item(data: Data) -> Any:
        return await world.work(f"item {data.value}")[1](data)

    flow = TriggerFlow("f")
    flow.for_each(concurrency=1).to(("item", item)).end_for_each().end()
    async with opener() as store:
        id = await failed(flow, store, [0, 1, 2, 3])
        world.broken.clear()
        execution = await flow.async_retry(id, store=store)
        assert await execution.async_get_result() == [1, 2, 3, 4]
    assert world.ran == [("item 0", 1), ("item 1", 1), ("item 2", 1), ("item 2", 2), ("item 3", 1)]


async def test_chunks_that_were_cancelled_with_the_failure_run_again(opener: Opener) -> None:
    world = World("bad")
    ended: list[int] = []

    async def slow(data: Data) -> int:
        try:
            await asyncio.sleep(0.05 if data.attempt == 1 else 0)
        finally:
            ended.append(data.attempt)
            data.state.set("cleaned", data.attempt)
        return 7

    async def bad(data: Data) -> int:
        await asyncio.sleep(0)
        return await world.work("bad")[1](data)

    flow = TriggerFlow("f")
    flow.batch(("slow", slow), ("bad", bad)).end()
    async with opener() as store:
        id = await failed(flow, store)
        world.broken.clear()
        execution = await flow.async_retry(id, store=store)
        assert await execution.async_get_result() == {"slow": 7, "bad": 1}
        assert execution.state.get("cleaned") == 2
    assert ended == [1, 2]


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_failure_in_a_sub_flow_runs_the_tree_again(opener: Opener, depth: int) -> None:
    world = World("inner")
    inner = TriggerFlow("inner-1")
    inner.to(world.work("before")).to(world.work("inner")).end()
    if depth == 2:
        middle = TriggerFlow("inner-2")
        middle.to(world.work("middle")).to_sub_flow(inner, name="deep").end()
        inner = middle
    flow = TriggerFlow("f")
    flow.to(world.work("outer")).to_sub_flow(inner, name="step").to(world.work("after")).end()
    async with opener() as store:
        id = await failed(flow, store)
        row = (await store.executions(parent=id))[0]
        with pytest.raises(UsageError, match="is a sub-flow"):
            await inner.async_retry(row.id, store=store)
        world.broken.clear()
        execution = await flow.async_retry(id, store=store)
        await execution.async_get_result()
        assert [it.status for it in await store.executions(parent=id)] == ["completed"]
    names = [name for name, _ in world.ran]
    assert names.count("inner") == 2
    assert all(names.count(name) == 1 for name in names if name != "inner")
    assert names[-1] == "after"


async def test_a_sub_flow_that_was_cancelled_goes_on_where_it_was(opener: Opener) -> None:
    world = World("bad")
    release = asyncio.Event()

    async def waits(data: Data) -> int:
        world.ran.append(("waits", data.attempt))
        await release.wait()
        return 1

    child = TriggerFlow("child")
    child.to(world.work("start")).to(("waits", waits)).end()

    async def bad(data: Data) -> int:
        while ("waits", 1) not in world.ran:
            await asyncio.sleep(0)
        return await world.work("bad")[1](data)

    flow = TriggerFlow("f")
    flow.to(("bad", bad))
    flow.to_sub_flow(child, name="step").end()
    async with opener() as store:
        id = await failed(flow, store)
        world.broken.clear()
        release.set()
        execution = await flow.async_retry(id, store=store)
        assert await execution.async_get_result() == 1
    assert [name for name, _ in world.ran].count("start") == 1
    assert [it for it in world.ran if it[0] == "waits"] == [("waits", 1), ("waits", 2)]


async def test_questions_of_a_failed_sub_flow_are_open_again(opener: Opener) -> None:
    world = World("bad")
    child = TriggerFlow("child")

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    async def bad(data: Data) -> int:
        while not asked.is_set():
            await asyncio.sleep(0)
        return await world.work("bad")[1](data)

    asked = asyncio.Event()
    child.batch(("ask", ask), ("bad", bad)).end()
    flow = TriggerFlow("f")
    flow.to_sub_flow(child, name="step").end()
    async with opener() as store:
        execution = flow.create_execution(store=store)
        execution.begin(0)
        while not execution.get_pending_interrupts():
            await asyncio.sleep(0)
        (question,) = execution.get_pending_interrupts()
        asked.set()
        with pytest.raises(ConnectionError):
            await execution.async_get_result()
        world.broken.clear()
        again = await flow.async_retry(execution.id, store=store)
        assert list(again.get_pending_interrupts()) == [question]
        await again.async_continue_with(question, "yes")
        assert await again.async_get_result() == {"ask": "yes", "bad": 1}


@pytest.mark.parametrize("case", ["route", "first", "unrelated"])
async def test_completed_work_of_an_error_route(opener: Opener, case: str) -> None:
    """Refused if chunks of the route in which it failed have completed, since what they undid would stay undone."""
    world = World("charge", "tell")
    flow = TriggerFlow("f")
    flow.to(world.work("charge")).end()

    def value(data: Data) -> int:
        return 0

    async def asleep(data: Data) -> int:
        await asyncio.sleep(0.05)
        return 0

    async def tell(data: Data) -> None:
        if "tell" in world.broken:
            raise ConnectionError("tell is broken")

    route = flow.on_error("charge").to(("undo", value)) if case == "route" else flow.on_error("charge")
    if case == "unrelated":
        route.to(("told", value))
        flow.to(("wait", asleep)).to(world.work("tell"))
    else:
        route.to(("tell", tell))
    async with opener() as store:
        id = await failed(flow, store)
        world.broken.clear()
        if case == "route":
            with pytest.raises(UsageError, match="force=True"):
                await flow.async_retry(id, store=store)
            assert (await flow.history(store).executions())[0].status == "failed"
        execution = await flow.async_retry(id, store=store, force=case == "route")
        await execution.async_close()
        assert execution.status == "completed"
