"""A worker claims durable executions that have work to do and no owner, and runs them.

Those are executions of a process that has ended, and executions with a timer that is due. An execution that waits for
an answer, a signal or a timer is *parked*: it is only in the store, and needs no memory. An answer or a signal opens it
again, in whichever process it is sent.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from ..._core.definition import OperatorKind
from ..._core.errors import (
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
from ..._core.state import RUNNING, WAITING
from ...build.arguments import seconds, whole
from ...drivers.asyncio import REAL
from ...drivers.tasks import start_task
from ...run.environment import Environment
from ...run.execution import Execution, runtime_of
from ...run.portal import on_a_loop, run_sync
from ...stores.protocol import Store
from ..executions.commit import session_of
from ..executions.giving_back import Departure, give_back
from ..executions.stored import ChunksStillRun, Stored, stored_of
from .parking import is_idle, park
from .scheduling import Scheduling

logger = logging.getLogger("triggerflow")


#: If a worker cannot run an execution, it tries again after a pause. The first pause and the longest, in seconds.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 3600.0

#: The shortest pause between two queries of a worker to its store, in seconds; and the longest one between a change in
#: the store and the query, if many queries in a row have found no work.
MIN_POLL_SECONDS, MAX_PAUSE_SECONDS = 0.01, 0.08

#: How many executions a worker claims at once, at first and at most. While it finds as many as it asks for, it doubles
#: the number. Small claims leave executions to other workers; each claim reads all executions that are due.
MIN_CLAIM, MAX_CLAIM = 8, 64


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


def _by_name(flows: tuple[Resumable, ...]) -> dict[str, Resumable]:
    """The flows of a worker by name. Raises `UsageError`."""
    found: dict[str, Resumable] = {}
    for flow in flows:
        if not hasattr(flow, "async_resume"):
            raise UsageError(f"a worker takes an open store, and then flows: Worker(store, flow); got {flow!r} as flow")
        if (make := getattr(flow, "__flow_runtime__", None)) is not None:
            make().require_name()
        if found.setdefault(flow.name, flow) is not flow:
            raise UsageError(f"a worker was given two flows of the name {flow.name!r}; each needs one of its own")
    if not found:
        raise UsageError("a worker needs at least one flow that it runs: Worker(store, flow)")
    return found


class Worker:
    """Runs the durable executions of some flows in an open store: `async with Worker(store, flow, other): ...`.

    A store knows flows by name: raises `UsageError` for a flow without a name of its own, and `OptionError` or
    `DefinitionError` for a `poll` or `at_once` with which nothing would run. The worker queries the store every `poll`
    seconds, when the next timer is due, and when the change feed reports work. So it takes over the executions of a
    dead process within `poll` seconds after their lease has ended. It runs up to `at_once` executions at the same time.
    At the end of the block it suspends and releases its executions, and another worker can continue them. Executions
    that were suspended because the store failed are tried again every `poll` seconds.

    If an execution cannot run here (its definition needs a map, a type is not registered, its records are damaged), the
    worker logs that once and releases it, so that another worker may run it. It tries again when the definition of the
    flow has changed, or else after a minute, and after twice as long each time, up to an hour.
    """

    def __init__(
        self, store: Store, *flows: Resumable, poll: float = 1.0, at_once: int = 1000, environment: Environment = REAL
    ) -> None:
        self._store = store
        self._session = session_of(store)
        self._flows = _by_name(flows)
        self._environment = environment
        self._poll = seconds(poll, "Worker", "poll", above=True)
        self._at_once = whole(at_once, "Worker", "at_once", 1)
        self._running: dict[str, Stored] = {}
        self._claim_size = MIN_CLAIM
        #: executions that this store owns and the worker still has to open: the name of the flow by id
        self._claimed: dict[str, str] = {}
        #: executions that cannot run here, by id
        self._rejections: dict[str, _Rejection] = {}
        self._ids_being_opened: set[str] = set()
        self._opening_tasks: set[asyncio.Task[None]] = set()
        self._scheduling = Scheduling(store, self._flows, environment)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._draining = False
        #: while the worker drains: for each execution the chunks that ran at the beginning
        self._ending: dict[str, set[_Chunk]] = {}
        #: executions that the drain gives back
        self._leaving: list[asyncio.Task[None]] = []
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
        self._watching = start_task(asyncio.get_running_loop(), self._watch())
        logger.info("a worker runs executions of %s in %r", ", ".join(map(repr, self._flows)), self._store)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Suspend the running executions, and release them."""
        await self._stop()

    async def _stop(self) -> None:
        if self._session.on_change is None:
            return
        self._session.on_change = None  # from here on, no execution is parked
        await self._stop_claiming()
        if self._parking is not None:
            self._parking.cancel()
            await asyncio.gather(self._parking, return_exceptions=True)
        await self._release_all(list(self._session.live.values()))
        await asyncio.gather(*self._leaving)

    async def _stop_claiming(self) -> None:
        tasks = [task for task in (self._task, self._watching, *self._opening_tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._scheduling.stop()

    async def _release_all(self, executions: list[Stored]) -> None:
        """Suspend these executions, and release them when their chunks have stopped. Also release those that the worker
        has claimed but not opened yet."""
        self._session.on_change = None
        departures: list[Departure] = []
        for execution in executions:
            root = execution.root
            if root.runs_here:  # a sub-flow is suspended with its parent
                why = ExecutionSuspended(f"{root.runtime!r} was suspended: its worker stops")
                departures.append(Departure(root, why))
        leaving = {it.execution for it in departures}  # some were opened just now, and are still in `_claimed`
        for id in self._claimed:  # suspended here, because the store failed, and not opened again yet
            known: Stored | None = self._session.live.get(id)
            if known is not None and known not in leaving and known.stops:
                why = ExecutionSuspended(f"{known.runtime!r} was suspended: its worker stops")
                departures.append(Departure(known, why))
        for departure in departures:
            self._claimed.pop(departure.execution.runtime.id, None)
        self._running.clear()
        await give_back(self._session, departures)
        await self._release_claimed()

    async def _release_claimed(self) -> None:
        """Release the executions that the worker has claimed but not opened."""
        claimed = [id for id in self._claimed if (known := self._session.live.get(id)) is None or not known.stops]
        for id in claimed:
            del self._claimed[id]
        if claimed:
            with suppress(StoreError):  # closing the store releases them, too
                await self._store.release(claimed)

    async def drain(self, *, grace: float = 10.0) -> None:
        """Stop in order, for example before a deployment. Afterwards the end of the `async with` block does nothing.

        From now on the worker claims no execution. Running chunks have `grace` seconds to end; then their execution is
        suspended before its next chunk. Executions that wait are parked. After `grace` seconds the other executions are
        suspended, and their chunks cancelled. All are released, so that other workers continue them; an execution whose
        chunk does not stop within its `cleanup_timeout` is released once the chunk has stopped.
        """
        seconds(grace, "Worker.drain", "grace")
        if not self._draining:
            self._draining = True
            logger.info(
                "the worker of %r drains: %d executions, whose chunks have %g s", self._store, len(self._running), grace
            )
            await self._stop_claiming()
            await self._release_claimed()
            self._look_for_idle()
            for execution in self._roots():
                self._ending[execution.runtime.id] = set(_running_chunks(execution))
            for execution in self._roots():
                self._suspend_if_ended(execution)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._roots():
                    self._wake.clear()
                    await self._wake.wait()
        await self._stop()

    def _roots(self) -> list[Stored]:
        """The outermost executions that run in this process, also those that the worker has not opened."""
        return [it for it in list(self._session.live.values()) if it.runs_a_driver and it.root is it]

    def _suspend_if_ended(self, root: Stored) -> None:
        """While the worker drains: suspend an execution when the chunks that ran at the beginning have ended."""
        ending = self._ending.get(root.runtime.id, ())
        if root.runs_here and not any(chunk in ending for chunk in _running_chunks(root)):
            departure = Departure(root, ExecutionSuspended(f"{root.runtime!r} was suspended: its worker stops"))
            self._leaving.append(self._session.run_in_background(give_back(self._session, [departure])))

    def run(self, *, grace: float = 10.0) -> None:
        """Run the worker until SIGTERM or SIGINT, in a script that has opened the store with a plain `with`.

        On SIGTERM it drains (see `drain`) and returns; a second SIGTERM ends the process at once. On
        `KeyboardInterrupt` the worker stops as at the end of `async with`, and the interrupt is raised again. Raises
        `BlockingCallError` inside a running event loop, and the errors of `async with`.
        """
        if on_a_loop():
            raise BlockingCallError(
                "`run` would stop the running event loop; write `async with Worker(store, flow):`, or "
                "`await worker.async_run()`"
            )
        stop = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []  # an interrupt may come before `begin` returns

        async def begin() -> None:
            tasks.append(start_task(asyncio.get_running_loop(), self._serve(stop, grace)))

        async def wait(got_sigterm: bool) -> None:
            if got_sigterm:
                stop.set()
            await asyncio.wait(tasks, timeout=None if got_sigterm else 0.25)

        async def end() -> None:
            for task in tasks:
                task.cancel()
                await asyncio.wait((task,))

        try:
            run_sync(begin, "run")
            with _on_sigterm() as got_sigterm:
                while not tasks[0].done():  # an interrupt between two waits is raised at the end of the next one
                    run_sync(lambda: wait(got_sigterm()), "run")
                tasks[0].result()
        finally:
            run_sync(end, "run")

    async def async_run(self, *, grace: float = 10.0) -> None:
        """Run the worker until SIGTERM; then it drains (see `drain`) and returns. A second SIGTERM ends the process at
        once. If this call is cancelled, the worker stops as at the end of `async with`.

        Use it in place of `async with`, on an event loop of the main thread.
        """
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def on_sigterm() -> None:
            stop.set()
            loop.remove_signal_handler(signal.SIGTERM)  # a second one ends the process

        loop.add_signal_handler(signal.SIGTERM, on_sigterm)
        try:
            await self._serve(stop, grace)
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    async def _serve(self, stop: asyncio.Event, grace: float) -> None:
        async with self:
            await stop.wait()
            await self.drain(grace=grace)

    @property
    def running(self) -> int:
        """How many executions the worker runs now, without parked ones."""
        return len(self._running)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        looked = clock()
        in_vain = 0  # how many rounds in a row were started by a change and found no work
        while True:
            begun, wait = clock(), self._poll
            self._wake.clear()  # a change from here on ends the wait below
            if begun >= looked + self._poll:
                looked = begun
                self._look_for_idle()
                self._scheduling.forget()
            try:
                scheduled = await self._scheduling.start_due()
                found = await self._claim()
                in_vain = 0 if found else in_vain + 1
                if self._claimed.keys() - self._ids_being_opened:
                    task = start_task(asyncio.get_running_loop(), self._open_claimed())
                    self._opening_tasks.add(task)
                    task.add_done_callback(self._opening_tasks.discard)
                    if found == self._claim_size and self._capacity > 0:  # there may be more
                        self._claim_size = min(2 * self._claim_size, MAX_CLAIM)
                        # Leave work to other workers: a fuller worker pauses longer.
                        await asyncio.wait((task,), timeout=MAX_PAUSE_SECONDS)
                        await asyncio.sleep(MAX_PAUSE_SECONDS * len(self._running) / self._at_once)
                        continue
                self._claim_size = MIN_CLAIM
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
                in_vain = 0
            # On a busy store, other owners change something all the time.
            pause = min(MIN_POLL_SECONDS * 2 ** min(in_vain, 8), MAX_PAUSE_SECONDS)
            if (rest := begun + pause - clock()) > 0:
                await asyncio.sleep(rest)

    async def _watch(self) -> None:
        """Wake the worker when an execution that does not run here has changed: it was submitted or released, or has a
        request. The death of a process is no change; only polling finds it."""
        with suppress(StoreError, UsageError), self._session.hub.watch_others() as watch:  # until the store is closed
            while True:
                changes = await watch.changed()
                if changes.resync or changes.schedules:
                    self._scheduling.forget()
                if changes.resync or changes.schedules or not all(map(self._runs_here, changes.executions)):
                    self._wake.set()

    def _runs_here(self, id: str) -> bool:
        known: Stored | None = self._session.live.get(id)
        return known is not None and known.runs_here

    @property
    def _capacity(self) -> int:
        return self._at_once - len(self._running.keys() | self._claimed.keys())

    async def _seconds_to_due(self) -> float:
        """The seconds until the next timer of an execution that can run here is due. Raises `StoreError`."""
        due = await self._store.next_due(self._flows, without=self._ids_to_skip()) if self._capacity > 0 else None
        return self._poll if due is None else max(MIN_POLL_SECONDS, due - self._environment.now())

    async def _claim(self) -> int:
        """Claim executions that have work to do, a few at a time, up to `at_once`. Returns how many. Raises
        `StoreError`."""
        limit, skipped = min(self._capacity, self._claim_size), self._ids_to_skip()
        if limit <= 0:
            return 0
        claiming = asyncio.ensure_future(self._store.claim_work(self._flows, limit=limit, without=skipped))
        try:
            rows = await asyncio.shield(claiming)
        except asyncio.CancelledError:  # the worker stops, and has to release what the store gives it now
            with suppress(StoreError):
                self._claimed.update((row.id, row.flow) for row in await claiming)
            raise
        self._claimed.update((row.id, row.flow) for row in rows)
        # Fewer rows than the limit: rejected executions that were not claimed have ended, or have another owner.
        if len(rows) < limit:
            self._rejections = {id: it for id, it in self._rejections.items() if id in skipped or id in self._claimed}
        return len(rows)

    def _ids_to_skip(self) -> set[str]:
        """The ids of the rejected executions that the worker skips at present."""
        now = asyncio.get_running_loop().time()
        definitions = {flow: _fingerprint(self._flows[flow]) for flow in {it.flow for it in self._rejections.values()}}
        return {id for id, it in self._rejections.items() if now < it.until and it.definition == definitions[it.flow]}

    def _reject(self, id: str, flow: str, error: Exception) -> None:
        """Skip an execution for a while, since it cannot run here. Logs the reason unless it was logged before."""
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
        """Open a claimed execution. Returns the error if the worker has to try again: the store failed, or earlier
        chunks of the execution have not stopped in this process yet."""
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
            self._drop(root)
            return
        self._running[runtime.id] = root
        if self._draining and not is_idle(root):
            self._suspend_if_ended(root)
        elif is_idle(root):
            self._to_park[runtime.id] = root
            self._begin_parking()

    def _drop(self, root: Stored) -> None:
        """Stop tracking an execution that has ended, or was suspended, parked or released. If the store is still its
        owner, it is opened again."""
        id, flow, log = root.runtime.id, root.runtime.program.name, root.runtime.log
        was_running = self._running.pop(id, None) is not None
        suspended = None if log is None else log.suspended
        why = None if suspended is None else suspended.__cause__
        if isinstance(why, MissingResource):
            self._reject(id, flow, why)
        if suspended is not None and not root.released:
            # The store failed, or a task was cancelled from outside; this store is still the owner.
            self._claimed[id] = flow
            if isinstance(why, StoreDamaged | SnapshotError | UsageError):
                self._reject(id, flow, why)  # one of its sub-flows cannot run here
                self._wake.set()  # the next round releases it
        if was_running or self._draining:
            self._wake.set()  # there is room for another execution

    def _begin_parking(self) -> None:
        if self._to_park and (self._parking is None or self._parking.done()):
            self._parking = start_task(asyncio.get_running_loop(), self._park())

    def _look_for_idle(self) -> None:
        """Park idle executions for which `_on_change` is not called again: parking has failed before, or a caller was
        waiting for them then."""
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


#: One attempt of a chunk: the id of its execution, the number of its run, and the attempt.
_Chunk = tuple[str, int, int]


def _running_chunks(root: Stored) -> Iterator[_Chunk]:
    """The chunks that run in an execution and its sub-flows."""
    for execution in root.tree():
        for run in execution.runtime.machine.state.runs.values():
            if run.phase in (RUNNING, WAITING) and run.node.kind is not OperatorKind.SUB_FLOW:
                yield execution.runtime.id, run.id, run.attempt


@contextmanager
def _on_sigterm() -> Generator[Callable[[], bool]]:
    """Inside the block the first SIGTERM makes the yielded function return True; a second one ends the process.

    On another thread than the main one, or if the program handles SIGTERM itself, the function always returns False."""
    got_sigterm = False

    def note(number: int, frame: object) -> None:
        nonlocal got_sigterm
        got_sigterm = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield lambda: False
        return
    signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: got_sigterm
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fingerprint(flow: Resumable) -> str:
    """The fingerprint of the flow's definition; "" if it has none, or the flow is not complete."""
    try:
        return str(getattr(flow, "definition").fingerprint)  # noqa: B009 - not every `Resumable` has one
    except Exception:
        return ""
