"""Names that chains, flows, handles and reports had in earlier versions, with what to use instead."""

from collections.abc import Mapping
from typing import NoReturn

_INTERNAL = "internal; a front end of your own can reach it through `triggerflow.extension`"

DATA: Mapping[str, str] = {
    "get_resource": "data.resources.get(key, default)",
    "get_status": "data.execution.get_status()",
    "run": "data.chunk_name, data.run_id, data.attempt, data.path and data.signal_id",
    "run_number": "data.run_id",
}
EXECUTION: Mapping[str, str] = {
    "journal": "execution.records",
    "get_runtime_resource": "execution.resources.get(key, default)",
    "del_runtime_resource": "execution.resources.pop(key, None)",
    "clear_runtime_resources": "execution.resources.clear()",
    "own_resources": "execution.resources",
    "is_settled": "await execution.async_settled()",
    "has_ended": "execution.get_status()",
    "set_concurrency": "flow.create_execution(concurrency=...)",
    "deadline": "flow.create_execution(cleanup_timeout=...)",
    **dict.fromkeys(
        (
            "machine",
            "program",
            "options",
            "driver",
            "running",
            "loop",
            "stream",
            "shared",
            "submit",
            "outcome",
            "log",
            "until",
            "ended",
        ),
        _INTERNAL,
    ),
}
FLOW: Mapping[str, str] = {
    "get_runtime_resource": "flow.resources.get(key, default)",
    "del_runtime_resource": "flow.resources.pop(key, None)",
    "clear_runtime_resources": "flow.resources.clear()",
    "own_resources": "flow.resources",
    **dict.fromkeys(("program", "blueprint", "shared", "root", "types", "make_execution", "sub_execution"), _INTERNAL),
}
PRUNED: Mapping[str, str] = {"forgotten": "pruned.deleted"}
CHAIN: Mapping[str, str] = {"____": "a comment in the program, or a chunk that logs: chain.side_branch(chunk)"}


def refuse(owner: object, name: str, former: Mapping[str, str]) -> NoReturn:
    """Raise `AttributeError` for a name that an object does not have.

    For a name in `former` the message says what to use instead.
    """
    kind = type(owner).__name__
    if name in former:
        hint = former[name]
        text = f"{kind}.{name} is {hint}" if hint is _INTERNAL else f"{kind}.{name} was removed; use {hint}"
        raise AttributeError(text, name=name, obj=owner)
    raise AttributeError(f"{kind!r} object has no attribute {name!r}", name=name, obj=owner)
