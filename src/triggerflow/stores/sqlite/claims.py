"""Claims and releases. Each function runs inside one transaction, and a claim first purges dead owners."""

import sqlite3
from collections.abc import Collection, Iterable, Set

from ..._core.errors import ExecutionLeased, UnknownExecution
from ..protocol import ExecutionRow
from . import reading
from .ownership import Ownership

#: SQL for an execution and all its sub-flows, at any depth.
_TREE = """
    WITH RECURSIVE tree (key, id) AS (
        SELECT key, id FROM executions WHERE id = :id
        UNION SELECT e.key, e.id FROM executions e JOIN tree ON e.parent = tree.id
    ) """


def claim(connection: sqlite3.Connection, ownership: Ownership, execution: str) -> ExecutionRow:
    """See `Store.claim`."""
    ownership.purge(connection)
    found = connection.execute(
        "SELECT o.id FROM executions e LEFT JOIN owners o ON o.id = e.owner WHERE e.id = ?", (execution,)
    ).fetchone()
    if found is None:
        raise UnknownExecution(f"there is no execution {execution!r} in the store")
    if found[0] not in (None, ownership.owner):
        raise ExecutionLeased(
            f"execution {execution!r} is run by owner {found[0]} now; "
            "it can be claimed when that owner closes its store, or its lease ends"
        )
    return _take(connection, ownership, execution)


def claim_work(
    connection: sqlite3.Connection, ownership: Ownership, flows: Collection[str], limit: int, without: Set[str]
) -> list[ExecutionRow]:
    """See `Store.claim_work`."""
    ownership.purge(connection)
    marks = ", ".join("?" * len(flows))
    free = "(e.owner IS NULL OR NOT EXISTS (SELECT 1 FROM owners WHERE id = e.owner))"
    most = limit + len(without)  # ids in `without` are skipped below, since a statement takes a limited number of ids
    # Two queries, since each can use an index of its own.
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
        (*flows, ownership.clock(), most),
    ).fetchall()
    wanted = [id for _, _, id in sorted(found) if id not in without]
    return [_take(connection, ownership, id) for id in wanted[:limit]]


def _take(connection: sqlite3.Connection, ownership: Ownership, execution: str) -> ExecutionRow:
    connection.execute(
        _TREE
        + """UPDATE executions SET owner = :owner WHERE key IN (SELECT key FROM tree)
        AND NOT EXISTS (SELECT 1 FROM owners WHERE id = executions.owner)""",
        {"id": execution, "owner": ownership.owner},
    )
    row = reading.find(connection, ownership.clock(), execution)
    assert row is not None  # the caller has found it in the same transaction
    return row


def release(connection: sqlite3.Connection, ownership: Ownership, executions: Iterable[str]) -> None:
    """See `Store.release`."""
    for execution in executions:
        ours = connection.execute(
            "SELECT 1 FROM executions WHERE id = ? AND owner = ?", (execution, ownership.owner)
        ).fetchone()
        if not ours:
            continue
        freed = connection.execute(
            _TREE
            + "UPDATE executions SET owner = NULL WHERE key IN (SELECT key FROM tree) AND owner = :owner RETURNING id",
            {"id": execution, "owner": ownership.owner},
        ).fetchall()
        for (name,) in freed:
            ownership.forget(name)


def leave(connection: sqlite3.Connection, ownership: Ownership) -> None:
    """Delete the row of this owner, which releases all its executions."""
    connection.execute("DELETE FROM owners WHERE id = ?", (ownership.owner,))
