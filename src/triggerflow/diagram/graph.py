"""The drawing of a definition: boxes, blocks around them and lines between them, independent of the output syntax.

Boxes and operators do not correspond one to one. A chunk has a box at each of its places. A step that goes
back has none: its line leads to the place that runs again. A gate for a single signal and a case are boxes only in the
detailed mode: in the simplified mode the line through them shows the same. All ends of a flow are one result.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from .._core.definition import Definition, Operator, OperatorKind, completed_by
from .._core.signals import ANY_CHUNK, START, Trigger
from .runs import OperatorView, RunView, Status

Mode = Literal["simplified", "detailed"]
Shape = Literal["start", "chunk", "flow", "gate", "case", "collect", "result", "signal", "data", "error", "timer",
                "opener", "choice", "point"]  # fmt: skip
Style = Literal["solid", "emit", "side"]

_OPENERS = frozenset({OperatorKind.BATCH_FANOUT, OperatorKind.FOR_EACH_SPLIT, OperatorKind.MATCH_ROUTE})
_CLOSERS = frozenset({OperatorKind.BATCH_COLLECT, OperatorKind.FOR_EACH_COLLECT, OperatorKind.MATCH_COLLECT})
_WORST_FIRST: tuple[Status, ...] = ("running", "failed", "waiting", "done", "idle")


class Box(msgspec.Struct):
    """A node of the drawing: the lines of its label, and the key of the block around it.

    `operators` are the ids of the operators that it stands for; for the step of a sub-flow, `flow` is its name.
    """

    key: str
    shape: Shape
    lines: list[str]
    block: str | None = None
    status: Status | None = None
    operators: list[str] = []
    flow: str | None = None


class Block(msgspec.Struct):
    """A border around boxes and other blocks. It has no label; its first box says what it is."""

    key: str
    parent: str | None = None
    #: the id of the operator that has opened it
    operator: str = ""


class Line(msgspec.Struct, frozen=True):
    """An arrow: "solid", "emit" for an emitted signal, or "side" for a side branch.

    `operators` are the ids of the operators without a box through which it goes."""

    source: str
    target: str
    label: str = ""
    style: Style = "solid"
    operators: tuple[str, ...] = ()


#: Where a line begins: the box, the label of the line, its style, and the operators without a box on its way.
Origin = tuple[Box, str, Style, tuple[str, ...]]
Contents = defaultdict[str | None, tuple[list[Box], list[Block]]]


class Drawing(msgspec.Struct):
    """All boxes, blocks and lines, in the order of the definition."""

    name: str
    boxes: list[Box] = []
    blocks: list[Block] = []
    lines: list[Line] = []

    def contents(self) -> Contents:
        """The boxes and blocks in each block, by its key; under None those outside of all blocks."""
        found: Contents = defaultdict(lambda: ([], []))
        for box in self.boxes:
            found[box.block][0].append(box)
        for block in self.blocks:
            found[block.parent][1].append(block)
        return found


def draw(
    definition: Definition,
    *,
    mode: Mode,
    run: RunView | None = None,
    sub_flows: Mapping[str, Definition] | None = None,
) -> Drawing:
    """The drawing of a definition."""
    drawing = Drawing(definition.name)
    _Artist(drawing, definition, mode, run, sub_flows or {}).draw()
    return drawing


class _Artist:
    """Draws one definition. Each sub-flow has an artist of its own, which adds to the same drawing."""

    def __init__(
        self,
        drawing: Drawing,
        definition: Definition,
        mode: Mode,
        run: RunView | None,
        sub_flows: Mapping[str, Definition],
        inside: str | None = None,
    ) -> None:
        self.drawing = drawing
        self.definition = definition
        self.detailed = mode == "detailed"
        self.mode: Mode = mode
        self.run = run
        self.sub_flows = sub_flows
        self.inside = inside
        self.boxes: dict[Any, Box] = {}
        self.entry: dict[str, Box] = {}
        self.exit: dict[str, Box] = {}
        self.by_trigger: dict[Trigger, list[Operator]] = {}
        #: the further places of a chunk, by the trigger of the chunk
        self.further: dict[Trigger, list[Operator]] = {}
        self.emitters: dict[str, list[Operator]] = {}
        self.blocks: dict[str, str] = {}
        self.with_else: set[str | None] = set()
        self.views: dict[str, list[OperatorView]] = {}
        #: the index of each line in the drawing, by its look
        self.drawn = {msgspec.structs.replace(it, operators=()): at for at, it in enumerate(drawing.lines)}

    def draw(self) -> None:
        """All boxes, then all lines."""
        operators = self.definition.operators
        for operator in operators:
            for trigger in operator.emits[:1]:
                self.by_trigger.setdefault(trigger, []).append(operator)
                if (completed := completed_by(operator)) != trigger:
                    self.further.setdefault(completed, []).append(operator)
            for trigger in operator.emits[1:]:
                self.emitters.setdefault(trigger.name, []).append(operator)
            if operator.options.get("otherwise") is True:
                self.with_else.add(operator.inside)
        heard = {trigger for operator in operators for trigger in operator.listens}
        if START in heard:
            self.box("start", "start", ["start"])
        for operator in operators:
            self.place(operator, heard)
        for box in self.boxes.values():
            self.colour(box)
        for operator in operators:
            for line in self.lines_to(operator):
                self.add(line)
        for operator in operators:
            self.draw_unheard(operator, heard)

    def draw_unheard(self, operator: Operator, heard: set[Trigger]) -> None:
        """The events that an operator is known to emit and that nothing in the flow listens to."""
        source = self.exit.get(operator.id)
        for trigger in operator.emits[1:]:
            if trigger not in heard and source is not None:
                self.add(Line(source.key, self.box(trigger, "signal", [trigger.name]).key, "", "emit"))

    def add(self, line: Line) -> None:
        """Add a line, or the operators through which it goes to the line that looks the same."""
        look = msgspec.structs.replace(line, operators=())
        known = self.drawn.get(look)
        if known is None:
            self.drawn[look] = len(self.drawing.lines)
            self.drawing.lines.append(line)
        else:
            before = self.drawing.lines[known]
            both = dict.fromkeys((*before.operators, *line.operators))
            self.drawing.lines[known] = msgspec.structs.replace(before, operators=tuple(both))

    # -- boxes ---------------------------------------------------------------------------------------------------------

    def place(self, operator: Operator, heard: set[Trigger]) -> None:
        """Make or find the box of an operator; some operators share one."""
        kind, inside = operator.kind, operator.inside
        if self.is_passed_through(operator) or kind is OperatorKind.GO_BACK:
            return
        if kind in _OPENERS:
            self.blocks[operator.id] = self.block(operator.inside, operator.id)
            inside = operator.id
        elif kind in _CLOSERS:
            inside = operator.group
        elif kind is OperatorKind.SUB_FLOW and self.place_sub_flow(operator):
            return
        box = self.box(self.identity(operator, heard), *self.look(operator), self.blocks.get(inside or ""))
        self.entry[operator.id] = self.exit[operator.id] = box
        box.operators.append(operator.id)
        if kind is OperatorKind.SUB_FLOW:
            box.flow = str(operator.options.get("flow", operator.name))
        if self.run is not None:
            view = self.run.operators.get(operator.id, OperatorView())
            self.views.setdefault(box.key, []).append(view)

    def identity(self, operator: Operator, heard: set[Trigger]) -> Any:
        """The identity of an operator's box: operators with the same identity share a box."""
        if operator.kind in (OperatorKind.CHUNK, OperatorKind.COLLECT):
            return operator.emits[0], operator.inside
        if operator.kind is OperatorKind.RESULT and operator.emits[0] not in heard:
            return operator.kind, operator.inside
        return operator.id

    def box(self, identity: Any, shape: Shape, lines: list[str], block: str | None = None) -> Box:
        box = self.boxes.get(identity)
        if box is None:
            box = Box(f"n{len(self.drawing.boxes)}", shape, lines, block or self.inside)
            self.boxes[identity] = box
            self.drawing.boxes.append(box)
        return box

    def look(self, operator: Operator) -> tuple[Shape, list[str]]:
        """The shape and the lines of the label."""
        mode = str(operator.options.get("mode", ""))
        details = _details(operator) if self.detailed else []
        match operator.kind:
            case OperatorKind.GATE:
                label = mode if mode == "and" else "or"
                return "gate", [f"when ({mode})", *details] if self.detailed else [label]
            case OperatorKind.MATCH_CASE:
                return "case", [operator.name]
            case OperatorKind.MATCH_ROUTE:
                return "choice", ["all that fit" if mode == "hit_all" else "first that fits", *details]
            case OperatorKind.BATCH_FANOUT | OperatorKind.FOR_EACH_SPLIT:
                limit = operator.options.get("concurrency")
                what = "batch" if operator.kind is OperatorKind.BATCH_FANOUT else "for each item"
                return "opener", [what, *details] if limit is None or details else [f"{what}, {limit} at once"]
            case OperatorKind.COLLECT:
                shown = [mode.replace("_", " "), *details] if self.detailed else []
                return "collect", [f"collect {operator.name}", *shown]
            case OperatorKind.RESULT:
                return "result", ["result"]
            case OperatorKind.CHUNK | OperatorKind.SUB_FLOW:
                return "flow" if operator.kind is OperatorKind.SUB_FLOW else "chunk", [operator.name, *details]
            case _:
                return "point", []

    def block(self, inside: str | None, operator: str) -> str:
        """Add the block that an operator opens, and return its key."""
        block = Block(f"b{len(self.drawing.blocks)}", self.blocks.get(inside or "", self.inside), operator)
        self.drawing.blocks.append(block)
        return block.key

    def place_sub_flow(self, operator: Operator) -> bool:
        """Draw a sub-flow whose definition is known as a block with an entry and an exit; False if it is not known."""
        name = str(operator.options.get("flow", operator.name))
        definition = self.sub_flows.get(name)
        if definition is None:
            return False
        deeper = {known: it for known, it in self.sub_flows.items() if known != name}  # a flow may contain itself
        child = _Artist(self.drawing, definition, self.mode, None, deeper, self.block(operator.inside, operator.id))
        title = f"sub-flow {name}" if name == operator.name else f"sub-flow {name}: {operator.name}"
        begin = child.box("start", "opener", [title, *(_paths(operator, "capture") if self.detailed else [])])
        end = child.box((OperatorKind.RESULT, None), "point", [])
        self.entry[operator.id], self.exit[operator.id] = begin, end
        begin.operators.append(operator.id)
        begin.flow = name
        if self.run is not None:
            view = self.run.operators.get(operator.id, OperatorView())
            begin.status = end.status = view.status
            begin.lines += [_work(view.count, view.milliseconds)] if view.count else []
        child.draw()
        return True

    def colour(self, box: Box) -> None:
        """Add the status, count and time of all operators that share the box."""
        views = self.views.get(box.key)
        if not views:
            return
        box.status = next(status for status in _WORST_FIRST if any(view.status == status for view in views))
        count, busy = sum(view.count for view in views), sum(view.milliseconds for view in views)
        if count and box.shape not in ("point", "result"):
            box.lines = [*box.lines, _work(count, busy) if box.shape in ("chunk", "flow") else _times(count)]

    # -- lines ---------------------------------------------------------------------------------------------------------

    def is_passed_through(self, operator: Operator) -> bool:
        """Whether an operator has no box, so that lines go through it."""
        if self.detailed:
            return False
        lone = operator.kind is OperatorKind.GATE and len(operator.listens) == 1
        return lone or operator.kind is OperatorKind.MATCH_CASE

    def lines_to(self, operator: Operator) -> Iterator[Line]:
        """The lines that end at an operator's box."""
        back = operator.options.get("to") if operator.kind is OperatorKind.GO_BACK else None
        target = self.entry.get(operator.id if back is None else str(back))
        if target is None:
            return
        if operator.kind is OperatorKind.MATCH_COLLECT and operator.group not in self.with_else:
            yield Line(self.entry[operator.group or ""].key, target.key, "none fits")
        side = operator.options.get("side_branch") is True
        branch = str(operator.options.get("branch", ""))
        for trigger in operator.listens:
            for source, label, style, through in self.origins(trigger, operator):
                if operator.kind is OperatorKind.COLLECT and branch not in source.lines:
                    label = " / ".join(filter(None, (label, branch)))
                look: Style = "side" if side and style == "solid" else style
                yield Line(source.key, target.key, label, look, through if back is None else (*through, operator.id))

    def origins(self, trigger: Trigger, listener: Operator) -> Iterator[Origin]:
        """The origins of a trigger."""
        match trigger.kind:
            case "start":
                yield self.box("start", "start", ["start"]), "", "solid", ()
            case "event":
                emitters = self.emitters.get(trigger.name, ())
                for operator in emitters:
                    yield self.exit[operator.id], trigger.name, "emit", ()
                if not emitters or trigger.name in self.definition.external:
                    yield self.box(trigger, "signal", [trigger.name]), "", "solid", ()
            case "state" | "flow_data":
                words = trigger.kind.replace("_", " ")
                yield self.box(trigger, "data", [f"{words}: {trigger.name}"]), "", "solid", ()
            case "timer":
                yield self.box(trigger, "timer", [f"after {float(trigger.name):g} s"]), "", "solid", ()
            case "error":
                yield from self.error(trigger)
            case _:
                further = self.further.get(trigger, ()) if listener.kind is OperatorKind.GATE else ()
                for source in (*self.by_trigger.get(trigger, ()), *further):
                    if trigger.kind == "operator" or self.are_neighbours(source, listener):
                        yield from self.exits(source)

    def exits(self, source: Operator) -> Iterator[Origin]:
        """Where the lines of an operator begin: at its box, or, if it has none, at the origins of its triggers."""
        box = self.exit.get(source.id)
        if box is not None:
            yield box, "", "solid", ()
            return
        note = source.name if source.kind is OperatorKind.MATCH_CASE else ""
        for trigger in source.listens:
            for origin, label, style, through in self.origins(trigger, source):
                yield origin, " / ".join(filter(None, (label, note))), style, (*through, source.id)

    def error(self, trigger: Trigger) -> Iterator[Origin]:
        name = "any chunk" if trigger.name == ANY_CHUNK else trigger.name
        known = trigger in self.boxes
        box = self.box(trigger, "error", [f"error: {name}"])
        if not known:
            failing = Trigger("chunk", trigger.name)
            for operator in (*self.by_trigger.get(failing, ()), *self.further.get(failing, ())):
                self.add(Line(self.exit[operator.id].key, box.key, "", "emit"))
        yield box, "", "solid", ()

    def are_neighbours(self, source: Operator, listener: Operator) -> bool:
        """Whether a listener is triggered by a chunk in this block.

        A chunk that is used in two blocks fires the same trigger in both; in each block only its own listeners run.
        """
        place = listener.inside if listener.group is None else listener.group
        fits = [it for it in self.by_trigger[source.emits[0]] if it.inside == place]
        return listener.kind is OperatorKind.GATE or not fits or source in fits


def _details(operator: Operator) -> list[str]:
    """Lines for the id, the handler and the policies. Id and handler are left out if they equal the name."""
    options = operator.options
    retry: Any = options.get("retry")
    parts = [
        f"id {operator.id}" if operator.kind is not OperatorKind.CHUNK or operator.id != operator.name else "",
        f"handler {operator.handler}" if operator.handler not in (None, operator.name) else "",
        f"{options['concurrency']} at once" if "concurrency" in options else "",
        f"{retry.get('attempts')} attempts" if isinstance(retry, dict) else "",  # pyright: ignore[reportUnknownMemberType]
        f"timeout {options['timeout']:g} s" if isinstance(options.get("timeout"), int | float) else "",
        "cached" if options.get("cache") else "",
        "inline" if options.get("inline") else "",
        "with a fallback" if options.get("fallback") else "",
        "collects failures" if options.get("on_error") == "collect" else "",
    ]
    return [part for part in (*parts, *_paths(operator, "capture"), *_paths(operator, "write_back")) if part]


def _paths(operator: Operator, option: str) -> list[str]:
    """`capture` or `write_back` of a sub-flow, one line per path."""
    paths: Any = operator.options.get(option) or {}
    found: list[str] = []
    for target, sources in paths.items():
        pairs = {"": sources} if isinstance(sources, str) else sources
        found += [f"{'.'.join(filter(None, (target, key)))} = {source}" for key, source in pairs.items()]
    return found


def _plural(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _work(count: int, milliseconds: float) -> str:
    return f"{_plural(count, 'run', 'runs')}, {_duration(milliseconds)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _duration(milliseconds: float) -> str:
    if milliseconds >= 10_000:
        return f"{milliseconds / 1000:,.1f} s"
    if milliseconds >= 10:
        return f"{milliseconds:,.0f} ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 0.1 else "under 0.1 ms"
