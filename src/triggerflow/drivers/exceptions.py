"""Exceptions of chunks, prepared for records and for callers."""

import asyncio
import contextlib
from typing import cast

from .._core import events
from .._core.errors import ChunkCancelled
from .._core.state import RunChunk
from ..run.interrupts import ChunkPaused


def describe(error: BaseException, chunk: str) -> events.ErrorInfo:
    """Describe an exception for a record: its type, its text and the chunk."""
    try:
        # Half a surrogate pair cannot be recorded; a subclass of str may override its methods.
        text = str.encode(str(error), errors="backslashreplace").decode()
    except KeyboardInterrupt:
        raise
    except BaseException:  # a user's `__str__` may raise anything, and the failure must still be recorded
        text = "(the text of the exception cannot be read: its __str__ raises)"
    return events.ErrorInfo(type(error).__qualname__, text, chunk)


def own_cancellation(run: RunChunk, error: BaseException) -> BaseException:
    """Make the error of a chunk that raised `CancelledError` without being cancelled. The `CancelledError` itself would
    cancel the caller that waits for the execution."""
    failure = ChunkCancelled(f"chunk {run.node.name!r} ended with CancelledError: something it awaited was cancelled")
    failure.__cause__ = error
    return failure


def paused_in_group(error: BaseException) -> BaseException:
    """The pause that is the only exception of a group: a chunk has paused inside of a `TaskGroup`. Else the error."""
    only = error
    while isinstance(only, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", only).exceptions
        if len(inner) != 1:
            return error
        only = inner[0]
    return only if isinstance(only, ChunkPaused) else error


class _Where(str):
    """A note of the engine, which says where an error was raised."""

    __slots__ = ()


def noted(error: BaseException, where: str, *, first: bool) -> BaseException:
    """Add a note of where the error was raised, and return the error. Some exception classes do not accept notes.

    `first` says that a chunk or source raised the error just now, and not a sub-flow, which has noted it already. Then
    the notes of earlier executions are removed: a program may raise the same object many times, such as a constant of
    its module.
    """
    with contextlib.suppress(Exception, asyncio.CancelledError, GeneratorExit, SystemExit):
        if first and hasattr(error, "__notes__"):
            error.__notes__ = [note for note in error.__notes__ if not isinstance(note, _Where)]
        error.add_note(_Where(where))
    return error
