"""Against a real model, which `make services` installs. What is asserted is shape and order, never wording."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from tests.support import kill
from triggerflow import TriggerFlow
from triggerflow.models import Delta, Request, Response, ToolCallDelta, TruncatedResponseError
from triggerflow.models.openai import OpenAIProvider

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-model" / "bin" / "python"
pytestmark = [pytest.mark.real_time, pytest.mark.needs("model")]


class Plan(Struct):
    title: Annotated[str, Meta(max_length=40)]
    queries: Annotated[list[Annotated[str, Meta(max_length=30)]], Meta(min_length=2, max_length=3)]
    summary: Annotated[str, Meta(max_length=200)]


REQUEST = Request().instruct("Plan searches.").input("How do I read CSV files in Python?").output(Plan)


class Served:
    """The model's server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/v1"
        options: Any = {"structured": "full_json_schema", "temperature": 0, "max_tokens": 300}
        self.model = OpenAIProvider("local", base_url=self.url, api_key="none", **options)

    def kill(self) -> None:
        """Kill the process."""
        kill(self.process)


@asynccontextmanager
async def served() -> AsyncGenerator[Served, None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        PYTHON, ROOT / "tools" / "model_server.py", str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    server = Served(process, port)
    try:
        assert b"Serving" in await process.stdout.readline()
        yield server
        await server.model.aclose()
    finally:
        server.kill()
        await process.wait()


async def test_fields_arrive_before_the_answer_is_complete() -> None:
    async with served() as server:
        response = REQUEST.get_response(server.model)
        written: dict[str, int] = {}
        length = 0
        async with aclosing(response.get_async_generator("instant")) as events:
            async for event in events:
                length += len(event.delta or "")
                if event.is_complete:
                    written[event.path] = length
        plan = await response.async_get_data_object()
        assert isinstance(plan, Plan)
        assert list(written) == [
            "title",
            *(f"queries[{n}]" for n in range(len(plan.queries))),
            "queries",
            "summary",
            "",
        ]
        assert written["queries[0]"] < length / 2
        meta = await response.async_get_meta()
        assert meta["finish_reason"] == "stop"
        assert meta["usage"]["completion_tokens"] > 10


async def test_a_retry_that_is_told_why() -> None:
    async with served() as server:
        response = REQUEST.get_response(server.model)
        first = await response.async_get_data()
        # No answer has this key: the server keeps to the schema. So the second attempt is told, and lacks it, too.
        again = await response.async_get_data(ensure_keys=["sources"], max_retries=1, raise_ensure_failure=False)
        assert first.keys() == again.keys()
        meta = await response.async_get_meta()
    plain, told = (attempt["usage"] for attempt in meta["attempts"])
    assert "sources" in meta["attempts"][0]["failure"]
    # The second prompt holds the first one, the first answer and the reason.
    assert told["prompt_tokens"] > plain["prompt_tokens"] + plain["completion_tokens"]
    assert meta["usage"]["total_tokens"] == plain["total_tokens"] + told["total_tokens"]


async def test_a_server_that_dies_in_the_middle_takes_everything_back() -> None:
    started: list[str] = []
    cancelled: list[str] = []
    items: list[Any] = []
    flow = TriggerFlow(name="killed")
    async with served() as server:

        @flow.chunk("plan")
        async def plan(data: Any) -> Any:
            return await data.async_emit_fields(REQUEST.get_response(server.model), {"queries[*]": "query_ready"})

        @flow.chunk("search")
        async def search(data: Any) -> None:
            started.append(json.dumps(data.value))
            server.kill()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(json.dumps(data.value))
                raise

        flow.to(plan).end()
        flow.when("query_ready").to(search)

        async def follow() -> None:
            async for item in flow.create_execution().get_async_runtime_stream(None, timeout=None):
                items.append(item)  # noqa: PERF401 - a comprehension would lose them with the error

        with pytest.raises(TruncatedResponseError) as caught:
            await follow()
    assert caught.value.finish_reason == "connection"
    assert started
    assert sorted(cancelled) == sorted(started)
    assert [item["type"] for item in items] == ["retraction"] * len(items)
    assert items


async def test_fields_into_a_for_each() -> None:
    """Each query is worked on before the answer is complete, and the results come in the order of the answer."""
    done: list[str] = []
    flow = TriggerFlow(name="given")
    async with served() as server:
        response = REQUEST.get_response(server.model)

        @flow.chunk("plan")
        async def plan(data: Any) -> Any:
            return response.fields("queries[*]")

        @flow.chunk("search")
        async def search(data: Any) -> Any:
            done.append(data.field.path)
            return data.value

        @flow.chunk("compile")
        async def compile(data: Any) -> Any:
            return data.value

        async def watch() -> int:
            async for event in response.get_async_generator("instant"):
                if event.path == "summary":
                    return len(done)
            return 0

        flow.to(plan).for_each().to(search).end_for_each().to(compile).end()
        before_the_summary, found = await asyncio.gather(watch(), flow.create_execution().async_start())
        answer = await response.async_get_data_object()
    assert found == answer.queries
    assert done == [f"queries[{number}]" for number in range(len(found))]
    assert before_the_summary > 0


async def test_arguments_of_a_tool_call_into_a_for_each() -> None:
    """This model knows no tools: what it writes for the schema is taken as the arguments of a call."""

    def as_call(chunk: Any) -> Delta:
        (choice,) = chunk.choices or (None,)
        if choice is None:
            return Delta()
        piece = ToolCallDelta(0, choice.delta.content or "", "call-1", "plan" if choice.delta.role else None)
        return Delta(tool_calls=(piece,), finish_reason=choice.finish_reason)

    flow = TriggerFlow(name="called")
    places: list[str] = []
    async with served() as server:
        response = Response(lambda: server.model.open(REQUEST), adapter=as_call, tools={"plan": Plan})

        @flow.chunk("plan")
        async def plan(data: Any) -> Any:
            return response.fields("$tool_calls.plan.queries[*]")

        @flow.chunk("search")
        async def search(data: Any) -> Any:
            places.append(data.field.path)
            return data.value

        flow.to(plan).for_each().to(search).end_for_each().end()
        found = await flow.create_execution().async_start()
        (call,) = [call async for call in response.fields("$tool_calls[*]")]
    assert found == json.loads(call.arguments)["queries"]
    assert places == [f"$tool_calls[0].queries[{number}]" for number in range(len(found))]
