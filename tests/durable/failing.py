"""A store whose commits fail or wait when a test says so."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from triggerflow.errors import StoreUnavailable
from triggerflow.stores.protocol import Append

Which = Callable[[Sequence[Append]], bool]


def never(appends: Sequence[Append]) -> bool:
    """No commit."""
    return False


class FailingStore:
    """Passes everything on; a commit that `fails` raises `StoreUnavailable`, one that `waits` takes until `go`."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.fails: Which = never
        self.waits: Which = never
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()

    @property
    def owner(self) -> str:
        return self.store.owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        if self.waits(appends):
            self.waiting.set()
            await self.go.wait()
        if self.fails(appends):
            raise StoreUnavailable("the disk is full")
        return await self.store.append(appends)
