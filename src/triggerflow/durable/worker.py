"""A worker claims durable executions that have work to do and no owner, and runs them.

Those are executions of a process that has ended, and executions with a timer that is due. An execution that waits for
an answer, a signal or a timer is *parked*: it is only in the store, and needs no memory. An answer or a signal opens it
again, in whichever process it is sent.
"""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from .._core.errors import (
    BlockingCallError,
    ExecutionSuspended,
    MissingResource,
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
from .giving_back import Departure, give_back
from .parking import is_idle, park
from .scheduling import Scheduling
from .stored import ChunksStillRun, Stored, stored_of

logger = logging.getLogger("triggerflow")


#: If a worker cannot run an execution, it tries it again after a pause. The first pause and the longest, in seconds.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 3600.0

#: The shortest pause between two queries of a worker to its store, in seconds.
MIN_POLL_SECONDS = 0.01


class Resumable(Protocol):
    """What a worker needs of a flow."""

    @property
    def name(self) -> str:
        """The name under which its executions are in the store."""
        ...

    async def async_resume(self, id: str, *, store: Store) -> Execution:
        """Open an execution that is in the store, and continue it."""
        ...


class _Rejection(NamedTuple):
    """Why an execution cannot run under this definition of its flow, and until when (loop time) the worker skips it."""

    flow: str
    definition: str
    why: str
    until: float
    pause: float


class Worker:
    """Runs the durable executions of some flows in an open store: `async with Worker(store, flow, other): ...`.

    A store knows flows by name, so that each flow needs a name of its own; raises `UsageError` otherwise. The worker
    queries the store every `poll` seconds, and when the next timer is due. So it takes over the executions of a dead
    process within `poll` seconds after their lease has ended. It runs up to `at_once` executions at the same time. At
    the end of the block, it suspends and releases its executions, and another worker can continue them. Executions that
    were suspended because the store failed are tried again every `poll` seconds.

    If an execution cannot run here (its definition needs a map, a type is not registered, its records are damaged), the
    worker logs that once and releases it, so that another worker may run it. It tries again when the definition of the
    flow has changed, or else after a minute, and after twice as long each time, up to an hour.
    """

    def __init__(
        self, store: Store, *flows: Resumable, poll: float = 1.0, at_once: int = 1000, environment: Environment = REAL
    ) -> None:
        self._flows = {flow.name: flow for flow in flows}
        if not flows or len(self._flows) < len(flows):
            raise UsageError("a worker needs one or more flows, each with a name of its own: TriggerFlow(name='...')")
        self._store = store
        self._session = session_of(store)
        self._environment = environment
        self._poll = poll
        self._at_once = at_once
        self._running: dict[str, Stored] = {}
        #: executions that this store owns and the worker still has to open: the name of the flow by id
        self._claimed: dict[str, str] = {}
        #: executions that cannot run here, by id
        self._rejections: dict[str, _Rejection] = {}
        self._ids_being_opened: set[str] = set()
        self._opening_tasks: set[asyncio.Task[None]] = set()
        self._scheduling = Scheduling(store, self._flows, environment)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._to_park: dict[str, Stored] = {}
        self._parking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Claim and open executions. Raises `UsageError` if the store has a worker already, and `StoreError`."""
        if self._session.on_change is not None:
            raise UsageError(f"{self._store!r} has a worker already; give all flows to one worker")
        self._session.on_change = self._on_change
        try:
            await self._claim()
            await self._open_claimed()
        except BaseException:
            await self._release_all(list(self._running.values()))
            raise
        self._task = start_task(asyncio.get_running_loop(), self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Suspend the running executions, and release them."""
        self._session.on_change = None  # from here on, no execution is parked
        tasks = [task for task in (self._task, self._parking, *self._opening_tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._scheduling.stop()
        await self._release_all(list(self._session.live.values()))

    async def _release_all(self, executions: list[Stored]) -> None:
        """Suspend these executions, and release them when their chunks have stopped. Also release those that the worker
        has claimed, but not opened yet."""
        self._session.on_change = None
        departures: list[Departure] = []
        for execution in executions:
            root = execution.root
            if root.runs_here:  # a sub-flow is suspended with its parent
                why = ExecutionSuspended(f"{root.runtime!r} was suspended: its worker stops")
                departures.append(Departure(root, why))
        claimed = set(self._claimed)
        for id in claimed:  # suspended here, because the store failed, and not opened again yet
            known: Stored | None = self._session.live.get(id)
            if known is not None and known.stops:
                why = ExecutionSuspended(f"{known.runtime!r} was suspended: its worker stops")
                departures.append(Departure(known, why))
        claimed -= {it.execution.runtime.id for it in departures}
        self._running.clear()
        self._claimed.clear()
        await give_back(self._session, departures)
        if claimed:
            with suppress(StoreError):  # closing the store releases them, too
                await self._store.release(claimed)

    def run(self) -> None:
        """Run the worker until the process is interrupted, in a script that has opened the store with a plain `with`.

        On `KeyboardInterrupt` the worker stops as at the end of `async with`, and the interrupt is raised again. Raises
        `BlockingCallError` inside a running event loop, and the errors of `async with`.
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
            while not task.done():  # an interrupt between two waits is raised at the end of the next one
                run_sync(lambda: asyncio.wait((task,), timeout=0.5), "run")
            task.result()
        finally:
            run_sync(end, "run")

    async def _serve(self) -> None:
        async with self:
            await asyncio.Event().wait()

    @property
    def running(self) -> int:
        """How many executions the worker runs now, without parked ones."""
        return len(self._running)

    async def _run(self) -> None:
        while True:
            wait = self._poll
            self._wake.clear()  # a change from here on ends the wait below
            self._look_for_idle()
            try:
                scheduled = await self._scheduling.start_due()
                await self._claim()
                if self._claimed.keys() - self._ids_being_opened:
                    task = start_task(asyncio.get_running_loop(), self._open_claimed())
                    self._opening_tasks.add(task)
                    task.add_done_callback(self._opening_tasks.discard)
                wait = min(wait, await self._seconds_to_due())
                if scheduled is not None:
                    wait = min(wait, max(MIN_POLL_SECONDS, scheduled - self._environment.now()))
            except Exception:  # one failed round must not end the worker
                logger.exception(
                    "the worker cannot claim executions of %r; it tries again in %g s", self._store, self._poll
                )
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    @property
    def _capacity(self) -> int:
        return self._at_once - len(self._running.keys() | self._claimed.keys())

    async def _seconds_to_due(self) -> float:
        """In how many seconds the next timer of an execution that can run here is due. Raises `StoreError`."""
        due = await self._store.next_due(self._flows, without=self._ids_to_skip()) if self._capacity > 0 else None
        return self._poll if due is None else max(MIN_POLL_SECONDS, due - self._environment.now())

    async def _claim(self) -> None:
        """Claim executions that have work to do, up to `at_once`. Raises `StoreError`."""
        capacity, skipped = self._capacity, self._ids_to_skip()
        if capacity <= 0:
            return
        rows = await self._store.claim_work(self._flows, limit=capacity, without=skipped)
        self._claimed.update((row.id, row.flow) for row in rows)
        # Fewer rows than asked for: rejected executions that were not claimed have ended, or have another owner.
        if len(rows) < capacity:
            self._rejections = {id: it for id, it in self._rejections.items() if id in skipped or id in self._claimed}

    def _ids_to_skip(self) -> set[str]:
        """The ids of rejected executions that the worker does not try again yet."""
        now = asyncio.get_running_loop().time()
        definitions = {flow: _fingerprint(self._flows[flow]) for flow in {it.flow for it in self._rejections.values()}}
        return {id for id, it in self._rejections.items() if now < it.until and it.definition == definitions[it.flow]}

    def _reject(self, id: str, flow: str, error: Exception) -> None:
        """Note that an execution cannot run here for a while. Logs the reason if it is a new one."""
        definition, why = _fingerprint(self._flows[flow]), f"{type(error).__name__}: {error}"
        before = self._rejections.get(id)
        if before is None or before.definition != definition:
            before = _Rejection(flow, definition, "", 0, MIN_RETRY_SECONDS / 2)
        if before.why != why:
            logger.error("the worker cannot run execution %r of flow %r", id, flow, exc_info=error)
        pause = min(2 * before.pause, MAX_RETRY_SECONDS)
        self._rejections[id] = _Rejection(flow, definition, why, asyncio.get_running_loop().time() + pause, pause)

    async def _open_claimed(self) -> None:
        """Open the claimed executions, all at the same time: one may have to wait until its old chunks stop."""
        ids = self._claimed.keys() - self._ids_being_opened
        self._ids_being_opened |= ids
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._open(id, flow)) for id, flow in list(self._claimed.items()) if id in ids
                ]
        finally:
            self._ids_being_opened -= ids
        failures = [error for task in tasks if (error := task.result()) is not None]
        if failures:
            text = "the worker cannot open %d executions of %r; it tries again in %g s"
            logger.error(text, len(failures), self._store, self._poll, exc_info=failures[0])

    async def _open(self, id: str, flow: str) -> StoreError | ChunksStillRun | None:
        """Open a claimed execution. Returns the error if the worker has to try again: that of the store, or that its
        chunks have not stopped here yet."""
        if id in self._ids_to_skip():  # it was rejected after it was claimed
            return await self._release_one(id)
        try:
            execution = await self._flows[flow].async_resume(id, store=self._store)
        except StoreUnavailable as error:
            return error
        except ChunksStillRun as error:
            return error
        except (StoreConflict, UnknownExecution):  # another owner has claimed it, or it was deleted
            self._claimed.pop(id, None)
        except Exception as error:
            # The flow's own classes may raise any error if recorded values do not fit them any more.
            self._reject(id, flow, error)
            return await self._release_one(id)
        else:
            self._claimed.pop(id, None)
            self._on_change(stored_of(runtime_of(execution)))
        return None

    async def _release_one(self, id: str) -> StoreError | None:
        try:
            await self._store.release([id])
        except StoreError as error:
            return error
        self._claimed.pop(id, None)
        return None

    def _on_change(self, execution: Stored) -> None:
        """Track, drop or park an execution. Called when its records were committed, or it was suspended or released."""
        root = execution.root
        runtime = root.runtime
        if not root.runs_here:
            left = self._running.pop(runtime.id, None)
            why = None if runtime.log is None or runtime.log.suspended is None else runtime.log.suspended.__cause__
            if isinstance(why, MissingResource):
                self._reject(runtime.id, runtime.program.name, why)
            if runtime.log is not None and runtime.log.suspended is not None and not root.released:
                # Suspended: the store failed, or a task was cancelled from outside. This store is still the owner: open
                # it again.
                self._claimed[runtime.id] = runtime.program.name
                if isinstance(why, StoreDamaged | SnapshotError | UsageError):
                    self._reject(runtime.id, runtime.program.name, why)  # one of its sub-flows cannot run here
                    self._wake.set()  # the next round releases it
            elif left is not None:
                self._wake.set()  # there is room for another execution
            return
        self._running[runtime.id] = root
        if is_idle(root):
            self._to_park[runtime.id] = root
            self._begin_parking()

    def _begin_parking(self) -> None:
        if self._to_park and (self._parking is None or self._parking.done()):
            self._parking = start_task(asyncio.get_running_loop(), self._park())

    def _look_for_idle(self) -> None:
        """Park what is idle without having told so: parking it has failed before, or a caller has waited for it."""
        self._to_park.update({id: it for id, it in self._running.items() if it.runs_here and is_idle(it)})
        self._begin_parking()

    async def _park(self) -> None:
        while self._to_park:
            idle, self._to_park = self._to_park, {}
            try:
                await park(self._store, idle.values())
            except StoreError as error:
                text = "the worker could not park %d executions of %r; it tries again in %g s: %s"
                logger.warning(text, len(idle), self._store, self._poll, error)
                # Executions that were stopped already still belong to this store: open them again.
                self._claimed.update((id, it.runtime.program.name) for id, it in idle.items() if not it.runs_here)
        self._wake.set()  # a timer of a parked execution may be the next one due


def _fingerprint(flow: Resumable) -> str:
    """The fingerprint of the flow's definition; "" if it has none, or the flow is not complete."""
    try:
        return str(getattr(flow, "definition").fingerprint)  # noqa: B009 - not every `Resumable` has one
    except Exception:
        return ""
