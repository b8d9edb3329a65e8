"""`PostgresStore`: a store in a PostgreSQL database."""

import asyncio
import re
import secrets
import socket
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ..._core.errors import StoreUnavailable
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
from . import claims, feed, inbox, reading, shared, upkeep, writing
from .announcing import Announcer
from .connections import Database, Settings
from .ownership import Ownership
from .thread import LoopThread

P = ParamSpec("P")
T = TypeVar("T")

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,39}")

#: After an answer with changes, how many seconds pass until the next query. Without this pause, every commit of a busy
#: process would cost a query.
PAUSE_SECONDS = 0.005

#: the open stores of this process and their event loops, by data
_opened: "dict[tuple[str, str], dict[PostgresStore, asyncio.AbstractEventLoop]]" = {}


class PostgresStore(OpenedInScripts):
    """A store in a PostgreSQL database (14 or later, UTF8), for any number of processes on any machines.

    `conninfo` is a connection string of libpq, such as "postgresql://user@host/database"; what it leaves out comes from
    the environment (PGPASSWORD, ~/.pgpass). The first opening makes the tables in the schema `schema`; several stores
    can be in one database, each in a schema of its own. Without `create`, opening a schema that has no tables raises
    `StoreUnavailable`.

    `lease` is in seconds: other owners may claim the executions of this owner if it has not renewed its lease for so
    long, or at once if its process is known to have ended (on the same Linux machine). The clock of the database
    counts. The lease is renewed only while the event loop of this process answers. `timeout` is how many seconds an
    operation may take, with reconnecting after a restart of the database, before it raises `StoreUnavailable`. A store
    opens up to `max_connections` connections, and one more to hear of changes.

    `conninfo` may lead to PgBouncer in session or in transaction mode. In transaction mode a connection cannot listen:
    give `listen_conninfo`, which leads to the database itself. Without it, changes of other processes are noticed
    within a second. `clock`, for tests, returns seconds since the epoch, in place of the clock of the database.

    Raises `ValueError` for an invalid argument. See `Store` for the methods and the errors that they raise.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "triggerflow",
        lease: float = 30.0,
        timeout: float = 10.0,
        max_connections: int = 5,
        listen_conninfo: str | None = None,
        clock: Callable[[], float] | None = None,
        create: bool = True,
    ) -> None:
        if lease <= 0 or timeout <= 0:
            raise ValueError("lease and timeout have to be more than 0 seconds")
        if max_connections < 3:
            raise ValueError("max_connections has to be 3 or more: for commits, for the lease, and for all the rest")
        if not _SCHEMA.fullmatch(schema):
            raise ValueError(f"schema is up to 40 of a-z, 0-9 and _, not {schema!r}")
        place = _place(conninfo, "conninfo")
        if listen_conninfo is not None:
            _place(listen_conninfo, "listen_conninfo")
        #: the schema of its tables
        self.schema = schema
        self._repr = f"PostgresStore({place}, schema={schema!r})"
        self._settings = Settings(
            conninfo=conninfo,
            name=f"store {schema} in {place}",
            schema=schema,
            timeout=timeout,
            lease=lease,
            connections=max_connections,
            clock=clock,
            creates=create,
        )
        self._listen_conninfo = conninfo if listen_conninfo is None else listen_conninfo
        self._lifecycle = Lifecycle(self._settings.name)
        #: who waits for changes, with whether own appends wake them
        self._waiting: dict[asyncio.Event, bool] = {}
        #: identifies the data
        self._data = conninfo, schema

    def __repr__(self) -> str:
        return self._repr

    @property
    def owner(self) -> str:
        """The id under which this opened store claims executions: host, process and a random part."""
        self._lifecycle.check()
        return self._owner

    async def __aenter__(self) -> Self:
        """Connect, and make or migrate the tables. Raises `StoreUnavailable`, and `UsageError` if it is open."""
        self._lifecycle.open()
        loop = self._lifecycle.check()
        self._owner = f"{socket.gethostname()}/{this_process()}/{secrets.token_hex(4)}"
        self._quiet_until = 0.0
        self._thread = LoopThread(self._settings.name)
        self._database = Database(self._settings, self._owner)
        self._ownership = Ownership(self._database)
        try:
            await loop.run_in_executor(self._thread, self._open, loop)
        except BaseException:
            self._lifecycle.close()
            with suppress(StoreUnavailable):
                self._thread.submit(self._close)
            self._thread.shutdown()
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
        kept = await self._lifecycle.stopped()
        loop = self._lifecycle.check()
        self._lifecycle.close()
        self.wake(False)
        # Others wait for the lease if something has to be kept. What has stopped was released before.
        closing = loop.run_in_executor(self._thread, partial(self._close, leaves=not kept))
        self._thread.shutdown()
        await closing

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the store's thread: connect, and start what goes on in the background."""
        await self._database.open()
        self._announcer = Announcer(self._database, self._listen_conninfo, self._on_change)
        self._announcer.start()
        self._renewing = asyncio.create_task(self._database.keep_alive(Pulse(loop).beat))
        _opened.setdefault(self._data, {})[self] = loop

    async def _close(self, *, leaves: bool = True) -> None:
        await self._thread.others()
        if hasattr(self, "_renewing"):
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
            await self._announcer.stop()
            del self._renewing
            del _opened[self._data][self]
        await self._database.close(leaves=leaves)

    def _on_change(self, own: bool) -> None:
        """Something has changed: wake those who wait, at all stores of this process over the same data. `own`: this
        store has only added records to its executions."""
        for store, loop in list(_opened.get(self._data, {}).items()):
            with suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(store.wake, own and store is self)

    def wake(self, own: bool) -> None:
        """Have those who wait for changes look whether there are some; with `own`, only those who also wait for what
        this store appends to its executions."""
        for event, for_own in self._waiting.items():
            if for_own or not own:
                event.set()

    async def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the store's thread. Cancelling this does not cancel it."""
        loop = self._lifecycle.check()
        return await loop.run_in_executor(self._thread, work)  # type: ignore[return-value]

    async def _write(
        self, work: Callable[Concatenate[Ownership, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._lifecycle.check()
        return await self._call(partial(work, self._ownership, *args, **kwargs))

    async def _in_turn(
        self, work: Callable[Concatenate[Ownership, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async def wait_and_work() -> T:
            async with self._ownership.turn:
                return await work(self._ownership, *args, **kwargs)

        return await self._call(wait_and_work)

    async def _read(
        self, query: Callable[Concatenate[Database, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._lifecycle.check()
        return await self._call(partial(query, self._database, *args, **kwargs))

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        """See `Store.append`."""
        return await self._in_turn(writing.append, appends)

    async def put_snapshot(self, execution: str, records: int, definition: str, data: bytes) -> None:
        """See `Store.put_snapshot`."""
        await self._in_turn(writing.put_snapshot, execution, records, definition, data)

    async def put_copies(self, copies: Sequence[ExecutionCopy]) -> None:
        """See `Store.put_copies`."""
        await self._in_turn(writing.put_copies, copies)

    async def put_definition(self, fingerprint: str, data: bytes) -> None:
        """See `Store.put_definition`."""
        await self._write(writing.put_definition, fingerprint, data)

    # -- schedules ---------------------------------------------------------------------------------------------------

    async def put_schedule(
        self, schedule: ScheduleRow, *, replaces: str | None = None, starts: Sequence[Append] = ()
    ) -> None:
        """See `Store.put_schedule`."""
        await self._in_turn(writing.put_schedule, schedule, replaces, starts)

    async def delete_schedule(self, schedule: str) -> bool:
        """See `Store.delete_schedule`."""
        return await self._read(shared.delete_schedule, schedule)

    async def schedule(self, schedule: str) -> ScheduleRow | None:
        """See `Store.schedule`."""
        return await self._read(shared.find_schedule, schedule)

    async def schedules(
        self, *, flow: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """See `Store.schedules`."""
        return await self._read(shared.schedules, flow, after, limit)

    async def next_schedules(
        self, flows: Iterable[str], *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """See `Store.next_schedules`."""
        return await self._read(shared.next_schedules, list(flows), after, limit)

    # -- the inbox ---------------------------------------------------------------------------------------------------

    async def post(self, request: Request) -> Request:
        """See `Store.post`."""
        return await self._read(inbox.post, request)

    async def requests(
        self, ids: Iterable[str] | None = None, *, limit: int = 100, without: Collection[str] = ()
    ) -> list[Request]:
        """See `Store.requests`."""
        if ids is None:
            return await self._read(inbox.fetch, limit, set(without))
        return await self._read(inbox.by_ids, list(ids))

    async def withdraw(self, request: str) -> Request | None:
        """See `Store.withdraw`."""
        return await self._read(inbox.withdraw, request)

    async def wait_changes(
        self, cursor: str | None = None, *, timeout: float | None = None, own: bool = True
    ) -> Changes:
        """See `Store.wait_changes`."""
        loop = self._lifecycle.check()
        until = None if timeout is None else loop.time() + timeout
        changed = asyncio.Event()
        self._waiting[changed] = own
        try:
            await self._call(self._listen)
            if (seconds := self._quiet_until - loop.time()) > 0 and (until is None or self._quiet_until < until):
                await asyncio.sleep(seconds)
            while True:
                changed.clear()
                found = await self._read(feed.changes, cursor)
                if cursor is None or found != Changes(cursor=found.cursor):
                    self._quiet_until = loop.time() + PAUSE_SECONDS
                    return found
                cursor = found.cursor
                try:
                    async with asyncio.timeout_at(until):
                        await changed.wait()
                except TimeoutError:
                    return found
        finally:
            del self._waiting[changed]

    async def _listen(self) -> None:
        self._announcer.listen()

    # -- shared data -------------------------------------------------------------------------------------------------

    async def change_shared(self, flow: str, changes: Sequence[SharedChange]) -> int:
        """See `Store.change_shared`."""
        return await self._read(shared.change, flow, changes)

    async def shared(self, flow: str, *, after: int = 0, limit: int = 1000) -> SharedLog:
        """See `Store.shared`."""
        return await self._read(shared.log, flow, after, limit)

    async def fold_shared(self, flow: str, values: Mapping[str, tuple[int, bytes | None]]) -> list[str]:
        """See `Store.fold_shared`."""
        return await self._read(shared.fold, flow, values)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def find(self, execution: str) -> ExecutionRow | None:
        """See `Store.find`."""
        return await self._read(reading.find, execution)

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
            reading.executions,
            flow=flow,
            status=checked_statuses(status),
            since=since,
            until=until,
            parent=parent,
            labels=labels,
            text=text,
            after=after,
            limit=limit,
        )

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """See `Store.counts`."""
        return await self._read(reading.counts, since, until)

    async def questions(
        self,
        *,
        flow: str | None = None,
        execution: str | None = None,
        after: Question | None = None,
        limit: int = 100,
    ) -> list[Question]:
        """See `Store.questions`."""
        return await self._read(reading.questions, flow, execution, after, limit)

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
        return await self._read(reading.next_due, list(flows), set(without))

    async def release(self, executions: Iterable[str]) -> None:
        """See `Store.release`."""
        await self._in_turn(claims.release, list(executions))

    # -- retention ---------------------------------------------------------------------------------------------------

    async def trim(self, execution: str, records: int, *, payloads: Collection[str] | None = None) -> int:
        """See `Store.trim`."""
        return await self._read(upkeep.trim, execution, records, payloads)

    async def delete(self, executions: Iterable[str]) -> int:
        """See `Store.delete`."""
        return await self._read(upkeep.delete, list(executions))

    async def shrink(self) -> int:
        """See `Store.shrink`: the database uses the space of deleted rows again (autovacuum), and gives none back while
        others write."""
        self._lifecycle.check()
        return 0


def _place(conninfo: str, what: str) -> str:
    """Where a connection string leads to, without the user and the password."""
    try:
        found = conninfo_to_dict(conninfo)
    except psycopg.Error:  # its text may quote the password
        raise ValueError(
            f"{what} is no connection string of libpq; write it like postgresql://user@host:5432/database"
        ) from None
    host, port = found.get("host") or found.get("hostaddr"), found.get("port")
    parts = [str(found.get("dbname") or "the default database"), "at", str(host or "the default host")]
    return " ".join(parts) + (f":{port}" if port else "")
