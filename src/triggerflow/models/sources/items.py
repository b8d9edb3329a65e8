"""Any source of a model's answer, opened, and read item by item.

A source is an iterator, async or sync, a context manager that gives one, or a coroutine or a function without arguments
that returns one. Async iterators are read on the event loop. A sync iterator may block on a socket, so it is read in a
thread of its own, which takes an item only when the reader asks for one. Lists, tuples and strings cannot block and are
read on the event loop.

A reader that stops early closes the source: the iterator first, then the object that it came from, because the streams
of the SDKs hold their HTTP response there. A busy sync source is closed by its thread when its call returns.
"""

import asyncio
import inspect
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from ..shapes import Delta
from .http import response_of, watched, watched_sync

Source = Any
"""An (async) iterable of text, bytes or chunks; a coroutine that returns one; or a function that returns either."""

_END = object()


@dataclass(frozen=True, slots=True)
class Relayed:
    """A source that reads another one with `read_deltas` and changes its deltas.

    `read` returns the deltas; its argument is the function to call for signs of life.
    """

    read: Callable[[Callable[[], None]], AsyncGenerator[Delta, None]]


@asynccontextmanager
async def opened(source: Source, alive: Callable[[], None]) -> AsyncGenerator[AsyncIterator[Any], None]:
    """The items of a source, which is closed at the end. `alive` is called for signs of life.

    Raises `TypeError` for an object that is not a source. Opening and reading raise the exceptions of the source.
    """
    found = await _open(source)
    items = _items(found, alive)
    try:
        yield items
    finally:
        try:
            await _close(items)
        finally:
            if isinstance(found, AsyncIterable):  # the thread of a sync source has closed it already
                await _close(found)


def is_function(source: Source) -> bool:
    """Whether it is called to get a source; an iterable that happens to be callable is not."""
    return callable(source) and not hasattr(source, "__aiter__") and not hasattr(source, "__iter__")


async def _open(source: Source) -> Any:
    while True:
        if inspect.isawaitable(source):
            source = await source
        elif is_function(source):
            source = source()
        else:
            return source


def _items(opened: Any, alive: Callable[[], None]) -> Any:
    kind = type(opened).__name__
    if isinstance(opened, Relayed):
        return opened.read(alive)
    if isinstance(opened, AsyncIterable):
        return _stream(cast("AsyncIterable[Any]", opened), alive)
    if isinstance(opened, str | bytes):
        return _inline((opened,))
    if isinstance(opened, list | tuple):
        return _inline(cast("list[Any]", opened))
    if isinstance(opened, Iterable) and not isinstance(opened, dict):
        stream = cast("Iterable[Any]", opened)
        return _threaded(stream, lambda: _sync_stream(stream, alive))
    if hasattr(cast("object", opened), "__aenter__"):
        return _entered(opened, alive)
    if hasattr(cast("object", opened), "__enter__"):
        entered = _sync_entered(opened, alive)
        return _threaded(entered, lambda: entered)
    raise TypeError(
        f"a response can be read from an async or sync iterator of text or chunks, from a coroutine that returns one,"
        f" or from a function that does, not from {kind}"
    )


def _stream(stream: AsyncIterable[Any], alive: Callable[[], None]) -> Any:
    response = response_of(stream)
    return aiter(stream) if response is None else watched(stream, response, alive)


def _sync_stream(stream: Iterable[Any], alive: Callable[[], None]) -> Iterable[Any]:
    response = response_of(stream)
    return stream if response is None else watched_sync(stream, response, alive)


async def _entered(manager: Any, alive: Callable[[], None]) -> AsyncGenerator[Any, None]:
    """The items of the stream that a context manager gives, as the stream helpers of the SDKs are."""
    async with manager as stream:
        items = _stream(stream, alive)
        try:
            async for item in items:
                yield item
        finally:
            await _close(items)


def _sync_entered(manager: Any, alive: Callable[[], None]) -> Generator[Any, None, None]:
    with manager as stream:
        yield from _sync_stream(stream, alive)


async def _inline(items: Iterable[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item


async def _threaded(iterable: Iterable[Any], read: Callable[[], Iterable[Any]]) -> AsyncGenerator[Any, None]:
    """Read an iterable in a thread of its own. In a thread pool, sources that stall could occupy all threads.

    `read` returns what yields its items; the iterable is closed at the end.
    """
    loop = asyncio.get_running_loop()
    asked: queue.SimpleQueue[asyncio.Future[Any] | None] = queue.SimpleQueue()

    def answer(request: asyncio.Future[Any], item: Any, error: BaseException | None) -> None:
        if request.cancelled():
            return
        if error is None:
            request.set_result(item)
        else:
            request.set_exception(error)

    def work() -> None:
        try:
            items: Iterator[Any] | None = None
            while (request := asked.get()) is not None:
                item, error = _END, None
                try:
                    items = iter(read()) if items is None else items
                    item = next(items, _END)
                except BaseException as raised:  # any exception: it is raised in the reader that waits for the item
                    error = raised
                    if isinstance(raised, StopIteration | GeneratorExit):  # a future and a generator take neither
                        error = RuntimeError(f"the source of the response raised {raised!r}")
                        error.__cause__ = raised
                with suppress(RuntimeError):  # the loop was closed meanwhile, so no reader waits
                    loop.call_soon_threadsafe(answer, request, item, error)
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

    threading.Thread(target=work, name="triggerflow-source", daemon=True).start()
    try:
        while True:
            request: asyncio.Future[Any] = loop.create_future()
            asked.put(request)
            item = await request
            if item is _END:
                return
            yield item
    finally:
        asked.put(None)


async def _close(source: Any) -> None:
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    if close is not None:
        closing = close()
        if inspect.isawaitable(closing):
            await closing
