"""A flow as an agent of AG-UI: what its events are, that they are well-formed however a run ends, and that the client
of the protocol takes them."""

import asyncio
import copy
import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import soak
from tests.server.asgi import Client, Response, Stream
from tests.server.flows import Data, echo, report
from triggerflow import TriggerFlow
from triggerflow.backend import Answer, Cancel, Frame, Retry, StoreBackend
from triggerflow.backend.shapes import RunChange
from triggerflow.durable import Worker
from triggerflow.models import Delta, Request, ToolCall, ToolCallDelta
from triggerflow.server import Grant, Limits, Server, create_app
from triggerflow.server.agui import projection as projecting
from triggerflow.server.agui.patches import changes, is_taken
from triggerflow.server.agui.projection import Projection
from triggerflow.server.agui.request import start_value
from triggerflow.stores import MemoryStore, SQLiteStore, Store
from triggerflow.testing import Reply, ScriptedModel
from triggerflow.wire import AgentInput
from triggerflow.wire.problems import problem

Event = dict[str, Any]
USER = {"id": "m-1", "role": "user", "content": "solar sails"}


def body(run: str = "r-1", **fields: Any) -> dict[str, Any]:
    """A run of the thread."""
    return {"threadId": "t-1", "runId": run, "messages": [USER], **fields}


def events_of(stream: Stream | bytes) -> list[Event]:
    raw = stream if isinstance(stream, bytes) else bytes(stream.body)
    return [json.loads(it[6:]) for it in raw.decode().split("\n\n") if it.startswith("data: ")]


async def run(client: Client, flow: str, given: dict[str, Any]) -> list[Event]:
    """The events of a run, each of which is well-formed."""
    async with client.events(f"/api/agui/{flow}", "POST", given) as stream:
        await stream.rest()
    assert stream.status == 200, bytes(stream.body)
    found = events_of(stream)
    check(found)
    return found


# -- what well-formed is: https://docs.ag-ui.com/spec/1.0/events/lifecycle, streaming and subagents --------------------


def check(events: Sequence[Event]) -> None:
    """The rules for which the client of the protocol fails a run; and that all is closed before an error, too."""
    opened: dict[str, set[Any]] = {}
    owners: dict[tuple[str, Any], Any] = {}
    used_subs: set[str] = set()
    assert events[0]["type"] in ("RUN_STARTED", "RUN_ERROR")
    assert events[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    kinds = {
        "TEXT_MESSAGE": "messageId", "REASONING_MESSAGE": "messageId", "REASONING": "messageId",
        "TOOL_CALL": "toolCallId", "STEP": "stepName", "SUBAGENT": "subagentRunId",
    }  # fmt: skip
    begins, goes_on = ("START", "STARTED"), ("CONTENT", "ARGS")
    for number, event in enumerate(events):
        kind, _, what = event["type"].rpartition("_")
        assert None not in event.values() or event["type"] in ("CUSTOM", "RAW"), event
        if kind == "RUN":
            assert (what == "STARTED") is (number == 0) or what == "ERROR"
            if what in ("FINISHED", "ERROR"):
                assert number == len(events) - 1
                assert not any(opened.values()), (event, opened)
        elif kind in kinds and event["type"] != "TOOL_CALL_RESULT":
            key, known = event[kinds[kind]], opened.setdefault(kind, set())
            if what in begins:
                assert key not in known, event
                owners[kind, key] = event.get("subagentRunId")
                if kind == "SUBAGENT":
                    assert key not in used_subs
                    used_subs.add(key)
                known.add(key)
            elif what in goes_on:
                assert key in known, event
                assert event["delta"] != ""
            else:
                assert key in known, event
                known.discard(key)
                if kind == "SUBAGENT":  # what it says is over by then
                    mine = [it for it in owners if owners[it] == key and it[0] != kind]
                    assert not any(name in opened.get(each, ()) for each, name in mine)
        owner = event.get("subagentRunId")
        assert owner is None or owner in used_subs, event


def said(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """What a person sees of events, in short."""
    found: list[tuple[Any, ...]] = []
    texts: dict[str, str] = {}
    names: dict[str, str] = {}
    for event in events:
        match event["type"]:
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                texts[event["messageId"]] = texts.get(event["messageId"], "") + event["delta"]
            case "TEXT_MESSAGE_END":
                found.append(("text", texts[event["messageId"]]))
            case "REASONING_END":
                found.append(("thought", texts[event["messageId"]]))
            case "TOOL_CALL_START":
                names[event["toolCallId"]] = event["toolCallName"]
            case "TOOL_CALL_ARGS":
                texts[event["toolCallId"]] = texts.get(event["toolCallId"], "") + event["delta"]
            case "TOOL_CALL_END":
                found.append(("call", event["toolCallId"], names[event["toolCallId"]], texts[event["toolCallId"]]))
            case "TOOL_CALL_RESULT":
                found.append(("result", event["toolCallId"], event["content"]))
            case "CUSTOM":
                found.append(("custom", event["name"], event["value"]))
            case "RAW":
                found.append(("raw", event["event"]))
            case _:
                pass
    return found


def applied(document: Any, patch: list[dict[str, Any]]) -> Any:
    """A document after a JSON Patch, as far as ours go."""
    document = copy.deepcopy(document)
    for operation in patch:
        *path, last = [it.replace("~1", "/").replace("~0", "~") for it in operation["path"].split("/")[1:]] or [""]
        if not operation["path"]:
            document = operation["value"]
            continue
        at = document
        for key in path:
            at = at[int(key)] if isinstance(at, list) else at[key]
        if isinstance(at, list):
            if operation["op"] == "add":
                assert last == "-"
                at.append(operation["value"])
            else:
                assert operation["op"] == "replace"
                at[int(last)] = operation["value"]
        elif operation["op"] == "remove":
            del at[last]
        else:
            assert operation["op"] == "add" or last in at
            at[last] = operation["value"]
    return document


def state_after(events: Iterable[Event], state: Any) -> Any:
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            state = event["snapshot"]
        elif event["type"] == "STATE_DELTA":
            state = applied(state, event["delta"])
    return state


# -- flows -------------------------------------------------------------------------------------------------------------


def speaker() -> TriggerFlow:
    """Puts what it is started with into its stream, one after the other."""
    flow = TriggerFlow("speaker")

    @flow.chunk("speak")
    async def speak(data: Data) -> None:
        for item in data.value:
            await data.async_put_into_stream(item)

    flow.to(speak).end()
    return flow


def trip() -> TriggerFlow:
    """An agent: asks a model, calls its tool, asks a person, and tells how it went. "fail" fails."""
    flow = TriggerFlow("trip")
    flow.set_contract(initial_input=str)
    flow.register_type(ToolCallDelta)
    calls = [ToolCallDelta(0, '{"city": ', "call-1", "weather"), ToolCallDelta(0, '"Rome"}', done=True)]
    script = [
        Delta(reasoning="A city, "), Delta(reasoning="so the weather."), "Let me ", "look.",
        Delta(tool_calls=(calls[0],)), Delta(tool_calls=(calls[1],), finish_reason="tool_calls"),
    ]  # fmt: skip

    @flow.chunk("ask the model")
    async def ask_model(data: Data) -> str:
        await data.state.async_set("topic", data.value)
        model = ScriptedModel(Reply.deltas(*script, pause=0.01))
        response = Request().input(data.value).get_response(model)
        parts = ["reasoning_delta", "delta", "tool_calls", "meta"]
        async for part in response.get_async_generator("specific", specific=parts):
            await data.async_put_into_stream(part)
        return data.value

    @flow.chunk("look")
    async def look(data: Data) -> str:
        await data.async_put_into_stream({"role": "tool", "tool_call_id": "call-1", "content": "sunny"})
        for day in ("Monday", "Tuesday"):
            await data.state.async_append("days", {"day": day})
            await data.async_put_into_stream({"stage": "planned", "day": day})
        if data.value == "fail":
            raise ValueError("no trains")
        return data.value

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(type="approval", payload="Book it?", schema=bool, interrupt_id="book")

    @flow.chunk("book")
    async def book(data: Data) -> str:
        await data.state.async_set("booked", data.value)
        await data.async_put_into_stream({"delta": "Have a "})
        await data.async_put_into_stream({"delta": "good trip."})
        return "booked" if data.value else "left alone"

    flow.to(ask_model).to(look).to(ask).to(book).end()
    return flow


def asker(name: str = "asker") -> TriggerFlow:
    """Asks two people at once."""
    flow = TriggerFlow(name)

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=data.value, payload={"message": f"{data.value}?"}, schema=int)

    flow.to(lambda data: ["ann", "bob"]).for_each().to(ask).end_for_each().end()
    return flow


async def spoken(store: Store, items: list[Any]) -> list[Event]:
    """The events of a run that puts these items."""
    flow = speaker()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        return await run(client, "speaker", body(forwardedProps={"value": items}))


# -- what a flow is started with ---------------------------------------------------------------------------------------

WHOLE = {**body(), "tools": [], "context": [], "state": {}, "forwardedProps": {}}


@pytest.mark.parametrize(
    ("schema", "fields", "expected"),
    [
        ({"type": "string"}, {}, "solar sails"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {}, "solar sails"),
        ({"enum": ["solar sails", "masts"]}, {}, "solar sails"),
        ({"type": "string"}, {"messages": [USER, {"role": "assistant", "content": "yes?"}]}, "solar sails"),
        ({"type": "string"}, {"messages": [USER, {"role": "user", "content": "masts"}]}, "masts"),
        (
            {"type": "string"},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]},
            "a",
        ),
        ({"type": "string"}, {"forwardedProps": {"value": "this"}}, "this"),
        ({"type": "string"}, {"forwardedProps": "no object"}, "solar sails"),
        ({}, {"forwardedProps": {"value": None}}, None),
        ({}, {}, WHOLE),
        ({}, {"state": [1], "tools": [{"name": "x"}]}, {**WHOLE, "state": [1], "tools": [{"name": "x"}]}),
        ({"type": "integer"}, {}, WHOLE),
        ({"type": "object", "properties": {"messages": {}, "state": {}}}, {}, {"messages": [USER], "state": {}}),
        ({"$ref": "#/$defs/In", "$defs": {"In": {"properties": {"runId": {}}}}}, {}, {"runId": "r-1"}),
    ],
)
def test_the_start_value_is_what_the_flow_takes(schema: Any, fields: Any, expected: Any) -> None:
    found = msgspec.convert({**body(), **fields}, AgentInput)
    assert start_value(found, schema) == expected


async def test_what_does_not_fit_the_flow_is_refused(store: Store) -> None:
    client = Client(create_app([report()], store))
    for wrong in (body(messages=[]), body(forwardedProps={"value": 3})):
        answer = await client.post("/api/agui/report", wrong)
        assert (answer.status, answer.code) == (409, "value_does_not_fit")
    assert (await client.get("/api/counts")).json() == {}


# -- what items are ----------------------------------------------------------------------------------------------------

PIECES = [
    ["tool_calls", [{"index": 0, "arguments": '{"q"', "id": "a", "name": "find"}]],
    ["tool_calls", [{"index": 1, "arguments": "{}", "id": "b", "name": "stop", "done": True}]],
    ["tool_calls", [{"index": 0, "arguments": ": 1}"}, {"index": 0, "arguments": "", "done": True}]],
]
CHAT_CALL = {"id": "a", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["so", "lar"], [("text", "solar")]),
        ([{"delta": "so"}, {"delta": ""}, {"delta": "lar"}], [("text", "solar")]),
        ([["delta", "so"], ["delta", "lar"], ["done", "solar"], ["delta", "x"]], [("text", "solar"), ("text", "x")]),
        ([["done", "solar"]], [("text", "solar")]),
        ([["refusal_delta", "no"]], [("text", "no")]),
        ([{"delta": "a", "by": 1}, {"delta": "b", "by": 2}, {"delta": "c", "by": 2}], [("text", "a"), ("text", "bc")]),
        ([{"delta": "a"}, {"stage": 1}, {"delta": "b"}], [("custom", "item", {"stage": 1}), ("text", "ab")]),
        ([["reasoning_delta", "hm"], ["delta", "a"]], [("thought", "hm"), ("text", "a")]),
        ([["reasoning_delta", "hm"], ["reasoning_done", "hm"], ["done", "a"]], [("thought", "hm"), ("text", "a")]),
        ([["reasoning_done", "hm"]], [("thought", "hm")]),
        (["a", *PIECES], [("text", "a"), ("call", "b", "stop", "{}"), ("call", "a", "find", '{"q": 1}')]),
        ([PIECES[0], "a"], [("call", "a", "find", '{"q"'), ("text", "a")]),
        ([["tool_calls", [{"index": 0, "arguments": "{}"}, {"index": 0, "name": "x", "arguments": ""}]]],
         [("call", "ID-call", "x", "{}")]),
        ([{"role": "assistant", "content": "a", "tool_calls": [CHAT_CALL]},
          {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "found"}]}],
         [("text", "a"), ("call", "a", "find", '{"q": 1}'), ("result", "a", "found")]),
        (["a", PIECES[0], PIECES[2], {"role": "assistant", "content": "a", "tool_calls": [CHAT_CALL]}],
         [("text", "a"), ("call", "a", "find", '{"q": 1}')]),
        ([{"role": "tool", "tool_call_id": "z", "content": {"n": 1}}], [("result", "z", '{"n":1}')]),
        ([{"type": "chart", "rows": []}, 7, None, ["delta"], ["delta", 1], {"delta": 1}],
         [("custom", "chart", {"type": "chart", "rows": []}), ("custom", "item", 7), ("custom", "item", None),
          ("custom", "item", ["delta"]), ("custom", "item", ["delta", 1]), ("custom", "item", {"delta": 1})]),
        ([["original_delta", {"id": 1}]], [("raw", {"id": 1})]),
        ([["delta", "a"], ["reset", 2], ["delta", "b"]],
         [("text", "a"), ("custom", "triggerflow.withdrawn", {"messageIds": ["ID"], "toolCallIds": []}),
          ("text", "b")]),
    ],
)  # fmt: skip
async def test_items_are_read_as_flows_put_them(store: Store, items: list[Any], expected: list[Any]) -> None:
    found = await spoken(store, items)
    text = json.dumps(said(found))
    for number in range(50, 0, -1):
        text = text.replace(f"{found[0]['metadata']['triggerflow']['execution']}-{number}", "ID")
    assert json.loads(text) == json.loads(json.dumps(expected))


async def test_calls_as_objects_are_told_once(store: Store) -> None:
    flow = TriggerFlow("objects")
    flow.register_type(ToolCall)
    flow.register_type(ToolCallDelta)

    @flow.chunk("speak")
    async def speak(data: Data) -> None:
        for item in (
            ("tool_calls", (ToolCallDelta(0, '{"q"', "a", "find"),)),
            ToolCallDelta(0, ": 1}", done=True),
            ToolCall("a", "find", '{"q": 1}', True),
            ToolCall("b", "stop", "", True),
        ):
            await data.async_put_into_stream(item)

    flow.to(speak).end()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        found = await run(client, "objects", body())
    assert said(found) == [("call", "a", "find", '{"q": 1}'), ("call", "b", "stop", "{}")]


async def test_two_calls_with_one_id_are_two(store: Store) -> None:
    """Some servers count the calls of each answer from the beginning; the client would join their arguments."""
    call = {"index": 0, "arguments": "{}", "id": "call_0", "name": "find", "done": True}
    before = {"id": "m-0", "role": "assistant", "toolCalls": [{"id": "call_0"}]}
    flow = speaker()
    client = Client(create_app([flow], store))
    answered = {"role": "tool", "tool_call_id": "call_0", "content": "x"}
    async with Worker(store, flow):
        items = [["tool_calls", [call]], answered, ["tool_calls", [call]]]
        found = await run(client, "speaker", body(messages=[before, USER], forwardedProps={"value": items}))
    ids = [event["toolCallId"] for event in found if event["type"] in ("TOOL_CALL_START", "TOOL_CALL_RESULT")]
    assert ids == ["call_0 #2", "call_0 #2", "call_0 #3"]
    assert found[-1]["outcome"] == {"type": "success", "pendingToolCallIds": ["call_0 #3"]}


async def test_an_answer_that_is_asked_for_again_is_taken_back(store: Store) -> None:
    """A model whose answer does not fit is asked again by its response; a flow forwards what the response tells."""
    model = ScriptedModel("Rome, I think", {"city": "Rome"})
    flow = TriggerFlow("cities")

    @flow.chunk("ask the model")
    async def ask_model(data: Data) -> None:
        response = Request().input(data.value).output({"city": str}).get_response(model)
        async for part in response.get_async_generator("specific", specific=["delta", "done", "meta"]):
            await data.async_put_into_stream(part)

    flow.to(ask_model)
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        found = await run(client, "cities", body())
    ids = [event["messageId"] for event in found if event["type"] == "TEXT_MESSAGE_START"]
    assert said(found) == [
        ("text", "Rome, I think"),
        ("custom", "triggerflow.withdrawn", {"messageIds": ids[:1], "toolCallIds": []}),
        ("text", '{"city": "Rome"}'),
    ]
    ends = [event for event in found if event["type"] == "TEXT_MESSAGE_END"]
    assert ends[0]["metadata"]["triggerflow"] == {"chunk": "ask the model", "withdrawn": True}


async def test_a_result_that_is_a_text_is_said_if_nothing_else_was(store: Store) -> None:
    flows = [echo(), report()]
    client = Client(create_app(flows, store))
    async with Worker(store, *flows):
        found = await run(client, "echo", body(forwardedProps={"value": "hello"}))
        assert said(found) == [("text", "hello")]
        assert (found[-1]["result"], found[-1]["outcome"]) == ("hello", {"type": "success"})
        assert said(await run(client, "echo", body("r-2", forwardedProps={"value": 3}))) == []


# -- runs --------------------------------------------------------------------------------------------------------------


async def test_a_run_from_its_start_over_a_question_to_its_end(store: Store) -> None:
    flow = trip()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        first = await run(client, "trip", body(state={"mine": 1}, parentRunId="r-0"))
        (asked,) = first[-1]["outcome"]["interrupts"]
        resume = [{"interruptId": asked["id"], "status": "resolved", "payload": True}]
        another = Client(create_app([flow], store))  # any server that shares the store will do
        second = await run(another, "trip", body("r-2", state={"mine": 1}, resume=resume))
    began = first[0]
    assert began.pop("metadata")["triggerflow"]["flow"] == "trip"
    assert began == {
        "type": "RUN_STARTED", "threadId": "t-1", "runId": "r-1", "protocolVersion": "1.0", "parentRunId": "r-0"
    }  # fmt: skip
    assert said(first) == [
        ("thought", "A city, so the weather."),
        ("text", "Let me look."),
        ("call", "call-1", "weather", '{"city": "Rome"}'),
        ("result", "call-1", "sunny"),
        ("custom", "item", {"stage": "planned", "day": "Monday"}),
        ("custom", "item", {"stage": "planned", "day": "Tuesday"}),
    ]
    holds = next(event for event in first if event["type"] == "TOOL_CALL_START")["parentMessageId"]
    assert holds == next(event for event in first if event["type"] == "TEXT_MESSAGE_START")["messageId"]
    days = [{"day": "Monday"}, {"day": "Tuesday"}]
    assert state_after(first, {"mine": 1}) == {"mine": 1, "topic": "solar sails", "days": days}
    assert [event["stepName"] for event in first if event["type"] == "STEP_STARTED"] == ["ask the model", "look", "ask"]
    own = asked.pop("metadata")["triggerflow"]
    assert (own["question"], own["chunk"], own["type"]) == ("book", "ask", "approval")
    assert asked == {
        "id": asked["id"], "reason": "confirmation", "message": "Book it?", "responseSchema": {"type": "boolean"}
    }  # fmt: skip
    assert said(second) == [("text", "Have a good trip.")]
    assert state_after(second, None) == {"mine": 1, "topic": "solar sails", "days": days, "booked": True}
    assert (second[-1]["result"], second[-1]["outcome"]) == ("booked", {"type": "success"})
    assert second[0]["metadata"]["triggerflow"]["execution"] == own["execution"]


async def test_the_same_run_is_the_same_execution_and_the_same_events(store: Store) -> None:
    flow = trip()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        first = await run(client, "trip", body())
        id = first[-1]["outcome"]["interrupts"][0]["id"]
        again = await run(client, "trip", body())
        assert merged(again) == merged(first)
        resume = {"resume": [{"interruptId": id, "status": "resolved", "payload": False}]}
        second = await run(client, "trip", body("r-2", **resume))
        assert merged(await run(client, "trip", body("r-2", **resume))) == merged(second)
        # The first run now goes on to the end, as the questions have their answers.
        whole = await run(client, "trip", body())
        assert said(whole) == said(first) + said(second)
        for more in ({"messages": [{**USER, "content": "tea"}]}, {"forwardedProps": {"value": "tea"}}):
            refused = await client.call("POST", "/api/agui/trip", body(**more))
            assert (refused.status, refused.code) == (409, "not_possible")
        other = await run(client, "trip", body("r-3"))
        assert other[0]["metadata"] != first[0]["metadata"]
    assert (await client.get("/api/counts")).json() == {"trip": {"completed": 1, "waiting": 1}}


def merged(events: Iterable[Event]) -> list[Event]:
    """Events with the pieces of each text joined: how many there are depends on who reads when."""
    found: list[Event] = []
    for event in copy.deepcopy(list(events)):
        if "delta" in event and isinstance(event["delta"], str) and found and found[-1]["type"] == event["type"]:
            found[-1]["delta"] += event["delta"]
        else:
            found.append(event)
    return found


async def test_a_client_that_comes_back_gets_its_messages_anew(store: Store) -> None:
    """Text that is streamed again would be appended to what the client has of it."""
    flow = trip()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        first = await run(client, "trip", body())
        ids = [event["messageId"] for event in first if event["type"] in ("REASONING_START", "TEXT_MESSAGE_START")]
        mine = [
            {"id": ids[0], "role": "reasoning", "content": "A ci"},
            {"id": ids[1], "role": "assistant", "content": "Let", "toolCalls": [{"id": "call-1"}]},
        ]
        again = await run(client, "trip", body(messages=[USER, *mine]))
        assert again[1] == {
            "type": "MESSAGES_SNAPSHOT", "messages": [USER, {"id": ids[0], "role": "reasoning", "content": ""}]
        }  # fmt: skip
        assert merged([again[0], *again[2:]]) == merged(first)
        id = first[-1]["outcome"]["interrupts"][0]["id"]
        resume = [{"interruptId": id, "status": "resolved", "payload": True}]
        second = await run(client, "trip", body("r-2", messages=[USER, *mine], resume=resume))
        assert not [event for event in second if event["type"] == "MESSAGES_SNAPSHOT"]


async def test_a_reader_that_leaves_stops_nothing(store: Store) -> None:
    flow = trip()
    app = create_app([flow], store)
    client = Client(app)
    async with Worker(store, flow):
        async with client.events("/api/agui/trip", "POST", body()) as stream:
            await stream.until(lambda it: b"TEXT_MESSAGE_CONTENT" in it.body)
        found = await run(client, "trip", body())
        assert found[-1]["outcome"]["type"] == "interrupt"
    assert not app.streams.open
    assert not app.following._feeds  # noqa: SLF001


async def test_several_questions_are_answered_together(store: Store) -> None:
    flow = asker()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        first = await run(client, "asker", body())
        asked = first[-1]["outcome"]["interrupts"]
        assert [(it["message"], it["reason"]) for it in asked] == [
            ("ann?", "input_required"),
            ("bob?", "input_required"),
        ]
        steps = [event["stepName"] for event in first if event["type"] == "STEP_STARTED"]
        assert {"ask", "ask #2"} < set(steps)
        answers = [{"interruptId": it["id"], "status": "resolved", "payload": 7} for it in asked]
        refused = await client.post("/api/agui/asker", body("r-2", resume=answers[:1]))
        assert (refused.status, refused.code) == (409, "not_possible")
        assert asked[1]["id"] in refused.json()["detail"]
        wrong = [answers[0], {**answers[1], "payload": "seven"}]
        refused = await client.post("/api/agui/asker", body("r-2", resume=wrong))
        assert (refused.status, refused.code) == (409, "value_does_not_fit")
        # The first answer was taken. It is sent again with a better second one, as another run.
        second = await run(client, "asker", body("r-3", resume=answers))
        assert second[-1]["result"] == [7, 7]


async def test_a_question_of_a_sub_flow(store: Store) -> None:
    inner = report()
    flow = TriggerFlow("outer")
    flow.to_sub_flow(inner).end()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        first = await run(client, "outer", body(forwardedProps={"value": "masts"}))
        (asked,) = first[-1]["outcome"]["interrupts"]
        (began,) = [event for event in first if event["type"] == "SUBAGENT_STARTED"]
        assert (began["name"], asked["subagentRunId"]) == ("report", began["subagentRunId"])
        (ended,) = [event for event in first if event["type"] == "SUBAGENT_FINISHED"]
        assert ended["outcome"] == {"type": "suspended", "interruptIds": [asked["id"]]}
        assert said(first) == [("text", "masts")]
        resume = [{"interruptId": asked["id"], "status": "resolved", "payload": True}]
        second = await run(client, "outer", body("r-2", resume=resume))
        assert [it["type"] for it in second] == [
            "RUN_STARTED", "SUBAGENT_STARTED", "SUBAGENT_FINISHED", *texts(1), "RUN_FINISHED"
        ]  # fmt: skip
        assert second[-1]["result"] == "masts: True"


async def test_what_a_sub_flow_says_is_its_own(store: Store) -> None:
    """Two of them speak at once; one fails, and the parent takes it."""

    def inner(name: str, seconds: float) -> TriggerFlow:
        made = TriggerFlow(name)

        @made.chunk("speak")
        async def speak(data: Data) -> None:
            for word in (name, " says ", "this"):
                await data.async_put_into_stream({"delta": word})
                await asyncio.sleep(seconds)
            if name == "bad":
                raise ValueError("not well")

        made.to(speak).end()
        return made

    flow = TriggerFlow("both")
    flow.to_sub_flow(inner("good", 1.0))
    flow.to_sub_flow(inner("bad", 1.5))
    flow.when({"error": "bad"}).to(lambda data: None)
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        found = await run(client, "both", body())
    assert said(found) == [("text", "good says this"), ("text", "bad says this")]
    began = {event["name"]: event["subagentRunId"] for event in found if event["type"] == "SUBAGENT_STARTED"}
    owners = [event["subagentRunId"] for event in found if event["type"] == "TEXT_MESSAGE_START"]
    assert owners == [began["good"], began["bad"]]
    ends = [event for event in found if event["type"] in ("SUBAGENT_FINISHED", "SUBAGENT_ERROR")]
    assert [(it["type"], it["subagentRunId"], it.get("message")) for it in ends] == [
        ("SUBAGENT_FINISHED", began["good"], None), ("SUBAGENT_ERROR", began["bad"], "not well")
    ]  # fmt: skip


def texts(count: int) -> list[str]:
    return ["TEXT_MESSAGE_START", *["TEXT_MESSAGE_CONTENT"] * count, "TEXT_MESSAGE_END"]


async def test_a_failure_ends_the_run_with_an_error(store: Store) -> None:
    flow = trip()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        found = await run(client, "trip", body(messages=[{"id": "m", "role": "user", "content": "fail"}]))
    assert found[-1]["message"] == "no trains"
    assert found[-1]["code"] == "failed"
    assert found[-1]["metadata"]["triggerflow"] == {"type": "ValueError", "chunk": "look"}
    step = [event for event in found if event["type"] == "STEP_FINISHED"][-1]
    assert step["metadata"]["triggerflow"]["failed"] == "no trains"


async def test_a_cancelled_execution_is_no_failure(store: Store) -> None:
    flow = report()
    client, backend = Client(create_app([flow], store)), StoreBackend(store, flow)
    async with Worker(store, flow):
        first = await run(client, "report", body())
        asked = first[-1]["outcome"]["interrupts"][0]["id"]
        id = first[0]["metadata"]["triggerflow"]["execution"]
        await backend.act(id, Cancel(reason="enough"))
        found = await run(client, "report", body())
        assert found[-1]["outcome"] == {"type": "cancelled"}
        assert found[-1]["metadata"]["triggerflow"] == {"reason": "enough"}
        late = body("r-2", resume=[{"interruptId": asked, "status": "resolved", "payload": True}])
        assert (await client.post("/api/agui/report", late)).code == "ended"
        late["resume"][0]["status"] = "cancelled"
        assert (await run(client, "report", late))[-1]["outcome"] == {"type": "cancelled"}


async def test_who_abandons_a_question_cancels_the_execution(store: Store) -> None:
    flow = asker()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        asked = (await run(client, "asker", body()))[-1]["outcome"]["interrupts"]
        resume = [
            {"interruptId": asked[0]["id"], "status": "resolved", "payload": 1},
            {"interruptId": asked[1]["id"], "status": "cancelled"},
        ]
        for _ in range(2):
            found = await run(client, "asker", body("r-2", resume=resume))
            assert found[-1]["outcome"] == {"type": "cancelled"}
        assert "bob" in found[-1]["metadata"]["triggerflow"]["reason"]


async def test_a_question_that_somebody_else_has_answered(store: Store) -> None:
    flow = report()
    client, backend = Client(create_app([flow], store)), StoreBackend(store, flow)
    async with Worker(store, flow):
        asked = (await run(client, "report", body()))[-1]["outcome"]["interrupts"][0]
        id = asked["metadata"]["triggerflow"]["execution"]
        await backend.act(id, Answer(question="approve", value=False))
        await backend.result(id, wait=10)
        resume = [{"interruptId": asked["id"], "status": "resolved", "payload": True}]
        assert (await client.post("/api/agui/report", body("r-2", resume=resume))).status == 409
        # The client may not go on without a word about it: it says that it does not answer, and sees what has happened.
        resume[0]["status"] = "cancelled"
        found = await run(client, "report", body("r-2", resume=resume))
        assert (found[-1]["result"], found[-1]["outcome"]) == ("solar sails: False", {"type": "success"})


async def test_a_question_that_is_asked_again_under_its_id_is_another_one(store: Store) -> None:
    flow = TriggerFlow("patient")

    @flow.chunk("ask")
    async def ask(data: Data) -> int:
        if data.resume is None or data.value < 1:
            data.pause_for(interrupt_id="amount", payload="how many?", schema=int, resume_to="self")
        return data.value

    flow.to(ask).end()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        found = await run(client, "patient", body())
        ids: list[str] = []
        for number, answer in enumerate([0, 0, 3], 2):
            ids.append(found[-1]["outcome"]["interrupts"][0]["id"])
            resume = [{"interruptId": ids[-1], "status": "resolved", "payload": answer}]
            found = await run(client, "patient", body(f"r-{number}", resume=resume))
            if number == 2:  # sent again, and late with another answer: neither is an answer to the second question
                for other in (0, 5):
                    late = [{**resume[0], "payload": other}]
                    again = await run(client, "patient", body("r-2", resume=late))
                    assert merged(again) == merged(found)
    assert len(set(ids)) == 3
    assert found[-1]["result"] == 3


async def test_what_was_compacted_is_told_as_far_as_it_is_known(store: Store) -> None:
    flow = trip()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        first = await run(client, "trip", body())
        asked = first[-1]["outcome"]["interrupts"][0]["id"]
        resume = [{"interruptId": asked, "status": "resolved", "payload": True}]
        whole = await run(client, "trip", body("r-2", resume=resume))
    await flow.history(store).compact(asked.partition(":")[0])
    found = await run(client, "trip", body())
    assert state_after(found, None) == state_after(whole, None)
    assert found[-1]["result"] == "booked"
    assert (await client.post("/api/agui/trip", body("r-2", resume=resume))).code == "records_trimmed"


async def test_a_run_goes_on_while_anything_but_a_person_is_waited_for(store: Store) -> None:
    """Another branch works on after the question, and its text belongs to the run."""
    flow = TriggerFlow("both")

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", expires=3600)

    @flow.chunk("work")
    async def work(data: Data) -> None:
        await asyncio.sleep(30)
        await data.async_put_into_stream({"delta": "done meanwhile"})

    flow.to(ask)
    flow.to(work)
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        found = await run(client, "both", body())
    assert said(found) == [("text", "done meanwhile")]
    assert found[-1]["outcome"]["interrupts"][0]["expiresAt"].endswith("+00:00")


class Slow:
    """A backend that gives its frames one after another, each after a second."""

    def __init__(self, backend: StoreBackend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    async def frames(self, id: str, **options: Any) -> Any:
        async for frame in self.backend.frames(id, **options):
            await asyncio.sleep(1)
            yield frame


async def test_an_end_that_was_none_is_no_end(store: Store) -> None:
    """An execution has failed, and was retried: a reader that comes to the failure goes on."""
    flow, fails = TriggerFlow("second try"), [True]

    @flow.chunk("work")
    async def work(data: Data) -> str:
        if fails.pop():
            raise ValueError("not yet")
        return "done"

    flow.to(work).end()
    backend = Slow(StoreBackend(store, flow))
    client = Client(create_app(backend=backend))  # pyright: ignore[reportArgumentType]
    async with Worker(store, flow):
        first = await run(client, "second try", body())
        assert (first[-1]["type"], first[-1]["message"]) == ("RUN_ERROR", "not yet")
        fails[:] = [False]
        id = first[0]["metadata"]["triggerflow"]["execution"]
        await backend.act(id, Retry())
        await backend.result(id, wait=60)
        found = await run(client, "second try", body())
    assert said(found) == [("text", "done")]


async def test_a_question_that_is_answered_while_it_is_looked_up_is_not_asked(store: Store) -> None:
    flow = report()

    class Answering(Slow):
        async def questions(self, **options: Any) -> Any:
            found = await self.backend.questions(**options)
            for it in found.questions:
                await self.backend.act(it.execution, Answer(question=it.id, value=True))
                await asyncio.sleep(10)
            return found

    backend = Answering(StoreBackend(store, flow))
    client = Client(create_app(backend=backend))  # pyright: ignore[reportArgumentType]
    async with Worker(store, flow):
        found = await run(client, "report", body())
    assert (found[-1]["result"], found[-1]["outcome"]) == ("solar sails: True", {"type": "success"})


# -- how streams end ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def half_said(store: Store, **options: Any) -> Any:
    """A run in the middle of a text and of a tool call."""
    flow = TriggerFlow("half")

    @flow.chunk("speak")
    async def speak(data: Data) -> None:
        for item in ("Hel", ["reasoning_delta", "hm"], PIECES[0], {"delta": "lo"}, PIECES[0]):
            await data.async_put_into_stream(item)
            await asyncio.sleep(1)
        await asyncio.sleep(7200)

    inner = TriggerFlow("inner")
    inner.to(speak)
    flow.to(speak)
    flow.to_sub_flow(inner)
    app = create_app([flow], store, **options)
    client = Client(app, authorization="Bearer a")
    async with Worker(store, flow), client.events("/api/agui/half", "POST", body()) as stream:
        await stream.until(lambda it: it.body.count(b"TOOL_CALL_ARGS") >= 4)
        yield app, stream


async def test_a_server_that_stops_closes_what_is_open(store: Store) -> None:
    async with half_said(store) as (app, stream):
        await app.stop()
        await stream.rest()
        found = events_of(stream)
        check(found)
        assert (found[-1]["type"], found[-1]["code"]) == ("RUN_ERROR", "stopping")
        assert found[-1]["metadata"]["triggerflow"] == {"again": True, "goes_on": True}
        assert b"retry: " in stream.body


async def test_a_stream_that_is_old_closes_what_is_open(store: Store) -> None:
    async with half_said(store, limits=Limits(stream_time=60, heartbeat=15)) as (_, stream):
        await stream.rest()
        assert b"\n:\n" in stream.body
        found = events_of(stream)
        check(found)
        assert (found[-1]["type"], found[-1]["code"]) == ("RUN_ERROR", "busy")


async def test_a_stream_whose_token_is_gone_closes_what_is_open(store: Store) -> None:
    grants = {"a": Grant(name="a", scopes=frozenset(("act",)))}
    async with half_said(store, auth=grants.get) as (_, stream):
        grants.clear()
        await stream.rest()
        found = events_of(stream)
        check(found)
        assert (found[-1]["type"], found[-1]["code"]) == ("RUN_ERROR", "no_token")


async def test_a_store_that_fails_closes_what_is_open(store: Store) -> None:
    flow = report()
    backend = StoreBackend(store, flow)

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(backend, name)

        async def frames(self, id: str, **options: Any) -> Any:
            async for frame in backend.frames(id, **options):
                yield frame
                if frame.kind == "stream":
                    raise RuntimeError("a secret")

    client = Client(create_app(backend=Failing()))  # pyright: ignore[reportArgumentType]
    async with Worker(store, flow):
        found = await run(client, "report", body())
    assert (found[-1]["type"], found[-1]["code"]) == ("RUN_ERROR", "internal")
    assert "secret" not in json.dumps(found)


# -- any items, cut anywhere -------------------------------------------------------------------------------------------

short = st.sampled_from(["", "a", "call-1"])
pieces = st.fixed_dictionaries(
    {"arguments": st.sampled_from(["", "{", "}", "{}"])},
    optional={
        "index": st.integers(0, 2), "id": short | st.none(), "name": short | st.none(), "done": st.booleans(),
        "function": st.fixed_dictionaries({"name": short, "arguments": short}), "$type": st.just("ToolCallDelta"),
    },
)  # fmt: skip
items = st.one_of(
    short,
    st.tuples(st.sampled_from(["delta", "reasoning_delta", "done", "reasoning_done", "refusal_delta"]), short).map(
        list
    ),
    st.tuples(st.just("tool_calls"), st.lists(pieces, max_size=3)).map(list),
    st.tuples(st.sampled_from(["reset", "meta", "original_delta"]), st.integers(0, 2)).map(list),
    pieces,
    st.fixed_dictionaries({"delta": short}, optional={"by": st.integers(0, 1)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": short, "tool_calls": st.lists(pieces, max_size=2)}),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": short, "content": short}),
    st.just({"type": "interrupt", "action": "pause"}),
    st.integers(),
)
changed = st.builds(
    RunChange,
    run=st.integers(1, 4),
    phase=st.sampled_from(["ready", "running", "waiting", "backoff", "ended"]),
    operator=st.just("o"),
    chunk=st.sampled_from(["one", "two"]),
    attempt=st.integers(0, 2),
    sub_flow=st.sampled_from([None, "e/sub.3", "e/sub.33"]),
)
frames = st.one_of(
    st.tuples(
        st.just("stream"),
        st.fixed_dictionaries(
            {"run": st.integers(1, 4) | st.none(), "item": items},
            optional={"path": st.sampled_from(["sub.3", "sub.3/deep.1", "sub.33.2"])},
        ),
    ),
    st.tuples(
        st.just("state"),
        st.fixed_dictionaries(
            {"op": st.sampled_from(["set", "append", "delete"]), "key": st.sampled_from(["a", "b~/", "__proto__"])},
            optional={"value": st.integers() | st.lists(st.integers(), max_size=2)},
        ),
    ),
    st.tuples(
        st.sampled_from(["completed", "failed", "paused", "cancelled"]),
        st.fixed_dictionaries({"run": st.integers(1, 4)}, optional={"error": st.just({"type": "E", "message": "m"})}),
    ),
)


@given(
    st.lists(st.tuples(frames, st.lists(changed, max_size=3), st.booleans()), max_size=30),
    st.sampled_from(["completed", "failed", "cancelled", "cut", "asks"]),
)
@soak.examples(60)
def test_whatever_happens_is_well_formed(made: list[Any], end: str) -> None:
    """Each event that opens something has one that closes it, wherever the frames end, and however they are cut."""
    given_input = msgspec.convert(body(state={"b~/": [5], "c": 1}), AgentInput)
    projection = Projection("e", "f", given_input)
    projection.begin()
    sent = [projection.flush()]
    own: dict[str, Any] = {}
    for number, ((kind, record), changes_of_runs, flushes) in enumerate(made, 1):
        record = copy.deepcopy(record)
        frame = Frame(number=number, at=number, kind=kind, record=record, status="running", runs=changes_of_runs)
        if kind == "state":
            key, value = record["key"], copy.deepcopy(record.get("value"))
            if record["op"] == "set":
                own[key] = value
            elif record["op"] == "append":
                before = own.get(key)
                own[key] = [*before, value] if isinstance(before, list) else [value]
            else:
                own.pop(key, None)
        projection.take(frame)
        if flushes:
            sent.append(projection.flush())
    if end == "cut":
        projection.fail(problem("stopping", "it stops"))
    elif end == "asks":
        projection.interrupt([])
    else:
        projection.status = end  # pyright: ignore[reportAttributeAccessIssue]
        projection.finish()
    sent.append(projection.flush())
    found = events_of(b"".join(sent))
    check(found)
    touched = {record["key"] for (kind, record), _, _ in made if kind == "state"}
    base = {key: value for key, value in {"b~/": [5], "c": 1}.items() if key not in touched}
    assert state_after(found, {"b~/": [5], "c": 1}) == {**base, **own}
    for event in found:
        assert all(is_taken(it["path"]) for it in event.get("delta", []) if event["type"] == "STATE_DELTA")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a/b", "~"]) | st.just(1.0),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["", "a", "b/~", "-"]), inner),
    max_leaves=12,
)


@given(values, values)
@soak.examples(200)
def test_a_patch_makes_the_new_value_of_the_old_one(old: Any, new: Any) -> None:
    patch = changes("", old, new)
    assert json.dumps(applied(old, patch), sort_keys=True) == json.dumps(new, sort_keys=True)
    assert (patch == []) is (json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True))


def test_a_patch_is_no_longer_than_it_needs_to_be() -> None:
    rows = [{"n": number} for number in range(500)]
    assert changes("/rows", rows, [*rows, 1]) == [{"op": "add", "path": "/rows/-", "value": 1}]
    assert changes("/rows", rows, rows[1:]) == [{"op": "replace", "path": "/rows", "value": rows[1:]}]
    assert changes("", {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == [
        {"op": "replace", "path": "/a/c", "value": 3}
    ]
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert len(changes("", deep, [deep])) == 1


async def test_what_is_too_large_for_clients_is_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projecting, "MAX_EVENT", 2000)
    monkeypatch.setattr(projecting, "PIECE", 500)
    big = "x" * 3000
    flow = TriggerFlow("big")

    @flow.chunk("big")
    async def grow(data: Data) -> Any:
        data.state.set("small", 1)
        data.state.set("big", big)
        data.state.set("small", 2)
        for item in ({"delta": big}, {"rows": big}, {"role": "tool", "tool_call_id": "a", "content": big}):
            await data.async_put_into_stream(item)
        return {"rows": big}

    flow.to(grow).end()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        found = await run(client, "big", body())
    assert max(len(json.dumps(event)) for event in found) < 2500
    assert ("text", big) in said(found)
    names = [event["value"]["type"] for event in found if event.get("name") == "triggerflow.left_out"]
    assert sorted(names) == ["CUSTOM", "STATE_DELTA"]
    assert "result" not in found[-1]
    assert found[-1]["metadata"]["triggerflow"]["left_out"]["bytes"] > 3000


# -- strangers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b"{}", 400, "bad_request"),
        (b'{"threadId": "t", "runId": "r"}', 400, "bad_request"),
        (b'{"threadId": 1, "runId": "r", "messages": []}', 400, "bad_request"),
        (b'{"threadId": "", "runId": "r", "messages": []}', 400, "bad_request"),
        (b'{"threadId": "a\\u0000", "runId": "r", "messages": []}', 400, "bad_request"),
        (b'{"threadId": "\\ud800", "runId": "r", "messages": []}', 400, "bad_request"),
        (b'{"threadId": "t", "runId": "%b", "messages": []}' % (b"x" * 513), 400, "bad_request"),
        (b'{"threadId": "t", "runId": "r", "messages": {}}', 400, "bad_request"),
        (b'{"threadId": "t", "runId": "r", "messages": ["x"]}', 400, "bad_request"),
        (b'{"threadId": "t", "runId": "r", "messages": [], "resume": [{}]}', 400, "bad_request"),
        (
            b'{"threadId": "t", "runId": "r", "messages": [], "resume": [{"interruptId": "i", "status": "?"}]}',
            400,
            "bad_request",
        ),
        (b'{"threadId": "t", "runId": "r", "messages": [%b]}' % (b"[" * 50_000), 400, "bad_request"),
        (b'{"threadId": "t", "runId": "r", "messages": ["%b"]}' % (b"x" * 200_000), 413, "too_large"),
    ],
)
async def test_bodies_of_strangers(store: Store, given_body: bytes, status: int, code: str) -> None:
    client = Client(create_app([echo()], store, limits=Limits(body=100_000)))
    answer = await client.call("POST", "/api/agui/echo", given_body, **{"content-type": "application/json"})
    assert (answer.status, answer.code) == (status, code), answer.body
    assert (await client.get("/api/counts")).json() == {}


async def test_messages_of_any_shape_do_no_harm(store: Store) -> None:
    flow = echo()
    client = Client(create_app([flow], store))
    strange: list[Any] = [
        {}, {"id": 1}, {"id": "x", "toolCalls": "no list"}, {"id": "x", "toolCalls": [1, {"id": 2}]},
        {"role": "user"}, {"role": "user", "content": None}, {"id": "agui--1", "role": "reasoning"},
    ]  # fmt: skip
    async with Worker(store, flow):
        for number, state in enumerate([None, 1, [], {"a": {}}]):
            found = await run(client, "echo", body(f"r-{number}", messages=strange, state=state, unknown="field"))
            assert found[-1]["result"]["messages"] == strange


async def test_interrupts_that_are_none(store: Store) -> None:
    flows = [report(), asker()]
    client, backend = Client(create_app(flows, store)), StoreBackend(store, *flows)
    async with Worker(store, *flows):
        asked = (await run(client, "report", body()))[-1]["outcome"]["interrupts"][0]["id"]
        others = [it["id"] for it in (await run(client, "asker", body()))[-1]["outcome"]["interrupts"]]
        await backend.start("report", "x", id="not over AG-UI")
        while len((await backend.questions(flow="report")).questions) < 2:  # noqa: ASYNC110 - as a client does
            await asyncio.sleep(0.1)
        execution, moment, question = asked.split(":")
        for ids in (
            ["x"], [""], ["::"], ["a:1:b"], [f"{execution}:1:nothing"], [f"{execution}:1:{question}"],
            [f"{execution}:{10**14}:{question}"], [f"{execution}:-1:{question}"], ["\0:1:x"], ["x" * 3000 + ":1:x"],
            [f"not over AG-UI:{moment}:{question}"], others, [asked, others[0]], [asked, "x"],
        ):  # fmt: skip
            resume = [{"interruptId": id, "status": "resolved", "payload": True} for id in ids]
            answer = await client.post("/api/agui/report", body("r-2", resume=resume))
            assert (answer.status, answer.code) == (404, "unknown_question"), (ids, answer.body)
        entry = {"interruptId": asked, "status": "resolved", "payload": True}
        answer = await client.post("/api/agui/report", {**body("r-2", resume=[entry]), "threadId": "t-2"})
        assert answer.code == "unknown_question"
        answer = await client.post("/api/agui/report", body("r-2", resume=[entry, entry]))
        assert (answer.status, answer.code) == (400, "bad_request")
        # An answer to nothing starts nothing, and the question is still open.
        assert [it.own_id for it in (await backend.questions(flow="report")).questions] == ["approve", "approve"]


async def test_nobody_sees_another_flow(store: Store) -> None:
    flows = [report(), echo("secret")]
    grants = {
        name: Grant(name=name, scopes=frozenset(("act",)), flows=frozenset((flow,)))
        for name, flow in [("a", "report"), ("a2", "report"), ("b", "secret")]
    }
    app = create_app(flows, store, auth=grants.get)

    def client(token: str) -> Client:
        return Client(app, authorization=f"Bearer {token}")

    async def refusal(token: str, flow: str, given: dict[str, Any]) -> Response:
        return await client(token).post(f"/api/agui/{flow}", given)

    async with Worker(store, *flows):
        asked = (await run(client("a"), "report", body()))[-1]["outcome"]["interrupts"][0]["id"]
        for flow in ("report", "nobody"):
            answer = await refusal("b", flow, body())
            assert (answer.status, answer.code) == (404, "unknown_flow")
        resume = [{"interruptId": asked, "status": "resolved", "payload": True}]
        for flow, code in [("secret", "unknown_question"), ("report", "unknown_flow")]:
            assert (await refusal("b", flow, body("r-2", resume=resume))).code == code
        # Two callers may have the same ids for their threads and runs.
        other = await run(client("a2"), "report", body())
        assert other[0]["metadata"] != (await run(client("a"), "report", body()))[0]["metadata"]
        for headers, status in [({"origin": "http://evil.example"}, 403), ({"host": "evil.example"}, 421)]:
            answer = await client("a").post("/api/agui/report", body("r-3"), **headers)
            assert answer.status == status
        assert (await Client(app).post("/api/agui/report", body("r-3"))).code == "no_token"
    assert (await client("a").get("/api/counts")).json() == {"report": {"waiting": 2}}


async def test_the_description_has_a_path_for_each_flow() -> None:
    async with MemoryStore() as store:
        found = (await Client(create_app([report(), echo()], store)).get("/openapi.json")).json()
    paths = [path for path in found["paths"] if path.startswith("/api/agui/")]
    assert paths == ["/api/agui/echo", "/api/agui/report"]
    schema = found["components"]["schemas"]["AgentInput"]
    assert schema["required"] == ["threadId", "runId", "messages"]
    assert "additionalProperties" not in schema
    assert list(found["paths"][paths[0]]["post"]["responses"]["200"]["content"]) == ["text/event-stream"]


# -- the client of the protocol ----------------------------------------------------------------------------------------

CLIENT = Path(__file__).with_name("agui_client.mjs")


@pytest.mark.real_time
@pytest.mark.needs("node")
async def test_the_client_of_the_protocol_takes_it_all(tmp_path: Path) -> None:
    """`HttpAgent` of npm's `@ag-ui/client` 1.0.0: it checks every event, and fails a run that breaks a rule."""
    app = create_app([trip(), asker()], SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL"), worker=True)
    server = Server(app, port=0)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    node = shutil.which("node")
    assert node is not None
    asked = await asyncio.create_subprocess_exec(
        node, str(CLIENT), f"{server.url}/api/agui", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        told, complained = await asyncio.wait_for(asked.communicate(), 50)
    finally:
        server.should_exit = True
        await serving
    assert asked.returncode == 0, complained.decode()
    found = json.loads(told)
    assert found["warnings"] == []

    trip_messages = [
        {"role": "user", "content": "Rome"},
        {"role": "reasoning", "content": "A city, so the weather."},
        {"role": "assistant", "content": "Let me look.", "calls": [["call-1", "weather", '{"city": "Rome"}']]},
        {"role": "tool", "content": "sunny", "call": "call-1"},
    ]
    days = [{"day": "Monday"}, {"day": "Tuesday"}]
    first = found["first"]
    assert first["messages"] == trip_messages
    assert first["state"] == {"mine": 1, "topic": "Rome", "days": days}
    (asks,) = first["interrupts"]
    assert (asks["reason"], asks["message"], asks["responseSchema"]) == (
        "confirmation",
        "Book it?",
        {"type": "boolean"},
    )
    assert first["steps"] == ["ask the model", "look", "ask"]
    assert [it["name"] for it in first["custom"]] == ["item", "item"]

    assert "pending interrupt" in found["without_resume"]
    second = found["second"]
    assert second["messages"] == [*trip_messages, {"role": "assistant", "content": "Have a good trip."}]
    assert second["state"] == {"mine": 1, "topic": "Rome", "days": days, "booked": True}
    assert (second["result"], second["outcome"], second["interrupts"]) == ("booked", "success", [])

    assert found["again"]["messages"] == second["messages"]
    assert found["again"]["state"] == second["state"]
    assert found["cut"]["messages"] == trip_messages
    assert found["cut"]["was_cut"]
    assert (found["failed"]["error"], found["failed"]["code"]) == ("no trains", "failed")
    assert found["failed"]["messages"][-1] == trip_messages[-1]
    assert found["two"]["result"] == [1, 2]
    assert found["cancelled"]["outcome"] == "cancelled"
    assert found["unknown"].startswith("HTTP 404")
