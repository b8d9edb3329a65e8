"""Parking: the worker removes an execution from memory that only waits for answers, signals or timers. Its next use
opens it again from the store."""

from collections.abc import Collection
from contextlib import AsyncExitStack

from ..._core.errors import ExecutionSuspended, StoreConflict
from ..._core.state import Status
from ..._core.timers import next_due
from ...stores.protocol import Append, Store
from ..executions.stored import Stored

#: An execution is not parked if one of its timers is due within this many seconds.
MIN_PARK_SECONDS = 1.0


def is_idle(execution: Stored) -> bool:
    """Whether an execution can be parked: no chunk of it runs, no caller waits for it, and no timer is due soon."""
    if execution.runtime.waited_for or not _is_waiting(execution):
        return False
    due = _next_due(execution)
    return due is None or due > execution.now() + MIN_PARK_SECONDS


async def park(store: Store, executions: Collection[Stored]) -> None:
    """Park those of the executions that are idle. An execution that another owner has claimed is suspended.

    Raises `StoreError`; then those that still run here are unchanged, and can be parked later.
    """
    try:
        await _park(store, executions)
    except StoreConflict as conflict:
        if len(executions) > 1:
            for execution in executions:
                await park(store, [execution])
        else:
            for execution in executions:
                execution.suspend(conflict)


async def _park(store: Store, executions: Collection[Stored]) -> None:
    async with AsyncExitStack() as locks:
        # In this order, so that two tasks that need several locks do not wait for each other.
        for execution in sorted(executions, key=lambda it: it.runtime.id):
            await locks.enter_async_context(execution.lock)
        idle = [execution for execution in executions if execution.runs_here and is_idle(execution)]
        waiting = [append for execution in idle if (append := _waiting_for_children(execution)) is not None]
        if waiting:
            await store.append(waiting)
        idle = [it for it in idle if it.runs_here and is_idle(it)]  # a signal may have come during the append
        ids = [id for execution in idle for id in execution.with_sub_flows()]
        for execution in idle:
            execution.release_here(ExecutionSuspended(f"{execution.runtime!r} is parked"))
        await store.release(ids)


def _is_waiting(execution: Stored) -> bool:
    """Whether an execution and its sub-flows only wait, and all their records are in the store."""
    log = execution.runtime.log
    if log is None or not log.is_committed or execution.runtime.status() != "waiting":
        return False
    return all(_is_waiting(child) and not _gets_an_answer(execution, child) for child in execution.sub_flows())


def _gets_an_answer(parent: Stored, child: Stored) -> bool:
    """Whether the parent has an answer that has not reached its sub-flow yet, since the sub-flow is being opened."""
    asked, answers = child.runtime.machine.state.interrupts or {}, parent.runtime.machine.state.interrupts or {}
    path = "" if child.runtime.link is None else child.runtime.link.path
    for name, interrupt in asked.items():
        answer = answers.get(f"{path}/{name}")
        if interrupt.status == "waiting" and answer is not None and answer.status == "resumed":
            return True
    return False


def _next_due(execution: Stored) -> float | None:
    """When the next timer of an execution or its sub-flows is due; None without timers."""
    # Also of an execution whose status is "running" because a sub-flow runs in it: its own timers count as well.
    dues = [next_due(execution.runtime.machine.state), *map(_next_due, execution.sub_flows())]
    return min((due for due in dues if due is not None), default=None)


def _waiting_for_children(execution: Stored) -> Append | None:
    """The append that sets the status "waiting" for an execution that waits for its sub-flows only.

    Its own records do not show that it waits. None if it has that status already."""
    runtime = execution.runtime
    if runtime.log is None or runtime.machine.state.status is Status.WAITING:
        return None
    first, due = runtime.machine.state.records, _next_due(execution)
    return Append(execution=runtime.id, first=first, records=[], status="waiting", due=due, at=execution.now())
