"""What the store is told of an execution when it is made, and what is read from that again."""

from typing import Any

import msgspec

from .._core.errors import StoreDamaged
from .._core.events import DECLARED, RULES
from ..run.options import Options
from ..run.program import Program
from ..stores.protocol import ExecutionRow


def first_row(id: str, program: Program, options: Options, parent: str | None, now: float) -> ExecutionRow:
    """The row of an execution that begins now."""
    return ExecutionRow(
        id=id,
        flow=program.name,
        definition=program.plan.definition.fingerprint,
        options=msgspec.json.encode({**options.to_dict(), "rules": RULES}),
        parent=parent,
        created=now,
        updated=now,
    )


def attempt_id(id: str, number: int) -> str:
    """The id of a sub-flow's execution: where one has failed, the next attempt of its step gets one of its own."""
    return id if number == 1 else f"{id}.{number}"


def waits_undeclared(row: ExecutionRow) -> bool:
    """Whether an execution was made before external events were declared: see `events.RULES`."""
    try:
        kept: Any = msgspec.json.decode(row.options)
        return kept.get("rules", 0) < DECLARED
    except (msgspec.DecodeError, TypeError, AttributeError) as error:
        raise StoreDamaged(f"the stored options of an execution cannot be read: {error}") from error


def read_options(data: bytes) -> Options:
    """The options that a row keeps. Raises `StoreDamaged`."""
    try:
        kept = msgspec.json.decode(data)
        return Options.from_dict(kept)
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise StoreDamaged(f"the stored options of an execution cannot be read: {error}") from error
