"""A `Definition` prepared for running: all triggers are resolved to their listeners, so that no signal needs a search.

A plan only adds links. `operators` defines what each kind of operator does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .definition import Definition, Operator, OperatorKind
from .errors import DefinitionError
from .signals import START, Trigger
from .values import BUILTIN, kind_of


class Node:
    """One operator with its links.

    `next` holds the listeners of its own trigger, in definition order. `block` is the operator at the other end of its
    block: the collector of a fan-out, the fan-out of a collector. For a `when` whose signals all come from inside one
    for_each, `block` is that for_each: the `when` then joins the signals of each item.

    `completes` is the trigger of the chunk that the operator runs, and what its signals carry. It differs from
    `trigger` for every occurrence of a chunk but the first: what follows such an occurrence in its chain listens to
    `trigger`, and every `when` of the chunk to `completes`. `next` has both. For an operator that goes back, `next`
    is the operator that runs again, and `leaves` the number of blocks that are left on the way.
    """

    __slots__ = (
        "block",
        "collects",
        "compares_builtin",
        "completes",
        "concurrency",
        "enter",
        "fallback",
        "handler",
        "id",
        "index",
        "kind",
        "leaves",
        "literal",
        "mode",
        "name",
        "next",
        "operator",
        "optional",
        "otherwise",
        "reach",
        "trigger",
    )

    def __init__(self, index: int, operator: Operator, enter: Callable[..., None]) -> None:
        options = operator.options
        self.index = index
        self.operator = operator
        self.id = operator.id
        self.kind = operator.kind
        self.name = operator.name
        self.handler = operator.handler
        self.enter = enter
        self.trigger = operator.emits[0] if operator.emits else Trigger("operator", operator.id)
        other = options.get("completes")
        self.completes = self.trigger if other is None else Trigger("chunk", other)
        self.next: tuple[Node, ...] = ()
        self.leaves = 0
        self.block: Node | None = None
        self.mode: str = options.get("mode", "")
        self.concurrency: int | None = options.get("concurrency")
        self.optional: bool = options.get("side_branch", False)
        #: for the opener of a block: whether it puts failures in the place of values
        self.collects: bool = options.get("on_error") == "collect"
        #: whether the driver has a value for a failed run
        self.fallback: bool = options.get("fallback", False)
        #: for the opener of a block: answers of `losses` about its branches
        self.reach: dict[Any, bool] | None = None
        #: for a match case: its literal, whether that has a builtin type, and whether the case is the else
        self.literal: Any = options.get("equals")
        self.compares_builtin = "equals" in options and id(kind_of(self.literal)) in BUILTIN
        self.otherwise: bool = options.get("otherwise", False)

    def __repr__(self) -> str:
        return f"<Node {self.id}>"


class Plan:
    """All nodes of a definition and, per kind of trigger, the listeners of each name."""

    __slots__ = (
        "definition",
        "depth",
        "effects",
        "errors",
        "event_triggers",
        "events",
        "external",
        "flow_data",
        "legacy_external",
        "nodes",
        "start",
        "state",
        "timers",
    )

    def __init__(self, definition: Definition, transitions: Mapping[OperatorKind, Callable[..., None]]) -> None:
        self.definition = definition
        self.nodes = tuple(
            Node(index, operator, transitions[operator.kind]) for index, operator in enumerate(definition.operators)
        )
        listeners: dict[Trigger, list[Node]] = {}
        for node in self.nodes:
            for trigger in node.operator.listens:
                listeners.setdefault(trigger, []).append(node)
        by_id = {node.id: node for node in self.nodes}
        if len(by_id) != len(self.nodes):
            raise DefinitionError(f"flow {definition.name!r}: two operators have the same id")
        for node in self.nodes:
            node.next = tuple(listeners.get(node.trigger, ()))
            if node.completes is not node.trigger and node.kind is not OperatorKind.MATCH_CASE:
                gates = [it for it in listeners.get(node.completes, ()) if it.kind is OperatorKind.GATE]
                node.next = tuple(sorted((*node.next, *gates), key=lambda it: it.index))
            elif node.kind is OperatorKind.GO_BACK:
                target = by_id[node.operator.options["to"]]
                node.next, node.leaves = (target,), _depth(node, by_id) - _depth(target, by_id)
            opener = node.operator.group
            if opener is not None:
                node.block = by_id[opener]
                by_id[opener].block = node
        fired: dict[Trigger, list[Node]] = {}
        for node in self.nodes:
            fired.setdefault(node.completes, []).append(node)
        for node in self.nodes:
            if node.kind is OperatorKind.GATE and node.mode == "and":
                sources = [source for trigger in node.operator.listens for source in fired.get(trigger, [None])]
                items = {_item_of(source, by_id) for source in sources}
                node.block = items.pop() if len(items) == 1 else None
        #: the deepest nesting of blocks, plus one for the flow itself
        self.depth = max((_depth(node, by_id) for node in self.nodes), default=0) + 1
        self.start = tuple(listeners.get(START, ()))
        self.events = _named(listeners, "event")
        #: the trigger of each of these events, made once instead of for every signal
        self.event_triggers = {name: Trigger("event", name) for name in self.events}
        #: the key under which the machine counts an emit of each of these events: `Emitted.effect`
        self.effects = {name: f"emitted:{name}" for name in self.events}
        self.state = _named(listeners, "state")
        self.flow_data = _named(listeners, "flow_data")
        self.errors = _named(listeners, "error")
        self.timers = _named(listeners, "timer")
        #: the declared external events that have listeners
        self.external = frozenset(definition.external) & self.events.keys()
        #: the events for which an execution with rules before `DECLARED` waits; see `closing`
        self.legacy_external = definition.outside_events

    def with_legacy_external(self, events: frozenset[str]) -> Plan:
        """Return a plan with the same nodes and another set of `legacy_external` events."""
        other = Plan.__new__(Plan)
        for name in Plan.__slots__:
            setattr(other, name, getattr(self, name))
        other.legacy_external = events
        return other


def _depth(node: Node, by_id: Mapping[str, Node]) -> int:
    depth, around = 0, by_id.get(node.operator.inside or "")
    while around is not None and depth < len(by_id):
        depth, around = depth + 1, by_id.get(around.operator.inside or "")
    return depth


def _item_of(node: Node | None, by_id: Mapping[str, Node]) -> Node | None:
    """Return the innermost for_each around a node, or None."""
    while node is not None and node.operator.inside is not None:
        node = by_id[node.operator.inside]
        if node.kind is OperatorKind.FOR_EACH_SPLIT:
            return node
    return None


def _named(listeners: Mapping[Trigger, list[Node]], kind: str) -> dict[str, tuple[Node, ...]]:
    return {trigger.name: tuple(nodes) for trigger, nodes in listeners.items() if trigger.kind == kind}
