"""What the tests of the contract of stores are written with."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from ..stores.protocol import Append, ExecutionRow, NewRecord, StatusName, Store


class ManualClock:
    """A clock that stands still until it is turned. Seconds since the epoch."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time it shows."""
        return self.now

    def turn(self, seconds: float) -> None:
        """Go forward, or back if negative."""
        self.now += seconds


def new(
    id: str,
    *data: bytes,
    flow: str = "flow",
    status: StatusName = "running",
    due: float | None = None,
    created: float = 1.0,
    parent: str | None = None,
    **more: Any,
) -> Append:
    """An append that creates an execution with these records."""
    row = ExecutionRow(id=id, flow=flow, definition="d1", created=created, updated=created, parent=parent)
    records = [NewRecord(each) for each in data]
    return Append(execution=id, first=0, records=records, status=status, due=due, at=created, create=row, **more)


def more(id: str, first: int, *data: bytes, status: StatusName = "running", due: float | None = None) -> Append:
    """An append of these records."""
    records = [NewRecord(each) for each in data]
    return Append(execution=id, first=first, records=records, status=status, due=due, at=2.0 + first)


@contextmanager
def refused(error: type[Exception], *words: str) -> Generator[None]:
    """The body has to raise this error, and its message to hold these words."""
    message = None
    try:
        yield
    except error as raised:
        message = str(raised)
    assert message is not None, f"nothing was refused, {error.__name__} was expected"
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in the message: {message}"


class StoreTests:
    """How a test opens the store under test."""

    #: seconds; what `open_store` gives its stores
    lease = 30.0

    def setup_method(self) -> None:
        """A new clock for each test, far from 0."""
        self.clock = ManualClock()

    def open_store(self) -> Store:
        """A store over the data of this test, not opened yet, whose clock is `self.clock`: each time another owner."""
        raise NotImplementedError

    async def lose(self, store: Store) -> None:
        """Make the owner of `store` dead, without closing it."""
        self.clock.turn(self.lease + 1)

    @asynccontextmanager
    async def two(self) -> AsyncGenerator[tuple[Store, Store]]:
        """Two owners of the same data."""
        async with self.open_store() as one, self.open_store() as other:
            assert one.owner != other.owner
            yield one, other


def fields(struct: Any, **changes: Any) -> dict[str, Any]:
    """What a struct holds, with some of it changed."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__} | changes
