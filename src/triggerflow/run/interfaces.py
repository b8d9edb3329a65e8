"""What the parts of a running execution need of each other: its driver, its journal, how its records are kept."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .._core.commands import AnyCommand
from .._core.errors import UsageError
from .._core.events import Event, Started
from .._core.state import RunChunk

if TYPE_CHECKING:
    from .runtime import ExecutionRuntime
    from .stream import RuntimeStream


class Driver(Protocol):
    """Performs the commands of one execution."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it works on."""
        ...

    def start(self, event: Started) -> None:
        """Take in the start, and perform what it commands."""
        ...

    def perform(self, commands: list[AnyCommand]) -> None:
        """Do what the core commands."""
        ...

    def current_run(self) -> "RunChunk | None":
        """The run whose chunk is being run by the task that asks; None in any other task."""
        ...

    def settled(self, number: int) -> Awaitable[bool]:
        """Wait for the end of the wait that began with this record; False if the execution ends before that."""
        ...

    async def without_permits(self, run: RunChunk, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait for something outside; the run gives up its permits meanwhile."""
        ...

    def on_loop_closed(self, reason: str) -> None:
        """The event loop is closed: nothing can run on it any more."""
        ...

    def stop(self) -> "list[asyncio.Task[None]]":
        """Cancel all chunks and timers, and record nothing; the tasks that were told to stop."""
        ...


class CommitLog(Protocol):
    """Where the records of a durable execution wait for their store, with the commands that they gave."""

    #: why nothing is taken any more, None as long as it is
    suspended: BaseException | None
    #: the number of the last stream item that is in the store
    items: int

    def encode(self, event: Event) -> bytes:
        """The record as it will be stored. Raises `PayloadError` or `ExecutionSuspended`; nothing has changed then."""
        ...

    def hold(self, record: bytes, commands: list[AnyCommand]) -> list[AnyCommand]:
        """Keep a record and its commands until both may be acted upon; the commands that may be performed at once."""
        ...

    @property
    def is_committed(self) -> bool:
        """Whether every record is in the store."""
        ...

    @property
    def is_crowded(self) -> bool:
        """Whether so many records wait for the store that chunks which put items should wait, too."""
        ...

    async def wait_committed(self) -> None:
        """Wait until every record is in the store. Raises why it cannot be."""
        ...


class Durability:
    """How the records of an execution are kept, and what follows from that. This one keeps them in memory only.

    A durable execution gives its own (`durable.stored.Stored`).
    """

    __slots__ = ()

    #: whether the execution goes on elsewhere when its event loop or its process ends
    outlives_loop = False
    #: whether stream items that are no longer in memory can be read again
    keeps_items = False

    async def open(self, runtime: "ExecutionRuntime") -> None:
        """Make the execution ready to be used here."""

    async def committed(self, runtime: "ExecutionRuntime") -> None:
        """Wait until everything that was recorded is kept."""

    def require_open(self, runtime: "ExecutionRuntime") -> None:
        """Raise `UsageError` unless a driver can be made here now."""

    def is_open(self, runtime: "ExecutionRuntime") -> bool:
        """Whether it is used in this process."""
        return True

    def on_loop_lost(self, runtime: "ExecutionRuntime", reason: str) -> None:
        """Its event loop ends, and it `outlives_loop`: stop running it here."""
        raise NotImplementedError

    async def release(self, runtime: "ExecutionRuntime", reason: str) -> None:
        """Stop running it here and give it back to its store."""
        raise UsageError(f"{runtime!r} has no store in which it could go on; cancel it, or save() it")

    def check_answer(self, runtime: "ExecutionRuntime", interrupt: Mapping[str, Any]) -> None:
        """Raise `PayloadError` if this answer to an interrupt cannot be kept."""

    def prepare_stream(self, runtime: "ExecutionRuntime", stream: "RuntimeStream") -> None:
        """Tell a new stream where older items are."""

    def on_closed(self, runtime: "ExecutionRuntime") -> None:
        """The execution has ended, and everybody who waited for that was woken."""

    async def new_child(
        self, runtime: "ExecutionRuntime", child: "NewChild", saved: Mapping[str, Any] | None, attempt: int
    ) -> "tuple[ExecutionRuntime, bool]":
        """The execution of a sub-flow, and whether it goes on from where it was; see `subflow`."""
        if saved is not None:
            return child.restored(saved), True
        return child.make(), False


class NewChild(Protocol):
    """How to make the execution of a sub-flow."""

    @property
    def id(self) -> str:
        """The id that it gets."""
        ...

    @property
    def path(self) -> str:
        """Its name within its parent."""
        ...

    def make(self) -> "ExecutionRuntime":
        """A new one."""
        ...

    def restored(self, saved: Mapping[str, Any]) -> "ExecutionRuntime":
        """The one that a saved parent has kept."""
        ...

    def stored(self, store: Any, id: str) -> "ExecutionRuntime":
        """The one of this id in a store, which may be new."""
        ...


IN_MEMORY = Durability()
