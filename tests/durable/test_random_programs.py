"""S18 on random programs: crashes change neither the result, nor what is in the stream."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import soak
from tests.core.flows import Program, programs
from tests.core.simulation import Simulation, text
from tests.durable.crashing import ID, Client
from tests.durable.test_crashes import World
from tests.virtual_time import virtual_loop
from triggerflow import TriggerFlow
from triggerflow._core import events
from triggerflow._core.state import UNSET
from triggerflow.testing.scenarios import Outside, Scenario


@dataclass(frozen=True)
class Random(Scenario):
    """A random program as a scenario; what it comes to is compared with a simulation."""

    program: Program | None = None

    def make(self) -> TriggerFlow:
        assert self.program is not None
        return self.program.flow


async def close(outside: Outside) -> None:
    """Nobody sends a signal."""
    await asyncio.sleep(0)  # an eager task would close the execution before it is started
    with suppress(Exception):  # what the execution raises is told to who waits for its result
        await outside.execution.async_close()


def put(simulation: Simulation) -> Counter[str]:
    """What the chunks of the flow and its sub-flows have put into their streams."""
    records = [record for it in simulation.all() for record in it.records]
    return Counter(text(it.item) for it in records if isinstance(it, events.StreamPut) and not it.path)


@soak.examples(30)
@given(
    programs("plain"),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from((0, 0.3)),
)
def test_crashes_change_nothing(program: Program, cuts: list[int], unheard: bool, pace: float) -> None:
    """S18: "Chunks are at-least-once ..., everything recorded is exactly-once"."""
    start, simulated = program.start, program.simulate()
    options = {"concurrency": start.concurrency, "skip_exceptions": start.skip_exceptions}
    options["max_pending"] = start.max_pending
    client = Client(Random("random", lambda flow: None, start.value, close, options, program=program))

    async def lives() -> Any:
        async with AsyncExitStack() as stack:
            world = World("memory", Path(), stack)
            for records in cuts:
                if await client.live(await world.process(records, unheard=unheard, pace=pace)):
                    return
            assert await client.live(await world.process(pace=pace)), ID

    with asyncio.Runner(loop_factory=virtual_loop) as runner:
        runner.run(lives())
    expected = simulated.machine.state
    assert ("failed" if client.error is not None else "completed") == expected.status.value, client.error
    assert text(client.result) == ("null" if expected.result is UNSET else text(expected.result))
    assert Counter(text(item) for item in client.items) == put(simulated)
