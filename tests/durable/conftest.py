"""All stores, opened as often as there are processes, and one that fails on request."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.durable.failing import FailingStore
from tests.postgres import postgres_store, shared_cluster
from triggerflow.run.environment import machine_time
from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore

Open = Callable[..., Any]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same data again with each call: every call is another process."""
    if request.param == "memory":
        data = MemoryData()
        return lambda: MemoryStore(data)
    if request.param == "postgres":
        schema = shared_cluster().schema()
        return lambda: postgres_store(schema, clock=machine_time)  # the virtual time of the tests, not of the database
    return lambda: SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL")


@pytest.fixture
async def store() -> AsyncIterator[FailingStore]:
    async with MemoryStore() as inner:
        yield FailingStore(inner)
