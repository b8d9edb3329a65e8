"""`Backend.changes` over an event stream that stays open between two calls."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

from ..backend import ChangesInfo
from ..drivers.tasks import start_task
from ..wire import Event
from ..wire.events import CHANGES, END, ERROR, RESYNC
from ..wire.routes import route
from .following import Resync, raise_problem, read
from .transport import Broken, Call, Retries, Transport

_EVENTS = route("events")
#: How many seconds a stream stays open after a call, for the next one.
LINGER = 10.0
#: How many streams of an event loop stay open for a next call; and how many ids one collects before it drops them and
#: sets `resync`.
KEPT, NAMES = 8, 10_000


class _Feed:
    """One stream of changes after a cursor."""

    def __init__(self, transport: Transport, after: str | None) -> None:
        self._transport = transport
        #: the collected ids are those of changes after this cursor
        self.since = after
        self._cursor = after
        self._names: dict[str, None] = {}
        self._resync = False
        self._error: Exception | None = None
        self._has_news = asyncio.Event()
        self.linger: asyncio.TimerHandle | None = None
        self.task = start_task(asyncio.get_running_loop(), self._run())

    async def news(self, wait: float) -> ChangesInfo:
        """Wait up to `wait` seconds for a change after `since`, and return all that have been collected."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self.since is None else wait):
                await self._has_news.wait()
        if self._error is not None:
            raise self._error.with_traceback(None)
        cursor = self._cursor or ""
        found = ChangesInfo(cursor=cursor, executions=list(self._names), resync=self._resync)
        self.since, self._names, self._resync = cursor, {}, False
        self._has_news.clear()
        return found

    async def _run(self) -> None:
        retries, loop = Retries(self._transport), asyncio.get_running_loop()
        try:
            while True:
                url, opened = self._transport.url, loop.time()
                query = [] if self._cursor is None else [("after", self._cursor)]
                try:
                    async with aclosing(self._transport.events(url, Call(_EVENTS, query=query))) as batches:
                        async for events in batches:
                            for event in events:
                                if self._take(url, event):
                                    retries.succeeded()
                except Broken as broken:
                    await retries.pause(url, broken, opened=opened)
        except Exception as error:  # also one of a `token` function; `news` raises it
            self._error = error
            self._has_news.set()

    def _take(self, url: str, event: Event) -> bool:
        if event.event == CHANGES:
            found = read(url, event, ChangesInfo)
            self._cursor = found.cursor
            self._names.update(dict.fromkeys(found.executions))
            self._resync = self._resync or found.resync
        elif event.event == RESYNC:
            self._cursor, self._resync = str(read(url, event, Resync).after), True
        elif event.event == ERROR:
            raise_problem(url, event)
        elif event.event == END:
            raise Broken("the stream has ended")
        else:
            return False
        if len(self._names) > NAMES:
            self._names, self._resync = {}, True
        self._has_news.set()
        return True

    async def aclose(self) -> None:
        """Close the stream."""
        if self.linger is not None:
            self.linger.cancel()
        self.task.cancel()
        await asyncio.wait([self.task])


class Changes:
    """The event streams that are kept open for a next call."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        #: by event loop and cursor
        self._feeds: dict[tuple[Any, str], _Feed] = {}

    async def after(self, cursor: str | None, wait: float) -> ChangesInfo:
        """See `Backend.changes`."""
        loop = asyncio.get_running_loop()
        feed = None if cursor is None else self._feeds.pop((loop, cursor), None)
        if feed is None:
            feed = _Feed(self._transport, cursor)
        elif feed.linger is not None:
            feed.linger.cancel()
        try:
            found = await feed.news(wait)
        except BaseException:
            await feed.aclose()
            raise
        self._keep(loop, feed, found.cursor)
        return found

    def _keep(self, loop: asyncio.AbstractEventLoop, feed: _Feed, cursor: str) -> None:
        key = (loop, cursor)
        mine = [it for it in self._feeds if it[0] is loop]
        if key in self._feeds or len(mine) >= KEPT:
            feed.task.cancel()
            return
        self._feeds[key] = feed

        def close() -> None:
            if self._feeds.get(key) is feed:
                del self._feeds[key]
            feed.task.cancel()

        feed.linger = loop.call_later(LINGER, close)

    async def aclose(self) -> None:
        """Close the streams of the running event loop."""
        loop = asyncio.get_running_loop()
        for key in [it for it in self._feeds if it[0] is loop]:
            await self._feeds.pop(key).aclose()
