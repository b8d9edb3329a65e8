"""`response.fields`: the fields of an answer, one by one, each checked as its own type before it is handed out."""

import asyncio
import enum
import json
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from tests.models.fields_support import NOTATION, PLAN, TYPED, PydanticPlan, PydanticStep, answering, typed
from triggerflow import FieldPlace
from triggerflow.models import (
    FieldsWithdrawnError,
    InvalidResponseError,
    Response,
    ResponseUsageError,
    TruncatedResponseError,
)

BAD = PLAN.replace('"minutes": 5', '"minutes": "long"')
"""A plan whose second step is no step."""


async def taken(fields: Any, into: list[Any] | None = None) -> list[Any]:
    """All items; those before an error are in `into`."""
    found = [] if into is None else into
    async for item in fields:
        found.append(item)
    return found


@pytest.mark.parametrize("name", TYPED)
async def test_fields_arrive_as_the_type_of_the_description(name: str) -> None:
    plan, step = TYPED[name]
    response = Response(typed(PLAN), output=plan)
    steps = await taken(response.fields("steps[*]"))
    assert (
        steps == [step("a", 4, ["x", "y"]), step("b", 5, []), step("c", 6, ["z"])]
        if name != "pydantic"
        else [
            PydanticStep(name="a", minutes=4, tags=["x", "y"]),
            PydanticStep(name="b", minutes=5, tags=[]),
            PydanticStep(name="c", minutes=6, tags=["z"]),
        ]
    )
    assert all(type(it) is step for it in steps)
    assert (await response.async_get_data_object()).steps == steps


async def test_fields_of_the_notation_stay_plain_data() -> None:
    steps = await taken(Response(typed(PLAN), output=NOTATION).fields("steps[*]"))
    assert steps == json.loads(PLAN)["steps"]


async def test_without_a_description_every_value_is_a_field() -> None:
    assert await taken(Response(typed('{"a": [1, {"b": null}]}')).fields("a[*]")) == [1, {"b": None}]


class Color(enum.Enum):
    RED = "red"


class Circle(pydantic.BaseModel):
    kind: Literal["circle"]
    radius: float
    marks: list[int] = []


class Square(pydantic.BaseModel):
    kind: Literal["square"]
    side: int
    color: Color = Color.RED


class Drawing(pydantic.BaseModel):
    shapes: list[Annotated[Circle | Square, pydantic.Field(discriminator="kind")]]
    by_name: dict[str, Circle] = {}
    size: tuple[int, str] = (1, "a")


T = TypeVar("T")


@dataclass
class Page(Generic[T]):
    items: list[T]


class Point(NamedTuple):
    x: int
    y: float


class Mapped(TypedDict):
    points: list[Point]
    colors: list[Color]


class Camel(msgspec.Struct, rename="camel"):
    long_name: list[Annotated[int, msgspec.Meta(ge=0)]]


CIRCLE = {"kind": "circle", "radius": 1.5, "marks": [1, 2]}
SQUARE = {"kind": "square", "side": 2, "color": "red"}
SHAPES = {"shapes": [CIRCLE, SQUARE], "by_name": {"x": CIRCLE}, "size": [3, "b"]}


@pytest.mark.parametrize(
    ("output", "answer", "path", "fields"),
    [
        (Drawing, SHAPES, "shapes[*]", [Circle(**CIRCLE), Square(kind="square", side=2)]),
        (Drawing, SHAPES, "shapes[1]", [Square(kind="square", side=2)]),
        (Drawing, SHAPES, "shapes[*].marks[*]", [1, 2]),
        (Drawing, SHAPES, "shapes[*].color", [Color.RED]),
        (Drawing, SHAPES, "by_name.x", [Circle(**CIRCLE)]),
        (Drawing, SHAPES, "size[1]", ["b"]),
        (Page[Circle], {"items": [CIRCLE]}, "items[*]", [Circle(**CIRCLE)]),
        (Page[Color], {"items": ["red"]}, "items[*]", [Color.RED]),
        (Mapped, {"points": [[1, 2]], "colors": ["red"]}, "points[*]", [Point(1, 2.0)]),
        (Mapped, {"points": [[1, 2]], "colors": ["red"]}, "colors[0]", [Color.RED]),
        (Camel, {"longName": [1, 0]}, "longName[*]", [1, 0]),
        (list[Circle], [CIRCLE], "[*]", [Circle(**CIRCLE)]),
        ({"shapes": [Circle]}, {"shapes": [CIRCLE]}, "shapes[*]", [Circle(**CIRCLE)]),
        ({"shapes": [Circle]}, {"shapes": [CIRCLE]}, "shapes[*].radius", [1.5]),
    ],
    ids=lambda it: it if isinstance(it, str) else None,
)
async def test_every_kind_of_description_types_its_places(output: Any, answer: Any, path: str, fields: Any) -> None:
    found = await taken(Response(typed(json.dumps(answer)), output=output).fields(path))
    assert found == fields
    assert [type(it) for it in found] == [type(it) for it in fields]


@pytest.mark.parametrize(
    ("output", "answer", "path"),
    [
        (Drawing, {**SHAPES, "shapes": [CIRCLE, {**SQUARE, "kind": "cube"}]}, "shapes[*]"),
        (Drawing, {**SHAPES, "shapes": [{**SQUARE, "color": "blue"}]}, "shapes[*].color"),
        (Page[Color], {"items": ["red", "blue"]}, "items[*]"),
        (Camel, {"longName": [1, -1]}, "longName[*]"),
        (Mapped, {"points": [[1, "north"]], "colors": []}, "points[*]"),
        ({"shapes": [(int, "a number")]}, {"shapes": [1, "2"]}, "shapes[*]"),
        ({"shapes": [{"a": int, "b": str}]}, {"shapes": [{"a": 1}]}, "shapes[*]"),
    ],
)
async def test_a_field_of_another_type_is_never_handed_out(output: Any, answer: Any, path: str) -> None:
    found: list[Any] = []
    with pytest.raises(InvalidResponseError, match="does not fit its description"):
        await taken(Response(typed(json.dumps(answer)), output=output).fields(path), found)
    assert len(found) < 2
    whole = Response([json.dumps(answer)], output=output)
    with pytest.raises(InvalidResponseError):
        await whole.async_get_data()


async def test_the_model_is_asked_again_at_once_and_told_why() -> None:
    """The rest of the wrong answer is not waited for."""
    source = answering(BAD, PLAN)
    response = Response(source, output=PydanticPlan)
    started = asyncio.get_running_loop().time()
    fields = response.fields("steps[*]")
    with pytest.raises(FieldsWithdrawnError, match=r"steps\[1\].minutes") as withdrawn:
        await taken(fields)
    assert withdrawn.value.attempt == 2
    passed = asyncio.get_running_loop().time() - started
    assert passed <= BAD.index('"long"') + 20 <= len(BAD)  # a piece of four characters a second
    assert [it.name for it in await taken(fields)] == ["a", "b", "c"]
    assert source.asked == 2
    assert (await response.async_get_meta())["attempt"] == 2


async def test_a_reset_before_the_first_field_is_not_told() -> None:
    source = answering(PLAN.replace('"minutes": 4', '"minutes": null'), PLAN)
    assert [it.name for it in await taken(Response(source, output=PydanticPlan).fields("steps[*]"))] == ["a", "b", "c"]


async def test_a_place_comes_with_its_field() -> None:
    response = Response(typed(PLAN), output=PydanticPlan)
    found = await taken(response.fields("steps[*].tags[*]", "title", places=True))
    assert found[0] == (FieldPlace("title", "title", ("title",)), "T")
    assert [(place.path, place.indexes, value) for place, value in found[1:]] == [
        ("steps[0].tags[0]", (0, 0), "x"),
        ("steps[0].tags[1]", (0, 1), "y"),
        ("steps[2].tags[0]", (2, 0), "z"),
    ]
    assert {place.wildcard_path for place, _ in found[1:]} == {"steps[*].tags[*]"}


async def test_paths_in_the_style_of_the_response() -> None:
    response = Response(typed(PLAN), output=PydanticPlan, path_style="slash")
    found = await taken(response.fields("/steps/[*]/tags/[*]", places=True))
    assert (found[0][0].path, found[0][1]) == ("/steps/[0]/tags/[0]", "x")


async def test_a_late_reader_and_two_at_once_get_every_field() -> None:
    response = Response(typed(PLAN), output=PydanticPlan)
    early, other = await asyncio.gather(taken(response.fields("steps[*]")), taken(response.fields("steps[*].name")))
    assert other == [it.name for it in early] == ["a", "b", "c"]
    assert await taken(response.fields("steps[*]")) == early


async def test_a_reader_that_comes_after_a_wrong_field_makes_the_answer_invalid() -> None:
    source = answering(BAD, PLAN)
    response = Response(source, output=PydanticPlan)
    texts = asyncio.create_task(taken(response.get_async_generator()))
    await asyncio.sleep(BAD.index('{"name": "c"') / 4 + 2)
    assert [it.name for it in await taken(response.fields("steps[*]"))] == ["a", "b", "c"]
    assert source.asked == 2
    assert "".join((await texts)[-40:]).endswith(PLAN[-20:])


async def test_every_reader_sees_the_reset() -> None:
    response = Response(answering(BAD, PLAN), output=PydanticPlan)
    events = asyncio.create_task(taken(response.get_async_generator("instant")))
    with pytest.raises(FieldsWithdrawnError):
        await taken(response.fields("steps[*]"))
    resets = [event for event in await events if event.event_type == "reset"]
    assert [event.attempt for event in resets] == [2]
    assert "minutes" in resets[0].reason


async def test_without_another_attempt_the_wrong_field_is_the_error() -> None:
    for source, options in ((typed(BAD), {}), (answering(BAD, PLAN), {"max_retries": 0})):
        with pytest.raises(InvalidResponseError, match=r"steps\[1\]") as failure:
            await taken(Response(source, output=PydanticPlan, **options).fields("steps[*]"))
        assert failure.value.data["steps"][0]["name"] == "a"


async def test_the_error_of_the_answer_comes_after_its_fields() -> None:
    found: list[Any] = []
    response = Response(typed(PLAN[:-20], then=ConnectionError("gone")), output=PydanticPlan)
    with pytest.raises(TruncatedResponseError, match="gone"):
        await taken(response.fields("steps[*]"), found)
    assert [step.name for step in found] == ["a", "b"]


async def test_a_reader_that_leaves_early_closes_the_answer() -> None:
    closed = asyncio.Event()

    async def source() -> Any:
        try:
            async for piece in typed(PLAN):
                yield piece
        finally:
            closed.set()

    response = Response(source, output=PydanticPlan)
    async with aclosing(aiter(response.fields("steps[*]"))) as fields:  # type: ignore[type-var]
        async for _ in fields:
            break
    await asyncio.wait_for(closed.wait(), 1)


async def test_paths_are_checked_before_the_request_is_sent() -> None:
    source = answering(PLAN)
    response = Response(source, output=PydanticPlan)
    with pytest.raises(ResponseUsageError, match=r"did you mean 'steps\[\*\]'"):
        response.fields("step[*]")
    with pytest.raises(ResponseUsageError, match="at least one path"):
        response.fields()
    assert source.asked == 0


def test_without_an_event_loop() -> None:
    response = Response([PLAN], output=PydanticPlan)
    assert [step.name for step in response.fields("steps[*]")] == ["a", "b", "c"]
    assert list(response.fields("title", places=True)) == [(FieldPlace("title", "title", ("title",)), "T")]
    with pytest.raises(InvalidResponseError):
        list(Response([BAD], output=PydanticPlan).fields("steps[*]"))


async def test_what_surrounds_a_field_is_checked_with_the_whole_answer() -> None:
    class Short(pydantic.BaseModel):
        items: Annotated[list[int], pydantic.Field(max_length=1)]

    found: list[int] = []
    with pytest.raises(InvalidResponseError):
        await taken(Response(typed('{"items": [1, 2]}'), output=Short).fields("items[*]"), found)
    assert found == [1, 2]
