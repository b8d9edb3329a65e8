"""Exceptions of chunks, prepared for records and for callers."""

import asyncio
import contextlib

from .._core import events
from .._core.errors import ChunkCancelled
from .._core.state import RunChunk


def describe(error: BaseException, chunk: str) -> events.ErrorInfo:
    """The record of an exception: its type, its text and the chunk."""
    try:
        # Half a surrogate pair cannot be recorded; a subclass of str may override its methods.
        text = str.encode(str(error), errors="backslashreplace").decode()
    except KeyboardInterrupt:
        raise
    except BaseException:  # a foreign __str__ may raise anything, and the run has to be reported all the same
        text = "(its text cannot be read)"
    return events.ErrorInfo(type(error).__qualname__, text, chunk)


def own_cancellation(run: RunChunk, error: BaseException) -> BaseException:
    """The failure of a chunk that raised `CancelledError` without being cancelled. Raised as it is, a `CancelledError`
    would cancel the caller that waits for the execution."""
    failure = ChunkCancelled(f"chunk {run.node.name!r} ended with CancelledError: something it awaited was cancelled")
    failure.__cause__ = error
    return failure


class _Where(str):
    """A note of the engine, which says where an error was raised."""

    __slots__ = ()


def noted(error: BaseException, where: str, *, first: bool) -> BaseException:
    """The error, with a note of where it was raised. An exception class may refuse notes.

    `first` says that a chunk raised the error just now, not a sub-flow that has noted it already. Then the notes of
    earlier executions go: a program may raise the same object many times, a constant of its module for example.
    """
    with contextlib.suppress(Exception, asyncio.CancelledError, GeneratorExit, SystemExit):
        if first and hasattr(error, "__notes__"):
            error.__notes__ = [note for note in error.__notes__ if not isinstance(note, _Where)]
        error.add_note(_Where(where))
    return error
