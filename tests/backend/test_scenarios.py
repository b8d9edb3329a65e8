"""Frames, states and questions of executions that have run, through a crash, are the same with and without the code."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.backend.reading import all_executions, check_execution
from tests.durable.test_crashes import World, lives
from triggerflow.backend import StoreBackend
from triggerflow.testing.scenarios import SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
async def test_frames_of_a_scenario_add_up(scenario: Scenario) -> None:
    """A crash in the middle changes what the records are, and not that they add up."""
    async with AsyncExitStack() as stack:
        world = World("memory", Path(), stack)
        await lives(world, scenario, [5])
        store = (await world.process()).store
        without, flow = StoreBackend(store), scenario.make()
        backend = StoreBackend(store, flow)
        for info in await all_executions(without):
            await check_execution(without, info.id)
            assert [it async for it in without.frames(info.id)] == [it async for it in backend.frames(info.id)]
            assert await without.state_at(info.id) == await backend.state_at(info.id)
            operators = {it.operator async for frame in without.frames(info.id) for it in frame.runs}
            drawing = await without.drawing(info.flow, definition=info.definition)
            drawn = {it for part in (*drawing.boxes, *drawing.lines) for it in part.operators}
            assert operators <= drawn
