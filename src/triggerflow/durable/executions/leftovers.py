"""Ends the sub-flows that a parent leaves behind, in the commit of the parent.

A step that is cancelled cancels its sub-flow first. It cannot if the sub-flow is not open in this process: after a
restart, after the parent was parked, or because the sub-flow was just being opened. The sub-flow would stay in the
store for ever: no worker claims it, since workers claim outermost executions, and `prune` deletes no tree that has an
unfinished execution in it. So a commit in which steps end also ends the sub-flows of these steps that are only in the
store: their records are added to the same append.
"""

import logging
from collections.abc import Callable, Collection

from ..._core import events
from ..._core.definition import OperatorKind
from ..._core.errors import ExecutionLeased, StoreConflict, StoreUnavailable, UnknownExecution
from ..._core.machine import FINAL, Machine
from ..._core.state import RunState
from ...run.subflow import path_of
from ...stores.protocol import FINAL_STATUSES, UNFINISHED_STATUSES, Append, ExecutionRow, NewRecord
from ..format.codec import encode
from ..format.reader import ExecutionReader

logger = logging.getLogger("triggerflow")

REASON = "the step of its parent has ended"

#: The records with which a step can end before its sub-flow.
ENDS_STEPS: frozenset[type[events.Event]] = frozenset(
    (events.Cancelled, events.Failed, events.CleanupTimedOut, events.Recovered, events.Retracted, events.TimerFired)
)


def open_steps(state: RunState) -> set[str]:
    """The paths of the sub-flows that the steps of an execution run now."""
    if state.status in FINAL:
        return set()
    runs = [*state.runs.values(), *(state.retracted or {}).values()]
    return {path_of(run) for run in runs if run.node.kind is OperatorKind.SUB_FLOW}


async def end_leftovers(
    reader: ExecutionReader,
    id: str,
    now: float,
    *,
    wanted: Collection[str] = (),
    is_open: Callable[[str], bool] = lambda _: False,
) -> list[Append]:
    """Return the appends that end the unfinished sub-flows of an execution, with all sub-flows in them.

    `wanted` are the paths of sub-flows whose steps are open. These are left out, and those that are open in this
    process. This store becomes the owner of the others. One that another living owner has is left out, with a
    warning. Raises `StoreError` if the store cannot read now.
    """
    found: list[Append] = []
    after: str | None = None
    while page := await reader.store.executions(parent=id, status=UNFINISHED_STATUSES, after=after):
        after = page[-1].id
        for row in page:
            path = row.id[len(id) + 1 :]
            if path in wanted or path.rpartition(".")[0] in wanted or is_open(row.id):
                continue
            found += await _ended(reader.child(row.flow), reader, row, now, is_open)
    return found


async def end_all_leftovers(reader: ExecutionReader, id: str, now: float) -> list[Append]:
    """`end_leftovers` for an execution that has ended, and for the sub-flows of it that have ended."""
    found = await end_leftovers(reader, id, now)
    ended = {append.execution for append in found}
    after: str | None = None
    while page := await reader.store.executions(parent=id, status=FINAL_STATUSES, after=after):
        after = page[-1].id
        for row in page:
            if row.id not in ended:
                found += await end_all_leftovers(reader.child(row.flow) or reader, row.id, now)
    return found


async def _ended(
    own: ExecutionReader | None,
    above: ExecutionReader,
    row: ExecutionRow,
    now: float,
    is_open: Callable[[str], bool],
) -> list[Append]:
    """The appends that end one unfinished sub-flow, and the sub-flows in it."""
    try:
        row = await above.store.claim(row.id)
    except (ExecutionLeased, UnknownExecution) as error:
        logger.warning("sub-flow %r was not ended with the step of its parent: %s", row.id, error)
        return []
    if row.status in FINAL_STATUSES:
        return []
    append = Append(execution=row.id, first=row.records, records=[], status="cancelled", at=now, error=REASON)
    try:
        if own is None:
            raise UnknownExecution(f"the parent has no step with flow {row.flow!r} now")
        machine = (await own.restore(row, row.records)).machine
        _close(machine, own, append, now)
    except (StoreConflict, StoreUnavailable):
        raise
    except Exception as error:  # reading may run code of the user's, and the flow may have changed
        # It has ended in any case. Only its row says so: its records cannot be continued here.
        logger.warning("sub-flow %r has ended with the step of its parent, without a record of it: %s", row.id, error)
        append.records, append.payloads = [], {}
    return [append, *await end_leftovers(own or above, row.id, now, is_open=is_open)]


def _close(machine: Machine, reader: ExecutionReader, append: Append, now: float) -> None:
    """Cancel a restored execution, of which nothing runs in this process, and add the records to its append."""
    state, types = machine.state, reader.program.types
    for event in (events.CancelRequested(now, REASON), events.CleanupTimedOut(now)):
        if state.status in FINAL or (isinstance(event, events.CancelRequested) and state.closing is not None):
            continue
        append.records.append(NewRecord(encode(event, types, state, append.payloads)))
        machine.receive(event)
    append.status = state.status.value
    if append.status == "failed" and state.error is not None:  # it had begun to close before
        append.error = f"{state.error.type}: {state.error.message}"
