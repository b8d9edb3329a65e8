"""What a parser was not certain of is never called valid: siblings of what went wrong, and what options allow."""

import json
from typing import Any

import pytest

from tests.models.instant_support import every_cut, pieces, same
from triggerflow.models import InvalidResponseError, Response, TruncatedResponseError
from triggerflow.models.instant import InstantParser


def chunk(content: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


RIGHT: list[tuple[str, Any]] = [
    ('{"t": "他说"你好"然后走了", "n": 1}', {"t": '他说"你好"然后走了', "n": 1}),
    ('{"t": "所谓"智能"系统", "n": 1}', {"t": '所谓"智能"系统', "n": 1}),
    ('{"t": "他说"你好", 然后走了", "n": 1}', {"t": '他说"你好", 然后走了', "n": 1}),
    ('{"t": ["彼は"はい"と", "言った"]}', {"t": ['彼は"はい"と', "言った"]}),
    ('{"t": "Er sagte „Hallo" und ging", "n": 1}', {"t": 'Er sagte „Hallo" und ging', "n": 1}),
    ('{"t": "a"bcd"e", "n": 1}', {"t": 'a"bcd"e', "n": 1}),
    ('{"t": "5" nails", "n": 1}', {"t": '5" nails', "n": 1}),
    ('{"t": "5", 6" and 7"", "n": 8}', {"t": '5", 6" and 7"', "n": 8}),
    ('{"t": "The \\"red" door and the "blue\\" one"}', {"t": 'The "red" door and the "blue" one'}),
    ('{"n": 1,000}', {"n": 1000}),
    ('{"n": 1,234,567, "t": "x"}', {"n": 1234567, "t": "x"}),
    ('{"n": -12,345.5, "t": "x"}', {"n": -12345.5, "t": "x"}),
    ('{"v": [1.4, 2, .051, +7, 5., 1_000]}', {"v": [1.4, 2, 0.051, 7, 5.0, 1000]}),
]


@pytest.mark.parametrize(("text", "value"), RIGHT)
def test_what_has_one_reading_is_read_and_noted_as_a_guess(text: str, value: Any) -> None:
    parser, follower = every_cut(text)
    assert same(parser.value, value)
    assert parser.objection() is None
    assert all(event.is_complete for event in follower.done.values())
    guess = parser.objection(repair=False)
    assert guess is not None
    assert guess.repaired
    assert guess.guessed


UNCERTAIN = [
    # quotes: where does the string end?
    '{"t": "He said "yes", "n": 1}',
    '{"t": "foo" bar, "n": 1}',
    '{"t": "a", b"c", "n": 1}',
    '{"t": "yes", he said", "n": 1}',
    '{"t": "x, "b": "y", "n": 1}',
    '{"t": ["foo, "bar, "baz"]}',
    '{"t": ["a", b"c"]}',
    '{"t": ["sail 12", 13"]}',  # inches, or an item that lacks a quote
    '{"t": ["" 0, ""]}',
    '{"t": ["\\"so\\", "\\"so\\" wind"]}',
    '{"t": "b": 1, "c": "d"}',
    "{\"t\": ['foo, 'bar', 'baz']}",
    '{"t": "set {5"} now", "n": 1}',
    # numbers: which one, or how many items?
    '{"n": [1,000, 2]}',
    '{"n": 007}',
    '{"n": 50%}',
    '{"n": $5}',
    '{"n": 12 kg}',
    '{"n": 1 000}',
    '{"n": 1e400}',
    '{"n": [1 2]}',
    '{"n": [1,, 2]}',
    '{"n": 5"}',
    # what is missing?
    '{"n": [1, 2, ...]}',
    '{"n": [1, 2, // ... 18 more\n]}',
    '{"n": 1, "t": }',
    '{"n": 1, "n": 2}',
    '{"n": [1], "n": [2]}',
    '{"n": 1}, "t": 2}',
    '{"n": {"t": 1}}, "t": "x"}',
    '[{"n": 1}, {"n": 2}',
    '{"n": 1} {"n": 2}',
    '{"a": 50%, "n": {"t": 1}}',
    # strings that lose something
    '{"t": "\\ud83d"}',
    '{"t": "D:\\Work\\new"}',
    '{"t": "\\u00e"}',
]


@pytest.mark.parametrize("text", UNCERTAIN)
async def test_what_may_be_read_in_another_way_is_invalid(text: str) -> None:
    parser, _ = every_cut(text)
    assert not parser.complete or parser.objection() is not None
    response = Response([chunk(text), chunk("", "stop")], max_retries=0)
    with pytest.raises(InvalidResponseError) as caught:
        await response.async_get_data()
    assert caught.value.problems == response.problems


TOLERATED = [
    ("// a comment\n", '{"n": 1 // a comment\n, "t": "x"}'),
    ("a comma too many", '{"n": 1, "t": "x",}'),
    ("a comma too few", '{"n": 1\n"t": "x"}'),
    ("a bare key", '{n: 1, "t": "x"}'),
    ("single quotes", "{'n': 1, 't': 'x'}"),
    ("a code block", '```json\n{"n": 1, "t": "x"}\n```'),
    ("prose around", 'Sure: {"n": 1, "t": "x"} Anything else?'),
    ("the same key again", '{"n": 1, "t": "x", "t": "x"}'),
]


@pytest.mark.parametrize(("what", "text"), TOLERATED)
async def test_what_the_grammar_decides_is_no_guess(what: str, text: str) -> None:
    value = {"n": 1, "t": "x"}
    output = {"n": int, "t": str}
    assert await Response([text], output=output, repair=False).async_get_data() == value
    if what == "the same key again":  # that is JSON
        assert await Response([text], output=output, strict=True).async_get_data() == value
    else:
        with pytest.raises(InvalidResponseError, match="strict=True"):
            await Response([text], output=output, strict=True, max_retries=0).async_get_data()


@pytest.mark.parametrize("text", [row[0] for row in RIGHT])
async def test_guesses_can_be_forbidden(text: str) -> None:
    with pytest.raises(InvalidResponseError, match="repair=False") as caught:
        await Response([text], repair=False).async_get_data()
    assert any(problem.guessed for problem in caught.value.problems)


async def test_strict_means_json() -> None:
    text = json.dumps({"t": 'He said "hi"\n', "n": [1.5, None, True]}, indent=1)
    assert await Response([text], strict=True).async_get_data() == json.loads(text)
    for constant in ("NaN", "-Infinity"):
        with pytest.raises(InvalidResponseError):
            await Response([f'{{"n": {constant}}}'], strict=True).async_get_data()


async def test_a_problem_says_where_it_is_and_shows_the_text() -> None:
    text = '{"title": "Budget", "n": 50%, "other": 1}'
    response = Response(pieces(text, 3), max_retries=0)
    with pytest.raises(InvalidResponseError, match=r"50%") as caught:
        await response.async_get_data()
    (problem,) = response.problems
    assert problem == caught.value.problems[0]
    assert problem.offset == text.index("50%")
    assert problem.text in text
    assert "50%" in problem.text
    assert not problem.repaired


def test_that_something_is_uncertain_is_not_lost_among_many_problems() -> None:
    parser = InstantParser()
    parser.feed("{" + "".join(f"k{number}: 1, " for number in range(300)) + '"n": 50%}')
    parser.finish()
    assert len(parser.problems) == 100
    objection = parser.objection()
    assert objection is not None
    assert "50%" in objection.message
    assert objection in parser.problems


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    "text",
    [
        '{"title": "The "best" option", "n": 1}',
        '{"n": 1, "title": "He said "yes" and left"}',
        '{"title": "x" "n": 1}',
        '{"title": "5" nails", "n": 1}',
        '{"title": "所谓"智能"系统", "n": 1}',
    ],
)
async def test_constrained_text_is_checked_and_asked_for_again(text: str, size: int) -> None:
    right = '{"title": "The \\"best\\" option", "n": 1}'
    texts = [text, right]
    response = Response(lambda: pieces(texts.pop(0), size), output={"title": str, "n": int}, constrained=True)
    assert await response.async_get_data() == json.loads(right)
    assert not texts


async def test_a_server_that_does_not_constrain_its_text_is_not_trusted_again() -> None:
    """The second answer has quotes that nobody escaped, too; now they are recognised."""
    texts = ['{"title": "a "b" c", "n": 1}'] * 2
    response = Response(lambda: [texts.pop()], output={"title": str, "n": int}, constrained=True, max_retries=1)
    assert await response.async_get_data() == {"title": 'a "b" c', "n": 1}


OPEN = ['{"t": "x", "l": ["a", "b"]', '{"l": ["a"], "t": "x}', '{"l": ["a"], "t": "x”}', '{"l": ["a"', '{"t": "x",']


@pytest.mark.parametrize("text", OPEN)
async def test_json_that_the_model_left_open_is_asked_for_again(text: str) -> None:
    texts = [text, '{"t": "x", "l": ["a"]}']

    def source() -> list[Any]:
        return [chunk(texts.pop(0)), chunk("", "stop")]

    assert await Response(source, output={"t": str, "l": [str]}).async_get_data() == {"t": "x", "l": ["a"]}
    assert not texts


@pytest.mark.parametrize("text", OPEN)
async def test_json_that_was_cut_off_is_not(text: str) -> None:
    texts = [text, '{"t": "x", "l": ["a"]}']

    def source() -> list[Any]:
        return [chunk(texts.pop(0)), chunk("", "length")]

    with pytest.raises(TruncatedResponseError):
        await Response(source, output={"t": str, "l": [str]}).async_get_data()
    assert len(texts) == 1


def test_the_json_before_the_end_of_thinking_is_not_the_answer_if_prose_follows() -> None:
    parser, _ = every_cut('maybe {"n": 9}</think> I do not know.')
    assert parser.objection() is not None


def test_a_list_of_answers_is_not_the_first_of_them() -> None:
    text = '{"results": [{"title": "A"}, {"title": "B"}]}'
    parser, _ = every_cut(text, root="object", expect_keys=["title"])
    assert parser.objection() is not None
    single, _ = every_cut('[{"title": "A"}]', root="object", expect_keys=["title"])
    assert single.objection() is None


@pytest.mark.parametrize(
    "text",
    [
        '{"other": "plain text that goes on',
        '{"other": "plain\\ntext',
        '[{"other": 12345',
        '{"other": tru',
        '{"title": 1234567, "n": 12, "m": 1,000, "o": -0.25e10, "p": 12ab}',
        '{"title": ' + "9" * 4310 + "}",
        '{"title": [1234567 89, nul l, ' + "1" * 4295 + ', "x"',
    ],
)
def test_problems_have_the_same_place_however_the_text_is_cut(text: str) -> None:
    parser, _ = every_cut(text, expect_keys=["title"])
    assert parser.problems
    assert all(0 <= problem.offset <= len(text) for problem in parser.problems)
