"""Answers, chunks and sources that look like those in public bug reports, and what a careful user expects of them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from triggerflow.models import (
    Delta,
    FieldsWithdrawnError,
    InvalidResponseError,
    ProviderError,
    RateLimitError,
    Response,
    ResponseUsageError,
    TruncatedResponseError,
)

OUTPUT = {"t": str, "n": int}


def chunk(content: Any = None, finish: str | None = None, index: Any = 0, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": index, "delta": {"content": content, **delta}, "finish_reason": finish}]}


def called(*pieces: Any, finish: str | None = None) -> dict[str, Any]:
    return chunk(None, finish, tool_calls=[*pieces])


def piece(arguments: Any, name: str | None = None, id: str | None = None, **index: Any) -> dict[str, Any]:
    return {**index, "id": id, "function": {"name": name, "arguments": arguments}}


END, CALLS_END = chunk(None, "stop"), chunk(None, "tool_calls")


async def text_of(chunks: Any, **options: Any) -> str:
    return await Response(chunks, max_retries=0, **options).async_get_text()


async def calls_of(*chunks: Any) -> list[tuple[str | None, str]]:
    said = await Response([*chunks], max_retries=0).async_get_data(type="all")
    return [(call.name, call.arguments) for call in said["tool_calls"]]


# -- validators that raise what is no ValueError -----------------------------------------------------------------------

MINUTES = {"short": 5, "long": 60}


class Step(BaseModel):
    length: str

    @field_validator("length")
    @classmethod
    def known(cls, value: str) -> str:
        if value == "stop":
            raise StopIteration
        if value == "half":
            return str(1 // 0)
        return value if MINUTES[value] else ""


class Plan(BaseModel):
    steps: list[Step]


def plan(*lengths: str) -> str:
    return json.dumps({"steps": [{"length": length} for length in lengths]})


@pytest.mark.parametrize("wrong", ["unknown", "stop", "half"])
async def test_any_exception_of_a_validator_makes_the_answer_invalid(wrong: str) -> None:
    answers = [plan("short", wrong), plan("long")]
    reasons: list[Any] = []

    def source(attempt: Any) -> list[str]:
        reasons.append(attempt.reason)
        return [answers.pop(0)]

    assert await Response(source, output=Plan).async_get_data_object() == Plan(steps=[Step(length="long")])
    assert "its check raised" in reasons[1]
    with pytest.raises(InvalidResponseError, match="its check raised"):
        await Response([plan(wrong)], output=Plan).async_get_data()


@pytest.mark.parametrize("wrong", ["unknown", "stop", "half"])
async def test_any_exception_of_a_validator_takes_a_field_back(wrong: str) -> None:
    answers = [plan("short", wrong), plan("long")]
    fields = Response(lambda: [answers.pop(0)], output=Plan).fields("steps[*]", places=True)
    found: list[Any] = []
    while True:
        try:
            async for place, step in fields:
                found.append((place.path, step.length))
            break
        except FieldsWithdrawnError:
            found.clear()
    assert found == [("steps[0]", "long")]
    with pytest.raises(InvalidResponseError, match=r"steps\[0\]: its check raised"):
        _ = [step async for step in Response([plan(wrong)], output=Plan).fields("steps[*]")]


# -- keys with the signs of paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "text", "path", "expected"),
    [
        ({"a.b": str}, '{"a.b": "x"}', "a.b", [("a.b", "x")]),
        ({"c[0]": int}, '{"c[0]": 1}', "c[0]", [("c[0]", 1)]),
        ({"q": [{"a.b": str}]}, '{"q": [{"a.b": "x"}]}', "q[*].a.b", [("q[0].a.b", "x")]),
        ({"q": [{"a.b": str}]}, '{"q": [{"a.b": "x"}, {"a.b": "y"}]}', "q[1].a.b", [("q[1].a.b", "y")]),
        ({"a": {"b": str}}, '{"a.b": "not described", "a": {"b": "y"}}', "a.b", [("a.b", "y")]),
        (None, '{"a.b": "x"}', "a.b", [("a.b", "x")]),
    ],
)  # fmt: skip
async def test_keys_with_dots_and_brackets_are_followed(
    output: Any, text: str, path: str, expected: list[tuple[str, Any]]
) -> None:
    fields = Response([*text], output=output).fields(path, places=True)
    assert [(place.path, value) async for place, value in fields] == expected


async def test_a_path_that_stands_for_two_places_is_refused() -> None:
    output, text = {"a.b": str, "a": {"b": str}}, '{"a.b": "x", "a": {"b": "y"}}'
    with pytest.raises(ResponseUsageError, match="stands for 2 places"):
        Response([text], output=output).fields("a.b")
    fields = Response([text], output=output, path_style="slash").fields("/a.b", "/a/b", places=True)
    assert [(place.path, value) async for place, value in fields] == [("/a.b", "x"), ("/a/b", "y")]


@pytest.mark.parametrize("path", [None, 5, ["steps[*]"], ("steps[*]",)])
def test_a_path_that_is_no_text_is_refused(path: Any) -> None:
    with pytest.raises(ResponseUsageError, match="a path is a str"):
        Response(["{}"]).fields(path)


# -- chunks of chat completions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexes", [("0", "1"), (0.0, 1.0), (0, "1"), ("0", 1)])
async def test_choices_are_told_apart_by_an_index_of_any_type(indexes: tuple[Any, Any]) -> None:
    first, second = indexes
    chunks = [chunk("a", index=first), chunk("X", index=second), chunk("b", "stop", index=first)]
    assert await text_of(chunks) == "ab"


@pytest.mark.parametrize("last", ["stop", "end_turn", "tool_calls"])
@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "content_filter"])
async def test_a_stop_after_a_cut_does_not_make_it_whole(reason: str, last: str) -> None:
    with pytest.raises(TruncatedResponseError):
        await text_of([chunk("a"), chunk(None, reason), chunk(None, last)])
    with pytest.raises(TruncatedResponseError):
        await text_of([Delta("a"), Delta(finish_reason=reason), Delta(finish_reason=last)])


async def test_a_source_may_go_on_after_a_cut() -> None:
    """With a second request, for instance."""
    assert await text_of([chunk("a", "length"), chunk("b", "stop")]) == "ab"
    with pytest.raises(TruncatedResponseError):
        await text_of([chunk("a", "length"), chunk("b")])


@pytest.mark.parametrize("field", ["delta", "message"])
@pytest.mark.parametrize("error", ["boom", {"message": "boom", "code": 500}, '{"message": "boom"}'])
async def test_an_error_inside_of_a_message_is_raised(field: str, error: Any) -> None:
    bad = {"id": "c", "choices": [{"index": 0, field: {"content": None, "error": error}, "finish_reason": None}]}
    with pytest.raises(ProviderError, match="boom"):
        await text_of([bad, END])
    with pytest.raises(TruncatedResponseError, match="boom"):
        await text_of([chunk("a"), bad, END])


async def test_an_error_that_is_json_text_has_the_class_that_it_says() -> None:
    for error in ('{"message": "slow down", "code": 429}', '{"error": {"type": "rate_limit_error"}}'):
        with pytest.raises(RateLimitError):
            await text_of([{"error": error}])
        with pytest.raises(RateLimitError):
            await text_of([{"error": {"error": error}}])


async def test_a_whole_message_beside_an_empty_delta_is_read() -> None:
    last = {"choices": [{"index": 0, "delta": {}, "message": {"content": "ab"}, "finish_reason": "stop"}]}
    assert await text_of([last]) == "ab"
    assert await text_of([chunk("ab"), last]) == "ab"


# -- tool calls --------------------------------------------------------------------------------------------------------

REAL = '{"a": 1}'


@pytest.mark.parametrize("empty", ["{}", " {} ", {}])
async def test_empty_arguments_before_the_real_ones_are_no_call(empty: Any) -> None:
    assert await calls_of(called(piece(empty, "f", "1", index=0)), called(piece(REAL, index=0)), CALLS_END) == [
        ("f", REAL)
    ]
    pieces = [called(piece(part, index=0)) for part in ('{"a"', ": 1}")]
    assert await calls_of(called(piece(empty, "f", "1", index=0)), *pieces, CALLS_END) == [("f", REAL)]
    assert await calls_of(called(piece(empty, "f")), *pieces, CALLS_END) == [("f", REAL)]


@pytest.mark.parametrize("empty", ["{}", {}, "", None])
async def test_a_call_without_arguments_stays_a_call(empty: Any) -> None:
    begun = called(piece(empty, "f", "1", index=0))
    assert await calls_of(begun, CALLS_END) == [("f", "{}")]
    assert await calls_of(begun, called(piece(REAL, "g", "2", index=1)), CALLS_END) == [("f", "{}"), ("g", REAL)]


async def test_two_calls_of_one_tool_of_which_the_first_has_no_arguments() -> None:
    first, second = called(piece("{}", "f", index=0)), called(piece(REAL, "f", index=0))
    assert await calls_of(first, second, CALLS_END) == [("f", "{}"), ("f", REAL)]


async def test_one_call_without_its_list_is_read() -> None:
    assert await calls_of(chunk(None, tool_calls=piece(REAL, "f", "1")), CALLS_END) == [("f", REAL)]


TOOLS = {"search": {"queries": [str]}, "my.tool": {"city": str}}
SEARCH = "$tool_calls.search.queries[*]"


async def fields_of(chunks: Any, *paths: str, **options: Any) -> list[tuple[str, Any]]:
    response = Response(chunks, tools=TOOLS, max_retries=0, **options)
    return [(place.path, value) async for place, value in response.fields(*paths, places=True)]


async def test_a_name_that_comes_after_the_arguments_loses_no_field() -> None:
    chunks = [called(piece('{"queries": ["a", ', None, "1", index=0)), called(piece('"b"]}', index=0))]
    last = called(piece("", "search", index=0))
    found = [("$tool_calls[0].queries[0]", "a"), ("$tool_calls[0].queries[1]", "b")]
    assert await fields_of([*chunks, last, CALLS_END], SEARCH) == found


async def test_a_tool_with_a_dot_in_its_name_has_paths() -> None:
    chunks = [called(piece('{"city": "Rome"}', "my.tool", "1", index=0)), CALLS_END]
    assert await fields_of(chunks, "$tool_calls.my.tool.city") == [("$tool_calls[0].city", "Rome")]
    assert await fields_of(chunks, "$tool_calls.my.tool") == [("$tool_calls[0]", {"city": "Rome"})]
    with pytest.raises(ResponseUsageError, match="never has the path 'town'"):
        await fields_of(chunks, "$tool_calls.my.tool.town")


async def test_every_call_is_checked_if_a_reader_follows_calls() -> None:
    good, bad = piece('{"queries": ["a"]}', "search", "1", index=0), piece('{"city": 5}', "my.tool", "2", index=1)
    for paths in ([SEARCH], ["$tool_calls[*]"], ["$tool_calls.search"]):
        with pytest.raises(InvalidResponseError, match=r"\$tool_calls\[1\]\.city: "):
            await fields_of([called(good), called(bad), CALLS_END], *paths)


async def test_the_place_of_a_wrong_argument_is_told() -> None:
    for arguments, place in (('{"queries": [5]}', r"\$tool_calls\[0\]\.queries\[0\]"), ("{}", r"\$tool_calls\[0\]")):
        with pytest.raises(InvalidResponseError, match=rf"description: tool call 1 \('search'\): {place}: "):
            await fields_of([called(piece(arguments, "search", "1")), CALLS_END], SEARCH, "$tool_calls.search")


GUESSED = '{"queries": ["a "b" c"]}'


async def test_the_arguments_of_a_call_that_was_mended_are_json() -> None:
    for text in (GUESSED, '{"queries": ["a \\"b\\" c"] /* a comment */}', '```json\n{"queries": ["a \\"b\\" c"]}\n```'):
        ((_, call),) = await fields_of([called(piece(text, "search", "1")), CALLS_END], "$tool_calls[*]")
        assert json.loads(call.arguments) == {"queries": ['a "b" c']}


async def test_arguments_of_tools_keep_to_repair_and_strict() -> None:
    commented = '{"queries": ["a"] /* a comment */}'
    for text, options in ((GUESSED, {"repair": False}), (GUESSED, {"strict": True}), (commented, {"strict": True})):
        with pytest.raises(InvalidResponseError, match="not one JSON object"):
            await fields_of([called(piece(text, "search", "1")), CALLS_END], SEARCH, **options)
    chunks = [called(piece(commented, "search", "1")), CALLS_END]
    assert await fields_of(chunks, SEARCH, repair=False) == [("$tool_calls[0].queries[0]", "a")]


# -- other dialects ----------------------------------------------------------------------------------------------------


async def test_events_that_a_later_version_of_anthropics_api_sends_are_passed_over() -> None:
    """Its clients are asked to do so. The answer still needs its end."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1}}},
        {"type": "progress_of_something", "percent": 5},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    ]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    assert await text_of([*events, end]) == "a"
    with pytest.raises(TruncatedResponseError):
        await text_of(events)
    with pytest.raises(TypeError, match="progress_of_something"):
        await text_of(events[1:2])


# -- characters that were cut in two -----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["content", "reasoning"])
async def test_halves_of_a_character_in_two_chunks_are_joined(field: str) -> None:
    halves = [chunk(**{"content": None, field: part}) for part in ("a \ud83d", "\ude00 b")]
    said = await Response([*halves, chunk("."), END]).async_get_data(type="all")
    assert "a \U0001f600 b" in (said["text"], said["reasoning"], said["text"].removesuffix("."))


@pytest.mark.parametrize("pieces", [["a \ud83d", " b"], ["a ", "\ude00 b"], ["a \ud83d b"]])
async def test_half_of_a_character_becomes_the_replacement_character(pieces: list[str]) -> None:
    assert await text_of(pieces) == "a \ufffd b"
    assert await text_of(["a \ud83d"]) == "a \ufffd"
    assert await text_of([*map(chunk, pieces), END]) == "a \ufffd b"


async def test_json_with_an_escaped_half_of_a_character_is_invalid() -> None:
    """Its value could not be stored."""
    for text in (r'{"t": "\ud83d", "n": 1}', r'{"t": "\ud83d\ud83d\ude00", "n": 1}', r'{"t": "\ude00", "n": 1}'):
        with pytest.raises(InvalidResponseError, match="half of a character"):
            await Response([text], output=OUTPUT).async_get_data()


# -- quotes that are missing, or stand beside quotes that were escaped -------------------------------------------------

LIST = {"tags": [str], "n": int}


async def read(text: str, output: Any = LIST) -> Any:
    """The data, or None if the answer is invalid; the same at once and character by character."""
    found: list[Any] = []
    for pieces in ([text], [*text]):
        try:
            found.append(await Response(pieces, output=output, max_retries=0).async_get_data())
        except InvalidResponseError:
            found.append(None)
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (r'"say "x" now", "c \"d\" e"', ['say "x" now', 'c "d" e']),
        (r'"5\" it is" "5\" deep"', ['5" it is', '5" deep']),
        (r'"x"y"z", "a \"b\""', ['x"y"z', 'a "b"']),
        (r'"meaning of "lift", "drag" in sailing"', ['meaning of "lift", "drag" in sailing']),
    ],
)
async def test_an_item_with_escaped_quotes_is_an_item(items: str, expected: list[str]) -> None:
    assert await read('{"tags": [' + items + '], "n": 1}') == {"tags": expected, "n": 1}


@pytest.mark.parametrize(
    "items",
    [
        r'"no, "x: y true", "5\""',  # the quote after `no` is missing
        r'"x], "null true 5\""',
        r'"no\", "the \"red\" door"',  # a backslash too many
        '"50%""50%"',
        '"{x}": "sail"',
        "'a', b'",
        "\u201ca\u201d, b\u201d",
        "\u201ca, \u201cb\u201d",
        "\u201ca\u201d \u201cb\u201d",
        '\u201c1,000", \u201cb\u201d',
        "\u300ca, \u300cb\u300d",
        "'a, 'b'",
        "'a' 1 'b'",
        '"a", "b": "sail"',
    ],
)
async def test_items_are_not_merged_into_one_or_made_keys(items: str) -> None:
    assert await read('{"tags": [' + items + '], "n": 1}') is None


async def test_a_text_that_lacks_its_first_quote_keeps_its_escapes() -> None:
    described = {"n": int, "t": str, "u": int}
    said = {"n": 1, "t": "see C:\\d", "u": 2}
    assert await read(r'{"n": 1, "t": see C:\\d", "u": 2}', described) == said
    assert await read(r'{"n": 1, "t": see C:\\d, "u": 2}', described) is None  # is that one backslash, or two?


# -- what the model is told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ['{"t": "a", "n": 1', '{"t": "a", "n": 1,', '{"n": 1, "t": "a', '{"t": "a", "n": 1, "x']
)
async def test_a_model_that_does_not_close_its_json_is_told_so(text: str) -> None:
    for cut in (1, len(text)):
        chunks = [chunk(text[at : at + cut]) for at in range(0, len(text), cut)]
        with pytest.raises(InvalidResponseError, match="before the JSON was complete"):
            await Response([*chunks, END], output=OUTPUT).async_get_data()


async def test_a_model_that_nests_too_deep_is_told_so() -> None:
    for output in (None, {"a": list}):
        with pytest.raises(InvalidResponseError, match="nest deeper than"):
            await Response(['{"a": ' + "[" * 500 + "]" * 500 + "}"], output=output).async_get_data()


# -- sources and adapters ----------------------------------------------------------------------------------------------


async def breaks_off() -> AsyncGenerator[str, None]:
    yield "a"
    raise GeneratorExit


def breaks_off_in_a_thread() -> Iterator[str]:
    yield "a"
    raise GeneratorExit


class NeverBegins:
    def __iter__(self) -> Iterator[str]:
        raise StopIteration


@pytest.mark.real_time
@pytest.mark.parametrize("source", [breaks_off, breaks_off_in_a_thread, NeverBegins()])
async def test_no_exception_of_a_source_leaves_its_readers_waiting(source: Any) -> None:
    response = Response(source)
    followed = asyncio.ensure_future(anext(aiter(response.fields("x[*]"))))
    with pytest.raises(RuntimeError, match="the source of the response raised"):
        await response.async_get_text()
    with pytest.raises(RuntimeError, match="the source of the response raised"):
        await followed


@pytest.mark.parametrize("data", [chunk("a"), {"type": "message_start", "message": {"id": "m"}}])
@pytest.mark.parametrize("begin", ["data: ", "data:", "event: x\ndata: ", ": a comment\n\ndata: "])
async def test_the_lines_of_an_event_stream_are_no_text(begin: str, data: Any) -> None:
    line = f"{begin}{json.dumps(data)}\n\n"
    for source in ([line, "data: [DONE]"], [line.encode()], line.splitlines()):
        with pytest.raises(TypeError, match="event stream"):
            await text_of(source)
    for text in ('data: {"a": 1}', "data: " + json.dumps(data)[:-3], json.dumps(data)):
        assert await text_of([text]) == text


async def test_an_adapter_may_give_a_delta_without_a_text() -> None:
    chunks = [{"x": "a"}, {"x": None}, {"x": "b"}]

    def text(it: Any) -> Delta:
        return Delta(it["x"])

    def reasoning(it: Any) -> Delta:
        return Delta("a", reasoning=it["x"])

    assert await text_of(chunks, adapter=text) == "ab"
    assert await text_of(chunks, adapter=reasoning) == "aaa"
