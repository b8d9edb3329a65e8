"""`OpenAIProvider(api="responses")` against a server that speaks OpenAI's Responses API."""

import json
from typing import Any

import pytest

from tests.models import dialects
from tests.models.instant_support import pieces
from tests.models.sse_server import CUT, HANG, Reply, provider
from triggerflow.models import InvalidRequestError, RefusalError, Request, StallError, TruncatedResponseError
from triggerflow.models.openai import OpenAIProvider

pytestmark = pytest.mark.real_time

VALUE = {"title": "太阳帆", "queries": ["thrust", "pressure"]}
PIECES = pieces(json.dumps(VALUE, ensure_ascii=False), 5)
REQUEST = (
    Request()
    .system("You plan.")
    .history([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    .input("Solar sails")
    .output({"title": (str, "the title"), "queries": [str]})
)


def answer(pieces: list[str] = PIECES) -> Reply:
    return Reply(dialects.responses(pieces), named=True)


async def ask(url: str, request: Request = REQUEST, structured: Any = "json_schema", **options: Any) -> Any:
    model = OpenAIProvider("m", base_url=url, api_key="k", api="responses", structured=structured, temperature=0)
    try:
        return await request.get_response(model, **options).async_get_data(type="all")
    finally:
        await model.aclose()


async def test_an_answer_and_what_was_sent() -> None:
    async with provider(answer()) as server:
        whole = await ask(server.url)
    assert whole["data"] == VALUE
    meta = whole["meta"]
    assert (meta["id"], meta["model"], meta["finish_reason"]) == ("c1", "m", "stop")
    assert (meta["usage"]["prompt_tokens"], meta["usage"]["completion_tokens"]) == (5, 7)
    (sent,) = server.requests
    assert "/responses HTTP" in server.heads[0]
    assert (sent["stream"], sent["temperature"], sent["model"]) == (True, 0, "m")
    assert [message["role"] for message in sent["input"]] == ["system", "user", "assistant", "user"]
    assert '"title": <str>,  // the title' in sent["input"][-1]["content"]
    format = sent["text"]["format"]
    assert (format["type"], format["name"], format["strict"]) == ("json_schema", "answer", True)
    assert format["schema"]["required"] == ["title", "queries"]
    assert not {"messages", "response_format", "stream_options"} & set(sent)


@pytest.mark.parametrize(("structured", "format"), [("json_object", {"type": "json_object"}), ("prompt", None)])
async def test_other_formats(structured: Any, format: Any) -> None:
    async with provider(answer()) as server:
        assert (await ask(server.url, structured=structured))["data"] == VALUE
    assert server.requests[0].get("text", {}).get("format") == format


async def test_images_and_files_in_the_parts_of_the_other_api() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,xyz", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x/y.png"},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "input_image", "file_id": "f2"},
    ]
    async with provider(answer()) as server:
        assert (await ask(server.url, Request().input("What is it?").attach(parts)))["text"] == "".join(PIECES)
    assert server.requests[0]["input"][0]["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "data:image/png;base64,xyz", "detail": "low"},
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
        {"type": "input_file", "file_id": "f1"},
        {"type": "input_image", "file_id": "f2"},
    ]


async def test_an_answer_that_does_not_fit_is_asked_for_again_with_the_reason() -> None:
    async with provider(answer(['{"title": 5}']), answer()) as server:
        assert (await ask(server.url))["data"] == VALUE
    said = server.requests[1]["input"]
    assert [message["role"] for message in said[-2:]] == ["assistant", "user"]
    assert said[-2]["content"] == '{"title": 5}'


def ended(kind: str, **fields: Any) -> Reply:
    *events, completed = dialects.responses(PIECES[:3])
    events = [event for event in events if "done" not in event["type"]]
    status = kind.removeprefix("response.")
    last = {**completed, "type": kind, "response": {**completed["response"], "status": status, "output": [], **fields}}
    return Reply([*events, last], named=True)


async def test_how_an_answer_may_end() -> None:
    limit = ended("response.incomplete", incomplete_details={"reason": "max_output_tokens"})
    filtered = ended("response.incomplete", incomplete_details={"reason": "content_filter"})
    failed = ended("response.failed", error={"code": "server_error", "message": "told"})
    for reply, reason in ((limit, "length"), (filtered, "content_filter"), (failed, "error")):
        async with provider(reply) as server:
            with pytest.raises(TruncatedResponseError) as caught:
                await ask(server.url)
        assert caught.value.finish_reason == reason
    async with provider(Reply([*dialects.responses(PIECES)[:6], CUT], named=True)) as server:
        with pytest.raises(TruncatedResponseError):
            await ask(server.url)


async def test_a_refusal() -> None:
    events = dialects.responses(["x"])
    at = {"item_id": "i1", "output_index": 0, "content_index": 0}
    refusal = [
        {"type": "response.refusal.delta", **at, "delta": "I cannot help with that."},
        {"type": "response.refusal.done", **at, "refusal": "I cannot help with that."},
    ]
    completed = {**events[-1], "response": {**events[-1]["response"], "output": []}}
    reply = Reply([*events[:3], *refusal, completed], named=True)
    async with provider(reply) as server:
        with pytest.raises(RefusalError, match="cannot help"):
            await ask(server.url)


async def test_a_whole_response_and_a_web_page_and_silence() -> None:
    whole = dialects.responses(PIECES)[-1]["response"]
    json_body = Reply([json.dumps(whole).encode()], headers={"content-type": "application/json"})
    async with provider(json_body, Reply([b"<html>"]), Reply([HANG])) as server:
        assert (await ask(server.url))["data"] == VALUE
        with pytest.raises(InvalidRequestError, match=r"a web page.*…/v1"):
            await ask(server.url)
        with pytest.raises(StallError):
            await ask(server.url, stall_timeout=0.5, max_retries=0)
