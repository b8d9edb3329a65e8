"""Where executions get the time, ids, chance, and their driver from.

The engine reads no clock, draws no random number and asks for no thread but through an `Environment`. The default is
real time on asyncio (`drivers.asyncio.REAL`). A test gives its own clock; another host (a workflow engine) gives its
clock, its ids, its driver, and says that every thread which calls is the right one.
"""

import asyncio
import os
from collections.abc import Callable
from threading import get_ident
from time import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .interfaces import Driver


class Environment:
    """Functions that an execution calls instead of the operating system. Sub-flows share their parent's.

    `now` gives seconds since the epoch; `new_id` a new execution id; `random` a float from 0 to 1; `thread` the number
    of the calling thread, which is compared with that of the thread on which an execution lives; `is_closed` whether
    an event loop can run nothing any more. `make_driver(runtime)` makes the driver of an execution on the running loop.
    """

    __slots__ = ("is_closed", "make_driver", "new_id", "now", "random", "thread")

    def __init__(
        self,
        make_driver: "Callable[[Any], Driver]",
        *,
        now: Callable[[], float] = time,
        new_id: Callable[[], str] | None = None,
        random: Callable[[], float] | None = None,
        thread: Callable[[], int] = get_ident,
        is_closed: Callable[[asyncio.AbstractEventLoop], bool] | None = None,
    ) -> None:
        self.make_driver = make_driver
        self.now = now
        self.new_id = new_id or _new_id
        self.random = random or _random
        self.thread = thread
        self.is_closed = is_closed or _is_closed


def _new_id() -> str:
    return os.urandom(8).hex()


def _random() -> float:
    from random import random  # imported on the first retry, because it takes milliseconds

    return random()


def _is_closed(loop: asyncio.AbstractEventLoop) -> bool:
    return loop.is_closed()
