"""The errors of instant parsing: mistakes of the caller are exceptions, mistakes of the model are `Problem`s.

A model may write anything, so the parser raises for no text. The parser adds a `Problem` for text that it cannot
use, and goes on; the code that validates the answer decides whether the problem matters.
"""

from dataclasses import dataclass

from ..._core.errors import UsageError

MAX_PROBLEMS = 100
"""The most problems that one parser keeps, so that a text that is not JSON at all does not fill the memory."""


class ParserFinishedError(UsageError):
    """`feed()` was called after `finish()`. A parser reads one response: create one for the next."""


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
