"""An adapter says what the content of a chunk is. The rest of a chunk of a known shape is read all the same."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from triggerflow.models import (
    Delta,
    ProviderError,
    RateLimitError,
    RefusalError,
    Response,
    TransportError,
    TruncatedResponseError,
)

Adapter = Callable[[Any], Any]


def chat(content: Any, finish: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}], **more}


def content(chunk: Any) -> Any:
    return chunk["choices"][0]["delta"]["content"]


def reason(chunk: Any) -> Any:
    return chunk["choices"][0]["finish_reason"]


ADAPTERS: dict[str, Adapter] = {
    "text": content,
    "bytes": lambda chunk: content(chunk).encode(),
    "Delta": lambda chunk: Delta(content(chunk)),
    "Delta with the reason": lambda chunk: Delta(content(chunk), finish_reason=reason(chunk)),
    "Delta with raw": lambda chunk: Delta(content(chunk), raw=chunk),
    "the chunk": lambda chunk: chunk,
    "another chunk": lambda chunk: {"message": {"content": content(chunk)}, "done": False},
    "text, None at the end": lambda chunk: content(chunk) or None,
}


@pytest.mark.parametrize("name", ["text", "Delta", "Delta with the reason", "Delta with raw", "the chunk"])
async def test_a_cut_stream_is_noticed_with_any_adapter(name: str) -> None:
    with pytest.raises(TruncatedResponseError, match="without a finish reason") as caught:
        await Response([chat("The first "), chat("half of")], adapter=ADAPTERS[name]).async_get_text()
    assert (caught.value.text, caught.value.finish_reason) == ("The first half of", "connection")


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name not in ("bytes", "another chunk")])
async def test_the_chunks_own_end_and_counts_are_read(name: str) -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 4}
    chunks = [chat("All "), chat("of it."), chat("", "stop", usage=counts, model="m")]
    response = Response(chunks, adapter=ADAPTERS[name])
    assert await response.async_get_text() == "All of it."
    meta = await response.async_get_meta()
    assert (meta["finish_reason"], meta["id"]) == ("stop", "c")
    assert meta["usage"] == {**counts, "total_tokens": 7}


@pytest.mark.parametrize("name", ["text", "Delta", "the chunk"])
@pytest.mark.parametrize(("word", "told"), [("length", "length"), ("content_filter", "content_filter"), ("error",) * 2])
async def test_the_chunks_own_reason_counts(name: str, word: str, told: str) -> None:
    with pytest.raises(TruncatedResponseError) as caught:
        await Response([chat("Half"), chat("", word)], adapter=ADAPTERS[name]).async_get_text()
    assert caught.value.finish_reason == told


@pytest.mark.parametrize("name", ["text", "Delta", "the chunk"])
@pytest.mark.parametrize(
    "chunk",
    [{"error": {"code": 429, "message": "slow down"}}, chat("", "error", error={"code": 429, "message": "slow down"})],
    ids=["alone", "beside choices"],
)
async def test_errors_are_raised_before_the_adapter_sees_them(name: str, chunk: Any) -> None:
    with pytest.raises(RateLimitError, match="slow down"):
        await Response([chunk], adapter=ADAPTERS[name], max_retries=0).async_get_text()


async def test_a_refusal_that_an_adapter_leaves_out_is_one() -> None:
    refused = {"choices": [{"delta": {"content": "", "refusal": "No."}, "finish_reason": "stop"}]}
    with pytest.raises(RefusalError):
        await Response([refused], adapter=content).async_get_text()


@pytest.mark.parametrize("objects", [False, True])
async def test_an_adapter_that_picks_events_keeps_the_end(objects: bool) -> None:
    """The end is in an event without text, for which the adapter returns None."""
    events: list[Any] = [
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Yes."},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ]

    def pick(event: Any) -> Any:
        read = event.get if isinstance(event, dict) else lambda name: getattr(event, name, None)
        return read("delta") if read("type") == "response.output_text.delta" else None

    if objects:
        events = [SimpleNamespace(**event) for event in events]
    assert await Response(events, adapter=pick).async_get_text() == "Yes."
    with pytest.raises(TruncatedResponseError):
        await Response(events[:1], adapter=pick).async_get_text()


async def test_an_adapter_may_take_arguments_of_a_tool_as_the_text() -> None:
    def arguments(event: Any) -> Any:
        return event["delta"].get("partial_json")

    events = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ]
    response = Response(events, adapter=arguments)
    assert await response.async_get_data(type="all") == {
        "data": {"a": 1},
        "text": '{"a": 1}',
        "reasoning": "",
        "tool_calls": [],
        "meta": await response.async_get_meta(),
    }


async def test_content_that_only_the_adapter_can_read() -> None:
    chunks = [chat(5), chat(7), chat("", "stop")]
    response = Response(chunks, adapter=lambda chunk: str(content(chunk)))
    assert await response.async_get_text() == "57"


class Own:
    """A chunk of the program's own."""

    def __init__(self, text: str, end: bool = False) -> None:
        self.text = text
        self.end = end


async def test_shapes_of_its_own_need_no_finish_reason_and_may_have_one() -> None:
    assert await Response([Own("a"), Own("b")], adapter=lambda own: own.text).async_get_text() == "ab"
    ending: Adapter = lambda own: Delta(own.text, finish_reason="max_tokens" if own.end else None)  # noqa: E731
    with pytest.raises(TruncatedResponseError):
        await Response([Own("a", True)], adapter=ending).async_get_text()


@pytest.mark.parametrize(
    "chunk", [{"message": "Hello", "code": 5}, {"detail": "Hello"}, {"message": "Hello", "type": "token"}]
)
async def test_a_shape_of_its_own_is_no_error_because_of_its_names(chunk: dict[str, Any]) -> None:
    response = Response([chunk], adapter=lambda chunk: chunk.get("message") or chunk["detail"])
    assert await response.async_get_text() == "Hello"


@pytest.mark.parametrize(
    ("chunk", "shown"),
    [
        ({"text": "Hello", "n": 1}, ["dict with the keys text, n", "{'text': 'Hello', 'n': 1}", "chunk['text']"]),
        (Own("Hello"), ["test_adapters.Own with the fields text, end", "chunk.text"]),
        (7, ["int: 7"]),
        (None, ["NoneType: None"]),
        (["a"], ["list: ['a']"]),
        ({"x": "y" * 1000}, ["y" * 100 + "…"]),
        (SimpleNamespace(type="thread.run.created"), ["thread.run.created"]),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_an_unknown_chunk_is_shown(chunk: Any, shown: list[str]) -> None:
    with pytest.raises(TypeError) as caught:
        await Response([chunk]).async_get_text()
    message = str(caught.value)
    assert len(message) < 1000
    for part in [*shown, "adapter=lambda chunk:", "Delta(", "OpenAI chat completions"]:
        assert part in message


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


async def test_an_unknown_chunk_that_cannot_be_shown_is_an_error_all_the_same() -> None:
    with pytest.raises(TypeError, match="its repr raises RuntimeError"):
        await Response([Unshowable()]).async_get_text()


HALF = chat("Half an ans")
ERROR = {"code": 502, "message": "Provider disconnected"}
PLACES: dict[str, Any] = {
    "beside choices": chat("", "error", error=ERROR),
    "beside no choices": {"id": "c", "choices": [], "error": ERROR},
    "beside null": {"id": "c", "choices": None, "error": ERROR},
    "in a choice": {"choices": [{"delta": {}, "finish_reason": "error", "error": ERROR}]},
    "alone": {"error": ERROR},
    "twice wrapped": {"error": {"error": ERROR}},
    "in a list": {"errors": [ERROR]},
    "at the top, with a type": {"type": "error", **ERROR},
    "at the top, with an object": {"object": "error", **ERROR},
    "at the top, with neither": ERROR,
    "wrapped, with a type": {"type": "error", "error": ERROR},
    "in the response": {"type": "response.failed", "response": {"status": "failed", "error": ERROR}},
    "of Groq": chat("", x_groq={"error": ERROR}),
}


def as_object(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_object(item) for key, item in value.items()})
    return [as_object(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("place", PLACES)
async def test_an_error_in_any_place_is_raised(place: str, objects: bool) -> None:
    chunk = as_object(PLACES[place]) if objects else PLACES[place]
    with pytest.raises(ProviderError, match="Provider disconnected") as first:
        await Response([chunk]).async_get_text()
    assert first.value.status == 502
    with pytest.raises(TruncatedResponseError, match="Provider disconnected") as second:
        await Response([HALF, chunk]).async_get_text()
    assert (second.value.text, second.value.finish_reason) == ("Half an ans", "error")


@pytest.mark.parametrize("error", [None, "", {}, [], False, 0])
async def test_an_empty_error_is_none(error: Any) -> None:
    chunk = chat("Yes.", "stop", error=error)
    chunk["choices"][0]["error"] = error
    assert await Response([chunk]).async_get_text() == "Yes."


async def test_a_bare_stream_that_ends_at_once_was_cut() -> None:
    with pytest.raises(TransportError):
        await Response([{"type": "ping"}]).async_get_text()
