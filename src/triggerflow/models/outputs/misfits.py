"""Every place of an answer that does not fit its schema, in words from which a model can correct it.

The check of an answer (`Output.convert`) stops at its first mistakes. A model that is told one mistake at a time needs
an attempt for each of them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any, cast

from .schemas import Definitions, Schema, item_of, kinds, values_of, variants

_MOST = 20
"""How many places are named."""
_PATIENCE = 20_000
"""How many values are looked at: the members of a union are tried one after another, and so are those inside them."""
_NAMES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "null": "null",
    "object": "an object",
    "array": "an array",
}
_Limits = Mapping[str, tuple[str, Callable[[Any, Any], bool]]]
_LIMITS: _Limits = {
    "minimum": ("at least {}", ge),
    "exclusiveMinimum": ("more than {}", gt),
    "maximum": ("at most {}", le),
    "exclusiveMaximum": ("less than {}", lt),
}
_SIZES: _Limits = {
    "minLength": ("at least {} characters", ge),
    "maxLength": ("at most {} characters", le),
    "minItems": ("at least {} items", ge),
    "maxItems": ("at most {} items", le),
}


class Misfit(ValueError):
    """A part of an answer does not fit. `places` are its `misfits`."""

    def __init__(self, message: str, places: Sequence[str]) -> None:
        super().__init__(message)
        self.places = tuple(places)

    def inside(self, place: str) -> "Misfit":
        """The same, and where the part is."""
        return Misfit(f"{place}: {self}", [f"{place}: {one}" for one in self.places])


def misfits(data: Any, schema: Schema, place: str = "") -> list[str]:
    """The places that do not fit, each as "place: expected ..., got ...", and the keys that are missing.

    `place` is the path of the data in the answer. Empty if the schema does not say what is wrong: a type may
    have checks that are functions.
    """
    found = _Search(schema.get("$defs", {})).look(data, schema, place)
    return found if len(found) <= _MOST else [*found[:_MOST], f"and {len(found) - _MOST} more"]


class _Search:
    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._patience = _PATIENCE

    def look(self, data: Any, schema: Schema, place: str) -> list[str]:
        self._patience -= 1
        if self._patience < 0:
            return []
        members = [*variants(schema, self._definitions)]
        of_its_kind = [part for part in members if not kinds(part) or _kinds_of(data) & kinds(part)]
        if not of_its_kind:
            return [_misfit(place, _either(_expected(part) for part in members), data)] if members else []
        # The member of a union that the model meant: the one whose tag is there, or the one with the fewest mistakes.
        of_its_tag = [part for part in of_its_kind if _fits_tag(data, part)]
        return min((self._inside(data, part, place) for part in of_its_tag or of_its_kind), key=len)

    def _inside(self, data: Any, part: Schema, place: str) -> list[str]:
        values = values_of(part)
        if values and not any(type(one) is type(data) and one == data for one in values):
            return [_misfit(place, _expected(part), data)]
        found = [line for inner in part.get("allOf", ()) for line in self.look(data, inner, place)]
        if isinstance(data, dict):
            found += self._inside_object(cast("dict[str, Any]", data), part, place)
        elif isinstance(data, list):
            items = cast("list[Any]", data)
            found += _beyond(_SIZES, len(items), items, part, place)
            for index, item in enumerate(items):
                found += self.look(item, item_of(part, index), f"{place}[{index}]")
        elif isinstance(data, str):
            found += _beyond(_SIZES, len(data), data, part, place)
        elif isinstance(data, int | float) and not isinstance(data, bool):
            found += _beyond(_LIMITS, data, data, part, place)
        return found

    def _inside_object(self, data: dict[str, Any], part: Schema, place: str) -> list[str]:
        properties: dict[str, Schema] = part.get("properties", {})
        missing = [key for key in part.get("required", ()) if key not in data]
        found = [f"{place or 'the answer'}: the keys {missing} are missing"] if missing else []
        for key, value in data.items():
            inner = properties.get(key, part.get("additionalProperties"))
            left_out = value is None and key in properties and key not in part.get("required", ())
            if isinstance(inner, dict) and not left_out:
                found += self.look(value, inner, f"{place}.{key}" if place else key)
        return found


def _beyond(limits: _Limits, measure: float, data: Any, part: Schema, place: str) -> list[str]:
    broken = [
        words.format(part[name])
        for name, (words, holds) in limits.items()
        if name in part and not holds(measure, part[name])
    ]
    return [_misfit(place, " and ".join(broken), data)] if broken else []


def _fits_tag(data: Any, part: Schema) -> bool:
    """Whether the constants in this object, such as the tag of a member of a union, are those of the data."""
    if not isinstance(data, dict):
        return True
    for key, inner in part.get("properties", {}).items():
        values = values_of(inner)
        if len(values) == 1 and cast("dict[str, Any]", data).get(key) != values[0]:
            return False
    return True


def _kinds_of(data: Any) -> set[str]:
    if isinstance(data, bool):
        return {"boolean"}
    if isinstance(data, int):
        return {"integer", "number"}
    if isinstance(data, float):
        return {"number", "integer"} if data.is_integer() else {"number"}
    if data is None:
        return {"null"}
    return {"string" if isinstance(data, str) else "object" if isinstance(data, dict) else "array"}


def _expected(part: Schema) -> str:
    values = [json.dumps(value, ensure_ascii=False) for value in values_of(part)]
    return _either(values or (_NAMES.get(kind, kind) for kind in sorted(kinds(part)))) or "another value"


def _either(words: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(words))


def _misfit(place: str, expected: str, data: Any) -> str:
    got = _NAMES[min(_kinds_of(data))] if isinstance(data, dict | list) else json.dumps(data, ensure_ascii=False)
    got = got if len(got) <= 80 else f"{got[:77]}..."
    return f"{place or 'the answer'}: expected {expected}, got {got}"
