"""Plain lines: one for each thing that happens, for pipes, logs and simple terminals.

A line has the seconds since the start, a word for what has happened, the step and a text. It is never rewritten, and
depends on the frames and the width only.
"""

from collections.abc import Iterator

from ..stores.protocol import FINAL_STATUSES
from . import safe
from .colours import COLOURS, paint
from .model import Happened, Model
from .stream import Entry

#: How many columns a line has if neither the caller nor the terminal says.
COLUMNS = 200
#: A text of the stream without a line feed is written once it has so many characters.
_LONG = 120
_WORD = 9
#: The words for an item of a for_each that goes well; of these only the end of the item is written.
_OF_ITEMS = frozenset(("running", "done"))


class Plain:
    """Makes lines of what happens. Pieces of a streamed text are held back until a line feed, or until another line."""

    def __init__(self, model: Model, *, columns: int = COLUMNS, colour: bool = False, prefix: str = "") -> None:
        self._model, self._columns, self._colour, self._prefix = model, max(columns, 40), colour, prefix
        self._entry: Entry | None = None
        self._held = ""

    def lines(self, happened: list[Happened], at: float) -> Iterator[str]:
        """The lines for what has happened with a frame."""
        for it in happened:
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
        """The line for the text that is held back."""
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
        room = 20 if self._columns > 100 else 14
        head = f"{self._prefix}{safe.elapsed(at - self._model.began):>9}  "
        rest = f"{safe.fit(name, room)} {text}" if name else text
        line = safe.cut(f"{head}{word:{_WORD}}  {rest}".rstrip(), self._columns)
        if self._colour and word in COLOURS:
            line = line.replace(word, paint(word, COLOURS[word]), 1)
        return line
