"""The execution row by row: what programs for 4.0.9 rely on beside what `test_execution` and `test_save` say."""

import asyncio
import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from agently import TriggerFlow
from pydantic import BaseModel

from tests.bridge.support import boom, ident, inc, items_of, noting

Flow = TriggerFlow[Any, Any, Any]


def ended(chunk: Any = inc) -> Flow:
    flow = Flow()
    flow.to(chunk).end()
    return flow


def asking(resume_event: str | None = "Ok") -> Flow:
    flow = Flow()

    async def ask(data: Any) -> Any:
        return await data.async_pause_for(type="t", payload={"p": 1}, resume_event=resume_event, interrupt_id="i")

    flow.to(ask)
    flow.when("Ok").to(lambda data: (data.value, data.state.to_dict())).end()
    return flow


# -- what it is ------------------------------------------------------------------------------------------------------


def test_a_new_execution_is_empty() -> None:
    flow = ended()
    execution = flow.create_execution()
    assert (execution.get_status(), execution.is_waiting(), execution.get_last_signal()) == ("created", False, None)
    assert (execution.get_pending_interrupts(), execution.get_interrupt("x")) == ({}, None)
    assert (execution.get_runtime_data(), execution.get_flow_data(), execution.get_runtime_resources()) == ({}, {}, {})
    context = execution.run_context
    assert (context.run_kind, context.parent_run_id, context.meta) == (
        "workflow_execution", None, {"flow_name": flow.name}
    )  # fmt: skip
    assert (context.root_run_id, context.execution_id) == (context.run_id, execution.id)


# -- start and result ------------------------------------------------------------------------------------------------


def test_start_takes_one_positional() -> None:
    execution = ended(ident).create_execution()
    for wrong in (
        lambda: execution.start("x", True),
        lambda: execution.start("x", bogus=1),
        lambda: execution.get_result(1),
    ):
        with pytest.raises(TypeError):
            wrong()
    assert execution.start(initial_value="x", wait_for_result=True, timeout=None) == "x"


async def test_start_twice_at_once_runs_once() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(noting(seen)).to(inc).end()
    execution = flow.create_execution()
    assert await asyncio.gather(execution.async_start(1), execution.async_start(2)) == [2, 2]
    assert seen == [1]


async def test_get_result_may_wait_before_the_start() -> None:
    execution = ended().create_execution()
    task = asyncio.create_task(execution.async_get_result())
    await asyncio.sleep(0.01)
    assert not task.done()
    await execution.async_start(4)
    assert await task == 5


def test_set_result_before_the_start_is_what_start_gives() -> None:
    execution = ended().create_execution()
    execution.set_result(result="before")
    assert (execution.get_status(), execution.start(1), execution.get_result()) == ("completed", "before", "before")


async def test_set_result_after_a_start_that_was_not_waited_for() -> None:
    flow = Flow()
    flow.to(ident)
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    execution.set_result("late")
    assert (await execution.async_get_result(), execution.get_status()) == ("late", "completed")


async def test_start_in_a_thread_of_a_program_with_a_loop() -> None:
    flow = ended()
    execution = flow.create_execution()
    assert await asyncio.to_thread(execution.start, 5) == 6
    assert await asyncio.to_thread(flow.start, 6) == 7


def test_the_value_is_passed_on_as_it_is() -> None:
    items = [1]

    def add(data: Any) -> Any:
        data.value.append(2)
        return data.value

    assert (ended(add).start(items), items) == ([1, 2], [1, 2])
    for value in ((1, 2), {1, 2}, b"x", [1, {"a": (1,)}]):
        assert ended(ident).start(value) == value


# -- sync and then async ---------------------------------------------------------------------------------------------


def test_sync_methods_before_an_event_loop() -> None:
    for touch in (lambda it: it.get_status(), lambda it: it.set_runtime_resource("a", 1)):
        execution = ended().create_execution()
        touch(execution)
        assert asyncio.run(execution.async_start(1)) == 2


@pytest.mark.parametrize(
    "touch",
    [
        lambda it: it.set_runtime_data("a", 1),
        lambda it: it.emit("Ev", 1),
        lambda it: it.put_into_stream("x"),
        lambda it: it.set_result(2),
    ],
    ids=["data", "emit", "stream", "result"],
)
def test_sync_methods_before_a_start_in_an_event_loop(touch: Any) -> None:
    execution = ended().create_execution()
    touch(execution)
    assert asyncio.run(execution.async_start(1)) == 2


def test_async_methods_after_a_sync_start() -> None:
    flow, seen = ended(), list[Any]()
    flow.when("Ev").to(noting(seen))
    execution = flow.create_execution()
    execution.start(1)

    async def main() -> None:
        await execution.async_emit("Ev", 5)
        await execution.async_set_runtime_data("k", 1)
        await execution.async_put_into_stream("x")

    asyncio.run(main())
    assert (seen, execution.get_runtime_data("k"), execution.get_result()) == ([5], 1, 2)


def test_sync_methods_inside_an_event_loop_after_a_sync_start() -> None:
    execution = ended().create_execution()
    execution.start(1)

    async def main() -> Any:
        execution.set_runtime_data("y", 1)
        execution.emit("x", 1)
        return execution.get_runtime_data(), execution.get_result(), await execution.async_get_result()

    assert asyncio.run(main()) == ({"y": 1}, 2, 2)


async def test_sync_methods_inside_an_event_loop() -> None:
    flow, seen = ended(), list[Any]()
    flow.when("Ev").to(("n1", noting(seen)))
    flow.when({"runtime_data": "k"}).to(("n2", noting(seen)))
    execution = flow.create_execution()
    execution.set_runtime_data("k", 1)
    execution.emit("Ev", 2)
    await asyncio.sleep(0.01)
    assert await execution.async_start(1) == 2
    execution.append_runtime_data("k", 3)
    execution.emit("Ev", 4)
    execution.del_runtime_data("k")
    await asyncio.sleep(0.01)
    assert (seen, execution.get_runtime_data()) == ([1, 2, [1, 3], 4, None], {})


def test_emit_from_several_threads() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when("Ev").to(noting(seen))
    execution = flow.create_execution()
    threads = [threading.Thread(target=execution.emit, args=("Ev", number)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [0, 1, 2, 3, 4]


# -- keywords --------------------------------------------------------------------------------------------------------


def test_data_methods_by_keyword() -> None:
    execution = ended().create_execution()
    execution.set_runtime_data(key="a.b", value=1, emit=False)
    execution.append_runtime_data(key="l", value=1, emit=False)
    assert execution.get_runtime_data(key="a", default=4, inherit=True) == {"b": 1}
    execution.del_runtime_data(key="a.b", emit=False)
    assert execution.get_runtime_data() == {"a": {}, "l": [1]}
    execution.set_flow_data(key="f", value=1, emit=False)
    assert execution.get_flow_data(key="f", default=2) == 1


def test_get_runtime_data_takes_inherit_by_position() -> None:
    assert ended().create_execution().get_runtime_data("z", 4, False) == 4


def test_resources_by_keyword() -> None:
    execution: Any = ended().create_execution()
    assert execution.set_runtime_resource(key="a", value=1) is execution
    assert (execution.get_runtime_resource(key="a"), execution.require_runtime_resource(key="a")) == (1, 1)
    assert execution.del_runtime_resource(key="a") is execution
    assert execution.get_runtime_resource(key="a", default=2) == 2


def test_resources_chain() -> None:
    execution = ended().create_execution()
    assert execution.update_runtime_resources({"x": 1}, y=2).update_runtime_resources() is execution
    assert execution.update_runtime_resources(mapping={"z": 3}).get_runtime_resources() == {"x": 1, "y": 2, "z": 3}
    assert execution.clear_runtime_resources().get_runtime_resources() == {}


def test_emit_and_put_by_keyword() -> None:
    execution: Any = ended().create_execution()
    execution.emit(trigger_event="Ev", value=1, _layer_marks=None)
    execution.put_into_stream(stream_item=1)


def test_set_concurrency_gives_the_execution() -> None:
    execution: Any = ended().create_execution()
    assert execution.set_concurrency(concurrency=3) is execution
    assert execution.start(1) == 2


# -- signals ---------------------------------------------------------------------------------------------------------


def test_last_signal_may_be_the_completion_of_a_chunk() -> None:
    flow = Flow()
    chunk = flow.chunk("c")(inc)
    flow.to(chunk).end()
    execution = flow.create_execution()
    execution.start(1)
    signal = execution.get_last_signal()
    assert (signal.trigger_event, signal.trigger_type, signal.value, signal.source) == (
        chunk.trigger,
        "event",
        2,
        "runtime",
    )


def test_last_signal_is_no_change_that_nobody_waits_for() -> None:
    execution = ended().create_execution()
    execution.emit("Ev", 7)
    execution.set_runtime_data("k", 1)
    assert (execution.get_last_signal().trigger_event, execution.get_last_signal().value) == ("Ev", 7)


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_failure_is_raised_by_every_way_to_start() -> None:
    flow = ended(boom)
    for way in (
        lambda: flow.start(1, wait_for_result=False), lambda: flow.start_execution(1),
        lambda: [*flow.get_runtime_stream(1, timeout=0.5)],
        lambda: flow.create_execution().start(1, wait_for_result=False),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="boom"):
            way()


def test_a_failure_of_a_data_handler_is_raised_where_the_data_is_set() -> None:
    flow = Flow()
    flow.when({"runtime_data": "k"}).to(boom)
    execution = flow.create_execution()
    with pytest.raises(RuntimeError, match="boom"):
        execution.set_runtime_data("k", 1)
    assert execution.get_status() == "failed"


def test_skip_exceptions_of_an_execution_beats_that_of_the_flow() -> None:
    flow = TriggerFlow[Any, Any, Any](skip_exceptions=True)
    flow.to(boom)
    flow.to(inc).end()
    assert flow.start(1) == 2
    with pytest.raises(RuntimeError, match="boom"):
        flow.create_execution(skip_exceptions=False).start(1)


def test_a_failure_after_the_result_leaves_the_result() -> None:
    flow = ended()
    flow.when("Ev").to(boom)
    execution = flow.create_execution()
    assert execution.start(1) == 2
    with pytest.raises(RuntimeError, match="boom"):
        execution.emit("Ev")
    assert execution.get_result(timeout=1) == 2


# -- stream ----------------------------------------------------------------------------------------------------------


def talking() -> Flow:
    flow = Flow()

    async def talk(data: Any) -> Any:
        for number in range(3):
            await data.async_put_into_stream(number)
            await asyncio.sleep(0.01)
        await data.async_stop_stream()
        return data.value

    flow.to(talk).end()
    return flow


def test_stream_of_a_script_can_be_read_again_and_after_the_end() -> None:
    execution = talking().create_execution()
    assert [*execution.get_runtime_stream("v", timeout=5)] == [0, 1, 2]
    assert [*execution.get_runtime_stream()] == [*execution.get_runtime_stream("other", timeout=1)] == [0, 1, 2]
    assert (execution.get_result(), execution.get_status()) == ("v", "completed")
    done = talking().create_execution()
    done.start(1)
    assert [*done.get_runtime_stream()] == [0, 1, 2]


def test_stream_of_a_script_may_be_left_early() -> None:
    stream: Any = talking().get_runtime_stream(1)
    assert (next(stream), next(stream)) == (0, 1)
    stream.close()


def test_stream_of_a_script_has_what_was_put_before_the_start() -> None:
    execution = talking().create_execution()
    execution.put_into_stream("before")
    assert [*execution.get_runtime_stream(1)] == ["before", 0, 1, 2]


async def test_stream_beside_a_start() -> None:
    execution = talking().create_execution()
    task = asyncio.create_task(execution.async_start("v"))
    assert await items_of(execution.get_async_runtime_stream()) == [0, 1, 2]
    assert await task == "v"


async def test_stream_of_two_readers_who_both_start() -> None:
    execution = talking().create_execution()
    first, second = await asyncio.gather(
        items_of(execution.get_async_runtime_stream(1)), items_of(execution.get_async_runtime_stream(2))
    )
    assert first == second == [0, 1, 2]
    assert await execution.async_get_result() == 1


def test_stream_of_a_script_times_out_with_a_warning() -> None:
    flow = Flow()
    flow.when("never").to(ident).end()
    flow.to(lambda data: data.put("item"))
    with pytest.warns(UserWarning, match="stream"):
        assert [*flow.get_runtime_stream(1, timeout=0.1)] == ["item"]


def test_stream_with_a_question_that_its_reader_answers() -> None:
    flow = asking()
    flow.when("Ok").to(lambda data: data.stop_stream())
    execution, actions = flow.create_execution(), list[Any]()
    for item in execution.get_runtime_stream(1, timeout=3):
        actions.append((item["type"], item["action"], item["execution_id"] == execution.id))
        if item["action"] == "pause":
            assert (item["interrupt"]["payload"], item["signal"]["trigger_event"]) == ({"p": 1}, "START")
            execution.continue_with(item["interrupt"]["id"], "yes")
        else:
            assert (item["value"], item["interrupt"]["response"]) == ("yes", "yes")
    assert actions == [("interrupt", "pause", True), ("interrupt", "resume", True)]
    assert execution.get_result(timeout=1) == ("yes", {})


# -- interrupts ------------------------------------------------------------------------------------------------------


def test_interrupts_have_ids_of_32_hex_digits() -> None:
    flow = Flow()
    flow.to(lambda data: data.pause_for())
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    ((number, asked),) = execution.get_pending_interrupts().items()
    assert (len(number), int(number, 16) > 0) == (32, True)
    assert asked == {"id": number, "type": "pause", "payload": None, "resume_event": None, "status": "waiting"}


def test_interrupts_of_two_branches_are_answered_one_by_one() -> None:
    flow, seen = Flow(), list[Any]()

    def asking_for(number: str) -> Any:
        return lambda data: data.pause_for(interrupt_id=number, resume_event="R")

    flow.to(("a", asking_for("1")))
    flow.to(("b", asking_for("2")))
    flow.when("R").to(noting(seen, lambda data: (data.value, data.signal_meta, data.signal_source)))
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    assert sorted(execution.get_pending_interrupts()) == ["1", "2"]
    execution.continue_with("1", "x")
    assert [*execution.get_pending_interrupts()] == ["2"]
    execution.continue_with(interrupt_id="2")
    assert seen == [("x", {"interrupt_id": "1"}, "interrupt"), (None, {"interrupt_id": "2"}, "interrupt")]


def test_interrupts_of_items() -> None:
    flow, seen = Flow(), list[Any]()
    flow.for_each().to(lambda data: data.pause_for(interrupt_id=f"i{data.value}", resume_event="R"))
    flow.when("R").to(noting(seen))
    execution = flow.create_execution()
    execution.start([1, 2], wait_for_result=False)
    assert sorted(execution.get_pending_interrupts()) == ["i1", "i2"]
    execution.continue_with("i1", "a")
    execution.continue_with("i2", "b")
    assert seen == ["a", "b"]


def test_interrupts_refuse_a_second_answer() -> None:
    execution = asking().create_execution()
    execution.start(1, wait_for_result=False)
    execution.continue_with("i", 1)
    with pytest.raises(ValueError, match="is not waiting"):
        execution.continue_with("i", 2)
    with pytest.raises(KeyError, match="zz"):
        execution.continue_with("zz")


# -- save and load ---------------------------------------------------------------------------------------------------


def test_save_before_the_start_and_load() -> None:
    flow = ended()
    execution = flow.create_execution()
    saved = execution.save()
    assert (saved["status"], saved["result"]) == ("created", {"ready": False, "value": None})
    assert (saved["last_signal"], saved["interrupts"], saved["resource_keys"]) == (None, {}, [])
    other = flow.create_execution().load(saved)
    assert (other.get_status(), other.id, other.start(5)) == ("created", execution.id, 6)


def test_save_shows_the_interrupt_its_signal_and_the_lineage() -> None:
    execution = asking().create_execution()
    execution.start("in", wait_for_result=False)
    saved = execution.save()
    assert {
        "agent_id",
        "agent_name",
        "execution_id",
        "meta",
        "parent_run_id",
        "root_run_id",
        "run_id",
        "run_kind",
    } <= set(saved["run_context"])
    assert saved["last_signal"]["trigger_event"] == "START"
    assert {"id", "layer_marks", "meta", "source", "trigger_event", "trigger_type", "value"} <= set(
        saved["last_signal"]
    )
    assert saved["interrupts"]["i"]["resume_event"] == "Ok"


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml", "txt"])
def test_save_to_a_file_and_load_its_text(suffix: str, tmp_path: Path) -> None:
    flow = asking()
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    path = tmp_path / f"state.{suffix}"
    assert execution.save(path)["status"] == "waiting"
    assert path.read_text().lstrip().startswith("{") == (suffix in ("json", "txt"))
    for source in (path, str(path), path.read_text()):
        assert flow.create_execution().load(source).get_status() == "waiting"


def test_save_makes_the_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "state.json"
    ended().create_execution().save(path)
    assert json.loads(path.read_text())["status"] == "created"


@pytest.mark.parametrize(
    ("value", "shown"), [({1: 2}, {"1": 2}), ({1, 2}, [1, 2]), (datetime(2020, 1, 1), "2020-01-01T00:00:00")]
)
def test_save_shows_data_as_json(value: Any, shown: Any) -> None:
    execution = ended().create_execution()
    execution.set_runtime_data("k", value)
    assert execution.save()["runtime_data"] == {"k": shown}


@pytest.mark.parametrize(("value", "shown"), [((1, 2), [1, 2]), ([(1,)], [[1]])])
def test_save_shows_tuples_as_lists(value: Any, shown: Any) -> None:
    execution = ended().create_execution()
    execution.set_runtime_data("k", value)
    assert execution.save()["runtime_data"] == {"k": shown}


class Model(BaseModel):
    a: int = 1


def test_save_shows_models_as_dictionaries() -> None:
    execution = ended(lambda data: Model()).create_execution()
    execution.start(1)
    assert execution.save()["result"] == {"ready": True, "value": {"a": 1}}


def test_load_takes_what_was_edited() -> None:
    flow = asking()
    execution = flow.create_execution()
    execution.set_runtime_data("a", 1)
    execution.start(1, wait_for_result=False)
    saved = json.loads(json.dumps(execution.save()))
    saved["runtime_data"]["b"] = 2
    saved["execution_id"] = "new"
    other = flow.create_execution().load(saved)
    assert (other.id, other.get_runtime_data()) == ("new", {"a": 1, "b": 2})
    other.continue_with("i", 5)
    assert other.get_result(timeout=1) == (5, {"a": 1, "b": 2})


def test_load_takes_a_state_written_by_hand() -> None:
    state = {
        "execution_id": "H", "status": "waiting", "runtime_data": {"a": 3}, "flow_data": {}, "last_signal": None,
        "interrupts": {"i": {"id": "i", "type": "t", "payload": None, "resume_event": "Ok", "status": "waiting"}},
        "result": {"ready": False, "value": None}, "resource_keys": [],
    }  # fmt: skip
    execution = asking().create_execution().load(state)
    assert (execution.id, execution.get_status(), execution.is_waiting()) == ("H", "waiting", True)
    execution.continue_with("i", "x")
    assert execution.get_result(timeout=1) == ("x", {"a": 3})
    done = ended().create_execution().load({"status": "completed", "result": {"ready": True, "value": 9}})
    assert (done.get_status(), done.get_result(timeout=1)) == ("completed", 9)


@pytest.mark.parametrize("wrong", [5, None, [], ""])
def test_load_of_what_is_no_state_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        ended().create_execution().load(wrong)


@pytest.mark.parametrize("wrong", ["nowhere.json"])
def test_load_of_a_text_that_is_no_state_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        ended().create_execution().load(wrong)


def test_load_of_broken_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"(?i)load|json"):
        ended().create_execution().load("{")


def test_load_keeps_the_resources_of_the_execution_and_adds_those_given() -> None:
    flow = ended()
    saved = flow.create_execution(runtime_resources={"lost": 0}).save()
    execution = flow.create_execution(runtime_resources={"a": 1}).load(saved, runtime_resources={"b": 2})
    assert execution.get_runtime_resources() == {"a": 1, "b": 2}
    assert saved["resource_keys"] == ["lost"]


def listening() -> Flow:
    """A flow that sends "Approved" itself for small values, and leaves it to the outside for others."""
    flow = Flow()

    async def decide(data: Any) -> None:
        if data.value < 100:
            await data.async_emit("Approved", "auto")

    flow.to(decide)
    flow.when("Approved").to(ident).end()
    return flow


async def test_an_event_that_a_chunk_may_send_may_come_from_outside() -> None:
    assert await listening().async_start(5) == "auto"
    execution = listening().create_execution()
    start = asyncio.create_task(execution.async_start(500, timeout=5))
    await asyncio.sleep(0.05)
    assert (execution.get_status(), start.done()) == ("running", False)
    await execution.async_emit("Approved", "boss")
    assert await start == "boss"


async def test_a_stream_of_a_flow_that_is_talked_to_ends_when_it_is_stopped() -> None:
    flow = Flow()

    async def echo(data: Any) -> None:
        await data.async_put_into_stream(data.value)

    flow.to(ident).end()
    flow.when("msg").to(echo)
    execution = flow.create_execution()
    reader = asyncio.create_task(items_of(execution.get_async_runtime_stream("x", timeout=5)))
    await asyncio.sleep(0.05)
    for number in (1, 2):
        await execution.async_emit("msg", number)
    await execution.async_stop_stream()
    assert (await reader, await execution.async_get_result()) == ([1, 2], "x")


async def test_a_reader_that_started_the_execution_waits_for_its_end() -> None:
    flow = Flow()

    async def audit(data: Any) -> None:
        await asyncio.sleep(0.05)
        data.set_runtime_data("audit", 1)
        if data.value == "broken":
            raise ValueError("audit")

    async def main(data: Any) -> None:
        await data.async_put_into_stream("item")
        await data.async_stop_stream()

    flow.side_branch(audit).to(main).end()
    execution = flow.create_execution()
    assert await items_of(execution.get_async_runtime_stream("v")) == ["item"]
    assert execution.get_runtime_data("audit") == 1
    with pytest.raises(ValueError, match="audit"):
        await items_of(flow.get_async_runtime_stream("broken"))


def test_sync_chunks_at_once_lose_no_update() -> None:
    flow = Flow()

    def note(data: Any) -> None:
        data.state.append("seen", data.value)
        data.state.set(f"tree.k{data.value}", 1)
        data.append_flow_data("all", data.value)

    flow.for_each().to(note).end_for_each().end()
    execution = flow.create_execution()
    execution.start(list(range(30)))
    seen, tree = execution.get_runtime_data("seen"), execution.get_runtime_data("tree")
    everything = flow.get_flow_data("all")
    assert (len(seen), len(tree), sorted(everything)) == (30, 30, list(range(30)))


@pytest.mark.parametrize(
    "item", [{"type": "interrupt"}, {"type": "interrupt", "action": "resume", "interrupt": {"id": "x"}}]
)
async def test_an_item_of_the_user_s_own_is_passed_as_it_is(item: Any) -> None:
    flow = Flow()

    async def put(data: Any) -> None:
        await data.async_put_into_stream(item)

    flow.to(put).end()
    assert await items_of(flow.get_async_runtime_stream(1)) == [item]
