"""Cache keys of values: two values have equal keys only if they have the same types and are equal in every part.

Python's own equality is too weak for that: `1 == True == 1.0`, equal datetimes may be in different zones, a class may
leave fields out of its comparison, and a `repr` may be shortened. So a key is made of the parts of a value, with their
types: numbers, texts, containers, dates, enums, paths, and objects of classes written in Python, such as dataclasses,
Pydantic models and msgspec structs, by all their attributes. A value that contains anything else (a lock, a client, a
function, an object of a compiled class) has no key.
"""

import datetime
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from decimal import Decimal
from enum import Enum
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
)
from typing import Any, Generic, cast

import msgspec

#: Values that are nested deeper than this get no cache key. Neither do values that contain themselves.
MAX_DEPTH = 60

Make = Callable[[Any], Hashable]


class NoKey(TypeError):
    """The value has no key. The message names the class of the part that has none."""


def value_key(value: Any) -> Hashable:
    """The key of a value. Raises `NoKey`."""
    return _Maker(own=False).key(value, 0)


def given_key(key: Any) -> Hashable:
    """The key of an object that a user's key function returned.

    Builtin values are treated as by `value_key`; other objects count by their own hash and equality. Raises `NoKey` for
    an object that cannot be hashed.
    """
    return _Maker(own=True).key(key, 0)


class _Maker:
    """Makes one key. With `own`, a hashable object of a user's class is used as its own key."""

    def __init__(self, *, own: bool) -> None:
        self.own = own

    def key(self, value: Any, depth: int) -> Hashable:
        kind = cast("type[Any]", type(value))
        if kind in _ATOMS:
            return kind, value
        if depth == MAX_DEPTH:
            raise NoKey(f"it is more than {MAX_DEPTH} levels deep, or contains itself")
        if kind in _PARTS:
            return kind, self.parts(kind, value, depth)
        if isinstance(value, Enum):
            name = getattr(value, "_name_", None)
            return kind, name if isinstance(name, str) else self.key(value._value_, depth + 1)
        if isinstance(value, type):
            return type, _Same(cast("Any", value))
        if self.own:
            try:
                hash(value)
            except Exception:
                raise NoKey(f"a {kind.__qualname__} cannot be hashed") from None
            return kind, value
        return kind, self.of_object(kind, value, depth)

    def parts(self, kind: type[Any], value: Any, depth: int) -> Hashable:
        """The parts of a builtin value, or of the builtin part of an object whose class extends a builtin."""
        plain = _SCALARS.get(kind)
        if plain is not None:
            return plain(value)
        of: Any = kind  # the methods of the builtin class, not those of a subclass
        if kind is dict or kind is OrderedDict:
            pairs = [(self.key(name, depth + 1), self.key(it, depth + 1)) for name, it in of.items(value)]
            return frozenset(pairs) if kind is dict else tuple(pairs)
        if kind is set or kind is frozenset:
            return frozenset(self.key(it, depth + 1) for it in of.__iter__(value))
        if kind is slice:
            return self.key((value.start, value.stop, value.step), depth + 1)
        if kind is datetime.datetime or kind is datetime.time:
            day = (value.year, value.month, value.day) if kind is datetime.datetime else None
            moment = (value.hour, value.minute, value.second, value.microsecond, value.fold)
            return day, moment, self.zone(value.tzinfo, depth)
        items = tuple(self.key(it, depth + 1) for it in of.__iter__(value))
        return (items, value.maxlen) if kind is deque else items

    def zone(self, zone: Any, depth: int) -> Hashable:
        if zone is None:
            return None
        if type(zone) is datetime.timezone:
            return datetime.timezone, datetime.timezone.utcoffset(zone, None), datetime.timezone.tzname(zone, None)
        zoneinfo = sys.modules.get("zoneinfo")
        if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
            return zoneinfo.ZoneInfo, zone.key
        return self.key(zone, depth + 1)

    def of_object(self, kind: type[Any], value: Any, depth: int) -> Hashable:
        """The attributes of an object, and its builtin part if its class extends a builtin class."""
        pathlib = sys.modules.get("pathlib")
        if (
            pathlib is not None
            and kind.__module__.partition(".")[0] == "pathlib"
            and isinstance(value, pathlib.PurePath)
        ):
            return str(value)
        base: type[Any] | None = None
        found: list[Hashable] = []
        if issubclass(kind, msgspec.Struct):
            fields = kind.__struct_fields__
            found.append(tuple(self.key(getattr(value, name, NoKey), depth + 1) for name in fields))
        for part in kind.__mro__:
            if part in _BASES:
                continue
            if part in _ATOMS or part in _PARTS:
                base = base or part
            elif not _written_in_python(part):
                raise NoKey(f"a {kind.__qualname__} may hold data that no attribute shows")
            else:
                found += self.slots(part, value, depth)
        if base is not None:
            inner: Any = base.__new__(base, value) if base in _ATOMS else None
            found.append((base, inner) if base in _ATOMS else (base, self.parts(base, value, depth)))
        try:
            attributes: Any = object.__getattribute__(value, "__dict__")
        except AttributeError:
            attributes = None
        if attributes:
            found.append(self.parts(dict, attributes, depth))
        if not found:
            raise NoKey(f"a {kind.__qualname__} has no attributes, so that it is equal to itself only")
        return tuple(found)

    def slots(self, part: type[Any], value: Any, depth: int) -> list[Hashable]:
        if issubclass(part, msgspec.Struct):  # its fields are read by name
            return []
        found: list[Hashable] = []
        for name, slot in part.__dict__.items():
            if isinstance(slot, MemberDescriptorType) and slot.__objclass__ is part:
                try:
                    held: Any = slot.__get__(value, part)
                except AttributeError:  # not set
                    continue
                found.append((part, name, self.key(held, depth + 1)))
        return found


class _Same:
    """Compares the held object by identity, whatever its own equality."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.it is self.it

    def __hash__(self) -> int:
        return id(self.it)


def _written_in_python(part: type[Any]) -> bool:
    """Whether a class comes from a `class` statement.

    A compiled class has methods written in C, and may hold data that no attribute shows.
    """
    if not part.__flags__ & _HEAP_TYPE:
        return False
    for name, it in part.__dict__.items():
        if isinstance(it, _COMPILED) and it.__objclass__ is part:
            return False
        if isinstance(it, GetSetDescriptorType) and it.__objclass__ is part and name not in ("__dict__", "__weakref__"):
            return False
        if isinstance(it, BuiltinFunctionType) and it.__self__ is part:
            return False
    return True


#: The flag of a class that was made while the program ran.
_HEAP_TYPE = 1 << 9
_COMPILED = (WrapperDescriptorType, MethodDescriptorType, ClassMethodDescriptorType)

#: Types whose equality is exact among values of the same type.
_ATOMS: frozenset[type[Any]] = frozenset({bool, int, str, bytes, type(None), type(Ellipsis), type(NotImplemented)})

_SCALARS: dict[type[Any], Make] = {
    float: float.hex,  # 0.0 and -0.0 are equal, and nan is not equal to itself
    complex: lambda it: (it.real.hex(), it.imag.hex()),
    bytearray: bytes,
    range: lambda it: (it.start, it.stop, it.step),
    Decimal: Decimal.as_tuple,
    datetime.date: datetime.date.toordinal,
    datetime.timedelta: lambda it: (it.days, it.seconds, it.microseconds),
    datetime.timezone: lambda it: (it.utcoffset(None), it.tzname(None)),
}
#: Base classes that are skipped: they hold no data, or it is read separately (the fields of a struct).
_BASES: frozenset[type[Any]] = frozenset({*msgspec.Struct.__mro__, *Generic.__mro__})
_PARTS: frozenset[type[Any]] = frozenset(
    {*_SCALARS, dict, OrderedDict, list, tuple, set, frozenset, deque, slice, datetime.datetime, datetime.time}
)
