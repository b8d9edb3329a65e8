"""Fields of a model's answer in durable executions: a restart takes them back, and the model is asked again."""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.fields_support import PLAN, TYPED, PydanticPlan, PydanticStep, Works, answering, planning
from triggerflow import FieldPlace, TriggerFlow
from triggerflow.errors import PayloadError
from triggerflow.models import Delta, Response, ToolCall, ToolCallDelta
from triggerflow.stores import SQLiteStore

Open = Callable[[], Any]
OTHER = PLAN.replace('"a"', '"d"').replace('"b"', '"e"')
"""Another plan: the steps d, e and c."""


def works_on(source: Any, kind: str = "pydantic", seconds: float = 1000.0) -> Works:
    plan, _ = TYPED[kind]
    return Works(planning(source, plan), seconds=seconds)


@pytest.mark.parametrize("kind", TYPED)
async def test_it_runs_like_one_in_memory(open_store: Open, kind: str) -> None:
    works = works_on(answering(PLAN.replace('"minutes": 6', '"minutes": "x"'), PLAN), kind)
    async with open_store() as store:
        items, result = await works.run(store=store, id="run")
        assert result == "A+B+C"
        assert [item["type"] for item in items] == ["retraction"]
        assert [place.path for place in works.fields] == ["steps[0]", "steps[1]", *(f"steps[{n}]" for n in range(3))]
        assert (await works.flow.history(store).state_at("run")).status == "completed"


@pytest.mark.parametrize("after", [5, 20, 30, 40])
@pytest.mark.parametrize("second", [PLAN, OTHER])
async def test_after_a_restart_the_items_are_taken_back_and_the_model_is_asked_again(
    open_store: Open, after: int, second: str
) -> None:
    """Also where it answers otherwise: the work is that on the new answer alone."""
    source = answering(PLAN, second)
    first, again = works_on(source), works_on(source, seconds=1.0)
    async with open_store() as store:
        execution = first.flow.create_execution(store=store, id="run")
        await execution.async_begin()
        await asyncio.sleep(after)
        await execution.async_suspend()
    begun = first.names("begin")
    assert begun == ["a", "b", "c"][: len(begun)]
    async with open_store() as store:
        execution = await again.flow.async_resume("run", store=store)
        items = [item async for item in execution.get_async_runtime_stream(after=0, timeout=None)]
        names = [step["name"] for step in json.loads(second)["steps"]]
        assert await execution.async_get_result() == "+".join(names).upper()
        assert again.names("begin") == names
        assert [item["type"] for item in items] == ["retraction"] * bool(begun)
        assert all("asked again" in item["reason"] for item in items)
    assert source.asked == 2


async def test_what_a_restart_finds_after_the_answer_goes_on(open_store: Open) -> None:
    """The answer is valid, and its items are in work: they run again, and the model is not asked."""
    source = answering(PLAN)
    first, again = works_on(source), works_on(source, seconds=1.0)
    async with open_store() as store:
        execution = first.flow.create_execution(store=store, id="run")
        await execution.async_begin()
        await asyncio.sleep(100)
        await execution.async_suspend()
    async with open_store() as store:
        execution = await again.flow.async_resume("run", store=store)
        assert await execution.async_get_result() == "A+B+C"
    assert again.names("begin") == ["a", "b", "c"]
    assert again.fields == [FieldPlace(f"steps[{n}]", "steps[*]", ("steps", n)) for n in range(3)]
    assert source.asked == 1


@pytest.mark.parametrize("second", [PLAN, OTHER])
async def test_signals_of_fields_are_taken_back_after_a_restart(open_store: Open, second: str) -> None:
    source = answering(PLAN, second)
    log: list[tuple[str, Any]] = []

    def make(seconds: float) -> TriggerFlow:
        flow = TriggerFlow(name="signals")
        flow.register_type(PydanticStep)

        @flow.chunk("plan")
        async def plan(data: Any) -> Any:
            return await data.async_emit_fields(Response(source, output=PydanticPlan), {"steps[*]": "step"})

        @flow.chunk("work")
        async def work(data: Any) -> None:
            log.append((data.value.name, data.field.indexes))
            await asyncio.sleep(seconds)
            await data.async_put_into_stream(data.value.name)

        flow.to(plan).end()
        flow.when("step").to(work)
        return flow

    async with open_store() as store:
        execution = make(1000.0).create_execution(store=store, id="run")
        await execution.async_begin()
        await asyncio.sleep(36)
        await execution.async_suspend()
    assert log == [("a", (0,)), ("b", (1,))]
    async with open_store() as store:
        execution = await make(1.0).async_resume("run", store=store)
        items = [item async for item in execution.get_async_runtime_stream(after=0, timeout=None)]
        assert await execution.async_get_result() == json.loads(second)
    names = [step["name"] for step in json.loads(second)["steps"]]
    assert [name for name, _ in log[2:]] == names
    assert [item for item in items if isinstance(item, str)] == names
    assert [item["type"] for item in items if not isinstance(item, str)] == ["retraction"] * 2


async def test_a_repeated_crash_loses_and_doubles_nothing(open_store: Open) -> None:
    source = answering(*[PLAN] * 20)
    begun: list[str] = []
    for after in range(3, 45, 3):
        works = works_on(source)
        async with open_store() as store:
            if after == 3:
                execution = works.flow.create_execution(store=store, id="run")
                await execution.async_begin()
            else:
                execution = await works.flow.async_resume("run", store=store)
            await asyncio.sleep(after)
            await execution.async_suspend()
            begun += works.names("begin")
    last = works_on(source, seconds=1.0)
    async with open_store() as store:
        execution = await last.flow.async_resume("run", store=store)
        assert await execution.async_get_result() == "A+B+C"
    assert last.names("begin") == ["a", "b", "c"]
    assert begun.count("c") <= begun.count("b") <= begun.count("a")


async def test_an_item_of_an_unregistered_class_fails_the_chunk_and_names_it(open_store: Open) -> None:
    flow = TriggerFlow(name="unregistered")
    flow.to(lambda data: Response([PLAN], output=PydanticPlan).fields("steps[*]")).for_each().end_for_each().end()
    async with open_store() as store:
        with pytest.raises(PayloadError, match=r"for_each that follows it is a .*PydanticStep.*register_type"):
            await flow.create_execution(store=store).async_start()


async def test_places_are_recorded_with_their_items(open_store: Open) -> None:
    flow = TriggerFlow(name="places")

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response([PLAN], output=PydanticPlan).fields("steps[*].tags[*]", places=True)

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        return data.value

    flow.to(plan).for_each().to(work).end_for_each().end()
    async with open_store() as store:
        found = (
            await flow.async_start(store=store, id="run")
            if False
            else await flow.create_execution(store=store, id="run").async_start()
        )
        assert found[0] == (FieldPlace("steps[0].tags[0]", "steps[*].tags[*]", ("steps", 0, "tags", 0)), "x")
    async with open_store() as store:
        assert (await flow.history(store).state_at("run")).result == found


@pytest.mark.parametrize("after", [20, 30, 40, 100])
async def test_a_saved_execution_goes_on_elsewhere(after: int) -> None:
    """In memory: `save` at any moment, and `load_execution` in another process."""
    source = answering(PLAN, OTHER)
    first, again = works_on(source), works_on(source, seconds=1.0)
    execution = first.flow.create_execution()
    await execution.async_begin()
    await asyncio.sleep(after)
    text = json.dumps(execution.save())
    await execution.async_cancel("its process died")
    execution = again.flow.load_execution(text)
    assert await execution.async_get_result() == ("D+E+C" if after < 100 else "A+B+C")
    assert again.names("begin") == (["d", "e", "c"] if after < 100 else ["a", "b", "c"])
    assert again.fields[0] == FieldPlace("steps[0]", "steps[*]", ("steps", 0))


def leave(folder: Path) -> None:
    """Copy the files of the store."""
    for file in folder.glob("runs.db*"):
        shutil.copy(file, folder / f"left-{file.name}")


@pytest.mark.parametrize("after", [5, 20, 36, 40, 44, 60])
async def test_a_crash_at_any_moment(tmp_path: Path, after: int) -> None:
    """The files as they are at that moment are what a killed process leaves."""
    source = answering(PLAN, OTHER)
    first, again = works_on(source), works_on(source, seconds=1.0)
    async with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as store:
        execution = first.flow.create_execution(store=store, id="run")
        await execution.async_begin()
        await asyncio.sleep(after)
        leave(tmp_path)
        await execution.async_cancel("this process is not the one of the test")
    await asyncio.sleep(1000)  # until the lease of the dead process is over
    async with SQLiteStore(tmp_path / "left-runs.db", synchronous="NORMAL") as store:
        execution = await again.flow.async_resume("run", store=store)
        items = [item async for item in execution.get_async_runtime_stream(after=0, timeout=None)]
        assert await execution.async_get_result() == ("A+B+C" if after >= 44 else "D+E+C")
    assert sorted(again.log) == sorted(
        (kind, name) for name in ("abc" if after >= 44 else "dec") for kind in ("begin", "end")
    )
    assert [item["type"] for item in items] == ["retraction"] * (20 <= after < 44)


async def test_tool_calls_are_recorded(open_store: Open) -> None:
    pieces = [
        ToolCallDelta(0, '{"city": "Ro', "1", "weather"),
        ToolCallDelta(0, 'me"}'),
        ToolCallDelta(1, "{}", "2", "now"),
    ]
    flow = TriggerFlow(name="calls")
    flow.register_type(ToolCall)

    async def source() -> AsyncGenerator[Delta, None]:
        for piece in pieces:
            yield Delta(tool_calls=(piece,))
        yield Delta(finish_reason="tool_calls")

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response(source).fields("$tool_calls[*]", "$tool_calls.weather.city")

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        return data.field.path, data.value if isinstance(data.value, str) else data.value.name

    flow.to(plan).for_each().to(work).end_for_each().end()
    async with open_store() as store:
        assert sorted(await flow.create_execution(store=store, id="run").async_start()) == [
            ("$tool_calls[0]", "weather"), ("$tool_calls[0].city", "Rome"), ("$tool_calls[1]", "now"),
        ]  # fmt: skip


@pytest.mark.parametrize("seconds", [1.0, 100.0])
async def test_a_retry_in_place_after_a_failed_item(open_store: Open, seconds: float) -> None:
    """While the answer is written, it is asked for anew; after that, only the failed item runs again."""
    source = answering(PLAN, OTHER)
    begun: list[str] = []
    failing = {"a"}
    flow = TriggerFlow(name="retried")

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response(source, output=PydanticPlan).fields("steps[*].name")

    @flow.chunk("work")
    async def work(data: Any) -> str:
        begun.append(data.value)
        await asyncio.sleep(seconds if data.value in failing else 0)
        if data.value in failing:
            raise KeyError(data.value)
        return data.value

    flow.to(plan).for_each().to(work).end_for_each().end()
    async with open_store() as store:
        with pytest.raises(KeyError):
            await flow.create_execution(store=store, id="run").async_start()
        failing.clear()
        execution = await flow.async_retry("run", store=store)
        assert await execution.async_get_result() == (["d", "e", "c"] if seconds < 10 else ["a", "b", "c"])
    assert begun == (["a", "d", "e", "c"] if seconds < 10 else ["a", "b", "c", "a"])
    assert source.asked == (2 if seconds < 10 else 1)


@pytest.mark.parametrize("how", ["end", "set", "replace", "emit"])
@pytest.mark.parametrize("second", [PLAN, OTHER])
async def test_the_result_of_an_answer_that_a_restart_drops_is_taken_back(
    open_store: Open, how: str, second: str
) -> None:
    source = answering(PLAN, second)

    def make() -> TriggerFlow:
        flow = TriggerFlow(name="results")
        flow.register_type(PydanticStep)

        @flow.chunk("plan")
        async def plan(data: Any) -> Any:
            return await data.async_emit_fields(Response(source, output=PydanticPlan), {"steps[*].name": "step"})

        @flow.chunk("work")
        async def work(data: Any) -> Any:
            if how == "emit":
                await data.async_emit("found", data.value)
            if how in ("set", "replace") and (how == "set" or data.value in "ad"):
                await data.async_set_result(data.value, replace=how == "replace")
            return data.value

        @flow.chunk("found")
        async def found(data: Any) -> Any:
            return data.value

        flow.to(plan)
        work = flow.when("step").to(work)
        if how == "end":
            work.end()
        flow.when("found").to(found).end()
        return flow

    async with open_store() as store:
        execution = make().create_execution(store=store, id="run")
        await execution.async_begin()
        await asyncio.sleep(30)  # two steps are written, and the first one has given a result
        await execution.async_suspend()
    async with open_store() as store:
        execution = await make().async_resume("run", store=store)
        assert await execution.async_get_result() == ("a" if second == PLAN else "d")


async def test_a_block_that_was_stopped_before_a_restart_is_taken_back(open_store: Open) -> None:
    source, paid = answering(PLAN, OTHER), list[Any]()

    def make() -> TriggerFlow:
        flow = TriggerFlow(name="stops")

        @flow.chunk("plan")
        async def plan(data: Any) -> Any:
            return Response(source, output=PydanticPlan).fields("steps[*].name")

        @flow.chunk("search")
        async def search(data: Any) -> Any:
            if data.value in "bc":
                await data.async_stop_for_each()
            return data.value

        @flow.chunk("pay")
        async def pay(data: Any) -> Any:
            paid.append(data.value)
            return data.value

        flow.to(plan).for_each().to(search).end_for_each().to(pay).end()
        return flow

    async with open_store() as store:
        execution = make().create_execution(store=store, id="run")
        await execution.async_begin()
        await asyncio.sleep(30)
        await execution.async_suspend()
    assert paid == []
    async with open_store() as store:
        execution = await make().async_resume("run", store=store)
        assert await execution.async_get_result() == ["d", "e", "c"]
    assert paid == [["d", "e", "c"]]
