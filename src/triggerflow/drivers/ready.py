"""The runs that may start, in the order in which the core gave them."""

from collections import deque

from .._core.state import RunChunk, RunState


class Ready(deque[RunChunk]):
    """A queue of runs. One that is cancelled before it starts stays until its turn, and is passed over then: to look
    for it would cost each cancellation the length of the queue."""

    __slots__ = ("stale",)

    def __init__(self) -> None:
        super().__init__()
        #: whether runs may be in here that do not go on any more
        self.stale = False

    def take(self, state: RunState) -> RunChunk | None:
        """The oldest run that still goes on; None if there is none."""
        while self:
            run = self.popleft()
            if not self.stale or state.run(run.id) is run:
                return run
        self.stale = False
        return None
