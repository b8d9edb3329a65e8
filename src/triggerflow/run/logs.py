"""What the core reports and nobody has to act on, as log lines; and errors of which only the record is left."""

import difflib
import logging
from collections.abc import Iterable
from typing import Any

from .._core import commands
from .._core.errors import ContractError, InterruptExpired, RemoteChunkError, TriggerFlowError
from .._core.events import ErrorInfo

logger = logging.getLogger("triggerflow")


def log_notice(execution: Any, command: commands.AnyCommand, heard: Iterable[str]) -> None:
    """Log what nobody has to act on. `heard` are the events that something listens to."""
    match command:
        case commands.Unheard(name=name):
            near = difflib.get_close_matches(name, heard, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            logger.warning("%r: nobody listens to signal %r%s", execution, name, hint)
        case commands.Skipped(run=run, chunk=chunk):
            logger.warning("%r: chunk %r (run %d) failed and its branch was skipped", execution, chunk, run)
        case commands.Refused():
            logger.warning("%r: an item was put into its stream after the stream was stopped", execution)
        case _:
            pass


def failure_from_record(execution: object, info: ErrorInfo | None) -> TriggerFlowError:
    """The exception for a failure of which only the record is left."""
    if info is not None and info.type == "InterruptExpired":
        return InterruptExpired(f"{execution}: {info.message}")
    if info is not None and info.type == "ContractError" and not info.chunk:
        return ContractError(f"{execution}: {info.message}")
    text = "it failed" if info is None else f"chunk {info.chunk!r} failed: {info.type}: {info.message}"
    return RemoteChunkError(f"{execution}: {text}")
