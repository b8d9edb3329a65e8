"""The flow row by row: what programs written for 4.0.9 rely on beside what `test_flow` says."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from agently import Agently, TriggerFlow, TriggerFlowBluePrint, TriggerFlowContractSpec
from agently.types.data import RunContext

from tests.bridge.support import double, ident, inc, noting

Flow = TriggerFlow[Any, Any, Any]


# -- constructor -----------------------------------------------------------------------------------------------------


def test_ctor_takes_a_blueprint_by_position_and_the_rest_by_keyword() -> None:
    source = Flow(name="source")
    source.to(inc).end()
    blue_print = source.save_blue_print()
    assert Flow(blue_print).start(1) == Flow(blue_print=blue_print, name="other").start(1) == 2
    assert Flow(blue_print, name="other").name == "other"
    with pytest.raises(TypeError):
        TriggerFlow(None, "name")  # type: ignore[misc]


def test_ctor_makes_a_name_of_32_hex_digits() -> None:
    first, second = Flow().name, Flow().name
    assert (len(first), first != second, int(first, 16) > 0) == (32, True, True)


def test_set_settings_returns_settings_and_not_the_flow() -> None:
    flow = Flow()
    assert flow.set_settings("rows.a", 1) is flow.settings
    assert flow.settings.get("rows.a") == 1


def test_settings_are_a_mapping_with_dotted_keys() -> None:
    flow = Flow()
    flow.settings.set("m.n", 1)
    assert (flow.settings["m"], flow.settings["m.n"], "m" in flow.settings) == ({"n": 1}, 1, True)
    flow.settings.update({"u": 1})
    assert (flow.settings.pop("u"), flow.settings.get("u", "gone")) == (1, "gone")
    flow.settings["i"] = 4
    assert flow.create_execution().settings.get("i") == 4
    assert flow.create_execution().settings.get("i", 5, inherit=False) == 5


def test_load_settings_takes_texts() -> None:
    flow = Flow()
    flow.load_settings("yaml", "z: 3")
    flow.load_settings(data_type="json", value='{"q": {"w": 1}}')
    assert (flow.settings.get("z"), flow.settings.get("q.w")) == (3, 1)


def test_set_settings_of_agently_gives_agently() -> None:
    assert Agently.set_settings("rows.b", 1).set_settings("rows.c", 2) is Agently


def test_set_settings_fills_in_the_environment_if_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS", "found")
    flow: Any = Flow()
    flow.set_settings("raw", "${ENV.ROWS}")
    flow.set_settings("filled", "${ENV.ROWS}", auto_load_env=True)
    assert (flow.settings.get("raw"), flow.settings.get("filled")) == ("${ENV.ROWS}", "found")


def test_load_settings_of_a_flow_fills_in_the_environment_if_asked_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROWS", "found")
    (tmp_path / "s.json").write_text('{"a": "${ENV.ROWS}"}')
    raw, filled = Flow(), Flow()
    raw.load_settings("json_file", str(tmp_path / "s.json"))
    filled.load_settings("json_file", str(tmp_path / "s.json"), auto_load_env=True)
    assert (raw.settings.get("a"), filled.settings.get("a")) == ("${ENV.ROWS}", "found")


# -- chunk -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("register", [lambda flow: flow.chunk(inc), lambda flow: flow.chunk("x")(inc)])
def test_chunk_twice_is_two_chunks(register: Any) -> None:
    flow, seen = Flow(), list[Any]()
    first, second = register(flow), register(flow)
    assert (first != second, first.id != second.id, first.trigger != second.trigger) == (True, True, True)
    flow.to(first).to(noting(seen, lambda data: ("a", data.value)))
    flow.when("Ev").to(second).to(("note2", noting(seen, lambda data: ("b", data.value))))
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    execution.emit("Ev", 10)
    assert seen == [("a", 2), ("b", 11)]


def test_chunks_holds_the_very_chunks_by_name() -> None:
    flow = Flow()
    chunk, named = flow.chunk(inc), flow.chunk("named")(double)
    assert flow.chunks["inc"] is chunk
    assert flow.chunks["named"] is named


def test_chunk_trigger_has_the_name_of_the_function() -> None:
    chunk = Flow().chunk("named")(inc)
    assert (chunk.name, chunk.trigger) == ("named", f"Chunk[inc]-{chunk.id}")


def test_chunk_of_a_lambda_has_its_name() -> None:
    flow = Flow()
    assert flow.chunk(lambda data: 1).name == "<lambda>"
    flow.batch(lambda data: 1, inc).end()
    assert flow.start(1) == {"<lambda>": 1, "inc": 2}


def test_chunk_by_keyword() -> None:
    chunk: Any = Flow().chunk(handler_or_name=inc)  # type: ignore[call-arg]
    assert chunk.name == "inc"


def test_chunk_takes_methods() -> None:
    class Service:
        def add(self, data: Any) -> Any:
            return data.value + 1

        async def twice(self, data: Any) -> Any:
            return data.value * 2

    flow, service = Flow(), Service()
    flow.to(service.add).to(service.twice).end()
    assert flow.start(1) == 4
    assert flow.chunk(service.add).name == "add"


def test_chunk_declares_each_event_once() -> None:
    chunk = Flow().chunk(inc).declare_emits("a", "b")
    assert chunk.declare_emits("a").declare_emits().emit_signals == ["a", "b"]


# -- create_execution, start -----------------------------------------------------------------------------------------


def test_create_execution_takes_keywords_only() -> None:
    with pytest.raises(TypeError):
        Flow().create_execution("x")  # type: ignore[misc]
    with pytest.raises(TypeError):
        Flow().create_execution(bogus=1)  # type: ignore[call-arg]


def test_start_takes_one_positional() -> None:
    flow = Flow()
    flow.to(ident).end()
    assert (flow.start(), flow.start(0), flow.start(initial_value="x")) == (None, 0, "x")
    assert flow.start("x", timeout=None, concurrency=1, runtime_resources={"a": 1}) == "x"
    for wrong in (lambda: flow.start("x", True), lambda: flow.start("x", bogus=1)):
        with pytest.raises(TypeError):
            wrong()


def test_start_execution_takes_resources_and_lineage() -> None:
    flow, parent = Flow(), RunContext(run_id="P", run_kind="agent_turn")
    flow.to(ident).end()
    execution = flow.start_execution(1, runtime_resources={"a": 1}, parent_run_context=parent, concurrency=2)
    assert (execution.get_runtime_resource("a"), execution.run_context.parent_run_id) == (1, "P")


def test_get_runtime_stream_takes_resources_and_lineage() -> None:
    flow, parent = Flow(), RunContext(run_id="P", run_kind="agent_turn")

    def tell(data: Any) -> None:
        data.put_into_stream((data.require_resource("a"), data.execution.run_context.parent_run_id))
        data.stop_stream()

    flow.to(tell)
    assert [*flow.get_runtime_stream(1, timeout=1, runtime_resources={"a": 1}, parent_run_context=parent)] == [(1, "P")]


@pytest.mark.parametrize("limit", [0, -1])
def test_concurrency_of_nought_is_no_limit(limit: int) -> None:
    flow = Flow()
    flow.for_each(concurrency=limit).batch(inc, double, concurrency=limit).end_for_each().end()
    assert flow.start([1], concurrency=limit) == [{"inc": 2, "double": 2}]


def test_runs_side_by_side_do_not_mix() -> None:
    flow = Flow()

    async def work(data: Any) -> Any:
        data.state.set("mine", data.value)
        await asyncio.sleep(0.01)
        return data.state.get("mine")

    flow.to(work).end()

    async def main() -> list[Any]:
        return await asyncio.gather(*[flow.async_start(number) for number in range(10)])

    assert asyncio.run(main()) == [*range(10)]


def test_remove_execution_takes_a_handle_an_id_and_what_it_does_not_know() -> None:
    flow = Flow()
    execution = flow.create_execution()
    assert (flow.remove_execution(execution), flow.remove_execution(execution.id), flow.remove_execution("no")) == (
        None, None, None,
    )  # fmt: skip


# -- lineage ---------------------------------------------------------------------------------------------------------


def parent_context() -> RunContext:
    return RunContext(run_id="P", run_kind="agent_turn", agent_name="A", session_id="S", meta={"x": 1})


def test_parent_run_context_is_inherited_from() -> None:
    flow = Flow(name="F")
    execution = flow.create_execution(parent_run_context=parent_context())
    context = execution.run_context
    assert (context.parent_run_id, context.root_run_id, context.run_kind) == ("P", "P", "workflow_execution")
    assert (context.agent_name, context.session_id, context.execution_id) == ("A", "S", execution.id)
    assert context.meta == {"x": 1, "flow_name": "F"}


def test_run_context_is_taken_as_it_is() -> None:
    context = parent_context()
    assert Flow().create_execution(run_context=context).run_context is context


def test_run_context_is_not_changed() -> None:
    flow, context, seen = Flow(), parent_context(), list[Any]()
    flow.to(noting(seen, lambda data: data.chunk_run_context.parent_run_id)).end()
    flow.start(1, run_context=context)
    assert (seen, context.execution_id) == (["P"], None)


def test_run_context_beats_parent_run_context() -> None:
    other = RunContext(run_id="Q", run_kind="request")
    context = Flow().create_execution(run_context=parent_context(), parent_run_context=other).run_context
    assert (context.run_id, context.parent_run_id) == ("P", None)


def test_chunk_run_context_has_the_meta_of_its_execution() -> None:
    flow, seen = Flow(name="F"), list[Any]()
    flow.to(noting(seen, lambda data: data.chunk_run_context.meta)).end()
    flow.start(1, parent_run_context=parent_context())
    assert (seen[0]["x"], seen[0]["flow_name"]) == (1, "F")


def test_run_context_makes_children() -> None:
    child = parent_context().create_child(run_kind="request", run_id="c")
    made = RunContext.create(run_kind="request", run_id="c", parent=parent_context())
    told = {
        "run_id": "c", "run_kind": "request", "root_run_id": "P", "parent_run_id": "P", "agent_id": None,
        "agent_name": "A", "session_id": "S", "response_id": None, "execution_id": None, "meta": {"x": 1},
    }  # fmt: skip
    assert child.model_dump() == made.model_dump() == told


# -- flow data -------------------------------------------------------------------------------------------------------


def test_flow_data_has_defaults_and_dotted_keys() -> None:
    flow = Flow()
    assert (flow.get_flow_data("a.b", "D"), flow.get_flow_data("a", default="D")) == ("D", "D")
    flow.set_flow_data(key="a.b", value=1, emit=False)
    flow.append_flow_data(key="l", value=1)
    assert flow.get_flow_data() == {"a": {"b": 1}, "l": [1]}
    flow.del_flow_data(key="l")
    assert flow.get_flow_data(key="l") is None


def test_get_flow_data_takes_inherit_by_position() -> None:
    assert Flow().get_flow_data("z", 5, True) == 5


def noting_late(seen: list[Any]) -> Any:
    async def note(data: Any) -> None:
        await asyncio.sleep(0.05)
        seen.append(data.value)

    return note


def test_set_flow_data_has_run_the_handlers_when_it_returns() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(ident)
    flow.when({"flow_data": "k"}).to(noting_late(seen))
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    flow.set_flow_data("k", 1)
    execution.set_flow_data("k", 2)
    assert seen == [1, 2]


async def test_async_set_flow_data_has_run_the_handlers_when_it_returns() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(ident)
    flow.when({"flow_data": "k"}).to(noting_late(seen))
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    await flow.async_set_flow_data("k", 1)
    await execution.async_set_flow_data("k", 2)
    assert seen == [1, 2]


async def test_flow_data_reaches_executions_that_have_not_started() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when({"flow_data": "k"}).to(noting(seen))
    executions = [flow.create_execution(), flow.create_execution()]
    await flow.async_set_flow_data("k", 1)
    await asyncio.sleep(0.1)
    assert (seen, len(executions)) == ([1, 1], 2)


# -- resources -------------------------------------------------------------------------------------------------------


def test_resources_of_a_flow_chain_and_reach_executions_that_exist() -> None:
    flow = Flow()
    execution = flow.create_execution(runtime_resources={"own": 1})
    assert flow.set_runtime_resource("late", 5).update_runtime_resources({"x": 1}, y=2) is flow
    assert sorted(execution.get_runtime_resources()) == ["late", "own", "x", "y"]
    assert flow.del_runtime_resource("x").del_runtime_resource("unknown").clear_runtime_resources() is flow
    assert execution.get_runtime_resources() == {"own": 1}


def test_resources_of_a_flow_by_keyword() -> None:
    flow = Flow()
    flow.set_runtime_resource(key="a", value=1)  # type: ignore[call-arg]
    assert flow.get_runtime_resource(key="a", default=2) == 1  # type: ignore[call-arg]
    flow.del_runtime_resource(key="a")  # type: ignore[call-arg]
    assert flow.get_runtime_resource(key="a", default=2) == 2  # type: ignore[call-arg]


# -- contract --------------------------------------------------------------------------------------------------------


def test_contract_keeps_what_is_left_out_and_replaces_meta() -> None:
    flow = Flow()
    flow.set_contract(initial_input=int, result=str, meta={"v": 1})
    assert flow.set_contract() is flow
    assert flow.get_contract() == TriggerFlowContractSpec(initial_input=int, result=str, meta={"v": 1})
    flow.set_contract(initial_input=None, meta={"w": 2})
    assert flow.get_contract() == TriggerFlowContractSpec(None, None, str, {"w": 2})
    assert flow.get_contract_metadata()["initial_input"] is None
    flow.set_contract(meta=None)
    assert flow.get_contract().meta == {}


def test_contract_takes_keywords_only() -> None:
    with pytest.raises(TypeError):
        Flow().set_contract(int)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Flow().set_contract(bogus=int)


@pytest.mark.parametrize(
    ("promised", "value", "taken"),
    [(list[int], ["1", 2], [1, 2]), (dict[str, int], {"a": "1"}, {"a": 1}), (int | None, None, None), (bool, 1, True)],
)
def test_contract_coerces_what_comes_in(promised: Any, value: Any, taken: Any) -> None:
    flow = Flow()
    flow.set_contract(initial_input=promised)
    flow.to(ident).end()
    assert flow.start(value) == taken


def test_contract_of_no_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="initial_input"):
        Flow().set_contract(initial_input=5)


def test_contract_of_an_execution_coerces_results_and_refuses_stream_items() -> None:
    flow = Flow()
    flow.set_contract(stream=int, result=int)
    execution = flow.create_execution()
    execution.set_result("7")
    assert execution.get_result() == 7
    with pytest.raises(ValueError, match="TriggerFlow contract validation failed for 'stream'"):
        execution.put_into_stream("x")


def test_contract_of_the_stream_lets_interrupts_pass() -> None:
    flow = Flow()
    flow.set_contract(stream=int)

    def ask(data: Any) -> Any:
        paused = data.pause_for(interrupt_id="i")
        data.stop_stream()
        return paused

    flow.to(ask)
    execution = flow.create_execution()
    items: list[Any] = [*execution.get_runtime_stream(1, timeout=1)]
    assert all(item["type"] == "interrupt" for item in items)


# -- blueprint -------------------------------------------------------------------------------------------------------


def test_blueprint_carries_the_graph_and_nothing_else() -> None:
    flow = Flow(name="F")
    flow.chunk("c")(inc)
    flow.to("c").end()
    flow.set_contract(initial_input=int)
    flow.set_flow_data("k", 1)
    flow.set_runtime_resource("r", 1)
    flow.set_settings("rows.bp", 1)
    other = Flow(flow.save_blue_print(), name="G")
    assert (other.start(1), other.name, "c" in other.chunks) == (2, "G", True)
    assert (other.get_flow_data(), other.get_runtime_resource("r"), other.get_contract_metadata()) == ({}, None, {})
    assert other.settings.get("rows.bp") is None


def test_blueprint_is_a_copy() -> None:
    flow = Flow()
    process = flow.to(inc)
    process.end()
    blue_print = flow.save_blue_print()
    copy = blue_print.copy(name="z")
    flow.to(double).end()
    assert (isinstance(copy, TriggerFlowBluePrint), copy.name) == (True, "z")
    assert Flow(copy).start(5) == Flow(blue_print).start(5) == 6


def test_load_blue_print_replaces_the_chunks() -> None:
    flow, other = Flow(), Flow()
    flow.chunk("c")(inc)
    other.chunk("d")(double)
    assert other.load_blue_print(flow.save_blue_print()) is other
    assert sorted(other.chunks) == ["c"]


def test_blueprint_remove_all_of_the_start() -> None:
    blue_print, seen = TriggerFlowBluePrint(), list[Any]()
    blue_print.add_handler("event", "START", noting(seen), id="h")
    blue_print.remove_all("event", "START")
    Flow(blue_print).create_execution().start(1, wait_for_result=False)
    assert seen == []


def test_blueprint_handlers_by_keyword() -> None:
    blue_print, seen = TriggerFlowBluePrint(), list[Any]()
    blue_print.add_event_handler(event="Ev", handler=noting(seen), id="e")  # type: ignore[call-arg]
    blue_print.add_runtime_data_handler(key="k", handler=noting(seen), id="r")  # type: ignore[call-arg]
    execution = Flow(blue_print).create_execution()
    execution.emit("Ev", 1)
    execution.set_runtime_data("k", 2)
    assert seen == [1, 2]


def test_blueprint_create_execution_takes_an_id() -> None:
    flow = Flow()
    flow.to(inc).end()
    execution = flow.save_blue_print().create_execution(flow, execution_id="E", concurrency=1)
    assert (execution.id, execution.start(1)) == ("E", 2)


# -- names -----------------------------------------------------------------------------------------------------------


def test_types_for_annotations_can_be_imported() -> None:
    from agently.types import trigger_flow

    for name in ("TriggerFlowHandler", "TriggerFlowSystemStreamEvent", "TriggerFlowContractMetadata",
                 "TriggerFlowContractEntry", "TriggerFlowSubFlowCapture", "TriggerFlowSubFlowWriteBack"):  # fmt: skip
        assert hasattr(trigger_flow, name), name


def test_load_flow_config_by_keyword(tmp_path: Path) -> None:
    flow = Flow()
    flow.to(inc).end()
    config: Mapping[str, Any] = flow.get_flow_config(validate_serializable=False)
    other = Flow()
    other.register_chunk_handler(inc)
    assert other.load_flow_config(config=config).start(1) == 2  # type: ignore[call-arg]


def test_flows_of_one_blueprint_have_one_graph() -> None:
    blue_print = TriggerFlowBluePrint()
    first, second = Flow(blue_print), Flow(blue_print)
    first.to(inc).end()
    assert (second.start(1), Flow(blue_print.copy()).start(1)) == (2, 2)
    third = Flow()
    third.to(double).end()
    assert third.start(5) == 10
    third.load_blue_print(blue_print)
    assert third.start(5) == 6


def test_a_loaded_flow_has_no_contract_of_before() -> None:
    flow, other = Flow(), Flow()
    flow.to(ident).end()
    other.register_chunk_handler(ident)
    other.set_contract(initial_input=int)
    other.load_flow_config(flow.get_flow_config())
    assert (other.get_contract().initial_input, other.start("text")) == (None, "text")


def test_settings_update_merges() -> None:
    flow = Flow()
    flow.settings.update({"app": {"a": 1}})
    flow.settings.update({"app": {"b": 2}})
    assert flow.settings.get("app") == {"a": 1, "b": 2}
