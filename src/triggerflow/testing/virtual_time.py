"""Virtual time: an event loop whose clock jumps, so that a test that waits for three days takes milliseconds.

When nothing is ready, the loop sets its clock to the next timer instead of waiting for it. While a thread of an
executor is at work the clock keeps real time, because the thread's answer may be due before the timer. When nothing is
ready, no timer is set and no thread is at work, nothing can happen any more: then the loop raises `Stalled`, so that a
test that would hang fails at once.

The clock of executions and stores jumps along: what is recorded by one of the two clocks and waited for by the other
agrees. `time.time()`, `time.monotonic()` and `datetime.now()` stay the machine's.
"""

import asyncio
import heapq
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, TypeVar

from ..run.environment import replace_machine_clock

T = TypeVar("T")

#: Real seconds to wait for a thread that the loop does not know of, before it counts as stalled.
PATIENCE = 5.0
#: The same for a thread of an executor.
THREAD_PATIENCE = 30.0

#: Taken now, so that it is the machine's clock also where a test replaces `time.time`.
_machine_time = time.time


class Stalled(Exception):
    """Nothing can wake the event loop any more: what the test waits for will never come."""


class VirtualClock:
    """The clock of executions and stores: the machine's time, and all that virtual loops have jumped so far.

    There is one for the process, `virtual_clock`. It takes the place of the machine's clock when the first virtual loop
    runs, and gives it back with `reset`.
    """

    def __init__(self) -> None:
        #: how many seconds the loops have jumped that do not run any more
        self.jumped = 0.0
        #: the virtual loop that runs now
        self.running: VirtualTimeLoop | None = None
        self._base = 0.0

    def __call__(self) -> float:
        """The time in seconds since the epoch."""
        running = self.running
        return _machine_time() + self.jumped if running is None else self._base + running.clock.now

    def begin(self, loop: "VirtualTimeLoop | None") -> None:
        """Go with this loop, which runs from now on; None: no virtual loop runs."""
        if self.running is not None:
            self.jumped = self() - _machine_time()
        self.running = None
        self._base = self() - (loop.clock.now if loop is not None else 0.0)
        self.running = loop
        replace_machine_clock(self)

    def reset(self) -> None:
        """Forget what was jumped, and let the machine's clock take over."""
        self.jumped = 0.0
        replace_machine_clock(None)


virtual_clock = VirtualClock()


class JumpingClock(selectors.DefaultSelector):
    """The selector of a virtual loop, and its clock: the one place where the loop waits."""

    def __init__(self) -> None:
        super().__init__()
        #: seconds since the loop was made
        self.now = 0.0
        #: calls in executors whose result has not arrived yet
        self.busy = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return the files that are ready; if there are none, jump to the next timer, or wait for a thread."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.busy or timeout is None:
            return self._wait(timeout)
        self.now += timeout
        return ready

    def _wait(self, timeout: float | None) -> list[Any]:
        before = time.monotonic()
        patience = THREAD_PATIENCE if self.busy else PATIENCE
        ready = super().select(patience if timeout is None else min(timeout, THREAD_PATIENCE))
        elapsed = time.monotonic() - before
        if ready:
            # Where no timer is set nothing depends on the clock: what a thread does at once has taken no time.
            self.now += 0 if timeout is None else elapsed
        elif timeout is not None:
            self.now += max(timeout, elapsed)
        else:
            waiting = "\n  ".join(map(repr, asyncio.all_tasks(asyncio.get_running_loop())))
            raise Stalled(
                "nothing can wake this event loop any more: no timer is set and no thread is at work. "
                f"These tasks wait:\n  {waiting}"
            )
        return ready


class _OrderedTimer(asyncio.TimerHandle):
    """A timer with its number: of two that are due together, the one that was set first comes first."""

    __slots__ = ("number",)

    def __init__(self, when: float, callback: Any, args: Any, loop: Any, context: Any, number: int) -> None:
        super().__init__(when, callback, args, loop, context)
        self.number = number

    def __lt__(self, other: Any) -> bool:
        return (self._when, self.number) < (other._when, other.number)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop in virtual time: `loop.time()` begins at 0 and jumps. Sockets and pipes of other processes
    are not waited for: where a timer is set, the clock jumps ahead of them."""

    #: executors whose work takes no virtual time: the loop stands still until it is done
    instant: tuple[type[Executor], ...] = ()

    def __init__(self) -> None:
        self.clock = JumpingClock()
        super().__init__(self.clock)
        # The loop runs a timer that is due within its resolution. The default is less than two times of this clock can
        # differ after some months, and the loop would turn for ever.
        self._clock_resolution = 1e-6
        self._timers = 0

    def run_forever(self) -> None:
        """See `asyncio.AbstractEventLoop.run_forever`."""
        before = virtual_clock.running
        virtual_clock.begin(self)
        try:
            super().run_forever()
        finally:
            virtual_clock.begin(before)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop.call_at`. Timers that are due together run in the order in which they were
        set: in real time the clock moves between two calls, so that the second is due later."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        self._timers += 1
        timer = _OrderedTimer(when, callback, args, self, context, self._timers)
        scheduled: list[Any] = getattr(self, "_scheduled")  # noqa: B009 - the type stubs do not know it
        heapq.heappush(scheduled, timer)
        timer._scheduled = True  # noqa: SLF001 - as `BaseEventLoop.call_at` does
        return timer

    def time(self) -> float:
        """The virtual time in seconds since the loop was made."""
        return self.clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """See `asyncio.AbstractEventLoop.run_in_executor`. The clock keeps real time until the call has returned."""
        if isinstance(executor, self.instant):
            return self._done(executor.submit(func, *args))
        started = ended = counted = False

        def settle(_: Any = None) -> None:
            nonlocal counted
            if not counted and future.done() and (ended or not started):
                counted = True
                self.clock.busy -= 1

        def call() -> Any:
            nonlocal started, ended
            started = True
            try:
                return func(*args)
            finally:
                ended = True
                with suppress(RuntimeError):  # the loop was closed meanwhile
                    self.call_soon_threadsafe(settle)

        future = super().run_in_executor(executor, call)
        self.clock.busy += 1
        future.add_done_callback(settle)
        return future

    def _done(self, work: "Future[Any]") -> "asyncio.Future[Any]":
        future = self.create_future()
        error = work.exception(THREAD_PATIENCE)
        if error is None:
            future.set_result(work.result())
        else:
            future.set_exception(error)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """See `asyncio.loop.shutdown_default_executor`."""
        self.clock.busy += 1
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self.clock.busy -= 1


class VirtualTime:
    """Runs coroutines one after another in virtual time; what the fixture `virtual_time` gives.

    Each call of `run` has an event loop of its own, like `asyncio.run`. The clock of executions and stores goes on from
    one call to the next. Use it in a `with` block: at its end they have the machine's clock again.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._loop: VirtualTimeLoop | None = None

    def __enter__(self) -> "VirtualTime":
        return self

    def __exit__(self, *_: object) -> None:
        virtual_clock.reset()

    @property
    def now(self) -> float:
        """How many virtual seconds have passed in all calls of `run`."""
        return self._before + (0.0 if self._loop is None else self._loop.time())

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result, like `asyncio.run`.

        Raises what the coroutine raises, and `Stalled` if nothing can wake it any more. Raises `RuntimeError` inside a
        running event loop.
        """
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            try:
                return runner.run(main)
            finally:
                self._before, self._loop = self.now, None

    def _new_loop(self) -> VirtualTimeLoop:
        self._loop = VirtualTimeLoop()
        return self._loop


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in virtual time: see `VirtualTime.run`. Afterwards executions have the machine's clock again."""
    with VirtualTime() as time:
        return time.run(main)


__all__ = ["Stalled", "VirtualClock", "VirtualTime", "VirtualTimeLoop", "run_in_virtual_time", "virtual_clock"]
