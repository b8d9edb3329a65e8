"""A response: recorded once, read by many, asked again when it fails, closed when nobody reads it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from tests.models.instant_support import Follower, pieces
from triggerflow.models import (
    Delta,
    InvalidResponseError,
    RateLimitError,
    Response,
    ResponseCancelled,
    ResponseUsageError,
    StallError,
    TextReset,
    TransportError,
    TruncatedResponseError,
)

ANSWER = {"title": "Solar sails", "queries": ["thrust", "light pressure"], "n": 123, "ok": True}
TEXT = json.dumps(ANSWER)
OUTPUT = {"title": (str, "the title"), "queries": [str], "n": int, "ok": bool}


class Source:
    """A factory of sources: each attempt gets the next list. An exception in a list is raised there, a float waits."""

    def __init__(self, *attempts: list[Any]) -> None:
        self.attempts = list(attempts)
        self.opened = 0
        self.closed = 0

    def __call__(self) -> AsyncGenerator[Any, None]:
        self.opened += 1
        return self.read(self.attempts.pop(0))

    async def read(self, items: list[Any]) -> AsyncGenerator[Any, None]:
        try:
            for item in items:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, float):
                    await asyncio.sleep(item)
                else:
                    yield item
        finally:
            self.closed += 1


async def all_of(response: Response, type: Any = "delta", **options: Any) -> list[Any]:
    return [item async for item in response.get_async_generator(type, **options)]


async def test_nothing_is_asked_for_before_somebody_reads() -> None:
    source = Source([TEXT])
    response = Response(source)
    await asyncio.sleep(1)
    assert source.opened == 0
    assert await response.async_get_text() == TEXT
    assert source.opened == source.closed == 1


async def test_every_reader_gets_everything_whenever_it_comes() -> None:
    parts = [part for piece in pieces(TEXT, 4) for part in (piece, 0.01)]
    source = Source(parts)
    response = Response(source, output=OUTPUT)

    async def late(delay: float) -> Any:
        await asyncio.sleep(delay)
        follower = Follower()
        async for event in response.get_async_generator("instant"):
            follower.take([event])
        return {keys: event.value for keys, event in follower.done.items()}

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(late(delay)) for delay in (0, 0, 0.05, 60)]
        text = group.create_task(response.async_get_text())
        data = group.create_task(response.async_get_data())
    assert source.opened == 1
    assert text.result() == TEXT
    assert data.result() == ANSWER
    first = readers[0].result()
    assert first[()] == ANSWER
    assert first["queries", 1] == "light pressure"
    assert all(reader.result() == first for reader in readers)


async def test_a_slow_reader_holds_nobody_up() -> None:
    response = Response(Source(pieces(TEXT, 2)))
    slow = response.get_async_generator()
    assert await anext(slow) == TEXT[:2]
    assert await asyncio.wait_for(response.async_get_text(), 1) == TEXT
    assert "".join([piece async for piece in slow]) == TEXT[2:]


async def test_views() -> None:
    chunks = [
        Delta(reasoning="hm"),
        Delta(text='{"a":'),
        Delta(text=" 1}", finish_reason="stop", usage={"completion_tokens": 3}),
    ]
    response = Response(Source(list(chunks)))
    assert await all_of(response) == ['{"a":', " 1}"]
    assert await all_of(response, "specific") == [
        *[("reasoning_delta", "hm"), ("delta", '{"a":'), ("delta", " 1}")],
        *[("reasoning_done", "hm"), ("done", '{"a": 1}')],
    ]
    for one in (["done"], "done"):
        assert await all_of(response, "specific", specific=one) == [("done", '{"a": 1}')]
    counted = {"finish_reason": "stop", "usage": {"completion_tokens": 3}}
    meta = {"role": "assistant", **counted, "attempt": 1, "attempts": [{**counted, "failure": None}]}
    assert (await all_of(response, "all"))[-1] == ("meta", meta)
    assert await response.async_get_meta() == meta
    assert await response.async_get_data(type="original") == '{"a": 1}'
    whole = {"data": {"a": 1}, "text": '{"a": 1}', "reasoning": "hm", "tool_calls": [], "meta": meta}
    assert await response.async_get_data(type="all") == whole


async def test_the_original_view_gives_the_providers_own_chunks() -> None:
    chunks = [{"message": {"content": "hi"}, "done": False}, {"message": {"content": ""}, "done": True}]
    assert await all_of(Response(lambda: chunks), "original") == chunks


@pytest.mark.parametrize(("type", "specific"), [("instnat", []), ("specific", ["dleta"])])
async def test_a_wrong_view_is_refused(type: Any, specific: list[str]) -> None:
    source = Source([TEXT])
    with pytest.raises(ValueError, match="write"):
        await all_of(Response(source), type, specific=specific)
    assert source.opened == 0


async def test_closing_the_last_reader_closes_the_source() -> None:
    source = Source([TEXT[:20], 60.0, TEXT[20:]])
    response = Response(source)
    first, second = response.get_async_generator(), response.get_async_generator()
    await anext(first)
    await anext(second)
    await first.aclose()
    await asyncio.sleep(1)
    assert source.closed == 0
    await second.aclose()
    await asyncio.sleep(0)
    assert source.closed == 1
    with pytest.raises(ResponseCancelled, match="last reader left"):
        await response.async_get_text()


async def test_cancelling_ends_every_reader() -> None:
    source = Source([TEXT[:20], 60.0])
    response = Response(source)
    reader = asyncio.create_task(response.async_get_data())
    await asyncio.sleep(1)
    await response.aclose()
    assert source.closed == 1
    with pytest.raises(ResponseCancelled):
        await reader


async def test_cancelling_before_the_first_reader_sends_nothing() -> None:
    source = Source([TEXT])
    response = Response(source)
    response.cancel()
    with pytest.raises(ResponseCancelled):
        await response.async_get_text()
    assert source.opened == 0


# -- again -------------------------------------------------------------------------------------------------------------


async def test_missing_keys_ask_again_and_every_reader_is_told() -> None:
    source = Source(['{"title": "x"}'], [TEXT])
    response = Response(source)
    events = asyncio.create_task(all_of(response, "instant"))
    texts = asyncio.create_task(all_of(response))
    pairs = asyncio.create_task(all_of(response, "all"))
    assert await response.async_get_data(ensure_keys=["queries[*]", "n"]) == ANSWER
    follower = Follower()
    follower.take(await events)
    assert follower.attempt == 2
    assert follower.done[()].value == ANSWER
    first, mark, second = await texts
    assert isinstance(mark, TextReset)
    assert (first, mark, mark.attempt, second) == ('{"title": "x"}', "", 2, TEXT)
    assert ("reset", 2) in await pairs
    assert source.opened == source.closed == 2


async def test_an_answer_that_ended_without_the_keys_is_asked_for_again() -> None:
    source = Source(['{"title": "x"}'], ["{}"], [TEXT])
    response = Response(source)
    assert await response.async_get_data() == {"title": "x"}
    assert await response.async_get_data(ensure_keys=["n"]) == ANSWER
    resets = [event.attempt for event in await all_of(response, "instant") if event.event_type == "reset"]
    assert resets == [2, 3]


async def test_the_number_of_requests_is_one_and_the_retries() -> None:
    source = Source(*[['{"title": "x"}']] * 9)
    response = Response(source)
    with pytest.raises(InvalidResponseError, match=r"lacks \['n'\]") as caught:
        await response.async_get_data(ensure_keys=["title", "n"], max_retries=2)
    assert source.opened == 3
    assert caught.value.missing == ("n",)
    assert caught.value.data == {"title": "x"}


async def test_without_raising_the_last_answer_counts() -> None:
    source = Source(['{"a": 1}'], ['{"a": 2}'])
    data = await Response(source).async_get_data(ensure_keys=["b"], max_retries=1, raise_ensure_failure=False)
    assert data == {"a": 2}
    once = Response([TEXT])
    assert await once.async_get_data(ensure_keys=["zzz"], raise_ensure_failure=False) == ANSWER
    with pytest.raises(InvalidResponseError, match=r"lacks \['zzz'\]"):
        await once.async_get_data(ensure_keys=["zzz"])
    assert await once.async_get_data() == ANSWER


@pytest.mark.parametrize(
    ("keys", "style", "there"),
    [
        (["a.b[*].c"], "dot", True),
        (["a.b[1].c"], "dot", True),
        (["a.b[2]"], "dot", False),
        (["a.b[*].d"], "dot", False),
        (["a/b/[*]/c"], "slash", True),
        (["/a/b/[0]/d"], "slash", True),
        (["a[0]"], "dot", False),
        (["x.y"], "dot", False),
    ],
)
async def test_ensured_keys_are_paths(keys: list[str], style: Any, there: bool) -> None:
    response = Response(['{"a": {"b": [{"c": 1, "d": 2}, {"c": 3}]}}'])
    call = response.async_get_data(ensure_keys=keys, key_style=style)
    if there:
        await call
    else:
        with pytest.raises(InvalidResponseError):
            await call


async def test_an_answer_of_another_schema_is_asked_for_again() -> None:
    source = Source(["Sorry, I cannot."], ['{"title": 5, "queries": [], "n": 1, "ok": true}'], ["{}"], [TEXT])
    response = Response(source, output=OUTPUT)
    assert await response.async_get_data_object() == ANSWER
    assert source.opened == 4
    with pytest.raises(InvalidResponseError, match="does not fit its description") as caught:
        await Response(Source(['{"title": "x"}']), output=OUTPUT, max_retries=0).async_get_data()
    assert caught.value.data == {"title": "x"}


async def test_a_request_that_fails_is_repeated_after_the_time_that_the_provider_asks_for() -> None:
    source = Source([RateLimitError("slow down", status=429, retry_after=7.0)], [ConnectionResetError()], [TEXT])
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await Response(source).async_get_data() == ANSWER
    assert loop.time() - started == pytest.approx(7.0 + 1.0)  # the second failure in a row waits twice half a second


async def test_a_provider_that_asks_for_too_long_a_wait_fails_at_once() -> None:
    source = Source([RateLimitError("slow down", retry_after=3600.0)])
    with pytest.raises(RateLimitError, match="slow down"):
        await Response(source).async_get_text()


async def test_a_source_that_is_no_factory_cannot_be_asked_again() -> None:
    source = Source([ConnectionResetError("gone")])
    with pytest.raises(TransportError, match="gone"):
        await Response(source()).async_get_text()


# -- cut off -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ([Delta(finish_reason="length")], "length"),
        ([Delta(finish_reason="content_filter")], "content_filter"),
        ([ConnectionResetError("gone")], "connection"),
        ([90.0], "stall"),
        ([], "end"),
    ],
)
async def test_an_answer_that_is_cut_off_ends_with_an_error_that_holds_what_came(end: list[Any], reason: str) -> None:
    source = Source(['{"title": "x", "queries": ["thr', *end], [TEXT])
    response = Response(source, output=OUTPUT)
    events: list[Any] = []

    async def read() -> None:
        async for event in response.get_async_generator("instant"):
            events.append(event)  # noqa: PERF401 - a comprehension would lose them with the error

    with pytest.raises(TruncatedResponseError) as caught:
        await read()
    assert caught.value.finish_reason == reason
    assert caught.value.data == {"title": "x", "queries": ["thr"]}
    assert caught.value.text == '{"title": "x", "queries": ["thr'
    assert [event.path for event in events if event.truncated] == ["queries[0]", "queries", ""]
    assert not [event for event in events if event.truncated and event.is_complete]
    assert source.opened == source.closed == 1
    with pytest.raises(TruncatedResponseError):
        await response.async_get_text()


async def test_text_that_is_cut_off_is_an_error_too() -> None:
    with pytest.raises(TruncatedResponseError) as caught:
        await Response(["once upon", Delta(" a", finish_reason="length")]).async_get_text()
    assert caught.value.text == "once upon a"


async def test_an_answer_that_is_complete_may_be_followed_by_anything() -> None:
    assert await Response([TEXT, Delta("   ", finish_reason="length")], output=OUTPUT).async_get_data() == ANSWER


async def test_a_stall_before_the_first_text_is_repeated() -> None:
    source = Source([100.0, TEXT], [TEXT])
    response = Response(source, stall_timeout=30)
    assert await response.async_get_data() == ANSWER
    assert source.opened == source.closed == 2
    with pytest.raises(StallError, match="30 seconds"):
        await Response(Source([31.0]), stall_timeout=30, max_retries=0).async_get_text()


async def test_an_answer_without_end_is_cut_off() -> None:
    async def endless() -> AsyncGenerator[str, None]:
        while True:
            yield "blah " * 100

    with pytest.raises(TruncatedResponseError, match="max_length=10000"):
        await Response(endless, max_length=10_000).async_get_text()


# -- answers that cannot be used ---------------------------------------------------------------------------------------


async def test_no_json_is_an_error_for_data_and_fine_as_text() -> None:
    response = Response(["I would rather ", "not."])
    assert await response.async_get_text() == "I would rather not."
    with pytest.raises(InvalidResponseError, match="no JSON") as caught:
        await response.async_get_data()
    assert caught.value.text == "I would rather not."
    assert caught.value.data is None


async def test_of_two_blocks_the_one_that_was_asked_for_counts() -> None:
    text = 'Using {"note": 1} as a hint:\n```json\n' + TEXT + "\n```"
    assert await Response([text], output=OUTPUT).async_get_data() == ANSWER


@pytest.mark.parametrize("pieces", [[], [""], [Delta(usage={"prompt_tokens": 1})]])
async def test_an_empty_stream_is_an_error(pieces: list[Any]) -> None:
    with pytest.raises(InvalidResponseError, match="empty"):
        await Response(pieces).async_get_text()


@pytest.mark.parametrize("item", [5, None, {"x": 1}, object(), ["a"]])
async def test_a_delta_that_is_no_text_is_an_error_at_once(item: Any) -> None:
    source = Source(['{"title": "x', item], [TEXT])
    with pytest.raises(TypeError, match=r"delta must be text.*adapter"):
        await Response(source).async_get_text()
    assert source.opened == source.closed == 1


async def test_the_source_may_be_of_any_kind_but_not_anything() -> None:
    with pytest.raises(TypeError, match="not from int"):
        await Response(5).async_get_text()


async def test_what_the_source_raises_besides_comes_through_as_it_is() -> None:
    mistake = KeyError("a mistake in the program")
    with pytest.raises(KeyError) as caught:
        await Response(Source(["text", mistake])).async_get_text()
    assert caught.value is mistake


# -- loops -------------------------------------------------------------------------------------------------------------


def test_without_a_loop() -> None:
    response = Response(lambda: pieces(TEXT, 4), output=OUTPUT)
    assert "".join(response.get_generator()) == TEXT
    assert [event.path for event in response.get_generator("instant")][-1] == ""
    assert response.get_data() == response.get_data_object() == ANSWER
    assert response.get_text() == TEXT
    assert response.get_meta()["attempt"] == 1
    leaving = Response(lambda: pieces(TEXT, 4)).get_generator()
    assert next(leaving) == TEXT[:4]
    leaving.close()  # type: ignore[attr-defined]


async def test_a_response_belongs_to_one_loop() -> None:
    response = Response([TEXT])
    await response.async_get_text()

    def elsewhere() -> None:
        with pytest.raises(ResponseUsageError):
            asyncio.run(response.async_get_text())

    await asyncio.to_thread(elsewhere)


async def test_an_object_needs_a_description() -> None:
    with pytest.raises(TypeError, match="output="):
        await Response([TEXT]).async_get_data_object()


async def test_tool_calls_are_put_together() -> None:
    def call(**function: Any) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, **function}]}}]}

    chunks = [
        call(id="c1", function={"name": "search", "arguments": '{"q"'}),
        call(function={"arguments": ': "sun"}'}),
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ]
    whole = await Response(lambda: chunks).async_get_data(type="all")
    (found,) = whole["tool_calls"]
    assert (found.id, found.name, found.arguments) == ("c1", "search", '{"q": "sun"}')


async def test_a_long_delta_lets_others_run() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    text = json.dumps({"text": "plain text " * 20_000})
    response = Response([text])
    assert await response.async_get_text() == text
    beside.cancel()
    assert turns >= len(text) // 10_000


async def test_leaving_by_break_closes_the_source() -> None:
    source = Source([TEXT[:20], 60.0, TEXT[20:]])
    async with aclosing(Response(source).get_async_generator("instant")) as events:
        async for _ in events:
            break
    await asyncio.sleep(0)
    assert source.closed == 1


async def test_originals_are_not_kept_when_nobody_wants_them() -> None:
    chunk = {"id": "c1", "choices": [{"delta": {"content": TEXT}, "finish_reason": "stop"}]}
    response = Response([chunk], originals=False)
    kinds = [name for name, _ in await all_of(response, "all")]
    assert kinds == ["delta", "done", "meta"]
    assert (await response.async_get_meta())["id"] == "c1"
    with pytest.raises(ResponseUsageError, match="originals=False"):
        await all_of(response, "original")
