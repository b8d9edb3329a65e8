"""Lazy sources that can be asked again: the input of a `for_each` of which nobody keeps the items.

A generator dies with its process. A `Source` is what can be recorded in its place: the name of a registered function
and the arguments that it was called with. Asked again, the function gives its items from the first on, and those that
were taken before are passed over; so it has to give the same ones in the same order.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any


class Source:
    """Items that a function gives; made by calling what `@flow.source` returned. It can be iterated again and again."""

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
    """The source for a function of either kind."""
    from inspect import isasyncgenfunction

    kind = AsyncSource if isasyncgenfunction(function) else SyncSource
    return kind(name, function, arguments, options)
