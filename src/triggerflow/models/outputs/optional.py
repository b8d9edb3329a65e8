"""Optional keys that are null.

A strict server makes the model write every key. So in its schema an optional key may be null, and a null that the
description does not allow means: this key is left out.
"""

from typing import Any, cast

from .schemas import Definitions, Schema, item_of, kinds, resolve, values_of, variants, walk


def may_be_null(schema: Schema, definitions: Definitions) -> bool:
    """Whether null is a value of this schema."""
    return any(not kinds(part) or "null" in kinds(part) for part in variants(schema, definitions))


def may_lack_keys(schema: Schema, definitions: Definitions) -> bool:
    """Whether somewhere in a value of this schema a key is optional and its value cannot be null."""
    return any(
        key not in part.get("required", ()) and not may_be_null(inner, definitions)
        for root in (schema, *definitions.values())
        for part in walk(root)
        for key, inner in part.get("properties", {}).items()
    )


def has_null(data: Any) -> bool:
    """Whether null stands anywhere in the data."""
    if isinstance(data, dict | list):
        parts: Any = cast("Any", data.values() if isinstance(data, dict) else data)
        return any(part is None or (isinstance(part, dict | list) and has_null(part)) for part in parts)
    return data is None


def drop_nulls(data: Any, schema: Schema, definitions: Definitions) -> Any:
    """The data without the optional keys that are null and cannot be."""
    if isinstance(data, list):
        lists = [part for part in variants(schema, definitions) if "array" in kinds(part)]
        return [
            drop_nulls(item, _any_of(item_of(part, index) for part in lists), definitions)
            for index, item in enumerate(cast("list[Any]", data))
        ]
    if not isinstance(data, dict):
        return data
    found = cast("dict[str, Any]", data)
    objects = [part for part in variants(schema, definitions) if "object" in kinds(part)]
    objects = [part for part in objects if _may_be(found, part, definitions)] or objects
    kept: dict[str, Any] = {}
    for key, value in found.items():
        parts = [inner for part in objects if (inner := _member(part, key)) is not None]
        optional = [
            part for part in objects if key in part.get("properties", {}) and key not in part.get("required", ())
        ]
        left_out = value is None and parts and len(optional) == len(parts)
        if left_out and not any(may_be_null(inner, definitions) for inner in parts):
            continue
        kept[key] = drop_nulls(value, _any_of(parts), definitions)
    return kept


def _may_be(data: dict[str, Any], part: Schema, definitions: Definitions) -> bool:
    """Whether the data has the required keys and the constants of this object, such as the tag of a member of a
    union."""
    for key, inner in part.get("properties", {}).items():
        inner = resolve(inner, definitions)
        values = values_of(inner)
        if values and key in data and data[key] is not None and data[key] not in values:
            return False
    return all(key in data for key in part.get("required", ()))


def _member(part: Schema, key: str) -> Schema | None:
    inner = part.get("properties", {}).get(key, part.get("additionalProperties"))
    return cast("Schema", inner) if isinstance(inner, dict) else None


def _any_of(parts: Any) -> Schema:
    found = list(parts)
    return found[0] if len(found) == 1 else {"anyOf": found} if found else {}
