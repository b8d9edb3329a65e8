"""Chunks: named handlers, and what the engine needs to know of a handler before it calls it."""

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypedDict, Unpack, cast

from .._core.errors import NotAChunkError, OptionError
from .._core.signals import Trigger
from .arguments import check_names, flag, names, positive, seconds
from .policies import Cache, Retry

Handler = Callable[[Any], Any]


class ChunkOptions(TypedDict, total=False):
    """The options of `flow.chunk`."""

    concurrency: int | None
    inline: bool
    emits: str | Iterable[str]
    retry: Retry | None
    timeout: float | None
    cache: Cache | None


class Checked(NamedTuple):
    """The options of a chunk, each of its kind."""

    concurrency: int | None = None
    inline: bool = False
    emits: tuple[str, ...] = ()
    retry: Retry | None = None
    timeout: float | None = None
    cache: Cache | None = None


def check_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options that were given, each of its kind. Raises `DefinitionError` that names the option and what fits."""
    check_names(options, Checked._fields, where)
    given = dict(options)
    positive(given.get("concurrency"), where)
    if "inline" in given:
        flag(given["inline"], where, "inline")
    if "emits" in given:
        given["emits"] = names(given["emits"], where, "emits")
    if given.get("timeout") is not None:
        seconds(given["timeout"], where, "timeout", above=True)
    for name, kind in (("retry", Retry), ("cache", Cache)):
        if not isinstance(given.get(name), kind | None):
            raise OptionError(f"{where}: {name} must be a {kind.__name__}(...), got {given[name]!r}")
    return given


class Chunk:
    """A named handler of one flow: what `@flow.chunk` returns.

    A chunk is one node of the graph: wired in several places it is still one, and everything that follows it anywhere
    follows each of its runs. For two independent steps with one function give it two names: `("second", function)`, or
    `("second", chunk)`, which has the options of the chunk.
    """

    __slots__ = ("cache", "concurrency", "emits", "handler", "inline", "name", "retry", "timeout", "trigger")

    def __init__(
        self, name: str, handler: Handler, *, trigger: Trigger | None = None, **options: Unpack[ChunkOptions]
    ) -> None:
        check_handler(handler, f"chunk {name!r}")
        checked = Checked(**check_options(options, f"chunk {name!r}"))
        self.name = name
        self.handler = handler
        self.trigger = trigger or Trigger("chunk", name)
        self.concurrency = checked.concurrency
        self.inline = checked.inline
        self.emits = checked.emits
        self.retry = checked.retry
        self.timeout = checked.timeout
        self.cache = checked.cache

    def policies(self) -> dict[str, Any]:
        """The options that are not the default, as `flow.chunk` takes them."""
        given = {name: getattr(self, name) for name in Checked._fields}
        return {
            name: value for name, value in given.items() if value is not None and value is not False and value != ()
        }

    def differing(self, options: Mapping[str, Any]) -> list[str]:
        """Which of the options, checked ones, this chunk has otherwise; events that it emits add up."""
        return [name for name, value in options.items() if name != "emits" and not _alike(getattr(self, name), value)]

    def extend(self, options: Mapping[str, Any]) -> None:
        """Give the chunk further options, checked ones."""
        for name, value in options.items():
            setattr(self, name, value)

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


def _alike(one: Any, other: Any) -> bool:
    """Whether two values of an option mean the same: policies, if all that they were made with is equal."""
    if type(one) is not type(other):
        return False
    return one is other or bool(_settings(one) == _settings(other))


def _settings(value: Any) -> Any:
    return value.settings() if isinstance(value, Retry | Cache) else value


def check_handler(handler: Any, where: str) -> None:
    """Raise `NotAChunkError` unless the object can be called with one argument and returns a value or awaitable."""
    if not callable(handler):
        raise NotAChunkError(f"{where}: a handler must be callable, got {handler!r}")
    if any(
        inspect.isasyncgenfunction(it) or inspect.isgeneratorfunction(it) for it in (handler, called_function(handler))
    ):
        raise NotAChunkError(
            f"{where}: a generator cannot be a handler; put items into the stream with "
            "`await data.async_put_into_stream(item)` and return the value"
        )
    try:
        # A wrapper takes what it takes itself, whatever the function takes that it stands for.
        signature = inspect.signature(handler, follow_wrapped=False)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    try:
        signature.bind(None)
    except TypeError as error:
        if isinstance(getattr(handler, "__signature__", None), inspect.Signature):
            return  # what a decorator says of another function; only the call tells what this one takes
        raise NotAChunkError(f"{where}: a handler takes exactly one argument, the runtime data ({error})") from None


def called_function(handler: Any) -> Any:
    """The function whose code a call begins with: of a partial, a method, or an object with `__call__`."""
    while isinstance(handler, functools.partial):
        handler = cast("Any", handler).func
    if not inspect.isfunction(handler) and not inspect.ismethod(handler):
        kind = cast("Any", type(handler))
        handler = getattr(kind, "__call__", handler)  # noqa: B004 - the function is wanted, not whether
    return getattr(handler, "__func__", handler)


def is_coroutine_function(handler: Handler) -> bool:
    """Whether every call of the handler gives a coroutine: its own code is that of an `async def`.

    What a wrapper stands for says nothing of what the wrapper returns.
    """
    function = called_function(handler)
    return inspect.isfunction(function) and bool(function.__code__.co_flags & inspect.CO_COROUTINE)


def claims_to_be_async(handler: Handler) -> bool:
    """Whether the handler is marked as one that gives a coroutine, as mocks and some decorators do."""
    if inspect.iscoroutinefunction(handler):
        return True
    # Before Python 3.12 the mark is asyncio's own.
    return sys.version_info < (3, 12) and asyncio.iscoroutinefunction(handler)  # pyright: ignore[reportDeprecated]


def handler_name(handler: Handler) -> str:
    """The name a handler goes by when none was given."""
    inner = getattr(handler, "func", handler)
    name = getattr(inner, "__name__", None) if callable(inner) else None
    return (name if isinstance(name, str) and name else type(handler).__name__).strip("<>")
