"""Both stores keep the contract that `triggerflow.testing` states."""

from pathlib import Path

import pytest

from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore, Store
from triggerflow.testing import StoreConformance


class TestMemoryStore(StoreConformance):
    def setup_method(self) -> None:
        super().setup_method()
        self.data = MemoryData()

    def open_store(self) -> MemoryStore:
        return MemoryStore(self.data, lease=self.lease, clock=self.clock)

    async def lose(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        store.crash()
        await super().lose(store)


class TestSQLiteStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "runs.db"

    def open_store(self) -> SQLiteStore:
        return SQLiteStore(self.path, lease=self.lease, clock=self.clock)
