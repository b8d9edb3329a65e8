"""Whether a quote ends its string, and whether the quotes inside of a string are what the model meant.

JSON ends a string at the next unescaped quote. Models forget to escape: `"She said "hi" to me"`. So a quote is judged
by what follows it. In JSON that is a comma or the bracket of the open container; if it is anything else, the quote
belongs to the text. While a quotation is open, a comma proves no more (`"yes", and`): the next key, or the next
item, has to follow.

If the characters that decide have not arrived yet, a function returns None. The caller calls it again, with the same
text and more, when the next delta has arrived. Text that arrives later never changes a decision: that makes parsing
independent of where the deltas are cut. All look-ahead is bounded, so that a repeated call has a constant cost.
"""

import re

from .thinking import ends_thinking

LOOKAHEAD = 256
"""The longest white space, key or quotation that a decision about a quote takes into account."""

_AFTER_KEY = frozenset(':/,}][{"-0123456789')
_SPACE = re.compile(r"\s{0,256}")
_S = r"\s{0,256}"
_SINGLE = r"'(?:[^'\n]|(?<=\w)'(?=\w)){0,256}"  # with apostrophes
_CHARACTER = r'(?:[^"\\\n]|\\[^\n])'
_QUOTED_KEY = rf"""(?:"{_CHARACTER}{{0,256}}"|{_SINGLE}')"""
_QUOTED_BEGUN = rf"""(?:"{_CHARACTER}{{0,256}}(?:\\|"{_S})?|{_SINGLE}(?:'{_S})?)"""
# A comment, or the end of the code block that the JSON is in.
_BREAK = r"/[/*]|```"
_BREAK_BEGUN = r"/|``?"
# What follows the closing quote of a value in an object: its bracket, a comment, or the next key with its colon.
# Without a comma before it, the key must be quoted: an unquoted word may be prose inside the string.
_MEMBER_END = re.compile(
    rf"\}}|{_BREAK}|,{_S}(?:\}}|/[/*]|{_QUOTED_KEY}{_S}:|[\w$-]{{1,256}}{_S}(?::|/[/*]))|{_QUOTED_KEY}{_S}:"
)
_MEMBER_END_BEGUN = re.compile(
    rf"(?:{_BREAK_BEGUN}|,{_S}(?:/|{_QUOTED_BEGUN}|[\w$-]{{1,256}}{_S}/?)?|{_QUOTED_BEGUN})\Z"
)
# What follows the closing quote of a value in an array: its bracket, a comment, or a comma and the beginning of a
# value. A quoted text is a value if a separator follows it, or if it is longer than a quotation would be.
_ITEM = rf"""(?:"{_CHARACTER}{{0,256}}"{_S}[,\]]|{_SINGLE}'{_S}[,\]]|"{_CHARACTER}{{257}}|'[^'\n]{{257}})"""
_NUMBER = r"-?[0-9][0-9.eE+-]{0,60}"
_LITERAL = rf"(?:true|false|null|True|False|None){_S}(?:[,\]]|/[/*])"
_ITEM_END = re.compile(rf"\]|{_BREAK}|,{_S}(?:[\[\]{{]|/[/*]|{_NUMBER}{_S}(?:[,\]]|/[/*])|{_LITERAL}|{_ITEM})|{_ITEM}")
_ITEM_END_BEGUN = re.compile(
    rf"(?:{_BREAK_BEGUN}|,{_S}(?:/|-|{_NUMBER}{_S}/?|[A-Za-z]{{1,5}}{_S}/?|{_QUOTED_BEGUN})?|{_QUOTED_BEGUN})\Z"
)
_COMMA_AND_MORE = re.compile(rf",{_S}(\S)?")

_OPENING = frozenset("([{<=-\u2013\u2014/:,;>|+*&")
_SEPARATORS = frozenset(":,;}]\uff1a\uff0c\u3001\uff1b")
_AFTER_QUOTATION = frozenset(" \t\r\n.,;:!?)]}\"'")
"""What may come after the quote that ends a quotation, if a space is before it."""
_TEXT_SEEN = 256
"""How much text before a quote is searched for a typographic quote that it closes."""


def key_quote_closes(text: str, at: int) -> bool | None:
    """Whether the quote at `at` ends the key it is in.

    It does if a colon or a comment follows, or a value or a bracket: then the model has forgotten the colon. Otherwise
    the quote belongs to the key.
    """
    start = _after_space(text, at)
    if start - at > LOOKAHEAD:
        return True
    return text[start] in _AFTER_KEY if start < len(text) else None


def value_quote_closes(text: str, at: int, in_object: bool, in_quotation: bool, before: str) -> bool | None:
    """Whether the quote at `at` ends the string value it is in.

    `in_quotation`: an earlier quote opened a quotation in this text. `before`: the last character before the quote,
    if there is one. After a digit the quote may stand for inches (`5", 6" and 7"`), so that a comma needs a key or
    another item after it.
    """
    start = at + 1
    if start == len(text):
        return None
    after = text[start]
    if after == text[at]:
        return False  # it may be the end
    if after.isspace():
        start = _after_space(text, at)
        if start - at > LOOKAHEAD:
            return True
        if start == len(text):
            return None
        after = text[start]
    if after in "<[\u25c1" and (ends := ends_thinking(text, start)) is not False:
        return ends
    if not in_quotation:
        if after == ("}" if in_object else "]"):
            return True
        if after == ",":
            if not before.isdigit() or start > at + 1:
                return True
            more = _COMMA_AND_MORE.match(text, start)
            if more is None or more[1] is None:
                return None if len(text) - start <= LOOKAHEAD else True
            if more[1] in ("\"',}" if in_object else "\"',]"):
                return True
        elif after not in "\"'/`":
            return False
    end, begun = (_MEMBER_END, _MEMBER_END_BEGUN) if in_object else (_ITEM_END, _ITEM_END_BEGUN)
    if end.match(text, start):
        return True
    return None if begun.match(text, start) else False


class Quotations:
    """The unescaped quotes inside of one string: whether they form pairs, as quotations do.

    A quote that opens a quotation which is never closed, or one that closes nothing, shows that the string may end
    elsewhere: `"a": "x, "b": "y"` lacks a quote, and so do the quotes of `"x, "b": "`.
    """

    __slots__ = ("_after_plain", "_escaped", "_in_object", "_open", "at", "certain")

    def __init__(self, at: int, escaped: bool, in_object: bool) -> None:
        self.at = at
        """The offset of the first one in the response."""
        self.certain = True
        self._in_object = in_object
        self._open = False
        self._escaped = escaped
        """Whether the number of escaped quotes outside of quotations is odd so far."""
        self._after_plain = False
        """Whether the last quote was not escaped."""

    @property
    def paired(self) -> bool:
        """Whether each quote is certain to belong to the text."""
        return self.certain and not self._open

    @property
    def open(self) -> bool:
        """Whether a quotation is open."""
        return self._open

    def escaped(self, before: str) -> None:
        """Count a quote that was escaped, behind this character: the model may have escaped one of a pair only."""
        self._after_plain = False
        if self._open and not self._escaped and before.strip(" \t\r\n\"'"):
            self._open = False
        else:
            self._escaped = not self._escaped

    def add(self, quote: str, before: str, after: str) -> None:
        """Judge a quote by the text before it (the last characters) and by the character after it."""
        last = before[-1:]
        spaced = not last or last.isspace()
        if self._open:
            # A quote that looks like the beginning of a quotation inside of one: the first one was none.
            begins = after.isalnum() if last in _OPENING else spaced and after not in _AFTER_QUOTATION
            if begins and quote == '"':
                self.certain = False
            self._open = False
        elif quote == "'" and last.isalnum() and (after.isalnum() or after.isspace()):
            pass  # an apostrophe
        elif before.rstrip()[-1:].isdigit() and not after.isalnum() and after != ":":
            # Inches. In a list, what follows a comma may be an item that lacks its quote.
            self.certain = self.certain and (self._in_object or after != ",")
        elif self._escaped and not spaced:
            self._escaped = False  # it closes a quotation that began with an escaped quote
        elif quote == '"' and _opened_by_typography(before.rpartition('"')[2]):
            pass
        else:
            self._open = True
            if after in _SEPARATORS or after == quote or (after.isspace() and not (last and spaced)):
                self.certain = False
            # In a list, what follows a comma may be the next item, if no quotation has ended before the comma.
            text = before.rstrip()
            quoted = self._after_plain and text[:-1].rstrip()[-1:] in ("'", '"')
            if not self._in_object and text[-1:] == "," and not quoted:
                self.certain = False
        self._after_plain = True


def _opened_by_typography(text: str) -> bool:
    """Whether a quotation was opened by a typographic quote, as in `\u201eHeimat"`."""
    return max(text.rfind("\u201e"), text.rfind("\u201c")) > text.rfind("\u201d")


def recent(parts: list[str], length: int = _TEXT_SEEN) -> str:
    """The last characters of a text in pieces."""
    found: list[str] = []
    for part in reversed(parts):
        found.append(part[-length:])
        length -= len(found[-1])
        if length <= 0:
            break
    return "".join(reversed(found))


def _after_space(text: str, at: int) -> int:
    """Where the white space after the quote ends; of longer white space, where its first `LOOKAHEAD` characters end."""
    space = _SPACE.match(text, at + 1)
    return at + 1 if space is None else space.end()
