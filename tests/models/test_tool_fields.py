"""Tool calls as a stream: their arguments are fields, and a call is complete at its own end."""

import asyncio
import json
from typing import Any

import pydantic
import pytest

from tests.models.fields_support import typed
from triggerflow import FieldPlace, TriggerFlow
from triggerflow.models import (
    FieldsWithdrawnError,
    InvalidResponseError,
    Response,
    ResponseUsageError,
    ToolCall,
    TruncatedResponseError,
)


class Query(pydantic.BaseModel):
    text: str
    limit: int = 3


class Search(pydantic.BaseModel):
    queries: list[Query]


ARGUMENTS = '{"queries": [{"text": "thrust"}, {"text": "light", "limit": 1}]}'
WEATHER = '{"city": "Rome"}'


def openai(*pieces: tuple[int | None, str | None, str], end: str | None = "tool_calls") -> list[Any]:
    """Chunks of an OpenAI chat: (index, name or None, arguments)."""
    chunks: list[Any] = []
    for index, name, text in pieces:
        call: dict[str, Any] = {"function": {"arguments": text}}
        if index is not None:
            call["index"] = index
        if name:
            call |= {"id": f"id-{name}", "type": "function", "function": {"name": name, "arguments": text}}
        chunks.append({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]})
    chunks.append({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": end}]})
    return chunks


def anthropic(*calls: tuple[str, str]) -> list[Any]:
    chunks: list[Any] = [{"type": "message_start", "message": {"usage": {"input_tokens": 1}}}]
    for index, (name, text) in enumerate(calls):
        block = {"type": "tool_use", "id": f"id-{name}", "name": name, "input": {}}
        chunks.append({"type": "content_block_start", "index": index, "content_block": block})
        for at in range(0, len(text), 7):
            piece = {"type": "input_json_delta", "partial_json": text[at : at + 7]}
            chunks.append({"type": "content_block_delta", "index": index, "delta": piece})
        chunks.append({"type": "content_block_stop", "index": index})
    return [
        *chunks,
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]


def gemini(*calls: tuple[str, str]) -> list[Any]:
    return [
        {
            "candidates": [
                {
                    "content": {"parts": [{"functionCall": {"name": name, "args": json.loads(text)}}]},
                    "finishReason": "STOP" if number == len(calls) - 1 else None,
                }
            ]
        }
        for number, (name, text) in enumerate(calls)
    ]


def ollama(*calls: tuple[str, str]) -> list[Any]:
    made = [{"function": {"name": name, "arguments": json.loads(text)}} for name, text in calls]
    return [
        *({"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False} for call in made),
        {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"},
    ]


def cut(name: str, text: str, index: int | None = 0, size: int = 5) -> list[tuple[int | None, str | None, str]]:
    """A call in pieces."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [(index, name if number == 0 else None, piece) for number, piece in enumerate(pieces)]


PARALLEL = [*cut("search", ARGUMENTS, 0)[:4], *cut("weather", WEATHER, 1)[:1], *cut("search", ARGUMENTS, 0)[4:],
            *cut("weather", WEATHER, 1)[1:]]  # fmt: skip
DIALECTS = {
    "openai": openai(*cut("search", ARGUMENTS), *cut("weather", WEATHER, 1)),
    "openai, in turn": openai(*PARALLEL),
    "openai, index 0 twice": openai(*cut("search", ARGUMENTS, 0), *cut("weather", WEATHER, 0)),
    "openai, no index": openai((None, "search", ARGUMENTS), (None, "weather", WEATHER)),
    "anthropic": anthropic(("search", ARGUMENTS), ("weather", WEATHER)),
    "gemini": gemini(("search", ARGUMENTS), ("weather", WEATHER)),
    "ollama": ollama(("search", ARGUMENTS), ("weather", WEATHER)),
}


async def slowly(chunks: list[Any]) -> Any:
    for chunk in chunks:
        await asyncio.sleep(1)
        yield chunk


async def taken(fields: Any, into: list[Any] | None = None) -> list[Any]:
    found = [] if into is None else into
    async for item in fields:
        found.append(item)
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_places_in_the_arguments_are_fields(dialect: str) -> None:
    response = Response(slowly(DIALECTS[dialect]), tools={"search": Search, "weather": {"city": str}})
    found = await taken(response.fields("$tool_calls.search.queries[*]", "$tool_calls.weather.city", places=True))
    assert sorted(found, key=lambda it: it[0].path) == [
        (
            FieldPlace(
                f"$tool_calls[0].queries[{n}]", "$tool_calls.search.queries[*]", ("$tool_calls", 0, "queries", n)
            ),
            it,
        )
        for n, it in enumerate([Query(text="thrust"), Query(text="light", limit=1)])
    ] + [(FieldPlace("$tool_calls[1].city", "$tool_calls.weather.city", ("$tool_calls", 1, "city")), "Rome")]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_whole_calls_are_fields(dialect: str) -> None:
    calls = await taken(Response(slowly(DIALECTS[dialect])).fields("$tool_calls[*]"))
    assert [(call.name, json.loads(call.arguments), call.done) for call in calls] == [
        ("search", json.loads(ARGUMENTS), True), ("weather", json.loads(WEATHER), True),
    ]  # fmt: skip
    assert await taken(Response(slowly(DIALECTS[dialect])).fields("$tool_calls[1]")) == calls[1:]


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
async def test_the_arguments_of_a_tool_are_one_field(dialect: str) -> None:
    response = Response(DIALECTS[dialect], tools={"search": Search, "weather": dict})
    assert await taken(response.fields("$tool_calls.search")) == [Search.model_validate_json(ARGUMENTS)]


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
async def test_a_call_is_complete_at_its_boundary(dialect: str) -> None:
    chunks = DIALECTS[dialect]
    started = asyncio.get_running_loop().time()
    times = [
        asyncio.get_running_loop().time() - started async for _ in Response(slowly(chunks)).fields("$tool_calls[*]")
    ]
    assert times[0] < times[1]
    assert times[0] < len(chunks) - 3 or dialect == "gemini"
    assert times == sorted(times)


async def test_a_place_is_complete_with_the_character_that_proves_it() -> None:
    chunks = openai(*cut("search", ARGUMENTS, size=1))
    started = asyncio.get_running_loop().time()
    times = [
        asyncio.get_running_loop().time() - started
        async for _ in Response(slowly(chunks)).fields("$tool_calls.search.queries[*]")
    ]
    assert times == [ARGUMENTS.index("}") + 1, ARGUMENTS.index("}]") + 1]


async def test_a_tool_without_parameters() -> None:
    response = Response(openai((0, "now", ""), (1, "search", ARGUMENTS)))
    assert await taken(response.fields("$tool_calls.now", "$tool_calls[*]")) == [
        {}, ToolCall("id-now", "now", "{}", True), ToolCall("id-search", "search", ARGUMENTS, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    ['{"queries": [{"text": 1}]}', '{"queries": [{"text": "a", "limit": "many"}]}', '{"queries": [{"txt": "a"}]}'],
)
async def test_wrong_arguments_are_asked_for_again(arguments: str) -> None:
    answers = [openai(*cut("search", arguments)), openai(*cut("search", ARGUMENTS))]
    reasons: list[str] = []

    def source(attempt: Any) -> Any:
        reasons.append(attempt.reason)
        return slowly(answers[attempt.number - 1])

    response = Response(source, tools={"search": Search, "weather": dict})
    assert [it.text for it in await taken(response.fields("$tool_calls.search.queries[*]"))] == ["thrust", "light"]
    assert "$tool_calls" in reasons[1] or "queries" in reasons[1]


@pytest.mark.parametrize("arguments", ['{"queries": ["a", ', '{"queries": []} {"queries": []}', "no object", '["a"]'])
async def test_arguments_that_are_no_object_are_invalid(arguments: str) -> None:
    for path in ("$tool_calls[*]", "$tool_calls.search.queries[*]"):
        with pytest.raises(InvalidResponseError, match=r"tool call 1 \('search'\)"):
            await taken(Response(openai((0, "search", arguments))).fields(path))


async def test_a_described_call_is_checked_as_a_whole() -> None:
    wrong = openai((0, "search", '{"queries": "all"}'))
    with pytest.raises(InvalidResponseError, match=r"\$tool_calls\[0\]"):
        await taken(Response(wrong, tools={"search": Search, "weather": dict}).fields("$tool_calls[*]"))
    assert len(await taken(Response(wrong).fields("$tool_calls[*]"))) == 1


async def test_a_cut_answer_fails_after_its_fields() -> None:
    found: list[Any] = []
    chunks = openai(*cut("search", ARGUMENTS[:-3]), end="length")
    with pytest.raises(TruncatedResponseError):
        await taken(Response(slowly(chunks)).fields("$tool_calls.search.queries[*].text"), found)
    assert found == ["thrust", "light"]


async def test_a_late_reader_and_two_at_once() -> None:
    response = Response(slowly(DIALECTS["openai"]))
    first = asyncio.create_task(taken(response.fields("$tool_calls.search.queries[*].text")))
    await asyncio.sleep(10)
    second = asyncio.create_task(taken(response.fields("$tool_calls[*]", "$tool_calls.search.queries[*].text")))
    assert await first == ["thrust", "light"]
    assert [it if isinstance(it, str) else it.name for it in await second] == ["thrust", "light", "search", "weather"]
    assert [it.name for it in await taken(response.fields("$tool_calls[*]"))] == ["search", "weather"]


async def test_content_and_calls_side_by_side() -> None:
    chunks = [
        {"id": "c", "choices": [{"index": 0, "delta": {"content": '{"title": "Sails"}'}, "finish_reason": None}]},
        *openai(*cut("search", ARGUMENTS)),
    ]
    response = Response(chunks, output={"title": str})
    assert await taken(response.fields("title", "$tool_calls.search.queries[*].text")) == ["Sails", "thrust", "light"]


async def test_paths_of_the_other_style() -> None:
    response = Response(DIALECTS["anthropic"], path_style="slash", tools={"search": Search, "weather": dict})
    found = await taken(response.fields("/$tool_calls/search/queries/[*]/text", "/$tool_calls/[*]", places=True))
    assert [place.path for place, _ in found] == [
        "/$tool_calls/[0]/queries/[0]/text",
        "/$tool_calls/[0]/queries/[1]/text",
        "/$tool_calls/[0]",
        "/$tool_calls/[1]",
    ]
    assert found[0][0].wildcard_path == "/$tool_calls/search/queries/[*]/text"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("$tool_calls", "whole calls"),
        ("$tool_calls[*].queries", "whole calls"),
        ("$tool_calls.find", "names no tool"),
        ("$tool_calls.search.query[*]", "did you mean"),
        ("$tool_calls.search.queries[0].tags[*]", "would never match"),
    ],
)
def test_paths_that_no_call_has(path: str, message: str) -> None:
    with pytest.raises(ResponseUsageError, match=message):
        Response(DIALECTS["openai"], tools={"search": Search, "weather": dict}).fields(path)


async def test_calls_into_for_each_and_as_signals() -> None:
    """Each query is searched as soon as it is written; all is taken back when the next attempt follows."""
    answers = [openai(*cut("search", ARGUMENTS.replace("1}", '"many"}'))), openai(*cut("search", ARGUMENTS))]
    log: list[str] = []

    def flow_of(make: Any) -> TriggerFlow:
        flow = TriggerFlow(name="f")
        flow.register_type(Query)
        flow.register_type(ToolCall)

        @flow.chunk("work")
        async def work(data: Any) -> str:
            log.append(f"{data.field.indexes} {data.value.text}")
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                log.append(f"cancelled {data.value.text}")
                raise
            return data.value.text.upper()

        make(flow, work)
        return flow

    def response() -> Response:
        return Response(lambda attempt: slowly(answers[attempt.number - 1]), tools={"search": Search, "weather": dict})

    async def given(data: Any) -> Any:
        return response().fields("$tool_calls.search.queries[*]")

    async def emitted(data: Any) -> Any:
        return await data.async_emit_fields(response(), {"$tool_calls.search.queries[*]": "query"})

    expected = ["(0, 0) thrust", "cancelled thrust", "(0, 0) thrust", "(0, 1) light"]
    flow = flow_of(lambda flow, work: flow.to(given).for_each().to(work).end_for_each().end())
    assert await flow.async_start() == ["THRUST", "LIGHT"]
    assert log == expected
    log.clear()
    flow = flow_of(lambda flow, work: (flow.to(emitted).end(), flow.when("query").to(work)))
    execution = flow.create_execution()
    calls = await execution.async_start()
    await execution.async_get_result()
    assert log == expected
    assert calls == [ToolCall("id-search", "search", ARGUMENTS, True)]


async def test_a_reset_is_told() -> None:
    answers = [openai(*cut("search", ARGUMENTS.replace("1}", '"many"}'))), openai(*cut("search", ARGUMENTS))]
    response = Response(lambda attempt: slowly(answers[attempt.number - 1]), tools={"search": Search, "weather": dict})
    fields = response.fields("$tool_calls.search.queries[*]")
    with pytest.raises(FieldsWithdrawnError):
        await taken(fields)
    assert [it.text for it in await taken(fields)] == ["thrust", "light"]


async def test_an_answer_with_a_key_of_that_name() -> None:
    assert await taken(Response(typed('{"tool_calls": [1]}')).fields("tool_calls[*]")) == [1]
