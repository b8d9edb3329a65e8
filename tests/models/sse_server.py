"""A provider on the loopback interface: answers each request with the next of its replies, and notes what happened."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

CUT = object()
"""In the events of a reply: drop the connection here, in the middle of the body."""
HANG = object()
"""In the events of a reply: send nothing more, and keep the connection."""


@dataclass
class Unframed:
    """In the events of a reply: bytes for the connection itself, which break the framing of the body."""

    data: bytes


@dataclass
class Reply:
    """`events` are data of server-sent events (str is sent as it is); or bytes of the body, such as comments; or CUT,
    HANG, `Unframed`, an `asyncio.Event` to wait for, a pause in seconds."""

    events: Sequence[Any] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    named: bool = False
    """Whether each event carries its type as the name, as Anthropic's do."""
    newline: str = "\n"
    size: int | None = None
    """The body is sent in pieces of so many bytes; None sends a piece for each event."""


class Provider:
    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
        self.heads: list[str] = []
        """The request lines and headers."""
        self.left = asyncio.Event()
        """Set when a client hung up before the end of its reply."""
        self.url = ""
        self.connections: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = self.connections[writer] = asyncio.Event()
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            ended.set()

    async def hang_up(self) -> None:
        for writer, ended in self.connections.items():
            writer.transport.abort()
            await ended.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            length = next(int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line)
            self.requests.append(json.loads(await reader.readexactly(length)))
            reply = self.replies.pop(0)
            headers = {"content-type": "text/event-stream", **reply.headers}
            if reply.status != 200 and not reply.events:
                body = json.dumps({"error": {"message": f"status {reply.status}", "type": "x"}}).encode()
                headers |= {"content-type": "application/json", "content-length": str(len(body))}
                writer.write(_head(reply.status, headers) + body)
                await writer.drain()
                continue
            writer.write(_head(reply.status, {**headers, "transfer-encoding": "chunked"}))
            body = b""
            for event in (*reply.events, b""):
                if isinstance(event, bytes | str | dict):
                    body += event_bytes(reply, event)
                    if reply.size is None or event == b"":
                        await self._send(writer, body, reply.size)
                        body = b""
                    continue
                await self._send(writer, body, reply.size)
                body = b""
                if event is CUT:
                    writer.transport.abort()
                    return
                if event is HANG:
                    await reader.read(1)  # nothing follows on this connection but its end
                    self.left.set()
                    return
                if isinstance(event, asyncio.Event):
                    await event.wait()
                elif isinstance(event, Unframed):
                    writer.write(event.data)
                    await writer.drain()
                    return
                else:
                    await asyncio.sleep(event)
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, body: bytes, size: int | None) -> None:
        size = size or len(body) or 1
        for at in range(0, len(body), size):
            writer.write(_chunk(body[at : at + size]))
        await writer.drain()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def event_bytes(reply: Reply, event: Any) -> bytes:
    """What is sent for an event."""
    if isinstance(event, bytes):
        return event
    data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    name = f"event: {event['type']}\n" if reply.named and not isinstance(event, str) else ""
    return f"{name}data: {data}\n\n".replace("\n", reply.newline).encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@asynccontextmanager
async def provider(*replies: Reply) -> AsyncGenerator[Provider, None]:
    served = Provider(replies)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
        await served.hang_up()


def openai_chunk(content: Any = None, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    delta = delta if content is None else {**delta, "content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "small", "choices": [choice]}


def openai_events(pieces: Sequence[Any], finish: str | None = "stop") -> list[Any]:
    """A whole answer: the role, the pieces, the finish reason, the count of tokens, the end mark."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    counted = {**openai_chunk(), "choices": [], "usage": usage}
    pieces = [openai_chunk(piece) for piece in pieces]
    return [openai_chunk("", role="assistant"), *pieces, openai_chunk(finish=finish), counted, "[DONE]"]
