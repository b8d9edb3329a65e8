"""Run contexts, runtime events, the centre that hands events to hooks, and what a run of a flow tells it."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Iterable, Mapping
from contextvars import ContextVar
from time import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from triggerflow.portal import run_sync

from .config import OUTSIDE, digest

logger = logging.getLogger("agently")
#: Set where a hook runs: a hook that runs a flow must not wait for hooks, which may wait for it.
_in_hook: ContextVar[bool] = ContextVar("_in_hook", default=False)
#: The records that are signals, by the class name of the engine's record: trigger type, field of the name.
_DATA = {"StateChanged": ("runtime_data", "key"), "FlowDataChanged": ("flow_data", "key")}
_SIGNALS = {"Emitted": ("event", "name"), **_DATA}


class Record(SimpleNamespace):
    """Named values that can be had as a plain dict."""

    def model_dump(self) -> dict[str, Any]:
        """The values, nested records as dicts too."""
        return {key: it.model_dump() if isinstance(it, Record) else it for key, it in vars(self).items()}


class RunContext(Record):
    """Who runs, and on whose behalf: the lineage of a run."""

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

    def __init__(self, event_type: str, source: str = "Agently", level: str = "INFO", **more: Any) -> None:
        about = {"event_id": uuid4().hex, "event_type": event_type, "source": source, "level": level}
        rest = {**dict.fromkeys(("message", "payload", "error", "run")), "meta": {}, "timestamp": int(time() * 1000)}
        super().__init__(**{**about, **rest, **more})


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

    def emit(self, event: Mapping[str, Any] | RuntimeEvent) -> None:
        """Hand an event to the hooks. Async hooks are started here, and awaited by `drain`."""
        event = event if isinstance(event, RuntimeEvent) else RuntimeEvent(**event)
        for callback, types in list(self.hooks.values()):
            if types is None or event.event_type in types:
                try:
                    answer = callback(event)
                    if isinstance(answer, Awaitable):
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


#: The one centre, `Agently.event_center`.
CENTER = EventCenter()


def signal_in(record: Any) -> tuple[str, str] | None:
    """Type and name of the signal that a record is, if it is one."""
    kind, name = _SIGNALS.get(type(record).__name__, ("", ""))
    name = getattr(record, name, OUTSIDE)
    return None if name == OUTSIDE or not getattr(record, "emit", True) else (kind, name)


def context_of(run: Any) -> RunContext:
    """The lineage of a run, made when it is first asked for."""
    if run.context is None:
        run.context = RunContext(digest(f"run {run.id}"), meta={"flow_name": run.flow.name})
    run.context.execution_id = run.context.execution_id or run.id
    return run.context


def chunk_context(run: Any, chunk: Any) -> RunContext:
    """The lineage of one run of a chunk."""
    names, parent = run.compiled.names, context_of(run)
    operator = names.by_id.get(chunk.node.id, chunk.node.operator)
    signal = {key: it for key, it in names.signal(chunk.trigger).items() if key != "id"}
    about = {"chunk_id": names.id(operator), "chunk_name": operator.name, "operator_kind": operator.kind.value}
    meta = {"flow_name": run.flow.name, **about, **signal, "signal_id": f"{run.id}:{chunk.signal}"}
    meta = {**meta, **names.groups(operator), **names.wires(operator)}
    return parent.child(digest(f"{parent.run_id}:{chunk.id}:{chunk.attempt}"), "chunk_execution", meta=meta)


def tell(run: Any, event: str, what: str, payload: Any, level: str = "INFO", error: Any = None, by: Any = None) -> None:
    """Tell of a run, or, with its context as `by`, of a chunk."""
    message = f"Workflow execution {run.id!r} {what}." if by is None else f"Chunk {by.meta['chunk_name']!r} {what}."
    if error is not None:
        text = "".join(traceback.format_exception(error))
        error = Record(type=type(error).__name__, message=str(error), module=type(error).__module__, traceback=text)
    about = {"payload": payload, "error": error, "run": by or context_of(run), "meta": {"execution_id": run.id}}
    CENTER.emit(RuntimeEvent(event, "TriggerFlowExecution", level, message=message, **about))


def origin(run: Any, chunk: Any) -> dict[str, Any] | None:
    """The chunk that something comes from; None for the outside."""
    if chunk is None or chunk.node.name == OUTSIDE:
        return None
    context = chunk_context(run, chunk)
    return {"run_id": context.run_id, **{key: context.meta[key] for key in ("chunk_id", "chunk_name", "operator_kind")}}


def started(run: Any, value: Any) -> None:
    """The run starts."""
    declared = {"flow_name": run.flow.name, "definition": run.flow.get_flow_config(validate_serializable=False)}
    tell(run, "workflow.definition_declared", "declared its definition", declared)
    tell(run, "workflow.execution_started", "started", {"initial_value": value})


def recorded(run: Any, record: Any) -> None:
    """A record was accepted."""
    name, signal = type(record).__name__, signal_in(record)
    if signal is not None or name == "Started":
        _signal(run, *(signal or ("event", "START")), record.value, "start" if signal is None else "runtime")
    elif name == "StreamPut":
        item = {"item": record.item, "item_type": type(record.item).__name__}
        by = origin(run, run.machine.state.runs.get(record.run))
        tell(run, "workflow.stream_item_emitted", "emitted a stream item", {**item, "origin_chunk": by})
    elif name == "Paused":
        asked = {"interrupt": run.get_interrupt(record.interrupt)}
        tell(run, "workflow.interrupt_raised", f"paused for interrupt {record.interrupt!r}", asked, "WARNING")
    elif name == "Resumed":
        answer = {"interrupt_id": record.interrupt, "value": record.value}
        tell(run, "workflow.execution_resumed", f"resumed from interrupt {record.interrupt!r}", answer)


def _signal(run: Any, kind: str, event: str, value: Any, source: str) -> None:
    number = f"{run.id}:{run.machine.state.records - 1}"
    signal = {"SIGNAL_ID": number, "TYPE": kind, "EVENT": event, "VALUE": value, "SOURCE": source, "META": {}}
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
        _signal(run, "event", signal["trigger_event"], output, "runtime")
    tell(run, "chunk.completed", "completed", {**done, "output": output}, by=by)
    return output
