"""The handle of one run of a flow: start it, watch it, send it signals, wait for it, cancel it.

A handle holds an `ExecutionRuntime` and forwards to it. Two handles of one execution are equal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack, cast, overload

from .._core.errors import UnknownInterrupt, UsageError
from .._core.events import ErrorInfo, Event
from .._core.state import UNSET, RunChunk, StatusName
from ..build.arguments import text
from ..build.former_names import EXECUTION, refuse
from . import actions, ingress
from .actions import perform
from .data import require_resource
from .interrupts import describe_interrupt
from .portal import iterate_sync, on_a_loop, run_sync
from .resources import ResourceHolder
from .runtime import ExecutionRuntime
from .state import State
from .threads import current_call

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    from ..build.typed import EmitOptions, Signal
    from .journal import Observer
    from .stream import LagPolicy, StreamReader

    ResultT = DefaultTypeVar("ResultT", default=Any)
else:
    ResultT = TypeVar("ResultT")

T = TypeVar("T")
SignalT = TypeVar("SignalT")


class Execution(ResourceHolder, Generic[ResultT]):
    """One run of a flow, whose result is a `ResultT`. `flow.create_execution` makes it; `async_start` or its first
    reader starts it.

    The execution lives on the event loop that started it. The methods with `async_` can be awaited on any loop. The
    methods without `async_` are for scripts and other threads; they raise `BlockingCallError` where they would block a
    loop. Cancelling or timing out a wait on this handle ends only the wait.

    A durable execution has a store. An awaited method returns once its signal, answer or result is in the store.
    Readers get only items that are in the store. What methods without `await` change (`emit` on a loop, `state.set`)
    is in the store when the next awaited method returns. A failing store raises `StoreError`; what was stored before
    remains, and the next call tries again.
    """

    __slots__ = ("__weakref__", "_run", "_runtime")

    def __init__(self, runtime: ExecutionRuntime, run: RunChunk | None = None) -> None:
        self._runtime = runtime
        #: The run whose `data.execution` is this handle. None on other handles, as from `create_execution`.
        self._run = run

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Execution) and other._runtime is self._runtime

    def __hash__(self) -> int:
        return hash(self._runtime)

    def __repr__(self) -> str:
        return repr(self._runtime)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters):
            from types import GenericAlias

            return GenericAlias(cls, parameters)

        def __getattr__(self, name):
            refuse(self, name, EXECUTION)

    # -- starting and ending -----------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id that was given to `create_execution`, or a random one."""
        return self._runtime.id

    def get_status(self) -> StatusName:
        """Return "created", "running", "waiting" (for something from outside), "completed", "failed" or "cancelled".

        The status of a durable execution may not be in the store yet; `async_committed` waits until it is.
        """
        return self._runtime.status()

    async def async_open(self) -> Self:
        """Load a durable execution from its store and continue it, or create it there. Does nothing in memory.

        Raises `UnknownExecution`, `ExecutionLeased` while another process runs it, `UsageError` if it belongs to
        another flow, `SnapshotError` if the present flow cannot continue it, and `StoreError`.
        """
        await self._runtime.durability.open(self._runtime)
        return self

    async def async_suspend(self, reason: str = "its owner suspends it") -> None:
        """Stop running a durable execution in this process, at once.

        Its chunks are cancelled, nothing more is recorded, and any process can continue it. Raises `UsageError` for an
        execution in memory, which would be lost.
        """
        await self._runtime.durability.release(self._runtime, reason)

    async def async_start(
        self, value: Any = UNSET, *, timeout: float | None = None, delay: float | None = None
    ) -> ResultT:
        """Start the execution unless it has started, wait until all its work has settled, and return its result.

        With `delay` its work begins after so many seconds. A durable execution counts them on while no process runs it.

        With `keep_open` the result is None while the execution has none. A durable execution that was started before,
        in this process or another, continues.

        Raises the exception of a failed chunk, `ExecutionCancelled`, `TimeoutError` after `timeout` seconds (the
        execution continues), or `AlreadyStarted` if it was started with another value.
        """
        runtime = self._runtime
        ingress.check_patience(timeout, "execution.start()")
        self._refuse_own_chunk("async_start")

        begins_here = runtime.durability.is_only_here(runtime)

        async def start() -> Any:
            if begins_here:
                runtime.begin(value, delay)
            if not runtime.options.keep_open:
                return await runtime.result(timeout)
            if not await runtime.until(runtime.is_settled, timeout) and not runtime.has_ended:
                raise TimeoutError(f"{runtime!r} has not settled after {timeout} s; {runtime.what_goes_on()}")
            return runtime.outcome() if runtime.has_outcome() else None

        if not begins_here:
            await perform(runtime, actions.BEGIN, value, delay)
        return await ingress.from_outside(runtime, start)

    async def async_begin(self, value: Any = UNSET, *, delay: float | None = None) -> None:
        """Start the execution unless it has started, and return once the start is accepted. `delay`: see `async_start`.

        For a durable execution that means: once the start is in the store. Raises the errors that `async_start` raises
        before the first chunk runs.
        """
        await perform(self._runtime, actions.BEGIN, value, delay)

    def begin(self, value: Any = UNSET, *, delay: float | None = None) -> None:
        """Start the execution on the running loop without waiting for anything; see `async_begin`."""
        self._runtime.begin(value, delay)

    async def async_get_result(self, *, timeout: float | None = None) -> ResultT:
        """Wait until the execution has ended and return its result, None if no result was set.

        With `keep_open` it returns as soon as the execution has a result.

        Raises the exception of a failed chunk, `ExecutionTimedOut`, `ExecutionCancelled`, or `TimeoutError` after
        `timeout` seconds. Raises `UsageError` when a chunk of this execution calls it, since the execution cannot end
        before that chunk does, and when the execution was not started.
        """
        ingress.check_patience(timeout, "execution.get_result()")
        if not self._runtime.has_outcome():
            self._refuse_own_chunk("async_get_result")
        return await ingress.from_outside(self._runtime, lambda: self._runtime.result(timeout))

    async def async_settled(self, *, timeout: float | None = None) -> bool:
        """Wait until no chunk runs, no source is read and no timer is due. Returns False after `timeout` seconds.

        An open interrupt does not count as work.
        """
        ingress.check_patience(timeout, "execution.async_settled()")
        self._refuse_own_chunk("async_settled")
        runtime = self._runtime
        every_record = not runtime.options.keep_open
        make = lambda: runtime.until(runtime.is_settled, timeout, every_record=every_record)  # noqa: E731
        return await ingress.from_outside(runtime, make)

    async def async_cancel(self, reason: str = "cancelled by its owner") -> None:
        """Cancel all chunks, wait for their clean-up (at most `cleanup_timeout` seconds), and end as cancelled.

        Does nothing if the execution has ended.
        """
        await perform(self._runtime, actions.CANCEL, reason)

    async def async_close(self) -> ResultT:
        """Accept no more signals from outside, wait for the end of the execution, and return its result.

        One that was not started ends when the work of its signals is done, and cannot be started any more. Raises the
        errors of `async_get_result`, except `TimeoutError`.
        """
        self._refuse_own_chunk("async_close")
        return await perform(self._runtime, actions.CLOSE)

    def start(self, value: Any = UNSET, *, timeout: float | None = None, delay: float | None = None) -> ResultT:
        """The sync twin of `async_start`."""
        self._refuse_own_chunk("start")
        make = lambda: self.async_start(value, timeout=timeout, delay=delay)  # noqa: E731
        return run_sync(make, "execution.async_start", self._runtime.loop)

    def get_result(self, *, timeout: float | None = None) -> ResultT:
        """The sync twin of `async_get_result`."""
        if not self._runtime.has_outcome():
            self._refuse_own_chunk("get_result")
        make = lambda: self.async_get_result(timeout=timeout)  # noqa: E731
        return run_sync(make, "execution.async_get_result", self._runtime.loop)

    def cancel(self, reason: str = "cancelled by its owner") -> None:
        """The sync twin of `async_cancel`."""
        run_sync(lambda: self.async_cancel(reason), "execution.async_cancel", self._runtime.loop)

    # -- signals from outside ----------------------------------------------------------------------------------------

    @overload
    async def async_emit(self, name: Signal[SignalT], value: SignalT, **options: Unpack[EmitOptions]) -> None: ...

    @overload
    async def async_emit(self, name: Signal[None], **options: Unpack[EmitOptions]) -> None: ...

    @overload
    async def async_emit(self, name: str, value: Any = None, **options: Unpack[EmitOptions]) -> None: ...

    async def async_emit(
        self,
        name: Any,
        value: Any = None,
        *,
        settle: bool = False,
        delay: float | None = None,
        id: str | None = None,
        keeps_open: bool = True,
    ) -> None:
        """Send a signal from outside. Returns once it is accepted; with `settle`, once all that it caused has settled.

        `delay`, `id`, `keeps_open`: see `TriggerFlowRuntimeData.async_emit`.

        A chunk that emits through the handle of its own execution gives up its permits while it waits. Raises
        `ExecutionClosed` if the execution has ended. An execution without work ends, unless it is kept open or the flow
        declares external events (see `TriggerFlow.signal`).
        """
        run = self._own_chunk() if settle else None
        await perform(self._runtime, actions.EMIT, name, value, settle, delay, id, keeps_open, run)

    @overload
    def emit(self, name: Signal[SignalT], value: SignalT, **options: Unpack[EmitOptions]) -> None: ...

    @overload
    def emit(self, name: Signal[None], **options: Unpack[EmitOptions]) -> None: ...

    @overload
    def emit(self, name: str, value: Any = None, **options: Unpack[EmitOptions]) -> None: ...

    def emit(
        self,
        name: Any,
        value: Any = None,
        *,
        settle: bool = False,
        delay: float | None = None,
        id: str | None = None,
        keeps_open: bool = True,
    ) -> None:
        """The sync twin of `async_emit`. On the loop of the execution it does not wait, and `settle` is an error."""
        runtime = self._runtime
        if not settle and on_a_loop():
            now = lambda: ingress.emit_from_outside(runtime, name, value, False, delay, id, keeps_open)  # noqa: E731
            ingress.call(runtime, now, "execution.async_emit")
            return
        make = lambda: self.async_emit(  # noqa: E731
            name, value, settle=settle, delay=delay, id=id, keeps_open=keeps_open
        )
        run_sync(make, "execution.async_emit", runtime.loop)

    async def async_cancel_signal(self, name_or_id: str | Signal[Any]) -> int:
        """Cancel the delayed signals that are pending and have this name or id; returns how many, 0 after the end.

        Those of a sub-flow belong to its own execution and are not found.
        """
        return await perform(self._runtime, actions.CANCEL_SIGNAL, name_or_id)

    def cancel_signal(self, name_or_id: str | Signal[Any]) -> int:
        """The sync twin of `async_cancel_signal`. On the loop of the execution it does not wait."""
        if on_a_loop():
            return ingress.cancel_signal(self._runtime, name_or_id, None)
        make = lambda: self.async_cancel_signal(name_or_id)  # noqa: E731
        return run_sync(make, "execution.async_cancel_signal", self._runtime.loop)

    async def async_put_into_stream(self, stream_item: Any) -> None:
        """Put an item into the runtime stream from outside.

        Waits first while a blocking reader lags by its whole buffer.
        """
        await perform(self._runtime, actions.PUT, stream_item)

    def put_into_stream(self, stream_item: Any) -> None:
        """The sync twin of `async_put_into_stream`. On the loop of the execution it does not wait: a slow reader may
        lose items."""
        self._now_or_blocking(
            lambda: ingress.put_now(self._runtime, stream_item, None),
            lambda: self.async_put_into_stream(stream_item),
            "execution.async_put_into_stream",
        )

    async def async_stop_stream(self) -> None:
        """End the runtime stream. Its readers stop after the last item; the execution continues."""
        await perform(self._runtime, actions.STOP_STREAM)

    def stop_stream(self) -> None:
        """The sync twin of `async_stop_stream`. On the loop of the execution it does not wait."""
        self._now_or_blocking(
            lambda: ingress.stop_stream(self._runtime, None), self.async_stop_stream, "execution.async_stop_stream"
        )

    async def async_set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """Set the result from outside. Ignored if the execution has a result, unless `replace` is true."""
        await perform(self._runtime, actions.SET_RESULT, value, replace)

    def set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """The sync twin of `async_set_result`. On the loop of the execution it does not wait."""
        self._now_or_blocking(
            lambda: ingress.set_result(self._runtime, value, replace, None),
            lambda: self.async_set_result(value, replace=replace),
            "execution.async_set_result",
        )

    def _now_or_blocking(self, now: Callable[[], None], awaited: Callable[[], Any], name: str) -> None:
        """Call `now` at once on a loop; in a script run the coroutine of `awaited` to its end."""
        if on_a_loop():
            ingress.call(self._runtime, now, name)
        else:
            run_sync(awaited, name, self._runtime.loop)

    # -- answers from outside ----------------------------------------------------------------------------------------

    async def async_continue_with(
        self, interrupt_id: str, value: Any = None, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """Answer an interrupt. Chunks that have completed do not run again. Returns the answered interrupt.

        A second answer with the same `request_id` counts as the same answer and changes nothing. Raises
        `UnknownInterrupt`, `AlreadyAnswered`, `InterruptExpired`, `ExecutionClosed`, or `ContractError` if the answer
        does not fit the `schema` of the interrupt; the interrupt stays open then.
        """
        return await perform(self._runtime, actions.ANSWER, interrupt_id, value, request_id)

    def continue_with(self, interrupt_id: str, value: Any = None, *, request_id: str | None = None) -> dict[str, Any]:
        """The sync twin of `async_continue_with`, for any thread.

        For an execution in memory it may be called on a loop and does not wait. For a durable execution it waits for
        the store, and raises `BlockingCallError` on a loop.
        """
        if on_a_loop() and not self._runtime.durability.outlives_loop:
            return ingress.answer(self._runtime, interrupt_id, value, request_id)
        make = lambda: self.async_continue_with(interrupt_id, value, request_id=request_id)  # noqa: E731
        return run_sync(make, "execution.async_continue_with", self._runtime.loop)

    def get_interrupt(self, interrupt_id: str) -> dict[str, Any]:
        """Return an interrupt as a dict; raises `UnknownInterrupt`.

        Its keys: id, type, payload, resume_event, expires (seconds since the epoch, or None), status ("waiting",
        "resumed", "expired" or "retracted"), and response (the answer).
        """
        interrupt = (self._runtime.machine.state.interrupts or {}).get(text(interrupt_id))
        if interrupt is None:
            raise UnknownInterrupt(
                f"{self!r} has no interrupt {interrupt_id!r}; its interrupts are {list(self.get_interrupts())}"
            )
        return describe_interrupt(interrupt)

    def get_interrupts(self) -> dict[str, dict[str, Any]]:
        """All interrupts by id, open and closed; see `get_interrupt`."""
        interrupts = self._runtime.machine.state.interrupts or {}
        return {id: describe_interrupt(interrupt) for id, interrupt in interrupts.items()}

    def get_pending_interrupts(self) -> dict[str, dict[str, Any]]:
        """The interrupts that wait for an answer, by id."""
        return {id: interrupt for id, interrupt in self.get_interrupts().items() if interrupt["status"] == "waiting"}

    # -- data --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of this execution, by key."""
        return State(self._runtime)

    def save(self, path: str | os.PathLike[str] | None = None, *, encoding: str = "utf-8") -> dict[str, Any]:
        """Return a snapshot of the execution as JSON-shaped data; with a `path`, write it to that file (.json, .yaml).

        It can be called at any moment. `flow.load_execution` restores the execution. Raises `PayloadError`, which names
        the value that cannot be recorded; no file is written then.
        """
        from .saving import snapshot, write  # not needed to run a flow, and slow to import

        data = snapshot(self._runtime)
        write(data, None if path is None else os.fspath(path), encoding)
        return data

    @property
    def resources(self) -> MutableMapping[str, Any]:
        """The resources by name. Those of this execution hide those of its flow; see `ResourceHolder.resources`."""
        return self._runtime.resources

    def require_resource(self, key: str) -> Any:
        """A resource. Raises `KeyError` with the known names if it is missing."""
        return require_resource(self._runtime, key)

    # -- observing ---------------------------------------------------------------------------------------------------

    def get_async_runtime_stream(
        self,
        value: Any = UNSET,
        *,
        timeout: float | None = None,
        after: int = 0,
        lag: LagPolicy = "block",
        buffer: int = 1024,
        compact: bool = False,
    ) -> StreamReader[Any]:
        """Return an async iterator over the runtime stream. Its first step starts the execution unless it has started.

        `value` is the start value. Without it, a caller in the same turn of the loop can still start the execution
        with another value. `after` is the number of the last item that the caller has (0: read from the first item).
        `timeout` is the longest wait for one item, in seconds; then `TimeoutError` is raised. `lag` and `buffer`
        (items) are the policy for a reader that falls behind, see `run.stream`. With `compact`, items that were put
        before the reader came are merged: texts, and dicts that differ only in their "delta".

        Chunks wait for a slow reader from its first step on. After the last item the iterator ends, or raises the
        failure of the execution. Raises `StreamGapError` and `ReaderDisconnected` for a reader that falls behind.
        """
        from .stream import CompactReader, StreamReader  # not needed by a run without readers

        ingress.check_patience(timeout, "get_async_runtime_stream()")
        runtime = self._runtime
        kind = cast("type[StreamReader[Any]]", CompactReader if compact else StreamReader)
        begin = lambda: runtime.begin_reading(value)  # noqa: E731
        stream, what = runtime.open_stream(), runtime.what_goes_on
        return kind(stream, begin, what, after=after, timeout=timeout, policy=lag, buffer=buffer)

    def get_runtime_stream(
        self,
        value: Any = UNSET,
        *,
        timeout: float | None = None,
        after: int = 0,
        lag: LagPolicy = "block",
        compact: bool = False,
    ) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`. The execution continues while the caller handles an item."""
        return iterate_sync(
            lambda: self.get_async_runtime_stream(value, timeout=timeout, after=after, lag=lag, compact=compact),
            "execution.get_async_runtime_stream",
            self._runtime.loop,
        )

    @property
    def skipped(self) -> tuple[ErrorInfo, ...]:
        """The errors whose branches ended because of `skip_exceptions`."""
        return tuple(self._runtime.machine.state.skipped or ())

    @property
    def records(self) -> list[Event]:
        """The newest records, oldest first. Their classes are in `triggerflow.records`.

        `flow.history()` has all records of a durable execution. With the option `journal_limit` of `create_execution`
        the list has at least that many records and at most twice as many; without it the newest 1,024, but at most
        about 1 MB of values. An execution of `flow.start` or `flow.async_start` keeps no records: raises `UsageError`.
        """
        journal = self._runtime.journal
        if journal is None or not journal.limit:
            raise UsageError(
                f"{self!r} keeps no records, because flow.start() and flow.async_start() give no handle; make it with "
                "flow.create_execution(), or give it an observer: execution.add_observer(function)"
            )
        return list(journal)

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Call `observer(record)` for every record from now on. Returns a function that removes the observer.

        The observer runs on the loop of the execution and must be quick. An exception that it raises is logged, and the
        execution continues.
        """
        return self._runtime.add_observer(observer)

    async def async_committed(self, read: Callable[[], T]) -> T:
        """Call `read` (such as `execution.get_status` or `execution.state.to_dict`) and return its result once stored.

        Methods that do not wait may show changes that are not in the store yet. What this method returns is in the
        store of a durable execution, and survives a crash. Raises `StoreError`.
        """
        return await ingress.from_outside_now(self._runtime, read)

    def committed(self, read: Callable[[], T]) -> T:
        """The sync twin of `async_committed`."""
        return run_sync(lambda: self.async_committed(read), "execution.async_committed", self._runtime.loop)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _own_chunk(self) -> RunChunk | None:
        """The run of this execution whose chunk is the caller; None for a caller outside its chunks."""
        state = self._runtime.machine.state
        if self._run is not None and state.run(self._run.id) is self._run:
            return self._run
        driver = self._runtime.driver
        if driver is not None and on_a_loop():
            return driver.current_run()
        call = current_call()
        run = None if call is None else call.run_of_chunk
        return run if isinstance(run, RunChunk) and state.run(run.id) is run else None

    def _refuse_own_chunk(self, method: str) -> None:
        """Raise `UsageError` if the caller is a chunk of this execution: it would wait for its own end."""
        run = None if self._runtime.options.keep_open else self._own_chunk()
        if run is not None:
            raise UsageError(
                f"chunk {run.node.name!r} of {self!r} calls {method}() of its own execution, which cannot end before "
                "the chunk does; return from the chunk, or call it from outside"
            )


def runtime_of(execution: Execution) -> ExecutionRuntime:
    """The runtime behind a handle, for the engine and its extensions."""
    return execution._runtime  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the only access from outside the class


__all__ = ["UNSET", "Execution", "runtime_of"]
