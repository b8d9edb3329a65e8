"""`stall_timeout` limits silence, `first_token_timeout` the wait for the first token; each error names its option."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from triggerflow.models import Delta, FirstTokenError, Response, StallError, TruncatedResponseError

PING = {"type": "ping"}
ROLE = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}


def source(*items: Any) -> Callable[[], AsyncGenerator[Any, None]]:
    """Yields the items; a number is a pause in seconds, an exception is raised."""

    async def read() -> AsyncGenerator[Any, None]:
        for item in items:
            if isinstance(item, int | float):
                await asyncio.sleep(item)
            elif isinstance(item, Exception):
                raise item
            else:
                yield item

    return read


@pytest.mark.parametrize("sign", [PING, ROLE, "", Delta(), b"", "\n"], ids=repr)
async def test_a_chunk_of_any_kind_is_a_sign_of_life(sign: Any) -> None:
    items = [25.0, sign] * 12
    text = await Response(source(*items, '{"a": 1}', Delta(finish_reason="stop")), stall_timeout=30).async_get_text()
    assert text.strip() == '{"a": 1}'


async def test_an_item_that_the_adapter_drops_is_a_sign_of_life() -> None:
    items = [25.0, "drop"] * 12
    response = Response(
        source(*items, "kept"), adapter=lambda item: None if item == "drop" else item, stall_timeout=30, max_retries=0
    )
    assert await response.async_get_text() == "kept"


@pytest.mark.parametrize("sign", [PING, ROLE, ""], ids=repr)
async def test_signs_of_life_do_not_move_the_limit_of_the_first_token(sign: Any) -> None:
    started = asyncio.get_running_loop().time()
    response = Response(source(*[25.0, sign] * 100, "late"), first_token_timeout=120, max_retries=0)
    with pytest.raises(FirstTokenError, match=r"120 seconds \(first_token_timeout\).*last sign 20\.0 seconds ago"):
        await response.async_get_text()
    assert asyncio.get_running_loop().time() - started == pytest.approx(120)


@pytest.mark.parametrize(
    "first",
    ["a", Delta(reasoning="hm"), {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}}]}],
    ids=["text", "reasoning", "tool call"],
)
async def test_text_reasoning_and_tool_calls_are_first_tokens(first: Any) -> None:
    items = [100.0, first, *[25.0, PING] * 10, "the end", Delta(finish_reason="stop")]
    text = await Response(source(*items), first_token_timeout=120, stall_timeout=110).async_get_text()
    assert text.endswith("the end")


async def test_the_first_token_has_ten_minutes_by_default() -> None:
    assert await Response(source(*[50.0, PING] * 11, "late", Delta(finish_reason="stop"))).async_get_text() == "late"
    with pytest.raises(FirstTokenError, match="600 seconds"):
        await Response(source(*[50.0, PING] * 13, "late"), max_retries=0).async_get_text()


async def test_a_first_token_that_does_not_come_is_asked_for_again() -> None:
    opened = 0

    def later() -> AsyncGenerator[Any, None]:
        nonlocal opened
        opened += 1
        return source(*[25.0, PING] * 100)() if opened == 1 else source("here", Delta(finish_reason="stop"))()

    assert await Response(later, first_token_timeout=60).async_get_text() == "here"
    assert opened == 2


async def test_silence_is_a_stall_and_the_error_says_which_option() -> None:
    with pytest.raises(StallError, match=r"30 seconds \(stall_timeout\)") as caught:
        await Response(source(PING, 31.0), stall_timeout=30, max_retries=0).async_get_text()
    assert not isinstance(caught.value, FirstTokenError)
    with pytest.raises(TruncatedResponseError, match="stall_timeout") as cut:
        await Response(source("half", 31.0), stall_timeout=30).async_get_text()
    assert cut.value.finish_reason == "stall"


async def test_without_limits_a_response_waits() -> None:
    response = Response(source(100_000.0, "late"), stall_timeout=None, first_token_timeout=None)
    assert await response.async_get_text() == "late"


async def test_a_slow_reader_of_the_chunks_is_no_silence() -> None:
    async def read(item: Any) -> AsyncGenerator[Any, None]:
        yield item
        await asyncio.sleep(20)
        yield item

    # The text takes many slices, between which other tasks have their turn; that time is not the server's.
    response = Response(lambda: read("x" * 3_000_000), stall_timeout=30)
    assert len(await response.async_get_text()) == 6_000_000


async def test_a_time_out_in_the_source_itself_is_its_own() -> None:
    with pytest.raises(Exception, match="mine") as caught:
        await Response(source(TimeoutError("mine")), max_retries=0).async_get_text()
    assert not isinstance(caught.value, StallError)


@pytest.mark.real_time
async def test_what_came_while_the_loop_was_held_up_counts() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)

    async def read() -> AsyncGenerator[bytes, None]:
        yield await reader.read(100)

    def hold_up() -> None:
        theirs.send(b"came in time")
        time.sleep(0.6)

    try:
        reading = asyncio.create_task(Response(read, stall_timeout=0.4, max_retries=0).async_get_text())
        asyncio.get_running_loop().call_later(0.05, hold_up)
        assert await reading == "came in time"
    finally:
        writer.close()
        theirs.close()
