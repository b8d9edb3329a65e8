"""HTTP 200 with something else than a stream of events: an answer is read, anything else says what it is."""

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.models.sse_server import CUT, Provider, Reply, Unframed, openai_chunk, openai_events, provider
from triggerflow.models import (
    AuthenticationError,
    InvalidRequestError,
    ModelError,
    ProviderError,
    RateLimitError,
    Request,
    Response,
    TransportError,
)
from triggerflow.models.anthropic import AnthropicProvider
from triggerflow.models.openai import OpenAIProvider

pytestmark = pytest.mark.real_time

REQUEST = Request().input("x").output({"a": int})
PAGE = b"<!DOCTYPE html>\n<html>\n<title>Open WebUI</title>" + b"<p>hello</p>" * 1_000
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "model": "small",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": '{"a": 1}'}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}
MESSAGE = {
    "id": "c1",
    "type": "message",
    "role": "assistant",
    "model": "small",
    "content": [{"type": "text", "text": '{"a": 1}'}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 7},
}


def body(content: bytes | str | Any, kind: str = "application/json", **options: Any) -> Reply:
    """An answer of this content, in pieces of 7 bytes."""
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    return Reply([content] if content else [], headers={"content-type": kind}, **{"size": 7, **options})


def model_of(sdk: str, server: Provider) -> Any:
    if sdk == "openai":
        return OpenAIProvider("small", base_url=server.url + "/v1", api_key="k", structured="prompt")
    return AnthropicProvider("small", base_url=server.url, api_key="k", structured="prompt")


@asynccontextmanager
async def asking(sdk: str, *replies: Reply) -> AsyncGenerator[tuple[Provider, Any], None]:
    async with provider(*replies) as server:
        model = model_of(sdk, server)
        try:
            yield server, model
        finally:
            await model.aclose()


async def failure(sdk: str, *replies: Reply, **options: Any) -> tuple[Any, int]:
    """The error of a response, and how often it asked."""
    async with asking(sdk) as (server, model):
        return await failure_at(server, model, *replies, **options)


async def failure_at(server: Provider, model: Any, *replies: Reply, **options: Any) -> tuple[Any, int]:
    server.replies, server.requests = [*replies], []
    with pytest.raises(ModelError) as caught:
        await REQUEST.get_response(model, **options).async_get_data()
    return caught.value, len(server.requests)


SDKS = pytest.mark.parametrize("sdk", ["openai", "anthropic"])


# -- what is no answer -------------------------------------------------------------------------------------------------


@SDKS
async def test_a_web_page_says_that_the_address_is_wrong(sdk: str) -> None:
    async with asking(sdk) as (server, model):
        for kind in ("text/html", "text/html; charset=utf-8", "text/event-stream", "application/json", ""):
            error, asked = await failure_at(server, model, body(PAGE, kind))
            assert (type(error), error.status, asked) == (InvalidRequestError, 200, 1)
            assert "the server answered with a web page: is base_url right" in str(error)
            assert "<title>Open WebUI</title>" in str(error)
            assert len(str(error)) < 1_000
            assert ("…/v1" in str(error)) is (sdk == "openai")
            assert "/v1/chat/completions" in str(error) or "/v1/messages" in str(error)


@SDKS
async def test_a_compressed_web_page(sdk: str) -> None:
    reply = Reply([gzip.compress(PAGE)], headers={"content-type": "text/html", "content-encoding": "gzip"})
    error, asked = await failure(sdk, reply)
    assert (type(error), asked) == (InvalidRequestError, 1)
    assert "<title>Open WebUI</title>" in str(error)


@SDKS
async def test_plain_text(sdk: str) -> None:
    async with asking(sdk) as (server, model):
        for text in ("Ollama is running", "d", "404 page not found\n", "events will follow", "[error] no route"):
            error, asked = await failure_at(server, model, body(text, "text/plain"))
            assert (type(error), asked) == (InvalidRequestError, 1)
            assert repr(text.strip())[1:-1] in str(error)


@SDKS
async def test_nothing_at_all(sdk: str) -> None:
    error, asked = await failure(sdk, body("", "application/json"))
    assert (type(error), asked) == (InvalidRequestError, 1)
    assert "empty body" in str(error)


@SDKS
async def test_a_stream_without_events_is_the_providers_and_asked_again(sdk: str) -> None:
    async with asking(sdk) as (server, model):
        for content in ("", "\n\n", ": PROCESSING\n\n", ": a\r\n\r\n: b\r\n\r\n", "retry: 3000\n\n"):
            reply = body(content, "text/event-stream")
            error, asked = await failure_at(server, model, reply, reply, max_retries=1)
            assert (type(error), asked) == (ProviderError, 2), content


ERRORS = [
    ({"error": {"message": "told", "code": 404}}, InvalidRequestError),
    ({"error": {"message": "told", "type": "invalid_request_error", "code": "model_not_found"}}, InvalidRequestError),
    ({"error": {"message": "told", "code": "invalid_api_key"}}, AuthenticationError),
    ({"error": {"message": "told", "code": 401}}, AuthenticationError),
    ({"error": {"message": "told", "code": 429}}, RateLimitError),
    ({"error": {"message": "told", "code": 502}}, ProviderError),
    ({"error": "told"}, ProviderError),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "told"}}, ProviderError),
    ({"type": "error", "error": {"type": "invalid_request_error", "message": "told"}}, InvalidRequestError),
    ({"object": "error", "message": "told", "type": "BadRequestError", "code": 400}, InvalidRequestError),
    ([{"error": {"message": "told", "code": 503, "status": "UNAVAILABLE"}}], ProviderError),
]


@SDKS
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain"])
async def test_an_error_object_is_that_error(sdk: str, content_type: str) -> None:
    async with asking(sdk) as (server, model):
        for said, kind in ERRORS:
            reply = body(json.dumps(said, indent=2), content_type)
            error, _ = await failure_at(server, model, reply, max_retries=0)
            assert type(error) is kind, said
            assert "in place of an answer (HTTP 200): told" in str(error)


@SDKS
async def test_only_the_errors_of_the_provider_are_asked_again(sdk: str) -> None:
    for said, kind in (ERRORS[0], ERRORS[5]):
        _, asked = await failure(sdk, body(said), body(said), max_retries=1)
        assert asked == (2 if kind is ProviderError else 1)


@SDKS
async def test_json_that_is_no_answer_is_shown(sdk: str) -> None:
    async with asking(sdk) as (server, model):
        for said in ({"status": "ok"}, {"message": "no Route matched"}, {}, [], [5], {"choices": 5}, {"a": [1]}):
            error, asked = await failure_at(server, model, body(said), max_retries=0)
            assert asked == 1
            if said:
                assert type(error) is InvalidRequestError, said
                assert json.dumps(said).strip("[]") in str(error)


@SDKS
async def test_a_stream_of_another_api(sdk: str) -> None:
    """Anthropic's SDK finds nothing in events without a name, and OpenAI's no end of the answer."""
    other = body('data: {"type": "message_start"}\n\n', "text/event-stream")
    error, asked = await failure(sdk, other, other, max_retries=1)
    if sdk == "anthropic":
        assert (type(error), asked) == (InvalidRequestError, 1)
        assert "a stream in which the SDK finds no event: is base_url right" in str(error)
    else:
        assert (type(error), asked) == (TransportError, 2)


# -- answers without a stream ------------------------------------------------------------------------------------------


@SDKS
async def test_a_whole_answer_is_read(sdk: str) -> None:
    async with asking(sdk) as (server, model):
        for whole in (COMPLETION, MESSAGE):
            for indent in (None, 2):
                server.replies = [body(json.dumps(whole, indent=indent))]
                response = REQUEST.get_response(model)
                done = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
                assert done == ["a", ""]
                assert await response.async_get_data() == {"a": 1}
                meta = await response.async_get_meta()
                assert (meta["id"], meta["model"], meta["finish_reason"]) == ("c1", "small", "stop")
                assert (meta["usage"]["prompt_tokens"], meta["usage"]["completion_tokens"]) == (5, 7)
        assert len(server.requests) == 4


async def test_a_whole_answer_with_tool_calls_and_reasoning() -> None:
    calls = [{"id": f"t{n}", "type": "function", "function": {"name": f"f{n}", "arguments": f"[{n}]"}} for n in (0, 1)]
    message = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": calls}
    whole = {**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    async with asking("openai", body(whole)) as (_, model):
        data = await Request().input("x").get_response(model).async_get_data(type="all")
    assert [(call.name, call.arguments) for call in data["tool_calls"]] == [("f0", "[0]"), ("f1", "[1]")]
    assert data["reasoning"] == "hm"


async def test_a_whole_answer_at_its_limit_is_cut_all_the_same() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": '{"a": '}, "finish_reason": "length"}
    error, asked = await failure("openai", body({**COMPLETION, "choices": [choice]}))
    assert (error.finish_reason, asked) == ("length", 1)


@SDKS
async def test_a_whole_answer_that_breaks_off_is_asked_for_again(sdk: str) -> None:
    half = json.dumps(COMPLETION)[:-30]
    for cut in (body(half), Reply([half.encode(), CUT], headers={"content-type": "application/json"})):
        async with asking(sdk, cut, body(COMPLETION)) as (server, model):
            assert await REQUEST.get_response(model, max_retries=1).async_get_data() == {"a": 1}
            assert len(server.requests) == 2
        error, _ = await failure(sdk, cut, max_retries=0)
        assert type(error) is TransportError


@SDKS
@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/json", "text/plain", "text/event-stream"])
async def test_one_chunk_per_line(sdk: str, kind: str) -> None:
    chunks = [openai_chunk('{"a"'), openai_chunk(": 1}"), openai_chunk(finish="stop")]
    async with asking(sdk) as (server, model):
        for newline in ("\n", "\r\n", "\n\n"):
            server.replies = [body(newline.join(json.dumps(chunk) for chunk in chunks), kind)]
            assert await REQUEST.get_response(model).async_get_data() == {"a": 1}


async def test_lines_are_read_as_they_come() -> None:
    go_on = asyncio.Event()
    first, second = (json.dumps({"message": {"content": text}, "done": "}" in text}) for text in ('{"a": [1, ', "2]}"))
    reply = Reply(
        [f"{first}\n".encode(), go_on, f"{second}\n".encode()], headers={"content-type": "application/x-ndjson"}
    )
    async with asking("openai", reply) as (_, model):
        response = Request().input("x").output({"a": [int]}).get_response(model)
        paths = []
        async for event in response.get_async_generator("instant"):
            if event.is_complete:
                paths.append(event.path)
                go_on.set()
        assert paths == ["a[0]", "a[1]", "a", ""]


@SDKS
async def test_an_error_among_the_lines(sdk: str) -> None:
    lines = "\n".join([json.dumps(openai_chunk('{"a"')), json.dumps({"error": {"message": "told", "code": 500}})])
    error, asked = await failure(sdk, body(lines))
    assert (error.finish_reason, asked) == ("error", 1)
    assert "told" in str(error)


async def test_gemini_gives_its_chunks_as_one_list() -> None:
    chunks = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in ('{"a"', ": 1}")]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    async with asking("openai", body(json.dumps(chunks, indent=1))) as (_, model):
        assert await REQUEST.get_response(model).async_get_data() == {"a": 1}


# -- events with another content type ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/json", ""])
async def test_events_are_read_whatever_their_content_type(kind: str) -> None:
    async with asking("openai") as (server, model):
        for before in (b"", b"\xef\xbb\xbf", b"\n\n", b": hi\n\n", b"id: 1\n", b"retry: 5\nevent: x\n"):
            events = openai_events(['{"a"', ": 1}"])
            server.replies = [Reply([before, *events], headers={"content-type": kind}, size=3)]
            assert await REQUEST.get_response(model).async_get_data() == {"a": 1}


# -- connections -------------------------------------------------------------------------------------------------------


@SDKS
@pytest.mark.parametrize(
    "garbage",
    [Unframed(b"zz\r\nno chunk"), Unframed(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), Unframed(b"5\r\nab"), CUT],
    ids=["no chunk size", "TLS", "half a chunk", "reset"],
)
async def test_a_connection_that_breaks_before_the_first_text_is_asked_again(sdk: str, garbage: Any) -> None:
    for before in ([], [b": hello\n\n"]):
        async with asking(sdk, Reply([*before, garbage]), body(COMPLETION)) as (server, model):
            assert await REQUEST.get_response(model, max_retries=1).async_get_data() == {"a": 1}
            assert len(server.requests) == 2
        error, _ = await failure(sdk, Reply([*before, garbage]), max_retries=0)
        assert type(error) is TransportError


# -- whose client, which stream ----------------------------------------------------------------------------------------


@SDKS
async def test_clients_of_the_user(sdk: str) -> None:
    async with provider(body(PAGE, "text/html"), body(COMPLETION)) as server:
        client: Any
        if sdk == "openai":
            client = openai.AsyncOpenAI(base_url=server.url, api_key="k")
            model: Any = OpenAIProvider("small", client=client)
        else:
            client = anthropic.AsyncAnthropic(base_url=server.url, api_key="k")
            model = AnthropicProvider("small", client=client, structured="prompt")
        with pytest.raises(InvalidRequestError, match="a web page"):
            await REQUEST.get_response(model).async_get_data()
        assert await REQUEST.get_response(model).async_get_data() == {"a": 1}
        await client.close()


async def test_streams_that_the_program_opened() -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    async with provider(body(PAGE, "text/html"), body(COMPLETION)) as server:
        client = openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0)

        def source() -> Any:
            return client.chat.completions.create(model="m", messages=messages, stream=True)

        with pytest.raises(InvalidRequestError, match="a web page"):
            await Response(source).async_get_text()
        assert await Response(source, output={"a": int}).async_get_data() == {"a": 1}
        await client.close()


async def test_an_adapter_of_the_sdks_objects_is_not_asked_about_a_whole_answer() -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    async with provider(body(COMPLETION)) as server:
        client = openai.AsyncOpenAI(base_url=server.url, api_key="k")
        response = Response(
            lambda: client.chat.completions.create(model="m", messages=messages, stream=True),
            adapter=lambda chunk: chunk.choices[0].delta.content,
        )
        assert await response.async_get_text() == '{"a": 1}'
        await client.close()


@pytest.mark.parametrize("method", ["aiter_bytes", "aiter_raw", "aiter_lines", "aiter_text"])
async def test_what_is_like_an_sdk_reads_its_body_in_its_own_way(method: str) -> None:
    class Stream:
        """A stream of a client of its own."""

        def __init__(self, response: httpx2.Response) -> None:
            self.response = response

        async def __aiter__(self) -> AsyncGenerator[Any, None]:
            async for piece in getattr(self.response, method)():
                yield piece

    events = body('data: {"a"\ndata: : 1}\n', "text/event-stream")
    async with provider(events, body(PAGE, "text/html")) as server, httpx2.AsyncClient() as client:
        async with client.stream("POST", server.url, json={}) as response:
            text = await Response(Stream(response)).async_get_text()
            assert text.replace("\n", "") == 'data: {"a"data: : 1}'
        async with client.stream("POST", server.url, json={}) as response:
            with pytest.raises(InvalidRequestError, match="a web page"):
                await Response(Stream(response)).async_get_text()


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_sync_streams(sdk: str) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    events = Reply([b": hi\n\n", 0.3, b": hi\n\n", 0.3, *openai_events(['{"a"', ": 1}"])])
    async with provider(body(PAGE, "text/html"), body(COMPLETION), *[events] * (sdk == "openai")) as server:
        client: Any
        if sdk == "openai":
            client = openai.OpenAI(base_url=server.url, api_key="k", max_retries=0)
            create = client.chat.completions.create
        else:
            client = anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0)
            create = client.messages.create

        async def source() -> Any:
            return await asyncio.to_thread(lambda: create(model="m", messages=messages, stream=True, max_tokens=9))

        with pytest.raises(InvalidRequestError, match="a web page"):
            await Response(source).async_get_text()
        assert await Response(source).async_get_data() == {"a": 1}
        if sdk == "openai":
            assert await Response(source, stall_timeout=0.5).async_get_data() == {"a": 1}
        client.close()
