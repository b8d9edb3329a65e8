"""Plain lines: one for each thing that happens, for pipes, logs and screens that take nothing else.

A line has the seconds since the start, a word for what has happened, the step and a text. It never changes once it is
written, and depends on nothing but the frames (and the width).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TextIO

from ..stores.protocol import FINAL_STATUSES
from . import safe
from .model import Happened, Model
from .stream import Entry

#: How many columns a line has where nobody says how wide the screen is.
COLUMNS = 200
#: From how many characters on a text of the stream is written that has no line feed.
_LONG = 120
_WORD = 9
#: The colours of the words, as numbers of ANSI.
_COLOURS = {
    "running": 36,
    "done": 32,
    "failed": 31,
    "lost": 35,
    "retry": 33,
    "asked": 33,
    "cancelled": 90,
}
#: What happens to an item of a for_each as it should; only the end of the item is told.
_OF_ITEMS = frozenset(("running", "done"))


def is_screen(file: TextIO | None) -> bool:
    """Whether a file is a terminal."""
    with suppress(ValueError, OSError):
        return file is not None and file.isatty()
    return False


def has_colours(file: TextIO | None) -> bool:
    """Whether to print colours: on a terminal, unless NO_COLOR is set or it is a dumb one."""
    return is_screen(file) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Plain:
    """Writes what happens as lines. Pieces of a text are held back up to a line feed, or to the next line."""

    def __init__(self, model: Model, *, columns: int = COLUMNS, colour: bool = False, prefix: str = "") -> None:
        self._model, self._columns, self._colour, self._prefix = model, max(columns, 40), colour, prefix
        self._entry: Entry | None = None
        self._held = ""

    def lines(self, told: list[Happened], at: float) -> Iterator[str]:
        """The lines for what a frame has told."""
        for it in told:
            if it.what == "stream" and it.entry is not None:
                yield from self._piece(it.entry, it.text, at)
                continue
            if it.what in _OF_ITEMS and it.item is not None and not self._ends(it):
                continue
            yield from self.flush(at)
            word, text = it.what, self._text(it, at)
            if it.step is None and word in FINAL_STATUSES:
                word, text = "ended", f"{word}  {text}"
            yield self._line(at, word, it.step.name if it.step is not None else "", text)

    def flush(self, at: float) -> Iterator[str]:
        """What is held back."""
        if self._held and self._entry is not None:
            yield from self._stream(at, self._entry.label, self._held)
        self._held = ""

    def _piece(self, entry: Entry, text: str, at: float) -> Iterator[str]:
        if entry is not self._entry:
            yield from self.flush(at)
            self._entry = entry
        *whole, self._held = (self._held + text).split("\n")
        for line in whole:
            yield from self._stream(at, entry.label, line)
        if entry.pieces_of is None or len(self._held) >= _LONG:
            yield from self.flush(at)

    def _stream(self, at: float, label: str, text: str) -> Iterator[str]:
        room = self._columns - safe.width(self._line(at, "stream", label, ".")) + 1
        for part in safe.wrap(safe.line(text), room):
            yield self._line(at, "stream", label, part)

    def _ends(self, it: Happened) -> bool:
        """Whether the item has ended with this."""
        return it.item is not None and it.item.over and it.what == "done"

    def _text(self, it: Happened, at: float) -> str:
        if it.what == "started":
            return " ".join(filter(None, (self._model.flow, self._model.id, it.text)))
        if it.item is None:
            return it.text
        each, item, text = it.item.each, it.item, it.text
        counted = ""
        if item.over and it.what in ("done", "failed", "cancelled"):
            counted = f"{each.ended}/{each.total}" if each.exact else str(each.ended)
            text = safe.duration(at - item.began) if it.what == "done" else text
        return "  ".join(filter(None, (counted, f"#{item.number}", text, item.label)))

    def _line(self, at: float, word: str, name: str, text: str) -> str:
        seconds = f"{max(at - self._model.began, 0.0):.2f}"
        room = 20 if self._columns > 100 else 14
        head = f"{self._prefix}{seconds:>9}  "
        rest = f"{safe.fit(name, room)} {text}" if name else text
        line = safe.cut(f"{head}{word:{_WORD}}  {rest}".rstrip(), self._columns)
        if self._colour and word in _COLOURS:
            line = line.replace(word, f"\x1b[{_COLOURS[word]}m{word}\x1b[0m", 1)
        return line
