"""The data that chunks and callers can read and change: the state of an execution, and the shared data of its flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from .._core.errors import ContractError, UsageError
from .._core.frozen import FrozenList, freeze
from .._core.state import RunChunk
from ..build.arguments import text
from . import ingress
from .portal import require_wanted

if TYPE_CHECKING:
    from .runtime import ExecutionRuntime

T = TypeVar("T")
_MISSING: Any = object()


class State:
    """The state of one execution: values by key. Each change is recorded and triggers `when({"runtime_data": key})`.

    Values are copied when they are set; what is read cannot be changed in place (see `get`). With `emit=False` a change
    triggers nothing. Changes raise `ExecutionClosed` when the execution has ended. The
    methods with `async_` can be awaited on any event loop. On the handle of a durable execution they return once the
    change is in the store.
    """

    __slots__ = ("_repeated", "_run", "_runtime")

    def __init__(
        self, runtime: ExecutionRuntime, run: RunChunk | None = None, repeated: ingress.Repeated = None
    ) -> None:
        self._runtime = runtime
        self._run = run
        self._repeated = repeated

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at a key, or the default.

        Lists, dicts and sets in it, and in the default, can be read like any other, but not changed in place: that
        raises `UsageError`, because it would not be recorded. `list(value)` or `copy.deepcopy(value)` is a copy of your
        own. Raises `ContractError` for a key that the declared state does not have.
        """
        key = text(key)
        model = self._runtime.program.state
        if model is not None:
            model.require(key)
        state = self._runtime.machine.state
        if key not in state.data:
            return freeze(default)
        if not ingress.is_here(self._runtime):
            value: Any = state.data.get(key, default)  # it may be deleted meanwhile, and `append` may extend it
            return FrozenList(value) if type(value) is FrozenList else value
        state.disown(key)
        return state.data[key]

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key. Raises `ContractError` if it does not have the declared type."""
        ingress.change_state(self._runtime, "set", key, value, emit, self._run, self._repeated)

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key; a missing list is created. Raises `TypeError` for a value of another type."""
        key = text(key)
        held: Any = self._runtime.machine.state.data.get(key, ())
        if not isinstance(held, list | tuple):
            raise TypeError(f"state[{key!r}] is a {type(held).__name__}; only a list can be appended to")
        ingress.change_state(self._runtime, "append", key, value, emit, self._run, self._repeated)

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key if it exists. Chunks that the change triggers get the value None.

        Raises `ContractError` for a key that the declared state does not have.
        """
        ingress.change_state(self._runtime, "delete", key, None, emit, self._run, self._repeated)

    def update(
        self, key: str, function_or_value: Callable[[Any], Any] | Any, default: Any = None, *, emit: bool = True
    ) -> Any:
        """Replace the value at a key by `function(value)`, atomically, and return the new value.

        The function gets the default if the key is missing. It is called where the execution lives, and the value that
        it returns is recorded, so a replay does not call it. It must be quick, and return a new object. Instead of a
        function, a value can be given: it is combined with the present value by the key's reducer if one is declared,
        else it replaces it. Raises `ContractError` like `set`.
        """
        key = text(key)
        model = self._runtime.program.state
        reducer = None if model is None or callable(function_or_value) else model.reducers.get(key)

        def change() -> Any:
            if ingress.repeats(self._repeated, f"state:{key}"):
                return self.get(key, default)
            held = self.get(key, default)
            if callable(function_or_value):
                value = function_or_value(held)
            else:
                value = function_or_value if reducer is None else reducer(held, function_or_value)
            self.set(key, value, emit=emit)
            return self.get(key)

        return ingress.call(self._runtime, change, "state.async_update")

    def reduce(self, key: str, value: Any, *, emit: bool = True) -> Any:
        """Combine a value with the value at a key by its declared reducer (`flow.set_state`); returns the new value.

        The change is atomic: concurrent branches lose no update. Raises `ContractError` if no reducer is declared.
        """
        key, model = text(key), self._runtime.program.state
        if model is None:
            raise ContractError(
                f"state[{key!r}] has no reducer: the flow declares no state; call flow.set_state(Model)"
            )
        reducer = model.reducer(key)
        return self.update(key, lambda held: reducer(held, value), emit=emit)

    def typed(self, model: type[T]) -> T:
        """The state as the attributes of the model that the flow declares with `set_state`.

        Type checkers then know the keys and their types: `data.state.typed(Brief).rounds += 1`. Reading, setting and
        deleting an attribute is `get`, `set` and `delete` of that key; the returned object is not a `Brief`, and has
        none of its methods. Raises `UsageError` if the flow declares another model, or none.
        """
        declared = self._runtime.program.state
        if declared is None or declared.model is not model:
            has = "no state" if declared is None else declared.model.__name__
            raise UsageError(
                f"{self._runtime!r}: its flow declares {has}, not {model!r}; call flow.set_state({model.__name__})"
            )
        from .typed_state import TypedState  # imported late, because it is rarely used

        view: Any = TypedState(self, declared.checks)
        return view

    async def async_get(self, key: str, default: Any = None) -> Any:
        """See `get`."""
        return await self._awaited(lambda: self.get(key, default))

    async def async_set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `set`."""
        await self._awaited(lambda: self.set(key, value, emit=emit))

    async def async_append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `append`."""
        await self._awaited(lambda: self.append(key, value, emit=emit))

    async def async_delete(self, key: str, *, emit: bool = True) -> None:
        """See `delete`."""
        await self._awaited(lambda: self.delete(key, emit=emit))

    async def async_update(
        self, key: str, function_or_value: Callable[[Any], Any] | Any, default: Any = None, *, emit: bool = True
    ) -> Any:
        """See `update`."""
        return await self._awaited(lambda: self.update(key, function_or_value, default, emit=emit))

    async def async_reduce(self, key: str, value: Any, *, emit: bool = True) -> Any:
        """See `reduce`."""
        return await self._awaited(lambda: self.reduce(key, value, emit=emit))

    async def _awaited(self, change: Callable[[], T]) -> T:
        if self._run is None:
            return await ingress.from_outside_now(self._runtime, change)
        return await ingress.here_or_carried(self._runtime, change)

    def to_dict(self) -> dict[str, Any]:
        """All keys and values, as a new dict."""
        return {key: self[key] for key in self}

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return text(key) in self._runtime.machine.state.data

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._runtime.machine.state.data))

    def __len__(self) -> int:
        return len(self._runtime.machine.state.data)


class FlowState:
    """The data shared by all executions of a flow in this process.

    Each change is recorded by, and triggers `when({"flow_data": key})` in, every execution of the flow that is running.
    """

    __slots__ = ("_repeated", "_run", "_runtime")

    def __init__(
        self, runtime: ExecutionRuntime, run: RunChunk | None = None, repeated: ingress.Repeated = None
    ) -> None:
        self._runtime = runtime
        self._run = run
        self._repeated = repeated

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at a key, or the default. See `State.get` for changes in place."""
        return freeze(self._runtime.shared.values.get(text(key), default))

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key."""
        if not self._repeats(key):
            self._runtime.shared.set(text(key), value, emit=emit, by=self._by())

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key; a missing list is created. Raises `TypeError` for a value of another type."""
        if not self._repeats(key):
            self._runtime.shared.append(text(key), value, emit=emit, by=self._by())

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key if it exists. Chunks that the change triggers get the value None."""
        if not self._repeats(key):
            self._runtime.shared.delete(text(key), emit=emit, by=self._by())

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
        """Whether an earlier attempt of this run has made this change. Changes are recorded only if the execution
        listens."""
        if not self._repeated or not self._runtime.shared.has_listener(self._runtime):
            return False
        return ingress.repeats(self._repeated, f"flow_data:{text(key)}")

    def _by(self) -> tuple[ExecutionRuntime, int | None]:
        require_wanted()
        return self._runtime, None if self._run is None else self._run.id
