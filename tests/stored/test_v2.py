"""A SQLite file of version 2, as the version wrote it that began this format: everything in it goes on."""

import asyncio
import gzip
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stored.v2 import flows
from triggerflow.durable import Worker
from triggerflow.errors import ExecutionExists, RemoteChunkError, RunLost
from triggerflow.stores import SQLiteStore

V2 = Path(__file__).parent / "v2" / "runs.db.gz"
DIGEST = "7ff2c4f547436443ced75ffc71abaa2b1f4b87b8583e0c38d852f054a77bd8ca"


async def come(has_come: Callable[[], bool]) -> None:
    """Wait until it has come."""
    for _ in range(400):
        if has_come():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    path.write_bytes(gzip.decompress(V2.read_bytes()))
    return path


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(file, synchronous="NORMAL") as store:
        yield store


def test_the_file_was_not_written_again(file: Path) -> None:
    """A fixture that is made anew by a later version proves nothing."""
    assert hashlib.sha256(V2.read_bytes()).hexdigest() == DIGEST
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


async def test_lists_labels_and_questions_are_read(store: SQLiteStore) -> None:
    rows = {row.id: row for row in await store.executions(limit=100)}
    assert {id: row.status for id, row in rows.items()} == {
        "asked": "waiting",
        "asked-inside": "running",
        "behind": "waiting",
        "failed": "failed",
        "heard": "waiting",
        "order": "completed",
        "order.2": "running",
        "poison": "running",
        "reading": "running",
        "retried": "running",
        "submitted": "running",
        "submitted-later": "waiting",
    }
    assert rows["submitted"].labels == {"team": "press", "page": "1"}
    assert rows["failed"].error == "first: ValueError: the day is bad"
    assert [row.id for row in await store.executions(labels={"team": "press"})] == ["submitted"]
    assert [row.id for row in await store.executions(text="press")] == ["submitted"]
    assert sorted((it.execution, it.id) for it in await store.questions()) == [
        ("asked", "q"),
        ("asked-inside/step.1", "q"),
    ]


async def test_a_worker_takes_up_what_needs_nobody(store: SQLiteStore) -> None:
    """Also what had killed its process up to now: those losses are below its bound."""
    async with Worker(store, *(make() for make in flows.FLOWS.values()), poll=0.2):
        for id, name, result in (
            ("order.2", "doubling", 10),
            ("retried", "failing", "bad"),
            ("poison", "poison", 1),
            ("reading", "reading", [10, 20, 30]),
        ):
            execution = await flows.FLOWS[name]().async_attach(id, store=store)
            assert await execution.async_get_result(timeout=20) == result


async def test_losses_go_on_being_counted(file: Path) -> None:
    """The file has four losses of each of these, two of them alone. After two of eight more their bound is reached."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE executions SET options = replace(options, '\"max_losses\":8', '\"max_losses\":4')")
        connection.commit()
    async with SQLiteStore(file) as store, Worker(store, flows.poison(), flows.reading(), poll=0.2):
        for name in ("poison", "reading"):
            execution = await flows.FLOWS[name]().async_attach(name, store=store)
            with pytest.raises((RunLost, RemoteChunkError), match=r"\(4 times\)"):
                await execution.async_get_result(timeout=20)


async def test_questions_are_answered_and_the_open_request_is_performed(store: SQLiteStore) -> None:
    """The request was posted by a process that died before it had a reply."""
    approval, outer = flows.approval(), flows.outer()
    async with Worker(store, approval, outer, poll=0.2):
        shown = await approval.async_attach("asked", store=store)
        await come(lambda: shown.state.get("left") is not None)
        await shown.async_continue_with("q", 5)
        assert await shown.async_get_result(timeout=20) == ["two", 5, "the building"]
        inside = await outer.async_attach("asked-inside", store=store)
        await inside.async_continue_with("step.1/q", 6)
        assert await inside.async_get_result(timeout=20) == ["two", 6, None]
        for id, page in (("submitted", "one"), ("submitted-later", "later")):
            execution = await approval.async_attach(id, store=store)
            await come(lambda of=execution: "q" in of.get_pending_interrupts())
            await execution.async_continue_with("q", 7)
            assert await execution.async_get_result(timeout=20) == [page, 7, None]


async def test_shared_data_reaches_each_listener_once(store: SQLiteStore) -> None:
    """One had not heard of the last three changes, the other one had."""
    flow = flows.rate()
    assert await flow.async_get_flow_data("rate", store=store) == 9
    assert await flow.async_get_flow_data("log", store=store) == ["first"]
    for id, before in (("behind", [7, 8, 9]), ("heard", [9])):
        execution = await flow.async_resume(id, store=store)
        await execution.async_emit("change", id)
        await come(lambda name=id, of=execution: name in of.state.get("heard", []))
        heard = list(await execution.state.async_get("heard"))
        assert heard[: len(before)] == before
        assert heard.count(id) == 1
        await execution.async_suspend()
    assert await flow.async_get_flow_data("log", store=store) == ["first", "behind", "heard"]


async def test_ids_and_schedules_are_known(store: SQLiteStore) -> None:
    flow = flows.doubling()
    with pytest.raises(ExecutionExists):
        await flow.async_submit(1, store=store, id="order")
    schedule = await flow.schedules(store).get("hourly")
    assert (schedule.every, schedule.value, schedule.started) == (3600.0, 3, 0)
    again = await flow.async_schedule("hourly", every=timedelta(hours=1), value=3, store=store)
    assert again.due == schedule.due
    async with Worker(store, flow, poll=0.2):
        id = await flow.schedules(store).trigger("hourly")
        assert await (await flow.async_attach(id, store=store)).async_get_result(timeout=20) == 6


@pytest.mark.parametrize("id", ["asked", "asked-inside", "failed", "heard", "order", "poison", "reading", "retried"])
async def test_what_is_exported_can_be_loaded(store: SQLiteStore, tmp_path: Path, id: str) -> None:
    row: Any = await store.find(id)
    history = flows.FLOWS[row.flow]().history(store)
    await history.export(id, tmp_path / "x.jsonl")
    assert (await history.load(tmp_path / "x.jsonl", id="copy")).status == row.status
    assert (await history.state_at(id)).records == row.records
