"""The type that a description has at one path of the answer, so that a field can be checked by itself.

A field is checked as soon as it is complete. What its surroundings say about it (a validator of the whole object, the
length of the list around it) is checked with the whole answer.
"""

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from .instant import Event
from .output import Output
from .places import STEPS, PathStyle, Step

Convert = Callable[[Any], Any]
_ARRAYS = (list, set, frozenset)


class Part:
    """The check of the fields at one path. `convert` returns the value as the type that the description has there.

    Through a union, the description may have several types there. A value that fits exactly one of them, or that all
    convert equally, is converted; any other one keeps its JSON form."""

    def __init__(self, path: str, converters: list[Convert]) -> None:
        self.path = path
        self._converters = converters

    def convert(self, value: Any) -> Any:
        """Return the value as its type. Raises `ValueError`, which says what was expected, if it does not fit."""
        if not self._converters:
            return value
        if len(self._converters) == 1:
            return self._converters[0](value)
        found: list[Any] = []
        errors: list[ValueError] = []
        for convert in self._converters:
            try:
                found.append(convert(value))
            except ValueError as error:
                errors.append(error)
        if not found:
            raise ValueError("; or ".join(dict.fromkeys(map(str, errors)))) from errors[0]
        first = found[0]
        return first if all(type(it) is type(first) and it == first for it in found) else value


def part_at(output: Output | None, path: str, style: PathStyle) -> Part:
    """The check of the fields at a path of a described answer; it takes every value if there is no description."""
    if output is None:
        return Part(path, [])
    steps: list[Step] = STEPS[style].findall(path)
    return Part(path, [] if (found := _at(output.description, steps, path)) is None else found)


def find(parts: Mapping[str, Part], event: Event) -> Part | None:
    """The check of the field that this event has completed. A path of one place comes before one with [*]."""
    return parts.get(event.path) or parts.get(event.wildcard_path)


# -- the notation ------------------------------------------------------------------------------------------------------


def _at(description: Any, steps: list[Step], path: str) -> list[Convert] | None:
    """The conversions for a place below a description; None if a value of any type may be there."""
    if isinstance(description, tuple):
        return _at(next(iter(cast("tuple[Any, ...]", description))), steps, path)
    if not steps:
        return [_checked(Output({path or "answer": description}), path or "answer")]
    (index, key), rest = steps[0], steps[1:]
    if isinstance(description, Mapping):
        parts = cast("Mapping[str, Any]", description)
        return _at(parts[key], rest, path) if key in parts else None
    if isinstance(description, list):
        return _at(cast("list[Any]", description)[0], rest, path) if index else None
    pydantic = hasattr(description, "model_json_schema")
    kinds = _below([_Kind(description)], steps)
    if kinds is None:
        return None
    make = _by_pydantic if pydantic else _by_msgspec
    return [make(kind, path) for kind in kinds]


def _checked(output: Output, path: str) -> Convert:
    """The check of a value by the description of an object that has it as its only key."""
    return lambda value: output.convert({path: value})[path]


# -- types -------------------------------------------------------------------------------------------------------------


class _Kind:
    """A type at a place, and the configuration of the Pydantic model around it."""

    def __init__(self, kind: Any, config: Any = None) -> None:
        self.kind = kind
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kind) and self.kind == other.kind

    __hash__ = None  # type: ignore[assignment]


def _by_msgspec(kind: _Kind, path: str) -> Convert:
    return _checked(Output({path: kind.kind}), path)


def _by_pydantic(kind: _Kind, path: str) -> Convert:
    from pydantic import PydanticUserError, TypeAdapter

    try:
        adapter: Any = TypeAdapter(kind.kind, config=kind.config)
    except PydanticUserError:  # a model has a configuration of its own
        adapter = TypeAdapter(kind.kind)
    return adapter.validate_python


def _below(kinds: list[_Kind], steps: list[Step]) -> list[_Kind] | None:
    """The types that a value has some steps below values of these types; None if it may have any."""
    for step in steps:
        found: list[_Kind] = []
        for kind in kinds:
            for plain in _alternatives(kind):
                next_kinds = _next(plain, step)
                if next_kinds is None:
                    return None
                found += [it for it in next_kinds if it not in found]
        kinds = found
    return kinds or None


def _alternatives(kind: _Kind) -> list[_Kind]:
    """The types without annotations, aliases and unions around them."""
    it = kind.kind
    while True:
        if get_origin(it) is Annotated or getattr(get_origin(it), "__name__", "") in ("Required", "NotRequired"):
            it = get_args(it)[0]
        elif isinstance(it, NewType):
            it = it.__supertype__
        elif type(it).__name__ == "TypeAliasType":
            it = it.__value__
        elif isinstance(it, TypeVar):
            it = it.__bound__ or Any
        elif get_origin(it) in (Union, types.UnionType):
            return [plain for choice in get_args(it) for plain in _alternatives(_Kind(choice, kind.config))]
        else:
            return [_Kind(it, kind.config)]


def _next(kind: _Kind, step: Step) -> list[_Kind] | None:
    """The types one step below a plain type; empty if there is nothing below it, None if there may be anything."""
    (index, key), it = step, kind.kind
    origin: Any = get_origin(it) or it
    args = get_args(it)
    if it is Any or it is object:
        return None
    if hasattr(origin, "model_fields"):
        return _of_model(origin, step)
    if not isinstance(origin, type):
        return []
    if is_typeddict(origin) or dataclasses.is_dataclass(origin) or issubclass(origin, msgspec.Struct):
        named = _fields(it)
        if index:
            of_array = issubclass(origin, msgspec.Struct) and origin.__struct_config__.array_like
            return _items(list(named.values()), index, kind) if of_array else []
        return [_Kind(named[key], kind.config)] if key in named else None
    if issubclass(origin, tuple):
        if hasattr(origin, "_fields"):
            return _items(list(_hints(it).values()), index, kind) if index else []
        if len(args) == 2 and args[1] is ...:
            args = args[:1] * (1 if index in ("", "*") else int(index) + 1)
        return (_items(args, index, kind) if args else None) if index else []
    if issubclass(origin, Mapping):
        return ([_Kind(args[1], kind.config)] if len(args) == 2 else None) if key else []
    if issubclass(origin, _ARRAYS) or (issubclass(origin, Iterable) and origin not in (str, bytes, bytearray)):
        return ([_Kind(args[0], kind.config)] if args else None) if index else []
    return []


def _items(kinds: Iterable[Any], index: str, around: _Kind) -> list[_Kind]:
    """The types at an index of an array of fixed length, at "*" all of them."""
    made = [_Kind(it, around.config) for it in kinds]
    if index == "*":
        return [it for number, it in enumerate(made) if it not in made[:number]]
    return made[int(index) : int(index) + 1]


def _of_model(model: Any, step: Step) -> list[_Kind] | None:
    """The types one step below a Pydantic model."""
    fields: dict[str, Any] = model.model_fields
    if getattr(model, "__pydantic_root_model__", False):
        below = [_next(it, step) for it in _alternatives(_Kind(fields["root"].annotation, model.model_config))]
        return None if None in below else [it for some in below for it in some or ()]
    key = step[1]
    for name, field in fields.items():
        alias = field.validation_alias or field.alias
        names = {name, alias, *getattr(alias, "choices", ())} if alias is not None else {name}
        if key and key in {it for it in names if isinstance(it, str)}:
            said = _said(field)
            kind = Annotated[(field.annotation, *said)] if said else field.annotation
            return [_Kind(kind, model.model_config)]
    return None if key else []


def _said(field: Any) -> tuple[Any, ...]:
    """What a field of a Pydantic model says beside its type."""
    from pydantic import Field

    parts = tuple(field.metadata)
    return parts if field.discriminator is None else (*parts, Field(discriminator=field.discriminator))


def _fields(kind: Any) -> dict[str, Any]:
    """The types of the fields of a dataclass, TypedDict or msgspec struct, by their names in JSON."""
    hints = _hints(kind)
    origin = get_origin(kind) or kind
    if not is_typeddict(origin) and issubclass(origin, msgspec.Struct):
        return {it.encode_name: hints[it.name] for it in msgspec.structs.fields(origin)}
    return hints


def _hints(kind: Any) -> dict[str, Any]:
    """The annotations of a class, with the arguments of a generic one in place of its type variables."""
    origin: Any = get_origin(kind) or kind
    given = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    hints = get_type_hints(origin, include_extras=True)
    return {name: _filled(hint, given) for name, hint in hints.items()}


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    own = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(it, it) for it in own)] if own and given else hint
