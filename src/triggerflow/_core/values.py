"""What the core can find out about a user's value without running user code.

`isinstance`, `hasattr`, `len`, `==` and truth all call into the class of a value: an attribute that raises, a
`__class__` that lies, a comparison that takes a minute. Called in the middle of a transition, each would leave half a
change behind. So the core looks at types only, through the descriptors of `type` itself, which no class and no
metaclass can replace. Where the type is not enough, the driver decides: it may call user code, outside of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from .errors import UsageError

#: `type`, as a function of a value.
kind_of = cast("Callable[[Any], type[Any]]", type)
_MRO: Final[Any] = type.__dict__["__mro__"].__get__
_NAMESPACE: Final[Any] = type.__dict__["__dict__"].__get__
_NAME: Final[Any] = type.__dict__["__name__"].__get__


def _ids(*kinds: type[Any]) -> frozenset[int]:
    # By id: to look a class up in a set would ask its metaclass for a hash.
    return frozenset(map(id, kinds))


#: Types, by id, whose comparison and truth run no code but the interpreter's, whatever they are compared with.
_BASIC: Final = _ids(object, type(None), bool, int, float, complex, str, bytes, bytearray, range)
#: Those among them that can be compared with each other and never raise: bytes and text do, where Python runs with -bb.
BUILTIN: Final = _BASIC - _ids(bytes, bytearray)
_SETS: Final = _ids(set, frozenset)
_LISTED: Final = _SETS | _ids(list, tuple)
_CONTAINER: Final = _LISTED | _ids(dict)
#: What is one item of a for_each although it can be iterated over.
_WHOLE: Final = (dict, str, bytes, bytearray, Mapping, MappingProxyType)
#: What only Pydantic models have: they iterate over their fields.
_FIELDS: Final = ("model_fields", "__pydantic_fields__")
#: How deep a value is looked into before it counts as not plain.
_DEPTH: Final = 100


def type_name(value: Any) -> str:
    """The name of a value's type, for messages."""
    return _NAME(kind_of(value))


def text(value: Any, what: str) -> str:
    """A name as a plain string: one of a subclass (an enum's, say) is read as the text it is. Raises `UsageError`."""
    if type(value) is str:
        return value
    if derives(value, str):
        return str.__str__(value)
    raise UsageError(f"{what} is a string, got a {type_name(value)}")


def key(value: Any, what: str) -> Any:
    """A key that can be looked up without running code of the user's. Raises `UsageError`."""
    return value if is_plain(value) else text(value, what)


def seconds(value: Any, what: str) -> float:
    """A number of seconds as a plain float. Raises `UsageError`."""
    added = float.__add__(0.0, value)  # reads subclasses of int and float as the numbers they are
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

    By its type alone. What a type does not show (a class registered as a mapping, a proxy) the driver finds out.
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
    """Whether a literal equals a value; None if only user code can decide. None equals only None."""
    if literal is None:
        return value is None
    if not (id(kind_of(value)) in _BASIC and id(kind_of(literal)) in _BASIC) and not _comparable(literal, value):
        return None
    try:
        return bool(literal == value)
    except Exception:  # bytes and text under -bb, a nesting too deep: no answer is no match
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
    if kind == id(dict):
        return all(is_plain(key, depth + 1) and is_plain(item, depth + 1) for key, item in value.items())
    return False


def _comparable(literal: Any, value: Any) -> bool:
    """Whether `==` of these two values runs no user code."""
    one, other = id(kind_of(literal)), id(kind_of(value))
    if one in _CONTAINER and other in _CONTAINER:
        # Of containers that differ in kind or length nothing inside is compared.
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
    """Whether the type of a value is a class or derives from it. What the value says of its class does not count."""
    return any(base is wanted for base in _MRO(kind_of(value)))


def _method(mro: tuple[type[Any], ...], name: str, missing: Any = None) -> Any:
    """Return the attribute of the first class that has this name, else `missing`."""
    for base in mro:
        namespace = _NAMESPACE(base)
        if name in namespace:
            return namespace[name]
    return missing
