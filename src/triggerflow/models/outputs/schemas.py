"""JSON schemas as plain dicts: references, the variants of a union, the schemas inside of one, and changed copies."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

Schema = dict[str, Any]
Definitions = dict[str, Schema]

NOTES = ("description", "default", "title", "examples", "deprecated")
"""Keywords that say something about a value and constrain nothing."""

_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", dict: "object"}


def name_of(schema: Schema) -> str:
    """The name of the definition that the schema refers to; "" if it refers to none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def resolve(schema: Schema, definitions: Definitions) -> Schema:
    """The schema with the definition that it refers to merged in. What is written beside the reference counts more."""
    seen: set[str] = set()
    while (name := name_of(schema)) and name not in seen:
        seen.add(name)
        schema = {**definitions.get(name, {}), **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def choices(schema: Schema) -> list[Schema]:
    """The members of a union, as they are written; none if the schema is not a union."""
    return [part for word in ("anyOf", "oneOf") for part in schema.get(word, ())]


def variants(schema: Schema, definitions: Definitions) -> Iterator[Schema]:
    """What a value of this schema may be, without references and unions: the schema itself, or all members of its
    unions."""
    stack, seen = [schema], set[str]()
    while stack:
        part = stack.pop(0)
        name = name_of(part)
        if name in seen:
            continue
        if name:
            seen.add(name)
        part = resolve(part, definitions)
        inner = choices(part)
        if inner:
            stack[:0] = inner
        else:
            yield part


def items_of(schema: Schema) -> list[Schema]:
    """The schemas of the items of an array: of those at fixed places, and of all others."""
    further = schema.get("items")
    return [*schema.get("prefixItems", ()), *([cast("Schema", further)] if isinstance(further, dict) else ())]


def item_of(schema: Schema, index: int) -> Schema:
    """The schema of the item at this index of an array; empty, which any value fits, if the array has none for it."""
    fixed = schema.get("prefixItems", ())
    inner = fixed[index] if index < len(fixed) else schema.get("items")
    return cast("Schema", inner) if isinstance(inner, dict) else {}


def values_of(schema: Schema) -> list[Any]:
    """The values that this schema (without reference or union) lists; empty if it lists none."""
    return schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []


def kinds(schema: Schema) -> set[str]:
    """The JSON types that a value of this schema (without reference or union) may have; empty if any."""
    kind: Any = schema.get("type")
    if kind is not None:
        return set(cast("list[str]", kind)) if isinstance(kind, list) else {kind}
    return {_KINDS.get(cast("type[Any]", type(value)), "array") for value in values_of(schema)}


_ONE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "dependentSchemas")


def with_parts(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A copy of the schema in which `change` was applied to each schema directly inside of it."""
    copy = dict(schema)
    for word in _ONE:
        if isinstance(copy.get(word), dict):
            copy[word] = change(copy[word])
    for word in _SEVERAL:
        if word in copy:
            copy[word] = [change(part) for part in copy[word]]
    for word in _NAMED:
        if word in copy:
            copy[word] = {key: change(part) for key, part in copy[word].items()}
    return copy


def parts_of(schema: Schema) -> Iterator[Schema]:
    """The schemas directly inside of a schema."""
    for word in _ONE:
        if isinstance(schema.get(word), dict):
            yield schema[word]
    for word in _SEVERAL:
        yield from schema.get(word, ())
    for word in _NAMED:
        yield from schema.get(word, {}).values()


def walk(schema: Schema) -> Iterator[Schema]:
    """The schema and all schemas inside of it, also its own definitions. References are not followed."""
    yield schema
    for part in parts_of(schema):
        yield from walk(part)


def closed(schema: Schema) -> Schema:
    """A copy of the schema in which objects take only the described keys, unless it says that they take others."""
    copy = with_parts(schema, closed)
    copy.pop("discriminator", None)  # it is OpenAPI's, and says nothing that the members of the union do not say
    if "properties" in copy and copy.get("type") == "object":
        copy.setdefault("additionalProperties", False)
    return copy


def add_definitions(known: Definitions, schema: Schema, more: Mapping[str, Schema]) -> Schema:
    """Add the definitions that `schema` uses to the known ones; return `schema`, with references to their new names.

    Two types of one name in different modules are two definitions.
    """
    if any(known.get(name, part) != part for name, part in more.items()):
        names = {name: _free(name, known, more) for name in more if name in known}

        def rename(part: Schema) -> Schema:
            copy = with_parts(part, rename)
            if name_of(copy) in names:
                copy["$ref"] = f"#/$defs/{names[name_of(copy)]}"
            return copy

        more = {names.get(name, name): rename(part) for name, part in more.items()}
        schema = rename(schema)
    known.update(more)
    return schema


def _free(name: str, *taken: Mapping[str, Any]) -> str:
    number = 2
    while any(f"{name}_{number}" in names for names in taken):
        number += 1
    return f"{name}_{number}"
