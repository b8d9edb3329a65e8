"""Chunks: named handlers, and what the engine needs to know of a handler before it calls it."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from types import CodeType
from typing import Any

from ._core.errors import NotAChunkError
from ._core.signals import Trigger

Handler = Callable[[Any], Any]

#: Methods whose literal arguments are names of events.
EMITTERS = frozenset({"emit", "async_emit", "emit_nowait", "async_emit_nowait"})


class Chunk:
    """A named handler of one flow: what `@flow.chunk` returns.

    A chunk is one node of the graph: wired in several places it is still one, and everything that follows it anywhere
    follows each of its runs. For two independent steps with one function give it two names: `("second", function)`.
    """

    __slots__ = ("concurrency", "emits", "handler", "inline", "name", "trigger")

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        trigger: Trigger | None = None,
        concurrency: int | None = None,
        inline: bool = False,
        emits: tuple[str, ...] = (),
    ) -> None:
        check_handler(handler, f"chunk {name!r}")
        self.name = name
        self.handler = handler
        self.trigger = trigger or Trigger("chunk", name)
        self.concurrency = concurrency
        self.inline = inline
        self.emits = emits

    def declare_emits(self, *names: str) -> "Chunk":
        """Say which events this chunk emits, where its code does not show them as literals. Returns the chunk."""
        for name in names:
            if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise NotAChunkError(f"chunk {self.name!r}: declare_emits takes event names, got {name!r}")
        self.emits = tuple(dict.fromkeys((*self.emits, *names)))
        return self

    def __call__(self, data: Any) -> Any:
        """Call the handler directly, as a test of it would."""
        return self.handler(data)

    def __repr__(self) -> str:
        return f"<Chunk {self.name!r}>"


def check_handler(handler: Any, where: str) -> None:
    """Raise `NotAChunkError` unless the object can be called with one argument and returns a value or awaitable."""
    if not callable(handler):
        raise NotAChunkError(f"{where}: a handler must be callable, got {handler!r}")
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise NotAChunkError(
            f"{where}: a generator cannot be a handler; put items into the stream with "
            "`await data.async_put_into_stream(item)` and return the value"
        )
    try:
        inspect.signature(handler).bind(None)
    except TypeError as error:
        raise NotAChunkError(f"{where}: a handler takes exactly one argument, the runtime data ({error})") from None
    except ValueError:  # a builtin without a signature
        return


def is_async(handler: Handler) -> bool:
    """Whether calling the handler gives a coroutine (functions, partials and objects with an async `__call__`)."""
    function = inspect.unwrap(getattr(handler, "func", handler))
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def handler_name(handler: Handler) -> str:
    """The name a handler goes by when none was given."""
    name = getattr(getattr(handler, "func", handler), "__name__", type(handler).__name__)
    return name.strip("<>")


def emitted_names(handler: Handler) -> frozenset[str]:
    """Strings in the code of a handler that emits: the events it may emit, as far as its code shows them.

    Literals, and names of module or closure strings, count in every function whose code calls an emit method. That
    is a superset read before the first run: it tells signals that the flow sends itself from those it awaits from
    outside. `declare_emits` adds what no code shows.
    """
    function = inspect.unwrap(getattr(handler, "func", handler))
    if not inspect.isfunction(function):
        function: Any = getattr(function, "__func__", None) or type(function).__call__
    code = getattr(function, "__code__", None)
    if code is None:
        return frozenset()
    scope: dict[str, Any] = getattr(function, "__globals__", {})
    cells = dict(zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=False))
    found: set[str] = set()
    for part in _codes(code):
        if EMITTERS.isdisjoint(part.co_names):
            continue
        found.update(constant for constant in part.co_consts if isinstance(constant, str))
        found.update(value for name in part.co_names if isinstance(value := scope.get(name), str))
        for name in part.co_freevars:
            value = _content(cells.get(name))
            if isinstance(value, str):
                found.add(value)
    return frozenset(found)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except (AttributeError, ValueError):  # no such cell, or not filled yet
        return None


Invoker = Callable[[Any], Awaitable[Any]]
