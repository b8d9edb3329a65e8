"""A flow as a web service. Runs where FastAPI is installed (`triggerflow-agently[fastapi]`)."""

import json
from typing import Any

import pytest
from agently import TriggerFlow

pytest.importorskip("fastapi")

from tests.bridge.model_server import answering

Flow = TriggerFlow[Any, Any, Any]


def served() -> Flow:
    flow = Flow(name="F")

    async def work(data: Any) -> Any:
        await data.async_put_into_stream({"p": data.value})
        error = {"boom": RuntimeError("boom"), "value": ValueError("value"), "time": TimeoutError("time")}.get(
            data.value
        )
        if error is not None:
            raise error
        await data.async_put_into_stream("text")
        return {"got": data.value}

    flow.to(work).end()
    return flow


def client(provider: Any, **options: Any) -> Any:
    from agently.integrations.fastapi import FastAPIHelper
    from fastapi.testclient import TestClient

    app = FastAPIHelper(response_provider=provider, **options)
    assert app.use_post("/post").use_get("/get").use_sse("/sse").use_websocket("/ws") is app
    return TestClient(app)


def payload(data: Any, **options: Any) -> dict[str, str]:
    return {"payload": json.dumps({"data": data, "options": options})}


def test_post_and_get() -> None:
    web = client(served())
    good = {"status": 200, "data": {"got": "x"}, "msg": None}
    assert web.post("/post", json={"data": "x"}).json() == good
    assert web.post("/post", json={"data": "x", "options": {"concurrency": 1, "unknown": 2}}).json() == good
    assert web.get("/get", params=payload("x")).json() == good
    assert web.post("/post", json={"options": {}}).status_code == 422
    assert web.get("/get").status_code == 422


@pytest.mark.parametrize(("data", "status"), [("boom", 400), ("value", 422), ("time", 504)])
def test_errors_stand_in_the_body(data: str, status: int) -> None:
    answer = client(served()).post("/post", json={"data": data})
    body = answer.json()
    assert (answer.status_code, body["status"], body["data"], body["msg"]) == (200, status, None, data)
    assert (body["error"]["module"], body["error"]["message"], body["error"]["args"]) == ("builtins", data, [data])


def test_a_request_that_is_none() -> None:
    web = client(served())
    for text in ("no json", "[]", '{"options": {}}', '"' + "x" * 2_000_000 + '"'):
        body = web.get("/get", params={"payload": text[:5000]}).json()
        assert (body["status"], "expected JSON object with keys 'data' and 'options'" in body["msg"]) == (422, True)
    with web.websocket_connect("/ws") as socket:
        socket.send_text('"' + "x" * 2_000_000 + '"')
        assert "larger than" in socket.receive_json()["msg"]
    assert web.post("/post", json={"data": "x" * 2_000_000}).status_code == 413


async def test_nothing_is_read_of_a_body_that_is_too_large_or_does_not_say_its_size() -> None:
    app = client(served()).app
    sent: list[Any] = []

    async def receive() -> Any:
        pytest.fail("the body was read")

    async def send(message: Any) -> None:
        sent.append(message.get("status"))

    for headers in ([], [(b"content-length", b"2000000")]):
        scope = {"type": "http", "method": "POST", "path": "/post", "query_string": b"", "headers": headers}
        await app(scope, receive, send)
    assert sent == [413, None] * 2


def test_server_sent_events() -> None:
    answer = client(served()).get("/sse", params=payload("x"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    items = [json.dumps({"status": 200, "data": item, "msg": None}) for item in ({"p": "x"}, "text")]
    assert answer.text == "".join(f"data: {item}\n\n" for item in items)
    failed = client(served()).get("/sse", params=payload("boom")).text.split("\n\n")
    assert failed[1].startswith('event: error\ndata: {"status": 400')


def test_a_websocket_takes_request_after_request() -> None:
    with client(served()).websocket_connect("/ws") as socket:
        for data in ("x", "y"):
            socket.send_json({"data": data, "options": {}})
            assert [socket.receive_json()["data"] for _ in range(2)] == [{"p": data}, "text"]
        socket.send_json({"data": "boom"})
        assert [socket.receive_json()["status"] for _ in range(2)] == [200, 400]


def test_a_contract_becomes_types_in_openapi() -> None:
    flow = Flow(name="typed")
    flow.set_contract(initial_input=int, result=str, meta={"v": 1})
    flow.to(lambda data: str(data.value)).end()
    web = client(flow)
    assert web.post("/post", json={"data": "5"}).json()["data"] == "5"
    assert web.post("/post", json={"data": "x"}).status_code == 422
    assert web.get("/get", params=payload("x")).json()["status"] == 422
    described = web.app.openapi()
    told = described["paths"]["/post"]["post"]["x-agently-triggerflow-contract"]
    assert (told["initial_input"]["label"], told["meta"]) == ("int", {"v": 1})
    assert (
        described["components"]["schemas"]["FastAPIHelperRequestData_typed"]["properties"]["data"]["type"] == "integer"
    )


def test_other_providers_and_an_own_wrapper() -> None:
    async def flow_of(data: Any) -> Any:
        return served()

    async def numbers(data: Any, step: int = 1) -> Any:
        yield data
        yield data + step

    def letters(data: Any) -> Any:
        yield from "ab"

    for provider, data, expected in (
        (flow_of, "x", {"got": "x"}), (numbers, 1, [1, 3]), (letters, 1, ["a", "b"]),
        (served().create_execution(), "x", {"got": "x"}),
    ):  # fmt: skip
        web = client(provider, response_warper=lambda it: {"mine": it})
        assert web.post("/post", json={"data": data, "options": {"step": 2, "other": 3}}).json() == {"mine": expected}
    assert client(numbers).get("/sse", params=payload(1)).text.count("data: ") == 2
    body = client(lambda data: data).post("/post", json={"data": 1}).json()
    assert (body["status"], body["error"]["type"]) == (400, "TypeError")


def test_what_a_stranger_may_decide_of_an_agent_is_little() -> None:
    with answering('{"x": "hi"}') as (model, agent):
        web = client(agent.system("mine", always=True).output({"x": (str, "the word")}, always=True))
        for slot in ("system", "output", "options", "attachment", "zzz"):
            assert web.post("/post", json={"data": {"input": "q", slot: {}}}).json()["status"] == 400
        assert model.requests == []
        body = {"data": {"input": "q"}, "options": {"ensure_keys": ["y"], "max_retries": 50}}
        assert web.post("/post", json=body).json()["status"] == 422
        assert len(model.requests) == 4
        assert web.get("/sse", params=payload({"input": "q"}, type="delta", unknown=1)).text.count("data: ") == 3


def test_requests_to_one_agent_do_not_hear_of_each_other() -> None:
    with answering() as (model, agent):
        web = client(agent.instruct("N1"))
        for number in (1, 2):
            web.post("/post", json={"data": {"input": {f"Q{number}": number}}})
    texts = [json.dumps(it["messages"]) for it in model.requests]
    assert [("N1" in it, "Q1" in it, "Q2" in it) for it in texts] == [(True, True, False), (True, False, True)]
