"""Who has a token sees and does what it grants, and learns nothing of anything else."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.server.asgi import Client
from tests.server.flows import echo, parent, report
from triggerflow.backend import ChangesInfo, StoreBackend
from triggerflow.durable import Worker
from triggerflow.errors import UsageError
from triggerflow.server import Grant, Server, TokenFile, create_app, token_hash
from triggerflow.server.view import Batch, View
from triggerflow.stores import Store
from triggerflow.wire import ROUTES, path_to

GRANTS = {
    "admin": Grant(name="admin", scopes=frozenset(("read", "act"))),
    "reader": Grant(name="reader"),
    "parents": Grant(name="parents", scopes=frozenset(("read", "act")), flows=frozenset(("parent", "report"))),
    "secret": Grant(name="secret", scopes=frozenset(("act",)), flows=frozenset(("secret",))),
    "nothing": Grant(name="nothing", scopes=frozenset(("read", "act")), flows=frozenset()),
}


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic YWRtaW46", "Bearer admin2", "admin"])
async def test_without_a_valid_token_nothing_but_health_is_told(store: Store, token: str) -> None:
    client = Client(create_app([echo()], store, auth=GRANTS.get), authorization=token)
    for route in ROUTES:
        path = path_to(route, **dict.fromkeys(route.parts, "echo"))
        answer = await client.call(route.method, path)
        if route.scope == "open":
            assert answer.status == 200
            assert "echo" not in answer.body.decode()
        else:
            assert (answer.status, answer.code) == (401, "no_token")
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_two_tokens_are_none(store: Store) -> None:
    app = create_app([echo()], store, auth=GRANTS.get)
    client = Client(app)
    scope = client.scope("GET", "/api/flows", {})
    scope["headers"] += [(b"authorization", b"Bearer admin"), (b"authorization", b"Bearer admin")]
    client.scope = lambda *given: scope  # pyright: ignore
    assert (await client.get("/api/flows")).status == 400


async def test_a_token_to_read_changes_nothing(store: Store) -> None:
    flow = echo()
    await StoreBackend(store, flow).start("echo", 1, id="e")
    client = Client(create_app([flow], store, auth=GRANTS.get), authorization="bearer reader")
    for route in ROUTES:
        path = path_to(route, **{**dict.fromkeys(route.parts, "e"), "flow": "echo"} if route.parts else {})
        if route.scope == "act":
            answer = await client.call(route.method, path)
            assert (answer.status, answer.code) == (403, "not_allowed")
    assert (await client.get("/api/executions/e")).json()["frames"] == 1


async def world(store: Store) -> tuple[Any, list[Any]]:
    """Executions of three flows, sub-flows among them, and an application that serves them."""
    inner = report()
    flows = [inner, echo("secret"), parent(inner)]
    backend = StoreBackend(store, *flows)
    for number in range(6):
        await backend.start("secret", "a hidden value", id=f"secret-{number}", labels={"team": "hidden"})
        await backend.start("parent", f"topic {number}", id=f"parent-{number}")
        await backend.start("report", f"topic {number}", id=f"report-{number}")
    return create_app(flows, store, auth=GRANTS.get), flows


async def questions(client: Client, count: int) -> None:
    """Wait until so many questions are open."""
    while len((await client.get("/api/questions")).json()["questions"]) < count:  # noqa: ASYNC110 - over HTTP
        await asyncio.sleep(0.1)


async def test_no_list_tells_of_another_flow(store: Store) -> None:
    app, flows = await world(store)
    client = Client(app, authorization="Bearer parents")
    async with Worker(store, *flows):
        await questions(client, 12)
        told = [
            "/api/flows", "/api/counts", "/api/executions", "/api/executions?limit=5", "/api/executions?flow=secret",
            "/api/executions?label=team:hidden", "/api/executions?text=secret", "/api/executions?parent=secret-1",
            "/api/questions", "/api/questions?flow=secret", "/api/questions?execution=secret-1", "/metrics",
            "/openapi.json",
        ]  # fmt: skip
        for path in told:
            answer = await client.get(path)
            assert answer.status == 200
            assert "secret" not in answer.body.decode(), path
            assert "hidden" not in answer.body.decode(), path
        assert {it["name"] for it in (await client.get("/api/flows")).json()} == {"parent", "report"}
        assert set((await client.get("/api/counts")).json()) == {"parent", "report"}
        nothing = Client(app, authorization="Bearer nothing")
        for path in ("/api/executions", "/api/questions"):
            assert not (await nothing.get(path)).json()[path.rpartition("/")[2]]


async def test_the_definition_of_a_hidden_flow_is_not_told_under_the_name_of_a_visible_one(store: Store) -> None:
    app, flows = await world(store)
    client, admin = Client(app, authorization="Bearer parents"), Client(app, authorization="Bearer admin")
    async with Worker(store, *flows):
        await questions(client, 12)
        for flow, visible in (("secret", False), ("parent", True), ("report", True)):
            definition = (await admin.get(f"/api/executions/{flow}-0")).json()["definition"]
            name = flow if visible else "report"
            for path in (f"/api/flows/{name}", f"/api/flows/{name}/drawing"):
                answer = await client.get(f"{path}?definition={definition}")
                assert answer.status == (200 if visible else 404), (path, flow)
                assert visible or answer.code == "unknown_flow"


async def test_flows_that_are_wired_alike_share_a_definition_that_each_may_see(store: Store) -> None:
    first, second = echo("secret"), echo("report")
    for flow in (first, second):
        async with Worker(store, flow):
            await flow.create_execution(store=store, id=f"{flow.name}-0").async_start(1)
    without_code = create_app([report()], store, auth=GRANTS.get)
    client = Client(without_code, authorization="Bearer parents")
    definition = (await client.get("/api/executions/report-0")).json()["definition"]
    assert (await client.get(f"/api/flows/report/drawing?definition={definition}")).json()["flow"] == "report"


@pytest.mark.parametrize("key", ["", "a-key"])
async def test_the_id_of_a_hidden_execution_is_taken(store: Store, key: str) -> None:
    app, _ = await world(store)
    client = Client(app, authorization="Bearer parents", idempotency_key=key)
    started = await client.post("/api/flows/report/executions", {"value": "x", "id": "secret-0"})
    assert (started.status, started.code) == (409, "execution_exists")
    forked = await client.post("/api/executions/report-0/forks", {"at": 1, "id": "secret-0"})
    assert (forked.status, forked.code) == (409, "conflict")


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 100])
async def test_pages_over_several_flows_give_each_entry_once_and_in_order(store: Store, limit: int) -> None:
    app, flows = await world(store)
    client, admin = Client(app, authorization="Bearer parents"), Client(app, authorization="Bearer admin")
    async with Worker(store, *flows):
        await questions(client, 12)
        for path, name, key in [("/api/executions", "executions", "id"), ("/api/questions", "questions", "asked_by")]:
            found: list[Any] = []
            page = (await client.get(f"{path}?limit={limit}")).json()
            while True:
                assert len(page[name]) <= limit
                found += page[name]
                if page["next"] is None:
                    break
                cursor = "".join(f"%{byte:02x}" for byte in page["next"].encode())
                page = (await client.get(f"{path}?limit={limit}&after={cursor}")).json()
            everything = (await admin.get(f"{path}?limit=1000")).json()[name]
            expected = [it[key] for it in everything if it["flow"] != "secret"]
            assert sorted(it[key] for it in found) == sorted(expected)
            times = [it.get("created", it.get("since")) for it in found]
            assert times == sorted(times, reverse=name == "executions")


async def test_no_route_tells_whether_an_execution_of_another_flow_exists(store: Store) -> None:
    app, _ = await world(store)
    client = Client(app, authorization="Bearer parents")
    for route in ROUTES:
        if "id" not in route.parts and "execution" not in [it.name for it in route.query]:
            continue
        body = json.dumps(dict.fromkeys(("value",), "x") if route.name in ("answer", "set_state") else {}).encode()
        bodies = {
            "emit": b'{"name": "x"}', "put": b'{"item": 1}', "set_result": b'{"value": 1}', "fork": b'{"at": 1}',
            "set_state": b'{"value": 1}', "answer": b'{"value": 1}',
        }  # fmt: skip
        answers: list[Any] = []
        for id in ("secret-1", "nobodys1"):
            path = path_to(route, **{**dict.fromkeys(route.parts, "report-1"), "id": id} if route.parts else {})
            query = "" if route.parts else f"?execution={id}"
            data = bodies.get(route.name, body) if route.body is not None else b""
            answer = await client.call(
                route.method, path + query, data, accept="text/event-stream", **{"content-type": "application/json"}
            )
            answers.append((answer.status, answer.body.replace(id.encode(), b"ID")))
        assert answers[0] == answers[1], route.name
        assert answers[0][0] == 404 or route.name == "questions", (route.name, answers)
    assert (await client.get("/api/executions/report-1/diff/secret-1")).code == "unknown_execution"
    assert (await client.get("/api/executions?after=secret-1&flow=report")).code == "unknown_execution"


async def test_an_id_of_another_flow_cannot_be_started_to_see_it(store: Store) -> None:
    app, _ = await world(store)
    client = Client(app, authorization="Bearer parents")
    for body in ({"reuse": "existing"}, {"reuse": "reject"}, {"reuse": "new_after_end"}):
        answer = await client.post("/api/flows/report/executions", {"value": "x", "id": "secret-1", **body})
        assert (answer.status, answer.code) == (409, "execution_exists")
        assert "running" not in answer.body.decode()
    for path in ("/api/flows/secret/executions", "/api/flows/nobody/executions"):
        assert (await client.post(path, {"value": 1})).code == "unknown_flow"


async def test_sub_flows_belong_to_the_flow_of_their_parent(store: Store) -> None:
    app, flows = await world(store)
    only = {"children": Grant(name="c", scopes=frozenset(("read", "act")), flows=frozenset(("parent",)))}
    app.gate._check = only.get  # noqa: SLF001
    client = Client(app, authorization="Bearer children")
    async with Worker(store, *flows):
        await questions(client, 6)
        children = (await client.get("/api/executions?parent=parent-1")).json()["executions"]
        assert [child["flow"] for child in children] == ["report"]
        child = children[0]["id"].replace("/", "%2F")
        for path in ("", "/frames", "/state", "/stream"):
            assert (await client.get(f"/api/executions/{child}{path}")).status == 200
        assert (await client.get("/api/executions/report-1")).status == 404
        assert (await client.get(f"/api/executions/{child}/diff/report-1")).status == 404
        drawn = (await client.get(f"/api/flows/report/drawing?definition={children[0]['definition']}")).status
        assert drawn == 200
        assert (await client.post(f"/api/executions/{child}/forks", {"at": 1})).code == "not_allowed"
        own = (await client.post("/api/executions/parent-1/interrupts/x", {"value": True})).code
        assert own == "unknown_question"


async def test_events_tell_only_of_ones_own_flows(store: Store) -> None:
    app, flows = await world(store)
    client, other = Client(app, authorization="Bearer parents"), Client(app, authorization="Bearer secret")
    async with client.events("/api/events") as stream, other.events("/api/events?after=zz") as second:
        await stream.until(lambda it: it.events)
        await second.until(lambda it: it.events)
        async with Worker(store, *flows):
            await stream.until(lambda it: len({id for c in it.data("changes") for id in c["executions"]}) >= 12)
            await second.until(lambda it: len({id for c in it.data("changes") for id in c["executions"]}) >= 6)
    assert not any("secret" in id for change in stream.data("changes") for id in change["executions"])
    assert all(id.startswith("secret") for change in second.data("changes") for id in change["executions"])


async def test_whose_changes_are_is_found_out_once_for_all_readers(store: Store) -> None:
    asked: list[str] = []

    class Counting(StoreBackend):
        async def get(self, id: str) -> Any:
            asked.append(id)
            await asyncio.sleep(0.1)
            return await super().get(id)

    backend = Counting(store, echo())
    for id in ("a", "b"):
        await backend.start("echo", id=id)
    asked.clear()
    batch = Batch(ChangesInfo(cursor="1", executions=["a", "b"]))
    views = [View(backend, frozenset(("echo", str(number)))) for number in range(20)]
    seen = await asyncio.gather(*(batch.seen_by(view) for view in views))
    assert all(it.executions == ["a", "b"] for it in seen)
    assert asked == ["a", "b"]


# -- files of tokens ---------------------------------------------------------------------------------------------------


def written(path: Path, *lines: dict[str, Any]) -> Path:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(lines))
    return beside.rename(path)


async def test_tokens_in_a_file_are_rotated_without_a_restart(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "tokens.json", {"name": "ci", "sha256": token_hash("one"), "scopes": ["read", "act"]})
    app = create_app([echo()], store, auth=path)
    one, two = Client(app, authorization="Bearer one"), Client(app, authorization="Bearer two")
    assert [(await it.get("/api/flows")).status for it in (one, two)] == [200, 401]
    written(path, {"name": "ci", "sha256": token_hash("two"), "flows": ["other"]})
    assert [(await it.get("/api/flows")).status for it in (one, two)] == [401, 200]
    assert (await two.get("/api/flows")).json() == []
    with caplog.at_level(logging.ERROR):
        path.write_text("[half a fi")
        assert [(await it.get("/api/flows")).status for it in (one, two)] == [401, 200]
        assert caplog.text.count("stay as they were") == 1
        path.unlink()
        assert [(await it.get("/api/flows")).status for it in (one, two)] == [401, 200]
    assert caplog.text.count("stay as they were") == 2


@pytest.mark.parametrize(
    "text",
    ["", "{}", '[{"name": "a"}]', '[{"name": "a", "sha256": "zz"}]', '[{"name": "a", "sha256": "aa"}]',
     '[{"name": "a", "sha256": "", "scope": []}]', '[{"name": "a", "sha256": "", "scopes": ["admin"]}]'],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens.json").write_text(text)
    with pytest.raises(UsageError, match="file of tokens"):
        TokenFile(tmp_path / "tokens.json")


async def test_a_function_may_be_a_coroutine(store: Store) -> None:
    async def check(token: str) -> Grant | None:
        await asyncio.sleep(1)
        return GRANTS.get(token)

    app = create_app([echo()], store, auth=check)
    assert (await Client(app, authorization="Bearer admin").get("/api/flows")).status == 200
    assert (await Client(app, authorization="Bearer x").get("/api/flows")).status == 401


async def test_a_server_without_tokens_listens_to_this_machine_only(store: Store) -> None:
    app = create_app([echo()], store)
    for host in ("0.0.0.0", "::", "192.168.1.1", "example.com"):
        with pytest.raises(UsageError, match="tokens"):
            Server(app, host=host)
    Server(app, host="0.0.0.0", open_to_all=True)
    Server(create_app([echo()], store, auth=GRANTS.get), host="0.0.0.0")
    for host in ("127.0.0.1", "localhost", "::1"):
        Server(app, host=host)
