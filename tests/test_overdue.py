"""Timers that came due while no process ran an execution, and its time limit that was among them."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import stores_over
from tests.support import now
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import ExecutionTimedOut, RemoteChunkError
from triggerflow.stores import MemoryData, MemoryStore

Data = TriggerFlowRuntimeData[Any]
HOUR = 3_600.0
LIMIT = 48 * HOUR


class Processes:
    """An execution in one process after another: `begin` starts it in the first, `go_on` continues it in the next."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        if kind != "saved":
            self.store = stores_over(kind, path)
        self._saved: Any = None

    async def begin(self, flow: TriggerFlow, **options: Any) -> None:
        if self.kind == "saved":
            execution = flow.create_execution(**options)
            await execution.async_begin()
            await asyncio.sleep(1)
            self._saved = execution.save()
            await execution.async_cancel()
            return
        async with self.store() as store:
            await flow.create_execution(id="run", store=store, **options).async_begin()
            await asyncio.sleep(1)

    async def go_on(self, flow: TriggerFlow) -> Any:
        """Its result, or the type of what it raises."""
        if self.kind == "saved":
            return await self._outcome(flow.load_execution(self._saved))
        async with self.store() as store:
            execution = await flow.async_resume("run", store=store)
            return await self._outcome(execution)

    async def _outcome(self, execution: Any) -> Any:
        try:
            return await execution.async_get_result()
        except (ExecutionTimedOut, RemoteChunkError) as error:
            return type(error)


@pytest.fixture(params=["saved", "memory", "sqlite", "postgres"])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Processes:
    return Processes(request.param, tmp_path)


def noting(seen: list[Any], what: Callable[[Data], Any]) -> Callable[[Data], Any]:
    async def note(data: Data) -> None:
        seen.append(what(data))

    return note


def reserving(seen: list[Any], *, takes: float = 0) -> TriggerFlow:
    """The flow of a reservation: a reminder after 1 h, an expiry after 24 h whose error route releases it."""
    flow = TriggerFlow("reserving", execution_timeout=LIMIT)

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        await data.async_emit("remind", delay=HOUR, keeps_open=False)
        await data.async_emit("too late", delay=LIMIT + 600, keeps_open=False)
        data.pause_for(interrupt_id="q", expires=24 * HOUR)

    @flow.chunk("release")
    async def release(data: Data) -> str:
        await asyncio.sleep(takes)
        seen.append("released")
        return "released"

    flow.to(ask).end()
    flow.when("remind").to(("note", noting(seen, lambda data: "reminded")))
    flow.when("too late").to(("never", noting(seen, lambda data: "too late")))
    flow.on_error(release).end()
    return flow


@pytest.mark.parametrize("hours", [1, 30, 47, 49, 500])
async def test_what_was_due_before_the_time_limit_happens_first(processes: Processes, hours: float) -> None:
    """ "What was due meanwhile happens as soon as a process does", in the order of the due times."""
    seen: list[Any] = []
    flow = reserving(seen)
    await processes.begin(flow)
    await asyncio.sleep(hours * HOUR)
    assert await processes.go_on(flow) == "released"
    assert seen == ["reminded", "released"]
    assert now() == pytest.approx(max(hours, 24) * HOUR, abs=10)


@pytest.mark.parametrize(("takes", "outcome"), [(2, "released"), (30, ExecutionTimedOut)])
async def test_what_was_due_has_the_time_of_a_clean_up(processes: Processes, takes: float, outcome: Any) -> None:
    """ "What they start has `cleanup_timeout` seconds, then the execution fails at its limit"."""
    seen: list[Any] = []
    flow = reserving(seen, takes=takes)
    await processes.begin(flow, cleanup_timeout=5)
    await asyncio.sleep(50 * HOUR)
    assert await processes.go_on(flow) == outcome
    assert seen == ["reminded", *(["released"] if outcome == "released" else [])]
    assert now() == pytest.approx(50 * HOUR + min(takes, 5), abs=4)


@pytest.mark.parametrize("what", ["timer", "delay", "retry", "several"])
async def test_every_kind_of_timer_happens_before_the_limit(processes: Processes, what: str) -> None:
    seen: list[Any] = []
    flow = TriggerFlow("kinds", execution_timeout=LIMIT)

    async def asks(data: Data) -> None:
        if what == "several":
            for hours in (5, 2, 9, 7):
                await data.async_emit("later", hours, delay=hours * HOUR)
        if what == "delay":
            await data.async_emit("later", 1, delay=HOUR)
        data.pause_for(interrupt_id="q")

    async def fails(data: Data) -> None:
        if data.attempt == 1:
            raise ValueError("try again")
        seen.append(1)

    if what == "retry":
        flow.to(flow.chunk("fails", retry=Retry(3, initial_interval=HOUR, maximum_interval=HOUR, jitter=0))(fails))
    flow.to(("asks", asks))
    note = ("note", noting(seen, lambda data: data.value or 1))
    flow.when({"timer": HOUR} if what == "timer" else "later").to(note)
    await processes.begin(flow)
    await asyncio.sleep(49 * HOUR)
    assert await processes.go_on(flow) is ExecutionTimedOut
    assert seen == ([2, 5, 7, 9] if what == "several" else [1])


@pytest.mark.parametrize("limited", ["outer", "inner", "neither"])
async def test_a_sub_flow_is_not_overtaken_either(processes: Processes, limited: str) -> None:
    seen: list[Any] = []
    inner = TriggerFlow("inner", execution_timeout=LIMIT if limited == "inner" else None)

    @inner.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", expires=24 * HOUR)

    @inner.chunk("release")
    async def release(data: Data) -> str:
        seen.append("released")
        return "released"

    inner.to(ask).end()
    inner.on_error(release).end()
    outer = TriggerFlow("outer", execution_timeout=LIMIT if limited == "outer" else None)
    outer.to_sub_flow(inner, name="inner").end()
    await processes.begin(outer)
    await asyncio.sleep(49 * HOUR)
    assert await processes.go_on(outer) == "released"
    assert seen == ["released"]


async def test_the_limit_moves_once() -> None:
    """A process that dies again and again cannot put the limit off again and again."""
    inner, outer = TriggerFlow("inner"), TriggerFlow("outer", execution_timeout=LIMIT)

    async def asks(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    inner.to(asks)
    outer.to_sub_flow(inner, name="inner").end()
    data = MemoryData()
    async with MemoryStore(data) as store:
        await outer.create_execution(id="run", store=store).async_begin()
        await asyncio.sleep(1)
    await asyncio.sleep(49 * HOUR)
    begun = now()
    async with MemoryStore(data) as store:
        await outer.async_resume("run", store=store)
        await asyncio.sleep(1)
    await asyncio.sleep(60)
    async with MemoryStore(data) as store:
        execution = await outer.async_resume("run", store=store)
        with pytest.raises(ExecutionTimedOut, match="had not ended 172800 s"):
            await execution.async_get_result()
    assert now() - begun < 70


async def test_work_that_runs_at_the_limit_is_not_given_more_time() -> None:
    """Only what came late because no process was there."""
    flow = TriggerFlow(execution_timeout=20)
    seen: list[Any] = []

    async def works(data: Data) -> None:
        await asyncio.sleep(100)

    flow.to(works)
    flow.when({"timer": 19}).to(("late", noting(seen, lambda data: now())))
    with pytest.raises(ExecutionTimedOut):
        await flow.async_start()
    assert seen == [pytest.approx(19, abs=0.5)]
    assert now() == pytest.approx(20, abs=0.5)


@pytest.mark.real_time
async def test_a_loop_that_was_blocked_is_late_in_the_same_way() -> None:
    flow = TriggerFlow(execution_timeout=0.2)

    async def blocks(data: Data) -> None:
        time.sleep(0.4)  # noqa: ASYNC251 - it blocks the loop of the execution

    async def in_time(data: Data) -> str:
        await asyncio.sleep(0)
        return "in time"

    flow.to(blocks)
    flow.when({"timer": 0.1}).to(("in time", in_time)).end()
    assert await flow.async_start() == "in time"


async def test_a_worker_lets_what_was_due_happen_first() -> None:
    seen: list[Any] = []
    flow = reserving(seen)
    data = MemoryData()
    async with MemoryStore(data) as store:
        await flow.create_execution(id="run", store=store).async_begin()
        await asyncio.sleep(1)
    await asyncio.sleep(60 * HOUR)
    async with MemoryStore(data) as store, Worker(store, flow, poll=1_000):
        await asyncio.sleep(60)
        assert seen == ["reminded", "released"]
        assert await flow.create_execution(id="run", store=store).async_get_result() == "released"
