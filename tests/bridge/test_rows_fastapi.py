"""The web service, row by row: every kind of provider, body, status and description. Needs FastAPI."""

import json
from typing import Any

import pytest
from agently import Agently, TriggerFlow
from pydantic import BaseModel

pytest.importorskip("fastapi")

from fastapi import Depends, HTTPException
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from tests.bridge.model_server import answering

Flow = TriggerFlow[Any, Any, Any]
MALFORMED = "Invalid request payload, expected JSON object with keys 'data' and 'options'. Error: "


class Question(BaseModel):
    q: str
    n: int = 1


class Answer(BaseModel):
    r: str


def served() -> Flow:
    flow = Flow(name="F")

    async def work(data: Any) -> Any:
        await data.async_put_into_stream({"p": data.value})
        if data.value == "boom":
            raise RuntimeError("boom")
        return {"got": data.value}

    flow.to(work).end()
    return flow


def typed(**contract: Any) -> Flow:
    flow = Flow(name="typed")
    flow.set_contract(**contract)

    async def work(data: Any) -> Any:
        await data.async_put_into_stream("s")
        return {"r": str(data.value)}

    flow.to(work).end()
    return flow


def client(provider: Any, **options: Any) -> Any:
    from agently.integrations.fastapi import FastAPIHelper

    app = FastAPIHelper(response_provider=provider, **options)
    app.use_post("/post").use_get("/get").use_sse("/sse").use_websocket("/ws")
    return TestClient(app, raise_server_exceptions=False)


def payload(data: Any, **options: Any) -> dict[str, str]:
    return {"payload": json.dumps({"data": data, "options": options})}


def post(provider: Any, data: Any, *, response_warper: Any = None, **options: Any) -> Any:
    web = client(provider, response_warper=response_warper)
    return web.post("/post", json={"data": data, "options": options}).json()


def sse(provider: Any, data: Any, *, response_warper: Any = None, **options: Any) -> list[tuple[str, Any]]:
    """The events: name and data."""
    text = client(provider, response_warper=response_warper).get("/sse", params=payload(data, **options)).text
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [(it.get("event", ""), json.loads(it["data"])) for it in events]


def good(*items: Any) -> list[tuple[str, Any]]:
    return [("", {"status": 200, "data": item, "msg": None}) for item in items]


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "where"),
    [({"options": {}}, ["body", "data"]), ([1], ["body"]), ({"data": 1, "options": None}, ["body", "options"])],
)
def test_a_body_that_does_not_fit_is_refused(body: Any, where: list[str]) -> None:
    answer = client(served()).post("/post", json=body)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, where)


def test_bodies_that_fit() -> None:
    web = client(served())
    for body, got in (({"data": None}, None), ({"data": 1, "more": 2}, 1), ({"data": {"a": [1]}}, {"a": [1]})):
        answer = web.post("/post", json=body)
        assert (answer.status_code, answer.json()) == (200, {"status": 200, "data": {"got": got}, "msg": None})
    assert web.post("/post", content="{bad", headers={"content-type": "application/json"}).status_code == 422
    assert web.post("/sse", json={"data": 1}).status_code == 405
    assert web.get("/get").json()["detail"][0]["loc"] == ["query", "payload"]
    assert web.get("/sse").status_code == 422
    assert web.get("/get", params={"payload": '{"data": 5}'}).json()["data"] == {"got": 5}


@pytest.mark.parametrize("text", ["{bad", "[1]", "{}", '{"data": 5, "options": 5}'])
def test_a_payload_that_does_not_fit_is_told_in_the_answer(text: str) -> None:
    web = client(served())
    answer = web.get("/get", params={"payload": text})
    assert (answer.status_code, answer.json()["status"], answer.json()["data"]) == (200, 422, None)
    assert answer.json()["msg"].startswith(MALFORMED)
    assert answer.json()["error"]["type"] == "ValueError"
    assert web.get("/sse", params={"payload": text}).text.startswith('event: error\ndata: {"status": 422')
    with web.websocket_connect("/ws") as socket:
        socket.send_text(text)
        assert socket.receive_json()["status"] == 422
        socket.send_json({"data": "x"})
        assert socket.receive_json()["data"] == {"p": "x"}  # the connection lives on


def test_events_are_written_in_utf_8() -> None:
    answer = client(served()).get("/sse", params=payload("名"))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "名" in answer.text


# -- errors ------------------------------------------------------------------------------------------------------------


def wrapped(raised: Any) -> Any:
    """An error as the default wrapper tells it."""
    from agently.integrations.fastapi import FastAPIHelper

    try:
        raised()
    except Exception as error:
        return FastAPIHelper(response_provider=served()).response_warper(error)


def raising(error: BaseException, cause: Any = ...) -> Any:
    def inner() -> None:
        try:
            raise ZeroDivisionError("zero")
        except ZeroDivisionError as zero:
            if cause is ...:
                raise error  # noqa: B904 - the context is what is looked at
            raise error from (zero if cause == "zero" else None)

    return inner


@pytest.mark.parametrize(
    ("error", "status", "kind", "args"),
    [
        (KeyError("k", 1), 400, "KeyError", ["k", "1"]),
        (UnicodeDecodeError("utf8", b"a", 0, 1, "r"), 422, "UnicodeDecodeError", ["utf8", "b'a'", "0", "1", "r"]),
        (TimeoutError(), 504, "TimeoutError", []),
        (PermissionError("p"), 400, "PermissionError", ["p"]),
    ],
)
def test_an_error_is_told_with_its_class_and_arguments(error: Exception, status: int, kind: str, args: Any) -> None:
    told = wrapped(raising(error, None))
    assert (told["status"], told["data"], told["msg"]) == (status, None, str(error))
    assert (told["error"]["type"], told["error"]["module"], told["error"]["message"]) == (kind, "builtins", str(error))
    assert [str(it) for it in told["error"]["args"]] == args
    assert set(told["error"]) == {"type", "module", "message", "args"}


def test_an_error_is_told_with_what_it_came_from() -> None:
    zero = {"type": "ZeroDivisionError", "message": "zero"}
    assert wrapped(raising(ValueError("v"), "zero"))["error"]["cause"] == zero
    assert wrapped(raising(ValueError("v")))["error"]["context"] == zero


def test_a_broken_contract_is_a_value_error() -> None:
    body = client(typed(initial_input=int)).get("/get", params=payload("x")).json()
    assert (body["status"], body["error"]["type"], body["error"]["module"]) == (422, "ValueError", "builtins")


def test_a_broken_contract_is_refused_before_the_run_in_a_post_and_told_elsewhere() -> None:
    web = client(typed(initial_input=Question, stream=str, result=Answer))
    assert web.post("/post", json={"data": {"z": 1}}).json()["detail"][0]["loc"] == ["body", "data", "q"]
    assert web.get("/sse", params=payload({"z": 1})).text.startswith('event: error\ndata: {"status": 422')
    assert web.get("/get", params=payload({"z": 1})).json()["msg"].startswith("TriggerFlow contract validation failed")
    assert web.post("/post", json={"data": {"q": "a"}}).json()["data"]["r"].startswith("q='a'")
    assert web.get("/sse", params=payload({"q": "a"})).text.count("data: ") == 1


# -- providers ---------------------------------------------------------------------------------------------------------


def numbers(data: Any, step: int = 1) -> Any:
    yield data
    yield data + step


async def numbers_later(data: Any, step: int = 1) -> Any:
    yield data
    yield data + step


def gives_a_generator(data: Any) -> Any:
    return numbers(data)


def gives_an_async_generator(data: Any) -> Any:
    return numbers_later(data)


class Callable:
    def __call__(self, data: Any) -> Any:
        yield data
        yield data + 1


@pytest.mark.parametrize("provider", [numbers, numbers_later, gives_a_generator, gives_an_async_generator, Callable()])
def test_generators_of_all_kinds(provider: Any) -> None:
    assert post(provider, 1, step=1, unknown=2) == {"status": 200, "data": [1, 2], "msg": None}
    assert sse(provider, 1) == good(1, 2)
    with client(provider).websocket_connect("/ws") as socket:
        for data in (1, 5):
            socket.send_json({"data": data})
            assert [socket.receive_json()["data"] for _ in range(2)] == [data, data + 1]


def test_options_are_parameters() -> None:
    def all_of_them(data: Any, **options: Any) -> Any:
        yield options

    assert post(numbers, 1, step=5)["data"] == [1, 6]
    assert post(all_of_them, 1, a=1, b=[2])["data"] == [{"a": 1, "b": [2]}]


def test_what_a_generator_yields_becomes_json() -> None:
    async def items(data: Any) -> Any:
        yield Answer(r="x")
        yield None

    assert post(items, 1)["data"] == [{"r": "x"}, None]
    assert sse(items, 1) == good({"r": "x"}, None)


def test_a_generator_that_fails() -> None:
    def fails(data: Any) -> Any:
        yield 1
        raise ValueError("late")

    body = post(fails, 1)
    assert (body["status"], body["data"], body["msg"]) == (422, None, "late")
    first, last = sse(fails, 1)
    assert (first, last[0], last[1]["msg"]) == (good(1)[0], "error", "late")


@pytest.mark.parametrize("provider", [lambda data: data, lambda data: {"r": data}, 5, None])
def test_what_is_no_provider(provider: Any) -> None:
    body = post(provider, "q")
    assert (body["status"], body["error"]["type"]) == (400, "TypeError")
    ((name, body),) = sse(provider, "q")
    assert (name, body["status"], body["error"]["type"]) == ("error", 400, "TypeError")


def test_an_execution_runs_once() -> None:
    with client(served().create_execution()).websocket_connect("/ws") as socket:
        for data in ("x", "y"):
            socket.send_json({"data": data})
            assert socket.receive_json()["data"] == {"p": "x"}


def test_what_a_stranger_may_decide_is_little() -> None:
    for provider in (served(), served().create_execution()):
        assert post(provider, "x", timeout=5, concurrency=1, runtime_resources={"a": 1})["data"] == {"got": "x"}


# -- wrappers ----------------------------------------------------------------------------------------------------------


def test_wrappers_give_anything() -> None:
    for wrapper, body in (
        (str, "[1, 2]"), (lambda it: None, None), (lambda it: Answer(r="x"), {"r": "x"}),
        (lambda it: {"mine": it}, {"mine": [1, 2]}),
    ):  # fmt: skip
        assert post(numbers, 1, response_warper=wrapper) == body
    assert sse(numbers, 1, response_warper=lambda it: Answer(r=str(it))) == [("", {"r": "1"}), ("", {"r": "2"})]
    assert sse(numbers, 1, response_warper=lambda it: "a\nb") == [("", "a\nb")] * 2
    assert post(5, 1, response_warper=lambda it: type(it).__name__) == "TypeError"


def test_a_wrapper_that_fails_is_a_fault_of_the_server() -> None:
    def fails(answer: Any) -> Any:
        raise LookupError("wrapper")

    assert client(numbers, response_warper=fails).post("/post", json={"data": 1}).status_code == 500


def test_a_wrapper_may_give_a_response() -> None:
    web = client(numbers, response_warper=lambda it: PlainTextResponse("mine", status_code=201))
    answer = web.post("/post", json={"data": 1})
    assert (answer.status_code, answer.text) == (201, "mine")


# -- routes and their description --------------------------------------------------------------------------------------


def test_routes_have_names_and_dependencies() -> None:
    from agently.integrations.fastapi import FastAPIHelper

    def deny() -> None:
        raise HTTPException(403, "no")

    guard = [Depends(deny)]
    app = FastAPIHelper(response_provider=numbers, title="T", version="9")
    app.use_post("/p", "post-name", dependencies=guard).use_get("/g", name="get-name", dependencies=guard)
    app.use_sse("/s", "sse-name", dependencies=guard).use_websocket("/w", "ws-name", dependencies=guard)
    web = TestClient(app)
    assert web.post("/p", json={"data": 1}).status_code == 403
    assert [web.get(path, params=payload(1)).status_code for path in ("/g", "/s")] == [403, 403]
    with pytest.raises(WebSocketDenialResponse), web.websocket_connect("/w"):
        pass
    names = {"post-name": "/p", "get-name": "/g", "sse-name": "/s", "ws-name": "/w"}
    assert {name: str(app.url_path_for(name)) for name in names} == names
    described = app.openapi()
    assert (described["info"]["title"], described["info"]["version"]) == ("T", "9")
    assert sorted(described["paths"]) == ["/g", "/p", "/s"]
    assert "x-agently-triggerflow-contract" not in described["paths"]["/p"]["post"]


def described(provider: Any) -> dict[str, Any]:
    found: dict[str, Any] = client(provider).app.openapi()
    return found


@pytest.mark.parametrize("execution", [False, True])
def test_the_contract_is_described_at_every_route(execution: bool) -> None:
    flow = typed(initial_input=Question, stream=str, result=Answer, meta={"v": 1})
    found = described(flow.create_execution() if execution else flow)
    for path, method in (("/post", "post"), ("/get", "get"), ("/sse", "get")):
        told = found["paths"][path][method]["x-agently-triggerflow-contract"]
        assert set(told) == {"initial_input", "stream", "result", "meta", "system_stream"}
        assert (told["initial_input"]["label"], told["result"]["label"], told["meta"]) == (
            "Question",
            "Answer",
            {"v": 1},
        )
    assert "Question" in found["components"]["schemas"]


@pytest.mark.parametrize(
    ("contract", "keys"),
    [
        ({"initial_input": Question}, {"initial_input", "system_stream"}),
        ({"meta": {"v": 1}}, {"meta", "system_stream"}),
    ],
)
def test_a_contract_says_only_what_is_promised(contract: Any, keys: set[str]) -> None:
    told = described(typed(**contract))["paths"]["/post"]["post"]["x-agently-triggerflow-contract"]
    assert {key for key, it in told.items() if it} == keys


def test_the_answer_is_described() -> None:
    found = described(typed(result=Answer))
    schemas = found["components"]["schemas"]
    for path, method in (("/post", "post"), ("/get", "get")):
        answer = found["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        model = schemas[answer["$ref"].rsplit("/", 1)[-1]]
        assert (set(model["properties"]), model["required"]) == ({"status", "data", "msg", "error"}, ["status"])
        assert {"$ref": "#/components/schemas/Answer"} in model["properties"]["data"]["anyOf"]


# -- agents ------------------------------------------------------------------------------------------------------------


def test_an_agent_answers_what_the_slots_say() -> None:
    with answering() as (model, agent):
        for body in (post(agent, {"input": "q1", "info": "the facts"}), post(agent, {"input": "q2"})):
            assert body == {"status": 200, "data": "hello world", "msg": None}
        assert client(agent).get("/get", params=payload({"input": "q"})).json()["data"] == "hello world"
    first, second = (json.dumps(it["messages"]) for it in model.requests[:2])
    assert ("q1" in first, "the facts" in first, "q2" in second, "the facts" in second) == (True, True, True, False)


def test_an_agent_is_streamed_piece_by_piece() -> None:
    with answering() as (_, agent):
        assert sse(agent, {"input": "q"}) == good("hell", "o wo", "rld")
        with client(agent).websocket_connect("/ws") as socket:
            socket.send_json({"data": {"input": "q"}})
            assert [socket.receive_json()["data"] for _ in range(3)] == ["hell", "o wo", "rld"]


def test_the_presets_of_an_agent_hold_and_data_comes_parsed() -> None:
    with answering('{"x": "hi"}') as (model, agent):
        agent.instruct("Do it", always=True).output({"x": (str, "the word")}, always=True)
        assert post(agent, {"input": "q"})["data"] == {"x": "hi"}
        items = [body["data"] for _, body in sse(agent, {"input": "q"}, type="instant")]
    assert "Do it" in json.dumps(model.requests[0]["messages"])
    done = [it for it in items if it["path"] == "x" and it["is_complete"]]
    assert [(it["value"], it["event_type"], it["wildcard_path"]) for it in done] == [("hi", "done", "x")]


def test_options_of_a_post_are_those_of_get_data() -> None:
    with answering('{"x": "hi"}') as (model, agent):
        agent.output({"x": (str, "the word")}, always=True)
        body = post(agent, {"input": "q"}, ensure_keys=["y"], max_retries=1)
        assert (body["status"], body["error"]["message"]) == (422, body["msg"])
        assert len(model.requests) == 2


def test_data_for_an_agent_is_a_dictionary_of_slots() -> None:
    with answering() as (model, agent):
        for data in ("q", None):
            body = post(agent, data)
            assert (body["status"], body["error"]["type"]) == (400, "TypeError")
            assert "expect prompt configures as a dictionary" in body["msg"]
    assert model.requests == []


def test_a_model_that_fails_is_told() -> None:
    with answering(status=400) as (_, agent):
        assert post(agent, {"input": "q"})["status"] == 400
        ((name, body),) = sse(agent, {"input": "q"})
        assert (name, body["status"]) == ("error", 400)


def test_a_model_request_is_a_provider() -> None:
    with answering() as (model, _):
        request: Any = Agently.create_request()
        request.set_settings("OpenAICompatible", model.settings)
        request.instruct("Do it")
        assert post(request, {"input": "q"})["data"] == "hello world"
    assert "Do it" in json.dumps(model.requests[0]["messages"])
