"""Open streams: server-sent events and files. Each is limited in time, and all are ended before the server stops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from ..drivers.tasks import start_task
from ..wire import Busy, Problem, encode_comment, encode_event
from ..wire.events import ERROR
from ..wire.problems import problem
from .access import EVERYBODY, Gate, Grant
from .feeds import Reader, closing
from .limits import Limits

logger = logging.getLogger("triggerflow.server")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Why the server has ended a stream: its client has disconnected, or accepts no data; the server stops; the stream has
#: reached `Limits.stream_time`; its token is not valid any more.
GONE, LATE, STOPPING, OLD, REFUSED = "gone", "late", "stopping", "old", "refused"
#: The problem in the last event of such a stream. For GONE and LATE there is none, since nobody would read it.
LAST_PROBLEMS: dict[str, Problem] = {
    STOPPING: problem("stopping", "this server stops; go on at another one", again=True),
    OLD: problem("busy", "this stream was open for long; connect again", again=True),
    REFUSED: problem("no_token", "the token of this stream is not valid any more"),
}
#: After how many milliseconds the reader of an ended stream should reconnect.
RETRY = 200
#: How many bytes are handed to the ASGI server at a time.
SEND_BYTES = 64 * 1024
#: How often the tokens of open streams are checked, in seconds.
CHECK_SECONDS = 10.0


class Stream(Reader):
    """One open response."""

    def __init__(self, send: Send, token: str | None) -> None:
        super().__init__()
        self._send = send
        self.token = token
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self.grant = EVERYBODY
        self.began = self.last_sent = self._loop.time()
        self._sending = False
        self._beat = False

    async def send(self, piece: bytes, *, more: bool = True) -> None:
        """Send a piece. Waits until the reader has room for it."""
        self._sending, self.last_sent = True, self._loop.time()
        begin = 0
        while len(piece) - begin > SEND_BYTES:  # the ASGI server copies what it gets, for each reader
            await self._send(
                {"type": "http.response.body", "body": piece[begin : begin + SEND_BYTES], "more_body": True}
            )
            begin, self.last_sent = begin + SEND_BYTES, self._loop.time()
        await self._send({"type": "http.response.body", "body": piece[begin:], "more_body": more})
        self._sending, self.last_sent = False, self._loop.time()

    def cut(self, why: str) -> None:
        """End the stream at once, also if it waits for its reader in `send`: then its task is cancelled."""
        self.end(why)
        if self._sending and self._task is not None:
            self._sending = False  # a second cancellation would interrupt the clean-up after the first one
            self._task.cancel()

    def look(self, limits: Limits, now: float) -> None:
        """Called every second: end the stream if it exceeds a limit, and make it send a comment if it is silent."""
        if self._sending and now - self.last_sent > limits.send_time:
            self.cut(LATE)
        elif now - self.began > limits.stream_time:
            self.end(OLD)
        elif not self._sending and now - self.last_sent > limits.heartbeat:
            self._beat = True
            self.wake()

    def beat(self) -> bytes:
        """The bytes of a comment if one is due, else none."""
        due, self._beat = self._beat, False
        return encode_comment() if due else b""

    def survives(self) -> bool:
        """Called after its task was cancelled: whether `cut` did that. Then the cancellation is taken back."""
        if not self.why or self._task is None:
            return False
        self._task.uncancel()
        return True


class Streams:
    """The open streams of a server."""

    def __init__(self, limits: Limits, gate: Gate) -> None:
        self._limits = limits
        self._gate = gate
        self.open: set[Stream] = set()
        self.stopping = False
        self._ticker: asyncio.Task[None] | None = None
        #: closes the connection of a request at once, without sending what is buffered; `Server` sets it
        self.abort: Callable[[MutableMapping[str, Any]], None] | None = None

    def stop(self) -> None:
        """End all streams; new ones are refused."""
        self.stopping = True
        for stream in list(self.open):
            stream.cut(STOPPING)

    async def serve(
        self,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        pieces: Callable[[Stream], AsyncIterator[bytes]],
        *,
        token: str | None = None,
        grant: Grant = EVERYBODY,
        events: bool = True,
        last: Callable[[str], bytes] | None = None,
    ) -> None:
        """Answer a request with the bytes that `pieces` yields. `last` makes the last event of a stream that the server
        ends. Raises `Busy` before anything is sent."""
        if self.stopping or len(self.open) >= self._limits.streams:
            raise Busy("this server stops" if self.stopping else "this server has as many open streams as it takes")
        stream = Stream(send, token)
        stream.grant = grant
        self.open.add(stream)
        if self._ticker is None:
            self._ticker = start_task(asyncio.get_running_loop(), self._tick(), quiet=True)
        leaving = start_task(asyncio.get_running_loop(), _left(receive, stream), quiet=True)
        broken = False  # whether it was cut within a piece
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with closing(pieces(stream)) as found:
                async for piece in found:
                    if stream.why:
                        break
                    if piece:
                        await stream.send(piece)
            if stream.why == GONE:
                return
            if not stream.why:
                await stream.send(b"", more=False)
            elif events and stream.why in LAST_PROBLEMS:
                await stream.send((last or last_event)(stream.why), more=False)
        except asyncio.CancelledError:
            if not stream.survives():
                raise
            broken = True
        finally:
            self.open.discard(stream)
            leaving.cancel()
            if broken or (stream.why and not events):
                await self._cut(scope)

    async def _cut(self, scope: MutableMapping[str, Any]) -> None:
        """Close the connection, so that the reader does not take an incomplete answer for a whole one."""
        if self.abort is not None:
            self.abort(scope)
            await asyncio.sleep(0)  # the ASGI server notices that the connection is closed

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        checked = loop.time()
        checking: asyncio.Task[None] | None = None
        while self.open:
            await asyncio.sleep(1.0)
            for stream in list(self.open):
                stream.look(self._limits, loop.time())
            if loop.time() - checked >= CHECK_SECONDS and (checking is None or checking.done()):
                checked, checking = loop.time(), start_task(loop, self._check_grants(), quiet=True)
        self._ticker = None

    async def _check_grants(self) -> None:
        """End the streams whose tokens have another grant by now. Each token is checked once."""
        granted: dict[str | None, Grant | None] = {}
        for stream in list(self.open):
            if stream.token not in granted:
                try:
                    granted[stream.token] = await self._gate.grant(stream.token)
                except Exception:  # a failing `auth` must not end streams
                    logger.exception("the token of an open stream cannot be checked")
                    granted[stream.token] = stream.grant
            if granted[stream.token] != stream.grant:
                stream.end(REFUSED)


def last_event(why: str) -> bytes:
    """The last event of a stream that the server has ended, with the time for a reconnect."""
    return encode_comment(retry=RETRY) + encode_event(ERROR, msgspec.json.encode(LAST_PROBLEMS[why]))


async def _left(receive: Receive, stream: Stream) -> None:
    """Wait until the client has disconnected, and end its stream."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end(GONE)
