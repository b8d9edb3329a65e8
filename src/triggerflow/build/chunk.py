"""Chunks: named handlers, and what the engine needs to know of a handler before it calls it."""

import asyncio
import dis
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypedDict, Unpack, cast

from .._core.errors import NotAChunkError, OptionError
from .._core.signals import Trigger
from .arguments import check_names, flag, names, positive, seconds
from .policies import Cache, Retry

Handler = Callable[[Any], Any]

#: Methods whose literal arguments are names of events.
EMITTERS = frozenset({"emit", "async_emit", "emit_nowait", "async_emit_nowait"})
#: How many functions around each other are read for what they emit.
MAX_WRAPPERS = 20
#: Those that emit the values of a dict, once for each field of a model's answer.
FIELD_EMITTERS = frozenset({"async_emit_fields", "emit_fields"})


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
    if any(inspect.isasyncgenfunction(it) or inspect.isgeneratorfunction(it) for it in (handler, _called(handler))):
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


def _called(handler: Any) -> Any:
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
    function = _called(handler)
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


def emitted_names(handler: Handler) -> frozenset[str]:
    """The events a handler emits, as far as its code shows them: what stands first in the calls of its emit methods.

    Literals are found, names of module or closure strings, and both sides of `"a" if ... else "b"`; and for instant
    dispatch the values of the dict. That is read before
    the first run: it tells signals that the flow sends itself from those it awaits from outside. `declare_emits` adds
    what no code shows.
    """
    found: set[str] = set()
    for function in _functions(handler):
        found |= _emitted_in(function)
    return frozenset(found)


def _functions(handler: Any) -> list[FunctionType]:
    """The functions that a call may run, as far as they can be seen: the handler's own, and those that it wraps."""
    found: list[FunctionType] = []
    ahead: list[Any] = [handler]
    while ahead and len(found) < MAX_WRAPPERS:
        it = ahead.pop()
        function = _called(it)
        if inspect.isfunction(function) and function not in found:
            found.append(function)
            ahead.append(getattr(function, "__wrapped__", None))
        if not inspect.isfunction(it):  # a mock has any attribute
            ahead += [inner for name in ("func", "__wrapped__") if _is_function(inner := getattr(it, name, None))]
    return found


def _is_function(it: Any) -> bool:
    return inspect.isfunction(it) or inspect.ismethod(it) or isinstance(it, functools.partial)


def _emitted_in(function: FunctionType) -> set[str]:
    scope = function.__globals__
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    found: set[str] = set()
    for part in _codes(function.__code__):
        if not FIELD_EMITTERS.isdisjoint((*part.co_names, *part.co_freevars)):
            found.update(_strings(part, scope, cells))
        if EMITTERS.isdisjoint(part.co_names):
            continue
        steps = [step for step in dis.get_instructions(part) if step.opname != "CACHE"]
        for index, step in enumerate(steps):
            if step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in EMITTERS:
                found.update(_first_argument(steps, index + 1, scope, cells))
    return found


def _first_argument(
    steps: list[dis.Instruction], at: int, scope: Mapping[str, Any], cells: Mapping[str, Any]
) -> Iterator[str]:
    """The strings that the expression beginning here may give; none for one that only running it tells."""
    if at >= len(steps):
        return
    step = steps[at]
    value = step.argval
    if step.opname == "LOAD_GLOBAL":
        value = scope.get(value)
    elif step.opname == "LOAD_DEREF":
        value = _content(cells.get(value))
    if step.opname in ("LOAD_CONST", "LOAD_GLOBAL", "LOAD_DEREF") and isinstance(value, str):
        yield value
        return
    for index in range(at, len(steps)):
        name = steps[index].opname
        if name.startswith("POP_JUMP"):
            target = next((place for place, other in enumerate(steps) if other.offset == steps[index].argval), at)
            yield from _first_argument(steps, index + 1, scope, cells)
            if target > index:
                yield from _first_argument(steps, target, scope, cells)
            return
        if name.startswith(("CALL", "PRECALL", "KW_NAMES")):
            return


def _strings(code: CodeType, scope: Mapping[str, Any], cells: Mapping[str, Any]) -> Iterator[str]:
    """All strings of a code, and the values of the dicts that it names. Too many do no harm, see decision 0006."""
    named = [*(scope.get(name) for name in code.co_names), *(_content(cells.get(name)) for name in code.co_freevars)]
    for value in (*code.co_consts, *named):
        texts = cast("dict[Any, Any]", value).values() if isinstance(value, dict) else (value,)
        yield from (text for text in texts if isinstance(text, str))


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
