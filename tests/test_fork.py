"""Processes that fork after the engine was used: the child has none of the parent's threads, and works all the same."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

#: What each script begins with. `child` runs a function in a forked child, which ends after 10 seconds at the latest,
#: and prints what it raises.
HEAD = """
    import asyncio, os, signal, sys, threading, time, warnings
    from triggerflow import TriggerFlow
    from triggerflow.errors import StoreUnavailable, WrongLoopError
    from triggerflow.stores import MemoryStore, SQLiteStore

    flow = TriggerFlow(name="t")

    async def double(data):
        return data.value * 2

    flow.to(double).end()

    threaded = TriggerFlow(name="threaded")
    threaded.to(lambda data: data.value * 2).end()

    def child(function, *, exit=os._exit):
        sys.stdout.flush()
        number = os.fork()
        if number == 0:
            signal.alarm(10)
            try:
                print("child:", function(), flush=True)
            except Exception as error:
                print("child:", type(error).__name__, error, flush=True)
            exit(0)
        print("status", os.waitpid(number, 0)[1])
"""


def run(script: str, folder: Path) -> list[str]:
    """The lines that a script prints in a fresh interpreter, which must not complain."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(HEAD) + textwrap.dedent(script)],
        capture_output=True, text=True, timeout=50, check=False, cwd=folder,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


def test_the_sync_api_works_in_the_child_of_a_process_that_used_it(tmp_path: Path) -> None:
    """The background loop belongs to the parent; the child gets one of its own, and so do its children."""
    script = """
        print("parent", flow.start(1))
        child(lambda: (flow.start(2), [*flow.get_runtime_stream(3)], flow.create_execution().start(4)))
        child(lambda: child(lambda: flow.start(5)))
        print("parent", flow.start(6))
    """
    assert run(script, tmp_path) == [
        "parent 2", "child: (4, [], 8)", "status 0", "child: 10", "status 0", "child: None", "status 0", "parent 12",
    ]  # fmt: skip


def test_sync_chunks_work_in_the_child(tmp_path: Path) -> None:
    """Its threads are the parent's no more, also where one of them forks."""
    script = """
        print("parent", threaded.start(1))
        child(lambda: threaded.start(2))
        forking = TriggerFlow(name="forking")
        forking.to(lambda data: child(lambda: (flow.start(3), threaded.start(4)))).end()
        forking.start()
        print("parent", threaded.start(5))
    """
    assert run(script, tmp_path) == [
        "parent 2", "child: 4", "status 0", "child: (6, 8)", "status 0", "parent 10",
    ]  # fmt: skip


def test_a_child_forked_while_sync_chunks_run_does_not_wait_for_them(tmp_path: Path) -> None:
    """What runs in the parent's threads does not run in the child: it ends when it is through."""
    script = """
        started, gate = threading.Event(), threading.Event()
        blocking = TriggerFlow(name="blocking")
        blocking.to(lambda data: (started.set(), gate.wait(20))[1]).end()
        waiting = threading.Thread(target=lambda: print("parent", blocking.start()))
        waiting.start()
        started.wait(10)
        begun = time.monotonic()
        child(lambda: threaded.start(1), exit=sys.exit)
        print(time.monotonic() - begun < 8)
        gate.set()
        waiting.join()
    """
    assert run(script, tmp_path) == ["child: 2", "status 0", "True", "parent True"]


@pytest.mark.parametrize("where", ["background", "own loop"])
def test_what_lives_in_the_parent_is_refused_in_the_child(where: str, tmp_path: Path) -> None:
    """An execution lives on an event loop of the parent: a call that could only wait for ever says so."""
    script = f"""
        waiting = TriggerFlow(name="waiting")
        waiting.when("go").to(double).end()
        execution = waiting.create_execution()
        if {where == "background"}:
            execution.put_into_stream("item")
        else:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, daemon=True)
            thread.start()
            asyncio.run_coroutine_threadsafe(execution.async_put_into_stream("item"), loop).result(10)

        def refused(call):
            try:
                call()
            except WrongLoopError as error:
                return "process" in str(error)

        async def awaited():
            await execution.async_emit("go", 1)

        child(lambda: [refused(call) for call in (
            execution.get_result, lambda: execution.emit("go", 1), execution.get_status, execution.cancel,
            lambda: asyncio.run(awaited()),
        )])
        child(lambda: flow.start(2))
        execution.emit("go", 4)
        print("parent", execution.start())
        if not {where == "background"}:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
    """
    lines = run(script, tmp_path)
    assert lines == ["child: [True, True, True, True, True]", "status 0", "child: 4", "status 0", "parent 8"]


@pytest.mark.parametrize("kind", ["SQLiteStore('runs.db')", "MemoryStore()"])
def test_a_store_that_was_opened_before_the_fork_is_refused(kind: str, tmp_path: Path) -> None:
    """ "make and open another store in this process": its threads, its connections and its ownership are the parent's.
    What has ended can be read, and leaving the `with` block in the child closes nothing of the parent's."""
    script = f"""
        with {kind} as store:
            execution = flow.create_execution(store=store, id="a")
            print("parent", execution.start(1))
            child(lambda: flow.create_execution(store=store).start(2))
            child(execution.get_result)
            child(lambda: store.__exit__(None, None, None))
            if isinstance(store, SQLiteStore):
                def own():
                    # Python 3.13 warns at exit of the inherited connection, which only the parent may close.
                    warnings.simplefilter("ignore", ResourceWarning)
                    with SQLiteStore("runs.db") as mine:
                        return flow.create_execution(store=mine, id="b").start(5)
                child(own, exit=sys.exit)
                print("parent", flow.create_execution(store=store, id="b").start(5))
            print("parent", flow.create_execution(store=store).start(3))
    """
    lines = run(script, tmp_path)
    assert lines.pop(1).startswith("child: StoreUnavailable")
    sqlite = ["child: 10", "status 0", "parent 10"] if "SQLite" in kind else []
    assert lines == [
        "parent 2", "status 0", "child: 2", "status 0", "child: None", "status 0", *sqlite, "parent 6",
    ]  # fmt: skip


def test_a_process_pool_that_forks_runs_flows(tmp_path: Path) -> None:
    """Web servers and process pools fork after the program has begun."""
    script = """
        import multiprocessing

        def work(number):
            return threaded.start(number)

        print("parent", threaded.start(1))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(work, range(4)))
    """
    assert run(script, tmp_path) == ["parent 2", "[0, 2, 4, 6]"]
