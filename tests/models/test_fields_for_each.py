"""A chunk returns fields: the for_each behind it works on each while the model writes, and all is taken back if the
answer fails."""

import asyncio
import json
import os
from typing import Any

import pydantic
import pytest

from tests.models.fields_support import (
    NOTATION,
    PLAN,
    TYPED,
    DataPlan,
    PydanticPlan,
    PydanticStep,
    StructPlan,
    Works,
    a_flow,
    answering,
    planning,
    typed,
)
from triggerflow import Cache, Retry, TriggerFlow
from triggerflow.errors import ExecutionCancelled
from triggerflow.models import InvalidResponseError, Response, TruncatedResponseError
from triggerflow.records import ItemsGiven

BAD = PLAN.replace('"minutes": 6', '"minutes": "long"')
"""A plan whose third step is no step."""
CUT = PLAN[:-2] + " " * 8
"""A plan that ends a moment after its third step."""


async def test_every_field_is_worked_on_while_the_model_writes() -> None:
    works = Works(planning(answering(PLAN)))
    items, result = await works.run()
    assert (items, result) == ([], "A+B+C")
    assert works.log[:3] == [("begin", "a"), ("end", "a"), ("begin", "b")]  # a was done before b was written
    assert [(place.path, place.indexes) for place in works.fields] == [
        ("steps[0]", (0,)), ("steps[1]", (1,)), ("steps[2]", (2,)),
    ]  # fmt: skip


async def test_work_begins_with_the_character_that_closes_a_field() -> None:
    begun: list[float] = []
    flow = a_flow()

    async def plan(data: Any) -> Any:
        return Response(typed(PLAN, size=1), output=PydanticPlan).fields("steps[*]")

    async def work(data: Any) -> None:
        begun.append(asyncio.get_running_loop().time())

    flow.to(plan).for_each().to(work).end_for_each().end()
    started = asyncio.get_running_loop().time()
    await flow.async_start()
    closings = [PLAN.index(text) + len(text) for text in ('"y"]}', "[]}", '["z"]}')]
    assert [round(at - started) for at in begun] == closings


@pytest.mark.parametrize("output", [PydanticPlan, StructPlan, DataPlan, NOTATION])
async def test_results_are_in_the_order_of_the_fields(output: Any) -> None:
    """Also where the work on the first ones takes longest."""
    flow = a_flow()

    async def plan(data: Any) -> Any:
        return Response(typed(PLAN), output=output).fields("steps[*].name")

    async def work(data: Any) -> str:
        await asyncio.sleep({"a": 500, "b": 300, "c": 1}[data.value])
        return data.value

    flow.to(plan).for_each().to(work).end_for_each().end()
    assert await flow.async_start() == ["a", "b", "c"]


@pytest.mark.parametrize("name", TYPED)
async def test_a_wrong_field_takes_all_back_and_the_next_answer_starts_anew(name: str) -> None:
    source = answering(BAD, PLAN)
    works = Works(planning(source, TYPED[name][0]), seconds=30.0)
    items, result = await works.run()
    assert result == "A+B+C"
    assert works.log[:4] == [("begin", "a"), ("begin", "b"), ("cancelled", "a"), ("cancelled", "b")]
    assert works.names("begin") == ["a", "b", "a", "b", "c"]
    assert [item["type"] for item in items] == ["retraction"]
    assert "steps[2]" in items[0]["reason"]
    assert "attempt 2 follows" in items[0]["reason"]
    assert source.asked == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (CUT, TruncatedResponseError),
        ((CUT, ConnectionResetError("gone")), TruncatedResponseError),
        (PLAN.replace('"minutes": 5', '"minutes": 5-7'), InvalidResponseError),
        ((CUT, KeyError("mine")), KeyError),
        (PLAN.replace('"title": "T"', '"title": 1'), InvalidResponseError),
    ],
)
async def test_if_the_answer_fails_everything_is_taken_back(answer: Any, error: type[Exception]) -> None:
    works = Works(planning(answering(answer), max_retries=0), seconds=100.0)
    items, result = await works.run()
    assert type(result) is error
    assert sorted(works.names("cancelled")) == sorted(works.names("begin"))
    assert works.names("end") == []
    assert [item["type"] for item in items] == ["retraction"] * bool(works.log)


async def test_results_that_were_complete_are_taken_back_too() -> None:
    works = Works(planning(answering(CUT)), seconds=0.0)
    items, result = await works.run()
    assert type(result) is TruncatedResponseError
    assert works.names("end") == ["a", "b", "c"]
    assert len(items) == 1


async def test_the_retry_of_the_chunk_asks_anew() -> None:
    sources = [answering(CUT), answering(PLAN)]
    works = Works(lambda data: planning(sources[data.attempt - 1])(data), seconds=90.0, plan={"retry": Retry(2)})
    items, result = await works.run()
    assert result == "A+B+C"
    assert works.names("begin") == ["a", "b", "c", "a", "b", "c"]
    assert sorted(works.names("cancelled")) == ["a", "b", "c"]
    assert len(items) == 1


async def test_the_fallback_of_the_chunk_gives_the_items_instead() -> None:
    works = Works(
        planning(answering(CUT)), seconds=90.0, plan={"fallback": lambda data: [PydanticStep(name="z", minutes=1)]}
    )
    items, result = await works.run()
    assert result == "Z"
    assert len(items) == 1


async def test_a_fallback_may_ask_another_model() -> None:
    works = Works(planning(answering(CUT)), plan={"fallback": planning(answering(PLAN))})
    assert (await works.run())[1] == "A+B+C"


async def test_the_timeout_of_the_chunk_ends_the_reading() -> None:
    works = Works(planning(answering(PLAN)), seconds=90.0, plan={"timeout": 30})
    items, result = await works.run()
    assert type(result) is TimeoutError
    assert works.names("cancelled") == ["a", "b"]
    assert len(items) == 1


async def test_a_cached_chunk_gives_its_items_once() -> None:
    source = answering(PLAN)
    works = Works(planning(source), plan={"cache": Cache()})
    assert (await works.run())[1] == "A+B+C"
    assert (await works.run())[1] == "A+B+C"
    assert source.asked == 1
    assert works.fields[3:] == [None] * 3  # the cached value is the list of the fields


async def test_an_error_route_takes_the_failure_of_the_answer() -> None:
    works = Works(planning(answering(CUT)), seconds=90.0)
    works.flow.when({"error": "plan"}).to(lambda data: f"no plan: {data.value['type']}").end()
    items, result = await works.run()
    assert result == "no plan: TruncatedResponseError"
    assert works.names("cancelled") == ["a", "b", "c"]
    assert len(items) == 1


async def test_a_failed_item_cancels_the_reading() -> None:
    closed = asyncio.Event()

    async def source() -> Any:
        try:
            async for piece in typed(PLAN):
                yield piece
        finally:
            closed.set()

    flow = a_flow()

    async def plan(data: Any) -> Any:
        return Response(source, output=PydanticPlan).fields("steps[*]")

    async def work(data: Any) -> None:
        raise KeyError(data.value.name)

    flow.to(plan).for_each().to(work).end_for_each().end()
    with pytest.raises(KeyError, match="a"):
        await flow.async_start()
    assert closed.is_set()


async def test_a_cancelled_execution_closes_the_answer_and_its_work() -> None:
    works = Works(planning(answering(PLAN)), seconds=90.0)
    execution = works.flow.create_execution()
    await execution.async_begin()
    await asyncio.sleep(40)
    await execution.async_cancel("enough")
    with pytest.raises(ExecutionCancelled):
        await execution.async_get_result()
    assert works.log == [("begin", "a"), ("begin", "b"), ("cancelled", "a"), ("cancelled", "b")]


async def test_an_empty_list_gives_an_empty_result() -> None:
    works = Works(planning(answering('{"title": "T", "steps": []}')))
    assert await works.run() == ([], "")


async def test_the_window_of_the_for_each_holds() -> None:
    """Slow work: one item at a time, the others wait; the answer does not."""
    works = Works(planning(answering(PLAN)), seconds=100.0, concurrency=1)
    started = asyncio.get_running_loop().time()
    assert (await works.run())[1] == "A+B+C"
    assert works.log == [(kind, name) for name in "abc" for kind in ("begin", "end")]
    assert 300 < asyncio.get_running_loop().time() - started < 330


async def test_a_limit_of_one_for_the_execution_lets_the_plan_end_first() -> None:
    works = Works(planning(answering(PLAN)))
    assert (await works.run(concurrency=1))[1] == "A+B+C"


async def test_stop_for_each_ends_the_block_and_the_rest_of_the_answer_starts_nothing() -> None:
    flow = a_flow()
    begun: list[str] = []

    async def plan(data: Any) -> Any:
        return Response(typed(PLAN), output=PydanticPlan).fields("steps[*].name")

    async def work(data: Any) -> str:
        begun.append(data.value)
        await data.async_stop_for_each()
        return data.value

    flow.to(plan).for_each().to(work).end_for_each().end()
    assert await flow.async_start() == ["a"]
    assert begun == ["a"]


class Finds:
    """A flow that searches the steps of a plan until it has found "b", and pays for what it has found."""

    def __init__(self, source: Any, *, nested: bool = False, **block: Any) -> None:
        self.flow = flow = a_flow()
        self.paid: list[Any] = []

        async def plan(data: Any) -> Any:
            return Response(source, output=PydanticPlan, max_retries=source.retries).fields("steps[*].name")

        async def search(data: Any) -> str:
            if data.value == "b":
                await data.async_stop_for_each()
            if data.value == "a" and block.get("on_error"):
                raise ValueError("no a")
            return data.value

        async def pay(data: Any) -> Any:
            self.paid.append(data.value)
            return data.value

        planned = flow.to(lambda data: [1]).for_each() if nested else flow
        ways = planned.to(plan).for_each(**block).to(search).end_for_each().to(pay)
        (ways.end_for_each() if nested else ways).end()


def found(*answers: str) -> Any:
    source: Any = answering(*answers)
    source.retries = len(answers) - 1
    return source


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("block", [{}, {"concurrency": 1}, {"on_error": "collect"}])
@pytest.mark.parametrize(("bad", "error"), [(BAD, InvalidResponseError), (CUT, TruncatedResponseError)])
async def test_what_follows_a_stopped_block_waits_for_the_answer(
    block: dict[str, Any], nested: bool, bad: str, error: type[Exception]
) -> None:
    """ "Work that cannot be undone waits for that: wire it behind the chunk or behind the `for_each`"."""
    wrong = Finds(found(bad), nested=nested, **block)
    with pytest.raises(error):
        await wrong.flow.async_start()
    assert wrong.paid == []
    if bad == CUT:  # the model is not asked again
        return
    again = Finds(found(bad, PLAN), nested=nested, **block)
    result = await again.flow.async_start()
    names = [it if isinstance(it, str) else it.message for it in (result[0] if nested else result)]
    assert (names[1:], len(again.paid)) == (["b"], 1)
    assert names[0] == ("no a" if block.get("on_error") else "a")


async def test_the_result_is_that_of_the_good_answer() -> None:
    """Also if the dropped answer had stopped the block, and the next one gives nothing to stop at."""
    other = PLAN.replace('"b"', '"d"')
    finds = Finds(found(BAD, other))
    assert await finds.flow.async_start() == ["a", "d", "c"]
    assert finds.paid == [["a", "d", "c"]]


async def test_a_block_inside_of_an_item_ends_when_it_is_stopped() -> None:
    """Only the block that gets the fields waits: what is inside of an item is taken back with the item."""
    flow = a_flow()
    sums: list[Any] = []

    async def plan(data: Any) -> Any:
        return Response(typed(PLAN), output=PydanticPlan).fields("steps[*].name")

    async def try_once(data: Any) -> Any:
        await data.async_stop_for_each()
        return data.value

    async def note(data: Any) -> Any:
        sums.append((data.value, len(data.state.get("done", []))))
        return data.value

    async def done(data: Any) -> Any:
        data.state.append("done", data.value)
        return data.value

    inner = flow.to(plan).for_each().to(lambda data: iter([data.value, data.value])).for_each(concurrency=1)
    inner.to(try_once).end_for_each().to(note).to(done).end_for_each().end()
    assert await flow.async_start() == [["a"], ["b"], ["c"]]
    assert sums == [(["a"], 0), (["b"], 1), (["c"], 2)]  # each as soon as its item was done


async def test_two_blocks_of_which_one_is_stopped_end_with_the_answer() -> None:
    flow = a_flow()
    seen: dict[str, Any] = {}

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response(answering(BAD, PLAN), output=PydanticPlan).fields("steps[*].name")

    async def stop(data: Any) -> Any:
        await data.async_stop_for_each()
        return data.value

    flow.to(plan).for_each().to(stop).end_for_each().to(lambda data: seen.update(first=data.value))
    flow.to(plan).for_each().end_for_each().to(lambda data: seen.update(all=data.value))
    await flow.async_start()
    assert seen == {"first": ["a"], "all": ["a", "b", "c"]}


async def test_a_stopped_block_goes_on_after_a_load() -> None:
    finds = Finds(found(PLAN, PLAN))
    execution = finds.flow.create_execution()
    await execution.async_begin()
    await asyncio.sleep(30)  # "b" was found, and the model is still writing
    saved = execution.save()
    assert finds.paid == []
    await execution.async_cancel()
    assert await finds.flow.load_execution(saved).async_get_result() == ["a", "b"]
    assert finds.paid == [["a", "b"]]


async def test_other_followers_get_the_list_when_the_answer_is_valid() -> None:
    flow = a_flow()
    seen: list[Any] = []

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response(answering(BAD, PLAN), output=PydanticPlan).fields("steps[*].name", "title")

    flow.to(plan).for_each().to(lambda data: data.value * 2).end_for_each().end()
    flow.when(plan).to(lambda data: seen.append(data.value))
    assert await flow.async_start() == ["TT", "aa", "bb", "cc"]
    assert seen == [["T", "a", "b", "c"]]


async def test_without_a_for_each_the_fields_are_a_list() -> None:
    flow = a_flow()
    flow.to(lambda data: Response([PLAN], output=PydanticPlan).fields("steps[*].name")).to(
        lambda data: data.value
    ).end()
    assert await flow.async_start() == ["a", "b", "c"]


async def test_two_blocks_behind_one_chunk() -> None:
    flow = a_flow()

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response(answering(BAD, PLAN), output=PydanticPlan).fields("steps[*].name")

    flow.to(plan).for_each().to(lambda data: data.value + "1").end_for_each().to(
        lambda data: data.state.set("one", data.value)
    )
    flow.to(plan).for_each().to(lambda data: data.value + "2").end_for_each().end()
    execution = flow.create_execution()
    assert await execution.async_start() == ["a2", "b2", "c2"]
    assert execution.state.get("one") == ["a1", "b1", "c1"]


async def test_fields_inside_of_a_for_each() -> None:
    """Each topic has its own plan; one of them is retried, and only its own items are taken back."""
    flow = a_flow()
    sources = {"good": answering(PLAN), "bad": answering(BAD, PLAN)}
    begun: list[str] = []

    async def plan(data: Any) -> Any:
        return Response(sources[data.value], output=PydanticPlan).fields("steps[*].name")

    async def work(data: Any) -> str:
        begun.append(data.value)
        return data.value

    flow.to(lambda data: ["good", "bad"]).for_each().to(plan).for_each().to(work).end_for_each().end_for_each().end()
    assert await flow.async_start() == [["a", "b", "c"]] * 2
    assert sorted(begun) == sorted("abc" * 3)


async def test_signals_of_the_items_are_taken_back_with_them() -> None:
    flow = a_flow()
    log: list[str] = []

    async def plan(data: Any) -> Any:
        return Response(typed(CUT), output=PydanticPlan).fields("steps[*].name")

    async def work(data: Any) -> None:
        await data.async_emit("found", data.value)

    async def note(data: Any) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            log.append(data.value)

    flow.to(plan).for_each().to(work).end_for_each().end()
    flow.when("found").to(note)
    with pytest.raises(TruncatedResponseError):
        await flow.async_start()
    assert sorted(log) == ["a", "b", "c"]


async def test_a_settling_caller_waits_for_the_items() -> None:
    works = Works(planning(answering(PLAN)), seconds=50.0)
    flow = TriggerFlow(name="outer")
    flow.to_sub_flow(works.flow).end()
    assert await flow.async_start() == "A+B+C"


async def test_a_sync_chunk_returns_fields_too() -> None:
    flow = a_flow()

    def plan(data: Any) -> Any:
        return Response([PLAN], output=PydanticPlan).fields("steps[*].name")

    flow.to(plan).for_each().to(lambda data: data.value.upper()).end_for_each().end()
    assert await flow.async_start() == ["A", "B", "C"]


async def test_places_come_as_items_if_asked_for() -> None:
    flow = a_flow()

    async def plan(data: Any) -> Any:
        return Response([PLAN], output=PydanticPlan).fields("steps[*].tags[*]", places=True)

    async def work(data: Any) -> Any:
        place, tag = data.value
        assert data.field == place
        return place.indexes, tag

    flow.to(plan).for_each().to(work).end_for_each().end()
    assert await flow.async_start() == [((0, 0), "x"), ((0, 1), "y"), ((2, 0), "z")]


async def test_every_item_of_a_valid_answer_is_given_exactly_once() -> None:
    """In every cut of the answer in two, and character by character."""
    count = 0

    def pieces(at: int) -> list[str]:
        return list(PLAN) if at == 0 else [PLAN[:at], PLAN[at:]]

    for at in range(0, len(PLAN), 3):
        given: list[str] = []
        flow = a_flow()
        flow.to(lambda data, at=at: Response(pieces(at), output=PydanticPlan).fields("steps[*].name")).for_each().to(
            lambda data, given=given: given.append(data.value)
        ).end_for_each().end()
        execution = flow.create_execution()
        await execution.async_start()
        records = [it for it in execution.records if isinstance(it, ItemsGiven)]
        assert [item for it in records for item in it.items] == sorted(given) == ["a", "b", "c"]
        count += 1
    assert count > 50


async def test_signals_of_fields_bring_their_place_and_their_type() -> None:
    flow = a_flow()
    seen: list[Any] = []

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        response = Response(answering(BAD, PLAN), output=PydanticPlan)
        return await data.async_emit_fields(response, {"steps[*]": "step", "steps[*].tags[*]": "tag", "title": "title"})

    async def note(data: Any) -> None:
        seen.append((data.field.path, data.field.indexes, data.value))

    flow.to(plan).end()
    flow.when("step").to(note)
    flow.when("tag").to(note)
    flow.when(["title", "step"], mode="and").to(lambda data: seen.append(("both", data.field)))
    execution = flow.create_execution()
    assert await execution.async_start() == json.loads(PLAN)
    await execution.async_get_result()
    second = seen[-seen[::-1].index(("steps[0].tags[0]", (0, 0), "x")) - 1 :]
    assert [it for it in second if it[0] != "both"] == [
        ("steps[0].tags[0]", (0, 0), "x"),
        ("steps[0].tags[1]", (0, 1), "y"),
        ("steps[0]", (0,), PydanticStep(name="a", minutes=4, tags=["x", "y"])),
        ("steps[1]", (1,), PydanticStep(name="b", minutes=5)),
        ("steps[2].tags[0]", (2, 0), "z"),
        ("steps[2]", (2,), PydanticStep(name="c", minutes=6, tags=["z"])),
    ]
    assert ("both", None) in seen
    assert all(type(it[2]) is not PydanticStep or it[2].minutes != "long" for it in seen if len(it) == 3)


async def test_a_wrong_field_of_signals_is_not_emitted() -> None:
    flow = a_flow()
    seen: list[str] = []

    async def plan(data: Any) -> Any:
        return await data.async_emit_fields(Response(answering(BAD, PLAN), output=StructPlan), {"steps[*]": "step"})

    flow.to(plan).end()
    flow.when("step").to(lambda data: seen.append(data.value.name))
    execution = flow.create_execution()
    await execution.async_start()
    assert seen == ["a", "b", "a", "b", "c"]


@pytest.mark.skipif("TRIGGERFLOW_TEST_STORE" in os.environ, reason="a source that cannot be recorded")
async def test_as_a_start_value_fields_are_an_ordinary_source() -> None:
    flow = a_flow()
    flow.for_each().to(lambda data: data.value.upper()).end_for_each().end()
    assert await flow.async_start(Response([PLAN], output=PydanticPlan).fields("steps[*].name")) == ["A", "B", "C"]
    with pytest.raises(TruncatedResponseError):
        await flow.async_start(Response(typed(CUT), output=PydanticPlan).fields("steps[*].name"))


async def test_a_reader_that_comes_late_makes_no_wrong_answer_valid() -> None:
    """A field that does not fit by itself, in an answer that a validator around it puts right."""

    class Lenient(pydantic.BaseModel):
        steps: list[PydanticStep]

        @pydantic.field_validator("steps", mode="before")
        @classmethod
        def filled(cls, steps: Any) -> Any:
            return [{"minutes": 1, **step} for step in steps]

    text = '{"steps": [{"name": "a"}]}'
    whole = Response([text], output=Lenient)
    assert (await whole.async_get_data_object()).steps[0].minutes == 1
    for response in (whole, Response([text], output=Lenient)):
        with pytest.raises(InvalidResponseError, match="minutes"):
            [step async for step in response.fields("steps[*]")]
