"""Whether a store may be used now, and from here; and how a script without asyncio opens one."""

import asyncio
import os
from types import TracebackType
from typing import Any, Self

from .._core.errors import BlockingCallError, StoreUnavailable, UsageError, WrongLoopError
from ..run.portal import on_a_loop, run_sync


class Lifecycle:
    """Open between `open` and `close`, for the event loop it was opened on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_open = False
        self._process = 0

    @property
    def is_open(self) -> bool:
        """Whether it is between `open` and `close`."""
        return self._loop is not None

    def open(self) -> None:
        """Raises `UsageError` if it is open."""
        self._require_process()
        if self._loop is not None:
            raise UsageError(
                f"{self._name} is open already; one opened store is one owner, make a second one for another"
            )
        self._loop, self._was_open, self._process = asyncio.get_running_loop(), True, os.getpid()

    def close(self) -> None:
        """Nothing may pass any more."""
        self._loop = None

    def check(self) -> asyncio.AbstractEventLoop:
        """The loop. Raises `StoreUnavailable` after closing and in a process that was forked meanwhile, `UsageError`
        before opening, and `WrongLoopError`."""
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

    @property
    def is_inherited(self) -> bool:
        """Whether it was opened by the process that this one was forked from."""
        return self._loop is not None and os.getpid() != self._process

    def _require_process(self) -> None:
        """A fork copies no threads, and what a connection knows of its locks is not true in the child."""
        if self.is_inherited:
            raise StoreUnavailable(
                f"{self._name} was opened before this process was forked from another; make and open a store of its "
                "own here"
            )


class OpenedInScripts:
    """A store that a script opens with `with store:`, on the loop in the background on which the sync methods run."""

    async def __aenter__(self) -> Self:
        """Open."""
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Open, in a script. Raises `BlockingCallError` inside a running loop, and what `async with` raises."""
        if on_a_loop():
            raise BlockingCallError(f"`with` would stop the running event loop; write `async with` to open {self!r}")
        return run_sync(self.__aenter__, "__aenter__")

    def __exit__(self, *raised: Any) -> None:
        """Close."""
        run_sync(lambda: self.__aexit__(*raised), "__aexit__")
