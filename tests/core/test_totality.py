"""Law 1, totality: in every status every record is legal, or raises and changes nothing.

`RECORDS` has one row per class of record; a class without a row fails `test_every_class_of_record_has_a_row`.
"""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from tests.core import invariants
from tests.core.flows import program
from tests.core.simulation import Effect, Simulation, Start, differences, in_order_of, restored, snapshot
from triggerflow._core import events
from triggerflow._core.errors import ExecutionClosed, ProtocolError, UsageError
from triggerflow._core.machine import FINAL
from triggerflow._core.state import Phase

ERROR = events.ErrorInfo("Broken", "no", "somewhere")
UNKNOWN = 999

#: A signal: settling, delayed, provisional.
WAYS = ((False, None, False), (True, None, False), (False, 1.0, False), (True, None, True))

#: For each class of record, the ones to try; `run` is the number of a run, `at` some time.
RECORDS: dict[type[events.Event], Callable[[float, int], list[events.Event]]] = {
    events.Created: lambda at, run: [events.Created(at), events.Created(at, concurrency=1)],
    events.Started: lambda at, run: [
        events.Started(at, 1),
        events.Started(at, 1, concurrency=1),
        events.Started(at, 1, execution_timeout=9.0, delay=1.0),
    ],
    events.Completed: lambda at, run: [events.Completed(at, run, "value")],
    events.Failed: lambda at, run: [events.Failed(at, run, ERROR), events.Failed(at, run, ERROR, retry_in=1.0)],
    events.Cancelled: lambda at, run: [events.Cancelled(at, run)],
    events.Emitted: lambda at, run: (
        [
            events.Emitted(at, by, name, 1, settle, delay, provisional)
            for by in (run, None)
            for name in ("work", "unheard")
            for settle, delay, provisional in (
                (False, None, False),
                (True, None, False),
                (False, 1.0, False),
                (True, None, True),
            )
        ]
        + [
            events.Emitted(at, by, "work", 1, False, 1.0, provisional, label="late", keeps_open=keeps_open)
            for by in (run, None)
            for provisional in (False, True)
            for keeps_open in (False, True)
        ]
    ),
    events.SignalsCancelled: lambda at, run: [
        events.SignalsCancelled(at, by, name) for by in (run, None) for name in ("work", "late", "unheard")
    ],
    events.AwaitedAgain: lambda at, run: [events.AwaitedAgain(at, run, number) for number in range(20)],
    events.Confirmed: lambda at, run: [events.Confirmed(at, by, number) for by in (run, None) for number in range(20)],
    events.Retracted: lambda at, run: [
        events.Retracted(at, by, number, "") for by in (run, None) for number in range(20)
    ],
    events.InterruptClosed: lambda at, run: [events.InterruptClosed(at, name) for name in ("q", "ask", "unknown")],
    events.WaitGivenUp: lambda at, run: [events.WaitGivenUp(at, wait) for wait in (*range(12), UNKNOWN)],
    events.ExternalWaitStarted: lambda at, run: [events.ExternalWaitStarted(at, run)],
    events.ExternalWaitEnded: lambda at, run: [events.ExternalWaitEnded(at, number) for number in range(40)],
    events.StateChanged: lambda at, run: [
        events.StateChanged(at, by, op, key, 1, emit)
        for by in (run, None)
        for op in ("set", "append", "delete")
        for key in ("heard", "number", "list")
        for emit in (True, False)
    ],
    events.FlowDataChanged: lambda at, run: [
        events.FlowDataChanged(at, by, key, 1) for by in (run, None) for key in ("shared", "unheard")
    ],
    events.StreamPut: lambda at, run: [events.StreamPut(at, by, "item") for by in (run, None)],
    events.StreamStopped: lambda at, run: [events.StreamStopped(at, by) for by in (run, None)],
    events.ItemsStopped: lambda at, run: [events.ItemsStopped(at, run)],
    events.ResultSet: lambda at, run: [events.ResultSet(at, by, 1) for by in (run, None)],
    events.ResultChecked: lambda at, run: [events.ResultChecked(at, 1)],
    events.ResultRejected: lambda at, run: [events.ResultRejected(at, ERROR)],
    events.Paused: lambda at, run: [
        events.Paused(at, run, "new"),
        events.Paused(at, run, "new", holds=True, expires=at + 1),
        events.Paused(at, run, "open"),
        events.Paused(at, run, "answered", resume_event="work"),
    ],
    events.Resumed: lambda at, run: [
        events.Resumed(at, name, 1, request)
        for name in ("open", "answered", "expired", "nowhere")
        for request in (None, "r", "other")
    ],
    events.TimerFired: lambda at, run: [
        events.TimerFired(at, number, grace) for number in range(40) for grace in (None, 1.0)
    ],
    events.SourceItems: lambda at, run: [
        events.SourceItems(at, number, items, done)
        for number in range(40)
        for items, done in (([1], False), ([], True))
    ],
    events.ItemsGiven: lambda at, run: [events.ItemsGiven(at, run, items) for items in ([1], [])],
    events.SourceFailed: lambda at, run: [events.SourceFailed(at, number, ERROR) for number in range(40)],
    events.PermitsRequested: lambda at, run: [events.PermitsRequested(at, run, count) for count in (1, 3)],
    events.PermitsReturned: lambda at, run: [events.PermitsReturned(at, run, count) for count in (1, 3)],
    events.PermitsGranted: lambda at, run: [events.PermitsGranted(at, count) for count in (1, 3)],
    events.Recovered: lambda at, run: [events.Recovered(at), events.Recovered(at, lost=True)],
    events.Retried: lambda at, run: [events.Retried(at, 1)],
    events.Suspended: lambda at, run: [events.Suspended(at)],
    events.Isolated: lambda at, run: [
        events.Isolated(at, run if opening is None else None, opening) for opening in (None, *range(40))
    ],
    events.CancelRequested: lambda at, run: [events.CancelRequested(at, "enough")],
    events.CleanupTimedOut: lambda at, run: [events.CleanupTimedOut(at)],
    events.CloseRequested: lambda at, run: [events.CloseRequested(at), events.CloseRequested(at, ends_unstarted=True)],
}


def build(flow: Any, chunk: Any) -> None:
    """A flow that has a run in every phase, an open block, interrupts, timers and a pull."""
    flow.to(chunk("source", "lazy")).for_each(concurrency=2).to(chunk("item", concurrency=1)).end_for_each().end()
    flow.to(chunk("waits", "same", Effect("settle", "work")))
    flow.to(chunk("fails", retries=9))
    flow.to(chunk("asks", pauses="next")).to(chunk("answered"))
    flow.when("work").to(chunk("worker")).to(chunk("second"))
    flow.when({"runtime_data": ["heard", "list"]}, mode="or").to(chunk("reader"))
    flow.when({"flow_data": "shared"}).to(chunk("shared"))
    flow.when({"timer": 60}).to(chunk("late"))


def situation(prepare: Callable[[Simulation], Any], **options: Any) -> Simulation:
    simulation = program(build, outside=()).simulation()
    simulation.send(Start(**options).record()) if options.pop("start", True) else None
    prepare(simulation)
    return simulation


def finish(it: Simulation, name: str, value: Any = None) -> None:
    """Complete the run of a chunk."""
    run = next(task.run for task in it.tasks.values() if task.run.node.name == name)
    del it.tasks[run.id]
    it.send(events.Completed(it.clock, run.id, {1, 2, 3} if name == "source" else value))


def write(it: Simulation, name: str) -> None:
    """Let a chunk write its next record."""
    it.advance(next(task for task in it.tasks.values() if task.run.node.name == name))


def middle(it: Simulation) -> None:
    """In the middle of everything."""
    it.send(events.StateChanged(0.0, None, "set", "number", 5))
    it.send(events.StateChanged(0.0, None, "append", "list", 5, emit=False))
    finish(it, "source")
    it.pull(next(iter(it.pulls)))
    write(it, "waits")
    write(it, "fails")
    it.send(events.Emitted(0.0, next(iter(it.tasks)), "work", "a guess", provisional=True))
    run = next(task.run.id for task in it.tasks.values() if task.run.node.name == "asks")
    del it.tasks[run]
    it.send(events.Paused(0.0, run, "open"))
    it.send(events.Emitted(0.0, None, "work", 1))
    it.send(events.Paused(0.0, max(it.tasks), "answered"))
    del it.tasks[max(it.tasks)]
    it.send(events.Resumed(0.0, "answered", "yes", "r"))
    it.send(events.Paused(0.0, next(iter(it.tasks)), "expired", holds=True, expires=0.0))
    it.send(events.InterruptClosed(0.0, "expired", expired=True))


def closing(it: Simulation) -> None:
    middle(it)
    it.send(events.CancelRequested(0.0, "enough"))


def resting(it: Simulation) -> None:
    """At rest, waiting for the outside."""
    while it.machine.state.status != "waiting":
        it.actions()[0]()


def ended(it: Simulation) -> None:
    it.interrupts.clear()
    it.go()


SITUATIONS: dict[str, Callable[[], Simulation]] = {
    "created": lambda: program(build).simulation(),
    "created, woken": lambda: early(),
    "started": lambda: situation(lambda it: None),
    "running": lambda: situation(middle),
    "running, one at a time": lambda: situation(middle, concurrency=1),
    "running, skipping": lambda: situation(middle, skip_exceptions=True),
    "closing": lambda: situation(closing),
    "waiting": lambda: situation(resting),
    "running, checking its result": lambda: checking(),
    "completed": lambda: program(build).simulate(),
    "failed": lambda: situation(failed),
    "cancelled": lambda: situation(cancelled),
}


def checking() -> Simulation:
    """A result has reached the end of the flow, and it is not known yet whether it fits the contract."""
    simulation = program(build, outside=()).simulation()
    record = Start().record()
    record.checks_result = True
    simulation.send(record)
    finish(simulation, "source")
    while simulation.machine.state.unchecked is None:
        simulation.actions()[0]()
    return simulation


def early() -> Simulation:
    simulation = program(build).simulation()
    simulation.send(events.Emitted(0.0, None, "work", 1))
    return simulation


def failed(it: Simulation) -> None:
    middle(it)
    run = next(iter(it.tasks))
    del it.tasks[run]
    it.send(events.Failed(0.0, run, ERROR))
    it.go()


def cancelled(it: Simulation) -> None:
    closing(it)
    it.go()


def runs_of(it: Simulation) -> list[int]:
    """A run in each phase, one that has ended, and one that never was."""
    phases = {run.phase: number for number, run in it.machine.state.runs.items()}
    gone = [run.id for run in it.issued if run.id not in it.machine.state.runs]
    return [*phases.values(), *gone[:1], UNKNOWN]


def test_every_class_of_record_has_a_row() -> None:
    assert set(RECORDS) == set(get_args(events.Record))


def test_the_situations_cover_every_status_and_phase() -> None:
    machines = {name: make().machine.state for name, make in SITUATIONS.items()}
    for name, state in machines.items():
        assert name.startswith(state.status.value) or name in ("started", "closing")
    assert (machines["closing"].closing, machines["waiting"].closing) == ("cancelled", None)
    assert {run.phase for run in machines["running, one at a time"].runs.values()} == set(Phase)


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_record_is_legal_or_changes_nothing(name: str, kind: type[events.Event]) -> None:
    reference = SITUATIONS[name]()
    before, plan = snapshot(reference.machine), reference.plan
    tried = {repr(record): record for run in runs_of(reference) for record in RECORDS[kind](2.0, run)}
    for record in tried.values():
        machine = restored(plan, before)
        try:
            machine.receive(record)
        except UsageError:
            assert not differences(snapshot(machine), before), record
        except ProtocolError:
            assert not differences(snapshot(machine), before), record
        else:
            invariants.check(machine.state)
            after = snapshot(machine)
            assert not differences(snapshot(restored(plan, after)), after), record


@pytest.mark.parametrize("name", ["completed", "failed", "cancelled"])
def test_what_has_ended_takes_no_record(name: str) -> None:
    simulation = SITUATIONS[name]()
    assert simulation.machine.state.status in FINAL
    for make in RECORDS.values():
        for run in runs_of(simulation):
            for record in make(2.0, run):
                with pytest.raises((ExecutionClosed, ProtocolError)):
                    simulation.machine.receive(record)


ENDINGS: list[Callable[[int], events.Event]] = [
    lambda run: events.Completed(0.0, run, 1),
    lambda run: events.Failed(0.0, run, ERROR),
    lambda run: events.Failed(0.0, run, ERROR, retry_in=1.0),
    lambda run: events.Paused(0.0, run, "new"),
    lambda run: events.Paused(0.0, run, "new", holds=True),
    lambda run: events.ExternalWaitStarted(0.0, run),
]


@pytest.mark.parametrize("make", ENDINGS)
@pytest.mark.parametrize("phase", [Phase.READY, Phase.BACKOFF, "ended", "unknown"])
def test_a_run_that_is_not_going_on_cannot_end(phase: Any, make: Callable[[int], events.Event]) -> None:
    """A run that waits for a place or for its next attempt has not begun: a driver that reports its end is wrong."""
    simulation = SITUATIONS["running, one at a time"]()
    runs = simulation.machine.state.runs
    numbers = {run.phase: number for number, run in runs.items()}
    number = {"ended": simulation.issued[0].id, "unknown": UNKNOWN}.get(phase) or numbers[phase]
    before = snapshot(simulation.machine)
    with pytest.raises(ProtocolError, match=str(number)):
        simulation.machine.receive(make(number))
    assert not differences(snapshot(simulation.machine), before)


def test_a_run_that_nobody_cancelled_cannot_be_cancelled() -> None:
    simulation = SITUATIONS["running"]()
    with pytest.raises(ProtocolError, match="no cancellation was requested"):
        simulation.machine.receive(events.Cancelled(0.0, next(iter(simulation.machine.state.runs))))


def test_an_execution_that_was_cancelled_before_its_start_is_over() -> None:
    simulation = SITUATIONS["created"]()
    simulation.send(events.CancelRequested(0.0, "never mind"))
    assert simulation.machine.state.status == "cancelled"
    with pytest.raises(ExecutionClosed):
        simulation.send(Start().record())


def test_nothing_starts_in_an_execution_that_is_closing() -> None:
    """Not by its start either, where a signal and a cancellation came before it."""
    for name in ("created, woken", "running"):
        simulation = SITUATIONS[name]()
        simulation.send(events.CancelRequested(0.0, "enough"))
        known = set(simulation.machine.state.runs)
        for make in RECORDS.values():
            for record in make(2.0, UNKNOWN):
                machine = restored(simulation.plan, snapshot(simulation.machine))
                try:
                    answer = machine.receive(record)
                except (UsageError, ProtocolError):
                    continue
                begun = [command for command in answer if type(command).__name__ in ("RunChunk", "StartTimer", "Pull")]
                assert not begun, record
                assert set(machine.state.runs) <= known, record


def prepared(**options: Any) -> Simulation:
    """Created with options, then reached by a signal, then started with others, which come too late."""

    def build_open(flow: Any, chunk: Any) -> None:
        flow.to(chunk("a"))
        flow.when("work").to(chunk("b"))

    simulation = program(build_open).simulation()
    simulation.send(events.Created(0.0, **options))
    simulation.send(events.Emitted(0.0, None, "work", 1))
    return simulation


def test_a_limit_binds_what_a_signal_began_before_the_start() -> None:
    simulation = prepared(concurrency=1)
    simulation.send(Start(concurrency=9).record())
    assert len(simulation.tasks) == 1


def test_a_close_request_before_the_start_is_not_forgotten() -> None:
    simulation = prepared()
    simulation.send(events.CloseRequested(0.0))
    simulation.send(Start(attended=True).record())
    while simulation.tasks:
        simulation.actions()[0]()
    assert simulation.close is not None


def test_options_come_first_or_not_at_all() -> None:
    with pytest.raises(ProtocolError, match="must be the first record"):
        prepared().machine.receive(events.Created(0.0))


def test_an_abandoned_run_can_report_nothing_any_more() -> None:
    def build_stubborn(flow: Any, chunk: Any) -> None:
        flow.to(chunk("hangs", on_cancel="hang"))

    simulation = program(build_stubborn).simulation(in_order_of(0))
    simulation.send(Start().record())
    simulation.send(events.CancelRequested(0.0, "enough"))
    simulation.go()
    assert simulation.records[-1] == events.CleanupTimedOut(0.0)
    before = snapshot(simulation.machine)
    for record in (events.Completed(9.0, 1, 1), events.Cancelled(9.0, 1), events.StreamPut(9.0, 1, "late")):
        with pytest.raises(ExecutionClosed):
            simulation.machine.receive(record)
    assert snapshot(simulation.machine) == before
