"""Programs that end while an execution runs: closed loops, ended loops, exiting interpreters. Nobody hangs, all are
told, and nothing is printed that the program did not print."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support import read, turns
from tests.virtual_time import VirtualTimeLoop
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow._core.machine import replay
from triggerflow.errors import ExecutionCancelled, UsageError
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]
Run = Callable[[Any], Any]


def running_flow(seen: list[str]) -> TriggerFlow:
    """One chunk that sleeps, one that queues, one that waits for settling, and a signal that may still come."""
    flow = TriggerFlow()

    async def sleeper(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            seen.append("cleaned up")

    async def settling(data: Data) -> None:
        await data.async_emit("work", settle=True)

    flow.batch(sleeper, ("queued", sleeper), concurrency=1)
    flow.to(settling)
    flow.when("work").to(("work", sleeper))
    flow.when("outside").to(("outside", sleeper))
    return flow


def test_asyncio_run_that_ends_cancels_what_runs(run: Run) -> None:
    """As it does with tasks: chunks clean up, and who asks later is told."""
    seen: list[str] = []
    execution = running_flow(seen).create_execution()

    async def main() -> None:
        execution.begin()
        await turns()

    run(main())
    assert seen == ["cleaned up", "cleaned up"]
    assert execution.get_status() == "cancelled"
    with pytest.raises(ExecutionCancelled, match="loop"):
        run(execution.async_get_result())
    with pytest.raises(ExecutionCancelled):
        execution.get_result()


def test_asyncio_run_that_ends_before_the_first_chunk_could_begin(run: Run) -> None:
    """The tasks of the chunks are cancelled unborn: no handler runs, and the execution does not stay `running`."""
    seen: list[str] = []
    execution = running_flow(seen).create_execution()

    async def main() -> None:
        # In the loop's last turn: what is scheduled in it is not run any more.
        asyncio.get_running_loop().call_soon(execution.begin)

    run(main())
    assert execution.get_status() == "cancelled"
    assert seen == []


def test_asyncio_run_that_ends_under_a_loop_of_emits(run: Run) -> None:
    """The chunks never suspend by themselves; the end reaches them between two turns."""
    flow = TriggerFlow()

    async def turn(data: Data) -> None:
        data.emit("again")

    flow.to(turn)
    flow.when("again").to(("next", turn))
    execution = flow.create_execution()

    async def main() -> None:
        execution.begin()
        await turns(20)

    run(main())
    assert execution.get_status() == "cancelled"


@pytest.mark.parametrize("ending", ["returns", "raises", "is cancelled"])
def test_asyncio_run_with_waiters_and_readers_in_other_tasks(ending: str, run: Run) -> None:
    """They are tasks of that loop and end with it; nothing is left that complains later."""
    execution = running_flow([]).create_execution()

    async def main() -> None:
        waiters = [
            asyncio.create_task(execution.async_start("go")),
            asyncio.create_task(read(execution.get_async_runtime_stream("go"))),
            asyncio.create_task(execution.async_emit("outside", settle=True)),
        ]
        await turns()
        if ending == "raises":
            raise ValueError("the end")
        if ending == "is cancelled":
            raise asyncio.CancelledError
        assert len(waiters) == 3

    with suppress(ValueError, asyncio.CancelledError):
        run(main())
    assert execution.get_status() == "cancelled"


def abandoned(seen: list[str]) -> Execution:
    """An execution that runs on a loop which was closed without being asked to end its tasks."""
    execution = running_flow(seen).create_execution()

    async def main() -> None:
        execution.begin("go")
        await turns()

    loop = VirtualTimeLoop()
    loop.run_until_complete(main())
    loop.close()
    return execution


@pytest.mark.parametrize(
    "ask",
    [
        lambda execution: execution.async_get_result(),
        lambda execution: execution.async_start("go"),
        lambda execution: read(execution.get_async_runtime_stream()),
        lambda execution: execution.async_emit("outside"),
        lambda execution: execution.async_cancel(),
    ],
    ids=["result", "start", "reader", "emit", "cancel"],
)
def test_a_loop_closed_under_a_running_execution(ask: Callable[[Execution], Any], run: Run) -> None:
    """Who asks on another loop is told, instead of waiting for what can never come; afterwards it is over."""
    execution = abandoned([])

    async def asking() -> None:
        async with asyncio.timeout(1_000):
            await ask(execution)

    with suppress(UsageError, ExecutionCancelled):
        run(asking())
    with pytest.raises(ExecutionCancelled):
        run(execution.async_get_result())
    assert execution.get_status() == "cancelled"


def test_the_journal_tells_that_the_loop_was_closed() -> None:
    """Law 2: "live run and `replay(journal)` agree": also of an execution whose loop was closed under it."""
    execution = abandoned([])
    assert execution.get_status() == "cancelled"
    again = replay(runtime_of(execution).program.plan, execution.records)
    assert (again.state.status, again.state.records) == ("cancelled", runtime_of(execution).machine.state.records)
    assert again.state.reason == runtime_of(execution).machine.state.reason


@pytest.mark.parametrize(
    "ask",
    [
        lambda execution: execution.get_result(),
        lambda execution: execution.start("go"),
        lambda execution: list(execution.get_runtime_stream()),
        lambda execution: execution.emit("outside"),
        lambda execution: execution.cancel(),
    ],
    ids=["result", "start", "reader", "emit", "cancel"],
)
def test_a_loop_closed_under_a_running_execution_and_the_sync_twins(ask: Callable[[Execution], Any], run: Run) -> None:
    """The same from a script, without a coroutine left behind that was never awaited."""
    execution = abandoned([])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(UsageError, ExecutionCancelled):
            ask(execution)
        gc.collect()
    with pytest.raises(ExecutionCancelled):
        run(execution.async_get_result())


def test_an_execution_on_a_closed_loop_that_everybody_forgot() -> None:
    """It goes in silence; the check after each test would see a task that is destroyed while it is pending."""
    abandoned([])
    gc.collect()


SCRIPTS = {
    "asyncio.run ends": """
        async def main():
            execution = flow.create_execution()
            execution.begin()
            await asyncio.sleep(0.01)
            print("end")
        asyncio.run(main())
    """,
    "the loop is closed": """
        async def main():
            flow.create_execution().begin()
            await asyncio.sleep(0.01)
            print("end")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    """,
    "the loop is forgotten": """
        async def main():
            flow.create_execution().begin()
            await asyncio.sleep(0.01)
            print("end")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        del loop
    """,
    "a script leaves a sync stream": """
        stream = flow.get_runtime_stream()
        assert next(stream) == "item"
        print("end")
    """,
    "a script exits in a reader": """
        for item in flow.get_runtime_stream():
            print("end")
            sys.exit(0)
    """,
    "an async program exits": """
        async def main():
            async for item in flow.get_async_runtime_stream():
                print("end")
                sys.exit(0)
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_a_program_that_ends_under_a_running_execution_ends_quietly_and_soon(what: str) -> None:
    """Exit code 0, and not a line on stderr."""
    head = """
        import asyncio, sys
        from triggerflow import TriggerFlow

        flow = TriggerFlow()

        async def sleeper(data):
            await data.async_put_into_stream("item")
            await asyncio.sleep(60)

        flow.batch(sleeper, ("other", sleeper))
    """
    script = textwrap.dedent(head) + textwrap.dedent(SCRIPTS[what])
    quiet = "-Wignore::ResourceWarning" if what == "the loop is forgotten" else "-Werror"
    done = subprocess.run(
        [sys.executable, quiet, "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "end\n"
    assert done.returncode == 0
