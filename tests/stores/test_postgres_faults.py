"""What can happen to a database and to the way there: restarts, lost answers, cut networks, poolers, wrong places."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.postgres import Bouncer, Cluster, needs_postgres, postgres_store, running_cluster
from tests.relay import Relay
from tests.stores.ticking import read, ticking
from tests.support import kill
from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.errors import ExecutionLeased, StoreConflict, StoreUnavailable
from triggerflow.stores import PostgresStore
from triggerflow.stores.postgres.connections import Connection
from triggerflow.stores.protocol import ExecutionCopy, ExecutionRow, NewRecord
from triggerflow.testing.stores import more, new, refused

pytestmark = [needs_postgres, pytest.mark.real_time]


@pytest.fixture
async def relay(cluster: Cluster) -> AsyncIterator[Relay]:
    async with Relay(cluster.port) as made:
        yield made


def through(relay: Relay, cluster: Cluster, schema: str, **options: Any) -> PostgresStore:
    """A store whose connections pass the relay."""
    return PostgresStore(cluster.conninfo_at(relay.port), schema=schema, **options)


async def numbers(store: Any, execution: str) -> list[int]:
    return [number for number, _ in await store.records(execution)]


# -- restarts and lost answers ---------------------------------------------------------------------------------------


async def test_a_restart_of_the_database_is_a_pause(own_cluster: Cluster) -> None:
    """No append fails, and none is stored twice, however the moment falls; the lease and the feed go on."""
    async with PostgresStore(own_cluster.conninfo, timeout=30) as store, PostgresStore(own_cluster.conninfo) as other:
        names = [f"x{number}" for number in range(3)]
        await store.append([new(name) for name in names])
        restarts = 0
        cursor = (await other.wait_changes()).cursor

        async def write(name: str) -> int:
            count = 0
            while restarts < 3:
                await store.append([more(name, count, b"%d" % count, b"%d" % (count + 1))])
                count += 2
            return count

        async def restart() -> None:
            nonlocal restarts
            for _ in range(3):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(own_cluster.restart)
                restarts += 1

        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(write(name)) for name in names]
            group.create_task(restart())
        for name, writer in zip(names, writers, strict=True):
            assert await numbers(other, name) == list(range(writer.result()))
        told = set[str]()
        while told < set(names):
            changes = await other.wait_changes(cursor, timeout=30)
            cursor = changes.cursor
            told |= set(changes.executions)
        assert (await store.claim("x0")).owner == store.owner


async def test_a_commit_whose_answer_is_lost_is_found_and_not_repeated(cluster: Cluster, relay: Relay) -> None:
    async with through(relay, cluster, cluster.schema()) as store:
        await store.append([new("x")])
        broken: list[bytes] = []

        def once(data: bytes) -> bool:
            if b"lost answer" in data and not broken:
                broken.append(data)
                return True
            return False

        relay.breaks = once
        await store.append([more("x", 0, b"lost answer"), new("y", b"lost answer")])
        assert broken
        assert await store.records("x") == await store.records("y") == [(0, b"lost answer")]
        await store.append([more("x", 1, b"next"), more("y", 1, b"next")])
        assert await numbers(store, "x") == await numbers(store, "y") == [0, 1]


async def test_a_claim_whose_answer_is_lost_strands_nothing(cluster: Cluster, relay: Relay) -> None:
    schema = cluster.schema()
    async with through(relay, cluster, schema, timeout=30) as store:
        await store.append([new("x"), new("y")])
        await store.release(["x", "y"])
        broken: list[bytes] = []

        def once(data: bytes) -> bool:
            if b".claim_work(" in data and not broken:
                broken.append(data)
                return True
            return False

        relay.breaks = once
        assert [row.id for row in await store.claim_work(["flow"])] == ["x", "y"]
        assert broken


async def test_a_claim_whose_end_is_never_known_is_given_back(cluster: Cluster, relay: Relay) -> None:
    schema = cluster.schema()
    async with (
        through(relay, cluster, schema, timeout=1) as store,
        PostgresStore(cluster.conninfo, schema=schema) as other,
    ):
        await store.append([new("x")])
        await store.release(["x"])

        def swallow(data: bytes) -> bool:
            if b".claim_work(" in data:
                relay.swallows = True
                return True
            return False

        relay.breaks = swallow
        with refused(StoreUnavailable, "timeout"):
            await store.claim_work(["flow"])
        relay.swallows, relay.breaks = False, lambda data: False
        await until(store.find, "x")
        assert [row.id for row in await other.claim_work(["flow"])] == ["x"]


async def until(call: Any, *arguments: Any) -> Any:
    """What a call returns as soon as the store can be reached."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await call(*arguments)


async def test_idle_connections_that_have_died_are_noticed(cluster: Cluster) -> None:
    async with postgres_store() as store:
        await store.append([new("x")])
        for count in range(3):
            with psycopg.connect(cluster.conninfo, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                )
            assert (await store.find("x")) is not None
            await store.append([more("x", count, b"a")])
        assert await numbers(store, "x") == [0, 1, 2]


async def test_a_large_archive_may_take_longer_than_one_call_and_than_the_lease(cluster: Cluster, relay: Relay) -> None:
    """16 MB on a slow line: the lease is renewed meanwhile, and the time limit of a call counts for small ones."""
    schema, megabyte = cluster.schema(), b"x" * 2**20
    row = ExecutionRow(id="big", flow="flow", definition="d1", created=1.0, updated=1.0, records=16)
    records = [(number, NewRecord(megabyte)) for number in range(16)]
    async with (
        through(relay, cluster, schema, lease=4, timeout=3) as store,
        PostgresStore(cluster.conninfo, schema=schema, lease=4) as other,
    ):
        await store.append([new("mine")])
        relay.slow = 0.02
        begun = time.monotonic()
        await store.put_copies([ExecutionCopy(row=row, records=records, snapshots=[], payloads={})])
        assert time.monotonic() - begun > 4
        for execution in ("mine", "big"):
            with refused(ExecutionLeased, store.owner):
                await other.claim(execution)
        assert [number for number, _ in await other.records("big")] == list(range(16))


# -- who is cut off --------------------------------------------------------------------------------------------------


async def cut_off_is_taken_over(here: PostgresStore, there: PostgresStore, cut: Any, lease: float) -> None:
    """An execution runs through `here`, is cut off, and is taken over by a worker at `there`."""
    flow, elsewhere = ticking(), ticking()
    async with there, Worker(there, elsewhere, poll=0.2):
        async with here:
            execution = flow.create_execution(id="cut-off", store=here)
            await execution.async_begin("value")
            waiting = asyncio.create_task(execution.async_get_result())
            reading = asyncio.create_task(read(execution.get_async_runtime_stream()))
            await asyncio.sleep(0.3)
            former = here.owner
            await cut()
            begun = time.monotonic()
            while (row := await there.find("cut-off")) is None or row.owner != there.owner:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            taken_over = time.monotonic() - begun
            for told in (waiting, reading):
                with pytest.raises((StoreUnavailable, StoreConflict)):
                    await asyncio.wait_for(told, 60)
            with pytest.raises((StoreUnavailable, StoreConflict)):
                await here.append([more("cut-off", row.records, b"late")])
        items = [number for number, _ in await there.items("cut-off")]
        assert items == list(range(1, len(items) + 1))
        assert former != there.owner
    assert taken_over < lease + 2


async def test_a_worker_that_is_cut_off_is_replaced_within_its_lease(cluster: Cluster, relay: Relay) -> None:
    """What it still does is refused, and its waiters and readers are told."""
    schema, lease = cluster.schema(), 3.0

    async def cut() -> None:
        relay.swallows = True

    here = through(relay, cluster, schema, lease=lease, timeout=2)
    there = PostgresStore(cluster.conninfo, schema=schema, lease=lease)
    await cut_off_is_taken_over(here, there, cut, lease)


@contextlib.contextmanager
def network(name: str) -> Iterator[str]:
    """A network of its own, `name`, with a line to this one; the address of this end of the line."""
    number = os.getpid() % 250
    here, there = f"10.77.{number}.1", f"10.77.{number}.2"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, timeout=20)

    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}-a", "type", "veth", "peer", "name", f"{name}-b", "netns", name)
        ip("addr", "add", f"{here}/24", "dev", f"{name}-a")
        ip("link", "set", f"{name}-a", "up")
        ip("-n", name, "addr", "add", f"{there}/24", "dev", f"{name}-b")
        ip("-n", name, "link", "set", f"{name}-b", "up")
        yield here
    finally:
        ip("netns", "del", name)


@pytest.mark.soak
@pytest.mark.needs("namespaces")
async def test_the_same_in_a_network_that_is_cut() -> None:
    name, lease = f"cut{os.getpid() % 10000}", 5.0
    with network(name) as host, running_cluster(host=host) as cluster:
        schema = cluster.schema()
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", name, sys.executable, "-m", "tests.stores.ticking"),
            *(cluster.conninfo, schema, f"{lease}", "3"),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            assert await process.stdout.readline() == b"begun\n"
            async with (
                PostgresStore(cluster.conninfo, schema=schema, lease=lease) as there,
                Worker(there, ticking(), poll=0.2),
            ):
                subprocess.run(["ip", "link", "set", f"{name}-a", "down"], check=True)  # noqa: ASYNC221
                begun = time.monotonic()
                while (row := await there.find("cut-off")) is None or row.owner != there.owner:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                assert time.monotonic() - begun < lease + 2
                told = [(await asyncio.wait_for(process.stdout.readline(), 60)).split()[0] for _ in range(3)]
                assert sorted(told) == [b"late", b"reader", b"waiter"]
        finally:
            kill(process)
            await process.wait()


async def test_a_former_owner_that_comes_back_is_refused(cluster: Cluster, relay: Relay) -> None:
    schema = cluster.schema()
    async with (
        through(relay, cluster, schema, lease=1, timeout=1) as store,
        PostgresStore(cluster.conninfo, schema=schema, lease=1) as other,
    ):
        await store.append([new("x", b"a"), new("y", b"a")])
        relay.swallows = True
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(StoreConflict):
                    await other.claim("x")
                    break
                await asyncio.sleep(0.05)
        relay.swallows = False
        with pytest.raises(StoreConflict, match="'x'"):
            await until(store.append, [more("x", 1, b"late")])
        await other.append([more("x", 1, b"b")])
        await until(store.append, [more("y", 1, b"b")])  # nobody has claimed it
        assert await other.records("x") == await other.records("y") == [(0, b"a"), (1, b"b")]


# -- claims, commits, changes ----------------------------------------------------------------------------------------


async def test_a_claim_in_progress_blocks_no_commit(cluster: Cluster) -> None:
    async with postgres_store() as store:
        await store.append([new("x")])
        async with await psycopg.AsyncConnection.connect(cluster.conninfo) as connection:
            schema = store.schema
            await connection.execute("SELECT pg_advisory_xact_lock(1413893207, hashtext(%s))", (schema,))
            await store.append([more("x", 0, b"a")])
            claiming = asyncio.create_task(store.claim_work(["flow"]))
            await store.append([more("x", 1, b"b")])
            assert not claiming.done()
            await connection.rollback()
            assert await claiming == []


async def test_many_calls_at_once_do_not_wait_for_each_others_connections() -> None:
    async with postgres_store() as store:
        await store.append([new(f"x{number}") for number in range(30)])
        await store.release([f"x{number}" for number in range(30)])
        async with asyncio.timeout(30):
            rows = await asyncio.gather(*[store.claim(f"x{number}") for number in range(30)])
            await asyncio.gather(*[store.put_snapshot(row.id, 0, "d1", b"") for row in rows])


async def test_a_change_that_is_committed_late_is_told(cluster: Cluster) -> None:
    """Its transaction is older than changes that were told before."""
    async with postgres_store() as store:
        await store.append([new("early"), new("late")])
        cursor = (await store.wait_changes()).cursor
        async with await psycopg.AsyncConnection.connect(cluster.conninfo) as connection:
            await connection.execute(
                f"""INSERT INTO {store.schema}.changes (token, executions)
                SELECT 'late', ARRAY[key] FROM {store.schema}.executions WHERE id = 'late'""".encode()
            )
            await store.append([more("early", 0, b"a")])
            changes = await store.wait_changes(cursor, timeout=30)
            assert changes.executions == ("early",)
            again = await store.wait_changes(changes.cursor, timeout=0)
            assert again.executions == ()
            await connection.commit()
        assert (await store.wait_changes(again.cursor, timeout=30)).executions == ("late",)


async def test_queries_of_a_busy_store_are_not_worth_compiling(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server compiles a query whose cost it takes for high (`jit_above_cost`, 100,000): a second of CPU, each time.
    So none that processes make all the time may look expensive, also while the tables have no statistics."""
    costs: dict[str, float] = {}
    execute = Connection.execute

    async def explained(self: Any, query: Any, *values: Any, **options: Any) -> Any:
        text = query.decode().strip()
        if text.startswith(("SELECT", "WITH")):
            cursor = await execute(self, b"EXPLAIN (FORMAT JSON) " + query, *values, **options)
            for (plan,) in await cursor.fetchall():
                costs[text] = plan[0]["Plan"]["Total Cost"]
        return await execute(self, query, *values, **options)

    store = postgres_store()
    async with store, postgres_store(store.schema) as other:
        await store.append([new(f"x{number}") for number in range(100)])
        for number in range(20):
            await store.append([more(f"x{execution}", number, b"a") for execution in range(100)])
        with psycopg.connect(cluster.conninfo, autocommit=True) as connection:  # as after a busy hour
            connection.execute(
                f"""INSERT INTO {store.schema}.changes (token, executions)
                SELECT 'old', ARRAY[n % 100] FROM generate_series(1, 20000) n""".encode()
            )
        cursor = (await other.wait_changes()).cursor
        monkeypatch.setattr(Connection, "execute", explained)
        await store.append([more("x1", 20, b"a")])
        assert (await other.wait_changes(cursor, timeout=30)).executions
        await other.find("x1")
        await other.executions(parent="x1")
        await other.executions(limit=100)
        await other.counts()
        await other.questions()
        await other.claim_work(["flow"])
        await other.next_due(["flow"])
        await other.records("x1")
    assert len(costs) >= 8
    assert {text: cost for text, cost in costs.items() if cost > 50_000} == {}


async def test_a_restored_database_answers_old_cursors_with_resync(cluster: Cluster) -> None:
    async with postgres_store() as store:
        await store.append([new("x")])
        feed, snapshot = (await store.wait_changes()).cursor.split("/")
        identity, timeline = feed.split("-")
        low, high, _ = snapshot.split(":")
        for cursor in (
            f"{identity}-0000000A/{snapshot}",
            f"{identity[::-1]}-{timeline}/{snapshot}",
            f"{feed}/{low}:{int(high) + 10**9}:",
        ):
            assert (await store.wait_changes(cursor)).resync


async def test_changes_of_another_server_are_forgotten(cluster: Cluster) -> None:
    """What a dump brings: rows of transactions that this server has not had yet."""
    store = postgres_store()
    for table in ("changes SET xid", "feed SET floor"):
        async with store:
            await store.append([new(table)])
            cursor = (await store.wait_changes()).cursor
        with psycopg.connect(cluster.conninfo, autocommit=True) as connection:
            connection.execute(f"UPDATE {store.schema}.{table} = '99999999999'".encode())
        async with store:
            changes = await store.wait_changes(cursor)
            assert changes.resync
            assert (await store.wait_changes(changes.cursor, timeout=0)).resync is False
            await store.append([new(f"more {table}")])
            assert (await store.wait_changes(changes.cursor, timeout=30)).executions == (f"more {table}",)


async def test_pruning_with_shrink_works_here_too() -> None:
    flow = counting()
    async with postgres_store() as store:
        await flow.create_execution(id="old", store=store).async_start(1)
        await flow.history(store).prune(keep=0, shrink=True)
        assert await store.find("old") is None


# -- PgBouncer -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["session", "transaction"])
def bouncer(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Bouncer]:
    made = Bouncer(cluster, request.param)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.needs("pgbouncer")
async def test_stores_work_through_pgbouncer(bouncer: Bouncer, cluster: Cluster) -> None:
    options = {"schema": cluster.schema(), "listen_conninfo": cluster.conninfo}
    place = cluster.conninfo_at(bouncer.port)
    async with PostgresStore(place, **options) as store, PostgresStore(place, **options) as other:
        await store.append([new(f"x{number}", b"a") for number in range(20)])
        cursor = (await other.wait_changes()).cursor
        waiting = asyncio.create_task(other.wait_changes(cursor, timeout=30))
        await asyncio.gather(*[store.append([more(f"x{number}", 1, b"b")]) for number in range(20)])
        assert (await waiting).executions
        await asyncio.gather(*[other.find(f"x{number}") for number in range(20)])
        await store.release(["x1", "x2"])
        assert len(await other.claim_work(["flow"])) == 2
        execution = counting().create_execution(id="counts", store=store)
        assert await execution.async_start(3) == 6


def counting() -> TriggerFlow[Any, Any]:
    flow: TriggerFlow[Any, Any] = TriggerFlow("counting")

    @flow.chunk
    async def add(data: Any) -> int:
        return data.value + 1

    @flow.chunk
    async def again(data: Any) -> int:
        return data.value + 2

    flow.to(add).to(again).end()
    return flow


# -- what errors say -------------------------------------------------------------------------------------------------


async def test_errors_say_where_and_what_to_do_and_no_password(own_cluster: Cluster) -> None:
    secret = "hunter2-secret"
    store = PostgresStore(f"{own_cluster.conninfo} password={secret}", timeout=1)
    assert secret not in repr(store)
    assert f"127.0.0.1:{own_cluster.port}" in repr(store)
    async with store:
        await store.append([new("x")])
        own_cluster.halt()
        with refused(StoreUnavailable, "127.0.0.1", "timeout", "check that it runs") as _:
            await store.append([more("x", 0, b"a")])
    with pytest.raises(StoreUnavailable, match="check that it runs") as raised:
        await store.__aenter__()
    assert secret not in str(raised.value)
    with pytest.raises(ValueError, match="no connection string") as invalid:
        PostgresStore(f"host=x {secret}")
    assert secret not in str(invalid.value)
    own_cluster.start()
    async with store:
        assert await store.records("x") == []


async def test_a_full_disk_or_a_read_only_server_is_told_and_goes_by(own_cluster: Cluster) -> None:
    def become(read_only: bool) -> None:
        with psycopg.connect(own_cluster.conninfo, autocommit=True) as connection:
            word = "on" if read_only else "off"
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {word}".encode())
            connection.execute("SELECT pg_reload_conf()")

    async with PostgresStore(own_cluster.conninfo, timeout=5) as store:
        await store.append([new("x")])
        become(True)
        async with asyncio.timeout(30):
            with refused(StoreUnavailable, "read-only", "primary"):
                for number in range(10_000):  # the server takes a moment to read its settings
                    await store.append([more("x", number, b"a")])
        assert await store.find("x") is not None
        become(False)
        number = len(await store.records("x"))
        await until(store.append, [more("x", number, b"b")])
        assert await numbers(store, "x") == list(range(number + 1))


async def test_a_statement_time_out_of_the_server_is_told_and_goes_by(cluster: Cluster) -> None:
    """An administrator sets it for the user; here a lock makes the statement slow."""
    store = PostgresStore(f"{cluster.conninfo} options='-c statement_timeout=500'", schema=cluster.schema())
    async with store:
        await store.append([new("x")])
        async with await psycopg.AsyncConnection.connect(cluster.conninfo) as connection:
            await connection.execute(f"LOCK TABLE {store.schema}.records".encode())
            with refused(StoreUnavailable, "statement_timeout", "try again"):
                await store.append([more("x", 0, b"a")])
            await connection.rollback()
        await store.append([more("x", 0, b"b")])
        assert await store.records("x") == [(0, b"b")]


async def test_a_server_without_free_connections_is_told(own_cluster: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(contextlib.closing(psycopg.connect(own_cluster.conninfo)))
        with refused(StoreUnavailable, "too many clients", "max_connections", "PgBouncer"):
            await PostgresStore(own_cluster.conninfo, timeout=2).__aenter__()
    async with PostgresStore(own_cluster.conninfo) as store:
        await store.append([new("x")])


async def test_users_who_may_not_are_told_what_is_missing(own_cluster: Cluster) -> None:
    with psycopg.connect(own_cluster.conninfo, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
    guest = own_cluster.conninfo.replace("user=tests", "user=guest")
    with refused(StoreUnavailable, "permission denied", "grant it CREATE"):
        await PostgresStore(guest).__aenter__()
    async with PostgresStore(own_cluster.conninfo):
        pass
    with refused(StoreUnavailable, "permission denied", "make the schema its own"):  # it cannot even look into it
        await PostgresStore(guest).__aenter__()
    file = own_cluster.folder / "data" / "pg_hba.conf"
    file.write_text("host all guest all scram-sha-256\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    await asyncio.to_thread(own_cluster.restart)
    with refused(StoreUnavailable, "password", "pg_hba.conf") as _:
        await PostgresStore(f"{guest} password=wrong-secret").__aenter__()
    with refused(StoreUnavailable, "does not exist", "create it first"):
        await PostgresStore(own_cluster.conninfo.replace("dbname=postgres", "dbname=nowhere")).__aenter__()


async def test_no_recorded_value_gets_into_the_log_of_the_database(cluster: Cluster) -> None:
    async with postgres_store() as store, postgres_store(store.schema) as other:
        await store.append([new("x", b"private-1"), new("y")])
        for append in (more("x", 0, b"private-2"), new("x", b"private-3")):
            with pytest.raises(StoreConflict):
                await store.append([append])
        with pytest.raises(StoreConflict):
            await other.append([more("x", 1, b"private-4")])
        with psycopg.connect(cluster.conninfo) as connection, pytest.raises(psycopg.Error):
            connection.execute("SELECT private_5")  # what is logged at all
    assert "private_5" in cluster.log()
    assert "private-" not in cluster.log()


async def test_a_schema_of_a_later_release_is_not_touched(cluster: Cluster) -> None:
    store = postgres_store()
    async with store:
        pass
    with psycopg.connect(cluster.conninfo, autocommit=True) as connection:
        connection.execute(f"INSERT INTO {store.schema}.migrations (version) VALUES (99)".encode())
        try:
            with pytest.raises(StoreUnavailable, match="version 99"):
                await store.__aenter__()
        finally:
            connection.execute(f"DELETE FROM {store.schema}.migrations WHERE version = 99".encode())


async def test_a_database_of_another_encoding_is_told_as_that_alone(own_cluster: Cluster) -> None:
    with psycopg.connect(own_cluster.conninfo, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII'")
    conninfo = own_cluster.conninfo.replace("dbname=postgres", "dbname=bytes")
    with pytest.raises(StoreUnavailable, match="has the encoding SQL_ASCII; make one with UTF8") as told:
        await PostgresStore(conninfo).__aenter__()
    assert "cannot be reached" not in str(told.value)


async def test_many_processes_may_make_the_tables_at_once(cluster: Cluster) -> None:
    schema = f"{cluster.schema()}_new"
    stores = [PostgresStore(cluster.conninfo, schema=schema) for _ in range(4)]
    await asyncio.gather(*[store.__aenter__() for store in stores])
    await stores[0].append([new("x")])
    assert await stores[3].find("x") is not None
    await asyncio.gather(*[store.__aexit__(None, None, None) for store in stores])


@pytest.mark.parametrize(
    "options", [{"lease": 0}, {"timeout": 0}, {"max_connections": 2}, {"schema": 'x"; DROP'}, {"schema": ""}]
)
async def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PostgresStore("host=nowhere", **options)
