"""Whether a value fits a type, where msgspec alone would let it pass.

`msgspec.convert` takes every instance of a dataclass or struct as it is, at every depth, and drops keys that a class or
a `TypedDict` does not have. Here the fields of instances are checked too, and an unknown key does not fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from .arguments import closest

_SIMPLE = (Any, str, int, float, bool, bytes, NoneType)
_HOLDERS = (list, dict, tuple, set, frozenset, Union, UnionType)


class _Field(NamedTuple):
    """A field of a class: the name of its attribute, its type, and its default, which always fits."""

    attribute: str
    hint: Any
    default: Any = dataclasses.MISSING


def fit(value: Any, expected: Any) -> Any:
    """Return a value, converted to a type by msgspec. Raises `msgspec.ValidationError` if it does not fit, and
    `TypeError` if msgspec does not know the type."""
    result = msgspec.convert(value, expected)
    _compare(value, result, expected, "$")
    return result


def fit_instance(value: Any) -> None:
    """Check the fields of an instance of a dataclass, struct or named tuple. Raises `msgspec.ValidationError`."""
    if not _fits_quickly(value):
        _compare(value, value, type(value), "$")


def _compare(value: Any, result: Any, hint: Any, place: str) -> None:
    """Compare a value with what msgspec has made of it."""
    fields = _fields_of(cast("type[Any]", type(result)))
    if fields is not None:
        if result is value:
            _check_instance(value, fields, place)
        elif isinstance(value, Mapping):
            given = cast("Mapping[Any, Any]", value)
            _refuse_unknown([key for key in given if key not in fields and key != _tag_of(result)], fields, place)
            for key, field in fields.items():
                if key in given:
                    _compare(given[key], getattr(result, field.attribute), field.hint, f"{place}.{key}")
    elif result is value or not isinstance(result, dict | list | tuple) or _takes_anything(hint):
        return  # it has no parts, or none that has a type
    elif isinstance(result, dict):
        made, given = cast("dict[Any, Any]", result), cast("Mapping[Any, Any]", value)
        if len(made) < len(given):  # a `TypedDict`
            _refuse_unknown([key for key in given if key not in made], getattr(hint, "__annotations__", ()), place)
        for key in given:
            if key in made:
                _compare(given[key], made[key], None, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, (one, other) in enumerate(zip(cast("Any", value), cast("Any", result), strict=False)):
            _compare(one, other, None, f"{place}[{number}]")


def _fits_quickly(value: Any) -> bool:
    """Whether all fields of an instance fit, found in one call; False if that cannot be said so."""
    probe = _probe_of(cast("type[Any]", type(value)))
    if probe is None:
        return False
    try:
        msgspec.convert(value, probe, from_attributes=True)
    except (msgspec.ValidationError, TypeError):
        return False
    return True


@lru_cache(maxsize=512)
def _probe_of(kind: type[Any]) -> type[Any] | None:
    """A struct with the fields of a class; None unless all of them have simple types."""
    fields = _fields_of(kind)
    if fields is None or not all(_is_simple(it.hint) for it in fields.values()):
        return None
    try:
        return msgspec.defstruct(kind.__name__, [(it.attribute, it.hint) for it in fields.values()])
    except Exception:  # a name that a struct cannot have
        return None


def _is_simple(hint: Any) -> bool:
    """Whether values of this type are or hold builtin values only, so that msgspec checks them to their last part."""
    if hint in _SIMPLE or get_origin(hint) is Literal:
        return True
    return get_origin(hint) in _HOLDERS and all(part is ... or _is_simple(part) for part in get_args(hint))


def _check_instance(value: Any, fields: Mapping[str, _Field], place: str) -> None:
    for field in fields.values():
        part = getattr(value, field.attribute, dataclasses.MISSING)
        if field.hint is Any or part is field.default or part is dataclasses.MISSING:
            continue
        where = f"{place}.{field.attribute}"
        try:
            made = msgspec.convert(part, field.hint)
        except msgspec.ValidationError as error:
            inner = str(error)
            text = inner.replace("`$", f"`{where}", 1) if "`$" in inner else f"{inner} - at `{where}`"
            raise msgspec.ValidationError(text) from None
        except TypeError:  # msgspec does not know the class
            continue
        _compare(part, made, field.hint, where)


def _refuse_unknown(unknown: list[Any], known: Any, place: str) -> None:
    if unknown:
        near = closest(str(unknown[0]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {list(known)}"
        raise msgspec.ValidationError(f"Object contains unknown field {unknown[0]!r}, {hint} - at `{place}`")


@lru_cache(maxsize=512)
def _fields_of(kind: type[Any]) -> Mapping[str, _Field] | None:
    """The fields of a dataclass, struct or named tuple by the keys that msgspec reads; None for another class."""
    if issubclass(kind, msgspec.Struct):
        return {it.encode_name: _Field(it.name, it.type, it.default) for it in msgspec.structs.fields(kind)}
    defaults: dict[str, Any]
    if dataclasses.is_dataclass(kind):
        defaults = {it.name: it.default for it in dataclasses.fields(kind)}
    elif issubclass(kind, tuple) and hasattr(cast("Any", kind), "_fields"):
        named = cast("Any", kind)
        defaults = {name: named._field_defaults.get(name, dataclasses.MISSING) for name in named._fields}
    else:
        return None
    try:
        hints = get_type_hints(cast("Any", kind), include_extras=True)
    except Exception:  # an annotation of a module that only type checkers import
        hints = {}
    return {name: _Field(name, hints.get(name, Any), default) for name, default in defaults.items()}


def _tag_of(result: Any) -> str | None:
    return result.__struct_config__.tag_field if isinstance(result, msgspec.Struct) else None


@lru_cache(maxsize=512)
def _has_any(hint: Any) -> bool:
    if hint is Any or hint is object or hint in (dict, list, tuple):
        return True
    return get_origin(hint) is not None and any(_has_any(part) for part in get_args(hint) if part is not ...)


def _takes_anything(hint: Any) -> bool:
    """Whether the parts of a value of this type may be anything."""
    try:
        return _has_any(hint)
    except TypeError:  # an annotation with a value that cannot be hashed
        return False
