"""The in-process driver: performs the commands of one execution on the running asyncio loop.

The shell loop is `submit`: receive, append, perform. Its speed comes from *workers*: a worker is one asyncio task that
runs chunks one after another. A chunk that completes without suspending costs no task of its own, and a chain of chunks
stays in one task throughout. How nothing waits behind a chunk that does suspend:

* runs that may start wait in `ready`, in the order in which the core gave them;
* whoever leaves something in `ready` before running user code schedules `_pump` for the next turn of the loop;
* a worker that gets to the end of its chunk takes the next run from `ready` itself, and `_pump` then finds nothing to
  do; if its chunk has suspended instead, `_pump` runs, and gives every waiting run a worker of its own.

Every chunk starts in the context (contextvars) in which the execution was started: a worker whose chunk has changed a
context variable hands on to a new task.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from itertools import islice
from time import time
from typing import Any, ClassVar

from .._core import commands, events
from .._core.errors import ExecutionClosed
from .._core.machine import Machine
from .._core.state import Opening, RunChunk
from .ports import ChunkPaused, Host, Journal

#: How many chunks a worker runs before it lets the loop turn: a few hundred microseconds.
CHUNKS_PER_TURN = 100

#: The number of the timer that bounds the clean-up of a closing execution; the core's own start at 1.
CLEAN_UP = 0

#: Executions that are running: the event loop itself refers to tasks weakly only.
_running: set["LocalDriver"] = set()


class LocalDriver:
    """Drives one execution on the loop it was created in."""

    __slots__ = (
        "_base",
        "_deadline",
        "_pumping",
        "_ready",
        "_sources",
        "_tasks",
        "_timers",
        "_waits",
        "_yielding",
        "error",
        "host",
        "journal",
        "loop",
        "machine",
    )

    def __init__(self, machine: Machine, journal: Journal, host: Host, *, deadline: float) -> None:
        self.machine = machine
        self.journal = journal
        self.host = host
        self.loop = asyncio.get_running_loop()
        #: the exception that made the execution fail
        self.error: BaseException | None = None
        self._base = copy_context()
        self._deadline = deadline
        self._pumping = False
        self._yielding = False
        self._ready: deque[RunChunk] | None = None
        self._waits: dict[int, asyncio.Future[None]] | None = None
        self._timers: dict[int, asyncio.TimerHandle] | None = None
        self._sources: dict[int, Any] | None = None
        self._tasks: set[asyncio.Task[None]] | None = None
        _running.add(self)

    # -- the shell loop ----------------------------------------------------------------------------------------------

    def submit(self, event: events.Event) -> None:
        """Let the core take a record, keep it, and do what it commands. Raises what `Machine.receive` raises."""
        answer = self.machine.receive(event)
        self.journal.append(event)
        if answer:
            self._perform(answer)

    async def submit_and_settle(self, event: events.Emitted) -> None:
        """Submit a signal; wait if the core says that its emitter has to wait."""
        state = self.machine.state
        number = state.records
        self.submit(event)
        if state.waits and number in state.waits:
            await self._settled(number)

    def _perform(self, answer: list[commands.AnyCommand]) -> None:
        for command in answer:
            if isinstance(command, RunChunk):
                if self._ready is None:
                    self._ready = deque()
                self._ready.append(command)
            elif isinstance(command, commands.Publish):
                self.host.publish(command.number, command.item, command.path)
            else:
                performer = self._PERFORMERS.get(type(command))
                if performer is None:
                    self.host.notice(command)
                else:
                    performer(self, command)
        if self._ready and not self._pumping:
            self._pumping = True
            self.loop.call_soon(self._pump, context=self._base)

    # -- workers -----------------------------------------------------------------------------------------------------

    def start(self, event: events.Started) -> None:
        """Submit the start. Nobody is at work yet, so that every chunk that starts gets a worker at once."""
        answer = self.machine.receive(event)
        self.journal.append(event)
        for command in answer:
            if isinstance(command, RunChunk):
                self._hire(command)
            else:
                self._perform([command])

    def _pump(self) -> None:
        self._pumping = False
        if self._ready and not self._yielding:
            ready, self._ready = self._ready, None
            for run in ready:
                self._hire(run)

    def _hire(self, run: RunChunk) -> None:
        run.handle = self.loop.create_task(self._work(run), context=self._base.copy())

    async def _work(self, run: RunChunk) -> None:
        machine, journal, base = self.machine, self.journal, self._base
        chunks = 0
        while True:
            if self._ready and not self._pumping:
                self._pumping = True
                self.loop.call_soon(self._pump, context=base)
            try:
                value = await self.host.invoke(run)
            except BaseException as error:
                event = self._ended(run, error)
            else:
                event = events.Completed(time(), run.id, value)
                value = None
            try:
                answer = machine.receive(event)
            except ExecutionClosed:  # this chunk outlived the deadline of its execution
                return
            journal.append(event)
            worker, run.handle = run.handle, None
            if len(answer) == 1 and isinstance(answer[0], RunChunk) and not self._ready:
                run = answer[0]
            else:
                if answer:
                    self._perform(answer)
                if not self._ready:
                    return
                run = self._ready.popleft()
            if copy_context() != base:
                self._hire(run)
                return
            run.handle = worker
            chunks += 1
            if chunks % CHUNKS_PER_TURN == 0:
                self._yielding = True
                try:
                    await asyncio.sleep(0)
                finally:
                    self._yielding = False

    def _ended(self, run: RunChunk, error: BaseException) -> events.Event:
        """The record of a chunk that raised. Re-raises what is not the chunk's: exit requests, a destroyed loop."""
        if isinstance(error, GeneratorExit):
            self.lose("its event loop was closed while it ran")
            raise error
        if isinstance(error, asyncio.CancelledError):
            if self.machine.state.closing is None and run.handle.cancelling():
                # Nobody here cancelled this task: the loop is being shut down around us.
                self.submit(events.CancelRequested(time(), "its event loop is shutting down"))
            if self.machine.state.closing is not None:
                return events.Cancelled(time(), run.id)
        if isinstance(error, ChunkPaused):
            return error.event
        info = events.ErrorInfo(type(error).__qualname__, str(error), run.node.name)
        delay = self.host.retry_delay(run, error)
        if delay is not None and self.machine.state.closing is None:
            return events.Failed(time(), run.id, info, delay)
        error.add_note(f"in chunk {run.node.name!r} of {self.host!r}")
        if self.error is None:
            self.error = error
        if isinstance(error, KeyboardInterrupt | SystemExit):
            with contextlib.suppress(ExecutionClosed):
                self.submit(events.Failed(time(), run.id, info))
            raise error
        return events.Failed(time(), run.id, info)

    # -- the other commands ------------------------------------------------------------------------------------------

    def _cancel_run(self, command: commands.CancelRun) -> None:
        if not self._timers or CLEAN_UP not in self._timers:
            self._set_timer(CLEAN_UP, self._deadline, self._abandon)
        run = command.run
        if run.handle is not None:
            run.handle.cancel()
            return
        # It has not started yet.
        if self._ready:
            self._ready = deque(waiting for waiting in self._ready if waiting is not run)
        self.submit(events.Cancelled(time(), run.id))

    def _abandon(self) -> None:
        with contextlib.suppress(ExecutionClosed):
            self.submit(events.Abandoned(time()))

    def _set_timer(self, number: int, delay: float, then: Callable[..., None], *args: Any) -> None:
        if self._timers is None:
            self._timers = {}
        self._timers[number] = self.loop.call_later(max(0.0, delay), then, *args)

    def _start_timer(self, command: commands.StartTimer) -> None:
        self._set_timer(command.timer, command.due - time(), self._timer_fired, command.timer)

    def _timer_fired(self, number: int) -> None:
        if self._timers:
            self._timers.pop(number, None)
        self.submit(events.TimerFired(time(), number))

    def _cancel_timer(self, command: commands.CancelTimer) -> None:
        timer = (self._timers or {}).pop(command.timer, None)
        if timer is not None:
            timer.cancel()

    def _pull(self, command: commands.Pull) -> None:
        if self._tasks is None:
            self._tasks = set()
        task = self.loop.create_task(self._take(command.opening, command.count), context=self._base.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, opening: Opening, count: int) -> None:
        """Take the next items of a lazy source: all there is room for from a sync one, one by one from an async one."""
        if self._sources is None:
            self._sources = {}
        items: list[Any] = []
        try:
            source = self._sources.get(opening.id)
            if source is None:
                source = opening.source
                source = aiter(source) if hasattr(source, "__aiter__") else iter(source)
                self._sources[opening.id] = source
            if hasattr(source, "__anext__"):
                items.append(await anext(source))
            else:
                items.extend(islice(source, count))
                if len(items) < count:
                    raise StopAsyncIteration
            event: events.Event = events.Pulled(time(), opening.id, items)
        except StopAsyncIteration:
            self._sources.pop(opening.id, None)
            event = events.Pulled(time(), opening.id, items, done=True)
        except Exception as error:
            error.add_note(f"in the items of {opening.node.id!r} of {self.host!r}")
            self.error = self.error or error
            event = events.PullFailed(time(), opening.id, events.ErrorInfo(type(error).__qualname__, str(error)))
        with contextlib.suppress(ExecutionClosed):
            self.submit(event)

    async def _settled(self, number: int) -> None:
        if self._waits is None:
            self._waits = {}
        future = self._waits[number] = self.loop.create_future()
        try:
            await future
        finally:
            self._waits.pop(number, None)

    def _settle(self, command: commands.Settle) -> None:
        future = (self._waits or {}).get(command.wait)
        if future is not None and not future.done():
            future.set_result(None)

    def _close(self, command: commands.Close) -> None:
        for timer in (self._timers or {}).values():
            timer.cancel()
        self._timers = self._sources = None
        for task in self._tasks or ():
            task.cancel()
        for future in (self._waits or {}).values():
            if not future.done():
                future.set_result(None)
        _running.discard(self)
        self.host.closed(command, self.error)

    def lose(self, reason: str) -> None:
        """The loop is gone: record it, so that everybody who waits elsewhere is told."""
        tasks: list[Any] = [run.handle for run in self.machine.state.runs.values() if run.handle is not None]
        with contextlib.suppress(ExecutionClosed):
            if self.machine.state.closing is None:
                self.machine.receive(events.CancelRequested(time(), reason))
            answer = self.machine.receive(events.Abandoned(time()))
            for command in answer:
                if isinstance(command, commands.Close):
                    _running.discard(self)
                    self.host.closed(command, self.error)
        for task in tasks:
            # The task can never run again; that it is destroyed while pending is known, and told above.
            task._log_destroy_pending = False  # noqa: SLF001
            with contextlib.suppress(Exception):
                task.get_coro().close()

    _PERFORMERS: ClassVar[dict[type[Any], Callable[[Any, Any], None]]] = {
        commands.CancelRun: _cancel_run,
        commands.StartTimer: _start_timer,
        commands.CancelTimer: _cancel_timer,
        commands.Pull: _pull,
        commands.Settle: _settle,
        commands.Close: _close,
    }
