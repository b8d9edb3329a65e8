"""An answer that cannot be used is asked for again: what the model is told, what limits it, and what it has cost."""

import asyncio
import copy
import dataclasses
import functools
import json
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from tests.models.sse_server import Reply, openai_events, provider
from tests.models.test_providers import anthropic_events
from triggerflow import TriggerFlow
from triggerflow.models import (
    Attempt,
    AuthenticationError,
    Delta,
    InvalidResponseError,
    ModelError,
    ProviderError,
    RateLimitError,
    Request,
    Response,
    ResponseCancelled,
    ResponseUsageError,
    TextReset,
    ToolCallDelta,
    TransportError,
    TruncatedResponseError,
)
from triggerflow.models.anthropic import AnthropicProvider
from triggerflow.models.openai import OpenAIProvider
from triggerflow.models.outputs.misfits import misfits
from triggerflow.models.request import LONGEST_QUOTE
from triggerflow.testing import Reply as Scripted
from triggerflow.testing import ScriptedModel

WRONG = '{"title": 5}'
RIGHT = '{"title": "Sails"}'
ANSWER = {"title": "Sails"}
REQUEST = Request().system("You plan.").input("Solar sails").output({"title": (str, "the title")})


def messages(request: Request) -> list[dict[str, Any]]:
    return request.to_messages(ask_for_json=True)


class Asked:
    """A source function that takes an attempt. Each attempt gets the next items; an exception is raised there."""

    def __init__(self, *attempts: list[Any]) -> None:
        self.items = list(attempts)
        self.told: list[Attempt] = []

    def __call__(self, attempt: Attempt) -> AsyncGenerator[Any, None]:
        self.told.append(attempt)
        return self.read(self.items[len(self.told) - 1])

    async def read(self, items: list[Any]) -> AsyncGenerator[Any, None]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, float):
                await asyncio.sleep(item)
            else:
                yield item


# -- what the model is told --------------------------------------------------------------------------------------------


async def test_the_next_request_carries_the_answer_and_what_was_wrong_with_it() -> None:
    model = ScriptedModel(WRONG, RIGHT)
    assert await REQUEST.get_response(model).async_get_data() == ANSWER
    first, second = map(messages, model.requests)
    assert second[: len(first)] == first
    answer, told = second[len(first) :]
    assert answer == {"role": "assistant", "content": WRONG}
    assert told["role"] == "user"
    assert "title: expected a string, got 5" in told["content"]


async def test_a_model_that_reads_the_reason_can_mend_its_answer() -> None:
    def mend(request: Request) -> Any:
        told = messages(request)[-1]["content"]
        return {"title": "Sails", "queries": []} if "queries" in told.partition("cannot be used")[2] else ANSWER

    request = Request().input("x").output({"title": str, "queries": [str]})
    assert await request.get_response(ScriptedModel(mend, mend)).async_get_data() == {"title": "Sails", "queries": []}


async def test_the_reason_can_be_left_out() -> None:
    model = ScriptedModel(WRONG, WRONG, RIGHT)
    assert await REQUEST.get_response(model, tell_why=False).async_get_data() == ANSWER
    assert model.requests == [REQUEST] * 3


async def test_only_the_last_answer_is_told_so_that_requests_do_not_grow() -> None:
    model = ScriptedModel('{"title": 1}', '{"title": 2}', '{"title": 3}', RIGHT)
    await REQUEST.get_response(model).async_get_data()
    assert [message["content"] for message in messages(model.requests[3])[2:-1]] == ['{"title": 3}']


@pytest.mark.real_time
@pytest.mark.parametrize("structured", ["json_schema", "json_object", "prompt"])
async def test_openai_is_told_why(structured: Any) -> None:
    async with provider(Reply(openai_events([WRONG])), Reply(openai_events([RIGHT]))) as server:
        model = OpenAIProvider("small", base_url=server.url, api_key="k", structured=structured)
        assert await REQUEST.get_response(model).async_get_data() == ANSWER
        await model.aclose()
    first, second = (sent["messages"] for sent in server.requests)
    assert second[:-2] == first
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert second[-2]["content"] == WRONG
    assert "title" in second[-1]["content"]


@pytest.mark.real_time
@pytest.mark.parametrize(("structured", "kind"), [("tool", "tool_use"), ("prompt", "text")])
async def test_anthropic_is_told_why(structured: Any, kind: str) -> None:
    replies = [Reply(anthropic_events(kind, [text], "end_turn"), named=True) for text in (WRONG, RIGHT)]
    async with provider(*replies) as server:
        model = AnthropicProvider("small", base_url=server.url, api_key="k", structured=structured)
        assert await REQUEST.get_response(model).async_get_data() == ANSWER
        await model.aclose()
    first, second = server.requests
    assert second["messages"][:-2] == first["messages"]
    assert second["messages"][-2] == {"role": "assistant", "content": WRONG}  # a tool's input is told as text
    assert "title" in second["messages"][-1]["content"]
    assert second["system"] == first["system"]


async def test_a_failed_request_is_repeated_as_it_was() -> None:
    model = ScriptedModel(RateLimitError("slow down"), ConnectionResetError(), RIGHT)
    assert await REQUEST.get_response(model).async_get_data() == ANSWER
    assert model.requests == [REQUEST] * 3


async def test_an_answer_is_still_to_be_corrected_when_the_next_request_fails() -> None:
    model = ScriptedModel(WRONG, RateLimitError("slow down"), RIGHT)
    assert await REQUEST.get_response(model).async_get_data() == ANSWER
    assert model.requests[1] == model.requests[2] != REQUEST
    asked = Asked([WRONG], [ConnectionResetError()], [RIGHT])
    await Response(asked, output={"title": str}).async_get_data()
    assert [one.number for one in asked.told] == [1, 2, 3]
    assert asked.told[2].reason == asked.told[1].reason
    assert asked.told[2].text == WRONG


async def test_missing_keys_are_told_while_the_answer_is_written_and_afterwards() -> None:
    model = ScriptedModel(ANSWER, {**ANSWER, "n": 1}, {**ANSWER, "n": 1, "m": 2})
    response = Request().input("x").get_response(model)
    assert await response.async_get_data(ensure_keys=["title", "n", "m"]) == {**ANSWER, "n": 1, "m": 2}
    assert "['n', 'm']" in messages(model.requests[1])[-1]["content"]
    assert "['m']" in messages(model.requests[2])[-1]["content"]
    model = ScriptedModel(ANSWER, {**ANSWER, "n": 1})
    response = Request().input("x").get_response(model)
    await response.async_get_data()
    await response.async_get_data(ensure_keys=["n"])
    assert messages(model.requests[1])[-2] == {"role": "assistant", "content": json.dumps(ANSWER)}
    assert "['n']" in messages(model.requests[1])[-1]["content"]


async def test_the_keys_that_several_readers_miss_are_told_together() -> None:
    model = ScriptedModel(Scripted.fields({"a": 1}, pause=1.0), {"a": 1, "b": 2, "c": 3})
    response = Request().input("x").get_response(model)
    wants = [response.async_get_data(ensure_keys=[key]) for key in "abc"]
    assert await asyncio.gather(*wants) == [{"a": 1, "b": 2, "c": 3}] * 3
    assert "['b', 'c']" in messages(model.requests[1])[-1]["content"]


@pytest.mark.parametrize("length", [LONGEST_QUOTE, LONGEST_QUOTE + 1, 1_000_000])
def test_a_long_answer_is_repeated_in_part(length: int) -> None:
    text = "a" + "x" * (length - 2) + "z"
    quoted = messages(REQUEST.correct(text, "too long"))[-2]["content"]
    assert len(quoted) <= LONGEST_QUOTE + 100
    assert (quoted[0], quoted[-1]) == ("a", "z")
    assert ("left out" in quoted) == (length > LONGEST_QUOTE)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_answer_without_text_is_not_repeated(text: str) -> None:
    told = messages(REQUEST.correct(text, "the answer is empty"))
    assert [message["role"] for message in told] == ["system", "user"]
    assert "the answer is empty" in told[-1]["content"]
    assert "Solar sails" in told[-1]["content"]


def test_roles_alternate_whatever_the_request_ends_with() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    told = messages(REQUEST.attach([image]).correct("", "empty"))
    assert [part["type"] for part in told[-1]["content"]] == ["text", "image_url", "text"]
    begun = Request().history([{"role": "user", "content": "Go"}, {"role": "assistant", "content": '{"title":'}])
    told = messages(begun.correct(" 5}", "not a text"))
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert told[1]["content"] == '{"title": 5}'
    assert begun.messages[1]["content"] == '{"title":'  # the request itself is not changed
    spoken = messages(Request().history([{"role": "user", "content": [image]}]).correct("", "empty"))
    assert len(spoken) == 1
    assert spoken[0]["content"][0] == image


async def test_every_place_that_is_not_json_is_told() -> None:
    asked = Asked(['{"title": "Sails", "a": 12x4, "b": tru, "c": 1}'], [RIGHT])
    assert await Response(asked, output={"title": str}).async_get_data() == ANSWER
    assert "12x4" in str(asked.told[1].reason)
    assert "tru" in str(asked.told[1].reason)
    assert [problem.offset for problem in asked.told[1].problems if not problem.repaired] == [24, 35]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"title" "Sails"}', "at character 9"),
        ('Sure: {"title": <str>}', "at character 16"),
        ("[" * 100_000, "no JSON"),
        ('{"n": ' + "9" * 10_000 + "]", "no JSON"),
        ("Sorry.", "Sorry."),
    ],
)
async def test_an_answer_without_json_is_told_where_it_goes_wrong(text: str, place: str) -> None:
    asked = Asked([text], [RIGHT])
    assert await Response(asked, output={"title": str}).async_get_data() == ANSWER
    assert place in str(asked.told[1].reason)


async def test_required_keys_of_free_text_are_those_of_sound_json() -> None:
    asked = Asked(['{"title": "Sails", "n": 12x4}'], [RIGHT])
    assert await Response(asked).async_get_data(ensure_keys=["title"]) == ANSWER
    assert "12x4" in str(asked.told[1].reason)


async def test_an_answer_of_tool_calls_only_is_told_to_write_text() -> None:
    call = Delta(tool_calls=(ToolCallDelta(0, "{}", "c1", "search"),), finish_reason="tool_calls")
    asked = Asked([call], [RIGHT])
    assert await Response(asked, output={"title": str}).async_get_data() == ANSWER
    assert "['search']" in str(asked.told[1].reason)


# -- source functions --------------------------------------------------------------------------------------------------


def source_functions() -> list[tuple[str, Callable[..., Any]]]:
    """Source functions of every form, with the answer that each gives: what it was called with."""

    def shown(*got: Any) -> list[str]:
        return [", ".join(str(getattr(one, "number", one)) for one in got) or "nothing"]

    def plain(attempt: Attempt) -> Any:
        return shown(attempt)

    class Model:
        def ask(self, attempt: Attempt) -> Any:
            return shown(attempt)

        def plain(self) -> Any:
            return shown()

        def __call__(self, attempt: Attempt) -> Any:
            return shown(attempt)

        @classmethod
        def of_class(cls, attempt: Attempt) -> Any:
            return shown(attempt)

    async def coroutine(attempt: Attempt) -> Any:
        return shown(attempt)

    async def generator(attempt: Attempt) -> AsyncGenerator[str, None]:
        yield shown(attempt)[0]

    def sync(attempt: Attempt, /) -> Any:
        yield from shown(attempt)

    def defaulted(attempt: Any = "default") -> Any:
        return shown(attempt)

    def and_more(attempt: Attempt, more: str = "more") -> Any:
        return shown(attempt, more)

    def any_number(*attempts: Any) -> Any:
        return shown(*attempts)

    def by_name(*, name: str = "name") -> Any:
        return shown(name)

    def anything(*places: Any, **names: Any) -> Any:
        return shown(*places, *names)

    def of_the_loop(text: str = "loop") -> Any:
        return shown(text)

    def of_text(text: str, attempt: Attempt) -> Any:
        return shown(text, attempt)

    of_anything: Any = of_text

    @functools.wraps(and_more)
    def wrapped(*places: Any, **names: Any) -> Any:
        return and_more(*places, **names)

    return [
        ("1", plain),
        ("1", Model().ask),
        ("1", Model()),
        ("1", Model.of_class),
        ("1", coroutine),
        ("1", generator),
        ("1", sync),
        ("1, more", and_more),
        ("1, more", wrapped),
        ("text, 1", functools.partial(of_text, "text")),
        ("nothing", lambda: shown()),
        ("nothing", Model().plain),
        ("default", defaulted),
        ("loop", of_the_loop),
        ("nothing", any_number),
        ("name", by_name),
        ("nothing", anything),
        ("a, b", functools.partial(of_anything, "a", "b")),
        ("text, b", functools.partial(of_anything, "text", attempt="b")),
    ]


@pytest.mark.real_time  # a sync generator is read in a thread
@pytest.mark.parametrize(("text", "source"), source_functions())
async def test_a_source_function_gets_the_attempt_if_it_needs_an_argument(text: str, source: Any) -> None:
    assert await Response(source).async_get_text() == text


def two(attempt: Any, more: str) -> Any: ...
def three(a: Any, b: Any, c: Any) -> Any: ...
def named(*, attempt: Attempt) -> Any: ...


@pytest.mark.parametrize("source", [two, three, named, functools.partial(two, attempt=1)])
def test_a_source_function_that_needs_other_arguments_is_refused_at_once(source: Any) -> None:
    with pytest.raises(ResponseUsageError, match="one, the Attempt"):
        Response(source)


async def test_a_source_function_is_told_number_reason_text_and_problems() -> None:
    asked = Asked(["Sorry."], [WRONG], [RIGHT])
    assert await Response(asked, output={"title": str}).async_get_data() == ANSWER
    first, second, third = asked.told
    assert (first.number, first.reason, first.text, first.problems) == (1, None, "", ())
    assert (second.number, second.text) == (2, "Sorry.")
    assert "no JSON" in str(second.reason)
    assert (third.number, third.text) == (3, WRONG)
    assert "title" in str(third.reason)
    asked = Asked([WRONG], [RIGHT])
    await Response(asked, output={"title": str}, tell_why=False).async_get_data()
    assert asked.told == [Attempt(1), Attempt(2)]


# -- the budget --------------------------------------------------------------------------------------------------------


async def ended_by(asked: Asked, **options: Any) -> tuple[ModelError, float]:
    """The error that ends a response, and how many seconds it took."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(ModelError) as caught:
        await Response(asked, output={"title": str}, **options).async_get_data()
    return caught.value, asyncio.get_running_loop().time() - began


async def test_the_error_names_the_number_of_attempts_and_why_each_failed() -> None:
    error, _ = await ended_by(Asked(["Sorry."], [ConnectionResetError("gone")], [WRONG]), max_retries=2)
    assert isinstance(error, InvalidResponseError)
    assert error.ended_by == "max_retries=2"
    assert len(error.attempts) == 3
    for reason, part in zip(error.attempts, ["no JSON", "gone", "title"], strict=True):
        assert part in reason
        assert len(reason) <= 204
    for part in ("does not fit", "attempt 3, the last one: max_retries=2", "attempt 1: ", "no JSON", "gone"):
        assert part in str(error)


async def test_equal_reasons_are_told_once() -> None:
    error, _ = await ended_by(Asked(*[["Sorry."]] * 4))
    assert "attempts 1 to 3: the same" in str(error)
    assert str(error).count("Sorry.") == 1
    error, _ = await ended_by(Asked(["Sorry."], ["Sorry."], ["No."], ["Sorry."]))
    assert "; attempts 1 to 2: the same; attempt 3: " in str(error)


async def test_an_error_that_no_retry_follows_names_no_limit() -> None:
    error, _ = await ended_by(Asked([AuthenticationError("no key")]))
    assert (str(error), error.ended_by, error.attempts) == ("no key", None, ("no key",))
    error, _ = await ended_by(Asked([WRONG], ['{"title": "Sa', Delta(finish_reason="length")]))
    assert isinstance(error, TruncatedResponseError)
    assert error.ended_by is None
    assert len(error.attempts) == 2
    assert "attempt 2; attempt 1: the answer does not fit" in str(error)


async def test_an_error_keeps_what_it_says_of_the_attempts_when_it_is_copied() -> None:
    error, _ = await ended_by(Asked([WRONG], [WRONG]), max_retries=1)
    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert str(twin) == str(error)
        assert (twin.attempts, twin.ended_by, twin.usage) == (error.attempts, "max_retries=1", error.usage)


async def test_no_attempt_begins_after_the_time_is_over() -> None:
    asked = Asked(*[[3.0, WRONG]] * 9)
    error, took = await ended_by(asked, max_retries=8, retry_within=5)
    assert "retry_within=5" in str(error.ended_by)
    assert (len(asked.told), took) == (2, pytest.approx(6.0))  # the second attempt had begun, so it goes on


async def test_pauses_count_and_a_pause_that_ends_too_late_is_not_begun() -> None:
    asked = Asked(*[[ConnectionResetError("gone")]] * 9)
    error, took = await ended_by(asked, max_retries=8, retry_within=5)
    assert (len(asked.told), took) == (4, pytest.approx(0.5 + 1 + 2))
    assert isinstance(error, TransportError)
    error, took = await ended_by(Asked([RateLimitError("slow", retry_after=10.0)]), retry_within=5)
    assert (took, error.attempts) == (0, ("slow",))
    assert "retry_within=5" in str(error)


async def test_an_attempt_in_progress_goes_on_when_the_time_is_over() -> None:
    assert await Response(Asked([20.0, RIGHT]), retry_within=0).async_get_data() == ANSWER


async def test_the_time_between_an_answer_and_a_later_call_does_not_count() -> None:
    response = Response(Asked([1.0, ANSWER_TEXT], [1.0, RIGHT]), retry_within=5)
    await response.async_get_data()
    await asyncio.sleep(3600)
    assert await response.async_get_data(ensure_keys=["title"]) == ANSWER


ANSWER_TEXT = '{"n": 1}'


def costing(text: str, tokens: int, **more: int) -> list[Any]:
    return [Delta(text), Delta(finish_reason="stop", usage={"prompt_tokens": 10, "completion_tokens": tokens, **more})]


async def test_no_attempt_begins_beyond_the_tokens() -> None:
    asked = Asked(*[costing(WRONG, 40)] * 9)
    error, _ = await ended_by(asked, max_retries=8, retry_tokens=120)
    assert len(asked.told) == 3
    assert error.ended_by == "retry_tokens=120 (150 were used)"
    assert error.usage == {"prompt_tokens": 30, "completion_tokens": 120, "total_tokens": 150}
    asked = Asked(*[costing(WRONG, 40)] * 9)
    error, _ = await ended_by(asked, max_retries=1, retry_tokens=120)
    assert error.ended_by == "max_retries=1"
    asked = Asked([Delta(WRONG, usage={"completion_tokens": 7}, finish_reason="stop")])
    error, _ = await ended_by(asked, retry_tokens=7)
    assert error.ended_by == "retry_tokens=7 (7 were used)"


async def test_the_budget_holds_for_required_keys_too() -> None:
    limits: list[dict[str, Any]] = [{"retry_tokens": 50}, {"retry_within": 1}]
    for options in limits:
        asked = Asked(*[[2.0, *costing(ANSWER_TEXT, 40)]] * 9)
        with pytest.raises(InvalidResponseError, match=next(iter(options))):
            await Response(asked, **options).async_get_data(ensure_keys=["title"])
        asked = Asked(*[[2.0, *costing(ANSWER_TEXT, 40)]] * 9)
        response = Response(asked, **options)
        data = await response.async_get_data(ensure_keys=["title"], raise_ensure_failure=False)
        assert (data, len(asked.told)) == ({"n": 1}, 1)
        with pytest.raises(InvalidResponseError, match=f"title.*{next(iter(options))}"):
            await response.async_get_data(ensure_keys=["title"])
        assert len(asked.told) == 1


async def test_a_pause_grows_to_a_minute_and_not_beyond() -> None:
    asked = Asked(*[[ProviderError("busy")]] * 10, [RIGHT])
    began = asyncio.get_running_loop().time()
    assert await Response(asked, max_retries=10).async_get_data() == ANSWER
    assert asyncio.get_running_loop().time() - began == pytest.approx(sum([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]))


async def test_a_long_pause_that_the_provider_asks_for_is_named() -> None:
    error, took = await ended_by(Asked([RateLimitError("slow", retry_after=3600.0)]))
    assert took == 0
    assert "3600 seconds" in str(error)


# -- what it has cost --------------------------------------------------------------------------------------------------


async def test_the_usage_of_all_attempts_is_summed() -> None:
    asked = Asked(
        costing(WRONG, 20, cached_tokens=4),
        [ConnectionResetError("gone")],
        [*costing(RIGHT, 30, cached_tokens=5, reasoning_tokens=9)],
    )
    response = Response(asked, output={"title": str})
    meta = await response.async_get_meta()
    parts = {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70}
    assert meta["usage"] == {**parts, "cached_tokens": 9, "reasoning_tokens": 9}
    first, second, third = meta["attempts"]
    assert first["usage"] == {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, "cached_tokens": 4}
    assert first["finish_reason"] == "stop"
    assert "title" in first["failure"]
    assert second["usage"] == {}
    assert second["finish_reason"] is None
    assert "gone" in second["failure"]
    assert (third["usage"]["total_tokens"], third["finish_reason"], third["failure"]) == (40, "stop", None)
    pairs = [item async for item in response.get_async_generator("all")]
    assert pairs[-1] == ("meta", meta)


def counted(text: str, usage: dict[str, Any]) -> Reply:
    """An answer of OpenAI's with these token counts."""
    *events, counts, end = openai_events([text])
    return Reply([*events, {**counts, "usage": usage}, end])


@pytest.mark.real_time
async def test_cached_and_thought_tokens_of_openai_are_summed() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }
    async with provider(counted(WRONG, usage), Reply(status=503), counted(RIGHT, usage)) as server:
        model = OpenAIProvider("small", base_url=server.url, api_key="k")
        meta = await REQUEST.get_response(model).async_get_meta()
        await model.aclose()
    parts = {"prompt_tokens": 200, "completion_tokens": 40, "total_tokens": 240}
    assert meta["usage"] == {**parts, "cached_tokens": 128, "reasoning_tokens": 24}
    assert [attempt["usage"].get("cached_tokens") for attempt in meta["attempts"]] == [64, None, 64]
    assert "503" in meta["attempts"][1]["failure"]


@pytest.mark.real_time
async def test_cached_tokens_of_anthropic_are_summed() -> None:
    replies: list[Reply] = []
    for text in (WRONG, RIGHT):
        first, *events = anthropic_events("tool_use", [text], "end_turn")
        usage = {"input_tokens": 7, "cache_read_input_tokens": 30, "output_tokens": 1}
        replies.append(Reply([{**first, "message": {**first["message"], "usage": usage}}, *events], named=True))
    async with provider(*replies) as server:
        model = AnthropicProvider("small", base_url=server.url, api_key="k")
        meta = await REQUEST.get_response(model).async_get_meta()
        await model.aclose()
    each = meta["attempts"][0]["usage"]
    assert (each["prompt_tokens"], each["cached_tokens"]) == (37, 30)
    assert meta["usage"] == {name: 2 * count for name, count in each.items()}


async def test_of_counts_that_grow_within_an_attempt_the_last_one_counts() -> None:
    parts = [Delta("{}"[at], usage={"prompt_tokens": 10, "completion_tokens": at + 1}) for at in range(2)]
    meta = await Response(Asked(parts)).async_get_meta()
    assert meta["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


async def test_the_meta_data_belong_to_their_reader() -> None:
    response = Response(Asked(costing(WRONG, 1), costing(RIGHT, 1)), output={"title": str})
    mine = await response.async_get_meta()
    mine["attempts"][0]["usage"].clear()
    mine["usage"].clear()
    assert (await response.async_get_meta())["usage"]["total_tokens"] == 22


async def test_an_answer_that_is_asked_for_later_again_counts_too() -> None:
    response = Response(Asked(costing(ANSWER_TEXT, 20), costing(RIGHT, 30)))
    assert (await response.async_get_meta())["usage"]["total_tokens"] == 30
    await response.async_get_data(ensure_keys=["title"])
    meta = await response.async_get_meta()
    assert meta["usage"]["total_tokens"] == 70
    assert "title" in meta["attempts"][0]["failure"]


# -- wrong options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("max_retries", [-1, "3", 1.5, None, True]),
        ("retry_within", [-1, "5", float("nan"), True]),
        ("retry_tokens", [-1, "5", 1.5, False]),
        ("tell_why", ["no", None, 0]),
        ("stall_timeout", [-1, "60"]),
        ("first_token_timeout", [-1, "60"]),
        ("max_length", [0, "1000", None]),
        ("originals", ["no", None]),
        ("constrained", ["no"]),
        ("strict", ["no"]),
        ("repair", ["no"]),
        ("path_style", ["dots", None, 5]),
        ("adapter", ["text", 5]),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(option: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ResponseUsageError, match=f"{option}="):
            Response([RIGHT], **{option: value})


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("ensure_keys", ["title", [5], 5, {"title": 1}]),
        ("max_retries", [-1, "3", True]),
        ("key_style", ["dots"]),
        ("type", ["parsd", 5]),
        ("raise_ensure_failure", ["no"]),
    ],
)
async def test_a_wrong_option_of_a_reader_is_an_error_that_names_it(option: str, values: list[Any]) -> None:
    asked = Asked([RIGHT])
    for value in values:
        with pytest.raises(ResponseUsageError, match=f"{option}="):
            await Response(asked).async_get_data(**{option: value})
    assert not asked.told


# -- in a flow ---------------------------------------------------------------------------------------------------------


async def test_what_a_dropped_answer_started_is_retracted_with_the_reason() -> None:
    flow = TriggerFlow(name="retold")
    response = Response(Asked(['{"queries": ["old", 5]}'], ['{"queries": ["new"]}']), output={"queries": [str]})
    heard: list[str] = []

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return await data.async_emit_fields(response, {"queries[0]": "query"})

    @flow.chunk("search")
    async def search(data: Any) -> None:
        await asyncio.sleep(1)
        heard.append(data.value)

    flow.to(plan).end()
    flow.when("query").to(search)
    execution = flow.create_execution()
    items = [item async for item in execution.get_async_runtime_stream(None)]
    assert heard == ["new"]
    assert [item["type"] for item in items] == ["retraction"]
    assert "does not fit its description" in items[0]["reason"]
    assert "attempt 2 follows" in items[0]["reason"]


async def test_every_mistake_of_a_field_is_told_before_the_answer_is_complete() -> None:
    item = '{"type": "search", "query": 5, "limit": 11}'
    asked = Asked([f'{{"steps": [{item}, ', 1.0, "never read"], ['{"steps": []}'])
    response = Response(asked, output={"steps": [Search]})
    assert [step async for step in response.fields("steps[*]")] == []
    told = str(asked.told[1].reason)
    assert "steps[0].query: expected a string, got 5" in told
    assert "steps[0].limit: expected at most 10, got 11" in told


async def test_readers_are_told_why_an_answer_is_dropped() -> None:
    response = Response(Asked([WRONG], [RIGHT]), output={"title": str})
    marks = [item async for item in response.get_async_generator() if isinstance(item, TextReset)]
    resets = [item async for item in response.get_async_generator("instant") if item.event_type == "reset"]
    assert "title" in marks[0].reason
    assert marks[0].reason == resets[0].reason


async def test_a_cancelled_pause_ends_the_response() -> None:
    response = Response(Asked([RateLimitError("slow", retry_after=50.0)]))
    reading = asyncio.create_task(response.async_get_text())
    await asyncio.sleep(1)
    response.cancel()
    with pytest.raises(ResponseCancelled):
        await reading


# -- every mistake at once ---------------------------------------------------------------------------------------------


class Search(msgspec.Struct, tag="search"):
    query: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5


class Read(msgspec.Struct, tag="read"):
    url: str
    then: list["Search | Read"] = []


@dataclasses.dataclass
class Point:
    x: float
    y: float
    label: str | None = None


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)
    mood: Literal["good", "bad"]

    @pydantic.field_validator("name")
    @classmethod
    def no_digits(cls, name: str) -> str:
        if any(map(str.isdigit, name)):
            raise ValueError("a name has no digits")
        return name


@pytest.mark.parametrize(
    ("output", "data", "told"),
    [
        (
            {"title": str, "steps": [{"n": int, "kind": (Literal["a", "b"], "the kind")}], "sum": float},
            {"title": 5, "steps": [{"n": "x", "kind": "c"}, {"kind": "a"}, 3]},
            [
                *("the answer: the keys ['sum'] are missing", "title: expected a string, got 5"),
                *('steps[0].n: expected an integer, got "x"', 'steps[0].kind: expected "a" or "b", got "c"'),
                *("steps[1]: the keys ['n'] are missing", "steps[2]: expected an object, got 3"),
            ],
        ),
        (
            list[Search | Read],
            [{"type": "search", "query": 1, "limit": 11}, {"type": "read", "url": "u", "then": [{"type": "read"}]}, 7],
            [
                *("[0].query: expected a string, got 1", "[0].limit: expected at most 10, got 11"),
                *("[1].then[0]: the keys ['url'] are missing", "[2]: expected an object, got 7"),
            ],
        ),
        (list[Search | Read], [{"type": "write"}], ['[0].type: expected "search", got "write"']),
        (Point, {"x": "1", "y": True, "label": 5}, ['x: expected a number, got "1"', "y: expected a number, got true"]),
        (Point, {"x": 1, "y": 2.5, "label": 5}, ["label: expected a string or null, got 5"]),
        (
            Person,
            {"name": "Jo", "age": -1, "mood": "so-so"},
            ["age: expected at least 0, got -1", 'mood: expected "good" or "bad", got "so-so"'],
        ),
        (Person, {"name": "Jo3", "age": 1, "mood": "good"}, ["a name has no digits"]),  # no schema says it
        ({"tags": [str]}, {"tags": {}}, ["tags: expected an array, got an object"]),
        ({"tags": [str]}, {"tags": "x" * 500}, ['tags: expected an array, got "xxx', "xxx..."]),
        (dict[str, int], {"a": 1, "b": None}, ["b: expected an integer, got null"]),
        (tuple[int, str], [1, 2], ["[1]: expected a string, got 2"]),
        ([int], list(map(str, range(99))), ["[19]: expected an integer", "and 79 more"]),
    ],
)
async def test_every_place_that_does_not_fit_is_told(output: Any, data: Any, told: list[str]) -> None:
    asked = Asked([json.dumps(data)], [json.dumps(data)])
    with pytest.raises(InvalidResponseError):
        await Response(asked, output=output, max_retries=1).async_get_data()
    reason = str(asked.told[1].reason)
    for line in told:
        assert line in reason
    assert len(reason) < 2_000


def test_unions_inside_unions_are_searched_in_bounded_time() -> None:
    member = {"type": "object", "properties": {"in": {"$ref": "#/$defs/T"}}, "required": ["in"]}
    schema = {"$ref": "#/$defs/T", "$defs": {"T": {"anyOf": [member, {**member}]}}}
    data: Any = 5
    for _ in range(4):
        data = {"in": data}
    assert misfits(data, schema) == ["in.in.in.in: expected an object, got 5"]
    for _ in range(60):
        data = {"in": data}
    misfits(data, schema)  # would try 2 ** 64 ways
