"""Durable executions: their records are in a store, so that another process can resume them."""

from .history import History
from .worker import Worker

__all__ = ["History", "Worker"]
