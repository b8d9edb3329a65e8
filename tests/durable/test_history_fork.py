"""Time travel: a new execution that begins as another one was after some record, with something changed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.durable.brief import asking, brief, with_sub_flow
from tests.support import read
from triggerflow import TriggerFlow
from triggerflow._core import events
from triggerflow._core.errors import RecordsTrimmed, StoreConflict
from triggerflow.errors import ContractError, PayloadError, UsageError

Open = Callable[[], Any]


async def journal(history: Any, id: str) -> list[Any]:
    return [record async for _, record in history.journal(id)]


async def number_of(history: Any, id: str, kind: type[Any]) -> int:
    """The number of the first record of a kind."""
    return [type(record) for record in await journal(history, id)].index(kind)


async def items(history: Any, id: str) -> list[Any]:
    """What chunks have put into the stream; that a question was opened or answered stands there too."""
    found = [item async for item in history.stream(id)]
    return [item for item in found if not (isinstance(item, dict) and item.get("type") == "interrupt")]


async def test_a_fork_goes_on_from_any_record_and_comes_to_the_same_end(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        result = await flow.create_execution(store=store, id="b").async_start("sails")
        history = flow.history(store)
        before = await journal(history, "b")
        for at in range(1, 12):
            fork = await history.fork("b", at=at, new_id=f"fork {at}")
            assert await fork.async_get_result() == result
            # Chunks run at least once: what a chunk had put before the cut it may put again.
            assert (await items(history, f"fork {at}"))[-2:] == [{"found": "sails history"}, {"found": "sails physics"}]
            assert (await store.find(f"fork {at}")).forked_from == ("b", at)
        assert await journal(history, "b") == before


async def test_a_fork_does_nothing_until_it_is_used(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store, open_store() as elsewhere:
        await flow.create_execution(store=store, id="b").async_start("sails")
        fork = await flow.history(store).fork("b", at=7)
        row = await store.find(fork.id)
        assert (row.status, row.records, row.owner) == ("running", 7, store.owner)
        assert await elsewhere.claim_work(["brief"]) == []
        assert await fork.async_start() == {"text": "SAILS HISTORY / SAILS PHYSICS", "topic": "sails"}


async def test_a_fork_of_what_has_failed_later_has_no_error(open_store: Open) -> None:
    flow = TriggerFlow("fails")

    @flow.chunk("fail")
    async def fail(data: Any) -> None:
        raise ValueError("no")

    flow.to(fail).end()
    async with open_store() as store:
        with pytest.raises(ValueError, match="no"):
            await flow.create_execution(store=store, id="b").async_start(1)
        assert "no" in (await store.find("b")).error
        await flow.history(store).fork("b", at=1, new_id="fork")
        assert (await store.find("fork")).error is None
        assert [row.id for row in await store.executions(text="no")] == ["b"]


async def test_a_fork_at_0_can_be_started_with_anything(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        fork = await flow.history(store).fork("b", at=0, state={"ready": True})
        assert (await fork.async_start("masts"))["topic"] == "masts"
        assert (await flow.history(store).state_at(fork.id)).state == {"ready": True, "topic": "masts"}


@pytest.mark.parametrize(
    ("at", "value", "topic", "text"),
    [
        (1, "masts", "masts", "MASTS HISTORY / MASTS PHYSICS"),
        (6, "masts", "masts", "SAILS HISTORY / SAILS PHYSICS"),
        (7, ["a", "b", "c"], "sails", "A / B / C"),
        (9, "found", "sails", "found / SAILS PHYSICS"),
    ],
    ids=["start value", "state", "result of a chunk", "result in a for_each"],
)
async def test_a_value_of_the_past_can_be_changed(open_store: Open, at: int, value: Any, topic: str, text: str) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        fork = await flow.history(store).fork("b", at=at, value=value)
        result = await fork.async_get_result()
        assert result == {"text": text, "topic": topic if at != 6 else (fork.state.get("topic"))}


async def test_another_answer_to_a_question_of_the_past(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        await execution.async_continue_with("approve", "yes")
        await execution.async_get_result()
        history = flow.history(store)
        at = await number_of(history, "a", events.Resumed) + 1
        fork = await history.fork("a", at=at, value="no", state={"title": "other news"})
        assert await fork.async_get_result() == "other news: no"


async def test_a_fork_of_a_question_asks_again(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        records = (await store.find("a")).records
        fork = await flow.history(store).fork("a", at=records)
        await execution.async_continue_with("approve", "yes")
        assert await execution.async_get_result() == "news: yes"
        await fork.async_continue_with("approve", "never")
        assert await fork.async_get_result() == "news: never"


async def test_what_makes_no_sense_is_refused_and_leaves_nothing(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        history = flow.history(store)
        for details, text in (
            ({"at": 12}, "has ended .completed. after 12 records.*fork it earlier"),
            ({"at": 12, "value": "x"}, "has ended"),
            ({"at": 13}, "12 records"),
            ({"at": -1}, "no state after -1"),
            ({"at": 0, "value": "x"}, "before record 0"),
        ):
            with pytest.raises(UsageError, match=text):
                await history.fork("b", new_id="f", **details)
        with pytest.raises(PayloadError, match=r"state\['x'\] is a builtins.object"):
            await history.fork("b", at=3, new_id="f", state={"x": object()})
        with pytest.raises(PayloadError, match="the result of chunk 'plan'"):
            await history.fork("b", at=7, new_id="f", value=object())
        with pytest.raises(StoreConflict, match="'b' exists already"):
            await history.fork("b", at=7, new_id="b")
        assert [row.id for row in await history.executions()] == ["b"]


async def test_a_record_without_a_value_is_named(open_store: Open) -> None:
    flow = TriggerFlow(name="stops")

    @flow.chunk("stop")
    async def stop(data: Any) -> Any:
        await data.async_stop_stream()
        return data.value

    flow.to(stop).end()
    async with open_store() as store:
        await flow.create_execution(store=store, id="s").async_start("x")
        with pytest.raises(UsageError, match=r"record 1 .stream_stopped.* has no value"):
            await flow.history(store).fork("s", at=2, value="x")


async def test_changed_values_keep_the_contract(open_store: Open) -> None:
    flow = brief()
    flow.set_contract(initial_input=str)
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        with pytest.raises(ContractError):
            await flow.history(store).fork("b", at=1, value=7)


async def test_large_values_are_shared_with_the_original_and_outlive_it(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("s" * 20_000)
        history = flow.history(store)
        fork = await history.fork("b", at=7, value=["m" * 10_000])
        await history.prune(keep=0)
        result = await fork.async_get_result()
        assert result == {"text": "M" * 10_000, "topic": "s" * 20_000}


# -- sub-flows -------------------------------------------------------------------------------------------------------


async def asked(flow: TriggerFlow, store: Any, id: str) -> Any:
    execution = flow.create_execution(store=store, id=id)
    await read(execution.get_async_runtime_stream("news"), 1)
    while not execution.get_pending_interrupts():
        await read(execution.get_async_runtime_stream(), 1)
    return execution


async def test_a_fork_takes_its_sub_flow_along(open_store: Open) -> None:
    flow, _ = with_sub_flow()
    async with open_store() as store:
        execution = await asked(flow, store, "o")
        history = flow.history(store)
        records = (await store.find("o")).records
        fork = await history.fork("o", at=records, new_id="f")
        assert (await store.find("f/inner.2")).forked_from == ("o/inner.2", (await store.find("o/inner.2")).records)
        await execution.async_continue_with("inner.2/approve", "yes")
        assert await execution.async_get_result() == "<news: yes>"
        await fork.async_continue_with("inner.2/approve", "no")
        assert await fork.async_get_result() == "<news: no>"
        assert await items(history, "f") == ["draft of news", "published: no"]
        assert await items(history, "o") == ["draft of news", "published: yes"]


async def test_a_fork_anywhere_inside_a_sub_flow_repeats_no_item_that_is_kept(open_store: Open) -> None:
    flow, _ = with_sub_flow()
    async with open_store() as store:
        execution = await asked(flow, store, "o")
        await execution.async_continue_with("inner.2/approve", "yes")
        await execution.async_get_result()
        history = flow.history(store)
        records = (await store.find("o")).records
        for at in range(1, records):
            fork = await history.fork("o", at=at, new_id=f"f{at}")
            await fork.async_open()
            reader = fork.get_async_runtime_stream(after=0)
            await anext(reader)
            if not any(isinstance(it, events.Resumed) for it in await journal(history, fork.id)):
                while not fork.get_pending_interrupts():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await fork.async_continue_with("inner.2/approve", "yes")
            assert await fork.async_get_result() == "<news: yes>", at
            found = await items(history, fork.id)
            assert found[0] == "draft of news", at
            assert found[-1] == "published: yes", at
            # A chunk that was cut between its item and its end runs again, and puts that one item again.
            assert len(found) <= 3, at


async def test_another_answer_to_a_question_of_a_sub_flow(open_store: Open) -> None:
    flow, _ = with_sub_flow()
    async with open_store() as store:
        execution = await asked(flow, store, "o")
        await execution.async_continue_with("inner.2/approve", "yes")
        await execution.async_get_result()
        history = flow.history(store)
        at = await number_of(history, "o", events.Resumed) + 1
        fork = await history.fork("o", at=at, value="no", new_id="f")
        assert await fork.async_get_result() == "<news: no>"


async def test_a_sub_flow_that_was_compacted_can_be_forked_at_its_end_only(open_store: Open) -> None:
    flow, _ = with_sub_flow()
    async with open_store() as store:
        execution = await asked(flow, store, "o")
        await execution.async_suspend()
        history = flow.history(store)
        await history.compact("o")
        records = (await store.find("o")).records
        fork = await history.fork("o", at=records, new_id="f")
        await fork.async_continue_with("inner.2/approve", "no")
        assert await fork.async_get_result() == "<news: no>"
        again = await flow.async_resume("o", store=store)
        await again.async_continue_with("inner.2/approve", "yes")
        assert await again.async_get_result() == "<news: yes>"
        with pytest.raises(RecordsTrimmed):
            await history.fork("o", at=records + 1, new_id="g")
