"""The schema that strict servers accept, and how an answer that it made comes back as the described one."""

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from openai.lib._pydantic import to_strict_json_schema
from typing_extensions import TypedDict

from tests.models.instant_support import pieces
from tests.models.strict_rules import check_strict
from triggerflow.models import AnswerError, Output, Request, Response

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Step(pydantic.BaseModel):
    """One thing to do."""

    name: str


class Other(pydantic.BaseModel):
    name: int


class Plan(pydantic.BaseModel):
    first: Step = pydantic.Field(description="where to begin")
    then: list[Step]
    last: Step | None = None


class Cat(pydantic.BaseModel):
    name: str
    kind: Literal["cat"]
    meows: int


class Dog(pydantic.BaseModel):
    name: str
    kind: Literal["dog"]
    barks: int


class Owner(pydantic.BaseModel):
    pet: Cat | Dog = pydantic.Field(discriminator="kind")


class Node(pydantic.BaseModel):
    label: str
    left: "Node | None" = pydantic.Field(None, description="the smaller ones")
    kids: list["Node"]


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    total: int


class Limits(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(regex_engine="python-re")
    stars: int = pydantic.Field(ge=1, le=5)
    half: float = pydantic.Field(gt=0, lt=1, multiple_of=0.5)
    word: str = pydantic.Field(min_length=2, max_length=9)
    code: str = pydantic.Field(pattern="^[a-z]+$")
    other: str = pydantic.Field(pattern=r"^(?!no)\w+$")
    few: list[str] = pydantic.Field(min_length=1, max_length=3)
    unlike: set[int]
    when: datetime
    id: UUID
    site: pydantic.HttpUrl
    price: Decimal
    raw: bytes


class Settings(pydantic.BaseModel):
    """All of it is optional."""

    size: int = 3
    names: list[str] = pydantic.Field(default_factory=list, description="who takes part")
    note: str | None = None
    level: Level = Level.LOW
    step: Step = Step(name="none")
    deep: "Settings | None" = None


class A(msgspec.Struct, tag="a"):
    x: int


class B(msgspec.Struct, tag="b"):
    y: Annotated[int, msgspec.Meta(ge=0, description="how many")] = 3


class Both(TypedDict):
    id: int
    more: NotRequired[dict[str, int]]


class Some(TypedDict):
    id: int
    note: NotRequired[str]


@dataclass
class Holder:
    step: Step
    choice: A | B | None = None


STRICT: list[Any] = [
    Plan, Owner, Node, Page[Step], Page[Page[int]], Limits, Settings, Some, A, list[A | B],
    {"pet": Cat | Dog}, {"a": (list[Cat], "cats"), "b": [{"c": Colour, "d": (Level, "how much")}]},
    list[Step], list[list[int]], [str], [Cat | Dog], Cat | Dog, A | B, tuple[int, str], tuple[Step, ...],
    {"pair": tuple[int, Step], "same": tuple[int, int], "named": Annotated[int, msgspec.Meta(le=3)]},
    {"one": Literal["a"], "mixed": Literal["a", 1, None], "flag": bool, "none": None | int},
    pydantic.RootModel[list[Step]], pydantic.RootModel[Cat | Dog],
    {"when": datetime, "id": UUID, "colour": (Colour, "which"), "price": Decimal, "raw": bytes},
    {"answer": [int]}, [{"answer": (int, "taken")}],
]  # fmt: skip


@pytest.mark.parametrize("description", STRICT, ids=str)
def test_the_schema_keeps_the_rules(description: Any) -> None:
    output = Output(description)
    assert output.not_strict == ()
    assert output.strict
    check_strict(output.schema)


@pytest.mark.parametrize("model", [Step, Plan, Node, Page[Step], Page[Page[int]]])
def test_it_is_what_the_sdk_makes_of_the_kinds_that_it_supports(model: Any) -> None:
    """Without titles; and definitions that nothing refers to any more are left out."""
    theirs = to_strict_json_schema(model)

    def without_titles(part: Any) -> Any:
        if isinstance(part, list):
            return [without_titles(item) for item in part]
        if not isinstance(part, dict):
            return part
        title = isinstance(part.get("title"), str)
        return {key: without_titles(value) for key, value in part.items() if not (title and key == "title")}

    theirs = without_titles(theirs)
    ours = Output(model).schema
    if "$ref" in theirs:  # a root that refers to itself, which the servers refuse
        theirs = {**theirs["$defs"][theirs["$ref"].rpartition("/")[2]], "$defs": theirs["$defs"]}
    theirs["$defs"] = {name: part for name, part in theirs.get("$defs", {}).items() if name in ours.get("$defs", {})}
    assert {"$defs": {}, **ours} == theirs


def test_what_a_keyword_cannot_say_is_said_in_words() -> None:
    schema = Output(Limits).schema
    parts = schema["properties"]
    assert parts["stars"] == {"type": "integer", "minimum": 1, "maximum": 5}
    assert parts["code"] == {"type": "string", "pattern": "^[a-z]+$"}
    assert parts["few"] == {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3}
    assert parts["when"] == {"type": "string", "format": "date-time"}
    assert parts["word"]["description"] == "at least 2 characters; at most 9 characters"
    assert r"(?!no)" in parts["other"]["description"]
    assert parts["unlike"]["description"] == "no item twice"
    assert "format: uri" in parts["site"]["description"]
    pair = Output({"pair": (tuple[int, Step], "both")}).schema
    assert pair["properties"]["pair"]["description"] == "both (items in this order: integer, One thing to do.)"


def test_objects_of_a_union_begin_with_their_tag() -> None:
    schema = Output(Owner).schema
    assert [list(part["properties"]) for part in schema["$defs"].values()] == [
        ["kind", "name", "meows"],
        ["kind", "name", "barks"],
    ]


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (dict[str, Step], "output may have keys that are not described"),
        ({"scores": dict[str, float]}, "output.scores may have keys"),
        ({"any": Any}, "output.any may be any JSON value"),
        ({"list": list}, r"output.list may have items of any type"),
        ({"list": list[Any]}, r"output.list may have items of any type"),
        (Both, r"more may have keys"),
        (list[int] | Step, "output may be an object or a list"),
        (Any, "output may be an object or a list"),
        ({"ends": tuple[Step, Other]}, "objects of a union begin with the same key 'name', which is no tag"),
        ({"deep": Annotated[int, msgspec.Meta(extra_json_schema={"not": {"const": 3}})]}, "the keyword 'not'"),
        ({"many": Literal[tuple(f"value {n}" for n in range(1_001))]}, "1001 values to choose from"),
        ({"long": Literal[tuple(f"{n:080}" for n in range(300))]}, "more than 15000 characters"),
        ({f"{n:040}": int for n in range(4_000)}, "160000 characters"),
        ({f"key {n}": int for n in range(5_001)}, "5001 keys"),
    ],
)
def test_what_cannot_be_expressed_is_told_before_the_request(description: Any, reason: str) -> None:
    output = Output(description)
    assert not output.strict
    assert output.schema == output.object_schema
    assert any(reason in found for found in output.not_strict), output.not_strict
    json.dumps(output.object_schema)


def test_objects_may_nest_ten_deep() -> None:
    description: Any = int
    for depth in range(1, 12):
        description = {"inner": description}
        assert Output(description).strict is (depth <= 10)


def test_a_model_with_further_keys_is_not_strict() -> None:
    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        title: str

    assert Output(Open).not_strict == ("output may have keys that are not described",)


# -- back from the strict form ---------------------------------------------------------------------------------------


def test_a_null_means_that_an_optional_key_is_left_out() -> None:
    data = {"size": None, "names": None, "note": None, "level": None, "step": None, "deep": None}
    assert Output(Settings).convert(data) == Settings()
    assert Output({"all": [Settings]}).convert({"all": [{**data, "deep": data}]})["all"] == [Settings(deep=Settings())]
    assert Output(Settings).convert({"size": 5}).size == 5
    assert Output(Some).convert({"id": 1, "note": None}) == {"id": 1}
    assert Output(A | B).convert({"type": "b", "y": None}) == B()
    assert Output(Holder).convert({"step": {"name": "x"}, "choice": {"type": "b", "y": None}}).choice == B()
    assert Output(dict[str, Settings]).convert({"x": data}) == {"x": Settings()}
    with pytest.raises(ValueError, match="name"):
        Output(Settings).convert({"step": {"name": None}})
    with pytest.raises(ValueError, match=r"output\.x"):
        Output(A).convert({"type": "a", "x": None})


def test_a_null_that_the_description_allows_stays() -> None:
    class Nullable(pydantic.BaseModel):
        n: int | None = 5
        any: Any = 5

    made = Output(Nullable).convert({"n": None, "any": None})
    assert (made.n, made.any) == (None, None)


WRAPPED: list[tuple[Any, Any]] = [
    (list[Step], [{"name": "a"}, {"name": "b"}]),
    ([str], ["a", "b"]),
    ([str], []),
    ([str], ["answer"]),
    ([{"x": str}], [{"x": '{"answer": ['}]),
    (list[list[int]], [[1], [2, 3]]),
    (tuple[int, str], [1, "a"]),
    (Cat | Dog, {"kind": "dog", "name": "Rex", "barks": 3}),
    (A | B, {"type": "b", "y": 2}),
    (pydantic.RootModel[list[Step]], [{"name": "a"}]),
    ([{"answer": int}], [{"answer": 1}, {"answer": 2}]),
]


@pytest.mark.parametrize(("description", "data"), WRAPPED, ids=str)
@pytest.mark.parametrize("constrained", [True, False])
async def test_an_answer_that_is_no_single_object_is_wrapped_and_unwrapped(
    description: Any, data: Any, constrained: bool
) -> None:
    output = Output(description)
    schema = output.schema
    (key,) = schema["properties"]
    assert list(output.object_schema["properties"]) == [key]
    for text in (json.dumps({key: data}), json.dumps({key: data}, indent=2), json.dumps(data)):
        for size in (1, 3, len(text)):
            response = Response(pieces(text, size), output=output, constrained=constrained)
            paths = [event.path async for event in response.get_async_generator("instant") if event.is_complete]
            assert await response.async_get_data() == data
            assert paths[-1] == ""
            assert not any(path.startswith((f"{key}.", f"{key}[")) for path in paths)
            assert await response.async_get_data_object() == output.convert(data)
            assert response.problems == (), "the object around the answer is our own"


def test_the_prompt_draws_the_answer_and_not_its_wrapper() -> None:
    (message,) = Request().output(list[Step]).to_messages(ask_for_json=True)
    assert '[\n  {\n    "name": <str>,\n  },  // One thing to do.\n  ...\n]' in message["content"]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"answer": "none", "others": [1, 2]}', [1, 2]),
        ('{"answer": [1], "answer_": [2]}', None),
        ('{"answer": [1]} or {"answer": [2]}', None),
        ('```json\n{"answer": [1]}\n```', [1]),
        ('<think>{"answer": [2]}</think>{"answer": [1]}', [1]),
        ('{"answer":', None),
        ('{"answer": [1', None),
        ('{ "answer"', None),
        ('{"answer":' + " " * 600, None),
        (" " * 600 + '{"answer": [1]}', [1]),
    ],
)
async def test_other_text_around_the_list_is_read_as_ever(text: str, data: Any) -> None:
    for size in (1, 2, 5, len(text)):
        response = Response(pieces(text, size), output=[int], max_retries=0)
        if data is None:
            with pytest.raises(AnswerError):
                await response.async_get_data()
        else:
            assert await response.async_get_data() == data
