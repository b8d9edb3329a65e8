"""Whether executions from a file are what this engine could have written, before any store is touched.

Nothing is trusted: payloads are what their digests say, references lead somewhere and do not multiply without end,
numbers fit, types are registered, and the records are replayed, so that each follows from those before it.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import msgspec

from .._core import commands, events
from .._core.errors import SnapshotError, StoreDamaged, TriggerFlowError
from ..stores.memory import MemoryStore
from ..stores.protocol import ExecutionCopy, payload_digest
from .definitions import read_definition
from .payloads import references
from .reader import ExecutionReader
from .rows import read_options

#: How many parts the values of one record may have, and how deep references may lead.
PARTS, DEPTH = 2_000_000, 200

#: The largest `max_pending` of an execution from a file: so many runs may be open at once.
PENDING = 100_000

_decode = msgspec.json.Decoder().decode


async def vet(past: ExecutionReader, copies: list[ExecutionCopy], definitions: Mapping[str, bytes]) -> None:
    """Raises `SnapshotError` for what could not be read, would not go on, or was made up."""
    known: dict[str, ExecutionReader] = {}
    for copy in copies:
        row = copy.row
        if not known:
            if row.parent is not None or row.flow != past.program.name:
                raise SnapshotError(f"execution {row.id!r} is of flow {row.flow!r}, and this is {past.program.name!r}")
            known[row.id] = past
        else:
            above = known.get(row.parent or "")
            child = None if above is None else above.child(row.flow)
            if child is None or row.id in known or not row.id.startswith(f"{row.parent}/"):
                raise SnapshotError(f"execution {row.id!r} is no sub-flow of an execution before it")
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
        raise SnapshotError(f"{where}: its stream items are not 1 to {row.items}")
    if len({kept[0] for kept in copy.snapshots}) < len(copy.snapshots):
        raise SnapshotError(f"{where}: it has two snapshots of one moment")
    if any(kept[0] > row.records for kept in copy.snapshots) or (numbers and numbers[-1] >= row.records):
        raise SnapshotError(f"{where}: it has more records than its row says")


def _check_definitions(
    known: Mapping[str, ExecutionReader], copies: list[ExecutionCopy], definitions: Mapping[str, bytes]
) -> None:
    """A store keeps what comes first under a fingerprint: it must not be anything else."""
    named = {name: copy.row.id for copy in copies for name in (copy.row.definition, *(it[1] for it in copy.snapshots))}
    if spare := definitions.keys() - named.keys():
        raise SnapshotError(f"nothing in the file is of definition {min(spare)!r}")
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
            raise SnapshotError(f"{where}: payload {digest} is not what its digest says")
        inside[digest] = _read(data, where)
    for _, record in copy.records:
        value = _read(record.data, where)
        pending = cast("dict[str, Any]", value).get("max_pending") if isinstance(value, dict) else None
        if isinstance(pending, int) and pending > PENDING:
            raise SnapshotError(f"{where}: it may have more than {PENDING:,} runs open at once")
        if _size(value, inside, sizes, where, 0) > PARTS:
            raise SnapshotError(f"{where}: a value has more than {PARTS:,} parts when it is put together")


def _read(data: bytes, where: str) -> Any:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"{where}: a record or payload cannot be read: {error}") from error


def _size(value: Any, inside: Mapping[str, Any], sizes: dict[str, int], where: str, depth: int) -> int:
    """How many parts a value has, each payload counted where it is used, and looked at once."""
    if depth > DEPTH:
        raise SnapshotError(f"{where}: a value refers to payloads {DEPTH} deep")
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
        total += 1
        if isinstance(it, list | dict):
            rest += it.values() if isinstance(it, dict) else it
    return total


async def _replay(past: ExecutionReader, copy: ExecutionCopy) -> None:
    row = await past.row(copy.row.id)
    where = f"execution {row.id!r}"
    numbers = {number: record.item for number, record in copy.records}
    earliest = await past.earliest(row)
    async for number, record in past.journal(row, 0, earliest):
        if not numbers[number] or not isinstance(record, events.StreamPut):
            raise SnapshotError(f"{where}: record {number} stands before its first snapshot and is no stream item")
    state = (await past.loaded(row, earliest)).machine.state
    reached = earliest
    async for step in past.steps(row, earliest):
        item = next((it.number for it in step.answer if isinstance(it, commands.Publish)), 0)
        if step.number != reached or item != numbers[step.number]:
            raise SnapshotError(f"{where}: record {reached} is missing, or is another item of its stream")
        reached, state = step.number + 1, step.machine.state
    for kept in copy.snapshots:
        await past.loaded(row, kept[0])
    status = state.status.value
    fits = status == row.status or (status, row.status) == ("running", "waiting")
    if reached != row.records or state.stream != row.items or not fits:
        raise SnapshotError(f"{where}: its row does not tell what its records say")
    if state.max_pending > PENDING:
        raise StoreDamaged(f"it may have more than {PENDING:,} runs open at once")
