"""Check for collections that would fill themselves for ever, before the first run.

A loop of signals can end only where a chunk in it decides. A full collection that reaches itself through gates, blocks
and other collections alone would be full again at once, without end.
"""

from .definition import OperatorKind
from .errors import DefinitionError
from .plan import Node, Plan


def check_cycles(plan: Plan) -> None:
    """Raise `DefinitionError` for a collection that fills itself without a chunk in between."""
    for node in plan.nodes:
        if node.kind is OperatorKind.COLLECT and _fills_itself(node):
            raise DefinitionError(
                f"flow {plan.definition.name!r}: collection {node.name!r} leads back to itself with no chunk in "
                "between, and would fill itself again without end; put a chunk into that loop, or collect under "
                "another name"
            )


def _fills_itself(start: Node) -> bool:
    """Whether a full set of this collection fills it again, without a chunk in between."""
    passed: set[int] = set()
    heard: dict[str, set[object]] = {}
    open_ends = [start]
    while open_ends:
        node = open_ends.pop()
        for follower in (*node.next, *((node.block,) if node.kind is OperatorKind.MATCH_ROUTE and node.block else ())):
            if follower.index in passed or not _passes(follower, node, heard):
                continue
            if follower.kind is OperatorKind.COLLECT and follower.name == start.name:
                return True
            passed.add(follower.index)
            open_ends.append(follower)
    return False


def _passes(node: Node, source: Node, heard: dict[str, set[object]]) -> bool:
    """Whether a signal passes an operator at once. `heard` collects the branches that have reached each join."""
    options = node.operator.options
    if node.kind is OperatorKind.COLLECT:
        branches = heard.setdefault(f"collect:{node.name}", set())
        branches.add(options["branch"])
        return options["mode"] == "filled_and_update" or branches.issuperset(options["branches"])
    if node.kind is OperatorKind.GATE and node.mode == "and":
        triggers = heard.setdefault(node.id, set())
        triggers.add(source.completes)
        return triggers.issuperset(node.operator.listens)
    return node.handler is None
