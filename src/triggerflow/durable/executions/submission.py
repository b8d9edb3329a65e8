"""Submits executions that this process does not run: the workers do.

The first append creates the execution with the records of its start, and releases it in the same transaction. So it is
in the store as a whole, and has work to do, or it is not there at all. Of several processes that submit one id at the
same time, the store lets one create it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..._core import events
from ..._core.errors import ExecutionExists, StoreConflict
from ..._core.machine import Machine
from ...run.flow_runtime import FlowRuntime
from ...run.options import Options, Reuse
from ...run.program import Program
from ...run.tracing import labelled
from ...stores.protocol import FINAL_STATUSES, Append, ExecutionRow, NewRecord, Store
from ..format.codec import encode
from ..format.metadata import check_id, first_row, numbered_id, of_another_flow
from .commit import session_of
from .commit_buffer import status_and_due


async def submit(
    flow: FlowRuntime,
    store: Store,
    options: Options,
    value: Any,
    *,
    id: str | None,
    reuse: Reuse,
    labels: Mapping[str, str],
    delay: float | None,
) -> str:
    """Create and start an execution, and leave it to the workers. Returns its id; see `TriggerFlow.async_submit`."""
    name = flow.environment.new_id() if id is None else id
    program, session = flow.program(), session_of(store)
    while True:
        if id is not None:
            check_id(id, None)  # an execution of an earlier version may have a longer one
            found, name = await place(store, id, reuse)
            if found is not None:
                if found.flow != program.name:
                    raise of_another_flow(found.id, found.flow, program.name)
                return found.id
        session.add_definition(program)
        await session.write_definitions()
        now = flow.environment.now()
        try:
            await store.append([submission(program, options, name, value, now, labels=labelled(labels), delay=delay)])
        except StoreConflict:
            if await store.find(name) is None:
                raise
        else:
            return name  # else another process was faster: look again


async def place(store: Store, id: str, reuse: Reuse) -> tuple[ExecutionRow | None, str]:
    """The execution that a new one of this id is, by the policy, and the id that a new one gets.

    Raises `ExecutionExists` by the policy "reject".
    """
    found = await store.find(id)
    if reuse == "reject" and found is not None:
        raise exists(found)
    if reuse != "new_after_end":
        return found, id
    found, number = await _newest(store, id, found)
    if found is None:
        return None, id
    return (None, numbered_id(id, number + 1)) if found.status in FINAL_STATUSES else (found, found.id)


def exists(found: ExecutionRow) -> ExecutionExists:
    """The error of the policy "reject"."""
    return ExecutionExists(
        f"there is an execution {found.id!r} of flow {found.flow!r} in the store already ({found.status}); "
        'choose another id, or write reuse="existing" for a handle of it, or reuse="new_after_end" for a new one once '
        "it has ended"
    )


async def _newest(store: Store, id: str, first: ExecutionRow | None) -> tuple[ExecutionRow | None, int]:
    """The newest of the executions `id`, `id.2`, `id.3` ... and its number. `first` is the first of them, if it is
    there."""
    if first is None:  # it may be pruned, and later ones not
        return await _newest_of_pruned(store, id)
    low, row, step = 1, first, 1
    while (found := await store.find(numbered_id(id, low + step))) is not None:
        low, row, step = low + step, found, step * 2
    while step > 1:
        step //= 2
        if (found := await store.find(numbered_id(id, low + step))) is not None:
            low, row = low + step, found
    return row, low


async def _newest_of_pruned(store: Store, id: str) -> tuple[ExecutionRow | None, int]:
    number, after = re.compile(re.escape(id) + r"\.([1-9][0-9]*)"), None
    while page := await store.executions(text=f"{id}.", after=after, limit=100):
        for row in page:  # the newest first
            if (match := number.fullmatch(row.id)) is not None:
                return row, int(match[1])
        after = page[-1].id
    return None, 0


async def submission_of(
    flow: FlowRuntime, store: Store, id: str, value: Any, now: float, labels: Mapping[str, str] | None = None
) -> Append:
    """The append that starts an execution of a flow with its own options; stores the definition before.

    Raises what `submission` raises, and `StoreError`.
    """
    program, session = flow.program(), session_of(store)
    session.add_definition(program)
    await session.write_definitions()
    options = Options(skip_exceptions=flow.skip_exceptions, execution_timeout=flow.execution_timeout)
    return submission(program, options, id, value, now, labels=labels)


def submission(
    program: Program,
    options: Options,
    id: str,
    value: Any,
    now: float,
    *,
    labels: Mapping[str, str] | None = None,
    delay: float | None = None,
) -> Append:
    """The append that creates and starts an execution with this id, and leaves it to the workers.

    The store must have the definition of the program before. Raises `ContractError` if the value does not have the
    declared type, and `PayloadError` if it cannot be recorded.
    """
    contract = program.contract.initial_input
    started = value if contract is None else contract(value)
    machine, payloads = Machine(program.plan), dict[str, bytes]()
    records: list[NewRecord] = []
    for event in _first_records(program, options, started, now, delay):
        records.append(NewRecord(encode(event, program.types, machine.state, payloads)))
        machine.receive(event)
    status, due = status_and_due(machine)
    row = first_row(id, program, options, None, now, labels)
    return Append(
        execution=id,
        first=0,
        records=records,
        payloads=payloads,
        status=status,
        due=due,
        at=now,
        create=row,
        releases=True,
        listens=tuple(program.plan.flow_data) or None,
    )


def _first_records(
    program: Program, options: Options, value: Any, now: float, delay: float | None
) -> Iterator[events.Event]:
    recorded = (*options.recorded(), program.contract.result is not None, options.execution_timeout)
    if program.state is not None:
        yield events.Created(now, *recorded)
        for key, default in program.state.initial().items():
            yield events.StateChanged(now, None, "set", key, default, emit=False)
    yield events.Started(now, value, *recorded, delay=delay, submitted=True)
