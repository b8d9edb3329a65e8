"""Writing a drawing as a graph for Graphviz."""

from collections.abc import Iterable

from .graph import Box, Contents, Drawing, Shape
from .look import COLOURS, label

_SHAPES: dict[Shape, str] = {
    "start": 'shape=box, style="rounded,filled"',
    "chunk": "shape=box",
    "flow": "shape=box, peripheries=2",
    "gate": "shape=hexagon",
    "case": "shape=parallelogram",
    "collect": "shape=hexagon",
    "result": 'shape=box, style="rounded,filled"',
    "signal": "shape=cds",
    "data": "shape=cylinder",
    "error": "shape=octagon",
    "timer": "shape=ellipse",
    "opener": "shape=box",
    "point": "shape=circle, width=0.15, height=0.15, fixedsize=true",
    "choice": "shape=diamond",
}
_LINES = {"solid": "", "emit": "style=dashed", "side": "style=dotted"}


def write(drawing: Drawing) -> str:
    """The drawing in the DOT language of Graphviz. It ends with a line break."""
    fill, stroke, _ = COLOURS["block"]
    lines = [
        f"digraph {_quoted([drawing.name])} {{",
        f'  graph [style="rounded,filled", fillcolor="{fill}", color="{stroke}"]',
        '  node [fontname="sans-serif", fontsize=11, style=filled, margin="0.15,0.08", height=0.35]',
        '  edge [fontname="sans-serif", fontsize=10, color="#546e7a", arrowsize=0.7]',
        *_level(drawing.contents(), None, "  "),
    ]
    for line in drawing.lines:
        options = [_LINES[line.style], f"label={_quoted([line.label])}" if line.label else ""]
        text = ", ".join(filter(None, options))
        lines.append(f"  {line.source} -> {line.target}" + (f" [{text}]" if text else ""))
    return "\n".join([*lines, "}"]) + "\n"


def _level(contents: Contents, inside: str | None, indent: str) -> Iterable[str]:
    boxes, blocks = contents[inside]
    for box in boxes:
        yield f"{indent}{_box(box)}"
    for block in blocks:
        yield f"{indent}subgraph cluster_{block.key} {{"
        yield from _level(contents, block.key, indent + "  ")
        yield f"{indent}}}"


def _box(box: Box) -> str:
    fill, stroke, text = COLOURS[box.status or box.shape]
    colours = f'fillcolor="{fill}", color="{stroke}", fontcolor="{text}"'
    return f"{box.key} [{_SHAPES[box.shape]}, {colours}, label={_quoted(box.lines)}]"


def _quoted(lines: Iterable[str]) -> str:
    return '"' + "\\n".join(label(line, _escaped) for line in lines) + '"'


def _escaped(character: str) -> str:
    return f"\\{character}" if character in '"\\' else character
