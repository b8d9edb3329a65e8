"""Forks: a new execution begins with the first records of another one, in which some values may be replaced."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ..._core import events
from ..._core.errors import StoreDamaged, UsageError
from ..._core.machine import FINAL, Machine
from ..._core.state import UNSET
from ...run.program import Program
from ...stores.protocol import ExecutionCopy, ExecutionRow, NewRecord
from ..executions.commit_buffer import status_and_due
from ..format.codec import VALUES, encode
from ..format.loading import RestoredExecution, replay_record
from ..format.reader import ExecutionReader
from ..format.text import describe, name_of
from .copying import copy_one, sub_flows_at


async def fork_of(
    reader: ExecutionReader, row: ExecutionRow, at: int, state: Mapping[str, Any], value: Any = UNSET
) -> list[ExecutionCopy]:
    """Copy the executions for a fork, still under the ids of the originals; see `History.fork`."""
    base = await reader.restore(row, at if value is UNSET else _before(row, at))
    machine = base.machine
    runs = list(machine.state.runs.values())
    shown = at
    replaced: NewRecord | None = None
    payloads: dict[str, bytes] = {}
    if value is not UNSET:
        record = await _record(reader, row, at - 1)
        replaced = _replace(reader.program, machine, record, value, payloads, row.id)
        if isinstance(record, events.Started):
            base = RestoredExecution(machine, value)
        if isinstance(record, events.Resumed):
            # Copy the sub-flow that opened the interrupt as it was before the old answer, so that it gets the new one.
            shown = at - 1
    copy = await copy_one(reader, row, RestoredExecution(machine, base.value))
    if replaced is not None:  # drop later snapshots: they have the old value
        copy.records[-1] = (at - 1, msgspec.structs.replace(replaced, item=copy.records[-1][1].item))
        copy = msgspec.structs.replace(copy, snapshots=[it for it in copy.snapshots if it[0] < at])
    if machine.state.status in FINAL:
        raise UsageError(
            f"execution {row.id!r} has ended ({machine.state.status.value}) after {at} records, so that a fork "
            "has nothing to do; fork it earlier: at=..."
        )
    for change in _changes(reader, state):
        data = encode(change, reader.program.types, machine.state, payloads)
        replay_record(machine, change, row.id)
        copy.records.append((machine.state.records - 1, NewRecord(data)))
    still = [run for run in runs if run.id in machine.state.runs]
    sub_flows = await sub_flows_at(reader, row, still, shown)
    now = reader.now()
    first = _forked(_with_row(copy, machine, payloads), row.id, now, at)
    return [first, *(_forked(it, it.row.id, now) for it in sub_flows)]


def _before(row: ExecutionRow, at: int) -> int:
    if at < 1:
        raise UsageError(f"execution {row.id!r}: before record 0 there is no record whose value could be replaced")
    return at - 1


async def _record(reader: ExecutionReader, row: ExecutionRow, number: int) -> events.Record:
    async for found, record in reader.journal(row, number, number + 1):
        if found == number:
            return record
    raise StoreDamaged(f"execution {row.id!r}: record {number} is missing in the store")


def _replace(
    program: Program, machine: Machine, record: events.Record, value: Any, payloads: dict[str, bytes], id: str
) -> NewRecord:
    name = VALUES.get(type(record))
    number = machine.state.records
    if name is None or (isinstance(record, events.StateChanged) and record.op == "delete"):
        raise UsageError(
            f"execution {id!r}: record {number} ({name_of(record)} {describe(record)}) has no value to "
            "replace; fork after a record that has one"
        )
    match record:
        case events.Started() if program.contract.initial_input is not None:
            value = program.contract.initial_input(value)
        case events.Emitted(name=signal) if signal in program.signals:
            value = program.signals[signal](value)
        case events.StateChanged(key=key, op="set") if program.state is not None:
            value = program.state.check(key, value)
        case _:
            pass
    record = msgspec.structs.replace(record, **{name: value})
    data = encode(record, program.types, machine.state, payloads)
    replay_record(machine, record, id)
    return NewRecord(data)


def _changes(reader: ExecutionReader, state: Mapping[str, Any]) -> list[events.StateChanged]:
    now = reader.now()
    check = reader.program.state
    return [
        events.StateChanged(now, None, "set", key, value if check is None else check.check(key, value), emit=False)
        for key, value in state.items()
    ]


def _with_row(copy: ExecutionCopy, machine: Machine, payloads: dict[str, bytes]) -> ExecutionCopy:
    status, due = status_and_due(machine)
    records = machine.state.records
    if records == copy.row.records and status == "running":
        status, due = copy.row.status, copy.row.due
    row = msgspec.structs.replace(
        copy.row, status=status, due=due, error=None, records=records, items=machine.state.stream
    )
    return msgspec.structs.replace(copy, row=row, payloads={**copy.payloads, **payloads})


def _forked(copy: ExecutionCopy, id: str, now: float, at: int | None = None) -> ExecutionCopy:
    origin = (id, copy.row.records if at is None else at)
    parent = None if at is not None else copy.row.parent
    row = msgspec.structs.replace(copy.row, forked_from=origin, parent=parent, created=now, updated=now)
    return msgspec.structs.replace(copy, row=row)
