"""The in-process driver: performs the commands of one execution on the running asyncio loop.

The shell loop is `submit`: receive, append, perform. Its speed comes from *workers*: a worker is one asyncio task that
runs chunks one after another. A chunk that completes without suspending costs no task of its own, and a chain of chunks
stays in one task throughout. How nothing waits behind a chunk that does suspend:

* runs that may start wait in `ready`, in the order in which the core gave them;
* whoever leaves something in `ready` before running user code schedules `_pump` for the next turn of the loop;
* a worker that gets to the end of its chunk takes the next run from `ready` itself, and `_pump` then finds nothing to
  do; if its chunk has suspended instead, `_pump` runs and hires workers for what waits: one, two, four ...

Every chunk starts in the context (contextvars) in which the execution was started: a worker whose chunk has changed a
context variable hands on to a new task.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from inspect import CORO_CREATED, getcoroutinestate
from time import time
from typing import Any, ClassVar

from .._core import commands, events
from .._core.errors import ExecutionClosed, InternalError, PayloadError, ProtocolError, UsageError
from .._core.machine import Machine
from .._core.rarely import Rarely
from .._core.state import Opening, RunChunk
from .ports import ChunkPaused, Host, Journal, Receiver
from .raised import describe, noted, own_cancellation
from .ready import Ready
from .sources import Sources
from .tasks import changed, destroy, mark_seen, own_context
from .timers import Timers
from .waits import Waits

#: How many chunks a worker runs before it lets the loop turn: a few hundred microseconds.
CHUNKS_PER_TURN = 100

#: The name of a worker's task: one for all, since asyncio would make one for each.
WORKER = "triggerflow worker"

#: Numbers of the timers that bound the clean-up of a closing execution and of retracted runs; the core's start at 1.
CLEAN_UP, GIVE_UP = 0, -1

#: Executions with chunks at work: the event loop itself refers to tasks weakly only.
#: (A dict, because it takes half the room of a set.)
_running: dict["LocalDriver", None] = {}


def forget(driver: "LocalDriver") -> None:
    """Nothing of this execution is at work any more."""
    _running.pop(driver, None)


class LocalDriver:
    """Drives one execution on the loop it was created in."""

    __slots__ = (
        "_base",
        "_burst",
        "_hired",
        "_pumping",
        "_ready",
        "_yielding",
        "host",
        "journal",
        "loop",
        "machine",
        "rare",
        "receiver",
    )

    #: the exception that made the execution fail
    error: Rarely[BaseException | None] = Rarely(None)
    _waits: Rarely[Waits | None] = Rarely(None)
    _timers: Rarely[Timers | None] = Rarely(None)
    _sources: Rarely[Sources | None] = Rarely(None)

    def __init__(self, machine: Machine, journal: Journal, host: Host, *, receiver: Receiver | None = None) -> None:
        self.machine = machine
        #: who takes records in, and answers with what is to be done now: the machine, or what stands before it
        self.receiver: Receiver = machine if receiver is None else receiver
        self.journal = journal
        self.host = host
        self.loop = asyncio.get_running_loop()
        self.rare: dict[str, Any] | None = None
        self._base = own_context()
        self._pumping = False
        #: workers that have not started yet, and how many to hire next time
        self._hired = 0
        self._burst = 1
        self._yielding = False
        self._ready: Ready | None = None

    # -- the shell loop ----------------------------------------------------------------------------------------------

    def submit(self, event: events.Event) -> None:
        """Let the core take a record, keep it, and do what it commands. Raises what `Machine.receive` raises."""
        answer = self.receiver.receive(event)
        self.journal.append(event)
        if answer:
            first = answer[0]
            if isinstance(first, commands.Publish) and len(answer) == 1:
                self.host.publish(first.number, first.item, first.path)
            else:
                self.perform(answer)

    async def submit_and_settle(self, event: events.Emitted | events.AwaitedAgain) -> bool:
        """Submit a signal, and wait if its emitter has to; False if the execution has ended before that was over."""
        state = self.machine.state
        number = state.records
        self.submit(event)
        if state.waits and number in state.waits:
            return await self._waiting().settled(number)
        return True

    async def without_place(self, run: RunChunk, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait for something outside; the run gives up its places in concurrency limits meanwhile."""
        if not run.limiters:
            await wait()
            return
        state = self.machine.state
        number = state.records
        self.submit(events.Parked(time(), run.id))
        try:
            await wait()
        finally:
            with contextlib.suppress(ExecutionClosed):
                self.submit(events.Unparked(time(), number))
        if state.waits and number in state.waits:
            await self._waiting().settled(number)

    def _waiting(self) -> Waits:
        if self._waits is None:
            self._waits = Waits(self.machine.state, self.submit)
        return self._waits

    def perform(self, answer: list[commands.AnyCommand]) -> None:
        """Do what the core commands."""
        for command in answer:
            if isinstance(command, RunChunk):
                if self._ready is None:
                    self._ready = Ready()
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
            self.loop.call_soon(self._pump, context=self._base.copy())

    # -- workers -----------------------------------------------------------------------------------------------------

    def start(self, event: events.Started) -> None:
        """Submit the start. A single chunk to start with needs no queue: an execution held waiting stays small."""
        answer = self.receiver.receive(event)
        self.journal.append(event)
        if len(answer) == 1 and isinstance(answer[0], RunChunk) and not self._ready:
            self._hire(answer[0])
            return
        self._pumping = True
        self.perform(answer)
        self._burst = max(1, len(self._ready or ()))
        self._pump()

    def _pump(self) -> None:
        """Hire workers for what is ready, twice as many each time that has to be done again.

        A worker takes the oldest run that is left when it starts, so that runs start in order whoever else takes some
        meanwhile.
        """
        self._pumping = False
        waiting = len(self._ready or ()) - self._hired
        if waiting <= 0:
            self._burst = 1
        elif not self._yielding:
            count = min(waiting, self._burst)
            self._burst *= 2
            self._hired += count
            for _ in range(count):
                self._hire()

    def _hire(self, run: RunChunk | None = None) -> None:
        """A worker that begins with this run, or with the oldest that is left when it starts."""
        _running[self] = None
        task = self.loop.create_task(self._work(run), name=WORKER, context=self._base.copy())
        if run is not None:
            run.handle = task

    async def _work(self, run: RunChunk | None = None) -> None:
        if run is None:
            self._hired -= 1
            run = self._ready.take(self.machine.state) if self._ready else None
            if run is None:
                return
        worker = run.handle = asyncio.current_task()
        error: BaseException | None = None
        chunks = 0
        while True:
            if self._ready and not self._pumping:
                self._pumping = True
                self.loop.call_soon(self._pump, context=self._base.copy())
            try:
                value = await self.host.invoke(run)
            except BaseException as raised:
                error, event = self._ended(run, raised)
            else:
                if worker is not None and worker.cancelling():  # asked to stop, and it returned all the same
                    self.cancelled_from_outside(run)
                event = events.Completed(time(), run.id, value)
            run = self._record(run, event, error)
            value = event = error = None  # a frame that keeps an error is kept by it, too
            if run is None:
                return
            if (copy_context() or self._base) and changed(self._base):
                self._hire(run)
                return
            chunks += 1
            if chunks == CHUNKS_PER_TURN:
                chunks = 0
                run = await self._give_way(run)
                if run is None:
                    return
            run.handle = worker

    def _record(self, run: RunChunk, event: events.Event, error: BaseException | None) -> RunChunk | None:
        """Take in how a run has ended, and do what follows; the run its worker takes next, if there is one for it."""
        try:
            answer = self.receiver.receive(event)
        except Exception as refused:
            instead = self._not_taken(run, event, refused)
            if instead is None:
                return None
            error, event, answer = instead
        self.journal.append(event)
        if error is not None:
            self._keep(error, event, run)
        run.handle = None
        if len(answer) == 1 and isinstance(answer[0], RunChunk) and not self._ready:
            return answer[0]
        if answer:
            self.perform(answer)
        # What others are hired for is left to them: a loop of emits would else grow a worker each turn.
        ready = self._ready
        if ready and len(ready) > self._hired:
            if not ready.stale:
                return ready.popleft()
            following = ready.take(self.machine.state)
            if following is not None:
                return following
        if self.machine.state.idle():
            forget(self)
        return None

    async def _give_way(self, run: RunChunk) -> RunChunk | None:
        """Let the loop turn once. The run goes back to its place in the queue, so that none starts before it."""
        if self._ready is None:
            self._ready = Ready()
        self._ready.appendleft(run)
        self._yielding = True
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled_from_outside(run)
            raise
        finally:
            self._yielding = False
        return self._ready.take(self.machine.state) if self._ready else None

    def _ended(self, run: RunChunk, error: BaseException) -> tuple[BaseException | None, events.Event]:
        """The record of a chunk that raised, and the error it fails with, if it does.

        Re-raises what is not the chunk's: exit requests, a destroyed loop.
        """
        if isinstance(error, GeneratorExit):
            self.lose("its event loop was closed while it ran")
            raise error
        if isinstance(error, asyncio.CancelledError):
            if run.handle.cancelling():
                self.cancelled_from_outside(run)
            if self.machine.state.closing is not None or run.id in (self.machine.state.retracted or ()):
                return None, events.Cancelled(time(), run.id)
            error = own_cancellation(run, error)
        if isinstance(error, ChunkPaused):
            return None, error.event
        event = events.Failed(time(), run.id, describe(error, run.node.name))
        if isinstance(error, KeyboardInterrupt | SystemExit):
            with contextlib.suppress(ExecutionClosed):
                self.submit(event)
                self._keep(error, event, run)
            # The loop passes it on to whoever runs it; that nobody awaits this task is not a second story.
            run.handle.add_done_callback(mark_seen)
            raise error
        if self.machine.state.closing is None:
            event.retry_in = self.host.retry_delay(run, error)
        return error, event

    def _not_taken(
        self, run: RunChunk, event: events.Event, refused: Exception
    ) -> tuple[BaseException | None, events.Event, list[commands.AnyCommand]] | None:
        """What is recorded in place of a chunk's end that was not taken; None if there is nothing left to record."""
        try:
            asks_wrong = isinstance(refused, ProtocolError | UsageError) and isinstance(event, events.Paused)
            if (asks_wrong and not isinstance(refused, ExecutionClosed)) or isinstance(refused, PayloadError):
                # A question that is open already or no question, or a value that is no record: the chunk's own fault.
                error, event = self._ended(run, refused)
                return error, event, self.receiver.receive(event)
        except ExecutionClosed as closed:
            refused = closed
        if not isinstance(refused, ExecutionClosed):  # else this chunk outlived its execution
            self._abort(refused, run)
        return None

    def _abort(self, bug: Exception, run: RunChunk) -> None:
        """The core broke its own rules: nobody shall wait for what it will never say."""
        self.error = InternalError(f"the engine failed after chunk {run.node.name!r}; please report this: {bug!r}")
        self.error.__cause__ = bug
        for other in self.machine.state.runs.values():
            if other.handle is not None and other is not run:
                other.handle.cancel()
        self.perform(self.machine.abort(describe(self.error, run.node.name)))

    def _keep(self, error: BaseException, event: events.Event, run: RunChunk) -> None:
        """The first error that fails the execution is what its waiters get, with a note of where it happened."""
        if isinstance(event, events.Failed) and self.machine.state.error is event.error:
            self.error = noted(error, f"in chunk {run.node.name!r} of {self.host!r}")

    def cancelled_from_outside(self, run: RunChunk) -> None:
        """If somebody cancelled the worker's task, and not this driver, the execution ends as cancelled."""
        if run.id in (self.machine.state.retracted or ()):
            run.handle.uncancel()
        elif self.machine.state.closing is None:
            reason = f"the task of chunk {run.node.name!r} was cancelled: its loop shuts down, or the chunk did it"
            self.submit(events.CancelRequested(time(), reason))

    # -- the other commands ------------------------------------------------------------------------------------------

    def _cancel_run(self, command: commands.CancelRun) -> None:
        closing = self.machine.state.closing is not None
        if (CLEAN_UP if closing else GIVE_UP) not in (self._timers or ()):  # it is the first of those to be stopped
            self._set_timer(CLEAN_UP if closing else GIVE_UP, self.host.deadline, self._abandon)
            if closing:
                self._waiting().release()
                self.host.closing()
        run = command.run
        if run.handle is not None:
            started = getcoroutinestate(run.handle.get_coro()) != CORO_CREATED
            run.handle.cancel()
            if started:
                return
        # It has not started yet, and never will.
        if self._ready:
            self._ready.stale = True
        self.submit(events.Cancelled(time(), run.id))

    def _abandon(self) -> None:
        with contextlib.suppress(ExecutionClosed, ProtocolError):  # all have stopped by now
            self.submit(events.Abandoned(time()))

    def _set_timer(self, number: int, delay: float, then: Callable[..., None], *args: Any) -> None:
        if self._timers is None:
            self._timers = Timers(self.loop)
        self._timers.set(number, delay, then, *args)

    def _start_timer(self, command: commands.StartTimer) -> None:
        self._set_timer(command.timer, command.due - time(), self._timer_fired, command.timer)

    def _timer_fired(self, number: int) -> None:
        if number in (self.machine.state.timers or ()):  # else it was cancelled, and the command is on its way
            self.submit(events.TimerFired(time(), number))

    def _cancel_timer(self, command: commands.CancelTimer) -> None:
        if self._timers is not None:
            self._timers.cancel(command.timer)

    def _pull(self, command: commands.Pull) -> None:
        if self._sources is None:
            self._sources = Sources()
        task = self.loop.create_task(self._take(self._sources, command), context=self._base.copy())
        self._sources.asked(command.opening, task)

    def _cancel_pull(self, command: commands.CancelPull) -> None:
        if self._sources is not None:
            self._sources.stop(command.opening)

    async def _take(self, sources: Sources, command: commands.Pull) -> None:
        opening = command.opening
        event, error = await sources.answer(opening, command.count)
        if not opening.pulling:  # nobody wants it any more
            return
        with contextlib.suppress(ExecutionClosed):
            try:
                self._blame(opening, error)
                self.submit(event)
            except PayloadError as refused:
                self._blame(opening, refused)
                self.submit(events.PullFailed(time(), opening.id, describe(refused, opening.node.name)))
            if self.machine.state.closing is None:  # it has an error route, or only ended its branch
                self.error = None

    def _blame(self, opening: Opening, error: BaseException | None) -> None:
        if error is not None and self.machine.state.closing is None:
            self.error = noted(error, f"in the items of {opening.node.id!r} of {self.host!r}")

    def _settle(self, command: commands.Settle) -> None:
        self._waiting().settle(command.wait)

    def _close(self, command: commands.Close) -> None:
        self.let_go()
        forget(self)
        self.host.closed(command, self.error)

    def let_go(self) -> None:
        """Give back what is held outside the state: timers, sources, tasks, those who wait."""
        self._ready = None
        if self.rare is None:
            return
        if self._timers is not None:
            self._timers.close()
            self._timers = None
        if self._sources is not None:
            self._sources.close()
            self._sources = None
        if self._waits is not None:
            self._waits.release()

    def lose(self, reason: str) -> None:
        """The loop is gone: record it, so that everybody who waits elsewhere is told."""
        tasks: list[Any] = [run.handle for run in self.machine.state.runs.values() if run.handle is not None]
        answer: list[commands.AnyCommand] = []
        for event in (events.CancelRequested(time(), reason), events.Abandoned(time())):
            with contextlib.suppress(ExecutionClosed):
                answer += self.machine.receive(event)
                self.journal.append(event)
        forget(self)
        for command in answer:
            if isinstance(command, commands.Close):
                self.host.closed(command, self.error)
        destroy(tasks)

    _PERFORMERS: ClassVar[dict[type[Any], Callable[[Any, Any], None]]] = {
        commands.CancelRun: _cancel_run,
        commands.StartTimer: _start_timer,
        commands.CancelTimer: _cancel_timer,
        commands.Pull: _pull,
        commands.CancelPull: _cancel_pull,
        commands.Settle: _settle,
        commands.Close: _close,
    }
