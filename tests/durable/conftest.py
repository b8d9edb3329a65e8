"""All stores, opened as often as there are processes, and one that fails on request."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.durable.failing import FailingStore
from tests.postgres import stores_over
from triggerflow.stores import MemoryStore

Open = Callable[..., Any]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same data again with each call: every call is another process."""
    return stores_over(request.param, tmp_path)


@pytest.fixture
async def store() -> AsyncIterator[FailingStore]:
    async with MemoryStore() as inner:
        yield FailingStore(inner)
