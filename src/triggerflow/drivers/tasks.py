"""Helpers for asyncio tasks and their contexts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: The context in which nothing is set.
_EMPTY: Final = Context()


def start_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T],
    context: Context | None = None,
    *,
    name: str | None = None,
    quiet: bool = False,
) -> asyncio.Task[T]:
    """Start a task that begins in a later turn of the loop, whatever task factory the loop has.

    An eager task factory would run chunks in the middle of the code that starts them. A `quiet` task is not reported by
    asyncio when its loop ends before it.
    """
    task = asyncio.Task(coroutine, loop=loop, name=name, context=context)
    if quiet:
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio has no public name for it
    return task


def mark_seen(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a task that no caller awaits, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()


def destroy(tasks: Iterable[Any]) -> None:
    """End tasks whose loop is closed."""
    for task in tasks:
        # The task can never run again. It is dropped on purpose, so asyncio must not report it as pending.
        task._log_destroy_pending = False  # noqa: SLF001
        with contextlib.suppress(Exception):
            task.get_coro().close()


def changed(before: Context) -> bool:
    """Whether the context variables differ from those of a context. Compares by identity, because the `==` of a user's
    class may raise or be wrong."""
    context = copy_context()
    if len(context) != len(before):
        return True
    return any(context.get(variable) is not value for variable, value in before.items())


def own_context() -> Context:
    """Return the current context, to be copied for each task. Never enter it: all empty contexts share one object."""
    context = copy_context()
    return context or _EMPTY
