"""SDK clients, one for each event loop: their connection pools belong to the loop that used them first."""

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary


class Clients:
    """Makes one client per event loop, on first use. `make` is the class of the SDK with its arguments."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def current(self) -> Any:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            self._by_loop[loop] = self._make()
        return self._by_loop[loop]

    async def aclose(self) -> None:
        """Close the connections of the running loop's client."""
        client = self._by_loop.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
