"""Results from inside of provisional signals, by record: journals of earlier rules, and checks of results."""

import pytest

from triggerflow._core import commands, events
from triggerflow._core.definition import Definition, Operator, OperatorKind
from triggerflow._core.machine import compile_plan, replay
from triggerflow._core.signals import START, Trigger
from triggerflow._core.state import UNSET, Status

GO, GUESSED = Trigger("event", "go"), Trigger("chunk", "guess")
PLAN = compile_plan(
    Definition(
        "guesses",
        (
            Operator(
                id="a", kind=OperatorKind.CHUNK, name="a", listens=(START,), emits=(Trigger("chunk", "a"),), handler="a"
            ),
            Operator(id="guess", kind=OperatorKind.CHUNK, name="guess", listens=(GO,), emits=(GUESSED,), handler="a"),
            Operator(id="end", kind=OperatorKind.RESULT, name="end", listens=(GUESSED,), emits=()),
        ),
    )
)
A, FIRST, SECOND = 1, 2, 3  # the runs
DECIDED = {"confirm": events.Confirmed(0.0, A, 1), "retract": events.Retracted(0.0, A, 1, "wrong")}


def guesses(rules: int = events.RULES, *, checks: bool = False) -> list[events.Event]:
    """A chunk sends two signals, and each of them gives a result; the first one may be taken back."""
    return [
        events.Started(0.0, 0, rules=rules, checks_result=checks),
        events.Emitted(0.0, A, "go", 1, provisional=True),
        events.Emitted(0.0, A, "go", 2),
        events.Completed(0.0, FIRST, "first"),
        events.Completed(0.0, SECOND, "second"),
    ]


@pytest.mark.parametrize(("rules", "kept"), [(4, "first"), (events.RULES, "second")])
def test_a_journal_of_earlier_rules_has_the_result_that_it_had(rules: int, kept: str) -> None:
    machine = replay(PLAN, [*guesses(rules), DECIDED["retract"], events.Completed(0.0, A, None)])
    assert (machine.state.status, machine.state.result) == (Status.COMPLETED, kept)


@pytest.mark.parametrize(("decision", "kept"), [("confirm", "first"), ("retract", "second")])
def test_nothing_is_the_result_before_the_decision(decision: str, kept: str) -> None:
    machine = replay(PLAN, guesses())
    assert machine.state.result is UNSET
    machine.receive(DECIDED[decision])
    assert machine.state.result == kept


@pytest.mark.parametrize(("decision", "kept"), [("confirm", "first"), ("retract", "second"), (None, "first")])
def test_a_result_is_checked_once_when_it_counts(decision: str | None, kept: str) -> None:
    """Nothing is checked that may be taken back. The execution ends with the check."""
    machine = replay(PLAN, guesses(checks=True))
    records = [*([DECIDED[decision]] if decision else []), events.Completed(0.0, A, None)]
    out = [command for record in records for command in machine.receive(record)]
    checks = [it for it in out if isinstance(it, commands.CheckResult)]
    assert checks == [commands.CheckResult("end", kept)]
    assert machine.state.status is Status.RUNNING
    machine.receive(events.ResultChecked(0.0, kept.upper()))
    assert (machine.state.status, machine.state.result) == (Status.COMPLETED, kept.upper())


def test_a_restart_checks_the_result_that_is_left_once() -> None:
    """The restart takes back what a field has started; what is left is checked once, not twice."""
    records = guesses(checks=True)
    records[1] = events.Emitted(0.0, A, "go", 1, provisional=True, field=events.FieldPlace("q", "q", ("q",)))
    machine = replay(PLAN, records)
    checks = [it for it in machine.receive(events.Recovered(0.0)) if isinstance(it, commands.CheckResult)]
    assert checks == [commands.CheckResult("end", "second")]


def test_what_is_proposed_is_dropped_when_the_execution_fails() -> None:
    machine = replay(PLAN, [*guesses()[:4], events.Failed(0.0, A, events.ErrorInfo("E", "e"))])
    assert machine.state.proposed is None
    machine.receive(events.Cancelled(0.0, SECOND))
    assert (machine.state.status, machine.state.result) == (Status.FAILED, UNSET)
