"""Checks of options. Each raises at the call; the message names the place, the value, and what would fit."""

import difflib
import math
from collections.abc import Iterable
from typing import Any, cast

from .._core.errors import DefinitionError, OptionError

#: Options that had another name.
FORMER_OPTIONS = {"deadline": "cleanup_timeout"}


def check_names(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `OptionError` for the first option that does not exist, with the nearest ones that do."""
    known = list(known)
    for name in given:
        if name not in known:
            former = FORMER_OPTIONS.get(name)
            near = [former] if former in known else difflib.get_close_matches(name, known, 2)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(known)}"
            raise OptionError(f"{where} has no option {name!r}; {hint}")


def positive(limit: Any, where: str) -> int | None:
    """A concurrency limit: None, or a whole number from 1 on."""
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise OptionError(f"{where}: concurrency must be a whole number from 1 on, or None; got {limit!r}")
    if limit < 1:
        raise DefinitionError(f"{where}: concurrency={limit} would never let anything run; use 1 or more, or None")
    return limit


def whole(number: Any, where: str, name: str, least: int) -> int:
    """A whole number from `least` on."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise OptionError(f"{where}: {name} must be a whole number from {least} on, got {number!r}")
    if number < least:
        raise DefinitionError(f"{where}: {name} must be a whole number from {least} on, got {number!r}")
    return number


def seconds(number: Any, where: str, name: str, *, above: bool = False) -> float:
    """A number of seconds from 0 on, or `above` 0."""
    bounds = "above 0" if above else "from 0 on"
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise OptionError(f"{where}: {name} must be a number of seconds {bounds}, got {number!r}")
    if math.isnan(number) or number < 0 or (above and number == 0):
        raise DefinitionError(f"{where}: {name} must be a number of seconds {bounds}, got {number!r}")
    return number


def flag(value: Any, where: str, name: str) -> bool:
    """True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise OptionError(f"{where}: {name} must be True or False, got {value!r}")
    return value


def names(value: Any, where: str, name: str) -> tuple[str, ...]:
    """Names of events: one string, or several in a tuple, list or set; without repetition."""
    several: list[Any] = [value] if isinstance(value, str) else []
    if isinstance(value, list | tuple):
        several = [*cast("list[Any]", value)]
    elif isinstance(value, set | frozenset):
        several = sorted(cast("set[Any]", value), key=str)
    elif not several:
        several = [None]
    if not all(isinstance(it, str) and it for it in several):
        raise OptionError(f"{where}: {name} must be the name of an event, or a tuple of names; got {value!r}")
    return tuple(dict.fromkeys(several))


__all__ = ["check_names", "flag", "names", "positive", "seconds", "whole"]
