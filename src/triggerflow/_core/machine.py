"""The machine: one execution as a deterministic function of the records it has received.

    commands = machine.receive(record)

Five rules hold:

1. Every change of an execution goes through `receive`. Only `receive` writes `RunState`. A record that is not legal
   now raises, and the state is unchanged. So each receiver checks first and changes the state after that.
2. Only the *order of records* decides. The time is a field of the record, and ids are counters in the state. The
   machine uses no clock, no randomness, no hash order and no user code. So `replay(records)` rebuilds the execution,
   on every computer.
3. `receive` returns commands. A command that is not finished stays in the state, and is issued again after a crash
   (`recovery`). So a chunk runs at least once, and its completion is recorded exactly once.
4. An execution is *idle* when no run is left. An idle execution closes, unless something can still wake it: a timer, an
   interrupt, or an event that its definition declares external (`closing.close_if_idle`). There is no idle time-out:
   the state counts everything that the execution waits for.
5. A failure or a cancellation closes the execution in two steps. First the machine sets `closing` and cancels all runs.
   What the runs write during their clean-up is recorded, but starts nothing. The execution is closed when the last run
   has stopped, or when the driver reports that the clean-up timed out. From then on it takes no record.

See `events` for the records, `operators` for what each kind of operator does, `limits` for permits, and `groups` for
waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec

from . import commands, events
from .closing import FINAL, close_down, close_if_idle, end_missing, fail
from .definition import Definition
from .digests import forget_signal, note_digest
from .early_items import drop_early, end_early, receive_early
from .errors import ProtocolError, UsageError
from .events import DECLARED, LIMIT_COMPLETES, PROVISIONAL_RESULTS, RULES, STREAM
from .freezing import freeze
from .groups import begin_wait, enter_group, give_up_runs, leave_group, record_signal, spawn_group
from .interrupts import answerable, check_pause, close, pause, resume
from .joins import tidy
from .limits import acquire
from .operators import compile_plan, decide, enter_chunk, for_each_around, stop_items
from .permits import sync_permits
from .plan import Plan
from .provisional import drop_member, first_undecided, note_provisional, take_member
from .pulls import isolate, receive_failure, receive_items
from .recovery import recover, retried, stopped
from .results import fix_result, offer, settle
from .retraction import confirm, retract
from .runs import CHUNK, IDLE, MATCH_CASE, SUB_FLOW, Runs
from .signals import START, FieldTrigger, Trigger
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
    ProposedResult,
    RunChunk,
    RunState,
    Status,
    Wait,
)
from .timers import (
    EXTENDED,
    awaits_answers_only,
    cancel_signals,
    extend_limit,
    leave_timer,
    start_timer,
    take_timer,
)
from .values import key as plain_key
from .values import seconds, text, truth


class Machine(Runs):
    """One execution of a plan. Pass `state` to continue a saved execution."""

    __slots__ = ()

    def receive(self, event: events.Event) -> list[commands.AnyCommand]:
        """Apply one record to the state, and return the commands for the driver.

        Raises `ExecutionClosed` if the execution has ended, `UsageError` if a name or number in the record has the
        wrong type, and `ProtocolError` if the record is not legal now. In these cases the state is unchanged. Any other
        exception is a bug of the engine: no user code runs here (see `values`), so no user value can cause it.
        """
        if self.out is not IDLE:  # a finalizer, run by the garbage collector, can call in the middle of a record
            raise ProtocolError(f"a {type(event).__name__} came while the machine receives another record")
        out: list[commands.AnyCommand] = []
        self.out = out
        try:
            self._RECEIVERS[type(event)](self, event)
            state = self.state
            if state.grant is not None:
                sync_permits(self, state.grant)
            if state.joins is not None:
                tidy(self.plan, state, state.joins)
            state.records += 1
        finally:
            self.out = IDLE
        return out

    def receive_item(self, event: events.StreamPut) -> int:
        """Apply a stream item like `receive`, for an execution that is not a sub-flow.

        Returns the number under which the driver publishes the item, or 0 if the stream was stopped before.
        Stream items are the most frequent record of many executions. Without a list of commands an
        item takes half the time.
        """
        if self.out is not IDLE:
            raise ProtocolError("an item came while the machine receives another record")
        state = self.state  # inlined below: `_require_open`, `RunState.run`, `_effect_of`
        if state.status in FINAL:
            self._require_open()
        number, runs = event.run, state.many
        run = state.sole if runs is None else runs.get(number)  # pyright: ignore[reportArgumentType] - no run has the number None
        if run is not None and run.id == number:
            effects = run.effects
            if effects is None:
                run.effects = {STREAM: 1}
            else:
                effects[STREAM] = effects.get(STREAM, 0) + 1
            if event.digest is not None:
                note_digest(run, STREAM, event.digest)
        state.records += 1
        if state.stream_stopped:
            return 0
        state.stream = number = state.stream + 1
        return number

    def abort(self, error: events.ErrorInfo) -> list[commands.AnyCommand]:
        """Fail the execution at once, in any state. The driver calls this when it meets a bug of the engine."""
        self.out = out = list[commands.AnyCommand]()
        state = self.state
        if state.status not in FINAL:
            state.closing, state.error = Status.FAILED, error
            give_up_runs(state)
            state.pulls = 0
            close_if_idle(self)
        self.out = IDLE
        return out

    # -- records about runs ------------------------------------------------------------------------------------------

    def _recovered(self, event: events.Recovered) -> None:
        self._require_open()
        recover(self, self._resume, lost=event.lost is True)
        close_if_idle(self)

    def _isolated(self, event: events.Isolated) -> None:
        if event.opening is not None:
            isolate(self, event.opening)
            return
        number = event.run or 0
        run = self._require_open().run(number)
        if run is None:
            raise self._unknown_run(number)
        self._require_begun(run)
        if run.interruptions is not None:
            run.interruptions.alone = True

    def _suspended(self, event: events.Suspended) -> None:
        stopped(self._require_open())

    def _retried(self, event: events.Retried) -> None:
        raise ProtocolError(
            "`receive` cannot apply a Retried record; call `Machine.retry(record, before)` with the state before its "
            "record `failed`"
        )

    def retry(self, event: events.Retried, before: RunState) -> None:
        """Apply a `Retried` record. `before` is the state after the first `event.failed` records.

        The machine takes `before` over and changes it, so the caller passes a state that nothing else uses.

        Raises `ProtocolError` if the execution has not ended, or `before` is not that state.
        """
        if self.out is not IDLE:
            raise ProtocolError("a Retried came while the machine receives another record")
        self.out = []  # commands for the state before the retry were issued already
        try:
            self.state = retried(self, event, before)
        finally:
            self.out = IDLE

    def _completed(self, event: events.Completed) -> None:
        state = self.state
        runs = state.many  # hot path, inlined: `RunState.run`, `end` and `idle`
        run = state.sole if runs is None else runs.get(event.run)
        if run is None or run.id != event.run:
            self._after_retracted_end(event.run)
            return
        if run.phase is not RUNNING:
            self._require_begun(run)
        node, value, group = run.node, event.value, run.group
        if node.kind is MATCH_CASE:
            self._case_decided(run, truth(value, "the answer of a condition"))
            return
        if runs is None:
            state.sole = None
        else:
            del runs[event.run]
        if run.limiters or run.spawned is not None or node.kind is SUB_FLOW:
            self._release_run(run)
            if run.recorded_signals is not None:
                self._leave_emitted(run)
        if state.closing is None:
            trigger, scope = node.completes, run.scope
            early = state.rare is not None and state.early
            for listener in end_early(self, run) if early and run.id in early else node.next:
                listener.enter(self, listener, trigger, value, scope, group)
        if group is not None:
            if group.provisional is not None:
                drop_member(state, group, run.id)
            leave_group(group, self._end_wait)
        if state.sole is None and not state.many:
            close_if_idle(self)

    def _case_decided(self, run: RunChunk, answer: bool) -> None:
        """The condition of a match case has returned: `answer` says whether the case matches."""
        self.state.end(run)
        self._release_run(run)
        if self.state.closing is None:
            decide(self, run.scope, answer)
        self._after_run_end(run)

    def _failed(self, event: events.Failed) -> None:
        state = self.state
        run = state.run(event.run)
        if run is None:
            self._after_retracted_end(event.run)
            return
        self._require_begun(run)
        if state.early and state.closing is None:
            drop_early(self, run, self._end_wait)
        if event.retry_in is not None and state.closing is None:
            due = event.at + seconds(event.retry_in, "the time to the next attempt")
            self._release_run(run)
            run.phase, run.spawned = BACKOFF, None
            run.attempt += 1
            if run.digests is not None and run.effects is not None:
                run.failed = dict(run.effects)
            if state.retries is None:
                state.retries = {}
            state.retries[run.id] = start_timer(self, due, "retry", run=run.id)
            return
        run = self._end_run(event.run)
        if state.closing is None and event.missing is True:
            end_missing(self, run, event.error)
        elif state.closing is None:
            fail(self, run, event.error)
        self._after_run_end(run)

    def _cancelled(self, event: events.Cancelled) -> None:
        if self.state.run(event.run) is None:
            self._after_retracted_end(event.run)
            return
        if self.state.closing is None:
            raise ProtocolError(f"run {event.run} was reported as cancelled, but no cancellation was requested")
        self._after_run_end(self._end_run(event.run))

    # -- records of chunks and of outside callers --------------------------------------------------------------------

    def _started(self, event: events.Started) -> None:
        state = self._require_open()
        if state.started or state.closing is not None or (state.configured and state.never_starts):
            raise ProtocolError("the execution was started before, or is being closed")
        delay = None if event.delay is None else seconds(event.delay, "the delay of the start")
        if not state.configured:
            self._configure(event)
        state.started = True
        state.status = Status.RUNNING
        if delay is None:
            self._begin_work(event.at, event.value)
        else:
            start_timer(self, event.at + delay, "start", value=event.value)
        close_if_idle(self)
        if event.submitted is True:
            stopped(state, begun=False)

    def _begin_work(self, at: float, value: Any) -> None:
        """Start what follows the start, and the timers that count from it."""
        state = self.state
        if state.rare is not None and state.execution_timeout is not None:  # without the first, a read costs too much
            start_timer(self, at + state.execution_timeout, "limit", keeps_open=False)
        for name in self.plan.timers:
            start_timer(self, at + float(name), "deadline", name=name, value=value)
        for node in self.plan.start:
            node.enter(self, node, START, value, None, None)

    def _created(self, event: events.Created) -> None:
        if self._require_open().records:
            raise ProtocolError("`Created` must be the first record of an execution")
        self._configure(event)

    def _configure(self, event: events.Created | events.Started) -> None:
        state, limit = self.state, event.execution_timeout
        if limit is not None:
            state.execution_timeout = seconds(limit, "the execution time-out")
        state.configured = True
        state.has_handle = event.attended
        state.keep_open = event.keep_open
        if event.rules < DECLARED:
            state.derived = self.plan.legacy_external
        if event.attended and self.plan.events:
            state.sent = NONE_SENT
        state.skip_exceptions = event.skip_exceptions
        state.checks_result = event.checks_result
        state.max_pending = event.max_pending
        if event.concurrency is not None:
            state.limiters = (Limiter(event.concurrency),)
        if event.leases:
            state.grant = PermitGrant()
            state.limiters = (*state.limiters, state.grant)
        if event.rules != RULES:
            state.rules = event.rules

    def _external_wait_started(self, event: events.ExternalWaitStarted) -> None:
        run = self._require_open().run(event.run)
        if run is None:
            raise self._unknown_run(event.run)
        self._require_begun(run)
        begin_wait(self.state, Wait(self.state.records, run, 0, outside=True), None, self._resume)

    def _external_wait_ended(self, event: events.ExternalWaitEnded) -> None:
        state = self._require_open()
        wait = (state.waits or {}).get(event.wait)
        if wait is not None and not wait.outside:
            raise ProtocolError(f"the wait of record {event.wait} ends when its signals have settled, not from outside")
        if wait is not None and not wait.over:
            self._end_wait(wait)

    def _wait_given_up(self, event: events.WaitGivenUp) -> None:
        wait = (self._require_open().waits or {}).get(event.wait)
        if wait is None or wait.over:
            raise ProtocolError(f"no wait that began with record {event.wait} is open")
        self._end_wait(wait)

    def _emitted(self, event: events.Emitted) -> None:
        state = self.state  # hot path, inlined: `_require_open`, `_effect_of`, `_may_start` and `_after_signal`
        if state.status in FINAL:
            self._require_open()
        name = event.name
        if type(name) is not str:
            name = event.name = text(name, "the name of an event")
        plain = event.settle is False and event.provisional is False and event.delay is None
        if not plain:
            event.settle, event.provisional = bool(event.settle), bool(event.provisional)
            event.delay = None if event.delay is None else seconds(event.delay, "the delay of a signal")
            event.label = None if event.label is None else text(event.label, "the id of a delayed signal")
            event.keeps_open = bool(event.keeps_open)
        number, runs = event.run, state.many
        run = state.sole if runs is None else runs.get(number)  # pyright: ignore[reportArgumentType] - no run has the number None
        if run is None or run.id != number:
            run = None
        else:
            effect, effects = self.plan.effects.get(name) or f"emitted:{name}", run.effects
            if event.field is not None:
                effect = event.effect
            if effects is None:
                run.effects = {effect: 1}
            else:
                effects[effect] = effects.get(effect, 0) + 1
            if event.digest is not None:
                note_digest(run, effect, event.digest)
        if state.closing is not None or (state.retracted and number in state.retracted):
            return
        if run is not None and state.derived is not None and name in state.derived:
            # Rules before `DECLARED`: an event that the execution emits itself is not an external event.
            state.derived = state.derived - {name}
        nodes = self.plan.events.get(name)
        if nodes is None:
            self._note_unhandled(name)
            return
        if state.sent is not None and name not in state.sent:
            state.note_sent(name)
        group = None if run is None else run.spawned or spawn_group(run)
        if not plain:
            group = self._group_of(event, run, group)
        if event.delay is None:
            trigger = self.plan.event_triggers[name]
            if event.field is not None:
                trigger = FieldTrigger("event", name, event.field)
            for node in nodes:
                node.enter(self, node, trigger, event.value, None, group)
        else:
            timer = start_timer(
                self, event.at + event.delay, "signal", name=name, value=event.value, group=group,
                label=event.label or "", keeps_open=event.keeps_open,
            )  # fmt: skip
            if group is not None:
                if event.keeps_open:
                    enter_group(group)  # the execution waits for the timer, and so does every wait for the group
                if group.provisional is not None and state.timers is not None:
                    take_member(state, group, timer, state.timers[timer])
        if group is not None and group.live and (run is None or run.phase is RUNNING or run.phase is WAITING):
            limit = state.max_pending
            if event.settle:
                begin_wait(state, Wait(state.records, run, 0), group, self._resume)
            elif group.live > limit and event.may_wait:
                begin_wait(state, Wait(state.records, run, limit // 2), group, self._resume)
        if run is None or state.status is Status.WAITING:  # a running emitter keeps the status `running`
            self._after_signal()

    def _group_of(
        self, event: events.Emitted, run: RunChunk | None, group: CompletionGroup | None
    ) -> CompletionGroup | None:
        """Make a completion group for one signal, because its emitter waits for the signal or may retract it."""
        state = self.state
        if event.provisional:
            group = note_provisional(state, state.records, group, None if run is None else run.id)
        if event.settle:
            group = CompletionGroup(group)
        if run is not None and group is not None and (event.settle or event.provisional):
            record_signal(state, run, event.effect, group)
        return group

    def _signals_cancelled(self, event: events.SignalsCancelled) -> None:
        self._require_open()
        name = event.name = text(event.name, "the name of a delayed signal")
        run = self._effect_of(event, event.run)
        cancelled = cancel_signals(self, name)
        if run is not None and run.effects is not None:
            run.effects[cancelled_effect(name, run.effects[event.effect])] = len(cancelled)
        for timer in cancelled:
            leave_timer(self.state, timer, self._end_wait)
        self._after_signal()

    def _awaited_again(self, event: events.AwaitedAgain) -> None:
        state = self._require_open()
        run = state.run(event.run)
        if run is None:
            raise self._unknown_run(event.run)
        self._require_begun(run)
        recorded = run.recorded_signals.by_signal.get(event.signal) if run.recorded_signals else None
        if recorded is not None and recorded.group.live and state.closing is None:
            begin_wait(state, Wait(state.records, run, 0), recorded.group, self._resume)

    def _confirmed(self, event: events.Confirmed) -> None:
        self._require_open()
        self._effect_of(event, event.run)
        confirm(self, event.signal)

    def _retracted(self, event: events.Retracted) -> None:
        state = self._require_open()
        self._effect_of(event, event.run)
        if state.closing is None:
            forget_signal(state, event.signal)
            retract(self, event.signal, self._end_wait)
            self._after_signal()

    def _state_changed(self, event: events.StateChanged) -> None:
        state = self._require_open()
        key, value = event.key, event.value
        if type(key) is not str:
            key = event.key = plain_key(key, "a key of state")
        value = event.value = freeze(value)
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
                state.disown(key)  # listeners get the list as it is now; later appends make a new one
            group = None if run is None else spawn_group(run)
            self._fire(self.plan.state.get(key), Trigger("state", key), value, group)

    def _flow_data_changed(self, event: events.FlowDataChanged) -> None:
        self._require_open()
        event.key = plain_key(event.key, "a key of the flow's data")
        emits = bool(event.emit)
        value = self.state.change_own(event.op, event.key, event.value) if event.own else event.value
        run = self._effect_of(event, event.run)
        if emits and self._may_start(event.run):
            group = None if run is None else spawn_group(run)
            self._fire(self.plan.flow_data.get(event.key), Trigger("flow_data", event.key), value, group)

    def _stream_put(self, event: events.StreamPut) -> None:
        out, self.out = self.out, IDLE
        number = self.receive_item(event)
        self.out = out
        self.state.records -= 1  # `receive` counts this record again
        out.append(commands.Publish(number, event.item, event.path) if number else commands.ItemAfterStop(event.item))

    def _stream_stop(self, event: events.StreamStopped) -> None:
        state = self._require_open()
        self._effect_of(event, event.run)
        if not state.stream_stopped:
            state.stream_stopped = True
            self.out.append(commands.StopStream())

    def _items_stopped(self, event: events.ItemsStopped) -> None:
        state = self._require_open()
        if event.run in (state.retracted or ()):  # what cancelled work does in its clean-up starts and stops nothing
            return
        run = state.run(event.run)
        if run is None:
            raise self._unknown_run(event.run)
        instance = for_each_around(run.scope)
        if instance is None:
            raise UsageError(f"chunk {run.node.name!r} runs outside of a for_each, so it has none to stop")
        self._effect_of(event, event.run)
        if state.closing is None and stop_items(self, instance) and instance.group is not None:
            leave_group(instance.group, self._end_wait)

    def _items_given(self, event: events.ItemsGiven) -> None:
        state = self._require_open()
        if event.run in (state.retracted or ()):
            return
        run = state.run(event.run)
        if run is None:
            raise self._unknown_run(event.run)
        self._require_begun(run)
        if run.node.kind is not CHUNK:
            raise ProtocolError(f"run {run.id} of {run.node.id!r} is not one of a chunk: it cannot give items")
        if type(event.items) is not list or type(event.fields) is not list:
            raise ProtocolError(f"the items that run {run.id} of {run.node.id!r} gives are not in a list")
        if state.closing is not None:
            return
        if run.id not in (state.early or ()):
            self._effect_of(event, event.run)
        receive_early(self, event, run)

    def _result_set(self, event: events.ResultSet) -> None:
        state = self._require_open()
        event.replace = bool(event.replace)
        if event.run in (state.retracted or ()) and state.rules >= PROVISIONAL_RESULTS:
            return  # work that was taken back gives no result in its clean-up
        run = self._effect_of(event, event.run)
        chunk = "" if run is None else run.node.name
        group = None if run is None else run.group
        offer(self, ProposedResult(event.run, chunk, event.value, first_undecided(state, group)), replace=event.replace)
        close_if_idle(self)

    def _result_checked(self, event: events.ResultChecked) -> None:
        state = self._require_open()
        if state.unchecked is None:
            raise ProtocolError("no result is being checked")
        by, state.unchecked = state.unchecked[0], None
        if state.result is UNSET:
            fix_result(self, by, event.value)
        close_if_idle(self)

    def _result_rejected(self, event: events.ResultRejected) -> None:
        state = self._require_open()
        if state.unchecked is None:
            raise ProtocolError("no result is being checked")
        state.error = event.error
        close_down(self, Status.FAILED)
        close_if_idle(self)

    # -- interrupts, timers, sources ---------------------------------------------------------------------------------

    def _paused(self, event: events.Paused) -> None:
        state = self._require_open()
        run = state.run(event.run)
        if run is None:
            raise self._unknown_run(event.run)
        self._require_begun(run)
        check_pause(self, event)
        if event.holds:
            pause(self, event, run)
            return
        if state.early and state.closing is None:
            drop_early(self, run, self._end_wait)
        run = self._end_run(event.run)
        if state.closing is None:
            pause(self, event, run)
        self._after_run_end(run)

    def _resumed(self, event: events.Resumed) -> None:
        state = self._require_open()
        event.interrupt = plain_key(event.interrupt, "the id of an interrupt")
        interrupt = answerable(self, event)
        if interrupt is not None and state.closing is None:
            resume(self, event, interrupt)
            self._after_signal()

    def _interrupt_closed(self, event: events.InterruptClosed) -> None:
        state = self._require_open()
        event.interrupt = plain_key(event.interrupt, "the id of an interrupt")
        interrupt = (state.interrupts or {}).get(event.interrupt)
        if interrupt is None:
            raise ProtocolError(f"there is no interrupt {event.interrupt!r}")
        if interrupt.status == "waiting":
            close(self, interrupt, "expired" if event.expired else "retracted")
        self._after_signal()

    def _timer_fired(self, event: events.TimerFired) -> None:
        state = self._require_open()
        if event.grace is not None:
            event.grace = seconds(event.grace, "the time after a late time limit")
        timer = take_timer(state, event.timer)
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
            leave_timer(self.state, timer, self._end_wait)
        elif timer.what == "start":
            self._begin_work(event.at, timer.value)
        elif timer.what == "limit" and event.grace is not None and timer.name != EXTENDED:
            extend_limit(self, timer, event.at, event.grace)
        elif timer.what == "limit" and self._completes_at_limit():
            close_down(self, Status.COMPLETED)
        elif timer.what == "limit":
            limit = state.execution_timeout or 0
            state.error = events.ErrorInfo("ExecutionTimedOut", f"it had not ended {limit:g} s after its start")
            close_down(self, Status.FAILED)
        elif timer.what == "deadline":
            self._fire(self.plan.timers.get(timer.name), Trigger("timer", timer.name), timer.value, None)
        elif state.interrupts is not None:
            interrupt = state.interrupts[timer.name]
            close(self, interrupt, "expired")
            run = interrupt.run
            if run.node.fallback:  # only the driver can call it
                enter_chunk(self, run.node, Trigger("resume", interrupt.id), run.value, run.scope, run.group)
                self._after_signal()
                return
            info = events.ErrorInfo("InterruptExpired", f"nobody answered interrupt {timer.name!r} in time")
            fail(self, interrupt.run, msgspec.structs.replace(info, chunk=interrupt.run.node.name))
        self._after_signal()

    def _completes_at_limit(self) -> bool:
        """Whether the execution has its result, and nothing is left but open questions."""
        state = self.state
        if state.rules < LIMIT_COMPLETES or not awaits_answers_only(state):
            return False
        settle(self, undecided_too=True)
        return state.result is not UNSET

    def _source_items(self, event: events.SourceItems) -> None:
        receive_items(self, event, self._end_wait)

    def _source_failed(self, event: events.SourceFailed) -> None:
        receive_failure(self, event, self._end_wait)

    # -- closing -----------------------------------------------------------------------------------------------------

    def _cancel_requested(self, event: events.CancelRequested) -> None:
        state = self._require_open()
        if state.closing is not None:
            return
        state.reason = event.reason
        close_down(self, Status.CANCELLED)
        close_if_idle(self)

    def _close_requested(self, event: events.CloseRequested) -> None:
        state = self._require_open()
        event.ends_unstarted = bool(event.ends_unstarted)
        state.has_handle = state.keep_open = False
        if event.ends_unstarted and not state.started:
            state.never_starts = True
        close_if_idle(self)

    def _cleanup_timed_out(self, event: events.CleanupTimedOut) -> None:
        state = self._require_open()
        if state.closing is None:
            if not state.retracted:
                raise ProtocolError("only cancelled runs can be dropped after the clean-up time-out")
            for number in list(state.retracted):
                self._after_retracted_end(number)
            return
        give_up_runs(state)
        close_if_idle(self)

    _RECEIVERS: ClassVar[dict[type[events.Event], Callable[[Any, Any], None]]] = {
        events.Created: _created,
        events.Started: _started,
        events.AwaitedAgain: _awaited_again,
        events.Confirmed: _confirmed,
        events.Retracted: _retracted,
        events.WaitGivenUp: _wait_given_up,
        events.ExternalWaitStarted: _external_wait_started,
        events.ExternalWaitEnded: _external_wait_ended,
        events.Completed: _completed,
        events.Failed: _failed,
        events.Cancelled: _cancelled,
        events.Emitted: _emitted,
        events.SignalsCancelled: _signals_cancelled,
        events.StateChanged: _state_changed,
        events.FlowDataChanged: _flow_data_changed,
        events.StreamPut: _stream_put,
        events.StreamStopped: _stream_stop,
        events.ItemsGiven: _items_given,
        events.ItemsStopped: _items_stopped,
        events.ResultSet: _result_set,
        events.ResultChecked: _result_checked,
        events.ResultRejected: _result_rejected,
        events.Paused: _paused,
        events.Resumed: _resumed,
        events.InterruptClosed: _interrupt_closed,
        events.TimerFired: _timer_fired,
        events.SourceItems: _source_items,
        events.SourceFailed: _source_failed,
        events.PermitsRequested: Runs.permits_requested,
        events.PermitsReturned: Runs.permits_returned,
        events.PermitsGranted: Runs.permits_granted,
        events.Recovered: _recovered,
        events.Suspended: _suspended,
        events.Isolated: _isolated,
        events.Retried: _retried,
        events.CancelRequested: _cancel_requested,
        events.CloseRequested: _close_requested,
        events.CleanupTimedOut: _cleanup_timed_out,
    }


def cancelled_effect(name: str, count: int) -> str:
    """The key in `RunChunk.effects` that holds how many signals the `count`-th cancellation of this name has dropped: a
    later attempt of the run returns the same number. No effect is counted under it."""
    return f"dropped:{count}:{name}"


def replay(plan: Plan | Definition, records: Iterable[events.Event]) -> Machine:
    """Return a machine that has received these records, in this order. Raises what `Machine.receive` raises."""
    plan = plan if isinstance(plan, Plan) else compile_plan(plan)
    machine, records = Machine(plan), list(records)
    kept = KeptStates(plan, records)
    for record in records:
        kept.receive(machine, record)
    return machine


class KeptStates:
    """Replays records among which there may be `Retried` ones.

    Such a record needs the state before the failure. A copy of it is kept when the machine gets there, so that every
    record is received once.
    """

    def __init__(self, plan: Plan, records: Iterable[events.Event]) -> None:
        self._plan = plan
        self._wanted = {record.failed for record in records if type(record) is events.Retried}
        self._kept: dict[int, Any] = {}

    def receive(self, machine: Machine, record: events.Event) -> list[commands.AnyCommand]:
        """Let the machine receive the next record. Raises what `Machine.receive` raises."""
        if not self._wanted:
            return machine.receive(record)
        from .snapshot import decode, encode  # imported here: few executions were retried

        number = machine.state.records
        if number in self._wanted:
            self._kept[number] = encode(self._plan, machine.state, _as_it_is)
        if type(record) is not events.Retried:
            return machine.receive(record)
        if record.failed not in self._kept:
            raise ProtocolError(f"record {record.failed} did not end the execution")
        machine.retry(record, decode(self._plan, self._kept[record.failed], _unpacked))
        self._kept.clear()  # a later retry goes back to a failure after this one
        return []


def _as_it_is(value: Any, where: str) -> Any:
    """Values in a state are never changed, so a copy of the state may have the same ones."""
    return value


def _unpacked(value: Any) -> Any:
    return value
