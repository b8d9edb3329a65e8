"""Values of a caller as JSON. A value that JSON would change is refused."""

import math
from enum import Enum
from typing import Any, cast

import msgspec

from ..errors import PayloadError

#: How deep a value may be nested.
DEPTH = 200
#: The least and the greatest integer that arrive unchanged in every program of the engine.
_INTEGERS = -(2**63), 2**64 - 1


def as_json(value: Any, where: str, depth: int = 0) -> Any:
    """The value as JSON data. A dataclass, msgspec struct or Pydantic model becomes the dict of its fields, a member of
    an enum its value.

    Raises `PayloadError` for what JSON would change or lacks: an integer of more than 64 bits, a float that is not
    finite, a key that is not a string, nesting deeper than `DEPTH`, an object of another class. `where` names the value
    in the message.
    """
    kind = cast("type[Any]", type(value))
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        if not _INTEGERS[0] <= value <= _INTEGERS[1]:
            raise PayloadError(f"{where} has an integer of more than 64 bits; send it as a text")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise PayloadError(f"{where} has the float {value}, which JSON lacks; send it as a text")
        return value
    if depth > DEPTH:
        raise PayloadError(f"{where} is nested deeper than {DEPTH} levels, or contains itself")
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item, where, depth + 1) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {
            _key(key, where): as_json(item, where, depth + 1) for key, item in cast("dict[Any, Any]", value).items()
        }
    return as_json(_fields(value, where), where, depth + 1)


def _key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return key.value if isinstance(key, Enum) else str.__str__(key)
    raise PayloadError(f"{where} has the key {key!r}; JSON has only texts as keys")


def _fields(value: Any, where: str) -> Any:
    if isinstance(value, Enum):
        return value.value
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    dump = getattr(value, "model_dump", None)
    try:
        if callable(dump) and hasattr(cast("Any", type(value)), "model_fields"):
            return dump(mode="json")
        return msgspec.to_builtins(value)
    except Exception:
        raise PayloadError(
            f"{where} is or has a {type(value).__qualname__}, which is no value of JSON; send its parts"
        ) from None
