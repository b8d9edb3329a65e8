"""What a backend cannot carry: methods and options of in-process handles that need the process itself."""

from typing import Any, NoReturn

from ..errors import UsageError

#: Why, by the name of the option.
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
    """Raise `UsageError`: a backend has no such thing."""
    raise UsageError(f"{call} cannot be carried by a backend: {instead}")


def only_default(call: str, **options: tuple[Any, Any]) -> None:
    """Raise `UsageError` for an option that has another value than its default. `options`: (value, default) by name."""
    for name, (value, default) in options.items():
        if value is not default and value != default:
            reason = _REASONS.get(name, "it counts for the process that runs the execution; set it where the flow is")
            refuse(f"{call}: the option {name}=", reason)
