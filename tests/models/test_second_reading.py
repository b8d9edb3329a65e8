"""An answer that would be invalid is read a second time, as a whole: one reading that fits, or none."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.models import InvalidResponseError, Response, TruncatedResponseError
from triggerflow.models.repair.second_reading import MAX_LENGTH

PLAN = {"title": str, "tags": [str]}
MEANT = {"title": "Sails", "tags": ["light", "thrust"]}


def answering(*pieces: str, finish: str | None = "stop", output: Any = PLAN, **options: Any) -> Response:
    async def chunks() -> AsyncIterator[dict[str, Any]]:
        for piece in pieces:
            yield {"choices": [{"delta": {"content": piece}}]}
        if finish is not None:
            yield {"choices": [{"delta": {}, "finish_reason": finish}]}

    return Response(chunks(), output=output, max_retries=0, **options)


CURLY = "{\u201ctitle\u201d: \u201cSails\u201d, \u201ctags\u201d: [\u201clight\u201d, \u201cthrust\u201d]}"


async def test_the_events_of_a_second_reading_come_at_the_end() -> None:
    response = answering(CURLY)
    events = [event async for event in response.get_async_generator("instant")]
    assert [(event.path, event.value) for event in events if event.is_complete] == [
        ("title", "Sails"),
        ("tags[0]", "light"),
        ("tags[1]", "thrust"),
        ("tags", ["light", "thrust"]),
        ("", MEANT),
    ]
    assert await response.async_get_data() == MEANT
    assert await response.async_get_text() == CURLY


async def test_what_was_reported_before_is_void() -> None:
    response = answering('{"title": "Sails", "tags": ["light", "thrust"}')
    kinds = [event.event_type async for event in response.get_async_generator("instant")]
    assert "reset" in kinds
    after = len(kinds) - 1 - kinds[::-1].index("reset")
    assert kinds[after + 1 :].count("done") == 5
    assert await response.async_get_data() == MEANT


async def test_signals_of_the_first_reading_are_taken_back() -> None:
    flow = TriggerFlow("plan")
    searched: list[str] = []

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        response = answering('{"tags": ["light", "thrust", "title": "Sails"}')
        return await data.async_emit_fields(response, {"tags[*]": "tag"})

    @flow.chunk("search")
    async def search(data: Any) -> None:
        searched.append(data.value)

    flow.to(plan).end()
    flow.when("tag").to(search)
    assert await flow.async_start() == MEANT
    assert searched[-2:] == ["light", "thrust"]


@pytest.mark.parametrize("options", [{"repair": False}, {"strict": True}])
async def test_it_is_a_guess_and_can_be_forbidden(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidResponseError):
        await answering(CURLY, **options).async_get_data()


async def test_the_response_says_what_was_wrong() -> None:
    response = answering(CURLY)
    await response.async_get_data()
    (problem,) = response.problems
    assert problem.repaired
    assert "quotes" in problem.message


@pytest.mark.parametrize("finish", ["length", None])
async def test_an_answer_that_was_cut_off_is_not_read_again(finish: str | None) -> None:
    with pytest.raises(TruncatedResponseError):
        await answering(CURLY[:-12], finish=finish).async_get_data()


@pytest.mark.parametrize(
    "text",
    [
        '{"title": "Sails", "tags": ["light", "thrust"',  # more may be missing than brackets
        '{"title": Sails, "tags": ["light", thrust and more]}',  # an item, or a remark
        '{"title": "Sails", "tags": [str]}',
        '{"title": undefined, "tags": []}',
        '{"title": date(2024, 5), "tags": []}',
        '{"title": "Sails", "tags": ["light", "thrust", etc.]}',
        "{\u201ctitle\u201d: \u201cSails\u201d, \u201ctags\u201d: [\u201clight\u201d, ...]}",
        '{"title": "Sails", "tags": ["light"} {"title": "Kites", "tags": []}',
        '{"tags": ["light"], "tags": ["thrust"}, "title": "Sails"}',
        '{"title": "Sails", "tags": []}\nAnother answer: {"title": "Kites", "tags": []}',
        'Option one: {"title": "Sails", "tags": []}\nOption two: {"title": "Kites", "tags": []}',
    ],
)
async def test_where_there_is_doubt_the_answer_stays_invalid(text: str) -> None:
    with pytest.raises(InvalidResponseError):
        await answering(text).async_get_data()


@pytest.mark.parametrize(
    "text",
    [
        '{"title" = "Sails"; "tags" = ["light"; "thrust"]}',
        '{"title" => "Sails", "tags" => ["light", "thrust"]}',
        "{\u00abtitle\u00bb: \u00abSails\u00bb, \u00abtags\u00bb: [\u00ablight\u00bb, \u00abthrust\u00bb]}",
        '{"title": "Sa" + "ils", "tags": ["light", "thr" + "ust"]}',
        '{"title": "Sails", "tags": ["light", "thrust"}}',
        '{"title": "Sails", "tags": ["light", "thrust"]]',
        '{"title": "Sails"}, "tags": ["light", "thrust"]}',
        '{"title": Sails, "tags": [light, thrust]}',
        '{"title": "Sails", # so far\n "tags": ["light", "thrust"] # all\n}',
        '{"title": "Sails", "tags": [\n"light"\n"thrust"\n]}',
        r"{\"title\": \"Sails\", \"tags\": [\"light\", \"thrust\"]}",
        r'"{\"title\": \"Sails\", \"tags\": [\"light\", \"thrust\"]}"',
        'My draft: {"title": "S", "tags": []}\nFinal answer: {"title": "Sails", "tags": ["light", "thrust"]}',
        'First: {"title": "S", "tags": []}. No. **The right one:** {"title": "Sails", "tags": ["light", "thrust"]}',
        "<think>{\u201ctitle\u201d: \u201cno\u201d}</think>" + CURLY,
    ],
)
async def test_one_reading_is_taken(text: str) -> None:
    for size in (len(text), 1, 5):
        response = answering(*(text[at : at + size] for at in range(0, len(text), size)))
        assert await response.async_get_data() == MEANT


async def test_a_value_has_to_fit_the_description() -> None:
    with pytest.raises(InvalidResponseError):
        await answering("{\u201ctitle\u201d: \u201cSails\u201d, \u201ctags\u201d: 5}").async_get_data()


async def test_long_answers_are_not_read_again() -> None:
    text = CURLY.replace("Sails", "Sails " * (MAX_LENGTH // 6))
    with pytest.raises(InvalidResponseError):
        await answering(text).async_get_data()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        '{"a": ' * 5_000,
        "{\u201c" * 10_000,
        '{"title": ' + "}]" * 5_000,
        '{"tags": [' + "a, " * 10_000,
        "\\" * 40_000 + '"',
    ],
)
async def test_no_text_takes_long(text: str) -> None:
    with pytest.raises(InvalidResponseError):
        await answering(text).async_get_data()
