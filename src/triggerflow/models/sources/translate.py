"""Exceptions of SDKs and sockets, as the errors of `models.errors`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import InvalidRequestError, ModelError, TransportError, shortened
from ..shapes import error_of_status, reported_error

CONNECTION = {"APIConnectionError", "TransportError", "DecodingError", "ClientConnectionError", "ClientPayloadError"}
"""Names of the connection errors of HTTP libraries and SDKs. Compared by name: none of them is imported here."""
UNSENDABLE = {"UnsupportedProtocol", "LocalProtocolError", "InvalidURL"}
"""Names of the errors of `httpx` for a request that cannot be sent: its address or a header is wrong."""


def translate(error: Exception) -> Exception:
    """The `ModelError` for an exception of an SDK or a socket; `error` itself for any other exception."""
    if isinstance(error, ModelError):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    caused = {type(error).__name__, type(error.__cause__).__name__}
    if unsendable := caused & UNSENDABLE:
        # The text is not shown: it may quote a header with the key in it.
        return InvalidRequestError(
            f"the request cannot be sent ({unsendable.pop()}): check base_url, which begins with http:// or https://,"
            " and api_key and headers, which may not contain line breaks"
        )
    if isinstance(error, OSError | EOFError) or names & CONNECTION:
        told = dict.fromkeys(str(part) or type(part).__name__ for part in (error, error.__cause__) if part is not None)
        return TransportError(f"the connection to the provider failed: {shortened(' '.join(told))}")
    response: Any = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    wait = retry_after(getattr(response, "headers", None))
    if isinstance(status, int) and status >= 300:
        return error_of_status(status, shortened(str(error)), wait, getattr(error, "body", None) or error)
    if isinstance(status, int) or "APIError" in names:
        # In the middle of a stream an error has no status, or that of the success with which the stream began.
        return reported_error(getattr(error, "body", None) or error, retry_after=wait)
    return error


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """The seconds that a server asks to wait: `retry-after-ms`, or `Retry-After` as a number or a date; None without a
    usable one."""
    headers = headers or {}
    text = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # it is no date, or a date without a time zone
            return None
    return max(0.0, seconds) if seconds == seconds else None
