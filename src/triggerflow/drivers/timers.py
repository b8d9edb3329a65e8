"""The timers of one execution, on the event loop's clock."""

import asyncio
from collections.abc import Callable
from typing import Any


class Timers:
    """Scheduled calls, by number."""

    __slots__ = ("_handles", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handles: dict[int, asyncio.TimerHandle] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._handles

    def set(self, number: int, delay: float, then: Callable[..., None], *args: Any) -> None:
        """Call `then` after `delay` seconds, unless the timer is cancelled before."""
        self._handles[number] = self._loop.call_later(max(0.0, delay), self._due, number, then, args)

    def _due(self, number: int, then: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._handles.pop(number, None)
        then(*args)

    def cancel(self, number: int) -> None:
        """Cancel a call, if it is still scheduled."""
        handle = self._handles.pop(number, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Cancel all calls."""
        for number in list(self._handles):
            self.cancel(number)
