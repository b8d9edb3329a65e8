"""`TimeLimits`: how long one attempt waits for a server that sends nothing, and for the first token."""

import asyncio
from collections.abc import AsyncIterator
from math import inf
from types import TracebackType

from ..errors import FirstTokenError, StallError
from ..shapes import Delta

_LATE = 0.1
"""In seconds. A timer that fires later than this was held up by the event loop."""


class TimeLimits:
    """An async context, in which `next` raises when a limit is reached.

    `stall`: the longest time without any sign of life, in seconds: a chunk, or what `alive` reports (bytes and
    keep-alives of the connection). `first_token`: the longest time from the start to the first text, reasoning or tool
    call, whatever else comes. None is no limit. Only the time in `next` counts, not the time that the reader takes.

    Leaving the context raises `StallError` or `FirstTokenError`.
    """

    # One timer runs at a time, and it is moved on only when it fires: a chunk costs an assignment.

    def __init__(self, stall: float | None, first_token: float | None) -> None:
        self._stall = inf if stall is None else stall
        self._first_token = first_token
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._first_due = inf if first_token is None else self._heard + first_token
        self._waiting = False
        self._looked_again = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._scope = asyncio.timeout(None)
        self._error: StallError | None = None

    def alive(self) -> None:
        """Report a sign of life of the server. Any thread may call it."""
        self._heard = self._loop.time()

    async def next(self, deltas: AsyncIterator[Delta]) -> Delta | None:
        """The next delta, or None after the last one."""
        self._heard = self._loop.time()
        self._waiting = True
        try:
            delta = await anext(deltas, None)
        finally:
            self._waiting = False
        if self._first_due != inf and delta is not None and _is_token(delta):
            self._first_due = inf
        return delta

    async def __aenter__(self) -> "TimeLimits":
        await self._scope.__aenter__()
        self._arm(min(self._heard + self._stall, self._first_due))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            assert self._error is not None
            raise self._error from None

    def _arm(self, due: float) -> None:
        self._timer = None if due == inf else self._loop.call_at(due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if not self._waiting:
            self._heard = now
        due = min(self._heard + self._stall, self._first_due)
        if due > now or not self._waiting:
            self._arm(max(due, now + _LATE))
        elif self._timer is not None and now - self._timer.when() > _LATE and self._looked_again != self._heard:
            # The loop was held up, by a blocking call or by much work. What the server has sent meanwhile waits in the
            # socket: let the loop read it, and look again.
            self._looked_again = self._heard
            self._arm(now + _LATE)
        else:
            self._error = self._reached(now)
            self._scope.reschedule(now)

    def _reached(self, now: float) -> StallError:
        if self._heard + self._stall <= now:
            return StallError(
                f"the provider sent nothing for {self._stall:g} seconds (stall_timeout), not even a keep-alive; if the"
                " server may be silent for longer, give a larger stall_timeout"
            )
        return FirstTokenError(
            f"the model wrote nothing for {self._first_token:g} seconds (first_token_timeout), although its server is"
            f" alive (last sign {now - self._heard:.1f} seconds ago); if the model may think for longer, give a larger"
            " first_token_timeout"
        )


def _is_token(delta: Delta) -> bool:
    return bool(delta.text or delta.reasoning or delta.tool_calls or delta.refusal or delta.finish_reason)
