"""A worker: the process that keeps durable executions going.

It looks into the store for executions of its flows that have something to do and nobody who does it: those that a dead
process has left behind, and those whose time has come. It runs them, and *parks* what waits for people or timers: a
parked execution is in the store only, and costs no memory. An answer or a signal opens it again, wherever it is sent.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from time import time
from types import TracebackType
from typing import Protocol, Self

from .._core.errors import ExecutionSuspended, StoreError, TriggerFlowError, UsageError
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
        self._idle: dict[str, DurableExecution] = {}
        self._parking: asyncio.Task[None] | None = None

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
        tasks = [task for task in (self._parking, self._task) if task is not None]
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
            self._woken.clear()  # what comes from here on is looked for again
            try:
                await self._take_up()
                due = await self._store.next_due(self._flows)
                if due is not None:
                    wait = min(wait, max(0.0, due - time()))
            except StoreError:
                logger.exception("the worker cannot read %r; it tries again in %g s", self._store, self._poll)
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
            self._idle[root.id] = root
            if self._parking is None or self._parking.done():
                self._parking = asyncio.get_running_loop().create_task(self._park())

    async def _park(self) -> None:
        while self._idle:
            idle, self._idle = self._idle, {}
            try:
                await park(self._store, idle.values())
            except StoreError:
                logger.exception("%d executions could not be parked; they stay in memory", len(idle))
        self._woken.set()  # a timer of theirs may be the next one due


async def park(store: Store, executions: Iterable[DurableExecution]) -> None:
    """Forget those that are `idle`: they are in the store only, until their next use here or elsewhere.

    Raises `StoreError`.
    """
    async with AsyncExitStack() as locks:
        for execution in executions:
            await locks.enter_async_context(execution.lock)
        idle = [execution for execution in executions if execution.here and execution.idle]
        stands = [stands for execution in idle if (stands := execution.stands) is not None]
        if stands:
            await store.append(stands)
        idle = [execution for execution in idle if execution.here and execution.idle]  # something may have come
        ids = [id for execution in idle for id in execution.ids()]
        for execution in idle:
            execution.let_go(ExecutionSuspended(f"{execution!r} is parked"))
        await store.release(ids)
