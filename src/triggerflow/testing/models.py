"""A model that answers from a script, for tests of flows that use `triggerflow.models`."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Self, TypeAlias

import msgspec

from .._core.errors import UsageError
from ..models import Delta, Request

#: `Reply.fields` cuts its JSON into pieces of this many characters.
PIECE = 8


class Reply(msgspec.Struct, frozen=True):
    """One answer of a `ScriptedModel`: the parts of its stream, in order. A part that is an exception is raised.

    `pause`: seconds to wait before each part. Virtual time skips them.
    """

    parts: tuple[str | Delta | BaseException, ...]
    pause: float = 0.0

    @classmethod
    def text(cls, text: str, *, pause: float = 0.0) -> Self:
        """The whole text at once."""
        return cls((text,), pause)

    @classmethod
    def deltas(cls, *parts: str | Delta, pause: float = 0.0) -> Self:
        """Text in pieces. A `Delta` can also bring reasoning, tool calls, a finish reason and the usage."""
        return cls(parts, pause)

    @classmethod
    def fields(cls, value: Any, *, pause: float = 0.0) -> Self:
        """The JSON of a value, in pieces of a few characters, so that its fields are complete one after another."""
        text = json.dumps(value, ensure_ascii=False)
        return cls(tuple(text[at : at + PIECE] for at in range(0, len(text), PIECE)), pause)

    @classmethod
    def error(cls, error: BaseException, *before: str | Delta, pause: float = 0.0) -> Self:
        """These pieces of text, and then an error. Without pieces the request has failed, such as with
        `RateLimitError("...")`; with pieces the answer is cut off."""
        return cls((*before, error), pause)


Answer: TypeAlias = "Reply | str | Mapping[str, Any] | BaseException"
Scripted: TypeAlias = "Answer | Callable[[Request], Answer]"


class ScriptedModel:
    """A provider that answers each request with the next reply of its script, and keeps the requests.

    A reply is a `Reply`. A text stands for `Reply.text`, a dict for `Reply.fields`, an exception for `Reply.error`. A
    function gets the request and returns one of these. Each attempt of a request takes the next reply. A request that
    finds no reply left fails with `UsageError`.
    """

    def __init__(self, *replies: Scripted, constrained: bool = False) -> None:
        #: the requests so far, one for each attempt
        self.requests: list[Request] = []
        self._replies = replies
        self._constrained = constrained

    @property
    def constrained(self) -> bool:
        """Whether it counts as a model whose server guarantees the JSON schema."""
        return self._constrained

    @property
    def remaining(self) -> int:
        """How many replies no request has taken yet."""
        return max(0, len(self._replies) - len(self.requests))

    def open(self, request: Request) -> AsyncGenerator[str | Delta, None]:
        """Take the next reply; called by `Request.get_response` for each attempt."""
        self.requests.append(request)
        number = len(self.requests)
        if number > len(self._replies):
            raise UsageError(f"request {number} came to a ScriptedModel whose script has {len(self._replies)} replies")
        scripted = self._replies[number - 1]
        return _stream(_reply(scripted(request) if callable(scripted) else scripted))


def _reply(answer: Any) -> Reply:
    match answer:
        case Reply():
            return answer
        case str():
            return Reply.text(answer)
        case Mapping():
            return Reply.fields(answer)
        case BaseException():
            return Reply.error(answer)
        case _:
            raise UsageError(
                f"a reply of a ScriptedModel is a Reply, a text, a dict of fields or an exception, got {answer!r}"
            )


async def _stream(reply: Reply) -> AsyncGenerator[str | Delta, None]:
    for part in reply.parts:
        if reply.pause:
            await asyncio.sleep(reply.pause)
        if isinstance(part, BaseException):
            raise part
        yield part


__all__ = ["Reply", "ScriptedModel"]
