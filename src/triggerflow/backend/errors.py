"""The errors of a backend as data: each has a stable code, so that remote callers can distinguish them."""

from typing import Any

from .._core import errors
from .._core.errors import UsageError
from .shapes import Shape


class UnknownFlow(UsageError, LookupError):
    """There is no such flow: this process does not have its code, or the store has no execution or definition of it."""


class BadRequest(UsageError, ValueError):
    """An argument of a backend's method is not valid, such as a number beyond its limit or a malformed cursor."""


class ErrorInfo(Shape, frozen=True):
    """An error as data. `again`: whether the same call may succeed later without any change by the caller."""

    code: str
    message: str
    again: bool = False


#: The code of each class of errors; the first class that fits counts.
CODES: dict[type[BaseException], str] = {
    UnknownFlow: "unknown_flow",
    BadRequest: "bad_request",
    errors.UnknownExecution: "unknown_execution",
    errors.UnknownInterrupt: "unknown_question",
    errors.AlreadyAnswered: "already_answered",
    errors.InterruptExpired: "question_expired",
    errors.AlreadyStarted: "already_started",
    errors.ExecutionExists: "execution_exists",
    errors.ExecutionSuspended: "suspended",
    errors.ExecutionClosed: "ended",
    errors.ContractError: "value_does_not_fit",
    errors.PayloadError: "value_cannot_be_recorded",
    errors.RecordsTrimmed: "records_trimmed",
    errors.SnapshotError: "definition_does_not_fit",
    errors.ExecutionLeased: "owned_elsewhere",
    errors.StoreConflict: "conflict",
    errors.StoreUnavailable: "store_unavailable",
    errors.StoreDamaged: "store_damaged",
    errors.StoreError: "store_failed",
    errors.RemoteChunkError: "failed",
    errors.ExecutionCancelled: "cancelled",
    errors.ExecutionTimedOut: "execution_timed_out",
    errors.DefinitionError: "bad_request",
    errors.UsageError: "not_possible",
    TimeoutError: "timed_out",
    errors.InternalError: "internal",
}
_AGAIN = frozenset(("suspended", "owned_elsewhere", "store_unavailable", "timed_out"))


def error_info(error: BaseException) -> ErrorInfo:
    """An exception as data. One that is neither of the engine nor a `TimeoutError` has the code "internal", and a
    message without details."""
    for kind in type(error).__mro__:
        known: Any = CODES.get(kind)
        if known is not None:
            return ErrorInfo(code=known, message=str(error), again=known in _AGAIN)
    return ErrorInfo(code="internal", message=f"the server failed: {type(error).__name__}")
