"""Actions as data: the arguments of an action in a request, and its answer or its error in the reply.

Values are packed as in records, so that an unknown class is never built from them. An error comes back as its own
class if the engine or Python defines it; the class of any other error stays in the process that raised it.
"""

import builtins
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ... import errors
from ..._core.errors import RemoteChunkError, SnapshotError, TriggerFlowError, UsageError
from ..._core.state import UNSET
from ...run import tracing
from ...run.actions import ACTIONS, Action
from ...serialize.payload import Types
from ...stores.protocol import Reply, Request
from ..format.payloads import UNREADABLE

_decode = msgspec.json.Decoder(dict[str, Any]).decode

#: The errors that come back as their own class, by name.
_ERRORS: dict[str, type[Exception]] = {
    name: kind
    for module in (builtins, errors)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, Exception)
}
#: Attributes of an error that are part of its value.
_ATTRIBUTES = ("reason", "execution_id")
#: The field of a request with the trace context of its caller. No action has an argument of this name.
_CALLER = tracing.TRACEPARENT


def write_request(
    id: str, execution: str, action: Action, arguments: tuple[Any, ...], types: Types, at: float
) -> Request:
    """The request that asks the owner of an execution to perform an action. Raises `PayloadError`."""
    given: dict[str, Any] = {}
    where = action.where.format(arguments[0]) if action.where else f"an argument of {action.kind}"
    for name, value in zip(action.names, arguments, strict=False):
        if value is not UNSET:
            given[name] = types.pack(str.__str__(value) if isinstance(value, str) else value, where)
    caller = tracing.current()
    if caller is not None:
        given[_CALLER] = caller
    return Request(id=id, execution=execution, kind=action.kind, data=msgspec.json.encode(given), at=at)


def same_request(one: Request, other: Request) -> bool:
    """Whether two requests ask for the same. A caller that repeats a request may do so in another span."""
    if (one.execution, one.kind) != (other.execution, other.kind):
        return False
    return one.data == other.data or _without_caller(one.data) == _without_caller(other.data)


def _without_caller(data: bytes) -> Any:
    try:
        given = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data
    given.pop(_CALLER, None)
    return given


def read_request(request: Request, types: Types) -> tuple[Action, list[Any], str | None]:
    """The action and the arguments of a request, and the trace context of its caller. Raises `UsageError` for one that
    this version does not know, and `SnapshotError` for values that cannot be read here."""
    action = ACTIONS.get(request.kind)
    if action is None:
        raise UsageError(f"the owner of execution {request.execution!r} does not know the request {request.kind!r}")
    try:
        given = _decode(request.data)
    except UNREADABLE as error:
        raise SnapshotError(f"request {request.id!r} cannot be read: {error}") from error
    caller = given.pop(_CALLER, None)
    if given.keys() - set(action.names):
        raise UsageError(f"request {request.kind!r} has arguments that the owner does not know")
    arguments = [types.unpack(given[name]) if name in given else UNSET for name in action.names]
    return action, arguments, caller if isinstance(caller, str) else None


def write_answer(request: str, answer: Any, types: Types, at: float) -> Reply:
    """The reply with the answer of an action. Raises `PayloadError`."""
    return Reply(
        request=request, ok=True, data=msgspec.json.encode(types.pack(answer, "the answer to a request")), at=at
    )


def write_error(request: str, error: Exception, execution: object, at: float) -> Reply:
    """The reply with the error that an action has raised."""
    kind = type(error)
    data: dict[str, Any]
    if _ERRORS.get(kind.__name__) is kind and all(isinstance(it, str) for it in error.args):
        attributes = {name: getattr(error, name) for name in _ATTRIBUTES if isinstance(getattr(error, name, None), str)}
        data = {"type": kind.__name__, "args": list(error.args), "attributes": attributes}
    else:
        data = {"type": "RemoteChunkError", "args": [f"{execution}: {kind.__name__}: {error}"], "attributes": {}}
    return Reply(request=request, ok=False, data=msgspec.json.encode(data), at=at)


def read_reply(reply: Reply, types: Types) -> Any:
    """The answer in a reply. Raises the error in it, and `SnapshotError` if it cannot be read."""
    try:
        data = msgspec.json.decode(reply.data)
        if reply.ok:
            return types.unpack(data)
        error = _error(data)
    except (*UNREADABLE, LookupError, TypeError, AttributeError) as problem:
        raise SnapshotError(f"the reply to request {reply.request!r} cannot be read: {problem}") from problem
    raise error


def _error(data: Mapping[str, Any]) -> Exception:
    kind = _ERRORS.get(data["type"], RemoteChunkError)
    texts = [str(text) for text in data["args"]]
    if not issubclass(kind, TriggerFlowError):
        return kind(*texts)
    rebuild, (_, arguments), *_ = cast("tuple[Callable[..., Any], Any]", TriggerFlowError(*texts).__reduce__())
    error = cast("TriggerFlowError", rebuild(kind, arguments))
    for name, value in data.get("attributes", {}).items():
        if name in _ATTRIBUTES:
            setattr(error, name, str(value))
    return error
