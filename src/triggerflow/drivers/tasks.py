"""Small things about asyncio tasks and their contexts."""

import asyncio
import contextlib
from collections.abc import Iterable
from contextvars import Context, ContextVar
from typing import Any


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


def changed(context: Context, variables: tuple[tuple[ContextVar[Any], Any], ...]) -> bool:
    """Whether a context differs from these variables. By identity: a value's own `==` may fail, or lie."""
    if len(context) != len(variables):
        return True
    return any(context.get(variable) is not value for variable, value in variables) if variables else False
