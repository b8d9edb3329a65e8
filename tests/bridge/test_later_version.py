"""Names of 4.1 that can be had beside those of 4.0, and the profile for those that cannot."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from agently import Agently, TriggerFlow

from tests.bridge.support import after, ident, inc, noting

Flow = TriggerFlow[Any, Any, Any]


async def test_emit_nowait_from_outside() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when("Ev").to(after(1)).to(noting(seen))
    execution = flow.create_execution()
    execution.emit_nowait("Ev", 1)
    await execution.async_emit_nowait("Ev", 2)
    assert seen == []
    await asyncio.sleep(2)
    assert seen == [1, 2]


async def test_handlers_of_one_execution() -> None:
    flow, seen = Flow(), list[Any]()

    async def work(data: Any) -> None:
        await data.async_emit("Ev", 1)
        data.state.set("k", 2)
        data.flow_state.set("f", 3)

    flow.to(work)
    flow.when({"flow_data": "f"}).to(ident)
    execution = flow.create_execution()
    binding = execution.on("Ev", noting(seen), binding_id="b")
    execution.on("k", lambda data: data.state.set("seen", data.value), trigger_type="runtime_data")
    execution.on("f", noting(seen), trigger_type="flow_data")
    await execution.async_start(1)
    await asyncio.sleep(0.01)
    assert (binding, seen, execution.get_state("seen")) == ("b", [1, 3], 2)
    execution.off(binding)
    await execution.async_emit("Ev", 4)
    await asyncio.sleep(0.01)
    assert seen == [1, 3]


async def test_seal_and_close() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(after(1)).to(inc).end()
    flow.when("Ev").to(noting(seen))
    execution = flow.create_execution()
    await execution.async_start(1)
    assert (execution.get_lifecycle_state(), execution.is_open(), execution.is_idle()) == ("open", True, True)
    execution.seal()
    assert (execution.is_sealed(), execution.is_open()) == (True, False)
    with pytest.raises(RuntimeError, match="sealed"):
        await execution.async_emit("Ev", 1)
    execution.unseal()
    await execution.async_emit("Ev", 2)
    execution.set_state("k", 3)
    assert await execution.async_close() == {"k": 3, "$final_result": 2}
    assert (execution.is_closed(), execution.get_status(), execution.get_result(), seen) == (True, "completed", 2, [2])


async def test_close_and_open_questions() -> None:
    flow = Flow()
    flow.to(lambda data: data.pause_for(interrupt_id="i")).end()
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    with pytest.raises(RuntimeError, match="'i'"):
        await execution.async_close()
    await execution.async_close(pending_interrupts="cancel")
    assert execution.get_status() == "cancelled"


async def test_the_result_facade() -> None:
    flow = Flow()
    flow.to(lambda data: data.state.set("k", 1)).to(ident).end()
    execution = flow.create_execution()
    await execution.async_start(1)
    assert execution.result.get_state() == {"k": 1, "$final_result": None}  # as 4.1.4.10 has it
    assert await execution.result.async_get_final_result() is None
    meta = execution.result.get_meta()
    assert (meta["execution_id"], meta["status"]) == (execution.id, "completed")


async def test_the_profile_4_1_returns_a_snapshot_of_the_state() -> None:
    for ends, expected in ((True, {"k": 1, "$final_result": 2}), (False, {"k": 1})):
        flow = Flow(profile="4.1")
        process = flow.to(lambda data: data.state.set("k", data.value) or data.value).to(inc)
        if ends:
            process.end()
        assert await flow.async_start(1) == expected
        assert await flow.create_execution().async_start(1) == expected
        assert await flow.create_execution().async_start(1, wait_for_result=False) == expected


async def test_names_of_data() -> None:
    flow = Flow()

    async def work(data: Any) -> Any:
        await data.async_set_state("a", data.input)
        data.append_state("l", data.inputs)
        return data.get_state()

    flow.to(work).end()
    assert await flow.async_start(1) == {"a": 1, "l": [1]}


# -- the life of an execution; the comments quote 4.1.4.10 -----------------------------------


async def _work(data: Any) -> Any:
    await data.async_set_state("k", {"x": 1})
    return data.value + 1


SNAPSHOT = {"k": {"x": 1}, "$final_result": 2}


def _flow(**options: Any) -> Flow:
    flow = Flow(**options)
    flow.to(_work).end()
    return flow


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_without_auto_close_a_start_gives_the_handle_and_it_stays_open() -> None:
    execution = _flow().create_execution(auto_close=False)
    assert (execution.is_open(), execution.is_idle(), execution.is_sealed(), execution.is_closed()) == (
        True, True, False, False,
    )  # fmt: skip
    assert await execution.async_start(1) is execution
    await asyncio.sleep(1000)
    assert (execution.is_open(), execution.is_closed()) == (True, False)
    assert await execution.async_close() == SNAPSHOT
    assert (execution.is_open(), execution.is_closed(), execution.get_status()) == (False, True, "completed")
    assert execution.result.get_meta()["close_reason"] == "manual"


async def test_a_start_waits_until_it_was_idle_for_the_auto_close_timeout() -> None:
    for options, seconds in (
        ({"auto_close_timeout": 3}, 3),
        ({"auto_close": True}, 10),
        ({"auto_close_timeout": 0}, 0),
    ):
        execution, began = _flow().create_execution(**options), _now()
        assert await execution.async_start(1) == SNAPSHOT
        assert (execution.is_closed(), round(_now() - began, 2)) == (True, seconds)
        assert execution.result.get_meta()["close_reason"] == "auto_close_idle_timeout"
        assert await execution.async_close() == SNAPSHOT
        assert await execution.async_get_result(timeout=1) == 2
    execution, began = _flow().create_execution(auto_close=True), _now()
    assert await execution.async_start(1, timeout=2) == SNAPSHOT  # `timeout` is the auto_close_timeout there
    assert round(_now() - began, 2) == 2


async def test_signals_put_the_close_off_and_none_is_none() -> None:
    flow = Flow()

    async def note(data: Any) -> None:
        await data.async_append_state("seen", data.value)

    flow.when("Ev").to(note)
    execution = flow.create_execution(auto_close_timeout=5)
    start = asyncio.create_task(execution.async_start(1))
    for number in range(4):
        await asyncio.sleep(3)
        await execution.async_emit("Ev", number)
    assert await start == {"seen": [0, 1, 2, 3]}
    execution = flow.create_execution(auto_close_timeout=None)
    start = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(1000)
    assert (start.done(), execution.is_open()) == (False, True)
    await execution.async_close()
    assert await start == {}


async def test_an_execution_that_waits_for_an_answer_or_is_sealed_does_not_close_by_itself() -> None:
    flow = Flow()
    flow.to(lambda data: data.pause_for(interrupt_id="i", resume_event="Answer"))
    flow.when("Answer").to(_work)
    execution = flow.create_execution(auto_close_timeout=1)
    start = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(100)
    assert (start.done(), execution.is_waiting()) == (False, True)
    await execution.async_continue_with("i", 5)
    execution.seal()
    await asyncio.sleep(100)
    assert (start.done(), execution.is_sealed()) == (False, True)
    execution.unseal()
    assert await start == {"k": {"x": 1}}


async def test_start_execution_closes_later() -> None:
    execution = await _flow().async_start_execution(1, auto_close_timeout=5)
    assert execution.is_open()
    await asyncio.sleep(6)
    assert (execution.is_closed(), execution.result.get_state("k.x")) == (True, 1)
    execution = await _flow().async_start_execution(1, auto_close=False)
    await asyncio.sleep(100)
    assert (execution.is_open(), await execution.async_close()) == (True, SNAPSHOT)


async def test_a_start_of_the_flow_takes_auto_close() -> None:
    began = _now()
    assert await _flow().async_start(1, auto_close_timeout=3) == SNAPSHOT
    assert round(_now() - began, 2) == 3
    assert await _flow().async_start(1, auto_close=True) == SNAPSHOT  # at once: 0.0 is the default there
    assert round(_now() - began, 2) == 3
    with pytest.raises(ValueError, match="auto_close=False"):  # a ValueError there too
        await _flow().async_start(1, auto_close=False)
    flow = Flow()
    flow.to(lambda data: data.pause_for(interrupt_id="i"))
    with pytest.raises(RuntimeError, match="interrupt"):  # "pause_for(...) requires an exposed execution handle"
        await flow.async_start(1, auto_close_timeout=1)


async def test_failures_and_cancellation_of_what_closes_by_itself() -> None:
    flow = Flow()

    async def fail(data: Any) -> None:
        raise ValueError("x")

    flow.to(fail)
    with pytest.raises(ValueError, match="x"):
        await flow.create_execution(auto_close_timeout=1).async_start(1)
    with pytest.raises(ValueError, match="x"):
        await flow.async_start(1, auto_close=True)
    execution = _flow().create_execution(auto_close=True)
    start = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(1)
    start.cancel()
    await asyncio.sleep(20)
    assert (start.cancelled(), execution.is_closed(), execution.get_status()) == (True, True, "completed")


def test_scripts_that_close() -> None:
    assert _flow().create_execution(auto_close_timeout=0.01).start(1) == SNAPSHOT
    assert _flow().start(1, auto_close_timeout=0.01) == SNAPSHOT
    with pytest.raises(ValueError, match="auto_close=False"):
        _flow().create_execution(auto_close=False).start(1)
    with pytest.raises(ValueError, match="auto_close=False"):
        _flow().start(1, auto_close=False)


async def test_the_stream_ends_with_the_close() -> None:
    flow = Flow()

    async def say(data: Any) -> None:
        await data.async_put_into_stream(data.value)

    flow.to(say)
    flow.when("Ev").to(say)
    execution, began = flow.create_execution(auto_close_timeout=3), _now()
    assert [item async for item in execution.get_async_runtime_stream(1, timeout=None)] == [1]
    assert (execution.is_closed(), round(_now() - began, 2)) == (True, 3)


async def test_the_state_of_a_result_by_key() -> None:
    execution = _flow().create_execution(auto_close=False)
    await execution.async_start(1)
    for _ in range(2):  # open and closed
        result = execution.result
        assert (result.get_state("k.x"), result.get_state("k"), result.get_state("no")) == (1, {"x": 1}, None)
        assert (result.get_state("no", 5), result.get_state("k.no", 6), result.get_state()) == (5, 6, SNAPSHOT)
        assert (await result.async_get_final_result(), result.get_final_result()) == (2, 2)
        result.get_state("k")["x"] = 2  # a copy
        await execution.async_close()


async def test_a_flow_is_made_of_a_blueprint() -> None:
    for name in ("blueprint", "blue_print"):  # 4.1 and 4.0
        flow = Flow(**{name: _flow().save_blueprint()})
        assert await flow.async_start(1) == 2


@pytest.fixture
def settings() -> Iterator[Any]:
    held = Agently.settings.data
    yield Agently.settings
    Agently.settings.data = held


async def test_a_profile_for_all_flows(settings: Any) -> None:
    before = _flow()
    Agently.set_settings("triggerflow.profile", "4.1")
    assert await _flow().async_start(1) == await before.create_execution().async_start(1) == SNAPSHOT
    assert await _flow(profile="4.0").async_start(1) == 2
    flow = _flow()
    flow.set_settings("triggerflow.profile", "4.0")
    assert await flow.async_start(1) == 2
    Agently.set_settings("triggerflow.profile", "4.2")
    with pytest.raises(ValueError, match=r"'4\.2'"):
        _flow()
    settings.data = {}
    with pytest.raises(ValueError, match="'5'"):
        _flow(profile="5")
