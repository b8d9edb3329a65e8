"""The inbox: requests of any process to the owners of executions."""

import secrets
from collections.abc import Iterable, Set

from ..._core.errors import UnknownExecution
from ..protocol import Reply, Request
from .connections import Database, Row
from .text import read, write

_REQUEST = """
    SELECT q.id, e.id, q.kind, q.data, q.at, q.taken, q.ok, q.reply, q.replied
    FROM {s}.requests q JOIN {s}.executions e ON e.key = q.execution """


def _request(row: Row) -> Request:
    id, execution, kind, data, at, taken, ok, reply, replied = row
    return Request(
        id=read(id),
        execution=read(execution),
        kind=read(kind),
        data=data,
        at=at,
        taken=taken,
        reply=None if replied is None else Reply(request=read(id), ok=ok, data=reply, at=replied),
    )


async def post(database: Database, request: Request) -> Request:
    """See `Store.post`."""
    token = secrets.token_hex(8)
    texts = write(request.id), write(request.execution), write(request.kind)
    (outcome,) = await database.write("post", lambda: (token, *texts, request.data, request.at))
    if outcome == "posted":
        return Request(id=request.id, execution=request.execution, kind=request.kind, data=request.data, at=request.at)
    found = await by_ids(database, [request.id]) if outcome == "known" else []
    if not found:
        raise UnknownExecution(f"there is no execution {request.execution!r} in the store")
    return found[0]


async def by_ids(database: Database, ids: Iterable[str]) -> list[Request]:
    """See `Store.requests`, with ids."""
    names = [write(id) for id in ids]
    rows = await database.read(_REQUEST + "WHERE q.id = ANY (%s)", (names,))
    found = {row[0]: _request(row) for row in rows}
    return [found[name] for name in names if name in found]


async def fetch(database: Database, limit: int, without: Set[str]) -> list[Request]:
    """See `Store.requests`, without ids."""
    skipped = [write(id) for id in without]
    columns = await database.write("fetch_requests", lambda: (limit, skipped), announces=False)
    if columns[0] is None:
        return []
    return [
        Request(id=read(id), execution=read(execution), kind=read(kind), data=data, at=at, taken=taken)
        for id, execution, kind, data, at, taken in zip(*columns, strict=True)
    ]


async def withdraw(database: Database, request: str) -> Request | None:
    """See `Store.withdraw`."""
    token = secrets.token_hex(8)
    await database.write("withdraw", lambda: (token, write(request)))
    found = await by_ids(database, [request])
    return found[0] if found else None
