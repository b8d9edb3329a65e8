"""Values of many kinds, and what becomes of each when recorded. `python -m tests.values` writes docs/values.md."""

import collections
import dataclasses
import datetime as dt
import enum
import json
import pathlib
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
import pydantic

from triggerflow.errors import PayloadError
from triggerflow.serialize.payload import DEPTH, Types

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "values.md"
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
T = TypeVar("T")
TYPES = Types()


class Animal(pydantic.BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Zoo(pydantic.BaseModel):
    star: Animal


class Cost(pydantic.BaseModel):
    name: str
    cents: int = pydantic.Field(default=0, exclude=True)


class Aliased(pydantic.BaseModel):
    text: str = pydantic.Field(validation_alias="in", serialization_alias="out")


class Serialized(pydantic.BaseModel):
    when: dt.datetime

    @pydantic.field_serializer("when")
    def year(self, value: dt.datetime) -> int:
        return value.year


class Validated(pydantic.BaseModel):
    n: int

    @pydantic.field_validator("n")
    @classmethod
    def doubled(cls, value: int) -> int:
        return value * 2


class Private(pydantic.BaseModel):
    n: int
    _seen: list[int] = pydantic.PrivateAttr(default_factory=list)


class Computed(pydantic.BaseModel):
    n: int

    @pydantic.computed_field
    @cached_property
    def double(self) -> int:
        return self.n * 2


class Box(pydantic.BaseModel, Generic[T]):
    item: T


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Fish(pydantic.BaseModel):
    kind: Literal["fish"] = "fish"


class Pet(pydantic.BaseModel):
    pet: Annotated[Cat | Fish, pydantic.Field(discriminator="kind")]


class Names(pydantic.RootModel[list[str]]):
    pass


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    n: int


class Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    n: int


class Secret(pydantic.BaseModel):
    key: pydantic.SecretStr


class Link(pydantic.BaseModel):
    url: pydantic.HttpUrl


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, pydantic.AfterValidator(lambda value: value + 1)]


@dataclasses.dataclass
class Plain:
    a: Any
    b: Any = 2


@dataclasses.dataclass
class Child(Plain):
    c: Any = 3


@dataclasses.dataclass
class Late:
    text: str
    tags: list[str] = dataclasses.field(default_factory=list[str], init=False)


@dataclasses.dataclass
class Scaled:
    n: int
    factor: dataclasses.InitVar[int]

    def __post_init__(self, factor: int) -> None:
        self.n *= factor


@dataclasses.dataclass(slots=True)
class Slots:
    a: int


@dataclasses.dataclass(frozen=True)
class Fixed:
    a: int


@dataclasses.dataclass(kw_only=True)
class Keywords:
    a: int
    b: int = 0


@dataclasses.dataclass
class Generated(Generic[T]):
    item: T


@dataclasses.dataclass
class Cached:
    n: int

    @cached_property
    def double(self) -> int:
        return self.n * 2


@dataclasses.dataclass
class Error(Exception):
    text: str


class Struct(msgspec.Struct):
    a: Any
    b: int = 0


class Renamed(msgspec.Struct, rename="camel", kw_only=True):
    long_name: int


class Tagged(msgspec.Struct, tag="x", frozen=True, omit_defaults=True):
    a: int = 1


class Doubling(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        self.n *= 2


class Strict(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        if self.n > 10:
            raise ValueError("too large")


class WithDict(msgspec.Struct, dict=True):
    a: int


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Bits(enum.Flag):
    A = 1
    B = 2


class IntBits(enum.IntFlag):
    A = 1
    B = 2


class Level(enum.IntEnum):
    LOW = 1


class Topic(enum.StrEnum):
    NEWS = "news"


class NotANumber(enum.Enum):
    NAN = float("nan")


class Pair(NamedTuple):
    left: Any
    right: Any = 0


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Items(list[Any]):
    pass


class Table(dict[str, Any]):
    pass


class Unregistered(pydantic.BaseModel):
    n: int


for _cls in (
    Animal, Dog, Zoo, Cost, Aliased, Serialized, Validated, Private, Computed, Box, Box[int], Pet, Names,
    Open, Frozen, Secret, Link, Checked, Plain, Child, Late, Scaled, Slots, Fixed, Keywords, Generated, Cached, Error,
    Struct, Renamed, Tagged, Doubling, Strict, WithDict, Colour, Bits, IntBits, Level, Topic, NotANumber, Pair,
):  # fmt: skip
    TYPES.register(_cls)


def _with(value: Any, **attributes: Any) -> Any:
    for name, it in attributes.items():
        setattr(value, name, it)
    return value


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _looped() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


_AT = dt.datetime(2026, 3, 7, 9)
_WEST = dt.timezone(dt.timedelta(hours=-3.5))
_CACHED = Cached(2)
_COMPUTED = Computed(n=2)
assert (_CACHED.double, _COMPUTED.double) == (4, 4)
_STRICT = _with(Strict(1), n=11)

#: What a value is, the value, and whether it comes back.
KINDS: list[tuple[str, Any, bool]] = [
    ("`None`, `bool`, `int`, `float`, `str`", [None, True, 1, 1.5, "ä\0"], True),
    ("`-0.0`, `nan`, `inf`", [-0.0, float("nan"), float("-inf")], True),
    ("an `int` of 1000 digits", 10**1000, True),
    ("an `int` of 5000 digits", 10**5000, False),
    ("text with half of a surrogate pair", "\ud800", False),
    ("`complex`", 1j, False),
    ("`Decimal`, also `NaN` and trailing zeros", [Decimal("1.10"), Decimal("sNaN"), Decimal("-0")], True),
    ("`Fraction`", Fraction(1, 3), False),
    ("`bytes`", b"\0\xff", True),
    ("`bytearray`", bytearray(b"x"), False),
    ("`list`, `dict` with text as keys", [{"a": [1]}, {}], True),
    ("`dict` with other keys, or the key `$`", [{1: "a", "1": "b", (1, None): 2}, {"$": 1}], True),
    ("`tuple`", (1, (2,)), True),
    ("`set`, `frozenset`", [{1, 2}, frozenset({(1,)})], True),
    ("`range`", range(5, -3, -2), True),
    ("`deque`", collections.deque([1]), False),
    ("`OrderedDict`", collections.OrderedDict(a=1), False),
    ("`defaultdict`", collections.defaultdict(list, a=[1]), False),
    ("`Counter`", collections.Counter("aab"), False),
    ("a subclass of `str`", Text("x"), False),
    ("a subclass of `int`", Number(1), False),
    ("a subclass of `list`", Items([1]), False),
    ("a subclass of `dict`", Table(a=1), False),
    ("a subclass as a key", {Text("x"): 1}, False),
    ("named tuple, registered", Pair(1, (2,)), True),
    ("`datetime` without a zone", _AT, True),
    ("`datetime` in UTC or at an offset", [_AT.replace(tzinfo=dt.UTC), _AT.replace(tzinfo=_WEST)], True),
    ("`datetime` at an offset with a name", _AT.replace(tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")), True),
    ("`datetime` with a `ZoneInfo`", _AT.replace(tzinfo=NEW_YORK), True),
    ("`datetime` with `fold=1`", [_AT.replace(fold=1), dt.datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=1)], True),
    ("`time`, also with a zone or `fold`", [dt.time(1, 2, 3, 4), dt.time(9, tzinfo=NEW_YORK, fold=1)], True),
    ("`date`, `timedelta`", [dt.date(1, 1, 1), dt.timedelta(-1, 2, 3)], True),
    ("a zone itself", NEW_YORK, False),
    ("`UUID`", uuid.UUID(int=5), True),
    ("a path", pathlib.PurePosixPath("/a"), False),
    ("an exception", ValueError("x"), False),
    ("a function, a class", len, False),
    ("an iterator", iter([1]), False),
    ("`Enum`, `IntEnum`, `StrEnum`", [Colour.RED, Colour.PAIR, Level.LOW, Topic.NEWS], True),
    ("`Flag`, `IntFlag`, also combined", [Bits.A | Bits.B, Bits(0), IntBits.A | IntBits.B], True),
    ("an enum member whose value does not find it (`nan`)", NotANumber.NAN, False),
    ("dataclass, also inherited", [Plain(1, (2,)), Child(1)], True),
    ("dataclass with `init=False` fields", _with(Late("a"), tags=["reviewed"]), True),
    ("dataclass with `InitVar` and `__post_init__`", Scaled(2, 5), True),
    ("dataclass with `slots`, `frozen`, `kw_only`", [Slots(1), Fixed(1), Keywords(a=1)], True),
    ("generic dataclass", Generated(1), True),
    ("dataclass with a `cached_property` (computed again)", _CACHED, True),
    ("dataclass with another attribute", _with(Plain(1), other=2), False),
    ("dataclass that is an exception", Error("x"), False),
    ("Pydantic dataclass with a validator", Checked(1), True),
    ("msgspec struct", [Struct((1,)), Renamed(long_name=1), Tagged()], True),
    ("msgspec struct whose `__post_init__` changes a field", Doubling(1), True),
    ("msgspec struct that its own `__post_init__` refuses", _STRICT, False),
    ("msgspec struct with another attribute (`dict=True`)", _with(WithDict(1), other=2), False),
    ("`msgspec.UNSET`", Struct(msgspec.UNSET), False),
    ("Pydantic model, also inherited", [Animal(name="a"), Dog(name="a", breed="b")], True),
    ("Pydantic model with a subclass in a field", Zoo(star=Dog(name="rex", breed="lab")), True),
    ("Pydantic field with `exclude=True`", Cost(name="a", cents=5), True),
    ("Pydantic field with aliases", Aliased(**{"in": "hi"}), True),
    ("Pydantic serializer that loses data", Serialized(when=_AT), True),
    ("Pydantic validator that changes the value", Validated(n=1), True),
    ("Pydantic private attribute", _with(Private(n=1), _seen=[1]), True),
    ("Pydantic private attribute that cannot be recorded", _with(Private(n=1), _seen=[object()]), False),
    ("Pydantic computed field", _COMPUTED, True),
    ("generic Pydantic model", [Box(item=1), Box[int](item=1)], True),
    ("Pydantic discriminated union", [Pet(pet=Cat()), Pet(pet=Fish())], True),
    ("Pydantic `RootModel`", Names(["a"]), True),
    ("Pydantic `extra=\"allow\"`", Open(n=1, more=(2,)), True),  # pyright: ignore[reportCallIssue]
    ("frozen Pydantic model", Frozen(n=1), True),
    ("Pydantic model built without validation", Animal.model_construct(name=5), True),
    ("Pydantic model changed after validation", _with(Animal(name="a"), name=(1,)), True),
    ("Pydantic `SecretStr`", Secret(key=pydantic.SecretStr("x")), False),
    ("Pydantic URL", Link(url=pydantic.HttpUrl("http://a")), False),
    ("an instance of a class that is not registered", Unregistered(n=1), False),
    (f"a list nested {DEPTH} deep", _nested(DEPTH), True),
    (f"a list nested {DEPTH + 1} deep", _nested(DEPTH + 1), False),
    ("a list that contains itself", _looped(), False),
]  # fmt: skip


def stored(value: Any) -> Any:
    """The value after a way through JSON text; raises `PayloadError` when it is written."""
    return TYPES.unpack(json.loads(json.dumps(TYPES.pack(value, "value"))))


def page() -> str:
    """The text of docs/values.md."""
    rows: list[str] = []
    for what, value, _ in KINDS:
        try:
            stored(value)
        except PayloadError:
            rows.append(f"| {what} | refused |")
        else:
            rows.append(f"| {what} | equal |")
    return HEAD + "\n".join(rows) + "\n"


HEAD = f"""\
# Which values can be recorded

A value in a durable execution, or in one that is saved, is recorded. It comes back equal, with the same type and the
same data, or it is refused at once: the call that would record it raises `PayloadError`, which names the value and what
to do. In memory any value passes.

- Dataclasses, msgspec structs, named tuples, Pydantic models and enums are recorded by the name of their class. The
  types that `flow.signal`, `flow.set_state` and `flow.set_contract` declare are registered with their fields; others
  need `flow.register_type(cls)`.
- Fields are recorded as they are and put back as they are: aliases, `exclude`, serializers and validators play no part.
  A field that its class got later has its default; a field that a dataclass or struct has lost is an error.
- A value may be nested {DEPTH} levels deep. A list or dict is one level, a tuple, set or object two, a dict with other
  keys than text three.
- Lists, dicts and sets that a state holds can be read but not changed in place; see
  [decision 0021](decisions/0021-state-is-not-changed-in-place.md).

A test makes this table from values of each kind (`tests/values.py`).

| value | |
|---|---|
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
