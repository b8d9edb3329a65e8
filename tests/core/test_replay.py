"""Law 2, replay: the records alone give the execution again, in state and in commands."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.core.flows import Program, programs
from tests.core.simulation import TYPES, differences, in_order_of, render, snapshot
from triggerflow import TriggerFlow
from triggerflow._core import events
from triggerflow._core.machine import Machine, replay


def answers_to(machine: Machine, records: list[events.Event]) -> list[list[tuple[Any, ...]]]:
    return [[render(command) for command in machine.receive(record)] for record in records]


def through_json(event: events.Event) -> events.Event:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    text = msgspec.json.encode(TYPES.pack(fields, "a record"))
    return type(event)(**TYPES.unpack(msgspec.json.decode(text)))


@given(programs(), st.integers(0, 1000))
def test_the_records_give_the_same_commands_and_the_same_state(program: Program, seed: int) -> None:
    for live in program.simulate(in_order_of(seed)).all():
        machine = Machine(live.plan)
        assert answers_to(machine, live.records) == live.answers
        assert not differences(snapshot(machine), snapshot(live.machine))


@given(programs(), st.integers(0, 1000))
def test_so_do_records_that_were_written_as_json(program: Program, seed: int) -> None:
    for live in program.simulate(in_order_of(seed)).all():
        machine = Machine(live.plan)
        assert answers_to(machine, [through_json(record) for record in live.records]) == live.answers
        assert not differences(snapshot(machine), snapshot(live.machine))


@given(programs(), st.integers(0, 1000))
def test_the_same_choices_give_the_same_records(program: Program, seed: int) -> None:
    first, second = (program.simulate(in_order_of(seed)) for _ in range(2))
    assert (first.records, first.answers) == (second.records, second.answers)


def test_replay_takes_a_definition_or_its_plan() -> None:
    records: list[events.Event] = [events.Started(0.0, 1)]
    by_definition = replay(TriggerFlow(name="empty").definition, records)
    assert by_definition.state.status == "completed"
    assert snapshot(replay(by_definition.plan, records)) == snapshot(by_definition)
