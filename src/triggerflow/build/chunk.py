"""Chunks: named handlers, and what the engine needs to know of a handler before it calls it."""

import dis
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any, TypedDict, cast

from .._core.errors import DefinitionError, NotAChunkError
from .._core.signals import Trigger
from .policies import Cache, Retry

Handler = Callable[[Any], Any]

#: Methods whose literal arguments are names of events.
EMITTERS = frozenset({"emit", "async_emit", "emit_nowait", "async_emit_nowait"})
#: Those that emit the values of a dict, once for each field of a model's answer.
FIELD_EMITTERS = frozenset({"async_emit_fields", "emit_fields"})


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
    """The events a handler emits, as far as its code shows them: what stands first in the calls of its emit methods.

    Literals are found, names of module or closure strings, and both sides of `"a" if ... else "b"`; and for instant
    dispatch the values of the dict. That is read before
    the first run: it tells signals that the flow sends itself from those it awaits from outside. `declare_emits` adds
    what no code shows.
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
        if not FIELD_EMITTERS.isdisjoint((*part.co_names, *part.co_freevars)):
            found.update(_strings(part, scope, cells))
        if EMITTERS.isdisjoint(part.co_names):
            continue
        steps = [step for step in dis.get_instructions(part) if step.opname != "CACHE"]
        for index, step in enumerate(steps):
            if step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in EMITTERS:
                found.update(_first_argument(steps, index + 1, scope, cells))
    return frozenset(found)


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
