"""Records: everything that the machine of an execution receives.

The journal is the sequence of these records. State, stream, snapshots and traces are derived from it. Each record has
the time at which it was accepted (`at`, seconds since the epoch): the core has no other clock. `run` is the number of
the chunk run that caused the record, or None for an outside caller.
"""

from typing import Any, Literal

import msgspec

from .signals import FieldPlace

#: The deduplication key of stream items (see `Event.effect`). `Machine.receive_item` uses it
#: directly, to save a call for each item.
STREAM = "stream"

#: The deduplication keys of what a run dispatches for fields of a model's answer: signals (with their name behind it),
#: and items of for_each blocks.
FIELD, ITEMS_GIVEN = "field:", "items_given"
OF_FIELDS = (FIELD, ITEMS_GIVEN)


#: The version of the rules by which the core applies records. A journal is replayed by the rules of its first record:
#: 0: the core compared a value with the literal of a case itself, even if that called the `==` method of a user's
#:    class;
#: 1: a comparison that needs the `==` method of a user's class is a run of its own, and a record has its result;
#: 2: an idle execution waits for the external events that its definition declares. By rules 0 and 1 it waits for the
#:    events that no chunk is known to emit;
#: 3: a failed branch gives no value (decision 0018). Before, it gave None where an error route or `skip_exceptions` had
#:    taken the failure, a condition that raised counted as false, and no route took what failed in the work of a route;
#: 4: an execution that has its result and waits only for answers completes at its time limit. Before, it failed;
#: 5: a result from inside of a provisional signal counts when the signal is confirmed, and a for_each whose items a
#:    running chunk gives ends when that chunk does, also if it was stopped. Before, both counted at once.
RULES = 5

#: The first version of the rules with declared external events.
DECLARED = 2
#: The first version of the rules in which a failed branch gives no value.
NO_VALUE = 3
#: The first version of the rules in which the time limit completes an execution that waits only for answers.
LIMIT_COMPLETES = 4
#: The first version of the rules in which a retraction takes results back.
PROVISIONAL_RESULTS = 5


class ErrorInfo(msgspec.Struct, frozen=True):
    """The recorded part of an exception. The driver keeps the exception object itself."""

    type: str
    message: str
    chunk: str = ""


class Failure(msgspec.Struct, frozen=True):
    """A failure in place of a value, where a block has `on_error="collect"`; also `data.failure` in a `fallback`.

    `chunk` is the name of the chunk that failed, or the name of the sub-flow step or the id of the operator. `type` is
    the name of the exception's class and `message` its text. `value` is the value with which the chunk ran; None for a
    source of items.
    """

    chunk: str
    type: str
    message: str
    value: Any = None


class ModelCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of a model during an attempt of a chunk: when it began, and how many seconds it took.

    `model`, `id`, `finish` and the counts of tokens are those of the provider's answer; None where it has none. `error`
    is the name of the class of the error, if the call has failed or the answer is invalid. Neither request nor answer
    are kept.
    """

    at: float
    seconds: float
    model: str | None = None
    id: str | None = None
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None


class Event(msgspec.Struct, tag_field="record", omit_defaults=True):
    """Base of all records. Journals omit default values, so the default of a released field must never change."""

    @property
    def effect(self) -> str:
        """Deduplication key for effects that a repeated attempt of a run makes again; "" if this is not an effect.

        A later attempt may make other effects than the one before, or in another order, because a model answers
        differently. So effects are counted for each key (kind and name), and records of effects with a value carry a
        `digest` of it (decision 0022). A later attempt does not record an effect again that has the same key and the
        same digest as a recorded one, each recorded one counted once. Without a digest an effect fits every value:
        records of earlier versions have none.
        """
        return ""


class Started(Event, tag="started"):
    """The execution starts. The record has all options that decide its course, so the journal alone can be replayed.

    `attended`: a caller holds the handle of the execution and can send signals from outside. `concurrency`: the
    maximum number of runs at a time, None for no limit. `max_pending`: an emitter waits while its completion group
    has more than this many busy members. `leases`: this is a sub-flow, and its chunks need permits of the limits
    around its step. `keep_open`: an idle execution does not close. `checks_result`: the flow declares a type for its
    result; a result from the graph counts after `ResultChecked`. `rules`: the version of the rules, see `RULES`.
    `execution_timeout`: the execution fails after so many seconds, None for no limit. `delay`: the work begins after
    so many seconds, and the execution time-out counts from then. `submitted`: no process runs the execution yet, so
    that no chunk has begun its first attempt.
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
    execution_timeout: float | None = None
    delay: float | None = None
    submitted: bool = False


class Created(Event, tag="created"):
    """The options of an execution that gets other records before `Started`, such as a signal sent before the start.

    It is the first record then. Otherwise `Started` is the first record and has the options.
    """

    at: float
    attended: bool = True
    concurrency: int | None = None
    skip_exceptions: bool = False
    max_pending: int = 1024
    leases: bool = False
    keep_open: bool = False
    rules: int = 0
    checks_result: bool = False
    execution_timeout: float | None = None


class Completed(Event, tag="completed"):
    """A chunk or a condition has returned; `value` is what it returned.

    If the chunk has failed for good, `value` is that of its `fallback`, and `failure` is the error. `calls` are the
    calls of models during the attempt, if the process has noted them for telemetry; also in the records below."""

    at: float
    run: int
    value: Any
    failure: ErrorInfo | None = None
    calls: tuple[ModelCall, ...] | None = None


class Failed(Event, tag="failed"):
    """A chunk has raised. Its policy retries after `retry_in` seconds; None means no retry.

    `missing`: a sub-flow has ended without a result, because it has taken a failure itself, by an error route or
    `skip_exceptions`. Its step gives no value, and is no failure for the routes of the parent."""

    at: float
    run: int
    error: ErrorInfo
    retry_in: float | None = None
    missing: bool = False
    calls: tuple[ModelCall, ...] | None = None


class Cancelled(Event, tag="cancelled"):
    """A chunk that was cancelled has stopped."""

    at: float
    run: int
    calls: tuple[ModelCall, ...] | None = None


class Emitted(Event, tag="emitted"):
    """A chunk or an outside caller has emitted an event. With `settle` the emitter waits for everything it starts.

    With `delay` (seconds) a timer fires the signal later; `SignalsCancelled` cancels it by its name or its `label`.
    Without `keeps_open` neither the execution nor a wait waits for the timer. What a `provisional` signal starts can be
    retracted until the signal is confirmed. Without `may_wait` the emitter is not suspended by back-pressure. `field`:
    the value is the field at this place of a model's answer. `traceparent`: the trace context of an outside caller."""

    at: float
    run: int | None
    name: str
    value: Any
    settle: bool = False
    delay: float | None = None
    provisional: bool = False
    may_wait: bool = True
    label: str | None = None
    keeps_open: bool = True
    digest: int | None = None
    field: FieldPlace | None = None
    traceparent: str | None = None

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"emitted:{self.name}" if self.field is None else f"{FIELD}{self.name}"


class SignalsCancelled(Event, tag="signals_cancelled"):
    """The delayed signals with this name or label that were pending are dropped."""

    at: float
    run: int | None
    name: str

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"cancelled:{self.name}"


class AwaitedAgain(Event, tag="awaited_again"):
    """A run waits until what its signal of record number `signal` has started has ended.

    A later attempt waits so for a settling signal of an earlier one, and a run for the clean-up after a retraction."""

    at: float
    run: int
    signal: int


class Confirmed(Event, tag="confirmed"):
    """A provisional signal was confirmed and cannot be retracted any more. `signal` is the number of its record."""

    at: float
    run: int | None
    signal: int

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"confirmed:{self.signal}"


class Retracted(Event, tag="retracted"):
    """A provisional signal was retracted: what it started is cancelled, and starts nothing more."""

    at: float
    run: int | None
    signal: int
    reason: str

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"retracted:{self.signal}"


class WaitGivenUp(Event, tag="wait_given_up"):
    """An emitter stops a wait, because it was cancelled. `wait` is the number of the record that began the wait.
    The emitter continues when it has its permits again."""

    at: float
    wait: int


class ExternalWaitStarted(Event, tag="parked"):
    """A chunk waits for something outside, such as a slow reader, and returns its permits meanwhile."""

    at: float
    run: int


class ExternalWaitEnded(Event, tag="unparked"):
    """The external wait of record `wait` has ended; the chunk continues when it has its permits again."""

    at: float
    wait: int


class StateChanged(Event, tag="state"):
    """A key of the execution's state was changed. With `emit` the listeners of the key are started."""

    at: float
    run: int | None
    op: Literal["set", "append", "delete"]
    key: str
    value: Any = None
    emit: bool = True
    digest: int | None = None

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return f"state:{self.key}"


class FlowDataChanged(Event, tag="flow_data"):
    """The data shared by all executions of the flow changed at one key. With `emit` its listeners are started.

    A sub-flow has a copy of its `own`, which its state holds; there `value` is the new value, or the item to append.
    Otherwise the state does not hold the data, and the listeners need the value after the change: an "append" has the
    item only where nothing listens to the key.
    """

    at: float
    run: int | None
    key: str
    value: Any
    digest: int | None = None
    op: Literal["set", "append", "delete"] = "set"
    emit: bool = True
    own: bool = False

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
    digest: int | None = None

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


class ItemsStopped(Event, tag="items_stopped"):
    """A chunk inside a for_each has stopped that for_each: no further item is started, and its source is closed."""

    at: float
    run: int

    @property
    def effect(self) -> str:
        return "items_stopped"


class ResultSet(Event, tag="result"):
    """A chunk or an outside caller has set the result. A second result is ignored, unless it has `replace`."""

    at: float
    run: int | None
    value: Any
    replace: bool = False
    digest: int | None = None

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return "result"


class ResultChecked(Event, tag="result_checked"):
    """A result that reached an `end()` has the declared type; `value` is the converted result."""

    at: float
    value: Any


class ResultRejected(Event, tag="result_rejected"):
    """A result that reached an `end()` does not have the declared type: the execution fails."""

    at: float
    error: ErrorInfo


class Paused(Event, tag="paused"):
    """A chunk opened an interrupt. With `holds` the run has not ended (a sub-flow waits inside it), else it has.

    The answer is emitted as `resume_event` if one is named. Else it starts the operators after the chunk (`resume_to`
    is "next"), or the chunk again ("self"). `expires` is the last time (seconds since the epoch) for an answer.
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
    calls: tuple[ModelCall, ...] | None = None


class Resumed(Event, tag="resumed"):
    """An interrupt was answered. A second answer with the same `request` is ignored.

    `traceparent`: the trace context of the caller that has sent the answer."""

    at: float
    interrupt: str
    value: Any
    request: str | None = None
    traceparent: str | None = None


class InterruptClosed(Event, tag="withdrawn"):
    """An open interrupt was closed without an answer: cancelled, or expired (`expired`)."""

    at: float
    interrupt: str
    expired: bool = False


class TimerFired(Event, tag="timer_fired"):
    """A timer is due.

    `grace`: the time limit of the execution fires late, together with timers that were due before it. What these have
    started has so many seconds more; see `timers.extend_limit`.
    """

    at: float
    timer: int
    grace: float | None = None


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


class ItemsGiven(Event, tag="items_given"):
    """A running chunk gives the next items to each for_each that follows it, before its value is complete.

    The first record opens these for_each blocks, as one provisional signal with the number of this record: it is
    confirmed when the chunk completes, and retracted by `Retracted`. `fields` has the place of each item in a model's
    answer."""

    at: float
    run: int
    items: list[Any]
    fields: list[FieldPlace | None] = []

    @property
    def effect(self) -> str:
        """See `Event.effect`."""
        return ITEMS_GIVEN


class PermitsRequested(Event, tag="places_wanted"):
    """The sub-flow inside `run` requests `count` permits of the limits around it."""

    at: float
    run: int
    count: int


class PermitsReturned(Event, tag="places_returned"):
    """The sub-flow inside `run` returns `count` permits."""

    at: float
    run: int
    count: int


class PermitsGranted(Event, tag="places_granted"):
    """The parent has granted this sub-flow `count` permits of the limits around its step."""

    at: float
    count: int


class Recovered(Event, tag="recovered"):
    """The execution continues in another process, or after a load; unfinished runs are started again.

    `lost`: the runs that were running have ended with their process, unless a record `suspended` says otherwise."""

    at: float
    lost: bool = False


class Suspended(Event, tag="suspended"):
    """The process that ran the execution has stopped its chunks, and has given it back to the store.

    The attempts that it has stopped are no losses; see `state.Interruptions`."""

    at: float


class Isolated(Event, tag="isolated"):
    """A run begins its attempt whose earlier attempts ended with their process, so that it may be what ends it. Or a
    lazy source is asked for items again, of which the same is true: then `opening` is the number of its block instance.

    No other one begins in this process at the same time. If the process ends now, this one is the suspect."""

    at: float
    run: int | None = None
    opening: int | None = None


class Retried(Event, tag="retried"):
    """A failed or cancelled execution runs again, from its state before record number `failed` (decision 0022).

    `failed` is the record by which it began to close, and `run` the run that failed with it. State data, stream and all
    numbers go on from this record. `expired`: the interrupt that expired with record `failed`; its chunk runs again.
    `interrupts`: interrupts of sub-flows that were closed when those failed, and are open again. `ended`: the time of
    record `failed`, in seconds since the epoch. Records of earlier versions do not have it. `traceparent`: the trace
    context of the caller of the retry.
    """

    at: float
    failed: int
    run: int | None = None
    expired: str | None = None
    interrupts: list[str] = []
    ended: float | None = None
    traceparent: str | None = None


class CancelRequested(Event, tag="cancel_requested"):
    """A caller cancels the execution. `traceparent`: its trace context."""

    at: float
    reason: str
    traceparent: str | None = None


class CleanupTimedOut(Event, tag="abandoned"):
    """The clean-up has timed out: cancelled runs that have not stopped are dropped."""

    at: float


class CloseRequested(Event, tag="close_requested"):
    """A caller closes the execution: it gets no more signals from outside, and closes when it is idle.

    With `ends_unstarted` that also holds for an execution that was not started. Records of earlier versions do not have
    it: such an execution went on waiting for its start.
    """

    at: float
    ends_unstarted: bool = False


Record = (
    Created
    | Started
    | Completed
    | Failed
    | Cancelled
    | Emitted
    | SignalsCancelled
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
    | ItemsStopped
    | ResultSet
    | ResultChecked
    | ResultRejected
    | Paused
    | Resumed
    | InterruptClosed
    | TimerFired
    | SourceItems
    | SourceFailed
    | ItemsGiven
    | PermitsRequested
    | PermitsReturned
    | PermitsGranted
    | Recovered
    | Suspended
    | Isolated
    | Retried
    | CancelRequested
    | CleanupTimedOut
    | CloseRequested
)
