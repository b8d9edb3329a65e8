"""Defects that other streaming parsers were shown to have, each as a promise of this one."""

import asyncio
import time

import pytest

from tests.models.instant_support import every_cut, follow, pieces
from triggerflow.models.instant import Event, InstantParser
from triggerflow.models.response.log import EventLog


@pytest.mark.parametrize("scalar", ["123", "true", "null", "1.5"])
def test_a_scalar_does_not_lose_the_text_behind_it_in_the_same_chunk(scalar: str) -> None:
    """Defect 1, defect D21: the event of a number failed validation, and the rest of its chunk was dropped."""
    parser = InstantParser()
    first = parser.feed(f'{{"n": {scalar}, "title": "He')
    second = parser.feed('llo"}')
    assert [(event.path, event.delta) for event in first] == [("n", None), ("title", "He")]
    assert "".join(event.delta or "" for event in first + second) == "Hello" == parser.value["title"]


async def test_every_consumer_of_one_response_sees_every_event() -> None:
    """Defect 2, defect D20: two consumers shared a parser, so that none, or only one, saw the events."""
    log: EventLog[Event] = EventLog()

    async def read() -> list[str]:
        return [f"{event.event_type} {event.path}" async for event in log]

    async with asyncio.TaskGroup() as group:
        early = [group.create_task(read()) for _ in range(2)]
        parser = InstantParser()
        for delta in pieces('{"title": "Sails", "tags": ["a", "b"]}', 4):
            await asyncio.sleep(0)
            log.extend(parser.feed(delta))
        log.extend(parser.finish())
        log.close()
    seen = early[0].result()
    assert seen[-1] == "done "
    assert early[1].result() == seen
    assert await read() == seen


def test_json_inside_of_thinking_is_not_the_answer() -> None:
    """Defect 3: the braces of the thinking were parsed, and the answer never seen."""
    parser, follower = every_cut('<think>maybe {"n": 9} </think>{"n": 1, "m": 2}')
    assert parser.value == {"n": 1, "m": 2}
    assert follower.attempt == 1


def test_braces_in_prose_do_not_hide_the_answer() -> None:
    """Defect 4: no event came after `{x}`."""
    parser, follower = every_cut('Using {x}: {"n": 1, "m": 2}')
    assert parser.value == {"n": 1, "m": 2}
    assert list(follower.done) == [("n",), ("m",), ()]


def test_fields_in_another_order_complete_at_their_own_end() -> None:
    """Defect 5: fields out of schema order were done only when the response had ended."""
    parser = InstantParser(expect_keys=["title", "tags", "summary"])
    assert [event.path for event in parser.feed('{"summary": "s", ') if event.is_complete] == ["summary"]
    assert [event.path for event in parser.feed('"tags": [], ') if event.is_complete] == ["tags"]
    assert [event.path for event in parser.feed('"title": "t"}') if event.is_complete] == ["title", ""]


def test_an_array_item_that_is_an_object_is_done_at_its_bracket() -> None:
    """Detection lag: items that are objects were done only when the response had ended."""
    parser = InstantParser()
    assert parser.feed('{"steps": [{"n": 1')[-1:] == []
    assert [event.path for event in parser.feed("}")] == ["steps[0].n", "steps[0]"]
    assert [event.path for event in parser.feed(', {"n": 2}')] == ["steps[1].n", "steps[1]"]


def test_a_cut_number_is_not_taken_for_a_whole_one() -> None:
    """Defect 6: the 12 of a cut 123 was reported as complete."""
    parser = InstantParser()
    parser.feed('{"n": 12')
    events = parser.finish("length")
    assert [(event.path, event.is_complete, event.truncated, event.finish_reason) for event in events] == [
        ("", False, True, "length")
    ]
    assert parser.value == {}


def test_the_last_number_of_a_whole_answer_is_reported() -> None:
    """Defect 6, the other side: the bracket proves the number."""
    parser, follower = every_cut('{"n": 12}')
    assert follower.done[("n",)].is_complete
    assert parser.value == {"n": 12}


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        ('{"text": "', "abcdefg ", '"}'),
        ('{"text": "', "line\\n\\u00e9", '"}'),
        ('{"items": [', '"ab cd", 12, ', '"end"]}'),
        ('{"items": [', '{"k": "v", "n": [1]}, ', "0]}"),
        ("", "prose {x} ", '{"a": 1}'),
        ("<think>", "a < b </thin ", '</think>{"a": 1}'),
        ('{"a": 1 /*', "comment * ", '*/, "b": 2}'),
        ('{"a": 1 // ', "comment / ", '\n, "b": 2}'),
        ('{"a": 1, ', "garbage ? ", "}"),
        ('{"a": 1, ', "longword", " : 2}"),
        ('{"a": 1, "b": ', "12345678", "}"),
        ('{"a": "some "quoted" text ', 'and "more", ', '"}'),
    ],
)
def test_the_cost_of_a_delta_does_not_depend_on_what_came_before(head: str, unit: str, tail: str) -> None:
    """Defect D22: one string of 4,000 characters cost 45 s; costs grew with the square of the length, or faster."""

    def seconds(length: int) -> float:
        deltas = pieces(head + unit * (length // len(unit)) + tail, 8)
        best = 1e9
        for _ in range(3):
            parser = InstantParser()
            started = time.process_time()
            for delta in deltas:
                parser.feed(delta)
            parser.finish()
            best = min(best, time.process_time() - started)
        return best / len(deltas)

    # A quadratic cost would make this 16; the margin is for a busy machine.
    assert seconds(128_000) < 5 * seconds(8_000)


@pytest.mark.parametrize("size", [1, 5, 8, 1000])
def test_nothing_is_done_before_it_is_final(size: int) -> None:
    """Defect D23: `a.y` was done as ["p"] and went on growing; in another order `a` was done without `y`."""
    for text in (
        '{"a": {"x": "1", "y": ["p", "qq", "rrr"]}, "b": 1}',
        '{"b": 1, "a": {"y": ["p", "qq", "rrr"], "x": "1"}}',
    ):
        _, follower = follow(pieces(text, size))
        assert follower.done[("a", "y")].value == ["p", "qq", "rrr"]
        assert follower.done[("a",)].value == {"x": "1", "y": ["p", "qq", "rrr"]}


def test_a_cut_answer_and_a_prose_answer_are_told_apart_from_a_whole_one() -> None:
    """Defect D24: a cut answer raised an error of the JSON library, or was None; a prose answer was None, too."""
    cut = InstantParser()
    cut.feed('{"title": "Sails", "tags": ["a", "b')
    events = cut.finish("connection lost")
    assert [(event.path, event.truncated) for event in events] == [("tags[1]", True), ("tags", True), ("", True)]
    assert {event.finish_reason for event in events} == {"connection lost"}
    prose = InstantParser()
    prose.feed("I would rather not.")
    assert prose.finish("stop") == []
    assert not cut.complete
    assert not prose.complete
    assert cut.value == {"title": "Sails", "tags": ["a", "b"]}
    assert [problem.message for problem in prose.problems] == ["the response contains no JSON object or array"]
