"""Tool calls are kept apart, however a provider counts them, and each is complete at its boundary."""

import json
import random
from contextlib import suppress
from typing import Any

import pytest

from triggerflow.models import Delta, Response, ToolCall, ToolCallDelta, TransportError
from triggerflow.models.sources.deltas import read_deltas

END: dict[str, Any] = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}


def chunk(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": None}]}


def call(arguments: str | None = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """A piece of a call; the fields are `index` and `id`."""
    return {**fields, "function": {"name": name, "arguments": arguments}}


async def calls_of(*chunks: Any) -> list[ToolCall]:
    return (await Response([*chunks, END]).async_get_data(type="all"))["tool_calls"]


A, B = '{"city": "Oslo"}', '{"city": "Rome"}'
HABITS: dict[str, list[Any]] = {
    "index 0 and 1": [chunk(call(A, "f", index=0, id="1")), chunk(call(B, "f", index=1, id="2"))],
    "index 0 twice, other ids": [chunk(call(A, "f", index=0, id="1")), chunk(call(B, "f", index=0, id="2"))],
    "index 0 twice, no ids": [chunk(call(A, "f", index=0)), chunk(call(B, "f", index=0))],
    "index 0 twice, the same id": [chunk(call(A, "f", index=0, id="x")), chunk(call(B, "f", index=0, id="x"))],
    "no index": [chunk(call(A, "f", id="1"), call(B, "f", id="2"))],
    "no index and no ids": [chunk(call(A, "f"), call(B, "f"))],
    "no index, a chunk each": [chunk(call(A, "f")), chunk(call(B, "f"))],
    "an index that begins again in each chunk": [
        chunk(call(A, "f", index=0, id="1")),
        chunk(call(B, "f", index=0, id="2")),
    ],
    "index from 1": [chunk(call(A, "f", index=1)), chunk(call(B, "f", index=2))],
    "null as index": [chunk(call(A, "f", index=None, id="1")), chunk(call(B, "f", index=None, id="2"))],
    "ids in the first pieces only": [
        chunk(call("", "f", index=0, id="1")),
        *[chunk(call(letter, index=0)) for letter in A],
        chunk(call("", "f", index=1, id="2")),
        *[chunk(call(letter, index=1)) for letter in B],
    ],
    "ids and names in every piece": [
        *[chunk(call(letter, "f", index=0, id="1")) for letter in A],
        *[chunk(call(letter, "f", index=1, id="2")) for letter in B],
    ],
    "names in every piece, index 0, no ids": [
        *[chunk(call(letter, "f", index=0)) for letter in A],
        *[chunk(call(letter, "f", index=0)) for letter in B],
    ],
    "a new id in every piece": [
        chunk(call("", "f", index=0, id="1")),
        *[chunk(call(letter, index=0, id=f"1{at}")) for at, letter in enumerate(A)],
        chunk(call("", "f", index=1, id="2")),
        *[chunk(call(letter, index=1, id=f"2{at}")) for at, letter in enumerate(B)],
    ],
    "no index, ids in the first pieces only": [
        chunk(call("", "f", id="1")),
        *[chunk(call(letter)) for letter in A],
        chunk(call("", "f", id="2")),
        *[chunk(call(letter)) for letter in B],
    ],
    "no index and no ids, in pieces": [
        chunk(call("", "f")),
        *[chunk(call(letter)) for letter in A],
        chunk(call("", "f")),
        *[chunk(call(letter)) for letter in B],
    ],
    "index 0 for all, names first, in pieces": [
        chunk(call(None, "f", index=0)),
        *[chunk(call(letter, index=0)) for letter in A],
        chunk(call(None, "f", index=0)),
        *[chunk(call(letter, index=0)) for letter in B],
    ],
    "all begun before the first is written": [
        chunk(call("", "f", index=0, id="1"), call("", "f", index=1, id="2")),
        *[chunk(call(letter, index=0)) for letter in A],
        *[chunk(call(letter, index=1)) for letter in B],
    ],
    "written in turn": [
        chunk(call("", "f", index=0, id="1"), call("", "f", index=1, id="2")),
        *[chunk(call(a, index=0), call(b, index=1)) for a, b in zip(A, B, strict=True)],
    ],
    "the arguments again as a whole at the end": [
        chunk(call("", "f", index=0, id="1")),
        *[chunk(call(letter, index=0)) for letter in A],
        chunk(call(A, index=0)),
        chunk(call(B, "f", index=1, id="2")),
        chunk(call(B, "f", index=1, id="2")),
    ],
    "empty ids and names in later pieces": [
        chunk(call(A[:5], "f", index=0, id="1")),
        chunk(call(A[5:], "", index=0, id="")),
        chunk(call(B[:5], "f", index=1, id="2")),
        chunk(call(B[5:], "", index=1, id="")),
        chunk(call("", "", index=1, id="")),
    ],
    "arguments as objects": [
        chunk({"index": 0, "function": {"name": "f", "arguments": json.loads(A)}}),
        chunk({"index": 0, "function": {"name": "f", "arguments": json.loads(B)}}),
    ],
    "without `function` around": [chunk({"name": "f", "arguments": A}), chunk({"name": "f", "arguments": B})],
    "function_call, then another": [
        {"id": "c", "choices": [{"delta": {"function_call": {"name": "f", "arguments": A}}}]},
        {"id": "c", "choices": [{"delta": {"function_call": {"name": "f", "arguments": B}}}]},
    ],
}


@pytest.mark.parametrize("habit", HABITS)
async def test_two_calls_of_one_function_never_merge(habit: str) -> None:
    first, second = await calls_of(*HABITS[habit])
    assert [(one.name, one.arguments, one.done) for one in (first, second)] == [("f", A, True), ("f", B, True)]


@pytest.mark.parametrize("habit", HABITS)
async def test_numbers_are_stable_and_nothing_comes_after_the_end_of_a_call(habit: str) -> None:
    ended: set[int] = set()
    begun: list[int] = []
    async for delta in read_deltas([*HABITS[habit], END]):
        for piece in delta.tool_calls:
            assert piece.index not in ended
            if piece.index not in begun:
                begun.append(piece.index)
                assert piece.name == "f"
            if piece.done:
                ended.add(piece.index)
    assert (begun, ended) == ([0, 1], {0, 1})


@pytest.mark.parametrize("habit", HABITS)
async def test_deltas_that_are_read_again_stay_the_same(habit: str) -> None:
    """A provider may read a stream with our reader and yield its deltas."""
    once = [delta async for delta in read_deltas([*HABITS[habit], END])]
    again = [delta async for delta in read_deltas(once)]
    assert [delta.tool_calls for delta in again] == [delta.tool_calls for delta in once]


async def test_random_mixtures_of_many_calls() -> None:
    chance = random.Random(7)
    for _ in range(300):
        wanted = [(f"f{chance.randrange(2)}", json.dumps({"n": n, "x": "}{"})) for n in range(chance.randrange(1, 6))]
        with_index, with_id = chance.choice([(True, True), (True, False), (False, True), (False, False)])
        chunks: list[Any] = []
        for number, (name, text) in enumerate(wanted):
            fields: dict[str, Any] = {"index": number} if with_index else {}
            first = {**fields, "id": f"id{number}"} if with_id else fields
            size = chance.choice([1, 3, len(text)])
            chunks.append(chunk(call(chance.choice([None, ""]), name, **first)))
            chunks += [chunk(call(text[at : at + size], **fields)) for at in range(0, len(text), size)]
        assert [(one.name, one.arguments) for one in await calls_of(*chunks)] == wanted


@pytest.mark.parametrize(
    ("chunks", "done_at"),
    [
        # a new call begins: the second chunk says that the first call is done
        (HABITS["index 0 and 1"], [1, 2]),
        (HABITS["no index, a chunk each"], [1, 2]),
        # whole calls are done at once
        (HABITS["arguments as objects"], [0, 1]),
        # no arguments: it may still get some, until the answer ends
        ([chunk(call("", "f", index=0)), chunk(call("", "g", index=1))], [2, 2]),
    ],
)
async def test_a_call_is_done_at_its_boundary(chunks: list[Any], done_at: list[int]) -> None:
    found: dict[int, int] = {}
    at = 0
    async for delta in read_deltas([*chunks, END]):
        found.update({piece.index: at for piece in delta.tool_calls if piece.done})
        at += 1
    assert found == dict(enumerate(done_at))


async def test_a_block_that_is_closed_ends_its_call() -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": A}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ]
    deltas = [delta async for delta in read_deltas(events)]
    assert [[piece.done for piece in delta.tool_calls] for delta in deltas] == [[False], [False], [True], []]


@pytest.mark.parametrize("reason", ["length", "content_filter", "error"])
async def test_a_call_that_is_cut_is_never_done(reason: str) -> None:
    cut = {"id": "c", "choices": [{"delta": {}, "finish_reason": reason}]}
    pieces: list[ToolCallDelta] = []
    async for delta in read_deltas([chunk(call('{"city": "Os', "f", index=0)), cut]):
        pieces += delta.tool_calls
    assert [piece.done for piece in pieces] == [False]


async def test_a_call_of_a_connection_that_was_cut_is_never_done() -> None:
    pieces: list[ToolCallDelta] = []
    with suppress(TransportError):
        async for delta in read_deltas([chunk(call('{"city": "Os', "f", index=0))]):
            pieces += delta.tool_calls
    assert [piece.done for piece in pieces] == [False]


async def test_no_arguments_are_an_empty_object() -> None:
    first, second = await calls_of(chunk(call(None, "f", index=0)), chunk(call("", "g", index=1)))
    assert (first.arguments, second.arguments) == ("{}", "{}")


async def test_a_name_in_two_pieces_is_one_name() -> None:
    (found,) = await calls_of(chunk(call("", "get_", index=0, id="1")), chunk(call(A, "weather", index=0)))
    assert (found.name, found.arguments) == ("get_weather", A)


async def test_braces_in_a_text_begin_no_call() -> None:
    text = '{"code": "}{", "more": "{}{}"}'
    (found,) = await calls_of(chunk(call("", "f", index=0)), *[chunk(call(letter, index=0)) for letter in text])
    assert found.arguments == text


async def test_an_adapters_calls_are_kept_apart_and_ended_like_those_of_a_provider() -> None:
    deltas = [
        Delta(tool_calls=(ToolCallDelta(-1, A, name="f"),)),
        Delta(tool_calls=(ToolCallDelta(-1, B[:4], name="f"), ToolCallDelta(-1, B[4:]))),
    ]
    found = (await Response(deltas).async_get_data(type="all"))["tool_calls"]
    assert [(one.arguments, one.done) for one in found] == [(A, True), (B, True)]


async def test_long_arguments_in_small_pieces_take_linear_time() -> None:
    text = json.dumps({"rows": [{"id": n, "text": "}{"} for n in range(5_000)]})
    pieces = [chunk(call("", "f", index=0, id="1"))]
    pieces += [chunk(call(text[at : at + 4], index=0)) for at in range(0, len(text), 4)]
    (found,) = await calls_of(*pieces)
    assert found.arguments == text
