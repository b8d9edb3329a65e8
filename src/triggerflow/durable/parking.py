"""Parking: an execution that waits for people or timers leaves the memory, and is in its store only until its next
use."""

from collections.abc import Collection
from contextlib import AsyncExitStack

from .._core.errors import ExecutionSuspended
from .._core.state import Status
from ..stores.protocol import Append, Store
from .commit_buffer import status_and_due
from .stored import Stored

#: What is due within so many seconds is not worth parking.
MIN_PARK_SECONDS = 1.0


def is_idle(execution: Stored) -> bool:
    """Whether it waits for the outside, for longer than `MIN_PARK_SECONDS`, and nobody here waits for it."""
    if execution.runtime.waited_for or not _rests(execution):
        return False
    due = _next_due(execution)
    return due is None or due > execution.now() + MIN_PARK_SECONDS


async def park(store: Store, executions: Collection[Stored]) -> None:
    """Release those that are idle. Raises `StoreError`."""
    async with AsyncExitStack() as locks:
        for execution in executions:
            await locks.enter_async_context(execution.lock)
        idle = [execution for execution in executions if execution.runs_here and is_idle(execution)]
        waiting = [append for execution in idle if (append := _status_of_children(execution)) is not None]
        if waiting:
            await store.append(waiting)
        idle = [it for it in idle if it.runs_here and is_idle(it)]  # something may have come meanwhile
        ids = [id for execution in idle for id in execution.with_sub_flows()]
        for execution in idle:
            execution.release_here(ExecutionSuspended(f"{execution.runtime!r} is parked"))
        await store.release(ids)


def _rests(execution: Stored) -> bool:
    """Whether nothing of it is at work: everything is in the store, and waits for people or timers."""
    log = execution.runtime.log
    if log is None or not log.is_committed or execution.runtime.status() != "waiting":
        return False
    return all(_rests(child) for child in execution.sub_flows())


def _next_due(execution: Stored) -> float | None:
    """When its next timer is due, or one of its sub-flows."""
    dues = [status_and_due(execution.runtime.machine)[1], *map(_next_due, execution.sub_flows())]
    return min((due for due in dues if due is not None), default=None)


def _status_of_children(execution: Stored) -> Append | None:
    """The status that the store has to be given first: that it waits, where only its sub-flows know that."""
    runtime = execution.runtime
    if runtime.log is None or runtime.machine.state.status is Status.WAITING:
        return None
    first, due = runtime.machine.state.records, _next_due(execution)
    return Append(execution=runtime.id, first=first, records=[], status="waiting", due=due, at=execution.now())
