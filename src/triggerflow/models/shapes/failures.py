"""Errors that providers report in their streams: as a chunk, or beside the content of one."""

from typing import Any

from ..errors import RequestFailedError
from ..translate import reported_error
from .fields import get, items

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
