"""`Machine.retry`, the entry for a `Retried` record: when it is refused, and what it moves."""

from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow._core import events
from triggerflow._core.digests import LIMIT, UNLIKE
from triggerflow._core.errors import ProtocolError
from triggerflow._core.events import RULES, STREAM
from triggerflow._core.machine import Machine, replay
from triggerflow._core.operators import TRANSITIONS
from triggerflow._core.plan import Plan


def definition() -> Any:
    flow = TriggerFlow("f")
    flow.to(("work", lambda data: None)).end()
    return flow.definition


def started(*more: events.Event) -> list[events.Event]:
    return [events.Started(1.0, 0, rules=RULES), *more]


def begun(*more: events.Event) -> Machine:
    return replay(definition(), started(*more))


def run_of(machine: Machine) -> int:
    return next(iter(machine.state.runs.values())).id


def failed() -> Machine:
    return begun(events.Failed(2.0, run_of(begun()), events.ErrorInfo("KeyError", "no")))


def test_a_retry_in_the_middle_of_a_record_is_refused() -> None:
    refused: list[str] = []

    def hooked(machine: Machine, *rest: Any) -> None:
        with pytest.raises(ProtocolError) as error:
            machine.retry(events.Retried(3.0, 1), machine.state)
        refused.append(str(error.value))
        transition(machine, *rest)

    made = definition()
    kind = made.operators[0].kind
    transition: Any = TRANSITIONS[kind]
    machine = Machine(Plan(made, {**TRANSITIONS, kind: hooked}))
    commands = [command for record in started() for command in machine.receive(record)]
    assert refused == ["a Retried came while the machine receives another record"]
    assert commands  # the record that was being received is received as a whole


@pytest.mark.parametrize(
    ("now", "before", "record", "text"),
    [
        (begun, begun, 1, "is running after record 1"),
        (failed, failed, 2, "is closing \\(failed\\)"),
        (failed, begun, 0, "record 0 did not end the execution: it has 2 records"),
        (failed, begun, 2, "record 2 did not end the execution"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(now: Any, before: Any, record: int, text: str) -> None:
    machine = now()
    state, records = machine.state, machine.state.records
    with pytest.raises(ProtocolError, match=text):
        machine.retry(events.Retried(3.0, record), before().state)
    assert machine.state is state
    assert machine.state.records == records


def test_receive_says_where_a_retried_record_belongs() -> None:
    with pytest.raises(ProtocolError, match=r"Machine\.retry\(record, before\)"):
        failed().receive(events.Retried(3.0, 1))


def test_a_replay_of_a_retry_that_names_a_later_record_is_refused() -> None:
    records = started(events.Failed(2.0, run_of(begun()), events.ErrorInfo("KeyError", "no")), events.Retried(3.0, 5))
    with pytest.raises(ProtocolError, match="record 5 did not end"):
        replay(definition(), records)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_digest_out_of_range_counts_as_unlike_and_not_as_unknown(is_first: bool) -> None:
    machine = begun()
    run = run_of(machine)
    item = events.StreamPut(2.0, run, "a", digest=LIMIT)
    if is_first:
        machine.receive(item)
    else:
        machine.receive_item(item)
    digests = machine.state.runs[run].digests
    assert digests is not None
    assert list(digests[STREAM]) == [UNLIKE]
