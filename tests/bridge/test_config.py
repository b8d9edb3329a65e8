"""Flows as data, and as pictures."""

import json
from typing import Any

import pytest
from agently import TriggerFlow, TriggerFlowBluePrint

from tests.bridge.support import double, ident, inc

Flow = TriggerFlow[Any, Any, Any]


async def big(data: Any) -> bool:
    return sum(data.value) > 20


def rich() -> Flow:
    flow = Flow(name="rich")
    first = flow.chunk("first")(ident)
    first.declare_emits("Ev")
    flow.to(first).batch(("b", inc), ("c", double), concurrency=3).to(lambda_free).for_each(concurrency=2).to(
        inc
    ).end_for_each().match(mode="hit_all").case(big).to(double).case([4, 5]).to(double).case_else().to(
        ident
    ).end_match().collect("col", "br").end()
    flow.when({"event": ["Ev", "Ev2"], "runtime_data": "k"}).to(ident)
    flow.when("first").side_branch(double)
    return flow


async def lambda_free(data: Any) -> list[int]:
    return [data.value["b"], data.value["c"]]


def registered() -> Flow:
    flow = Flow()
    for handler in (ident, inc, double, big, lambda_free):
        flow.register_chunk_handler(handler)
    flow.chunk("first")(ident)
    flow.register_chunk_handler(inc, name="b")
    flow.register_chunk_handler(double, name="c")
    return flow


def test_the_shape_of_a_config() -> None:
    config = rich().get_flow_config()
    assert {"version", "name", "operators", "meta", "contract"} < set(config)
    assert (config["version"], config["name"], config["contract"]) == ("trigger_flow/v1", "rich", {})
    operators = config["operators"]
    assert {it["kind"] for it in operators} == {
        "chunk", "signal_gate", "batch_fanout", "batch_collect", "for_each_split", "for_each_collect", "match_route",
        "match_case", "match_collect", "collect_branch", "result_sink",
    }  # fmt: skip
    for operator in operators:
        assert set(operator) == {
            "id", "kind", "name", "listen_signals", "emit_signals", "options", "handler_ref", "condition_ref",
            "group_id", "group_kind", "parent_group_id", "parent_group_kind",
        }  # fmt: skip
    first = operators[0]
    assert first["listen_signals"] == [{"id": "event:START", "trigger_type": "event", "trigger_event": "START"}]
    assert [it["role"] for it in first["emit_signals"]] == ["continuation", "declared_emit"]
    assert first["emit_signals"][0]["trigger_event"].startswith("Chunk[ident]-")
    assert (first["handler_ref"]["kind"], first["handler_ref"]["callable_name"]) == ("registered", "ident")
    assert first["handler_ref"]["file"] is None  # no path of a source file goes out


def test_signals_wire_the_operators_together() -> None:
    operators = rich().get_flow_config()["operators"]
    sent = {signal["id"] for it in operators for signal in it["emit_signals"]}
    outside = {"event:START", "event:Ev2", "runtime_data:k"}
    assert {signal["id"] for it in operators for signal in it["listen_signals"]} - sent == outside
    groups = {it["kind"]: it for it in operators}
    assert groups["batch_fanout"]["group_id"] == groups["batch_collect"]["group_id"]
    assert groups["match_case"]["group_kind"] == "match"
    assert next(it for it in operators if it["name"] == "b")["group_kind"] == "batch"
    assert rich().get_flow_config() == rich().get_flow_config()  # ids are stable


@pytest.mark.parametrize("way", ["dict", "json", "yaml", "json file", "yaml file"])
async def test_a_flow_comes_back(way: str, tmp_path: Any) -> None:
    flow, other = rich(), registered()
    path = tmp_path / f"flow.{way.removesuffix(' file')}"
    if way == "dict":
        other.load_flow_config(json.loads(json.dumps(flow.get_flow_config())))
    elif "json" in way:
        text = flow.get_json_flow(path)
        other.load_json_flow(path if "file" in way else text)
    else:
        text = flow.get_yaml_flow(path)
        other.load_yaml_flow(path if "file" in way else text)
    for value in (2, 5):
        assert await other.async_start(value) == await flow.async_start(value)
    assert other.name == "rich"
    assert other.get_flow_config()["operators"] == flow.get_flow_config()["operators"]


async def test_loading_beside_what_is_there() -> None:
    flow = Flow()
    flow.when("Late").to(("late", inc)).end()
    config = flow.get_flow_config()
    other = Flow()
    other.register_chunk_handler(inc, name="late")
    other.to(ident)
    other.load_flow_config(config, replace=False)
    execution = other.create_execution()
    await execution.async_start(1, wait_for_result=False)
    await execution.async_emit("Late", 4)
    assert execution.get_result() == 5


def test_sub_flows_are_told_and_found_by_name() -> None:
    sub, flow = Flow(name="sub"), Flow()
    sub.to(inc).end()
    flow.to_sub_flow(sub, capture={"input": "value"}, write_back={"value": "result"}, concurrency=2).end()
    config = flow.get_flow_config()
    step = next(it for it in config["operators"] if it["kind"] == "sub_flow")
    assert (step["options"]["sub_flow_name"], step["options"]["capture"]) == ("sub", {"input": "value"})
    assert step["options"]["sub_flow_config"]["name"] == "sub"
    other = Flow()
    other.register_chunk_handler(sub)
    other.load_flow_config(config)
    assert other.start(1) == 2


def test_a_contract_comes_as_data_only() -> None:
    flow = Flow()
    flow.set_contract(initial_input=int)
    flow.to(("inc", inc)).end()
    other = Flow()
    other.register_chunk_handler(inc)
    other.load_flow_config(flow.get_flow_config())
    assert other.get_contract_metadata() == flow.get_contract_metadata()
    assert other.get_contract().initial_input is None


def test_what_cannot_be_exported_or_loaded() -> None:
    flow = Flow()
    flow.to(lambda data: 1)
    with pytest.raises(ValueError, match=r"<function .* could not find it; .*register_chunk_handler\(handler, name="):
        flow.get_json_flow()
    assert flow.get_flow_config(validate_serializable=False)["operators"]
    condition = Flow()
    condition.if_condition(lambda data: True).to(inc).end_condition()
    with pytest.raises(ValueError, match=r"<function .* could not find it; .*register_chunk_handler\(handler, name="):
        condition.get_flow_config()
    with pytest.raises(TypeError):
        Flow().load_flow_config("x")
    with pytest.raises(ValueError, match="version"):
        Flow().load_flow_config({"version": "trigger_flow/v2"})
    with pytest.raises(ValueError, match="exported anew"):
        Flow().load_flow_config({"version": "trigger_flow/v1", "operators": [{"id": "a"}]})
    with pytest.raises(ValueError, match="inc"):
        Flow().load_flow_config(_simple().get_flow_config())


def _simple() -> Flow:
    flow = Flow()
    flow.to(inc).end()
    return flow


async def test_a_blueprint_has_the_same_forms() -> None:
    blueprint = TriggerFlowBluePrint(name="bp")
    blueprint.register_chunk_handler(inc)
    blueprint.load_json_flow(_simple().get_json_flow())
    assert await TriggerFlow(blueprint).async_start(1) == 2
    assert blueprint.get_flow_config(name="other")["name"] == "other"
    assert blueprint.to_mermaid().startswith("flowchart TD")


@pytest.mark.parametrize("mode", ["simplified", "detailed"])
def test_mermaid_draws_it_with_lambdas_and_sub_flows(mode: str) -> None:
    flow, sub = rich(), _simple()
    flow.when("Other").to(lambda data: 1).to_sub_flow(sub)
    text = flow.to_mermaid(mode=mode)
    assert text.startswith("flowchart TD")
    for word in ("first", "subgraph", "Ev2"):
        assert word in text
    assert "$" not in text
    with pytest.raises(ValueError, match="simplified"):
        flow.to_mermaid(mode="x")


def test_each_branch_of_a_batch_has_a_signal() -> None:
    flow = Flow(name="F")
    flow.batch(("a", ident), ("b", ident)).to(ident).end()
    fanout, first, second, *_ = flow.get_flow_config()["operators"]
    assert ["role" in it for it in fanout["emit_signals"]] == [False, False]  # they go on inside the block
    assert [it["id"] for it in fanout["emit_signals"]] == [it["listen_signals"][0]["id"] for it in (first, second)]
    assert fanout["emit_signals"][0]["id"] != fanout["emit_signals"][1]["id"]
