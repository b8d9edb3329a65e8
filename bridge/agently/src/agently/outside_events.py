"""The events that only the outside sends, as Agently has it: read off the code of the chunks.

The engine waits for events that are declared external, and nothing else. For Agently an execution is concluded when all
is done that does not depend on events which something listens to and no chunk is known to emit; as long as a result can
come of it, the outside may send what a chunk may emit as well. What the execution has emitted itself is not waited for.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from triggerflow.extension import Program

from .config import OUTSIDE, RESTART, Names

#: The bridge's own events.
_OWN = {OUTSIDE, RESTART.name}
#: Where the events that an execution has emitted are in the engine's part of what `save` gives.
EMITTED = "emitted"


class OutsideEvents(NamedTuple):
    """Of one flow: the events that no chunk is known to emit, and those that an execution may still wait for."""

    foreign: frozenset[str]
    awaited: frozenset[str]


def outside_events_of(program: Program, names: Names) -> OutsideEvents:
    """The outside events of a program."""
    foreign = program.plan.definition.outside_events - _OWN
    heard = frozenset(it.name for it in names.heard if it.kind == "event") - _OWN
    ends = any(node.kind == "result_sink" for node in program.plan.nodes)
    return OutsideEvents(foreign, heard if ends else foreign)


def emitted_in(snapshot: Mapping[str, Any]) -> frozenset[str]:
    """The events that a saved execution had emitted; of one saved by an earlier version they are in its state."""
    return frozenset(snapshot[EMITTED] if EMITTED in snapshot else snapshot["state"].get("emitted", ()))
