"""Large numbers: events, chains, fan-outs, turns. What grows is told in each test, and nothing else does."""

import asyncio
import itertools
import tracemalloc
from typing import Any

import pytest

from tests import soak
from tests.support import now, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


@pytest.mark.parametrize(
    ("source", "concurrency"),
    soak.cases(
        itertools.product(["async_emit", "emit", "outside"], [None, 1, 10]),
        some=[("async_emit", 10), ("emit", None), ("outside", 1)],
    ),
)
async def test_100_000_events_need_no_more_tasks_than_a_few(source: str, concurrency: int | None) -> None:
    """Each of them is handled, once, and asyncio tasks do not grow with their number: the limits bound them."""
    flow, total, tasks = TriggerFlow(), 0, 0

    async def emit(data: Data) -> None:
        if source == "outside":
            return
        for number in range(100_000):
            if source == "async_emit":
                await data.async_emit("e", number)
            else:
                data.emit("e", number)

    async def listen(data: Data) -> None:
        nonlocal total, tasks
        if data.value % 5_000 == 0:
            tasks = max(tasks, len(asyncio.all_tasks()))
        total += data.value

    flow.to(emit)
    flow.when("e").to(listen)
    execution = flow.create_execution(concurrency=concurrency, max_pending=100)
    execution.begin()
    if source == "outside":
        for number in range(100_000):
            await execution.async_emit("e", number)
    await execution.async_close()
    assert total == 99_999 * 50_000
    assert tasks <= 100 + 3


async def test_100_000_events_with_listeners_that_wait_stay_within_the_limit_on_pending_ones() -> None:
    """Listeners that suspend need a task each; back-pressure bounds how many there are at once."""
    flow, total, tasks = TriggerFlow(), 0, 0

    async def emit(data: Data) -> None:
        for number in range(100_000):
            await data.async_emit("e", number)

    async def listen(data: Data) -> None:
        nonlocal total, tasks
        await asyncio.sleep(0)
        total += 1
        if data.value % 5_000 == 0:
            tasks = max(tasks, len(asyncio.all_tasks()))

    flow.to(emit)
    flow.when("e").to(listen)
    await flow.create_execution(max_pending=50).async_start()
    assert total == 100_000
    assert tasks <= 51 + 3


@pytest.mark.parametrize("kind", ["named", "one function"])
async def test_a_chain_of_2_000_chunks(kind: str) -> None:
    """The stack does not grow with the length of a chain, nor does anything else that could break."""
    flow = TriggerFlow()

    async def step(data: Data) -> int:
        return data.value + 1

    process = flow.to(step)
    for number in range(1_999):
        process = process.to((f"step {number}", step) if kind == "named" else step)
    process.end()
    assert await flow.async_start(0) == 2_000
    assert await flow.async_start(0, concurrency=1) == 2_000


async def test_a_batch_of_2_000_branches_and_2_000_listeners() -> None:
    flow, heard = TriggerFlow(), 0

    async def listen(data: Data) -> None:
        nonlocal heard
        heard += 1
        await asyncio.sleep(1)

    for number in range(2_000):
        flow.when("e").to((f"listener {number}", listen))
    flow.batch(*((f"branch {number}", echo) for number in range(2_000))).end()
    execution = flow.create_execution()
    execution.begin(7)
    await execution.async_emit("e", settle=True)
    assert heard == 2_000
    assert set((await execution.async_get_result()).values()) == {7}


@pytest.mark.parametrize("by", ["emit", "async_emit", "state", "emit and go on", "emit and settle"])
async def test_a_loop_of_10_000_turns_needs_flat_memory(by: str) -> None:
    """Nothing is kept of a turn that is over: no task, no frame, no group, no record beyond the bounded journal."""
    flow, sizes, tasks = TriggerFlow(), dict[int, int](), 0

    async def turn(data: Data) -> None:
        nonlocal tasks
        left: int = data.value
        if left % 1_000 == 0:
            sizes[left] = tracemalloc.get_traced_memory()[0]
            tasks = max(tasks, len(asyncio.all_tasks()))
        if not left:
            data.set_result("done")
        elif by == "emit":
            data.emit("again", left - 1)
        elif by == "state":
            data.state.set("left", left - 1)
        else:
            await data.async_emit("again", left - 1)
            if by == "emit and go on":
                await asyncio.sleep(0)
            elif by == "emit and settle" and left % 10 == 0:
                await data.async_emit("beside", settle=True)

    flow.to(turn)
    flow.when("again").to(("next", turn))
    flow.when({"runtime_data": "left"}).to(("next by state", turn))
    flow.when("beside").to(echo)
    execution = flow.create_execution(journal_limit=32)
    tracemalloc.start()
    try:
        assert await execution.async_start(10_000) == "done"
    finally:
        tracemalloc.stop()
    assert abs(sizes[0] - sizes[8_000]) < 30_000
    assert tasks <= 20


async def test_deep_settling_unwinds() -> None:
    """A thousand chunks, each waiting for the next one to settle: deep in work, not in the stack."""
    flow = TriggerFlow()

    async def down(data: Data) -> None:
        if data.value:
            await data.async_emit("deeper", data.value - 1, settle=True)

    flow.to(down)
    flow.when("deeper").to(("below", down))
    await flow.async_start(1_000, concurrency=1)
    assert now() == 0


async def test_chunks_that_never_wait_do_not_starve_the_rest_of_the_program() -> None:
    """A flow that computes without awaiting still lets a heart beat, from time to time."""
    flow, beats = TriggerFlow(), 0

    async def turn(data: Data) -> None:
        if data.value:
            data.emit("again", data.value - 1)

    async def heart() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    flow.to(turn)
    flow.when("again").to(("next", turn))
    beating = asyncio.create_task(heart())
    await flow.async_start(10_000)
    beating.cancel()
    assert beats > 50
    await turns()


async def test_what_is_over_is_kept_up_to_a_limit() -> None:
    """Answered interrupts, skipped errors and names of unheard signals: "constant memory" in a run of any length."""
    flow = TriggerFlow(skip_exceptions=True)

    async def source(data: Data) -> None:
        for number in range(5_000):
            await data.async_emit("work", number)
            await data.async_emit(f"unheard {number}")

    async def work(data: Data) -> None:
        if data.value % 2:
            raise ValueError(data.value)
        data.pause_for(interrupt_id=f"q{data.value}", resume_to="next")

    flow.to(source)
    flow.when("work").to(work)
    execution = flow.create_execution()
    execution.begin()
    while execution.get_status() != "waiting" or execution.get_pending_interrupts():
        await asyncio.sleep(1)
        for number in execution.get_pending_interrupts():
            await execution.async_continue_with(number, request_id=number)
        if execution.get_status() == "completed":
            break
    state = runtime_of(execution).machine.state
    assert [int(error.message) for error in execution.skipped] == list(range(4_999 - 2 * 1_023, 5_000, 2))
    assert len(state.unheard or ()) == 1_024
    assert 512 <= len(execution.get_interrupts()) <= 4_096
