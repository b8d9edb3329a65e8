"""Queries. Each function runs inside one transaction, so that it reads one consistent state."""

import sqlite3
from collections.abc import Collection, Set
from contextlib import closing
from typing import Any

from ..._core.errors import StoreDamaged, UnknownExecution
from ..protocol import ExecutionRow, payload_digest

_ROW = """
    SELECT e.id, e.flow, e.definition, e.options, e.parent, e.forked_execution, e.forked_records, e.created, e.status,
        e.due,
        max(e.updated, coalesce(
            (SELECT at FROM records WHERE execution = e.key ORDER BY number DESC LIMIT 1), e.updated)),
        max(e.trimmed, coalesce((SELECT max(number) + 1 FROM records WHERE execution = e.key), 0)),
        coalesce((SELECT max(item) FROM records WHERE execution = e.key AND item IS NOT NULL), 0),
        (SELECT id FROM owners WHERE id = e.owner AND expires > :now)
    FROM executions e """


def _row(values: tuple[Any, ...]) -> ExecutionRow:
    id, flow, definition, options, parent, forked, forked_records, created, status, due, *rest = values
    updated, records, items, owner = rest
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
    )


def find(connection: sqlite3.Connection, now: float, execution: str) -> ExecutionRow | None:
    """See `Store.find`. `now` decides which owners are alive."""
    values = connection.execute(_ROW + "WHERE e.id = :id", {"now": now, "id": execution}).fetchone()
    return values and _row(values)


def executions(
    connection: sqlite3.Connection,
    now: float,
    *,
    flow: str | None,
    status: Collection[str] | None,
    since: float | None,
    until: float | None,
    parent: str | None,
    after: str | None,
    limit: int,
) -> list[ExecutionRow]:
    """See `Store.executions`."""
    terms = ["e.parent IS NULL" if parent is None else "e.parent = :parent"]
    values: dict[str, Any] = {"now": now, "parent": parent, "limit": limit}
    for name, value, term in (
        ("flow", flow, "e.flow = :flow"),
        ("since", since, "e.created >= :since"),
        ("until", until, "e.created < :until"),
    ):
        if value is not None:
            terms.append(term)
            values[name] = value
    if status is not None:
        names = {f"status{index}": name for index, name in enumerate(status)}
        terms.append(f"e.status IN ({', '.join(f':{name}' for name in names)})")
        values.update(names)
    if after is not None:
        last = connection.execute("SELECT created, key FROM executions WHERE id = ?", (after,)).fetchone()
        if last is None:
            raise UnknownExecution(f"there is no execution {after!r} to list after (after=...); was it deleted?")
        terms.append("(e.created, e.key) < (:last_created, :last_key)")
        values["last_created"], values["last_key"] = last
    order = " ORDER BY e.created DESC, e.key DESC LIMIT :limit"
    return [_row(found) for found in connection.execute(f"{_ROW} WHERE {' AND '.join(terms)}{order}", values)]


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
