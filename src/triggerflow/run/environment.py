"""The environment of executions: it gives them the time, ids, random numbers and their driver.

The engine reads clocks and draws random numbers only through an `Environment`. The default is real time on asyncio
(`drivers.asyncio.REAL`). A test gives its own clock. Another host, such as a workflow engine, gives its own clock, ids
and driver, and may set `any_thread`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from .interfaces import Driver


class Environment:
    """Functions that an execution calls instead of the operating system. Sub-flows use those of their parent.

    `now()` returns seconds since the epoch (default: the machine's time), `new_id()` a new execution id, `random()` a
    float from 0 to 1, and `is_closed(loop)` whether an event loop is closed. `make_driver(runtime)` makes the driver of
    an execution on the running loop. With `any_thread` every calling thread counts as the thread of the execution, for
    a host that moves its loop from thread to thread.
    """

    __slots__ = ("__weakref__", "any_thread", "is_closed", "make_driver", "new_id", "now", "random")

    def __init__(
        self,
        make_driver: Callable[[Any], Driver],
        *,
        now: Callable[[], float] | None = None,
        new_id: Callable[[], str] | None = None,
        random: Callable[[], float] | None = None,
        any_thread: bool = False,
        is_closed: Callable[[asyncio.AbstractEventLoop], bool] | None = None,
    ) -> None:
        self.make_driver = make_driver
        self.now: Callable[[], float] = now or _machine.now
        if now is None:
            _machine.followers.add(self)
        self.new_id = new_id or _new_id
        self.random = random or _random
        self.any_thread = any_thread
        self.is_closed = is_closed or _is_closed


class _Machine:
    """The clock of the machine, or what a test has put in its place, and the environments that have no other."""

    def __init__(self) -> None:
        self.now: Callable[[], float] = time
        self.followers: WeakSet[Environment] = WeakSet()


_machine = _Machine()


def machine_time() -> float:
    """The time for whatever has no clock of its own, such as a store, in seconds since the epoch."""
    return _machine.now()


def replace_machine_clock(now: Callable[[], float] | None) -> None:
    """Let all environments and stores without a clock of their own take the time from `now`; None: the machine's.

    For tests in virtual time. An environment keeps the function itself, so that asking for the time stays one call.
    """
    _machine.now = now or time
    for environment in _machine.followers:
        environment.now = _machine.now


def _new_id() -> str:
    return os.urandom(8).hex()


def _random() -> float:
    from random import random  # imported on the first retry, because it takes milliseconds

    return random()


def _is_closed(loop: asyncio.AbstractEventLoop) -> bool:
    return loop.is_closed()
