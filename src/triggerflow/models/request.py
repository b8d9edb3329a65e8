"""`Request`: the messages for a model, and the description of its answer.

Each call returns a new request, so that several requests can be built on the same base:

    request = Request().system("You plan searches.").input(topic).output({"queries": [(str, "a search query")]})
    response = request.get_response(OpenAIProvider("my-model"))
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .deltas import Source
from .output import Output
from .response import Response

Message = Mapping[str, Any]
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
        if self.system_prompt is not None:
            said.insert(0, {"role": "system", "content": self.system_prompt})
        return said

    def get_response(self, provider: Provider, **options: Any) -> Response:
        """Return the response. The request is sent when the first reader reads. The options are those of `Response`."""
        return Response(lambda: provider.open(self), output=self.described, constrained=provider.constrained, **options)

    def _with(self, name: str, part: Any) -> "Request":
        return replace(self, parts={**self.parts, name: part})


def _text(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False, indent=2)
