"""Time travel: list executions, read their journal, see a state of the past, compare."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.durable.brief import WORDS, asking, brief, with_sub_flow
from tests.support import read
from triggerflow import TriggerFlow
from triggerflow._core import events
from triggerflow._core.errors import RecordsTrimmed, StoreDamaged, UnknownExecution
from triggerflow.errors import SnapshotError, UsageError
from triggerflow.stores import MemoryData, MemoryStore, NewRecord

Open = Callable[[], Any]


async def test_executions_are_listed_by_status_and_time(open_store: Open) -> None:
    flow, other = brief(), asking()
    async with open_store() as store:
        for number in range(3):
            await flow.create_execution(store=store, id=f"b{number}").async_start("x")
            await asyncio.sleep(1)
        await other.create_execution(store=store, id="a").async_open()
        history = flow.history(store)
        rows = await history.executions()
        assert [row.id for row in rows] == ["b2", "b1", "b0"]
        assert [row.id for row in await history.executions(limit=1, after="b1")] == ["b0"]
        assert await history.executions(status="failed") == []
        assert len(await history.executions(status=("failed", "completed"))) == 3
        moment = datetime.fromtimestamp((rows[1].created + rows[2].created) / 2, UTC)
        assert [row.id for row in await history.executions(until=moment)] == ["b0"]
        assert [row.id for row in await history.executions(since=rows[1].created)] == ["b2", "b1"]


async def test_a_journal_has_every_record_with_its_number(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        history = flow.history(store)
        journal = [found async for found in history.journal("b")]
        assert [number for number, _ in journal] == list(range(12))
        assert isinstance(journal[0][1], events.Started)
        assert journal[0][1].value == "sails"
        assert [found async for found in history.journal("b", first=9)] == journal[9:]


async def test_a_journal_reads_well(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        lines = [line.split(maxsplit=2) async for line in flow.history(store).lines("b", first=5)]
    assert [(number, what) for number, _, what in lines] == [
        ("5", "plan.1          state       topic = 'sails'"),
        ("6", "plan.1          completed   ['sails history', 'sails physics']"),
        ("7", "search.3        stream      {'found': 'sails history'}"),
        ("8", "search.3        completed   'SAILS HISTORY'"),
        ("9", "search.4        stream      {'found': 'sails physics'}"),
        ("10", "search.4        completed   'SAILS PHYSICS'"),
        ("11", "write.5         completed   {'text': 'SAILS HISTORY / SAILS PHYSICS', 'topic': 'sails'}"),
    ]


async def test_the_state_after_any_record_is_what_it_was_then(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        history = flow.history(store)
        views = [await history.state_at("b", number) for number in range(13)]
        assert [view.items for view in views] == [0, 0, 1, 2, 3, 4, 4, 4, 5, 5, 6, 6, 6]
        assert [view.state for view in views] == [{}] * 6 + [{"topic": "sails"}] * 7
        assert [run[:4] for run in views[7].running] == [("search", 3, 1, "running"), ("search", 4, 1, "ready")]
        assert (views[0].status, views[0].started) == ("created", False)
        assert (views[-1].status, views[-1].result["topic"], views[-1].running) == ("completed", "sails", [])
        assert await history.state_at("b") == views[-1]
        with pytest.raises(UsageError, match="12 records"):
            await history.state_at("b", 13)


async def test_a_state_tells_open_questions_and_prints_well(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        view = await flow.history(store).state_at("a")
        assert view.interrupts["approve"]["payload"] == {"draft": "news"}
        assert str(view).splitlines() == [
            f"a of flow 'asking' after {view.records} records: waiting",
            "  started with  'news'",
            "  state         title = 'news'",
            "  asks          approve: {'draft': 'news'}",
            "  stream        2 items",
        ]
        await execution.async_suspend()


async def test_who_looks_back_needs_a_known_id_of_this_flow(open_store: Open) -> None:
    flow, other = brief(), asking()
    async with open_store() as store:
        asked = other.create_execution(store=store, id="b")
        await read(asked.get_async_runtime_stream("news"), 2)
        history = flow.history(store)
        with pytest.raises(UnknownExecution, match="nobody"):
            await history.state_at("nobody")
        with pytest.raises(UsageError, match="belongs to flow 'asking'"):
            await history.state_at("b")
        with pytest.raises(UsageError, match="needs a store"):
            flow.history()
        await asked.async_suspend()


async def test_the_past_before_a_new_version_is_read_under_the_old_one(open_store: Open) -> None:
    def version(steps: int) -> TriggerFlow:
        flow = asking("versions")
        for number in range(steps):

            @flow.chunk(f"extra {number}")
            async def extra(data: Any) -> Any:
                return data.value

            flow.when(f"extra {number}").to(extra)
        return flow

    async with open_store() as store:
        first = version(0).create_execution(store=store, id="v")
        await read(first.get_async_runtime_stream("news"), 2)
        await first.async_suspend()
        records = (await store.find("v")).records
        flow = version(2)
        second = await flow.async_resume("v", store=store)
        await second.async_continue_with("approve", "yes")
        assert await second.async_get_result() == "news: yes"
        history = flow.history(store)
        assert (await history.state_at("v", records - 1)).state == {"title": "news"}
        assert len([line async for line in history.lines("v")]) == (await store.find("v")).records
        fork = await history.fork("v", at=records)
        await fork.async_continue_with("approve", "no")
        assert await fork.async_get_result() == "news: no"


async def test_two_runs_that_did_the_same_do_not_differ(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        for name in ("one", "other"):
            await flow.create_execution(store=store, id=name).async_start("sails")
        difference = await flow.history(store).diff("one", "other")
        assert not difference
        assert str(difference) == "one and other are the same in 12 records"


async def test_a_difference_tells_where_two_runs_part_and_what_came_of_it(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="one").async_start("sails")
        history = flow.history(store)
        fork = await history.fork("one", at=7, new_id="other", value=["masts"])
        await fork.async_get_result()
        difference = await history.diff("one", "other")
        assert difference
        assert difference.parting is not None
        assert difference.parting.number == 6
        assert difference.chunks["search"] == (["SAILS HISTORY", "SAILS PHYSICS"], ["MASTS"])
        assert difference.stream == (5, {"found": "sails history"}, {"found": "masts"})
        assert difference.state == {}
        lines = str(difference).splitlines()
        assert lines[:2] == ["- one  12 records, completed", "+ other  11 records, completed"]
        assert "+ {'text': 'MASTS', 'topic': 'sails'}" in lines


async def test_long_values_that_differ_at_their_end_show_their_end(open_store: Open) -> None:
    flow = TriggerFlow(name="long")

    @flow.chunk("repeat")
    async def repeat(data: Any) -> str:
        return "same " * 100 + data.value

    flow.to(repeat).end()
    async with open_store() as store:
        for name in ("one", "other"):
            await flow.create_execution(store=store, id=name).async_start(name)
        difference = await flow.history(store).diff("one", "other")
        assert difference.chunks["repeat"] == (["same " * 100 + "one"], ["same " * 100 + "other"])
        result = str(difference).splitlines()[-2:]
        assert result[0].endswith("same one'")
        assert result[1].endswith("same other'")
        assert max(map(len, result)) < 120


async def test_an_execution_that_runs_elsewhere_can_be_read(open_store: Open) -> None:
    flow = asking()
    async with open_store() as there, open_store() as here:
        execution = flow.create_execution(store=there, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        view = await flow.history(here).state_at("a")
        assert view.status == "waiting"
        await execution.async_continue_with("approve", "yes")
        await execution.async_get_result()
        assert (await flow.history(here).state_at("a")).result == "news: yes"


async def test_what_a_compaction_has_forgotten_is_said(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("sails")
        history = flow.history(store)
        await history.compact("b")
        with pytest.raises(
            RecordsTrimmed, match="deleted its state after 3 records; the earliest state left is after 12"
        ):
            await history.state_at("b", 3)
        with pytest.raises(RecordsTrimmed):
            await history.fork("b", at=3)
        assert [record.item for _, record in [it async for it in history.journal("b")]][: len(WORDS)] == [
            {"stage": "plan", "delta": word} for word in WORDS
        ]
        assert len([line async for line in history.lines("b")]) == 6


async def test_the_journal_of_a_sub_flow_is_read_by_its_own_flow(open_store: Open) -> None:
    flow, inner = with_sub_flow()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="o")
        await read(execution.get_async_runtime_stream("news"), 2)
        assert "inner.2/approve" in (await flow.history(store).state_at("o")).interrupts
        assert "approve" in (await inner.history(store).state_at("o/inner.2")).interrupts
        await execution.async_suspend()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x80\x04pickle", StoreDamaged),
        (b'{"record":"exec","at":1.0}', StoreDamaged),
        (b"[" * 50_000 + b"]" * 50_000, StoreDamaged),
        (b'{"record":"completed","at":1.0,"run":99,"value":1}', StoreDamaged),
        (b'{"record":"completed","at":1.0,"run":1,"value":{"$":"ref","v":"00"}}', StoreDamaged),
        (b'{"record":"completed","at":1.0,"run":1,"value":{"$":"type:os.system","v":{}}}', SnapshotError),
        (b'{"record":"completed","at":1.0,"run":1,"value":{"$":"text","v":7}}', StoreDamaged),
    ],
    ids=["no JSON", "no record", "nesting", "no such run", "no payload", "unknown type", "no text"],
)
async def test_what_stands_in_a_store_is_read_with_suspicion(data: bytes, error: type[Exception]) -> None:
    flow = brief()
    async with MemoryStore() as store:
        await flow.create_execution(store=store, id="b").async_start("x")
        kept = store.data.executions["b"]
        kept.records[6] = (6, NewRecord(data))
        before = list(kept.records)
        history = flow.history(store)
        for attempt in (history.state_at("b"), history.fork("b", at=8, new_id="f")):
            with pytest.raises(error):
                await attempt
        with pytest.raises(error):
            _ = [line async for line in history.lines("b")]
        assert kept.records == before
        assert await store.find("f") is None


async def test_a_gap_in_the_records_is_told_however_they_are_read() -> None:
    """What reads the past and what goes on replay in one way."""
    flow, data = brief(), MemoryData()
    async with MemoryStore(data) as store:
        execution = flow.create_execution(store=store, id="b")
        await execution.async_start("x")
        del store.data.executions["b"].records[7]
        history = flow.history(store)
        with pytest.raises(StoreDamaged, match="record 7 is missing"):
            await history.state_at("b")
        with pytest.raises(StoreDamaged, match="record 7 is missing"):
            _ = [line async for line in history.lines("b")]
        assert (await history.state_at("b", 7)).records == 7
    async with MemoryStore(data) as store:
        with pytest.raises(StoreDamaged, match="record 7 is missing"):
            await flow.async_resume("b", store=store)


async def test_reading_a_long_execution_lets_others_go_on() -> None:
    """Also with a store in memory, which answers at once: the event loop gets a turn at least every 500 records."""
    flow: TriggerFlow[Any, Any] = TriggerFlow("long")

    async def put(data: Any) -> None:
        for number in range(5000):
            await data.async_put_into_stream(number)

    flow.to(put).end()
    async with MemoryStore() as store:
        execution = flow.create_execution(id="long", store=store)
        await execution.async_start()
        reading = asyncio.ensure_future(flow.history(store).state_at("long", 5000))
        turns = 0
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)
        assert (await reading).status == "running"
        assert turns >= 10
