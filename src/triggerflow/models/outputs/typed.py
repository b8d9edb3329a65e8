"""Types as descriptions: the JSON schema of a type, and the conversion of JSON to it.

msgspec reads plain types and its own, Pydantic reads types that contain something of Pydantic's. Pydantic is no
dependency: its types are recognised by what they carry, and only a program that has imported Pydantic has any.
"""

import dataclasses
import json
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, cast, get_args, get_origin

import msgspec

from ..errors import OutputError
from .schemas import Definitions, Schema, add_definitions

Convert = Callable[[Any, str], Any]
"""Converts JSON; the second argument names its place in errors."""

_REF = "#/$defs/{name}"
_MOST_ERRORS = 3
"""How many mistakes the message of a failed check names."""


def _is_type(kind: Any) -> bool:
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
    if not _is_type(kind):
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
