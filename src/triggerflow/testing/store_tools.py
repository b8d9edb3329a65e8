"""What the conformance tests for stores are written with."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..stores.protocol import Append, ExecutionRow, NewRecord, StatusName

__all__ = ["ManualClock", "fields", "more", "new", "refused"]


class ManualClock:
    """A clock that only tests move. Call it for the time, in seconds since the epoch."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The current time of the clock."""
        return self.now

    def turn(self, seconds: float) -> None:
        """Move the clock forward by so many seconds, or back if negative."""
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


def more(
    id: str,
    first: int,
    *data: bytes,
    status: StatusName = "running",
    due: float | None = None,
    reopens: bool = False,
) -> Append:
    """An append of these records, the first of which has number `first`."""
    records = [NewRecord(each) for each in data]
    return Append(execution=id, first=first, records=records, status=status, due=due, at=2.0 + first, reopens=reopens)


@contextmanager
def refused(error: type[Exception], *words: str) -> Generator[None]:
    """Check that the body raises this error with a message that contains these words."""
    message = None
    try:
        yield
    except error as raised:
        message = str(raised)
    assert message is not None, f"no {error.__name__} was raised"
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} missing in the message: {message}"


def fields(struct: Any, **changes: Any) -> dict[str, Any]:
    """The fields of a struct by name, with some of them changed."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__} | changes
