"""Any source of a model's answer, read as a stream of `Delta`s.

A source is an iterator, async or sync, or a coroutine or a function without arguments that returns one. Async iterators
are read on the event loop. A sync iterator may block on a socket, so it is read in a thread of its own, which takes an
item only when the reader asks for one. Lists, tuples and strings cannot block and are read on the event loop.

A reader that stops early closes the source: the iterator first, then the object that it came from, because the streams
of the SDKs hold their HTTP response there. A busy sync source is closed by its thread when its call returns.
"""

import asyncio
import codecs
import inspect
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, cast

from .http import response_of, watched, watched_sync
from .shapes import Delta, delta_of

Source = Any
"""An (async) iterable of text, bytes or chunks; a coroutine that returns one; or a function that returns either."""
Adapter = Callable[[Any], Any]
"""Turns one chunk of a source into a `Delta` or text; into None if the chunk has nothing to read."""

_END = object()


async def read_deltas(
    source: Source, adapter: Adapter | None = None, alive: Callable[[], None] = lambda: None
) -> AsyncGenerator[Delta, None]:
    """Yield a `Delta` for each item of a source; close the source at the end, also when left early.

    `alive` is called for signs of life that yield no delta: an item without content, and bytes of the SDKs' streams.

    Bytes are decoded as UTF-8 across the borders of items; invalid bytes become U+FFFD. Raises `TypeError` for an
    object that is not a source, and for an item that is neither text nor a chunk of a known shape; also the exceptions
    of the source.
    """
    opened = await _open(source)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    response = response_of(opened)
    items = _items(opened, response, alive)
    try:
        async for item in items:
            chunk = item
            if adapter is not None and not (response is not None and isinstance(item, Delta)):
                chunk = adapter(item)
                if chunk is None:
                    alive()
                    continue
            if isinstance(chunk, bytes | bytearray | memoryview):
                chunk = decoder.decode(bytes(cast("bytes", chunk)))
            yield delta_of(chunk)
        rest = decoder.decode(b"", True)
        if rest:
            yield Delta(text=rest, raw=rest)
    finally:
        try:
            await _close(items)
        finally:
            if isinstance(opened, AsyncIterable):  # the thread of a sync source has closed it already
                await _close(opened)


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


def _items(opened: Any, response: Any, alive: Callable[[], None]) -> Any:
    kind = type(opened).__name__
    if isinstance(opened, AsyncIterable):
        stream = cast("AsyncIterable[Any]", opened)
        return aiter(stream) if response is None else watched(stream, response, alive)
    if isinstance(opened, str | bytes):
        return _inline((opened,))
    if isinstance(opened, list | tuple):
        return _inline(cast("list[Any]", opened))
    if isinstance(opened, Iterable) and not isinstance(opened, dict):
        stream = cast("Iterable[Any]", opened)
        return _threaded(stream, lambda: stream if response is None else watched_sync(stream, response, alive))
    raise TypeError(
        f"a response can be read from an async or sync iterator of text or chunks, from a coroutine that returns one,"
        f" or from a function that does, not from {kind}"
    )


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
