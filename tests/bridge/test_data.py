"""What a chunk receives."""

import asyncio
import threading
from typing import Any

import pytest
from agently import TriggerFlow

from tests.bridge.support import boom, ident, noting

Flow = TriggerFlow[Any, Any, Any]


async def told(flow: Any, get: Any, value: Any = 1, **options: Any) -> Any:
    """What `get(data)` gives in a chunk of the flow."""
    flow.to(get).end()
    return await flow.create_execution(**options).async_start(value)


# -- who and why -----------------------------------------------------------------------------------------------------


async def test_the_start_as_a_signal() -> None:
    flow = Flow()

    async def tell(data: Any) -> Any:
        assert data.execution_id == data.execution.id
        assert data.signal_info.to_dict() == {
            "trigger_event": "START", "trigger_type": "event", "value": 1, "signal_id": data.signal_id,
            "signal_source": "start", "signal_meta": {},
        }  # fmt: skip
        assert data.signal.source == data.signal_info.source == "start"
        assert (data.layer_mark, data.upper_layer_mark) == (None, None)
        return (
            data.value,
            data.input,
            data.trigger_event,
            data.event,
            data.trigger_type,
            data.type,
            data.signal_source,
        )

    assert await told(flow, tell) == (1, 1, "START", "START", "event", "event", "start")


async def test_the_trigger_of_what_follows() -> None:
    flow, seen = Flow(), list[Any]()
    chunk = flow.chunk("first")(ident)

    def tell(data: Any) -> Any:
        return (data.trigger_type, data.trigger_event)

    flow.to(chunk).to(noting(seen, tell))
    flow.when({"runtime_data": "k"}).to(noting(seen, tell))
    flow.when({"flow_data": "f"}).to(noting(seen, tell))
    flow.when("Ev").to(noting(seen, tell))
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    await execution.async_set_runtime_data("k", 1)
    await flow.async_set_flow_data("f", 1)
    await execution.async_emit("Ev")
    assert seen == [("event", chunk.trigger), ("runtime_data", "k"), ("flow_data", "f"), ("event", "Ev")]


async def test_the_branch_that_a_chunk_runs_in() -> None:
    flow, marks = Flow(), list[Any]()
    flow.for_each().for_each().to(noting(marks, lambda data: (data.layer_mark, data.upper_layer_mark))).end_for_each()
    process = flow.for_each()
    del process
    flow = Flow()
    flow.for_each().for_each().to(noting(marks, lambda data: (data.layer_mark, data.upper_layer_mark))) \
        .end_for_each().end_for_each().end()  # fmt: skip
    await flow.async_start([[1, 2], [3]])
    assert len({mark for mark, _ in marks}) == 3
    assert len({upper for _, upper in marks}) == 2


async def test_the_lineage_of_a_chunk() -> None:
    flow = Flow(name="F")

    async def tell(data: Any) -> Any:
        return data.chunk_run_context

    execution = flow.create_execution()
    flow.to(tell).end()
    execution = flow.create_execution()
    context = await execution.async_start(1)
    assert (context.run_kind, context.parent_run_id) == ("chunk_execution", execution.run_context.run_id)
    assert (context.meta["chunk_name"], context.meta["flow_name"], context.meta["trigger_event"]) == (
        "tell",
        "F",
        "START",
    )


async def test_execution_is_the_very_handle() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(noting(seen, lambda data: data.execution)).end()
    execution = flow.create_execution()
    await execution.async_start(1)
    assert seen == [execution]
    execution.set_settings("a", 1)
    flow.to(noting(seen, lambda data: data.settings.get("a")))


# -- state -----------------------------------------------------------------------------------------------------------


async def test_state_has_dotted_keys_and_copies() -> None:
    async def work(data: Any) -> None:
        state, mine = data.state, [1]
        state.set("list", mine)
        mine.append(2)
        state.get("list").append(3)
        assert state.get("list") == [1]
        state.set("a.b.c", 1)
        state.set("a.d", {"e": 2})
        assert state.get("a") == {"b": {"c": 1}, "d": {"e": 2}}
        assert (state.get("a.d.e"), state["a.b"], "a.d.e" in state, "a.x" in state) == (2, {"c": 1}, True, False)
        assert (state.get("nope"), state.get("nope", 5), state.get("a.b.c.d", 6)) == (None, 5, 6)
        state.append("list", 2)
        state.append("new", 1)
        state.append("a.list", "x")
        assert (state.get("list"), state.get("new"), state.get("a.list")) == ([1, 2], [1], ["x"])
        state.delete("a.b")
        state.delete("new")
        state.delete("never")
        assert state.to_dict() == state.get() == {"list": [1, 2], "a": {"d": {"e": 2}, "list": ["x"]}}
        assert (list(state), list(state.keys()), len(state)) == (["list", "a"], ["list", "a"], 2)
        assert next(iter(state.items())) == ("list", [1, 2])
        assert next(iter(state.values())) == [1, 2]
        with pytest.raises(KeyError):
            state["nope"]

    await told(Flow(), work)


async def test_the_old_names_do_the_same() -> None:
    async def work(data: Any) -> Any:
        data.set_runtime_data("a", 1)
        await data.async_set_runtime_data("b", 2)
        await data.async_append_runtime_data("l", 3)
        data.append_runtime_data("l", 4)
        data.set_state("s", 5)
        await data.async_del_runtime_data("a")
        data.del_runtime_data("b")
        data.set_flow_data("f", 1)
        await data.async_set_flow_data("g", 2)
        data.append_flow_data("h", 3)
        data.del_flow_data("f")
        assert (data.get_flow_data("g"), data.flow_state.get("h"), data.get_state("s")) == (2, [3], 5)
        return data.get_runtime_data()

    assert await told(Flow(), work) == {"l": [3, 4], "s": 5}


async def test_data_triggers_match_the_whole_key_and_every_change() -> None:
    flow, seen = Flow(), list[Any]()
    for key in ("x", "x.y", "l"):
        flow.when({"runtime_data": key}).to(noting(seen, lambda data: (data.trigger_event, data.value)))

    async def work(data: Any) -> None:
        await data.state.async_set("x.y", 1)
        await data.state.async_set("x", {"y": 2})
        await data.state.async_set("x", {"y": 2})
        await data.state.async_set("x", {"y": 3}, emit=False)
        await data.state.async_append("l", 1)
        await data.state.async_append("l", 2)
        await data.state.async_del("x.y")
        await data.state.async_del("l")

    await told(flow, work)
    assert seen == [("x.y", 1), ("x", {"y": 2}), ("x", {"y": 2}), ("l", [1]), ("l", [1, 2]), ("x.y", None), ("l", None)]


async def test_flow_state_is_shared_by_all_executions() -> None:
    flow = Flow()

    async def count(data: Any) -> Any:
        data.flow_state.set("count.n", data.flow_state.get("count.n", 0) + 1)
        return data.flow_state.get("count.n")

    flow.to(count).end()
    assert [await flow.async_start(), await flow.async_start()] == [1, 2]
    assert flow.get_flow_data("count") == {"n": 2}


# -- resources -------------------------------------------------------------------------------------------------------


async def test_resources() -> None:
    flow = Flow()
    flow.set_runtime_resource("model", "M")

    async def work(data: Any) -> None:
        assert (data.resources["model"], data.get_resource("x", 1), data.require_resource("index")) == ("M", 1, "I")
        with pytest.raises(KeyError, match="missing required runtime resource 'x'"):
            data.require_resource("x")
        data.set_resource("x", 2)
        assert data.get_resource("x") == 2
        data.del_resource("x")
        assert sorted(data.resources) == ["index", "model"]

    await told(flow, work, runtime_resources={"index": "I"})


# -- signals ---------------------------------------------------------------------------------------------------------


async def test_emit_and_its_twins() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when("Ev").to(noting(seen))

    async def work(data: Any) -> None:
        await data.async_emit("Ev", 1)
        data.emit("Ev", 2)
        data.emit_nowait("Ev", 3)
        await data.async_emit_nowait("Ev", 4)
        await data.async_emit("nobody", 5)
        await data.async_emit("Ev", 6, settle=True)
        assert seen == [1, 2, 3, 4, 6]

    await told(flow, work)


async def test_emit_can_fire_what_waits_for_data() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when({"runtime_data": "k"}).to(noting(seen))

    async def work(data: Any) -> Any:
        data.state.set("k", 1, emit=False)
        await data.async_emit("k", 9, trigger_type="runtime_data")
        data.emit("k", 8, trigger_type="runtime_data")
        return data.state.get("k")

    assert (await told(flow, work), seen) == (1, [9, 8])


async def test_sync_chunks_run_in_threads_and_may_do_the_same() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when("Ev").to(noting(seen))
    flow.when({"runtime_data": "k"}).to(noting(seen))

    def work(data: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        data.put_into_stream("item")
        data.set_runtime_data("k", 1)
        data.emit("Ev", 2)
        data.stop_stream()
        data.set_result("set")
        return "returned"

    flow.to(work).end()
    execution = flow.create_execution()
    assert [item async for item in execution.get_async_runtime_stream(1)] == ["item"]
    assert (await execution.async_get_result(), seen) == ("set", [1, 2])


# -- result, status, stream ------------------------------------------------------------------------------------------


async def test_result_and_status_can_be_read() -> None:
    async def work(data: Any) -> Any:
        assert (data.get_status(), data.is_waiting()) == ("running", False)
        await data.async_set_result("r")
        assert data.get_result() == "r"
        assert data.get_last_signal().trigger_event == "START"
        return "other"

    assert await told(Flow(), work) == "r"


async def test_put_is_short_for_put_into_stream() -> None:
    flow = Flow()

    async def work(data: Any) -> None:
        data.put(1)
        await data.async_put(2)
        data.put_into_stream(3)
        await data.async_put_into_stream(4)
        await data.async_stop_stream()

    flow.to(work)
    assert [item async for item in flow.get_async_runtime_stream()] == [1, 2, 3, 4]


async def test_an_error_keeps_its_class_and_object() -> None:
    flow, error = Flow(), LookupError("mine")

    async def work(data: Any) -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        await told(flow, work)
    assert caught.value is error
    with pytest.raises(RuntimeError):
        await told(Flow(), boom)


async def test_conditions_get_the_same_data() -> None:
    flow = Flow()

    async def wanted(data: Any) -> bool:
        await asyncio.sleep(1)
        return data.state.get("limit", 3) < data.value and data.execution.get_status() == "running"

    flow.if_condition(wanted).to(lambda data: "yes").else_condition().to(lambda data: "no").end_condition().end()
    assert [await flow.async_start(it) for it in (2, 5)] == ["no", "yes"]


#: What a chunk can await, and the record that it makes.
AWAITED: dict[str, tuple[Any, str]] = {
    "async_set_state": (lambda data: data.async_set_state("k", 1), "StateChanged"),
    "async_append_runtime_data": (lambda data: data.async_append_runtime_data("k", 1), "StateChanged"),
    "async_del_runtime_data": (lambda data: data.async_del_runtime_data("k"), "StateChanged"),
    "state.async_set": (lambda data: data.state.async_set("k", 1), "StateChanged"),
    "async_set_flow_data": (lambda data: data.async_set_flow_data("k", 1), "FlowDataChanged"),
    "async_emit": (lambda data: data.async_emit("Ev", 1), "Emitted"),
    "async_emit_nowait": (lambda data: data.async_emit_nowait("Ev", 1), "Emitted"),
    "async_emit of data": (lambda data: data.async_emit("k", 1, trigger_type="runtime_data"), "StateChanged"),
    "async_put": (lambda data: data.async_put("item"), "StreamPut"),
    "async_stop_stream": (lambda data: data.async_stop_stream(), "StreamStopped"),
    "async_set_result": (lambda data: data.async_set_result("done"), "ResultSet"),
    "execution.async_emit": (lambda data: data.execution.async_emit("Ev", 1), "Emitted"),
    "execution.async_set_state": (lambda data: data.execution.async_set_state("k", 1), "StateChanged"),
    "execution.async_put_into_stream": (lambda data: data.execution.async_put_into_stream("item"), "StreamPut"),
    "execution.async_stop_stream": (lambda data: data.execution.async_stop_stream(), "StreamStopped"),
    "execution.async_set_result": (lambda data: data.execution.async_set_result("done"), "ResultSet"),
    "execution.async_pause_for": (lambda data: data.execution.async_pause_for(interrupt_id="i"), "Paused"),
}


@pytest.mark.parametrize("method", AWAITED)
async def test_a_sync_chunk_can_await_on_a_loop_of_its_own(method: str) -> None:
    flow, told = Flow(), list[tuple[str, int]]()
    call, kind = AWAITED[method]

    def in_a_thread(data: Any) -> str:
        asyncio.run(call(data))
        return "done"

    flow.to(in_a_thread).end()
    for trigger in ({"runtime_data": "k"}, {"flow_data": "k"}, "Ev"):
        flow.when(trigger).to(ident)
    execution: Any = flow.create_execution()
    execution.add_observer(lambda record: told.append((type(record).__name__, threading.get_ident())))
    await execution.async_start(wait_for_result=False)
    assert execution.get_result() == "done"
    assert kind in [name for name, _ in told]
    assert {thread for _, thread in told} == {threading.get_ident()}
