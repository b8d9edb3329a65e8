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

if TYPE_CHECKING:
    from .interfaces import Driver


class Environment:
    """Functions that an execution calls instead of the operating system. Sub-flows use those of their parent.

    `now()` returns seconds since the epoch, `new_id()` a new execution id, `random()` a float from 0 to 1, and
    `is_closed(loop)` whether an event loop is closed. `make_driver(runtime)` makes the driver of an execution on the
    running loop. With `any_thread` every calling thread counts as the thread of the execution, for a host that moves
    its loop from thread to thread.
    """

    __slots__ = ("any_thread", "is_closed", "make_driver", "new_id", "now", "random")

    def __init__(
        self,
        make_driver: Callable[[Any], Driver],
        *,
        now: Callable[[], float] = time,
        new_id: Callable[[], str] | None = None,
        random: Callable[[], float] | None = None,
        any_thread: bool = False,
        is_closed: Callable[[asyncio.AbstractEventLoop], bool] | None = None,
    ) -> None:
        self.make_driver = make_driver
        self.now = now
        self.new_id = new_id or _new_id
        self.random = random or _random
        self.any_thread = any_thread
        self.is_closed = is_closed or _is_closed


def _new_id() -> str:
    return os.urandom(8).hex()


def _random() -> float:
    from random import random  # imported on the first retry, because it takes milliseconds

    return random()


def _is_closed(loop: asyncio.AbstractEventLoop) -> bool:
    return loop.is_closed()
