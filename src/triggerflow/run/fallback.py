"""What is used in place of the value of a chunk that has failed for good: its `fallback`.

A fallback runs within the run that has failed, with the permits of that run, and after its last retry. What it returns
is recorded as the completion of the run, with the error. A fallback that raises is the failure of the chunk.
"""

import copy
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .._core.errors import InterruptExpired
from .._core.events import ErrorInfo, Failure
from .._core.plan import Node
from .._core.state import UNSET, RunChunk
from ..build.blueprint import Blueprint
from ..build.chunk import Chunk
from ..build.subflow import SubFlow
from .data import FallbackData, run_of
from .invoke import invoker
from .subflow import bring_back

if TYPE_CHECKING:
    from ..build.cache import Invoker
    from .runtime import ExecutionRuntime

#: The value in place of that of a failed run.
Fallback = Callable[["ExecutionRuntime", RunChunk, ErrorInfo], Awaitable[Any]]


def fallback_of(node: Node, blueprint: Blueprint) -> Fallback | None:
    """The fallback of a chunk or sub-flow; None if it has none."""
    chunk = blueprint.nodes.get(node.trigger.name)
    step = chunk.handler if chunk is not None else None
    sub_flow = step if isinstance(step, SubFlow) else None
    given: Any = UNSET
    if node.fallback and chunk is not None:
        given = chunk.fallback if sub_flow is None else sub_flow.fallback
    if given is UNSET:
        return None
    call = (
        invoker(Chunk(f"the fallback of {node.name}", given, timeout=chunk.timeout if chunk else None), blueprint)
        if callable(given)
        else None
    )

    async def fall_back(runtime: "ExecutionRuntime", run: RunChunk, error: ErrorInfo) -> Any:
        data = FallbackData(runtime, run, Failure(run.node.name, error.type, error.message, run.value))
        # Each run gets a value of its own: what follows may change it.
        value = copy.deepcopy(given) if call is None else await call(data)
        if sub_flow is None:
            return value
        check = sub_flow.runner.contract.result
        return bring_back(sub_flow, run, data, value if check is None else check(value))

    return fall_back


def unless_expired(call: "Invoker") -> "Invoker":
    """The invoker of a chunk with a fallback.

    If nobody answers its interrupt in time, the core starts the chunk again with the expired interrupt as the trigger.
    The chunk has failed then, and its handler is not called."""

    async def entered(data: Any) -> Any:
        runtime, run = run_of(data)
        if run.trigger.kind == "resume":
            asked = (runtime.machine.state.interrupts or {}).get(run.trigger.name)
            if asked is not None and asked.status == "expired":
                raise InterruptExpired(f"nobody answered interrupt {asked.id!r} in time")
        return await call(data)

    return entered
