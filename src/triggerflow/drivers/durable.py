"""The durable driver: like the local one, but nothing is done before it is on disk.

    receive -> append -> commit -> perform

The machine takes a record in at once, so that the next one is judged by a state that has it. What the record commands
is *held* until the store has it: chunks start, readers see items, and waiters get answers after the commit only. So
whatever anybody was told of an execution is on disk. Who looks into the handle of a running one (its state, its
status) sees what was taken in: conditions that are waited for have to, and what has been set can be read. Whoever tells
others awaits it (`Execution.async_committed`).

`Log` is what the driver has in place of the machine: it takes records, and answers with no command. The commands come
with the commit, one for all executions that have written something meanwhile (`durable.commit`).

If the store fails, or the process has to let go, the execution is *suspended* here: its chunks are cancelled, nothing
is recorded any more, and those who wait are told. On disk it stands as it was, and can go on anywhere.
"""

import asyncio
import contextlib
from collections.abc import Callable
from time import time
from typing import Any, Protocol

from .._core import commands, events
from .._core.errors import ExecutionSuspended, WrongLoopError
from .._core.machine import Machine
from .._core.runs import NOTHING
from .._core.state import RunChunk, RunState, Status
from .._core.timers import next_due
from ..stores.protocol import Append, ExecutionRow, NewRecord
from .local import LocalDriver, forget
from .ports import Host, Journal

#: How many records may wait for the disk before those who can wait do.
CROWD = 1024

#: What an execution tells its stream, its parent or its child: their records belong into the same commit.
_TOLD_AT_ONCE = frozenset(
    (
        commands.OpenInterrupt,
        commands.CloseInterrupt,
        commands.Answer,
        commands.WantPlaces,
        commands.ReturnPlaces,
        commands.GrantPlaces,
        commands.Publish,
    )
)

Encode = Callable[[events.Event, dict[str, bytes]], bytes]


class DurableHost(Host, Protocol):
    """The owner of one durable execution."""

    def suspended(self, why: BaseException) -> None:
        """The execution does not go on in this process."""
        ...

    def written(self) -> None:
        """Records are on disk, and what they command is done."""
        ...

    def at_once(self, command: commands.AnyCommand) -> bool:
        """What this command makes others record, which has to be in the same commit. Whether nothing is left to do."""
        ...


class Log:
    """One execution's way to its store: records that wait for the disk, and what they have commanded."""

    __slots__ = (
        "_create",
        "_encode",
        "_enqueue",
        "_held",
        "_journal",
        "_machine",
        "_payloads",
        "_queued",
        "_records",
        "_waiters",
        "_writing",
        "committed",
        "driver",
        "id",
        "items",
        "suspended",
    )

    def __init__(
        self,
        machine: Machine,
        id: str,
        journal: Journal,
        encode: Encode,
        enqueue: "Callable[[Log], None]",
        *,
        create: ExecutionRow | None = None,
    ) -> None:
        self.id = id
        self.driver: DurableDriver | None = None
        #: how many records and stream items are on disk
        self.committed = machine.state.records
        self.items = machine.state.stream
        #: why nothing is taken any more
        self.suspended: BaseException | None = None
        self._machine = machine
        self._journal = journal
        self._encode = encode
        self._enqueue = enqueue
        self._create = create
        self._queued = False
        self._records: list[NewRecord] = []
        self._payloads: dict[str, bytes] = {}
        self._held: list[commands.AnyCommand] = []
        self._writing: list[commands.AnyCommand] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def receive(self, event: events.Event) -> list[commands.AnyCommand]:
        """Take a record in, and hold back what it commands. Raises `PayloadError`, or what the machine raises;
        nothing has changed then."""
        if self.suspended is not None:
            raise ExecutionSuspended(f"execution {self.id} was suspended here: {self.suspended}") from self.suspended
        state = self._machine.state
        data = self._encode(event, self._payloads)
        items = state.stream
        answer = self._machine.receive(event)
        self._records.append(NewRecord(data, state.stream if state.stream != items else 0))
        if not self._queued:
            self._queued = True
            self._enqueue(self)
        self._journal.append(event)  # here and not by the driver: the next lines may take in further records
        for command in answer:
            if type(command) not in _TOLD_AT_ONCE or self.driver is None or not self.driver.host.at_once(command):
                self._held.append(command)
        return NOTHING

    @property
    def crowded(self) -> bool:
        """Whether so many records wait for the disk that who can should wait."""
        return len(self._records) > CROWD

    @property
    def clean(self) -> bool:
        """Whether everything that was taken in is on disk."""
        return self.committed == self._machine.state.records

    def take(self) -> Append:
        """What is to be written now."""
        records, self._records = self._records, []
        payloads, self._payloads = self._payloads, {}
        self._writing, self._held = self._held, []
        self._queued = False
        status, due = where_it_stands(self._machine)
        append = Append(
            execution=self.id,
            first=self.committed,
            records=records,
            payloads=payloads,
            status=status,
            due=due,
            at=time(),
            create=self._create,
        )
        self._create = None
        return append

    def written(self, append: Append) -> None:
        """It is on disk: now do what it has commanded."""
        self.committed += len(append.records)
        for record in reversed(append.records):
            if record.item:
                self.items = record.item
                break
        answer, self._writing = self._writing, []
        if self.driver is not None and self.suspended is None:
            self.driver.perform(answer)
        self._release()
        if self.driver is not None and self.suspended is None:
            self.driver.host.written()

    async def on_disk(self) -> None:
        """Wait until everything that was taken in is on disk. Raises why it cannot be."""
        if self.suspended is not None:
            raise self.suspended
        if not self.clean:
            loop = asyncio.get_running_loop()
            if self.driver is not None and self.driver.loop is not loop:
                raise WrongLoopError(f"execution {self.id} lives on another event loop; wait for it there")
            future = loop.create_future()
            self._waiters.append((self._machine.state.records, future))
            await future

    def suspend(self, why: BaseException) -> None:
        """Take nothing any more, and forget what is not written."""
        self.suspended = why
        self._records, self._held, self._writing = [], [], []
        self._release()

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for number, future in waiters:
            if future.done():
                continue
            if self.suspended is not None:
                future.set_exception(self.suspended)
            elif number <= self.committed:
                future.set_result(None)
            else:
                self._waiters.append((number, future))


class _Journaled:
    """The driver's journal: the log has the record there already."""

    def append(self, record: events.Event) -> None:
        pass


class DurableDriver(LocalDriver):
    """Drives one execution whose records go through a `Log`."""

    __slots__ = ("leaving", "log")

    host: DurableHost

    def __init__(self, machine: Machine, host: DurableHost, log: Log) -> None:
        super().__init__(machine, _Journaled(), host, receiver=log)
        self.log = log
        log.driver = self
        #: tasks that were told to stop when it was suspended
        self.leaving: list[asyncio.Task[None]] = []

    def start(self, event: events.Started) -> None:
        """Submit the start."""
        self.submit(event)

    async def submit_and_settle(self, event: events.Emitted | events.AwaitedAgain) -> bool:
        """Submit a signal and wait until it is on disk; then as the core says."""
        settled = await super().submit_and_settle(event)
        await self.log.on_disk()
        return settled

    def perform(self, answer: list[commands.AnyCommand]) -> None:
        """Do what was commanded, as far as it still stands: meanwhile a run may have ended, or been given up."""
        state = self.machine.state
        super().perform([it for it in answer if _stands(it, state)])

    def cancelled_from_outside(self, run: RunChunk) -> None:
        """A worker's task was cancelled by somebody else: the loop shuts down, and the execution outlives that."""
        if run.id in (self.machine.state.retracted or ()):
            run.handle.uncancel()
        elif self.machine.state.closing is None:
            self.suspend(
                ExecutionSuspended(
                    f"the task of chunk {run.node.name!r} of {self.host!r} was cancelled, as when a process ends; the "
                    "execution stands in its store and can go on"
                )
            )

    def lose(self, reason: str) -> None:
        """The loop is gone; the execution is not."""
        self.suspend(ExecutionSuspended(f"{self.host!r} was suspended: {reason}"))

    def suspend(self, why: BaseException) -> None:
        """Let go: cancel the chunks, record nothing any more, tell who waits."""
        if self.log.suspended is not None:
            return
        self.log.suspend(why)
        runs = [*self.machine.state.runs.values(), *(self.machine.state.retracted or {}).values()]
        with contextlib.suppress(RuntimeError):  # a closed loop cancels nothing any more
            for run in runs:
                if run.handle is not None:
                    run.handle.cancel()
                    self.leaving.append(run.handle)
            self.let_go()
        forget(self)
        self.host.suspended(why)


def _stands(command: commands.AnyCommand, state: RunState) -> bool:
    if isinstance(command, RunChunk):
        return command.id in state.runs
    if isinstance(command, commands.CancelRun):
        return command.run.id in state.runs or command.run.id in (state.retracted or ())
    return True


def where_it_stands(machine: Machine) -> tuple[Any, float | None]:
    """Status and next due time of an execution, for those who look into the store."""
    state = machine.state
    due = None
    if state.timers and state.status is Status.WAITING:
        due = next_due(state)
    return state.status.value, due
