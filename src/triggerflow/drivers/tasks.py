"""Small things about asyncio tasks and their contexts."""

import asyncio
import contextlib
from collections.abc import Iterable
from contextvars import Context, copy_context
from typing import Any, Final

#: The context in which nothing is set.
_EMPTY: Final = Context()


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
