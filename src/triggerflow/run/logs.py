"""Log lines for reports of the core that need no action, and exceptions made from the record of a failure."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable
from typing import Any

from .._core import commands
from .._core.errors import ContractError, ExecutionTimedOut, InterruptExpired, RemoteChunkError, TriggerFlowError
from .._core.events import ErrorInfo
from ..build.arguments import closest

logger = logging.getLogger("triggerflow")


def log_notice(execution: Any, command: commands.AnyCommand, heard: Iterable[str]) -> None:
    """Log a command that needs no action. `heard`: the events that the flow listens to, for a "did you mean" hint."""
    match command:
        case commands.UnhandledSignal(name=name):
            near = closest(name, heard, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            logger.warning("%r: signal %r was sent, and no when() listens to it%s", execution, name, hint)
        case commands.Skipped(run=run, chunk=chunk, error=error):
            text = "%r: chunk %r (run %d) failed, and skip_exceptions ended only its branch: %s: %s"
            logger.warning(text, execution, chunk, run, error.type, error.message)
        case commands.LateFailure(failure=it):
            text = (
                "%r: chunk %r failed after the block that collects its failure had ended, so no result shows it: %s: %s"
            )
            logger.warning(text, execution, it.chunk, it.type, it.message)
        case commands.ResultDropped(chunk=chunk):
            by = f"chunk {chunk!r}" if chunk else "a caller"
            text = (
                "%r: the result of %s was dropped, because the execution has another one: the first end() or "
                "set_result counts; set_result(value, replace=True) replaces it"
            )
            logger.warning(text, execution, by)
        case commands.ItemAfterStop():
            logger.warning("%r: an item was put into its stream after the stream was stopped", execution)
        case _:
            pass


def log_end(execution: Any, close: commands.Close, promised: Container[str]) -> None:
    """For an execution that ended without a result: log which joins still waited, and which events were never sent.

    `promised` events are not mentioned: a chunk of the flow is known to emit them.
    """
    missed = [name for name in close.never_sent if name not in promised]
    parts: list[str] = []
    if close.unfilled:
        parts.append(f"these joins still waited: {', '.join(close.unfilled)}")
    if missed:
        names = ", ".join(map(repr, missed))
        parts.append(f"events that a when() listens to were never sent: {names}; {how_to_declare(missed[0])}")
    if parts:
        logger.warning("%r ended without a result; %s", execution, "; ".join(parts))


def how_to_declare(name: str) -> str:
    """The advice, for a message, how to make an execution wait for an event from outside."""
    return f"if it comes from outside, declare it: flow.signal({name!r}, external=True)"


def failure_from_record(execution: object, info: ErrorInfo | None) -> TriggerFlowError:
    """Make the exception for a failure that was recorded in another process or before a load."""
    if info is not None and info.type == "InterruptExpired":
        return InterruptExpired(f"{execution}: {info.message}")
    if info is not None and info.type == "ExecutionTimedOut" and not info.chunk:
        return ExecutionTimedOut(f"{execution} was ended by its execution_timeout: {info.message}")
    if info is not None and info.type == "ContractError" and not info.chunk:
        return ContractError(f"{execution}: {info.message}")
    text = "it failed" if info is None else f"chunk {info.chunk!r} failed: {info.type}: {info.message}"
    return RemoteChunkError(f"{execution}: {text}")
