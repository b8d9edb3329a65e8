"""`Source`: a lazy input of a `for_each` that can be recorded.

A generator is lost with its process. A `Source` is recorded as the name of a registered function and the arguments of
the call. After a restart the function is called again, and the items that were already taken are skipped; so it must
give the same items in the same order.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any


class Source:
    """The items of a registered function: the result of calling it. It can be iterated any number of times."""

    __slots__ = ("arguments", "function", "name", "options")

    def __init__(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.function = function
        self.arguments = arguments
        self.options = options

    def __repr__(self) -> str:
        given = [*map(repr, self.arguments), *(f"{name}={value!r}" for name, value in self.options.items())]
        return f"{self.name}({', '.join(given)})"


class SyncSource(Source):
    """Items of a generator function, or of a function that returns an iterable."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        items: Iterable[Any] = self.function(*self.arguments, **self.options)
        return iter(items)


class AsyncSource(Source):
    """Items of an async generator function."""

    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[Any]:
        items: AsyncIterable[Any] = self.function(*self.arguments, **self.options)
        return aiter(items)


def source_of(
    name: str, function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> Source:
    """The source for a function, sync or async."""
    from inspect import isasyncgenfunction

    kind = AsyncSource if isasyncgenfunction(function) else SyncSource
    return kind(name, function, arguments, options)
