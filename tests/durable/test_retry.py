"""A failed durable execution runs again, in place: `flow.async_retry`."""

import asyncio
import gc
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import stores_over
from triggerflow import TriggerFlow
from triggerflow._core.machine import Machine, replay
from triggerflow.diagram.runs import run_view
from triggerflow.durable import Worker
from triggerflow.errors import (
    ExecutionLeased,
    ExecutionTimedOut,
    InterruptExpired,
    RecordsTrimmed,
    RemoteChunkError,
    SnapshotError,
    UsageError,
)
from triggerflow.stores import MemoryData, MemoryStore

Data = Any
Opener = Callable[[], Any]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Makes stores over the same data: each is an owner of its own."""
    return stores_over(request.param, tmp_path)


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
        await reopen_only(flow, store, id)
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
    release, waiting = asyncio.Event(), asyncio.Event()

    async def waits(data: Data) -> int:
        world.ran.append(("waits", data.attempt))
        waiting.set()
        await release.wait()
        return 1

    child = TriggerFlow("child")
    child.to(world.work("start")).to(("waits", waits)).end()

    async def bad(data: Data) -> int:
        await waiting.wait()
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
        await asked.wait()
        return await world.work("bad")[1](data)

    asked = asyncio.Event()
    child.batch(("ask", ask), ("bad", bad)).end()
    flow = TriggerFlow("f")
    flow.to_sub_flow(child, name="step").end()
    async with opener() as store:
        execution = flow.create_execution(store=store)
        execution.begin(0)
        stream = execution.get_async_runtime_stream()
        assert (await anext(stream))["type"] == "interrupt"
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

    if case == "first":
        flow.on_error(("tell", tell))
    elif case == "route":
        flow.on_error(("undo", value)).to(("tell", tell))
    else:
        flow.when({"error": "charge"}).to(("told", value))
        flow.to(("wait", asleep)).to(world.work("tell"))
    async with opener() as store:
        id = await failed(flow, store)
        world.broken.clear()
        if case == "route":
            with pytest.raises(UsageError, match="force=True"):
                await flow.async_retry(id, store=store)
            assert (await flow.history(store).executions())[0].status == "failed"
        execution = await flow.async_retry(id, store=store, force=case == "route")
        await execution.async_close()
        assert execution.get_status() == "completed"


async def test_what_is_not_failed_is_refused(opener: Opener) -> None:
    world = World()
    flow = TriggerFlow("f")
    flow.to(world.work("one")).end()
    async with opener() as store:
        done = flow.create_execution(store=store)
        await done.async_start(0)
        with pytest.raises(UsageError, match="it is completed"):
            await flow.async_retry(done.id, store=store)
        world.broken.add("one")
        id = await failed(flow, store)
        await store.claim(id)
        async with opener() as other:
            with pytest.raises(ExecutionLeased):
                await flow.async_retry(id, store=other)
        await flow.history(store).compact(id)
        with pytest.raises(RecordsTrimmed):
            await flow.async_retry(id, store=store)
        assert (await store.find(id)).status == "failed"


async def test_of_two_retries_one_counts(opener: Opener) -> None:
    world = World("one")
    flow = TriggerFlow("f")
    flow.to(world.work("one")).end()
    async with opener() as store, opener() as other:
        id = await failed(flow, store)
        world.broken.clear()
        tries = [flow.async_retry(id, store=it) for it in (store, other)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        (execution,) = [it for it in found if not isinstance(it, Exception)]
        assert isinstance(next(it for it in found if isinstance(it, Exception)), ExecutionLeased | UsageError)
        assert await execution.async_get_result() == 1
    assert world.ran == [("one", 1), ("one", 2)]


async def test_readers_go_on_and_history_is_right(opener: Opener) -> None:
    world = World("second")
    flow = TriggerFlow("f")
    flow.to(world.work("first")).to(world.work("second")).to(world.work("third")).end()
    async with opener() as store:
        id = await failed(flow, store)
        history = flow.history(store)
        reader = history.stream(id)
        seen = [await anext(reader), await anext(reader)]
        with pytest.raises(RemoteChunkError, match="second"):
            await anext(reader)
        count = (await store.find(id)).records
        world.broken.clear()
        execution = await flow.async_retry(id, store=store)
        seen += [item async for item in execution.get_async_runtime_stream(after=2)]
        assert seen == ["first", "second", "third"]  # the item of the failed attempt is not repeated
        assert (await history.state_at(id, count)).status == "failed"
        again = await history.state_at(id, count + 1)
        assert (again.status, [(it.chunk, it.attempt) for it in again.running]) == ("running", [("second", 1)])
        assert (await history.state_at(id)).result == 3
        lines = [line async for line in history.lines(id)]
        assert any("retried" in line for line in lines)
        fork = await history.fork(id, at=count + 1)
        assert await fork.async_get_result() == 3
        path = io.BytesIO()
        await history.export(id, path)
        path.seek(0)
        loaded = await history.load(path, id="loaded")
        assert (loaded.id, loaded.status) == ("loaded", "completed")
        await history.compact(id)
        assert (await history.state_at(id)).result == 3
        view = run_view(flow.definition, [record async for _, record in history.journal("loaded")])
        assert view.status == "completed"


async def test_a_retry_of_a_retry(opener: Opener) -> None:
    world = World("first", "second")
    flow = TriggerFlow("f")
    flow.to(world.work("first")).to(world.work("second")).end()
    async with opener() as store:
        id = await failed(flow, store)
        for name in ("first", "second"):
            world.broken.discard(name)
            execution = await flow.async_retry(id, store=store)
            if world.broken:
                with pytest.raises(ConnectionError):
                    await execution.async_get_result()
        assert await execution.async_get_result() == 2
    async with opener() as store:
        assert (await flow.history(store).state_at(id)).result == 2
    assert world.ran == [("first", 1), ("first", 2), ("second", 1), ("second", 2)]


async def test_a_question_that_has_expired_is_asked_again(opener: Opener) -> None:
    flow = TriggerFlow("f")
    asked: list[int] = []

    async def ask(data: Data) -> None:
        asked.append(data.attempt)
        data.pause_for(interrupt_id="q", expires=0.01 if data.attempt == 1 else 100)

    flow.to(("ask", ask)).end()
    async with opener() as store:
        execution = flow.create_execution(store=store)
        with pytest.raises(Exception, match="nobody answered"):
            await execution.async_start(0)
        again = await flow.async_retry(execution.id, store=store)
        await again.async_settled()
        await again.async_continue_with("q", 5)
        assert await again.async_get_result() == 5
    assert asked == [1, 2]


async def test_a_chunk_that_timed_out_and_one_of_another_process(opener: Opener) -> None:
    flow = TriggerFlow("f")
    seconds = [10.0]

    async def slow(data: Data) -> int:
        await asyncio.sleep(seconds[0])
        return data.attempt

    flow.to(flow.chunk("slow", timeout=0.01)(slow)).end()
    async with opener() as store:
        execution = flow.create_execution(store=store)
        with pytest.raises(TimeoutError):
            await execution.async_start(0)
    seconds[0] = 0
    async with opener() as store:
        seen = await flow.async_resume(execution.id, store=store)
        with pytest.raises(RemoteChunkError):
            await seen.async_get_result()
        again = await flow.async_retry(execution.id, store=store)
        assert await again.async_get_result() == 2


async def test_in_place_effects_of_the_failed_attempt_count_by_value(opener: Opener) -> None:
    flow = TriggerFlow("f")
    told: list[Any] = []

    @flow.chunk("work")
    async def work(data: Data) -> Any:
        data.state.set("token", f"token {data.attempt}")
        data.state.append("same", 1)
        await data.async_put_into_stream(f"item {data.attempt}")
        await data.async_put_into_stream("same")
        await data.async_emit("told", "same")
        await data.async_emit("told", data.attempt)
        if data.attempt == 1:
            raise ConnectionError
        return data.state.get("token"), data.state.get("same")

    async def told_of(data: Data) -> None:
        told.append(data.value)

    flow.to(work).end()
    flow.when("told").to(told_of)
    async with opener() as store:
        id = await failed(flow, store)
        execution = await flow.async_retry(id, store=store)
        assert await execution.async_get_result() == ("token 2", [1])
        items = [item async for item in execution.get_async_runtime_stream(after=0)]
    assert items == ["item 1", "same", "item 2"]
    assert told[-1] == 2
    assert told.count(2) == 1


async def test_the_time_limit_of_the_execution_counts_from_the_retry(opener: Opener) -> None:
    flow = TriggerFlow("f")

    async def slow(data: Data) -> int:
        await asyncio.sleep(100 if data.attempt == 1 else 0)
        return data.attempt

    flow.to(("slow", slow)).end()
    async with opener() as store:
        execution = flow.create_execution(store=store, execution_timeout=0.05)
        with pytest.raises(ExecutionTimedOut):
            await execution.async_start(0)
        again = await flow.async_retry(execution.id, store=store)
        assert await again.async_get_result() == 2


async def test_a_fallback_and_what_it_did_are_not_repeated(opener: Opener) -> None:
    """A failure that a fallback took is no failure of the execution; the chunk after it runs again alone."""
    world = World("bad", "after")

    async def bad(data: Data) -> int:
        return await world.work("bad")[1](data)

    flow = TriggerFlow("f")
    flow.to(flow.chunk("bad", fallback=10)(bad)).to(world.work("after")).end()
    async with opener() as store:
        id = await failed(flow, store)
        world.broken.clear()
        assert await (await flow.async_retry(id, store=store)).async_get_result() == 11
    assert world.ran == [("bad", 1), ("after", 1), ("after", 2)]


async def test_reading_costs_the_same_for_each_of_many_retries(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("second")
    flow = TriggerFlow("f")
    flow.to(world.work("first")).to(world.work("second")).end()
    received: list[Any] = []
    receive = Machine.receive

    def counting(machine: Machine, event: Any) -> Any:
        received.append(event)
        return receive(machine, event)

    async with opener() as store:
        id = await failed(flow, store)
        for _ in range(30):
            with pytest.raises(ConnectionError):
                await (await flow.async_retry(id, store=store)).async_get_result()
        records = [record async for _, record in flow.history(store).journal(id)]
        monkeypatch.setattr(Machine, "receive", counting)
        assert (await flow.history(store).state_at(id)).status == "failed"
        assert len(received) <= 2 * len(records)
        received.clear()
        assert run_view(flow.definition, records).chunks["second"].count == 1
        assert replay(flow.definition, records).state.records == len(records)
        assert len(received) <= 2 * len(records)


# -- another process, cancellation, faults ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize("by", ["handle", "worker"])
async def test_the_process_where_it_failed_runs_the_retry_of_another_one(
    opener: Opener, by: str, is_held: bool
) -> None:
    world = World("second")
    flow, same = TriggerFlow("f"), TriggerFlow("f")
    for it in (flow, same):
        it.to(world.work("first")).to(world.work("second")).end()
    async with opener() as store, opener() as other:
        execution: Any = flow.create_execution(store=store)
        id = execution.id
        with pytest.raises(ConnectionError):
            await execution.async_start(0)
        if not is_held:
            execution = None
            gc.collect()
        retried = await same.async_retry(id, store=other)  # it fails again, and is retried once more
        with pytest.raises(ConnectionError):
            await retried.async_get_result()
        world.broken.clear()
        await reopen_only(same, other, id)
        await other.release([id])
        if by == "handle":
            again = await flow.async_resume(id, store=store)
            assert again is not execution
            assert await again.async_get_result() == 2
        else:
            async with Worker(store, flow):
                await asyncio.sleep(10)
                assert (await store.find(id)).status == "completed"
        if is_held:
            assert execution.get_status() == "failed"
            with pytest.raises(ConnectionError):
                await execution.async_get_result()
        assert await (await flow.async_resume(id, store=store)).async_get_result() == 2
    assert world.ran == [("first", 1), ("second", 1), ("second", 2), ("second", 3)]


async def reopen_only(flow: TriggerFlow, store: Any, id: str) -> None:
    """What `async_retry` does up to the append of the records."""
    from triggerflow.durable.executions.retrying import reopen

    runtime = flow._runtime  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    await reopen(runtime.program(), store, id, runtime.environment.now())


class Cancelling(MemoryStore):
    """Cancels the task that waits for the `at`-th call of one of its methods."""

    method, at = "", 0

    def _count(self, method: str) -> None:
        if method == self.method:
            self.at -= 1
            if not self.at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

    async def append(self, appends: Any) -> dict[str, int]:
        newest = await super().append(appends)
        self._count("append")
        await asyncio.sleep(0)
        return newest

    async def claim(self, execution: str) -> Any:
        row = await super().claim(execution)
        self._count("claim")
        await asyncio.sleep(0)
        return row

    async def find(self, execution: str) -> Any:
        self._count("find")
        await asyncio.sleep(0)
        return await super().find(execution)


@pytest.mark.parametrize(
    ("method", "at", "status"),
    [("claim", 1, "failed"), ("append", 1, "running"), ("find", 2, "running")],
)
async def test_a_retry_that_is_cancelled_leaves_it_to_any_process(method: str, at: int, status: str) -> None:
    world = World("second")
    flow = TriggerFlow("f")
    flow.to(world.work("first")).to(world.work("second")).end()
    data = MemoryData()
    async with Cancelling(data) as store:
        id = await failed(flow, store)
        world.broken.clear()
        store.method, store.at = method, at
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(flow.async_retry(id, store=store))
        row = await store.find(id)
        assert (row.status, row.owner) == (status, None)
        async with MemoryStore(data) as other:
            again = flow.async_retry if status == "failed" else flow.async_resume
            assert await (await again(id, store=other)).async_get_result() == 2


async def test_resources_that_are_none_leave_it_failed(opener: Opener) -> None:
    world = World("one")
    flow = TriggerFlow("f")
    flow.to(world.work("one")).end()
    async with opener() as store:
        id = await failed(flow, store)
        with pytest.raises(TypeError):
            await flow.async_retry(id, store=store, runtime_resources=5)  # type: ignore[arg-type]  # pyright: ignore
        row = await store.find(id)
        assert (row.status, row.owner) == ("failed", None)


# -- other definitions, compactions ----------------------------------------------------------------------------------


async def test_a_sub_flow_that_cannot_continue_is_found_before_anything_is_recorded(opener: Opener) -> None:
    world = World("work")

    def versions(name: str) -> TriggerFlow:
        child, flow = TriggerFlow("child"), TriggerFlow("f")
        child.to(world.work("first")).to((name, world.work("work")[1])).end()
        flow.to_sub_flow(child, name="step").end()
        return flow

    async with opener() as store:
        id = await failed(versions("work"), store)
        world.broken.clear()
        with pytest.raises(SnapshotError, match=r"/step.* was not retried"):
            await versions("renamed").async_retry(id, store=store)
        rows = [await store.find(id), *await store.executions(parent=id)]
        assert [(row.status, row.owner) for row in rows] == [("failed", None)] * 2
        assert await (await versions("work").async_retry(id, store=store)).async_get_result() == 2


def closing_flow(world: World, stop: asyncio.Event, *more: str) -> TriggerFlow:
    """After a failure it goes on closing until `stop` is set."""

    async def slow(data: Data) -> None:
        try:
            await asyncio.sleep(1000 if world.broken else 0)
        finally:
            if world.broken:
                await stop.wait()

    flow = TriggerFlow("f")
    flow.batch(("slow", slow), world.work("bad")).end()
    for name in more:
        flow.when(name).to(world.work(name))
    return flow


async def test_one_that_was_compacted_while_it_closed_is_refused(opener: Opener) -> None:
    world, stop = World("bad"), asyncio.Event()
    flow = closing_flow(world, stop)
    async with opener() as store:
        execution = flow.create_execution(store=store)
        await execution.async_begin(0)
        await asyncio.sleep(1)
        await flow.history(store).compact(execution.id)
        stop.set()
        with pytest.raises(ConnectionError):
            await execution.async_get_result()
        with pytest.raises(RecordsTrimmed, match="after the failure that ended it"):
            await flow.async_retry(execution.id, store=store)
        assert (await store.find(execution.id)).owner is None


async def test_one_that_was_moved_to_another_definition_while_it_closed_is_refused(opener: Opener) -> None:
    world, stop = World("bad"), asyncio.Event()
    async with opener() as store:
        execution = closing_flow(world, stop).create_execution(store=store)
        await execution.async_begin(0)
        await asyncio.sleep(1)
        stop.set()
        await execution.async_suspend()
        flow = closing_flow(world, stop, "other")
        ended = await flow.async_resume(execution.id, store=store)
        with pytest.raises(RemoteChunkError):
            await ended.async_get_result()
        with pytest.raises(SnapshotError, match="moved to another definition"):
            await flow.async_retry(execution.id, store=store)
        assert (await store.find(execution.id)).status == "failed"


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1])
async def test_open_questions_keep_the_time_that_they_had_left(opener: Opener, depth: int) -> None:
    world = World("bad")

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", expires=100)

    async def bad(data: Data) -> int:
        await asyncio.sleep(40 if data.attempt == 1 else 0)
        return await world.work("bad")[1](data)

    inner = TriggerFlow("inner")
    inner.batch(("ask", ask), ("bad", bad)).end()
    flow = inner
    if depth:
        flow = TriggerFlow("f")
        flow.to_sub_flow(inner, name="step").end()
    async with opener() as store:
        id = await failed(flow, store)
        await asyncio.sleep(1000)
        world.broken.clear()
        execution = await flow.async_retry(id, store=store)
        await asyncio.sleep(50)
        (question,) = execution.get_pending_interrupts()
        await execution.async_continue_with(question, "yes")
        assert await execution.async_get_result() == {"ask": "yes", "bad": 1}
        late = await failed_again(flow, store, world)
        await asyncio.sleep(70)
        assert not late.get_pending_interrupts()


async def failed_again(flow: TriggerFlow, store: Any, world: World) -> Any:
    world.broken.add("bad")
    id = await failed(flow, store)
    await asyncio.sleep(1000)
    world.broken.clear()
    return await flow.async_retry(id, store=store)


async def test_a_timer_of_the_execution_keeps_the_time_that_it_had_left(opener: Opener) -> None:
    fired: list[float] = []
    broken = [True]

    async def work(data: Data) -> int:
        await asyncio.sleep(40)
        if broken:
            raise ConnectionError
        return 1

    async def late(data: Data) -> None:
        fired.append(asyncio.get_running_loop().time())

    flow = TriggerFlow("f")
    flow.when({"timer": 60}).to(("late", late))
    flow.to(("work", work)).to(("more", work)).end()
    async with opener() as store:
        id = await failed(flow, store)
        await asyncio.sleep(1000)
        broken.clear()
        began = asyncio.get_running_loop().time()
        assert await (await flow.async_retry(id, store=store)).async_get_result() == 1
        assert [round(it - began) for it in fired] == [20]


async def test_a_question_that_is_asked_again_waits_for_its_turn(opener: Opener) -> None:
    flow = TriggerFlow("f")

    async def ask(data: Data) -> None:
        await data.async_put_into_stream("asking")
        data.pause_for(interrupt_id="q", expires=1 if data.attempt == 1 else 1000)

    async def slow(data: Data) -> None:
        await asyncio.sleep(100)

    flow.batch(("ask", ask), ("slow", slow)).end()
    async with opener() as store:
        execution = flow.create_execution(store=store, concurrency=1)
        with pytest.raises(Exception, match="nobody answered"):
            await execution.async_start(0)
        again = await flow.async_retry(execution.id, store=store)
        await asyncio.sleep(200)
        await again.async_continue_with("q", 5)
        assert await again.async_get_result() == {"ask": 5, "slow": None}
        assert [item async for item in flow.history(store).stream(again.id) if item == "asking"] == ["asking"]


# -- error routes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["source", "timeout", "expiry", "first"])
@pytest.mark.parametrize("retries", [1, 2])
async def test_an_error_route_that_was_at_work_whatever_has_failed(opener: Opener, case: str, retries: int) -> None:
    """Refused if chunks of a route that was at work have completed, also if no chunk has failed in it."""
    flow = TriggerFlow("f")
    ran: list[str] = []

    @flow.source
    async def lines() -> Any:
        yield 1
        raise KeyError("source")

    async def charge(data: Data) -> None:
        raise ConnectionError

    async def undo(data: Data) -> Any:
        ran.append("undo")
        return lines() if case == "source" else None

    async def slow(data: Data) -> None:
        await asyncio.sleep(1000)

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", expires=5)

    async def item(data: Data) -> int:
        return data.value

    flow.to(("charge", charge)).end()
    route = flow.on_error(("slow", slow) if case == "first" else ("undo", undo))
    if case == "source":
        route.for_each().to(("item", item)).end_for_each()
    elif case == "timeout":
        route.to(("slow", slow))
    elif case == "expiry":
        route.to(("ask", ask))
    async with opener() as store:
        execution = flow.create_execution(store=store, execution_timeout=10)
        with pytest.raises((KeyError, ExecutionTimedOut, InterruptExpired)):
            await execution.async_start(0)
        for number in range(retries):
            refused = case != "first"
            if refused:
                with pytest.raises(UsageError, match="force=True"):
                    await flow.async_retry(execution.id, store=store)
            again = await flow.async_retry(execution.id, store=store, force=refused)
            if number < retries - 1:
                with pytest.raises((KeyError, ExecutionTimedOut, InterruptExpired)):
                    await again.async_get_result()
    assert ran == ([] if case == "first" else ["undo"])
