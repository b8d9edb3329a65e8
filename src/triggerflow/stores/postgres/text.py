"""Text of Python as text of PostgreSQL, which cannot hold the character NUL.

NUL is written as "\\x01" and "0", and "\\x01" as "\\x01" and "1". This keeps the order of texts, and which text begins
with which.
"""

import re
from base64 import b64encode

_SPECIAL = re.compile("[\x00\x01]")
_WRITTEN = re.compile("\x01([01])")


def write(text: str) -> str:
    """A text as it is stored."""
    if "\x00" in text or "\x01" in text:
        return _SPECIAL.sub(lambda found: "\x010" if found[0] == "\x00" else "\x011", text)
    return text


def read(stored: str) -> str:
    """The text that was stored."""
    if "\x01" in stored:
        return _WRITTEN.sub(lambda found: "\x00" if found[1] == "0" else "\x01", stored)
    return stored


def begins(text: str) -> str:
    """The pattern for LIKE that finds the texts which begin with this one."""
    return re.sub(r"([\\%_])", r"\\\1", write(text)) + "%"


def base64(data: bytes) -> str:
    """Bytes as a text in JSON."""
    return b64encode(data).decode()
