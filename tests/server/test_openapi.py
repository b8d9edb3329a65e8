"""The description of the server is right: schemathesis, which makes requests of it, finds nothing to complain of."""

import asyncio
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from tests import soak
from tests.server.asgi import Client
from tests.server.flows import Data, echo, report
from triggerflow import TriggerFlow
from triggerflow.server import Grant, Limits, Server, create_app
from triggerflow.stores import MemoryStore, SQLiteStore
from triggerflow.wire import ROUTES


class Topic(msgspec.Struct):
    title: str
    words: int = 3
    kind: Literal["short", "long"] = "short"


def typed() -> TriggerFlow:
    """Declares what it takes, what signals carry and the answer of its question."""
    flow = TriggerFlow("typed flow/ä")
    flow.set_contract(initial_input=Topic, result=int)
    flow.signal("note", int, external=True)

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        await data.async_put_into_stream(data.value.title)
        data.pause_for(type="approval", payload=1, schema=bool, interrupt_id="approve")

    @flow.chunk("count")
    async def count(data: Data) -> int:
        return 1

    flow.to(ask)
    flow.when("note").to(count).end()
    return flow


async def description(app: Any, **headers: str) -> Any:
    return (await Client(app).get("/openapi.json", **headers)).json()


async def test_starts_and_signals_have_the_schemas_of_the_flows() -> None:
    async with MemoryStore() as store:
        found = await description(create_app([typed(), echo()], store))
    start = found["paths"]["/api/flows/typed%20flow%2F%C3%A4/executions"]["post"]["requestBody"]
    schema = start["content"]["application/json"]["schema"]
    assert schema["required"] == ["value"]
    assert schema["properties"]["value"]["properties"]["kind"] == {"enum": ["long", "short"], "default": "short"}
    assert schema["properties"]["value"]["additionalProperties"] is False
    assert "$defs" not in str(found)
    note, other = found["components"]["schemas"]["EmitBody"]["anyOf"]
    assert note["properties"] == {"name": {"const": "note"}, "value": {"type": "integer"}}
    assert other["properties"] == {"name": {"not": {"enum": ["note"]}}}


async def test_every_route_is_described() -> None:
    async with MemoryStore() as store:
        found = await description(create_app([], store))
    described = {(method.upper(), path) for path, by in found["paths"].items() for method in by}
    assert described == {(route.method, route.path) for route in ROUTES}
    assert "security" not in str(found["paths"])


async def test_who_has_no_token_learns_no_name_of_a_flow() -> None:
    tokens = {"a": Grant(name="a", flows=frozenset(("echo",)))}
    async with MemoryStore() as store:
        app = create_app([typed(), echo()], store, auth=tokens.get)
        for headers, names in [({}, set[str]()), ({"authorization": "Bearer a"}, {"echo"})]:
            found = await description(app, **headers)
            assert "typed" not in str(found)
            assert ("/api/flows/echo/run" in found["paths"]) is ("echo" in names)
            assert found["paths"]["/api/flows"]["get"]["security"] == [{"token": []}]


@pytest.mark.real_time
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "depth",
    [
        pytest.param(["--phases", "fuzzing", "--max-examples", "3"], id="short"),
        pytest.param(["--max-examples", "50"], id="long", marks=pytest.mark.soak),
    ],
)
async def test_schemathesis_finds_nothing(tmp_path: Path, depth: list[str]) -> None:
    """`make soak` lets it look at everything, for longer."""
    flows = [typed(), echo(), report()]
    limits = Limits(stream_time=0.2, wait=1.0)
    app = create_app(flows, SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL"), worker=True, limits=limits)
    server = Server(app, port=0)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    command = ["-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--request-timeout", "60"]
    tested = await asyncio.create_subprocess_exec(
        sys.executable, *command, *depth, "--seed", str(soak.seed() + 1), "--no-color",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await tested.communicate()
    finally:
        server.should_exit = True
        await serving
    assert tested.returncode == 0, said.decode()[-20_000:]
