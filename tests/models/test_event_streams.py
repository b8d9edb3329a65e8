"""Event streams as servers and proxies write them: keep-alives, their end, what nobody knows, and errors by status."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.models.sse_server import Reply, provider
from triggerflow.models import (
    AuthenticationError,
    ChunkError,
    InvalidRequestError,
    InvalidResponseError,
    ModelError,
    ProviderError,
    QuotaError,
    RateLimitError,
    Request,
    Response,
    TruncatedResponseError,
)
from triggerflow.models.anthropic import AnthropicProvider
from triggerflow.models.openai import OpenAIProvider
from triggerflow.models.sources.events import EventFilter

pytestmark = pytest.mark.real_time

REQUEST = Request().input("x").output({"t": str})
ANSWER = ('{"t": "solar ', 'sails"}')
DONE = b"data: [DONE]\n\n"

SIGNS = [
    b": OPENROUTER PROCESSING\n\n",
    b'data: {"type":"ping"}\n\n',
    b'data: {"object":"ping"}\n\n',
    b"data: {}\n\n",
    b"data:\n\n",
    b"data: [KEEPALIVE]\n\n",
    b"data: null\r\n\r\n",
    b"event: keepalive\n\n",
    b"event: ping\ndata: {}\n\n",
    b'event: ping\ndata: {"time": 1}\n\n',
    b"event: heartbeat\r\ndata: still here\r\n\r\n",
    b"id: 7\nretry: 10\n\n",
]


def data(chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return data({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


@asynccontextmanager
async def model(*events: bytes, sdk: str = "openai", **reply: Any) -> AsyncGenerator[Any, None]:
    """A provider whose server answers with these events."""
    async with provider(Reply([*events], **reply)) as server:
        if sdk == "openai":
            found: Any = OpenAIProvider("m", base_url=server.url + "/v1", api_key="k", structured="prompt")
        else:
            found = AnthropicProvider("m", base_url=server.url, api_key="k", structured="prompt", max_tokens=9)
        try:
            yield found
        finally:
            await found.aclose()


async def answer(*events: bytes, **reply: Any) -> Any:
    async with model(*events, **reply) as asked:
        return await REQUEST.get_response(asked, max_retries=0).async_get_data()


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("sign", SIGNS)
async def test_keep_alives_of_any_form_are_no_part_of_the_answer(sign: bytes, at: int, size: int | None) -> None:
    events = [chunk(ANSWER[0]), chunk(ANSWER[1], "stop"), DONE]
    events.insert(at, sign)
    assert await answer(*events, size=size) == {"t": "solar sails"}


@pytest.mark.parametrize("sign", [b'event: ping\ndata: {"time": 1}\n\n', b"data:\n\n", b"data: {}\n\n"])
async def test_keep_alives_of_servers_like_anthropic(sign: bytes) -> None:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": '{"t": "x"}'}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    sent = [f"event: {event['type']}\n".encode() + data(event) for event in events]
    assert await answer(*sent[:3], sign, *sent[3:], sdk="anthropic") == {"t": "x"}


@pytest.mark.parametrize("item", [{}, {"object": "ping"}, {"type": "pong"}, {"event": "heartbeat", "time": 1}])
async def test_keep_alives_among_chunks_of_a_source(item: dict[str, Any]) -> None:
    chunks = [{"choices": [{"delta": {"content": text}}]} for text in ANSWER]
    end: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    response = Response([item, chunks[0], item, chunks[1], end], output={"t": str}, max_retries=0)
    assert await response.async_get_data() == {"t": "solar sails"}


async def test_a_stream_of_keep_alives_only_has_no_event() -> None:
    with pytest.raises(ProviderError, match="before its first event"):
        await answer(*SIGNS[4:8])


def test_a_long_event_is_passed_on_as_it_comes() -> None:
    events = EventFilter()
    begun = events.take(b"data: " + b"x" * 5_000)
    assert len(begun) > 4_000
    rest = events.take(b"yz\r\n\r") + events.take(b"\n: ping\n\ndata: 1\n\n")
    assert begun + rest + events.end() == b"data: " + b"x" * 5_000 + b"yz\r\n\r\ndata: 1\n\n"


async def test_the_end_event_is_an_end_where_the_server_gives_no_reason() -> None:
    assert await answer(chunk(ANSWER[0]), chunk(ANSWER[1]), DONE) == {"t": "solar sails"}
    assert await answer(chunk(ANSWER[0]), chunk(ANSWER[1]), DONE, size=3) == {"t": "solar sails"}
    async with model(chunk("Hello"), DONE) as asked:
        assert await Request().input("x").get_response(asked).async_get_text() == "Hello"
    with pytest.raises(TruncatedResponseError, match="inside of its JSON"):
        await answer(chunk(ANSWER[0]), DONE)
    with pytest.raises(TruncatedResponseError, match="without a finish reason"):
        await answer(chunk(ANSWER[0]), chunk(ANSWER[1]))
    with pytest.raises(InvalidResponseError, match="empty"):
        await answer(chunk(""), DONE)


async def test_tool_calls_end_with_the_end_event() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "search", "arguments": '{"q": "x"}'}}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
    sent = data({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
    async with model(sent, DONE) as asked:
        response = Request().input("x").get_response(asked, tools={"search": {"q": str}})
        assert [call.done for call in [item async for item in response.fields("$tool_calls[*]")]] == [True]


@pytest.mark.parametrize("before", [(), (chunk(ANSWER[0]),)])
@pytest.mark.parametrize(
    ("strange", "shown"), [({"progress": 1}, "progress"), ({"kind": "x"}, "kind"), ([1], "1"), (5, "5")]
)
async def test_a_chunk_that_nobody_knows_is_a_model_error_that_shows_it(before: Any, strange: Any, shown: str) -> None:
    with pytest.raises(ModelError) as caught:
        await answer(*before, data(strange), chunk(ANSWER[1], "stop"), DONE)
    assert isinstance(caught.value, ChunkError | InvalidRequestError | ProviderError)
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, QuotaError),
        (403, {"type": "insufficient_quota", "code": "insufficient_quota"}, QuotaError),
        (400, {"type": "invalid_request_error", "code": "billing_hard_limit_reached"}, QuotaError),
        (500, {"type": "insufficient_quota", "code": None}, QuotaError),
        (400, {"type": "rate_limit_error"}, RateLimitError),
        (400, {"code": "invalid_api_key"}, AuthenticationError),
        (500, {"type": "context_length_exceeded"}, InvalidRequestError),
        (401, {"type": "invalid_request_error", "code": None}, AuthenticationError),
        (429, {"type": "invalid_request_error"}, RateLimitError),
        (429, {"type": "tokens", "code": "rate_limit_exceeded"}, RateLimitError),
        (402, {"type": "unknown_error", "code": "invalid_request_error"}, QuotaError),
        (503, {"type": "overloaded_error", "code": 503}, ProviderError),
        (404, {"type": "invalid_request_error", "code": "model_not_found"}, InvalidRequestError),
    ],
)
async def test_the_code_of_an_error_says_more_than_its_status(status: int, error: Any, kind: type[Exception]) -> None:
    headers = {"content-type": "application/json", "retry-after": "0"}
    body = json.dumps({"error": {"message": "m", **error}}).encode()
    for sdk in ("openai", "anthropic"):
        with pytest.raises(ModelError) as caught:
            await answer(body, sdk=sdk, status=status, headers=headers)
        assert type(caught.value) is kind
        assert getattr(caught.value, "status", None) == status
