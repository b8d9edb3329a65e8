"""`Seen`: what has come in a stream so far, where a chunk alone does not say enough."""

from typing import Any

from ..errors import RequestFailedError


class Seen:
    """The state of reading one stream. Each shape uses what it needs."""

    __slots__ = ("blocks", "choice", "counts", "failure", "finished", "held", "parts", "raw")

    def __init__(self) -> None:
        self.raw: Any = None
        """The chunk that is being read."""
        self.failure: RequestFailedError | None = None
        """The error that this chunk reports."""
        self.choice: int | None = None
        """The index of the choice or candidate that is read. The others are other answers."""
        self.parts: set[Any] = set()
        """The parts of a message, or the kinds of events, that have come. What a provider repeats as a whole at the end
        is read only if its parts had not come."""
        self.blocks: dict[int, str] = {}
        """The types of the content blocks that have begun, by index."""
        self.held: dict[int, str] = {}
        """The arguments that came with the beginning of a block, and count if no pieces of them follow."""
        self.counts: dict[str, Any] = {}
        """The provider's own token counts. Some come at the beginning, others at the end."""
        self.finished = False
        """Whether a finish reason has come."""

    def is_other_choice(self, index: int) -> bool:
        """Whether a choice is not the one that is read: that is the first choice that came."""
        if self.choice is None:
            self.choice = index
        return self.choice != index
