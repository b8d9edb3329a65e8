"""Interrupts outside the core: how a chunk opens one, how callers see it, and how its answer is checked.

The schema of an answer is available while its interrupt is open, also after a load.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from .._core.definition import OperatorKind
from .._core.errors import ExecutionClosed, PayloadError, UsageError
from .._core.events import ErrorInfo, Failed, Paused, Resumed
from .._core.interrupts import answerable, repeats
from .._core.machine import FINAL
from .._core.state import Interrupt, RunChunk
from ..build.contract import checker

if TYPE_CHECKING:
    from .runtime import ExecutionRuntime


class ChunkPaused(BaseException):
    """Raised by `pause_for` to end the chunk; carries the record. Like a cancellation it is not an error."""

    def __init__(self, event: Paused) -> None:
        super().__init__(f"waiting for interrupt {event.interrupt!r}")
        self.event = event


class StepWithoutValue(Exception):
    """The step of a sub-flow ends without a value; the driver records `event`."""

    def __init__(self, step: RunChunk, at: float, flow: str) -> None:
        text = f"flow {flow!r} ended without a result: an error route or skip_exceptions took a failure in it"
        super().__init__(text)
        error = ErrorInfo("NoResult", text, step.node.name)
        self.event = Failed(at, step.id, error, missing=True)


def describe_interrupt(interrupt: Interrupt) -> dict[str, Any]:
    """An interrupt as a dict, as callers see it; see `Execution.get_interrupt`."""
    return {
        "id": interrupt.id,
        "type": interrupt.type,
        "payload": interrupt.payload,
        "resume_event": interrupt.resume_event,
        "expires": interrupt.expires,
        "status": interrupt.status,
        "response": interrupt.response,
    }


def refuse_pause(run: RunChunk) -> None:
    """Raise `UsageError` if this run cannot pause here."""
    if run.node.kind is OperatorKind.MATCH_CASE:
        raise UsageError(
            f"condition {run.node.name!r} cannot pause; ask in a chunk before it, and let the condition look at the "
            "answer, which is the value of the step after that chunk"
        )
    own: Any = run.handle
    try:
        task: Any = asyncio.current_task()
    except RuntimeError:  # a sync chunk, in a thread without an event loop
        return
    if task is not None and isinstance(own, asyncio.Task) and task is not own:
        raise UsageError(
            f"chunk {run.node.name!r} calls pause_for() in a task of its own (asyncio.gather, TaskGroup, wait_for), "
            "which cannot end the chunk; call it in the chunk itself. To ask several questions at once, run one chunk "
            "for each: with batch(), with for_each(), or emit an event for each"
        )


def prepare_interrupt(runtime: "ExecutionRuntime", interrupt_id: str, schema: Any) -> str | None:
    """Prepare an interrupt that a chunk is about to open. Returns the name under which its schema is recorded.

    Raises `UsageError` if no caller can answer it, or if an interrupt of that id is open already.
    """
    if not runtime.answerable:
        raise UsageError(
            f"{runtime!r} was started by flow.async_start: no caller has its handle and could answer its pause_for; "
            "use execution = flow.create_execution() and execution.async_start(...)"
        )
    known = (runtime.machine.state.interrupts or {}).get(interrupt_id)
    if known is not None and known.status == "waiting":
        raise UsageError(f"{runtime!r}: interrupt {interrupt_id!r} is open already; give each its own interrupt_id")
    if schema is None:
        (runtime.schemas or {}).pop(interrupt_id, None)
        return None
    from ..build.annotations import resolve, user_names  # few questions have a schema

    schema = resolve(schema, f"{runtime!r}: the schema of interrupt {interrupt_id!r}", user_names())
    if runtime.durability.outlives_loop and runtime.program.types.name_of(schema) is None:
        raise PayloadError(
            f"{runtime!r}: the schema {schema!r} of interrupt {interrupt_id!r} cannot be recorded, so that answers "
            "would not be checked after a restart; register its class with flow.register_type, or use a builtin type"
        )
    if runtime.schemas is None:
        runtime.schemas = {}
    runtime.schemas[interrupt_id] = checker(schema, f"answer {interrupt_id}")
    return runtime.program.types.name_of(schema)


def admit(runtime: "ExecutionRuntime", event: Resumed) -> tuple[Interrupt, bool]:
    """Check an answer. Returns its interrupt, and whether the answer is new.

    An answer with a `request_id` that has answered the interrupt before is not new, also after the end of the
    execution. For a new answer, `event.value` is set to the checked value. Raises `UnknownInterrupt`,
    `AlreadyAnswered`, `InterruptExpired`, `ExecutionClosed` or `ContractError`.
    """
    state = runtime.machine.state
    interrupt = (state.interrupts or {}).get(event.interrupt)
    expired = interrupt is not None and interrupt.status == "expired"  # says more than that the execution has ended
    if state.status in FINAL and not expired and (interrupt is None or not repeats(interrupt, event)):
        raise ExecutionClosed(
            f"{runtime!r} has ended ({runtime.status()}) and accepts no answer to interrupt {event.interrupt!r}"
        )
    open_one = answerable(runtime.machine, event)
    if open_one is None:
        assert interrupt is not None
        return interrupt, False
    event.value = check_answer(runtime, open_one, event.value)
    return open_one, True


def check_answer(runtime: "ExecutionRuntime", interrupt: Interrupt, value: Any) -> Any:
    """The answer, checked by the schema of the interrupt and by the type of the event that it becomes.

    The answer to an interrupt of a sub-flow is checked there. Raises `ContractError`.
    """
    if interrupt.id in runtime.children:
        child, number = runtime.children[interrupt.id]
        return check_answer(child, (child.machine.state.interrupts or {})[number], value)
    check = (runtime.schemas or {}).get(interrupt.id)
    if check is None and interrupt.schema is not None:
        check = checker(runtime.program.types.named(interrupt.schema), f"answer {interrupt.id}")
    if check is not None:
        value = check(value)
    if interrupt.resume_event is None:
        return value
    as_event = runtime.program.signals.get(interrupt.resume_event)
    return value if as_event is None else as_event(value)


def is_checkable(runtime: "ExecutionRuntime", id: str) -> bool:
    """Whether an answer to this interrupt can be checked now: not while the sub-flow that asks is being opened."""
    interrupt = (runtime.machine.state.interrupts or {}).get(id)
    if interrupt is None or interrupt.status != "waiting" or not interrupt.holds:
        return True
    return id in runtime.children and is_checkable(*runtime.children[id])


def check_schemas(runtime: "ExecutionRuntime") -> None:
    """Raise `PayloadError` if the schema of an open interrupt could not be restored after a load."""
    interrupts = runtime.machine.state.interrupts or {}
    for id in runtime.schemas or ():
        if id in interrupts and interrupts[id].schema is None:
            raise PayloadError(
                f"the schema of interrupt {id!r} cannot be recorded; make it of builtin types and of classes that are "
                "registered with flow.register_type"
            )
