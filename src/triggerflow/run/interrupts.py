"""What is asked of an answer: the schema of its interrupt, known as long as that is open, also after a load."""

from typing import TYPE_CHECKING, Any

from .._core.errors import InternalError, PayloadError, UsageError
from .._core.events import Resumed
from .._core.interrupts import answerable, repeats
from .._core.machine import FINAL
from .._core.state import Interrupt
from ..build.contract import checker

if TYPE_CHECKING:
    from .runtime import HostedExecution


def expect_answer(execution: "HostedExecution", interrupt_id: str, schema: Any) -> str | None:
    """Prepare for an interrupt that a chunk is about to open; the name under which its schema is recorded.

    Raises `UsageError` if nobody could answer, or if it is open already.
    """
    if not execution.answerable:
        raise UsageError(
            f"{execution!r} was started by flow.async_start, so that nobody could answer its pause_for; "
            "use execution = flow.create_execution() and execution.async_start(...)"
        )
    known = (execution.machine.state.interrupts or {}).get(interrupt_id)
    if known is not None and known.status == "waiting":
        raise UsageError(f"{execution!r}: interrupt {interrupt_id!r} is open already; give each its own interrupt_id")
    if schema is None:
        (execution.schemas or {}).pop(interrupt_id, None)
        return None
    if execution.schemas is None:
        execution.schemas = {}
    execution.schemas[interrupt_id] = checker(schema, f"answer {interrupt_id}")
    return execution.program.types.name_of(schema)


def admit(execution: "HostedExecution", event: Resumed) -> tuple[Interrupt, bool]:
    """The interrupt that an answer is for, and whether the answer is new: the same request again is none, also after
    the end. A new one has been checked, and is in the event as it shall be taken. Raises where it is refused."""
    state = execution.machine.state
    interrupt = (state.interrupts or {}).get(event.interrupt)
    if interrupt is None or (state.status in FINAL and not repeats(interrupt, event)):
        execution.submit(event)  # which says what is wrong
        raise InternalError(f"{execution!r} took an answer to interrupt {event.interrupt!r}, which it does not have")
    if answerable(execution.machine, event) is None:
        return interrupt, False
    event.value = check_answer(execution, interrupt, event.value)
    return interrupt, True


def check_answer(execution: "HostedExecution", interrupt: Interrupt, value: Any) -> Any:
    """The answer, checked by the schema that it was asked for with, and as the event that it becomes; in the sub-flow
    that asked, if one did. Raises `ContractError`."""
    if interrupt.id in execution.children:
        child, number = execution.children[interrupt.id]
        return check_answer(child, (child.machine.state.interrupts or {})[number], value)
    check = (execution.schemas or {}).get(interrupt.id)
    if check is None and interrupt.schema is not None:
        check = checker(execution.program.types.named(interrupt.schema), f"answer {interrupt.id}")
    if check is not None:
        value = check(value)
    return value if interrupt.resume_event is None else execution.checked(interrupt.resume_event, value)


def check_schemas(execution: "HostedExecution") -> None:
    """Raise `PayloadError` if an open interrupt has a schema that nobody could find again after a load."""
    interrupts = execution.machine.state.interrupts or {}
    for id in execution.schemas or ():
        if id in interrupts and interrupts[id].schema is None:
            raise PayloadError(
                f"the schema of interrupt {id!r} cannot be recorded; make it of builtin types and of classes that are "
                "registered with flow.register_type"
            )
