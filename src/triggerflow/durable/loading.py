"""What is read of an execution, and its snapshots: how they are written, read, and moved to another definition."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from .._core import events
from .._core.commands import AnyCommand
from .._core.errors import SnapshotError, StoreDamaged, TriggerFlowError
from .._core.machine import Machine
from .._core.plan import Plan
from .._core.snapshot import decode as decode_state
from .._core.snapshot import encode as encode_state
from ..run.saving import pack_start, unpack_start
from ..run.stream import StreamItem
from ..serialize.payload import Types
from ..stores.protocol import Store
from .codec import decode
from .versions import apply_map

#: How many records are read at a time.
PAGE = 500


class RestoredExecution(NamedTuple):
    """An execution as its records tell it: the machine, and what it was started with (UNSET before)."""

    machine: Machine
    value: Any


async def read_items(store: Store, execution: str, types: Types, after: int) -> list[StreamItem]:
    """Some items of a stream that follow number `after`, or none. Raises `StoreDamaged`."""
    rows = await store.items(execution, after=after, limit=PAGE)
    records = await decode([data for _, data in rows], types, store.payloads)
    held: list[StreamItem] = []
    for (number, _), record in zip(rows, records, strict=True):
        if not isinstance(record, events.StreamPut):
            raise StoreDamaged(f"execution {execution!r}: item {number} of its stream is no stream item in the store")
        held.append(StreamItem(number, record.item, record.path))
    return held


def write_snapshot(restored: RestoredExecution, types: Types) -> bytes:
    """The state for `Store.put_snapshot`. Raises `PayloadError`."""
    return _snapshot(restored, encode_state(restored.machine.plan, restored.machine.state, types.pack), types)


def migrate(
    restored: RestoredExecution, plan: Plan, types: Types, operator_map: Mapping[str, str | None] | None
) -> tuple[RestoredExecution, bytes]:
    """The execution under another definition, and its snapshot there. Raises `SnapshotError` if it cannot go on."""
    before = restored.machine.plan.definition.fingerprint
    state = encode_state(restored.machine.plan, restored.machine.state, types.pack)
    state = apply_map(state, plan.definition, operator_map)
    machine = Machine(plan, decode_state(plan, state, types.unpack))
    return RestoredExecution(machine, restored.value), _snapshot(restored, state, types, before)


def definition_before(snapshot: bytes) -> str | None:
    """The definition under which the records before this snapshot were written, if it is another one."""
    return _read_snapshot(snapshot)["before"]


def from_snapshot(snapshot: bytes, plan: Plan, types: Types) -> RestoredExecution:
    """The execution as a snapshot tells it. Raises `SnapshotError`."""
    kept = _read_snapshot(snapshot)
    machine = Machine(plan, decode_state(plan, kept["state"], types.unpack))
    return RestoredExecution(machine, unpack_start(kept["value"], types))


def replay_record(machine: Machine, record: events.Event, id: str) -> list[AnyCommand]:
    """Replay one record. Raises `StoreDamaged` if it does not follow from those before it."""
    try:
        return machine.receive(record)
    except (TriggerFlowError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        number = machine.state.records
        raise StoreDamaged(f"execution {id!r}: record {number} does not follow: {error}") from error


def _snapshot(restored: RestoredExecution, state: Mapping[str, Any], types: Types, before: str | None = None) -> bytes:
    return msgspec.json.encode({"value": pack_start(restored.value, types), "state": state, "before": before})


def _read_snapshot(data: bytes) -> Mapping[str, Any]:
    try:
        kept = msgspec.json.decode(data)
        return {"state": kept["state"], "value": kept["value"], "before": kept.get("before")}
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError) as error:
        raise SnapshotError(f"a stored snapshot cannot be read: {error}") from error
