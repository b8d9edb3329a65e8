"""The events that only the outside sends. This module alone touches the engine's rule for them (`Plan.outside`).

An execution is concluded when all is done that does not depend on them. The engine takes for them what something
listens to and no chunk is known to emit. For Agently the outside may send what a chunk may emit as well, as long as a
result can come of it.
"""

from typing import Any

from triggerflow.extension import Program

from .config import OUTSIDE, RESTART, Names

#: The bridge's own events.
_OWN = {OUTSIDE, RESTART.name}


def settle_for(program: Program, names: Names) -> frozenset[str]:
    """Put Agently's rule into a program that has not been run yet; the events that no chunk emits."""
    foreign = program.plan.outside - _OWN
    heard = frozenset(it.name for it in names.heard if it.kind == "event") - _OWN
    ends = any(node.kind == "result_sink" for node in program.plan.nodes)
    program.plan.outside = heard if ends else foreign
    return foreign


def awaited(runtime: Any) -> bool:
    """Whether an execution may still get one that it has not had."""
    return bool(runtime.program.plan.outside - (runtime.machine.state.emitted or frozenset()))
