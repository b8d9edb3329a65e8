"""Frames of an execution that was moved to another definition while it ran."""

import asyncio
from typing import Any

from tests.backend.reading import check_execution
from triggerflow import TriggerFlow
from triggerflow.backend import StoreBackend
from triggerflow.stores import MemoryData, MemoryStore


def versioned(name: str) -> TriggerFlow:
    """Waits in two chunks for two signals; the second chunk is called by this name."""
    flow = TriggerFlow("versioned")
    flow.signal("go", external=True)

    @flow.chunk("first")
    async def first(data: Any) -> None:
        await asyncio.sleep(100)

    async def second(data: Any) -> None:
        data.pause_for(interrupt_id="asked")

    flow.to(first)
    flow.to((name, second))
    flow.when("go").to(flow.chunk("last")(_last)).end()
    return flow


def _last(data: Any) -> str:
    return "done"


async def test_frames_name_the_operators_of_the_definition_that_an_execution_has_at_that_moment() -> None:
    data = MemoryData()
    async with MemoryStore(data) as store:
        execution = versioned("before").create_execution(store=store, id="one")
        await execution.async_begin()
        await asyncio.sleep(1)
        before = (await StoreBackend(store).get("one")).definition
    async with MemoryStore(data) as store:
        flow = versioned("after")
        moved = await flow.async_resume("one", store=store, operator_map={"before": "after"})
        await asyncio.sleep(1)
        await moved.async_emit("go")
        await moved.async_continue_with("asked", 1)
        assert await moved.async_get_result() == "done"
        backend, without = StoreBackend(store, flow), StoreBackend(store)
        after = (await backend.get("one")).definition
        assert before != after
        frames = [it async for it in without.frames("one")]
        assert [it.definition for it in frames if it.definition] == [before, after]
        for it in (without, backend):
            await check_execution(it, "one")
        assert [it async for it in backend.frames("one")] == frames
        for definition, name in ((before, "before"), (after, "after")):
            drawing = await without.drawing("versioned", definition=definition)
            assert name in {it for box in drawing.boxes for it in box.operators}
