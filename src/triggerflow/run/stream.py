"""The runtime stream: numbered items, any number of readers, bounded memory.

Items are numbered 1, 2, 3 ... by the core. The stream holds the newest `history` of them; every reader has a position
of its own and reads from any number on, while the execution runs or after it. What happens to a reader that lags by
more than its `buffer` is its declared policy:

* `"block"` (default): chunks that put with `await` wait for it, so that it misses nothing;
* `"drop_oldest"`: it skips ahead, and gets a `StreamGap` that says what it missed;
* `"disconnect"`: it ends with `ReaderDisconnected`; its `position` is where to come back.

A reader is referred to weakly: one that is left early, or forgotten, holds nobody up.
"""

import asyncio
import sys
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from .._core.errors import DefinitionError, ReaderDisconnected, StreamGapError

LagPolicy = Literal["block", "drop_oldest", "disconnect"]
ItemT = TypeVar("ItemT")

#: More than the number of any item.
NEVER = sys.maxsize


class StreamGap:
    """In place of the items `first` to `last`, which a `drop_oldest` reader did not get."""

    __slots__ = ("first", "last")

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last

    def __repr__(self) -> str:
        return f"<StreamGap {self.first}..{self.last}>"


class StreamItem(NamedTuple):
    """An item with its number, and the path of the sub-flow it comes from."""

    number: int
    item: Any
    path: str


class RuntimeStream:
    """The items of one execution that are still held, and who waits for more."""

    __slots__ = (
        "_blockers",
        "_followers",
        "_readers_waiting",
        "_released",
        "ceiling",
        "ended",
        "failure",
        "first",
        "history",
        "items",
        "last",
        "older",
        "paths",
        "writers",
    )

    def __init__(self, history: int, last: int = 0) -> None:
        self.history = history
        self.items: list[Any] = []
        #: number of the oldest item held
        self.first = last + 1
        #: number of the newest item, 0 before the first
        self.last = last
        #: where items of sub-flows come from, by number
        self.paths: dict[int, str] = {}
        self.ended = False
        self.failure: Callable[[], BaseException] | None = None
        self._readers_waiting: list[asyncio.Future[None]] = []
        self.writers: list[asyncio.Future[None]] = []
        self._blockers: dict[int, weakref.ref[StreamReader[Any]]] = {}
        #: where items are that are no longer held: some that follow a number. None: nowhere
        self.older: Callable[[int], Awaitable[list[StreamItem]]] | None = None
        self._followers: weakref.WeakSet[StreamReader[Any]] | None = None
        #: from this number on, writers have to ask whether the stream is `full`
        self.ceiling = NEVER
        self._released = False

    # -- writing -----------------------------------------------------------------------------------------------------

    def publish(self, number: int, item: Any, path: str = "") -> None:
        """Add the next item and wake the readers that wait for it."""
        if path:
            self.paths[number] = path
        items = self.items
        items.append(item)
        self.last = number
        if len(items) > 2 * self.history:
            self.first += len(items) - self.history
            self.paths = {number: path for number, path in self.paths.items() if number >= self.first}
            del items[: -self.history]
        if self._readers_waiting:
            self._wake()

    def rebase(self, last: int) -> None:
        """Before the first item: the items up to number `last` are not held here."""
        self.first, self.last = last + 1, last

    def end(self, failure: Callable[[], BaseException] | None = None) -> None:
        """No item will follow; after the last one readers stop, or raise what `failure` gives."""
        if not self.ended:
            self.ended = True
            self.failure = failure
            self._wake()
            self._admit()

    def _wake(self) -> None:
        waiting, self._readers_waiting = self._readers_waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    @property
    def full(self) -> bool:
        """Whether a writer should wait now: a blocking reader lags by its whole buffer."""
        if self.ended or self._released:
            return False
        self.ceiling = self._room_until()
        return self.last >= self.ceiling

    def _room_until(self) -> int:
        readers = [reader for ref in self._blockers.values() if (reader := ref()) is not None]
        return min((reader.position + reader.buffer for reader in readers), default=NEVER)

    async def room(self) -> None:
        """Wait until every blocking reader has caught up with half of its buffer."""
        while self.full:
            future = asyncio.get_running_loop().create_future()
            self.writers.append(future)
            await future

    def release_writers(self) -> None:
        """From now on no writer waits."""
        self._released = True
        self._admit()

    def _admit(self) -> None:
        writers, self.writers = self.writers, []
        for future in writers:
            if not future.done():
                future.set_result(None)

    # -- reading -----------------------------------------------------------------------------------------------------

    def attach(self, reader: "StreamReader[Any]") -> None:
        """Count a blocking reader among those that writers wait for."""
        key = id(reader)

        def gone(_: Any) -> None:
            self._blockers.pop(key, None)
            if self.writers:
                self._admit()

        self._blockers[key] = weakref.ref(reader, gone)
        self.ceiling = 0

    def follow(self, reader: "StreamReader[Any]") -> None:
        """Know of a reader for whom nobody waits: what it misses is in a store."""
        if self._followers is None:
            self._followers = weakref.WeakSet()
        self._followers.add(reader)

    def detach(self, reader: "StreamReader[Any]") -> None:
        """The reader has left."""
        if self._followers is not None:
            self._followers.discard(reader)
        if self._blockers.pop(id(reader), None) is not None and self.writers:
            self._admit()

    def advanced(self, reader: "StreamReader[Any]") -> None:
        """The reader has taken an item while writers wait."""
        if self.writers and self.last - reader.position <= reader.buffer // 2:
            self.ceiling = 0
            if not self.full:
                self._admit()

    @property
    def observed(self) -> bool:
        """Whether a reader is there now that will be told how the execution ended."""
        return bool(self._readers_waiting or self._blockers or self._followers)

    async def more(self, timeout: float | None) -> None:
        """Wait for the next item or the end. Raises `TimeoutError` after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._readers_waiting.append(future)
        timer = None if timeout is None else loop.call_later(timeout, _expire, future)
        try:
            if await future is not None:
                raise TimeoutError(f"no stream item for {timeout} s")
        finally:
            if timer is not None:
                timer.cancel()
            if future in self._readers_waiting:
                self._readers_waiting.remove(future)


def _expire(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_result("expired")


class StreamReader(Generic[ItemT]):
    """An async iterator over a runtime stream. `position` is the number of the last item it gave."""

    __slots__ = (
        "__weakref__",
        "_begin",
        "_begun",
        "_left",
        "_lossy",
        "_page",
        "_path",
        "_timeout",
        "buffer",
        "policy",
        "position",
        "stream",
    )

    def __init__(
        self,
        stream: RuntimeStream,
        begin: "Callable[[], Awaitable[None] | None]",
        *,
        after: int,
        timeout: float | None,
        policy: LagPolicy,
        buffer: int,
    ) -> None:
        if policy not in ("block", "drop_oldest", "disconnect"):
            raise DefinitionError(f"a reader's lag policy is 'block', 'drop_oldest' or 'disconnect', not {policy!r}")
        if buffer < 1 or after < 0:
            raise DefinitionError(f"a reader needs buffer >= 1 and after >= 0, got buffer={buffer}, after={after}")
        self.stream = stream
        self.policy: LagPolicy = policy
        self._lossy = policy != "block"
        # Beyond the history nothing is held that a reader could still be given.
        self.buffer = min(buffer, stream.history)
        self.position = after
        self._timeout = timeout
        self._begin = begin
        self._begun = False
        self._left = False
        self._page: deque[StreamItem] | None = None
        self._path = ""

    @property
    def path(self) -> str:
        """Where the last item comes from: the path of a sub-flow, "" for the flow itself."""
        return self._path if self.position < self.stream.first else self.stream.paths.get(self.position, "")

    def __aiter__(self) -> "StreamReader[ItemT]":
        return self

    async def __anext__(self) -> ItemT:
        """The next item. Ends with the stream; raises the execution's failure after the last item."""
        stream = self.stream
        if not self._begun:
            await self._start()
        while True:
            position = self.position
            if position < stream.last and not self._left:
                if position + 1 < stream.first and stream.older is not None:
                    return await self._from_store()
                if (self._lossy and stream.last - position > self.buffer) or position + 1 < stream.first:
                    gap = self._behind()
                    if gap is not None:
                        return gap
                    position = self.position
                self.position = position = position + 1
                if stream.writers:
                    stream.advanced(self)
                return stream.items[position - stream.first]
            if self._left:
                raise StopAsyncIteration
            if stream.ended:
                self._leave()
                if stream.failure is None:
                    raise StopAsyncIteration
                failure = stream.failure()
                if isinstance(failure, StopAsyncIteration):  # raised as it is, it would pass for the end
                    raise RuntimeError("a chunk raised StopAsyncIteration") from failure
                raise failure
            await stream.more(self._timeout)

    async def _start(self) -> None:
        self._begun = True
        if self.stream.older is not None:
            self.stream.follow(self)
        elif self.policy == "block":
            self.stream.attach(self)
        try:
            begun = self._begin()
            if begun is not None:
                await begun
        except BaseException:  # nothing will come of it: the next use tries again
            self._begun = False
            self.stream.detach(self)
            raise

    async def _from_store(self) -> Any:
        held = await self.peek()
        if held is None:
            self._leave()
            raise StreamGapError(f"item {self.position + 1} is not in the store any more")
        self.take(held)
        return held.item

    async def peek(self) -> StreamItem | None:
        """The next item if it is there already, in memory or in the store; it is not taken."""
        stream, number = self.stream, self.position + 1
        if number > stream.last or self._left:
            return None
        if number >= stream.first:
            return StreamItem(number, stream.items[number - stream.first], stream.paths.get(number, ""))
        if stream.older is None:
            return None
        if not self._page or self._page[0].number != number:
            self._page = deque(await stream.older(self.position))
        return self._page[0] if self._page and self._page[0].number == number else None

    def take(self, held: StreamItem) -> None:
        """Go on after the item that `peek` has told."""
        if self._page and self._page[0].number == held.number:
            self._page.popleft()
        self.position, self._path = held.number, held.path
        if self.stream.writers:
            self.stream.advanced(self)

    def _behind(self) -> Any:
        """This reader has lagged too far, or asks for items that are no longer held."""
        stream = self.stream
        oldest = stream.first
        if self.policy == "drop_oldest":
            oldest = max(oldest, stream.last - self.buffer + 1)
            gap = StreamGap(self.position + 1, oldest - 1)
            self.position = oldest - 1
            return gap
        self._leave()
        if self.policy == "disconnect" and self.position + 1 >= oldest:
            raise ReaderDisconnected(
                f"the reader is {stream.last - self.position} items behind and its buffer is {self.buffer}; "
                f"come back with after={self.position}"
            )
        raise StreamGapError(
            f"items {self.position + 1} to {oldest - 1} are no longer held; read sooner, give the execution a larger "
            f"stream_history, or read with lag='drop_oldest' to go on after the gap"
        )

    def _leave(self) -> None:
        self._left = True
        self.stream.detach(self)

    async def aclose(self) -> None:
        """Leave the stream early; the execution goes on."""
        self._leave()
