"""Executions put into a store record by record, and what their frames have to add up to."""

from collections.abc import Iterable
from typing import Any

import msgspec

from triggerflow._core import events
from triggerflow._core.machine import KeptStates, Machine
from triggerflow._core.plan import Plan
from triggerflow._core.state import RunState
from triggerflow.backend import ExecutionInfo, Frame, Moment, StoreBackend
from triggerflow.backend.values import losses_of
from triggerflow.durable.executions.commit_buffer import status_and_due
from triggerflow.durable.format.codec import encode
from triggerflow.durable.format.metadata import write_definition
from triggerflow.serialize.marked import plain
from triggerflow.serialize.payload import Types
from triggerflow.stores import Store
from triggerflow.stores.protocol import Append, ExecutionRow, NewRecord


async def store_records(store: Store, id: str, plan: Plan, records: Iterable[events.Event], types: Types) -> None:
    """Add an execution to a store as a process that has run it would have done."""
    records = list(records)
    machine, payloads, found = Machine(plan), dict[str, bytes](), list[NewRecord]()
    kept = KeptStates(plan, records)
    for record in records:
        before = machine.state.stream
        data = encode(msgspec.structs.replace(record), types, machine.state, payloads)
        kept.receive(machine, msgspec.structs.replace(record))
        found.append(NewRecord(data, machine.state.stream if machine.state.stream > before else 0))
    definition = plan.definition
    await store.put_definition(definition.fingerprint, write_definition(definition, types))
    status, due = status_and_due(machine)
    row = ExecutionRow(id=id, flow=definition.name, definition=definition.fingerprint, created=0.0, updated=0.0)
    row = msgspec.structs.replace(row, options=msgspec.json.encode({"rules": 5}))
    append = Append(execution=id, first=0, records=found, payloads=payloads, status=status, due=due, at=1.0, create=row)
    await store.append([append])


def of_state(state: RunState, types: Types) -> dict[str, Any]:
    """What a moment has to show of a state."""
    return {
        "number": state.records,
        "status": state.status.value,
        "state": {key: plain(types.pack(value, "a value")) for key, value in state.data.items()},
        "runs": {
            run.id: (run.node.id, run.node.name, run.phase.name.lower(), run.attempt, losses_of(run), run.signal + 1)
            for run in state.runs.values()
        },
        "questions": {str(id): it.holds for id, it in (state.interrupts or {}).items() if it.status == "waiting"},
        "items": state.stream,
    }


def of_moment(moment: Moment) -> dict[str, Any]:
    """The same of frames that were folded."""
    return {
        "number": moment.number,
        "status": moment.status,
        "state": moment.state,
        "runs": {
            it.run: (it.operator, it.chunk, it.phase, it.attempt, it.losses, it.cause) for it in moment.runs.values()
        },
        "questions": {it.id: it.inside for it in moment.questions.values()},
        "items": moment.items,
    }


def of_frame(frame: Frame) -> Any:
    """What is in a frame for a reader who comes back as for one who has read the frames before."""
    runs = [(it.run, it.phase, it.operator, it.attempt) for it in frame.runs]
    return frame.number, frame.kind, frame.record, frame.status, runs, frame.questions, frame.item, frame.result


async def check_execution(backend: StoreBackend, id: str) -> set[str]:
    """Compare the frames of an execution with the state at every moment; returns the kinds of its records."""
    moment, kinds = Moment(), set[str]()
    async for frame in backend.frames(id):
        moment.take(frame)
        kinds.add(frame.kind)
        state = await backend.state_at(id, frame.number)
        assert of_moment(moment) == {
            "number": state.moment,
            "status": state.status,
            "state": state.state,
            "runs": {it.run: (it.operator, it.chunk, it.phase, it.attempt, it.losses, it.cause) for it in state.runs},
            "questions": {it.id: it.inside for it in state.questions},
            "items": state.items,
        }, (id, frame)
    assert moment.number == (await backend.get(id)).frames
    return kinds


async def all_executions(backend: StoreBackend, parent: str | None = None) -> list[ExecutionInfo]:
    """All executions in a store, sub-flows included."""
    found, after = list[ExecutionInfo](), None
    while page := (await backend.executions(parent=parent, after=after, limit=7)).executions:
        found, after = [*found, *page], page[-1].id
    return [one for it in found for one in (it, *await all_executions(backend, it.id))]
