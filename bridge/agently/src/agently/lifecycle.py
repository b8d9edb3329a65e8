"""What Agently 4.1 added to executions: `seal`, `close` with a snapshot of the state, and `execution.result`."""

import asyncio
from collections.abc import Callable
from typing import Any

from triggerflow.errors import UsageError
from triggerflow.extension import UNSET, ExtendedExecution

from .adapt import delegate, later, twin
from .state import copied, found


class Lifecycle(ExtendedExecution):
    """The methods of an execution that seal it, close it, and report its lifecycle state."""

    sealed = False
    #: why it was closed
    close_reason: str | None = None
    #: whether a start waits until the execution has closed by itself (4.1); None: that was not asked for
    auto_close: bool | None = None
    #: how long it is idle before it closes by itself, in seconds; None: it does not
    auto_close_timeout: float | None = None
    #: what closes it
    closing: asyncio.Task[None] | None = None
    run_context: Any
    flow: Any

    def is_waiting(self) -> bool:
        runtime = self.runtime
        return bool(runtime.machine.state.interrupts and self.get_pending_interrupts()) and not runtime.has_ended

    seal = lambda self, reason=None: setattr(self, "sealed", True)

    def unseal(self) -> None:
        """Take signals from outside again."""
        self.sealed = False
        self.runtime.wake()

    async def async_close(
        self, *, reason: str = "manual", timeout: float | None = None, seal: bool = True,
        pending_interrupts: Any = "error",
    ) -> dict[str, Any]:  # fmt: skip
        """Wait until all chunks have ended, end the execution, and return a snapshot of its state.

        With open interrupts it raises `UsageError`, or with `pending_interrupts="cancel"` cancels the execution.
        Raises `TimeoutError` after `timeout` seconds.
        """
        self.sealed = self.sealed or seal
        if (asked := self.is_waiting()) and pending_interrupts != "cancel":
            raise UsageError(f"execution {self.id} has open interrupts: {list(self.get_pending_interrupts())}; answer "
                             "them, or pass pending_interrupts='cancel'")  # fmt: skip
        self.close_reason = self.close_reason or reason
        async with asyncio.timeout(timeout):
            await (self.async_cancel(reason) if asked else super().async_close())
        return self.snapshot()

    def close_when_idle(self) -> None:
        """From now on, close by itself once it was idle for its `auto_close_timeout`."""
        if self.auto_close and self.closing is None:
            self.closing = asyncio.create_task(self._close_when_idle(), name=f"close {self.id}")

    async def _close_when_idle(self) -> None:
        runtime, idle = self.runtime, lambda: self.runtime.is_settled() and not self.is_waiting() and not self.sealed
        while await runtime.until(idle) and not runtime.has_ended and self.auto_close_timeout is not None:
            before, seconds = runtime.machine.state.records, self.auto_close_timeout
            changed: Callable[[], bool] = lambda since=before: runtime.machine.state.records != since
            passed = seconds <= 0 or not await runtime.until(changed, seconds, every_record=True)
            if passed and idle() and not runtime.has_ended:
                await self.async_close(reason="auto_close_idle_timeout", seal=False)
                return
        await runtime.until(lambda: runtime.has_ended)

    async def closed_snapshot(self) -> dict[str, Any]:
        """Wait until it has closed; return its snapshot. Raises what a chunk raised."""
        self.close_when_idle()
        if self.closing is not None:
            await asyncio.shield(self.closing)
        self.runtime.outcome()
        return self.snapshot()

    async_seal, close = later("seal"), twin("async_close")

    def snapshot(self) -> dict[str, Any]:
        """The state by key. A result is added under the key "$final_result"."""
        result = self.runtime.machine.state.result
        return {**self.state.to_dict(), **({} if result is UNSET else {"$final_result": result})}

    get_lifecycle_state = lambda self: "closed" if self.runtime.has_ended else "sealed" if self.sealed else "open"
    is_open = lambda self: self.get_lifecycle_state() == "open"
    is_sealed = lambda self: self.get_lifecycle_state() == "sealed"
    is_closed = lambda self: self.get_lifecycle_state() == "closed"
    is_idle = lambda self: self.runtime.is_settled()
    result = property(lambda self: ExecutionResult(self))


class ExecutionResult:
    """The outcome of an execution (from Agently 4.1): state, result and meta data."""

    def __init__(self, execution: Lifecycle) -> None:
        self.execution = execution

    async_get_final_result, get_final_result = (
        delegate("execution", "async_get_result"), delegate("execution", "get_result")
    )  # fmt: skip

    def get_state(self, key: str | None = None, default: Any = None) -> Any:
        """A copy of the state at a dotted key, or the default; without a key all, and the result as "$final_result"."""
        state = self.execution.snapshot()
        return state if key is None else copied(found(state, key, default))

    def get_meta(self) -> dict[str, Any]:
        """The execution's id, run, flow and status, and the reason of its close."""
        held = self.execution
        about = {"execution_id": held.id, "run_id": held.run_context.run_id, "flow_name": held.flow.name}
        state = {"status": held.get_status(), "lifecycle_state": held.get_lifecycle_state()}
        return {**about, **state, "close_reason": held.close_reason, "run": held.run_context.model_dump()}
