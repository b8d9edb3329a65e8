"""Everything an execution remembers: all of it is saved, and nothing else is.

`RunState` is written by `Machine.receive` only. Ids are counters in it, so that the same records always give the same
state. The parts:

* a `RunChunk` is one run of a chunk or condition, from the signal that caused it to its completion;
* a `BlockInstance` is one pass through a fan-out (batch, for_each, match); a `Branch` is one branch of it. The chain of
  branches outwards is the *scope* of a run: two passes through one block never share a branch, hence never mix;
* a `Limiter` counts the permits of a concurrency limit and holds the queue for them; a `SubFlowPermit` waits in it for
  a chunk of a sub-flow, and a `PermitGrant` holds the permits that the parent granted to the sub-flow;
* a `CompletionGroup` counts what a chunk's signals have set in motion, for those who wait for it; a `Provisional` holds
  it, so that it can be taken back.

No record may cost more because more is open. So what a transition has to find is found by its number, or hangs where
the transition comes from: waits on their run, permits of sub-flows on their step, half-filled joins on their branch.
"""

from collections import deque
from enum import Enum, IntEnum, StrEnum
from typing import Any, ClassVar, Final, Literal, NamedTuple

import msgspec

from .errors import ProtocolError
from .events import RULES, ErrorInfo
from .plan import Node
from .signals import Trigger
from .sparse import SparseAttribute
from .values import items_of, type_name

#: How much of what is over is kept for those who ask late, at most: answered interrupts (at least half as many),
#: skipped errors, names of unheard signals. So an execution of any length needs constant memory for them.
KEPT: Final = 1024


class Unset(Enum):
    """The type of `UNSET`: no value at all, which is not None."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

#: What `RunState.sent` begins with, so that an execution that is sent nothing needs no set of its own.
NONE_SENT: Final = frozenset[str]()


class Status(StrEnum):
    """Where an execution stands. The last three are final."""

    CREATED = "created"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: The same as plain text, for those who read it outside.
StatusName = Literal["created", "running", "waiting", "completed", "failed", "cancelled"]


class Limiter:
    """A true upper bound: `used` places of `limit` are taken. Who has none queues for one.

    First come those that get theirs back, the newest first (`returning`, by number); then the others as they came
    (`waiting`). Of these, who is dropped stays in the line without its limits, and is passed over; `gone` counts them.
    `among` says who of those that respect several limits queues in this one.
    """

    __slots__ = ("among", "gone", "limit", "returning", "used", "waiting")

    #: how many of its places a run that gives its own back takes with it
    leaves: ClassVar[int] = 0

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.returning: dict[int, RunChunk | SubFlowPermit] | None = None
        self.waiting: deque[RunChunk | SubFlowPermit] | None = None
        self.gone = 0
        self.among: dict[int, None] | None = None

    @property
    def queue(self) -> "list[RunChunk | SubFlowPermit]":
        """Who waits for a place, in order."""
        returning = [*(self.returning or {}).values()]
        return [*reversed(returning), *(run for run in self.waiting or () if run.limiters)]


class PermitGrant(Limiter):
    """What a sub-flow has of the limits around its step: as many places as were granted to it and not given back.

    `held` is their number, `asked` how many more it has asked for. A place that is given back leaves at once, so that
    whoever waits for it elsewhere has its turn.
    """

    __slots__ = ("asked", "held")

    leaves: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__(0)
        self.held = 0
        self.asked = 0


class CompletionGroup:
    """What one emitter's signals keep busy. `live` counts runs, delayed signals, sources and busy child groups."""

    __slots__ = ("handling", "live", "over", "parent", "provisional", "waits")

    def __init__(self, parent: "CompletionGroup | None") -> None:
        self.parent = parent
        self.live = 0
        # Set when the emitter has ended: nobody will wait for this group any more, so that children made later
        # hang on its parent. That keeps a loop of emits from growing a chain of groups.
        self.over = False
        # Set where an error route is at work: what fails below it is not routed again.
        self.handling = False
        #: the innermost provisional signal that this is caused by
        self.provisional: Provisional | None = None if parent is None else parent.provisional
        #: who waits, by the level that `live` has to fall to (there are two at most), then by number
        self.waits: dict[int, dict[int, Wait]] | None = None


class Provisional:
    """A provisional signal: what is at work because of it, for whoever takes it back.

    `members` are runs, openings and delayed signals by their number, questions by their id (in a tuple), and the
    provisional signals inside this one that have members themselves. `by` is the number of the run that can come back
    to it, if one can.
    """

    __slots__ = ("by", "group", "members", "outer", "signal")

    def __init__(self, signal: int, group: CompletionGroup, by: int | None) -> None:
        self.signal = signal
        self.group = group
        self.by = by
        self.outer = group.provisional
        self.members: dict[Any, RunChunk | BlockInstance | Timer | Interrupt | Provisional] = {}


class Wait(msgspec.Struct):
    """A run that waits until its group has at most `level` live members, or for something `outside`.

    `id` is the number of its record. A wait that is `over` may still lack the run's place.
    """

    id: int
    run: "RunChunk | None"
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


class RecordedSignal(NamedTuple):
    """A signal that a later attempt of its emitter may wait for, or take back: the number of its record, its group."""

    signal: int
    group: CompletionGroup


class KeptSignals:
    """The signals that a run may come back to, by effect and place, and by their number. Those that are done with are
    dropped when there are `limit`."""

    __slots__ = ("limit", "of_place", "of_signal")

    def __init__(self, of_place: dict[tuple[str, int], RecordedSignal]) -> None:
        self.of_place = of_place
        self.of_signal = {kept.signal: kept for kept in of_place.values()}
        self.limit = 8 + 2 * len(of_place)


class Phase(IntEnum):
    """Where a run stands."""

    READY = 0
    RUNNING = 1
    WAITING = 2
    BACKOFF = 3


READY, RUNNING, WAITING, BACKOFF = Phase.READY, Phase.RUNNING, Phase.WAITING, Phase.BACKOFF


class Timer(msgspec.Struct):
    """Something that is due at a time: a delayed signal, a retry, a deadline (`when({"timer": ...})`), an expiry."""

    id: int
    due: float
    what: Literal["signal", "retry", "deadline", "expiry"]
    name: str = ""
    value: Any = None
    run: int | None = None
    group: CompletionGroup | None = None


class Interrupt(msgspec.Struct):
    """A question to the outside. `run` is the chunk run that asked; `holds` if that run is still going on."""

    id: str
    type: str
    payload: Any
    resume_event: str | None
    resume_to: str
    schema: str | None
    expires: float | None
    holds: bool
    run: "RunChunk"
    timer: int | None = None
    status: Literal["waiting", "resumed", "expired", "retracted"] = "waiting"
    response: Any = None
    request: str | None = None


class RunChunk:
    """The command to run a chunk or condition, kept in the state until the run has ended.

    `id` is stable over crash and recovery; `attempt` counts from 1. `signal` is the number of the record that caused
    the run. `scope` is the innermost frame; `limiters` are the bounds it has to respect. `kept` holds what a later
    attempt may come back to, by the number of the effect. `handle` belongs to the driver (what to cancel): it is never
    read here and never saved.
    """

    __slots__ = (
        "attempt",
        "effects",
        "group",
        "handle",
        "id",
        "kept",
        "limiters",
        "node",
        "phase",
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
        scope: "Branch | None",
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
        self.phase: Phase = RUNNING
        self.spawned: CompletionGroup | None = None
        self.waits: RunWaits | None = None
        self.kept: KeptSignals | None = None

    def __repr__(self) -> str:
        return f"<RunChunk {self.id} of {self.node.id}>"


class SubFlowPermit:
    """A chunk inside the sub-flow that `step` runs, in the limits around that step: READY in a queue, or RUNNING."""

    __slots__ = ("id", "limiters", "phase", "step")

    def __init__(self, id: int, step: RunChunk, limiters: tuple[Limiter, ...]) -> None:
        self.id = id
        self.step = step
        self.limiters = limiters
        self.phase: Phase = RUNNING


class Guests:
    """The guests of one step, by number: those that have a place, and those that queue."""

    __slots__ = ("ready", "running")

    def __init__(self) -> None:
        self.running: dict[int, SubFlowPermit] = {}
        self.ready: dict[int, SubFlowPermit] = {}


class BlockInstance:
    """One pass through a fan-out: where its results come together.

    `slots` holds one value a branch; `missing` counts branches that have not arrived. For for_each, `source` is the
    sequence, `next` the next position to open and `open` the number of items now open; a lazy source is pulled into
    `pulled` (None for a sequence) until it is `exhausted`, by at most one pull at a time (`pulling`).
    """

    __slots__ = (
        "exhausted",
        "feeding",
        "group",
        "id",
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

    def __init__(self, id: int, node: Node, outer: "Branch | None", group: CompletionGroup | None, size: int) -> None:
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
        self.feeding = False
        self.pulled: deque[Any] | None = None
        self.pulling = False
        self.exhausted = True


class Branch:
    """One branch of an opening: the position whose slot it fills."""

    __slots__ = ("index", "opening")

    def __init__(self, opening: BlockInstance, index: int) -> None:
        self.opening = opening
        self.index = index

    @property
    def path(self) -> tuple[tuple[str, int, int], ...]:
        """The scope from the outermost frame in: (operator, opening, index) each."""
        here = ((self.opening.node.id, self.opening.id, self.index),)
        return self.opening.outer.path + here if self.opening.outer else here


class Joins(dict[int, dict[int, dict[str, dict[Any, Any]]]]):
    """What named joins hold: by opening, by branch, by name, the latest value of each slot; outside every block under
    (0, 0).

    `over` are the branches that have ended and left something half-filled: what is still at work in them may fill it.
    """

    __slots__ = ("over",)

    def __init__(self) -> None:
        super().__init__()
        self.over: dict[tuple[int, int], None] = {}


class RunState:
    """The whole memory of one execution."""

    __slots__ = (
        "_data",
        "attended",
        "chunk_limiters",
        "closing",
        "configured",
        "derived",
        "joins",
        "lease",
        "limiters",
        "many",
        "max_pending",
        "next_id",
        "openings",
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

    # What an execution needs only if it does more than run its chunks and signals.
    keep_open = SparseAttribute(False)
    skip_exceptions = SparseAttribute(False)
    #: whether a result from the graph has to be checked, and the one that is being checked, with the `end()` it reached
    checks_result = SparseAttribute(False)
    unchecked: SparseAttribute[tuple[str, Any] | None] = SparseAttribute(None)
    error: SparseAttribute[ErrorInfo | None] = SparseAttribute(None)
    reason = SparseAttribute("")
    skipped: SparseAttribute[list[ErrorInfo] | None] = SparseAttribute(None)
    #: keys whose list is the state's own
    owned: SparseAttribute[set[str] | None] = SparseAttribute(None)
    unheard: SparseAttribute[set[str] | None] = SparseAttribute(None)
    timers: SparseAttribute[dict[int, Timer] | None] = SparseAttribute(None)
    #: a heap of the times at which timers are due, with their numbers, once somebody has asked for the first one
    dues: SparseAttribute[list[tuple[float, int]] | None] = SparseAttribute(None)
    interrupts: SparseAttribute[dict[str, Interrupt] | None] = SparseAttribute(None)
    #: provisional signals, by the number of their record
    provisional: SparseAttribute[dict[int, CompletionGroup] | None] = SparseAttribute(None)
    #: those of them of which nothing is left to take back, and nobody to come back to them
    idle_provisional: SparseAttribute[dict[int, None] | None] = SparseAttribute(None)
    #: the chunks of sub-flows that have a place here, or wait for one, by the number of their step
    steps: SparseAttribute[dict[int, Guests] | None] = SparseAttribute(None)
    #: how many questions wait for an answer
    asking = SparseAttribute(0)
    #: the timers of runs that wait for their next attempt, by the number of the run
    retries: SparseAttribute[dict[int, int] | None] = SparseAttribute(None)
    #: how many lazy sources are being asked for items
    pulls = SparseAttribute(0)
    #: see `events.RULES`; those of today take no room
    rules = SparseAttribute(RULES)

    def __init__(self) -> None:
        self.rare: dict[str, Any] | None = None
        self.status = Status.CREATED
        self.started = False
        self.configured = False
        self.attended = True
        #: of an execution recorded before external events were declared: what it waits for, until it emits it itself
        self.derived: frozenset[str] | None = None
        #: the events with listeners that were sent so far; None where nobody asks: the execution is not attended
        self.sent: frozenset[str] | set[str] | None = None
        self.max_pending = 1024
        self.records = 0
        self.next_id = 1
        #: the run that goes on, as long as it was never more than one: that needs no dict; then all of them, by number
        self.sole: RunChunk | None = None
        self.many: dict[int, RunChunk] | None = None
        self.result: Any = UNSET
        self._data: dict[str, Any] | None = None
        self.stream = 0
        self.stream_stopped = False
        #: the execution's own limit and its lease, as a tuple so that a run without other limits can share it
        self.limiters: tuple[Limiter, ...] = ()
        #: set in a sub-flow with limits around its step
        self.lease: PermitGrant | None = None
        self.closing: Status | None = None
        # What most executions never need is made on first use: an execution held waiting stays small.
        self.chunk_limiters: dict[str, Limiter] | None = None
        self.openings: dict[int, BlockInstance] | None = None
        self.joins: Joins | None = None
        self.waits: dict[int, Wait] | None = None
        #: runs that were cancelled with a provisional signal and have not stopped
        self.retracted: dict[int, RunChunk] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The user's data by key."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def runs(self) -> dict[int, RunChunk]:
        """The runs that have begun and not ended, by number. To ask for one, or whether there is any, costs less."""
        if self.many is None:
            self.many = {} if self.sole is None else {self.sole.id: self.sole}
            self.sole = None
        return self.many

    def run(self, number: int | None) -> RunChunk | None:
        """The run of a number."""
        if self.many is not None:
            return self.many.get(number)  # pyright: ignore[reportArgumentType] - None is nobody's number
        sole = self.sole
        return sole if sole is not None and sole.id == number else None

    def begin(self, run: RunChunk) -> None:
        """One run more."""
        if self.many is not None:
            self.many[run.id] = run
        elif self.sole is None:
            self.sole = run
        else:
            self.runs[run.id] = run

    def end(self, run: RunChunk) -> None:
        """One run less."""
        if self.many is None:
            self.sole = None
        else:
            del self.many[run.id]

    def idle(self) -> bool:
        """Whether no run goes on."""
        return self.sole is None and not self.many

    def note_sent(self, name: str) -> None:
        """An event that something listens to was sent, for the first time in this execution."""
        if not isinstance(self.sent, set):
            self.sent = set(self.sent or ())
        self.sent.add(name)

    @property
    def guests(self) -> dict[int, SubFlowPermit]:
        """All guests, by number."""
        return {
            number: guest
            for guests in (self.steps or {}).values()
            for number, guest in (*guests.running.items(), *guests.ready.items())
        }

    def disown(self, key: str) -> None:
        """Somebody else has the value at a key now: the next append makes a new list instead of growing that one."""
        if self.owned:
            self.owned.discard(key)

    def append(self, key: str, value: Any) -> list[Any]:
        """Append to the list at a key of the user's data; raises `ProtocolError` if something else stands there.

        The list becomes the state's own on the first append, until it is read or passed on: one that anybody has got
        stays as it was then.
        """
        data, owned = self.data, self.owned
        if owned is None:
            owned = self.owned = set[str]()
        if key in owned:
            data[key].append(value)
            return data[key]
        held = items_of(data.get(key, ()))
        if held is None:
            raise ProtocolError(f"state[{key!r}] is a {type_name(data[key])}; only a list can be appended to")
        owned.add(key)
        held.append(value)
        data[key] = held
        return held
