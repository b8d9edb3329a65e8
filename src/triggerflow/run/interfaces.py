"""The interfaces between the parts of a running execution: its driver, its commit log, how its records are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .._core.commands import AnyCommand
from .._core.errors import MissingResource, UsageError
from .._core.events import Event, Started
from .._core.state import BlockInstance, RunChunk

if TYPE_CHECKING:
    from .actions import Action
    from .runtime import ExecutionRuntime
    from .stream import RuntimeStream


class Driver(Protocol):
    """Performs the commands of one execution."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop on which it works."""
        ...

    def start(self, event: Started) -> None:
        """Record the start, and perform the commands that follow from it."""
        ...

    def perform(self, commands: list[AnyCommand]) -> None:
        """Perform the commands of the core, in order."""
        ...

    def hurry(self) -> None:
        """Start the runs that may start now, without waiting for the next turn of the loop. For a caller that is about
        to wait."""
        ...

    def current_run(self) -> RunChunk | None:
        """The run whose chunk is executed by the calling task; None in any other task."""
        ...

    def settled(self, number: int) -> Awaitable[bool]:
        """Wait until the core ends the wait that began with record `number`; False if the execution ends before."""
        ...

    async def without_permits(self, run: RunChunk, wait: Callable[[], Awaitable[None]]) -> None:
        """Await `wait()`; the run gives up its permits meanwhile."""
        ...

    def on_loop_closed(self, reason: str) -> None:
        """End or suspend the execution, because its event loop is closed and can run nothing more."""
        ...

    def stop(self) -> dict[asyncio.Task[None], str]:
        """Cancel all chunks and timers, and record nothing. Returns the tasks that were cancelled, with a description
        of what each of them runs."""
        ...


class CommitLog(Protocol):
    """The buffer of a durable execution: records that are not in the store yet, with the commands that they gave."""

    #: the reason why no record is accepted any more; None while records are accepted
    suspended: BaseException | None
    #: the number of the last stream item that is in the store
    items: int

    def encode(self, event: Event) -> bytes:
        """The record as it will be stored. Raises `PayloadError` or `ExecutionSuspended` before anything changes."""
        ...

    def hold(self, record: bytes, commands: list[AnyCommand]) -> list[AnyCommand]:
        """Buffer a record and its commands until the record is in the store.

        Returns the commands that may be performed at once.
        """
        ...

    @property
    def is_committed(self) -> bool:
        """Whether every record is in the store."""
        ...

    @property
    def is_crowded(self) -> bool:
        """Whether too many records wait for the store: chunks that put items then wait, too."""
        ...

    def touch(self) -> Awaitable[None]:
        """Commit what belongs to the execution besides its records, also if it has no new record; wait for it."""
        ...

    async def wait_committed(self) -> None:
        """Wait until every record is in the store. Raises the error of the store, or the reason of the suspension."""
        ...


class Origin(NamedTuple):
    """The origin of an execution's trace: the time of creation, and the trace context of the creator."""

    created: float
    traceparent: str | None


class Durability:
    """How the records of an execution are stored, and what depends on that. This class stores them in memory only.

    Durable executions use the subclass `durable.stored.Stored`.
    """

    __slots__ = ()

    #: whether the execution can continue elsewhere after its event loop or its process has ended
    outlives_loop = False
    #: whether stream items that are no longer in memory can be read again
    keeps_items = False
    #: for traces; None in memory, and before the execution is open
    origin: Origin | None = None

    async def open(self, runtime: ExecutionRuntime) -> None:
        """Make the execution ready for use in this process."""

    async def committed(self, runtime: ExecutionRuntime) -> None:
        """Wait until every record is in the store."""

    def is_only_here(self, runtime: ExecutionRuntime) -> bool:
        """Whether no other process can run the execution or ask for it: it is in no store yet, nor can it be."""
        return True

    async def act(self, runtime: ExecutionRuntime, action: Action, arguments: tuple[Any, ...]) -> Any:
        """Perform an action for a caller, in whichever process the execution runs. Only if it `outlives_loop`."""
        raise NotImplementedError

    def require_open(self, runtime: ExecutionRuntime) -> None:
        """Raise `UsageError` unless a driver may be made in this process now."""

    def is_open(self, runtime: ExecutionRuntime) -> bool:
        """Whether the execution is in use in this process."""
        return True

    def runs_elsewhere(self, runtime: ExecutionRuntime) -> bool:
        """Whether another process runs the execution, and this one only shows it."""
        return False

    def lacks_owner(self, runtime: ExecutionRuntime) -> bool:
        """Whether the execution was last seen without a process that runs it."""
        return False

    def on_loop_lost(self, runtime: ExecutionRuntime, reason: str) -> None:
        """Stop running the execution in this process, because its event loop ends. Only if it `outlives_loop`."""
        raise NotImplementedError

    async def release(self, runtime: ExecutionRuntime, reason: str) -> None:
        """Stop running the execution in this process and give it back to its store. Raises `UsageError` in memory."""
        raise UsageError(f"{runtime!r} has no store and would be lost; cancel() it, or save() it first")

    async def alone(
        self, runtime: ExecutionRuntime, begun: RunChunk | BlockInstance, call: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Begin a run, or the pull of a source, as the only suspect of this process, and await it. Only if it
        `outlives_loop`."""
        raise NotImplementedError

    def lacks_resource(self, runtime: ExecutionRuntime, error: MissingResource) -> bool:
        """A chunk needs a resource that this process lacks. Returns True if the execution was suspended because of
        that, and left to a process that has it; False if the chunk fails."""
        return False

    def check_answer(self, runtime: ExecutionRuntime, interrupt: Mapping[str, Any]) -> None:
        """Raise `PayloadError` if this answer to an interrupt cannot be stored."""

    def prepare_stream(self, runtime: ExecutionRuntime, stream: RuntimeStream) -> None:
        """Connect a new stream with the store that has its older items."""

    def on_closed(self, runtime: ExecutionRuntime) -> None:
        """The execution has ended, and all its callers and readers were woken."""

    async def new_child(
        self, runtime: ExecutionRuntime, child: NewChild, saved: Mapping[str, Any] | None, attempt: int
    ) -> tuple[ExecutionRuntime, bool]:
        """Make the execution of a sub-flow. Also returns whether it continues an earlier execution; see `subflow`."""
        if saved is not None:
            return child.restored(saved), True
        return child.make(), False


class NewChild(Protocol):
    """Makes the execution of a sub-flow."""

    @property
    def id(self) -> str:
        """The id of the execution."""
        ...

    @property
    def path(self) -> str:
        """The path of the sub-flow within its parent."""
        ...

    def make(self) -> ExecutionRuntime:
        """A new execution."""
        ...

    def restored(self, saved: Mapping[str, Any]) -> ExecutionRuntime:
        """The execution from the snapshot of its parent."""
        ...

    def stored(self, store: Any, id: str) -> ExecutionRuntime:
        """The execution with this id in a store; it may be new."""
        ...


IN_MEMORY = Durability()
