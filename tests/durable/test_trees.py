"""Whatever ends a parent ends its sub-flows, at any moment and from any process; then the tree can be pruned."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.durable.failing import FailingStore
from triggerflow import Retry, TriggerFlow
from triggerflow.durable import Worker
from triggerflow.errors import TriggerFlowError
from triggerflow.stores import MemoryData, MemoryStore
from triggerflow.stores.protocol import Append
from triggerflow.testing.store_tools import new

Open = Callable[..., Any]


def three_levels(*, waits: bool = False, timeout: float | None = None) -> TriggerFlow:
    """A flow with a sub-flow that has a sub-flow, whose chunk runs or waits for an answer."""
    inner, middle = TriggerFlow("inner"), TriggerFlow("middle")
    flow = TriggerFlow("outer", execution_timeout=timeout)

    @inner.chunk("work")
    async def work(data: Any) -> None:
        if waits:
            data.pause_for(payload="?", interrupt_id="q")
        await asyncio.sleep(1000)

    @flow.chunk("fails")
    async def fails(data: Any) -> None:
        raise ValueError("it is over")

    inner.to(work).end()
    middle.to_sub_flow(inner).end()
    flow.to_sub_flow(middle).end()
    flow.when(flow.signal("break", external=True)).to(fails)
    return flow


async def rows(store: Any, flow: str = "outer") -> dict[str, str]:
    """The status of every execution in the trees of a flow, by id."""
    found: dict[str, str] = {}
    todo = list(await store.executions(flow=flow))
    while todo:
        row = todo.pop()
        found[row.id] = row.status
        todo += await store.executions(parent=row.id)
    return found


async def assert_ended(flow: TriggerFlow, store: Any, status: str, count: int = 3) -> None:
    found = await rows(store)
    assert len(found) == count, found
    assert found.pop("e") == status
    assert set(found.values()) == {"cancelled"}, found
    assert (await flow.history(store).prune(keep=0)).deleted == count
    assert not await rows(store)


async def begun(flow: TriggerFlow, store: Any) -> Any:
    execution = flow.create_execution(store=store, id="e")
    await execution.async_begin(0)
    while len(await rows(store)) < 3:  # noqa: ASYNC110 - in virtual time
        await asyncio.sleep(1)
    await asyncio.sleep(1)
    return execution


async def cancel(flow: TriggerFlow, execution: Any) -> str:
    await execution.async_cancel("no more")
    return "cancelled"


async def fail(flow: TriggerFlow, execution: Any) -> str:
    await execution.async_emit("break")
    with pytest.raises(ValueError, match="it is over"):
        await execution.async_get_result()
    return "failed"


ENDS = [cancel, fail]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("moment", ["live", "suspended", "resumed", "just resumed"])
async def test_the_end_of_a_parent_reaches_all_its_sub_flows(
    open_store: Open, moment: str, end: Any, waits: bool
) -> None:
    flow = three_levels(waits=waits)
    async with open_store() as store:
        execution = await begun(flow, store)
        if moment != "live":
            await execution.async_suspend()
        if "resumed" in moment:
            execution = await flow.async_resume("e", store=store)
        if moment == "resumed":
            await asyncio.sleep(1)
        await assert_ended(flow, store, await end(flow, execution))


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("end", ENDS)
async def test_a_process_that_has_never_opened_the_sub_flows_ends_them(open_store: Open, end: Any, waits: bool) -> None:
    async with open_store() as store:
        await begun(three_levels(waits=waits), store)
    flow = three_levels(waits=waits)
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="e")
        await assert_ended(flow, store, await end(flow, execution))


async def test_a_parked_parent_is_cancelled_with_its_sub_flows(open_store: Open) -> None:
    flow = three_levels(waits=True)
    async with open_store() as store, Worker(store, flow, poll=50) as worker:
        execution = await begun(flow, store)
        await asyncio.sleep(10)
        assert worker.running == 0
        await execution.async_cancel()
        await assert_ended(flow, store, "cancelled")


@pytest.mark.parametrize("waits", [False, True])
async def test_a_time_limit_that_passes_while_no_process_runs(open_store: Open, waits: bool) -> None:
    async with open_store() as store:
        await begun(three_levels(waits=waits, timeout=60), store)
    await asyncio.sleep(100)
    flow = three_levels(waits=waits, timeout=60)
    async with open_store() as store:
        execution = await flow.async_resume("e", store=store)
        with pytest.raises(TriggerFlowError):
            await execution.async_get_result()
        await assert_ended(flow, store, "failed")


@pytest.mark.parametrize("steps", range(40))
async def test_a_cancel_at_any_moment_of_the_opening(steps: int) -> None:
    """After a restart the sub-flows are opened one after another; the cancel comes after so many turns of the loop."""
    data = MemoryData()
    async with MemoryStore(data) as store:
        await begun(three_levels(), store)
    flow = three_levels()
    async with MemoryStore(data) as store:
        execution = await flow.async_resume("e", store=store)
        for _ in range(steps):
            await asyncio.sleep(0)
        await execution.async_cancel()
        await assert_ended(flow, store, "cancelled")


@pytest.mark.parametrize("steps", range(60))
async def test_a_crash_at_any_moment_of_the_end(steps: int) -> None:
    """The process ends so many turns of the loop after the call of cancel; the next one finishes it."""
    data = MemoryData()
    first = MemoryStore(data)
    await first.__aenter__()
    failing = FailingStore(first)
    execution = await begun(three_levels(), failing)
    call = asyncio.ensure_future(execution.async_cancel())
    for _ in range(steps):
        await asyncio.sleep(0)
    failing.fails = lambda _: True
    await asyncio.gather(call, return_exceptions=True)
    await first.__aexit__(None, None, None)
    flow = three_levels()
    async with MemoryStore(data) as store:
        again = await flow.async_resume("e", store=store)
        await again.async_cancel()
        await assert_ended(flow, store, "cancelled")


async def test_a_sub_flow_that_does_not_stop_ends_with_its_parent(open_store: Open) -> None:
    inner, flow = TriggerFlow("inner"), TriggerFlow("outer")

    @inner.chunk("stubborn")
    async def stubborn(data: Any) -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(50)
            except asyncio.CancelledError:
                continue

    inner.to(stubborn).end()
    flow.to_sub_flow(inner).end()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="e", cleanup_timeout=1)
        await execution.async_begin(0)
        await asyncio.sleep(1)
        await execution.async_cancel()
        assert await rows(store) == {"e": "cancelled", "e/inner.1": "cancelled"}
        assert (await flow.history(store).prune(keep=0)).deleted == 2


async def test_a_step_that_is_taken_back_ends_its_sub_flow_after_a_restart(open_store: Open) -> None:
    """The parent goes on; only the sub-flow of the retracted step has to end."""

    def made() -> TriggerFlow:
        inner, flow = TriggerFlow("inner"), TriggerFlow("outer")

        @inner.chunk("work")
        async def work(data: Any) -> None:
            await asyncio.sleep(1000)

        @flow.chunk("draft")
        async def draft(data: Any) -> str:
            number = await data.async_emit("part", 1, provisional=True)
            if data.attempt == 1:
                await asyncio.sleep(1000)
            await data.async_retract(number, "another answer")
            return "done"

        inner.to(work).end()
        flow.to(draft).end()
        flow.when("part").to_sub_flow(inner)
        return flow

    async with open_store() as store:
        execution = made().create_execution(store=store, id="e")
        await execution.async_begin(0)
        await asyncio.sleep(1)
        assert len(await rows(store)) == 2
    flow = made()
    async with open_store() as store:
        execution = await flow.async_resume("e", store=store)
        assert await execution.async_get_result() == "done"
        await assert_ended(flow, store, "completed", 2)


async def test_a_sub_flow_that_cannot_be_read_any_more_ends_as_well(open_store: Open) -> None:
    """The class of one of its values is not registered in the process that cancels the parent."""

    @dataclass
    class Order:
        number: int

    def made(*types: type[Any]) -> TriggerFlow:
        inner, flow = TriggerFlow("inner"), TriggerFlow("outer")
        for cls in types:
            inner.register_type(cls, "Order")

        @inner.chunk("ask")
        async def ask(data: Any) -> None:
            data.state.set("order", Order(1))
            data.pause_for(payload="?", interrupt_id="q")

        inner.to(ask).end()
        flow.to_sub_flow(inner).end()
        return flow

    async with open_store() as store:
        await made(Order).create_execution(store=store, id="e").async_begin(0)
        await asyncio.sleep(1)
    flow = made()
    async with open_store() as store:
        await flow.create_execution(store=store, id="e").async_cancel()
        await assert_ended(flow, store, "cancelled", 2)


async def test_prune_ends_what_an_earlier_version_left_behind(open_store: Open) -> None:
    """The parent has ended, and its sub-flows have not: earlier versions left such trees."""
    flow = three_levels(waits=True)
    async with open_store() as store:
        execution = await begun(flow, store)
        await execution.async_suspend()
        row = await store.claim("e")
        await store.append(
            [Append(execution="e", first=row.records, records=[], status="cancelled", at=row.updated + 1)]
        )
        assert list((await rows(store)).values()).count("cancelled") == 1
        assert (await flow.history(store).prune(keep=0)).deleted == 3


async def test_prune_ends_them_also_if_the_flow_of_today_has_no_sub_flows(open_store: Open) -> None:
    flow = three_levels(waits=True)
    async with open_store() as store:
        execution = await begun(flow, store)
        await execution.async_suspend()
        row = await store.claim("e")
        await store.append(
            [Append(execution="e", first=row.records, records=[], status="cancelled", at=row.updated + 1)]
        )
        assert (await TriggerFlow("outer").history(store).prune(keep=0)).deleted == 3
        assert not await rows(store)


async def test_prune_ends_them_also_beside_trees_that_have_ended(open_store: Open) -> None:
    """As many executions are deleted as were given, and still some of these are left."""
    flow = three_levels(waits=True)
    async with open_store() as store:
        await (await begun(flow, store)).async_suspend()
        whole = flow.create_execution(store=store, id="whole")
        await whole.async_begin(0)
        await asyncio.sleep(10)
        await whole.async_cancel()
        row = await store.claim("e")
        await store.append(
            [Append(execution="e", first=row.records, records=[], status="cancelled", at=row.updated + 1)]
        )
        assert (await TriggerFlow("outer").history(store).prune(keep=0)).deleted == 6
        assert not await store.executions()


async def test_prune_tells_what_it_has_to_keep(open_store: Open) -> None:
    """A living owner has a sub-flow of an execution that has ended."""
    async with open_store() as store, open_store() as other:
        await store.append([new("e", flow="outer", status="completed")])
        await other.append([new("e/step", flow="inner", parent="e", status="running")])
        pruned = await TriggerFlow("outer").history(store).prune(keep=0)
        assert (pruned.deleted, pruned.kept) == (0, 1)


async def test_the_journal_of_a_sub_flow_says_how_it_ended(open_store: Open) -> None:
    async with open_store() as store:
        await begun(three_levels(waits=True), store)
    flow = three_levels(waits=True)
    async with open_store() as store:
        await flow.create_execution(store=store, id="e").async_cancel()
        for id in await rows(store):
            row = await store.find(id)
            assert row.status == "cancelled"
            assert row.due is None
        target = io.BytesIO()
        await flow.history(store).export("e", target)
        target.seek(0)
        assert (await flow.history(store).load(target, id="again")).status == "cancelled"


async def test_a_retry_continues_what_was_ended_with_its_parent(open_store: Open) -> None:
    """The parent fails right after a restart, before its sub-flow is open; a retry runs both again."""
    fails = True
    calls: list[int] = []

    def made() -> TriggerFlow:
        inner, flow = TriggerFlow("inner"), TriggerFlow("outer")

        @inner.chunk("work")
        async def work(data: Any) -> str:
            calls.append(data.attempt)
            if len(calls) == 1:
                await asyncio.sleep(1000)
            return "worked"

        @flow.chunk("beside")
        async def beside(data: Any) -> None:
            if data.attempt == 1:
                await asyncio.sleep(1000)
            if fails:
                raise ValueError("once")

        inner.to(work).end()
        flow.to(beside)
        flow.to_sub_flow(inner).end()
        return flow

    async with open_store() as store:
        await made().create_execution(store=store, id="e").async_begin(0)
        await asyncio.sleep(1)
    flow = made()
    async with open_store() as store:
        execution = await flow.async_resume("e", store=store)
        with pytest.raises(ValueError, match="once"):
            await execution.async_get_result()
        assert set((await rows(store)).values()) <= {"failed", "cancelled", "completed"}
        fails = False
        again = await flow.async_retry("e", store=store)
        assert await again.async_get_result() == "worked"
        assert set((await rows(store)).values()) == {"completed"}


async def test_a_step_with_a_time_limit_that_is_tried_again(open_store: Open) -> None:
    """The sub-flow has a time limit of its own; its failed attempt leaves nothing behind."""
    inner, flow = TriggerFlow("inner", execution_timeout=10), TriggerFlow("outer")

    @inner.chunk("slow", retry=Retry(2, initial_interval=1))
    async def slow(data: Any) -> None:
        await asyncio.sleep(1000)

    inner.to(slow).end()
    flow.to_sub_flow(inner).end()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="e")
        with pytest.raises(TriggerFlowError):
            await execution.async_start(0)
        assert await rows(store) == {"e": "failed", "e/inner.1": "failed"}
        assert (await flow.history(store).prune(keep=0)).deleted == 2


@pytest.mark.parametrize("waits", [False, True])
async def test_a_cancel_from_a_process_that_does_not_run_it(open_store: Open, waits: bool) -> None:
    """The worker of another process runs the tree, or has parked it."""
    there = three_levels(waits=waits)
    here = three_levels(waits=waits)
    async with open_store() as other, open_store() as store, Worker(other, there, poll=5):
        execution = await begun(there, other)
        del execution
        await asyncio.sleep(20)
        await (await here.async_resume("e", store=store)).async_cancel()
        await assert_ended(here, store, "cancelled")
