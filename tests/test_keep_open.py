"""Executions that are kept open, and those who look on: early results, rest, observers, effects from outside."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import now
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError, ExecutionClosed
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def slow(data: Data) -> Any:
    await asyncio.sleep(5)
    return data.value


async def test_an_open_execution_has_its_result_and_takes_signals_until_it_is_closed() -> None:
    flow, heard = TriggerFlow(), list[Any]()
    flow.to(echo).end()
    flow.when("late").to(lambda data: heard.append(data.value))
    execution = flow.create_execution(keep_open=True)
    assert await execution.async_start(1) == 1
    assert execution.get_status() == "waiting"
    await execution.async_emit("late", 2, settle=True)
    assert heard == [2]
    assert await execution.async_close() == 1
    assert execution.get_status() == "completed"
    with pytest.raises(ExecutionClosed):
        await execution.async_emit("late", 3)


async def test_its_result_is_there_as_soon_as_it_is_fixed_and_its_start_returns_when_all_has_settled() -> None:
    flow = TriggerFlow()
    flow.to(echo).end()
    flow.to(slow)
    execution = flow.create_execution(keep_open=True)
    begin = now()
    execution.begin(1)
    assert await execution.async_get_result() == 1
    assert now() - begin < 1
    assert not runtime_of(execution).is_settled()
    assert await execution.async_settled(timeout=1) is False
    with pytest.raises(TimeoutError):
        await execution.async_start(1, timeout=1)
    assert await execution.async_start(1) == 1
    assert now() - begin == pytest.approx(5)
    assert runtime_of(execution).is_settled()


async def test_without_a_result_its_start_gives_none_and_its_result_is_waited_for() -> None:
    flow = TriggerFlow()
    flow.to(echo)
    execution = flow.create_execution(keep_open=True)
    assert await execution.async_start(1) is None
    with pytest.raises(TimeoutError):
        await execution.async_get_result(timeout=1)
    waiting = asyncio.create_task(execution.async_get_result())
    await asyncio.sleep(1)
    await execution.async_set_result(0)
    assert await waiting == 0
    await execution.async_set_result(1)
    assert await execution.async_get_result() == 0
    await execution.async_set_result(2, replace=True)
    assert await execution.async_close() == 2


async def test_a_chunk_that_replaces_the_result() -> None:
    flow = TriggerFlow()

    async def replace(data: Data) -> None:
        await data.async_set_result(data.value + 1, replace=True)

    flow.to(echo).end().to(replace)
    assert await flow.create_execution(keep_open=True).async_start(1) == 2


async def test_a_result_that_breaks_the_contract_fails_an_open_execution() -> None:
    flow = TriggerFlow().set_contract(result=int)
    flow.to(echo).end().to(slow)
    execution = flow.create_execution(keep_open=True)
    begin = now()
    with pytest.raises(ContractError):
        await execution.async_start("text")
    await execution.async_cancel()
    assert now() - begin < 5
    assert execution.get_status() == "failed"
    with pytest.raises(ContractError):
        await execution.async_get_result()


async def test_a_failure_and_a_cancellation_end_an_open_execution() -> None:
    flow = TriggerFlow()
    flow.to(slow).to(lambda data: 1 / 0).end()
    execution = flow.create_execution(keep_open=True)
    with pytest.raises(ZeroDivisionError):
        await execution.async_start(1)
    other = flow.create_execution(keep_open=True)
    other.begin(1)
    await other.async_cancel()
    assert (execution.get_status(), other.get_status()) == ("failed", "cancelled")


async def test_a_saved_open_execution_is_open() -> None:
    flow = TriggerFlow()
    flow.to(echo).end()
    execution = flow.create_execution(keep_open=True)
    await execution.async_start(1)
    loaded = flow.load_execution(execution.save())
    assert await loaded.async_get_result() == 1
    assert loaded.get_status() == "waiting"
    assert await loaded.async_close() == 1


def test_an_open_execution_at_rest_outlives_its_event_loop() -> None:
    flow, heard = TriggerFlow(), list[Any]()
    flow.to(echo).end()
    flow.when("late").to(lambda data: heard.append(data.value))
    execution = flow.create_execution(keep_open=True)
    assert asyncio.run(execution.async_start(1)) == 1
    asyncio.run(execution.async_emit("late", 2, settle=True))
    assert heard == [2]


USES: dict[str, Callable[[Execution], Any]] = {
    "emit": lambda it: it.emit("late", 2),
    "async_emit": lambda it: it.async_emit("late", 2),
    "state.set": lambda it: it.state.set("late", 2),
    "state.async_set": lambda it: it.state.async_set("late", 2),
    "state.update": lambda it: it.state.update("late", lambda _: 2),
    "put_into_stream": lambda it: it.put_into_stream(2),
    "async_put_into_stream": lambda it: it.async_put_into_stream(2),
    "stop_stream": lambda it: it.stop_stream(),
    "set_result": lambda it: it.set_result(2, replace=True),
    "reader": lambda it: anext(it.get_async_runtime_stream()),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("in_a_script", [True, False])
def test_an_open_execution_at_rest_moves_to_the_loop_that_uses_it_next(use: str, in_a_script: bool) -> None:
    """Release note: "a script may start it without a loop, and go on under `asyncio.run`"."""
    flow, heard = TriggerFlow(), list[Any]()

    async def hear(data: Data) -> None:
        heard.append((data.value, asyncio.get_running_loop()))

    async def start(data: Data) -> Any:
        await data.async_put_into_stream("begun")
        return data.value

    flow.to(start).end()
    flow.when("late").to(("event", hear))
    flow.when({"runtime_data": "late"}).to(("state", hear))
    execution = flow.create_execution(keep_open=True)
    assert (execution.start(1) if in_a_script else asyncio.run(execution.async_start(1))) == 1

    async def main() -> None:
        done = USES[use](execution)
        if inspect.isawaitable(done):
            await done
        if "emit" in use or "state" in use:
            await execution.async_settled()
            assert heard == [(2, asyncio.get_running_loop())]

    asyncio.run(main())


async def test_observers_see_every_record_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow()
    flow.to(echo).end()
    execution, seen = flow.create_execution(), list[str]()

    def broken(record: Any) -> None:
        raise LookupError("observer")

    stop = execution.add_observer(lambda record: seen.append(type(record).__name__))
    execution.add_observer(broken)
    execution.begin(1)
    await asyncio.sleep(0)
    stop()
    assert await execution.async_get_result() == 1
    assert seen in (["Started"], ["Started", "Completed"])
    assert "an observer raised" in caplog.text


async def test_the_stream_can_be_fed_and_stopped_from_outside() -> None:
    flow = TriggerFlow().set_contract(stream=int)
    flow.to(slow)
    execution = flow.create_execution()
    execution.begin(1)
    await execution.async_put_into_stream(1)
    with pytest.raises(ContractError):
        await execution.async_put_into_stream("text")
    await execution.async_stop_stream()
    assert [item async for item in execution.get_async_runtime_stream()] == [1]
    assert execution.get_status() == "running"


async def test_an_execution_has_resources_beside_those_of_its_flow() -> None:
    flow = TriggerFlow().set_runtime_resource("a", 1)
    flow.to(lambda data: [data.resources.get(name) for name in "abc"]).end()
    execution = flow.create_execution(runtime_resources={"b": 2})
    assert execution.set_runtime_resource("a", 3).update_runtime_resources(c=4).resources["a"] == 3
    assert await execution.async_start() == [3, 2, 4]
    del execution.resources["a"]
    assert execution.resources["a"] == 1
    execution.resources.clear()
    assert dict(execution.resources) == {"a": 1} == flow.resources


def test_a_script_acts_on_an_execution_before_its_start() -> None:
    flow = TriggerFlow()
    flow.when("early").to(echo)
    execution = flow.create_execution(keep_open=True)
    execution.emit("early", 1)
    execution.put_into_stream("item")
    execution.stop_stream()
    execution.set_result(5)
    assert execution.start() == 5
    assert list(execution.get_runtime_stream()) == ["item"]


async def test_settled_is_told_of_an_execution_that_closes_by_itself_too() -> None:
    """`async_settled`: "Wait until `is_settled`"; a question to the outside is no work."""
    flow = TriggerFlow()

    async def ask(data: TriggerFlowRuntimeData[Any]) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(ask).end()
    execution = flow.create_execution()
    await execution.async_begin()
    assert await execution.async_settled()
    assert list(execution.get_pending_interrupts()) == ["q"]
