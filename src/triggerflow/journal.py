"""The journal of an execution without a store: the newest records, and how many there were before them."""

import logging
from collections.abc import Callable

from ._core.events import Event

logger = logging.getLogger("triggerflow")
Observer = Callable[[Event], None]


class RingJournal:
    """A bounded list of records. Record `n` of the execution (counted from 0) is `records[n - first]`.

    Trimming drops `limit` records when twice as many are held: each record is moved once at most, and a short run
    pays for a list of its own length only. `observers` are told of each record as it comes.
    """

    __slots__ = ("first", "limit", "observers", "records")

    def __init__(self, limit: int, observers: tuple[Observer, ...] = ()) -> None:
        self.limit = limit
        self.first = 0
        self.records: list[Event] = []
        self.observers = observers

    def append(self, record: Event) -> None:
        """Add the next record."""
        records = self.records
        records.append(record)
        if len(records) > 2 * self.limit:
            del records[: -self.limit]
            self.first += self.limit + 1
        if self.observers:
            self._tell(record)

    def _tell(self, record: Event) -> None:
        for observer in self.observers:
            try:
                observer(record)
            except Exception:  # who only looks on must not disturb the run
                logger.exception("an observer failed on %s", type(record).__name__)
