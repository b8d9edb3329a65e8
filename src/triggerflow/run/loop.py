"""Where an execution lives: the event loop that drives its machine, and how a record gets there from any thread.

It comes to life on the loop that uses it first, with a driver. From other threads it is reached by waiting (`submit`),
or without (`post`). If its loop is closed under it, it is told at the next look (`check_loop`).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import current_thread, get_ident
from time import time
from typing import TypeVar

from .._core import events
from .._core.errors import ExecutionClosed, WrongLoopError
from .._core.machine import FINAL, Machine
from .._core.recovery import outstanding
from .._core.state import StatusName
from ..drivers.asyncio import LocalDriver
from .options import Options
from .portal import run_sync, running_loop
from .shared import SharedData

T = TypeVar("T")


class LoopBoundExecution:
    """A machine and the event loop it lives on."""

    __slots__ = ("__weakref__", "machine", "options", "running", "shared", "thread")

    def __init__(self, machine: Machine, shared: SharedData, options: Options) -> None:
        self.machine = machine
        #: the data it shares with the other executions of its flow
        self.shared = shared
        #: what it was created with
        self.options = options
        #: the driver, once there is one
        self.running: LocalDriver | None = None
        #: the number of the thread that drives it: one object for all, where `get_ident` makes one for each
        self.thread: int | None = None

    def make_driver(self) -> LocalDriver:
        """A driver for this execution on the running loop."""
        raise NotImplementedError

    @property
    def has_ended(self) -> bool:
        """Whether it takes nothing any more."""
        self.check_loop()
        return self.machine.state.status in FINAL

    def get_status(self) -> StatusName:
        """Where it stands: created, running, waiting (for something from outside), completed, failed or cancelled."""
        self.check_loop()
        return self.machine.state.status.value

    @property
    def driver(self) -> LocalDriver:
        """The driver of this execution, made on first use on the running loop. Raises `WrongLoopError` on another."""
        return self.drive(starting=False)

    def check_loop(self) -> None:
        """Where its loop was closed under it, end it as cancelled; kept open and at rest it moves to the loop here."""
        driver = self.running
        if driver is None or self.machine.state.status in FINAL:
            return
        if self.machine.state.keep_open and self.machine.state.idle():
            here = running_loop()
            if driver.loop.is_closed() or (here is not None and here is not driver.loop):
                self.running = None  # it goes on where it is used next
        elif driver.loop.is_closed():
            driver.lose("its event loop was closed while it ran")

    def drive(self, *, starting: bool) -> LocalDriver:
        """See `driver`; one that is `starting` has its options in the record that follows."""
        self.check_loop()
        driver = self.running
        if driver is None:
            if self.machine.state.status in FINAL:
                raise ExecutionClosed(f"{self!r} has ended ({self.get_status()})")
            driver = self.running = self.make_driver()
            self.thread = current_thread().ident
            if self.machine.plan.flow_data:
                self.shared.listen(self)
            if self.machine.state.records:
                again = outstanding(self.machine.state)
                if again is None:
                    driver.submit(events.Recovered(time()))
                else:
                    driver.perform(again)
            elif not starting:
                driver.submit(events.Created(time(), *self.options.course()))
        elif self.machine.state.status in FINAL:
            raise ExecutionClosed(f"{self!r} has ended ({self.machine.state.status.value}); it takes nothing any more")
        elif get_ident() != self.thread:
            raise WrongLoopError(f"{self!r} lives on the event loop of another thread; use its sync methods from here")
        return driver

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it lives on, None before the start and after the end."""
        self.check_loop()
        if self.running is None or self.machine.state.status in FINAL:
            return None
        return self.running.loop

    @property
    def on_loop_thread(self) -> bool:
        """Whether the calling thread is the one that runs this execution."""
        return get_ident() == self.thread

    def on_loop(self, call: Callable[[], T]) -> T:
        """Call a function on the thread that runs this execution, and wait for it."""
        self.check_loop()
        if self.running is None or get_ident() == self.thread:
            return call()

        async def there() -> T:
            return call()

        return run_sync(there, "async_...", self.running.loop)

    def submit(self, event: events.Event) -> None:
        """Hand a record to the driver from any thread; returns when it is accepted."""
        self.on_loop(lambda: self.driver.submit(event))

    def post(self, event: events.Event) -> None:
        """Hand a record to the driver from any thread without waiting: at once where it lives, else soon."""
        loop = self.loop
        if loop is None or get_ident() == self.thread:
            self.driver.submit(event)
        else:
            loop.call_soon_threadsafe(self.submit_late, event)

    def submit_late(self, event: events.Event) -> None:
        """Hand a record to the driver that may come after the end, and counts for nothing then."""
        with suppress(ExecutionClosed):
            self.driver.submit(event)
