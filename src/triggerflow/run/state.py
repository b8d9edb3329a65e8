"""The data that chunks and callers can read and change: the state of an execution, and the shared data of its flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from .._core import events
from .._core.errors import ContractError, UsageError
from .._core.freezing import freeze
from .._core.frozen import FrozenList
from .._core.state import UNSET, RunChunk
from ..build.arguments import text
from ..build.chunk import is_coroutine_function
from . import actions, ingress
from .actions import perform
from .attempts import flow_change, operation, reduction
from .portal import require_wanted
from .shared import list_at

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
        if self._repeated is not None and key in self._repeated.held:
            return ingress.held_value(self._runtime, self._repeated, key, default)
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
        list_at("state", key, ingress.held_value(self._runtime, self._repeated, key, ()))
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

        A repeated attempt of a chunk does not update again what a failed attempt has updated by the same function: one
        of the same name and constants, that encloses equal values. It gets the value that the key has.
        """
        key = text(key)
        model = self._runtime.program.state
        if callable(function_or_value) and is_coroutine_function(function_or_value):
            raise UsageError(f"state.update({key!r}): the function must not be async; await its value, and pass that")
        if callable(function_or_value):
            digest = operation(self._runtime, self._repeated, function_or_value)
            return self._update(key, function_or_value, default, emit, digest)
        reducer = None if model is None else model.reducers.get(key)
        digest = reduction(self._runtime, self._repeated, function_or_value)
        if reducer is None:
            return self._update(key, lambda held: function_or_value, default, emit, digest)
        return self._update(key, lambda held: reducer(held, function_or_value), default, emit, digest)

    def _update(self, key: str, function: Callable[[Any], Any], default: Any, emit: bool, digest: int | None) -> Any:
        def change() -> Any:
            repeated = self._repeated
            if repeated is not None and repeated.same_operation(key, digest):
                if key not in repeated.held:
                    return self.get(key, default)
                repeated.hold(key, function(self.get(key, default)), emit)
                return self.get(key)
            value = function(self.get(key, default))
            ingress.change_state(self._runtime, "set", key, value, emit, self._run, repeated, digest)
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
        digest = reduction(self._runtime, self._repeated, value)
        return self._update(key, lambda held: reducer(held, value), None, emit, digest)

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

        view: Any = TypedState(self, declared)
        return view

    async def async_get(self, key: str, default: Any = None) -> Any:
        """See `get`."""
        read = lambda: self.get(key, default)  # noqa: E731
        if self._run is None:
            return await ingress.from_outside_now(self._runtime, read)
        return await ingress.here_or_carried(self._runtime, read)

    async def async_set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `set`."""
        if self._run is None:
            await perform(self._runtime, actions.SET, key, value, emit)
        else:
            await ingress.here_or_carried(self._runtime, lambda: self.set(key, value, emit=emit))

    async def async_append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `append`."""
        if self._run is None:
            await perform(self._runtime, actions.APPEND, key, value, emit)
        else:
            await ingress.here_or_carried(self._runtime, lambda: self.append(key, value, emit=emit))

    async def async_delete(self, key: str, *, emit: bool = True) -> None:
        """See `delete`."""
        if self._run is None:
            await perform(self._runtime, actions.DELETE, key, emit)
        else:
            await ingress.here_or_carried(self._runtime, lambda: self.delete(key, emit=emit))

    async def async_update(
        self, key: str, function_or_value: Callable[[Any], Any] | Any, default: Any = None, *, emit: bool = True
    ) -> Any:
        """See `update`. Raises `UsageError` for a function if another process runs the execution: `reduce` works
        there."""
        if self._run is None:
            return await perform(self._runtime, actions.UPDATE, key, function_or_value, default, emit)
        return await ingress.here_or_carried(
            self._runtime, lambda: self.update(key, function_or_value, default, emit=emit)
        )

    async def async_reduce(self, key: str, value: Any, *, emit: bool = True) -> Any:
        """See `reduce`."""
        if self._run is None:
            return await perform(self._runtime, actions.REDUCE, key, value, emit)
        return await ingress.here_or_carried(self._runtime, lambda: self.reduce(key, value, emit=emit))

    def to_dict(self) -> dict[str, Any]:
        """All keys and values, as a new dict."""
        return {key: self[key] for key in self}

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        name = text(key)
        if self._repeated is not None and name in self._repeated.held:
            return self._repeated.held[name].value is not UNSET
        return name in self._runtime.machine.state.data

    def __iter__(self) -> Iterator[str]:
        data = self._runtime.machine.state.data
        held = () if self._repeated is None else [key for key in self._repeated.held if key not in data]
        return iter([key for key in (*data, *held) if key in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class FlowState:
    """The data shared by all executions of a flow: in memory those of this process, durable ones those of their store.

    Each change triggers `when({"flow_data": key})` once in every execution of the flow that has not ended, with the
    value after that change. A durable change is committed with the records of the chunk that makes it, so it is made
    once, also if the process ends or the chunk is repeated. The store orders the changes of all processes.

    A durable execution reads its own changes at once, and those of others when they are committed: all that were
    committed before the present chunk was started here, maybe later ones, and with `async_get` all that were committed
    before the call. Between reading a value and setting it another execution may change it; `append` loses nothing.
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
        return freeze(self._runtime.shared.get(text(key), default))

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key."""
        key = text(key)
        digest = self._digest("set", value)
        if not self._repeats(key, digest, value):
            self._runtime.shared.set(key, value, emit=emit, by=self._by(digest))

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key; a missing list is created. Raises `TypeError` for a value of another type.

        If another process has set the key to such a value, and this one has not heard of it, the append is committed
        without effect, and a warning is logged.
        """
        key = text(key)
        digest = self._digest("append", value)
        if not self._repeats(key, digest):
            self._runtime.shared.append(key, value, emit=emit, by=self._by(digest))

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key if it exists. Chunks that the change triggers get the value None."""
        key = text(key)
        digest = self._digest("delete", None)
        if not self._repeats(key, digest):
            self._runtime.shared.delete(key, emit=emit, by=self._by(digest))

    async def async_get(self, key: str, default: Any = None) -> Any:
        """Like `get`, but of a durable execution all that was committed before the call. Raises `StoreUnavailable`."""
        if self._runtime.log is not None:
            await self._refreshed()
        return self.get(key, default)

    async def async_set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `set`."""
        await self._awaited(lambda: self.set(key, value, emit=emit))

    async def async_append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Like `append`, but in a durable execution the value that counts is the one that was committed before the
        call. Raises `StoreUnavailable`."""
        if self._runtime.log is not None:
            await self._refreshed()
        await self._awaited(lambda: self.append(key, value, emit=emit))

    async def async_delete(self, key: str, *, emit: bool = True) -> None:
        """See `delete`."""
        await self._awaited(lambda: self.delete(key, emit=emit))

    async def _refreshed(self) -> None:
        runtime = self._runtime
        await (runtime.shared.refresh() if ingress.is_here(runtime) else ingress.carry(runtime, self._refresh))

    async def _refresh(self) -> None:
        await self._runtime.shared.refresh()

    async def _awaited(self, change: Callable[[], None]) -> None:
        if self._runtime.log is None:
            change()
        else:
            await ingress.here_or_carried(self._runtime, change)

    def _digest(self, op: str, value: Any) -> int | None:
        if self._run is None or not self._runtime.shared.is_recorded(self._runtime):
            return None
        return flow_change(self._runtime, self._repeated, op, value)

    def _repeats(self, key: str, digest: int | None, value: Any = UNSET) -> bool:
        """Whether an earlier attempt has made this change. Changes are recorded only if the execution listens."""
        if self._repeated is None or self._run is None or not self._runtime.shared.is_recorded(self._runtime):
            return False
        change = events.FlowDataChanged(0.0, self._run.id, key, None, digest)
        return self._repeated.repeats_flow_data(change, value, self._runtime.shared.get(key, UNSET))

    def _by(self, digest: int | None) -> tuple[ExecutionRuntime, int | None, int | None]:
        require_wanted()
        return self._runtime, None if self._run is None else self._run.id, digest
