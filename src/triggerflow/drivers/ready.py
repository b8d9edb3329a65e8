"""The runs that may start, in the order in which the core gave them."""

import asyncio
from collections import deque

from .._core.state import RunChunk, RunState


class Ready(deque[RunChunk]):
    """A queue of runs. A run that is cancelled before it starts stays in the queue, and `take` skips it. Removing it at
    once would need a search of the queue for each cancellation."""

    __slots__ = ("stale", "workers")

    def __init__(self) -> None:
        super().__init__()
        #: whether the queue may contain runs that were cancelled
        self.stale = False
        #: the workers that have not begun yet: each will take a run. They are held here because the loop drops them,
        #: with a complaint, when it is closed before they begin
        self.workers: set[asyncio.Task[None]] = set()

    def take(self, state: RunState) -> RunChunk | None:
        """Remove and return the oldest run that was not cancelled; None if there is none."""
        while self:
            run = self.popleft()
            if not self.stale or state.run(run.id) is run:
                return run
        self.stale = False
        return None
