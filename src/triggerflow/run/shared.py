"""The data that all executions of a flow share. It belongs to the flow and not to an execution; executions get its
changes as records. Executions in memory share it in their process (`SharedData`); durable ones share it in their store
(`durable.shared`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any, Literal, Protocol, TypeVar, cast
from weakref import WeakSet

from .._core.freezing import freeze
from .._core.frozen import FrozenDict, FrozenList, FrozenSet
from .._core.values import type_name

T = TypeVar("T")
_BUILTINS: dict[type[Any], type[Any]] = {FrozenList: list, FrozenDict: dict, FrozenSet: set}
Operation = Literal["set", "append", "delete"]


class Listener(Protocol):
    """An execution that gets changes of shared data."""

    def flow_data_changed(self, run: int | None, key: str, value: Any, digest: int | None) -> None:
        """Record a change, from any thread and without waiting. A change after the end of the execution is dropped.

        `run` and `digest` are for the execution that has made the change: its run, and what a later attempt of the run
        is compared with (None if there is none)."""
        ...


#: Who changes the data: the execution, its run, and the digest of the change.
By = tuple[Any, int | None, int | None] | None


class SharedData:
    """Values by key, and the running executions that listen to their changes.

    The executions are referred to weakly: an execution that waits, and to which no caller refers, can be collected.
    """

    #: Guards values and listeners, because chunks run in threads. One lock serves all flows, since it is held briefly.
    _lock = RLock()
    __slots__ = ("_listeners", "_values", "own", "resources")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        #: in the copy of a sub-flow: the keys that the sub-flow has changed, which are saved with it; else None
        self.own: set[str] | None = None
        #: the flow's resources by name
        self.resources: dict[str, Any] = {}
        self._listeners: WeakSet[Any] | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The values by key. Only this class changes them."""
        return self._values

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a key, or the default."""
        return self._values.get(key, default)

    async def refresh(self) -> None:
        """Take the changes that other processes have committed."""

    def listen(self, execution: Listener) -> None:
        """Send every further change to this execution."""
        with self._lock:
            # Made on first use: most flows have no listener, and each sub-flow has its own `SharedData`
            if self._listeners is None:
                self._listeners = WeakSet()
            self._listeners.add(execution)

    def forget(self, execution: Listener) -> None:
        """Send this execution no more changes."""
        if self._listeners is not None:
            with self._lock:
                self._listeners.discard(execution)

    def listeners(self) -> list[Any]:
        """The executions that get changes."""
        if self._listeners is None:
            return []
        with self._lock:
            return list(self._listeners)

    def is_recorded(self, execution: Listener) -> bool:
        """Whether this execution records the changes that it makes: the ones in memory do if they get changes."""
        if self._listeners is None:
            return False
        with self._lock:
            return execution in self._listeners

    def copy(self, changes: Mapping[str, Any]) -> SharedData:
        """A copy for one sub-flow, with these changes. The changes of the sub-flow stay in the copy."""
        made = SharedData()
        made.resources = self.resources
        made._values = {**self.values, **{key: freeze(value) for key, value in changes.items()}}
        made.own = set(changes)
        return made

    def locked(self, change: Callable[[], T]) -> T:
        """Make a change that depends on the present value, atomically."""
        with self._lock:
            return change()

    def set(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """Replace the value at a key, and send the change to the executions that listen."""
        value = freeze(value)
        with self._lock:
            self._values[key] = value
            if self.own is not None:
                self.own.add(key)
        if emit:
            self._send(key, value, by)

    def append(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """Append to the list at a key. The list is replaced by a new one, because records refer to the old one."""

        def change() -> None:
            self.set(key, [*list_at("flow_data", key, self._values.get(key, ())), value], emit=emit, by=by)

        self.locked(change)

    def delete(self, key: str, *, emit: bool = True, by: By = None) -> None:
        """Remove a key if it exists."""
        with self._lock:
            self._values.pop(key, None)
            if self.own is not None:
                self.own.add(key)
        if emit:
            self._send(key, None, by)

    def _send(self, key: str, value: Any, by: By) -> None:
        for execution in self.listeners():
            run, digest = by[1:] if by is not None and by[0] is execution else (None, None)
            execution.flow_data_changed(run, key, value, digest)


def list_at(what: str, key: str, held: Any) -> list[Any] | tuple[Any, ...]:
    """The list at a key of `what` that is appended to. Raises `TypeError` for a value of another type."""
    if not isinstance(held, list | tuple):
        raise TypeError(f"{what}[{key!r}] has a value of type {builtin_name(held)}; only a list can be appended to")
    return cast("list[Any] | tuple[Any, ...]", held)


def builtin_name(value: Any) -> str:
    """The name of a value's type as its user knows it."""
    return next((kind.__name__ for own, kind in _BUILTINS.items() if type(value) is own), type_name(value))
