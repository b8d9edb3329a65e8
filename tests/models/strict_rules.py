"""The rules of the strict dialect of JSON schema that OpenAI's structured outputs accept, as a checker for tests."""

import json
import re
from typing import Any

_WORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"enum", "const", "pattern", "format"},
    "number": {"enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"},
    "boolean": {"enum", "const"},
    "null": set[str](),
}
_WORDS["integer"] = _WORDS["number"]
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}


def check_strict(schema: dict[str, Any]) -> None:
    """Raise AssertionError for a schema that breaks a rule."""
    definitions = schema.get("$defs", {})
    assert schema["type"] == "object", "the root is an object"
    assert "anyOf" not in schema
    used: set[str] = set()
    totals = {"properties": 0, "enum": 0, "length": 0}

    def check(part: dict[str, Any], root: bool = False) -> None:
        words = set(part) - ({"$defs"} if root else set())
        if "$ref" in part:
            assert words == {"$ref"}, "a reference stands alone"
            name = re.fullmatch(r"#/\$defs/(.+)", part["$ref"])
            assert name is not None
            assert name[1] in definitions
            used.add(name[1])
            return
        words -= {"description"}
        assert isinstance(part.get("description", ""), str)
        if "anyOf" in part:
            assert words == {"anyOf"}
            assert len(part["anyOf"]) > 1
            for member in part["anyOf"]:
                check(member)
            firsts = [first_key(member) for member in part["anyOf"]]
            firsts = [first for first in firsts if first is not None]
            assert len(firsts) == len(set(firsts)), "objects of a union begin with different keys, or with a tag"
            return
        kind = part["type"]
        assert words <= _WORDS[kind] | {"type"}, words
        if kind == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
            totals["properties"] += len(part["properties"])
            totals["length"] += sum(map(len, part["properties"]))
            for inner in part["properties"].values():
                check(inner)
        elif kind == "array":
            check(part["items"])
        values = part.get("enum", [part["const"]] if "const" in part else [])
        kinds = {"string": str, "integer": int, "number": float, "boolean": bool}
        assert all(type(value) is kinds[kind] for value in values)
        totals["enum"] += len(values)
        totals["length"] += sum(len(str(value)) for value in values)
        assert part.get("format", "date") in _FORMATS
        assert "(?" not in part.get("pattern", "").replace("(?:", "")

    def first_key(part: dict[str, Any]) -> str | None:
        part = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        if not part.get("properties"):
            return None
        key, value = next(iter(part["properties"].items()))
        fixed = value.get("enum", [value.get("const")]) if value.get("enum") or "const" in value else None
        return f"{key}={fixed}" if fixed and len(fixed) == 1 else key

    def depth(part: dict[str, Any], inside: tuple[str, ...]) -> int:
        if "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            return 0 if name in inside else depth(definitions[name], (*inside, name))
        inner = [*part.get("anyOf", ()), *part.get("properties", {}).values()]
        inner += [part["items"]] if "items" in part else []
        return (part.get("type") == "object") + max((depth(one, inside) for one in inner), default=0)

    check(schema, root=True)
    for part in definitions.values():
        check(part)
    assert used == set(definitions), "no definition is unused"
    assert totals["properties"] <= 5_000
    assert totals["enum"] <= 1_000
    assert totals["length"] + sum(map(len, definitions)) <= 120_000
    assert depth(schema, ()) <= 10
    json.dumps(schema)
