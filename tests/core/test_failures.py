"""Branches without a value: several ways to the end of a block, nested routes, snapshots, and earlier rules."""

from typing import Any

import msgspec
import pytest

from tests.core import invariants
from tests.core.flows import program
from tests.core.simulation import TYPES, Simulation, in_order_of, restored, snapshot
from triggerflow._core import events
from triggerflow._core.definition import Definition, Operator, OperatorKind
from triggerflow._core.machine import Machine, compile_plan, replay
from triggerflow._core.signals import START, Trigger
from triggerflow._core.state import UNSET, RunChunk

ERROR = events.ErrorInfo("Broken", "no")
ITEM, TAIL = Trigger("operator", "each"), Trigger("chunk", "tail")
LIST = Trigger("operator", "each/end")


def two_ways(**options: Any) -> Machine:
    """A for_each whose items have two ways to their end, over the same chunk: each of `a` and `b` is followed by it."""
    a, b = Trigger("chunk", "a"), Trigger("chunk", "b")
    inside: dict[str, Any] = {"kind": OperatorKind.CHUNK, "inside": "each"}
    operators = (
        Operator(
            id="each", kind=OperatorKind.FOR_EACH_SPLIT, name="each", listens=(START,), emits=(ITEM,), options=options
        ),
        Operator(id="a", name="a", listens=(ITEM,), emits=(a,), handler="a", **inside),
        Operator(id="b", name="b", listens=(ITEM,), emits=(b,), handler="b", **inside),
        Operator(id="tail", name="tail", listens=(a,), emits=(TAIL,), handler="tail", **inside),
        Operator(id="tail<-b", name="tail", listens=(b,), emits=(TAIL,), handler="tail", **inside),
        Operator(
            id="each/end",
            kind=OperatorKind.FOR_EACH_COLLECT,
            name="each/end",
            listens=(TAIL,),
            emits=(LIST,),
            group="each",
        ),
        Operator(id="end", kind=OperatorKind.RESULT, name="end", listens=(LIST,), emits=(Trigger("operator", "end"),)),
    )
    return Machine(compile_plan(Definition("two ways", operators)))


def starts(machine: Machine, record: events.Event) -> dict[str, RunChunk]:
    return {it.node.id: it for it in machine.receive(record) if isinstance(it, RunChunk)}


@pytest.mark.parametrize("fails", ["a first", "b last"])
def test_a_branch_goes_on_while_a_way_to_its_end_is_left(fails: str) -> None:
    machine = two_ways()
    runs = starts(machine, events.Started(0.0, ["x"], skip_exceptions=True, rules=events.RULES))
    if fails == "a first":
        machine.receive(events.Failed(0.0, runs["a"].id, ERROR))
        tail = starts(machine, events.Completed(0.0, runs["b"].id, "b"))["tail<-b"]
    else:
        tail = starts(machine, events.Completed(0.0, runs["a"].id, "a"))["tail"]
        machine.receive(events.Failed(0.0, runs["b"].id, ERROR))
    assert machine.state.result is UNSET
    machine.receive(events.Completed(0.0, tail.id, "tail"))
    assert machine.state.result == ["tail"]
    assert machine.state.status == "completed"


@pytest.mark.parametrize("on_error", ["raise", "collect"])
@pytest.mark.parametrize("save", [False, True])
def test_a_branch_ends_without_a_value_when_its_last_way_has_failed(on_error: str, save: bool) -> None:
    """The failed ways are part of a snapshot."""
    machine = two_ways(**({"on_error": on_error} if on_error == "collect" else {}))
    runs = starts(machine, events.Started(0.0, ["x"], skip_exceptions=True, rules=events.RULES))
    machine.receive(events.Failed(0.0, runs["b"].id, ERROR))
    if save:
        saved = snapshot(machine)
        machine = restored(machine.plan, saved)
        assert snapshot(machine) == saved
        machine.receive(events.Recovered(0.0))
    tail = starts(machine, events.Completed(0.0, runs["a"].id, "a"))["tail"]
    machine.receive(events.Failed(0.0, tail.id, ERROR))
    failure = events.Failure("tail", "Broken", "no", "a")
    assert machine.state.result == ([failure] if on_error == "collect" else [])
    assert machine.state.status == "completed"


def test_lost_branches_are_part_of_a_snapshot() -> None:
    """A missing branch, and a failure on its way to the block that collects."""

    def build(flow: Any, chunk: Any) -> None:
        flow.batch(chunk("bad", fails=True), chunk("good")).to(chunk("never")).end()
        at = flow.if_condition(chunk.condition("yes", "always"), on_error="collect")
        at.batch(chunk("bad too", fails=True), chunk("fine")).end_condition().end()

    for seed in range(20):
        saved: list[tuple[bytes, Any]] = []

        def watch(it: Simulation, saved: list[tuple[bytes, Any]] = saved) -> None:
            saved.append((snapshot(it.machine), snapshot(restored(it.plan, snapshot(it.machine)))))
            invariants.watch(it)

        it = program(build, 1, skip_exceptions=True).simulate(in_order_of(seed), watch=watch)
        assert all(before == after for before, after in saved)
        assert it.machine.state.result == events.Failure("bad too", "Broken", "no", 1)
        assert "never" not in {run.node.name for run in it.issued}


def nested(rules: int) -> Simulation:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("ask", fails=True))
        flow.when({"error": "ask"}).to(chunk("ship", fails=True))
        flow.when({"error": "*"}).to(chunk("undo", "name")).end()

    return program(build, 1, rules=rules).simulate(watch=invariants.watch)


def test_a_failure_in_the_work_of_a_route_has_the_other_routes() -> None:
    it = nested(events.RULES)
    assert (it.machine.state.status, it.machine.state.result) == ("completed", "undo")


def test_by_rules_2_it_fails_the_execution() -> None:
    assert nested(2).machine.state.status == "failed"


@pytest.mark.parametrize("rules", [2, events.RULES])
def test_the_routes_above_a_run_are_part_of_a_snapshot(rules: int) -> None:
    it = nested(rules)
    for cut in range(1, len(it.records)):
        machine = replay(it.plan, it.records[:cut])
        saved = snapshot(machine)
        after = restored(it.plan, saved)
        assert snapshot(after) == saved
        for record in it.records[cut:]:
            after.receive(record)
        assert snapshot(after) == snapshot(it.machine)


def test_a_snapshot_of_rules_2_closes_its_routes_to_all() -> None:
    """Snapshots of that time say only that a route is at work, not which."""
    it = nested(2)
    machine = replay(it.plan, it.records[:2])
    saved = msgspec.json.decode(snapshot(machine))
    assert any(group["handling"] for group in saved["groups"])
    assert not any("route" in group for group in saved["groups"])
    assert saved["rules"] == 2


def test_a_failure_survives_a_record() -> None:
    failure = events.Failure("charge", "Declined", "no", {"a": (1, 2)})
    assert TYPES.unpack(msgspec.json.decode(msgspec.json.encode(TYPES.pack(failure, "it")))) == failure


def test_an_earlier_completion_has_no_failure() -> None:
    """The field is left out where it is empty, so that records are written as they were."""
    assert b"failure" not in msgspec.json.encode(events.Completed(0.0, 1, "value"))
    read = msgspec.json.decode(b'{"record":"completed","at":0,"run":1,"value":2}', type=events.Record)
    assert read == events.Completed(0.0, 1, 2)
