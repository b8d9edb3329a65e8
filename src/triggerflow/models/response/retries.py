"""Retries: what a source gets to know when it is opened again, and which limit ends the attempts."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ResponseUsageError
from ..instant import Problem
from ..sources import Source, is_function

_EMPTY = inspect.Parameter.empty
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to get an answer, as a source function sees it that takes an argument.

    After an answer that cannot be used, `reason`, `text` and `problems` say what was wrong, so that the model can
    correct it. They stay when the next request fails (connection, rate limit): then that answer is still the last one.
    """

    number: int = 1
    """From 1: how often the source is opened."""
    reason: str | None = None
    """Why the last answer cannot be used, in words for the model; None if there is no such answer, or with
    `tell_why=False`."""
    text: str = ""
    """The text of that answer, whole; it may be long."""
    problems: tuple[Problem, ...] = ()
    """The places of that answer that are not JSON."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many retries there may be. No attempt begins after a limit is reached; one that has begun goes on."""

    max_retries: int
    seconds: float | None
    tokens: int | None

    def limit(self, retries: int, seconds: float, tokens: int, *, max_retries: int | None = None) -> str | None:
        """The option that forbids another attempt, with its value; None if there may be one.

        `retries` were made, `seconds` will have passed when the next attempt begins, `tokens` were used.
        `max_retries` replaces the number of the budget.
        """
        allowed = self.max_retries if max_retries is None else max_retries
        if retries >= allowed:
            return f"max_retries={allowed}"
        if self.seconds is not None and seconds > self.seconds:
            return f"retry_within={self.seconds:g} (the next would begin after {seconds:.1f} seconds)"
        if self.tokens is not None and tokens >= self.tokens:
            return f"retry_tokens={self.tokens} ({tokens} were used)"
        return None


def opener(source: Source | Callable[..., Source]) -> Callable[[Attempt], Source] | None:
    """The function that opens a source for an attempt; None for a source that can be read once only.

    A function gets the `Attempt` if it needs an argument: its first positional parameter has no default and it has no
    second one of this kind. Parameters with a default and `*args` are not filled, because a default often carries a
    value of the loop around a lambda. A `functools.partial` counts with the parameters that it leaves open. A function
    whose parameters Python cannot tell is called without arguments.

    Raises `ResponseUsageError` for a function that needs other arguments.
    """
    if not is_function(source):
        return None
    try:
        parameters = inspect.signature(source).parameters.values()
    except (TypeError, ValueError):  # a function of an extension module
        return lambda _: source()
    needed = [one for one in parameters if one.default is _EMPTY and one.kind is not inspect.Parameter.VAR_KEYWORD]
    needed = [one for one in needed if one.kind is not inspect.Parameter.VAR_POSITIONAL]
    if not needed:
        return lambda _: source()
    if len(needed) > 1 or needed[0].kind not in _BY_PLACE:
        names = ", ".join(one.name for one in needed)
        raise ResponseUsageError(
            f"a source function is called without arguments, or with one, the Attempt; this one needs ({names}): bind"
            " the others, as in functools.partial(function, value) or lambda attempt: function(attempt, value)"
        )
    return source
