"""Deletes data that is not needed any more."""

import secrets
from collections.abc import Collection, Iterable

from ..._core.errors import StoreConflict, UnknownExecution
from .connections import Committed, Database
from .text import write


async def trim(database: Database, execution: str, records: int, payloads: Collection[str] | None) -> int:
    """See `Store.trim`."""
    token, kept = secrets.token_hex(8), None if payloads is None else [write(digest) for digest in payloads]
    (count,) = await database.write("trim", lambda: (token, write(execution), records, kept))
    if count == -1:
        raise UnknownExecution(f"there is no execution {execution!r} in the store")
    if count == -2:
        raise StoreConflict(
            f"execution {execution!r} has no snapshot after {records} records or more: without these records "
            "it could not be restored; put a snapshot first"
        )
    return count


async def delete(database: Database, executions: Iterable[str]) -> int:
    """See `Store.delete`."""
    token, names = secrets.token_hex(8), [write(id) for id in executions]
    try:
        (count,) = await database.write("delete", lambda: (token, names), token=token)
    except Committed:
        rows = await database.read("SELECT cardinality(gone) FROM {s}.changes WHERE token = %s", (token,))
        count = sum(number for (number,) in rows)
    return count
