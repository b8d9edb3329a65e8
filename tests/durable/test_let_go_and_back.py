"""Durable executions at the edges: what is not on disk yet, what was let go of, and what comes back."""

import asyncio
import gc
from typing import Any

import pytest

from tests.durable.failing import FailingStore
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ExecutionSuspended, SnapshotError, StoreUnavailable, UsageError
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def test_an_observer_sees_the_records_as_they_are_on_disk(store: FailingStore) -> None:
    """`add_observer`: "every record from now on, as soon as it is accepted"; record n is number n on disk."""

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    flow = TriggerFlow(name="f")
    flow.to(ask).end()
    execution = flow.create_execution(store=store)
    seen: list[str] = []
    execution.add_observer(lambda record: seen.append(type(record).__name__))
    await execution.async_begin()
    await execution.async_settled()
    await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"
    assert [type(record).__name__ async for _, record in flow.history(store).journal(execution.id)] == seen
    assert "StreamPut" in seen


async def test_opening_what_waits_leaves_no_trace_in_its_journal(store: FailingStore) -> None:
    """S18: what was running is issued again, and told by a record; where nothing was, there is nothing to tell."""

    async def ask(data: Data) -> None:
        await data.async_emit("late", 1, delay=5)
        data.pause_for(interrupt_id="q")

    flow = TriggerFlow(name="f")
    flow.to(ask).to(echo).end()
    flow.when("late").to(("note", lambda data: data.state.set("noted", data.value)))
    execution = flow.create_execution(store=store, id="run")
    await execution.async_begin()
    await execution.async_settled()
    records = (await flow.history(store).state_at("run")).records
    for _ in range(3):
        await execution.async_suspend()
        execution = await flow.async_resume("run", store=store)
        assert list(execution.get_pending_interrupts()) == ["q"]
    await asyncio.sleep(1)
    assert (await flow.history(store).state_at("run")).records == records
    await asyncio.sleep(5)  # its timer goes on all the same
    assert await execution.state.async_get("noted") == 1
    await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"
    kinds = [type(record).__name__ async for _, record in flow.history(store).journal("run")]
    assert "Recovered" not in kinds


async def test_questions_of_a_sub_flow_can_be_answered_after_it_was_let_go_of(store: FailingStore) -> None:
    """S17, and "a handle that was let go of opens again with its next use"."""

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=data.chunk_name)

    inner = TriggerFlow(name="inner")
    inner.batch(("a", ask), ("b", ask)).end()
    flow = TriggerFlow(name="outer")
    flow.to_sub_flow(inner).end()
    execution = flow.create_execution(store=store)
    await execution.async_begin()
    await asyncio.sleep(1)
    questions = list(execution.get_pending_interrupts())
    assert len(questions) == 2
    await execution.async_suspend()
    for question in questions:
        await execution.async_continue_with(question, question[-1])
    assert await execution.async_get_result() == {"a": "a", "b": "b"}


async def test_a_result_is_on_disk_when_it_is_given(store: FailingStore) -> None:
    """`Execution`: "What is awaited is on disk when it returns: ... a result"."""
    flow = TriggerFlow(name="f").set_store(store)
    flow.to(echo).end()
    execution = flow.create_execution(keep_open=True)
    await execution.async_begin(1)
    await execution.async_settled()
    await execution.async_set_result(0, replace=True)

    store.waits = lambda appends: True
    execution.set_result(2, replace=True)
    for wait in (execution.async_get_result(), execution.async_start()):
        asking = asyncio.create_task(wait)
        await asyncio.sleep(1)
        assert not asking.done()
        asking.cancel()
    store.waits = lambda appends: False
    store.go.set()
    assert await execution.async_get_result() == 2


async def test_a_flow_without_chunks_has_its_result_on_disk_too(store: FailingStore) -> None:
    """The same, for what ends with its start."""
    flow = TriggerFlow(name="f").set_store(store)
    flow.when("never").to(echo)
    store.waits = lambda appends: True
    asking = asyncio.create_task(flow.async_start(1))
    await asyncio.sleep(1)
    assert not asking.done()
    store.go.set()
    assert await asking is None


async def test_settled_of_one_in_the_store_is_not_settled_at_once(store: FailingStore) -> None:
    """`async_settled`: "Wait until `is_settled`"; it was at work when it was let go of."""

    async def slow(data: Data) -> str:
        await asyncio.sleep(10)
        return "done"

    flow = TriggerFlow(name="f").set_store(store)
    flow.to(slow).end()
    execution = flow.create_execution()
    await execution.async_begin()
    await execution.async_suspend()
    again: Any = flow.create_execution(id=execution.id)
    assert await again.async_settled()
    assert await again.async_get_result() == "done"
    assert asyncio.get_running_loop().time() >= 10


@pytest.mark.parametrize("wait", ["async_settled", "async_cancel", "async_close"])
async def test_who_waits_is_told_that_the_store_failed(store: FailingStore, wait: str) -> None:
    """S7: "Nothing hangs after a failure", and the error says whose fault it is."""

    async def slow(data: Data) -> None:
        await asyncio.sleep(10)
        await data.async_put_into_stream(1)

    flow = TriggerFlow(name="f").set_store(store)
    flow.to(slow).end()
    execution = flow.create_execution()
    await execution.async_begin()
    asking = asyncio.create_task(getattr(execution, wait)())
    store.fails = lambda appends: True
    with pytest.raises(StoreUnavailable):
        await asking


async def test_a_reader_whose_start_failed_can_try_again(store: FailingStore) -> None:
    """The next use tries again; it does not wait for items of what never began."""
    flow = TriggerFlow(name="f")

    async def put(data: Data) -> None:
        await data.async_put_into_stream("item")

    flow.to(put).end()
    execution = flow.create_execution(id="x", store=store)
    reader = execution.get_async_runtime_stream(1)
    real, broken = store.store, _Unreadable()
    store.store = broken
    with pytest.raises(StoreUnavailable):
        await anext(reader)
    store.store = real
    async with asyncio.timeout(10):
        assert await anext(reader) == "item"


class _Unreadable:
    async def find(self, execution: str) -> None:
        raise StoreUnavailable("the disk is gone")


async def test_an_execution_of_another_flow_is_refused_while_it_runs_here(store: FailingStore) -> None:
    """`async_open`: "`UsageError` if it belongs to another flow"."""
    flow, other = TriggerFlow(name="f"), TriggerFlow(name="other")
    flow.when(flow.signal("go", external=True)).to(echo).end()
    execution = flow.create_execution(id="x", store=store)
    await execution.async_begin()
    with pytest.raises(UsageError, match="belongs to flow 'f'"):
        await other.async_resume("x", store=store)
    with pytest.raises(UsageError, match="belongs to flow 'f'"):
        other.create_execution(id="x", store=store)


async def test_a_map_that_comes_later_is_used(store: FailingStore) -> None:
    """`async_resume(operator_map=...)`, although a handle that could not be opened without it is still there."""

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    old = TriggerFlow(name="f")
    old.to(old.chunk("old")(ask)).to(echo).end()
    execution = old.create_execution(id="x", store=store)
    await execution.async_begin()
    await execution.async_settled()
    await execution.async_suspend()
    del execution

    new = TriggerFlow(name="f")
    new.to(new.chunk("new")(ask)).to(echo).end()
    handle = new.create_execution(id="x", store=store)
    with pytest.raises(SnapshotError):
        await handle.async_open()
    state = await old.history(store).state_at("x")
    assert state.status == "waiting"
    again = await new.async_resume("x", store=store, operator_map={"old": "new"})
    await again.async_continue_with("q", 5)
    assert await again.async_get_result() == 5


async def test_a_snapshot_of_what_is_let_go_of_is_given_up(
    store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is a cache: that it could not be kept is nobody's failure, and no task fails unseen."""
    monkeypatch.setattr("triggerflow.durable.executions.stored.SNAPSHOT_EVERY", 1)
    failed: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))

    async def busy(data: Data) -> None:
        for number in range(10):
            await data.state.async_set("n", number)
            await asyncio.sleep(0)

    flow = TriggerFlow(name="f")
    flow.to(busy).end()
    execution = flow.create_execution(store=store)
    await execution.async_begin()
    store.waits = lambda appends: True
    await store.waiting.wait()
    await execution.async_suspend()
    store.go.set()
    with pytest.raises(ExecutionSuspended):
        await runtime_of(execution).log.wait_committed()
    await asyncio.sleep(1)

    gc.collect()
    assert not failed
