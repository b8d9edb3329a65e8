"""A store that counts what it is asked for."""

from collections import Counter
from collections.abc import Iterable
from typing import Any


class CountedStore:
    """Passes everything on, and counts: calls by name, claims and releases by execution."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls: Counter[str] = Counter()
        self.claimed: Counter[str] = Counter()
        self.released: Counter[str] = Counter()

    @property
    def owner(self) -> str:
        return self.store.owner

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self.store, name)

    async def claim_work(self, *args: Any, **options: Any) -> Any:
        self.calls["claim_work"] += 1
        rows = await self.store.claim_work(*args, **options)
        self.claimed.update(row.id for row in rows)
        return rows

    async def release(self, executions: Iterable[str]) -> None:
        ids = list(executions)
        self.released.update(ids)
        await self.store.release(ids)
