"""Checks of arguments that all backends make alike."""

from typing import Any

from .errors import BadRequest
from .protocol import MAX_WAIT

#: The longest id of an execution or a request, in characters.
MAX_ID = 512


def check_wait(wait: Any) -> float:
    """The `wait` of a method, in seconds. Raises `BadRequest`."""
    if not isinstance(wait, int | float) or not 0 <= wait <= MAX_WAIT:
        raise BadRequest(f"a wait has 0 to {MAX_WAIT:g} seconds, not {wait!r:.100}")
    return wait


def check_request(request: str) -> str:
    """The id of a request. Raises `BadRequest`."""
    if not 0 < len(request) <= MAX_ID:
        raise BadRequest(f"the id of a request has 1 to {MAX_ID} characters, not {len(request)}")
    return request
