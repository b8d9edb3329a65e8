"""All stores keep the contract that `triggerflow.testing` states."""

from pathlib import Path

import pytest

from tests.postgres import needs_postgres, postgres_store, shared_cluster
from triggerflow._core.errors import ExecutionLeased, StoreUnavailable
from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore, Store
from triggerflow.testing import StoreConformance
from triggerflow.testing.stores import new, refused


class TestMemoryStore(StoreConformance):
    def setup_method(self) -> None:
        super().setup_method()
        self.data = MemoryData()

    def open_store(self) -> MemoryStore:
        return MemoryStore(self.data, lease=self.lease, clock=self.clock)

    async def lose(self, store: Store) -> None:
        self.data.owners[store.owner] = self.clock()
        await super().lose(store)

    async def test_a_crash_releases_nothing_until_the_lease_ends(self) -> None:
        async with self.open_store() as store, self.open_store() as other:
            await store.append([new("x", b"a")])
            store.crash()
            for call in (store.find("x"), store.release(["x"])):
                with refused(StoreUnavailable):
                    await call
            with refused(ExecutionLeased):
                await other.claim("x")
            self.clock.turn(self.lease)
            assert (await other.claim("x")).records == 1

    async def test_its_name_says_whose_it_is(self) -> None:
        store = self.open_store()
        assert repr(store) == "<MemoryStore not opened yet>"
        async with store, self.open_store() as other:
            assert (repr(store), repr(other)) == ("<MemoryStore memory-1>", "<MemoryStore memory-2>")


class TestSQLiteStore(StoreConformance):
    on_threads = True

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "runs.db"

    def open_store(self) -> SQLiteStore:
        return SQLiteStore(self.path, lease=self.lease, clock=self.clock)


@needs_postgres
@pytest.mark.real_time
class TestPostgresStore(StoreConformance):
    def setup_method(self) -> None:
        super().setup_method()
        self.schema = shared_cluster().schema()

    def open_store(self) -> Store:
        return postgres_store(self.schema, lease=self.lease, clock=self.clock)
