"""Coroutines that wait until the core wakes them: emitters, and chunks that gave up their permits."""

import asyncio

from .._core import events
from ..run.ingress import submit
from ..run.invoke import timed_out
from ..run.runtime import ExecutionRuntime


class Waits:
    """The futures of one execution, by the number of the record with which the wait began."""

    __slots__ = ("_futures", "_runtime")

    def __init__(self, runtime: ExecutionRuntime) -> None:
        self._runtime = runtime
        self._futures: dict[int, asyncio.Future[bool]] = {}

    async def settled(self, number: int) -> bool:
        """Wait until the core ends this wait. Returns False if the execution ends before."""
        future = self._futures[number] = asyncio.get_running_loop().create_future()
        try:
            return await future
        except asyncio.CancelledError:
            await self._give_up(number)
            raise
        finally:
            self._futures.pop(number, None)

    async def _give_up(self, number: int) -> None:
        """End the wait of a chunk whose `await` was cancelled. Then wait until the chunk has its permits back.

        A chunk whose own time-out has expired does not wait for permits, and its clean-up runs without them. Otherwise
        the time-out would be reported only when a permit is free.
        """
        state = self._runtime.machine.state
        wait = (state.waits or {}).get(number)
        if wait is None or wait.over or state.closing is not None or (wait.run and wait.run.id not in state.runs):
            return
        submit(self._runtime, events.WaitGivenUp(self._runtime.environment.now(), number))
        if number in (state.waits or {}) and not (wait.run and timed_out(wait.run)):
            await self.settled(number)

    def settle(self, number: int) -> None:
        """Wake the waiter of this record, if it is still pending."""
        self._finish(self._futures.get(number), True)

    def release(self) -> None:
        """Wake all waiters with False, because the execution ends."""
        for future in self._futures.values():
            self._finish(future, False)

    @staticmethod
    def _finish(future: "asyncio.Future[bool] | None", settled: bool) -> None:
        if future is not None and not future.done():
            future.set_result(settled)
