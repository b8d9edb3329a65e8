"""Descriptions of an answer: one schema, one prompt and one check, whatever they are written in."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from triggerflow.models import Output, OutputError, Request, Response


class Step(pydantic.BaseModel):
    action: str = pydantic.Field(description="what to do")
    cost: float


class PlanModel(pydantic.BaseModel):
    title: str
    steps: list[Step]


class StepStruct(msgspec.Struct):
    action: Annotated[str, msgspec.Meta(description="what to do")]
    cost: float


class PlanStruct(msgspec.Struct):
    title: str
    steps: list[StepStruct]


@dataclass
class StepData:
    action: str
    cost: float


@dataclass
class PlanData:
    title: str
    steps: list[StepData]


NOTATION = {"title": str, "steps": [{"action": (str, "what to do"), "cost": (float,)}]}
GOOD = {"title": "x", "steps": [{"action": "go", "cost": 1.5}]}


@pytest.mark.parametrize("description", [PlanModel, PlanStruct, PlanData, NOTATION])
def test_all_notations_describe_the_same(description: Any) -> None:
    output = Output(description)
    assert output.root == "object"
    assert output.keys == {"title", "steps"}
    assert output.strict
    assert output.schema["type"] == "object"
    assert output.schema["additionalProperties"] is False
    assert '"action": <str>,' in output.prompt
    made = output.convert(GOOD)
    assert made == GOOD if description is NOTATION else isinstance(made, description)
    for bad in ({"title": "x"}, {"title": 5, "steps": []}, {"title": "x", "steps": [{"action": "go"}]}, [], None):
        with pytest.raises(ValueError):  # noqa: PT011 - every checker words it in its own way
            output.convert(bad)


def test_descriptions_become_part_of_schema_and_prompt() -> None:
    for description in (PlanModel, PlanStruct, NOTATION):
        output = Output(description)
        assert "what to do" in str(output.schema)
        assert '"action": <str>,  // what to do' in output.prompt


def test_the_place_of_a_mistake_is_named() -> None:
    with pytest.raises(ValueError, match=r"output\.steps\[0\]: the keys \['action', 'cost'\] are missing"):
        Output(NOTATION).convert({"title": "x", "steps": [{}]})


def test_lists_choices_and_unions() -> None:
    class Colour(Enum):
        RED = "red"
        BLUE = "blue"

    output = Output([{"mood": (Literal["glad", "sad"], "how"), "colour": Colour, "n": int | None, "rest": Any}])
    assert output.root == "array"
    assert output.keys == {"mood", "colour", "n", "rest"}
    assert '<one of "glad", "sad">' in output.prompt
    assert "<int> or <null>" in output.prompt or "<null> or <int>" in output.prompt
    good = [{"mood": "sad", "colour": "red", "n": None, "rest": [1]}]
    assert output.convert(good)[0]["colour"] is Colour.RED
    with pytest.raises(ValueError, match="colour"):
        output.convert([{"mood": "sad", "colour": "green", "n": 1, "rest": 0}])


def test_a_type_that_contains_itself() -> None:
    output = Output(Tree)
    assert "<another Tree>" in output.prompt
    assert output.convert({"name": "a", "children": [{"name": "b", "children": []}]}).children[0].name == "b"


class Tree(msgspec.Struct):
    name: str
    children: list["Tree"]


def test_optional_keys_may_be_left_out() -> None:
    class Loose(msgspec.Struct):
        a: str
        b: int = 0
        c: str | None = None

    output = Output(Loose)
    assert output.convert({"a": "x"}).b == 0
    assert output.full_schema["required"] == ["a"]
    assert '"b": <int>,  // may be null or left out: then it is 0' in output.prompt
    assert '"c": <str> or <null>,  // may be left out' in output.prompt


@pytest.mark.parametrize(
    "description",
    [5, "text", (), (str, 5), (str, "a", "b", "c"), {}, {1: str}, [], [str, int], {"a": "text"}, str, int, (str, "x")],
)
def test_what_describes_nothing_is_refused(description: Any) -> None:
    with pytest.raises(OutputError, match="output"):
        Output(description)


async def test_the_answer_comes_as_the_described_type() -> None:
    text = '```json\n{"title": "x", "steps": [{"action": "go", "cost": 1.5}]}\n```'
    for description in (PlanModel, PlanStruct, PlanData):
        plan = await Response([text], output=description).async_get_data_object()
        assert isinstance(plan, description)
        assert plan.steps[0].action == "go"


def test_a_request_is_rendered_in_sections() -> None:
    base = Request().system("You plan.").info({"today": "Monday"})
    request = base.instruct("Be short.").input("Solar sails").output({"title": (str, "the title")})
    system, user = request.to_messages(ask_for_json=True)
    assert system == {"role": "system", "content": "You plan."}
    order = [user["content"].index(f"[{name}]") for name in ("INFO", "INSTRUCT", "INPUT", "OUTPUT REQUIREMENT")]
    assert order == sorted(order)
    assert '"title": <str>,  // the title' in user["content"]
    assert "OUTPUT" not in request.to_messages(ask_for_json=False)[1]["content"]
    assert base.parts == {"info": {"today": "Monday"}}, "each call makes a new request"


def test_a_section_of_another_name_comes_first() -> None:
    request = Request(parts={"input": "x", "examples": ["y"], "info": "z"})
    (user,) = request.to_messages(ask_for_json=True)
    assert user["content"] == '[EXAMPLES]\n[\n  "y"\n]\n\n[INFO]\nz\n\n[INPUT]\nx'


def test_what_is_attached_stands_behind_the_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:..."}}
    text = {"type": "text", "text": "What is it?"}
    base = Request().attach([image])
    assert base.to_messages(ask_for_json=True) == [{"role": "user", "content": [image]}]
    request = base.attach([image]).input("What is it?")
    assert request.to_messages(ask_for_json=True) == [{"role": "user", "content": [text, image, image]}]


def test_a_plain_question_is_sent_as_it_is() -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    request = Request().history(said).input("What now?")
    assert request.to_messages(ask_for_json=True) == [*said, {"role": "user", "content": "What now?"}]


class Documented(msgspec.Struct):
    """What it is."""

    text: str


def test_a_description_of_the_whole_is_drawn_once() -> None:
    assert Output(Documented).prompt == '// What it is.\n{\n  "text": <str>,\n}'
