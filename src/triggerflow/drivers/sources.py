"""Lazy for_each sources: iterables and async iterables, asked for items as the core wants them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, cast

from .._core import events
from .._core.errors import ChunkCancelled
from .._core.state import Opening
from .exceptions import describe

#: Async generators that are being closed.
_closing: set["asyncio.Future[None]"] = set()


class Sources:
    """The iterators that the openings of one execution are being fed from."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._iterators: dict[int, Any] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def asked(self, opening: Opening, task: "asyncio.Task[None]") -> None:
        """The task that asks for the next items of an opening; there is one at a time."""
        self._tasks[opening.id] = task
        task.add_done_callback(lambda task: self._done(opening.id, task))

    def _done(self, number: int, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(number) is task:  # else its answer has led to the next pull already
            del self._tasks[number]

    async def answer(self, opening: Opening, count: int) -> tuple[events.Event, BaseException | None]:
        """The record for a pull, and what the source raised. Raises `CancelledError` only if its task is cancelled."""
        try:
            items, done = await self.take(opening, count)
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError):
                if task is not None and task.cancelling():
                    raise
                error = ChunkCancelled(f"the items of {opening.node.id!r} ended with a CancelledError of their own")
            return events.PullFailed(self._now(), opening.id, describe(error, opening.node.name)), error
        return events.Pulled(self._now(), opening.id, items, done), None

    async def take(self, opening: Opening, count: int) -> tuple[list[Any], bool]:
        """The next items, and whether there are no more.

        From a sync iterable all there is room for; from an async one the next item, so that nothing that is here
        already waits for what is still to come. Raises what the iterable raises.
        """
        iterator = self._iterators.get(opening.id)
        if iterator is None:
            source = opening.source
            iterator = aiter(source) if hasattr(source, "__aiter__") else iter(_in_order(source))
            self._iterators[opening.id] = iterator
            # After a load a source that can be asked again goes on where it was.
            for _ in range(opening.next + len(opening.pulled or ())):
                await anext(iterator) if hasattr(iterator, "__anext__") else next(iterator)
        if hasattr(iterator, "__anext__"):
            try:
                return [await anext(iterator)], False
            except StopAsyncIteration:
                items = list[Any]()
        else:
            items = list[Any](islice(iterator, count))
            if len(items) == count:
                return items, False
        self._iterators.pop(opening.id, None)
        return items, True

    def stop(self, opening: Opening) -> None:
        """Nothing more is wanted for this opening."""
        self._stop(opening.id)

    def close(self) -> None:
        """The execution has ended."""
        for number in {*self._iterators, *self._tasks}:
            self._stop(number)

    def _stop(self, number: int) -> None:
        iterator, asking = self._iterators.pop(number, None), self._tasks.pop(number, None)
        if asking is None or asking is asyncio.current_task():
            _close(iterator)
        else:  # a generator that is being asked right now cannot be closed
            asking.add_done_callback(lambda _: _close(iterator))
            asking.cancel()


def _in_order(source: Any) -> Any:
    """The source; a set by its items' values, for its own order is another in the process that goes on after a load."""
    return sorted(cast("set[Any]", source), key=_rank) if isinstance(source, set | frozenset) else source


def _rank(item: Any) -> tuple[str, Any]:
    """A key by which items of any types can be sorted, the same in every process for what can be recorded."""
    kind = cast("type[Any]", type(item))
    if kind in (str, int, float, bool, bytes):
        return kind.__name__, item
    if isinstance(item, tuple | frozenset):
        parts = [_rank(part) for part in cast("tuple[Any, ...]", item)]
        return kind.__name__, sorted(parts) if kind is frozenset else parts
    return kind.__qualname__, repr(item)


def _close(iterator: Any) -> None:
    """Close a generator, so that what it holds is given back."""
    with suppress(Exception):
        if hasattr(iterator, "aclose"):
            _closing.add(task := asyncio.ensure_future(iterator.aclose()))
            task.add_done_callback(_closed)
        elif hasattr(iterator, "close"):
            iterator.close()


def _closed(task: "asyncio.Future[None]") -> None:
    _closing.discard(task)
    if not task.cancelled():
        task.exception()
