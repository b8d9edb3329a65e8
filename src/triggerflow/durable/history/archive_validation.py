"""Checks the executions of an archive before they are added to a store.

The archive is not trusted: only what this engine could have written is accepted. Payloads have to match their digests,
references have to exist and must not make values too large, numbers have to be consistent, types have to be registered,
and all records have to be accepted in a replay.

Everything that takes memory or time is bounded by the size of the file. All of it is done in a thread.
"""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from threading import Event
from typing import Any, NamedTuple, cast

import msgspec

from ..._core import commands, events
from ..._core.errors import SnapshotError, StoreDamaged, TriggerFlowError
from ..._core.machine import FINAL, Machine
from ..._core.snapshot import encode as encode_state
from ..._core.state import RunState, Status
from ...stores.memory import MemoryStore
from ...stores.protocol import FINAL_STATUSES, ExecutionCopy, payload_digest
from ..format.loading import RestoredExecution
from ..format.metadata import read_definition, read_options
from ..format.payloads import UNREADABLE, references, weight
from ..format.reader import ExecutionReader
from .archive import LIMIT, definitions_of

#: How many parts a value may have, whatever the size of the file (a text counts as one for each `payloads.CHARACTERS`
#: of it), for files up to `archive.LIMIT`; with a larger limit it is more. In a file without payloads that repeat, a
#: part takes two bytes, so that larger files may have more.
MAX_PARTS, BYTES_OF_PART = 2_000_000, 2

#: How long a chain of payloads that refer to each other may be.
MAX_DEPTH = 200

#: The largest `max_pending` of an execution in an archive: how many runs may be open at the same time, and how many
#: permits the sub-flows of an execution may have.
MAX_PENDING = 100_000

_decode = msgspec.json.Decoder().decode


def most_parts(size: int, limit: int) -> int:
    """How many parts the values in a file of `size` bytes may have."""
    return max(MAX_PARTS * max(limit, LIMIT) // LIMIT, size // BYTES_OF_PART)


def check_copies(copies: list[ExecutionCopy], most: int, stop: Event) -> list[dict[int, int]]:
    """Check what can be checked without a replay; return how many parts the value of each record has.

    Raises `SnapshotError`."""
    found: list[dict[int, int]] = []
    for copy in copies:
        _check_numbers(copy)
        found.append(_check_values(copy, most, stop))
    return found


def check_export(
    reader: ExecutionReader,
    copies: list[ExecutionCopy],
    definitions: Mapping[str, bytes],
    size: int,
    limit: int,
    stop: Event,
) -> None:
    """Check that executions which are exported can be loaded. Raises `SnapshotError` if not.

    They are replayed only if their state may be too large: the engine itself has written what it exports."""
    most = most_parts(size, limit)
    parts = check_copies(copies, most, stop)
    if sum(sum(sizes.values()) for sizes in parts) > most:
        validate(reader, copies, definitions, size, limit, stop)


def validate(
    reader: ExecutionReader,
    copies: list[ExecutionCopy],
    definitions: Mapping[str, bytes],
    size: int,
    limit: int,
    stop: Event,
) -> None:
    """Replay the executions of an archive in memory. Raises `SnapshotError` if one is forged or cannot be continued."""
    known: dict[str, ExecutionReader] = {}
    for copy in copies:
        row = copy.row
        if not known:
            if row.parent is not None or row.flow != reader.program.name:
                raise SnapshotError(
                    f"execution {row.id!r} is of flow {row.flow!r}, and this is {reader.program.name!r}"
                )
            known[row.id] = reader
        else:
            above = known.get(row.parent or "")
            child = None if above is None else above.child(row.flow)
            if child is None or row.id in known or not row.id.startswith(f"{row.parent}/"):
                raise SnapshotError(f"execution {row.id!r} is no sub-flow of an execution before it in the file")
            known[row.id] = child
    most = most_parts(size, limit)
    parts = check_copies(copies, most, stop)
    _check_definitions(known, copies, definitions)
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_replay_all(known, copies, definitions, parts, most, stop))


async def _replay_all(
    known: Mapping[str, ExecutionReader],
    copies: list[ExecutionCopy],
    definitions: Mapping[str, bytes],
    parts: list[dict[int, int]],
    most: int,
    stop: Event,
) -> None:
    ended: dict[str, bool] = {}
    async with MemoryStore() as store:
        for fingerprint, data in definitions.items():
            await store.put_definition(fingerprint, data)
        await store.put_copies(copies)
        for copy, sizes in zip(copies, parts, strict=True):
            it = known[copy.row.id]
            cut_off = ended.get(copy.row.parent or "", False)
            try:
                await _replay(ExecutionReader(it.program, store), copy, sizes, most, stop, cut_off=cut_off)
            except SnapshotError:
                raise
            except (TriggerFlowError, RecursionError) as error:
                raise SnapshotError(f"execution {copy.row.id!r} cannot be loaded: {error}") from error
            ended[copy.row.id] = copy.row.status in FINAL_STATUSES


def _check_numbers(copy: ExecutionCopy) -> None:
    row, where = copy.row, f"execution {copy.row.id!r}"
    try:
        read_options(row.options)
    except StoreDamaged as error:
        raise SnapshotError(f"{where}: {error}") from error
    numbers = [number for number, _ in copy.records]
    items = [record.item for _, record in copy.records if record.item]
    if any(one >= other for one, other in pairwise(numbers)):
        raise SnapshotError(f"{where}: its records are not in order")
    if len(items) != row.items or any(item != number for number, item in enumerate(items, 1)):
        raise SnapshotError(f"{where}: its stream items are not numbered 1 to {row.items}")
    if len({it[0] for it in copy.snapshots}) < len(copy.snapshots):
        raise SnapshotError(f"{where}: it has two snapshots after the same record")
    if any(it[0] > row.records for it in copy.snapshots) or (numbers and numbers[-1] >= row.records):
        raise SnapshotError(f"{where}: it has more records than its row says")


def _check_definitions(
    known: Mapping[str, ExecutionReader], copies: list[ExecutionCopy], definitions: Mapping[str, bytes]
) -> None:
    """Check that definitions match their fingerprints: a store keeps the first definition that it gets for a
    fingerprint."""
    named = {name: copy.row.id for copy in copies for name in (copy.row.definition, *(it[1] for it in copy.snapshots))}
    for name, id in named.items():
        _check_definition(known[id], id, name, definitions)
    before = {name: copy.row.id for copy in copies for name in definitions_of(copy) if name not in named}
    for name, id in before.items():
        _check_definition(known[id], id, name, definitions)
    if spare := definitions.keys() - named.keys() - before.keys():
        raise SnapshotError(f"no execution in the file has the definition {min(spare)!r}")


def _check_definition(reader: ExecutionReader, id: str, name: str, definitions: Mapping[str, bytes]) -> None:
    try:
        read_definition(definitions.get(name), name, reader.program.types)
    except (StoreDamaged, RecursionError) as error:
        raise SnapshotError(f"execution {id!r}: {error}") from error


class _Measured(NamedTuple):
    """A payload: how many parts it has, and which payloads it refers to."""

    parts: int
    references: tuple[str, ...]


def _check_values(copy: ExecutionCopy, most: int, stop: Event) -> dict[int, int]:
    """How many parts the value of each record has, by the number of the record."""
    found: dict[int, int] = {}
    where = f"execution {copy.row.id!r}"
    inside: dict[str, _Measured] = {}
    sizes: dict[str, int] = {}
    for digest, data in copy.payloads.items():
        if payload_digest(data) != digest:
            raise SnapshotError(f"{where}: payload {digest} does not match its digest")
        value = _read(data, where)
        inside[digest] = _Measured(_parts(value), tuple(references(value)))
    for number, record in copy.records:
        if stop.is_set():
            raise SnapshotError("the caller does not wait any more")
        value = _read(record.data, where)
        pending = cast("dict[str, Any]", value).get("max_pending") if isinstance(value, dict) else None
        if isinstance(pending, int) and pending > MAX_PENDING:
            raise SnapshotError(f"{where}: its max_pending is more than {MAX_PENDING:,}, the limit for archives")
        found[number] = _size(_Measured(_parts(value), tuple(references(value))), inside, sizes, where, 0)
        if found[number] > most:
            raise SnapshotError(f"{where}: a value has more than {most:,} parts when its payloads are inserted")
    for snapshot in copy.snapshots:
        if _parts(_read(snapshot[2], where)) > most:
            raise SnapshotError(f"{where}: a snapshot has more than {most:,} parts")
    return found


def _read(data: bytes, where: str) -> Any:
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise SnapshotError(f"{where}: a record or payload cannot be read: {error}") from error


def _size(value: _Measured, inside: Mapping[str, _Measured], sizes: dict[str, int], where: str, depth: int) -> int:
    """How many parts a value has; long texts count as several. A payload counts at each of its uses, but is measured
    once."""
    if depth > MAX_DEPTH:
        raise SnapshotError(f"{where}: the payloads of a value refer to each other more than {MAX_DEPTH} deep")
    total = value.parts
    for digest in value.references:
        if digest not in sizes:
            if digest not in inside:
                raise SnapshotError(f"{where}: payload {digest} is missing")
            sizes[digest] = _size(inside[digest], inside, sizes, where, depth + 1)
        total += sizes[digest]
    return total


def _parts(value: Any) -> int:
    total, rest = 0, [value]
    while rest:
        it = rest.pop()
        total += weight(it)
        if isinstance(it, list):
            rest += it
        elif isinstance(it, dict):
            tagged = cast("dict[str, Any]", it)
            if tagged.get("$") == "range":
                total += _length(tagged.get("v"))
            rest += tagged.values()
    return total


def _length(given: Any) -> int:
    """How many items a recorded range has: a for_each may start a branch for each of them."""
    try:
        found = range(*given)
    except (TypeError, ValueError):
        raise SnapshotError("a recorded range is damaged") from None
    return max(0, (found.stop - found.start) // found.step)


async def _replay(
    reader: ExecutionReader, copy: ExecutionCopy, sizes: Mapping[int, int], most: int, stop: Event, *, cut_off: bool
) -> None:
    """Replay one execution. `sizes`: how many parts its records have. `cut_off`: its parent has ended."""
    row = await reader.row(copy.row.id)
    where = f"execution {row.id!r}"
    numbers = {number: record.item for number, record in copy.records}
    earliest = await reader.earliest(row)
    async for number, record in reader.journal(row, 0, earliest):
        if not numbers[number] or not isinstance(record, events.StreamPut):
            raise SnapshotError(
                f"{where}: record {number} comes before the first snapshot of the execution, where only stream items "
                "may be"
            )
    end = _end(await reader.restore(row, earliest))
    reached, added = earliest, 0
    async for step in reader.steps(row, earliest, check=lambda record: _check_count(record, where)):
        if stop.is_set():
            raise SnapshotError("the caller does not wait any more")
        item = next((it.number for it in step.commands if isinstance(it, commands.Publish)), 0)
        if step.number != reached or item != numbers[step.number]:
            raise SnapshotError(f"{where}: record {reached} is missing, or has the wrong item number")
        reached, state = step.number + 1, step.machine.state
        _check_permits(state, where)
        added += sizes[step.number]
        if added > most:  # a payload that is stored once may be in the state many times
            added = _held(step.machine, reader, where, most)
        end = _End(state.status, state.stream, state.max_pending)
    step = state = None  # they may be large
    for snapshot in copy.snapshots:
        if snapshot[0] != earliest:
            await reader.restore(row, snapshot[0])
    status = end.status.value
    fits = status == row.status or (status, row.status) == ("running", "waiting")
    # The end of a parent ends its sub-flows, also if their records could not be read: see `leftovers`.
    fits = fits or (cut_off and row.status == "cancelled" and end.status not in FINAL)
    if reached != row.records or end.stream != row.items or not fits:
        raise SnapshotError(f"{where}: the status or the counts in its row do not match its records")
    if end.max_pending > MAX_PENDING:
        raise StoreDamaged(f"its max_pending is more than {MAX_PENDING:,}, the limit for archives")


class _End(NamedTuple):
    """What is compared after the last record."""

    status: Status
    stream: int
    max_pending: int


def _end(restored: RestoredExecution) -> _End:
    state = restored.machine.state
    return _End(state.status, state.stream, state.max_pending)


def _held(machine: Machine, reader: ExecutionReader, where: str, most: int) -> int:
    """How many parts all values in the state of an execution have. Raises `SnapshotError` if they are too many."""
    total = 0

    def count(value: Any, what: str) -> None:
        nonlocal total
        total += _parts(reader.program.types.pack(value, what))
        if total > 2 * most:
            raise SnapshotError(f"{where}: the values of its state have more than {2 * most:,} parts")

    encode_state(machine.plan, machine.state, count)
    return total


def _check_count(record: events.Record, where: str) -> None:
    """Check a record before its replay, which takes memory for each permit."""
    count = getattr(record, "count", 0)
    if count < 0 or count > MAX_PENDING:
        raise SnapshotError(f"{where}: a sub-flow has more than {MAX_PENDING:,} permits, the limit for archives")


def _check_permits(state: RunState, where: str) -> None:
    permits = (state.steps or {}).values()
    if sum(len(it.ready) + len(it.running) for it in permits) > MAX_PENDING:
        raise SnapshotError(f"{where}: its sub-flows have more than {MAX_PENDING:,} permits, the limit for archives")
