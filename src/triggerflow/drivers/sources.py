"""Lazy for_each sources: iterables and async iterables, asked for items as the core wants them."""

import asyncio
from contextlib import suppress
from itertools import islice
from time import time
from typing import Any

from .._core import events
from .._core.errors import ChunkCancelled
from .._core.state import Opening
from .raised import describe

#: Async generators that are being closed.
_closing: set["asyncio.Future[None]"] = set()


class Sources:
    """The iterators that the openings of one execution are being fed from."""

    def __init__(self) -> None:
        self._iterators: dict[int, Any] = {}

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
            return events.PullFailed(time(), opening.id, describe(error, "")), error
        return events.Pulled(time(), opening.id, items, done), None

    async def take(self, opening: Opening, count: int) -> tuple[list[Any], bool]:
        """The next items, and whether there are no more.

        From a sync iterable all there is room for; from an async one the next item, so that nothing that is here
        already waits for what is still to come. Raises what the iterable raises.
        """
        iterator = self._iterators.get(opening.id)
        if iterator is None:
            source = opening.source
            iterator = aiter(source) if hasattr(source, "__aiter__") else iter(source)
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
        del self._iterators[opening.id]
        return items, True

    def close(self) -> None:
        """The execution has ended: generators are closed, so that what they hold is given back."""
        iterators, self._iterators = self._iterators, {}
        for iterator in iterators.values():
            with suppress(Exception):  # a generator that is being asked right now closes when its task is cancelled
                if hasattr(iterator, "aclose"):
                    _closing.add(task := asyncio.ensure_future(iterator.aclose()))
                    task.add_done_callback(_closed)
                elif hasattr(iterator, "close"):
                    iterator.close()


def _closed(task: "asyncio.Future[None]") -> None:
    _closing.discard(task)
    if not task.cancelled():
        task.exception()
