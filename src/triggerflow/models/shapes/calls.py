"""`CallNumbers`: which pieces of tool calls belong together.

Providers count calls in many ways: one index for each call; the index 0 for all, with other ids; an index that begins
again in each chunk; no index at all. Ids come in the first piece, in every piece, never, or anew in every piece; some
servers repeat the name. These rules keep two calls apart under all of these habits, and one call together:

1. A piece that is a whole call (`done` with a name) is a call of its own.
2. A piece belongs to the call with its id, or its index; without both, to the latest call.
3. It begins a new call if there is none, or if it has another name; and if that call's arguments are a complete JSON
   value already and the piece brings more. `{}` before the real arguments is nothing: it is held back until the call
   is done.

A call is done when its provider says so, when the next call begins, or when the answer ends normally, whichever is
first. At the first two its arguments must be complete JSON as well: Anthropic closes a block that the token limit has
cut like any other, and some servers announce all calls before they write the first.
"""

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from .delta import ToolCallDelta
from .fields import text_of

_TOKEN = re.compile(r'[{}\[\]"]|\\.', re.DOTALL)


class _Call:
    """A call so far. Its arguments are kept as they came, and each piece is looked at once: to join them each time
    would take quadratic time."""

    __slots__ = (
        "depth",
        "done",
        "first",
        "held",
        "id",
        "in_string",
        "index",
        "last",
        "name",
        "number",
        "pieces",
        "rest",
        "waiting",
    )

    def __init__(self, number: int, index: int) -> None:
        self.number = number
        self.index = index
        self.id: str | None = None
        self.name: str | None = None
        self.pieces: list[str] = []
        self.first = self.last = ""
        """The first and the last visible character of the arguments."""
        self.held = False
        """Whether the arguments are `{}` so far, which some servers send before they begin the real ones."""
        self.done = False
        self.waiting: str | None = None
        """A name that was repeated after the arguments were complete: that of a new call, if arguments follow."""
        self.rest: list[str] = []
        """The pieces that were not looked at yet."""
        self.depth = 0
        self.in_string = False

    @property
    def text(self) -> str:
        """The arguments."""
        return "{}" if self.held else "".join(self.pieces).strip()

    def add(self, arguments: str) -> None:
        """Add a piece of the arguments."""
        self.held = False
        self.pieces.append(arguments)
        self.rest.append(arguments)
        visible = arguments.strip()
        self.first = self.first or visible[:1]
        self.last = visible[-1:] or self.last

    def is_complete(self) -> bool:
        """Whether the arguments are a complete JSON object: as many brackets are closed as were opened."""
        if self.held:
            return True
        if self.last != "}" or self.first != "{":
            return False
        text = "".join(self.rest)
        # A backslash belongs to the character after it, which may come later.
        left = len(text) - len(text.rstrip("\\"))
        end = len(text) - left % 2
        for token in _TOKEN.finditer(text, 0, end):
            mark = token[0]
            if mark == '"':
                self.in_string = not self.in_string
            elif not self.in_string and len(mark) == 1:
                self.depth += 1 if mark in "{[" else -1
        self.rest = [text[end:]]
        return self.depth <= 0 and not self.in_string


class CallNumbers:
    """Gives each tool call of an answer a number, from 0, and marks its last piece."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    @property
    def any(self) -> bool:
        """Whether there is a call."""
        return bool(self._calls)

    def number(self, pieces: Sequence[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
        """The pieces with the numbers of their calls as index, and pieces that mark the calls that are done."""
        numbered: list[ToolCallDelta] = []
        for said in pieces:
            id: Any = said.id  # some servers count, with a number
            piece = replace(said, id=str(id) if id else None, name=text_of(said.name) or None)
            call = self._call_of(piece)
            if call is None:
                numbered.extend(self._end(call) for call in self._calls if not call.done and call.is_complete())
                call = _Call(len(self._calls), piece.index)
                latest = self._calls[-1] if self._calls else None
                if latest is not None and not piece.name:
                    piece = replace(piece, name=latest.waiting)
                self._calls.append(call)
            added = self._add(call, piece)
            if added is not None:
                numbered.append(added)
        return tuple(numbered)

    def end(self) -> tuple[ToolCallDelta, ...]:
        """The pieces that mark all open calls as done: the answer has ended normally."""
        return tuple(self._end(call) for call in self._calls if not call.done)

    def _call_of(self, piece: ToolCallDelta) -> _Call | None:
        """The call that a piece continues; None if it begins one."""
        if piece.done and piece.name:
            return None
        call = self._addressed(piece)
        if call is None or (piece.name and call.name and piece.name != call.name and not self._is_rest(call, piece)):
            return None
        more = piece.arguments.lstrip().startswith("{") and not self._repeats(call, piece)
        if more and call.held and not (piece.name or call.waiting):
            return call
        return None if more and call.is_complete() else call

    def _addressed(self, piece: ToolCallDelta) -> _Call | None:
        """The call that has the id or the index of a piece, or the latest one if the piece has neither."""
        latest_first = self._calls[::-1]
        by_id = next((call for call in latest_first if piece.id and call.id == piece.id), None)
        if by_id is not None:
            return by_id
        by_index = next((call for call in latest_first if call.index == piece.index >= 0), None)
        call = by_index
        if call is None and latest_first and not (piece.name and piece.index >= 0):
            call = latest_first[0]
        # Another id begins another call, but only with a name: some servers make a new id for every piece.
        return None if call and piece.id and piece.name and call.id else call

    @staticmethod
    def _is_rest(call: _Call, piece: ToolCallDelta) -> bool:
        """Whether a name is the rest of the call's name. Then only the first piece has the id, as with OpenAI."""
        return bool(call.id and not piece.id and call.index == piece.index >= 0 and not call.last)

    @staticmethod
    def _repeats(call: _Call, piece: ToolCallDelta) -> bool:
        """Whether the arguments of a piece are those that the call has already, sent once more as a whole."""
        given = piece.arguments.strip()
        may = given[:1] == "{" and (not piece.id or piece.id == call.id)
        return may and call.is_complete() and given == call.text

    def _add(self, call: _Call, piece: ToolCallDelta) -> ToolCallDelta | None:
        """Add a piece to a call; return it as it is shown, or None if it says nothing new."""
        arguments = "" if self._repeats(call, piece) else piece.arguments
        name = piece.name or None
        if name and name == call.name:
            call.waiting = name if call.is_complete() else None
            name = None
        if name:
            call.name = (call.name or "") + name
        call.id = call.id or piece.id or None
        id = piece.id if piece.id and call.id == piece.id else None
        if arguments.strip() == "{}" and not call.last and not piece.done:
            call.held, arguments = True, ""
        if arguments:
            call.add(arguments)
        done = False
        if piece.done and not call.done and (piece.name or call.is_complete()):
            call.done = done = True
            arguments = arguments if call.last else "{}"
        if not (arguments or name or id or done):
            return None
        return ToolCallDelta(call.number, arguments, id, name, done)

    @staticmethod
    def _end(call: _Call) -> ToolCallDelta:
        call.done = True
        # A call without arguments may come without a text for them. Then its arguments are an empty object.
        return ToolCallDelta(call.number, "" if call.last else "{}", done=True)
