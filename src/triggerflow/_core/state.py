"""The state of an execution. A snapshot saves all of it, and nothing else.

`RunState` is written by `Machine.receive` only. Ids are counters in it, so that the same records always give the same
state. The parts:

* a `RunChunk` is one run of a chunk or condition, from the signal that caused it to its completion;
* a `BlockInstance` is one pass through a fan-out (batch, for_each, match); a `Branch` is one branch of it. The chain of
  branches outwards is the *scope* of a run: two passes through one block never share a branch, so their results never
  mix;
* a `Limiter` counts the permits of a concurrency limit and holds the queue for them; a `SubFlowPermit` waits in it for
  a chunk of a sub-flow, and a `PermitGrant` holds the permits that the parent granted to the sub-flow;
* a `CompletionGroup` counts what the signals of a chunk have started and what has not ended, for waits; a `Provisional`
  holds the same things, so that they can be retracted.

The cost of a record must not grow with what else is open. So everything that a transition needs is found by its number,
or is stored at the object where the transition begins: waits at their run, permits of sub-flows at their step,
half-filled joins at their branch.
"""

from __future__ import annotations

from array import array
from collections import deque
from enum import Enum, IntEnum, StrEnum
from typing import Any, ClassVar, Final, Literal, cast

import msgspec

from .errors import ProtocolError
from .events import RULES, ErrorInfo, Failure
from .freezing import freeze
from .frozen import FrozenList
from .plan import Node
from .signals import FieldPlace, Trigger
from .sparse import SparseAttribute
from .values import items_of, type_name

_append: Any = cast("Any", list).append  # a frozen list refuses its own

#: Maximum number of ended things that stay in the state, of each kind: answered interrupts (at least half as many),
#: skipped errors, names of unhandled signals. So an execution of any length needs constant memory for them.
KEPT: Final = 1024


class Unset(Enum):
    """The type of `UNSET`, which means no value. None is a value."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class Lost:
    """The outcome of a branch that gives no value, in its slot. `failure` is set on its way to a collecting block."""

    __slots__ = ("failure",)

    def __init__(self, failure: Failure | None) -> None:
        self.failure = failure


#: The outcome of a branch whose failure an error route or `skip_exceptions` has handled.
MISSING: Final = Lost(None)

#: First value of `RunState.sent`: an execution to which no event is sent needs no set of its own.
NONE_SENT: Final = frozenset[str]()


class Status(StrEnum):
    """The status of an execution. The last three are final."""

    CREATED = "created"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: The same as plain text, for public interfaces.
StatusName = Literal["created", "running", "waiting", "completed", "failed", "cancelled"]


class Limiter:
    """A concurrency limit: `used` permits of `limit` are taken. Runs without a permit queue for one.

    The queue has two parts. First come suspended runs that need their permits back, the newest first (`returning`, by
    number). Then come the others in their order (`waiting`). A run that is dropped from `waiting` stays there without
    limiters and is passed over; `gone` counts these. `among` holds the numbers of the runs in `waiting` that respect
    several limits.
    """

    __slots__ = ("among", "gone", "limit", "returning", "used", "waiting")

    #: how much `limit` shrinks when a run returns a permit
    leaves: ClassVar[int] = 0

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.returning: dict[int, RunChunk | SubFlowPermit] | None = None
        self.waiting: deque[RunChunk | SubFlowPermit] | None = None
        self.gone = 0
        self.among: dict[int, None] | None = None

    @property
    def queue(self) -> list[RunChunk | SubFlowPermit]:
        """The queued runs, in order."""
        returning = [*(self.returning or {}).values()]
        return [*reversed(returning), *(run for run in self.waiting or () if run.limiters)]


class PermitGrant(Limiter):
    """Permits that the parent granted to this sub-flow, of the limits around its step.

    `held` counts the permits that were granted and not returned; `asked` counts the open requests. A permit that a run
    returns goes back to the parent at once, where other runs may be queued for it.
    """

    __slots__ = ("asked", "held")

    leaves: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__(0)
        self.held = 0
        self.asked = 0


class CompletionGroup:
    """What the signals of one emitter have started. `live` counts runs, delayed signals, pulls, busy child groups."""

    __slots__ = ("handling", "live", "over", "parent", "provisional", "waits")

    def __init__(self, parent: CompletionGroup | None) -> None:
        self.parent = parent
        self.live = 0
        # Set when the emitter has ended: no run waits for this group any more, and later child groups go below its
        # parent. Without this, a loop of emits would build an ever longer chain of groups.
        self.over = False
        #: for the work of an error route: the id of its operator, which takes no failure of this work again; "" where
        #: no route takes a failure of this work (rules before `NO_VALUE`)
        self.handling: str | None = None
        #: the innermost provisional signal to which this group belongs
        self.provisional: Provisional | None = None if parent is None else parent.provisional
        #: waits, by the level to which `live` has to fall (at most two levels), then by number
        self.waits: dict[int, dict[int, Wait]] | None = None


class Provisional(CompletionGroup):
    """The completion group of a provisional signal, and what the signal has started, for a retraction.

    `members` are runs, block instances and timers by their number, interrupts by their id (in a tuple), and provisional
    signals inside this one that have members. `by` is the number of the run that sent the signal. A later attempt of
    that run can confirm or retract it. None if there is no such run. `place` says which effect of that run it is, as in
    `RecordedSignal`. `outer` is the provisional signal around it. `slots` are the places in joins outside of its work
    that it has filled (`Joins.provisional`); a later value may have replaced its own.
    """

    __slots__ = ("by", "members", "outer", "place", "retracted", "signal", "slots")

    def __init__(self, signal: int, parent: CompletionGroup | None, by: int | None) -> None:
        super().__init__(parent)
        self.signal = signal
        self.by = by
        self.outer = self.provisional
        self.provisional = self
        self.retracted = False
        self.place: tuple[str, int] = ("", 0)
        #: None while there are none: most provisional signals wait for their confirmation after their work has ended
        self.members: dict[Any, RunChunk | BlockInstance | Timer | Interrupt | Provisional] | None = None
        self.slots: dict[JoinSlot, None] | None = None

    @property
    def group(self) -> CompletionGroup:
        """The group itself, as in `RecordedSignal`."""
        return self


class Wait(msgspec.Struct):
    """A wait of a run: until a group has at most `level` live members, or for something `outside`.

    `id` is the number of its record. A wait can be `over` while the run still queues for its permits.
    """

    id: int
    run: RunChunk | None
    level: int
    outside: bool = False
    over: bool = False
    group: CompletionGroup | None = None


class RunWaits:
    """The waits of one run, by number; `active` counts those that are not over."""

    __slots__ = ("active", "all")

    def __init__(self) -> None:
        self.active = 0
        self.all: dict[int, Wait] = {}


class RecordedSignal(msgspec.Struct, frozen=True):
    """A signal that a later attempt of its emitter may wait for or retract: the number of its record, its group, and
    which effect of the emitter it is (key and count)."""

    signal: int
    group: CompletionGroup
    place: tuple[str, int]


class RecordedSignals:
    """Recorded signals of a run that a later attempt can use: by (effect, count), and by number. A provisional signal
    stands for itself.

    At `limit` entries, those that no attempt can use any more are dropped."""

    __slots__ = ("by_effect", "by_signal", "limit")

    def __init__(self, by_effect: dict[tuple[str, int], RecordedSignal | Provisional]) -> None:
        self.by_effect = by_effect
        self.by_signal = {it.signal: it for it in by_effect.values()}
        self.limit = 8 + 2 * len(by_effect)


class Phase(IntEnum):
    """The phase of a run: queued for permits, running, suspended in a wait, or between two attempts."""

    READY = 0
    RUNNING = 1
    WAITING = 2
    BACKOFF = 3


READY, RUNNING, WAITING, BACKOFF = Phase.READY, Phase.RUNNING, Phase.WAITING, Phase.BACKOFF


class Timer(msgspec.Struct):
    """A timer: of a delayed signal, a retry, a deadline (`when({"timer": ...})`), an expiry of an interrupt, the time
    limit of the execution, or its delayed start.

    `label` is the id of a delayed signal, "" for none. Without `keeps_open` nothing waits for the timer.
    """

    id: int
    due: float
    what: Literal["signal", "retry", "deadline", "expiry", "limit", "start"]
    name: str = ""
    value: Any = None
    run: int | None = None
    group: CompletionGroup | None = None
    label: str = ""
    keeps_open: bool = True


class Interrupt(msgspec.Struct):
    """An open question to the outside. `run` is the run that asked; with `holds` that run has not ended.

    `asked` is the time of its record; None if a snapshot of an earlier version had it open."""

    id: str
    type: str
    payload: Any
    resume_event: str | None
    resume_to: str
    schema: str | None
    expires: float | None
    holds: bool
    run: RunChunk
    timer: int | None = None
    status: Literal["waiting", "resumed", "expired", "retracted"] = "waiting"
    response: Any = None
    request: str | None = None
    asked: float | None = None


class Interruptions:
    """How often the attempts of a run were interrupted: they have neither completed nor failed, because their process
    has ended, or has suspended the execution. Or how often this happened to the pull of a lazy source, since it has
    given its last items.

    `count` has all of these attempts, which a retry policy does not count. `losses` has those that ended with their
    process, and `lost_alone` those of them that had begun as the only suspect of their process (`events.Isolated`): a
    run that has too many is not started again, because it is what ends the process. `orderly`: the process has recorded
    that it stopped the present attempt, so that no loss follows. `alone`: the present attempt is the only suspect.
    """

    __slots__ = ("alone", "count", "losses", "lost_alone", "orderly")

    def __init__(
        self, count: int = 0, losses: int = 0, lost_alone: int = 0, orderly: bool = False, alone: bool = False
    ) -> None:
        self.count = count
        self.losses = losses
        self.lost_alone = lost_alone
        self.orderly = orderly
        self.alone = alone


class RunChunk:
    """The command to run a chunk or condition. It stays in the state until the run has ended.

    `id` is stable over crash and recovery; `attempt` counts from 1. `signal` is the number of the record that caused
    the run. `scope` is the innermost branch; `limiters` are the limits that it respects. `recorded_signals` holds the
    signals that a later attempt can wait for or retract. `handle` belongs to the driver, which cancels the run with it:
    the core never reads or saves it.
    """

    __slots__ = (
        "attempt",
        "digests",
        "effects",
        "failed",
        "group",
        "handle",
        "id",
        "interruptions",
        "limiters",
        "node",
        "phase",
        "recorded_signals",
        "scope",
        "signal",
        "spawned",
        "trigger",
        "value",
        "waits",
    )

    def __init__(
        self,
        id: int,
        node: Node,
        trigger: Trigger,
        value: Any,
        signal: int,
        scope: Branch | None,
        group: CompletionGroup | None,
        limiters: tuple[Limiter, ...],
    ) -> None:
        self.id = id
        self.node = node
        self.trigger = trigger
        self.value = value
        self.signal = signal
        self.scope = scope
        self.group = group
        self.limiters = limiters
        self.handle: Any = None
        self.attempt = 1
        #: how many effects of each kind and name are recorded
        self.effects: dict[str, int] | None = None
        #: for each key of `effects`: the digests of these effects in order; missing for the last ones if unknown
        self.digests: dict[str, array[int]] | None = None
        #: for each key of `effects`: how many of them failed attempts have made. A crash is no failure
        self.failed: dict[str, int] | None = None
        #: None if no attempt was interrupted
        self.interruptions: Interruptions | None = None
        self.phase: Phase = RUNNING
        self.spawned: CompletionGroup | None = None
        self.waits: RunWaits | None = None
        self.recorded_signals: RecordedSignals | None = None

    def __repr__(self) -> str:
        return f"<RunChunk {self.id} of {self.node.id}>"


class SubFlowPermit:
    """The permit of a chunk inside the sub-flow that `step` runs, under the concurrency limits around `step`.

    Its phase is READY while it waits in the queues of the limiters, and RUNNING once they have granted it.
    """

    __slots__ = ("id", "limiters", "phase", "step")

    def __init__(self, id: int, step: RunChunk, limiters: tuple[Limiter, ...]) -> None:
        self.id = id
        self.step = step
        self.limiters = limiters
        self.phase: Phase = RUNNING


class SubFlowPermits:
    """The sub-flow permits of one step, by number: those that are granted (`running`) and queued (`ready`)."""

    __slots__ = ("ready", "running")

    def __init__(self) -> None:
        self.running: dict[int, SubFlowPermit] = {}
        self.ready: dict[int, SubFlowPermit] = {}


class BlockInstance:
    """One pass through a fan-out, with the results of its branches.

    `slots` holds one value per branch, or `Lost`; `missing` counts the branches that have not arrived. `failed` holds,
    by branch, the indexes of operators that failed in it and gave no value; it is None if nothing has failed. For a
    for_each, `source` is the sequence, `next` the position of the next item to start, and `open` the number of items in
    work. The items of a lazy source go into `pulled` (None for a sequence) until it is `exhausted`, by at most one pull
    at a time (`pulling`). If a running chunk gives the items, `giver` is the number of its run, and `fields` has the
    place of each item in `pulled`; it is None once the block was stopped, which then ends with its giver. For a match
    whose cases run, `source` is the positions of these cases. `interruptions` counts those of the open pull.
    """

    __slots__ = (
        "exhausted",
        "failed",
        "feeding",
        "fields",
        "giver",
        "group",
        "id",
        "interruptions",
        "limiters",
        "missing",
        "next",
        "node",
        "open",
        "outer",
        "pulled",
        "pulling",
        "slots",
        "source",
    )

    def __init__(self, id: int, node: Node, outer: Branch | None, group: CompletionGroup | None, size: int) -> None:
        self.id = id
        self.node = node
        self.outer = outer
        self.group = group
        self.slots: list[Any] = [UNSET] * size
        self.missing = size
        self.limiters: tuple[Limiter, ...] = ()
        self.source: Any = None
        self.next = 0
        self.open = 0
        self.failed: dict[int, set[int]] | None = None
        self.feeding = False
        self.pulled: deque[Any] | None = None
        self.pulling = False
        self.exhausted = True
        self.giver: int | None = None
        self.fields: deque[FieldPlace | None] | None = None
        self.interruptions: Interruptions | None = None


class ProposedResult(msgspec.Struct, frozen=True):
    """A result that has arrived, and whether it counts is not known; see `results`.

    `by` is the number of the run that has set it, the id of the `end()` that it reached, or None for a caller. `chunk`
    has set it, or its value has reached the `end()`. `provisional` is the provisional signal in which it was given;
    None if it cannot be taken back.
    """

    by: int | str | None
    chunk: str
    value: Any
    provisional: Provisional | None

    @property
    def is_from_end(self) -> bool:
        """Whether it reached an `end()`, so that its type has to be checked."""
        return type(self.by) is str

    @property
    def is_nothing(self) -> bool:
        """Whether a chunk that may have set the result itself has returned None at an `end()`."""
        return self.value is None and self.is_from_end


class EarlyItems:
    """The items that a running chunk gives to the for_each blocks that follow it: the number of their provisional
    signal, and the block instances."""

    __slots__ = ("instances", "signal")

    def __init__(self, signal: int, instances: list[BlockInstance]) -> None:
        self.signal = signal
        self.instances = instances


class Branch:
    """One branch of a block instance: `index` is the slot that it fills."""

    __slots__ = ("index", "instance")

    def __init__(self, instance: BlockInstance, index: int) -> None:
        self.instance = instance
        self.index = index

    @property
    def path(self) -> tuple[tuple[str, int, int], ...]:
        """The scope from the outermost branch in: (operator id, block instance id, index) each."""
        here = ((self.instance.node.id, self.instance.id, self.index),)
        return self.instance.outer.path + here if self.instance.outer else here


#: Where a slot of a named join is: block instance, branch, name of the join, slot.
JoinSlot = tuple[int, int, str, Any]


class Joins(dict[int, dict[int, dict[str, dict[Any, Any]]]]):
    """Named joins: by block instance, by branch, by name, the latest value of each slot.

    Joins outside of all blocks are at (0, 0). `over` holds the ended branches with half-filled joins. Runs that are
    still active in such a branch can fill them. `provisional` holds the slots whose value came from a provisional
    signal, if the join is not itself a part of what that signal has started.
    """

    __slots__ = ("over", "provisional")

    def __init__(self) -> None:
        super().__init__()
        self.over: dict[tuple[int, int], None] = {}
        self.provisional: dict[JoinSlot, Provisional] = {}


class RunState:
    """The state of one execution."""

    __slots__ = (
        "_data",
        "block_instances",
        "chunk_limiters",
        "closing",
        "configured",
        "derived",
        "grant",
        "has_handle",
        "joins",
        "limiters",
        "many",
        "max_pending",
        "next_id",
        "rare",
        "records",
        "result",
        "retracted",
        "sent",
        "sole",
        "started",
        "status",
        "stream",
        "stream_stopped",
        "waits",
    )

    # Most executions never set these.
    keep_open = SparseAttribute(False)
    skip_exceptions = SparseAttribute(False)
    #: whether a result from the graph has to be checked; the id of its `end()` and the result that is being checked
    checks_result = SparseAttribute(False)
    unchecked: SparseAttribute[tuple[str, Any] | None] = SparseAttribute(None)
    #: results that may still be taken back, in the order in which they count
    proposed: SparseAttribute[deque[ProposedResult] | None] = SparseAttribute(None)
    error: SparseAttribute[ErrorInfo | None] = SparseAttribute(None)
    reason = SparseAttribute("")
    skipped: SparseAttribute[list[ErrorInfo] | None] = SparseAttribute(None)
    #: whether a failure was taken by an error route or `skip_exceptions`, or a sub-flow gave no value because of one
    lost = SparseAttribute(False)
    #: keys whose list no reader holds, so that an append can grow it
    owned: SparseAttribute[set[str] | None] = SparseAttribute(None)
    unheard: SparseAttribute[set[str] | None] = SparseAttribute(None)
    #: a durable sub-flow: its own changes of the shared data by key; UNSET for a key that it has deleted
    flow_data: SparseAttribute[dict[str, Any] | None] = SparseAttribute(None)
    timers: SparseAttribute[dict[int, Timer] | None] = SparseAttribute(None)
    #: a heap of (due, timer number), made on the first call of `next_due`
    dues: SparseAttribute[list[tuple[float, int]] | None] = SparseAttribute(None)
    #: the numbers of the delayed signals by name and by label, made on the first cancellation
    delayed: SparseAttribute[dict[str, dict[int, None]] | None] = SparseAttribute(None)
    #: how many timers are deadlines, and how many others do not keep the execution open
    deadlines = SparseAttribute(0)
    loose = SparseAttribute(0)
    #: after how many seconds the execution fails; None for no limit
    execution_timeout: SparseAttribute[float | None] = SparseAttribute(None)
    #: whether it was closed before its start, and cannot be started any more
    never_starts = SparseAttribute(False)
    interrupts: SparseAttribute[dict[str, Interrupt] | None] = SparseAttribute(None)
    #: provisional signals, by the number of their record
    provisional: SparseAttribute[dict[int, Provisional] | None] = SparseAttribute(None)
    #: provisional signals without members that no run can confirm or retract any more
    idle_provisional: SparseAttribute[dict[int, None] | None] = SparseAttribute(None)
    #: what running chunks give to the for_each blocks that follow them, by the number of the run
    early: SparseAttribute[dict[int, EarlyItems] | None] = SparseAttribute(None)
    #: permits of sub-flows, granted or queued, by the number of their step
    steps: SparseAttribute[dict[int, SubFlowPermits] | None] = SparseAttribute(None)
    #: the number of open interrupts
    asking = SparseAttribute(0)
    #: the timers of runs that wait for their next attempt, by the number of the run
    retries: SparseAttribute[dict[int, int] | None] = SparseAttribute(None)
    #: the number of open pulls from lazy sources
    pulls = SparseAttribute(0)
    #: see `events.RULES`; the current rules take no memory
    rules = SparseAttribute(RULES)

    def __init__(self) -> None:
        self.rare: dict[str, Any] | None = None
        self.status = Status.CREATED
        self.started = False
        self.configured = False
        #: whether a caller holds the handle and can still send signals; false after `CloseRequested`. Stored as
        #: `attended`
        self.has_handle = True
        #: rules before `DECLARED`: the external events that the execution waits for, less those that its chunks have
        #: emitted
        self.derived: frozenset[str] | None = None
        #: the events with listeners that were sent so far; None if no caller holds the handle
        self.sent: frozenset[str] | set[str] | None = None
        self.max_pending = 1024
        self.records = 0
        self.next_id = 1
        #: the only run, as long as there was never more than one; `many` holds all runs by number after that
        self.sole: RunChunk | None = None
        self.many: dict[int, RunChunk] | None = None
        self.result: Any = UNSET
        self._data: dict[str, Any] | None = None
        self.stream = 0
        self.stream_stopped = False
        #: the limit of the execution and its `PermitGrant`; a tuple, which runs without other limits share
        self.limiters: tuple[Limiter, ...] = ()
        #: the permits of a sub-flow with limits around its step; else None. Stored as `lease`
        self.grant: PermitGrant | None = None
        self.closing: Status | None = None
        # Made on first use, so that a waiting execution stays small.
        self.chunk_limiters: dict[str, Limiter] | None = None
        self.block_instances: dict[int, BlockInstance] | None = None
        self.joins: Joins | None = None
        self.waits: dict[int, Wait] | None = None
        #: runs that were cancelled by a retraction and have not stopped yet
        self.retracted: dict[int, RunChunk] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The user's data by key."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def runs(self) -> dict[int, RunChunk]:
        """The runs that have not ended, by number. `run` and `idle` cost less."""
        if self.many is None:
            self.many = {} if self.sole is None else {self.sole.id: self.sole}
            self.sole = None
        return self.many

    def run(self, number: int | None) -> RunChunk | None:
        """Return the run with this number, or None."""
        if self.many is not None:
            return self.many.get(number)  # pyright: ignore[reportArgumentType] - no run has the number None
        sole = self.sole
        return sole if sole is not None and sole.id == number else None

    def begin(self, run: RunChunk) -> None:
        """Add a run."""
        if self.many is not None:
            self.many[run.id] = run
        elif self.sole is None:
            self.sole = run
        else:
            self.runs[run.id] = run

    def end(self, run: RunChunk) -> None:
        """Remove a run."""
        if self.many is None:
            self.sole = None
        else:
            del self.many[run.id]

    def idle(self) -> bool:
        """Whether no run is left."""
        return self.sole is None and not self.many

    def note_sent(self, name: str) -> None:
        """Note that an event with listeners was sent, for the first time in this execution."""
        if not isinstance(self.sent, set):
            self.sent = set(self.sent or ())
        self.sent.add(name)

    @property
    def sub_flow_permits(self) -> dict[int, SubFlowPermit]:
        """All permits of sub-flows, granted or queued, by number."""
        return {
            number: permit
            for permits in (self.steps or {}).values()
            for number, permit in (*permits.running.items(), *permits.ready.items())
        }

    def disown(self, key: str) -> None:
        """Note that a reader holds the value at a key: the next append makes a new list."""
        if self.owned:
            self.owned.discard(key)

    def change_own(self, op: str, key: str, value: Any) -> Any:
        """Change the own shared data of a sub-flow; return the value after the change, None after a "delete".

        An append finds the list of the sub-flow, or begins one: the first change of a key never is an append to what
        the flow has.
        """
        if self.flow_data is None:
            self.flow_data = {}
        held, value = self.flow_data.get(key, ()), freeze(value)
        if op == "append":
            value = FrozenList([*(items_of(held) or ()), value])
        self.flow_data[key] = UNSET if op == "delete" else value
        return None if op == "delete" else value

    def append(self, key: str, value: Any) -> list[Any]:
        """Append to the list at a key of the user's data, and return the list.

        The first append copies the list. Later ones grow the copy, until a reader gets it (`disown`): a list that a
        reader holds never changes. Raises `ProtocolError` if the value at the key is not a list.
        """
        data, owned = self.data, self.owned
        if owned is None:
            owned = self.owned = set[str]()
        if key in owned:
            _append(data[key], value)
            return data[key]
        held = items_of(data.get(key, ()))
        if held is None:
            raise ProtocolError(f"state[{key!r}] is a {type_name(data[key])}; only a list can be appended to")
        owned.add(key)
        held.append(value)
        frozen = data[key] = FrozenList(held)
        return frozen
