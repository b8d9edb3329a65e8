"""The handle of one run of a flow: start it, watch it, send it signals, wait for it, cancel it.

A handle holds an `ExecutionRuntime` and forwards to it. Two handles of one execution are equal.
"""

import os
from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from .._core.errors import UnknownInterrupt, UsageError
from .._core.events import ErrorInfo, Event
from .._core.state import UNSET, RunChunk, StatusName
from . import ingress
from .data import require_resource
from .former_names import EXECUTION, refuse
from .interrupts import describe_interrupt
from .journal import Observer
from .portal import iterate_sync, on_a_loop, run_sync
from .resources import ResourceHolder
from .runtime import ExecutionRuntime
from .saving import snapshot, write
from .state import State
from .stream import CompactReader, LagPolicy, StreamReader

T = TypeVar("T")


class Execution(ResourceHolder):
    """One run of a flow. Made by `flow.create_execution`; it starts with `async_start` or with its first reader.

    It lives on the event loop that started it. The methods with `async_` can be awaited on any loop; those without are
    for scripts and other threads, and raise `BlockingCallError` where they would block a loop. Cancelling or timing out
    a wait on this handle ends only the wait.

    Of a durable execution (one with a store), what is awaited is in the store when it returns: a signal, an answer, a
    result. What a reader gets was in the store before. Methods that do not wait (`emit` on a loop, `state.set`) are in
    the store with the next call that does. `StoreError` is raised where the store fails; what is in the store remains,
    and the next use tries again.
    """

    __slots__ = ("__weakref__", "_run", "_runtime")

    def __init__(self, runtime: ExecutionRuntime, run: RunChunk | None = None) -> None:
        self._runtime = runtime
        #: the run of a chunk that got this handle as `data.execution`
        self._run = run

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Execution) and other._runtime is self._runtime

    def __hash__(self) -> int:
        return hash(self._runtime)

    def __repr__(self) -> str:
        return repr(self._runtime)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            refuse(self, name, EXECUTION)

    # -- starting and ending -----------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id it was given, or a random one."""
        return self._runtime.id

    def get_status(self) -> StatusName:
        """created, running, waiting (for something from outside), completed, failed or cancelled.

        Of a durable execution it may show what is not in the store yet; `async_committed` waits for that.
        """
        return self._runtime.status()

    async def async_open(self) -> Self:
        """Find a durable execution in its store and go on with it, or make it there; in memory there is nothing to do.

        Raises `UnknownExecution`, `ExecutionLeased` while another process runs it, `UsageError` if it belongs to
        another flow, `SnapshotError` if it cannot go on under the flow as it is now, and `StoreError`.
        """
        await self._runtime.durability.open(self._runtime)
        return self

    async def async_suspend(self, reason: str = "its owner suspends it") -> None:
        """Stop running a durable execution here, at once: its chunks are cancelled, nothing more is recorded, and any
        process can go on with it. Raises `UsageError` in memory, where that would lose it."""
        await self._runtime.durability.release(self._runtime, reason)

    async def async_start(self, value: Any = UNSET, *, timeout: float | None = None) -> Any:
        """Start the execution if nobody has, wait until all its work has settled, and return its result (None if one
        that is kept open has none yet). A durable execution that was started before, here or elsewhere, goes on.

        Raises what a chunk raised, `ExecutionCancelled`, `TimeoutError` after `timeout` seconds (the execution goes
        on), or `AlreadyStarted` if it was started with another value.
        """
        runtime = self._runtime
        self._refuse_own_chunk("async_start")

        async def start() -> Any:
            runtime.begin(value)
            if not runtime.options.keep_open:
                return await runtime.result(timeout)
            if not await runtime.until(runtime.is_settled, timeout) and not runtime.has_ended:
                raise TimeoutError(f"{runtime!r} has not settled after {timeout} s; it goes on running")
            return runtime.outcome() if runtime.has_answer() else None

        return await ingress.from_outside(runtime, start)

    async def async_begin(self, value: Any = UNSET) -> None:
        """Start the execution if nobody has, and wait for nothing more than that its start is accepted (of a durable
        one: in the store). Raises what `async_start` raises before the first chunk runs."""
        await ingress.from_outside_now(self._runtime, lambda: self._runtime.begin(value))

    def begin(self, value: Any = UNSET) -> None:
        """Start the execution on the running loop without waiting for anything; see `async_begin`."""
        self._runtime.begin(value)

    async def async_get_result(self, *, timeout: float | None = None) -> Any:
        """Wait until the execution has ended and return its result: None if it fixed none. One that is kept open gives
        its result as soon as it has one.

        Raises what a chunk raised, `ExecutionCancelled`, `TimeoutError` after `timeout` seconds, or `UsageError` in a
        chunk of this execution, which cannot end before the chunk does.
        """
        if not self._runtime.has_answer():
            self._refuse_own_chunk("async_get_result")
        return await ingress.from_outside(self._runtime, lambda: self._runtime.result(timeout))

    async def async_settled(self, *, timeout: float | None = None) -> bool:
        """Wait until nothing is at work: no chunk, source or timer; False after `timeout` seconds. An open interrupt is
        not work."""
        runtime = self._runtime
        every_record = not runtime.options.keep_open
        make = lambda: runtime.until(runtime.is_settled, timeout, every_record=every_record)  # noqa: E731
        return await ingress.from_outside(runtime, make)

    async def async_cancel(self, reason: str = "cancelled by its owner") -> None:
        """Stop all chunks, wait for their clean-up (up to the execution's clean-up time-out), and end as cancelled.

        An execution that has ended stays as it ended.
        """
        await ingress.from_outside(self._runtime, lambda: self._runtime.cancel(reason))

    async def async_close(self) -> Any:
        """Take no more signals from outside; wait for the end and its result."""
        self._refuse_own_chunk("async_close")
        return await ingress.from_outside(self._runtime, self._runtime.close)

    def start(self, value: Any = UNSET, *, timeout: float | None = None) -> Any:
        """The sync twin of `async_start`."""
        return run_sync(lambda: self.async_start(value, timeout=timeout), "execution.async_start", self._runtime.loop)

    def get_result(self, *, timeout: float | None = None) -> Any:
        """The sync twin of `async_get_result`."""
        make = lambda: self.async_get_result(timeout=timeout)  # noqa: E731
        return run_sync(make, "execution.async_get_result", self._runtime.loop)

    def cancel(self, reason: str = "cancelled by its owner") -> None:
        """The sync twin of `async_cancel`."""
        run_sync(lambda: self.async_cancel(reason), "execution.async_cancel", self._runtime.loop)

    # -- signals from outside ----------------------------------------------------------------------------------------

    async def async_emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """Send a signal from outside. Returns once it is accepted, or with `settle` when all it caused has settled.

        A chunk that emits through the handle of its own execution gives up its permits while it waits. Raises
        `ExecutionClosed` if the execution has ended; at rest it waits for declared external events only, see
        `TriggerFlow.signal`.
        """
        run = self._own_chunk() if settle else None
        make = lambda: ingress.emit_from_outside(self._runtime, name, value, settle, run)  # noqa: E731
        await ingress.from_outside(self._runtime, make)

    def emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """The sync twin of `async_emit`. On the loop of the execution it does not wait, and `settle` is an error."""
        if not settle and on_a_loop():
            ingress.call(
                self._runtime, lambda: ingress.emit_from_outside_now(self._runtime, name, value), "execution.async_emit"
            )
        else:
            run_sync(lambda: self.async_emit(name, value, settle=settle), "execution.async_emit", self._runtime.loop)

    async def async_put_into_stream(self, stream_item: Any) -> None:
        """Put an item into the runtime stream from outside; waits first while a blocking reader lags by its whole
        buffer."""
        await ingress.from_outside(self._runtime, lambda: ingress.put_from_outside(self._runtime, stream_item))

    def put_into_stream(self, stream_item: Any) -> None:
        """The sync twin of `async_put_into_stream`. On the loop of the execution it does not wait, so that a slow
        reader may lose items."""
        self._now_or_blocking(
            lambda: ingress.put_now(self._runtime, stream_item, None),
            lambda: self.async_put_into_stream(stream_item),
            "execution.async_put_into_stream",
        )

    async def async_stop_stream(self) -> None:
        """End the runtime stream; its readers stop after the last item. The execution goes on."""
        await ingress.from_outside_now(self._runtime, lambda: ingress.stop_stream(self._runtime, None))

    def stop_stream(self) -> None:
        """The sync twin of `async_stop_stream`. On the loop of the execution it does not wait."""
        self._now_or_blocking(
            lambda: ingress.stop_stream(self._runtime, None), self.async_stop_stream, "execution.async_stop_stream"
        )

    async def async_set_result(self, value: Any, *, replace: bool = False) -> None:
        """Fix the result from outside, if none was fixed before; with `replace` in any case."""
        await ingress.from_outside_now(self._runtime, lambda: ingress.set_result(self._runtime, value, replace, None))

    def set_result(self, value: Any, *, replace: bool = False) -> None:
        """The sync twin of `async_set_result`. On the loop of the execution it does not wait."""
        self._now_or_blocking(
            lambda: ingress.set_result(self._runtime, value, replace, None),
            lambda: self.async_set_result(value, replace=replace),
            "execution.async_set_result",
        )

    def _now_or_blocking(self, now: Callable[[], None], awaited: Callable[[], Any], name: str) -> None:
        """Do something: on a loop at once, in a script by its async twin."""
        if on_a_loop():
            ingress.call(self._runtime, now, name)
        else:
            run_sync(awaited, name, self._runtime.loop)

    # -- answers from outside ----------------------------------------------------------------------------------------

    async def async_continue_with(
        self, interrupt_id: str, value: Any = None, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """Answer an interrupt; only what comes next is run. Returns the interrupt as it is then.

        The same `request_id` again is the same answer and changes nothing. Raises `UnknownInterrupt`,
        `AlreadyAnswered`, `InterruptExpired`, `ExecutionClosed`, or `ContractError` if the answer does not fit the
        schema that the chunk asked for; the interrupt stays open then.
        """
        return await ingress.from_outside_now(
            self._runtime, lambda: ingress.answer(self._runtime, interrupt_id, value, request_id)
        )

    def continue_with(self, interrupt_id: str, value: Any = None, *, request_id: str | None = None) -> dict[str, Any]:
        """The sync twin of `async_continue_with`, from any thread. On the loop of an execution in memory it does not
        wait; of a durable execution it waits for the store, and raises `BlockingCallError` on a loop."""
        if on_a_loop() and not self._runtime.durability.outlives_loop:
            return ingress.answer(self._runtime, interrupt_id, value, request_id)
        make = lambda: self.async_continue_with(interrupt_id, value, request_id=request_id)  # noqa: E731
        return run_sync(make, "execution.async_continue_with", self._runtime.loop)

    def get_interrupt(self, interrupt_id: str) -> dict[str, Any]:
        """An interrupt: id, type, payload, resume_event, expires, status ("waiting", "resumed", "expired", "retracted")
        and response. Raises `UnknownInterrupt`."""
        interrupt = (self._runtime.machine.state.interrupts or {}).get(interrupt_id)
        if interrupt is None:
            raise UnknownInterrupt(f"{self!r} has no interrupt {interrupt_id!r}; it has {list(self.get_interrupts())}")
        return describe_interrupt(interrupt)

    def get_interrupts(self) -> dict[str, dict[str, Any]]:
        """All interrupts by id."""
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

    def save(self, path: "str | os.PathLike[str] | None" = None, *, encoding: str = "utf-8") -> dict[str, Any]:
        """The execution as JSON-shaped data, at any moment; with a path also as a file (.json, .yaml).

        `flow.load_execution` makes it again. Raises `PayloadError` that names what cannot be recorded; nothing is
        written then.
        """
        data = snapshot(self._runtime)
        write(data, None if path is None else os.fspath(path), encoding)
        return data

    @property
    def resources(self) -> MutableMapping[str, Any]:
        """The resources by name: this execution's before its flow's; see `ResourceHolder.resources`."""
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
        """An async iterator over the runtime stream; reading it starts the execution if nobody has.

        `after` is the number of the last item already known (0: from the first), `timeout` the longest gap between two
        items in seconds, `lag` and `buffer` (items) the policy for a reader that falls behind (see `run.stream`). With
        `compact`, items that were put before the reader came are merged: texts, and dicts that differ in their "delta".
        A reader that gives no `value` leaves the start to whoever gives one in the same turn of the loop. It counts as
        a reader, for whom chunks wait, from its first item on. After the last item the iterator ends, or raises the
        failure of the execution.
        """
        runtime = self._runtime
        kind = cast("type[StreamReader[Any]]", CompactReader if compact else StreamReader)
        begin = lambda: runtime.begin_reading(value)  # noqa: E731
        return kind(runtime.open_stream(), begin, after=after, timeout=timeout, policy=lag, buffer=buffer)

    def get_runtime_stream(
        self,
        value: Any = UNSET,
        *,
        timeout: float | None = None,
        after: int = 0,
        lag: LagPolicy = "block",
        compact: bool = False,
    ) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`; the execution goes on while the caller handles an item."""
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
        """The newest records, oldest first; of a durable execution `flow.history()` has all of them. Their classes are
        those of `triggerflow.records`.

        With a `journal_limit`, which `create_execution` takes, these are that many at least, and twice as many at most;
        without one the newest 1,024, but no more than have about 1 MB of values. An execution of `flow.start` or
        `flow.async_start` keeps none: raises `UsageError` then. An observer gets each record as it comes.
        """
        journal = self._runtime.journal
        if journal is None or not journal.limit:
            raise UsageError(
                f"{self!r} keeps no records, since only the call that started it knows of it; make it with "
                "flow.create_execution(), or give it an observer: execution.add_observer(function)"
            )
        return list(journal)

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Call a function with every record from now on, as soon as it is accepted; returns what ends that.

        It has to be quick. What it raises is logged and disturbs nothing.
        """
        return self._runtime.add_observer(observer)

    async def async_committed(self, read: Callable[[], T]) -> T:
        """What `read` gives, such as `execution.get_status` or `execution.state.to_dict`.

        The methods that do not wait show what was accepted. Of a durable execution, what this returns is in the store,
        so that no crash takes it back.
        """
        return await ingress.from_outside_now(self._runtime, read)

    def committed(self, read: Callable[[], T]) -> T:
        """The sync twin of `async_committed`."""
        return run_sync(lambda: self.async_committed(read), "execution.async_committed", self._runtime.loop)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _own_chunk(self) -> RunChunk | None:
        """The run of a chunk of this execution in which the caller stands, if it does."""
        state = self._runtime.machine.state
        if self._run is not None and state.run(self._run.id) is self._run:
            return self._run
        driver = self._runtime.driver
        return driver.current_run() if driver is not None and on_a_loop() else None

    def _refuse_own_chunk(self, method: str) -> None:
        """Raise `UsageError` if a chunk of this execution would wait for the end of the execution."""
        run = None if self._runtime.options.keep_open else self._own_chunk()
        if run is not None:
            raise UsageError(
                f"chunk {run.node.name!r} of {self!r} calls {method}() of its own execution, which cannot end before "
                "the chunk does; return from the chunk, or call it from outside"
            )


def runtime_of(execution: Execution) -> ExecutionRuntime:
    """What a handle holds, for the engine and its extensions."""
    return execution._runtime  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the one way to it


__all__ = ["UNSET", "Execution", "runtime_of"]
