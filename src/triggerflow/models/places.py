"""The paths that a described answer can have. A path that can never match is refused before the request is sent."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, Literal, cast

from .errors import ResponseUsageError
from .output import Output, Schema

PathStyle = Literal["dot", "slash"]

Step = tuple[str, str]
"""One step of a path: an index or "*" and an empty key, or an empty index and a key."""
STEPS = {"dot": re.compile(r"\[(\*|\d+)\]|([^.\[\]]+)"), "slash": re.compile(r"\[(\*|\d+)\]|([^/\[\]]+)")}
_INDEX = re.compile(r"\[\d+\]")


def check_paths(paths: Iterable[str], output: Output | None, style: PathStyle) -> None:
    """Raise `ResponseUsageError` for a path, like `items[*].title` or `items[0]`, that no event of this answer has."""
    known = None if output is None else places(output.schema, style)
    for path in paths:
        general = _INDEX.sub("[*]", path)
        if general != path and "[*]" in path:
            raise ResponseUsageError(
                f"the path {path!r} would never match: write [*] for all of its indexes, or for none"
            )
        if known is None or general in known or any(inner and _is_in(general, at) for at, inner in known.items()):
            continue
        near = difflib.get_close_matches(general, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"its paths are {[at for at in known if at]}"
        raise ResponseUsageError(f"the answer that `output` describes never has the path {path!r}; {hint}")


def places(schema: Schema, style: PathStyle) -> dict[str, bool]:
    """The wildcard path of every place in an answer of this schema, and whether a value of any type may be there."""
    found: dict[str, bool] = {}
    definitions: Schema = schema.get("$defs", {})

    def walk(part: Schema, path: str, inside: frozenset[str]) -> None:
        name = str(part.get("$ref", "")).rpartition("/")[2]
        part = {**definitions.get(name, {}), **part}
        properties, items = part.get("properties", {}), part.get("items")
        choices = [choice for word in ("anyOf", "oneOf", "allOf") for choice in part.get(word, ())]
        again = name in inside  # a type that contains itself has paths without end: stop here
        found[path] = found.get(path, False) or again or (not choices and _takes_anything(part))
        if again:
            return
        inside = inside | {name} if name else inside
        for choice in choices:
            walk(choice, path, inside)
        for item in (*part.get("prefixItems", ()), *([cast("Schema", items)] if isinstance(items, dict) else ())):
            walk(item, f"{path.rstrip('/')}/[*]" if style == "slash" else f"{path}[*]", inside)
        for key, value in properties.items():
            walk(value, f"{path.rstrip('/')}/{key}" if style == "slash" else f"{path}.{key}" if path else key, inside)

    walk(schema, "/" if style == "slash" else "", frozenset())
    return found


def _takes_anything(part: Schema) -> bool:
    kind: Any = part.get("type")
    if kind == "object":
        return "properties" not in part or part.get("additionalProperties", False) is not False
    if kind == "array":
        return "items" not in part and "prefixItems" not in part
    return isinstance(kind, list) or (kind is None and not part.keys() & {"enum", "const"})


def _is_in(path: str, place: str) -> bool:
    return path.startswith(place) and (place in ("", "/") or path[len(place)] in "./[")
