"""How instances of registered classes are recorded: which fields they have, and how they are made again.

Making an object by its class runs `__post_init__`, validators and defaults a second time, so it may come back as
another one. So wherever a class has such code, the fields are recorded as they are, and are put back without calling
it. A class whose instances hold more than fields (a base class written in C, attributes added later) cannot be
recorded without loss: its instances are refused when they are written.
"""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from inspect import getattr_static
from types import MemberDescriptorType
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

import msgspec

from .._core.values import kind_of

Form = Literal["enum", "model", "made", "state"]
_HEAP_TYPE = 1 << 9  # the flag of a class that a `class` statement has made
_MISSING: Any = object()
_new_tuple = cast("Any", tuple).__new__


def is_model(cls: type[Any]) -> bool:
    """Whether a class is a Pydantic model."""
    return hasattr(cls, "__pydantic_fields__") and hasattr(cls, "model_validate")


def is_named_tuple(cls: Any) -> bool:
    """Whether a class is a named tuple."""
    return issubclass(cls, tuple) and hasattr(cast("Any", cls), "_fields")


def is_recordable(cls: Any) -> bool:
    """Whether a class may be registered."""
    if not isinstance(cls, type):
        return False
    kind = cast("type[Any]", cls)
    return (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, msgspec.Struct | Enum)
        or is_model(kind)
        or is_named_tuple(kind)
    )


class Misfit(ValueError):
    """Fields do not fit a class: those of an object, or recorded ones. The message names fields, and has no value."""


class Shape:
    """How the instances of one class are recorded.

    `form` says how: an "enum" by its value; "made" (structs, named tuples) by its fields, and read by calling the
    class, which runs no code of the user's but the `default_factory` of a field that the record lacks; "state" by its
    fields, which are put back one by one; a "model" (Pydantic) by all that it holds.
    `refused` says why no instance can be recorded, None if they can. With `checked` an instance is read back when it is
    written, because making it runs code of the user's.
    """

    __slots__ = ("_derived", "_slots", "checked", "cls", "form", "names", "refused")

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.checked = False
        self.refused: str | None = None
        self.form: Form = "state"
        self.names: tuple[str, ...] = ()
        self._slots: tuple[str, ...] = ()
        self._derived: frozenset[str] = frozenset()
        if issubclass(cls, Enum):
            self.form, self.checked = "enum", True
            return
        self._derived = frozenset(
            name for base in cls.__mro__ for name, it in base.__dict__.items() if isinstance(it, cached_property)
        )
        if is_model(cls):
            self.form, self.names = "model", tuple(cast("Any", cls).__pydantic_fields__)
        elif issubclass(cls, msgspec.Struct):
            self.names = tuple(cls.__struct_fields__)
            self.checked = _has_any(cls, msgspec.Struct, "__post_init__", "__init__", "__new__")
            self.form = "state" if self.checked else "made"
        elif is_named_tuple(cls):
            self.names = tuple(cast("Any", cls)._fields)
            self.form = "made"
        else:
            self.names = tuple(field.name for field in dataclasses.fields(cls))
        self._slots = self._other_slots()
        self.refused = self._why_refused()

    def _other_slots(self) -> tuple[str, ...]:
        """Slots that are no fields."""
        known = {*self.names, "__dict__", "__weakref__"}
        if self.form == "model":
            return ()
        return tuple(
            name
            for base in self.cls.__mro__
            for name, it in base.__dict__.items()
            if base not in msgspec.Struct.__mro__ and isinstance(it, MemberDescriptorType) and name not in known
        )

    def _why_refused(self) -> str | None:
        if self.form == "model":
            return None
        allowed: tuple[type[Any], ...] = (object,)
        if issubclass(self.cls, msgspec.Struct):
            allowed = msgspec.Struct.__mro__
        elif is_named_tuple(self.cls):
            allowed = tuple.__mro__
        for base in self.cls.__mro__:
            if base not in allowed and not base.__flags__ & _HEAP_TYPE:
                return f"it derives from {base.__qualname__}, which holds more than its fields"
        if self.form == "state" and not issubclass(self.cls, msgspec.Struct):
            for name in self.names:
                it: Any = getattr_static(self.cls, name, None)
                if hasattr(kind_of(it), "__set__") and not isinstance(it, MemberDescriptorType):
                    return f"its field {name!r} is a {type(it).__qualname__}"
        return None

    def fields_of(self, value: Any) -> dict[str, Any]:
        """The fields of an instance, for the forms "made" and "state". Raises `Misfit` if it holds more or less."""
        held: Mapping[str, Any] = getattr(value, "__dict__", None) or {}
        for name in held:
            if name not in self.names and name not in self._derived:
                raise Misfit(f"it holds {name!r}, which is not one of its fields")
        for name in self._slots:
            if getattr(value, name, _MISSING) is not _MISSING:
                raise Misfit(f"it holds {name!r}, which is not one of its fields")
        found: dict[str, Any] = {}
        for name in self.names:
            it = held.get(name, _MISSING)
            if it is _MISSING:
                it = getattr(value, name, _MISSING)
            if it is _MISSING:
                raise Misfit(f"its field {name!r} is not set")
            found[name] = it
        return found

    def parts_of_model(self, value: Any) -> dict[str, Any]:
        """All that a Pydantic model holds. Raises `Misfit` if it holds something else."""
        held: dict[str, Any] = value.__dict__
        fields = {name: held[name] for name in self.names if name in held}
        for name in held:
            if name not in fields and name not in self._derived:
                raise Misfit(f"it holds {name!r}, which is not one of its fields")
        parts: dict[str, Any] = {"fields": fields}
        given = value.__pydantic_fields_set__
        if given != fields.keys():
            parts["set"] = sorted(given)
        if value.__pydantic_extra__:
            parts["extra"] = value.__pydantic_extra__
        if value.__pydantic_private__:
            parts["private"] = value.__pydantic_private__
        return parts

    def make(self, fields: dict[str, Any]) -> Any:
        """Make an instance of the form "made" or "state" out of its fields; those that are missing get their default.

        Raises what the class raises, and `Misfit` for a field that it does not have.
        """
        cls: Any = self.cls
        if is_named_tuple(cls):
            defaults: dict[str, Any] = cls._field_defaults
            found = {**defaults, **fields}
            if found.keys() != set(self.names):
                raise Misfit(f"{cls.__qualname__} has the fields {self.names}")
            return _new_tuple(cls, [found[name] for name in self.names])
        if self.form == "made":
            return cls(**fields)  # a struct without code of its own
        unknown = fields.keys() - set(self.names)
        if unknown:
            raise Misfit(f"{cls.__qualname__} has no field {sorted(unknown)[0]!r}")
        if issubclass(cls, msgspec.Struct):
            struct = cls(**fields)
            for name, it in fields.items():  # what `__post_init__` has changed again
                msgspec.structs.force_setattr(struct, name, it)
            return struct
        made = object.__new__(cls)
        for field in dataclasses.fields(cls):
            object.__setattr__(made, field.name, fields[field.name] if field.name in fields else _default(cls, field))
        return made

    def make_model(self, parts: Mapping[str, Any]) -> Any:
        """Make a Pydantic model out of what `parts_of_model` gave; new fields of its class get their default.

        Raises `Misfit` for a field without one.
        """
        cls = cast("Any", self.cls)
        stored: dict[str, Any] = parts["fields"]
        made: Any = cls.__new__(cls)
        held: dict[str, Any] = {}
        for name, field in cls.__pydantic_fields__.items():
            if name in stored:
                held[name] = stored[name]
            elif field.is_required():
                raise Misfit(f"{cls.__qualname__} needs {name!r}")
            else:
                held[name] = field.get_default(call_default_factory=True, validated_data=held)
        given = set(map(str, parts["set"])) if "set" in parts else set(stored)
        extra: Any = parts.get("extra")
        if extra is None and cls.model_config.get("extra") == "allow":
            extra = {}
        private: Any = parts.get("private")
        if private is None and cls.__private_attributes__:
            private = {}
        object.__setattr__(made, "__dict__", held)
        object.__setattr__(made, "__pydantic_fields_set__", given & (held.keys() | (extra or {}).keys()))
        object.__setattr__(made, "__pydantic_extra__", extra)
        object.__setattr__(made, "__pydantic_private__", private)
        return made


#: Weakly, because a notebook or a test makes its classes anew.
_shapes: WeakKeyDictionary[type[Any], Shape] = WeakKeyDictionary()


def shape_of(cls: type[Any]) -> Shape:
    """The shape of a class that `is_recordable`, made once."""
    shape = _shapes.get(cls)
    if shape is None:
        shape = _shapes[cls] = Shape(cls)
    return shape


def _default(cls: type[Any], field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise Misfit(f"{cls.__qualname__} needs {field.name!r}")


def _has_any(cls: type[Any], root: type[Any], *names: str) -> bool:
    """Whether a class, or a base class below `root`, defines one of these methods. `Generic` is passed over."""
    return any(
        name in base.__dict__
        for base in cls.__mro__
        if base not in root.__mro__ and base.__module__ != "typing"
        for name in names
    )
