"""Lets the runs that may be what has ended earlier processes begin one after the other.

A chunk that ends its process takes all runs of that process with it, again and again. If they all began at once in the
next process, none of the innocent ones would ever complete. So each of them gets some time of its own.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

#: How many seconds a run is the only suspect of its process, if it takes so long.
TURN_SECONDS = 1.0


class Suspects:
    """The queue of the suspects of one process."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait for the turn of the caller, which ends with the block, or after `TURN_SECONDS`."""
        await self._lock.acquire()
        has_turn = True

        def end() -> None:
            nonlocal has_turn
            if has_turn:
                has_turn = False
                self._lock.release()

        timer = asyncio.get_running_loop().call_later(TURN_SECONDS, end)
        try:
            yield
        finally:
            timer.cancel()
            end()
