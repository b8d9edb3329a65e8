"""Executions that are submitted: stored with their start, run by a worker; and an id that is there already."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.durable.test_worker import ended, opened
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import ContractError, DefinitionError, ExecutionExists, OptionError, PayloadError, UsageError
from triggerflow.stores import MemoryStore, SQLiteStore
from triggerflow.stores.memory import MemoryData
from triggerflow.stores.protocol import Store

Data = TriggerFlowRuntimeData[Any]


def value_of(data: Data) -> Any:
    return data.value


def nothing(data: Data) -> None:
    """Returns nothing."""


def working() -> TriggerFlow:
    """One chunk, whose result is its attempt and the value."""
    flow = TriggerFlow(name="working")

    async def work(data: Data) -> Any:
        return [data.attempt, data.value]

    flow.to(("work", work)).end()
    return flow


def asking() -> TriggerFlow:
    """Waits for an answer."""
    flow = TriggerFlow(name="asking")

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="question")

    flow.to(("ask", ask)).to(("use", value_of)).end()
    return flow


async def test_a_submitted_execution_is_stored_as_a_whole_and_has_no_owner() -> None:
    async with MemoryStore() as store:
        execution = await working().async_submit(7, store=store, id="x", labels={"customer": "17"})
        row = await store.find("x")
        assert row is not None
        assert (execution.id, row.status, row.owner, row.labels) == ("x", "running", None, {"customer": "17"})
        assert [json.loads(data)["record"] for _, data in await store.records("x")] == ["started"]


async def test_a_worker_runs_it_and_its_first_attempt_is_the_first() -> None:
    data, flow = MemoryData(), working()
    async with MemoryStore(data) as web, opened(data, working(), poll=60):
        execution = await flow.async_submit(7, store=web)
        assert await execution.async_get_result(timeout=5) == [1, 7]


async def test_the_worker_may_be_in_the_process_that_submits() -> None:
    flow = working()
    async with MemoryStore() as store, Worker(store, flow, poll=60):
        execution = await flow.async_submit(7, store=store)
        assert await execution.async_get_result(timeout=5) == [1, 7]
        waiting = await flow.async_submit(8, store=store, delay=20)
        assert await waiting.async_get_result() == [1, 8]


async def test_the_worker_is_woken_by_the_change() -> None:
    """It polls once an hour, and does not wait for that."""
    data, flow = MemoryData(), working()
    async with MemoryStore(data) as web, opened(data, working(), poll=3600):
        begun = asyncio.get_running_loop().time()
        for number in range(5):
            await asyncio.sleep(10)
            await flow.async_submit(number, store=web, id=str(number))
            assert await ended(web, str(number)) == "completed"
        assert asyncio.get_running_loop().time() - begun < 55


async def test_a_delayed_start_and_the_state_of_a_model() -> None:
    data, flow = MemoryData(), TriggerFlow(name="counted")

    @dataclass
    class State:
        count: int = 3

    flow.set_state(State)

    async def work(chunk: Data) -> Any:
        return chunk.state.get("count") + chunk.value

    flow.to(("work", work)).end()
    async with MemoryStore(data) as web, opened(data, flow, poll=60):
        begun = asyncio.get_running_loop().time()
        execution = await flow.async_submit(4, store=web, id="x", delay=500)
        await asyncio.sleep(400)
        row = await web.find("x")
        assert row is not None
        assert (row.status, row.owner) == ("waiting", None)
        assert await execution.async_get_result() == 7
        assert asyncio.get_running_loop().time() - begun >= 500


async def test_a_flow_without_work_and_one_that_asks() -> None:
    data, empty, asks = MemoryData(), TriggerFlow(name="empty"), asking()
    empty.to(("nothing", nothing))
    async with MemoryStore(data) as web, opened(data, empty, asks, poll=60):
        await empty.async_submit(5, store=web, id="e")
        await asks.async_submit(5, store=web, id="a")
        await asyncio.sleep(5)
        rows = {row.id: row for row in await web.executions()}
        assert rows["e"].status == "completed"
        assert (rows["a"].status, rows["a"].owner) == ("waiting", None)


async def test_what_cannot_be_started_is_not_submitted() -> None:
    flow = working()
    async with MemoryStore() as store:
        with pytest.raises(PayloadError):
            await flow.async_submit(object(), store=store, id="x")
        with pytest.raises(UsageError, match="needs a store"):
            await flow.async_submit(1)
        with pytest.raises(UsageError, match="is a string"):
            await flow.async_submit(1, store=store, id=5)  # pyright: ignore[reportArgumentType]
        with pytest.raises(OptionError, match="reuse"):
            await flow.async_submit(1, store=store, id="x", reuse="replace")  # pyright: ignore[reportArgumentType]
        with pytest.raises(DefinitionError):
            await flow.async_submit(1, store=store, id="x", max_losses=0)
        for labels in ({"a": 1}, {"a": "x" * 1025}, {"": "x"}, {str(n): "" for n in range(65)}, ["a"]):
            with pytest.raises(OptionError, match="labels"):
                await flow.async_submit(1, store=store, id="x", labels=labels)  # pyright: ignore[reportArgumentType]
        typed = TriggerFlow[int, int](name="typed").set_contract(initial_input=int)
        with pytest.raises(ContractError):
            await typed.async_submit("one", store=store, id="x")  # pyright: ignore[reportArgumentType]
        assert await store.executions() == []


# -- the id is there already -----------------------------------------------------------------------------------------


async def test_reject_names_the_id() -> None:
    flow = working()
    async with MemoryStore() as store:
        await flow.async_submit(1, store=store, id="order-1")
        with pytest.raises(ExecutionExists, match=r"'order-1' .*running.*reuse="):
            await flow.async_submit(1, store=store, id="order-1")


async def test_existing_is_a_handle_whatever_the_value() -> None:
    data, flow = MemoryData(), working()
    async with MemoryStore(data) as web, opened(data, flow, poll=60):
        first = await flow.async_submit(1, store=web, id="x", reuse="existing")
        assert await first.async_get_result() == [1, 1]
        again = await flow.async_submit(2, store=web, id="x", reuse="existing")
        assert (again.id, await again.async_get_result()) == ("x", [1, 1])
        assert len(await web.executions()) == 1


async def test_an_id_of_another_flow_is_refused() -> None:
    async with MemoryStore() as store:
        await working().async_submit(1, store=store, id="x")
        with pytest.raises(UsageError, match="belongs to flow 'working'"):
            await asking().async_submit(1, store=store, id="x", reuse="existing")


async def test_new_after_end_numbers_the_executions() -> None:
    data, flow = MemoryData(), asking()
    async with MemoryStore(data) as web, opened(data, asking(), poll=60):
        for number in range(1, 12):
            execution = await flow.async_submit(number, store=web, id="x", reuse="new_after_end")
            same = await flow.async_submit(number, store=web, id="x", reuse="new_after_end")
            assert execution.id == same.id == ("x" if number == 1 else f"x.{number}")
            await asyncio.sleep(1)
            await (await flow.async_resume(execution.id, store=web)).async_cancel()


async def test_new_after_end_counts_on_where_the_first_were_pruned() -> None:
    data, flow = MemoryData(), working()
    async with MemoryStore(data) as web, opened(data, flow, poll=60):
        for number in range(6):
            execution = await flow.async_submit(number, store=web, id="x", reuse="new_after_end")
            await execution.async_get_result()
            await asyncio.sleep(1)
        await web.delete(["x", "x.2", "x.3"])
        await flow.async_submit(0, store=web, id="x.77.5")  # no number of "x"
        assert (await flow.async_submit(7, store=web, id="x", reuse="new_after_end")).id == "x.7"


async def test_of_many_racing_submits_one_creates(tmp_path: Path) -> None:
    """Every process has a store of its own."""
    path, flow = tmp_path / "runs.db", working()

    async def submit(reuse: Any) -> str:
        async with SQLiteStore(path, synchronous="NORMAL") as store:
            try:
                return (await flow.async_submit(1, store=store, id=f"by-{reuse}", reuse=reuse)).id
            except ExecutionExists:
                return "exists"

    async with SQLiteStore(path) as store:
        for reuse in ("reject", "existing", "new_after_end"):
            ids = await asyncio.gather(*(submit(reuse) for _ in range(8)))
            assert sorted(ids) == [f"by-{reuse}"] * (8 if reuse != "reject" else 1) + ["exists"] * (
                7 if reuse == "reject" else 0
            )
        assert len(await store.executions()) == 3


PROCESS = """
import asyncio, sys
from triggerflow import TriggerFlow
from triggerflow.errors import ExecutionExists
from triggerflow.stores import SQLiteStore

flow = TriggerFlow(name="f")
flow.to(("a", lambda data: data.value)).end()

async def main():
    async with SQLiteStore(sys.argv[1]) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(20):
            try:
                await flow.async_submit(1, store=store, id=str(number))
                print("made", number)
            except ExecutionExists:
                pass

asyncio.run(main())
"""


@pytest.mark.real_time
def test_racing_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "runs.db")]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        made: list[str] = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            made += process.communicate(timeout=60)[0].split("\n")[:-1]
            assert process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert sorted(made) == sorted(f"made {number}" for number in range(20))


# -- create_execution ------------------------------------------------------------------------------------------------


async def test_create_execution_resumes_by_default() -> None:
    flow = working()
    async with MemoryStore() as store:
        assert await flow.create_execution(store=store, id="x").async_start(1) == [1, 1]
        assert await flow.create_execution(store=store, id="x").async_get_result() == [1, 1]


async def test_options_that_do_not_count_are_told(caplog: pytest.LogCaptureFixture) -> None:
    data, flow = MemoryData(), asking()
    async with MemoryStore(data) as store:
        await flow.create_execution(store=store, id="x", concurrency=2).async_begin(1)
        await asyncio.sleep(1)
    async with MemoryStore(data) as store:
        assert not caplog.records
        await asking().create_execution(store=store, id="x", concurrency=3).async_open()
        assert "concurrency=2" in caplog.text


async def test_create_execution_can_reject() -> None:
    data, flow = MemoryData(), working()
    async with MemoryStore(data) as store:
        execution = flow.create_execution(store=store, id="x", reuse="reject")
        assert await execution.async_start(1) == [1, 1]
        assert await execution.async_get_result() == [1, 1]  # its own
        with pytest.raises(ExecutionExists, match="x"):
            await flow.create_execution(store=store, id="x", reuse="reject").async_start(1)
    async with MemoryStore(data) as store:
        with pytest.raises(ExecutionExists, match="'x'"):
            await working().create_execution(store=store, id="x", reuse="reject").async_start(1)


async def test_create_execution_can_begin_a_new_one_after_the_end() -> None:
    data, flow = MemoryData(), working()
    async with MemoryStore(data) as store:
        for number in range(1, 4):
            execution = flow.create_execution(store=store, id="x", reuse="new_after_end", labels={"n": str(number)})
            assert await execution.async_start(number) == [1, number]
            assert execution.id == ("x" if number == 1 else f"x.{number}")
        assert {row.id: row.labels for row in await store.executions()} == {
            "x": {"n": "1"}, "x.2": {"n": "2"}, "x.3": {"n": "3"}
        }  # fmt: skip


@pytest.mark.real_time
async def test_the_worker_of_the_process_that_submits_runs_it(open_store: Any) -> None:
    """One process for everything: the handle waits for what the worker beside it does, whoever opens it first."""
    flow = working()
    async with open_store() as store, Worker(store, flow):
        for number in range(30):
            execution = await flow.async_submit(number, store=store, id=f"x{number}")
            assert await execution.async_get_result(timeout=20) == [1, number]


def test_an_id_in_memory_has_no_policy() -> None:
    with pytest.raises(UsageError, match="need a store"):
        working().create_execution(id="x", reuse="reject")
    with pytest.raises(UsageError, match="need a store"):
        working().create_execution(id="x", labels={"a": "b"})


def test_the_sync_twin(tmp_path: Path) -> None:
    flow = working()
    with SQLiteStore(tmp_path / "runs.db") as store:
        assert flow.submit(3, store=store, id="x").id == "x"

    async def work() -> Any:
        async with SQLiteStore(tmp_path / "runs.db") as store, Worker(store, flow, poll=0.1):
            return await result_of(store, "x")

    async def result_of(store: Store, id: str) -> Any:
        assert await ended(store, id) == "completed"
        return await (await flow.async_resume(id, store=store)).async_get_result()

    assert asyncio.run(work()) == [1, 3]
