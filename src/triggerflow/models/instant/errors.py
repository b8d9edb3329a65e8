"""What can go wrong in instant parsing: the caller's mistakes are exceptions, the model's are recorded problems.

A model may write anything, so no text makes the parser raise. What it could not use is noted as a `Problem`
and the stream goes on; whoever validates the answer decides whether that matters.
"""

from dataclasses import dataclass

MAX_PROBLEMS = 100
"""A text that is not JSON at all must not fill the memory with complaints about it."""


class ParserFinishedError(RuntimeError):
    """The caller's fault: text was fed to a parser whose `finish()` had been called."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A place in the model's text that is not JSON, and what the parser did about it.

    `offset` counts characters from the start of the response.
    """

    offset: int
    message: str


class ProblemList:
    """Collects problems; `start` is the offset of the text being parsed in the whole response."""

    __slots__ = ("found", "start")

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.start = 0

    def note(self, pos: int, message: str) -> None:
        """Record what is wrong at `pos` of the text being parsed, unless there are too many problems already."""
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(Problem(self.start + pos, message))
