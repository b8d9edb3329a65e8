"""A database that was restored from a dump, on a server whose transaction numbers are smaller."""

import psycopg
import pytest

from tests.postgres import needs_postgres, postgres_store, shared_cluster
from triggerflow.stores.protocol import Changes
from triggerflow.testing.stores import new

LATER = str(2**40)


@needs_postgres
@pytest.mark.real_time
@pytest.mark.parametrize("left", ["changes", "floor"])
async def test_changes_with_numbers_of_another_server_are_not_told_again_and_again(left: str) -> None:
    cluster = shared_cluster()
    schema = cluster.schema()
    async with postgres_store(schema) as store:
        await store.append([new("x", b"a")])
        before = (await store.wait_changes()).cursor
    with psycopg.connect(cluster.conninfo, autocommit=True) as connection:
        connection.execute(
            f"UPDATE {schema}.changes SET xid = '{LATER}'"  # pyright: ignore - the schema is ours
            if left == "changes"
            else f"UPDATE {schema}.feed SET floor = '{LATER}'"
        )
    async with postgres_store(schema) as store:
        cursor = (await store.wait_changes()).cursor
        assert (await store.wait_changes(before, timeout=0)).resync
        told = await store.wait_changes(cursor, timeout=0.2)
        assert told == Changes(cursor=told.cursor)
        await store.append([new("y", b"a")])
        assert (await store.wait_changes(told.cursor, timeout=10)).executions == ("y",)
