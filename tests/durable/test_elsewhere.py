"""Handles of an execution that another process runs: it is shown as it is there, and asked there for changes.

Each open store over the same data is a process here. `tests/durable/test_elsewhere_kill.py` has real ones.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from tests.durable.conftest import Open
from tests.support import drain, read
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.durable.executions.commit import session_of
from triggerflow.durable.executions.mirror import BEAT
from triggerflow.errors import (
    AlreadyAnswered,
    AlreadyStarted,
    BlockingCallError,
    ContractError,
    ExecutionCancelled,
    ExecutionClosed,
    PayloadError,
    RemoteChunkError,
    StoreConflict,
    UnknownExecution,
    UnknownInterrupt,
    UsageError,
)
from triggerflow.extension import runtime_of
from triggerflow.stores import MemoryData, MemoryStore
from triggerflow.stores.protocol import Request

Data = TriggerFlowRuntimeData[Any]
ID = "run"


@dataclass
class Board:
    """The declared state."""

    words: list[str]
    count: int = 0


def add(held: int, value: int) -> int:
    """A reducer."""
    return held + value


def desk() -> TriggerFlow:
    """Asks a question, listens to signals, and ends with the answer. Every process has its own copy."""
    flow = TriggerFlow("desk")
    flow.set_state(Board, reducers={"count": add})
    flow.signal("note", int, external=True)
    flow.signal("late", external=True)

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        await data.async_put_into_stream("asking")
        data.pause_for(type="approval", payload=data.value, interrupt_id="q", schema=int)

    @flow.chunk("note")
    async def note(data: Data) -> None:
        await asyncio.sleep(0.1)
        if data.value < 0:
            raise ValueError("negative")
        data.state.append("words", str(data.value))

    flow.to(ask).to(lambda data: data.value).end()
    flow.when("note").to(note)
    flow.when("late").to(lambda data: data.state.append("words", "late"))
    return flow


class Processes(NamedTuple):
    """Two processes: the first one runs the execution, the second one has a handle of it."""

    owner: Any
    other: Any
    here: Execution[Any]
    there: Execution[Any]


@pytest.fixture
async def two(open_store: Open) -> AsyncIterator[Processes]:
    async with open_store() as owner, open_store() as other:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        there = await desk().async_resume(ID, store=other)
        yield Processes(owner, other, here, there)


# -- what is shown -----------------------------------------------------------------------------------------------------


async def test_a_handle_shows_what_happens_in_another_process(two: Processes) -> None:
    assert (await two.owner.find(ID)).owner == two.owner.owner
    assert two.there.get_status() == two.here.get_status() == "waiting"
    assert two.there.get_interrupts() == two.here.get_interrupts()
    await two.here.async_emit("note", 1, settle=True)
    await two.there.async_settled()
    assert await two.there.state.async_get("words") == ["1"]
    assert two.there.state.to_dict() == two.here.state.to_dict()
    assert (await two.owner.find(ID)).owner == two.owner.owner, "reading takes nothing"


async def test_an_execution_runs_while_one_of_many_sub_flows_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sub-flow that runs is the oldest one, and not on the first page of them."""
    monkeypatch.setattr("triggerflow.durable.executions.mirror.PAGE", 2)
    inner, flow = TriggerFlow("inner"), TriggerFlow("outer")

    @inner.chunk("work")
    async def work(data: Data) -> None:
        if data.value:
            data.pause_for(interrupt_id=f"q{data.value}")
        await asyncio.sleep(1000)

    inner.to(work).end()
    flow.for_each().to_sub_flow(inner).end_for_each().end()
    data = MemoryData()
    async with MemoryStore(data) as owner, MemoryStore(data) as other:
        await flow.create_execution(store=owner, id=ID).async_begin([0, 1, 2, 3, 4])
        await asyncio.sleep(1)
        assert (await flow.async_resume(ID, store=other)).get_status() == "running"
        await asyncio.sleep(1000)
        assert (await flow.async_resume(ID, store=other)).get_status() == "waiting"


async def test_what_is_shown_needs_no_call(two: Processes) -> None:
    await two.here.state.async_set("words", ["new"])
    for _ in range(100):
        await asyncio.sleep(0.01)
        if two.there.state.get("words") == ["new"]:
            break
    else:
        pytest.fail("the handle does not follow the execution")


async def test_the_result_is_that_of_the_owner(two: Processes) -> None:
    waiting = asyncio.create_task(two.there.async_get_result())
    await two.here.async_continue_with("q", 7)
    assert await waiting == await two.here.async_get_result() == 7
    assert two.there.get_status() == "completed"


async def test_a_failure_is_told_as_in_a_later_process(two: Processes) -> None:
    waiting = asyncio.create_task(two.there.async_get_result())
    reading = asyncio.create_task(drain(two.there.get_async_runtime_stream()))
    await two.here.async_emit("note", -1)
    with pytest.raises(RemoteChunkError, match="chunk 'note' failed: ValueError: negative"):
        await waiting
    assert isinstance((await reading)[1], RemoteChunkError)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_a_reader_elsewhere_gets_the_same_items_under_the_same_numbers(two: Processes, after: int) -> None:
    """ "a reader in any process gets each item once, from any number on" """
    one = two.here.get_async_runtime_stream(after=after)
    other = two.there.get_async_runtime_stream(after=after)
    reading = [asyncio.create_task(read(it)) for it in (one, other)]
    await asyncio.sleep(0.1)
    await two.there.async_put_into_stream("from elsewhere")
    await two.here.async_put_into_stream("from the owner")
    await two.there.async_continue_with("q", 1)
    found = await asyncio.gather(*reading)
    assert found[0] == found[1]
    assert one.position == other.position == 5


async def test_a_reader_that_comes_back_goes_on_where_it_was(two: Processes) -> None:
    reader = two.there.get_async_runtime_stream()
    assert await anext(reader) == "asking"
    assert (await anext(reader))["type"] == "interrupt"
    await reader.aclose()
    await two.here.async_put_into_stream("meanwhile")
    again = two.there.get_async_runtime_stream(after=reader.position)
    assert await anext(again) == "meanwhile"
    await again.aclose()


async def test_a_stopped_stream_ends_for_readers_elsewhere(two: Processes) -> None:
    reading = asyncio.create_task(read(two.there.get_async_runtime_stream()))
    await asyncio.sleep(0.1)
    await two.there.async_stop_stream()
    assert (await reading)[0] == "asking"
    assert len(await read(two.there.get_async_runtime_stream(after=1))) == 1
    assert two.there.get_status() == "waiting"


async def test_many_readers_of_a_process_cost_one_look(two: Processes) -> None:
    """Readers of one execution share its records."""
    handles = [await desk().async_resume(ID, store=two.other) for _ in range(20)]
    assert len(set(handles)) == 1
    readers = [asyncio.create_task(read(it.get_async_runtime_stream(after=2), 3)) for it in handles]
    await asyncio.sleep(0.1)
    for number in range(3):
        await two.here.async_put_into_stream(number)
    assert await asyncio.gather(*readers) == [[0, 1, 2]] * 20


async def test_a_handle_that_nobody_uses_is_dropped(open_store: Open) -> None:
    """Neither the store nor its hub keeps the mirror of an execution."""
    async with open_store() as owner, open_store() as other:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        session = session_of(other)
        handle = await desk().async_attach(ID, store=other)
        assert ID in session.live
        assert session.hub.watches
        del handle
        await asyncio.sleep(2 * BEAT)
        gc.collect()
        await asyncio.sleep(0.1)
        assert ID not in session.live
        assert not session.hub.watches


# -- what is asked -----------------------------------------------------------------------------------------------------

ASKED: dict[str, tuple[Callable[[Execution[Any]], Awaitable[Any]], Any]] = {
    "emit": (lambda it: it.async_emit("note", 5), None),
    "emit settling": (lambda it: it.async_emit("note", 5, settle=True), None),
    "emit delayed": (lambda it: it.async_emit("note", 5, delay=0.5, id="later"), None),
    "put": (lambda it: it.async_put_into_stream({"any": (1, 2)}), None),
    "stop_stream": (lambda it: it.async_stop_stream(), None),
    "set_result": (lambda it: it.async_set_result("given"), None),
    "set": (lambda it: it.state.async_set("words", ["a"]), None),
    "append": (lambda it: it.state.async_append("words", "a"), None),
    "delete": (lambda it: it.state.async_delete("words"), None),
    "reduce": (lambda it: it.state.async_reduce("count", 2), 2),
    "update with a value": (lambda it: it.state.async_update("count", 2), 2),
    "begin again": (lambda it: it.async_begin("start"), None),
    "cancel_signal": (lambda it: it.async_cancel_signal("later"), 0),
    "close": (lambda it: _within(it.async_close()), "still open"),
    "cancel": (lambda it: it.async_cancel("enough"), None),
}


async def _within(call: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(1):
            return await call
    except TimeoutError:
        return "still open"


@pytest.mark.parametrize("name", ASKED)
async def test_an_action_has_the_same_effect_from_any_process(open_store: Open, name: str) -> None:
    """ "what changes something works on every handle, wherever the execution runs" """
    act, answer = ASKED[name]
    shown: list[Any] = []
    async with open_store() as owner, open_store() as other:
        for id, elsewhere in (("local", False), ("remote", True)):
            here = desk().create_execution(store=owner, id=id)
            await here.async_begin("start")
            await here.async_settled()
            handle = await desk().async_resume(id, store=other) if elsewhere else here
            assert await act(handle) == answer
            await here.async_settled()
            await handle.async_settled()
            kinds = [type(record).__name__ for record in here.records]
            shown.append((handle.get_status(), handle.state.to_dict(), kinds))
            assert handle.state.to_dict() == here.state.to_dict()
            assert handle.get_status() == here.get_status()
    assert shown[0] == shown[1]


REFUSED: dict[str, tuple[Callable[[Execution[Any]], Awaitable[Any]], type[Exception]]] = {
    "the schema of the answer": (lambda it: it.async_continue_with("q", "no number"), ContractError),
    "an unknown question": (lambda it: it.async_continue_with("other", 1), UnknownInterrupt),
    "the type of a signal": (lambda it: it.async_emit("note", "no number"), ContractError),
    "a bad delay": (lambda it: it.async_emit("note", 1, delay=-1), UsageError),
    "a key that is not declared": (lambda it: it.state.async_set("other", 1), ContractError),
    "a key without a reducer": (lambda it: it.state.async_reduce("words", 1), ContractError),
    "another start value": (lambda it: it.async_start("other"), AlreadyStarted),
    "an append to a number": (lambda it: it.state.async_append("count", 1), TypeError),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_the_same_error_in_any_process(two: Processes, name: str) -> None:
    """ "errors come back as the same class" with the same text."""
    act, kind = REFUSED[name]
    texts: list[str] = []
    for handle in (two.here, two.there):
        with pytest.raises(kind) as caught:
            await act(handle)
        assert type(caught.value) is kind or issubclass(type(caught.value), kind)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert two.there.get_pending_interrupts()


async def test_a_value_that_cannot_be_recorded_is_refused_before_it_is_sent(two: Processes) -> None:
    texts: list[str] = []
    for handle in (two.here, two.there):
        with pytest.raises(PayloadError) as caught:
            await handle.async_emit("late", object())
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert not await two.owner.requests()


async def test_settling_elsewhere_waits_for_what_the_signal_has_caused(two: Processes) -> None:
    await two.there.async_emit("note", 3, settle=True)
    assert two.there.state.get("words") == two.here.state.get("words") == ["3"]


async def test_a_settling_signal_raises_the_failure_it_has_caused(two: Processes) -> None:
    with pytest.raises(RemoteChunkError, match="negative"):
        await two.there.async_emit("note", -1, settle=True)


async def test_a_cancellation_elsewhere_returns_at_the_end(two: Processes) -> None:
    await two.there.async_cancel("enough")
    assert two.here.get_status() == two.there.get_status() == "cancelled"
    for handle in (two.here, two.there):
        with pytest.raises(ExecutionCancelled) as caught:
            await handle.async_get_result()
        assert caught.value.reason == "enough"


async def test_an_answer_with_the_same_request_id_counts_once(two: Processes) -> None:
    first = await two.there.async_continue_with("q", 1, request_id="one")
    assert await two.there.async_continue_with("q", 1, request_id="one") == first
    assert await two.here.async_continue_with("q", 1, request_id="one") == first


async def test_another_answer_is_refused(open_store: Open) -> None:
    flow = desk()
    async with open_store() as owner, open_store() as other:
        here = flow.create_execution(store=owner, id=ID, keep_open=True)
        await here.async_begin("start")
        await here.async_settled()
        there = await desk().async_resume(ID, store=other)
        await there.async_continue_with("q", 1, request_id="one")
        for handle in (here, there):
            with pytest.raises(AlreadyAnswered):
                await handle.async_continue_with("q", 2, request_id="two")
        await there.async_close()


async def test_the_same_request_twice_is_performed_once(two: Processes) -> None:
    """ "a second request with the same id is the same request" """
    request = Request(
        id="twice", execution=ID, kind="state.append", data=b'{"key":"words","value":"x","emit":true}', at=0.0
    )
    watched = asyncio.create_task(two.there.async_emit("note", 1, settle=True))
    for store in (two.other, two.owner, two.other):
        await store.post(request)
    await watched
    (found,) = await two.other.requests(["twice"])
    assert found.reply is not None
    assert found.reply.ok
    assert sorted(await two.there.state.async_get("words")) == ["1", "x"]


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        ("no such kind", b"{}", "does not know the request"),
        ("emit", b"no json", "cannot be read"),
        ("emit", b'{"name":"note","value":1,"surprise":1}', "arguments that the owner does not know"),
        ("emit", b'{"name":"note","value":{"$":"type:os.system","v":{}}}', "not registered"),
        ("emit", b"[" * 5000, "cannot be read"),
        ("emit", b"{}", ""),
        ("state.set", b'{"key":["words"],"value":1,"emit":1}', ""),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_and_disturbs_nothing(
    two: Processes, kind: str, data: bytes, error: str
) -> None:
    await two.other.post(Request(id="odd", execution=ID, kind=kind, data=data, at=0.0))
    await two.there.async_emit("note", 1, settle=True)
    (found,) = await two.other.requests(["odd"])
    assert found.reply is not None
    assert not found.reply.ok
    assert error in found.reply.data.decode()
    assert two.there.state.get("words") == ["1"]


async def test_a_question_of_a_sub_flow_is_answered_from_elsewhere(open_store: Open) -> None:
    def outer() -> TriggerFlow:
        inner = TriggerFlow("inner")
        inner.to(lambda data: data.pause_for(interrupt_id="deep", schema=int)).to(lambda data: data.value + 1).end()
        flow = TriggerFlow("outer")
        flow.to_sub_flow(inner).end()
        return flow

    async with open_store() as owner, open_store() as other:
        here = outer().create_execution(store=owner, id=ID)
        await here.async_begin(0)
        await here.async_settled()
        there = await outer().async_resume(ID, store=other)
        assert there.get_status() == here.get_status() == "waiting"
        assert await there.async_settled(timeout=1)
        (question,) = there.get_pending_interrupts()
        with pytest.raises(ContractError):
            await there.async_continue_with(question, "no number")
        with pytest.raises(UsageError, match="export"):
            there.save()
        await there.async_continue_with(question, 4)
        assert await there.async_get_result() == 5


async def test_an_execution_that_was_created_elsewhere_is_started_from_here(open_store: Open) -> None:
    flow = TriggerFlow("f")
    flow.to(lambda data: data.value + 1).end()
    async with open_store() as owner, open_store() as other:
        here = flow.create_execution(store=owner, id=ID)
        await here.async_open()
        await here.state.async_set("key", "value")
        there = flow.create_execution(store=other, id=ID)
        assert await there.async_start(1) == 2
        assert await here.async_get_result() == 2
        assert await there.state.async_get("key") == "value"


# -- sync methods ------------------------------------------------------------------------------------------------------

AT_ONCE: dict[str, tuple[Callable[[Execution[Any]], Any], str]] = {
    "emit": (lambda it: it.emit("note", 1), "execution.async_emit"),
    "put": (lambda it: it.put_into_stream(1), "execution.async_put_into_stream"),
    "stop": (lambda it: it.stop_stream(), "execution.async_stop_stream"),
    "set_result": (lambda it: it.set_result(1), "execution.async_set_result"),
    "cancel_signal": (lambda it: it.cancel_signal("note"), "execution.async_cancel_signal"),
    "state.set": (lambda it: it.state.set("count", 1), "execution.state.async_set"),
    "state.append": (lambda it: it.state.append("words", "a"), "execution.state.async_append"),
    "state.delete": (lambda it: it.state.delete("words"), "execution.state.async_delete"),
    "state.reduce": (lambda it: it.state.reduce("count", 1), "execution.state.async_"),
}


@pytest.mark.parametrize("name", AT_ONCE)
async def test_a_method_that_cannot_wait_names_the_one_that_can(two: Processes, name: str) -> None:
    call, awaited = AT_ONCE[name]
    with pytest.raises(UsageError, match=awaited):
        call(two.there)
    assert two.there.get_status() == "waiting"


async def test_a_function_cannot_travel(two: Processes) -> None:
    """ "`state.update(function)` cannot travel: UsageError that names reduce" """
    with pytest.raises(UsageError, match="async_reduce"):
        await two.there.state.async_update("count", lambda held: held + 1)
    assert await two.here.state.async_update("count", lambda held: held + 1) == 1


async def test_a_blocking_answer_on_a_loop_is_refused_as_ever(two: Processes) -> None:
    with pytest.raises(BlockingCallError):
        two.there.continue_with("q", 1)


def test_a_script_uses_the_handles_of_executions_elsewhere(open_store: Open) -> None:
    flow = desk()
    with open_store() as owner, open_store() as other:
        here = flow.create_execution(store=owner, id=ID)
        with suppress(TimeoutError):
            here.start("start", timeout=0.05)
        there = desk().resume(ID, store=other)
        there.emit("note", 1)
        there.continue_with("q", 3)
        assert there.get_result() == here.get_result() == 3


# -- who runs it -------------------------------------------------------------------------------------------------------


async def test_nobody_sees_that_an_execution_is_leased(open_store: Open) -> None:
    async with open_store() as owner, open_store() as second, open_store() as third:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        handles = [await desk().async_resume(ID, store=second), desk().create_execution(store=third, id=ID)]
        for number, handle in enumerate(handles):
            await handle.async_emit("note", number, settle=True)
        assert here.state.get("words") == ["0", "1"]


async def test_an_attached_handle_never_runs_the_execution(open_store: Open) -> None:
    """ "`attach` never runs it here; actions are left to the owner or to a worker" """
    async with open_store() as owner, open_store() as other:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        there = await desk().async_attach(ID, store=other)
        await here.async_suspend()
        asked = asyncio.create_task(there.async_continue_with("q", 2))
        await asyncio.sleep(20)
        assert not asked.done()
        assert (await other.find(ID)).owner is None
        again = await desk().async_resume(ID, store=owner)
        assert (await asked)["response"] == 2
        assert await again.async_get_result() == await there.async_get_result() == 2


async def test_an_attached_handle_of_an_unknown_execution(open_store: Open) -> None:
    async with open_store() as store:
        with pytest.raises(UnknownExecution):
            await desk().async_attach("no such", store=store)


async def test_a_parked_execution_is_continued_by_who_uses_it(two: Processes) -> None:
    await two.here.async_suspend()
    await two.there.async_continue_with("q", 2)
    assert (await two.there.async_get_result()) == 2


async def test_a_handle_that_was_dropped_leaves_the_execution_to_others(open_store: Open) -> None:
    """An execution that waits, and of which its process has no handle any more, can still be asked."""
    async with open_store() as owner, open_store() as other:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        keep = TriggerFlow("keep")  # another execution keeps the session of the store
        keep.signal("x", external=True)
        keep.when("x").to(lambda data: None)
        kept = keep.create_execution(store=owner)
        await kept.async_begin()
        del here
        gc.collect()
        there = await desk().async_resume(ID, store=other)
        async with asyncio.timeout(30):
            await there.async_continue_with("q", 2)
            assert await there.async_get_result() == 2


async def test_a_former_owner_tells_who_waits_and_its_handle_shows_the_new_one() -> None:
    """ "a former owner that lost its execution tells its waiters and readers within a beat" """
    data = MemoryData()
    async with MemoryStore(data) as owner, MemoryStore(data) as other:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        waiting = asyncio.create_task(here.async_get_result())
        reading = asyncio.create_task(drain(here.get_async_runtime_stream()))
        await asyncio.sleep(0.1)
        del data.owners[owner.owner]  # it was frozen for so long that its lease has ended
        there = await desk().async_resume(ID, store=other)
        data.owners[owner.owner] = float("inf")
        await there.async_put_into_stream("new owner")
        await asyncio.sleep(3)
        assert waiting.done()
        assert reading.done()
        with pytest.raises(StoreConflict, match="does not run in this process any more"):
            await waiting
        assert isinstance((await reading)[1], StoreConflict)
        await here.async_continue_with("q", 9)
        assert await here.async_get_result() == await there.async_get_result() == 9


async def test_an_action_of_a_former_owner_is_performed_by_the_new_one() -> None:
    """It finds out by its own commit, which changes nothing."""
    data = MemoryData()
    async with MemoryStore(data) as owner, MemoryStore(data) as other:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        del data.owners[owner.owner]
        there = await desk().async_resume(ID, store=other)
        assert (await here.async_continue_with("q", 9))["response"] == 9
        assert await here.async_get_result() == await there.async_get_result() == 9


async def test_who_waits_takes_over_when_the_owner_dies() -> None:
    """ "when the owner dies: with resume the mirror takes over when it is used" """
    data = MemoryData()
    async with MemoryStore(data) as other, MemoryStore(data, lease=30) as owner:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        there = await desk().async_resume(ID, store=other)
        reader = there.get_async_runtime_stream()
        reading = asyncio.create_task(read(reader))
        waiting = asyncio.create_task(there.async_get_result())
        await asyncio.sleep(1)
        owner.crash()
        began = asyncio.get_running_loop().time()
        await there.async_continue_with("q", 3)
        assert 25 < asyncio.get_running_loop().time() - began < 45
        assert await waiting == 3
        assert len(await reading) == reader.position == 3


async def test_two_creators_of_one_id_have_one_execution(open_store: Open) -> None:
    """Both find no execution of the id, and both create it: one commit is refused, and its handle shows the other."""
    flow = TriggerFlow("f")
    ran: list[Any] = []

    async def work(data: Data) -> Any:
        ran.append(data.value)
        await asyncio.sleep(0.1)
        return data.value

    flow.to(work).end()
    async with open_store() as one, open_store() as other:
        handles = [flow.create_execution(store=store, id=ID) for store in (one, other)]
        assert await asyncio.gather(*(it.async_start(5) for it in handles)) == [5, 5]
    assert ran == [5]


async def test_a_caller_that_gives_up_withdraws_its_request() -> None:
    data = MemoryData()
    async with MemoryStore(data) as owner, MemoryStore(data) as other:
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        there = await desk().async_attach(ID, store=other)
        await here.async_suspend()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await there.async_emit("note", 1)
        await asyncio.sleep(0.1)
        assert not data.inbox
        again = await desk().async_resume(ID, store=owner)
        await again.async_settled()
        assert again.state.get("words") is None


async def test_an_action_after_the_end_is_refused_as_it_is_here(two: Processes) -> None:
    await two.here.async_continue_with("q", 1)
    await two.here.async_get_result()
    for handle in (two.here, two.there):
        with pytest.raises(ExecutionClosed, match="has ended"):
            await handle.async_emit("note", 1)
        assert await handle.async_cancel_signal("note") == 0
        await handle.async_cancel()
    assert not await two.other.requests()


async def test_an_action_that_comes_as_the_execution_ends_is_refused_or_performed(open_store: Open) -> None:
    """Each of many signals that race with the end is accounted for."""
    async with open_store() as owner, open_store() as other:
        for attempt in range(5):
            id = f"{ID}-{attempt}"
            here = desk().create_execution(store=owner, id=id)
            await here.async_begin("start")
            await here.async_settled()
            there = await desk().async_resume(id, store=other)
            calls = [there.async_emit("note", number) for number in range(10)]
            calls.insert(attempt, here.async_continue_with("q", 1))  # type: ignore[arg-type]
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(it, ExecutionClosed) for it in found if isinstance(it, BaseException))
            performed = sum(it is None for it in found)
            assert await there.async_get_result() == 1
            records = [type(record).__name__ async for _, record in desk().history(other).journal(id)]
            assert records.count("Emitted") == performed


async def test_a_retried_execution_is_shown_again(open_store: Open) -> None:
    broken = [True]

    def make() -> TriggerFlow:
        flow = TriggerFlow("f")

        async def work(data: Data) -> Any:
            await data.async_put_into_stream("working")
            if broken:
                raise ValueError("broken")
            await asyncio.sleep(1)
            return "done"

        flow.to(work).end()
        return flow

    async with open_store() as owner, open_store() as other:
        here = make().create_execution(store=owner, id=ID)
        with pytest.raises(ValueError, match="broken"):
            await here.async_start()
        there = await make().async_resume(ID, store=other)
        assert there.get_status() == "failed"
        broken.clear()
        again = await make().async_retry(ID, store=owner)
        shown = await make().async_resume(ID, store=other)
        assert shown.get_status() == "running"
        reading = asyncio.create_task(read(shown.get_async_runtime_stream()))
        assert await shown.async_get_result() == await again.async_get_result() == "done"
        assert await reading == ["working"] * len(await reading)


async def test_approvals_at_one_worker_while_another_one_streams(open_store: Open) -> None:
    """Two workers of a web server: a browser reads the stream at A, and the approvals arrive at B."""

    def make() -> TriggerFlow:
        flow = TriggerFlow("approvals")

        @flow.chunk("step")
        async def step(data: Data) -> Any:
            for number in range(3):
                await data.async_put_into_stream(f"{data.value}.{number}")
            data.pause_for(interrupt_id=f"approve-{data.value}", payload=data.value, resume_event="approved")

        @flow.chunk("next")
        async def after(data: Data) -> None:
            if data.value <= 3:
                await data.async_emit("step", data.value)
            else:
                await data.async_set_result("all approved")

        flow.to(step)
        flow.when("step").to(step)
        flow.when("approved").to(after)
        return flow

    async with open_store() as a, open_store() as b:
        streaming = make().create_execution(store=a, id=ID)
        items: list[Any] = []

        async def browser() -> None:
            items.extend([item async for item in streaming.get_async_runtime_stream(0)])

        reading = asyncio.create_task(browser())
        await asyncio.sleep(0.1)
        for number in range(4):
            handle = await make().async_resume(ID, store=b)
            await handle.async_settled()
            pending = handle.get_pending_interrupts()
            assert list(pending) == [f"approve-{number}"]
            await handle.async_continue_with(f"approve-{number}", number + 1)
        await reading
        assert [it for it in items if isinstance(it, str)] == [f"{s}.{n}" for s in range(4) for n in range(3)]
        assert await streaming.async_get_result() == "all approved"
        assert runtime_of(handle) is not runtime_of(streaming)


async def test_a_worker_of_this_process_runs_what_an_attached_handle_shows(open_store: Open) -> None:
    """ "attach: actions are left to the owner or to a worker", and the worker may be one of this process."""
    flow = TriggerFlow("f")

    @flow.chunk("put")
    async def put(data: Data) -> Any:
        await data.async_put_into_stream(data.value)
        return data.value

    flow.to(put).end()
    async with open_store() as store, Worker(store, flow, poll=5):
        handle = await flow.async_submit("value", store=store)
        assert [item async for item in handle.get_async_runtime_stream()] == ["value"]
        assert await handle.async_get_result() == "value"


async def test_a_handle_that_was_dropped_leaves_the_execution_to_an_attached_one_and_a_worker() -> None:
    """Its own process attaches to it, which runs nothing: a worker of another process does."""
    data = MemoryData()
    async with MemoryStore(data) as owner, MemoryStore(data) as other, Worker(other, desk(), poll=1):
        here = desk().create_execution(store=owner, id=ID)
        await here.async_begin("start")
        await here.async_settled()
        await here.async_suspend()
        here = await desk().async_resume(ID, store=owner)
        assert (await owner.find(ID)).owner == owner.owner
        del here
        gc.collect()
        there = await desk().async_attach(ID, store=owner)
        async with asyncio.timeout(30):
            await there.async_emit("note", 1, settle=True)
        assert there.state.get("words") == ["1"]
