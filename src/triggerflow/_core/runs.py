"""The life of a run in the state: what a run returns when it ends, and what follows from that.

`Runs` holds the methods that many receivers of the machine share. The receivers themselves are in `machine`.
"""

from __future__ import annotations

from typing import Any, cast

from . import commands, events
from .closing import FINAL, close_if_idle
from .definition import OperatorKind
from .digests import note_digest
from .errors import ExecutionClosed, ProtocolError
from .groups import end_wait, end_waits_of, leave_group, regain
from .limits import release, unqueue
from .permits import grant_queued, receive_granted, receive_request, receive_returned, release_sub_flow
from .plan import Node, Plan
from .provisional import drop_member, leave_emitter
from .signals import Trigger
from .state import KEPT, RUNNING, WAITING, CompletionGroup, RunChunk, RunState, Status, SubFlowPermit, Wait

NOTHING: list[commands.AnyCommand] = []
#: The value of `Runs.out` while no record is being received.
IDLE = cast("list[commands.AnyCommand]", None)
CHUNK, MATCH_CASE, SUB_FLOW = OperatorKind.CHUNK, OperatorKind.MATCH_CASE, OperatorKind.SUB_FLOW


class Runs:
    """The state of one execution of a plan, and the commands of the current record."""

    __slots__ = ("out", "plan", "state")

    def __init__(self, plan: Plan, state: RunState | None = None) -> None:
        self.plan = plan
        self.state = RunState() if state is None else state
        #: the commands of the record that is being received; `IDLE` between two records
        self.out = IDLE

    def _end_run(self, number: int) -> RunChunk:
        run = self.state.run(number)
        if run is None:
            raise self._unknown_run(number)
        self.state.end(run)
        self._release_run(run)
        return run

    def _after_run_end(self, run: RunChunk) -> None:
        """Finish the end of a run, after the machine has started what follows it."""
        if run.recorded_signals is not None:
            self._leave_emitted(run)
        if run.group is not None:
            drop_member(self.state, run.group, run.id)
            leave_group(run.group, self._end_wait)
        if self.state.idle():
            close_if_idle(self)

    def _leave_emitted(self, run: RunChunk) -> None:
        """Release the signals that a run has recorded: no later attempt follows."""
        leave_emitter(self.state, run)
        run.recorded_signals = None

    def _release_run(self, run: RunChunk) -> None:
        if run.waits is not None or run.spawned is not None:
            end_waits_of(self.state, run)
        if run.limiters and run.phase is RUNNING:
            release(run, self._resume)
        elif run.limiters:
            unqueue(run)
        if run.node.kind is SUB_FLOW:
            release_sub_flow(self, run, self._resume)

    def _resume(self, run: RunChunk | SubFlowPermit) -> None:
        """Go on with a queued run that has all its permits now: grant a sub-flow permit, wake the run, or start it."""
        if isinstance(run, SubFlowPermit):
            grant_queued(self, run)
        elif run.phase is WAITING:
            self.out.extend(commands.WakeWaiter(number) for number in regain(self.state, run))
        else:
            run.phase = RUNNING
            self.out.append(run)

    def _end_wait(self, wait: Wait) -> None:
        if self.state.closing is not None:  # while closing, the driver wakes all waiters itself
            return
        self.out.extend(commands.WakeWaiter(number) for number in end_wait(self.state, wait))

    def _after_retracted_end(self, number: int) -> None:
        """Handle the end of a run that a retraction cancelled: completed, failed or cancelled."""
        run = (self.state.retracted or {}).pop(number, None)
        if run is None:
            raise self._unknown_run(number)
        self._release_run(run)
        self._after_run_end(run)

    def _effect_of(self, event: events.Event, number: int | None) -> RunChunk | None:
        """Count an effect, and return its run; None for an outside caller, and for a run that has ended."""
        runs = self.state.many
        run = self.state.sole if runs is None else runs.get(number)  # pyright: ignore[reportArgumentType] - no run has the number None
        if run is None or run.id != number:
            return None
        if run.effects is None:
            run.effects = {}
        effect = event.effect
        run.effects[effect] = run.effects.get(effect, 0) + 1
        digest: int | None = getattr(event, "digest", None)
        if digest is not None:
            note_digest(run, effect, digest)
        return run

    def _may_start(self, by: int | None) -> bool:
        """Whether effects of this run may start anything: not while closing, and not if the run was retracted."""
        state = self.state
        return state.closing is None and (by is None or not state.retracted or by not in state.retracted)

    def _fire(
        self, nodes: tuple[Node, ...] | None, trigger: Trigger, value: Any, group: CompletionGroup | None
    ) -> None:
        if nodes is None:
            return
        for node in nodes:
            node.enter(self, node, trigger, value, None, group)
        self._after_signal()

    def _note_unhandled(self, name: str) -> None:
        """Report an event without listeners, once for each name."""
        state = self.state
        if state.unheard is None:
            state.unheard = set[str]()
        if name not in state.unheard and len(state.unheard) < KEPT:
            state.unheard.add(name)
            self.out.append(commands.UnhandledSignal(name))

    def _after_signal(self) -> None:
        """Update the status after a signal: it may have started runs, or the execution may close."""
        state = self.state
        if state.sole is None and not state.many:
            close_if_idle(self)
        elif state.status is Status.WAITING:
            state.status = Status.RUNNING

    def permits_requested(self, event: events.PermitsRequested) -> None:
        """A sub-flow requests permits of the limits around its step."""
        step = self._require_open().run(event.run)
        if step is None and event.run not in (self.state.retracted or ()):
            raise self._unknown_run(event.run)
        if step is not None and self.state.closing is None:  # while closing, nothing starts in the sub-flow
            receive_request(self, event, step)

    def permits_returned(self, event: events.PermitsReturned) -> None:
        """A sub-flow returns permits."""
        self._require_open()
        receive_returned(self, event, self._resume)

    def permits_granted(self, event: events.PermitsGranted) -> None:
        """The parent grants permits to this sub-flow."""
        self._require_open()
        receive_granted(self, event, self._resume)

    def _require_begun(self, run: RunChunk) -> None:
        """Raise `ProtocolError` unless the run has begun. A run that waits for permits or a retry has not."""
        if run.phase is not RUNNING and run.phase is not WAITING:
            raise ProtocolError(f"run {run.id} of {run.node.id!r} has not begun, so no record about it is allowed")

    def _require_open(self) -> RunState:
        state = self.state
        if state.status in FINAL:
            name = self.plan.definition.name
            raise ExecutionClosed(
                f"this execution of flow {name!r} has ended ({state.status.value}); it accepts no more records"
            )
        return state

    def _unknown_run(self, number: int) -> Exception:
        if self.state.status in FINAL:
            return ExecutionClosed(f"run {number} ended after its execution ({self.state.status.value})")
        return ProtocolError(f"run {number} is not running; it has ended, or never existed")
