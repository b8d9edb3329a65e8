"""The journal of an execution in memory: its newest records, and the number of the first of them."""

import logging
from collections.abc import Callable

from .._core.events import Event

logger = logging.getLogger("triggerflow")
Observer = Callable[[Event], None]


class RingJournal(list[Event]):
    """A bounded list of records. Record `n` of the execution (counted from 0) is `records[n - first]`.

    When more than `2 * limit` records are held, the oldest are dropped, down to `limit`. So each record is moved once
    at most, and a short run needs a list of its own length only. `observers` are called with each new record.
    """

    __slots__ = ("first", "limit", "observers")

    def __init__(self, limit: int, observers: tuple[Observer, ...] = ()) -> None:
        super().__init__()
        self.limit = limit
        self.first = 0
        self.observers = observers

    @property
    def records(self) -> list[Event]:
        """The records in memory, oldest first."""
        return self

    def append(self, record: Event, /) -> None:
        """Add the next record."""
        list.append(self, record)  # pyright: ignore[reportUnknownMemberType] - `super()` costs as much as all the rest
        if len(self) > 2 * self.limit:
            del self[: -self.limit]
            self.first += self.limit + 1
        if self.observers:
            self._call_observers(record)

    def _call_observers(self, record: Event) -> None:
        for observer in self.observers:
            try:
                observer(record)
            except Exception:  # a failing observer must not disturb the execution
                logger.exception("an observer failed on a record of type %s; it is ignored", type(record).__name__)
