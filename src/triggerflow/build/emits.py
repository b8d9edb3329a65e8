"""Which events a handler emits, read from its bytecode: a guess, for diagrams and checks only.

It misses events that a helper function emits, and computed names. So nothing that decides what an execution does may
use it; in particular, whether an execution ends depends on declared external events (decision 0013).
"""

import dis
import functools
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from types import CodeType, FunctionType
from typing import Any, cast

from .arguments import text
from .chunk import Handler, called_function

#: Methods whose first argument is the name of an event.
EMITTERS = frozenset({"emit", "async_emit", "emit_nowait", "async_emit_nowait"})
#: The most functions, wrapped in each other, that are read for one handler.
MAX_WRAPPERS = 20
#: Methods that take a dict from the fields of a model's answer to names of events.
FIELD_EMITTERS = frozenset({"async_emit_fields", "emit_fields"})

#: Methods that ask a question, whose answer may be sent as an event.
ASKERS = frozenset({"pause_for", "async_pause_for"})


def emitted_names(handler: Handler) -> frozenset[str]:
    """The names of events that the code of a handler emits: the first arguments of its calls of emit methods.

    It finds literals, module and closure variables that hold a string, both sides of a conditional expression, and
    for `async_emit_fields` the values of the dict. `Chunk.declare_emits` adds names that the code does not show.
    """
    found: set[str] = set()
    for function in _functions(handler):
        found |= _emitted_in(function)
    return frozenset(found)


def sent_names(handler: Handler) -> frozenset[str]:
    """All names of events that the code of a handler may send: `emitted_names`, and more.

    If a function of the handler calls `pause_for`, all strings in it are included: `resume_event` may name the event
    that carries the answer. So the result may hold strings that name no event, and a check that uses it never refuses
    a correct flow.
    """
    asked: set[str] = set()
    for function in _functions(handler):
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        for part in _codes(function.__code__):
            if not ASKERS.isdisjoint(part.co_names):
                asked.update(_strings(part, function.__globals__, cells))
    return emitted_names(handler) | asked


def _functions(handler: Any) -> list[FunctionType]:
    """The functions that a call of the handler may run: its own, and those that it wraps."""
    found: list[FunctionType] = []
    ahead: list[Any] = [handler]
    while ahead and len(found) < MAX_WRAPPERS:
        it = ahead.pop()
        function = called_function(it)
        if inspect.isfunction(function) and function not in found:
            found.append(function)
            ahead.append(getattr(function, "__wrapped__", None))
        if not inspect.isfunction(it):  # a mock object has every attribute
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
    """The strings that the expression at this instruction may give; none if only running it could tell."""
    if at >= len(steps):
        return
    step = steps[at]
    value = step.argval
    if step.opname == "LOAD_GLOBAL":
        value = scope.get(value)
    elif step.opname == "LOAD_DEREF":
        value = _content(cells.get(value))
    while _is_member(steps, at + 1, value):
        at += 1
        value = getattr(value, steps[at].argval, None)
    value = text(value)
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


def _is_member(steps: list[dis.Instruction], at: int, value: Any) -> bool:
    """Whether the next instruction reads a member of an enum, or the value of a member."""
    if at >= len(steps) or steps[at].opname != "LOAD_ATTR":
        return False
    is_enum = isinstance(value, type) and issubclass(value, Enum) and steps[at].argval in value.__members__
    return is_enum or (isinstance(value, Enum) and steps[at].argval == "value")


def _strings(code: CodeType, scope: Mapping[str, Any], cells: Mapping[str, Any]) -> Iterator[str]:
    """All strings of a code object, and the values of dicts that it names. Strings that are no events do no harm."""
    named = [*(scope.get(name) for name in code.co_names), *(_content(cells.get(name)) for name in code.co_freevars)]
    for value in (*code.co_consts, *named):
        texts = cast("dict[Any, Any]", value).values() if isinstance(value, dict) else (value,)
        yield from (name for name in map(text, texts) if isinstance(name, str))


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
