"""`Telemetry`: exports spans and counts events of all executions of a store as they happen."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from math import nextafter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..backend import Backend, error_info
from ..drivers.asyncio import REAL
from ..errors import TriggerFlowError, UnknownExecution
from ..stores.protocol import FINAL_STATUSES
from .exporting import Cursor, read_cursor
from .metrics import Metrics
from .projection import Projector, Span
from .propagation import propagate
from .sdk import ExportFailed, Resource, default_resource, readable, send
from .walk import Tree, children_of, roots

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger("triggerflow.telemetry")

#: Of how many open executions the fold is kept. The fold of another one starts again from its first frame.
KEPT = 1000
#: For how many other executions the number of the last exported frame is kept.
REMEMBERED = 50_000
#: How many spans are exported at a time.
BATCH = 512
#: A flush ends after so many seconds without a change, since servers report changes with a delay; and after so many
#: rounds of changes.
QUIET, ROUNDS = 0.5, 10
#: The pauses after a failure, in seconds: the first one, and the longest.
PAUSE, LONGEST_PAUSE = 0.5, 30.0


class Telemetry:
    """Exports the spans of all executions of a store as they end, and metrics; beside a worker, a server, or alone.

        async with Telemetry(StoreBackend(store), exporter, meter_provider=provider):
            ...

    It follows the change feed of the store, so it sees the executions of all processes. Run one for each store: a
    second one exports the same spans with the same ids, and counts everything twice. It continues after `after`, the
    `cursor` of an earlier one, and without it begins now. Export is at least once: a span whose export has failed, or
    that ended after the cursor was saved, is exported again with the same id. Metrics count from the cursor on.
    Executions whose caller's span is not sampled are not exported.

    `exporter` and `meter_provider` are those of the SDK, both optional; their creator shuts them down.
    `capture_values`: see `export`. It reads changes every `every` seconds, and gauges every `interval` seconds. `saved`
    is called with each new cursor. Unless `nest` is False, `propagate` is active inside of the block.

    While the exporter or the store fails, it tries again after pauses, and logs the first failure. At the end of the
    block it exports once more, and raises no error.
    """

    def __init__(
        self,
        backend: Backend,
        exporter: "SpanExporter | None" = None,
        *,
        meter_provider: "MeterProvider | None" = None,
        after: str | None = None,
        capture_values: bool = False,
        resource: Resource | None = None,
        every: float = 1.0,
        interval: float = 15.0,
        saved: Callable[[str], None] | None = None,
        nest: bool = True,
    ) -> None:
        self._backend = backend
        self._exporter = exporter
        self._metrics = None if meter_provider is None else Metrics(meter_provider)
        self._resource = resource or default_resource()
        self._tree = Tree(backend, capture_values)
        self._every, self._interval = every, interval
        self._saved = saved
        self._nest = nest
        self._at = None if after is None else read_cursor(after)
        #: events up to this time were counted by an earlier `Telemetry`, or are older than this one
        self._since = nextafter(REAL.now(), 0) if self._at is None else self._at.until
        #: the folds of open executions, the least recently used first
        self._folds: OrderedDict[str, Projector] = OrderedDict()
        #: for other executions: the number of the last exported frame, the least recently used first
        self._done: OrderedDict[str, int] = OrderedDict()
        #: the spans of folds that have not been exported yet
        self._ready: dict[str, list[Span]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stop: Callable[[], None] | None = None
        self._changing = asyncio.Lock()
        self._failing = False

    @property
    def cursor(self) -> str | None:
        """The `after` for the next `Telemetry`; None before the first look at the store."""
        return None if self._at is None else str(self._at)

    async def __aenter__(self) -> Self:
        if self._nest:
            self._stop = propagate()
        try:
            if self._at is None:
                found = await self._backend.changes(wait=0)
                self._at = Cursor(found.cursor)
        except BaseException:
            self._leave()
            raise
        # In empty contexts: their own work must not belong to the current span.
        self._tasks = [asyncio.create_task(self._follow(), name="triggerflow telemetry", context=Context())]
        if self._metrics is not None:
            looking = self._look(self._metrics)
            self._tasks.append(asyncio.create_task(looking, name="triggerflow metrics", context=Context()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.flush()
        except Exception as failed:
            logger.warning("the last spans were not exported (%s); they come with the cursor", failed)
        if self._metrics is not None:
            await self._metrics.look(self._backend)

    def _leave(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    async def flush(self) -> None:
        """Export all up to now: until nothing has changed for `QUIET` seconds, or after `ROUNDS` rounds.

        Raises `StoreError` and `ExportFailed`."""
        for _ in range(ROUNDS):
            if not await self._advance(QUIET):
                return

    async def _follow(self) -> None:
        pause = PAUSE
        while True:
            try:
                await self._advance(60.0)
                pause, self._failing = PAUSE, False
                await asyncio.sleep(self._every)
            except Exception as error:
                if not self._failing:
                    trace = None if isinstance(error, TriggerFlowError) else error
                    logger.warning("no spans are exported now (%s); trying again", error, exc_info=trace)
                self._failing = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _look(self, metrics: Metrics) -> None:
        while True:
            await metrics.look(self._backend)
            await asyncio.sleep(self._interval)

    async def _advance(self, wait: float) -> bool:
        """Wait for changes, export them, and then advance the cursor. Returns whether there were any."""
        assert self._at is not None
        before = self._at.changes
        found = await self._backend.changes(before, wait=wait)
        async with self._changing:
            if self._at.changes != before:
                return True  # the other task has exported them meanwhile
            until = self._at.until
            if found.resync:
                async for info in roots(self._backend):
                    until = max(until, await self._take_tree(info.id))
            for id in found.executions:
                until = max(until, await self._take(id))
            at = Cursor(found.cursor, until)
            if at != self._at:
                self._at = at
                self._save(str(at))
            return found.resync or bool(found.executions)

    def _save(self, cursor: str) -> None:
        if self._saved is not None:
            try:
                self._saved(cursor)
            except Exception:  # for example a full disk, which must not end the export
                logger.exception("the cursor was not saved")

    async def _take_tree(self, id: str) -> float:
        until = await self._take(id)
        for child in await children_of(self._backend, id):
            until = max(until, await self._take_tree(child.id))
        return until

    async def _take(self, id: str) -> float:
        """Export the new spans of an execution. Returns the time of its last change; 0 if it was deleted or cannot be
        read, so that the others are exported all the same."""
        try:
            return await self._take_new(id)
        except UnknownExecution:
            self._forget(id)
        except ExportFailed:
            raise
        except TriggerFlowError as error:
            if error_info(error).again:
                raise
            logger.warning("execution %r cannot be read, and has no spans: %s", id, error)
            self._forget(id)
        return 0.0

    async def _take_new(self, id: str) -> float:
        info = await self._backend.get(id)
        fold, done = self._folds.get(id), self._done.get(id, 0)
        if (fold.number if fold is not None else done) != info.frames or self._ready.get(id):
            if fold is None:
                parent = None if info.parent is None else self._folds.get(info.parent)
                fold = await self._tree.projector(info, parent)
            waiting = self._ready.setdefault(id, [])
            async for frame in self._backend.frames(id, after=fold.number):
                waiting += [span for span in fold.take(frame) if span.frame > done]
                self._count(fold, done)
                self._keep(fold)
                if len(waiting) >= BATCH:
                    await self._send(fold, waiting)
            await self._send(fold, waiting)
            del self._ready[id]
            if info.status in FINAL_STATUSES:
                self._drop(self._folds.pop(id))
        return info.updated

    def _count(self, fold: Projector, done: int) -> None:
        counted, fold.counted = fold.counted, []
        if self._metrics is not None and fold.number > done:
            self._metrics.count([it for it in counted if it.at > self._since])

    async def _send(self, fold: Projector, spans: list[Span]) -> None:
        """Export these spans, and then empty the list."""
        if self._exporter is not None and fold.ids.flags & 1:
            await send(self._exporter, [readable(it, fold.ids, self._resource) for it in spans])
        spans.clear()

    def _keep(self, fold: Projector) -> None:
        id = fold.info.id
        self._folds[id] = fold
        self._folds.move_to_end(id)
        self._done.pop(id, None)
        while len(self._folds) > KEPT:
            _, old = self._folds.popitem(last=False)
            if not self._ready.get(old.info.id):
                self._drop(old)

    def _drop(self, fold: Projector) -> None:
        """Keep only the number of the last exported frame of a fold, since the change feed may repeat a change."""
        self._done[fold.info.id] = fold.number
        while len(self._done) > REMEMBERED:
            self._done.popitem(last=False)

    def _forget(self, id: str) -> None:
        self._folds.pop(id, None)
        self._done.pop(id, None)
        self._ready.pop(id, None)
