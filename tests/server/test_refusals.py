"""What strangers send is refused with a problem that helps, and nothing of it reaches the backend or breaks it."""

import json
from typing import Any

import pytest

from tests.server.asgi import Client
from tests.server.flows import echo, report
from triggerflow.backend import StoreBackend
from triggerflow.server import Limits, create_app
from triggerflow.stores import Store


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/index.html", 404, "unknown_route"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/api", 404, "unknown_route"),
        ("GET", "/api/", 404, "unknown_route"),
        ("GET", "//api/flows", 404, "unknown_route"),
        ("GET", "/api/flows/", 404, "unknown_route"),
        ("GET", "/api/flows/../flows", 404, "unknown_route"),
        ("GET", "/api/executions/..%2F..%2Fetc%2Fpasswd", 404, "unknown_execution"),
        ("GET", "/api/executions/%2e%2e", 404, "unknown_execution"),
        ("GET", "/api/executions/%00", 400, "bad_request"),
        ("GET", "/api/executions/%ff", 404, "unknown_route"),
        ("GET", "/api/executions/%ED%A0%80", 404, "unknown_route"),
        ("GET", f"/api/executions/{'x' * 3000}", 400, "bad_request"),
        ("GET", f"/api/executions/{'x' * 40000}", 414, "too_long"),
        ("GET", "/api/executions/zz", 404, "unknown_execution"),
        ("GET", "/api/flows/zz", 404, "unknown_flow"),
        ("POST", "/api/flows/zz/executions", 404, "unknown_flow"),
        ("GET", "/api/flows/echo/drawing?definition=zz", 404, "unknown_flow"),
        ("GET", "/api/flows/echo/drawing?mode=fine", 400, "bad_request"),
        ("GET", "/api/executions?limit=0", 400, "bad_request"),
        ("GET", "/api/executions?limit=1_0", 400, "bad_request"),
        ("GET", "/api/executions?limit=%D9%A1", 400, "bad_request"),
        ("GET", "/api/executions?since=nan", 400, "bad_request"),
        ("GET", "/api/executions?since=1e999", 400, "bad_request"),
        ("GET", "/api/executions?status=done", 400, "bad_request"),
        ("GET", "/api/executions?label=team", 400, "bad_request"),
        ("GET", "/api/executions?flow=a&flow=b", 400, "bad_request"),
        ("GET", "/api/executions?colour=red", 400, "bad_request"),
        ("GET", "/api/executions?flow=%zz", 400, "bad_request"),
        ("GET", "/api/executions?flow=%ff", 400, "bad_request"),
        ("GET", "/api/executions?after=nobody", 404, "unknown_execution"),
        ("GET", "/api/questions?after=nothing", 409, "bad_request"),
        ("GET", "/api/executions/e/frames?after=99", 409, "bad_request"),
        ("GET", "/api/executions/e/state?at=99", 409, "bad_request"),
        ("GET", "/api/executions/e/diff/zz", 404, "unknown_execution"),
        ("GET", "/api/executions/e/result?wait=301", 400, "bad_request"),
        ("PATCH", "/api/flows", 405, "method_not_allowed"),
        ("OPTIONS", "/api/flows", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("DELETE", "/api/executions/e", 405, "method_not_allowed"),
    ],
)
async def test_paths_methods_and_queries(store: Store, method: str, path: str, status: int, code: str) -> None:
    flow = echo()
    await StoreBackend(store, flow).start("echo", 1, id="e")
    answer = await Client(create_app([flow], store)).call(method, path)
    assert (answer.status, answer.code) == (status, code)
    found = answer.json()
    assert found["status"] == status
    assert found["detail"]
    assert str(getattr(store, "path", "nowhere")) not in answer.body.decode()
    assert answer.headers["cache-control"] == "no-store"
    if status == 405:
        assert set(answer.headers["allow"].split(", ")) <= {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "bad_request"),
        (b"\xff\xfe", {}, 400, "bad_request"),
        (b"[1]", {}, 400, "bad_request"),
        (b'{"value": NaN}', {}, 400, "bad_request"),
        (b'{"valeu": 1}', {}, 400, "bad_request"),
        (b'{"value": 1, "reuse": "sometimes"}', {}, 400, "bad_request"),
        (b'{"value": 1, "id": "a\\u0000"}', {}, 400, "bad_request"),
        (b'{"value": 1, "id": "\\ud800"}', {}, 400, "bad_request"),
        (b'{"value": 1, "labels": {"a": "\\u0000"}}', {}, 400, "bad_request"),
        (b'{"value": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", {}, 400, "bad_request"),
        (b'{"value": 1, "id": ".."}', {}, 400, "bad_request"),
        (b'{"value": 1, "id": ""}', {}, 409, "bad_request"),
        (b'{"value": 1, "delay": -1}', {}, 409, "not_possible"),
        (b'{"value": 1}', {"content-type": "text/plain"}, 415, "not_json"),
        (b'{"value": 1}', {"content-type": ""}, 415, "not_json"),
        (b'{"value": 1}', {"idempotency-key": "x" * 600}, 400, "bad_request"),
        (b'{"value": "' + b"x" * 2000 + b'"}', {}, 413, "too_large"),
        (b"{}", {"content-length": "5000000000"}, 413, "too_large"),
        (b"{}", {"content-length": "many"}, 413, "too_large"),
        (b"", {}, 422, "value_does_not_fit"),
        (b'{"value": 1}', {}, 422, "value_does_not_fit"),
    ],
)
async def test_bodies(store: Store, body: bytes, headers: dict[str, str], status: int, code: str) -> None:
    flow = report()
    limits = Limits(body=1000) if len(body) < 10_000 else Limits()
    client = Client(create_app([flow], store, limits=limits))
    given = {"content-type": "application/json", **headers}
    answer = await client.call("POST", "/api/flows/report/executions", body, **given)
    assert (answer.status, answer.code) == (status, code), answer.body
    assert (await client.get("/api/counts")).json() == {}


async def test_a_body_that_does_not_come_is_not_waited_for(store: Store) -> None:
    client = Client(create_app([echo()], store))
    async with client.open("POST", "/api/flows/echo/executions", **{"content-type": "application/json"}) as stream:
        stream._request.clear()  # noqa: SLF001
        await stream.done
    assert json.loads(stream.body)["code"] == "too_slow"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example"}, "wrong_host"),
        ({"host": "localhost.evil.example"}, "wrong_host"),
        ({"host": "127.0.0.1.evil.example"}, "wrong_host"),
        ({"host": "evil.example#localhost"}, "wrong_host"),
        ({"host": "localhost@evil.example"}, "wrong_host"),
        ({"host": "192.168.0.1"}, "wrong_host"),
        ({"host": ""}, "wrong_host"),
        ({"origin": "http://evil.example"}, "not_allowed"),
        ({"origin": "http://localhost:3000"}, "not_allowed"),
        ({"origin": "null"}, "not_allowed"),
        ({"sec-fetch-site": "cross-site"}, "not_allowed"),
        ({"sec-fetch-site": "same-site"}, "not_allowed"),
    ],
)
async def test_other_hosts_and_pages_of_other_sites(store: Store, headers: dict[str, str], code: str) -> None:
    client = Client(create_app([echo()], store))
    for method, path, body in [("GET", "/api/flows", None), ("POST", "/api/flows/echo/executions", {"value": 1})]:
        answer = await client.call(method, path, body, **headers)
        assert (answer.status, answer.code) == (421 if code == "wrong_host" else 403, code)
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (await client.get("/api/counts")).json() == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8099"},
        {"host": "LOCALHOST"},
        {"host": "127.0.0.1:1"},
        {"host": "127.9.9.9"},
        {"host": "[::1]:8099"},
        {"host": "runs.example.com"},
        {"host": "localhost:8099", "origin": "http://localhost:8099", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_own_hosts_and_own_pages(store: Store, headers: dict[str, str]) -> None:
    client = Client(create_app([echo()], store, hosts=["runs.example.com"]))
    assert (await client.get("/api/flows", **headers)).status == 200


async def test_all_hosts_may_be_allowed(store: Store) -> None:
    assert (await Client(create_app([], store, hosts="*")).get("/api/flows", host="any.example")).status == 200


async def test_too_many_calls_and_streams_are_refused(store: Store) -> None:
    flow = report()
    app = create_app([flow], store, limits=Limits(calls=2, streams=2))
    client = Client(app)
    await StoreBackend(store, flow).start("report", "x", id="r")
    frames: Any = "/api/executions/r/frames"
    async with client.events(frames) as one, client.events(frames) as other, client.events(frames) as third:
        await one.until(lambda it: it.events)
        await other.until(lambda it: it.events)
        await third.done
        assert third.status == 503
        waiting = "/api/executions/r/result?wait=100"
        async with client.open("GET", waiting) as _, client.open("GET", waiting) as _:
            full = await client.get("/api/flows")
            while full.status == 200:
                full = await client.get("/api/flows")
            assert (full.status, full.code, full.json()["again"]) == (503, "busy", True)
            assert full.headers["retry-after"]
            assert (await client.get("/health")).status == 503
    assert (await client.get("/api/flows")).status == 200


async def test_an_error_of_a_users_code_is_not_shown(store: Store) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("a secret")

    answer = await Client(create_app(backend=Broken())).get("/api/flows")  # pyright: ignore
    assert (answer.status, answer.code) == (500, "internal")
    assert "secret" not in answer.body.decode()
