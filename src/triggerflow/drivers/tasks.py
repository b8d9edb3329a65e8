"""Small things about asyncio tasks and their contexts."""

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
) -> "asyncio.Task[T]":
    """A task that begins in a later turn of the loop, as all of the engine's tasks do, whatever task factory the loop
    has: an eager one would run chunks in the middle of what starts them. A `quiet` one may vanish with its loop."""
    task = asyncio.Task(coroutine, loop=loop, name=name, context=context)
    if quiet:
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio has no public name for it
    return task


def mark_seen(task: "asyncio.Task[Any]") -> None:
    """Take note of how a task ended, for nobody else will."""
    if not task.cancelled():
        task.exception()


def destroy(tasks: Iterable[Any]) -> None:
    """End tasks whose loop is gone."""
    for task in tasks:
        # It can never run again; that it is destroyed while pending is known, and told elsewhere.
        task._log_destroy_pending = False  # noqa: SLF001
        with contextlib.suppress(Exception):
            task.get_coro().close()


def changed(before: Context) -> bool:
    """Whether other variables are set here than in a context. By identity: a value's own `==` may fail, or lie."""
    context = copy_context()
    if len(context) != len(before):
        return True
    return any(context.get(variable) is not value for variable, value in before.items())


def own_context() -> Context:
    """The variables that are set here, to be copied for each task and never entered: where none is, all share one."""
    context = copy_context()
    return context or _EMPTY
