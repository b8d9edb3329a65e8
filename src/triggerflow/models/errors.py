"""How a response can fail. The class says whose fault it is, `retry` whether a second request may succeed.

* `MissingExtraError`, `ResponseUsageError`, `OutputError`: the program's.
* `AuthenticationError`, `InvalidRequestError`: the request's; the same request fails again.
* `QuotaError`: the account's; it has no credit left.
* `RateLimitError`, `ProviderError`, `TransportError`, `StallError`: the provider's or the network's.
* `TruncatedResponseError`, `InvalidResponseError`: the answer's; they carry the text and data that arrived.
* `RefusalError`: the model's; it carries the text in which the model refuses.
* `ChunkError`: the source's: it gives chunks of a shape that is not known.
* `ResponseCancelled`: not a fault; `cancel()` was called, or the last reader left early.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Any, ClassVar

from .._core.errors import TriggerFlowError
from .instant import Problem


def shortened(text: str, most: int = 500) -> str:
    """The text on one line, of at most so many characters: some proxies report an error with a web page."""
    line = " ".join(text[: 2 * most].split())
    return line if len(line) <= most else f"{line[:most]} ..."


class ModelError(TriggerFlowError):
    """Base class of the errors of `triggerflow.models`."""

    retry: ClassVar[bool] = False
    """Whether the same request may succeed a little later."""

    attempts: tuple[str, ...] = ()
    """If this error ended a response: why each of its attempts failed, in short, the last one included."""
    ended_by: str | None = None
    """The limit that forbade another attempt, such as "max_retries=3"; None if none was to follow anyway."""
    usage: Mapping[str, int] = MappingProxyType({})
    """The tokens that these attempts used, as far as the provider has told."""

    def __str__(self) -> str:
        said = super().__str__()
        number = len(self.attempts)
        if number < 2 and self.ended_by is None:
            return said
        parts = [f"attempt {number}" if self.ended_by is None else f"attempt {number}, the last one: {self.ended_by}"]
        at = 1
        for reason, same in groupby(self.attempts[:-1]):
            last = at + len([*same]) - 1
            reason = "the same" if reason == self.attempts[-1] else reason
            parts.append(f"attempt {at}: {reason}" if at == last else f"attempts {at} to {last}: {reason}")
            at = last + 1
        return f"{said} [{'; '.join(parts)}]"


class MissingExtraError(ModelError, ImportError):
    """The SDK of a provider is not installed; the message names the extra to install."""


class OutputError(ModelError, ValueError):
    """The value given as `output` does not describe an answer. The message names the place and what to write."""


class ResponseUsageError(ModelError, RuntimeError):
    """The call is not allowed in the present state of this response, or has an option that is wrong."""


class FieldsWithdrawnError(ModelError):
    """Fields of `response.fields` are void, because their answer was dropped after they were handed out.

    `attempt` is the number of the answer that follows, from 1.
    """

    def __init__(self, message: str, attempt: int) -> None:
        super().__init__(message)
        self.attempt = attempt


class ResponseCancelled(ModelError):
    """The response was cancelled while the model was still writing."""


class RequestFailedError(ModelError):
    """The provider gave no answer.

    `status` is the HTTP status, `retry_after` the pause that the provider asks for, in seconds; both may be None.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class AuthenticationError(RequestFailedError):
    """The provider does not accept the key, or the key may not use this model (HTTP 401, 403)."""


class InvalidRequestError(RequestFailedError):
    """The provider does not accept the request as it is (any other HTTP 4xx), or what answers at that address is no
    model (HTTP 200 with a web page, for example)."""


class RateLimitError(RequestFailedError):
    """Too many requests (HTTP 429)."""

    retry: ClassVar[bool] = True


class QuotaError(RateLimitError):
    """The account has no credit left, or has reached its spending limit (HTTP 402). Waiting a little does not help."""

    retry: ClassVar[bool] = False


class ProviderError(RequestFailedError):
    """The provider failed (HTTP 5xx, an error in the middle of its stream, or a finish reason that says so)."""

    retry: ClassVar[bool] = True


class TransportError(RequestFailedError):
    """The provider could not be reached, or the connection broke before the first text."""

    retry: ClassVar[bool] = True


class StallError(TransportError, TimeoutError):
    """The provider sent nothing, not even a keep-alive, for longer than `stall_timeout` seconds."""


class FirstTokenError(StallError):
    """The server was alive, but the model wrote nothing within `first_token_timeout` seconds."""


class ChunkError(ModelError, TypeError):
    """A chunk of the source is of no known shape, or has something else than text where its text should be. The message
    shows the chunk; an adapter can read it."""


class AnswerError(ModelError):
    """The answer cannot be used.

    `text` is the text that arrived, `data` the part of its JSON that arrived; None if there is no JSON in it.
    """

    def __init__(self, message: str, *, text: str, data: Any) -> None:
        super().__init__(message)
        self.text = text
        self.data = data


class TruncatedResponseError(AnswerError):
    """The answer stopped before its end.

    `finish_reason` is "length", "content_filter" or "pause_turn" if the provider stopped it; "connection", "stall" or
    "error" if the stream broke off, with the exception as `__cause__`; the provider's own word for a failure if it
    ended the answer with one; "end" if the text ended in the middle of its JSON.
    """

    def __init__(self, message: str, *, text: str, data: Any, finish_reason: str) -> None:
        super().__init__(message, text=text, data=data)
        self.finish_reason = finish_reason


class InvalidResponseError(AnswerError, ValueError):
    """The answer is complete, but contains no JSON, not the JSON that `output` describes, or JSON with errors after
    which its value is not certain. `missing` lists absent keys, `problems` the places of `text` that are not JSON."""

    def __init__(
        self, message: str, *, text: str, data: Any, missing: Iterable[str] = (), problems: Iterable[Problem] = ()
    ) -> None:
        super().__init__(message, text=text, data=data)
        self.missing = tuple(missing)
        self.problems = tuple(problems)
        self.misfits: tuple[str, ...] = ()
        """If the answer has another structure: each place that does not fit, with what is expected and what came."""

    @property
    def reason(self) -> str:
        """What is wrong, in words for the model."""
        if self.missing:
            return f"it lacks the keys {[*self.missing]}"
        if self.misfits:
            return "\n- ".join(["it does not have the structure that was asked for:", *self.misfits])
        uncertain = [str(problem) for problem in self.problems if not problem.repaired]
        return "\n- ".join([str(self), *uncertain[1:10]])  # the message has the first


class RefusalError(AnswerError):
    """The model refuses to answer; `text` is its refusal. The same request would be refused again: change it."""
