"""What is kept: compaction into a snapshot, forgetting what has ended; never touching what lives."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.durable.brief import asking, brief, with_sub_flow
from tests.support import read
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow._core.errors import ExecutionLeased
from triggerflow.durable.format.payloads import references
from triggerflow.errors import StoreDamaged, UsageError

Open = Callable[[], Any]


async def test_an_ended_execution_is_compacted_and_still_tells_its_end_and_its_stream(open_store: Open) -> None:
    flow = brief()
    async with open_store() as store:
        result = await flow.create_execution(store=store, id="b").async_start("sails")
        history = flow.history(store)
        items = await read(history.stream("b"))
        report = await history.compact("b")
        assert (report.executions, report.records) == (1, 6)
        assert await history.compact("b") == type(report)(1, 0)
    async with open_store() as store:
        history = flow.history(store)
        assert (await history.state_at("b")).result == result
        assert await read(history.stream("b")) == items
        assert await (await flow.async_resume("b", store=store)).async_get_result() == result


async def test_what_only_forgotten_records_refer_to_goes_with_them(open_store: Open) -> None:
    """A long conversation does not keep every large value that it has ever had."""
    flow = TriggerFlow(name="talk")

    async def turn(data: TriggerFlowRuntimeData[Any]) -> None:
        data.state.set("last", data.value * 2000)
        await data.async_put_into_stream(data.value.upper() * 2000)

    flow.when(flow.signal("turn", external=True)).to(turn)
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="t")
        await execution.async_begin()
        for word in "abc":
            await execution.async_emit("turn", word, settle=True)
        before = await payloads(store)
        items = await read(flow.history(store).stream("t", follow=False))
        assert len(before) == 6
        await flow.history(store).compact("t")
        with pytest.raises(StoreDamaged, match="missing"):
            await store.payloads(before)
        assert await read(flow.history(store).stream("t", follow=False)) == items == [it * 2000 for it in "ABC"]
        await execution.async_emit("turn", "a", settle=True)  # what was given up comes again
        assert (await flow.history(store).state_at("t")).state == {"last": "a" * 2000}
        await execution.async_close()
        await flow.history(store).compact("t")
    async with open_store() as store:
        assert await read(flow.history(store).stream("t")) == [*items, items[0]]


async def payloads(store: Any) -> list[str]:
    """The digests that the records of "t" refer to."""
    return sorted({name for _, data in await store.records("t") for name in references(msgspec.json.decode(data))})


async def test_an_execution_at_rest_is_compacted_and_goes_on(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        await execution.async_suspend()
        assert (await flow.history(store).compact("a")).records == 3
        assert (await store.find("a")).owner is None
    async with open_store() as store:
        execution = await flow.async_resume("a", store=store)
        await execution.async_continue_with("approve", "yes")
        assert await execution.async_get_result() == "news: yes"
        assert len(await read(execution.get_async_runtime_stream())) == 4


async def test_one_that_runs_here_is_compacted_while_it_runs(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        await flow.history(store).compact("a")
        await execution.async_continue_with("approve", "yes")
        assert await execution.async_get_result() == "news: yes"


async def test_one_that_runs_elsewhere_is_left_alone(open_store: Open) -> None:
    flow = asking()
    async with open_store() as there, open_store() as here:
        execution = flow.create_execution(store=there, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        records = await here.records("a")
        with pytest.raises(ExecutionLeased):
            await flow.history(here).compact("a")
        assert await here.records("a") == records
        await execution.async_suspend()


async def test_sub_flows_are_compacted_with_their_parent(open_store: Open) -> None:
    flow, _ = with_sub_flow()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="o")
        running = execution.get_async_runtime_stream("news")
        await read(running, 2)
        await execution.async_continue_with("inner.2/approve", "yes")
        assert await execution.async_get_result() == "<news: yes>"
        assert (await flow.history(store).compact("o")).executions == 2
        assert await store.snapshot("o/inner.2") is not None


async def test_pruning_by_count_and_age_forgets_what_has_ended_only(open_store: Open) -> None:
    flow, other = brief(), asking()
    async with open_store() as store:
        living = flow.create_execution(store=store, id="living")
        await living.async_open()
        await living.async_emit("nothing")
        for number in range(5):
            await flow.create_execution(store=store, id=f"b{number}").async_start("x")
            await asyncio.sleep(1)
        others = other.create_execution(store=store, id="a")
        await read(others.get_async_runtime_stream("news"), 2)
        await others.async_cancel()
        await asyncio.sleep(1)
        history = flow.history(store)
        assert await history.prune(older_than=timedelta(days=1)) == type(await history.prune(keep=99))(0, 5)
        assert (await history.prune(older_than=0, keep=3)).deleted == 2
        assert [row.id for row in await history.executions()] == ["b4", "b3", "b2", "living"]
        report = await history.prune(keep=1)
        assert (report.deleted, report.kept) == (2, 1)
        with pytest.raises(AttributeError, match=r"Pruned\.forgotten was removed; use pruned.deleted"):
            getattr(report, "forgotten")  # noqa: B009 - the name is gone, so that a type checker refuses it
        assert (await history.prune(older_than=0)).deleted == 1
        assert [row.id for row in await history.executions()] == ["living"]
        assert len(await other.history(store).executions()) == 1
        with pytest.raises(UsageError, match="older_than"):
            await history.prune()
        with pytest.raises(UsageError, match="not -1"):
            await history.prune(keep=-1)


async def test_children_go_with_their_parent(open_store: Open) -> None:
    flow, inner = with_sub_flow()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="o")
        await read(execution.get_async_runtime_stream("news"), 2)
        assert (await inner.history(store).prune(older_than=0)).deleted == 0
        await execution.async_continue_with("inner.2/approve", "yes")
        await execution.async_get_result()
        await asyncio.sleep(1)
        assert (await inner.history(store).prune(older_than=0)).deleted == 0
        assert (await flow.history(store).prune(older_than=0)).deleted == 2
        assert await store.find("o/inner.2") is None
