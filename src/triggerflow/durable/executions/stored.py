"""`Stored` connects an execution to the store that has its records.

The first use of a handle *opens* the execution: it is found in the store and claimed, or created. From then on this
process runs it, until it ends, is suspended (the store failed, the loop ended, another owner claimed it) or is parked.
After that, the next use of the handle opens it again. If another process runs the execution, the handle gets a mirror
of it instead.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..._core import commands, events
from ..._core.errors import (
    ExecutionClosed,
    ExecutionExists,
    ExecutionLeased,
    ExecutionSuspended,
    MissingResource,
    SnapshotError,
    StoreConflict,
    StoreError,
    UnknownExecution,
    UsageError,
    without_values,
)
from ..._core.machine import FINAL, Machine
from ..._core.state import UNSET, BlockInstance, Interrupt, RunChunk, Status
from ...run import ingress
from ...run.actions import UPDATE, Action
from ...run.environment import Environment
from ...run.interfaces import Durability, NewChild, Origin
from ...run.journal import RingJournal
from ...run.options import DEFAULTS, Options, Reuse
from ...run.program import Program
from ...run.runtime import ExecutionRuntime
from ...run.shared import SharedData
from ...run.stream import RuntimeStream, StreamItem
from ...run.subflow import Link
from ...run.tracing import TRACEPARENT, labelled
from ...stores.protocol import FINAL_STATUSES, RETRIABLE_STATUSES, Append, ExecutionRow, Reply, Store
from ..format.codec import encode
from ..format.loading import RestoredExecution, migrate, read_items, write_snapshot
from ..format.metadata import check_id, first_row, numbered_id, of_another_flow, read_options, write_options
from ..format.questions import asked_here, question, write_question
from ..format.reader import ExecutionReader
from .commit import StoreSession, give_up, session_of
from .commit_buffer import CommitBuffer
from .leftovers import ENDS_STEPS, REASON, end_leftovers, open_steps
from .mirror import ENDED, Mirror
from .shared import OwnShared, StoredShared

logger = logging.getLogger("triggerflow")


class ChunksStillRun(UsageError):
    """The execution cannot be opened here again yet: chunks that its suspension has cancelled have not stopped."""


#: A running execution writes a snapshot each time it has this many new records, and these have as many bytes as this
#: part of the last snapshot: with a large state, writing all of it each time would take longer than the records.
SNAPSHOT_EVERY, SNAPSHOT_PART = 5000, 0.25

NO_SNAPSHOT = (
    "%r: no snapshot could be written (%s). The execution goes on and its records are stored, but resuming it "
    "replays all of them since the last snapshot. A value was changed in place after it was recorded; replace it "
    "instead: state.set(key, value)"
)


class Stored(Durability):
    """Connects one execution to its store: opens it in this process, commits its records, suspends and releases it."""

    __slots__ = (
        "__weakref__",
        "_ends_steps",
        "_is_new",
        "_is_open",
        "_labels",
        "_must_exist",
        "_operator_map",
        "_reuse",
        "_snapshot_at",
        "_snapshot_bytes",
        "_snapshot_failed",
        "_was_stored",
        "had_failed",
        "lock",
        "may_run",
        "mirror",
        "origin",
        "released",
        "runtime",
        "session",
        "shared",
        "stopping",
    )

    outlives_loop = True
    keeps_items = True

    def __init__(
        self,
        runtime: ExecutionRuntime,
        store: Store,
        *,
        is_new: bool,
        must_exist: bool = False,
        may_run: bool = True,
        operator_map: Mapping[str, str | None] | None = None,
        reuse: Reuse = "existing",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        #: the execution that this object connects to its store
        self.runtime = runtime
        self.session: StoreSession = session_of(store)
        #: see `commit_buffer.Owner.shared`
        self.shared: StoredShared | None = None
        #: held while the execution is opened or parked
        self.lock = asyncio.Lock()
        #: whether this process runs the execution if no other one does
        self.may_run = may_run
        #: while another process runs the execution: the copy of it that the handles show; else None
        self.mirror: Mirror | None = None
        self.origin: Origin | None = None
        #: whether this process has given up the ownership; it keeps it after a suspension because the store failed
        self.released = False
        self._is_open = False
        self._is_new = is_new
        self._snapshot_at = 0
        #: how many bytes have to be committed before the next snapshot
        self._snapshot_bytes = 0.0
        #: the number of the newest record that can have ended a step whose sub-flow is only in the store; -1 for none
        self._ends_steps = -1
        #: whether the newest snapshot could not be written; this is logged once
        self._snapshot_failed = False
        self._must_exist = must_exist
        self._operator_map = operator_map
        self._reuse: Reuse = reuse
        self._labels = labels
        #: the tasks that the last suspension has cancelled, each with what it runs
        self.stopping: dict[asyncio.Task[None], str] = {}
        #: whether it was in the store when this process opened it
        self._was_stored = False
        #: whether it had failed or was cancelled when this process opened it
        self.had_failed = False

    # -- opening -----------------------------------------------------------------------------------------------------

    def reconfigure(
        self,
        program: Program,
        shared: SharedData,
        options: Options,
        *,
        resources: Mapping[str, Any] | None = None,
        link: Link | None = None,
        must_exist: bool = False,
        may_run: bool = True,
        operator_map: Mapping[str, str | None] | None = None,
        reuse: Reuse = "existing",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Called when the execution was requested again by its id. Applies the new arguments, unless it is open here.

        Raises `UsageError` if it belongs to another flow, or runs here under another definition of its flow.
        """
        runtime = self.runtime
        if runtime.program.name != program.name:
            raise of_another_flow(runtime.id, runtime.program.name, program.name)
        self.may_run = self.may_run or may_run  # also while it is opened: a worker waits for the lock then
        if self._is_open or self.lock.locked():
            if reuse == "reject":
                raise ExecutionExists(f"{runtime!r} was created in this process already; choose another id")
            ours, theirs = runtime.program.plan.definition.fingerprint, program.plan.definition.fingerprint
            if ours != theirs and runtime.machine.state.status not in FINAL:
                raise UsageError(
                    f"{runtime!r} runs here under another definition of its flow; to move it to this one, "
                    "`await execution.async_suspend()` and resume it"
                )
            return
        runtime.use(program)
        self._operator_map = operator_map
        if self.mirror is None:
            runtime.options = options
        self._reuse, self._labels = reuse, labels or self._labels
        self._must_exist = self._must_exist and must_exist
        runtime.link = link or runtime.link
        self.share(shared)
        if resources:
            runtime.own_resources = dict(resources)

    def share(self, of: SharedData) -> None:
        """Give the execution the shared data of its flow in this store. `of` is that of this process."""
        runtime = self.runtime
        view = self.session.shared_view(runtime.program)
        if runtime.link is None:
            self.shared = runtime.shared = StoredShared(self, view, of)
        else:
            self.shared, runtime.shared = None, OwnShared(self, view, of)

    async def open(self, runtime: ExecutionRuntime) -> None:
        """Continue the execution that is in the store, or create it; see `Execution.async_open`.

        If another process runs it, or this one may not, the handle shows what the other one does."""
        async with self.lock:
            if self._is_open or (self.mirror is not None and await self._is_mirrored(self.mirror)):
                return
            await self._chunks_stopped()
            self._join_session()
            row = None
            try:
                row = await self._open()
            except ExecutionLeased:
                if self.runtime.link is not None:
                    raise  # a sub-flow runs where its parent runs, or not at all
                await self._show(await self.session.store.find(runtime.id))
            if self.mirror is not None:
                return
            self._is_open, self.released = True, False
            runs = runtime.machine.state.status not in FINAL
            if runs:
                self.session.inbox.opened(runtime.id)
                if runtime.machine.state.records:
                    ingress.driver_of(runtime)  # the driver starts the open runs again
            if row is not None and (shared := self.shared) is not None:
                await self._attach(shared, row)
        if runs and row is not None:  # else nobody can have asked for anything yet, or it has ended
            look = self.session.inbox.look_if_possible()
            if runtime.link is None:
                await look
            else:  # its parent has to connect it first: until then, an answer that the parent gets does not reach it
                self.session.run_in_background(look)

    async def _is_mirrored(self, mirror: Mirror) -> bool:
        """Bring the mirror up to date; False if no process runs the execution now, and this one may."""
        if self.runtime.machine.state.status in FINAL:
            return True
        row = await mirror.catch_up()
        if self.runtime.machine.state.status in FINAL or not self.is_free(row) or not await self._may_claim(row):
            mirror.beat()
            return True
        return False

    def is_free(self, row: ExecutionRow) -> bool:
        """Whether no process runs an execution that does not run here: it has no owner, or this store has owned it
        since its handles were dropped."""
        return row.owner is None or (row.parent is None and row.owner == self.session.store.owner)

    async def _may_claim(self, row: ExecutionRow) -> bool:
        """Whether this process may run an execution that no process runs. A sub-flow runs where its parent does."""
        if self.may_run and (row.parent is None or self.runtime.link is not None):
            return True
        if row.owner is not None and self.is_free(row):
            await self.session.store.release([row.id])  # so that a worker can run it
        return False

    async def _show(self, row: ExecutionRow | None) -> None:
        """Show an execution that another process runs."""
        if row is None:
            raise UnknownExecution(f"there is no execution {self.runtime.id!r} in {self.session.store!r}")
        self._reuse = "existing"
        mirror = self.mirror
        if mirror is None:
            mirror = Mirror(self)
            try:
                await mirror.begin(row)
            except BaseException:
                mirror.end()
                self.runtime.log = self.runtime.driver = None
                raise
            self.mirror = mirror
        mirror.beat()

    def drop_mirror(self, mirror: Mirror) -> None:
        """The execution is no longer shown by this mirror."""
        mirror.end()
        if self.mirror is mirror:
            self.mirror, self.runtime.driver = None, None

    async def act(self, runtime: ExecutionRuntime, action: Action, arguments: tuple[Any, ...]) -> Any:
        """See `Durability.act`."""
        tried = False
        while True:
            await self.open(runtime)
            mirror = self.mirror
            if mirror is not None and self.runs_elsewhere(runtime):
                if action is UPDATE and callable(arguments[1]):
                    raise UsageError(
                        f"{runtime!r} runs in another process, which cannot call a function of this one; declare a "
                        "reducer (flow.set_state) and write `await execution.state.async_reduce(key, value)`"
                    )
                answer = await mirror.ask(action, arguments)
                if answer is ENDED:
                    continue
                break
            try:
                if action.before is not None:
                    await action.before(runtime, *arguments)
                answer = action.change(runtime, *arguments)
                await self.committed(runtime)
                break
            except StoreConflict:
                # Another process has taken the execution, so that nothing of this is in the store: ask that process.
                if tried or self._is_open:
                    raise
                tried = True
        if action.wait is not None:
            answer = await action.wait(runtime, answer)
            await self.committed(runtime)
        return answer

    async def _attach(self, shared: StoredShared, row: ExecutionRow) -> None:
        """Let the execution take the changes of shared data that it has missed. If that fails, it is not open."""
        try:
            moved = row.definition != self.runtime.program.plan.definition.fingerprint
            await shared.attach(row.heard, moved=moved)
        except (StoreError, SnapshotError, UsageError) as error:
            why = ExecutionSuspended(f"{self.runtime!r} was suspended: its shared data cannot be read: {error}")
            why.__cause__ = error
            self.suspend(why)
            raise

    def _join_session(self) -> None:
        """Join the present session of the store, if it was closed and opened again since.

        Raises `ExecutionSuspended` if another handle continues the execution in that session.
        """
        closed, id = self.session.closed, self.runtime.id
        if closed is None:
            return
        session = session_of(self.session.store)
        if session.live.get(id, self) is not self:
            raise ExecutionSuspended(str(closed)) from closed
        session.live[id] = self
        self.session = session
        if isinstance(shared := self.runtime.shared, StoredShared | OwnShared):
            self.share(shared.of)

    async def _chunks_stopped(self) -> None:
        """Wait for the chunks that a suspension has cancelled: they must not write into the reopened execution."""
        stopping = [task for task in self.stopping if task is not asyncio.current_task()]
        if stopping:
            timeout = self.runtime.options.cleanup_timeout
            _, running = await asyncio.wait(stopping, timeout=timeout)
            if running:
                what = ", ".join(sorted({self.stopping[task] for task in running}))
                raise ChunksStillRun(
                    f"{self.runtime!r} was suspended here, and {what} has not stopped within {timeout:g} s "
                    "(cleanup_timeout); open it again when it has stopped"
                )
        self.stopping = {}

    async def _open(self) -> ExecutionRow | None:
        """Returns the row of an execution that goes on; None for a new one."""
        runtime, store = self.runtime, self.session.store
        row = None if self._is_new else await self._found()
        if row is None:
            if self._must_exist:
                raise UnknownExecution(f"there is no execution {runtime.id!r} in {store!r}")
            self._create()
            return None
        else:
            if row.flow != runtime.program.name:
                raise of_another_flow(runtime.id, row.flow, runtime.program.name)
            if row.status not in FINAL_STATUSES and not await self._may_claim(row):
                await self._show(row)
                return row
            return await self._go_on(row)

    async def _found(self) -> ExecutionRow | None:
        """The row of the execution in the store; None if it has to be created. Raises `ExecutionExists`."""
        runtime, session = self.runtime, self.session
        log = runtime.log
        if self._reuse == "existing" or (isinstance(log, CommitBuffer) and log.status is not None):
            return await session.store.find(runtime.id)
        from .submission import place

        row, id = await place(session.store, runtime.id, self._reuse)
        if id != runtime.id:
            if session.live.get(id, self) is not self:
                raise UsageError(
                    f"execution {id!r} is open in this process; use its handle, or flow.async_resume({id!r})"
                )
            if session.live.get(runtime.id) is self:
                del session.live[runtime.id]
            runtime.rename(id)
            session.live[id] = self
        return row

    def _create(self) -> None:
        """Begin a new execution. Its first commit creates it in the store."""
        runtime = self.runtime
        runtime.start_value, self._is_new = UNSET, False
        self.session.add_definition(runtime.program)
        parent = None if runtime.link is None else runtime.link.parent.id
        labels = labelled(self._labels) if parent is None else self._labels
        row = first_row(runtime.id, runtime.program, runtime.options, parent, self.now(), labels)
        self.origin = _origin(row)
        self._begin(Machine(runtime.program.plan), create=row)
        if (shared := self.shared) is not None:
            shared.begin(is_new=True)

    async def _go_on(self, row: ExecutionRow) -> ExecutionRow:
        runtime, store = self.runtime, self.session.store
        program = runtime.program
        try:
            if row.status not in FINAL_STATUSES:
                if row.owner != store.owner:  # else the worker of this process has claimed it
                    row = await store.claim(runtime.id)
                await runtime.shared.refresh()
            restored = await ExecutionReader(program, store).restore(row, row.records)
            if row.status not in FINAL_STATUSES and row.definition != program.plan.definition.fingerprint:
                self.session.add_definition(program)
                await self.session.write_definitions()
                newest = await store.snapshot(row.id, records=row.records)
                replaced = newest[2] if newest is not None and newest[0] == row.records else None
                try:
                    restored, snapshot = migrate(restored, program.plan, program.types, self._operator_map, replaced)
                except SnapshotError as error:
                    raise SnapshotError(f"{runtime!r}: {error}") from error
                await store.put_snapshot(row.id, row.records, program.plan.definition.fingerprint, snapshot)
            if self.mirror is not None:
                self.drop_mirror(self.mirror)
            runtime.start_value = restored.value
            runtime.options = self._stored_options(row)
            self._begin(restored.machine)
            self.origin = _origin(row)
            if (shared := self.shared) is not None:
                shared.begin(is_new=False, heard=row.heard)
            if row.status not in FINAL_STATUSES and row.questions != len(asked_here(restored.machine.state)):
                # It was stored by an earlier version, copied, or retried.
                assert isinstance(runtime.log, CommitBuffer)
                runtime.log.list_questions()
            self._was_stored, self.had_failed = True, row.status in RETRIABLE_STATUSES
            return row
        except ExecutionLeased:
            raise
        except BaseException:
            await give_up(store, row.id)
            raise

    def _stored_options(self, row: ExecutionRow) -> Options:
        """The options of the execution in the store. Warns of others that the caller has given: they do not count."""
        if row.options == write_options(self.runtime.options):
            return self.runtime.options
        given, stored = self.runtime.options.to_dict(), read_options(row.options)
        kept = {name: value for name, value in stored.to_dict().items() if given[name] not in (value, DEFAULTS[name])}
        if kept and self.runtime.link is None and given["attended"]:
            text = ", ".join(f"{name}={value!r}" for name, value in kept.items())
            logger.warning("%r was created with %s: other values are ignored now", self.runtime, text)
        return stored

    def _begin(self, machine: Machine, create: ExecutionRow | None = None) -> None:
        runtime = self.runtime
        runtime.machine = machine
        types, state = runtime.program.types, machine.state
        observers = () if runtime.journal is None else runtime.journal.observers
        if runtime.options.attended or observers:
            limit = runtime.options.journal_limit if runtime.options.attended else 0
            runtime.journal = RingJournal(limit, observers)
            runtime.journal.first = state.records
        self._snapshot_at, self._snapshot_bytes = state.records, 0.0
        has_steps = bool(runtime.program.sub_flows)
        if has_steps:
            self.session.has_steps = True

        def encoded(record: events.Event, payloads: dict[str, bytes]) -> bytes:
            return encode(record, types, state, payloads)

        def encoded_and_noted(record: events.Event, payloads: dict[str, bytes]) -> bytes:
            if type(record) in ENDS_STEPS:
                self._ends_steps = state.records
            return encode(record, types, state, payloads)

        write = encoded_and_noted if has_steps else encoded
        runtime.log = CommitBuffer(machine, runtime.id, write, self, create=create, has_steps=has_steps)
        stream = runtime.stream
        if stream is not None:
            stream.skip_to(state.stream)
            stream.older = self._older_items
            if state.status in FINAL:
                stream.end(runtime.why_ended())

    def require_open(self, runtime: ExecutionRuntime) -> None:
        """See `Durability.require_open`."""
        if self._is_new:  # its id was generated here, so the store cannot have it yet
            self._create()
            self._is_open = True
        if not self._is_open or runtime.log is None:
            raise UsageError(
                f"{runtime!r} is not loaded in this process; `await execution.async_open()` first, or use its async "
                "methods, which load it"
            )

    def is_open(self, runtime: ExecutionRuntime) -> bool:
        """See `Durability.is_open`."""
        return self._is_open

    def is_only_here(self, runtime: ExecutionRuntime) -> bool:
        """See `Durability.is_only_here`."""
        return self._is_new  # its id was generated here

    def runs_elsewhere(self, runtime: ExecutionRuntime) -> bool:
        """See `Durability.runs_elsewhere`."""
        return self.mirror is not None and runtime.machine.state.status not in FINAL

    def lacks_owner(self, runtime: ExecutionRuntime) -> bool:
        """See `Durability.lacks_owner`."""
        return self.mirror is not None and self.mirror.lacks_owner and self.runs_elsewhere(runtime)

    # -- commits -----------------------------------------------------------------------------------------------------

    async def committed(self, runtime: ExecutionRuntime) -> None:
        """See `Durability.committed`."""
        if runtime.log is not None:
            await runtime.log.wait_committed()

    def enqueue(self, buffer: CommitBuffer) -> None:
        """See `commit_buffer.Owner.enqueue`."""
        self.session.enqueue(buffer)

    def perform(self, held: list[commands.AnyCommand]) -> None:
        """See `commit_buffer.Owner.perform`."""
        driver = self.runtime.driver
        if driver is not None:
            driver.perform(held)

    def perform_before_commit(self, command: commands.AnyCommand) -> bool:
        """See `commit_buffer.Owner.perform_before_commit`."""
        runtime = self.runtime
        if runtime.driver is None:
            return False
        if isinstance(command, commands.Publish):
            if runtime.link is not None:
                runtime.link.publish(command.item, command.path)
            return False
        runtime.notice(command)
        return True

    def now(self) -> float:
        """See `commit_buffer.Owner.now`."""
        return self.runtime.environment.now()

    def question(self, interrupt: Interrupt) -> bytes:
        """See `commit_buffer.Owner.question`."""
        return write_question(question(self.runtime.program, interrupt, self.path))

    @property
    def path(self) -> str:
        """What leads from the outermost execution to this sub-flow: the ids of its interrupts there begin with it."""
        parent, link = self._parent, self.runtime.link
        if parent is None or link is None:
            return ""
        return "/".join(filter(None, (parent.path, link.path)))

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """See `commit_buffer.Owner.loop`."""
        driver = self.runtime.driver
        return None if driver is None else driver.loop

    def replied(self, replies: Sequence[Reply]) -> None:
        """See `commit_buffer.Owner.replied`."""
        self.session.inbox.replied(replies)

    def end_sub_flows(self) -> None:
        """See `commit_buffer.Owner.end_sub_flows`."""
        if self.runtime.machine.state.status in FINAL:
            for child in self.sub_flows():
                child.end_at_once()

    def end_at_once(self) -> None:
        """End as cancelled, without waiting for chunks that are still running: its parent has ended."""
        runtime = self.runtime
        if not self.runs_here or runtime.log is None or runtime.log.suspended is not None:
            return
        with suppress(ExecutionClosed, StoreError):
            ingress.driver_of(runtime)
            if runtime.machine.state.closing is None:
                ingress.submit(runtime, events.CancelRequested(self.now(), REASON))
            if runtime.machine.state.status not in FINAL:
                ingress.submit(runtime, events.CleanupTimedOut(self.now()))

    async def leftovers(self) -> list[Append]:
        """See `commit_buffer.Owner.leftovers`."""
        runtime, log, live = self.runtime, self.runtime.log, self.session.live
        state = runtime.machine.state
        if not isinstance(log, CommitBuffer):
            return []
        if self._ends_steps < log.committed and state.status not in FINAL:
            return []

        def is_open(id: str) -> bool:  # if it has ended, the store will know with its next commit
            known: Stored | None = live.get(id)
            return known is not None and known.is_open(known.runtime)

        reader = ExecutionReader(runtime.program, self.session.store)
        return await end_leftovers(reader, runtime.id, self.now(), wanted=open_steps(state), is_open=is_open)

    def written(self, buffer: CommitBuffer) -> None:
        """See `commit_buffer.Owner.written`."""
        state, session = self.runtime.machine.state, self.session
        if state.status in FINAL and buffer.is_committed:
            session.inbox.left(buffer.id)
        if state.records - self._snapshot_at >= SNAPSHOT_EVERY and buffer.stored_bytes >= self._snapshot_bytes:
            self._snapshot_at = state.records
            session.run_in_background(self._write_snapshot())
        if session.on_change is not None:  # hot path: `_notify`, inlined
            session.on_change(self)

    async def _write_snapshot(self) -> None:
        """Write a snapshot, so that a recovery replays fewer records. Snapshots are a cache: a failed write is
        logged and ignored."""
        runtime = self.runtime
        machine, log, types = runtime.machine, runtime.log, runtime.program.types
        number, definition = machine.state.records, machine.plan.definition.fingerprint
        try:
            data = write_snapshot(RestoredExecution(machine, runtime.start_value), types)
        except Exception as error:  # encoding an object of a user's class may raise any error
            if not self._snapshot_failed:
                self._snapshot_failed = True
                logger.warning(NO_SNAPSHOT, runtime, without_values(error))
            return
        self._snapshot_failed = False
        if isinstance(log, CommitBuffer):
            self._snapshot_bytes = log.stored_bytes + len(data) * SNAPSHOT_PART
        with suppress(StoreError, ExecutionSuspended):
            if log is not None:
                await log.wait_committed()
                await self.session.store.put_snapshot(runtime.id, number, definition, data)

    def check_answer(self, runtime: ExecutionRuntime, interrupt: Mapping[str, Any]) -> None:
        """See `Durability.check_answer`."""
        # Check the answer before the stream does: the error of the stream would call the answer a stream item.
        runtime.program.types.pack(interrupt["response"], f"the answer to interrupt {interrupt['id']!r} of {runtime!r}")

    def prepare_stream(self, runtime: ExecutionRuntime, stream: RuntimeStream) -> None:
        """See `Durability.prepare_stream`."""
        stream.older = self._older_items

    async def _older_items(self, after: int) -> list[StreamItem]:
        return await read_items(self.session.store, self.runtime.id, self.runtime.program.types, after)

    def on_closed(self, runtime: ExecutionRuntime) -> None:
        """See `Durability.on_closed`."""
        self._notify()

    def _notify(self) -> None:
        if self.session.on_change is not None:
            self.session.on_change(self)

    # -- suspending and releasing ------------------------------------------------------------------------------------

    @property
    def runs_here(self) -> bool:
        """Whether the execution is open in this process and has not ended."""
        return self._is_open and self.runtime.machine.state.status not in FINAL

    @property
    def stops(self) -> bool:
        """Whether chunks that its suspension has cancelled have not stopped yet."""
        return any(not task.done() for task in self.stopping)

    @property
    def runs_a_driver(self) -> bool:
        """Whether it has a driver in this process, which may run chunks."""
        return self.runs_here and self.runtime.driver is not None

    @property
    def has_ended(self) -> bool:
        """Whether it was opened here and has ended."""
        return self._is_open and self.runtime.machine.state.status in FINAL

    @property
    def may_run_again(self) -> bool:
        """Whether it has failed or was cancelled, and the store has all its records: since then another process may
        have retried it, so who opens it by its id has to read the store again."""
        log = self.runtime.log
        shown = self._is_open or self.mirror is not None
        ended = shown and self.runtime.machine.state.status in (Status.FAILED, Status.CANCELLED)
        return ended and log is not None and log.suspended is None and log.is_committed

    @property
    def root(self) -> "Stored":
        """The outermost execution: for a sub-flow its topmost parent, else this execution."""
        parent = self._parent
        return self if parent is None else parent.root

    @property
    def root_id(self) -> str:
        """See `commit_buffer.Owner.root_id`."""
        return self.root.runtime.id

    @property
    def _parent(self) -> "Stored | None":
        link = self.runtime.link
        durability = None if link is None else link.parent.durability
        return durability if isinstance(durability, Stored) else None

    def _wake_up(self) -> None:
        """Wake the callers of this execution and of all around it, so that they check its status again."""
        above: Stored | None = self
        while above is not None:
            above.runtime.wake()
            above = above._parent  # noqa: SLF001 - of the same class

    def sub_flows(self) -> "list[Stored]":
        """The sub-flows of this execution that run now."""
        children = [child for child, number in self.runtime.children.values() if not number]
        return [it for child in children if isinstance(it := child.durability, Stored)]

    def tree(self) -> "list[Stored]":
        """This execution and its sub-flows that run now, at any depth."""
        return [self, *(it for child in self.sub_flows() for it in child.tree())]

    def with_sub_flows(self) -> list[str]:
        """The ids of this execution and of its sub-flows that run now."""
        return [it.runtime.id for it in self.tree()]

    def suspend(self, why: BaseException) -> None:
        """Stop the execution in this process: cancel its chunks, accept no more records, give waiters the reason."""
        runtime, log = self.runtime, self.runtime.log
        if self.mirror is not None:
            self.mirror.give_up(why)
            return
        if log is None or log.suspended is not None:
            return
        assert isinstance(log, CommitBuffer)
        log.suspend(why)
        if runtime.driver is not None:
            self.stopping |= runtime.driver.stop()
        self._forget(why)

    def _forget(self, why: BaseException) -> None:
        runtime = self.runtime
        self._is_open, runtime.driver = False, None
        self.session.inbox.left(runtime.id)
        if isinstance(runtime.log, CommitBuffer):
            self.session.inbox.forget(runtime.log)
        if self.mirror is not None:
            self.drop_mirror(self.mirror)
        for child in self.sub_flows():
            if child.runtime.driver is not None:
                child.suspend(why)
            self.stopping |= child.stopping
        runtime.forget_children()  # opening the sub-flows again restores their interrupts
        parent = self._parent
        if parent is not None and parent.runtime.driver is not None:
            # The parent's step has not failed, but its sub-flow does not end in this process.
            parent.suspend(why)
        if (shared := self.shared) is not None:
            shared.drop()
        runtime.wake_all(lambda: why)
        runtime.stream = None
        self._notify()

    def release_here(self, why: ExecutionSuspended) -> None:
        """Stop the execution in this process. The caller has to release it in the store."""
        self.released = True
        if self.runtime.driver is not None:
            self.suspend(why)
        else:
            self._forget(why)

    async def release(self, runtime: ExecutionRuntime, reason: str) -> None:
        """See `Execution.async_suspend`."""
        if self.runs_here:
            from .giving_back import Departure, give_back

            departure = Departure(self, ExecutionSuspended(f"{runtime!r} was suspended: {reason}"))
            await give_back(self.session, [departure])

    async def alone(
        self, runtime: ExecutionRuntime, begun: RunChunk | BlockInstance, call: Callable[[], Awaitable[Any]]
    ) -> Any:
        """See `Durability.alone`."""
        run, opening = (begun.id, None) if isinstance(begun, RunChunk) else (None, begun.id)
        async with self.session.suspects.turn():
            ingress.submit(runtime, events.Isolated(self.now(), run, opening))
            await self.committed(runtime)
            return await call()

    def lacks_resource(self, runtime: ExecutionRuntime, error: MissingResource) -> bool:
        """See `Durability.lacks_resource`. The process that has created the execution made a mistake: the chunk fails
        there. Any other process may just not be the one that has the resource."""
        root = self.root
        if not root._was_stored or not root.runs_here:  # noqa: SLF001
            return False
        from .giving_back import Departure, give_back

        why = ExecutionSuspended(f"{runtime!r} was suspended, because this process lacks what it needs: {error}")
        why.__cause__ = error
        self.session.run_in_background(give_back(self.session, [Departure(root, why)]))
        return True

    def on_loop_lost(self, runtime: ExecutionRuntime, reason: str) -> None:
        """See `Durability.on_loop_lost`."""
        self.suspend(ExecutionSuspended(f"{runtime!r} was suspended: {reason}; it can continue from its store"))

    # -- sub-flows ---------------------------------------------------------------------------------------------------

    async def new_child(
        self, runtime: ExecutionRuntime, child: NewChild, saved: Mapping[str, Any] | None, attempt: int
    ) -> tuple[ExecutionRuntime, bool]:
        """Open the execution of a sub-flow, in the same store under an id of its own; return it, and whether it had
        started.

        If an earlier attempt of the step has made an execution, the new attempt continues it. If that execution has
        failed or was cancelled, the new attempt gets a new one.
        """
        number = 1
        while True:
            made = child.stored(self.session.store, numbered_id(child.id, number))
            runtime.children[child.path] = (made, "")  # register the child first: opening it looks it up in the parent
            try:
                await made.durability.open(made)
            except (StoreError, SnapshotError, UsageError) as error:  # the step itself has not failed
                del runtime.children[child.path]
                why = ExecutionSuspended(f"{runtime!r} was suspended: its sub-flow cannot be opened: {error}")
                why.__cause__ = error
                self.suspend(why)  # this store still owns the execution: its worker may open it again
                raise
            is_known = made.machine.state.started
            # One that fails while it is opened has failed in this attempt.
            if not is_known or number >= attempt or not stored_of(made).had_failed:
                self._notify()  # a sub-flow that waits writes no record that would notify the worker,
                self._wake_up()  # nor one that would wake a caller who waits until the parent has settled
                return made, is_known
            number += 1


def stored_runtime(
    program: Program,
    shared: SharedData,
    options: Options,
    environment: Environment,
    store: Store,
    id: str | None = None,
    *,
    resources: Mapping[str, Any] | None = None,
    link: Link | None = None,
    must_exist: bool = False,
    may_run: bool = True,
    operator_map: Mapping[str, str | None] | None = None,
    reuse: Reuse = "existing",
    labels: Mapping[str, str] | None = None,
    make: Callable[..., ExecutionRuntime] = ExecutionRuntime,
) -> ExecutionRuntime:
    """Return the runtime of a durable execution: the one that this process has for that id, or a new one from `make`.

    Raises `UsageError` if the execution of that id belongs to another flow.
    """
    session = session_of(store)
    if id is not None and not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"flow {program.name!r}: the id of an execution is a string; got {id!r}")
    if id is not None:
        check_id(id, None)  # an earlier version took longer ones
    known: Stored | None = None if id is None else session.live.get(id)
    if known is not None and (known.may_run_again or (reuse == "new_after_end" and known.has_ended)):
        del session.live[known.runtime.id]  # its handles keep showing how it failed
        known = None
    if known is not None and (known.runtime.log is not None or known.runtime.program.name == program.name):
        known.reconfigure(
            program, shared, options,
            resources=resources, link=link, must_exist=must_exist, may_run=may_run, operator_map=operator_map,
            reuse=reuse, labels=labels,
        )  # fmt: skip
        return known.runtime
    runtime = make(program, shared, options, environment, id, resources=resources, link=link)
    stored = Stored(
        runtime,
        store,
        is_new=id is None,
        must_exist=must_exist,
        may_run=may_run,
        operator_map=operator_map,
        reuse=reuse,
        labels=labels,
    )
    stored.share(shared)
    runtime.durability, runtime.is_plain = stored, False
    session.live[runtime.id] = stored
    return runtime


def _origin(row: ExecutionRow) -> Origin:
    """What the trace of an execution begins with. A fork has copied the labels, and its callers did not make it."""
    return Origin(row.created, row.labels.get(TRACEPARENT) if row.forked_from is None else None)


def stored_of(runtime: ExecutionRuntime) -> Stored:
    """The `Stored` of a durable execution."""
    assert isinstance(runtime.durability, Stored)
    return runtime.durability
