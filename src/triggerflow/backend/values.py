"""Recorded values as JSON, and the parts of a state that a backend shows."""

from typing import Any

import msgspec

from .._core import events
from .._core.definition import OperatorKind
from .._core.errors import PayloadError
from .._core.machine import Machine
from .._core.state import UNSET, Interrupt, RunChunk
from .._core.timers import at_work
from ..durable.format.codec import VALUES
from ..durable.format.text import name_of
from ..run.subflow import path_of
from ..serialize.marked import TYPE, plain
from ..serialize.payload import Types
from .shapes import Failed, OpenQuestion, RunInfo, StateInfo

_PLAIN = (type(None), bool, int, str)
_HIDDEN = frozenset(("at", "digest"))


def shown(value: Any, types: Types) -> Any:
    """A value as JSON, see `shapes`. Of a value that cannot be packed, since its class has changed, only the type name
    is shown."""
    if type(value) in _PLAIN:
        return value
    try:
        return plain(types.pack(value, "a value"))
    except PayloadError:
        return {TYPE: type(value).__qualname__, "unreadable": True}


def shown_record(record: events.Record, types: Types) -> tuple[str, dict[str, Any]]:
    """The kind of a record, and its fields as JSON, without its time and without fields that have their default."""
    fields: dict[str, Any] = {}
    name = VALUES.get(type(record))
    for field, default in zip(record.__struct_fields__, _defaults(type(record)), strict=True):
        value = getattr(record, field)
        if field in _HIDDEN or (field != name and value == default):
            continue
        fields[field] = shown(value, types) if field == name else msgspec.to_builtins(value)
    return name_of(record), fields


_known_defaults: dict[type[Any], tuple[Any, ...]] = {}


def _defaults(kind: type[events.Event]) -> tuple[Any, ...]:
    """The default of each field, UNSET where there is none."""
    found = _known_defaults.get(kind)
    if found is None:
        found = tuple(
            it.default if it.default is not msgspec.NODEFAULT else [] if it.default_factory is list else UNSET
            for it in msgspec.structs.fields(kind)
        )
        _known_defaults[kind] = found
    return found


def failed(error: events.ErrorInfo | None) -> Failed | None:
    """A recorded error as data."""
    return None if error is None else Failed(type=error.type, message=error.message, chunk=error.chunk)


def losses_of(run: RunChunk) -> int:
    """How many attempts of a run were lost with their process."""
    return run.interruptions.losses if run.interruptions is not None else 0


def sub_flow_of(run: RunChunk, id: str) -> str | None:
    """The prefix of the ids of a sub-flow step's executions; None for a run of another kind."""
    return f"{id}/{path_of(run)}" if run.node.kind is OperatorKind.SUB_FLOW else None


def open_questions(machine: Machine) -> list[Interrupt]:
    """The interrupts that wait for an answer."""
    return [it for it in (machine.state.interrupts or {}).values() if it.status == "waiting"]


def state_info(id: str, flow: str, machine: Machine, start: Any, types: Types) -> StateInfo:
    """The state of an execution as data."""
    state = machine.state
    return StateInfo(
        id=id,
        flow=flow,
        definition=machine.plan.definition.fingerprint,
        moment=state.records,
        status=state.status.value,
        started=state.started,
        value=None if start is UNSET else shown(start, types),
        state={str(key): shown(value, types) for key, value in state.data.items()},
        has_result=state.result is not UNSET,
        result=None if state.result is UNSET else shown(state.result, types),
        error=failed(state.error),
        reason=state.reason,
        questions=[
            OpenQuestion(
                id=str(it.id),
                type=it.type,
                chunk=it.run.node.name,
                payload=shown(it.payload, types),
                since=it.asked,
                expires=it.expires,
                inside=it.holds,
                resume_event=it.resume_event,
            )
            for it in open_questions(machine)
        ],
        runs=[
            RunInfo(
                run=run.id,
                phase=run.phase.name.lower(),  # pyright: ignore[reportArgumentType] - the names of `Phase`
                operator=run.node.id,
                chunk=run.node.name,
                attempt=run.attempt,
                losses=losses_of(run),
                cause=run.signal + 1,
                value=shown(run.value, types),
                sub_flow=sub_flow_of(run, id),
            )
            for run in state.runs.values()
        ],
        timers=sorted(timer.due for timer in (state.timers or {}).values()),
        items=state.stream,
        working=bool(state.pulls) or at_work(state),
    )
