"""Export of the spans of stored executions, at any later time."""

from typing import TYPE_CHECKING

import msgspec

from ..backend import Backend, BadRequest, ExecutionInfo
from ..backend.roots import root_of
from ..errors import UnknownExecution
from .sdk import Resource, default_resource, readable, send
from .walk import Tree, roots

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter


class Cursor(msgspec.Struct):
    """How far was exported: all changes before a cursor of the change feed, and all frames up to a time (seconds since
    the epoch)."""

    changes: str
    until: float = 0.0

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def read_cursor(text: str) -> Cursor:
    """The cursor in a text. Raises `BadRequest`."""
    try:
        return msgspec.json.decode(text, type=Cursor)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadRequest(f"{text[:100]!r} is no cursor of an export") from error


async def export(
    backend: Backend,
    exporter: "SpanExporter",
    id: str,
    *,
    capture_values: bool = False,
    resource: Resource | None = None,
) -> int:
    """Export the finished spans of an execution and of its sub-flows. Returns the number of spans.

    Every export from any process gives the same spans with the same ids, unless records were added to the execution or
    deleted (`compact`, `prune`) meanwhile. An open attempt or execution has no span yet. With `capture_values` the
    spans have recorded values and messages of errors, which may contain personal data.
    Raises `UnknownExecution`, `StoreError`, and `ExportFailed` if the exporter fails.
    """
    info = await backend.get(id)
    return await _export(backend, exporter, info, capture_values, resource or default_resource(), unsampled=True)


async def export_all(
    backend: Backend,
    exporter: "SpanExporter",
    *,
    after: str | None = None,
    capture_values: bool = False,
    resource: Resource | None = None,
) -> str:
    """Export all executions, or those that have changed since the cursor `after`. Returns the cursor for the next call.

    A changed execution is exported as a whole, so some spans are exported again, with the same ids. Otherwise as
    `export`, except that executions whose caller's span is not sampled are left out. Raises `BadRequest` for a
    malformed cursor.
    """
    resource = resource or default_resource()
    before = None if after is None else read_cursor(after)
    found = await backend.changes(None if before is None else before.changes, wait=0)
    changed: dict[str, ExecutionInfo] = {}
    if before is None or found.resync:
        changed = {info.id: info async for info in roots(backend)}
    else:
        for id in found.executions:
            try:
                info = await root_of(backend, await backend.get(id))
            except UnknownExecution:
                continue  # it was deleted
            changed[info.id] = info
    until = 0.0 if before is None else before.until
    for info in changed.values():
        try:
            await _export(backend, exporter, info, capture_values, resource)
        except UnknownExecution:
            continue
        until = max(until, info.updated)
    return str(Cursor(found.cursor, until))


async def _export(
    backend: Backend,
    exporter: "SpanExporter",
    info: ExecutionInfo,
    capture: bool,
    resource: Resource,
    *,
    unsampled: bool = False,
) -> int:
    count = 0
    async for ids, spans in Tree(backend, capture).spans(info):
        if not (ids.flags & 1 or unsampled):
            break
        await send(exporter, [readable(it, ids, resource) for it in spans])
        count += len(spans)
    return count
