"""The methods of a backend for scripts without asyncio."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..backend import Backend
from ..run.portal import iterate_sync, run_sync

T = TypeVar("T")
P = ParamSpec("P")


def _call(
    method: Callable[Concatenate[Backend, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncBackend", P], T]:
    """The sync version of a coroutine method."""
    name = method.__name__

    @wraps(method)
    def call(self: "SyncBackend", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_sync(lambda: getattr(self.backend, name)(*args, **kwargs), f"client.backend.{name}")

    return call


def _iterate(
    method: Callable[Concatenate[Backend, P], AsyncIterator[T]],
) -> Callable[Concatenate["SyncBackend", P], Iterator[T]]:
    """The sync version of a method that returns an async iterator."""
    name = method.__name__

    @wraps(method)
    def call(self: "SyncBackend", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return iterate_sync(lambda: getattr(self.backend, name)(*args, **kwargs), f"client.backend.{name}")

    return call


class SyncBackend:
    """A `Backend` for a script: `client.sync`. Each method does what the method of the same name in `Backend` does.

    Raises `BlockingCallError` inside a running event loop.
    """

    def __init__(self, backend: Backend) -> None:
        #: the async methods that this object calls
        self.backend = backend

    flows = _call(Backend.flows)
    contract = _call(Backend.contract)
    drawing = _call(Backend.drawing)
    executions = _call(Backend.executions)
    counts = _call(Backend.counts)
    questions = _call(Backend.questions)
    changes = _call(Backend.changes)
    get = _call(Backend.get)
    frames = _iterate(Backend.frames)
    stream = _iterate(Backend.stream)
    state_at = _call(Backend.state_at)
    result = _call(Backend.result)
    diff = _call(Backend.diff)
    export = _iterate(Backend.export)
    start = _call(Backend.start)
    act = _call(Backend.act)
    fork = _call(Backend.fork)
