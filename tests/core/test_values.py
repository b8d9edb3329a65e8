"""No value runs code of its own in the core: it is taken, or refused with nothing changed; and journals that began
under earlier rules are replayed by those."""

import enum
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest

from tests.core import invariants
from tests.core.flows import program
from tests.core.simulation import Simulation, differences, restored, snapshot
from tests.core.test_totality import RECORDS, SITUATIONS, runs_of
from tests.hostile import ZOO, Bang, Boom
from triggerflow import TriggerFlow
from triggerflow._core import events, values
from triggerflow._core.errors import ProtocolError, UsageError
from triggerflow._core.machine import Machine, compile_plan, replay

# -- every record, with such a value in every place --------------------------------------------------------------------

#: Ids that the driver makes itself, and options that were checked when the execution was made.
OWN = {
    *("run", "signal", "wait", "timer", "opening", "count", "at", "error", "op", "own", "items", "done"),
    *("rules", "leases", "holds", "may_wait", "expired"),
    *("attended", "concurrency", "keep_open", "max_pending", "skip_exceptions", "checks_result"),
}
#: What is taken as true or false: that alone is asked, before anything has changed.
FLAGS = ("settle", "provisional", "emit", "replace", "keeps_open", "ends_unstarted")


def variants(record: events.Event, value: Any) -> Iterator[events.Event]:
    """The record with the value in the place of each thing that a user can hand in."""
    names = record.__struct_fields__
    for name in names:
        if name not in OWN:
            yield type(record)(**{it: value if it == name else getattr(record, it) for it in names})
    if isinstance(record, events.SourceItems):
        yield events.SourceItems(record.at, record.opening, [value, value], record.done)
    if isinstance(record, events.ItemsGiven):
        yield events.ItemsGiven(record.at, record.run, [value, value], [value])


@pytest.mark.parametrize("situation", ["created", "running, one at a time", "closing"])
@pytest.mark.parametrize("kind", ZOO)
def test_no_record_asks_a_value_anything(kind: str, situation: str) -> None:
    reference = SITUATIONS[situation]()
    before, plan = snapshot(reference.machine), reference.plan
    records = [record for make in RECORDS.values() for run in runs_of(reference)[:2] for record in make(2.0, run)[::3]]
    taken = 0
    for record in {repr(record): record for record in records}.values():
        for variant in variants(record, ZOO[kind]()):
            machine = restored(plan, before)
            try:
                machine.receive(variant)
            except (UsageError, ProtocolError, Boom, Bang) as refusal:
                if type(refusal) in (Boom, Bang):
                    assert any(getattr(variant, name, None) is not getattr(record, name, None) for name in FLAGS)
                assert not differences(snapshot(machine), before)
            else:
                taken += 1
                invariants.check(machine.state)
    assert taken


def test_a_record_in_the_middle_of_another_is_refused() -> None:
    """As from a finalizer, which the interpreter may call at any moment."""
    it = program(lambda flow, chunk: flow.to(chunk("a")).end(), 1).simulation()
    refused = list[str]()

    class Late:
        def __eq__(self, other: object) -> bool:
            try:
                it.machine.receive(events.Emitted(0.0, None, "x", 1))
            except ProtocolError as error:
                refused.append(str(error))
            return False

        __hash__ = object.__hash__

    flow = TriggerFlow(name="legacy")
    flow.match().case("text").end_match().end()
    it.machine = Machine(compile_plan(flow.definition))
    it.machine.receive(events.Started(0.0, Late()))  # under the rules of an earlier version it is compared here
    assert refused == ["a Emitted came while the machine receives another record"]
    assert it.machine.state.status == "completed"


# -- what the types tell -----------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    A = "a"


@dataclass
class Point:
    x: int


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("literal", "value", "expected"),
    [
        (1, 1, True), (1, True, True), (1, 1.0, True), (1, "1", False), ("a", "a", True), ("a", b"a", False),
        (None, None, True), (None, Point(1), False), (None, 0, False), (0, None, False), (0, Point(1), None),
        (Color.RED, Color.RED, True), (Color.RED, 1, False), (1, Level.LOW, True), ("a", Word.A, True),
        ([1, [2]], [1, [2]], True), ([1], (1,), False), ({"a": 1}, {"a": 1}, True), ({1}, frozenset({1}), True),
        ([Point(1)], [Point(1)], None), ([Point(1)], [Point(1), 2], False), ([Point(1)], 5, False),
        ({"a": Point(1)}, {"a": Point(1)}, None), ({1}, {Level.LOW}, None), ([], object(), False),
        (Point(1), Point(1), None), (Point(1), 1, None), (1.5, float("nan"), False), ((), Pair(1, 2), None),
    ],
)  # fmt: skip
def test_what_equals_a_literal(literal: Any, value: Any, expected: bool | None) -> None:
    assert values.equals(literal, value) is expected
    if expected is not None and literal is not None:
        assert (literal == value) is expected


def test_what_is_nested_too_deep_is_left_to_the_driver() -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    assert values.equals([[]], deep) is None
    assert values.equals([[], []], deep) is False


def test_what_for_each_asks_for_items() -> None:
    whole: list[Any] = [
        1, None, "text", b"b", {}, OrderedDict(), UserDict(), MappingProxyType({}), object(), int, Point(1),
        *(ZOO[kind]() for kind in ("row", "never iterated", "a lying class", "dict", "str", "len", "metaclass")),
    ]  # fmt: skip
    lazy: list[Any] = [
        set(), deque(), iter([]), {}.keys(), Pair(1, 2), Color, memoryview(b"x"),
        *(ZOO[kind]() for kind in ("list", "tuple", "iter", "aiter", "getitem", "record")),
    ]  # fmt: skip
    assert [number for number, value in enumerate(whole) if values.is_lazy(value)] == []
    assert [number for number, value in enumerate(lazy) if not values.is_lazy(value)] == []


# -- rules -------------------------------------------------------------------------------------------------------------


def matching() -> Any:
    flow = TriggerFlow(name="matching")

    async def echo(data: Any) -> Any:
        return data.value

    at = flow.match().case("text").to(("text", echo)).case(Point(1)).to(("one", echo))
    at.case_else().to(("else", echo)).end_match().end()
    return compile_plan(flow.definition)


def test_a_journal_of_an_earlier_version_is_replayed_by_its_rules() -> None:
    """There a value was compared where the signal came, with no record of it; the numbers of runs stand in records."""
    records: list[events.Event] = [events.Started(0.0, Point(1)), events.Completed(0.0, 2, "done")]
    machine = replay(matching(), records)
    assert (machine.state.status, machine.state.result, machine.state.rules) == ("completed", "done", 0)


def test_a_snapshot_keeps_the_rules() -> None:
    plan = matching()
    for rules in (0, events.RULES):
        machine = Machine(plan)
        machine.receive(events.Started(0.0, "text", rules=rules))
        assert restored(plan, snapshot(machine)).state.rules == rules


def test_a_case_that_only_the_value_can_decide_is_asked_by_a_run_and_recorded() -> None:
    it = Simulation(matching(), {})
    machine = it.machine
    (first,) = machine.receive(events.Started(0.0, Point(1), rules=events.RULES))
    (second,) = machine.receive(events.Completed(0.0, first.id, False))
    (chunk,) = machine.receive(events.Completed(0.0, second.id, True))
    assert [run.node.name for run in (first, second, chunk)] == ["'text'", second.node.name, "one"]


@pytest.mark.parametrize("value", [0, 1, "", "yes", None, [], [0]])
def test_an_answer_of_a_builtin_type_is_judged_by_its_truth(value: Any) -> None:
    machine = Machine(matching())
    (first,) = machine.receive(events.Started(0.0, Point(1), rules=events.RULES))
    (then,) = machine.receive(events.Completed(0.0, first.id, value))
    assert (then.node.name == "text") is bool(value)
