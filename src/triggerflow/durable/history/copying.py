"""Copies an execution as it was after some record, with the sub-flows that ran then.

When a sub-flow puts a stream item, opens an interrupt or gets an answer, the sub-flow and its parent both get a record
of it, in the same commit and the same order. These are *shared* records. The copy of a sub-flow must have as many
shared records as the copy of its parent. Between two shared records of the sub-flow, the times of the records decide
which of them belong to the copy.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from ..._core import commands, events
from ..._core.definition import OperatorKind
from ..._core.errors import RecordsTrimmed, StoreDamaged, UsageError
from ..._core.state import RunChunk
from ...run.subflow import path_of
from ...stores.protocol import ExecutionCopy, ExecutionRow, NewRecord, Store
from ..executions.commit_buffer import status_and_due
from ..format.loading import PAGE, RestoredExecution
from ..format.metadata import check_id, numbered_id
from ..format.payloads import UNREADABLE, references
from ..format.reader import ExecutionReader

_decode = msgspec.json.Decoder().decode


async def copy_tree(reader: ExecutionReader, row: ExecutionRow, records: int) -> list[ExecutionCopy]:
    """Copy an execution after `records` records, and the sub-flows that were running then, parents first."""
    restored = await reader.restore(row, records)
    runs = restored.machine.state.runs.values()
    return [await copy_one(reader, row, restored), *await sub_flows_at(reader, row, runs, records)]


async def sub_flows_at(
    reader: ExecutionReader, row: ExecutionRow, runs: Iterable[RunChunk], records: int
) -> list[ExecutionCopy]:
    """Copy the sub-flows of these runs of an execution, at the moment after its first `records` records.

    Raises `RecordsTrimmed` if a record that is needed was trimmed, and `UsageError` if the flow has lost the sub-flow.
    """
    copies: list[ExecutionCopy] = []
    for run in runs:
        if run.node.kind is not OperatorKind.SUB_FLOW:
            continue
        path = path_of(run)
        children = await _attempts(reader.store, f"{row.id}/{path}", run.attempt)
        if not children:
            continue
        child = reader.child(flow := str(run.node.operator.options.get("flow")))
        if child is None:
            raise UsageError(
                f"execution {row.id!r}: its sub-flow {flow!r} runs at that record, but this flow has no such step now"
            )
        if await reader.earliest(row) > 0:
            for one in children:
                copies += await copy_tree(child, one, one.records)
            if records != row.records or (await reader.row(row.id)).records != records:
                raise RecordsTrimmed(
                    f"execution {row.id!r} cannot be copied at this record: it was compacted while its sub-flow "
                    f"{path!r} ran, and the older records are gone. Only its newest state can be copied with the "
                    "sub-flow, while no owner runs it"
                )
            continue
        shared, at = await _shared_records(reader, row, path, records)
        for one in children:
            cut, shared = await _cut(child, one, shared, at)
            if cut:
                copies += await copy_tree(child, one, cut)
    return copies


async def copy_one(reader: ExecutionReader, row: ExecutionRow, restored: RestoredExecution) -> ExecutionCopy:
    """Copy one execution, without sub-flows, in the state of `restored`."""
    state, store = restored.machine.state, reader.store
    status, due = status_and_due(restored.machine)
    if state.records == row.records:
        # Parking sets "waiting" for a parent of waiting sub-flows. Its records do not show that.
        status, due = row.status, row.due
    records = await _records(store, row, state.records)
    starts = await reader.starts(row)
    needed = [it for it in starts if it.snapshot is not None and it.records <= state.records]
    snapshots = [it for it in needed if it.migrated or it is starts[0] or it is needed[-1]]
    return ExecutionCopy(
        row=msgspec.structs.replace(
            row,
            definition=restored.machine.plan.definition.fingerprint,
            status=status,
            due=due,
            error=row.error if status == "failed" else None,  # the original may have failed later
            records=state.records,
            items=state.stream,
            owner=None,
        ),
        records=records,
        snapshots=[(it.records, it.definition, it.snapshot) for it in snapshots if it.snapshot is not None],
        payloads=await payloads_of(store, (record.data for _, record in records)),
        listens=() if row.parent is not None else tuple(restored.machine.plan.flow_data),
    )


async def all_sub_flows(store: Store, id: str) -> list[ExecutionRow]:
    """The rows of all sub-flows of an execution, with ended ones, parents first."""
    found: list[ExecutionRow] = []
    after: str | None = None
    while page := await store.executions(parent=id, after=after):
        found += page
        after = page[-1].id
    return found + [row for child in found for row in await all_sub_flows(store, child.id)]


async def payloads_of(store: Store, records: Iterable[bytes]) -> dict[str, bytes]:
    """Fetch all payloads to which records refer, directly or through other payloads. Raises `StoreDamaged`."""
    found: dict[str, bytes] = {}
    try:
        wanted = {name for data in records for name in references(_decode(data))}
        while wanted:
            fresh = await store.payloads(wanted)
            found.update(fresh)
            wanted = {name for data in fresh.values() for name in references(_decode(data))} - found.keys()
    except UNREADABLE as error:
        raise StoreDamaged(f"a stored value cannot be read: {error}") from error
    return found


def renamed(copies: list[ExecutionCopy], id: str) -> list[ExecutionCopy]:
    """Return the copies under new ids: the first one gets `id`, and the ids of its sub-flows begin with `id`.

    Raises `UsageError` if the id cannot be one."""
    check_id(id)
    old = copies[0].row.id

    def new(name: str | None) -> Any:
        return name if name is None or not f"{name}/".startswith(f"{old}/") else id + name[len(old) :]

    return [
        msgspec.structs.replace(
            copy, row=msgspec.structs.replace(copy.row, id=new(copy.row.id), parent=new(copy.row.parent))
        )
        for copy in copies
    ]


async def _records(store: Store, row: ExecutionRow, end: int) -> list[tuple[int, NewRecord]]:
    """The records up to `end` (not included), each with its number in the stream.

    A store returns records and items separately, so that they are matched here: both are in the same order.
    """
    items: list[tuple[int, bytes]] = []
    found: list[tuple[int, NewRecord]] = []
    first = seen = 0
    while first < end and (page := await store.records(row.id, first=first, limit=min(PAGE, end - first))):
        for number, data in page:
            if number >= end:
                break
            if not items and seen < row.items:
                items = (await store.items(row.id, after=seen, limit=PAGE))[::-1]
            item = 0
            if items and items[-1][1] == data:
                item = seen = items.pop()[0]
            found.append((number, NewRecord(data, item)))
        first = page[-1][0] + 1
    return found


async def _attempts(store: Store, id: str, attempts: int) -> list[ExecutionRow]:
    """The executions that the attempts of a sub-flow step have made, the first attempt first."""
    found = [await store.find(numbered_id(id, number)) for number in range(1, attempts + 1)]
    return [row for row in found if row is not None]


async def _shared_records(reader: ExecutionReader, row: ExecutionRow, path: str, end: int) -> tuple[int, float]:
    """How many of the first `end` records are shared with the sub-flow at `path`, and the time of the last of them."""
    shared, at = 0, 0.0
    async for step in reader.steps(row, 0, end):
        at = step.record.at
        match step.record:
            case events.StreamPut(path=of, run=None):
                shared += f"{of}/".startswith(f"{path}/")
            case events.Paused(interrupt=name, holds=True):
                shared += name.startswith(f"{path}/")
            case _:
                shared += sum(
                    isinstance(it, commands.Answer) and it.interrupt.id.startswith(f"{path}/") for it in step.commands
                )
    return shared, at


async def _cut(reader: ExecutionReader, row: ExecutionRow, shared: int, at: float) -> tuple[int, int]:
    """How many records of a sub-flow to copy, and how many of the shared records the next attempt of its step has."""
    if await reader.earliest(row) > 0:
        raise RecordsTrimmed(
            f"sub-flow {row.id!r} was compacted: its state at the record where its parent is copied is not "
            "in the store any more"
        )
    cut, over = 0, False
    async for step in reader.steps(row):
        is_shared = isinstance(step.record, events.Resumed) or any(
            isinstance(it, commands.Publish | commands.OpenInterrupt) for it in step.commands
        )
        if is_shared and not shared:
            break
        shared -= is_shared
        over = over or step.record.at > at
        if is_shared or not over:
            cut = step.number + 1
    return cut, shared
