"""What the core can find out about a user's value without running user code.

`isinstance`, `hasattr`, `len`, `==` and truth all call into the class of a value: an attribute that raises, a
`__class__` that lies, a comparison that takes a minute. An exception in the middle of a transition would leave half a
change behind. So the core looks at types only, through the descriptors of `type` itself, which no class and no
metaclass can replace. Where the type is not enough, the driver decides: it may call user code, outside of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from .errors import UsageError
from .frozen import PLAIN, FrozenDict, FrozenList, FrozenSet

#: `type`, as a function of a value.
kind_of = cast("Callable[[Any], type[Any]]", type)
_MRO: Final[Any] = type.__dict__["__mro__"].__get__
_NAMESPACE: Final[Any] = type.__dict__["__dict__"].__get__
_NAME: Final[Any] = type.__dict__["__name__"].__get__


def _ids(*kinds: type[Any]) -> frozenset[int]:
    # By id, because looking up a class in a set calls `__hash__` of its metaclass, which is user code.
    return frozenset(map(id, kinds))


#: Ids of builtin types. `bool` of their values, and `==` of two of them, run no user code.
_BASIC: Final = _ids(object, type(None), bool, int, float, complex, str, bytes, bytearray, range)
#: The basic types whose `==` with each other never raises. Bytes with text raise under `python -bb`.
BUILTIN: Final = _BASIC - _ids(bytes, bytearray)
_SETS: Final = _ids(set, frozenset, FrozenSet)
_LISTED: Final = _SETS | _ids(list, tuple, FrozenList)
_DICTS: Final = _ids(dict, FrozenDict)
_CONTAINER: Final = _LISTED | _DICTS
#: The plain type of each frozen one, whose methods it has for everything but changes.
_PLAIN: Final = {id(frozen): id(plain) for frozen, plain in PLAIN.items()}
#: Types whose values can be iterated over, but count as one item of a for_each.
_WHOLE: Final = (dict, str, bytes, bytearray, Mapping, MappingProxyType)
#: Attributes of Pydantic models only. A model iterates over its fields, but counts as one item of a for_each.
_FIELDS: Final = ("model_fields", "__pydantic_fields__")
#: A value that is nested deeper than this counts as not plain.
_DEPTH: Final = 100


def type_name(value: Any) -> str:
    """The name of a value's type, for messages."""
    return _NAME(kind_of(value))


def text(value: Any, what: str) -> str:
    """Return a name as a plain `str`, also from a subclass such as a string enum. Raises `UsageError`."""
    if type(value) is str:
        return value
    if derives(value, str):
        return str.__str__(value)
    raise UsageError(f"{what} is a string, got a {type_name(value)}")


def key(value: Any, what: str) -> Any:
    """Return a key that can be looked up without running user code. Raises `UsageError` for others."""
    return value if is_plain(value) else text(value, what)


def seconds(value: Any, what: str) -> float:
    """Return a number of seconds as a plain float. Raises `UsageError` for other types."""
    added = float.__add__(0.0, value)  # also reads subclasses of int and float, without calling their methods
    if added is NotImplemented:
        raise UsageError(f"{what} is a number of seconds, got a {type_name(value)}")
    return added


def truth(value: Any, what: str) -> bool:
    """Whether a plain value is true. Raises `UsageError` for any other."""
    if value is True or value is False:
        return value
    if id(kind_of(value)) in _BASIC or id(kind_of(value)) in _CONTAINER:
        return bool(value)
    raise UsageError(f"{what} is true or false, got a {type_name(value)}")


def items_of(value: Any) -> list[Any] | None:
    """Return the items of a list or tuple, also of a subclass, as a new list; None for other values."""
    for base in (list, tuple):
        if derives(value, base):
            return [*cast("Any", base).__iter__(value)]
    return None


def is_lazy(value: Any) -> bool:
    """Whether the driver has to pull the items of a value for a for_each. Else the value is one item.

    Looks at the type only. For what the type does not show (a class registered as a mapping, a proxy) the driver
    examines the value.
    """
    if id(kind_of(value)) in _BASIC:
        return False
    mro = _MRO(kind_of(value))
    for base in mro:
        for whole in _WHOLE:
            if base is whole:
                return False
        for name in _FIELDS:
            if name in _NAMESPACE(base):
                return False
    if _method(mro, "__aiter__") is not None:
        return True
    # `__iter__ = None` forbids iteration, also by `__getitem__`.
    by_iter = _method(mro, "__iter__", ...)
    return by_iter is not None and (by_iter is not ... or _method(mro, "__getitem__") is not None)


def has_method(value: Any, name: str) -> bool:
    """Whether the type of a value has a method. Attributes of the instance do not count."""
    return _method(_MRO(kind_of(value)), name) is not None


def equals(literal: Any, value: Any) -> bool | None:
    """Whether a literal equals a value; None if only user code can decide. A literal None equals only None."""
    if literal is None:
        return value is None
    if not (id(kind_of(value)) in _BASIC and id(kind_of(literal)) in _BASIC) and not _comparable(literal, value):
        return None
    try:
        return bool(literal == value)
    except Exception:  # bytes with text under `python -bb`, or nested too deep: not equal
        return False


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value and everything in it has a builtin type."""
    kind = id(kind_of(value))
    if kind in _BASIC:
        return True
    if depth == _DEPTH:
        return False
    if kind in _LISTED:
        return all(is_plain(item, depth + 1) for item in value)
    if kind in _DICTS:
        return all(is_plain(key, depth + 1) and is_plain(item, depth + 1) for key, item in value.items())
    return False


def _comparable(literal: Any, value: Any) -> bool:
    """Whether `==` of these two values runs no user code."""
    one, other = id(kind_of(literal)), id(kind_of(value))
    one, other = _PLAIN.get(one, one), _PLAIN.get(other, other)
    if one in _CONTAINER and other in _CONTAINER:
        # If the containers differ in type or length, `==` does not compare their items.
        alike = one == other or (one in _SETS and other in _SETS)
        return not alike or len(literal) != len(value) or (is_plain(literal) and is_plain(value))
    return (one in _CONTAINER or _compares_as_builtin(literal)) and (
        other in _CONTAINER or _compares_as_builtin(value)
    )  # fmt: skip


def _compares_as_builtin(value: Any) -> bool:
    """Whether the `==` of a value's class is that of a basic type, which it inherits."""
    for base in _MRO(kind_of(value)):
        if "__eq__" in _NAMESPACE(base):
            return id(base) in _BASIC
    return False


def derives(value: Any, wanted: type[Any]) -> bool:
    """Whether the type of a value is a class or derives from it. The value's own `__class__` is ignored."""
    return any(base is wanted for base in _MRO(kind_of(value)))


def _method(mro: tuple[type[Any], ...], name: str, missing: Any = None) -> Any:
    """Return the attribute of the first class that has this name, else `missing`."""
    for base in mro:
        namespace = _NAMESPACE(base)
        if name in namespace:
            return namespace[name]
    return missing
