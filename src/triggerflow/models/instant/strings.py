"""Reads one open string from text that arrives in pieces: decodes it, finds its end, and says how certain that is.

A quote ends its string if what follows can only follow a string; see `quotes`. With `trust_quotes` every unescaped
quote ends it, for servers whose output is constrained to valid JSON.
"""

import re

from .errors import ProblemList, Window
from .escapes import unescape
from .events import Node
from .quotes import Quotations, key_quote_closes, recent, value_quote_closes

# JSON has no control characters in strings. After the first one, which is noted, they count as text.
_STOPS = {
    '"': re.compile(r'["\\\x00-\x1f]'),
    "'": re.compile(r"['\\\x00-\x1f]"),
    '"""': re.compile(r'"+|\\'),
    "'''": re.compile(r"'+|\\"),
}
_STOPS_AFTER_CONTROL = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
# A line break ends a key: the text is not a key, but prose with a quote in it. The answer may begin in the next line.
_KEY_STOPS = {'"': re.compile(r'["\\\n]'), "'": re.compile(r"['\\\n]")}


class StringScanner:
    """One open string at a time; `begin` starts the next one. Problems are noted in `problems` when the string ends."""

    __slots__ = (
        "_decoded",
        "_in_object",
        "_kept",
        "_problems",
        "_quotations",
        "_quote",
        "_trust",
        "_uncertain",
        "_window",
        "closed",
        "is_key",
        "node",
        "parts",
        "stop",
    )

    def __init__(self, trust_quotes: bool, problems: ProblemList, window: Window) -> None:
        self._trust = trust_quotes
        self._problems = problems
        self._window = window
        self.begin('"', is_key=False, in_object=False)

    def begin(self, quote: str, *, is_key: bool, in_object: bool) -> None:
        """Open a string after its opening `quote`. `is_key` and `in_object` decide what may follow its closing
        quote."""
        self._quote = quote
        self._in_object = in_object
        self._quotations: Quotations | None = None
        self._decoded = False
        """Whether an escape was decoded that is also an ordinary backslash and letter."""
        self._kept: int | None = None
        """The offset of the first backslash that JSON does not know, and that was kept."""
        self._uncertain: tuple[int, str] | None = None
        self.is_key = is_key
        self.closed = False
        self.node: Node | None = None
        """The node of the string; None for keys, and for values that are not reported."""
        self.parts: list[str] = []
        """The decoded text so far."""
        self.stop = (_KEY_STOPS if is_key else _STOPS)[quote].search
        """Finds the first character that is not plain text."""

    def scan(self, text: str, pos: int) -> tuple[str, int]:
        """Read on from `pos`; return the decoded text that this adds, and where reading stopped.

        Sets `closed` when it found the end. Stops before the end of `text` if more characters are needed to decide.
        """
        pieces: list[str] = []
        while pos < len(text) and not self.closed:
            found = self.stop(text, pos)
            if found is None:
                pieces.append(text[pos:])
                pos = len(text)
                break
            at = found.start()
            pieces.append(text[pos:at])
            char = text[at]
            if char == "\\":
                step = self._escape(text, at)
            elif char < " " and not self.is_key:
                step = self._control_character(at)
            elif len(self._quote) == 3:
                step = self._run_of_quotes(text, at, found.end())
            else:
                step = self._one_quote(text, at, pieces)
            if step is None:
                pos = at
                break
            piece, pos = step
            pieces.append(piece)
        gained = "".join(pieces)
        if gained:
            self.parts.append(gained)
        if self.closed:
            self._note_problems()
        return gained, pos

    def take(self) -> str:
        """The whole text, once closed."""
        return "".join(self.parts)

    def _escape(self, text: str, at: int) -> tuple[str, int] | None:
        step = unescape(text, at)
        if step is None:
            return None
        piece, pos, sort = step
        if sort == "json":
            self._decoded = self._decoded or text[at + 1] != "/"
        elif sort == "quote":
            if self._quotations is not None:
                self._quotations.escaped()
        elif sort == "kept":
            if self._kept is None:
                self._kept = self._window.start + at
        elif sort == "decoded":
            self._problems.tolerate(at, f"JSON has no escape {text[at:pos]}")
        elif self._uncertain is None:
            half = "half of a character (a surrogate without its pair)"
            self._uncertain = self._window.start + at, half if sort == "half" else "an escape that JSON does not have"
        return piece, pos

    def _control_character(self, at: int) -> tuple[str, int]:
        self._problems.tolerate(at, "a line break or control character inside of a string")
        self.stop = _STOPS_AFTER_CONTROL[self._quote].search
        return "", at

    def _run_of_quotes(self, text: str, at: int, end: int) -> tuple[str, int] | None:
        """In a triple-quoted string: the last three of a run of quotes end it, the others belong to the text."""
        if end == len(text):
            return (text[at : end - 3], end - 3) if end - at > 3 else None
        self.closed = end - at >= 3
        return (text[at : end - 3] if self.closed else text[at:end]), end

    def _one_quote(self, text: str, at: int, pieces: list[str]) -> tuple[str, int] | None:
        """Decide on a quote that may be the end, or on a line break in a key.

        Returns the text to add and the next position; None if more characters are needed."""
        if text[at] == "\n" or (self._trust and not self.is_key):
            closes = True
        elif self.is_key:
            closes = key_quote_closes(text, at)
        else:
            before = next(filter(None, reversed(pieces)), None) or (self.parts[-1] if self.parts else "")
            if not before and text.startswith(self._quote, at + 1):
                self._quote *= 3
                self.stop = _STOPS[self._quote].search
                self._problems.tolerate(at - 1, "a string in three quotes")
                return "", at + 2
            closes = value_quote_closes(text, at, self._in_object, self._quotations is not None, before[-1:])
        if closes is None:
            return None
        if closes:
            self.closed = True
            return "", at + 1
        if self._quotations is None:
            self._quotations = Quotations(self._window.start + at)
        self._quotations.add(self._quote, recent([*self.parts[-256:], *pieces[-256:]]), text[at + 1])
        return self._quote, at + 1

    def _note_problems(self) -> None:
        """Note what was not JSON in the string that has just ended."""
        start = self._window.start
        problems = self._problems
        quotations = self._quotations
        if quotations is not None:
            at = quotations.at - start
            if quotations.paired:
                problems.repair(at, "a quote that was not escaped was read as a part of its string")
            else:
                problems.refuse(at, "a quote inside of a string is not escaped, and the string may end elsewhere")
        if self._kept is not None:
            at = self._kept - start
            if self._decoded:
                problems.refuse(at, "backslashes of which some are escapes of JSON and others are not")
            else:
                problems.repair(at, "a backslash that begins no escape of JSON was kept as it is")
        if self._uncertain is not None:
            offset, what = self._uncertain
            problems.refuse(offset - start, what)
