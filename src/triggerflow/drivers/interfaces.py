"""What a driver needs from whoever owns the execution: to call user code, and to tell observers."""

from collections.abc import Awaitable
from typing import Any, Protocol

from .._core.commands import AnyCommand, Close
from .._core.events import Event, Paused
from .._core.state import RunChunk


class ChunkPaused(BaseException):
    """Raised by `pause_for` through the chunk, to end it; carries the record. Like a cancellation it is no error."""

    def __init__(self, event: Paused) -> None:
        super().__init__(f"waiting for interrupt {event.interrupt!r}")
        self.event = event


class Host(Protocol):
    """The owner of one execution."""

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        """Call the handler of this run."""
        ...

    def retry_delay(self, run: RunChunk, error: BaseException) -> float | None:
        """In how many seconds the policy of this chunk tries again after this error; None if it does not."""
        ...

    @property
    def deadline(self) -> float:
        """How long chunks that are told to stop have for their clean-up, in seconds."""
        ...

    def publish(self, number: int, item: Any, path: str) -> None:
        """Hand an item to the readers of the stream."""
        ...

    def notice(self, command: AnyCommand) -> None:
        """Something worth telling an observer; nothing has to be done."""
        ...

    def closing(self) -> None:
        """Chunks are being stopped; nothing shall hold them up."""
        ...

    def closed(self, close: Close, error: BaseException | None) -> None:
        """The execution has ended; `error` is the exception that a failed chunk raised."""
        ...


class Journal(Protocol):
    """Where records go."""

    def append(self, record: Event, /) -> None:
        """Add the next record."""
        ...


class Receiver(Protocol):
    """Who takes records in: the machine, or a log that holds its commands back."""

    def receive(self, event: Event) -> list[AnyCommand]:
        """Take one record and say what to do now. Raises what `Machine.receive` raises, and `PayloadError`."""
        ...
