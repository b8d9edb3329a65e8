"""Paths that an answer can never have are told before the request; every path that its events can have is known."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from msgspec import Struct
from pydantic import BaseModel, ConfigDict

from tests.models.test_dispatch import Recorder
from triggerflow.models import Output, Response, ResponseUsageError
from triggerflow.models.instant import InstantParser
from triggerflow.models.outputs.places import check_paths, places
from triggerflow.run.dispatch import emit_fields


class Note(BaseModel):
    text: str
    level: Literal["low", "high"] | None = None


class Report(BaseModel):
    notes: list[Note]
    by_name: dict[str, Note]
    pair: tuple[int, Note]


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    title: str


class Tree(Struct):
    name: str
    children: list["Tree"] = []


@dataclass
class Card:
    tags: list[str]
    extra: Any
    either: int | list[str]


ANSWERS = [
    ({"title": str, "queries": [{"text": str}]}, {"title": "a", "queries": [{"text": "b"}]}),
    ([{"a.b": (int, "with a dot")}], [{"a.b": 1}]),
    (Report, {"notes": [{"text": "a", "level": "low"}], "by_name": {"x": {"text": "y"}}, "pair": [1, {"text": "z"}]}),
    (Loose, {"title": "a", "more": [{"x": 1}]}),
    (Tree, {"name": "a", "children": [{"name": "b", "children": [{"name": "c", "children": []}]}]}),
    (Card, {"tags": ["a"], "extra": {"x": [1]}, "either": ["a"]}),
    ({"any": dict, "list": list}, {"any": {"x": {"y": 1}}, "list": [[1], {"a": 1}]}),
]


@pytest.mark.parametrize(("description", "answer"), ANSWERS)
@pytest.mark.parametrize("style", ["dot", "slash"])
def test_every_path_of_an_answer_is_known(description: Any, answer: Any, style: Any) -> None:
    output = Output(description)
    output.convert(answer)
    parser = InstantParser(root=output.root, expect_keys=output.keys, path_style=style)
    events = [*parser.feed(json.dumps(answer)), *parser.finish()]
    assert events
    check_paths([path for event in events for path in (event.path, event.wildcard_path)], output, style)


def test_the_places_of_a_description() -> None:
    schema = Output({"title": str, "queries": [{"text": str, "meta": dict}]}).full_schema
    assert places(schema, "dot") == {
        "": False,
        "title": False,
        "queries": False,
        "queries[*]": False,
        "queries[*].text": False,
        "queries[*].meta": True,
    }
    assert list(places(schema, "slash"))[:4] == ["/", "/title", "/queries", "/queries/[*]"]


@pytest.mark.parametrize(
    ("description", "path", "hint"),
    [
        ({"queries": [str]}, "qeries[*]", r"did you mean 'queries\[\*\]'"),
        ({"queries": [str]}, "queries[*].text", "did you mean"),
        ({"queries": [str]}, "querys[0]", r"did you mean 'queries\[\*\]'"),
        ({"queries": [str]}, "[*]", "its paths are|did you mean"),
        ({"queries": [{"tags": [str]}]}, "queries[*].tags[0]", "for all of its indexes"),
        (Report, "notes[*].txt", r"did you mean 'notes\[\*\].text'"),
        (Tree, "nme", "did you mean 'name'"),
        (Card, "tags.x", "did you mean 'tags'|tags"),
    ],
)
async def test_a_path_that_can_never_come_is_told_before_the_request(description: Any, path: str, hint: str) -> None:
    opened: list[int] = []
    response = Response(lambda: opened.append(1), output=description)
    with pytest.raises(ResponseUsageError, match=hint):
        await emit_fields(Recorder(), response, {"": "whole", path: "x"})
    assert not opened


async def test_without_a_description_any_path_may_come_but_a_mixed_one_never() -> None:
    data = Recorder()
    await emit_fields(data, Response(['{"a": [1]}']), {"a[*]": "a", "nothing.of[*].it": "x"})
    assert data.of("emit") == [("a", 1)]
    with pytest.raises(ResponseUsageError, match=r"for all of its indexes"):
        await emit_fields(data, Response(["{}"]), {"a[*].b[0]": "a"})


async def test_the_path_of_one_place_counts_before_that_of_many() -> None:
    data = Recorder()
    await emit_fields(data, Response(['{"a": [1, 2]}']), {"a[*]": "any", "a[0]": "first"})
    assert data.of("emit") == [("first", 1), ("any", 2)]
