"""Diagrams of a `Definition`, plain or coloured by a run: Mermaid for documents, DOT for Graphviz.

`graph` decides which boxes and lines are drawn, `mermaid` and `dot` write them as text, `runs` reads a journal.
"""

from collections.abc import Mapping

from .._core.definition import Definition
from .._core.errors import DefinitionError
from . import dot, mermaid
from .graph import Mode, draw
from .runs import OperatorView, RunView, run_view


def to_mermaid(
    definition: Definition,
    *,
    mode: Mode = "simplified",
    run: RunView | None = None,
    sub_flows: Mapping[str, Definition] | None = None,
) -> str:
    """The flow as a Mermaid flowchart.

    "simplified" shows chunks, blocks and the signals that start them; "detailed" every operator, with its id and
    options. `run` (see `run_view`) adds colours, counts and times. `sub_flows` maps names of flows to definitions,
    which are drawn in place of the steps that run them. The same arguments give the same text. Raises `DefinitionError`
    for an unknown mode.
    """
    if mode not in ("simplified", "detailed"):
        raise DefinitionError(f"to_mermaid() has the modes 'simplified' and 'detailed', not {mode!r}")
    return mermaid.write(draw(definition, mode=mode, run=run, sub_flows=sub_flows))


def to_dot(
    definition: Definition, *, run: RunView | None = None, sub_flows: Mapping[str, Definition] | None = None
) -> str:
    """The flow as a graph for Graphviz's `dot`. The arguments are those of `to_mermaid`; the mode is "simplified"."""
    return dot.write(draw(definition, mode="simplified", run=run, sub_flows=sub_flows))


__all__ = ["OperatorView", "RunView", "run_view", "to_dot", "to_mermaid"]
