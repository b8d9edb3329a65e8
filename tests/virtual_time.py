"""The loops of this project's tests: `triggerflow.testing.VirtualTimeLoop`, with what a suite of its own needs."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

from triggerflow import testing
from triggerflow.testing.virtual_time import Stalled, virtual_clock

#: Whether the loops of tests start tasks eagerly, as `asyncio.eager_task_factory` (Python 3.12) does.
EAGER = bool(os.environ.get("TRIGGERFLOW_EAGER"))

wall_clock = virtual_clock


class VirtualTimeLoop(testing.VirtualTimeLoop):
    """A virtual loop that ends by running what is left for it to run."""

    def __init__(self) -> None:
        super().__init__()
        #: what is still to be run on this loop when it closes
        self.at_close: list[Callable[[], Coroutine[Any, Any, Any]]] = []

    def close(self) -> None:
        while self.at_close and not self.is_closed():
            self.run_until_complete(self.at_close.pop()())
        super().close()


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


__all__ = ["Stalled", "VirtualTimeLoop", "real_loop", "virtual_loop", "wall_clock"]
