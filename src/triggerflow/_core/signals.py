"""Triggers: what an operator can listen to.

A *trigger* is the static name of something that can happen. A *signal* is one occurrence of it, and has the number of
its record. The kinds:

========== ============================================= =========================================
kind       fires when                                    written by the user as
========== ============================================= =========================================
start      the execution starts                          `flow.to(...)`
chunk      a chunk has completed                         `when(chunk)`, `.to(...)`
event      a chunk or a caller emits it                  `when("name")`, `async_emit("name", value)`
state      the execution's state changes at a key        `when({"runtime_data": key})`
flow_data  the flow's shared data changes at a key       `when({"flow_data": key})`
collect    a collection has all its branches             `when({"collect": name})`
error      a chunk has failed for good ("*": any chunk)  `when({"error": chunk})`
timer      so many seconds have passed since the start   `when({"timer": seconds})`
resume     an interrupt is answered that asked for its own chunk again (never)
operator   an operator without a name of its own is done (never: it wires a block together)
========== ============================================= =========================================
"""

from typing import Literal

import msgspec

TriggerKind = Literal[
    "start", "chunk", "event", "state", "flow_data", "collect", "error", "timer", "resume", "operator"
]


class Trigger(msgspec.Struct, frozen=True, order=True):
    """What an operator listens to or fires: a kind and a name."""

    kind: TriggerKind
    name: str

    @property
    def key(self) -> str:
        """One string for tables and exports, such as `event:Loop`."""
        return f"{self.kind}:{self.name}"


class FieldPlace(msgspec.Struct, frozen=True):
    """Where a field is in a model's answer.

    `path` names this place (`steps[2].tags[0]`), `wildcard_path` all places that differ only in their indexes
    (`steps[*].tags[*]`). `keys` has the keys and indexes from the root to the field: `("steps", 2, "tags", 0)`.
    """

    path: str
    wildcard_path: str
    keys: tuple[str | int, ...] = ()

    @property
    def indexes(self) -> tuple[int, ...]:
        """The indexes of lists in the path, outermost first: `(2, 0)`."""
        return tuple([key for key in self.keys if type(key) is int])


class FieldTrigger(Trigger, frozen=True):
    """The trigger of one occurrence: its value is the field at this place of a model's answer. No operator listens to
    it; the listeners are those of `plain`."""

    field: FieldPlace

    @property
    def plain(self) -> Trigger:
        """What operators listen to."""
        return Trigger(self.kind, self.name)


START = Trigger("start", "")

#: The trigger name of an error route for all chunks that have no route of their own.
ANY_CHUNK = "*"

#: The public names of the kinds, as `when` uses them; `runtime_data` is the historic name of state.
PUBLIC_KIND: dict[TriggerKind, str] = {
    "start": "start",
    "chunk": "event",
    "event": "event",
    "state": "runtime_data",
    "flow_data": "flow_data",
    "collect": "collect",
    "error": "error",
    "timer": "timer",
    "resume": "event",
    "operator": "operator",
}
