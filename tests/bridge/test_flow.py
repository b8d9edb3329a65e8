"""The flow: chunks, starters, runs, shared data, resources, contract, blueprint."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agently import Agently, TriggerFlow, TriggerFlowBluePrint, TriggerFlowContractSpec
from pydantic import BaseModel

from tests.bridge.support import after, boom, double, ident, inc, items_of, noting

# -- chunks ----------------------------------------------------------------------------------------------------------


def test_chunk_gives_a_chunk_and_not_the_function() -> None:
    flow = TriggerFlow()
    chunk = flow.chunk("first")(inc)
    assert (chunk.name, flow.chunks["first"] == chunk) == ("first", True)
    assert chunk.trigger == f"Chunk[inc]-{chunk.id}"
    assert flow.chunk(double).name == "double"


def test_two_functions_under_one_explicit_name_are_an_error() -> None:
    flow = TriggerFlow()
    flow.chunk("a")(inc)
    with pytest.raises(ValueError, match="already registered to another callable"):
        flow.chunk("a")(double)


def test_a_clash_of_unnamed_functions_is_none() -> None:
    flow = TriggerFlow()

    def make(number: int) -> Any:
        async def same(data: Any) -> int:
            return number

        return same

    first, second = flow.chunk(make(1)), flow.chunk(make(2))
    assert first != second


def test_declare_emits_is_for_graphs_and_takes_names_only() -> None:
    chunk = TriggerFlow().chunk(ident)
    assert chunk.declare_emits("Ev", "Ev2") is chunk
    assert chunk.emit_signals == ["Ev", "Ev2"]
    with pytest.raises(TypeError):
        chunk.declare_emits(5)  # type: ignore[arg-type]


async def test_a_chunk_can_be_called_by_itself() -> None:
    class Data:
        value = 4

    assert await TriggerFlow().chunk(inc).async_call(Data()) == 5
    assert await TriggerFlow().chunk(lambda data: data.value * 3).async_call(Data()) == 12


def test_a_chunk_can_be_called_from_a_script() -> None:
    class Data:
        value = 4

    assert TriggerFlow().chunk(inc).call(Data()) == 5


# -- runs ------------------------------------------------------------------------------------------------------------


async def test_every_starter_listens_to_the_start() -> None:
    for build, start, expected in [
        (lambda flow: flow.to(inc), 1, 2),
        (lambda flow: flow.side_branch(boom).to(inc), 1, None),
        (lambda flow: flow.when("START").to(inc), 1, 2),
        (lambda flow: flow.batch(inc, double), 3, {"inc": 4, "double": 6}),
        (lambda flow: flow.for_each().to(inc).end_for_each(), [1, 2], [2, 3]),
        (lambda flow: flow.match().case(1).to(inc).end_match(), 1, 2),
        (lambda flow: flow.if_condition(lambda data: data.value > 0).to(inc).end_condition(), 1, 2),
        (lambda flow: flow.to_sub_flow(_sub()), 5, 10),
    ]:
        flow = TriggerFlow(skip_exceptions=True)
        build(flow).end()
        assert await flow.async_start(start) == (2 if expected is None else expected)


def _sub() -> TriggerFlow[Any, Any, Any]:
    flow: TriggerFlow[Any, Any, Any] = TriggerFlow(name="sub")
    flow.to(double).end()
    return flow


def test_what_is_no_starter_is_not_on_the_flow() -> None:
    for name in ("end", "collect", "____", "case"):
        assert not hasattr(TriggerFlow(), name)


async def test_steps_added_later_do_not_reach_an_execution() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    flow.to(ident).end()
    execution = flow.create_execution()
    flow.to(noting(seen))
    assert (await execution.async_start(1), seen) == (1, [])
    assert (await flow.async_start(2), seen) == (2, [2])


async def test_start_execution_gives_an_execution_that_has_settled() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    flow.to(after(5)).to(noting(seen)).end()
    execution = await flow.async_start_execution(1)
    assert (seen, execution.get_status(), await execution.async_get_result()) == ([1], "completed", 1)
    assert (await flow.async_start_execution(2, wait_for_result=True)).get_result() == 2
    with pytest.raises(TypeError):
        await flow.async_start_execution()  # type: ignore[call-arg]


async def test_start_execution_raises_what_a_chunk_raised() -> None:
    flow = TriggerFlow()
    flow.to(boom).end()
    with pytest.raises(RuntimeError, match="boom"):
        await flow.async_start_execution(1)


async def test_async_start_gives_the_result_or_none_if_it_is_not_asked_for() -> None:
    flow = TriggerFlow()
    flow.to(inc).end()
    assert await flow.async_start(1) == 2
    assert await flow.async_start(1, wait_for_result=False) is None


async def test_a_timeout_gives_none_with_a_warning_and_bounds_the_work_too() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    flow.to(after(60)).to(noting(seen)).end()
    begun = asyncio.get_running_loop().time()
    with pytest.warns(UserWarning, match="longer than 0.2 s"):
        assert await flow.async_start(1, timeout=0.2) is None
    assert asyncio.get_running_loop().time() - begun == pytest.approx(0.2)
    await asyncio.sleep(100)
    assert seen == []  # the run that nobody can reach any more has been cancelled


async def test_the_default_timeout_does_not_cut_off_work_that_goes_on() -> None:
    """4.0.9's `timeout=10` counts from the moment when all that the start caused is done."""
    flow = TriggerFlow()
    flow.to(after(60)).end()
    assert await flow.async_start(1) == 1


async def test_the_default_timeout_bounds_the_wait_for_the_outside() -> None:
    flow = TriggerFlow()
    flow.when("never").to(ident).end()
    begun = asyncio.get_running_loop().time()
    with pytest.warns(UserWarning, match="longer than 10"):
        assert await flow.async_start(1) is None
    assert asyncio.get_running_loop().time() - begun == pytest.approx(10)


async def test_a_flow_without_an_end_gives_none_at_once() -> None:
    flow = TriggerFlow()
    flow.to(ident)
    begun = asyncio.get_running_loop().time()
    assert await flow.async_start(1) is None
    assert asyncio.get_running_loop().time() == begun


async def test_cancelling_a_start_cancels_the_run() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    flow.to(after(60)).to(noting(seen)).end()
    task = asyncio.create_task(flow.async_start(1))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(100)
    assert seen == []


def test_the_sync_twins_serve_scripts() -> None:
    flow = TriggerFlow()

    def work(data: Any) -> Any:
        data.put_into_stream("item")
        return data.value * 2

    flow.to(work).end()
    assert flow.start(21) == 42
    assert list(flow.get_runtime_stream(1)) == ["item"]
    assert flow.start_execution(4).get_result() == 8


async def test_a_sync_twin_inside_a_running_loop_says_so_instead_of_blocking_it() -> None:
    flow = TriggerFlow()
    flow.to(ident).end()
    with pytest.raises(RuntimeError, match="await"):
        flow.start(1)


async def test_the_stream_of_a_flow_runs_it() -> None:
    flow = TriggerFlow()

    async def put(data: Any) -> None:
        await data.async_put(data.value)
        await data.async_put(data.value + 1)

    flow.to(put)
    assert await items_of(flow.get_async_runtime_stream(1)) == [1, 2]


async def test_skip_exceptions_of_the_flow_and_of_the_execution() -> None:
    for flow, execution_wide in ((TriggerFlow(skip_exceptions=True), None), (TriggerFlow(), True)):
        flow.to(boom)
        flow.to(inc).end()
        execution = flow.create_execution(skip_exceptions=execution_wide)
        assert (await execution.async_start(1), execution.get_status()) == (2, "completed")


async def test_concurrency_is_a_true_bound() -> None:
    flow, now, peak = TriggerFlow(), 0, 0

    async def work(data: Any) -> None:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(1)
        now -= 1

    flow.for_each().to(work).end_for_each().end()
    await flow.async_start(range(20), concurrency=2)
    assert peak == 2


# -- shared data and resources ---------------------------------------------------------------------------------------


async def test_flow_data_is_shared_and_triggers_in_every_live_execution() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    flow.to(ident)
    flow.when({"flow_data": "k"}).to(noting(seen))
    flow.when("go").to(ident).end()
    first, second = flow.create_execution(), flow.create_execution()
    for execution in (first, second):
        await execution.async_start(1, wait_for_result=False)
    await flow.async_set_flow_data("k", 1)
    await asyncio.sleep(0.01)
    assert (seen, first.get_flow_data("k"), flow.get_flow_data("k")) == ([1, 1], 1, 1)
    flow.set_flow_data("k", 2, emit=False)
    flow.append_flow_data("list", 1)
    await flow.async_append_flow_data("list", 2)
    flow.del_flow_data("k", emit=False)
    await asyncio.sleep(0.01)
    assert (seen, flow.get_flow_data()) == ([1, 1], {"list": [1, 2]})
    await flow.async_del_flow_data("list")
    assert flow.get_flow_data("list", "none") == "none"


def test_flow_data_works_in_a_script() -> None:
    flow = TriggerFlow()
    flow.set_flow_data("a.b", 1)
    assert (flow.get_flow_data("a"), flow.get_flow_data("a.b")) == ({"b": 1}, 1)


async def test_resources_of_flow_and_execution() -> None:
    flow = TriggerFlow()
    flow.set_runtime_resource("a", 1)
    flow.update_runtime_resources({"b": 2}, c=3)
    assert (flow.get_runtime_resource("a"), flow.get_runtime_resource("z", 9)) == (1, 9)
    flow.del_runtime_resource("c")
    execution = flow.create_execution(runtime_resources={"b": 20})
    execution.set_runtime_resource("d", 4).update_runtime_resources(e=5).del_runtime_resource("e")
    assert execution.get_runtime_resources() == {"a": 1, "b": 20, "d": 4}
    assert execution.require_runtime_resource("b") == 20
    with pytest.raises(KeyError, match="missing required runtime resource 'z'"):
        execution.require_runtime_resource("z")
    execution.clear_runtime_resources()
    assert execution.get_runtime_resource("b") == 2
    flow.clear_runtime_resources()
    assert execution.get_runtime_resources() == {}


def test_settings_are_inherited_from_agently_to_flow_to_execution() -> None:
    Agently.set_settings("bridge.test", {"a": 1, "b": 2})
    flow = TriggerFlow()
    flow.set_settings("bridge.test", {"b": 3})
    execution = flow.create_execution()
    execution.set_settings("bridge.test.c", 4)
    assert execution.settings.get("bridge.test") == {"a": 1, "b": 3, "c": 4}
    assert (flow.settings.get("bridge.test.c"), Agently.settings.get("bridge.test.b")) == (None, 2)


def test_settings_can_be_read_from_files(tmp_path: Any) -> None:
    (tmp_path / "s.json").write_text('{"bridge": {"file": 1}}')
    (tmp_path / "s.yaml").write_text("bridge:\n  file: 2\n")
    flow = TriggerFlow()
    flow.load_settings("json_file", tmp_path / "s.json")
    assert flow.settings.get("bridge.file") == 1
    flow.load_settings("yaml_file", tmp_path / "s.yaml")
    assert flow.settings.get("bridge.file") == 2


# -- contract --------------------------------------------------------------------------------------------------------


class Topic(BaseModel):
    name: str


async def test_a_contract_coerces_and_refuses() -> None:
    flow = TriggerFlow()
    assert flow.set_contract(initial_input=int, result=str, meta={"v": 1}) is flow
    flow.match().case(5).to(lambda data: "five").case_else().to(ident).end_match().end()
    assert await flow.async_start("5") == "five"
    with pytest.raises(ValueError, match="TriggerFlow contract validation failed for 'initial_input'"):
        await flow.async_start("x")
    with pytest.raises(ValueError, match="TriggerFlow contract validation failed for 'result'"):
        await flow.async_start(6)


async def test_a_contract_holds_for_the_stream_and_for_set_result() -> None:
    flow = TriggerFlow()
    flow.set_contract(stream=Topic)

    async def put(data: Any) -> None:
        await data.async_put_into_stream({"name": "a"})
        await data.async_put_into_stream({"nome": "a"})

    flow.to(put)
    stream = flow.create_execution().get_async_runtime_stream(1)
    assert await anext(stream) == Topic(name="a")
    with pytest.raises(ValueError, match="'stream'"):
        await anext(stream)
    flow.set_contract(result=int)
    other = flow.create_execution()
    with pytest.raises(ValueError, match="'result'"):
        other.set_result("no")


def test_the_contract_can_be_read() -> None:
    flow = TriggerFlow()
    assert (flow.get_contract(), flow.get_contract_metadata()) == (TriggerFlowContractSpec(), {})
    flow.set_contract(initial_input=int, stream=Topic)
    flow.set_contract(result=str, meta={"a": 1})
    spec = flow.get_contract()
    assert (spec.initial_input, spec.stream, spec.result, spec.meta) == (int, Topic, str, {"a": 1})
    with pytest.raises(AttributeError):
        spec.meta = {}  # type: ignore[misc]
    told = flow.get_contract_metadata()
    assert told["initial_input"] == {"label": "int", "schema": {"type": "integer"}}
    assert told["stream"]["label"] == "Topic"
    assert told["system_stream"]["interrupt"]["label"] == "TriggerFlowInterruptEvent"
    assert flow.create_execution().get_contract_metadata() == told


# -- blueprint -------------------------------------------------------------------------------------------------------


async def test_a_blueprint_carries_a_flow_to_another() -> None:
    flow = TriggerFlow()
    flow.chunk("inc")(inc)
    flow.to("inc").to(lambda data: data.value * 10).end()
    blueprint = flow.save_blue_print()
    flow.to(boom)
    other = TriggerFlow()
    other.set_contract(result=str)
    assert other.load_blue_print(blueprint) is other
    assert await other.async_start(1) == 20
    assert await TriggerFlow(blueprint).async_start(2) == 30
    assert other.get_contract().result is None


async def test_a_blueprint_takes_handlers_directly() -> None:
    blueprint, seen = TriggerFlowBluePrint(name="bp"), list[Any]()
    blueprint.add_handler("event", "START", noting(seen, lambda data: ("start", data.value)), id="s")
    blueprint.add_event_handler("Ev", noting(seen, lambda data: ("event", data.value)), id="e")
    blueprint.add_runtime_data_handler("k", noting(seen, lambda data: ("data", data.value)), id="d")
    blueprint.add_flow_data_handler("f", noting(seen, lambda data: ("flow", data.value)))

    async def run(blueprint: TriggerFlowBluePrint) -> list[Any]:
        seen.clear()
        execution = blueprint.create_execution(TriggerFlow())
        await execution.async_start(1, wait_for_result=False)
        await execution.async_emit("Ev", 2)
        await execution.async_set_runtime_data("k", 3)
        return list(seen)

    assert await run(blueprint) == [("start", 1), ("event", 2), ("data", 3)]
    copy = blueprint.copy(name="other")
    blueprint.remove_event_handler("Ev", "e")
    blueprint.remove_all("runtime_data", "k")
    assert await run(blueprint) == [("start", 1)]
    assert await run(copy) == [("start", 1), ("event", 2), ("data", 3)]


def test_remove_execution_may_be_called() -> None:
    flow = TriggerFlow()
    execution = flow.create_execution()
    flow.remove_execution(execution)
    flow.remove_execution(execution.id)


def test_settings_come_from_toml_and_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_KEY", "secret")
    path = tmp_path / "settings.toml"
    path.write_text('[model]\nkey = "${ENV.BRIDGE_KEY}"\nother = ["a ${ ENV.BRIDGE_KEY }", "${ENV.BRIDGE_NONE}"]\n')
    flow = TriggerFlow()
    flow.load_settings("toml_file", path, auto_load_env=True)
    assert flow.settings.get("model") == {"key": "secret", "other": ["a secret", "${ENV.BRIDGE_NONE}"]}
    flow.load_settings("json", '{"key": "${ENV.BRIDGE_KEY}"}')
    assert flow.settings.get("key") == "${ENV.BRIDGE_KEY}"
