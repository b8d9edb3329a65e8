"""Claims and releases. Each function runs inside one transaction, and a claim first purges dead owners."""

import sqlite3
from collections.abc import Collection, Iterable, Set

from ..._core.errors import ExecutionLeased, UnknownExecution
from ..protocol import ExecutionRow
from . import reading, shared
from .changes import note
from .ownership import Ownership

#: If an owner that leaves has more executions than this, they are not noted one by one.
_MOST_NOTED = 1000

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
    free = "(e.owner IS NULL OR NOT EXISTS (SELECT 1 FROM owners WHERE id = e.owner))"
    most = limit + len(without)  # ids in `without` are skipped below, since a statement takes a limited number of ids
    found: set[tuple[float, int, str]] = set()
    for flow in flows:  # several queries, since each can use an index of its own
        for status in ("created", "running"):
            found.update(
                connection.execute(
                    f"""SELECT created, key, id FROM executions e INDEXED BY executions_listed
                    WHERE flow = ? AND parent IS NULL AND status = ? AND {free} ORDER BY created, key LIMIT ?""",
                    (flow, status, most),
                )
            )
        found.update(
            connection.execute(
                f"""SELECT created, key, id FROM executions e
                WHERE flow = ? AND parent IS NULL AND status = 'waiting' AND due IS NOT NULL AND due <= ? AND {free}
                ORDER BY due LIMIT ?""",  # in the order of the index: thousands may be due at once
                (flow, ownership.clock(), most),
            )
        )
        found.update(shared.behind(connection, flow, free))
    wanted_flows = set(flows)
    asked = connection.execute(
        f"""SELECT e.created, e.key, e.id, e.flow
        FROM (SELECT DISTINCT root FROM requests WHERE replied IS NULL) r CROSS JOIN executions e ON e.key = r.root
        WHERE parent IS NULL AND status = 'waiting' AND {free}"""
    )
    found.update((created, key, id) for created, key, id, flow in asked if flow in wanted_flows)
    wanted = [id for _, _, id in sorted(found) if id not in without]
    return [_take(connection, ownership, id) for id in wanted[:limit]]


def _take(connection: sqlite3.Connection, ownership: Ownership, execution: str) -> ExecutionRow:
    taken = connection.execute(
        _TREE
        + """UPDATE executions SET owner = :owner WHERE key IN (SELECT key FROM tree)
        AND NOT EXISTS (SELECT 1 FROM owners WHERE id = executions.owner) RETURNING id""",
        {"id": execution, "owner": ownership.owner},
    ).fetchall()
    note(connection, "executions", [id for (id,) in taken])
    row = reading.find(connection, ownership.clock(), execution)
    assert row is not None  # the caller has found it in the same transaction
    return row


def release(connection: sqlite3.Connection, ownership: Ownership, executions: Iterable[str]) -> None:
    """See `Store.release`."""
    for execution in executions:
        ours = connection.execute(
            "SELECT 1 FROM executions WHERE id = ? AND owner = ?", (execution, ownership.owner)
        ).fetchone()
        if ours:
            release_tree(connection, ownership, execution)


def release_tree(connection: sqlite3.Connection, ownership: Ownership, execution: str) -> None:
    """Give up an execution of this owner and its sub-flows."""
    freed = connection.execute(
        _TREE
        + "UPDATE executions SET owner = NULL WHERE key IN (SELECT key FROM tree) AND owner = :owner RETURNING id",
        {"id": execution, "owner": ownership.owner},
    ).fetchall()
    for (id,) in freed:
        ownership.forget(id)
    note(connection, "executions", [id for (id,) in freed])


def leave(connection: sqlite3.Connection, ownership: Ownership, kept: Set[str]) -> None:
    """Delete the row of this owner, which releases all its executions. If there are some to keep, release the others,
    and leave the row until the lease ends."""
    # Without an index on the owner: this happens once, and the index would cost something with each execution.
    owned = connection.execute(
        "SELECT id FROM executions WHERE owner = ? LIMIT ?", (ownership.owner, _MOST_NOTED + 1)
    ).fetchall()
    if len(owned) > _MOST_NOTED:
        note(connection, "resync", [ownership.owner])
    else:
        note(connection, "executions", [id for (id,) in owned])
    if kept:
        owned = connection.execute("SELECT id FROM executions WHERE owner = ?", (ownership.owner,)).fetchall()
        release = "UPDATE executions SET owner = NULL WHERE id = ?"
        connection.executemany(release, [row for row in owned if row[0] not in kept])
    else:
        connection.execute("DELETE FROM owners WHERE id = ?", (ownership.owner,))
