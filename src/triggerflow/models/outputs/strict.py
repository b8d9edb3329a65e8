"""The schema for servers that take a strict dialect of JSON schema, as OpenAI's structured outputs do.

In this dialect the root is an object, every object lists its keys and requires them all, unions are `anyOf`, a
reference stands alone, and only some keywords are known. What a keyword less can say goes into the description, for
the model to read; the answer is checked against the whole description anyway. What the dialect cannot express at all,
such as an object with any keys, is a reason not to use it.
"""

import json
import re
from typing import Any, cast

from .optional import may_be_null
from .schemas import NOTES, Definitions, Schema, choices, kinds, name_of, parts_of, resolve, values_of, walk

MAX_PROPERTIES = 5_000
MAX_DEPTH = 10
"""How deep objects may nest."""
MAX_NAMES = 120_000
"""In characters: the names of properties and definitions, and the values of enums and constants, together."""
MAX_CHOICES = 1_000
"""How many enum values a schema may have."""
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}

_KEPT = {
    "string": {"pattern", "format"},
    "number": {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"},
    "array": {"minItems", "maxItems"},
}
_KEPT["integer"] = _KEPT["number"]
_STRUCTURE = {
    "type",
    "const",
    "enum",
    "items",
    "prefixItems",
    "properties",
    "required",
    "additionalProperties",
    "$defs",
}
_IN_WORDS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches the pattern {}",
    "format": "format: {}",
    "contentEncoding": "encoded in {}",
    "contentMediaType": "of the media type {}",
    "uniqueItems": "no item twice",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
}
_NO_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9bBpPkuAzZ]")
"""What is not in the regular expressions that a server turns into a grammar: looking around, references, boundaries."""


def to_strict(schema: Schema, definitions: Definitions, wrapper: str | None) -> tuple[Schema, list[str]]:
    """The schema in the strict dialect, and the reasons why there is none; then the schema cannot be used.

    `wrapper`: the key of an object around the answer, if the answer is a list or a union. The null of a key that is
    optional and cannot be null means that the key is left out.
    """
    strict = _Strict(definitions)
    if wrapper is None:
        result = strict.read(resolve(schema, definitions), "output")
    else:
        result = _object({wrapper: strict.read(schema, "output")})
    while strict.open:
        name = strict.open.pop()
        strict.definitions[name] = strict.read(definitions[name], name)
    if strict.definitions:
        result["$defs"] = strict.definitions
    if not strict.reasons:
        strict.reasons += [*_order_keys(result), *_beyond_limits(result)]
    return result, list(dict.fromkeys(strict.reasons))


class _Strict:
    def __init__(self, definitions: Definitions) -> None:
        self.definitions: Definitions = {}
        """The definitions that the result refers to."""
        self.open: list[str] = []
        """Those of them that have not been read yet."""
        self.reasons: list[str] = []
        self._known = definitions
        self._inside: list[str] = []
        """The definitions that are being put in the place of a reference."""

    def read(self, schema: Schema, where: str) -> Schema:
        name = name_of(schema)
        if name:
            beside = {key: value for key, value in schema.items() if key not in ("$ref", *NOTES[1:])}
            if not beside or name in self._inside:
                if name not in self.definitions:
                    self.definitions[name] = {}
                    self.open.append(name)
                return {"$ref": f"#/$defs/{name}"}
            self._inside.append(name)
            result = self.read({**self._known[name], **beside}, where)
            self._inside.pop()
            return result
        if len(schema.get("allOf", ())) == 1:
            rest = {key: value for key, value in schema.items() if key != "allOf"}
            return self.read({**schema["allOf"][0], **rest}, where)
        kind: Any = schema.get("type")
        if isinstance(kind, list):
            schema = {key: value for key, value in schema.items() if key not in ("type", "description")} | {
                "anyOf": [_only({**schema, "type": one}) for one in cast("list[str]", kind)],
            }
        members = choices(schema)
        if members:
            self._refuse_others(schema, {"anyOf", "oneOf"}, where)
            read = [self.read(member, where) for member in members]
            flat = [inner for member in read for inner in (member["anyOf"] if set(member) == {"anyOf"} else [member])]
            return _described(_union(flat), schema, [])
        if values_of(schema):
            return self._constants(schema, where)
        if kind == "object":
            return self._object(schema, where)
        if kind == "array":
            return self._array(schema, where)
        if kind in ("string", "number", "integer", "boolean", "null"):
            return self._limited({"type": kind}, schema, where)
        self.reasons.append(f"{where} may be any JSON value")
        return {}

    def _object(self, schema: Schema, where: str) -> Schema:
        properties: dict[str, Schema] = schema.get("properties", {})
        required = schema.get("required", ())
        more = schema.get("additionalProperties", not properties)
        if more is not False or "patternProperties" in schema:
            self.reasons.append(f"{where} may have keys that are not described")
        result: dict[str, Schema] = {}
        for key, part in properties.items():
            inner = self.read(part, f"{where}.{key}")
            if key not in required:
                inner = self._optional(part, inner)
            result[key] = inner
        return self._limited(_object(result), schema, where)

    def _optional(self, part: Schema, inner: Schema) -> Schema:
        """The schema of an optional key: it may be null as well, which means that the key is left out."""
        default = resolve(part, self._known).get("default")
        said = resolve(inner, self.definitions).get("description") if "$ref" not in inner else None
        if not may_be_null(part, self._known):
            if "description" in inner:
                inner = {key: value for key, value in inner.items() if key != "description"}
            members = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
            inner = _described(_union([*members, {"type": "null"}]), {"description": said}, [])
        notes = [] if default is None else [f"if null or left out, it is {json.dumps(default, ensure_ascii=False)}"]
        return _described(inner, inner, notes) if "$ref" not in inner else inner

    def _array(self, schema: Schema, where: str) -> Schema:
        fixed: list[Schema] = schema.get("prefixItems", [])
        items: Any = schema.get("items")
        notes: list[str] = []
        if fixed:
            read = [self.read(part, f"{where}[{index}]") for index, part in enumerate(fixed)]
            if isinstance(items, dict):
                read.append(self.read(cast("Schema", items), f"{where}[*]"))
            inner = _union(read)
            if len(read) > 1 and "anyOf" in inner:
                order = ", ".join(_in_short(part, self._known) for part in fixed)
                notes.append(f"items in this order: {order}")
            if not isinstance(items, dict):
                schema = {"minItems": len(fixed), "maxItems": len(fixed), **schema}
        elif isinstance(items, dict) and items:
            inner = self.read(cast("Schema", items), f"{where}[*]")
        else:
            self.reasons.append(f"{where} may have items of any type")
            inner = {}
        return self._limited({"type": "array", "items": inner}, schema, where, notes)

    def _constants(self, schema: Schema, where: str) -> Schema:
        groups: dict[str, list[Any]] = {}
        for value in values_of(schema):
            groups.setdefault(next(iter(kinds({"const": value}))), []).append(value)
        if groups.keys() & {"object", "array"}:
            self.reasons.append(f"{where} has constants that are objects or lists")
        parts = [
            {"type": kind}
            if kind == "null"
            else {"type": kind, "const": found[0]}
            if "const" in schema
            else {"type": kind, "enum": found}
            for kind, found in groups.items()
        ]
        return _described(_union(parts), schema, [])

    def _limited(self, result: Schema, schema: Schema, where: str, notes: list[str] | None = None) -> Schema:
        """Add the keywords that the dialect knows to the result, and put the others into words."""
        said = list(notes or ())
        kept = _KEPT.get(result["type"], set[str]())
        if schema.get("format") not in FORMATS:
            kept = kept - {"format"}
        if _NO_PATTERN.search(schema.get("pattern", "")):
            kept = kept - {"pattern"}
        result |= {word: value for word, value in schema.items() if word in kept}
        said += [text.format(schema[word]) for word, text in _IN_WORDS.items() if schema.get(word) and word not in kept]
        self._refuse_others(schema, _KEPT.get(result["type"], set[str]()) | _IN_WORDS.keys() | _STRUCTURE, where)
        return _described(result, schema, said)

    def _refuse_others(self, schema: Schema, known: set[str], where: str) -> None:
        for word in schema.keys() - known - {*NOTES, "patternProperties", "discriminator", "readOnly", "writeOnly"}:
            if not word.startswith(("x-", "$")):
                self.reasons.append(f"{where} uses the keyword {word!r}")


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _union(parts: list[Schema]) -> Schema:
    unlike = [part for index, part in enumerate(parts) if part not in parts[:index]]
    return unlike[0] if len(unlike) == 1 else {"anyOf": unlike}


def _only(schema: Schema) -> Schema:
    """One type of a list of types, with the keywords that are about it."""
    words = {"string": {"minLength", "maxLength", "contentEncoding"}, "array": {"prefixItems", "items", "uniqueItems"}}
    words["object"] = {"properties", "required", "additionalProperties", "patternProperties"}
    kept = _KEPT.get(schema["type"], set[str]()) | words.get(schema["type"], set[str]()) | {"type"}
    return {word: value for word, value in schema.items() if word in kept}


def _described(result: Schema, schema: Schema, notes: list[str]) -> Schema:
    said = schema.get("description") or ""
    more = "; ".join(notes)
    text = f"{said} ({more})" if said and more else said or more
    if not text or result.get("description") == text:
        return result
    return {**result, "description": text}


def _in_short(schema: Schema, definitions: Definitions) -> str:
    part = resolve(schema, definitions)
    return str(part.get("description") or part.get("title") or name_of(schema) or part.get("type") or "a value")


def _order_keys(schema: Schema) -> list[str]:
    """Let the objects of each union begin with different keys, or with a tag, because OpenAI refuses others; return
    the reasons why that is not possible."""
    definitions: Definitions = schema.get("$defs", {})
    unions: list[list[Schema]] = []
    for part in walk(schema):
        written: list[Schema] = part.get("anyOf", [])
        members = [definitions.get(name_of(member), member) for member in written]
        unions.append([member for member in members if member.get("properties")])
    for objects in unions:
        if _are_distinct(objects):
            continue
        shared = set[str](objects[0]["properties"]).intersection(*(one["properties"] for one in objects[1:]))
        tags = [key for key in objects[0]["properties"] if key in shared and _is_tag(key, objects)]
        for one in objects:
            alone = [key for key in one["properties"] if sum(key in other["properties"] for other in objects) == 1]
            first = (tags or alone or [next(iter(one["properties"]))])[0]
            one["properties"] = {first: one["properties"][first], **one["properties"]}
            one["required"] = list(one["properties"])
    alike = {str(next(iter(objects[0]["properties"]))) for objects in unions if not _are_distinct(objects)}
    return [f"objects of a union begin with the same key {key!r}, which is no tag" for key in sorted(alike)]


def _are_distinct(objects: list[Schema]) -> bool:
    groups: dict[str, list[Schema]] = {}
    for one in objects:
        groups.setdefault(next(iter(one["properties"])), []).append(one)
    return all(len(group) == 1 or _is_tag(first, group) for first, group in groups.items())


def _is_tag(key: str, objects: list[Schema]) -> bool:
    """Whether this key has one constant in each of the objects, and another one in each."""
    values: list[str] = []
    for one in objects:
        part = one["properties"][key]
        found = values_of(part)
        values += [json.dumps(found[0])] if len(found) == 1 else []
    return len(set(values)) == len(objects)


def _beyond_limits(schema: Schema) -> list[str]:
    definitions: Definitions = schema.get("$defs", {})
    properties, names, constants = 0, sum(map(len, definitions)), 0
    long_enum = False
    for part in walk(schema):
        properties += len(part.get("properties", ()))
        names += sum(map(len, part.get("properties", ())))
        values = values_of(part)
        length = sum(len(str(value)) for value in values)
        names += length
        constants += len(part.get("enum", ()))
        long_enum = long_enum or (len(values) > 250 and length > 15_000)
    found: list[str] = []
    if properties > MAX_PROPERTIES:
        found.append(f"output has {properties} keys in all objects together, more than {MAX_PROPERTIES}")
    if names > MAX_NAMES:
        found.append(f"output has names and constants of {names} characters, more than {MAX_NAMES}")
    if constants > MAX_CHOICES:
        found.append(f"output has {constants} values to choose from, more than {MAX_CHOICES}")
    if long_enum:
        found.append("output has a choice of more than 250 values with more than 15000 characters")
    depth = _depth(schema, definitions, ())
    if depth > MAX_DEPTH:
        found.append(f"output has objects in objects, {depth} deep, more than {MAX_DEPTH}")
    return found


def _depth(schema: Schema, definitions: Definitions, inside: tuple[str, ...]) -> int:
    """How many objects are nested in each other at most. A type that contains itself is entered once."""
    name = name_of(schema)
    if name in inside:
        return 0
    inside = (*inside, name) if name else inside
    part = definitions.get(name, schema)
    inner = parts_of({key: value for key, value in part.items() if key != "$defs"})
    return max((_depth(one, definitions, inside) for one in inner), default=0) + (part.get("type") == "object")
