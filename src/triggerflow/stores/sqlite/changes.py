"""What has changed in the file since a cursor. Each function runs inside one transaction.

A transaction that writes gets its keys while it has the write lock, so that a record with a smaller key than another
one was committed before it, or with it. So the newest keys of `records` and `notes` say what a reader has seen: they
are the cursor. It is valid as long as no key is given twice: see `keep_newest_key`.

An append writes records anyway, so that only other changes need a note.
"""

import re
import sqlite3
from collections.abc import Collection, Iterable
from typing import Any, Literal, NamedTuple

from ..protocol import ChangeKind, Changes

#: What a note tells; "resync": everything may have changed.
Kind = ChangeKind | Literal["resync"]

#: How many executions and how many notes one answer has.
MOST = 1000

#: How many notes are kept. An older cursor is answered with `resync`.
NOTES_KEPT = 20_000

_CURSOR = re.compile(r"([0-9a-f]{16})\.([0-9]{1,18})\.([0-9]{1,18})")


def note(connection: sqlite3.Connection, kind: Kind, names: Iterable[str]) -> None:
    """Note that these have changed."""
    connection.executemany("INSERT INTO notes (kind, name) VALUES (?, ?)", [(kind, name) for name in names])


def keep_newest_key(connection: sqlite3.Connection, newest: int) -> None:
    """Called when records were deleted, with the newest key that there was before. If its record was deleted, an empty
    one that belongs to no execution takes the key: SQLite would give it once more."""
    connection.execute(
        """INSERT INTO records (key, execution, number, at, data)
        SELECT :newest, 0, :newest, 0, x'' WHERE :newest > (SELECT coalesce(max(key), 0) FROM records)""",
        {"newest": newest},
    )
    connection.execute("DELETE FROM records WHERE execution = 0 AND number < (SELECT max(key) FROM records)")


def newest_key(connection: sqlite3.Connection) -> int:
    """The newest key of a record; 0 if there is none."""
    return connection.execute("SELECT coalesce(max(key), 0) FROM records").fetchone()[0]


def drop_old_notes(connection: sqlite3.Connection) -> None:
    """Keep only the newest notes."""
    connection.execute("DELETE FROM notes WHERE key <= (SELECT max(key) FROM notes) - ?", (NOTES_KEPT,))


class Keys(NamedTuple):
    """The keys of records after `first`, up to `last`, with no other key in between."""

    first: int
    last: int

    def followed_by(self, first: int, last: int) -> "Keys":
        """These keys and the next ones; only the next ones, if there are others in between."""
        return Keys(self.first if self.last == first else first, last)

    def are_all_after(self, key: int, newest: int) -> bool:
        """Whether these are all keys after this one, if `newest` is the newest key."""
        return self.first <= key and newest == self.last


def newest(connection: sqlite3.Connection) -> tuple[int, int]:
    """The newest keys of a record and of a note; 0 if there is none."""
    return connection.execute(
        "SELECT (SELECT coalesce(max(key), 0) FROM records), (SELECT coalesce(max(key), 0) FROM notes)"
    ).fetchone()


def since(connection: sqlite3.Connection, cursor: str | None, ignored: Keys | None = None) -> Changes | None:
    """What has changed after the cursor; None if nothing has. Without a cursor, no changes and the present cursor.

    Records with `ignored` keys do not count, if the first of them comes right after the cursor."""
    store, newest_record, oldest_note, newest_note = connection.execute(
        """SELECT (SELECT id FROM store), (SELECT coalesce(max(key), 0) FROM records),
            (SELECT coalesce(min(key), 1) FROM notes), (SELECT coalesce(max(key), 0) FROM notes)"""
    ).fetchone()
    now = f"{store}.{newest_record}.{newest_note}"
    if cursor == now:
        return None
    found = cursor and _CURSOR.fullmatch(cursor)
    if not found or found[1] != store:
        return Changes(cursor=now, resync=cursor is not None)
    record, noted = int(found[2]), int(found[3])
    if ignored is not None and ignored.first <= record <= ignored.last <= newest_record:
        record = ignored.last
        if (record, noted) == (newest_record, newest_note):
            return None
    if record > newest_record or not oldest_note - 1 <= noted <= newest_note:
        return Changes(cursor=now, resync=True)
    names: dict[str, dict[str, None]] = {"executions": {}}
    if noted < newest_note:
        for key, kind, name in connection.execute(
            "SELECT key, kind, name FROM notes WHERE key > ? ORDER BY key LIMIT ?", (noted, MOST)
        ):
            if kind == "resync":
                return Changes(cursor=now, resync=True)
            names.setdefault(kind, {})[name] = None
            noted = key
    if record < newest_record:
        record = _add_executions(connection, record, newest_record, names["executions"])
    told: dict[str, Any] = {kind: tuple(them) for kind, them in names.items()}
    return Changes(cursor=f"{store}.{record}.{noted}", **told)


def _add_executions(connection: sqlite3.Connection, after: int, newest: int, names: dict[str, None]) -> int:
    """Add the ids of executions with records after a key. Returns the key up to which they were looked at."""
    keys: set[int] = set()
    for key, execution in connection.execute(
        "SELECT key, execution FROM records WHERE key > ? ORDER BY key LIMIT ?", (after, 10 * MOST)
    ):
        if len(keys) == MOST and execution not in keys:
            break
        keys.add(execution)
        after = key
    for part in chunks(keys):
        marks = ", ".join("?" * len(part))
        for (id,) in connection.execute(f"SELECT id FROM executions WHERE key IN ({marks})", part):
            names[id] = None
    return after


def chunks(keys: Collection[int]) -> Iterable[list[int]]:
    """The keys in lists that are short enough for one statement."""
    them = list(keys)
    return (them[start : start + 500] for start in range(0, len(them), 500))
