"""Snapshots: what is refused, and that no damaged or hostile one does anything but be refused."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.flows import Program, program, programs
from tests.core.simulation import TYPES, Effect, Simulation, Start, in_order_of, snapshot
from triggerflow import TriggerFlow
from triggerflow._core import events
from triggerflow._core.errors import PayloadError, SnapshotError
from triggerflow._core.machine import Machine, compile_plan
from triggerflow._core.plan import Plan
from triggerflow._core.snapshot import FORMAT, decode, encode
from triggerflow._core.state import RunState


def rich() -> Simulation:
    """An execution in the middle of everything a snapshot can hold."""

    def build(flow: Any, chunk: Any) -> None:
        at = flow.to(chunk("source", "lazy", Effect("append", "log"), Effect("put"), Effect("emit", "nobody")))
        at = at.for_each(concurrency=2).to(chunk("item", concurrency=1)).side_branch(chunk("aside"))
        at.match().case(chunk.condition("ask", "truthy")).to(chunk("yes")).end_match().end_for_each().end()
        flow.to(chunk("waits", "same", Effect("settle", "work"), Effect("emit", "late")))
        flow.to(chunk("asks", pauses="next"))
        flow.to(chunk("flaky", retries=3))
        flow.to(chunk("bad", fails=True))
        flow.when("work").batch(chunk("w1"), chunk("w2"), concurrency=1)
        flow.when(["work", "never"]).to(chunk("joined"))
        flow.when("work").collect("all", "one")
        flow.when("never").collect("all", "two")
        flow.when({"timer": 30}).to(chunk("alarm"))
        flow.when("undeclared").to(chunk("surprised"))

    it = program(build).simulation()
    it.send(Start("value", concurrency=6, skip_exceptions=True, rules=1).record())
    it.send(events.Emitted(0.0, it.issued[1].id, "undeclared", 1, provisional=True))
    it.send(events.Retracted(0.0, None, 1, "wrong"))
    it.send(events.Emitted(0.0, None, "work", "from outside", settle=True))
    for name in ("waits", "source", "source", "source", "source", "asks", "flaky", "bad"):
        it.advance(next(task for task in it.tasks.values() if task.run.node.name == name))
    it.send(events.Emitted(0.0, it.issued[1].id, "undeclared", 2, provisional=True))
    it.pull(next(iter(it.pulls)))
    return it


RICH = rich()
PLAN = RICH.plan
VALID: dict[str, Any] = msgspec.json.decode(snapshot(RICH.machine))


def load(data: Any, plan: Plan = PLAN) -> RunState:
    return decode(plan, data, TYPES.unpack)


def test_the_example_holds_everything() -> None:
    empty = [name for name, value in VALID.items() if value in ([], {}, None, "")]
    assert set(empty) <= {"unchecked", "closing", "error", "result", "reason", "lease", "guests"}


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [FORMAT + 1, None, "1", [FORMAT], 0])
def test_another_format_is_refused(format: Any) -> None:
    with pytest.raises(SnapshotError, match="format"):
        load({**VALID, "format": format})


def test_an_operator_that_the_definition_does_not_have_is_named() -> None:
    other = TriggerFlow(name="other")
    with pytest.raises(SnapshotError, match=r"operator '.*', which this definition does not have"):
        load(VALID, compile_plan(other.definition))


#: The fingerprints are for whoever loads an execution: it compares them before it decodes anything. The others were
#: added later, and an older snapshot lacks them.
OPTIONAL = {"definition", "operators", "rules", "lost", "checks_result", "unchecked", "heard"}


@pytest.mark.parametrize("name", sorted(set(VALID) - OPTIONAL))
def test_a_missing_part_is_refused(name: str) -> None:
    damaged = {key: value for key, value in VALID.items() if key != name}
    with pytest.raises(SnapshotError):
        load(damaged)


@pytest.mark.parametrize("data", [[], "text", 5, None, [VALID]])
def test_what_is_no_snapshot_at_all_is_refused(data: Any) -> None:
    with pytest.raises(SnapshotError):
        load(data)


def test_a_value_that_cannot_be_recorded_is_named() -> None:
    class Socket: ...

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("asks", pauses="next")).to(chunk("b"))
        flow.batch(chunk("left"), chunk("right"))
        flow.when(["one", "two"]).to(chunk("joined"))

    places: dict[str, list[events.Event]] = {
        r"state\['db'\]": [events.StateChanged(0.0, None, "set", "db", Socket())],
        "the result": [events.ResultSet(0.0, None, {"deep": [Socket()]})],
        "join 'when:one&two'": [events.Emitted(0.0, None, "one", Socket())],
        "a result inside 'batch<-start'": [events.Completed(0.0, 3, Socket())],
        "the value of chunk 'b'": [events.Completed(0.0, 1, Socket())],
        "the payload of interrupt 'q'": [events.Paused(0.0, 1, "q", payload=Socket())],
        "the answer to interrupt 'q'": [
            events.Paused(0.0, 1, "q", resume_event="nobody"),
            events.Resumed(0.0, "q", Socket()),
        ],
        "the value of delayed signal 'one'": [events.Emitted(0.0, None, "one", Socket(), delay=1.0)],
    }
    for place, records in places.items():
        machine = Machine(program(build).plan)
        machine.receive(events.Started(0.0, None))
        for record in records:
            machine.receive(record)
        with pytest.raises(PayloadError, match=f"{place}.*Socket.*cannot be recorded"):
            encode(machine.plan, machine.state, TYPES.pack)


# -- hostile ones ----------------------------------------------------------------------------------------------------


def paths(data: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from paths(value, (*here, key))


PATHS = [path for path in paths(VALID) if path and path[0] != "operators"]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.sampled_from([10**30, -1.5, float("nan"), "", "x", "source", "running"]),
    st.sampled_from([[], {}, [[]], [None], [1, 2], [[1, None, 0]], {"$": "x"}, {"$": "bytes", "v": 1}, {"id": 1}]),
    st.lists(st.integers(-1, 3) | st.text(max_size=2), max_size=3),
)


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


def survives(data: Any) -> None:
    """Decoding gives a state or `SnapshotError`, never anything else."""
    try:
        state = load(data)
    except SnapshotError:
        return
    assert isinstance(state, RunState)


@given(st.sampled_from(PATHS), st.one_of(st.just(...), JUNK))
def test_a_changed_snapshot_is_refused_or_read(path: tuple[Any, ...], value: Any) -> None:
    survives(replaced(VALID, path, value))


def test_every_part_replaced_by_something_else_is_refused_or_read() -> None:
    for path in PATHS:
        for value in (..., None, -1, 10**9, "x", [], {}):
            survives(replaced(VALID, path, value))


@given(st.lists(st.tuples(st.sampled_from(PATHS), JUNK), min_size=2, max_size=5))
def test_a_snapshot_changed_in_many_places_is_refused_or_read(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    data = VALID
    for path, value in changes:
        try:
            data = replaced(data, path, value)
        except (KeyError, IndexError, TypeError):  # an earlier change has taken this place away
            continue
    survives(data)


@pytest.mark.parametrize("depth", [400, 600, 900, 3000])
def test_deep_nesting_is_refused_or_read(depth: int) -> None:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]
    survives({**VALID, "data": {"key": deep}})


@given(programs(), st.integers(0, 1000), st.data())
def test_a_cut_of_any_program_can_be_damaged(it: Program, seed: int, data: st.DataObject) -> None:
    simulation = it.simulation(in_order_of(seed))
    simulation.send(it.start.record())
    for _ in range(data.draw(st.integers(0, 20))):
        actions = simulation.actions()
        if simulation.close is not None or not actions:
            break
        actions[simulation.pick(len(actions))]()
    whole = json.loads(snapshot(simulation.machine))
    path = data.draw(st.sampled_from([path for path in paths(whole) if path]))
    try:
        decode(simulation.plan, replaced(whole, path, data.draw(JUNK)), TYPES.unpack)
    except SnapshotError:
        return
