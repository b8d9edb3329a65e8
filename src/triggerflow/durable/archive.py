"""One execution as a file: JSON, a line a thing, with everything it needs to be read and to go on elsewhere.

    header, definitions, then per execution (it, and its sub-flows): its row, snapshots, payloads, records; end

The last line has the number of lines and their SHA-256, so that a file which was cut off or damaged on its way shows.
A file may come from a stranger: its size is limited, every line is checked, references are followed before anything is
put together, and all of it is replayed in memory before the store is touched.
"""

import asyncio
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import msgspec

from .._core.errors import SnapshotError, StoreConflict, StoreDamaged, UsageError
from ..serialize.text import write_file
from ..stores.protocol import FINAL_STATUSES, ExecutionCopy, ExecutionRow, NewRecord, StatusName, Store
from .copying import all_sub_flows, copy_one, copy_tree, renamed
from .reader import ExecutionReader

#: The number of the format. A change of meaning raises it.
FORMAT = 1

#: The longest line that is read, in bytes.
LINE = 64 * 1024 * 1024

Target = str | os.PathLike[str] | BinaryIO
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
#: seconds since the epoch, until the year 9999
Time = Annotated[float, msgspec.Meta(ge=0, lt=253402300800)]


class _Line(msgspec.Struct, tag_field="line", forbid_unknown_fields=True, omit_defaults=True):
    """Base of all lines."""


class Header(_Line, tag="triggerflow-execution"):
    """The first line."""

    format: int
    id: Name
    executions: Count


class DefinitionLine(_Line, tag="definition"):
    """A definition under which records were written."""

    fingerprint: Name
    data: msgspec.Raw


class ExecutionLine(_Line, tag="execution"):
    """A row; what follows belongs to it."""

    id: Name
    flow: Name
    definition: Name
    options: msgspec.Raw
    created: Time
    updated: Time
    status: StatusName
    records: Count
    items: Count
    parent: Name | None = None
    forked_from: tuple[Name, Count] | None = None
    due: Time | None = None


class SnapshotLine(_Line, tag="snapshot"):
    """The state after so many records."""

    records: Count
    definition: Name
    data: msgspec.Raw


class PayloadLine(_Line, tag="payload"):
    """A large part of values."""

    digest: Name
    data: msgspec.Raw


class RecordLine(_Line, tag="record"):
    """A record; `item` is its number in the stream, if it is an item."""

    number: Count
    data: msgspec.Raw
    item: Count = 0


class End(_Line, tag="end"):
    """The last line."""

    lines: Count
    sha256: str


AnyLine = Header | DefinitionLine | ExecutionLine | SnapshotLine | PayloadLine | RecordLine | End
_decode = msgspec.json.Decoder(AnyLine).decode
_encode = msgspec.json.Encoder().encode


# -- writing ---------------------------------------------------------------------------------------------------------


async def export(past: ExecutionReader, row: ExecutionRow, target: Target) -> int:
    """Write an execution; how many records. See `History.export`."""
    if row.parent is not None:
        raise UsageError(f"execution {row.id!r} is a sub-flow; export {row.parent!r}, to which it belongs")
    copies = await copy_tree(past, row, row.records)
    copies += await _ended_sub_flows(past, row, {copy.row.id for copy in copies})
    definitions: dict[str, bytes] = {}
    for fingerprint in {copy.row.definition for copy in copies} | {it[1] for copy in copies for it in copy.snapshots}:
        data = await past.store.definition(fingerprint)
        if data is None:
            raise StoreDamaged(f"the store lacks the definition {fingerprint!r} of execution {row.id!r}")
        definitions[fingerprint] = data
    await asyncio.to_thread(_write, target, list(_closed(_lines(copies, definitions))))
    return sum(len(copy.records) for copy in copies)


async def _ended_sub_flows(past: ExecutionReader, row: ExecutionRow, known: set[str]) -> list[ExecutionCopy]:
    found: list[ExecutionCopy] = []
    pasts = {row.id: past}
    for child in await all_sub_flows(past.store, row.id):
        above = pasts.get(child.parent or "")
        reader = None if above is None else above.child(child.flow)
        if reader is None:
            raise UsageError(f"sub-flow {child.id!r} is of flow {child.flow!r}, which is no step of this flow now")
        pasts[child.id] = reader
        if child.id not in known and child.status in FINAL_STATUSES and child.created <= row.updated:
            found.append(await copy_one(reader, child, await reader.loaded(child, child.records)))
    return found


def _lines(copies: list[ExecutionCopy], definitions: dict[str, bytes]) -> Iterator[AnyLine]:
    raw = msgspec.Raw
    yield Header(FORMAT, copies[0].row.id, len(copies))
    for fingerprint, data in definitions.items():
        yield DefinitionLine(fingerprint, raw(data))
    for copy in copies:
        row = copy.row
        kept: dict[str, Any] = {name: getattr(row, name) for name in ExecutionLine.__struct_fields__}
        kept["options"] = raw(row.options)
        yield ExecutionLine(**kept)
        for records, definition, data in copy.snapshots:
            yield SnapshotLine(records, definition, raw(data))
        for digest, data in copy.payloads.items():
            yield PayloadLine(digest, raw(data))
        for number, record in copy.records:
            yield RecordLine(number, raw(record.data), record.item)


def _closed(lines: Iterable[AnyLine]) -> Iterator[bytes]:
    digest, count = hashlib.sha256(), 0
    for line in lines:
        data = _encode(line)
        if b"\n" in data:
            raise StoreDamaged(f"a stored value is not what this engine writes: {data[:100]!r}")
        digest.update(data + b"\n")
        count += 1
        yield data + b"\n"
    yield _encode(End(count, digest.hexdigest())) + b"\n"


def _write(target: Target, lines: list[bytes]) -> None:
    if isinstance(target, str | os.PathLike):
        write_file(target, lines)
    else:
        target.writelines(lines)


# -- reading ---------------------------------------------------------------------------------------------------------


async def load_archive(past: ExecutionReader, source: Target, id: str | None, limit: int) -> ExecutionRow:
    """Read an execution into the store; its row. See `History.load`."""
    data = await asyncio.to_thread(_read, source, limit)
    copies, definitions = assemble(data)
    from .archive_validation import vet  # it needs the memory store, and nothing else here does

    await vet(past, copies, definitions)
    if id is not None:
        copies = renamed(copies, id)
    store = past.store
    for copy in copies:
        if await store.find(copy.row.id) is not None:
            raise StoreConflict(f"execution {copy.row.id!r} exists in {store!r}; load it under another id: id=...")
    await keep(store, copies, definitions)
    return await past.row(copies[0].row.id)


async def keep(store: Store, copies: list[ExecutionCopy], definitions: dict[str, bytes]) -> None:
    """Put copies and what they need into a store; all executions or none."""
    for fingerprint, data in definitions.items():
        await store.put_definition(fingerprint, data)
    await store.put_copies(copies)


def _read(source: Target, limit: int) -> bytes:
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            data = file.read(limit + 1)
    else:
        data = source.read(limit + 1)
    if len(data) > limit:
        raise SnapshotError(f"the file has more than {limit:,} bytes; if it is yours, load it with a larger limit")
    return data


def assemble(data: bytes) -> tuple[list[ExecutionCopy], dict[str, bytes]]:
    """The executions and definitions of a file. Raises `SnapshotError` with the number of the line."""
    lines = data.split(b"\n")
    if lines[-1] != b"":
        raise SnapshotError("the file does not end with a line of its own; it was cut off")
    parsed = [_parse(number, line) for number, line in enumerate(lines[:-1], 1)]
    if not parsed or not isinstance(parsed[0], Header):
        raise SnapshotError("line 1: this is no exported execution")
    if parsed[0].format != FORMAT:
        raise SnapshotError(f"line 1: format {parsed[0].format} is not {FORMAT}, the one this version reads")
    end = parsed[-1]
    body = data[: len(data) - len(lines[-2]) - 1]
    if not isinstance(end, End):
        raise SnapshotError("the file has no last line; it was cut off")
    if end.lines != len(parsed) - 1 or end.sha256 != hashlib.sha256(body).hexdigest():
        raise SnapshotError("the file is not what was exported: its lines do not fit its last one")
    copies: list[ExecutionCopy] = []
    definitions: dict[str, bytes] = {}
    for number, line in enumerate(parsed[1:-1], 2):
        match line:
            case DefinitionLine() if not copies:
                definitions[line.fingerprint] = bytes(line.data)
            case ExecutionLine():
                kept: dict[str, Any] = {name: getattr(line, name) for name in line.__struct_fields__}
                kept["options"] = bytes(line.options)
                row = ExecutionRow(**kept)
                copies.append(ExecutionCopy(row=row, records=[], snapshots=[], payloads={}))
            case SnapshotLine() if copies:
                copies[-1].snapshots.append((line.records, line.definition, bytes(line.data)))
            case PayloadLine() if copies:
                copies[-1].payloads[line.digest] = bytes(line.data)
            case RecordLine() if copies:
                copies[-1].records.append((line.number, NewRecord(bytes(line.data), line.item)))
            case _:
                raise SnapshotError(f"line {number}: a line of this kind does not belong here")
    if len(copies) != parsed[0].executions or not copies or copies[0].row.id != parsed[0].id:
        raise SnapshotError("line 1: the file has other executions than its header says")
    return copies, definitions


def _parse(number: int, line: bytes) -> AnyLine:
    if len(line) > LINE:
        raise SnapshotError(f"line {number} has more than {LINE:,} bytes")
    try:
        return cast("AnyLine", _decode(line))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"line {number} cannot be read: {error}") from error
