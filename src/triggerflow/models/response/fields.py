"""`Fields`: the completed fields of an answer at some paths, one after another while the model is writing.

Returned by a chunk, they are the items of the for_each behind it (`run.dispatch`). Elsewhere they are an iterator.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Protocol

from ...run.dispatch import Field, FieldItems, FieldSource, Withdrawn
from ...run.portal import iterate_sync
from ..errors import FieldsWithdrawnError


class FollowedResponse(FieldSource, Protocol):
    """What `Fields` needs of a response."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop on which the response is read; None before the first reader."""
        ...


class Fields(FieldItems):
    """The fields of a response at some paths, in the order in which they are completed; see `Response.fields`.

    `async for` (or `for`, which blocks the caller) begins with the first field of the answer that is being written, any
    number of times. If the answer is replaced by a retry after a field was handed out, it raises
    `FieldsWithdrawnError`; iterate again to get the fields of the next answer. At the end it raises the error of the
    response, if there is one: only after the last field without an error are the fields those of a valid answer.
    """

    __slots__ = ("_paths", "_places", "_response", "_rest")

    def __init__(self, response: FollowedResponse, paths: Sequence[str], places: bool) -> None:
        self._response = response
        self._paths = paths
        self._places = places
        self._rest: AsyncGenerator[Field | Withdrawn, None] | None = None
        """What follows after `FieldsWithdrawnError`. It stays open, so that the response has a reader."""

    def follow(self, now: Callable[[Field], bool] | None = None) -> AsyncGenerator[Field | Withdrawn, None]:
        """See `FieldItems.follow`."""
        return self._response.follow_fields(self._paths, now)

    def item(self, field: Field) -> Any:
        """See `FieldItems.item`."""
        return (field.place, field.value) if self._places else field.value

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items()

    def __iter__(self) -> Iterator[Any]:
        return iterate_sync(self._items, "async for ... in response.fields", self._response.loop)

    async def _items(self) -> AsyncGenerator[Any, None]:
        given, rest = 0, None
        found, self._rest = self._rest or self.follow(), None
        try:
            async for it in found:
                if not isinstance(it, Withdrawn):
                    given += 1
                    yield self.item(it)
                elif given:
                    rest = self._rest = found
                    raise FieldsWithdrawnError(
                        f"the answer was dropped after {given} of its fields were handed out ({it.reason}); "
                        f"iterate again to get the fields of attempt {it.attempt}",
                        it.attempt,
                    )
        finally:
            if rest is None:
                await found.aclose()

    def __repr__(self) -> str:
        return f"<Fields {', '.join(map(repr, self._paths))}>"
