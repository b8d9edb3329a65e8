"""The work that an answer had started is cancelled and cleans up: what follows the answer begins after that."""

import asyncio
from typing import Any

import pytest

from tests.models.fields_support import PLAN, PydanticPlan, a_flow, answering
from triggerflow import Retry, TriggerFlow
from triggerflow.models import InvalidResponseError, Response

BAD = PLAN.replace('"name": "c"', '"name": 3')
SIGNALS, ITEMS = "signals", "items"
WAYS = pytest.mark.parametrize("way", [SIGNALS, ITEMS])


class Books:
    """A flow that books each step of a plan. A booking that is cancelled is noted, which takes `clean_up` seconds."""

    def __init__(self, source: Any, way: str, clean_up: float = 2.0, **plan_options: Any) -> None:
        self.flow: TriggerFlow = a_flow()
        self.log: list[str] = []

        @self.flow.chunk("plan", **plan_options)
        async def plan(data: Any) -> Any:
            response = Response(source, output=PydanticPlan, max_retries=source.retries)
            if way == ITEMS:
                return response.fields("steps[*].name")
            return await data.async_emit_fields(response, {"steps[*].name": "step"})

        @self.flow.chunk("book")
        async def book(data: Any) -> None:
            self.log.append(f"book {data.value}")
            try:
                await asyncio.sleep(1000 if len(self.log) < 3 else 1)
            except asyncio.CancelledError:
                await asyncio.sleep(clean_up)
                await data.state.async_append("noted", data.value)
                self.log.append(f"noted {data.value}")
                raise

        @self.flow.chunk("undo")
        async def undo(data: Any) -> Any:
            self.log.append("undo")
            return sorted(data.state.get("noted", []))

        if way == ITEMS:
            self.flow.to(plan).for_each().to(book).end_for_each()
        else:
            self.flow.to(plan)
            self.flow.when("step").to(book)
        self.flow.when({"error": plan}).to(undo).end()


def answers(*texts: str) -> Any:
    source: Any = answering(*texts)
    source.retries = len(texts) - 1
    return source


@WAYS
@pytest.mark.parametrize("clean_up", [0, 2.0])
async def test_an_error_route_begins_after_the_clean_up(way: str, clean_up: float) -> None:
    books = Books(answers(BAD), way, clean_up)
    assert await books.flow.async_start() == ["a", "b"]
    assert books.log[-1] == "undo"


@WAYS
@pytest.mark.parametrize("concurrency", [None, 3])
async def test_the_work_on_the_next_answer_begins_after_the_clean_up(way: str, concurrency: int | None) -> None:
    books = Books(answers(BAD, PLAN), way, 200.0)
    await books.flow.create_execution(cleanup_timeout=1000, concurrency=concurrency).async_start()
    assert books.log[:2] == ["book a", "book b"]
    assert sorted(books.log[2:4]) == ["noted a", "noted b"]
    assert books.log[4:] == ["book a", "book b", "book c"]


@WAYS
async def test_the_next_attempt_of_the_chunk_begins_after_the_clean_up(way: str) -> None:
    source = answers(BAD, PLAN)
    source.retries = 0
    books = Books(source, way, 20.0, retry=Retry(2, initial_interval=0.1, retry_on=InvalidResponseError))
    await books.flow.create_execution(cleanup_timeout=1000).async_start()
    assert sorted(books.log[2:4]) == ["noted a", "noted b"]
    assert books.log[4:] == ["book a", "book b", "book c"]


@WAYS
async def test_a_clean_up_that_does_not_end_is_waited_for_as_long_as_any_other(way: str) -> None:
    books = Books(answers(BAD), way, 10_000.0)
    started = asyncio.get_running_loop().time()
    assert await books.flow.create_execution(cleanup_timeout=30).async_start() == []
    assert books.log == ["book a", "book b", "undo"]
    assert 30 < asyncio.get_running_loop().time() - started < 100


@WAYS
async def test_an_execution_that_is_cancelled_meanwhile_ends(way: str) -> None:
    books = Books(answers(BAD), way, 10_000.0)
    execution = books.flow.create_execution(cleanup_timeout=100)
    await execution.async_begin()
    await asyncio.sleep(60)
    assert books.log == ["book a", "book b"]
    await execution.async_cancel()
    assert execution.get_status() == "cancelled"
    assert "undo" not in books.log


@WAYS
async def test_saved_during_the_clean_up_the_model_is_asked_again(way: str) -> None:
    books = Books(answers(BAD, PLAN, PLAN), way, 10_000.0)
    execution = books.flow.create_execution(cleanup_timeout=20_000)
    await execution.async_begin()
    await asyncio.sleep(60)
    assert books.log == ["book a", "book b"]
    saved = execution.save()
    await execution.async_cancel()
    books.log[:] = ["", "", ""]  # the next bookings succeed
    assert await books.flow.load_execution(saved).async_get_result() is None
    assert [it for it in books.log[3:] if it.startswith("book")] == ["book a", "book b", "book c"]


@WAYS
async def test_a_retraction_names_the_work_that_it_takes_back(way: str) -> None:
    """Also work that had completed, that waited for its turn, and that came of other work."""
    flow, noted = a_flow(), dict[str, tuple[int, ...]]()

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        response = Response(answering(BAD), output=PydanticPlan, max_retries=0)
        if way == ITEMS:
            return response.fields("steps[*].name")
        return await data.async_emit_fields(response, {"steps[*].name": "step"})

    async def book(data: Any) -> None:
        noted[f"book {data.value}"] = data.provisional_signals
        await data.async_emit("booked", data.value)

    async def mail(data: Any) -> None:
        await asyncio.sleep(1)
        noted[f"mail {data.value}"] = data.provisional_signals

    noted["outside"] = ()
    if way == ITEMS:
        flow.to(plan).for_each(concurrency=1).to(book).end_for_each()
    else:
        flow.to(plan)
        flow.when("step").to(book)
    flow.when("booked").to(mail)
    flow.when({"error": plan}).to(lambda data: noted.update(route=data.provisional_signals))
    execution = flow.create_execution()
    items = [item async for item in execution.get_async_runtime_stream()]
    taken_back = {item["signal"] for item in items}
    assert [name for name, signals in noted.items() if not taken_back.intersection(signals)] == ["outside", "route"]
    assert sorted(noted) == ["book a", "book b", "mail a", "mail b", "outside", "route"]
    if way == SIGNALS:
        assert noted["book a"] == noted["mail a"] != noted["book b"] == noted["mail b"]


async def test_confirmed_work_cannot_be_taken_back_by_any_signal() -> None:
    flow, noted = a_flow(), list[tuple[int, ...]]()

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response([PLAN], output=PydanticPlan).fields("steps[*].name")

    async def book(data: Any) -> None:
        noted.append(data.provisional_signals)
        await asyncio.sleep(10)
        noted.append(data.provisional_signals)

    flow.to(plan).for_each().to(book).end_for_each().to(lambda data: noted.append(data.provisional_signals))
    await flow.async_start()
    assert all(noted[:3])
    assert noted[3:] == [()] * 4
