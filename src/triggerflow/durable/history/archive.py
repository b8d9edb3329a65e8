"""Archives: one execution with its sub-flows as a file of JSON lines, which another store can load and continue.

    header, definitions, then for the execution and each sub-flow: row, snapshots, payloads, records; end

The last line has the number of lines and their SHA-256, so that a truncated or damaged file is detected. A file may
come from an untrusted source: its size is limited, every line is checked, the size of every value is computed before
the value is built, and all records are replayed in memory before the store changes. A file that is written has to pass
the same limits (`archive_validation.check_export`), so that what `export` writes, `load` takes.

A large file takes seconds to write, read and check. That runs in a thread, so that the event loop serves others.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Annotated, Any, BinaryIO, TypeVar, cast

import msgspec

from ..._core.errors import SnapshotError, StoreConflict, StoreDamaged, UsageError
from ...serialize.text import write_file
from ...stores.protocol import FINAL_STATUSES, ExecutionCopy, ExecutionRow, NewRecord, StatusName
from ..format.loading import definition_before
from ..format.payloads import UNREADABLE
from ..format.reader import ExecutionReader
from .copying import all_sub_flows, copy_one, copy_tree, renamed
from .listing import put_copies

#: The version of the format. Every change of its meaning increments it.
FORMAT = 1

#: The largest file that is written or read by default, in bytes.
LIMIT = 256 * 1024 * 1024

T = TypeVar("T")
Target = str | os.PathLike[str] | BinaryIO
#: An id or a name; each level of sub-flows adds to the id of an execution.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
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
    labels: dict[str, str] = {}
    error: str | None = None


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


async def export(reader: ExecutionReader, row: ExecutionRow, target: Target, limit: int = LIMIT) -> int:
    """Write an execution; returns the number of records. See `History.export`."""
    if row.parent is not None:
        raise UsageError(f"execution {row.id!r} is a sub-flow; export {row.parent!r}, its parent, instead")
    copies = await copy_tree(reader, row, row.records)
    copies += await _ended_sub_flows(reader, row, {copy.row.id for copy in copies})
    definitions: dict[str, bytes] = {}
    for fingerprint in {name for copy in copies for name in definitions_of(copy)}:
        data = await reader.store.definition(fingerprint)
        if data is None:
            raise StoreDamaged(f"the store lacks the definition {fingerprint!r} of execution {row.id!r}")
        definitions[fingerprint] = data

    def write(stop: Event) -> None:
        _write(target, _checked(reader, copies, definitions, limit, stop))

    await _in_thread(write)
    return sum(len(copy.records) for copy in copies)


def definitions_of(copy: ExecutionCopy) -> set[str]:
    """The fingerprints of all definitions under which the records of an execution were written."""
    snapshots = (name for _, under, data in copy.snapshots for name in (under, definition_before(data)))
    return {copy.row.definition, *(name for name in snapshots if name is not None)}


def _checked(
    reader: ExecutionReader,
    copies: list[ExecutionCopy],
    definitions: dict[str, bytes],
    limit: int,
    stop: Event,
) -> list[bytes]:
    """The lines of a file that `load` takes. Raises `UsageError` if it would not."""
    from .archive_validation import check_export  # imported here, as for loading

    lines: list[bytes] = []
    size = 0
    try:
        for line in _with_end(_lines(copies, definitions)):
            lines.append(line)
            size += len(line)
            _parse_line(len(lines), line)
            if size > limit:
                raise SnapshotError(f"the file would have more than {limit:,} bytes")
        check_export(reader, copies, definitions, size, limit, stop)
    except SnapshotError as error:
        raise UsageError(
            f"execution {copies[0].row.id!r} is not exported, because it could not be loaded: {error}. Both take a "
            "larger limit: export(id, target, limit=...) and load(source, limit=...)"
        ) from None
    return lines


async def _in_thread(work: Callable[[Event], T]) -> T:
    """Run a function in a thread. It gets an event that is set if the caller is cancelled: then it has to end soon."""
    stop = Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()


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
    from .archive_validation import validate  # imported here: only loading needs the memory store

    def read(stop: Event) -> tuple[list[ExecutionCopy], dict[str, bytes]]:
        copies, definitions, size = _read(source, limit, stop)
        validate(reader, copies, definitions, size, limit, stop)
        return copies, definitions

    copies, definitions = await _in_thread(read)
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


def _read(source: Target, limit: int, stop: Event) -> tuple[list[ExecutionCopy], dict[str, bytes], int]:
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return parse(file, limit, stop)
    return parse(source if hasattr(source, "readline") else BytesIO(source.read(limit + 1)), limit, stop)


def parse(file: BinaryIO, limit: int, stop: Event) -> tuple[list[ExecutionCopy], dict[str, bytes], int]:
    """Return the executions and the definitions in an archive, and its size. Line by line: the whole file would be in
    memory twice. Raises `SnapshotError` if the archive is damaged, or has more than `limit` bytes."""
    copies: list[ExecutionCopy] = []
    definitions: dict[str, bytes] = {}
    digest, size, number, header, end = hashlib.sha256(), 0, 0, None, None
    while data := file.readline(limit + 1 - size):
        size += len(data)
        number += 1
        if size > limit:
            raise SnapshotError(
                f"the file has more than {limit:,} bytes; if you trust it, pass a larger limit: limit=..."
            )
        if stop.is_set():
            raise SnapshotError("the caller does not wait any more")
        if not data.endswith(b"\n"):
            raise SnapshotError("the file does not end with a line break: it was truncated; export or copy it again")
        if end is not None:
            raise SnapshotError(f"line {number}: there is a line after the end; export or copy the file again")
        line = _parse_line(number, data)
        if header is None:
            if not isinstance(line, Header):
                raise SnapshotError("line 1: this is no exported execution")
            if line.format != FORMAT:
                raise SnapshotError(f"line 1: format {line.format} is not {FORMAT}, the one this version reads")
            header = line
        elif isinstance(line, End):
            end = line
            continue
        else:
            _take(line, number, copies, definitions)
        digest.update(data)
    if header is None:
        raise SnapshotError("line 1: this is no exported execution")
    if end is None:
        raise SnapshotError("the file has no end line: it was truncated; export or copy it again")
    if end.lines != number - 1 or end.sha256 != digest.hexdigest():
        raise SnapshotError("checksum mismatch: the file was changed or damaged; export or copy it again")
    if len(copies) != header.executions or not copies or copies[0].row.id != header.id:
        raise SnapshotError(
            "line 1: the header does not match the executions in the file; the file may be cut off or changed"
        )
    return copies, definitions, size


def _take(line: AnyLine, number: int, copies: list[ExecutionCopy], definitions: dict[str, bytes]) -> None:
    """Add a line between the first and the last to the executions, or to the definitions."""
    match line:
        case DefinitionLine() if not copies:
            definitions[line.fingerprint] = bytes(line.data)
        case ExecutionLine():
            values: dict[str, Any] = {name: getattr(line, name) for name in line.__struct_fields__}
            values["options"] = bytes(line.options)
            copies.append(ExecutionCopy(row=ExecutionRow(**values), records=[], snapshots=[], payloads={}))
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


def _parse_line(number: int, line: bytes) -> AnyLine:
    try:
        return cast("AnyLine", _decode(line))
    except UNREADABLE as error:
        raise SnapshotError(f"line {number} cannot be read: {error}") from error
