"""Collections that would feed themselves for ever: found before the first run.

A loop of signals comes to rest because somewhere in it a chunk decides. Where a full collection reaches itself through
nothing but gates, blocks and other collections, it would be full again at once, and again.
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
                "between, and would never come to rest; put a chunk into that loop, or collect under another name"
            )


def _fills_itself(start: Node) -> bool:
    """Whether this collection, once full, is full again by that alone."""
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
    """Whether a signal goes on behind an operator at once; `heard` gathers what has reached the joins."""
    options = node.operator.options
    if node.kind is OperatorKind.COLLECT:
        branches = heard.setdefault(f"collect:{node.name}", set())
        branches.add(options["branch"])
        return options["mode"] == "filled_and_update" or branches.issuperset(options["branches"])
    if node.kind is OperatorKind.GATE and node.mode == "and":
        triggers = heard.setdefault(node.id, set())
        triggers.add(source.trigger)
        return triggers.issuperset(node.operator.listens)
    return node.handler is None
