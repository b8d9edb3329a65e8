"""What a chunk receives: the value, and everything it may do to its execution.

Every method that changes something exists with and without `async_`. Both do the same and neither waits for what it
triggers; the async one gives way where a limit asks for it (a slow reader, too many pending signals), so prefer it.
"""

from collections.abc import Iterator
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._core import events
from ._core.definition import OperatorKind
from ._core.errors import BlockingCallError
from ._core.signals import PUBLIC_KIND
from ._core.state import RunChunk
from .portal import run_sync

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    from .execution import Execution

    ValueT = DefaultTypeVar("ValueT", default=Any)
    StreamT = DefaultTypeVar("StreamT", default=Any)
    ResultT = DefaultTypeVar("ResultT", default=Any)
else:
    # At run time the parameters only have to be accepted, one to three of them.
    ValueT, StreamT, ResultT = TypeVar("ValueT"), TypeVar("StreamT"), TypeVar("ResultT")


class TriggerFlowRuntimeData(Generic[ValueT, StreamT, ResultT]):
    """The argument of every chunk and condition.

    `value` is what the signal brought. The type parameters are the value, the stream items and the flow's result.
    """

    __slots__ = ("_execution", "_run", "value")

    def __init__(self, execution: "Execution", run: RunChunk) -> None:
        self._execution = execution
        self._run = run
        self.value: ValueT = run.value

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters):
            from types import GenericAlias

            return GenericAlias(cls, parameters)

    # -- who and why -------------------------------------------------------------------------------------------------

    @property
    def execution(self) -> "Execution":
        """The handle of this execution."""
        return self._execution

    @property
    def execution_id(self) -> str:
        """The id of this execution."""
        return self._execution.id

    @property
    def run_id(self) -> str:
        """The stable id of this run of the chunk: the same when it is repeated after a crash."""
        return f"{self._execution.id}:{self._run.id}"

    @property
    def attempt(self) -> int:
        """1 for the first try of this run, 2 for the second, and so on."""
        return self._run.attempt

    @property
    def chunk_name(self) -> str:
        """The name of the chunk that is running."""
        return self._run.node.name

    @property
    def trigger_event(self) -> str:
        """The name of what triggered this run: an event, a chunk, or a key of state; "START" at the start."""
        return self._run.trigger.name or "START"

    @property
    def trigger_type(self) -> str:
        """The type of what triggered this run: "event" (also for chunks), "runtime_data", "flow_data", "collect"."""
        kind = PUBLIC_KIND[self._run.trigger.kind]
        return kind if kind in ("runtime_data", "flow_data", "collect") else "event"

    @property
    def signal_id(self) -> int:
        """The number of the record that caused this run, counted from 0 within the execution."""
        return self._run.signal

    @property
    def path(self) -> tuple[tuple[str, int, int], ...]:
        """The branches this run is in, outermost first: (operator, opening, index) each. Empty outside all blocks."""
        return self._run.scope.path if self._run.scope else ()

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> "State":
        """The state of this execution, by key."""
        return State(self._execution, self._run.id)

    @property
    def flow_state(self) -> "FlowState":
        """The data shared by all executions of this flow, by key."""
        return FlowState(self._execution, self._run.id)

    # -- signals -----------------------------------------------------------------------------------------------------

    async def async_emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """Emit a signal. Returns once it is accepted; what it triggers runs beside this chunk.

        With `settle` it returns when everything that the signal caused has settled. It also waits while more than
        `max_pending` runs caused by this chunk's signals are pending. A chunk that waits here gives up its place in
        concurrency limits. Raises `ExecutionClosed`.
        """
        event = events.Emitted(time(), self._run.id, name, value, settle)
        await self._execution.driver.submit_and_settle(event)

    def emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """Emit a signal; see `async_emit`. In an async chunk it never waits, and `settle` is an error."""
        execution = self._execution
        if execution.on_loop_thread:
            if settle:
                raise BlockingCallError("emit(settle=True) would block the loop; write `await data.async_emit(...)`")
            execution.driver.submit(events.Emitted(time(), self._run.id, name, value))
        else:
            run_sync(lambda: self.async_emit(name, value, settle=settle), "async_emit", execution.loop)

    # -- runtime stream ----------------------------------------------------------------------------------------------

    async def async_put_into_stream(self, item: StreamT) -> None:
        """Put an item into the runtime stream; waits while a blocking reader lags by its whole buffer."""
        execution = self._execution
        execution.driver.submit(events.StreamPut(time(), self._run.id, item))
        if execution.stream is not None and execution.stream.full:
            await execution.stream.room()

    def put_into_stream(self, item: StreamT) -> None:
        """Put an item into the runtime stream. In an async chunk it never waits, so that a slow reader may lose
        items."""
        execution = self._execution
        if execution.on_loop_thread:
            execution.driver.submit(events.StreamPut(time(), self._run.id, item))
        else:
            run_sync(lambda: self.async_put_into_stream(item), "async_put_into_stream", execution.loop)

    async def async_stop_stream(self) -> None:
        """End the runtime stream; its readers stop after the last item. The execution goes on."""
        self._execution.driver.submit(events.StreamStopped(time(), self._run.id))

    def stop_stream(self) -> None:
        """End the runtime stream; see `async_stop_stream`."""
        self._execution.submit(events.StreamStopped(time(), self._run.id))

    # -- result ------------------------------------------------------------------------------------------------------

    async def async_set_result(self, value: ResultT) -> None:
        """Fix the result of the execution, if none was fixed before."""
        self._execution.driver.submit(events.ResultSet(time(), self._run.id, value))

    def set_result(self, value: ResultT) -> None:
        """Fix the result of the execution, if none was fixed before."""
        self._execution.submit(events.ResultSet(time(), self._run.id, value))

    def get_status(self) -> str:
        """The status of the execution; see `Execution.get_status`."""
        return self._execution.get_status()

    def __repr__(self) -> str:
        kind = "condition" if self._run.node.kind is OperatorKind.MATCH_CASE else "chunk"
        return f"<TriggerFlowRuntimeData of {kind} {self.chunk_name!r}, run {self.run_id}>"


class State:
    """The state of one execution: values by key. Each change is recorded and triggers `when({"runtime_data": key})`.

    `set` replaces. With `emit=False` nothing is triggered. Raises `ExecutionClosed` when the execution has ended.
    """

    __slots__ = ("_execution", "_run")

    def __init__(self, execution: "Execution", run: int | None) -> None:
        self._execution = execution
        self._run = run

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a key, or the default. It is the object itself, not a copy: change it through `set`."""
        return self._execution.machine.state.data.get(key, default)

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key."""
        self._execution.submit(events.StateChanged(time(), self._run, "set", key, value, emit))

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key (made if missing). Raises `TypeError` if something else stands there."""
        held = self.get(key, ())
        if not isinstance(held, list | tuple):
            raise TypeError(f"state[{key!r}] is a {type(held).__name__}; only a list can be appended to")
        self._execution.submit(events.StateChanged(time(), self._run, "append", key, value, emit))

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key, if it is there; triggers with the value None."""
        self._execution.submit(events.StateChanged(time(), self._run, "delete", key, None, emit))

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

    def to_dict(self) -> dict[str, Any]:
        """All keys and values, as a new dict."""
        return dict(self._execution.machine.state.data)

    def __getitem__(self, key: str) -> Any:
        return self._execution.machine.state.data[key]

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

    __slots__ = ("_execution", "_run")

    def __init__(self, execution: "Execution", run: int | None) -> None:
        self._execution = execution
        self._run = run

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a key, or the default."""
        return self._execution.shared.values.get(key, default)

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key."""
        self._execution.shared.set(key, value, emit=emit, by=(self._execution, self._run))

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key (made if missing). Raises `TypeError` if something else stands there."""
        self._execution.shared.append(key, value, emit=emit, by=(self._execution, self._run))

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key, if it is there; triggers with the value None."""
        self._execution.shared.delete(key, emit=emit, by=(self._execution, self._run))

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
