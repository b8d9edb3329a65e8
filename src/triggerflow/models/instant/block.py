"""Reads one candidate for the answer, from its opening bracket on: builds its value and its events.

A pushdown automaton that never looks back. Its state is the chain of open containers (`Node`s, linked to their parents)
and what is expected next: one of the methods of `BlockReader` that take a text and a position, and return the position
up to which they consumed. If a method needs more characters to decide, it consumes nothing, and is called again with
more text.

The grammar allows more than JSON; nothing is repaired. Commas count as white space, so that missing and trailing commas
need no rule; comments are skipped; keys may be unquoted. No value is closed by a guess: a value is complete at its own
bracket, quote or terminator.

Text that this grammar does not allow ends the candidate if it has no events yet: then it was prose in braces. Else the
reader notes a problem and resumes at the next comma or bracket. If the model has not escaped a quote, that quote may
have ended a string too early; resuming then skips the rest of that string.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

from .errors import ProblemList
from .events import DeltaEvent, Document, DoneEvent, Event, Kind, Node, TruncatedEvent
from .lexical import MAX_WORD, read_word, value_quote_closes
from .strings import StringScanner
from .thinking import ends_thinking

Status = Literal["open", "closed", "refused", "broken", "too deep"]
State = Callable[["BlockReader", str, int], int]

_VISIBLE = re.compile(r"\S")
_BEHIND_COMMAS = re.compile(r"[^\s,]")
_KEY = re.compile(r'"([^"\\\n]*)"\s*:')
# A whole string whose closing quote is certain to be its end; strings.py says when a quote is doubted.
_STRING = re.compile(r'"([^"\\]*[^"\\\s(\[{=])"')
_WORD = re.compile(r"[\w.+-]+")
_BARE_KEY = re.compile(r"[\w$-]+")
_LINE_END = re.compile(r"[\r\n]")
_RESUME = re.compile(r"[,}\]\"`<\[◁]")


class BlockReader:
    """Reads one JSON object or array.

    `expected` and `bar`: the block becomes `eligible` as an answer when more than `bar` of its top-level keys are
    expected ones; without expectations, as soon as it has a key or an item. Events are added to `events` even before
    that.
    """

    def __init__(
        self,
        document: Document,
        kind: Kind,
        problems: ProblemList,
        *,
        expected: frozenset[str],
        bar: int,
        max_depth: int,
        trust_quotes: bool,
    ) -> None:
        self.document = document
        self.status: Status = "open"
        self.events: list[Event] = []
        self.reported = False
        """Whether the parser has returned events of this block; then it must not drop the block without a reset
        event."""
        self.eligible = False
        self.string = StringScanner(trust_quotes)
        self._problems = problems

        # The keys at the top level decide whether this block is a possible answer.
        self._expected = expected
        self._bar = bar
        self._matched: set[str] = set()

        # The state of reading: the open container, its depth, the last key, and what may come next.
        self._top: Node
        self._max_depth = max_depth
        self._depth = 0
        self._key: str | int = ""
        """The key or index of the current value, or of the last one."""
        self._new_key = ""
        """A key whose colon has not been seen yet: it may turn out to be prose."""
        self._muted = False
        """Whether the next value belongs to a repeated key: then it is read, but not reported."""
        self._state: State
        self._after_comment: State

        self._root = Node(document, None, None, kind, {} if kind == "object" else [])
        document.value = self._root.value
        self._push(self._root)

    def read(self, text: str, pos: int) -> int:
        """Read the text from `pos` on, as far as it can be decided; return the position where reading stopped."""
        end = len(text)
        while pos < end:
            state = self._state
            new = state(self, text, pos)
            if new == pos and self._state is state:
                break  # the state needs more text, or this block has ended
            pos = new
        return pos

    def truncate(self) -> list[Event]:
        """Return a truncated event for each value that is still open, innermost first."""
        events: list[Event] = []
        node = self.string.node
        if node is not None:
            node.value = self._top.value[self._key] = node.text()
            events.append(TruncatedEvent(node))
        container: Node | None = self._top
        while container is not None:
            if not container.muted:
                events.append(TruncatedEvent(container))
            container = container.parent
        return events

    # -- states: what is expected at `pos` -------------------------------------------------------------------------

    def _member_key(self, text: str, pos: int) -> int:
        """Read a key of an object, or the bracket that ends the object."""
        found = _BEHIND_COMMAS.search(text, pos)
        if found is None:
            return len(text)
        pos, char = found.start(), found[0]
        whole = _KEY.match(text, pos)
        if whole is not None:
            self._take_key(whole[1], whole.end() - 1)
            self._state = BlockReader._member_value
            return whole.end()
        if char in "\"'":
            self.string.begin(char, is_key=True, in_object=True)
            self._state = BlockReader._string
            return pos + 1
        if char == "}":
            return self._close(text, pos)
        bare = _BARE_KEY.match(text, pos)
        if bare is None:
            return self._unexpected(text, pos, "a key")
        if bare.end() == len(text) and len(bare[0]) <= MAX_WORD:
            return pos
        self._new_key = bare[0]
        self._state = BlockReader._colon
        return bare.end()

    def _colon(self, text: str, pos: int) -> int:
        """Read the colon after a key that was read without its colon."""
        found = _VISIBLE.search(text, pos)
        if found is None:
            return len(text)
        pos = found.start()
        if found[0] != ":":
            return self._unexpected(text, pos, "a colon")
        self._take_key(self._new_key, pos)
        self._state = BlockReader._member_value
        return pos + 1

    def _member_value(self, text: str, pos: int) -> int:
        """Read the value after a colon."""
        found = _VISIBLE.search(text, pos)
        return len(text) if found is None else self._value(text, found.start())

    def _item(self, text: str, pos: int) -> int:
        """Read an item of an array, or the bracket that ends the array."""
        found = _BEHIND_COMMAS.search(text, pos)
        if found is None:
            return len(text)
        pos = found.start()
        if found[0] == "]":
            return self._close(text, pos)
        self._key = len(self._top.value)
        if not self._expected:
            self.eligible = True
        return self._value(text, pos)

    def _string(self, text: str, pos: int) -> int:
        """Read on inside a key or a string value."""
        string = self.string
        gained, pos = string.scan(text, pos)
        node = string.node
        if gained and node is not None:
            node.size += len(gained)
            self.events.append(DeltaEvent(node, gained, node.size))
        if not string.closed:
            return pos
        string.node = None
        if string.is_key:
            self._new_key = string.take()
            self._state = BlockReader._colon
            return pos
        if node is not None:
            value = string.take()
            node.value = value
            node.parts = None
            self.document.open_string = None
            self._top.value[self._key] = value
            self.events.append(DoneEvent(node))
        self._expect_next()
        return pos

    def _line_comment(self, text: str, pos: int) -> int:
        end = _LINE_END.search(text, pos)
        if end is None:
            return len(text)
        self._state = self._after_comment
        return end.end()

    def _block_comment(self, text: str, pos: int) -> int:
        end = text.find("*/", pos)
        if end < 0:
            return len(text) - text.endswith("*")
        self._state = self._after_comment
        return end + 2

    def _resuming(self, text: str, pos: int) -> int:
        """After text that is not JSON, skip to where a value may begin or end."""
        found = _RESUME.search(text, pos)
        if found is None:
            return len(text)
        pos = found.start()
        if found[0] == '"':
            closes = value_quote_closes(text, pos, self._top.kind == "object", True)
            if closes is None:
                return pos
            if closes:
                self._expect_next()
            return pos + 1
        if found[0] in "<[◁":
            ends = ends_thinking(text, pos)
            if not ends:
                return pos if ends is None else pos + 1
        self._expect_next()
        return pos

    def _ended(self, text: str, pos: int) -> int:
        return pos

    # -- values ----------------------------------------------------------------------------------------------------

    def _take_key(self, key: str, pos: int) -> None:
        self._key = key
        if not self.eligible:
            self._match(key)
        if key in self._top.value:
            self._muted = True
            self._problems.note(pos, f"the key {key[:50]!r} is repeated: its first value is kept")

    def _match(self, key: str) -> None:
        """Check whether this key makes the block a possible answer."""
        root, top = self._root, self._top
        if key in self._expected:
            if top is root or (top.parent is root and root.kind == "array"):
                self._matched.add(key)
            elif not (self._matched or top.value or top.muted):
                # The inner object begins with an expected key, and the outer one has none: the inner object is the
                # answer, as in {"result": {"title": ...
                self._root = top
                self.document.value = top.value
                top.parent = top.key = None
                self._depth = 1
                self._matched.add(key)
                self.events.clear()
        self.eligible = not self._expected or len(self._matched) > self._bar

    def _value(self, text: str, pos: int) -> int:
        """Read the value that begins at `pos`."""
        char = text[pos]
        if char == '"':
            whole = _STRING.match(text, pos)
            if whole is None:
                return self._open_string(pos, char)
            self._add_string(whole[1])
            return whole.end()
        if char == "{":
            return self._open(pos, "object", {})
        if char == "[":
            return self._open(pos, "array", [])
        word = _WORD.match(text, pos)
        if word is None:
            return self._open_string(pos, char) if char == "'" else self._unexpected(text, pos, "a value")
        end = word.end()
        if end == len(text) and end - pos <= MAX_WORD:
            return pos
        scalar = read_word(word[0])
        if scalar is None:
            return self._unexpected(text, pos, "a value")
        if not self._muted:
            node = self._add(*scalar)
            self.events.append(DoneEvent(node))
        self._expect_next()
        return end

    def _add(self, kind: Kind, value: Any) -> Node:
        """Put a value, or an empty one that grows, into the open container; return its node."""
        top = self._top
        if top.kind == "array":
            top.value.append(value)
        else:
            top.value[self._key] = value
        return Node(self.document, top, self._key, kind, value)

    def _add_string(self, value: str) -> None:
        if not self._muted:
            node = self._add("string", value)
            node.size = len(value)
            self.events.append(DeltaEvent(node, value, node.size))
            self.events.append(DoneEvent(node))
        self._expect_next()

    def _open_string(self, pos: int, quote: str) -> int:
        node: Node | None = None
        self.string.begin(quote, is_key=False, in_object=self._top.kind == "object")
        if not self._muted:
            node = self._add("string", "")
            node.parts = self.string.parts
            self.document.open_string = (self._top.value, self._key, node.parts)
        self.string.node = node
        self._state = BlockReader._string
        return pos + 1

    def _open(self, pos: int, kind: Kind, value: Any) -> int:
        if self._depth == self._max_depth:
            self._problems.note(pos, f"brackets nest deeper than {self._max_depth}: reading stops here")
            return self._end(pos, "too deep")
        self._push(Node(self.document, self._top, self._key, kind, value) if self._muted else self._add(kind, value))
        return pos + 1

    def _push(self, node: Node) -> None:
        node.muted = self._muted
        self._top = node
        self._depth += 1
        self._expect_next()

    def _expect_next(self) -> None:
        """Expect what may follow a value, or begin a new container."""
        top = self._top
        self._muted = top.muted
        self._state = BlockReader._item if top.kind == "array" else BlockReader._member_key

    def _close(self, text: str, pos: int) -> int:
        """Read a closing bracket: of the innermost container, or of an outer one if the model left inner ones open."""
        kind = "object" if text[pos] == "}" else "array"
        if self._top.kind != kind:
            if self._untold():
                return self._end(pos, "refused")
            outer = self._top.parent
            while outer is not None and outer.kind != kind:
                outer = outer.parent
            if outer is None:
                return self._skip(pos, f"{text[pos]!r} without an opening bracket", 1)
            self._problems.note(pos, f"{text[pos]!r} leaves inner brackets open")
            while self._top is not outer:
                self._pop(TruncatedEvent(self._top))
        self._pop(DoneEvent(self._top))
        return pos + 1

    def _pop(self, event: Event) -> None:
        node = self._top
        if not node.muted:
            self.events.append(event)
        self._depth -= 1
        if node.parent is None:
            self.document.complete = True
            self._end(0, "closed")
        else:
            self._top = node.parent
            self._expect_next()

    # -- what is not JSON ------------------------------------------------------------------------------------------

    def _unexpected(self, text: str, pos: int, wanted: str) -> int:
        """Handle text at `pos` that is not the expected `wanted`: skip a comment, stop at the end of the block, or stop
        because the text is not JSON."""
        char = text[pos]
        behind_bracket = self._top.kind == "array" and not self._top.value
        ends = ends_thinking(text, pos, behind_bracket=behind_bracket)
        if ends:
            return self._break_off(pos, "thinking ends inside of JSON")
        if ends is None:
            return pos
        if char == "/":
            if pos + 1 == len(text):
                return pos
            if text[pos + 1] in "/*":
                self._after_comment = self._state
                self._state = BlockReader._line_comment if text[pos + 1] == "/" else BlockReader._block_comment
                return pos + 2
        elif char == "`":
            return self._break_off(pos, "the code block ends before its JSON does")
        elif char in "}]" and self._state is not BlockReader._member_value and self._state is not BlockReader._colon:
            return self._close(text, pos)
        return self._skip(pos, f"found {char!r} where {wanted} was expected", 0)

    def _skip(self, pos: int, message: str, length: int) -> int:
        """Skip text that is not JSON. If the block has no events yet, refuse the whole block as prose instead."""
        if self._untold():
            return self._end(pos, "refused")
        self._problems.note(pos, message)
        self._state = BlockReader._resuming
        return pos + length

    def _break_off(self, pos: int, message: str) -> int:
        if self._untold():
            return self._end(pos, "refused")
        self._problems.note(pos, message)
        return self._end(pos, "broken")

    def _untold(self) -> bool:
        return not self.eligible or not (self.reported or self.events)

    def _end(self, pos: int, status: Status) -> int:
        self.status = status
        self._state = BlockReader._ended
        return pos
