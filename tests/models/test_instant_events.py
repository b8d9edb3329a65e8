"""What the events of the instant parser say, and when."""

import json
from typing import Any

import pytest

from tests.models.instant_support import every_cut, follow, pieces
from triggerflow.models.instant import (
    DeltaEvent,
    DoneEvent,
    Event,
    InstantParser,
    ParserFinishedError,
    ResetEvent,
    TruncatedEvent,
)

ANSWER = '{"title": "Sails", "n": 12, "ok": true, "none": null, "items": [{"x": 1.5}, {"x": "y"}], "empty": ""}'


def events_of(text: str, size: int = 4, **options: Any) -> list[Event]:
    parser = InstantParser(**options)
    events = [event for delta in pieces(text, size) for event in parser.feed(delta)]
    return events + parser.finish()


def done(text: str, **options: Any) -> dict[str, Event]:
    return {event.path: event for event in events_of(text, **options) if event.event_type == "done"}


def test_a_done_event_names_its_place_in_every_form() -> None:
    event = done(ANSWER)["items[1].x"]
    assert event.wildcard_path == "items[*].x"
    assert event.indexes == (1,)
    assert event.keys == ("items", 1, "x")
    assert event.kind == "string"
    assert event.value == "y"
    assert event.is_complete
    assert not event.truncated
    assert event.delta is None
    assert event.attempt == 1
    assert isinstance(event, DoneEvent)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"a": [[1]], "b": {"c": 2}}', ["a[0][0]", "a[0]", "a", "b.c", "b", ""]),
        ('[{"x": 1}, 2]', ["[0].x", "[0]", "[1]", ""]),
    ],
)
def test_dot_paths_come_in_the_order_of_closing(text: str, paths: list[str]) -> None:
    assert list(done(text)) == paths


def test_slash_paths() -> None:
    events = done('{"a": [{"x": 1}]}', path_style="slash")
    assert list(events) == ["/a/[0]/x", "/a/[0]", "/a", "/"]
    assert events["/a/[0]/x"].wildcard_path == "/a/[*]/x"
    assert list(done('[{"x": 1}]', path_style="slash")) == ["/[0]/x", "/[0]", "/"]


def test_the_key_tuple_tells_dotted_keys_apart() -> None:
    events = [event for event in events_of('{"a.b": 1, "a": {"b": 2}}') if event.path == "a.b"]
    assert [event.keys for event in events] == [("a.b",), ("a", "b")]


def test_kinds() -> None:
    kinds = {path: event.kind for path, event in done(ANSWER).items()}
    assert kinds["title"] == "string"
    assert kinds["n"] == kinds["items[0].x"] == "number"
    assert kinds["ok"] == "boolean"
    assert kinds["none"] == "null"
    assert kinds["items"] == "array"
    assert kinds["items[0]"] == kinds[""] == "object"


def test_a_string_tells_each_feed_once_and_its_value_so_far() -> None:
    parser = InstantParser()
    parser.feed('{"t": "')
    events = [*parser.feed("ab\\ncd"), *parser.feed("ef"), *parser.feed('g" ,')]
    assert [(event.event_type, event.delta, event.value) for event in events] == [
        ("delta", "ab\ncd", "ab\ncd"),
        ("delta", "ef", "ab\ncdef"),
        ("delta", "g", "ab\ncdefg"),
        ("done", None, "ab\ncdefg"),
    ]
    # The value of a delta event is what was known then, also when it is read later.
    assert events[0].value == "ab\ncd"
    assert isinstance(events[0], DeltaEvent)


def test_the_first_text_of_an_answer_is_told_at_once() -> None:
    parser = InstantParser()
    assert parser.feed('{"t": "') == []
    assert [event.delta for event in parser.feed("ab")] == ["ab"]
    assert [event.delta for event in parser.feed("cd")] == ["cd"]


def test_an_empty_string_is_done_without_a_delta() -> None:
    assert [event.event_type for event in events_of('{"t": ""}') if event.path == "t"] == ["done"]


def test_numbers_and_literals_have_no_delta() -> None:
    assert all(event.path == "title" or event.path == "items[1].x" for event in events_of(ANSWER) if event.delta)


def test_full_data_is_a_live_view_with_open_text() -> None:
    parser = InstantParser()
    events = parser.feed('{"a": 1, "b": ["x", "half')
    assert events[-1].full_data == {"a": 1, "b": ["x", "half"]}
    parser.feed(' done", 2]}')
    assert events[0].full_data == {"a": 1, "b": ["x", "half done", 2]}
    assert parser.value is events[0].full_data


def test_a_completed_value_never_changes() -> None:
    parser = InstantParser()
    events = parser.feed('{"a": {"x": [1, 2]}, "b": ')
    seen = {event.path: json.dumps(event.value) for event in events if event.is_complete}
    assert seen == {"a.x[0]": "1", "a.x[1]": "2", "a.x": "[1, 2]", "a": '{"x": [1, 2]}'}
    parser.feed('{"x": 5}, "a": {"x": [3]}, "a": 4}')
    parser.finish()
    assert {event.path: json.dumps(event.value) for event in events if event.is_complete} == seen


def test_of_a_repeated_key_the_first_value_stands() -> None:
    parser, follower = every_cut('{"a": 1, "b": [{"x": "p"}], "a": {"y": "q"}, "b": [2, {"z": [3]}], "c": [4]}')
    assert parser.value == {"a": 1, "b": [{"x": "p"}], "c": [4]}
    assert [keys[0] for keys in follower.done if len(keys) == 1] == ["a", "b", "c"]
    assert [problem.message for problem in parser.problems] == [
        "the key 'a' is repeated with another value",
        "the key 'b' is repeated with another value",
    ]


LAG = [
    # text, path, the character that proves it (from the start)
    ('{"t": "abc", "u": 1}', "t", 11),
    ('{"t": "a\\nb\\u00e9", "u": 1}', "t", 18),
    ('{"n": 1234, "u": 1}', "n", 10),
    # A short number may go on behind its comma, as in `1,000`.
    ('{"n": 123, "u": 1}', "n", 10),
    ('{"n": [123, 1]}', "n[0]", 10),
    ('{"n": 123}', "n", 9),
    ('{"n": -1.5e3 , "u": 1}', "n", 12),
    ('{"b": true, "u": 1}', "b", 10),
    ('{"b": null\n}', "b", 10),
    ('{"o": {"x": 1}, "u": 1}', "o", 13),
    ('{"o": {}, "u": 1}', "o", 7),
    ('{"l": ["x", "y"], "u": 1}', "l", 15),
    ('{"l": ["xz", "y"], "u": 1}', "l[0]", 11),
    ('{"s": [{"x": 1}, {"x": 2}], "u": 1}', "s[0]", 14),
    ('{"s": [{"x": 1}, {"x": 2}], "u": 1}', "s[1]", 24),
    ('[{"x": 1}, 2]', "", 12),
    # A quote is doubted until the next visible character, and after a digit (inches) until the one after the comma.
    ('{"t": "a"\n\n}', "t", 11),
    ('{"t": "a1", "u": 1}', "t", 12),
    ('{"t": "a1"}', "t", 10),
    ('{"t": "", "u": 1}', "t", 8),
    ('{"t": "a " , "u": 1}', "t", 11),
]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize(("text", "path", "proof"), LAG)
def test_every_kind_of_value_is_done_in_the_delta_that_proves_it(text: str, path: str, proof: int, size: int) -> None:
    parser = InstantParser()
    for number, delta in enumerate(pieces(text, size)):
        found = [event for event in parser.feed(delta) if event.path == path and event.is_complete]
        if number == proof // size:
            assert len(found) == 1
        else:
            assert not found


@pytest.mark.parametrize("text", ['{"t": "", "u": 1}', '{"t": "a ", "u": 1}', '{"t": "f(", "u": 1}'])
def test_where_quotes_can_be_trusted_every_string_is_done_at_its_quote(text: str) -> None:
    parser = InstantParser(trust_quotes=True)
    events = parser.feed(text[: text.index(",")])
    assert [event.path for event in events if event.is_complete] == ["t"]


def test_bytes_may_be_cut_inside_of_a_character() -> None:
    text = '{"t": "日本語 😀"}'
    data = text.encode()
    parser = InstantParser()
    events = [event for position in range(len(data)) for event in parser.feed(data[position : position + 1])]
    assert "".join(event.delta or "" for event in events) == "日本語 😀"
    assert parser.value == json.loads(text)


def test_invalid_bytes_become_replacement_characters() -> None:
    parser = InstantParser()
    parser.feed(b'{"t": "a\xff')
    parser.feed(bytearray(b'b"'))
    parser.feed(memoryview(b', "u": "\xe6\x97'))
    events = parser.finish()
    assert parser.value == {"t": "a\ufffdb", "u": "\ufffd\ufffd"}
    assert [event.delta for event in events if event.delta] == ["\ufffd\ufffd"]


@pytest.mark.parametrize("delta", [None, 12, {"text": "a"}, ["a"]])
def test_a_delta_that_is_not_text_is_refused_and_changes_nothing(delta: Any) -> None:
    parser = InstantParser()
    parser.feed('{"t": "a')
    with pytest.raises(TypeError, match=f"a delta must be text .* not {type(delta).__name__}"):
        parser.feed(delta)
    parser.feed('b"}')
    assert parser.value == {"t": "ab"}


def test_empty_deltas_are_nothing() -> None:
    _, follower = follow(["", '{"t": "', "", "a", "", '"', "", "}", ""])
    assert follower.done[()].value == {"t": "a"}


def test_after_finish_the_parser_takes_no_more() -> None:
    parser = InstantParser()
    parser.feed('{"t": "a')
    assert [event.path for event in parser.finish()] == ["t", ""]
    assert parser.finish() == []
    with pytest.raises(ParserFinishedError, match="one response"):
        parser.feed("b")


def test_events_print_as_what_they_are() -> None:
    parser = InstantParser()
    events = [*parser.feed('{"t": "ab'), *parser.feed('c", "n": 1'), *parser.finish()]
    assert [repr(event) for event in events] == [
        "<DeltaEvent 't' string 'ab'>",
        "<DeltaEvent 't' string 'c'>",
        "<DoneEvent 't' string 'abc'>",
        "<TruncatedEvent '' object {'t': 'abc'}>",
    ]


def test_a_repeated_request_goes_on_counting_attempts() -> None:
    reset = ResetEvent.announcing(2)
    assert (reset.event_type, reset.attempt, reset.path, reset.value) == ("reset", 2, "", None)
    assert not reset.is_complete
    parser = InstantParser(first_attempt=2)
    assert [event.attempt for event in parser.feed('{"a": 1}')] == [2, 2]


@pytest.mark.parametrize("text", ['{"t": "ab', '{"t": ["x", {"y": "ab'])
def test_open_values_end_truncated_innermost_first(text: str) -> None:
    parser, follower = every_cut(text)
    parser = InstantParser()
    parser.feed(text)
    events = parser.finish("length")
    assert all(isinstance(event, TruncatedEvent) for event in events)
    assert all(event.truncated and not event.is_complete and event.event_type == "done" for event in events)
    assert {event.finish_reason for event in events} == {"length"}
    assert events[0].value == "ab"
    assert [event.path for event in events] == sorted((event.path for event in events), key=len, reverse=True)
    assert events[-1].value == parser.value
    assert follower.done[()].truncated
    assert not parser.complete


@pytest.mark.parametrize(
    "text", ['{"a": 1, "n": 12', '{"a": 1, "n": tru', '{"a": 1, "n"', '{"a": 1, "n": ', '{"a": 1, "b']
)
def test_what_was_cut_before_it_was_proven_is_not_reported(text: str) -> None:
    parser, follower = every_cut(text)
    assert list(follower.done) == [("a",), ()]
    assert parser.value == {"a": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"t": "a\\', "a"),
        ('{"t": "a\\u00', "a"),
        ('{"t": "a\\ud83d', "a"),
        ('{"t": "a\\ud83d\\ude', "a"),
        ('{"t": "say "', "say "),
        ('{"t": "', ""),
        ('{"t": ""', ""),
        ('{"t": """a""', "a"),
    ],
)
def test_a_string_cut_inside_of_an_escape_or_at_a_doubted_quote_keeps_what_is_certain(text: str, value: str) -> None:
    _, follower = every_cut(text)
    assert follower.done[("t",)].truncated
    assert follower.done[("t",)].value == value
    assert follower.done[()].value == {"t": value}
