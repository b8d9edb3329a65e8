"""Durable executions: their records are in a store, so that another process can resume them."""

from typing import TYPE_CHECKING

from .history.history import History
from .schedules.schedules import Schedule, Schedules
from .workers.worker import Worker

__all__ = ["History", "Schedule", "Schedules", "Worker"]

if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "DurableExecution":
            # Not an `AttributeError`: `from triggerflow.durable import DurableExecution` would replace its message.
            raise ImportError(
                f"{__name__}.{name} was removed: a durable execution is a triggerflow.Execution, like every other; use "
                "triggerflow.Execution",
                name=__name__,
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
