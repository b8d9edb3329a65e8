"""When an execution rests, waits and ends, and what a driver may do when all else fails."""

from typing import Any

import msgspec
import pytest

from tests.core.flows import Program, program
from tests.core.simulation import Effect, Simulation, Start, differences, render, restored, snapshot
from triggerflow._core import commands, events
from triggerflow._core.errors import ExecutionCancelled, ExecutionClosed
from triggerflow._core.machine import Machine
from triggerflow._core.signals import Trigger

ERROR = events.ErrorInfo("InternalError", "our bug")


def started(it: Program, **options: Any) -> Simulation:
    simulation = it.simulation()
    simulation.send(Start(**options).record())
    return simulation


def finish_all(it: Simulation) -> None:
    while it.tasks:
        it.advance(next(iter(it.tasks.values())))


def listening(*emitted: str, external: bool = True) -> Program:
    """A flow that listens to `a` and `b`, which are declared external or not; its first chunk emits some names that its
    definition does not show."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("first"))
        for name in ("a", "b"):
            flow.when(name).to(chunk(f"heard {name}"))

    made = program(build, external=external)
    effects = tuple(Effect("emit", name) for name in emitted)
    made.behaviours["first"] = made.behaviours["first"].__class__(effects=effects)
    return made


@pytest.mark.parametrize("emitted", [(), ("a",), ("a", "b"), ("a", "b", "a")])
@pytest.mark.parametrize("attended", [True, False])
@pytest.mark.parametrize("external", [True, False])
def test_an_execution_waits_for_what_is_declared(external: bool, attended: bool, emitted: Any) -> None:
    """What it has emitted itself does not count: a declared event may come from outside all the same."""
    it = started(listening(*emitted, external=external), attended=attended)
    finish_all(it)
    assert it.machine.state.status == ("waiting" if attended and external else "completed")


@pytest.mark.parametrize(
    ("attended", "emitted", "status"),
    [
        (True, (), "waiting"),
        (True, ("a",), "waiting"),
        (True, ("a", "b"), "completed"),
        (True, ("a", "b", "a"), "completed"),
        (False, (), "completed"),
    ],
)
def test_a_record_from_before_declarations_keeps_its_meaning(attended: bool, emitted: Any, status: str) -> None:
    """`Event`: "a default, once released, keeps its meaning for ever": it waits for what no chunk is known to emit."""
    it = started(listening(*emitted, external=False), attended=attended, rules=1)
    finish_all(it)
    assert it.machine.state.status == status
    assert msgspec.json.decode(snapshot(it.machine))["derived"] == sorted({"a", "b"} - set(emitted))


@pytest.mark.parametrize(
    ("sent", "value", "attended", "never"),
    [
        ((), None, True, ("a", "b")),
        (("b",), None, True, ("a",)),
        (("a", "b"), None, True, ()),
        ((), None, False, ()),
        ((), "a result", True, ()),
    ],
)
def test_the_end_names_the_events_that_were_never_sent(sent: Any, value: Any, attended: bool, never: Any) -> None:
    it = started(listening(external=False), attended=attended)
    for name in sent:
        it.send(events.Emitted(0.0, None, name, 1))
    if value is not None:
        it.send(events.ResultSet(0.0, None, value))
    finish_all(it)
    assert it.close == commands.Close("completed", (), never)


def test_a_signal_wakes_an_execution_that_waits_and_it_waits_again() -> None:
    it = started(listening())
    finish_all(it)
    it.send(events.Emitted(0.0, None, "a", 1))
    assert it.machine.state.status == "running"
    finish_all(it)
    assert it.machine.state.status == "waiting"
    it.send(events.CloseRequested(0.0))
    assert it.machine.state.status == "completed"


def test_a_flow_without_a_chunk_ends_at_its_start() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.when("a").end()

    it = started(program(build, external=False), attended=True)
    assert [entry[0] for entry in it.answers[0]] == ["Close"]


def test_a_second_cancellation_changes_nothing_but_the_count_of_records() -> None:
    it = started(listening())
    it.send(events.CancelRequested(0.0, "first"))
    before = snapshot(it.machine)
    assert it.send(events.CancelRequested(0.0, "second")) == []
    assert list(differences(snapshot(it.machine), before)) == ["records"]


def test_a_cancelled_execution_that_waited_ends_at_once() -> None:
    it = started(listening())
    finish_all(it)
    it.send(events.CancelRequested(0.0, "enough"))
    assert (it.machine.state.status, it.machine.state.reason) == ("cancelled", "enough")


@pytest.mark.parametrize("record", [events.SourceItems(0.0, 2, [1], True), events.SourceFailed(0.0, 2, ERROR)])
def test_items_that_come_while_an_execution_closes_open_nothing(record: events.Event) -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each().to(chunk("item")).end_for_each()
        flow.to(chunk("other"))

    it = started(program(build), value={1, 2})
    opening = next(iter(it.pulls))
    record.opening = opening  # type: ignore[attr-defined]
    it.send(events.CancelRequested(0.0, "enough"))
    assert it.send(record) == []
    assert it.go().machine.state.status == "cancelled"
    assert [run.node.name for run in it.issued] == ["other"]


@pytest.mark.parametrize("state", ["created", "running", "closing", "ended"])
def test_a_driver_that_met_a_bug_can_end_the_execution_in_any_state(state: str) -> None:
    it = listening().simulation()
    if state != "created":
        it.send(Start().record())
    if state in ("closing", "ended"):
        it.send(events.CancelRequested(0.0, "enough"))
    if state == "ended":
        it.go()
    ended = it.close is not None
    answer = [render(command) for command in it.machine.abort(ERROR)]
    assert [entry[:2] for entry in answer] == ([] if ended else [("Close", '"failed"')])
    assert it.machine.state.error == (None if ended else ERROR)
    assert not differences(snapshot(restored(it.plan, snapshot(it.machine))), snapshot(it.machine))
    with pytest.raises(ExecutionClosed):
        it.machine.receive(events.Emitted(0.0, None, "a", 1))


def test_an_execution_can_go_on_in_a_machine_of_its_own() -> None:
    it = started(listening())
    other = Machine(it.plan, it.machine.state)
    other.receive(events.Completed(0.0, 1, None))
    assert other.state.status == "waiting"


def test_things_say_what_they_are() -> None:
    it = started(listening())
    run = it.issued[0]
    assert (repr(run), repr(run.node), run.node.trigger.key) == ("<RunChunk 1 of first>", "<Node first>", "chunk:first")
    assert Trigger("event", "a").key == "event:a"
    error = ExecutionCancelled("enough", "x1")
    assert (str(error), error.reason) == ("execution x1 was cancelled: enough", "enough")
