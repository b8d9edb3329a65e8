"""Every route gives what the backend gives, and does what the backend does."""

import asyncio
import io
import json
from typing import Any

import msgspec
import pytest

from tests.server.asgi import Client
from tests.server.flows import counter, echo, listener, parent, report
from triggerflow.backend import StoreBackend
from triggerflow.durable import Worker
from triggerflow.server import create_app
from triggerflow.stores import MemoryStore, Store


async def test_what_is_read_is_what_the_backend_gives(store: Store) -> None:
    inner = echo()
    flows = [report(), inner, parent(inner)]
    app, backend = create_app(flows, store), StoreBackend(store, *flows)
    client = Client(app)
    async with Worker(store, *flows):
        for number in range(3):
            await backend.start("echo", number, id=f"echo-{number}", labels={"n": str(number)})
        await backend.start("parent", "no", id="parent/1")
        await backend.start("report", "solar sails", id="r")
        for id in ("echo-0", "echo-1", "echo-2", "parent/1"):
            await backend.result(id, wait=10)
        while not (await backend.questions()).questions:  # noqa: ASYNC110 - as a client does
            await asyncio.sleep(0.01)
        definition = (await backend.get("r")).definition
        frames = [frame async for frame in backend.frames("r")]
        items = [item async for item in backend.stream("r")]
        for path, expected in [
            ("/api/flows", await backend.flows()),
            ("/api/flows/report", await backend.contract("report")),
            (f"/api/flows/report?definition={definition}", await backend.contract("report", definition=definition)),
            ("/api/flows/report/drawing?mode=detailed", await backend.drawing("report", mode="detailed")),
            ("/api/executions", await backend.executions()),
            ("/api/executions?flow=echo&limit=2", await backend.executions(flow="echo", limit=2)),
            ("/api/executions?status=failed&status=waiting", await backend.executions(status=["failed", "waiting"])),
            ("/api/executions?label=n:2", await backend.executions(labels={"n": "2"})),
            ("/api/executions?parent=parent%2F1", await backend.executions(parent="parent/1")),
            ("/api/executions?text=echo-1", await backend.executions(text="echo-1")),
            ("/api/executions?since=0&until=1.5", await backend.executions(since=0, until=1.5)),
            ("/api/counts", await backend.counts()),
            ("/api/executions/parent%2F1", await backend.get("parent/1")),
            ("/api/executions/r/frames", {"frames": frames, "next": None}),
            ("/api/executions/r/frames?after=2", {"frames": frames[2:], "next": None}),
            ("/api/executions/r/frames?limit=2", {"frames": frames[:2], "next": 2}),
            ("/api/executions/r/stream", {"items": items, "next": None}),
            ("/api/executions/r/stream?after=1&limit=1", {"items": items[1:2], "next": 2}),
            ("/api/executions/r/state", await backend.state_at("r")),
            ("/api/executions/r/state?at=1", await backend.state_at("r", 1)),
            ("/api/executions/echo-1/result?wait=1", await backend.result("echo-1")),
            ("/api/executions/echo-1/diff/echo-2", await backend.diff("echo-1", "echo-2")),
            ("/api/questions", await backend.questions()),
            ("/api/questions?execution=r&flow=report", await backend.questions(execution="r", flow="report")),
        ]:
            answer = await client.get(path)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), path
            assert answer.json() == json.loads(msgspec.json.encode(expected)), path
            head = await client.call("HEAD", path)
            assert (head.status, head.body) == (200, b"")
            assert head.headers == answer.headers
        export = io.BytesIO()
        async for piece in backend.export("parent/1"):
            export.write(piece)
        answer = await client.get("/api/executions/parent%2F1/export")
        assert answer.body == export.getvalue()
        assert answer.headers["content-disposition"] == 'attachment; filename="parent_1.jsonl"'


async def test_every_action_is_done(store: Store) -> None:
    flow = listener()
    client = Client(create_app([flow], store, worker=False))
    async with Worker(store, flow):
        assert (await client.post("/api/flows/listener/executions", {"id": "a/1"})).status == 201
        act = "/api/executions/a%2F1"
        for method, path, body in [
            ("POST", "/signals", {"name": "note", "value": "one"}),
            ("POST", "/signals", {"name": "note", "value": "later", "delay": 1000}),
            ("POST", "/items", {"item": {"delta": "x"}}),
            ("PUT", "/state/k%2F1", {"value": [1]}),
            ("PUT", "/state/gone", {"value": None}),
            ("DELETE", "/state/gone", None),
            ("PUT", "/result", {"value": 1}),
            ("PUT", "/result", {"value": 2, "replace": True}),
        ]:
            answer = await client.call(method, act + path, body)
            assert answer.status == 200, answer.body
        cancelled = await client.call("DELETE", f"{act}/signals/note")
        assert cancelled.json()["value"] == 1
        state = (await client.get(f"{act}/state")).json()
        assert state["state"] == {"notes": ["one"], "k/1": [1]}
        await client.post(f"{act}/close")
        result = (await client.get(f"{act}/result?wait=10")).json()
        assert (result["status"], result["result"]) == ("completed", 2)
        assert (await client.post(f"{act}/close")).code == "ended"


async def test_cancel_retry_and_fork(store: Store) -> None:
    flows = [report(), echo()]
    client = Client(create_app(flows, store))
    async with Worker(store, *flows):
        await client.post("/api/flows/echo/executions", {"id": "e", "value": "no"})
        assert (await client.get("/api/executions/e/result?wait=10")).json()["status"] == "failed"
        assert (await client.post("/api/executions/e/retry")).status == 200
        failed = (await client.get("/api/executions/e/result?wait=10")).json()
        assert failed["error"]["message"] == "a secret in an error"
        fork = await client.post("/api/executions/e/forks", {"at": 1, "id": "f", "value": "yes"})
        assert (fork.status, fork.headers["location"]) == (201, "/api/executions/f")
        assert fork.json()["forked_from"] == ["e", 1]
        await client.post("/api/flows/report/executions", {"id": "r", "value": "x"})
        await client.post("/api/executions/r/cancel", {"reason": "enough"})
        result = (await client.get("/api/executions/r/result?wait=10")).json()
        assert (result["status"], result["reason"]) == ("cancelled", "enough")


async def test_a_start_can_wait_for_the_result(store: Store) -> None:
    flows = [report(), echo()]
    client = Client(create_app(flows, store), root="")
    async with Worker(store, *flows):
        answer = await client.post(
            "/api/flows/echo/executions", {"value": 7, "id": "e"}, prefer="respond-async, wait=30"
        )
        assert (answer.status, answer.json()["result"]) == (200, 7)
        assert answer.headers["location"] == "/api/executions/e"
        assert answer.headers["preference-applied"] == "wait=30"
        answer = await client.post("/api/flows/report/executions", {"value": "x"}, prefer="wait=1")
        assert (answer.status, answer.json()["ended"]) == (200, False)


async def test_run_starts_and_streams(store: Store) -> None:
    flow = counter()
    client = Client(create_app([flow], store))
    async with Worker(store, flow), client.events("/api/flows/counter/run", "POST", {"value": 3, "id": "c"}) as stream:
        events = await stream.rest()
    assert [event.event for event in events] == ["started", "item", "item", "item", "result", "end"]
    assert stream.data("started")[0]["id"] == "c"
    assert [it["item"] for it in stream.data("item")] == [1, 2, 3]
    assert stream.data("result")[0]["result"] == 3
    assert stream.data("end") == [{"status": "completed"}]


@pytest.mark.parametrize("id", [None, "mine"])
async def test_a_start_with_the_same_key_happens_once(store: Store, id: str | None) -> None:
    flow = echo()
    client = Client(create_app([flow], store), idempotency_key="form-1")
    body: dict[str, Any] = {"value": 1} if id is None else {"value": 1, "id": id}
    async with Worker(store, flow):
        first = (await client.post("/api/flows/echo/executions", body)).json()
        await client.get(f"/api/executions/{first['id']}/result?wait=10")
        again = (await client.post("/api/flows/echo/executions", body)).json()
        assert again["id"] == first["id"]
        other = await client.post("/api/flows/echo/executions", {**body, "value": 2})
        assert (other.status, other.code) == (409, "execution_exists" if id else "bad_request")
        fork = {"at": 1}
        forks = [(await client.post(f"/api/executions/{first['id']}/forks", fork)).json()["id"] for _ in range(2)]
        assert len(set(forks)) == 1
        await client.get(f"/api/executions/{forks[0]}/result?wait=10")
        assert (await client.post("/api/flows/echo/executions", body)).json()["id"] == first["id"]
        assert (await client.get("/api/counts")).json() == {"echo": {"completed": 2}}


async def test_a_key_of_one_fork_is_refused_for_another(store: Store) -> None:
    flow = echo()
    client = Client(create_app([flow], store), idempotency_key="form-1")
    await client.post("/api/flows/echo/executions", {"value": 1, "id": "one"})
    first = await client.post("/api/executions/one/forks", {"at": 1, "value": 2})
    assert first.status == 201
    assert (await client.post("/api/executions/one/forks", {"at": 1, "value": 2})).json()["id"] == first.json()["id"]
    for other in ({"at": 1}, {"at": 1, "value": 3}, {"at": 1, "value": 2, "state": {"a": 1}}):
        answer = await client.post("/api/executions/one/forks", other)
        assert (answer.status, answer.code) == (409, "bad_request")
        assert "another fork" in answer.json()["detail"]


@pytest.mark.parametrize("id", ["a\nb", "a\r", "\x1b[2J", "\x7f", "\x85", "\u2028"])
async def test_an_id_has_no_control_characters(store: Store, id: str) -> None:
    client = Client(create_app([echo()], store))
    started = await client.post("/api/flows/echo/executions", {"value": 1, "id": id})
    assert started.status in (400, 409)
    assert "control characters" in started.json()["detail"]
    await client.post("/api/flows/echo/executions", {"value": 1, "id": "one"})
    forked = await client.post("/api/executions/one/forks", {"at": 1, "id": id})
    assert "control characters" in forked.json()["detail"]
    assert (await client.get("/api/counts")).json() == {"echo": {"running": 1}}


async def test_a_new_start_after_the_end_happens_once_for_each_key(store: Store) -> None:
    flow = echo()
    client = Client(create_app([flow], store))
    body = {"value": 1, "id": "daily", "reuse": "new_after_end"}
    async with Worker(store, flow):
        for key, expected in [("a", "daily"), ("a", "daily"), ("b", "daily.2"), ("b", "daily.2"), ("a", "daily")]:
            got = (await client.post("/api/flows/echo/executions", body, idempotency_key=key)).json()["id"]
            assert got == expected
            await client.get(f"/api/executions/{got}/result?wait=10")


async def test_an_answer_with_the_same_key_counts_once(store: Store) -> None:
    flow = report()
    client = Client(create_app([flow], store))
    async with Worker(store, flow):
        await client.post("/api/flows/report/executions", {"id": "r", "value": "x"})
        async with client.events("/api/executions/r/frames") as stream:
            await stream.until(lambda it: any("questions" in frame for frame in it.data("frame")))
        path = "/api/executions/r/interrupts/approve"
        assert (await client.post(path, {"value": "perhaps"})).code == "value_does_not_fit"
        for _ in range(2):
            assert (await client.post(path, {"value": True}, idempotency_key="k")).status == 200
        assert (await client.post(path, {"value": False}, idempotency_key="k")).status == 409
        assert (await client.post(path, {"value": False}, idempotency_key="k2")).status == 409
        assert (await client.get("/api/executions/r/result?wait=10")).json()["result"] == "x: True"


async def test_the_trace_of_the_caller_is_recorded(store: Store) -> None:
    flow = echo()
    client = Client(create_app([flow], store))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for id, sent, kept in [("a", trace, {"traceparent": trace}), ("b", "nonsense", {}), ("c", "", {})]:
        answer = await client.post("/api/flows/echo/executions", {"id": id}, traceparent=sent)
        assert answer.json()["labels"] == kept


async def test_a_store_that_is_not_open_is_opened_by_the_lifespan_with_a_worker() -> None:
    app = create_app([echo()], MemoryStore(), worker=True)
    for _ in range(2):  # it can be served again
        async with app.lifespan():
            answer = await Client(app).post("/api/flows/echo/executions", {"value": 1}, prefer="wait=10")
            assert answer.json()["result"] == 1
