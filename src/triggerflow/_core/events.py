"""Everything that can happen to an execution: the records of its journal.

The journal *is* this sequence; state, stream, snapshots and traces are read from it. Each record carries the time at
which it was accepted (`at`, seconds since the epoch): the core has no other clock. `run` is the number of the chunk run
that caused the record, or None for the outside world.
"""

from typing import Any, Literal

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True):
    """What a journal keeps of an exception. The live object stays with the driver."""

    type: str
    message: str
    chunk: str = ""


class Event(msgspec.Struct, tag_field="record"):
    """Base of all records."""


class Started(Event, tag="started"):
    """The execution starts. All options that change its course stand in this record, so that a journal replays alone.

    `attended` says that somebody holds the execution's handle and can send signals from outside.
    """

    at: float
    value: Any
    attended: bool = True
    concurrency: int | None = None
    skip_exceptions: bool = False
    max_pending: int = 1024


class Completed(Event, tag="completed"):
    """A chunk returned, or a condition answered."""

    at: float
    run: int
    value: Any


class Failed(Event, tag="failed"):
    """A chunk raised."""

    at: float
    run: int
    error: ErrorInfo


class Cancelled(Event, tag="cancelled"):
    """A chunk that was told to stop has stopped."""

    at: float
    run: int


class Emitted(Event, tag="emitted"):
    """A signal was emitted by a chunk or from outside. With `settle` the emitter waits for all it causes."""

    at: float
    run: int | None
    name: str
    value: Any
    settle: bool = False


class StateChanged(Event, tag="state"):
    """The execution's state changed at one key."""

    at: float
    run: int | None
    op: Literal["set", "append", "delete"]
    key: str
    value: Any = None
    emit: bool = True


class FlowDataChanged(Event, tag="flow_data"):
    """The data shared by all executions of the flow changed at one key; `value` is the value after the change."""

    at: float
    run: int | None
    key: str
    value: Any


class StreamPut(Event, tag="stream"):
    """An item was put into the runtime stream."""

    at: float
    run: int | None
    item: Any


class StreamStopped(Event, tag="stream_stopped"):
    """The runtime stream was ended by a chunk or from outside."""

    at: float
    run: int | None


class ResultSet(Event, tag="result"):
    """The result was set by name; the first result stands."""

    at: float
    run: int | None
    value: Any


class CancelRequested(Event, tag="cancel_requested"):
    """Somebody cancels the execution."""

    at: float
    reason: str


class Abandoned(Event, tag="abandoned"):
    """The deadline for clean-up has passed; what still runs is given up."""

    at: float


class CloseRequested(Event, tag="close_requested"):
    """Nobody will send another signal from outside; close as soon as everything has settled."""

    at: float


Record = (
    Started
    | Completed
    | Failed
    | Cancelled
    | Emitted
    | StateChanged
    | FlowDataChanged
    | StreamPut
    | StreamStopped
    | ResultSet
    | CancelRequested
    | Abandoned
    | CloseRequested
)
