"""The errors of instant parsing: mistakes of the caller are exceptions, mistakes of the model are `Problem`s.

A model may write anything, so the parser raises for no text. It notes a `Problem` wherever the text is not JSON, and
says how sure its reading is; the code that validates the answer decides what it accepts.
"""

from dataclasses import dataclass, field

from ..._core.errors import UsageError

MAX_PROBLEMS = 100
"""The most problems that are kept of one answer, so that a text that is not JSON at all does not fill the memory."""
_SHOWN = 40
"""The most characters of text that a problem shows."""


class ParserFinishedError(UsageError):
    """`feed()` was called after `finish()`. A parser reads one response: create one for the next."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A place in the model's text that is not JSON, and what the parser did about it.

    `offset` counts characters from the start of the response. `repaired`: the text has one sensible reading, and that
    was taken; if not, the value is not certain, and the answer is invalid. `guessed`: it is repaired, but by judging
    what the model meant (an unescaped quote, `1,000`), and not by grammar alone (a comment, a trailing comma).
    """

    offset: int
    message: str
    repaired: bool = False
    guessed: bool = False
    text: str = field(default="", compare=False)
    """The text at the place, at most 40 characters of it."""

    def __str__(self) -> str:
        return f"at character {self.offset} ({self.text!r}): {self.message}"

    def around(self, whole: str) -> "Problem":
        """This problem with more of the text around it, taken from the whole response."""
        start = max(0, self.offset - _SHOWN // 2)
        text = whole[start : start + _SHOWN]
        return Problem(self.offset, self.message, self.repaired, self.guessed, text or self.text)


class Window:
    """The part of the response that is being parsed, and where in the response it begins."""

    __slots__ = ("start", "text")

    def __init__(self) -> None:
        self.start = 0
        self.text = ""


class ProblemList:
    """The problems of one answer, in the order in which they were found."""

    __slots__ = ("_window", "found", "guess", "lost", "uncertain")

    def __init__(self, window: Window) -> None:
        self._window = window
        self.found: list[Problem] | tuple[()] = ()
        """The first hundred. Most answers have none, and need no list."""
        self.guess: Problem | None = None
        """The first one that was repaired by a guess."""
        self.uncertain: Problem | None = None
        """The first one that was not repaired."""
        self.lost: Problem | None = None
        """The first half of a character, if there is one: no other reading of the text can find the other half."""

    def tolerate(self, pos: int, message: str) -> None:
        """The text at `pos` of the window is not JSON; its grammar leaves one reading."""
        if len(self.found) < MAX_PROBLEMS:
            self.found = [*self.found, self._problem(pos, message, True, False)]

    def repair(self, pos: int, message: str) -> None:
        """The text at `pos` of the window was read as what the model meant, which takes a guess."""
        problem = self._problem(pos, message, True, True)
        self.guess = self.guess or problem
        self._keep(problem, self.guess is problem)

    def refuse(self, pos: int, message: str) -> None:
        """The value is not certain because of the text at `pos` of the window."""
        problem = self._problem(pos, message, False, False)
        self.uncertain = self.uncertain or problem
        self._keep(problem, self.uncertain is problem)

    def lose_character(self, pos: int, message: str) -> None:
        """At `pos` of the window there is half of a character."""
        self.refuse(pos, message)
        self.lost = self.lost or self._problem(pos, message, False, False)

    def _problem(self, pos: int, message: str, repaired: bool, guessed: bool) -> Problem:
        window = self._window
        text = window.text[pos : pos + _SHOWN] if pos >= 0 else ""
        return Problem(window.start + pos, message, repaired, guessed, text)

    def _keep(self, problem: Problem, first: bool) -> None:
        """Add the problem; the first of its kind even where the list is full."""
        if len(self.found) < MAX_PROBLEMS:
            self.found = [*self.found, problem]
        elif first:
            self.found = [*self.found[:-1], problem]
