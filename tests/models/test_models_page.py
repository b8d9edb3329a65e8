"""The tables of `docs/models.md` say what the code does."""

import re
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar
from uuid import UUID

import pytest
from msgspec import Meta, Struct
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from triggerflow.models import Output
from triggerflow.models.instant.thinking import FAMILIES
from triggerflow.models.shapes import SHAPES
from triggerflow.models.shapes.finish import FAILURES, NOTHING, WORDS

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Step(BaseModel):
    kind: Literal["step"]
    n: int = 1


class Stop(BaseModel):
    kind: Literal["stop"]


class Page(BaseModel, Generic[T]):
    items: list[T]


class Some(TypedDict):
    n: NotRequired[int]


@dataclass
class Point:
    x: float
    label: str | None = None


class Tree(Struct):
    children: list["Tree"]


NAMES: dict[str, Any] = {
    "Annotated": Annotated, "Any": Any, "Literal": Literal, "Meta": Meta, "Field": Field, "UUID": UUID, "date": date,
    "Colour": Colour, "Step": Step, "Stop": Stop, "Page": Page, "Some": Some, "Tree": Tree, "Point": Point,
}  # fmt: skip


def rows(heading: str) -> list[list[str]]:
    table = PAGE.partition(heading)[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize(("written", "drawn", "strict"), rows('| `{"x": ...}` |'))
def test_how_a_type_is_drawn(written: str, drawn: str, strict: str) -> None:
    output = Output({"x": eval(written.strip("`"), NAMES)})  # noqa: S307 - our own page
    lines = [line.strip() for line in output.prompt.splitlines()]
    assert f'{{ "x": {drawn.strip("`")}, }}' == re.sub(r", (?=//)|,(?=  //)", "", " ".join(lines)).replace(
        "  //", " //"
    )
    assert strict == ("yes" if output.strict else "no")


def test_the_marks_of_thinking() -> None:
    def cell(marks: tuple[str, ...]) -> str:
        return " ".join(f"`{mark}`" for mark in marks) or "none"

    shown = rows("| models | thinking begins | and ends |")
    assert shown == [[family.about, cell(family.begin), cell(family.end)] for family in FAMILIES]


def test_the_dialects() -> None:
    shown = rows("| dialect | from | known by |")
    assert shown == [[shape.name, shape.spoken_by, shape.known_by] for shape in SHAPES]


def test_the_finish_reasons() -> None:
    *shown, failures, nothing = [[row[0].strip("`"), *row[1:]] for row in rows("| finish reason |")]
    assert [(reason, words) for reason, _, words in shown] == [
        (reason, ", ".join(sorted({*words} - {reason}))) for reason, (_, words) in WORDS.items()
    ]
    means = {ending: means.split(":")[0] for (_, means, _), (ending, _) in zip(shown, WORDS.values(), strict=True)}
    assert means == {"end": "is whole", "cut": "was cut", "filter": "was cut", "refusal": "is a refusal"}
    assert failures[2] == ", ".join(sorted(FAILURES))
    assert nothing[2] == ", ".join(["an empty text", *sorted(NOTHING - {""})])
