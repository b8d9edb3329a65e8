"""The data that all executions of a flow share. It belongs to the flow, not to a run: runs see its changes as
records."""

from collections.abc import Callable, Mapping
from threading import RLock
from time import time
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from .._core.errors import ExecutionClosed
from .._core.events import FlowDataChanged

if TYPE_CHECKING:
    from .loop import LoopBoundExecution

T = TypeVar("T")
By = tuple["LoopBoundExecution", int | None] | None


class SharedData:
    """Values by key, and the running executions that listen to their changes.

    They are referred to weakly: one that waits and that nobody holds any more is gone.
    """

    #: one for all flows: it is held for moments
    _changing = RLock()
    __slots__ = ("_listeners", "own", "resources", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        #: in the copy that a sub-flow gets: the keys that differ from the flow's, which are saved with it
        self.own: set[str] | None = None
        #: the flow's resources by name
        self.resources: dict[str, Any] = {}
        self._listeners: WeakSet[LoopBoundExecution] | None = None

    def listen(self, execution: "LoopBoundExecution") -> None:
        """Tell this execution of every change from here on."""
        if self._listeners is None:  # most flows have none, and every sub-flow has shared data of its own
            self._listeners = WeakSet()
        self._listeners.add(execution)

    def forget(self, execution: "LoopBoundExecution") -> None:
        """Tell this execution no more."""
        if self._listeners is not None:
            self._listeners.discard(execution)

    def listening(self) -> "list[LoopBoundExecution]":
        """The executions that are told."""
        return list(self._listeners or ())

    def tells(self, execution: "LoopBoundExecution") -> bool:
        """Whether this execution is told of changes."""
        return self._listeners is not None and execution in self._listeners

    def copy(self, changes: Mapping[str, Any]) -> "SharedData":
        """The data of one sub-flow: what the flow has, with these changes. Its own changes are seen by itself only."""
        made = SharedData()
        made.resources = self.resources
        made.values = {**self.values, **changes}
        made.own = set(changes)
        return made

    def alone(self, change: Callable[[], T]) -> T:
        """Make a change that depends on what is there, with no other one in between: chunks may run in threads."""
        with self._changing:
            return change()

    def set(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """Replace the value at a key and tell the executions that listen."""
        self.values[key] = value
        if self.own is not None:
            self.own.add(key)
        if emit:
            self._tell(key, value, by)

    def append(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """Append to the list at a key, which becomes a new list: records keep the one they were given."""

        def change() -> None:
            held = self.values.get(key, ())
            if not isinstance(held, list | tuple):
                raise TypeError(f"flow_data[{key!r}] is a {type(held).__name__}; only a list can be appended to")
            self.set(key, [*held, value], emit=emit, by=by)

        self.alone(change)

    def delete(self, key: str, *, emit: bool = True, by: By = None) -> None:
        """Remove a key, if it is there."""
        self.values.pop(key, None)
        if self.own is not None:
            self.own.add(key)
        if emit:
            self._tell(key, None, by)

    def _tell(self, key: str, value: Any, by: By) -> None:
        for execution in self.listening():
            run = by[1] if by is not None and by[0] is execution else None
            try:
                execution.post(FlowDataChanged(time(), run, key, value))
            except ExecutionClosed:  # it ended between the look and the call
                self.forget(execution)
