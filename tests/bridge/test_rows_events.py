"""The event centre, row by row: which hook hears what, and what each event says."""

import asyncio
from typing import Any

import pytest
from agently import Agently, TriggerFlow
from agently.types.data import RunContext, RuntimeEvent

from tests.bridge.support import boom, double, hooked, ident, inc, items_of

Flow = TriggerFlow[Any, Any, Any]
CENTER = Agently.event_center


def about(event: Any, *keys: str) -> tuple[Any, ...]:
    return tuple(event.payload[key] for key in keys)


def chunks(events: list[Any], kind: str) -> list[Any]:
    return [it for it in events if it.event_type.startswith("chunk.") and it.payload["operator_kind"] == kind]


async def question(data: Any) -> Any:
    return await data.async_pause_for(type="ask", payload={"a": 1}, resume_event="Go", interrupt_id="i")


def asking() -> Flow:
    flow = Flow(name="F")
    flow.to(("ask", question))
    flow.when("Go").to(("got", ident)).end()
    return flow


# -- hooks -----------------------------------------------------------------------------------------------------------


def heard(events: list[str], *, types: Any, name: str | None = None) -> list[str]:
    """What a hook for some types hears of events."""
    seen: list[str] = []

    def hook(event: Any) -> None:
        seen.append(event.event_type)

    assert CENTER.register_hook(hook, event_types=types, hook_name=name) is None
    try:
        for event in events:
            CENTER.emit({"event_type": event})
    finally:
        CENTER.unregister_hook(name or "hook")
    CENTER.emit({"event_type": events[0]})  # nobody hears it any more
    return seen


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (None, ["rows.a", "rows.b"]),
        ("rows.a", ["rows.a"]),
        (["rows.a", "rows.b"], ["rows.a", "rows.b"]),
        (("rows.b",), ["rows.b"]),
        ("rows.*", []),
        ("*", []),
    ],
)
def test_a_hook_hears_the_types_it_names_and_patterns_are_none(types: Any, expected: list[str]) -> None:
    assert heard(["rows.a", "rows.b"], types=types) == expected
    assert heard(["rows.a", "rows.b"], types=types, name="named") == expected


def test_the_second_hook_of_a_name_replaces_the_first() -> None:
    seen: list[str] = []
    CENTER.register_hook(lambda event: seen.append("first"), event_types="rows.a", hook_name="row")
    CENTER.register_hook(lambda event: seen.append("second"), event_types="rows.b", hook_name="row")
    try:
        CENTER.emit({"event_type": "rows.a"})
        CENTER.emit({"event_type": "rows.b"})
    finally:
        CENTER.unregister_hook("row")
    assert seen == ["second"]


async def test_a_hook_that_fails_keeps_others_from_nothing() -> None:
    def fails(event: Any) -> None:
        raise LookupError("sync")

    async def fails_later(event: Any) -> None:
        raise LookupError("async")

    CENTER.register_hook(fails, event_types="rows.a", hook_name="one")
    CENTER.register_hook(fails_later, event_types="rows.a", hook_name="two")
    try:
        with hooked("rows.a") as events:
            await CENTER.async_emit({"event_type": "rows.a"})
            CENTER.emit({"event_type": "rows.a"})
            await CENTER.async_emit({"event_type": "rows.a"})
    finally:
        CENTER.unregister_hook("one")
        CENTER.unregister_hook("two")
    assert len(events) == 3


async def test_an_awaited_event_waits_for_its_async_hooks() -> None:
    order: list[str] = []

    async def hook(event: Any) -> None:
        order.append("hook")

    CENTER.register_hook(hook, event_types="rows.a", hook_name="row")
    try:
        await CENTER.async_emit({"event_type": "rows.a"})
        order.append("after")
    finally:
        CENTER.unregister_hook("row")
    assert order == ["hook", "after"]


# -- events, run contexts, errors ------------------------------------------------------------------------------------


def test_an_event_can_be_built() -> None:
    event = RuntimeEvent(event_type="rows.a", payload={"x": 1})
    with hooked("rows.a") as events:
        CENTER.emit(event)
        Agently.emit_runtime({"event_type": "rows.a", "level": "WARNING", "message": "text", "meta": {"k": 1}})
    told = {"event_id", "event_type", "source", "level", "message", "payload", "error", "run", "meta", "timestamp"}
    assert [set(it.model_dump()) for it in events] == [told, told]
    assert [(it.payload, it.level, it.message, it.meta) for it in events] == [
        ({"x": 1}, "INFO", None, {}), (None, "WARNING", "text", {"k": 1}),
    ]  # fmt: skip
    assert events[0].event_id != events[1].event_id
    assert isinstance(events[0].timestamp, int)


def test_events_can_be_written_as_json() -> None:
    event = RuntimeEvent(event_type="rows.a", payload={"x": 1})
    assert '"rows.a"' in event.model_dump_json()
    assert event.model_dump(mode="json")["payload"] == {"x": 1}
    assert "message" not in event.model_dump(exclude_none=True)
    assert event.model_copy(update={"level": "ERROR"}).level == "ERROR"


def test_the_run_of_an_event_of_ones_own_becomes_a_run_context() -> None:
    with hooked("rows.a") as events:
        CENTER.emit({"event_type": "rows.a", "run": {"run_id": "r", "run_kind": "request"}})
    assert (events[0].run.root_run_id, events[0].run.run_kind) == ("r", "request")


@pytest.mark.parametrize("error", [ValueError("v"), {"type": "ValueError", "message": "v"}])
def test_the_error_of_an_event_of_ones_own_becomes_a_description(error: Any) -> None:
    with hooked("rows.a") as events:
        CENTER.emit({"event_type": "rows.a", "error": error})
    told = events[0].error
    assert (told.type, told.message, told.retryable, told.fatal, told.code, told.details) == (
        "ValueError", "v", None, None, None, {},
    )  # fmt: skip


@pytest.mark.parametrize("event", [{"payload": 1}, {"event_type": "rows.a", "level": "LOUD"}])
def test_an_event_that_is_none_is_a_value_error(event: Any) -> None:
    with pytest.raises(ValueError, match="RuntimeEvent"):
        CENTER.emit(event)


def test_run_contexts_make_others() -> None:
    context = RunContext.create(run_kind="request", agent_id="A", session_id="S", meta={"a": 1})  # type: ignore[attr-defined]
    assert (context.root_run_id, context.parent_run_id) == (context.run_id, None)
    child = context.create_child(run_kind="action", execution_id="E")
    assert (child.parent_run_id, child.root_run_id, child.run_kind) == (context.run_id, context.run_id, "action")
    assert (child.agent_id, child.session_id, child.execution_id, child.meta) == ("A", "S", "E", {"a": 1})
    assert child.run_id != context.run_id
    assert RunContext.create(run_kind="x", run_id="mine", parent=child).parent_run_id == child.run_id  # type: ignore[attr-defined]


# -- emitters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
async def test_the_levels_of_an_emitter_take_a_message(level: str) -> None:
    emitter: Any = CENTER.create_emitter("me", base_meta={"a": 1})
    with hooked() as events:
        getattr(emitter, level)("text")
        await getattr(emitter, f"async_{level}")("text", event_type="rows.a", payload=5, meta={"b": 2})
    assert [(it.event_type, it.level, it.message) for it in events] == [
        (f"runtime.{level}", level.upper(), "text"),
        ("rows.a", level.upper(), "text"),
    ]
    assert (events[1].source, events[1].payload, events[1].meta) == ("me", 5, {"a": 1, "b": 2})


@pytest.mark.parametrize("level", ["error", "critical"])
async def test_an_emitter_tells_of_an_error_and_raises_it(level: str) -> None:
    emitter: Any = CENTER.create_emitter("me")
    with hooked() as events:
        with pytest.raises(ValueError, match="mine"):
            getattr(emitter, level)(ValueError("mine"))
        with pytest.raises(RuntimeError, match="text"):
            await getattr(emitter, f"async_{level}")("text", event_type="rows.a", payload=5)
    assert [(it.event_type, it.level, it.error.type, it.error.message) for it in events] == [
        (f"runtime.{level}", level.upper(), "ValueError", "mine"),
        ("rows.a", level.upper(), "RuntimeError", "text"),
    ]


def test_an_emitter_describes_exceptions_and_carries_a_run() -> None:
    run = RunContext(run_id="r", run_kind="request")
    emitter: Any = CENTER.create_emitter("me", base_run=run)  # type: ignore[call-arg]
    emitter.update_base_meta({"c": 3})
    with hooked("rows.a") as events:
        emitter.emit("rows.a", error=ValueError("w"))
    assert [(it.error.type, it.error.message, it.run.run_id, it.meta) for it in events] == [
        ("ValueError", "w", "r", {"c": 3})
    ]


# -- what a run tells ------------------------------------------------------------------------------------------------


async def test_every_event_names_its_execution_and_flow() -> None:
    flow = Flow(name="F")
    flow.to(inc).end()
    with hooked() as events:
        execution = flow.create_execution()
        assert await execution.async_start(1) == 2
    assert {(it.source, it.meta["execution_id"], it.run.execution_id, it.run.meta["flow_name"]) for it in events} == {
        ("TriggerFlowExecution", execution.id, execution.id, "F")
    }
    assert {it.run.run_kind for it in events} == {"workflow_execution", "chunk_execution"}
    texts = {it.event_type: it.message for it in events}
    assert texts["workflow.execution_started"] == f"Workflow execution '{execution.id}' started."
    assert texts["workflow.result_set"] == f"Workflow execution '{execution.id}' set a result."
    assert texts["workflow.execution_completed"] == f"Workflow execution '{execution.id}' completed."
    assert {it.message for it in chunks(events, "chunk")} == {"Chunk 'inc' started.", "Chunk 'inc' completed."}
    assert {it.level for it in events if it.event_type.startswith("trigger_flow.")} == {"DEBUG"}


@pytest.mark.parametrize(
    ("build", "value", "group", "kinds"),
    [
        (lambda flow: flow.batch(inc, double), 1, "batch", {"inc", "double"}),
        (lambda flow: flow.for_each().to(inc).end_for_each(), [1], "for_each", {"inc"}),
        (lambda flow: flow.match().case(1).to(inc).end_match(), 1, "match", {"inc"}),
    ],
)
async def test_a_chunk_in_a_block_tells_of_the_block(build: Any, value: Any, group: str, kinds: set[str]) -> None:
    flow = Flow()
    build(flow).end()
    with hooked("chunk.started") as events:
        await flow.async_start(value)
    inside = [it for it in chunks(events, "chunk") if it.run.meta["group_kind"] == group]
    assert len({it.run.meta["group_id"] for it in inside}) == 1
    assert {it.run.meta["parent_group_kind"] for it in inside} == {None}
    assert {it.payload["chunk_name"] for it in inside} == kinds


async def test_the_end_of_a_flow_is_told_like_a_chunk() -> None:
    flow = Flow(name="F")
    flow.to(inc).end()
    with hooked() as events:
        assert await flow.async_start(1) == 2
    started, completed = chunks(events, "result_sink")
    keys = ("chunk_name", "operator_kind", "input", "status", "trigger_type", "signal_source")
    assert about(started, *keys) == ("result", "result_sink", 2, "running", "event", "runtime")
    assert about(completed, *keys[:3], "output", "returned_pause_signal") == ("result", "result_sink", 2, None, False)
    result = next(it for it in events if it.event_type == "workflow.result_set")
    assert result.payload["origin_chunk"]["run_id"] == started.run.run_id == completed.run.run_id
    assert started.run.meta["emit_signals"] == []
    handlers = {it.payload["handler"] for it in events if it.event_type == "trigger_flow.handler_dispatch"}
    assert started.payload["chunk_id"] in handlers
    assert started.run.parent_run_id == result.run.run_id


async def test_a_flow_that_goes_on_after_its_end_can_be_observed() -> None:
    flow = Flow()
    flow.to(inc).end().to(double)
    with hooked("chunk.completed") as events:
        assert await flow.async_start(1) == 2
    assert [about(it, "chunk_name", "output") for it in chunks(events, "chunk") if it.payload["output"] == 4] == [
        ("double", 4)
    ]


async def test_a_result_from_the_outside_has_no_origin() -> None:
    flow = Flow()
    flow.when("x").to(ident)
    with hooked("workflow.result_set", "workflow.execution_completed") as events:
        flow.create_execution().set_result(3)
        await asyncio.sleep(0.1)
    assert [(it.event_type, it.payload) for it in events] == [
        ("workflow.result_set", {"result": 3, "origin_chunk": None}),
        ("workflow.execution_completed", {"result": 3, "origin_chunk": None}),
    ]


async def test_a_result_of_a_chunk_names_the_chunk() -> None:
    flow = Flow()

    async def chunk(data: Any) -> None:
        data.set_result(7)

    flow.to(chunk)
    with hooked("workflow.result_set") as events:
        assert await flow.async_start(1) == 7
    origin = events[0].payload["origin_chunk"]
    assert (origin["chunk_name"], origin["operator_kind"]) == ("chunk", "chunk")


async def test_a_second_result_is_not_told() -> None:
    flow = Flow()
    flow.when("x").to(ident)
    execution = flow.create_execution()
    execution.set_result(3)
    await asyncio.sleep(0.1)
    with hooked() as events:
        execution.set_result(4)
        await asyncio.sleep(0.1)
    assert events == []


async def test_a_result_against_the_contract_is_a_failure() -> None:
    flow = Flow()
    flow.set_contract(result=str)
    flow.to(ident).end()
    with hooked() as events, pytest.raises(ValueError, match="'result'"):
        await flow.async_start(5)
    types = [it.event_type for it in events]
    assert "workflow.execution_failed" in types
    assert "workflow.result_set" not in types
    assert "workflow.execution_completed" not in types


async def test_a_failed_execution_tells_its_last_signal() -> None:
    flow = Flow()
    flow.to(boom)
    with hooked("workflow.execution_failed") as events, pytest.raises(RuntimeError):
        await flow.async_start(1)
    last = events[0].payload["last_signal"]
    assert {key: last[key] for key in ("TYPE", "EVENT", "VALUE", "SOURCE", "META")} == {
        "TYPE": "event", "EVENT": "START", "VALUE": 1, "SOURCE": "start", "META": {},
    }  # fmt: skip


async def test_an_error_is_described() -> None:
    flow = Flow()
    flow.to(boom)
    with hooked("chunk.failed") as events, pytest.raises(RuntimeError):
        await flow.async_start(1)
    error = events[0].error
    assert (error.type, error.message, error.module) == ("RuntimeError", "boom", "builtins")
    assert "Traceback" in error.traceback


async def test_a_skipped_error_fails_the_chunk_and_not_the_execution() -> None:
    flow = Flow(skip_exceptions=True)
    flow.to(boom)
    flow.to(inc).end()
    with hooked("chunk.failed", "workflow.execution_failed") as events:
        assert await flow.async_start(1) == 2
    assert [(it.event_type, it.level) for it in events] == [("chunk.failed", "ERROR")]


# -- signals ---------------------------------------------------------------------------------------------------------


async def test_data_that_somebody_waits_for_is_a_signal() -> None:
    flow = Flow()

    async def work(data: Any) -> None:
        await data.async_set_runtime_data("k", 1)
        await data.async_set_runtime_data("k", 2, emit=False)
        await data.async_set_flow_data("g", 3)
        await data.async_del_runtime_data("k")

    flow.to(work)
    flow.when({"runtime_data": "k"}).to(ident)
    flow.when({"flow_data": "g"}).to(ident)
    with hooked("trigger_flow.signal") as events:
        await flow.async_start(1)
    named = [about(it, "TYPE", "EVENT", "VALUE") for it in events if not it.payload["EVENT"].startswith("Chunk[")]
    assert named == [
        ("event", "START", 1), ("runtime_data", "k", 1), ("flow_data", "g", 3),
        ("runtime_data", "k", None),
    ]  # fmt: skip


async def test_a_signal_is_told_once() -> None:
    flow = Flow()
    flow.to(inc).to(double).end()
    with hooked("trigger_flow.signal") as events:
        assert await flow.async_start(1) == 4
    assert [it.payload["VALUE"] for it in events] == [1, 2, 4]


async def test_an_event_that_nobody_waits_for_is_a_signal() -> None:
    flow = Flow()

    async def work(data: Any) -> None:
        await data.async_emit("Nobody", 4)

    flow.to(work).end()
    with hooked("trigger_flow.signal") as events:
        await flow.async_start(1)
    assert about(events[1], "TYPE", "EVENT", "VALUE", "SOURCE") == ("event", "Nobody", 4, "runtime")


async def test_data_that_nobody_waits_for_is_no_signal() -> None:
    flow = Flow()

    async def work(data: Any) -> None:
        await data.async_set_runtime_data("k", 1)

    flow.to(work).end()
    with hooked("trigger_flow.signal") as events:
        await flow.async_start(1)
    assert [it for it in events if it.payload["TYPE"] != "event"] == []


async def test_what_happens_before_the_start_is_told_at_once() -> None:
    flow = Flow()
    flow.to(ident).end()
    execution = flow.create_execution()
    with hooked("workflow.stream_item_emitted", "trigger_flow.signal") as events:
        await execution.async_put_into_stream("a")
        await execution.async_emit("Ev", 5)
        told = [it.event_type for it in events]
        await execution.async_start(1)
    assert told == ["workflow.stream_item_emitted", "trigger_flow.signal"]
    assert events[0].payload == {"item": "a", "item_type": "str", "origin_chunk": None}


async def test_a_chunk_name_is_no_event_inside_a_dictionary() -> None:
    """A bare name means the chunk."""
    flow = Flow()
    flow.chunk("a")(inc)
    flow.to("a")
    flow.when("a").to(double).end()
    assert await flow.async_start(1) == 4


async def test_a_name_inside_a_dictionary_is_an_event_even_if_a_chunk_has_it() -> None:
    flow = Flow()
    flow.chunk("a")(inc)

    async def work(data: Any) -> None:
        await data.async_emit("a", 50)

    flow.to(work)
    flow.when({"event": "a"}).to(ident).end()
    assert await flow.async_start(1) == 50


# -- pauses ----------------------------------------------------------------------------------------------------------


async def test_a_chunk_that_paused_is_told_as_waiting() -> None:
    with hooked("chunk.completed") as events:
        await asking().create_execution().async_start(1, wait_for_result=False)
    assert about(events[0], "chunk_name", "status", "returned_pause_signal", "output") == ("ask", "waiting", True, None)


async def test_the_stream_items_of_an_interrupt_are_told_as_they_are() -> None:
    execution = asking().create_execution()
    with hooked("workflow.stream_item_emitted") as events:
        await execution.async_start(1, wait_for_result=False)
        await execution.async_continue_with("i", 9)
    assert [it.payload["item"] for it in events] == await items_of(execution.get_async_runtime_stream())
    assert [it.payload["item_type"] for it in events] == ["dict", "dict"]
    assert events[0].payload["origin_chunk"]["chunk_name"] == "ask"
    assert events[1].payload["origin_chunk"] is None


@pytest.mark.parametrize("loaded", [False, True])
async def test_an_answer_is_told_with_its_signal(loaded: bool) -> None:
    flow = asking()
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    if loaded:
        execution = flow.create_execution().load(execution.save())
    with hooked() as events:
        await execution.async_continue_with("i", 9)
        assert await execution.async_get_result(timeout=5) == 9
    resumed = next(it for it in events if it.event_type == "workflow.execution_resumed")
    assert resumed.payload == {"interrupt_id": "i", "value": 9}
    signal = next(it.payload for it in events if it.event_type == "trigger_flow.signal" and it.payload["EVENT"] == "Go")
    assert (signal["SOURCE"], signal["META"], signal["VALUE"]) == ("interrupt", {"interrupt_id": "i"}, 9)
    started = next(it for it in chunks(events, "chunk") if it.payload["chunk_name"] == "got")
    assert about(started, "signal_source", "signal_meta") == ("interrupt", {"interrupt_id": "i"})


async def test_a_hook_may_come_after_the_start() -> None:
    execution = asking().create_execution()
    await execution.async_start(1, wait_for_result=False)
    with hooked("workflow.execution_resumed") as events:
        await execution.async_continue_with("i", 9)
    assert [it.payload for it in events] == [{"interrupt_id": "i", "value": 9}]


async def test_a_resumed_chunk_knows_its_answer() -> None:
    execution = asking().create_execution()
    with hooked("chunk.started") as events:
        await execution.async_start(1, wait_for_result=False)
        await execution.async_continue_with("i", 9)
    assert about(events[1], "signal_source", "signal_meta", "trigger_event") == (
        "interrupt",
        {"interrupt_id": "i"},
        "Go",
    )


# -- sub-flows -------------------------------------------------------------------------------------------------------


def nested() -> Flow:
    async def put(data: Any) -> Any:
        await data.async_put_into_stream(["i"])
        return data.value + 1

    sub, flow = Flow(name="S"), Flow(name="F")
    sub.to(("put", put)).end()
    flow.to_sub_flow(sub, name="step").end()
    return flow


async def test_a_sub_flow_tells_of_itself_and_its_items_twice() -> None:
    with hooked("workflow.execution_started", "workflow.stream_item_emitted", "workflow.result_set") as events:
        assert await nested().async_start(1) == 2
    assert [(it.event_type, it.run.meta["flow_name"]) for it in events] == [
        ("workflow.execution_started", "F"), ("workflow.execution_started", "S"),
        ("workflow.stream_item_emitted", "S"), ("workflow.stream_item_emitted", "F"),
        ("workflow.result_set", "S"), ("workflow.result_set", "F"),
    ]  # fmt: skip
    assert events[2].payload["origin_chunk"]["chunk_name"] == "put"
    assert {it.run.root_run_id for it in events} == {events[0].run.run_id}
    assert events[1].run.meta["operator_kind"] == "sub_flow"
    assert events[1].run.meta["chunk_name"] == "step"


async def test_what_comes_out_of_a_sub_flow_has_an_origin() -> None:
    with hooked("workflow.stream_item_emitted", "workflow.result_set") as events:
        assert await nested().async_start(1) == 2
    origins = [it.payload["origin_chunk"] for it in events if it.payload["origin_chunk"] is not None]
    assert [(it["chunk_name"], it["operator_kind"]) for it in origins] == [
        ("put", "chunk"), ("step", "sub_flow"), ("result", "result_sink"),
    ]  # fmt: skip


async def test_a_failure_in_a_sub_flow_fails_all_above() -> None:
    sub, flow = Flow(name="S"), Flow(name="F")
    sub.to(boom)
    flow.to_sub_flow(sub, name="step").end()
    with hooked("chunk.failed", "workflow.execution_failed") as events, pytest.raises(RuntimeError, match="boom"):
        await flow.async_start(1)
    told = [(it.event_type, it.run.meta["flow_name"], it.error.message) for it in events]
    assert told == [
        ("chunk.failed", "S", "boom"), ("workflow.execution_failed", "S", "boom"),
        ("chunk.failed", "F", "boom"), ("workflow.execution_failed", "F", "boom"),
    ]  # fmt: skip
