"""Runs a failed execution again, in place (decision 0022).

A `Retried` record says that the execution goes on from its state before the failure. It is added to the execution, and
to its sub-flows that ended with it, in one append, which also opens them again: before it they have failed, and after
it they are unfinished, as after a crash. So any process can open them, also if this one ends in between.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from ..._core import events
from ..._core.definition import OperatorKind
from ..._core.errors import RecordsTrimmed, SnapshotError, UsageError
from ..._core.state import RUNNING, WAITING, CompletionGroup, RunChunk, RunState
from ...run import tracing
from ...run.program import Program
from ...run.subflow import path_of
from ...stores.protocol import RETRIABLE_STATUSES, Append, ExecutionRow, NewRecord, Store
from ..format.codec import encode
from ..format.loading import RestoredExecution, migrate
from ..format.reader import ExecutionReader, Step
from .commit import give_up, session_of
from .requests import write_answer


class _Plan(msgspec.Struct):
    """The appends that run a tree of executions again, and the interrupts that are open then, outermost first."""

    appends: list[Append]
    interrupts: list[str]


class _Failure(NamedTuple):
    """The record by which an execution began to close, and its number. `worked`: the error routes in which a chunk had
    completed before that record, see `_key`."""

    number: int
    record: events.Record
    worked: set[tuple[str, int]]


async def reopen(
    program: Program,
    store: Store,
    id: str,
    now: float,
    *,
    force: bool = False,
    operator_map: Mapping[str, str | None] | None = None,
    request: str | None = None,
) -> None:
    """Add the `Retried` records; see `TriggerFlow.async_retry`. This store is the owner of the execution after it.

    `request` is the id of a request in the inbox of the execution, which gets its reply with the records.

    If this raises or is cancelled, this store is not the owner. Either the records are in the store, and any process
    may continue the execution, or they are not, and it is still failed.
    """
    reader = ExecutionReader(program, store)
    _check(await reader.row(id))
    try:
        row = await store.claim(id)
        _check(row)  # another process may have retried it before the claim
        plan = await _retry(reader, row, now, force, operator_map)
        if request is not None:
            plan.appends[0].replies = [write_answer(request, None, program.types, now)]
        await store.append(plan.appends)
    except BaseException:
        await give_up(store, id)
        raise


@asynccontextmanager
async def released_on_error(store: Store, id: str) -> AsyncGenerator[None]:
    """If the block raises, release the execution, unless it runs in this process, so that a worker runs it."""
    try:
        yield
    except BaseException:
        known = session_of(store).live.get(id)
        if known is None or not known.runs_here:
            await give_up(store, id)
        raise


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
            else "it is still running; open it with flow.async_resume(id), or let a Worker run it"
        )
        raise UsageError(f"execution {row.id!r} has not failed, it is {row.status}; {hint}")


async def _retry(
    reader: ExecutionReader,
    row: ExecutionRow,
    now: float,
    force: bool,
    operator_map: Mapping[str, str | None] | None = None,
) -> _Plan:
    failed = await _failure(reader, row)
    before = await reader.restore(row, failed.number)
    ended = (await reader.restore(row, row.records)).machine
    if before.machine.plan.definition.fingerprint != ended.plan.definition.fingerprint:
        raise SnapshotError(
            f"execution {row.id!r} was moved to another definition of its flow after the failure that ended it: the "
            "state before that failure does not fit the new definition, so it cannot be retried; start a new execution"
        )
    state = before.machine.state
    run, expired = _failed_run(failed.record, state)
    if not force and (name := _undone(failed, state)) is not None:
        how = "the execution failed" if run is None else f"chunk {run.node.name!r} failed"
        where = "in an error route" if run is not None and _routes(run.group) else f"while error route {name!r} ran,"
        raise UsageError(
            f"execution {row.id!r}: {how} {where} after earlier chunks of that route had completed. A retry does not "
            "run those again. Pass force=True to retry anyway."
        )
    event = events.Retried(
        now, failed.number, None if run is None else run.id, expired, ended=failed.record.at,
        traceparent=tracing.current(),
    )  # fmt: skip
    appends: list[Append] = []
    for step in list(state.runs.values()):
        if step.node.kind is not OperatorKind.SUB_FLOW or step.phase not in (RUNNING, WAITING):
            continue
        child = await _child(reader, row, step)
        if child is not None:
            plan = await _retry(child[0], child[1], now, force or child[1].status == "cancelled")
            appends += plan.appends
            event.interrupts += [f"{path_of(step)}/{name}" for name in plan.interrupts]
    payloads: dict[str, bytes] = {}
    data = encode(event, reader.program.types, ended.state, payloads)
    ended.retry(event, state)
    _check_definition(reader, row, RestoredExecution(ended, before.value), operator_map)
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
    return _Plan([append, *appends], asked)


def _check_definition(
    reader: ExecutionReader,
    row: ExecutionRow,
    restored: RestoredExecution,
    operator_map: Mapping[str, str | None] | None,
) -> None:
    """Raise `SnapshotError` if the execution, when it runs again, cannot continue under the definition of today. It
    would be `running` in the store, and no process could open it."""
    program = reader.program
    if row.definition == program.plan.definition.fingerprint:
        return
    try:
        migrate(restored, program.plan, program.types, operator_map)
    except SnapshotError as error:
        raise SnapshotError(f"execution {row.id!r} was not retried: {error}") from error


async def _failure(reader: ExecutionReader, row: ExecutionRow) -> _Failure:
    """Find the record by which an execution began to close. Raises `RecordsTrimmed` if the state before it is not in
    the store any more."""
    found: Step | None = None
    worked: set[tuple[str, int]] = set()
    earliest = await reader.earliest(row)
    closing = earliest == row.records or (await reader.restore(row, earliest)).machine.state.closing is not None
    if not closing:
        async for step in reader.steps(row):
            if step.machine.state.closing is None:
                found = None
                if step.run is not None and isinstance(step.record, events.Completed):
                    worked.update(_keys(step.run, step.machine.state))
            elif found is None:
                found = step
    if found is None:
        raise RecordsTrimmed(
            f"execution {row.id!r} was compacted after the failure that ended it: the compaction deleted the state "
            "before that failure, so it cannot be retried; fork another execution, or start a new one"
        )
    return _Failure(found.number, found.record, worked)


# -- error routes ----------------------------------------------------------------------------------------------------


def _undone(failed: _Failure, state: RunState) -> str | None:
    """The operator of an error route that was at work when the execution began to close, if chunks of that route had
    completed; None if there is none.

    Decided by what was open, and not by what failed: a source or the time limit of the execution fails without a run.
    """
    runs = [*state.runs.values(), *(it.run for it in (state.interrupts or {}).values() if it.status == "waiting")]
    pulls = [it for it in (state.block_instances or {}).values() if it.pulling]
    for at_work in (*runs, *(state.timers or {}).values(), *pulls):
        for route in _routes(at_work.group):
            first = _first(route, runs)
            # Its first chunk is not open: it has completed, since the route goes on.
            if first is None or _key(route, first) in failed.worked:
                return route.handling
    return None


def _routes(group: CompletionGroup | None) -> list[CompletionGroup]:
    """The groups of the error routes around the work of a group, the innermost first."""
    found: list[CompletionGroup] = []
    while group is not None:
        if group.handling is not None:
            found.append(group)
        group = group.parent
    return found


def _first(route: CompletionGroup, runs: Iterable[RunChunk]) -> RunChunk | None:
    """The first of these runs with which an error route began; None if there is none."""
    return next((run for run in runs if run.group is route and run.trigger.kind == "error"), None)


def _key(route: CompletionGroup, first: RunChunk) -> tuple[str, int]:
    """A name of an error route that is the same in every replay: its operator, and the record of the failure."""
    return route.handling or "", first.signal


def _keys(completed: RunChunk, state: RunState) -> Iterator[tuple[str, int]]:
    """The error routes that contain a run that has completed. Routes without an open first chunk are left out, because
    `_undone` recognises them without a key."""
    for route in _routes(completed.group):
        first = _first(route, (completed, *state.runs.values()))
        if first is not None:
            yield _key(route, first)


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
    found = await reader.newest_child(row, step)
    if found is None:
        return None
    child = reader.child(found.flow)
    if child is None:
        raise UsageError(
            f"execution {row.id!r}: its sub-flow {found.flow!r} failed with it, but this flow has no such step now"
        )
    return (child, found) if found.status in RETRIABLE_STATUSES else None
