"""What a backslash and the characters after it mean."""

import re
from typing import Literal

Sort = Literal["json", "kept", "decoded", "quote", "half", "uncertain"]
"""How an escape was read: as JSON says; kept as written, because JSON does not know it and models write patterns and
formulas unescaped; decoded as other languages do; a quote; half of a surrogate pair; or in no way that is certain."""

JSON_ESCAPES = {"\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
"""What the letters (and the backslash) of JSON mean after a backslash."""
_OTHERS: dict[str, tuple[str, Sort]] = {'"': ('"', "quote"), "/": ("/", "json"), "'": ("'", "decoded")}
MARKDOWN = frozenset("_*#-~>!@`[]' ")
"""Characters before which models write a backslash out of habit. It says nothing about other backslashes."""
HALF = r"half of a character: \ud800 to \udfff are surrogates, which stand for a character only as a pair"
CODE = re.compile(r"u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]|[dD][0-7])[0-9a-fA-F]{2}")
"""The escape of a character by its number, without the backslash; not half of a surrogate pair."""
CODE_BEGUN = re.compile(r"(?:u[0-9a-fA-F]{0,3})?\Z")
"""The beginning of such an escape, or nothing yet."""
_HALF = re.compile(r"[dD][89a-fA-F][0-9a-fA-F]{2}")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_LOW_SURROGATE_BEGUN = re.compile(r"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
# Escapes of Python and JavaScript with hexadecimal digits.
_FOREIGN = re.compile(r"x([0-9a-fA-F]{2})|U(0010[0-9a-fA-F]{4}|000[0-9a-fA-F]{5})|u\{([0-9a-fA-F]{1,5})\}")
_FOREIGN_BEGUN = re.compile(r"(?:x[0-9a-fA-F]?|U[0-9a-fA-F]{0,7}|u(?:\{[0-9a-fA-F]{0,5})?)\Z")


def unescape(text: str, at: int) -> tuple[str, int, Sort] | None:
    """Decode an escape other than `JSON_ESCAPES` and `CODE`; its backslash is at `at`.

    Returns its meaning, the position after it, and how it was read.
    Surrogate pairs are joined. Half a pair becomes U+FFFD, so that every string that leaves the parser can be encoded.
    None if the characters that decide have not arrived yet.
    """
    char = text[at + 1]
    if char == "u":
        half = _HALF.match(text, at + 2)
        if half is not None:
            return _pair(text, int(half[0], 16), at + 6)
    simple = _OTHERS.get(char)
    if simple is not None:
        return simple[0], at + 2, simple[1]
    if char in "xUu":
        if _FOREIGN_BEGUN.match(text, at + 1):
            return None
        foreign = _FOREIGN.match(text, at + 1)
        code = None if foreign is None else int(foreign[1] or foreign[2] or foreign[3], 16)
        if foreign is not None and code is not None and not 0xD800 <= code < 0xE000:
            return chr(code), foreign.end(), "decoded"
        if char == "u" and text[at + 2] in "0123456789abcdefABCDEF{":
            return "\\", at + 1, "uncertain"  # digits of a character are missing
    return "\\", at + 1, "uncertain" if char.isdigit() or char in "\r\n" else "kept"


def _pair(text: str, code: int, end: int) -> tuple[str, int, Sort] | None:
    """Decode the half of a surrogate pair that ends at `end`, and the other half behind it."""
    if code < 0xDC00:
        low = _LOW_SURROGATE.match(text, end)
        if low is not None:
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00), end + 6, "json"
        if _LOW_SURROGATE_BEGUN.match(text, end):
            return None
    return "\ufffd", end, "half"
