"""The engine against a second, independent interpreter of the documentation (`tests/reference`).

Both run the same random flows. They have to agree on the result or the exception, on all runs of chunks and conditions
with their inputs and the moment of their start, and on the items of the runtime stream in their order.
"""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import assume, event, given, note, reject
from hypothesis import strategies as st

from tests import soak
from tests.reference.build import observe
from tests.reference.draw import VALUES, flows
from tests.reference.model import TooLong, predict
from tests.reference.program import TICK, Flow, Outcome, show
from tests.virtual_time import virtual_loop
from triggerflow.stores.memory import MemoryStore

#: How much of an execution is over when its process ends, in percent.
MOMENTS = st.integers(0, 99)


def run(flow: Flow, value: Any, restart: int | None, durable: bool) -> tuple[Outcome, int]:
    """What the engine does, in virtual time."""

    async def main() -> tuple[Outcome, int]:
        if not durable:
            return await observe(flow, value, restart)
        async with MemoryStore() as store:
            return await observe(flow, value, restart, store)

    with asyncio.Runner(loop_factory=virtual_loop) as runner:
        return runner.run(main())


def expected(flow: Flow, value: Any, restart: int | None = None) -> tuple[Outcome, int]:
    """What the model says, and when the execution ends. Rejects flows of which it says nothing certain."""
    try:
        outcome, certain, end = predict(flow, value, restart)
    except TooLong:
        reject()
    assume(certain)
    return outcome, end


def texts(runs: list[tuple[int, str, Any]]) -> Counter[str]:
    """The attempts with their times and inputs, each with its number."""
    return Counter(f"{time:12} {name} {value!r}" for time, name, value in runs)


def differences(model: Outcome, engine: Outcome) -> dict[str, Any]:
    """Where the engine and the model do not agree."""
    found: dict[str, Any] = {}
    if engine.end != model.end:
        found["end: engine, model"] = engine.end, model.end
    if missing := texts(model.runs) - texts(engine.runs):
        found["runs of the model only"] = list(missing.elements())
    if too_many := texts(engine.runs) - texts(model.runs) - texts(model.perhaps):
        found["runs of the engine only"] = list(too_many.elements())
    if engine.stream != model.stream:
        found["stream: engine, model"] = engine.stream, model.stream
    return found


def compare(flow: Flow, value: Any, moment: int | None = None, *, durable: bool = False) -> None:
    """The engine and the model agree; with `moment`, on an execution that goes on in another process then."""
    model, end = expected(flow, value)
    restart = None
    if moment is not None:
        restart = end * moment // 100 // TICK * TICK + TICK // 2
        model, end = expected(flow, value, restart)
    note(f"{show(flow)}\nstart value {value!r}, restart {restart}")
    event(model.end[0])
    engine, ended = run(flow, value, restart, durable)
    assert not differences(model, engine)
    assert ended == end, "the execution ends when its last work ends"


@soak.examples(100)
@given(flows(), st.sampled_from(VALUES))
def test_the_engine_does_what_the_reference_says(flow: Flow, value: Any) -> None:
    compare(flow, value)


@soak.examples(30)
@given(flows(), st.sampled_from(VALUES), MOMENTS)
def test_it_does_so_after_a_snapshot(flow: Flow, value: Any, moment: int) -> None:
    compare(flow, value, moment)


@soak.examples(20)
@given(flows(), st.sampled_from(VALUES), st.none() | MOMENTS)
def test_it_does_so_with_a_store(flow: Flow, value: Any, moment: int | None) -> None:
    """The records are all there is when another owner continues."""
    compare(flow, value, moment, durable=True)
