"""Lazy for_each sources: iterables and async iterables, asked for items as the core wants them."""

from itertools import islice
from typing import Any

from .._core.state import Opening


class Sources:
    """The iterators that the openings of one execution are being fed from."""

    def __init__(self) -> None:
        self._iterators: dict[int, Any] = {}

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
