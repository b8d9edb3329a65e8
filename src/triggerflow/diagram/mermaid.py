"""Writing a drawing as a Mermaid flowchart."""

from collections.abc import Iterable

from .graph import Box, Contents, Drawing, Shape, Style
from .look import COLOURS, DASHES, label

#: The brackets around a label, by shape.
_SHAPES: dict[Shape, tuple[str, str]] = {
    "start": ("(", ")"),
    "chunk": ("[", "]"),
    "flow": ("[[", "]]"),
    "gate": ("{{", "}}"),
    "case": ("[/", "/]"),
    "collect": ("{{", "}}"),
    "result": ("(", ")"),
    "signal": (">", "]"),
    "data": ("[(", ")]"),
    "error": ("[\\", "/]"),
    "timer": ("((", "))"),
    "opener": ("[/", "\\]"),
    "point": ("((", "))"),
    "choice": ("{", "}"),
}
_ARROWS: dict[Style, tuple[str, str]] = {
    "solid": ("-->", "-- {} -->"),
    "emit": ("-.->", "-. {} .->"),
    "side": ("-.->", "-. {} .->"),
}


def write(drawing: Drawing) -> str:
    """The drawing as Mermaid text. It ends with a line break."""
    lines = ["flowchart TD", *_level(drawing.contents(), None, "  ")]
    for line in drawing.lines:
        plain, labelled = _ARROWS[line.style]
        arrow = labelled.format(_quoted([line.label])) if line.label else plain
        lines.append(f"  {line.source} {arrow} {line.target}")
    lines += _styles(drawing)
    return "\n".join(lines) + "\n"


def _level(contents: Contents, inside: str | None, indent: str) -> Iterable[str]:
    """The Mermaid lines of all boxes and blocks that one block contains."""
    boxes, blocks = contents[inside]
    for box in boxes:
        yield f"{indent}{_box(box)}"
    for block in blocks:
        yield f'{indent}subgraph {block.key}[" "]'
        yield from _level(contents, block.key, indent + "  ")
        yield f"{indent}end"


def _box(box: Box) -> str:
    left, right = _SHAPES[box.shape]
    return f"{box.key}{left}{_quoted(box.lines or [' '])}{right}"


def _styles(drawing: Drawing) -> Iterable[str]:
    classes: dict[str, list[str]] = {}
    for box in drawing.boxes:
        classes.setdefault(box.status or box.shape, []).append(box.key)
    for name, keys in classes.items():
        fill, stroke, text = COLOURS[name]
        yield f"  classDef {name} fill:{fill},stroke:{stroke},color:{text}"
        yield f"  class {','.join(keys)} {name}"
    if drawing.blocks:
        fill, stroke, text = COLOURS["block"]
        yield f"  classDef block fill:{fill},stroke:{stroke},color:{text}"
        yield f"  class {','.join(block.key for block in drawing.blocks)} block"
    for style, dashes in DASHES.items():
        numbers = [str(number) for number, line in enumerate(drawing.lines) if line.style == style]
        if numbers:
            yield f"  linkStyle {','.join(numbers)} stroke-dasharray:{dashes}"


def _quoted(lines: Iterable[str]) -> str:
    """A label in quotes. Characters with a meaning in Mermaid, Markdown or HTML are written as character codes."""
    return '"' + "<br>".join(label(line, _escaped) for line in lines) + '"'


_SPECIAL = frozenset('"#<>&`\\;%$')


def _escaped(character: str) -> str:
    return f"#{ord(character)};" if character in _SPECIAL else character
