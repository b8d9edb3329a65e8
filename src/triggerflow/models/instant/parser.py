"""The incremental parser: takes text in pieces of any size, and returns each event as soon as the text allows it.

The cost is linear in the text, and the cost of a delta does not depend on what came before it. Each character is
looked at a constant number of times, most of them inside a regular expression; only the few that could not be decided
(`_rest`, of bounded length) are read again with the next delta. Where the text is cut makes no difference to values.

A response is prose, thinking and code fences with an answer somewhere in between. So the parser *seeks*: each bracket
opens a candidate, read by a `BlockReader`. If a candidate turns out not to be JSON before it has an event, it is
dropped, and the parser seeks on from there. The events of a candidate are held until it is eligible, so that a reset is
seldom needed. If a later candidate replaces an answer that was reported already, a reset event comes before its events.
That happens

- after a mark that ends thinking without one that begins it (`</think>`): the text before it was thinking;
- after a block that broke off, because its code fence ended before its last bracket;
- with `expect_keys`, when a later block has more of the keys.

What stands around the answer can show that it is not the answer, or not the whole of it: another answer behind it, a
bracket or comma that continues it, a JSON around it that could not be read. That is a problem of the answer.
"""

import codecs
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

from ..paths import PathStyle
from .block import BlockReader, same
from .errors import ParserFinishedError, Problem, ProblemList, Window
from .events import DeltaEvent, Document, Event, Node, ResetEvent
from .scalars import MAX_WORD
from .thinking import Thought, before_mark, mark_of, marks_or, may_begin_mark

_CANDIDATES = {None: marks_or(r"\{|\["), "object": marks_or(r"\{"), "array": marks_or(r"\[")}
_BRACKETS = marks_or(r"\{|\[|\}|\]")
_AFTER_ANSWER = marks_or(r"\{|\[|\}|\]|\"")
_VISIBLE = re.compile(r"\S")
_KEY_AHEAD = re.compile(r'"([^"\n]{1,256})"\s{0,256}:')
_KEY_AHEAD_BEGUN = re.compile(r'"[^"\n]{0,256}(?:"\s{0,256})?\Z')
_LONGEST_WRAPPER = 512
"""In characters: so long may the beginning of the object around the answer be."""
_COMPARED = 1_000
"""With so many objects of a list an object after it is compared."""
_NO_UTF_8 = re.compile("[\udc80-\udcff]")
"""The characters with which the decoder marks bytes that are no UTF-8."""
_NOTHING = re.compile(r"(?!)")


class InstantParser:
    """Turns one response into events while it arrives.

    `root`: "object" or "array" when the answer is known to be one; then brackets of the other kind are prose.
    `expect_keys`: keys of the root object, or of the objects in a root array; the answer is the first block that has
    one of them. Blocks without these keys are ignored; if an object only wraps the answer, the inner object is the
    answer; a later block that has more of the keys replaces an earlier one.
    `path_style`: "dot" gives `items[0].title`, "slash" gives `/items/[0]/title`.
    `max_depth`: where brackets nest deeper, reading stops, and open values are truncated.
    `trust_quotes`: every unescaped quote ends its string at once; for output that is constrained to valid JSON.
    `first_attempt`: the number of the first answer; more than 1 if the request repeats another one.
    `wrapper`: the key of an object that may stand around the answer, because the server takes objects only.

    `{}` and `[]` occur in prose: an empty block is taken for the answer only in `finish()`, when no other came.
    A repeated key keeps its first value, because that one was already reported; if a later one differs, the answer is
    not certain. `problems` says where the text was not JSON, and `objection` whether the answer can be used.
    """

    __slots__ = (
        "_after_answer",
        "_attempt",
        "_bar",
        "_block",
        "_block_start",
        "_candidate",
        "_comma_follows",
        "_decoder",
        "_expected",
        "_fallback",
        "_finished",
        "_held",
        "_in_word",
        "_inside_refused",
        "_max_depth",
        "_out",
        "_problems",
        "_quote_follows",
        "_rest",
        "_root_kind",
        "_shown",
        "_slash",
        "_start",
        "_stopped",
        "_taken_back",
        "_text_follows",
        "_text_node",
        "_text_parts",
        "_text_quote",
        "_text_stop",
        "_thought",
        "_trust_quotes",
        "_unclosed",
        "_window",
        "_wrapped",
        "_wrapper",
    )

    def __init__(
        self,
        *,
        root: Literal["object", "array"] | None = None,
        expect_keys: Iterable[str] | None = None,
        path_style: PathStyle = "dot",
        max_depth: int = 128,
        trust_quotes: bool = False,
        first_attempt: int = 1,
        wrapper: str | None = None,
    ) -> None:
        self._root_kind = root
        self._expected = frozenset(expect_keys or ())
        self._slash = path_style == "slash"
        self._max_depth = max_depth
        self._trust_quotes = trust_quotes

        self._window = Window()
        self._problems = ProblemList(self._window)
        """Of the response as a whole; each block has its own."""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._finished = False
        self._rest = ""
        """The text that could not be decided yet: its beginning."""
        self._start = 0
        """The offset of `_rest` in the response. With `_text_node`, its `size` has to be added."""
        self._out: list[Event] = []

        self._candidate = _CANDIDATES[root]
        self._thought: Thought | None = None
        self._bar = 0
        self._attempt = first_attempt
        self._shown: BlockReader | None = None
        self._block: BlockReader | None = None
        self._block_start = 0
        self._fallback: BlockReader | None = None

        # What is known of the text around the answer.
        self._unclosed = 0
        """The number of brackets that were opened outside of the answer and are not closed yet."""
        self._wrapper = wrapper
        """The key of the object that may begin the text; None once that is decided."""
        self._wrapped = 0
        """The number of brackets of that object that were opened: 1 or 0."""
        self._inside_refused = False
        """Whether one of them opened text that looked like JSON and could not be read."""
        self._taken_back = False
        """Whether the answer that is reported was said to be none: it was thinking, or broke off."""
        self._text_follows = False
        """Whether other text came after that."""
        self._after_answer = False
        self._comma_follows: bool | None = None
        """After the answer: whether the first visible character is a comma; None if there was none yet."""
        self._quote_follows = False
        self._stopped: Problem | None = None
        """Why nothing more is read; None as long as the parser reads on."""

        # For the fast path of `feed`, plain text inside a string. `_text_node` is None when the next delta cannot use
        # it.
        self._text_node: Node | None = None
        self._text_parts: list[str] = []
        self._text_quote = ""
        self._text_stop: Callable[[str], object] = _NOTHING.search
        self._held: list[Event] | None = None
        self._in_word = False
        """Whether `_rest` is a number or literal that goes on with the next delta, if that is more of it."""

    @property
    def complete(self) -> bool:
        """Whether an answer was reported and its last bracket was seen."""
        return self._shown is not None and self._shown.document.complete

    @property
    def value(self) -> Any:
        """The answer so far, a live object that still changes; None if no answer was found yet."""
        return None if self._shown is None else self._shown.document.data

    @property
    def attempt(self) -> int:
        """The number of the answer that is being reported; see `ResetEvent`."""
        return self._attempt

    @property
    def problems(self) -> list[Problem]:
        """The first hundred places of the answer that are not JSON, in the order of the text."""
        found = [*self._problems.found, *(self._shown.problems.found if self._shown is not None else ())]
        return sorted(found, key=lambda problem: problem.offset)

    def objection(self, *, repair: bool = True) -> Problem | None:
        """The first problem because of which the answer must not be used: its value is not certain, or, without
        `repair`, it was found by a guess. None if there is none."""
        for problems in (self._problems, *((self._shown.problems,) if self._shown is not None else ())):
            found = problems.uncertain or (None if repair else problems.guess)
            if found is not None:
                return found
        return None

    @property
    def lost_character(self) -> Problem | None:
        """The first place so far where a character is lost: half of one in the answer, or a byte that is no UTF-8.

        None if there is none."""
        return self._problems.lost or (None if self._shown is None else self._shown.problems.lost)

    def feed(self, delta: str | bytes | bytearray | memoryview) -> list[Event]:
        """Take the next piece of the response, of any length; return the events that follow from it.

        Bytes are decoded as UTF-8 across the boundaries of pieces. Invalid ones become U+FFFD, and a problem says that
        the value is not certain. Raises `TypeError` for any other object, and `ParserFinishedError` after `finish()`.
        No text makes it raise.
        """
        node = self._text_node
        # Fast path: most deltas of most responses are plain text inside a string value.
        if node is not None:
            # The tests of `str` cost a third of a search; what they cannot tell (control characters, rare spaces), the
            # search decides.
            if (
                type(delta) is str
                and self._text_quote not in delta
                and "\\" not in delta
                and (delta.isprintable() or self._text_stop(delta) is None)
                and delta
            ):
                self._text_parts.append(delta)
                node.size = end = node.size + len(delta)
                event = DeltaEvent(node, delta, end)
                if self._held is None:
                    return [event]
                self._held.append(event)
                return []
        elif self._in_word and type(delta) is str and delta.isalnum() and len(self._rest) + len(delta) <= MAX_WORD:
            self._rest += delta
            return []
        if self._finished:
            raise ParserFinishedError(
                "feed() after finish(): a parser reads one response; create a new parser for the next one"
            )
        return self._advance(delta if isinstance(delta, str) else self._decode(delta))

    def finish(self, finish_reason: str | None = None) -> list[Event]:
        """End the response; return a truncated event for every value that is still open.

        Undecided text at the end is ignored: a number or literal may have been cut and is not reported, and a quote
        that needs the next character has not closed its string. Further calls do nothing.
        """
        if self._finished:
            return []
        events = self._advance("" if self._decoder is None else self._decode(b"", final=True))
        self._finished = True
        if self._text_node is not None:
            self._start += self._text_node.size
            self._text_node = None
        fallback = self._block if self._block is not None and self._block.eligible else self._fallback
        if self._shown is None and fallback is not None:
            self._accept(fallback)
        shown = self._shown
        self._window.start, self._window.text = self._start + len(self._rest), ""
        if shown is None:
            keys = f" with any of the keys {sorted(self._expected)}" if self._expected else ""
            why = f"the response contains no JSON {self._root_kind or 'object or array'}{keys}"
            self._problems.refuse(0, f"{why}; {self._stopped.message}" if self._stopped is not None else why)
            return events
        self._check_end(shown)
        if not shown.document.complete:
            shown.document.finish_reason = finish_reason
            events.extend(shown.truncate())
        return events

    # -- reading ---------------------------------------------------------------------------------------------------

    def _decode(self, delta: object, *, final: bool = False) -> str:
        if isinstance(delta, bytearray | memoryview):
            delta = bytes(cast("bytearray | memoryview[int]", delta))
        if not isinstance(delta, bytes):
            raise TypeError(
                f"a delta must be text (str or UTF-8 bytes), not {type(delta).__name__}; feed the text in the chunk"
            )
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        text = self._decoder.decode(delta, final)
        wrong = _NO_UTF_8.search(text)
        if wrong is not None:
            text = _NO_UTF_8.sub("\ufffd", text)
            node = self._text_node
            self._window.start = self._start + (0 if node is None else node.size) + len(self._rest)
            self._window.text = text
            self._problems.lose_character(wrong.start(), "a byte that is no UTF-8: which character it was is not known")
        return text

    def _advance(self, text: str) -> list[Event]:
        window = self._window
        node = self._text_node
        window.start = start = self._start if node is None else self._start + node.size
        block = self._block
        if self._rest:
            text = self._rest + text
            if block is not None:
                block.in_word = False
        window.text = text
        out: list[Event] = []
        self._out = out
        if block is not None and block.reported:
            block.events = out
        pos, end = 0, len(text)
        while pos < end:
            block = self._block
            if block is None:
                before, pos = pos, self._seek(text, pos)
                if pos == before:
                    break
            else:
                pos = block.read(text, pos)
                if block.eligible and block.events and not block.reported:
                    self._accept(block)
                if block.status == "open":
                    break
                self._end_block(block)
        self._start = start + pos
        self._text_node = None
        block = self._block
        if pos < end:
            self._rest = text[pos:]
            self._in_word = block is not None and block.in_word
            return out
        self._rest = ""
        self._in_word = False
        # No fast path for a block that is eligible but not reported yet: it is reported here, with its first event.
        if block is not None and (block.reported or not block.eligible):
            string = block.string
            node = string.node
            if node is not None:
                self._text_node = node
                self._text_parts = string.parts
                self._text_quote = string.quote[0]
                self._text_stop = string.stop
                self._held = None if block.reported else block.events
                self._start -= node.size  # so that the fast path has one number less to keep
        return out

    def _seek(self, text: str, pos: int) -> int:
        """Look for a bracket that opens a candidate, or for marks of thinking; return the position behind it."""
        thought = self._thought
        if thought is not None:
            pos = thought.skip(text, pos)
            self._thought = None if thought.ended else thought
            return pos
        if self._wrapper is not None:
            return self._seek_wrapper(text, pos, self._wrapper)
        if self._after_answer and self._comma_follows is not False:
            return self._seek_continuation(text, pos)
        if self._taken_back and _VISIBLE.search(text, pos):
            self._text_follows = True
        pattern = _AFTER_ANSWER if self._after_answer else _BRACKETS if self._unclosed else self._candidate
        found = pattern.search(text, pos)
        if found is None:
            return before_mark(text, pos)
        char = found[0]
        mark = mark_of(char)
        if mark is not None and mark.begins:
            self._thought = Thought(mark)
        elif mark is not None:
            self._reopen()
        elif may_begin_mark(text, found.start()):
            return found.start()
        elif char == '"':
            return self._quote(text, found.start())
        elif char in "}]":
            self._closing(found.start(), char)
        elif self._candidate.match(char) or (self._after_answer and self._expected and not self._unclosed):
            # An object after a list may correct one of its items; it is compared and cannot become the answer.
            is_candidate = self._candidate.match(char) is not None and (self._expected or not self._after_answer)
            self._block_start = self._window.start + found.start()
            self._block = BlockReader(
                Document(self._slash, self._attempt),
                "object" if char == "{" else "array",
                self._window,
                expected=self._expected,
                bar=self._bar if is_candidate else None,
                max_depth=self._max_depth,
                trust_quotes=self._trust_quotes,
            )
        else:
            self._unclosed += 1
        return found.end()

    def _seek_wrapper(self, text: str, pos: int, key: str) -> int:
        """At the beginning of the text: skip the beginning of the object around the answer, if it is there."""
        at = pos
        for wanted in ("{", f'"{key}"', ":", ""):
            at = _after_space(text, at)
            if len(text) - at < max(1, len(wanted)) and wanted.startswith(text[at:]) and at - pos < _LONGEST_WRAPPER:
                return pos
            if not text.startswith(wanted, at):
                break
            at += len(wanted)
        else:
            if at < len(text) and self._candidate.match(text[at]):
                self._wrapped = self._unclosed = 1
                pos = at
        self._wrapper = None
        return self._seek(text, pos)

    # -- the text around the answer --------------------------------------------------------------------------------

    def _seek_continuation(self, text: str, pos: int) -> int:
        """At the beginning of the text after the answer: a comma and more text would continue the answer."""
        found = _VISIBLE.search(text, pos)
        if found is None:
            return len(text)
        if found[0] == "," and self._comma_follows is None:
            self._comma_follows = True
            return found.end()
        shown = self._shown
        if self._comma_follows and not self._unclosed and shown is not None and found[0] not in "`<":
            shown.problems.refuse(found.start(), "after the answer its text goes on with a comma")
        self._comma_follows = False
        return self._seek(text, found.start())

    def _quote(self, text: str, pos: int) -> int:
        """Read a quote after the answer. Where the answer is inside of another object, it may begin one of its keys."""
        self._quote_follows = True
        shown = self._shown
        if shown is not None and shown.around and self._unclosed:
            key = _KEY_AHEAD.match(text, pos)
            if key is None and _KEY_AHEAD_BEGUN.match(text, pos):
                return pos
            if key is not None and key[1] in self._expected:
                shown.problems.refuse(pos, f"the object around the answer has the key {key[1]!r}, too")
        return pos + 1

    def _closing(self, pos: int, bracket: str) -> None:
        """Read a bracket that closes something outside of the answer."""
        shown = self._shown
        if self._unclosed:
            self._unclosed -= 1
            if not self._unclosed:
                self._inside_refused = False
        elif shown is not None and self._after_answer:
            if self._quote_follows:
                shown.problems.refuse(pos, f"after the answer there is the end of another text in JSON: {bracket!r}")
            else:
                shown.problems.tolerate(pos, f"{bracket!r} without an opening bracket after the answer")

    def _is_rival(self, block: BlockReader) -> bool:
        """Whether this block after the answer could be the answer as well, and is another one."""
        shown = self._shown
        value: Any = block.document.value
        if shown is None or not self._after_answer or not value:
            return False
        if self._expected:
            return self._contradicts(value, shown.document.value)
        if isinstance(value, list) and isinstance(shown.document.value, dict):
            return False  # after an object, brackets are more likely prose
        return not same(value, shown.document.value)

    def _contradicts(self, later: Any, answer: Any) -> bool:
        """Whether a block after the answer gives an expected key another value: it corrects the answer, in part or as a
        whole. Keys that were not asked for do not matter."""
        if isinstance(later, list) and isinstance(answer, list):
            return bool(self._expected & _top_keys(later)) and not same(later, answer)
        known = _objects(answer)[:_COMPARED]
        return any(
            not any(self._agrees(item, one) for one in known)
            for item in _objects(later)
            if not self._expected.isdisjoint(item)
        )

    def _agrees(self, later: dict[str, Any], answer: dict[str, Any]) -> bool:
        keys = self._expected.intersection(later)
        return all(key in answer and same(later[key], answer[key]) for key in keys)

    def _check_end(self, shown: BlockReader) -> None:
        """Note what the end of the response shows about the answer."""
        begun = None if self._block is shown else self._block
        if begun is not None and (begun.matched or self._is_rival(begun)):
            shown.problems.refuse(0, "after the answer another one begins")
        if self._taken_back and self._text_follows and shown.document.complete:
            shown.problems.refuse(0, "the JSON comes before the end of the thinking, and other text after it")

    # -- which candidate is the answer -----------------------------------------------------------------------------

    def _accept(self, block: BlockReader) -> None:
        """Report this candidate from now on. If another one was reported before, a reset event comes first."""
        out = self._out
        if self._shown is not None:
            self._attempt += 1
            out.append(ResetEvent.announcing(self._attempt))
        block.document.attempt = self._attempt
        self._shown = block
        self._after_answer = self._taken_back = self._text_follows = False
        if self._inside_refused:
            at = self._block_start - self._window.start
            block.problems.refuse(at, "the answer is inside of text in JSON that cannot be read")
        out.extend(block.events)
        block.events = out
        block.reported = True

    def _end_block(self, block: BlockReader) -> None:
        """A candidate has ended: decide what the parser looks for next, an answer or a better one."""
        self._block = None
        if block.status == "broken":
            self._reopen()
        elif block.status == "too deep":
            self._candidate = _NOTHING
            self._stopped = block.problems.uncertain
        elif block.status == "refused":
            self._unclosed += block.depth + block.around
            self._inside_refused = self._inside_refused or block.has_quoted_key
        elif block.status == "closed":
            value = block.document.value
            if block.reported:
                self._bar = len(self._expected.intersection(_top_keys(value)))
                self._after_answer = True
                self._unclosed = block.around + self._wrapped
                self._comma_follows = None
                self._quote_follows = False
            elif self._is_rival(block):
                assert self._shown is not None
                at = self._block_start - self._window.start
                self._shown.problems.refuse(at, "after the answer another one follows")
            elif not value:
                self._fallback = block

    def _reopen(self) -> None:
        """Let the next candidate replace the answer that was reported, whether that is complete or not."""
        self._bar = 0
        self._candidate = _CANDIDATES[self._root_kind]
        self._after_answer = False
        self._unclosed = 0
        self._inside_refused = False
        self._taken_back = self._shown is not None
        self._text_follows = False


def _after_space(text: str, pos: int) -> int:
    found = _VISIBLE.search(text, pos)
    return len(text) if found is None else found.start()


def _top_keys(value: Any) -> set[str]:
    """The keys of an object, or of all objects in a list."""
    return {key for item in _objects(value) for key in item}


def _objects(value: Any) -> list[dict[str, Any]]:
    """An object, or those in a list, in a list."""
    if isinstance(value, dict):
        return [cast("dict[str, Any]", value)]
    return [item for item in cast("list[Any]", value) if isinstance(item, dict)]
