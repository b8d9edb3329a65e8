"""Claims and releases. A claim first deletes the rows of dead owners."""

import secrets
from collections.abc import Collection, Iterable, Set
from typing import Any

from ..._core.errors import ExecutionLeased, StoreUnavailable, UnknownExecution
from ..processes import has_ended
from ..protocol import ExecutionRow
from . import reading
from .connections import Committed
from .ownership import Claim, Ownership
from .text import read, write


async def _ended(ownership: Ownership) -> list[str]:
    """The owners whose processes are known to have ended, so that nobody waits for their leases."""
    owners = await ownership.database.read("SELECT id FROM {s}.owners", nested=True)
    return [owner for (owner,) in owners if owner != write(ownership.database.owner) and has_ended(read(owner))]


async def claim(ownership: Ownership, execution: str) -> ExecutionRow:
    """See `Store.claim`."""
    database, token = ownership.database, secrets.token_hex(8)

    async def values() -> tuple[Any, ...]:
        return token, database.settings.now(), await _ended(ownership), write(execution)

    (holder,) = await database.write("claim", values)
    if holder is not None and holder != write(database.owner):
        raise ExecutionLeased(
            f"execution {execution!r} is run by owner {read(holder)} now; "
            "it can be claimed when that owner closes its store, or its lease ends"
        )
    found = await reading.find_with_key(database, execution)
    if found is None:
        raise UnknownExecution(f"there is no execution {execution!r} in the store")
    return _claimed(ownership, *found)


async def claim_work(ownership: Ownership, flows: Collection[str], limit: int, without: Set[str]) -> list[ExecutionRow]:
    """See `Store.claim_work`."""
    database, token = ownership.database, secrets.token_hex(8)
    names, skipped = [write(flow) for flow in flows], [write(id) for id in without]

    async def values() -> tuple[Any, ...]:
        return token, database.settings.now(), await _ended(ownership), names, limit, skipped

    try:
        try:
            (keys,) = await database.write("claim_work", values, token=token, announces=lambda row: bool(row[0]))
        except Committed:
            rows = await database.read("SELECT executions FROM {s}.changes WHERE token = %s", (token,))
            keys = [key for (some,) in rows for key in some]
        if not keys:
            return []
        return [_claimed(ownership, *found) for found in await reading.by_keys(database, keys)]
    except StoreUnavailable:
        database.lost_claim(token)
        raise


def _claimed(ownership: Ownership, key: int, row: ExecutionRow) -> ExecutionRow:
    if row.owner == ownership.database.owner:
        ownership.remember(row.id, Claim(key, row.flow, row.records, row.status, row.due, row.error is not None))
    return row


async def release(ownership: Ownership, executions: Iterable[str]) -> None:
    """See `Store.release`."""
    names = [write(id) for id in executions]
    if names:
        token = secrets.token_hex(8)
        (freed,) = await ownership.database.write("release", lambda: (token, names))
        for name in freed:
            ownership.forget(read(name))
        for name in names:
            ownership.forget(read(name))
