"""What the core reports and nobody has to act on, as log lines; and errors of which only the record is left."""

import difflib
import logging
from collections.abc import Container, Iterable
from typing import Any

from .._core import commands
from .._core.errors import ContractError, InterruptExpired, RemoteChunkError, TriggerFlowError
from .._core.events import ErrorInfo

logger = logging.getLogger("triggerflow")


def log_notice(execution: Any, command: commands.AnyCommand, heard: Iterable[str]) -> None:
    """Log what nobody has to act on. `heard` are the events that something listens to."""
    match command:
        case commands.UnhandledSignal(name=name):
            near = difflib.get_close_matches(name, heard, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            logger.warning("%r: nobody listens to signal %r%s", execution, name, hint)
        case commands.Skipped(run=run, chunk=chunk):
            logger.warning("%r: chunk %r (run %d) failed and its branch was skipped", execution, chunk, run)
        case commands.ItemAfterStop():
            logger.warning("%r: an item was put into its stream after the stream was stopped", execution)
        case _:
            pass


def log_end(execution: Any, close: commands.Close, promised: Container[str]) -> None:
    """Log, once, what an execution that ended without a result still waited for, and which events nobody has sent.

    Of the `promised` events it is known which chunk emits them, if it comes to that: they are no surprise.
    """
    missed = [name for name in close.never_sent if name not in promised]
    parts: list[str] = []
    if close.unfilled:
        parts.append(f"these joins still waited: {', '.join(close.unfilled)}")
    if missed:
        names = ", ".join(map(repr, missed))
        parts.append(f"nobody has sent {names}, which a when() listens to; {how_to_declare(missed[0])}")
    if parts:
        logger.warning("%r ended without a result; %s", execution, "; ".join(parts))


def how_to_declare(name: str) -> str:
    """How an execution is made to wait for an event."""
    return f"if it comes from outside, declare it: flow.signal({name!r}, external=True)"


def failure_from_record(execution: object, info: ErrorInfo | None) -> TriggerFlowError:
    """The exception for a failure of which only the record is left."""
    if info is not None and info.type == "InterruptExpired":
        return InterruptExpired(f"{execution}: {info.message}")
    if info is not None and info.type == "ContractError" and not info.chunk:
        return ContractError(f"{execution}: {info.message}")
    text = "it failed" if info is None else f"chunk {info.chunk!r} failed: {info.type}: {info.message}"
    return RemoteChunkError(f"{execution}: {text}")
