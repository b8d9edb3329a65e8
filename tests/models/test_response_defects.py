"""Failures seen in other frameworks' responses, each kept away by a test."""

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.models.instant_support import pieces
from triggerflow.models import InvalidResponseError, Response, TruncatedResponseError

TEXT = json.dumps({"n": 123, "title": "Hello", "ok": True, "a": {"x": 1, "y": ["p", "qq", "rrr"]}})


async def events_of(response: Response) -> list[Any]:
    return [event async for event in response.get_async_generator("instant")]


async def test_two_readers_at_once_and_one_later_get_the_same() -> None:
    response = Response(pieces(TEXT, 3))
    first, second = await asyncio.gather(events_of(response), events_of(response))
    later = await events_of(response)
    assert first == second == later
    assert len(first) > 10


@pytest.mark.parametrize("size", [1, 3, 5, 8, 24, 1000])
async def test_a_number_does_not_swallow_the_text_beside_it(size: int) -> None:
    events = await events_of(Response(pieces(TEXT, size)))
    assert "".join(event.delta for event in events if event.path == "title" and event.delta) == "Hello"
    assert [event.value for event in events if event.path == "n"] == [123]


async def test_thinking_is_not_the_answer() -> None:
    text = '<think>maybe {"n": 9} </think>{"n": 1}'
    response = Response(pieces(text, 4))
    assert await response.async_get_data() == {"n": 1}
    assert [event.value for event in await events_of(response) if event.path == "n"] == [1]


async def test_braces_in_prose_do_not_hide_the_answer() -> None:
    assert await Response(pieces('Using {x}: {"n": 1}', 3)).async_get_data() == {"n": 1}


async def test_fields_in_another_order_are_done_when_they_close() -> None:
    text = '{"z": [{"a": 1}, {"a": 2}], "a": "later"}'
    sent = ""

    async def source() -> Any:
        nonlocal sent
        for character in text:
            sent += character
            yield character
            await asyncio.sleep(0.01)

    events = Response(source, output={"a": str, "z": [{"a": int}]}).get_async_generator("instant")
    seen = [(event.path, sent != text) async for event in events if event.is_complete]
    assert ("z[0]", True) in seen
    assert ("z", True) in seen


async def test_a_number_that_was_cut_is_not_complete() -> None:
    response = Response(['{"n": 12'])
    events = await events_of(response)
    assert not [event for event in events if event.is_complete]
    with pytest.raises(TruncatedResponseError):
        await response.async_get_data()


async def test_the_work_for_a_long_string_grows_with_its_length_only() -> None:
    async def calls(length: int) -> int:
        """How many functions are called, as a measure that no other load on the machine changes."""
        deltas = pieces(json.dumps({"text": "plain text " * (length // 11)}), 8)
        count = 0

        def counting(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(counting)
        try:
            await Response(deltas).async_get_data()
        finally:
            sys.setprofile(None)
        return count

    short, long = await calls(2_000), await calls(16_000)
    assert long < 8.2 * short


@pytest.mark.parametrize("size", [1, 5, 8])
async def test_what_is_done_never_changes(size: int) -> None:
    events = [event for event in await events_of(Response(pieces(TEXT, size))) if event.is_complete]
    whole = json.loads(TEXT)
    values = {event.path: event.value for event in events}
    assert len(values) == len(events)
    assert values["a"] == whole["a"]
    assert values["a.y"] == ["p", "qq", "rrr"]


async def test_a_cut_connection_and_prose_are_errors_that_say_so() -> None:
    async def cut() -> Any:
        yield '{"title": "He'
        raise ConnectionResetError("peer went away")

    with pytest.raises(TruncatedResponseError, match="peer went away") as caught:
        await Response(cut).async_get_data()
    assert caught.value.data == {"title": "He"}
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    with pytest.raises(InvalidResponseError, match="no JSON"):
        await Response(["I am a language model."]).async_get_data()
