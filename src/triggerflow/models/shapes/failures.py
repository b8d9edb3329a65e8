"""Errors that providers report in JSON: as a chunk, beside the content of one, or as the whole answer.

There is no HTTP status then, or one that says nothing; the code or type in the JSON decides whose fault it is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..errors import (
    AuthenticationError,
    InvalidRequestError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RequestFailedError,
    shortened,
)
from .fields import get, items

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
_OF_STATUS: dict[int, type[RequestFailedError]] = {
    401: AuthenticationError,
    402: QuotaError,
    403: AuthenticationError,
    429: RateLimitError,
}
_STATUS = re.compile(r"[45]\d\d")
_GENERAL = {"invalidrequest", "invalidrequesterror", "badrequest", "badrequesterror"}
"""Types that some providers give for every request that fails."""
_WORDS = ("code", "type", "status", "error_code", "error_type", "status_code", "__type")
_TEXTS = ("message", "msg", "error_msg", "detail", "error_description")
_EXCEPTIONS = (
    *("internalServerException", "modelStreamErrorException", "modelTimeoutException", "throttlingException"),
    *("serviceUnavailableException", "validationException"),
)
"""The events of Amazon's streams that report an error."""


def failure_in(chunk: Any) -> RequestFailedError | None:
    """The error that a chunk of any shape reports, or None. For errors in its choices or events, see their readers."""
    error = get(chunk, "error")
    if error:
        return reported_error(chunk if isinstance(error, str) else error)
    if "error" in (get(chunk, "type"), get(chunk, "object"), get(chunk, "event")):
        return reported_error(chunk)
    return None


def failure_of_no_shape(chunk: Any) -> RequestFailedError | None:
    """The error in a chunk that is of no known shape and looks like one; None if it does not."""
    for name in _EXCEPTIONS:
        if (error := get(chunk, name)) is not None:
            return reported_error({"type": name, "message": get(error, "message") or get(error, "Message") or name})
    found = next(items(get(chunk, "errors")), None)
    if found is not None:
        return reported_error(found)
    kinds = ("code", "type", "status", "error_type", "error_code", "status_code", "param")
    says = get(chunk, "message") or get(chunk, "msg")
    if isinstance(says, str) and says and any(get(chunk, name) is not None for name in kinds):
        return reported_error(chunk)
    if get(chunk, "detail") and not get(chunk, "content"):
        return reported_error(chunk)
    return None


def reports_error(body: Mapping[str, Any]) -> bool:
    """Whether JSON that came in place of an answer reports an error."""
    return bool(body.get("error") or body.get("errors")) or "error" in (body.get("type"), body.get("object"))


def reported_error(said: Any, where: str = "in its stream", *, retry_after: float | None = None) -> RequestFailedError:
    """The error for what a provider reported: a text, or a mapping or object with a code, a type and a message.

    It may be wrapped, as in `{"type": "error", "error": {...}}`. `where` ends the sentence "the provider reported an
    error ...".
    """
    found = _opened(said)
    words = _words(found)
    text = next((text for name in _TEXTS if (text := get(found, name))), found)
    inner = get(get(found, "metadata"), "raw")  # OpenRouter: what the provider behind it said
    message = " | ".join(_text(part) for part in (text, inner) if part)
    named = f" ({', '.join(dict.fromkeys(words))})" if words else ""
    kind, status = _kind(words)
    return kind(
        f"the provider reported an error {where}: {shortened(message)}{named}", status=status, retry_after=retry_after
    )


def error_of_status(status: int, said: str, wait: float | None = None, named: Any = None) -> RequestFailedError:
    """The error for an HTTP status. `said`: what the provider said; `wait`: the pause that it asks for, in seconds.

    `named`: the body, or what has its code and type. These say more than the status: an account without credit is
    reported as 429, 403 or 400.
    """
    general = status in (*_OF_STATUS, 408, 409)  # a type like "invalid_request_error" says less than these
    words = [word for word in _words(_opened(named)) if not _STATUS.fullmatch(word)]
    kinds = [kind for word in words if not (general and _plain(word) in _GENERAL) for kind in _kinds(word)]
    kind = _first(kinds, _kind_of_status(status))
    hint = "; check base_url and the model's name" if status in (404, 405) else ""
    messages: dict[type[RequestFailedError], str] = {
        AuthenticationError: f"the provider refused the key (HTTP {status}); check api_key",
        QuotaError: "the provider's account has no credit left",
        RateLimitError: "the provider's rate limit is reached",
        ProviderError: f"the provider failed (HTTP {status})",
        InvalidRequestError: f"the provider refused the request (HTTP {status}{hint})",
    }
    return kind(f"{messages[kind]}: {said}", status=status, retry_after=wait if kind.retry else None)


def _kind_of_status(status: int) -> type[RequestFailedError]:
    failed = status in (408, 409) or status >= 500
    return _OF_STATUS.get(status, ProviderError if failed else InvalidRequestError)


def _kind(words: Sequence[str]) -> tuple[type[RequestFailedError], int | None]:
    """The class and the HTTP status for the words of an error."""
    statuses = [int(word) for word in words if _STATUS.fullmatch(word)]
    return _first([kind for word in words for kind in _kinds(word)], ProviderError), next(iter(statuses), None)


def _kinds(word: str) -> list[type[RequestFailedError]]:
    """The classes that a code or type may mean."""
    of_status = [_kind_of_status(int(word))] if _STATUS.fullmatch(word) else []
    plain = _plain(word)
    return [*of_status, *(kind for kind, parts in KINDS.items() if any(part in plain for part in parts))]


def _first(kinds: Sequence[type[RequestFailedError]], otherwise: type[RequestFailedError]) -> type[RequestFailedError]:
    """A lack of credit is often called a rate limit, too."""
    return QuotaError if QuotaError in kinds else next(iter(kinds), otherwise)


def _words(found: Any) -> list[str]:
    return [str(word) for name in _WORDS if (word := get(found, name)) not in (None, "", "error")]


def _plain(word: str) -> str:
    return re.sub(r"[^a-z]", "", word.lower())


def _opened(said: Any) -> Any:
    while True:
        inner = get(said, "error") or get(said, "errors")
        if isinstance(inner, list | tuple):
            inner = next(iter(cast("list[Any]", inner)), None)
        if not inner or (isinstance(inner, str) and get(said, "message")):
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


def _text(value: Any) -> str:
    if isinstance(value, str | Exception):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)
