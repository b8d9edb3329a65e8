"""Concurrency limits: true upper bounds at every depth, places given back, windows of for_each."""

from contextlib import suppress
from typing import Any

import pytest

from tests.core import invariants
from tests.core.flows import Program, program
from tests.core.simulation import Effect, Simulation, Start, differences, in_order_of, snapshot
from triggerflow._core import events
from triggerflow._core.errors import ProtocolError


def peak(it: Program, **options: Any) -> tuple[int, Simulation]:
    """How many chunks ran at once, at most."""
    highest = 0

    def watch(simulation: Simulation) -> None:
        nonlocal highest
        invariants.watch(simulation)
        highest = max(highest, sum(task.wait is None for task in simulation.tasks.values()))

    simulation = it.simulate(lambda count: count - 1, watch=watch, **options)
    return highest, simulation


def nested(flow: Any, chunk: Any) -> None:
    outer = flow.to(chunk("source", "three")).for_each(concurrency=3).to(chunk("spread", "three"))
    outer.for_each(concurrency=2).to(chunk("leaf", concurrency=None)).end_for_each().end_for_each().end()


@pytest.mark.parametrize(("limit", "expected"), [(None, 3), (1, 1), (2, 2), (5, 3)])
def test_the_limit_of_an_execution_holds_at_every_depth(limit: int | None, expected: int) -> None:
    highest, it = peak(program(nested, concurrency=limit))
    assert highest == expected
    assert it.machine.state.result == [list(range(3))] * 3


def test_the_limit_of_a_block_holds_for_all_that_is_inside_it() -> None:
    def build(flow: Any, chunk: Any) -> None:
        body = flow.to(chunk("source", "three")).for_each(concurrency=1)
        body.batch(chunk("a"), chunk("b")).side_branch(chunk("c")).end_for_each().end()

    assert peak(program(build))[0] == 1


def test_the_limit_of_a_batch_is_one_per_pass() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.when("go").batch(chunk("a"), chunk("b"), concurrency=1)
        flow.to(chunk("source", "same", Effect("emit", "go"), Effect("emit", "go")))

    assert peak(program(build))[0] == 2


def test_the_limit_of_a_chunk_holds_over_all_places_where_it_stands() -> None:
    def build(flow: Any, chunk: Any) -> None:
        shared = chunk("shared", concurrency=2)
        flow.to(chunk("source", "three")).for_each().to(shared).end_for_each()
        flow.to(shared)
        flow.when("go").to(shared)
        flow.to(chunk("emitter", "same", *[Effect("emit", "go", 1)] * 3))

    running: list[int] = []

    def watch(it: Simulation) -> None:
        running.append(sum(task.run.node.name == "shared" for task in it.tasks.values()))

    it = program(build, 1).simulate(lambda count: count - 1, watch=watch)
    assert max(running) == 2
    assert len([run for run in it.issued if run.node.name == "shared"]) == 7


def test_what_queues_in_a_block_that_has_closed_does_not_start_while_the_execution_closes() -> None:
    def build(flow: Any, chunk: Any) -> None:
        body = flow.for_each(concurrency=1).to(chunk("work"))
        body.side_branch(chunk("log", on_cancel="write")).side_branch(chunk("log2")).end_for_each().to(chunk("after"))

    it = program(build).simulation()
    it.send(Start([1]).record())
    it.actions()[0]()
    assert not it.machine.state.block_instances
    it.send(events.CancelRequested(0.0, "enough"))
    begun = len(it.issued)
    it.go()
    assert len(it.issued) == begun


def test_places_are_given_in_the_order_of_asking() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each().to(chunk("item", "same", Effect("put"))).end_for_each()

    assert program(build, list(range(6)), concurrency=1).simulate(in_order_of(4)).stream == list(range(6))


def test_who_waits_for_a_second_limit_holds_nothing_of_the_first() -> None:
    """`narrow` queues for its own limit; `wide`, behind it, uses the place that it cannot."""

    def build(flow: Any, chunk: Any) -> None:
        narrow = chunk("narrow", concurrency=1)
        flow.to(chunk("a")).to(narrow)
        flow.to(chunk("b")).to(narrow)
        flow.to(chunk("c")).to(chunk("wide"))

    it = program(build, concurrency=2).simulation(watch=invariants.watch)
    it.send(Start(concurrency=2).record())
    for expected in (["a", "b"], ["b", "c"], ["c", "narrow"], ["narrow", "wide"]):
        assert [task.run.node.name for task in it.tasks.values()] == expected
        it.advance(next(iter(it.tasks.values())))
    assert [task.run.node.name for task in it.tasks.values()] == ["wide", "narrow"]


# -- waiting gives the place up --------------------------------------------------------------------------------------


def settling(*effects: Effect, **options: Any) -> Program:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", *effects)).to(chunk("after")).end()
        flow.when("work").to(chunk("worker")).to(chunk("second"))

    return program(build, "v", **options)


@pytest.mark.seeds(5, 100)
def test_a_chunk_that_waits_for_its_signals_cannot_lock_itself_up(seed: int) -> None:
    it = settling(Effect("settle", "work"), Effect("settle", "work"), concurrency=1)
    simulation = it.simulate(in_order_of(seed), watch=invariants.watch)
    assert simulation.machine.state.result == "v"
    assert [run.node.name for run in simulation.issued].count("worker") == 2


def test_a_chunk_that_waited_has_its_place_again_before_it_goes_on() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("settle", "work")))
        flow.when("work").to(chunk("worker", "same", Effect("emit", "more")))
        flow.when("more").to(chunk("long"))

    it = program(build, concurrency=1).simulation(watch=invariants.watch)
    it.send(Start(concurrency=1).record())
    order: list[str] = []
    while it.tasks:
        task = next(task for task in it.tasks.values() if task.wait is None)
        order.append(task.run.node.name)
        it.advance(task)
    assert order == ["emitter", "worker", "worker", "long", "emitter"]


def test_back_pressure_lets_an_emitter_wait_and_go_on() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", *[Effect("emit", "work")] * 20))
        flow.when("work").to(chunk("worker"))

    it = program(build, max_pending=4).simulation(lambda count: 0, watch=invariants.watch)
    it.send(Start(max_pending=4).record())
    emitter, emitted = it.tasks[1], 0
    while emitter.run.id in it.tasks:
        while emitter.run.id in it.tasks and emitter.run.id not in waiting(it):
            it.advance(emitter)
            emitted += 1
        workers = len(it.tasks) - (emitter.run.id in it.tasks)
        assert workers <= 5
        if emitter.run.id in it.tasks:
            it.advance(next(task for task in it.tasks.values() if task is not emitter))
    assert emitted == 21


def waiting(it: Simulation) -> set[int | None]:
    return {run for number, run in it.waits.items() if number not in it.told}


# -- a chunk that ends, fails or is retried while it waits -----------------------------------------------------------


@pytest.mark.parametrize("how", ["completes", "fails", "is retried", "pauses"])
@pytest.mark.parametrize("regaining", [False, True])
def test_a_chunk_that_leaves_its_own_wait_gives_no_place_away_twice(how: str, regaining: bool) -> None:
    """As a time-out around `async_emit(settle=True)` does. The limit holds afterwards, and nothing hangs."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("spawn", "work")))
        flow.when("work").to(chunk("worker", "same", Effect("emit", "more")))
        flow.when("more").to(chunk("long"))

    it = program(build, concurrency=1, skip_exceptions=True).simulation(watch=invariants.watch)
    it.send(Start(concurrency=1, skip_exceptions=True).record())
    emitter = it.tasks[1]
    it.advance(emitter)
    if regaining:
        # The worker has ended, `long` has the place, and the emitter queues for it.
        worker = next(task for task in it.tasks.values() if task.run.node.name == "worker")
        it.send(events.Emitted(0.0, None, "more", 1))
        it.advance(worker)
        it.advance(worker)
    del it.tasks[1]
    error = events.ErrorInfo("TimeoutError", "")
    it.send(
        {
            "completes": events.Completed(0.0, 1, "done"),
            "fails": events.Failed(0.0, 1, error),
            "is retried": events.Failed(0.0, 1, error, retry_in=1.0),
            "pauses": events.Paused(0.0, 1, "question"),
        }[how]
    )
    it.go()
    assert it.close is not None


def test_a_chunk_that_waits_anew_while_it_queues_for_its_place() -> None:
    """Two tasks of one chunk emit: the second wait begins when the first is over and the place is not back yet."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("spawn", "work"), Effect("spawn", "other")))
        flow.when("work").to(chunk("worker"))
        flow.when("other").to(chunk("second"))
        flow.when("more").to(chunk("long"))

    it = program(build, concurrency=1).simulation(watch=invariants.watch)
    it.send(Start(concurrency=1).record())
    emitter = it.tasks[1]
    it.advance(emitter)
    it.send(events.Emitted(0.0, None, "more", 1))
    it.advance(next(task for task in it.tasks.values() if task.run.node.name == "worker"))
    assert [task.run.node.name for task in it.tasks.values()] == ["emitter", "long"]
    second = len(it.records)
    it.advance(emitter)
    for chunk in ("long", "second"):
        assert second not in it.told, "the second signal has not settled yet"
        it.advance(next(task for task in it.tasks.values() if task.run.node.name == chunk))
    assert sorted(it.told) == [1, second]
    assert it.go().close is not None


def test_what_ran_before_a_crash_keeps_its_place_and_waits_again() -> None:
    it = settling(Effect("settle", "work"), concurrency=1).simulation(watch=invariants.watch)
    it.send(Start("v", concurrency=1).record())
    it.advance(it.tasks[1])
    it.tasks.clear()
    it.send(events.Recovered(1.0))
    it.go()
    assert it.machine.state.result == "v"


# -- waiting for something outside -----------------------------------------------------------------------------------


def parked(concurrency: int | None = 1) -> Simulation:
    """A chunk that has parked, and another that runs in its place."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("writer", "same", Effect("park"), Effect("settle", "work"))).end()
        flow.to(chunk("other"))
        flow.when("work").to(chunk("worker"))

    it = program(build, "v").simulation(watch=invariants.watch)
    it.send(Start("v", concurrency=concurrency).record())
    it.advance(it.tasks[1])
    return it


def test_a_chunk_that_waits_for_a_slow_reader_gives_up_its_place_and_gets_it_back() -> None:
    it = parked()
    assert [task.run.node.name for task in it.tasks.values()] == ["writer", "other"]
    it.unpark()
    assert it.told == [], "the place is taken"
    it.advance(it.tasks[2])
    assert it.told == [1]
    assert it.go().machine.state.result == "v"


def test_a_wait_outside_ends_once() -> None:
    it = parked()
    number = it.parked[0]
    it.unpark()
    before = snapshot(it.machine)
    with suppress(ProtocolError):
        it.machine.receive(events.ExternalWaitEnded(0.0, number))
        before = before.replace(b'"records":3', b'"records":4')
    assert not differences(snapshot(it.machine), before)


def test_only_a_wait_outside_can_end_from_outside() -> None:
    """A wait for signals ends when they have settled, whatever a driver says."""
    it = parked(concurrency=None)
    it.unpark()
    it.advance(it.tasks[2])
    settling = len(it.records)
    it.advance(it.tasks[1])
    with suppress(ProtocolError):
        it.send(events.ExternalWaitEnded(0.0, settling))
    assert settling not in it.told
    assert it.go().told == [1, settling]


# -- the window of for_each ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "max_pending", "window"), [(3, 1024, 3), (None, 7, 7), (10, 4, 10)])
def test_a_for_each_holds_a_window_of_open_items(limit: int | None, max_pending: int, window: int) -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each(concurrency=limit).to(chunk("item")).end_for_each().end()

    known: list[int] = []
    it = program(build, list(range(40)), max_pending=max_pending).simulate(
        in_order_of(1), watch=lambda it: known.append(len(it.machine.state.runs))
    )
    assert max(known) == window
    assert it.machine.state.result == list(range(40))
