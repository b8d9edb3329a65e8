"""Reads one open string from text that arrives in pieces: decodes it, and finds its end.

In valid JSON the next unescaped quote ends a string, so that is reported at once. But models forget to escape:
`"She said "hi" to me"`. A quote is therefore doubted

- where a quotation would open: after white space, an opening bracket, or `=`;
- when the string is empty so far, as it may become a triple-quoted one;
- in a single-quoted string, where an apostrophe looks the same;
- always, once the string was found to contain a quotation.

A doubted quote is decided by the next
character that is not white space or, in a string with quotations, by the next key or
item. `trust_quotes` switches doubt off, for servers whose output is constrained to valid JSON.
"""

import re

from .events import Node
from .lexical import key_quote_closes, unescape, value_quote_closes

_STOPS = {
    '"': re.compile(r'["\\]'),
    "'": re.compile(r"['\\]"),
    '"""': re.compile(r'"+|\\'),
    "'''": re.compile(r"'+|\\"),
}
# A line break ends a key: the text is not a key, but prose with a quote in it. The answer may begin in the next line.
_KEY_STOPS = {'"': re.compile(r'["\\\n]'), "'": re.compile(r"['\\\n]")}
_INVITES_QUOTATION = frozenset(" \t\r\n([{=")


class StringScanner:
    """One open string at a time; `begin` starts the next one."""

    __slots__ = ("_has_quotation", "_in_object", "_quote", "_trust", "closed", "is_key", "node", "parts", "stop")

    def __init__(self, trust_quotes: bool) -> None:
        self._trust = trust_quotes
        self.begin('"', is_key=False, in_object=False)

    def begin(self, quote: str, *, is_key: bool, in_object: bool) -> None:
        """Open a string after its opening `quote`. `is_key` and `in_object` decide what may follow its closing
        quote."""
        self._quote = quote
        self._in_object = in_object
        self._has_quotation = False
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
            if text[at] == "\\":
                step = unescape(text, at)
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
        return gained, pos

    def take(self) -> str:
        """The whole text, once closed."""
        return "".join(self.parts)

    def _run_of_quotes(self, text: str, at: int, end: int) -> tuple[str, int] | None:
        """In a triple-quoted string: the last three of a run of quotes end it, the others belong to the text."""
        if end == len(text):
            return (text[at : end - 3], end - 3) if end - at > 3 else None
        self.closed = end - at >= 3
        return (text[at : end - 3] if self.closed else text[at:end]), end

    def _one_quote(self, text: str, at: int, pieces: list[str]) -> tuple[str, int] | None:
        """Decide on a quote that may be the end, or on a line break in a key.

        Returns the text to add and the next position; None if more characters are needed."""
        if text[at] == "\n":
            closes = True
        elif self.is_key:
            closes = key_quote_closes(text, at)
        else:
            before = next(filter(None, reversed(pieces)), None) or (self.parts[-1] if self.parts else "")
            if self._trust or not self._doubts(before):
                closes = True
            elif not before and text.startswith(self._quote, at + 1):
                self._quote *= 3
                self.stop = _STOPS[self._quote].search
                return "", at + 2
            else:
                closes = value_quote_closes(text, at, self._in_object, self._has_quotation)
        if closes is None:
            return None
        if closes:
            self.closed = True
            return "", at + 1
        self._has_quotation = True
        return self._quote, at + 1

    def _doubts(self, before: str) -> bool:
        """Whether a quote after this text may be part of the string, and not its end."""
        return not before or self._has_quotation or self._quote == "'" or before[-1] in _INVITES_QUOTATION
