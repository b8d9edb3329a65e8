"""Stores to test a backend with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from triggerflow.stores import MemoryStore, SQLiteStore, Store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An open store of each kind."""
    made = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL")
    async with made:
        yield made
