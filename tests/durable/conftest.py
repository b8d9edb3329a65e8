"""Both stores, opened as often as there are processes, and one that fails on request."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.durable.failing import FailingStore
from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore

Open = Callable[..., Any]


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same data again with each call: every call is another process."""
    if request.param == "memory":
        data = MemoryData()
        return lambda: MemoryStore(data)
    return lambda: SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL")


@pytest.fixture
async def store() -> AsyncIterator[FailingStore]:
    async with MemoryStore() as inner:
        yield FailingStore(inner)
