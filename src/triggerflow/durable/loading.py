"""An execution out of its store: its newest snapshot, and the records after it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from .._core import events
from .._core.errors import ExecutionClosed, ProtocolError, SnapshotError, StoreDamaged
from .._core.machine import Machine
from .._core.operators import compile_plan
from .._core.plan import Plan
from .._core.snapshot import decode as decode_state
from .._core.snapshot import encode as encode_state
from .._core.state import UNSET
from ..payload import Types
from ..stores.protocol import ExecutionRow, Store
from ..versions import apply_map
from .codec import decode
from .definitions import read_definition

#: How many records are read at a time.
PAGE = 500


class Loaded(NamedTuple):
    """An execution as its records tell it: the machine, and what it was started with (UNSET before)."""

    machine: Machine
    value: Any


async def load(store: Store, row: ExecutionRow, plan: Plan, types: Types, *, until: int | None = None) -> Loaded:
    """The execution after its first `until` records, or after all, under the definition that they were written under.

    `plan` is used if it is of that definition. Raises `StoreDamaged`, `SnapshotError` for a type that is not
    registered, or `LookupError` if the records up to there are not held any more.
    """
    if plan.definition.fingerprint != row.definition:
        data = await store.definition(row.definition)
        plan = compile_plan(read_definition(data, row.definition, types))
    end = row.records if until is None else until
    machine, value = Machine(plan), UNSET
    kept = await store.snapshot(row.id, records=end)
    if kept is not None and kept[1] == row.definition:
        snapshot = _read_snapshot(kept[2])
        machine = Machine(plan, decode_state(plan, snapshot["state"], types.unpack))
        value = types.unpack(snapshot["value"][0]) if snapshot["value"] else UNSET
    while machine.state.records < end:
        first = machine.state.records
        rows = await store.records(row.id, first=first, limit=min(PAGE, end - first))
        if not rows or rows[0][0] != first:
            found = rows[0][0] if rows else "none"
            raise StoreDamaged(f"execution {row.id!r}: record {first} is missing in the store; the next one is {found}")
        for record in await decode([data for _, data in rows], types, store.payloads):
            try:
                machine.receive(record)
            except (ProtocolError, ExecutionClosed) as error:
                number = machine.state.records
                raise StoreDamaged(f"execution {row.id!r}: record {number} does not follow: {error}") from error
            if isinstance(record, events.Started):
                value = record.value
    return Loaded(machine, value)


def write_snapshot(loaded: Loaded, types: Types) -> bytes:
    """The state for `Store.put_snapshot`. Raises `PayloadError`."""
    return _snapshot(loaded, encode_state(loaded.machine.plan, loaded.machine.state, types.pack), types)


def moved(
    loaded: Loaded, plan: Plan, types: Types, operator_map: Mapping[str, str | None] | None
) -> tuple[Loaded, bytes]:
    """The execution under another definition, and its snapshot there. Raises `SnapshotError` if it cannot go on."""
    state = encode_state(loaded.machine.plan, loaded.machine.state, types.pack)
    state = apply_map(state, plan.definition, operator_map)
    machine = Machine(plan, decode_state(plan, state, types.unpack))
    return Loaded(machine, loaded.value), _snapshot(loaded, state, types)


def _snapshot(loaded: Loaded, state: Mapping[str, Any], types: Types) -> bytes:
    value = [] if loaded.value is UNSET else [types.pack(loaded.value, "the start value")]
    return msgspec.json.encode({"value": value, "state": state})


def _read_snapshot(data: bytes) -> Mapping[str, Any]:
    try:
        kept = msgspec.json.decode(data)
        return {"state": kept["state"], "value": kept["value"]}
    except (msgspec.DecodeError, LookupError, TypeError) as error:
        raise SnapshotError(f"a stored snapshot cannot be read: {error}") from error
