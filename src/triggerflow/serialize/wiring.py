"""What the core relies on in a definition, checked for one that was not made by the builder.

The rules that keep a run from going astray: a wire between operators leads forward only (so that no circle is without a
chunk in it), every block is opened, closed and filled by operators that fit together, and every operator has the
options that its kind reads.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from .._core.definition import Definition, Operator, OperatorKind
from .._core.errors import DefinitionError
from .._core.signals import Trigger

#: How deep blocks may stand in each other, and lists and objects in an option.
MAX_DEPTH = 100

#: Which kind opens a block, by the kind that closes it.
OPENED_BY: Mapping[OperatorKind, OperatorKind] = {
    OperatorKind.BATCH_COLLECT: OperatorKind.BATCH_FANOUT,
    OperatorKind.FOR_EACH_COLLECT: OperatorKind.FOR_EACH_SPLIT,
    OperatorKind.MATCH_COLLECT: OperatorKind.MATCH_ROUTE,
}
OPENERS = frozenset(OPENED_BY.values())

_MODES: Mapping[OperatorKind, tuple[str, ...]] = {
    OperatorKind.GATE: ("and", "or", "simple_or"),
    OperatorKind.MATCH_ROUTE: ("hit_first", "hit_all"),
    OperatorKind.COLLECT: ("filled_and_update", "filled_then_empty"),
}
_RUNS = frozenset({OperatorKind.CHUNK, OperatorKind.SUB_FLOW})


def check_wiring(definition: Definition) -> None:
    """Raise `DefinitionError`, with the place as `operators[3].group`, unless the operators fit together."""
    _Check(definition).run()


class _Check:
    """One pass over the operators, in order; then what only the whole tells."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.operators = definition.operators
        self.earlier: dict[str, Operator] = {}
        self.depth: dict[str, int] = {}
        self.fired: set[Trigger] = set()
        self.closers: dict[str, Operator] = {}
        self.chunks: dict[str, Operator] = {}
        self.listeners: dict[Trigger, list[Operator]] = {}
        self.where = ""

    def run(self) -> None:
        for index, operator in enumerate(self.operators):
            self.where = f"operators[{index}]"
            self.identity(operator)
            self.triggers(operator)
            self.block(operator)
            self.handler(operator)
            self.options(operator)
            self.earlier[operator.id] = operator
            self.fired.add(operator.emits[0])
        for index, operator in enumerate(self.operators):
            if operator.kind in OPENERS:
                self.where = f"operators[{index}]"
                self.opened(operator)
        self.external()

    def wrong(self, field: str, what: str) -> DefinitionError:
        return DefinitionError(f"{self.where}{field}: {what}")

    def identity(self, operator: Operator) -> None:
        if operator.id in self.earlier:
            raise self.wrong(".id", f"another operator has the id {operator.id!r} already")

    def triggers(self, operator: Operator) -> None:
        for index, trigger in enumerate(operator.listens):
            if trigger.kind == "operator" and trigger not in self.fired:
                raise self.wrong(f".listens[{index}]", f"no operator before this one fires {trigger.key!r}")
            if trigger.kind == "operator" and operator.kind is OperatorKind.GATE:
                raise self.wrong(f".listens[{index}]", f"a gate listens to signals with a name, not to {trigger.key!r}")
            self.listeners.setdefault(trigger, []).append(operator)
        if len(set(operator.listens)) < len(operator.listens):
            raise self.wrong(".listens", "a trigger stands here twice")
        if not operator.emits:
            raise self.wrong(".emits", "the first entry must be the operator's own trigger")
        own = operator.emits[0]
        match operator.kind:
            case OperatorKind.CHUNK:
                fits, wanted = own.kind == "chunk", "chunk:..."
            case OperatorKind.COLLECT:
                fits, wanted = own == Trigger("collect", operator.name), f"collect:{operator.name}"
            case _:
                fits, wanted = own == Trigger("operator", operator.id), f"operator:{operator.id}"
        if not fits:
            raise self.wrong(
                ".emits[0]", f"{own.key!r} must be {wanted!r}, the trigger that this operator fires itself"
            )
        for index, trigger in enumerate(operator.emits[1:], start=1):
            if trigger.kind != "event":
                raise self.wrong(f".emits[{index}]", f"{trigger.key!r} is no event, and chunks emit events only")

    def block(self, operator: Operator) -> None:
        opener = self.refer("inside", operator.inside, OPENERS)
        self.depth[operator.id] = 0 if opener is None else self.depth[opener.id] + 1
        if self.depth[operator.id] > MAX_DEPTH:
            raise self.wrong(".inside", f"blocks stand in each other more than {MAX_DEPTH} deep")
        kind = OPENED_BY.get(operator.kind)
        if kind is None:
            if operator.group is not None:
                raise self.wrong(".group", f"a {operator.kind.value} closes no block")
        else:
            opened = self.refer("group", operator.group, {kind})
            if opened is None:
                raise self.wrong(".group", f"a {operator.kind.value} must name the {kind.value} of its block")
            if opened.id in self.closers:
                raise self.wrong(".group", f"block {opened.id!r} is closed already, by {self.closers[opened.id].id!r}")
            if opened.inside != operator.inside:
                raise self.wrong(".inside", f"{operator.inside!r} must be {opened.inside!r}, as for {opened.id!r}")
            self.closers[opened.id] = operator
        if operator.kind is OperatorKind.MATCH_CASE and (
            opener is None or opener.kind is not OperatorKind.MATCH_ROUTE or operator.listens != opener.emits[:1]
        ):
            raise self.wrong(".listens", "a case listens to the route that it is inside of, and to nothing else")

    def refer(self, field: str, id: str | None, kinds: set[OperatorKind] | frozenset[OperatorKind]) -> Operator | None:
        """The earlier operator that a field names."""
        if id is None:
            return None
        found = self.earlier.get(id)
        if found is None:
            raise self.wrong(f".{field}", f"there is no operator {id!r} before this one")
        if found.kind not in kinds:
            wanted = " or ".join(sorted(kind.value for kind in kinds))
            raise self.wrong(f".{field}", f"{id!r} is a {found.kind.value}, not a {wanted}")
        return found

    def handler(self, operator: Operator) -> None:
        if operator.kind is OperatorKind.MATCH_CASE:
            ways = [operator.handler is not None, "equals" in operator.options, "otherwise" in operator.options]
            if sum(ways) != 1:
                raise self.wrong("", "a case has either a handler, or options.equals, or options.otherwise")
        elif (operator.handler is not None) != (operator.kind in _RUNS):
            need = "needs" if operator.kind in _RUNS else "has no"
            raise self.wrong(".handler", f"a {operator.kind.value} {need} handler")
        if operator.kind is OperatorKind.CHUNK:
            twin = self.chunks.setdefault(operator.emits[0].name, operator)
            if (twin.handler, twin.name) != (operator.handler, operator.name):
                raise self.wrong(".emits[0]", f"{operator.emits[0].key!r} is fired by chunk {twin.id!r} as well, "
                                 "whose name or handler is another")  # fmt: skip

    def options(self, operator: Operator) -> None:
        if operator.kind in _MODES:
            modes = _MODES[operator.kind]
            self.option(operator, "mode", f"one of {list(modes)}", lambda it: it in modes, required=True)
        self.option(operator, "concurrency", "a whole number from 1 on", lambda it: _is_int(it) and it >= 1)
        for name in ("side_branch", "inline", "otherwise"):
            self.option(operator, name, "true or false", lambda it: isinstance(it, bool))
        if operator.kind is OperatorKind.COLLECT:
            self.option(operator, "branch", "a string", lambda it: isinstance(it, str), required=True)
            self.option(operator, "branches", "a list of strings that holds the branch", _is_names, required=True)
            if operator.options["branch"] not in operator.options["branches"]:
                raise self.wrong(".options.branches", f"lacks {operator.options['branch']!r}, the branch itself")
        if operator.kind is OperatorKind.BATCH_COLLECT:
            self.option(operator, "slots", "a list of different strings", _is_names, required=True)
        if operator.kind is OperatorKind.SUB_FLOW:
            self.option(operator, "flow", "the name of a flow", lambda it: isinstance(it, str), required=True)

    def option(
        self, operator: Operator, name: str, wanted: str, fits: Callable[[Any], bool], *, required: bool = False
    ) -> None:
        if name not in operator.options:
            if required:
                raise self.wrong(".options", f"a {operator.kind.value} needs {name!r}, {wanted}")
        elif not fits(operator.options[name]):
            raise self.wrong(f".options.{name}", f"must be {wanted}, not {operator.options[name]!r}")

    def opened(self, operator: Operator) -> None:
        """A block: it is closed, and what follows its opener is what the opener expects."""
        closer = self.closers.get(operator.id)
        if closer is None:
            raise self.wrong("", f"block {operator.id!r} is never closed")
        first = self.listeners.get(operator.emits[0], [])
        if operator.kind is OperatorKind.MATCH_ROUTE:
            others = [it.id for it in first if it.kind is not OperatorKind.MATCH_CASE]
            if others:
                raise self.wrong("", f"only cases can listen to a match, and {others[0]!r} is none")
        elif operator.kind is OperatorKind.BATCH_FANOUT and len(closer.options["slots"]) != len(first):
            raise self.wrong("", f"{len(first)} operators listen to batch {operator.id!r}, and its collector "
                             f"{closer.id!r} has {len(closer.options['slots'])} slots")  # fmt: skip

    def external(self) -> None:
        """Each external event is listened to, and named once."""
        self.where = "external"
        events = {trigger.name for trigger in self.listeners if trigger.kind == "event"}
        seen: set[str] = set()
        for name in self.definition.external:
            if name not in events:
                near = difflib.get_close_matches(name, events, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise self.wrong("", f"no operator listens to the event {name!r}{hint}")
            if name in seen:
                raise self.wrong("", f"the event {name!r} stands here twice")
            seen.add(name)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(it, str) for it in value) and len(set(value)) == len(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
