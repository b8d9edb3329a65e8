"""What is awaited is on disk when it returns: the async methods of a durable execution wait for their commit.

Each opens the execution first, wherever it was left: found in its store, or parked.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .._core.state import UNSET
from ..run.execution import Execution
from ..run.portal import run_sync
from ..run.state import State
from .driver import Log

T = TypeVar("T")


def _committed(method: str) -> Any:
    """The async twin of a method, which waits for the disk."""

    async def call(self: "AcknowledgedState", *args: Any, **options: Any) -> Any:
        return await self.execution.async_committed(lambda: getattr(self, method)(*args, **options))

    return call


class AcknowledgedState(State):
    """The state as the holder of the handle has it: what an async method reads or changes is on disk when it returns.

    Chunks do not wait for the disk; they have a plain `State`.
    """

    __slots__ = ("execution",)

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self.execution = execution

    async_get, async_set, async_append = _committed("get"), _committed("set"), _committed("append")
    async_delete, async_update, async_reduce = _committed("delete"), _committed("update"), _committed("reduce")


class AcknowledgedExecution(Execution):
    """An execution whose awaited methods return when what they have recorded is on disk."""

    __slots__ = ("log",)

    #: its way to the store while this process runs it
    log: Log | None

    @property
    def state(self) -> State:
        """The state of this execution, by key."""
        return AcknowledgedState(self)

    async def async_start(self, value: Any = UNSET, *, timeout: float | None = None) -> Any:
        """See `Execution.async_start`. Started before, here or elsewhere, it goes on."""
        return await self._written(super().async_start(value, timeout=timeout))

    async def async_begin(self, value: Any = UNSET) -> None:
        """See `Execution.async_begin`; the start is on disk when this returns."""
        await self._written(super().async_begin(value))

    async def async_get_result(self, *, timeout: float | None = None) -> Any:
        """See `Execution.async_get_result`."""
        return await self._written(super().async_get_result(timeout=timeout))

    async def async_settled(self, *, since: int = 0, timeout: float | None = None) -> bool:
        """See `Execution.async_settled`."""
        return await self._written(super().async_settled(since=since, timeout=timeout))

    async def async_close(self) -> Any:
        """See `Execution.async_close`."""
        return await self._written(super().async_close())

    async def async_emit(self, name: str, value: Any = None, *, settle: bool = False) -> None:
        """See `Execution.async_emit`; it is on disk when this returns."""
        await self.async_open()
        await super().async_emit(name, value, settle=settle)

    async def async_put_into_stream(self, stream_item: Any) -> None:
        """See `Execution.async_put_into_stream`; it is on disk when this returns."""
        await self._written(super().async_put_into_stream(stream_item))

    async def async_stop_stream(self) -> None:
        """See `Execution.async_stop_stream`; it is on disk when this returns."""
        await self._written(super().async_stop_stream())

    async def async_set_result(self, value: Any, *, replace: bool = False) -> None:
        """See `Execution.async_set_result`; it is on disk when this returns."""
        await self._written(super().async_set_result(value, replace=replace))

    async def async_continue_with(
        self, interrupt_id: str, value: Any = None, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """See `Execution.async_continue_with`; the answer is on disk when this returns."""
        return await self._written(super().async_continue_with(interrupt_id, value, request_id=request_id))

    def continue_with(self, interrupt_id: str, value: Any = None, *, request_id: str | None = None) -> dict[str, Any]:
        """The sync twin of `async_continue_with`. Raises `BlockingCallError` inside a running loop."""
        return run_sync(
            lambda: self.async_continue_with(interrupt_id, value, request_id=request_id),
            "async_continue_with",
            self.loop,
        )

    async def async_committed(self, read: Callable[[], T]) -> T:
        """See `Execution.async_committed`; everything `read` has seen is on disk when this returns."""
        return await self._written(super().async_committed(read))

    async def _written(self, call: Coroutine[Any, Any, T]) -> T:
        """Open, call, and wait until what the call has recorded is on disk."""
        try:
            await self.async_open()
        except BaseException:
            call.close()
            raise
        answer = await call
        if self.log is not None:
            await self.log.on_disk()
        return answer
