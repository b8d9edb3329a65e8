"""The life of a run in the state: what has to be given back when it stops, and what follows from that.

`Runs` is the part of the machine that every kind of record needs; which record does what stands in `machine`.
"""

from typing import Any, cast

from . import commands, events
from .closing import FINAL, rest
from .definition import OperatorKind
from .errors import ExecutionClosed, ProtocolError
from .groups import end_wait, end_waits_of, leave_group, regain
from .leases import admitted, dismiss, granted, returned, wanted
from .limits import release, unqueue
from .plan import Node, Plan
from .provisional import drop_member, leave_emitter
from .signals import Trigger
from .state import KEPT, RUNNING, WAITING, CompletionGroup, RunChunk, RunState, Status, SubFlowPermit, Wait

NOTHING: list[commands.AnyCommand] = []
#: In place of an answer, as long as no record is being taken in.
IDLE = cast("list[commands.AnyCommand]", None)
MATCH_CASE, SUB_FLOW = OperatorKind.MATCH_CASE, OperatorKind.SUB_FLOW


class Runs:
    """The state of one execution of a plan, and the answer to the current record."""

    __slots__ = ("out", "plan", "state")

    def __init__(self, plan: Plan, state: RunState | None = None) -> None:
        self.plan = plan
        self.state = RunState() if state is None else state
        #: the answer that is being written; between two records nothing is kept of it
        self.out = IDLE

    def _take(self, number: int) -> RunChunk:
        run = self.state.run(number)
        if run is None:
            raise self._unknown(number)
        self.state.end(run)
        self._give_back(run)
        return run

    def _left(self, run: RunChunk) -> None:
        """A run has ended, and what follows from that has begun."""
        if run.kept is not None:
            self._leave_emitted(run)
        if run.group is not None:
            drop_member(self.state, run.group, run.id)
            leave_group(run.group, self._end_wait)
        if self.state.idle():
            rest(self)

    def _leave_emitted(self, run: RunChunk) -> None:
        """A run has ended: it does not come back to what it has emitted."""
        leave_emitter(self.state, run)
        run.kept = None

    def _give_back(self, run: RunChunk) -> None:
        if run.waits is not None or run.spawned is not None:
            end_waits_of(self.state, run)
        if run.limiters and run.phase is RUNNING:
            release(run, self._resume)
        elif run.limiters:
            unqueue(run)
        if run.node.kind is SUB_FLOW:
            dismiss(self, run, self._resume)

    def _resume(self, run: RunChunk | SubFlowPermit) -> None:
        """Whoever queued has all its places now: a run starts, or goes on after waiting; a guest is told."""
        if isinstance(run, SubFlowPermit):
            admitted(self, run)
        elif run.phase is WAITING:
            self.out.extend(commands.WakeWaiter(number) for number in regain(self.state, run))
        else:
            run.phase = RUNNING
            self.out.append(run)

    def _end_wait(self, wait: Wait) -> None:
        if self.state.closing is not None:  # who waits is told how it ended, not that all went well
            return
        self.out.extend(commands.WakeWaiter(number) for number in end_wait(self.state, wait))

    def _stopped(self, number: int) -> None:
        """A run that was cancelled with its provisional signal has stopped, however it ended."""
        run = (self.state.retracted or {}).pop(number, None)
        if run is None:
            raise self._unknown(number)
        self._give_back(run)
        self._left(run)

    def _effect_of(self, event: events.Event, number: int | None) -> RunChunk | None:
        """The run that has this effect, which is counted; None for the outside, and for a run that has ended."""
        runs = self.state.many
        run = self.state.sole if runs is None else runs.get(number)  # pyright: ignore[reportArgumentType] - None: nobody
        if run is None or run.id != number:
            return None
        if run.effects is None:
            run.effects = {}
        effect = event.effect
        run.effects[effect] = run.effects.get(effect, 0) + 1
        return run

    def _may_start(self, by: int | None) -> bool:
        """Whether what this run does may start anything: not while closing, and not from a branch that was
        retracted."""
        state = self.state
        return state.closing is None and (by is None or not state.retracted or by not in state.retracted)

    def _fire(
        self, nodes: tuple[Node, ...] | None, trigger: Trigger, value: Any, group: CompletionGroup | None
    ) -> None:
        if nodes is None:
            return
        for node in nodes:
            node.enter(self, node, trigger, value, None, group)
        self._awake()

    def _unheard(self, name: str) -> None:
        """Nobody listens to this event: tell it of the first of each name."""
        state = self.state
        if state.unheard is None:
            state.unheard = set[str]()
        if name not in state.unheard and len(state.unheard) < KEPT:
            state.unheard.add(name)
            self.out.append(commands.UnhandledSignal(name))

    def _awake(self) -> None:
        """After a signal: it may have started something, or ended the execution without any run."""
        state = self.state
        if state.sole is None and not state.many:
            rest(self)
        elif state.status is Status.WAITING:
            state.status = Status.RUNNING

    def places_wanted(self, event: events.PermitsRequested) -> None:
        """A sub-flow asks for places in the limits around its step."""
        step = self._open().run(event.run)
        if step is None and event.run not in (self.state.retracted or ()):
            raise self._unknown(event.run)
        if step is not None and self.state.closing is None:  # else nothing starts there any more
            wanted(self, event, step)

    def places_returned(self, event: events.PermitsReturned) -> None:
        """A sub-flow gives places back."""
        self._open()
        returned(self, event, self._resume)

    def places_granted(self, event: events.PermitsGranted) -> None:
        """This sub-flow gets places."""
        self._open()
        granted(self, event, self._resume)

    def _begun(self, run: RunChunk) -> None:
        """Raise `ProtocolError` unless the run has begun: one that waits for a place or its next attempt has not."""
        if run.phase is not RUNNING and run.phase is not WAITING:
            raise ProtocolError(f"run {run.id} of {run.node.id!r} has not begun; nothing can be reported of it")

    def _open(self) -> RunState:
        state = self.state
        if state.status in FINAL:
            name = self.plan.definition.name
            raise ExecutionClosed(
                f"this execution of flow {name!r} has ended ({state.status.value}); it takes nothing any more"
            )
        return state

    def _unknown(self, number: int) -> Exception:
        if self.state.status in FINAL:
            return ExecutionClosed(f"run {number} ended after its execution ({self.state.status.value})")
        return ProtocolError(f"run {number} is not running; it has ended before or never was")
