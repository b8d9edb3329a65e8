"""A worker: what it takes up, what it lets go of, and what does not stop it.

The store's clock is the loop's: hours pass at once. `CleanupTimedOut` stands for a process that died.
"""

import asyncio
import gc
import logging
import sqlite3
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import Gauge, read
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.durable.executions.stored import stored_of
from triggerflow.errors import (
    DefinitionError,
    ExecutionClosed,
    ExecutionSuspended,
    StoreUnavailable,
    UnknownInterrupt,
    UsageError,
)
from triggerflow.extension import runtime_of
from triggerflow.run.environment import machine_time
from triggerflow.stores import MemoryStore, SQLiteStore
from triggerflow.stores.memory import MemoryData
from triggerflow.stores.protocol import FINAL_STATUSES, Store

Data = TriggerFlowRuntimeData[Any]


@asynccontextmanager
async def opened(data: MemoryData, *flows: TriggerFlow, **options: Any) -> AsyncIterator[tuple[MemoryStore, Worker]]:
    """A process: its own opened store over the data that all share, and its worker."""
    async with MemoryStore(data) as store, Worker(store, *flows, **options) as worker:
        yield store, worker


async def started(flow: TriggerFlow, store: Store, id: str, value: Any = None) -> Execution:
    """An execution that is running, its start on disk."""
    execution: Any = flow.create_execution(id=id, store=store)
    await execution.async_open()
    execution.begin(value)
    await runtime_of(execution).log.wait_committed()
    return execution


async def come(condition: Callable[[], Any], seconds: float = 100) -> None:
    """Wait until something holds. Virtual seconds, unless the test is `real_time`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def status_of(store: Store, id: str) -> str:
    row = await store.find(id)
    assert row is not None
    return row.status


async def ended(store: Store, id: str, seconds: float = 100) -> str:
    """Wait until an execution stands as ended in its store."""
    async with asyncio.timeout(seconds):
        while (status := await status_of(store, id)) not in FINAL_STATUSES:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return status


def asking() -> TriggerFlow:
    """Asks, and ends with the answer."""
    flow = TriggerFlow(name="asking")

    async def ask(data: Data) -> None:
        await data.async_put_into_stream("asked")
        data.pause_for(interrupt_id="question", payload=data.value)

    async def use(data: Data) -> Any:
        return data.value

    flow.to(ask).to(use).end()
    return flow


def resting(seconds: float) -> TriggerFlow:
    """Waits for a timer, and ends."""
    flow = TriggerFlow(name="resting")

    async def rest(data: Data) -> None:
        await data.async_emit("rested", data.value, delay=seconds)

    async def wake(data: Data) -> Any:
        return data.value

    flow.to(rest)
    flow.when("rested").to(wake).end()
    return flow


def working(work: Callable[[Data], Any]) -> TriggerFlow:
    """One chunk, which does the work, and ends with it."""
    flow = TriggerFlow(name="working")
    flow.to(("work", work)).end()
    return flow


# -- taking up -------------------------------------------------------------------------------------------------------


async def test_what_a_dead_process_left_behind_is_taken_up_at_the_start() -> None:
    data, attempts = MemoryData(), list[tuple[str, int]]()
    hang = True

    async def work(chunk: Data) -> Any:
        attempts.append((chunk.run_id, chunk.attempt))
        if hang:
            await asyncio.sleep(10**9)
        return chunk.value

    flow = working(work)
    async with MemoryStore(data) as dead:
        for number in range(3):
            await started(flow, dead, f"run-{number}", number)
        await come(lambda: len(attempts) == 3)
        dead.crash()
        await asyncio.sleep(31)  # its lease
        hang = False
        async with opened(data, working(work)) as (store, _):
            for number in range(3):
                assert await ended(store, f"run-{number}") == "completed"
    assert sorted(attempts) == sorted((f"run-{number}:1", attempt) for number in range(3) for attempt in (1, 2))


async def test_what_another_process_leaves_behind_later_is_found_by_looking() -> None:
    data = MemoryData()

    async def work(chunk: Data) -> Any:
        if chunk.attempt == 1:
            await asyncio.sleep(10**9)
        return chunk.value

    async with opened(data, working(work), poll=5) as (store, worker), MemoryStore(data) as dead:
        await started(working(work), dead, "run", 7)
        dead.crash()
        begun = asyncio.get_running_loop().time()
        assert worker.running == 0
        assert await ended(store, "run") == "completed"
        assert 30 <= asyncio.get_running_loop().time() - begun < 36


async def test_flows_it_was_not_given_are_left_alone() -> None:
    data = MemoryData()

    async def work(chunk: Data) -> None:
        await asyncio.sleep(10**9)

    async with MemoryStore(data) as dead:
        await started(working(work), dead, "run")
        dead.crash()
        async with opened(data, asking()) as (store, worker):
            await asyncio.sleep(100)
            assert worker.running == 0
            row = await store.find("run")
            assert row is not None
            assert row.owner is None


async def test_no_more_run_at_once_than_it_may_take() -> None:
    data, gauge = MemoryData(), Gauge()

    async def work(chunk: Data) -> None:
        if chunk.attempt > 1:
            with gauge.inside():
                await asyncio.sleep(1)
        else:
            await asyncio.sleep(10**9)

    async with MemoryStore(data) as dead:
        for number in range(10):
            await started(working(work), dead, f"run-{number}")
        dead.crash()
        await asyncio.sleep(31)
        async with opened(data, working(work), at_once=3) as (store, worker):
            assert worker.running == 3
            for number in range(10):
                assert await ended(store, f"run-{number}") == "completed"
    assert gauge.total == 10
    assert gauge.peak == 3


# -- parking ---------------------------------------------------------------------------------------------------------


async def test_a_parked_execution_leaves_the_memory() -> None:
    async with opened(MemoryData(), flow := asking()) as (store, worker):
        execution = await started(flow, store, "run")
        here = weakref.ref(execution)
        del execution
        await asyncio.sleep(1)
        gc.collect()
        assert here() is None
        assert worker.running == 0
        row = await store.find("run")
        assert row is not None
        assert (row.status, row.owner, row.due) == ("waiting", None, None)


async def test_an_answer_opens_a_parked_execution_again() -> None:
    async with opened(MemoryData(), flow := asking()) as (store, worker):
        execution = await started(flow, store, "run", "why?")
        await come(lambda: not stored_of(runtime_of(execution)).runs_here)
        again = await flow.async_resume("run", store=store)
        assert again == execution
        assert again.get_pending_interrupts()["question"]["payload"] == "why?"
        await again.async_continue_with("question", "because")
        assert await again.async_get_result() == "because"
        assert [item for item in await read(again.get_async_runtime_stream()) if item == "asked"] == ["asked"]
        await come(lambda: worker.running == 0)


async def test_an_answer_may_be_given_in_another_process() -> None:
    data = MemoryData()
    async with opened(data, flow := asking()) as (store, _), opened(data, other := asking()) as (elsewhere, _):
        execution = await started(flow, store, "run")
        await come(lambda: not stored_of(runtime_of(execution)).runs_here)
        there = await other.async_resume("run", store=elsewhere)
        await there.async_continue_with("question", 5)
        assert await there.async_get_result() == 5
        assert await execution.async_get_result() == 5  # this handle opens again, and finds that it has ended


async def test_who_waits_for_a_result_keeps_the_execution_in_memory() -> None:
    async with opened(MemoryData(), flow := asking()) as (store, worker):
        execution = await started(flow, store, "run")
        waiter = asyncio.create_task(execution.async_get_result())
        await asyncio.sleep(10)
        assert stored_of(runtime_of(execution)).runs_here
        assert worker.running == 1
        await execution.async_continue_with("question", 1)
        assert await waiter == 1


async def test_parked_executions_wake_when_their_time_comes() -> None:
    """However seldom the worker looks: it knows when the next one is due."""
    async with MemoryStore() as store, Worker(store, flow := resting(130), poll=6000) as worker:
        begun = machine_time()
        for number in range(3):
            await started(flow, store, f"run-{number}", number)
        await come(lambda: not worker.running, 50)
        row = await store.find("run-0")
        assert row is not None
        assert (row.status, row.owner) == ("waiting", None)
        assert row.due == pytest.approx(begun + 130, abs=1)
        for number in range(3):
            assert await ended(store, f"run-{number}", 1000) == "completed"
        assert 130 <= machine_time() - begun < 132


# -- one owner -------------------------------------------------------------------------------------------------------


async def test_two_workers_never_run_one_execution_at_once() -> None:
    """Clients answer in either process, whichever comes first; each chunk runs in one of them only."""
    data, inside, seen = MemoryData(), set[str](), list[tuple[str, int]]()

    def flow() -> TriggerFlow:
        made = TriggerFlow(name="turns")

        @made.chunk("turn")
        async def turn(chunk: Data) -> Any:
            id, number = chunk.execution_id, chunk.value
            assert id not in inside
            inside.add(id)
            await asyncio.sleep(0.05)
            inside.remove(id)
            seen.append((id, number))
            if number < 4:
                chunk.pause_for(interrupt_id=f"question-{number}", payload=number, resume_event="again")
            await chunk.async_set_result(number)

        made.to(turn)
        made.when("again").to(turn)
        return made

    async with opened(data, one := flow()) as (store, _), opened(data, two := flow()) as (other, _):
        assert store.owner != other.owner
        for number in range(20):
            await started(one, store, f"run-{number}", 0)

        async def client(id: str, flow: TriggerFlow, store: Store, number: int) -> None:
            while True:
                try:
                    execution = await flow.async_resume(id, store=store)
                    await execution.async_continue_with(f"question-{number}", number + 1, request_id=f"{id}/{number}")
                except (UnknownInterrupt, ExecutionSuspended):  # not asked yet; left while this one came
                    pass
                except ExecutionClosed:
                    return
                else:
                    return
                await asyncio.sleep(0.01)

        for number in range(4):
            clients = [
                client(f"run-{run}", *place, number) for run in range(20) for place in ((one, store), (two, other))
            ]
            await asyncio.gather(*clients)
        for number in range(20):
            assert await ended(store, f"run-{number}") == "completed"
    assert sorted(seen) == sorted((f"run-{run}", turn) for run in range(20) for turn in range(5))


async def test_a_store_has_one_worker_in_a_process() -> None:
    async with opened(MemoryData(), asking()) as (store, _):
        with pytest.raises(UsageError, match="has a worker already"):
            async with Worker(store, asking()):
                pass


async def test_a_worker_that_could_not_begin_is_no_worker() -> None:
    store = MemoryStore()
    with pytest.raises(UsageError, match="is not open"):
        async with Worker(store, asking()):
            pass
    async with store, Worker(store, asking()) as worker:
        assert worker.running == 0


async def test_a_worker_needs_flows_with_names_of_their_own() -> None:
    async with MemoryStore() as store:
        with pytest.raises(UsageError, match="at least one flow"):
            Worker(store)
        with pytest.raises(UsageError, match="two flows of the name 'asking'; each needs one of its own"):
            Worker(store, asking(), asking())
        with pytest.raises(UsageError, match="needs a name"):
            Worker(store, TriggerFlow())


async def test_a_worker_refuses_what_would_run_nothing() -> None:
    flow: Any = asking()
    async with MemoryStore() as store:
        with pytest.raises(UsageError, match=r"a store is needed, such as an opened SQLiteStore\('runs.db'\)"):
            Worker(flow, store)
        not_a_flow: Any = "asking"
        with pytest.raises(UsageError, match=r"Worker\(store, flow\); got 'asking' as flow"):
            Worker(store, not_a_flow)
        for options in ({"at_once": 0}, {"at_once": "many"}, {"poll": 0}, {"poll": -1.0}, {"poll": "1 s"}):
            wrong: Any = options
            with pytest.raises(DefinitionError, match=f"{next(iter(options))} must be a"):
                Worker(store, flow, **wrong)


async def test_a_worker_logs_when_it_begins_and_drains(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "triggerflow")
    async with MemoryStore() as store, Worker(store, asking()) as worker:
        await worker.drain(grace=3)
    begun, drains = (record.getMessage() for record in caplog.records)
    assert begun == f"a worker runs executions of 'asking' in {store!r}"
    assert drains == f"the worker of {store!r} drains: 0 executions, whose chunks have 3 s"


async def test_one_that_is_slow_to_open_holds_up_nobody() -> None:
    """What is claimed is opened at once: one has to wait for chunks of its last life that are slow to stop."""
    opened_at = dict[str, float]()

    class Slow:
        """A flow of which one execution takes long to open."""

        def __init__(self, flow: TriggerFlow) -> None:
            self.flow, self.name = flow, flow.name

        async def async_resume(self, id: str, *, store: Store) -> Execution:
            if id == "slow":
                await asyncio.sleep(60)
            execution = await self.flow.async_resume(id, store=store)
            opened_at[id] = asyncio.get_running_loop().time()
            return execution

    async def work(chunk: Data) -> Any:
        if chunk.attempt == 1 and chunk.execution_id != "late":
            await asyncio.sleep(10**9)
        return chunk.value

    flow, data = working(work), MemoryData()
    async with MemoryStore(data) as dead:
        for id in ("slow", "first", "second"):
            await started(flow, dead, id)
        async with MemoryStore(data) as store, Worker(store, Slow(flow), poll=1):
            dead.crash()
            begun = asyncio.get_running_loop().time()
            for id in ("first", "second"):
                assert await ended(store, id) == "completed"
            await asyncio.sleep(5)
            assert "slow" not in opened_at
            async with MemoryStore(data) as third:  # what comes meanwhile is taken up, too
                await started(flow, third, "late")
                third.crash()
            assert await ended(store, "late") == "completed"
            assert "slow" not in opened_at
            assert await ended(store, "slow") == "completed"
            assert opened_at["slow"] - begun < 100


async def test_a_worker_that_leaves_while_it_opens_gives_everything_back() -> None:
    """Cancelled openings leave nothing claimed."""
    data, asked = MemoryData(), list[str]()

    class Hanging:
        name = "working"

        async def async_resume(self, id: str, *, store: Store) -> Execution:
            asked.append(id)
            await asyncio.sleep(10**9)
            raise AssertionError

    async def work(chunk: Data) -> Any:
        if chunk.attempt == 1:
            await asyncio.sleep(10**9)
        return chunk.value

    flow = working(work)
    async with MemoryStore(data) as store:
        async with MemoryStore(data) as dead, Worker(store, Hanging(), poll=1, at_once=2):
            for number in range(3):
                await started(flow, dead, f"run-{number}")
            dead.crash()
            await come(lambda: len(asked) == 2)
            await asyncio.sleep(100)
            assert len(asked) == 2  # its limit
        async with opened(data, working(work)) as (other, _):
            for number in range(3):
                assert await ended(other, f"run-{number}") == "completed"


# -- what does not stop it -------------------------------------------------------------------------------------------


async def test_what_cannot_be_run_is_told_once_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    data = MemoryData()

    def flow(name: str, hang: bool) -> TriggerFlow:
        made = TriggerFlow(name="changing")

        async def work(chunk: Data) -> Any:
            if hang:
                await asyncio.sleep(10**9)
            return chunk.value

        made.to((name, work)).end()
        return made

    async with MemoryStore(data) as dead:
        await started(flow("old name", hang=True), dead, "old")
        await started(flow("new name", hang=True), dead, "new", 3)
        dead.crash()
        await asyncio.sleep(31)
        with caplog.at_level(logging.ERROR, "triggerflow"):
            async with opened(data, flow("new name", hang=False), poll=1) as (store, worker):
                assert await ended(store, "new") == "completed"
                await asyncio.sleep(300)
                assert worker.running == 0
                row = await store.find("old")
                assert row is not None
                assert (row.status, row.owner) == ("running", None)  # another worker may be able to
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 1
        assert "'old'" in told[0]
        assert "'changing'" in told[0]
        caplog.clear()
        async with opened(data, flow("old name", hang=False)) as (store, _):  # nothing of it was spoilt
            assert await ended(store, "old") == "completed"


async def test_a_flow_that_fails_in_an_unforeseen_way_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    data = MemoryData()

    class Broken:
        """A flow of somebody else's."""

        name = "broken"

        async def async_resume(self, id: str, *, store: Store) -> Execution:
            raise ZeroDivisionError(id)

    async def work(chunk: Data) -> Any:
        await asyncio.sleep(10**9)

    broken, sound = TriggerFlow(name="broken"), working(work)
    broken.to(("work", work))
    async with MemoryStore(data) as dead:
        await started(broken, dead, "first")
        await started(sound, dead, "second")
        dead.crash()
        await asyncio.sleep(31)
        with caplog.at_level(logging.ERROR, "triggerflow"):
            async with MemoryStore(data) as store, Worker(store, Broken(), sound, poll=1) as worker:
                await come(lambda: worker.running == 1)
                await asyncio.sleep(100)
                row = await store.find("first")
                assert row is not None
                assert row.owner is None
    assert [record.getMessage() for record in caplog.records if "cannot run" in record.getMessage()] == [
        "the worker cannot run execution 'first' of flow 'broken'"
    ]


async def test_leaving_suspends_and_gives_back() -> None:
    data, cleaned = MemoryData(), list[str]()

    async def work(chunk: Data) -> Any:
        try:
            if chunk.attempt == 1:
                await asyncio.sleep(10**9)
        finally:
            cleaned.append(chunk.execution_id)
        return chunk.value

    async with MemoryStore(data) as store:
        async with Worker(store, flow := working(work)):
            executions = [await started(flow, store, f"run-{number}", number) for number in range(3)]
            waiter = asyncio.create_task(executions[0].async_get_result())
            await asyncio.sleep(1)
        with pytest.raises(ExecutionSuspended, match="its worker stops"):
            await waiter
        await asyncio.sleep(1)
        assert cleaned == ["run-0", "run-1", "run-2"]
        for execution in executions:
            row = await store.find(execution.id)
            assert row is not None
            assert (row.status, row.owner) == ("running", None)
        async with opened(data, working(work)) as (other, _):  # while the first store is still open
            for number in range(3):
                assert await ended(other, f"run-{number}") == "completed"


async def test_what_somebody_cancels_here_goes_on_here() -> None:
    """A cancelled task is no cancelled execution, and nobody else would take it up while this process lives."""
    tasks: list[asyncio.Task[Any] | None] = []

    async def work(chunk: Data) -> Any:
        tasks.append(asyncio.current_task())
        if chunk.attempt == 1:
            await asyncio.sleep(10**9)
        return chunk.value

    async with opened(MemoryData(), flow := working(work)) as (store, _):
        execution = await started(flow, store, "run", 8)
        await come(lambda: tasks)
        assert tasks[0] is not None
        tasks[0].cancel()
        assert await ended(store, "run") == "completed"
        assert await execution.async_get_result() == 8


@pytest.mark.real_time
async def test_a_store_that_fails_for_a_while_stops_nothing_for_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else locks the file for longer than the store waits: who waited is told, and the work goes on later."""
    path = tmp_path / "runs.db"
    turns = 0

    async def work(chunk: Data) -> Any:
        nonlocal turns
        for _ in range(3):
            turns += 1
            await chunk.async_emit("turned")
            await asyncio.sleep(0.05)
        return chunk.value

    flow = working(work)
    flow.when("turned").to(("heard", lambda data: None))
    async with SQLiteStore(path, busy_timeout=0.05) as store, Worker(store, flow, poll=0.05):
        with caplog.at_level(logging.CRITICAL, "triggerflow"):
            execution = await started(flow, store, "run", 5)
            waiter = asyncio.create_task(execution.async_get_result())
            await come(lambda: turns, 5)
            with closing(sqlite3.connect(path, isolation_level=None)) as rude:
                rude.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreUnavailable, match="locked"):
                    await waiter
                assert not stored_of(runtime_of(execution)).runs_here
                await asyncio.sleep(0.3)
                rude.execute("ROLLBACK")
        assert await ended(store, "run", 10) == "completed"
        assert await (await flow.async_resume("run", store=store)).async_get_result() == 5
        emitted = [data for _, data in await store.records("run") if b'"record":"emitted"' in data]
        assert len(emitted) == 3
