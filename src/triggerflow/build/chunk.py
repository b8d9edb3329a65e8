"""Chunks: named handlers with their options, and checks of a handler before it is called."""

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast

from .._core.errors import NotAChunkError, OptionError
from .._core.signals import Trigger
from .._core.state import UNSET
from .arguments import check_names, flag, names, positive, seconds, text

if TYPE_CHECKING:
    from typing_extensions import ParamSpec
    from typing_extensions import TypeVar as DefaultTypeVar

    from .cache import Cache
    from .retry import Retry
    from .typed import Signal

    P = ParamSpec("P", default=...)
    R = DefaultTypeVar("R", default=Any)
else:
    P, R = ParamSpec("P"), TypeVar("R")

Handler = Callable[[Any], Any]


class ChunkOptions(TypedDict, total=False):
    """The options of `TriggerFlow.chunk`, which describes them. `timeout` is in seconds."""

    concurrency: int | None
    inline: bool
    emits: str | Iterable[str]
    retry: "Retry | None"
    timeout: float | None
    cache: "Cache | None"
    fallback: Any


OPTIONS = ("concurrency", "inline", "emits", "retry", "timeout", "cache", "fallback")


def check_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the given options and return them. Raises `DefinitionError`; the message says which values are valid."""
    check_names(options, OPTIONS, where)
    given = dict(options)
    positive(given.get("concurrency"), where)
    if "inline" in given:
        flag(given["inline"], where, "inline")
    if "emits" in given:
        given["emits"] = names(given["emits"], where, "emits")
    if given.get("timeout") is not None:
        seconds(given["timeout"], where, "timeout", above=True)
    if given.get("retry") is not None or given.get("cache") is not None:
        _check_policies(given, where)
    if callable(given.get("fallback")):
        check_handler(given["fallback"], f"{where}: fallback")
    return given


def _check_policies(given: Mapping[str, Any], where: str) -> None:
    from .cache import Cache  # most chunks have neither, and the import of the package shall be fast
    from .retry import Retry

    for name, kind in (("retry", Retry), ("cache", Cache)):
        if not isinstance(given.get(name), kind | None):
            value = given[name]
            meant = f"{kind.__name__}({value})" if name == "retry" and type(value) is int else f"{kind.__name__}(...)"
            raise OptionError(
                f"{where}: {name} must be an instance of {kind.__name__}, or None; got {value!r}; write {name}={meant}"
            )


class Chunk(Generic[P, R]):
    """A named handler of one flow: the result of `@flow.chunk`.

    A chunk is one node of the graph. If it is used in several places, each of its runs continues all chains that follow
    it anywhere. For two independent steps with one function, use two names: `("second", function)`; or
    `("second", chunk)`, which has the options of the chunk too.
    """

    __slots__ = (
        "cache",
        "concurrency",
        "emits",
        "fallback",
        "handler",
        "inline",
        "name",
        "retry",
        "timeout",
        "trigger",
    )

    def __init__(
        self, name: str, handler: Handler, *, trigger: Trigger | None = None, **options: Unpack[ChunkOptions]
    ) -> None:
        check_handler(handler, f"chunk {name!r}")
        given = check_options(options, f"chunk {name!r}")
        self.name = name
        self.handler = handler
        self.trigger = trigger or Trigger("chunk", name)
        self.concurrency: int | None = given.get("concurrency")
        self.inline: bool = given.get("inline", False)
        self.emits: tuple[str, ...] = given.get("emits", ())
        self.retry: Retry | None = given.get("retry")
        self.timeout: float | None = given.get("timeout")
        self.cache: Cache | None = given.get("cache")
        self.fallback: Any = given.get("fallback", UNSET)

    def policies(self) -> dict[str, Any]:
        """The options that differ from the default, in the form that `flow.chunk` takes."""
        given = {name: getattr(self, name) for name in OPTIONS}
        return {
            name: value
            for name, value in given.items()
            if (value is not UNSET if name == "fallback" else value is not None and value is not False and value != ())
        }

    def differing(self, options: Mapping[str, Any]) -> list[str]:
        """Names of the given (checked) options whose value differs from that of this chunk.

        `emits` never differs, because the names of both are added up.
        """
        return [name for name, value in options.items() if name != "emits" and not _alike(getattr(self, name), value)]

    def extend(self, options: Mapping[str, Any]) -> None:
        """Set further options, which must be checked."""
        for name, value in options.items():
            setattr(self, name, value)

    def options(self) -> dict[str, Any]:
        """The policies as plain data, in the form that the definition has."""
        return {
            "concurrency": self.concurrency,
            "inline": self.inline or None,
            "retry": self.retry.describe() if self.retry else None,
            "timeout": self.timeout,
            "cache": True if self.cache else None,
            "fallback": None if self.fallback is UNSET else True,
        }

    def declare_emits(self, *names: "str | Signal[Any]") -> "Chunk[P, R]":
        """Add names of events that this chunk emits and its code does not show as literals. Returns the chunk.

        Only diagrams and checks use them; runs do not change. Raises `NotAChunkError` for a name that is not a string.
        """
        given: list[Any] = [text(name) for name in names]
        for name in given:
            if not isinstance(name, str):
                raise NotAChunkError(f"chunk {self.name!r}: declare_emits takes event names, got {name!r}")
        self.emits = tuple(dict.fromkeys((*self.emits, *given)))
        return self

    def __call__(self, *data: P.args, **none: P.kwargs) -> R:
        """Call the handler directly with its argument, without the options of the chunk; for tests of the handler."""
        return cast("Callable[P, R]", self.handler)(*data, **none)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters):
            from types import GenericAlias

            return GenericAlias(cls, parameters)

    def __repr__(self) -> str:
        return f"<Chunk {self.name!r}>"


def _alike(one: Any, other: Any) -> bool:
    """Whether two values of an option are equal. Two `Retry` or `Cache` objects are, if their arguments are equal."""
    if type(one) is not type(other):
        return False
    from .alike import same

    settings = getattr(one, "settings", None)
    if callable(one) and settings is None:
        return same(one, other)
    if settings is None:
        try:
            return one is other or bool(one == other)
        except Exception:  # a fallback is any value, and the `==` of an array gives no bool
            return False
    theirs = other.settings()
    return all(same(value, theirs[name]) for name, value in settings().items())


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
        # A wrapper is called with its own parameters, not with those of the function that it wraps.
        signature = inspect.signature(handler, follow_wrapped=False)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    try:
        signature.bind(None)
    except TypeError as error:
        if isinstance(getattr(handler, "__signature__", None), inspect.Signature):
            return  # a decorator copied it from another function; only a call shows the real parameters
        raise NotAChunkError(f"{where}: a handler takes exactly one argument, the runtime data ({error})") from None


def called_function(handler: Any) -> Any:
    """The function that a call runs first: behind a partial, a method, or an object with `__call__`."""
    while isinstance(handler, functools.partial):
        handler = cast("Any", handler).func
    if not inspect.isfunction(handler) and not inspect.ismethod(handler):
        kind = cast("Any", type(handler))
        handler = getattr(kind, "__call__", handler)  # noqa: B004 - needs the function itself
    return getattr(handler, "__func__", handler)


def is_coroutine_function(handler: Handler) -> bool:
    """Whether every call of the handler returns a coroutine, because its own code is an `async def`.

    The function behind a wrapper does not count: the wrapper may return anything.
    """
    function = called_function(handler)
    return inspect.isfunction(function) and bool(function.__code__.co_flags & inspect.CO_COROUTINE)


def claims_to_be_async(handler: Handler) -> bool:
    """Whether the handler is marked as a coroutine function, as mocks and some decorators do."""
    if inspect.iscoroutinefunction(handler):
        return True
    # Before Python 3.12 the mark belongs to asyncio, and inspect does not know it.
    return sys.version_info < (3, 12) and asyncio.iscoroutinefunction(handler)  # pyright: ignore[reportDeprecated]


def handler_name(handler: Handler) -> str:
    """The default name of a handler: that of its function, or of its class."""
    inner = getattr(handler, "func", handler)
    name = getattr(inner, "__name__", None) if callable(inner) else None
    return (name if isinstance(name, str) and name else type(handler).__name__).strip("<>")
