"""A worker: the process that keeps durable executions going.

It looks into the store for executions of its flows that have something to do and nobody who does it: those that a dead
process has left behind, and those whose time has come. It runs them, and *parks* what waits for people or timers: a
parked execution is in the store only, and costs no memory. An answer or a signal opens it again, wherever it is sent.
"""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from .._core.errors import (
    BlockingCallError,
    ExecutionSuspended,
    SnapshotError,
    StoreConflict,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    UnknownExecution,
    UsageError,
)
from ..drivers.asyncio import REAL
from ..drivers.tasks import start_task
from ..run.environment import Environment
from ..run.execution import Execution, runtime_of
from ..run.portal import on_a_loop, run_sync
from ..stores.protocol import Store
from .commit import session_of
from .parking import is_idle, park
from .stored import Stored, stored_of

logger = logging.getLogger("triggerflow")


#: After how many seconds a worker tries again what it cannot run: the first time, and at most.
RETRY, LONGEST = 60.0, 3600.0

#: A worker looks into its store no more often than each so many seconds, however much is due.
SOON = 0.01


class Resumable(Protocol):
    """What a worker needs of a flow."""

    @property
    def name(self) -> str:
        """Its name, by which its executions are found in the store."""
        ...

    async def async_resume(self, id: str, *, store: Store) -> Execution:
        """An execution out of the store, going on."""
        ...


class _Refused(NamedTuple):
    """Why an execution cannot be run under this definition of its flow, and until when (loop time) it is left alone."""

    flow: str
    definition: str
    why: str
    until: float
    pause: float


class Worker:
    """Runs what an opened store has to do: `async with Worker(store, flow, other): ...`.

    Its flows are known by their names, which stand in the store. `poll` is how often it looks, in seconds: executions
    that are due in this store are found in time, those of a process that died within `poll` after its lease has ended.
    At most `at_once` executions run at once. On leaving, executions are suspended where they are; the next worker goes
    on with them. While the store fails, what was suspended by that is tried again every `poll` seconds.

    What cannot be run here (a definition that needs a map, a type that is not registered, records that are damaged) is
    logged once, and left to other workers: it is tried again when the definition of its flow has changed, else after a
    minute, and then after twice as long each time, up to an hour.
    """

    def __init__(
        self, store: Store, *flows: Resumable, poll: float = 1.0, at_once: int = 1000, environment: Environment = REAL
    ) -> None:
        self._flows = {flow.name: flow for flow in flows}
        if not flows or len(self._flows) < len(flows):
            raise UsageError("a worker needs flows, each with a name of its own: TriggerFlow(name='...')")
        self._store = store
        self._session = session_of(store)
        self._now = environment.now
        self._poll = poll
        self._at_once = at_once
        self._running: dict[str, Stored] = {}
        #: what is ours in the store and has to be opened yet: the name of its flow by its id
        self._claimed: dict[str, str] = {}
        #: what cannot be run here, by id
        self._refused: dict[str, _Refused] = {}
        self._being_opened: set[str] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._idle: dict[str, Stored] = {}
        self._parking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Take up what was left behind. Raises `UsageError` if the store has a worker in this process already."""
        if self._session.on_change is not None:
            raise UsageError(f"{self._store!r} has a worker already; give all flows to one")
        self._session.on_change = self._look_at
        try:
            await self._claim()
            await self._open_claimed()
        except BaseException:
            await self._let_go(list(self._running.values()))
            raise
        self._task = start_task(asyncio.get_running_loop(), self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Suspend what runs."""
        self._session.on_change = None  # nothing is parked any more
        tasks = [task for task in (self._task, self._parking, *self._opening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._let_go(list(self._session.live.values()))

    async def _let_go(self, executions: list[Stored]) -> None:
        """Suspend these, and give back what is ours."""
        self._session.on_change = None
        here = [execution for execution in executions if execution.runs_here]
        ids = [*(execution.runtime.id for execution in here), *self._claimed]
        for execution in here:
            if execution.runs_here:  # a sub-flow is released with its parent
                execution.release_here(ExecutionSuspended(f"{execution.runtime!r} was suspended: its worker stops"))
        self._running.clear()
        self._claimed.clear()
        if ids:
            with suppress(StoreError):  # then they are given back when the store is closed
                await self._store.release(ids)

    def run(self) -> None:
        """Work until the process is interrupted, in a script that has opened the store with a plain `with`.

        On `KeyboardInterrupt` it leaves as `async with` does, and passes it on. Raises `BlockingCallError` inside a
        running loop, and what `async with` raises.
        """
        if on_a_loop():
            raise BlockingCallError("`run` would stop the running event loop; write `async with Worker(store, flow):`")

        async def begin() -> asyncio.Task[None]:
            return start_task(asyncio.get_running_loop(), self._serve())

        async def end() -> None:
            task.cancel()
            await asyncio.wait((task,))

        task = run_sync(begin, "run")
        try:
            while not task.done():  # an interrupt that comes just before a wait begins is noticed when that ends
                run_sync(lambda: asyncio.wait((task,), timeout=0.5), "run")
            task.result()
        finally:
            run_sync(end, "run")

    async def _serve(self) -> None:
        async with self:
            await asyncio.Event().wait()

    @property
    def running(self) -> int:
        """How many executions it runs now."""
        return len(self._running)

    async def _run(self) -> None:
        while True:
            wait = self._poll
            self._woken.clear()  # what comes from here on is looked for again
            try:
                await self._claim()
                if self._claimed.keys() - self._being_opened:
                    task = start_task(asyncio.get_running_loop(), self._open_claimed())
                    self._opening.add(task)
                    task.add_done_callback(self._opening.discard)
                wait = min(wait, await self._until_due())
            except Exception:  # whatever it is, the worker is there to go on
                logger.exception("the worker cannot read %r; it tries again in %g s", self._store, self._poll)
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                continue

    @property
    def _room(self) -> int:
        return self._at_once - len(self._running.keys() | self._claimed.keys())

    async def _until_due(self) -> float:
        """In how many seconds the next one is due that can be run here. Raises `StoreError`."""
        due = await self._store.next_due(self._flows, without=self._left_alone()) if self._room > 0 else None
        return self._poll if due is None else max(SOON, due - self._now())

    async def _claim(self) -> None:
        """Claim what has something to do, up to the limit. Raises `StoreError`."""
        room, alone = self._room, self._left_alone()
        if room <= 0:
            return
        rows = await self._store.claim_work(self._flows, limit=room, without=alone)
        self._claimed.update((row.id, row.flow) for row in rows)
        if len(rows) < room:  # those that are not among them now are somebody else's, or have ended
            self._refused = {id: it for id, it in self._refused.items() if id in alone or id in self._claimed}

    def _left_alone(self) -> set[str]:
        """The ids of what was refused and is not to be tried again yet."""
        now = asyncio.get_running_loop().time()
        definitions = {flow: _fingerprint(self._flows[flow]) for flow in {it.flow for it in self._refused.values()}}
        return {id for id, it in self._refused.items() if now < it.until and it.definition == definitions[it.flow]}

    def _refuse(self, id: str, flow: str, error: Exception) -> None:
        """It cannot be run here, for a while."""
        definition, why = _fingerprint(self._flows[flow]), f"{type(error).__name__}: {error}"
        before = self._refused.get(id)
        if before is None or before.definition != definition:
            before = _Refused(flow, definition, "", 0, RETRY / 2)
        if before.why != why:
            logger.error("the worker cannot run execution %r of flow %r", id, flow, exc_info=error)
        pause = min(2 * before.pause, LONGEST)
        self._refused[id] = _Refused(flow, definition, why, asyncio.get_running_loop().time() + pause, pause)

    async def _open_claimed(self) -> None:
        """Open what is claimed, all at once: one of them may have to wait for the chunks of its last life here."""
        ids = self._claimed.keys() - self._being_opened
        self._being_opened |= ids
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._open(id, flow)) for id, flow in list(self._claimed.items()) if id in ids
                ]
        finally:
            self._being_opened -= ids
        failures = [error for task in tasks if (error := task.result()) is not None]
        if failures:
            text = "the worker cannot open %d executions of %r; it tries again in %g s"
            logger.error(text, len(failures), self._store, self._poll, exc_info=failures[0])

    async def _open(self, id: str, flow: str) -> StoreError | None:
        """Go on with what is ours; why the store did not let us, if it is to be tried again."""
        if id in self._left_alone():  # it was open, and then could not be run
            return await self._give_back(id)
        try:
            execution = await self._flows[flow].async_resume(id, store=self._store)
        except StoreUnavailable as error:
            return error
        except (StoreConflict, UnknownExecution):  # somebody else has it by now, or has deleted it
            self._claimed.pop(id, None)
        except Exception as error:  # of the flow's own classes, too: what was recorded may not fit them any more
            self._refuse(id, flow, error)
            return await self._give_back(id)
        else:
            self._claimed.pop(id, None)
            self._look_at(stored_of(runtime_of(execution)))
        return None

    async def _give_back(self, id: str) -> StoreError | None:
        try:
            await self._store.release([id])
        except StoreError as error:
            return error
        self._claimed.pop(id, None)
        return None

    def _look_at(self, execution: Stored) -> None:
        """Something of it is on disk, or it has left: run it on, forget it, or park it."""
        root = execution.root
        runtime = root.runtime
        if not root.runs_here:
            left = self._running.pop(runtime.id, None)
            if runtime.log is not None and runtime.log.suspended is not None and not root.released:
                # The store failed, or somebody cancelled a task of it: it is ours still, and nobody else would go on.
                self._claimed[runtime.id] = runtime.program.name
                if isinstance(why := runtime.log.suspended.__cause__, StoreDamaged | SnapshotError | UsageError):
                    self._refuse(runtime.id, runtime.program.name, why)  # one of its sub-flows cannot be run here
                    self._woken.set()  # it is given back at once
            elif left is not None:
                self._woken.set()  # there is room for another one
            return
        self._running[runtime.id] = root
        if is_idle(root):
            self._idle[runtime.id] = root
            if self._parking is None or self._parking.done():
                self._parking = start_task(asyncio.get_running_loop(), self._park())

    async def _park(self) -> None:
        while self._idle:
            idle, self._idle = self._idle, {}
            try:
                await park(self._store, idle.values())
            except StoreError:
                logger.exception("%d executions could not be parked", len(idle))
                # Those that have left the memory are ours still, and nobody else would wake them.
                self._claimed.update((id, it.runtime.program.name) for id, it in idle.items() if not it.runs_here)
        self._woken.set()  # a timer of theirs may be the next one due


def _fingerprint(flow: Resumable) -> str:
    """What its definition is known by; "" where there is none to ask, or it is being written just now."""
    try:
        return str(getattr(flow, "definition").fingerprint)  # noqa: B009 - not every `Resumable` has one
    except Exception:
        return ""
