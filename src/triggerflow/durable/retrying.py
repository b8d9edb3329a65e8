"""Runs a failed execution again, in place (decision 0022).

A `Retried` record says that the execution goes on from its state before the failure. It is added to the execution, and
to its sub-flows that ended with it, in one append, which also opens them again: before it they have failed, and after
it they are unfinished, as after a crash. So any process can open them, also if this one ends in between.
"""

from collections.abc import Mapping

import msgspec

from .._core import events
from .._core.definition import OperatorKind
from .._core.errors import RecordsTrimmed, SnapshotError, UsageError
from .._core.state import RUNNING, WAITING, CompletionGroup, RunChunk, RunState
from ..run.program import Program
from ..run.subflow import path_of
from ..stores.protocol import RETRIABLE_STATUSES, Append, ExecutionRow, NewRecord, Store
from .codec import encode
from .commit import session_of
from .loading import RestoredExecution, migrate
from .metadata import attempt_id
from .reader import ExecutionReader, Step


class _Plan(msgspec.Struct):
    """The appends that run a tree of executions again, and the interrupts that are open then, outermost first."""

    appends: list[Append]
    interrupts: list[str]
    restored: RestoredExecution


async def reopen(
    program: Program,
    store: Store,
    id: str,
    now: float,
    *,
    force: bool = False,
    operator_map: Mapping[str, str | None] | None = None,
) -> None:
    """Add the `Retried` records; see `TriggerFlow.async_retry`. This store is the owner of the execution after it."""
    reader = ExecutionReader(program, store)
    _check(await reader.row(id))
    row = await store.claim(id)
    try:
        _check(row)  # another process may have retried it before the claim
        plan = await _retry(reader, row, now, force)
        if row.definition != program.plan.definition.fingerprint:
            try:
                migrate(plan.restored, program.plan, program.types, operator_map)
            except SnapshotError as error:
                raise SnapshotError(f"execution {id!r} was not retried: {error}") from error
        await store.append(plan.appends)
    except BaseException:
        await store.release([id])
        raise
    live = session_of(store).live
    for append in plan.appends:  # handles of the failed execution keep showing how it failed
        live.pop(append.execution, None)


def _check(row: ExecutionRow) -> None:
    if row.parent is not None:
        raise UsageError(
            f"execution {row.id!r} is a sub-flow of {row.parent!r}, whose step has failed with it; retry the outermost "
            f"execution, {row.id.split('/')[0]!r}: what failed in the sub-flow runs again with it"
        )
    if row.status != "failed":
        hint = (
            "nothing has to run again"
            if row.status == "completed"
            else "fork it: flow.history(store).fork(id, at=...)"
            if row.status == "cancelled"
            else "it goes on by itself: flow.async_resume(id)"
        )
        raise UsageError(f"execution {row.id!r} has not failed, it is {row.status}; {hint}")


async def _retry(reader: ExecutionReader, row: ExecutionRow, now: float, force: bool) -> _Plan:
    failed, worked = await _failure(reader, row)
    restored = await reader.restore(row, failed.number)
    state = restored.machine.state
    run, expired = _failed_run(failed.record, state)
    if not force and run is not None and (worked or (_routes(run.group) and run.trigger.kind != "error")):
        raise UsageError(
            f"execution {row.id!r}: chunk {run.node.name!r} failed in the work of an error route, and chunks of that "
            "route have completed: what they undid or reported stays as it is if the execution runs again; pass "
            "force=True to retry it nevertheless"
        )
    event = events.Retried(now, failed.number, None if run is None else run.id, expired)
    appends: list[Append] = []
    for step in list(state.runs.values()):
        if step.node.kind is not OperatorKind.SUB_FLOW or step.phase not in (RUNNING, WAITING):
            continue
        child = await _child(reader, row, step)
        if child is not None:
            plan = await _retry(child[0], child[1], now, force or child[1].status == "cancelled")
            appends += plan.appends
            event.interrupts += [f"{path_of(step)}/{name}" for name in plan.interrupts]
    ended = (await reader.restore(row, row.records)).machine
    payloads: dict[str, bytes] = {}
    data = encode(event, reader.program.types, ended.state, payloads)
    ended.retry(event, state)
    append = Append(
        execution=row.id,
        first=row.records,
        records=[NewRecord(data)],
        payloads=payloads,
        status="running",
        at=now,
        reopens=True,
    )
    asked = [name for name, it in (ended.state.interrupts or {}).items() if it.status == "waiting"]
    return _Plan([append, *appends], asked, RestoredExecution(ended, restored.value))


async def _failure(reader: ExecutionReader, row: ExecutionRow) -> tuple[Step, bool]:
    """The record by which an execution began to close, and whether a chunk of the error route in which that happened
    had completed. Raises `RecordsTrimmed` if the records are not in the store any more."""
    found: Step | None = None
    worked: dict[int, CompletionGroup] = {}
    async for step in reader.steps(row):
        if step.machine.state.closing is None:
            found = None
            if step.run is not None and isinstance(step.record, events.Completed):
                worked.update((id(group), group) for group in _routes(step.run.group))
        elif found is None:
            found = step
    if found is None or await reader.earliest(row) > found.number:
        raise RecordsTrimmed(
            f"execution {row.id!r} was compacted after it had ended, which deleted its state before that: it cannot "
            "be retried; fork another execution, or start a new one"
        )
    return found, found.run is not None and any(id(group) in worked for group in _routes(found.run.group))


def _routes(group: CompletionGroup | None) -> list[CompletionGroup]:
    """The groups of the error routes around the work of a group, the innermost first."""
    found: list[CompletionGroup] = []
    while group is not None:
        if group.handling:
            found.append(group)
        group = group.parent
    return found


def _failed_run(record: events.Record, state: RunState) -> tuple[RunChunk | None, str | None]:
    """The run that failed with a record, and the interrupt that expired with it."""
    if isinstance(record, events.Failed):
        return state.run(record.run), None
    if isinstance(record, events.TimerFired):
        timer = (state.timers or {}).get(record.timer)
        asked = None if timer is None else (state.interrupts or {}).get(timer.name)
        if timer is not None and timer.what == "expiry" and asked is not None:
            return asked.run, asked.id
    return None, None


async def _child(
    reader: ExecutionReader, row: ExecutionRow, step: RunChunk
) -> tuple[ExecutionReader, ExecutionRow] | None:
    """The newest execution of a sub-flow step, if it has failed or was cancelled, and its reader."""
    path = path_of(step)
    for number in range(step.attempt, 0, -1):
        found = await reader.store.find(attempt_id(f"{row.id}/{path}", number))
        if found is None:
            continue
        child = reader.child(found.flow)
        if child is None:
            raise UsageError(
                f"execution {row.id!r}: its sub-flow {found.flow!r} failed with it, but this flow has no such step now"
            )
        return (child, found) if found.status in RETRIABLE_STATUSES else None
    return None
