"""A process is killed while it retries an execution; a worker of another process runs it to the end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.durable import retry_process
from tests.durable.retry_process import ID, ITEMS, flow_for
from triggerflow.stores import SQLiteStore


def process(tmp_path: Path, mode: str) -> int:
    command = [sys.executable, retry_process.__file__, str(tmp_path / "runs.db"), str(tmp_path / "log"), mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.real_time
@pytest.mark.timeout(180)
@pytest.mark.parametrize("killed", ["reopened", "running"])
async def test_a_retry_goes_on_after_a_kill(tmp_path: Path, killed: str) -> None:
    assert process(tmp_path, "fail") == 0
    assert process(tmp_path, killed) == -signal.SIGKILL
    async with SQLiteStore(tmp_path / "runs.db") as store:
        row = await store.find(ID)
        assert row is not None
        assert row.status == "running"
    assert process(tmp_path, "finish") == 0
    flow = flow_for("finish", tmp_path / "log")
    async with SQLiteStore(tmp_path / "runs.db") as store:
        history = flow.history(store)
        assert (await history.state_at(ID)).result == [number * 10 for number in range(ITEMS)]
        assert [item async for item in history.stream(ID)] == list(range(ITEMS))
        kinds = [type(record).__name__ async for _, record in history.journal(ID)]
        assert kinds.count("Retried") == 1
    ran = (tmp_path / "log").read_text().splitlines()
    assert [line for line in ran if line.startswith("first")] == ["first 1"]  # it had completed before the failure
    assert [line for line in ran if line.startswith("item 1 ")] == ["item 1 1"]
