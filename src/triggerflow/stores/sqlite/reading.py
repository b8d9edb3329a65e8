"""Queries. Each function runs inside one transaction, so that it reads one consistent state."""

import json
import sqlite3
from collections.abc import Collection, Sequence, Set
from contextlib import closing
from typing import Any

from ..._core.errors import StoreDamaged
from ..protocol import ExecutionRow, payload_digest
from .changes import chunks

_ROW = """
    SELECT e.id, e.flow, e.definition, e.options, e.parent, e.forked_execution, e.forked_records, e.created, e.status,
        e.due,
        max(e.updated, coalesce(
            (SELECT at FROM records WHERE execution = e.key ORDER BY number DESC LIMIT 1), e.updated)),
        max(e.trimmed, coalesce((SELECT max(number) + 1 FROM records WHERE execution = e.key), 0)),
        coalesce((SELECT max(item) FROM records WHERE execution = e.key AND item IS NOT NULL), 0),
        (SELECT id FROM owners WHERE id = e.owner AND expires > :now),
        e.labels, e.error, (SELECT count(*) FROM questions WHERE execution = e.id),
        (SELECT min(heard) FROM listeners WHERE execution = e.key)
    FROM executions e """


def _row(values: tuple[Any, ...]) -> ExecutionRow:
    id, flow, definition, options, parent, forked, forked_records, created, status, due, *rest = values
    updated, records, items, owner, labels, error, questions, heard = rest
    return ExecutionRow(
        id=id,
        flow=flow,
        definition=definition,
        options=options,
        parent=parent,
        forked_from=None if forked is None else (forked, forked_records),
        created=created,
        updated=updated,
        status=status,
        due=due,
        records=records,
        items=items,
        owner=owner,
        labels=json.loads(labels) if labels else {},
        error=error,
        questions=questions,
        heard=heard,
    )


def find(connection: sqlite3.Connection, now: float, execution: str) -> ExecutionRow | None:
    """See `Store.find`. `now` decides which owners are alive."""
    values = connection.execute(_ROW + "WHERE e.id = :id", {"now": now, "id": execution}).fetchone()
    return values and _row(values)


def rows(connection: sqlite3.Connection, now: float, keys: Sequence[int]) -> list[ExecutionRow]:
    """The rows of executions by key, the newest execution first."""
    found: list[ExecutionRow] = []
    for part in chunks(keys):
        marks = ", ".join(map(str, part))
        query = f"{_ROW} WHERE e.key IN ({marks}) ORDER BY e.created DESC, e.key DESC"
        found += [_row(values) for values in connection.execute(query, {"now": now})]
    return found


def records(connection: sqlite3.Connection, execution: str, first: int, limit: int) -> list[tuple[int, bytes]]:
    """See `Store.records`."""
    return connection.execute(
        """SELECT number, data FROM records WHERE execution = (SELECT key FROM executions WHERE id = ?) AND number >= ?
        ORDER BY number LIMIT ?""",
        (execution, first, limit),
    ).fetchall()


def items(connection: sqlite3.Connection, execution: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    """See `Store.items`."""
    return connection.execute(
        """SELECT item, data FROM records WHERE execution = (SELECT key FROM executions WHERE id = ?) AND item > ?
        ORDER BY item LIMIT ?""",
        (execution, after, limit),
    ).fetchall()


def payloads(connection: sqlite3.Connection, digests: Collection[str]) -> dict[str, bytes]:
    """See `Store.payloads`."""
    found: dict[str, bytes] = {}
    for digest in digests:
        row = connection.execute("SELECT data FROM payloads WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise StoreDamaged(f"the payload {digest} is missing; was the execution that refers to it deleted?")
        if payload_digest(row[0]) != digest:
            raise StoreDamaged(f"the payload {digest} does not match its digest; restore a copy of the file")
        found[digest] = row[0]
    return found


def snapshot(connection: sqlite3.Connection, execution: str, records: int | None) -> tuple[int, str, bytes] | None:
    """See `Store.snapshot`."""
    return connection.execute(
        """SELECT records, definition, data FROM snapshots
        WHERE execution = (SELECT key FROM executions WHERE id = ?) AND records <= coalesce(?, records)
        ORDER BY records DESC LIMIT 1""",
        (execution, records),
    ).fetchone()


def definition(connection: sqlite3.Connection, fingerprint: str) -> bytes | None:
    """See `Store.definition`."""
    row = connection.execute("SELECT data FROM definitions WHERE fingerprint = ?", (fingerprint,)).fetchone()
    return row and row[0]


def next_due(connection: sqlite3.Connection, now: float, flows: Collection[str], without: Set[str]) -> float | None:
    """See `Store.next_due`."""
    query = """SELECT id, due FROM executions e
        WHERE flow = ? AND parent IS NULL AND status = 'waiting' AND due IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM owners WHERE id = e.owner AND expires > ?)
        ORDER BY due"""
    dues: list[float] = []
    for flow in flows:
        with closing(connection.execute(query, (flow, now))) as rows:
            first = next((due for id, due in rows if id not in without), None)
        if first is not None:
            dues.append(first)
    return min(dues, default=None)
