"""The machine: one execution as a deterministic function of the records it has received.

    commands = machine.receive(record)

The theory, in five rules:

1. Everything that changes an execution goes through `receive`, and `receive` alone writes `RunState`. A record is
   either legal now, or it raises and nothing has changed: check first, then change.
2. Nothing but the *order of records* decides. Time stands in the record, ids are counters in the state; no clock,
   randomness, hash order or user code is consulted. So `replay(records)` is the execution, on every machine.
3. A record is answered by commands. What was commanded and is not finished stands in the state, and is issued again
   after a crash (`recovery`). Chunks are therefore run at least once, and recorded exactly once.
4. An execution is *at rest* when no run is left. At rest it closes, unless something could still wake it: a timer, an
   interrupt, or an event that its definition declares external (`closing.rest`). There is no idle time-out, because
   everything an execution waits for is counted in its state.
5. A failure or a cancellation closes in two steps: `closing` is set and all runs are told to stop; what they still
   write in their clean-up is recorded, but starts nothing; when the last has stopped (or the driver gives it up) the
   execution is closed and takes no record any more.

The records are described in `events`, the meaning of operators in `operators`, places in `limits`, waiting in `groups`.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec

from . import commands, events
from .closing import FINAL, close_down, fail, rest
from .definition import Definition
from .errors import ProtocolError
from .events import DECLARED, RULES, STREAM
from .groups import begin_wait, enter_group, give_up_runs, keep, leave_group, spawn_group
from .interrupts import answerable, check_pause, close, pause, resume
from .joins import tidy
from .leases import balance
from .limits import acquire
from .operators import compile_plan, decide, fix_result
from .plan import Plan
from .provisional import drop_member, note_provisional, take_member
from .pulls import pull_failed, pulled
from .recovery import recover
from .retraction import confirm, retract
from .runs import IDLE, MATCH_CASE, SUB_FLOW, Runs
from .signals import START, Trigger
from .state import (
    BACKOFF,
    NONE_SENT,
    READY,
    RUNNING,
    UNSET,
    WAITING,
    CompletionGroup,
    Limiter,
    PermitGrant,
    RunChunk,
    Status,
    Wait,
)
from .timers import start_timer
from .values import key as plain_key
from .values import seconds, text, truth


class Machine(Runs):
    """One execution of a plan. `state` may be given to continue one that was saved."""

    __slots__ = ()

    def receive(self, event: events.Event) -> list[commands.AnyCommand]:
        """Take one record and say what to do.

        Raises `ExecutionClosed` if the execution has ended, `UsageError` if a name or number in the record is none, and
        `ProtocolError` if the record is not legal now; nothing has changed then. Any other exception is a bug of the
        engine: no code of the user's runs in here (see `values`), so that no value can make it fail.
        """
        if self.out is not IDLE:  # called by a finalizer, say, that the interpreter runs whenever it likes
            raise ProtocolError(f"a {type(event).__name__} came while another record is being taken in")
        out: list[commands.AnyCommand] = []
        self.out = out
        try:
            self._RECEIVERS[type(event)](self, event)
            state = self.state
            if state.lease is not None:
                balance(self, state.lease)
            if state.joins is not None:
                tidy(self.plan, state, state.joins)
            state.records += 1
        finally:
            self.out = IDLE
        return out

    def receive_item(self, event: events.StreamPut) -> int:
        """Take a stream item of an execution that is no sub-flow, as `receive` does; the number under which it is to be
        published, 0 if it is refused.

        It is the most frequent record of many executions: without the list of commands it takes half the time.
        """
        if self.out is not IDLE:
            raise ProtocolError("an item came while another record is being taken in")
        state = self.state  # from here on what `_open`, `RunState.run` and `_effect_of` do, without the calls
        if state.status in FINAL:
            self._open()
        number, runs = event.run, state.many
        run = state.sole if runs is None else runs.get(number)  # pyright: ignore[reportArgumentType] - None: nobody
        if run is not None and run.id == number:
            effects = run.effects
            if effects is None:
                run.effects = {STREAM: 1}
            else:
                effects[STREAM] = effects.get(STREAM, 0) + 1
        state.records += 1
        if state.stream_stopped:
            return 0
        state.stream = number = state.stream + 1
        return number

    def abort(self, error: events.ErrorInfo) -> list[commands.AnyCommand]:
        """For a driver that met a bug of the engine: fail at once, whatever state this is in."""
        self.out = out = list[commands.AnyCommand]()
        state = self.state
        if state.status not in FINAL:
            state.closing, state.error = Status.FAILED, error
            give_up_runs(state)
            state.pulls = 0
            rest(self)
        self.out = IDLE
        return out

    # -- what happens to a run ---------------------------------------------------------------------------------------

    def _recovered(self, event: events.Recovered) -> None:
        self._open()
        recover(self, self._resume)
        rest(self)

    def _completed(self, event: events.Completed) -> None:
        state = self.state
        runs = state.many  # the most frequent record: what `run`, `end` and `idle` do, without the calls
        run = state.sole if runs is None else runs.get(event.run)
        if run is None or run.id != event.run:
            self._stopped(event.run)
            return
        if run.phase is not RUNNING:
            self._begun(run)
        node, value, group = run.node, event.value, run.group
        if node.kind is MATCH_CASE:
            self._answered(run, truth(value, "the answer of a condition"))
            return
        if runs is None:
            state.sole = None
        else:
            del runs[event.run]
        if run.limiters or run.spawned is not None or node.kind is SUB_FLOW:
            self._give_back(run)
            if run.kept is not None:
                self._leave_emitted(run)
        if state.closing is None:
            trigger, scope = node.trigger, run.scope
            for listener in node.next:
                listener.enter(self, listener, trigger, value, scope, group)
        if group is not None:
            if group.provisional is not None:
                drop_member(state, group, run.id)
            leave_group(group, self._end_wait)
        if state.sole is None and not state.many:
            rest(self)

    def _answered(self, run: RunChunk, answer: bool) -> None:
        """A case has said whether it is hit."""
        self.state.end(run)
        self._give_back(run)
        if self.state.closing is None:
            decide(self, run.scope, answer)
        self._left(run)

    def _failed(self, event: events.Failed) -> None:
        state = self.state
        run = state.run(event.run)
        if run is None:
            self._stopped(event.run)
            return
        self._begun(run)
        if event.retry_in is not None and state.closing is None:
            due = event.at + seconds(event.retry_in, "the time to the next attempt")
            self._give_back(run)
            run.phase, run.spawned = BACKOFF, None
            run.attempt += 1
            if state.retries is None:
                state.retries = {}
            state.retries[run.id] = start_timer(self, due, "retry", run=run.id)
            return
        run = self._take(event.run)
        if state.closing is None:
            fail(self, run, event.error)
        self._left(run)

    def _cancelled(self, event: events.Cancelled) -> None:
        if self.state.run(event.run) is None:
            self._stopped(event.run)
            return
        if self.state.closing is None:
            raise ProtocolError(f"run {event.run} was reported as cancelled, and nobody cancelled it")
        self._left(self._take(event.run))

    # -- what chunks and the outside world do ------------------------------------------------------------------------

    def _started(self, event: events.Started) -> None:
        state = self._open()
        if state.started or state.closing is not None:
            raise ProtocolError("the execution was started before, or is being closed")
        if not state.configured:
            self._configure(event)
        state.started = True
        state.status = Status.RUNNING
        for name in self.plan.timers:
            start_timer(self, event.at + float(name), "deadline", name=name, value=event.value)
        for node in self.plan.start:
            node.enter(self, node, START, event.value, None, None)
        rest(self)

    def _created(self, event: events.Created) -> None:
        if self._open().records:
            raise ProtocolError("the options of an execution come first")
        self._configure(event)

    def _configure(self, event: events.Created | events.Started) -> None:
        state = self.state
        state.configured = True
        state.attended = event.attended
        state.keep_open = event.keep_open
        if event.rules < DECLARED:
            state.derived = self.plan.outside
        if event.attended and self.plan.events:
            state.sent = NONE_SENT
        state.skip_exceptions = event.skip_exceptions
        state.checks_result = event.checks_result
        state.max_pending = event.max_pending
        if event.concurrency is not None:
            state.limiters = (Limiter(event.concurrency),)
        if event.leases:
            state.lease = PermitGrant()
            state.limiters = (*state.limiters, state.lease)
        if event.rules != RULES:
            state.rules = event.rules

    def _parked(self, event: events.ExternalWaitStarted) -> None:
        run = self._open().run(event.run)
        if run is None:
            raise self._unknown(event.run)
        self._begun(run)
        begin_wait(self.state, Wait(self.state.records, run, 0, outside=True), None, self._resume)

    def _unparked(self, event: events.ExternalWaitEnded) -> None:
        state = self._open()
        wait = (state.waits or {}).get(event.wait)
        if wait is not None and not wait.outside:
            raise ProtocolError(f"the wait of record {event.wait} ends when its signals have settled, not from outside")
        if wait is not None and not wait.over:
            self._end_wait(wait)

    def _wait_given_up(self, event: events.WaitGivenUp) -> None:
        wait = (self._open().waits or {}).get(event.wait)
        if wait is None or wait.over:
            raise ProtocolError(f"record {event.wait} is not being waited for")
        self._end_wait(wait)

    def _emitted(self, event: events.Emitted) -> None:
        state = self._open()
        name = event.name
        if type(name) is not str:
            name = event.name = text(name, "the name of an event")
        plain = event.settle is False and event.provisional is False and event.delay is None
        if not plain:
            event.settle, event.provisional = bool(event.settle), bool(event.provisional)
            event.delay = None if event.delay is None else seconds(event.delay, "the delay of a signal")
        number = event.run  # what `_effect_of` and `_may_start` do, without the calls
        runs = state.many
        run = state.sole if runs is None else runs.get(number)  # pyright: ignore[reportArgumentType] - None: nobody
        if run is None or run.id != number:
            run = None
        else:
            if run.effects is None:
                run.effects = {}
            effect = f"emitted:{name}"
            run.effects[effect] = run.effects.get(effect, 0) + 1
        if state.closing is not None or (state.retracted and number in state.retracted):
            return
        if run is not None and state.derived is not None and name in state.derived:
            # It was recorded under the old rule, by which what it emits itself does not come from outside only.
            state.derived = state.derived - {name}
        nodes = self.plan.events.get(name)
        if nodes is None:
            self._unheard(name)
            return
        if state.sent is not None and name not in state.sent:
            state.note_sent(name)
        group = None if run is None else run.spawned or spawn_group(run)
        if not plain:
            group = self._group_of(event, run, group)
        if event.delay is None:
            trigger = self.plan.event_triggers[name]
            for node in nodes:
                node.enter(self, node, trigger, event.value, None, group)
        else:
            timer = start_timer(self, event.at + event.delay, "signal", name=name, value=event.value, group=group)
            if group is not None:
                enter_group(group)  # the execution waits for it, and so does whoever waits for the group
                if group.provisional is not None and state.timers is not None:
                    take_member(state, group, timer, state.timers[timer])
        if group is not None and group.live and (run is None or run.phase is RUNNING or run.phase is WAITING):
            limit = state.max_pending
            if event.settle:
                begin_wait(state, Wait(state.records, run, 0), group, self._resume)
            elif group.live > limit and event.may_wait:
                begin_wait(state, Wait(state.records, run, limit // 2), group, self._resume)
        self._awake()

    def _group_of(
        self, event: events.Emitted, run: RunChunk | None, group: CompletionGroup | None
    ) -> CompletionGroup | None:
        """The group of a signal that has one of its own: somebody waits for it alone, or may take it back."""
        state = self.state
        if event.provisional:
            group = note_provisional(state, state.records, group, None if run is None else run.id)
        if event.settle:
            group = CompletionGroup(group)
        if run is not None and group is not None and (event.settle or event.provisional):
            keep(state, run, event.effect, group)
        return group

    def _awaited_again(self, event: events.AwaitedAgain) -> None:
        state = self._open()
        run = state.run(event.run)
        if run is None:
            raise self._unknown(event.run)
        self._begun(run)
        kept = run.kept.of_signal.get(event.signal) if run.kept else None
        if kept is not None and kept.group.live and state.closing is None:
            begin_wait(state, Wait(state.records, run, 0), kept.group, self._resume)

    def _confirmed(self, event: events.Confirmed) -> None:
        self._open()
        self._effect_of(event, event.run)
        confirm(self, event.signal)

    def _retracted(self, event: events.Retracted) -> None:
        state = self._open()
        self._effect_of(event, event.run)
        if state.closing is None:
            retract(self, event.signal, self._end_wait)
            self._awake()

    def _state_changed(self, event: events.StateChanged) -> None:
        state = self._open()
        key, value = event.key, event.value
        if type(key) is not str:
            key = event.key = plain_key(key, "a key of state")
        if event.emit is not True:
            event.emit = bool(event.emit)
        if event.op == "set":
            state.data[key] = value
            state.disown(key)
        elif event.op == "append":
            value = state.append(key, value)
        else:
            state.data.pop(key, None)
            state.disown(key)
            value = None
        run = self._effect_of(event, event.run)
        if event.emit and self._may_start(event.run):
            if key in self.plan.state:
                state.disown(key)  # who listens gets this list as it is now
            group = None if run is None else spawn_group(run)
            self._fire(self.plan.state.get(key), Trigger("state", key), value, group)

    def _flow_data_changed(self, event: events.FlowDataChanged) -> None:
        self._open()
        event.key = plain_key(event.key, "a key of the flow's data")
        run = self._effect_of(event, event.run)
        if self._may_start(event.run):
            group = None if run is None else spawn_group(run)
            self._fire(self.plan.flow_data.get(event.key), Trigger("flow_data", event.key), event.value, group)

    def _stream_put(self, event: events.StreamPut) -> None:
        out, self.out = self.out, IDLE
        number = self.receive_item(event)
        self.out = out
        self.state.records -= 1  # which `receive` counts
        out.append(commands.Publish(number, event.item, event.path) if number else commands.ItemAfterStop(event.item))

    def _stream_stop(self, event: events.StreamStopped) -> None:
        state = self._open()
        self._effect_of(event, event.run)
        if not state.stream_stopped:
            state.stream_stopped = True
            self.out.append(commands.StopStream())

    def _result_set(self, event: events.ResultSet) -> None:
        state = self._open()
        event.replace = bool(event.replace)
        self._effect_of(event, event.run)
        if state.result is UNSET or event.replace:
            fix_result(self, event.run, event.value)
        rest(self)

    def _result_checked(self, event: events.ResultChecked) -> None:
        state = self._open()
        if state.unchecked is None:
            raise ProtocolError("no result is being checked")
        by, state.unchecked = state.unchecked[0], None
        if state.result is UNSET:
            fix_result(self, by, event.value)
        rest(self)

    def _result_rejected(self, event: events.ResultRejected) -> None:
        state = self._open()
        if state.unchecked is None:
            raise ProtocolError("no result is being checked")
        state.error = event.error
        close_down(self, Status.FAILED)
        rest(self)

    # -- waiting for the outside -------------------------------------------------------------------------------------

    def _paused(self, event: events.Paused) -> None:
        state = self._open()
        run = state.run(event.run)
        if run is None:
            raise self._unknown(event.run)
        self._begun(run)
        check_pause(self, event)
        if event.holds:
            pause(self, event, run)
            return
        run = self._take(event.run)
        if state.closing is None:
            pause(self, event, run)
        self._left(run)

    def _resumed(self, event: events.Resumed) -> None:
        state = self._open()
        event.interrupt = plain_key(event.interrupt, "the id of an interrupt")
        interrupt = answerable(self, event)
        if interrupt is not None and state.closing is None:
            resume(self, event, interrupt)
            self._awake()

    def _withdrawn(self, event: events.InterruptClosed) -> None:
        state = self._open()
        event.interrupt = plain_key(event.interrupt, "the id of an interrupt")
        interrupt = (state.interrupts or {}).get(event.interrupt)
        if interrupt is None:
            raise ProtocolError(f"there is no interrupt {event.interrupt!r}")
        if interrupt.status == "waiting":
            close(self, interrupt, "expired" if event.expired else "retracted")
        self._awake()

    def _timer_fired(self, event: events.TimerFired) -> None:
        state = self._open()
        timer = (state.timers or {}).pop(event.timer, None)
        if timer is None:
            raise ProtocolError(f"timer {event.timer} is not running; it has fired before or was cancelled")
        if timer.what == "retry" and timer.run is not None:
            run = state.runs[timer.run]
            (state.retries or {}).pop(timer.run, None)
            run.phase = READY
            if acquire(run):
                run.phase = RUNNING
                self.out.append(run)
        elif timer.what == "signal":
            self._fire(self.plan.events.get(timer.name), Trigger("event", timer.name), timer.value, timer.group)
            if timer.group is not None:
                drop_member(state, timer.group, timer.id)
                leave_group(timer.group, self._end_wait)
        elif timer.what == "deadline":
            self._fire(self.plan.timers.get(timer.name), Trigger("timer", timer.name), timer.value, None)
        elif state.interrupts is not None:
            interrupt = state.interrupts[timer.name]
            close(self, interrupt, "expired")
            info = events.ErrorInfo("InterruptExpired", f"nobody answered interrupt {timer.name!r} in time")
            fail(self, interrupt.run, msgspec.structs.replace(info, chunk=interrupt.run.node.name))
        self._awake()

    def _pulled(self, event: events.SourceItems) -> None:
        pulled(self, event, self._end_wait)

    def _pull_failed(self, event: events.SourceFailed) -> None:
        pull_failed(self, event, self._end_wait)

    # -- closing -----------------------------------------------------------------------------------------------------

    def _cancel_requested(self, event: events.CancelRequested) -> None:
        state = self._open()
        if state.closing is not None:
            return
        state.reason = event.reason
        close_down(self, Status.CANCELLED)
        rest(self)

    def _close_requested(self, event: events.CloseRequested) -> None:
        state = self._open()
        state.attended = state.keep_open = False
        rest(self)

    def _abandoned(self, event: events.CleanupTimedOut) -> None:
        state = self._open()
        if state.closing is None:
            if not state.retracted:
                raise ProtocolError("only runs that were told to stop can be given up")
            for number in list(state.retracted):
                self._stopped(number)
            return
        give_up_runs(state)
        rest(self)

    _RECEIVERS: ClassVar[dict[type[events.Event], Callable[[Any, Any], None]]] = {
        events.Created: _created,
        events.Started: _started,
        events.AwaitedAgain: _awaited_again,
        events.Confirmed: _confirmed,
        events.Retracted: _retracted,
        events.WaitGivenUp: _wait_given_up,
        events.ExternalWaitStarted: _parked,
        events.ExternalWaitEnded: _unparked,
        events.Completed: _completed,
        events.Failed: _failed,
        events.Cancelled: _cancelled,
        events.Emitted: _emitted,
        events.StateChanged: _state_changed,
        events.FlowDataChanged: _flow_data_changed,
        events.StreamPut: _stream_put,
        events.StreamStopped: _stream_stop,
        events.ResultSet: _result_set,
        events.ResultChecked: _result_checked,
        events.ResultRejected: _result_rejected,
        events.Paused: _paused,
        events.Resumed: _resumed,
        events.InterruptClosed: _withdrawn,
        events.TimerFired: _timer_fired,
        events.SourceItems: _pulled,
        events.SourceFailed: _pull_failed,
        events.PermitsRequested: Runs.places_wanted,
        events.PermitsReturned: Runs.places_returned,
        events.PermitsGranted: Runs.places_granted,
        events.Recovered: _recovered,
        events.CancelRequested: _cancel_requested,
        events.CloseRequested: _close_requested,
        events.CleanupTimedOut: _abandoned,
    }


def replay(plan: Plan | Definition, records: Iterable[events.Event]) -> Machine:
    """The machine that has received these records, in this order."""
    machine = Machine(plan if isinstance(plan, Plan) else compile_plan(plan))
    for record in records:
        machine.receive(record)
    return machine
