"""Compaction of a stream for those who come late: what is there already arrives merged, what follows as it comes.

A model writes its answer in thousands of deltas. Whoever watches needs each as it comes; whoever looks later needs
their sum. Two items can be one if both are texts, or both are dicts that are equal but for a text under "delta".
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from .options import same_value
from .stream import ItemT, StreamItem, StreamReader

DELTA = "delta"


class Merged:
    """Consecutive items of one path that become one."""

    __slots__ = ("_beside", "_parts", "_path")

    def __init__(self, first: Any, path: str) -> None:
        self._path = path
        self._beside, delta = _split(first)
        self._parts = [delta]

    def add(self, held: StreamItem) -> bool:
        """Take one more item in; False if it stands for itself."""
        beside, delta = _split(held.item)
        if delta is None or self._parts[0] is None or held.path != self._path or not same_value(beside, self._beside):
            return False
        self._parts.append(delta)
        return True

    @property
    def item(self) -> Any:
        """All of them as one item."""
        text = "".join(cast("list[str]", self._parts))
        return text if self._beside is None else {**self._beside, DELTA: text}

    @property
    def single(self) -> bool:
        """Whether nothing was added."""
        return len(self._parts) == 1


def _split(item: Any) -> tuple[dict[Any, Any] | None, str | None]:
    """What stands beside the text (None: the item is the text), and the text; (None, None) if there is none."""
    if type(item) is str:
        return None, item
    if type(item) is dict and type(cast("dict[Any, Any]", item).get(DELTA)) is str:
        kept = cast("dict[Any, Any]", item)
        return {key: value for key, value in kept.items() if key != DELTA}, kept[DELTA]
    return None, None


async def merge(
    first: Any, path: str, peek: Callable[[], Awaitable[StreamItem | None]], take: Callable[[StreamItem], None]
) -> Any:
    """`first` with everything that follows it, is there already, and can be one with it.

    `peek` tells the next item without taking it, None if one would have to wait for it.
    """
    merged = Merged(first, path)
    while (held := await peek()) is not None and merged.add(held):
        take(held)
    return first if merged.single else merged.item


class CompactReader(StreamReader[ItemT]):
    """A reader that gets what has been put already in as few items as possible; see `StreamReader`."""

    __slots__ = ()

    async def __anext__(self) -> ItemT:
        """The next item, or several as one. `position` is the number of the last of them."""
        before = self.position
        first = await super().__anext__()
        try:
            return await merge(first, self.path, self.peek, self.take)
        except BaseException:  # nothing was given: whoever comes back with this position misses nothing
            self.position = before
            raise
