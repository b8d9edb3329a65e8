"""Agents and their settings, row by row, against a model on the loopback interface."""

import json
from pathlib import Path
from typing import Any

import pytest
from agently import Agently, TriggerFlow

from tests.bridge.model_server import answering

DATA = {"a": "xy", "b": [1, 2]}
TEXT = '{"a":"xy","b":[1,2]}'
OUTPUT = {"a": (str, "a word"), "b": [(int, "numbers")]}


def said(request: dict[str, Any]) -> str:
    return json.dumps(request["messages"])


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_the_slots_are_chained_and_sent() -> None:
    with answering() as (model, agent):
        assert agent.rule("L1") is agent
        agent.info({"i": "I1"}).instruct("N1").input("Q1").options({"temperature": 0.5})
        assert agent.start() == "hello world"
        assert agent.input("Q2").start() == "hello world"
    first, second = model.requests
    assert [part for part in ("L1", "I1", "N1", "Q1") if part not in said(first)] == []
    assert [part for part in ("L1", "I1", "N1", "Q1") if part in said(second)] == []
    assert (first["temperature"], "temperature" in second, "Q2" in said(second)) == (0.5, False, True)
    assert [it["role"] for it in first["messages"]] == ["system", "user"]
    assert (first["model"], first["stream"], model.paths[0]) == ("m", True, "/v1/chat/completions")


def test_a_lone_input_is_the_message() -> None:
    with answering() as (model, agent):
        agent.input("just this").start()
    assert model.requests[0]["messages"] == [{"role": "user", "content": "just this"}]


def test_what_is_always_said_stays() -> None:
    with answering() as (model, agent):
        agent.instruct("N1", always=True).options({"temperature": 0.5}, always=True)
        for number in (1, 2):
            agent.input(f"Q{number}").start()
    assert [("N1" in said(it), it["temperature"]) for it in model.requests] == [(True, 0.5)] * 2


def test_the_second_word_replaces_the_first_and_dictionaries_are_merged() -> None:
    with answering() as (model, agent):
        agent.input("Q1").input("Q2").info({"a": "I1"}).info({"b": "I2"}).instruct("N1").instruct("N2").start()
    text = said(model.requests[0])
    assert [it in text for it in ("Q1", "Q2", "I1", "I2", "N1", "N2")] == [False, True, True, True, False, True]


def test_an_output_is_described_with_types_and_comments() -> None:
    with answering(TEXT) as (model, agent):
        assert agent.input("Q").output(OUTPUT).start() == DATA
    text = model.requests[0]["messages"][-1]["content"]
    for part in ("[OUTPUT REQUIREMENT]", '"a": <str>', "// a word", '"b": [', "<int>"):
        assert part in text


def test_what_is_known_of_the_user_is_in_the_system_message() -> None:
    with answering() as (model, agent):
        agent.user_info("U1").input("Q").start()
    first = model.requests[0]["messages"][0]
    assert ("U1" in first["content"], first["role"]) == (True, "system")


def test_placeholders_are_filled() -> None:
    with answering() as (model, agent):
        agent.input("hello ${name}", mappings={"name": "Ada"}).start()
    assert model.requests[0]["messages"][0]["content"] == "hello Ada"


def test_attachments_are_parts_of_the_message() -> None:
    with answering() as (model, agent):
        agent.attachment([{"type": "text", "text": "T1"}]).input("Q1").start()
    parts = model.requests[0]["messages"][-1]["content"]
    assert ([it["type"] for it in parts], "Q1" in parts[0]["text"], parts[1]["text"]) == (["text"] * 2, True, "T1")


def test_slots_can_be_set_by_name_and_read_as_text() -> None:
    agent: Any = Agently.create_agent()
    agent.set_agent_prompt("instruct", "N1")
    agent.set_request_prompt("input", "Q1")
    text = agent.get_prompt_text()
    assert ("N1" in text, "Q1" in text) == (True, True)


def test_nothing_said_is_an_error_and_no_request() -> None:
    with answering() as (model, agent):
        with pytest.raises(KeyError, match="input"):
            agent.start()
        assert model.requests == []


def test_a_request_is_made_without_an_agent() -> None:
    with answering() as (model, _):
        request: Any = Agently.create_request()
        request.set_settings("OpenAICompatible", model.settings)
        assert request.instruct("N1").input("Q1").start() == "hello world"
    assert ("N1" in said(model.requests[0]), "Q1" in said(model.requests[0])) == (True, True)


def test_an_agent_has_a_name() -> None:
    assert Agently.create_agent("z").name == "z"


def test_an_agent_gets_a_name_and_an_id() -> None:
    first, second = Agently.create_agent(), Agently.create_agent()
    assert first.name
    assert first.id != second.id


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["OpenAICompatible", "OpenAI", "OAIClient", "plugins.ModelRequester.OpenAICompatible"])
def test_the_settings_have_several_names(name: str) -> None:
    with answering() as (model, _):
        agent: Any = Agently.create_agent()
        agent.set_settings(name, model.settings)
        assert agent.input("Q").start() == "hello world"


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {"authorization": "Bearer k"}),
        ({"api_key": None, "auth": "A"}, {"authorization": "Bearer A"}),
        ({"api_key": None, "auth": {"api_key": "A"}}, {"authorization": "Bearer A"}),
        ({"auth": {"api_key": "k", "headers": {"x-a": "1"}}}, {"authorization": "Bearer k", "x-a": "1"}),
        ({"headers": {"X-A": "2"}}, {"authorization": "Bearer k", "x-a": "2"}),
        ({"auth": {"api_key": "A"}}, {"authorization": "Bearer A"}),
        ({"api_key": None}, {"authorization": ""}),
    ],
)  # fmt: skip
def test_the_headers_of_a_request(settings: Any, headers: dict[str, str]) -> None:
    with answering(**settings) as (model, agent):
        agent.input("Q").start()
    assert {name: model.headers[0].get(name, "") for name in headers} == headers


def test_the_options_of_a_request() -> None:
    with answering(request_options={"top_p": 0.5}, auth={"api_key": "k", "body": {"seed": 4}}) as (model, agent):
        agent.options({"temperature": 0}).input("Q").start()
    assert [model.requests[0][key] for key in ("top_p", "seed", "temperature")] == [0.5, 4, 0]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"full_url": "/zz/chat/completions"}, "/zz/chat/completions"),
        ({"base_url": "/v2/"}, "/v2/chat/completions"),
        ({"full_url": "/zz/mine"}, "/zz/mine"),
    ],
)  # fmt: skip
def test_the_address_of_a_request(settings: dict[str, str], path: str) -> None:
    with answering() as (model, agent):
        agent.set_settings("OpenAICompatible", {key: model.url + it for key, it in settings.items()})
        agent.input("Q").start()
    assert model.paths == [path]


@pytest.mark.parametrize(
    "settings",
    [
        {"proxy": None}, {"client_options": {}}, {"rich_content": False}, {"strict_role_orders": False},
        {"content_mapping": {"delta": "choices[0].delta.content"}}, {"default_model": "other"},
        {"timeout_mode": None},
    ],
    ids=repr,
)  # fmt: skip
def test_settings_that_change_nothing_are_taken(settings: dict[str, Any]) -> None:
    with answering(**settings) as (model, agent):
        assert agent.input("Q").start() == "hello world"
    assert model.requests[0]["model"] == "m"


def test_the_default_model() -> None:
    with answering(model=None, default_model="other") as (model, agent):
        agent.input("Q").start()
    assert model.requests[0]["model"] == "other"


def test_settings_are_filled_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS_KEY", "secret")
    flow: Any = TriggerFlow()
    flow.set_settings("rows.key", "${ENV.ROWS_KEY}", auto_load_env=True)
    assert flow.settings.get("rows.key") == "secret"


@pytest.mark.parametrize("kind", ["yaml", "json", "toml"])
def test_settings_are_read_from_files_and_texts(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS_KEY", "secret")
    text = {"yaml": "rows:\n  key: ${ENV.ROWS_KEY}\n", "json": '{"rows": {"key": "${ENV.ROWS_KEY}"}}',
            "toml": '[rows]\nkey = "${ENV.ROWS_KEY}"\n'}[kind]  # fmt: skip
    path = tmp_path / f"settings.{kind}"
    path.write_text(text)
    for data_type, source in ((f"{kind}_file", str(path)), (kind, text)):
        flow: Any = TriggerFlow()
        flow.load_settings(data_type, source, auto_load_env=True)
        assert flow.settings.get("rows.key") == "secret"


def test_agently_s_settings_can_be_chained() -> None:
    assert Agently.set_settings("rows.chain", 1) is Agently


# -- what is read ------------------------------------------------------------------------------------------------------


def read(text: str = TEXT, output: Any = OUTPUT, reasoning: str = "", **options: Any) -> list[Any]:
    """The items of a generator."""
    with answering(text, reasoning=reasoning) as (_, agent):
        agent.input("Q")
        if output is not None:
            agent.output(output)
        return list(agent.get_response().get_generator(**options))


def test_nothing_is_asked_before_something_is_read_and_only_once() -> None:
    with answering(TEXT) as (model, agent):
        response = agent.input("Q").output(OUTPUT).get_response()
        assert model.requests == []
        assert (response.get_data(), response.get_text()) == (DATA, TEXT)
        assert (response.result.get_data(), "".join(response.get_generator(type="delta"))) == (DATA, TEXT)
        assert len(model.requests) == 1


def test_the_pieces_of_a_text() -> None:
    assert read("hello world", None) == read("hello world", None, type="delta") == ["hell", "o wo", "rld"]
    specific = ["reasoning_delta", "delta", "reasoning_done", "done"]
    items = read("hello", None, reasoning="ab", type="specific", specific=specific)
    assert items[:4] == [("reasoning_delta", "a"), ("reasoning_delta", "b"), ("delta", "hell"), ("delta", "o")]
    assert {("done", "hello"), ("reasoning_done", "ab")} <= set(items[4:])


def test_one_specific_part() -> None:
    assert read("hello", None, type="specific", specific="delta") == [("delta", "hell"), ("delta", "o")]


def test_no_type_is_the_default() -> None:
    assert read("hello", None, type=None) == ["hell", "o"]


def test_the_original_is_json_text() -> None:
    pieces = [json.loads(it)["choices"] for it in read("hello", None, type="original") if it != "[DONE]"]
    assert [it[0]["delta"]["content"] for it in pieces if it and it[0]["delta"].get("content")] == ["hell", "o"]


def test_the_original_in_all_is_json_text() -> None:
    original = [value for name, value in read("hello", None, type="all") if name == "original_delta"]
    assert json.loads(original[1])["choices"][0]["delta"]["content"] == "hell"


def test_an_answer_is_read_field_by_field() -> None:
    items = [it for it in read(type="instant") if it.path]
    assert [(it.path, it.value) for it in items if it.is_complete] == [
        ("a", "xy"), ("b[0]", 1), ("b[1]", 2), ("b", [1, 2]),
    ]  # fmt: skip
    assert "".join(it.delta or "" for it in items if it.path == "a") == "xy"
    item = next(it for it in items if it.path == "b[1]")
    assert (item.wildcard_path, tuple(item.indexes), item.event_type) == ("b[*]", (1,), "done")


def test_the_whole_answer_is_no_item() -> None:
    assert [it.path for it in read(type="instant") if it.is_complete][-1] == "b"


def test_an_item_can_be_turned_into_a_dictionary() -> None:
    names = {"path", "value", "delta", "is_complete", "wildcard_path", "indexes", "event_type", "full_data"}
    assert set(vars(read(type="instant")[0])) == names


def test_data_and_text() -> None:
    with answering(TEXT) as (_, agent):
        assert agent.input("Q").get_data() == agent.input("Q").get_text() == TEXT
        assert agent.input("Q").output(OUTPUT).get_text() == TEXT
        assert agent.input("Q").output(OUTPUT).get_data() == DATA


@pytest.mark.parametrize(
    "text", [f"Sure:\n```json\n{TEXT}\n```\nbye", "{'a':'xy',b:[1,2,],}", '{"a":"xy", // word\n "b":[1,2]}']
)
def test_sloppy_answers_are_read(text: str) -> None:
    with answering(text) as (_, agent):
        assert agent.input("Q").output(OUTPUT).start() == DATA


def test_all_that_is_known_of_an_answer() -> None:
    with answering(TEXT) as (_, agent):
        found = agent.input("Q").output(OUTPUT).start(type="all")
    assert (found["text_result"], found["parsed_result"], found["errors"]) == (TEXT, DATA, [])
    assert {"cleaned_result", "meta", "original_delta", "original_done", "extra", "result_object"} < set(found)


def test_an_answer_as_an_object() -> None:
    with answering(TEXT) as (_, agent):
        found = agent.input("Q").output(OUTPUT).get_data_object()
    assert (found.a, found.b) == ("xy", [1, 2])


def test_an_answer_without_a_description_is_no_object() -> None:
    with answering() as (_, agent), pytest.raises(TypeError):
        agent.input("Q").get_data_object()


def test_what_is_known_about_an_answer() -> None:
    with answering() as (_, agent):
        meta = agent.input("Q").get_meta()
    assert (meta["id"], meta["role"]) == ("c", "assistant")
    assert {"finish_reason", "usage"} < set(meta)


def test_the_tokens_of_an_answer_have_the_provider_s_names() -> None:
    with answering() as (_, agent):
        usage = agent.input("Q").get_meta()["usage"]
    assert usage == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@pytest.mark.parametrize(
    ("keys", "style"), [(["a"], "dot"), (["b[*].c"], "dot"), (["b[0].c"], "dot"), (["b/[*]/c"], "slash")]
)
def test_keys_that_are_there(keys: list[str], style: str) -> None:
    text = '{"a": "x", "b": [{"c": 1}]}'
    with answering(text) as (model, agent):
        agent.input("Q").output({"a": (str,), "b": [{"c": (int,)}]})
        assert agent.start(ensure_keys=keys, key_style=style) == json.loads(text)
        assert len(model.requests) == 1


def test_keys_that_come_with_the_second_answer() -> None:
    with answering("{}", TEXT) as (model, agent):
        assert agent.input("Q").output(OUTPUT).start(ensure_keys=["a"]) == DATA
    assert len(model.requests) == 2
    assert model.requests[0]["messages"][-1]["role"] == "user"


def test_keys_that_never_come() -> None:
    for options, asked in (({}, 4), ({"max_retries": 1}, 2)):
        with answering(TEXT) as (model, agent), pytest.raises(ValueError, match="z"):
            agent.input("Q").output(OUTPUT).start(ensure_keys=["z"], **options)
        assert len(model.requests) == asked
    with answering(TEXT) as (model, agent):
        found = agent.input("Q").output(OUTPUT).start(ensure_keys=["z"], max_retries=1, raise_ensure_failure=False)
    assert (found, len(model.requests)) == (DATA, 2)


@pytest.mark.parametrize("style", ["dot", "slash"])
def test_the_style_of_paths(style: str) -> None:
    with answering('{"b":[{"c":"x"}]}') as (_, agent):
        agent.set_settings("response.streaming_parse_path_style", style)
        items = list(agent.input("Q").output({"b": [{"c": (str,)}]}).get_generator(type="instant"))
    expected = {"dot": ["b[0].c", "b[0]", "b"], "slash": ["/b/[0]/c", "/b/[0]", "/b"]}[style]
    assert [it.path for it in items if it.is_complete and it.path not in ("", "/")] == expected
