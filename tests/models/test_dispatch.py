"""Instant dispatch: each finished field is a signal at once, and all of them are taken back when the answer fails."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any

import pytest

from tests.models.instant_support import pieces
from triggerflow._core.signals import FieldPlace
from triggerflow.models import Delta, InvalidResponseError, Response, TruncatedResponseError
from triggerflow.run.dispatch import Field, Withdrawn, emit_fields

ANSWER = {"title": "Sails", "queries": ["thrust", "light"], "notes": [{"text": "a"}, {"text": "b"}]}
TEXT = json.dumps(ANSWER)


class Recorder:
    """What a chunk's `data` is to instant dispatch: it notes every call with its time."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Any]] = []
        self.times: list[float] = []
        self.numbers = 0

    async def emit(self, name: str, value: Any, field: FieldPlace) -> int:
        self.numbers += 1
        self.calls.append(("emit", name, value))
        self.times.append(asyncio.get_running_loop().time())
        return self.numbers

    def emit_now(self, name: str, value: Any, field: FieldPlace) -> None:
        """This one always has to wait."""

    async def confirm(self, number: int) -> None:
        self.calls.append(("confirm", number, None))

    async def retract(self, number: int, reason: str) -> None:
        self.calls.append(("retract", number, reason))

    async def stopped(self, numbers: Sequence[int]) -> None:
        assert list(numbers) == self.of("retract")[-len(numbers) :]

    def of(self, kind: str) -> list[Any]:
        return [(first, second) if kind == "emit" else first for name, first, second in self.calls if name == kind]


async def slowly(parts: list[Any]) -> AsyncGenerator[Any, None]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        await asyncio.sleep(1)
        yield part


FIELDS = {"queries[*]": "query", "title": "title", "notes[1].text": "second_note"}


async def test_each_completed_path_is_one_signal() -> None:
    data = Recorder()
    response = Response(slowly(pieces(TEXT, 5)))
    assert await emit_fields(data, response, FIELDS) == ANSWER
    emitted = [("title", "Sails"), ("query", "thrust"), ("query", "light"), ("second_note", "b")]
    assert data.of("emit") == emitted
    assert data.of("confirm") == [1, 2, 3, 4]
    assert data.calls[-4:] == [("confirm", number, None) for number in (1, 2, 3, 4)]


async def test_a_signal_goes_out_with_the_character_that_proves_the_end_of_its_field() -> None:
    data = Recorder()
    await emit_fields(data, Response(slowly(list(TEXT))), FIELDS)
    # The closing quote, and the comma or bracket behind it that proves it.
    closings = [TEXT.index(mark) + len(mark) + 1 for mark in ('"Sails"', '"thrust"', '"light"', '"b"')]
    assert data.times == closings  # one character a second


@pytest.mark.parametrize("pattern", ["queries", "notes[*]", ""])
async def test_whole_lists_and_objects_are_fields_too(pattern: str) -> None:
    data = Recorder()
    await emit_fields(data, Response([TEXT]), {pattern: "field"})
    expected = {"queries": [ANSWER["queries"]], "notes[*]": ANSWER["notes"], "": [ANSWER]}[pattern]
    assert [value for _, value in data.of("emit")] == expected


async def test_a_retry_takes_back_what_the_first_answer_gave() -> None:
    attempts = [['{"title": "Wrong", "queries": ["old"]}'], pieces(TEXT, 5)]
    data = Recorder()
    response = Response(lambda: slowly(attempts.pop(0)), output={"title": str, "queries": [str], "notes": [dict]})
    assert await emit_fields(data, response, FIELDS) == ANSWER
    assert data.of("emit")[:2] == [("title", "Wrong"), ("query", "old")]
    assert sorted(data.of("retract")) == [1, 2]
    assert data.of("confirm") == [3, 4, 5, 6]
    assert any("attempt 2" in str(reason) for kind, _, reason in data.calls if kind == "retract")


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([TEXT[:40], ConnectionResetError("gone")], TruncatedResponseError),
        ([TEXT[:40], Delta(finish_reason="length")], TruncatedResponseError),
        ([TEXT[:40]], TruncatedResponseError),
        ([TEXT[:40], KeyError("mine")], KeyError),
        ([TEXT.replace("light", "x"), '{"other": 1}'], None),
        (['{"title": "x", "queries": ["a"]}'], InvalidResponseError),
    ],
)
async def test_an_answer_that_fails_takes_everything_back(parts: list[Any], error: Any) -> None:
    data = Recorder()
    response = Response(slowly(parts), output={"title": str, "queries": [str], "notes": [dict]})
    if error is None:
        await emit_fields(data, response, FIELDS)
        assert not data.of("retract")
        return
    with pytest.raises(error):
        await emit_fields(data, response, FIELDS)
    assert data.of("emit")
    assert sorted(data.of("retract")) == list(range(1, data.numbers + 1))
    assert not data.of("confirm")


async def test_a_chunk_that_is_cancelled_takes_its_signals_back_and_closes_the_source() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[str, None]:
        try:
            yield TEXT[:40]
            await asyncio.sleep(1000)
        finally:
            closed.set()

    data = Recorder()
    chunk = asyncio.create_task(emit_fields(data, Response(source), FIELDS))
    await asyncio.sleep(1)
    assert data.of("emit")
    chunk.cancel()
    with suppress(asyncio.CancelledError):
        await chunk
    assert sorted(data.of("retract")) == list(range(1, data.numbers + 1))
    await asyncio.wait_for(closed.wait(), 1)


class Cleared(Exception):
    """An exception that counts as false, as a group of errors without a member may."""

    def __bool__(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError(), "the model's answer failed: KeyError"),
        (Cleared(), "the model's answer failed: Cleared"),
        (Cleared("no seats"), "the model's answer failed: no seats"),
        (RuntimeError(""), "the model's answer failed: RuntimeError"),
        (asyncio.CancelledError(), "the chunk that reads the model's answer was cancelled"),
        (asyncio.CancelledError("shut down"), "the chunk that reads the model's answer was cancelled: shut down"),
    ],
)
async def test_every_retraction_says_why(error: BaseException, reason: str) -> None:
    class Answering:
        """A response whose reader gets one field and then an error."""

        async def follow_fields(self, paths: Iterable[str], now: Any = None) -> AsyncGenerator[Field | Withdrawn, None]:
            async with aclosing(Response([TEXT]).follow_fields(paths)) as fields:
                async for field in fields:
                    yield field
                    raise error

        async def answer_of_fields(self, paths: Iterable[str]) -> Any: ...

    data = Recorder()
    with pytest.raises(type(error)):
        await emit_fields(data, Answering(), FIELDS)
    assert [told for kind, _, told in data.calls if kind == "retract"] == [reason]


async def test_an_answer_without_json_is_an_error() -> None:
    with pytest.raises(InvalidResponseError, match="no JSON"):
        await emit_fields(Recorder(), Response(["No."]), FIELDS)
