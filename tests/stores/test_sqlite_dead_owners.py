"""What a dead process had is free at once, where its death can be proved; else after its lease."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from tests.durable.brief import asking
from triggerflow._core.errors import ExecutionLeased
from triggerflow.stores import SQLiteStore, processes

PROGRAM = textwrap.dedent("""
    import asyncio, sys
    from triggerflow.stores import SQLiteStore
    from triggerflow.testing.stores import new

    async def main():
        async with SQLiteStore(sys.argv[1]) as store:
            await store.append([new("x")])
            print(store.owner, flush=True)
            await asyncio.sleep(60)

    asyncio.run(main())
""")

#: Begins an execution of `asking`, which waits for an answer.
BEGIN = textwrap.dedent("""
    import asyncio, sys
    from tests.durable.brief import asking
    from triggerflow.stores import SQLiteStore

    async def main():
        async with SQLiteStore(sys.argv[1]) as store:
            execution = asking().create_execution(store=store, id="x")
            await execution.async_begin("sails")
            await execution.async_settled()
            print(store.owner, flush=True)
            await asyncio.sleep(60)

    asyncio.run(main())
""")

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns/time").exists(), reason="only Linux tells of processes")


def started(path: Path, program: str = PROGRAM) -> tuple["subprocess.Popen[str]", str]:
    """A process that has the execution "x", and its owner."""
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with closing(process.stdout):
        return process, process.stdout.readline().strip()


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "a zombie"])
async def test_what_a_killed_process_had_is_free_at_once(tmp_path: Path, reaped: bool) -> None:
    path = tmp_path / "runs.db"
    process, owner = started(path)
    try:
        async with SQLiteStore(path) as store:
            with pytest.raises(ExecutionLeased):
                await store.claim("x")
            assert not processes.has_ended(owner)
            process.kill()
            if reaped:
                process.wait()
            else:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
            assert (await store.claim("x")).owner == store.owner
    finally:
        process.kill()
        process.wait()


async def test_a_process_that_only_sleeps_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    process, _ = started(path)
    try:
        process.send_signal(signal.SIGSTOP)
        async with SQLiteStore(path) as store:
            with pytest.raises(ExecutionLeased):
                await store.claim("x")
    finally:
        process.kill()
        process.wait()


def test_a_number_that_is_used_again_is_another_process() -> None:
    mine = f"host/{processes.this_process()}/0a1b2c3d"
    assert not processes.has_ended(mine)
    place, _, start = mine.split("/")[2].partition("-")
    assert processes.has_ended(f"host/{os.getpid()}/{place}-{int(start) + 1}/0a1b2c3d")


def test_nothing_is_proved_of_a_process_elsewhere() -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, check=True)
    number, place = int(gone.stdout), processes.this_process().split("/")[1]
    assert processes.has_ended(f"host/{number}/{place}/0a1b2c3d")
    assert not processes.has_ended(f"host/{number}/{'0' * 12}-17/0a1b2c3d")
    assert not processes.has_ended(f"host/{number}/-/0a1b2c3d")
    assert not processes.has_ended(f"host/{number}/0a1b2c3d")


async def test_what_a_killed_process_had_is_free_after_a_compaction(tmp_path: Path) -> None:
    """Compacting needs the ownership for a moment. Whoever only tidies up must not keep it."""
    path = tmp_path / "runs.db"
    process, owner = started(path, BEGIN)
    process.kill()
    process.wait()
    async with SQLiteStore(path) as store:
        row = await store.find("x")
        assert row is not None
        assert row.owner == owner, "its lease has not ended"
        await asking().history(store).compact("x")
        row = await store.find("x")
        assert row is not None
        assert row.owner is None
