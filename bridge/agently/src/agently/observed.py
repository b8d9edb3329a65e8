"""The events that an execution reports to the event centre, and the lineage of its runs."""

import asyncio
from types import SimpleNamespace
from typing import Any

from triggerflow import records
from triggerflow.extension import UNSET, WHEN_KEYS, ExtendedRuntime, Trigger

from .config import OUTSIDE, digest
from .events import CENTER, RunContext, RuntimeEvent
from .signals import Signal

_CHUNK = ("chunk_id", "chunk_name", "operator_kind")
_DATA: dict[Any, str] = {records.StateChanged: "runtime_data", records.FlowDataChanged: "flow_data"}


def named_in(record: Any) -> tuple[str, str] | None:
    """Return (type, name) of the signal that an engine record carries; None if the record carries no signal."""
    kind = "event" if isinstance(record, records.Started | records.Emitted) else _DATA.get(type(record))
    name = getattr(record, "name", getattr(record, "key", "START"))
    return None if kind is None or name == OUTSIDE or not getattr(record, "emit", True) else (kind, name)


def signal_in(run: Any, record: Any, number: int) -> Signal | None:
    """Return the signal that an engine record carries; None if it carries none, or a change of data without a listener.

    `run` is the execution, `number` the number of the record. A completion is a signal only if it is that of the latest
    run.
    """
    kind, name = named_in(record) or ("event", "")
    source, meta, latest = "start" if isinstance(record, records.Started) else "runtime", dict[str, Any](), run.latest
    if isinstance(record, records.Completed) and latest and latest.id == record.run and latest.node.next:
        name = run.names.signal(latest.node.trigger)["trigger_event"]
    elif isinstance(record, records.Resumed) and (asked := run.get_interrupt(record.interrupt)):
        name, source, meta = asked["resume_event"], "interrupt", {"interrupt_id": record.interrupt}
    heard = name and (kind == "event" or Trigger(WHEN_KEYS[kind], name) in run.names.heard)
    return Signal(f"{run.id}:{number}", name, kind, record.value, source, meta) if heard else None


def lineage(run: Any, parent: RunContext | None = None) -> RunContext:
    """The lineage of an execution. It is made on the first call."""
    if run.context is None:
        link = run.runtime.link
        if link is not None and isinstance(
            link.parent, ExtendedRuntime
        ):  # a step of another flow of the bridge runs it
            parent = chunk_context(link.parent.execution, link.parent.machine.state.runs[link.run])
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


class Observer:
    """Reports an execution to the event centre, beginning when the observer is made."""

    def __init__(self, run: Any, has_result: bool) -> None:
        self.run, self.journal, self.has_result = run, run.runtime.journal, has_result
        run.add_observer(self.recorded)

    def tell(self, event: str, what: str, payload: Any, level: str = "INFO", error: Any = None, by: Any = None) -> None:
        message = f"Chunk {by.meta['chunk_name']!r} {what}." if by else f"Workflow execution {self.run.id!r} {what}."
        about = {"payload": payload, "error": error, "run": by or lineage(self.run)}
        about |= {"message": message, "source": "TriggerFlowExecution", "meta": {"execution_id": self.run.id}}
        CENTER.emit(RuntimeEvent(event, level, **about))

    def signalled(self, signal: Signal) -> None:
        self.tell("trigger_flow.signal", f"dispatched signal {signal.event!r}", signal.to_debug_dict(), "DEBUG")

    def began(self, value: Any) -> None:
        flow = self.run.flow
        declared = {"flow_name": flow.name, "definition": flow.get_flow_config(validate_serializable=False)}
        self.tell("workflow.definition_declared", "declared its definition", declared)
        self.tell("workflow.execution_started", "started", {"initial_value": value})

    def failed(self) -> None:
        last, error = self.run.get_last_signal(), None
        try:
            self.run.runtime.outcome()
        except Exception as raised:
            error = raised
        payload = {"status": "failed", "last_signal": last and last.to_debug_dict()}
        self.tell("workflow.execution_failed", "failed", payload, "ERROR", error)

    def concluded(self, by: Any) -> None:
        """Report that the execution has a result.

        `by` is what set it: the number of a chunk's run, the id of an `.end()`, or None for a call from outside.
        """
        runtime, told = self.run.runtime, None
        state = runtime.machine.state
        if self.has_result or state.result is UNSET:
            return
        self.has_result = True
        # The run of an `.end()` is reported like that of a chunk.
        if isinstance(by, str):
            node, number = next(it for it in runtime.program.plan.nodes if it.id == by), state.records
            end = {"node": node, "trigger": node.operator.listens[0], "value": state.result}
            by = SimpleNamespace(id=by, attempt=number, signal=number, **end)
            told = self.starting(by)
        payload = {"result": state.result, "origin_chunk": self.origin(by)}
        self.tell("workflow.result_set", "set a result", payload)
        self.tell("workflow.execution_completed", "completed", payload)
        if told is not None:
            told("completed", "completed", returned_pause_signal=False, output=None)

    def origin(self, by: Any) -> dict[str, Any] | None:
        chunk = self.run.runtime.machine.state.runs.get(by) if isinstance(by, int) else by
        if chunk is None or chunk.node.name == OUTSIDE:
            return None
        context = chunk_context(self.run, chunk)
        return {"run_id": context.run_id, **{key: context.meta[key] for key in _CHUNK}}

    def recorded(self, record: Any) -> None:
        run, state, id = self.run, self.run.runtime.machine.state, getattr(record, "interrupt", None)
        if isinstance(record, records.StreamPut):
            item, by = record.item, record.run
            item = run.shown(item) if item.__class__ is dict else item
            if record.path:  # an item of a sub-flow is reported for the step that runs the sub-flow
                by = int(record.path.partition("/")[0].rpartition(".")[2])
            elif by is None and isinstance(item, dict) and item.get("action") == "pause":
                by = state.interrupts[item["interrupt"]["id"]].run
            payload = {"item": item, "item_type": type(item).__name__, "origin_chunk": self.origin(by)}
            self.tell("workflow.stream_item_emitted", "emitted a stream item", payload)
        elif isinstance(record, records.Paused):
            asked = {"interrupt": run.get_interrupt(id)}
            self.tell("workflow.interrupt_raised", f"paused for interrupt {id!r}", asked, "WARNING")
        elif isinstance(record, records.Resumed):
            answer = {"interrupt_id": id, "value": record.value}
            self.tell("workflow.execution_resumed", f"resumed from interrupt {id!r}", answer)
        signal = signal_in(run, record, state.records - 1)
        if signal is not None and not isinstance(record, records.Completed):  # `watch` reports completions
            self.signalled(signal)

    def starting(self, chunk: Any) -> Any:
        """Report that a run of a chunk begins. Returns a function that reports how it ends."""
        by, about = chunk_context(self.run, chunk), self.run.signal_of(chunk).to_dict()
        about |= {"input": about.pop("value"), **{key: by.meta[key] for key in _CHUNK}}
        sent = {"event": about["trigger_event"], "type": about["trigger_type"], "signal_id": about["signal_id"]}
        what = f"dispatched {about['chunk_name']!r}"
        self.tell("trigger_flow.handler_dispatch", what, {**sent, "handler": about["chunk_id"]}, "DEBUG")

        def told(event: str, status: str, error: Any = None, **more: Any) -> None:
            payload = {**about, "status": status, **more}
            self.tell(f"chunk.{event}", event, payload, "ERROR" if error else "INFO", error, by)

        told("started", "running")
        return told

    async def watch(self, data: Any, call: Any) -> Any:
        """Call a handler, and report its start and its end."""
        told = self.starting(data.run)
        try:
            output = await call(data)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            told("failed", "failed", error)
            raise
        except BaseException:  # the engine ends a chunk that pauses with a `BaseException`
            told("completed", "waiting", returned_pause_signal=True, output=None)
            raise
        # The next record will be the completion of this run.
        number = f"{self.run.id}:{self.run.runtime.machine.state.records}"
        event = self.run.names.signal(data.run.node.trigger)["trigger_event"]
        self.signalled(Signal(number, event, "event", output))
        told("completed", "completed", returned_pause_signal=False, output=output)
        return output
