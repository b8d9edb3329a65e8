"""What a run of a flow tells the event centre, and the lineage of its chunks."""

import asyncio
import functools
from types import SimpleNamespace
from typing import Any

from triggerflow import records
from triggerflow.builder import WHEN_KEYS, Trigger
from triggerflow.execution import UNSET

from .adapt import is_a
from .config import OUTSIDE, digest
from .events import CENTER, RunContext, RuntimeEvent
from .signals import Signal

_DATA: dict[Any, str] = {records.StateChanged: "runtime_data", records.FlowDataChanged: "flow_data"}


def named_in(record: Any) -> tuple[str, str] | None:
    """Type and name of the signal that a record is, if it is one."""
    kind = "event" if isinstance(record, records.Started | records.Emitted) else _DATA.get(type(record))
    name = getattr(record, "name", getattr(record, "key", "START"))
    return None if kind is None or name == OUTSIDE or not getattr(record, "emit", True) else (kind, name)


def signal_in(run: Any, record: Any, number: int) -> Signal | None:
    """The signal that a record is: of completions the latest run's, of changes of data what somebody hears."""
    kind, name = named_in(record) or ("event", "")
    source, meta, latest = "start" if isinstance(record, records.Started) else "runtime", dict[str, Any](), run.latest
    if isinstance(record, records.Completed) and latest and latest.id == record.run and latest.node.next:
        name = run.names.signal(latest.node.trigger)["trigger_event"]
    elif isinstance(record, records.Resumed) and (asked := run.get_interrupt(record.interrupt)):
        name, source, meta = asked["resume_event"], "interrupt", {"interrupt_id": record.interrupt}
    heard = name and (kind == "event" or Trigger(WHEN_KEYS[kind], name) in run.names.heard)
    return Signal(f"{run.id}:{number}", name, kind, record.value, source, meta) if heard else None


def lineage(run: Any, parent: RunContext | None = None) -> RunContext:
    """The lineage of an execution, made when it is first asked for."""
    if run.context is None:
        if run.parent is not None:
            parent = chunk_context(run.parent.parent, run.parent.parent.machine.state.runs[run.parent.run])
        about = {"run_id": digest(f"run {run.id}"), "execution_id": run.id, "meta": {"flow_name": run.flow.name}}
        run.context = RunContext.create(run_kind="workflow_execution", parent=parent, **about)
    return run.context


def chunk_context(run: Any, chunk: Any) -> RunContext:
    """The lineage of one run of a chunk."""
    names, parent, operator, signal = run.names, lineage(run), chunk.node.operator, run.signal_of(chunk)
    about = {"chunk_id": names.form(operator, 0), "chunk_name": names.form(operator, 1)}
    about |= {"flow_name": run.flow.name, "operator_kind": operator.kind.value}
    about |= {"trigger_event": signal.event, "trigger_type": signal.type, "signal_id": signal.id}
    meta, number = {**about, **names.groups(operator), **names.wires(operator)}, f"{chunk.id}:{chunk.attempt}"
    return parent.create_child(run_kind="chunk_execution", run_id=digest(f"{parent.run_id}:{number}"), meta=meta)


def _tell(
    run: Any, event: str, what: str, payload: Any, level: str = "INFO", error: Any = None, by: Any = None
) -> None:
    message = f"Workflow execution {run.id!r} {what}." if by is None else f"Chunk {by.meta['chunk_name']!r} {what}."
    about = {"payload": payload, "error": error, "run": by or lineage(run), "meta": {"execution_id": run.id}}
    CENTER.emit(RuntimeEvent(event, level, source="TriggerFlowExecution", message=message, **about))


def _tell_signal(run: Any, signal: Signal) -> None:
    _tell(run, "trigger_flow.signal", f"dispatched signal {signal.event!r}", signal.to_debug_dict(), "DEBUG")


def began(run: Any, value: Any) -> None:
    """The execution starts."""
    declared = {"flow_name": run.flow.name, "definition": run.flow.get_flow_config(validate_serializable=False)}
    _tell(run, "workflow.definition_declared", "declared its definition", declared)
    _tell(run, "workflow.execution_started", "started", {"initial_value": value})


def failed(run: Any) -> None:
    """The execution has failed."""
    last, error = run.get_last_signal(), None
    try:
        run.outcome()
    except Exception as raised:
        error = raised
    payload = {"status": "failed", "last_signal": last and last.to_debug_dict()}
    _tell(run, "workflow.execution_failed", "failed", payload, "ERROR", error)


def concluded(run: Any, by: Any) -> None:
    """The execution has a result, by a run of a chunk (or its number), an `.end()` or the outside (None)."""
    payload = {"result": run.machine.state.result, "origin_chunk": _origin(run, by)}
    _tell(run, "workflow.result_set", "set a result", payload)
    _tell(run, "workflow.execution_completed", "completed", payload)


def _origin(run: Any, by: Any) -> dict[str, Any] | None:
    """What something comes from, in short: a run of a chunk, or its number; None for the outside."""
    chunk = run.machine.state.runs.get(by) if isinstance(by, int) else by
    if chunk is None or chunk.node.name == OUTSIDE:
        return None
    context = chunk_context(run, chunk)
    return {"run_id": context.run_id} | {key: context.meta[key] for key in ("chunk_id", "chunk_name", "operator_kind")}


def recorded(run: Any, record: Any) -> None:
    """A record was accepted."""
    match record:
        case records.StreamPut(item=item, run=by, path=path):
            item = run.shown(item) if item.__class__ is dict else item
            if path:  # to the step whose sub-flow it comes from
                by = int(path.partition("/")[0].rpartition(".")[2])
            elif by is None and is_a(item, dict) and item.get("action") == "pause":
                by = run.machine.state.interrupts[item["interrupt"]["id"]].run
            payload = {"item": item, "item_type": type(item).__name__, "origin_chunk": _origin(run, by)}
            _tell(run, "workflow.stream_item_emitted", "emitted a stream item", payload)
        case records.Paused(interrupt=id):
            asked = {"interrupt": run.get_interrupt(id)}
            _tell(run, "workflow.interrupt_raised", f"paused for interrupt {id!r}", asked, "WARNING")
        case records.Resumed(interrupt=id, value=value):
            answer = {"interrupt_id": id, "value": value}
            _tell(run, "workflow.execution_resumed", f"resumed from interrupt {id!r}", answer)
        case records.Completed():  # was told before, by `observed`
            return
        case _:
            pass
    if (signal := signal_in(run, record, run.machine.state.records - 1)) is not None:
        _tell_signal(run, signal)


def telling(enter: Any) -> Any:
    """How a run enters an `.end()`: with hooks, it tells of that as of a chunk, when the core has done its work."""

    def entered(machine: Any, node: Any, trigger: Any, value: Any, *place: Any) -> None:
        first, number = machine.state.result is UNSET, machine.state.records
        enter(machine, node, trigger, value, *place)
        if CENTER.hooks:
            end = {"node": node, "trigger": trigger, "value": value, "signal": number}
            machine.out.append(functools.partial(_ended, SimpleNamespace(id=node.id, attempt=number, **end), first))

    return entered


def _ended(end: Any, first: bool, run: Any) -> None:
    """An `.end()` was reached; the first one gives the result, unless that breaks the contract."""
    if run.machine.state.result is UNSET:
        return
    told = _begun(run, end)
    if first:
        run.has_result = True
        concluded(run, end)
    told("completed", "completed", returned_pause_signal=False, output=None)


def _begun(run: Any, chunk: Any) -> Any:
    """Tell that a run of a chunk begins, and give what tells how it ends."""
    by, about = chunk_context(run, chunk), run.signal_of(chunk).to_dict()
    about |= {"input": about.pop("value")} | {key: by.meta[key] for key in ("chunk_id", "chunk_name", "operator_kind")}
    sent = {"event": about["trigger_event"], "type": about["trigger_type"], "handler": about["chunk_id"]}
    sent["signal_id"] = about["signal_id"]
    _tell(run, "trigger_flow.handler_dispatch", f"dispatched {about['chunk_name']!r}", sent, "DEBUG")

    def told(event: str, status: str, error: Any = None, **more: Any) -> None:
        level = "ERROR" if error else "INFO"
        _tell(run, f"chunk.{event}", event, {**about, "status": status, **more}, level, error, by)

    told("started", "running")
    return told


async def observed(run: Any, data: Any, call: Any) -> Any:
    """Call a handler, and tell of its start and its end."""
    told = _begun(run, data.run)
    try:
        output = await call(data)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        told("failed", "failed", error)
        raise
    except BaseException:  # how the engine ends a chunk that pauses
        told("completed", "waiting", returned_pause_signal=True, output=None)
        raise
    number, event = f"{run.id}:{run.machine.state.records}", run.names.signal(data.run.node.trigger)["trigger_event"]
    _tell_signal(run, Signal(number, event, "event", output))  # its record comes next
    told("completed", "completed", returned_pause_signal=False, output=output)
    return output
