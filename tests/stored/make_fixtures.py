"""Writes stored data as this version of the package writes it, so that later versions can be held to reading it:

    PYTHONPATH=src:. python tests/stored/make_fixtures.py FOLDER

A folder that is committed is never written again, not even by the version that has written it: what users have on disk
is not written again either. For data of another kind or a newer version make a new folder, and add it to the tests.

Clock and event loop are virtual, so that two runs of one version write the same.
"""

# ruff: noqa: E402, I001 - the clock is set before the package takes it

import time

START = 1_790_000_000.0  # September 2026


def virtual_time() -> float:
    """The time of the loop that runs, as seconds since the epoch."""
    return START + (LOOP.time() if LOOP is not None else 0.0)


LOOP = None
time.time = virtual_time

import asyncio
import gzip
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from tests.stored import flows
from tests.virtual_time import VirtualTimeLoop
from triggerflow import TriggerFlow, records
from triggerflow.durable import Worker
from triggerflow.durable.executions import stored
from triggerflow.stores import SQLiteStore


GATES: list[asyncio.Event] = []


def gate() -> asyncio.Event:
    """What chunks wait for that are to be caught at work."""
    GATES.append(asyncio.Event())
    return GATES[-1]


async def open_gates() -> None:
    """Nobody is to be left waiting when the loop ends."""
    for it in GATES:
        it.set()
    GATES.clear()
    await asyncio.sleep(1)


async def begun(flow: TriggerFlow, value: Any = None, *, wait: float = 0.5, **options: Any) -> Any:
    """An execution that has started, and has done what it can do within so many seconds."""
    execution: Any = flow.create_execution(runtime_resources={"gate": gate()}, **options)
    await execution.async_begin(value)
    await asyncio.sleep(wait)
    return execution


# -- the store ---------------------------------------------------------------------------------------------------------


class Filling:
    """Fills one store with executions, each left in the middle of something."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store

    async def leave(self, flow: TriggerFlow, id: str, value: Any = None, **options: Any) -> Any:
        """An execution that stands in the store as it is after a moment."""
        execution = await begun(flow, value, id=id, store=self.store, **options)
        await execution.async_suspend()
        return execution

    async def ended(self) -> None:
        """All kinds of end."""
        store = self.store
        done = flows.everything().create_execution(id="everything", store=store, concurrency=4)
        await done.async_start([1, 4, 200])
        for how in ("well", "badly", "stopped", "skipping"):
            options: dict[str, Any] = {"skip_exceptions": True} if how == "skipping" else {}
            execution = await begun(
                flows.ending(), how, id=f"ending-{how}", store=store, cleanup_timeout=2.0, **options
            )
            if how == "stopped":
                await execution.async_cancel("nobody needs it")
            elif how == "badly":
                await asyncio.sleep(5)
        kept = await begun(flows.ending(), "replaced", id="ending-replaced", store=store, keep_open=True)
        await kept.async_set_result("third", replace=True)
        await kept.async_close()
        await flows.again().create_execution(id="again", store=store).async_start("shoes")
        await flows.spoiled().create_execution(id="spoiled", store=store).async_start()
        await flows.withdrawing().create_execution(id="withdrawing", store=store).async_start()

    async def waiting(self) -> None:
        """What waits for answers, for signals from outside, for time, for its start."""
        await self.leave(flows.values(), "values", flows.VALUES)
        await self.leave(flows.large(), "large", "x" * 1100)
        asked = await begun(flows.asking(), "the plan", wait=5, id="asking", store=self.store)
        await asked.async_continue_with("next", "go on", request_id="request-1")
        await asked.async_suspend()
        await self.leave(flows.outer(), "outer", ["one", "two"], concurrency=2)
        heard = await begun(flows.outside(), "x", id="outside", store=self.store)
        await heard.async_emit("first", 1)
        await heard.async_suspend()
        await self.leave(flows.delayed(), "delayed", "parcel")
        await self.leave(flows.retrying(), "retrying")
        await self.leave(flows.ending(), "kept-open", "replaced", keep_open=True)
        typed: Any = flows.typed().create_execution(id="typed-created", store=self.store)
        await typed.async_open()
        await typed.state.async_set("owner", "Grace")
        await typed.async_committed(typed.get_status)
        await typed.async_suspend()
        basket = await begun(flows.typed(), "Ada", id="typed", store=self.store)
        await basket.async_emit("bought", 4)
        await basket.async_suspend()
        flow = flows.outer()
        async with Worker(self.store, flow):  # it parks what waits, as one that waits
            parked = await begun(flow, ["one"], wait=5, id="parked", store=self.store)
        assert parked.get_status() == "waiting"

    async def at_work(self) -> None:
        """What was running: chunks, sources, waits, provisional signals, half-filled joins."""
        await self.leave(flows.each(), "each", [1, 2, 3, 4])
        await self.leave(flows.settling(), "settling", "cake", concurrency=3, max_pending=5)
        await self.leave(flows.provisional(), "provisional", "done")
        await self.leave(flows.joining(), "joining", "v")
        await self.leave(flows.lazy(), "lazy", 5)
        await self.leave(flows.each(), "taken-up", [1, 2, 3])
        taken = await flows.each().async_resume("taken-up", store=self.store, runtime_resources={"gate": gate()})
        await asyncio.sleep(0.5)
        await taken.async_suspend()

    async def written_anew(self) -> None:
        """What has snapshots: long ones, moved ones, compacted ones, forks."""
        await self.leave(flows.counted(), "counted", list(range(26)))
        await self.leave(flows.versioned(1), "versioned", "v")
        second = flows.versioned(2)
        moved = await second.async_resume("versioned", store=self.store, operator_map=flows.VERSION_MAP)
        await moved.async_suspend()
        await self.leave(flows.versioned(1), "not-moved", "w")
        await self.leave(flows.outer(), "compacted", ["one"])
        print(await flows.outer().history(self.store).compact("compacted"))
        await self.leave(flows.large(), "large-compacted", "x" * 1100)
        print(await flows.large().history(self.store).compact("large-compacted"))
        await flows.ending().create_execution(id="ending-compacted", store=self.store).async_start("well")
        print(await flows.ending().history(self.store).compact("ending-compacted"))
        history = flows.outer().history(self.store)
        fork = await history.fork("outer", at=1, value=["other"], state={"told": True}, new_id="fork")
        await fork.async_open()
        await asyncio.sleep(0.5)
        await fork.async_suspend()
        half = await history.fork("outer", at=(await self.row("outer")).records, new_id="fork-waiting")
        await half.async_open()
        await asyncio.sleep(0.5)
        await half.async_suspend()

    async def row(self, id: str) -> Any:
        """The row of an execution."""
        return await self.store.find(id)


async def fill_store(folder: Path) -> None:
    """`store.sqlite` (which is compressed later), and `archives/`: what `export` writes of some of its executions."""
    stored.SNAPSHOT_EVERY = 50  # 5000 records would make a large file
    async with SQLiteStore(folder / "store.sqlite") as store:
        filling = Filling(store)
        for part in (filling.ended, filling.waiting, filling.at_work, filling.written_anew):
            await part()
        await open_gates()
        (folder / "archives").mkdir()
        for id, flow in (
            ("outer", flows.outer()),
            ("everything", flows.everything()),
            ("ending-well", flows.ending()),
            ("large", flows.large()),
            ("values", flows.values()),
            ("compacted", flows.outer()),
            ("each", flows.each()),
        ):
            await flow.history(store).export(id, folder / "archives" / f"{id}.jsonl")


def described(path: Path) -> dict[str, Any]:
    """What is in the store, read past the package: per execution its row, the records as they stand in the file, and
    at which records there are snapshots."""
    with closing(sqlite3.connect(path)) as connection:
        names = "id", "flow", "status", "parent", "due", "forked_execution", "forked_records", "trimmed"
        rows = connection.execute(f"SELECT {', '.join(names)}, key FROM executions ORDER BY id").fetchall()
        found: dict[str, Any] = {}
        for *row, key in rows:
            records = connection.execute("SELECT data FROM records WHERE execution = ? ORDER BY number", (key,))
            snapshots = connection.execute("SELECT records FROM snapshots WHERE execution = ? ORDER BY records", (key,))
            found[row[0]] = {
                **{name: value for name, value in zip(names[1:], row[1:], strict=True) if value is not None},
                "records": [json.loads(data)["record"] for (data,) in records],
                "snapshots": [number for (number,) in snapshots],
            }
        return found


# -- saved executions --------------------------------------------------------------------------------------------------


async def save(folder: Path, name: str, execution: Any) -> None:
    """One saved execution."""
    execution.save(folder / f"{name}.json")
    await execution.async_cancel("it is saved")


async def save_executions(folder: Path) -> None:
    """`saved/`: what `execution.save` writes."""
    made: dict[str, tuple[Callable[[], TriggerFlow], Any, float, dict[str, Any]]] = {
        "values": (flows.values, flows.VALUES, 0.5, {}),
        "each": (flows.each, [1, 2, 3, 4], 0.5, {"stream_history": 9, "journal_limit": 99, "cleanup_timeout": 3.5}),
        "outer": (flows.outer, ["one", "two"], 0.5, {"concurrency": 2}),
        "delayed": (flows.delayed, "parcel", 0.5, {}),
        "retrying": (flows.retrying, None, 0.5, {}),
        "settling": (flows.settling, "cake", 0.5, {"concurrency": 3, "max_pending": 5}),
        "again": (flows.again, "shoes", 1.5, {}),
        "provisional": (flows.provisional, "done", 0.5, {}),
        "joining": (flows.joining, "v", 0.5, {}),
        "lazy": (flows.lazy, 5, 0.5, {}),
        "everything": (flows.everything, [1, 4, 200], 0.5, {}),
        "ending-well": (flows.ending, "well", 0.5, {}),
        "ending-badly": (flows.ending, "badly", 9.0, {}),
        "ending-skipping": (flows.ending, "skipping", 0.5, {"skip_exceptions": True}),
        "kept-open": (flows.ending, "replaced", 0.5, {"keep_open": True}),
    }
    for name, (make, value, wait, options) in made.items():
        await save(folder, name, await begun(make(), value, wait=wait, id=f"saved-{name}", **options))
    await save(folder, "not-started", flows.outside().create_execution(id="saved-not-started"))
    asked = await begun(flows.asking(), "the plan", wait=5, id="saved-asking")
    await asked.async_continue_with("next", "go on", request_id="request-1")
    await save(folder, "asking", asked)
    heard = await begun(flows.outside(), "x", id="saved-outside")
    await heard.async_emit("first", 1)
    heard.save(folder / "outside.yaml")
    await save(folder, "outside", heard)
    basket = await begun(flows.typed(), "Ada", id="saved-typed")
    await basket.async_emit("bought", 4)
    await asyncio.sleep(0.1)
    await save(folder, "typed", basket)
    # Its chunks wait for a slow reader, and have given their places up meanwhile.
    reading = await begun(flows.each(), [1, 2, 3, 4, 5, 6], wait=0, id="saved-parked")
    reader = reading.get_async_runtime_stream(buffer=1)
    await anext(reader)
    await asyncio.sleep(0.5)
    await save(folder, "parked", reading)
    await reader.aclose()
    await open_gates()


# -- the rest ----------------------------------------------------------------------------------------------------------


def export_flows(folder: Path) -> None:
    """`flows/`: what `get_json_flow` writes, and one as `get_yaml_flow` does."""
    folder.mkdir()
    for name in ("everything", "outer", "retrying", "joining", "asking", "delayed"):
        flows.FLOWS[name]().get_json_flow(folder / f"{name}.json")
    flows.everything().get_yaml_flow(folder / "everything.yaml")


def write_records(folder: Path) -> None:
    """`records.jsonl`: one record of each kind with all it can hold, and one with the least."""
    e = records
    error = e.ErrorInfo("ValueError", "no", "step")
    full = [
        e.Created(1.5, False, 3, True, 7, True, True),
        e.Started(1.5, {"a": [1]}, False, 3, True, 7, True, True),
        e.Completed(1.5, 2, "value"),
        e.Failed(1.5, 2, error, 0.5),
        e.Cancelled(1.5, 2),
        e.Emitted(1.5, 2, "name", "value", True, 0.5, True, False),
        e.AwaitedAgain(1.5, 2, 3),
        e.Confirmed(1.5, 2, 3),
        e.Retracted(1.5, 2, 3, "reason"),
        e.WaitGivenUp(1.5, 3),
        e.ExternalWaitStarted(1.5, 2),
        e.ExternalWaitEnded(1.5, 3),
        e.StateChanged(1.5, 2, "append", "key", "value", False),
        e.FlowDataChanged(1.5, 2, "key", "value"),
        e.StreamPut(1.5, 2, "item", "path"),
        e.StreamStopped(1.5, 2),
        e.ResultSet(1.5, 2, "value", True),
        e.Paused(1.5, 2, "interrupt", "type", "payload", "event", "self", "schema", 9.5, True),
        e.Resumed(1.5, "interrupt", "value", "request"),
        e.InterruptClosed(1.5, "interrupt", True),
        e.TimerFired(1.5, 4),
        e.SourceItems(1.5, 5, ["item"], True),
        e.SourceFailed(1.5, 5, error),
        e.PermitsRequested(1.5, 2, 6),
        e.PermitsReturned(1.5, 2, 6),
        e.PermitsGranted(1.5, 6),
        e.Recovered(1.5),
        e.CancelRequested(1.5, "reason"),
        e.CleanupTimedOut(1.5),
        e.CloseRequested(1.5),
    ]
    least = [
        e.Created(1.5),
        e.Started(1.5, None),
        e.Failed(1.5, 2, e.ErrorInfo("ValueError", "no")),
        e.Emitted(1.5, None, "name", None),
        e.Confirmed(1.5, None, 3),
        e.Retracted(1.5, None, 3, "reason"),
        e.StateChanged(1.5, None, "delete", "key"),
        e.StateChanged(1.5, None, "set", "key", 1),
        e.FlowDataChanged(1.5, None, "key", None),
        e.StreamPut(1.5, None, "item"),
        e.StreamStopped(1.5, None),
        e.ResultSet(1.5, None, None),
        e.Paused(1.5, 2, "interrupt"),
        e.Resumed(1.5, "interrupt", None),
        e.InterruptClosed(1.5, "interrupt"),
        e.SourceItems(1.5, 5, []),
    ]
    lines = [msgspec.json.encode(record) + b"\n" for record in (*full, *least)]
    (folder / "records.jsonl").write_bytes(b"".join(lines))


def on_virtual_loop(work: Callable[[], Awaitable[None]]) -> None:
    """Do it on a loop whose clock is the package's clock, too."""
    global LOOP
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        LOOP = runner.get_loop()
        LOOP.instant = (Executor,)  # a store's threads take no time
        runner.run(work())  # pyright: ignore[reportArgumentType]
        LOOP = None


def main(folder: Path) -> None:
    """Everything, into a folder that is not there yet."""
    (folder / "saved").mkdir(parents=True)
    on_virtual_loop(lambda: fill_store(folder))
    on_virtual_loop(lambda: save_executions(folder / "saved"))
    export_flows(folder / "flows")
    write_records(folder)
    store = folder / "store.sqlite"
    found = described(store)
    (folder / "store.sqlite.gz").write_bytes(gzip.compress(store.read_bytes(), mtime=0))
    store.unlink()
    lines = (f"{json.dumps(id)}: {json.dumps(row)}" for id, row in found.items())
    (folder / "store.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
