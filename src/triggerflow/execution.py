"""The handle of one run of a flow: start it, watch it, send it signals, wait for it, cancel it."""

import asyncio
import os
from collections.abc import Awaitable, Iterator, Mapping
from time import time
from typing import Any, Self, cast

from ._core import events
from ._core.errors import UnknownInterrupt, WrongLoopError
from ._core.machine import FINAL
from ._core.state import UNSET
from .compaction import CompactReader
from .hosting import HostedExecution
from .notices import describe_interrupt
from .options import Options
from .persistence import restore, snapshot, write
from .portal import iterate_sync, run_sync
from .program import Program
from .shared import SharedData
from .stream import LagPolicy, StreamReader
from .subflow import Link


class Execution(HostedExecution):
    """One run of a flow. Made by `flow.create_execution`; it starts with `async_start` or with its first reader.

    It lives on the event loop that started it. Cancelling or timing out a wait on this handle ends only the wait.
    """

    __slots__ = ()

    # -- starting and ending -----------------------------------------------------------------------------------------

    async def async_open(self) -> Self:
        """Make it ready to be used here; only durable executions have something to do."""
        return self

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
    ) -> "tuple[Execution, bool]":
        """The execution of a sub-flow of this one, and whether it goes on from where it was saved."""
        if saved is not None:
            return restore(Execution, program, shared, options, saved, resources=resources, link=link), True
        return Execution(program, shared, options, id, resources=resources, link=link), False

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
        if self.running is not None and self.on_loop_thread and not settle:
            self.driver.submit(events.Emitted(time(), None, name, self.checked(name, value)))
        else:
            run_sync(lambda: self.async_emit(name, value, settle=settle), "async_emit", self.loop)

    # -- answers from outside ----------------------------------------------------------------------------------------

    async def async_continue_with(
        self, interrupt_id: str, value: Any = None, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """Answer an interrupt; only what comes next is run. Returns the interrupt as it stands then.

        The same `request_id` again is the same answer and changes nothing. Raises `UnknownInterrupt`,
        `AlreadyAnswered`, `InterruptExpired`, `ExecutionClosed`, or `ContractError` if the answer does not fit the
        schema it was asked for with; the interrupt stays open then.
        """
        return self.continue_with(interrupt_id, value, request_id=request_id)

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

    def set_resource(self, name: str, value: Any) -> None:
        """Give this execution a resource; after a load, the way to give it back what is never recorded."""
        self._resources = {**(self._resources or {}), name: value}

    def require_resource(self, name: str) -> Any:
        """A resource. Raises `KeyError` with the known names if it is missing."""
        resources = self.resources
        if name not in resources:
            raise KeyError(f"missing required runtime resource {name!r} in {self!r}; it has {sorted(resources)}")
        return resources[name]

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
    def skipped(self) -> tuple[events.ErrorInfo, ...]:
        """The errors whose branches ended because of `skip_exceptions`."""
        return tuple(self.machine.state.skipped or ())

    def _begin_reading(self, value: Any) -> Awaitable[None] | None:
        if self.loop not in (None, asyncio.get_running_loop()):
            raise WrongLoopError(f"{self!r} lives on another event loop; read it there, or use the sync methods")
        if value is not UNSET:
            self.begin(value)
        elif self.running is None and self.machine.state.started and self.machine.state.status not in FINAL:
            _ = self.driver  # it was loaded: with its first reader it goes on
        elif self._value is UNSET and self.machine.state.status not in FINAL:
            asyncio.get_running_loop().call_soon(self.begin)
        return None
