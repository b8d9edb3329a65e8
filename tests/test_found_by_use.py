"""Programs that went wrong when people tried to break the engine, each with its right outcome."""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest

from triggerflow import Retry, TriggerFlow
from triggerflow.diagram import run_view
from triggerflow.errors import (
    ContractError,
    DefinitionError,
    ExecutionCancelled,
    ExecutionTimedOut,
    PayloadError,
    UsageError,
)
from triggerflow.run.environment import machine_time
from triggerflow.stores import MemoryData, MemoryStore
from triggerflow.testing import VirtualTime, run_in_virtual_time


class Answer(pydantic.BaseModel):
    ok: bool


class Typed(TypedDict):
    ok: bool


async def boom(data: Any) -> None:
    raise ValueError("boom")


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_sleep_of_a_year_takes_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(365 * 86400)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(main()) == pytest.approx(365 * 86400)


@pytest.mark.parametrize("delay", [0.5, 5, 3_000_000, 50_000_000])
def test_timers_that_are_due_together_run_in_their_order(delay: float) -> None:
    async def main() -> list[int]:
        got = list[int]()

        async def one(number: int) -> None:
            await asyncio.sleep(delay)
            got.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        return got

    assert run_in_virtual_time(main()) == list(range(20))


@pytest.mark.parametrize("delays", [(20, 10), (50, 5, 30, 10, 45)])
async def test_what_came_due_while_no_process_ran_happens_in_the_order_of_its_times(delays: tuple[float, ...]) -> None:
    flow, got = TriggerFlow(name="overdue"), list[float]()

    async def begin(data: Any) -> None:
        for delay in delays:
            await data.async_emit("due", delay, delay=delay)

    async def keep(data: Any) -> None:
        got.append(data.value)

    flow.to(begin)
    flow.when("due").to(keep)
    held = MemoryData()
    async with MemoryStore(held) as store:
        execution = flow.create_execution(store=store, id="x")
        await execution.async_begin()
        await asyncio.sleep(1)
    await asyncio.sleep(100)
    async with MemoryStore(held) as store:
        await (await flow.async_resume("x", store=store)).async_start()
    assert got == sorted(delays)


async def test_an_answer_does_not_count_when_the_time_of_the_execution_is_over() -> None:
    flow = TriggerFlow(name="over")
    flow.to(("ask", lambda data: data.pause_for(interrupt_id="q"))).to(lambda data: data.value).end()
    held = MemoryData()
    async with MemoryStore(held) as store:
        execution = flow.create_execution(store=store, id="x", execution_timeout=50)
        await execution.async_begin(1)
        await execution.async_settled()
    await asyncio.sleep(1000)
    async with MemoryStore(held) as store:
        execution = flow.create_execution(store=store, id="x")
        with pytest.raises(Exception, match=r"ended|limit"):
            await execution.async_continue_with("q", "late")
        with pytest.raises(ExecutionTimedOut):
            await execution.async_get_result()


# -- questions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [Answer, int, list[int], bool | None])
async def test_the_schema_of_an_answer_holds_after_a_restart(schema: Any) -> None:
    held, good = MemoryData(), {"ok": True} if schema is Answer else [1] if schema == list[int] else None

    def made() -> TriggerFlow:
        flow = TriggerFlow(name="ask")
        flow.register_type(Answer)

        async def ask(data: Any) -> None:
            data.pause_for(interrupt_id="q", schema=schema)

        flow.to(flow.chunk("ask")(ask)).to(flow.chunk("type")(lambda data: type(data.value).__name__)).end()
        return flow

    async with MemoryStore(held) as store:
        execution = made().create_execution(store=store, id="x")
        await execution.async_begin()
        await execution.async_settled()
    async with MemoryStore(held) as store:
        execution = await made().async_resume("x", store=store)
        with pytest.raises(ContractError):
            await execution.async_continue_with("q", {"ok": "zz"})
        if good is not None:
            await execution.async_continue_with("q", good)
            assert await execution.async_get_result() == ("Answer" if schema is Answer else "list")


@pytest.mark.parametrize("schema", [Answer, Typed, Annotated[int, msgspec.Meta(gt=0)], lambda value: value])
async def test_a_schema_that_cannot_be_recorded_is_refused_when_it_is_asked(schema: Any) -> None:
    flow = TriggerFlow(name="ask")
    flow.to(("ask", lambda data: data.pause_for(interrupt_id="q", schema=schema)))
    async with MemoryStore() as store:
        execution = flow.create_execution(store=store, id="x")
        with pytest.raises(PayloadError, match="answers would not be checked after a restart"):
            await execution.async_start()


async def test_a_fallback_cannot_ask_with_an_expiry() -> None:
    flow = TriggerFlow(name="fallback")
    asks = flow.chunk("bad", fallback=lambda data: data.pause_for(interrupt_id="q", expires=5))(boom)
    flow.to(asks).end()
    with pytest.raises(UsageError, match="cannot pause with expires="):
        await flow.create_execution().async_start()


async def test_a_pause_inside_a_task_group_of_the_chunk_pauses() -> None:
    flow = TriggerFlow(name="group")

    async def ask(data: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.01))
            data.pause_for(interrupt_id="q")

    flow.to(ask).to(lambda data: data.value).end()
    execution = flow.create_execution()
    await execution.async_begin()
    await execution.async_settled()
    await execution.async_continue_with("q", "yes")
    assert await execution.async_get_result() == "yes"


# -- types -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pydantic.PositiveInt, Annotated[int, pydantic.Field(gt=0)]])
async def test_the_constraints_of_pydantic_are_checked(kind: Any) -> None:
    class State(pydantic.BaseModel):
        number: kind = 1
        field: int = pydantic.Field(default=1, gt=0)

    flow = TriggerFlow(name="constraints").set_state(State)
    flow.signal("n", kind)
    flow.set_contract(initial_input=kind)
    seen = list[str]()

    async def chunk(data: Any) -> None:
        for wrong in (
            lambda: data.state.set("number", -5),
            lambda: data.state.set("field", -5),
            lambda: data.emit("n", -5),
        ):
            with pytest.raises(ContractError):
                wrong()
            seen.append("refused")

    flow.to(chunk)
    await flow.async_start(1)
    assert len(seen) == 3
    with pytest.raises(ContractError):
        await flow.async_start(-1)


async def test_a_typed_dict_can_be_declared() -> None:
    flow = TriggerFlow(name="typed dict")
    flow.signal("x", Typed)
    flow.to(("send", lambda data: data.emit("x", {"ok": True})))
    flow.when("x").to(lambda data: data.value).end()
    assert await flow.async_start() == {"ok": True}
    flow.to(("wrong", lambda data: data.emit("x", {"ok": "no"})))
    with pytest.raises(ContractError):
        await flow.async_start()


async def test_an_async_function_cannot_update() -> None:
    flow = TriggerFlow(name="update")

    async def later(value: Any) -> Any:
        return value

    flow.to(("update", lambda data: data.state.update("key", later)))
    with pytest.raises(UsageError, match="must not be async"):
        await flow.async_start()


# -- failures ----------------------------------------------------------------------------------------------------------


async def test_any_error_can_be_one_side_of_a_join() -> None:
    flow = TriggerFlow(name="join")
    flow.to(("bad", boom))
    good = flow.chunk("good")(lambda data: "fine")
    flow.to(good)
    flow.when({"error": "*", "chunk": "good"}).to(lambda data: sorted(data.value)).end()
    assert await flow.async_start() == ["error", "event"]


async def test_a_sub_flow_that_stands_twice_has_each_its_fallback() -> None:
    inner, flow, got = TriggerFlow(name="inner"), TriggerFlow(name="outer"), list[Any]()
    inner.to(("bad", boom)).end()
    flow.to_sub_flow(inner, fallback="one").to(("x", lambda data: got.append(("x", data.value))))
    flow.to_sub_flow(inner, fallback="two").to(("y", lambda data: got.append(("y", data.value))))
    await flow.async_start()
    assert sorted(got) == [("x", "one"), ("y", "two")]


@pytest.mark.parametrize("value", [[], {}, [[]]])
async def test_a_fallback_value_is_not_shared(value: Any) -> None:
    flow = TriggerFlow(name="fallback")

    async def add(data: Any) -> int:
        if isinstance(data.value, list):
            data.value.append(1)
        else:
            data.value[1] = 1
        return len(data.value)

    flow.for_each().to(flow.chunk("bad", fallback=value)(boom)).to(add).end_for_each().end()
    first = await flow.async_start([1, 2, 3])
    assert first == await flow.async_start([1, 2, 3])
    assert len(set(first)) == 1


async def test_the_default_key_of_a_collect_is_the_name_of_the_chunk() -> None:
    flow = TriggerFlow(name="keys")
    ask = flow.chunk("ask")(lambda data: 1)
    flow.to(ask).to(ask).collect("j")
    flow.to(("b", lambda data: 2)).collect("j").to(lambda data: sorted(data.value)).end()
    assert await flow.async_start() == ["ask", "b"]


async def test_the_completion_and_the_failure_of_a_sub_flow_are_heard_wherever_it_stands() -> None:
    inner, flow, got = TriggerFlow(name="sub"), TriggerFlow(name="outer"), list[Any]()

    async def odd(data: Any) -> Any:
        if data.value % 2:
            raise ValueError("odd")
        return data.value

    async def keep(data: Any) -> None:
        got.append(data.value["value"] if isinstance(data.value, dict) else data.value)

    inner.to(odd).end()
    for number in (1, 2, 3, 4):
        flow.to((f"give {number}", lambda data, number=number: number)).to_sub_flow(inner)
    flow.when({"chunk": "sub"}).to(("done", keep))
    flow.when({"error": inner}).to(("failed", keep))
    await flow.async_start()
    assert sorted(got) == [1, 2, 3, 4]


@pytest.mark.parametrize("form", ["chunk", "name", "function"])
async def test_a_condition_that_fails_goes_to_the_route_of_its_chunk(form: str) -> None:
    flow = TriggerFlow(name="condition")

    async def check(data: Any) -> bool:
        raise ValueError("down")

    chunk: Any = check if form == "function" else flow.chunk("check")(check)
    flow.if_condition(chunk).to(("yes", lambda data: "yes")).end_condition().end()
    flow.when({"error": "check" if form == "name" else chunk}).to(("route", lambda data: "routed")).end()
    assert await flow.async_start() == "routed"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"collect": "nop"}, "the collection 'nop', which nothing fills; did you mean 'nope'"),
        ({"chunk": "unused"}, "the completion of chunk 'unused', which is not wired"),
        ({"error": "unused"}, "the failure of chunk 'unused', which is not wired"),
        ({"runtime_data": "rouds"}, "did you mean 'rounds'"),
    ],
)
def test_a_when_of_what_can_never_happen_is_refused(wanted: Any, message: str) -> None:
    @dataclass
    class State:
        rounds: int = 0

    flow = TriggerFlow(name="never").set_state(State)
    flow.chunk("unused")(lambda data: None)
    flow.to(("a", lambda data: 1)).collect("nope", "a")
    flow.when(wanted).to(("b", lambda data: 1)).end()
    with pytest.raises(DefinitionError, match=message):
        flow.create_execution()


@pytest.mark.parametrize("heard", ["function", "name", "error", "join"])
async def test_a_cell_with_plain_functions_can_run_twice(heard: str) -> None:
    flow, got = TriggerFlow(name="cell"), list[Any]()
    for _ in range(2):

        async def go(data: Any) -> Any:
            if heard == "error":
                raise ValueError("x")
            return data.value

        async def other(data: Any) -> Any:
            return data.value

        async def keep(data: Any) -> None:
            got.append(1)

        flow.register_chunk_handler(go)
        flow.to(go)
        flow.to(other)
        wanted = {"function": go, "name": {"chunk": "go"}, "error": {"error": go}, "join": [go, other]}[heard]
        flow.when(wanted).to(keep)
    await flow.async_start(1)
    assert got == [1]


async def test_a_failure_that_no_result_can_show_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow(name="late")

    async def late(data: Any) -> None:
        await asyncio.sleep(0.1)
        raise ValueError("item")

    async def items(data: Any) -> Any:
        async def source() -> Any:
            yield 1
            await asyncio.sleep(0.01)
            raise RuntimeError("source")

        return source()

    flow.for_each(on_error="collect").to(items).for_each().to(late).end_for_each().end_for_each().end()
    result = await flow.async_start([1])
    assert [it.message for it in result] == ["source"]
    assert "chunk 'late' failed after the block that collects its failure had ended" in caplog.text


@pytest.mark.parametrize("how", ["cancel", "failure", "limit"])
async def test_no_question_is_open_after_the_end(how: str) -> None:
    flow = TriggerFlow(name="end")

    async def fail(data: Any) -> None:
        await asyncio.sleep(1)
        if how == "failure":
            raise ValueError("x")
        await asyncio.sleep(100)

    flow.to(("ask", lambda data: data.pause_for(interrupt_id="q")))
    flow.to(fail)
    execution = flow.create_execution(execution_timeout=10 if how == "limit" else None)
    await execution.async_begin()
    await asyncio.sleep(0.5)
    assert list(execution.get_pending_interrupts()) == ["q"]
    if how == "cancel":
        await execution.async_cancel()
    with pytest.raises((ValueError, ExecutionCancelled, ExecutionTimedOut)):
        await execution.async_get_result()
    assert execution.get_pending_interrupts() == {}
    assert execution.get_interrupt("q")["status"] == "retracted"


async def test_the_defaults_of_the_state_are_there_before_the_start() -> None:
    @dataclass
    class State:
        number: int = 7

    flow = TriggerFlow(name="defaults").set_state(State)
    flow.when(flow.signal("add", int)).to(lambda data: data.set_result(data.state.get("number") + data.value))
    execution = flow.create_execution(keep_open=True)
    await execution.async_emit("add", 3)
    assert await execution.async_get_result() == 10
    await execution.async_close()


# -- views -------------------------------------------------------------------------------------------------------------


async def test_a_run_view_counts_a_chunk_over_all_its_places() -> None:
    flow = TriggerFlow(name="view")

    async def count(data: Any) -> None:
        if data.value < 3:
            await data.async_emit("again", data.value + 1)

    work = flow.chunk("work")(count)
    flow.to(work)
    flow.when("again").to(work)
    execution = flow.create_execution()
    await execution.async_start(0)
    view = run_view(flow.definition, execution.records)
    assert (view.chunks["work"].count, view.chunks["work"].status) == (4, "done")
    assert sorted(it.count for name, it in view.operators.items() if name.startswith("work")) == [1, 3]


# -- found by reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [[1, 2, 3], (1, 2), {"a": [1]}, {1, 2}])
async def test_a_list_of_the_state_is_a_list_for_every_operator(value: Any) -> None:
    """No thread reads it, and no run compares it: the records are those of a plain value."""
    flow = TriggerFlow(name="frozen")

    async def load(data: Any) -> None:
        await data.state.async_set("key", value)

    async def keep(data: Any) -> Any:
        return data.value

    flow.to(load)
    heard = flow.when({"runtime_data": "key"})
    heard.for_each().to(("item", keep)).end_for_each()
    heard.match().case(value).to(("equal", keep)).end_match().end()
    execution = flow.create_execution()
    assert await execution.async_start() == value
    kinds = {type(record).__name__ for record in execution.records}
    assert "SourceItems" not in kinds or isinstance(value, set)
    runs = [it.name for it in flow.definition.operators if it.name in ("equal", "item")]
    assert len(runs) == 2
    completed = sum(type(record).__name__ == "Completed" for record in execution.records)
    assert completed == 2 + (1 if isinstance(value, dict) else len(value))


@pytest.mark.parametrize("by", ["timers", "question"])
async def test_the_result_of_what_was_not_started_is_no_time_out(by: str) -> None:
    flow, loop = TriggerFlow(name="not started"), asyncio.get_running_loop()

    async def work(data: Any) -> None:
        if by == "question":
            data.pause_for()

    flow.when("x").to(work)
    execution = flow.create_execution()
    await execution.async_emit("x", 1, delay=1)
    await execution.async_emit("x", 2, delay=5)
    if by == "timers":
        with pytest.raises(UsageError, match="was not started"):
            await execution.async_get_result()
        assert loop.time() >= 5
    else:
        with pytest.raises(TimeoutError):
            await execution.async_get_result(timeout=30)
        assert loop.time() >= 30


async def test_a_block_collects_what_fails_on_a_way_back() -> None:
    flow = TriggerFlow(name="way back")
    a = flow.chunk("a")(lambda data: data.value)
    begin = flow.for_each(on_error="collect").to(a).match()
    begin = begin.case(lambda data: data.value < 5).to(("fix", boom)).back_to(a)
    begin.case_else().to(("fine", lambda data: data.value)).end_match().end_for_each().end()
    result = await flow.async_start([1, 7])
    assert [getattr(it, "type", it) for it in result] == ["ValueError", 7]


async def test_what_a_repeated_attempt_starts_sees_the_state_of_that_attempt() -> None:
    flow, seen = TriggerFlow(name="attempts"), list[Any]()

    @flow.chunk("work", retry=Retry(2, initial_interval=0.01))
    async def work(data: Any) -> None:
        data.state.set("k", "A")
        if data.attempt == 1:
            data.state.set("k", "B")
            raise ValueError("again")
        await data.async_emit("check", data.state.get("k"), settle=True)

    async def check(data: Any) -> None:
        seen.append((data.value, data.state.get("k")))

    flow.to(work)
    flow.when("check").to(check)
    await flow.async_start()
    assert seen == [("A", "A")]


async def test_a_fallback_has_the_time_out_of_its_chunk() -> None:
    flow = TriggerFlow(name="fallback")

    async def slow(data: Any) -> None:
        await asyncio.sleep(1000)

    flow.to(flow.chunk("bad", timeout=5, fallback=slow)(boom)).end()
    with pytest.raises(TimeoutError):
        await flow.create_execution(execution_timeout=100).async_start()


async def test_a_fallback_that_swallows_a_cancellation_counts() -> None:
    flow = TriggerFlow(name="fallback")

    async def stubborn(data: Any) -> str:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "counts"
        return "never"

    flow.to(flow.chunk("bad", fallback=stubborn)(boom)).end()
    assert await flow.async_start() == "counts"


async def test_a_slow_reader_is_not_logged_as_one_that_was_left(caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow(name="slow reader")

    async def work(data: Any) -> None:
        for number in range(300):
            await data.async_put_into_stream(number)

    flow.to(work)
    reader = flow.create_execution().get_async_runtime_stream(None, buffer=50)
    async for _ in reader:
        await asyncio.sleep(0.1)
    assert not caplog.records


def test_virtual_time_gives_the_clock_back() -> None:
    before = machine_time()
    with VirtualTime() as virtual:
        virtual.run(asyncio.sleep(3 * 86400))
        assert machine_time() - before > 2 * 86400
    assert machine_time() - before < 3600


@pytest.mark.parametrize("call", ["append", "delete"])
def test_an_enum_names_a_key_of_shared_data_in_every_call(call: str) -> None:
    class Key(Enum):
        A = "a"

    flow = TriggerFlow(name="shared")
    if call == "append":
        flow.append_flow_data(Key.A, 1)
        assert flow.get_flow_data("a") == [1]
    else:
        flow.set_flow_data("a", 1)
        flow.del_flow_data(Key.A)
        assert flow.get_flow_data("a") is None


@pytest.mark.parametrize("call", ["for_each", "batch", "match", "if_condition"])
def test_a_misspelt_on_error_names_the_right_one(call: str) -> None:
    flow = TriggerFlow(name="options")
    arguments = [lambda data: True] if call in ("batch", "if_condition") else []
    with pytest.raises(DefinitionError, match="did you mean 'on_error'"):
        getattr(flow, call)(*arguments, on_eror="collect")
