"""How values are recorded: JSON-shaped data, and a closed set of further types.

An execution in memory passes any object, unchecked. A *recorded* value (in a saved execution or a store) consists of
None, booleans, numbers, strings, lists and dicts with string keys. Tuples, sets, other dicts, bytes, dates and decimals
are written as tagged dicts `{"$": tag, "v": data}`; so are dataclasses, msgspec structs and Pydantic models whose class
is registered. Reading looks up names in that registry only: nothing is imported, and no unknown class is built.
"""

import math
from collections.abc import Callable
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec

from .._core.errors import DefinitionError, PayloadError, SnapshotError
from .._core.events import Failure
from ..build.sources import Source, source_of

Scalar = tuple[str, Callable[[Any], Any], Callable[[Any], Any]]


@cache
def _scalars() -> dict[type, Scalar]:
    """Tag, writer and reader of each class. Made on first use, because importing the classes takes milliseconds."""
    import base64
    import datetime
    import decimal
    import uuid

    return {
        bytes: ("bytes", lambda v: base64.b64encode(v).decode("ascii"), lambda v: base64.b64decode(v, validate=True)),
        datetime.datetime: ("datetime", datetime.datetime.isoformat, datetime.datetime.fromisoformat),
        datetime.date: ("date", datetime.date.isoformat, datetime.date.fromisoformat),
        datetime.time: ("time", datetime.time.isoformat, datetime.time.fromisoformat),
        datetime.timedelta: (
            "timedelta",
            lambda v: [v.days, v.seconds, v.microseconds],
            lambda v: datetime.timedelta(days=v[0], seconds=v[1], microseconds=v[2]),
        ),
        decimal.Decimal: ("decimal", str, decimal.Decimal),
        uuid.UUID: ("uuid", str, uuid.UUID),
    }


@cache
def _readers() -> dict[str, Callable[[Any], Any]]:
    return {tag: read for tag, _, read in _scalars().values()}


_BUILTIN: dict[str, type[Any]] = {cls.__name__: cls for cls in (bool, int, float, str, list, dict, tuple, set, bytes)}


T = TypeVar("T")


class Types:
    """The classes whose instances may be recorded, by name."""

    def __init__(self) -> None:
        self._names: dict[type[Any], str] = {}
        self._classes: dict[str, type[Any]] = {}
        self._sources: dict[str, Callable[..., Any]] = {}
        self.register(Failure, "triggerflow.Failure")

    def register_source(self, function: Callable[..., Any], name: str) -> None:
        """Register the function of a `Source` by name. Raises `DefinitionError` if another function has the name."""
        if self._sources.get(name, function) is not function:
            raise DefinitionError(f"the name {name!r} is registered for {self._sources[name]!r} already")
        self._sources[name] = function

    def register(self, cls: type[T], name: str | None = None) -> type[T]:
        """Allow a dataclass, msgspec struct, Pydantic model or enum to be recorded; usable as a decorator.

        `name` (default: the class's own) is written into records, so keep it when the class moves.
        Raises `DefinitionError` for any other class, and for a name that another class has.
        """
        from dataclasses import is_dataclass  # most programs register nothing, and this import takes a millisecond

        name = name or cls.__qualname__
        if not (is_dataclass(cls) or issubclass(cls, msgspec.Struct | Enum) or hasattr(cls, "model_validate")):
            raise DefinitionError(
                f"{cls!r} cannot be recorded: it is not a dataclass, msgspec struct, Pydantic model or enum"
            )
        if self._classes.get(name, cls) is not cls:
            raise DefinitionError(f"the name {name!r} is registered for {self._classes[name]!r} already")
        self._classes[name] = cls
        self._names[cls] = name
        return cls

    def name_of(self, kind: Any) -> str | None:
        """The name of a type in records: a builtin class has its own name, a registered class the registered name.

        For `list[int]`, unions and literals it is a JSON list of the form and its parts. None if a part has no name.
        """
        try:
            form = None if kind is None else self._form(kind)
        except (LookupError, TypeError):  # a part without a name, or not hashable
            return None
        return msgspec.json.encode(form).decode() if isinstance(form, list) else form

    def _form(self, kind: Any) -> Any:
        if kind is None or kind is type(None):
            return "None"
        if kind is ...:
            return "..."
        origin, parts = get_origin(kind), get_args(kind)
        if origin is None:
            return kind.__name__ if _BUILTIN.get(getattr(kind, "__name__", "")) is kind else self._names[kind]
        if origin is Literal:
            return ["Literal", *(self.pack(part, "a literal") for part in parts)]
        head = "Union" if origin in (Union, UnionType) else self._form(origin)
        return [head, *(self._form(part) for part in parts)]

    def named(self, name: str) -> Any:
        """The type that a name in a record refers to. Raises `SnapshotError` if it is unknown."""
        if not name.startswith('["'):
            return self._class(name)
        try:
            return self._type(msgspec.json.decode(name))
        except (TypeError, ValueError, IndexError, RecursionError) as error:
            raise SnapshotError(f"a record names a type by {name!r}, which cannot be read") from error

    def _type(self, form: Any) -> Any:
        if isinstance(form, str):
            return {"None": None, "...": ...}[form] if form in ("None", "...") else self._class(form)
        head, *parts = cast("list[Any]", form)
        if head == "Literal":
            return Literal[tuple(self.unpack(part) for part in parts)]
        args = tuple(self._type(part) for part in parts)
        if head != "Union":
            return self._class(head)[args]
        made: Any = args[0]
        for arg in args[1:]:
            made = made | arg
        return made

    def _class(self, name: str) -> Any:
        if name in _BUILTIN:
            return _BUILTIN[name]
        if name not in self._classes:
            raise SnapshotError(f"a record names the type {name!r}, which is not registered; use flow.register_type")
        return self._classes[name]

    def pack(self, value: Any, where: str) -> Any:
        """The value as JSON-shaped data. Raises `PayloadError`, which names `where` and what to do."""
        try:
            return self._pack(value, where)
        except RecursionError:
            raise PayloadError(f"{where} is nested too deeply to be recorded, or contains itself") from None

    def _pack(self, value: Any, where: str) -> Any:
        kind = cast("type[Any]", type(value))
        if value is None or kind is bool or kind is int:
            return value
        if kind is str:
            return _text(value, where)
        if kind is float:
            return value if math.isfinite(value) else {"$": "float", "v": repr(value)}
        if kind is list:
            return [self._pack(item, where) for item in value]
        if kind is dict:
            if all(type(key) is str for key in value) and "$" not in value:
                return {_text(key, where): self._pack(item, where) for key, item in value.items()}
            return {
                "$": "dict",
                "v": [[self._pack(key, where), self._pack(item, where)] for key, item in value.items()],
            }
        if kind is tuple or kind is set or kind is frozenset:
            return {"$": kind.__name__, "v": [self._pack(item, where) for item in value]}
        if kind is range:
            return {"$": "range", "v": [value.start, value.stop, value.step]}
        if kind in _scalars():
            tag, write, _ = _scalars()[kind]
            return {"$": tag, "v": write(value)}
        if isinstance(value, Source) and self._sources.get(value.name) is value.function:
            given = [list(value.arguments), dict(value.options)]
            return {"$": "source", "v": [value.name, *self._pack(given, f"an argument of {where}")]}
        return self._pack_object(value, kind, where)

    def _pack_object(self, value: Any, kind: type[Any], where: str) -> Any:
        name = self._names.get(kind)
        if name is None:
            hint = (
                "an iterator is lost with its process; return a source instead, made by a function with @flow.source"
                if hasattr(value, "__anext__") or hasattr(value, "__next__")
                else "make it JSON-shaped, keep it in a resource, or, if it is a dataclass, msgspec struct, Pydantic "
                "model or enum, register its class with flow.register_type"
            )
            raise PayloadError(f"{where} is a {kind.__module__}.{kind.__qualname__}, which cannot be recorded; {hint}")
        if issubclass(kind, Enum):
            return {"$": f"type:{name}", "v": self._pack(value.value, where)}
        if hasattr(value, "model_dump"):
            return {"$": f"type:{name}", "v": self._pack(value.model_dump(round_trip=True, by_alias=True), where)}
        names = _field_names(kind)
        return {"$": f"type:{name}", "v": {name: self._pack(getattr(value, name), where) for name in names}}

    def unpack(self, data: Any) -> Any:
        """The value of recorded data. Raises `SnapshotError` for an unknown tag or class, and for damaged data."""
        try:
            return self._unpack(data)
        except RecursionError:
            raise SnapshotError("a recorded value is nested too deeply to be read") from None

    def _unpack(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self.unpack(item) for item in data]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(data, dict):
            return data
        if "$" not in data:
            return {key: self.unpack(item) for key, item in data.items()}  # pyright: ignore[reportUnknownVariableType]
        try:
            return self._unpack_tagged(str(data["$"]), data["v"])  # pyright: ignore[reportUnknownArgumentType]
        except SnapshotError:
            raise
        except Exception as error:  # constructors of registered classes may raise anything
            raise SnapshotError(f"a recorded value is damaged: {data!r}") from error

    def _unpack_tagged(self, tag: str, data: Any) -> Any:
        if tag in _readers():
            return _readers()[tag](data)
        if tag == "float":
            return float(data)
        if tag == "range":
            return range(*data)
        if tag == "dict":
            return {self.unpack(key): self.unpack(value) for key, value in data}
        if tag in ("tuple", "set", "frozenset"):
            items = [self.unpack(item) for item in data]
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[tag](items)
        if tag == "source":
            name, arguments, options = data
            if name not in self._sources:
                raise SnapshotError(
                    f"a recorded value names the source {name!r}, which is not registered; "
                    "register its function with @flow.source"
                )
            return source_of(name, self._sources[name], tuple(self.unpack(arguments)), self.unpack(options))
        name = tag.removeprefix("type:")
        cls = self._classes.get(name)
        if cls is None or name == tag:
            raise SnapshotError(
                f"a recorded value has the type {tag!r}, which is not registered; register its class with "
                "flow.register_type"
            )
        if issubclass(cls, Enum):
            return cls(self.unpack(data))
        if hasattr(cls, "model_validate"):
            return cls.model_validate(self.unpack(data))
        return cls(**{key: self.unpack(value) for key, value in data.items()})


def _text(value: str, where: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PayloadError(
                f"{where} contains half of a surrogate pair; that is not valid text and cannot be recorded"
            ) from None
    return value


def _field_names(cls: type[Any]) -> list[str]:
    if issubclass(cls, msgspec.Struct):
        return list(cls.__struct_fields__)
    from dataclasses import fields  # see `Types.register`

    return [field.name for field in fields(cls) if field.init]
