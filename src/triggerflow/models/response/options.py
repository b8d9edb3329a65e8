"""Checks of the options of a response: a wrong one is an error at the call that passes it."""

from typing import Any, TypeVar

from ..errors import ResponseUsageError

T = TypeVar("T")


def whole_number(name: str, value: Any, *, least: int = 0) -> int:
    """The option if it is a whole number of at least `least`. Raises `ResponseUsageError`, which names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ResponseUsageError(f"{name}={value!r}: write a whole number, at least {least}")
    return value


def seconds(name: str, value: Any) -> float | None:
    """The option if it is a number of seconds, at least 0, or None. Raises `ResponseUsageError`, which names it."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:  # not: NaN is not >= 0
        raise ResponseUsageError(f"{name}={value!r}: write a number of seconds, at least 0, or None for no limit")
    return value


def switch(name: str, value: Any) -> bool:
    """The option if it is True or False. Raises `ResponseUsageError`, which names it."""
    if not isinstance(value, bool):
        raise ResponseUsageError(f"{name}={value!r}: write True or False")
    return value


def one_of(name: str, value: T, choices: tuple[str, ...]) -> T:
    """The option if it is one of the choices. Raises `ResponseUsageError`, which names it."""
    if value not in choices:
        raise ResponseUsageError(f"{name}={value!r}: write one of {[*choices]}")
    return value


def function(name: str, value: T) -> T:
    """The option if it is a function, or None. Raises `ResponseUsageError`, which names it."""
    if value is not None and not callable(value):
        raise ResponseUsageError(f"{name}={value!r}: write a function, or None")
    return value


def paths(name: str, value: Any) -> tuple[str, ...]:
    """The option as a tuple of paths. Raises `ResponseUsageError`, which names it."""
    if isinstance(value, str):
        raise ResponseUsageError(f"{name}={value!r}: write a list of paths, [{value!r}]")
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(path, str) for path in value):  # pyright: ignore[reportUnknownVariableType]
        raise ResponseUsageError(f"{name}={value!r}: write a list of paths, which are strings")
    return tuple(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
