"""Stores that are opened to be read: nothing is made, migrated or written."""

import gzip
import os
import sys
from pathlib import Path

import pytest

from tests.postgres import needs_postgres, postgres_store, shared_cluster
from triggerflow import TriggerFlow
from triggerflow.backend import StoreBackend
from triggerflow.errors import StoreDamaged, StoreUnavailable
from triggerflow.stores import SQLiteStore

V1 = Path(__file__).parent.parent / "stored" / "v1" / "store.sqlite.gz"


async def filled(path: Path) -> None:
    flow = TriggerFlow("reader")

    async def double(data):
        return data.value * 2

    flow.to(double).end()
    async with SQLiteStore(path) as store:
        await flow.create_execution(id="one", store=store).async_start(21)


async def test_a_file_is_read_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await filled(path)
    before = path.read_bytes()
    async with SQLiteStore(path, read_only=True) as store:
        backend = StoreBackend(store)
        assert (await backend.result("one")).result == 42
        assert [it.number async for it in backend.frames("one")] == [1, 2]
        with pytest.raises(StoreUnavailable, match="read_only"):
            await store.claim("one")
        assert await store.shrink() == 0
    assert path.read_bytes() == before


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(StoreUnavailable):
        async with SQLiteStore(path, read_only=True):
            pass
    assert not os.listdir(tmp_path)


async def test_an_older_and_a_foreign_file_are_refused_and_not_touched(tmp_path: Path) -> None:
    old, foreign, empty = tmp_path / "old.db", tmp_path / "foreign.db", tmp_path / "empty.db"
    old.write_bytes(gzip.decompress(V1.read_bytes()))
    foreign.write_bytes(b"this is no SQLite file" * 100)
    empty.touch()
    for path, kind, text in (
        (old, StoreUnavailable, "version 1"),
        (foreign, StoreDamaged, "no SQLite file"),
        (empty, StoreUnavailable, "nothing was stored"),
    ):
        before = path.read_bytes()
        with pytest.raises(kind, match=text):
            async with SQLiteStore(path, read_only=True):
                pass
        assert path.read_bytes() == before


async def test_what_others_write_is_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await filled(path)
    async with SQLiteStore(path, read_only=True) as reading:
        cursor = (await reading.wait_changes()).cursor
        flow = TriggerFlow("reader")

        async def same(data):
            return data.value

        flow.to(same).end()
        async with SQLiteStore(path) as store:
            await flow.create_execution(id="two", store=store).async_start(1)
            assert "two" in (await reading.wait_changes(cursor, timeout=30)).executions


@pytest.mark.skipif(sys.platform == "win32" or not os.getuid(), reason="root may write everywhere")
async def test_a_file_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "sealed" / "runs.db"
    path.parent.mkdir()
    await filled(path)
    path.parent.chmod(0o500)
    try:
        async with SQLiteStore(path, read_only=True) as store:
            assert await store.counts()
    finally:
        path.parent.chmod(0o700)


@needs_postgres
async def test_a_schema_that_is_not_there_is_not_made() -> None:
    from triggerflow.stores import PostgresStore

    store = PostgresStore(shared_cluster().conninfo, schema="not_there", create=False)
    for _ in range(2):  # the first attempt has made nothing
        with pytest.raises(StoreUnavailable, match="no tables"):
            async with store:
                pass


@needs_postgres
async def test_pruning_with_shrink_works_on_postgres() -> None:
    flow = TriggerFlow("pruned on postgres")

    async def same(data):
        return data.value

    flow.to(same).end()
    async with postgres_store() as store:
        await flow.create_execution(store=store).async_start(1)
        assert (await flow.history(store).prune(keep=0, shrink=True)).deleted == 1
