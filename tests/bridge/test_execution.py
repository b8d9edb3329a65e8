"""The handle of an execution."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from agently import TriggerFlow

from tests.bridge.support import after, boom, ident, inc, items_of, noting

Flow = TriggerFlow[Any, Any, Any]


def simple(*chunks: Any) -> Flow:
    flow = Flow()
    process: Any = flow
    for chunk in chunks or (inc,):
        process = process.to(chunk)
    process.end()
    return flow


# -- start and result ------------------------------------------------------------------------------------------------


async def test_a_second_start_does_not_run_again() -> None:
    execution = simple().create_execution()
    assert execution.get_status() == "created"
    assert await execution.async_start(1) == 2
    assert await execution.async_start(50) == 2
    assert await execution.async_start(50, wait_for_result=False) is None
    assert (execution.get_status(), execution.started) == ("completed", True)


async def test_start_returns_when_all_it_caused_has_settled() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).end()
    flow.to(after(5)).to(noting(seen))
    assert (await flow.create_execution().async_start(1), seen) == (2, [1])


async def test_the_result_is_there_while_others_still_work() -> None:
    flow = Flow()
    flow.to(inc).end()
    flow.to(after(50))
    execution = flow.create_execution()
    task = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(1)
    assert (await execution.async_get_result(timeout=1), execution.get_status()) == (2, "completed")
    assert not task.done()
    assert await task == 2


async def test_get_result_times_out_with_none_and_a_warning() -> None:
    execution = simple(after(60)).create_execution()
    task = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(0)
    with pytest.warns(UserWarning, match=r"0\.5"):
        assert await execution.async_get_result(timeout=0.5) is None
    assert execution.get_status() == "running"
    assert await task == 1
    assert execution.get_result() == 1


async def test_a_timeout_of_start_leaves_a_held_execution_running() -> None:
    execution = simple(after(60)).create_execution()
    with pytest.warns(UserWarning, match="longer than 1 s"):
        assert await execution.async_start(7, timeout=1) is None
    assert execution.get_status() == "running"
    assert await execution.async_get_result() == 7


async def test_falsy_results_are_results() -> None:
    for value in (0, "", [], None, False):
        execution = simple(ident).create_execution()
        assert await execution.async_start(value) == value
        assert execution.get_status() == "completed"


async def test_set_result_from_outside() -> None:
    flow = Flow()
    flow.when("never").to(ident).end()
    execution = flow.create_execution()
    task = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(1)
    execution.set_result("mine")
    assert (await task, execution.get_status()) == ("mine", "completed")
    execution.set_result("again")
    assert execution.get_result() == "again"


async def test_a_failure_reaches_everybody_who_waits_and_stays() -> None:
    execution = simple(after(1), boom).create_execution()
    waiter = asyncio.create_task(execution.async_get_result())
    reader = asyncio.create_task(items_of(execution.get_async_runtime_stream()))
    with pytest.raises(RuntimeError, match="boom"):
        await execution.async_start(1)
    for task in (waiter, reader):
        with pytest.raises(RuntimeError, match="boom"):
            await task
    assert execution.get_status() == "failed"
    with pytest.raises(RuntimeError, match="boom"):
        execution.get_result()
    await execution.async_stop_stream()  # harmless, as in a finally


def test_executions_serve_scripts() -> None:
    flow = simple()
    execution = flow.create_execution()
    execution.set_runtime_data("k", 1)
    execution.append_runtime_data("l.m", 2)
    assert execution.get_runtime_data() == {"k": 1, "l": {"m": [2]}}
    assert (execution.start(1), execution.get_result(), execution.get_result(timeout=1)) == (2, 2, 2)
    execution.emit("nobody", 1)
    assert list(flow.create_execution().get_runtime_stream(1)) == []


def test_a_result_outlives_the_event_loop_of_its_run() -> None:
    execution = simple().create_execution()
    assert asyncio.run(execution.async_start(1)) == 2
    assert (execution.get_status(), execution.get_result()) == ("completed", 2)


def test_an_execution_at_rest_goes_on_in_another_event_loop() -> None:
    flow, _ = asking(resume_event="Ok")
    execution = flow.create_execution()
    asyncio.run(execution.async_start(1, wait_for_result=False))
    assert execution.get_status() == "waiting"
    asyncio.run(execution.async_continue_with("i", "yes"))
    assert (execution.get_status(), execution.get_result()) == ("completed", "by event: yes")
    execution.emit("Ok", "again")
    assert asyncio.run(execution.async_get_result()) == "by event: yes"


async def test_cancel() -> None:
    execution = simple(after(60)).create_execution()
    task = asyncio.create_task(execution.async_start(1))
    await asyncio.sleep(1)
    await execution.async_cancel("enough")
    with pytest.raises(Exception, match="enough"):
        await task
    assert execution.get_status() == "cancelled"


# -- signals before, during and after --------------------------------------------------------------------------------


async def test_signals_are_taken_before_the_start_and_after_the_result() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).end()
    flow.when("Ev").to(after(3)).to(noting(seen))
    execution = flow.create_execution()
    await execution.async_emit("Ev", 1)
    assert (seen, execution.get_status()) == ([1], "created")
    assert await execution.async_start(1) == 2
    await execution.async_emit("Ev", 2)
    await execution.async_set_runtime_data("k", 5)
    execution.emit("Ev", 3)
    assert (seen, execution.get_runtime_data("k"), execution.get_status()) == ([1, 2], 5, "completed")
    await asyncio.sleep(10)
    assert (seen, execution.get_result()) == ([1, 2, 3], 2)


async def test_a_join_spans_start_and_result() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).end()
    flow.when({"event": ["a", "b"]}).to(noting(seen))
    execution = flow.create_execution()
    await execution.async_emit("a", 1)
    await execution.async_start(1)
    await execution.async_emit("b", 2)
    assert seen == [{"event": {"a": 1, "b": 2}}]


async def test_an_emit_from_outside_raises_what_a_chunk_raised() -> None:
    flow = Flow()
    flow.when("Ev").to(boom)
    execution = flow.create_execution()
    with pytest.raises(RuntimeError, match="boom"):
        await execution.async_emit("Ev")
    assert execution.get_status() == "failed"


async def test_a_handle_used_inside_a_chunk_does_not_wait_for_itself() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when("Ev").to(noting(seen)).to(after(1)).to(noting(seen))

    async def work(data: Any) -> str:
        await data.execution.async_emit("Ev", 1)
        await asyncio.gather(data.execution.async_emit("Ev", 2), data.execution.async_set_runtime_data("k", 1))
        await data.execution.async_put_into_stream("item")
        return "done"

    flow.to(work).end()
    for concurrency in (1, None):
        seen.clear()
        execution = flow.create_execution(concurrency=concurrency)
        assert await items_of(execution.get_async_runtime_stream(0)) == ["item"]
        assert await execution.async_get_result() == "done"
        assert sorted(seen) == [1, 1, 2, 2]


async def test_data_methods_wait_for_what_they_cause() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when({"runtime_data": "k"}).to(after(2)).to(noting(seen))
    execution = flow.create_execution()
    await execution.async_set_runtime_data("k", 1)
    await execution.async_append_runtime_data("k", 2)
    await execution.async_del_runtime_data("k")
    assert seen == [1, [1, 2], None]
    await execution.async_emit("k", 7, trigger_type="runtime_data")
    assert (seen[-1], execution.get_runtime_data()) == (7, {"k": None})


async def test_last_signal() -> None:
    flow = simple()
    flow.when("Ev").to(ident)
    execution = flow.create_execution()
    assert execution.get_last_signal() is None
    await execution.async_start(1)
    assert execution.get_last_signal().trigger_event.startswith("Chunk[inc]-")
    await execution.async_emit("Ev", 5)
    await execution.async_set_runtime_data("nobody hears this", 6)
    signal = execution.get_last_signal()
    assert (signal.trigger_event, signal.event, signal.trigger_type, signal.value) == ("Ev", "Ev", "event", 5)


# -- stream ----------------------------------------------------------------------------------------------------------


def talking(*pauses: float) -> Flow:
    flow = Flow()

    async def talk(data: Any) -> None:
        for number, pause in enumerate(pauses):
            await asyncio.sleep(pause)
            await data.async_put_into_stream(number)

    flow.to(talk).to(lambda data: "result").end()
    return flow


async def test_reading_starts_the_execution_and_the_stream_ends_with_it() -> None:
    execution = talking(0, 1, 1).create_execution()
    begun = asyncio.get_running_loop().time()
    assert await items_of(execution.get_async_runtime_stream(1)) == [0, 1, 2]
    assert (asyncio.get_running_loop().time() - begun, execution.get_result()) == (pytest.approx(2, abs=0.5), "result")


async def test_late_and_several_readers_see_everything() -> None:
    execution = talking(0, 1, 1).create_execution()
    first = asyncio.create_task(items_of(execution.get_async_runtime_stream(1)))
    await asyncio.sleep(1.5)
    second = await items_of(execution.get_async_runtime_stream("ignored"))
    assert (await first, second, await items_of(execution.get_async_runtime_stream())) == ([0, 1, 2],) * 3


async def test_a_gap_longer_than_the_timeout_ends_the_reader_with_a_warning() -> None:
    execution = talking(0, 2).create_execution()
    with pytest.warns(UserWarning, match="without an item"):
        assert await items_of(execution.get_async_runtime_stream(1, timeout=1)) == [0]
    assert await items_of(execution.get_async_runtime_stream()) == [0, 1]  # nothing is lost for the next reader


async def test_the_gap_is_what_counts_and_none_waits_for_ever() -> None:
    execution = talking(*[0.8] * 5).create_execution()
    assert await items_of(execution.get_async_runtime_stream(1, timeout=1)) == [0, 1, 2, 3, 4]
    assert await items_of(talking(500).create_execution().get_async_runtime_stream(timeout=None)) == [0]


async def test_a_stopped_stream_stays_stopped() -> None:
    execution = simple().create_execution()
    execution.put_into_stream("before")
    reader = asyncio.create_task(items_of(execution.get_async_runtime_stream(1)))
    await asyncio.sleep(0)
    await execution.async_put_into_stream("during")
    await execution.async_stop_stream()
    assert await reader == ["before", "during"]
    await execution.async_start(1)
    assert await items_of(execution.get_async_runtime_stream(5)) == ["before", "during"]


async def test_a_reader_of_an_execution_that_is_already_done() -> None:
    execution = simple().create_execution()
    await execution.async_start(1)
    assert await items_of(execution.get_async_runtime_stream(timeout=1)) == []


async def test_a_reader_may_leave_early() -> None:
    execution = talking(0, 0, 0).create_execution()
    stream = execution.get_async_runtime_stream(1)
    assert await anext(stream) == 0
    await stream.aclose()
    assert await execution.async_get_result() == "result"


# -- pause and continue ----------------------------------------------------------------------------------------------


def asking(**question: Any) -> tuple[Flow, list[Any]]:
    flow, seen = Flow(), list[Any]()

    async def ask(data: Any) -> Any:
        signal = await data.async_pause_for(type="approval", payload={"q": 1}, interrupt_id="i", **question)
        await data.async_put_into_stream("asked")
        return signal

    def tell(data: Any) -> Any:
        return (data.value, data.signal_source, data.signal_meta)

    flow.to(ask).to(noting(seen, tell)).end()
    flow.when("Ok").to(noting(seen, tell)).to(lambda data: f"by event: {data.value}").end()
    return flow, seen


async def test_pause_and_continue_with_an_event() -> None:
    flow, seen = asking(resume_event="Ok")
    execution = flow.create_execution()
    reader = asyncio.create_task(items_of(execution.get_async_runtime_stream(1)))
    await asyncio.sleep(0.1)
    asked = {"id": "i", "type": "approval", "payload": {"q": 1}, "resume_event": "Ok", "status": "waiting"}
    assert (execution.get_status(), execution.is_waiting()) == ("waiting", True)
    assert execution.get_pending_interrupts() == execution.get_interrupts() == {"i": asked}
    assert (execution.get_interrupt("i"), execution.get_interrupt("x")) == (asked, None)
    answered = {**asked, "status": "resumed", "response": "yes"}
    assert await execution.async_continue_with("i", "yes") == answered
    assert (execution.get_status(), execution.get_pending_interrupts()) == ("completed", {})
    assert (await execution.async_get_result(), seen) == (
        "by event: yes",
        [("yes", "interrupt", {"interrupt_id": "i"})],
    )
    asked_item, word, answer_item = sorted(await reader, key=lambda it: str(it) if it != "asked" else "{'type': 'j")
    assert word == "asked" or answer_item == "asked"
    pause, resume = [it for it in (asked_item, word, answer_item) if it != "asked"]
    signal = pause.pop("signal")
    told = {"type": "interrupt", "execution_id": execution.id}
    assert pause == {**told, "action": "pause", "interrupt": asked}
    assert (signal["trigger_event"], signal["value"], signal["source"]) == ("START", 1, "start")
    assert resume == {**told, "action": "resume", "interrupt": answered, "value": "yes"}


async def test_an_answer_without_an_event_goes_to_what_follows() -> None:
    flow, seen = asking()
    execution = flow.create_execution()
    with pytest.warns(UserWarning, match="longer than 1 s"):
        assert await execution.async_start(1, timeout=1) is None
    execution.continue_with("i", 5)
    assert await execution.async_get_result(timeout=1) == 5
    assert seen == [(5, "interrupt", {"interrupt_id": "i"})]


async def test_wrong_answers() -> None:
    flow, _ = asking(resume_event="Ok")
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    with pytest.raises(KeyError):
        await execution.async_continue_with("unknown")
    execution.continue_with("i", 1, resume_request_id="r")
    assert execution.continue_with("i", 1, resume_request_id="r")["response"] == 1
    with pytest.raises(ValueError, match="not waiting"):
        execution.continue_with("i", 2)


async def test_a_function_that_a_chunk_calls_may_pause_it() -> None:
    flow = Flow()

    def helper(data: Any) -> Any:
        return getattr(data, "pause_" + "for")(interrupt_id="h")

    async def ask(data: Any) -> Any:
        return helper(data)

    flow.to(ask).to(inc).end()
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    await execution.async_continue_with("h", 41)
    assert execution.get_result() == 42


async def test_a_pause_from_outside() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when("R").to(noting(seen)).end()
    execution = flow.create_execution()
    asked = await execution.async_pause_for(type="x", interrupt_id="o", resume_event="R")
    assert asked == {"id": "o", "type": "x", "payload": None, "resume_event": "R", "status": "waiting"}
    await execution.async_continue_with("o", 3)
    assert (seen, execution.get_result()) == ([3], 3)


def test_pauses_serve_scripts() -> None:
    flow, _ = asking(resume_event="Ok")
    execution = flow.start_execution(1)
    assert execution.get_status() == "waiting"
    execution.continue_with("i", "yes")
    assert execution.get_result() == "by event: yes"


# -- the rest --------------------------------------------------------------------------------------------------------


async def test_concurrency_can_be_set_before_the_start() -> None:
    flow, now, peak = Flow(), 0, 0

    async def work(data: Any) -> None:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(1)
        now -= 1

    flow.for_each().to(work).end_for_each().end()
    execution = flow.create_execution()
    execution.set_concurrency(3)
    await execution.async_start(range(9))
    assert peak == 3
    with pytest.raises(RuntimeError, match="before it starts"):
        execution.set_concurrency(5)


async def test_a_limit_that_is_no_number_is_refused() -> None:
    for wrong in (1.5, True):
        with pytest.raises(ValueError, match="whole number"):
            Flow().create_execution().set_concurrency(wrong)  # type: ignore[arg-type]


async def test_the_holder_of_an_execution_awaits_what_he_does() -> None:
    flow = Flow()
    flow.when("Ev").to(ident)
    execution = flow.create_execution()
    stream = asyncio.create_task(items_of(execution.get_async_runtime_stream(1, timeout=None)))
    await asyncio.sleep(0)
    for number in range(2000):  # more than a reader's buffer holds: nobody waits for the reader
        await execution.async_put_into_stream(number)
    await execution.async_set_result("first")
    await execution.async_set_result("second")
    await execution.async_stop_stream()
    assert (await stream, await execution.async_get_result()) == ([*range(2000)], "second")


async def test_an_execution_is_released_when_its_handle_is_gone() -> None:
    flow = Flow()
    flow.when("Ev").to(ident)
    flow.to(inc).end()
    execution = flow.create_execution()
    await execution.async_start(1)
    run = weakref.ref(execution)
    del execution
    await asyncio.sleep(0)
    gc.collect()
    assert run() is None


async def test_work_goes_on_without_a_handle() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(after(5)).to(noting(seen))
    task = asyncio.create_task(flow.create_execution().async_start(1))
    del task
    execution = flow.create_execution()
    execution.emit("x")
    execution.begin(2)
    del execution
    await asyncio.sleep(60)
    assert 2 in seen


async def test_start_from_outside_runs_what_begins_at_the_start_once_more() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(noting(seen, lambda data: (data.value, data.trigger_event, data.signal_source))).end()
    flow.when(["START", "Ev"]).to(noting(seen))
    execution = flow.create_execution()
    assert await execution.async_start(1) == 1
    await execution.async_emit("START", 2)
    assert seen == [(1, "START", "start"), (2, "START", "runtime")]
    assert execution.get_result() == 1
