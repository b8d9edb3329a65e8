"""What a caller can do to an execution from outside: one table, by kind.

An action is a function and its arguments, so that it can be performed where the execution runs. The handle of an
execution that runs here calls the function. For one that another process runs, the arguments are posted to its owner,
which finds the function by its kind, and calls it with them (`durable/inbox`).

An action has up to three parts. `before` waits until the change can be made, and `change` records it, both where the
execution runs. `wait` is called where the caller is, with what `change` has returned, because only the caller waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from . import ingress

if TYPE_CHECKING:
    from .runtime import ExecutionRuntime
    from .state import State


class Action(NamedTuple):
    """One kind of change from outside."""

    kind: str
    #: the names of the arguments. What a caller passes beyond these is not sent to another process
    names: tuple[str, ...]
    #: called with the runtime and the arguments, on the thread of the execution
    change: Callable[..., Any]
    #: awaited with the runtime and what `change` has returned; None if there is nothing to wait for
    wait: Callable[[ExecutionRuntime, Any], Awaitable[Any]] | None = None
    #: awaited before `change`, with the same arguments
    before: Callable[..., Awaitable[None]] | None = None
    #: what the values in the arguments are, for error messages; with the argument `names[0]` in it
    where: str = ""


async def perform(runtime: ExecutionRuntime, action: Action, *arguments: Any) -> Any:
    """Perform an action for a caller on any loop, wherever the execution runs. Returns when what it has recorded is in
    the store, if there is one."""
    ingress.check_loop(runtime)
    if not ingress.is_here(runtime):
        return await ingress.carry(runtime, partial(perform, runtime, action, *arguments))
    durability = runtime.durability
    if durability.outlives_loop:
        return await durability.act(runtime, action, arguments)
    if action.before is not None:
        await action.before(runtime, *arguments)
    answer = action.change(runtime, *arguments)
    return answer if action.wait is None else await action.wait(runtime, answer)


def _stop_stream(runtime: ExecutionRuntime) -> None:
    ingress.stop_stream(runtime, None)


def _set_result(runtime: ExecutionRuntime, value: Any, replace: bool) -> None:
    ingress.set_result(runtime, value, replace, None)


def _begin(runtime: ExecutionRuntime, value: Any, delay: float | None) -> None:
    runtime.begin(value, delay)


def _cancel(runtime: ExecutionRuntime, reason: str) -> None:
    runtime.cancel(reason)


def _close(runtime: ExecutionRuntime) -> None:
    runtime.close()


def _state(runtime: ExecutionRuntime) -> State:
    from .state import State  # imported late, because that module imports this one

    return State(runtime)


def _set(runtime: ExecutionRuntime, key: str, value: Any, emit: bool) -> None:
    ingress.change_state(runtime, "set", key, value, emit, None, None)


def _append(runtime: ExecutionRuntime, key: str, value: Any, emit: bool) -> None:
    _state(runtime).append(key, value, emit=emit)


def _delete(runtime: ExecutionRuntime, key: str, emit: bool) -> None:
    ingress.change_state(runtime, "delete", key, None, emit, None, None)


def _update(runtime: ExecutionRuntime, key: str, value: Any, default: Any, emit: bool) -> Any:
    return _state(runtime).update(key, value, default, emit=emit)


def _reduce(runtime: ExecutionRuntime, key: str, value: Any, emit: bool) -> Any:
    return _state(runtime).reduce(key, value, emit=emit)


EMIT = Action(
    "emit",
    ("name", "value", "settle", "delay", "id", "keeps_open"),
    ingress.emit_from_outside,
    ingress.emission_settled,
    where="the value of signal {!r}",
)
CANCEL_SIGNAL = Action("cancel_signal", ("name",), ingress.cancel_signal_from_outside)
PUT = Action("put", ("item",), ingress.put_from_outside, before=ingress.room_from_outside, where="a stream item")
STOP_STREAM = Action("stop_stream", (), _stop_stream)
SET_RESULT = Action("set_result", ("value", "replace"), _set_result, where="the result of the execution")
ANSWER = Action(
    "continue_with",
    ("interrupt", "value", "request_id"),
    ingress.answer,
    before=ingress.until_checkable,
    where="the answer to interrupt {!r}",
)
BEGIN = Action("begin", ("value", "delay"), _begin, where="the start value")
CANCEL = Action("cancel", ("reason",), _cancel, ingress.until_ended)
CLOSE = Action("close", (), _close, ingress.ended_result)
SET = Action("state.set", ("key", "value", "emit"), _set, where="state[{!r}]")
APPEND = Action("state.append", ("key", "value", "emit"), _append, where="state[{!r}]")
DELETE = Action("state.delete", ("key", "emit"), _delete)
#: with a function in place of the value, it can only be performed in the process of the caller
UPDATE = Action("state.update", ("key", "value", "default", "emit"), _update, where="state[{!r}]")
REDUCE = Action("state.reduce", ("key", "value", "emit"), _reduce, where="state[{!r}]")

#: All actions by kind.
ACTIONS: dict[str, Action] = {
    action.kind: action
    for action in (
        EMIT, CANCEL_SIGNAL, PUT, STOP_STREAM, SET_RESULT, ANSWER, BEGIN, CANCEL, CLOSE,
        SET, APPEND, DELETE, UPDATE, REDUCE,
    )
}  # fmt: skip
