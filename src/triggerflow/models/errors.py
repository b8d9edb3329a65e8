"""How a response can fail. The class says whose fault it is, `retry` whether a second request may succeed.

* `MissingExtraError`, `ResponseUsageError`, `OutputError`: the program's.
* `AuthenticationError`, `InvalidRequestError`: the request's; the same request fails again.
* `RateLimitError`, `ProviderError`, `TransportError`, `StallError`: the provider's or the network's.
* `TruncatedResponseError`, `InvalidResponseError`: the answer's; they carry the text and data that arrived.
* `ResponseCancelled`: not a fault; `cancel()` was called, or the last reader left early.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

from .._core.errors import TriggerFlowError


class ModelError(TriggerFlowError):
    """Base class of the errors of `triggerflow.models`."""

    retry: ClassVar[bool] = False
    """Whether the same request may succeed a little later."""


class MissingExtraError(ModelError, ImportError):
    """The SDK of a provider is not installed; the message names the extra to install."""


class OutputError(ModelError, ValueError):
    """The value given as `output` does not describe an answer. The message names the place and what to write."""


class ResponseUsageError(ModelError, RuntimeError):
    """The call is not allowed in the present state of this response."""


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
    """The provider does not accept the request as it is (any other HTTP 4xx)."""


class RateLimitError(RequestFailedError):
    """Too many requests (HTTP 429)."""

    retry: ClassVar[bool] = True


class ProviderError(RequestFailedError):
    """The provider failed (HTTP 5xx, or an error in the middle of its stream)."""

    retry: ClassVar[bool] = True


class TransportError(RequestFailedError):
    """The provider could not be reached, or the connection broke before the first text."""

    retry: ClassVar[bool] = True


class StallError(TransportError, TimeoutError):
    """The provider sent nothing for longer than `stall_timeout` seconds."""


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

    `finish_reason` is "length" or "content_filter" if the provider stopped it; "connection", "stall" or "error" if the
    stream broke off, with the exception as `__cause__`; "end" if the text ended in the middle of its JSON.
    """

    def __init__(self, message: str, *, text: str, data: Any, finish_reason: str) -> None:
        super().__init__(message, text=text, data=data)
        self.finish_reason = finish_reason


class InvalidResponseError(AnswerError, ValueError):
    """The answer is complete, but contains no JSON, or not the JSON that `output` describes. `missing` lists absent
    keys."""

    def __init__(self, message: str, *, text: str, data: Any, missing: Iterable[str] = ()) -> None:
        super().__init__(message, text=text, data=data)
        self.missing = tuple(missing)


_CONNECTION = {"APIConnectionError", "TransportError", "ClientConnectionError", "ClientPayloadError"}
"""Names of the connection errors of HTTP libraries and SDKs. Compared by name: none of them is imported here."""


def translate(error: Exception) -> Exception:
    """The `ModelError` for an exception of an SDK or a socket; `error` itself for any other exception."""
    if isinstance(error, ModelError):
        return error
    response: Any = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if isinstance(status, int):
        return _from_status(status, str(error), retry_after(getattr(response, "headers", None)))
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, OSError | EOFError) or names & _CONNECTION:
        return TransportError(f"the connection to the provider failed: {error or type(error).__name__}")
    if "APIError" in names:
        return ProviderError(f"the provider reported an error in its stream: {error}")
    return error


def _from_status(status: int, said: str, wait: float | None) -> RequestFailedError:
    if status in (401, 403):
        return AuthenticationError(
            f"the provider refused the key (HTTP {status}); check api_key: {said}", status=status
        )
    if status == 429:
        return RateLimitError(f"the provider's rate limit is reached: {said}", status=status, retry_after=wait)
    if status in (408, 409) or status >= 500:
        return ProviderError(f"the provider failed (HTTP {status}): {said}", status=status, retry_after=wait)
    return InvalidRequestError(f"the provider refused the request (HTTP {status}): {said}", status=status)


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """The seconds that a `Retry-After` header asks for, given as a number or as a date; None without a usable one."""
    text = (headers or {}).get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # it is no date, or a date without a time zone
            return None
    return max(0.0, seconds) if seconds == seconds else None
