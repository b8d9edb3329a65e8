"""Copies of executions as they stood after some record, with the sub-flows that belong to that moment.

What a sub-flow does shows in its parent: an item, a question, an answer is a record of both, in one commit and in the
same order. So the moment of a sub-flow that belongs to a record of its parent lies between the last of these that the
parent has and the next one that it has not; in between, the time of the records decides.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from .._core import commands, events
from .._core.definition import OperatorKind
from .._core.errors import RecordsTrimmed, StoreDamaged, UsageError
from .._core.state import RunChunk
from ..run.subflow import path_of
from ..stores.protocol import ExecutionCopy, ExecutionRow, NewRecord, Store
from .commit_buffer import status_and_due
from .loading import PAGE, Loaded
from .payloads import references
from .reader import ExecutionReader
from .rows import attempt_id

_decode = msgspec.json.Decoder().decode


async def copy_tree(past: ExecutionReader, row: ExecutionRow, records: int) -> list[ExecutionCopy]:
    """The execution after so many records, and the sub-flows that were running then, outer ones first."""
    loaded = await past.loaded(row, records)
    runs = loaded.machine.state.runs.values()
    return [await copy_one(past, row, loaded), *await sub_flows_at(past, row, runs, records)]


async def sub_flows_at(
    past: ExecutionReader, row: ExecutionRow, runs: Iterable[RunChunk], records: int
) -> list[ExecutionCopy]:
    """The sub-flows of these runs of an execution, as they belong to its first `records` records.

    Raises `RecordsTrimmed` if that cannot be told any more.
    """
    copies: list[ExecutionCopy] = []
    for run in runs:
        if run.node.kind is not OperatorKind.SUB_FLOW:
            continue
        path = path_of(run)
        children = await _attempts(past.store, f"{row.id}/{path}", run.attempt)
        if not children:
            continue
        child = past.child(flow := str(run.node.operator.options.get("flow")))
        if child is None:
            raise UsageError(f"execution {row.id!r}: its sub-flow {flow!r} runs there, and is no step of this flow now")
        if await past.earliest(row) > 0:
            for one in children:
                copies += await copy_tree(child, one, one.records)
            if records != row.records or (await past.row(row.id)).records != records:
                raise RecordsTrimmed(
                    f"execution {row.id!r} was compacted while its sub-flow {path!r} ran; with it, only its last state "
                    "can be copied, and only while nobody runs it"
                )
            continue
        shown, at = await _shown(past, row, path, records)
        for one in children:
            cut, shown = await _cut(child, one, shown, at)
            if cut:
                copies += await copy_tree(child, one, cut)
    return copies


async def copy_one(past: ExecutionReader, row: ExecutionRow, loaded: Loaded) -> ExecutionCopy:
    """One execution alone, as it stands in `loaded`."""
    state, store = loaded.machine.state, past.store
    status, due = status_and_due(loaded.machine)
    if state.records == row.records:
        status, due = row.status, row.due  # a parent whose sub-flow waits is told to wait
    records = await _records(store, row, state.records)
    starts = await past.starts(row)
    needed = [it for it in starts if it.snapshot is not None and it.records <= state.records]
    kept = [it for it in needed if it.moved or it is starts[0] or it is needed[-1]]
    return ExecutionCopy(
        row=msgspec.structs.replace(
            row,
            definition=loaded.machine.plan.definition.fingerprint,
            status=status,
            due=due,
            records=state.records,
            items=state.stream,
            owner=None,
        ),
        records=records,
        snapshots=[(it.records, it.definition, it.snapshot) for it in kept if it.snapshot is not None],
        payloads=await payloads_of(store, (record.data for _, record in records)),
    )


async def all_sub_flows(store: Store, id: str) -> list[ExecutionRow]:
    """The rows of all sub-flows of an execution, ended ones too, outer ones first."""
    found: list[ExecutionRow] = []
    after: str | None = None
    while page := await store.executions(parent=id, after=after):
        found += page
        after = page[-1].id
    return found + [row for child in found for row in await all_sub_flows(store, child.id)]


async def payloads_of(store: Store, records: Iterable[bytes]) -> dict[str, bytes]:
    """The payloads that records refer to, and what those refer to. Raises `StoreDamaged`."""
    found: dict[str, bytes] = {}
    try:
        wanted = {name for data in records for name in references(_decode(data))}
        while wanted:
            fresh = await store.payloads(wanted)
            found.update(fresh)
            wanted = {name for data in fresh.values() for name in references(_decode(data))} - found.keys()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreDamaged(f"a stored value cannot be read: {error}") from error
    return found


def renamed(copies: list[ExecutionCopy], id: str) -> list[ExecutionCopy]:
    """The copies under another id: the first one's, and those of the sub-flows below it."""
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
    """The records with their numbers in the stream. A store tells those apart, in the same order."""
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
    """The executions that a step has had: where one has failed, the next attempt gets one of its own."""
    found = [await store.find(attempt_id(id, number)) for number in range(1, attempts + 1)]
    return [row for row in found if row is not None]


async def _shown(past: ExecutionReader, row: ExecutionRow, path: str, end: int) -> tuple[int, float]:
    """How many records of the sub-flow at `path` show among the first `end`, and the time of the last of those."""
    shown, at = 0, 0.0
    async for step in past.steps(row, 0, end):
        at = step.record.at
        match step.record:
            case events.StreamPut(path=of, run=None):
                shown += f"{of}/".startswith(f"{path}/")
            case events.Paused(interrupt=name, holds=True):
                shown += name.startswith(f"{path}/")
            case _:
                shown += sum(
                    isinstance(it, commands.Answer) and it.interrupt.id.startswith(f"{path}/") for it in step.answer
                )
    return shown, at


async def _cut(past: ExecutionReader, row: ExecutionRow, shown: int, at: float) -> tuple[int, int]:
    """How many records of a sub-flow belong to the moment, and how many that show are left for its next attempt."""
    if await past.earliest(row) > 0:
        raise RecordsTrimmed(f"sub-flow {row.id!r} was compacted: its state of that moment cannot be told any more")
    cut, over = 0, False
    async for step in past.steps(row):
        shows = isinstance(step.record, events.Resumed) or any(
            isinstance(it, commands.Publish | commands.OpenInterrupt) for it in step.answer
        )
        if shows and not shown:
            break
        shown -= shows
        over = over or step.record.at > at
        if shows or not over:
            cut = step.number + 1
    return cut, shown
