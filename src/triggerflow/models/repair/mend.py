"""Mending text that is nearly JSON, once it is there as a whole: other quotes, other punctuation, wrong brackets.

The text is split into tokens, which reads what stands for itself: curly quotes and a full-width colon give the same
tokens as those of JSON. The tokens are then followed as JSON. Where one does not fit, each way to go on with a bracket
or comma more or less is tried, and costs one. The cheapest way that leads to the end is the reading, if all ways of
that cost lead to the same value. A bracket that is missing at the very end is never added: more may be missing there.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..instant.scalars import read_word

MAX_COST = 3
_MAX_STEPS = 20_000
_SPACE = re.compile(r"(?:[\s\u200b-\u200f\u2060\ufeff]|<br\s*/?>|//[^\n]*|#[^\n]*|/\*.*?\*/|<!--.*?-->)*", re.DOTALL)
_ELLIPSIS = re.compile(r"\.\.\.|…")
_FULL_WIDTH = dict(zip("\uff5b\uff5d\uff3b\uff3d\uff08\uff09\uff0c\u3001\uff1b\uff1a", "{}[](),,,:", strict=True))
_SIGNS = {**{sign: sign for sign in "{}[](),:+"}, **_FULL_WIDTH, ";": ",", "=": ":", "=>": ":"}
_COMMA = r"[,;\uff0c\u3001\uff1b]"
_COLON = r"[:=\uff1a]"
_SIGN = re.compile("=>|[" + re.escape("".join(sign for sign in _SIGNS if len(sign) == 1)) + "]")
_CLOSING = {
    '"': '"',
    "'": "'",
    "`": "`",
    "\u201c": '\u201d"',
    "\u201d": "\u201d",
    "\u201e": '\u201c\u201d"',
    "\u2018": "\u2019",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}
"""The quotes that may end a string, by the one that begins it. The first one that occurs in the text is used."""
_GOES_ON = ("{", "[", ",", ":")
_OPENING = "".join(_CLOSING)
_ANY_QUOTE = "".join({*_OPENING, *"".join(_CLOSING.values())})
_S = r"(?:[\s\u200b-\u200f\u2060\ufeff]|<br\s*/?>)*"
_KEY = rf"(?:[{_ANY_QUOTE}][^{_ANY_QUOTE}\n]{{1,100}}[{_ANY_QUOTE}]?|[^\W\d][\w$-]{{0,100}}[{_ANY_QUOTE}]?){_S}{_COLON}"
_END = rf"(?:[}}\]\uff5d\uff3d]|[)\uff09]{_S}[}}\]])"
_AFTER_KEY = re.compile(rf"{_S}{_COLON}")
_AFTER_MEMBER = re.compile(rf"{_S}(?:{_END}|{_COMMA}{_S}(?:{_KEY}|{_END}|//|#|/\*|<!--)|//|#|/\*|\n{_S}{_KEY}|\+)")
_AFTER_ITEM = re.compile(
    rf"{_S}(?:{_END}|{_COMMA}{_S}(?:[{_OPENING}{{\[]|{_END}|//|#|/\*)|\n{_S}[{_OPENING}]|//|#|/\*|\+)"
)
_BARE_KEY = re.compile(rf'([^\W\d][\w$-]{{0,100}})"?(?={_S}{_COLON})')
_KEY_WITHOUT_END = re.compile(rf'"([^\W\d][\w$-]{{0,100}}):(?=\s*(?:[{_OPENING}\[{{0-9-]|true|false|null))')
_LINE_WITHOUT_END = re.compile(r'"([^"\n]+),[ \t]*\n(?=\s*"[^"\n]{1,100}"\s*:)')
_WORD = re.compile(r"[^\s\u200b-\u200f\u2060\ufeff<,;\uff0c\u3001\uff1b}\]\uff5d\uff3d:\uff1a\"]+")
_SEPARATOR = re.compile(rf"{_S}[,}}\]]")
_TEXT_WITHOUT_BEGIN = re.compile(rf'([^\W\d][^{_ANY_QUOTE}\n{{}}\[\]]*)"(?={_S}(?:,|{_END}))')
_BARE_MEMBER = re.compile(
    rf"([^\W\d](?:[^{_ANY_QUOTE}\n{{}}\[\](),]|,(?!{_S}{_KEY}))*)(?={_S}(?:,{_S}{_KEY}|{_END}|\n))"
)
_BARE_ITEM = re.compile(rf"([^\W\d][^{_ANY_QUOTE}\n{{}}\[\](),:]*)(?={_S}(?:,|{_END}))")
_NO_TEXT = re.compile(
    r"(?:str|string|int|integer|float|number|bool|boolean|list|array|object|dict|any|null|none|nil|nan|undefined|true|false"
    r"|infinity|n/a|na|tbd|etc\.?|and so on|value|yes|no)\Z|.*(?:\.\.\.|…)",
    re.IGNORECASE | re.DOTALL,
)
"""Words without quotes that are no text: names of types, literals of other languages, placeholders."""


class _Token(NamedTuple):
    """`kind`: one of `{ } [ ] ) , : +`, "text", "bare" (a text without quotes), "scalar", or "end", where the text is
    no JSON any more."""

    kind: str
    value: Any = None
    new_line: bool = False
    at: int = 0


def mend(text: str, fits: Callable[[Any], bool], keys: frozenset[str] = frozenset()) -> tuple[Any, int] | None:
    """The value of the JSON that `text` begins with, and where it ends; None if there is no single cheapest reading.

    `fits`: whether a value is what the answer was asked for; others are no readings. `keys`: those of the object that
    was asked for, if they are known.
    """
    try:
        tokens = list(_tokens(text))
    except _Uncertain:
        return None
    search = _Search(tokens, keys)
    found = [(cost, value, at) for cost, value, at in search.readings() if fits(value)]
    if not found or search.gave_up:
        return None
    least = min(cost for cost, _, _ in found)
    cheapest = [(value, at) for cost, value, at in found if cost == least]
    written = {json.dumps(value, sort_keys=True) for value, _ in cheapest}
    return cheapest[0] if len(written) == 1 else None


class _Uncertain(Exception):
    pass


# -- tokens ------------------------------------------------------------------------------------------------------------


def _tokens(text: str) -> Iterator[_Token]:
    at, depth, before = 0, 0, ""
    while True:
        start, at = at, _after_space(text, at)
        new_line = "\n" in text[start:at]
        if _ELLIPSIS.search(text, start, at):
            raise _Uncertain
        sign = _SIGN.match(text, at)
        if sign is not None and not (sign[0] == "+" and before != "text"):
            kind = _SIGNS[sign[0]]
            depth += (kind in "{[") - (kind in "}])")
            yield _Token(kind, None, new_line, at)
            before, at = kind, sign.end()
            continue
        found = _string(text, at, before) or _unquoted(text, at, before) if depth > 0 or before in _GOES_ON else None
        if found is None:
            yield _Token("end", None, new_line, at)
            return
        for token, end in found:
            yield token._replace(new_line=new_line)
            before, at = token.kind, end


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _string(text: str, at: int, before: str) -> list[tuple[_Token, int]] | None:
    closing = next((quote for quote in _CLOSING.get(text[at : at + 1], "") if text.find(quote, at + 1) > 0), None)
    if closing is None:
        return None
    if before in "{,":
        found = _KEY_WITHOUT_END.match(text, at)
        if found is not None:
            return [(_Token("text", found[1], at=at), found.end() - 1)]
    if text.startswith(text[at] * 3, at) and (end := text.find(text[at] * 3, at + 3)) > 0:
        return [(_Token("text", text[at + 3 : end], at=at), end + 3)]
    after = (
        (_AFTER_MEMBER,) if before == ":" else (_AFTER_KEY, _AFTER_ITEM, *([_AFTER_MEMBER] if before == "+" else ()))
    )
    pos = at + 1
    while pos < len(text):
        char = text[pos]
        if char == "\\":
            pos += 2
            continue
        if char == closing and any(pattern.match(text, pos + 1) for pattern in after):
            return [(_Token("text", _decoded(text[at + 1 : pos]), at=at), pos + 1)]
        if char == closing and before != ":" and _SEPARATOR.match(text, pos + 1):
            raise _Uncertain  # it may be the end, and what follows lacks its quote
        begins = char == text[at] and (closing != text[at] or text[pos - 1].isspace() or text[pos - 1] == ",")
        if begins and before != ":" and closing != '"':
            raise _Uncertain  # it may be the next item, and this one lacks its quote
        if char == '"' == text[at]:
            break  # a quote inside of a string in the same quotes: the parser judges these
        pos += 1
    line = _LINE_WITHOUT_END.match(text, at) if before == ":" else None
    if line is None:
        return None
    comma = line.end(1)
    return [(_Token("text", _decoded(line[1]), at=at), comma)]


def _decoded(content: str) -> str:
    plain = re.sub(
        r'\\.|"', lambda found: r"\"" if found[0] == '"' else "'" if found[0] == r"\'" else found[0], content
    )
    try:
        return json.loads(f'"{plain}"', strict=False)
    except ValueError:
        raise _Uncertain from None


def _unquoted(text: str, at: int, before: str) -> list[tuple[_Token, int]] | None:
    if before and before in "{,":
        key = _BARE_KEY.match(text, at)
        if key is not None:
            return [(_Token("text", key[1], at=at), key.end())]
    word = _WORD.match(text, at)
    if word is not None:
        scalar = read_word(word[0])
        if scalar is not None:
            return [(_Token("scalar", scalar.value, at=at), word.end())]
    for pattern in (_TEXT_WITHOUT_BEGIN, _BARE_MEMBER if before == ":" else _BARE_ITEM):
        bare = pattern.match(text, at)
        if bare is not None and not _NO_TEXT.match(bare[1].strip()):
            kind = "text" if pattern is _TEXT_WITHOUT_BEGIN else "bare"
            if kind == "bare" and "\\" in bare[1]:
                raise _Uncertain  # an escape, or a backslash
            content = _decoded(bare[1]) if kind == "text" else bare[1]
            return [(_Token(kind, content.strip(), at=at), bare.end())]
    return None


# -- structure ---------------------------------------------------------------------------------------------------------


class _Written(NamedTuple):
    """The JSON so far, backwards: ways that branch share what they have in common."""

    before: "_Written | None"
    text: str


class _State(NamedTuple):
    """A point on one way through the tokens.

    `stack`: the open brackets. `phase`: what comes next, "value", "key", "colon", or "after" a value; "first" at the
    beginning of a container. `written`: the JSON so far.
    """

    token: int
    stack: str
    phase: str
    written: _Written | None
    cost: int

    def write(self, *texts: str) -> "_Written | None":
        """What was written, and these texts."""
        written = self.written
        for text in texts:
            written = _Written(written, text)
        return written

    def back(self, *texts: str) -> "_State":
        """The state without the last text written, or the last one that is one of `texts`."""
        written = self.written
        while written is not None and not written.text:
            written = written.before
        if written is not None and (not texts or written.text in texts):
            written = written.before
        return self._replace(written=written)


class _Search:
    """All ways through the tokens that cost at most `MAX_COST`."""

    def __init__(self, tokens: list[_Token], keys: frozenset[str]) -> None:
        self._tokens = tokens
        self._keys = keys
        self._steps = 0
        self.gave_up = False

    def readings(self) -> Iterator[tuple[int, Any, int]]:
        """The cost, the value, and the end in the text of each."""
        open_states = [_State(0, "", "value", None, 0)]
        while open_states:
            state = open_states.pop()
            self._steps += 1
            if self._steps > _MAX_STEPS:
                self.gave_up = True
                return
            if state.cost > MAX_COST:
                continue
            token = self._tokens[state.token]
            ended = state.phase == "after" and not state.stack and self._is_end(state.token)
            if ended and (value := _value(state.written)) is not None:
                yield state.cost, value, token.at
            open_states.extend(self._next(state, token))

    def _is_end(self, token: int) -> bool:
        """Whether nothing like JSON follows, or no more than a comma."""
        kinds = [token.kind for token in self._tokens[token : token + 2]]
        return kinds[0] == "end" or kinds == [",", "end"]

    def _is_like_others(self, state: _State, token: _Token) -> bool:
        """Whether an item of a list has quotes if the one before it has, and none if it has none."""
        if state.stack[-1:] != "[" or state.phase == "first":
            return True
        before = self._tokens[state.token - 2].kind
        return (token.kind == "bare") == (before == "bare") or "text" not in (token.kind, before)

    def _next(self, state: _State, token: _Token) -> Iterator[_State]:
        kind, stack, phase = token.kind, state.stack, state.phase
        top = stack[-1:]
        if kind == "end" or len(stack) > 100:
            return
        if phase == "colon":
            if kind == ":":
                yield self._go(state, ":", "value")
            return
        if kind in "}])":
            yield from self._close(state, kind)
            return
        if phase == "after":
            yield from self._after(state, token)
            return
        if top == "{" and phase in ("first", "key"):
            if kind in ("text", "bare"):
                yield self._go(state, json.dumps(token.value), "colon")
            elif kind == "," and phase == "key":
                yield self._go(state, "", "key")  # a comma twice
            elif kind == "{" and phase == "key" and "[" in stack:
                closed = state.back(",").write("}", ",")  # the object before was not closed
                yield _State(state.token, stack[:-1], "value", closed, state.cost + 1)
            return
        if kind in "{[":
            yield self._go(state, kind, "first", stack + kind)
        elif kind in ("text", "bare", "scalar") and self._is_like_others(state, token):
            yield self._go(state, json.dumps(token.value), "after")

    def _go(self, state: _State, written: str, phase: str, stack: str | None = None, cost: int = 0) -> _State:
        stack = state.stack if stack is None else stack
        return _State(state.token + 1, stack, phase, state.write(written), state.cost + cost)

    def _insert(self, state: _State, bracket: str) -> _State:
        """Close the innermost container although its bracket is missing."""
        return _State(state.token, state.stack[:-1], "after", state.write(bracket), state.cost + 1)

    def _close(self, state: _State, kind: str) -> Iterator[_State]:
        stack, phase = state.stack, state.phase
        if not stack:
            if phase == "after":
                yield self._go(state, "", "after", cost=1)  # one bracket too many
            return
        if phase == "value" and stack[-1] == "{":
            return  # a value is missing
        if phase in ("key", "value"):
            state = state.back(",")
        right = "}" if stack[-1] == "{" else "]"
        if kind == right:
            yield self._go(state, right, "after", stack[:-1])
            return
        yield self._go(state, right, "after", stack[:-1], cost=1)  # a bracket of the wrong kind
        yield self._go(state, "", "after", cost=1)  # one bracket too many
        if len(stack) > 1:
            yield self._insert(state, right)  # one bracket too few

    def _after(self, state: _State, token: _Token) -> Iterator[_State]:
        kind, stack = token.kind, state.stack
        before = self._tokens[state.token - 1]
        following = self._tokens[min(state.token + 1, len(self._tokens) - 1)]
        if not stack:
            reopened = state.back()._replace(stack="{" if _last(state) == "}" else "[")
            if kind == "," and following.kind in ("text", "{"):
                yield self._go(reopened, ",", "key" if reopened.stack == "{" else "value", cost=1)  # closed too early
            elif kind == "{" == reopened.stack:
                yield self._go(reopened, ",", "key", cost=2)  # each member in an object of its own
            return
        if kind == ",":
            yield self._go(state, ",", "key" if stack[-1] == "{" else "value")
        elif kind == "+" and before.kind == following.kind == "text":
            joined = json.dumps(json.loads(_last(state)) + following.value)
            yield _State(state.token + 2, stack, "after", state.back().write(joined), state.cost)
        elif kind == ":" and stack[-1] == "[" and before.kind in ("text", "bare"):
            key = _last(state)
            shorter = state.back()
            described = len(stack) > 2 or not self._keys or json.loads(key) in self._keys
            if stack.endswith("{[") and described:  # the list was not closed before this key
                closed = shorter.back(",").write("]", ",", key, ":")
                yield _State(state.token + 1, stack[:-1], "value", closed, state.cost + 1)
            opened = shorter.write("{", key, ":")  # the object was not opened before this key
            yield _State(state.token + 1, stack + "{", "value", opened, state.cost + 1)
        elif stack[-1] == "{" and kind in ("text", "bare") and following.kind == ":":
            yield state._replace(phase="key", written=state.write(","), cost=state.cost + 1)
        elif stack[-1] == "[" and (token.new_line or (kind, before.kind) == ("{", "}")) and kind != "bare":
            yield state._replace(phase="value", written=state.write(","))  # a comma is missing


def _last(state: _State) -> str:
    """The last text that was written."""
    written = state.written
    while written is not None and not written.text:
        written = written.before
    assert written is not None
    return written.text


def _value(written: _Written | None) -> Any:
    """The value; None if one of its objects has a key twice, or an empty one."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs) or "" in dict(pairs):
            raise ValueError("a key twice, or an empty one")
        return dict(pairs)

    texts: list[str] = []
    while written is not None:
        texts.append(written.text)
        written = written.before
    try:
        return json.loads("".join(reversed(texts)), object_pairs_hook=members)
    except (ValueError, RecursionError):
        return None
