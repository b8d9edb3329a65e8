"""Text from outside made harmless for a terminal: no control characters, and a known width in columns.

Names, items and errors come from users and models. A character that could move the cursor, change colours or the
direction of writing, or hide text, is shown as a visible sign or an escape.
"""

import json
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

#: More characters than this of one text are never looked at.
LONGEST = 20_000
#: The categories of characters that are drawn onto the one before them.
_NO_COLUMN = ("Mn", "Me", "Mc")
#: How many of them a line keeps on one character.
_MARKS = 2
ELLIPSIS = "…"
#: Characters that only join or vary others are left out: the width of the result depends on the terminal.
_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f\u00ad\ufeff\u200b\u2060")
_PICTURES = {"\n": "⏎", "\t": " ", "\r": "␍", "\x7f": "␡"}


@lru_cache(4096)
def _shown(char: str) -> str:
    if char in _PICTURES:
        return _PICTURES[char]
    if char in _JOINERS or "\U0001f3fb" <= char <= "\U0001f3ff":
        return ""
    if "\U0001f1e6" <= char <= "\U0001f1ff":  # two of them are a flag on some terminals
        return chr(ord(char) - 0x1F1E6 + ord("A"))
    if char < " ":
        return chr(0x2400 + ord(char))
    kind = unicodedata.category(char)
    if kind in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
    return " " if kind == "Zs" else char


def harmless(text: str, keep: str = "\n\t") -> str:
    """The whole text with signs and escapes for characters that control a terminal, except for those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep else _shown(char) for char in text)


def line(text: str) -> str:
    """A text as one harmless line of at most `LONGEST` characters; line feeds are shown as ⏎."""
    text = text[:LONGEST]
    return text if text.isascii() and text.isprintable() else harmless("".join(_few_marks(text)), keep="")


def _few_marks(text: str) -> Iterator[str]:
    marks = 0
    for char in text:
        marks = marks + 1 if char > "\x7f" and unicodedata.category(char) in _NO_COLUMN else 0
        if marks <= _MARKS:
            yield char


def lines(text: str) -> list[str]:
    """A text as harmless lines, cut where it has line feeds."""
    return [line(part) for part in text[:LONGEST].replace("\r\n", "\n").split("\n")]


@lru_cache(4096)
def _columns(char: str) -> int:
    if unicodedata.category(char) in _NO_COLUMN or "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """How many columns a harmless text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, columns: int) -> str:
    """A harmless text, shortened to so many columns."""
    if len(text) * 2 <= columns or width(text) <= columns:
        return text
    if columns < 1:
        return ""
    used, kept = 1, 0
    for char in text:
        used += _columns(char)
        if used > columns:
            break
        kept += 1
    return text[:kept] + ELLIPSIS


def fit(text: str, columns: int) -> str:
    """A harmless text, shortened or filled with blanks to exactly so many columns."""
    text = cut(text, columns)
    return text + " " * (columns - width(text))


def wrap(text: str, columns: int) -> Iterator[str]:
    """A harmless line as lines of at most so many columns, broken at blanks where there are some."""
    columns = max(columns, 2)
    while width(text) > columns:
        used = end = 0
        while used + _columns(text[end]) <= columns:
            used += _columns(text[end])
            end += 1
        blank = text.rfind(" ", 0, end + 1)
        end = blank if blank > end // 2 else end
        yield text[:end]
        text = text[end:].removeprefix(" ")
    yield text


def value(it: Any, longest: int = 400) -> str:
    """A JSON value as one harmless line; a text without its quotes."""
    if isinstance(it, str):
        return line(it[:longest])
    return line(json.dumps(_short(it, longest), ensure_ascii=False, default=str)[:longest])


def _short(it: Any, longest: int, deep: int = 0) -> Any:
    """A value with no more in it than can be shown."""
    if isinstance(it, str):
        return it[:longest]
    if deep > 20:
        return ELLIPSIS
    if isinstance(it, dict):
        pairs = list(it.items())[: longest // 4]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        return {str(key)[:longest]: _short(part, longest, deep + 1) for key, part in pairs}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(it, list):
        return [_short(part, longest, deep + 1) for part in it[: longest // 2]]  # pyright: ignore[reportUnknownVariableType]
    return it


def elapsed(seconds: float) -> str:
    """The time since the start of an execution, in seconds: 12.30."""
    return f"{max(seconds, 0.0):.2f}"


def duration(seconds: float) -> str:
    """A length of time in at most seven columns: 0.3s, 12s, 3m 05s, 2h 10m, 3d 4h."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"
