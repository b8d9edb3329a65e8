"""Requests between real processes that are killed at random: each is done exactly once, or told to have failed."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests import soak
from tests.durable.elsewhere_process import LEASE, desk
from tests.support import kill
from triggerflow._core import events
from triggerflow.stores import SQLiteStore

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = ("emit", "settle", "append", "put")
#: How many requests a caller makes at a time.
AT_ONCE = 20


class World:
    """Two owners and two callers over one file; whoever is killed is replaced."""

    def __init__(self, path: Path, *, requests: int, executions: int, seed: int, pace: int = 30) -> None:
        self.path = path
        self.random = Random(seed)
        self.ids = [f"desk-{number}" for number in range(executions)]
        #: the requests that were not made yet
        self.left = [self._request(number) for number in range(requests)]
        self.told: dict[str, str | None] = {}
        #: the requests whose caller was killed before it was told anything
        self.unknown: set[str] = set()
        self.killed = 0
        #: about how many requests are told of between two kills, and after how many the next one comes
        self.pace, self._next = pace, pace
        #: who can be killed
        self._victims: set[Process] = set()

    def _request(self, number: int) -> dict[str, Any]:
        drawn = self.random
        return {
            "token": f"t{number}",
            "id": drawn.choice(self.ids),
            "kind": drawn.choice(KINDS),
            "attach": drawn.random() < 0.5,
        }

    async def start(self, role: str) -> Process:
        """Start a process; returns when it is ready."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.durable.elsewhere_process", str(self.path), role),
            cwd=ROOT,
            stdin=PIPE,
            stdout=PIPE,
        )
        assert process.stdout is not None
        try:
            await process.stdout.readline()
        except BaseException:
            kill(process)
            await process.wait()
            raise
        return process

    async def caller(self, kills: bool) -> None:
        """The lives of one caller, until no request is left."""
        while self.left:
            process = await self.start("caller")
            if kills:
                self._victims.add(process)
            open_here: set[str] = set()
            await self._talk(process, open_here)
            self.unknown |= open_here
            assert process.stdin is not None
            process.stdin.close()  # it ends, unless it was killed
            await process.wait()
            self._victims.discard(process)

    async def _talk(self, process: Process, open_here: set[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        while self.left or open_here:
            while self.left and len(open_here) < AT_ONCE:
                asked = self.left.pop()
                open_here.add(asked["token"])
                process.stdin.write(json.dumps(asked).encode() + b"\n")
            line = await process.stdout.readline()
            if not line.endswith(b"\n"):
                return
            told = json.loads(line)
            open_here.discard(told["token"])
            self.told[told["token"]] = told.get("error") and f"{told['error']}: {told['message']}"
            self._kill_one()

    async def owner(self) -> None:
        """The lives of one owner."""
        while True:
            process = await self.start("owner")
            self._victims.add(process)
            try:
                await process.wait()
            finally:
                self._victims.discard(process)
                assert process.stdin is not None
                process.stdin.close()
                await process.wait()

    def _kill_one(self) -> None:
        """Kill a process, if it is time to."""
        if len(self.told) >= self._next and self._victims:
            victim = self.random.choice(sorted(self._victims, key=lambda it: it.pid))
            self._victims.discard(victim)
            kill(victim)
            self.killed += 1
            self._next = len(self.told) + self.random.randrange(1, 2 * self.pace)

    async def run(self) -> None:
        """Create the executions, and make all requests."""
        async with SQLiteStore(self.path, synchronous="NORMAL", lease=LEASE) as store:
            for id in self.ids:
                await desk().create_execution(store=store, id=id).async_begin()
        owners = [asyncio.create_task(self.owner()) for _ in range(2)]
        try:
            while len(self._victims) < len(owners):  # noqa: ASYNC110 - they have to be there, so that they can be killed
                await asyncio.sleep(0.01)
            await asyncio.gather(self.caller(kills=True), self.caller(kills=False))
        finally:
            for task in owners:
                task.cancel()
            await asyncio.gather(*owners, return_exceptions=True)

    async def done(self) -> Counter[str]:
        """How often each request was done, out of the journals."""
        found = Counter[str]()
        async with SQLiteStore(self.path, synchronous="NORMAL", lease=LEASE) as store:
            history = desk().history(store)
            for id in self.ids:
                async for _, record in history.journal(id):
                    match record:
                        case events.Emitted(value=str(token)) | events.StateChanged(value=str(token)):
                            found[token] += 1
                        case events.StreamPut(item=["put", str(token)]):
                            found[token] += 1
                        case _:
                            pass
        return found


@pytest.mark.real_time
@pytest.mark.timeout(300)
@pytest.mark.seeds(1, 2)
async def test_each_request_is_done_once_or_told_to_have_failed(tmp_path: Path, seed: int) -> None:
    """ "10,000 requests with random kills of either side: each done exactly once or told to have failed" """
    requests, executions, pace = (10_000, 60, 60) if soak.is_soak() else (300, 6, 30)
    world = World(tmp_path / "runs.db", requests=requests, executions=executions, seed=seed, pace=pace)
    await world.run()
    done = await world.done()
    twice = {token: count for token, count in done.items() if count > 1}
    assert twice == {}
    lost = [token for token, error in world.told.items() if error is None and not done[token]]
    assert lost == []
    failed = {token: error for token, error in world.told.items() if error is not None}
    assert all("StoreUnavailable" in error or "StoreConflict" in error for error in failed.values()), failed
    assert len(world.told) + len(world.unknown) == requests
    assert len(failed) + len(world.unknown) < requests / 2
    assert world.killed >= (10 if soak.is_soak() else 1)  # a kill waits until a process is there that can be killed
