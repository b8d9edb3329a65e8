"""The outside world of the process that is killed: it sends the work, notes what was acknowledged, and kills.

`World` lives through all kills. What was not acknowledged is sent again in the next life, under the same ids. A life
ends at a random moment: while the process starts up and takes over, some time later, or just as it acknowledges
something.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Any

from tests.support import kill
from triggerflow.stores import Store

from .place import open_store
from .workload import Expected, answer_to

ROOT = Path(__file__).resolve().parent.parent.parent

#: How long the work may take after the last kill, in seconds.
PATIENCE = 300.0
#: What may be refused because it comes late: an execution that has ended takes nothing any more.
LATE = {"note": "ExecutionClosed", "answer": "ExecutionClosed"}


@dataclass
class Acknowledged:
    """What the process has promised, by execution id where that is what it is about."""

    starts: set[str] = field(default_factory=set)
    answers: dict[tuple[str, str], int] = field(default_factory=dict)
    notes: set[tuple[str, str]] = field(default_factory=set)
    results: dict[str, Any] = field(default_factory=dict)
    #: records and the digest of the state after them
    states: set[tuple[str, int, str]] = field(default_factory=set)
    #: stream items by number, as readers got them
    items: dict[str, list[Any]] = field(default_factory=dict)

    def count(self) -> int:
        """How many promises there are."""
        items = sum(len(items) for items in self.items.values())
        return len(self.starts) + len(self.answers) + len(self.notes) + len(self.results) + len(self.states) + items


class World:
    """Sends work to one process after the other, and kills each but the last."""

    def __init__(
        self,
        place: str,
        *,
        executions: int,
        rounds: int,
        kills: int,
        seed: int,
        synchronous: str,
        life: float = 0.4,
        restarts: int = 0,
        restart: Callable[[], None] = lambda: None,
        workers: int = 1,
    ) -> None:
        """A process lives for up to `life` seconds after it was ready. Of `workers` processes that work at the same
        time, the world talks to one; the others are killed, too.

        `restart` is called `restarts` times in between: it restarts the database.
        """
        self.place, self.rounds, self.kills, self.synchronous = place, rounds, kills, synchronous
        self._restart = restart
        self._most = life
        #: after how many kills the database is restarted, or in the next life that is long enough
        self._restarts = {(number + 1) * kills // (restarts + 1) for number in range(restarts)}
        self.restarted = 0
        self.restarting = False
        self.random = Random(seed)
        self.values = {f"work-{n}": n for n in range(executions)}
        self.acknowledged = Acknowledged()
        #: what is wrong, one line each
        self.wrong: list[str] = []
        self.killed = 0
        #: kills before the process was ready
        self.killed_early = 0
        #: the processes that work beside the one that the world talks to, and how many of them were killed
        self._beside: list[Process] = []
        self._workers, self.killed_beside = workers, 0
        #: seconds from the start of a process until it had taken over
        self.ready_after: list[float] = []
        self.done: set[str] = set()
        self.refused = 0
        #: notes that were sent, acknowledged or not, with how often
        self.notes_sent: dict[tuple[str, str], int] = {}
        self._no = 0
        self._sent: dict[int, dict[str, Any]] = {}
        self._released = 0.0
        self._inputs = executions + sum(Expected(n, rounds).answers for n in self.values.values())
        #: of these a client reads the stream, and of these one waits for the result from the start
        self._followed = set(self.random.sample(sorted(self.values), max(1, executions // 8)))
        self._awaited = set(self.random.sample(sorted(self.values), max(1, executions // 8)))
        #: when to look again, by id; and whose clients are connected in this life
        self._again: dict[str, float] = {}
        self._connected: set[str] = set()
        self._notes: list[tuple[str, str]] = []
        self._seen: dict[str, list[Any]] = {}

    # -- lives -------------------------------------------------------------------------------------------------------

    async def run(self, progress: Callable[["World"], None] = lambda world: None) -> None:
        """Kill as often as agreed, then let the work be finished. `progress` is called after each kill."""
        async with open_store(self.place) as watched:
            self._beside = [await self._begin() for _ in range(self._workers - 1)]
            harm = asyncio.create_task(self._kill_beside())
            try:
                while self.killed < self.kills:
                    self._released = self._inputs * (self.killed + 1) / max(1, 0.95 * self.kills)
                    await self._life(watched, last=False)
                    self.killed += 1
                    progress(self)
                self._released = float("inf")
                harm.cancel()
                await asyncio.gather(harm, return_exceptions=True)
                await self._life(watched, last=True)
            finally:
                harm.cancel()
                for process in self._beside:
                    kill(process)
                    await process.wait()

    async def _begin(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash.worker", self.place, str(self.rounds), self.synchronous),
            cwd=ROOT,
            stdin=PIPE,
            stdout=PIPE,
            limit=1 << 20,
        )

    async def _kill_beside(self) -> None:
        """Kill one of the other processes after the other, and start another one in its place."""
        while self._beside:
            await asyncio.sleep(self.random.uniform(0, 4 * self._most))
            process = self.random.choice(self._beside)
            if process.returncode is not None:
                self.wrong.append(f"a process beside ended by itself with code {process.returncode}")
            else:
                kill(process)
                self.killed_beside += 1
            await process.wait()
            self._beside[self._beside.index(process)] = await self._begin()

    async def _life(self, watched: Store, *, last: bool) -> None:
        begun = time.monotonic()
        process = await self._begin()
        self._sent.clear()
        ready, self._armed = asyncio.Event(), False
        listening = asyncio.create_task(self._listen(process, ready))
        sending = asyncio.create_task(self._send(process, watched, ready))
        listening.add_done_callback(lambda _: sending.cancel())
        restarting = asyncio.create_task(self._restart_database(ready))
        try:
            if last:
                await self._finish(process, sending)
            else:
                await self._moment(begun, ready)
                if self.restarted % 2:  # it lives on for a moment after the restart
                    await restarting
                    await asyncio.sleep(self.random.uniform(0, 1))
                if process.returncode not in (None, -SIGKILL):
                    self.wrong.append(f"the process ended by itself with code {process.returncode}")
                self.killed_early += not ready.is_set()
        finally:
            kill(process)
            sending.cancel()
            await asyncio.gather(listening, sending, process.wait(), return_exceptions=True)
            if not self.restarting:
                restarting.cancel()
            await asyncio.gather(restarting, return_exceptions=True)
        for task in (listening, sending):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if ready.is_set():
            self.ready_after.append(self._ready_at - begun)

    async def _restart_database(self, ready: asyncio.Event) -> None:
        """Restart the database during this life, if that is planned."""
        if self._restarts and min(self._restarts) <= self.killed:
            await ready.wait()
            await asyncio.sleep(self.random.uniform(0, 0.3))
            self._restarts.remove(min(self._restarts))
            self.restarted += 1
            self.restarting = True
            try:
                await asyncio.to_thread(self._restart)
            finally:
                self.restarting = False

    async def _moment(self, begun: float, ready: asyncio.Event) -> None:
        """Wait for the moment of the kill."""
        usual = sorted(self.ready_after)[len(self.ready_after) // 2] if self.ready_after else 0.5
        kind = self.random.random()
        if kind < 0.25:  # while it starts, reads what there is, and takes over
            until = begun + self.random.uniform(0.5, 1.2) * usual
            await asyncio.sleep(max(0.0, until - time.monotonic()))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                await ready.wait()
        if not ready.is_set():
            self.wrong.append("the process was not ready after 30 s")
            return
        await asyncio.sleep(self.random.uniform(0, self._most))
        if kind > 0.6:  # just as it promises something: `_listen` kills it
            self._armed = True
            await asyncio.sleep(0.2)

    async def _finish(self, process: Process, sending: "asyncio.Task[None]") -> None:
        """Let it finish, then have it end in an orderly way."""
        try:
            async with asyncio.timeout(PATIENCE):
                await sending
                assert process.stdin is not None
                process.stdin.close()
                code = await process.wait()
                if code:
                    self.wrong.append(f"the last process ended with code {code}")
        except TimeoutError:
            left = sorted(self.values.keys() - self.done)
            self.wrong.append(f"{len(left)} executions had not ended {PATIENCE:g} s after the last kill: {left[:5]}")

    # -- talking -----------------------------------------------------------------------------------------------------

    async def _listen(self, process: Process, ready: asyncio.Event) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            if not raw.endswith(b"\n"):
                return  # the kill cut it off: it was never said
            if self._armed:
                self._armed = False
                kill(process)
            line = json.loads(raw)
            if "ready" in line:
                self._ready_at = time.monotonic()
                ready.set()
            elif "item" in line:
                self._got_item(line)
            else:
                self._heard(self._sent.pop(line["no"]), line)

    def _got_item(self, line: dict[str, Any]) -> None:
        items = self.acknowledged.items.setdefault(line["id"], [])
        if line["item"] != len(items) + 1:
            self.wrong.append(f"{line['id']}: a reader got item {line['item']} after {len(items)}")
        items.append(line["value"])

    def _heard(self, command: dict[str, Any], line: dict[str, Any]) -> None:
        """Something was acknowledged, or refused."""
        do, id, promised = command["do"], command["id"], self.acknowledged
        if "error" in line:
            self.refused += 1
            if do == "note":
                self._notes.remove((id, command["value"]))
            if line["error"] != LATE.get(do):
                self.wrong.append(f"{id}: {do} was refused: {line['error']}: {line['message']}")
            return
        value = line["value"]
        match do:
            case "start":
                promised.starts.add(id)
            case "answer":
                promised.answers[id, command["interrupt"]] = command["value"]
            case "note":
                promised.notes.add((id, command["value"]))
                self._notes.remove((id, command["value"]))
            case "result":
                promised.results[id] = value["result"]
                self.done.add(id)
            case "pending":
                for interrupt, payload in value.items():
                    self._answer(id, interrupt, payload)
            case _:
                pass
        if do in ("state", "result") and "digest" in value:
            promised.states.add((id, value["records"], value["digest"]))

    def _answer(self, id: str, interrupt: str, payload: Any) -> None:
        given = self.acknowledged.answers
        if (id, interrupt) in given:
            self.wrong.append(f"{id}: {interrupt} is open, although its answer was acknowledged")
        if len(given) + len(self.acknowledged.starts) >= self._released:
            return
        request = f"{id}/{interrupt}"
        self._post("answer", id, interrupt=interrupt, value=answer_to(payload), request=request)
        if self.random.random() < 0.1:  # an impatient client
            self._post("answer", id, interrupt=interrupt, value=answer_to(payload), request=request)

    def _post(self, do: str, id: str, **details: Any) -> None:
        self._no += 1
        self._sent[self._no] = {"no": self._no, "do": do, "id": id, **details}
        self._outbox.append(self._sent[self._no])

    async def _send(self, process: Process, watched: Store, ready: asyncio.Event) -> None:
        """Send what there is to do, until everything is done."""
        self._outbox: list[dict[str, Any]] = []
        self._again.clear()
        self._connected.clear()
        await ready.wait()
        assert process.stdin is not None
        for id, value in self._notes:
            self._note(id, value)
        starting: set[str] = set()
        while len(self.done) < len(self.values) or self._sent:
            await self._look(watched, starting)
            if process.stdin.is_closing():  # it is dead; whoever listens finds out
                return
            lines, self._outbox = self._outbox, []
            process.stdin.write(b"".join(json.dumps(command).encode() + b"\n" for command in lines))
            with suppress(ConnectionError):
                await process.stdin.drain()
            await asyncio.sleep(0.02)

    def _connect(self, id: str) -> None:
        """The clients of an execution come back after the process did."""
        self._connected.add(id)
        if id in self._followed:
            self._post("follow", id, after=len(self.acknowledged.items.setdefault(id, [])))
        if id in self._awaited:
            self._post("result", id)

    def _note(self, id: str, value: str) -> None:
        self.notes_sent[id, value] = self.notes_sent.get((id, value), 0) + 1
        self._post("note", id, value=value)

    async def _look(self, watched: Store, starting: set[str]) -> None:
        """Read where the executions stand in the store, and do what the outside would do now."""
        now, promised = time.monotonic(), self.acknowledged
        for id, value in self.values.items():
            if len(promised.starts | starting) + len(promised.answers) >= self._released:
                break
            if id not in promised.starts and id not in starting:
                starting.add(id)
                self._post("start", id, value=value)
        for id in promised.starts - self.done:
            if id not in self._connected:
                self._connect(id)
            if now < self._again.get(id, 0):
                continue
            self._again[id] = now + self.random.uniform(0.1, 0.5)
            row = await watched.find(id)
            if row is None:
                self.wrong.append(f"{id}: its start was acknowledged, and it is not in the store")
                self.done.add(id)
                continue
            await self._watch_items(watched, id)
            if row.status == "completed":
                self._again[id] = float("inf")
                self._post("result", id)
            elif row.status in ("failed", "cancelled"):
                self.wrong.append(f"{id}: {row.status}")
                self.done.add(id)
            else:
                self._post("pending", id)
                if self.random.random() < 0.3:
                    self._post("state", id)
                if self.random.random() < 0.05:
                    value = f"note {len(self.notes_sent)}"
                    self._notes.append((id, value))
                    self._note(id, value)

    async def _watch_items(self, watched: Store, id: str) -> None:
        """Read on in the stream from this process, as a server beside the worker would."""
        seen = self._seen.setdefault(id, [])
        for number, data in await watched.items(id, after=len(seen)):
            if number != len(seen) + 1:
                self.wrong.append(f"{id}: the store gave item {number} after {len(seen)}")
            seen.append(data)

    @property
    def watched_items(self) -> dict[str, list[bytes]]:
        """The records of stream items, as this process read them from the store between the kills."""
        return self._seen
