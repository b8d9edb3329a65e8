"""Runtime data row by row: what programs written for 4.0.9 rely on beside what `test_data` says."""

import asyncio
from typing import Any

import pytest
from agently import TriggerFlow, TriggerFlowEventData, TriggerFlowRuntimeData
from pydantic import BaseModel

from tests.bridge.support import ident, noting

Flow = TriggerFlow[Any, Any, Any]


def inside(work: Any, value: Any = 1, **options: Any) -> Any:
    """What a chunk returns that is the whole flow."""
    flow = Flow()
    flow.to(work).end()
    return flow.start(value, **options)


class Thing:
    pass


class Model(BaseModel):
    a: int = 1


# -- what it is ------------------------------------------------------------------------------------------------------


def test_data_is_an_instance_of_the_public_class() -> None:
    assert inside(lambda data: isinstance(data, TriggerFlowRuntimeData) and isinstance(data, TriggerFlowEventData))


def test_data_is_annotated_with_its_class_in_programs() -> None:
    async def chunk(data: TriggerFlowRuntimeData[int, str, int]) -> int:
        return data.value + 1

    assert inside(chunk) == 2


# -- signals ---------------------------------------------------------------------------------------------------------


def test_signal_info_has_the_long_names_too() -> None:
    def tell(data: Any) -> Any:
        info = data.signal_info
        assert info.signal == data.signal
        assert (info.signal_id, info.signal_source, info.signal_meta) == (data.signal_id, "start", {})
        return (info.trigger_event, info.trigger_type, info.value, info.event, info.type, info.source, info.meta)

    assert inside(tell) == ("START", "event", 1, "START", "event", "start", {})


def test_signal_as_data() -> None:
    def tell(data: Any) -> Any:
        return (data.signal.to_state_dict(), sorted(data.signal.to_debug_dict()), data.signal_id)

    state, debug, signal_id = inside(tell)
    assert state == {
        "id": signal_id, "trigger_event": "START", "trigger_type": "event", "value": 1, "layer_marks": [],
        "source": "start", "meta": {},
    }  # fmt: skip
    assert debug == ["EVENT", "META", "SIGNAL_ID", "SOURCE", "TYPE", "VALUE"]


def test_signal_has_value_source_meta_and_marks() -> None:
    def tell(data: Any) -> Any:
        signal = data.signal
        assert signal.id == data.signal_id
        return (signal.trigger_event, signal.trigger_type, signal.value, signal.source, signal.meta, signal.layer_marks)

    assert inside(tell) == ("START", "event", 1, "start", {}, [])


def test_trigger_event_in_a_batch_is_what_began_it() -> None:
    flow, seen = Flow(), list[Any]()
    flow.batch(("x", noting(seen, lambda data: data.trigger_event)))
    flow.when("Ev").batch(("y", noting(seen, lambda data: data.event)))
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    execution.emit("Ev", 2)
    assert seen == ["START", "Ev"]


def test_trigger_of_data_is_the_key_and_its_kind() -> None:
    flow, seen = Flow(), list[Any]()
    for kind in ("runtime_data", "flow_data"):
        flow.when({kind: "k.l"}).to(noting(seen, lambda data: (data.type, data.event, data.value, data.signal_source)))
    execution = flow.create_execution()
    execution.emit("k.l", 1, trigger_type="runtime_data")
    execution.emit("k.l", 2, trigger_type="flow_data")
    execution.emit("k.l", 3)
    execution.set_runtime_data("k.l", 4)
    assert seen == [
        ("runtime_data", "k.l", 1, "runtime"), ("flow_data", "k.l", 2, "runtime"), ("runtime_data", "k.l", 4, "runtime")
    ]  # fmt: skip


def test_last_signal_in_a_chain_is_what_triggered_the_chunk() -> None:
    flow, seen = Flow(), list[Any]()
    chunk = flow.chunk("c")(ident)
    flow.to(chunk).to(noting(seen, lambda data: (data.get_last_signal().id == data.signal_id, data.trigger_event)))
    flow.start(1, wait_for_result=False)
    assert seen == [(True, chunk.trigger)]


# -- state -----------------------------------------------------------------------------------------------------------


def test_state_get_of_what_is_not_there() -> None:
    def work(data: Any) -> Any:
        data.state.set("k", None)
        data.state.set("l", [{"a": 1}])
        found = (data.state.get("k", "D"), "k" in data.state, data.state.get("l.0", "D"))
        return (*found, data.state.get(key="z", default=2, inherit=False))

    assert inside(work) == (None, True, "D", 2)


def test_state_append_makes_lists() -> None:
    def work(data: Any) -> Any:
        state = data.state
        state.set("scalar", 5)
        state.append("scalar", 6)
        state.append(key="new", value={"x": 1}, emit=False)
        state.append("new", [7, 8])
        state.append("deep.list", "a")
        return state.to_dict()

    assert inside(work) == {"scalar": [5, 6], "new": [{"x": 1}, [7, 8]], "deep": {"list": ["a"]}}


def test_state_append_to_a_set_and_a_tuple() -> None:
    def work(data: Any) -> Any:
        data.state.set("set", {1, 2})
        data.state.append("set", 3)
        data.state.set("tuple", (1, 2))
        data.state.append("tuple", 3)
        return data.state.to_dict()

    assert inside(work) == {"set": {1, 2, 3}, "tuple": [(1, 2), 3]}


def test_state_set_replaces_nothing_around_a_dotted_key() -> None:
    def work(data: Any) -> Any:
        data.state.set("a", {"x": {"y": 1}})
        data.state.set("a.x.z", 2)
        data.state.delete("a.x.y")
        return data.state.to_dict()

    assert inside(work) == {"a": {"x": {"z": 2}}}


def test_state_set_below_what_is_no_dictionary_is_a_type_error() -> None:
    def work(data: Any) -> Any:
        data.state.set("k", [5])
        data.state.set("k.sub", 1)

    with pytest.raises(TypeError, match="k"):
        inside(work)


def test_state_delete_of_what_is_not_there_changes_nothing() -> None:
    def work(data: Any) -> Any:
        data.state.delete("nope")
        data.state.delete("nope.x.y")
        return data.state.to_dict()

    assert inside(work) == {}


def test_state_copies_containers_and_passes_objects() -> None:
    thing, model = Thing(), Model()

    def work(data: Any) -> Any:
        state, items = data.state, [1]
        state.set("thing", thing)
        state.set("model", model)
        state.set("tree", {"thing": thing, "items": items})
        items.append(2)
        state.get("tree")["new"] = 1
        state.get("tree")["items"].append(3)
        state.to_dict()["other"] = 1
        assert (state.get("thing") is thing, state.get("model") is model) == (True, True)
        assert state.get("tree.thing") is thing
        return (sorted(state), state.get("tree.items"), sorted(state.get("tree")))

    assert inside(work) == (["model", "thing", "tree"], [1], ["items", "thing"])


def test_state_takes_keywords_and_keys_that_are_no_names() -> None:
    def work(data: Any) -> Any:
        data.state.set(key="x/y", value=1, emit=False)
        data.state.set("", 2)
        found = (data.state.get(key="x/y"), data.state.get(""))
        data.state.delete(key="x/y", emit=False)
        return (*found, data.state.get("x/y"))

    assert inside(work) == (1, 2, None)


def test_state_to_dict_and_the_old_getters_take_inherit() -> None:
    def work(data: Any) -> Any:
        return (
            data.state.to_dict(inherit=False),
            data.get_runtime_data("z", 3, True),
            data.get_flow_data("z", 4, True),
        )

    assert inside(work) == ({}, 3, 4)


async def test_state_async_methods_return_none() -> None:
    async def work(data: Any) -> Any:
        return [
            await data.async_set_runtime_data("a", 1),
            await data.async_append_runtime_data("l", 1),
            await data.async_del_runtime_data("a"),
            await data.async_set_flow_data("a", 1),
            await data.async_append_flow_data("l", 1, emit=False),
            await data.async_del_flow_data("a", emit=False),
            await data.state.async_set("b", 1),
            await data.state.async_append("b", 2),
            await data.state.async_del("b"),
            await data.flow_state.async_set("b", 1),
            data.state.to_dict(),
            data.flow_state.to_dict(),
            data.flow_state["b"],
            "b" in data.flow_state,
        ]

    flow = Flow()
    flow.to(work).end()
    assert await flow.async_start(1) == [*[None] * 10, {"l": [1]}, {"l": [1], "b": 1}, 1, True]


def test_state_of_flow_triggers_from_sync_chunks() -> None:
    flow, seen = Flow(), list[Any]()

    def work(data: Any) -> None:
        data.flow_state.set("k", 5)
        data.flow_state.append("l", 6)
        data.flow_state.delete("k")

    flow.to(work).end()
    flow.when({"flow_data": "k"}).to(("n1", noting(seen)))
    flow.when({"flow_data": "l"}).to(("n2", noting(seen)))
    flow.start(1)
    assert sorted(seen, key=str) == sorted([5, None, [6]], key=str)


# -- resources -------------------------------------------------------------------------------------------------------


def test_resources_are_a_view_of_execution_and_flow() -> None:
    flow = Flow()
    flow.set_runtime_resource("a", 1)

    def work(data: Any) -> Any:
        data.set_resource("a", 9)
        data.set_resource("b", 2)
        own = dict(data.resources)
        data.del_resource("a")
        data.del_resource("nope")
        resources = data.resources
        left = (dict(resources), len(resources), "b" in resources, resources.get("nope", 7), sorted(resources.keys()))
        return (own, *left)

    flow.to(work).end()
    assert flow.start(1, runtime_resources={"c": 3}) == (
        {"a": 9, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": 3}, 3, True, 7, ["a", "b", "c"],
    )  # fmt: skip
    assert flow.get_runtime_resource("a") == 1


def test_resources_that_are_not_there() -> None:
    def work(data: Any) -> Any:
        with pytest.raises(KeyError):
            data.resources["nope"]
        with pytest.raises(KeyError, match="missing required runtime resource 'nope'"):
            data.require_resource("nope")
        return (data.get_resource("nope"), data.get_resource("nope", 3))

    assert inside(work) == (None, 3)


def test_resources_can_only_be_read() -> None:
    def work(data: Any) -> Any:
        with pytest.raises((TypeError, AttributeError)):
            data.resources["a"] = 1
        return dict(data.resources)

    assert inside(work, runtime_resources={"r": 1}) == {"r": 1}


def test_resources_by_keyword() -> None:
    def work(data: Any) -> Any:
        data.set_resource(key="a", value=1)
        found = (data.get_resource(key="a", default=2), data.require_resource(key="a"))
        data.del_resource(key="a")
        return (*found, data.get_resource(key="a"))

    assert inside(work) == (1, 1, None)


# -- emit, stream, result --------------------------------------------------------------------------------------------


def test_emit_by_keyword_and_with_marks_by_position() -> None:
    flow, seen = Flow(), list[Any]()

    async def work(data: Any) -> None:
        await data.async_emit(trigger_event="Ev", value=1, trigger_type="event")
        data.emit("Ev", 2, None)

    flow.to(work)
    flow.when("Ev").to(noting(seen))
    flow.start(1, wait_for_result=False)
    assert seen == [1, 2]


def test_emit_takes_layer_marks_by_keyword() -> None:
    inside(lambda data: data.emit("Ev", 1, _layer_marks=None))


def test_emit_of_an_unknown_type_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        inside(lambda data: data.emit("Ev", 1, trigger_type="nonsense"))


def test_emit_from_sync_chunks_ends_what_waits() -> None:
    flow = Flow()
    flow.to(lambda data: data.emit("Ev", data.value + 4))
    flow.when("Ev").to(ident).end()
    assert flow.start(1) == 5


def test_emit_from_many_items_fires_for_each() -> None:
    flow, seen = Flow(), list[Any]()

    async def work(data: Any) -> Any:
        await data.async_emit("Ev", data.value)
        return data.value

    flow.for_each().to(work).end_for_each().end()
    flow.when("Ev").to(noting(seen))
    assert (flow.start([1, 2, 3]), sorted(seen)) == ([1, 2, 3], [1, 2, 3])


def test_put_by_keyword() -> None:
    flow = Flow()

    async def work(data: Any) -> None:
        data.put(stream_item=1)
        data.put_into_stream(stream_item=2)
        await data.async_put(stream_item=3)
        await data.async_put_into_stream(stream_item=4)
        data.stop_stream()

    flow.to(work)
    assert [*flow.get_runtime_stream(timeout=1)] == [1, 2, 3, 4]


def test_put_after_the_stop_is_dropped_and_none_is_an_item() -> None:
    flow = Flow()

    def work(data: Any) -> None:
        data.put(None)
        data.put({"a": 1})
        data.stop_stream()
        data.put("late")

    flow.to(work)
    assert [*flow.get_runtime_stream(timeout=1)] == [None, {"a": 1}]


def test_set_result_by_keyword_shows_at_once() -> None:
    def work(data: Any) -> Any:
        data.set_result(result=4)
        return (data.get_result(timeout=1), data.get_status())

    flow, seen = Flow(), list[Any]()
    flow.to(lambda data: seen.append(work(data)))
    assert (flow.start(1), seen) == (4, [(4, "completed")])


# -- interrupts ------------------------------------------------------------------------------------------------------


def test_interrupts_can_be_answered_by_another_chunk() -> None:
    flow, seen = Flow(), list[Any]()

    async def ask(data: Any) -> Any:
        return await data.async_pause_for(type="t", interrupt_id="q", resume_event="R")

    async def answer(data: Any) -> None:
        seen.append(
            (data.is_waiting(), [*data.get_pending_interrupts()], data.get_interrupt("q")["type"], data.get_status())
        )
        seen.append((await data.async_continue_with("q", 5))["status"])

    flow.to(ask)
    flow.when("Go").to(answer)
    flow.when("R").to(ident).end()
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    execution.emit("Go")
    assert seen == [(True, ["q"], "t", "waiting"), "resumed"]
    assert (execution.get_result(timeout=1), execution.get_status()) == (5, "completed")


def test_interrupts_that_are_not_there() -> None:
    def work(data: Any) -> Any:
        with pytest.raises(KeyError):
            data.continue_with("zz", 1)
        return (data.get_interrupt(interrupt_id="zz"), data.get_pending_interrupts(), data.is_waiting())

    assert inside(work) == (None, {}, False)


def test_pause_for_gives_a_dict() -> None:
    seen = list[Any]()

    def ask(data: Any) -> Any:
        paused = data.pause_for(payload="?", interrupt_id="i")
        seen.append((isinstance(paused, dict), paused["id"], paused["payload"], paused["type"], paused["status"]))
        return paused

    flow = Flow()
    flow.to(ask)
    flow.start(1, wait_for_result=False)
    assert seen == [(True, "i", "?", "pause", "waiting")]


def test_pause_for_gives_the_interrupt() -> None:
    seen = list[Any]()

    def ask(data: Any) -> Any:
        paused = data.pause_for(interrupt_id="i")
        seen.append(paused.interrupt["id"])
        return paused

    flow = Flow()
    flow.to(ask)
    flow.start(1, wait_for_result=False)
    assert seen == ["i"]


# -- side by side ----------------------------------------------------------------------------------------------------


def test_state_can_be_set_from_outside_during_the_run() -> None:
    flow, seen = Flow(), list[Any]()

    async def slow(data: Any) -> Any:
        await asyncio.sleep(0.05)
        return data.state.get("k")

    flow.to(slow).end()
    flow.when("Ev").to(noting(seen))

    async def main() -> Any:
        execution = flow.create_execution()
        task = asyncio.create_task(execution.async_start(1))
        await asyncio.sleep(0.01)
        assert execution.get_status() == "running"
        await execution.async_emit("Ev", 5)
        assert seen == [5]
        execution.set_runtime_data("k", "new")
        return await task

    assert asyncio.run(main()) == "new"
