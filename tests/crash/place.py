"""Where the executions are kept: in a file, or in a database, whose place is a connection string."""

from typing import Any

from triggerflow.stores import PostgresStore, SQLiteStore


def is_database(place: str) -> bool:
    """Whether a place is a connection string."""
    return place.startswith("host=")


def open_store(place: str, synchronous: Any = "FULL") -> Any:
    """The store at a place."""
    return PostgresStore(place, schema="crash") if is_database(place) else SQLiteStore(place, synchronous=synchronous)
