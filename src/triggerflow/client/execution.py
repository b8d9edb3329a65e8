"""The handle of an execution over a backend, with the names that a handle in process has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from ..backend import (
    MAX_WAIT,
    Answer,
    AnyAction,
    Backend,
    Cancel,
    CancelSignal,
    Close,
    Done,
    Emit,
    Put,
    ResultInfo,
    Reuse,
    SetResult,
)
from ..backend.protocol import ACTION_WAIT
from ..build.arguments import text
from ..drivers.asyncio import REAL
from ..errors import (
    AlreadyStarted,
    BlockingCallError,
    ExecutionCancelled,
    ExecutionClosed,
    ExecutionExists,
    ExecutionSuspended,
    UnknownInterrupt,
    UsageError,
)
from ..flow import UNSET
from ..records import ErrorInfo
from ..run.ingress import check_delay, check_delayed, check_patience
from ..run.logs import failure_from_record
from ..run.portal import iterate_sync, on_a_loop, run_sync
from ..run.stream import LagPolicy
from ..stores.protocol import FINAL_STATUSES
from .carried import only_default, refuse
from .reader import BUFFER, RemoteStreamReader
from .state import RemoteState
from .views import View, look, open_interrupts, present

if TYPE_CHECKING:
    from ..run.journal import Observer

T = TypeVar("T")

#: How many seconds one request for a result waits at the server. A longer wait is made of several requests.
STEP = 30.0
#: The shortest and the longest pause between two looks of `async_settled` at an execution, in seconds.
SETTLE_SECONDS = 0.05, 1.0


class Start(NamedTuple):
    """With what a handle of `create_execution` starts its execution."""

    flow: str
    reuse: Reuse
    labels: Mapping[str, str] | None


class RemoteExecution:
    """An execution that another process runs. `client.flow(name).async_submit` and `client.async_attach` return it.

    It has the methods of `Execution`, with the same arguments and errors. Values are JSON, as `triggerflow.backend`
    shows them. What a backend cannot carry raises `UsageError`, which says what to do instead. The handle keeps no
    state, so it stays valid when the server restarts; two handles of one execution are equal.

    Reading methods without `async_` (`get_status()`, `get_pending_interrupts()`, `state.get(key)` ...) send requests to
    the backend. In a script call them directly; on an event loop write
    `await execution.async_committed(execution.get_status)`, since a direct call raises `BlockingCallError` there.

    Cancelling a method with `async_` ends only the wait: the change that it has requested may still be made. Methods
    that change something wait until a process that runs the execution has done so. All raise `UnknownExecution` if the
    execution was deleted, and `StoreError` if the store or its server cannot be reached.
    """

    __slots__ = ("__weakref__", "_backend", "_flow", "_id", "_start")

    def __init__(self, backend: Backend, id: str, *, flow: str = "", start: Start | None = None) -> None:
        self._backend = backend
        self._id = id
        self._flow = flow
        #: with what to start it; None once it was started
        self._start = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteExecution) and other._backend is self._backend and other._id == self._id

    def __hash__(self) -> int:
        return hash((id(self._backend), self._id))

    def __repr__(self) -> str:
        return f"<RemoteExecution {self._id} of flow {self._flow!r}>" if self._flow else f"<RemoteExecution {self._id}>"

    # -- starting and ending -----------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of the execution. A start with `reuse="new_after_end"` may change it."""
        return self._id

    def get_status(self) -> str:
        """Return "created", "running", "waiting" (for something from outside), "completed", "failed" or "cancelled"."""
        return self._read(lambda view: "created" if view.info is None else view.info.status, "get_status")

    async def async_open(self) -> RemoteExecution:
        """Check that the execution exists. Raises `UnknownExecution` if it was started and does not exist."""
        await self.async_committed(self.get_status)
        return self

    async def async_suspend(self, reason: str = "its owner suspends it") -> None:
        """Raises `UsageError`: this process does not run the execution."""
        refuse("execution.async_suspend()", "only the process that runs an execution can stop running it")

    async def async_start(self, value: Any = UNSET, *, timeout: float | None = None, delay: float | None = None) -> Any:
        """As `Execution.async_start`; the failure of a chunk is a `RemoteChunkError`."""
        check_patience(timeout, "execution.start()")
        await self.async_begin(value, delay=delay)
        return await self.async_get_result(timeout=timeout)

    async def async_begin(self, value: Any = UNSET, *, delay: float | None = None) -> None:
        """Start the execution unless it has started, and return when the start is in the store.

        Raises `AlreadyStarted` if it was started with another value.
        """
        if delay is not None:
            check_delay(delay)
        start = self._start
        if start is not None:
            given = None if value is UNSET else value
            reuse: Reuse = "reject" if start.reuse == "existing" else start.reuse
            try:
                info = await self._backend.start(
                    start.flow, given, id=self._id, reuse=reuse, labels=start.labels, delay=delay
                )
            except ExecutionExists:
                if start.reuse == "reject":
                    raise
                self._start = None
            else:
                self._id, self._start = info.id, None
                return
        if value is not UNSET:
            await self._require_same_start(value)

    async def _require_same_start(self, value: Any) -> None:
        state = await self._backend.state_at(self._id)
        if state.started and state.value != value:
            raise AlreadyStarted(f"{self!r} was already started, with another value")

    def begin(self, value: Any = UNSET, *, delay: float | None = None) -> None:
        """The sync twin of `async_begin`. Raises `BlockingCallError` on an event loop."""
        run_sync(lambda: self.async_begin(value, delay=delay), "execution.async_begin")

    async def async_get_result(self, *, timeout: float | None = None) -> Any:
        """Wait until the execution has ended and return its result, None if no result was set.

        Raises its failure (`RemoteChunkError`, `ContractError` ...), `ExecutionTimedOut`, `ExecutionCancelled`,
        `TimeoutError` after `timeout` seconds, and `UsageError` if it was not started.
        """
        check_patience(timeout, "execution.get_result()")
        if self._start is not None:
            raise UsageError(
                f"{self!r} was not started, so that no result can come; start it with async_start(value) or "
                "async_begin(value), before its result is awaited"
            )
        ended = await self._ended(timeout)
        if ended is None:
            raise TimeoutError(f"{self!r} has not ended after {timeout} s; it continues to run")
        return self._outcome(ended)

    async def _ended(self, timeout: float | None = None) -> ResultInfo | None:
        """Wait for the end of the execution. Returns None if it has not ended after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            left = STEP if deadline is None else max(0.0, deadline - loop.time())
            found = await self._backend.result(self._id, wait=min(left, STEP, MAX_WAIT))
            if found.ended:
                return found
            if deadline is not None and loop.time() >= deadline:
                return None

    def _outcome(self, ended: ResultInfo) -> Any:
        if ended.status == "completed":
            return ended.result
        if ended.status == "cancelled":
            raise ExecutionCancelled(ended.reason, self._id)
        why = ended.error
        raise failure_from_record(repr(self), None if why is None else ErrorInfo(why.type, why.message, why.chunk))

    async def async_settled(self, *, timeout: float | None = None) -> bool:
        """As `Execution.async_settled`."""
        check_patience(timeout, "execution.async_settled()")
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        least, most = SETTLE_SECONDS
        while True:
            settled, moment = await self.async_committed(self._settled)
            if settled:
                return True
            left = most if deadline is None else deadline - loop.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(least, left))
            await self._next_frame(moment, min(most, left))

    def _settled(self) -> tuple[bool, int]:
        view = self._view("async_settled")
        info, state = view.info, view.state
        if info is None or state is None:
            return True, 0
        if info.status in FINAL_STATUSES:
            return True, state.moment
        if state.runs:
            return bool(state.questions) and info.status == "waiting", state.moment
        return not state.working, state.moment

    async def _next_frame(self, moment: int, wait: float) -> None:
        """Wait for the next frame after a moment, for at most `wait` seconds."""
        frames: Any = self._backend.frames(self._id, after=moment, follow=True)
        try:
            async with asyncio.timeout(wait):
                await anext(frames, None)
        except TimeoutError:
            pass
        finally:
            await frames.aclose()

    async def async_cancel(self, reason: str = "cancelled by its owner") -> None:
        """As `Execution.async_cancel`."""
        if await self._unless_ended(Cancel(reason=reason)) is not None:
            await self._ended()

    async def async_close(self) -> Any:
        """As `Execution.async_close`. Raises the errors of `async_get_result`, except `TimeoutError`."""
        await self._unless_ended(Close())
        return await self.async_get_result()

    def start(self, value: Any = UNSET, *, timeout: float | None = None, delay: float | None = None) -> Any:
        """The sync twin of `async_start`."""
        make = lambda: self.async_start(value, timeout=timeout, delay=delay)  # noqa: E731
        return run_sync(make, "execution.async_start")

    def get_result(self, *, timeout: float | None = None) -> Any:
        """The sync twin of `async_get_result`."""
        return run_sync(lambda: self.async_get_result(timeout=timeout), "execution.async_get_result")

    def cancel(self, reason: str = "cancelled by its owner") -> None:
        """The sync twin of `async_cancel`."""
        run_sync(lambda: self.async_cancel(reason), "execution.async_cancel")

    # -- signals from outside ----------------------------------------------------------------------------------------

    async def _perform(self, action: AnyAction, *, request: str | None = None) -> Done:
        """Perform an action once, in whichever process runs the execution. Waits until one has replied."""
        if self._start is not None:
            raise UsageError(f"{self!r} was not started; start it with async_begin(value) first")
        name = REAL.new_id() if request is None else request
        while True:
            try:
                return await self._backend.act(self._id, action, request=name, wait=ACTION_WAIT)
            except TimeoutError as error:
                if type(error) is not TimeoutError:
                    raise  # a subclass, such as `InterruptExpired`, is the reply and not the end of this wait

    async def _unless_ended(self, action: AnyAction) -> Done | None:
        """Perform an action; returns None if the execution has ended."""
        try:
            return await self._perform(action)
        except ExecutionSuspended:
            raise
        except ExecutionClosed:
            return None

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
        """As `Execution.async_emit`, without `settle`, `id` and `keeps_open`, which raise `UsageError`.

        Returns when the signal is in the store; `delay` is in seconds.
        """
        check_delayed(delay, id, keeps_open, settle)
        only_default("execution.async_emit()", self.async_emit, settle=settle, id=id, keeps_open=keeps_open)
        await self._perform(Emit(name=text(name), value=value, delay=delay))

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
        """The sync twin of `async_emit`. Raises `BlockingCallError` on an event loop."""
        make = lambda: self.async_emit(  # noqa: E731
            name, value, settle=settle, delay=delay, id=id, keeps_open=keeps_open
        )
        run_sync(make, "execution.async_emit")

    async def async_cancel_signal(self, name_or_id: Any) -> int:
        """As `Execution.async_cancel_signal`."""
        done = await self._unless_ended(CancelSignal(name=text(name_or_id)))
        return 0 if done is None else done.value

    def cancel_signal(self, name_or_id: Any) -> int:
        """The sync twin of `async_cancel_signal`. Raises `BlockingCallError` on an event loop."""
        return run_sync(lambda: self.async_cancel_signal(name_or_id), "execution.async_cancel_signal")

    async def async_put_into_stream(self, stream_item: Any) -> None:
        """Put an item into the runtime stream from outside."""
        await self._perform(Put(item=stream_item))

    def put_into_stream(self, stream_item: Any) -> None:
        """The sync twin of `async_put_into_stream`. Raises `BlockingCallError` on an event loop."""
        run_sync(lambda: self.async_put_into_stream(stream_item), "execution.async_put_into_stream")

    async def async_stop_stream(self) -> None:
        """Raises `UsageError`: a backend has no such action."""
        refuse("execution.async_stop_stream()", "let a chunk end the stream")

    def stop_stream(self) -> None:
        """Raises `UsageError`, as `async_stop_stream` does."""
        run_sync(self.async_stop_stream, "execution.async_stop_stream")

    async def async_set_result(self, value: Any, *, replace: bool = False) -> None:
        """Set the result from outside. Ignored if the execution has a result, unless `replace` is true."""
        await self._perform(SetResult(value=value, replace=replace))

    def set_result(self, value: Any, *, replace: bool = False) -> None:
        """The sync twin of `async_set_result`. Raises `BlockingCallError` on an event loop."""
        run_sync(lambda: self.async_set_result(value, replace=replace), "execution.async_set_result")

    # -- answers from outside ----------------------------------------------------------------------------------------

    async def async_continue_with(
        self, interrupt_id: str, value: Any = None, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """As `Execution.async_continue_with`."""
        done = await self._perform(Answer(question=text(interrupt_id), value=value), request=request_id)
        return done.value

    def continue_with(self, interrupt_id: str, value: Any = None, *, request_id: str | None = None) -> dict[str, Any]:
        """The sync twin of `async_continue_with`. Raises `BlockingCallError` on an event loop."""
        make = lambda: self.async_continue_with(interrupt_id, value, request_id=request_id)  # noqa: E731
        return run_sync(make, "execution.async_continue_with")

    def get_interrupt(self, interrupt_id: str) -> dict[str, Any]:
        """Return an interrupt as a dict; raises `UnknownInterrupt`. Its keys: see `Execution.get_interrupt`.

        It reads all frames of the execution, unlike `get_pending_interrupts`.
        """
        known = self.get_interrupts()
        found = known.get(text(interrupt_id))
        if found is None:
            raise UnknownInterrupt(f"{self!r} has no interrupt {interrupt_id!r}; its interrupts are {list(known)}")
        return found

    def get_interrupts(self) -> dict[str, dict[str, Any]]:
        """All interrupts by id, open and closed; see `get_interrupt`."""
        return self._read(lambda view: dict(view.interrupts), "get_interrupts")

    def get_pending_interrupts(self) -> dict[str, dict[str, Any]]:
        """The interrupts that wait for an answer, by id."""
        return self._read(
            lambda view: {} if view.state is None else open_interrupts(view.state), "get_pending_interrupts"
        )

    # -- data --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> RemoteState:
        """The state of this execution, by key."""
        return RemoteState(self._perform, self._read_state, self.async_committed)

    def _read_state(self) -> dict[str, Any]:
        return self._read(lambda view: {} if view.state is None else dict(view.state.state), "state.to_dict")

    def save(self, path: str | os.PathLike[str] | None = None, *, encoding: str = "utf-8") -> dict[str, Any]:
        """Raises `UsageError`: see `Backend.export`."""
        refuse("execution.save()", "client.backend.export(id) gives a file that History.load reads")

    @property
    def resources(self) -> MutableMapping[str, Any]:
        """Raises `UsageError`: resources are objects of the process that runs the execution."""
        _no_resources("execution.resources")

    def require_resource(self, key: str) -> Any:
        """Raises `UsageError`: resources are objects of the process that runs the execution."""
        _no_resources("execution.require_resource()")

    def set_runtime_resource(self, key: str, value: Any) -> NoReturn:
        """Raises `UsageError`: resources are objects of the process that runs the execution."""
        _no_resources("execution.set_runtime_resource()")

    def update_runtime_resources(self, mapping: Mapping[str, Any] | None = None, **resources: Any) -> NoReturn:
        """Raises `UsageError`: resources are objects of the process that runs the execution."""
        _no_resources("execution.update_runtime_resources()")

    # -- observing ---------------------------------------------------------------------------------------------------

    def get_async_runtime_stream(
        self,
        value: Any = UNSET,
        *,
        timeout: float | None = None,
        after: int = 0,
        lag: LagPolicy = "block",
        buffer: int = BUFFER,
        compact: bool = False,
    ) -> RemoteStreamReader:
        """Return an async iterator over the runtime stream. Its first step starts the execution unless it has started.

        `value` is the start value. `after` is the number of the last item that the caller has (0: read from the first
        item). `timeout` is the longest wait for one item, in seconds; then `TimeoutError` is raised. With `compact`,
        items that were put before the reader came are merged: texts, and dicts that differ only in their "delta". No
        chunk waits for a reader, so `buffer` has no effect, and `lag` can only be "block".

        After the last item the iterator ends, or raises the failure of the execution.
        """

        only_default("get_async_runtime_stream()", self.get_async_runtime_stream, lag=lag)

        async def begin() -> None:
            if self._start is not None or value is not UNSET:
                await self.async_begin(value)

        def items(after: int) -> Any:
            return self._backend.stream(self._id, after=after, follow=True, compact=compact)

        async def fail() -> None:
            ended = await self._backend.result(self._id)
            if ended.ended:
                self._outcome(ended)

        return RemoteStreamReader(begin, items, fail, after=after, timeout=timeout, buffer=buffer)

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
        )

    @property
    def skipped(self) -> tuple[ErrorInfo, ...]:
        """Raises `UsageError`: read the frames of the backend."""
        _no_records("execution.skipped")

    @property
    def records(self) -> list[Any]:
        """Raises `UsageError`: read the frames of the backend."""
        _no_records("execution.records")

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Raises `UsageError`: follow the frames of the backend."""
        _no_records("execution.add_observer()")

    async def async_committed(self, read: Callable[[], T]) -> T:
        """Call `read` (such as `execution.get_status` or `execution.state.to_dict`), and return what it returns.

        All that it reads of this execution is of the same moment, the newest one. `read` may be called several times,
        so it must have no side effects.
        """
        return await look(self._backend, self._id, read, may_lack=self._start is not None)

    def committed(self, read: Callable[[], T]) -> T:
        """The sync twin of `async_committed`."""
        return run_sync(lambda: self.async_committed(read), "execution.async_committed")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _read(self, read: Callable[[View], T], name: str) -> T:
        """Read the view of `async_committed` that this call is in; a script without one gets a new view."""
        if present(self._backend, self._id) is None:
            if on_a_loop():
                raise BlockingCallError(
                    f"{name}() asks the backend, which would stop the running event loop; write "
                    f"`await execution.async_committed(execution.{name})`"
                )
            return self.committed(lambda: read(self._view(name)))
        return read(self._view(name))

    def _view(self, name: str) -> View:
        found = present(self._backend, self._id)
        assert found is not None, name
        return found


def _no_resources(call: str) -> NoReturn:
    refuse(call, "resources are objects of the process that runs the execution")


def _no_records(call: str) -> NoReturn:
    refuse(call, "read `client.backend.frames(id)`, with follow=True also those that come")
