"""A request to any model: what to say, and what the answer has to be.

Built as a chain, each call of which returns a new request, so that a base may be shared:

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
    """What can answer a request."""

    @property
    def constrained(self) -> bool:
        """Whether the server makes the answer fit the JSON schema; if not, the prompt has to ask for it."""
        ...

    def open(self, request: "Request") -> Source:
        """Send the request; return a source of its answer, or a coroutine that does. Called once for each attempt."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What to say to a model. Every part may be text or anything that JSON can hold."""

    messages: tuple[Message, ...] = ()
    """Said before the other parts: `{"role": "user" | "assistant", "content": ...}`."""
    system_prompt: str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The sections of the message by their names: those of other names stand before info, instruct and input."""
    described: Output | None = None
    attached: tuple[Mapping[str, Any], ...] = ()

    def history(self, messages: Sequence[Message]) -> "Request":
        """Add messages, oldest first."""
        return replace(self, messages=(*self.messages, *messages))

    def system(self, prompt: str) -> "Request":
        """Say what holds for the whole conversation."""
        return replace(self, system_prompt=prompt)

    def info(self, info: Any) -> "Request":
        """Add what the model should know."""
        return self._with("info", info)

    def instruct(self, instruct: Any) -> "Request":
        """Add what the model should do."""
        return self._with("instruct", instruct)

    def input(self, input: Any) -> "Request":
        """Add what it should do it with."""
        return self._with("input", input)

    def attach(self, parts: Sequence[Mapping[str, Any]]) -> "Request":
        """Add parts that are no text of ours, images say, as the provider takes them: `{"type": ..., ...}`."""
        return replace(self, attached=(*self.attached, *parts))

    def output(self, description: Any) -> "Request":
        """Describe the answer, see `Output`. Raises `OutputError` for something that describes none."""
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
        """The answer, nothing of which is asked for before somebody reads it. Options are those of `Response`."""
        return Response(lambda: provider.open(self), output=self.described, constrained=provider.constrained, **options)

    def _with(self, name: str, part: Any) -> "Request":
        return replace(self, parts={**self.parts, name: part})


def _text(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False, indent=2)
