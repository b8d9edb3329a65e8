"""Retention: compaction of one execution into a snapshot, and pruning of executions that have ended."""

from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

import msgspec

from ..._core.errors import StoreConflict, UnknownExecution, UsageError
from ...build.former_names import PRUNED, refuse
from ...stores.protocol import FINAL_STATUSES, ExecutionRow, Store
from ..executions.commit import session_of
from ..executions.leftovers import end_all_leftovers
from ..format.loading import write_snapshot
from ..format.reader import ExecutionReader
from .copying import all_sub_flows, payloads_of

#: How many executions `prune` deletes in one transaction.
BATCH = 100


class Compacted(msgspec.Struct, frozen=True):
    """The result of a compaction: how many executions (with sub-flows) it covered, and how many records it deleted."""

    executions: int
    records: int


class Pruned(msgspec.Struct, frozen=True):
    """The result of pruning: how many executions were deleted (with sub-flows), and how many ended ones were kept."""

    deleted: int
    kept: int

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            refuse(self, name, PRUNED)


async def compact(reader: ExecutionReader, row: ExecutionRow) -> Compacted:
    """See `History.compact`."""
    store = reader.store
    if row.status in FINAL_STATUSES:
        return await _compact_tree(reader, row)
    was_ours = row.owner == store.owner
    row = await store.claim(row.id)
    try:
        return await _compact_tree(reader, row)
    finally:
        here = session_of(store).live.get(row.id)
        if not was_ours and (here is None or not (here.runs_here or here.lock.locked())):
            await store.release([row.id])


async def _compact_tree(reader: ExecutionReader, row: ExecutionRow) -> Compacted:
    executions, records = 1, await _compact_one(reader, row)
    for child in await all_sub_flows(reader.store, row.id):
        child_reader = _reader_below(reader, child.flow)
        if child_reader is not None:
            executions += 1
            records += await _compact_one(child_reader, child)
    return Compacted(executions, records)


def _reader_below(reader: ExecutionReader, flow: str) -> ExecutionReader | None:
    """The reader for a flow that is a step of this flow, or of one of its sub-flows; None if there is no such step."""
    found = reader.child(flow)
    if found is None:
        below = (reader.child(name) for name in reader.program.sub_flows if name != reader.program.name)
        found = next((deep for it in below if it is not None and (deep := _reader_below(it, flow)) is not None), None)
    return found


async def _compact_one(reader: ExecutionReader, row: ExecutionRow) -> int:
    newest = await reader.store.snapshot(row.id, records=row.records)
    if newest is None or newest[0] < row.records:
        restored = await reader.restore(row, row.records)
        data = write_snapshot(restored, reader.program.types)
        await reader.store.put_snapshot(row.id, row.records, row.definition, data)
    return await reader.store.trim(row.id, row.records, payloads=await _payloads_of_items(reader.store, row.id))


async def _payloads_of_items(store: Store, id: str) -> Collection[str]:
    """The payloads to which stream items refer. A snapshot contains its values whole and refers to no payload."""
    found: set[str] = set()
    after = 0
    while page := await store.items(id, after=after):
        found |= (await payloads_of(store, (data for _, data in page))).keys()
        after = page[-1][0]
    return found


async def prune(
    reader: ExecutionReader, older_than: float | timedelta | None, keep: int | None, shrink: bool
) -> Pruned:
    """See `History.prune`."""
    if older_than is None and keep is None:
        raise UsageError("prune needs older_than=..., keep=..., or both")
    if keep is not None and (type(keep) is not int or keep < 0):
        raise UsageError(f"prune(keep=...) is a number of executions, 0 or more, not {keep!r}")
    age = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    if age is not None and (type(age) not in (int, float) or not 0 <= age < inf):
        raise UsageError(
            f"prune(older_than=...) is an age: a timedelta, or seconds from 0 on, not {older_than!r}; for a moment in "
            "time pass datetime.now(timezone.utc) - moment"
        )
    before = None if age is None else reader.now() - age
    ended = await _ended(reader)
    to_delete = [row.id for row in ended[keep or 0 :] if before is None or row.updated < before]
    deleted, kept = 0, len(ended) - len(to_delete)
    for start in range(0, len(to_delete), BATCH):
        batch = to_delete[start : start + BATCH]
        if reader.program.sub_flows:
            await _end_trees(reader, batch)
        deleted += await reader.store.delete(batch)
        if left := await _of_these(reader, batch):  # they were skipped: the flow of today may have lost its sub-flows
            await _end_trees(reader, left)
            deleted += await reader.store.delete(left)
            kept += len(await _of_these(reader, left))
    if shrink:
        await reader.store.shrink()
    return Pruned(deleted, kept)


async def _of_these(reader: ExecutionReader, ids: list[str]) -> list[str]:
    """Those of the ids that are in the store."""
    return [id for id in ids if await reader.store.find(id) is not None]


async def _end_trees(reader: ExecutionReader, ids: list[str]) -> None:
    """End the sub-flows that executions have left behind, as earlier versions did: else they could not be deleted."""
    for id in ids:
        appends = await end_all_leftovers(reader, id, reader.now())
        with suppress(StoreConflict):  # another process has claimed one meanwhile: its tree stays until the next prune
            if appends:
                await reader.store.append(appends)


async def _ended(reader: ExecutionReader) -> list[ExecutionRow]:
    """All executions that have ended, the newest first."""
    while True:
        found: list[ExecutionRow] = []
        try:
            while page := await reader.store.executions(
                flow=reader.program.name, status=FINAL_STATUSES, after=found[-1].id if found else None
            ):
                found += page
        except UnknownExecution:  # another process has deleted the last row of the page: read all pages again
            continue
        return found
