"""Printing for people and for programs: tables that fit the terminal, ages, colours, and JSON.

What a store holds may come from strangers: `terminal.safe` replaces the control characters in it.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TextIO

import msgspec

from ..terminal import safe
from ..terminal.colours import has_colours, paint

#: The least widths of columns where a table is wider than the terminal: columns are cut to the first one, and only if
#: that is not enough to the second one.
LEAST, SMALLEST = 12, 4


class Painted(str):
    """A text of this program, with escape sequences of colours: it is printed as it is."""

    __slots__ = ()


def coloured(text: str, colour: int, stream: TextIO | None = None) -> Painted:
    """The text in a colour, where the stream (default: standard output) has colours."""
    return Painted(paint(text, colour) if colour and has_colours(stream or sys.stdout) else text)


def as_json(value: Any) -> str:
    """A value or a shape as JSON on one line. Control characters beyond ASCII are JSON escapes, too."""
    text = msgspec.json.encode(value).decode()
    if text.isprintable():
        return text
    return "".join(
        it if it.isprintable() or ord(it) > 0xFFFF or unicodedata.category(it)[0] != "C" else f"\\u{ord(it):04x}"
        for it in text
    )


def shown(value: Any) -> str:
    """A value for people: JSON on one line."""
    return as_json(value)


def say(text: str = "") -> None:
    """Print a line of the result to standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print a line to standard error: hints, progress, errors."""
    print(safe.harmless(text), file=sys.stderr, flush=True)


# -- times -------------------------------------------------------------------------------------------------------------


def age(moment: float, now: float) -> str:
    """How long ago a moment was; "in 3m 05s" for a later one."""
    return safe.duration(now - moment) if moment <= now else f"in {safe.duration(moment - now)}"


def clock(moment: float) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(moment).isoformat(" ", "seconds")


# -- tables ------------------------------------------------------------------------------------------------------------


def terminal_width() -> int | None:
    """The width of the terminal, or COLUMNS; None if standard output is no terminal and COLUMNS is not set."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, colours: Sequence[int | None] = (), keys: int = 1
) -> None:
    """Print rows under heads, aligned. If the terminal is too narrow, the widest columns are cut; the first `keys`
    columns, which a person has to type, are cut last. Columns without any entry are left out. `colours` has the colour
    of the column STATUS, by row."""
    texts = [[safe.line(cell) for cell in row] for row in rows]
    kept = [at for at in range(len(heads)) if not rows or any(row[at] for row in texts)]
    widths = {at: max([safe.width(heads[at]), *(safe.width(row[at]) for row in texts)]) for at in kept}
    limit = terminal_width()
    if limit is not None:
        while sum(widths.values()) + 2 * (len(kept) - 1) > limit:
            widest = max(
                widths,
                key=lambda at: (at >= keys and widths[at] > LEAST, at >= keys and widths[at] > SMALLEST, widths[at]),
            )
            if widths[widest] <= SMALLEST:
                break
            widths[widest] -= 1
    say(_row([safe.cut(heads[at], widths[at]) for at in kept], [widths[at] for at in kept]))
    for number, row in enumerate(texts):
        cells = [safe.cut(row[at], widths[at]) for at in kept]
        colour = colours[number] if number < len(colours) else None
        painted = {at for at, column in enumerate(kept) if heads[column] == "STATUS"} if colour else set[int]()
        say(_row(cells, [widths[at] for at in kept], painted, colour or 0))


def _row(cells: Sequence[str], widths: Sequence[int], painted: Collection[int] = (), colour: int = 0) -> str:
    parts = [cell + " " * (width - safe.width(cell)) for cell, width in zip(cells, widths, strict=True)]
    parts[-1] = cells[-1]
    return "  ".join(
        coloured(part, colour) if at in painted and colour else part for at, part in enumerate(parts)
    ).rstrip()


def lines(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and texts, aligned; a text may have several lines. Pairs without a text are left out."""
    shown_pairs = [(name, text) for name, text in pairs if text]
    widest = max((len(name) for name, _ in shown_pairs), default=0)
    limit = terminal_width()
    for name, text in shown_pairs:
        for number, part in enumerate(text.split("\n")):
            begin = (name if not number else "").ljust(widest)
            if not isinstance(text, Painted):
                part = safe.harmless(part, keep="")
                part = part if limit is None else safe.cut(part, max(LEAST, limit - widest - 2))
            say(f"{begin}  {part}".rstrip())
