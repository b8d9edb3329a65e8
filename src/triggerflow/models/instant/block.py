"""Reads one candidate for the answer, from its opening bracket on: builds its value and its events.

A pushdown automaton that never looks back. Its state is the chain of open containers (`Node`s, linked to their parents)
and what is expected next: one of the methods of `BlockReader` that take a text and a position, and return the position
up to which they consumed. If a method needs more characters to decide, it consumes nothing, and is called again with
more text.

The grammar allows more than JSON; every difference is noted as a problem (see `ProblemList`): as tolerated where the
grammar leaves one reading (comments, trailing commas, keys without quotes), as repaired where the reader judges what
the model meant (`quotes`, `scalars`), and else as refused: then the value is not certain, and the answer must not be
used. After a value that was reported, only what JSON allows there counts as its end; anything else is a refused
problem, because the value may have been read wrongly.

Text that this grammar does not allow ends the candidate if it has no events yet: then it was prose in braces. Else the
reader notes a problem and resumes at the next comma or bracket.
"""

import re
from collections.abc import Callable
from typing import Any, Literal, cast

from .errors import ProblemList, Window
from .events import DeltaEvent, Document, DoneEvent, Event, Kind, Node, TruncatedEvent
from .quotes import value_quote_closes
from .scalars import (
    AFTER_GROUPED,
    AFTER_GROUPED_BEGUN,
    GROUPED,
    GROUPED_BEGUN,
    MAX_WORD,
    SHORT_NUMBER,
    Scalar,
    read_grouped,
    read_word,
)
from .strings import StringScanner
from .thinking import ends_thinking

Status = Literal["open", "closed", "refused", "broken", "too deep"]
State = Callable[["BlockReader", str, int], int]

_VISIBLE = re.compile(r"\S")
# The usual ways on, each in one step: a comma and the next key with its colon; a comma; a scalar and its terminator.
_NEXT_MEMBER = re.compile(r'\s*,\s*(?:"([^"\\\x00-\x1f]*)"\s*:\s*)?')
_KEY = re.compile(r'\s*"([^"\\\x00-\x1f]*)"\s*:\s*')
_COMMA = re.compile(r"\s*,\s*")
_PLAIN = re.compile(
    r"(?:(true)|(false)|(null)|-?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?)(?=[\s,}\]])"
)
_LITERALS: tuple[tuple[Kind, Any], ...] = (("boolean", True), ("boolean", False), ("null", None))
# A whole string and the character that proves its end; after a digit a comma is no proof, see quotes.py.
_MEMBER_STRING = re.compile(r'"([^"\\\x00-\x1f]*)"(?:(?<!\d")\s*(?=[,}])|\s*(?=\}|,\s*["}])|\s+(?=,))')
_ITEM_STRING = re.compile(r'"([^"\\\x00-\x1f]*)"(?:(?<!\d")\s*(?=[,\]])|\s*(?=\]|,\s*["\]])|\s+(?=,))')
_TRUSTED_STRING = re.compile(r'"([^"\\\x00-\x1f]*)"')
_WORD = re.compile(r"[^\s,\"'{}\[\]/`<◁]+")
_BARE_KEY = re.compile(r"[\w$-]+")
_LINE_END = re.compile(r"[\r\n]")
_RESUME = re.compile(r"[,}\]\"`<\[◁]")
_MAX_COMMENT_SPACE = 20
_COMMENT_SPACE = re.compile(r"[ \t*]{0,20}")


class BlockReader:
    """Reads one JSON object or array.

    `expected` and `bar`: the block becomes `eligible` as an answer when more than `bar` of its top-level keys are
    expected ones; without expectations, as soon as it has a key or an item. With `bar=None` it is never eligible.
    Events are added to `events` even before that.
    """

    __slots__ = (
        "_after",
        "_after_comma",
        "_after_comment",
        "_bar",
        "_expected",
        "_key",
        "_key_quote",
        "_key_start",
        "_max_depth",
        "_muted",
        "_new_key",
        "_repeated_at",
        "_root",
        "_state",
        "_top",
        "_trust",
        "_whole_string",
        "_window",
        "around",
        "depth",
        "document",
        "eligible",
        "events",
        "has_quoted_key",
        "in_word",
        "matched",
        "problems",
        "reported",
        "status",
        "string",
    )

    def __init__(
        self,
        document: Document,
        kind: Kind,
        window: Window,
        *,
        expected: frozenset[str],
        bar: int | None,
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
        self.in_word = False
        """Whether reading stopped at a number or literal that may go on. Who reads on with more text sets it to False
        first."""
        self._window = window
        self.problems = ProblemList(window)
        self.string = StringScanner(trust_quotes, self.problems, window)
        self.depth = 0
        """The number of open brackets."""
        self.around = 0
        """The number of open brackets around the answer, if an inner object is the answer."""
        self.has_quoted_key = False
        """Whether it has looked like JSON, and not like prose in braces."""

        # The keys at the top level decide whether this block is a possible answer.
        self._expected = expected
        self._bar = bar
        self.matched: set[str] = set()

        # The state of reading: the open container, the last key, and what may come next.
        self._top: Node
        self._max_depth = max_depth
        self._trust = trust_quotes
        self._key: str | int = ""
        """The key or index of the current value, or of the last one."""
        self._new_key = ""
        """A key whose colon has not been seen yet: it may turn out to be prose."""
        self._key_quote = ""
        """The quotes around that key."""
        self._key_start = 0
        """Its offset."""
        self._muted = False
        """Whether the next value belongs to a repeated key: then it is read and compared, but not reported."""
        self._repeated_at = 0
        """The offset of that key."""
        self._after_comma = False
        """Whether the last thing that was read is a comma."""
        self._after: object = None
        """The last thing that was read, if it is a scalar or a string, and nothing but spaces has followed."""
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
            if self.in_word or (new == pos and self._state is state):
                return new  # the state needs more text, or this block has ended
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

    def _member(self, text: str, pos: int) -> int:
        """At the beginning of an object, or after a comma in it: read a key, or the bracket that ends the object."""
        whole = _KEY.match(text, pos)
        if whole is not None:
            self.has_quoted_key = True
            self._take_key(whole[1], whole.start(1) - 1)
            self._state = BlockReader._member_value
            end = whole.end()
            return self._value(text, end) if end < len(text) else end
        found = _VISIBLE.search(text, pos)
        if found is None:
            return len(text)
        pos, char = found.start(), found[0]
        if char in "\"'":
            self._key_quote = char
            self._key_start = self._window.start + pos
            self.string.begin(char, is_key=True, in_object=True)
            self._state = BlockReader._string
            return pos + 1
        if char == "}":
            if self._after_comma:
                self.problems.tolerate(pos, "a comma after the last member")
            return self._close(text, pos)
        if char == ",":
            self.problems.tolerate(pos, "a comma that separates nothing")
            self._after_comma = True
            return pos + 1
        bare = _BARE_KEY.match(text, pos)
        if bare is None:
            return self._unexpected(text, pos, f"found {char!r} where a key was expected")
        if bare.end() == len(text) and len(bare[0]) <= MAX_WORD:
            return pos
        self._new_key = bare[0]
        self._key_quote = ""
        self._key_start = self._window.start + pos
        self._state = BlockReader._colon
        return bare.end()

    def _colon(self, text: str, pos: int) -> int:
        """Read the colon after a key that was read without its colon."""
        found = _VISIBLE.search(text, pos)
        if found is None:
            return len(text)
        pos = found.start()
        if found[0] != ":":
            return self._unexpected(text, pos, f"found {found[0]!r} where a colon was expected")
        if self._key_quote != '"':
            self.problems.tolerate(pos, f"the key {self._new_key[:50]!r} is not in double quotes")
        if self._key_quote:
            self.has_quoted_key = True
        self._take_key(self._new_key, self._key_start - self._window.start)
        self._state = BlockReader._member_value
        return pos + 1

    def _member_value(self, text: str, pos: int) -> int:
        """Read the value after a colon."""
        found = _VISIBLE.search(text, pos)
        return len(text) if found is None else self._value(text, found.start())

    def _after_member(self, text: str, pos: int) -> int:
        """After a value in an object: read a comma or the bracket that ends the object."""
        whole = _NEXT_MEMBER.match(text, pos)
        if whole is not None:
            end = whole.end()
            if whole[1] is None:
                self._after_comma = True
                self._state = BlockReader._member
                return end
            self.has_quoted_key = True
            self._take_key(whole[1], whole.start(1) - 1)
            self._state = BlockReader._member_value
            return self._value(text, end) if end < len(text) else end
        pos = self._behind_space(text, pos)
        if pos == len(text):
            return pos
        char = text[pos]
        if char == "}":
            return self._close(text, pos)
        if char in "\"'":
            return self._no_comma(pos, BlockReader._member, certain=True)
        if _BARE_KEY.match(text, pos):
            return self._no_comma(pos, BlockReader._member, certain=self._after is None)
        return self._unexpected(text, pos, f"found {char!r} where a comma or '}}' was expected")

    def _item(self, text: str, pos: int) -> int:
        """At the beginning of an array, or after a comma in it: read an item, or the bracket that ends the array."""
        found = _VISIBLE.search(text, pos)
        if found is None:
            return len(text)
        pos, char = found.start(), found[0]
        if char == "]":
            if self._after_comma:
                self.problems.tolerate(pos, "a comma after the last item")
            return self._close(text, pos)
        if char == ",":
            if self._untold():
                return self._end(pos, "refused")
            self.problems.refuse(pos, "a comma without an item before it: an item may be missing")
            self._after_comma = True
            return pos + 1
        self._begin_item()
        return self._value(text, pos)

    def _after_item(self, text: str, pos: int) -> int:
        """After a value in an array: read a comma or the bracket that ends the array."""
        found = _COMMA.match(text, pos)
        if found is not None:
            self._after_comma = True
            self._state = BlockReader._item
            end = found.end()
            if end < len(text) and text[end] not in "],":
                self._begin_item()
                return self._value(text, end)
            return end
        pos = self._behind_space(text, pos)
        if pos == len(text):
            return pos
        char = text[pos]
        if char == "]":
            return self._close(text, pos)
        if char in "\"'{[":
            return self._no_comma(pos, BlockReader._item, certain=True)
        if _WORD.match(text, pos):
            return self._no_comma(pos, BlockReader._item, certain=self._after is None)
        return self._unexpected(text, pos, f"found {char!r} where a comma or ']' was expected")

    def _behind_space(self, text: str, pos: int) -> int:
        """The position of the next visible character, or the end of the text.

        After a value, a line break in between says that the value has ended, even if a comma is missing."""
        found = _VISIBLE.search(text, pos)
        end = len(text) if found is None else found.start()
        if "\n" in text[pos:end]:
            self._after = None
        return end

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
        value = string.take()
        if node is None:
            self._keep_repeated(value)
        else:
            node.value = value
            node.parts = None
            self.document.open_string = None
            self._top.value[self._key] = value
            self.events.append(DoneEvent(node))
        self._after = value
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

    def _comment(self, text: str, pos: int) -> int:
        """Read the beginning of a comment, which may say that something was left out."""
        start = _COMMENT_SPACE.match(text, pos + 2)
        begun = "" if start is None else text[start.end() : start.end() + 3]
        if len(begun) < 3 and len(text) - pos < 2 * _MAX_COMMENT_SPACE and "...".startswith(begun):
            return pos
        if begun == "..." or begun[:1] == "\u2026":
            self.problems.refuse(pos, "a comment says that something was left out")
        else:
            self.problems.tolerate(pos, "a comment")
        self._state = BlockReader._line_comment if text[pos + 1] == "/" else BlockReader._block_comment
        return pos + 2

    def _resuming(self, text: str, pos: int) -> int:
        """After text that is not JSON, skip to where a value may begin or end."""
        found = _RESUME.search(text, pos)
        if found is None:
            return len(text)
        pos = found.start()
        if found[0] == '"':
            closes = value_quote_closes(text, pos, self._top.kind == "object", True, "")
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

    # -- keys ------------------------------------------------------------------------------------------------------

    def _take_key(self, key: str, pos: int) -> None:
        self._key = key
        self._after_comma = False
        self._after = None
        if not self.eligible:
            self._match(key, pos)
        if key in self._top.value:
            if not self._muted:
                self._repeated_at = self._window.start + pos
            self._muted = True

    def _match(self, key: str, pos: int) -> None:
        """Check whether this key makes the block a possible answer."""
        root, top = self._root, self._top
        if key in self._expected:
            if top is root or (top.parent is root and root.kind == "array"):
                self.matched.add(key)
            elif not (self.matched or top.value or top.muted):
                # The inner object begins with an expected key, and the outer one has none: the inner object is the
                # answer, as in {"result": {"title": ...
                self._root = top
                self.document.value = top.value
                top.parent = top.key = None
                self.around = self.depth - 1
                self.depth = 1
                self.matched.add(key)
                self.events.clear()
                self.problems.tolerate(pos, "the answer is inside of another value")
        self.eligible = self._bar is not None and (not self._expected or len(self.matched) > self._bar)

    def _begin_item(self) -> None:
        self._key = len(self._top.value)
        self._after = None
        if not self._expected and self._bar is not None:
            self.eligible = True

    # -- values ----------------------------------------------------------------------------------------------------

    def _value(self, text: str, pos: int) -> int:
        """Read the value that begins at `pos`."""
        char = text[pos]
        if char == '"':
            whole = self._whole_string.match(text, pos)
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
            if char == "'":
                self.problems.tolerate(pos, "a string in single quotes")
                return self._open_string(pos, char)
            return self._unexpected(text, pos, f"found {char!r} where a value was expected")
        end = word.end()
        if end == len(text) and end - pos <= MAX_WORD:
            self.in_word = True
            return pos
        plain = _PLAIN.match(text, pos)
        if plain is not None and self._add_plain(text, plain):
            return end
        scalar = read_word(word[0]) if end - pos <= MAX_WORD else None
        if scalar is None:
            return self._unexpected(text, pos, f"{word[0][:40]!r} is not a value of JSON")
        if text[end] == "," and self._top.kind == "object" and SHORT_NUMBER.fullmatch(word[0]):
            # `1,` may be the beginning of `1,000`.
            if end + 1 == len(text):
                return pos
            if text[end + 1].isdigit():
                return self._grouped(text, pos)
        elif text[end] in "\"'{[":
            return self._unexpected(text, pos, f"text follows {word[0][:40]!r} directly")
        self._add_scalar(scalar, pos)
        return end

    def _grouped(self, text: str, pos: int) -> int:
        """Read a number that has a comma before its next digits."""
        whole = GROUPED.match(text, pos)
        if GROUPED_BEGUN.match(text, pos) and len(text) - pos <= MAX_WORD:
            return pos
        if whole is not None:
            if AFTER_GROUPED_BEGUN.match(text, whole.end()) and len(text) - pos <= MAX_WORD:
                return pos
            if AFTER_GROUPED.match(text, whole.end()):
                self._add_scalar(read_grouped(whole[0]), pos)
                return whole.end()
        return self._skip(pos, "a comma between digits", 0)

    def _add(self, kind: Kind, value: Any) -> Node:
        """Put a value, or an empty one that grows, into the open container; return its node."""
        top = self._top
        if top.kind == "array":
            top.value.append(value)
        else:
            top.value[self._key] = value
        return Node(self.document, top, self._key, kind, value)

    def _keep_repeated(self, value: Any) -> None:
        """Keep a value inside of the value of a repeated key; compare that value itself with the first one."""
        top = self._top
        if top.muted:
            if top.kind == "array":
                top.value.append(value)
            else:
                top.value[self._key] = value
        elif not same(top.value[self._key], value):
            at = self._repeated_at - self._window.start
            self.problems.refuse(at, f"the key {str(self._key)[:50]!r} is repeated with another value")

    def _add_plain(self, text: str, plain: re.Match[str]) -> bool:
        """Add a number or literal of JSON, unless what follows has to be read with it."""
        group = plain.lastindex
        kind: Kind = "number"
        value: Any
        if self._muted:
            return False
        if group is None:
            end = plain.end()
            if text[end] == "," and end - plain.start() <= 4 and self._top.kind == "object":
                return False  # it may be the beginning of `1,000`
            value = int(plain[0])
        elif group > 3:
            value = float(plain[0])
        else:
            kind, value = _LITERALS[group - 1]
        self.events.append(DoneEvent(self._add(kind, value)))
        self._after = plain
        self._expect_next()
        return True

    def _add_scalar(self, scalar: Scalar, pos: int) -> None:
        if scalar.guess:
            self.problems.repair(pos, scalar.guess)
        elif scalar.toleration:
            self.problems.tolerate(pos, scalar.toleration)
        if self._muted:
            self._keep_repeated(scalar.value)
        else:
            self.events.append(DoneEvent(self._add(scalar.kind, scalar.value)))
        self._after = scalar
        self._expect_next()

    def _add_string(self, value: str) -> None:
        if self._muted:
            self._keep_repeated(value)
        else:
            node = self._add("string", value)
            if value:
                node.size = len(value)
                self.events.append(DeltaEvent(node, value, node.size))
            self.events.append(DoneEvent(node))
        self._after = value
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
        if self.depth == self._max_depth:
            self.problems.refuse(pos, f"brackets nest deeper than {self._max_depth}: reading stops here")
            return self._end(pos, "too deep")
        self._push(Node(self.document, self._top, self._key, kind, value) if self._muted else self._add(kind, value))
        return pos + 1

    def _push(self, node: Node) -> None:
        node.muted = self._muted
        self._top = node
        self.depth += 1
        self._after_comma = False
        self._after = None
        self._enter(node)
        self._state = BlockReader._item if node.kind == "array" else BlockReader._member

    def _enter(self, node: Node) -> None:
        """Make this container the open one."""
        self._top = node
        self._muted = node.muted
        if self._trust:
            self._whole_string = _TRUSTED_STRING
        else:
            self._whole_string = _ITEM_STRING if node.kind == "array" else _MEMBER_STRING

    def _expect_next(self) -> None:
        """Expect what may follow a value."""
        top = self._top
        self._muted = top.muted
        self._state = BlockReader._after_item if top.kind == "array" else BlockReader._after_member

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
            self.problems.refuse(pos, f"{text[pos]!r} leaves inner brackets open")
            while self._top is not outer:
                self._pop(TruncatedEvent(self._top))
        self._pop(DoneEvent(self._top))
        return pos + 1

    def _pop(self, event: Event) -> None:
        node = self._top
        if not node.muted:
            self.events.append(event)
        self.depth -= 1
        if node.parent is None:
            self.document.complete = True
            self._end(0, "closed")
            return
        self._enter(node.parent)
        self._after = None
        if node.muted:
            self._key = node.key if node.key is not None else ""
            self._keep_repeated(node.value)
        self._expect_next()

    # -- what is not JSON ------------------------------------------------------------------------------------------

    def _no_comma(self, pos: int, state: State, *, certain: bool) -> int:
        """Text where a comma was expected. `certain`: it begins a value or key, and cannot belong to what is before."""
        if self._trust or not certain:
            if self._untold():
                return self._end(pos, "refused")
            self.problems.refuse(pos, "text follows a complete value without a comma")
        else:
            self.problems.tolerate(pos, "there is no comma before this")
        self._after = None
        self._state = state
        return pos

    def _unexpected(self, text: str, pos: int, message: str) -> int:
        """Handle text at `pos` that is not expected: skip a comment, stop at the end of the block, or note the problem
        `message`."""
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
                self._state = BlockReader._comment
                return pos
        elif char == "`":
            return self._break_off(pos, "the code block ends before its JSON does")
        elif char in "}]" and self._state is not BlockReader._member_value and self._state is not BlockReader._colon:
            return self._close(text, pos)
        return self._skip(pos, message, 0)

    def _skip(self, pos: int, message: str, length: int) -> int:
        """Skip text that is not JSON. If the block has no events yet, refuse the whole block as prose instead."""
        if self._untold():
            return self._end(pos, "refused")
        self.problems.refuse(pos, message)
        self._state = BlockReader._resuming
        return pos + length

    def _break_off(self, pos: int, message: str) -> int:
        if self._untold():
            return self._end(pos, "refused")
        self.problems.refuse(pos, message)
        return self._end(pos, "broken")

    def _untold(self) -> bool:
        return not self.eligible or not (self.reported or self.events)

    def _end(self, pos: int, status: Status) -> int:
        self.status = status
        self._state = BlockReader._ended
        return pos


def same(first: Any, second: Any) -> bool:
    """Whether two values of JSON are equal, in type as well; the order of keys does not count."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        parts = cast("dict[str, Any]", first)
        return parts.keys() == second.keys() and all(same(part, second[key]) for key, part in parts.items())
    if isinstance(first, list):
        items = cast("list[Any]", first)
        return len(items) == len(second) and all(map(same, items, second))
    return first == second
