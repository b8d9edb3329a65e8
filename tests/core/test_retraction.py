"""Provisional signals: what is taken back stops, starts nothing more, and holds nothing."""

from typing import Any

import pytest

from tests.core import invariants
from tests.core.flows import program
from tests.core.simulation import Effect, Simulation, Start, differences, render, restored, snapshot
from triggerflow._core import events
from triggerflow._core.errors import AlreadyAnswered

RETRACT = events.Retracted(0.0, None, 1, "wrong")


def names(it: Simulation) -> list[str]:
    return [task.run.node.name for task in it.tasks.values()]


def step(it: Simulation, chunk: str) -> None:
    it.advance(next(task for task in it.tasks.values() if task.run.node.name == chunk))


def guessed(build_work: Any, concurrency: int | None = None) -> Simulation:
    """A chunk that has emitted `work` provisionally, as record 1, and goes on."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("guesser", "same", Effect("guess", "work"))).to(chunk("after")).end()
        build_work(flow, chunk)

    it = program(build, "v").simulation(watch=invariants.watch)
    it.send(Start("v", concurrency=concurrency).record())
    step(it, "guesser")
    return it


def chain(flow: Any, chunk: Any) -> None:
    flow.when("work").to(chunk("worker", "same", Effect("emit", "more"), on_cancel="finish")).to(chunk("next"))
    flow.when("more").to(chunk("second"))


def test_what_a_retracted_signal_started_is_cancelled_with_all_that_came_of_it() -> None:
    it = guessed(chain)
    step(it, "worker")
    assert names(it) == ["guesser", "worker", "second"]
    assert sorted(it.send(RETRACT)) == [("CancelRun", 2), ("CancelRun", 3)]
    assert it.go().machine.state.result == "v"
    assert [run.node.name for run in it.issued] == ["guesser", "worker", "second", "after"]


def test_a_confirmed_signal_cannot_be_retracted() -> None:
    it = guessed(chain)
    assert it.send(events.Confirmed(0.0, None, 1)) == []
    assert it.send(RETRACT) == []
    it.go()
    assert {"next", "second"} <= {run.node.name for run in it.issued}


@pytest.mark.parametrize("number", [0, 2, 99, -1])
def test_what_was_not_provisional_cannot_be_retracted(number: int) -> None:
    it = guessed(chain)
    step(it, "worker")
    assert it.send(events.Retracted(0.0, None, number, "wrong")) == []


def test_the_places_of_what_was_retracted_are_free_when_it_has_stopped() -> None:
    it = guessed(lambda flow, chunk: flow.when("work").to(chunk("worker")), concurrency=1)
    it.send(RETRACT)
    assert it.go().machine.state.result == "v"


@pytest.mark.parametrize("concurrency", [None, 1, 2])
def test_a_block_inside_is_dropped(concurrency: int | None) -> None:
    def build(flow: Any, chunk: Any) -> None:
        at = flow.when("work").to(chunk("source", "lazy")).for_each(concurrency=2)
        at.batch(chunk("x"), chunk("y")).end_for_each().to(chunk("never"))

    it = guessed(build, concurrency)
    for _ in range(5):
        it.actions()[-1]()
    it.send(RETRACT)
    it.pulls.clear()
    it.go()
    assert it.close is not None
    assert it.close.unfilled == ()
    assert "never" not in {run.node.name for run in it.issued}


def test_a_collection_inside_a_block_is_dropped_with_it() -> None:
    """What can never be filled is not kept, nor named as what still waited."""

    def build(flow: Any, chunk: Any) -> None:
        item = flow.when("work").to(chunk("source", "two")).for_each()
        item.to(chunk("left")).collect("both", "l")
        item.to(chunk("right")).collect("both", "r").end_for_each().to(chunk("never"))

    it = guessed(build)
    step(it, "source")
    step(it, "left")
    assert it.machine.state.joins
    it.send(RETRACT)
    assert not it.machine.state.joins
    it.go()
    assert it.close is not None
    assert it.close.unfilled == ()


def guessing(**worker: Any) -> Simulation:
    """An open execution in which each "go" makes a guess that nobody decides on."""

    def build(flow: Any, chunk: Any) -> None:
        flow.when("go").to(chunk("guesser", "same", Effect("guess", "work")))
        flow.when("work").to(chunk("worker", **worker))

    it = program(build).simulation()
    it.send(Start().record())
    return it


def guess(it: Simulation, *steps: str) -> int:
    """One more guess, and these steps of it; the number of its signal."""
    it.send(events.Emitted(0.0, None, "go", 1))
    number = it.machine.state.records
    for name in steps:
        step(it, name)
    return number


def test_guesses_that_nobody_decides_on_are_forgotten_when_they_are_over() -> None:
    it = guessing()
    early = guess(it, "guesser", "guesser")  # what it started has not ended
    going = guess(it, "guesser")  # who made it may come back to it
    running = list(it.tasks.items())
    for _ in range(1100):
        it.tasks.clear()
        guess(it, "guesser", "guesser", "worker")
    it.tasks.update(running)
    kept = it.machine.state.provisional or {}
    assert {early, going} <= kept.keys()
    assert len(kept) < 200
    assert it.send(events.Retracted(0.0, None, early, "wrong")) == [("CancelRun", 2)]


def test_a_guess_that_asks_is_not_over() -> None:
    it = guessing(pauses="next")
    early = guess(it, "guesser", "guesser", "worker")
    it.limit = 10**6
    for _ in range(1100):
        guess(it, "guesser", "guesser", "worker")
    assert len(it.machine.state.provisional or {}) > 1100, "they all ask"
    for name in list(it.machine.state.interrupts or ())[1:]:
        it.send(events.InterruptClosed(0.0, name))
    for _ in range(1000):
        guess(it, "guesser", "guesser", "worker")
    kept = it.machine.state.provisional or {}
    assert early in kept
    assert len(kept) < 1100


def test_a_signal_that_is_due_later_is_retracted_too() -> None:
    it = guessed(
        lambda flow, chunk: (
            flow.when("work").to(chunk("worker", "same", Effect("delay", "late"))),
            flow.when("late").to(chunk("never")),
        )
    )
    step(it, "worker")
    it.send(RETRACT)
    it.go()
    assert "never" not in {run.node.name for run in it.issued}


def test_a_question_is_retracted_too() -> None:
    it = guessed(lambda flow, chunk: flow.when("work").to(chunk("asks", pauses="next")).to(chunk("never")))
    step(it, "asks")
    it.send(RETRACT)
    it.go()
    assert it.close is not None, "nobody is asked any more"
    assert "never" not in {run.node.name for run in it.issued}


def test_a_retry_is_retracted_too() -> None:
    it = guessed(lambda flow, chunk: flow.when("work").to(chunk("flaky", retries=5)))
    step(it, "flaky")
    it.send(RETRACT)
    assert it.timers == {}
    assert it.go().machine.state.result == "v"


def test_who_waits_for_a_signal_is_told_when_what_it_started_was_retracted() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("settle", "outer"))).end()
        flow.when("outer").to(chunk("guesser", "same", Effect("guess", "work"), Effect("retract")))
        flow.when("work").to(chunk("worker", on_cancel="write"), side_branch=True).to(chunk("other", concurrency=1))

    for concurrency in (None, 1):
        it = program(build, "v", concurrency=concurrency).simulate(watch=invariants.watch)
        assert it.told == list(it.waits) != []
        assert it.machine.state.result == "v"


@pytest.mark.parametrize("concurrency", [None, 1, 2])
def test_who_waits_is_told_when_the_last_thing_left_is_retracted(concurrency: int | None) -> None:
    """Also if that had not begun: it queued for a place, or for its next attempt."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("settle", "outer"))).end()
        flow.when("outer").to(chunk("guesser", "same", Effect("guess", "work")))
        flow.when("work").to(chunk("worker", concurrency=1))
        flow.when("work").to(chunk("flaky", retries=1))
        flow.when("blocker").to("worker")

    it = program(build, "v").simulation(watch=invariants.watch)
    it.send(Start("v", concurrency=concurrency).record())
    it.send(events.Emitted(0.0, None, "blocker", 1))
    step(it, "emitter")
    if concurrency == 1:
        step(it, "worker")
        it.send(events.Emitted(0.0, None, "blocker", 2))
    guess = len(it.records)
    step(it, "guesser")
    step(it, "guesser")
    if concurrency != 1:
        step(it, "flaky")
    it.send(events.Retracted(0.0, None, guess, "wrong"))
    it.go()
    assert it.told == list(it.waits)
    assert it.machine.state.result == "v"


def test_a_retracted_question_takes_no_answer() -> None:
    it = guessed(lambda flow, chunk: flow.when("work").to(chunk("asks", pauses="next")))
    step(it, "asks")
    it.send(RETRACT)
    with pytest.raises(AlreadyAnswered, match="closed without an answer"):
        it.machine.receive(events.Resumed(0.0, "asks:2", "yes", "r"))


def test_an_execution_can_be_cancelled_while_retracted_work_is_stopping() -> None:
    it = guessed(chain)
    it.send(RETRACT)
    it.send(events.CancelRequested(0.0, "enough"))
    assert it.go().machine.state.status == "cancelled"
    assert not it.tasks


def test_retracted_work_may_fail_while_it_stops() -> None:
    it = guessed(lambda flow, chunk: flow.when("work").to(chunk("worker", on_cancel="fail")))
    it.send(RETRACT)
    assert it.go().machine.state.status == "completed"


def test_a_pull_inside_is_dropped() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("guesser", "same", Effect("guess", "work"))).end()
        flow.when("work").for_each().to(chunk("never")).end_for_each()

    it = program(build).simulation(watch=invariants.watch)
    it.send(Start({1, 2}).record())
    step(it, "guesser")
    it.send(RETRACT)
    it.pulls.clear()
    assert it.go().machine.state.status == "completed"
    assert [run.node.name for run in it.issued] == ["guesser"]


def test_what_a_retracted_run_writes_in_its_clean_up_starts_nothing() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.when("work").to(chunk("worker", on_cancel="write"))
        flow.when({"runtime_data": "cleaned"}).to(chunk("heard"))
        flow.when("e1").to(chunk("heard too"))

    it = guessed(build)
    it.send(RETRACT)
    it.go()
    assert it.stream == ["clean-up"]
    assert not {"heard", "heard too"} & {run.node.name for run in it.issued}


def test_retracted_work_that_does_not_stop_is_given_up() -> None:
    """Its deadline passes as that of a cancelled execution does, and the execution goes on."""
    it = guessed(lambda flow, chunk: flow.when("work").to(chunk("worker", on_cancel="hang")), concurrency=2)
    it.send(RETRACT)
    step(it, "guesser")
    it.send(events.CleanupTimedOut(9.0))
    it.tasks = {number: task for number, task in it.tasks.items() if not task.hangs}
    assert it.go().machine.state.result == "v"
    assert it.machine.state.status == "completed"


def test_a_cut_while_retracted_work_is_stopping() -> None:
    it = guessed(lambda flow, chunk: flow.when("work").to(chunk("worker")), concurrency=2)
    it.send(RETRACT)
    loaded = restored(it.plan, snapshot(it.machine))
    for record in (events.Cancelled(0.0, 2), events.Completed(0.0, 1, "v"), events.Completed(0.0, 3, "v")):
        assert [render(command) for command in loaded.receive(record)] == it.send(record)
        assert not differences(snapshot(loaded), snapshot(it.machine))


def test_an_execution_that_is_loaded_while_retracted_work_was_stopping_goes_on_without_it() -> None:
    it = guessed(chain, concurrency=2)
    step(it, "guesser")
    it.send(RETRACT)
    other = Simulation(it.plan, it.behaviours, watch=invariants.watch, machine=restored(it.plan, snapshot(it.machine)))
    other.send(events.Recovered(1.0))
    other.go()
    assert other.machine.state.result == "v"
    assert "worker" not in {run.node.name for run in other.issued}


# -- provisional signals inside provisional signals --------------------------------------------------------------------


def nested(flow: Any, chunk: Any) -> None:
    flow.when("work").to(chunk("inner guesser", "same", Effect("guess", "deeper")))
    flow.when("deeper").to(chunk("deep", "lazy", Effect("delay", "late"))).for_each(concurrency=1).to(
        chunk("item", pauses="next")
    ).end_for_each()
    flow.when("late").to(chunk("never"))


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("decided", ["no", "confirmed", "retracted"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_signal_takes_back_what_came_of_those_inside_it(steps: int, decided: str, loaded: bool) -> None:
    """Whatever was decided on those, and after a load as well."""
    it = guessed(nested)
    step(it, "inner guesser")
    inner = len(it.records) - 1
    if decided != "no":
        it.send(
            events.Confirmed(0.0, None, inner) if decided == "confirmed" else events.Retracted(0.0, None, inner, "")
        )
    for _ in range(steps):
        actions = [name for name in names(it) if name != "guesser"]
        if actions:
            step(it, actions[-1])
        elif it.pulls:
            it.pull(next(iter(it.pulls)))
    machine = restored(it.plan, snapshot(it.machine)) if loaded else it.machine
    machine.receive(RETRACT)
    assert {run.node.name for run in machine.state.runs.values()} == {"guesser"}
    assert not machine.state.block_instances
    assert not machine.state.timers
    assert all(asked.status != "waiting" for asked in (machine.state.interrupts or {}).values())
    invariants.check(machine.state)


def test_a_guess_that_others_came_of_is_kept_as_long_as_they_are_at_work() -> None:
    it = guessing()
    early = guess(it, "guesser", "guesser")
    (worker,) = (task.run for task in it.tasks.values())
    it.send(events.Emitted(0.0, worker.id, "work", 1, provisional=True))
    step(it, "worker")
    running = list(it.tasks.items())
    for _ in range(1100):
        it.tasks.clear()
        guess(it, "guesser", "guesser", "worker")
    it.tasks.update(running)
    assert early in (it.machine.state.provisional or {})
    assert [name for name, _ in it.send(events.Retracted(0.0, None, early, "wrong"))] == ["CancelRun"]
