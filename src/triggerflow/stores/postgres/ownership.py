"""A cache of the executions that this owner has, so that an append needs no query. Used on the store's thread only.

It is valid as long as the row of the owner was not deleted, which every write makes sure of: see `functions`.
"""

import asyncio
from typing import NamedTuple

from ..._core.errors import StoreConflict
from ..protocol import FINAL_STATUSES, RETRIABLE_STATUSES, not_retriable
from .connections import Database
from .text import read, write

_CLAIM = """
    SELECT e.key, e.flow, e.status, e.due, e.owner, e.error IS NOT NULL, greatest(e.trimmed, coalesce(
        (SELECT max(number) + 1 FROM {s}.records WHERE execution = e.key), 0))
    FROM {s}.executions e WHERE e.id = %s"""


class Claim(NamedTuple):
    """Cached facts about an execution of this owner."""

    key: int
    flow: str
    records: int
    status: str
    due: float | None
    #: whether the store has an error of it
    failed: bool = False


class Ownership:
    """The claims of one owner."""

    def __init__(self, database: Database) -> None:
        self.database = database
        #: held by what writes records or gives up executions, so that no append is under way when one is released
        self.turn = asyncio.Lock()
        self._held: dict[str, Claim] = {}
        database.on_death = self._held.clear

    def remember(self, execution: str, held: Claim) -> None:
        """Put an execution into the cache, unless it has ended."""
        if held.status in FINAL_STATUSES:
            self._held.pop(execution, None)
        else:
            self._held[execution] = held

    def forget(self, execution: str) -> None:
        """Drop an execution from the cache."""
        self._held.pop(execution, None)

    async def require(self, execution: str, *, reopens: bool = False) -> Claim:
        """The claim on an execution. Raises `StoreConflict` unless this owner has it and it has not ended.

        With `reopens`, it has to have failed or to have been cancelled, instead."""
        held = self._held.get(execution)
        if held is not None and not reopens:
            return held
        rows = await self.database.read(_CLAIM, (write(execution),), nested=True)
        if not rows:
            raise StoreConflict(f"there is no execution {execution!r} in the store; was it deleted?")
        key, flow, status, due, owner, failed, records = rows[0]
        if reopens:
            if status not in RETRIABLE_STATUSES:
                raise not_retriable(execution, status)
        elif status in FINAL_STATUSES:
            raise StoreConflict(f"execution {execution!r} has ended ({status}); no more records can be added")
        if owner != write(self.database.owner):
            now_with = f"owner {read(owner)} has it now" if owner else "no owner has it now"
            raise StoreConflict(
                f"execution {execution!r} is not run by owner {self.database.owner} any more: {now_with}"
            )
        return Claim(key, read(flow), records, status, due, failed)
