"""Joins: `when` in mode `and`, `collect`, and branches that meet only where they belong."""

from typing import Any

import pytest

from tests.core import invariants
from tests.core.flows import Program, program
from tests.core.simulation import Effect, Simulation, Start, in_order_of, restored, snapshot
from triggerflow._core import events
from triggerflow._core.machine import Machine


def started(it: Program) -> Simulation:
    simulation = it.simulation()
    simulation.send(it.start.record())
    return simulation


def emit(it: Simulation, name: str, value: Any) -> None:
    it.send(events.Emitted(0.0, None, name, value))


def finish(it: Simulation, chunk: str, value: Any = None) -> None:
    """Complete the oldest run of a chunk with a value."""
    run = next(task.run for task in it.tasks.values() if task.run.node.name == chunk)
    del it.tasks[run.id]
    it.send(events.Completed(0.0, run.id, value))


def values(it: Simulation, chunk: str) -> list[Any]:
    """What the runs of a chunk were given, in order."""
    return [run.value for run in it.issued if run.node.name == chunk]


def pair(a: Any, b: Any) -> dict[str, dict[str, Any]]:
    return {"event": {"A": a, "B": b}}


def wired(mode: str = "and") -> Simulation:
    def build(flow: Any, chunk: Any) -> None:
        flow.when(["A", "B"], mode=mode).to(chunk("joined"))

    return started(program(build))


# -- when, and -------------------------------------------------------------------------------------------------------


def test_a_full_set_fires_once_and_is_taken_as_a_whole() -> None:
    it = wired()
    emit(it, "A", 1)
    assert values(it, "joined") == []
    emit(it, "B", 2)
    emit(it, "B", 3)
    assert values(it, "joined") == [pair(1, 2)]
    emit(it, "A", 4)
    assert values(it, "joined") == [pair(1, 2), pair(4, 3)]


def test_the_latest_value_waits() -> None:
    it = wired()
    for value in (1, 2, 3):
        emit(it, "A", value)
    emit(it, "B", 9)
    assert values(it, "joined") == [pair(3, 9)]


def test_a_new_signal_while_the_join_is_handled_does_not_meet_a_stale_one() -> None:
    it = wired()
    emit(it, "A", "a1")
    emit(it, "B", "b1")
    emit(it, "A", "a2")
    assert values(it, "joined") == [pair("a1", "b1")]
    finish(it, "joined")
    emit(it, "B", "b2")
    assert values(it, "joined") == [pair("a1", "b1"), pair("a2", "b2")]


@pytest.mark.seeds(5, 100)
def test_a_hundred_concurrent_pairs_are_a_hundred_joins(seed: int) -> None:
    def build(flow: Any, chunk: Any) -> None:
        for name in "AB":
            flow.to(chunk(f"emit {name}", "same", *(Effect("emit", name, number) for number in range(1, 101))))
        flow.when(["A", "B"]).to(chunk("joined"))

    it = program(build).simulate(in_order_of(seed))
    joined = [value["event"] for value in values(it, "joined")]
    assert 1 <= len(joined) <= 100
    for name in "AB":
        taken = [value[name] for value in joined]
        assert taken == sorted(set(taken)), "a signal was used twice"


def test_a_signal_that_the_handler_emits_waits_for_its_own_partner() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.when(["A", "B"]).to(chunk("joined", "same", Effect("emit", "A", "again")))

    it = started(program(build))
    emit(it, "A", "a1")
    emit(it, "B", "b1")
    it.actions()[0]()
    assert values(it, "joined") == [pair("a1", "b1")]
    emit(it, "B", "b2")
    assert values(it, "joined") == [pair("a1", "b1"), pair("again", "b2")]


def test_all_kinds_of_trigger_meet_by_their_public_names() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("step"))
        wanted = {"event": "E", "runtime_data": "key", "flow_data": "shared", "chunk": "step"}
        flow.when(wanted).to(chunk("joined"))

    it = started(program(build, "v"))
    finish(it, "step", "done")
    emit(it, "E", 1)
    it.send(events.StateChanged(0.0, None, "set", "key", 2))
    it.send(events.FlowDataChanged(0.0, None, "shared", 3))
    assert values(it, "joined") == [
        {"event": {"E": 1, "step": "done"}, "runtime_data": {"key": 2}, "flow_data": {"shared": 3}}
    ]


def test_or_tells_which_signal_it_was_and_simple_or_does_not() -> None:
    for mode, expected in (("or", [("event", "A", 1), ("event", "B", 2)]), ("simple_or", [1, 2])):
        it = wired(mode)
        emit(it, "A", 1)
        emit(it, "B", 2)
        assert values(it, "joined") == expected


def test_a_half_filled_join_is_named_at_the_end() -> None:
    it = wired()
    emit(it, "A", 1)
    it.send(events.CloseRequested(0.0))
    assert it.close is not None
    assert it.close.unfilled == ("when:A&B",)


# -- collect ---------------------------------------------------------------------------------------------------------


def collecting(mode: str) -> Simulation:
    def build(flow: Any, chunk: Any) -> None:
        flow.when("L").collect("both", "left", mode=mode)
        flow.when("R").collect("both", "right", mode=mode).to(chunk("joined"))
        flow.when({"collect": "both"}).to(chunk("listener"))

    return started(program(build))


def test_filled_and_update_goes_on_again_with_each_later_value() -> None:
    it = collecting("filled_and_update")
    for name, value in (("L", 1), ("R", 2), ("L", 3)):
        emit(it, name, value)
    assert values(it, "joined") == [{"left": 1, "right": 2}, {"left": 3, "right": 2}]
    assert values(it, "listener") == values(it, "joined")


def test_filled_then_empty_waits_for_all_anew() -> None:
    it = collecting("filled_then_empty")
    for name, value in (("L", 1), ("R", 2), ("L", 3), ("L", 4), ("R", 5)):
        emit(it, name, value)
    assert values(it, "joined") == [{"left": 1, "right": 2}, {"left": 4, "right": 5}]


def test_the_order_of_branches_is_that_of_the_definition() -> None:
    it = collecting("filled_and_update")
    emit(it, "R", 2)
    emit(it, "L", 1)
    assert list(values(it, "joined")[0]) == ["left", "right"]


def test_a_collection_inside_a_block_meets_per_item() -> None:
    def build(flow: Any, chunk: Any) -> None:
        item = flow.for_each()
        item.to(chunk("left")).collect("both", "l")
        item.to(chunk("right")).collect("both", "r").end_for_each().end()

    for seed in range(10):
        it = program(build, [1, 2, 3]).simulate(in_order_of(seed))
        assert it.machine.state.result == [{"l": value, "r": value} for value in (1, 2, 3)]


def test_a_collection_inside_a_block_is_forgotten_with_the_block() -> None:
    """A long for_each must not leave one join per item behind."""

    def build(flow: Any, chunk: Any) -> None:
        item = flow.for_each(concurrency=2)
        item.to(chunk("left")).collect("both", "l")
        item.to(chunk("right")).collect("both", "r").end_for_each().to(chunk("after"))

    it = program(build, list(range(20))).simulate(in_order_of(3))
    assert not it.machine.state.joins


def test_a_half_filled_collection_is_named_at_the_end() -> None:
    it = collecting("filled_then_empty")
    emit(it, "L", 1)
    it.send(events.CloseRequested(0.0))
    assert it.close is not None
    assert [name for name in it.close.unfilled if "both" in name]


@pytest.mark.parametrize("mode", ["filled_and_update", "filled_then_empty"])
@pytest.mark.parametrize("name", ["both", "both of them", "both 1.0", "collect:both 1.0"])
def test_a_collection_that_was_filled_is_not_named_at_the_end(name: str, mode: str) -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("l")).collect(name, "left", mode=mode)
        flow.to(chunk("r")).collect(name, "right", mode=mode).end()

    it = program(build, 1).simulate()
    assert it.close is not None
    assert (it.close.unfilled, it.machine.state.result) == ((), {"left": 1, "right": 1})


@pytest.mark.parametrize("name", ["half 1.0", "half 2.0", "half 3.0", "half 1.1"])
def test_the_end_of_a_block_takes_no_join_away_that_is_not_its_own(name: str) -> None:
    """Names may look like anything."""

    def build(flow: Any, chunk: Any) -> None:
        flow.when("go").for_each().to(chunk("item")).end_for_each()
        flow.when(["other", name]).to(chunk("joined"))
        flow.when(name).collect(name, "left")
        flow.when("later").collect(name, "right").to(chunk("collected"))

    it = started(program(build))
    emit(it, name, 1)
    emit(it, "go", [1, 2])
    while it.tasks:
        it.actions()[0]()
    emit(it, "other", 2)
    emit(it, "later", 3)
    assert values(it, "joined") == [{"event": {"other": 2, name: 1}}]
    assert values(it, "collected") == [{"left": 1, "right": 3}]


# -- blocks ----------------------------------------------------------------------------------------------------------


def test_two_passes_through_one_batch_do_not_mix() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.when("go").batch(chunk("a"), chunk("b")).to(chunk("joined"))

    it = started(program(build))
    emit(it, "go", 1)
    emit(it, "go", 2)
    first, second = (list(it.tasks.values())[:2], list(it.tasks.values())[2:])
    for task in (second[1], first[0], second[0], first[1]):
        del it.tasks[task.run.id]
        it.send(events.Completed(0.0, task.run.id, task.run.value * 10))
    assert values(it, "joined") == [{"a": 20, "b": 20}, {"a": 10, "b": 10}]


def test_a_chunk_that_stands_in_two_blocks_fills_the_one_it_ran_in() -> None:
    def build(flow: Any, chunk: Any) -> None:
        shared = chunk("shared", "pair")
        flow.to(chunk("first")).batch(shared, chunk("x")).to(chunk("after x", "same", Effect("put")))
        flow.to(chunk("second")).batch(shared, chunk("y")).to(chunk("after y", "same", Effect("put")))

    for seed in range(10):
        it = program(build, "v").simulate(in_order_of(seed))
        assert sorted(map(sorted, it.stream)) == [["shared", "x"], ["shared", "y"]]


def test_a_branch_that_arrives_twice_counts_once() -> None:
    """Two chains from one place inside a block: the first to arrive is the item's result."""

    def build(flow: Any, chunk: Any) -> None:
        body = flow.for_each().to(chunk("twice"))
        flow.to(chunk("other")).to("twice")
        body.end_for_each().to(chunk("after", "same", Effect("put")))

    it = program(build, [1, 2]).simulate()
    assert it.stream == [[1, 2]]


def test_a_block_that_never_fills_is_named_at_the_end() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.batch(chunk("a"), chunk("asks", pauses="nowhere")).to(chunk("after"))

    it = program(build).simulate()
    assert it.machine.state.status == "completed"
    assert it.close is not None
    assert it.close.unfilled == ("batch<-start",)


# -- what is half-filled -----------------------------------------------------------------------------------------------


def half(flow: Any, chunk: Any) -> None:
    """Every item sends one of two signals of a `when`; the other comes from a branch beside the chain."""
    flow.for_each(concurrency=4).side_branch(chunk("late", concurrency=1)).to(chunk("quick")).end_for_each()
    flow.when({"chunk": ["late", "quick"]}).to(chunk("joined"))


def sets(it: Simulation) -> int:
    return sum(len(held) for held in (it.machine.state.joins or {}).values())


def test_half_filled_sets_of_items_that_are_over_are_forgotten_while_others_run() -> None:
    def build(flow: Any, chunk: Any) -> None:
        at = flow.for_each(concurrency=4).to(chunk("quick"))
        at.match().case(-1).to(chunk("late")).end_match().end_for_each()
        flow.when({"chunk": ["late", "quick"]}).to(chunk("joined"))

    it = program(build, range(5000)).simulation(limit=20_000)
    it.send(it.plan and Start(range(5000)).record())
    most = 0
    while it.tasks:
        it.actions()[0]()
        most = max(most, sets(it))
    assert 1000 < most <= 1100


def test_a_branch_beside_the_chain_meets_its_item_however_late() -> None:
    """A set is kept as long as anything is at work in its item."""
    it = program(half, range(3000)).simulation(limit=50_000)
    it.send(Start(range(3000)).record())
    while any(task.run.node.name == "quick" for task in it.tasks.values()):
        step(it, "quick")
    assert sets(it) == 3000
    while it.tasks:
        it.actions()[0]()
    joined = [value["event"] for value in values(it, "joined")]
    assert joined == [{"late": number, "quick": number} for number in range(3000)]
    assert not it.machine.state.joins


def test_what_waits_for_an_answer_keeps_the_sets_of_its_item() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each(concurrency=4).side_branch(chunk("late", pauses="self")).to(chunk("quick")).end_for_each()
        flow.when({"chunk": ["late", "quick"]}).to(chunk("joined"))

    it = program(build, range(1500)).simulation(limit=50_000)
    it.send(Start(range(1500)).record())
    while it.tasks:
        it.actions()[0]()
    assert sets(it) == 1500
    it.go()
    assert len(values(it, "joined")) == 1500


def test_a_cut_changes_nothing_of_what_is_forgotten() -> None:
    it = program(half, range(40)).simulation(in_order_of(3), watch=invariants.watch)
    it.send(Start(range(40)).record())
    it.go()
    machine = Machine(it.plan)
    for record in it.records:
        machine.receive(record)
        again = restored(it.plan, snapshot(machine))
        assert (again.state.joins or {}) == (machine.state.joins or {})
        over = machine.state.joins.over if machine.state.joins is not None else {}
        assert (again.state.joins.over if again.state.joins is not None else {}) == over


def step(it: Simulation, chunk: str) -> None:
    it.advance(next(task for task in it.tasks.values() if task.run.node.name == chunk))
