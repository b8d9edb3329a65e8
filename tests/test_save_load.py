"""The contract's lines on saving (S18, S19): at any moment, as plain data, and what was running is run again."""

import asyncio
import copy
import dataclasses
import datetime
import decimal
import enum
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
import yaml

from tests.support import external, now, read, turns
from triggerflow import Cache, Execution, Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError, PayloadError, SnapshotError
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def slow(data: Data) -> Any:
    await asyncio.sleep(10)
    return data.value


def asking(**question: Any) -> Any:
    """A chunk that asks one question, by the id "q" if it names no other."""

    async def asks(data: Data) -> None:
        data.pause_for(**{"interrupt_id": "q", **question})

    return "asks", asks


async def moved(execution: Execution, flow: TriggerFlow, **options: Any) -> Execution:
    """The execution as another process would find it: saved as text, and the old one gone."""
    text = json.dumps(execution.save())
    await execution.async_cancel("its process died")
    return flow.load_execution(text, **options)


async def begun(flow: TriggerFlow, value: Any = None, **options: Any) -> Execution:
    execution = flow.create_execution(**options)
    execution.begin(value)
    await turns(30)
    return execution


# -- at any moment -----------------------------------------------------------------------------------------------------


def everything() -> tuple[TriggerFlow, list[str]]:
    """A flow in which much goes on at once, for 30 virtual seconds; and the side effects of its chunks."""
    flow, child = TriggerFlow(name="all"), TriggerFlow(name="child")
    log = list[str]()

    def step(name: str, seconds: float) -> Any:
        async def chunk(data: Data) -> Any:
            await asyncio.sleep(seconds)
            log.append(f"{name} {data.value}")
            data.state.append("steps", name)
            return data.value

        return name, chunk

    @flow.chunk("flaky", retry=Retry(4, initial_interval=2, jitter=0))
    async def flaky(data: Data) -> Any:
        data.state.append("flaky", data.value)
        await asyncio.sleep(1)
        if data.attempt < 3:
            raise ValueError("not yet")
        return data.value

    async def emitter(data: Data) -> Any:
        for number in range(3):
            await data.async_emit("ping", number, settle=True)
        return "pinged"

    child.for_each(concurrency=1).to(step("child", 2)).end_for_each().end()
    process = flow.to(echo).for_each(concurrency=2).to(step("item", 3)).match().case(lambda data: data.value % 2)
    items = process.to(step("odd", 2)).case_else().to(flaky).end_match().end_for_each()
    items.collect("all", "items")
    flow.to_sub_flow(child).collect("all", "child")
    flow.to(emitter).collect("all", "emitter")
    flow.when("ping").batch(step("left", 1), step("right", 2)).to(lambda data: data.emit("one"))
    flow.when(["one", "late"]).to(("joined", lambda data: "joined")).collect("all", "joined")
    flow.to(lambda data: data.emit("late", delay=20))
    flow.when({"collect": "all"}).end()
    return flow, log


EXPECTED = {"items": [0, 1, 2, 3, 4], "child": [0, 1, 2, 3, 4], "emitter": "pinged", "joined": "joined"}


async def test_s18_what_the_flow_of_this_file_does_uninterrupted() -> None:
    """S18, the measure of the tests below."""
    flow, _ = everything()
    assert await flow.async_start([0, 1, 2, 3, 4]) == EXPECTED


@pytest.mark.parametrize("moment", [0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 11.5, 13.5, 15.5, 19.5, 20.5])
async def test_s18_save_at_any_moment(moment: float) -> None:
    """S18: "`save()` works at any moment; a loaded execution re-issues what was running" and comes to the same end.
    D10: there a copy saved while a chunk ran never finished."""
    flow, _ = everything()
    execution = flow.create_execution()
    execution.begin([0, 1, 2, 3, 4])
    await asyncio.sleep(moment)
    loaded = await moved(execution, flow)
    assert await loaded.async_get_result() == EXPECTED
    assert loaded.state.get("flaky") == [0, 2, 4] or sorted(loaded.state.get("flaky")) == [0, 2, 4]


async def test_s18_saved_and_loaded_again_and_again() -> None:
    """S18: a run that is moved every second still comes to its end."""
    flow, _ = everything()
    execution = flow.create_execution()
    execution.begin([0, 1, 2, 3, 4])
    for pause in (0.5, 3.2, 3.2, 3.2, 4.1, 5.2, 3.3, 6.1):
        await asyncio.sleep(pause)
        if execution.get_status() == "completed":
            break
        execution = await moved(execution, flow)
    assert await execution.async_get_result() == EXPECTED


async def test_s18_before_the_start() -> None:
    """S18: "at any moment": one that was not started is started after the load, with the value given then."""
    flow = TriggerFlow()
    flow.to(echo).end()
    loaded = flow.load_execution(flow.create_execution(id="run").save())
    assert loaded.id == "run"
    assert loaded.get_status() == "created"
    assert await loaded.async_start(5) == 5


@pytest.mark.parametrize("value", [5, None, False, {"a": (1, 2)}])
async def test_s18_after_the_end(value: Any) -> None:
    """S18: an execution that has ended is loaded with its result, and runs nothing."""
    flow, runs = TriggerFlow(), list[int]()

    async def count(data: Data) -> Any:
        runs.append(1)
        return data.value

    flow.to(count).end()
    execution = flow.create_execution()
    await execution.async_start(value)
    loaded = flow.load_execution(execution.save())
    assert loaded.get_status() == "completed"
    assert await loaded.async_get_result() == value
    assert runs == [1]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_s18_after_a_bad_end(how: str) -> None:
    """S18 with S7: who asks a loaded execution that ended badly is told why."""
    flow = TriggerFlow()

    async def broken(data: Data) -> None:
        await asyncio.sleep(1)
        raise ValueError("broken")

    flow.to(broken)
    execution = await begun(flow)
    if how == "cancelled":
        await execution.async_cancel("the user left")
    else:
        with pytest.raises(ValueError, match="broken"):
            await execution.async_get_result()
    loaded = flow.load_execution(execution.save())
    assert loaded.get_status() == how
    with pytest.raises(Exception, match="broken" if how == "failed" else "the user left"):
        await loaded.async_get_result()


async def test_s18_a_broken_contract_stays_broken() -> None:
    """S18: a result that broke the contract failed the execution; it is no result after a load either."""
    flow = TriggerFlow().set_contract(result=int)
    flow.to(lambda data: "text").end()
    execution = flow.create_execution()
    with pytest.raises(ContractError):
        await execution.async_start()
    loaded = flow.load_execution(execution.save())
    assert loaded.get_status() == execution.get_status() == "failed"
    with pytest.raises(Exception, match="result"):
        await loaded.async_get_result()


# -- joins, blocks -----------------------------------------------------------------------------------------------------


async def test_d11_half_filled_joins_are_kept() -> None:
    """S18. D11: there a half-filled join was lost on load."""
    flow = TriggerFlow()
    flow.when(["a", "b"]).end()
    flow.when({"event": "c"}).collect("both", "c").to(("never", echo))
    flow.when({"event": "d"}).collect("both", "d")
    external(flow, "a", "b", "c", "d")
    execution = await begun(flow)
    await execution.async_emit("a", 1)
    await execution.async_emit("c", 3)
    loaded = await moved(execution, flow)
    await loaded.async_emit("b", 2)
    assert await loaded.async_close() == {"event": {"a": 1, "b": 2}}


async def test_d11_loading_leaves_the_data_of_the_flow_alone() -> None:
    """D11: there loading an old snapshot erased what the flow's executions shared."""
    flow = TriggerFlow()
    flow.to(slow).end()
    flow.set_flow_data("k", "old")
    execution = await begun(flow, 1)
    saved = execution.save()
    flow.set_flow_data("k", "new")
    loaded = flow.load_execution(saved)
    assert flow.get_flow_data("k") == "new"
    assert await loaded.async_get_result() == await execution.async_get_result() == 1


@pytest.mark.parametrize("concurrency", [1, 2, None])
@pytest.mark.parametrize("moment", [5, 15, 25])
@pytest.mark.parametrize("source", [list, tuple, set, frozenset])
async def test_s18_for_each_half_done(source: Callable[[Any], Any], moment: float, concurrency: int | None) -> None:
    """S18 with S10: what is done stays done, what is open is run again, the rest follows: each item once."""
    flow, done = TriggerFlow(), list[Any]()

    async def body(data: Data) -> Any:
        await asyncio.sleep(10)
        done.append(data.value)
        return data.value

    flow.for_each(concurrency=concurrency).to(body).end_for_each().end()
    execution = await begun(flow, source(range(5)))
    await asyncio.sleep(moment)
    loaded = await moved(execution, flow)
    assert sorted(await loaded.async_get_result()) == [0, 1, 2, 3, 4]
    assert sorted(done) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_s19_a_live_generator_is_a_clear_error(kind: str) -> None:
    """S19: what cannot be recorded is "a clear error that names chunk and key"; here the for_each and its input."""
    flow = TriggerFlow()
    flow.for_each(concurrency=1).to(slow).end_for_each().end()

    async def numbers() -> Any:
        yield 1

    execution = await begun(flow, iter([1, 2, 3]) if kind == "sync" else numbers())
    with pytest.raises(PayloadError, match=r"start value|for_each"):
        execution.save()
    await execution.async_cancel()


async def test_s18_work_beside_a_block_that_has_closed() -> None:
    """S18, "at any moment": a side branch of an item may still run when its for_each is complete."""
    flow, seen = TriggerFlow(), list[Any]()

    async def beside(data: Data) -> None:
        await asyncio.sleep(100)
        seen.append(data.value)

    flow.for_each().side_branch(beside).to(echo).end_for_each().end()
    execution = await begun(flow, [1, 2])
    await asyncio.sleep(50)
    loaded = await moved(execution, flow)
    assert await loaded.async_get_result() == [1, 2]
    assert sorted(seen) == [1, 2]


async def test_s18_a_question_beside_a_block_that_has_closed() -> None:
    """S18 with S17: so may the question that a side branch has asked."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value)

    async def beside(data: Data) -> None:
        data.pause_for(interrupt_id="q", resume_to="self") if data.resume is None else await note(data)

    flow.batch(("one", echo), ("two", echo)).for_each().side_branch(beside).to(("three", echo)).end_for_each().end()
    execution = await begun(flow, 1)
    loaded = await moved(execution, flow)
    await loaded.async_continue_with("q", "yes")
    assert await loaded.async_get_result() == [{"one": 1, "two": 1}]
    assert seen == ["yes"]


# -- runs, waits -------------------------------------------------------------------------------------------------------


async def test_s18_run_id_is_stable_and_attempt_grows() -> None:
    """S18: "each run has a stable `run_id` and attempt number for idempotent side effects"."""
    flow, seen = TriggerFlow(), list[tuple[str, int]]()

    async def body(data: Data) -> Any:
        seen.append((data.run_id, data.attempt))
        await asyncio.sleep(10)
        return data.value

    flow.for_each().to(body).end_for_each().end()
    execution = await begun(flow, ["a", "b"], id="run")
    for _ in range(2):
        execution = await moved(execution, flow)
        with pytest.raises(TimeoutError):
            await execution.async_get_result(timeout=1)
    await execution.async_get_result()
    ids = {run_id for run_id, _ in seen}
    assert len(ids) == 2
    assert all(run_id.startswith("run:") for run_id in ids)
    assert sorted(attempt for _, attempt in seen) == [1, 1, 2, 2, 3, 3]


async def test_s18_effects_are_recorded_once() -> None:
    """S18: "Chunks are at-least-once ..., everything recorded is exactly-once": a repeated run finds its effects."""
    flow, pings = TriggerFlow(), list[Any]()

    async def chunk(data: Data) -> Any:
        data.state.append("log", "first")
        data.state.update("count", lambda count: count + 1, 0)
        await data.async_put_into_stream("item 1")
        await data.async_emit("ping", 1)
        await asyncio.sleep(10)
        data.state.append("log", "second")
        await data.async_put_into_stream("item 2")
        await data.async_emit("ping", 2)
        return data.state.get("log")

    async def note(data: Data) -> None:
        pings.append(data.value)

    flow.to(chunk).end()
    flow.when("ping").to(note)
    execution = await begun(flow)
    first = await read(execution.get_async_runtime_stream(), 1)
    loaded = await moved(execution, flow)
    result = await loaded.async_get_result()
    assert result == ["first", "second"]
    assert loaded.state.get("count") == 1
    assert pings == [1, 2]
    assert first == ["item 1"]
    assert await read(loaded.get_async_runtime_stream(after=1)) == ["item 2"]


@pytest.mark.parametrize("emit", [True, False])
async def test_s18_shared_data_does_not_shift_the_effects_of_a_repeated_run(emit: bool) -> None:
    """S18: "everything recorded is exactly-once", also where a change of the shared data stands between."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> Any:
        data.flow_state.append("shared", 1, emit=emit)
        data.state.append("log", "first")
        await asyncio.sleep(10)
        return data.state.get("log")

    flow.to(chunk).end()
    loaded = await moved(await begun(flow), flow)
    assert await loaded.async_get_result() == ["first"]


async def test_s18_a_reader_of_a_loaded_execution() -> None:
    """S14 with S18: numbers go on after a load; a reader from the last known number on misses nothing, one that asks
    for items that only the lost process held is told so."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> None:
        await data.async_put_into_stream(data.value)
        await asyncio.sleep(10)

    flow.to(chunk).to(lambda data: 2).to(("second", chunk)).to(lambda data: 3).to(("third", chunk))
    execution = await begun(flow, 1)
    reader = execution.get_async_runtime_stream()
    assert await anext(reader) == 1
    loaded = await moved(execution, flow)
    assert await read(loaded.get_async_runtime_stream(after=reader.position)) == [2, 3]
    with pytest.raises(Exception, match="no longer in memory"):
        await read(loaded.get_async_runtime_stream(after=0))


async def test_s18_an_emitter_that_waits_for_its_signals_waits_again() -> None:
    """S18 with S3: after a load `settle=True` still "waits until everything it caused has settled"."""
    flow, log = TriggerFlow(), list[str]()

    async def emitter(data: Data) -> str:
        await data.async_emit("work", settle=True)
        log.append("settled")
        return "done"

    async def work(data: Data) -> None:
        await asyncio.sleep(10)
        log.append("worked")

    flow.to(emitter).end()
    flow.when("work").to(work)
    execution = await begun(flow)
    await asyncio.sleep(5)
    loaded = await moved(execution, flow)
    assert await loaded.async_get_result() == "done"
    assert log == ["worked", "settled"]


@pytest.mark.parametrize("moment", [0.5, 5, 10.5, 15, 25, 35])
async def test_s18_waiting_emitters_under_a_limit(moment: float) -> None:
    """S18 with S3 and S9: emitters that wait, wait to go on, or have queued, at every moment under `concurrency=1`."""
    flow = TriggerFlow()

    async def emitter(data: Data) -> Any:
        await data.async_emit("job", data.value, settle=True)
        await asyncio.sleep(1)
        return data.value

    async def work(data: Data) -> None:
        await asyncio.sleep(10)
        data.state.append("work", data.value)

    flow.for_each().to(emitter).end_for_each().end()
    flow.when("job").to(work)
    flow.when("job").to(("other", work))
    execution = await begun(flow, [1, 2], concurrency=1)
    await asyncio.sleep(moment)
    loaded = await moved(execution, flow)
    assert await loaded.async_get_result() == [1, 2]
    assert sorted(loaded.state.get("work")) == [1, 1, 2, 2]


async def test_s18_limits_hold_after_a_load() -> None:
    """S18 with S9: the places that were taken stay taken, and queues stay queues."""
    flow, inside, peak = TriggerFlow(), 0, 0

    @flow.chunk("body", concurrency=2)
    async def body(data: Data) -> Any:
        nonlocal inside, peak
        inside += 1
        peak = max(peak, inside)
        try:
            await asyncio.sleep(10)
        finally:
            inside -= 1
        return data.value

    flow.for_each(concurrency=4).to(body).end_for_each().end()
    execution = await begun(flow, list(range(9)), concurrency=3)
    await asyncio.sleep(15)
    loaded = await moved(execution, flow)
    assert await loaded.async_get_result() == list(range(9))
    assert peak == 2


# -- interrupts, timers, retries ---------------------------------------------------------------------------------------


async def test_s18_open_interrupts_are_answered_after_a_load() -> None:
    """S18 with S17: open questions are kept, answered ones stay answered, by request id too."""
    flow = TriggerFlow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=str(data.value), payload={"about": data.value}, type="approval")

    flow.for_each().to(ask).to(("after", slow)).end_for_each().end()
    execution = await begun(flow, ["a", "b"])
    await execution.async_continue_with("a", 1, request_id="r1")
    loaded = await moved(execution, flow)
    assert loaded.get_pending_interrupts()["b"]["payload"] == {"about": "b"}
    assert (await loaded.async_continue_with("a", 1, request_id="r1"))["response"] == 1
    await loaded.async_continue_with("b", 2)
    assert await loaded.async_get_result() == [1, 2]


@pytest.mark.parametrize("schema", [int, list[int], pydantic.BaseModel], ids=["builtin", "generic", "model"])
async def test_s18_answers_are_still_validated_after_a_load(schema: Any) -> None:
    """S17 with S18: "Answers are validated": a load does not forget the schema of the question."""
    flow = TriggerFlow()
    if schema is pydantic.BaseModel:
        schema = flow.register_type(pydantic.create_model("Answer", yes=(bool, ...)))
    flow.to(asking(schema=schema)).end()
    loaded = await moved(await begun(flow), flow)
    with pytest.raises(ContractError):
        await loaded.async_continue_with("q", "no number")
    await loaded.async_cancel()


async def test_s18_a_schema_that_cannot_be_recorded_is_an_error_at_once() -> None:
    """S19: "anything else is a clear error": no answer goes unchecked because its schema was forgotten."""
    flow = TriggerFlow()
    model = pydantic.create_model("Unregistered", yes=(bool, ...))
    flow.to(asking(schema=list[model])).end()
    execution = await begun(flow)
    with pytest.raises(PayloadError, match=r"schema of interrupt 'q'.*register_type"):
        execution.save()
    flow.register_type(model)
    await execution.async_continue_with("q", [{"yes": True}])
    assert execution.save()["state"]["status"] == "completed"


async def test_s18_resume_to_self_after_a_load() -> None:
    """S18 with S17: the chunk finds the question, the answer and the value it had."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> Any:
        if data.resume is None:
            data.pause_for(interrupt_id="q", resume_to="self", payload=1)
        assert data.resume is not None
        await asyncio.sleep(10)
        return data.resume["value"], data.resume["payload"], data.value

    flow.to(chunk).end()
    loaded = await moved(await begun(flow, "task"), flow)
    await loaded.async_continue_with("q", "yes")
    await asyncio.sleep(5)
    again = await moved(loaded, flow)
    assert await again.async_get_result() == ("task", 1, "yes")


async def test_s18_timers_go_on() -> None:
    """S18: delayed signals, deadlines and expiries are due when they were due."""
    flow, seen = TriggerFlow(), list[tuple[str, int]]()

    async def note(data: Data) -> None:
        seen.append((str(data.value), round(now())))

    async def start(data: Data) -> None:
        await data.async_emit("later", "later", delay=100)

    flow.to(start)
    flow.when("later").to(note).end()
    flow.when({"timer": 50}).to(("note timer", note))
    flow.to(asking(expires=30))
    flow.on_error(lambda data: data.value["type"]).to(("note error", note))
    loaded = await moved(await begun(flow, "start"), flow)
    await loaded.async_get_result()
    assert seen == [("InterruptExpired", 30), ("start", 50), ("later", 100)]


async def test_s18_retries_in_back_off_go_on() -> None:
    """S18: "Attempts and back-off timers" survive: the next attempt comes when it was due, with its number."""
    flow, seen = TriggerFlow(), list[tuple[int, int]]()

    @flow.chunk("flaky", retry=Retry(3, initial_interval=60, jitter=0))
    async def flaky(data: Data) -> Any:
        seen.append((data.attempt, round(now())))
        if data.attempt < 3:
            raise ValueError("not yet")
        return "done"

    flow.to(flaky).end()
    execution = await begun(flow, concurrency=1)
    await asyncio.sleep(30)
    text = json.dumps(execution.save())
    due = json.loads(text)["state"]["timers"][0]["due"]
    await execution.async_cancel()
    loaded = flow.load_execution(text)
    assert await loaded.async_get_result() == "done"
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert due == pytest.approx(json.loads(text)["state"]["timers"][0]["due"])


# -- sub-flows ---------------------------------------------------------------------------------------------------------


async def test_s18_a_running_sub_flow_goes_on_where_it_was() -> None:
    """S18: the child's finished chunks are not run again, at any depth."""
    top, parent, child = TriggerFlow(name="top"), TriggerFlow(name="parent"), TriggerFlow(name="child")
    seen: list[str] = []

    def step(name: str) -> Any:
        async def chunk(data: Data) -> Any:
            await asyncio.sleep(10)
            seen.append(name)
            await data.async_put_into_stream(name)
            return f"{data.value}{name}"

        return name, chunk

    child.to(step("a")).to(step("b")).to(step("c")).end()
    parent.to(step("p")).to_sub_flow(child).to(step("q")).end()
    top.to_sub_flow(parent).to(step("t")).end()
    execution = await begun(top, "")
    await asyncio.sleep(25)
    loaded = await moved(execution, top)
    assert await loaded.async_get_result() == "pabcqt"
    assert seen == ["p", "a", "b", "c", "q", "t"]


async def test_s18_write_back_of_a_loaded_sub_flow_is_not_lost() -> None:
    """S18: "everything recorded is exactly-once": stream items of a child are no effects of its step that a repeated
    step would have to skip."""
    parent, child = TriggerFlow(name="parent"), TriggerFlow(name="child")

    async def put(data: Data) -> Any:
        await data.async_put_into_stream("item")
        await asyncio.sleep(10)
        return "result"

    child.to(put).end()
    parent.to_sub_flow(child, write_back={"runtime_data": {"found": "result"}, "value": "result"}).end()
    loaded = await moved(await begun(parent), parent)
    assert await loaded.async_get_result() == "result"
    assert loaded.state.get("found") == "result"


async def test_s18_a_loaded_sub_flow_keeps_what_it_was_given() -> None:
    """S18: what the child captured when it began is what it goes on with; its parent's data has changed since."""
    parent, child = TriggerFlow(name="parent"), TriggerFlow(name="child")
    child.to(slow).end()

    async def change(data: Data) -> None:
        await asyncio.sleep(5)
        data.state.set("topic", "new")

    parent.to(lambda data: data.state.set("topic", "old")).to_sub_flow(
        child, capture={"input": "runtime_data.topic"}
    ).end()
    parent.to(change)
    execution = await begun(parent)
    await asyncio.sleep(6)
    loaded = await moved(execution, parent)
    assert await loaded.async_get_result() == "old"


async def test_s18_the_shared_data_of_a_sub_flow_is_its_own_and_saved() -> None:
    """S18: a child has its own copy of the shared data; what it has put there is part of the run."""
    parent, child = TriggerFlow(name="parent"), TriggerFlow(name="child")

    async def write(data: Data) -> None:
        data.flow_state.set("mine", 1)

    async def read_it(data: Data) -> Any:
        return data.flow_state.get("mine")

    child.to(write).to(slow).to(read_it).end()
    parent.to_sub_flow(child).end()
    loaded = await moved(await begun(parent), parent)
    assert await loaded.async_get_result() == 1


async def test_s18_what_a_sub_flow_was_given_or_has_removed_is_saved_too() -> None:
    """S18: the copy of the shared data is as it was; what the child flow itself has is not recorded with it."""
    parent, child = TriggerFlow(name="parent"), TriggerFlow(name="child")
    child.set_flow_data("client", object())
    child.set_flow_data("old", 1)

    async def remove(data: Data) -> None:
        data.flow_state.delete("old")

    async def read_it(data: Data) -> Any:
        return [data.flow_state.get(key) for key in ("given", "old", "late")] + [
            data.flow_state.get("client") is not None
        ]

    child.to(remove).to(slow).to(read_it).end()
    parent.to_sub_flow(child, capture={"input": "value", "flow_data": {"given": "value"}}).end()
    execution = await begun(parent, "x")
    child.set_flow_data("late", 1)
    loaded = await moved(execution, parent)
    assert await loaded.async_get_result() == ["x", None, 1, True]

    async def write(data: Data) -> None:
        data.flow_state.set("bad", object())

    other = TriggerFlow(name="other")
    other.to(write).to(slow)
    flow = TriggerFlow()
    flow.to_sub_flow(other)
    execution = await begun(flow)
    with pytest.raises(PayloadError, match=r"flow_data\['bad'\]"):
        execution.save()
    await execution.async_cancel()


async def test_s18_a_question_of_a_sub_flow_is_answered_after_a_load() -> None:
    """S18 with S17: through two levels, before or after the load has begun to run."""
    top, parent, child = TriggerFlow(name="top"), TriggerFlow(name="parent"), TriggerFlow(name="child")
    child.to(asking(payload=1)).end()
    parent.to_sub_flow(child).end()
    top.to_sub_flow(parent).end()
    for wait in (False, True):
        execution = await begun(top)
        (number,) = execution.get_pending_interrupts()
        loaded = await moved(execution, top)
        assert list(loaded.get_pending_interrupts()) == [number]
        if wait:
            with pytest.raises(TimeoutError):
                await loaded.async_get_result(timeout=5)
        await loaded.async_continue_with(number, "yes")
        assert await loaded.async_get_result() == "yes"


# -- files, text, dicts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dict", "json text", "yaml text", "json", "yaml", "yml", "path object"])
async def test_s18_every_form(form: str, tmp_path: Path) -> None:
    """S18: a snapshot is a dict, JSON or YAML, as text or as a file."""
    flow, value = TriggerFlow(), {"text": "é\n: -", "n": [1, 2.5, None, True], "t": (1,), "s": "2024-01-01", "e": ""}
    flow.to(slow).end()
    execution = await begun(flow, value)
    saved: Any = execution.save()
    if form == "json text":
        saved = json.dumps(saved)
    elif form == "yaml text":
        saved = yaml.safe_dump(saved)
    elif form != "dict":
        path = tmp_path / f"run.{form if form != 'path object' else 'json'}"
        assert execution.save(path) == saved
        saved = path if form == "path object" else str(path)
        assert os.listdir(tmp_path) == [path.name]
    await execution.async_cancel()
    assert await flow.load_execution(saved).async_get_result() == value


async def test_s18_saving_what_cannot_be_saved_leaves_the_file_alone(tmp_path: Path) -> None:
    """S18 with S19: "nothing is written then"; the execution goes on."""
    flow, path = TriggerFlow(), tmp_path / "run.json"
    path.write_text("old", encoding="utf-8")
    flow.to(slow).end()
    execution = await begun(flow, object())
    with pytest.raises(PayloadError):
        execution.save(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == [path.name]
    await execution.async_get_result()


async def test_s18_a_snapshot_is_a_copy() -> None:
    """S18: what the run does after `save()` does not change what was saved."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> Any:
        data.state.set("list", held := [1])
        data.state.append("own", 1)
        await asyncio.sleep(10)
        held.append(2)
        data.state.append("own", 2)
        return data.state.to_dict()

    flow.to(chunk).end()
    execution = await begun(flow)
    saved = execution.save()
    text = json.dumps(saved)
    await execution.async_get_result()
    assert json.dumps(saved) == text


async def test_s18_a_snapshot_can_be_loaded_twice() -> None:
    """S18: two loads of one snapshot are two runs that do not touch each other, with their sub-flows."""
    parent, child = TriggerFlow(name="parent"), TriggerFlow(name="child")

    async def body(data: Data) -> Any:
        data.value.append("seen")
        data.state.append("log", 1)
        await asyncio.sleep(10)
        return data.value

    child.to(slow).to(body).end()
    parent.to_sub_flow(child).end()
    execution = await begun(parent, [1])
    saved = execution.save()
    text = json.dumps(saved)
    await execution.async_cancel()
    loads = [parent.load_execution(saved) for _ in range(2)]
    assert await asyncio.gather(*(it.async_get_result() for it in loads)) == [[1, "seen"], [1, "seen"]]
    assert json.dumps(saved) == text


async def test_s18_resources_are_given_again() -> None:
    """S18: resources are never recorded: only their names are; the flow's are there, an execution's are given again."""
    flow = TriggerFlow().set_runtime_resource("model", "flow's")

    async def chunk(data: Data) -> Any:
        await asyncio.sleep(10)
        return data.require_resource("model"), data.require_resource("index")

    flow.to(chunk).end()
    execution = await begun(flow, runtime_resources={"index": object()})
    saved = execution.save()
    await execution.async_cancel()
    assert saved["resource_keys"] == ["index", "model"]
    assert await flow.load_execution(saved, runtime_resources={"index": 2}).async_get_result() == ("flow's", 2)
    with pytest.raises(KeyError, match="'index'"):
        await flow.load_execution(saved).async_get_result()


async def test_s18_the_cache_is_no_part_of_a_run() -> None:
    """S18: a loaded run asks the cache of its process like any other."""
    flow, runs = TriggerFlow(), list[Any]()

    @flow.chunk("cached", cache=Cache())
    async def cached(data: Data) -> Any:
        runs.append(data.value)
        await asyncio.sleep(10)
        return data.value

    flow.to(cached).end()
    loaded = await moved(await begun(flow, 1), flow)
    assert await loaded.async_get_result() == 1
    assert await flow.async_start(1) == 1
    assert runs == [1, 1]


async def test_s18_a_typed_signal_can_be_saved_as_yaml(tmp_path: Path) -> None:
    """S18 with S4a: a declared signal is a name like any other, also in a file."""
    flow = TriggerFlow()
    go = flow.signal("go", int)

    async def start(data: Data) -> None:
        await data.async_emit(go, 1)
        await data.async_emit(go, 2, delay=20)

    flow.to(start)
    flow.when(go).to(slow)
    flow.when([go, "other"]).to(("both", echo))
    execution = await begun(flow)
    execution.save(tmp_path / "run.yaml")
    await execution.async_cancel()
    await flow.load_execution(tmp_path / "run.yaml").async_close()


# -- what can be recorded ----------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    MIXED = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Mode(enum.StrEnum):
    FAST = "fast"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    tags: tuple[str, ...] = ()
    total: int = dataclasses.field(default=0, init=False)


class Struct(msgspec.Struct, rename="camel"):
    first_name: str
    colour: Colour
    points: list[Point]


class Model(pydantic.BaseModel):
    at: datetime.datetime
    raw: bytes = b""
    anything: Any = None
    inner: "Model | None" = None


class Aliased(pydantic.BaseModel):
    value: int = pydantic.Field(alias="theValue")


class Computed(pydantic.BaseModel, extra="forbid"):
    side: int

    @pydantic.computed_field
    @property
    def area(self) -> int:
        return self.side**2


REGISTERED = (Colour, Level, Mode, Point, Struct, Model, Aliased, Computed)
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC)
VALUES: list[Any] = [
    None, True, False, 0, -1, 10**40, 0.1, -0.0, 1e300, float("inf"), float("-inf"), "", "text", "$", "é\u2028\x00",
    [], {}, [[], {}], {"$": "tuple", "v": [1]}, {"$": 1}, {1: "a", "1": "b", None: 0, (1, 2): [3], 1.5: {}},
    (), (1, (2, [3])), {1, 2}, set(), frozenset({"a"}), range(1, 10, 3), b"", b"\x00\xff", MOMENT,
    MOMENT.replace(tzinfo=None), datetime.date(2024, 1, 1), datetime.time(1, 2, 3), datetime.timedelta(-1, 5, 7),
    decimal.Decimal("1.10"), uuid.UUID(int=5), Colour.RED, Colour.MIXED, Level.HIGH, Mode.FAST, Point(1, ("a",)),
    Struct("a", Colour.RED, [Point(1)]), {Point(1): Point(2)}, [{(Colour.RED,): b"x"}],
    Model(at=MOMENT, inner=Model(at=MOMENT)), Model(at=MOMENT, raw=b"\xff\x00"), Model(at=MOMENT, anything={1, 2}),
    Model(at=MOMENT, anything=MOMENT), Aliased(theValue=1), Computed(side=2), Model.model_construct(at=MOMENT),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[f"{at} {type(it).__name__}" for at, it in enumerate(VALUES)])
async def test_s19_what_can_be_recorded_comes_back_as_it_was(value: Any) -> None:
    """S19: "What is recorded is JSON-shaped, plus Pydantic models, dataclasses, msgspec structs, bytes and datetimes
    through a closed type registry"."""
    flow = TriggerFlow()
    for cls in REGISTERED:
        flow.register_type(cls)

    async def chunk(data: Data) -> Any:
        data.state.set("k", data.value)
        await asyncio.sleep(10)
        return data.value, copy.deepcopy(data.state.get("k"))

    flow.to(chunk).end()
    execution = await begun(flow, value)
    saved = execution.save()
    text = json.dumps(saved, allow_nan=False)
    assert yaml.safe_load(yaml.safe_dump(saved)) == json.loads(text) == saved
    await execution.async_cancel()
    for back in await flow.load_execution(text).async_get_result():
        assert back == value
        assert type(back) is type(value)
        assert repr(back) == repr(value)


class Unknown:
    pass


class UnknownStruct(msgspec.Struct):
    x: int


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [Unknown(), UnknownStruct(1), lambda: 1, 1j, [{"a": (Unknown(),)}, 1], Unknown, open, CYCLE],
    ids=["object", "struct", "function", "complex", "nested", "class", "builtin", "cycle"],
)
@pytest.mark.parametrize("place", ["value", "state", "result of a branch", "payload", "join", "delayed"])
async def test_s19_anything_else_is_a_clear_error_that_names_chunk_and_key(value: Any, place: str) -> None:
    """S19: "anything else is a clear error that names chunk and key, at once. No pickle, no import on load." """
    flow = TriggerFlow()
    match place:
        case "value":
            flow.to(lambda data: value).to(("the chunk", slow))
            named = "'the chunk'"
        case "state":
            flow.to(lambda data: data.state.set("the key", value)).to(slow)
            named = "the key"
        case "result of a branch":
            flow.batch(("quick", lambda data: value), ("slow", slow))
            named = "batch"
        case "payload":
            flow.to(asking(interrupt_id="the question", payload=value))
            named = "the question"
        case "join":
            flow.when(["a", "b"]).to(echo)
            flow.to(lambda data: data.emit("a", value)).to(slow)
            named = "when:a&b"
        case _:
            flow.when("the event").to(echo)
            flow.to(lambda data: data.emit("the event", value, delay=50))
            named = "the event"
    execution = await begun(flow)
    await asyncio.sleep(1)
    with pytest.raises(PayloadError) as caught:
        execution.save()
    assert named in str(caught.value)
    await execution.async_cancel()


# -- damaged, foreign, newer -------------------------------------------------------------------------------------------


async def rich_snapshot() -> tuple[TriggerFlow, dict[str, Any]]:
    """A snapshot with something in every one of its parts."""
    flow, child = TriggerFlow(name="rich"), TriggerFlow(name="child")
    child.to(asking()).end()

    @flow.chunk("flaky", retry=Retry(5, initial_interval=100), concurrency=1)
    async def flaky(data: Data) -> None:
        raise ValueError("not yet")

    async def emitter(data: Data) -> None:
        data.state.append("log", (1, MOMENT))
        await data.async_emit("work", settle=True)

    flow.to(flaky)
    flow.to(emitter)
    flow.when("work").for_each(concurrency=1).to(slow).end_for_each()
    flow.to_sub_flow(child)
    flow.when(["work", "never"]).to(("joined", echo))
    flow.to(lambda data: data.emit("work", delay=50))
    execution = await begun(flow, [1, 2], concurrency=4)
    saved = execution.save()
    await execution.async_cancel()
    return flow, saved


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything inside."""
    items: Any = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(deeper for key, value in items for deeper in places(value, (*path, key)))]


GONE = object()


@pytest.mark.parametrize("put", [GONE, None, [], {}, "text", -1, 10**9, 1.5, [[]], {"$": "type:os.system", "v": []}])
async def test_s18_a_damaged_snapshot_is_a_snapshot_error_or_none(put: Any) -> None:
    """S18: whatever one place of a snapshot is replaced by, loading it gives an execution or a `SnapshotError`."""
    flow, saved = await rich_snapshot()
    text, wrong = json.dumps(saved), list[str]()
    for path in places(saved):
        damaged = json.loads(text)
        if not path:
            damaged = put
        else:
            inner = damaged
            for key in path[:-1]:
                inner = inner[key]
            if put is GONE:
                del inner[path[-1]]
            else:
                inner[path[-1]] = put
        if not isinstance(damaged, dict):
            continue
        try:
            flow.load_execution(damaged)
        except SnapshotError:
            pass
        except Exception as error:
            wrong.append(f"{path}: {error!r}")
    assert wrong == []


@pytest.mark.parametrize(
    "source",
    ["{", "[1]", "{}", "a: 1\nb: 2\n", "a: [\n", "- 1\n- 2\n", '{"kind": "other"}', "{} trailing", "!!python/x\n"],
)
async def test_s18_foreign_text_is_a_snapshot_error(source: str) -> None:
    """S18: text that is no snapshot is a clear error, whatever it is."""
    with pytest.raises(SnapshotError):
        TriggerFlow().load_execution(source)


async def test_s18_files_that_cannot_be_read(tmp_path: Path) -> None:
    """S18: a missing file is a missing file; a damaged one is a `SnapshotError`."""
    flow = TriggerFlow()
    with pytest.raises(FileNotFoundError):
        flow.load_execution(tmp_path / "none.json")
    for name, content in (("a.json", b""), ("b.yaml", b""), ("c.json", b"\xff\xfe\x00"), ("d.json", b'{"kind": 1'),
                          ("e.json", b"[" * 100_000), ("f.yaml", b"\x00")):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SnapshotError):
            flow.load_execution(tmp_path / name)


async def test_s18_a_newer_format_is_refused() -> None:
    """S18: "a config of a newer format ...: each a clear error", and so for a snapshot."""
    flow, saved = await rich_snapshot()
    saved["state"]["format"] += 1
    with pytest.raises(SnapshotError, match="format"):
        flow.load_execution(saved)


async def test_s18_a_snapshot_of_another_flow_is_refused_and_changes_nothing() -> None:
    """S18: operators that this flow does not have are named; live executions and shared data stay as they are."""
    _, saved = await rich_snapshot()
    other = TriggerFlow(name="other")
    other.to(slow).end()
    other.set_flow_data("k", 1)
    live = await begun(other, 5)
    with pytest.raises(SnapshotError, match=r"operator|flow"):
        other.load_execution(saved)
    assert other.get_flow_data("k") == 1
    assert await live.async_get_result() == 5


async def test_s19_an_unregistered_type_is_named_on_load() -> None:
    """S19: "No pickle, no import on load": a type that is not registered here is named, and not looked for."""
    one, two = TriggerFlow(), TriggerFlow()
    one.register_type(Point)
    for flow in (one, two):
        flow.to(slow).end()
    execution = await begun(one, Point(1))
    saved = execution.save()
    await execution.async_cancel()
    with pytest.raises(SnapshotError, match="Point"):
        two.load_execution(saved)
    two.register_type(Point)
    assert await two.load_execution(saved).async_get_result() == Point(1)


async def test_the_records_of_a_loaded_execution_go_on_with_their_numbers() -> None:
    flow = TriggerFlow()
    flow.to(asking())
    execution = await begun(flow)
    before = runtime_of(execution).machine.state.records
    loaded = await moved(execution, flow)
    await loaded.async_continue_with("q", 1)
    runtime = runtime_of(loaded)
    first = runtime.machine.state.records - len(loaded.records)
    assert (first, runtime.journal.first) == (before, before)
