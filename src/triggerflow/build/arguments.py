"""Checks of option values. Each raises at the call; the message names the call, the value, and what would be valid."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from .._core.errors import DefinitionError, OptionError

if TYPE_CHECKING:
    from types import FrameType

#: Names that an execution does not take, since they do not say which of its two time limits is meant.
_TIME_LIMITS = ("deadline", "timeout")


def closest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that resemble a wrong one, the best first, for messages that ask what was meant."""
    from difflib import get_close_matches  # slow to import, and needed for errors only

    return get_close_matches(name, list(known), count)


def check_names(given: Iterable[str], known: Iterable[str], where: str, of_chunk: Iterable[str] = ()) -> None:
    """Raise `OptionError` for the first unknown option; the message suggests the nearest known ones.

    `of_chunk` are options that the chunk takes, and not the place where it is wired.
    """
    known = list(known)
    for name in given:
        if name in of_chunk or (not closest(name, known, 1) and closest(name, of_chunk, 1)):
            meant = closest(name, of_chunk, 1)[0]
            raise OptionError(
                f"{where} has no option {name!r}; {meant} is an option of the chunk: flow.chunk(function, {meant}=...)"
            )
        if name not in known:
            if name in _TIME_LIMITS and "execution_timeout" in known:
                raise OptionError(
                    f"{where} has no option {name!r}; execution_timeout= is the limit for the whole execution, from "
                    "its start, and cleanup_timeout= (of create_execution) the time that chunks have to clean up after "
                    "a failure or cancellation; both in seconds"
                )
            near = closest(name, known, 2)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(known)}"
            raise OptionError(f"{where} has no option {name!r}; {hint}")


def text(name: Any) -> Any:
    """A name as plain text: a member of an enum counts as its value, a subclass of `str` as its text.

    Anything else is returned as it is, for the check that follows. Records and keys hold plain strings only, so that
    they mean the same after they were stored.
    """
    if type(name) is str:
        return name
    if isinstance(name, Enum):
        name = name.value
    return str.__str__(name) if isinstance(name, str) else name


def user_frame() -> FrameType:
    """The frame of the innermost call from outside of this package."""
    frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented, and the only way
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "triggerflow":
        frame = frame.f_back
    return frame


def line() -> str:
    """The place outside of this package from which it was called, as "file:line", for errors that come later."""
    frame = user_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def positive(limit: Any, where: str) -> int | None:
    """Check a concurrency limit: None, or a whole number of at least 1."""
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise OptionError(f"{where}: concurrency must be a whole number of at least 1, or None; got {limit!r}")
    if limit < 1:
        raise DefinitionError(
            f"{where}: with concurrency={limit} nothing could run; use 1 or more, or None for no limit"
        )
    return limit


def whole(number: Any, where: str, name: str, least: int) -> int:
    """Check a whole number of at least `least`."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise OptionError(f"{where}: {name} must be a whole number of at least {least}, got {number!r}")
    if number < least:
        raise DefinitionError(f"{where}: {name} must be a whole number of at least {least}, got {number!r}")
    return number


#: The longest finite time, in seconds: 100 years. What is due later could not be written as a date.
LONGEST_SECONDS = 100 * 365.25 * 86400


def seconds(number: Any, where: str, name: str, *, above: bool = False) -> float:
    """Check a number of seconds: 0 or more, up to 100 years, or infinite; with `above`, more than 0."""
    bounds = "more than 0" if above else "0 or more"
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise OptionError(f"{where}: {name} must be a number of seconds, {bounds}; got {number!r}")
    if number != number or number < 0 or (above and number == 0):
        raise DefinitionError(f"{where}: {name} must be a number of seconds, {bounds}; got {number!r}")
    if LONGEST_SECONDS < number < math.inf:
        raise DefinitionError(f"{where}: {name} is at most 100 years, or math.inf; got {number!r:.30} seconds")
    return number


def flag(value: Any, where: str, name: str) -> bool:
    """Check a bool. Other values that are true or false, such as 1, are refused."""
    if not isinstance(value, bool):
        raise OptionError(f"{where}: {name} must be True or False, got {value!r}")
    return value


def failures(value: Any, where: str) -> str | None:
    """Check the `on_error` of a block: "raise" or "collect". Returns None for "raise", the default."""
    if value not in ("raise", "collect"):
        near = closest(value, ("raise", "collect"), 1) if isinstance(value, str) else []
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise OptionError(
            f"{where}: on_error={value!r} is not valid; {hint}use 'raise' (the failure goes to the error routes) or "
            "'collect' (a Failure takes the place of the value). To run a chunk when something fails, use "
            "flow.on_error(chunk)"
        )
    return None if value == "raise" else value


def names(value: Any, where: str, name: str) -> tuple[str, ...]:
    """Check names of events: one string, or a tuple, list or set of strings. Returns them without repetition."""
    value = text(value)
    several: list[Any] = [value] if isinstance(value, str) else []
    if isinstance(value, list | tuple):
        several = [*cast("list[Any]", value)]
    elif isinstance(value, set | frozenset):
        several = sorted(cast("set[Any]", value), key=str)
    elif not several:
        several = [None]
    several = [text(it) for it in several]
    if not all(isinstance(it, str) and it for it in several):
        raise OptionError(f"{where}: {name} must be the name of an event, or a tuple of names; got {value!r}")
    return tuple(dict.fromkeys(several))


__all__ = ["check_names", "closest", "failures", "flag", "line", "names", "positive", "seconds", "text", "whole"]
