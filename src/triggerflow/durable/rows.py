"""What the store is told of an execution when it is made, and what is read from that again."""

import msgspec

from .._core.errors import StoreDamaged
from ..run.options import Options
from ..run.program import Program
from ..stores.protocol import ExecutionRow


def first_row(id: str, program: Program, options: Options, parent: str | None, now: float) -> ExecutionRow:
    """The row of an execution that begins now."""
    return ExecutionRow(
        id=id,
        flow=program.name,
        definition=program.plan.definition.fingerprint,
        options=msgspec.json.encode({name: getattr(options, name) for name in Options.__slots__}),
        parent=parent,
        created=now,
        updated=now,
    )


def attempt_id(id: str, number: int) -> str:
    """The id of a sub-flow's execution: where one has failed, the next attempt of its step gets one of its own."""
    return id if number == 1 else f"{id}.{number}"


def read_options(data: bytes) -> Options:
    """The options that a row keeps. Raises `StoreDamaged`."""
    try:
        kept = msgspec.json.decode(data)
        return Options(**{name: kept[name] for name in Options.__slots__ if name in kept})
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise StoreDamaged(f"the stored options of an execution cannot be read: {error}") from error
