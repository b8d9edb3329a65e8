"""Open stores to serve."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from triggerflow.stores import SQLiteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    async with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as made:
        yield made
