"""The journal of an execution without a store: the newest records, and how many there were before them."""

from ._core.events import Event


class RingJournal:
    """A bounded list of records. Record `n` of the execution (counted from 0) is `records[n - first]`.

    Trimming drops `limit` records when twice as many are held: each record is moved once at most, and a short run
    pays for a list of its own length only.
    """

    __slots__ = ("first", "limit", "records")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.first = 0
        self.records: list[Event] = []

    def append(self, record: Event) -> None:
        """Add the next record."""
        records = self.records
        records.append(record)
        if len(records) > 2 * self.limit:
            del records[: -self.limit]
            self.first += self.limit + 1
