"""Schedules. Each function runs inside one transaction."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from ..protocol import Append, ScheduleRow, changed_meanwhile
from . import writing
from .changes import note
from .ownership import Ownership

TABLES = (
    """CREATE TABLE schedules (
        id TEXT NOT NULL PRIMARY KEY,
        flow TEXT NOT NULL,
        data BLOB NOT NULL,
        due REAL,
        version TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX schedules_due ON schedules (due, id) WHERE due IS NOT NULL",
)

_SELECT = "SELECT id, flow, data, due, version FROM schedules "


def _row(values: tuple[Any, ...]) -> ScheduleRow:
    id, flow, data, due, version = values
    return ScheduleRow(id=id, flow=flow, data=data, due=due, version=version)


def put(
    connection: sqlite3.Connection,
    ownership: Ownership,
    row: ScheduleRow,
    replaces: str | None,
    starts: Sequence[Append],
) -> None:
    """See `Store.put_schedule`."""
    if replaces is None:
        statement = """INSERT INTO schedules (flow, data, due, version, id) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (id) DO NOTHING"""
        values = (row.flow, row.data, row.due, row.version, row.id)
    else:
        statement = "UPDATE schedules SET flow = ?, data = ?, due = ?, version = ? WHERE id = ? AND version = ?"
        values = (row.flow, row.data, row.due, row.version, row.id, replaces)
    if not connection.execute(statement, values).rowcount:
        raise changed_meanwhile(row.id)
    note(connection, "schedules", [row.id])
    if starts:
        writing.append(connection, ownership, starts)


def delete(connection: sqlite3.Connection, ownership: Ownership, schedule: str) -> bool:
    """See `Store.delete_schedule`."""
    if not connection.execute("DELETE FROM schedules WHERE id = ?", (schedule,)).rowcount:
        return False
    note(connection, "schedules", [schedule])
    return True


def find(connection: sqlite3.Connection, schedule: str) -> ScheduleRow | None:
    """See `Store.schedule`."""
    values = connection.execute(_SELECT + "WHERE id = ?", (schedule,)).fetchone()
    return values and _row(values)


def several(connection: sqlite3.Connection, flow: str | None, after: str | None, limit: int) -> list[ScheduleRow]:
    """See `Store.schedules`."""
    found = connection.execute(
        _SELECT + "WHERE (:flow IS NULL OR flow = :flow) AND id > coalesce(:after, '') ORDER BY id LIMIT :limit",
        {"flow": flow, "after": after, "limit": limit},
    )
    return [_row(values) for values in found]


def next_due(
    connection: sqlite3.Connection, flows: Collection[str], after: tuple[float, str] | None, limit: int
) -> list[ScheduleRow]:
    """See `Store.next_schedules`."""
    marks = ", ".join("?" * len(flows))
    beyond, last = ("AND (due, id) > (?, ?)", after) if after is not None else ("", ())
    found = connection.execute(
        f"{_SELECT} WHERE due IS NOT NULL AND flow IN ({marks}) {beyond} ORDER BY due, id LIMIT ?",
        (*flows, *last, limit),
    )
    return [_row(values) for values in found]
