"""Types as descriptions: the JSON schema of a type, the conversion of JSON to it, and the types of the places inside.

msgspec reads plain types and its own, Pydantic reads types that contain something of Pydantic's. Pydantic is no
dependency: its types are recognised by what they carry, and only a program that has imported Pydantic has any.
"""

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Optional, Union, cast, get_args, get_origin

import msgspec

from ..errors import OutputError
from .schemas import Definitions, Schema, add_definitions

Convert = Callable[[Any, str], Any]
"""Converts JSON; the second argument names its place in errors."""

_REF = "#/$defs/{name}"
_MOST_ERRORS = 3
"""How many mistakes the message of a failed check names."""


def is_type(kind: Any) -> bool:
    """Whether this may be a type: a class, a generic of one, a union, a `NewType`, an alias."""
    return (
        isinstance(kind, type)
        or any(hasattr(kind, name) for name in ("__origin__", "__args__", "__supertype__", "__value__"))
        or kind is Any
    )


def read_type(kind: Any, where: str, definitions: Definitions) -> tuple[Schema, Convert]:
    """The schema of a type, and the function that converts JSON to it. What it refers to is added to `definitions`.

    Raises `OutputError` for what has no JSON form. The function raises `ValueError` for JSON that does not fit.
    """
    if not is_type(kind):
        raise OutputError(f'{where}: {kind!r} is not a type; write a type, (type, "what it is"), a dict or a list')
    found: set[str] = set()
    _search(kind, found, {})
    readers = [_with_msgspec, _with_pydantic]
    if not found & {"a msgspec type", "msgspec.Meta"} and found:
        readers.reverse()
    if "pydantic" not in sys.modules:
        readers.remove(_with_pydantic)
    if "a constraint of Pydantic's" in found:  # msgspec would ignore it
        readers = [reader for reader in readers if reader is _with_pydantic]
    if found & {"a msgspec type", "msgspec.Meta"}:  # Pydantic would refuse the one and ignore the other
        readers = [reader for reader in readers if reader is _with_msgspec]
    if not readers:
        raise OutputError(
            f"{where}: {kind!r} mixes {' and '.join(sorted(found))}, and neither library reads both; use types of one"
            " library, or write the outer object as a dict of its keys"
        )
    reasons: list[str] = []
    for reader in readers:
        try:
            schema, more, convert = reader(kind, not found)
        except Exception as error:  # a library's own error, for instance for a name that does not exist
            reasons.append(" ".join(str(error).split()))
        else:
            return add_definitions(definitions, schema, more), convert
    raise OutputError(f"{where}: {kind!r} has no JSON form: {'; '.join(reasons)}")


def _with_msgspec(kind: Any, plain: bool) -> tuple[Schema, Mapping[str, Schema], Convert]:
    more: Definitions = {}

    def describe(inner: Any) -> Schema:
        if inner is object:
            return {}
        if not _is_pydantic(inner):
            raise TypeError(f"{inner!r} is not a type that JSON can express")
        schema, parts, _ = _with_pydantic(inner, plain)
        return add_definitions(more, schema, parts)

    def make(inner: Any, data: Any) -> Any:
        return data if inner is object else _with_pydantic(inner, plain)[2](data, "")

    (schema,), own = msgspec.json.schema_components([kind], schema_hook=describe, ref_template=_REF)
    schema = add_definitions(more, schema, own)

    def convert(data: Any, where: str) -> Any:
        try:
            return msgspec.convert(data, kind, str_keys=True, dec_hook=make)
        except msgspec.ValidationError as error:
            said, _, place = str(error).rpartition(" - at `$")
            if not said:
                raise ValueError(f"{where}: {error}") from error
            further = "" if said[0] in ".[" else ": "  # a Pydantic type inside has begun with the rest of the place
            raise ValueError(f"{where}{place.removesuffix('`')}{further}{said}") from error

    return schema, more, convert


def _with_pydantic(kind: Any, plain: bool) -> tuple[Schema, Mapping[str, Schema], Convert]:
    pydantic: Any = sys.modules["pydantic"]
    adapter = pydantic.TypeAdapter(kind)
    schema: Schema = adapter.json_schema(ref_template="#/$defs/{model}")
    strict = True if plain else None  # for plain types as strict as msgspec, which could not read this one

    def convert(data: Any, where: str) -> Any:
        try:
            # From JSON, because a strict model takes a date, a set or an enum from JSON, but not from Python's str.
            return adapter.validate_json(json.dumps(data), strict=strict)
        except pydantic.ValidationError as error:
            found: list[Any] = error.errors(include_url=False, include_context=False, include_input=False)
            said = [f"{where}{place}: {one['msg']}" for place, one in _likely(found, data)]
            more = f"; and {len(said) - _MOST_ERRORS} more" if len(said) > _MOST_ERRORS else ""
            del said[_MOST_ERRORS:]
            raise ValueError("; ".join(said) + more) from error

    return schema, schema.pop("$defs", {}), convert


def _likely(errors: list[Any], data: Any) -> list[tuple[str, Any]]:
    """The mistakes with their places, without those in members of a union that the answer does not mean: whose tag is
    another one, while that of another member is there."""
    placed = [(_place(error, data), error) for error in errors]
    members: dict[str, dict[str, bool]] = {}
    for place, error in placed:
        union, bracket, rest = place.partition(" (")
        if bracket:
            member = rest.partition(")")[0]
            other = error["type"] == "literal_error"
            members.setdefault(union, {})[member] = members.get(union, {}).get(member, False) or other
    meant: list[tuple[str, Any]] = []
    for place, error in placed:
        union, bracket, rest = place.partition(" (")
        other = bool(bracket) and members[union][rest.partition(")")[0]] and not all(members[union].values())
        if not other:
            meant.append((place, error))
    return meant


def _place(error: Any, data: Any) -> str:
    """The place of a mistake as a path. Pydantic also names the member of a union, which is put in brackets."""
    path, steps = "", list(error["loc"])
    for index, step in enumerate(steps):
        missing = error["type"] == "missing" and index == len(steps) - 1
        if isinstance(step, int) and isinstance(data, list):
            path += f"[{step}]"
            items = cast("list[Any]", data)
            data = items[step] if step < len(items) else None
        elif isinstance(data, dict) and (step in data or missing):
            path += f".{step}"
            data = cast("dict[Any, Any]", data).get(step)
        else:
            path += f" ({step})"
    return path


# -- what is inside of a type ----------------------------------------------------------------------------------------


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


_MARKS = {
    f"{module}.{name}" for module in ("typing", "typing_extensions") for name in ("Required", "NotRequired", "ReadOnly")
}


# -- whose types are inside of a type --------------------------------------------------------------------------------


def _search(kind: Any, found: set[str], seen: dict[int, Any]) -> None:
    """Add to `found` what is in the type that only one of the two libraries can read."""
    if id(kind) in seen:
        return
    seen[id(kind)] = kind  # keeps it alive, so that no other object gets its id
    for note in getattr(kind, "__metadata__", ()):
        if isinstance(note, msgspec.Meta):
            found.add("msgspec.Meta")
        elif type(note).__module__.partition(".")[0] in ("pydantic", "annotated_types") or _is_pydantic(note):
            found.add("a constraint of Pydantic's")
    origin = get_origin(kind)
    for inner in (*get_args(kind), *(() if origin is None or origin is Annotated else (origin,))):
        _search(inner, found, seen)
    for name in ("__supertype__", "__value__"):
        if hasattr(kind, name):
            _search(getattr(kind, name), found, seen)
    if not isinstance(kind, type):
        return
    owner: Any = kind
    if _is_pydantic(owner):
        found.add("a constraint of Pydantic's" if dataclasses.is_dataclass(owner) else "a Pydantic type")
    elif dataclasses.is_dataclass(owner) or typing.is_typeddict(owner) or hasattr(owner, "_fields"):
        _search_members(owner, found, seen)
    elif issubclass(owner, msgspec.Struct):
        found.add("a msgspec type")
        _search_members(owner, found, seen)


def _search_members(kind: Any, found: set[str], seen: dict[int, Any]) -> None:
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except Exception:  # a name that cannot be found here: the library that reads the type may find it, or say so
        hints = getattr(kind, "__annotations__", {})
    for hint in hints.values():
        _search(hint, found, seen)


def _is_pydantic(kind: Any) -> bool:
    return hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__pydantic_validator__")
