"""The stores of the chaos test: a SQLite file, or a PostgreSQL database."""

from typing import Any

from triggerflow.stores import SQLiteStore


def open_store(name: str, lease: float) -> Any:
    """A store by its name: the path of a file, or `postgresql://...`."""
    if name.startswith("postgres"):
        from triggerflow.stores.postgres import PostgresStore

        return PostgresStore(name, lease=lease)
    return SQLiteStore(name, lease=lease, busy_timeout=0.5, synchronous="NORMAL")
