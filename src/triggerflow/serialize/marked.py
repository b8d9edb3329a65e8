"""Recorded values for people and programs that lack the classes: as plain JSON, or as stand-ins of their objects.

`plain` turns recorded data into JSON that says the names of types. A *marked value* stands for an object whose class is
not registered in this process: it is packed again as it was, and the core replays it as it replays the object.
"""

from collections.abc import Iterator
from typing import Any, Final, cast

from .._core.frozen import TAG

#: The key under which `plain` names the type of a value that JSON has not.
TYPE: Final = "$type"
#: Types whose values `plain` gives as a list or a text, without their name.
_LISTS: Final = frozenset(("tuple", "set", "frozenset"))
_TEXTS: Final = frozenset(("bytes", "datetime", "date", "time", "decimal", "uuid", "float"))


class Marked:
    """Stands for an object of a class that is not registered here. Two that were recorded alike are equal."""

    __slots__ = ("packed",)

    def __init__(self, packed: dict[str, Any]) -> None:
        #: the object as it was recorded
        self.packed = packed

    def __eq__(self, other: object) -> bool:
        # The core does not call this: it compares no values whose class defines `==`, as the class that this one
        # stands for most likely does.
        return isinstance(other, Marked) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed["$"])

    def __repr__(self) -> str:
        return f"<{self.packed['$']}>"


class MarkedSource(Marked):
    """Stands for a source of items: the core asks the driver for items of a type that can be iterated over."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"the source {self.packed['v'][0]!r} is not registered here")


class MarkedText(str):
    """Stands for a member of an enum that is a text: it equals that text, as most of these do."""

    __slots__ = ("packed",)
    packed: dict[str, Any]


class MarkedInt(int):
    """Stands for a member of an enum that is a number: it equals that number, as most of these do."""

    packed: dict[str, Any]


#: The classes of marked values.
MARKED: Final = frozenset((Marked, MarkedSource, MarkedText, MarkedInt))


def mark(packed: dict[str, Any]) -> Any:
    """The marked value that stands for the object which was recorded as `packed`."""
    data = packed.get("v")
    if packed["$"] == "source":
        return MarkedSource(packed)
    kinds: dict[type[Any], type[Any]] = {str: MarkedText, int: MarkedInt}
    kind = kinds.get(cast("type[Any]", type(data)))
    if kind is None:
        return Marked(packed)
    made = kind(data)
    made.packed = packed
    return made


def plain(packed: Any) -> Any:
    """Recorded data as JSON that people can read, and that no recorded value is missing from.

    Lists, dicts with text keys, texts, numbers, booleans and None are themselves. Tuples and sets are lists; bytes (in
    base64), dates, times, decimals and UUIDs are texts. All else is a dict with the name of its type: an object
    `{"$type": name, field: value ...}`, a member of an enum `{"$type": name, "value": value}`, a dict with other keys
    `{"$type": "dict", "items": [[key, value] ...]}`.
    """
    kind = cast("type[Any]", type(packed))
    if kind is list:
        items: list[Any] = []
        for item in packed:
            items.append(plain(item))  # noqa: PERF401 - a comprehension takes a frame of its own for each level
        return items
    if kind is not dict:
        return packed
    if "$" in packed:
        return _tagged(str(packed["$"]), packed.get("v"))
    made: dict[str, Any] = {}
    for key, item in packed.items():
        made[key] = plain(item)
    return made if TYPE not in made else {TYPE: "dict", "items": [[key, item] for key, item in made.items()]}


def _tagged(tag: str, data: Any) -> Any:
    if tag in _TEXTS:
        return data
    if tag == TAG or tag in _LISTS:
        return plain(data)
    if tag == "timedelta":
        days, seconds, microseconds = data
        return {TYPE: tag, "seconds": days * 86400 + seconds + microseconds / 1e6}
    if tag == "range":
        return {TYPE: tag, "value": data}
    if tag == "dict":
        pairs: list[Any] = []
        for key, item in data:
            pairs.append([plain(key), plain(item)])
        return {TYPE: tag, "items": pairs}
    if tag == "source":
        name, arguments, options = data
        return {TYPE: tag, "name": name, "arguments": plain(arguments), "options": plain(options)}
    how, _, name = tag.partition(":")
    if type(data) is not dict or "$" in data:
        return {TYPE: name or tag, "value": plain(data)}
    fields: dict[str, Any] = {TYPE: name or tag}
    held = cast("dict[str, Any]", data)
    if how == "model" and "fields" in held:
        extra = cast("dict[str, Any]", held.get("extra") or {})
        held = {**cast("dict[str, Any]", held["fields"]), **extra}
    for key, item in held.items():
        fields[key] = plain(item)
    return fields
