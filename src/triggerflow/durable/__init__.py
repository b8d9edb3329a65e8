"""Durable executions: their records are kept in a store, so that another process can go on with them."""

from .execution import DurableExecution
from .history import History
from .worker import Worker

__all__ = ["DurableExecution", "History", "Worker"]
