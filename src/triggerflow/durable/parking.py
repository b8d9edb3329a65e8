"""Parking: what waits for people or timers leaves the memory, and is in its store only until its next use."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from time import time
from typing import TYPE_CHECKING

from .._core.errors import ExecutionSuspended
from .._core.state import Status
from ..stores.protocol import Append, Store
from .driver import where_it_stands

if TYPE_CHECKING:
    from .execution import DurableExecution

#: What is due within so many seconds is not worth parking.
MOMENT = 1.0


def is_idle(execution: "DurableExecution") -> bool:
    """Whether it waits for the outside, for more than a moment, and nobody here waits for it."""
    if execution.waited_for or not _rests(execution):
        return False
    due = _next_due(execution)
    return due is None or due > time() + MOMENT


def with_sub_flows(execution: "DurableExecution") -> list[str]:
    """Its id and those of the sub-flows that it runs."""
    return [execution.id, *(id for child in execution.sub_flows() for id in with_sub_flows(child))]


async def park(store: Store, executions: Collection["DurableExecution"]) -> None:
    """Let go of those that are idle. Raises `StoreError`."""
    async with AsyncExitStack() as locks:
        for execution in executions:
            await locks.enter_async_context(execution.lock)
        idle = [execution for execution in executions if execution.here and is_idle(execution)]
        waiting = [append for execution in idle if (append := _told(execution)) is not None]
        if waiting:
            await store.append(waiting)
        idle = [execution for execution in idle if execution.here and is_idle(execution)]  # something may have come
        ids = [id for execution in idle for id in with_sub_flows(execution)]
        for execution in idle:
            execution.let_go(ExecutionSuspended(f"{execution!r} is parked"))
        await store.release(ids)


def _rests(execution: "DurableExecution") -> bool:
    """Whether nothing of it is at work: all is on disk, and waits for people or timers."""
    if execution.log is None or not execution.log.clean or execution.get_status() != "waiting":
        return False
    return all(_rests(child) for child in execution.sub_flows())


def _next_due(execution: "DurableExecution") -> float | None:
    """When its next timer is due, or one of its sub-flows."""
    dues = [where_it_stands(execution.machine)[1], *map(_next_due, execution.sub_flows())]
    return min((due for due in dues if due is not None), default=None)


def _told(execution: "DurableExecution") -> Append | None:
    """What the store has to be told first: that it waits, where only its sub-flows know that."""
    if execution.log is None or execution.machine.state.status is Status.WAITING:
        return None
    first, due = execution.log.committed, _next_due(execution)
    return Append(execution=execution.id, first=first, records=[], status="waiting", due=due, at=time())
