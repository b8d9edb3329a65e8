"""The handle of a durable execution: everything of `Execution`, and its records are in a store.

It is *opened* with its first use: found in the store and claimed, or made there. From then on this process runs it,
until it ends, is suspended (the store failed, the loop ended, another owner took over) or is parked. A handle that was
let go of opens again with its next use.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from .._core import commands
from .._core.errors import ExecutionSuspended, SnapshotError, StoreError, UnknownExecution, UsageError
from .._core.machine import FINAL, Machine
from .._core.rarely import Rarely
from .._core.state import UNSET, RunChunk
from ..drivers.asyncio import LocalDriver
from ..run.execution import Execution
from ..run.journal import RingJournal
from ..run.options import Options
from ..run.program import Program
from ..run.shared import SharedData
from ..run.stream import RuntimeStream, StreamItem
from ..run.subflow import Link
from ..stores.protocol import FINAL_STATUSES, ExecutionRow, Store
from .acknowledged import AcknowledgedExecution
from .codec import encode
from .commit import StoreSession, session_of
from .data import DurableRuntimeData
from .driver import DurableDriver, Log
from .loading import Loaded, items, moved, write_snapshot
from .parking import with_sub_flows
from .past import Past
from .rows import attempt_id, first_row, read_options

logger = logging.getLogger("triggerflow")

#: After how many records a running execution keeps a snapshot.
SNAPSHOT_EVERY = 5000

NO_SNAPSHOT = (
    "%r keeps no snapshot (%s: %s). It goes on and its records are kept, but whoever takes it up replays all of them "
    "since the last one. A value was changed in place after it was recorded; replace it instead: state.set(key, value)"
)


class DurableExecution(AcknowledgedExecution):
    """One run of a flow that outlives its process. Made by `flow.create_execution(store=...)`.

    What is awaited is on disk when it returns: a signal (`async_emit`), an answer (`async_continue_with`), a result.
    What a reader sees was on disk before. Methods that do not wait (`emit`, `state.set`) are on disk with the next that
    do. Raises `StoreError` where the store fails; what is on disk stands then, and the next use tries again.
    """

    __slots__ = ("_must_exist", "_new", "_opened", "_operator_map", "_parent", "_snapshot_at",
                 "given_back", "lock", "session")  # fmt: skip

    def __init__(
        self,
        program: Program,
        shared: SharedData,
        options: Options,
        store: Store,
        id: str | None = None,
        *,
        resources: Mapping[str, Any] | None = None,
        link: Link | None = None,
        must_exist: bool = False,
        operator_map: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(program, shared, options, id, resources=resources, link=link)
        self.log = None
        self.session: StoreSession = session_of(store)
        #: held while it is opened or let go of
        self.lock = asyncio.Lock()
        #: whether its owner let go of it; suspended otherwise (the store failed), it is its owner's still
        self.given_back = False
        self._opened = False
        self._new = id is None
        self._snapshot_at = 0
        self._must_exist = must_exist
        self._operator_map = operator_map
        self._parent = None if link is None else link.parent.id

    #: whether its newest snapshot could not be written, which has been told then
    _snapshot_failed: Rarely[bool] = Rarely(False)

    # -- opening -----------------------------------------------------------------------------------------------------

    def asked_for(
        self,
        program: Program,
        shared: SharedData,
        options: Options,
        *,
        resources: Mapping[str, Any] | None = None,
        link: Link | None = None,
        must_exist: bool = False,
        operator_map: Mapping[str, str | None] | None = None,
    ) -> None:
        """Its id is asked for once more. While it is not open here, what it is asked for with takes effect.

        Raises `UsageError` if it belongs to another flow, or runs here under another definition of its flow.
        """
        if self.program.name != program.name:
            raise _of_another_flow(self.id, self.program.name, program.name)
        if self._opened or self.lock.locked():
            ours, theirs = self.program.plan.definition.fingerprint, program.plan.definition.fingerprint
            if ours != theirs and self.machine.state.status not in FINAL:
                raise UsageError(
                    f"{self!r} runs here under another definition of its flow; to move it to this one, "
                    "`await execution.async_suspend()` and resume it"
                )
            return
        self.program, self.shared, self.options, self._operator_map = program, shared, options, operator_map
        self._must_exist = self._must_exist and must_exist
        self._link = link or self._link
        if resources:
            self._resources = dict(resources)

    async def async_open(self) -> Self:
        """Find the execution in its store and go on with it, or make it there.

        Raises `UnknownExecution`, `ExecutionLeased` while another process runs it, `UsageError` if it belongs to
        another flow, `SnapshotError` if it cannot go on under the flow as it stands now, and `StoreError`.
        """
        async with self.lock:
            if not self._opened:
                await self._gone()
                await self._open()
                self._opened, self.given_back = True, False
                if self.machine.state.records and self.machine.state.status not in FINAL:
                    _ = self.driver  # what was running is issued again
        return self

    async def _gone(self) -> None:
        """Wait for the chunks of its last life here: what they still do must not mix with the next."""
        driver = self.log.driver if self.log is not None else None
        leaving = [task for task in driver.leaving if task is not asyncio.current_task()] if driver else []
        if leaving:
            _, staying = await asyncio.wait(leaving, timeout=self.options.deadline)
            if staying:
                raise UsageError(f"{self!r} was suspended here, and {len(staying)} of its chunks do not stop")

    async def _open(self) -> None:
        store = self.session.store
        row = None if self._new else await store.find(self.id)
        if row is None:
            if self._must_exist:
                raise UnknownExecution(f"there is no execution {self.id!r} in {store!r}")
            self._create()
        else:
            if row.flow != self.program.name:
                raise _of_another_flow(self.id, row.flow, self.program.name)
            await self._go_on(row)

    def _create(self) -> None:
        """Begin a new one, of which nothing is on disk yet."""
        self._value, self._new = UNSET, False
        self.session.keep_definition(self.program)
        self._begin_log(Machine(self.program.plan), create=first_row(self.id, self.program, self.options, self._parent))

    async def _go_on(self, row: ExecutionRow) -> None:
        store, program = self.session.store, self.program
        if row.status not in FINAL_STATUSES:
            row = await store.claim(self.id)
        try:
            loaded = await Past(program, self.shared, store).loaded(row, row.records)
            if row.status not in FINAL_STATUSES and row.definition != program.plan.definition.fingerprint:
                self.session.keep_definition(program)
                await self.session.write_definitions()
                try:
                    loaded, snapshot = moved(loaded, program.plan, program.types, self._operator_map)
                except SnapshotError as error:
                    raise SnapshotError(f"{self!r}: {error}") from error
                await store.put_snapshot(row.id, row.records, program.plan.definition.fingerprint, snapshot)
            self._value = loaded.value
            self.options = read_options(row.options)
            self._begin_log(loaded.machine)
            self.check_result()
        except BaseException:
            await store.release([row.id])
            raise

    def _begin_log(self, machine: Machine, create: ExecutionRow | None = None) -> None:
        self.machine = machine
        types, state = self.program.types, machine.state
        self.journal = RingJournal(self.options.journal_limit, self.journal.observers)
        self.journal.first = self._snapshot_at = state.records
        self.log = Log(
            machine,
            self.id,
            self.journal,
            lambda record, payloads: encode(record, types, state, payloads),
            self.session.enqueue,
            create=create,
        )
        if self.stream is not None and not self.stream.items:
            self.stream.rebase(state.stream)
            self.stream.older = self._older_items
            if state.status in FINAL:
                self.stream.end(self._why_ended())

    def make_driver(self) -> LocalDriver:
        """The driver; see `HostedExecution.make_driver`."""
        if self._new:  # an id that nobody can have is not looked for
            self._create()
            self._opened = True
        if not self._opened or self.log is None:
            raise UsageError(f"{self!r} is not open here; use its async methods, or `await execution.async_open()`")
        return DurableDriver(self.machine, self, self.log)

    # -- letting go --------------------------------------------------------------------------------------------------

    @property
    def here(self) -> bool:
        """Whether this process runs it now."""
        return self._opened and self.machine.state.status not in FINAL

    @property
    def root(self) -> "DurableExecution":
        """The execution itself, or for a sub-flow the outermost one around it."""
        parent = None if self._link is None else self._link.parent
        return parent.root if isinstance(parent, DurableExecution) else self

    def sub_flows(self) -> "list[DurableExecution]":
        """The executions of the sub-flows that it runs now."""
        return [child for child, number in self.children.values() if not number and isinstance(child, DurableExecution)]

    def let_go(self, why: ExecutionSuspended) -> None:
        """Stop running it here; whoever calls this tells the store."""
        self.given_back = True
        if isinstance(self.running, DurableDriver):
            self.running.suspend(why)
        else:
            self.suspended(why)

    async def async_suspend(self, reason: str = "its owner lets go of it") -> None:
        """Stop running it here, at once: chunks are cancelled, nothing is recorded; any process can go on with it."""
        if self.here:
            ids = with_sub_flows(self)
            self.let_go(ExecutionSuspended(f"{self!r} was suspended: {reason}"))
            await self.session.store.release(ids)

    def suspended(self, why: BaseException) -> None:
        """What the driver calls when the execution does not go on here."""
        self._opened, self.running = False, None
        for child in self.sub_flows():
            if isinstance(child.running, DurableDriver):
                child.running.suspend(why)
        self._children = None  # what they have asked is known again when they are opened
        parent = None if self._link is None else self._link.parent
        if parent is not None and isinstance(parent.running, DurableDriver):
            parent.running.suspend(why)  # its step has not failed: it waits for an end that is not told here
        self.shared.forget(self)
        self.tell_waiters(lambda: why)
        self.stream = None
        self._tell_keeper()

    def closed(self, close: commands.Close, error: BaseException | None) -> None:
        """The execution has ended; see `HostedExecution.closed`."""
        super().closed(close, error)
        self._tell_keeper()

    def written(self) -> None:
        """See `drivers.durable.DurableHost.written`."""
        if self.machine.state.records - self._snapshot_at >= SNAPSHOT_EVERY:
            self._snapshot_at = self.machine.state.records
            self.session.background(self._keep_snapshot())
        self._tell_keeper()

    def _tell_keeper(self) -> None:
        if self.session.keeper is not None:
            self.session.keeper(self)

    async def _keep_snapshot(self) -> None:
        """A snapshot bounds what a recovery has to replay; it is a cache, and its failure is none."""
        machine, log, types = self.machine, self.log, self.program.types
        number, definition = machine.state.records, machine.plan.definition.fingerprint
        try:
            data = write_snapshot(Loaded(machine, self._value), types)
        except Exception as error:  # a class of the user's may raise anything when it is written
            if not self._snapshot_failed:
                self._snapshot_failed = True
                logger.warning(NO_SNAPSHOT, self, type(error).__name__, error)
            return
        self._snapshot_failed = False
        with suppress(StoreError, ExecutionSuspended):
            if log is not None:
                await log.on_disk()
                await self.session.store.put_snapshot(self.id, number, definition, data)

    # -- what the driver calls ---------------------------------------------------------------------------------------

    def invoke(self, run: RunChunk) -> Any:
        """Call the handler of a run."""
        assert self.log is not None
        return self.program.invokers[run.node.index](DurableRuntimeData(self, run, self.log))

    def at_once(self, command: commands.AnyCommand) -> bool:
        """See `drivers.durable.DurableHost.at_once`."""
        if isinstance(command, commands.Publish):
            if self._link is not None:
                self._link.publish(command.item, command.path)
            return False
        self.notice(command)
        return True

    def _tell_interrupt(self, action: str, interrupt: dict[str, Any]) -> None:
        # Refused by the stream, an answer would be called a stream item.
        self.program.types.pack(interrupt["response"], f"the answer to interrupt {interrupt['id']!r} of {self!r}")
        super()._tell_interrupt(action, interrupt)

    def publish(self, number: int, item: Any, path: str) -> None:
        """Hand an item to the readers; the parent has been told with the record."""
        if self.stream is None:
            self.stream = self._new_stream(number - 1)
        self.stream.publish(number, item, path)

    async def new_child(
        self,
        program: Program,
        shared: SharedData,
        options: Options,
        id: str,
        *,
        saved: Mapping[str, Any] | None,
        attempt: int,
        resources: Mapping[str, Any],
        link: Link,
        make: Callable[..., Execution],
    ) -> tuple[Execution, bool]:
        """The execution of a sub-flow: in the same store, under its own id. One that an earlier attempt has made goes
        on; where that one failed, and the step is tried again, the attempt gets a new one."""
        number = 1
        while True:
            child = durable_execution(program, shared, options, self.session.store, attempt_id(id, number),
                                      resources=resources, link=link)  # fmt: skip
            self.children[link.path] = (child, "")  # what it asks for while it is opened is answered there
            try:
                await child.async_open()
            except (StoreError, SnapshotError, UsageError) as error:  # that is no failure of the step
                del self.children[link.path]
                why = ExecutionSuspended(f"{self!r} was suspended: its sub-flow cannot be opened: {error}")
                why.__cause__ = error
                if isinstance(self.running, DurableDriver):
                    self.running.suspend(why)  # it is its owner's still, who may try again
                raise
            known = child.machine.state.started
            if not known or number >= attempt or child.get_status() not in ("failed", "cancelled"):
                self._tell_keeper()  # what goes on may wait already, so that nothing is written that would tell
                return child, known
            number += 1

    # -- what has to wait for the store ------------------------------------------------------------------------------

    def begin(self, value: Any = UNSET) -> None:
        """Start it, if nobody did; see `HostedExecution.begin`."""
        check = self.program.contract.initial_input
        if self._value is not UNSET and value is not UNSET and check is not None:
            value = check(value)  # the recorded one was checked before
        super().begin(value)

    @property
    def has_ended(self) -> bool:
        """Whether it takes nothing any more, and that is on disk."""
        return super().has_ended and (self.log is None or self.log.clean)

    def ended(self, timeout: float | None = None) -> "asyncio.Future[None] | None":
        """See `HostedExecution.ended`. Raises why it was suspended here, if it was."""
        if self.log is not None and self.log.suspended is not None:
            raise self.log.suspended
        return super().ended(timeout)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it lives on: until its last record is on disk."""
        log, driver = self.log, self.running
        if log is not None and driver is not None and not log.clean and log.suspended is None:
            return driver.loop
        return super().loop

    def outcome(self, timeout: float | None = None, then: str = "it goes on running") -> Any:
        """See `HostedExecution.outcome`."""
        if self.log is not None and self.log.suspended is not None:
            raise self.log.suspended
        return super().outcome(timeout, then)

    async def async_cancel(self, reason: str = "cancelled by its owner") -> None:
        """See `Execution.async_cancel`."""
        if self._link is not None and not self._opened:
            return  # suspended with its parent: it is not ended, and the parent's step was not cancelled
        await self._written(super().async_cancel(reason))

    def _begin_reading(self, value: Any) -> Awaitable[None]:
        return self._open_and_read(value)

    async def _open_and_read(self, value: Any) -> None:
        await self.async_open()
        begun = super()._begin_reading(value)
        if begun is not None:
            await begun

    def _new_stream(self, last: int | None = None) -> RuntimeStream:
        log = self.log
        stream = RuntimeStream(self.options.stream_history, last if last is not None else log.items if log else 0)
        stream.older = self._older_items
        if log is not None and log.clean and self.machine.state.status in FINAL:
            stream.end(self._why_ended())
        return stream

    async def _older_items(self, after: int) -> list[StreamItem]:
        return await items(self.session.store, self.id, self.program.types, after)


def durable_execution(
    program: Program, shared: SharedData, options: Options, store: Store, id: str | None = None, **details: Any
) -> DurableExecution:
    """The handle of an execution; of one that has a handle in this process it is the same.

    Raises `UsageError` if that is of another flow.
    """
    session = session_of(store)
    if id is not None and not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"flow {program.name!r}: the id of an execution is a string; got {id!r}")
    known: DurableExecution | None = None if id is None else session.live.get(id)
    if known is not None and (known.log is not None or known.program.name == program.name):
        known.asked_for(program, shared, options, **details)
        return known
    execution = DurableExecution(program, shared, options, store, id, **details)
    session.live[execution.id] = execution
    return execution


def _of_another_flow(id: str, owner: str, flow: str) -> UsageError:
    return UsageError(f"execution {id!r} belongs to flow {owner!r}, and this is flow {flow!r}")
