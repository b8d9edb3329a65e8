"""The static graph as plain data: what the builder produces, and what core, diagrams, checker and exports read.

A `Definition` is a tuple of `Operator`s. Operators are wired by triggers only: one fires a trigger, others listen to
it. No callable stands in here: `handler` is a name, resolved by whoever runs the definition.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from .signals import Trigger


class OperatorKind(StrEnum):
    """The kinds of operator; each has one row in the table of `operators`."""

    CHUNK = "chunk"
    GATE = "signal_gate"
    BATCH_FANOUT = "batch_fanout"
    BATCH_COLLECT = "batch_collect"
    FOR_EACH_SPLIT = "for_each_split"
    FOR_EACH_COLLECT = "for_each_collect"
    MATCH_ROUTE = "match_route"
    MATCH_CASE = "match_case"
    MATCH_COLLECT = "match_collect"
    COLLECT = "collect_branch"
    SUB_FLOW = "sub_flow"
    RESULT = "result_sink"


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the graph.

    `group` is the id of the operator that opened the block this one closes (batch, for_each, match), or None; `inside`
    the id of the operator that opened the block it stands in.
    `emits` holds first the trigger that fires when the operator is done, then the events its handler is known to emit.
    """

    id: str
    kind: OperatorKind
    name: str
    listens: tuple[Trigger, ...]
    emits: tuple[Trigger, ...] = ()
    handler: str | None = None
    options: Mapping[str, Any] = {}
    group: str | None = None
    inside: str | None = None

    @property
    def fingerprint(self) -> str:
        """Its meaning as `kind.wiring.details`, the last two as digests.

        The wiring is what a run in flight relies on: the operator's own trigger, its place in blocks, what it joins.
        The details are everything else, but for the events that its handler is known to emit: they are read from code,
        and listening to one more of them does not change who emits it.
        """
        options = self.options
        relied_on: dict[str, Any] = {
            "own": self.emits[0].key if self.emits else "",
            "group": self.group,
            "inside": self.inside,
            "mode": options.get("mode"),
            "side_branch": options.get("side_branch"),
        }
        match self.kind:
            case OperatorKind.GATE:
                relied_on["joins"] = sorted(trigger.key for trigger in self.listens)
            case OperatorKind.BATCH_COLLECT:
                relied_on["joins"] = options.get("slots")
            case OperatorKind.COLLECT:
                relied_on["joins"] = [options.get("branch"), sorted(options.get("branches", ()))]
            case OperatorKind.SUB_FLOW:
                relied_on["child"] = [self.name, options.get("flow")]  # its saved execution is found by these
            case _:
                pass
        name = self.name if self.kind is not OperatorKind.MATCH_CASE else ""  # a case's says what its options say
        listens = [trigger.key for trigger in self.listens]
        details = [name, self.handler, listens, {key: _plain(it) for key, it in options.items()}]
        return f"{self.kind.value}.{_digest(relied_on)}.{_digest(details)}"


class Definition(msgspec.Struct, frozen=True, dict=True):
    """An immutable flow: a name, and its operators in the order in which they were defined.

    `external` are the events that are declared to come from outside, sorted: an execution at rest waits for those.
    """

    name: str
    operators: tuple[Operator, ...]
    external: tuple[str, ...] = ()

    @cached_property
    def by_id(self) -> Mapping[str, Operator]:
        """The operators by their id."""
        return {operator.id: operator for operator in self.operators}

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """The fingerprints of the operators by their id."""
        return {operator.id: operator.fingerprint for operator in self.operators}

    @cached_property
    def fingerprint(self) -> str:
        """A digest over the fingerprints of all operators and the external events; the flow's name does not count.

        Without external events it is what it was before they could be declared: what a store holds keeps its name.
        """
        operators = list(self.fingerprints.values())
        return _digest([*operators, {"external": self.external}] if self.external else operators)

    @cached_property
    def outside_events(self) -> frozenset[str]:
        """Events that something listens to and no chunk is known to emit.

        For diagrams and checks, and for executions recorded before external events were declared, which waited for
        these. It decides nothing for any other execution: `emits` is partly guessed from code.
        """
        heard = {t.name for op in self.operators for t in op.listens if t.kind == "event"}
        emitted = {t.name for op in self.operators for t in op.emits if t.kind == "event"}
        return frozenset(heard - emitted)


def _digest(content: Any) -> str:
    from hashlib import blake2b  # most programs never ask for a fingerprint, and this import costs milliseconds

    return blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=6).hexdigest()


def _plain(option: Any) -> Any:
    """An option as JSON; the literal of a case may be any object, of which only the type is sure to last."""
    try:
        msgspec.json.encode(option, order="deterministic")
    except (TypeError, ValueError, OverflowError):
        return type(option).__qualname__
    return option
