"""Whatever changes an execution enters it one way: on its own thread, checked, with room, recorded, committed."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import read, turns
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow._core.machine import replay
from triggerflow.errors import BlockingCallError, ContractError, ExecutionClosed, UsageError
from triggerflow.extension import runtime_of
from triggerflow.stores import MemoryData, MemoryStore

Data = TriggerFlowRuntimeData[Any]


# -- thread and loop ---------------------------------------------------------------------------------------------------

AWAITED: dict[str, Callable[[Data], Any]] = {
    "async_put_into_stream": lambda data: data.async_put_into_stream("item"),
    "async_stop_stream": lambda data: data.async_stop_stream(),
    "async_emit": lambda data: data.async_emit("event"),
    "async_emit settling": lambda data: data.async_emit("event", settle=True),
    "async_set_result": lambda data: data.async_set_result("result"),
    "state.async_set": lambda data: data.state.async_set("key", 1),
    "state.async_append": lambda data: data.state.async_append("key", 1),
    "state.async_delete": lambda data: data.state.async_delete("key"),
    "state.async_update": lambda data: data.state.async_update("key", lambda held: 1),
    "flow_state.async_set": lambda data: data.flow_state.async_set("key", 1),
    "async_confirm": lambda data: data.async_confirm(0),
    "async_retract": lambda data: data.async_retract(0, "why"),
    "the handle's async_emit": lambda data: data.execution.async_emit("event"),
    "the handle's async_put_into_stream": lambda data: data.execution.async_put_into_stream("item"),
    "the handle's state.async_set": lambda data: data.execution.state.async_set("key", 1),
}


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("method", AWAITED)
async def test_what_is_awaited_on_another_loop_is_recorded_on_the_loop_of_the_execution(
    method: str, limit: int | None
) -> None:
    """`data`: "All can be called from any thread, and awaited on any event loop." """
    flow, threads = TriggerFlow(), set[int]()

    def in_a_thread(data: Data) -> str:
        asyncio.run(AWAITED[method](data))
        return "done"

    flow.to(in_a_thread).end()
    flow.when("event").to(lambda data: None)
    flow.when({"flow_data": "key"}).to(lambda data: None)
    execution = flow.create_execution(concurrency=limit)
    execution.add_observer(lambda record: threads.add(threading.get_ident()))
    assert await execution.async_start() in ("done", "result")
    assert threads == {threading.get_ident()}
    kinds = [type(record).__name__ for record in execution.records]
    assert len(kinds) > 2, "the effect has a record"


async def test_a_blocking_call_on_another_loop_names_a_call_that_works() -> None:
    """`BlockingCallError` names the async twin, and that can be awaited on any loop."""
    flow = TriggerFlow()

    async def asks(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(asks)
    flow.when("go").to(lambda data: data.value).end()
    execution = flow.create_execution()
    await execution.async_begin()
    await turns()

    async def elsewhere() -> None:
        with pytest.raises(BlockingCallError, match=r"await .*async_emit\("):
            execution.emit("go", 1)
        await execution.async_emit("go", 2)

    await asyncio.to_thread(asyncio.run, elsewhere())
    await execution.async_continue_with("q", None)
    assert await execution.async_get_result() == 2


async def test_a_look_from_another_thread_detaches_nothing() -> None:
    """A getter reads: an execution that is kept open and at rest stays where it is."""
    flow = TriggerFlow()
    flow.to(lambda data: 1)
    execution = flow.create_execution(keep_open=True)
    await execution.async_start()
    before = runtime_of(execution).driver

    async def look() -> str:
        return execution.get_status()

    assert await asyncio.to_thread(asyncio.run, look()) == "waiting"
    assert runtime_of(execution).driver is before
    assert before is not None
    await execution.async_close()


@pytest.mark.parametrize("count", [2, 16])
def test_an_execution_has_one_id_whichever_threads_ask_at_once(count: int) -> None:
    """`Execution.id`: one execution, one id."""
    flow = TriggerFlow()

    def who(data: Data) -> str:
        return data.execution_id

    flow.batch(*((f"s{number}", who) for number in range(count))).to(lambda data: set(data.value.values())).end()
    for _ in range(50):
        assert len(flow.start()) == 1


async def test_a_list_read_in_a_thread_does_not_change_there() -> None:
    """`State.get`: "Only a list that is read on another thread ... is copied"."""
    flow = TriggerFlow()

    async def writer(data: Data) -> None:
        for number in range(2_000):
            data.state.append("log", number, emit=False)
            if number % 10 == 0:
                await asyncio.sleep(0)

    def reader(data: Data) -> int:
        changed = 0
        for _ in range(200):
            held: list[int] = data.state.get("log", [])
            before = len(held)
            threading.Event().wait(0.0001)
            changed += len(held) != before
        return changed

    flow.batch(("writer", writer), ("reader", reader)).end()
    assert (await flow.async_start())["reader"] == 0


# -- the own handle ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["data.execution", "the handle", "a task of its own"])
async def test_settling_through_the_own_handle_gives_up_the_permit(through: str) -> None:
    """S3: "Nothing can deadlock on a concurrency limit", whichever object the chunk emits through."""
    flow = TriggerFlow()
    held: list[Execution] = []

    async def chunk(data: Data) -> str:
        handle = held[0] if through == "the handle" else data.execution
        if through == "a task of its own":
            await asyncio.gather(handle.async_emit("work", settle=True))
        else:
            await handle.async_emit("work", settle=True)
        return "ok"

    flow.to(chunk).end()
    flow.when("work").to(lambda data: None)
    execution = flow.create_execution(concurrency=1)
    held.append(execution)
    assert await execution.async_start(timeout=10) == "ok"


@pytest.mark.parametrize("method", ["async_start", "async_get_result", "async_close"])
@pytest.mark.parametrize("through", ["data.execution", "the handle"])
async def test_a_chunk_that_waits_for_its_own_execution_gets_an_error(method: str, through: str) -> None:
    """It would wait for ever: `UsageError` names the chunk and the call."""
    flow = TriggerFlow()
    held: list[Execution] = []

    async def chunk(data: Data) -> None:
        handle = held[0] if through == "the handle" else data.execution
        await getattr(handle, method)()

    flow.to(("waits", chunk)).end()
    held.append(flow.create_execution())
    with pytest.raises(UsageError, match=rf"'waits'.*{method}\(\).*its own execution"):
        await held[0].async_start(timeout=10)


async def test_two_handles_of_one_execution_are_equal() -> None:
    """`Execution`: "Two handles of one execution are equal." """
    flow = TriggerFlow()
    flow.to(lambda data: data.execution).end()
    execution = flow.create_execution()
    found = await execution.async_start()
    assert (found, hash(found)) == (execution, hash(execution))
    assert found != flow.create_execution()


# -- contract ----------------------------------------------------------------------------------------------------------


def promising(result: Any, expected: Any, *, keep: bool = False) -> tuple[TriggerFlow, Any]:
    flow = TriggerFlow("promising").set_contract(result=expected)
    flow.to(lambda data: result).end()
    return flow, flow.create_execution(keep_open=keep)


@pytest.mark.parametrize("keep", [False, True])
async def test_a_result_is_converted_before_it_is_recorded(keep: bool) -> None:
    """Law 2: a live run and the replay of its records agree in the result."""
    flow, execution = promising(5, float, keep=keep)
    result = await execution.async_start()
    again = replay(flow.definition, execution.records)
    state = runtime_of(execution).machine.state
    assert (result, type(result)) == (5.0, float)
    assert (again.state.result, type(again.state.result)) == (state.result, type(state.result)) == (5.0, float)


@pytest.mark.parametrize("keep", [False, True])
async def test_a_result_that_breaks_the_contract_fails_the_execution_in_its_records_too(keep: bool) -> None:
    """A resumed run says the same as the live one."""
    flow, execution = promising("text", int, keep=keep)
    with pytest.raises(ContractError, match="'result'"):
        await execution.async_start()
    assert execution.get_status() == "failed"
    again = replay(flow.definition, execution.records)
    assert again.state.status == "failed"
    assert again.state.error is not None
    assert again.state.error.type == "ContractError"


@pytest.mark.parametrize("keep", [False, True])
async def test_a_resumed_execution_does_not_return_a_result_that_was_refused(keep: bool) -> None:
    """S19, S20: what is in the store says what happened."""
    data = MemoryData()
    async with MemoryStore(data) as store:
        flow, _ = promising("text", int)
        execution = flow.create_execution(store=store, id="x", keep_open=keep)
        with pytest.raises(ContractError):
            await execution.async_start()
    async with MemoryStore(data) as store:
        flow, _ = promising("text", int)
        resumed = await flow.async_resume("x", store=store)
        assert resumed.get_status() == "failed"
        with pytest.raises(ContractError, match="'result'"):
            await resumed.async_get_result()


async def test_a_contract_that_is_set_later_does_not_reach_executions_that_exist() -> None:
    """`TriggerFlow`: "every execution sees the flow as it was when it was created"."""
    flow = TriggerFlow()
    flow.to(lambda data: "text").end()
    before = flow.create_execution()
    flow.set_contract(result=int)
    assert await before.async_start() == "text"
    with pytest.raises(ContractError):
        await flow.async_start()


async def test_a_refused_value_leaves_no_record() -> None:
    """The contract comes before the record, whoever puts, sets or emits."""
    flow = TriggerFlow().set_contract(stream=int, result=int)
    flow.signal("typed", int)
    flow.when("typed").to(lambda data: None)

    async def hold(data: Data) -> None:
        count = len(data.execution.records)
        for refused in (
            data.async_put_into_stream("x"), data.async_set_result("x"), data.async_emit("typed", "x"),
            data.execution.async_put_into_stream("x"), data.execution.async_set_result("x"),
            data.execution.async_emit("typed", "x"),
        ):  # fmt: skip
            with pytest.raises(ContractError):
                await refused
        assert len(data.execution.records) == count

    flow.to(hold)
    await flow.create_execution().async_start()


# -- room --------------------------------------------------------------------------------------------------------------


async def slow_reader(execution: Execution, buffer: int) -> list[Any]:
    found: list[Any] = []
    async for item in execution.get_async_runtime_stream("go", buffer=buffer):
        found.append(item)
        await asyncio.sleep(1)
    return found


def writing(source: Callable[[Data], Any]) -> TriggerFlow:
    flow = TriggerFlow("writing")
    flow.to(source)
    return flow


@pytest.mark.parametrize("history", [4, 4096])
@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("depth", [1, 2])
async def test_a_blocking_reader_of_a_parent_loses_no_item_of_a_sub_flow(
    history: int, limit: int | None, depth: int
) -> None:
    """S14, S15: items of sub-flows arrive in the parent's stream, and `block` loses nothing, at every depth."""

    async def source(data: Data) -> None:
        for number in range(40):
            await data.async_put_into_stream(number)

    flow = writing(source)
    for _ in range(depth):
        parent = TriggerFlow("parent")
        parent.to_sub_flow(flow)
        flow = parent
    execution = flow.create_execution(stream_history=history, concurrency=limit)
    assert await slow_reader(execution, 4) == list(range(40))


async def test_a_blocking_reader_loses_nothing_of_many_writers_at_once() -> None:
    """S15: room is asked for before an item is accepted, so that writers at once do not overrun the history."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        for number in range(300):
            data.emit("work", number)

    async def work(data: Data) -> None:
        await asyncio.sleep(1)
        await data.async_put_into_stream(data.value)

    flow.to(source)
    flow.when("work").to(work)
    execution = flow.create_execution(stream_history=10, max_pending=1_000)
    assert sorted(await slow_reader(execution, 10)) == list(range(300))


async def test_a_writer_that_is_cancelled_when_it_has_room_lets_the_next_one_in() -> None:
    """Nothing hangs: a place that its writer does not use goes to the next writer."""
    flow = TriggerFlow()
    tasks: list[asyncio.Task[None]] = []

    async def source(data: Data) -> None:
        async def put(number: int) -> None:
            await data.async_put_into_stream(number)

        tasks.extend(asyncio.create_task(put(number)) for number in range(20))
        await asyncio.sleep(2.5)
        for task in tasks[4:12]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    flow.to(source)
    found = await slow_reader(flow.create_execution(), 2)
    assert found == [number for number, task in enumerate(tasks) if not task.cancelled()]
    assert len(found) >= 12


async def test_a_put_from_outside_waits_for_a_blocking_reader() -> None:
    """S15: wherever the item comes from."""
    flow = TriggerFlow()

    async def asks(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(asks)
    execution = flow.create_execution(stream_history=8)
    reading = asyncio.create_task(slow_reader(execution, 4))
    await turns()
    for number in range(50):
        await execution.async_put_into_stream(number)
    await execution.async_continue_with("q", None)
    items = [item for item in await reading if isinstance(item, int)]
    assert items == list(range(50))


async def test_a_late_blocking_reader_gets_all_that_was_held_when_it_came() -> None:
    """S14: "each from any number on, at any time"."""
    flow, go = TriggerFlow(), asyncio.Event()

    async def source(data: Data) -> None:
        for number in range(17):
            await data.async_put_into_stream(number)
            if number == 15:
                await go.wait()

    flow.to(source)
    execution = flow.create_execution(stream_history=8)
    execution.begin()
    await turns()
    reader = execution.get_async_runtime_stream(buffer=8)
    assert await anext(reader) == 0
    go.set()
    await turns()
    assert await read(reader) == list(range(1, 17))


@pytest.mark.parametrize("lag", ["disconnect", "drop_oldest"])
async def test_items_that_were_there_when_a_reader_came_are_no_lag(lag: Any) -> None:
    """`run.stream`: "Items that were there when a reader came do not count as its lag." """
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        for number in range(20):
            data.put_into_stream(number)

    flow.to(source)
    execution = flow.create_execution()
    await execution.async_start("go")
    assert await read(execution.get_async_runtime_stream(lag=lag, buffer=5)) == list(range(20))


@pytest.mark.parametrize("limit", [None, 1, 2])
async def test_a_task_that_a_chunk_has_left_behind_may_still_put(limit: int | None) -> None:
    """The run has ended and has no permit to give up; the item waits for the reader all the same."""
    flow = TriggerFlow()
    tails: list[asyncio.Task[None]] = []

    async def start(data: Data) -> None:
        async def tail() -> None:
            for number in range(30):
                await data.async_put_into_stream(number)

        tails.append(asyncio.create_task(tail()))

    async def wait(data: Data) -> None:
        await asyncio.sleep(100)

    flow.to(start).to(wait)
    assert await slow_reader(flow.create_execution(concurrency=limit), 5) == list(range(30))
    await tails[0]


async def test_what_comes_after_the_end_is_refused_everywhere() -> None:
    """S6: "A signal or an answer for a closed execution raises `ExecutionClosed`"."""
    flow, kept = TriggerFlow(), list[Data]()
    flow.to(lambda data: kept.append(data))
    execution = flow.create_execution()
    await execution.async_start()
    for late in (
        execution.async_emit("x"), execution.async_put_into_stream(1), execution.async_set_result(1),
        execution.async_stop_stream(), execution.state.async_set("k", 1), kept[0].async_emit("x"),
        kept[0].async_put_into_stream(1), kept[0].state.async_set("k", 1),
    ):  # fmt: skip
        with pytest.raises(ExecutionClosed):
            await late
