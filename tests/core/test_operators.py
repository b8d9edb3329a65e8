"""What each kind of operator does with a value: blocks, cases, results, failures inside them."""

import sys
from typing import Any

import pytest

from tests.core import invariants
from tests.core.flows import Program, program
from tests.core.simulation import Effect, Simulation, Start, in_order_of
from triggerflow import TriggerFlow
from triggerflow._core import events
from triggerflow._core.definition import Definition, Operator, OperatorKind
from triggerflow._core.errors import DefinitionError
from triggerflow._core.machine import Machine, compile_plan
from triggerflow._core.signals import START, Trigger
from triggerflow._core.state import UNSET, RunChunk


def result(it: Program | Simulation, seed: int = 0) -> Any:
    simulation = it.simulate(in_order_of(seed), watch=invariants.watch) if isinstance(it, Program) else it
    assert simulation.machine.state.status == "completed"
    return simulation.machine.state.result


# -- batch -----------------------------------------------------------------------------------------------------------


def test_a_batch_gives_a_dict_in_order_of_declaration() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.batch(chunk("b", "name"), chunk("a", "none"), chunk("c")).end()

    for seed in range(5):
        assert list(result(program(build, 1), seed).items()) == [("b", "b"), ("a", None), ("c", 1)]


def test_a_batch_on_the_side_leaves_the_value_as_it_is() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("first")).batch(chunk("a", "name"), side_branch=True).end()

    assert result(program(build, 1)) == 1


def test_blocks_in_blocks_in_blocks() -> None:
    def build(flow: Any, chunk: Any) -> None:
        at = flow.for_each().match().case("list").to(chunk("three", "three")).for_each(concurrency=2)
        at = at.batch(chunk("x"), chunk("y", "pair")).end_for_each().case_else().to(chunk("else", "name")).end_match()
        at.end_for_each().end()

    for seed in range(10):
        made = result(program(build, ["list", 5], concurrency=2), seed)
        assert made == [[{"x": n, "y": ["y", n]} for n in range(3)], "else"]


# -- for_each --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ([], []),
        ((), []),
        (range(3), [0, 1, 2]),
        (("a", None, False), ["a", None, False]),
        ("text", ["text"]),
        (b"ab", [b"ab"]),
        ({"a": 1}, [{"a": 1}]),
        (None, [None]),
        (0, [0]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset(), []),
    ],
)
def test_what_for_each_takes_as_items(value: Any, items: list[Any]) -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each(concurrency=2).to(chunk("item")).end_for_each().end()

    for seed in range(3):
        assert result(program(build, value), seed) == items


def test_a_lazy_source_is_pulled_as_there_is_room() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each(concurrency=3).to(chunk("item")).end_for_each().end()

    it = program(build, set(range(50))).simulate(in_order_of(5))
    pulls = [entry for answer in it.answers for entry in answer if entry[0] == "Pull"]
    assert all(count <= 3 for _, _, count in ((name, opening, int(count)) for name, opening, count in pulls))
    assert result(it) == list(range(50))


def test_a_source_that_fails_at_once_fails_the_execution() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each().to(chunk("item")).end_for_each().end()

    it = program(build).simulation()
    it.send(Start({1, 2}).record())
    it.send(events.SourceFailed(0.0, next(iter(it.pulls)), events.ErrorInfo("OSError", "gone")))
    assert (it.machine.state.status, it.issued) == ("failed", [])


def test_a_source_that_fails_later_stops_what_runs() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each(concurrency=2).to(chunk("item", on_cancel="finish")).end_for_each().end()

    it = program(build, {1, 2, 3}).simulation()
    it.send(Start({1, 2, 3}).record())
    opening = next(iter(it.pulls))
    it.send(events.SourceItems(0.0, opening, [1], False))
    it.send(events.SourceFailed(0.0, opening, events.ErrorInfo("OSError", "gone")))
    it.pulls.clear()
    it.go()
    assert (it.machine.state.status, it.machine.state.error) == ("failed", events.ErrorInfo("OSError", "gone"))


def test_a_branch_of_an_abandoned_pass_leaves_no_collection_behind() -> None:
    """The pass has no future, its branches go on; at their end, what they have collected is over."""

    def build(flow: Any, chunk: Any) -> None:
        item = flow.for_each(concurrency=3)
        item.to(chunk("left")).collect("both", "l", mode="filled_and_update")
        item.to(chunk("right")).collect("both", "r", mode="filled_and_update").end_for_each()
        flow.when({"error": "*"}).to(chunk("told"))

    it = program(build, {1, 2, 3}).simulation()
    it.send(Start({1, 2, 3}).record())
    opening = next(iter(it.pulls))
    it.send(events.SourceItems(0.0, opening, [1, 2], False))
    it.send(events.SourceFailed(0.0, opening, events.ErrorInfo("OSError", "gone")))
    it.pulls.clear()
    it.go()
    assert not it.machine.state.joins


@pytest.mark.parametrize("body", ["empty", "literal", "else"])
def test_a_hundred_thousand_items_without_a_chunk_take_no_stack(body: str) -> None:
    flow = TriggerFlow(name="flat")
    at = flow.for_each()
    if body == "literal":
        at = at.match().case(-1).end_match()
    elif body == "else":
        at = at.match(mode="hit_all").case(-1).case_else().end_match()
    at.end_for_each().end()
    machine = Machine(compile_plan(flow.definition))
    machine.receive(events.Started(0.0, range(100_000)))
    assert len(machine.state.result) == 100_000 > sys.getrecursionlimit()
    assert not machine.state.block_instances


def test_a_hundred_thousand_queued_items_take_no_stack() -> None:
    flow = TriggerFlow(name="flat")

    async def item(data: Any) -> None: ...

    flow.for_each(concurrency=1).to(item).end_for_each().end()
    machine = Machine(compile_plan(flow.definition))
    ready = machine.receive(events.Started(0.0, range(20_000)))
    while ready:
        (run,) = (command for command in ready if isinstance(command, RunChunk))
        ready = machine.receive(events.Completed(0.0, run.id, None))
        ready = [command for command in ready if isinstance(command, RunChunk)]
    assert machine.state.result == [None] * 20_000


# -- match -----------------------------------------------------------------------------------------------------------


def cases(mode: str, otherwise: bool) -> Any:
    def build(flow: Any, chunk: Any) -> None:
        at = flow.match(mode=mode).case(1).to(chunk("one", "name")).case(chunk.condition("is true", "truthy"))
        at = at.to(chunk("true", "name")).case(None).to(chunk("nothing", "name")).case("text")
        at = at.case_else().to(chunk("other", "name")) if otherwise else at
        at.end_match().end()

    return build


@pytest.mark.parametrize(
    ("mode", "otherwise", "value", "expected"),
    [
        ("hit_first", True, 1, "one"),
        ("hit_first", True, True, "one"),
        ("hit_first", True, 2, "true"),
        ("hit_first", True, None, "nothing"),
        ("hit_first", True, "text", "true"),
        ("hit_first", True, 0, "other"),
        ("hit_first", False, 0, 0),
        ("hit_all", True, 1, ["one", "true"]),
        ("hit_all", True, "text", ["true", "text"]),
        ("hit_all", True, None, ["nothing"]),
        ("hit_all", True, 0, "other"),
        ("hit_all", False, [], []),
    ],
)
def test_cases(mode: str, otherwise: bool, value: Any, expected: Any) -> None:
    for seed in range(3):
        assert result(program(cases(mode, otherwise), value), seed) == expected


def test_a_later_condition_is_not_asked_when_the_first_fits() -> None:
    def build(flow: Any, chunk: Any) -> None:
        at = flow.match().case(chunk.condition("first", "always")).case(chunk.condition("second", "always"))
        at.end_match().end()

    it = program(build, 7).simulate()
    assert ([run.node.name for run in it.issued], result(it)) == (["first"], 7)


def test_a_value_that_cannot_be_compared_fits_no_literal() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise TypeError("not me")

        __hash__ = None  # type: ignore[assignment]

    flow = TriggerFlow(name="odd")
    flow.match().case(1).end_match().end()
    machine = Machine(compile_plan(flow.definition))
    odd = Odd()
    machine.receive(events.Started(0.0, odd))
    assert machine.state.result is odd


def test_conditions_obey_limits_and_hold_their_place_in_the_order() -> None:
    def build(flow: Any, chunk: Any) -> None:
        body = flow.for_each(concurrency=4).match().case(chunk.condition("ask", "truthy")).to(chunk("yes", "name"))
        body.case_else().to(chunk("no", "name")).end_match().end_for_each().end()

    running: list[int] = []
    it = program(build, [0, 1, 0, 2], concurrency=2)
    simulation = it.simulate(in_order_of(3), watch=lambda it: running.append(len(it.tasks)))
    assert (max(running), result(simulation)) == (2, ["no", "yes", "no", "yes"])


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, False, 0, "", []])
def test_a_falsy_result_is_a_result(value: Any) -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a")).end().to(chunk("b", "name")).end()

    assert result(program(build, value)) == value


def test_the_first_result_stands() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "same", Effect("result", "", 1), Effect("result", "", 2))).end()

    assert result(program(build, 3)) == 1


def test_a_result_from_outside_ends_an_execution_at_rest() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.when("never").to(chunk("a"))

    it = program(build).simulation()
    it.send(Start().record())
    assert it.machine.state.status == "waiting"
    it.send(events.ResultSet(0.0, None, 5))
    assert (it.machine.state.status, it.machine.state.result) == ("completed", 5)


def test_a_result_that_is_a_list_in_the_state_does_not_grow_afterwards() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "same", Effect("append", "log", 1), Effect("append", "log", 2)))
        flow.when({"runtime_data": "log"}).end()

    it = program(build).simulate()
    assert (result(it), it.machine.state.data) == ([1], {"log": [1, 2]})


# -- failures --------------------------------------------------------------------------------------------------------


def test_by_rules_2_a_skipped_branch_leaves_none_in_its_place() -> None:
    """A journal of these rules is replayed as it was written."""

    def build(flow: Any, chunk: Any) -> None:
        flow.batch(chunk("good"), chunk("bad", fails=True)).for_each().to(chunk("also bad", fails=True)).to(
            chunk("never")
        ).end_for_each().end()

    it = program(build, 1, skip_exceptions=True, rules=2).simulate(watch=invariants.watch)
    assert result(it) == [None]
    batch = next(run for run in it.issued if run.node.name == "also bad")
    assert batch.value == {"good": 1, "bad": None}
    assert [error.chunk for error in it.machine.state.skipped or []] == ["bad", "also bad"]


@pytest.mark.parametrize(("rules", "expected"), [(2, "no"), (events.RULES, UNSET)])
def test_a_skipped_condition_is_neither_true_nor_false(rules: int, expected: Any) -> None:
    """By rules 2 it counted as false."""

    def build(flow: Any, chunk: Any) -> None:
        at = flow.match().case(chunk.condition("ask", "always", fails=True)).to(chunk("yes", "name"))
        at.case_else().to(chunk("no", "name")).end_match().end()

    assert result(program(build, 1, skip_exceptions=True, rules=rules)) == expected


def test_a_skipped_side_branch_is_nobodys_loss() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each().side_branch(chunk("aside", fails=True)).to(chunk("main")).end_for_each().end()

    for seed in range(5):
        assert result(program(build, [1, 2], skip_exceptions=True), seed) == [1, 2]


@pytest.mark.parametrize(("rules", "expected"), [(2, [[None] * 3] * 2), (events.RULES, [[], []])])
def test_a_failure_inside_an_inner_block_ends_only_the_inner_branch(rules: int, expected: Any) -> None:
    def build(flow: Any, chunk: Any) -> None:
        at = flow.for_each().to(chunk("spread", "three")).for_each().to(chunk("bad", fails=True)).end_for_each()
        at.end_for_each().end()

    assert result(program(build, ["a", "b"], skip_exceptions=True, rules=rules)) == expected


def test_an_error_route_is_given_what_happened() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("bad", fails=True)).end()
        flow.when({"error": "bad"}).to(chunk("handler")).end()

    told = {"chunk": "bad", "type": "Broken", "message": "no", "value": 5}
    assert result(program(build, 5)) == told


def test_the_route_of_a_chunk_goes_before_the_route_of_all() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("bad", fails=True))
        flow.to(chunk("worse", fails=True))
        flow.when({"error": "bad"}).to(chunk("mine"))
        flow.when({"error": "*"}).to(chunk("anyone's"))

    it = program(build, 5).simulate()
    assert sorted(run.node.name for run in it.issued) == ["anyone's", "bad", "mine", "worse"]


def test_a_failure_stops_the_siblings_and_lets_them_clean_up() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("writes", on_cancel="write"))
        flow.to(chunk("finishes", on_cancel="finish")).to(chunk("never"))
        flow.to(chunk("fails too", on_cancel="fail"))
        flow.to(chunk("bad", fails=True))

    it = program(build).simulate(lambda count: count - 1)
    assert it.machine.state.error == events.ErrorInfo("Broken", "no", "bad")
    assert (it.stream, it.machine.state.data) == (["clean-up"], {"cleaned": 1})
    assert "never" not in {run.node.name for run in it.issued}


# -- timers and interrupts -------------------------------------------------------------------------------------------


def test_a_deadline_does_not_hold_up_an_execution_that_has_its_result() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a")).end()
        flow.when({"timer": 60}).to(chunk("late"))

    it = program(build, 1).simulate()
    assert [run.node.name for run in it.issued] == ["a"]
    assert [entry[0] for entry in it.answers[-1]] == ["CancelTimer", "Close"]


def test_a_deadline_wakes_an_execution_that_has_none() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a"))
        flow.when({"timer": 60}).to(chunk("late", "name")).end()

    assert result(program(build, 1)) == "late"


def test_a_delayed_signal_that_fills_half_a_join_ends_the_execution_once() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a", "same", Effect("delay", "left")))
        flow.when(["left", "right"]).to(chunk("never"))

    it = program(build, attended=False).simulate()
    assert [entry[0] for answer in it.answers for entry in answer].count("Close") == 1


@pytest.mark.parametrize(("target", "expected"), [("next", ["after"]), ("self", ["asks", "after"]), ("e9", ["heard"])])
def test_an_answer_goes_where_the_question_said(target: str, expected: list[str]) -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.for_each().to(chunk("asks", pauses=target)).to(chunk("after")).end_for_each().end()
        flow.when("e9").to(chunk("heard"))

    it = program(build, ["q"], attended=False).simulate(watch=invariants.watch)
    assert [run.node.name for run in it.issued[1:]] == expected
    assert {run.value for run in it.issued[1:]} == {"answer"}


def test_a_question_that_expires_fails_its_chunk() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("asks", pauses="expires"))
        flow.when({"error": "asks"}).to(chunk("handler")).end()

    made = result(program(build, 1))
    assert (made["type"], made["chunk"]) == ("InterruptExpired", "asks")


def test_the_question_of_a_sub_flow_is_answered_while_its_chunk_goes_on() -> None:
    def build(flow: Any, chunk: Any) -> None:
        flow.to(chunk("child")).end()

    it = program(build).simulation(watch=invariants.watch)
    it.send(Start().record())
    it.send(events.Paused(0.0, 1, "inner", holds=True, expires=5.0))
    it.send(events.Paused(0.0, 1, "other", holds=True, expires=5.0))
    it.interrupts.clear()
    assert it.send(events.Resumed(0.0, "inner", "yes"))[-1] == ("Answer", "inner")
    it.send(events.InterruptClosed(5.0, "other", expired=True))
    assert it.machine.state.interrupts is not None
    assert {name: asked.status for name, asked in it.machine.state.interrupts.items()} == {
        "inner": "resumed",
        "other": "expired",
    }
    assert result(it.go()) is None


# -- definitions -----------------------------------------------------------------------------------------------------


def operator(id: str, kind: OperatorKind, **details: Any) -> Operator:
    return Operator(id=id, kind=kind, name=id, listens=(START,), emits=(Trigger("operator", id),), **details)


def test_two_operators_with_one_id_are_refused() -> None:
    twice = (operator("a", OperatorKind.RESULT), operator("a", OperatorKind.RESULT))
    with pytest.raises(DefinitionError, match="same id"):
        compile_plan(Definition("d", twice))


@pytest.mark.parametrize(("kind", "call"), [("for_each_split", "end_for_each"), ("match_route", "end_match")])
def test_a_block_that_is_never_closed_is_refused(kind: str, call: str) -> None:
    with pytest.raises(DefinitionError, match=rf"'open'.*\.{call}\(\)"):
        compile_plan(Definition("d", (operator("open", OperatorKind(kind)),)))


def test_a_fingerprint_tells_definitions_apart_and_nothing_else() -> None:
    one, other = operator("a", OperatorKind.RESULT), operator("a", OperatorKind.GATE, options={"mode": "and"})
    assert one.fingerprint == operator("a", OperatorKind.RESULT).fingerprint != other.fingerprint
    assert Definition("x", (one,)).fingerprint == Definition("y", (one,)).fingerprint
    assert Definition("x", (one,)).fingerprint != Definition("x", (other,)).fingerprint
    assert Definition("x", (one,)).by_id == {"a": one}
