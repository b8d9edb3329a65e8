"""`StoreReader`: reads the runtime stream of an execution out of the store. The execution may run in any process.

All readers of one execution in this process share what they read (`_Followed`): after a change, one query fetches the
new items, which are decoded once. While nothing changes, nothing is queried: see `hub`.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, Self

from ..._core import events
from ..._core.errors import ExecutionCancelled, StoreDamaged, UsageError
from ..._core.machine import Machine
from ..._core.state import Status
from ...drivers.tasks import start_task
from ...run.logs import failure_from_record
from ...run.stream import StreamItem, merge
from ...stores.protocol import FINAL_STATUSES, ExecutionRow
from ..executions.commit import session_of
from ..format.loading import PAGE, read_items
from ..format.reader import ExecutionReader
from ..hub import Hub

#: How many of the newest items, and how many pages of older ones, are kept for readers of the same execution.
NEWEST, PAGES = 1000, 8

#: If nobody waits for the next item for so many seconds, the execution is not followed any more.
LINGER_SECONDS = 1.0


class _Followed:
    """What the readers of one execution share: its row, its newest items, whether its stream has ended."""

    def __init__(self, hub: Hub, reader: ExecutionReader, id: str) -> None:
        self._hub = hub
        self._reader = reader
        self._id = id
        #: the row and the newest items as they were read last; None while nobody follows the execution
        self.row: ExecutionRow | None = None
        #: how often they were read, or could not be read
        self.number = 0
        self._items: deque[StreamItem] = deque()
        #: up to which number of the stream the newest items are known
        self._last = 0
        self._pages: OrderedDict[int, asyncio.Future[list[StreamItem]]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._linger: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self._end_error: Exception | None = None
        self._machine: Machine | None = None
        self._stopped = False
        self._records_read = 0

    def newest(self, after: int) -> Sequence[StreamItem] | None:
        """Some of the items after number `after`, none if the store has none; or None: the store has to be asked."""
        if self.row is None:
            return None
        if after >= self._last:
            return ()
        if not self._items or after + 1 < self._items[0].number:
            return None
        start = after + 1 - self._items[0].number
        return [self._items[index] for index in range(start, min(start + PAGE, len(self._items)))]

    async def items(self, after: int) -> Sequence[StreamItem]:
        """Some of the items after number `after` out of the store; none if it has none."""
        known = self._pages.get(after)
        if known is None or known.cancelled() or (known.done() and (known.exception() or not known.result())):
            reader = self._reader
            work = read_items(reader.store, self._id, reader.program.types, after)
            known = self._pages[after] = start_task(asyncio.get_running_loop(), work)
            known.add_done_callback(lambda read: read.cancelled() or read.exception())  # perhaps nobody waits any more
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        return await asyncio.shield(known)

    async def changed(self, number: int) -> None:
        """Wait until the execution was read after reading `number`. Raises the error if it could not be read."""
        if self.number == number:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._waiters.add(future)
            if self._linger is not None:
                self._linger.cancel()
                self._linger = None
            if self._task is None:
                self._task = start_task(loop, self._follow())
            try:
                await future
            finally:
                self._waiters.discard(future)
                if not self._waiters and self._linger is None:
                    self._linger = loop.call_later(LINGER_SECONDS, self._stop)
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _stop(self) -> None:
        """Called some time after the last reader has waited: follow the execution no longer."""
        self._linger = None
        if not self._waiters and self._task is not None:
            self._task.cancel()
            self._forget()

    def _forget(self) -> None:
        """The execution is not followed any more: what is known becomes old. The next reader that waits begins anew."""
        self._task, self.row = None, None
        self._items.clear()

    async def _follow(self) -> None:
        try:
            with self._hub.watch(executions=[self._id]) as watch:
                while True:
                    await self._read()
                    self._tell()
                    if self.row is not None and self.row.status in FINAL_STATUSES:
                        self._task = None
                        self._hub.followed.pop((self._id, self._reader.program.types), None)  # it may be retried
                        return
                    await watch.changed()
        except Exception as error:
            self._forget()
            self._error = error
            self._tell()

    def _tell(self) -> None:
        self.number += 1
        for future in self._waiters:
            if not future.done():
                future.set_result(None)

    async def _read(self) -> None:
        """Read what is new."""
        reader, before = self._reader, self.row
        row = await reader.row(self._id)
        if before is None or before.created != row.created or row.items < self._last:
            self._items.clear()
            self._pages.clear()
            self._last = row.items
        while self._last < row.items:
            page = await read_items(reader.store, self._id, reader.program.types, self._last)
            if not page:
                break
            if page[0].number != self._last + 1:
                self._items.clear()
            self._items.extend(page)
            self._last = page[-1].number
        while len(self._items) > NEWEST:
            self._items.popleft()
        self._last = max(self._last, row.items)
        self._end_error = None
        if row.status != "completed" and row.records > self._records_read:
            try:
                await self._read_end(row)
            except Exception as error:  # of no concern for readers that have items to read, or do not ask how it ended
                self._end_error = error
        self.row, self._error = row, None

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

    def has_ended(self, raises: bool) -> bool:
        """Whether no more items will come, as far as was read. With `raises`, raises the failure of the execution."""
        row = self.row
        assert row is not None
        if row.status in FINAL_STATUSES and not raises:
            return True
        if self._end_error is not None:
            raise self._end_error.with_traceback(None)
        if row.status not in FINAL_STATUSES:
            return self._stopped
        if row.status != "completed":
            assert self._machine is not None
            state = self._machine.state
            if state.status is Status.CANCELLED:
                raise ExecutionCancelled(state.reason, row.id)
            raise failure_from_record(f"<Execution {row.id} of flow {row.flow!r}>", state.error)
        return True


def _followed(reader: ExecutionReader, id: str) -> _Followed:
    hub = session_of(reader.store).hub
    key = id, reader.program.types
    found = hub.followed.get(key)
    if found is None:
        found = hub.followed[key] = _Followed(hub, reader, id)
    return found


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
        poll: float | None = None,
        raises: bool = True,
    ) -> None:
        if after < 0 or (poll is not None and poll <= 0):
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
        self._page: deque[StreamItem] = deque()
        self._shared: _Followed | None = None
        self._over = False

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
        self._shared = None

    async def _next(self) -> StreamItem:
        if self._timeout is None:
            held = await self._wait()
        else:
            try:
                async with asyncio.timeout(self._timeout):
                    held = await self._wait()
            except TimeoutError:
                raise TimeoutError(f"no item of execution {self._id!r} for {self._timeout} s") from None
        if held is None:
            raise StopAsyncIteration
        return held

    async def _wait(self) -> StreamItem | None:
        """The next item, as soon as there is one; None after the last one."""
        while not self._over:
            shared = self._shared = self._shared or _followed(self._reader, self._id)
            number = shared.number
            held = await self._peek()
            if held is not None:
                return held
            if not self._follow:
                row = await self._reader.row(self._id)
                if self.position < row.items:  # what is shared is older
                    self._page = deque(await shared.items(self.position))
                    if not self._page:
                        raise self._missing()
                    continue
                self._end()
            elif shared.row is None or shared.number != number:
                await shared.changed(number)
            elif self.position < shared.row.items:
                raise self._missing()
            elif self._has_ended(shared):
                self._end()
            else:
                await shared.changed(number)
        return None

    def _has_ended(self, shared: _Followed) -> bool:
        try:
            return shared.has_ended(self._raises)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        self._over, self._shared = True, None

    async def _peek(self) -> StreamItem | None:
        """The next item, if the store has it."""
        if not self._page or self._page[0].number != self.position + 1:
            shared = self._shared or _followed(self._reader, self._id)
            found = shared.newest(self.position)
            self._page = deque(await shared.items(self.position) if found is None else found)
        if not self._page:
            return None
        if self._page[0].number != self.position + 1:
            raise self._missing()
        return self._page[0]

    def _missing(self) -> StoreDamaged:
        return StoreDamaged(f"execution {self._id!r}: item {self.position + 1} of its stream is missing")

    def _take(self, held: StreamItem) -> None:
        self._page.popleft()
        self.position, self.path = held.number, held.path
