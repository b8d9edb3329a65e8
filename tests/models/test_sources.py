"""Every source becomes the same deltas: any iterator, any provider's shape, and it is closed when left."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from triggerflow.models import Delta, ProviderError, Response
from triggerflow.models.sources.deltas import read_deltas


async def deltas_of(source: Any, adapter: Any = None) -> list[Delta]:
    return [delta async for delta in read_deltas(source, adapter)]


async def text_of(source: Any, adapter: Any = None) -> str:
    return "".join(delta.text for delta in await deltas_of(source, adapter))


def as_object(value: Any) -> Any:
    """The same chunk as an SDK gives it: objects with attributes."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_object(item) for key, item in value.items()})
    return [as_object(item) for item in value] if isinstance(value, list) else value


async def agen() -> AsyncGenerator[str, None]:
    yield "a"
    yield "b"


def gen() -> Iterator[str]:
    yield "a"
    yield "b"


async def later() -> Any:
    return agen()


@pytest.mark.real_time
@pytest.mark.parametrize(
    "source",
    [agen(), agen, gen(), gen, later(), later, ["a", "b"], ("a", "b"), "ab", b"ab", iter(["a", "b"]), [b"a", "b"]],
    ids=lambda source: type(source).__name__,
)
async def test_any_iterator(source: Any) -> None:
    assert await text_of(source) == "ab"


async def test_bytes_are_decoded_across_their_borders() -> None:
    encoded = "日\N{GRINNING FACE}é".encode()
    assert await text_of([encoded[at : at + 1] for at in range(len(encoded))]) == "日\N{GRINNING FACE}é"
    assert await text_of([b"a\xff", b"b", encoded[:2]]) == "a�b��"
    assert await text_of([bytearray(b"a"), memoryview(b"b")]) == "ab"


async def test_an_adapter_reads_shapes_of_its_own() -> None:
    chunks = [{"t": "a"}, {"t": None}, {"t": "b"}]
    assert await text_of(chunks, lambda chunk: chunk["t"]) == "ab"
    (delta,) = await deltas_of([{"t": "a"}], lambda chunk: Delta(chunk["t"], finish_reason="stop"))
    assert delta.finish_reason == "stop"


OPENAI = [
    {"id": "c1", "model": "m", "choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
    {"choices": [{"delta": {"content": None, "reasoning_content": "hm"}}]},
    {"choices": [{"delta": {"content": "a"}}]},
    {"choices": [{"delta": {"content": "b"}, "finish_reason": "length"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
]
ANTHROPIC = [
    {"type": "message_start", "message": {"id": "m1", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "b"}},
    {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
GEMINI = [
    {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "a"}]}}]},
    {"candidates": [{"content": {"parts": [{"text": "b"}]}, "finish_reason": "MAX_TOKENS"}]},
    {"candidates": None, "usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 2}},
]
OLLAMA = [
    {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
    {"message": {"content": "a"}, "done": False},
    {"message": {"content": "b"}, "done": False},
    {"message": {"content": ""}, "done": True, "done_reason": "length", "prompt_eval_count": 3, "eval_count": 2},
]


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("chunks", [OPENAI, ANTHROPIC, GEMINI, OLLAMA], ids=["openai", "anthropic", "gemini", "ollama"])
async def test_providers_shapes_as_dicts_and_as_objects(chunks: list[Any], objects: bool) -> None:
    deltas = await deltas_of([as_object(chunk) if objects else chunk for chunk in chunks])
    assert "".join(delta.text for delta in deltas) == "ab"
    assert "".join(delta.reasoning for delta in deltas) == "hm"
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["length"]
    usage: dict[str, int] = {}
    for delta in deltas:
        usage.update(delta.usage or {})
    assert usage == {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.mark.parametrize(
    "chunks",
    [
        [
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f"}}]}}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}}]},
        ],
        [
            {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "x", "name": "f"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": " 1}"}},
        ],
        [{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}}]}],
        [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "done": False}],
    ],
    ids=["openai", "anthropic", "gemini", "ollama"],
)
async def test_tool_calls_in_all_shapes(chunks: list[Any]) -> None:
    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    pieces = [piece for delta in await deltas_of([*chunks, end]) for piece in delta.tool_calls]
    assert pieces[0].name == "f"
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert "".join(piece.arguments for piece in pieces) == '{"a": 1}'


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"delta": {"content": 5}}]},
        {"message": {"content": ["a"]}, "done": False},
        {"type": "content_block_delta", "delta": {"text": b"a"}},
        Delta(text=5),  # type: ignore[arg-type]
    ],
)
async def test_content_that_is_no_text_is_an_error(chunk: Any) -> None:
    with pytest.raises(TypeError, match="must be a str, not"):
        await text_of([chunk])


@pytest.mark.parametrize("chunk", [{"error": {"message": "overloaded"}}, {"type": "error", "error": "overloaded"}])
async def test_an_error_in_the_stream_is_the_providers(chunk: Any) -> None:
    with pytest.raises(ProviderError, match="overloaded"):
        await text_of([chunk])


async def test_a_stream_of_chunks_without_a_finish_reason_was_cut() -> None:
    with pytest.raises(Exception, match="connection was cut") as caught:
        await Response(OPENAI[:3], max_retries=0).async_get_text()
    assert caught.value.finish_reason == "connection"  # type: ignore[attr-defined]


class Stream:
    """As the SDKs make them: the iterator is one object, and the HTTP response is closed on another."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        while True:
            yield "a"
            await asyncio.sleep(1)

    async def close(self) -> None:
        self.closed = True


async def test_leaving_early_closes_the_object_that_holds_the_connection() -> None:
    stream = Stream()
    async with aclosing(read_deltas(stream)) as deltas:
        assert (await anext(deltas)).text == "a"
        assert not stream.closed
    assert stream.closed


@pytest.mark.real_time
async def test_a_blocking_iterator_runs_beside_the_loop_and_is_closed_by_its_thread() -> None:
    go, closed = threading.Event(), threading.Event()
    threads: set[str] = set()

    def blocking() -> Iterator[str]:
        try:
            threads.add(threading.current_thread().name)
            yield "a"
            go.wait(30)
            yield "b"
        finally:
            closed.set()

    async with aclosing(read_deltas(blocking())) as deltas:
        assert (await anext(deltas)).text == "a"
        waiting = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0.01)  # the loop runs on
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert not closed.is_set()
    go.set()
    assert await asyncio.to_thread(closed.wait, 10)
    assert threading.current_thread().name not in threads


@pytest.mark.real_time
async def test_an_error_in_a_blocking_iterator_reaches_the_reader() -> None:
    def failing() -> Iterator[str]:
        yield "a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await text_of(failing)
