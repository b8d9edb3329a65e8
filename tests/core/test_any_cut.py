"""Law 3, any cut: saving and loading after any record changes nothing after it."""

import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.core import invariants
from tests.core.flows import Program, program, programs
from tests.core.simulation import (
    TYPES,
    Effect,
    Simulation,
    Start,
    differences,
    in_order_of,
    render,
    restored,
    snapshot,
)
from triggerflow._core import events
from triggerflow._core.commands import Rested
from triggerflow._core.machine import FINAL, Machine
from triggerflow._core.recovery import outstanding
from triggerflow._core.snapshot import encode


def saved(live: Simulation) -> list[bytes]:
    """The snapshot before each record, and the last one."""
    machine = Machine(live.plan)
    found = [snapshot(machine)]
    for record in live.records:
        machine.receive(record)
        found.append(snapshot(machine))
    return found


def check_every_cut(live: Simulation, cuts: list[int]) -> None:
    """Cut after every record, and go on to the end from the given ones."""
    snapshots = saved(live)
    for number, (before, record) in enumerate(zip(snapshots, live.records, strict=False)):
        machine = restored(live.plan, before)
        assert not differences(snapshot(machine), before), number
        assert [render(command) for command in machine.receive(record)] == live.answers[number], number
        assert not differences(snapshot(machine), snapshots[number + 1]), number
    assert not differences(snapshot(restored(live.plan, snapshots[-1])), snapshots[-1])
    for cut in cuts:
        machine = restored(live.plan, snapshots[cut])
        answers = [[render(command) for command in machine.receive(record)] for record in live.records[cut:]]
        assert answers == live.answers[cut:]
        assert not differences(snapshot(machine), snapshots[-1])


@given(programs(), st.integers(0, 1000))
def test_nothing_changes_after_a_cut(program: Program, seed: int) -> None:
    for live in program.simulate(in_order_of(seed)).all():
        count = len(live.records)
        check_every_cut(live, [random.Random(seed).randrange(count) for _ in range(3)])


@given(programs("ordered"), st.integers(0, 1000))
def test_an_execution_that_is_loaded_elsewhere_comes_to_the_same_result(program: Program, seed: int) -> None:
    """The process dies after any record; another one loads the execution and runs again what was running."""
    whole = program.simulate()
    pick = in_order_of(seed)
    first = program.simulation(pick)
    first.send(program.start.record())
    for _ in range(pick(len(whole.records))):
        actions = first.actions()
        if first.close is not None or not actions:
            break
        actions[pick(len(actions))]()
    kept = first.save()
    second = program.simulation(pick, machine=restored(first.plan, kept.state), saved=kept.inside)
    if first.machine.state.status in FINAL:
        return
    second.clock = first.clock
    second.interrupts = {
        number: interrupt
        for number, interrupt in (second.machine.state.interrupts or {}).items()
        if interrupt.status == "waiting" and interrupt.expires is None
    }
    second.go_on()
    second.go()
    assert second.close is not None
    assert result(second.machine) == result(whole.machine)


@given(programs(), st.integers(0, 1000))
def test_going_on_takes_a_record_only_where_something_was_running(program: Program, seed: int) -> None:
    """Where `outstanding` knows what to issue again, a record would change nothing and command the same."""
    for live in program.simulate(in_order_of(seed)).all():
        for before in saved(live):
            machine = restored(live.plan, before)
            again = None if machine.state.status in FINAL else outstanding(machine)
            if again is None:
                continue
            told = [render(command) for command in again]
            answer = [render(it) for it in machine.receive(events.Recovered(0.0)) if not isinstance(it, Rested)]
            machine.state.records -= 1
            assert answer == told
            assert not differences(snapshot(machine), before)


def result(machine: Machine) -> Any:
    return encode(machine.plan, machine.state, TYPES.pack)["result"]


# -- cuts at places where two parts of the state refer to the same thing ---------------------------------------------


def check(live: Simulation) -> None:
    assert live.close is not None
    check_every_cut(live, list(range(len(live.records))))


def test_a_cut_while_a_side_branch_outlives_its_block() -> None:
    def build(flow: Any, chunk: Any) -> None:
        body = flow.for_each(concurrency=1).to(chunk("work"))
        body.side_branch(chunk("log")).side_branch(chunk("log2")).end_for_each().to(chunk("after")).end()

    # The newest run goes first: the block is left before its side branches begin.
    live = program(build, [1, 2]).simulate(lambda count: count - 1)
    check(live)


def test_a_cut_between_two_appends_that_a_chunk_listens_to() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("writer", "same", Effect("append", "log", 1), Effect("append", "log", 2)))
        flow.when({"runtime_data": "log"}).to(chunk("reader", "same", Effect("put")))

    live = program(build, concurrency=1).simulate()
    check(live)
    assert live.stream == [[1], [1, 2]]


def test_a_cut_while_an_emitter_waits_and_after_it_was_given_up() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("settle", "work"), on_cancel="hang"))
        flow.when("work").to(chunk("worker", on_cancel="hang"))

    running = program(build, outside=(Effect("settle", "work"),)).simulation()
    running.send(Start().record())
    running.actions()[0]()
    running.send(events.CancelRequested(0.0, "enough"))
    running.go()
    assert running.machine.state.status == "cancelled"
    check(running)


def test_a_cut_after_a_chunk_ended_while_it_waited() -> None:
    """A chunk may leave its own wait: a time-out around `async_emit(settle=True)`, or an emit in a task of its own."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("spawn", "work"))).end()
        flow.when("work").to(chunk("worker")).to(chunk("second"))

    check(program(build, concurrency=1).simulate())


def test_a_cut_after_an_emitter_left_the_settling_of_work_that_paused() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("first", "same", Effect("emit", "one"))).to(chunk("second", "same", Effect("emit", "one"))).end()
        flow.when("one").to(chunk("caused", "same", Effect("emit", "two")))
        flow.when("two").to(chunk("leaves", "same", Effect("spawn", "three")))
        flow.when("three").to(chunk("asks", pauses="next"))

    for seed in range(30):
        check(program(build, attended=False).simulate(in_order_of(seed)))


def test_a_cut_at_every_moment_of_sub_flows_under_limits() -> None:
    def inner(flow: Any, chunk: Any) -> None:
        body = flow.for_each(concurrency=2).to(chunk("item", "same", Effect("settle", "work")))
        body.to(chunk("ask", pauses="next")).end_for_each().end()
        flow.when("work").to(chunk("work", concurrency=1))

    def build(flow: Any, chunk: Any) -> None:
        deepest = chunk.sub_flow("deepest", inner)
        middle = chunk.sub_flow(
            "middle", lambda flow, chunk: flow.to(chunk("pass", "three")).to_sub_flow(deepest, concurrency=2).end()
        )
        flow.to(chunk("spread", "two")).for_each(concurrency=2).to_sub_flow(middle).end_for_each().end()
        flow.to(chunk("beside")).to(chunk("too"))

    for seed in range(5):
        live = program(build, concurrency=2, attended=False).simulate(in_order_of(seed), watch=invariants.watch)
        assert live.machine.state.result == [["answer"] * 3] * 2
        for it in live.all():
            check(it)


def test_a_cut_while_interrupts_timers_and_lazy_sources_are_open() -> None:
    def build(flow: Any, chunk: Any) -> None:
        at = flow.to(chunk("source", "lazy")).for_each(concurrency=2).to(chunk("ask", pauses="next"))
        at.side_branch(chunk("aside", pauses="self")).to(chunk("flaky", retries=2)).end_for_each().end()
        flow.when({"timer": 3}).to(chunk("alarm", "name", Effect("delay", "late")))
        flow.when("late").to(chunk("last", pauses="expires"))
        flow.when({"error": "last"}).to(chunk("handled", "same", Effect("put")))

    live = program(build, attended=False).simulate()
    check(live)
    assert live.machine.state.result == ["answer"] * 3


def test_a_cut_while_somebody_waits_for_lazy_sources() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("outer", "same", Effect("settle", "inner"))).to(chunk("after")).end()
        flow.when("inner").to(chunk("emitter", "lazy", Effect("settle", "work"), Effect("emit", "work")))
        at = flow.when("work").to(chunk("source", "lazy")).for_each(concurrency=1).to(chunk("nested", "lazy"))
        at.for_each(concurrency=2).to(chunk("item", fails=True)).end_for_each().end_for_each().to(chunk("end"))

    for seed in range(5):
        live = program(build, skip_exceptions=True).simulate(in_order_of(seed), watch=invariants.watch)
        check(live)
        assert sorted(live.told) == list(live.waits) != []
        assert [run.node.name for run in live.issued][-1] == "after"


def test_a_cut_while_sources_are_retracted_under_a_waiter() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("outer", "same", Effect("settle", "inner"))).end()
        flow.when("inner").to(chunk("guesser", "same", Effect("guess", "work"), Effect("retract")))
        at = flow.when("work").to(chunk("source", "lazy")).for_each(concurrency=1).to(chunk("nested", "lazy"))
        at.for_each(concurrency=1).to(chunk("item")).end_for_each().end_for_each()

    for seed in range(30):
        live = program(build).simulation(in_order_of(seed), watch=invariants.watch)
        live.watch = lambda it: it.pulls.clear() if not it.machine.state.block_instances else invariants.watch(it)
        check(live.go(Start()))
        assert live.told == list(live.waits) != []


def test_a_snapshot_of_an_earlier_version_that_did_not_count_sources_is_read() -> None:
    """There a group's count did not have the sources that are being asked; here it has, and a snapshot has not."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("emit", "work")))
        flow.when("work").to(chunk("source", "lazy")).for_each().to(chunk("item")).end_for_each()

    it = program(build).simulation(watch=invariants.watch)
    it.send(Start().record())
    for name in ("emitter", "source"):
        it.advance(next(task for task in it.tasks.values() if task.run.node.name == name))
    (pass_,) = (it.machine.state.block_instances or {}).values()
    assert pass_.group is not None
    assert (pass_.pulling, pass_.group.live) == (True, 1)
    kept = msgspec.json.decode(snapshot(it.machine))
    assert [group["live"] for group in kept["groups"]] == [0]
    again = restored(it.plan, snapshot(it.machine))
    invariants.check(again.state)


def test_a_snapshot_holds_values_that_json_cannot_write() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("keep", "same", Effect("set", "it"), Effect("put"))).end()

    live = program(build, {"a": (1, b"x"), 2: {3}, "$": range(4), "inf": float("inf")}).simulate()
    check(live)
    last = restored(live.plan, saved(live)[-1])
    assert last.state.result == last.state.data["it"] == live.machine.state.result


def test_encoding_changes_nothing() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "three")).for_each(concurrency=1).to(chunk("b")).end_for_each().end()

    live = program(build).simulation(watch=lambda it: msgspec.json.encode(snapshot(it.machine)) and None)
    assert live.go(Start()).records == program(build).simulate().records
