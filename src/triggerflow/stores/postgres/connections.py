"""The connections of an open store: a pool, and writes that survive the loss of one. Used on the store's thread only.

A write is one statement. If its connection is lost, nobody knows whether it was committed; it may even be under way
still. Then this owner begins a new *incarnation*, which waits for what the old one has begun and makes the database
refuse what arrives of it later. After that the table of changes tells whether the write is there, by its token: if not,
it is sent again. So a restart of the database is a pause, and nothing is done twice.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from os import dup
from typing import Any, Self

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ..._core.errors import StoreError, StoreUnavailable
from ..protocol import REPLY_KEPT
from . import schema
from .errors import is_restarting, primary_message, store_error
from .functions import REVOKED

Row = tuple[Any, ...]

#: A connection that was not used for so many seconds is tried before it is used.
IDLE = 5.0
#: After how many seconds changes are forgotten: a cursor that is older is answered with `resync`.
CHANGES_KEPT = 1800.0
#: How often old changes and replies are deleted, in seconds.
TIDY_EVERY = 60.0
#: How many bytes a second a large write may take at least: so much time is added to its time limit.
SLOWEST = 1_000_000
#: The oldest release of the server that has all that is used here.
OLDEST = 14


class Connection(psycopg.AsyncConnection[Row]):
    """A connection that knows when it was used last."""

    used = 0.0
    #: why the last attempt to connect has failed; each store has a subclass of its own
    failure: BaseException | None = None

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Connect. Raises `psycopg.Error`."""
        try:
            connection = await super().connect(conninfo, **options)
        except psycopg.Error as error:
            cls.failure = error
            raise
        cls.failure = None
        return connection

    def cut(self) -> None:
        """Close the socket under whoever waits for it: they get an error at once."""
        with suppress(OSError, psycopg.Error), socket.socket(fileno=dup(self.fileno())) as inner:
            inner.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Settings:
    """How to connect. `name` begins error messages; it holds no password."""

    conninfo: str
    name: str
    schema: str
    timeout: float
    lease: float
    connections: int
    #: for tests: the time, instead of the clock of the database
    clock: Callable[[], float] | None
    #: whether to make the tables if there are none
    creates: bool = True

    def now(self) -> float | None:
        """The time of the test clock; None if the database's clock counts."""
        return self.clock and self.clock()

    def sql(self, text: str) -> bytes:
        """A statement in which `{s}` stands for the schema."""
        return text.format(s=self.schema).encode()

    def options(self) -> dict[str, Any]:
        """The options of every connection. Behind a pooler a prepared statement may be on another connection."""
        timeout = max(2, round(self.timeout / 2))  # libpq takes no shorter one
        return {"autocommit": True, "prepare_threshold": None, "connect_timeout": timeout}


@contextmanager
def time_limit(connection: Connection, seconds: float) -> Generator[None]:
    """Cut the connection after so many seconds."""
    timer = asyncio.get_running_loop().call_later(max(0.0, seconds), connection.cut)
    try:
        yield
    finally:
        timer.cancel()


class Committed(Exception):
    """A write whose answer was lost turned out to be committed. Raised to the caller of `Database.write`."""


class _Lost(Exception):
    """A connection was lost; `sent` tells whether the statement may have been sent."""

    def __init__(self, error: BaseException, *, sent: bool) -> None:
        super().__init__(primary_message(error))
        self.error, self.sent = error, sent


class Database:
    """The pool of one open store, and its owner's incarnation."""

    def __init__(self, settings: Settings, owner: str) -> None:
        self.settings, self.owner = settings, owner
        #: called when the owner was counted as dead: another owner may have what it had
        self.on_death: Callable[[], None] = lambda: None
        #: called after each write that others have to hear of: with whether it is `own` (see `write`), and whether
        #: there may be other owners
        self.on_change: Callable[[bool, bool], None] = lambda own, others: None
        #: the incarnation of the owner; None if the last one may have a write under way whose end nobody waited for
        self.incarnation: int | None = None
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._entering = asyncio.Lock()
        self._few = asyncio.Semaphore(max(1, settings.connections - 2))
        #: tokens of claims whose answer was lost for good: what they got has to be released
        self._lost_claims: list[str] = []
        self._texts: dict[str, bytes] = {}
        self._clock = settings.clock or time.monotonic
        #: when the lease was renewed last
        self._renewed = 0.0
        self._connection: type[Connection] = type("Connection", (Connection,), {})

    # -- opening and closing -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, make or migrate the tables, and add the row of this owner."""
        settings = self.settings
        deadline = time.monotonic() + settings.timeout
        while True:
            try:
                await self._prepare()
                break
            except StoreError:  # an `OSError`, too
                raise
            except (psycopg.Error, OSError) as error:
                if not is_restarting(error) or time.monotonic() > deadline:
                    raise store_error(error, settings.name) from _without_values(error)
            await asyncio.sleep(0.1)
        pool = AsyncConnectionPool(
            settings.conninfo,
            connection_class=self._connection,
            kwargs=settings.options(),
            min_size=1,
            max_size=settings.connections,
            check=self._check,
            timeout=settings.timeout,
            open=False,
            name=settings.name,
        )
        self._pool = pool
        try:
            await pool.open()
            await self._enter(time.monotonic() + settings.timeout)
        except _Lost as lost:
            await self.close()
            raise store_error(lost.error, settings.name) from _without_values(lost.error)
        except BaseException:
            await self.close()
            raise

    async def close(self, *, leaves: bool = True) -> None:
        """Disconnect. If the owner `leaves`, all its executions are released, else when its lease ends."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if leaves:
            with suppress(_Lost, StoreError):  # others can claim the executions when the lease has ended
                await self._run(
                    pool, "SELECT {s}.leave(%s, %s)", (self.owner, secrets.token_hex(8)), time.monotonic() + self._brief
                )
        await pool.close(self._brief)

    @property
    def _brief(self) -> float:
        return min(2.0, self.settings.timeout)

    async def _prepare(self) -> None:
        """Make or migrate the tables, on a connection of its own: its error says why there is none."""
        connection = await Connection.connect(self.settings.conninfo, **self.settings.options())
        try:
            with time_limit(connection, max(60.0, self.settings.timeout)):
                await self._migrate(connection)
        finally:
            await connection.close()

    async def _migrate(self, connection: Connection) -> None:
        sql, settings = self.settings.sql, self.settings
        release = connection.info.server_version // 10_000
        if release < OLDEST:
            raise StoreUnavailable(f"{settings.name}: PostgreSQL {release} is too old; {OLDEST} or later is needed")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreUnavailable(f"{settings.name}: the database has the encoding {encoding}; make one with UTF8")
        version = await self._version(connection)
        if not version and not settings.creates:
            raise StoreUnavailable(
                f"{settings.name}: the database has no tables of a store in the schema {settings.schema!r}; check the "
                "address, or open it without create=False"
            )
        if version < len(schema.STEPS):
            async with connection.transaction():
                # Two that open an empty database at once: the second one waits, and finds what the first one has made.
                await connection.execute(b"SELECT pg_advisory_xact_lock(1413893206)")
                if not await _one(connection, b"SELECT to_regnamespace(%s) IS NOT NULL", settings.schema):
                    await connection.execute(sql("CREATE SCHEMA {s}"))
                await connection.execute(
                    sql(
                        "CREATE TABLE IF NOT EXISTS {s}.migrations"
                        " (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
                    )
                )
                version = await self._version(connection)
                for number, step in enumerate(schema.STEPS[version:], version + 1):
                    await connection.execute(sql(";\n".join(step)))
                    await connection.execute(sql("INSERT INTO {s}.migrations (version) VALUES (%s)"), (number,))
        if version > len(schema.STEPS):
            raise StoreUnavailable(
                f"{settings.name}: the schema has version {version}, but this release knows only up to version "
                f"{len(schema.STEPS)}; it was not touched; install a newer triggerflow-engine"
            )
        await connection.execute(sql(schema.FORGET_ANOTHER_SERVER))

    async def _version(self, connection: Connection) -> int:
        if not await _one(connection, b"SELECT to_regclass(%s) IS NOT NULL", f"{self.settings.schema}.migrations"):
            return 0
        return await _one(connection, self.settings.sql("SELECT coalesce(max(version), 0) FROM {s}.migrations"))

    # -- statements --------------------------------------------------------------------------------------------------

    async def read(self, text: str, values: Sequence[Any] | dict[str, Any] = (), *, nested: bool = False) -> list[Row]:
        """Run a query. Tries again on another connection if one is lost. `nested` queries are those that a write makes
        for its arguments."""
        deadline = time.monotonic() + self.settings.timeout
        async with nullcontext() if nested else self._few:
            while True:
                try:
                    await self._enter(deadline)  # what it reads must not be changed by a write that was lost
                    return await self._run(self._opened(), text, values, deadline)
                except _Lost as lost:
                    await self._pause(lost, deadline)

    async def write(
        self,
        function: str,
        values: Callable[[], Awaitable[Sequence[Any]] | Sequence[Any]],
        *,
        token: str | None = None,
        announces: bool | Callable[[Row], bool] = True,
        reserved: bool = False,
        own: bool = False,
    ) -> Row:
        """Call a function of the schema that begins with the owner and its incarnation; return the row of its result.

        `values` are its further arguments; they are asked for again before each attempt, and may read (`nested`). With
        a `token`, which has to be among them, raises `Committed` if the answer of a committed call was lost. Without,
        the function is one that may be called twice. `announces` tells whether others have to hear of the change.
        `reserved` calls do not wait for the others of this store. With `own`, the call only adds records to executions
        of this owner.
        """
        deadline = time.monotonic() + self.settings.timeout
        if not reserved:
            async with self._few:
                return await self._write(function, values, token, announces, deadline, own)
        return await self._write(function, values, token, announces, deadline, own)

    async def _write(
        self,
        function: str,
        values: Callable[[], Awaitable[Sequence[Any]] | Sequence[Any]],
        token: str | None,
        announces: bool | Callable[[Row], bool],
        deadline: float,
        own: bool,
    ) -> Row:
        in_doubt = False
        while True:
            incarnation = self.incarnation
            try:
                incarnation = await self._enter(deadline)
                if in_doubt and token is not None and await self._is_committed(token, deadline):
                    if announces:
                        self.on_change(own, True)
                    raise Committed
                in_doubt = False
                made = values()
                more = await made if isinstance(made, Awaitable) else made
                if self._clock() - self._renewed > self.settings.lease / 3:
                    await self._renew(incarnation, deadline)
                if incarnation != self.incarnation:
                    continue
                # Bytes are sent as they are: written as text they would be twice as many.
                places = ["%b" if isinstance(value, bytes) else "%s" for value in more]
                text = f"SELECT * FROM {{s}}.{function}({', '.join(['%s', '%s', *places])})"
                size = sum(len(value) for value in more if isinstance(value, bytes))
                deadline = max(deadline, time.monotonic() + size / SLOWEST)
                (row,) = await self._run(self._opened(), text, (self.owner, incarnation, *more), deadline)
                if announces if isinstance(announces, bool) else announces(row):
                    self.on_change(own, function != "append" or row[-1])
                return row
            except _Revoked:
                self._end_incarnation(incarnation)
            except _Lost as lost:
                if lost.sent:
                    in_doubt = True
                    self._end_incarnation(incarnation)
                await self._pause(lost, deadline)

    def _end_incarnation(self, known: int | None) -> None:
        """Have the next call begin a new incarnation, unless another call has begun one since."""
        if self.incarnation == known:
            self.incarnation = None

    async def _renew(self, incarnation: int, deadline: float) -> None:
        settings, now = self.settings, self._clock()
        values = self.owner, incarnation, settings.now(), settings.lease
        await self._run(self._opened(), "SELECT {s}.renew(%s, %s, %s, %s)", values, deadline)
        self._renewed = now

    async def renew(self) -> None:
        """Renew the lease. Does not wait for other calls of this store."""
        deadline = time.monotonic() + self.settings.timeout
        while True:
            try:
                return await self._renew(await self._enter(deadline), deadline)
            except _Revoked:
                self.incarnation = None
            except _Lost as lost:
                await self._pause(lost, deadline)

    def lost_claim(self, token: str) -> None:
        """Remember a claim whose end is unknown: what it got is released as soon as the database can be reached."""
        self._lost_claims.append(token)
        self.incarnation = None  # so that the next call begins with that

    async def _enter(self, deadline: float) -> int:
        """Begin a new incarnation if there is no valid one. Returns the present one."""
        async with self._entering:
            if self.incarnation is None:
                settings, pool = self.settings, self._opened()
                enter = "SELECT * FROM {s}.enter(%s, %s, %s)"
                values = self.owner, settings.now(), settings.lease
                now = self._clock()
                ((incarnation, alive),) = await self._run(pool, enter, values, deadline)
                self._renewed = now
                if not alive:
                    self.on_death()
                for token in list(self._lost_claims):
                    release = "SELECT {s}.release_claimed(%s, %s, %s, %s)"
                    await self._run(pool, release, (self.owner, incarnation, secrets.token_hex(8), token), deadline)
                    self._lost_claims.remove(token)
                self.incarnation = incarnation
            return self.incarnation or 0

    async def _is_committed(self, token: str, deadline: float) -> bool:
        text = "SELECT EXISTS (SELECT FROM {s}.changes WHERE token = %s)"
        return (await self._run(self._opened(), text, (token,), deadline))[0][0]

    async def _pause(self, lost: _Lost, deadline: float) -> None:
        """Wait a little before the next attempt. Raises `StoreUnavailable` if there is no time for one."""
        if time.monotonic() + 0.1 >= deadline:
            name, timeout = self.settings.name, self.settings.timeout
            raise StoreUnavailable(
                f"{name}: no answer from the database within {timeout:g} s (timeout); check that it runs and can be "
                f"reached, then try again: {lost}"
            ) from _without_values(lost.error)
        await asyncio.sleep(0.1)

    async def _run(
        self,
        pool: "AsyncConnectionPool[Connection]",
        text: str,
        values: Sequence[Any] | dict[str, Any],
        deadline: float,
    ) -> list[Row]:
        """Run one statement on a connection of the pool. Raises `_Lost`, `_Revoked`, or a `StoreError`."""
        left = deadline - time.monotonic()
        sent = False
        try:
            async with pool.connection(max(0.01, left)) as connection:
                with time_limit(connection, deadline - time.monotonic()):
                    sent = True
                    try:
                        cursor = await connection.execute(self._text(text), values)
                        rows = await cursor.fetchall()
                        connection.used = time.monotonic()
                        return rows
                    except psycopg.Error as error:
                        if error.sqlstate == REVOKED:
                            raise _Revoked from None
                        if connection.closed or connection.broken:
                            raise _Lost(error, sent=True) from None
                        if isinstance(error, (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)):
                            raise _Lost(error, sent=False) from None
                        raise store_error(error, self.settings.name) from _without_values(error)
        except (PoolTimeout, psycopg.OperationalError, OSError) as error:
            if isinstance(error, StoreError):
                raise
            raise _Lost(self._connection.failure or error, sent=sent) from None

    def _text(self, text: str) -> bytes:
        """A statement with the schema put in; the same statements come again and again."""
        if len(self._texts) > 500:  # a search has as many forms as it has words
            self._texts.clear()
        if (found := self._texts.get(text)) is None:
            found = self._texts[text] = self.settings.sql(text)
        return found

    def _opened(self) -> "AsyncConnectionPool[Connection]":
        if self._pool is None:
            raise StoreUnavailable(f"{self.settings.name} is closed; open it again with `async with`")
        return self._pool

    async def _check(self, connection: Connection) -> None:
        """Called by the pool before it gives out a connection; it gives another one if this raises."""
        connection.pgconn.consume_input()  # does not wait; raises if the server has closed it
        if time.monotonic() - connection.used > IDLE:
            with time_limit(connection, self._brief):
                await connection.execute(b"SELECT 1")

    # -- the lease ---------------------------------------------------------------------------------------------------

    async def keep_alive(self, answers: Callable[[], bool]) -> None:
        """Renew the lease again and again, as long as the user's event loop answers; and tidy up from time to time."""
        settings = self.settings
        every, tidied = settings.lease / 3, time.monotonic()
        while True:
            await asyncio.sleep(every)
            if not answers():
                continue
            try:
                await self.renew()
                every = settings.lease / 3
                if time.monotonic() - tidied > TIDY_EVERY:
                    tidied = time.monotonic()
                    await self.read("SELECT {s}.tidy(%s, %s, %s)", (settings.now(), REPLY_KEPT, CHANGES_KEPT))
            except StoreError:  # the next renewal may succeed; until then, an append raises the error
                every = min(1.0, settings.lease / 3)


class _Revoked(Exception):
    """The incarnation of the owner is not the present one."""


async def _one(connection: Connection, text: bytes, *values: Any) -> Any:
    row = await (await connection.execute(text, values)).fetchone()
    return row and row[0]


def _without_values(error: BaseException) -> BaseException:
    """An error to chain: the one of the server may quote a recorded value in its details."""
    return RuntimeError(f"{type(error).__name__}: {primary_message(error)}")
