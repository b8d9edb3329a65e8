"""Writes records, payloads, snapshots and definitions. Each function runs inside one transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..._core.errors import StoreConflict
from ..protocol import FINAL_STATUSES, Append, ExecutionCopy, ExecutionRow
from ..thinning import superseded
from . import reading
from .ownership import Claim, Ownership


def append(connection: sqlite3.Connection, ownership: Ownership, appends: Sequence[Append]) -> None:
    """See `Store.append`. One statement inserts the records of all executions, in their order."""
    records: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    for add in appends:
        name, at = add.execution, add.at
        if add.create is None:
            held = ownership.require(connection, name, reopens=add.reopens)
        else:
            held = _create(connection, ownership, add, add.create)
        key, count, status, due = held
        if add.first != count:
            raise StoreConflict(
                f"execution {name!r} has {count} records: the next one is number {count}, not {add.first}"
            )
        for record in add.records:
            records.append((key, count, record.item or None, at, record.data))
            count += 1
        if add.status != status or add.due != due:
            owner = None if add.status in FINAL_STATUSES else ownership.owner
            changed.append((add.status, add.due, at, owner, key))
        if add.payloads:
            _store_payloads(connection, key, add.payloads)
        ownership.remember(name, Claim(key, count, add.status, add.due))
    connection.executemany("INSERT INTO records (execution, number, item, at, data) VALUES (?, ?, ?, ?, ?)", records)
    if changed:
        connection.executemany(
            "UPDATE executions SET status = ?, due = ?, updated = max(updated, ?), owner = ? WHERE key = ?", changed
        )


def _create(connection: sqlite3.Connection, ownership: Ownership, add: Append, row: ExecutionRow) -> Claim:
    if row.id != add.execution:
        raise ValueError(f"the append is for execution {add.execution!r}, but creates {row.id!r}")
    forked_execution, forked_records = row.forked_from or (None, None)
    owner = None if add.status in FINAL_STATUSES else ownership.owner
    cursor = connection.execute(
        """INSERT INTO executions (id, flow, definition, options, parent, forked_execution, forked_records, created,
            updated, status, due, owner, trimmed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
        ON CONFLICT (id) DO NOTHING""",
        (
            *(row.id, row.flow, row.definition, row.options, row.parent, forked_execution, forked_records),
            *(row.created, add.at, add.status, add.due, owner),
        ),
    )
    if not cursor.rowcount or cursor.lastrowid is None:
        raise StoreConflict(f"execution {row.id!r} exists already")
    return Claim(cursor.lastrowid, 0, add.status, add.due)


def _store_payloads(connection: sqlite3.Connection, key: int, payloads: dict[str, bytes]) -> None:
    connection.executemany(
        "INSERT INTO payloads (digest, data) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING", payloads.items()
    )
    connection.executemany(
        "INSERT INTO payload_uses (execution, digest) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(key, digest) for digest in payloads],
    )


def put_snapshot(
    connection: sqlite3.Connection, ownership: Ownership, execution: str, records: int, definition: str, data: bytes
) -> None:
    """See `Store.put_snapshot`."""
    row = reading.find(connection, ownership.clock(), execution)
    if row is None or row.status not in FINAL_STATUSES:
        count = ownership.require(connection, execution).records
        if records > count:
            raise StoreConflict(f"execution {execution!r} has {count} records: there is no state after {records}")
    elif (records, definition) != (row.records, row.definition):
        raise StoreConflict(
            f"execution {execution!r} has ended ({row.status}); only a snapshot after its last record can be added"
        )
    connection.execute(
        """INSERT OR REPLACE INTO snapshots (execution, records, definition, data)
        SELECT key, ?, ?, ? FROM executions WHERE id = ?""",
        (records, definition, data, execution),
    )
    kept = connection.execute(
        """SELECT records, definition FROM snapshots WHERE execution = (SELECT key FROM executions WHERE id = ?)
        ORDER BY records""",
        (execution,),
    )
    connection.executemany(
        "DELETE FROM snapshots WHERE execution = (SELECT key FROM executions WHERE id = ?) AND records = ?",
        [(execution, number) for number in superseded(kept.fetchall())],
    )
    connection.execute(
        "UPDATE executions SET definition = ? WHERE id = ? AND definition != ?", (definition, execution, definition)
    )


def put_copies(connection: sqlite3.Connection, ownership: Ownership, copies: Sequence[ExecutionCopy]) -> None:
    """See `Store.put_copies`."""
    for copy in copies:
        row = copy.row
        first = Append(execution=row.id, first=0, records=[], status=row.status, due=row.due, at=row.updated)
        key = _create(connection, ownership, first, row).key
        connection.executemany(
            "INSERT INTO records (execution, number, item, at, data) VALUES (?, ?, ?, ?, ?)",
            [(key, number, record.item or None, row.updated, record.data) for number, record in copy.records],
        )
        connection.executemany(
            "INSERT INTO snapshots (execution, records, definition, data) VALUES (?, ?, ?, ?)",
            [(key, *snapshot) for snapshot in copy.snapshots],
        )
        # The newest records may have been trimmed, so that the number of records has to come from the row.
        connection.execute("UPDATE executions SET trimmed = ? WHERE key = ?", (row.records, key))
        _store_payloads(connection, key, copy.payloads)
        ownership.remember(row.id, Claim(key, row.records, row.status, row.due))


def put_definition(connection: sqlite3.Connection, ownership: Ownership, fingerprint: str, data: bytes) -> None:
    """See `Store.put_definition`."""
    connection.execute(
        "INSERT INTO definitions (fingerprint, data) VALUES (?, ?) ON CONFLICT (fingerprint) DO NOTHING",
        (fingerprint, data),
    )
