"""How values are recorded: every type there and back, and clear refusals."""

import datetime
import decimal
import uuid
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from triggerflow._core.errors import DefinitionError, PayloadError, SnapshotError
from triggerflow.serialize.payload import Types

TYPES = Types()


@TYPES.register
@dataclass
class Point:
    x: Any
    y: Any = 0
    total: Any = field(init=False, default=None)


@TYPES.register
class Struct(msgspec.Struct):
    name: str
    inner: Any = None


@TYPES.register
class Model(BaseModel):
    title: str
    when: datetime.datetime | None = None
    data: Any = None


@TYPES.register
class Colour(Enum):
    RED = "red"
    PAIR = (1, 2)


@TYPES.register
class Level(IntEnum):
    LOW = 1


def there_and_back(value: Any, types: Types = TYPES) -> Any:
    """Through JSON text, as a store does it."""
    return types.unpack(msgspec.json.decode(msgspec.json.encode(types.pack(value, "value"))))


# -- there and back --------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    TEXT,
    st.binary(),
    st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.sampled_from([Colour.RED, Colour.PAIR, Level.LOW]),
    st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([-2, -1, 1, 3])),
)
KEYS = st.one_of(TEXT, st.just("$"), st.integers(), st.none(), st.tuples(st.integers(), TEXT))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Struct, st.just("s"), inner),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        {1, "a", None},
        frozenset({(1, 2), 3}),
        set[Any](),
        (),
        {"$": "bytes", "v": "AA=="},
        {"$": {"$": 1}},
        {True: 1, "True": 2},
        float("inf"),
        10**40,
        decimal.Decimal("-Infinity"),
        datetime.datetime(
            2024, 2, 29, 23, 59, 59, 999999, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))
        ),
        datetime.time(1, 2, tzinfo=datetime.UTC),
        datetime.timedelta(days=-1, microseconds=1),
        uuid.UUID(int=0),
        Point(Point(1, (2,)), {"k": b"\0"}),
        Struct("a", Struct("b", [Colour.RED])),
        Model(title="m", when=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), data={"$": 1}),
        [Model(title="m"), {"deep": (Level.LOW,)}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_values_come_back_too(value: Any) -> None:
    back = there_and_back(value)
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize("value", [-0.0, decimal.Decimal("1.10"), float("nan"), decimal.Decimal("NaN")], ids=repr)
def test_values_that_equality_cannot_tell_apart_come_back_too(value: Any) -> None:
    assert repr(there_and_back([value])) == repr([value])


def test_an_infinity_inside_a_model_comes_back() -> None:
    class Measured(BaseModel):
        value: float

    types = Types()
    types.register(Measured)
    assert there_and_back(Measured(value=float("inf")), types) == Measured(value=float("inf"))


def test_a_dict_keeps_its_order() -> None:
    value = {"b": 1, "a": {2: 1, 1: 2}}
    assert repr(there_and_back(value)) == repr(value)


def test_the_name_in_the_record_can_outlive_the_class_name() -> None:
    old, new = Types(), Types()

    @dataclass
    class Before:
        x: int

    @dataclass
    class After:
        x: int

    old.register(Before, "thing")
    new.register(After, "thing")
    assert new.unpack(old.pack(Before(1), "value")) == After(1)


# -- refusals --------------------------------------------------------------------------------------------------------


class Unregistered:
    pass


class Text(str):
    __slots__ = ()


@dataclass
class Other:
    x: int


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def deep(depth: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


@pytest.mark.parametrize(
    "value",
    [
        Unregistered(),
        Other(1),
        Text("a subclass is another class"),
        lambda: None,
        complex(1, 2),
        object,
        bytearray(b"x"),
        memoryview(b"x"),
        Exception("x"),
        [1, {"a": (Unregistered(),)}],
        {Unregistered(): 1},
        Point(1, Other(2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_recorded_is_refused_with_place_class_and_advice(value: Any) -> None:
    with pytest.raises(PayloadError, match=r"^state\['key'\] is a .*\..*cannot be recorded.*register") as caught:
        TYPES.pack(value, "state['key']")
    assert "resource" in str(caught.value)


def test_a_generator_is_refused_with_the_way_to_record_its_items() -> None:
    with pytest.raises(PayloadError, match=r"^the place is a builtins\.generator, which cannot be.*@flow\.source"):
        TYPES.pack((number for number in range(3)), "the place")


@pytest.mark.parametrize("value", [looped(), deep(5000), "\ud800", ["\udfff"], {"\ud800": 1}], ids=range(5))
def test_what_has_no_end_or_no_text_is_refused_too(value: Any) -> None:
    with pytest.raises(PayloadError, match=r"^the place"):
        msgspec.json.encode(TYPES.pack(value, "the place"))


@pytest.mark.parametrize("cls", [Unregistered, str, int, list])
def test_a_class_without_fields_cannot_be_registered(cls: type[Any]) -> None:
    with pytest.raises(DefinitionError, match="not a dataclass, msgspec struct, Pydantic model or enum"):
        Types().register(cls)


def test_one_name_is_one_class() -> None:
    types = Types()
    assert types.register(Point) is Point
    assert types.register(Point) is Point
    with pytest.raises(DefinitionError, match="'Point' is registered for"):
        types.register(Other, "Point")


def test_names_and_classes_lead_to_each_other() -> None:
    assert (TYPES.name_of(Point), TYPES.named("Point")) == ("Point", Point)
    assert (TYPES.name_of(Other), TYPES.name_of("Point"), TYPES.name_of(None)) == (None, None, None)
    for kind in (
        list[int], dict[str, list[Point]], tuple[int, ...], int | None, Point | None, str | Point | list[int],
        Literal["yes", 2, None], list, list[Literal[1]],
    ):  # fmt: skip
        name = TYPES.name_of(kind)
        assert name is not None
        assert TYPES.named(name) == kind
    for unnamed in (list[Other], Annotated[int, 5], Literal[Colour.RED] | Other, type[int], TypeVar("T"), [int]):
        assert TYPES.name_of(unnamed) is None
    for text in ('["int", "str"]', '["list", ["Gone"]]', '["', '["list", 5]', '["Union"]', '[["list"]]', '["list"]x'):
        with pytest.raises(SnapshotError):
            TYPES.named(text)
    with pytest.raises(SnapshotError):
        TYPES.named('["list", ' * 100_000)
    with pytest.raises(SnapshotError, match="'Gone', which is not registered"):
        TYPES.named("Gone")


# -- hostile records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"$": "no such tag", "v": 1},
        {"$": "type:no such class", "v": {}},
        {"$": "type:", "v": {}},
        {"$": "Point", "v": {"x": 1}},
        {"$": "os:system", "v": "true"},
        {"$": None, "v": 1},
        {"$": ["bytes"], "v": ""},
        {"$": "bytes"},
        {"$": "bytes", "v": "not base64!"},
        {"$": "bytes", "v": 5},
        {"$": "datetime", "v": "yesterday"},
        {"$": "datetime", "v": None},
        {"$": "date", "v": "2024-13-01"},
        {"$": "time", "v": []},
        {"$": "timedelta", "v": []},
        {"$": "timedelta", "v": [1]},
        {"$": "timedelta", "v": {}},
        {"$": "timedelta", "v": [10**30, 0, 0]},
        {"$": "timedelta", "v": ["a", 0, 0]},
        {"$": "decimal", "v": "one"},
        {"$": "decimal", "v": [1]},
        {"$": "decimal", "v": {}},
        {"$": "uuid", "v": "x"},
        {"$": "uuid", "v": 5},
        {"$": "uuid", "v": None},
        {"$": "float", "v": "one"},
        {"$": "float", "v": []},
        {"$": "range", "v": [1, 2, 0]},
        {"$": "range", "v": ["a"]},
        {"$": "range", "v": 5},
        {"$": "dict", "v": [[1]]},
        {"$": "dict", "v": [[[], 1]]},
        {"$": "dict", "v": 5},
        {"$": "set", "v": [[1]]},
        {"$": "set", "v": 5},
        {"$": "tuple", "v": None},
        {"$": "type:Point", "v": {}},
        {"$": "type:Point", "v": {"x": 1, "evil": 2}},
        {"$": "type:Point", "v": [1]},
        {"$": "type:Point", "v": None},
        {"$": "type:Point", "v": {"__class__": 1}},
        {"$": "type:Struct", "v": "text"},
        {"$": "type:Model", "v": {"title": 5}},
        {"$": "type:Model", "v": [1]},
        {"$": "type:Colour", "v": "green"},
        {"$": "type:Colour", "v": [1]},
    ],
    ids=repr,
)
def test_a_damaged_or_hostile_value_is_refused(data: Any) -> None:
    for nested in (data, [data], {"a": data}, {"$": "tuple", "v": [data]}):
        with pytest.raises(SnapshotError):
            TYPES.unpack(nested)


CLASSES = ("type:Point", "type:Struct", "type:Model", "type:Colour", "type:Level", "type:X")
BUILTIN = (
    "bytes",
    "datetime",
    "date",
    "time",
    "timedelta",
    "decimal",
    "uuid",
    "float",
    "range",
    "dict",
    "set",
    "tuple",
)
TAGS = (*CLASSES, *BUILTIN, "frozenset")


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
            st.fixed_dictionaries(
                {
                    "$": st.sampled_from(TAGS),
                    "v": inner,
                }
            ),
        ),
        max_leaves=10,
    )
)
def test_any_json_is_read_or_refused(data: Any) -> None:
    try:
        TYPES.unpack(data)
    except SnapshotError:
        return


def test_deep_data_is_refused_or_read() -> None:
    for depth in (300, 900, 5000):
        try:
            TYPES.unpack(deep(depth))
        except SnapshotError:
            continue


def test_a_class_that_is_not_registered_here_is_named_with_what_to_do() -> None:
    with pytest.raises(SnapshotError, match=r"'type:Gone', which is not registered.* flow\.register_type"):
        TYPES.unpack({"$": "type:Gone", "v": {}})


@pytest.mark.parametrize("make", [set, frozenset, dict.fromkeys], ids=["set", "frozenset", "dict"])
def test_many_members_of_one_hash_are_refused_on_both_sides(make: Any) -> None:
    """Each of them is compared with all others: a time that grows with the square of their number."""
    numbers = [number * (2**61 - 1) for number in range(1, 102)]
    assert len({hash(number) for number in numbers}) == 1
    assert TYPES.unpack(TYPES.pack(make(numbers[:100]), "it")) == make(numbers[:100])
    with pytest.raises(PayloadError, match=r"it is a .* of the same hash"):
        TYPES.pack(make(numbers), "it")
    pairs = [[number, None] for number in numbers]
    data = {"$": "dict", "v": pairs} if make not in (set, frozenset) else {"$": make.__name__, "v": numbers}
    with pytest.raises(SnapshotError, match="of the same hash"):
        TYPES.unpack(data)
