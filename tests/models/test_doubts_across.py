"""What one place of an answer says about others: backslashes, corrections, halves of characters, calls of tools."""

from typing import Any

import pytest

from tests.models.instant_support import every_cut
from triggerflow.models import Attempt, InvalidResponseError, Response
from triggerflow.models.instant import InstantParser

OUTPUT = {"t": str, "n": str}


@pytest.mark.parametrize(
    "text",
    [
        r'{"t": "\frac{1}{2}", "n": "\sqrt{2}"}',
        r'{"t": "\sqrt{2}", "n": "\frac{1}{2}"}',  # in the other order
        r'{"t": "\d+", "n": "\bword\b"}',
        r'{"t": "C:\new", "n": "D:\Users"}',
        r'{"t": "\\server\\x", "n": "D:\data"}',
        r'{"t": "\theta", "n": "a\.b"}',
        r'{"t": ["\w"], "n": {"deep": ["x", "\rho"]}}',
        r'{"t": "x", "n\d": "\nu"}',  # in a key
    ],
)
def test_a_backslash_that_is_meant_as_it_is_makes_the_others_doubtful(text: str) -> None:
    parser, _ = every_cut(text)
    objection = parser.objection()
    assert objection is not None
    assert "backslashes" in objection.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"t": "a\_b", "n": "x\ny"}', {"t": r"a\_b", "n": "x\ny"}),  # a habit of Markdown
        (r'{"t": "\d+", "n": "x \"y\" \/ \u00e4"}', {"t": r"\d+", "n": 'x "y" / ä'}),
        (r'{"t": "\d+", "n": "\w"}', {"t": r"\d+", "n": r"\w"}),
        (r'{"t": "a\nb", "n": "c\td \\ e"}', {"t": "a\nb", "n": "c\td \\ e"}),
    ],
)
def test_backslashes_that_agree_are_read(text: str, value: Any) -> None:
    parser, _ = every_cut(text)
    assert parser.objection() is None
    assert parser.value == value


ANSWER = '{"t": "a", "n": "x"}'


@pytest.mark.parametrize(
    "later",
    [
        '\nCorrection: {"t": "b"}',
        '\n```json\n{"n": "y", "why": "typo"}\n```',
        "\n{'t': 'b'}",
        '\nSorry: [{"t": "b"}]',
        '\n{"t": ["a"]}',
        '\n{"note": 1} {"t": "b"}',
    ],
)
def test_an_object_after_the_answer_with_another_value_makes_it_invalid(later: str) -> None:
    with pytest.raises(InvalidResponseError, match="another one"):
        Response([ANSWER + later], output=OUTPUT, max_retries=0).get_data()


def test_an_object_that_changes_an_item_of_a_list_makes_it_invalid() -> None:
    text = '[{"t": "a", "n": "x"}, {"t": "b", "n": "y"}]\nCorrection: '
    for later in ('{"t": "c"}', '{"t": "a", "n": "y"}', '[{"t": "c"}]'):
        with pytest.raises(InvalidResponseError, match="another one"):
            Response([text + later], output=[OUTPUT], max_retries=0).get_data()
    for later in ('{"t": "b"}', '{"other": 1}', "[1]", "{t}", "{}"):
        assert len(Response([text + later], output=[OUTPUT], max_retries=0).get_data()) == 2


def test_a_key_that_the_answer_left_out_is_another_value() -> None:
    with pytest.raises(InvalidResponseError):
        Response(['{"t": "a"}\n{"n": "x"}'], output={"t": str, "n?": str}, max_retries=0).get_data()


@pytest.mark.parametrize(
    "later",
    ['\nIn short: {"t": "a"}', '\n{"n": "x", "t": "a"}', '\n{"tokens": 5}', ' {"t": "a", "extra": 1}', " {draft}"],
)
def test_equal_values_and_other_keys_do_not_matter(later: str) -> None:
    response = Response([ANSWER + later], output=OUTPUT, max_retries=0)
    assert response.get_data() == {"t": "a", "n": "x"}


@pytest.mark.parametrize(
    "text",
    [
        r'{"q": ["a", "b \ud83d", "c"]}',
        r'{"q": ["a", "\ude00\ud83d"]}',
        r'{"q": ["a"], "\ud83d": 1}',
        r'{"q": ["a", "\uD83D\n\uDE00',
    ],
)
async def test_half_of_a_character_makes_the_answer_invalid_at_once(text: str) -> None:
    reasons: list[str | None] = []
    read: list[str] = []

    def source(attempt: Attempt) -> Any:
        reasons.append(attempt.reason)
        if attempt.number > 1:
            return ['{"q": ["a", "b 😀"]}']

        async def typed() -> Any:
            for piece in (text, " and", " so on"):
                read.append(piece)
                yield piece

        return typed()

    response = Response(source, output={"q": [str]})
    assert await response.async_get_data() == {"q": ["a", "b 😀"]}
    assert reasons[1] is not None
    assert "half of a character" in reasons[1]
    assert read == [text]


@pytest.mark.parametrize(
    "pieces", [['{"t": "a \ud83d b"}'], ['{"t": "a \ud83d', ' b"}'], ['{"t": "\ude00"}'], ['{"t": "x"}\ud83d']]
)
async def test_half_of_a_character_from_the_provider_makes_data_invalid(pieces: list[str]) -> None:
    chunks = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    end: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    for source in (pieces, [*chunks, end]):
        with pytest.raises(InvalidResponseError, match="half of a character"):
            await Response(source, output={"t": str}).async_get_data()
    assert "\ufffd" in await Response(pieces).async_get_text()


@pytest.mark.parametrize("cut", range(1, 12))
@pytest.mark.parametrize(
    "data",
    [
        b'{"t": "a\xffb"}',
        b'{"t": "\xe6\x97"}',
        b'{"t": "a", "\xe6u": 1}',
        b'{"t": "\xf0\x9f\x98"}',
        b'x\x80 {"t": "a"}',
    ],
)
async def test_bytes_that_are_no_utf_8_make_data_invalid(data: bytes, cut: int) -> None:
    """No character that the provider has not sent is in a valid answer."""
    asked: list[str | None] = []

    def source(attempt: Attempt) -> list[bytes]:
        asked.append(attempt.reason)
        return [data[:cut], data[cut:]] if attempt.number == 1 else [b'{"t": "right"}']

    response = Response(source, output={"t": str})
    assert await response.async_get_data() == {"t": "right"}
    assert len(asked) == 2
    assert "half of a character" in str(asked[1])
    parser = InstantParser()
    for piece in (data[:cut], data[cut:]):
        parser.feed(piece)
    parser.finish()
    assert parser.lost_character is not None
    assert parser.lost_character == parser.objection()
    assert "\ufffd" in await Response([data]).async_get_text()


async def test_half_of_a_character_in_free_text_is_the_writers() -> None:
    text = r'Write {"t": "\ud83d"} for half of it.'
    assert await Response([text]).async_get_text() == text


async def test_a_field_with_half_of_a_character_does_not_go_out() -> None:
    response = Response([r'{"q": ["a"', r', "b\ud83d"', ', "c"]}'], output={"q": [str]})
    fields = aiter(response.fields("q[*]"))
    with pytest.raises(InvalidResponseError, match="half of a character"):
        assert [item async for item in fields] == ["never b"]
    assert "half of a character" in response.problems[0].message


def call(name: str, arguments: str, index: int = 0, end: str | None = None) -> dict[str, Any]:
    piece = {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": arguments}}
    return {"id": "1", "choices": [{"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": end}]}


TOOLS = {"search": {"queries": [str]}, "weather": {"city": str}}


async def told(first: list[Any], *paths: str) -> Attempt:
    """What the second attempt is told of the first answer."""
    seen: list[Attempt] = []

    def source(attempt: Attempt) -> Any:
        seen.append(attempt)
        return first if attempt.number == 1 else [call("search", '{"queries": ["x"]}', end="tool_calls")]

    response = Response(source, tools=TOOLS)
    if paths:
        async for _ in response.follow_fields(paths):
            pass
    await response.async_get_text()
    assert len(seen) == 2
    return seen[1]


OF_OLLAMA: dict[str, Any] = {
    "message": {"tool_calls": [{"function": {"name": "serach", "arguments": {}}}]},
    "done": True,
}
UNKNOWN: list[list[Any]] = [
    [call("serach", '{"queries": ["x"]}', end="tool_calls")],
    [call("search", '{"queries": ["x"]}'), call("serach", "{}", 1, "tool_calls")],
    [OF_OLLAMA],
]


@pytest.mark.parametrize("paths", [(), ("$tool_calls[*]",), ("$tool_calls.search.queries[*]",)])
@pytest.mark.parametrize("chunks", UNKNOWN)
async def test_a_call_of_a_tool_that_there_is_not_is_asked_again(chunks: list[Any], paths: tuple[str, ...]) -> None:
    attempt = await told(chunks, *paths)
    assert attempt.reason == "it calls the tool 'serach', which does not exist; the tools are search, weather"
    assert "serach(" in attempt.text


async def test_without_tools_every_call_is_allowed() -> None:
    response = Response([call("anything", "{}", end="tool_calls")])
    data = await response.async_get_data(type="all")
    assert data["tool_calls"][0].name == "anything"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"queries": ["y", 7]}', "queries[1]: expected a string, got 7"),
        ('{"queries": "y"}', "queries: expected an array, got"),
        ("{}", "the keys ['queries'] are missing"),
        ('{"queries": ["y"', "tool call 2 ('search'): the arguments are not one JSON object"),
    ],
)
async def test_the_model_is_told_which_call_is_wrong(arguments: str, reason: str) -> None:
    chunks = [call("weather", '{"city": "Rome"}'), call("search", arguments, 1, "tool_calls")]
    attempt = await told(chunks, "$tool_calls[*]", "$tool_calls.search.queries", "$tool_calls.search.queries[*]")
    assert attempt.reason is not None
    assert "tool call 2 ('search'): " in attempt.reason
    assert reason in attempt.reason
    assert attempt.text == f'weather({{"city": "Rome"}})\nsearch({arguments})'


def test_many_strings_with_both_kinds_cost_the_same() -> None:
    parser = InstantParser()
    parser.feed("[" + ", ".join([r'"\d"', r'"\n"'] * 5_000) + "]")
    assert len(parser.problems) <= 100
    assert parser.objection() is not None


@pytest.mark.parametrize(
    ("text", "output", "why"),
    [
        ('{"answer": {"t": "x"}}', {"t": str}, "inside of another one"),
        ('[{"t": "x"}]', {"t": str}, "inside of another one"),
        ('```json\n{"t": "x"}\n```', {"t": str}, "Expecting value"),
        ('{"t": "x",}', {"t": str}, "double quotes"),
        ('["a" "b"]', [str], "delimiter"),
    ],
)
def test_strict_takes_the_value_itself_and_says_why_not(text: str, output: Any, why: str) -> None:
    response = Response([text], output=output, strict=True, max_retries=0)
    with pytest.raises(InvalidResponseError, match="strict=True") as caught:
        response.get_data()
    for problems in (caught.value.problems, response.problems):
        assert why in problems[-1].message
        assert not problems[-1].repaired
    assert Response([text], output=output, max_retries=0).get_data()


@pytest.mark.parametrize("text", ['{"t": "x"}', ' {"t": "\\u00e4"}\n', '{"t": "x", "t": "x"}'])
def test_strict_takes_json(text: str) -> None:
    assert Response([text], output={"t": str}, strict=True, max_retries=0).get_data()


@pytest.mark.parametrize("number", ["3.0", "1e3", "3.5"])
def test_an_int_has_no_point_and_no_exponent(number: str) -> None:
    with pytest.raises(InvalidResponseError, match="int"):
        Response([f'{{"n": {number}}}'], output={"n": int}, max_retries=0).get_data()
