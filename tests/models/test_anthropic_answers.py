"""The answer is the input of the tool, or the text in its place, however a server of Anthropic's API gives it."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.models.sse_server import HANG, Reply, provider
from triggerflow.models import FirstTokenError, InvalidResponseError, Request, Response, StallError
from triggerflow.models import TruncatedResponseError as Cut
from triggerflow.models.anthropic import AnthropicProvider

pytestmark = pytest.mark.real_time

REQUEST = Request().input("x").output({"a": int, "b": [str]})
JSON = ['{"a": 1', ', "b": ["x", ', '"y"]}']
VALUE = {"a": 1, "b": ["x", "y"]}
START = {
    "type": "message_start",
    "message": {"id": "m1", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": {}},
}


def text(*pieces: str, begun: str = "") -> tuple[Any, list[Any]]:
    return {"type": "text", "text": begun}, [{"type": "text_delta", "text": piece} for piece in pieces]


def thinking(*pieces: str) -> tuple[Any, list[Any]]:
    return {"type": "thinking", "thinking": ""}, [{"type": "thinking_delta", "thinking": piece} for piece in pieces]


def tool(*pieces: str, given: Any = (), name: str = "answer") -> tuple[Any, list[Any]]:
    block = {"type": "tool_use", "id": f"t{name}", "name": name, "input": dict(given)}
    return block, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def message(*blocks: tuple[Any, list[Any]], end: str | None = "tool_use") -> Reply:
    events: list[Any] = [START]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.extend({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        events.append({"type": "content_block_stop", "index": index})
    if end is not None:
        delta = {"stop_reason": end, "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}})
        events.append({"type": "message_stop"})
    return Reply(events, named=True)


@asynccontextmanager
async def response_to(*replies: Reply, request: Request = REQUEST, **options: Any) -> AsyncGenerator[Response, None]:
    async with provider(*replies) as server:
        model = AnthropicProvider("m", base_url=server.url, api_key="k")
        try:
            yield request.get_response(model, **{"max_retries": 0, **options})
        finally:
            await model.aclose()


@pytest.mark.parametrize(
    "blocks",
    [
        [tool(*JSON)],
        [tool("", *JSON, "")],
        [tool(given=VALUE)],
        [tool(*JSON, given=VALUE)],
        [tool(*JSON, name="")],
        [text("Let me think {a}. ", "I call the tool."), tool(*JSON)],
        [text("I call the tool."), tool(given=VALUE)],
        [thinking("hm"), tool(*JSON)],
        [tool(*JSON), text("There it is.")],
        [text(*JSON), tool(*JSON)],
        [text("```json\n", *JSON, "\n```"), tool(given=VALUE)],
        [tool(*JSON), tool('{"b":["x","y"],"a":1}')],
    ],
    ids=[
        *("pieces", "empty pieces", "at once", "at once and in pieces", "without a name", "after words"),
        *("at once after words", "after thinking", "before words", "as text, too", "in a fence, too", "twice the same"),
    ],
)
async def test_the_input_of_the_tool(blocks: Sequence[Any]) -> None:
    async with response_to(message(*blocks)) as response:
        done = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
        assert done == ["a", "b[0]", "b[1]", "b", ""]
        assert await response.async_get_data() == VALUE
        assert (await response.async_get_meta())["finish_reason"] == "stop"


@pytest.mark.parametrize("end", ["end_turn", "stop_sequence"])
@pytest.mark.parametrize(
    "blocks",
    [
        [text(*JSON)],
        [text(*JSON[1:], begun=JSON[0])],
        [text(begun="".join(JSON))],
        [text("\n", " ", *JSON)],
        [text("```json\n", *JSON, "\n```\n")],
        [text("Here is ", "what you want: ", *JSON, " Anything else?")],
        [thinking("hm {"), text(*JSON)],
        [text(*JSON[:1]), text(*JSON[1:])],
    ],
    ids=["pieces", "begun with the block", "at once", "after a line", "fence", "prose", "thinking", "two blocks"],
)
async def test_text_in_place_of_the_tool(blocks: Sequence[Any], end: str) -> None:
    async with response_to(message(*blocks, end=end)) as response:
        assert await response.async_get_data() == VALUE
        assert (await response.async_get_meta())["finish_reason"] == "stop"


async def test_text_that_begins_as_json_comes_field_by_field() -> None:
    reply = message(text(*JSON[:2]), end=None)
    reply = Reply([*reply.events[:-1], HANG], named=True)
    async with response_to(reply) as response:
        async for event in response.get_async_generator("instant"):
            if event.path == "b[0]" and event.is_complete:
                break


async def test_words_before_the_tool_are_no_answer_and_not_lost() -> None:
    async with response_to(message(thinking("hm. "), text("I call {it}."), tool(*JSON), text("Done."))) as response:
        whole = await response.async_get_data(type="all")
    assert whole["text"] == "".join(JSON)
    assert whole["reasoning"] == "hm. I call {it}."
    assert whole["tool_calls"] == []


@pytest.mark.parametrize(
    "blocks",
    [
        [text('{"a": 2, "b": []}'), tool(*JSON)],
        [text('{"a": 1, "b": ["x", '), tool(*JSON)],
        [tool(*JSON), tool('{"a": 2, "b": []}')],
        [tool(given=VALUE), tool(given={"a": 1, "b": []})],
    ],
    ids=["text and tool", "half a text and tool", "two calls", "two calls at once"],
)
async def test_two_answers_that_differ_are_none(blocks: Sequence[Any]) -> None:
    async with response_to(message(*blocks)) as response:
        with pytest.raises(InvalidResponseError, match="2 answers that differ"):
            await response.async_get_data()
    async with response_to(message(*blocks), message(tool(*JSON)), max_retries=1) as response:
        assert await response.async_get_data() == VALUE


async def test_calls_of_other_tools_stay_calls() -> None:
    async with response_to(message(tool('{"q": 1}', name="search"), tool(*JSON))) as response:
        whole = await response.async_get_data(type="all")
    assert whole["data"] == VALUE
    assert [(call.name, call.arguments) for call in whole["tool_calls"]] == [("search", '{"q": 1}')]


async def test_an_answer_of_defaults_only_is_empty_input() -> None:
    @dataclass
    class Defaults:
        a: int = 5

    async with response_to(message(tool()), request=Request().input("x").output(Defaults)) as response:
        assert await response.async_get_data_object() == Defaults()


@pytest.mark.parametrize("blocks", [[tool(*JSON[:2])], [text(*JSON[:2])], [tool()], [text("I would")]], ids=repr)
@pytest.mark.parametrize("end", ["max_tokens", None])
async def test_a_cut_answer_is_cut_in_both_forms(blocks: Sequence[Any], end: str | None) -> None:
    async with response_to(message(*blocks, end=end)) as response:
        with pytest.raises(Exception, match=r"token limit|finish reason") as caught:
            await response.async_get_data()
    has_text = bool(blocks[0][1])
    assert isinstance(caught.value, Cut) or not has_text or end is None


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "I call it."}, {"type": "tool_use", "id": "t", "name": "answer", "input": VALUE}],
        [{"type": "text", "text": "".join(JSON)}],
    ],
    ids=["tool", "text"],
)
async def test_a_whole_message_in_place_of_a_stream(content: Any) -> None:
    whole = {**START["message"], "content": content, "stop_reason": "tool_use"}
    reply = Reply([json.dumps(whole).encode()], headers={"content-type": "application/json"})
    async with response_to(reply) as response:
        assert await response.async_get_data() == VALUE
        assert (await response.async_get_meta())["finish_reason"] == "stop"


async def test_leaving_early_closes_the_http_stream() -> None:
    events = message(tool(*JSON)).events
    async with provider(Reply([*events[:4], HANG], named=True)) as server:
        model = AnthropicProvider("m", base_url=server.url, api_key="k")
        async with aclosing(REQUEST.get_response(model).get_async_generator("instant")) as found:
            async for _ in found:
                break
        await server.left.wait()
        await model.aclose()


# -- pings -------------------------------------------------------------------------------------------------------------

PING = {"type": "ping"}


@pytest.mark.parametrize("sign", [PING, b": keep-alive\n\n", b"\n"], ids=["ping", "comment", "line"])
@pytest.mark.parametrize("at", [0, 1, 3], ids=["before all", "after the start", "in the answer"])
async def test_pings_are_signs_of_life(sign: Any, at: int) -> None:
    events = list(message(tool(*JSON)).events)
    reply = Reply([*events[:at], *[0.3, sign] * 6, *events[at:]], named=True)
    async with response_to(reply, stall_timeout=1.2) as response:
        assert await response.async_get_data() == VALUE


async def test_pings_do_not_move_the_limit_of_the_first_token() -> None:
    reply = Reply([START, *[0.1, PING] * 20, HANG], named=True)
    async with response_to(reply, first_token_timeout=1.0, stall_timeout=30) as response:
        with pytest.raises(FirstTokenError, match="first_token_timeout"):
            await response.async_get_data()
    async with response_to(Reply([START, PING, HANG], named=True), stall_timeout=0.5) as response:
        with pytest.raises(StallError, match="stall_timeout"):
            await response.async_get_data()
