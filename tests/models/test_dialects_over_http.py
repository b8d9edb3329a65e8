"""The official SDKs against servers of each dialect: all ways to call them, all framings, errors in the middle."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple

import anthropic
import openai
import pydantic
import pytest

from tests.models import dialects
from tests.models.instant_support import pieces
from tests.models.sse_server import CUT, HANG, Provider, Reply, Unframed, event_bytes, provider
from triggerflow.models import (
    AuthenticationError,
    FirstTokenError,
    InvalidRequestError,
    ModelError,
    ProviderError,
    RateLimitError,
    Request,
    Response,
    StallError,
    TransportError,
    TruncatedResponseError,
)
from triggerflow.models.anthropic import AnthropicProvider
from triggerflow.models.openai import OpenAIProvider

pytestmark = pytest.mark.real_time

VALUE = {"title": "Sonnensegel — 太阳帆 ⛵", "queries": ["thrust", "pressure"]}
PIECES = pieces(json.dumps(VALUE, ensure_ascii=False), 5)
OUTPUT = {"title": str, "queries": [str]}
ASKED: Any = [{"role": "user", "content": "x"}]


class Way(NamedTuple):
    """A way to call an SDK, and the API that its server speaks."""

    name: str
    sdk: str
    source: Callable[[Any], Any]
    """Makes the source of a response with a client of the SDK."""


def chat(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=ASKED, stream=True)


def responses(client: Any) -> Any:
    return client.responses.create(model="m", input="x", stream=True)


def messages(client: Any) -> Any:
    return client.messages.create(model="m", messages=ASKED, max_tokens=9, stream=True)


CHAT = [
    Way("chat", "openai", chat),
    Way("chat helper", "openai", lambda client: client.chat.completions.stream(model="m", messages=ASKED)),
    Way("provider", "openai", lambda client: OpenAIProvider("m", client=client).open(Request().input("x"))),
]
RESPONSES = [
    Way("responses", "openai", responses),
    Way("responses helper", "openai", lambda client: client.responses.stream(model="m", input="x")),
]
MESSAGES = [
    Way("messages", "anthropic", messages),
    Way(
        "messages helper",
        "anthropic",
        lambda client: client.messages.stream(model="m", messages=ASKED, max_tokens=9),
    ),
    Way("provider", "anthropic", lambda client: AnthropicProvider("m", client=client).open(Request().input("x"))),
]
ALL = [
    *((way, dialect) for dialect in (dialects.openai, dialects.openrouter) for way in CHAT),
    *((CHAT[0], dialect) for dialect in (dialects.vllm, dialects.llama_cpp, dialects.without_done)),
    *((way, dialects.responses) for way in RESPONSES),
    *((way, dialects.anthropic) for way in MESSAGES),
]
EACH = pytest.mark.parametrize(("way", "dialect"), ALL, ids=[f"{way.name}-{dialect.__name__}" for way, dialect in ALL])


def reply(dialect: Any, events: Any, **options: Any) -> Reply:
    return Reply(events, named=dialect in (dialects.anthropic, dialects.responses), **options)


@asynccontextmanager
async def client_of(way: Way, server: Provider) -> AsyncGenerator[Any, None]:
    if way.sdk == "openai":
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
            yield client
    else:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0) as other:
            yield other


@asynccontextmanager
async def asking(way: Way) -> AsyncGenerator[Callable[..., Any], None]:
    """A function that gives the error of a response to some replies, and the number of its requests."""
    async with provider() as server, client_of(way, server) as client:

        async def failure(*replies: Reply, **options: Any) -> tuple[Any, int]:
            server.replies, server.requests = [*replies], []
            with pytest.raises(ModelError) as caught:
                await Response(lambda: way.source(client), output=OUTPUT, **options).async_get_data()
            return caught.value, len(server.requests)

        yield failure


async def failure(way: Way, *replies: Reply, **options: Any) -> tuple[Any, int]:
    async with asking(way) as ask:
        return await ask(*replies, **options)


@EACH
async def test_an_answer_in_every_framing(way: Way, dialect: Any) -> None:
    events = dialect(PIECES)
    replies = [reply(dialect, events, size=size, newline=end) for size in (1, None, 10**6) for end in ("\n", "\r\n")]
    async with provider(*replies) as server, client_of(way, server) as client:
        for _ in replies:
            response = Response(lambda: way.source(client), output=OUTPUT)
            done = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
            assert done == ["title", "queries[0]", "queries[1]", "queries", ""]
            assert await response.async_get_data() == VALUE
            meta = await response.async_get_meta()
            assert (meta["id"], meta["model"], meta["finish_reason"]) == ("c1", "m", "stop")
            if "helper" not in way.name:
                assert (meta["usage"]["prompt_tokens"], meta["usage"]["completion_tokens"]) == (5, 7)
    assert len(server.requests) == len(replies)


def halves(dialect: Any) -> list[tuple[str, list[Any]]]:
    """The events of an answer up to the first text, and up to its middle."""
    events = dialect(PIECES)
    places = [at for at, event in enumerate(events) if dialects.is_text(event)]
    return [("before the text", events[: places[0]]), ("in the text", events[: places[3]])]


OPENAI_ERRORS = [
    ({"error": {"message": "told", "type": "server_error", "code": None}}, ProviderError),
    ({"error": {"message": "told", "code": 502, "metadata": {"provider_name": "P"}}}, ProviderError),
    ({"error": {"message": "told", "type": "tokens", "code": "rate_limit_exceeded"}}, RateLimitError),
    ({"error": {"message": "told", "code": 400, "type": "BadRequestError", "object": "error"}}, InvalidRequestError),
    ({"error": {"message": "told", "code": "context_length_exceeded"}}, InvalidRequestError),
    ({"error": {"message": "told", "code": "invalid_api_key"}}, AuthenticationError),
    ({"error": "told"}, ProviderError),
]
ANTHROPIC_ERRORS = [
    ({"type": "error", "error": {"type": name, "message": "told"}}, kind)
    for name, kind in {
        "overloaded_error": ProviderError,
        "api_error": ProviderError,
        "timeout_error": ProviderError,
        "rate_limit_error": RateLimitError,
        "invalid_request_error": InvalidRequestError,
        "authentication_error": AuthenticationError,
    }.items()
]
RESPONSES_ERRORS = [
    ({"type": "error", "code": "server_error", "message": "told", "param": None, "sequence_number": 3}, ProviderError),
    ({"type": "error", "code": "rate_limit_exceeded", "message": "told", "param": None}, RateLimitError),
    ({"type": "error", "error": {"code": "invalid_prompt", "message": "told"}}, InvalidRequestError),
]


@pytest.mark.parametrize(
    ("way", "dialect", "errors"),
    [
        *((way, dialects.openai, OPENAI_ERRORS) for way in CHAT),
        *((way, dialects.responses, RESPONSES_ERRORS) for way in RESPONSES),
        *((way, dialects.anthropic, ANTHROPIC_ERRORS) for way in MESSAGES),
    ],
    ids=[f"{way.name}-{way.sdk}" for way in (*CHAT, *RESPONSES, *MESSAGES)],
)
async def test_errors_in_the_stream(way: Way, dialect: Any, errors: Any) -> None:
    (_, early), (_, late) = halves(dialect)
    async with asking(way) as failure:
        for body, kind in errors:
            error, asked = await failure(reply(dialect, [*early, body]), max_retries=0)
            assert (type(error), "told" in str(error), asked) == (kind, True, 1), body
            error, asked = await failure(reply(dialect, [*late, body]))
            assert (type(error), error.finish_reason, asked) == (TruncatedResponseError, "error", 1), body
            assert ("told" in str(error), error.text) == (True, "".join(PIECES[:3])), body


@EACH
async def test_an_error_before_the_text_is_asked_again(way: Way, dialect: Any) -> None:
    (_, early), _ = halves(dialect)
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "told"}}
    replies = [reply(dialect, [*early, told]), reply(dialect, dialect(PIECES))]
    async with provider(*replies) as server, client_of(way, server) as client:
        assert await Response(lambda: way.source(client), output=OUTPUT).async_get_data() == VALUE


@EACH
async def test_a_stream_that_breaks(way: Way, dialect: Any) -> None:
    (_, early), (_, late) = halves(dialect)
    async with asking(way) as failure:
        for broken, kind in (
            (CUT, TransportError),
            (Unframed(b"zz\r\n"), TransportError),
            (Unframed(b"ff\r\nda"), TransportError),
            (b'event: x\ndata: {"choices": [{"del\n\n', ProviderError),
            (b"event: x\ndata: <html>\n\n", ProviderError),
            (b'event: x\ndata: "\xff\xfe"\n\n', ProviderError),
        ):
            error, _ = await failure(reply(dialect, [*early, broken]), max_retries=0)
            assert type(error) is kind, broken
            error, asked = await failure(reply(dialect, [*late, broken]))
            reason = "connection" if kind is TransportError else "error"
            assert (type(error), error.finish_reason, asked) == (TruncatedResponseError, reason, 1), broken
            assert error.text == "".join(PIECES[:3])


@EACH
async def test_a_stream_that_just_ends(way: Way, dialect: Any) -> None:
    _, (_, late) = halves(dialect)
    error, asked = await failure(way, reply(dialect, late))
    assert (type(error), error.finish_reason, asked) == (TruncatedResponseError, "connection", 1)
    assert error.text == "".join(PIECES[:3])


@EACH
async def test_a_body_that_ends_at_any_byte_is_an_answer_only_if_that_was_whole(way: Way, dialect: Any) -> None:
    whole = b"".join(event_bytes(reply(dialect, ()), event) for event in dialect(PIECES))
    texts: list[str] = []
    async with asking(way) as failure:
        for at in range(0, len(whole) * 2 // 3, 41):
            error, _ = await failure(Reply([whole[:at]] if at else []), max_retries=0)
            cut = isinstance(error, TruncatedResponseError) and error.finish_reason in ("connection", "error")
            assert cut or type(error) in (TransportError, ProviderError), (at, error)
            texts.append(getattr(error, "text", ""))
    assert all("".join(PIECES).startswith(text) for text in texts)
    assert [len(text) for text in texts] == sorted(len(text) for text in texts)


@EACH
async def test_leaving_early_closes_the_http_stream(way: Way, dialect: Any) -> None:
    _, (_, late) = halves(dialect)
    async with provider(reply(dialect, [*late, HANG])) as server, client_of(way, server) as client:
        async with aclosing(Response(lambda: way.source(client)).get_async_generator("delta")) as found:
            async for _ in found:
                break
        await server.left.wait()  # the server sees the connection end, and not because the client was closed


@EACH
async def test_keep_alives_are_signs_of_life(way: Way, dialect: Any) -> None:
    (_, early), _ = halves(dialect)
    events = dialect(PIECES)
    comments = [item for _ in range(7) for item in (0.2, b": keep-alive\n\n")]
    replies = [reply(dialect, [*comments, *events]), reply(dialect, [*early, *comments, *events[len(early) :]])]
    async with provider(*replies) as server, client_of(way, server) as client:
        answers = (
            Response(lambda: way.source(client), output=OUTPUT, stall_timeout=1.0, max_retries=0) for _ in replies
        )
        assert await asyncio.gather(*(answer.async_get_data() for answer in answers)) == [VALUE, VALUE]


@EACH
async def test_keep_alives_do_not_move_the_limit_of_the_first_token(way: Way, dialect: Any) -> None:
    comments = [item for _ in range(40) for item in (0.1, b": keep-alive\n\n")]
    async with asking(way) as failure:
        error, _ = await failure(reply(dialect, comments), first_token_timeout=0.6, max_retries=0)
        assert type(error) is FirstTokenError
        error, _ = await failure(reply(dialect, [b": once\n\n", HANG]), stall_timeout=0.4, max_retries=0)
        assert type(error) is StallError


@pytest.mark.parametrize("helper", [False, True])
@pytest.mark.parametrize(("sdk", "dialect"), [("openai", dialects.openai), ("anthropic", dialects.anthropic)])
async def test_sync_clients_are_read_in_a_thread(sdk: str, dialect: Any, helper: bool) -> None:
    comments = [item for _ in range(4) for item in (0.3, b": keep-alive\n\n")]
    replies = [reply(dialect, [*comments, *dialect(PIECES)]), Reply([b"<html>"], headers={"content-type": "text/html"})]
    async with provider(*replies) as server:
        if sdk == "openai":
            client: Any = openai.OpenAI(base_url=server.url, api_key="k", max_retries=0)
            calls = client.chat.completions
        else:
            client = anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0)
            calls = client.messages
        options = {"model": "m", "messages": ASKED, "max_tokens": 9}

        async def source() -> Any:
            if helper:
                return calls.stream(**options)  # sends the request when it is entered, in the thread
            return await asyncio.to_thread(lambda: calls.create(**options, stream=True))

        assert await Response(source, output=OUTPUT, stall_timeout=1.0).async_get_data() == VALUE
        with pytest.raises(InvalidRequestError, match="a web page"):
            await Response(source).async_get_text()
        client.close()


@pytest.mark.parametrize(
    ("reason", "way"), [("length", CHAT[1]), ("content_filter", CHAT[1])], ids=["length", "filter"]
)
async def test_the_helper_that_raises_at_a_limit_ends_with_its_reason(reason: str, way: Way) -> None:
    class Answer(pydantic.BaseModel):
        title: str

    _, (_, late) = halves(dialects.openai)
    ended = reply(dialects.openai, [*late, dialects.chunk(finish=reason), "[DONE]"])
    async with provider(ended) as server, client_of(way, server) as client:
        helper = client.chat.completions.stream
        response = Response(lambda: helper(model="m", messages=ASKED, response_format=Answer), output=OUTPUT)
        with pytest.raises(TruncatedResponseError) as caught:
            await response.async_get_data()
    assert caught.value.finish_reason == reason
    assert caught.value.text == "".join(PIECES[:3])


@pytest.mark.parametrize(
    ("way", "status"),
    [(CHAT[0], 502), (MESSAGES[0], 502), (CHAT[0], 404)],
    ids=["chat-502", "messages-502", "chat-404"],
)
async def test_an_error_page_of_a_proxy_is_shortened(way: Way, status: int) -> None:
    page = b"<html>" + b"<p>nginx</p>" * 10_000
    error, _ = await failure(way, Reply([page], status=status, headers={"content-type": "text/html"}), max_retries=0)
    assert type(error) is (ProviderError if status == 502 else InvalidRequestError)
    assert len(str(error)) < 1_000
    assert ("check base_url" in str(error)) is (status == 404)
