"""Each kind of type: how it is drawn, what an answer becomes, and where a wrong answer is wrong."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from typing_extensions import TypeAliasType

from triggerflow.models import Output, OutputError

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Model(pydantic.BaseModel):
    """A model."""

    n: int


class Struct(msgspec.Struct):
    n: int


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    meows: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    barks: int


class A(msgspec.Struct, tag="a"):
    n: int


class B(msgspec.Struct, tag="b"):
    s: str


@dataclass
class Data:
    n: int
    model: Model | None = None
    rest: list[int] = field(default_factory=list)


class Holds(pydantic.BaseModel):
    data: Data


class StructHolds(msgspec.Struct):
    model: Model
    models: list[Model] = []


class Typed(TypedDict):
    n: int
    s: NotRequired[str]


class Partly(TypedDict, total=False):
    n: int


class Pair(NamedTuple):
    left: int
    right: str = "none"


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class PageStruct(msgspec.Struct, Generic[T]):
    items: list[T]


class Names(pydantic.RootModel[list[str]]):
    pass


class Tree(pydantic.BaseModel):
    value: int
    left: Optional["Tree"] = None


UTC = timezone(timedelta(0))
TAGGED = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
Count = NewType("Count", int)
Models = TypeAliasType("Models", list[Model])
Same = TypeAliasType("Same", tuple[T, T], type_params=(T,))

ID = "12345678-1234-5678-1234-567812345678"
REX = {"kind": "dog", "barks": 1}
LEAF = {"value": 1, "left": {"value": 2}}

KINDS: list[tuple[Any, str, Any, Any, Any, str]] = [
    # the type of x, a part of the drawing, an answer, what it becomes, a wrong answer, the place of the mistake
    (Literal["a", "b"], '<one of "a", "b">', "a", "a", "c", "x"),
    (Literal["a"], '"x": "a"', "a", "a", "b", "x"),
    (Colour, '<one of "blue", "red">', "red", Colour.RED, "green", "x"),
    (dict[str, int], '"<any key>": <int>', {"k": 1}, {"k": 1}, {"k": "a"}, "x"),
    (dict[int, str], '"<any key>": <str>', {"1": "a"}, {1: "a"}, {"k": "a"}, "x"),
    (Mapping[str, Model], '"<any key>": {', {"k": {"n": 1}}, {"k": Model(n=1)}, {"k": {}}, "x.k.n"),
    (tuple[int, str], "<int>,\n    <str>,\n  ]", [1, "a"], (1, "a"), [1], "x"),
    (tuple[int, ...], "<int>,\n    ...", [1, 2], (1, 2), ["a"], "x[0]"),
    (set[int], "[  // no item twice", [1], {1}, ["a"], "x[0]"),
    (frozenset[str], "[  // no item twice", ["a"], frozenset("a"), [1], "x[0]"),
    (Sequence[int], "<int>,\n    ...", [1], [1], ["a"], "x[0]"),
    (int | None, "<int> or <null>", None, None, "a", "x"),
    (int | list[str], "<int> or [", ["a"], ["a"], {}, "x"),
    (Model | None, "} or <null>", {"n": 1}, Model(n=1), {"n": "a"}, "x.n"),
    (list[Model], '"n": <int>', [{"n": 1}], [Model(n=1)], [{"n": 1}, {}], "x[1].n"),
    (dict[str, Model], '"n": <int>', {"k": {"n": 1}}, {"k": Model(n=1)}, {"k": {}}, "x.k.n"),
    (Cat | Dog, '"kind": "cat",', REX, Dog(kind="dog", barks=1), {"kind": "cat"}, "x (Cat).meows"),
    (TAGGED, '} or {\n    "kind": "dog",', REX, Dog(kind="dog", barks=1), {"kind": "cow"}, "x"),
    (A | B, '"type": "b",', {"type": "b", "s": "a"}, B("a"), {"type": "c"}, "x.type"),
    (Page[Model], '"items": [', {"items": [{"n": 1}]}, Page[Model](items=[Model(n=1)]), {"items": 1}, "x.items"),
    (PageStruct[Struct], '"items": [', {"items": [{"n": 1}]}, PageStruct([Struct(1)]), {"items": [{}]}, "x.items[0]"),
    (Names, "<str>,\n    ...", ["a"], Names(["a"]), [1], "x[0]"),
    (Tree, "<another Tree> or <null>", LEAF, Tree(value=1, left=Tree(value=2)), {"value": 1, "left": []}, "x.left"),
    (Data, "may be left out", {"n": 1, "model": {"n": 2}}, Data(1, Model(n=2)), {"n": 1, "model": {}}, "x.model.n"),
    (Holds, '"data": {', {"data": {"n": 1}}, Holds(data=Data(1)), {"data": {}}, "x.data.n"),
    (StructHolds, '"model": {', {"model": {"n": 1}}, StructHolds(Model(n=1)), {"model": {}}, "x.model.n"),
    (Typed, '"s": <str>,  // may be null or left out', {"n": 1}, {"n": 1}, {"n": "a"}, "x.n"),
    (Partly, '"n": <int>,  // may be null or left out', {"n": None}, {}, {"n": "a"}, "x.n"),
    (Pair, "<int>,\n    <str>,\n  ]", [1, "a"], Pair(1, "a"), ["a", "a"], "x[0]"),
    (Count, "<int>", 1, 1, "a", "x"),
    (Models, '"n": <int>', [{"n": 1}], [Model(n=1)], [{}], "x[0].n"),
    (Same[Model], '"n": <int>', [{"n": 1}, {"n": 2}], (Model(n=1), Model(n=2)), [{"n": 1}, {}], "x[1].n"),
    (UUID, "<str, format uuid>", ID, UUID(ID), "a", "x"),
    (date, "<str, format date>", "2021-02-03", date(2021, 2, 3), "soon", "x"),
    (datetime, "<str", "2021-02-03T04:05:06Z", datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC), "soon", "x"),
    (Decimal, "<str, format decimal>", "1.5", Decimal("1.5"), "a", "x"),
    (bytes, "<str, in base64>", "YQ==", b"a", 1, "x"),
    (Annotated[int, msgspec.Meta(ge=1, le=5)], "<int, 1 <= n <= 5>", 5, 5, 6, "x"),
    (Annotated[int, pydantic.Field(gt=0)], "<int, 0 < n>", 1, 1, 0, "x"),
    (Annotated[str, pydantic.Field(max_length=2)], "<str, at most 2 characters>", "ab", "ab", "abc", "x"),
    (Annotated[str, msgspec.Meta(pattern="^a")], "<str, matching ^a>", "ab", "ab", "b", "x"),
    (Annotated[list[int], msgspec.Meta(min_length=2, max_length=2)], "[  // exactly 2 items", [1, 2], [1, 2], [1], "x"),
    (pydantic.PositiveInt, "<int, 0 < n>", 1, 1, -1, "x"),
    (Any, "<any JSON value>", {"a": [None]}, {"a": [None]}, ..., ""),
    (dict, "<any JSON object>", {"a": 1}, {"a": 1}, [], "x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "drawn", "answer", "made", "wrong", "place"), KINDS, ids=[str(row[0]) for row in KINDS]
)
def test_a_kind_of_type(kind: Any, drawn: str, answer: Any, made: Any, wrong: Any, place: str) -> None:
    output = Output({"x": kind})
    assert drawn in output.prompt
    converted = output.convert({"x": answer})["x"]
    assert converted == made
    assert type(converted) is type(made)
    if wrong is not ...:
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - each library says it in its own words
            output.convert({"x": wrong})
        said = str(raised.value).removeprefix("output.")
        assert said.startswith((f"{place}: ", f"{place} ", f"{place}[...]: ")), said


def test_a_description_of_several_lines_is_one_comment() -> None:
    output = Output({"x": (int, "a number\n  of things"), "list": [(str, "each one\nof them")]})
    assert '"x": <int>,  // a number of things\n' in output.prompt
    assert "    <str>,  // each one of them\n" in output.prompt


def test_a_large_description_is_drawn_once() -> None:
    """A type that uses two of the next type, twenty times over, would be drawn a million times."""
    kind: Any = Model
    for number in range(20):
        kind = pydantic.create_model(f"Level{number}", left=(kind, ...), right=(kind, ...))
    output = Output(kind)
    assert len(output.prompt) < 40_000
    assert "<another Level" in output.prompt


def test_two_types_of_one_name_are_told_apart() -> None:
    def named(key: str) -> Any:
        return msgspec.defstruct("Twin", [(key, int)], module=f"module_{key}")

    output = Output({"first": list[named("a")], "second": list[named("b")]})
    assert output.prompt.index('"a": <int>') < output.prompt.index('"b": <int>')
    assert sorted(output.full_schema["$defs"]) == ["Twin", "Twin_2"]
    with pytest.raises(ValueError, match=r"second\[0\]"):
        output.convert({"first": [{"a": 1}], "second": [{"a": 1}]})


class Mixed(TypedDict):
    struct: Struct
    limited: Annotated[int, pydantic.Field(ge=1)]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (Mixed, "mixes a constraint of Pydantic's and a msgspec type"),
        ({"a": [Mixed]}, r"output\.a\[\*\]: .* mixes"),
        (int | None, "cannot be integer or null"),
        (Model | None, "cannot be null"),
        (Literal["a", "b"], "cannot be string"),
        (pydantic.RootModel[int], "cannot be integer"),
        ({"a": print}, "is not a type"),
        ({"a": list["Unknown"]}, "no JSON form"),  # type: ignore[name-defined]  # noqa: F821
        ({"a": type(print)}, "no JSON form"),
    ],
)
def test_what_is_no_description_is_refused_with_the_place(description: Any, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        Output(description)


def test_pydantic_is_not_needed_and_not_imported() -> None:
    program = """
import sys
from dataclasses import dataclass
from triggerflow.models import Output
@dataclass
class Step: name: str
output = Output({"steps": list[Step], "first": Step | None})
print(output.part("steps[*]").convert({"name": "a"}), output.strict, "pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == "Step(name='a') True False\n", done.stderr
