"""The machine: one execution as a deterministic function of the records it has received.

    commands = machine.receive(record)

The theory, in five rules:

1. Everything that changes an execution goes through `receive`, and `receive` alone writes `RunState`. A record is
   either legal now, or it raises and nothing has changed: check first, then change.
2. Nothing but the *order of records* decides. Time stands in the record, ids are counters in the state; no clock,
   randomness, hash order or user code is consulted. So `replay(records)` is the execution, on every machine.
3. A record is answered by commands. What was commanded and is not finished stands in the state: after a crash
   `outstanding()` says what to issue again. Chunks are therefore run at least once, and recorded exactly once.
4. An execution is *at rest* when no run is left. At rest it closes, unless a signal from outside could still wake it
   (`_rest`). There is no idle time-out, because everything an execution waits for is counted in its state.
5. A failure or a cancellation closes in two steps: `closing` is set and all runs are told to stop; what they still
   write in their clean-up is recorded, but starts nothing; when the last has stopped (or the driver gives it up) the
   execution is closed and takes no record any more.

The records are described in `events`, the meaning of operators in `operators`, places in `limits`, waiting in `groups`.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from . import commands, events
from .definition import Definition
from .errors import ExecutionClosed, InternalError, ProtocolError
from .groups import begin_wait, end_wait, end_waits_of, leave_group, regain, spawn_group
from .joins import unfilled
from .limits import forget_queues, release
from .operators import TRANSITIONS, OperatorKind, decide, skip
from .plan import Plan
from .signals import START, Trigger
from .state import RUNNING, UNSET, WAITING, Group, Limiter, RunChunk, RunState, Status, Wait

NOTHING: list[commands.AnyCommand] = []
FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Machine:
    """One execution of a plan. `state` may be given to continue one that was saved."""

    __slots__ = ("out", "plan", "state")

    def __init__(self, plan: Plan, state: RunState | None = None) -> None:
        self.plan = plan
        self.state = RunState() if state is None else state
        #: the answer that is being written; between two records nothing is kept of it
        self.out: list[commands.AnyCommand] = NOTHING

    def receive(self, event: events.Event) -> list[commands.AnyCommand]:
        """Take one record and say what to do.

        Raises `ExecutionClosed` if the execution has ended and `ProtocolError` if the record is not legal now; nothing
        has changed then. Any other exception is a bug of the engine.
        """
        out: list[commands.AnyCommand] = []
        self.out = out
        self._RECEIVERS[type(event)](self, event)
        self.state.records += 1
        self.out = NOTHING
        return out

    def outstanding(self) -> list[commands.AnyCommand]:
        """The commands to issue again after a load: every run that had started and not ended."""
        return [run for run in self.state.runs.values() if run.phase is RUNNING or run.phase is WAITING]

    # -- what happens to a run ---------------------------------------------------------------------------------------

    def _completed(self, event: events.Completed) -> None:
        state = self.state
        run = state.runs.pop(event.run, None)
        if run is None:
            raise self._unknown(event.run)
        if run.limiters or run.spawned is not None:
            self._give_back(run)
        if state.closing is None:
            node, value, group = run.node, event.value, run.group
            if node.kind is OperatorKind.MATCH_CASE:
                decide(self, run, value)
            else:
                trigger, scope = node.trigger, run.scope
                for listener in node.next:
                    listener.enter(self, listener, trigger, value, scope, group)
        if run.group is not None:
            leave_group(run.group, self._end_wait)
        if not state.runs:
            self._rest()

    def _failed(self, event: events.Failed) -> None:
        state = self.state
        run = self._take(event.run)
        if state.closing is None:
            if state.skip_exceptions:
                if state.skipped is None:
                    state.skipped = []
                state.skipped.append(event.error)
                self.out.append(commands.Skipped(run.id, run.node.name))
                skip(self, run)
            else:
                state.error = event.error
                self._close_down(Status.FAILED)
        self._left(run)

    def _cancelled(self, event: events.Cancelled) -> None:
        if self.state.closing is None:
            raise ProtocolError(f"run {event.run} was reported as cancelled, and nobody cancelled it")
        self._left(self._take(event.run))

    def _take(self, number: int) -> RunChunk:
        run = self.state.runs.pop(number, None)
        if run is None:
            raise self._unknown(number)
        self._give_back(run)
        return run

    def _left(self, run: RunChunk) -> None:
        if run.group is not None:
            leave_group(run.group, self._end_wait)
        if not self.state.runs:
            self._rest()

    def _give_back(self, run: RunChunk) -> None:
        end_waits_of(self.state, run)
        if run.limiters and run.phase is RUNNING:
            release(run, self._resume)

    def _resume(self, run: RunChunk) -> None:
        """A run that queued has all its places now: it starts, or goes on after waiting."""
        if run.phase is WAITING:
            self.out.extend(commands.Settle(number) for number in regain(self.state, run))
        else:
            run.phase = RUNNING
            self.out.append(run)

    def _end_wait(self, wait: Wait) -> None:
        self.out.extend(commands.Settle(number) for number in end_wait(self.state, wait))

    # -- what chunks and the outside world do ------------------------------------------------------------------------

    def _started(self, event: events.Started) -> None:
        state = self._open()
        if state.started:
            raise ProtocolError("the execution was started before")
        state.started = True
        state.status = Status.RUNNING
        state.attended = event.attended
        state.skip_exceptions = event.skip_exceptions
        state.max_pending = event.max_pending
        if event.concurrency is not None:
            state.limiters = (Limiter(event.concurrency),)
        for node in self.plan.start:
            node.enter(self, node, START, event.value, None, None)
        if not state.runs:
            self._rest()

    def _emitted(self, event: events.Emitted) -> None:
        state = self._open()
        if state.closing is not None:
            return
        name = event.name
        run = None if event.run is None else state.runs.get(event.run)
        if run is not None and name in self.plan.definition.outside_events:
            # A name that this execution emits itself is no longer one that only the outside can send (see _rest).
            if state.emitted is None:
                state.emitted = set()
            state.emitted.add(name)
        nodes = self.plan.events.get(name)
        if nodes is None:
            self._unheard(name)
            return
        group = None if run is None else spawn_group(run)
        if event.settle:
            group = Group(group)
        trigger = Trigger("event", name)
        for node in nodes:
            node.enter(self, node, trigger, event.value, None, group)
        if group is not None and group.live:
            limit = state.max_pending
            if event.settle:
                begin_wait(state, Wait(state.records, run, 0), group, self._resume)
            elif group.live > limit:
                begin_wait(state, Wait(state.records, run, limit // 2), group, self._resume)
        self._awake()

    def _unheard(self, name: str) -> None:
        state = self.state
        if state.unheard is None:
            state.unheard = set()
        if name not in state.unheard:
            state.unheard.add(name)
            self.out.append(commands.Unheard(name))

    def _state_changed(self, event: events.StateChanged) -> None:
        state = self._open()
        key, value = event.key, event.value
        if event.op == "set":
            state.data[key] = value
            if state.owned is not None:
                state.owned.discard(key)
        elif event.op == "append":
            value = self._append(key, value)
        else:
            state.data.pop(key, None)
            value = None
        if event.emit and state.closing is None:
            self._fire(self.plan.state, "state", key, value, event.run)

    def _append(self, key: str, value: Any) -> list[Any]:
        """Append to a list that is the state's own: the list a user once set stays as it was recorded."""
        state = self.state
        held: Any = state.data.get(key, ())
        if not isinstance(held, list | tuple):
            raise ProtocolError(f"state[{key!r}] is a {type(state.data[key]).__name__}; only a list can be appended to")
        if state.owned is None:
            state.owned = set()
        if key not in state.owned:
            state.owned.add(key)
            state.data[key] = [*held]
        state.data[key].append(value)
        return state.data[key]

    def _flow_data_changed(self, event: events.FlowDataChanged) -> None:
        state = self._open()
        if state.closing is None:
            self._fire(self.plan.flow_data, "flow_data", event.key, event.value, event.run)

    def _fire(self, listeners: dict[str, Any], kind: Any, name: str, value: Any, by: int | None) -> None:
        nodes = listeners.get(name)
        if nodes is None:
            return
        run = None if by is None else self.state.runs.get(by)
        group = None if run is None else spawn_group(run)
        trigger = Trigger(kind, name)
        for node in nodes:
            node.enter(self, node, trigger, value, None, group)
        self._awake()

    def _stream_put(self, event: events.StreamPut) -> None:
        state = self._open()
        if state.stream_stopped:
            self.out.append(commands.Refused(event.item))
            return
        state.stream = number = state.stream + 1
        self.out.append(commands.Publish(number, event.item))

    def _stream_stop(self, event: events.StreamStopped) -> None:
        state = self._open()
        if not state.stream_stopped:
            state.stream_stopped = True
            self.out.append(commands.StopStream())

    def _result_set(self, event: events.ResultSet) -> None:
        state = self._open()
        if state.result is UNSET:
            state.result = event.value
        if not state.runs:
            self._rest()

    # -- closing -----------------------------------------------------------------------------------------------------

    def _cancel_requested(self, event: events.CancelRequested) -> None:
        state = self._open()
        if state.closing is not None:
            return
        state.reason = event.reason
        self._close_down(Status.CANCELLED)
        if not state.runs:
            self._rest()

    def _close_requested(self, event: events.CloseRequested) -> None:
        state = self._open()
        state.attended = False
        if not state.runs:
            self._rest()

    def _abandoned(self, event: events.Abandoned) -> None:
        state = self._open()
        if state.closing is None:
            raise ProtocolError("only an execution that is closing can give up its runs")
        state.runs.clear()
        self._rest()

    def _close_down(self, outcome: Status) -> None:
        """Tell all runs to stop; those that never started are gone at once."""
        state = self.state
        state.closing = outcome
        forget_queues(state)
        self.out[:] = [command for command in self.out if not isinstance(command, RunChunk)]
        for run in list(state.runs.values()):
            if run.phase is RUNNING or run.phase is WAITING:
                self.out.append(commands.CancelRun(run))
            else:
                del state.runs[run.id]

    def _rest(self) -> None:
        """No run is left. Close, unless the outside can still wake the execution."""
        state = self.state
        if state.closing is not None:
            state.status = state.closing
        elif state.started and (state.result is not UNSET or not self._can_be_woken()):
            state.status = Status.COMPLETED
        else:
            state.status = Status.WAITING if state.started else Status.CREATED
            return
        left = unfilled(state) if state.status is Status.COMPLETED else ()
        self.out.append(commands.Close(state.status.value, left))  # pyright: ignore[reportArgumentType]

    def _can_be_woken(self) -> bool:
        state = self.state
        return state.attended and bool(self.plan.definition.outside_events - (state.emitted or frozenset()))

    def _awake(self) -> None:
        """After a signal: it may have started something, or ended the execution without any run."""
        state = self.state
        if not state.runs:
            self._rest()
        elif state.status is Status.WAITING:
            state.status = Status.RUNNING

    def _open(self) -> RunState:
        state = self.state
        if state.status in FINAL:
            raise ExecutionClosed(f"the execution has ended ({state.status.value}); nothing can be sent to it any more")
        return state

    def _unknown(self, number: int) -> Exception:
        if self.state.status in FINAL:
            return ExecutionClosed(f"run {number} ended after its execution ({self.state.status.value})")
        return ProtocolError(f"run {number} is not running; it has ended before or never was")

    _RECEIVERS: ClassVar[dict[type[events.Event], Callable[[Any, Any], None]]] = {
        events.Started: _started,
        events.Completed: _completed,
        events.Failed: _failed,
        events.Cancelled: _cancelled,
        events.Emitted: _emitted,
        events.StateChanged: _state_changed,
        events.FlowDataChanged: _flow_data_changed,
        events.StreamPut: _stream_put,
        events.StreamStopped: _stream_stop,
        events.ResultSet: _result_set,
        events.CancelRequested: _cancel_requested,
        events.CloseRequested: _close_requested,
        events.Abandoned: _abandoned,
    }


def replay(plan: Plan | Definition, records: Iterable[events.Event]) -> Machine:
    """The machine that has received these records, in this order."""
    machine = Machine(plan if isinstance(plan, Plan) else compile_plan(plan))
    for record in records:
        machine.receive(record)
    return machine


def compile_plan(definition: Definition) -> Plan:
    """The definition with its triggers resolved and its transitions attached."""
    plan = Plan(definition, TRANSITIONS)
    for node in plan.nodes:
        if node.operator.group is not None and node.block is None:
            raise InternalError(f"operator {node.id} closes a block that nothing opens")
    return plan
