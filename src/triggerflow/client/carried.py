"""Errors for methods and options of in-process handles that no backend can carry to another process."""

from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import UsageError

#: Why an option cannot be carried, or what to do instead, by its name.
_REASONS = {
    "store": "the server has the store",
    "runtime_resources": "resources are objects of the process that runs the execution",
    "operator_map": "resume it in a process that has the code",
    "settle": "send it without, then await execution.async_settled()",
    "keeps_open": "start it in a process that has the code",
    "emit": "a change from outside triggers what listens to it",
    "lag": "a reader of a backend never falls behind: it reads from the store",
}


def refuse(call: str, instead: str) -> NoReturn:
    """Raise `UsageError`: no backend can carry this call. `instead` says what to do."""
    raise UsageError(f"{call} cannot be carried by a backend: {instead}")


def only_default(where: str, method: Callable[..., Any], **options: Any) -> None:
    """Raise `UsageError` for an option that differs from its default in the signature of `method`."""
    defaults: dict[str, Any] = getattr(method, "__kwdefaults__")  # noqa: B009 - functions and methods have it
    for name, value in options.items():
        if value is not defaults[name] and value != defaults[name]:
            reason = _REASONS.get(name, "it counts for the process that runs the execution; set it where the flow is")
            refuse(f"{where}: the option {name}=", reason)
