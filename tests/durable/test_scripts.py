"""S13 for the durable side: "Every async entry has a sync twin for scripts". These tests run in real time."""

import asyncio
import inspect
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.durable.brief import asking, brief
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import History, Worker
from triggerflow.errors import BlockingCallError, UnknownExecution
from triggerflow.run.portal import run_sync
from triggerflow.stores import MemoryStore, SQLiteStore

Data = TriggerFlowRuntimeData[Any]


def test_a_script_looks_back_forks_and_tidies(tmp_path: Path) -> None:
    """Each twin does what its async method does."""
    flow = brief()
    with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as store:
        result = flow.create_execution(store=store, id="b").start("sails")
        history = flow.history(store).sync
        assert [row.id for row in history.executions(status="completed")] == ["b"]
        assert [number for number, _ in history.journal("b", first=9)] == [9, 10, 11]
        assert len(list(history.lines("b"))) == 12
        assert list(history.stream("b")) == list(flow.create_execution(store=store, id="b").get_runtime_stream())
        assert history.state_at("b").result == result
        assert history.fork("b", at=1, value="masts", new_id="what-if").get_result() != result
        assert "masts" in str(history.diff("b", "what-if"))
        assert history.export("b", tmp_path / "b.jsonl") == 12
        assert history.compact("b").records > 0
        assert history.prune(older_than=timedelta(days=1)).deleted == 0
        assert history.load(tmp_path / "b.jsonl", id="copy").records == 12
        with pytest.raises(UnknownExecution):
            list(history.lines("nothing"))


def test_no_method_is_without_its_twin() -> None:
    """What is added to `History` has to be added for scripts."""
    methods = [name for name, it in vars(History).items() if inspect.isfunction(it) and not name.startswith("_")]
    twins: Any = type(brief().history(MemoryStore()).sync)
    assert [name for name in methods if not hasattr(twins, name)] == []


async def test_inside_a_loop_the_method_to_await_is_named() -> None:
    async with MemoryStore() as store:
        history = brief().history(store).sync
        with pytest.raises(BlockingCallError, match="executions"):
            history.executions()
        with pytest.raises(BlockingCallError, match="lines"):
            next(history.lines("b"))
        with pytest.raises(BlockingCallError, match="async with Worker"):
            Worker(store, asking()).run()


def test_a_worker_in_a_script_works_until_it_is_interrupted(tmp_path: Path) -> None:
    """It goes on with what was left behind, and what still runs is given back when it leaves."""
    flow, done = TriggerFlow(name="working"), threading.Event()

    async def work(data: Data) -> Any:
        if data.attempt == 1 or data.value == "long":
            await asyncio.sleep(10**9)
        done.set()
        return data.value

    flow.to(work).end()
    with SQLiteStore(tmp_path / "runs.db", synchronous="NORMAL") as store:
        for value in ("short", "long"):
            execution: Any = flow.create_execution(store=store, id=value)
            run_sync(lambda it=execution, given=value: it.async_begin(given), "async_begin")
            run_sync(execution.async_suspend, "async_suspend")
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            done.wait(20)
            for _ in range(1000):  # its end has to be on disk, or it is rightly given back as running
                if any(row.status == "completed" for row in flow.history(store).sync.executions()):
                    break
            signal.pthread_kill(main, signal.SIGINT)

        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
        try:
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                Worker(store, flow, poll=0.05).run()
            thread.join()
        finally:
            signal.signal(signal.SIGINT, before)
        rows = {row.id: row for row in flow.history(store).sync.executions()}
        assert rows["short"].status == "completed"
        assert (rows["long"].status, rows["long"].owner) == ("running", None)
