"""What a worker cannot run: it is left alone, so that others can have it, and tried again when that may help.

`Worker`: "What cannot be run here ... is logged once, and left to other workers: it is tried again when the definition
of its flow has changed, else after a minute, and then after twice as long each time, up to an hour."
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.durable.counted import CountedStore
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import StoreUnavailable
from triggerflow.stores import Append, MemoryData, MemoryStore, NewRecord

Data = TriggerFlowRuntimeData[Any]
IDS = ("run-0", "run-1", "run-2")


@dataclass
class Note:
    """A class that one process has registered."""

    text: str


async def work(data: Data) -> Any:
    """Goes on for a long time, in the process that begins it."""
    if data.attempt == 1 or data.resources.get("slow"):
        await asyncio.sleep(1e6)
    return data.value


def working(name: str = "step") -> TriggerFlow:
    flow = TriggerFlow(name="flow")
    flow.to((name, work)).end()
    return flow


def noting(*, registered: bool) -> TriggerFlow:
    flow = working()
    if registered:
        flow.register_type(Note)
    return flow


def around(child: TriggerFlow) -> TriggerFlow:
    flow = TriggerFlow(name="outer")
    flow.to_sub_flow(child, name="child").end()
    return flow


def sourcing(*, registered: bool) -> TriggerFlow:
    flow = TriggerFlow(name="flow")

    def items(end: int) -> Any:
        yield from range(end)

    source: Any = flow.source(items, name="items") if registered else None
    flow.to(("source", lambda data: source(3))).for_each().to(("step", work)).end_for_each().end()
    return flow


def nothing(data: MemoryData) -> None:
    pass


def damaged_records(data: MemoryData) -> None:
    for kept in data.executions.values():
        kept.records[0] = (0, NewRecord(b'{"record": "nonsense"}'))


def damaged_children(data: MemoryData) -> None:
    for id, kept in data.executions.items():
        if "/" in id:
            kept.records[0] = (0, NewRecord(b'{"record": "nonsense"}'))


def lost_payloads(data: MemoryData) -> None:
    data.payloads.clear()


def lost_definitions(data: MemoryData) -> None:
    data.definitions.clear()


async def left_behind(data: MemoryData, flow: TriggerFlow, value: Any, ids: tuple[str, ...] = IDS) -> None:
    """Executions that a first process has begun and let go of."""
    async with MemoryStore(data) as store:
        for id in ids:
            execution: Any = flow.create_execution(store=store, id=id)
            await execution.async_begin(value)
            await asyncio.sleep(1)
            await execution.async_suspend()


async def make_due(data: MemoryData, ids: tuple[str, ...]) -> None:
    """Have them stand as what waits for a time that has come long ago."""
    async with MemoryStore(data) as store:
        for id in ids:
            row = await store.claim(id)
            due = Append(execution=id, first=row.records, records=[], status="waiting", due=1.0, at=row.updated)
            await store.append([due])
            await store.release([id])


@asynccontextmanager
async def worked_on(data: MemoryData, *flows: TriggerFlow, **options: Any) -> AsyncIterator[CountedStore]:
    async with MemoryStore(data) as inner:
        store: Any = CountedStore(inner)
        async with Worker(store, *flows, **{"poll": 0.5, **options}):
            yield store


#: How an execution comes about, what happens to its data, and the flow that cannot run it.
REFUSED: dict[str, tuple[Callable[[], TriggerFlow], Any, Callable[[MemoryData], None], Callable[[], TriggerFlow]]] = {
    "a renamed operator": (working, 1, nothing, lambda: working("renamed")),
    "an unknown type": (lambda: noting(registered=True), Note("x"), nothing, lambda: noting(registered=False)),
    "an unknown source": (lambda: sourcing(registered=True), 1, nothing, lambda: sourcing(registered=False)),
    "damaged records": (working, 1, damaged_records, working),
    "a lost payload": (working, "x" * 5000, lost_payloads, working),
    "a lost definition": (working, 1, lost_definitions, lambda: working("renamed")),
    "a renamed operator of a sub-flow": (
        lambda: around(working()), 1, nothing, lambda: around(working("renamed"))
    ),
    "damaged records of a sub-flow": (lambda: around(working()), 1, damaged_children, lambda: around(working())),
}  # fmt: skip


@pytest.mark.parametrize("due", [False, True], ids=["running", "due"])
@pytest.mark.parametrize("kind", REFUSED)
async def test_what_cannot_be_run_is_claimed_once_and_left_to_others(
    kind: str, due: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Not with every look into the store: meanwhile nobody else could have it."""
    make, value, damage, flow = REFUSED[kind]
    data = MemoryData()
    await left_behind(data, make(), value)
    if due:
        await make_due(data, IDS)
    damage(data)
    async with worked_on(data, flow()) as store:
        await asyncio.sleep(50)
        assert store.claimed == dict.fromkeys(IDS, 1)
        assert store.released.keys() >= set(IDS)
        assert store.calls["claim_work"] <= 102
        assert store.calls["next_due"] <= 102
        for id in IDS:
            row = await store.find(id)
            assert row.owner is None
            assert row.status in ("running", "waiting")
    logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert sorted(logged) == [f"the worker cannot run execution {id!r} of flow {make().name!r}" for id in IDS]


@pytest.mark.parametrize("kind", ["a renamed operator", "an unknown type", "a renamed operator of a sub-flow"])
async def test_a_worker_that_can_runs_what_another_one_cannot(kind: str) -> None:
    make, value, _, flow = REFUSED[kind]
    data = MemoryData()
    await left_behind(data, make(), value)
    async with worked_on(data, flow()), worked_on(data, make()) as store:
        await asyncio.sleep(5)
        assert [(await store.find(id)).status for id in IDS] == ["completed"] * 3


async def test_they_take_no_places_from_others() -> None:
    """`at_once` counts what runs; the oldest executions are refused here, and a younger one is run."""
    data = MemoryData()
    await left_behind(data, working(), 1)
    await left_behind(data, working("renamed"), 1, ("young",))
    async with worked_on(data, working("renamed"), at_once=1) as store:
        await asyncio.sleep(5)
        assert (await store.find("young")).status == "completed"
        assert store.claimed == dict.fromkeys((*IDS, "young"), 1)


async def test_a_flow_that_is_written_on_gets_another_try() -> None:
    """The definition counts: with what it lacked it can go on at the next look."""
    data = MemoryData()
    await left_behind(data, working(), 1)
    flow = working("renamed")
    async with worked_on(data, flow) as store:
        await asyncio.sleep(5)
        assert store.claimed == dict.fromkeys(IDS, 1)
        flow.when("something").to(("step", work))
        await asyncio.sleep(1)
        assert store.claimed == dict.fromkeys(IDS, 2)
        assert (await store.find("run-0")).owner is None


async def test_what_no_definition_tells_is_tried_again_after_a_while() -> None:
    """A type that is registered late: after a minute at most."""
    data, flow = MemoryData(), noting(registered=False)
    await left_behind(data, noting(registered=True), Note("x"))
    async with worked_on(data, flow) as store:
        await asyncio.sleep(5)
        flow.register_type(Note)
        await asyncio.sleep(60)
        assert [(await store.find(id)).status for id in IDS] == ["completed"] * 3
        assert store.claimed == dict.fromkeys(IDS, 2)


async def test_the_longer_the_rarer(caplog: pytest.LogCaptureFixture) -> None:
    """After 1, 3, 7, 15, 31 and 63 minutes, and then once an hour; told once."""
    data = MemoryData()
    await left_behind(data, working(), 1, ("run",))
    async with worked_on(data, working("renamed"), poll=10) as store:
        await asyncio.sleep(65 * 60)
        assert store.claimed["run"] == 7
        await asyncio.sleep(10 * 3600)
        assert store.claimed["run"] == 17
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


async def test_a_full_worker_does_not_look_for_what_is_due() -> None:
    """What is due while there is no place for it waits for a place, and the store is left in peace."""
    data = MemoryData()
    await left_behind(data, working(), 1)
    await make_due(data, IDS)
    flow = working()
    flow.resources["slow"] = True
    async with worked_on(data, flow, at_once=1) as store:
        await asyncio.sleep(50)
        assert len(store.claimed) == 1
        assert store.calls["next_due"] <= 102


# -- sub-flows ---------------------------------------------------------------------------------------------------------


async def ask(data: Data) -> None:
    data.pause_for(interrupt_id="question")


def asking() -> TriggerFlow:
    flow = TriggerFlow(name="asking")
    flow.to(("ask", ask)).end()
    return flow


class Failing(MemoryStore):
    """Finds no sub-flow as long as it fails."""

    fails = True

    async def find(self, execution: str) -> Any:
        if self.fails and "/" in execution:
            raise StoreUnavailable("the disk is busy")
        return await super().find(execution)


async def test_what_waits_in_a_sub_flow_is_parked_when_it_was_taken_up() -> None:
    """It writes nothing any more that would tell the worker so."""
    data = MemoryData()
    await left_behind(data, around(asking()), 1)
    async with worked_on(data, around(asking())) as store:
        await asyncio.sleep(5)
        assert [((row := await store.find(id)).status, row.owner) for id in IDS] == [("waiting", None)] * 3


async def test_a_sub_flow_that_the_store_refused_once_is_opened_later() -> None:
    """While the store fails, what was suspended by that is tried again every `poll` seconds."""
    data = MemoryData()
    await left_behind(data, around(asking()), 1)
    async with Failing(data) as store, Worker(store, around(asking()), poll=0.5):
        await asyncio.sleep(5)
        store.fails = False
        await asyncio.sleep(5)
        assert [((row := await store.find(id)).status, row.owner) for id in IDS] == [("waiting", None)] * 3
        execution = await around(asking()).async_resume("run-0", store=store)
        await execution.async_committed(execution.get_status)
        assert not [id for id in IDS if (await store.find(id)).status == "failed"]
