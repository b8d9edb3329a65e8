"""The runtime data that a chunk receives, with Agently's names."""

from collections import ChainMap
from types import CodeType
from typing import Any
from uuid import uuid4

from triggerflow import TriggerFlowRuntimeData
from triggerflow.extension import async_call_on_thread, run_of

from .adapt import carried, delegate, delegates, later
from .observed import chunk_context
from .signals import PauseSignal
from .state import StateData, data_methods


class Resources(ChainMap[str, Any]):
    """Resources by name, read only."""

    __setitem__ = __delitem__ = None  # pyright: ignore[reportAssignmentType]
    to_dict = lambda self: dict(self)


def _mark(depth: int) -> Any:
    return property(lambda self: "{1}.{2}".format(*self.path[-depth]) if len(self.path) >= depth else None)


@data_methods("state", "runtime_data", "state")
@data_methods("flow_state", "flow_data")
@delegates("execution", "continue_with", "async_continue_with", "get_interrupt", "get_pending_interrupts", "get_status",
           "is_waiting", "get_result", "async_get_result")  # fmt: skip
class Data(TriggerFlowRuntimeData[Any, Any, Any]):
    """The argument of every chunk and condition."""

    __slots__ = ("__dict__", "execution", "question")  # Agently's programs set attributes of their own

    execution: Any  # the `TriggerFlowExecution` that calls the chunk
    run = property(lambda self: run_of(self)[1])
    settings = property(lambda self: self.execution.settings)
    signal = signal_info = property(lambda self: self.execution.signal_of(self.run))
    get_last_signal = lambda self: self.signal
    trigger_event = event = property(lambda self: self.signal.trigger_event)
    trigger_type = type = property(lambda self: self.signal.trigger_type)
    signal_id, signal_source = property(lambda self: self.signal.id), property(lambda self: self.signal.source)
    signal_meta = property(lambda self: self.signal.meta)
    chunk_run_context = property(lambda self: chunk_context(self.execution, self.run))
    input = inputs = property(lambda self: self.value)
    layer_mark, upper_layer_mark = _mark(1), _mark(2)
    resources = property(lambda self: Resources(self.execution.resources))
    layer_in = layer_out = lambda self: None  # not needed: the engine keeps branches apart
    engine_state, engine_flow_state = TriggerFlowRuntimeData.state, TriggerFlowRuntimeData.flow_state

    @property
    def state(self) -> Any:
        execution = self.execution
        return StateData(self.engine_state, execution.runtime.machine.state.data, execution.on_loop, self.carry)

    async def carry(self, deed: Any) -> Any:
        """Call a function on the thread of the execution, from any event loop."""
        return await async_call_on_thread(self.execution.runtime, deed)

    @property
    def flow_state(self) -> Any:
        shared = self.execution.runtime.shared
        return StateData(self.engine_flow_state, shared.values, shared.locked)

    async def async_emit(
        self, trigger_event: str, value: Any = None, _layer_marks: Any = None, *, trigger_type: str = "event",
        **how: Any,
    ) -> None:  # fmt: skip
        """Emit a signal. Returns when the signal is accepted; with `settle=True`, when all that it caused has ended."""
        if trigger_type == "event":
            self.note(trigger_event)
            await super().async_emit(trigger_event, value, **how)
        else:
            await self.carry(lambda: self.emit(trigger_event, value, trigger_type=trigger_type))

    def emit(
        self, trigger_event: str, value: Any = None, _layer_marks: Any = None, *, trigger_type: str = "event",
        **how: Any,
    ) -> None:  # fmt: skip
        """Emit a signal without waiting. See `async_emit`."""
        if trigger_type == "event":
            self.note(trigger_event)
            super().emit(trigger_event, value, **how)
        else:
            changed: Any = {"runtime_data": self.state, "flow_data": self.flow_state}[trigger_type]
            self.execution.on_loop(lambda: changed.fire(trigger_event, value))

    def note(self, trigger_event: str) -> None:
        """Note that a chunk emits this event, so that the execution no longer waits for it from outside."""
        execution = self.execution
        if trigger_event in execution.made.outside.awaited and trigger_event not in execution.emitted:
            execution.emitted = execution.emitted | {trigger_event}

    emit_nowait, async_emit_nowait = emit, async_emit
    put, async_put = TriggerFlowRuntimeData.put_into_stream, TriggerFlowRuntimeData.async_put_into_stream

    def set_result(self, result: Any) -> None:
        """Set the result. It replaces an earlier result."""
        super().set_result(result, replace=True)

    def pause_for(self, *, interrupt_id: str | None = None, **question: Any) -> Any:
        """Open an interrupt when the chunk has ended, and return its `PauseSignal`, which the chunk may return.

        `question` may hold `type`, `payload` and `resume_event`. If the chunk's own code does not mention `pause_for`
        (a helper calls it), this call ends the chunk at once.
        """
        asked: dict[str, Any] = {"interrupt_id": interrupt_id or uuid4().hex, **question}
        if not hasattr(self, "question"):
            super().pause_for(**asked)
        self.question = asked
        return PauseSignal(**asked)

    async_set_result, async_pause_for = carried("set_result"), later("pause_for")
    set_resource = delegate("execution", "set_runtime_resource")
    get_resource = delegate("execution", "get_runtime_resource")
    require_resource = delegate("execution", "require_runtime_resource")
    del_resource = delegate("execution", "del_runtime_resource")


def may_ask(code: Any) -> bool:
    """Whether a chunk's code mentions `pause_for`, or cannot be read. Only such chunks are called through `asking`."""
    if not isinstance(code, CodeType):
        return True
    inner = any(may_ask(it) for it in code.co_consts if isinstance(it, CodeType))
    return inner or not {"pause_for", "async_pause_for"}.isdisjoint(code.co_names)


async def asking(call: Any, data: Data) -> Any:
    """Call a handler. If the chunk has called `pause_for`, open that interrupt when the handler has returned."""
    data.question = None
    value = await call(data)
    return value if data.question is None else TriggerFlowRuntimeData.pause_for(data, **data.question)
