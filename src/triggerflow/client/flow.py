"""A flow over a backend: it starts executions and finds them, with the names that `TriggerFlow` has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Never

from ..backend import Backend, Cancel, Contract, Drawing, Retry, Reuse
from ..build.arguments import check_names, text
from ..drivers.asyncio import REAL
from ..errors import (
    ExecutionClosed,
    ExecutionSuspended,
    OptionError,
    TriggerFlowError,
    UnknownExecution,
    UsageError,
)
from ..flow import CREATE_OPTIONS
from ..run.ingress import check_delay, check_patience
from ..run.options import check_labels, check_reuse
from ..run.portal import iterate_sync, run_sync
from .carried import only_default
from .execution import RemoteExecution, Start
from .reader import RemoteStreamReader

if TYPE_CHECKING:
    from ..stores.protocol import Store


class RemoteFlow:
    """A flow of a backend: `client.flow(name)`. No request is sent before one of its methods is called.

    It has the methods of `TriggerFlow` that start, find and retry executions, with the same arguments. An option that
    a backend cannot carry, such as `concurrency`, raises `UsageError` unless it has its default: set it where the flow
    is defined. Starting a flow whose code the server lacks raises `UnknownFlow`.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        given: Any = text(name)
        if not isinstance(given, str) or not given:
            raise OptionError(f"the name of a flow is a non-empty string, got {name!r}")
        self._backend = backend
        self._name = given

    @property
    def name(self) -> str:
        """The name of the flow."""
        return self._name

    def __repr__(self) -> str:
        return f"<RemoteFlow {self._name!r}>"

    async def async_contract(self) -> Contract:
        """The types of the flow's start value, result, items and signals, as JSON Schema. Raises `UnknownFlow`."""
        return await self._backend.contract(self._name)

    async def async_drawing(self) -> Drawing:
        """The graph of the flow, as data. Raises `UnknownFlow`."""
        return await self._backend.drawing(self._name)

    # -- running -----------------------------------------------------------------------------------------------------

    def create_execution(
        self,
        *,
        id: str | None = None,
        concurrency: int | None = None,
        skip_exceptions: bool | None = None,
        max_pending: int = 1024,
        stream_history: int = 4096,
        journal_limit: int | None = None,
        keep_open: bool = False,
        execution_timeout: float | None = None,
        cleanup_timeout: float = 5.0,
        max_losses: int = 5,
        runtime_resources: Mapping[str, Any] | None = None,
        store: Store | None = None,
        reuse: Reuse = "existing",
        labels: Mapping[str, str] | None = None,
        **unknown: Never,
    ) -> RemoteExecution:
        """A handle of a new execution, which its `async_start`, its `async_begin` or its first reader starts.

        `id`, `reuse` and `labels` are those of `async_submit`.
        """
        where = self._call("create_execution()")
        if unknown:
            check_names(unknown, CREATE_OPTIONS, where)
        only_default(
            where, self.create_execution, concurrency=concurrency, skip_exceptions=skip_exceptions,
            max_pending=max_pending, stream_history=stream_history, journal_limit=journal_limit, keep_open=keep_open,
            execution_timeout=execution_timeout, cleanup_timeout=cleanup_timeout, max_losses=max_losses,
            runtime_resources=runtime_resources, store=store,
        )  # fmt: skip
        start = Start(self._name, check_reuse(reuse, where), check_labels(labels, where))
        return RemoteExecution(self._backend, self._id(id, where), flow=self._name, start=start)

    async def async_submit(
        self,
        value: Any = None,
        *,
        id: str | None = None,
        store: Store | None = None,
        reuse: Reuse = "reject",
        labels: Mapping[str, str] | None = None,
        delay: float | None = None,
        concurrency: int | None = None,
        skip_exceptions: bool | None = None,
        max_pending: int = 1024,
        keep_open: bool = False,
        execution_timeout: float | None = None,
        cleanup_timeout: float = 5.0,
        max_losses: int = 5,
    ) -> RemoteExecution:
        """Start an execution, and return its handle when the start is in the store. A `Worker` on that store runs it.

        `id`, `reuse`, `labels` and `delay` (seconds): see `TriggerFlow.async_submit`. Raises what that raises, and
        `UnknownFlow`.
        """
        where = self._call("submit()")
        only_default(
            where, self.async_submit, store=store, concurrency=concurrency, skip_exceptions=skip_exceptions,
            max_pending=max_pending, keep_open=keep_open, execution_timeout=execution_timeout,
            cleanup_timeout=cleanup_timeout, max_losses=max_losses,
        )  # fmt: skip
        if delay is not None:
            check_delay(delay)
        if id is not None:
            self._id(id, where)
        info = await self._backend.start(
            self._name,
            value,
            id=id,
            reuse=check_reuse(reuse, where),
            labels=check_labels(labels, where),
            delay=delay,
        )
        return RemoteExecution(self._backend, info.id, flow=info.flow)

    def submit(self, value: Any = None, *, store: Store | None = None, **options: Any) -> RemoteExecution:
        """The sync twin of `async_submit`."""
        return run_sync(lambda: self.async_submit(value, store=store, **options), "flow.async_submit")

    async def async_attach(self, id: str, *, store: Store | None = None) -> RemoteExecution:
        """A handle of an execution. Raises `UnknownExecution`, and `UsageError` if the execution is of another flow."""
        only_default(self._call("attach()"), self.async_attach, store=store)
        info = await self._backend.get(id)
        if info.flow != self._name:
            raise UsageError(f"execution {id!r} belongs to flow {info.flow!r}, not to {self._name!r}")
        return RemoteExecution(self._backend, info.id, flow=info.flow)

    def attach(self, id: str, *, store: Store | None = None) -> RemoteExecution:
        """The sync twin of `async_attach`."""
        return run_sync(lambda: self.async_attach(id, store=store), "flow.async_attach")

    async def async_retry(
        self,
        id: str,
        *,
        store: Store | None = None,
        runtime_resources: Mapping[str, Any] | None = None,
        operator_map: Mapping[str, str | None] | None = None,
        force: bool = False,
    ) -> RemoteExecution:
        """As `TriggerFlow.async_retry`: run a failed execution again, from its state before the failure."""
        only_default(
            self._call("retry()"), self.async_retry,
            store=store, runtime_resources=runtime_resources, operator_map=operator_map,
        )  # fmt: skip
        execution = await self.async_attach(id)
        await self._backend.act(id, Retry(force=force), request=REAL.new_id())
        return execution

    def retry(self, id: str, *, store: Store | None = None, **options: Any) -> RemoteExecution:
        """The sync twin of `async_retry`."""
        return run_sync(lambda: self.async_retry(id, store=store, **options), "flow.async_retry")

    async def async_start(
        self,
        value: Any = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        delay: float | None = None,
        execution_timeout: float | None = None,
    ) -> Any:
        """As `TriggerFlow.async_start`: start an execution, wait for its end, return its result.

        If this call is cancelled, or takes longer than `timeout` seconds, it cancels the execution. Raises what
        `RemoteExecution.async_start` raises.
        """
        where = self._call("start()")
        check_patience(timeout, where)
        only_default(where, self.async_start, concurrency=concurrency, execution_timeout=execution_timeout)
        execution = self.create_execution()
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await execution.async_start(value, delay=delay)
        except (asyncio.CancelledError, TimeoutError) as error:
            if isinstance(error, asyncio.CancelledError):
                await self._give_up(execution.id)
            elif limit.expired():
                then = await self._give_up(execution.id)
                raise TimeoutError(f"{execution!r} has not ended after {timeout} s; {then}") from None
            raise

    async def _give_up(self, id: str) -> str:
        """Cancel the execution of a call that was cancelled or timed out. Returns a clause for the error message."""
        try:
            await self._backend.act(id, Cancel(reason="the call that ran it was cancelled or timed out"))
        except ExecutionSuspended as error:
            return f"it could not be cancelled ({error}), so that it may still run"
        except (ExecutionClosed, UnknownExecution):
            pass
        except TriggerFlowError as error:  # it must not take the place of the cancellation, or of the time-out
            return f"it could not be cancelled ({error}), so that it may still run"
        except TimeoutError:
            return "nobody who runs it has cancelled it yet, so that it may still run"
        return "it is cancelled"

    def start(
        self,
        value: Any = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        delay: float | None = None,
        execution_timeout: float | None = None,
    ) -> Any:
        """The sync twin of `async_start`."""
        make = lambda: self.async_start(  # noqa: E731
            value, timeout=timeout, concurrency=concurrency, delay=delay, execution_timeout=execution_timeout
        )
        return run_sync(make, "flow.async_start")

    def get_async_runtime_stream(
        self,
        value: Any = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        execution_timeout: float | None = None,
    ) -> RemoteStreamReader:
        """Start an execution and read its runtime stream: see `RemoteExecution.get_async_runtime_stream`.

        The execution continues when the reader stops reading. `timeout` is the longest wait for one item, in seconds.
        """
        where = self._call("get_async_runtime_stream()")
        method = self.get_async_runtime_stream
        only_default(where, method, concurrency=concurrency, execution_timeout=execution_timeout)
        return self.create_execution().get_async_runtime_stream(value, timeout=timeout)

    def get_runtime_stream(
        self,
        value: Any = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        execution_timeout: float | None = None,
    ) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`."""
        return iterate_sync(
            lambda: self.get_async_runtime_stream(
                value, timeout=timeout, concurrency=concurrency, execution_timeout=execution_timeout
            ),
            "flow.get_async_runtime_stream",
        )

    def _call(self, call: str) -> str:
        return f"flow {self._name!r}: {call}"

    def _id(self, id: str | None, where: str) -> str:
        if id is None:
            return REAL.new_id()
        if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{where}: the id of an execution is a string; got {id!r}")
        return id
