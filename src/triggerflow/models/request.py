"""`Request`: the messages for a model, and the description of its answer.

Each call returns a new request, so that several requests can be built on the same base:

    request = Request().system("You plan searches.").input(topic).output({"queries": [(str, "a search query")]})
    response = request.get_response(OpenAIProvider("my-model"))
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from .outputs import Output
from .response import Attempt, Response
from .sources import Source

Message = Mapping[str, Any]
LONGEST_QUOTE = 4_000
"""How many characters of an answer are repeated when it has to be corrected. Of a longer one the middle is left out."""
_LAST = ("info", "instruct", "input")


class Provider(Protocol):
    """The interface of a model that answers requests."""

    @property
    def constrained(self) -> bool:
        """Whether the server guarantees that the answer fits the JSON schema; otherwise the prompt describes it."""
        ...

    def open(self, request: "Request") -> Source:
        """Send the request; return a source of its answer, or a coroutine that returns one. Called once per attempt."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """The messages for a model. Every part is a text, or a value that JSON can hold."""

    messages: tuple[Message, ...] = ()
    """Earlier messages, which come before the other parts: `{"role": "user" | "assistant", "content": ...}`."""
    system_prompt: str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The sections of the message by name. Sections with other names come before info, instruct and input."""
    described: Output | None = None
    attached: tuple[Mapping[str, Any], ...] = ()
    correction: tuple[str, str] | None = None
    """The last answer and why it cannot be used; see `correct`."""

    def history(self, messages: Sequence[Message]) -> "Request":
        """Add earlier messages of the conversation, oldest first."""
        return replace(self, messages=(*self.messages, *messages))

    def system(self, prompt: str) -> "Request":
        """Set the system prompt, which holds for the whole conversation."""
        return replace(self, system_prompt=prompt)

    def info(self, info: Any) -> "Request":
        """Add facts for the model to use."""
        return self._with("info", info)

    def instruct(self, instruct: Any) -> "Request":
        """Add instructions: the task of the model."""
        return self._with("instruct", instruct)

    def input(self, input: Any) -> "Request":
        """Add the input that the task is about."""
        return self._with("input", input)

    def attach(self, parts: Sequence[Mapping[str, Any]]) -> "Request":
        """Add other parts, such as images, in the form of the provider: dicts with a "type"."""
        return replace(self, attached=(*self.attached, *parts))

    def output(self, description: Any) -> "Request":
        """Describe the answer; see `Output`. Raises `OutputError` for a value that is not a description."""
        return replace(self, described=Output(description))

    def correct(self, text: str, reason: str) -> "Request":
        """Ask again after an answer that cannot be used: its text, and why, follow as the last two messages.

        Of a text of more than `LONGEST_QUOTE` characters the middle is left out. A later call replaces an earlier one.
        """
        return replace(self, correction=(text, reason))

    def to_messages(self, *, ask_for_json: bool) -> list[dict[str, Any]]:
        """The request as messages, the system prompt first. `ask_for_json`: describe the output in the prompt."""
        said = [dict(message) for message in self.messages]
        names = [*(name for name in self.parts if name not in _LAST), *(name for name in _LAST if name in self.parts)]
        sections = {name.upper(): self.parts[name] for name in names}
        if ask_for_json and self.described is not None:
            sections["OUTPUT REQUIREMENT"] = (
                "Answer with JSON of exactly this structure and nothing else. Replace each <type> by a value; the"
                f" comments say what it is.\n{self.described.prompt}"
            )
        if list(sections) == ["INPUT"]:
            text = _text(sections["INPUT"])
        else:
            text = "\n\n".join(f"[{title}]\n{_text(part)}" for title, part in sections.items())
        if self.attached:
            content = [*([{"type": "text", "text": text}] if text else []), *self.attached]
            said.append({"role": "user", "content": content})
        elif sections:
            said.append({"role": "user", "content": text})
        if self.correction is not None:
            answer, reason = self.correction
            if answer.strip():  # providers refuse a message without text
                _say(said, "assistant", _quote(answer))
            _say(said, "user", f"Your last answer cannot be used: {reason}\n\nGive the whole answer again, corrected.")
        if self.system_prompt is not None:
            said.insert(0, {"role": "system", "content": self.system_prompt})
        return said

    def get_response(self, provider: Provider, **options: Any) -> Response:
        """Return the response. The request is sent when the first reader reads. The options are those of `Response`.

        After an answer that cannot be used the provider gets this request with that answer and the reason added (see
        `correct`); with `tell_why=False`, and after a request that has failed, it gets the same request again.
        """

        def send(attempt: Attempt) -> Source:
            told = self if attempt.reason is None else self.correct(attempt.text, attempt.reason)
            return provider.open(told)

        return Response(send, output=self.described, constrained=provider.constrained, **options)

    def _with(self, name: str, part: Any) -> "Request":
        return replace(self, parts={**self.parts, name: part})


def _text(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False, indent=2)


def _say(messages: list[dict[str, Any]], role: str, text: str) -> None:
    """Add a message. A last message of the same role is continued: many servers want the roles to alternate."""
    last = messages[-1] if messages else {}
    content: Any = last.get("content") if last.get("role") == role else None
    if isinstance(content, str):
        last["content"] = content + text if role == "assistant" else f"{content}\n\n{text}"
    elif isinstance(content, list):
        last["content"] = [*cast("list[Any]", content), {"type": "text", "text": text}]
    else:
        messages.append({"role": role, "content": text})


def _quote(text: str) -> str:
    """The text, shortened in its middle: an answer begins with its structure, and often goes wrong at its end."""
    left_out = len(text) - LONGEST_QUOTE
    if left_out <= 0:
        return text.rstrip()  # Anthropic refuses a last message that ends with a space
    half = LONGEST_QUOTE // 2
    return f"{text[:half]}\n[... {left_out} characters are left out here ...]\n{text[-half:]}".rstrip()
