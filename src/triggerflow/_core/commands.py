"""Commands: what the machine asks of its driver. The most frequent one, `RunChunk`, is defined in `state`."""

from typing import Any, Literal

import msgspec

from .events import ErrorInfo, Failure
from .state import BlockInstance, Interrupt, RunChunk


class Command(msgspec.Struct):
    """Base of all commands but `RunChunk`."""


class CancelRun(Command):
    """Cancel the chunk of this run. The driver sends `Cancelled`, or another record if the chunk ended otherwise."""

    run: RunChunk


class WakeWaiter(Command):
    """Wake the emitter whose wait began with the record of this number."""

    wait: int


class Publish(Command):
    """Publish this item to the readers of the runtime stream, under this number (1, 2, 3 ...)."""

    number: int
    item: Any
    path: str = ""


class StopStream(Command):
    """End the runtime stream: no item follows."""


class StartTimer(Command):
    """Send `TimerFired` at the time `due` (seconds since the epoch)."""

    timer: int
    due: float


class CancelTimer(Command):
    """Cancel this timer."""

    timer: int


class Pull(Command):
    """Take up to `count` items from the lazy source of a block instance; send `SourceItems` or `SourceFailed`."""

    instance: BlockInstance
    count: int


class CancelPull(Command):
    """Close the lazy source of a block instance, and send no record for it."""

    instance: BlockInstance


class RequestPermits(Command):
    """In a sub-flow: send `PermitsRequested` to the parent."""

    count: int


class ReturnPermits(Command):
    """In a sub-flow: send `PermitsReturned` to the parent."""

    count: int


class GrantPermits(Command):
    """In a parent: send `PermitsGranted` to the sub-flow inside `run`."""

    run: RunChunk
    count: int


class OpenInterrupt(Command):
    """An interrupt was opened. The driver informs readers; a sub-flow opens the interrupt in its parent too."""

    interrupt: Interrupt


class CloseInterrupt(Command):
    """An open interrupt has expired or was retracted. The driver informs readers; a sub-flow sends `InterruptClosed` to
    its parent."""

    interrupt: Interrupt


class Answer(Command):
    """Pass the answer on to the sub-flow inside `interrupt.run`, which opened the interrupt."""

    interrupt: Interrupt


class UnhandledSignal(Command):
    """A signal has no listener, for the first time with this name. The driver logs it."""

    name: str


class Skipped(Command):
    """A chunk failed with this error, and `skip_exceptions` ended only its branch. The driver logs it."""

    run: int
    chunk: str
    error: ErrorInfo


class LateFailure(Command):
    """A chunk failed whose failure a block collects, after that block or its branch had ended. The driver logs it."""

    failure: Failure


class ItemAfterStop(Command):
    """An item was put after the stream was stopped: it is recorded, but not published. The driver logs it."""

    item: Any


class TakenBack(Command):
    """A provisional signal for fields was retracted, because the process that read the model's answer has ended. The
    driver tells the readers of the runtime stream."""

    signal: int


class CheckResult(Command):
    """Check a result that reached the `end()` with the id `by` against the declared type.

    The driver sends `ResultChecked` or `ResultRejected`."""

    by: str
    value: Any


class ResultFixed(Command):
    """An execution that is kept open has a result, set by a run (`by` is its number), an `end()` (its id), or a caller
    (None)."""

    by: int | str | None


class ResultDropped(Command):
    """The execution has another result, so this one was dropped. `chunk` has set it, or its value has reached an
    `end()`; "" for a caller. The driver logs the first."""

    chunk: str


class Rested(Command):
    """An execution that is kept open, or was not started, is idle: no run is left."""


class Close(Command):
    """The execution has ended. `unfilled` names the half-filled joins.

    `never_sent` names the events that have listeners and were never sent. It is empty if the execution has a result, or
    if no caller held its handle.
    """

    outcome: Literal["completed", "failed", "cancelled"]
    unfilled: tuple[str, ...] = ()
    never_sent: tuple[str, ...] = ()


AnyCommand = (
    RunChunk
    | CancelRun
    | WakeWaiter
    | Publish
    | StopStream
    | StartTimer
    | CancelTimer
    | Pull
    | CancelPull
    | RequestPermits
    | ReturnPermits
    | GrantPermits
    | OpenInterrupt
    | CloseInterrupt
    | Answer
    | UnhandledSignal
    | Skipped
    | LateFailure
    | ItemAfterStop
    | TakenBack
    | CheckResult
    | ResultFixed
    | ResultDropped
    | Rested
    | Close
)
