"""The state of an execution over a backend."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from ..backend import AnyAction, DeleteState, SetState
from ..build.arguments import text
from ..run.portal import run_sync
from .carried import only_default, refuse

T = TypeVar("T")
_MISSING: Any = object()
_CHANGE = "send the execution a signal, and change its state in the chunk that listens to it"


class RemoteState:
    """The state of an execution by key, as `State` is in process; `RemoteExecution` says how to read it on a loop.

    Values are copies, as JSON: changing one in place has no effect. Each change triggers the chunks that listen to the
    key.
    """

    __slots__ = ("_committed", "_perform", "_read")

    def __init__(
        self,
        perform: Callable[[AnyAction], Awaitable[Any]],
        read: Callable[[], dict[str, Any]],
        committed: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._perform = perform
        self._read = read
        self._committed = committed

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at a key, or the default."""
        return self.to_dict().get(text(key), default)

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """The sync twin of `async_set`."""
        run_sync(lambda: self.async_set(key, value, emit=emit), "state.async_set")

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Raises `UsageError`: a backend has no such action."""
        refuse("state.append()", _CHANGE)

    def delete(self, key: str, *, emit: bool = True) -> None:
        """The sync twin of `async_delete`."""
        run_sync(lambda: self.async_delete(key, emit=emit), "state.async_delete")

    def update(
        self, key: str, function_or_value: Callable[[Any], Any] | Any, default: Any = None, *, emit: bool = True
    ) -> Any:
        """Raises `UsageError`: a backend has no such action."""
        refuse("state.update()", _CHANGE)

    def reduce(self, key: str, value: Any, *, emit: bool = True) -> Any:
        """Raises `UsageError`: a backend has no such action."""
        refuse("state.reduce()", _CHANGE)

    def typed(self, model: type[T]) -> T:
        """Raises `UsageError`: over a backend values are JSON."""
        refuse("state.typed()", "values are JSON there; make an object of your own of `state.to_dict()`")

    async def async_get(self, key: str, default: Any = None) -> Any:
        """See `get`."""
        return await self._committed(lambda: self.get(key, default))

    async def async_set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key. Raises `ContractError` if it does not have the declared type, and
        `ExecutionClosed` if the execution has ended."""
        only_default("state.async_set()", self.async_set, emit=emit)
        await self._perform(SetState(key=text(key), value=value))

    async def async_append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `append`."""
        self.append(key, value, emit=emit)

    async def async_delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key if it exists. Raises what `async_set` raises."""
        only_default("state.async_delete()", self.async_delete, emit=emit)
        await self._perform(DeleteState(key=text(key)))

    async def async_update(
        self, key: str, function_or_value: Callable[[Any], Any] | Any, default: Any = None, *, emit: bool = True
    ) -> Any:
        """See `update`."""
        return self.update(key, function_or_value, default, emit=emit)

    async def async_reduce(self, key: str, value: Any, *, emit: bool = True) -> Any:
        """See `reduce`."""
        return self.reduce(key, value, emit=emit)

    def to_dict(self) -> dict[str, Any]:
        """All keys with their values."""
        return self._read()

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return text(key) in self.to_dict()

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())
