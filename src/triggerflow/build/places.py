"""What a flow's chains mean once all of them are written: repeated wiring, and steps that go back.

The calls of a chain only add operators. This module decides what depends on the whole flow, so that it does not depend
on the order in which the flow is written (decision 0019):

* A step that is written again, at the same place and with the same function and options, is the step that is there.
* A chain that begins with `when` and ends with a registered chunk, outside of blocks, goes back to the place of that
  chunk in another chain, if steps follow it there, and at no other place.
* `back_to` needs a chunk that is used in exactly one place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from .._core.definition import Operator, OperatorKind, completed_by
from .._core.errors import DefinitionError
from .._core.signals import Trigger

_OPENERS = frozenset({OperatorKind.BATCH_FANOUT, OperatorKind.FOR_EACH_SPLIT, OperatorKind.MATCH_ROUTE})
#: Operators whose name is part of what they are; the name of another one is a label, or says what its options say.
_NAMED = frozenset({OperatorKind.CHUNK, OperatorKind.SUB_FLOW, OperatorKind.COLLECT})
_STEPS = frozenset({OperatorKind.CHUNK, OperatorKind.SUB_FLOW})


class Written:
    """What the blueprint knows of its operators beyond their fields, by id."""

    def __init__(self) -> None:
        #: operators of a loaded definition, which has decided all this already
        self.fixed: set[str] = set()
        #: labels before a number was added; that of a case ends with its position in the match
        self.labels: dict[str, str] = {}
        #: collects whose branch is named after the step before
        self.default_branches: set[str] = set()
        #: triggers of chunks that are plain functions, wired without `flow.chunk`
        self.plain: set[Trigger] = set()
        #: the place in the user's program, "file:line"
        self.lines: dict[str, str] = {}

    def at(self, operator: Operator) -> str:
        """Where an operator was written, for an error."""
        line = self.lines.get(operator.id)
        return f" (written at {line})" if line else ""


def settle(
    flow: str, operators: list[Operator], written: Written, alike: Callable[[Operator, Operator], bool]
) -> list[Operator]:
    """The operators of a flow that is about to be frozen. `alike` tells whether two operators have the same handler."""
    kept = without_repeats(flow, operators, written, alike)
    return _Returns(flow, kept, written).resolved()


def without_repeats(
    flow: str, operators: list[Operator], written: Written, alike: Callable[[Operator, Operator], bool]
) -> list[Operator]:
    """The operators without those that are written again."""
    return _Repeats(flow, operators, written, alike).without()


# -- repeats -----------------------------------------------------------------------------------------------------------


class _Repeats:
    """Finds operators that are written again. The first of each stays; what followed a repeated one follows that."""

    def __init__(
        self, flow: str, operators: list[Operator], written: Written, alike: Callable[[Operator, Operator], bool]
    ) -> None:
        self.flow = flow
        self.operators = operators
        self.written = written
        self.alike = alike
        self.gone: set[str] = set()
        #: the trigger and the id of the operator that stays, by those of one that goes
        self.triggers: dict[Trigger, Trigger] = {}
        self.ids: dict[str, str] = {}
        #: a `when` written again stays if other steps follow it; for comparisons both are one place
        self.gates: dict[Trigger, Trigger] = {}
        self.found: dict[Any, list[Operator]] = {}
        self.inside: dict[str, list[Operator]] = {}
        self.closers: dict[str, list[Operator]] = {}
        for operator in operators:
            if operator.inside is not None:
                self.inside.setdefault(operator.inside, []).append(operator)
            if operator.group is not None:
                self.closers.setdefault(operator.group, []).append(operator)

    def without(self) -> list[Operator]:
        for operator in self.operators:
            if operator.id in self.gone:
                continue
            earlier = self.found.setdefault(self.key(operator), [])
            if operator.id not in self.written.fixed and self.repeats(operator, earlier):
                continue
            self.once(operator)
            earlier.append(operator)
        if not self.gone and not self.gates:
            return self.operators
        kept = [self.moved(it) for it in self.operators if it.id not in self.gone]
        heard = {trigger for it in kept for trigger in it.listens}
        return [it for it in kept if it.emits[0] not in self.gates or it.emits[0] in heard]

    def once(self, operator: Operator) -> None:
        """Raise `DefinitionError` for a second, different end of a block."""
        others = [it for it in self.closers.get(operator.group or "", ()) if it.id not in self.gone]
        if len(others) > 1 and others[0] is not operator:
            call = "end_for_each()" if operator.kind is OperatorKind.FOR_EACH_COLLECT else "end_match()"
            raise DefinitionError(
                f"flow {self.flow!r}: block {operator.group!r} is ended twice by {call}{self.written.at(operator)}, "
                "and a block has one end; join the forks inside of it with collect(), or end only one and add the "
                "other with side_branch()"
            )

    def key(self, operator: Operator) -> Any:
        """What operators that may repeat each other have in common: the place and the kind."""
        name = operator.name if operator.kind in _NAMED else ""
        return operator.kind, name, self.heard(operator), self.block(operator.inside), self.block(operator.group)

    def heard(self, operator: Operator) -> tuple[Trigger, ...]:
        return tuple(self.gates.get(it, it) for it in map(self.stays, operator.listens))

    def stays(self, trigger: Trigger) -> Trigger:
        """The trigger of the step that stays, for one of a step that goes; the failure of one for that of the other."""
        if trigger.kind == "error":
            return Trigger("error", self.triggers.get(Trigger("chunk", trigger.name), trigger).name)
        return self.triggers.get(trigger, trigger)

    def block(self, id: str | None) -> str | None:
        return None if id is None else self.ids.get(id, id)

    def repeats(self, operator: Operator, earlier: Iterable[Operator]) -> bool:
        """Whether one of the earlier operators is this one; notes what goes then, with the contents of a block."""
        for other in earlier:
            if not self.equal(operator, other):
                continue
            if operator.kind is OperatorKind.GATE:
                self.gates[operator.emits[0]] = other.emits[0]
                return True
            if operator.kind in _OPENERS:
                if self.repeats_block(operator, other):
                    return True
                continue
            self.drop(operator, other)
            return True
        return False

    def drop(self, operator: Operator, other: Operator) -> None:
        self.gone.add(operator.id)
        self.ids[operator.id] = other.id
        if operator.emits[0] != other.emits[0]:
            self.triggers[operator.emits[0]] = other.emits[0]

    def equal(self, operator: Operator, other: Operator) -> bool:
        if not self.alike(operator, other) or self.details(operator, other) != self.details(other, operator):
            return False
        return operator.kind is not OperatorKind.MATCH_CASE or self.position(operator) == self.position(other)

    def details(self, operator: Operator, other: Operator) -> Mapping[str, Any]:
        ignored = {"completes"}
        if operator.id in self.written.default_branches and other.id in self.written.default_branches:
            ignored.add("branch")
        kept = {key: it for key, it in operator.options.items() if key not in ignored}
        if "equals" in kept:  # 1 == True, and another class may have any `==`
            kept["equals"] = (type(kept["equals"]), repr(kept["equals"]))
        return kept

    def position(self, operator: Operator) -> str:
        return self.written.labels.get(operator.id, operator.id).rpartition("/")[2]

    def repeats_block(self, opener: Operator, other: Operator) -> bool:
        """Whether everything in a block is in the other one too, and both end in the same way."""
        content, known = self.inside.get(opener.id, ()), self.inside.get(other.id, ())
        ends, known_ends = self.closers.get(opener.id, ()), self.closers.get(other.id, ())
        if ends and opener.kind is OperatorKind.MATCH_ROUTE and _cases(content) != _cases(known):
            return False
        before = (set(self.gone), dict(self.triggers), dict(self.ids))
        self.drop(opener, other)
        if all(self.repeats_one(it, known) for it in content) and all(self.repeats_one(it, known_ends) for it in ends):
            return True
        self.gone, self.triggers, self.ids = before
        return False

    def repeats_one(self, operator: Operator, among: Iterable[Operator]) -> bool:
        if operator.id in self.gone:  # the end of a block inside, which went with it
            return True
        key = self.key(operator)
        return self.repeats(operator, [it for it in among if it is not operator and self.key(it) == key])

    def moved(self, operator: Operator) -> Operator:
        heard = tuple(dict.fromkeys(map(self.stays, operator.listens)))
        inside, group = self.block(operator.inside), self.block(operator.group)
        if (heard, inside, group) == (operator.listens, operator.inside, operator.group):
            return operator
        return msgspec.structs.replace(operator, listens=heard, inside=inside, group=group)


def _cases(content: Iterable[Operator]) -> int:
    return sum(it.kind is OperatorKind.MATCH_CASE for it in content)


# -- going back --------------------------------------------------------------------------------------------------------


class _Returns:
    """Finds the steps that go back to an earlier one, and where they lead."""

    def __init__(self, flow: str, operators: list[Operator], written: Written) -> None:
        self.flow = flow
        self.operators = operators
        self.written = written
        self.by_id = {it.id: it for it in operators}
        self.listeners: dict[Trigger, list[Operator]] = {}
        self.fired: dict[Trigger, Operator] = {}
        self.closer: dict[str, Operator] = {}
        self.branches: dict[str, set[Any]] = {}
        for operator in operators:
            for trigger in operator.listens:
                self.listeners.setdefault(trigger, []).append(operator)
            self.fired.setdefault(operator.emits[0], operator)
            if operator.group is not None:
                self.closer[operator.group] = operator
            if operator.kind is OperatorKind.COLLECT:
                self.branches.setdefault(operator.name, set()).add(operator.options["branch"])
        #: what a step that goes back runs again, by the id of the step
        self.back: dict[str, Operator] = {}

    def resolved(self) -> list[Operator]:
        places: dict[tuple[str, Trigger], dict[Trigger, Operator]] = {}
        for operator in self.operators:
            if operator.kind in _STEPS:
                places.setdefault((operator.name, completed_by(operator)), {}).setdefault(operator.emits[0], operator)
        for (_, trigger), found in places.items():
            if len(found) > 1 and trigger not in self.written.plain:
                self.shorten(found)
        for operator in self.operators:
            if operator.kind is OperatorKind.GO_BACK and operator.id not in self.written.fixed:
                self.back[operator.id] = self.target(operator, places)
        for operator in self.operators:
            if operator.kind is OperatorKind.GO_BACK and operator.id in self.back:
                self.check(operator, self.back[operator.id])
        if not self.back:
            return self.operators
        ids = {it.id for it in self.operators}
        return [self.rewritten(it, ids) for it in self.operators]

    def shorten(self, places: Mapping[Trigger, Operator]) -> None:
        """`flow.when("again").to(chunk)`: let the ends of chains go back to the one place with steps behind it."""
        leading = [it for trigger, it in places.items() if self.behind(trigger)]
        if len(leading) != 1 or leading[0].inside is not None:
            return
        target = leading[0]
        for step in places.values():
            ends = step.kind is OperatorKind.CHUNK and step.inside is None and not step.options.get("side_branch")
            if step is target or not ends or step.id in self.written.fixed or not self.returns(step, target):
                continue
            self.back[step.id] = target
            if self.turns(target, step):
                del self.back[step.id]

    def behind(self, trigger: Trigger) -> bool:
        """Whether a step of the same chain follows. A `when` of the chunk begins another chain."""
        return any(it.kind is not OperatorKind.GATE for it in self.listeners.get(trigger, ()))

    def returns(self, step: Operator, target: Operator) -> bool:
        """Whether the step ends a chain that begins with `when`, and in which the target does not stand before it."""
        begins = False
        seen: set[str] = set()
        ahead = [step]
        while ahead:
            operator = ahead.pop()
            for trigger in operator.listens:
                before = self.fired.get(trigger)
                if before is target or before is None:  # None: the start of the execution
                    return False
                if before.kind is OperatorKind.GATE:
                    begins = True
                elif before.id not in seen:
                    seen.add(before.id)
                    ahead.append(before)
        return begins

    def turns(self, target: Operator, step: Operator) -> bool:
        """Whether the target leads to the step by completions alone: no event, state, timer, failure or case between.

        Nothing could end such a loop.
        """
        heard: dict[str, set[Any]] = {}
        passed: set[str] = set()
        ahead = [target]
        while ahead:
            source = ahead.pop()
            for operator in self.followers(source):
                if operator is step:
                    return True
                if operator.id not in passed and self.passes(operator, source, heard):
                    passed.add(operator.id)
                    ahead.append(operator)
        return False

    def followers(self, operator: Operator) -> Iterator[Operator]:
        """What runs next whatever the values are. The end of a match or for_each follows its beginning."""
        if operator.kind in (OperatorKind.MATCH_ROUTE, OperatorKind.FOR_EACH_SPLIT):
            if operator.id in self.closer:
                yield self.closer[operator.id]
            return
        back = self.back.get(operator.id)
        if back is not None:
            yield from self.followers(back)
        yield from self.listeners.get(operator.emits[0], ())
        other = completed_by(operator)
        if other != operator.emits[0]:
            yield from (it for it in self.listeners.get(other, ()) if it.kind is OperatorKind.GATE)

    def passes(self, operator: Operator, source: Operator, heard: dict[str, set[Any]]) -> bool:
        if operator.kind is OperatorKind.GATE and operator.options.get("mode") == "and":
            slots = heard.setdefault(operator.id, set())
            slots.add(completed_by(source))
            return slots.issuperset(operator.listens)
        if operator.kind is OperatorKind.COLLECT and operator.options["mode"] == "filled_then_empty":
            slots = heard.setdefault(f"collect:{operator.name}", set())
            slots.add(operator.options["branch"])
            return slots.issuperset(self.branches[operator.name])
        return True

    def target(self, step: Operator, places: Mapping[Any, Mapping[Trigger, Operator]]) -> Operator:
        """The one place of the chunk that `back_to` names."""
        name = step.options["to"]
        where = f"flow {self.flow!r}: back_to({name!r}){self.written.at(step)}"
        found = [it for (known, _), several in places.items() if known == name for it in several.values()]
        found = [it for it in found if it.id not in self.back]
        if not found:
            raise DefinitionError(
                f"{where}: chunk {name!r} is not wired in this flow; wire it first, for example flow.to({name})"
            )
        if len(found) > 1:
            written = "; ".join(self.described(it) for it in found)
            raise DefinitionError(
                f"{where}: chunk {name!r} is wired at {len(found)} places: {written}. Going back needs one; give the "
                f"place that you mean a name of its own: ({name + '_again'!r}, {name})"
            )
        return found[0]

    def described(self, operator: Operator) -> str:
        before = [self.fired.get(it) for it in operator.listens]
        after = " and ".join(
            f"after {it.name!r}"
            if it is not None
            else "at the start"
            if trigger.kind == "start"
            else f"at {trigger.key}"
            for it, trigger in zip(before, operator.listens, strict=True)
        )
        return f"{operator.id!r} {after}{self.written.at(operator)}"

    def check(self, step: Operator, target: Operator) -> None:
        """Raise `DefinitionError` unless a step can go back to that place."""
        where = f"flow {self.flow!r}: back_to({target.name!r}){self.written.at(step)}"
        left = step.inside
        while left != target.inside and left is not None:
            block = self.by_id[left]
            if block.kind is not OperatorKind.MATCH_ROUTE or block.options.get("mode") == "hit_all":
                raise DefinitionError(
                    f"{where} would leave {block.id!r}, where other branches may be running; emit an event there and "
                    f"go back outside of the block: flow.when('again').back_to({target.name})"
                )
            left = block.inside
        if left != target.inside:
            raise DefinitionError(
                f"{where}: {target.id!r} stands inside {target.inside!r}, and a block is entered at its beginning; "
                "go back to a chunk outside of it, or from inside of it"
            )
        if self.turns(target, step):
            raise DefinitionError(
                f"{where} closes a loop in which nothing decides, so that it would run for ever; go back from a case "
                "of a match(), or from an event that a chunk emits: flow.when('again').back_to(...)"
            )

    def rewritten(self, step: Operator, ids: set[str]) -> Operator:
        target = self.back.get(step.id)
        if target is None:
            return step
        if step.kind is OperatorKind.GO_BACK:
            return msgspec.structs.replace(step, options={"to": target.id})
        # One trigger for both, as flows were stored before occurrences; so those keep their ids and fingerprints.
        options = {key: it for key, it in step.options.items() if key != "completes"}
        if "completes" in target.options:
            options["completes"] = target.options["completes"]
        label = target.emits[0].name
        id = f"{label}<-{'&'.join(it.name or it.kind for it in step.listens)}" if step.emits[0].name == step.id else ""
        number, free = 1, id
        while free in ids:
            number += 1
            free = f"{id}#{number}"
        if not free or completed_by(step) == step.emits[0]:
            free = step.id  # it was written before its target, and has the plain name
        ids.add(free)
        return msgspec.structs.replace(step, id=free, emits=(target.emits[0], *step.emits[1:]), options=options)
