"""Where two executions of a flow part, and what came of it."""

import sys
from typing import Any

import msgspec

from .._core import events
from .._core.machine import Machine
from .._core.state import UNSET
from ..run.options import same_value
from ..stores.protocol import ExecutionRow
from .following import StoreReader
from .reader import ExecutionReader
from .text import line, one_line, sides

#: In place of a value that one of the two does not have.
MISSING = "—"

Pair = tuple[Any, Any]


class Parting(msgspec.Struct, frozen=True):
    """The first record in which they differ: each as a record, and as a line; None where one had no more."""

    number: int
    records: tuple[events.Record | None, events.Record | None]
    lines: tuple[str, str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How two executions differ. It is false if they do not; times do not count."""

    ids: tuple[str, str]
    #: how many records each has
    records: tuple[int, int]
    #: None if all records that the store has of both are the same
    parting: Parting | None
    status: tuple[str, str]
    result: Pair
    #: what differs, by name of the chunk: what its runs came to, in the order of their numbers; `ErrorInfo`s where they
    #: failed
    chunks: dict[str, tuple[list[Any], list[Any]]]
    #: what differs, by key
    state: dict[str, Pair]
    #: number of the first stream item that differs, and both; None if all are the same
    stream: tuple[int, Any, Any] | None
    items: tuple[int, int]

    def __bool__(self) -> bool:
        """Whether they differ."""
        return self.parting is not None or bool(self.state) or self.stream is not None

    def __str__(self) -> str:
        """For a person: the first one's stands after "-", the other's after "+"."""
        one, other = self.ids
        if not self:
            return f"{one} and {other} are the same in {self.records[0]} records"
        lines = [f"- {one}  {self.records[0]} records, {self.status[0]}"]
        lines.append(f"+ {other}  {self.records[1]} records, {self.status[1]}")
        if self.parting is not None:
            lines += ["", f"they part at record {self.parting.number}"]
            lines += [f"{sign} {text or MISSING}" for sign, text in zip("-+", self.parting.lines, strict=True)]
        for name, pair in self.chunks.items():
            lines += ["", f"chunk {name}", *sides(_runs_told(pair[0]), _runs_told(pair[1]))]
        for key, (before, now) in self.state.items():
            lines += ["", f"state {key}", *sides(_told(before), _told(now))]
        if self.stream is not None:
            number, before, now = self.stream
            title = f"stream, from item {number} on ({self.items[0]} and {self.items[1]} items)"
            lines += ["", title, *sides(_told(before), _told(now))]
        if not same_value(*self.result):
            lines += ["", "result", *sides(_told(self.result[0]), _told(self.result[1]))]
        return "\n".join(lines)


def _told(value: Any) -> str:
    if isinstance(value, events.ErrorInfo):
        return f"{value.type}: {value.message}"
    return MISSING if value is UNSET else one_line(value)


def _runs_told(outcomes: list[Any]) -> str:
    return "; ".join(map(_told, outcomes)) or MISSING


class _Side:
    """One execution while both are read, record by record."""

    def __init__(self, past: ExecutionReader, row: ExecutionRow, first: int) -> None:
        self.row = row
        self.machine: Machine | None = None
        self.chunks: dict[str, dict[int, Any]] = {}
        self._steps = past.steps(row, min(first, row.records))
        self._since: float | None = None

    async def next(self) -> tuple[int, events.Record | None, str]:
        """The next record, its number and its line."""
        step = await anext(self._steps, None)
        if step is None:
            return sys.maxsize, None, ""
        number, record, chunk, _, self.machine = step
        self._since = record.at if self._since is None else self._since
        match record:
            case events.Completed(run=run, value=value):
                self.chunks.setdefault(chunk, {})[run] = value
            case events.Failed(run=run, error=error, retry_in=None):
                self.chunks.setdefault(chunk, {})[run] = error
            case _:
                pass
        return number, record, line(number, record, chunk, self._since)


async def difference(past: ExecutionReader, one: ExecutionRow, other: ExecutionRow) -> Difference:
    """Compare two executions, from the first record that the store can tell of both; see `History.diff`."""
    first = max(await past.earliest(one), await past.earliest(other))
    sides = _Side(past, one, first), _Side(past, other, first)
    parting: Parting | None = None
    heads = [await side.next() for side in sides]
    while heads[0][1] is not None or heads[1][1] is not None:
        number = min(heads[0][0], heads[1][0])
        pair = [head if head[0] == number else (number, None, "") for head in heads]
        if parting is None and not _same(pair[0][1], pair[1][1]):
            parting = Parting(number, (pair[0][1], pair[1][1]), (pair[0][2], pair[1][2]))
        heads = [await side.next() if head[0] == number else head for side, head in zip(sides, heads, strict=True)]
    finals = [await _final(past, side) for side in sides]
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
        stream=await _streams(past, one, other),
        items=(one.items, other.items),
    )


def _same(one: events.Record | None, other: events.Record | None) -> bool:
    if one is None or other is None or type(one) is not type(other):
        return False
    return same_value(msgspec.structs.replace(one, at=0.0), msgspec.structs.replace(other, at=0.0))


def _runs(side: _Side, name: str) -> list[Any]:
    return [outcome for _, outcome in sorted(side.chunks.get(name, {}).items())]


async def _final(past: ExecutionReader, side: _Side) -> Machine:
    return side.machine or (await past.loaded(side.row, side.row.records)).machine


async def _streams(past: ExecutionReader, one: ExecutionRow, other: ExecutionRow) -> tuple[int, Any, Any] | None:
    """The first item that differs."""
    readers = [StoreReader(past, row.id, follow=False) for row in (one, other)]
    while True:
        pair = [await anext(reader, UNSET) for reader in readers]
        if pair[0] is UNSET and pair[1] is UNSET:
            return None
        if pair[0] is UNSET or pair[1] is UNSET or readers[0].path != readers[1].path or not same_value(*pair):
            return max(reader.position for reader in readers), pair[0], pair[1]
