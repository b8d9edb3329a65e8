"""Reads one open string from text that arrives in pieces: decodes it, finds its end, and says how certain that is.

A quote ends its string if what follows can only follow a string; see `quotes`. With `trust_quotes` every unescaped
quote ends it, for servers whose output is constrained to valid JSON.
"""

import re

from .errors import ProblemList, Window
from .escapes import CODE, CODE_BEGUN, HALF, JSON_ESCAPES, MARKDOWN, unescape
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
_MIXED = "backslashes of which some are escapes of JSON and others are not"


class StringScanner:
    """One open string at a time; `begin` starts the next one. Problems are noted in `problems` when the string ends."""

    __slots__ = (
        "_decoded",
        "_ends",
        "_escaped",
        "_flawed",
        "_in_object",
        "_kept",
        "_kept_before",
        "_letters_before",
        "_problems",
        "_quotations",
        "_trust",
        "_uncertain",
        "_window",
        "closed",
        "is_key",
        "node",
        "parts",
        "quote",
        "stop",
    )

    def __init__(self, trust_quotes: bool, problems: ProblemList, window: Window) -> None:
        self._trust = trust_quotes
        self._problems = problems
        self._window = window
        self._kept_before: int | None = None
        """The offset of the first backslash in any string that shows that the model does not escape backslashes; -1
        once the contradiction to an escape was noted."""
        self._letters_before = False
        """Whether an escape was decoded in any string that is also an ordinary backslash and letter."""
        self._forget()
        self.begin('"', is_key=False, in_object=False)

    def begin(self, quote: str, *, is_key: bool, in_object: bool) -> None:
        """Open a string after its opening `quote`. `is_key` and `in_object` decide what may follow its closing
        quote."""
        self.quote = quote
        self._in_object = in_object
        if self._flawed or self._decoded or self._escaped:
            self._forget()
        self.is_key = is_key
        self._ends = ":" if is_key else "" if self._trust else ",}" if in_object else ",]"
        """What proves the quote before it to be the end."""
        self.closed = False
        self.node: Node | None = None
        """The node of the string; None for keys, and for values that are not reported."""
        self.parts: list[str] = []
        """The decoded text so far."""
        self.stop = (_KEY_STOPS if is_key else _STOPS)[quote].search
        """Finds the first character that is not plain text."""

    def _forget(self) -> None:
        """Forget what was noted about the last string."""
        self._flawed = False
        """Whether there is something to note when the string ends."""
        self._quotations: Quotations | None = None
        self._escaped = False
        """Whether an odd number of quotes was escaped."""
        self._decoded = False
        """Whether an escape was decoded that is also an ordinary backslash and letter."""
        self._kept: int | None = None
        """The offset of the first backslash that JSON does not know, and that was kept."""
        self._uncertain: int | None = None
        """The offset of the first escape that has no certain meaning."""

    def scan(self, text: str, pos: int) -> tuple[str, int]:
        """Read on from `pos`; return the decoded text that this adds, and where reading stopped.

        Sets `closed` when it found the end. Stops before the end of `text` if more characters are needed to decide.
        """
        found = self.stop(text, pos)
        # The usual cases: plain text, and a quote that the next character proves to be the end.
        if found is None:
            gained = text[pos:]
            self.parts.append(gained)
            return gained, len(text)
        at = found.start()
        end = len(text)
        if text[at] == '"' and self._ends:
            if at + 1 == end:
                gained = text[pos:at]  # nothing follows the quote yet
                if gained:
                    self.parts.append(gained)
                return gained, at
            after = text[at + 1]
            if after in self._ends and not (self._flawed or self._decoded):
                before = text[at - 1] if at > pos else self.parts[-1][-1] if self.parts else ""
                if after != "," or not before.isdigit():
                    self.closed = True
                    gained = text[pos:at]
                    if gained:
                        self.parts.append(gained)
                    return gained, at + 1
        pieces: list[str] = []
        while found is not None:
            at = found.start()
            if at > pos:
                pieces.append(text[pos:at])
            pos = at
            if text[at] == "\\":
                if at + 1 == end:
                    break
                after = text[at + 1]
                piece = JSON_ESCAPES.get(after)
                if piece is not None:
                    self._decoded = True
                    pos = at + 2
                elif after == "u" and CODE.match(text, at + 1):
                    piece = chr(int(text[at + 2 : at + 6], 16))
                    pos = at + 6
            else:
                piece = None
            if piece is None:
                step = self._stopped(text, at, found.end(), pieces)
                if step is None:
                    break
                piece, pos = step
            if piece:
                pieces.append(piece)
            if self.closed or pos == end:
                break
            found = self.stop(text, pos)
        else:
            pieces.append(text[pos:])
            pos = end
        gained = pieces[0] if len(pieces) == 1 else "".join(pieces)
        if gained:
            self.parts.append(gained)
        if self.closed and (self._flawed or self._decoded):
            self._note_problems()
        return gained, pos

    def _stopped(self, text: str, at: int, end: int, pieces: list[str]) -> tuple[str, int] | None:
        """Decide on the character at `at`, or the run of quotes from there to `end`, which is not plain text.

        Returns the text to add and the next position; None if more characters are needed."""
        char = text[at]
        if char == "\\":
            return None if CODE_BEGUN.match(text, at + 1) else self._escape(text, at, pieces)
        if char < " " and not self.is_key:
            return self._control_character(at)
        if len(self.quote) == 3:
            return self._run_of_quotes(text, at, end)
        return self._one_quote(text, at, pieces)

    def take(self) -> str:
        """The whole text, once closed."""
        return "".join(self.parts)

    def _escape(self, text: str, at: int, pieces: list[str]) -> tuple[str, int] | None:
        step = unescape(text, at)
        if step is None:
            return None
        piece, pos, sort = step
        if sort == "quote":
            self._escaped = not self._escaped
            if self._quotations is not None:
                self._quotations.escaped(pieces[-1][-1] if pieces else self.parts[-1][-1])
        elif sort == "kept":
            if self._kept is None:
                self._kept = self._window.start + at
                self._flawed = True
            if self._kept_before is None and text[at + 1] not in MARKDOWN:
                self._kept_before = self._kept
        elif sort == "decoded":
            self._problems.tolerate(at, f"JSON has no escape {text[at:pos]}")
        elif sort == "half":
            self._problems.lose_character(at, HALF)
        elif sort == "uncertain" and self._uncertain is None:
            self._flawed = True
            self._uncertain = self._window.start + at
        return piece, pos

    def _control_character(self, at: int) -> tuple[str, int]:
        self._problems.tolerate(at, "a line break or control character inside of a string")
        self.stop = _STOPS_AFTER_CONTROL[self.quote].search
        return "", at

    def _run_of_quotes(self, text: str, at: int, end: int) -> tuple[str, int] | None:
        """In a triple-quoted string: the last three of a run of quotes end it, the others belong to the text."""
        if end == len(text):
            return (text[at : end - 3], end - 3) if end - at > 3 else None
        self.closed = end - at >= 3
        return (text[at : end - 3] if self.closed else text[at:end]), end

    def _one_quote(self, text: str, at: int, pieces: list[str]) -> tuple[str, int] | None:
        """Decide on a quote that may be the end, or on a line break in a key."""
        if text[at] == "\n" or (self._trust and not self.is_key):
            closes = True
        elif self.is_key:
            closes = key_quote_closes(text, at)
        else:
            before = pieces[-1][-1] if pieces else self.parts[-1][-1] if self.parts else ""
            if not before and text.startswith(self.quote, at + 1):
                self.quote *= 3
                self._ends = ""
                self.stop = _STOPS[self.quote].search
                self._problems.tolerate(at - 1, "a string in three quotes")
                return "", at + 2
            in_quotation = self._quotations is not None and self._quotations.open
            closes = value_quote_closes(text, at, self._in_object, in_quotation, before)
        if closes is None:
            return None
        if closes:
            self.closed = True
            return "", at + 1
        if self._quotations is None:
            self._quotations = Quotations(self._window.start + at, self._escaped, self._in_object)
            self._flawed = True
        self._quotations.add(self.quote, recent([*self.parts[-256:], *pieces[-256:]]), text[at + 1])
        return self.quote, at + 1

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
            if self._decoded or self._escaped:
                problems.refuse(at, _MIXED)
            else:
                problems.repair(at, "a backslash that begins no escape of JSON was kept as it is")
        self._letters_before = self._letters_before or self._decoded
        if self._letters_before and self._kept_before is not None and self._kept_before >= 0:
            # In "\\sqrt" the backslash is meant as it is, so it may be in "\\frac", in whichever string that is.
            if not (self._kept is not None and (self._decoded or self._escaped)):
                problems.refuse(self._kept_before - start, _MIXED)
            self._kept_before = -1
        if self._uncertain is not None:
            problems.refuse(self._uncertain - start, "an escape that JSON does not have")
