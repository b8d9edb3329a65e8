"""Connects to the file, and runs transactions."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from .errors import store_error

Synchronous = Literal["FULL", "NORMAL"]


def connect(
    path: Path, *, busy_timeout: float, synchronous: Synchronous = "FULL", read_only: bool = False
) -> sqlite3.Connection:
    """Connect to a file that may be damaged or forged. Does not read it yet. Raises `StoreUnavailable`.

    The caller begins and ends transactions; see `transaction`. With `read_only` SQLite opens the file for reading, and
    makes none.
    """
    connection: sqlite3.Connection | None = None
    try:
        place = _reading(path) if read_only else path
        connection = sqlite3.connect(place, timeout=busy_timeout, isolation_level=None, uri=read_only)
        # Views, triggers, defaults and indexes in the file may not call functions that have side effects.
        connection.execute("PRAGMA trusted_schema = OFF")
        # Detects a damaged page as soon as it is read, before any of its cells is used.
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise store_error(error, path) from error
    return connection


def _reading(path: Path) -> str:
    """The URI under which SQLite opens a file that is only read.

    To read a file in WAL mode, SQLite needs a -shm file beside it, or makes one. If it may write, the last reader
    cleans up after it. Where it can make none, and nobody has left a -wal file, nobody writes, so that the file is all
    there is.
    """
    folder = os.access(path.parent, os.W_OK)
    if folder and os.access(path, os.W_OK):
        how = "mode=rw"
    else:
        how = "mode=ro" if folder or path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    return f"{path.as_uri()}?{how}"


def make_file(path: Path, mode: int) -> None:
    """Make the file with these permissions, if it is not there. What fails here fails with SQLite's message later."""
    with suppress(OSError):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if mode != 0o600 and hasattr(os, "fchmod"):
                os.fchmod(file, mode)  # unlike `open`, this does not depend on the umask
        finally:
            os.close(file)


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path, kind: Literal["IMMEDIATE", "DEFERRED"]) -> Generator[None]:
    """Run the body in a transaction, which is rolled back if the body raises. SQLite errors become a `StoreError`."""
    try:
        connection.execute(f"BEGIN {kind}")
        yield
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:  # SQLite itself rolls back after some errors
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise store_error(error, path) from error
        raise
