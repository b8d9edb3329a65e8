"""How an answer ends: a finish reason means the same in the words of each provider; a refusal is its own error."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from triggerflow.models import (
    Delta,
    InvalidResponseError,
    ProviderError,
    RefusalError,
    Response,
    TransportError,
    TruncatedResponseError,
)
from triggerflow.models.shapes.finish import FAILURES, NOTHING, WORDS


def chat(reason: Any = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def gemini(reason: Any = None, text: str = "") -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": reason}]}


def ollama(reason: Any = None, text: str = "") -> dict[str, Any]:
    return {"message": {"content": text}, "done": reason is not None, "done_reason": reason}


def messages(reason: Any = None, text: str = "") -> dict[str, Any]:
    if reason is None:
        return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return {"type": "message_delta", "delta": {"stop_reason": reason}}


def openai(reason: Any = None, text: str = "") -> dict[str, Any]:
    return chat(reason, content=text)


DIALECTS = [openai, gemini, ollama, messages]
Dialect = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("word", ["stop", "STOP", "end_turn", "eos", "COMPLETE", "tool_use", "a word of next year"])
async def test_a_normal_end(dialect: Dialect, word: str) -> None:
    response = Response([dialect(text="Yes."), dialect(word)])
    assert await response.async_get_text() == "Yes."


async def test_an_unknown_word_is_shown_in_the_meta_data() -> None:
    response = Response([chat(content="Yes."), chat("eos_found")])
    assert (await response.async_get_meta())["finish_reason"] == "eos_found"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        *[(word, "length") for word in ("length", "MAX_TOKENS", "max_output_tokens", "model_length", "limit")],
        *[(word, "content_filter") for word in ("content_filter", "SAFETY", "RECITATION", "sensitive", "SPII")],
        *[(word, word) for word in ("error", "abort", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL")],
        *[(word, word) for word in ("OTHER", "network_error", "pause_turn", "UNEXPECTED_TOOL_CALL")],
    ],
)
async def test_an_end_that_is_not_the_end_of_the_answer(dialect: Dialect, word: str, reason: str) -> None:
    with pytest.raises(TruncatedResponseError) as caught:
        await Response([dialect(text="The first half of"), dialect(word)]).async_get_text()
    assert caught.value.finish_reason == reason
    assert caught.value.text == "The first half of"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("word", ["error", "abort", "OTHER", "MALFORMED_FUNCTION_CALL", "server_error"])
async def test_a_failure_before_the_first_text_is_the_providers_and_is_retried(dialect: Dialect, word: str) -> None:
    asked = 0

    def source() -> list[Any]:
        nonlocal asked
        asked += 1
        return [dialect(word)] if asked == 1 else [dialect(text="Yes."), dialect("stop")]

    assert await Response(source).async_get_text() == "Yes."
    assert asked == 2
    with pytest.raises(ProviderError, match=word):
        await Response([dialect(word)]).async_get_text()


async def test_a_failure_is_one_even_if_the_json_is_complete() -> None:
    chunks = [chat(content='{"a": 1}'), chat("error")]
    with pytest.raises(TruncatedResponseError) as caught:
        await Response(chunks, output={"a": int}).async_get_data()
    assert caught.value.data == {"a": 1}


@pytest.mark.parametrize("word", ["length", "pause_turn", "content_filter"])
async def test_json_that_is_complete_needs_no_more_tokens(word: str) -> None:
    assert await Response([chat(content='{"a": 1}'), chat(word)], output={"a": int}).async_get_data() == {"a": 1}


@pytest.mark.parametrize("dialect", [openai, gemini])
@pytest.mark.parametrize("word", [None, "", "null", "None", "FINISH_REASON_UNSPECIFIED"])
async def test_words_for_nothing_do_not_hide_that_the_connection_was_cut(dialect: Dialect, word: Any) -> None:
    with pytest.raises(TruncatedResponseError, match="connection was cut") as caught:
        await Response([dialect(word, "The first half of")]).async_get_text()
    assert caught.value.finish_reason == "connection"
    assert await Response([dialect(word, "All "), dialect(word, "of it."), dialect("stop")]).async_get_text() == (
        "All of it."
    )


async def test_a_word_for_nothing_in_the_last_chunk_does_not_take_the_reason_back() -> None:
    counts = {"id": "c", "choices": [{"delta": {}, "finish_reason": ""}], "usage": {"prompt_tokens": 1}}
    assert await Response([chat("stop", content="Yes."), counts]).async_get_text() == "Yes."


async def test_a_stream_cut_before_the_first_text_is_retried() -> None:
    asked = 0

    def source() -> list[Any]:
        nonlocal asked
        asked += 1
        return [chat(role="assistant", content="")] if asked == 1 else [chat("stop", content="Yes.")]

    assert await Response(source).async_get_text() == "Yes."
    with pytest.raises(TransportError, match="without a finish reason"):
        await Response([chat(role="assistant")]).async_get_text()


@pytest.mark.parametrize("end", [[], [{"error": {"code": 502, "message": "gone"}}], [chat("error")]], ids=str)
async def test_a_tool_call_that_has_begun_is_not_asked_for_again(end: list[Any]) -> None:
    asked = 0

    def source() -> list[Any]:
        nonlocal asked
        asked += 1
        return [chat(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": '{"a"'}}]), *end]

    with pytest.raises(TruncatedResponseError):
        await Response(source).async_get_text()
    assert asked == 1


async def test_the_arguments_of_tools_count_as_length() -> None:
    piece = {"index": 0, "function": {"name": "f", "arguments": "x" * 60}}
    with pytest.raises(TruncatedResponseError, match="max_length=100"):
        await Response([chat(tool_calls=[piece])] * 2, max_length=100).async_get_text()


async def test_a_blocked_prompt_says_so() -> None:
    with pytest.raises(TruncatedResponseError, match="content filter") as caught:
        await Response([{"promptFeedback": {"blockReason": "SAFETY"}}]).async_get_text()
    assert caught.value.text == ""


async def test_a_deltas_own_finish_reason_may_be_any_providers_word() -> None:
    with pytest.raises(TruncatedResponseError) as caught:
        await Response([Delta("Half", finish_reason="MAX_TOKENS")]).async_get_text()
    assert caught.value.finish_reason == "length"
    assert (await Response([Delta("Yes.", finish_reason="")]).async_get_meta())["finish_reason"] is None


def test_a_word_has_one_meaning() -> None:
    words = [word for _, words in WORDS.values() for word in words] + [*FAILURES, *NOTHING]
    assert len(words) == len(set(words))
    assert all(word == word.lower() for word in words)


REFUSED = "I'm sorry, I can't help with that."
REFUSALS = {
    "chat": [chat(role="assistant", content=""), chat(refusal="I'm sorry, "), chat(refusal=REFUSED[11:]), chat("stop")],
    "chat, in a part": [chat(content=[{"type": "refusal", "refusal": REFUSED}]), chat("stop")],
    "chat, a whole completion": [{"choices": [{"message": {"content": None, "refusal": REFUSED}}]}],
    "chat, cut by the limit": [chat(refusal=REFUSED), chat("length")],
    "responses": [
        {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": REFUSED},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ],
    "helper": [
        {"type": "refusal.delta", "delta": REFUSED, "snapshot": REFUSED},
        {"type": "chunk", "chunk": chat("stop")},
    ],
    "anthropic, the text itself": [messages(text=REFUSED), messages("refusal")],
    "anthropic, an explanation": [
        messages(text="The rec"),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": REFUSED}},
        },
    ],
    "a delta": [Delta(refusal=REFUSED, finish_reason="stop")],
}


@pytest.mark.parametrize("output", [None, {"steps": [str]}])
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_an_error_with_its_text_and_is_not_asked_again(name: str, output: Any) -> None:
    asked = 0

    def source() -> list[Any]:
        nonlocal asked
        asked += 1
        return REFUSALS[name]

    response = Response(source, output=output)
    with pytest.raises(RefusalError, match="can't help") as caught:
        await response.async_get_text()
    assert not isinstance(caught.value, InvalidResponseError)
    assert (caught.value.text, caught.value.retry, asked) == (REFUSED, False, 1)


async def test_a_refusal_is_no_text_of_the_answer_and_can_be_read_as_it_comes() -> None:
    response = Response(REFUSALS["chat"])
    seen: list[Any] = []

    with pytest.raises(RefusalError):
        await response.async_get_text()
    with suppress(RefusalError):
        async for item in response.get_async_generator("specific", specific=["delta", "refusal_delta"]):
            seen += [item]
    assert seen == [("refusal_delta", "I'm sorry, "), ("refusal_delta", REFUSED[11:])]
