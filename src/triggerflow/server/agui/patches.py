"""The change of a value as a JSON Patch (RFC 6902)."""

from collections.abc import Iterator
from typing import Any, cast

import msgspec

#: A patch with more operations than this replaces the whole value.
MOST = 100
#: Values that are nested deeper are replaced as a whole.
DEPTH = 50

Operation = dict[str, Any]
_encode = msgspec.json.Encoder(order="deterministic").encode


def pointer(*keys: str) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def changes(path: str, old: Any, new: Any) -> list[Operation]:
    """How `old` becomes `new`, which stands at a pointer; empty if they are the same JSON."""
    found: list[Operation] = []
    for operation in _changes(path, old, new, DEPTH):
        found.append(operation)
        if len(found) > MOST:
            return [{"op": "replace", "path": path, "value": new}]
    return found


def is_taken(path: str) -> bool:
    """Whether the usual libraries take a pointer: they refuse keys that JavaScript could mistake for its own."""
    return not {"__proto__", "constructor", "prototype"} & set(path.split("/"))


def _changes(path: str, old: Any, new: Any, depth: int) -> Iterator[Operation]:
    if depth and isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for key in before:
            if key not in after:
                yield {"op": "remove", "path": path + pointer(key)}
        for key, value in after.items():
            if key not in before:
                yield {"op": "add", "path": path + pointer(key), "value": value}
            else:
                yield from _changes(path + pointer(key), before[key], value, depth - 1)
    elif depth and isinstance(old, list) and isinstance(new, list):
        yield from _list_changes(path, cast("list[Any]", old), cast("list[Any]", new), depth)
    elif not _same(old, new):
        yield {"op": "replace", "path": path, "value": new}


def _list_changes(path: str, old: list[Any], new: list[Any], depth: int) -> Iterator[Operation]:
    """A list that has grown at its end, or has other values at some places. Anything else is a new list."""
    if len(new) < len(old):
        yield {"op": "replace", "path": path, "value": new}
        return
    for index, value in enumerate(old):
        yield from _changes(f"{path}/{index}", value, new[index], depth - 1)
    for value in new[len(old) :]:
        yield {"op": "add", "path": f"{path}/-", "value": value}


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: True is not 1 there."""
    return one is other or (type(one) is type(other) and _encode(one) == _encode(other))
