"""The handle of one run of a flow: start it, watch it, send it signals, wait for it, cancel it."""

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import time
from typing import Any, Self, TypeVar, cast

from .._core import commands, events
from .._core.errors import ContractError, UnknownInterrupt, UsageError, WrongLoopError
from .._core.machine import FINAL
from .._core.state import UNSET
from ..build.arguments import positive
from .compaction import CompactReader
from .journal import Observer
from .logs import describe_interrupt
from .options import Options
from .portal import iterate_sync, on_a_loop, run_sync
from .program import Program
from .resources import ResourceHolder
from .runtime import HostedExecution, finish
from .saving import restore, snapshot, write
from .shared import SharedData
from .state import State
from .stream import LagPolicy, StreamReader
from .subflow import Link

T = TypeVar("T")


class Execution(HostedExecution, ResourceHolder):
    """One run of a flow. Made by `flow.create_execution`; it starts with `async_start` or with its first reader.

    It lives on the event loop that started it. Cancelling or timing out a wait on this handle ends only the wait.
    """

    __slots__ = ()

    # -- starting and ending -----------------------------------------------------------------------------------------

    async def async_open(self) -> Self:
        """Make it ready to be used here; only durable executions have something to do."""
        return self

    async def async_start(self, value: Any = UNSET, *, timeout: float | None = None) -> Any:
        """Start the execution if nobody did, wait until all its work has settled, and return its result (None if one
        that is kept open has none yet).

        Raises what a chunk raised, `ExecutionCancelled`, `TimeoutError` after `timeout` seconds (the execution goes
        on), or `AlreadyStarted` if it was started with another value.
        """
        self.begin(value)
        if not self.options.keep_open:
            return await self.async_get_result(timeout=timeout)
        if not await self.async_settled(timeout=timeout):
            raise TimeoutError(f"{self!r} has not settled after {timeout} s; it goes on running")
        return self.outcome() if self._has_answer() else None

    async def async_begin(self, value: Any = UNSET) -> None:
        """Start the execution if nobody did, and wait for nothing more than that its start is accepted; of a durable
        one it is on disk then. Raises what `async_start` raises before the first chunk runs.
        """
        self.begin(value)

    async def async_get_result(self, *, timeout: float | None = None) -> Any:
        """Wait until the execution has ended and return its result: None if it fixed none. One that is kept open gives
        its result as soon as it has one.

        Raises what a chunk raised, `ExecutionCancelled`, or `TimeoutError` after `timeout` seconds.
        """
        ended = self.ended(timeout)
        if ended is not None:
            await (self.until(self._has_answer, timeout) if self.options.keep_open else ended)
        return self.outcome(timeout)

    async def async_cancel(self, reason: str = "cancelled by its owner") -> None:
        """Stop all chunks, wait for their clean-up (up to the execution's `deadline`), and end as cancelled.

        An execution that has ended stays as it ended.
        """
        if self.machine.state.status in FINAL:
            return
        self._observed = True
        self.driver.submit(events.CancelRequested(time(), reason))
        await self.until(lambda: self.has_ended)

    async def async_close(self) -> Any:
        """Say that no more signals come from outside, and wait for the end and its result."""
        if not self.has_ended:
            self.driver.submit(events.CloseRequested(time()))
        await self.until(lambda: self.has_ended)
        return self.outcome()

    def start(self, value: Any = UNSET, *, timeout: float | None = None) -> Any:
        """The sync twin of `async_start`, for scripts. Raises `BlockingCallError` inside a running loop."""
        return run_sync(lambda: self.async_start(value, timeout=timeout), "async_start", self.loop)

    def get_result(self, *, timeout: float | None = None) -> Any:
        """The sync twin of `async_get_result`."""
        return run_sync(lambda: self.async_get_result(timeout=timeout), "async_get_result", self.loop)

    def cancel(self, reason: str = "cancelled by its owner") -> None:
        """The sync twin of `async_cancel`."""
        run_sync(lambda: self.async_cancel(reason), "async_cancel", self.loop)

    async def new_child(
        self,
        program: Program,
        shared: SharedData,
        options: Options,
        id: str,
        *,
        saved: Mapping[str, Any] | None,
        attempt: int,
        resources: Mapping[str, Any],
        link: Link,
        make: Callable[..., "Execution"],
    ) -> "tuple[Execution, bool]":
        """The execution of a sub-flow of this one, and whether it goes on from where it was saved; `make` makes it."""
        if saved is not None:
            return restore(make, program, shared, options, saved, resources=resources, link=link), True
        return make(shared, options, id, resources=resources, link=link), False

    def set_concurrency(self, concurrency: int | None) -> None:
        """How many chunks may run at once, or None for no limit; to be said before the execution begins."""
        if self.running is not None:
            raise UsageError(f"{self!r} is at work; set its concurrency before it starts")
        options: dict[str, Any] = {name: getattr(self.options, name) for name in Options.__slots__}
        options["concurrency"] = positive(concurrency, f"{self!r}")
        self.options = Options(**options)

    # -- signals from outside ----------------------------------------------------------------------------------------

    async def async_emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """Send a signal from outside. Returns once it is accepted, or with `settle` when all it caused has settled.

        Raises `ExecutionClosed` if the execution has ended.
        """
        event = events.Emitted(time(), None, name, self.checked(name, value), settle)
        if not await self.driver.submit_and_settle(event):
            await self.async_get_result()  # raises why it could not settle

    def emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """The sync twin of `async_emit`; without `settle` it does not block and may be called in a running loop."""
        if not settle:
            self._record(events.Emitted(time(), None, name, self.checked(name, value)))
        else:
            run_sync(lambda: self.async_emit(name, value, settle=settle), "async_emit", self.loop)

    def put_into_stream(self, stream_item: Any) -> None:
        """Put an item into the runtime stream from outside."""
        check = self.program.contract.stream
        self._record(events.StreamPut(time(), None, stream_item if check is None else check(stream_item)))

    def stop_stream(self) -> None:
        """End the runtime stream; its readers stop after the last item. The execution goes on."""
        self._record(events.StreamStopped(time(), None))

    def set_result(self, value: Any, *, replace: bool = False) -> None:
        """Fix the result from outside, if none was fixed before; with `replace` in any case."""
        check = self.program.contract.result
        self._record(events.ResultSet(time(), None, value if check is None else check(value), replace))

    async def async_put_into_stream(self, stream_item: Any) -> None:
        """See `put_into_stream`."""
        self.put_into_stream(stream_item)

    async def async_stop_stream(self) -> None:
        """See `stop_stream`."""
        self.stop_stream()

    async def async_set_result(self, value: Any, *, replace: bool = False) -> None:
        """See `set_result`."""
        self.set_result(value, replace=replace)

    def _record(self, event: events.Event) -> None:
        """Hand in a record from any thread; in a script, which has no loop, before the start too."""
        if self.running is None and not on_a_loop():

            async def there() -> None:
                self.submit(event)

            run_sync(there, "async_...")
        else:
            self.submit(event)

    # -- answers from outside ----------------------------------------------------------------------------------------

    async def async_continue_with(
        self, interrupt_id: str, value: Any = None, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """Answer an interrupt; only what comes next is run. Returns the interrupt as it stands then.

        The same `request_id` again is the same answer and changes nothing. Raises `UnknownInterrupt`,
        `AlreadyAnswered`, `InterruptExpired`, `ExecutionClosed`, or `ContractError` if the answer does not fit the
        schema it was asked for with; the interrupt stays open then.
        """
        return self.answer(interrupt_id, value, request_id)

    def continue_with(self, interrupt_id: str, value: Any = None, *, request_id: str | None = None) -> dict[str, Any]:
        """The sync twin of `async_continue_with`, from any thread. It does not block; only that of a durable execution
        waits for the disk, and raises `BlockingCallError` inside a running loop."""
        return self.answer(interrupt_id, value, request_id)

    def get_interrupt(self, interrupt_id: str) -> dict[str, Any]:
        """An interrupt: id, type, payload, resume_event, status ("waiting", "resumed", "expired") and response."""
        interrupt = (self.machine.state.interrupts or {}).get(interrupt_id)
        if interrupt is None:
            raise UnknownInterrupt(f"{self!r} has no interrupt {interrupt_id!r}; it has {list(self.get_interrupts())}")
        return describe_interrupt(interrupt)

    def get_interrupts(self) -> dict[str, dict[str, Any]]:
        """All interrupts by id."""
        return {id: describe_interrupt(interrupt) for id, interrupt in (self.machine.state.interrupts or {}).items()}

    def get_pending_interrupts(self) -> dict[str, dict[str, Any]]:
        """The interrupts that wait for an answer, by id."""
        return {id: interrupt for id, interrupt in self.get_interrupts().items() if interrupt["status"] == "waiting"}

    # -- saving ------------------------------------------------------------------------------------------------------

    def save(self, path: "str | os.PathLike[str] | None" = None, *, encoding: str = "utf-8") -> dict[str, Any]:
        """The execution as JSON-shaped data, at any moment; with a path also as a file (.json, .yaml).

        `flow.load_execution` makes it again. Raises `PayloadError` that names what cannot be recorded; nothing is
        written then.
        """
        data = snapshot(self)
        write(data, None if path is None else os.fspath(path), encoding)
        return data

    # -- resources ---------------------------------------------------------------------------------------------------

    @property
    def own_resources(self) -> dict[str, Any]:
        """The resources of this execution only. After a load they have to be given again: they are never recorded."""
        if self._resources is None:
            self._resources = dict[str, Any]()
        return self._resources

    def require_resource(self, key: str) -> Any:
        """A resource. Raises `KeyError` with the known names if it is missing."""
        resources = self.resources
        if key not in resources:
            raise KeyError(f"missing required runtime resource {key!r} in {self!r}; it has {sorted(resources)}")
        return resources[key]

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
        """An async iterator over the runtime stream; reading it starts the execution if nobody did.

        `after` is the number of the last item already known (0: from the first), `timeout` the longest gap between two
        items in seconds, `lag` and `buffer` the policy for a reader that falls behind (see `stream`). With `compact`
        what is there already comes merged: texts, and dicts that differ in their "delta" (see `compaction`). A reader
        that gives no `value` leaves the start to whoever gives one in the same turn of the loop. It counts as a reader,
        whom chunks wait for, from its first item on. After the last item the iterator ends, or raises the failure of
        the execution.
        """
        if self.stream is None:
            self.stream = self._new_stream()
        kind = cast("type[StreamReader[Any]]", CompactReader if compact else StreamReader)
        return kind(
            self.stream, lambda: self._begin_reading(value), after=after, timeout=timeout, policy=lag, buffer=buffer
        )

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
            "get_async_runtime_stream",
            self.loop,
        )

    @property
    def state(self) -> State:
        """The state of this execution, by key."""
        return State(self)

    @property
    def skipped(self) -> tuple[events.ErrorInfo, ...]:
        """The errors whose branches ended because of `skip_exceptions`."""
        return tuple(self.machine.state.skipped or ())

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Call a function with every record from now on, as soon as it is accepted; returns what ends that.

        It shall be quick. What it raises is logged and disturbs nothing.
        """
        journal = self.journal
        journal.observers = (*journal.observers, observer)

        def remove() -> None:
            journal.observers = tuple(it for it in journal.observers if it is not observer)

        return remove

    async def async_committed(self, read: Callable[[], T]) -> T:
        """What `read` gives, such as `execution.get_status` or `execution.state.to_dict`.

        The methods that do not wait show what was accepted; of a durable execution, what this returns is on disk, so
        that no crash takes back what was told.
        """
        return read()

    def committed(self, read: Callable[[], T]) -> T:
        """The sync twin of `async_committed`."""
        return run_sync(lambda: self.async_committed(read), "async_committed", self.loop)

    # -- waiting for what is not the end -----------------------------------------------------------------------------

    def is_settled(self, since: int = 0) -> bool:
        """Whether nothing is at work: no chunk, source or timer. A question to the outside is no work.

        With `since`, the number of a record, only chunks count that this record or a later one has started.
        """
        state = self.machine.state
        if since:
            return all(run.signal < since for run in state.runs.values())
        if state.runs:
            return bool(state.interrupts) and super().get_status() == "waiting"
        return not (state.pulls or (state.timers and any(it.what != "expiry" for it in state.timers.values())))

    async def async_settled(self, *, since: int = 0, timeout: float | None = None) -> bool:
        """Wait until `is_settled`; False after `timeout` seconds."""
        settled: Callable[[], bool] = functools.partial(self.is_settled, since) if since else self.is_settled
        return await self.until(settled, timeout, every_record=since > 0 or not self.options.keep_open)

    async def until(
        self, holds: Callable[[], bool], timeout: float | None = None, *, every_record: bool = False
    ) -> bool:
        """Wait until a condition on this execution holds; False if it has ended, or `timeout` seconds have passed.

        An execution that is kept open looks at the condition when it comes to rest, asks something or has its result;
        with `every_record`, and for any other execution, say so: it is then looked at after every record.
        """
        if holds():
            return True
        due = None if timeout is None else asyncio.get_running_loop().time() + timeout
        remove = self.add_observer(lambda _: self.wake()) if every_record else None
        try:
            while (waiter := self.ended(None if due is None else due - asyncio.get_running_loop().time())) is not None:
                await waiter
                if holds():
                    return True
                if due is not None and due <= asyncio.get_running_loop().time():
                    return False
            return holds()
        finally:
            if remove is not None:
                remove()

    def notice(self, command: commands.AnyCommand) -> None:
        """What the core tells an observer; see `rested` and `result_fixed`."""
        match command:
            case commands.Rested():
                self.rested()
            case commands.ResultFixed(by=by):
                self.result_fixed(by)
            case _:
                super().notice(command)
                if self.options.keep_open and isinstance(command, commands.OpenInterrupt):
                    self.wake()

    def rested(self) -> None:
        """It is kept open, and no chunk runs any more."""
        self.wake()

    def result_fixed(self, by: int | str | None) -> None:
        """It is kept open, and has a result: by a run (its number), an `end()` (its id) or from outside (None)."""
        check, state = self.program.contract.result, self.machine.state
        if check is not None:
            try:
                state.result = check(state.result)
            except ContractError as broken:
                self._failure, state.result = broken, UNSET
                close = events.CancelRequested(time(), "its result broke the contract")
                self.driver.loop.call_soon(self.submit_late, close)
        self.wake()

    def _has_answer(self) -> bool:
        state = self.machine.state
        return (state.keep_open and state.result is not UNSET) or state.status in FINAL

    def _begin_reading(self, value: Any) -> Awaitable[None] | None:
        if self.loop not in (None, asyncio.get_running_loop()):
            raise WrongLoopError(f"{self!r} lives on another event loop; read it there, or use the sync methods")
        if value is not UNSET:
            self.begin(value)
        elif self.running is None and self.machine.state.started and self.machine.state.status not in FINAL:
            _ = self.driver  # it was loaded: with its first reader it goes on
        elif self._value is UNSET and self.machine.state.status not in FINAL:
            return self._begin_soon()
        return None

    async def _begin_soon(self) -> None:
        """Start it in the next turn of the loop, if nobody has done so until then; raises what that raises."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._begin_for, begun)
        await begun

    def _begin_for(self, reader: "asyncio.Future[None]") -> None:
        try:
            self.begin()
        except Exception as error:
            if not reader.done():
                reader.set_exception(error)
        else:
            finish(reader)
