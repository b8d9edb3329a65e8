"""What durable executions promise, where a test in passing found it broken."""

import asyncio
import threading
from typing import Any

import pytest

from tests.durable.failing import FailingStore
from tests.support import read, turns, until
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import PayloadError, StoreUnavailable

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def ask(data: Data) -> None:
    data.pause_for(interrupt_id="q")


async def again(flow: TriggerFlow, execution: Any, store: Any) -> Any:
    """The execution after its process has let go of it: only what is on disk is left."""
    await execution.async_suspend()
    return await flow.async_resume(execution.id, store=store)


async def test_set_store_makes_every_way_to_start_durable(store: FailingStore) -> None:
    """`set_store`: "Make all executions of this flow durable from now on"."""
    flow = TriggerFlow(name="f").set_store(store)
    flow.to(echo).end()
    assert await flow.async_start(1) == 1
    assert await read(flow.get_async_runtime_stream(2)) == []
    execution = flow.create_execution()
    execution.begin(3)
    assert await execution.async_get_result() == 3
    assert [row.status for row in await store.executions()] == ["completed"] * 3


async def test_a_declared_signal_is_recorded_by_its_name(store: FailingStore) -> None:
    """S4a: "a declared signal ... is checked on emit"; "everything else of the API stays as it is"."""
    flow = TriggerFlow(name="f")
    go = flow.signal("go", int, external=True)
    flow.when(go).to(ask).to(echo).end()
    execution = flow.create_execution(store=store)
    await execution.async_open()
    execution.begin()
    await execution.async_emit(go, 5)
    await asyncio.sleep(1)
    execution = await again(flow, execution, store)
    await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"


@pytest.mark.parametrize(
    "refuse",
    [
        lambda execution: execution.state.set(5, "value"),
        lambda execution: execution.state.set("key", object()),
        lambda execution: execution.state.set("key", 10**5000),
        lambda execution: execution.state.set("key", 1, emit=2),
        lambda execution: execution.state.set("half a \ud800 pair", 1),
    ],
)
async def test_what_cannot_be_read_again_is_refused_at_once(store: FailingStore, refuse: Any) -> None:
    """S19: "anything else is a clear error ..., at once": no record that would keep an execution from being loaded."""
    flow = TriggerFlow(name="f")
    flow.when(flow.signal("go", external=True)).to(echo).end()
    execution = flow.create_execution(store=store)
    execution.begin()
    with pytest.raises(PayloadError):
        refuse(execution)
    await execution.async_emit("other")
    execution = await again(flow, execution, store)
    assert execution.state.to_dict() == {}
    await execution.async_emit("go", 1)
    assert await execution.async_get_result() == 1


async def test_a_start_that_was_refused_was_none(store: FailingStore) -> None:
    """S19: the error comes at once, and nothing has changed: it can be started with a value that can be recorded."""
    flow = TriggerFlow(name="f")
    flow.to(echo).end()
    execution = flow.create_execution(store=store)
    with pytest.raises(PayloadError, match="the start value"):
        await execution.async_start(object())
    assert await execution.async_start(1) == 1


async def test_a_chunk_that_ends_by_itself_while_its_end_is_being_written(store: FailingStore) -> None:
    """S7: "Nothing hangs after a failure", also where the disk is slower than the chunks that are to be stopped."""
    flow, gate = TriggerFlow(name="f"), asyncio.Event()

    async def first(data: Data) -> None:
        await gate.wait()
        raise ValueError("first")

    async def second(data: Data) -> None:
        await gate.wait()
        await asyncio.sleep(1)
        raise ValueError("second")

    flow.batch(first, second).end()
    execution = flow.create_execution(store=store)
    execution.begin()
    await turns()
    store.waits = lambda appends: True
    gate.set()
    await asyncio.sleep(5)
    store.go.set()
    with pytest.raises(ValueError, match="first"):
        await execution.async_get_result(timeout=10)


async def test_a_result_can_be_asked_for_from_another_thread_while_it_is_written(store: FailingStore) -> None:
    """S13: "every async entry has a sync twin"; a result is on disk when it is returned, whoever asks."""
    flow, answers = TriggerFlow(name="f"), list[Any]()
    flow.when(flow.signal("go", external=True)).to(echo).end()
    execution = flow.create_execution(store=store)
    execution.begin()
    await turns()
    store.waits = lambda appends: any(append.status == "completed" for append in appends)
    execution.emit("go", 7)
    await store.waiting.wait()
    asked, ended = threading.Event(), threading.Event()

    def ask() -> None:
        asked.set()
        answers.append(execution.get_result())
        ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    await until(asked)
    await asyncio.sleep(0.01)
    assert not answers
    store.go.set()
    await until(ended)
    thread.join()
    assert answers == [7]


async def test_what_an_awaited_look_tells_is_on_disk(store: FailingStore) -> None:
    """ "An acknowledged thing is on disk", also of what is looked at: the question, the status, the state."""
    flow = TriggerFlow(name="f")

    async def work(data: Data) -> None:
        await data.state.async_set("key", "value")
        data.pause_for(interrupt_id="q")

    flow.to(work)
    execution = flow.create_execution(store=store, id="run")
    await execution.async_open()
    store.waits = lambda appends: any(append.status == "waiting" for append in appends)
    execution.begin()
    await store.waiting.wait()
    reads = (
        execution.async_committed(execution.get_pending_interrupts),
        execution.async_committed(execution.get_status),
        execution.state.async_get("key"),
    )
    looks = [asyncio.ensure_future(read) for read in reads]
    await asyncio.sleep(1)
    assert execution.get_status() == "waiting"
    assert not any(look.done() for look in looks)
    store.go.set()
    questions, status, value = await asyncio.gather(*looks)
    assert (list(questions), status, value) == (["q"], "waiting", "value")


async def test_a_look_at_what_never_reaches_the_disk_tells_nothing(store: FailingStore) -> None:
    """The same where the store fails; the next look tells how it stands there."""
    flow = TriggerFlow(name="f")
    flow.when(flow.signal("go", external=True)).to(echo).end()
    execution = flow.create_execution(store=store, id="run")
    await execution.async_begin()
    store.fails = lambda appends: True
    with pytest.raises(StoreUnavailable):
        await execution.state.async_set("key", 1)
    store.fails = lambda appends: False
    assert await execution.async_committed(execution.state.to_dict) == {}
    await execution.state.async_set("key", 2)
    assert (await flow.history(store).state_at("run")).state == {"key": 2}


async def test_a_commit_of_a_sub_flow_that_fails_is_no_failure_of_its_step(store: FailingStore) -> None:
    """ "Raises `StoreError` where the store fails; what is on disk stands then, and the next use tries again"."""
    flow, child = TriggerFlow(name="parent"), TriggerFlow(name="child")

    async def work(data: Data) -> Any:
        data.state.set("seen", data.attempt)
        await asyncio.sleep(1)
        return data.value * 2

    child.to(work).end()
    flow.to_sub_flow(child, name="step").end()
    execution = flow.create_execution(store=store, id="run")
    await execution.async_open()
    execution.begin(4)
    await asyncio.sleep(0.5)
    store.fails = lambda appends: all("/" in append.execution for append in appends)
    with pytest.raises(StoreUnavailable):
        await execution.async_get_result()
    row = await store.find("run")
    assert row is not None
    assert row.status == "running"
    store.fails = lambda appends: False
    assert await execution.async_get_result() == 8


async def test_an_execution_whose_first_commit_failed_can_be_started_again(store: FailingStore) -> None:
    """The same, where nothing is on disk yet."""
    flow = TriggerFlow(name="f")
    flow.to(echo).end()
    for id in ("named", None):
        execution = flow.create_execution(store=store, id=id)
        store.fails = lambda appends: True
        with pytest.raises(StoreUnavailable):
            await execution.async_start(1)
        store.fails = lambda appends: False
        assert await execution.async_start(2) == 2


async def test_an_endless_pause_before_a_retry_is_none(store: FailingStore) -> None:
    """S18: what is recorded means the same when it is read: infinity is no number of JSON."""
    flow = TriggerFlow(name="f")

    class Busy(Exception):
        retry_after = float("inf")

    @flow.chunk("busy", retry=Retry(attempts=2, initial_interval=3))
    async def busy(data: Data) -> int:
        if data.attempt == 1:
            raise Busy
        return data.attempt

    flow.to(busy).end()
    execution = flow.create_execution(store=store)
    execution.begin()
    await asyncio.sleep(1)
    execution = await again(flow, execution, store)
    assert await execution.async_get_result() == 2


async def test_an_expiry_has_to_be_a_time(store: FailingStore) -> None:
    """The same of `pause_for(expires=...)`."""
    flow = TriggerFlow(name="f")
    flow.to(("ask", lambda data: data.pause_for(expires=float("inf")))).end()
    with pytest.raises(Exception, match="number of seconds"):
        await flow.create_execution(store=store).async_start()


async def test_what_is_let_go_of_before_its_first_commit_leaves_nothing(store: FailingStore) -> None:
    """ "Nothing is recorded any more" of an execution that was suspended: there is no empty one in the store then."""
    flow = TriggerFlow(name="f")
    flow.to(echo).end()
    store.waits = lambda appends: not store.go.is_set()
    first, second = flow.create_execution(store=store, id="first"), flow.create_execution(store=store, id="second")
    for execution in (first, second):
        await execution.async_open()
        execution.begin(1)
        await turns()
    await second.async_suspend()
    store.go.set()
    assert await first.async_get_result() == 1
    assert await store.find("second") is None
    assert await second.async_start(2) == 2
