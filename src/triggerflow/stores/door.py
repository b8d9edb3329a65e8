"""Whether a store may be used now, and from here."""

import asyncio

from .._core.errors import StoreUnavailable, UsageError, WrongLoopError


class Door:
    """Open between `open` and `close`, for the event loop it was opened on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_open = False

    @property
    def is_open(self) -> bool:
        """Whether it is between `open` and `close`."""
        return self._loop is not None

    def open(self) -> None:
        """Raises `UsageError` if it is open."""
        if self._loop is not None:
            raise UsageError(
                f"{self._name} is open already; one opened store is one owner, make a second one for another"
            )
        self._loop, self._was_open = asyncio.get_running_loop(), True

    def close(self) -> None:
        """Nothing may pass any more."""
        self._loop = None

    def check(self) -> asyncio.AbstractEventLoop:
        """The loop. Raises `StoreUnavailable` after closing, `UsageError` before opening, and `WrongLoopError`."""
        if self._loop is None and self._was_open:
            raise StoreUnavailable(f"{self._name} is closed; open it again with `async with`")
        if self._loop is None:
            raise UsageError(f"{self._name} is not open; use it inside `async with store:`")
        if self._loop is not asyncio.get_running_loop():
            raise WrongLoopError(f"{self._name} was opened on another event loop; open one store for each loop")
        return self._loop
