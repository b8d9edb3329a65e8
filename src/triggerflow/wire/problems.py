"""Errors over HTTP: exceptions as problem+json (RFC 9457), and back."""

from http import HTTPStatus
from typing import Any

import msgspec

from .. import errors
from ..backend import CODES, BadRequest, ErrorInfo, error_info
from ..backend.shapes import Shape

#: The content type of a problem.
PROBLEM = "application/problem+json"


class NotAllowed(errors.UsageError):
    """The server refuses the call: the token is missing or not valid, or does not grant what the call needs."""


class Busy(errors.TriggerFlowError):
    """The server has as many streams or calls as it allows, or is stopping. Try again, or use another server."""


class Problem(Shape, frozen=True):
    """An error in an answer (RFC 9457), with the `code` of `error_info`. `again`: whether to try again later."""

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
#: The statuses with which a proxy answers for a server that it cannot reach now.
GATEWAY = frozenset((408, 429, 502, 503, 504))
_CLASSES: dict[str, type[Exception]] = {
    # of classes that share a code, the first one in `CODES` is used
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
    """The exception for an answer: of the class that the same call raises in process, if its code is known.

    An answer without a problem, for example of a proxy, gives `NotAllowed` for 401 and 403, `StoreUnavailable` for the
    statuses in `GATEWAY`, and `BadRequest` or `InternalError` for others.
    """
    try:
        found = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = f"the server has answered with status {status}, and no problem+json"
        if status in (401, 403):
            return NotAllowed(text)
        if status in GATEWAY:
            return errors.StoreUnavailable(text)
        return BadRequest(text) if status < 500 else errors.InternalError(text)
    return error_of_problem(found)


def error_of_problem(found: Problem) -> Exception:
    """The exception for a problem. An unknown code gives `BadRequest` or `InternalError`, depending on the status."""
    kind = _CLASSES.get(found.code)
    if kind is None:
        kind = BadRequest if found.status < 500 else errors.InternalError
    text = found.detail or found.title
    if kind is errors.ExecutionCancelled:
        made: Any = errors.ExecutionCancelled(text)
        made.args = (text,)
        return made
    return kind(text)
