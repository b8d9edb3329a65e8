"""Errors as answers, without details that callers must not see."""

import logging
from collections.abc import Mapping

import msgspec

from ..errors import StoreError, TriggerFlowError
from ..wire import Problem, problem_of
from ..wire.problems import problem
from .inputs import Refused

logger = logging.getLogger("triggerflow.server")


def problem_and_headers(error: Exception) -> tuple[Problem, list[tuple[bytes, bytes]]]:
    """An error as a problem, and further headers of the answer."""
    if isinstance(error, Refused):
        return error.problem, error.headers
    found = problem_of(error)
    return found, [(b"retry-after", b"1")] if found.status == 503 else []


def redacted(error: TriggerFlowError, parts: Mapping[str, str] | None = None) -> Exception:
    """The error without details that callers must not see: the address of the store, the names of other flows."""
    found = problem_of(error)
    detail = found.detail
    if found.code == "unknown_execution":
        one = None if parts is None or "other" in parts else parts.get("id")
        detail = "there is no such execution" if one is None else f"there is no execution {one!r}"
    elif found.code == "unknown_flow":
        detail = "the code of this flow is not here, or it has no such definition"
    elif isinstance(error, StoreError) and found.code.startswith("store_"):
        logger.warning("the store failed: %s", error)
        detail = "the store cannot be used now; the log of the server says why"
    elif found.code == "bad_request":  # the request is well-formed, so it does not fit what is in the store: 409
        found = problem("not_possible", detail)
        return Refused(msgspec.structs.replace(found, code="bad_request"))
    elif found.code == "value_does_not_fit" and "id" in (parts or {}):
        # 409 as well: which values fit depends on the execution, which the OpenAPI document cannot describe
        found = msgspec.structs.replace(problem("not_possible", detail), code=found.code)
    else:
        return error
    return Refused(msgspec.structs.replace(found, detail=detail))
