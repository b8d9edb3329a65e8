"""Run contexts, runtime events, the centre that hands events to hooks, and what a run of a flow tells it."""

import asyncio
import functools
import logging
import traceback
from collections.abc import Awaitable, Iterable, Mapping
from contextvars import ContextVar
from time import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from triggerflow import records
from triggerflow.portal import run_sync

from .config import OUTSIDE, digest
from .state import is_a

logger = logging.getLogger("agently")
#: Set where a hook runs: a hook that runs a flow must not wait for hooks, which may wait for it.
_in_hook: ContextVar[bool] = ContextVar("_in_hook", default=False)


class Record(SimpleNamespace):
    """Named values that can be had as a plain dict."""

    def model_dump(self) -> dict[str, Any]:
        """The values, nested records as dicts too."""
        return {key: it.model_dump() if isinstance(it, Record) else it for key, it in vars(self).items()}


class RunContext(Record):
    """Who runs, and on whose behalf: the lineage of a run."""

    run_id: str

    def __init__(self, run_id: str, run_kind: str = "workflow_execution", **more: Any) -> None:
        own = {"run_id": run_id, "run_kind": run_kind, "root_run_id": run_id, "parent_run_id": None}
        of_agents = dict.fromkeys(("agent_id", "agent_name", "session_id", "response_id", "execution_id"))
        super().__init__(**{**own, **of_agents, "meta": {}, **more})

    def child(self, run_id: str, run_kind: str, **changed: Any) -> "RunContext":
        """A run that this one has started."""
        own = {"run_id": run_id, "run_kind": run_kind, "parent_run_id": self.run_id}
        return RunContext(**{**vars(self), **own, **changed})


class RuntimeEvent(Record):
    """Something that happened; `timestamp` in milliseconds since the epoch."""

    event_type: str

    def __init__(self, event_type: str, source: str = "Agently", level: str = "INFO", **more: Any) -> None:
        about = {"event_id": uuid4().hex, "event_type": event_type, "source": source, "level": level}
        rest: dict[str, Any] = dict.fromkeys(("message", "payload", "error", "run"))
        super().__init__(**{**about, **rest, "meta": {}, "timestamp": int(time() * 1000), **more})


class EventCenter:
    """Hands events to hooks. A hook that raises is logged, and disturbs neither the run nor other hooks."""

    def __init__(self) -> None:
        self.hooks: dict[str, tuple[Any, frozenset[str] | None]] = {}
        self.tasks: set[asyncio.Future[None]] = set()

    def register_hook(
        self, callback: Any, *, event_types: str | Iterable[str] | None = None, hook_name: str | None = None
    ) -> None:
        """Call a function, sync or async, for every event, or for those of some types. The same name replaces."""
        types = [event_types] if isinstance(event_types, str) else event_types
        name = hook_name or getattr(callback, "__name__", repr(callback))
        self.hooks[name] = (callback, None if types is None else frozenset(types))

    def unregister_hook(self, hook_name: str) -> None:
        """Forget a hook, if it is there."""
        self.hooks.pop(hook_name, None)

    def create_emitter(self, source: str, *, base_meta: Mapping[str, Any] | None = None, run: Any = None) -> "Emitter":
        """What emits events in the name of a source."""
        return Emitter(self, {"source": source, "run": run}, base_meta or {})

    def emit(self, event: Mapping[str, Any] | RuntimeEvent) -> None:
        """Hand an event to the hooks. Async hooks are started here, and awaited by `drain`."""
        event = event if isinstance(event, RuntimeEvent) else RuntimeEvent(**event)
        for callback, types in list(self.hooks.values()):
            if types is None or event.event_type in types:
                try:
                    answer = callback(event)
                    if is_a(answer, Awaitable):
                        self._start(answer)
                except Exception:
                    logger.exception("an event hook failed on %s", event.event_type)

    async def async_emit(self, event: Mapping[str, Any] | RuntimeEvent) -> None:
        """Hand an event to the hooks and wait for them."""
        self.emit(event)
        await self.drain()

    async def drain(self) -> None:
        """Wait for the async hooks that were started on this loop."""
        loop = asyncio.get_running_loop()
        while not _in_hook.get() and (ours := [task for task in self.tasks if task.get_loop() is loop]):
            await asyncio.wait(ours)

    def _start(self, answer: Awaitable[Any]) -> None:
        async def guarded() -> None:
            _in_hook.set(True)
            try:
                await answer
            except Exception:
                logger.exception("an event hook failed")

        try:
            task = asyncio.get_running_loop().create_task(guarded())
        except RuntimeError:  # a thread without a loop
            run_sync(guarded, "async_emit")
        else:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


class Emitter:
    """Emits events of one source: `emit(type, level=, message=, payload=, error=, run=, meta=)`, and one a level."""

    def __init__(self, center: EventCenter, base: dict[str, Any], meta: Mapping[str, Any]) -> None:
        self._center, self._base, self._meta = center, base, meta

    def emit(self, event_type: str, **more: Any) -> None:
        """Emit an event; see `EventCenter.emit`."""
        meta = {**self._meta, **more.pop("meta", {})}
        self._center.emit({**self._base, "event_type": event_type, "meta": meta, **more})

    async def async_emit(self, event_type: str, **more: Any) -> None:
        """Emit an event and wait for the hooks."""
        self.emit(event_type, **more)
        await self._center.drain()

    def __getattr__(self, name: str) -> Any:
        level = name.removeprefix("async_").upper()
        if level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise AttributeError(f"an emitter has no {name!r}")
        return functools.partial(self.async_emit if name.startswith("async_") else self.emit, level=level)


#: The one centre, `Agently.event_center`.
CENTER = EventCenter()


def signal_in(record: Any) -> tuple[str, str] | None:
    """Type and name of the signal that a record is, if it is one."""
    match record:
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


def context_of(run: Any) -> RunContext:
    """The lineage of an execution, made when it is first asked for."""
    if run.context is None:
        run.context = RunContext(digest(f"run {run.id}"), meta={"flow_name": run.flow.name})
    run.context.execution_id = run.context.execution_id or run.id
    return run.context


def chunk_context(run: Any, chunk: Any) -> RunContext:
    """The lineage of one run of a chunk."""
    signal = {key: it for key, it in run.names.signal(chunk.trigger, chunk.node.id).items() if key != "id"}
    return _context(run, chunk.node, f"{chunk.id}:{chunk.attempt}", **signal, signal_id=f"{run.id}:{chunk.signal}")


def _context(run: Any, node: Any, number: str, **more: Any) -> RunContext:
    names, parent = run.names, context_of(run)
    operator = names.by_id.get(node.id) or node.operator
    about = {"chunk_id": names.id(operator), "chunk_name": operator.name, "operator_kind": operator.kind.value}
    meta = {"flow_name": run.flow.name, **about, **more, **names.groups(operator), **names.wires(operator)}
    return parent.child(digest(f"{parent.run_id}:{number}"), "chunk_execution", meta=meta)


def tell(run: Any, event: str, what: str, payload: Any, level: str = "INFO", error: Any = None, by: Any = None) -> None:
    """Tell of an execution, or, with its context as `by`, of a chunk."""
    message = f"Workflow execution {run.id!r} {what}." if by is None else f"Chunk {by.meta['chunk_name']!r} {what}."
    if error is not None:
        text = "".join(traceback.format_exception(error))
        error = Record(type=type(error).__name__, message=str(error), module=type(error).__module__, traceback=text)
    about = {"payload": payload, "error": error, "run": by or context_of(run), "meta": {"execution_id": run.id}}
    CENTER.emit(RuntimeEvent(event, "TriggerFlowExecution", level, message=message, **about))


def origin(run: Any, by: Any) -> dict[str, Any] | None:
    """What something comes from: a run of a chunk (its number) or an `.end()` (its id); None for the outside."""
    chunk = run.machine.state.runs.get(by)
    if isinstance(by, str):
        context = _context(run, next(node for node in run.program.plan.nodes if node.id == by), by)
    elif chunk is None or chunk.node.name == OUTSIDE:
        return None
    else:
        context = chunk_context(run, chunk)
    return {"run_id": context.run_id, **{key: context.meta[key] for key in ("chunk_id", "chunk_name", "operator_kind")}}


def started(run: Any, value: Any) -> None:
    """The execution starts."""
    declared = {"flow_name": run.flow.name, "definition": run.flow.get_flow_config(validate_serializable=False)}
    tell(run, "workflow.definition_declared", "declared its definition", declared)
    tell(run, "workflow.execution_started", "started", {"initial_value": value})


def ended(run: Any, by: Any = None, error: BaseException | None = None) -> None:
    """The execution has a result, or has failed."""
    if error is not None:
        last = run.get_last_signal()
        payload = {"status": "failed", "last_signal": last and last.to_dict()}
        tell(run, "workflow.execution_failed", "failed", payload, "ERROR", error)
        return
    payload = {"result": run.machine.state.result, "origin_chunk": origin(run, by)}
    tell(run, "workflow.result_set", "set a result", payload)
    tell(run, "workflow.execution_completed", "completed", payload)


def recorded(run: Any, record: Any) -> None:
    """A record was accepted."""
    if (signal := signal_in(record)) is not None:
        _signal(run, *signal, record.value, "start" if isinstance(record, records.Started) else "runtime")
    elif isinstance(record, records.StreamPut):
        item = {"item": record.item, "item_type": type(record.item).__name__, "origin_chunk": origin(run, record.run)}
        tell(run, "workflow.stream_item_emitted", "emitted a stream item", item)
    elif isinstance(record, records.Paused):
        asked = {"interrupt": run.get_interrupt(record.interrupt)}
        tell(run, "workflow.interrupt_raised", f"paused for interrupt {record.interrupt!r}", asked, "WARNING")
    elif isinstance(record, records.Resumed):
        answer = {"interrupt_id": record.interrupt, "value": record.value}
        tell(run, "workflow.execution_resumed", f"resumed from interrupt {record.interrupt!r}", answer)


def _signal(run: Any, kind: str, event: str, value: Any, source: str, before: int = 1) -> None:
    number = f"{run.id}:{run.machine.state.records - before}"
    signal: dict[str, Any] = {"SIGNAL_ID": number, "TYPE": kind, "EVENT": event, "VALUE": value}
    signal |= {"SOURCE": source, "META": {}}
    tell(run, "trigger_flow.signal", f"dispatched signal {event!r}", signal, "DEBUG")


async def observed(run: Any, data: Any, call: Any) -> Any:
    """Call a handler, and tell of its start and its end."""
    by = chunk_context(run, data.run)
    keys = ("chunk_id", "chunk_name", "operator_kind", "trigger_event", "trigger_type", "signal_id")
    about = {key: by.meta[key] for key in keys}
    sent = {"event": about["trigger_event"], "type": about["trigger_type"], "handler": about["chunk_id"]}
    sent["signal_id"] = about["signal_id"]
    tell(run, "trigger_flow.handler_dispatch", f"dispatched {about['chunk_name']!r}", sent, "DEBUG")
    about = {**about, "input": data.value, "signal_source": data.signal_source, "signal_meta": data.signal_meta}
    done = {**about, "status": "completed", "returned_pause_signal": False}
    tell(run, "chunk.started", "started", {**about, "status": "running"}, by=by)
    try:
        output = await call(data)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        tell(run, "chunk.failed", "failed", {**about, "status": "failed"}, "ERROR", error, by)
        raise
    except BaseException:  # how the engine ends a chunk that pauses
        tell(run, "chunk.completed", "completed", {**done, "returned_pause_signal": True, "output": None}, by=by)
        raise
    for signal in by.meta["emit_signals"][:1]:
        _signal(run, "event", signal["trigger_event"], output, "runtime", 0)  # its record comes next
    tell(run, "chunk.completed", "completed", {**done, "output": output}, by=by)
    return output
