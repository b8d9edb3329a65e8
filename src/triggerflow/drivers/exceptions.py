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


def noted(error: BaseException, where: str) -> BaseException:
    """The error, with a note of where it was raised. An exception class may refuse notes."""
    with contextlib.suppress(Exception, asyncio.CancelledError, GeneratorExit, SystemExit):
        error.add_note(where)
    return error
