"""The event centre: which events, with which payloads, and from which chunk."""

import json
from typing import Any

import pytest
from agently import Agently, TriggerFlow
from agently.types.data import RunContext

from tests.bridge.support import boom, hooked, ident, inc

Flow = TriggerFlow[Any, Any, Any]


async def test_the_events_of_a_run_and_their_order() -> None:
    flow = Flow(name="F")

    @flow.chunk("a")
    async def a(data: Any) -> Any:
        await data.async_put_into_stream({"x": 1})
        await data.async_emit("Ev", 5)
        return data.value + 1

    flow.to(a).end()
    flow.when("Ev").to(ident)
    with hooked() as events:
        execution = flow.create_execution()
        assert await execution.async_start(1) == 2
    types = [event.event_type for event in events if not event.event_type.startswith("trigger_flow.")]
    assert types[:4] == ["workflow.definition_declared", "workflow.execution_started", "chunk.started",
                         "workflow.stream_item_emitted"]  # fmt: skip
    assert set(types) == {*types[:4], "chunk.completed", "workflow.result_set", "workflow.execution_completed"}
    assert {event.source for event in events} == {"TriggerFlowExecution"}
    assert {event.meta["execution_id"] for event in events} == {execution.id}
    assert {event.run.root_run_id for event in events} == {execution.run_context.run_id}

    by_type = {event.event_type: event for event in reversed(events)}
    declared = by_type["workflow.definition_declared"].payload
    assert (declared["flow_name"], declared["definition"]["version"]) == ("F", "trigger_flow/v1")
    assert by_type["workflow.execution_started"].payload == {"initial_value": 1}
    started = by_type["chunk.started"]
    assert started.run.run_kind == "chunk_execution"
    assert started.run.parent_run_id == execution.run_context.run_id
    keys = ("chunk_name", "operator_kind", "trigger_event", "status", "input")
    assert {key: started.payload[key] for key in keys} == {
        "chunk_name": "a", "operator_kind": "chunk", "trigger_event": "START", "status": "running", "input": 1,
    }  # fmt: skip
    item = by_type["workflow.stream_item_emitted"].payload
    assert (item["item"], item["item_type"]) == ({"x": 1}, "dict")
    assert item["origin_chunk"] == {
        "run_id": started.run.run_id, "chunk_id": a.id, "chunk_name": "a", "operator_kind": "chunk",
    }  # fmt: skip
    completed = next(it for it in events if it.event_type == "chunk.completed" and it.payload["chunk_name"] == "a")
    assert (completed.payload["output"], completed.payload["returned_pause_signal"]) == (2, False)
    heard = next(it for it in events if it.event_type == "trigger_flow.signal" and it.payload["EVENT"] == a.trigger)
    record = execution.records[int(heard.payload["SIGNAL_ID"].split(":")[1])]
    assert (type(record).__name__, record.value) == ("Completed", 2)
    result = by_type["workflow.result_set"].payload
    assert result["origin_chunk"]["chunk_name"] == "result"
    assert (result["result"], result["origin_chunk"]["operator_kind"]) == (2, "result_sink")
    signals = [event.payload for event in events if event.event_type == "trigger_flow.signal"]
    assert [(it["EVENT"], it["SOURCE"]) for it in signals[:2]] == [("START", "start"), ("Ev", "runtime")]
    assert a.trigger in [it["EVENT"] for it in signals]
    assert {it.payload["event"] for it in events if it.event_type == "trigger_flow.handler_dispatch"} >= {"START", "Ev"}
    assert by_type["chunk.started"].model_dump()["run"]["meta"]["listen_signals"][0]["id"] == "event:START"


async def test_a_failure_is_told_twice() -> None:
    flow = Flow(name="F")
    flow.to(boom).end()
    with hooked("chunk.failed", "workflow.execution_failed") as events, pytest.raises(RuntimeError):
        await flow.async_start(1)
    assert [event.event_type for event in events] == ["chunk.failed", "workflow.execution_failed"]
    assert {(event.level, event.error.type, event.error.message) for event in events} == {
        ("ERROR", "RuntimeError", "boom")
    }
    assert events[0].payload["status"] == events[1].payload["status"] == "failed"
    assert events[1].payload["last_signal"]["EVENT"] == "START"


async def test_questions_and_answers_are_told() -> None:
    flow = Flow()
    flow.to(lambda data: data.pause_for(interrupt_id="i")).to(ident).end()
    with hooked("workflow.interrupt_raised", "workflow.execution_resumed", "chunk.completed") as events:
        execution = flow.create_execution()
        await execution.async_start(1, wait_for_result=False)
        await execution.async_continue_with("i", 5)
    assert [event.event_type for event in events][:3] == ["chunk.completed", "workflow.interrupt_raised",
                                                          "workflow.execution_resumed"]  # fmt: skip
    assert events[0].payload["returned_pause_signal"] is True
    assert (events[1].level, events[1].payload["interrupt"]["id"]) == ("WARNING", "i")
    assert events[2].payload == {"interrupt_id": "i", "value": 5}


async def test_the_lineage_of_runs() -> None:
    sub, flow = Flow(name="S"), Flow(name="P")
    sub.to(ident).end()
    flow.to_sub_flow(sub).end()
    context = RunContext(run_id="R", run_kind="agent_turn")
    with hooked("workflow.execution_started", "chunk.started") as events:
        assert await flow.async_start(2, parent_run_context=context) == 2
    parent, step, child, inner, *_ = events
    assert [it.run.parent_run_id for it in (parent, step, child, inner)] == [
        "R", parent.run.run_id, step.run.run_id, child.run.run_id,
    ]  # fmt: skip
    assert {event.run.root_run_id for event in events} == {"R"}
    assert (step.payload["operator_kind"], child.run.meta["flow_name"]) == ("sub_flow", "S")
    own = flow.create_execution(run_context=RunContext(run_id="mine"))
    assert (own.run_context.run_id, own.run_context.execution_id) == ("mine", None)


async def test_hooks_are_sync_or_async_and_may_fail(caplog: Any) -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).end()

    async def slow(event: Any) -> None:
        assert await flow.async_start(1) == 2  # a hook may run a flow, even the same
        seen.append(event.event_type)

    def broken(event: Any) -> None:
        raise LookupError("hook")

    center = Agently.event_center
    center.register_hook(slow, event_types="workflow.execution_started", hook_name="slow")
    center.register_hook(broken, event_types=["workflow.execution_started"])
    try:
        center.unregister_hook("slow")
        center.register_hook(
            lambda event: seen.append(event.event_type), event_types="chunk.completed", hook_name="slow"
        )
        assert await flow.async_start(1) == 2
    finally:
        center.unregister_hook("slow")
        center.unregister_hook("broken")
        center.unregister_hook("unknown")
    assert seen == ["chunk.completed", "chunk.completed"]  # the result's, too
    assert "an event hook failed" in caplog.text


async def test_async_hooks_are_through_when_a_start_returns() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).end()

    async def hook(event: Any) -> None:
        Agently.event_center.unregister_hook("once")
        assert await flow.async_start(5) == 6
        seen.append(event.event_type)

    Agently.event_center.register_hook(hook, event_types="workflow.result_set", hook_name="once")
    assert await flow.async_start(1) == 2
    assert seen == ["workflow.result_set"]


async def test_events_of_ones_own() -> None:
    with hooked("mine") as events:
        await Agently.async_emit_runtime({"event_type": "mine", "payload": 5, "source": "me"})
        Agently.event_center.emit({"event_type": "mine", "payload": 6})
    assert [(event.source, event.payload, event.level) for event in events] == [
        ("me", 5, "INFO"),
        ("Agently", 6, "INFO"),
    ]


def test_nothing_is_printed(capfd: Any) -> None:
    flow = Flow()
    flow.to(inc).end()
    flow.start(1)
    assert capfd.readouterr() == ("", "")


async def test_an_emitter_speaks_for_a_source() -> None:
    emitter = Agently.event_center.create_emitter("me", base_meta={"a": 1})
    with hooked("mine") as events:
        await emitter.async_emit("mine", payload=5, meta={"b": 2})
        emitter.emit("mine", level="DEBUG")
        with pytest.raises(ValueError, match="no"):
            await emitter.async_error(ValueError("no"), event_type="mine")
        emitter.info("hello", event_type="mine")
    assert [(it.source, it.level, it.payload, it.message) for it in events] == [
        ("me", "INFO", 5, None), ("me", "DEBUG", None, None), ("me", "ERROR", None, "no"),
        ("me", "INFO", None, "hello"),
    ]  # fmt: skip
    assert (events[2].error.type, json.loads(events[2].model_dump_json())["error"]["message"]) == ("ValueError", "no")
    assert (events[0].meta, events[1].meta) == ({"a": 1, "b": 2}, {"a": 1})
    with pytest.raises(AttributeError):
        _ = emitter.shout
