"""`SQLiteStore`: a store in one SQLite file."""

import asyncio
import os
import secrets
import socket
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from ..._core.errors import StoreUnavailable
from ...run.environment import machine_time
from ..lifecycle import Lifecycle, OpenedInScripts, Pulse
from ..processes import this_process
from ..protocol import (
    Append,
    Changes,
    ExecutionCopy,
    ExecutionRow,
    Question,
    Request,
    ScheduleRow,
    SharedChange,
    SharedLog,
    StatusName,
)
from ..searching import checked_statuses
from . import changes, claims, inbox, listing, reading, schedules, shared, upkeep, writing
from .connection import Synchronous
from .connections import Reader, Writer
from .feed import Feed
from .ownership import Ownership
from .thread import SingleThread

#: How many pages of 4 KiB one step of `shrink` moves.
CUT_PAGES = 250

P = ParamSpec("P")
T = TypeVar("T")


class SQLiteStore(OpenedInScripts):
    """A store in one SQLite file, for any number of processes of one machine.

    With `synchronous="FULL"`, an append returns when it is on disk. `"NORMAL"` does not wait for the disk: the newest
    appends may be missing after a power cut; a crash of the process loses nothing. `lease` is in seconds: other owners
    may claim the executions of this owner if it has not renewed its lease for so long, or at once if its process is
    known to have ended (on Linux). `busy_timeout` is how many seconds to wait for a transaction of another process.
    `clock` returns seconds since the epoch; all processes that use the file need the same time.

    The first opening makes the file, with the permissions `mode`: by default only the user that makes it can read it.
    SQLite gives its -wal and -shm files the same. The permissions of a file that is there already do not change.

    With `read_only` the file is read and never written: it is neither made nor migrated, and every method that would
    change something raises `StoreUnavailable`. Other processes may write meanwhile; their changes are reported.

    Raises `ValueError` for an invalid argument. See `Store` for the methods and the errors that they raise.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        lease: float = 30.0,
        busy_timeout: float = 5.0,
        clock: Callable[[], float] = machine_time,
        mode: int = 0o600,
        read_only: bool = False,
    ) -> None:
        if os.fspath(path) in ("", ":memory:"):
            raise ValueError("SQLiteStore needs the path of a file; to keep executions in memory use MemoryStore")
        if synchronous not in ("FULL", "NORMAL"):
            raise ValueError(f"synchronous is 'FULL' or 'NORMAL', not {synchronous!r}")
        if lease <= 0 or busy_timeout < 0:
            raise ValueError("lease has to be more than 0 seconds, busy_timeout 0 seconds or more")
        if not 0o600 <= mode <= 0o777 or mode & 0o600 != 0o600:
            raise ValueError(f"mode is the permissions of the file, which its user has to read and write; not {mode!r}")
        self.path = Path(path).absolute()
        self._synchronous: Synchronous = synchronous
        self._lease = lease
        self._busy_timeout = busy_timeout
        self._clock = clock
        self._mode = mode
        self._read_only = read_only
        self._lifecycle = Lifecycle(f"store {self.path}")

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    @property
    def owner(self) -> str:
        """The id under which this opened store claims executions: host, process and a random part."""
        self._lifecycle.check()
        return self._owner

    async def __aenter__(self) -> Self:
        """Open the file, or make it. Raises `StoreUnavailable`, `StoreDamaged`, and `UsageError` if it is open."""
        self._lifecycle.open()
        self._owner = f"{socket.gethostname()}/{this_process()}/{secrets.token_hex(4)}"
        ownership = Ownership(self._owner, self._lease, self._clock)
        self._writer = Writer(
            self.path,
            ownership,
            Pulse(asyncio.get_running_loop()),
            synchronous=self._synchronous,
            busy_timeout=self._busy_timeout,
            mode=self._mode,
        )
        self._reader = Reader(self.path, busy_timeout=self._busy_timeout, alone=self._read_only)
        self._writing = SingleThread(f"the writer of {self.path}", self._writer.renew)
        self._reading = SingleThread(f"the reader of {self.path}")
        self._feed = Feed(self.path, self._busy_timeout, ownership, read_only=self._read_only)
        loop = self._lifecycle.check()
        try:
            if not self._read_only:
                await loop.run_in_executor(self._writing, self._writer.open)
            await loop.run_in_executor(self._reading, self._reader.open)
        except BaseException:
            self._lifecycle.close()
            self._feed.close()
            for worker, close in self._ends():
                worker.submit(close)
                worker.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close: complete the operations that have begun, then release all executions of this owner.

        In a process that was forked after the opening this does nothing: the store belongs to the other process.
        """
        if self._lifecycle.is_inherited:
            return
        self._lifecycle.check()
        self._writer.kept = await self._lifecycle.stopped()
        loop = self._lifecycle.check()
        self._lifecycle.close()
        self._feed.close()
        closing: list[asyncio.Future[None]] = []
        for worker, close in self._ends():
            with suppress(StoreUnavailable):  # the writer's thread has ended already
                closing.append(loop.run_in_executor(worker, close))
            worker.shutdown()
        await asyncio.gather(*closing)

    def _ends(self) -> tuple[tuple[SingleThread, Callable[[], None]], ...]:
        return (self._reading, self._reader.close), (self._writing, self._writer.close)

    async def _write(
        self, work: Callable[Concatenate[sqlite3.Connection, Ownership, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        loop = self._lifecycle.check()
        if self._read_only:
            raise StoreUnavailable(f"store {self.path} was opened with `read_only`: nothing can be changed through it")
        return await loop.run_in_executor(self._writing, partial(self._writer.run, work, *args, **kwargs))

    async def _read(
        self, query: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        loop = self._lifecycle.check()
        return await loop.run_in_executor(self._reading, partial(self._reader.run, query, *args, **kwargs))

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        """See `Store.append`."""
        return await self._write(writing.append, appends)

    async def put_snapshot(self, execution: str, records: int, definition: str, data: bytes) -> None:
        """See `Store.put_snapshot`."""
        await self._write(writing.put_snapshot, execution, records, definition, data)

    async def put_copies(self, copies: Sequence[ExecutionCopy]) -> None:
        """See `Store.put_copies`."""
        await self._write(writing.put_copies, copies)

    async def put_definition(self, fingerprint: str, data: bytes) -> None:
        """See `Store.put_definition`."""
        await self._write(writing.put_definition, fingerprint, data)

    # -- the inbox ---------------------------------------------------------------------------------------------------

    async def post(self, request: Request) -> Request:
        """See `Store.post`."""
        return await self._write(inbox.post, request)

    async def requests(
        self, ids: Iterable[str] | None = None, *, limit: int = 100, without: Collection[str] = ()
    ) -> list[Request]:
        """See `Store.requests`."""
        if ids is not None:
            return await self._read(inbox.find, list(ids))
        skipped = set(without)
        if not await self._read(inbox.of_owner, self._owner, limit, skipped):
            return []  # most inboxes are empty most of the time: looking into them needs no write lock
        return await self._write(inbox.fetch, limit, skipped)

    async def withdraw(self, request: str) -> Request | None:
        """See `Store.withdraw`."""
        return await self._write(inbox.withdraw, request)

    async def wait_changes(
        self, cursor: str | None = None, *, timeout: float | None = None, own: bool = True
    ) -> Changes:
        """See `Store.wait_changes`."""
        loop, feed = self._lifecycle.check(), self._feed
        deadline = None if timeout is None else loop.time() + timeout
        if cursor is not None:
            await feed.pause(deadline)
        while True:
            number = feed.number(own)
            if found := await self._read(changes.since, cursor, None if own else feed.ownership.own):
                feed.answered()
                return found
            assert cursor is not None  # without a cursor, there is an answer
            if not await feed.wait(number, deadline, own):
                return Changes(cursor=cursor)

    # -- shared data -------------------------------------------------------------------------------------------------

    async def change_shared(self, flow: str, changes: Sequence[SharedChange]) -> int:
        """See `Store.change_shared`."""
        return await self._write(shared.change, flow, changes)

    async def shared(self, flow: str, *, after: int = 0, limit: int = 1000) -> SharedLog:
        """See `Store.shared`."""
        return await self._read(shared.log, flow, after, limit)

    async def fold_shared(self, flow: str, values: Mapping[str, tuple[int, bytes | None]]) -> list[str]:
        """See `Store.fold_shared`."""
        return await self._write(shared.fold, flow, values)

    # -- schedules ---------------------------------------------------------------------------------------------------

    async def put_schedule(
        self, schedule: ScheduleRow, *, replaces: str | None = None, starts: Sequence[Append] = ()
    ) -> None:
        """See `Store.put_schedule`."""
        await self._write(schedules.put, schedule, replaces, starts)

    async def delete_schedule(self, schedule: str) -> bool:
        """See `Store.delete_schedule`."""
        return await self._write(schedules.delete, schedule)

    async def schedule(self, schedule: str) -> ScheduleRow | None:
        """See `Store.schedule`."""
        return await self._read(schedules.find, schedule)

    async def schedules(
        self, *, flow: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """See `Store.schedules`."""
        return await self._read(schedules.several, flow, after, limit)

    async def next_schedules(
        self, flows: Iterable[str], *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """See `Store.next_schedules`."""
        return await self._read(schedules.next_due, list(flows), after, limit)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def find(self, execution: str) -> ExecutionRow | None:
        """See `Store.find`."""
        return await self._read(reading.find, self._clock(), execution)

    async def executions(
        self,
        *,
        flow: str | None = None,
        status: Iterable[StatusName] | None = None,
        since: float | None = None,
        until: float | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        text: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[ExecutionRow]:
        """See `Store.executions`."""
        return await self._read(
            listing.executions,
            self._clock(),
            flow=flow,
            status=checked_statuses(status),
            since=since,
            until=until,
            parent=parent,
            labels=dict(labels or {}),
            text=text,
            after=after,
            limit=limit,
        )

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """See `Store.counts`."""
        return await self._read(listing.counts, since, until)

    async def questions(
        self,
        *,
        flow: str | None = None,
        execution: str | None = None,
        after: Question | None = None,
        limit: int = 100,
    ) -> list[Question]:
        """See `Store.questions`."""
        return await self._read(listing.questions, flow, execution, after, limit)

    async def records(self, execution: str, *, first: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """See `Store.records`."""
        return await self._read(reading.records, execution, first, limit)

    async def items(self, execution: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """See `Store.items`."""
        return await self._read(reading.items, execution, after, limit)

    async def payloads(self, digests: Iterable[str]) -> dict[str, bytes]:
        """See `Store.payloads`."""
        return await self._read(reading.payloads, list(digests))

    async def snapshot(self, execution: str, *, records: int | None = None) -> tuple[int, str, bytes] | None:
        """See `Store.snapshot`."""
        return await self._read(reading.snapshot, execution, records)

    async def definition(self, fingerprint: str) -> bytes | None:
        """See `Store.definition`."""
        return await self._read(reading.definition, fingerprint)

    # -- ownership ---------------------------------------------------------------------------------------------------

    async def claim(self, execution: str) -> ExecutionRow:
        """See `Store.claim`."""
        return await self._write(claims.claim, execution)

    async def claim_work(
        self, flows: Iterable[str], *, limit: int = 100, without: Collection[str] = ()
    ) -> list[ExecutionRow]:
        """See `Store.claim_work`."""
        return await self._write(claims.claim_work, list(flows), limit, set(without))

    async def next_due(self, flows: Iterable[str], *, without: Collection[str] = ()) -> float | None:
        """See `Store.next_due`."""
        return await self._read(reading.next_due, self._clock(), list(flows), set(without))

    async def release(self, executions: Iterable[str]) -> None:
        """See `Store.release`."""
        await self._write(claims.release, list(executions))

    # -- retention ---------------------------------------------------------------------------------------------------

    async def trim(self, execution: str, records: int, *, payloads: Collection[str] | None = None) -> int:
        """See `Store.trim`."""
        return await self._write(upkeep.trim, execution, records, payloads)

    async def delete(self, executions: Iterable[str]) -> int:
        """See `Store.delete`."""
        return await self._write(upkeep.delete, list(executions))

    async def shrink(self) -> int:
        """See `Store.shrink`.

        The file is cut in steps of some milliseconds, between which all processes can write. A file that was made by
        version 0.1 is copied once instead, as SQLite's VACUUM does: meanwhile nobody can write.
        """
        loop = self._lifecycle.check()
        if self._read_only:
            return 0
        before = await loop.run_in_executor(self._writing, self._writer.size)
        await loop.run_in_executor(self._writing, self._writer.rewrite_once)
        left, known = await self._write(upkeep.cut, CUT_PAGES), None
        while left and left != known:  # a reader may keep the last pages in use
            left, known = await self._write(upkeep.cut, CUT_PAGES), left
        await loop.run_in_executor(self._writing, self._writer.checkpoint)
        return max(0, before - await loop.run_in_executor(self._writing, self._writer.size))
