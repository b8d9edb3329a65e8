"""What only a real server shows: broken HTTP, bodies that are cut, mounted applications, the end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.server.asgi import Client
from tests.server.flows import echo, report
from triggerflow.server import App, Grant, Limits, Server, create_app, running
from triggerflow.stores import MemoryStore

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[Server]:
    server = Server(app, port=0, **options)
    task = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 30)


async def raw(server: Server, *pieces: bytes) -> bytes:
    """What a server sends to a client that sends these bytes, until it closes or is silent after an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    got = await asyncio.wait_for(reader.read(65536), 30)
    writer.close()
    return got


HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /api/flows HTTP/1.1\r\n%b\r\n" % HOST, 200),
        (b"GET /api/flows HTTP/1.0\r\n\r\n", 421),
        (b"GET /api/flows HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET http://evil.example/api/flows HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET http://localhost/api/flows HTTP/1.1\r\n%b\r\n" % HOST, 404),
        (b"GET /api/../api/flows HTTP/1.1\r\n%b\r\n" % HOST, 404),
        (b"GET /api/%%2e%%2e/flows HTTP/1.1\r\n%b\r\n" % HOST, 404),
        (b"GET /api\\flows HTTP/1.1\r\n%b\r\n" % HOST, 404),
        (b"GET /api/flows;x=1 HTTP/1.1\r\n%b\r\n" % HOST, 404),
        (b"GET /api/flows%%3Fx HTTP/1.1\r\n%b\r\n" % HOST, 404),
        (b"BREW /api/flows HTTP/1.1\r\n%b\r\n" % HOST, 405),
        (b"GET /api/flows HTTP/1.1\r\n%b%b\r\n" % (HOST, HOST), 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 3, 400),
        (b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\n%b\r\n" % HOST, 414),
        (b"POST /api/flows/echo/executions HTTP/1.1\r\n%bContent-Length: 5000000\r\n\r\n" % HOST, 413),
        (
            b"POST /api/flows/echo/executions HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % HOST
            + (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 5,
            413,
        ),
        (b"POST /api/flows/echo/executions HTTP/1.1\r\n%bContent-Length: 5\r\n\r\n{" % HOST, 408),
    ],
)
async def test_whatever_is_sent_is_answered_or_refused(request_: bytes, status: int) -> None:
    app = create_app([echo()], MemoryStore(), limits=Limits(body=50_000, body_time=0.5))
    async with serving(app) as server:
        answer = await raw(server, request_)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:300]
        if status not in (200, 400):
            assert b"application/problem+json" in answer
        assert (await raw(server, b"GET /health HTTP/1.1\r\n%b\r\n" % HOST)).startswith(b"HTTP/1.1 200 ")
        assert await app.backend.counts() == {}


async def test_a_connection_that_sends_no_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "HEAD_SECONDS", 0.5)
    async with serving(create_app([echo()], MemoryStore())) as server:

        async def until_closed(start: bytes) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            writer.write(start)
            with suppress(ConnectionResetError):
                while await asyncio.wait_for(reader.read(1000), 30):
                    pass
            writer.close()

        starts = [b"GET /he", b"", b"GET /health HTTP/1.1\r\n%b\r\nGET /he" % HOST]
        await asyncio.gather(*(until_closed(start) for start in starts))


def in_starlette(api: App) -> Any:
    return Starlette(routes=[Mount("/a/b", api)], lifespan=api.lifespan)


def in_fastapi(api: App) -> Any:
    app = FastAPI(lifespan=api.lifespan)

    @app.get("/own")
    async def own() -> int:
        return 1

    app.mount("/a/b", api)
    return app


@pytest.mark.parametrize("mounted", [in_starlette, in_fastapi])
async def test_it_works_wherever_it_is_mounted(mounted: Callable[[App], Any]) -> None:
    api = create_app([echo(), report()], MemoryStore(), worker=True)
    app = mounted(api)
    async with serving(app, apps=[api]):
        client = Client(app, root="/a/b")
        answer = await client.post("/api/flows/echo/executions", {"value": 1, "id": "x/y"})
        assert (answer.status, answer.headers["location"]) == (201, "/a/b/api/executions/x%2Fy")
        found = await client.get("/api/executions/x%2Fy/result?wait=10")
        assert found.json()["result"] == 1
        async with client.events("/api/executions/x%2Fy/frames") as stream:
            await stream.rest()
        assert stream.data("end") == [{"status": "completed"}]
        description = (await client.get("/openapi.json")).json()
        assert description["servers"] == [{"url": "/a/b"}]
        assert (await Client(app).get("/api/flows")).status == 404
        if mounted is in_fastapi:
            assert (await Client(app).get("/own")).json() == 1


async def test_the_server_of_an_own_application_ends_the_streams_of_mounted_ones() -> None:
    api = create_app([report()], MemoryStore(), worker=True)
    async with serving(in_starlette(api), apps=[api]) as server:
        await api.backend.start("report", "x", id="r")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET /a/b/api/executions/r/frames HTTP/1.1\r\n%bAccept: text/event-stream\r\n\r\n" % HOST)
        await reader.readuntil(b"event: frame")
        server.should_exit = True
        assert b'"code":"stopping"' in await asyncio.wait_for(reader.read(), 30)
        writer.close()


async def test_a_token_is_needed_over_a_socket_too() -> None:
    grants = {"t": Grant(name="t")}
    async with serving(create_app([echo()], MemoryStore(), auth=grants.get), host="127.0.0.1") as server:
        for token, status in [(b"", 401), (b"Authorization: Bearer t\r\n", 200), (b"Authorization: Bearer x\r\n", 401)]:
            answer = await raw(server, b"GET /api/flows HTTP/1.1\r\n%b%b\r\n" % (HOST, token))
            assert answer.startswith(b"HTTP/1.1 %d " % status)
        head, _, body = (await raw(server, b"GET /api/flows HTTP/1.1\r\n%b\r\n" % HOST)).partition(b"\r\n\r\n")
        assert b"www-authenticate" in head.lower()
        assert json.loads(body)["code"] == "no_token"
