"""The content of event streams: the events of one execution, or all events for a page."""

import logging
from collections.abc import AsyncIterator

import msgspec

from ..backend import Backend
from ..errors import TriggerFlowError
from ..wire import encode_event
from ..wire.events import CHANGES, ERROR, RESYNC
from .feeds import ChangeFeed, Feed, Source, closing, end_event, frames_of, items_of
from .limits import Limits
from .problems import problem_and_headers, redacted
from .streams import Stream
from .view import Batch, View

logger = logging.getLogger("triggerflow.server")


class Following:
    """The feeds of a backend. A feed exists as long as it has readers."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self.backend = backend
        self.changes = ChangeFeed(backend)
        self._limits = limits
        self._feeds: dict[tuple[str, str], Feed] = {}

    def feed(self, kind: str, id: str) -> Feed:
        """The shared feed of the "frames" or "items" of an execution; for "compact" items a feed for one reader."""
        feed = self._feeds.get((kind, id))
        if feed is not None and not feed.over and kind != "compact":
            return feed

        async def last() -> bytes:
            return end_event((await self.backend.get(id)).status)

        source: Source
        if kind == "frames":
            source = frames_of(self.backend, id)
        else:
            source = items_of(self.backend, id, compact=kind == "compact")
        feed = Feed(source, last, self._limits)
        if kind != "compact":  # which items are merged depends on where the reader begins
            self._feeds[kind, id] = feed
        return feed

    def leave(self, feed: Feed, stream: Stream) -> None:
        """Remove a stream from a feed, and drop the feed if it was the last one."""
        feed.leave(stream)
        if not feed.readers:
            for key in [key for key, known in self._feeds.items() if known is feed]:
                del self._feeds[key]

    async def follow(
        self, stream: Stream, kind: str, id: str, after: int, lost: bool, *, ends: bool = True
    ) -> AsyncIterator[bytes]:
        """The events of an execution after a number, in pieces, until there are no more. `kind`: see `feed`.

        The last event is `end` or `error`. Without `ends` the caller adds further events: then there is no `end`, and
        an error is raised. `lost`: the execution has fewer events than `after`.
        """
        if lost:  # it is another execution of the same id, or the store is an older copy
            after = 0
            yield encode_event(RESYNC, b'{"after":0}', 0)
        feed = self.feed(kind, id)
        feed.join(stream, after)
        try:
            while not stream.why:
                if after < feed.floor:
                    earlier = await feed.earlier(after)
                    after = earlier.to
                    yield earlier.data
                    continue
                number, piece = feed.after(after)
                stream.lag = feed.newest - number
                if piece:
                    after = number
                    yield piece
                elif feed.error is not None:
                    raise feed.error.with_traceback(None)
                elif feed.over:
                    if ends:
                        yield feed.last
                    return
                else:
                    await stream.wait()
                    yield stream.beat()
        except Exception as error:
            if not ends:
                raise
            yield self.error_event(error)
        finally:
            self.leave(feed, stream)

    def error_event(self, error: Exception) -> bytes:
        """An error as the last event of a stream."""
        found, _ = problem_and_headers(redacted(error) if isinstance(error, TriggerFlowError) else error)
        if found.code == "internal":
            logger.error("a stream failed", exc_info=error)
        return encode_event(ERROR, msgspec.json.encode(found))


class PageEvents:
    """The events for a page: changes of all executions, and the frames of one."""

    def __init__(
        self,
        following: Following,
        stream: Stream,
        changes: ChangeFeed,
        view: View,
        id: str | None,
        frames: int,
    ) -> None:
        self._following, self._stream, self._changes, self._view = following, stream, changes, view
        self._id, self._number = id, frames
        self._feed: Feed | None = None
        self._cursor = ""

    async def body(self, after: str | None, lost: bool) -> AsyncIterator[bytes]:
        """The events after a cursor; without one, new changes only. `lost`: the execution has fewer frames than the
        reader says."""
        stream, changes = self._stream, self._changes
        try:
            batch = await changes.join(stream)
            self._cursor = changes.cursor
            if after is None:
                yield self._event(CHANGES, msgspec.json.encode({"cursor": self._cursor, "executions": []}))
            else:
                async with closing(self._missed(after)) as missed:
                    async for piece in missed:
                        yield piece
            if lost:
                yield self._event(RESYNC, b'{"after":0}')
            self._follow()
            while not stream.why:
                batches = changes.after(batch)
                if batches is None:
                    self._cursor = changes.cursor
                    yield self._event(RESYNC, msgspec.json.encode({"after": self._cursor}))
                    batch = changes.newest
                    continue
                batch += len(batches)
                sent = b"".join([await self._changes_event(it) for it in batches])
                if sent:
                    yield sent
                if self._feed is not None and self._feed.over and any(self._id in it.info.executions for it in batches):
                    self._follow()  # the execution was retried
                async with closing(self._frames()) as frames:
                    async for piece in frames:
                        sent = piece
                        yield piece
                error = changes.error if self._feed is None else self._feed.error or changes.error
                if error is not None:
                    raise error.with_traceback(None)
                if not sent:
                    await stream.wait()
                    yield stream.beat()
        except Exception as error:
            yield self._following.error_event(error)
        finally:
            changes.leave(stream)
            if self._feed is not None:
                self._following.leave(self._feed, stream)

    def _event(self, name: str, data: bytes) -> bytes:
        id = self._cursor if self._id is None else f"{self._number}:{self._cursor}"
        return encode_event(name, data, id)

    def _follow(self) -> None:
        if self._feed is not None:
            self._following.leave(self._feed, self._stream)
        if self._id is not None:
            self._feed = self._following.feed("frames", self._id)
            self._feed.join(self._stream, self._number)

    async def _missed(self, after: str) -> AsyncIterator[bytes]:
        """The events for the changes after a cursor, up to now."""
        while True:
            found = await self._following.backend.changes(after, wait=0.0)
            after = self._cursor = found.cursor
            if found.resync:
                yield self._event(RESYNC, msgspec.json.encode({"after": after}))
            if not found.executions:
                return
            yield await self._changes_event(Batch(found))

    async def _changes_event(self, batch: Batch) -> bytes:
        seen = await batch.seen_by(self._view)
        self._cursor = batch.info.cursor
        if seen.resync:
            return self._event(RESYNC, msgspec.json.encode({"after": self._cursor}))
        return self._event(CHANGES, msgspec.json.encode(seen)) if seen.executions else b""

    async def _frames(self) -> AsyncIterator[bytes]:
        """The new frames, each piece followed by an id that also has the cursor."""
        feed = self._feed
        if feed is None:
            return
        while self._number < feed.floor:
            earlier = await feed.earlier(self._number)
            self._number = earlier.to
            yield earlier.data
            yield self._id_only()
        number, piece = feed.after(self._number)
        self._stream.lag = feed.newest - number
        if piece:
            self._number = number
            yield piece + self._id_only()

    def _id_only(self) -> bytes:
        return f"id: {self._number}:{self._cursor}\n\n".encode()
