"""Errors over HTTP: problem+json (RFC 9457) of exceptions, and exceptions of problem+json."""

from http import HTTPStatus
from typing import Any

import msgspec

from .. import errors
from ..backend import CODES, BadRequest, ErrorInfo, error_info
from ..backend.shapes import Shape

#: The content type of a problem.
PROBLEM = "application/problem+json"


class NotAllowed(errors.UsageError):
    """The server does not take this call with this token: there is none, it is wrong, or its scope is too small."""


class Busy(errors.TriggerFlowError):
    """The server takes no more of these now: it has too many streams or calls, or it stops. Try again, or elsewhere."""


class Problem(Shape, frozen=True):
    """An error as a server answers it (RFC 9457), with the `code` of `error_info` and whether to try again."""

    status: int
    code: str
    title: str
    detail: str = ""
    type: str = "about:blank"
    again: bool = False


#: The HTTP status of each code.
STATUS: dict[str, int] = {
    "bad_request": 400,
    "no_token": 401,
    "not_allowed": 403,
    "wrong_host": 421,
    "unknown_flow": 404,
    "unknown_execution": 404,
    "unknown_question": 404,
    "unknown_route": 404,
    "method_not_allowed": 405,
    "timed_out": 504,
    "already_answered": 409,
    "question_expired": 409,
    "already_started": 409,
    "execution_exists": 409,
    "suspended": 503,
    "ended": 409,
    "conflict": 409,
    "not_possible": 409,
    "definition_does_not_fit": 409,
    "owned_elsewhere": 503,
    "records_trimmed": 410,
    "too_large": 413,
    "too_long": 414,
    "too_slow": 408,
    "not_json": 415,
    "value_does_not_fit": 422,
    "value_cannot_be_recorded": 422,
    "busy": 503,
    "stopping": 503,
    "store_unavailable": 503,
    "store_damaged": 500,
    "store_failed": 500,
    "failed": 500,
    "cancelled": 500,
    "execution_timed_out": 500,
    "internal": 500,
}
_CLASSES: dict[str, type[Exception]] = {
    # several classes share a code: the first one in `CODES` stands for it
    **{code: kind for kind, code in reversed(CODES.items()) if issubclass(kind, Exception)},
    "no_token": NotAllowed,
    "not_allowed": NotAllowed,
    "wrong_host": NotAllowed,
    "busy": Busy,
    "stopping": Busy,
}


def problem(code: str, detail: str, *, again: bool = False) -> Problem:
    """The problem of a code."""
    status = STATUS.get(code, 500)
    return Problem(status=status, code=code, title=HTTPStatus(status).phrase, detail=detail, again=again)


def problem_of(error: BaseException) -> Problem:
    """An exception as a problem."""
    if isinstance(error, NotAllowed):
        return problem("not_allowed", str(error))
    if isinstance(error, Busy):
        return problem("busy", str(error), again=True)
    info: ErrorInfo = error_info(error)
    return problem(info.code, info.message, again=info.again)


def error_of(status: int, body: bytes) -> Exception:
    """The exception that an answer stands for: of the class that the same call raises in process, if that is known.

    An answer that is not a problem (of a proxy, say) gives `StoreUnavailable` for the statuses of a gateway, and
    `BadRequest` or `InternalError` for others.
    """
    try:
        found = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = f"the server has answered with status {status}, and no problem+json"
        if status in (401, 403):
            return NotAllowed(text)
        if status in (408, 429, 502, 503, 504):
            return errors.StoreUnavailable(text)
        return BadRequest(text) if status < 500 else errors.InternalError(text)
    return error_of_problem(found)


def error_of_problem(found: Problem) -> Exception:
    """The exception of a problem. Codes that this version does not know give the class that fits the status."""
    kind = _CLASSES.get(found.code)
    if kind is None:
        kind = BadRequest if found.status < 500 else errors.InternalError
    text = found.detail or found.title
    if kind is errors.ExecutionCancelled:
        made: Any = errors.ExecutionCancelled(text)
        made.args = (text,)
        return made
    return kind(text)
