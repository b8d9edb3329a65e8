"""What was stored by an earlier version is read by this one, and goes on.

`v1` was written by version 0.1.0 (see `make_fixtures.py`) and is never written again. A change that has to read it
otherwise reads both; it does not rewrite what is here.
"""

import asyncio
import gzip
import hashlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.stored import flows
from tests.support import read
from triggerflow import TriggerFlow, records
from triggerflow.durable import Worker
from triggerflow.errors import ContractError, ExecutionCancelled
from triggerflow.extension import runtime_of
from triggerflow.stores import MemoryStore, SQLiteStore, Store

V1 = Path(__file__).parent / "v1"

#: Over names and contents of all files: what is stored was not written again.
DIGEST = "57baf6d13d8df6ff7aaf6f2474e477edd866da960d1ea80676a824d990fd307d"

#: How the records are called in what is stored. A name that was stored once is read for ever.
TAGS = {
    "created": "Created",
    "started": "Started",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "emitted": "Emitted",
    "awaited_again": "AwaitedAgain",
    "confirmed": "Confirmed",
    "retracted": "Retracted",
    "wait_given_up": "WaitGivenUp",
    "parked": "ExternalWaitStarted",
    "unparked": "ExternalWaitEnded",
    "state": "StateChanged",
    "flow_data": "FlowDataChanged",
    "stream": "StreamPut",
    "stream_stopped": "StreamStopped",
    "result": "ResultSet",
    "paused": "Paused",
    "resumed": "Resumed",
    "withdrawn": "InterruptClosed",
    "timer_fired": "TimerFired",
    "pulled": "SourceItems",
    "pull_failed": "SourceFailed",
    "places_wanted": "PermitsRequested",
    "places_returned": "PermitsReturned",
    "places_granted": "PermitsGranted",
    "recovered": "Recovered",
    "cancel_requested": "CancelRequested",
    "abandoned": "CleanupTimedOut",
    "close_requested": "CloseRequested",
}

ROWS: dict[str, dict[str, Any]] = json.loads((V1 / "store.json").read_text())
LIVING = sorted(id for id, row in ROWS.items() if row["status"] not in ("completed", "failed", "cancelled"))
ROOTS = sorted(id for id, row in ROWS.items() if "parent" not in row)

EVERYTHING = {
    "items": [2, 5, 201],
    "sides": {"left": [1, 4, 200], "right": 3},
    "price": 84,
    "signals": "sent",
    "flaky": 42,
    "later": 3,
}

#: How those have ended that have. Failed ones by their error's text.
ENDED: dict[str, Any] = {
    "again": "shoes",
    "ending-badly": "it ends badly",
    "ending-compacted": "set by name",
    "ending-replaced": "third",
    "ending-skipping": None,
    "ending-stopped": "nobody needs it",
    "ending-well": "set by name",
    "everything": EVERYTHING,
    "spoiled": ["OSError", "the disk is gone"],
    "withdrawing": "nobody has answered",
}


def flow_of(name: str) -> TriggerFlow:
    """The flow that reads what was stored under this name."""
    return flows.versioned(1) if name == "versioned" else flows.FLOWS[name]()


# -- how each of them goes on ------------------------------------------------------------------------------------------

Going = Callable[[Any], Awaitable[Any]]


async def to_its_end(execution: Any) -> Any:
    return await execution.async_get_result()


async def approve_all(execution: Any) -> Any:
    """Answers whatever the sub-flows ask, as often as they ask."""
    await execution.async_open()

    runtime = runtime_of(execution)

    def asks_or_has_ended() -> bool:
        return bool(runtime.has_ended or execution.get_pending_interrupts())

    while await runtime.until(asks_or_has_ended, every_record=True) and not runtime.has_ended:
        for id in execution.get_pending_interrupts():
            await execution.async_continue_with(id, "yes")
    return await execution.async_get_result()


async def answer_all(execution: Any) -> Any:
    """Everything that `asking` has asked and nobody has answered; one answer twice."""
    assert list(execution.get_pending_interrupts()) == ["self", "event", "list", "money", "choice", "until"]
    assert execution.get_interrupt("expired")["status"] == "expired"
    await execution.async_continue_with("next", "go on", request_id="request-1")  # once more: no answer
    for id, wrong in (("list", ["a"]), ("money", 3), ("choice", "perhaps")):
        with pytest.raises(ContractError):
            await execution.async_continue_with(id, wrong)
    money = flows.Money(Decimal("1.50"), "EUR")
    answers = {"self": 1, "event": 2, "list": [3, 4], "money": money, "choice": "yes", "until": 5}
    for id, value in answers.items():
        await execution.async_continue_with(id, value)
    return await execution.async_get_result()


async def answer_values(execution: Any) -> Any:
    await execution.async_continue_with("same", flows.VALUES)
    return await execution.async_get_result()


async def shop_on(execution: Any) -> Any:
    if execution.get_status() == "created":
        assert execution.state.get("owner") == "Grace"
        await execution.async_begin("Ada")
        await execution.async_emit("bought", 4, settle=True)
    await execution.async_emit("bought", 5, settle=True)
    with pytest.raises(ContractError):
        await execution.async_emit("bought", "much")
    await execution.async_emit("checkout")
    return await execution.async_get_result()


async def close(execution: Any) -> Any:
    assert await execution.async_get_result() == "second"
    return await execution.async_close()


async def go(execution: Any) -> Any:
    await execution.async_continue_with("go", "went")
    return await execution.async_get_result()


def signal(name: str, value: Any = None) -> Going:
    async def send(execution: Any) -> Any:
        await execution.async_emit(name, value)
        return await execution.async_get_result()

    return send


JOINED = {
    "batch": {"soon": "soon", "late": "late"},
    "when": {"event": {"first": "one", "second": "two"}},
    "match": ["v", "v"],
}
ANSWERED = {
    "next": "go on",
    "self": ["the plan", 1],
    "event": 2,
    "list": [3, 4],
    "money": flows.Money(Decimal("1.50"), "EUR"),
    "choice": "yes",
    "until": 5,
    "expired": {
        "chunk": "ask expired",
        "type": "InterruptExpired",
        "message": "nobody answered interrupt 'expired' in time",
        "value": "the plan",
    },
}
BASKET = ["Ada", 9, ["article 4", "article 5"]]

#: What those do that have not ended, and how they end then.
GOING_ON: dict[str, tuple[Going, Any]] = {
    "asking": (answer_all, ANSWERED),
    "compacted": (approve_all, ["<one: yes>"]),
    "counted": (signal("stop"), 325),
    "delayed": (to_its_end, {"hour": "parcel", "deadline": "parcel"}),
    "each": (to_its_end, [10, 20, 30, 40]),
    "fork": (approve_all, ["<other: yes>"]),
    "fork-waiting": (approve_all, ["<one: yes>", "<two: yes>"]),
    "joining": (to_its_end, JOINED),
    "kept-open": (close, "second"),
    "large": (signal("ask", "done"), [True, "done"]),
    "large-compacted": (signal("ask", "done"), [True, "done"]),
    "lazy": (to_its_end, [1, 2, 3, 4]),
    "not-moved": (go, "went"),
    "outer": (approve_all, ["<one: yes>", "<two: yes>"]),
    "outside": (signal("second", 2), [1, 2]),
    "parked": (approve_all, ["<one: yes>"]),
    "provisional": (to_its_end, "done"),
    "retrying": (to_its_end, 3),
    "settling": (to_its_end, "cake"),
    "taken-up": (to_its_end, [10, 20, 30]),
    "typed": (shop_on, BASKET),
    "typed-created": (shop_on, BASKET),
    "values": (answer_values, [True, True, True]),
    "versioned": (go, "went"),
}
#: Those that need nobody.
ALONE = sorted(id for id, (going, _) in GOING_ON.items() if going is to_its_end)


# -- the files ---------------------------------------------------------------------------------------------------------


def test_nothing_was_written_again() -> None:
    """A fixture that is made anew by a later version proves nothing."""
    digest = hashlib.sha256()
    for path in sorted(path for path in V1.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(V1).as_posix()}\n".encode() + path.read_bytes())
    assert digest.hexdigest() == DIGEST


def test_every_kind_of_record_is_stored() -> None:
    """But for the two by which a chunk waits for a slow reader: readers of a store are not waited for."""
    stored = {tag for row in ROWS.values() for tag in row["records"]}
    assert stored == TAGS.keys() - {"parked", "unparked"}
    assert {row["status"] for row in ROWS.values()} == {
        "created", "running", "waiting", "completed", "failed", "cancelled"
    }  # fmt: skip
    assert {*GOING_ON, *ENDED} == {*ROOTS}


def test_a_line_for_each_record_with_all_it_holds() -> None:
    """Each field under its name; what is left out has the value that it always had."""
    kinds: Any = reduce(or_, (getattr(records, name) for name in TAGS.values()))
    seen: set[str] = set()
    for line in (V1 / "records.jsonl").read_bytes().splitlines():
        raw = json.loads(line)
        record = msgspec.json.decode(line, type=kinds)
        seen.add(raw["record"])
        assert type(record).__name__ == TAGS[raw.pop("record")]
        assert msgspec.to_builtins({name: getattr(record, name) for name in raw}) == raw
        assert msgspec.json.encode(record) == line
    assert seen == TAGS.keys()


# -- the store ---------------------------------------------------------------------------------------------------------


def table(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def raw_records(path: Path, id: str) -> list[bytes]:
    """The records of an execution, read past the package."""
    query = "SELECT data FROM records JOIN executions e ON e.key = execution WHERE e.id = '{}' ORDER BY number"
    return [data for (data,) in table(path, query.format(id))]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of the stored file."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(gzip.decompress((V1 / "store.sqlite.gz").read_bytes()))
    return path


#: The columns of a file of version 1. Opening it adds others, which are empty.
EXECUTIONS = """key, id, flow, definition, options, parent, forked_execution, forked_records, created, updated, status,
    due, owner, trimmed"""


def contents(path: Path) -> dict[str, list[Any]]:
    """All that is kept of executions."""
    names = ("records", "snapshots", "definitions", "payloads", "payload_uses")
    found = {name: table(path, f"SELECT * FROM {name} ORDER BY 1, 2") for name in names}
    return {**found, "executions": table(path, f"SELECT {EXECUTIONS} FROM executions ORDER BY 1")}


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(path, synchronous="NORMAL") as store:
        yield store


def test_the_file_holds_what_its_description_says(file: Path) -> None:
    for id, row in ROWS.items():
        assert [json.loads(data)["record"] for data in raw_records(file, id)] == row["records"]


async def test_every_journal_is_read(file: Path) -> None:
    """Each record as it stands in the file: its kind, and every field that is no value of the user's."""
    async with opened(file) as store:
        for id, row in ROWS.items():
            found = [it async for _, it in flow_of(row["flow"]).history(store).journal(id)]
            assert [type(record).__name__ for record in found] == [TAGS[tag] for tag in row["records"]]
            for record, data in zip(found, raw_records(file, id), strict=True):
                for name, value in json.loads(data).items():
                    if name not in ("record", "value", "item", "items", "payload"):
                        assert msgspec.to_builtins(getattr(record, name)) == value, (id, record)


async def test_every_past_state_is_told(file: Path) -> None:
    """After each record that is held; the last one is where the execution stands."""
    async with opened(file) as store:
        for id, row in ROWS.items():
            history = flow_of(row["flow"]).history(store)
            known = await store.find(id)
            assert known is not None
            assert known.status == row["status"]
            first = row["trimmed"] if row["snapshots"] and row["trimmed"] and "forked_records" not in row else 0
            states = [await history.state_at(id, number) for number in range(first, known.records + 1)]
            if known.status in ("completed", "failed", "cancelled"):
                assert states[-1].status == known.status
            assert len([line async for line in history.lines(id)]) == len(row["records"])


async def test_reading_changes_nothing(file: Path) -> None:
    before = contents(file)
    async with opened(file) as store:
        for id, row in ROWS.items():
            history = flow_of(row["flow"]).history(store)
            await history.state_at(id)
            assert len([number async for number, _ in history.journal(id)]) == len(row["records"])
            if row["status"] == "completed":
                await read(history.stream(id, follow=False))
    assert contents(file) == before


@pytest.mark.parametrize("id", sorted(ENDED))
async def test_what_has_ended_stands_as_it_ended(file: Path, id: str) -> None:
    row = ROWS[id]
    async with opened(file) as store:
        execution = await flow_of(row["flow"]).async_resume(id, store=store)
        assert execution.get_status() == row["status"]
        if row["status"] == "completed":
            assert await execution.async_get_result() == ENDED[id]
        else:
            expected = ExecutionCancelled if row["status"] == "cancelled" else Exception
            with pytest.raises(expected, match=ENDED[id]):
                await execution.async_get_result()


@pytest.mark.parametrize("id", sorted(GOING_ON))
async def test_what_has_not_ended_goes_on(file: Path, id: str) -> None:
    """To the result that it would have had; what was recorded stands as it was recorded."""
    going, result = GOING_ON[id]
    flow = flows.versioned(2) if id == "versioned" else flow_of(ROWS[id]["flow"])
    before = raw_records(file, id)
    async with opened(file) as store:
        execution = await flow.async_resume(id, store=store)
        assert await going(execution) == result
        row = await store.find(id)
        assert row is not None
        assert row.status == "completed"
    assert raw_records(file, id)[: len(before)] == before


async def test_items_come_once_over_a_restart(file: Path) -> None:
    """What an earlier attempt has put into the stream is not put again; it was recorded by the other version."""
    async with opened(file) as store:
        execution = await flows.each().async_resume("each", store=store)
        await execution.async_get_result()
        items = await read(flows.each().history(store).stream("each"))
    assert sorted(items) == [[step, number] for step in ("done", "work") for number in (1, 2, 3, 4)]


async def test_a_moved_execution_is_read_under_both_definitions(file: Path) -> None:
    """The records before the move were written under the first one, whose snapshot says so."""
    async with opened(file) as store:
        for flow in (flows.versioned(1), flows.versioned(2)):
            history = flow.history(store)
            assert [(await history.state_at("versioned", number)).records for number in range(5)] == [0, 1, 2, 3, 4]
        moved = await flows.versioned(2).async_resume("not-moved", store=store, operator_map=flows.VERSION_MAP)
        assert await go(moved) == "went"


async def test_a_fork_is_made_of_what_was_stored(file: Path) -> None:
    async with opened(file) as store:
        fork = await flows.outer().history(store).fork("outer", at=1, value=["third"], new_id="new")
        assert await approve_all(fork) == ["<third: yes>"]
        assert (await flows.everything().history(store).fork("everything", at=30, new_id="half")) is not None
        again = await flows.everything().async_resume("half", store=store)
        assert await again.async_get_result() == EVERYTHING


async def test_what_was_stored_can_be_put_in_order(file: Path, tmp_path: Path) -> None:
    """Compacted, exported again, and forgotten."""
    async with opened(file) as store:
        for id in ROOTS:
            history = flow_of(ROWS[id]["flow"]).history(store)
            if ROWS[id]["flow"] != "versioned":
                await history.compact(id)
                await history.export(id, tmp_path / "again.jsonl")
        for name in {row["flow"] for row in ROWS.values()}:
            await flow_of(name).history(store).prune(keep=0)
        left = {id for id in ROWS if await store.find(id) is not None}
    assert left == {id for id in ROWS if id.partition("/")[0] in GOING_ON}


async def test_a_worker_takes_up_what_was_left_behind(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All that need nobody come to their end; the others stand where they stood."""
    every = [make() for make in flows.FLOWS.values()]
    async with opened(file) as store, Worker(store, *every, flows.versioned(1)):
        for id in ALONE:
            execution = await flow_of(ROWS[id]["flow"]).async_resume(id, store=store)
            assert await execution.async_get_result() == GOING_ON[id][1]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    async with opened(file) as store:
        going, result = GOING_ON["outer"]
        assert await going(await flows.outer().async_resume("outer", store=store)) == result


# -- archives, saved executions, flows ---------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Any = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "new.db", synchronous="NORMAL")
    async with made as store:
        yield store


@pytest.mark.parametrize("id", sorted(path.stem for path in (V1 / "archives").iterdir()))
async def test_an_archive_is_loaded_and_goes_on(store: Store, id: str) -> None:
    path = V1 / "archives" / f"{id}.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["line"] for line in (lines[0], lines[-1])] == ["triggerflow-execution", "end"]
    flow = flow_of(ROWS[id]["flow"])
    history = flow.history(store)
    assert (await history.load(path)).status == ROWS[id]["status"]
    found = [TAGS[tag] for tag in ROWS[id]["records"]]
    assert [type(record).__name__ async for _, record in history.journal(id)] == found
    execution = await flow.async_resume(id, store=store)
    if id in ENDED:
        assert await execution.async_get_result() == ENDED[id]
    else:
        going, result = GOING_ON[id]
        assert await going(execution) == result


SAVED: dict[str, tuple[Going, Any]] = {
    **{name: GOING_ON[name] for name in (
        "asking", "delayed", "each", "joining", "kept-open", "lazy", "outer", "outside", "provisional", "retrying",
        "settling", "typed", "values",
    )},
    "again": (to_its_end, "shoes"),
    "ending-badly": (to_its_end, ValueError),
    "ending-skipping": (to_its_end, None),
    "ending-well": (to_its_end, "set by name"),
    "everything": (to_its_end, EVERYTHING),
    "parked": (to_its_end, [10, 20, 30, 40, 50, 60]),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.name for path in (V1 / "saved").iterdir()))
async def test_a_saved_execution_is_loaded_and_goes_on(name: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(V1 / "saved" / name, tmp_path))
    assert "triggerflow/execution" in text_of(path)
    kind = path.stem if path.suffix == ".json" else "outside"
    flow = flow_of({"not-started": "outside", "kept-open": "ending", "parked": "each"}.get(kind, kind.split("-")[0]))
    assert flow.inspect_load(path).kind == "compatible"
    execution = flow.load_execution(path)
    assert execution.id == f"saved-{kind}"
    if kind == "not-started":
        await execution.async_begin("x")
        await execution.async_emit("first", 1)
    going, result = SAVED["outside" if kind == "not-started" else kind]
    if result is ValueError:
        with pytest.raises(Exception, match="it ends badly"):
            await going(execution)
    else:
        assert await going(execution) == result
    assert text_of(path) == text_of(V1 / "saved" / name)


async def test_options_are_saved_with_an_execution() -> None:
    execution = flows.each().load_execution(V1 / "saved" / "each.json")
    options = runtime_of(execution).options
    assert (options.stream_history, options.journal_limit, options.cleanup_timeout) == (9, 99, 3.5)
    assert runtime_of(flows.settling().load_execution(V1 / "saved" / "settling.json")).options.max_pending == 5


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


RUNS: dict[str, tuple[Any, Going, Any]] = {
    "everything": ([1, 4, 200], to_its_end, EVERYTHING),
    "outer": (["one"], approve_all, ["<one: yes>"]),
    "retrying": (None, to_its_end, 3),
    "joining": ("v", to_its_end, JOINED),
    "delayed": ("parcel", to_its_end, {"hour": "parcel", "deadline": "parcel"}),
    "asking": ("the plan", answer_all, ANSWERED),
}


@pytest.mark.parametrize("name", sorted(path.name for path in (V1 / "flows").iterdir()))
async def test_an_exported_flow_is_loaded_and_runs(name: str) -> None:
    path = V1 / "flows" / name
    assert "triggerflow/v1" in text_of(path)
    flow = flows.FLOWS[path.stem]()
    (flow.load_json_flow if path.suffix == ".json" else flow.load_yaml_flow)(path)
    value, going, result = RUNS[path.stem]
    execution = flow.create_execution()
    await execution.async_begin(value)
    if path.stem == "asking":
        await asyncio.sleep(5)
        await execution.async_continue_with("next", "go on", request_id="request-1")
    assert await going(execution) == result
