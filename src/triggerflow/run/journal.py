"""The journal of an execution without a store: the newest records, and how many there were before them."""

import logging
from collections.abc import Callable

from .._core.events import Event

logger = logging.getLogger("triggerflow")
Observer = Callable[[Event], None]


class RingJournal(list[Event]):
    """A bounded list of records. Record `n` of the execution (counted from 0) is `records[n - first]`.

    Appending drops `limit` records when twice as many are held: each record is moved once at most, and a short run
    pays for a list of its own length only. `observers` are told of each record as it comes.
    """

    __slots__ = ("first", "limit", "observers")

    def __init__(self, limit: int, observers: tuple[Observer, ...] = ()) -> None:
        super().__init__()
        self.limit = limit
        self.first = 0
        self.observers = observers

    @property
    def records(self) -> list[Event]:
        """The records that are held, oldest first."""
        return self

    def append(self, record: Event, /) -> None:
        """Add the next record."""
        list.append(self, record)  # pyright: ignore[reportUnknownMemberType] - `super()` costs as much as all the rest
        if len(self) > 2 * self.limit:
            del self[: -self.limit]
            self.first += self.limit + 1
        if self.observers:
            self._tell(record)

    def _tell(self, record: Event) -> None:
        for observer in self.observers:
            try:
                observer(record)
            except Exception:  # who only looks on must not disturb the run
                logger.exception("an observer failed on %s", type(record).__name__)
