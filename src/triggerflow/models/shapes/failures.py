"""Errors that providers report in their streams: as a chunk, beside a chunk's content, or in one of its choices."""

from typing import Any

from ..errors import RequestFailedError, reported
from .fields import get, items

_EXCEPTIONS = (
    *("internalServerException", "modelStreamErrorException", "modelTimeoutException", "throttlingException"),
    *("serviceUnavailableException", "validationException"),
)
"""The events of Amazon's streams that report an error."""


def failure_in(chunk: Any) -> RequestFailedError | None:
    """The error that a chunk reports, or None. The chunk may have any shape."""
    error = get(chunk, "error")
    if error:
        return reported(chunk if isinstance(error, str) else error)
    for choice in items(get(chunk, "choices")):
        if error := get(choice, "error"):
            return reported(error)
    kind = get(chunk, "type")
    if kind == "error" or get(chunk, "object") == "error" or get(chunk, "event") == "error":
        return reported(chunk)
    if kind == "response.failed":
        return reported(get(chunk, "response", "error") or {"message": "the response failed", "code": "server_error"})
    return None


def failure_of_no_shape(chunk: Any) -> RequestFailedError | None:
    """The error in a chunk that is of no known shape and looks like one; None if it does not."""
    for name in _EXCEPTIONS:
        if (error := get(chunk, name)) is not None:
            return reported({"type": name, "message": get(error, "message") or get(error, "Message") or name})
    found = get(chunk, "errors")
    if isinstance(found, list) and found:
        return reported(next(items(found), found))
    kinds = ("code", "type", "status", "error_type", "error_code", "status_code", "param")
    says = get(chunk, "message") or get(chunk, "msg")
    if isinstance(says, str) and says and any(get(chunk, name) is not None for name in kinds):
        return reported(chunk)
    if get(chunk, "detail") and not get(chunk, "content"):
        return reported(chunk)
    return None
