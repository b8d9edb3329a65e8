"""The chat history, the options of requests, and the reading of answers. Comments quote Agently 4.0.9."""

import asyncio
import json
from typing import Any

import pytest

from tests.bridge.model_server import answering
from triggerflow.errors import BlockingCallError

pytestmark = pytest.mark.real_time


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def model(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


CONTINUE = model("[User continue input]")
Q = user("q")


def _said(agent: Any, server: Any) -> list[dict[str, Any]]:
    agent.input("q").start()
    return server.requests[-1]["messages"]


def test_the_history_of_an_agent_comes_before_each_request() -> None:
    with answering() as (server, agent):
        agent.system("S").set_agent_prompt("chat_history", [user("hi"), model("yo")])
        for _ in range(2):
            agent.input("q").start()
        said = server.requests[-1]["messages"]
        assert server.requests[0]["messages"][1:] == said == [user("hi"), model("yo"), Q]


def test_a_system_prompt_stands_before_the_history() -> None:
    with answering() as (server, agent):
        agent.set_agent_prompt("system", "S").set_agent_prompt("chat_history", [user("hi"), model("yo")])
        assert _said(agent, server) == [{"role": "system", "content": "S"}, user("hi"), model("yo"), Q]


@pytest.mark.parametrize(
    ("said", "messages"),
    [(user("hi"), [user("hi")]), ("hi", [user("hi")]), (["hi"], [user("hi")]), ([{"content": "hi"}], [user("hi")]),
     ((user("hi"),), [user("hi")])],
)  # fmt: skip
def test_forms_of_a_history(said: Any, messages: list[Any]) -> None:
    for put in ("set_agent_prompt", "set_chat_history", "add_chat_history"):
        with answering() as (server, agent):
            getattr(agent, put)(*(["chat_history"] if put == "set_agent_prompt" else []), said)
            assert _said(agent, server) == [*messages, CONTINUE, Q]


def test_a_second_set_agent_prompt_adds_and_does_not_repeat() -> None:
    with answering() as (server, agent):
        agent.set_agent_prompt("chat_history", [user("hi")])
        agent.set_agent_prompt("chat_history", [model("yo")])
        assert _said(agent, server) == [user("hi"), model("yo"), Q]
        agent.set_agent_prompt("chat_history", [user("hi"), model("yo"), user("more"), model("yo")])
        # 4.0.9 drops the second "yo" here, a message of the conversation
        assert _said(agent, server) == [user("hi"), model("yo"), user("more"), model("yo"), Q]
        agent.set_agent_prompt("chat_history", [user("more"), model("end")])
        assert _said(agent, server)[-3:] == [user("more"), model("end"), Q]
        agent.set_agent_prompt("chat_history", [user("more"), model("end"), user("more"), model("more of it")])
        assert _said(agent, server)[-5:] == [user("more"), model("end"), user("more"), model("more of it"), Q]


def test_messages_that_are_said_twice_are_no_repetition() -> None:
    with answering() as (server, agent):
        agent.set_agent_prompt("chat_history", [user("yes"), model("sure?")])
        agent.set_agent_prompt("chat_history", [user("yes"), model("done")])
        assert _said(agent, server) == [user("yes"), model("sure?"), user("yes"), model("done"), Q]
        agent.set_request_prompt(
            "chat_history", [user("yes"), model("sure?"), user("yes"), model("done"), user("yes"), model("again")]
        )
        assert _said(agent, server)[-3:] == [user("yes"), model("again"), Q]
        assert len(server.requests[-1]["messages"]) == 7


def test_set_add_reset() -> None:
    with answering() as (server, agent):
        agent.set_chat_history([user("1"), model("2")]).add_chat_history(user("1")).add_chat_history([model("2")])
        assert _said(agent, server) == [user("1"), model("2"), user("1"), model("2"), Q]
        agent.set_chat_history([user("new"), model("n")])
        assert _said(agent, server) == [user("new"), model("n"), Q]
        assert _said(agent.reset_chat_history(), server) == [Q]


def test_the_history_of_one_request_comes_first() -> None:
    with answering() as (server, agent):
        agent.set_agent_prompt("chat_history", [user("hi"), model("yo")])
        agent.set_request_prompt("chat_history", [user("r"), model("r2")])
        assert _said(agent, server) == [user("r"), model("r2"), user("hi"), model("yo"), Q]  # as in 4.0.9
        assert _said(agent, server) == [user("hi"), model("yo"), Q]
        request = agent.create_request()
        assert _said(request, server) == [user("hi"), model("yo"), Q]


def test_roles_take_turns_unless_the_setting_says_otherwise() -> None:
    said = [model("a"), model("b"), {"role": "tool", "content": "t"}, user("c")]
    with answering() as (server, agent):
        agent.set_chat_history(said)
        assert _said(agent, server) == [user("[CHAT HISTORY]"), model("a\n\nb\n\nt"), user("c"), CONTINUE, Q]
    with answering(strict_role_orders=False) as (server, agent):
        agent.set_chat_history(said)
        assert _said(agent, server) == [model("a"), model("b"), model("t"), user("c"), Q]


def test_parts_of_messages() -> None:
    text, image = {"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "http://x/i.png"}}
    said = [user([text, image]), model("b")]
    with answering(rich_content=True) as (server, agent):
        agent.set_chat_history(said)
        assert _said(agent, server) == [user([text, image]), model([{"type": "text", "text": "b"}]), Q]
    with answering() as (server, agent):
        agent.set_chat_history(said)
        with pytest.warns(UserWarning, match="image_url"):
            assert _said(agent, server) == [user("t"), model("b"), Q]


def test_mappings_and_removal() -> None:
    with answering() as (server, agent):
        agent.set_agent_prompt("chat_history", [user("hi ${n}"), model("b")], {"n": "Ada"}).set_agent_prompt(
            "info", "i"
        )
        assert _said(agent, server)[0] == user("hi Ada")
        agent.remove_agent_prompt("chat_history").remove_agent_prompt("info")
        agent.set_request_prompt("instruct", "x").remove_request_prompt("instruct").remove_request_prompt("examples")
        assert _said(agent, server) == [Q]


def test_a_history_alone_is_no_request() -> None:
    with answering() as (server, agent), pytest.raises(KeyError, match="at least one of 'input'"):
        agent.set_chat_history([user("hi")]).start()
    assert server.requests == []


def _without_messages(server: Any) -> dict[str, Any]:
    return {name: it for name, it in server.requests[-1].items() if name not in ("messages", "stream_options")}


def test_options_that_the_sdk_does_not_know_go_into_the_body() -> None:
    # 4.0.9 sends every option as a key of the body
    with answering(request_options={"top_k": 1, "min_p": 0.5}, auth={"api_key": "k", "body": {"q": 1}}) as (
        server,
        agent,
    ):
        options = {"top_k": 3, "temperature": 0.5, "chat_template_kwargs": {"x": 1}, "url": "u", "base_url": "b"}
        agent.options(options).input("q").start()
        sent = {**options, "min_p": 0.5, "q": 1, "model": "m", "stream": True}
        assert _without_messages(server) == sent
        agent.input("q").start()
        assert _without_messages(server) == {"top_k": 1, "min_p": 0.5, "q": 1, "model": "m", "stream": True}


def test_extra_body_and_headers_of_options() -> None:
    with answering(headers={"x-a": "1"}, auth={"headers": {"x-b": "2"}}) as (server, agent):
        agent.options({"extra_body": {"z": 1}, "extra_headers": {"x-c": "3"}, "top_k": 3}).input("q").start()
        assert _without_messages(server) == {"z": 1, "top_k": 3, "model": "m", "stream": True}
        assert [server.headers[-1][name] for name in ("x-a", "x-b", "x-c")] == ["1", "2", "3"]


def test_the_model_and_the_stream_are_no_options() -> None:
    # 4.0.9: {"model": "other"} leaves the model of the settings, {"stream": False} streams all the same
    with answering() as (server, agent):
        assert agent.options({"model": "other", "messages": [], "stream": False}).input("q").start() == "hello world"
        assert _without_messages(server) == {"model": "m", "stream": True}
        assert server.requests[-1]["messages"] == [Q]


def test_streaming_print(capsys: pytest.CaptureFixture[str]) -> None:
    with answering() as (server, agent):
        assert agent.input("q").streaming_print() is None
        assert capsys.readouterr().out == "\nhello world\n"
        assert asyncio.run(agent.input("q").async_streaming_print()) is None
        assert (capsys.readouterr().out, len(server.requests)) == ("\nhello world\n", 2)
        assert agent.input("q").create_request().input("q").streaming_print() is None


async def test_sync_reads_of_an_answer_that_has_ended_work_in_a_loop() -> None:
    with answering('{"a": "x"}') as (server, agent):
        response = agent.input("q").output({"a": (str, "d")}).get_response()
        with pytest.raises(BlockingCallError, match="async_get_data"):
            response.get_data()
        await response.async_get_data()
        assert (response.get_data(), response.get_text()) == ({"a": "x"}, '{"a": "x"}')
        assert (response.get_data_object().a, response.get_meta()["finish_reason"]) == ("x", "stop")
        assert "".join(response.get_generator()) == '{"a": "x"}'
        assert [it.path for it in response.get_generator(type="instant")][-1] == "a"
        assert response.get_data(type="all")["parsed_result"] == {"a": "x"}
        assert response.get_data(ensure_keys=["a"]) == {"a": "x"}
        with pytest.raises(BlockingCallError):  # this has to ask the model again
            response.get_data(ensure_keys=["b"])
        assert len(server.requests) == 1
        for _ in response.get_generator():
            break  # leaves early


def test_an_answer_that_has_ended_is_read_after_its_loop() -> None:
    with answering() as (_, agent):

        async def ask() -> Any:
            response = agent.input("q").get_response()
            await response.async_get_text()
            return response

        response = asyncio.run(ask())
        assert (response.get_text(), "".join(response.get_generator())) == ("hello world", "hello world")


async def test_sync_reads_of_a_failed_answer_raise_its_error() -> None:
    with answering(status=500) as (_, agent):
        response = agent.input("q").get_response()
        with pytest.raises(Exception, match="nope"):
            await response.async_get_text()
        for read in (response.get_text, response.get_data, response.get_meta, lambda: list(response.get_generator())):
            with pytest.raises(Exception, match="nope"):
                read()


async def test_full_data_is_what_was_known_at_the_event() -> None:
    text = '{"a": "hello world", "l": [{"x": 1, "s": "two"}, {}, null], "e": []}'
    with answering(text) as (_, agent):
        response = agent.input("q").output({"a": (str,), "l": [], "e": []}).get_response()
        items = [(it, json.dumps(it.full_data)) async for it in response.get_async_generator(type="instant")]
    assert [json.dumps(it.full_data) for it, _ in items] == [then for _, then in items]  # it does not change later
    first = {it.path: then for it, then in reversed(items)}
    assert first["a"] == '{"a": "h"}'
    assert first["l[0].x"] == '{"a": "hello world", "l": [{"x": 1}]}'
    assert first["l[1]"] == '{"a": "hello world", "l": [{"x": 1, "s": "two"}, {}]}'
    assert items[-1][1] == json.dumps(json.loads(text))
    assert all(json.loads(then) for _, then in items)


async def test_full_data_begins_again_with_another_attempt() -> None:
    with answering('{"a": "one", "b": 1}', '{"b": 2, "a": 3}') as (_, agent):
        response = agent.input("q").output({"a": (int,), "b": (int,)}).get_response()
        shown = [it.full_data async for it in response.get_async_generator(type="instant")]
    assert shown[-2:] == [{"b": 2}, {"b": 2, "a": 3}]


async def test_full_data_of_a_list() -> None:
    with answering("[1, 2]") as (_, agent):
        response = agent.input("q").output([int]).get_response()
        assert [it.full_data async for it in response.get_async_generator(type="instant")] == [[1], [1, 2]]
