"""What a service meets: answers that come twice or late, ids that are asked for again, stores that are not open."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.durable.conftest import Open
from tests.support import read
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import (
    AlreadyAnswered,
    BlockingCallError,
    ExecutionClosed,
    PayloadError,
    SnapshotError,
    UnknownExecution,
    UsageError,
)
from triggerflow.run.portal import run_sync
from triggerflow.stores import SQLiteStore

Data = TriggerFlowRuntimeData[Any]


async def ask(data: Data) -> None:
    data.pause_for(payload=data.value, interrupt_id="q")


def approval(*steps: str, first: str = "ask", name: str = "approval") -> TriggerFlow:
    """Asks, then adds the names of the steps to the answer."""
    flow = TriggerFlow(name=name)
    process = flow.to(flow.chunk(first)(ask))
    for step in steps:

        async def add(data: Data, step: str = step) -> str:
            return f"{data.value} {step}"

        process = process.to(flow.chunk(step)(add))
    process.end()
    return flow


async def asking(flow: TriggerFlow, store: Any, id: str = "run") -> Any:
    """An execution of the flow that has asked."""
    execution = flow.create_execution(id=id, store=store)
    await anext(aiter(execution.get_async_runtime_stream("page")))
    return execution


async def test_the_same_request_is_the_same_answer_after_the_end_too(open_store: Open) -> None:
    """S17: answers are idempotent by key; whether the click came again before or after the end is chance."""
    flow = approval("done")
    async with open_store() as store:
        execution = await asking(flow, store)
        first = await execution.async_continue_with("q", "yes", request_id="click")
        assert await execution.async_get_result() == "yes done"
        records = (await flow.history(store).executions())[0].records
        assert await execution.async_continue_with("q", "yes", request_id="click") == first
    async with open_store() as store:
        execution = await flow.async_resume("run", store=store)
        assert await execution.async_continue_with("q", "yes", request_id="click") == first
        for other in ("another", None):
            with pytest.raises(ExecutionClosed):
                await execution.async_continue_with("q", "no", request_id=other)
        assert (await flow.history(store).executions())[0].records == records


@pytest.mark.real_time
async def test_of_answers_from_many_threads_the_stream_tells_the_one_that_was_taken(open_store: Open) -> None:
    """S17 with S14, where a web server answers from its threads."""
    flow = approval("done")
    async with open_store() as store:
        execution = await asking(flow, store)

        def answer(number: int) -> bool:
            try:
                execution.continue_with("q", number, request_id=str(number))
            except (AlreadyAnswered, ExecutionClosed):
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            calls = [asyncio.wrap_future(pool.submit(answer, number)) for number in range(8)]
            taken = [number for number, was_taken in enumerate(await asyncio.gather(*calls)) if was_taken]
        assert await execution.async_get_result() == f"{taken[0]} done"
        items = await read(execution.get_async_runtime_stream())
        assert [it["interrupt"]["response"] for it in items if it["action"] == "resume"] == taken


async def test_an_answer_from_a_thread_that_comes_after_the_end_is_refused(open_store: Open) -> None:
    """S17: an execution that has ended takes no answer, whichever thread it comes from."""
    async with open_store() as store:
        execution = await asking(approval("done"), store)
        await execution.async_continue_with("q", "yes")
        await execution.async_get_result()
        with pytest.raises(ExecutionClosed):
            await asyncio.to_thread(execution.continue_with, "q", "no", request_id="late")


async def test_an_answer_that_cannot_be_recorded_is_named_as_one(open_store: Open) -> None:
    """S19: "a clear error that names" the place; the question stays open."""
    async with open_store() as store:
        execution = await asking(approval("done"), store)
        with pytest.raises(PayloadError, match="answer to interrupt 'q' of <Execution run"):
            await execution.async_continue_with("q", object())
        await execution.async_continue_with("q", "yes")
        assert await execution.async_get_result() == "yes done"


async def test_what_is_not_there_to_resume_can_be_made(open_store: Open) -> None:
    """ "Resume it, else create it": the handle that found nothing does not stand in the way."""
    flow = TriggerFlow(name="echo")
    flow.to(lambda data: data.value).end()
    async with open_store() as store:
        try:
            await flow.async_resume("run", store=store)
        except UnknownExecution:
            assert await flow.create_execution(id="run", store=store).async_start(3) == 3


async def test_an_id_of_another_flow_is_refused_here_too(open_store: Open) -> None:
    """Two flows in one store never get each other's executions, also while those run in this very process."""
    async with open_store() as store:
        execution = await asking(approval(), store)
        with pytest.raises(UsageError, match="belongs to flow 'approval', but this is flow 'other'"):
            approval(name="other").create_execution(id="run", store=store)
        await execution.async_continue_with("q", 1)


async def test_a_flow_that_changed_takes_effect_on_what_was_let_go_of(open_store: Open) -> None:
    """S20 within one process: a handle that somebody still holds goes on under the definition it is resumed with."""
    async with open_store() as store:
        held = await asking(approval("old"), store)
        with pytest.raises(UsageError, match="another definition"):
            await approval("new").async_resume("run", store=store)
        await held.async_suspend()
        moved = await approval("new").async_resume("run", store=store)
        assert moved == held
        await moved.async_continue_with("q", "yes")
        assert await moved.async_get_result() == "yes new"


async def test_a_missing_map_names_the_execution_and_the_option(open_store: Open) -> None:
    """S20: what has to be given where, and what it may look like."""
    changed = approval("done", first="inquire")
    async with open_store() as store:
        held = await asking(approval("done"), store)
        await held.async_suspend()
        with pytest.raises(SnapshotError, match=r"<Execution run .*operator_map .*\{'ask': 'inquire'\}"):
            await changed.async_resume("run", store=store)
        moved = await changed.async_resume("run", store=store, operator_map={"ask": "inquire"})
        await moved.async_continue_with("q", "yes")
        assert await moved.async_get_result() == "yes done"


async def test_what_is_no_store_and_what_is_no_id_are_refused(open_store: Open) -> None:
    """Misuse is a `UsageError` at once."""
    flow = approval()
    with pytest.raises(UsageError, match=r"SQLiteStore\('runs.db'\)"):
        flow.create_execution(store="runs.db")  # pyright: ignore[reportArgumentType]
    async with open_store() as store:
        with pytest.raises(UsageError, match="string; got 5"):
            flow.create_execution(store=store, id=5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("id", [None, "run"])
async def test_a_store_that_is_not_open_says_so(open_store: Open, id: str | None) -> None:
    """Forgetting `async with` is the caller's mistake, not a commit that failed."""
    with pytest.raises(UsageError, match="is not open; use it inside `async with store:`"):
        await approval().create_execution(store=open_store(), id=id).async_start(1)


def test_a_script_without_asyncio_opens_a_store_and_resumes(tmp_path: Path) -> None:
    """S13: "Every async entry has a sync twin for scripts"."""
    flow = approval("done")
    with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as store:
        flow.set_store(store)
        execution = flow.create_execution(id="run")
        next(execution.get_runtime_stream("page"))
    with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as store:
        execution = flow.resume("run", store=store)
        execution.continue_with("q", "yes")
        assert execution.get_result() == "yes done"


def test_an_answer_of_a_script_is_on_disk_and_opens_what_was_parked(tmp_path: Path) -> None:
    """S13: the sync twin does what `async_continue_with` does, also for a handle that was let go of."""
    flow = approval("done")
    with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as store:
        execution: Any = flow.create_execution(id="run", store=store)
        next(execution.get_runtime_stream("page"))
        run_sync(execution.async_suspend, "async_suspend")
        assert execution.continue_with("q", "yes")["response"] == "yes"
        stands = run_sync(lambda: flow.history(store).state_at("run"), "state_at")
        assert not stands.interrupts
        assert execution.get_result() == "yes done"
        assert execution.committed(execution.get_status) == "completed"


async def test_an_answer_inside_a_loop_is_awaited(open_store: Open) -> None:
    """S13: "from inside a running loop the twin raises a clear error instead of blocking it"."""
    async with open_store() as store:
        execution = await asking(approval("done"), store)
        with pytest.raises(BlockingCallError, match="async_continue_with"):
            execution.continue_with("q", "yes")
        assert list(execution.get_pending_interrupts()) == ["q"]


async def test_with_inside_a_loop_names_async_with(open_store: Open) -> None:
    """S13: it raises instead of blocking the loop."""
    with pytest.raises(BlockingCallError, match="async with"), open_store():
        pass
