"""The two connections of an opened store: the writer, and the reader that never waits for a commit."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ..._core.errors import StoreError, StoreUnavailable
from . import claims, schema
from .connection import Synchronous, connect, transaction
from .errors import fault
from .ownership import Ownership

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds after which a renewal that failed is tried again, at most a third of the lease.
RETRY = 1.0


class Writer:
    """The one connection that writes. Used on its own thread only."""

    def __init__(self, path: Path, tenure: Ownership, *, synchronous: Synchronous, busy_timeout: float) -> None:
        self._path = path
        self._tenure = tenure
        self._synchronous: Synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect, check the file, bring it up to date, and appear among the owners."""
        connection = connect(self._path, busy_timeout=self._busy_timeout, synchronous=self._synchronous)
        try:
            with transaction(connection, self._path, "DEFERRED"):
                schema.check(connection, self._path)
            self._use_wal(connection)
            with transaction(connection, self._path, "IMMEDIATE"):
                schema.check(connection, self._path)  # somebody else may have made the tables meanwhile
                schema.migrate(connection)
            self._connection = connection
            self.run(_stay)
        except BaseException:
            self._connection = None
            connection.close()
            raise

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Readers do not wait for writers from here on."""
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                # Switching does not wait for its lock by itself when two do it at once.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise fault(error, self._path) from error
                time.sleep(0.01)
        if mode != "wal":
            raise StoreUnavailable(
                f"store {self._path}: the file system has no shared memory for SQLite's WAL mode; use a local disk"
            )

    def run(
        self, work: Callable[Concatenate[sqlite3.Connection, Ownership, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One transaction, on disk when this returns."""
        connection = _given(self._connection, self._path)
        try:
            with transaction(connection, self._path, "IMMEDIATE"):
                self._tenure.begin(connection)
                result = work(connection, self._tenure, *args, **kwargs)
        except BaseException:
            self._tenure.rolled_back()
            raise
        self._tenure.committed()
        return result

    def renew(self) -> float:
        """Keep the owner alive; after how many seconds to do it again."""
        if self._connection is not None:
            self._tenure.renew()
            try:
                self.run(_stay)
            except StoreError:  # the next one may succeed, and whoever appends meanwhile is told why it does not
                return min(RETRY, self._tenure.lease / 3)
        return self._tenure.lease / 3

    def close(self) -> None:
        """Give everything back and disconnect."""
        if self._connection is None:
            return
        try:
            self.run(claims.leave)
        except StoreError:
            pass  # then it is given back when the lease is over
        finally:
            self._connection.close()
            self._connection = None


class Reader:
    """The connection that reads. Used on its own thread only."""

    def __init__(self, path: Path, *, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect to a file that the writer has checked."""
        self._connection = connect(self._path, busy_timeout=self._busy_timeout)
        self._connection.execute("PRAGMA query_only = ON")

    def run(self, query: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One query, of one moment."""
        connection = _given(self._connection, self._path)
        with transaction(connection, self._path, "DEFERRED"):
            return query(connection, *args, **kwargs)

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _given(connection: sqlite3.Connection | None, path: Path) -> sqlite3.Connection:
    if connection is None:
        raise StoreUnavailable(f"store {path} is closed; open it again with `async with`")
    return connection


def _stay(connection: sqlite3.Connection, tenure: Ownership) -> None:
    """Nothing beyond what every transaction begins with."""
