"""Durable executions: their records are kept in a store, so that another process can go on with them."""

from .execution import DurableExecution
from .worker import Worker

__all__ = ["DurableExecution", "Worker"]
