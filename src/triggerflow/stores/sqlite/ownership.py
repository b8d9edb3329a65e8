"""What one owner has: its row in `owners`, which keeps it alive, and what it knows of its executions.

Whoever claims something deletes the rows of dead owners in the same transaction. As long as our row has been there, in
every one of our transactions, nobody can have taken what is ours, and what we remember of it still holds: that is the
whole fence, one statement a commit. If the row is gone, everything remembered is forgotten and asked for anew.
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from ..._core.errors import StoreConflict
from ..protocol import FINAL_STATUSES
from .processes import has_ended


class Claim(NamedTuple):
    """What is remembered of an execution that is ours, so that appending needs no query."""

    key: int
    records: int
    status: str
    due: float | None


class Ownership:
    """The owner, and what it holds. Used on the writer's thread only, inside transactions."""

    def __init__(self, owner: str, lease: float, clock: Callable[[], float]) -> None:
        self.owner = owner
        self.lease = lease
        self.clock = clock
        self._held: dict[str, Claim] = {}
        #: what the open transaction changes in `_held`; None: no longer held
        self._changes: dict[str, Claim | None] = {}
        self._renewed: float | None = None

    def begin(self, connection: sqlite3.Connection) -> None:
        """The first thing in every transaction: stay alive, and find out whether we still are."""
        now = self.clock()
        renewed = self._renewed
        if renewed is not None and renewed <= now < renewed + self.lease / 3:
            found = connection.execute("SELECT 1 FROM owners WHERE id = ?", (self.owner,)).fetchone()
        else:  # it is time, or the clock was set back
            self._renewed = now
            found = connection.execute(
                "UPDATE owners SET expires = ? WHERE id = ?", (now + self.lease, self.owner)
            ).rowcount
        if not found:
            self._held.clear()
            connection.execute("INSERT INTO owners (id, expires) VALUES (?, ?)", (self.owner, now + self.lease))

    def committed(self) -> None:
        """The transaction is on disk: what it changed is remembered."""
        for execution, held in self._changes.items():
            if held is None:
                self._held.pop(execution, None)
            else:
                self._held[execution] = held
        self._changes.clear()

    def rolled_back(self) -> None:
        """Nothing has changed; perhaps a renewal was lost with it."""
        self._changes.clear()
        self._renewed = None

    def renew(self) -> None:
        """Have the next transaction renew the row, due or not."""
        self._renewed = None

    def remember(self, execution: str, held: Claim) -> None:
        """What holds of an execution once this transaction is committed."""
        self._changes[execution] = None if held.status in FINAL_STATUSES else held

    def forget(self, execution: str) -> None:
        """The execution is not ours any more once this transaction is committed."""
        self._changes[execution] = None

    def require(self, connection: sqlite3.Connection, execution: str) -> Claim:
        """What is known of an execution that is ours and has not ended. Raises `StoreConflict`."""
        held = self._changes[execution] if execution in self._changes else self._held.get(execution)
        if held is not None:
            return held
        row = connection.execute(
            """SELECT key, status, due, owner,
                max(trimmed, coalesce((SELECT max(number) + 1 FROM records WHERE execution = executions.key), 0))
            FROM executions WHERE id = ?""",
            (execution,),
        ).fetchone()
        if row is None:
            raise StoreConflict(f"there is no execution {execution!r} in the store; was it deleted?")
        key, status, due, owner, records = row
        if status in FINAL_STATUSES:
            raise StoreConflict(f"execution {execution!r} has ended ({status}); it takes no record any more")
        if owner != self.owner:
            now_with = f"owner {owner} has it now" if owner else "nobody has it now"
            raise StoreConflict(f"execution {execution!r} is not run by owner {self.owner} any more: {now_with}")
        return Claim(key, records, status, due)

    def purge(self, connection: sqlite3.Connection) -> None:
        """Delete the rows of the owners that are dead: what they had is free from here on."""
        connection.execute("DELETE FROM owners WHERE expires <= ? AND id != ?", (self.clock(), self.owner))
        others = connection.execute("SELECT id FROM owners WHERE id != ?", (self.owner,)).fetchall()
        connection.executemany("DELETE FROM owners WHERE id = ?", [other for other in others if has_ended(other[0])])
