"""Sources of a lazy `for_each`: they read the items, by one *feed* for each open source.

* A collection in memory (a set, a view of a dict, an iterator of a list ...) is read on the event loop.
* A sync iterable is read in a thread, because each item may take long. It has one thread for its whole life, because
  its objects may belong to a thread. The thread reads ahead of the loop, as many items as the core has asked for.
* An async iterable is read in a task. It has one task for its whole life, so that time-outs, task groups and context
  variables may span several items. The task reads an item only when the core asks for one.

A source that is not read to its end is closed, in its thread or task, before the execution ends. So its cursor, file or
connection is released. An exception raised while a source closes is logged.

A feed without a pending pull does not refer to its execution: an execution that its owner has dropped can be collected,
and its feeds are closed then.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import Context
from itertools import islice
from threading import Condition
from typing import Any, ParamSpec, Protocol, TypeVar, cast
from weakref import ref

from .._core.errors import ExecutionClosed, ExecutionSuspended, StoreError
from .._core.frozen import FrozenSet
from .._core.state import BlockInstance
from .._core.values import has_method
from ..run.threads import ThreadCall, pool, waiting_inside_engine
from .tasks import destroy, start_task

logger = logging.getLogger("triggerflow")

P = ParamSpec("P")
T = TypeVar("T")
#: The next items, whether there are no more, and the exception that the source has raised.
_Items = tuple[list[Any], bool, BaseException | None]
#: Called with the next items, whether there are no more, and the exception that the source has raised.
Reply = Callable[[list[Any], bool, BaseException | None], None]


#: Awaits a call when nothing else that may end the process begins at the same time; see `Durability.alone`.
Alone = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class Sources:
    """The feeds of one execution."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        base: Context,
        name: str,
        seconds: float,
        pulled: Callable[[BlockInstance, list[Any], bool, BaseException | None], None],
        cancelled: Callable[[str], None],
    ) -> None:
        """`seconds` limits how long closing may take. `pulled` is called with the items of a pull. `cancelled` is
        called with the reason when the task of a source is cancelled, but not by the driver."""
        self.seconds = seconds
        self._loop = loop
        self._base = base
        self._name = name
        self._pulled = pulled
        self._cancelled = cancelled
        self._feeds: dict[int, _Feed] = {}
        #: the tasks and threads that are closing their sources, each with a description of the source
        self._closing: dict[asyncio.Future[Any], str] = {}
        self._closing_since = 0.0

    def pull(
        self, instance: BlockInstance, count: int, error: BaseException | None = None, alone: Alone | None = None
    ) -> None:
        """Ask for at most `count` next items of a block instance. A block instance has one pull at a time.

        `error`: the source is not opened any more, and fails with this. `alone`: the source may be what has ended
        earlier processes; this begins it as the only suspect."""
        feed = self._feeds.get(instance.id)
        if feed is None:
            feed = self._open(instance) if error is None else _InMemory(self._loop, self._base, (), 0, error)
            if alone is not None:
                feed = _Suspect(self._loop, self._base, feed, alone)
            self._feeds[instance.id] = feed

        def reply(items: list[Any], done: bool, error: BaseException | None) -> None:
            if self._feeds.get(instance.id) is not feed:  # the feed was stopped before its items came
                return
            if done or error is not None:
                del self._feeds[instance.id]
            self._pulled(instance, items, done, error)

        feed.ask(count, reply)

    def _open(self, instance: BlockInstance) -> "_Feed":
        source, what = instance.source, f"the items of {instance.node.id!r} of {self._name}"
        # After a load, a source that can be read again continues after the items that were taken before.
        passed = instance.next + len(instance.pulled or ())
        if type(source) in _IN_MEMORY:
            return _InMemory(self._loop, self._base, source, passed)
        try:
            is_one_item = _is_one_item(source)
        except Exception as error:
            return _InMemory(self._loop, self._base, (), passed, error)
        if is_one_item:
            return _InMemory(self._loop, self._base, (source,), passed)
        if has_method(source, "__aiter__"):
            return _InTask(self._loop, self._base, source, passed, what, ref(self))
        return _InThread(self._loop, self._base, source, passed, what, ref(self))

    def stop(self, instance: BlockInstance) -> None:
        """Close the source of a block instance that needs no more items."""
        feed = self._feeds.pop(instance.id, None)
        if feed is not None:
            self._close(feed)

    def close(self) -> None:
        """Close all sources."""
        self._closing_since = self._closing_since or self._loop.time()
        while self._feeds:
            self._close(self._feeds.popitem()[1])

    def _close(self, feed: "_Feed") -> None:
        closing = feed.stop()
        if closing is not None:
            self._closing[closing] = feed.what
            closing.add_done_callback(self._closed)

    def _closed(self, closing: "asyncio.Future[Any]") -> None:
        self._closing.pop(closing, None)

    @property
    def are_closed(self) -> bool:
        """Whether no source is still closing."""
        return not self._closing

    @property
    def stopping(self) -> "list[asyncio.Task[None]]":
        """The tasks that are closing sources."""
        return [it for it in self._closing if isinstance(it, asyncio.Task)]

    async def closed(self) -> None:
        """Wait until all sources are closed, or their time for that is over."""
        closing = dict(self._closing)
        left = self._closing_since + self.seconds - self._loop.time()
        if closing:
            _, late = await asyncio.wait(closing, timeout=max(0.0, left))
            for what in map(closing.__getitem__, late):
                logger.warning("%s: not closed within %s s; the execution ends without it", what, self.seconds)

    def destroy(self) -> None:
        """Drop all feeds, because the event loop is closed and can run nothing more."""
        for feed in self._feeds.values():
            feed.forget()
        self._feeds = {}

    def lost(self, what: str) -> None:
        """The task of a source was cancelled, but not by the driver."""
        self._cancelled(
            f"the task of {what} was cancelled: its event loop shuts down, or the source cancelled its own task"
        )

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be about to end
            for feed in self._feeds.values():
                feed.forget()


class _Feed(Protocol):
    """One open source."""

    what: str

    def ask(self, count: int, reply: Reply) -> None:
        """Call `reply` with the next items, later and on the event loop."""
        ...

    def stop(self) -> "asyncio.Future[Any] | None":
        """Close the source. Returns a future that is done when it is closed; None if it is closed already."""
        ...

    def forget(self) -> None:
        """Start to close the source, without waiting for it. May be called from any thread."""
        ...


# -- in memory ---------------------------------------------------------------------------------------------------------


class _InMemory:
    """A source whose items are in memory."""

    what = ""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        base: Context,
        source: Any,
        passed: int,
        error: BaseException | None = None,
    ) -> None:
        self._loop = loop
        self._base = base
        self._source = source
        self._passed = passed
        self._error = error
        self._iterator: Any = None

    def ask(self, count: int, reply: Reply) -> None:
        self._loop.call_soon(self._give, count, reply, context=self._base.copy())

    def _give(self, count: int, reply: Reply) -> None:
        items, error = list[Any](), self._error
        try:
            if self._iterator is None:
                self._iterator = islice(_in_order(self._source), self._passed, None)
            items += islice(self._iterator, count)
        except Exception as raised:  # the items of a set are compared, which may raise
            error = raised
        reply(items, len(items) < count and error is None, error)

    def stop(self) -> None:
        return None

    def forget(self) -> None:
        pass


# -- one that may end the process --------------------------------------------------------------------------------------


class _Suspect:
    """A source that may be what has ended earlier processes: it is first asked when no other suspect runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, base: Context, feed: _Feed, alone: Alone) -> None:
        self.what = feed.what
        self._loop = loop
        self._base = base
        self._feed = feed
        self._alone: Alone | None = alone
        self._waiting: asyncio.Task[None] | None = None

    def ask(self, count: int, reply: Reply) -> None:
        alone, self._alone = self._alone, None
        if alone is None:
            self._feed.ask(count, reply)
        else:
            self._waiting = start_task(self._loop, self._begin(alone, count, reply), self._base.copy(), quiet=True)

    async def _begin(self, alone: Alone, count: int, reply: Reply) -> None:
        answered: asyncio.Future[None] = self._loop.create_future()

        def answer(*items: Any) -> None:
            if not answered.done():
                answered.set_result(None)
            reply(*items)

        async def ask() -> None:
            self._feed.ask(count, answer)
            await answered

        with suppress(ExecutionClosed, ExecutionSuspended, StoreError):  # the execution does not run here any more
            await alone(ask)

    def stop(self) -> "asyncio.Future[Any] | None":
        if self._waiting is not None:
            self._waiting.cancel()
        return self._feed.stop()

    def forget(self) -> None:
        if self._waiting is not None:
            destroy([self._waiting])
        self._feed.forget()


# -- in a task ---------------------------------------------------------------------------------------------------------

#: Feeds without a pending pull, and those that are closing: the event loop itself refers to tasks only weakly.
_alive: set["_InTask"] = set()
_check_at = 64


def _forget_closed_loops() -> None:
    """Forget feeds whose event loop was closed meanwhile; checked when their number has doubled."""
    global _check_at
    if len(_alive) < _check_at:
        return
    for feed in list(_alive):
        feed.forget_if_closed()
    _check_at = max(64, 2 * len(_alive))


class _InTask:
    """An async iterable, in a task of its own."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        base: Context,
        source: Any,
        passed: int,
        what: str,
        owner: "ref[Sources]",
    ) -> None:
        self.what = what
        self._loop = loop
        self._base = base
        self._source = source
        self._passed = passed
        self._owner = owner
        self._task: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        #: what no pull has asked for yet: a source may end or raise while its task waits for a pull
        self._replies: deque[_Items] = deque()
        #: the future on which the task waits while there is no pull
        self._turn: asyncio.Future[None] | None = None
        self._stopping = False
        #: whether the source is being closed
        self._closes = False

    def ask(self, count: int, reply: Reply) -> None:
        self._reply = reply
        _alive.discard(self)  # while it reads an item, the future that its task awaits refers to it
        if self._replies:
            self._give()
        elif self._task is None:
            _forget_closed_loops()
            self._task = start_task(self._loop, self._run(), self._base.copy(), quiet=True)
            self._task.add_done_callback(self._ended)
        elif self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _deliver(self, items: list[Any], done: bool, error: BaseException | None) -> None:
        self._replies.append((items, done, error))
        if self._reply is not None:
            self._give()

    def _give(self) -> None:
        """Reply from the loop, not from the task: the code that follows must not run in the context of the source."""
        reply, self._reply = self._reply, None
        assert reply is not None
        self._loop.call_soon(reply, *self._replies.popleft(), context=self._base.copy())
        if self._task is not None and not self._task.done():
            _alive.add(self)

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        iterator: Any = None
        try:
            iterator = aiter(self._source)
            for _ in range(self._passed):
                await anext(iterator)
            while await self._asked(iterator):
                item = await anext(iterator)
                if task.cancelling() and not self._stopping:  # the source has caught the CancelledError
                    raise asyncio.CancelledError
                self._deliver([item], False, None)
        except StopAsyncIteration:
            self._deliver([], True, None)
            return
        except GeneratorExit:  # the event loop is closed
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                if not self._stopping and not task.cancelling():
                    self._deliver([], False, error)
                    return
            elif not self._stopping:
                self._deliver([], False, error)
                return
            else:
                logger.warning("%s: closing failed", self.what, exc_info=error)
        self._closes = True
        if not self._stopping:
            owner = self._owner()
            if owner is not None:
                owner.lost(self.what)
            del owner
        await self._close(iterator)

    async def _asked(self, iterator: Any) -> bool:
        """Wait until a pull asks for an item; False if the source has to close."""
        while not self._stopping and self._reply is None:
            self._turn = self._loop.create_future()
            try:
                await self._turn
            except asyncio.CancelledError:
                if self._stopping:
                    return False
                # A time-out or task group inside the generator has cancelled this task. So raise at its `yield`.
                if not hasattr(iterator, "athrow"):
                    raise
                item = await iterator.athrow(asyncio.CancelledError())
                if cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
                    raise
                self._deliver([item], False, None)
        return not self._stopping

    async def _close(self, iterator: Any) -> None:
        if not hasattr(iterator, "aclose"):
            return
        try:
            await iterator.aclose()
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:
            logger.warning("%s: closing failed", self.what, exc_info=error)

    def stop(self) -> "asyncio.Future[Any] | None":
        self._stopping, self._reply = True, None
        task = self._task
        if task is None or task.done():
            _alive.discard(self)
            return None
        _alive.add(self)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)
        elif not self._closes and not task.cancelling():  # the source is closing already: do not interrupt its clean-up
            task.cancel()
        return task

    def forget(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.stop)
            return
        self.forget_if_closed()

    def forget_if_closed(self) -> None:
        """Drop the feed if its loop is closed: its task can never run again."""
        if self._loop.is_closed():
            _alive.discard(self)
            if self._task is not None:
                destroy([self._task])

    def _ended(self, task: "asyncio.Task[None]") -> None:
        _alive.discard(self)
        if not task.cancelled():
            task.exception()


# -- in a thread -------------------------------------------------------------------------------------------------------


class _InThread:
    """A sync iterable in a thread of its own, as the event loop sees it.

    A task watches the thread. A loop that shuts down cancels the task; the task then closes the source and waits
    until it is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        base: Context,
        source: Any,
        passed: int,
        what: str,
        owner: "ref[Sources]",
    ) -> None:
        self.what = what
        self._loop = loop
        self._base = base
        self._owner = owner
        self._call = ThreadCall(what, loop)
        self._reader = _Reader(source, passed, base.copy(), what)
        self._watching: asyncio.Task[None] | None = None
        self._over: asyncio.Future[None] = loop.create_future()
        self._asking: asyncio.Future[Any] | None = None
        self._stopping = self._closes = False

    def ask(self, count: int, reply: Reply) -> None:
        reader = self._reader
        reader.allow(count)
        if self._watching is None:
            try:
                pool().start(lambda: self._call.run(Context(), reader.run, None))
            except RuntimeError as error:  # no thread can be made
                self._loop.call_soon(reply, list[Any](), False, error, context=self._base.copy())
                return
            self._watching = start_task(self._loop, self._watch(), self._base.copy(), quiet=True)
        if reader.ready:
            self._loop.call_soon(self._give, reply, context=self._base.copy())
            return
        # By `run_in_executor`, so that the event loop (such as one with virtual time) knows that a thread works for it.
        asking = self._asking = self._loop.run_in_executor(reader.for_items, reader.take)

        def arrived(asking: "asyncio.Future[_Items]") -> None:
            self._asking = None
            if not asking.cancelled():
                self._reply(reply, asking.result())

        asking.add_done_callback(arrived, context=self._base.copy())

    def _give(self, reply: Reply) -> None:
        self._reply(reply, self._reader.take())

    def _reply(self, reply: Reply, found: "_Items") -> None:
        if found[1] or found[2] is not None:
            self._end()
        reply(*found)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def _watch(self) -> None:
        try:
            await self._over
            if self._stopping:
                await self._closed()
        except asyncio.CancelledError:  # the loop shuts down, and waits for this task
            self._stop()
            owner, seconds = self._owner(), 0.0
            if owner is not None:
                seconds = owner.seconds
                if not self._stopping:
                    self._closes = True
                    owner.lost(self.what)
            del owner
            await asyncio.wait((self._closed(),), timeout=seconds)

    def _closed(self) -> "asyncio.Future[None]":
        return self._loop.run_in_executor(self._reader.for_end, _nothing)

    def _stop(self) -> None:
        self._reader.stop()
        self._call.interrupt()
        if self._asking is not None:
            self._asking.cancel()

    def stop(self) -> "asyncio.Future[Any] | None":
        self._stopping = True
        self._stop()
        if not self._closes:
            self._end()
        if self._watching is None or self._watching.done() or self._reader.has_ended:
            return None
        return self._watching

    def forget(self) -> None:
        self._reader.stop()


class _Reader:
    """The part that runs in the thread: reads while there is room, and closes the iterable. It uses no event loop."""

    def __init__(self, source: Any, passed: int, context: Context, what: str) -> None:
        self._source: Any = source
        self._passed = passed
        self._context = context
        self._what = what
        self._changed = Condition()
        self._items: deque[Any] = deque()
        #: how many more items the thread may put into the buffer; 0 until items are requested
        self._room = 0
        self._done = False
        self._error: BaseException | None = None
        self._stopping = False
        self.has_ended = False
        self.for_items = _Requests(self._changed, lambda: self.ready)
        self.for_end = _Requests(self._changed, lambda: self.has_ended)

    # -- for the event loop

    @property
    def ready(self) -> bool:
        """Whether there are items, an end or an exception to take."""
        return bool(self._items) or self._done or self._error is not None

    def allow(self, count: int) -> None:
        """Read until `count` items are buffered."""
        with self._changed:
            self._room = count
            self._changed.notify_all()

    def take(self) -> _Items:
        """Take the buffered items. Returns them, whether there are no more, and the exception raised after them."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            self._room -= len(items)
            return items, self._done, None if items else self._error

    def stop(self) -> None:
        """Close the iterable, once it has returned from reading an item."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    # -- the thread

    def run(self, _: Any) -> None:
        try:
            self._context.run(self._read)
        finally:
            with self._changed:
                self._source, self.has_ended = None, True
            self.for_end.serve()

    def _read(self) -> None:
        iterator: Any = None
        try:
            iterator = iter(self._source)
            ahead = islice(iterator, self._passed, None)
            while self._has_room():
                item = next(ahead, _END)
                if item is _END:
                    self._end(None)
                    return
                with self._changed:
                    self._items.append(item)
                item = None
                self.for_items.serve()
        except BaseException as error:
            self._end(error)
            return
        try:
            if hasattr(iterator, "close"):
                iterator.close()
        except BaseException as error:
            logger.warning("%s: closing failed", self._what, exc_info=error)

    def _has_room(self) -> bool:
        with self._changed:
            if self._stopping or len(self._items) < self._room:
                return not self._stopping
        # The lock of the pool is taken before `_changed`, never after it: the garbage collector may call `stop`, which
        # takes `_changed`, in a thread that holds the lock of the pool.
        with waiting_inside_engine(), self._changed:
            self._changed.wait_for(lambda: self._stopping or len(self._items) < self._room)
            return not self._stopping

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._done, self._error = error is None, error
        self.for_items.serve()


class _Requests(Executor):
    """Requests of an event loop to a reader: each call is made in the reader's thread, once the condition holds."""

    def __init__(self, changed: Condition, holds: Callable[[], bool]) -> None:
        self._changed = changed
        self._holds = holds
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        with self._changed:
            self._waiting.append((future, lambda: fn(*args, **kwargs)))
            holds = self._holds()
        if holds:
            self.serve()
        return future

    def serve(self) -> None:
        with self._changed:
            waiting, self._waiting = (self._waiting, []) if self._holds() else ([], self._waiting)
        for future, call in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)


_END: Any = object()


def _nothing() -> None:
    pass


def _is_one_item(source: Any) -> bool:
    """Whether a source counts as one item. The core looks only at its type; this calls user code, and may raise."""
    return isinstance(source, str | bytes | bytearray | Mapping) or hasattr(source.__class__, "model_fields")


def _in_order(source: Any) -> Iterable[Any]:
    """Return the source, a set as a sorted list, because the order of a set differs in another process after a load."""
    return sorted(cast("set[Any]", source), key=_rank) if isinstance(source, set | frozenset) else source


def _rank(item: Any) -> tuple[str, Any]:
    """A key that sorts items of any types. For values that can be recorded, the order is the same in every process."""
    kind = cast("type[Any]", type(item))
    if kind in (str, int, float, bool, bytes):
        return kind.__name__, item
    if isinstance(item, tuple | frozenset):
        parts = [_rank(part) for part in cast("tuple[Any, ...]", item)]
        return kind.__name__, sorted(parts) if kind is frozenset else parts
    return kind.__qualname__, repr(item)


def _in_memory() -> frozenset[type[Any]]:
    dicts: list[Any] = [{}, OrderedDict()]
    views: list[Any] = [view for it in dicts for view in (it.keys(), it.values(), it.items())]
    iterable: list[Any] = [[], (), range(0), range(2**70), set(), deque(), "", b"", *dicts, *views]
    reversible: list[Any] = [[], deque(), *dicts, *views]
    iterators: list[Any] = [*map(iter, iterable), *map(reversed, reversible)]
    return frozenset({set, frozenset, FrozenSet, deque, *map(type, views), *map(type, iterators)})


#: Types of iterables whose items are in memory, and whose iteration runs no user code. (Lists, tuples and
#: ranges are read by the core.)
_IN_MEMORY = _in_memory()
