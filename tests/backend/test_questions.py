"""Open questions as data: over all flows, with what a form for the answer needs, and closed with the interrupt."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import msgspec
import pytest

from triggerflow import TriggerFlow
from triggerflow.backend import BadRequest, QuestionInfo, StoreBackend
from triggerflow.durable.format.metadata import LISTS_QUESTIONS
from triggerflow.stores import ExecutionRow, MemoryData, MemoryStore, Store


@dataclass
class Verdict:
    approved: bool
    note: str = ""


def review(name: str = "review", **question: Any) -> TriggerFlow:
    """Asks for a verdict, and returns it."""
    flow = TriggerFlow(name)
    flow.register_type(Verdict)

    @flow.chunk("ask")
    async def ask(data: Any) -> None:
        data.pause_for(payload=data.value, interrupt_id="verdict", **question)

    @flow.chunk("done")
    async def done(data: Any) -> Any:
        return data.value

    flow.to(ask).to(done).end()
    return flow


def around(inner: TriggerFlow) -> TriggerFlow:
    """A flow that runs another one as a step."""
    flow = TriggerFlow("outer")
    flow.register_type(Verdict)
    flow.to_sub_flow(inner).end()
    return flow


def _value(data: Any) -> Any:
    return data.value


async def asks(flow: TriggerFlow, store: Any, id: str, value: Any = "draft") -> Any:
    """An execution that has asked."""
    execution = flow.create_execution(store=store, id=id)
    await execution.async_begin(value)
    await execution.async_settled()
    await execution.async_committed(execution.get_status)
    return execution


async def test_a_question_has_what_a_form_needs(store: Store) -> None:
    flow = review(schema=Verdict, expires=60.0, type="approval")
    await asks(flow, store, "one", {"text": ("a", "b")})
    (asked,) = (await StoreBackend(store, flow).questions()).questions
    assert (asked.execution, asked.flow, asked.id, asked.chunk, asked.type) == (
        "one", "review", "verdict", "ask", "approval",
    )  # fmt: skip
    assert (asked.asked_by, asked.own_id, asked.payload, asked.cut) == (
        "one",
        "verdict",
        {"text": ["a", "b"]},
        False,
    )
    assert asked.expires == asked.since + 60
    assert asked.schema["$defs"]["Verdict"]["properties"]["approved"] == {"type": "boolean"}
    assert (await StoreBackend(store).questions()).questions == [asked]


async def test_the_type_of_an_event_is_what_its_answer_has_to_be(store: Store) -> None:
    flow = review(resume_event="answered")
    flow.when(flow.signal("answered", int, external=True)).to(_value).end()
    await asks(flow, store, "one")
    (asked,) = (await StoreBackend(store, flow).questions()).questions
    assert asked.schema == {"type": "integer"}


async def test_a_question_is_closed_by_its_answer_by_a_cancellation_and_by_the_end(store: Store) -> None:
    backend, flow = StoreBackend(store), review()
    answered, cancelled = await asks(flow, store, "answered"), await asks(flow, store, "cancelled")
    assert [(it.execution, (await backend.get(it.execution)).questions) for it in await every(backend)] == [
        ("answered", 1), ("cancelled", 1),
    ]  # fmt: skip
    await answered.async_continue_with("verdict", "yes")
    assert [it.execution for it in await every(backend)] == ["cancelled"]
    await cancelled.async_cancel("nobody answers")
    assert await every(backend) == []
    assert (await backend.get("cancelled")).error == "nobody answers"


async def test_the_question_of_a_sub_flow_is_listed_once_and_answered_at_the_outermost_execution(store: Store) -> None:
    flow = around(review())
    execution = await asks(flow, store, "one")
    backend = StoreBackend(store, flow)
    (asked,) = (await backend.questions()).questions
    assert (asked.execution, asked.flow, asked.own_id) == ("one", "outer", "verdict")
    (child,) = (await backend.executions(parent="one")).executions
    assert asked.asked_by == child.id
    assert child.questions == 1
    assert (await backend.get("one")).questions == 0
    assert (await backend.questions(flow="outer")).questions == [asked]
    for id in ("one", child.id):
        assert (await backend.questions(execution=id)).questions == [asked]
    assert (await backend.questions(flow="review")).questions == []
    await execution.async_continue_with(asked.id, "yes")
    assert await execution.async_get_result() == "yes"
    assert await every(backend) == []


async def every(backend: StoreBackend, limit: int = 1, **of: Any) -> list[QuestionInfo]:
    """All questions, page by page."""
    found, after = list[QuestionInfo](), None
    while True:
        page = await backend.questions(after=after, limit=limit, **of)
        found, after = [*found, *page.questions], page.next
        if after is None:
            return found


async def test_pages_of_questions(store: Store) -> None:
    flow, other, backend = review(), review("other"), StoreBackend(store)
    for number in range(7):
        await asks(other if number % 2 else flow, store, f"run-{number}")
        await asyncio.sleep(1)
    names = [f"run-{number}" for number in range(7)]
    assert [it.execution for it in await every(backend)] == names
    assert [it.execution for it in await every(backend, 3)] == names
    assert [it.execution for it in await every(backend, 3, flow="other")] == names[1::2]
    for wrong in (0, 1001):
        with pytest.raises(BadRequest):
            await backend.questions(limit=wrong)
    with pytest.raises(BadRequest):
        await backend.questions(after="nonsense")


async def test_a_payload_that_is_too_long_is_left_to_the_state(store: Store) -> None:
    await asks(review(), store, "one", "x" * 100_000)
    backend = StoreBackend(store)
    (asked,) = (await backend.questions()).questions
    assert asked.payload is None
    assert asked.cut
    (whole,) = (await backend.state_at(asked.asked_by)).questions
    assert whole.payload == "x" * 100_000
    assert whole.since == asked.since


def as_before(data: MemoryData, id: str) -> None:
    """Make an execution what an earlier version would have stored: without its questions, and without the mark."""
    for entry in data.executions.values():
        if f"{entry.row.id}/".startswith(f"{id}/"):
            options = msgspec.json.decode(entry.row.options)
            del options[LISTS_QUESTIONS]
            entry.row = msgspec.structs.replace(entry.row, options=msgspec.json.encode(options), questions=0)
            entry.questions.clear()


@pytest.mark.parametrize("make", [lambda: review(schema=Verdict), lambda: around(review(schema=Verdict))])
async def test_questions_of_executions_of_earlier_versions_are_listed_and_stored_when_they_are_opened(
    make: Callable[[], TriggerFlow],
) -> None:
    data = MemoryData()
    async with MemoryStore(data) as store:
        await asks(make(), store, "old")
        before = await StoreBackend(store, make()).questions()
        as_before(data, "old")
    async with MemoryStore(data) as store:
        flow = make()
        backend = StoreBackend(store, flow)
        assert await backend.questions() == before
        without = (await StoreBackend(store).questions()).questions[0]
        assert (without.id, without.schema) == (before.questions[0].id, {"title": "Verdict"})
        execution = await flow.async_resume("old", store=store)
        await asyncio.sleep(1)
        assert [it.id for it in await store.questions()] == [it.own_id for it in before.questions]
        assert await backend.questions() == before
        await execution.async_continue_with(before.questions[0].id, {"approved": True})
        assert await every(backend) == []
        assert await execution.async_get_result() == Verdict(True)


async def test_forks_and_loaded_executions_have_their_questions() -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(MemoryStore())
        other = await stack.enter_async_context(MemoryStore())
        flow = around(review())
        await asks(flow, store, "one")
        backend = StoreBackend(store, flow)
        await backend.fork("one", at=(await backend.get("one")).frames, new_id="two")
        assert sorted((it.execution, it.asked_by[:3]) for it in await every(backend)) == [
            ("one", "one"),
            ("two", "two"),
        ]
        file = BytesIO(b"".join([piece async for piece in backend.export("one")]))
        await flow.history(other).load(file, id="three")
        assert [it.execution for it in await every(StoreBackend(other))] == ["three"]


async def test_a_retried_execution_asks_again(store: Store) -> None:
    flow = review(expires=5.0)
    execution = await asks(flow, store, "one")
    backend = StoreBackend(store, flow)
    with pytest.raises(Exception, match="nobody answered"):
        await execution.async_get_result()
    assert await every(backend) == []
    assert (await backend.get("one")).error == "ask: InterruptExpired: nobody answered interrupt 'verdict' in time"
    again = await flow.async_retry("one", store=store)
    await again.async_settled()
    await again.async_committed(again.get_status)
    assert [it.id for it in await every(backend)] == ["verdict"]
    assert (await backend.get("one")).error is None


class SlowStore(MemoryStore):
    """Gives others a turn in each call that the backend makes."""

    async def find(self, execution: str) -> ExecutionRow | None:
        """See `Store.find`."""
        await asyncio.sleep(0)
        return await super().find(execution)

    async def executions(self, **of: Any) -> list[ExecutionRow]:
        """See `Store.executions`."""
        await asyncio.sleep(0)
        return await super().executions(**of)


async def test_calls_at_the_same_time_find_the_same_questions_of_executions_of_earlier_versions() -> None:
    data = MemoryData()
    async with MemoryStore(data) as store:
        flow = review()
        executions = [await asks(flow, store, id) for id in ("one", "two")]
        await store.release(["one", "two"])
    async with SlowStore(data) as store:
        flow = review()
        as_before(data, "one")
        as_before(data, "two")
        backend = StoreBackend(store, flow)
        pages = await asyncio.gather(*(backend.questions() for _ in range(3)))
        assert [len(page.questions) for page in pages] == [2, 2, 2]
        for execution in executions:
            await (await flow.async_resume(execution.id, store=store)).async_cancel()
        pages = await asyncio.gather(*(backend.questions() for _ in range(3)))
        assert [len(page.questions) for page in pages] == [0, 0, 0]
