"""The config of a flow, row by row: the record of every operator, round trips, contracts, blueprints, error types."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from agently import TriggerFlow, TriggerFlowBluePrint

from tests.bridge.support import double, ident, inc

Flow = TriggerFlow[Any, Any, Any]

RECORD = {
    "id", "kind", "name", "listen_signals", "emit_signals", "options", "handler_ref", "condition_ref", "group_id",
    "group_kind", "parent_group_id", "parent_group_kind",
}  # fmt: skip


async def one(data: Any) -> bool:
    return bool(data.value == 1)


def sub_flow() -> Flow:
    flow = Flow(name="S")
    flow.to(inc).end()
    return flow


def operators(build: Any) -> list[dict[str, Any]]:
    """The records of a flow. Its ids are A, B, ... in order of appearance."""
    flow = Flow(name="F")
    build(flow)
    config = flow.get_flow_config()
    assert all(set(it) == RECORD for it in config["operators"])
    names: dict[str, str] = {}
    text = re.sub(
        r"[0-9a-f]{32}", lambda it: names.setdefault(it[0], chr(65 + len(names))), json.dumps(config["operators"])
    )
    return json.loads(text)


def found(build: Any, *kinds: str) -> list[dict[str, Any]]:
    return [it for it in operators(build) if it["kind"] in kinds]


def collected(flow: Flow) -> None:
    parent = flow.to(ident)
    parent.to(inc).collect("c", "l")
    parent.to(double).collect("c", "r").end()


BATCH = lambda flow: flow.to(ident).batch(inc, ("two", double), concurrency=3).end()  # noqa: E731
EACH = lambda flow: flow.for_each(concurrency=2).to(inc).end_for_each().end()  # noqa: E731
MATCH = lambda flow: flow.match().case(one).to(inc).case(5).to(double).case_else().to(ident).end_match().end()  # noqa: E731
STEP = lambda flow: flow.to_sub_flow(sub_flow(), name="step").end()  # noqa: E731
GATE = lambda flow: flow.when({"event": ["A", "B"], "runtime_data": "k"}, mode="or").to(inc)  # noqa: E731


def ids(signals: list[dict[str, Any]]) -> list[str]:
    return [it["id"] for it in signals]


# -- the record of an operator ---------------------------------------------------------------------------------------


def test_signals_are_named_by_type_and_event() -> None:
    for build in (BATCH, EACH, MATCH, STEP, GATE, collected):
        for operator in operators(build):
            for signal in (*operator["listen_signals"], *operator["emit_signals"]):
                assert signal["id"] == f"{signal['trigger_type']}:{signal['trigger_event']}"
                assert signal.get("role", "continuation") in ("continuation", "declared_emit")


def test_every_signal_inside_is_sent_by_an_operator() -> None:
    for build in (BATCH, EACH, MATCH, STEP, collected):
        records = operators(build)
        sent = {it for operator in records for it in ids(operator["emit_signals"])}
        assert {it for operator in records for it in ids(operator["listen_signals"])} - sent == {"event:START"}


def test_a_chunk_has_a_handler_and_a_continuation() -> None:
    chunk, end = operators(lambda flow: flow.to(inc).end())
    assert (chunk["kind"], chunk["name"], chunk["id"], chunk["options"], chunk["condition_ref"]) == (
        "chunk", "inc", "A", {}, None,
    )  # fmt: skip
    assert (ids(chunk["listen_signals"]), ids(chunk["emit_signals"])) == (["event:START"], ["event:Chunk[inc]-A"])
    keys = ("name", "callable_name", "module", "qualname")
    assert [chunk["handler_ref"][key] for key in keys] == ["inc", "inc", "tests.bridge.support", "inc"]
    assert {"kind", "file", "line"} < set(chunk["handler_ref"])
    assert (end["kind"], end["name"], end["id"], end["emit_signals"]) == ("result_sink", "result", "result-B", [])
    assert (end["handler_ref"], end["options"]) == (None, {})
    assert ids(end["listen_signals"]) == ["event:Chunk[inc]-A"]


@pytest.mark.parametrize(
    "build",
    [
        lambda flow: flow.to(inc),  # which Agently calls "inspected"
        lambda flow: flow.to(("inc", inc)),
        lambda flow: flow.to(inc, name="inc"),
        lambda flow: flow.to(flow.chunk("inc")(inc)),
    ],
)
def test_the_kind_of_a_handler(build: Any) -> None:
    assert [it["handler_ref"]["kind"] for it in found(build, "chunk")] == ["registered"]


def test_what_is_anonymous_says_so() -> None:
    flow = Flow()
    flow.to(lambda data: 1).if_condition(lambda data: True).to(inc).end_condition()
    records = flow.get_flow_config(validate_serializable=False)["operators"]
    kinds = [
        (it["handler_ref"] or it["condition_ref"])["kind"] for it in records if it["kind"] in ("chunk", "match_case")
    ]
    assert kinds[:2] == ["anonymous", "anonymous"]


def test_the_name_of_a_lambda() -> None:
    flow = Flow()
    flow.to(lambda data: 1)
    record = flow.get_flow_config(validate_serializable=False)["operators"][0]
    assert (record["name"], record["handler_ref"]["name"], [*flow.chunks]) == ("<lambda>", "<lambda>", ["<lambda>"])


def test_the_signal_of_a_chunk_is_named_after_its_function() -> None:
    flow = Flow()
    chunk: Any = flow.chunk("first")(inc)
    assert chunk.trigger == f"Chunk[inc]-{chunk.id}"
    record = operators(lambda flow: flow.to(("first", inc)))[0]
    assert (record["name"], ids(record["emit_signals"])) == ("first", ["event:Chunk[inc]-A"])


def test_a_side_branch_is_a_chunk_that_nobody_follows() -> None:
    side, main, _ = operators(lambda flow: flow.side_branch(inc).to(double).end())
    assert (side["options"], ids(side["listen_signals"]), ids(main["listen_signals"])) == (
        {}, ["event:START"], ["event:START"],
    )  # fmt: skip


def test_a_chunk_that_is_not_wired_is_exported() -> None:
    def build(flow: Flow) -> None:
        flow.chunk("never")(inc)
        flow.to(double).end()

    never = found(build, "chunk")[0]
    assert (never["name"], never["listen_signals"]) == ("never", [])


def test_declared_signals_follow_the_continuation() -> None:
    def build(flow: Flow) -> None:
        flow.to(flow.chunk("a")(inc).declare_emits("E1", "E2"))
        flow.when("E1").to(double)

    chunk, listener = operators(build)
    assert [(it["role"], it["trigger_event"]) for it in chunk["emit_signals"][1:]] == [
        ("declared_emit", "E1"),
        ("declared_emit", "E2"),
    ]
    assert ids(listener["listen_signals"]) == ["event:E1"]


def test_a_gate_of_one_signal_is_none() -> None:
    def build(flow: Flow) -> None:
        flow.to(inc)
        flow.when("inc").to(double)
        flow.when({"flow_data": "g"}).to(ident)

    records = operators(build)
    assert [it["kind"] for it in records] == ["chunk"] * 3
    assert [ids(it["listen_signals"]) for it in records] == [["event:START"], ["event:Chunk[inc]-A"], ["flow_data:g"]]


@pytest.mark.parametrize("mode", ["and", "or", "simple_or"])
def test_the_record_of_a_gate(mode: Any) -> None:
    gate, chunk = operators(
        lambda flow: flow.when({"event": ["A", "B"], "runtime_data": "k", "flow_data": "g"}, mode=mode).to(inc)
    )
    assert (gate["kind"], gate["id"], gate["options"]) == ("signal_gate", "when-A", {"mode": mode})
    assert sorted(ids(gate["listen_signals"])) == ["event:A", "event:B", "flow_data:g", "runtime_data:k"]
    assert (ids(gate["emit_signals"]), ids(chunk["listen_signals"])) == (["event:When-A"], ["event:When-A"])
    assert gate["group_id"] is None


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (GATE, {"signal_gate": "when:"}),
        (BATCH, {"batch_fanout": "batch:", "batch_collect": "batch_collect:"}),
        (EACH, {"for_each_split": "for_each:", "for_each_collect": "for_each_collect:"}),
        (MATCH, {"match_route": "match:", "match_collect": "match_result:"}),
    ],
)
def test_operators_are_named_by_their_block(build: Any, expected: dict[str, str]) -> None:
    for kind, name in expected.items():
        (record,) = found(build, kind)
        assert record["name"] == name + (record["group_id"] or record["id"].removeprefix("when-"))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (BATCH, {"batch_fanout": "batch-fanout-", "batch_collect": "batch-collect-"}),
        (EACH, {"for_each_split": "for_each-split-", "for_each_collect": "for_each-collect-"}),
        (MATCH, {"match_route": "match-route-", "match_collect": "match-collect-"}),
    ],
)
def test_the_ids_of_a_block_share_its_group(build: Any, expected: dict[str, str]) -> None:
    for kind, prefix in expected.items():
        (record,) = found(build, kind)
        assert record["id"] == prefix + record["group_id"]


@pytest.mark.parametrize(("build", "group"), [(BATCH, "batch"), (EACH, "for_each"), (MATCH, "match")])
def test_all_of_a_block_is_in_its_group(build: Any, group: str) -> None:
    inside = [it for it in operators(build) if it["group_id"]]
    assert {it["group_kind"] for it in inside} == {group}
    assert len({it["group_id"] for it in inside}) == 1
    assert {it["parent_group_id"] for it in inside} == {None}
    assert len(inside) == len(operators(build)) - (2 if group == "batch" else 1)


@pytest.mark.parametrize(
    ("build", "outer", "inner"),
    [
        (lambda flow: flow.for_each().for_each().to(inc).end_for_each().end_for_each(), "for_each", "for_each"),
        (lambda flow: flow.for_each().batch(inc, double).end_for_each(), "for_each", "batch"),
        (lambda flow: flow.match().case(1).match().case(2).to(inc).end_match().end_match(), "match", "match"),
        (lambda flow: flow.match().case(1).for_each().to(inc).end_for_each().end_match(), "match", "for_each"),
    ],
)
def test_a_block_in_a_block_names_the_outer_one(build: Any, outer: str, inner: str) -> None:
    records = operators(build)
    group = records[0]["group_id"]
    nested = [it for it in records if it["parent_group_id"]]
    assert {(it["parent_group_id"], it["parent_group_kind"], it["group_kind"]) for it in nested} == {
        (group, outer, inner)
    }
    assert group not in {it["group_id"] for it in nested}
    assert {"chunk"} < {it["kind"] for it in nested}


def test_the_wires_of_a_batch() -> None:
    (fanout,) = found(BATCH, "batch_fanout")
    (collect,) = found(BATCH, "batch_collect")
    group = fanout["group_id"]
    branches = [it for it in found(BATCH, "chunk") if it["group_id"] == group]
    expected = [f"event:Batch-{group}-Input-{it['id']}" for it in branches]
    assert ids(fanout["emit_signals"]) == [it["listen_signals"][0]["id"] for it in branches] == expected
    assert [it for it in fanout["emit_signals"] if "role" in it] == []
    assert fanout["options"] == {"concurrency": 3}
    sent = [it["emit_signals"][0]["id"] for it in branches]
    assert ids(collect["listen_signals"]) == sent
    assert collect["options"] == {"result_keys": dict(zip(sent, ["inc", "two"], strict=True))}
    assert ids(collect["emit_signals"]) == [f"event:Batch-{group}"]


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda flow: flow.batch(inc, double), "batch_fanout"),
        (lambda flow: flow.for_each().to(inc).end_for_each(), "for_each_split"),
    ],
)
def test_a_concurrency_that_was_not_given_is_none(build: Any, kind: str) -> None:
    assert found(build, kind)[0]["options"] == {"concurrency": None}


def test_the_wires_of_a_for_each() -> None:
    split, chunk, collect, _ = operators(EACH)
    group = split["group_id"]
    assert ids(split["emit_signals"]) == ids(chunk["listen_signals"]) == [f"event:ForEach-{group}-Send"]
    assert ids(collect["emit_signals"]) == [f"event:ForEach-{group}-End"]
    assert (split["options"], collect["options"]) == ({"concurrency": 2}, {})


def test_the_wires_of_a_match() -> None:
    (route,) = found(MATCH, "match_route")
    case, value, other = found(MATCH, "match_case")
    group = route["group_id"]
    keys = [it["id"].removeprefix("match-case-") for it in (case, value)]
    assert [it["name"] for it in (case, value, other)] == [f"case:{keys[0]}", f"case:{keys[1]}", f"else:{group}"]
    assert other["id"] == f"match-else-{group}"
    assert [it["options"] for it in (case, value, other)] == [{}, {"condition_value": 5}, {"is_else": True}]
    sent = [f"event:Match-{group}-Case-{keys[0]}", f"event:Match-{group}-Case-{keys[1]}", f"event:Match-{group}-Else"]
    assert [ids(it["listen_signals"])[0] for it in (case, value, other)] == sent
    assert [ids(it["emit_signals"])[0] for it in (case, value, other)] == [f"{it}-Branch" for it in sent]
    assert ids(route["emit_signals"]) == [f"event:Match-{group}-Result", *sent]
    assert [it.get("role") for it in route["emit_signals"]] == ["continuation", None, None, None]
    assert (route["options"]["mode"], route["options"]["else_signal"]["id"]) == ("hit_first", sent[2])
    told = [(it["case_id"], it["condition_value"], it["is_else"]) for it in route["options"]["cases"]]
    assert told == [(keys[0], None, False), (keys[1], 5, False)]
    assert [it["route_signal"]["id"] for it in route["options"]["cases"]] == sent[:2]


def test_a_condition_stands_in_the_record_of_its_case() -> None:
    case, value, other = found(MATCH, "match_case")
    assert (case["condition_ref"]["callable_name"], case["handler_ref"]) == ("one", None)
    assert (value["condition_ref"], other["condition_ref"]) == (None, None)
    assert found(MATCH, "match_collect")[0]["options"] == {}
    assert found(MATCH, "match_route")[0]["options"]["mode"] == "hit_first"
    hit_all = lambda flow: flow.match(mode="hit_all").case(1).to(inc).end_match()  # noqa: E731
    assert found(hit_all, "match_route")[0]["options"]["mode"] == "hit_all"


def test_conditions_are_matches() -> None:
    kinds = [it["kind"] for it in operators(MATCH)]

    def build(flow: Flow) -> None:
        block = flow.if_condition(one).to(inc).elif_condition(5).to(double)
        block.else_condition().to(ident).end_condition().end()

    assert [it["kind"] for it in operators(build)] == kinds


def test_the_record_of_a_branch_of_a_collect() -> None:
    left, right = found(collected, "collect_branch")
    group = left["group_id"]
    assert [it["id"] for it in (left, right)] == [f"collect-{group}-l", f"collect-{group}-r"]
    assert {(it["name"], it["group_kind"], it["group_id"]) for it in (left, right)} == {("collect:c", "collect", group)}
    assert right["options"] == {
        "branch_id": "r", "branch_ids": ["l", "r"], "collect_id": group, "collection_name": "c",
        "mode": "filled_and_update",
    }  # fmt: skip


def test_the_signal_of_a_collection_has_its_name() -> None:
    for record in found(collected, "collect_branch"):
        assert ids(record["emit_signals"]) == ["event:Collect-c"]
        assert record["options"]["mode"] == "filled_and_update"


def test_the_record_of_a_sub_flow() -> None:
    step, end = operators(STEP)
    number = step["id"].removeprefix("sub-flow-")
    assert ids(step["emit_signals"]) == ids(end["listen_signals"]) == [f"event:SubFlow-{number}-Result"]
    assert set(step["options"]) == {"capture", "write_back", "concurrency", "sub_flow_name", "sub_flow_config"}
    assert (step["options"]["capture"], step["options"]["write_back"], step["options"]["concurrency"]) == (None,) * 3
    build = lambda flow: flow.to_sub_flow(sub_flow(), concurrency=2)  # noqa: E731
    assert operators(build)[0]["options"]["concurrency"] == 2


def test_a_sub_flow_carries_its_config() -> None:
    step = operators(STEP)[0]
    assert (step["kind"], step["name"], step["options"]["sub_flow_name"]) == ("sub_flow", "step", "S")
    inner = step["options"]["sub_flow_config"]
    assert (inner["version"], inner["name"]) == ("trigger_flow/v1", "S")
    assert [it["kind"] for it in inner["operators"]] == ["chunk", "result_sink"]
    assert operators(lambda flow: flow.to(sub_flow()))[0]["name"] == "S"


def test_a_flow_that_goes_on_after_its_end() -> None:
    kinds = [it["kind"] for it in operators(lambda flow: flow.to(inc).end().to(double))]
    assert sorted(kinds) == ["chunk", "chunk", "result_sink"]


def test_a_config_has_the_contract() -> None:
    flow = Flow(name="F")
    flow.set_contract(initial_input=int, stream=str, result=dict, meta={"v": 1})
    flow.to(inc)
    contract = flow.get_flow_config()["contract"]
    assert contract == flow.get_contract_metadata()
    assert {key: contract[key]["schema"]["type"] for key in ("initial_input", "stream", "result")} == {
        "initial_input": "integer", "stream": "string", "result": "object",
    }  # fmt: skip
    assert (contract["meta"], flow.get_flow_config()["meta"]) == ({"v": 1}, {})


# -- round trips -----------------------------------------------------------------------------------------------------


def loaded(flow: Flow) -> Flow:
    other = Flow()
    for handler in (ident, inc, double):
        other.register_chunk_handler(handler)
    other.register_chunk_handler(double, name="two")
    other.register_condition_handler(one)
    other.load_flow_config(json.loads(flow.get_json_flow()))
    return other


@pytest.mark.parametrize(
    ("build", "values"),
    [
        (BATCH, [1]),
        (EACH, [[1, 2], []]),
        (MATCH, [1, 5, 7]),
        (collected, [3]),
        (lambda flow: (flow.to(inc), flow.when("inc").to(double).end()), [1]),
        (lambda flow: flow.side_branch(inc).to(double).end(), [1]),
        (STEP, [1]),
        (lambda flow: flow.to_sub_flow(TriggerFlow(sub_flow().save_blue_print())).to(double).end(), [1]),
    ],
)  # fmt: skip
async def test_a_loaded_flow_does_the_same(build: Any, values: list[Any]) -> None:
    flow = Flow(name="F")
    build(flow)
    other = loaded(flow)
    for value in values:
        assert await other.async_start(value, timeout=5) == await flow.async_start(value, timeout=5)
    assert other.name == "F"


async def test_a_loaded_flow_can_be_continued() -> None:
    flow = Flow()
    flow.to(inc)
    other = loaded(flow)
    other.when("inc").to(double).end()
    assert await other.async_start(1) == 4


def test_the_chunks_of_a_loaded_flow() -> None:
    flow = Flow()
    flow.chunk("two")(double)
    flow.to(inc)
    assert sorted(loaded(flow).chunks) == ["inc", "two"]


async def test_an_empty_config_is_an_empty_flow() -> None:
    flow = Flow()
    flow.to(inc).end()
    flow.load_flow_config({"version": "trigger_flow/v1", "name": "empty", "operators": []})
    assert (flow.get_flow_config()["operators"], flow.name) == ([], "empty")


def test_chunks_of_a_flow_are_its_handlers() -> None:
    flow = Flow()
    flow.to(inc).end()
    other = Flow()
    other.chunk("inc")(double)
    other.load_flow_config(flow.get_flow_config())
    assert other.start(4) == 8


def test_replacing_forgets_and_merging_keeps() -> None:
    def names(replace: bool) -> list[str]:
        flow, late = Flow(), Flow()
        flow.register_chunk_handler(inc)
        flow.to(double).end()
        late.when("Go").to(inc)
        flow.load_flow_config(late.get_flow_config(), replace=replace)
        return [it["name"] for it in flow.get_flow_config()["operators"]]

    assert names(True) == ["inc"]
    assert names(False) == ["double", "result", "inc"]


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_files_are_read_and_written_by_path_or_name(kind: str, tmp_path: Path) -> None:
    flow = Flow(name="F")
    flow.to(("名", inc)).end()
    for path in (tmp_path / "a", str(tmp_path / "b")):
        text = getattr(flow, f"get_{kind}_flow")(path, encoding="utf-16")
        assert ("名" in text, Path(path).read_text("utf-16") == text) == (True, True)
        other = Flow()
        other.register_chunk_handler(inc, name="名")
        getattr(other, f"load_{kind}_flow")(path, encoding="utf-16")
        assert other.start(1) == 2


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_folders_are_made(kind: str, tmp_path: Path) -> None:
    flow = Flow()
    flow.to(inc)
    getattr(flow, f"get_{kind}_flow")(tmp_path / "new" / "folder" / "flow")
    assert (tmp_path / "new" / "folder" / "flow").exists()


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("json", "{bad", ValueError), ("json", "no/such/file.json", ValueError), ("json", "", ValueError),
        ("json", "[1]", TypeError), ("json", "5", TypeError),
        ("yaml", "{bad: [", ValueError), ("yaml", "- 1", TypeError), ("yaml", "5", TypeError), ("yaml", "", TypeError),
        ("yaml", "no/such/file.yaml", TypeError),
    ],
)  # fmt: skip
def test_what_is_no_config_text(kind: str, text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        getattr(Flow(), f"load_{kind}_flow")(text)


# -- handlers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chunk", "condition"])
def test_what_cannot_be_registered(kind: str) -> None:
    flow = Flow()
    register = getattr(flow, f"register_{kind}_handler")
    register(inc)
    register(inc)
    for arguments in ({"handler": double, "name": "inc"}, {"handler": lambda data: 1}, {"handler": 5}):
        with pytest.raises(ValueError):  # noqa: PT011 - the class is what counts here
            register(**arguments)


def test_a_missing_handler_is_named() -> None:
    flow = Flow()
    flow.to(("special", inc))
    with pytest.raises(ValueError, match="special"):
        Flow().load_flow_config(flow.get_flow_config())
    condition = Flow()
    condition.if_condition(one).to(inc).end_condition()
    other = Flow()
    other.register_chunk_handler(inc)
    with pytest.raises(ValueError, match="one"):
        other.load_flow_config(condition.get_flow_config())


@pytest.mark.parametrize("config", [None, [], "x"])
def test_a_config_is_a_dictionary(config: Any) -> None:
    with pytest.raises(TypeError):
        Flow().load_flow_config(config)


@pytest.mark.parametrize("config", [{}, {"version": "v2"}, {"operators": []}])
def test_a_config_has_a_version(config: Any) -> None:
    with pytest.raises(ValueError, match="version"):
        Flow().load_flow_config(config)


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, object()])
def test_the_value_of_a_case_has_to_come_back_from_json_as_it_is(value: Any) -> None:
    flow = Flow()
    flow.match().case(value).to(inc).end_match()
    with pytest.raises(ValueError, match="cannot be carried by JSON unchanged"):
        flow.get_flow_config()
    assert flow.get_flow_config(validate_serializable=False)["operators"]


# -- contract --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "label", "schema"),
    [
        (list[int], "list[int]", {"type": "array", "items": {"type": "integer"}}),
        (str | None, None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (dict[str, int], "dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
    ],
)
def test_types_have_a_label_and_a_schema(expected: Any, label: str | None, schema: dict[str, Any]) -> None:
    told = Flow().set_contract(initial_input=expected).get_contract_metadata()["initial_input"]
    assert told["schema"] == schema
    assert label is None or told["label"] == label


@pytest.mark.parametrize("expected", [object(), type("Custom", (), {})])
def test_a_type_that_cannot_be_checked_is_a_type_error(expected: Any) -> None:
    with pytest.raises(TypeError, match="initial_input"):
        Flow().set_contract(initial_input=expected)


def test_what_is_not_named_stays() -> None:
    flow = Flow()
    flow.set_contract(initial_input=int, meta={"a": 1})
    flow.set_contract(result=str)
    assert (flow.get_contract().initial_input, flow.get_contract().meta) == (int, {"a": 1})
    flow.set_contract(initial_input=None, meta={"b": 2})
    assert (flow.get_contract().initial_input, flow.get_contract().meta) == (None, {"b": 2})
    with pytest.raises(TypeError):
        flow.set_contract(other=int)  # type: ignore[call-arg]


# -- blueprint -------------------------------------------------------------------------------------------------------


def test_a_blueprint_carries_handlers_and_neither_data_nor_contract() -> None:
    flow = Flow(name="F")
    flow.register_chunk_handler(inc)
    flow.set_contract(result=str)
    flow.set_flow_data("k", 1)
    flow.set_runtime_resource("r", 2)
    other = TriggerFlow(flow.save_blue_print())
    assert (other.get_contract_metadata(), other.get_flow_data("k"), other.get_runtime_resource("r")) == (
        {},
        None,
        None,
    )
    assert TriggerFlow(flow.save_blue_print(), name="N").name == "N"
    simple = Flow()
    simple.to(inc).end()
    other.load_flow_config(simple.get_flow_config())
    assert other.start(1) == 2


def test_a_blueprint_shows_its_chunks_and_takes_a_name_for_its_texts() -> None:
    flow = Flow(name="F")
    flow.to(inc).end()
    blueprint: Any = flow.save_blue_print()
    assert [*blueprint.chunks] == ["inc"]
    assert json.loads(blueprint.get_json_flow(name="Z"))["name"] == "Z"
    assert "name: Z" in blueprint.get_yaml_flow(name="Z")
    assert blueprint.to_mermaid(name="Z").startswith("flowchart TD")


def test_a_blueprint_makes_an_execution_of_an_id() -> None:
    flow = Flow()
    flow.to(inc).end()
    execution = flow.save_blue_print().create_execution(Flow(), execution_id="mine")
    assert (execution.id, execution.start(1)) == ("mine", 2)


def test_a_blueprint_without_a_name_gets_one() -> None:
    assert TriggerFlowBluePrint().name.startswith("BluePrint-")
