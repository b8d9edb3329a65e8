"""`Answer`: the content of one answer, complete or in progress, and the parser that reads its text.

A response has one answer per attempt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, cast

from .errors import AnswerError, InvalidResponseError, TruncatedResponseError
from .instant import Event, InstantParser
from .misfits import misfits
from .output import Output
from .places import STEPS, PathStyle
from .shapes import Delta, ToolCallDelta, get
from .usage import summed, with_total

_CUT = {
    "length": "the answer reached the token limit before its end; allow more tokens or ask for less",
    "content_filter": "the provider's content filter stopped the answer",
    "connection": "the provider's stream ended without a finish reason: the connection was cut",
}


@dataclass(slots=True)
class ToolCall:
    """A tool call, complete when the answer is complete. `arguments` is JSON text."""

    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Answer:
    """The answer of one attempt."""

    def __init__(self, parser: InstantParser, output: Output | None, earlier: Sequence[Mapping[str, Any]] = ()) -> None:
        self.parser = parser
        self.output = output
        self.earlier = tuple(earlier)
        """What `account` gave for each earlier attempt."""
        self.length = 0
        self.finished = False
        """Whether the answer has ended and has passed all checks."""
        self.tool_calls: dict[int, ToolCall] = {}
        self.finish_reason: str | None = None
        self.usage: dict[str, int] = {}
        self.object: Any = None
        """The answer as the object that `output` describes; None before it was checked."""
        self._text = StringIO()
        self._reasoning = StringIO()
        self._named: dict[str, Any] = {}
        self._has_chunks = False

    @property
    def text(self) -> str:
        """The whole text so far."""
        return self._text.getvalue()

    @property
    def reasoning(self) -> str:
        """The reasoning that the provider sent, separate from the text."""
        return self._reasoning.getvalue()

    @property
    def meta(self) -> dict[str, Any]:
        """About this answer, and about all attempts that were made for it.

        `id` and `model` if the provider says them, `role`, `finish_reason`; `attempt`, the number of the answer as in
        events. `attempts` has an account of each attempt, in order. `usage` is the sum of theirs, in tokens.
        """
        attempts = [{**each, "usage": dict(each["usage"])} for each in (*self.earlier, self.account(None))]
        said = {**self._named, "role": "assistant", "finish_reason": self.finish_reason}
        usage = summed(each["usage"] for each in attempts)
        return {**said, "usage": usage, "attempt": self.parser.attempt, "attempts": attempts}

    def account(self, failure: str | None) -> dict[str, Any]:
        """This attempt in the meta data: `usage` and `finish_reason`, as the provider has told so far, and `failure`:
        in short why the answer cannot be used, or None."""
        return {"usage": with_total(self.usage), "finish_reason": self.finish_reason, "failure": failure}

    def take(self, delta: Delta) -> list[Event]:
        """Add a delta; return the events that follow from it."""
        if delta.reasoning:
            self._reasoning.write(delta.reasoning)
        for piece in delta.tool_calls:
            self._add_call(piece)
        if delta.usage:
            self.usage.update(delta.usage)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        if not self._has_chunks and delta.raw is not None and not isinstance(delta.raw, str):
            self._has_chunks = True
            self._named = {name: _named(delta.raw, name) for name in ("id", "model")}
        if not delta.text:
            return []
        self.length += self._text.write(delta.text)
        return self.parser.feed(delta.text)

    def problem(self) -> AnswerError | None:
        """The error of the complete answer, or None if it can be used. Sets `object`."""
        complete = self.output is not None and self.parser.complete
        if self.finish_reason in ("length", "content_filter") and not complete:
            return self.cut(self.finish_reason, _CUT[self.finish_reason])
        if self._has_chunks and self.finish_reason is None:
            return self.cut("connection", _CUT["connection"])
        if not self.length and not self.tool_calls:
            return self.invalid("the answer is empty")
        if self.output is None:
            return None
        problem = self.json_problem()
        if problem is None:
            try:
                self.object = self.output.convert(self.parser.value)
            except ValueError as error:
                problem = self.invalid(f"the answer does not fit its description: {error}")
                problem.misfits = tuple(misfits(self.parser.value, self.output.schema))
                problem.__cause__ = error
        return problem

    def json_problem(self) -> AnswerError | None:
        """The error if the complete text cannot be read as JSON, or None."""
        if self.parser.complete:
            return None
        if self.parser.value is not None:
            return self.cut("end", "the answer's text ended inside of its JSON")
        found = self.parser.problems
        reason = found[-1].message if found else "the response contains no JSON"
        return self.invalid(f"{reason}; it begins {self.text[:80]!r}")

    def cut(self, finish_reason: str, message: str) -> TruncatedResponseError:
        """The error of an answer that stopped before its end."""
        return TruncatedResponseError(message, text=self.text, data=self.parser.value, finish_reason=finish_reason)

    def invalid(self, message: str, missing: Sequence[str] = ()) -> InvalidResponseError:
        """The error of an answer that does not fit the description."""
        return InvalidResponseError(message, text=self.text, data=self.parser.value, missing=missing)

    def misfit(self, error: ValueError) -> InvalidResponseError:
        """The error of an answer of which one field has another type than the description says."""
        problem = self.invalid(f"a field of the answer does not fit its description: {error}")
        problem.__cause__ = error
        return problem

    def lacks(self, missing: Sequence[str]) -> InvalidResponseError:
        """The error of an answer without these keys, which a reader requires."""
        return self.invalid(f"the answer lacks {[*missing]}, which ensure_keys requires", missing)

    def missing(self, paths: Sequence[str], style: PathStyle) -> list[str]:
        """Which of these paths the data does not have. `[*]` means every item of a list."""
        data = self.parser.value
        return [path for path in paths if not _has(data, STEPS[style].findall(path))]

    def _add_call(self, piece: ToolCallDelta) -> None:
        call = self.tool_calls.setdefault(piece.index, ToolCall())
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        call.arguments += piece.arguments


def slices(delta: Delta, size: int) -> Iterator[Delta]:
    """The delta in pieces of at most so many characters, so that a long one can be read with pauses in between."""
    text = delta.text
    if len(text) <= size:
        yield delta
        return
    for start in range(0, len(text), size):
        piece = text[start : start + size]
        if start == 0:
            yield Delta(piece, delta.reasoning, delta.tool_calls, None, raw=delta.raw)
        elif start + size < len(text):
            yield Delta(piece)
        else:
            yield Delta(piece, finish_reason=delta.finish_reason, usage=delta.usage)


def _named(raw: Any, name: str) -> Any:
    """The field of this name in the provider's first chunk, or in the message in that chunk (Anthropic, Ollama)."""
    found = get(raw, name)
    return get(raw, "message", name) if found is None else found


def _has(data: Any, steps: list[tuple[str, str]]) -> bool:
    if not steps:
        return True
    (index, key), rest = steps[0], steps[1:]
    if key:
        return isinstance(data, dict) and key in data and _has(data[key], rest)
    if not isinstance(data, list):
        return False
    items = cast("list[Any]", data)
    if index == "*":
        return all(_has(item, rest) for item in items)
    return int(index) < len(items) and _has(items[int(index)], rest)
