"""The page folds frames to moments in the browser: what it comes to is what `state_at` and the terminal view show.

Executions of all kinds are run, through crashes, failures and a compaction; their frames and what each moment has to be
are written as JSON, and page/tests/fold.truth.test.ts compares every moment in Node.
"""

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backend.reading import all_executions, store_records
from tests.core.flows import Program, programs
from tests.core.simulation import TYPES
from tests.durable.test_crashes import World, lives
from tests.terminal.scenes import crashed, crawl, payment, running, trip
from triggerflow import Retry, TriggerFlow
from triggerflow.backend import Cancel, Frame, Moment, StateInfo, StoreBackend
from triggerflow.backend import Retry as Again
from triggerflow.durable import Worker
from triggerflow.stores import MemoryStore
from triggerflow.terminal.model import Model
from triggerflow.terminal.screen import Row, rows
from triggerflow.terminal.screen import _state as state_of  # pyright: ignore[reportPrivateUsage]
from triggerflow.testing.scenarios import SCENARIOS, Scenario

PAGE = Path(__file__).resolve().parents[2] / "page"

pytestmark = [pytest.mark.needs("node"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled comparison."""
    out = tmp_path_factory.mktemp("page")
    environment = {**os.environ, "TESTS": str(out)}
    subprocess.run(["node", "build.mjs", "--tests"], cwd=PAGE, env=environment, check=True)
    return out / "fold.truth.test.mjs"


def expected(frame: Frame, state: StateInfo, moment: Moment, model: Model) -> dict[str, Any]:
    """What the fold has to come to."""
    ended = frame.status in ("completed", "failed", "cancelled")
    error = state.error if frame.status == "failed" else None
    return {
        "number": state.moment,
        "recorded": state.status,
        "status": model.status,
        "started": state.started,
        "input": state.value,
        "definition": state.definition,
        "state": [list(it) for it in moment.state.items()],
        "items": state.items,
        "runs": sorted(
            [it.run, it.operator, it.chunk, it.phase, it.attempt, it.losses, it.cause, it.sub_flow] for it in state.runs
        ),
        "questions": sorted(
            ([it.id, it.type, it.chunk, it.payload, it.inside, it.since] for it in state.questions),
            key=lambda it: it[0],
        ),
        "result": [state.result] if ended and state.has_result and frame.status == "completed" else None,
        "error": None if error is None else [error.type, error.message],
        "reason": state.reason if frame.status == "cancelled" else "",
    }


def boxes_of(model: Model) -> dict[str, Any]:
    """What the terminal shows of each step: state, how many have ended, of how many, whether that is exact, failed."""
    found: dict[str, Any] = {}
    for row in rows(model):
        step = row.step
        each = step.opens
        counts = (each.ended, each.total, each.exact, each.failed) if each is not None else None
        if counts is None:
            counts = (step.ended, step.total, True, step.failed)
        found[step.key] = [state_of(Row(0, model, step)), *counts]
    return found


async def truth_of(backend: StoreBackend, id: str, scenario: str, *, drawing: bool = True) -> dict[str, Any]:
    """The frames of an execution and what each moment is."""
    frames = [frame async for frame in backend.frames(id)]
    info = await backend.get(id)
    model, moment, moments, boxes = Model(id), Moment(), list[Any](), list[Any]()
    drawings = list[Any]()
    for frame in frames:
        if frame.definition:
            drawings.append(await backend.drawing(info.flow, definition=frame.definition))
            model.draw(drawings[-1])
        model.take(frame)
        moment.take(frame)
        moments.append(expected(frame, await backend.state_at(id, frame.number), moment, model))
        boxes.append(boxes_of(model))
    whole = {"id": id, "scenario": scenario, "frames": frames, "moments": moments, "boxes": boxes, "drawings": drawings}
    return msgspec.to_builtins(whole)


def compare(script: Path, file: Path, truths: list[dict[str, Any]]) -> None:
    """Fold them in Node; what differs is in the output."""
    assert truths
    file.write_bytes(msgspec.json.encode(truths))
    environment = {**os.environ, "FOLD_TRUTH": str(file)}
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert f"# pass {len(truths)}" in done.stdout, done.stdout[-2000:]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
async def test_every_scenario_through_a_crash(scenario: Scenario, script: Path, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        world = World("memory", Path(), stack)
        await lives(world, scenario, [5])
        backend = StoreBackend((await world.process()).store)
        truths = [await truth_of(backend, it.id, scenario.name) for it in await all_executions(backend)]
    compare(script, tmp_path / "truth.json", truths)


async def told(flow: TriggerFlow, *more: TriggerFlow, value: Any = None, name: str) -> AsyncIterator[dict[str, Any]]:
    """The truth about an execution, and about its sub-flows, when it has ended."""
    async with running(flow, *more, value=value, id="one") as backend:
        await backend.result("one", wait=300)
        for it in await all_executions(backend):
            yield await truth_of(backend, it.id, name)


async def test_items_retries_failures_and_sub_flows(script: Path, tmp_path: Path) -> None:
    truths = [it async for it in told(crawl(60), name="crawl")]
    truths += [it async for it in told(payment(), name="payment")]
    truths += [it async for it in told(*trip(), name="trip")]
    truths += [it async for it in told(counting(12), value=1, name="counting")]
    compare(script, tmp_path / "truth.json", truths)


async def test_a_lost_attempt_a_cancel_and_a_retry(script: Path, tmp_path: Path) -> None:
    truths = list[dict[str, Any]]()
    async with crashed(crawl(20), id="one", after=2.0) as backend:
        await backend.result("one", wait=300)
        truths.append(await truth_of(backend, "one", "crash"))
    assert any(run[5] for moment in truths[0]["moments"] for run in moment["runs"]), "an attempt is lost"
    async with running(crawl(20), id="one") as backend:
        await asyncio.sleep(1.5)
        await backend.act("one", Cancel(reason="enough"))
        await backend.result("one", wait=300)
        truths.append(await truth_of(backend, "one", "cancel"))
    async with running(payment(), id="one") as backend:
        await backend.result("one", wait=300)
        await backend.act("one", Again(force=True))
        await backend.result("one", wait=300)
        truths.append(await truth_of(backend, "one", "again"))
    compare(script, tmp_path / "truth.json", truths)


def counting(count: int) -> TriggerFlow:
    """Counts, with state, stream, retries and sleeps."""
    flow = TriggerFlow("counting")

    @flow.chunk("work", retry=Retry(2, initial_interval=0.2, jitter=0))
    async def work(data: Any) -> Any:
        data.state.set("count", data.value)
        data.state.append("seen", data.value)
        if data.value % 2:
            data.state.set("odd", {"last": data.value})
        else:
            data.state.delete("odd")
        await data.async_put_into_stream(data.value)
        await asyncio.sleep(1)
        if data.value % 7 == 3 and data.attempt == 1:
            raise ValueError("three")
        if data.value < count:
            await data.async_emit("again", data.value + 1)

    flow.to(work)
    flow.when("again").to(work)
    return flow


async def test_frames_after_a_compaction(script: Path, tmp_path: Path) -> None:
    async with MemoryStore() as store:
        flow = counting(12)
        backend = StoreBackend(store, flow)
        await backend.start("counting", 1, id="one")
        async with Worker(store, flow):
            await asyncio.sleep(6.5)
            await flow.history(store).compact("one")
            await backend.result("one", wait=300)
        truth = await truth_of(backend, "one", "compaction")
    assert truth["frames"][0]["kind"] == "moment"
    compare(script, tmp_path / "truth.json", [truth])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs("any"), st.integers(0, 1000))
def test_random_programs(script: Path, tmp_path_factory: pytest.TempPathFactory, program: Program, seed: int) -> None:
    pick = random.Random(seed).randrange
    simulated = program.simulate(lambda count: pick(count))

    async def look() -> list[dict[str, Any]]:
        async with MemoryStore() as store:
            backend = StoreBackend(store)
            truths = list[dict[str, Any]]()
            for number, it in enumerate(simulated.all()):
                await store_records(store, f"run-{number}", it.plan, it.records, TYPES)
                truths.append(await truth_of(backend, f"run-{number}", "random"))
            return truths

    compare(script, tmp_path_factory.mktemp("random") / "truth.json", asyncio.run(look()))
