"""The vendors' own SDKs against a server on the loopback interface."""

import json
import os
import subprocess
import sys
from contextlib import aclosing
from typing import Any

import pytest

from tests.models.instant_support import pieces
from tests.models.sse_server import CUT, HANG, Reply, openai_chunk, openai_events, provider
from triggerflow.models import (
    AuthenticationError,
    InvalidRequestError,
    MissingExtraError,
    ProviderError,
    RateLimitError,
    Request,
    StallError,
    TransportError,
    TruncatedResponseError,
)
from triggerflow.models.anthropic import AnthropicProvider
from triggerflow.models.openai import OpenAIProvider

pytestmark = pytest.mark.real_time

ANSWER = {"title": "Solar sails", "queries": ["thrust", "pressure"]}
PIECES = pieces(json.dumps(ANSWER), 4)
REQUEST = Request().system("You plan.").input("Solar sails").output({"title": (str, "the title"), "queries": [str]})


async def openai(url: str, *, structured: Any = "json_schema", **options: Any) -> Any:
    """What one request gives."""
    model = OpenAIProvider("small", base_url=url, api_key="k", structured=structured, temperature=0)
    try:
        return await REQUEST.get_response(model, **options).async_get_data()
    finally:
        await model.aclose()


async def test_openai_answers_field_by_field() -> None:
    async with provider(Reply(openai_events(PIECES))) as server:
        model = OpenAIProvider("small", base_url=server.url, api_key="k", temperature=0)
        response = REQUEST.get_response(model)
        assert server.requests == []
        done = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
        assert done == ["title", "queries[0]", "queries[1]", "queries", ""]
        meta = await response.async_get_meta()
        assert meta["usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        assert (meta["id"], meta["model"], meta["finish_reason"]) == ("c1", "small", "stop")
        await model.aclose()
    (sent,) = server.requests
    assert sent["stream"]
    assert sent["temperature"] == 0
    assert sent["messages"][0] == {"role": "system", "content": "You plan."}
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["title", "queries"]
    assert sent["response_format"]["json_schema"]["strict"]


@pytest.mark.parametrize(
    ("structured", "output", "root", "strict"),
    [
        ("json_schema", [{"title": str}], "object", True),
        ("full_json_schema", [{"title": str}], "array", True),
        ("json_schema", [{"title": str, "scores": dict[str, int]}], "object", False),
        ("full_json_schema", [{"title": str, "scores": dict[str, int]}], "array", True),
    ],
)
async def test_openai_gets_an_object_at_the_root_and_the_answer_is_the_list(
    structured: Any, output: Any, root: str, strict: bool
) -> None:
    answer = [{"title": "a", "scores": {"x": 1}}, {"title": "b", "scores": {}}]
    text = json.dumps({"answer": answer} if root == "object" else answer)
    async with provider(Reply(openai_events(pieces(text, 3)))) as server:
        model = OpenAIProvider("small", base_url=server.url, api_key="k", structured=structured)
        response = Request().input("x").output(output).get_response(model)
        done = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
        assert (done[0], done[-1]) == ("[0].title", "")
        assert await response.async_get_data() == answer
        await model.aclose()
    sent = server.requests[0]["response_format"]["json_schema"]
    assert (sent["schema"]["type"], sent["strict"]) == (root, strict)


async def test_openai_can_be_asked_at_any_address_without_a_key() -> None:
    async with provider(*[Reply(openai_events(PIECES))] * 3) as server:
        root = server.url.removesuffix("/v1")
        for options in (
            {"base_url": server.url, "api_key": "k"},
            {"url": f"{root}/mine?v=1", "api_key": "", "http": {"headers": {"x-team": "t"}}},
            {"base_url": server.url, "api_key": "", "extra_headers": {"Authorization": "Mine"}},
        ):
            model = OpenAIProvider("small", **options)
            assert await REQUEST.get_response(model).async_get_data() == ANSWER
            await model.aclose()
    first, second, third = (head.lower() for head in server.heads)
    assert "/chat/completions http" in first
    assert "authorization: bearer k" in first
    assert second.startswith("post /mine?v=1 http")
    assert ("authorization" in second, "x-team: t" in second) == (False, True)
    assert "authorization: mine" in third


async def test_where_the_server_cannot_constrain_the_prompt_asks() -> None:
    async with provider(Reply(openai_events(["Sure:\n```json\n", *PIECES, "\n```"]))) as server:
        assert await openai(server.url, structured="prompt") == ANSWER
    assert "response_format" not in server.requests[0]
    assert '"title": <str>,  // the title' in server.requests[0]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("status", "error", "requests"),
    [
        (400, InvalidRequestError, 1),
        (401, AuthenticationError, 1),
        (403, AuthenticationError, 1),
        (404, InvalidRequestError, 1),
        (429, RateLimitError, 2),
        (500, ProviderError, 2),
        (503, ProviderError, 2),
    ],
)
async def test_http_errors(status: int, error: type[Exception], requests: int) -> None:
    replies = [Reply(status=status, headers={"retry-after": "0.01"})] * 2
    async with provider(*replies) as server:
        with pytest.raises(error) as caught:
            await openai(server.url, max_retries=1)
    assert len(server.requests) == requests
    assert caught.value.status == status  # type: ignore[attr-defined]


async def test_retry_after_is_obeyed_and_told() -> None:
    async with provider(Reply(status=429, headers={"retry-after": "600"})) as server:
        with pytest.raises(RateLimitError) as caught:  # longer than anyone should wait in silence
            await openai(server.url)
    assert caught.value.retry_after == 600


async def test_a_failed_request_is_repeated_by_the_response_only() -> None:
    replies = [Reply(status=500, headers={"retry-after": "0"}), Reply(status=429, headers={"retry-after": "0"})]
    async with provider(*replies, Reply(openai_events(PIECES))) as server:
        assert await openai(server.url) == ANSWER
    assert len(server.requests) == 3


async def test_a_connection_that_is_cut_in_the_middle() -> None:
    async with provider(Reply([openai_chunk(piece) for piece in PIECES[:5]] + [CUT])) as server:
        with pytest.raises(TruncatedResponseError) as caught:
            await openai(server.url)
    assert caught.value.finish_reason == "connection"
    assert caught.value.data["title"] == "Solar sai"
    assert len(server.requests) == 1


async def test_a_stream_that_ends_without_saying_so() -> None:
    async with provider(Reply([openai_chunk(piece) for piece in PIECES[:5]])) as server:
        with pytest.raises(TruncatedResponseError, match="without a finish reason"):
            await openai(server.url)


async def test_an_answer_at_its_token_limit() -> None:
    async with provider(Reply(openai_events(PIECES[:5], finish="length"))) as server:
        with pytest.raises(TruncatedResponseError, match="token limit") as caught:
            await openai(server.url)
    assert caught.value.finish_reason == "length"


async def test_a_server_that_stalls() -> None:
    async with provider(Reply([HANG]), Reply([openai_chunk("x"), HANG])) as server:
        with pytest.raises(StallError):
            await openai(server.url, stall_timeout=1.0, max_retries=0)
        await server.left.wait()
        server.left.clear()
        with pytest.raises(TruncatedResponseError) as caught:
            await openai(server.url, stall_timeout=1.0)
        await server.left.wait()
    assert caught.value.finish_reason == "stall"


async def test_a_server_that_is_not_there() -> None:
    async with provider() as server:
        pass
    with pytest.raises(TransportError, match="connection"):
        await openai(server.url, max_retries=0)


async def test_an_error_in_the_middle_of_the_stream() -> None:
    async with provider(Reply([openai_chunk("x"), {"error": {"message": "out of memory"}}])) as server:
        with pytest.raises(TruncatedResponseError, match="out of memory") as caught:
            await openai(server.url)
    assert caught.value.finish_reason == "error"


async def test_a_delta_that_is_no_text() -> None:
    async with provider(Reply([openai_chunk("x"), openai_chunk(5)])) as server:
        with pytest.raises(TypeError, match="must be a str, not int"):
            await openai(server.url)


async def test_leaving_early_closes_the_http_stream() -> None:
    async with provider(Reply([openai_chunk(piece) for piece in PIECES[:5]] + [HANG])) as server:
        model = OpenAIProvider("small", base_url=server.url, api_key="k")
        async with aclosing(REQUEST.get_response(model).get_async_generator("instant")) as events:
            async for _ in events:
                break
        await server.left.wait()  # the server sees the connection end, and not because the client was closed
        await model.aclose()


def test_without_a_loop_over_http() -> None:
    # In a process of its own: the background loop of the sync calls would outlive the test's server.
    program = """
import asyncio, json, threading
from tests.models.sse_server import Reply, openai_events, provider
from triggerflow.models import Request
from triggerflow.models.openai import OpenAIProvider
ready, stop = threading.Event(), threading.Event()
async def serve():
    global url
    async with provider(Reply(openai_events(['{"a"', ': 1}']))) as server:
        url = server.url
        ready.set()
        await asyncio.to_thread(stop.wait)
thread = threading.Thread(target=lambda: asyncio.run(serve()))
thread.start()
ready.wait()
response = Request().input("x").get_response(OpenAIProvider("small", base_url=url, api_key="k"))
print([event.path for event in response.get_generator("instant")], json.dumps(response.get_data()))
stop.set()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == "['a', ''] {\"a\": 1}\n", done.stderr


# -- Anthropic ---------------------------------------------------------------------------------------------------------


def anthropic_events(kind: str, parts: list[str], stop: str) -> list[dict[str, Any]]:
    tool = kind == "tool_use"
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": {}} if tool else {"type": "text", "text": ""}
    usage = {"input_tokens": 5, "output_tokens": 1}
    message = {"id": "m1", "type": "message", "role": "assistant", "model": "small", "content": [], "usage": usage}
    deltas = [
        {"type": "input_json_delta", "partial_json": part} if tool else {"type": "text_delta", "text": part}
        for part in parts
    ]
    return [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize(("structured", "kind"), [("tool", "tool_use"), ("prompt", "text")])
async def test_anthropic_answers_field_by_field(structured: Any, kind: str) -> None:
    stop = "tool_use" if kind == "tool_use" else "end_turn"
    async with provider(Reply(anthropic_events(kind, PIECES, stop), named=True)) as server:
        model = AnthropicProvider("small", base_url=server.url, api_key="k", structured=structured)
        response = REQUEST.get_response(model)
        done = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
        assert done == ["title", "queries[0]", "queries[1]", "queries", ""]
        assert await response.async_get_data() == ANSWER
        meta = await response.async_get_meta()
        assert meta["usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        assert (meta["id"], meta["model"], meta["finish_reason"]) == ("m1", "small", "stop")
        await model.aclose()
    (sent,) = server.requests
    assert sent["system"] == "You plan."
    assert [message["role"] for message in sent["messages"]] == ["user"]
    assert ("tools" in sent) is (structured == "tool")


async def test_the_input_of_an_anthropic_tool_is_an_object_and_the_answer_is_the_list() -> None:
    text = json.dumps({"answer": [1, 2]})
    async with provider(Reply(anthropic_events("tool_use", pieces(text, 3), "tool_use"), named=True)) as server:
        model = AnthropicProvider("small", base_url=server.url, api_key="k")
        response = Request().input("x").output([int]).get_response(model)
        done = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
        assert done == ["[0]", "[1]", ""]
        assert await response.async_get_data() == [1, 2]
        await model.aclose()
    assert server.requests[0]["tools"][0]["input_schema"]["type"] == "object"


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (429, RateLimitError), (529, ProviderError)])
async def test_anthropic_errors(status: int, error: type[Exception]) -> None:
    async with provider(Reply(status=status, headers={"retry-after": "0"})) as server:
        model = AnthropicProvider("small", base_url=server.url, api_key="k")
        with pytest.raises(error):
            await REQUEST.get_response(model, max_retries=0).async_get_text()
        await model.aclose()


async def test_anthropic_stops_at_its_token_limit() -> None:
    async with provider(Reply(anthropic_events("tool_use", PIECES[:5], "max_tokens"), named=True)) as server:
        model = AnthropicProvider("small", base_url=server.url, api_key="k")
        with pytest.raises(TruncatedResponseError) as caught:
            await REQUEST.get_response(model).async_get_text()
        await model.aclose()
    assert caught.value.finish_reason == "length"


@pytest.mark.parametrize("make", [OpenAIProvider, AnthropicProvider])
def test_a_missing_sdk_names_the_extra(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "openai" if make is OpenAIProvider else "anthropic"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'triggerflow-engine\[{name}\]'"):
        make("small")


def test_importing_the_package_imports_no_client() -> None:
    program = (
        "import sys, triggerflow.models, triggerflow.models.openai, triggerflow.models.anthropic;"
        "print(sorted({'openai', 'anthropic', 'httpx', 'httpx2', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"
