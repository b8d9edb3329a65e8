"""Feeds: the events that all readers of an execution, or of all changes, share. Each event is encoded once.

As long as a feed has readers, a task of it reads the backend and keeps the newest events. Readers take events by number
at their own speed: nothing is queued for a slow one. A reader that needs older events than are kept reads the backend
itself until it has caught up.
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

#: The overhead of a kept event, in bytes, counted besides its own size.
EVENT_COST = 100


def closing(pieces: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """A block at whose end an async generator is closed, with all that it has open."""
    generator: Any = pieces
    return aclosing(generator)


#: A function of a number and a flag: yields (number, event) for each event after the number; with the flag it follows.
Source = Callable[[int, bool], AsyncIterator[tuple[int, bytes]]]


class Reader:
    """Waits for new events of the feeds that it has joined. `why`: why it was ended from outside, "" if it was not."""

    def __init__(self) -> None:
        self._news = False
        self._future: asyncio.Future[None] | None = None
        self.why = ""
        #: by how many numbers it was behind the newest event at its last read
        self.lag = 0

    def wake(self) -> None:
        """Wake the reader if it waits: there may be new events."""
        self._news = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def end(self, why: str) -> None:
        """End the reader before its next event."""
        self.why = self.why or why
        self.wake()

    async def wait(self) -> None:
        """Wait for the next `wake`; one since the last `wait` counts."""
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
    """The events of one execution after a number, for all its readers. `last` makes the event after them."""

    def __init__(self, source: Source, last: Callable[[], Awaitable[bytes]], limits: Limits) -> None:
        self._source = source
        self._last = last
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self.readers: set[Reader] = set()
        #: the kept events with their numbers. A reader that has event `floor`, or a later one, needs no other
        self._numbers: list[int] = []
        self._events: list[bytes] = []
        self._size = 0
        self.floor = 0
        self.newest = 0
        #: whether there will be no more events; then the last event, or the error
        self.over = False
        self.last = b""
        self.error: Exception | None = None
        #: the piece that `after` has made last: after which number, up to which number, its bytes
        self._joined: tuple[int, int, bytes] = (-1, -1, b"")
        #: pieces of older events that a reader holds, by the number before them; and the two newest, which are kept
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
        """Remove a reader. Without readers the task ends."""
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
        except Exception as error:  # each reader raises it
            self.error = error
        self.over = True
        self._wake_readers()

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
        self._wake_readers()

    def _wake_readers(self) -> None:
        for reader in self.readers:
            reader.wake()

    def after(self, number: int) -> tuple[int, bytes]:
        """The next kept events after a number: the number of the last one, and their bytes, b"" if there are none."""
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
        """The next events after a number, read from the backend since they are not kept any more.

        Repeated calls, each with the number of the piece before, reach `floor`. One piece is read at a time, and
        readers at the same number share it, such as many that have begun together.
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
                to = max(to, self.floor)  # there are no further events before `floor`
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
    """The changes of a backend, for all their readers. One task reads them."""

    KEPT = 200

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._task: asyncio.Task[None] | None = None
        self.readers: set[Reader] = set()
        self._batches: list[Batch] = []
        #: the number of the first batch that is kept
        self._first = 0
        self.cursor = ""
        #: the error that has ended the task
        self.error: Exception | None = None

    @property
    def newest(self) -> int:
        """The number of the next batch: where a reader begins that wants new changes only."""
        return self._first + len(self._batches)

    async def join(self, reader: Reader) -> int:
        """Add a reader. Returns the number of the first batch for it."""
        self.readers.add(reader)
        if self._task is None or self._task.done():
            cursor = (await self._backend.changes()).cursor
            if self._task is None or self._task.done():  # nobody else has started it meanwhile
                self.cursor, self.error = cursor, None
                self._task = start_task(asyncio.get_running_loop(), self._run(), quiet=True)
        return self.newest

    def leave(self, reader: Reader) -> None:
        """Remove a reader. Without readers the task ends."""
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
            except Exception as error:  # each reader raises it
                self.error = error
                self._wake_readers()
                return
            self.cursor = found.cursor
            if found.executions or found.resync:
                self.add(found)

    def add(self, found: ChangesInfo) -> None:
        """Add a batch of changes, and wake all readers."""
        self._batches.append(Batch(found))
        if len(self._batches) > self.KEPT:
            self._first += 1
            del self._batches[0]
        self._wake_readers()

    def _wake_readers(self) -> None:
        for reader in self.readers:
            reader.wake()

    def after(self, number: int) -> list[Batch] | None:
        """The batches from a number on; None if some of them are no longer kept."""
        return None if number < self._first else self._batches[number - self._first :]


def end_event(status: str) -> bytes:
    """The last event of a stream."""
    return encode_event(END, msgspec.json.encode({"status": status}))
