"""The two views of data that a chunk and the holder of an execution get: its own state, and what its flow shares."""

from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from ._core import events
from ._core.errors import ContractError

if TYPE_CHECKING:
    from .hosting import HostedExecution


class Recorder(Protocol):
    """A run of a chunk, in whose name changes are recorded."""

    @property
    def run_number(self) -> int:
        """The number of the run."""
        ...

    def record(self, event: events.Event) -> None:
        """Record an effect of the run, unless an earlier attempt has recorded it."""
        ...

    def repeats(self, effect: str) -> bool:
        """Whether the next effect of this kind is one that an earlier attempt has recorded; counts it."""
        ...


class State:
    """The state of one execution: values by key. Each change is recorded and triggers `when({"runtime_data": key})`.

    `set` replaces. With `emit=False` nothing is triggered. Raises `ExecutionClosed` when the execution has ended.
    """

    __slots__ = ("_data", "_execution")

    def __init__(self, execution: "HostedExecution", data: "Recorder | None" = None) -> None:
        self._execution = execution
        self._data = data

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a key, or the default. It is the object itself, not a copy: change it through `set`."""
        state = self._execution.machine.state
        state.disown(key)
        return state.data.get(key, default)

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key."""
        self._change("set", key, value, emit)

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key (made if missing). Raises `TypeError` if something else stands there."""
        # Looked at in place: with `get` the list would be somebody else's, and the core would copy it to grow it.
        held = self._execution.machine.state.data.get(key, ())
        if not isinstance(held, list | tuple):
            raise TypeError(f"state[{key!r}] is a {type(held).__name__}; only a list can be appended to")
        model = self._execution.program.state
        if model is not None:
            model.check_item(key, cast("Sequence[Any]", held), value)
        self._change("append", key, value, emit)

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key, if it is there; triggers with the value None."""
        self._change("delete", key, None, emit)

    async def async_get(self, key: str, default: Any = None) -> Any:
        """See `get`."""
        return self.get(key, default)

    async def async_set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `set`."""
        self.set(key, value, emit=emit)

    async def async_append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `append`."""
        self.append(key, value, emit=emit)

    async def async_delete(self, key: str, *, emit: bool = True) -> None:
        """See `delete`."""
        self.delete(key, emit=emit)

    def update(self, key: str, function: Callable[[Any], Any], default: Any = None, *, emit: bool = True) -> Any:
        """Replace the value at a key by `function(value)`, with nothing in between, and return the new one.

        The function gets the default where the key is missing; it must be quick, and return a new object.
        """

        def change() -> Any:
            if self._data is not None and self._data.repeats(f"state:{key}"):
                return self.get(key, default)
            value = function(self.get(key, default))
            self.set(key, value, emit=emit)
            return value

        return self._execution.on_loop(change)

    async def async_update(
        self, key: str, function: Callable[[Any], Any], default: Any = None, *, emit: bool = True
    ) -> Any:
        """See `update`."""
        return self.update(key, function, default, emit=emit)

    def reduce(self, key: str, value: Any, *, emit: bool = True) -> Any:
        """Combine a value into the key with the reducer declared for it (`flow.set_state`); returns the new value.

        Concurrent branches lose no update that way. Raises `ContractError` if no reducer is declared.
        """
        model = self._execution.program.state
        if model is None:
            raise ContractError(
                f"state[{key!r}] has no reducer: the flow declares no state; call flow.set_state(Model)"
            )
        reducer = model.reducer(key)
        return self.update(key, lambda held: reducer(held, value), emit=emit)

    async def async_reduce(self, key: str, value: Any, *, emit: bool = True) -> Any:
        """See `reduce`."""
        return self.reduce(key, value, emit=emit)

    def _change(self, op: Literal["set", "append", "delete"], key: str, value: Any, emit: bool) -> None:
        model = self._execution.program.state
        if model is not None and op == "set":
            value = model.check(key, value)
        if self._data is None:
            self._execution.submit(events.StateChanged(time(), None, op, key, value, emit))
        else:
            self._data.record(events.StateChanged(time(), self._data.run_number, op, key, value, emit))

    def to_dict(self) -> dict[str, Any]:
        """All keys and values, as a new dict."""
        return {key: self[key] for key in self}

    def __getitem__(self, key: str) -> Any:
        state = self._execution.machine.state
        state.disown(key)
        return state.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self._execution.machine.state.data

    def __iter__(self) -> Iterator[str]:
        return iter(self._execution.machine.state.data)

    def __len__(self) -> int:
        return len(self._execution.machine.state.data)


class FlowState:
    """The data shared by all executions of a flow in this process.

    Each change is recorded by, and triggers `when({"flow_data": key})` in, every execution of the flow that is running.
    """

    __slots__ = ("_data", "_execution")

    def __init__(self, execution: "HostedExecution", data: "Recorder | None" = None) -> None:
        self._execution = execution
        self._data = data

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a key, or the default."""
        return self._execution.shared.values.get(key, default)

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key."""
        if not self._repeats(key):
            self._execution.shared.set(key, value, emit=emit, by=self._by())

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key (made if missing). Raises `TypeError` if something else stands there."""
        if not self._repeats(key):
            self._execution.shared.append(key, value, emit=emit, by=self._by())

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key, if it is there; triggers with the value None."""
        if not self._repeats(key):
            self._execution.shared.delete(key, emit=emit, by=self._by())

    async def async_get(self, key: str, default: Any = None) -> Any:
        """See `get`."""
        return self.get(key, default)

    async def async_set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `set`."""
        self.set(key, value, emit=emit)

    async def async_append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `append`."""
        self.append(key, value, emit=emit)

    async def async_delete(self, key: str, *, emit: bool = True) -> None:
        """See `delete`."""
        self.delete(key, emit=emit)

    def _repeats(self, key: str) -> bool:
        """Whether an earlier attempt has done this; only what was recorded here counts among its effects."""
        execution = self._execution
        return self._data is not None and execution.shared.tells(execution) and self._data.repeats(f"flow_data:{key}")

    def _by(self) -> "tuple[HostedExecution, int | None]":
        return self._execution, None if self._data is None else self._data.run_number
