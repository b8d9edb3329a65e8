"""Whose fault a failure is: exceptions of SDKs, HTTP statuses and errors reported in JSON, as the errors of `.errors`.

A provider reports an error in JSON inside of a stream, or in an answer with HTTP 200. There is no HTTP status then, or
one that says nothing; the code or type in the JSON decides.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from .errors import (
    AuthenticationError,
    InvalidRequestError,
    ModelError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RequestFailedError,
    TransportError,
)

CONNECTION = {"APIConnectionError", "TransportError", "DecodingError", "ClientConnectionError", "ClientPayloadError"}
"""Names of the connection errors of HTTP libraries and SDKs. Compared by name: none of them is imported here."""
UNSENDABLE = {"UnsupportedProtocol", "LocalProtocolError", "InvalidURL"}
"""Names of the errors of `httpx` for a request that cannot be sent: its address or a header is wrong."""
KINDS: dict[type[RequestFailedError], tuple[str, ...]] = {
    QuotaError: (
        *("insufficientquota", "exceededcurrentquota", "billing", "paymentrequired", "insufficientbalance"),
        "insufficientcredit",
    ),
    AuthenticationError: (
        *("authentication", "permission", "apikey", "unauthorized", "unauthenticated", "forbidden", "accessdenied"),
        *("accesstoken", "invalidtoken", "expiredtoken"),
    ),
    RateLimitError: ("ratelimit", "resourceexhausted", "toomanyrequests", "throttl", "quota"),
    InvalidRequestError: (
        *("invalidrequest", "badrequest", "invalidargument", "invalidparameter", "invalidvalue", "invalidprompt"),
        *("invalidimage", "invalidschema", "notfound", "notexist", "toolarge", "toolong", "contextlength"),
        *("contextwindow", "unsupported", "missingrequired", "failedprecondition", "unprocessable", "validation"),
        *("unknownparameter", "policy", "abovemax", "contextsize", "image", "dataresidency"),
    ),
}
"""What the code or type of a reported error contains, without case and punctuation. Any other is a failure of the
provider, which a retry may cure."""
_WORDS = ("code", "type", "status", "error_code", "error_type", "status_code", "__type")
_TEXTS = ("message", "msg", "error_msg", "detail", "error_description")
_SHOWN = 500


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
        return _error_of_status(status, shortened(str(error)), wait)
    if isinstance(status, int) or "APIError" in names:
        # In the middle of a stream an error has no status, or that of the success with which the stream began.
        return reported_error(getattr(error, "body", None) or error, retry_after=wait)
    return error


def reports_error(body: Mapping[str, Any]) -> bool:
    """Whether JSON that came in place of an answer reports an error."""
    return bool(body.get("error") or body.get("errors")) or "error" in (body.get("type"), body.get("object"))


def reported_error(said: Any, where: str = "in its stream", *, retry_after: float | None = None) -> RequestFailedError:
    """The error for what a provider reported: a text, or a mapping or object with a code, a type and a message.

    It may be wrapped, as in `{"type": "error", "error": {...}}`. `where` ends the sentence "the provider reported an
    error ...".
    """
    found = _opened(said)
    words = [str(word) for name in _WORDS if (word := _get(found, name)) not in (None, "", "error")]
    text = next((text for name in _TEXTS if (text := _get(found, name))), found)
    inner = _get(_get(found, "metadata"), "raw")  # OpenRouter: what the provider behind it said
    message = " | ".join(_text(part) for part in (text, inner) if part)
    named = f" ({', '.join(dict.fromkeys(words))})" if words else ""
    kind, status = _kind(words)
    return kind(
        f"the provider reported an error {where}: {shortened(message)}{named}", status=status, retry_after=retry_after
    )


def shortened(text: str, most: int = _SHOWN) -> str:
    """The text on one line, of at most so many characters: a proxy may report an error with a whole web page."""
    line = " ".join(text[: 2 * most].split())
    return line if len(line) <= most else f"{line[:most]} ..."


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


def _error_of_status(status: int, said: str, wait: float | None) -> RequestFailedError:
    if status in (401, 403):
        return AuthenticationError(
            f"the provider refused the key (HTTP {status}); check api_key: {said}", status=status
        )
    if status == 402:
        return QuotaError(f"the provider's account has no credit left: {said}", status=status)
    if status == 429:
        return RateLimitError(f"the provider's rate limit is reached: {said}", status=status, retry_after=wait)
    if status in (408, 409) or status >= 500:
        return ProviderError(f"the provider failed (HTTP {status}): {said}", status=status, retry_after=wait)
    hint = "; check base_url and the model's name" if status in (404, 405) else ""
    return InvalidRequestError(f"the provider refused the request (HTTP {status}{hint}): {said}", status=status)


def _kind(words: Sequence[str]) -> tuple[type[RequestFailedError], int | None]:
    """The class and the HTTP status for the words of an error. A lack of credit is often given as HTTP 429, too."""
    kinds: list[type[RequestFailedError]] = []
    statuses = [int(word) for word in words if re.fullmatch(r"[45]\d\d", word)]
    for word in words:
        if re.fullmatch(r"[45]\d\d", word):
            kinds.append(type(_error_of_status(int(word), "", None)))
        plain = re.sub(r"[^a-z]", "", word.lower())
        kinds.extend(kind for kind, parts in KINDS.items() if any(part in plain for part in parts))
    kind = QuotaError if QuotaError in kinds else next(iter(kinds), ProviderError)
    return kind, next(iter(statuses), None)


def _opened(said: Any) -> Any:
    while True:
        inner = _get(said, "error") or _get(said, "errors")
        if isinstance(inner, list | tuple):
            inner = next(iter(cast("list[Any]", inner)), None)
        if not inner or (isinstance(inner, str) and _get(said, "message")):
            return said
        if isinstance(inner, str) and (read := _json_object(inner)):
            said = read
            continue
        if isinstance(inner, str):
            return {**cast("Mapping[str, Any]", said), "message": inner} if isinstance(said, Mapping) else inner
        said = inner


def _json_object(text: str) -> dict[str, Any] | None:
    """The object that a text is in JSON: gateways pass on what the server behind them said as text."""
    try:
        found: Any = json.loads(text) if text.lstrip()[:1] == "{" else None
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _get(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    return None if isinstance(value, str) else getattr(value, name, None)


def _text(value: Any) -> str:
    if isinstance(value, str | Exception):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)
