"""Archives: one execution with its sub-flows as a file of JSON lines, which another store can load and continue.

    header, definitions, then for the execution and each sub-flow: row, snapshots, payloads, records; end

The last line has the number of lines and their SHA-256, so that a truncated or damaged file is detected. A file may
come from an untrusted source: its size is limited, every line is checked, the size of every value is computed before
the value is built, and all records are replayed in memory before the store changes.
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
from ..stores.protocol import FINAL_STATUSES, ExecutionCopy, ExecutionRow, NewRecord, StatusName
from .copying import all_sub_flows, copy_one, copy_tree, renamed
from .listing import put_copies
from .reader import ExecutionReader

#: The version of the format. Every change of its meaning increments it.
FORMAT = 1

#: The longest line that is accepted, in bytes.
MAX_LINE = 64 * 1024 * 1024

Target = str | os.PathLike[str] | BinaryIO
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
#: seconds since the epoch, until the year 9999
Time = Annotated[float, msgspec.Meta(ge=0, lt=253402300800)]


class _Line(msgspec.Struct, tag_field="line", forbid_unknown_fields=True, omit_defaults=True):
    """Base class of the lines of an archive."""


class Header(_Line, tag="triggerflow-execution"):
    """The first line of an archive."""

    format: int
    id: Name
    executions: Count


class DefinitionLine(_Line, tag="definition"):
    """A definition under which records were written."""

    fingerprint: Name
    data: msgspec.Raw


class ExecutionLine(_Line, tag="execution"):
    """The row of an execution. The snapshots, payloads and records after it belong to it."""

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
    """A snapshot: the state of the execution after its first `records` records."""

    records: Count
    definition: Name
    data: msgspec.Raw


class PayloadLine(_Line, tag="payload"):
    """A payload: a large part of values."""

    digest: Name
    data: msgspec.Raw


class RecordLine(_Line, tag="record"):
    """A record. `item` is its number in the runtime stream, or 0 if it is no stream item."""

    number: Count
    data: msgspec.Raw
    item: Count = 0


class End(_Line, tag="end"):
    """The last line of an archive: how many lines are before it, and their SHA-256."""

    lines: Count
    sha256: str


AnyLine = Header | DefinitionLine | ExecutionLine | SnapshotLine | PayloadLine | RecordLine | End
_decode = msgspec.json.Decoder(AnyLine).decode
_encode = msgspec.json.Encoder().encode


# -- writing ---------------------------------------------------------------------------------------------------------


async def export(reader: ExecutionReader, row: ExecutionRow, target: Target) -> int:
    """Write an execution; returns the number of records. See `History.export`."""
    if row.parent is not None:
        raise UsageError(f"execution {row.id!r} is a sub-flow; export {row.parent!r}, its parent, instead")
    copies = await copy_tree(reader, row, row.records)
    copies += await _ended_sub_flows(reader, row, {copy.row.id for copy in copies})
    definitions: dict[str, bytes] = {}
    for fingerprint in {copy.row.definition for copy in copies} | {it[1] for copy in copies for it in copy.snapshots}:
        data = await reader.store.definition(fingerprint)
        if data is None:
            raise StoreDamaged(f"the store lacks the definition {fingerprint!r} of execution {row.id!r}")
        definitions[fingerprint] = data
    await asyncio.to_thread(_write, target, list(_with_end(_lines(copies, definitions))))
    return sum(len(copy.records) for copy in copies)


async def _ended_sub_flows(reader: ExecutionReader, row: ExecutionRow, known: set[str]) -> list[ExecutionCopy]:
    found: list[ExecutionCopy] = []
    readers = {row.id: reader}
    for child in await all_sub_flows(reader.store, row.id):
        above = readers.get(child.parent or "")
        child_reader = None if above is None else above.child(child.flow)
        if child_reader is None:
            raise UsageError(f"sub-flow {child.id!r} is of flow {child.flow!r}, but this flow has no such step now")
        readers[child.id] = child_reader
        if child.id not in known and child.status in FINAL_STATUSES and child.created <= row.updated:
            found.append(await copy_one(child_reader, child, await child_reader.restore(child, child.records)))
    return found


def _lines(copies: list[ExecutionCopy], definitions: dict[str, bytes]) -> Iterator[AnyLine]:
    raw = msgspec.Raw
    yield Header(FORMAT, copies[0].row.id, len(copies))
    for fingerprint, data in definitions.items():
        yield DefinitionLine(fingerprint, raw(data))
    for copy in copies:
        row = copy.row
        values: dict[str, Any] = {name: getattr(row, name) for name in ExecutionLine.__struct_fields__}
        values["options"] = raw(row.options)
        yield ExecutionLine(**values)
        for records, definition, data in copy.snapshots:
            yield SnapshotLine(records, definition, raw(data))
        for digest, data in copy.payloads.items():
            yield PayloadLine(digest, raw(data))
        for number, record in copy.records:
            yield RecordLine(number, raw(record.data), record.item)


def _with_end(lines: Iterable[AnyLine]) -> Iterator[bytes]:
    digest, count = hashlib.sha256(), 0
    for line in lines:
        data = _encode(line)
        if b"\n" in data:
            raise StoreDamaged(
                f"a stored value has a line break, which this engine never writes; it is in a {type(line).__name__}"
            )
        digest.update(data + b"\n")
        count += 1
        yield data + b"\n"
    yield _encode(End(count, digest.hexdigest())) + b"\n"


def _write(target: Target, lines: list[bytes]) -> None:
    if isinstance(target, str | os.PathLike):
        write_file(target, lines, private=True)
    else:
        target.writelines(lines)


# -- reading ---------------------------------------------------------------------------------------------------------


async def load_archive(reader: ExecutionReader, source: Target, id: str | None, limit: int) -> ExecutionRow:
    """Load an execution into the store; returns its row. See `History.load`."""
    data = await asyncio.to_thread(_read, source, limit)
    copies, definitions = parse(data)
    from .archive_validation import validate  # imported here: only loading needs the memory store

    await validate(reader, copies, definitions)
    copies[0].listens = tuple(reader.program.plan.flow_data)
    if id is not None:
        copies = renamed(copies, id)
    store = reader.store
    for copy in copies:
        if await store.find(copy.row.id) is not None:
            raise StoreConflict(f"execution {copy.row.id!r} exists in {store!r}; load it under another id: id=...")
    for fingerprint, definition in definitions.items():
        await store.put_definition(fingerprint, definition)
    await put_copies(reader, copies)
    return await reader.row(copies[0].row.id)


def _read(source: Target, limit: int) -> bytes:
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            data = file.read(limit + 1)
    else:
        data = source.read(limit + 1)
    if len(data) > limit:
        raise SnapshotError(f"the file has more than {limit:,} bytes; if you trust it, pass a larger limit: limit=...")
    return data


def parse(data: bytes) -> tuple[list[ExecutionCopy], dict[str, bytes]]:
    """Return the executions and the definitions in an archive. Raises `SnapshotError` if the archive is damaged."""
    lines = data.split(b"\n")
    if lines[-1] != b"":
        raise SnapshotError("the file does not end with a line break: it was truncated; export or copy it again")
    parsed = [_parse_line(number, line) for number, line in enumerate(lines[:-1], 1)]
    if not parsed or not isinstance(parsed[0], Header):
        raise SnapshotError("line 1: this is no exported execution")
    if parsed[0].format != FORMAT:
        raise SnapshotError(f"line 1: format {parsed[0].format} is not {FORMAT}, the one this version reads")
    end = parsed[-1]
    body = data[: len(data) - len(lines[-2]) - 1]
    if not isinstance(end, End):
        raise SnapshotError("the file has no end line: it was truncated; export or copy it again")
    if end.lines != len(parsed) - 1 or end.sha256 != hashlib.sha256(body).hexdigest():
        raise SnapshotError("checksum mismatch: the file was changed or damaged; export or copy it again")
    copies: list[ExecutionCopy] = []
    definitions: dict[str, bytes] = {}
    for number, line in enumerate(parsed[1:-1], 2):
        match line:
            case DefinitionLine() if not copies:
                definitions[line.fingerprint] = bytes(line.data)
            case ExecutionLine():
                values: dict[str, Any] = {name: getattr(line, name) for name in line.__struct_fields__}
                values["options"] = bytes(line.options)
                row = ExecutionRow(**values)
                copies.append(ExecutionCopy(row=row, records=[], snapshots=[], payloads={}))
            case SnapshotLine() if copies:
                copies[-1].snapshots.append((line.records, line.definition, bytes(line.data)))
            case PayloadLine() if copies:
                copies[-1].payloads[line.digest] = bytes(line.data)
            case RecordLine() if copies:
                copies[-1].records.append((line.number, NewRecord(bytes(line.data), line.item)))
            case _:
                raise SnapshotError(
                    f"line {number}: a line of this kind cannot be at this place; export or copy the file again"
                )
    if len(copies) != parsed[0].executions or not copies or copies[0].row.id != parsed[0].id:
        raise SnapshotError(
            "line 1: the header does not match the executions in the file; the file may be cut off or changed"
        )
    return copies, definitions


def _parse_line(number: int, line: bytes) -> AnyLine:
    if len(line) > MAX_LINE:
        raise SnapshotError(f"line {number} has more than {MAX_LINE:,} bytes, which is the limit")
    try:
        return cast("AnyLine", _decode(line))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"line {number} cannot be read: {error}") from error
