"""Who runs what. Each function runs inside one transaction, after dead owners were purged where that matters."""

import sqlite3
from collections.abc import Collection, Iterable, Set

from ..._core.errors import ExecutionLeased, UnknownExecution
from ..protocol import ExecutionRow
from . import reading
from .ownership import Ownership

#: An execution and all sub-flows below it.
_TREE = """
    WITH RECURSIVE tree (key, id) AS (
        SELECT key, id FROM executions WHERE id = :id
        UNION SELECT e.key, e.id FROM executions e JOIN tree ON e.parent = tree.id
    ) """


def claim(connection: sqlite3.Connection, tenure: Ownership, execution: str) -> ExecutionRow:
    """See `Store.claim`."""
    tenure.purge(connection)
    found = connection.execute(
        "SELECT o.id FROM executions e LEFT JOIN owners o ON o.id = e.owner WHERE e.id = ?", (execution,)
    ).fetchone()
    if found is None:
        raise UnknownExecution(f"there is no execution {execution!r} in the store")
    if found[0] not in (None, tenure.owner):
        raise ExecutionLeased(
            f"execution {execution!r} is run by owner {found[0]} now; "
            "it is free when that store is closed, or was not heard of for its lease"
        )
    return _take(connection, tenure, execution)


def claim_work(
    connection: sqlite3.Connection, tenure: Ownership, flows: Collection[str], limit: int, without: Set[str]
) -> list[ExecutionRow]:
    """See `Store.claim_work`."""
    tenure.purge(connection)
    marks = ", ".join("?" * len(flows))
    free = "(e.owner IS NULL OR NOT EXISTS (SELECT 1 FROM owners WHERE id = e.owner))"
    most = limit + len(without)  # those left alone are passed over below: a statement can name so many ids only
    # Two queries, since each has an index of its own.
    found = connection.execute(
        f"""SELECT created, key, id FROM executions e
        WHERE flow IN ({marks}) AND parent IS NULL AND status IN ('created', 'running') AND {free}
        ORDER BY created, key LIMIT ?""",
        (*flows, most),
    ).fetchall()
    found += connection.execute(
        f"""SELECT created, key, id FROM executions e
        WHERE flow IN ({marks}) AND parent IS NULL AND status = 'waiting' AND due IS NOT NULL AND due <= ? AND {free}
        ORDER BY created, key LIMIT ?""",
        (*flows, tenure.clock(), most),
    ).fetchall()
    wanted = [id for _, _, id in sorted(found) if id not in without]
    return [_take(connection, tenure, id) for id in wanted[:limit]]


def _take(connection: sqlite3.Connection, tenure: Ownership, execution: str) -> ExecutionRow:
    connection.execute(
        _TREE
        + """UPDATE executions SET owner = :owner WHERE key IN (SELECT key FROM tree)
        AND NOT EXISTS (SELECT 1 FROM owners WHERE id = executions.owner)""",
        {"id": execution, "owner": tenure.owner},
    )
    row = reading.find(connection, tenure.clock(), execution)
    assert row is not None  # it was there a statement ago, in the same transaction
    return row


def release(connection: sqlite3.Connection, tenure: Ownership, executions: Iterable[str]) -> None:
    """See `Store.release`."""
    for execution in executions:
        ours = connection.execute(
            "SELECT 1 FROM executions WHERE id = ? AND owner = ?", (execution, tenure.owner)
        ).fetchone()
        if not ours:
            continue
        freed = connection.execute(
            _TREE
            + "UPDATE executions SET owner = NULL WHERE key IN (SELECT key FROM tree) AND owner = :owner RETURNING id",
            {"id": execution, "owner": tenure.owner},
        ).fetchall()
        for (name,) in freed:
            tenure.forget(name)


def leave(connection: sqlite3.Connection, tenure: Ownership) -> None:
    """Give everything back: without its row, an owner has nothing."""
    connection.execute("DELETE FROM owners WHERE id = ?", (tenure.owner,))
