"""What messages tell somebody who begins: who has to do something, and which argument is wrong."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import needs_postgres, postgres_store
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import DefinitionError, ExecutionExists, OptionError, UsageError
from triggerflow.stores import MemoryData, MemoryStore, SQLiteStore, Store

Data = TriggerFlowRuntimeData[Any]


def asking() -> TriggerFlow:
    """Asks two people, and ends with their answers; works for a minute first if the value says so."""
    flow = TriggerFlow("asking")

    async def ask(data: Data) -> None:
        if data.value == "work":
            await asyncio.sleep(60)
        data.pause_for(interrupt_id=data.value)

    flow.for_each().to(("ask", ask)).end_for_each().end()
    return flow


async def test_a_wait_for_what_nobody_runs_says_that_a_worker_is_missing() -> None:
    flow = asking()
    async with MemoryStore() as store:
        execution = await flow.async_submit(["ann"], store=store)
        with pytest.raises(TimeoutError, match=r"no process runs it: a Worker\(store, flow\) of flow 'asking' would"):
            await execution.async_get_result(timeout=3)
        with pytest.raises(TimeoutError, match="no stream item for 3 s; it is in its store, and no process runs it"):
            await anext(execution.get_async_runtime_stream(timeout=3))


async def test_a_wait_for_what_runs_elsewhere_says_so_also_after_its_process_has_ended() -> None:
    flow, data = asking(), MemoryData()
    async with MemoryStore(data) as there, MemoryStore(data) as here:
        async with Worker(there, flow):
            execution = await flow.async_submit(["work"], id="run", store=here)
            with pytest.raises(TimeoutError, match="has not ended after 5 s; it continues to run"):
                await execution.async_get_result(timeout=5)
        handle = await flow.async_attach("run", store=here)
        with pytest.raises(TimeoutError, match="no process runs it"):
            await handle.async_get_result(timeout=20)


@pytest.mark.parametrize("stored", [False, True])
async def test_a_wait_for_an_answer_names_the_question(*, stored: bool) -> None:
    flow = asking()
    async with MemoryStore() as store:
        execution: Any = flow.create_execution(store=store if stored else None)
        await execution.async_begin(["ann", "bob"])
        with pytest.raises(TimeoutError, match=r"after 1 s; it waits for an answer to 'ann', 'bob'$"):
            await execution.async_get_result(timeout=1)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=needs_postgres)])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind, not opened."""
    if request.param == "postgres":
        return postgres_store()
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


async def test_a_list_takes_one_status_or_several_and_refuses_others(any_store: Store) -> None:
    flow = asking()
    running: Any = ("running", ("running",), ["waiting", "running"])
    wrong: Any = "complete"
    async with any_store as store:
        await flow.async_submit(["ann"], id="run", store=store)
        for status in running:
            assert [row.id for row in await store.executions(status=status)] == ["run"]
        for status in (wrong, [wrong]):
            with pytest.raises(OptionError, match="no status 'complete'; did you mean 'completed'"):
                await store.executions(status=status)
        with pytest.raises(DefinitionError, match="limit must be a whole number of at least 1"):
            await flow.history(store).executions(limit=0)
        no_number: Any = "yesterday"
        with pytest.raises(UsageError, match="number of records, 0 to 1; got 'yesterday'"):
            await flow.history(store).state_at("run", no_number)


async def test_an_id_that_is_taken_is_told_with_its_flow() -> None:
    other = TriggerFlow("other")
    other.to(("step", asyncio.sleep)).end()
    async with MemoryStore() as store:
        await asking().async_submit(["ann"], id="run", store=store)
        with pytest.raises(ExecutionExists, match="an execution 'run' of flow 'asking' in the store already"):
            await other.async_submit(1, id="run", store=store)


def test_a_path_is_no_store() -> None:
    path: Any = "runs.db"
    with pytest.raises(UsageError, match=re.escape("such as an opened SQLiteStore('runs.db'); got 'runs.db'")):
        asking().set_store(path)


async def test_the_journal_says_that_unfinished_work_begins_again() -> None:
    flow, data = asking(), MemoryData()
    async with MemoryStore(data) as store:
        async with Worker(store, flow):
            await flow.async_submit(["work"], id="run", store=store)
            await asyncio.sleep(1)
        assert [line.split(maxsplit=2)[2] async for line in flow.history(store).lines("run")][1:] == [
            "recovered   goes on; what was not finished begins again",
            "suspended   stopped here, and given back to the store",
        ]
