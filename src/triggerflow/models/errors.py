"""How a response can fail. The class says whose fault it is, `retry` whether a second request may succeed.

* `MissingExtraError`, `ResponseUsageError`, `OutputError`: the program's.
* `AuthenticationError`, `InvalidRequestError`: the request's; the same request fails again.
* `QuotaError`: the account's; it has no credit left.
* `RateLimitError`, `ProviderError`, `TransportError`, `StallError`: the provider's or the network's.
* `TruncatedResponseError`, `InvalidResponseError`: the answer's; they carry the text and data that arrived.
* `RefusalError`: the model's; it carries the text in which the model refuses.
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

    `finish_reason` is "length", "content_filter" or "pause_turn" if the provider stopped it; "connection", "stall" or
    "error" if the stream broke off, with the exception as `__cause__`; the provider's own word for a failure if it
    ended the answer with one; "end" if the text ended in the middle of its JSON.
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


class RefusalError(AnswerError):
    """The model refuses to answer; `text` is its refusal. The same request would be refused again: change it."""


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


_FAULTS: dict[type[RequestFailedError], set[str]] = {
    QuotaError: {
        *("insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"),
        *("insufficient_balance", "insufficient_credits", "quota_exceeded", "exceeded_current_quota_error"),
    },
    RateLimitError: {
        *("rate_limit_error", "rate_limit_exceeded", "rate_limit", "rate_limit_reached_error", "too_many_requests"),
        *("throttling", "throttling_error", "throttling_exception", "resource_exhausted", "rate_limited"),
        *("tokens", "requests"),  # OpenAI's types of a rate limit
    },
    AuthenticationError: {
        *("authentication_error", "invalid_authentication_error", "permission_error", "permission_denied"),
        *("unauthenticated", "unauthorized", "forbidden", "invalid_api_key", "incorrect_api_key"),
        *("access_denied", "access_denied_exception", "permission_denied_error", "access_terminated"),
    },
    InvalidRequestError: {
        *("invalid_request_error", "invalid_request", "bad_request", "bad_request_error", "validation_exception"),
        *("validation_error", "invalid_argument", "failed_precondition", "out_of_range", "not_found"),
        *("not_found_error", "model_not_found", "request_too_large", "context_length_exceeded", "invalid_prompt"),
        *("string_above_max_length", "unprocessable_entity", "unprocessable_entity_error", "unsupported_value"),
        *("content_policy_violation", "bio_policy", "misalignment_policy_violation", "data_residency_mismatch"),
        *("image_content_policy_violation", "exceed_context_size_error", "invalid_image", "invalid_image_url"),
        *("invalid_image_format", "invalid_base64_image", "invalid_image_mode", "image_too_large", "image_too_small"),
        *("image_parse_error", "image_file_too_large", "image_file_not_found", "empty_image_file"),
        *("unsupported_image_media_type", "failed_to_download_image", "billing_not_found"),
    },
    ProviderError: {
        *("overloaded_error", "overloaded", "api_error", "server_error", "internal_server_error", "internal_error"),
        *("internal", "unavailable", "service_unavailable", "service_unavailable_error", "timeout", "timeout_error"),
        *("deadline_exceeded", "bad_gateway", "gateway_timeout", "gateway_timeout_error", "engine_overloaded_error"),
        *("model_stream_error_exception", "internal_server_exception", "service_unavailable_exception"),
        *("model_timeout_exception", "model_not_ready_exception", "vector_store_timeout", "generation"),
        *("incomplete_generation", "upstream_error", "provider_error", "internal_failure"),
    },
}
"""Whose fault an error is, by the words for it in `code`, `type` and `status` of providers' errors."""
_FAULT_OF = {word.replace("_", ""): fault for fault, words in _FAULTS.items() for word in words}


def reported(error: Any) -> RequestFailedError:
    """The error that a provider reports as data, in the middle of its stream or in place of an answer.

    `error` is a text, or an object or dict with some of `message`, `code`, `type` and `status`. A number from 400 on
    among them is an HTTP status. What none of them explains is the provider's failure.
    """
    while (inner := _field(error, "error")) and not isinstance(inner, bool | int):
        # The inner error says more; some providers give a text there, and its kind beside it.
        error = inner if _field(inner, "message") else {**{name: _field(error, name) for name in _KINDS}, "message": inner}
    marks = [mark for name in _KINDS if (mark := _field(error, name)) not in (None, "", "error")]
    status = next((number for mark in marks if 400 <= (number := _number(mark)) < 600), None)
    faults = [fault for mark in marks if (fault := _FAULT_OF.get(_letters(mark))) is not None]
    message = _field(error, "message", "msg", "detail", "errorMessage") or error
    kind = ", ".join(dict.fromkeys(str(mark) for mark in marks))
    said = f"{message} ({kind})" if kind and kind not in str(message) else str(message)
    if QuotaError in faults:
        return _failed(QuotaError, said, status)
    if status is not None:
        return _from_status(status, said, None)
    return _failed(faults[0] if faults else ProviderError, said, None)


_KINDS = ("code", "type", "error_type", "status", "status_code", "reason", "__type")
_SAID: dict[type[RequestFailedError], str] = {
    QuotaError: "the provider's account has no credit left; waiting does not help",
    RateLimitError: "the provider's rate limit is reached",
    AuthenticationError: "the provider refused the key; check api_key",
    InvalidRequestError: "the provider refused the request",
    ProviderError: "the provider reported an error in its stream",
}


def _failed(fault: type[RequestFailedError], said: str, status: int | None) -> RequestFailedError:
    return fault(f"{_SAID[fault]}: {said}", status=status)


def _field(error: Any, *names: str) -> Any:
    for name in names:
        found = error.get(name) if isinstance(error, Mapping) else getattr(error, name, None)  # pyright: ignore
        if found is not None:
            return found
    return None


def _number(mark: Any) -> int:
    return int(mark) if isinstance(mark, int) or (isinstance(mark, str) and mark.isdecimal()) else 0


def _letters(mark: Any) -> str:
    """A word without case and separators: `RateLimitError`, `rate_limit_error` and `RATE-LIMIT-ERROR` are the same."""
    return "".join(letter for letter in str(mark).lower() if letter.isalnum())


def _from_status(status: int, said: str, wait: float | None) -> RequestFailedError:
    if status in (401, 403):
        return AuthenticationError(
            f"the provider refused the key (HTTP {status}); check api_key: {said}", status=status
        )
    if status == 402:
        return _failed(QuotaError, said, status)
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
