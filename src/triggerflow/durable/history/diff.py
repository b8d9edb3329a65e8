"""`Difference`: the comparison of two executions of a flow."""

import sys
from typing import Any

import msgspec

from ..._core import events
from ..._core.machine import Machine
from ..._core.state import UNSET
from ...run.options import same_value
from ...stores.protocol import ExecutionRow
from ..format.reader import ExecutionReader
from ..format.text import difference_lines, line, one_line
from .following import StoreReader

#: Printed in place of a value that one of the two executions does not have.
MISSING = "—"

Pair = tuple[Any, Any]


class Parting(msgspec.Struct, frozen=True):
    """The first record in which two executions differ: its number, both records, and both as lines of text.

    The record is None and the line is "" for an execution that has no record of that number."""

    number: int
    records: tuple[events.Record | None, events.Record | None]
    lines: tuple[str, str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How two executions differ. `bool(difference)` is False if they are equal. The times of records are not
    compared."""

    ids: tuple[str, str]
    #: how many records each execution has
    records: tuple[int, int]
    #: the first record that differs; None if all records that both executions have in the store are equal
    parting: Parting | None
    status: tuple[str, str]
    result: Pair
    #: chunks with different results, by name: the results of their runs in order; an `ErrorInfo` where a run failed
    chunks: dict[str, tuple[list[Any], list[Any]]]
    #: both values of each state key whose values differ; `UNSET` for a missing one
    state: dict[str, Pair]
    #: the number of the first stream item that differs, and both items; None if all are equal
    stream: tuple[int, Any, Any] | None
    items: tuple[int, int]

    def __bool__(self) -> bool:
        """Whether the executions differ."""
        return self.parting is not None or bool(self.state) or self.stream is not None

    def __str__(self) -> str:
        """The difference as text: lines of the first execution begin with "-", those of the other with "+"."""
        one, other = self.ids
        if not self:
            return f"{one} and {other} are the same in {self.records[0]} records"
        lines = [f"- {one}  {self.records[0]} records, {self.status[0]}"]
        lines.append(f"+ {other}  {self.records[1]} records, {self.status[1]}")
        if self.parting is not None:
            lines += ["", f"they differ from record {self.parting.number}"]
            lines += [f"{sign} {text or MISSING}" for sign, text in zip("-+", self.parting.lines, strict=True)]
        for name, pair in self.chunks.items():
            lines += ["", f"chunk {name}", *difference_lines(_runs_text(pair[0]), _runs_text(pair[1]))]
        for key, (before, now) in self.state.items():
            lines += ["", f"state {key}", *difference_lines(_text(before), _text(now))]
        if self.stream is not None:
            number, before, now = self.stream
            title = f"stream, from item {number} on ({self.items[0]} and {self.items[1]} items)"
            lines += ["", title, *difference_lines(_text(before), _text(now))]
        if not same_value(*self.result):
            lines += ["", "result", *difference_lines(_text(self.result[0]), _text(self.result[1]))]
        return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, events.ErrorInfo):
        return f"{value.type}: {value.message}"
    return MISSING if value is UNSET else one_line(value)


def _runs_text(outcomes: list[Any]) -> str:
    return "; ".join(map(_text, outcomes)) or MISSING


class _Side:
    """One of the two executions. Both are replayed record by record."""

    def __init__(self, reader: ExecutionReader, row: ExecutionRow, first: int) -> None:
        self.row = row
        self.machine: Machine | None = None
        self.chunks: dict[str, dict[int, Any]] = {}
        self._steps = reader.steps(row, min(first, row.records))
        self._since: float | None = None

    async def next(self) -> tuple[int, events.Record | None, str]:
        """Replay the next record; return its number, the record, and its line.

        At the end, the number is larger than all others, the record None and the line empty."""
        step = await anext(self._steps, None)
        if step is None:
            return sys.maxsize, None, ""
        number, record, chunk, self.machine = step.number, step.record, step.chunk, step.machine
        self._since = record.at if self._since is None else self._since
        match record:
            case events.Completed(run=run, value=value):
                self.chunks.setdefault(chunk, {})[run] = value
            case events.Failed(run=run, error=error, retry_in=None):
                self.chunks.setdefault(chunk, {})[run] = error
            case _:
                pass
        return number, record, line(number, record, chunk, self._since)


async def difference(reader: ExecutionReader, one: ExecutionRow, other: ExecutionRow) -> Difference:
    """Compare two executions, from the first record that can be replayed of both; see `History.diff`."""
    first = max(await reader.earliest(one), await reader.earliest(other))
    sides = _Side(reader, one, first), _Side(reader, other, first)
    parting: Parting | None = None
    heads = [await side.next() for side in sides]
    while heads[0][1] is not None or heads[1][1] is not None:
        number = min(heads[0][0], heads[1][0])
        pair = [head if head[0] == number else (number, None, "") for head in heads]
        if parting is None and not _same(pair[0][1], pair[1][1]):
            parting = Parting(number, (pair[0][1], pair[1][1]), (pair[0][2], pair[1][2]))
        heads = [await side.next() if head[0] == number else head for side, head in zip(sides, heads, strict=True)]
    finals = [await _final(reader, side) for side in sides]
    names = [name for name in {**sides[0].chunks, **sides[1].chunks} if name]
    chunks = {name: (_runs(sides[0], name), _runs(sides[1], name)) for name in names}
    states = [machine.state for machine in finals]
    keys = {**states[0].data, **states[1].data}
    pairs = {key: (states[0].data.get(key, UNSET), states[1].data.get(key, UNSET)) for key in keys}
    return Difference(
        ids=(one.id, other.id),
        records=(one.records, other.records),
        parting=parting,
        status=(one.status, other.status),
        result=(states[0].result, states[1].result),
        chunks={name: pair for name, pair in chunks.items() if not same_value(*pair)},
        state={key: pair for key, pair in pairs.items() if not same_value(*pair)},
        stream=await _streams(reader, one, other),
        items=(one.items, other.items),
    )


def _same(one: events.Record | None, other: events.Record | None) -> bool:
    if one is None or other is None or type(one) is not type(other):
        return False
    return same_value(msgspec.structs.replace(one, at=0.0), msgspec.structs.replace(other, at=0.0))


def _runs(side: _Side, name: str) -> list[Any]:
    return [outcome for _, outcome in sorted(side.chunks.get(name, {}).items())]


async def _final(reader: ExecutionReader, side: _Side) -> Machine:
    return side.machine or (await reader.restore(side.row, side.row.records)).machine


async def _streams(reader: ExecutionReader, one: ExecutionRow, other: ExecutionRow) -> tuple[int, Any, Any] | None:
    """Find the first stream item that differs: its number, and both items. None if the streams are equal."""
    streams = [StoreReader(reader, row.id, follow=False) for row in (one, other)]
    while True:
        pair = [await anext(stream, UNSET) for stream in streams]
        if pair[0] is UNSET and pair[1] is UNSET:
            return None
        if pair[0] is UNSET or pair[1] is UNSET or streams[0].path != streams[1].path or not same_value(*pair):
            return max(stream.position for stream in streams), pair[0], pair[1]
