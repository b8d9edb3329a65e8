"""Whether two callables are the same code: what lets a cell of a notebook run again without a change to the flow.

Running a `def` again makes another function object, equal to no other. Two functions are the same here if their code is
equal (the line that it stands on does not count), and everything that it uses from outside: globals, closure, defaults
and attributes. Mutable objects in a closure must be one and the same object, because functions that share none behave
differently.
"""

import functools
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, cast

#: Values of these types are compared by `==`; those of all others by identity.
_PLAIN: frozenset[type[Any]] = frozenset({bool, int, float, complex, str, bytes, type(None), type(Ellipsis)})
#: The parts of a code object that decide what it does. Its file and lines are not among them.
_CODE = ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_code", "co_names", "co_varnames",
         "co_freevars", "co_cellvars", "co_exceptiontable", "co_name")  # fmt: skip
#: How deep functions in closures are followed. Deeper ones count as different, which only means no replacement.
_DEPTH = 8


def same(one: Any, other: Any) -> bool:
    """Whether two handlers do the same: equal, or equal code with equal closure, or equal sub-flow steps."""
    return one is other or _same(one, other, 0) or bool(one == other)


def _same(one: Any, other: Any, depth: int) -> bool:
    if one is other:
        return True
    kind = cast("type[Any]", type(one))
    if kind is not type(other) or depth > _DEPTH:
        return False
    compare = _BY_TYPE.get(kind)
    if compare is not None:
        return compare(one, other, depth + 1)
    if kind in _PLAIN:
        return bool(one == other)
    same_step = getattr(kind, "same_step", None)  # of a sub-flow step, which may not be imported here
    if same_step is not None:
        return bool(same_step(one, other))
    return isinstance(one, Enum) and one == other


def _functions(one: Any, other: Any, depth: int) -> bool:
    if one.__globals__ is not other.__globals__ or not _codes(one.__code__, other.__code__, depth):
        return False
    return all(
        _same(getattr(one, part), getattr(other, part), depth) for part in ("__defaults__", "__closure__")
    ) and all(_mappings(getattr(one, part), getattr(other, part), depth) for part in ("__kwdefaults__", "__dict__"))


def _codes(one: Any, other: Any, depth: int) -> bool:
    return all(getattr(one, part) == getattr(other, part) for part in _CODE) and _same(
        one.co_consts, other.co_consts, depth
    )


def _tuples(one: Any, other: Any, depth: int) -> bool:
    return len(one) == len(other) and all(_same(a, b, depth) for a, b in zip(one, other, strict=True))


def _mappings(one: Any, other: Any, depth: int) -> bool:
    one, other = one or {}, other or {}
    return one.keys() == other.keys() and all(_same(one[key], other[key], depth) for key in one)


def _cells(one: Any, other: Any, depth: int) -> bool:
    try:
        return _same(one.cell_contents, other.cell_contents, depth)
    except ValueError:  # not filled yet
        return False


def _partials(one: Any, other: Any, depth: int) -> bool:
    parts = ((one.func, one.args), (other.func, other.args))
    return _same(*parts, depth) and _mappings(one.keywords, other.keywords, depth)


def _methods(one: Any, other: Any, depth: int) -> bool:
    return one.__self__ is other.__self__ and _same(one.__func__, other.__func__, depth)


_BY_TYPE: dict[type[Any], Callable[[Any, Any, int], bool]] = {
    types.FunctionType: _functions,
    types.CodeType: _codes,
    types.CellType: _cells,
    types.MethodType: _methods,
    functools.partial: _partials,
    tuple: _tuples,
    frozenset: lambda one, other, depth: one == other,
}
