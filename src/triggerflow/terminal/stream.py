"""The runtime stream as text: the pieces of a model's answer are joined; any other item has lines of its own."""

from collections import deque
from typing import Any, cast

from . import safe

#: How many entries are kept, and how many characters of each.
KEPT, LONGEST = 500, 10_000


class Entry:
    """Consecutive items that make one text, or one item of another kind. `who`: the path of the sub-flow it is from."""

    __slots__ = ("_pieces", "_size", "keys", "pieces_of", "who")

    def __init__(self, who: str, pieces_of: Any, keys: Any, text: str) -> None:
        self.who, self.pieces_of, self.keys = who, pieces_of, keys
        self._pieces = [text]
        self._size = len(text)

    @property
    def text(self) -> str:
        """The text, or the last `LONGEST` characters of it."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)[-LONGEST:]]
            self._size = len(self._pieces[0])
        return self._pieces[0]

    @property
    def label(self) -> str:
        """The text before the entry: the sub-flow, and a name out of its items, such as the field of an answer."""
        if not self.keys:
            return self.who
        named = next((str(self.keys[it]) for it in ("path", "field", "name", "type") if self.keys.get(it)), "")
        return " ".join(filter(None, (self.who, safe.value(named, 60))))

    def add(self, text: str) -> None:
        """Append a piece."""
        self._pieces.append(text)
        self._size += len(text)
        if self._size > 4 * LONGEST:
            self._pieces, self._size = [self.text], LONGEST

    def ends_with_space(self) -> bool:
        """Whether the text so far ends with a blank or a line feed."""
        return self._pieces[-1][-1:].isspace()


class StreamText:
    """The newest items of a runtime stream."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=KEPT)
        self.count = 0

    def add(self, item: Any, run: int | None, path: str) -> tuple[Entry, str]:
        """Add an item of a run. Returns the entry that it went into, and the text that it added."""
        self.count += 1
        who = safe.value(path, 100)
        last = self.entries[-1] if self.entries else None
        if isinstance(item, str):
            keys, text, pieces_of = None, item, (run, path, "text")
        elif isinstance(item, dict) and isinstance(cast("Any", item).get("delta"), str):
            given = cast("dict[str, Any]", item)
            keys, text, pieces_of = (
                {key: it for key, it in given.items() if key != "delta"},
                given["delta"],
                (run, path, "delta"),
            )
        else:
            keys, text, pieces_of = None, safe.value(item, 1000), None
        goes_on = last is not None and pieces_of is not None and last.pieces_of == pieces_of and last.keys == keys
        if last is not None and goes_on and (keys is not None or not _is_message(text, last)):
            last.add(text)
            return last, text
        entry = Entry(who, pieces_of, keys, text)
        self.entries.append(entry)
        return entry, text

    def height(self, columns: int) -> int:
        """An upper estimate of the number of lines at this width."""
        return sum(len(entry.text) // max(columns // 2, 1) + entry.text.count("\n") + 1 for entry in self.entries)

    def lines(self, columns: int, count: int) -> list[tuple[str, str]]:
        """The last `count` lines at this width, each with its label: blanks after the first line of an entry."""
        found: list[tuple[str, str]] = []
        for entry in reversed(self.entries):
            label = entry.label
            room = columns - (safe.width(label) + 1 if label else 0)
            if room < 16:
                label, room = safe.cut(label, columns // 2), columns - columns // 2 - 1
            wrapped = [
                piece
                for it in safe.lines(entry.text.rstrip("\n")[-columns * count * 2 :])
                for piece in safe.wrap(it, room)
            ]
            found += [(label if number == 0 else " " * safe.width(label), it) for number, it in enumerate(wrapped)][
                ::-1
            ]
            if len(found) >= count:
                break
        return found[:count][::-1]


def _is_message(text: str, last: Entry) -> bool:
    """Whether a text after another one is a message of its own, not the next piece of a model's answer.

    The pieces of models are parts of words, or words with the blank before them.
    """
    if last.ends_with_space():
        return False
    return " " in text.strip() and not text[:1].isspace()
