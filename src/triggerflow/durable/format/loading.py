"""Snapshots (write, read, migrate to another definition), stream items, and the replay of one record."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..._core import events
from ..._core.commands import AnyCommand
from ..._core.errors import SnapshotError, StoreDamaged, TriggerFlowError, without_values
from ..._core.machine import Machine
from ..._core.plan import Plan
from ..._core.snapshot import decode as decode_state
from ..._core.snapshot import encode as encode_state
from ...run.saving import pack_start, unpack_start
from ...run.stream import StreamItem
from ...serialize.payload import Types
from ...stores.protocol import Store
from .codec import decode
from .payloads import UNREADABLE
from .versions import apply_map

#: How many records are read from the store in one call.
PAGE = 500


class RestoredExecution(NamedTuple):
    """An execution restored from the store: its machine, and its start value (UNSET if it has not started)."""

    machine: Machine
    value: Any


async def read_items(store: Store, execution: str, types: Types, after: int) -> list[StreamItem]:
    """The next stream items after number `after`, up to `PAGE` of them. Raises `StoreDamaged`."""
    rows = await store.items(execution, after=after, limit=PAGE)
    records = await decode([data for _, data in rows], types, store.payloads)
    found: list[StreamItem] = []
    for (number, _), record in zip(rows, records, strict=True):
        if not isinstance(record, events.StreamPut):
            raise StoreDamaged(f"execution {execution!r}: item {number} of its stream has a record of another kind")
        found.append(StreamItem(number, record.item, record.path))
    return found


def write_snapshot(restored: RestoredExecution, types: Types) -> bytes:
    """Encode a snapshot for `Store.put_snapshot`. Raises `PayloadError`."""
    return _snapshot(restored, encode_state(restored.machine.plan, restored.machine.state, types.pack), types)


def migrate(
    restored: RestoredExecution,
    plan: Plan,
    types: Types,
    operator_map: Mapping[str, str | None] | None,
    replaced: bytes | None = None,
) -> tuple[RestoredExecution, bytes]:
    """Move an execution to another definition; return it and its snapshot under that definition.

    `replaced` is the snapshot of the same moment that the new one replaces: the execution was moved to the definition
    of today without a record. Raises `SnapshotError` if its state does not fit the definition."""
    before = restored.machine.plan.definition.fingerprint
    if replaced is not None:
        before = definition_before(replaced) or before
    state = encode_state(restored.machine.plan, restored.machine.state, types.pack)
    state = apply_map(state, plan.definition, operator_map)
    machine = Machine(plan, decode_state(plan, state, types.unpack))
    return RestoredExecution(machine, restored.value), _snapshot(restored, state, types, before)


class _Head(msgspec.Struct):
    """A snapshot of which only `before` is read."""

    state: msgspec.Raw
    value: msgspec.Raw
    before: str | None = None


_head = msgspec.json.Decoder(_Head).decode


def definition_before(snapshot: bytes) -> str | None:
    """The definition (fingerprint) of the records before this snapshot if the snapshot has another one; else None."""
    try:
        return _head(snapshot).before
    except UNREADABLE as error:
        raise SnapshotError(f"a stored snapshot cannot be read: {error}") from error


def from_snapshot(snapshot: bytes, plan: Plan, types: Types) -> RestoredExecution:
    """Restore an execution from a snapshot. Raises `SnapshotError`."""
    try:
        stored = msgspec.json.decode(snapshot)
        state, value = stored["state"], stored["value"]
    except (*UNREADABLE, LookupError, TypeError) as error:
        raise SnapshotError(f"a stored snapshot cannot be read: {error}") from error
    machine = Machine(plan, decode_state(plan, state, types.unpack))
    return RestoredExecution(machine, unpack_start(value, types))


def replay_record(machine: Machine, record: events.Event, id: str) -> list[AnyCommand]:
    """Replay one record; returns the commands. Raises `StoreDamaged` if the machine rejects the record."""
    try:
        return machine.receive(record)
    except (TriggerFlowError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        number = machine.state.records
        raise StoreDamaged(
            f"execution {id!r}: record {number} does not follow from those before it: {without_values(error)}"
        ) from None


def _snapshot(restored: RestoredExecution, state: Mapping[str, Any], types: Types, before: str | None = None) -> bytes:
    return msgspec.json.encode({"value": pack_start(restored.value, types), "state": state, "before": before})
