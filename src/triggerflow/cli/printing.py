"""Printing for people and for programs: tables that fit the terminal, ages, colours, and JSON.

What a store holds may come from strangers, so that no control character in it gets to the terminal.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TextIO

import msgspec

from ..terminal.plain import has_colours
from ..terminal.safe import cut
from ..terminal.safe import width as columns_of

#: The colour of each status, as the number of an ANSI colour.
COLOURS = {"created": 36, "running": 36, "waiting": 33, "completed": 32, "failed": 31, "cancelled": 35}
#: How narrow columns get on a terminal that is too narrow for all of them: at first, and in the end.
LEAST, SMALLEST = 12, 4


class Painted(str):
    """A text of our own words that may have colours: it is printed as it is."""

    __slots__ = ()


def coloured(text: str, colour: int, stream: TextIO | None = None) -> Painted:
    """The text in a colour, where the stream (default: standard output) has colours."""
    return Painted(f"\x1b[{colour}m{text}\x1b[0m" if colour and has_colours(stream or sys.stdout) else text)


def harmless(text: str, keep: str = "\n\t") -> str:
    """The text with its control characters written as escapes: what was recorded must not drive the terminal."""
    if text.isprintable():
        return text
    return "".join(
        it if it in keep or unicodedata.category(it) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else _escaped(it)
        for it in text
    )


def _escaped(character: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    )


def one_line(text: str) -> str:
    """The text on one line, harmless."""
    return harmless(text, keep="")


def as_json(value: Any) -> str:
    """A value or a shape as JSON on one line. Control characters beyond those of ASCII are escaped, too."""
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
    """Print a line of the answer."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print a line beside the answer: hints, progress, errors."""
    print(harmless(text), file=sys.stderr, flush=True)


# -- times -------------------------------------------------------------------------------------------------------------


def span(seconds: float) -> str:
    """A time span in its largest unit: "40 ms", "3 s", "12 min", "5 h", "9 d"."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit, size, next_size in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if seconds < next_size:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"


def age(moment: float, now: float) -> str:
    """How long ago a moment was, or how long until it is there."""
    return span(now - moment) if moment <= now else f"in {span(moment - now)}"


def clock(moment: float) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(moment).isoformat(" ", "seconds")


# -- tables ------------------------------------------------------------------------------------------------------------


def terminal_width() -> int | None:
    """The width of the terminal; None where nobody looks at one, unless COLUMNS says it."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, colours: Sequence[int | None] = (), keys: int = 1
) -> None:
    """Print rows under heads, aligned. If the terminal is too narrow, the widest columns are cut, and the first `keys`
    ones, which a person types again, last. Columns without any entry are left out. `colours` has the colour of the
    column STATUS, by row."""
    texts = [[one_line(cell) for cell in row] for row in rows]
    kept = [at for at in range(len(heads)) if not rows or any(row[at] for row in texts)]
    widths = {at: max([columns_of(heads[at]), *(columns_of(row[at]) for row in texts)]) for at in kept}
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
    say(_row([cut(heads[at], widths[at]) for at in kept], [widths[at] for at in kept]))
    for number, row in enumerate(texts):
        cells = [cut(row[at], widths[at]) for at in kept]
        colour = colours[number] if number < len(colours) else None
        painted = {at for at, column in enumerate(kept) if heads[column] == "STATUS"} if colour else set[int]()
        say(_row(cells, [widths[at] for at in kept], painted, colour or 0))


def _row(cells: Sequence[str], widths: Sequence[int], painted: set[int] = frozenset(), colour: int = 0) -> str:  # type: ignore[assignment]
    parts = [cell + " " * (width - columns_of(cell)) for cell, width in zip(cells, widths, strict=True)]
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
                part = harmless(part) if limit is None else cut(harmless(part), max(LEAST, limit - widest - 2))
            say(f"{begin}  {part}".rstrip())
