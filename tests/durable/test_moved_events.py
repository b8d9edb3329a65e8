"""The code changes while an execution waits: what it will fire is heard under the new definition, or the move is
refused with a map. An answer is never taken and lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import ExecutionSuspended, SnapshotError

Open = Callable[..., Any]


def made(how: str, name: str = "approved", extra: bool = False) -> TriggerFlow:
    """A flow whose chunk asks, or sends a delayed signal, or that has a timer; what comes of it goes to a `when`."""
    flow = TriggerFlow("moving")

    @flow.chunk("begin")
    async def begin(data: Any) -> None:
        if how == "interrupt":
            data.pause_for(interrupt_id="q", resume_event="approved")
        elif how == "signal":
            await data.async_emit("approved", "Ada", delay=100)

    async def out(data: Any) -> None:
        await data.async_set_result(f"published {data.value}")

    flow.to(begin)
    if name:
        flow.when({"timer": float(name)} if how == "timer" else name).to(out, name="out")
    if extra:
        flow.when("something else").to(out, name="out of something else")
    return flow


async def waiting(flow: TriggerFlow, store: Any) -> None:
    execution = flow.create_execution(store=store, id="x")
    await execution.async_begin("Ada")
    await asyncio.sleep(1)
    await execution.async_suspend()


async def finished(execution: Any, how: str) -> Any:
    if how == "interrupt":
        await execution.async_continue_with("q", "Ada")
    return await execution.async_get_result(timeout=1000)


CASES = [("interrupt", "approved", "approved_2"), ("signal", "approved", "approved_2"), ("timer", "100.0", "200.0")]


def key(how: str, name: str) -> str:
    return f"{'timer' if how == 'timer' else 'event'}:{name}"


@pytest.mark.parametrize(("how", "old", "new"), CASES)
async def test_a_move_that_would_lose_it_is_refused_with_a_map(open_store: Open, how: str, old: str, new: str) -> None:
    async with open_store() as store:
        await waiting(made(how, old), store)
        flow = made(how, new)
        form = {key(how, old): key(how, new)}
        with pytest.raises(SnapshotError) as refused:
            await flow.async_resume("x", store=store)
        assert str(form) in str(refused.value)
        assert (await store.find("x")).owner is None
        execution = await flow.async_resume("x", store=store, operator_map=form)
        assert await finished(execution, how) == "published Ada"


@pytest.mark.parametrize(("how", "old", "new"), CASES)
async def test_a_map_that_names_what_nobody_hears_is_refused(open_store: Open, how: str, old: str, new: str) -> None:
    async with open_store() as store:
        await waiting(made(how, old), store)
        flow = made(how, new)
        for wrong in ("event:nobody", "timer:3.0", "nobody", "out"):
            with pytest.raises(SnapshotError, match="to which no operator listens"):
                await flow.async_resume("x", store=store, operator_map={key(how, old): wrong})
        with pytest.raises(SnapshotError, match="need no map"):
            await flow.async_resume("x", store=store, operator_map={key(how, old): key(how, new), "event:y": "event:z"})


async def test_without_a_likely_replacement_the_map_names_it(open_store: Open) -> None:
    async with open_store() as store:
        await waiting(made("interrupt"), store)
        flow = made("interrupt", "entirely different", extra=True)
        with pytest.raises(SnapshotError, match="'event:approved': None"):
            await flow.async_resume("x", store=store)
        execution = await flow.async_resume("x", store=store, operator_map={"event:approved": "event:something else"})
        assert await finished(execution, "interrupt") == "published Ada"


async def test_a_flow_that_hears_no_event_any_more_refuses(open_store: Open) -> None:
    async with open_store() as store:
        await waiting(made("interrupt"), store)
        with pytest.raises(SnapshotError, match=r"cannot continue.*keep a when"):
            await made("interrupt", "").async_resume("x", store=store)
        execution = await made("interrupt").async_resume("x", store=store)
        assert await finished(execution, "interrupt") == "published Ada", "the version that it had continues it"


@pytest.mark.parametrize(("how", "old"), [(how, old) for how, old, _ in CASES])
async def test_a_change_elsewhere_is_no_reason(open_store: Open, how: str, old: str) -> None:
    async with open_store() as store:
        await waiting(made(how, old), store)
        execution = await made(how, old, extra=True).async_resume("x", store=store)
        assert await finished(execution, how) == "published Ada"


async def test_what_nobody_has_ever_heard_is_no_reason(open_store: Open) -> None:
    """The answer is read where it was asked for, and its event has no listener in any version."""
    async with open_store() as store:
        await waiting(made("interrupt", "", extra=True), store)
        execution = await made("interrupt", "another", extra=True).async_resume("x", store=store)
        await execution.async_continue_with("q", "Ada")
        assert execution.get_status() == "completed"


@pytest.mark.parametrize(("how", "old", "new"), CASES)
async def test_a_saved_execution_is_moved_by_the_same_rules(how: str, old: str, new: str) -> None:
    execution = made(how, old).create_execution()
    await execution.async_begin("Ada")
    await asyncio.sleep(1)
    saved = execution.save()
    await execution.async_cancel()
    flow, form = made(how, new), {key(how, old): key(how, new)}
    verdict = flow.inspect_load(saved)
    assert (verdict.kind, verdict.map_form) == ("needs_map", form)
    with pytest.raises(SnapshotError):
        flow.load_execution(saved)
    assert await finished(flow.load_execution(saved, operator_map=form), how) == "published Ada"


async def test_the_answer_to_a_sub_flow_that_has_changed(open_store: Open) -> None:
    def outer(name: str) -> TriggerFlow:
        flow = TriggerFlow("outer")
        flow.to_sub_flow(made("interrupt", name)).end()
        return flow

    async with open_store() as store:
        await waiting(outer("approved"), store)
        changed = await outer("approved_2").async_resume("x", store=store)
        with pytest.raises(ExecutionSuspended, match="'event:approved': 'event:approved_2'"):
            await changed.async_get_result(timeout=10)
        await changed.async_suspend()
        execution = await outer("approved").async_resume("x", store=store)
        await execution.async_continue_with("moving.1/q", "Ada")
        assert await execution.async_get_result() == "published Ada"
