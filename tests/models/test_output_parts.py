"""`Output.part`: one place of an answer is converted and checked as its own type, before the whole answer is there."""

import json
from dataclasses import dataclass
from dataclasses import field as data_field
from datetime import date
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from typing_extensions import TypeAliasType

from triggerflow.models import Output, ResponseUsageError
from triggerflow.models.instant import InstantParser

T = TypeVar("T")


class Step(pydantic.BaseModel):
    name: str
    cost: int = pydantic.Field(ge=1, le=5)
    tags: list[str] = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: list[int]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Plan(pydantic.BaseModel):
    steps: list[Step]
    first: Step | None = None
    by_name: dict[str, Step] = {}
    pets: list[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]] = []
    pair: tuple[int, Step] | None = None
    when: date = pydantic.Field(default=date(2020, 1, 1), alias="on")


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Root(pydantic.RootModel[list[Step]]):
    pass


class StepStruct(msgspec.Struct):
    name: str
    cost: Annotated[int, msgspec.Meta(ge=1, le=5)]
    tags: list[str] = []


class PageStruct(msgspec.Struct, Generic[T], rename="camel"):
    all_items: list[T]


@dataclass
class StepData:
    name: str
    cost: int
    tags: list[str] = data_field(default_factory=list)


@dataclass
class PageData(Generic[T]):
    items: list[T]
    more: Optional["PageData[T]"] = None


class StepDict(TypedDict):
    name: str
    cost: int
    tags: NotRequired[list[str]]


class Pair(NamedTuple):
    left: int
    right: StepData


class Tree(msgspec.Struct):
    name: str
    children: list["Tree"] = []


class Named(pydantic.BaseModel):
    one: Step = pydantic.Field(validation_alias=pydantic.AliasChoices("first", "second"))
    json_value: pydantic.JsonValue = None


@pydantic.dataclasses.dataclass
class StepsClass:
    steps: list[Step]


Steps = TypeAliasType("Steps", list[Step])
Both = TypeAliasType("Both", tuple[T, T], type_params=(T,))
Nested = TypeAliasType("Nested", dict[str, "Nested"] | list[Step])
Quoted = TypeAliasType("Quoted", "dict[str, Quoted] | list[Step]")
Names = NewType("Names", list[str])
GOOD, BAD = {"name": "go", "cost": 2}, {"name": "go", "cost": "much"}


@pytest.mark.parametrize(
    ("description", "path", "made"),
    [
        (Plan, "steps[*]", Step),
        (Plan, "steps[3]", Step),
        (Plan, "first", Step),
        (Plan, "by_name.anything", Step),
        (Plan, "pair[1]", Step),
        (Page[Step], "items[*]", Step),
        (Root, "[*]", Step),
        (list[Step], "[*]", Step),
        (Steps, "[*]", Step),
        ({"both": Both[Step]}, "both[*]", Step),
        ({"nested": Nested}, "nested.a[*]", Step),
        (Named, "first", Step),
        (StepsClass, "steps[*]", Step),
        ([Step], "[*]", Step),
        ({"steps": list[Step]}, "steps[*]", Step),
        ({"steps": [Step]}, "steps[*]", Step),
        ({"steps": [(Step, "one step")]}, "steps[*]", Step),
        ({"plan": Plan}, "plan.steps[*]", Step),
        (dict[str, list[Step]], "a[*]", Step),
        (Step | Plan, "steps[*]", Step),
        (list[StepStruct], "[*]", StepStruct),
        (PageStruct[StepStruct], "allItems[*]", StepStruct),
        ({"steps": StepStruct | None}, "steps", StepStruct),
        (PageData[StepData], "items[*]", StepData),
        (PageData[StepData], "more.items[*]", StepData),
        (PageData[StepData], "more.more.more.items[*]", StepData),
        (PageData[Step], "items[*]", Step),
        ({"pair": Pair}, "pair[1]", StepData),
        (list[StepDict], "[*]", dict),
        ({"steps": [{"name": str, "cost": int}]}, "steps[*]", dict),
    ],
)
def test_one_item_is_made_to_its_own_type_and_checked(description: Any, path: str, made: type) -> None:
    output = Output(description)
    part = output.part(path)
    assert type(part.convert(GOOD)) is made
    with pytest.raises(ValueError, match=r"(?i)cost.*(int|missing)"):
        part.convert(BAD if made is not dict or description == list[StepDict] else {"name": "go"})
    if made is not dict:
        with pytest.raises(ValueError, match=r"^there\[7\]\.cost: "):
            part.convert(BAD, "there[7]")
    assert output.part(path) is part
    slashed = "/" + path.replace(".", "/").replace("[", "/[").removeprefix("/")
    assert type(output.part(slashed, "slash").convert(GOOD)) is made
    json.dumps(part.schema)


@pytest.mark.parametrize(
    ("description", "path", "good", "made", "bad"),
    [
        (Plan, "steps[*].tags[*]", "a", "a", 1),
        (Plan, "steps[*].cost", 5, 5, 6),
        (Plan, "first.cost", 5, 5, 0),
        (Plan, "on", "2021-02-03", date(2021, 2, 3), "soon"),
        (Plan, "pets[*].lives[*]", 9, 9, "nine"),
        (Plan, "pets[*].tricks[*]", "sit", "sit", 9),
        (Plan, "pets[*]", {"kind": "dog", "tricks": []}, Dog(kind="dog", tricks=[]), {"kind": "dog", "lives": [9]}),
        (Plan, "pets[*].kind", "cat", "cat", "cow"),
        (Plan, "pair[*]", 4, 4, "x"),
        (StepStruct, "cost", 5, 5, 6),
        ({"names": Names}, "names[*]", "a", "a", 1),
        ({"sets": set[int]}, "sets[*]", 1, 1, "a"),
        ({"ids": dict[str, int]}, "ids.x", 1, 1, "a"),
        ({"when": (date, "the day")}, "when", "2021-02-03", date(2021, 2, 3), "soon"),
        ({"n": (int, "a number")}, "n", 1, 1, "a"),
        ({"pair": tuple[int, str]}, "pair[1]", "a", "a", 1),
        ({"either": int | list[str]}, "either[*]", "a", "a", 1),
        (Tree, "children[*].children[*].name", "x", "x", 1),
        (Tree, "children[*].children[*]", {"name": "x"}, Tree("x"), {"nam": "x"}),
    ],
)
def test_one_value_is_made_to_its_own_type_and_checked(
    description: Any, path: str, good: Any, made: Any, bad: Any
) -> None:
    part = Output(description).part(path)
    found = part.convert(good)
    assert found == made or getattr(found, "name", "") == made.name
    with pytest.raises(ValueError, match=r"^" + path.replace("[", r"\[").replace("*", r"\*")):
        part.convert(bad)


def test_an_optional_key_may_be_null_and_then_counts_as_left_out() -> None:
    assert Output(StepStruct).part("tags").convert(None) is None
    assert Output({"step": Step}).part("step").convert({**GOOD, "tags": None}).tags == []
    assert Output(Plan).part("first").convert(None) is None
    with pytest.raises(ValueError, match="cost"):
        Output({"step": Step}).part("step.cost").convert(None)


def test_any_value_fits_where_the_type_does_not_say() -> None:
    for description, path in [
        (Named, "json_value.a.b"),
        (dict, "a.b[*]"),
        (Any, "a"),
        ({"x": Any}, "x.y"),
        ({"x": list}, "x[*]"),
    ]:
        assert Output(description).part(path).convert({"any": [1]}) == {"any": [1]}


def test_a_place_may_be_named_by_the_keys_of_an_event() -> None:
    output = Output([{"a.b": date}])
    events = InstantParser(root=output.root, expect_keys=output.keys).feed('[{"a.b": "2021-02-03"}]')
    (event,) = [event for event in events if event.is_complete and event.kind == "string"]
    assert output.part(event.keys).convert(event.value) == date(2021, 2, 3)
    assert output.part(event.wildcard_path).convert(event.value) == date(2021, 2, 3)
    assert output.part("").convert([{"a.b": "2021-02-03"}]) == [{"a.b": date(2021, 2, 3)}]


@pytest.mark.parametrize("path", ["step[*]", "steps[*].nam", "steps[*].tags[*].x", "steps.name", "[*]"])
def test_a_path_that_no_answer_has_is_refused(path: str) -> None:
    with pytest.raises(ResponseUsageError, match="never has the path"):
        Output(Plan).part(path)


def test_a_value_that_fits_several_members_of_a_union_stays_json() -> None:
    class Cat(msgspec.Struct, tag=True):
        toy: StepStruct

    class Dog(msgspec.Struct, tag=True):
        toy: dict[str, Any]

    class Cow(msgspec.Struct, tag=True):
        toy: list[int]

    part = Output({"pet": Cat | Dog | Cow}).part("pet.toy")
    assert part.convert(GOOD) == GOOD
    assert part.convert([1]) == [1]
    assert part.convert(BAD) == BAD
    with pytest.raises(ValueError, match=r"pet\.toy: Expected"):
        part.convert("ball")


@pytest.mark.parametrize(
    "path", ["steps[*].tags[0]", "steps[1].tags[*]", "/steps/[*]/tags/[0]"], ids=["last", "first", "slash"]
)
@pytest.mark.parametrize("description", [Plan, {"steps": [{"tags": [str]}]}], ids=["class", "notation"])
def test_a_path_may_name_one_index_and_leave_another_open(path: str, description: Any) -> None:
    part = Output(description).part(path, "slash" if path[0] == "/" else "dot")
    assert part.convert("new") == "new"
    with pytest.raises(ValueError, match=r"tags"):
        part.convert(7)


def test_one_item_of_a_tuple_is_found_behind_an_open_index() -> None:
    part = Output({"pairs": [tuple[int, str]]}).part("pairs[*][1]")
    assert part.convert("new") == "new"
    with pytest.raises(ValueError, match=r"pairs"):
        part.convert(7)
