"""Tells an event loop that somebody has committed to the file: this store, or any other one in any process.

SQLite has no notification between processes. `PRAGMA data_version` says whether another connection has committed, and
costs some microseconds. A thread asks for it on a connection of its own, as long as somebody waits. Stores of this
process need not wait for that: their writers call `committed`.
"""

import asyncio
import os
import sqlite3
import threading
import weakref
from contextlib import closing
from pathlib import Path

from ..._core.errors import StoreError
from .changes import newest
from .connection import connect
from .ownership import Ownership

#: How many seconds pass between two looks at the file; and in the second after a commit of somebody else, since more
#: often follow.
LOOK_SECONDS, BUSY_LOOK_SECONDS = 0.02, 0.005
BUSY_SECONDS = 1.0

#: The thread ends when nobody has waited for so many seconds.
LINGER_SECONDS = 1.0

#: If the look fails, the next one follows after so many seconds.
RETRY_SECONDS = 1.0

#: After an answer with changes, how many seconds pass until the next query. Without this pause, every commit of a busy
#: process would cost a query.
PAUSE_SECONDS = 0.005

#: The feeds of the open stores of this process, by the path of the file.
_feeds: "dict[str, tuple[weakref.ref[Feed], ...]]" = {}
_lock = threading.Lock()


def committed(path: str, appender: Ownership | None) -> None:
    """Called on a writer's thread after a commit to a file. `appender`: the owner, if it has only appended records to
    its own executions."""
    for reference in _feeds.get(path, ()):
        if (feed := reference()) is not None:
            feed.announce(own=feed.ownership is appender)


class Feed:
    """The waiters of one open store. Except for `announce`, use it on the loop of the store."""

    def __init__(self, path: Path, busy_timeout: float, ownership: Ownership, *, read_only: bool = False) -> None:
        self.path = path
        self.ownership = ownership
        self._busy_timeout = busy_timeout
        self._read_only = read_only
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        #: changes with every commit, or later. It is counted on several threads: two of them may count the same number,
        #: but none before its commit
        self._number = 0
        #: the same without commits in which this owner has only appended records to its executions
        self._number_of_others = 0
        #: with whether such a commit wakes them; and how many it wakes
        self._waiters: dict[asyncio.Future[None], bool] = {}
        self._own_waiters = 0
        self._announced = self._announced_own = False
        self._quiet_from = 0.0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._is_waited_for = threading.Event()
        #: held to start the thread, and by the thread when it ends because nobody waits
        self._starting = threading.Lock()
        with _lock:
            _feeds[str(path)] = (*_feeds.get(str(path), ()), weakref.ref(self))

    def number(self, own: bool) -> int:
        """Changes with every commit, or later; see `announce` for commits that are `own`."""
        return self._number if own else self._number_of_others

    def announce(self, *, own: bool = False) -> None:
        """Something was committed; `own`: this owner has only appended records to its executions. Call it on any
        thread."""
        self._number += 1
        if not own:
            self._number_of_others += 1
        if self._announced or (own and self._announced_own) or not self._is_waited_for.is_set():
            return
        if own and not self._own_waiters:
            return
        if self._process != os.getpid():  # a forked process has this object, but not the loop
            return
        if own:
            self._announced_own = True
        else:
            self._announced = True
        try:
            self._loop.call_soon_threadsafe(self._wake, own)
        except RuntimeError:  # the loop is closed
            self._stop.set()

    def _wake(self, own: bool) -> None:
        if own:
            self._announced_own = False
        else:
            self._announced = False
        for future, for_own in self._waiters.items():
            if (for_own or not own) and not future.done():
                future.set_result(None)

    def close(self) -> None:
        """End the thread and wake all waiters."""
        path = str(self.path)
        with _lock:
            _feeds[path] = tuple(it for it in _feeds.get(path, ()) if it() not in (None, self))
            if not _feeds[path]:
                del _feeds[path]
        self._stop.set()
        self._wake(False)

    def answered(self) -> None:
        """A query has found changes: see `PAUSE_SECONDS`."""
        self._quiet_from = self._loop.time() + PAUSE_SECONDS

    async def pause(self, deadline: float | None) -> None:
        """Wait until the next query is due, if that is before the deadline (loop time)."""
        if (seconds := self._quiet_from - self._loop.time()) > 0 and (deadline is None or self._quiet_from < deadline):
            await asyncio.sleep(seconds)

    async def wait(self, number: int, deadline: float | None, own: bool) -> bool:
        """Wait until something was committed since `number`. Returns False if the deadline has passed before."""
        if deadline is not None and deadline <= self._loop.time():
            return self.number(own) != number
        future = self._loop.create_future()
        self._waiters[future] = own
        self._own_waiters += own
        self._is_waited_for.set()
        try:
            if self.number(own) != number:
                return True
            self._start_looking()
            async with asyncio.timeout_at(deadline):
                await future
        except TimeoutError:
            return False
        finally:
            del self._waiters[future]
            self._own_waiters -= own
            if not self._waiters:
                self._is_waited_for.clear()
        return True

    def _start_looking(self) -> None:
        with self._starting:
            if self._thread is None:
                # A daemon thread, so that a program which forgot to close its store can end.
                self._thread = threading.Thread(target=self._look, name=f"the feed of {self.path}", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        """The thread: look at the file again and again while somebody waits, and a moment longer."""
        while not self._stop.is_set():
            try:
                with closing(self._connect()) as connection:
                    if self._look_until_nobody_waits(connection):
                        return
            except (sqlite3.Error, StoreError):
                # The query of those who wait meets the same error, and raises it; or the next look succeeds.
                self.announce()
                self._stop.wait(RETRY_SECONDS)

    def _connect(self) -> sqlite3.Connection:
        return connect(self.path, busy_timeout=self._busy_timeout, read_only=self._read_only)

    def _look_until_nobody_waits(self, connection: sqlite3.Connection) -> bool:
        seen = (0, 0)
        known: int | None = None  # so that the first look announces what was committed before it
        idle = quiet = 0.0
        while not self._stop.is_set():
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if version != known:
                before, seen = seen, newest(connection)
                own = (
                    known is not None and seen[1] == before[1] and self.ownership.own.are_all_after(before[0], seen[0])
                )
                known = version
                if not own:
                    quiet = 0.0
                self.announce(own=own)
            pause = BUSY_LOOK_SECONDS if quiet < BUSY_SECONDS else LOOK_SECONDS
            self._stop.wait(pause)
            quiet += pause
            idle = 0.0 if self._is_waited_for.is_set() else idle + pause
            if idle >= LINGER_SECONDS:
                with self._starting:
                    if not self._is_waited_for.is_set():
                        self._thread = None
                        return True
        return False
