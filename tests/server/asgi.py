"""A client that calls an ASGI application without a socket, so that its tests run in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from triggerflow.wire import Event, EventDecoder


class Response(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        return self.json()["code"]


class Client:
    """Calls an application as `headers` say, in addition to those of each call."""

    def __init__(self, app: Any, root: str = "", **headers: str) -> None:
        self._app = app
        self._root = root
        self._headers = {"host": "localhost", **headers}

    def scope(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        raw, _, query = path.partition("?")
        raw = self._root + raw
        given = {**self._headers, **headers}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items() if value],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        if body is not None and not isinstance(body, bytes):
            headers = {"content-type": "application/json", **headers}
            body = json.dumps(body).encode()
        async with self.open(method, path, body or b"", **headers) as stream:
            await stream.done
        return Response(stream.status, stream.headers, bytes(stream.body))

    async def get(self, path: str, **headers: str) -> Response:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Response:
        return await self.call("POST", path, body, **headers)

    @asynccontextmanager
    async def open(self, method: str, path: str, body: bytes = b"", **headers: str) -> AsyncIterator["Stream"]:
        """An open response. At the end of the block the client goes away."""
        stream = Stream(body)
        stream.done = asyncio.ensure_future(self._app(self.scope(method, path, headers), stream.receive, stream.send))
        try:
            yield stream
        finally:
            stream.gone.set()
            stream.reads.set()
            with suppress(asyncio.CancelledError):
                await stream.done

    @asynccontextmanager
    async def events(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> AsyncIterator["Stream"]:
        """An open stream of events."""
        given = {"accept": "text/event-stream", "content-type": "application/json", **headers}
        data = b"" if body is None else json.dumps(body).encode()
        async with self.open(method, path, data, **given) as stream:
            yield stream


class Stream:
    """What a client gets of an open response."""

    def __init__(self, body: bytes) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.pieces = 0
        self.events: list[Event] = []
        self.decoder = EventDecoder()
        self.gone = asyncio.Event()
        #: cleared: the client reads nothing
        self.reads = asyncio.Event()
        self.reads.set()
        self.done: asyncio.Future[None]
        self._news = asyncio.Event()
        self._request: list[bytes] = [body]

    async def receive(self) -> dict[str, Any]:
        if self._request:
            return {"type": "http.request", "body": self._request.pop(), "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            await self.reads.wait()
            self.body += message["body"]
            self.pieces += 1
            if self.headers.get("content-type") == "text/event-stream":
                self.events += self.decoder.feed(message["body"])
        self._news.set()

    async def until(self, found: Callable[["Stream"], Any]) -> Self:
        """Wait until something is there; fails if the response ends before."""
        while not found(self):
            assert not self.done.done(), f"the response has ended: {self.events[-1:] or bytes(self.body[-200:])}"
            self._news.clear()
            waiter = asyncio.ensure_future(self._news.wait())
            await asyncio.wait([waiter, self.done], return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
        return self

    async def rest(self) -> list[Event]:
        """Wait until the response ends. Returns all of its events."""
        await self.done
        return self.events

    def data(self, name: str) -> list[Any]:
        return [json.loads(event.data) for event in self.events if event.event == name]

    def ids(self, name: str) -> list[str]:
        return [event.id for event in self.events if event.event == name]
