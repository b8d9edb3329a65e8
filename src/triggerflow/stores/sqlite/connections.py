"""The two connections of an open store: the writer, and the reader, which never waits for a commit."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ..._core.errors import StoreError, StoreUnavailable
from ..lifecycle import Pulse
from . import claims, schema, upkeep
from .connection import Synchronous, connect, make_file, transaction
from .errors import store_error
from .feed import committed
from .ownership import Ownership

P = ParamSpec("P")
T = TypeVar("T")

#: After how many seconds a failed renewal is tried again; at most a third of the lease.
RETRY = 1.0


class Writer:
    """The only connection that writes. Used on its own thread only."""

    def __init__(
        self,
        path: Path,
        ownership: Ownership,
        pulse: Pulse,
        *,
        synchronous: Synchronous,
        busy_timeout: float,
        mode: int,
    ) -> None:
        self._path = path
        self._pulse = pulse
        #: executions that stay with this owner when it closes, see `Lifecycle.stopped`
        self.kept: set[str] = set()
        self._ownership = ownership
        self._synchronous: Synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._mode = mode
        self._name = str(path)
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect, check the file, migrate its tables, and add the row of this owner."""
        make_file(self._path, self._mode)
        connection = connect(self._path, busy_timeout=self._busy_timeout, synchronous=self._synchronous)
        try:
            with transaction(connection, self._path, "DEFERRED"):
                schema.check(connection, self._path)
            self._use_wal(connection)
            with transaction(connection, self._path, "IMMEDIATE"):
                schema.check(connection, self._path)  # again: another process may have made the tables since
                schema.migrate(connection)
            self._connection = connection
            self.run(upkeep.sweep)
        except BaseException:
            self._connection = None
            connection.close()
            raise

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch the file to WAL mode, in which readers do not wait for writers."""
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
                    # This lets `shrink` cut the file in small steps. It has to be said before the first page is made.
                    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                # SQLite does not wait for the lock by itself when two processes switch at once.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise store_error(error, self._path) from error
                time.sleep(0.01)
        if mode != "wal":
            raise StoreUnavailable(
                f"store {self._path}: the file system has no shared memory for SQLite's WAL mode; use a local disk"
            )

    def run(
        self, work: Callable[Concatenate[sqlite3.Connection, Ownership, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` in one transaction. It is committed when this returns."""
        connection = _require_open(self._connection, self._path)
        try:
            with transaction(connection, self._path, "IMMEDIATE"):
                self._ownership.begin(connection)
                result = work(connection, self._ownership, *args, **kwargs)
        except BaseException:
            self._ownership.rolled_back()
            raise
        committed(self._name, self._ownership if self._ownership.committed() else None)
        return result

    def size(self) -> int:
        """The size of the file in bytes, with what is only in the -wal file so far."""
        connection = _require_open(self._connection, self._path)
        with transaction(connection, self._path, "DEFERRED"):
            pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return pages * size

    def rewrite_once(self) -> None:
        """Make a file that an older release has made one that can be cut in steps: SQLite copies it."""
        connection = _require_open(self._connection, self._path)
        try:
            if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("VACUUM")
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error

    def checkpoint(self) -> None:
        """Move what is in the -wal file into the file, as far as nobody has to wait for it, and cut the file."""
        connection = _require_open(self._connection, self._path)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error

    def renew(self) -> float:
        """Renew the lease. Returns the number of seconds until the next renewal is due."""
        if self._connection is not None:
            if not self._pulse.beat():  # the event loop is stuck
                return min(RETRY, self._ownership.lease / 3)
            self._ownership.renew()
            try:
                self.run(upkeep.sweep)
            except StoreError:  # the next renewal may succeed; until then, an append raises the error
                return min(RETRY, self._ownership.lease / 3)
        return self._ownership.lease / 3

    def close(self) -> None:
        """Release all executions of this owner and disconnect."""
        if self._connection is None:
            return
        try:
            self.run(claims.leave, self.kept)
        except StoreError:
            pass  # other owners can claim the executions when the lease has ended
        finally:
            self._connection.close()
            self._connection = None


class Reader:
    """The connection that reads. Used on its own thread only. It is `alone` in a store that is opened for reading."""

    def __init__(self, path: Path, *, busy_timeout: float, alone: bool = False) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._alone = alone
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect to a file that the writer has checked. Alone, check it, and change nothing."""
        connection = connect(self._path, busy_timeout=self._busy_timeout, read_only=self._alone)
        try:
            connection.execute("PRAGMA query_only = ON")
            if self._alone:
                with transaction(connection, self._path, "DEFERRED"):
                    schema.check(connection, self._path)
                    schema.require_newest(connection, self._path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def run(self, query: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query in one transaction, so that it reads one consistent state."""
        connection = _require_open(self._connection, self._path)
        with transaction(connection, self._path, "DEFERRED"):
            return query(connection, *args, **kwargs)

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _require_open(connection: sqlite3.Connection | None, path: Path) -> sqlite3.Connection:
    if connection is None:
        raise StoreUnavailable(f"store {path} is closed; open it again with `async with`")
    return connection
