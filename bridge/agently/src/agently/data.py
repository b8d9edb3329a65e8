"""What a chunk receives, under Agently's names."""

# The engine's methods of these names take other parameters.
# pyright: reportIncompatibleMethodOverride=false

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from triggerflow import TriggerFlowRuntimeData

from .events import chunk_context
from .state import StateData, data_methods, delegate, later, method, view


@dataclass
class Signal:
    """What triggered a chunk."""

    id: str
    trigger_event: str
    trigger_type: str
    value: Any
    source: str = "runtime"
    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    layer_marks: list[str] = field(default_factory=list[str])

    event, type = view(lambda self: self.trigger_event), view(lambda self: self.trigger_type)

    def to_dict(self) -> dict[str, Any]:
        """The signal as a chunk is told of it."""
        seen = {key: getattr(self, key) for key in ("trigger_event", "trigger_type", "value")}
        return {**seen, "signal_id": self.id, "signal_source": self.source, "signal_meta": self.meta}


class PauseSignal(dict[str, Any]):
    """What `pause_for` gives a chunk to return: the interrupt that it opens."""

    def __init__(self, interrupt_id: str, type: str = "pause", payload: Any = None, resume_event: Any = None, **_: Any):
        super().__init__(id=interrupt_id, type=type, payload=payload, resume_event=resume_event, status="waiting")


def shown_interrupt(interrupt: Mapping[str, Any]) -> dict[str, Any]:
    """An interrupt in Agently's shape."""
    hidden = {"expires"} if interrupt["status"] == "resumed" else {"expires", "response"}
    return {key: value for key, value in interrupt.items() if key not in hidden}


def _mark(depth: int) -> Any:
    return view(lambda self: "{1}.{2}".format(*self.path[-depth]) if len(self.path) >= depth else None)


@data_methods("state", "runtime_data", "state")
@data_methods("flow_state", "flow_data")
class Data(TriggerFlowRuntimeData[Any, Any, Any]):
    """The argument of every chunk and condition."""

    __slots__ = ("question",)

    execution: Any  # a `TriggerFlowExecution`, which imports this
    settings = view(lambda self: self.execution.settings)
    signal = signal_info = view(lambda self: self.execution.signal_of(self.run))
    trigger_event = event = view(lambda self: self.signal.trigger_event)
    trigger_type = type = view(lambda self: self.signal.trigger_type)
    signal_id = view(lambda self: self.signal.id)
    signal_source = view(lambda self: self.signal.source)
    signal_meta = view(lambda self: self.signal.meta)
    chunk_run_context = view(lambda self: chunk_context(self.execution, self.run))
    input = inputs = view(lambda self: self.value)
    layer_mark, upper_layer_mark = _mark(1), _mark(2)

    layer_in = layer_out = method(lambda self: None)  # the engine keeps the branches apart
    engine_state, engine_flow_state = TriggerFlowRuntimeData.state, TriggerFlowRuntimeData.flow_state
    state = view(lambda self: StateData(self.engine_state, self.execution.machine.state.data))
    flow_state = view(lambda self: StateData(self.engine_flow_state, self.execution.shared.values))

    async def async_emit(
        self, trigger_event: str, value: Any = None, _marks: Any = None, *, trigger_type: str = "event", **how: Any
    ) -> None:
        """Emit a signal. Returns once it is accepted; `settle=True` waits for all that it causes."""
        if trigger_type != "event":
            self.emit(trigger_event, value, trigger_type=trigger_type)
        else:
            await super().async_emit(trigger_event, value, **how)

    def emit(
        self, trigger_event: str, value: Any = None, _marks: Any = None, *, trigger_type: str = "event", **how: Any
    ) -> None:
        """See `async_emit`; it does not wait."""
        if trigger_type == "event":
            super().emit(trigger_event, value, **how)
        else:
            changed: Any = self.state if trigger_type == "runtime_data" else self.flow_state
            self.execution.on_loop(lambda: changed.fire(trigger_event, value))

    emit_nowait, async_emit_nowait = emit, async_emit
    put, async_put = TriggerFlowRuntimeData.put_into_stream, TriggerFlowRuntimeData.async_put_into_stream

    def set_result(self, result: Any) -> None:
        """Set the result, also in place of one that is there."""
        super().set_result(result, replace=True)

    def pause_for(self, *, interrupt_id: str | None = None, **question: Any) -> Any:
        """Open an interrupt: `type`, `payload`, `resume_event`. Return what it gives from the chunk, which ends then.

        (Called in a function that the chunk calls, it ends the chunk at once.)
        """
        question["interrupt_id"] = interrupt_id or uuid4().hex
        if not hasattr(self, "question"):
            super().pause_for(**question)
        self.question = question
        return PauseSignal(**question)

    async_set_result, async_pause_for = later("set_result"), later("pause_for")
    continue_with = delegate("execution", "continue_with")
    async_continue_with = delegate("execution", "async_continue_with")
    get_interrupt = delegate("execution", "get_interrupt")
    get_pending_interrupts = delegate("execution", "get_pending_interrupts")
    get_status, is_waiting = delegate("execution", "get_status"), delegate("execution", "is_waiting")
    get_result, async_get_result = delegate("execution", "get_result"), delegate("execution", "async_get_result")
    get_last_signal = delegate("execution", "get_last_signal")
    set_resource = delegate("execution", "set_runtime_resource")
    del_resource = delegate("execution", "del_runtime_resource")
