"""Frames: "a moment is a fold of frames" for every kind of record, whoever runs the execution."""

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from tests import soak
from tests.backend.reading import of_frame, of_moment, of_state, store_records
from tests.core.flows import Program, programs
from tests.core.simulation import TYPES
from triggerflow._core.machine import KeptStates, Machine
from triggerflow.backend import Moment, StoreBackend
from triggerflow.stores import MemoryStore


async def check_frames(program: Program, seed: int, cut: int) -> set[str]:
    """Compare the frames of a program and its sub-flows with their states; returns the kinds of records."""
    pick = random.Random(seed).randrange
    simulated = program.simulate(lambda count: pick(count))
    kinds: set[str] = set()
    async with MemoryStore() as store:
        backend = StoreBackend(store)  # it does not have the code
        for number, it in enumerate(simulated.all()):
            id = f"run-{number}"
            await store_records(store, id, it.plan, it.records, TYPES)
            frames = [frame async for frame in backend.frames(id)]
            assert [frame.number for frame in frames] == list(range(1, len(it.records) + 1))
            moment, machine = Moment(), Machine(it.plan)
            kept = KeptStates(it.plan, it.records)
            for frame, record in zip(frames, it.records, strict=True):
                kept.receive(machine, record)
                moment.take(frame)
                kinds.add(frame.kind)
                assert of_moment(moment) == of_state(machine.state, TYPES), frame
            if cut < len(frames):  # who comes back with a number goes on from there
                again = [frame async for frame in backend.frames(id, after=cut)]
                assert [of_frame(frame) for frame in again] == [of_frame(frame) for frame in frames[cut:]]
    return kinds


@soak.examples(60)
@given(programs("any"), st.integers(0, 1000), st.integers(1, 40))
def test_frames_add_up_to_every_moment(program: Program, seed: int, cut: int) -> None:
    """The fold of the frames up to a number is the state after so many records: status, state, runs, questions."""
    asyncio.run(check_frames(program, seed, cut))
