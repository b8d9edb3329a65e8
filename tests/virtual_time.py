"""An event loop whose clock jumps: a test that sleeps for an hour takes no time, and one that hangs fails at once.

When nothing is ready, the clock is set to the next timer instead of waiting for it. While a thread of an executor is at
work the clock keeps real time, because the thread's answer may be due before the timer. When nothing is ready, no timer
is set and no thread is at work, nothing can ever happen again: then the loop raises `Stalled`.

`time.time()` jumps along, in all threads: what is recorded by one of the two clocks and waited for by the other agrees,
however busy the machine is. `time.monotonic()` stays the machine's.
"""

import asyncio
import os
import selectors
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

#: Real seconds to wait for a thread that the loop does not know of, before a test counts as hanging.
PATIENCE = 5.0
#: The same for a thread of an executor.
THREAD_PATIENCE = 30.0
#: Whether the loops of tests start tasks eagerly, as `asyncio.eager_task_factory` (Python 3.12) does.
EAGER = bool(os.environ.get("TRIGGERFLOW_EAGER"))


#: The clock of the machine. `time.time` is replaced below, before the code under test takes it.
_machine_time = time.time


class WallClock:
    """What `time.time()` says: the machine's time, and all that virtual loops have jumped in this test."""

    def __init__(self) -> None:
        #: seconds jumped by loops that do not run any more
        self.jumped = 0.0
        self.running: VirtualTimeLoop | None = None
        self._base = 0.0

    def __call__(self) -> float:
        running = self.running
        return _machine_time() + self.jumped if running is None else self._base + running.clock.now

    def begin(self, loop: "VirtualTimeLoop | None") -> None:
        """This loop runs now; None: no loop in virtual time."""
        if self.running is not None:
            self.jumped = self() - _machine_time()
        self.running = None
        self._base = self() - (loop.clock.now if loop is not None else 0.0)
        self.running = loop

    def reset(self) -> None:
        """Back to the machine's time."""
        self.jumped = 0.0


if "triggerflow" in sys.modules:
    raise ImportError("tests.virtual_time has to be imported before triggerflow, which takes `time.time` when imported")
wall_clock = WallClock()
time.time = wall_clock


class Stalled(Exception):
    """Nothing is left that could wake the loop: what the test waits for will never come."""


class JumpingClock(selectors.DefaultSelector):
    """The selector of the loop, and its clock: the one place where the loop waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        #: calls in executors whose result has not arrived yet
        self.busy = 0

    def select(self, timeout: float | None = None) -> list[Any]:
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
        ready = super().select(patience if timeout is None else timeout)
        elapsed = time.monotonic() - before
        if ready:
            # Where no timer is set nothing depends on the clock: what a thread does at once has taken no time.
            self.now += 0 if timeout is None else elapsed
        elif timeout is not None:
            self.now += max(timeout, elapsed)
        else:
            waiting = "\n  ".join(map(repr, asyncio.all_tasks(asyncio.get_running_loop())))
            raise Stalled(f"nothing can wake this loop any more; it holds\n  {waiting}")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time, which starts at 0."""

    #: executors whose work takes no virtual time: the loop stands still until it is done
    instant: tuple[type[Executor], ...] = ()

    def __init__(self) -> None:
        self.clock = JumpingClock()
        #: what is still to be run on this loop when it closes
        self.at_close: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        super().__init__(self.clock)

    def run_forever(self) -> None:
        before = wall_clock.running
        wall_clock.begin(self)
        try:
            super().run_forever()
        finally:
            wall_clock.begin(before)

    def close(self) -> None:
        while self.at_close and not self.is_closed():
            self.run_until_complete(self.at_close.pop()())
        super().close()

    def time(self) -> float:
        return self.clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
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
        self.clock.busy += 1
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self.clock.busy -= 1


def virtual_loop() -> asyncio.AbstractEventLoop:
    """A loop in virtual time."""
    return _eager_if_wanted(VirtualTimeLoop())


def real_loop() -> asyncio.AbstractEventLoop:
    """An ordinary loop, for what waits for sockets or processes."""
    return _eager_if_wanted(asyncio.new_event_loop())


def _eager_if_wanted(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    if EAGER:
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop
