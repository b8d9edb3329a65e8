"""Agents: requests as Agently's programs write them, against a small server and against a real model."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agently import Agently, TriggerFlow, TriggerFlowRuntimeData

from tests.models import test_real_model
from tests.models.instant_support import pieces
from tests.models.sse_server import HANG, Provider, Reply, openai_events, provider
from triggerflow.models import InvalidResponseError, RateLimitError, TruncatedResponseError

ANSWER = {"title": "Solar sails", "queries": [{"text": "thrust", "n": 1}, {"text": "light pressure", "n": 2}]}
OUTPUT = {"title": (str, "the title"), "queries": [{"text": (str, "a search query"), "n": (int,)}]}
REPLY = Reply(openai_events(pieces(json.dumps(ANSWER), 4)))


@asynccontextmanager
async def serving(*replies: Reply) -> AsyncGenerator[tuple[Provider, Any], None]:
    async with provider(*replies) as server:
        agent = Agently.create_agent("planner")
        agent.set_settings("OpenAICompatible", {"base_url": server.url, "model": "small", "auth": "secret"})
        yield server, agent


def prompt(request: dict[str, Any]) -> str:
    return request["messages"][-1]["content"]


async def test_a_finished_query_starts_its_search_while_the_model_writes() -> None:
    text = json.dumps(ANSWER)
    half = text.index("light")
    searched = asyncio.Event()
    events = openai_events([text[:half], text[half:]])
    flow = TriggerFlow()
    found: list[str] = []
    async with serving(Reply([*events[:2], searched, *events[2:]])) as (_, agent):  # half of it waits

        @flow.chunk("plan")
        async def plan(data: TriggerFlowRuntimeData) -> Any:
            response = agent.input(data.value).output(OUTPUT).get_response()
            async for item in response.get_async_generator(type="instant"):
                if item.is_complete and item.wildcard_path == "queries[*]":
                    await data.async_emit("query_ready", item.value)
            return await response.async_get_data()

        @flow.chunk("search")
        async def search(data: TriggerFlowRuntimeData) -> None:
            found.append(data.value["text"])
            searched.set()

        flow.to(plan).end()
        flow.when("query_ready").to(search)
        assert await flow.async_start("solar sails") == ANSWER
    assert found == ["thrust", "light pressure"]


async def test_the_fields_of_an_instant_item() -> None:
    async with serving(REPLY) as (_, agent):
        response = agent.input("x").output(OUTPUT).get_response()
        items = [item async for item in response.get_async_generator(type="instant")]
        again = [item async for item in response.result.get_async_generator(type="streaming_parse")]
    assert items == again
    done = {item.path: item for item in items if item.is_complete}
    assert list(done)[:3] == ["title", "queries[0].text", "queries[0].n"]
    item = done["queries[1].n"]
    assert (item.wildcard_path, item.indexes, item.value, item.event_type) == ("queries[*].n", (1,), 2, "done")
    assert item.full_data == ANSWER
    assert "".join(item.delta or "" for item in items if item.path == "title") == "Solar sails"


async def test_what_is_said_becomes_the_request() -> None:
    async with serving(REPLY, REPLY) as (server, agent):
        agent.role("You plan.", always=True).rule("Be short.").info({"a": 1}).info({"b": 2}).options({"temperature": 0})
        assert await agent.instruct("Plan.").input("sails").output(OUTPUT).async_start() == ANSWER
        await agent.input("moons").async_get_text()
    first, second = server.requests
    assert first["model"] == "small"
    assert first["temperature"] == 0
    assert first["messages"][0] == {"role": "system", "content": "You plan.\n\nBe short."}
    for part in ("[INSTRUCT]\nPlan.", "[INPUT]\nsails", '"b": 2', "the title", '"a": 1'):
        assert part in prompt(first)
    assert second["messages"] == [{"role": "system", "content": "You plan."}, {"role": "user", "content": "moons"}]


async def test_the_types_of_the_generators() -> None:
    text = json.dumps(ANSWER)
    async with serving(REPLY) as (_, agent):
        response = agent.input("x").get_response()
        assert "".join([piece async for piece in response.get_async_generator()]) == text
        specific = [item async for item in response.get_async_generator(type="specific", specific=["done"])]
        assert specific == [("done", text)]
        raw = [json.loads(item) async for item in response.get_async_generator(type="original")]
        assert raw[1]["choices"][0]["delta"]["content"] == text[:4]
        names = {name async for name, _ in response.get_async_generator(type="all")}
        assert {"original_delta", "delta", "done", "meta"} <= names
        assert await response.async_get_data() == text  # nothing else was asked for
        usage = (await response.async_get_meta())["usage"]
        assert usage == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


async def test_missing_keys_are_asked_for_again_and_end_in_a_value_error() -> None:
    async with serving(REPLY, REPLY, REPLY) as (server, agent):
        with pytest.raises(ValueError, match="summary") as caught:
            await agent.input("x").output(OUTPUT).async_start(ensure_keys=["summary"], max_retries=2)
        assert len(server.requests) == 3
    assert isinstance(caught.value, InvalidResponseError)


async def test_failures_are_told() -> None:
    busy = Reply(status=429, headers={"retry-after": "100"})
    cut = Reply(openai_events(pieces(json.dumps(ANSWER)[:20], 4), finish=None)[:-2])
    async with serving(busy, cut) as (_, agent):
        with pytest.raises(RateLimitError):
            await agent.input("x").async_start()
        with pytest.raises(TruncatedResponseError):
            await agent.input("x").output(OUTPUT).async_start()


async def test_a_server_that_stalls_is_waited_for_as_the_settings_say() -> None:
    async with serving(Reply([*openai_events(['{"title": '])[:2], HANG])) as (_, agent):
        agent.set_settings("OpenAICompatible", {"timeout": {"read": 1.0}})
        with pytest.raises(TruncatedResponseError, match="connection"):
            await agent.input("x").output(OUTPUT).async_start()


async def test_scripts_block() -> None:
    def script(agent: Any) -> Any:
        response = agent.input("x").output(OUTPUT).get_response()
        paths = [item.path for item in response.get_generator(type="instant") if item.is_complete]
        return paths, response.get_data(), agent.input("x").start(), agent.input("x").get_text()

    async with serving(REPLY, REPLY, REPLY) as (_, agent):
        paths, data, started, text = await asyncio.to_thread(script, agent)
    assert paths[-1] == "queries"
    assert data == ANSWER
    assert started == text == json.dumps(ANSWER)


async def test_settings_are_inherited_and_paths_may_have_slashes() -> None:
    async with provider(REPLY) as server:
        whole = {"full_url": f"{server.url}/chat/completions", "model": "a", "model_type": "chat", "stream": True}
        Agently.set_settings("OpenAI", whole)
        try:
            agent = Agently.create_agent()
            agent.set_settings("OpenAICompatible", {"model": "b", "headers": {"x-team": "t"}, "timeout": {"read": 9},
                               "auth": {"body": {"seed": 4}}})  # fmt: skip
            agent.set_settings("response.streaming_parse_path_style", "slash")
            generator = agent.input("x").output(OUTPUT).get_async_generator(type="instant")
            paths = {item.path async for item in generator}
        finally:
            Agently.settings.data.pop("OpenAI")
    assert "/queries/[0]/text" in paths
    assert server.requests[0]["model"] == "b"
    assert server.requests[0]["seed"] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no model"),
        ({"model": "m", "model_type": "embeddings"}, "embeddings"),
        ({"model": "m", "mdoel": 1}, "mdoel"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_the_request(settings: dict[str, Any], message: str) -> None:
    agent = Agently.create_agent()
    agent.set_settings("OpenAICompatible", settings)
    with pytest.raises(ValueError, match=message):
        agent.input("x").get_response()


def test_flows_alone_load_nothing_of_the_model_side() -> None:
    code = "import sys, agently; print({'openai', 'httpx', 'triggerflow.models', 'agently.agent'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.real_time
@pytest.mark.needs("model")
async def test_a_real_model_is_read_field_by_field() -> None:
    async with test_real_model.served() as server:
        agent = Agently.create_agent()
        endpoint = {"base_url": server.url, "model": "local"}
        limits = {"temperature": 0, "max_tokens": 300, "structured": "full_json_schema"}
        agent.set_settings("OpenAICompatible", {**endpoint, "request_options": limits})
        response = agent.instruct("Plan searches.").input("How do I read CSV files?").output(
            test_real_model.Plan
        ).get_response()  # fmt: skip
        done: list[str] = []
        length = first = 0
        async for item in response.get_async_generator(type="instant"):
            length += len(item.delta or "")
            if item.is_complete:
                done.append(item.path)
                first = first or (length if item.path == "queries[0]" else 0)
        data = await response.async_get_data()
    assert done == ["title", *(f"queries[{n}]" for n in range(len(data["queries"]))), "queries", "summary"]
    assert first < length / 2
