"""Ownership: the row of this owner in `owners`, which is its lease, and a cache of the executions that it owns.

A claim deletes the rows of dead owners in its own transaction. So as long as every transaction of this owner finds its
row, no other owner can have claimed one of its executions, and the cache is valid. This check alone keeps a former
owner from writing; it costs one statement in a commit. If the row is gone, the cache is dropped, and filled again from
the tables.
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from ..._core.errors import StoreConflict
from ..processes import has_ended
from ..protocol import FINAL_STATUSES, RETRIABLE_STATUSES, not_retriable
from .changes import Keys


class Claim(NamedTuple):
    """Cached facts about an execution of this owner, so that an append needs no query."""

    key: int
    records: int
    status: str
    due: float | None
    #: whether it may have open questions
    asks: bool
    flow: str


class Ownership:
    """One owner (an open store object) and a cache of its claims. Used on the writer's thread in transactions only."""

    def __init__(self, owner: str, lease: float, clock: Callable[[], float]) -> None:
        self.owner = owner
        self.lease = lease
        self.clock = clock
        self._held: dict[str, Claim] = {}
        #: what the open transaction changes in `_held`: the new claim on an execution, or None to remove it. An append
        #: writes it itself
        self.changes: dict[str, Claim | None] = {}
        self._renewed: float | None = None
        #: the keys of the records that this owner has appended last; other threads read it
        self.own = Keys(0, 0)
        #: `own` after the open transaction; None if that appends nothing, or releases what it appends to
        self._own_then: Keys | None = None
        #: whether the open transaction only appends records to executions of this owner
        self._only_appends = False

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction: check that the row of this owner exists; renew the lease when a third of it has
        passed."""
        self._own_then, self._only_appends = None, False
        now = self.clock()
        renewed = self._renewed
        if renewed is not None and renewed <= now < renewed + self.lease / 3:
            found = connection.execute("SELECT 1 FROM owners WHERE id = ?", (self.owner,)).fetchone()
        else:  # the renewal is due, or the clock was set back
            self._renewed = now
            found = connection.execute(
                "UPDATE owners SET expires = ? WHERE id = ?", (now + self.lease, self.owner)
            ).rowcount
        if not found:
            self._held.clear()
            connection.execute("INSERT INTO owners (id, expires) VALUES (?, ?)", (self.owner, now + self.lease))

    def appended(self, first: int, last: int) -> None:
        """The open transaction has added records with the keys after `first`, up to `last`, to executions of this
        owner."""
        self._own_then, self._only_appends = (self._own_then or self.own).followed_by(first, last), True

    def concerns_others(self, *, releases: bool = False) -> None:
        """The open transaction changes more than that. `releases`: its executions have no owner afterwards."""
        self._only_appends = False
        if releases:
            self._own_then = None

    def committed(self) -> bool:
        """The transaction was committed: apply its changes to the cache. Returns whether it has only appended records
        to executions of this owner."""
        self.own = self._own_then or self.own
        for execution, held in self.changes.items():
            if held is None:
                self._held.pop(execution, None)
            else:
                self._held[execution] = held
        self.changes.clear()
        return self._only_appends

    def rolled_back(self) -> None:
        """The transaction was rolled back: drop its changes. It may have renewed the lease, so the next one has to."""
        self.changes.clear()
        self._renewed = None

    def renew_now(self, connection: sqlite3.Connection) -> None:
        """Renew the lease at the end of a transaction that may have taken longer than the lease. Until it is committed,
        no other owner can write, so none can have claimed anything."""
        self._renewed = self.clock()
        connection.execute("UPDATE owners SET expires = ? WHERE id = ?", (self._renewed + self.lease, self.owner))

    def renew(self) -> None:
        """Make the next transaction renew the lease, even if that is not due."""
        self._renewed = None

    def remember(self, execution: str, held: Claim) -> None:
        """Put an execution into the cache once this transaction is committed."""
        self.changes[execution] = None if held.status in FINAL_STATUSES else held

    def forget(self, execution: str) -> None:
        """Drop an execution from the cache once this transaction is committed."""
        self.changes[execution] = None

    def require(self, connection: sqlite3.Connection, execution: str, *, reopens: bool = False) -> Claim:
        """The claim on an execution. Raises `StoreConflict` unless this owner has it and it has not ended.

        With `reopens`, it has to have failed or to have been cancelled, instead."""
        held = self.changes[execution] if execution in self.changes else self._held.get(execution)
        if held is not None and not reopens:
            return held
        row = connection.execute(
            """SELECT key, status, due, owner,
                max(trimmed, coalesce((SELECT max(number) + 1 FROM records WHERE execution = executions.key), 0)),
                EXISTS (SELECT 1 FROM questions WHERE execution = executions.id), flow
            FROM executions WHERE id = ?""",
            (execution,),
        ).fetchone()
        if row is None:
            raise StoreConflict(f"there is no execution {execution!r} in the store; was it deleted?")
        key, status, due, owner, records, asks, flow = row
        if reopens:
            if status not in RETRIABLE_STATUSES:
                raise not_retriable(execution, status)
        elif status in FINAL_STATUSES:
            raise StoreConflict(f"execution {execution!r} has ended ({status}); no more records can be added")
        if owner != self.owner:
            now_with = f"owner {owner} has it now" if owner else "no owner has it now"
            raise StoreConflict(f"execution {execution!r} is not run by owner {self.owner} any more: {now_with}")
        return Claim(key, records, status, due, bool(asks), flow)

    def purge(self, connection: sqlite3.Connection) -> None:
        """Delete the rows of dead owners, so that their executions can be claimed."""
        connection.execute("DELETE FROM owners WHERE expires <= ? AND id != ?", (self.clock(), self.owner))
        others = connection.execute("SELECT id FROM owners WHERE id != ?", (self.owner,)).fetchall()
        connection.executemany("DELETE FROM owners WHERE id = ?", [other for other in others if has_ended(other[0])])
