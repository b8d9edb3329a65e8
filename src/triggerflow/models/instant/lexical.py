"""Pure decisions about pieces of text: what an escape means, what a bare word is, whether a quote ends its string.

If the characters that decide have not arrived yet, a function returns None. The caller calls it again, with the same
text and more, when the next delta has arrived. Text that arrives later never changes a decision: that makes parsing
independent of where the deltas are cut. All look-ahead is bounded, so that a repeated call has a constant cost.
"""

import re
from typing import Any

from .events import Kind

LOOKAHEAD = 256
"""The longest white space, key or quotation that a decision about a quote takes into account."""

MAX_WORD = 4300
"""The longest number, literal or bare key; Python by default refuses to convert integers that are longer."""

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "'": "'"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_HEX_BEGUN = re.compile(r"[0-9a-fA-F]{0,3}\Z")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_LOW_SURROGATE_BEGUN = re.compile(r"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")

_WORDS: dict[str, tuple[Kind, Any]] = {
    "true": ("boolean", True),
    "True": ("boolean", True),
    "false": ("boolean", False),
    "False": ("boolean", False),
    "null": ("null", None),
    "None": ("null", None),
    "NaN": ("number", float("nan")),
    "Infinity": ("number", float("inf")),
    "-Infinity": ("number", float("-inf")),
}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

_AFTER_KEY = frozenset(':/,}][{"-0123456789')
_SPACE = re.compile(r"\s{0,256}")
_S = r"\s{0,256}"
_QUOTED_KEY = r"""(?:"[^"\n]{0,256}"|'[^'\n]{0,256}')"""
_QUOTED_BEGUN = rf"""(?:"[^"\n]{{0,256}}(?:"{_S})?|'[^'\n]{{0,256}}(?:'{_S})?)"""
# What follows the closing quote of a value in an object: a bracket, a comment, or the next key with its colon. Without
# a comma before it, the key must be quoted: an unquoted word may be prose inside the string.
_MEMBER_END = re.compile(
    rf"[}}\]]|/[/*]|,{_S}(?:[}}\]]|/[/*]|{_QUOTED_KEY}{_S}:|[\w$-]{{1,256}}{_S}:)|{_QUOTED_KEY}{_S}:"
)
_MEMBER_END_BEGUN = re.compile(rf"(?:/|,{_S}(?:/|{_QUOTED_BEGUN}|[\w$-]{{1,256}}{_S})?|{_QUOTED_BEGUN})\Z")
# What follows the closing quote of a value in an array: a bracket, a comment, or a comma and the beginning of a value.
# A quoted text is a value if a separator follows it, or if it is longer than a quotation would be.
_ITEM = rf"""(?:"[^"\n]{{0,256}}"{_S}[,\]]|'[^'\n]{{0,256}}'{_S}[,\]]|"[^"\n]{{257}}|'[^'\n]{{257}})"""
_LITERAL = rf"(?:true|false|null|True|False|None){_S}[,\]]"
_ITEM_END = re.compile(rf"[}}\]]|/[/*]|,{_S}(?:[\[\]{{}}]|/[/*]|-?[0-9]|{_LITERAL}|{_ITEM})|{_ITEM}")
_ITEM_END_BEGUN = re.compile(rf"(?:/|,{_S}(?:/|-|[A-Za-z]{{1,5}}{_S}|{_QUOTED_BEGUN})?|{_QUOTED_BEGUN})\Z")


def unescape(text: str, at: int) -> tuple[str, int] | None:
    """Decode the escape whose backslash is at `at`; return what it means and the position after it.

    Surrogate pairs are joined. Half a pair becomes U+FFFD, so that every string that leaves the parser can be encoded.
    An escape that JSON does not know (`\\d`, `\\(`) is kept as written: models write patterns and formulas unescaped.
    """
    if at + 1 == len(text):
        return None
    char = text[at + 1]
    if char != "u":
        known = _ESCAPES.get(char)
        return ("\\" if known is None else known), at + (1 if known is None else 2)
    digits = _HEX.match(text, at + 2)
    if digits is None:
        if _HEX_BEGUN.match(text, at + 2):
            return None
        return "\\", at + 1
    code, end = int(digits[0], 16), at + 6
    if not 0xD800 <= code < 0xE000:
        return chr(code), end
    if code < 0xDC00:
        low = _LOW_SURROGATE.match(text, end)
        if low is not None:
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00), end + 6
        if _LOW_SURROGATE_BEGUN.match(text, end):
            return None
    return "\ufffd", end


def read_word(word: str) -> tuple[Kind, Any] | None:
    """The kind and value of an unquoted word that is a number or literal; None if it is neither."""
    known = _WORDS.get(word)
    if known is not None:
        return known
    number = _NUMBER.fullmatch(word)
    if number is None:
        return None
    if number.lastindex is not None:
        return "number", float(word)
    try:
        return "number", int(word)
    except ValueError:  # More digits than the interpreter converts to an integer.
        return None


def key_quote_closes(text: str, at: int) -> bool | None:
    """Whether the quote at `at` ends the key it is in.

    It does if a colon or a comment follows, or a value or a bracket: then the model has forgotten the colon. Otherwise
    the quote belongs to the key.
    """
    start = _after_space(text, at)
    if start - at > LOOKAHEAD:
        return True
    return text[start] in _AFTER_KEY if start < len(text) else None


def value_quote_closes(text: str, at: int, in_object: bool, has_quotation: bool) -> bool | None:
    """Whether the quote at `at` ends the string value it is in, judged by what follows.

    `has_quotation`: an earlier quote was found to belong to this text. Then a comma after the quote is no proof
    (`"yes", and`): the next key, or the next item, has to follow.
    """
    start = _after_space(text, at)
    if start - at > LOOKAHEAD:
        return True
    if start == len(text):
        return None
    if text.startswith(text[at], at + 1):
        return False  # The next character is a quote, too, which may be the end.
    after = text[start]
    if not has_quotation:
        if after in ",}]":
            return True
        if after not in "\"'/":
            return False
    end, begun = (_MEMBER_END, _MEMBER_END_BEGUN) if in_object else (_ITEM_END, _ITEM_END_BEGUN)
    if end.match(text, start):
        return True
    return None if begun.match(text, start) else False


def _after_space(text: str, at: int) -> int:
    """Where the white space after the quote ends; of longer white space, where its first `LOOKAHEAD` characters end."""
    space = _SPACE.match(text, at + 1)
    return at + 1 if space is None else space.end()
