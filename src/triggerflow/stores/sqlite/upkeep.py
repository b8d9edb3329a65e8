"""Deletes data that is not needed any more. Each function runs inside one transaction."""

import sqlite3
from collections.abc import Collection, Iterable

from ..._core.errors import StoreConflict, UnknownExecution
from ..protocol import FINAL_STATUSES
from . import inbox
from .changes import drop_old_notes, keep_newest_key, newest_key, note
from .ownership import Ownership


def trim(
    connection: sqlite3.Connection, ownership: Ownership, execution: str, records: int, payloads: Collection[str] | None
) -> int:
    """See `Store.trim`."""
    found = connection.execute(
        """SELECT key, max(trimmed, coalesce((SELECT max(number) + 1 FROM records WHERE execution = executions.key), 0))
        FROM executions WHERE id = ?""",
        (execution,),
    ).fetchone()
    if found is None:
        raise UnknownExecution(f"there is no execution {execution!r} in the store")
    key, count = found
    later = connection.execute("SELECT 1 FROM snapshots WHERE execution = ? AND records >= ?", (key, records))
    if later.fetchone() is None:
        raise StoreConflict(
            f"execution {execution!r} has no snapshot after {records} records or more: without these records "
            "it could not be restored; put a snapshot first"
        )
    connection.execute("DELETE FROM snapshots WHERE execution = ? AND records < ?", (key, records))
    # The last record may be deleted below, so that its number and time are copied into the row of the execution.
    connection.execute(
        """UPDATE executions SET trimmed = max(trimmed, ?), updated = max(updated, coalesce(
            (SELECT at FROM records WHERE execution = ? ORDER BY number DESC LIMIT 1), updated)) WHERE key = ?""",
        (records, key, key),
    )
    if payloads is not None and count <= records:
        used = connection.execute("SELECT digest FROM payload_uses WHERE execution = ?", (key,)).fetchall()
        _drop_payloads(connection, key, [digest for (digest,) in used if digest not in payloads])
    newest = newest_key(connection)
    deleted = connection.execute(
        "DELETE FROM records WHERE execution = ? AND number < ? AND item IS NULL", (key, records)
    ).rowcount
    keep_newest_key(connection, newest)
    note(connection, "executions", [execution])
    return deleted


def delete(connection: sqlite3.Connection, ownership: Ownership, executions: Iterable[str]) -> int:
    """See `Store.delete`."""
    count, newest = 0, newest_key(connection)
    for execution in executions:
        tree = connection.execute(
            """WITH RECURSIVE tree (key, id, status) AS (
                SELECT key, id, status FROM executions WHERE id = ?
                UNION SELECT e.key, e.id, e.status FROM executions e JOIN tree ON e.parent = tree.id
            ) SELECT key, id, status FROM tree""",
            (execution,),
        ).fetchall()
        if any(status not in FINAL_STATUSES for _, _, status in tree):
            continue
        for key, _, _ in tree:
            _delete_one(connection, key)
        note(connection, "executions", [id for _, id, _ in tree])
        count += len(tree)
    keep_newest_key(connection, newest)
    return count


def _delete_one(connection: sqlite3.Connection, key: int) -> None:
    used = connection.execute("SELECT digest FROM payload_uses WHERE execution = ?", (key,)).fetchall()
    _drop_payloads(connection, key, [digest for (digest,) in used])
    connection.execute("DELETE FROM snapshots WHERE execution = ?", (key,))
    connection.execute("DELETE FROM records WHERE execution = ?", (key,))
    connection.execute("DELETE FROM labels WHERE execution = ?", (key,))
    connection.execute("DELETE FROM words WHERE execution = ?", (key,))
    inbox.delete(connection, key)
    connection.execute("DELETE FROM executions WHERE key = ?", (key,))


def _drop_payloads(connection: sqlite3.Connection, key: int, digests: list[str]) -> None:
    """Drop references of an execution to payloads, and delete those to which no execution refers."""
    connection.executemany(
        "DELETE FROM payload_uses WHERE execution = ? AND digest = ?", [(key, digest) for digest in digests]
    )
    connection.executemany(
        "DELETE FROM payloads WHERE digest = ? AND NOT EXISTS (SELECT 1 FROM payload_uses WHERE digest = ?)",
        [(digest, digest) for digest in digests],
    )


def sweep(connection: sqlite3.Connection, ownership: Ownership) -> None:
    """Delete old notes and old requests. Also renews the lease, as every transaction can: see `Ownership.begin`."""
    drop_old_notes(connection)
    inbox.drop_old(connection, ownership.clock())


def cut(connection: sqlite3.Connection, ownership: Ownership, pages: int) -> int:
    """Move up to so many pages from the end of the file into its free pages. Returns how many free pages are left."""
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    return connection.execute("PRAGMA freelist_count").fetchone()[0]
