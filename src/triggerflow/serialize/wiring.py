"""Checks a loaded definition. The core relies on these rules; the builder makes only definitions that keep them.

* An operator listens only to operators before it, so that every cycle of signals contains a chunk.
* Every block is opened, closed and filled by operators that fit together.
* Every operator has the options that its kind reads.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .._core.definition import Definition, Operator, OperatorKind
from .._core.errors import DefinitionError
from .._core.signals import Trigger
from ..build.arguments import closest

#: The deepest nesting of blocks, and of lists and objects in an option.
MAX_DEPTH = 100

#: The kind that opens a block, by the kind that closes it.
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
    """Raise `DefinitionError` unless the operators fit together. The error names the place: `operators[3].group`."""
    _Check(definition).run()


class _Check:
    """Checks the operators one by one, in order; then what can be checked only when all are known."""

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
        for index, operator in enumerate(self.operators):
            if operator.kind is OperatorKind.GO_BACK:
                self.where = f"operators[{index}]"
                self.goes_back(operator)
        self.external()

    def wrong(self, field: str, what: str) -> DefinitionError:
        return DefinitionError(f"{self.where}{field}: {what}")

    def identity(self, operator: Operator) -> None:
        if operator.id in self.earlier:
            raise self.wrong(".id", f"an earlier operator has the id {operator.id!r} too; give each its own")

    def triggers(self, operator: Operator) -> None:
        for index, trigger in enumerate(operator.listens):
            if trigger.kind == "operator" and trigger not in self.fired:
                raise self.wrong(f".listens[{index}]", f"no operator before this one fires {trigger.key!r}")
            if trigger.kind == "operator" and operator.kind is OperatorKind.GATE:
                raise self.wrong(f".listens[{index}]", f"a gate listens to named signals, not to {trigger.key!r}")
            self.listeners.setdefault(trigger, []).append(operator)
        if len(set(operator.listens)) < len(operator.listens):
            raise self.wrong(".listens", "a trigger is listed twice")
        if not operator.emits:
            raise self.wrong(".emits", "the first entry must be the operator's own trigger")
        own = operator.emits[0]
        match operator.kind:
            case OperatorKind.CHUNK:
                fits, wanted = own.kind == "chunk", f"chunk:{operator.name}"
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
                raise self.wrong(f".emits[{index}]", f"{trigger.key!r} is not an event, and chunks emit only events")

    def block(self, operator: Operator) -> None:
        opener = self.refer("inside", operator.inside, OPENERS)
        self.depth[operator.id] = 0 if opener is None else self.depth[opener.id] + 1
        if self.depth[operator.id] > MAX_DEPTH:
            raise self.wrong(".inside", f"blocks are nested more than {MAX_DEPTH} levels deep")
        kind = OPENED_BY.get(operator.kind)
        if kind is None:
            if operator.group is not None:
                raise self.wrong(".group", f"a {operator.kind.value} does not close a block, so it has no group")
        else:
            opened = self.refer("group", operator.group, {kind})
            if opened is None:
                raise self.wrong(".group", f"a {operator.kind.value} must name the {kind.value} of its block")
            if opened.id in self.closers:
                raise self.wrong(".group", f"block {opened.id!r} is already closed by {self.closers[opened.id].id!r}")
            if opened.inside != operator.inside:
                raise self.wrong(
                    ".inside",
                    f"{operator.inside!r} must be {opened.inside!r}, as in {opened.id!r}, which opens its block",
                )
            self.closers[opened.id] = operator
        if operator.kind is OperatorKind.MATCH_CASE and (
            opener is None or opener.kind is not OperatorKind.MATCH_ROUTE or operator.listens != opener.emits[:1]
        ):
            raise self.wrong(".listens", "a case listens only to the route that it is inside of")

    def refer(self, field: str, id: str | None, kinds: set[OperatorKind] | frozenset[OperatorKind]) -> Operator | None:
        """The earlier operator that a field names; None if the field is empty."""
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
                raise self.wrong("", "a case needs exactly one of: a handler, options.equals, options.otherwise")
        elif (operator.handler is not None) != (operator.kind in _RUNS):
            need = "needs" if operator.kind in _RUNS else "has no"
            raise self.wrong(".handler", f"a {operator.kind.value} {need} handler")
        if operator.kind is OperatorKind.CHUNK:
            twin = self.chunks.setdefault(operator.emits[0].name, operator)
            told = [(it.handler, it.name, it.options.get("completes")) for it in (twin, operator)]
            if told[0] != told[1]:
                raise self.wrong(".emits[0]", f"{operator.emits[0].key!r} is fired by chunk {twin.id!r} too, "
                                 "which has another name or handler")  # fmt: skip

    def options(self, operator: Operator) -> None:
        if operator.kind in _MODES:
            modes = _MODES[operator.kind]
            self.option(operator, "mode", f"one of {list(modes)}", lambda it: it in modes, required=True)
        self.option(operator, "concurrency", "a whole number of at least 1", lambda it: _is_int(it) and it >= 1)
        self.option(operator, "on_error", "'collect'", lambda it: it == "collect")
        for name in ("side_branch", "inline", "otherwise", "fallback"):
            self.option(operator, name, "true or false", lambda it: isinstance(it, bool))
        if operator.kind is OperatorKind.COLLECT:
            self.option(operator, "branch", "a string", lambda it: isinstance(it, str), required=True)
            self.option(
                operator, "branches", "a list of different strings that contains the branch", _is_names, required=True
            )
            if operator.options["branch"] not in operator.options["branches"]:
                raise self.wrong(".options.branches", f"lacks {operator.options['branch']!r}, the branch itself")
        if operator.kind is OperatorKind.BATCH_COLLECT:
            self.option(operator, "slots", "a list of different strings", _is_names, required=True)
        if operator.kind is OperatorKind.CHUNK:
            self.option(
                operator, "completes", "the name of a chunk's trigger", lambda it: isinstance(it, str) and it != ""
            )
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
        """Check a block: it is closed, and the right operators listen to its opener."""
        closer = self.closers.get(operator.id)
        if closer is None:
            raise self.wrong("", f"no operator closes the block {operator.id!r}")
        first = self.listeners.get(operator.emits[0], [])
        if operator.kind is OperatorKind.MATCH_ROUTE:
            others = [it.id for it in first if it.kind is not OperatorKind.MATCH_CASE]
            if others:
                raise self.wrong("", f"only cases can listen to a match, and {others[0]!r} is not a case")
        elif operator.kind is OperatorKind.BATCH_FANOUT and len(closer.options["slots"]) != len(first):
            raise self.wrong("", f"{len(first)} operators listen to batch {operator.id!r}, but its collector "
                             f"{closer.id!r} has {len(closer.options['slots'])} slots")  # fmt: skip

    def goes_back(self, operator: Operator) -> None:
        """Check that a step goes back to a chunk of a block around it, and that only matches lie between."""
        self.option(operator, "to", "the id of a chunk", lambda it: it in self.earlier, required=True)
        target = self.earlier[operator.options["to"]]
        if target.kind not in _RUNS:
            raise self.wrong(".options.to", f"{target.id!r} is a {target.kind.value}, not a chunk or sub-flow")
        left = operator.inside
        while left is not None and left != target.inside:
            block = self.earlier[left]
            if block.kind is not OperatorKind.MATCH_ROUTE or block.options["mode"] != "hit_first":
                raise self.wrong(".options.to", f"going back would leave {left!r}, which is not a match with hit_first")
            left = block.inside
        if left != target.inside:
            raise self.wrong(".options.to", f"{target.id!r} is inside {target.inside!r}, which is not around this step")

    def external(self) -> None:
        """Check that each external event has a listener and is listed only once."""
        self.where = "external"
        events = {trigger.name for trigger in self.listeners if trigger.kind == "event"}
        seen: set[str] = set()
        for name in self.definition.external:
            if name not in events:
                near = closest(name, events, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise self.wrong("", f"no operator listens to the event {name!r}{hint}")
            if name in seen:
                raise self.wrong("", f"the event {name!r} is listed twice")
            seen.add(name)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(it, str) for it in value) and len(set(value)) == len(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
