"""`Answer`: the content of one answer, complete or in progress, and the parser that reads its text.

A response has one answer per attempt.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, cast

from ...records import ModelCall
from ..errors import (
    AnswerError,
    InvalidResponseError,
    ModelError,
    ProviderError,
    RefusalError,
    TruncatedResponseError,
)
from ..instant import Event, InstantParser, Problem, ResetEvent
from ..outputs import Misfit, Output, misfits
from ..paths import PathStyle, Step, parse
from ..repair import second_reading
from ..shapes import Delta, ToolCallDelta, ending_of, id_and_model
from .tool_calls import ToolCall, unknown_tool
from .usage import summed, with_total

_CUT = {
    "length": "the answer reached the token limit before its end; allow more tokens or ask for less",
    "content_filter": "the provider's content filter stopped the answer",
    "pause_turn": "the provider paused the answer before its end, and waits for a request to go on",
}


class Answer:
    """The answer of one attempt. `tools`: the names of those that it may call, if they were described; `strict`: it
    must be JSON and nothing else; `repair`: guesses are allowed."""

    def __init__(
        self,
        parser: InstantParser,
        output: Output | None,
        earlier: Sequence[Mapping[str, Any]] = (),
        *,
        tools: Sequence[str] = (),
        strict: bool = False,
        repair: bool = True,
    ) -> None:
        self.parser = parser
        self.output = output
        self.earlier = tuple(earlier)
        """What `account` gave for each earlier attempt."""
        self._tools = tools
        self.strict = strict
        self.repair = repair
        self.length = 0
        """The number of characters of text."""
        self.written = 0
        """The number of characters on which readers may have acted: of the text and of arguments of tools."""
        self.finished = False
        """Whether the answer has ended and has passed all checks."""
        self._calls: dict[int, tuple[ToolCall, StringIO]] = {}
        self.finish_reason: str | None = None
        self._goes_on = False
        """Whether more of the answer has come after a finish reason."""
        self.usage: dict[str, int] = {}
        self.object: Any = None
        """The answer as the object that `output` describes; None before it was checked."""
        self._text = StringIO()
        self._reasoning = StringIO()
        self._refusal = StringIO()
        self._id_and_model: dict[str, Any] = {}
        self._unnamed = 5
        """So many more chunks are searched for id and model. Some servers leave them empty in the first one."""
        self._damage: Problem | None = None
        """Where the provider has sent half of a character."""
        self._not_strict: Problem | None = None
        """Why the text is not what `strict` demands, once that was found out."""
        self._second: Problem | None = None
        """What was wrong with the text, if the value is from a second reading of it."""

    @property
    def text(self) -> str:
        """The whole text so far."""
        return self._text.getvalue()

    @property
    def reasoning(self) -> str:
        """The reasoning that the provider sent, separate from the text."""
        return self._reasoning.getvalue()

    @property
    def refusal(self) -> str:
        """The text in which the model refuses to answer; empty if it does not."""
        return self._refusal.getvalue()

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls so far, in the order of their numbers."""
        for call, arguments in self._calls.values():
            call.arguments = arguments.getvalue()
        return [self._calls[number][0] for number in sorted(self._calls)]

    @property
    def lost_character(self) -> Problem | None:
        """Where half of a character makes an answer useless that has to be data; None if there is none."""
        return None if self.output is None else self.parser.lost_character or self._damage

    @property
    def said(self) -> str:
        """The text, and the tool calls as text: what a model is shown of an answer that it has to correct."""
        calls = (f"{call.name}({call.arguments})" for call in self.tool_calls)
        return "\n".join(filter(None, (self.text, *calls)))

    @property
    def meta(self) -> dict[str, Any]:
        """About this answer, and about all attempts that were made for it.

        `id` and `model` if the provider says them, `role`, `finish_reason`; `attempt`, the number of the answer as in
        events. `attempts` has an account of each attempt, in order. `usage` is the sum of theirs, in tokens.
        """
        attempts = [{**each, "usage": dict(each["usage"])} for each in (*self.earlier, self.account(None))]
        said = {**self._id_and_model, "role": "assistant", "finish_reason": self.finish_reason}
        usage = summed(each["usage"] for each in attempts)
        return {**said, "usage": usage, "attempt": self.parser.attempt, "attempts": attempts}

    def account(self, failure: str | None) -> dict[str, Any]:
        """This attempt in the meta data: `usage` and `finish_reason`, as the provider has told so far, and `failure`:
        in short why the answer cannot be used, or None."""
        return {"usage": with_total(self.usage), "finish_reason": self.finish_reason, "failure": failure}

    def as_call(self, began: float, ended: float, error: BaseException | None) -> ModelCall:
        """This attempt as the record of a call."""
        model, id = self._id_and_model.get("model"), self._id_and_model.get("id")
        return ModelCall(
            at=began,
            seconds=max(0.0, ended - began),
            model=model if isinstance(model, str) else None,
            id=id if isinstance(id, str) else None,
            finish=self.finish_reason,
            input_tokens=self.usage.get("prompt_tokens"),
            output_tokens=self.usage.get("completion_tokens"),
            error=None if error is None else type(error).__name__,
        )

    def take(self, delta: Delta) -> list[Event]:
        """Add a delta; return the events that follow from it."""
        if delta.reasoning:
            self._reasoning.write(delta.reasoning)
        if delta.refusal:
            self._refusal.write(delta.refusal)
        for piece in delta.tool_calls:
            self._add_call(piece)
        if delta.usage:
            self.usage.update(delta.usage)
        if self.finish_reason is not None and (delta.text or delta.tool_calls):
            self._goes_on = True
        if delta.finish_reason is not None:
            # Some servers end a stream that was cut with another "stop". It counts only if more of the answer came.
            if self.finish_reason is None or self._goes_on or ending_of(self.finish_reason) == "end":
                self.finish_reason = delta.finish_reason
            self._goes_on = False
        if self._unnamed and delta.raw is not None and not isinstance(delta.raw, str):
            self._unnamed -= 1
            for name, found in id_and_model(delta.raw).items():
                self._id_and_model[name] = self._id_and_model.get(name) or found
        if not delta.text:
            return []
        if delta.damaged and self._damage is None:
            at = self.length + max(0, delta.text.find("\ufffd"))
            why = "a byte that is no UTF-8, or half of a character without the other half, came from the provider"
            self._damage = Problem(at, why)
        self.length += self._text.write(delta.text)
        self.written += len(delta.text)
        return self.parser.feed(delta.text)

    def problem(self) -> ModelError | None:
        """The error of the complete answer, or None if it can be used. Sets `object`."""
        problem = self._ending()
        if problem is not None:
            return problem
        if not self.length and not self._calls:
            return self.invalid("the answer is empty")
        for call in self.tool_calls if self._tools else ():
            if call.name not in self._tools:
                return self.invalid(unknown_tool(call.name, self._tools))
        if self.output is None:
            return None
        problem = self.json_problem()
        if problem is None:
            try:
                self.object = self.output.convert(self.parser.value)
            except ValueError as error:
                problem = self.invalid(f"the answer does not fit its description: {error}")
                problem.misfits = tuple(misfits(self.parser.value, self.output.full_schema))
                problem.__cause__ = error
        return problem

    def _ending(self) -> ModelError | None:
        """The error if the answer did not end as an answer should."""
        reason = self.finish_reason
        ending = "end" if reason is None else ending_of(reason)
        if self.refusal or ending == "refusal":
            refusal = self.refusal or self.text
            said = f": {refusal:.200}" if refusal else ", without a text"
            return RefusalError(f"the model refuses to answer{said}", text=refusal, data=self.parser.value)
        if reason is None or ending == "end":
            return None
        if ending == "failure":
            message = f"the provider ended the answer with the finish reason {reason!r}, which says that it failed"
            return self.cut(reason, message) if self.written else ProviderError(message)
        complete = self.output is not None and self.parser.complete and self.parser.objection() is None
        return None if complete else self.cut(reason, _CUT[reason])

    def read_again(self, new_parser: Callable[[int], InstantParser]) -> list[Event]:
        """Read an invalid answer a second time, as a whole; return the events of what came of it, if anything did.

        `new_parser` makes a parser for an attempt with this number. If the first reading has reported something, the
        second one has the next number, and begins with a reset event.
        """
        output, first = self.output, self.parser
        reason = self.finish_reason
        if output is None or self.strict or not self.repair or (reason is not None and ending_of(reason) != "end"):
            return []
        found = second_reading(self.text, output.root, output.keys, self._fits)
        if found is None:
            return []
        value, wrong = found
        reported = first.value is not None
        self.parser = new_parser(first.attempt + reported)
        self._second = Problem(0, f"{wrong}; it was read as a whole", repaired=True, guessed=True)
        events = self.parser.feed(json.dumps(value, ensure_ascii=False))
        return [ResetEvent.announcing(self.parser.attempt, wrong)] * reported + events

    def _fits(self, data: Any) -> bool:
        assert self.output is not None
        try:
            self.output.convert(data)
        except ValueError:
            return False
        return True

    def json_problem(self) -> AnswerError | None:
        """The error if the complete text cannot be read as JSON, or not with certainty, or None."""
        parser = self.parser
        if parser.value is None and not self.length:
            names = [call.name for call in self.tool_calls]
            return self.invalid(f"the answer has no text, but calls of the tools {names}")
        if parser.value is None:
            found = parser.problems
            reason = found[-1].message if found else "the response contains no JSON"
            return self.invalid(f"{reason}; it begins {self.text[:80]!r}{_first_mistake(self.text)}")
        if not parser.complete and self.finish_reason is None:
            return self.cut("end", "the answer's text ended inside of its JSON")
        objection = parser.objection(repair=self.repair) or self._damage
        if objection is not None:
            return self.uncertain(objection)
        if not parser.complete:
            return self.invalid(f"the model ended the answer before the JSON was complete; it ends {self.text[-80:]!r}")
        return self._strict_problem() if self.strict else None

    def _strict_problem(self) -> AnswerError | None:
        value, at = self.parser.value, 0
        try:
            found: Any = json.loads(self.text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            at, why = getattr(error, "pos", 0), str(error)
        else:
            wrapper = None if self.output is None else self.output.wrapper
            if found == value or (wrapper is not None and found == {wrapper: value}):
                return None
            why = "the value that was asked for is inside of another one"
        self._not_strict = Problem(at, why)
        return self.invalid(f"the answer is not JSON and nothing else, as strict=True demands: {why}")

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The places of the text so far that are not JSON, the first hundred of them."""
        text = self.text
        found = self.parser.problems if self._second is None else [self._second]
        more = [it for it in (self._damage, self._not_strict) if it is not None]
        return tuple(problem.around(text) for problem in (*found, *more))

    def cut(self, finish_reason: str, message: str) -> TruncatedResponseError:
        """The error of an answer that stopped before its end."""
        return TruncatedResponseError(message, text=self.text, data=self.parser.value, finish_reason=finish_reason)

    def invalid(self, message: str, missing: Sequence[str] = ()) -> InvalidResponseError:
        """The error of an answer that does not fit the description."""
        return InvalidResponseError(
            message, text=self.text, data=self.parser.value, missing=missing, problems=self.problems
        )

    def uncertain(self, problem: Problem) -> InvalidResponseError:
        """The error of an answer whose value is not certain because of this problem."""
        guess = "the only reading is a guess, which repair=False refuses"
        how = guess if problem.repaired else "its value is not certain"
        return self.invalid(f"the answer is not JSON, and {how}: {problem.around(self.text)}")

    def misfit(self, error: ValueError) -> InvalidResponseError:
        """The error of an answer of which one field has another type than the description says."""
        problem = self.invalid(f"a field of the answer does not fit its description: {error}")
        problem.misfits = error.places if isinstance(error, Misfit) else ()
        problem.__cause__ = error
        return problem

    def lacks(self, missing: Sequence[str]) -> InvalidResponseError:
        """The error of an answer without these keys, which a reader requires."""
        return self.invalid(f"the answer lacks {[*missing]}, which ensure_keys requires", missing)

    def missing(self, paths: Sequence[str], style: PathStyle) -> list[str]:
        """Which of these paths the data does not have. `[*]` means every item of a list."""
        data = self.parser.value
        return [path for path in paths if not _has(data, parse(path, style))]

    def _add_call(self, piece: ToolCallDelta) -> None:
        call, arguments = self._calls.setdefault(piece.index, (ToolCall(), StringIO()))
        call.id = call.id or piece.id
        call.name = (call.name or "") + piece.name if piece.name else call.name
        self.written += arguments.write(piece.arguments)
        call.done = call.done or piece.done


def slices(delta: Delta, size: int) -> Iterator[Delta]:
    """The delta in pieces of at most so many characters, so that a long one can be read with pauses in between."""
    text = delta.text
    if len(text) <= size:
        yield delta
        return
    for start in range(0, len(text), size):
        piece = text[start : start + size]
        if start == 0:
            yield Delta(piece, delta.reasoning, delta.tool_calls, None, None, delta.raw, delta.refusal, delta.damaged)
        elif start + size < len(text):
            yield Delta(piece)
        else:
            yield Delta(piece, finish_reason=delta.finish_reason, usage=delta.usage)


def _first_mistake(text: str) -> str:
    """Where what the first bracket opens is not JSON; empty if there is no bracket, or all of it is JSON."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=None)
    if start is None:
        return ""
    try:
        json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError as error:
        shown = text[max(0, error.pos - 20) : error.pos + 20]
        return f"; what its first bracket opens is not JSON at character {error.pos} ({shown!r}): {error.msg}"
    except (ValueError, RecursionError):  # a number of too many digits, or brackets nested too deep
        return ""
    return ""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value of JSON")


def _has(data: Any, steps: tuple[Step, ...]) -> bool:
    if not steps:
        return True
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        return isinstance(data, dict) and step in data and _has(data[step], rest)
    if not isinstance(data, list):
        return False
    items = cast("list[Any]", data)
    if step is None:
        return all(_has(item, rest) for item in items)
    return step < len(items) and _has(items[step], rest)
