"""A reader of a runtime stream out of the store: from any number on, in any process, while another one runs it."""

import asyncio
from collections import deque
from typing import Any, Self

from .._core import events
from .._core.errors import ExecutionCancelled, StoreDamaged, UsageError
from .._core.machine import Machine
from .._core.state import Status
from ..run.logs import failure_from_record
from ..run.stream import StreamItem, merge
from ..stores.protocol import FINAL_STATUSES, ExecutionRow
from .loading import items
from .reader import ExecutionReader

#: How soon after an item the next one is looked for, in seconds; then after twice that, up to the reader's `poll`.
SOON = 0.01


class StoreReader:
    """An async iterator over the stream items that a store has of an execution, and those still to come.

    `position` is the number of the last item it gave: come back with `after=position`. It ends, or raises the failure,
    as a reader beside the execution does: when the execution has ended, or its stream was stopped.
    """

    def __init__(
        self,
        past: ExecutionReader,
        id: str,
        *,
        after: int = 0,
        follow: bool = True,
        compact: bool = False,
        timeout: float | None = None,
        poll: float = 0.25,
    ) -> None:
        if after < 0 or poll <= 0:
            raise UsageError(f"a reader needs after >= 0 and poll > 0, got after={after}, poll={poll}")
        self.position = after
        #: where the last item comes from: the path of a sub-flow, "" for the flow itself
        self.path = ""
        self._past = past
        self._id = id
        self._follow = follow
        self._compact = compact
        self._timeout = timeout
        self._poll = poll
        self._page: deque[StreamItem] = deque()
        self._machine: Machine | None = None
        self._over = False
        self._stopped = False
        self._looked = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next item. Raises `UnknownExecution`, the failure of the execution after its last item, `TimeoutError` if
        there is none for `timeout` seconds, and `StoreError`."""
        held = await self._next()
        before, path = self.position, self.path
        try:
            self._take(held)
            if self._compact:
                return await merge(held.item, held.path, self._peek, self._take)
        except BaseException:  # nothing was given: whoever comes back with this position misses nothing
            self.position, self.path = before, path
            raise
        return held.item

    async def aclose(self) -> None:
        """Leave; nothing waits for this reader."""
        self._over = True

    async def _next(self) -> StreamItem:
        pause = SOON
        try:
            async with asyncio.timeout(self._timeout):
                while not self._over:
                    held = await self._peek()
                    if held is not None:
                        return held
                    row = await self._past.row(self._id)
                    if self.position < row.items:
                        continue
                    if not self._follow or await self._ended(row):
                        self._over = True
                        break
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, self._poll)
        except TimeoutError:
            raise TimeoutError(f"no item of execution {self._id!r} for {self._timeout} s") from None
        raise StopAsyncIteration

    async def _peek(self) -> StreamItem | None:
        """The next item, if the store has it."""
        if not self._page or self._page[0].number != self.position + 1:
            past = self._past
            self._page = deque(await items(past.store, self._id, past.program.types, self.position))
        if not self._page:
            return None
        if self._page[0].number != self.position + 1:
            raise StoreDamaged(f"execution {self._id!r}: item {self.position + 1} of its stream is missing")
        return self._page[0]

    def _take(self, held: StreamItem) -> None:
        self._page.popleft()
        self.position, self.path = held.number, held.path

    async def _ended(self, row: ExecutionRow) -> bool:
        """Whether no item will follow. Raises the failure of the execution."""
        final = row.status in FINAL_STATUSES
        if row.status != "completed" and row.records > self._looked:
            await self._look(row)
        if self._stopped and not final:
            return True
        if final and row.status != "completed":
            assert self._machine is not None
            self._over = True
            state = self._machine.state
            if state.status is Status.CANCELLED:
                raise ExecutionCancelled(state.reason, row.id)
            raise failure_from_record(f"<Execution {row.id} of flow {row.flow!r}>", state.error)
        return final

    async def _look(self, row: ExecutionRow) -> None:
        """What the new records say of the end: they are replayed once, and from then on read as they come."""
        if self._machine is None or row.status in FINAL_STATUSES:
            self._machine = (await self._past.loaded(row, row.records)).machine
            self._stopped = self._machine.state.stream_stopped
        else:
            async for _, record in self._past.journal(row, self._looked, row.records):
                self._stopped = self._stopped or isinstance(record, events.StreamStopped)
        self._looked = row.records
