"""`Fields`: the completed fields of an answer at some paths, one after another while the model is writing.

Returned by a chunk, they are the items of the for_each behind it (`run.dispatch`). Elsewhere they are an iterator.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ..run.dispatch import Field, FieldItems, Withdrawn
from ..run.portal import iterate_sync
from .errors import FieldsWithdrawnError

if TYPE_CHECKING:
    from .instant import Event
    from .output import Output
    from .places import PathStyle
    from .response import Response

Check = Callable[["Event"], Any]
"""Returns the value of an event as the type that the description has at its path; raises `ValueError` if it does not
fit."""


def make_check(output: "Output | None", path: str, style: "PathStyle") -> Check:
    """The check of the fields at a path. Without a description every value fits."""
    if output is None:
        return lambda event: event.value
    part = output.part(path, style)
    return lambda event: part.convert(event.value, event.path)


def check_of(checks: Mapping[str, Check], event: "Event") -> Check | None:
    """The check of the field that this event completes. A path of one place comes before one with [*]."""
    return checks.get(event.path) or checks.get(event.wildcard_path)


class Fields(FieldItems):
    """The fields of a response at some paths, in the order in which they are completed; see `Response.fields`.

    `async for` (or `for`, which blocks the caller) begins with the first field of the answer that is being written, any
    number of times. If the answer is replaced by a retry after a field was handed out, it raises
    `FieldsWithdrawnError`; iterate again to get the fields of the next answer. At the end it raises the error of the
    response, if there is one: only after the last field without an error are the fields those of a valid answer.
    """

    __slots__ = ("_paths", "_places", "_response")

    def __init__(self, response: "Response", paths: Sequence[str], places: bool) -> None:
        self._response = response
        self._paths = paths
        self._places = places

    def follow(self) -> AsyncGenerator[Field | Withdrawn, None]:
        """See `FieldItems.follow`."""
        return self._response.follow_fields(self._paths)

    def item(self, field: Field) -> Any:
        """See `FieldItems.item`."""
        return (field.place, field.value) if self._places else field.value

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items()

    def __iter__(self) -> Iterator[Any]:
        return iterate_sync(self._items, "async for ... in response.fields", self._response.loop)

    async def _items(self) -> AsyncGenerator[Any, None]:
        given = 0
        async with aclosing(self.follow()) as found:
            async for it in found:
                if not isinstance(it, Withdrawn):
                    given += 1
                    yield self.item(it)
                elif given:
                    raise FieldsWithdrawnError(
                        f"the answer was dropped after {given} of its fields were handed out ({it.reason}); "
                        f"iterate again to get the fields of attempt {it.attempt}",
                        it.attempt,
                    )

    def __repr__(self) -> str:
        return f"<Fields {', '.join(map(repr, self._paths))}>"
