"""The shared data of flows. Each function runs inside one transaction.

The changes of a flow are numbered in `shared_flows`, and kept in `shared_changes` until they are folded into
`shared_values`. `listeners` has a row for each key to which an execution listens.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..protocol import Append, SharedChange, SharedLog
from .changes import note
from .ownership import Ownership

#: The tables; a part of a step of `schema`.
TABLES = (
    # `floor`: up to which number keys were folded that have no value any more.
    "CREATE TABLE shared_flows (flow TEXT NOT NULL PRIMARY KEY, newest INTEGER NOT NULL, floor INTEGER NOT NULL)",
    """CREATE TABLE shared_changes (
        flow TEXT NOT NULL,
        number INTEGER NOT NULL,
        key TEXT NOT NULL,
        op TEXT NOT NULL,
        data BLOB NOT NULL,
        emit INTEGER NOT NULL,
        execution TEXT,
        PRIMARY KEY (flow, number)
    )""",
    "CREATE INDEX shared_changes_key ON shared_changes (flow, key, number)",
    """CREATE TABLE shared_values (
        flow TEXT NOT NULL,
        key TEXT NOT NULL,
        number INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (flow, key)
    )""",
    """CREATE TABLE listeners (
        execution INTEGER NOT NULL,
        key TEXT NOT NULL,
        flow TEXT NOT NULL,
        heard INTEGER NOT NULL,
        PRIMARY KEY (execution, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX listeners_heard ON listeners (flow, key, heard)",
)

#: Whether a listener `l` of execution `e` has to take a change `c`.
_IS_NEWS = "c.flow = l.flow AND c.key = l.key AND c.number > l.heard AND c.emit AND c.execution IS NOT e.id"


def newest(connection: sqlite3.Connection, flows: Collection[str]) -> dict[str, int]:
    """The number of the newest change of each of these flows that has shared data."""
    marks = ", ".join("?" * len(flows))
    return dict(
        connection.execute(f"SELECT flow, newest FROM shared_flows WHERE flow IN ({marks})", list(flows)).fetchall()
    )


def write(connection: sqlite3.Connection, adds: Iterable[tuple[int, str, Append]]) -> None:
    """Write what these appends say about shared data, each with the key and the flow of its execution."""
    for key, flow, add in adds:
        if add.listens is not None:
            listen(connection, key, flow, add.listens, add.heard)
        elif add.heard is not None:
            connection.execute(
                "UPDATE listeners SET heard = max(heard, ?) WHERE execution = ? AND heard < ?",
                (add.heard, key, add.heard),
            )
        if add.shared:
            before = newest(connection, [flow]).get(flow, 0)
            last = _add(connection, flow, before, add.shared, add.execution)
            connection.execute("UPDATE listeners SET heard = ? WHERE execution = ? AND heard >= ?", (last, key, before))


def listen(connection: sqlite3.Connection, execution: int, flow: str, keys: Collection[str], heard: int | None) -> None:
    """Let an execution listen to exactly these keys."""
    forget(connection, [execution])
    if not keys:
        return
    if heard is None:
        heard = newest(connection, [flow]).get(flow, 0)
    for key in keys:
        folded = connection.execute(
            "SELECT number FROM shared_values WHERE flow = ? AND key = ? AND number > ?", (flow, key, heard)
        ).fetchone()
        heard = heard if folded is None else folded[0]
    connection.executemany(
        "INSERT INTO listeners (execution, key, flow, heard) VALUES (?, ?, ?, ?)",
        [(execution, key, flow, heard) for key in keys],
    )


def forget(connection: sqlite3.Connection, executions: Iterable[int]) -> None:
    """Let executions listen to nothing any more."""
    connection.executemany("DELETE FROM listeners WHERE execution = ?", [(key,) for key in executions])


def behind(connection: sqlite3.Connection, flow: str, free: str) -> list[tuple[float, int, str]]:
    """The executions of a flow that have not heard of a change which they have to take, as (created, key, id).

    `free` is a condition on the execution `e`."""
    return connection.execute(
        f"""SELECT DISTINCT e.created, e.key, e.id
        FROM (SELECT key, max(number) AS newest FROM shared_changes WHERE flow = :flow AND emit GROUP BY key) n
        CROSS JOIN listeners l ON l.flow = :flow AND l.key = n.key AND l.heard < n.newest
        CROSS JOIN executions e ON e.key = l.execution
        WHERE e.parent IS NULL AND e.status = 'waiting' AND {free}
            AND EXISTS (SELECT 1 FROM shared_changes c WHERE {_IS_NEWS})""",
        {"flow": flow},
    ).fetchall()


def forget_ended(connection: sqlite3.Connection, ended: Mapping[str, Iterable[int]]) -> None:
    """Let executions that have ended listen to nothing any more. They are given by flow: in most flows none listens."""
    for flow, keys in ended.items():
        if connection.execute("SELECT 1 FROM listeners WHERE flow = ? LIMIT 1", (flow,)).fetchone():
            forget(connection, keys)


def change(connection: sqlite3.Connection, ownership: Ownership, flow: str, changes: Sequence[SharedChange]) -> int:
    """See `Store.change_shared`."""
    return _add(connection, flow, newest(connection, [flow]).get(flow, 0), changes, None)


def _add(
    connection: sqlite3.Connection, flow: str, before: int, changes: Sequence[SharedChange], by: str | None
) -> int:
    connection.executemany(
        "INSERT INTO shared_changes (flow, number, key, op, data, emit, execution) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(flow, number, it.key, it.op, it.data, it.emit, by) for number, it in enumerate(changes, before + 1)],
    )
    last = before + len(changes)
    connection.execute(
        """INSERT INTO shared_flows (flow, newest, floor) VALUES (?, ?, 0)
        ON CONFLICT (flow) DO UPDATE SET newest = excluded.newest""",
        (flow, last),
    )
    note(connection, "flows", [flow])
    return last


def log(connection: sqlite3.Connection, flow: str, after: int, limit: int) -> SharedLog:
    """See `Store.shared`."""
    found = connection.execute("SELECT newest, floor FROM shared_flows WHERE flow = ?", (flow,)).fetchone()
    last, floor = found or (0, 0)
    whole = after < floor or after > last
    after = 0 if whole else after
    values = connection.execute(
        "SELECT key, number, data FROM shared_values WHERE flow = ? AND number > ?", (flow, after)
    )
    changes = connection.execute(
        """SELECT key, op, data, emit, number, execution FROM shared_changes WHERE flow = ? AND number > ?
        ORDER BY number LIMIT ?""",
        (flow, after, limit),
    )
    return SharedLog(
        newest=last,
        whole=whole,
        values={key: (number, data) for key, number, data in values},
        changes=[_change(*each) for each in changes],
    )


def _change(key: str, op: Any, data: bytes, emit: int, number: int, by: str | None) -> SharedChange:
    return SharedChange(key=key, op=op, data=data, emit=bool(emit), number=number, by=by)


def fold(
    connection: sqlite3.Connection,
    ownership: Ownership,
    flow: str,
    values: Mapping[str, tuple[int, bytes | None]],
) -> list[str]:
    """See `Store.fold_shared`."""
    done: list[str] = []
    for key, (number, value) in values.items():
        news = connection.execute(
            f"""SELECT 1 FROM listeners l JOIN executions e ON e.key = l.execution JOIN shared_changes c ON {_IS_NEWS}
            WHERE l.flow = ? AND l.key = ? AND l.heard < ? AND c.number <= ? LIMIT 1""",
            (flow, key, number, number),
        ).fetchone()
        if news:
            continue
        gone = connection.execute(
            "DELETE FROM shared_changes WHERE flow = ? AND key = ? AND number <= ?", (flow, key, number)
        )
        if not gone.rowcount:
            continue
        if value is None:
            connection.execute("DELETE FROM shared_values WHERE flow = ? AND key = ?", (flow, key))
            connection.execute("UPDATE shared_flows SET floor = max(floor, ?) WHERE flow = ?", (number, flow))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO shared_values (flow, key, number, data) VALUES (?, ?, ?, ?)",
                (flow, key, number, value),
            )
        done.append(key)
    return done
