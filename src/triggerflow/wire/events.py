"""Encoding and decoding of server-sent events.

The names of the events, and their data (JSON):

* `frame` (id: its number): a `Frame`; `item` (id: its number): an `Item`;
* `changes` (id: the cursor): a `ChangesInfo`. In a stream that also has the frames of an execution, the id of each
  event is `<number of the last frame>:<cursor>`;
* `started`: the `ExecutionInfo` of the execution that the call has started; `result`: its `ResultInfo`;
* `resync` `{"after": n}`: the server does not have what the client asked for. The client reads anew all that it shows;
  the stream continues after `n`;
* `end` `{"status": s}`: the last event; do not connect again. `s` is the status of the execution, which may still run
  if only its runtime stream has ended;
* `error`: a `Problem`, and the last event. If its `again` is true, connect again (to another server, if there is one)
  with the id of the last event.

If a stream ends without `end` or `error`, the connection was lost: connect again with the id of the last event.
"""

from typing import NamedTuple

FRAME, ITEM, CHANGES, STARTED, RESULT = "frame", "item", "changes", "started", "result"
RESYNC, END, ERROR = "resync", "end", "error"

#: The content type of a stream of events.
EVENT_STREAM = "text/event-stream"
#: The default for the largest event of a decoder, in bytes.
MAX_EVENT = 64 * 1024 * 1024


class EventTooLarge(ValueError):
    """An event is larger than the limit of its decoder."""


class Event(NamedTuple):
    """One event. `id` is that of the newest event that had one, "" before the first."""

    event: str
    data: str
    id: str = ""


def encode_event(event: str, data: bytes, id: str | int | None = None) -> bytes:
    """The bytes of one event; they can be concatenated. `data` is JSON on one line. Raises `ValueError`."""
    number = b"" if id is None else b"id: %b\n" % str(id).encode()
    if b"\n" in data or b"\r" in data or number.count(b"\n") > 1 or b"\r" in number or b"\0" in number:
        raise ValueError("the data of an event is one line, and so is its id")
    return b"event: %b\n%bdata: %b\n\n" % (event.encode(), number, data)


def encode_comment(text: str = "", retry: int | None = None) -> bytes:
    """The bytes of a comment, which readers skip. `retry`: after how many milliseconds a reader should reconnect."""
    return b":%b\n%b\n" % (text.encode(), b"" if retry is None else b"retry: %d\n" % retry)


class EventDecoder:
    """Decodes a stream of events from pieces, which may end anywhere, also within a character.

    Raises `EventTooLarge` for an event, or a line, of more than `limit` bytes.
    """

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        #: the pieces of the line that has not ended yet
        self._rest: list[bytes] = []
        self._size = 0
        self._begun = False
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []
        self._id = ""
        #: after how many milliseconds to reconnect, if the server has said so
        self.retry: int | None = None

    @property
    def id(self) -> str:
        """The id of the newest event that had one."""
        return self._id

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next piece, and return the events that are complete with it. Comments give none."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        found: list[Event] = []
        for part in lines[:-1]:
            self._take(part)
            line = b"".join(self._rest)
            self._rest.clear()
            if not self._begun:
                self._begun, line = True, line.removeprefix(b"\xef\xbb\xbf")
            if not line:
                self._size = 0
                event = self._dispatch()
                if event is not None:
                    found.append(event)
            elif line.startswith(b":"):
                self._size -= len(line)
            else:
                self._field(line.decode("utf-8", "replace"))
        self._take(lines[-1])
        return found

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise EventTooLarge(f"an event of the stream has more than {self._limit} bytes")
        if part:
            self._rest.append(part)

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 10:
            self.retry = int(value)

    def _dispatch(self) -> Event | None:
        data, event = self._data, self._event or "message"
        self._data, self._event = [], ""
        return Event(event, "\n".join(data), self._id) if data else None
