"""Everything an execution can ask of the world. `RunChunk`, the most frequent one, stands in `state`."""

from typing import Any, Literal

import msgspec

from .state import BlockInstance, Interrupt, RunChunk


class Command(msgspec.Struct):
    """Base of all commands but `RunChunk`."""


class CancelRun(Command):
    """Stop the chunk of this run; answer with `Cancelled` (or how else it ended)."""

    run: RunChunk


class WakeWaiter(Command):
    """Wake the emitter whose `Emitted` record had this number."""

    wait: int


class Publish(Command):
    """Hand this item to the readers of the runtime stream, under this number (1, 2, 3 ...)."""

    number: int
    item: Any
    path: str = ""


class StopStream(Command):
    """No item will follow."""


class StartTimer(Command):
    """Answer with `TimerFired` when the time `due` (seconds since the epoch) has come."""

    timer: int
    due: float


class CancelTimer(Command):
    """The timer is not needed any more."""

    timer: int


class Pull(Command):
    """Take up to `count` items from the opening's lazy source; answer with `SourceItems` or `SourceFailed`."""

    opening: BlockInstance
    count: int


class CancelPull(Command):
    """The opening takes nothing more from its lazy source: close it, and send no answer."""

    opening: BlockInstance


class RequestPermits(Command):
    """For a sub-flow: ask the execution around it for places (its record `PermitsRequested`)."""

    count: int


class ReturnPermits(Command):
    """For a sub-flow: give places back to the execution around it (its record `PermitsReturned`)."""

    count: int


class GrantPermits(Command):
    """The sub-flow that runs inside `run` gets places (its record `PermitsGranted`)."""

    run: RunChunk
    count: int


class OpenInterrupt(Command):
    """Somebody outside is asked. For observers."""

    interrupt: Interrupt


class CloseInterrupt(Command):
    """An open interrupt has expired or was taken back: for observers, and the execution around a sub-flow (its record
    `InterruptClosed`)."""

    interrupt: Interrupt


class Answer(Command):
    """The interrupt of a sub-flow that runs inside `interrupt.run` was answered: pass the answer on."""

    interrupt: Interrupt


class UnhandledSignal(Command):
    """The first signal of this name that nobody listens to. For a log line, not for an action."""

    name: str


class Skipped(Command):
    """A chunk failed and `skip_exceptions` ended only its branch. For a log line."""

    run: int
    chunk: str


class ItemAfterStop(Command):
    """An item put after the stream was stopped. It is in the journal, not in the stream. For a log line."""

    item: Any


class CheckResult(Command):
    """A result has reached an `end()` (its id is `by`), and the flow promises a type for it: answer with
    `ResultChecked` or `ResultRejected`."""

    by: str
    value: Any


class ResultFixed(Command):
    """An execution that is kept open has a result: by a run (its number), an `end()` (its id), or from outside."""

    by: int | str | None


class Rested(Command):
    """An execution that is kept open has no run left."""


class Close(Command):
    """The execution has ended. `unfilled` names joins that still waited for something.

    `never_sent` names the events that something listens to and nobody has sent: of an execution that came to rest while
    somebody held its handle, and has no result.
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
    | ItemAfterStop
    | CheckResult
    | ResultFixed
    | Rested
    | Close
)
