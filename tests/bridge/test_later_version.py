"""Names of 4.1 that can be had beside those of 4.0, and the profile for those that cannot."""

import asyncio
from typing import Any

import pytest
from agently import TriggerFlow

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
    assert (execution.get_lifecycle_state(), execution.is_open, execution.is_idle) == ("open", True, True)
    execution.seal()
    assert (execution.is_sealed, execution.is_open) == (True, False)
    with pytest.raises(RuntimeError, match="sealed"):
        await execution.async_emit("Ev", 1)
    execution.unseal()
    await execution.async_emit("Ev", 2)
    execution.set_state("k", 3)
    assert await execution.async_close() == {"k": 3, "$final_result": 2}
    assert (execution.is_closed, execution.get_status(), execution.get_result(), seen) == (True, "completed", 2, [2])


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
    assert execution.result.get_state() == {"k": 1}
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
