"""Instant dispatch in a running flow: work starts before the answer is complete, and is undone when it fails."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.models import Response, TruncatedResponseError

TEXT = json.dumps({"queries": ["thrust", "light"], "summary": "Light pushes."})
OUTPUT = {"queries": [str], "summary": str}
SEARCH_SECONDS = 10.0


class Searches:
    """A flow whose plan starts a search for each finished query, with the times of all that happened."""

    def __init__(self, response: Response) -> None:
        self.log: list[tuple[str, str]] = []
        flow = TriggerFlow(name="searches")

        @flow.chunk("plan")
        async def plan(data: Any) -> Any:
            answer = await data.async_emit_fields(response, {"queries[*]": "query_ready"})
            self.log.append(("answer", ""))
            return answer

        @flow.chunk("search")
        async def search(data: Any) -> None:
            self.log.append(("begin", data.value))
            try:
                await asyncio.sleep(SEARCH_SECONDS)
            except asyncio.CancelledError:
                self.log.append(("cancelled", data.value))
                raise
            self.log.append(("end", data.value))

        flow.to(plan).end()
        flow.when("query_ready").to(search)
        self.execution = flow.create_execution()


async def typed(parts: list[Any]) -> AsyncGenerator[str, None]:
    for part in parts:
        await asyncio.sleep(0.1)
        if isinstance(part, Exception):
            raise part
        yield part


async def test_searches_begin_while_the_model_writes() -> None:
    run = Searches(Response(typed(list(TEXT)), output=OUTPUT))
    assert await run.execution.async_start(None) == json.loads(TEXT)
    await run.execution.async_get_result()
    begun = [entry for entry in run.log[: run.log.index(("answer", ""))] if entry[0] == "begin"]
    assert begun == [("begin", "thrust"), ("begin", "light")]


async def test_a_cut_connection_cancels_the_searches_and_tells_the_stream() -> None:
    run = Searches(Response(typed([*TEXT[:31], ConnectionResetError("gone")]), output=OUTPUT))
    items: list[Any] = []

    async def follow() -> None:
        async for item in run.execution.get_async_runtime_stream(None, timeout=None):
            items.append(item)  # noqa: PERF401 - a comprehension would lose them with the error

    with pytest.raises(TruncatedResponseError, match="gone"):
        await follow()
    assert run.log == [("begin", "thrust"), ("begin", "light"), ("cancelled", "light"), ("cancelled", "thrust")]
    assert [item["type"] for item in items] == ["retraction", "retraction"]
    assert all("gone" in item["reason"] for item in items)


async def test_a_retry_cancels_what_the_abandoned_answer_started() -> None:
    attempts = [list('{"queries": ["old"]}'), list(TEXT)]
    run = Searches(Response(lambda: typed(attempts.pop(0)), output=OUTPUT))
    await run.execution.async_start(None)
    assert run.log[:2] == [("begin", "old"), ("cancelled", "old")]
    assert ("begin", "thrust") in run.log
    assert ("cancelled", "thrust") not in run.log


FIELDS = {"queries[*]": "query_ready"}


def plans(response: Response) -> list[Any]:
    """The ways to write instant dispatch in a chunk."""

    async def literal(data: Any) -> Any:
        return await data.async_emit_fields(response, {"queries[*]": "query_ready", "summary": "unheard"})

    async def of_the_module(data: Any) -> Any:
        return await data.async_emit_fields(response, FIELDS)

    mine = dict(FIELDS)

    async def of_the_closure(data: Any) -> Any:
        return await data.async_emit_fields(response, mine)

    return [literal, of_the_module, of_the_closure]


@pytest.mark.parametrize("way", range(3))
async def test_an_answer_without_such_fields_leaves_nothing_waiting(way: int) -> None:
    flow = TriggerFlow(name="empty")
    flow.to(plans(Response(['{"queries": [], "summary": "None."}'], output=OUTPUT))[way])
    flow.when("query_ready").to(lambda data: None)
    execution = flow.create_execution()
    assert [item async for item in execution.get_async_runtime_stream(None)] == []
    assert await execution.async_get_result() is None
