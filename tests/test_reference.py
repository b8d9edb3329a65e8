"""The engine against a second, independent interpreter of the documentation (`tests/reference`).

Both run the same random flows. They have to agree on the result or the exception, on all runs of chunks and conditions
with their inputs and the moment of their start, and on the items of the runtime stream in their order.
"""

import asyncio
from typing import Any

from hypothesis import assume, event, given, note
from hypothesis import strategies as st

from tests import soak
from tests.reference.build import observe
from tests.reference.draw import VALUES, flows
from tests.reference.model import TooLong, predict
from tests.reference.program import Flow, Outcome, show
from tests.virtual_time import virtual_loop


def run(flow: Flow, value: Any, restart: int | None = None) -> tuple[Outcome, int]:
    """What the engine does, in virtual time."""
    with asyncio.Runner(loop_factory=virtual_loop) as runner:
        return runner.run(observe(flow, value, restart))


def expected(flow: Flow, value: Any, restart: int | None = None) -> tuple[Outcome, int]:
    """What the model says. Rejects flows of which it says nothing certain."""
    try:
        outcome, certain, end = predict(flow, value, restart)
    except TooLong:
        assume(False)
        raise
    event(f"certain: {certain}")
    assume(certain)
    return outcome, end


def sorted_runs(outcome: Outcome, before: int) -> list[str]:
    """The runs that began before this moment: when an execution fails, some of the last may not have begun."""
    return sorted(f"{time:12} {name} {value!r}" for time, name, value in outcome.runs if time < before)


def compare(flow: Flow, value: Any, restart: int | None = None) -> Outcome:
    """The engine and the model agree."""
    model, end = expected(flow, value, restart)
    note(f"{show(flow)}\nstart value {value!r}, restart {restart}")
    engine, ended = run(flow, value, restart)
    failed = model.end[0] == "failed"
    before = end if failed else end + 1
    assert (engine.end, sorted_runs(engine, before)) == (model.end, sorted_runs(model, before))
    assert engine.stream == model.stream
    assert ended == end
    return model


@soak.examples(100)
@given(flows(), st.sampled_from(VALUES))
def test_engine_and_reference_agree(flow: Flow, value: Any) -> None:
    outcome = compare(flow, value)
    event(outcome.end[0])
