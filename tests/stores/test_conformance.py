"""All stores keep the contract that `triggerflow.testing` states."""

from pathlib import Path

import pytest

from tests.postgres import needs_postgres, postgres_store, shared_cluster
from triggerflow._core.errors import ExecutionLeased, StoreUnavailable
from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore, Store
from triggerflow.testing import StoreConformance
from triggerflow.testing.stores import more, new, refused


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

    async def test_a_deleted_tree_leaves_nothing(self) -> None:
        async with self.open_store() as store:
            tree = new("x"), new("x/a", parent="x"), new("x/a/b", parent="x/a")
            for append in tree:
                append.status = "completed"
            await store.append(tree)
            assert await store.delete(["x"]) == 3
            assert not self.data.executions
            assert not self.data.children

    async def test_what_was_deleted_long_ago_is_forgotten(self) -> None:
        async with self.open_store() as store:
            cursor = (await store.wait_changes()).cursor
            for turn in range(3):
                names = [f"{turn}-{number}" for number in range(4_000)]
                await store.append([new(name, status="completed") for name in names])
                await store.delete(names)
            changes = await store.wait_changes(cursor)
            assert changes.resync
            assert not (await store.wait_changes(changes.cursor, timeout=0)).resync

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

    async def test_old_changes_without_a_record_are_forgotten(self) -> None:
        names = [f"x{number}" for number in range(900)]
        async with self.open_store() as store:
            await store.append([new(name) for name in names])
            cursor = (await store.wait_changes()).cursor
        async with self.open_store() as store:
            await store.append([new("y")])
            assert not (await store.wait_changes(cursor)).resync
            rows = await store.claim_work(["flow"], limit=900)
            for due in range(1, 25):
                await store.append([more(row.id, 0, status="waiting", due=float(due)) for row in rows])
        async with self.open_store() as store:
            changes = await store.wait_changes(cursor)
            assert changes.resync
            assert not (await store.wait_changes(changes.cursor, timeout=0)).resync


@needs_postgres
@pytest.mark.real_time
class TestPostgresStore(StoreConformance):
    def setup_method(self) -> None:
        super().setup_method()
        self.schema = shared_cluster().schema()

    def open_store(self) -> Store:
        return postgres_store(self.schema, lease=self.lease, clock=self.clock)
