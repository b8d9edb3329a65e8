"""The static graph as plain data: what the builder produces, and what core, diagrams, checker and exports read.

A `Definition` is a tuple of `Operator`s. Operators are wired by triggers only: one fires a trigger, others listen to
it. A definition holds no callables: `handler` is a name, which the runtime resolves.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from .signals import Trigger


class OperatorKind(StrEnum):
    """The kinds of operator. `operators.TRANSITIONS` has one function for each."""

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
    GO_BACK = "go_back"


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the graph.

    `group` is the id of the operator that opened the block which this one closes (batch, for_each, match), or None.
    `inside` is the id of the operator that opened the block around this one, or None. `emits` holds the trigger that
    fires when the operator is done, and after it the events that its handler is known to emit.

    A chunk can stand in several places. The first place fires the trigger of the chunk. Each further one fires a
    trigger of its own, and its option `completes` names the chunk's, for every `when` of the chunk (decision 0019).
    Operators that fire the same trigger are one place: the later ones go back to it.
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
        """The meaning of the operator as `kind.wiring.details`; the last two are digests.

        A run in flight relies on the wiring: the trigger of the operator, its position in blocks, and what it joins.
        The details are everything else, except the events that its handler is known to emit. Those are read from code,
        and a new listener for one of them does not change the operator that emits it.
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
                # A saved child execution is found by these two names.
                relied_on["child"] = [self.name, options.get("flow")]
            case OperatorKind.GO_BACK:
                relied_on["to"] = options.get("to")
            case _:
                pass
        name = self.name if self.kind is not OperatorKind.MATCH_CASE else ""  # the name of a case repeats its options
        listens = [trigger.key for trigger in self.listens]
        details = [name, self.handler, listens, {key: _plain(it) for key, it in options.items()}]
        return f"{self.kind.value}.{_digest(relied_on)}.{_digest(details)}"


class Definition(msgspec.Struct, frozen=True, dict=True):
    """An immutable flow: a name, and its operators in the order in which they were defined.

    `external` holds the events that are declared to come from outside, sorted. An idle execution with a handle
    waits for these events.
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

        Without external events the digest is the same as before they could be declared, for stored executions.
        """
        operators = list(self.fingerprints.values())
        return _digest([*operators, {"external": self.external}] if self.external else operators)

    @cached_property
    def outside_events(self) -> frozenset[str]:
        """Events that have listeners and that no chunk is known to emit.

        Used by diagrams and checks, and by executions with rules before `DECLARED`, which wait for these events. Other
        executions ignore this set, because `emits` is partly guessed from code.
        """
        heard = {t.name for op in self.operators for t in op.listens if t.kind == "event"}
        emitted = {t.name for op in self.operators for t in op.emits if t.kind == "event"}
        return frozenset(heard - emitted)


def completed_by(operator: Operator) -> Trigger:
    """The trigger that a `when` of the operator's chunk listens to: its own, unless it is a further occurrence."""
    other = operator.options.get("completes")
    return operator.emits[0] if other is None else Trigger("chunk", other)


def _digest(content: Any) -> str:
    from hashlib import blake2b  # imported late: most programs need no fingerprint, and the import costs milliseconds

    return blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=6).hexdigest()


def _plain(option: Any) -> Any:
    """Return an option as JSON. The literal of a case may be any object; only the name of its type is stable."""
    try:
        msgspec.json.encode(option, order="deterministic")
    except (TypeError, ValueError, OverflowError):
        return type(option).__qualname__
    return option
