"""Where executions get the time, ids, chance, and their driver from.

The engine reads no clock and draws no random number but through an `Environment`. The default is
real time on asyncio (`drivers.asyncio.REAL`). A test gives its own clock; another host (a workflow engine) gives its
clock, its ids, its driver, and says that every thread which calls is the right one.
"""

import asyncio
import os
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .interfaces import Driver


class Environment:
    """Functions that an execution calls instead of the operating system. Sub-flows share their parent's.

    `now` gives seconds since the epoch; `new_id` a new execution id; `random` a float from 0 to 1;
    `is_closed` whether an event loop can run nothing any more. `make_driver(runtime)` makes the driver of an execution
    on the running loop. With `any_thread` every thread that calls counts as the execution's own: for a host that moves
    its loop from thread to thread.
    """

    __slots__ = ("any_thread", "is_closed", "make_driver", "new_id", "now", "random")

    def __init__(
        self,
        make_driver: "Callable[[Any], Driver]",
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
