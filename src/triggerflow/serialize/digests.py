"""Digests of what a chunk does, by which a repeated attempt recognizes what was done before (decision 0022).

A digest is made of the recorded form of a value, so that no `__eq__` of a user's class is called, and a digest in a
journal means the same in every process. Equal values whose recorded forms differ (`1`, `1.0` and `True`) are different.
"""

from __future__ import annotations

from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, cast

import msgspec

from .._core.digests import LIMIT, UNLIKE
from .._core.errors import PayloadError
from .payload import Types

_encode = msgspec.json.Encoder(order="sorted").encode
_UNORDERED = ("set", "frozenset", "dict")


def digest_of(*parts: Any) -> int:
    """The digest of packed data: from 2 up to `LIMIT`. The order of keys of dicts and of members of sets is ignored."""
    data = _encode(parts)
    if b'"$":"' in data:
        data = _encode(_in_order(parts))
    return _short(data)


def digest_of_object(value: Any, types: Types, *parts: Any) -> int:
    """The digest of a value and packed data.

    Of a class that is not registered, a dataclass, msgspec struct or Pydantic model counts by its fields. Any other
    value that cannot be recorded gets the digest `UNLIKE`, which never counts as equal.
    """
    try:
        return digest_of(types.pack(value, "a value"), *parts)
    except (PayloadError, ValueError):  # a ValueError: an integer with thousands of digits
        pass
    try:
        return digest_of(_by_fields(value, types), *parts)
    except Exception:  # the classes of the value decide what they raise
        return UNLIKE


def _by_fields(value: Any, types: Types) -> Any:
    kind = cast("type[Any]", type(value))
    if kind in (list, tuple):
        return [kind.__name__, [_by_fields(part, types) for part in value]]
    if kind is dict:
        pairs = cast("dict[Any, Any]", value).items()
        return ["dict", [[_by_fields(key, types), _by_fields(part, types)] for key, part in pairs]]
    fields = getattr(kind, "__struct_fields__", None) or getattr(kind, "__dataclass_fields__", None)
    fields = fields or getattr(kind, "model_fields", None)
    if not fields:
        return types.pack(value, "a value")
    return [kind.__module__, kind.__qualname__, [_by_fields(getattr(value, name), types) for name in fields]]


def digest_of_operation(function: Callable[..., Any], types: Types) -> int:
    """The digest of a function that changes a value: its name, constants and defaults, the values it encloses, and the
    object of a bound method.

    Enclosed values that cannot be recorded, such as `data`, count by their class. A callable object that cannot be
    recorded is unlike every one."""
    try:
        return digest_of("operation", _operation(function, types, set()))
    except Exception:  # the classes of what it encloses decide what they raise
        return UNLIKE


def _operation(function: Any, types: Types, seen: set[int]) -> Any:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if id(function) in seen:  # a function that calls itself encloses itself
        return ["again", name]
    seen.add(id(function))
    inner = getattr(function, "func", None)
    if inner is not None and hasattr(function, "keywords"):  # functools.partial
        given = [_enclosed(it, types, seen) for it in (*function.args, *function.keywords.values())]
        return [_operation(inner, types, seen), list(function.keywords), given]
    module, code = getattr(function, "__module__", None), getattr(function, "__code__", None)
    if code is None:
        wrapped = getattr(function, "__wrapped__", None)  # functools.cache
        return _operation(wrapped, types, seen) if wrapped is not None else _callable(function, module, name, types)
    constants = [_constant(it) for it in code.co_consts]
    cells = [_enclosed(cell, types, seen) for cell in _contents(function)]
    defaults = [_enclosed(it, types, seen) for it in getattr(function, "__defaults__", None) or ()]
    found = [module, name, list(code.co_names), constants, cells, defaults]
    named: dict[str, Any] = getattr(function, "__kwdefaults__", None) or {}
    if named:
        found.append({key: _enclosed(it, types, seen) for key, it in named.items()})
    owner = getattr(function, "__self__", None)  # of a bound method
    if owner is not None:
        try:
            found.append(_object(owner, types))
        except Exception:
            found.append(type(owner).__qualname__)
    return found


_BY_NAME = (type, MethodDescriptorType, WrapperDescriptorType, ClassMethodDescriptorType)


def _callable(function: Any, module: Any, name: str, types: Types) -> Any:
    """A callable without Python code. Raises for an object that cannot be recorded."""
    if isinstance(function, _BY_NAME):
        return [module, name]
    if isinstance(function, BuiltinFunctionType | MethodWrapperType):
        owner = function.__self__  # a module, or the object of a bound method
        return [module, name] if owner is None or isinstance(owner, ModuleType) else [name, _object(owner, types)]
    return _object(function, types)


def _object(value: Any, types: Types) -> Any:
    """The recorded form of an object, else its fields or attributes. Raises if one of them cannot be recorded."""
    if isinstance(value, type):
        return [value.__module__, value.__qualname__]
    try:
        return _by_fields(value, types)
    except PayloadError:
        kind = cast("type[Any]", type(value))
        return [kind.__module__, kind.__qualname__, types.pack(vars(value), "an object")]


def _contents(function: Any) -> list[Any]:
    found: list[Any] = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # it is assigned later
            found.append(None)
    return found


def _enclosed(value: Any, types: Types, seen: set[int]) -> Any:
    if hasattr(value, "__code__"):
        return _operation(value, types, seen)
    try:
        return types.pack(value, "a value")
    except PayloadError:
        pass
    try:
        return _by_fields(value, types)
    except Exception:
        return type(value).__qualname__


def _constant(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and any("\ud800" <= it <= "\udfff" for it in value):
        return ascii(value)  # a lone surrogate cannot be encoded
    return value if isinstance(value, str | int | None) else type(value).__name__


def _in_order(data: Any) -> Any:
    # One frame a level, as in `payload.Types`: a comprehension takes another.
    if isinstance(data, dict):
        known = cast("dict[str, Any]", data)
        parts: dict[str, Any] = {}
        for key, part in known.items():
            parts[key] = _in_order(part)
        if known.get("$") in _UNORDERED and isinstance(parts.get("v"), list):
            parts["v"] = sorted(parts["v"], key=_encode)
        return parts
    if isinstance(data, list | tuple):
        items: list[Any] = []
        for part in cast("list[Any]", data):
            items.append(_in_order(part))  # noqa: PERF401
        return items
    return data


def _short(data: bytes) -> int:
    from hashlib import blake2b  # imported here: it costs milliseconds, and few executions need it

    return max(2, int.from_bytes(blake2b(data, digest_size=8).digest()) % LIMIT)


def digest_of_event(event: Any, packed: Any) -> int | None:
    """The digest of a record of an effect, with its value packed; None for a record that needs none."""
    match type(event).__name__:
        case "StreamPut" | "ResultSet":
            return digest_of(packed)
        case "Emitted":
            return digest_of(packed, event.delay, event.provisional, event.label, event.keeps_open)
        case "StateChanged":
            return digest_of(packed, event.op)
        case "FlowDataChanged":
            return digest_of(packed, event.op)
        case _:
            return None
