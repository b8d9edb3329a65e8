"""Characters that a server has cut in two, and bytes that are no UTF-8.

Programs that count in UTF-16, such as proxies in JavaScript, cut text between the two halves of a character beyond
U+FFFF. JSON keeps such halves, but no text with one can be stored or sent. A byte that is no UTF-8 is decoded to the
half of a character (`surrogateescape`), so that it is treated alike.
"""

import re

_HALF = re.compile("[\ud800-\udfff]")


class Halves:
    """Joins the halves of characters in a text that comes in pieces."""

    def __init__(self) -> None:
        self.lost = False
        """Whether the last piece had a half without the other one."""
        self._held: str = ""
        """The first half of a character whose second half has not come yet."""

    def joined(self, text: str) -> str:
        """The piece with whole characters. A first half at its end is kept back for the next piece; a half without the
        other one becomes U+FFFD."""
        self.lost = False
        if not self._held and (text.isascii() or _HALF.search(text) is None):
            return text
        if not text:
            return ""
        text = self._held + text
        self._held = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        whole = text[: len(text) - len(self._held)]
        joined = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        self.lost = joined.count("\ufffd") > whole.count("\ufffd")
        return joined

    def rest(self) -> str:
        """What is left at the end: U+FFFD for a first half."""
        self.lost = bool(self._held)
        return "\ufffd" if self._held else ""
