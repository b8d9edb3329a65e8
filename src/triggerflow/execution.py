"""The handle of one run of a flow: start it, watch it, send it signals, wait for it, cancel it."""

import asyncio
import difflib
import logging
import os
from collections.abc import Iterator, Sequence
from threading import get_ident
from time import time
from typing import Any, Literal

from ._core import commands, events
from ._core.errors import AlreadyStarted, ExecutionCancelled, ExecutionClosed, WrongLoopError
from ._core.machine import FINAL, Machine
from ._core.plan import Plan
from ._core.state import UNSET, RunChunk, RunState, Status, Unset
from .data import State, TriggerFlowRuntimeData
from .drivers.local import LocalDriver
from .invoke import Invoker
from .journal import RingJournal
from .portal import iterate_sync, run_sync
from .shared import SharedData
from .stream import LagPolicy, RuntimeStream, StreamReader

logger = logging.getLogger("triggerflow")

StatusName = Literal["created", "running", "waiting", "completed", "failed", "cancelled"]


class Options:
    """What an execution was created with. One object serves all executions that were created alike."""

    __slots__ = (
        "attended",
        "concurrency",
        "deadline",
        "journal_limit",
        "max_pending",
        "skip_exceptions",
        "stream_history",
    )

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        skip_exceptions: bool = False,
        max_pending: int = 1024,
        stream_history: int = 4096,
        journal_limit: int = 1024,
        deadline: float = 5.0,
        attended: bool = True,
    ) -> None:
        self.concurrency = concurrency
        self.skip_exceptions = skip_exceptions
        self.max_pending = max_pending
        self.stream_history = stream_history
        self.journal_limit = journal_limit
        self.deadline = deadline
        self.attended = attended


class Execution:
    """One run of a flow. Made by `flow.create_execution`; it starts with `async_start` or with its first reader.

    It lives on the event loop that started it. Cancelling or timing out a wait on this handle ends only the wait.
    """

    __slots__ = (
        "__weakref__",
        "_driver",
        "_failure",
        "_id",
        "_invokers",
        "_observed",
        "_options",
        "_thread",
        "_value",
        "_waiters",
        "flow_name",
        "journal",
        "machine",
        "shared",
        "stream",
    )

    def __init__(
        self,
        flow_name: str,
        plan: Plan,
        invokers: Sequence[Invoker],
        shared: SharedData,
        options: Options,
        id: str | None = None,
        state: RunState | None = None,
    ) -> None:
        self._id = id
        self.flow_name = flow_name
        self.machine = Machine(plan, state)
        #: the records of this execution, as far as they are held
        self.journal = RingJournal(options.journal_limit)
        self.shared = shared
        self.stream: RuntimeStream | None = None
        self._options = options
        self._invokers = invokers
        self._driver: LocalDriver | None = None
        self._thread = 0
        self._value: Any = UNSET
        self._waiters: list[asyncio.Future[None]] | None = None
        self._failure: BaseException | None = None
        self._observed = False

    @property
    def id(self) -> str:
        """The id of this execution: the one it was given, or a random one."""
        if self._id is None:
            self._id = os.urandom(8).hex()
        return self._id

    # -- starting and ending -----------------------------------------------------------------------------------------

    async def async_start(self, value: Any = UNSET, *, timeout: float | None = None) -> Any:
        """Start the execution if nobody did, wait until all its work has settled, and return its result.

        Raises what a chunk raised, `ExecutionCancelled`, `TimeoutError` after `timeout` seconds (the execution goes
        on), or `AlreadyStarted` if it was started with another value.
        """
        self.begin(value)
        return await self.async_get_result(timeout=timeout)

    async def async_get_result(self, *, timeout: float | None = None) -> Any:
        """Wait until the execution has ended and return its result: None if it fixed none.

        Raises what a chunk raised, `ExecutionCancelled`, or `TimeoutError` after `timeout` seconds.
        """
        ended = self.ended(timeout)
        if ended is not None:
            await ended
        return self.outcome(timeout)

    async def async_cancel(self, reason: str = "cancelled by its owner") -> None:
        """Stop all chunks, wait for their clean-up (up to the execution's `deadline`), and end as cancelled.

        An execution that has ended stays as it ended.
        """
        if self.machine.state.status in FINAL:
            return
        self._observed = True
        self.driver.submit(events.CancelRequested(time(), reason))
        ended = self.ended()
        if ended is not None:
            await ended

    async def async_close(self) -> Any:
        """Say that no more signals come from outside, and wait for the result."""
        if self.machine.state.status not in FINAL:
            self.driver.submit(events.CloseRequested(time()))
        return await self.async_get_result()

    def begin(self, value: Any = UNSET) -> None:
        """Start the execution without waiting for it. A second start is none, but must not bring another value."""
        if self._value is not UNSET:
            if value is not UNSET and not _same(value, self._value):
                raise AlreadyStarted(
                    f"{self!r} was started with {self._value!r} and cannot start again with {value!r}; "
                    "create another execution for another value"
                )
            return
        options = self._options
        self._value = None if value is UNSET else value
        self.driver.start(
            events.Started(
                time(), self._value, options.attended, options.concurrency, options.skip_exceptions, options.max_pending
            )
        )

    def ended(self, timeout: float | None = None) -> "asyncio.Future[None] | None":
        """A future that is done when the execution has ended or `timeout` seconds have passed; None if it has ended.

        Raises `WrongLoopError` where the future would never be done.
        """
        if self.machine.state.status in FINAL:
            return None
        loop = asyncio.get_running_loop()
        driver = self.driver if self._driver is None else self._driver
        if driver.loop is not loop:
            if not driver.loop.is_closed():
                raise WrongLoopError(
                    f"{self!r} lives on another event loop; wait for it there, or use the sync methods"
                )
            driver.lose("its event loop was closed while it ran")
            return None
        waiter: asyncio.Future[None] = loop.create_future()
        if self._waiters is None:
            self._waiters = []
        elif len(self._waiters) > 8:
            self._waiters = [other for other in self._waiters if not other.done()]
        self._waiters.append(waiter)
        if timeout is not None:
            timer = loop.call_later(timeout, _finish, waiter)
            waiter.add_done_callback(lambda _: timer.cancel())
        return waiter

    def outcome(self, timeout: float | None = None) -> Any:
        """The result of the execution. Raises why there is none, or `TimeoutError` if it has not ended."""
        self._observed = True
        state = self.machine.state
        if state.status is Status.COMPLETED:
            return None if state.result is UNSET else state.result
        if state.status not in FINAL:
            self._observed = False
            raise TimeoutError(f"{self!r} has not ended after {timeout} s; it goes on running")
        raise self._failed()

    def start(self, value: Any = UNSET, *, timeout: float | None = None) -> Any:
        """The sync twin of `async_start`, for scripts. Raises `BlockingCallError` inside a running loop."""
        return run_sync(lambda: self.async_start(value, timeout=timeout), "async_start", self.loop)

    def get_result(self, *, timeout: float | None = None) -> Any:
        """The sync twin of `async_get_result`."""
        return run_sync(lambda: self.async_get_result(timeout=timeout), "async_get_result", self.loop)

    def cancel(self, reason: str = "cancelled by its owner") -> None:
        """The sync twin of `async_cancel`."""
        run_sync(lambda: self.async_cancel(reason), "async_cancel", self.loop)

    # -- signals from outside ----------------------------------------------------------------------------------------

    async def async_emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """Send a signal from outside. Returns once it is accepted, or with `settle` when all it caused has settled.

        Raises `ExecutionClosed` if the execution has ended.
        """
        await self.driver.submit_and_settle(events.Emitted(time(), None, name, value, settle))

    def emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """The sync twin of `async_emit`; without `settle` it does not block and may be called in a running loop."""
        if self._driver is not None and self.on_loop_thread and not settle:
            self.driver.submit(events.Emitted(time(), None, name, value))
        else:
            run_sync(lambda: self.async_emit(name, value, settle=settle), "async_emit", self.loop)

    # -- observing ---------------------------------------------------------------------------------------------------

    def get_async_runtime_stream(
        self,
        value: Any = UNSET,
        *,
        timeout: float | None = None,
        after: int = 0,
        lag: LagPolicy = "block",
        buffer: int = 1024,
    ) -> StreamReader[Any]:
        """An async iterator over the runtime stream; reading it starts the execution if nobody did.

        `after` is the number of the last item already known (0: from the first), `timeout` the longest gap between two
        items in seconds, `lag` and `buffer` the policy for a reader that falls behind (see `stream`). A reader that
        gives no `value` leaves the start to whoever gives one in the same turn of the loop. After the last item the
        iterator ends, or raises the failure of the execution.
        """
        if self.stream is None:
            self.stream = self._new_stream()
        return StreamReader(
            self.stream, lambda: self._begin_reading(value), after=after, timeout=timeout, policy=lag, buffer=buffer
        )

    def get_runtime_stream(
        self, value: Any = UNSET, *, timeout: float | None = None, after: int = 0, lag: LagPolicy = "block"
    ) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`; the execution goes on while the caller handles an item."""
        return iterate_sync(
            lambda: self.get_async_runtime_stream(value, timeout=timeout, after=after, lag=lag),
            "get_async_runtime_stream",
            self.loop,
        )

    def get_status(self) -> StatusName:
        """Where the execution stands: created, running, waiting (for something from outside), completed, failed or
        cancelled."""
        return self.machine.state.status.value

    @property
    def state(self) -> State:
        """The state of this execution, by key."""
        return State(self, None)

    @property
    def skipped(self) -> tuple[events.ErrorInfo, ...]:
        """The errors whose branches ended because of `skip_exceptions`."""
        return tuple(self.machine.state.skipped or ())

    # -- where it lives ----------------------------------------------------------------------------------------------

    @property
    def driver(self) -> LocalDriver:
        """The driver of this execution, made on first use on the running loop. Raises `WrongLoopError` on another."""
        driver = self._driver
        if driver is None:
            if self.machine.state.status in FINAL:
                raise ExecutionClosed(f"{self!r} has ended ({self.get_status()})")
            options = self._options
            driver = self._driver = LocalDriver(self.machine, self.journal, self, deadline=options.deadline)
            self._thread = get_ident()
            if self.machine.plan.flow_data:
                self.shared.listeners.add(self)
        elif get_ident() != self._thread:
            raise WrongLoopError(f"{self!r} lives on the event loop of another thread; use its sync methods from here")
        return driver

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it lives on, None before the start and after the end."""
        if self._driver is None or self.machine.state.status in FINAL:
            return None
        return self._driver.loop

    @property
    def on_loop_thread(self) -> bool:
        """Whether the calling thread is the one that runs this execution."""
        return get_ident() == self._thread

    def submit(self, event: events.Event) -> None:
        """Hand a record to the driver from any thread; returns when it is accepted."""
        if self._driver is None or get_ident() == self._thread:
            self.driver.submit(event)
            return

        async def there() -> None:
            self.driver.submit(event)

        run_sync(there, "async_...", self._driver.loop)

    # -- what the driver calls ---------------------------------------------------------------------------------------

    def invoke(self, run: RunChunk) -> Any:
        """Call the handler of a run."""
        return self._invokers[run.node.index](TriggerFlowRuntimeData(self, run))

    def retry_delay(self, run: RunChunk, error: BaseException) -> float | None:
        """In how many seconds the chunk's policy tries again."""
        return None

    def publish(self, number: int, item: Any, path: str) -> None:
        """Hand an item to the readers."""
        if self.stream is None:
            self.stream = self._new_stream()
        self.stream.publish(number, item)

    def notice(self, command: commands.AnyCommand) -> None:
        """Tell the log what nobody has to act on; a stopped stream tells its readers."""
        match command:
            case commands.StopStream():
                if self.stream is None:
                    self.stream = self._new_stream()
                self.stream.end()
            case commands.Unheard(name=name):
                near = difflib.get_close_matches(name, self.machine.plan.events, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                logger.warning("%r: nobody listens to signal %r%s", self, name, hint)
            case commands.Skipped(run=run, chunk=chunk):
                logger.warning("%r: chunk %r (run %d) failed and its branch was skipped", self, chunk, run)
            case commands.Refused():
                logger.warning("%r: an item was put into its stream after the stream was stopped", self)
            case _:
                pass

    def closed(self, close: commands.Close, error: BaseException | None) -> None:
        """The execution has ended: tell everybody who waits."""
        state = self.machine.state
        self._failure = error
        self.shared.listeners.discard(self)
        waiters, self._waiters = self._waiters, None
        watched = bool(waiters) or self._observed or (self.stream is not None and self.stream.observed)
        for waiter in waiters or ():
            _finish(waiter)
        if self.stream is not None:
            self.stream.end(None if state.status is Status.COMPLETED else self._failed)
        if close.unfilled and state.result is UNSET:
            logger.warning(
                "%r ended without a result while these joins still waited: %s", self, ", ".join(close.unfilled)
            )
        if state.status is Status.FAILED and not watched:
            logger.error("%r failed and nobody waits for it", self, exc_info=error)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _new_stream(self) -> RuntimeStream:
        stream = RuntimeStream(self._options.stream_history)
        if self.machine.state.status in FINAL:
            stream.end(None if self.machine.state.status is Status.COMPLETED else self._failed)
        return stream

    def _begin_reading(self, value: Any) -> None:
        if value is not UNSET:
            self.begin(value)
        elif self._value is UNSET and self.machine.state.status not in FINAL:
            asyncio.get_running_loop().call_soon(self.begin)

    def _failed(self) -> BaseException:
        """The exception that tells why there is no result; the object that a chunk raised where there is one."""
        state = self.machine.state
        self._observed = True
        if state.status is Status.CANCELLED:
            return ExecutionCancelled(state.reason, self.id)
        error = self._failure
        assert error is not None
        return error

    def __repr__(self) -> str:
        return f"<Execution {self.id} of flow {self.flow_name!r}>"


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _same(one: Any, other: Any) -> bool:
    """Whether two start values are one: identity, or an equality that answers."""
    try:
        return one is other or bool(one == other)
    except Exception:  # a foreign __eq__ (an array's, say) may refuse to answer
        return False


__all__ = ["UNSET", "Execution", "Options", "Unset"]
