"""Checks that a store is open and used on its own event loop; and how a script without asyncio opens one."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Self

from .._core.errors import BlockingCallError, StoreUnavailable, UsageError, WrongLoopError
from ..run.portal import on_a_loop, run_sync


class Lifecycle:
    """Whether a store is open, on which event loop, and in which process.

    `name` begins the error messages, such as "store /path/to/file".
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_open = False
        self._process = 0
        #: stops what runs in this process before the store is closed, see `OpenedInScripts.before_closing`
        self.stop: Callable[[], Awaitable[Collection[str]]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the store is open."""
        return self._loop is not None

    def open(self) -> None:
        """Mark it as open on the running event loop. Raises `UsageError` if it is open already."""
        self._require_process()
        if self._loop is not None:
            raise UsageError(f"{self._name} is open already; make a second store object for a second owner")
        self._loop, self._was_open, self._process = asyncio.get_running_loop(), True, os.getpid()

    def close(self) -> None:
        """Mark it as closed: from here on `check` raises."""
        self._loop = None

    def check(self) -> asyncio.AbstractEventLoop:
        """The event loop of the store. Every call on a store begins with this.

        Raises `StoreUnavailable` if the store was closed, or this process was forked after it was opened; `UsageError`
        if it was never opened; `WrongLoopError` on another event loop.
        """
        self._require_process()
        if self._loop is None and self._was_open:
            raise StoreUnavailable(f"{self._name} is closed; open it again with `async with`")
        if self._loop is None:
            raise UsageError(
                f"{self._name} is not open; use it inside `async with store:`, or `with store:` in a script"
            )
        if self._loop is not asyncio.get_running_loop():
            raise WrongLoopError(f"{self._name} was opened on another event loop; open one store for each loop")
        return self._loop

    async def stopped(self) -> set[str]:
        """Stop the executions that run in this process, because the store is about to be closed.

        Returns the ids of those whose chunks have not stopped. They stay with their owner until its lease ends: another
        process would run these chunks at the same time."""
        return set() if self.stop is None else set(await self.stop())

    @property
    def is_inherited(self) -> bool:
        """Whether the store was opened before this process was forked."""
        return self._loop is not None and os.getpid() != self._process

    def _require_process(self) -> None:
        """Raise `StoreUnavailable` in a forked process: it lacks the store's threads, and must not use its
        connections."""
        if self.is_inherited:
            raise StoreUnavailable(
                f"{self._name} was opened before this process was forked; make and open another store in this process"
            )


class Pulse:
    """Tells a thread whether an event loop still runs its callbacks. An owner whose loop is stuck runs nothing, so it
    must not renew its lease: other owners can claim its executions when that has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._has_answered = True

    def beat(self) -> bool:
        """Whether the loop has answered the last beat; if it has, begin the next one. Called by one thread only."""
        if not self._has_answered:
            return False
        self._has_answered = False
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _answer(self) -> None:
        self._has_answered = True


class OpenedInScripts:
    """Lets a script open a store with `with store:`. It is opened on the background loop, where sync methods run."""

    _lifecycle: Lifecycle

    def before_closing(self, stop: Callable[[], Awaitable[Collection[str]]]) -> None:
        """Await `stop()` before the store is closed. It stops what runs in this process, and returns the ids of the
        executions that must not be released, see `Lifecycle.stopped`. A later call replaces an earlier one."""
        self._lifecycle.stop = stop

    async def __aenter__(self) -> Self:
        """Open the store."""
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Open the store. Raises `BlockingCallError` inside a running loop, and what `async with` raises."""
        if on_a_loop():
            raise BlockingCallError(f"`with` would stop the running event loop; write `async with` to open {self!r}")
        return run_sync(self.__aenter__, "__aenter__")

    def __exit__(self, *raised: Any) -> None:
        """Close."""
        run_sync(lambda: self.__aexit__(*raised), "__aexit__")
