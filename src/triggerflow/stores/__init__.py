"""Stores of durable executions: the protocol, a store in memory, one in an SQLite file, and one in PostgreSQL."""

from typing import TYPE_CHECKING, Any

from .memory import MemoryData, MemoryStore
from .protocol import (
    Append,
    Changes,
    ExecutionCopy,
    ExecutionRow,
    NewRecord,
    Question,
    Reply,
    Request,
    ScheduleRow,
    StatusName,
    Store,
    payload_digest,
)

if TYPE_CHECKING:
    from .postgres import PostgresStore
    from .sqlite import SQLiteStore

__all__ = [
    "Append",
    "Changes",
    "ExecutionCopy",
    "ExecutionRow",
    "MemoryData",
    "MemoryStore",
    "NewRecord",
    "PostgresStore",
    "Question",
    "Reply",
    "Request",
    "SQLiteStore",
    "ScheduleRow",
    "StatusName",
    "Store",
    "payload_digest",
]


def __getattr__(name: str) -> Any:
    # Imported late: a program that needs no SQLiteStore should not pay for the import of sqlite3.
    if name == "SQLiteStore":
        from .sqlite import SQLiteStore

        return SQLiteStore
    if name == "PostgresStore":
        try:
            from .postgres import PostgresStore
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("psycopg", "psycopg_pool"):
                raise
            raise ImportError("PostgresStore needs psycopg: pip install 'triggerflow-engine[postgres]'") from error
        return PostgresStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
