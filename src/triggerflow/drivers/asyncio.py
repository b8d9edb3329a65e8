"""The in-process driver: performs the commands of one execution on the running asyncio loop.

Its speed comes from *workers*: a worker is one asyncio task that runs chunks one after another. A chunk that completes
without suspending needs no task of its own, and a chain of chunks stays in one task. A run must not wait behind a chunk
that suspends:

* runs that may start wait in `_ready`, in the order in which the core gave them;
* a worker that leaves runs in `_ready` when it calls user code schedules `_pump` for the next turn of the loop;
* a worker whose chunk has completed takes the next run from `_ready` itself, and `_pump` finds nothing to do. If the
  chunk has suspended, `_pump` starts new workers for the waiting runs: one, two, four ...

Every chunk starts in the context (contextvars) in which the execution was started. A worker whose chunk has changed a
context variable hands its next run to a new task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING, Any, ClassVar, cast

from .._core import commands, events
from .._core.closing import FINAL
from .._core.commands import AnyCommand, Publish
from .._core.definition import OperatorKind
from .._core.errors import (
    ChunkCancelled,
    ExecutionClosed,
    InternalError,
    MissingResource,
    PayloadError,
    ProtocolError,
    UsageError,
)
from .._core.sparse import SparseAttribute
from .._core.state import BlockInstance, RunChunk
from ..run import tracing
from ..run.dispatch import FieldItems, give_items
from ..run.environment import Environment
from ..run.ingress import fire_timer, submit, take
from ..run.interrupts import ChunkPaused, StepWithoutValue
from ..run.invoke import timed_out
from ..run.runtime import ExecutionRuntime
from .exceptions import describe, noted, own_cancellation, paused_in_group
from .ready import Ready
from .tasks import changed, destroy, mark_seen, own_context, start_task

if TYPE_CHECKING:
    from .sources import Sources
    from .timers import Timers
    from .waits import Waits

#: How many chunks a worker runs before it lets other tasks of the loop run: a few hundred microseconds.
CHUNKS_PER_TURN = 100

#: The name of every worker's task. Without it, asyncio would make a new name for each.
WORKER = "triggerflow worker"

#: The records that say which models an attempt has called.
_ENDS = (events.Completed, events.Failed, events.Cancelled, events.Paused)

#: Numbers of the timers that limit the clean-up of a closing execution, and of retracted runs. The core's start at 1.
CLEAN_UP, RETRACTION_CLEAN_UP = 0, -1

#: Drivers with running chunks. This reference keeps them alive, because the event loop refers to tasks only weakly.
#: (A dict, because it takes half the memory of a set.)
_running: dict[AsyncioDriver, None] = {}


class AsyncioDriver:
    """Drives one execution on the loop it was created on."""

    __slots__ = (
        "_base",
        "_burst",
        "_pumping",
        "_ready",
        "_yielding",
        "loop",
        "rare",
        "runtime",
    )

    #: the exception that made the execution fail
    error: SparseAttribute[BaseException | None] = SparseAttribute(None)
    #: the calls of models of attempts that have ended, by run, until the record of that
    _calls: SparseAttribute[dict[int, tuple[events.ModelCall, ...]] | None] = SparseAttribute(None)
    _waits: SparseAttribute[Waits | None] = SparseAttribute(None)
    _timers: SparseAttribute[Timers | None] = SparseAttribute(None)
    _sources: SparseAttribute[Sources | None] = SparseAttribute(None)

    def __init__(self, runtime: ExecutionRuntime) -> None:
        self.runtime = runtime
        self.loop = asyncio.get_running_loop()
        self.rare: dict[str, Any] | None = None
        self._base = own_context()
        self._pumping = False
        #: how many workers `_pump` starts next
        self._burst = 1
        self._yielding = False
        self._ready: Ready | None = None

    def perform(self, commands: list[AnyCommand]) -> None:
        """Perform the commands of the core, in order."""
        for command in commands:
            if isinstance(command, RunChunk):
                if self._ready is None:
                    self._ready = Ready()
                self._ready.append(command)
            elif isinstance(command, Publish):
                self.runtime.publish(command.number, command.item, command.path)
            else:
                performer = self._PERFORMERS.get(type(command))
                if performer is None:
                    self.runtime.notice(command)
                else:
                    performer(self, command)
        if self._ready and not self._pumping:
            self._pumping = True
            self.loop.call_soon(self._pump, context=self._base.copy())

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def settled(self, number: int) -> bool:
        """Wait until the core ends the wait that began with record `number`; False if the execution ends before."""
        return await self._waiting().settled(number)

    async def without_permits(self, run: RunChunk, wait: Callable[[], Awaitable[None]]) -> None:
        """Await `wait()`. The run gives up its permits meanwhile, and has them back when this returns."""
        state, now = self.runtime.machine.state, self.runtime.environment.now
        number = state.records
        submit(self.runtime, events.ExternalWaitStarted(now(), run.id))
        try:
            await wait()
        except (Exception, asyncio.CancelledError):
            self._end_external_wait(number)
            # If the user's code ended the wait, for example with its own time-out, the chunk goes on and needs its
            # permits again. If the time-out of the policy ended it, the run ends now.
            if state.closing is None and state.run(run.id) is run and not timed_out(run):
                await self._regained(number)
            raise
        except BaseException:  # the loop ends: nothing can be awaited
            self._end_external_wait(number)
            raise
        self._end_external_wait(number)
        await self._regained(number)

    def _end_external_wait(self, number: int) -> None:
        with contextlib.suppress(ExecutionClosed):
            submit(self.runtime, events.ExternalWaitEnded(self.runtime.environment.now(), number))

    async def _regained(self, number: int) -> None:
        """Wait until the run of an external wait that has ended has its permits back."""
        waits = self.runtime.machine.state.waits
        if waits and number in waits:
            await self._waiting().settled(number)

    def _waiting(self) -> Waits:
        if self._waits is None:
            from .waits import Waits  # imported by the first run that needs it, like timers and sources

            self._waits = Waits(self.runtime)
        return self._waits

    # -- workers -----------------------------------------------------------------------------------------------------

    def start(self, event: events.Started) -> None:
        """Record the start and perform its commands. A single first chunk needs no queue, which keeps memory small."""
        following = take(self.runtime, event)
        if len(following) == 1 and isinstance(following[0], RunChunk) and not self._ready:
            self._hire(following[0])
            return
        self._pumping = True
        self.perform(following)
        self._burst = max(1, len(self._ready or ()))
        self._pump()

    def hurry(self) -> None:
        """See `Driver.hurry`."""
        if self._pumping:
            self._pump()

    def _pump(self) -> None:
        """Start workers for the runs in `_ready`, twice as many each time in a row.

        A worker takes the oldest run that is left when it starts. So runs start in order, also if other workers have
        taken some in between.
        """
        self._pumping = False
        waiting = 0 if self._ready is None else len(self._ready) - len(self._ready.workers)
        if waiting <= 0:
            self._burst = 1
        elif not self._yielding:
            count = min(waiting, self._burst)
            self._burst *= 2
            for _ in range(count):
                self._hire()

    def _hire(self, run: RunChunk | None = None) -> None:
        """Start a worker that begins with this run, or with the oldest run that is left when it starts."""
        _running[self] = None
        task = start_task(self.loop, self._work(run), self._base.copy(), name=WORKER)
        if run is not None:
            run.handle = task
        elif self._ready is not None:
            self._ready.workers.add(task)

    async def _work(self, run: RunChunk | None = None) -> None:
        worker = asyncio.current_task()
        if run is None:
            ready = self._ready
            if ready is None or worker is None:
                return
            ready.workers.discard(worker)
            run = ready.take(self.runtime.machine.state)
            if run is None:
                return
        run.handle = worker
        runtime = self.runtime
        error: BaseException | None = None
        chunks = 0
        while True:
            if self._ready and not self._pumping:
                self._pumping = True
                self.loop.call_soon(self._pump, context=self._base.copy())
            tracer = tracing.tracer
            try:
                value = await (runtime.invoke(run) if tracer is None else self._traced(run, tracer))
                # `isinstance` would ask the value for its class. Most chunks that emit return None.
                if value is not None and issubclass(type(value), FieldItems):
                    value = await give_items(runtime, run, value)
            except BaseException as raised:
                error, event = self._ended(run, raised)
                if self._falls_back(run, event):
                    error, event = await self._fall_back(run, error, event)
            else:
                if worker is not None and worker.cancelling():  # the chunk has caught the CancelledError and returned
                    self._cancellation_swallowed(run, worker)
                event = events.Completed(runtime.environment.now(), run.id, value)
            if tracer is not None:
                self._add_calls(run, event)
            run = self._record(run, event, error)
            value = event = error = None  # break the cycle of the error and this frame, so that both are freed at once
            if run is None:
                return
            if (copy_context() or self._base) and changed(self._base):
                # Another worker continues, in a clean context; it begins with this run, before those queued later.
                if self._ready is None:
                    self._ready = Ready()
                self._ready.appendleft(run)
                self._hire()
                return
            chunks += 1
            if chunks == CHUNKS_PER_TURN:
                chunks = 0
                run = await self._give_way(run)
                if run is None:
                    return
            run.handle = worker

    async def _traced(self, run: RunChunk, tracer: tracing.Tracer) -> Any:
        """Run a chunk with the span of its attempt as the current one."""
        noted = tracing.Calls(self.runtime.environment.now)
        token = tracing.calls.set(noted)
        try:
            with tracer.attempt(self.runtime, run):
                value = await self.runtime.invoke(run)
                return await give_items(self.runtime, run, value) if issubclass(type(value), FieldItems) else value
        finally:
            with contextlib.suppress(ValueError):  # the loop is being destroyed, in another context
                tracing.calls.reset(token)
            if noted.noted:
                if self._calls is None:
                    self._calls = {}
                self._calls[run.id] = tuple(noted.noted)

    def _add_calls(self, run: RunChunk, event: events.Event) -> None:
        """Let the record of an attempt's end say which models it has called."""
        calls = None if self._calls is None else self._calls.pop(run.id, None)
        if calls and isinstance(event, _ENDS):
            event.calls = calls

    def _record(self, run: RunChunk, event: events.Event, error: BaseException | None) -> RunChunk | None:
        """Record how a run has ended, and perform the commands that follow. Returns the next run for its worker."""
        try:
            following = take(self.runtime, event)
        except Exception as refused:
            if self._completes_later(run, event, refused):
                return None
            instead = self._record_refused(run, event, refused)
            if instead is None:
                return None
            error, event, following = instead
        if error is not None:
            self._note_failure(error, event, run)
        run.handle = None
        if len(following) == 1 and isinstance(following[0], RunChunk) and not self._ready:
            return following[0]
        if following:
            self.perform(following)
        # Leave one run in the queue for each worker that is about to start. Without that, these workers would find the
        # queue empty, and a loop of emits would add a worker in each turn.
        ready = self._ready
        if ready and len(ready) > len(ready.workers):
            if not ready.stale:
                return ready.popleft()
            next_run = ready.take(self.runtime.machine.state)
            if next_run is not None:
                return next_run
        if self.runtime.machine.state.idle():
            _running.pop(self, None)
        return None

    async def _give_way(self, run: RunChunk) -> RunChunk | None:
        """Let the loop turn once. The run goes back to the head of the queue, so that no other starts before it."""
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
        return self._ready.take(self.runtime.machine.state) if self._ready else None

    def _ended(self, run: RunChunk, error: BaseException) -> tuple[BaseException | None, events.Event]:
        """The record for a chunk that raised, and the error if the chunk fails with one.

        Raises the exception again if it is not the chunk's own: an exit request, or the end of a destroyed loop.
        """
        # If the task of the chunk is not the current task, the event loop is being destroyed and closes its coroutines.
        if isinstance(error, GeneratorExit) and asyncio.current_task(self.loop) is not run.handle:
            self.on_loop_closed("its event loop was closed while it ran")
            raise error
        log = self.runtime.log
        if log is not None and log.suspended is not None and isinstance(error, Exception | asyncio.CancelledError):
            # The chunk was stopped, and runs again elsewhere: it has neither failed nor needs its fallback.
            return None, events.Cancelled(self.runtime.environment.now(), run.id)
        if isinstance(error, asyncio.CancelledError):
            if run.handle.cancelling():
                self.cancelled_from_outside(run)
            if self.runtime.machine.state.closing is not None or run.id in (self.runtime.machine.state.retracted or ()):
                return None, events.Cancelled(self.runtime.environment.now(), run.id)
            error = own_cancellation(run, error)
        if isinstance(error, BaseExceptionGroup):
            error = paused_in_group(cast("BaseException", error))
        if isinstance(error, ChunkPaused | StepWithoutValue):
            return None, error.event
        if isinstance(error, MissingResource) and self.runtime.durability.lacks_resource(self.runtime, error):
            return None, events.Cancelled(self.runtime.environment.now(), run.id)  # it is suspended: not recorded
        event = events.Failed(self.runtime.environment.now(), run.id, describe(error, run.node.name))
        if isinstance(error, KeyboardInterrupt | SystemExit):
            with contextlib.suppress(ExecutionClosed):
                submit(self.runtime, event)
                self._note_failure(error, event, run)
            # asyncio raises this error in the caller of the loop. Without this, it would also log it as never
            # retrieved.
            run.handle.add_done_callback(mark_seen)
            raise error
        if self.runtime.machine.state.closing is None:
            event.retry_in = self.runtime.retry_delay(run, error)
        return error, event

    def _record_refused(
        self, run: RunChunk, event: events.Event, refused: Exception
    ) -> tuple[BaseException | None, events.Event, list[commands.AnyCommand]] | None:
        """Record a failure in place of the end of a chunk that could not be recorded; None if nothing is recorded."""
        try:
            asks_wrong = isinstance(refused, ProtocolError | UsageError) and isinstance(event, events.Paused)
            if (asks_wrong and not isinstance(refused, ExecutionClosed)) or isinstance(refused, PayloadError):
                # The chunk's own error: an interrupt that is open already, or a value that cannot be recorded.
                error, event = self._ended(run, refused)
                return error, event, take(self.runtime, event)
        except ExecutionClosed as closed:
            refused = closed
        if not isinstance(refused, ExecutionClosed):  # the execution had ended before this chunk: nothing to record
            self._abort(refused, run)
        return None

    def _falls_back(self, run: RunChunk, event: events.Event) -> bool:
        """Whether the chunk of a failed run has a fallback, and no retry follows."""
        if self.runtime.program.fallbacks[run.node.index] is None or not isinstance(event, events.Failed):
            return False
        state = self.runtime.machine.state
        if event.retry_in is not None or state.closing is not None or run.id in (state.retracted or ()):
            return False
        return not self.runtime.losses_are_over(run, 2)  # else it is the fallback that ends the process

    async def _fall_back(
        self, run: RunChunk, error: BaseException | None, event: events.Event
    ) -> tuple[BaseException | None, events.Event]:
        """Run the fallback of a failed run. Returns the record of its end, and the error if the fallback fails."""
        fallback = self.runtime.program.fallbacks[run.node.index]
        assert fallback is not None
        assert isinstance(event, events.Failed)
        try:
            value = await fallback(self.runtime, run, event.error)
            if issubclass(type(value), FieldItems):
                value = await give_items(self.runtime, run, value)
        except BaseException as raised:
            if raised.__context__ is None and raised is not error:
                raised.__context__ = error  # it was raised in a thread, where the first error was not being handled
            instead, ended = self._ended(run, raised)
            if isinstance(ended, events.Failed):
                ended.retry_in = None
            return instead, ended
        if run.handle.cancelling():  # the fallback has swallowed the cancellation
            self._cancellation_swallowed(run, run.handle)
        return None, events.Completed(self.runtime.environment.now(), run.id, value, event.error)

    def _completes_later(self, run: RunChunk, event: events.Event, refused: Exception) -> bool:
        """Whether a value that cannot be recorded is a failure for which the chunk has a fallback; if so, run that."""
        if not isinstance(refused, PayloadError) or not isinstance(event, events.Completed) or event.failure:
            return False
        error, failed = self._ended(run, refused)
        if error is None or not self._falls_back(run, failed):
            return False

        async def complete() -> None:
            last, event = await self._fall_back(run, error, failed)
            following = self._record(run, event, last)
            if following is not None:
                self._hire(following)

        run.handle = start_task(self.loop, complete(), self._base.copy(), name=WORKER)
        return True

    def current_run(self) -> RunChunk | None:
        """See `Driver.current_run`."""
        task = asyncio.current_task()
        # Only the task of a worker executes chunks, so callers in other tasks skip the search of all runs.
        if task is None or task.get_name() != WORKER:
            return None
        return next((run for run in self.runtime.machine.state.runs.values() if run.handle is task), None)

    def _abort(self, bug: Exception, run: RunChunk) -> None:
        """Fail the execution after a bug in the core, so that no caller waits for ever."""
        self.error = InternalError(f"the engine failed after chunk {run.node.name!r}; please report this: {bug!r}")
        self.error.__cause__ = bug
        for other in self.runtime.machine.state.runs.values():
            if other.handle is not None and other is not run:
                other.handle.cancel()
        self.perform(self.runtime.machine.abort(describe(self.error, run.node.name)))

    def _note_failure(self, error: BaseException, event: events.Event, run: RunChunk) -> None:
        """Keep the error for the callers, with a note of where it was raised, if it makes the execution fail."""
        if isinstance(event, events.Failed) and self.runtime.machine.state.error is event.error:
            where = f"in chunk {run.node.name!r} of {self.runtime!r}"
            self.error = noted(error, where, first=run.node.kind is not OperatorKind.SUB_FLOW)

    def _cancellation_swallowed(self, run: RunChunk, worker: asyncio.Task[None]) -> None:
        """Handle a chunk that caught the cancellation of its task and returned a value.

        Time-outs of older libraries cancel the task of their caller and never call `uncancel`. As in plain asyncio, the
        value of the chunk counts. But if all tasks were cancelled, the loop is shutting down, and the execution ends as
        cancelled.
        """
        others = (task for task in asyncio.all_tasks(self.loop) if task is not worker)
        if run.id not in (self.runtime.machine.state.retracted or ()) and not all(it.cancelling() for it in others):
            while worker.uncancel():
                pass
        else:
            self.cancelled_from_outside(run)

    def cancelled_from_outside(self, run: RunChunk) -> None:
        """Handle a cancellation of a worker's task that this driver did not cause.

        The execution ends as cancelled; if it outlives its loop, it is suspended.
        """
        runtime = self.runtime
        if run.id in (runtime.machine.state.retracted or ()):
            run.handle.uncancel()
        elif runtime.machine.state.closing is None and runtime.machine.state.status not in FINAL:
            self._cancelled(
                f"the task of chunk {run.node.name!r} was cancelled: its event loop shuts down, or the "
                "chunk cancelled its own task"
            )

    def _cancelled(self, reason: str) -> None:
        runtime = self.runtime
        if runtime.durability.outlives_loop:
            runtime.durability.on_loop_lost(runtime, reason)
        else:
            submit(runtime, events.CancelRequested(runtime.environment.now(), reason))

    # -- the other commands ------------------------------------------------------------------------------------------

    def _cancel_run(self, command: commands.CancelRun) -> None:
        closing = self.runtime.machine.state.closing is not None
        if closing and self._sources is not None:
            self._sources.close()
        timer = CLEAN_UP if closing else RETRACTION_CLEAN_UP
        if timer not in (self._timers or ()):  # this is the first of the runs to be cancelled
            self._set_timer(timer, self.runtime.options.cleanup_timeout, self._cleanup_timed_out)
            if closing:
                self._waiting().release()
                self.runtime.closing()
        run = command.run
        if run.handle is not None:
            started = getcoroutinestate(run.handle.get_coro()) != CORO_CREATED
            run.handle.cancel()
            if started:
                return
        # The run has not started, and will not start: record its end now.
        if self._ready:
            self._ready.stale = True
        submit(self.runtime, events.Cancelled(self.runtime.environment.now(), run.id))

    def _cleanup_timed_out(self) -> None:
        with contextlib.suppress(ExecutionClosed, ProtocolError):  # all cancelled runs have stopped before the time-out
            submit(self.runtime, events.CleanupTimedOut(self.runtime.environment.now()))

    def _set_timer(self, number: int, delay: float, then: Callable[..., None], *args: Any) -> None:
        if self._timers is None:
            from .timers import Timers  # imported late, see `_waiting`

            self._timers = Timers(self.loop)
        self._timers.set(number, delay, then, *args)

    def _start_timer(self, command: commands.StartTimer) -> None:
        self._set_timer(
            command.timer, command.due - self.runtime.environment.now(), self._timer_fired, command.timer, command.due
        )

    def _timer_fired(self, number: int, due: float) -> None:
        if self.runtime.driver is not self:  # the execution has moved to another loop, which has its timers
            return
        timer = (self.runtime.machine.state.timers or {}).get(number)
        if timer is not None and timer.due == due:  # otherwise a `CancelTimer` command follows
            fire_timer(self.runtime, number)

    def _cancel_timer(self, command: commands.CancelTimer) -> None:
        if self._timers is not None:
            self._timers.cancel(command.timer)

    def _pull(self, command: commands.Pull) -> None:
        if self._sources is None:
            from .sources import Sources  # imported late, see `_waiting`

            runtime, callbacks = self.runtime, (self._pulled, self._source_cancelled)
            self._sources = Sources(self.loop, self._base, repr(runtime), runtime.options.cleanup_timeout, *callbacks)
        instance = command.instance
        error = alone = None
        if instance.interruptions is not None:
            if self.runtime.losses_are_over(instance):
                error = self.runtime.lost(instance)
            elif self.runtime.is_suspect(instance):
                alone = partial(self.runtime.durability.alone, self.runtime, instance)
        self._sources.pull(instance, command.count, error, alone)

    def _cancel_pull(self, command: commands.CancelPull) -> None:
        if self._sources is not None:
            self._sources.stop(command.instance)

    def _pulled(self, instance: BlockInstance, items: list[Any], done: bool, error: BaseException | None) -> None:
        """Record the items that a source has returned for a pull, or its failure."""
        if not instance.pulling:  # the core has cancelled the pull
            return
        now = self.runtime.environment.now
        with contextlib.suppress(ExecutionClosed):
            try:
                if error is None:
                    submit(self.runtime, events.SourceItems(now(), instance.id, items, done))
                    if self.runtime.journal is not None:
                        # A source can give many large items, so their size is checked after each pull.
                        self.runtime.journal.trim()
                else:
                    self._pull_failed(instance, error)
            except PayloadError as refused:
                self._pull_failed(instance, refused)
            if self.runtime.machine.state.closing is None:  # the failure had an error route, or ended only its branch
                self.error = None

    def _pull_failed(self, instance: BlockInstance, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            cause, error = error, ChunkCancelled(f"the items of {instance.node.id!r} ended with a CancelledError")
            error.__cause__ = cause
        if self.runtime.machine.state.closing is None:
            self.error = noted(error, f"in the items of {instance.node.id!r} of {self.runtime!r}", first=True)
        failed = events.SourceFailed(self.runtime.environment.now(), instance.id, describe(error, instance.node.name))
        submit(self.runtime, failed)

    def _source_cancelled(self, reason: str) -> None:
        """The task of a source was cancelled, but not by this driver."""
        if self.runtime.machine.state.closing is None:
            self._cancelled(reason)

    def _settle(self, command: commands.WakeWaiter) -> None:
        self._waiting().settle(command.wait)

    def _close(self, command: commands.Close) -> None:
        sources = self._sources
        self._release()
        _running.pop(self, None)
        if sources is None or sources.are_closed:
            self.runtime.closed(command, self.error)
        else:  # closing may take `cleanup_timeout` seconds
            self.runtime.closes_sources = True
            start_task(self.loop, self._close_after(sources, command), self._base.copy(), quiet=True)

    async def _close_after(self, sources: Sources, command: commands.Close) -> None:
        """End the execution once its sources are closed."""
        with contextlib.suppress(asyncio.CancelledError):  # a loop that ends also cancels the sources
            await sources.closed()
        self.runtime.closes_sources = False
        self.runtime.closed(command, self.error)

    def _release(self) -> None:
        """Release the timers, the sources and the waiters."""
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

    def stop(self) -> dict[asyncio.Task[None], str]:
        """See `Driver.stop`."""
        state, sources = self.runtime.machine.state, self._sources
        stopping: dict[asyncio.Task[None], str] = {}
        with contextlib.suppress(RuntimeError):  # a closed loop cannot cancel tasks
            for run in [*state.runs.values(), *(state.retracted or {}).values()]:
                if run.handle is not None:
                    run.handle.cancel()
                    stopping[run.handle] = f"chunk {run.node.name!r}"
            self._release()
        if sources is not None:
            stopping |= dict.fromkeys(sources.stopping, "the source of a for_each")
        _running.pop(self, None)
        return stopping

    def on_loop_closed(self, reason: str) -> None:
        """The event loop is closed and can run nothing more: end or suspend the execution, which wakes its callers."""
        runtime = self.runtime
        if runtime.durability.outlives_loop:
            runtime.durability.on_loop_lost(runtime, reason)
            return
        tasks: list[Any] = [run.handle for run in runtime.machine.state.runs.values() if run.handle is not None]
        if self._ready is not None:
            tasks += self._ready.workers
        following: list[commands.AnyCommand] = []
        now = runtime.environment.now()
        for event in (events.CancelRequested(now, reason), events.CleanupTimedOut(now)):
            with contextlib.suppress(ExecutionClosed):
                following += take(runtime, event)
        _running.pop(self, None)
        if self._sources is not None:
            self._sources.destroy()
        for command in following:
            if isinstance(command, commands.Close):
                runtime.closed(command, self.error)
        destroy(tasks)

    _PERFORMERS: ClassVar[dict[type[Any], Callable[[Any, Any], None]]] = {
        commands.CancelRun: _cancel_run,
        commands.StartTimer: _start_timer,
        commands.CancelTimer: _cancel_timer,
        commands.Pull: _pull,
        commands.CancelPull: _cancel_pull,
        commands.WakeWaiter: _settle,
        commands.Close: _close,
    }


#: Real time, on asyncio.
REAL = Environment(AsyncioDriver)
