"""The inboxes of the executions. Each function runs inside one transaction."""

import sqlite3
from collections.abc import Iterable, Sequence, Set
from typing import Any

from ..._core.errors import UnknownExecution
from ..protocol import REPLY_KEPT, Append, Reply, Request
from .changes import note
from .ownership import Ownership

_SELECT = "SELECT r.id, e.id, r.kind, r.data, r.at, r.taken, r.ok, r.reply, r.replied FROM requests"
_EXECUTION = "JOIN executions e ON e.key = r.execution"

#: How many old requests one renewal of the lease deletes.
_MOST_DELETED = 1000


def _request(values: tuple[Any, ...]) -> Request:
    id, execution, kind, data, at, taken, ok, reply, replied = values
    answer = None if replied is None else Reply(request=id, ok=bool(ok), data=reply, at=replied)
    return Request(id=id, execution=execution, kind=kind, data=data, at=at, taken=bool(taken), reply=answer)


def root_of(connection: sqlite3.Connection, execution: str) -> tuple[int, int, str, str] | None:
    """The key of an execution; key, id and flow of its outermost execution. None if the id is unknown."""
    return connection.execute(
        """WITH RECURSIVE line (first, key, id, flow, parent) AS (
            SELECT key, key, id, flow, parent FROM executions WHERE id = ?
            UNION SELECT line.first, e.key, e.id, e.flow, e.parent FROM executions e JOIN line ON e.id = line.parent
        ) SELECT first, key, id, flow FROM line
        WHERE parent IS NULL OR NOT EXISTS (SELECT 1 FROM executions WHERE id = line.parent)""",
        (execution,),
    ).fetchone()


def find(connection: sqlite3.Connection, ids: Iterable[str]) -> list[Request]:
    """The requests with these ids."""
    rows = (connection.execute(f"{_SELECT} r {_EXECUTION} WHERE r.id = ?", (id,)).fetchone() for id in ids)
    return [_request(row) for row in rows if row is not None]


def post(connection: sqlite3.Connection, ownership: Ownership, request: Request) -> Request:
    """See `Store.post`."""
    if known := find(connection, [request.id]):
        return known[0]
    found = root_of(connection, request.execution)
    if found is None:
        raise UnknownExecution(f"there is no execution {request.execution!r} in the store")
    connection.execute(
        "INSERT INTO requests (id, execution, root, kind, data, at, taken) VALUES (?, ?, ?, ?, ?, ?, 0)",
        (request.id, found[0], found[1], request.kind, request.data, request.at),
    )
    note(connection, "executions", [request.execution])
    note(connection, "requests", [request.id])
    return find(connection, [request.id])[0]


def of_owner(connection: sqlite3.Connection, owner: str, limit: int, without: Set[str]) -> list[Request]:
    """Open requests of the executions of an owner."""
    # By itself SQLite goes through all requests in the order of their keys, also those that have a reply.
    rows = connection.execute(
        f"{_SELECT} r INDEXED BY requests_open {_EXECUTION} WHERE r.replied IS NULL AND e.owner = ? "
        "ORDER BY r.key LIMIT ?",
        (owner, limit + len(without)),
    )
    return [request for request in map(_request, rows) if request.id not in without][:limit]


def fetch(connection: sqlite3.Connection, ownership: Ownership, limit: int, without: Set[str]) -> list[Request]:
    """See `Store.requests`."""
    found = of_owner(connection, ownership.owner, limit, without)
    connection.executemany(
        "UPDATE requests SET fetched = ? WHERE id = ? AND fetched IS NOT ?",
        [(ownership.owner, request.id, ownership.owner) for request in found],
    )
    return found


def withdraw(connection: sqlite3.Connection, ownership: Ownership, id: str) -> Request | None:
    """See `Store.withdraw`."""
    gone = connection.execute(
        """DELETE FROM requests WHERE id = ? AND replied IS NULL AND NOT taken
            AND (fetched IS NULL OR fetched IS NOT (SELECT owner FROM executions WHERE key = requests.execution))
        RETURNING (SELECT id FROM executions WHERE key = requests.execution)""",
        (id,),
    ).fetchall()
    if not gone:
        return next(iter(find(connection, [id])), None)
    note(connection, "executions", [execution for (execution,) in gone])
    note(connection, "requests", [id])
    return None


def reply(connection: sqlite3.Connection, adds: Sequence[tuple[int, Append]]) -> None:
    """Mark and answer the requests of these appends, each with the key of its execution."""
    changed: list[str] = []
    for key, add in adds:
        for id in add.taken:
            marked = connection.execute(
                "UPDATE requests SET taken = 1 WHERE id = ? AND execution = ? AND replied IS NULL AND NOT taken",
                (id, key),
            )
            changed += [id] * marked.rowcount
        for each in add.replies:
            answered = connection.execute(
                """UPDATE requests SET ok = ?, reply = ?, replied = ?
                WHERE id = ? AND execution = ? AND replied IS NULL""",
                (each.ok, each.data, each.at, each.request, key),
            )
            changed += [each.request] * answered.rowcount
    note(connection, "requests", dict.fromkeys(changed))


def drop_old(connection: sqlite3.Connection, now: float) -> None:
    """Delete requests some time after their reply."""
    connection.execute(
        "DELETE FROM requests WHERE key IN (SELECT key FROM requests WHERE replied < ? LIMIT ?)",
        (now - REPLY_KEPT, _MOST_DELETED),
    )


def delete(connection: sqlite3.Connection, key: int) -> None:
    """Delete the requests of an execution."""
    gone = connection.execute("DELETE FROM requests WHERE execution = ? RETURNING id", (key,)).fetchall()
    note(connection, "requests", [id for (id,) in gone])
