"""Settling: who is told, when, and once; chains of emitters; what a loop of emits keeps."""

from typing import Any

import pytest

from tests.core import invariants
from tests.core.flows import program
from tests.core.simulation import Effect, Simulation, Start, in_order_of
from triggerflow._core import events


def names(it: Simulation) -> list[str]:
    return [task.run.node.name for task in it.tasks.values()]


def step(it: Simulation, chunk: str) -> None:
    it.advance(next(task for task in it.tasks.values() if task.run.node.name == chunk))


def test_settling_waits_for_what_the_signal_caused_and_what_that_caused() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("settle", "one")))
        flow.when("one").to(chunk("first", "same", Effect("emit", "two"))).to(chunk("next"))
        flow.when("two").to(chunk("second", "same", Effect("emit", "three")))
        flow.when("three").batch(chunk("x"), chunk("y"))
        flow.to(chunk("unrelated"))

    it = program(build).simulation(watch=invariants.watch)
    it.send(Start().record())
    step(it, "emitter")
    for chunk in ("first", "second", "second", "first", "x", "next", "y"):
        assert it.told == []
        step(it, chunk)
    assert it.told == [1]
    assert names(it) == ["emitter", "unrelated"]


def test_what_was_emitted_without_settling_is_not_waited_for() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("emit", "slow"), Effect("settle", "fast")))
        flow.when("slow").to(chunk("slow one"))
        flow.when("fast").to(chunk("fast one"))

    it = program(build).simulation(watch=invariants.watch)
    it.send(Start().record())
    for chunk in ("emitter", "emitter", "fast one"):
        step(it, chunk)
    assert it.told == [2]


@pytest.mark.parametrize("name", ["nothing listens", "half a join"])
def test_a_signal_that_starts_nothing_is_settled_at_once(name: str) -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("settle", name))).end()
        flow.when(["half a join", "the other half"]).to(chunk("joined"))

    it = program(build, 1, attended=False).simulate(watch=invariants.watch)
    assert (it.waits, it.machine.state.result) == ({}, 1)


def test_the_outside_can_wait_too() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("asks", pauses="next"))
        flow.when("work").to(chunk("worker", "same", Effect("emit", "more")))
        flow.when("more").to(chunk("second"))

    it = program(build, outside=(Effect("settle", "work"),)).simulate(in_order_of(2), watch=invariants.watch)
    assert it.told == list(it.waits) != []


@pytest.mark.parametrize("ending", ["fails", "cancelled"])
def test_the_end_of_an_execution_tells_all_who_wait(ending: str) -> None:
    """A waiter outside is told by `WakeWaiter` or by `Close`; none is told twice."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("asks", pauses="next"))
        flow.when("work").to(chunk("worker", fails=True)).to(chunk("second"))

    it = program(build).simulation()
    it.send(Start(concurrency=1).record())
    step(it, "asks")
    for _ in range(3):
        it.send(events.Emitted(0.0, None, "work", 1, settle=True))
    if ending == "cancelled":
        it.send(events.CancelRequested(0.0, "enough"))
    it.go()
    assert it.close is not None
    assert it.close.outcome == ("failed" if ending == "fails" else "cancelled")
    assert len(set(it.told)) == len(it.told)
    assert set(it.told) <= set(it.waits)


def test_retries_pauses_and_errors_count_for_the_signal_that_caused_them() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter", "same", Effect("settle", "work")))
        flow.when("work").to(chunk("flaky", retries=2, fails=True))
        flow.when({"error": "flaky"}).to(chunk("handler")).to(chunk("after"))

    it = program(build).simulation(watch=invariants.watch)
    it.send(Start().record())
    order: list[str] = []
    while it.close is None:
        order += [task.run.node.name for task in it.tasks.values() if task.wait is None]
        it.actions()[0]()
        if it.told:
            break
    assert order[-1] == "after"
    assert it.told == [1]


def test_a_loop_of_emits_does_not_grow() -> None:
    """Each turn's emitter ends before the next begins: nothing of the turns before may be kept."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("begin", "same", Effect("emit", "turn")))
        flow.when("turn").to(chunk("turn", "same", Effect("emit", "turn")))

    it = program(build).simulation(limit=10_000)
    it.send(Start().record())
    depths: list[int] = []
    for turn in range(600):
        task = next(iter(it.tasks.values()))
        it.advance(task)
        if turn % 100 == 99:
            depth, group = 0, next(iter(it.machine.state.runs.values())).group
            while group is not None:
                depth, group = depth + 1, group.parent
            depths.append(depth)
            assert len(it.machine.state.runs) <= 2
    assert max(depths) == depths[0] <= 2


def test_a_wait_spans_emitters_that_have_ended() -> None:
    """`a` waits for `b`, which emits and ends; so does what it caused; the last of them is still waited for."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "same", Effect("settle", "b")))
        for name, following in ("bc", "cd", "de"):
            flow.when(name).to(chunk(name, "same", Effect("emit", following)))
        flow.when("e").to(chunk("e"))

    # Each emits before the one that caused it ends, and ends after it or before it.
    for order in ("bcdbcdee", "bcdcbdee", "bcdedcbe", "bcddccbbe", "bcbcddee"):
        it = program(build).simulation(watch=invariants.watch)
        it.send(Start().record())
        step(it, "a")
        for chunk in order:
            if chunk in names(it):
                assert it.told == [], order
                step(it, chunk)
        while it.tasks.keys() - {1}:
            assert it.told == [], order
            it.advance(next(task for number, task in it.tasks.items() if number != 1))
        assert it.told == [1], order


def test_an_error_route_does_not_catch_its_own_failure() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("broken", fails=True))
        flow.when({"error": "*"}).to(chunk("handler", "same", Effect("settle", "deeper"), fails=True))
        flow.when("deeper").to(chunk("deeper"))

    it = program(build).simulate(watch=invariants.watch)
    assert it.machine.state.status == "failed"
    assert [run.node.name for run in it.issued] == ["broken", "handler", "deeper"]


def test_a_wait_that_was_given_up_ends_with_the_place_and_not_with_what_it_waited_for() -> None:
    """Whoever leaves its wait goes on once it has its place again: the signal settling meanwhile gives it none."""

    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter"))
        flow.to(chunk("other"))
        flow.when("work").for_each().to(chunk("item")).end_for_each()

    it = program(build).simulation(watch=invariants.watch)
    it.send(Start(concurrency=1).record())
    (emitter,) = it.tasks
    it.send(events.Emitted(0.0, emitter, "work", {1}, settle=True))
    it.send(events.WaitGivenUp(0.0, 1))
    (opening,) = it.pulls
    it.send(events.SourceItems(0.0, opening, [], True))
    assert it.told == []
    step(it, "other")
    assert it.told == [1]


def test_an_emitter_that_gives_up_its_waits_leaves_nothing_behind() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("emitter"))
        flow.when("work").to(chunk("worker"))

    it = program(build).simulation(watch=invariants.watch, limit=10_000)
    it.send(Start(max_pending=1).record())
    (emitter,) = it.tasks
    it.send(events.Emitted(0.0, emitter, "work", 0))
    for _ in range(100):
        number = len(it.records)
        it.send(events.Emitted(0.0, emitter, "work", 1))
        it.send(events.WaitGivenUp(0.0, number))
    group = it.machine.state.runs[emitter].spawned
    assert group is not None
    assert not group.waits
    assert not it.machine.state.waits
