"""Signals and interrupts in the form in which Agently shows them to chunks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Signal:
    """The signal that triggered a run of a chunk."""

    id: str
    trigger_event: str
    trigger_type: str
    value: Any
    source: str = "runtime"
    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    layer_marks: list[str] = field(default_factory=list[str])

    event, type = property(lambda self: self.trigger_event), property(lambda self: self.trigger_type)
    signal, signal_id = property(lambda self: self), property(lambda self: self.id)
    signal_source, signal_meta = property(lambda self: self.source), property(lambda self: self.meta)
    to_state_dict = lambda self: asdict(self)

    def to_dict(self) -> dict[str, Any]:
        """The signal as a dict, in the form for chunks."""
        seen = {key: getattr(self, key) for key in ("trigger_event", "trigger_type", "value")}
        return {**seen, "signal_id": self.id, "signal_source": self.source, "signal_meta": self.meta}

    def to_debug_dict(self) -> dict[str, Any]:
        """The signal as a dict, in the form for the hooks of the event centre."""
        about = {"SIGNAL_ID": self.id, "TYPE": self.trigger_type, "EVENT": self.trigger_event, "VALUE": self.value}
        return {**about, "SOURCE": self.source, "META": self.meta}


class PauseSignal(dict[str, Any]):
    """The interrupt that `pause_for` opens, as a dict. `pause_for` returns it, and the chunk may return it."""

    def __init__(self, interrupt_id: str, type: str = "pause", payload: Any = None, resume_event: Any = None, **_: Any):
        super().__init__(id=interrupt_id, type=type, payload=payload, resume_event=resume_event, status="waiting")

    interrupt = property(dict)


def shown_interrupt(interrupt: Mapping[str, Any]) -> dict[str, Any]:
    """An interrupt of the engine as the dict that Agently shows."""
    hidden = {"expires"} if interrupt["status"] == "resumed" else {"expires", "response"}
    return {key: value for key, value in interrupt.items() if key not in hidden}
