"""Which part of a response is the answer: prose, thinking, code fences, several blocks, and taking back."""

from typing import Any

import pytest

from tests.models.instant_support import Follower, every_cut, pieces
from triggerflow.models.instant import InstantParser

PROSE = [
    "Using {x}: ",
    "Open {a: [} or {b: {] or [{): ",
    "So {'tis not a key and {\"nor is this\n",
    "Using {x: y} and {{double}} and {'quoted'} and {0}: ",
    "Set {a, b} [see below] and [x], [-]: ",
    "{ } is empty, {} too, and [] as well: ",
    "f(x) = { x if x > 0 } // { comment? }\n",
    '<think>maybe {"n": 9}</think>',
    '<think>a < b, </thin {"n": 9} </think >, still </think>',
    "<thi nk> <",
    'The format is {"n": <number>, // how many\n "tags": [<str>]}. Here: ',
    'As {"n": ..., "tags": [...]} says: ',
]


@pytest.mark.parametrize("prose", PROSE)
def test_what_is_no_json_is_passed_over_without_a_trace(prose: str) -> None:
    parser, follower = every_cut(prose + '{"n": 1, "tags": ["a"]}')
    assert parser.value == {"n": 1, "tags": ["a"]}
    assert parser.complete
    assert follower.attempt == 1
    assert parser.problems == []


def test_brackets_of_the_other_kind_are_prose_when_the_root_is_known() -> None:
    text = 'See [1] and {"see": 2}: [{"n": 1}] or {"n": 2}'
    assert every_cut(text, root="object")[0].value == {"see": 2}
    assert every_cut(text, root="array")[0].value == [1]
    assert every_cut('See [1]: {"n": 1}', root="object")[0].value == {"n": 1}
    assert every_cut('{"items": [{"n": 1}]}', root="array")[0].value == [{"n": 1}]


def test_of_two_blocks_the_one_with_the_expected_keys_is_the_answer() -> None:
    text = 'Like {"x": 1, "y": {"z": [1]}}: {"title": "T", "n": 1}'
    parser, follower = every_cut(text, expect_keys=["title", "n"])
    assert parser.value == {"title": "T", "n": 1}
    assert list(follower.done) == [("title",), ("n",), ()]
    assert follower.attempt == 1


def test_of_two_blocks_without_expectation_the_first_is_the_answer() -> None:
    parser, follower = every_cut('{"a": 1} {"a": 2}')
    assert parser.value == {"a": 1}
    assert follower.attempt == 1


def test_events_are_held_until_a_key_matches() -> None:
    parser = InstantParser(expect_keys={"title", "n"})
    for delta in pieces('{"thought": "first", "steps": ["a", "b"], "title', 4):
        assert parser.feed(delta) == []
    events = parser.feed('":')
    assert [event.path for event in events if event.is_complete] == ["thought", "steps[0]", "steps[1]", "steps"]
    events = parser.feed(' "T')
    assert [(event.path, event.delta) for event in events] == [("title", "T")]
    parser.feed('"}')
    assert parser.value == {"thought": "first", "steps": ["a", "b"], "title": "T"}


def test_an_object_around_the_answer_is_looked_through() -> None:
    parser = InstantParser(expect_keys={"title"})
    events = parser.feed('{"status": "ok", "result": {"title": "T",')
    assert [(event.path, event.event_type) for event in events] == [("title", "delta"), ("title", "done")]
    events = parser.feed("}}")
    assert [(event.path, event.value) for event in events] == [("", {"title": "T"})]
    wrapped, _ = every_cut('{"data": {"result": {"title": [[1]]}}}', expect_keys={"title"}, max_depth=3)
    assert wrapped.value == {"title": [[1]]}
    assert every_cut('{"data": {"result": {"title": [{"title": 1}]}}}', expect_keys={"title"})[0].value == {
        "title": [{"title": 1}]
    }


def test_an_inner_object_that_merely_has_an_expected_key_is_not_the_answer() -> None:
    text = '{"meta": {"id": 1, "title": "no"}, "meta": {"title": "nor this"}, "title": "T"}'
    parser, _ = every_cut(text, expect_keys={"title"})
    assert parser.value == {"meta": {"id": 1, "title": "no"}, "title": "T"}


def test_expected_keys_of_a_list_are_those_of_its_objects() -> None:
    text = '[1, 2] [{"other": 1}] [{"x": 0, "title": "A"}, {"title": "B"}]'
    parser, follower = every_cut(text, root="array", expect_keys={"title"})
    assert parser.value == [{"x": 0, "title": "A"}, {"title": "B"}]
    assert ("title",) not in follower.done


@pytest.mark.parametrize(("text", "value"), [("{}", {}), ("Nothing found: []", []), ("{} or []", [])])
def test_an_empty_block_is_the_answer_when_nothing_else_comes(text: str, value: Any) -> None:
    parser, follower = every_cut(text)
    assert parser.value == value
    assert follower.done[()].is_complete


def test_a_later_block_with_more_of_the_keys_replaces_an_earlier_one() -> None:
    text = 'E.g. {"title": "T"}. No: {"title": "U"}. {"title": "V", "n": 1} {"title": "W", "n": 2}'
    parser, follower = every_cut(text, expect_keys={"title", "n"})
    assert parser.value == {"title": "V", "n": 1}
    assert follower.attempt == 2


def test_thinking_without_an_opening_tag_is_taken_back() -> None:
    parser = InstantParser()
    assert [event.attempt for event in parser.feed('maybe {"n": 9, "why": "x"}')] == [1, 1, 1, 1]
    assert parser.feed(" so</think> the answer: ") == []
    events = parser.feed('{"n": 1}')
    assert [(event.event_type, event.path, event.attempt) for event in events] == [
        ("reset", "", 2),
        ("done", "n", 2),
        ("done", "", 2),
    ]
    assert parser.value == {"n": 1}


def test_thinking_that_ends_inside_of_json_is_taken_back() -> None:
    parser, follower = every_cut('maybe {"n": 9, "m": [1, or </think>{"n": 1}')
    assert parser.value == {"n": 1}
    assert follower.attempt == 2
    assert list(follower.done) == [("n",), ()]


def test_thinking_that_has_the_expected_keys_is_taken_back() -> None:
    parser, follower = every_cut('first {"title": "A", "n": 1}</think>{"title": "B"}', expect_keys={"title", "n"})
    assert parser.value == {"title": "B"}
    assert follower.attempt == 2


def test_a_lone_closing_tag_takes_nothing_back() -> None:
    parser, follower = every_cut('{"n": 1}</think>')
    assert parser.value == {"n": 1}
    assert parser.complete
    assert follower.attempt == 1


def test_thinking_after_the_answer_changes_nothing() -> None:
    parser, follower = every_cut('{"n": 1} <think>or {"n": 2}?</think> {"n": 3}')
    assert parser.value == {"n": 1}
    assert follower.attempt == 1


def test_a_block_whose_fence_ends_too_early_is_replaced_by_the_next() -> None:
    text = '```json\n{"n": 9, "items": [1, 2\n```\nSorry, again {carefully}:\n```json\n{"n": 1, "items": [3]}\n```'
    parser, follower = every_cut(text)
    assert parser.value == {"n": 1, "items": [3]}
    assert parser.complete
    assert follower.attempt == 2


def test_a_block_whose_fence_ends_too_early_stays_truncated_when_no_other_comes() -> None:
    parser, follower = every_cut('```json\n{"n": 9, "items": [1, 2\n```\nThat is {all} [of it].')
    assert parser.value == {"n": 9, "items": [1, 2]}
    assert not parser.complete
    assert follower.attempt == 1
    assert follower.done[("items",)].truncated
    assert follower.done[("items", 1)].is_complete


@pytest.mark.parametrize("text", ["", "Sorry, I cannot do that.", "Use {x}.", "<think>", '<think>{"n": 1}', '"n": 1'])
def test_a_response_without_json_says_so(text: str) -> None:
    parser = InstantParser()
    follower = Follower()
    follower.take([*parser.feed(text), *parser.finish("stop")])
    assert follower.done == {}
    assert parser.value is None
    assert not parser.complete
    assert [problem.message for problem in parser.problems] == ["the response contains no JSON object or array"]


def test_a_response_without_the_expected_keys_says_so() -> None:
    parser, follower = every_cut('{"titel": "T", "tags": ["a"]}', expect_keys={"title"})
    assert follower.done == {}
    assert parser.value is None
    assert parser.problems[-1].offset == 29
    assert parser.problems[-1].message == "the response contains no JSON object or array with any of the keys ['title']"
