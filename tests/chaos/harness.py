"""Submits executions, answers their questions, and does all the harm to the worker processes that it can think of.

Processes are killed, stopped for longer than their lease and continued, and told to end in order. The file of the store
is locked for longer than the workers wait. In the end every execution must have completed, with exactly the result, the
state and the stream items of an undisturbed one, and nothing may have an owner, an open question or an open request.
"""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support import kill
from triggerflow.errors import StoreError, TriggerFlowError
from triggerflow.stores.protocol import FINAL_STATUSES

from .flows import NAME, answer_to, make, result_of, stream_of
from .stores import open_store

ROOT = Path(__file__).parents[2]

#: If no execution ends for so many seconds after the harm is over, the test has failed.
STALLED_SECONDS = 60.0


class Chaos:
    """One run of the test. `seconds` is how long the harm lasts; the random choices follow from `seed`."""

    def __init__(
        self, store: str, *, executions: int, workers: int, seconds: float, seed: int, lease: float = 2.0
    ) -> None:
        self.store, self.executions, self.workers, self.seconds, self.lease = store, executions, workers, seconds, lease
        self.random = random.Random(seed)
        self.flow = make()
        self.done: dict[str, int] = {}
        self.harm = Counter[str]()
        self.wrong: list[str] = []
        self.processes: list[asyncio.subprocess.Process] = []
        self.answered = 0
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Run it. What is wrong is in `wrong` then."""
        async with open_store(self.store, 30.0) as store:
            self.processes = list(await asyncio.gather(*(self.begin() for _ in range(self.workers))))
            tasks = [asyncio.create_task(it) for it in (self.submit(store), self.answer(store))]
            harm = asyncio.create_task(self.hurt())
            try:
                await self.wait_until_done(store)
            finally:
                self.over.set()
                for task in tasks:
                    task.cancel()
                # The harm ends by itself: cancelled, it would leave a killed process in the place of its successor.
                for result in await asyncio.gather(harm, *tasks, return_exceptions=True):
                    if isinstance(result, Exception):
                        self.wrong.append(f"the harness has failed: {result!r}")
                await self.end_processes()
            await self.verify(store)

    # -- the processes -----------------------------------------------------------------------------------------------

    async def begin(self) -> asyncio.subprocess.Process:
        """Start a worker, and wait until it works."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.worker", self.store, str(self.lease),
            stdout=asyncio.subprocess.PIPE, stderr=None if os.environ.get("CHAOS_LOG") else asyncio.subprocess.DEVNULL,
            cwd=ROOT,
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    async def end_processes(self) -> None:
        """End all workers in order: each has to exit with 0."""
        for process in self.processes:
            kill(process, signal.SIGCONT)
            kill(process, signal.SIGTERM)
        for process in self.processes:
            try:
                code = await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                kill(process)
                code = "none, it had to be killed"
            if code != 0:
                self.wrong.append(f"a worker that was told to end has the exit code {code}")

    async def hurt(self) -> None:
        """Do one thing after the other, until the time is over."""
        ways = [self.kill, self.kill, self.stop, self.drain, *([] if "://" in self.store else [self.lock])]
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and not self.over.is_set():
            await asyncio.sleep(self.random.uniform(0.1, 1.0))
            way = self.random.choice(ways)
            self.harm[way.__name__] += 1
            await way(self.random.randrange(len(self.processes)))
        self.over.set()

    async def kill(self, index: int) -> None:
        """Kill a worker, and start another one."""
        kill(self.processes[index])
        await self.processes[index].wait()
        self.processes[index] = await self.begin()

    async def stop(self, index: int) -> None:
        """Stop a worker for longer than its lease, and let it go on."""
        kill(self.processes[index], signal.SIGSTOP)
        await asyncio.sleep(self.lease * self.random.uniform(1.2, 1.8))
        kill(self.processes[index], signal.SIGCONT)

    async def drain(self, index: int) -> None:
        """End a worker in order, and start another one."""
        process = self.processes[index]
        kill(process, signal.SIGTERM)
        if await process.wait() != 0:
            self.wrong.append(f"a worker that was told to end has the exit code {process.returncode}")
        self.processes[index] = await self.begin()

    async def lock(self, index: int) -> None:
        """Lock the file for longer than a worker waits for it."""

        def hold() -> None:
            with contextlib.closing(sqlite3.connect(self.store, timeout=5, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(0.8)

        with contextlib.suppress(sqlite3.OperationalError):
            await asyncio.to_thread(hold)

    # -- the executions ----------------------------------------------------------------------------------------------

    async def submit(self, store: Any) -> None:
        """Submit all executions, over half of the time."""
        for number in range(self.executions):
            while True:
                try:
                    await self.flow.async_submit(number, store=store, id=f"run-{number}", reuse="existing")
                    break
                except StoreError:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(self.seconds / 2 / self.executions)

    async def answer(self, store: Any) -> None:
        """Answer the questions, whoever runs the execution, or nobody."""
        answering = dict[str, asyncio.Task[None]]()
        try:
            while True:
                with contextlib.suppress(StoreError):
                    for question in await store.questions(limit=200):
                        if question.root not in answering and len(answering) < 50:
                            task = asyncio.create_task(self._answer(store, question.root))
                            answering[question.root] = task
                            task.add_done_callback(lambda _, root=question.root: answering.pop(root))
                await asyncio.sleep(0.05)
        finally:
            for task in answering.values():
                task.cancel()
            await asyncio.gather(*answering.values(), return_exceptions=True)

    async def _answer(self, store: Any, root: str) -> None:
        number = int(root.removeprefix("run-"))
        try:
            async with asyncio.timeout(20):
                execution = await self.flow.async_attach(root, store=store)
                for name in execution.get_pending_interrupts():
                    await execution.async_continue_with(name, answer_to(number), request_id=root)
                    self.answered += 1
        except (TriggerFlowError, TimeoutError) as error:  # it is tried again
            self.harm[f"answers tried again ({type(error).__name__})"] += 1

    async def wait_until_done(self, store: Any) -> None:
        """Wait until all executions have ended."""
        last, changed = -1, time.monotonic()
        while True:
            with contextlib.suppress(StoreError):
                self.done = dict((await store.counts()).get(NAME, {}))
                ended = sum(self.done.get(status, 0) for status in FINAL_STATUSES)
                if ended == self.executions:
                    return
                if ended != last or not self.over.is_set():
                    last, changed = ended, time.monotonic()
                if time.monotonic() > changed + STALLED_SECONDS:
                    self.wrong.append(f"nothing has ended for {STALLED_SECONDS:g} s: {dict(self.done)}")
                    return
            await asyncio.sleep(0.2)

    async def verify(self, store: Any) -> None:
        """Compare every execution with an undisturbed one."""
        history = self.flow.history(store)
        for number in range(self.executions):
            id = f"run-{number}"
            row = await store.find(id)
            if row is None or row.status != "completed":
                self.wrong.append(f"{id} is {None if row is None else (row.status, row.owner is not None, row.error)}")
                continue
            tree = [row, *await store.executions(parent=id)]
            left = [(it.id, it.status) for it in tree if it.owner is not None or it.status not in FINAL_STATUSES]
            if left or row.questions:
                self.wrong.append(f"{id} has left {left}, and {row.questions} open questions")
            execution = await self.flow.async_resume(id, store=store)
            result = await execution.async_get_result()
            if result != result_of(number):
                self.wrong.append(f"{id} has the result {result}, not {result_of(number)}")
            items = sorted([it async for it in history.stream(id) if isinstance(it, str)])
            if items != stream_of(number):
                extra, lost = Counter(items) - Counter(stream_of(number)), Counter(stream_of(number)) - Counter(items)
                self.wrong.append(f"{id} has too many items {dict(extra)}, and lacks {dict(lost)}")
