"""A worker: the process that keeps durable executions going.

It looks into the store for executions of its flows that have something to do and nobody who does it: those that a dead
process has left behind, and those whose time has come. It runs them, and *parks* what waits for people or timers: a
parked execution is in the store only, and costs no memory. An answer or a signal opens it again, wherever it is sent.
"""

import asyncio
import logging
from time import time
from types import TracebackType
from typing import Any, Protocol, Self

from .._core.errors import StoreError, TriggerFlowError, UsageError
from ..stores.protocol import Store
from .commit import desk_of
from .execution import DurableExecution

logger = logging.getLogger("triggerflow")


class Resumable(Protocol):
    """What a worker needs of a flow."""

    @property
    def name(self) -> str:
        """Its name, under which its executions stand in the store."""
        ...

    async def async_resume(self, id: str, *, store: Store) -> DurableExecution:
        """An execution out of the store, going on."""
        ...


class Worker:
    """Runs what an opened store has to do: `async with Worker(store, flow, other): ...`.

    Its flows are known by their names, which stand in the store. `poll` is how often it looks, in seconds: executions
    that are due in this store are found in time, those of a process that died within `poll` after its lease has ended.
    At most `at_once` executions run at once. On leaving, executions are suspended where they are; the next worker goes
    on with them. What cannot be run (a definition that needs a map, a type that is not registered) is logged once, and
    left alone by this worker.
    """

    def __init__(self, store: Store, *flows: Resumable, poll: float = 1.0, at_once: int = 1000) -> None:
        self._flows = {flow.name: flow for flow in flows}
        if not flows or len(self._flows) < len(flows):
            raise UsageError("a worker needs flows, each with a name of its own: TriggerFlow(name='...')")
        self._store = store
        self._desk = desk_of(store)
        self._poll = poll
        self._at_once = at_once
        self._running: dict[str, DurableExecution] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._parking: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        """Take up what was left behind. Raises `UsageError` if the store has a worker in this process already."""
        if self._desk.keeper is not None:
            raise UsageError(f"{self._store!r} has a worker already; give all flows to one")
        self._desk.keeper = self._look_at
        await self._take_up()
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Suspend what runs."""
        self._desk.keeper = None
        tasks = [*self._parking, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for execution in list(self._desk.live.values()):
            await execution.async_suspend("its worker stops")

    @property
    def running(self) -> int:
        """How many executions it runs now."""
        return len(self._running)

    async def _run(self) -> None:
        while True:
            wait = self._poll
            try:
                await self._take_up()
                due = await self._store.next_due(self._flows)
                if due is not None:
                    wait = min(wait, max(0.0, due - time()))
            except StoreError:
                logger.exception("the worker cannot read %r; it tries again in %g s", self._store, self._poll)
            self._woken.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _take_up(self) -> None:
        """Claim and open what has something to do, up to the limit."""
        room = self._at_once - len(self._running)
        if room <= 0:
            return
        for row in await self._store.claim_work(self._flows, limit=room):
            try:
                execution = await self._flows[row.flow].async_resume(row.id, store=self._store)
            except TriggerFlowError:  # it stays claimed, so that nobody tries it again and again
                logger.exception("the worker cannot run execution %r of flow %r", row.id, row.flow)
            else:
                self._look_at(execution)

    def _look_at(self, execution: DurableExecution) -> None:
        """Something of it is on disk, or it has left: run it on, forget it, or park it."""
        root = execution.root
        if not root.here:
            if self._running.pop(root.id, None) is not None:
                self._woken.set()  # there is room for another one
            return
        self._running[root.id] = root
        if root.idle:
            task = asyncio.get_running_loop().create_task(self._park(root))
            self._parking.add(task)
            task.add_done_callback(self._parking.discard)

    async def _park(self, execution: DurableExecution) -> None:
        try:
            if await execution.async_park():
                self._woken.set()  # its timer may be the next one due
        except StoreError:
            logger.exception("%r could not be parked; it stays in memory", execution)
