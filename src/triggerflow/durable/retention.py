"""What is kept: compaction of one execution into a snapshot, and forgetting those that have ended."""

from collections.abc import Collection
from datetime import timedelta

import msgspec

from .._core.errors import UnknownExecution, UsageError
from ..stores.protocol import FINAL_STATUSES, ExecutionRow, Store
from .commit import session_of
from .copying import all_sub_flows, payloads_of
from .loading import write_snapshot
from .reader import ExecutionReader

#: How many executions are forgotten in one commit.
BATCH = 100


class Compacted(msgspec.Struct, frozen=True):
    """What a compaction did: executions (sub-flows included), and records that were forgotten."""

    executions: int
    records: int


class Pruned(msgspec.Struct, frozen=True):
    """What pruning did: executions forgotten (their sub-flows included), and ended ones that were kept."""

    forgotten: int
    kept: int


async def compact(past: ExecutionReader, row: ExecutionRow) -> Compacted:
    """See `History.compact`."""
    store = past.store
    if row.status in FINAL_STATUSES:
        return await _compact_tree(past, row)
    before = row.owner
    row = await store.claim(row.id)
    try:
        return await _compact_tree(past, row)
    finally:
        here = session_of(store).live.get(row.id)
        if before is None and (here is None or not (here.runs_here or here.lock.locked())):
            await store.release([row.id])


async def _compact_tree(past: ExecutionReader, row: ExecutionRow) -> Compacted:
    executions, records = 1, await _compact_one(past, row)
    for child in await all_sub_flows(past.store, row.id):
        known = _below(past, child.flow)
        if known is not None:
            executions += 1
            records += await _compact_one(known, child)
    return Compacted(executions, records)


def _below(past: ExecutionReader, flow: str) -> ExecutionReader | None:
    """What reads a flow that is a step of this one, or of one of its steps."""
    found = past.child(flow)
    if found is None:
        below = (past.child(name) for name in past.program.sub_flows if name != past.program.name)
        found = next((deep for it in below if it is not None and (deep := _below(it, flow)) is not None), None)
    return found


async def _compact_one(past: ExecutionReader, row: ExecutionRow) -> int:
    kept = await past.store.snapshot(row.id, records=row.records)
    if kept is None or kept[0] < row.records:
        loaded = await past.loaded(row, row.records)
        data = write_snapshot(loaded, past.program.types)
        await past.store.put_snapshot(row.id, row.records, row.definition, data)
    return await past.store.trim(row.id, row.records, payloads=await _payloads_of_items(past.store, row.id))


async def _payloads_of_items(store: Store, id: str) -> Collection[str]:
    """What the stream still refers to; the snapshot holds its values itself."""
    found: set[str] = set()
    after = 0
    while page := await store.items(id, after=after):
        found |= (await payloads_of(store, (data for _, data in page))).keys()
        after = page[-1][0]
    return found


async def prune(past: ExecutionReader, older_than: float | timedelta | None, keep: int | None) -> Pruned:
    """See `History.prune`."""
    if older_than is None and keep is None:
        raise UsageError("prune needs to know what may go: older_than=..., keep=..., or both")
    if keep is not None and keep < 0:
        raise UsageError(f"prune can keep 0 executions or more, not {keep}")
    age = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    before = None if age is None else past.now() - age
    ended = await _ended(past)
    going = [row.id for row in ended[keep or 0 :] if before is None or row.updated < before]
    forgotten = 0
    for start in range(0, len(going), BATCH):
        forgotten += await past.store.delete(going[start : start + BATCH])
    return Pruned(forgotten, len(ended) - len(going))


async def _ended(past: ExecutionReader) -> list[ExecutionRow]:
    """All that have ended, the newest first."""
    while True:
        found: list[ExecutionRow] = []
        try:
            while page := await past.store.executions(
                flow=past.program.name, status=FINAL_STATUSES, after=found[-1].id if found else None
            ):
                found += page
        except UnknownExecution:  # somebody else prunes at the same time
            continue
        return found
