"""The events that an execution expects from outside, by Agently's rule, which reads the code of the chunks.

The engine waits only for events that are declared external. Agently has no such declaration: an event comes from
outside if an operator listens to it and no chunk is known to emit it. While a flow with an `.end()` has no result,
every event that an operator listens to may come from outside. An execution does not wait for an event that its chunks
have emitted.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from triggerflow.extension import Program

from .config import OUTSIDE, RESTART, Names

#: Events that only the bridge itself sends.
_OWN = {OUTSIDE, RESTART.name}
#: The key of the list of emitted events, in the engine's part of the dict that `save` returns.
EMITTED = "emitted"


class OutsideEvents(NamedTuple):
    """The events of one flow: `foreign` are emitted by no known chunk; an execution may wait for those in `awaited`."""

    foreign: frozenset[str]
    awaited: frozenset[str]


def outside_events_of(program: Program, names: Names) -> OutsideEvents:
    """Find the events that executions of a program expect from outside."""
    foreign = program.plan.definition.outside_events - _OWN
    heard = frozenset(it.name for it in names.heard if it.kind == "event") - _OWN
    ends = any(node.kind == "result_sink" for node in program.plan.nodes)
    return OutsideEvents(foreign, heard if ends else foreign)


def emitted_in(snapshot: Mapping[str, Any]) -> frozenset[str]:
    """The events that a saved execution had emitted. Earlier versions saved them in the state."""
    return frozenset(snapshot[EMITTED] if EMITTED in snapshot else snapshot["state"].get("emitted", ()))
