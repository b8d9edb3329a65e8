"""The time limit of an execution, by record: late, extended once, and with a result."""

import pytest

from triggerflow._core import commands, events
from triggerflow._core.definition import Definition, Operator, OperatorKind
from triggerflow._core.machine import Machine, compile_plan, replay
from triggerflow._core.signals import START, Trigger
from triggerflow._core.state import Status

OPERATOR = Operator(
    id="a", kind=OperatorKind.CHUNK, name="a", listens=(START,), emits=(Trigger("chunk", "a"),), handler="a"
)
PLAN = compile_plan(Definition("asks", (OPERATOR,)))


def asking(rules: int = events.RULES, *, result: bool) -> list[events.Event]:
    """An execution with the limit 10 whose only chunk asks."""
    started = events.Started(0.0, 1, execution_timeout=10.0, rules=rules)
    run = next(it for it in Machine(PLAN).receive(started) if not isinstance(it, commands.Command))
    more: list[events.Event] = [events.ResultSet(1.0, run.id, "result")] if result else []
    return [started, *more, events.Paused(1.0, run.id, "q", "text", None, expires=30.0)]


def limit_of(machine: Machine) -> int:
    return next(it.id for it in (machine.state.timers or {}).values() if it.what == "limit")


@pytest.mark.parametrize(("rules", "status"), [(3, Status.FAILED), (events.RULES, Status.COMPLETED)])
def test_a_journal_of_earlier_rules_ends_as_it_did(rules: int, status: Status) -> None:
    machine = replay(PLAN, asking(rules, result=True))
    machine.receive(events.TimerFired(10.0, limit_of(machine)))
    assert machine.state.status is status


def test_a_late_limit_moves_once_and_nothing_overtakes_it() -> None:
    journal = asking(result=False)
    machine = replay(PLAN, journal)
    late = events.TimerFired(100.0, limit_of(machine), 5.0)
    timers = [it for it in machine.receive(late) if isinstance(it, commands.StartTimer)]
    assert sorted(it.due for it in timers) == [105.0, 120.0]  # the question expired 20 s after the limit
    again = replay(PLAN, [*journal, late])
    assert {it.id: it.due for it in (again.state.timers or {}).values()} == {it.timer: it.due for it in timers}
    again.receive(events.TimerFired(200.0, limit_of(again), 5.0))
    assert (again.state.status, again.state.error) == (
        Status.FAILED,
        events.ErrorInfo("ExecutionTimedOut", "it had not ended 10 s after its start"),
    )
