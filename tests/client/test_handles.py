"""A remote handle does what the handle in process does, with the same names, values and errors."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.client.places import PLACES, Place
from triggerflow import Execution, TriggerFlow
from triggerflow.backend import StoreBackend
from triggerflow.client import Client, RemoteExecution, RemoteFlow, RemoteState, RemoteStreamReader
from triggerflow.errors import (
    AlreadyAnswered,
    AlreadyStarted,
    BlockingCallError,
    ContractError,
    ExecutionCancelled,
    ExecutionClosed,
    ExecutionExists,
    RemoteChunkError,
    StoreUnavailable,
    UnknownExecution,
    UnknownInterrupt,
    UsageError,
)
from triggerflow.run.state import State
from triggerflow.run.stream import StreamReader
from triggerflow.stores import MemoryStore

#: They wait for sockets.
pytestmark = pytest.mark.real_time


def review() -> TriggerFlow:
    """Puts the draft into its stream, asks for a verdict, listens to notes, and returns what it has."""
    flow = TriggerFlow("review")
    flow.signal("note", str, external=True)
    flow.set_contract(initial_input=str)

    @flow.chunk("draft")
    async def draft(data: Any) -> None:
        for word in data.value.split():
            await data.async_put_into_stream({"delta": word})
        data.state.set("draft", data.value)
        data.pause_for(type="approval", payload={"draft": data.value}, schema=bool, interrupt_id="verdict")

    @flow.chunk("note")
    async def note(data: Any) -> None:
        data.state.append("notes", data.value)

    @flow.chunk("publish")
    async def publish(data: Any) -> Any:
        if not data.value:
            raise ValueError("refused")
        await data.async_put_into_stream("published")
        return {"draft": data.state.get("draft"), "notes": list(data.state.get("notes", []))}

    flow.to(draft).to(publish).end()
    flow.when("note").to(note)
    return flow


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with Place(request.param, review()) as made:
        yield made


async def until(condition: Callable[[], Any], execution: Any) -> Any:
    """Wait until what is read of an execution is true."""
    async with asyncio.timeout(20):
        while not (found := await execution.async_committed(condition)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


async def test_a_question_is_asked_and_answered(place: Place) -> None:
    execution = await place.flow("review").async_submit("red sails", id="one", labels={"team": "sea"})
    assert execution.id == "one"
    (question,) = (await until(execution.get_pending_interrupts, execution)).values()
    asked = {"id": "verdict", "type": "approval", "payload": {"draft": "red sails"}, "resume_event": None}
    assert question == {**asked, "expires": None, "status": "waiting", "response": None}
    assert await execution.async_settled(timeout=10)
    assert await execution.async_committed(execution.get_status) == "waiting"
    with pytest.raises(UnknownInterrupt):
        await execution.async_continue_with("other", True)
    with pytest.raises(ContractError):
        await execution.async_continue_with("verdict", "maybe")
    with pytest.raises(ContractError):
        await execution.async_emit("note", 3)
    await execution.async_emit("note", "shorter")
    await until(lambda: "notes" in execution.state, execution)
    answered = await execution.async_continue_with("verdict", True, request_id="form-1")
    assert answered == {**asked, "expires": None, "status": "resumed", "response": True}
    assert await execution.async_get_result(timeout=20) == {"draft": "red sails", "notes": ["shorter"]}
    assert await execution.async_continue_with("verdict", True, request_id="form-1") == answered
    with pytest.raises(ExecutionClosed):
        await execution.async_continue_with("verdict", True)
    assert await execution.async_committed(execution.get_interrupts) == {"verdict": answered}
    assert await execution.async_committed(lambda: execution.get_interrupt("verdict")) == answered
    with pytest.raises(UnknownInterrupt):
        await execution.async_committed(lambda: execution.get_interrupt("other"))
    assert await execution.async_committed(execution.get_status) == "completed"
    assert await execution.async_committed(execution.state.to_dict) == {"draft": "red sails", "notes": ["shorter"]}


async def at_last(reader: Any) -> Any:
    """The next item, however often the time-out of the reader comes first."""
    while True:
        with suppress(TimeoutError):
            return await anext(reader)


async def test_the_stream_is_read_from_any_item_on(place: Place) -> None:
    execution = await place.flow("review").async_submit("a b c")
    reader = execution.get_async_runtime_stream(timeout=20)
    assert [await anext(reader) for _ in range(3)] == [{"delta": "a"}, {"delta": "b"}, {"delta": "c"}]
    assert (await anext(reader))["type"] == "interrupt"
    assert reader.position == 4
    await execution.async_put_into_stream("from outside")
    assert await anext(reader) == "from outside"
    impatient = execution.get_async_runtime_stream(after=5, timeout=0.05)
    with pytest.raises(TimeoutError, match="no stream item"):
        await anext(impatient)
    await until(execution.get_pending_interrupts, execution)
    await execution.async_continue_with("verdict", True)
    assert [it["action"] if type(it) is dict else it async for it in reader] == ["resume", "published"]
    assert reader.position == 7
    assert (await at_last(impatient))["action"] == "resume"
    assert await at_last(impatient) == "published"
    late = execution.get_async_runtime_stream(after=1, compact=True)
    assert [it for it in [it async for it in late] if "type" not in it] == [
        {"delta": "bc"},
        "from outside",
        "published",
    ]
    await reader.aclose()
    assert [it async for it in reader] == []


async def test_a_failure_is_raised_by_all_who_wait(place: Place) -> None:
    execution = await place.flow("review").async_submit("a")
    reader = execution.get_async_runtime_stream()
    assert await anext(reader) == {"delta": "a"}
    await until(execution.get_pending_interrupts, execution)
    await execution.async_continue_with("verdict", False)
    for _ in range(2):
        with pytest.raises(RemoteChunkError, match="chunk 'publish' failed: ValueError: refused"):
            await execution.async_get_result(timeout=20)
    with pytest.raises(RemoteChunkError, match="refused"):
        [it async for it in reader]
    with pytest.raises(RemoteChunkError, match="refused"):
        await execution.async_close()
    assert await execution.async_committed(execution.get_status) == "failed"
    again = await place.flow("review").async_retry(execution.id)
    assert again == execution or place.kind == "process"
    with pytest.raises((RemoteChunkError, ValueError), match="refused"):  # in process, this one runs it now
        await again.async_get_result(timeout=20)


async def test_what_is_asked_of_an_execution_that_has_ended(place: Place) -> None:
    execution = await place.flow("review").async_submit("a")
    await until(execution.get_pending_interrupts, execution)
    await execution.async_cancel("enough")
    await execution.async_cancel("again")
    with pytest.raises(ExecutionCancelled) as raised:
        await execution.async_get_result(timeout=20)
    assert (raised.value.reason, raised.value.execution_id) == ("enough", execution.id)
    assert str(raised.value) == f"execution {execution.id} was cancelled: enough"
    assert await execution.async_cancel_signal("note") == 0
    for call in (
        execution.async_emit("note", "late"),
        execution.async_put_into_stream("late"),
        execution.async_set_result("late"),
        execution.state.async_set("key", "late"),
        execution.state.async_delete("key"),
    ):
        with pytest.raises(ExecutionClosed):
            await call
    assert await execution.async_settled()


async def test_signals_state_and_results_from_outside(place: Place) -> None:
    execution = await place.flow("review").async_submit("a")
    await until(execution.get_pending_interrupts, execution)
    await execution.async_emit("note", "later", delay=60.0)
    await execution.async_emit("note", "later", delay=60.0)
    assert not await execution.async_settled(timeout=0.2)
    assert await execution.async_cancel_signal("note") == 2
    await execution.state.async_set("key", [1, 2])
    assert await execution.state.async_get("key") == [1, 2]
    assert await execution.state.async_get("none", "default") == "default"
    await execution.state.async_delete("key")
    assert await execution.async_committed(lambda: "key" in execution.state) is False
    assert await execution.async_committed(lambda: (len(execution.state), list(execution.state))) == (1, ["draft"])
    with pytest.raises(KeyError):
        await execution.async_committed(lambda: execution.state["key"])
    await execution.async_set_result("first")
    await execution.async_set_result("second", replace=True)
    await execution.async_set_result("third")
    await execution.async_continue_with("verdict", False)
    with pytest.raises(TimeoutError):
        await (await place.flow("review").async_submit("b")).async_get_result(timeout=0.1)


async def test_starts_follow_their_policy(place: Place) -> None:
    flow = place.flow("review")
    with pytest.raises(ContractError):
        await flow.async_submit(3)
    with pytest.raises(UnknownExecution):
        await flow.async_attach("one")
    execution = flow.create_execution(id="one")
    assert await execution.async_committed(execution.get_status) == "created"
    with pytest.raises(UsageError, match="was not started"):
        await execution.async_get_result(timeout=1)
    await execution.async_begin("a")
    await execution.async_begin("a")
    with pytest.raises(AlreadyStarted):
        await execution.async_begin("b")
    with pytest.raises(ExecutionExists):
        await flow.async_submit("a", id="one")
    assert (await flow.async_submit("other", id="one", reuse="existing")).id == "one"
    assert (await flow.async_submit("other", id="one", reuse="new_after_end")).id == "one"
    attached = await flow.async_attach("one")
    with pytest.raises(TimeoutError):
        await attached.async_start("a", timeout=0.1)
    with pytest.raises(AlreadyStarted):
        await attached.async_start("b", timeout=0.1)
    await attached.async_cancel()
    assert (await flow.async_submit("other", id="one", reuse="new_after_end")).id == "one.2"


async def test_answers_of_two_people_count_once(place: Place) -> None:
    execution = await place.flow("review").async_submit("a")
    await until(execution.get_pending_interrupts, execution)
    await execution.async_emit("note", "kept busy")
    both = [execution.async_continue_with("verdict", True, request_id=it) for it in ("one", "two")]
    found = await asyncio.gather(*both, return_exceptions=True)
    errors = [it for it in found if isinstance(it, BaseException)]
    assert len(errors) == 1
    assert isinstance(errors[0], AlreadyAnswered | ExecutionClosed)


async def test_a_flow_that_is_run_once_is_cancelled_with_the_call() -> None:
    flow = TriggerFlow("slow")

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        await data.async_put_into_stream(data.value)
        await asyncio.sleep(0 if data.value == "quick" else 60)
        return data.value

    flow.to(work).end()
    for kind in ("backend", "server"):
        async with Place(kind, flow) as place:
            remote = place.client.flow("slow")
            assert await remote.async_start("quick", timeout=20) == "quick"
            assert [it async for it in remote.get_async_runtime_stream("quick")] == ["quick"]
            with pytest.raises(TimeoutError, match="it is cancelled"):
                await remote.async_start("late", timeout=0.3)
            call = asyncio.create_task(remote.async_start("left"))
            while len((await place.client.backend.executions()).executions) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            counts = (await place.client.backend.counts())["slow"]
            assert counts == {"completed": 2, "cancelled": 2}


# -- names -------------------------------------------------------------------------------------------------------------

#: What only the process that has the code of a flow can do.
WRITING = {
    "batch", "chunk", "chunks", "definition", "for_each", "get_contract", "get_flow_config", "get_json_flow",
    "get_yaml_flow", "if_condition", "inspect_load", "load_execution", "load_flow_config", "load_json_flow",
    "load_yaml_flow", "match", "on_error", "register_chunk_handler", "register_condition_handler", "register_type",
    "set_contract", "set_state", "side_branch", "signal", "skip_exceptions", "source", "to", "to_dot", "to_mermaid",
    "to_sub_flow", "when",
}  # fmt: skip
#: What is about a store that the process has open, or about its objects.
OWNING = {
    "append_flow_data", "async_append_flow_data", "async_del_flow_data", "async_get_flow_data", "async_resume",
    "async_schedule", "async_set_flow_data", "del_flow_data", "get_flow_data", "history", "resources", "resume",
    "schedule", "schedules", "set_flow_data", "set_runtime_resource", "set_store", "update_runtime_resources",
}  # fmt: skip
#: In process, the class of a handle, of its flow, of its state and of its reader; then the remote one, what only the
#: first one has, and what only the second one has.
PAIRS = [
    (Execution, RemoteExecution, set[str](), set[str]()),
    (TriggerFlow, RemoteFlow, WRITING | OWNING, {"async_contract", "async_drawing"}),
    (State, RemoteState, set[str](), set[str]()),
    (StreamReader, RemoteStreamReader, {"peek", "take"}, set[str]()),
]


def public(kind: type[Any]) -> dict[str, Any]:
    """The public methods and properties of a class."""
    return {name: value for it in reversed(kind.__mro__) for name, value in vars(it).items()
            if not name.startswith("_") and (callable(value) or isinstance(value, property))}  # fmt: skip


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """The names, kinds and defaults of the parameters."""
    found = inspect.signature(inspect.unwrap(function)).parameters.values()
    return [(it.name, it.kind, it.default) for it in found]


@pytest.mark.parametrize(
    ("here", "there", "only_here", "only_there"), PAIRS, ids=lambda it: getattr(it, "__name__", "")
)
def test_names_and_arguments_are_the_same(
    here: type[Any], there: type[Any], only_here: set[str], only_there: set[str]
) -> None:
    one, other = public(here), public(there)
    assert only_here - set(dir(here)) == set()
    assert set(one) - only_here == set(other) - only_there
    for name in set(one) & set(other):
        assert isinstance(one[name], property) == isinstance(other[name], property), name
        if not isinstance(one[name], property):
            assert parameters(one[name]) == parameters(other[name]), name
            assert inspect.iscoroutinefunction(one[name]) == inspect.iscoroutinefunction(other[name]), name


NOT_CARRIED: list[Callable[[RemoteFlow, RemoteExecution], Any]] = [
    lambda flow, it: flow.create_execution(keep_open=True),
    lambda flow, it: flow.create_execution(runtime_resources={"key": 1}),
    lambda flow, it: flow.async_submit("a", concurrency=3),
    lambda flow, it: flow.async_submit("a", max_losses=1),
    lambda flow, it: flow.async_start("a", execution_timeout=3.0),
    lambda flow, it: it.async_suspend(),
    lambda flow, it: it.async_stop_stream(),
    lambda flow, it: it.async_emit("note", "a", settle=True),
    lambda flow, it: it.async_emit("note", "a", delay=1.0, id="mine"),
    lambda flow, it: it.async_emit("note", "a", delay=1.0, keeps_open=False),
    lambda flow, it: it.get_async_runtime_stream(lag="drop_oldest"),
    lambda flow, it: it.state.async_set("key", 1, emit=False),
    lambda flow, it: it.state.async_append("key", 1),
    lambda flow, it: it.state.async_update("key", lambda old: old),
    lambda flow, it: it.state.async_reduce("key", 1),
    lambda flow, it: it.state.typed(dict),
    lambda flow, it: it.save(),
    lambda flow, it: it.resources,
    lambda flow, it: it.require_resource("key"),
    lambda flow, it: it.set_runtime_resource("key", 1),
    lambda flow, it: it.update_runtime_resources({"key": 1}),
    lambda flow, it: it.records,
    lambda flow, it: it.skipped,
    lambda flow, it: it.add_observer(print),
]


async def test_what_cannot_be_carried_says_so_and_what_to_do() -> None:
    async with Place("backend", review()) as place:
        flow = place.client.flow("review")
        execution = await flow.async_submit("a")
        for call in NOT_CARRIED:
            with pytest.raises(UsageError, match=r"cannot be carried by a backend: .{10}"):
                await call(flow, execution)


async def test_on_a_loop_a_read_says_how_to_await_it() -> None:
    async with Place("backend", review()) as place:
        execution = await place.client.flow("review").async_submit("a")
        for read in (execution.get_status, execution.get_interrupts, execution.state.to_dict):
            with pytest.raises(BlockingCallError, match=r"await execution\.async_committed"):
                read()
        for call in (lambda: execution.emit("note", "a"), execution.get_result, execution.begin):
            with pytest.raises(BlockingCallError, match=r"await execution\.async_"):
                call()


async def test_a_cancelled_call_ends_as_cancelled_also_where_its_execution_cannot_be_cancelled() -> None:
    """`RemoteFlow.async_start`: "if this call is cancelled, the execution is cancelled", and so is the call."""

    class Unreachable(StoreBackend):
        """A store that is lost before the cancellation."""

        async def act(self, id: str, action: Any, **options: Any) -> Any:
            raise StoreUnavailable("the store is gone")

    async with MemoryStore() as store:
        backend = Unreachable(store, review())
        flow = Client(backend).flow("review")
        calling = asyncio.create_task(flow.async_start("a"))
        while not (await backend.executions()).executions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        with pytest.raises(TimeoutError, match=r"after 0\.05 s; it could not be cancelled \(the store is gone\)"):
            await flow.async_start("b", timeout=0.05)
