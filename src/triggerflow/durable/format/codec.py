"""Encodes records as JSON, and decodes them. `payload.Types` packs the values in them; large parts become payloads.

A record is encoded before the machine receives it: if its value cannot be encoded, the state has not changed.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

import msgspec

from ..._core import events
from ..._core.errors import PayloadError, SnapshotError, StoreDamaged
from ..._core.state import RunState
from ...serialize.digests import digest_of_event
from ...serialize.payload import Types
from .payloads import PART, UNREADABLE, fold, references, unfold

Fetch = Callable[[Iterable[str]], Awaitable[Mapping[str, bytes]]]

#: The field that holds a user's value, by kind of record. Kinds that are not listed hold values of the engine only.
VALUES: dict[type[events.Event], str] = {
    events.Started: "value",
    events.Completed: "value",
    events.Emitted: "value",
    events.StateChanged: "value",
    events.FlowDataChanged: "value",
    events.StreamPut: "item",
    events.ResultSet: "value",
    events.ResultChecked: "value",
    events.Paused: "payload",
    events.Resumed: "value",
    events.SourceItems: "items",
    events.ItemsGiven: "items",
}
_PLAIN = (type(None), bool, int)
#: The records that a repeated attempt of a run compares by value.
_EFFECTS = frozenset((events.Emitted, events.StateChanged, events.FlowDataChanged, events.StreamPut, events.ResultSet))


def _names(*kinds: Any) -> dict[type[events.Event], tuple[str, ...]]:
    return {
        record: tuple(name for name, kind in record.__annotations__.items() if kind in kinds)
        for record in get_args(events.Record)
    }


#: The text and flag fields of each kind of record. `encode` checks their types, since a value of another type that a
#: user has passed could be encoded, but not decoded.
_TEXTS = _names(str, str | None)
_FLAGS = _names(bool)


def _plain_text(value: Any) -> str:
    """Encode a declared signal, which is a subclass of str, as plain text."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a record")


_encode = msgspec.json.Encoder(enc_hook=_plain_text).encode
_decode = msgspec.json.Decoder(events.Record).decode
_decode_any = msgspec.json.Decoder().decode


def encode(record: events.Event, types: Types, state: RunState, payloads: dict[str, bytes]) -> bytes:
    """Encode a record, and add its large parts to `payloads`. Raises `PayloadError`, which names the value."""
    kind = type(record)
    for field in _TEXTS[kind]:
        text = getattr(record, field)
        if text is not None and not isinstance(text, str):
            raise PayloadError(f"{field!r} of this {kind.__name__} has to be a string, not a {type(text).__qualname__}")
    for field in _FLAGS[kind]:
        if type(flag := getattr(record, field)) is not bool:
            raise PayloadError(
                f"{field!r} of this {kind.__name__} has to be True or False, not a {type(flag).__qualname__}"
            )
    name = VALUES.get(kind)
    value = None if name is None else getattr(record, name)
    taken = record
    if name is not None and type(value) not in _PLAIN:
        value = types.pack(value, _where(record, state))
        record = msgspec.structs.replace(record, **{name: value})
    if kind in _EFFECTS and record.run is not None and record.digest is None:  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        # The machine receives `taken`, and keeps the digest with the run.
        try:
            taken.digest = record.digest = digest_of_event(record, value)  # pyright: ignore[reportAttributeAccessIssue]
        except ValueError as error:  # for example, an integer with thousands of digits
            raise PayloadError(f"{_where(record, state)} cannot be recorded: {error}") from None
    try:
        data = _encode(record)
    except UnicodeEncodeError as error:  # only in a name: `pack` has checked the user's value
        raise PayloadError(f"a name or text in this {kind.__name__} is not valid Unicode: {error}") from None
    except ValueError as error:  # for example, an integer with thousands of digits
        raise PayloadError(f"{_where(record, state)} cannot be recorded: {error}") from None
    if len(data) > PART and name is not None:
        folded = fold(value, payloads)
        if folded is not value:
            data = _encode(msgspec.structs.replace(record, **{name: folded}))
    return data


def _where(record: events.Event, state: RunState | None = None) -> str:
    """A description of a record's value for error messages. With the state it names the chunk."""
    number: int | None = getattr(record, "run", None)
    run = None if number is None or state is None else state.runs.get(number)
    by = "" if run is None else f" of chunk {run.node.name!r}"
    match record:
        case events.Started():
            return "the start value"
        case events.Completed():
            return f"the result{by}"
        case events.Emitted(name=name):
            return f"the value of signal {name!r}" + by.replace(" of ", " from ")
        case events.StateChanged(key=key):
            return f"state[{key!r}]" + by.replace(" of ", " in ")
        case events.FlowDataChanged(key=key):
            return f"flow_data[{key!r}]"
        case events.StreamPut():
            return f"a stream item{by}"
        case events.Paused(interrupt=interrupt):
            return f"the payload of interrupt {interrupt!r}{by}"
        case events.Resumed(interrupt=interrupt):
            return f"the answer to interrupt {interrupt!r}"
        case events.SourceItems():
            return "an item of a lazy for_each source"
        case events.ItemsGiven():
            return f"an item{by} for the for_each that follows it"
        case _:
            return "the result of the execution"


async def decode(rows: Sequence[bytes], types: Types, fetch: Fetch) -> Iterator[events.Record]:
    """Decode records. Each value is put together when its record is read: one payload may be part of many values.

    Raises `StoreDamaged` for data that is no record, and `SnapshotError` for an unknown type."""
    try:
        records: list[Any] = [_decode(row) for row in rows]
    except UNREADABLE as error:
        raise StoreDamaged(f"a stored record cannot be read: {error}") from error
    values = [getattr(record, VALUES[type(record)]) if type(record) in VALUES else None for record in records]
    return _with_values(records, values, types, await gather(values, fetch))


def _with_values(
    records: list[Any], values: list[Any], types: Types, payloads: Mapping[str, Any]
) -> Iterator[events.Record]:
    for index, record in enumerate(records):
        value, records[index], values[index] = values[index], None, None  # these may be large
        if type(value) not in _PLAIN:
            setattr(record, VALUES[type(record)], None)
            try:
                whole = unfold(value, payloads)
                value = None
                frozen = type(record) is events.StateChanged  # the state freezes it
                setattr(record, VALUES[type(record)], types.unpack(whole, owned=True, frozen=frozen))
                whole = None
            except (SnapshotError, StoreDamaged) as error:
                raise type(error)(f"{_where(record)} cannot be read: {error}") from None
            value = None
        yield record


class Payloads(Mapping[str, Any]):
    """Payloads by digest, each decoded when it is asked for: together they can be many times as large as their data."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> Any:
        return _decode_any(self.data[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


async def gather(values: Any, fetch: Fetch) -> Payloads:
    """Fetch all payloads to which the values refer, directly or through other payloads. Raises `StoreDamaged`."""
    found = Payloads()
    wanted = set(references(values))
    while wanted:
        fresh = await fetch(wanted)
        try:
            wanted = {name for data in fresh.values() for name in references(_decode_any(data))}
        except UNREADABLE as error:
            raise StoreDamaged(f"a stored payload cannot be read: {error}") from error
        found.data.update(fresh)
        wanted -= found.data.keys()
    return found
