"""What `export` writes, `load` takes, or `export` says why not; and a hostile file costs what its size allows."""

import asyncio
import hashlib
import io
import json
import re
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import ExecutionLeased, SnapshotError, UsageError
from triggerflow.stores import MemoryStore, SQLiteStore, payload_digest
from triggerflow.stores.protocol import ExecutionCopy, ExecutionRow

Open = Callable[..., Any]


def asking(version: int = 1, name: str = "asking") -> TriggerFlow:
    """A flow that asks for a value; each version adds a chunk after the answer."""
    flow = TriggerFlow(name)

    @flow.chunk("ask")
    async def ask(data: Any) -> None:
        data.state.set("given", data.value)
        data.pause_for(payload="?", interrupt_id="q")

    chain = flow.to(ask)
    for number in range(1, version + 1):
        chain = chain.to(passed_on, name=f"step {number}")
    chain.end()
    return flow


async def passed_on(data: Any) -> Any:
    return data.value


def with_sub_flow(version: int) -> TriggerFlow:
    flow = TriggerFlow("outer")
    flow.to_sub_flow(asking(version, "inner")).end()
    return flow


async def waiting(flow: TriggerFlow, store: Any, value: Any, id: str = "x") -> None:
    execution = flow.create_execution(store=store, id=id)
    await execution.async_begin(value)
    await execution.async_settled()
    await execution.async_suspend()


async def exported(flow: TriggerFlow, store: Any, id: str = "x", **options: Any) -> bytes:
    file = io.BytesIO()
    await flow.history(store).export(id, file, **options)
    return file.getvalue()


def sealed(lines: list[bytes]) -> bytes:
    """A file whose last line fits."""
    body = b"".join(line + b"\n" for line in lines[:-1])
    end = {"line": "end", "lines": len(lines) - 1, "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(end).encode() + b"\n"


# -- what export writes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("make", [asking, with_sub_flow])
async def test_an_execution_that_was_moved_to_other_definitions(open_store: Open, make: Any, compacted: bool) -> None:
    question = "q" if make is asking else "inner.1/q"
    async with open_store() as store:
        await waiting(make(1), store, "a")
        if compacted:
            await make(1).history(store).compact("x")
        for version in (2, 3):
            moved = await make(version).async_resume("x", store=store)
            await moved.async_settled()
            await moved.async_suspend()
        flow = make(3)
        before = await exported(flow, store)
        execution = await flow.async_resume("x", store=store)
        await execution.async_continue_with(question, "yes")
        assert await execution.async_get_result() == "yes"
        after = await exported(flow, store)
        files = [before, after]
        if not compacted:
            fork = await flow.history(store).fork("x", at=(await store.find("x")).records - 3, new_id="fork")
            await fork.async_settled()
            files.append(await exported(flow, store, "fork"))
    for data in files:
        async with MemoryStore() as other:
            history = flow.history(other)
            row = await history.load(io.BytesIO(data), id="y")
            execution = await flow.async_resume("y", store=other)
            if row.status != "completed":
                await execution.async_continue_with(question, "yes")
            assert await execution.async_get_result() == "yes"
            assert [line async for line in history.lines("y")]


async def test_export_says_what_load_would_not_take(open_store: Open) -> None:
    """The values of a small file may be large when its payloads are inserted."""
    flow = asking()
    async with open_store() as store:
        await waiting(flow, store, range(3_000_000))
        with pytest.raises(UsageError, match=r"'x' is not exported.*more than 2,000,000 parts.*limit="):
            await exported(flow, store)
        large = 512 * 1024 * 1024
        data = await exported(flow, store, limit=large)
        with pytest.raises(SnapshotError, match="more than 2,000,000 parts"):
            await flow.history(store).load(io.BytesIO(data), id="y")
        assert (await flow.history(store).load(io.BytesIO(data), id="y", limit=large)).status == "waiting"


async def test_the_size_of_a_file_has_one_limit(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        await waiting(flow, store, "word " * 1000)
        data = await exported(flow, store)
        for limit in (1000, len(data) - 1):
            with pytest.raises(UsageError, match=f"more than {limit:,} bytes"):
                await exported(flow, store, limit=limit)
            with pytest.raises(SnapshotError, match=f"more than {limit:,} bytes"):
                await flow.history(store).load(io.BytesIO(data), id="y", limit=limit)
        assert await exported(flow, store, limit=len(data)) == data
        await flow.history(store).load(io.BytesIO(data), id="y", limit=len(data))


async def test_a_state_that_holds_one_payload_many_times(open_store: Open) -> None:
    """Each value is small enough, all of them together are not."""
    flow = TriggerFlow("f")

    @flow.chunk("fill")
    async def fill(data: Any) -> None:
        for number in range(30):
            data.state.set(f"key {number}", range(200_000))
        data.pause_for(payload="?", interrupt_id="q")

    flow.to(fill).end()
    async with open_store() as store:
        await waiting(flow, store, 0)
        with pytest.raises(UsageError, match="the values of its state have more than 4,000,000 parts"):
            await exported(flow, store)


@pytest.mark.parametrize("id", ["a" * 1024, "order/1", "line\nbreak", "ä€", "a b", "..", "x/inner.1"])
async def test_an_id_that_runs_is_exported(open_store: Open, id: str) -> None:
    flow = with_sub_flow(1)
    async with open_store() as store, MemoryStore() as other:
        await waiting(flow, store, 1, id)
        data = await exported(flow, store, id)
        await flow.history(other).load(io.BytesIO(data))
        execution = await flow.async_resume(id, store=other)
        await execution.async_continue_with("inner.1/q", "yes")
        assert await execution.async_get_result() == "yes"


@pytest.mark.parametrize("id", ["", "a" * 1025, "\0", "half \ud800"])
async def test_an_id_that_cannot_be_exported_does_not_run(open_store: Open, id: str) -> None:
    flow = asking()
    async with open_store() as store:
        with pytest.raises(UsageError, match="cannot be the id of an execution"):
            await flow.create_execution(store=store, id=id).async_begin(1)
        await waiting(flow, store, 1)
        with pytest.raises(UsageError, match="cannot be the id of an execution"):
            await flow.history(store).fork("x", at=3, new_id=id)
        with pytest.raises(UsageError, match="cannot be the id of an execution"):
            await flow.history(store).load(io.BytesIO(await exported(flow, store)), id=id)


# -- hostile files ---------------------------------------------------------------------------------------------------


def items(lines: list[bytes]) -> list[bytes]:
    return [re.sub(rb'"items":\d+', b'"items":1000000000', line) for line in lines]


def start(value: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [line.replace(b'"MARK"', value) for line in lines]


def of_one_hash(form: str) -> Callable[[list[bytes]], list[bytes]]:
    """Numbers whose hash is 0, in a set, as keys of a dict, or inside of them."""
    numbers = [str(number * (2**61 - 1)) for number in range(1, 20_000)]
    if form == "tuples":
        numbers = [f'{{"$":"tuple","v":[1,{number}]}}' for number in numbers]
    if form == "decimals":
        numbers = [f'{{"$":"decimal","v":"{number}"}}' for number in numbers]
    if form == "dict":
        pairs = ",".join(f"[{number},0]" for number in numbers)
        return start(f'{{"$":"dict","v":[{pairs}]}}'.encode())
    tag = "frozenset" if form == "frozenset" else "set"
    return start(f'{{"$":"{tag}","v":[{",".join(numbers)}]}}'.encode())


def multiplied(lines: list[bytes]) -> list[bytes]:
    """A thousand changes of the state, each with the value of one payload."""
    data = b'[{"$":"range","v":[0,20000,1]}]'
    digest = payload_digest(data)
    first = next(index for index, line in enumerate(lines) if b'"line":"record"' in line)
    payload = b'{"line":"payload","digest":"%s","data":%s}' % (digest.encode(), data)
    number = next(index for index, line in enumerate(lines) if b'"record":"state"' in line)
    change = json.loads(lines[number])
    made: list[bytes] = []
    for index in range(1000):
        change["data"] |= {"key": f"k{index}", "value": {"$": "ref", "v": digest}, "digest": None}
        made.append(json.dumps({**change, "number": change["number"] + index}, separators=(",", ":")).encode())
    rest = [
        re.sub(rb'"number":(\d+)', lambda it: b'"number":%d' % (int(it[1]) + 999), line) for line in lines[number + 1 :]
    ]
    head = [
        re.sub(rb'"records":(\d+)', lambda it: b'"records":%d' % (int(it[1]) + 999), line) for line in lines[:first]
    ]
    return [*head, payload, *lines[first:number], *made, *rest]


HOSTILE: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "many items": (items, "items are not numbered"),
    "a range": (start(b'{"$":"range","v":[0,1000000000,1]}'), "more than 2,000,000 parts"),
    "a range backwards": (start(b'{"$":"range","v":[1000000000,0,-1]}'), "more than 2,000,000 parts"),
    "a range of nothing": (start(b'{"$":"range","v":[0,1,0]}'), "a recorded range is damaged"),
    "a set of one hash": (of_one_hash("set"), "of the same hash"),
    "a frozenset of one hash": (of_one_hash("frozenset"), "of the same hash"),
    "a dict of one hash": (of_one_hash("dict"), "of the same hash"),
    "tuples of one hash": (of_one_hash("tuples"), "of the same hash"),
    "decimals of one hash": (of_one_hash("decimals"), "of the same hash"),
    "a payload many times": (multiplied, "the values of its state have more than"),
    "a line after the end": (
        lambda lines: [*lines[:-1], lines[-1], lines[-1]],
        "after the end|cannot be at this place",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_file_of_a_stranger_is_refused(name: str) -> None:
    change, text = HOSTILE[name]
    flow = asking()
    async with MemoryStore() as store, MemoryStore() as other:
        await waiting(flow, store, "MARK")
        lines = change((await exported(flow, store)).splitlines())
        with pytest.raises(SnapshotError, match=text):
            await flow.history(other).load(io.BytesIO(sealed(lines)))
        assert not other.data.executions


@pytest.mark.parametrize("count", [100_001, 10**12, -1])
async def test_a_number_of_permits_is_no_order_to_take_memory(count: int) -> None:
    flow = TriggerFlow("outer")
    flow.for_each(concurrency=2).to_sub_flow(asking(1, "inner")).end_for_each().end()
    async with MemoryStore() as store:
        await waiting(flow, store, [1, 2, 3])
        lines = (await exported(flow, store)).splitlines()
        asks = next(index for index, line in enumerate(lines) if b'"record":"places_wanted"' in line)
        lines[asks] = re.sub(rb'"count":\d+', b'"count":%d' % count, lines[asks])
        with pytest.raises(SnapshotError, match="more than 100,000 permits"):
            await flow.history(store).load(io.BytesIO(sealed(lines)), id="y")


# -- beside others ---------------------------------------------------------------------------------------------------


async def test_the_event_loop_serves_others_while_a_file_is_checked(open_store: Open) -> None:
    """A class of a value in the file waits for a task of the loop: both have to run at the same time."""
    checks, served = threading.Event(), threading.Event()

    class Slow(msgspec.Struct):
        number: int

        def __post_init__(self) -> None:
            if checks.is_set():
                assert served.wait(30), "the event loop stands still"

    flow = asking()
    flow.register_type(Slow)
    async with open_store() as store:
        await waiting(flow, store, Slow(1))
        data = await exported(flow, store)

        async def serve() -> None:
            served.set()

        checks.set()
        loading = asyncio.ensure_future(flow.history(store).load(io.BytesIO(data), id="y"))
        await asyncio.sleep(0)
        await serve()
        assert (await loading).id == "y"


async def test_labels_and_the_error_travel_with_the_file(open_store: Open) -> None:
    flow = TriggerFlow("f")

    @flow.chunk("fails")
    async def fails(data: Any) -> None:
        raise ValueError("it does not work")

    flow.to(fails).end()
    async with open_store() as store, MemoryStore() as other:
        with pytest.raises(ValueError, match="does not work"):
            await flow.create_execution(store=store, id="x", labels={"customer": "7"}).async_start(1)
        row = await store.find("x")
        loaded = await flow.history(other).load(io.BytesIO(await exported(flow, store)))
        assert (loaded.labels, loaded.error) == (row.labels, row.error)
        assert loaded.labels == {"customer": "7"}


async def test_the_lease_is_kept_while_a_large_archive_is_loaded(tmp_path: Path) -> None:
    """The transaction that adds the executions takes longer than the lease."""
    now = [1000.0]

    class Slowly(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            now[0] += 100
            return super().__iter__()

    def opened() -> SQLiteStore:
        return SQLiteStore(tmp_path / "runs.db", lease=30, clock=lambda: now[0])

    row = ExecutionRow(id="x", flow="f", definition="d", created=now[0], updated=now[0], status="waiting")
    async with opened() as store, opened() as other:
        await store.put_copies([ExecutionCopy(row=row, records=[])])
        await store.put_copies(Slowly([ExecutionCopy(row=msgspec.structs.replace(row, id="y"), records=[])]))
        assert now[0] >= 1100
        for id in ("x", "y"):
            with pytest.raises(ExecutionLeased):
                await other.claim(id)


def test_a_large_value_is_in_memory_once_while_an_archive_is_loaded(tmp_path: Path) -> None:
    """Lists of one number take 13 times their text in CPython. It was over 60 times when each step made a copy."""

    async def export() -> None:
        async with MemoryStore() as store:
            execution = asking().create_execution(store=store, id="x")
            await execution.async_begin([[number] for number in range(1000, 41_000)])
            await asyncio.sleep(0.1)
            await execution.async_suspend()
            await asking().history(store).export("x", tmp_path / "x.jsonl")

    async def load() -> None:
        async with MemoryStore() as store:
            await asking().history(store).load(tmp_path / "x.jsonl")

    asyncio.run(export())
    asyncio.run(load())  # what is imported late does not count
    tracemalloc.start()
    try:
        asyncio.run(load())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 45 * (tmp_path / "x.jsonl").stat().st_size
