"""Durable executions: their records are kept in a store, so that another process can go on with them."""

from .history import History
from .worker import Worker

__all__ = ["History", "Worker"]
