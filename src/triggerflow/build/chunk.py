"""Chunks: named handlers, and what the engine needs to know of a handler before it calls it."""

import inspect
from collections.abc import Callable
from typing import Any, TypedDict

from .._core.errors import DefinitionError, NotAChunkError
from .._core.signals import Trigger
from .policies import Cache, Retry

Handler = Callable[[Any], Any]


class ChunkOptions(TypedDict, total=False):
    """The options of `flow.chunk`."""

    concurrency: int | None
    inline: bool
    emits: tuple[str, ...]
    retry: Retry | None
    timeout: float | None
    cache: Cache | None


class Chunk:
    """A named handler of one flow: what `@flow.chunk` returns.

    A chunk is one node of the graph: wired in several places it is still one, and everything that follows it anywhere
    follows each of its runs. For two independent steps with one function give it two names: `("second", function)`.
    """

    __slots__ = ("cache", "concurrency", "emits", "handler", "inline", "name", "retry", "timeout", "trigger")

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        trigger: Trigger | None = None,
        concurrency: int | None = None,
        inline: bool = False,
        emits: tuple[str, ...] = (),
        retry: Retry | None = None,
        timeout: float | None = None,
        cache: Cache | None = None,
    ) -> None:
        check_handler(handler, f"chunk {name!r}")
        if timeout is not None and not timeout > 0:
            raise DefinitionError(f"chunk {name!r}: timeout must be a number of seconds above 0, got {timeout!r}")
        self.name = name
        self.handler = handler
        self.trigger = trigger or Trigger("chunk", name)
        self.concurrency = concurrency
        self.inline = inline
        self.emits = tuple(emits)
        self.retry = retry
        self.timeout = timeout
        self.cache = cache

    def options(self) -> dict[str, Any]:
        """The policies as plain data, as they stand in the definition."""
        return {
            "concurrency": self.concurrency,
            "inline": self.inline or None,
            "retry": self.retry.describe() if self.retry else None,
            "timeout": self.timeout,
            "cache": True if self.cache else None,
        }

    def declare_emits(self, *names: str) -> "Chunk":
        """Say which events this chunk emits, where its code does not show them as literals. Returns the chunk.

        For diagrams and checks: it changes nothing in a run.
        """
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
