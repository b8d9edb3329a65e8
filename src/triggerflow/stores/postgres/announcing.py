"""Tells other processes that something has changed, and hears it from them, by NOTIFY and LISTEN.

The NOTIFY is not part of the transaction that it announces: a commit with a NOTIFY holds a lock of the whole server
while it waits for the disk, so that commits of all processes would wait for each other. If a process dies in between,
its last change is not announced; so tasks that wait also query the store every second.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from ..._core.errors import StoreError
from .connections import Connection, Database, time_limit

#: How often a task that waits queries the store without a NOTIFY, in seconds.
LOOK_EVERY = 1.0
#: The pause after a NOTIFY, in seconds: the next one announces all changes since then.
PAUSE = 0.003
#: How often the connection that listens is tried, in seconds.
TRY_EVERY = 10.0


class Announcer:
    """The task that notifies, and the one that listens. Used on the store's thread only."""

    def __init__(self, database: Database, conninfo: str, woken: Callable[[bool], None]) -> None:
        self._database, self._conninfo, self._woken = database, conninfo, woken
        self._channel = f"{database.settings.schema}_changes"
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = False

    def start(self) -> None:
        """Begin to notify."""
        self._database.on_change = self._on_change
        self._tasks.append(asyncio.create_task(self._notify()))

    def listen(self) -> None:
        """Begin to listen, unless it does."""
        if not self._listening:
            self._listening = True
            self._tasks.append(asyncio.create_task(self._listen()))

    async def stop(self) -> None:
        """End both tasks; announce what was not announced."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._changed.is_set():
            with suppress(StoreError):
                await self._send()

    def _on_change(self, own: bool, others: bool) -> None:
        self._woken(own)
        if others:
            self._changed.set()

    async def _notify(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            with suppress(StoreError):
                await self._send()
            await asyncio.sleep(PAUSE)

    async def _send(self) -> None:
        # Its commit need not reach the disk: what it announces has, and after a crash everybody looks anyway.
        text = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)"
        await self._database.read(text, (self._channel, self._database.owner[-40:]))

    async def _listen(self) -> None:
        options = self._database.settings.options()
        while True:
            with suppress(psycopg.Error, OSError):
                connection = await Connection.connect(self._conninfo, **options)
                try:
                    await self._hear(connection)
                finally:
                    await connection.close()
            self._woken(False)
            await asyncio.sleep(LOOK_EVERY)

    async def _hear(self, connection: Connection) -> None:
        mine, tried = self._database.owner[-40:], time.monotonic()
        await connection.execute(f'LISTEN "{self._channel}"'.encode())
        self._woken(False)  # for what was announced before
        while True:
            told = False
            async for notification in connection.notifies(timeout=LOOK_EVERY, stop_after=1):
                told = True
                if notification.payload != mine:
                    self._woken(False)
            if not told:
                self._woken(False)
            if time.monotonic() - tried > TRY_EVERY:
                tried = time.monotonic()
                with time_limit(connection, 2.0):
                    await connection.execute(b"SELECT 1")
