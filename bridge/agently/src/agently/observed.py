"""What a run of a flow tells the event centre, and the lineage of its chunks."""

import asyncio
from typing import Any

from triggerflow import records
from triggerflow.builder import Trigger

from .config import OUTSIDE, digest
from .events import CENTER, RunContext, RuntimeEvent
from .signals import Signal

_KINDS: dict[str, Any] = {"runtime_data": "state", "flow_data": "flow_data"}
_NO_PAUSE = {"returned_pause_signal": False}


def named_in(record: Any, latest: Any = None) -> tuple[str, str] | None:
    """Type and name of the signal that a record is, if it is one; of chunks only the latest run's completion is."""
    match record:
        case records.Completed(run=number) if latest is not None and latest.id == number and latest.node.next:
            return "event", latest.node.trigger.name
        case records.Emitted(name=name) if name != OUTSIDE:
            return "event", name
        case records.StateChanged(key=key, emit=True):
            return "runtime_data", key
        case records.FlowDataChanged(key=key):
            return "flow_data", key
        case records.Started():
            return "event", "START"
        case _:
            return None


def signal_in(run: Any, record: Any, number: int) -> Signal | None:
    """The signal that a record, of this number, is; a change of data only is one if somebody hears it."""
    kind, name = named_in(record, run.latest) or (None, "")
    if kind is None or (kind in _KINDS and Trigger(_KINDS[kind], name) not in run.names.heard):
        return None
    source = "start" if isinstance(record, records.Started) else "runtime"
    return Signal(f"{run.id}:{number}", name, kind, record.value, source)


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
    signal = run.signal_of(chunk)
    return _context(run, chunk.node, f"{chunk.id}:{chunk.attempt}", signal.event, signal.type, signal.id)


def _context(run: Any, node: Any, number: str, event: str, type: str, signal: str) -> RunContext:
    names, parent, operator = run.names, lineage(run), run.names.by_id.get(node.id) or node.operator
    about = {"chunk_id": names.form(operator, 0), "chunk_name": names.form(operator, 1)}
    about |= {"flow_name": run.flow.name, "operator_kind": operator.kind.value}
    about |= {"trigger_event": event, "trigger_type": type, "signal_id": signal}
    meta = {**about, **names.groups(operator), **names.wires(operator)}
    run_id = digest(f"{parent.run_id}:{number}")
    return parent.create_child(run_kind="chunk_execution", run_id=run_id, meta=meta)


def tell(run: Any, event: str, what: str, payload: Any, level: Any = "INFO", error: Any = None, by: Any = None) -> None:
    """Tell of an execution, or, with its context as `by`, of a chunk."""
    message = f"Workflow execution {run.id!r} {what}." if by is None else f"Chunk {by.meta['chunk_name']!r} {what}."
    about = {"payload": payload, "error": error, "run": by or lineage(run), "meta": {"execution_id": run.id}}
    CENTER.emit(RuntimeEvent(event_type=event, source="TriggerFlowExecution", level=level, message=message, **about))


def origin(context: RunContext | None) -> dict[str, Any] | None:
    """What something comes from, in short; None for the outside."""
    keys = ("chunk_id", "chunk_name", "operator_kind")
    return context and {"run_id": context.run_id, **{key: context.meta[key] for key in keys}}


def _author(run: Any, by: Any) -> RunContext | None:
    """The lineage of a run of a chunk (by its number) or of an `.end()` (by its id)."""
    chunk = run.machine.state.runs.get(by)
    if not isinstance(by, str):
        return None if chunk is None or chunk.node.name == OUTSIDE else chunk_context(run, chunk)
    node = next(node for node in run.program.plan.nodes if node.id == by)
    signal = run.names.signal(node.operator.listens[0])
    return _context(run, node, by, signal["trigger_event"], signal["trigger_type"], f"{run.id}:{by}")


def began(run: Any, value: Any) -> None:
    """The execution starts."""
    declared = {"flow_name": run.flow.name, "definition": run.flow.get_flow_config(validate_serializable=False)}
    tell(run, "workflow.definition_declared", "declared its definition", declared)
    tell(run, "workflow.execution_started", "started", {"initial_value": value})


def failed(run: Any) -> None:
    """The execution has failed."""
    last, error = run.get_last_signal(), None
    try:
        run.outcome()
    except Exception as raised:
        error = raised
    payload = {"status": "failed", "last_signal": last and last.to_debug_dict()}
    tell(run, "workflow.execution_failed", "failed", payload, "ERROR", error)


def concluded(run: Any, by: Any) -> None:
    """The execution has a result, by a run of a chunk, an `.end()` or the outside."""
    author, result = _author(run, by), run.machine.state.result
    payload = {"result": result, "origin_chunk": origin(author)}
    ends = author is not None and isinstance(by, str)
    about = _began_chunk(run, author, result, "runtime", {}) if ends else {}
    tell(run, "workflow.result_set", "set a result", payload)
    tell(run, "workflow.execution_completed", "completed", payload)
    if ends:
        tell(
            run,
            "chunk.completed",
            "completed",
            {**about, "status": "completed", **_NO_PAUSE, "output": None},
            by=author,
        )


def recorded(run: Any, record: Any) -> None:
    """A record was accepted."""
    if (signal := signal_in(run, record, run.machine.state.records - 1)) is not None:
        _signal(run, signal)
    elif isinstance(record, records.StreamPut):
        author = origin(_author(run, record.run))
        item = {"item": record.item, "item_type": type(record.item).__name__, "origin_chunk": author}
        tell(run, "workflow.stream_item_emitted", "emitted a stream item", item)
    elif isinstance(record, records.Paused):
        asked = {"interrupt": run.get_interrupt(record.interrupt)}
        tell(run, "workflow.interrupt_raised", f"paused for interrupt {record.interrupt!r}", asked, "WARNING")
    elif isinstance(record, records.Resumed):
        answer = {"interrupt_id": record.interrupt, "value": record.value}
        tell(run, "workflow.execution_resumed", f"resumed from interrupt {record.interrupt!r}", answer)


def _signal(run: Any, signal: Signal) -> None:
    tell(run, "trigger_flow.signal", f"dispatched signal {signal.event!r}", signal.to_debug_dict(), "DEBUG")


def _began_chunk(run: Any, by: Any, value: Any, source: str, meta: Any) -> dict[str, Any]:
    """Tell that a chunk begins, and give what its end is told with."""
    keys = ("chunk_id", "chunk_name", "operator_kind", "trigger_event", "trigger_type", "signal_id")
    about = {key: by.meta[key] for key in keys}
    sent = {"event": about["trigger_event"], "type": about["trigger_type"], "handler": about["chunk_id"]}
    sent["signal_id"] = about["signal_id"]
    tell(run, "trigger_flow.handler_dispatch", f"dispatched {about['chunk_name']!r}", sent, "DEBUG")
    about = {**about, "input": value, "signal_source": source, "signal_meta": meta}
    tell(run, "chunk.started", "started", {**about, "status": "running"}, by=by)
    return about


async def observed(run: Any, data: Any, call: Any) -> Any:
    """Call a handler, and tell of its start and its end."""
    by = chunk_context(run, data.run)
    about = _began_chunk(run, by, data.value, data.signal_source, data.signal_meta)
    try:
        output = await call(data)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        tell(run, "chunk.failed", "failed", {**about, "status": "failed"}, "ERROR", error, by)
        raise
    except BaseException:  # how the engine ends a chunk that pauses
        paused = {"status": "waiting", "returned_pause_signal": True, "output": None}
        tell(run, "chunk.completed", "completed", {**about, **paused}, by=by)
        raise
    for signal in by.meta["emit_signals"][:1]:  # its record comes next
        number, event = f"{run.id}:{run.machine.state.records}", signal["trigger_event"]
        _signal(run, Signal(number, event, "event", output))
    tell(run, "chunk.completed", "completed", {**about, "status": "completed", **_NO_PAUSE, "output": output}, by=by)
    return output
