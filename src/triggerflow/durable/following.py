"""`StoreReader`: reads the runtime stream of an execution out of the store. The execution may run in any process."""

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
from .loading import read_items
from .reader import ExecutionReader

#: How many seconds after an item the reader queries the store again. The pause doubles each time, up to `poll`.
MIN_POLL_SECONDS = 0.01


class StoreReader:
    """An async iterator over the stream items of an execution in a store: the present ones, then each new one.

    `position` is the number of the last item that it returned: continue later with `after=position`. The iterator ends
    when the stream was stopped or the execution has ended, and raises the error of an execution that has failed, unless
    `raises` is false.
    """

    def __init__(
        self,
        reader: ExecutionReader,
        id: str,
        *,
        after: int = 0,
        follow: bool = True,
        compact: bool = False,
        timeout: float | None = None,
        poll: float = 0.25,
        raises: bool = True,
    ) -> None:
        if after < 0 or poll <= 0:
            raise UsageError(f"a reader needs after >= 0 and poll > 0, got after={after}, poll={poll}")
        self.position = after
        #: origin of the last item: the path of a sub-flow, "" for the flow itself
        self.path = ""
        self._reader = reader
        self._id = id
        self._follow = follow
        self._compact = compact
        self._timeout = timeout
        self._raises = raises
        self._poll = poll
        self._page: deque[StreamItem] = deque()
        self._machine: Machine | None = None
        self._over = False
        self._stopped = False
        self._records_read = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next item. Raises the failure of the execution after its last item, `TimeoutError` if no item comes for
        `timeout` seconds, `UnknownExecution`, and `StoreError`."""
        held = await self._next()
        before, path = self.position, self.path
        try:
            self._take(held)
            if self._compact:
                return await merge(held.item, held.path, self._peek, self._take)
        except BaseException:  # the item was not returned: the next call has to return it
            self.position, self.path = before, path
            raise
        return held.item

    async def aclose(self) -> None:
        """End the iteration. Nothing has to be released."""
        self._over = True

    async def _next(self) -> StreamItem:
        pause = MIN_POLL_SECONDS
        try:
            async with asyncio.timeout(self._timeout):
                while not self._over:
                    held = await self._peek()
                    if held is not None:
                        return held
                    row = await self._reader.row(self._id)
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
            reader = self._reader
            self._page = deque(await read_items(reader.store, self._id, reader.program.types, self.position))
        if not self._page:
            return None
        if self._page[0].number != self.position + 1:
            raise StoreDamaged(f"execution {self._id!r}: item {self.position + 1} of its stream is missing")
        return self._page[0]

    def _take(self, held: StreamItem) -> None:
        self._page.popleft()
        self.position, self.path = held.number, held.path

    async def _ended(self, row: ExecutionRow) -> bool:
        """Whether no more items will come. Raises the failure of the execution."""
        final = row.status in FINAL_STATUSES
        if final and not self._raises:
            return True
        if row.status != "completed" and row.records > self._records_read:
            await self._read_end(row)
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

    async def _read_end(self, row: ExecutionRow) -> None:
        """Find out whether the stream was stopped: the first call replays all records, a later call only the new
        ones."""
        if self._machine is None or row.status in FINAL_STATUSES:
            self._machine = (await self._reader.restore(row, row.records)).machine
            self._stopped = self._machine.state.stream_stopped
        else:
            async for _, record in self._reader.journal(row, self._records_read, row.records):
                self._stopped = self._stopped or isinstance(record, events.StreamStopped)
        self._records_read = row.records
