"""The contract's lines on results (S5) and on when an execution ends (S6)."""

import asyncio
import logging
from typing import Any

import pytest

from tests.support import external, now, read, turns
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ExecutionClosed

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


# -- S5 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, "", False, [], {}, 0.0, float("nan"), NotImplemented, (), b""])
@pytest.mark.parametrize("way", ["end", "set_result", "async_set_result", "thread"])
async def test_s05_falsy_results_are_results(value: Any, way: str) -> None:
    """S5: "Falsy results are results.", and the first of them stands."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> Any:
        if way == "set_result":
            data.set_result(value)
        elif way == "async_set_result":
            await data.async_set_result(value)
        elif way == "thread":
            await asyncio.to_thread(data.set_result, value)
        return value

    async def second(data: Data) -> str:
        data.set_result("second")
        return "second"

    flow.to(chunk).end().to(second).end()
    assert await flow.async_start() is value


@pytest.mark.parametrize("way", ["end", "set_result", "outside", "error route", "checked", "kept open"])
async def test_a_result_that_is_dropped_is_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Once for an execution, with the chunk and the execution: the work behind the second one was done as well."""
    flow = TriggerFlow("orders")
    if way == "checked":
        flow.set_contract(result=str)

    @flow.chunk("late")
    async def late(data: Data) -> Any:
        await asyncio.sleep(data.value)
        if way == "set_result":
            data.set_result(f"late {data.value}")
            return None
        return f"late {data.value}"

    @flow.chunk("first")
    async def first(data: Data) -> str:
        if way == "error route":
            raise ValueError("the mail server is down")
        return "first"

    flow.to(first).end()
    flow.on_error(("failed", echo)).end()
    for _ in range(2):
        flow.to(("later", lambda data: data.value)).to(late).end()
    execution = flow.create_execution(keep_open=way == "kept open")
    with caplog.at_level(logging.WARNING, "triggerflow"):
        await execution.async_begin(1)
        await asyncio.sleep(0.5)
        if way == "outside":
            await execution.async_set_result("from outside")
        await execution.async_settled()
        await execution.async_close()
    (line,) = [it.getMessage() for it in caplog.records]
    by = "a caller" if way == "outside" else "chunk 'late'"
    assert line.startswith(f"{execution!r}: the result of {by} was dropped")


@pytest.mark.parametrize("way", ["same", "own", "replaced", "repeated", "no value"])
async def test_a_result_that_loses_nothing_is_not_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow()

    @flow.chunk("chunk", retry=Retry(2, initial_interval=0.1))
    async def chunk(data: Data) -> Any:
        data.set_result({"answer": [1]})
        if way == "repeated" and data.attempt == 1:
            raise ValueError("again")
        if way == "replaced":
            data.set_result("other", replace=True)
        return {"answer": [1]} if way == "same" else None

    flow.to(chunk)
    if way in ("same", "own"):
        flow.when(chunk).end()
    if way == "no value":
        flow.to(("nothing", lambda data: asyncio.sleep(1))).end()
    with caplog.at_level(logging.WARNING, "triggerflow"):
        assert await flow.async_start() == ("other" if way == "replaced" else {"answer": [1]})
    assert caplog.records == []


async def test_s05_the_first_end_reached_fixes_the_result() -> None:
    """S5: "The first `.end()` reached, or `set_result`, fixes the result; `async_start` returns it." First in time."""
    flow = TriggerFlow()

    def after(seconds: float) -> Any:
        async def chunk(data: Data) -> float:
            await asyncio.sleep(seconds)
            return seconds

        return f"after {seconds}", chunk

    for seconds in (3.0, 1.0, 2.0):
        flow.to(after(seconds)).end()
    execution = flow.create_execution()
    assert await execution.async_start() == 1.0
    assert now() == 3, "the result is fixed early, and the rest still settles"
    assert await execution.async_get_result() == await execution.async_start() == 1.0


async def test_s05_set_result_against_end() -> None:
    """S5: "The first `.end()` reached, or `set_result`, fixes the result": whichever comes first."""
    flow = TriggerFlow()

    async def early(data: Data) -> str:
        data.set_result("set")
        data.set_result("set again")
        return "returned"

    flow.to(early).end()
    assert await flow.async_start() == "set"

    late = TriggerFlow()

    async def setter(data: Data) -> None:
        data.set_result("set")

    late.to(echo).end().to(setter)
    assert await late.async_start("ended") == "ended"


async def test_s05_a_flow_without_an_end_returns_none_at_once() -> None:
    """S5 and S6: no result was fixed, so it is None; nobody waits for one."""
    flow = TriggerFlow()
    flow.to(echo).to(("again", echo))
    assert await flow.async_start(5) is None
    assert now() == 0
    assert await TriggerFlow().async_start(5) is None, "a flow without chunks is one too"


# -- S6 --------------------------------------------------------------------------------------------------------------


async def test_s06_an_execution_at_rest_closes_at_once() -> None:
    """S6: "An execution that comes to rest with nothing left that could wake it ... closes at once: no idle
    time-outs, no polling." With everything in use that could make it linger."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        data.state.set("k", 1)
        data.flow_state.set("f", 1)
        await data.async_emit("e")
        await data.async_put_into_stream(1)
        await asyncio.sleep(1)

    flow.to(source)
    flow.when({"runtime_data": "k"}).to(("on_state", echo))
    flow.when({"flow_data": "f"}).to(("on_flow_data", echo))
    flow.when("e").batch(("left", echo), ("right", echo))
    execution = flow.create_execution()
    assert await read(execution.get_async_runtime_stream("go")) == [1]
    assert execution.get_status() == "completed"
    assert now() == 1


async def test_s06_a_named_signal_from_outside_keeps_it_open() -> None:
    """S6: it stays open for a "`when` on a signal *declared* to come from outside", for hours, and says that it
    waits."""
    flow = TriggerFlow()
    flow.to(echo)
    flow.when(flow.signal("approved", external=True)).to(("publish", echo)).end()
    execution = flow.create_execution()
    waiter = asyncio.create_task(execution.async_start("draft"))
    await asyncio.sleep(36_000)
    assert execution.get_status() == "waiting"
    assert not waiter.done()
    await execution.async_emit("approved", "yes")
    assert await waiter == "yes"
    assert execution.get_status() == "completed"
    assert now() == 36_000


async def test_s06_a_chunk_that_mentions_the_name_of_an_outside_signal_does_not_close_the_door_to_it() -> None:
    """S6: it stays open for a "`when` on a signal *declared* to come from outside". That a chunk emits something else,
    and says the word in a stream item, makes the signal no less one from outside."""
    flow = TriggerFlow()

    async def draft(data: Data) -> None:
        await data.async_emit("progress", 1)
        await data.async_put_into_stream({"waiting_for": "approved"})

    flow.to(draft)
    flow.when("progress").to(("on_progress", echo))
    flow.when(flow.signal("approved", external=True)).to(("publish", echo)).end()
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(1)
    assert execution.get_status() == "waiting"
    await execution.async_emit("approved", "yes")
    assert await execution.async_get_result() == "yes"


async def test_s06_a_chunk_that_reads_the_parts_of_a_join_by_name_does_not_close_the_door_to_them() -> None:
    """S6: as above, in its most natural form: names in `data.value["event"]["b"]` are no emits."""
    flow, seen = TriggerFlow(), list[Any]()

    async def joined(data: Data) -> None:
        seen.append((data.value["event"]["a"], data.value["event"]["b"]))
        await data.async_emit("done")

    flow.when({"event": ["a", "b"]}).to(joined)
    flow.when("done").to(echo)
    external(flow, "a", "b")
    execution = flow.create_execution()
    execution.begin()
    for number in (1, 2):
        await execution.async_emit("a", number)
        await execution.async_emit("b", number, settle=True)
    await execution.async_close()
    assert seen == [(1, 1), (2, 2)]


@pytest.mark.parametrize("told", ["declared", "in the decorator", "by running"])
async def test_s06_a_signal_that_the_flow_sends_itself_keeps_nothing_open(told: str) -> None:
    """S6: at rest, only what can come from outside could wake it. A computed name can be declared."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        if told == "by running":
            await data.async_emit("-".join(("step", "1")))

    chunk = flow.chunk("source", emits=("step-1",) if told == "in the decorator" else ())(source)
    if told == "declared":
        assert chunk.declare_emits("step-1") is chunk
    flow.to(chunk)
    flow.when("step-1").to(echo)
    await flow.create_execution().async_start()
    assert now() == 0


async def test_s06_async_close_says_that_no_more_signals_come() -> None:
    """S6: with nobody left outside it closes as soon as it has settled, not before."""
    flow = TriggerFlow()

    async def slow(data: Data) -> None:
        await asyncio.sleep(5)

    flow.when(flow.signal("go", external=True)).to(slow)
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("go")
    assert await execution.async_close() is None
    assert now() == 5
    assert await execution.async_close() is None


async def test_s06_async_start_of_the_flow_waits_for_nobody_outside() -> None:
    """S6: nobody holds the handle of `flow.async_start`, so that nothing from outside could wake it."""
    flow = TriggerFlow()
    flow.to(echo)
    flow.when("approved").to(("publish", echo))
    assert await flow.async_start() is None
    assert now() == 0


async def test_s06_a_join_that_never_fills_does_not_hang_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """S6: it closes at rest; S1 of a reader's mind: `None` without a word would be silence, so the join is named."""
    caplog.set_level(logging.WARNING, "triggerflow")
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        await data.async_emit("one")

    flow.to(source)
    flow.when(["one", "two"]).to(echo).end()
    assert await flow.async_start() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "one" in caplog.records[0].getMessage()
    assert "two" in caplog.records[0].getMessage()


async def test_s06_a_timeout_raises_and_none_means_none() -> None:
    """S6: "`timeout` raises `TimeoutError`; `None` always means the flow returned `None`." """
    flow = TriggerFlow()

    async def slow(data: Data) -> str:
        await asyncio.sleep(10)
        return "slow"

    flow.to(slow).end()
    with pytest.raises(TimeoutError):
        await flow.async_start(timeout=1)
    execution = flow.create_execution()
    with pytest.raises(TimeoutError, match="1 s"):
        await execution.async_start(timeout=1)
    with pytest.raises(TimeoutError):
        await execution.async_get_result(timeout=0)
    assert execution.get_status() == "running"
    assert now() == 2
    assert await execution.async_get_result(timeout=100) == "slow"
    assert await execution.async_get_result(timeout=0) == "slow", "what is known needs no time"
    assert now() == 11


async def test_s06_the_message_of_a_timed_out_flow_does_not_say_that_it_goes_on() -> None:
    """S6 with S8: the call that ran the execution has cancelled it; its message must not say the contrary."""
    flow = TriggerFlow(name="brief")

    async def slow(data: Data) -> None:
        await asyncio.sleep(10)

    flow.to(slow)
    with pytest.raises(TimeoutError, match="brief") as caught:
        await flow.async_start(timeout=1)
    assert "goes on" not in str(caught.value)


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
async def test_s06_a_closed_execution_takes_no_signal(outcome: str) -> None:
    """S6: "A signal or an answer for a closed execution raises `ExecutionClosed`.", and changes nothing."""
    flow = TriggerFlow()
    held: list[Data] = []

    async def chunk(data: Data) -> None:
        held.append(data)
        if outcome == "failed":
            raise ValueError("broken")
        if outcome == "cancelled":
            await asyncio.sleep(100)

    flow.to(chunk)
    flow.when(flow.signal("go", external=True)).to(echo)
    execution = flow.create_execution()
    execution.begin()
    await turns()
    if outcome == "completed":
        await execution.async_close()
    elif outcome == "cancelled":
        await execution.async_cancel()
    assert execution.get_status() == outcome
    data = held[0]
    with pytest.raises(ExecutionClosed, match=outcome):
        await execution.async_emit("go")
    for late in (
        lambda: execution.emit("go"),
        lambda: execution.state.set("k", 1),
        lambda: data.emit("go"),
        lambda: data.state.set("k", 1),
        lambda: data.put_into_stream(1),
        lambda: data.set_result(1),
        data.stop_stream,
    ):
        with pytest.raises(ExecutionClosed):
            late()
    with pytest.raises(ExecutionClosed):
        await asyncio.to_thread(execution.emit, "go")
    assert execution.state.to_dict() == {}
    assert execution.get_status() == outcome


async def test_s06_shared_data_set_after_the_end_is_no_error() -> None:
    """S6: flow data belongs to the flow; that an execution has ended is nobody's fault there."""
    flow = TriggerFlow()
    flow.when({"flow_data": "k"}).to(echo)
    await flow.async_start()
    await flow.async_set_flow_data("k", 1)
    assert await flow.async_get_flow_data("k") == 1
