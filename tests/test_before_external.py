"""What was stored before events could be declared external: it goes on as it would have then, and reads as it did.

The files in `stored/before_external` were written by that version; `make.py` there says how.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.stored.before_external import flows
from tests.support import read
from triggerflow import TriggerFlow
from triggerflow.errors import ExecutionClosed
from triggerflow.extension import blueprint_of
from triggerflow.stores import MemoryStore, SQLiteStore

FILES = Path(flows.__file__).parent
SAVED: dict[str, Any] = json.loads((FILES / "saved.json").read_text())
CONFIGS: dict[str, Any] = json.loads((FILES / "configs.json").read_text())

#: The flow of each stored execution, by its id, and where it stands.
STORED: dict[str, tuple[TriggerFlow, str]] = {
    "approval": (flows.approval(), "waiting"),
    "approval, moved": (flows.approval(), "waiting"),
    "approval, not started": (flows.approval(), "created"),
    "check, literal": (flows.check("literal"), "completed"),
    "check, literal, big": (flows.check("literal"), "waiting"),
    "check, helper": (flows.check("helper"), "waiting"),
    "check, helper, big": (flows.check("helper"), "waiting"),
    "talk": (flows.talk(), "waiting"),
    "ended": (flows.ended(), "completed"),
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(shutil.copy(FILES / "runs.db", tmp_path / "runs.db")) as opened:
        yield opened


def declaring() -> TriggerFlow:
    """The flow as somebody writes it who has read the news."""
    flow = flows.approval()
    flow.signal("approved", external=True)
    return flow


def listening_to_more() -> TriggerFlow:
    flow = flows.approval()
    flow.when("approved").to(("note", lambda data: None))
    return flow


# -- stores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [flows.approval, declaring, listening_to_more])
@pytest.mark.parametrize("id", ["approval", "approval, moved"])
async def test_an_execution_that_waits_for_an_outside_event_goes_on_waiting(
    store: SQLiteStore, id: str, now: Any
) -> None:
    """0006: "something listens to an outside event ... Then its status is `waiting`": for an execution from then that
    holds, whatever the flow declares today, and over several lives."""
    for _ in range(3):
        execution = await now().async_resume(id, store=store)
        await asyncio.sleep(36_000)
        assert execution.get_status() == "waiting"
        await execution.async_suspend()
    execution = await now().async_resume(id, store=store)
    await execution.async_emit("approved", "Ada")
    assert await execution.async_get_result() == "Ada said yes"


async def test_an_execution_that_was_not_started_waits_as_it_would_have(store: SQLiteStore) -> None:
    execution = await flows.approval().async_resume("approval, not started", store=store)
    await execution.async_begin("the page")
    await asyncio.sleep(36_000)
    assert execution.get_status() == "waiting"
    await execution.async_emit("approved", "Ada")
    assert await execution.async_get_result() == "Ada said yes"


@pytest.mark.parametrize("now", flows.WAYS)
async def test_it_does_not_matter_where_the_emit_stands_today(store: SQLiteStore, now: str) -> None:
    """What it waits for is known from what was stored with it, not from the code that runs it now."""
    flow = flows.check(now)
    waits = await flow.async_resume("check, helper", store=store)
    await asyncio.sleep(36_000)
    assert waits.get_status() == "waiting"
    await waits.async_emit("big", 50)
    assert await waits.async_get_result() == "big: 50"
    for id in ("check, literal, big", "check, helper, big"):
        asks = await flow.async_resume(id, store=store)
        assert asks.get_status() == "waiting"
        await asks.async_continue_with("go on?")
        assert await asks.async_get_result() == "big: 11"
    assert (await flow.history(store).state_at("check, literal")).status == "completed"


@pytest.mark.parametrize("now", flows.WAYS)
async def test_one_that_would_have_ended_ends(store: SQLiteStore, now: str) -> None:
    """At the time, "big" was known to be emitted by a chunk: with the answer, nothing is left that could wake it."""
    flow = flows.check(now)
    fork = await flow.history(store).fork("check, literal", at=await asking(flow, store))
    await fork.async_open()
    assert fork.get_status() == "waiting"
    await fork.async_continue_with("go on?")
    assert await fork.async_get_result(timeout=1) is None


async def asking(flow: TriggerFlow, store: SQLiteStore) -> int:
    """After how many records "check, literal" had asked."""
    history = flow.history(store)
    for records in range((await history.state_at("check, literal")).records):
        if (await history.state_at("check, literal", records)).status == "waiting":
            return records
    raise AssertionError("it never waited")


async def test_a_half_filled_join_and_a_computed_name(store: SQLiteStore) -> None:
    """It has emitted `step-1` itself, which does not count any more; `left` and `right` do, before and after a set."""
    execution = await flows.talk().async_resume("talk", store=store)
    assert execution.state.to_dict() == {"step": "hello"}
    await execution.async_emit("right", 2, settle=True)
    assert execution.state.get("both") == {"left": 1, "right": 2}
    await asyncio.sleep(36_000)
    assert execution.get_status() == "waiting"
    assert await execution.async_close() is None


async def test_where_nothing_listens_any_more_it_ends(store: SQLiteStore) -> None:
    """A new version of the flow has no `when` for the event: nothing could ever wake the execution."""
    flow = TriggerFlow(name="approval")
    flow.to(flow.chunk("ask")(lambda data: None))
    execution = await flow.async_resume("approval", store=store)
    assert await execution.async_get_result(timeout=1) is None


async def test_one_that_fails_today_can_be_retried_and_read(store: SQLiteStore) -> None:
    """Its external events are found in a replay of its records; a `Retried` record in it needs a replay, too."""
    broken, id = [True], "check, literal, big"

    async def handle(data: Any) -> Any:
        if broken:
            raise ConnectionError("the press is broken")
        return f"big: {data.value}"

    flow = TriggerFlow(name="check")
    flow.to(flow.chunk("check")(lambda data: None))
    flow.when("go on").to(flow.chunk("wait")(lambda data: None))
    flow.when("big").to(flow.chunk("handle")(handle)).end()
    execution = await flow.async_resume(id, store=store)
    await execution.async_emit("big", 11)
    with pytest.raises(ConnectionError):
        await execution.async_get_result()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await (await flow.async_retry(id, store=store)).async_get_result()
    broken.clear()
    again = await flow.async_retry(id, store=store)
    await again.async_continue_with("go on?")
    assert await again.async_get_result() == "big: 11"
    history = flow.history(store)
    assert (await history.state_at(id)).status == "completed"
    assert len([line async for line in history.lines(id)]) == (await history.state_at(id)).records


@pytest.mark.parametrize("id", STORED)
async def test_what_happened_reads_as_it_did(store: SQLiteStore, id: str) -> None:
    """Law 2: "`replay(journal)` gives the same machine": after every record, and as a copy of it elsewhere."""
    flow, status = STORED[id]
    history = flow.history(store)
    row = (await history.state_at(id)).records
    assert (await history.state_at(id)).status == status
    for records in range(row):
        assert (await history.state_at(id, records)).status not in ("completed", "failed")


@pytest.mark.parametrize("id", STORED)
async def test_it_can_be_taken_to_another_store(store: SQLiteStore, id: str, tmp_path: Path) -> None:
    flow, status = STORED[id]
    file = tmp_path / "execution.jsonl"
    await flow.history(store).export(id, file)
    async with MemoryStore() as other:
        history = flow.history(other)
        await history.load(file)
        assert (await history.state_at(id)).status == status
        if status == "waiting":
            assert (await flow.async_resume(id, store=other)).get_status() == status


# -- saved executions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [flows.approval, declaring])
async def test_a_saved_execution_goes_on_waiting(now: Any) -> None:
    """S20: what is declared since then makes no saved execution "refused"."""
    flow, saved = now(), SAVED["approval"]
    for _ in range(3):
        assert flow.inspect_load(saved).kind == "compatible"
        execution = await flow.load_execution(saved).async_open()
        result = asyncio.create_task(execution.async_get_result())
        await asyncio.sleep(36_000)
        assert (execution.get_status(), result.done()) == ("waiting", False)
        saved = execution.save()
        await execution.async_emit("approved", "Ada")
        assert await result == "Ada said yes"


@pytest.mark.parametrize("now", flows.WAYS)
async def test_a_saved_execution_that_waited_for_a_guess_still_waits(now: str) -> None:
    """It was saved while it waited for nothing but an event from outside: whatever the code shows today, it did."""
    execution = await flows.check(now).load_execution(SAVED["check"]).async_open()
    result = asyncio.create_task(execution.async_get_result())
    await asyncio.sleep(36_000)
    assert (execution.get_status(), result.done()) == ("waiting", False)
    await execution.async_emit("big", 50)
    assert await result == "big: 50"


# -- definitions in files --------------------------------------------------------------------------------------------


def loaded(name: str) -> TriggerFlow:
    flow = TriggerFlow()
    written = {"approval": flows.approval, "check": lambda: flows.check("helper"), "talk": flows.talk}[name]()
    for key, handler in blueprint_of(written).handlers.items():
        flow.register_chunk_handler(handler, name=key)
    return flow.load_flow_config(CONFIGS[name])


@pytest.mark.parametrize(
    ("name", "external"), [("approval", ("approved",)), ("check", ()), ("talk", ("left", "right", "step-1"))]
)
async def test_a_config_without_declarations_declares_what_it_leaves_to_the_outside(name: str, external: Any) -> None:
    """What its operators listen to and none of them emits: as they stand in the file, not as the code is today."""
    flow = loaded(name)
    assert flow.definition.external == external
    assert flow.get_flow_config()["external"] == list(external)
    execution = flow.create_execution()
    execution.begin(1)
    await asyncio.sleep(36_000)
    assert execution.get_status() == "waiting"  # "check" asks a question


async def test_a_flow_that_was_loaded_waits_until_the_event_comes() -> None:
    execution = loaded("approval").create_execution()
    reader = execution.get_async_runtime_stream("the page")
    assert await read(reader, 1) == ["may we publish the page?"]
    await asyncio.sleep(36_000)
    await execution.async_emit("approved", "Ada")
    assert await execution.async_get_result() == "Ada said yes"
    with pytest.raises(ExecutionClosed):
        await execution.async_emit("approved", "Bob")
