"""The newest records of an execution, for diagrams, extensions and tests (decision 0017)."""

import gc
import logging
import sys
from collections import deque
from collections.abc import Callable
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from .._core import events
from .._core.events import Event
from .._core.values import derives, kind_of

logger = logging.getLogger("triggerflow")
Observer = Callable[[Event], None]

#: The default limits of a journal in memory: the number of records, and about how many bytes their values take.
RECORDS = 1024
BYTES = 1 << 20
#: The values are measured each time this many records have come.
OFTEN = 8


class RingJournal(list[Event]):
    """A bounded list of records. Record `n` of the execution (counted from 0) is `records[n - first]`.

    With a `limit` it holds the newest records, that many at least and twice as many at most: appending then drops
    `limit` records at once, so that each is moved once at most. A limit of 0 holds none. Without a limit (None) it
    holds the newest `RECORDS`, but no more than have about `BYTES` of values. So an execution that passes
    large values on, or reads a lazy source, keeps only the last of them in memory. `observers` are called with each new
    record.
    """

    __slots__ = ("_due", "_gap", "_looked_at", "_size", "_skip", "_typical", "first", "limit", "observers")

    def __init__(self, limit: int | None, observers: tuple[Observer, ...] = ()) -> None:
        super().__init__()
        self.limit = RECORDS if limit is None else limit
        self.first = 0
        self.observers = observers
        #: how many of the records here were measured (-1: none ever is), and about how many bytes their values take
        self._looked_at = 0 if limit is None else -1
        self._size = 0
        #: the size of the last container that was measured; how many containers are skipped after it; how many of these
        #: are still to be skipped
        self._typical, self._gap, self._skip = 0, 0, 0
        #: the number of records at which `trim` is called next
        self._due = OFTEN if limit is None else 2 * self.limit

    @property
    def records(self) -> list[Event]:
        """The records in memory, oldest first."""
        return self

    def append(self, record: Event, /) -> None:
        """Add the next record."""
        list.append(self, record)  # pyright: ignore[reportUnknownMemberType] - `super()` costs as much as all the rest
        if len(self) > self._due:
            self.trim()
        if self.observers:
            self._call_observers(record)

    def trim(self) -> None:
        """Drop the oldest records that are too many, or whose values are too large."""
        if self._looked_at >= 0:
            self._measure()
            while self._size > BYTES and len(self) > 1:
                self._drop(len(self) // 2)
        if len(self) > 2 * self.limit:
            self._drop(len(self) - self.limit)
        if self._looked_at >= 0:
            self._due = min(len(self) + OFTEN, 2 * self.limit)

    def _measure(self) -> None:
        """Measure the values of the records that have come since the last call.

        Measuring a container costs more than appending its record. So only some containers are measured, and the ones
        after them are counted with the same size. How many are skipped varies, because a loop with a fixed period
        could otherwise have its large values skipped each time.
        """
        size = self._size
        for record in self[self._looked_at :]:
            value = getattr(record, _VALUES.get(type(record), "at"))
            kind = id(kind_of(value))
            if kind in _SMALL:
                continue
            if kind in _TEXT:
                size += len(value)
            elif type(record) is events.SourceItems or type(record) is events.ItemsGiven:
                size += _size(value)
            else:
                if self._skip:
                    self._skip -= 1
                else:
                    self._typical = _size(value)
                    self._skip = self._gap = (5 * self._gap + 3) % 16
                size += self._typical
        self._size, self._looked_at = size, len(self)

    def _drop(self, count: int) -> None:
        """Drop the `count` oldest records. Their size is estimated as their share of the total."""
        if self._looked_at > 0:
            self._size -= self._size * count // len(self)
            self._looked_at -= count
        del self[:count]
        self.first += count

    def _call_observers(self, record: Event) -> None:
        for observer in self.observers:
            try:
                observer(record)
            except Exception:  # an exception of an observer must not disturb the execution
                logger.exception("an observer raised on record %s; the execution continues", type(record).__name__)


#: The field of each record that may have a large value.
_VALUES: dict[type[Event], str] = {
    events.Started: "value",
    events.Completed: "value",
    events.Emitted: "value",
    events.StateChanged: "value",
    events.FlowDataChanged: "value",
    events.StreamPut: "item",
    events.SourceItems: "items",
    events.ItemsGiven: "items",
    events.ResultSet: "value",
    events.Paused: "payload",
    events.Resumed: "value",
}
# By id, because looking up a class in a set calls `__hash__` of its metaclass, which is user code.
_SMALL = frozenset(map(id, (int, float, bool, type(None))))
_TEXT = frozenset(map(id, (str, bytes, bytearray)))
_CONTAINERS = frozenset(map(id, (list, tuple, set, frozenset, deque)))
_SHARED = frozenset(map(id, (ModuleType, FunctionType, MethodType, BuiltinFunctionType)))
#: How many parts of a container are measured, and how deep. That is cheap, and enough to find large values.
PARTS = 4
DEPTH = 4


def _size(value: Any, depth: int = 0) -> int:
    """About how many bytes a value takes. Of user code, only `__sizeof__` is called."""
    kind = kind_of(value)
    try:
        size = sys.getsizeof(value)
    except BaseException:  # a user's `__sizeof__` may raise anything, and the record is accepted already
        size = 0
    parts: Any = value
    if kind is dict:
        parts = value.values()
    elif id(kind) not in _CONTAINERS:
        parts = [it for it in gc.get_referents(value) if id(kind_of(it)) not in _SHARED and not derives(it, type)]
    seen = total = 0
    for part in islice(parts, PARTS):
        seen += 1
        inner = id(kind_of(part))
        if inner in _TEXT:
            total += len(part)
        elif inner not in _SMALL and depth < DEPTH:
            total += _size(part, depth + 1)
    return size + total * len(parts) // seen if seen else size
