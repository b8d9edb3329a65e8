"""How values are recorded: JSON-shaped data, and a closed set of further types.

An execution in memory passes any object, unchecked. A *recorded* value (in a saved execution or a store) consists of
None, booleans, numbers, strings, lists and dicts with string keys. Tuples, sets, other dicts, bytes, dates and decimals
are written as tagged dicts `{"$": tag, "v": data}`; so are dataclasses, msgspec structs, named tuples, Pydantic models
and enums whose class is registered. Reading looks up names in that registry only: nothing is imported, and no unknown
class is built. A value comes back with the same type and data, or `pack` refuses it.
"""

import math
from collections.abc import Callable, Collection
from copy import copy
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec

from .._core.errors import DefinitionError, PayloadError, SnapshotError, without_values
from .._core.events import Failure
from .._core.freezing import freeze
from .._core.frozen import PLAIN, TAG, FrozenDict, FrozenList
from .._core.signals import FieldPlace
from ..build.sources import Source, source_of
from .marked import MARKED, mark

#: How deep a value may be nested, in levels of its JSON text: a list or dict is one, other containers are two, a dict
#: with other keys than strings is three. Written and read within the interpreter's own limit of 1000 calls.
DEPTH: Final = 500
#: Levels below the deepest container that may be written: of its own tag and pairs, and of a date.
_INNER: Final = 4
#: The largest int that the interpreter reads back from text, which is 4300 digits, in bits.
_INT_BITS: Final = 14_000
#: How many members of a set, or keys of a dict, may have the same hash. These are compared with each other, which takes
#: a time that grows with the square of their number: a stranger can choose ints with one hash.
SAME_HASH: Final = 100
#: The tags of registered classes by the form of their instances, see `objects.Shape`.
_TAGS: Final = {"made": "type", "state": "state", "model": "model"}
_READ: Final = ("type", "state", "model")

Scalar = tuple[str, Callable[[Any], Any], Callable[[Any], Any]]


@cache
def _scalars() -> dict[type, Scalar]:
    """Tag, writer and reader of each class. Made on first use, because importing the classes takes milliseconds."""
    import base64
    import datetime
    import decimal
    import uuid

    from . import dates

    return {
        bytes: ("bytes", lambda v: base64.b64encode(v).decode("ascii"), lambda v: base64.b64decode(v, validate=True)),
        datetime.datetime: ("datetime", dates.write, dates.read_datetime),
        datetime.date: ("date", datetime.date.isoformat, datetime.date.fromisoformat),
        datetime.time: ("time", dates.write, dates.read_time),
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
        #: by name, the classes that declared types mention, and that nobody has registered under another name
        self._found: dict[str, list[type[Any]]] = {}
        #: classes without a name, with all classes that have the same
        self._clashes: dict[type[Any], list[type[Any]]] = {}
        #: whether reading a value of an unknown class gives a marked value, and no error; see `reading`
        self.marks = False
        self.register(Failure, "triggerflow.Failure")
        self.register(FieldPlace, "triggerflow.FieldPlace")

    def reading(self) -> "Types":
        """The same classes, for reading only: a value whose class is not registered, or refuses its data, is marked
        (see `marked`), and packed again as it was."""
        made = copy(self)
        made.marks = True
        return made

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
        from .objects import is_recordable  # most programs register nothing, and this import takes a millisecond

        name = name or cls.__qualname__
        if not is_recordable(cls):
            raise DefinitionError(
                f"{cls!r} cannot be recorded: it is not a dataclass, msgspec struct, Pydantic model or enum"
            )
        if self._classes.get(name, cls) is not cls and name not in self._found:
            raise DefinitionError(f"the name {name!r} is registered for {self._classes[name]!r} already")
        self._forget(name)
        former = self._found.get(cls.__qualname__, [])
        if cls in former:
            self._forget(cls.__qualname__)
        self._classes[name] = cls
        self._names[cls] = name
        for it in (cls, *former):
            self.find(it)
        return cls

    def find(self, expected: Any) -> None:
        """Register the classes that a type mentions, also in fields of these classes, under their own names.

        A name that was given by `register` wins. Two classes of the same name have none: which of them a record means
        would depend on the order of the program. A class that was defined anew in the same place replaces the former.
        """
        from ..build.annotations import mentioned  # see `register`

        for cls in mentioned(expected):
            name = cls.__qualname__
            if cls in self._names or cls in self._clashes:
                continue
            held = self._found.get(name, [])
            others = [it for it in held if it.__module__ != cls.__module__]
            if name in self._classes and name not in self._found:
                continue  # registered under this name by the user
            self._forget(name)
            self._found[name] = [*others, cls]
            if others:
                for it in self._found[name]:
                    self._clashes[it] = self._found[name]
            else:
                self._classes[name] = cls
                self._names[cls] = name

    def _forget(self, name: str) -> None:
        """A class that was found has its name no longer."""
        for it in self._found.pop(name, ()):
            self._clashes.pop(it, None)
            if self._names.get(it) == name:
                del self._names[it]
        self._classes.pop(name, None)

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
        checked: list[type[Any]] = []
        try:
            packed = self._pack(value, where, 0, checked)
        except RecursionError:  # called from deep inside a recursion of the user's
            raise PayloadError(
                f"{where} cannot be recorded: it and the calls around it exceed the recursion limit of Python"
            ) from None
        except PayloadError:
            raise
        except Exception as error:  # attributes of an object of the user's may be code
            raise PayloadError(f"{where} cannot be recorded: {without_values(error)}") from None
        if checked and not self.marks:
            self._check_read_back(packed, where, checked)
        return packed

    def _check_read_back(self, packed: Any, where: str, checked: list[type[Any]]) -> None:
        """Read a packed value as a later process will, and compare.

        Packed data is compared and not the values: their `==` is code of the user's, and nan is not equal to itself.
        """
        names = ", ".join(sorted({f"{cls.__module__}.{cls.__qualname__}" for cls in checked}))
        try:
            same = self._pack(self._unpack(packed, 0), where, 0, []) == packed
        except Exception as error:  # the code of the classes may raise anything
            why = without_values(error)
            raise PayloadError(f"{where} cannot be read back after it was recorded ({names}): {why}") from None
        if not same:
            raise PayloadError(
                f"{where} would come back as another value: making its objects again changes them ({names}); "
                "record their fields as a dict, or take the code out of __post_init__ or of the enum"
            )

    def _pack(self, value: Any, where: str, depth: int, checked: list[type[Any]], frozen: bool = False) -> Any:
        # One frame a level, so that the limit is reached before the interpreter's own: a comprehension takes another.
        kind = cast("type[Any]", type(value))
        if value is None or kind is bool:
            return value
        if kind is int:
            if value.bit_length() > _INT_BITS:
                raise PayloadError(f"{where} is an int of more than {_INT_BITS} bits, which cannot be recorded")
            return value
        if kind is str:
            return _text(value, where)
        if kind is float:
            return value if math.isfinite(value) else {"$": "float", "v": repr(value)}
        if depth >= DEPTH:
            raise PayloadError(
                f"{where} is nested more than {DEPTH} levels deep, or contains itself, and cannot be recorded; keep "
                "its parts in a flat list or dict"
            )
        if kind in PLAIN:
            if not frozen:  # a value of the state; in it everything is frozen, and has no tag of its own
                return {"$": TAG, "v": self._pack(value, where, depth, checked, True)}
            kind = PLAIN[kind]
        if kind is list:
            made: list[Any] = []
            for item in value:
                made.append(self._pack(item, where, depth + 1, checked, frozen))  # noqa: PERF401
            return made
        if kind is dict:
            for key in value:
                if type(key) is not str or key == "$":
                    break
            else:
                plain: dict[str, Any] = {}
                for key, item in value.items():
                    plain[_text(key, where)] = self._pack(item, where, depth + 1, checked, frozen)
                return plain
            if collide(value):
                raise PayloadError(f"{where} is a dict with {_MANY}")
            pairs: list[Any] = []
            for key, item in value.items():
                # The tag, the list and the pair are a level each.
                packed = self._pack(key, where, depth + 3, checked, frozen)
                pairs.append([packed, self._pack(item, where, depth + 3, checked, frozen)])
            return {"$": "dict", "v": pairs}
        if kind is tuple or kind is set or kind is frozenset:
            if kind is not tuple and collide(value):
                raise PayloadError(f"{where} is a {kind.__name__} with {_MANY}")
            items: list[Any] = []
            for item in value:
                items.append(self._pack(item, where, depth + 2, checked, frozen))  # noqa: PERF401
            return {"$": kind.__name__, "v": items}
        if kind is range:
            return {"$": "range", "v": [value.start, value.stop, value.step]}
        if kind in _scalars():
            tag, write, _ = _scalars()[kind]
            try:
                return {"$": tag, "v": write(value)}
            except ValueError as error:
                raise PayloadError(f"{where} is a {kind.__qualname__} that cannot be recorded: {error}") from None
        if isinstance(value, Source) and self._sources.get(value.name) is value.function:
            given = [list(value.arguments), dict(value.options)]
            packed = self._pack(given, f"an argument of {where}", depth + 1, checked)
            return {"$": "source", "v": [value.name, *packed]}
        name = self._names.get(kind)
        if name is None:
            if kind in MARKED:
                return cast("Any", value).packed
            raise self._refusal(value, kind, where)
        from .objects import Misfit, shape_of  # see `register`

        shape = shape_of(kind)
        if shape.checked:
            checked.append(kind)
        if shape.form == "enum":
            member: Any = value
            return {"$": f"type:{name}", "v": self._pack(member.value, where, depth + 1, checked)}
        try:
            if shape.refused:
                raise Misfit(shape.refused)
            fields = shape.parts_of_model(value) if shape.form == "model" else shape.fields_of(value)
        except Misfit as error:
            raise PayloadError(
                f"{where} is a {kind.__module__}.{kind.__qualname__} that cannot be recorded without loss: {error}"
            ) from None
        packed_fields: dict[str, Any] = {}
        for part, item in fields.items():
            packed_fields[part] = self._pack(item, where, depth + 2, checked)
        return {"$": f"{_TAGS[shape.form]}:{name}", "v": packed_fields}

    def _refusal(self, value: Any, kind: type[Any], where: str) -> PayloadError:
        if kind in self._clashes:
            other = " and ".join(sorted({f"{it.__module__}.{it.__qualname__}" for it in self._clashes[kind]}))
            return PayloadError(
                f"{where} is a {kind.__module__}.{kind.__qualname__}, which has no name in records: {other} have the "
                f"same; give each one of its own with flow.register_type(cls, name)"
            )
        hint = (
            "an iterator is lost with its process; return a source instead, made by a function with @flow.source"
            if hasattr(value, "__anext__") or hasattr(value, "__next__")
            else "make it JSON-shaped, keep it in a resource, or, if it is a dataclass, msgspec struct, named tuple, "
            "Pydantic model or enum, register its class with flow.register_type"
        )
        return PayloadError(f"{where} is a {kind.__module__}.{kind.__qualname__}, which cannot be recorded; {hint}")

    def unpack(self, data: Any, *, owned: bool = False, frozen: bool = False) -> Any:
        """The value of recorded data. Raises `SnapshotError` for an unknown tag or class, and for damaged data.

        `owned`: nobody else uses the data, so that its lists and dicts become those of the value, or are emptied while
        it is made: a large value is not in memory twice. Then the value can be made `frozen`, see `freeze`."""
        try:
            return self._unpack_owned(data, 0, frozen) if owned else self._unpack(data, 0)
        except RecursionError:  # called from deep inside a recursion of the user's
            raise SnapshotError(
                "a recorded value cannot be read: it and the calls around it exceed the recursion limit of Python"
            ) from None

    def _unpack(self, data: Any, depth: int) -> Any:
        kind = cast("type[Any]", type(data))
        if kind is not list and kind is not dict:
            return data
        if depth >= DEPTH + _INNER:
            raise SnapshotError(
                f"a recorded value is nested more than {DEPTH} levels deep; this engine writes at most {DEPTH}"
            )
        if kind is list:
            items: list[Any] = []
            for item in data:
                items.append(self._unpack(item, depth + 1))  # noqa: PERF401
            return items
        if "$" not in data:
            made: dict[str, Any] = {}
            for key, item in data.items():
                made[key] = self._unpack(item, depth + 1)
            return made
        tag = data["$"] if isinstance(data["$"], str) else type(data["$"]).__name__
        try:
            return self._unpack_tagged(tag, data["v"], depth)
        except RecursionError:
            raise
        except SnapshotError:
            if self.marks:
                return mark(data)
            raise
        except Exception as error:  # constructors of registered classes may raise anything
            if self.marks:
                return mark(data)
            from .objects import Misfit  # see `register`

            why = str(error) if isinstance(error, Misfit) else without_values(error)
            raise SnapshotError(f"a recorded value with the tag {tag!r} is damaged: {why}") from None

    def _unpack_owned(self, data: Any, depth: int, frozen: bool) -> Any:
        """See `unpack`. What has a tag is made anew."""
        kind = cast("type[Any]", type(data))
        if depth < DEPTH + _INNER and (kind is list or (kind is dict and "$" not in data)):
            for at, item in enumerate(data) if kind is list else data.items():
                if type(item) is list or type(item) is dict:
                    data[at] = self._unpack_owned(item, depth + 1, frozen)
            if not frozen:
                return data
            made = FrozenList(data) if kind is list else FrozenDict(data)
            data.clear()
            return made
        value = self._unpack(data, depth)
        return freeze(value) if frozen else value

    def _unpack_tagged(self, tag: str, data: Any, depth: int) -> Any:
        if tag in _readers():
            return _readers()[tag](data)
        if tag == "float":
            return float(data)
        if tag == TAG:
            return freeze(self._unpack(data, depth + 1))
        if tag == "range":
            return range(*data)
        if tag == "dict":
            keys: list[Any] = []
            values: list[Any] = []
            for key, value in data:
                keys.append(self._unpack(key, depth + 3))
                values.append(self._unpack(value, depth + 3))
            if collide(keys):
                raise SnapshotError(f"a recorded dict has {_MANY}")
            return dict(zip(keys, values, strict=True))
        if tag in ("tuple", "set", "frozenset"):
            items: list[Any] = []
            for item in data:
                items.append(self._unpack(item, depth + 2))  # noqa: PERF401
            if tag != "tuple" and collide(items):
                raise SnapshotError(f"a recorded {tag} has {_MANY}")
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[tag](items)
        if tag == "source":
            name, arguments, options = data
            if name not in self._sources:
                raise SnapshotError(
                    f"a recorded value names the source {name!r}, which is not registered; "
                    "register its function with @flow.source"
                )
            given = self._unpack([arguments, options], depth + 1)
            return source_of(name, self._sources[name], tuple(given[0]), given[1])
        how, _, name = tag.partition(":")
        if how not in _READ or name not in self._classes:
            raise SnapshotError(
                f"a recorded value has the type {tag!r}, which is not registered; register its class with "
                "flow.register_type"
            )
        from .objects import is_model, is_named_tuple, shape_of  # see `register`

        cls = self._classes[name]
        if issubclass(cls, Enum):
            return cls(self._unpack(data, depth + 1))
        if how == "type" and is_model(cls):  # as earlier versions have written it
            return cast("Any", cls).model_validate(self._unpack(data, depth + 1))
        fields: dict[str, Any] = {}
        for key, value in data.items():
            fields[key] = self._unpack(value, depth + 2)
        if how == "model":
            return shape_of(cls).make_model(fields)
        return cls(**fields) if how == "type" and not is_named_tuple(cls) else shape_of(cls).make(fields)


_MANY: Final = f"more than {SAME_HASH} members of the same hash, which takes too long to read"


def collide(members: Collection[Any]) -> bool:
    """Whether more than `SAME_HASH` members of a set, or keys of a dict, have the same hash."""
    if len(members) <= SAME_HASH:
        return False
    counts: dict[int, int] = {}
    for member in members:
        number = hash(member)
        counts[number] = counts.get(number, 0) + 1
    return max(counts.values()) > SAME_HASH


def _text(value: str, where: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PayloadError(
                f"{where} contains half of a surrogate pair; that is not valid text and cannot be recorded"
            ) from None
    return value
