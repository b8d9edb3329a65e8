"""The chunks of every dialect are read right: as dicts, as objects, and as the types of the official SDKs.

The samples are in `shapes/`, a file for each family. A sample has the chunks of one stream and what they say: `text`,
`reasoning`, `refusal`, `tool_calls` (id, name, arguments), `finish`, `usage`, or `error` (class and HTTP status).
"""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter

from triggerflow.models import RequestFailedError, Response, ToolCallDelta
from triggerflow.models.shapes import SHAPES, shape_of
from triggerflow.models.sources.deltas import read_deltas

FOLDER = Path(__file__).parent / "shapes"
SAMPLES = [
    pytest.param(path.stem, sample, id=f"{path.stem}: {sample['name']}")
    for path in sorted(FOLDER.glob("*.json"))
    for sample in json.loads(path.read_text(encoding="utf-8"))
]
OF_SDK = [param for param in SAMPLES if param.values[1].get("sdk")]  # type: ignore[union-attr, call-overload]

CHATS = [param for param in SAMPLES if str(param.values[0]).startswith("openai_chat")]


class Stream:
    """What a stream said."""

    def __init__(self) -> None:
        self.text = self.reasoning = self.refusal = ""
        self.finish: str | None = None
        self.usage: dict[str, int] = {}
        self.pieces: list[ToolCallDelta] = []
        self.error: list[Any] | None = None

    @property
    def calls(self) -> list[list[str | None]]:
        calls: dict[int, list[str | None]] = {}
        for piece in self.pieces:
            call = calls.setdefault(piece.index, [None, None, ""])
            assert call[0] is None or piece.id is None
            call[0] = piece.id or call[0]
            call[1] = (call[1] or "") + piece.name if piece.name else call[1]
            call[2] = (call[2] or "") + piece.arguments
        assert list(calls) == list(range(len(calls))), "the numbers of the calls count from 0"
        return list(calls.values())


async def stream_of(chunks: list[Any]) -> Stream:
    said = Stream()
    try:
        async for delta in read_deltas(chunks):
            said.text += delta.text
            said.reasoning += delta.reasoning
            said.refusal += delta.refusal
            said.finish = delta.finish_reason or said.finish
            said.usage.update(delta.usage or {})
            said.pieces.extend(delta.tool_calls)
            assert delta.raw is None or any(delta.raw is chunk for chunk in chunks)
    except RequestFailedError as error:
        said.error = [type(error).__name__, error.status]
    return said


async def check(chunks: list[Any], want: dict[str, Any]) -> None:
    said = await stream_of(chunks)
    assert said.error == want.get("error")
    assert said.text == want.get("text", "")
    assert said.reasoning == want.get("reasoning", "")
    assert said.refusal == want.get("refusal", "")
    if said.error is None:
        assert said.finish == want.get("finish")
    assert said.usage == want.get("usage", {})
    calls = want.get("tool_calls", [])
    assert said.calls == calls
    ends = [piece.index for piece in said.pieces if piece.done]
    assert sorted(ends) == list(range(want.get("done", len(calls)))), "each call is done once"
    for index in ends:
        last = next(piece for piece in reversed(said.pieces) if piece.index == index)
        assert last.done, "nothing of a call comes after its end"


def as_object(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_object(item) for key, item in value.items()})
    return [as_object(item) for item in value] if isinstance(value, list) else value


def of_sdk(family: str, chunk: Any) -> Any:
    """A chunk as the type of the SDK."""
    if family == "anthropic":
        from anthropic.types import RawMessageStreamEvent

        return TypeAdapter(RawMessageStreamEvent).validate_python(chunk)
    if family == "openai_responses":
        from openai.types.responses import ResponseStreamEvent

        return TypeAdapter(ResponseStreamEvent).validate_python(chunk)
    from openai.types.chat import ChatCompletionChunk

    return TypeAdapter(ChatCompletionChunk).validate_python(chunk)


@pytest.mark.parametrize(("family", "sample"), SAMPLES)
async def test_a_sample_as_dicts(family: str, sample: dict[str, Any]) -> None:
    await check(sample["chunks"], sample)


@pytest.mark.parametrize(("family", "sample"), SAMPLES)
async def test_a_sample_as_objects(family: str, sample: dict[str, Any]) -> None:
    calls = [[id, name, text and text] for id, name, text in sample.get("tool_calls", [])]
    await check([as_object(chunk) for chunk in sample["chunks"]], {**sample, "tool_calls": calls})


@pytest.mark.parametrize(("family", "sample"), OF_SDK)
async def test_a_sample_as_types_of_the_sdk(family: str, sample: dict[str, Any]) -> None:
    pytest.importorskip("openai")
    pytest.importorskip("anthropic")
    await check([of_sdk(family, chunk) for chunk in sample["chunks"]], sample)


@pytest.mark.parametrize(("family", "sample"), CHATS)
async def test_a_sample_as_the_sdk_makes_it(family: str, sample: dict[str, Any]) -> None:
    """The SDK makes its objects without a check, also of what servers send beside or against the protocol."""
    pytest.importorskip("openai")
    from openai.types.chat import ChatCompletionChunk

    await check([ChatCompletionChunk.construct(**chunk) for chunk in sample["chunks"]], sample)


@pytest.mark.parametrize(("family", "sample"), SAMPLES)
async def test_a_sample_cut_before_its_end_is_never_whole(family: str, sample: dict[str, Any]) -> None:
    """Without the chunk that says why the answer ended, the stream was cut, however much came after the text."""
    chunks = sample["chunks"]
    for length in range(1, len(chunks)):
        said = await stream_of(chunks[:length])
        assert said.finish is not None or said.error is not None


def test_every_shape_has_samples() -> None:
    found = {shape.name for param in SAMPLES for chunk in param.values[1]["chunks"] if (shape := shape_of(chunk))}  # type: ignore[call-overload, index]
    assert found == {shape.name for shape in SHAPES}


NAMED: dict[str, Any] = {
    "chat": [{"id": "1", "model": "m", "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}],
    "Azure, an empty chunk first": [
        {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
        {"id": "1", "model": "m", "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
    ],
    "responses": [
        {"type": "response.created", "response": {"id": "1", "model": "m"}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a"},
        {"type": "response.completed", "response": {"id": "1", "model": "m", "status": "completed"}},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"id": "1", "model": "m"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "message_stop"},
    ],
    "gemini": [
        {
            "candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}],
            "responseId": "1",
            "modelVersion": "m",
        }
    ],
}


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("name", NAMED)
async def test_the_id_and_the_model_are_in_the_meta_data(name: str, objects: bool) -> None:
    chunks = [as_object(chunk) for chunk in NAMED[name]] if objects else NAMED[name]
    meta = await Response(chunks).async_get_meta()
    assert (meta["id"], meta["model"]) == ("1", "m")


def damaged(chance: random.Random, value: Any) -> Any:
    """A copy with one part replaced by something else."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice([*value])
        return {**value, key: damaged(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], damaged(chance, value[at]), *value[at + 1 :]]
    return chance.choice([None, 0, 7, -1, 1.5, True, "", "x", [], {}, [None], [5], {"x": 1}, ["a", {}], b"a"])


async def test_damaged_chunks_are_read_or_refused_with_an_error_of_ours() -> None:
    """Whatever a server sends, a chunk is read, is shown in a TypeError, or is the provider's error."""
    chance = random.Random(11)
    read, refused = 0, list[str]()
    for _ in range(4_000):
        chunks = [*chance.choice(SAMPLES).values[1]["chunks"]]  # type: ignore[call-overload, index]
        at = chance.randrange(len(chunks))
        key = chance.choice([*chunks[at]])
        chunks[at] = {**chunks[at], key: damaged(chance, chunks[at][key])}
        if chance.random() < 0.3:
            chunks = [as_object(chunk) for chunk in chunks]
        try:
            said = await stream_of(chunks)
        except TypeError as error:
            refused.append(str(error))
            continue
        assert all(isinstance(piece.arguments, str) and piece.index >= 0 for piece in said.pieces)
        assert all(isinstance(piece.name, str | None) and isinstance(piece.id, str | None) for piece in said.pieces)
        assert all(isinstance(count, int) for count in said.usage.values())
        read += 1
    assert read > 2_000
    assert all(message.startswith(("a delta must be text", "the text of a delta must be")) for message in refused)
