"""Everything that can happen to an execution: the records of its journal.

The journal *is* this sequence; state, stream, snapshots and traces are read from it. Each record carries the time at
which it was accepted (`at`, seconds since the epoch): the core has no other clock. `run` is the number of the chunk run
that caused the record, or None for the outside world.
"""

from typing import Any, Literal

import msgspec

#: The effect of a stream item, which is counted on the shortest way.
STREAM = "stream"


#: The rules by which the core takes records in. A journal is replayed by those that it began with:
#: 0: a value was compared with the literal of a case as the signal came, also by the value's own `==`;
#: 1: where only the value's own `==` can tell, the case is asked by a run of its own, and a record tells its answer;
#: 2: an execution waits for the external events that its definition declares; before, for those that no chunk is known
#:    to emit.
RULES = 2

#: The first rules by which external events are declared.
DECLARED = 2


class ErrorInfo(msgspec.Struct, frozen=True):
    """What a journal keeps of an exception. The live object stays with the driver."""

    type: str
    message: str
    chunk: str = ""


class Event(msgspec.Struct, tag_field="record", omit_defaults=True):
    """Base of all records. Journals omit what is default: a default, once released, keeps its meaning for ever."""

    @property
    def effect(self) -> str:
        """What the effects of a run are told apart by, for an attempt that repeats it; "" for what is no effect.

        A later attempt may do other things than the one before, or in another order (a model answers anew): of each
        kind of effect, and name, those that are recorded already are skipped, and the rest is recorded.
        """
        return ""


class Started(Event, tag="started"):
    """The execution starts. All options that change its course stand in this record, so that a journal replays alone.

    `attended` says that somebody holds the execution's handle and can send signals from outside; `leases`, that this is
    a sub-flow whose chunks need places in the limits around its step; `keep_open`, that it shall not close at rest,
    whatever it waits for; `checks_result`, that the flow promises a type for its result: a result from the graph counts
    once `ResultChecked` says so. `rules` is the number of the rules by which the execution goes on, see `RULES`.
    """

    at: float
    value: Any
    attended: bool = True
    concurrency: int | None = None
    skip_exceptions: bool = False
    max_pending: int = 1024
    leases: bool = False
    keep_open: bool = False
    rules: int = 0
    checks_result: bool = False


class Created(Event, tag="created"):
    """Options for an execution that something reaches before it starts; otherwise they come with `Started`."""

    at: float
    attended: bool = True
    concurrency: int | None = None
    skip_exceptions: bool = False
    max_pending: int = 1024
    leases: bool = False
    keep_open: bool = False
    rules: int = 0
    checks_result: bool = False


class Completed(Event, tag="completed"):
    """A chunk returned, or a condition answered."""

    at: float
    run: int
    value: Any


class Failed(Event, tag="failed"):
    """A chunk raised. `retry_in` is the time in seconds after which its policy tries again, None if it does not."""

    at: float
    run: int
    error: ErrorInfo
    retry_in: float | None = None


class Cancelled(Event, tag="cancelled"):
    """A chunk that was told to stop has stopped."""

    at: float
    run: int


class Emitted(Event, tag="emitted"):
    """A signal was emitted by a chunk or from outside. With `settle` the emitter waits for all it causes.

    `delay` (seconds) makes it a timer: the signal is fired when the time has come. What a `provisional` signal starts
    can be retracted, until it is confirmed."""

    at: float
    run: int | None
    name: str
    value: Any
    settle: bool = False
    delay: float | None = None
    provisional: bool = False
    may_wait: bool = True

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"emitted:{self.name}"


class AwaitedAgain(Event, tag="awaited_again"):
    """A repeated attempt waits for what an earlier one's settling signal caused; `signal` is its record's number."""

    at: float
    run: int
    signal: int


class Confirmed(Event, tag="confirmed"):
    """A provisional signal stands: what it started cannot be retracted any more. `signal` is its record's number."""

    at: float
    run: int | None
    signal: int

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return "confirmed"


class Retracted(Event, tag="retracted"):
    """A provisional signal was taken back: what it started is cancelled, and starts nothing more."""

    at: float
    run: int | None
    signal: int
    reason: str

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return "retracted"


class WaitGivenUp(Event, tag="wait_given_up"):
    """An emitter that waited for its signals does not wait any longer; it goes on once it has its places again."""

    at: float
    wait: int


class ExternalWaitStarted(Event, tag="parked"):
    """A chunk waits for something outside (a slow reader) and gives up its places meanwhile."""

    at: float
    run: int


class ExternalWaitEnded(Event, tag="unparked"):
    """The wait that began with record `wait` is over: the chunk goes on as soon as it has its places again."""

    at: float
    wait: int


class StateChanged(Event, tag="state"):
    """The execution's state changed at one key."""

    at: float
    run: int | None
    op: Literal["set", "append", "delete"]
    key: str
    value: Any = None
    emit: bool = True

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"state:{self.key}"


class FlowDataChanged(Event, tag="flow_data"):
    """The data shared by all executions of the flow changed at one key; `value` is the value after the change."""

    at: float
    run: int | None
    key: str
    value: Any

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"flow_data:{self.key}"


class StreamPut(Event, tag="stream"):
    """An item was put into the runtime stream. `path` leads to the sub-flow it comes from, "" for this flow itself."""

    at: float
    run: int | None
    item: Any
    path: str = ""

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return STREAM


class StreamStopped(Event, tag="stream_stopped"):
    """The runtime stream was ended by a chunk or from outside."""

    at: float
    run: int | None

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return "stream_stopped"


class ResultSet(Event, tag="result"):
    """The result was set by name; the first result stands, unless this one is to `replace` it."""

    at: float
    run: int | None
    value: Any
    replace: bool = False

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return "result"


class ResultChecked(Event, tag="result_checked"):
    """The result that reached an `end()` fits what the flow promises; `value` is the result, converted."""

    at: float
    value: Any


class ResultRejected(Event, tag="result_rejected"):
    """The result that reached an `end()` does not fit what the flow promises: the execution fails."""

    at: float
    error: ErrorInfo


class Paused(Event, tag="paused"):
    """A chunk opened an interrupt. With `holds` the run goes on (a sub-flow waits inside it), otherwise it has ended.

    The answer goes to `resume_event` if one is named; else `resume_to` says what it starts: "next" what follows the
    chunk, "self" the chunk again. `expires` is the time (seconds since the epoch) up to which an answer is taken.
    """

    at: float
    run: int
    interrupt: str
    type: str = "pause"
    payload: Any = None
    resume_event: str | None = None
    resume_to: str = "next"
    schema: str | None = None
    expires: float | None = None
    holds: bool = False


class Resumed(Event, tag="resumed"):
    """An interrupt was answered. The same `request` twice is one answer."""

    at: float
    interrupt: str
    value: Any
    request: str | None = None


class InterruptClosed(Event, tag="withdrawn"):
    """Who had asked does not ask any more, or, if it is `expired`, not in time; an interrupt that was not answered
    closes."""

    at: float
    interrupt: str
    expired: bool = False


class TimerFired(Event, tag="timer_fired"):
    """The time of a timer has come."""

    at: float
    timer: int


class SourceItems(Event, tag="pulled"):
    """The next items of a lazy for_each source; `done` if there are no more."""

    at: float
    opening: int
    items: list[Any]
    done: bool = False


class SourceFailed(Event, tag="pull_failed"):
    """A lazy for_each source raised."""

    at: float
    opening: int
    error: ErrorInfo


class PermitsRequested(Event, tag="places_wanted"):
    """The sub-flow that runs inside `run` asks for places in the limits around it."""

    at: float
    run: int
    count: int


class PermitsReturned(Event, tag="places_returned"):
    """The sub-flow that runs inside `run` gives places back."""

    at: float
    run: int
    count: int


class PermitsGranted(Event, tag="places_granted"):
    """This sub-flow has got places in the limits around its step."""

    at: float
    count: int


class Recovered(Event, tag="recovered"):
    """The execution goes on in another process, or after a load, and something was running: it is run again."""

    at: float


class CancelRequested(Event, tag="cancel_requested"):
    """Somebody cancels the execution."""

    at: float
    reason: str


class CleanupTimedOut(Event, tag="abandoned"):
    """The deadline for clean-up has passed; runs that were told to stop and still run are given up."""

    at: float


class CloseRequested(Event, tag="close_requested"):
    """Nobody will send another signal from outside; close as soon as everything has settled."""

    at: float


Record = (
    Created
    | Started
    | Completed
    | Failed
    | Cancelled
    | Emitted
    | AwaitedAgain
    | Confirmed
    | Retracted
    | WaitGivenUp
    | ExternalWaitStarted
    | ExternalWaitEnded
    | StateChanged
    | FlowDataChanged
    | StreamPut
    | StreamStopped
    | ResultSet
    | ResultChecked
    | ResultRejected
    | Paused
    | Resumed
    | InterruptClosed
    | TimerFired
    | SourceItems
    | SourceFailed
    | PermitsRequested
    | PermitsReturned
    | PermitsGranted
    | Recovered
    | CancelRequested
    | CleanupTimedOut
    | CloseRequested
)
