"""Any source of a model's answer, read as a stream of `Delta`s.

A source is an iterator, async or sync, a context manager that gives one, or a coroutine or a function without arguments
that returns one. Async iterators are read on the event loop. A sync iterator may block on a socket, so it is read in a
thread of its own, which takes an item only when the reader asks for one. Lists, tuples and strings cannot block and are
read on the event loop.

A reader that stops early closes the source: the iterator first, then the object that it came from, because the streams
of the SDKs hold their HTTP response there. A busy sync source is closed by its thread when its call returns.
"""

import asyncio
import codecs
import inspect
import json
import queue
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from msgspec.structs import replace

from ..errors import TransportError
from ..shapes import ChunkReader, Delta, failure_in, finish_reason
from .halves import Halves
from .http import Plain, response_of, watched, watched_sync

Source = Any
"""An (async) iterable of text, bytes or chunks; a coroutine that returns one; or a function that returns either."""
Adapter = Callable[[Any], Any]
"""Turns one chunk of a source into a `Delta`, text, or a chunk of a known shape; into None if the chunk has nothing to
read."""

_END = object()
_EVENT = re.compile(r"\s*(?:(?:event|id|retry)?:[^\n]*\n\s*)*data:[ ]?(\{[^\n]*)")


@dataclass(frozen=True, slots=True)
class Relayed:
    """A source that reads another one with `read_deltas` and changes its deltas.

    `read` returns the deltas; its argument is the function to call for signs of life.
    """

    read: Callable[[Callable[[], None]], AsyncGenerator[Delta, None]]


async def read_deltas(
    source: Source, adapter: Adapter | None = None, alive: Callable[[], None] = lambda: None
) -> AsyncGenerator[Delta, None]:
    """Yield a `Delta` for each item of a source; close the source at the end, also when left early.

    `alive` is called for signs of life that yield no delta: an item without content, and bytes of the SDKs' streams.

    Bytes are decoded as UTF-8 across the borders of items; invalid bytes become U+FFFD, as
    do halves of characters; halves in two items are joined. Raises `TypeError` for an
    object that is not a source, for an item that is neither text nor a chunk of a known shape, and for the undecoded
    lines of an event stream; the error that a
    chunk reports, after what else that chunk says; `TransportError` at the end of a stream of chunks of which none has
    said why the answer ended; also the exceptions of the source.
    """
    opened = await _open(source)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    items = _items(opened, alive)
    halves, halves_of_reasoning = Halves(), Halves()
    reader = ChunkReader()
    beside = _Beside()
    begins = 3  # a comment and the type of an event may come before its data
    try:
        async for item in items:
            chunk = item
            if isinstance(item, Plain):
                chunk = item.chunk
            elif adapter is not None:
                said = beside.read(item)
                chunk = adapter(item)
                if said is not None and chunk is not item:
                    chunk = _completed(chunk, said)
                if chunk is None:
                    alive()
                    continue
            if isinstance(chunk, bytes | bytearray | memoryview):
                chunk = decoder.decode(bytes(cast("bytes", chunk)))
            if begins:
                begins -= 1
                if isinstance(chunk, str):
                    _refuse_lines(chunk)
            delta = reader.read(chunk)
            text, reasoning = halves.joined(delta.text), halves_of_reasoning.joined(delta.reasoning)
            if text is not delta.text or reasoning is not delta.reasoning:
                delta = replace(delta, text=text, reasoning=reasoning)
            failure = reader.failure
            if failure is None or delta.text or delta.reasoning or delta.tool_calls:
                yield delta
            if failure is not None:
                raise failure
        rest = decoder.decode(b"", True) or halves.rest()
        if rest:
            yield Delta(text=rest, raw=rest)
        if reader.unfinished:
            hint = (
                "" if adapter is None else "; if your adapter reads the reason, return Delta(text, finish_reason=...)"
            )
            raise TransportError(f"the provider's stream ended without a finish reason: the connection was cut{hint}")
        last = reader.end()
        if last is not None:
            yield last
    finally:
        try:
            await _close(items)
        finally:
            if isinstance(opened, AsyncIterable):  # the thread of a sync source has closed it already
                await _close(opened)


def _refuse_lines(text: str) -> None:
    """Raise `TypeError` for the first line of an event stream: the text of the answer is in the JSON in it."""
    line = _EVENT.match(text)
    try:
        chunk: Any = json.loads(line[1]) if line is not None else None
    except (ValueError, RecursionError):
        return
    if isinstance(chunk, dict) and ChunkReader().knows(chunk):
        raise TypeError(
            "the source gives the lines of an event stream (`data: {...}`) and not the text of the answer: give the"
            f" chunks in them, as in json.loads(line.removeprefix('data:')), not {text[:100]!r}"
        )


class _Beside:
    """Reads the chunks for which the program has an adapter. The adapter says what the content is. If the shape is
    known, the chunk still says how the answer ended, which errors there were, and what was counted."""

    def __init__(self) -> None:
        self._reader = ChunkReader()

    def read(self, item: Any) -> Delta | None:
        """What an item says, or None if its shape is not known. Raises the error that it reports."""
        if isinstance(item, str | bytes | bytearray | memoryview | Delta):
            return None
        failure = failure_in(item)
        said = None
        if failure is None and self._reader.knows(item):
            # The adapter may be there because the content of these chunks cannot be read.
            with suppress(TypeError):
                said = self._reader.read(item)
            failure = self._reader.failure
        if failure is not None:
            raise failure
        return said


def _completed(adapted: Any, said: Delta) -> Any:
    """What an adapter has made of a chunk, with what the chunk itself says; None if there is nothing to read."""
    if adapted is None:
        if not (said.finish_reason or said.usage or said.refusal):
            return None
        adapted = Delta()
    elif isinstance(adapted, str):
        adapted = Delta(adapted)
    elif not isinstance(adapted, Delta):
        return adapted
    return replace(
        adapted,
        finish_reason=finish_reason(adapted.finish_reason) or said.finish_reason,
        usage=adapted.usage or said.usage,
        refusal=adapted.refusal or said.refusal,
        raw=said.raw if adapted.raw is None else adapted.raw,
    )


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
