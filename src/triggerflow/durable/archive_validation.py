"""Checks the executions of an archive before they are added to a store.

The archive is not trusted: only what this engine could have written is accepted. Payloads
have to match their digests, references have to exist and must not make values too large,
numbers have to be consistent, types have to be registered, and all records have to be accepted in a replay.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import msgspec

from .._core import commands, events
from .._core.errors import SnapshotError, StoreDamaged, TriggerFlowError
from ..stores.memory import MemoryStore
from ..stores.protocol import ExecutionCopy, payload_digest
from .metadata import read_definition, read_options
from .payloads import references, weight
from .reader import ExecutionReader

#: How many parts the values of one record may have (a text counts as one for each `payloads.CHARACTERS` of it), and how
#: long a chain of payloads that refer to each other may be.
MAX_PARTS, MAX_DEPTH = 2_000_000, 200

#: The largest `max_pending` of an execution in an archive: how many runs may be open at the same time.
MAX_PENDING = 100_000

_decode = msgspec.json.Decoder().decode


async def validate(reader: ExecutionReader, copies: list[ExecutionCopy], definitions: Mapping[str, bytes]) -> None:
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
        _check_numbers(copy)
        _check_payloads(copy)
    _check_definitions(known, copies, definitions)
    async with MemoryStore() as store:
        for fingerprint, data in definitions.items():
            await store.put_definition(fingerprint, data)
        await store.put_copies(copies)
        for copy in copies:
            it = known[copy.row.id]
            try:
                await _replay(ExecutionReader(it.program, store), copy)
            except SnapshotError:
                raise
            except (TriggerFlowError, RecursionError) as error:
                raise SnapshotError(f"execution {copy.row.id!r} cannot be loaded: {error}") from error


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
    if items != list(range(1, row.items + 1)):
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
    if spare := definitions.keys() - named.keys():
        raise SnapshotError(f"no execution in the file has the definition {min(spare)!r}")
    for name, id in named.items():
        try:
            read_definition(definitions.get(name), name, known[id].program.types)
        except (StoreDamaged, RecursionError) as error:
            raise SnapshotError(f"execution {id!r}: {error}") from error


def _check_payloads(copy: ExecutionCopy) -> None:
    where = f"execution {copy.row.id!r}"
    inside: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for digest, data in copy.payloads.items():
        if payload_digest(data) != digest:
            raise SnapshotError(f"{where}: payload {digest} does not match its digest")
        inside[digest] = _read(data, where)
    for _, record in copy.records:
        value = _read(record.data, where)
        pending = cast("dict[str, Any]", value).get("max_pending") if isinstance(value, dict) else None
        if isinstance(pending, int) and pending > MAX_PENDING:
            raise SnapshotError(f"{where}: its max_pending is more than {MAX_PENDING:,}, the limit for archives")
        if _size(value, inside, sizes, where, 0) > MAX_PARTS:
            raise SnapshotError(f"{where}: a value has more than {MAX_PARTS:,} parts when its payloads are inserted")


def _read(data: bytes, where: str) -> Any:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"{where}: a record or payload cannot be read: {error}") from error


def _size(value: Any, inside: Mapping[str, Any], sizes: dict[str, int], where: str, depth: int) -> int:
    """How many parts a value has; long texts count as several. A payload counts at each of its uses, but is measured
    once."""
    if depth > MAX_DEPTH:
        raise SnapshotError(f"{where}: the payloads of a value refer to each other more than {MAX_DEPTH} deep")
    total = _parts(value)
    for digest in references(value):
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
        if isinstance(it, list | dict):
            rest += it.values() if isinstance(it, dict) else it
    return total


async def _replay(reader: ExecutionReader, copy: ExecutionCopy) -> None:
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
    state = (await reader.restore(row, earliest)).machine.state
    reached = earliest
    async for step in reader.steps(row, earliest):
        item = next((it.number for it in step.commands if isinstance(it, commands.Publish)), 0)
        if step.number != reached or item != numbers[step.number]:
            raise SnapshotError(f"{where}: record {reached} is missing, or has the wrong item number")
        reached, state = step.number + 1, step.machine.state
    for snapshot in copy.snapshots:
        await reader.restore(row, snapshot[0])
    status = state.status.value
    fits = status == row.status or (status, row.status) == ("running", "waiting")
    if reached != row.records or state.stream != row.items or not fits:
        raise SnapshotError(f"{where}: the status or the counts in its row do not match its records")
    if state.max_pending > MAX_PENDING:
        raise StoreDamaged(f"its max_pending is more than {MAX_PENDING:,}, the limit for archives")
