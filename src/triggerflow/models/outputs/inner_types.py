"""The types of the places inside of a type: of a key of a class, of an item of a list.

Pydantic's types are recognised by what they carry, as in `typed`.
"""

import dataclasses
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Optional, Union, cast, get_args, get_origin

import msgspec

_MARKS = {
    f"{module}.{name}" for module in ("typing", "typing_extensions") for name in ("Required", "NotRequired", "ReadOnly")
}


def inner_types(kind: Any, step: str | int | None) -> list[Any]:
    """The types of what stands in a value of this type at a key, at an index, or (None) at any index.

    An optional key may be None as well. Empty if nothing can stand there; `[Any]` if the type does not say.
    """
    found = _inside(_plain(kind), step)
    # A name in an alias that refers to itself; another name is not known here, and the whole answer is checked anyway.
    names = (str, typing.ForwardRef)
    return [
        (kind if _name(one) == getattr(kind, "__name__", "") else Any) if isinstance(one, names) else one
        for one in found
    ]


def _name(reference: Any) -> str:
    return reference if isinstance(reference, str) else reference.__forward_arg__


def _inside(kind: Any, step: str | int | None) -> list[Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return [found for member in arguments for found in _inside(_plain(member), step)]
    owner: Any = origin or kind
    if kind is Any or owner is object or isinstance(kind, str):  # a string is an alias that is not evaluated
        return [Any]
    if not isinstance(owner, type):
        return []
    if isinstance(step, str):
        members = _members(kind)
        if members is not None:
            return [members[step]] if step in members else _further(owner)
        if issubclass(owner, Mapping):
            return [arguments[1] if len(arguments) == 2 else Any]
        return []
    if issubclass(owner, tuple):
        return _tuple_items(kind, owner, arguments, step)
    fields: Any = getattr(cast("Any", owner), "model_fields", None)
    if getattr(cast("Any", owner), "__pydantic_root_model__", False):
        return inner_types(fields["root"].annotation, step)
    if issubclass(owner, msgspec.Struct) and owner.__struct_config__.array_like:
        return [member.type for member in msgspec.structs.fields(kind)]
    if _members(kind) is not None or issubclass(owner, str | bytes | bytearray | memoryview | Mapping):
        return []
    return [arguments[0] if len(arguments) == 1 else Any] if issubclass(owner, Iterable) else []


def _tuple_items(kind: Any, owner: Any, arguments: tuple[Any, ...], step: str | int | None) -> list[Any]:
    if hasattr(owner, "_fields"):
        items = list(_hints(kind).values())
    elif len(arguments) == 2 and arguments[1] is Ellipsis:
        return [arguments[0]]
    else:
        items = list(arguments) if arguments or owner is not tuple else [Any]
    if isinstance(step, int):
        return items[step : step + 1]
    return items


def _members(kind: Any) -> dict[str, Any] | None:
    """The keys of an object of this type with their types; None if the type has no keys of its own."""
    owner = get_origin(kind) or kind
    if hasattr(owner, "model_fields"):
        fields = cast("dict[str, Any]", kind.model_fields)
        if getattr(owner, "__pydantic_root_model__", False):
            root = _plain(fields["root"].annotation)
            return _members(root) if isinstance(get_origin(root) or root, type) else None
        return {_alias(field) or name: _field_type(field) for name, field in fields.items()}
    if issubclass(owner, msgspec.Struct):
        if owner.__struct_config__.array_like:
            return None
        found = {field.encode_name: _optional(field.type, not field.required) for field in msgspec.structs.fields(kind)}
        tag = owner.__struct_config__.tag_field
        return found if tag is None else {tag: str, **found}
    if hasattr(owner, "__pydantic_fields__"):
        own = cast("dict[str, Any]", owner.__pydantic_fields__)
        return {_alias(field) or name: _field_type(field) for name, field in own.items()}
    if dataclasses.is_dataclass(owner):
        hints = _hints(kind)
        free = {field.name for field in dataclasses.fields(owner) if _has_default(field)}
        return {field.name: _optional(hints[field.name], field.name in free) for field in dataclasses.fields(owner)}
    if typing.is_typeddict(owner):
        required = owner.__required_keys__
        return {name: _optional(hint, name not in required) for name, hint in _hints(kind).items()}
    if hasattr(owner, "__attrs_attrs__"):
        return _hints(kind)
    return None


def _further(owner: Any) -> list[Any]:
    """The type of keys that an object has beside the described ones."""
    config: Any = getattr(owner, "model_config", None) or getattr(owner, "__pydantic_config__", None) or {}
    return [Any] if config.get("extra") == "allow" else []


def _alias(field: Any) -> str | None:
    alias = field.validation_alias or field.alias
    first = alias.choices[0] if hasattr(alias, "choices") else alias  # of several, the schema names the first
    return first if isinstance(first, str) else None


def _field_type(field: Any) -> Any:
    kind = field.annotation
    if field.metadata:
        kind = Annotated[(kind, *field.metadata)]
    if field.discriminator is not None:
        pydantic: Any = sys.modules["pydantic"]
        kind = Annotated[kind, pydantic.Field(discriminator=field.discriminator)]
    return _optional(kind, not field.is_required())


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _optional(kind: Any, optional: bool) -> Any:
    return Optional[kind] if optional else kind  # noqa: UP045 - `|` does not take every form of a type


def _hints(kind: Any) -> dict[str, Any]:
    """The types of a class's members, with the arguments of a generic class put in."""
    owner = get_origin(kind) or kind
    hints = typing.get_type_hints(owner, include_extras=True)
    given = dict(zip(getattr(owner, "__parameters__", ()), get_args(kind), strict=False))
    return {name: _put_in(hint, given) for name, hint in hints.items()}


def _put_in(hint: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, Any)
    open_ones = getattr(hint, "__parameters__", ())
    if isinstance(hint, type) or not open_ones:
        return hint
    return hint[tuple(given.get(one, Any) for one in open_ones)]


def _plain(kind: Any) -> Any:
    """The type without the names and notes around it: `Annotated`, `NewType`, aliases, `Required`."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated or str(origin) in _MARKS:
            kind = get_args(kind)[0]
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif origin is not None and hasattr(origin, "__value__"):  # a generic alias
            kind = _put_in(origin.__value__, dict(zip(origin.__type_params__, get_args(kind), strict=False)))
        elif hasattr(kind, "__value__") and hasattr(kind, "__type_params__"):
            kind = kind.__value__
        else:
            return kind
