"""Where durable executions are kept: the protocol, a store in memory, and SQLite."""

from typing import TYPE_CHECKING, Any

from .memory import MemoryData, MemoryStore
from .protocol import Append, ExecutionCopy, ExecutionRow, NewRecord, StatusName, Store, payload_digest

if TYPE_CHECKING:
    from .sqlite import SQLiteStore

__all__ = [
    "Append",
    "ExecutionCopy",
    "ExecutionRow",
    "MemoryData",
    "MemoryStore",
    "NewRecord",
    "SQLiteStore",
    "StatusName",
    "Store",
    "payload_digest",
]


def __getattr__(name: str) -> Any:
    # Who keeps nothing on disk shall not pay for importing SQLite.
    if name == "SQLiteStore":
        from .sqlite import SQLiteStore

        return SQLiteStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
