"""The records of a durable execution that wait for the commit.

    receive -> append -> commit -> perform

The machine receives a record at once, so that the state for the next record includes it. The commands that the machine
returns are *held* until the record is in the store: chunks start, readers get items and waiters are woken only after
the commit. So every effect that the outside can see has its record in the store. Reads on a handle may show state that
is not committed yet; `async_committed` waits for that.

One commit takes the records of all executions (`commit`). If the store fails, or the process has to release the
execution, it is *suspended* here: its chunks are cancelled, nothing more is recorded, and waiters get the reason. The
store is not changed by that, and the execution can continue in any process.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..._core import commands, events
from ..._core.errors import ExecutionSuspended, WrongLoopError
from ..._core.events import Resumed
from ..._core.machine import Machine
from ..._core.state import Interrupt, RunChunk, RunState, Status, StatusName
from ..._core.timers import next_due
from ...stores.protocol import FINAL_STATUSES, Append, ExecutionRow, NewRecord, Reply
from ..format.questions import asked_here, why_ended

if TYPE_CHECKING:
    from .shared import StoredShared

#: If more records than this wait for the store, a chunk that puts a stream item has to wait for the commit.
MAX_UNCOMMITTED = 1024

#: Commands by which an execution changes its stream, its parent or a sub-flow. They are performed before the commit, so
#: that the records of both executions are in the same commit.
_SAME_COMMIT = frozenset(
    (
        commands.OpenInterrupt,
        commands.CloseInterrupt,
        commands.Answer,
        commands.TakenBack,
        commands.CheckResult,
        commands.RequestPermits,
        commands.ReturnPermits,
        commands.GrantPermits,
        commands.Publish,
    )
)
_ABOUT_QUESTIONS = (commands.OpenInterrupt, commands.CloseInterrupt)
_NOTHING: list[commands.AnyCommand] = []

Encode = Callable[[events.Event, dict[str, bytes]], bytes]


class Owner(Protocol):
    """The durable execution that a buffer belongs to (`stored.Stored`)."""

    @property
    def root_id(self) -> str:
        """The id of the outermost execution. Its records and those of all its sub-flows are committed together."""
        ...

    #: the shared data as the execution sees it; None for a sub-flow, which has a copy of its own
    shared: "StoredShared | None"

    def enqueue(self, buffer: "CommitBuffer") -> None:
        """Called when the buffer gets its first record: the next commit has to include it."""
        ...

    def perform(self, held: list[commands.AnyCommand]) -> None:
        """Perform these commands. Their records are in the store."""
        ...

    def perform_before_commit(self, command: commands.AnyCommand) -> bool:
        """Perform a command that adds a record to a parent or a sub-flow: both records need the same commit.

        Returns False if the command also has to be performed after the commit."""
        ...

    def written(self, buffer: "CommitBuffer") -> None:
        """Called after a commit of this buffer, when the commands of its records were performed."""
        ...

    def replied(self, replies: Sequence[Reply]) -> None:
        """Called after a commit that has stored these replies."""
        ...

    def suspend(self, why: BaseException) -> None:
        """Stop the execution in this process, because of `why`."""
        ...

    def end_sub_flows(self) -> None:
        """Called before a commit. If the execution has ended, its sub-flows that are still closing end now."""
        ...

    async def leftovers(self) -> list[Append]:
        """The appends that end the sub-flows of steps that have ended, if these sub-flows are only in the store.

        Raises `StoreError`."""
        ...

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        ...

    def question(self, interrupt: Interrupt) -> bytes:
        """An open interrupt as the store lists it."""
        ...

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop on which the execution runs; None if it does not run."""
        ...


class CommitBuffer:
    """The records of one execution that wait for the commit, and the commands that belong to them."""

    __slots__ = (
        "_asked",
        "_create",
        "_encode",
        "_held",
        "_items_then",
        "_machine",
        "_numbered",
        "_payloads",
        "_queued",
        "_records",
        "_replies",
        "_replying",
        "_waiters",
        "_writing",
        "commits",
        "committed",
        "due",
        "has_steps",
        "id",
        "is_writing",
        "items",
        "owner",
        "status",
        "stored_bytes",
        "suspended",
    )

    def __init__(
        self,
        machine: Machine,
        id: str,
        encode: Encode,
        owner: Owner,
        *,
        create: ExecutionRow | None = None,
        has_steps: bool = False,
    ) -> None:
        self.id = id
        self.owner = owner
        #: whether steps of its flow run other flows
        self.has_steps = has_steps
        #: how many records and stream items are in the store
        self.committed = machine.state.records
        self.items = machine.state.stream
        #: status and next due time of the execution in the store; None before it is created there
        self.status: StatusName | None = None
        self.due: float | None = None
        if create is None:
            self.status, self.due = status_and_due(machine)
        #: how many bytes this buffer has received as records, and has committed as payloads
        self.stored_bytes = 0
        #: why the execution was suspended; None if it was not
        self.suspended: BaseException | None = None
        self._machine = machine
        self._encode = encode
        self._create = create
        self._queued = False
        #: the number of the newest stream item that was added to this buffer
        self._numbered = machine.state.stream
        #: what `items` is after the commit that is under way
        self._items_then = machine.state.stream
        #: how many commits of this buffer have succeeded, and whether one is under way
        self.commits = 0
        self.is_writing = False
        #: the ids of interrupts that were opened or closed since the last commit
        self._asked: dict[Any, None] = {}
        self._records: list[NewRecord] = []
        #: replies to requests for the next commit, and how many of them the present one stores
        self._replies: list[Reply] = []
        self._replying = 0
        self._payloads: dict[str, bytes] = {}
        self._held: list[commands.AnyCommand] = []
        self._writing: list[commands.AnyCommand] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def encode(self, event: events.Event) -> bytes:
        """Encode a record for the store. Raises `PayloadError` or `ExecutionSuspended`; the state has not changed
        then."""
        if self.suspended is not None:
            raise ExecutionSuspended(f"execution {self.id} was suspended here: {self.suspended}") from self.suspended
        if type(event) is Resumed:
            self._asked[event.interrupt] = None
        return self._encode(event, self._payloads)

    def hold(self, record: bytes, commands: list[commands.AnyCommand]) -> list[commands.AnyCommand]:
        """Hold a record and its commands until the commit. Returns no commands: the driver must not perform them
        before."""
        number = self._machine.state.stream
        self.stored_bytes += len(record)
        self._records.append(NewRecord(record, 0 if number == self._numbered else number))
        self._numbered = number
        if not self._queued:  # hot path: `_enqueue`, inlined
            self._queued = True
            self.owner.enqueue(self)
        for command in commands:
            if type(command) not in _SAME_COMMIT:
                self._held.append(command)
                continue
            if isinstance(command, _ABOUT_QUESTIONS):
                self._asked[command.interrupt.id] = None
            if not self.owner.perform_before_commit(command):
                self._held.append(command)
        return _NOTHING

    def reply(self, reply: Reply) -> None:
        """Store a reply to a request, in the same commit as the records that the request has caused."""
        if self.suspended is None:
            self._replies.append(reply)
            self._enqueue()

    def list_questions(self) -> None:
        """Add all open questions to the next commit, which happens also if there are no records."""
        self._asked.update(dict.fromkeys(asked_here(self._machine.state)))
        self._enqueue()

    def _enqueue(self) -> None:
        if not self._queued:
            self._queued = True
            self.owner.enqueue(self)

    def touch(self) -> "asyncio.Future[None]":
        """See `CommitLog.touch`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.suspended is not None:
            future.set_exception(self.suspended)
        else:
            self._waiters.append((self._machine.state.records, future))
            self._enqueue()
        return future

    def _questions(self, ended: bool) -> dict[str, bytes | None]:
        """The questions that were opened and closed since the last commit."""
        state = self._machine.state
        asked, self._asked = self._asked, {}
        interrupts = state.interrupts or {}
        if ended:
            asked.update(dict.fromkeys(asked_here(state)))
        found: dict[str, bytes | None] = {}
        for id in asked:
            interrupt = interrupts.get(id)
            if interrupt is None or interrupt.status != "waiting" or ended:
                found[str(id)] = None
            elif not interrupt.holds:
                found[str(id)] = self.owner.question(interrupt)
        return found

    @property
    def is_crowded(self) -> bool:
        """Whether more than `MAX_UNCOMMITTED` records wait for the store: chunks that put items have to wait."""
        return len(self._records) > MAX_UNCOMMITTED

    @property
    def is_committed(self) -> bool:
        """Whether every record and every reply is in the store."""
        return self.committed == self._machine.state.records and not (self._replies or self._replying)

    def take(self) -> Append:
        """Return the buffered records as one `Append` for the next commit, and empty the buffer."""
        records, self._records = self._records, []
        payloads, self._payloads = self._payloads, {}
        self._writing, self._held = self._held, []
        self._items_then = self._numbered
        self._queued, self.is_writing = False, True
        status, due = status_and_due(self._machine)
        ended = status in FINAL_STATUSES
        append = Append(
            execution=self.id,
            first=self.committed,
            records=records,
            payloads=payloads,
            status=status,
            due=due,
            at=self.owner.now(),
            create=self._create,
        )
        self._create = None
        if self._replies:
            append.replies, self._replies = self._replies, []
            self._replying = len(append.replies)
        if ended:
            append.error = why_ended(self._machine.state)
        if self._asked or (ended and self._machine.state.asking):
            append.questions = self._questions(ended)
        shared = self.owner.shared
        if shared is not None and shared.has_part:
            shared.complete(append)
        return append

    def written(self, append: Append) -> None:
        """Called when the append was committed: perform the commands of its records, and wake waiters."""
        self.committed += len(append.records)
        self.commits += 1
        self.is_writing = False
        if append.replies:
            self._replying = 0
            self.owner.replied(append.replies)
        self.status, self.due, self.items = append.status, append.due, self._items_then
        if append.payloads:
            self.stored_bytes += sum(map(len, append.payloads.values()))
        held, self._writing = self._writing, []
        if held and self.suspended is None:
            state = self._machine.state
            # A later record of this append, or one that came during the commit, may have ended or abandoned runs.
            if len(append.records) > 1 or state.records != self.committed:
                held = [it for it in held if _is_due(it, state)]
            self.owner.perform(held)
        if self._waiters:
            self._wake()
        if self.suspended is None:
            self.owner.written(self)

    async def wait_committed(self) -> None:
        """Wait until every record is in the store.

        Raises the reason if the execution was suspended, and `WrongLoopError` on another event loop."""
        if self.suspended is not None:
            raise self.suspended.with_traceback(None)
        if not self.is_committed:
            loop = asyncio.get_running_loop()
            if self.owner.loop() not in (None, loop):
                raise WrongLoopError(f"execution {self.id} runs on another event loop; wait for it there")
            future = loop.create_future()
            self._waiters.append((self._machine.state.records, future))
            await future

    def suspend(self, why: BaseException) -> None:
        """Accept no more records, drop those that are not committed, and wake waiters with the reason."""
        self.suspended = why
        self._records, self._held, self._writing, self._replies, self._replying = [], [], [], [], 0
        self._wake()

    def _wake(self) -> None:
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


def _is_due(command: commands.AnyCommand, state: RunState) -> bool:
    """Whether a held command still applies: its run has not ended, and was not abandoned."""
    if isinstance(command, RunChunk):
        return command.id in state.runs
    if isinstance(command, commands.CancelRun):
        return command.run.id in state.runs or command.run.id in (state.retracted or ())
    return True


def status_and_due(machine: Machine) -> tuple[Any, float | None]:
    """The status and the next due time for the row of an execution in the store."""
    state = machine.state
    return state.status.value, next_due(state) if state.status is Status.WAITING else None
