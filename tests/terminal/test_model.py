"""The model: what is shown is a fold of the frames, whatever an execution does."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import soak
from tests.backend.reading import store_records
from tests.core.flows import Program, programs
from tests.core.simulation import TYPES
from tests.terminal.looking import watched
from tests.terminal.scenes import TEXT, crashed, crawl, payment, report, running, trip
from triggerflow import TriggerFlow
from triggerflow.backend import Answer, Cancel, Frame, StoreBackend
from triggerflow.backend import Retry as Again
from triggerflow.durable import Worker
from triggerflow.errors import StoreUnavailable, UnknownExecution
from triggerflow.stores import MemoryStore
from triggerflow.terminal.feed import Feed
from triggerflow.terminal.model import Each, Model, Step, shown_steps
from triggerflow.terminal.screen import View, screen


def step(model: Model, name: str) -> Step:
    """The step of this name."""
    return next(it for it in model.steps.values() if it.name == name)


def each(model: Model) -> Each:
    """The only for_each."""
    return next(it.opens for it in model.steps.values() if it.opens is not None)


async def whole(flow: TriggerFlow, value: Any = None, *more: TriggerFlow) -> Model:
    """The model of an execution that has ended."""
    async with running(flow, *more, value=value, id="one") as backend, watched(backend, "one") as model:
        await backend.result("one", wait=300)
        await asyncio.sleep(1)
        return model


async def check_program(program: Program, seed: int) -> None:
    pick = random.Random(seed).randrange
    simulated = program.simulate(lambda count: pick(count))
    async with MemoryStore() as store:
        backend = StoreBackend(store)
        for number, it in enumerate(simulated.all()):
            await store_records(store, f"run-{number}", it.plan, it.records, TYPES)
            model = Model(f"run-{number}")
            model.flow = "flow"
            async for frame in backend.frames(model.id):
                if frame.definition:
                    model.draw(await backend.drawing("flow", definition=frame.definition))
                model.take(frame)
                assert set(model.runs) == set(model.moment.runs) or model.ended
                assert set(model.asked) == set(model.moment.questions) or model.ended
                for known in model.steps.values():
                    assert known.begun >= known.ended >= 0
                    assert sum(known.busy.values()) == len(known.open)
                    assert all(count >= 0 for count in known.busy.values())
                screen(model, View(), 80, 24, frame.at)
            for known in model.steps.values():
                if known.opens is not None and model.ended:
                    assert not known.opens.open
                    assert known.opens.ended == known.opens.begun


@soak.examples(15)
@given(programs("any"), st.integers(0, 1000))
def test_every_kind_of_execution_can_be_shown_at_each_moment(program: Program, seed: int) -> None:
    asyncio.run(check_program(program, seed))


# -- for_each ----------------------------------------------------------------------------------------------------------


def eaching(build: Any, values: Any = (1, 2, 3, 4, 5)) -> TriggerFlow:
    """A flow with a for_each over these values, whose insides `build` adds."""
    flow = TriggerFlow("each")

    @flow.chunk("list")
    async def listing(data: Any) -> Any:
        return list(values)

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        await asyncio.sleep(1)
        return data.value

    @flow.chunk("more")
    async def more(data: Any) -> Any:
        await asyncio.sleep(0.1)
        return data.value

    @flow.chunk("fails")
    async def fails(data: Any) -> Any:
        if data.value == 2:
            raise ValueError("two")
        return data.value

    build(flow.to(listing), work, more, fails)
    return flow


async def ended_items(flow: TriggerFlow) -> tuple[int, int, int, bool]:
    """How many items are done, have failed, and there are; and whether that is known."""
    model = await whole(flow)
    it = each(model)
    assert model.moment.status == "completed"
    assert not it.open
    return it.done, it.failed, it.total, it.exact


async def test_the_items_of_a_for_each_are_counted_whatever_is_inside_of_it() -> None:
    insides: list[Any] = [
        lambda chain, work, more, fails: chain.for_each().to(work).end_for_each().end(),
        lambda chain, work, more, fails: chain.for_each(concurrency=2).to(work).to(more).end_for_each().end(),
        lambda chain, work, more, fails: chain.for_each(concurrency=2).batch(work, more).end_for_each().end(),
        lambda chain, work, more, fails: (
            chain.for_each(concurrency=2)
            .if_condition(lambda data: data.value % 2 == 0)
            .to(work)
            .else_condition()
            .to(more)
            .end_condition()
            .end_for_each()
            .end()
        ),
        lambda chain, work, more, fails: (
            chain.for_each(concurrency=2)
            .match()
            .case(1)
            .to(work)
            .case(2)
            .to(more)
            .case_else()
            .to(fails)
            .end_match()
            .end_for_each()
            .end()
        ),
        lambda chain, work, more, fails: (
            chain.if_condition(lambda data: True).for_each(concurrency=1).to(work).end_for_each().end_condition().end()
        ),
    ]
    for build in insides:
        assert await ended_items(eaching(build)) == (5, 0, 5, True), build
    assert await ended_items(
        eaching(
            lambda chain, work, more, fails: (
                chain.for_each(concurrency=2, on_error="collect").to(work).to(fails).to(more).end_for_each().end()
            )
        )
    ) == (4, 1, 5, True)


async def test_nested_for_each_counts_inner_items_of_all_outer_ones() -> None:
    flow = TriggerFlow("nested")

    @flow.chunk("split")
    async def split(data: Any) -> Any:
        return list(range(data.value))

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        await asyncio.sleep(1)
        return data.value

    flow.for_each(concurrency=2).to(split).for_each(concurrency=2).to(work).end_for_each().end_for_each().end()
    model = await whole(flow, [3, 1, 2])
    outer, inner = (it.opens for it in model.steps.values() if it.opens is not None)
    assert outer is not None
    assert inner is not None
    assert (outer.done, outer.total, outer.exact) == (3, 3, True)
    assert (inner.done, inner.total, inner.exact) == (6, 6, True)


async def test_the_items_of_a_lazy_source_are_counted_as_they_come() -> None:
    flow = TriggerFlow("lazy")

    @flow.source
    async def pages(count: int) -> Any:
        for number in range(count):
            await asyncio.sleep(1)
            yield number

    @flow.chunk("source")
    async def source(data: Any) -> Any:
        return pages(5)

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        await asyncio.sleep(0.1)

    flow.to(source).for_each().to(work).end_for_each().end()
    async with running(flow, id="one") as backend, watched(backend, "one") as model:
        await asyncio.sleep(2.5)
        it = each(model)
        assert (it.done, it.total, it.exact) == (2, 2, False)
        await asyncio.sleep(10)
        assert (it.done, it.failed, it.total, it.exact) == (5, 0, 5, True)
        assert model.status == "completed"


async def test_an_item_that_asks_is_open_until_it_is_answered() -> None:
    flow = TriggerFlow("asking")

    @flow.chunk("ask")
    async def ask(data: Any) -> Any:
        if data.value == 2:
            data.pause_for(interrupt_id="two?", schema=bool)
        return data.value

    @flow.chunk("work")
    async def work(data: Any) -> Any:
        await asyncio.sleep(1)

    flow.for_each().to(ask).to(work).end_for_each().end()
    async with running(flow, value=[1, 2, 3], id="one") as backend, watched(backend, "one") as model:
        await asyncio.sleep(10)
        it = each(model)
        assert (it.done, len(it.open), it.total) == (2, 1, 3)
        assert [item.number for item in it.open] == [2]
        assert (step(model, "ask").state, model.status) == ("asking", "waiting")
        await backend.act("one", Answer(question="two?", value=True))
        await asyncio.sleep(0.5)
        assert (it.done, len(it.open), step(model, "work").state) == (2, 1, "running")
        await asyncio.sleep(10)
        assert (it.done, len(it.open), model.status) == (3, 0, "completed")


# -- steps -------------------------------------------------------------------------------------------------------------


async def test_attempts_are_spans_and_the_error_of_the_last_one_is_known() -> None:
    model = await whole(payment())
    charge = step(model, "charge")
    assert [(it.doing, it.mark, it.attempt) for it in charge.spans] == [
        ("running", "retry", 1),
        ("backoff", "", 2),
        ("running", "retry", 2),
        ("backoff", "", 3),
        ("running", "failed", 3),
    ]
    assert (charge.state, charge.retries, model.retries) == ("failed", 2, 2)
    assert charge.error == "PermissionError: card declined: insufficient funds"
    assert model.error == "charge: PermissionError: card declined: insufficient funds"
    assert step(model, "ship").state == "idle"


async def test_a_retry_of_the_execution_takes_the_failure_back() -> None:
    async with running(payment(), id="one") as backend, watched(backend, "one"):
        await backend.result("one", wait=300)
        await backend.act("one", Again())
        async with watched(backend, "one") as model:
            await asyncio.sleep(0.1)
            charge = step(model, "charge")
            assert (charge.state, charge.failed, model.status) == ("running", 0, "running")
            await asyncio.sleep(60)
            assert (charge.state, charge.failed, charge.begun, model.status) == ("failed", 1, 1, "failed")


async def test_another_drawing_keeps_what_has_run() -> None:
    """As after a move to a new definition of the flow."""
    async with running(crawl(40), id="one") as backend, watched(backend, "one") as model:
        await asyncio.sleep(3)
        before = {it.name: (it.begun, it.done, it.state) for it in model.steps.values()}
        counted = each(model).done, each(model).total
        assert counted[0] > 5
        model.draw(await backend.drawing("crawl", mode="detailed"))
        assert (each(model).done, each(model).total) == counted
        model.draw(await backend.drawing("crawl"))
        assert {it.name: (it.begun, it.done, it.state) for it in model.steps.values()} == before
        await asyncio.sleep(60)
        assert (each(model).ended, model.status, step(model, "summary").state) == (40, "completed", "done")


async def test_a_lost_process_marks_the_attempt_and_its_time_is_shortened() -> None:
    async with crashed(report(), id="one", after=3) as backend, watched(backend, "one") as model:
        await asyncio.sleep(1)
        draft = step(model, "draft")
        assert [(it.mark, it.attempt) for it in draft.spans] == [("lost", 1), ("", 2)]
        assert (draft.losses, model.losses) == (1, 1)
        assert [round(gap.seconds, 1) for gap in model.axis.gaps] == [6.0]


async def test_a_sub_flow_is_watched_inside_of_its_step() -> None:
    async with running(*trip(), id="one") as backend, watched(backend, "one") as model:
        await asyncio.sleep(1.8)
        assert [(depth, it.name, it.state) for depth, _, it in shown_steps(model)] == [
            (0, "flight", "done"),
            (0, "hotel", "running"),
            (1, "find rooms", "done"),
            (1, "hold a room", "running"),
            (0, "invoice", "idle"),
        ]
        assert [run.step.name for run in model.open_runs()] == ["hold a room"]


async def test_of_a_sub_flow_in_a_loop_the_newest_execution_is_kept() -> None:
    inner = TriggerFlow("inner")

    @inner.chunk("work")
    async def work(data: Any) -> int:
        await asyncio.sleep(5)
        return data.value + 1

    inner.to(work).end()
    flow = TriggerFlow("loop")

    @flow.chunk("again")
    async def again(data: Any) -> int:
        if data.value < 20:
            await data.async_emit("turn", data.value)
        return data.value

    @flow.chunk("begin")
    async def begin(data: Any) -> None:
        await data.async_emit("turn", 0)

    flow.to(begin)
    flow.when("turn").to_sub_flow(inner).to(again)
    async with running(flow, inner, value=None, id="one") as backend, watched(backend, "one") as model:
        await backend.result("one", wait=200)
        await asyncio.sleep(10)
    assert model.ended
    (child,) = model.children.values()
    assert child.ended


async def test_a_question_of_a_sub_flow_is_a_question_of_its_parent() -> None:
    outer = TriggerFlow("outer")
    outer.to(report()).end()
    async with running(outer, id="one") as backend, watched(backend, "one") as model:
        await asyncio.sleep(60)
        assert (model.status, step(model, "report").state) == ("waiting", "asking")
        assert [it.own_id for it in model.questions] == ["publish?"]
        await backend.act("one", Answer(question=model.questions[0].id, value=True))
        await asyncio.sleep(60)
        assert (model.status, model.questions) == ("completed", [])


async def test_what_a_model_writes_is_one_text_and_messages_are_lines() -> None:
    async with running(report(), id="one") as backend, watched(backend, "one") as model:
        await asyncio.sleep(60)
        assert [(entry.label, entry.text) for entry in model.stream.entries] == [("draft", "".join(TEXT))]
    model = await whole(payment())
    assert [entry.text for entry in model.stream.entries] == [
        "reserved 3 seats in row 12",
        "the bank is busy, attempt 1 of 3",
        "the bank is busy, attempt 2 of 3",
    ]


async def test_frames_that_are_gone_leave_what_is_open() -> None:
    flow = crawl(40)
    async with running(flow, id="one") as backend:
        await asyncio.sleep(3)
        state = await backend.state_at("one")
        model = Model("one")
        first = Frame(number=state.moment, at=0.0, kind="moment", status="running", state=state)
        model.draw(await backend.drawing("crawl"))
        assert [it.what for it in model.take(first)] == ["moment"]
        assert len(model.runs) == 8
        async for frame in backend.frames("one", after=state.moment, follow=True):
            model.take(frame)
        assert (model.status, step(model, "summary").state) == ("completed", "done")


async def test_a_store_that_does_not_answer_for_a_while_is_asked_again_from_the_same_frame() -> None:
    class Shaky(StoreBackend):
        breaks = 3

        async def frames(self, id: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[Frame]:
            async for frame in super().frames(id, after=after, follow=follow):
                yield frame
                if self.breaks and frame.number % 4 == 0:
                    self.breaks -= 1
                    raise StoreUnavailable("the database restarts")

    notices: list[str] = []
    async with MemoryStore() as store, Worker(store, flow := report()):
        backend = Shaky(store, flow)
        await backend.start("report", id="one")
        model = Model("one")
        feed = asyncio.create_task(Feed(backend, model, notice=notices.append).run())
        await asyncio.sleep(60)
        assert (model.moment.number, model.status) == ((await backend.get("one")).frames, "waiting")
        assert notices == ["trying again: the database restarts"] * 3
        await backend.act("one", Cancel(reason="enough"))
        await feed
        assert (model.status, model.reason) == ("cancelled", "enough")


async def test_nothing_goes_on_for_an_execution_that_does_not_exist() -> None:
    async with MemoryStore() as store:
        before = asyncio.all_tasks()
        with pytest.raises(UnknownExecution):
            await Feed(StoreBackend(store), Model("gone"), sub_flows=True).run()
        assert asyncio.all_tasks() == before
