"""The runtime stream: numbered items, any number of readers, bounded memory.

The core numbers the items 1, 2, 3 ... The stream holds the newest `history` of them in memory. Every reader has its own
position and can start at any number, while the execution runs or after it. The policy of a reader decides what happens
when it lags by more than its `buffer` (items):

* `"block"` (default): a writer that puts an item with `await` waits before the item is accepted, so that the reader
  misses nothing;
* `"drop_oldest"`: the reader skips ahead, and gets a `StreamGap` with the numbers of the items that it missed;
* `"disconnect"`: the reader ends with `ReaderDisconnected`; a new reader can continue after its `position`.

Items that were put before a reader came do not count as its lag. The stream refers to readers weakly: a reader that was
closed early, or dropped, does not block writers.

A late reader can have its items merged (`compact=True`): a model writes its answer in thousands of deltas, and a late
reader needs only their sum. Two items can be merged if both are texts, or if both are dicts that differ only in the
text under "delta".
"""

import asyncio
import logging
import sys
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

from .._core.errors import DefinitionError, ReaderDisconnected, StreamGapError
from .options import same_value

LagPolicy = Literal["block", "drop_oldest", "disconnect"]
ItemT = TypeVar("ItemT")

logger = logging.getLogger("triggerflow")

#: A writer that has waited this long for a reader is logged, in seconds.
STUCK_SECONDS = 1.0

#: More than the number of any item.
UNLIMITED = sys.maxsize


class StreamGap:
    """What a `drop_oldest` reader gets in place of the items `first` to `last`, which it missed."""

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
    """The newest items of one execution, its readers, and the writers that wait for them."""

    __slots__ = (
        "_blockers",
        "_followers",
        "_max_items",
        "_readers_waiting",
        "_released",
        "_warned",
        "_watch",
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
        self._max_items = 2 * history
        self.items: list[Any] = []
        #: number of the oldest item in memory
        self.first = last + 1
        #: number of the newest item, 0 before the first
        self.last = last
        #: by item number: the path of the sub-flow that put the item, for items of sub-flows
        self.paths: dict[int, str] = {}
        self.ended = False
        self.failure: Callable[[], BaseException] | None = None
        self._readers_waiting: list[asyncio.Future[None]] = []
        #: the writers that wait for room, in order of arrival
        self.writers: deque[asyncio.Future[None]] = deque()
        self._blockers: dict[int, weakref.ref[StreamReader[Any]]] = {}
        #: reads a page of older items from the store: those after a given number. None without a store
        self.older: Callable[[int], Awaitable[list[StreamItem]]] | None = None
        self._followers: weakref.WeakSet[StreamReader[Any]] | None = None
        #: up to this item number, writers need not check whether the stream is `full`
        self.ceiling = UNLIMITED
        self._released = False
        self._warned = False
        #: the timer of `_warn_if_stuck`, while writers wait
        self._watch: asyncio.TimerHandle | None = None

    # -- writing -----------------------------------------------------------------------------------------------------

    def publish(self, number: int, item: Any, path: str = "") -> None:
        """Add the next item and wake the readers that wait for it."""
        items = self.items
        items.append(item)
        self.last = number
        if path:
            self.paths[number] = path
        if len(items) > self._max_items:
            self._trim()
        if self._readers_waiting:
            self._wake()

    def _trim(self) -> None:
        """Drop old items, down to `history`. Items that a blocking reader has not read stay, up to twice `history`.
        There are such items because `put_into_stream` in an async chunk does not wait for readers."""
        lacking = self.last - min((reader.position for reader in self._blocking()), default=self.last)
        keep = max(self.history, lacking) if lacking < 2 * self.history else self.history
        self.first += len(self.items) - keep
        self.paths = {number: path for number, path in self.paths.items() if number >= self.first}
        del self.items[:-keep]

    def skip_to(self, last: int) -> None:
        """Items up to number `last` exist, and are not in memory: readers get them from the store."""
        if last > self.last:
            self.items, self.paths = [], {}
            self.first, self.last = last + 1, last
            self._wake()

    def end(self, failure: Callable[[], BaseException] | None = None) -> None:
        """End the stream: after the last item readers stop, or raise the exception that `failure()` returns."""
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
        """Whether a writer has to wait now, because a blocking reader lags by its whole buffer."""
        if self.ended or self._released:
            return False
        self.ceiling = self._room_until()
        return self.last >= self.ceiling

    def _blocking(self) -> "list[StreamReader[Any]]":
        return [reader for ref in self._blockers.values() if (reader := ref()) is not None]

    async def room(self) -> None:
        """Wait until an item may be put. Writers are admitted in order of arrival, once a blocking reader has
        caught up with half of its buffer and no other one is full."""
        while self.full:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self.writers.append(future)
            if self._watch is None and not self._warned:
                self._watch = loop.call_later(STUCK_SECONDS, self._warn_if_stuck, self._slowest())
            try:
                await future
            except asyncio.CancelledError:
                # This writer was admitted, and then its task was cancelled: admit the next writer.
                if future.done() and not future.cancelled():
                    self._admit()
                raise
            finally:
                if self._watch is not None and not self.writers:
                    self._watch.cancel()
                    self._watch = None

    def _slowest(self) -> int:
        """The position of the slowest blocking reader."""
        return min((reader.position for reader in self._blocking()), default=self.last)

    def _warn_if_stuck(self, position: int) -> None:
        """Log, once, that a reader for which writers wait has taken nothing since it was at `position`.

        Such a reader may have been left with `break`. A slow reader is not logged: it moves on.
        """
        if self._slowest() > position:
            self._watch = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._warn_if_stuck, self._slowest())
            return
        self._watch, self._warned = None, True
        logger.warning(
            "a reader of the runtime stream has taken no item for %g s since item %d, and chunks wait for it with "
            "items up to %d; if the loop over the reader was left early, close the reader (`await reader.aclose()`), "
            "or read with lag='drop_oldest'",
            STUCK_SECONDS,
            position,
            self.last,
        )

    def release_writers(self) -> None:
        """Wake all waiting writers. From now on no writer waits."""
        self._released = True
        self._admit()

    def _admit(self) -> None:
        """Wake as many writers as there is room for."""
        count = len(self.writers) if self.ended or self._released else self._room_until() - self.last
        while self.writers and count > 0:
            future = self.writers.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1

    def _room_until(self) -> int:
        return min((reader.position + reader.buffer for reader in self._blocking()), default=UNLIMITED)

    # -- reading -----------------------------------------------------------------------------------------------------

    def attach(self, reader: "StreamReader[Any]") -> None:
        """Add a blocking reader: writers wait for it from now on."""
        key = id(reader)

        def gone(_: Any) -> None:
            self._blockers.pop(key, None)
            if self.writers:
                self._admit()

        self._blockers[key] = weakref.ref(reader, gone)
        self.ceiling = 0

    def follow(self, reader: "StreamReader[Any]") -> None:
        """Add a reader for which no writer waits, because it can read older items from the store."""
        if self._followers is None:
            self._followers = weakref.WeakSet()
        self._followers.add(reader)

    def detach(self, reader: "StreamReader[Any]") -> None:
        """Remove a reader that was closed."""
        if self._followers is not None:
            self._followers.discard(reader)
        if self._blockers.pop(id(reader), None) is not None and self.writers:
            self._admit()

    def advanced(self, reader: "StreamReader[Any]") -> None:
        """Called while writers wait, when a reader has taken an item or waits for the next one: admit writers if
        possible."""
        if self.last - reader.position <= reader.buffer // 2 and not self.full:
            self._admit()

    @property
    def observed(self) -> bool:
        """Whether the stream has a reader that will get the outcome of the execution."""
        return bool(self._readers_waiting or self._blockers or self._followers)

    async def more(self, timeout: float | None, what_goes_on: Callable[[], str]) -> None:
        """Wait for the next item or the end. Raises `TimeoutError` after `timeout` seconds, which says what the
        execution does meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._readers_waiting.append(future)
        timer = None if timeout is None else loop.call_later(timeout, _expire, future)
        try:
            if await future is not None:
                raise TimeoutError(f"no stream item for {timeout} s; {what_goes_on()}")
        finally:
            if timer is not None:
                timer.cancel()
            if future in self._readers_waiting:
                self._readers_waiting.remove(future)


def _expire(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_result("expired")


class StreamReader(Generic[ItemT]):
    """An async iterator over a runtime stream. `position` is the number of the last item that it returned.

    Raises `StreamGapError`, `ReaderDisconnected`, `TimeoutError` (no item within `timeout` seconds), or the failure of
    the execution after the last item.
    """

    __slots__ = (
        "__weakref__",
        "_base",
        "_begin",
        "_begun",
        "_is_plain",
        "_left",
        "_lossy",
        "_page",
        "_path",
        "_timeout",
        "_what_goes_on",
        "buffer",
        "policy",
        "position",
        "stream",
    )

    def __init__(
        self,
        stream: RuntimeStream,
        begin: "Callable[[], Awaitable[None] | None]",
        what_goes_on: Callable[[], str],
        *,
        after: int,
        timeout: float | None,
        policy: LagPolicy,
        buffer: int,
    ) -> None:
        if policy not in ("block", "drop_oldest", "disconnect"):
            raise DefinitionError(
                f"a reader's lag policy must be 'block', 'drop_oldest' or 'disconnect', not {policy!r}"
            )
        if buffer < 1 or after < 0:
            raise DefinitionError(f"a reader needs buffer >= 1 and after >= 0, got buffer={buffer}, after={after}")
        self.stream = stream
        self.policy: LagPolicy = policy
        self._lossy = policy != "block"
        # A lag beyond the history would lose items: they are no longer in memory.
        self.buffer = min(buffer, stream.history)
        self.position = after
        #: number of the last item that was put before this reader came
        self._base = 0
        self._timeout = timeout
        self._begin = begin
        self._what_goes_on = what_goes_on
        self._begun = False
        self._left = False
        #: whether the reader has begun, is not closed, and has the policy "block": it then takes items from memory
        #: directly
        self._is_plain = False
        self._page: deque[StreamItem] | None = None
        self._path = ""

    @property
    def path(self) -> str:
        """The path of the sub-flow that put the last item; "" for the flow itself."""
        return self._path if self.position < self.stream.first else self.stream.paths.get(self.position, "")

    def __aiter__(self) -> "StreamReader[ItemT]":
        return self

    async def __anext__(self) -> ItemT:
        """The next item. Stops at the end of the stream; raises the execution's failure after the last item."""
        stream, position = self.stream, self.position
        if self._is_plain and stream.first <= position + 1 <= stream.last:  # the fast path
            self.position = position = position + 1
            if stream.writers:
                stream.advanced(self)
            return stream.items[position - stream.first]
        if not self._begun:
            await self._start()
        while True:
            position = self.position
            if position < stream.last and not self._left:
                if position + 1 < stream.first and stream.older is not None:
                    return await self._from_store()
                if (self._lossy and self._lag() > self.buffer) or position + 1 < stream.first:
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
                if isinstance(
                    failure, StopAsyncIteration
                ):  # wrapped, because a bare StopAsyncIteration would look like the end of the stream
                    raise RuntimeError("a chunk raised StopAsyncIteration") from failure
                raise failure
            if stream.writers:
                stream.advanced(self)
            await stream.more(self._timeout, self._what_goes_on)

    def _lag(self) -> int:
        """The number of items that were put after this reader came and that it has not taken."""
        return self.stream.last - max(self.position, self._base)

    async def _start(self) -> None:
        self._begun = True
        self._base = self.stream.last
        if self.stream.older is not None:
            self.stream.follow(self)
        elif self.policy == "block":
            self.stream.attach(self)
        try:
            begun = self._begin()
            if begun is not None:
                await begun
            self._is_plain = not self._lossy
        except BaseException:  # the execution could not be started: the next step of the reader tries again
            self._begun = False
            self.stream.detach(self)
            raise

    async def _from_store(self) -> Any:
        held = await self.peek()
        if held is None:
            self._leave()
            raise StreamGapError(
                f"item {self.position + 1} is no longer in the store; the newest item is {self.stream.last}"
            )
        self.take(held)
        return held.item

    async def peek(self) -> StreamItem | None:
        """The next item, without taking it; None unless it is in memory or in the store already."""
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
        """Take the item that `peek` has returned."""
        if self._page and self._page[0].number == held.number:
            self._page.popleft()
        self.position, self._path = held.number, held.path
        if self.stream.writers:
            self.stream.advanced(self)

    def _behind(self) -> Any:
        """Apply the policy of a reader that lags too far, or that needs items which are no longer in memory.

        Returns a `StreamGap`, or raises `ReaderDisconnected` or `StreamGapError`.
        """
        stream = self.stream
        oldest = stream.first
        if self.policy == "drop_oldest":
            if self._lag() > self.buffer:
                oldest = max(oldest, stream.last - self.buffer + 1)
            gap = StreamGap(self.position + 1, oldest - 1)
            self.position = oldest - 1
            return gap
        self._leave()
        if self.policy == "disconnect" and self.position + 1 >= oldest:
            raise ReaderDisconnected(
                f"the reader is {self._lag()} items behind and its buffer is {self.buffer}; "
                f"read again with after={self.position}, or give the reader a larger buffer"
            )
        raise StreamGapError(
            f"items {self.position + 1} to {oldest - 1} are no longer in memory; read sooner, create the "
            f"execution with a larger stream_history, or read with lag='drop_oldest' to continue after the gap"
        )

    def _leave(self) -> None:
        self._left, self._is_plain = True, False
        self.stream.detach(self)

    async def aclose(self) -> None:
        """Close the reader before the end of the stream. The execution continues."""
        self._leave()


#: The key of the text by which items can be merged.
DELTA = "delta"


class Merged:
    """Consecutive items of one path that are merged into one."""

    __slots__ = ("_other_keys", "_parts", "_path")

    def __init__(self, first: Any, path: str) -> None:
        self._path = path
        self._other_keys, delta = _split(first)
        self._parts = [delta]

    def add(self, held: StreamItem) -> bool:
        """Merge one more item into this one; False if it cannot be merged."""
        other_keys, delta = _split(held.item)
        if (
            delta is None
            or self._parts[0] is None
            or held.path != self._path
            or not same_value(other_keys, self._other_keys)
        ):
            return False
        self._parts.append(delta)
        return True

    @property
    def item(self) -> Any:
        """The merged item."""
        text = "".join(cast("list[str]", self._parts))
        return text if self._other_keys is None else {**self._other_keys, DELTA: text}

    @property
    def single(self) -> bool:
        """Whether this is exactly one stream item, and not several merged into one."""
        return len(self._parts) == 1


def _split(item: Any) -> tuple[dict[Any, Any] | None, str | None]:
    """Split an item into its other keys and its text. The keys are None for a text; both are None for an item without
    text."""
    if type(item) is str:
        return None, item
    if type(item) is dict and type(cast("dict[Any, Any]", item).get(DELTA)) is str:
        fields = cast("dict[Any, Any]", item)
        return {key: value for key, value in fields.items() if key != DELTA}, fields[DELTA]
    return None, None


async def merge(
    first: Any, path: str, peek: Callable[[], Awaitable[StreamItem | None]], take: Callable[[StreamItem], None]
) -> Any:
    """Merge `first` with the items that follow it, as far as they are available now and can be merged.

    `peek` returns the next item without taking it, None if there is none yet.
    """
    merged = Merged(first, path)
    while (held := await peek()) is not None and merged.add(held):
        take(held)
    return first if merged.single else merged.item


class CompactReader(StreamReader[ItemT]):
    """A reader that merges items which were put before it asks for them; see `StreamReader`."""

    __slots__ = ()

    async def __anext__(self) -> ItemT:
        """The next item, or several merged into one. `position` is the number of the last of them."""
        before = self.position
        first = await super().__anext__()
        try:
            return await merge(first, self.path, self.peek, self.take)
        except BaseException:  # no item was returned: a new reader that starts at this position misses nothing
            self.position = before
            raise
