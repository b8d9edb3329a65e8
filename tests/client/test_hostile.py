"""Servers that lie, flood or lead astray: the client stays bounded, believes nothing, and gives its token to nobody."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from triggerflow.backend import Backend, BadRequest, Emit
from triggerflow.client import Client, HTTPBackend
from triggerflow.errors import (
    InternalError,
    OptionError,
    StoreError,
    StoreUnavailable,
    TriggerFlowError,
    UnknownExecution,
)
from triggerflow.wire import NotAllowed

#: They wait for sockets.
pytestmark = pytest.mark.real_time

TOKEN = "secret-token-1234"
JSON = "content-type: application/json\r\n"
EVENTS = "content-type: text/event-stream\r\n"


class Liar:
    """A server that answers every request with what a test says."""

    def __init__(self, *answers: bytes | Callable[[asyncio.StreamWriter], Any]) -> None:
        self._answers = list(answers)
        self.requests: list[bytes] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.url = ""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(body: bytes | str, status: str = "200 OK", head: str = JSON) -> bytes:
    """An answer over HTTP, after which the connection is closed."""
    data = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status}\r\n{head}connection: close\r\n\r\n".encode() + data


@asynccontextmanager
async def lying(*answers: bytes | Callable[[asyncio.StreamWriter], Any], **options: Any) -> AsyncIterator[Any]:
    """A lying server, and a client of it."""
    liar = Liar(*answers)
    server = await asyncio.start_server(liar.accept, "127.0.0.1", 0)
    liar.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with HTTPBackend(liar.url, **{"token": TOKEN, "patience": 0.3, **options}) as backend:
            yield liar, backend
    finally:
        server.close()
        for task in liar.tasks:
            task.cancel()
        await asyncio.gather(*liar.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the connections close


async def first(found: Any) -> Any:
    async for it in found:
        return it
    return None


def item(number: int) -> str:
    return f'event: item\nid: {number}\ndata: {{"number":{number},"item":{number}}}\n\n'


def frame(number: int) -> str:
    return f'event: frame\nid: {number}\ndata: {{"number":{number},"at":0,"kind":"x","status":"running"}}\n\n'


#: What is asked, what is answered, and what is raised.
GET: Callable[[Backend], Any] = lambda it: it.get("one")  # noqa: E731
FRAMES: Callable[[Backend], Any] = lambda it: first(it.frames("one", follow=True))  # noqa: E731
ITEMS: Callable[[Backend], Any] = lambda it: first(it.stream("one", follow=True))  # noqa: E731
CHANGES: Callable[[Backend], Any] = lambda it: it.changes()  # noqa: E731
LIES: dict[str, tuple[Callable[[Backend], Any], bytes, type[Exception]]] = {
    "broken JSON": (GET, answer('{"id": "one"'), StoreError),
    "no UTF-8": (GET, answer(b'{"id": "\xff\xfe"}'), StoreError),
    "JSON of something else": (GET, answer("[1, 2, 3]"), StoreError),
    "deep JSON": (GET, answer("[" * 100_000), StoreError),
    "an empty answer": (GET, answer(""), StoreError),
    "no HTTP": (GET, b"220 smtp.example.com ready\r\n", StoreUnavailable),
    "nothing": (GET, b"", StoreUnavailable),
    "half an answer": (GET, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}", StoreUnavailable),
    "endless headers": (GET, b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000, StoreUnavailable),
    "no content": (GET, answer("", "204 No Content"), StoreError),
    "a page of a proxy": (GET, answer("<html>", "502 Bad Gateway", "content-type: text/html\r\n"), StoreUnavailable),
    "a page that denies": (GET, answer("<html>", "403 Forbidden", "content-type: text/html\r\n"), NotAllowed),
    "a failed server": (GET, answer("oops", "500 Internal Server Error"), InternalError),
    "a strange status": (GET, answer("oops", "418 Teapot"), BadRequest),
    "a problem of another code": (
        GET, answer('{"status":404,"code":"new","title":"New"}', "404 Not Found"), BadRequest,
    ),
    "a problem": (
        GET, answer('{"status":404,"code":"unknown_execution","title":"No"}', "404 Not Found"), UnknownExecution,
    ),
    "an unpacked file": (GET, answer(b"\x1f\x8b" + b"\0" * 50, head=JSON + "content-encoding: gzip\r\n"), StoreError),
    "events that are JSON": (FRAMES, answer("{}"), StoreError),
    "broken events": (FRAMES, answer("event: frame\ndata: {\n\n", head=EVENTS), StoreError),
    "a number left out": (FRAMES, answer(frame(2), head=EVENTS), StoreError),
    "an item left out": (ITEMS, answer(item(3), head=EVENTS), StoreError),
    "a number below": (ITEMS, answer(item(-1) + item(0), head=EVENTS), StoreUnavailable),
    "no event at all": (ITEMS, answer(":\n\n", head=EVENTS), StoreUnavailable),
    "events of another kind": (ITEMS, answer("event: x\ndata: {}\n\n" * 9, head=EVENTS), StoreUnavailable),
    "fewer than there were": (FRAMES, answer('event: resync\ndata: {"after":0}\n\n', head=EVENTS), BadRequest),
    "an error": (
        ITEMS,
        answer('event: error\ndata: {"status":404,"code":"unknown_execution","title":"No"}\n\n', head=EVENTS),
        UnknownExecution,
    ),
    "an error that is none": (ITEMS, answer('event: error\ndata: "x"\n\n', head=EVENTS), StoreError),
    "changes that are none": (CHANGES, answer("event: changes\ndata: 7\n\n", head=EVENTS), StoreError),
    "changes without end": (CHANGES, answer("", head=EVENTS), StoreUnavailable),
}  # fmt: skip


async def test_lies_are_errors_of_the_engine_and_tell_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name, (call, lie, expected) in LIES.items():
        async with lying(lie) as (liar, backend):
            with pytest.raises(TriggerFlowError) as raised:
                await call(backend)
            assert isinstance(raised.value, expected), (name, raised.value)
            assert type(raised.value) is expected or expected is StoreError, (name, raised.value)
            error: BaseException | None = raised.value
            assert error is not None
            assert TOKEN not in f"{error!r} {error} {backend!r}"
            assert error.__cause__ is None, name
            assert error.__suppress_context__ or error.__context__ is None, name
            assert all(f"Bearer {TOKEN}".encode() in it for it in liar.requests), name
    assert TOKEN not in caplog.text


async def test_what_is_too_large_is_not_read() -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    def begin(head: str) -> Callable[[asyncio.StreamWriter], Any]:
        async def answered(writer: asyncio.StreamWriter) -> None:
            writer.write(answer("data: " if "event" in head else "[", head=head))
            await flood(writer)

        return answered

    for call, head in ((GET, JSON), (FRAMES, EVENTS), (CHANGES, EVENTS)):
        async with lying(begin(head), limit=300_000) as (_, backend):
            with pytest.raises(StoreError, match="more than 300000 bytes"):
                await call(backend)


async def test_silence_and_drips_are_broken_off() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(answer("["))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def events(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(item(1), head=EVENTS))
        await writer.drain()
        await asyncio.sleep(30)

    for lie in (silent, dripping):
        async with lying(lie, timeout=0.2) as (_, backend):
            with pytest.raises(StoreUnavailable, match=r"has not answered for 0\.2 s|ReadTimeout"):
                await backend.get("one")
    rest = answer(item(2) + 'event: end\ndata: {"status":"completed"}\n\n', head=EVENTS)
    async with lying(events, rest, silence=0.2) as (liar, backend):
        assert [it.item async for it in backend.stream("one", follow=True)] == [1, 2]
        assert b"after=1" in liar.requests[1]


async def test_a_redirect_is_never_followed() -> None:
    stolen: list[bytes] = []

    async def steal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stolen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    thief = await asyncio.start_server(steal, "127.0.0.1", 0)
    place = f"http://localhost:{thief.sockets[0].getsockname()[1]}/api/executions/one"
    for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
        lie = answer("", status, f"location: {place}\r\n")
        for call in (
            GET,
            FRAMES,
            CHANGES,
            lambda it: it.act("one", Emit(name="a")),
            lambda it: first(it.export("one")),
        ):
            async with lying(lie) as (_, backend):
                with pytest.raises(StoreError, match="redirects are not followed"):
                    await call(backend)
    await asyncio.sleep(0.05)
    assert stolen == []
    thief.close()


async def test_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    async with lying(answer("[]")) as (liar, backend):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login a password b")
        monkeypatch.setenv("NETRC", str(netrc))
        assert await backend.flows() == []
        assert b"Basic" not in liar.requests[0]


async def test_a_server_that_is_busy_is_asked_again_and_one_that_asks_for_patience_is_left_alone() -> None:
    busy = answer('{"status":503,"code":"busy","title":"Busy","again":true}', "503 Busy", "retry-after: 1\r\n")
    async with lying(busy, busy, answer("[]"), patience=20.0) as (liar, backend):
        begun = asyncio.get_running_loop().time()
        assert await backend.flows() == []
        assert len(liar.requests) == 3
        assert asyncio.get_running_loop().time() - begun >= 1.9
    waited = answer('{"status":504,"code":"timed_out","title":"T","detail":"not done","again":true}', "504 T")
    async with lying(waited, patience=20.0) as (liar, backend):
        with pytest.raises(TimeoutError, match="not done"):
            await backend.act("one", Emit(name="a"))
        assert len(liar.requests) == 1


# -- addresses and tokens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com", "http://10.0.0.1:80", "http://127.0.0.1.example.com", "http://0.0.0.0", "http://[::2]",
        "http://localhost.example.com", "http://2130706433", "http://LOCALHOST@evil.example", "http://127.1.example",
    ],
)  # fmt: skip
def test_a_token_goes_to_no_other_machine_in_the_open(url: str) -> None:
    for options in ({"token": TOKEN}, {"token": lambda: TOKEN}):
        with pytest.raises(BadRequest) as raised:
            HTTPBackend([url, "https://example.com"], **options)  # type: ignore[arg-type]
        assert TOKEN not in str(raised.value)
    if "@" not in url:
        assert HTTPBackend(url)
        assert HTTPBackend(url, token=TOKEN, allow_http=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:8", "http://LocalHost/app/"])
def test_a_token_goes_to_this_machine(url: str) -> None:
    assert TOKEN not in repr(Client(url, token=TOKEN))
    assert HTTPBackend("https://example.com", token=TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "http://",
        "https://a:b@c",
        "http://h:port",
        "http://h?x=1",
        "http://h#t",
        7,
    ],
)
def test_an_address_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(BadRequest) as raised:
        HTTPBackend([url])
    assert "b@c" not in str(raised.value)


def test_options_are_checked() -> None:
    with pytest.raises(BadRequest):
        HTTPBackend([])
    for option in ({"patience": -1}, {"timeout": 0}, {"silence": "long"}, {"limit": 0}, {"connect_timeout": None}):
        with pytest.raises((OptionError, ValueError)):
            HTTPBackend("http://localhost", **option)  # type: ignore[arg-type]


async def test_a_token_can_change_and_is_checked() -> None:
    tokens = ["first", "second"]

    async def later() -> str:
        return tokens.pop(0)

    async with lying(answer("[]")) as (liar, _), HTTPBackend(liar.url, token=later) as backend:
        await backend.flows()
        await backend.flows()
        assert [b"Bearer first" in it for it in liar.requests] == [True, False]
        assert b"Bearer second" in liar.requests[1]
    for wrong in ("two\r\nwords", "", "grün", " lead", 7):
        async with lying(answer("[]")) as (liar, _), HTTPBackend(liar.url, token=lambda it=wrong: it) as backend:  # type: ignore[misc]
            with pytest.raises(BadRequest) as raised:
                await backend.flows()
            assert not wrong or str(wrong) not in str(raised.value)
            assert liar.requests == []
    async with lying(answer("[]")) as (liar, backend):
        for request in ("a\nb", "ключ"):
            with pytest.raises(BadRequest, match="ASCII"):
                await backend.act("one", Emit(name="a"), request=request)
        assert liar.requests == []


async def test_a_token_that_cannot_be_had_is_an_error_of_every_call() -> None:
    """`token`: "a function that returns the present one". What it raises reaches whoever has called."""

    def broken() -> str:
        raise OSError("the vault does not answer")

    async with lying(answer("{}"), token=broken) as (liar, backend):
        for call in (backend.flows, backend.changes):
            async with asyncio.timeout(5):
                with pytest.raises(OSError, match="the vault"):
                    await call()
        assert liar.requests == []


async def test_a_problem_that_is_nested_without_end_is_an_error_of_the_server() -> None:
    deep = b'{"status":404,"code":"unknown_flow","title":"","more":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    async with lying(answer(deep, "404 Not Found")) as (_, backend):
        with pytest.raises(BadRequest, match="status 404, and no problem"):
            await backend.flows()
