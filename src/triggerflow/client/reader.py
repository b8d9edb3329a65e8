"""A reader of the runtime stream of an execution over a backend."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Self, cast

from ..backend import Item
from ..errors import DefinitionError
from ..run.ingress import check_patience

#: The default of `buffer`, which has no effect on a reader of a backend.
BUFFER = 1024


class RemoteStreamReader:
    """An async iterator over a runtime stream, as `StreamReader` is in process. `position` is the number of the last
    item that it returned.

    No writer waits for it, and it misses no item, since it reads the store. Raises `TimeoutError` if no item comes
    within `timeout` seconds (a further `anext` continues), and the failure of the execution after the last item.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[None]],
        items: Callable[[int], AsyncIterator[Item]],
        fail: Callable[[], Awaitable[None]],
        *,
        after: int,
        timeout: float | None,
        buffer: int,
    ) -> None:
        check_patience(timeout, "get_async_runtime_stream()")
        if buffer < 1 or after < 0:
            raise DefinitionError(f"a reader needs buffer >= 1 and after >= 0, got buffer={buffer}, after={after}")
        self.position = after
        self._path = ""
        self._begin: Callable[[], Awaitable[None]] | None = begin
        self._items = items
        self._fail = fail
        self._timeout = timeout
        self._reading: AsyncIterator[Item] | None = None
        self._left = False

    @property
    def path(self) -> str:
        """The path of the sub-flow that put the last item; "" for the flow itself."""
        return self._path

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next item; raises the failure of the execution after the last one."""
        if self._left:
            raise StopAsyncIteration
        if self._begin is not None:
            await self._begin()
            self._begin = None
        if self._reading is None:
            self._reading = self._items(self.position)
        try:
            item = await self._next(self._reading)
        except StopAsyncIteration:
            self._left = True
            await self._fail()
            raise
        except BaseException:  # the next call opens the stream again, behind the last item
            await self._leave()
            raise
        self.position, self._path = item.number, item.path
        return item.item

    async def _next(self, reading: AsyncIterator[Item]) -> Item:
        if self._timeout is None:
            return await anext(reading)
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await anext(reading)
        except TimeoutError:
            if limit.expired():
                raise TimeoutError(f"no stream item for {self._timeout} s") from None
            raise

    async def _leave(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            with suppress(RuntimeError):  # another task is inside its `anext`, and ends it
                await cast("Any", reading).aclose()

    async def aclose(self) -> None:
        """Close the reader before the end of the stream. The execution continues."""
        self._left = True
        await self._leave()
