"""A connection to the file, and its transactions."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from .errors import fault

Synchronous = Literal["FULL", "NORMAL"]


def connect(path: Path, *, busy_timeout: float, synchronous: Synchronous = "FULL") -> sqlite3.Connection:
    """Connect, trusting nothing that stands in the file. Raises `StoreUnavailable`.

    Transactions are begun and ended by hand. Nothing is read yet.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
        # No function with side effects runs for a view, trigger, default or index that somebody put into the file.
        connection.execute("PRAGMA trusted_schema = OFF")
        # A damaged page is refused when it is read, instead of when one of its cells is.
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise fault(error, path) from error
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path, kind: Literal["IMMEDIATE", "DEFERRED"]) -> Generator[None]:
    """All or nothing: rolled back if the body raises. Errors of SQLite's come out as a `StoreError`."""
    try:
        connection.execute(f"BEGIN {kind}")
        yield
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:  # SQLite ends it by itself after some errors
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise fault(error, path) from error
        raise
