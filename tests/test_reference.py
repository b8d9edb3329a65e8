"""The engine against a second, independent interpreter of the documentation (`tests/reference`).

Both run the same random flows. They have to agree on the result or the exception, on all runs of chunks and conditions
with their inputs and the moment of their start, and on the items of the runtime stream in their order.
"""

import asyncio
from collections import Counter
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


def compare(flow: Flow, value: Any, restart: int | None = None) -> Outcome:
    """The engine and the model agree."""
    model, end = expected(flow, value, restart)
    note(f"{show(flow)}\nstart value {value!r}, restart {restart}")
    engine, ended = run(flow, value, restart)
    assert not differences(model, engine)
    assert ended == end, "the execution ends when its last work ends"
    return model


@soak.examples(100)
@given(flows(), st.sampled_from(VALUES))
def test_engine_and_reference_agree(flow: Flow, value: Any) -> None:
    outcome = compare(flow, value)
    event(outcome.end[0])
