"""Feeds: what readers of the same thing share, as bytes that were encoded once.

A feed has a task that reads the backend as long as the feed has readers, and keeps the newest events. A reader takes
them by their numbers, as fast as it can: nothing is queued for one that is slow. One that needs older events than are
kept reads the backend itself until it has caught up.
"""

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec

from ..backend import MAX_WAIT, Backend, ChangesInfo
from ..drivers.tasks import start_task
from ..errors import StoreError
from ..wire import encode_event
from ..wire.events import END, FRAME, ITEM
from .limits import Limits
from .view import Batch

logger = logging.getLogger("triggerflow.server")

T = TypeVar("T")

#: How many bytes an event takes that is kept, besides its own.
EVENT_COST = 100


def closing(pieces: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """Closes an asynchronous generator at the end of the block, and with it what it has open."""
    generator: Any = pieces
    return aclosing(generator)


#: Yields (number, event) of what comes after a number, with or without what still comes.
Source = Callable[[int, bool], AsyncIterator[tuple[int, bytes]]]


class Reader:
    """Waits for news of the feeds that it has joined. `why` tells why it was ended from outside: "" if it was not."""

    def __init__(self) -> None:
        self._news = False
        self._future: asyncio.Future[None] | None = None
        self.why = ""
        #: how many numbers it is behind the newest event, as far as it knows
        self.lag = 0

    def wake(self) -> None:
        """There may be something new."""
        self._news = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def end(self, why: str) -> None:
        """Let it send no more."""
        self.why = self.why or why
        self.wake()

    async def wait(self) -> None:
        """Wait until it was woken since the last time."""
        if not self._news:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None
        self._news = False


class Piece:
    """Some events, joined, and the number of the last of them."""

    __slots__ = ("__weakref__", "data", "to")

    def __init__(self, to: int, data: bytes) -> None:
        self.to, self.data = to, data


class Feed:
    """The events of one execution after a number, for all who read them now."""

    def __init__(self, source: Source, last: Callable[[], Awaitable[bytes]], limits: Limits) -> None:
        self._source = source
        self._last = last
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self.readers: set[Reader] = set()
        #: the numbers and events that are kept. Who has the event of number `floor`, or a later one, lacks none before
        self._numbers: list[int] = []
        self._events: list[bytes] = []
        self._size = 0
        self.floor = 0
        self.newest = 0
        #: whether no more will come; then the event that says so, or the error
        self.over = False
        self.last = b""
        self.error: Exception | None = None
        #: the last piece that was joined: after which number, up to which, and how many events there were
        self._joined: tuple[int, int, bytes] = (-1, -1, b"")
        #: pieces of what is not kept that somebody holds, by the number before them; and the newest of these
        self._pieces: WeakValueDictionary[int, Piece] = WeakValueDictionary()
        self._recent: deque[Piece] = deque(maxlen=2)
        self._reading = asyncio.Lock()

    def join(self, reader: Reader, after: int) -> None:
        """Add a reader."""
        self.readers.add(reader)
        if self._task is None:
            self._numbers, self._events, self._size = [], [], 0
            self.floor = self.newest = after
            self._task = start_task(asyncio.get_running_loop(), self._run(after), quiet=True)

    def leave(self, reader: Reader) -> None:
        """A reader has gone."""
        self.readers.discard(reader)
        if not self.readers and self._task is not None and not self.over:
            self._task.cancel()
            self._task = None

    async def _run(self, after: int) -> None:
        try:
            async with closing(self._source(after, True)) as events:
                async for number, event in events:
                    self._add(number, event)
            self.last = await self._last()
        except Exception as error:  # each reader is told
            self.error = error
        self.over = True
        self._tell()

    def _add(self, number: int, event: bytes) -> None:
        self._numbers.append(number)
        self._events.append(event)
        self._size += len(event) + EVENT_COST
        self.newest = number
        if self._size > self._limits.kept:
            half = max(1, len(self._events) // 2)
            self.floor = self._numbers[half - 1]
            self._size -= sum(len(it) + EVENT_COST for it in self._events[:half])
            del self._numbers[:half], self._events[:half]
        self._tell()

    def _tell(self) -> None:
        for reader in self.readers:
            reader.wake()

    def after(self, number: int) -> tuple[int, bytes]:
        """The next events after a number, joined, and the number of the last of them; b"" if there are none yet."""
        if number >= self.newest:
            return number, b""
        begin, to, piece = self._joined
        if begin == number and (to == self.newest or len(piece) >= self._limits.piece):
            return to, piece
        first = last = bisect_right(self._numbers, number)
        size = 0
        while last < len(self._events) and size < self._limits.piece:
            size += len(self._events[last])
            last += 1
        to, piece = self._numbers[last - 1], b"".join(self._events[first:last])
        self._joined = number, to, piece
        return to, piece

    async def earlier(self, number: int) -> Piece:
        """What comes next after a number and is not kept any more. `floor` is reached by some of these.

        One is read at a time, and readers that stand at the same number share it: those that take nothing all stand
        where they have begun.
        """
        async with self._reading:
            piece = self._pieces.get(number)
            if piece is None:
                piece = self._pieces[number] = await self._read(number)
            self._recent.append(piece)
            return piece

    async def _read(self, number: int) -> Piece:
        events: list[bytes] = []
        size, to = 0, number
        async with closing(self._source(number, False)) as found:
            async for last, event in found:
                events.append(event)
                size, to = size + len(event), last
                if size >= self._limits.piece:
                    break
            else:
                to = max(to, self.floor)  # there is nothing else before it
        return Piece(to, b"".join(events))


def frames_of(backend: Backend, id: str) -> Source:
    """The frames of an execution as events."""

    async def source(after: int, follow: bool) -> AsyncIterator[tuple[int, bytes]]:
        encode = msgspec.json.Encoder().encode
        async with closing(backend.frames(id, after=after, follow=follow)) as frames:
            async for frame in frames:
                yield frame.number, encode_event(FRAME, encode(frame), frame.number)

    return source


def items_of(backend: Backend, id: str, *, compact: bool = False) -> Source:
    """The stream items of an execution as events."""

    async def source(after: int, follow: bool) -> AsyncIterator[tuple[int, bytes]]:
        encode = msgspec.json.Encoder().encode
        found = backend.stream(id, after=after, follow=follow, compact=compact)
        async with closing(found) as items:
            async for item in items:
                yield item.number, encode_event(ITEM, encode(item), item.number)

    return source


class ChangeFeed:
    """The changes of a backend, for all who read them now: one task asks for them."""

    KEPT = 200

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._task: asyncio.Task[None] | None = None
        self.readers: set[Reader] = set()
        self._batches: list[Batch] = []
        #: the number of the first batch that is kept
        self._first = 0
        self.cursor = ""
        #: why no more changes can be told
        self.error: Exception | None = None

    @property
    def newest(self) -> int:
        """The number of the newest batch, plus one: where a reader begins that wants what comes."""
        return self._first + len(self._batches)

    async def join(self, reader: Reader) -> int:
        """Add a reader. Returns where it begins."""
        self.readers.add(reader)
        if self._task is None or self._task.done():
            cursor = (await self._backend.changes()).cursor
            if self._task is None or self._task.done():  # nobody else has started it meanwhile
                self.cursor, self.error = cursor, None
                self._task = start_task(asyncio.get_running_loop(), self._run(), quiet=True)
        return self.newest

    def leave(self, reader: Reader) -> None:
        """A reader has gone."""
        self.readers.discard(reader)
        if not self.readers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                found = await self._backend.changes(self.cursor, wait=MAX_WAIT)
            except StoreError as error:
                logger.warning("the changes cannot be read: %s", error)
                await asyncio.sleep(1.0)
                continue
            except Exception as error:  # each reader is told
                self.error = error
                self._tell()
                return
            self.cursor = found.cursor
            if found.executions or found.resync:
                self.add(found)

    def add(self, found: ChangesInfo) -> None:
        """Tell all readers."""
        self._batches.append(Batch(found))
        if len(self._batches) > self.KEPT:
            self._first += 1
            del self._batches[0]
        self._tell()

    def _tell(self) -> None:
        for reader in self.readers:
            reader.wake()

    def after(self, number: int) -> list[Batch] | None:
        """The batches from a number on; None if some of them are not kept any more."""
        return None if number < self._first else self._batches[number - self._first :]


def end_event(status: str) -> bytes:
    """The last event of a stream."""
    return encode_event(END, msgspec.json.encode({"status": status}))
