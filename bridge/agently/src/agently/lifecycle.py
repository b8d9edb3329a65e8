"""What Agently 4.1 added to executions: `seal`, `close` with a snapshot of the state, and `execution.result`."""

import asyncio
from typing import Any

from triggerflow.errors import UsageError
from triggerflow.extension import UNSET, ExtendedExecution

from .adapt import delegate, later, twin


class Lifecycle(ExtendedExecution):
    """The methods of an execution that seal it, close it, and report its lifecycle state."""

    sealed = False
    run_context: Any

    def is_waiting(self) -> bool:
        runtime = self.runtime
        return bool(runtime.machine.state.interrupts and self.get_pending_interrupts()) and not runtime.has_ended

    seal = lambda self, reason=None: setattr(self, "sealed", True)
    unseal = lambda self: setattr(self, "sealed", False)

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
        async with asyncio.timeout(timeout):
            await (self.async_cancel(reason) if asked else super().async_close())
        return self.snapshot()

    async_seal, close = later("seal"), twin("async_close")

    def snapshot(self) -> dict[str, Any]:
        """The state by key. A result is added under the key "$final_result"."""
        result = self.runtime.machine.state.result
        return {**self.state.to_dict(), **({} if result is UNSET else {"$final_result": result})}

    get_lifecycle_state = lambda self: "closed" if self.runtime.has_ended else "sealed" if self.sealed else "open"
    is_open = property(lambda self: self.get_lifecycle_state() == "open")
    is_sealed = property(lambda self: self.get_lifecycle_state() == "sealed")
    is_closed = property(lambda self: self.get_lifecycle_state() == "closed")
    is_idle = property(lambda self: self.runtime.is_settled())
    result = property(lambda self: ExecutionResult(self))


class ExecutionResult:
    """The outcome of an execution (from Agently 4.1): state, result and meta data."""

    def __init__(self, execution: Lifecycle) -> None:
        self.execution, self.state = execution, execution.state

    get_state, async_get_final_result = delegate("state", "to_dict"), delegate("execution", "async_get_result")

    def get_meta(self) -> dict[str, Any]:
        """The execution's id, status and run context."""
        held = self.execution
        return {"execution_id": held.id, "status": held.get_status(), "run": held.run_context.model_dump()}
