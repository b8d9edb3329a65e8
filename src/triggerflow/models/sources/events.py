"""`EventFilter`: the bytes of an event stream without the events that only keep the connection alive.

Servers and proxies send such events in many forms, and the SDKs take each for a chunk of the answer, or for JSON that
is broken. By the rules of event streams an event without data is none at all.
"""

import re

from ..shapes import LIFE

_EVENT_END = re.compile(rb"\r?\n\r?\n|\r\r")
_LONGEST = 1_000
"""In bytes. A longer event keeps nothing alive, and is passed on as it comes."""
_NOTHING = (b"", b"{}", b"[]", b"null")


class EventFilter:
    """Takes the bytes of a stream in pieces of any size; events are passed on as a whole."""

    def __init__(self) -> None:
        self.passed = False
        """Whether an event was passed on."""
        self.done = False
        """Whether the server has said that this was all (`data: [DONE]`)."""
        self._held = b""
        self._is_long = False
        """Whether the beginning of this event was passed on already."""

    def take(self, piece: bytes) -> bytes:
        """What of the stream may be read after this piece; it may be empty."""
        text = self._held + piece
        parts: list[bytes] = []
        at = 0
        for found in _EVENT_END.finditer(text):
            event = text[at : found.end()]
            at = found.end()
            if self._is_long or not self._says_nothing(event):
                parts.append(event)
            self._is_long = False
        self._held = text[at:]
        if len(self._held) > _LONGEST:
            parts.append(self._held[:-3])
            self._held = self._held[-3:]  # the line end may be cut
            self._is_long = True
        self.passed = self.passed or bool(parts)
        return b"".join(parts)

    def end(self) -> bytes:
        """Return the last event if the stream ended before the blank line that closes it."""
        rest = b"" if not self._is_long and self._says_nothing(self._held) else self._held
        self.passed = self.passed or bool(rest)
        return rest

    def _says_nothing(self, event: bytes) -> bool:
        if event.startswith(b'data: {"'):
            return False
        name = data = b""
        for line in event.splitlines():
            field, _, value = line.partition(b":")
            if field == b"data":
                data += value.strip()
            elif field == b"event":
                name = value
        if data == b"[DONE]":
            self.done = True
            return False
        return data in _NOTHING or _word(name) in LIFE or _word(data) in LIFE


def _word(text: bytes) -> str:
    return text[:50].decode("utf-8", "replace").strip(' []"').lower()
