"""One execution of a flow in this process. The handles of users hold its `ExecutionRuntime`, and a driver
performs its commands.

`ExecutionRuntime` joins a program with a machine. All changes go through `ingress`. This module creates and starts the
execution, publishes its stream items, and wakes the callers and readers that wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._core import commands, events
from .._core.definition import OperatorKind
from .._core.errors import (
    AlreadyStarted,
    ContractError,
    ExecutionCancelled,
    ExecutionClosed,
    InterruptExpired,
    PayloadError,
    RunLost,
    UsageError,
    WrongLoopError,
)
from .._core.machine import FINAL, Machine
from .._core.sparse import SparseAttribute
from .._core.state import UNSET, BlockInstance, RunChunk, RunState, Status, StatusName
from .._core.timers import at_work
from ..build.contract import Check
from . import actions, ingress, tracing
from .data import TriggerFlowRuntimeData, finishing
from .environment import Environment
from .interfaces import IN_MEMORY, CommitLog, Driver, Durability
from .interrupts import describe_interrupt
from .logs import failure_from_record, log_end, log_notice
from .options import Options, same_value
from .program import Program
from .resources import Resources
from .shared import SharedData

if TYPE_CHECKING:
    from .execution import Execution
    from .journal import Observer, RingJournal
    from .stream import RuntimeStream
    from .subflow import Link

logger = logging.getLogger("triggerflow")
EMPTY: dict[str, Any] = {}

#: After so many losses a run begins as the only suspect of its process, see `ExecutionRuntime.losses_are_over`.
SUSPECT_AFTER = 2

#: Held while an id is made, because sync chunks may read the id from several threads at once.
_giving_id = Lock()


class ExecutionRuntime:
    """One execution of a program."""

    __slots__ = (
        "__weakref__",
        "_others",
        "_value",
        "_waiter",
        "check_item",
        "driver",
        "environment",
        "is_plain",
        "journal",
        "link",
        "log",
        "machine",
        "observed",
        "options",
        "program",
        "rare",
        "shared",
        "stream",
        "thread",
    )

    _id: SparseAttribute[str | None] = SparseAttribute(None)
    _failure: SparseAttribute[BaseException | None] = SparseAttribute(None)
    _children: SparseAttribute[dict[str, tuple[ExecutionRuntime, str]] | None] = SparseAttribute(None)
    #: where `_failure` was raised
    _failed_at: SparseAttribute[TracebackType | None] = SparseAttribute(None)
    #: resources of this execution only
    own_resources: SparseAttribute[dict[str, Any] | None] = SparseAttribute(None)
    #: whether the execution has ended, but its sources are still being closed
    closes_sources: SparseAttribute[bool] = SparseAttribute(False)
    #: whether a result was dropped because the execution has another one: the first is logged
    dropped_result: SparseAttribute[bool] = SparseAttribute(False)
    #: how the records of the execution are stored
    durability: SparseAttribute[Durability] = SparseAttribute(IN_MEMORY)
    #: snapshots of sub-flows that were running when this execution was saved, by path
    saved_children: SparseAttribute[dict[str, Any]] = SparseAttribute(EMPTY)
    #: the checks of answers, by the id of the interrupt
    schemas: SparseAttribute[dict[str, Check] | None] = SparseAttribute(None)

    def __init__(
        self,
        program: Program,
        shared: SharedData,
        options: Options,
        environment: Environment,
        id: str | None = None,
        *,
        state: RunState | None = None,
        resources: Mapping[str, Any] | None = None,
        link: Link | None = None,
    ) -> None:
        self.rare: dict[str, Any] | None = None
        self.use(program)
        #: the data that all executions of the flow share
        self.shared = shared
        #: the arguments of `create_execution`
        self.options = options
        #: gives the time, ids, random numbers and the driver
        self.environment = environment
        self.machine = Machine(program.plan, state)
        #: the newest records; None while no handle or observer can read them
        self.journal: RingJournal | None = None
        if options.attended:
            self.keep_records()
        #: the commit buffer; None if the execution is not durable
        self.log: CommitLog | None = None
        #: the driver, while the execution lives on an event loop; else None
        self.driver: Driver | None = None
        #: the id of the thread on which the execution lives, None for any thread. All executions of a thread share one
        #: int object, because `get_ident` makes a new one for each call.
        self.thread: int | None = None
        #: the runtime stream, made for the first item or the first reader
        self.stream: RuntimeStream | None = None
        #: the connection of a sub-flow to its parent; else None
        self.link = link
        #: whether the execution is neither a sub-flow nor durable, so that items take the short path `submit_item`
        self.is_plain = link is None
        #: whether a caller or reader has got, or will get, the outcome; if none does, a failure is logged
        self.observed = False
        self._value: Any = UNSET
        self._waiter: asyncio.Future[None] | None = None
        #: the futures of all waiting callers but the first (`_waiter`); a future that is done removes itself
        self._others: dict[asyncio.Future[None], None] | None = None
        if id is not None:
            self._id = id
        if resources:
            self.own_resources = dict(resources)

    def use(self, program: Program) -> None:
        """Set the program that this execution runs. Call it before the execution is opened."""
        #: the program of the flow, as it was when the execution was created
        self.program = program
        #: the declared check of stream items
        self.check_item = program.contract.stream

    # -- identity ----------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of the execution. If none was given, the environment makes one on first use."""
        if self._id is None:
            with _giving_id:
                if self._id is None:
                    self._id = self.environment.new_id()
        return self._id

    def rename(self, id: str) -> None:
        """Give the execution another id, before it is created in its store."""
        self._id = id

    @property
    def start_value(self) -> Any:
        """The start value; UNSET before the start."""
        return self._value

    @start_value.setter
    def start_value(self, value: Any) -> None:
        self._value = value

    @property
    def resources(self) -> Resources:
        """The resources by name. Those of this execution hide those of its flow; new ones belong to this execution."""
        if self.own_resources is None:
            self.own_resources = dict[str, Any]()
        return Resources(self, self.own_resources, self.shared.resources)

    @property
    def children(self) -> dict[str, tuple[ExecutionRuntime, str]]:
        """The sub-flows that run now, by path, as (child, ""); and the open interrupts of sub-flows, by the id in this
        execution, as (child, id in the child).
        """
        if self._children is None:
            self._children = {}
        return self._children

    def forget_children(self) -> None:
        """Drop all sub-flows: they no longer run in this process."""
        self._children = None

    @property
    def answerable(self) -> bool:
        """Whether an interrupt can be answered: a caller holds the handle of this execution or of its root parent."""
        return self.options.attended if self.link is None else self.link.parent.answerable

    def __repr__(self) -> str:
        return f"<Execution {self.id} of flow {self.program.name!r}>"

    # -- life cycle --------------------------------------------------------------------------------------------------

    def begin(self, value: Any = UNSET, delay: float | None = None) -> None:
        """Start the execution without waiting for it. With `delay` its work begins after so many seconds.

        A second start does nothing. Raises `AlreadyStarted` if it has another value, `ContractError` if the value
        does not have the declared type, and `ExecutionClosed` if it was closed before its start.
        """
        if delay is not None:
            ingress.check_delay(delay)
        contract = self.program.contract.initial_input
        if self._value is not UNSET:
            if value is UNSET:
                return
            if contract is not None and self.durability.outlives_loop:
                value = contract(value)  # compare with the recorded value, which the contract had converted, too
            if not same_value(value, self._value):
                first, other = repr(self._value), repr(value)
                if self.durability.outlives_loop:  # a recorded value is not shown
                    first, other = (
                        f"another value, a {type(self._value).__qualname__},",
                        f"a {type(value).__qualname__}",
                    )
                raise AlreadyStarted(
                    f"{self!r} was started with {first} and cannot start again with {other}; create another execution "
                    "for another value"
                )
            return
        if self.machine.state.records and self.machine.state.never_starts:
            raise ExecutionClosed(f"{self!r} was closed before it was started; create another execution")
        value = None if value is UNSET else value
        started = value if contract is None else contract(value)
        driver = ingress.driver_of(self, starting=self.program.state is None)
        self._value = value
        try:
            driver.start(events.Started(self.environment.now(), started, *self.recorded_options(), delay=delay))
        except PayloadError:  # the execution has not started, and can be started with another value
            self._value = UNSET
            raise

    def recorded_options(self) -> tuple[Any, ...]:
        """The options that the first record holds after the start value: all that change the course of an execution."""
        options = self.options
        return (*options.recorded(), self.program.contract.result is not None, options.execution_timeout)

    async def result(self, timeout: float | None = None) -> Any:
        """Wait until the execution has ended and return its result. With `keep_open`, return as soon as it has one.

        Raises the exception of a failed chunk, `ExecutionCancelled`, `TimeoutError` after `timeout` seconds, or
        `UsageError` if the execution was not started and has nothing to do.
        """
        self._require_work()
        if self.machine.state.started and timeout is None and not self.options.keep_open:
            while (ended := self.ended()) is not None:  # `until`, inlined: thousands may wait here
                await ended
        elif not self.has_ended:
            if self.options.keep_open:
                await self.until(self.has_outcome, timeout)
            else:  # it is woken whenever it becomes idle
                await self.until(lambda: self.has_ended or self._lacks_work(), timeout)
            self._require_work()
        return self.outcome(timeout)

    def _lacks_work(self) -> bool:
        """Whether the execution was not started, and nothing that it does could end it.

        Signals from outside may run chunks before the start. After them the execution is idle, and only a start can end
        it. With `keep_open` a signal can bring a result.
        """
        state = self.machine.state
        if state.started or state.never_starts or state.status in FINAL or not state.idle():
            return False
        return not (state.keep_open or self.options.keep_open or state.timers or state.asking or state.pulls)

    def _require_work(self) -> None:
        if self._lacks_work():
            raise UsageError(
                f"{self!r} was not started, so that no result can come; start it with async_start(value) or "
                "begin(value), before its result is awaited"
            )

    def cancel(self, reason: str) -> None:
        """Begin to cancel all chunks, to end as cancelled. Does nothing after the end."""
        if self.machine.state.status not in FINAL:
            self.observed = True
            ingress.driver_of(self)
            ingress.submit(self, events.CancelRequested(self.environment.now(), reason, tracing.current()))

    def close(self) -> None:
        """Accept no more signals from outside. Does nothing after the end."""
        if self.machine.state.status not in FINAL:
            ingress.driver_of(self)
            ingress.submit(self, events.CloseRequested(self.environment.now(), ends_unstarted=True))

    @property
    def has_ended(self) -> bool:
        """Whether the execution has ended and its sources are closed. If durable, its end is in the store, too."""
        ingress.check_loop(self)
        if self.machine.state.status not in FINAL or (self.log is not None and not self.log.is_committed):
            return False
        if self.closes_sources and self.driver is not None and self.environment.is_closed(self.driver.loop):
            self.closes_sources = False  # no task can close the sources on a closed loop
        return not self.closes_sources

    def status(self) -> StatusName:
        """The status, such as "running"; see `Execution.get_status`."""
        ingress.check_loop(self)
        status = self.machine.state.status.value
        if self._failure is not None and status in ("completed", "cancelled"):  # the result broke the contract
            return "failed"
        if status == "running" and self._children and self._only_children_wait():
            return "waiting"
        return status

    def _only_children_wait(self) -> bool:
        busy = [run for run in self.machine.state.runs.values() if run.node.kind is not OperatorKind.SUB_FLOW]
        return not busy and all(child.status() == "waiting" for child, of in self.children.values() if not of)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop on which the execution lives.

        None before the start, while its next use may move it to another loop, and once its end is in the store.
        """
        ingress.check_loop(self)
        driver = self.driver
        if driver is None or ingress.moves_here(self):
            return None
        if self.closes_sources or (self.log is not None and self.log.suspended is None and not self.log.is_committed):
            return driver.loop
        return None if self.machine.state.status in FINAL else driver.loop

    def is_settled(self) -> bool:
        """Whether no chunk runs, no source is read and no timer is due. An open interrupt does not count as work."""
        state = self.machine.state
        if state.runs:
            return bool(state.interrupts) and self.status() == "waiting"
        return not (state.pulls or at_work(state))

    def has_outcome(self) -> bool:
        """Whether `outcome` is available: the execution has ended, or has `keep_open` and a result."""
        state = self.machine.state
        return (state.keep_open and state.result is not UNSET) or state.status in FINAL

    def restored(self, value: Any, children: dict[str, Any], broken: str | None) -> None:
        """Set what a snapshot holds beside the state: start value and sub-flows.

        `broken` is the message of the `ContractError` if the result did not fit the contract, else None.
        """
        self._value, self.saved_children = value, children
        if broken is not None:
            self._failure = ContractError(broken)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def ended(self, timeout: float | None = None) -> asyncio.Future[None] | None:
        """A future that is done when the execution has ended or `timeout` seconds have passed; None if it has ended.

        Raises `WrongLoopError` on another event loop, where the future would never be done. Raises the reason of the
        suspension if the execution was suspended in this process before its end was in the store.
        """
        if self.has_ended:
            return None
        if self.log is not None and self.log.suspended is not None:
            raise self.log.suspended.with_traceback(None)
        loop = asyncio.get_running_loop()
        driver = self.driver if self.machine.state.status in FINAL else ingress.driver_of(self)
        if driver is not None and driver.loop is not loop:
            raise WrongLoopError(f"{self!r} runs on another event loop; wait for it there, or use the sync methods")
        if self.machine.state.status in FINAL and self.has_ended:  # a time limit was over when the driver was made
            return None
        waiter: asyncio.Future[None] = loop.create_future()
        others = self._others
        if self._waiter is None or (self._waiter.done() and not others):
            self._waiter = waiter
        else:
            if others is None:
                others = self._others = {}
            others[waiter] = None
            waiter.add_done_callback(lambda done: others.pop(done, None))
        if timeout is not None:
            timer = loop.call_later(timeout, wake_waiter, waiter)
            waiter.add_done_callback(lambda _: timer.cancel())
        return waiter

    async def until(
        self, holds: Callable[[], bool], timeout: float | None = None, *, every_record: bool = False
    ) -> bool:
        """Wait until a condition on this execution holds; False if it has ended, or `timeout` seconds have passed.

        The condition is checked at the end of the execution. With `keep_open` it is also checked when the last chunk
        has ended, an interrupt opens or the result is set. With `every_record` it is checked after each record.
        """
        if holds():
            return True
        loop = asyncio.get_running_loop()
        due = None if timeout is None else loop.time() + timeout
        remove = self.add_observer(lambda _: self.wake()) if every_record else None
        try:
            while (waiter := self.ended(None if due is None else due - loop.time())) is not None:
                await waiter
                if holds():
                    return True
                if due is not None and due <= loop.time():
                    return False
            return holds()
        finally:
            if remove is not None:
                remove()

    def what_goes_on(self) -> str:
        """What an execution that has not ended does or waits for, in words."""
        state = self.machine.state
        if state.status is Status.WAITING and state.asking:
            asked = [id for id, it in (state.interrupts or {}).items() if it.status == "waiting"]
            return f"it waits for an answer to {', '.join(map(repr, asked[:3]))}{' ...' if asked[3:] else ''}"
        if self.durability.lacks_owner(self):
            return (
                f"it is in its store, and no process runs it: a Worker(store, flow) of flow {self.program.name!r} would"
            )
        return "it continues to run"

    def outcome(self, timeout: float | None = None, then: str | None = None) -> Any:
        """The result of the execution.

        Raises its failure, `ExecutionCancelled`, the reason of its suspension, or `TimeoutError` if it has not ended.
        """
        if self.log is not None and self.log.suspended is not None:
            raise self.log.suspended.with_traceback(None)
        self.observed = True
        state = self.machine.state
        ready = state.status is Status.COMPLETED or (state.keep_open and state.result is not UNSET)
        if ready and self._failure is None:
            check = self.program.contract.result
            if check is not None and not state.checks_result and state.result is not UNSET:
                return check(state.result)  # an earlier version started the execution, and did not record the check
            return None if state.result is UNSET else state.result
        if state.status not in FINAL and self._failure is None:
            self.observed = False
            raise TimeoutError(f"{self!r} has not ended after {timeout} s; {then or self.what_goes_on()}")
        raise self._why_failed()

    @property
    def waited_for(self) -> bool:
        """Whether a caller waits for the execution, or a reader reads its stream, now."""
        waiting = any(not waiter.done() for waiter in (self._waiter, *(self._others or ())) if waiter is not None)
        return waiting or bool(self.stream and self.stream.observed)

    def wake(self) -> None:
        """Wake the callers that wait for the execution, so that they check its state."""
        waiter, others = self._waiter, self._others
        self._waiter = self._others = None
        if waiter is not None:
            wake_waiter(waiter)
        for other in others or ():
            wake_waiter(other)

    def wake_all(self, failure: Callable[[], BaseException] | None) -> None:
        """Wake the callers that wait, and end the stream, with a failure after the last item if there is one."""
        self.wake()
        if self.stream is not None:
            self.stream.end(failure)

    def why_ended(self) -> Callable[[], BaseException] | None:
        """A function that makes the exception for readers after the last item; None if the execution has completed."""
        return None if self.status() == "completed" else self._why_failed

    def _why_failed(self) -> BaseException:
        """The exception that says why there is no result: the object that a chunk raised, if it was raised here."""
        state = self.machine.state
        self.observed = True
        if state.status is Status.CANCELLED and self._failure is None:
            return ExecutionCancelled(state.reason, self.id)
        # The execution failed before it was loaded here, so only the record of the failure exists
        if self._failure is None:
            self._failure = failure_from_record(self, state.error)
        # Without the reset, each `raise` in a caller or reader would add its frames to the same traceback.
        return BaseException.with_traceback(self._failure, self._failed_at)

    # -- observers and readers ---------------------------------------------------------------------------------------

    def keep_records(self) -> RingJournal:
        """Return the journal. If it kept no records so far, it keeps the newest ones from now on."""
        journal = self.journal
        return self._new_journal(self.options.journal_limit) if journal is None or not journal.limit else journal

    def _new_journal(self, limit: int | None) -> RingJournal:
        observers = () if self.journal is None else self.journal.observers
        from .journal import RingJournal  # imported late: executions of `flow.start` keep no records

        journal = self.journal = RingJournal(limit, observers)
        journal.first = self.machine.state.records
        return journal

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Call `observer` with every record from now on. Returns a function that removes the observer."""
        journal = self._new_journal(0) if self.journal is None else self.journal
        journal.observers = (*journal.observers, observer)

        def remove() -> None:
            journal = self.journal
            if journal is not None:
                journal.observers = tuple(it for it in journal.observers if it is not observer)

        return remove

    def open_stream(self, last: int | None = None) -> RuntimeStream:
        """The runtime stream, created on first use. `last` is the number of the item before its first item."""
        stream = self.stream
        if stream is None:
            from .stream import RuntimeStream  # imported late: not needed by executions without items and readers

            if last is None:
                last = self.machine.state.stream if self.log is None else self.log.items
            stream = self.stream = RuntimeStream(self.options.stream_history, last)
            self.durability.prepare_stream(self, stream)
            if self.has_ended:
                stream.end(self.why_ended())
            elif self.machine.state.stream_stopped and (self.log is None or self.log.is_committed):
                stream.end()
        return stream

    def begin_reading(self, value: Any) -> Awaitable[None] | None:
        """Start or continue the execution for the first step of a reader. Returns an awaitable if the reader has to
        wait."""
        if self.durability.outlives_loop:
            return self._open_and_read(value)
        return self._begin_reading(value)

    async def _open_and_read(self, value: Any) -> None:
        await self.durability.open(self)
        if self.durability.runs_elsewhere(self):
            if value is not UNSET:
                await actions.perform(self, actions.BEGIN, value, None)
            return
        begun = self._begin_reading(value)
        if begun is not None:
            await begun

    def _begin_reading(self, value: Any) -> Awaitable[None] | None:
        if self.loop not in (None, asyncio.get_running_loop()):
            raise WrongLoopError(f"{self!r} runs on another event loop; read it there, or use the sync methods")
        if value is not UNSET:
            self.begin(value)
        elif self.driver is None and self.machine.state.started and self.machine.state.status not in FINAL:
            ingress.driver_of(self)  # a loaded execution continues with its first reader
        elif self._value is UNSET and self.machine.state.status not in FINAL:
            return self._begin_soon()
        return None

    async def _begin_soon(self) -> None:
        """Start the execution in the next turn of the loop, unless a caller starts it before. Raises the errors of
        `begin`."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._begin_for, begun)
        await begun

    def _begin_for(self, reader: asyncio.Future[None]) -> None:
        try:
            self.begin()
        except Exception as error:
            if not reader.done():
                reader.set_exception(error)
        else:
            wake_waiter(reader)

    def flow_data_changed(self, run: int | None, key: str, value: Any, digest: int | None) -> None:
        """Record a change of shared data, from any thread and without waiting; see `shared.Listener`."""
        ingress.post(self, events.FlowDataChanged(self.environment.now(), run, key, value, digest))

    # -- for the driver ----------------------------------------------------------------------------------------------

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        """Call the handler of a run. Raises `RunLost` if it is not started again, see `losses_are_over`."""
        if run.attempt > 1:
            return self._invoke_again(run)
        return self.program.invokers[run.node.index](TriggerFlowRuntimeData(self, run))

    def _invoke_again(self, run: RunChunk) -> Awaitable[Any]:
        def call() -> Awaitable[Any]:
            data = TriggerFlowRuntimeData(self, run)
            return finishing(data, self.program.invokers[run.node.index](data))

        if run.interruptions is not None and self.durability.outlives_loop:
            if self.losses_are_over(run):
                raise self.lost(run)
            if self.is_suspect(run):
                return self.durability.alone(self, run, call)
        return call()

    def losses_are_over(self, it: RunChunk | BlockInstance, times: int = 1) -> bool:
        """Whether a chunk, or a lazy source, ends its process, so that it is not started again. In memory never.

        A process that ends takes all its runs with it. So after two losses a run begins as the only suspect of its
        process, and only the losses after that count against it."""
        noted, limit = it.interruptions, self.options.max_losses
        if noted is None or it.node.kind is OperatorKind.SUB_FLOW or not self.durability.outlives_loop:
            return False
        return noted.losses >= limit * times and noted.lost_alone >= limit - SUSPECT_AFTER

    def is_suspect(self, it: RunChunk | BlockInstance) -> bool:
        """Whether a chunk, or a lazy source, may be what ends its process, so that it begins alone."""
        noted = it.interruptions
        if noted is None or it.node.kind is OperatorKind.SUB_FLOW or not self.durability.outlives_loop:
            return False
        return noted.losses >= SUSPECT_AFTER

    def lost(self, it: RunChunk | BlockInstance) -> RunLost:
        """What a chunk, or a lazy source, fails with that is not started again."""
        losses = 0 if it.interruptions is None else it.interruptions.losses
        what = f"chunk {it.node.name!r}" if isinstance(it, RunChunk) else f"the source of the items of {it.node.id!r}"
        return RunLost(
            f"{what} of {self!r} ran each time that its process ended ({losses} times), and is not started again: it "
            f"may be what ends the process, for example by its use of memory (max_losses={self.options.max_losses}; "
            "flow.async_retry starts it again)"
        )

    def handle_for(self, run: RunChunk) -> Execution:
        """The handle that a chunk gets as `data.execution`."""
        from .execution import Execution

        return Execution(self, run)

    def retry_delay(self, run: RunChunk, error: BaseException) -> float | None:
        """The seconds until the chunk's retry policy tries again; None if it does not."""
        retry = self.program.retries[run.node.index]
        if retry is None or isinstance(error, RunLost):
            return None
        if run.trigger.kind == "resume" and isinstance(error, InterruptExpired):
            return None  # the time for an answer is over, however often the chunk is tried
        from ..build.retry import pause_before_retry  # few chunks have a policy

        # Attempts that were interrupted have not failed, so the policy does not count them.
        failures = run.attempt - (0 if run.interruptions is None else run.interruptions.count)
        return pause_before_retry(retry, failures, error, self.environment.random)

    def publish(self, number: int, item: Any, path: str) -> None:
        """Give an item to the readers, and to the parent if this is a sub-flow."""
        stream = self.stream
        if stream is None:
            stream = self.open_stream(number - 1)
        stream.publish(number, item, path)
        if self.link is not None and self.log is None:  # those of a durable child went there before its commit
            self.link.publish(item, path)

    def notice(self, command: commands.AnyCommand) -> None:
        """Perform a command that needs no task and no timer."""
        match command:
            case commands.StopStream():
                self.open_stream().end()
            case commands.Rested():
                if self.machine.state.keep_open:
                    self.rested()
                else:
                    self.wake()
            case commands.TakenBack(signal=signal):
                why = "the process that read the model's answer has ended; the model is asked again"
                ingress.put_retraction(self, signal, why)
            case commands.CheckResult(value=value):
                self._check_result(value)
            case commands.ResultFixed(by=by):
                self.result_fixed(by)
            case commands.ResultDropped() if self.dropped_result:  # the first is logged below
                pass
            case commands.ResultDropped():
                self.dropped_result = True
                log_notice(self, command, ())
            case commands.CloseInterrupt(interrupt=interrupt) if self.schemas and interrupt.id in self.schemas:
                del self.schemas[interrupt.id]
                self.notice(command)
            case commands.CloseInterrupt(interrupt=interrupt) if self.link is None:
                with suppress(ExecutionClosed):  # the execution has ended, and its readers get its outcome instead
                    ingress.put_interrupt(self, interrupt.status, describe_interrupt(interrupt))
            case commands.OpenInterrupt(interrupt=interrupt) if self.link is None:
                ingress.put_interrupt(self, "pause", describe_interrupt(interrupt))
                if self.options.keep_open:
                    self.wake()
            case commands.GrantPermits() | commands.Answer():
                from .subflow import perform_in_child  # only a flow with sub-flows has these commands

                perform_in_child(self, command)
            case _:
                if self.link is None or not self.link.perform(self, command):
                    log_notice(self, command, self.machine.plan.events)

    def entering(self) -> None:
        """Hook for extensions: called before the start, or a change from outside, is recorded."""

    def rested(self) -> None:
        """Hook: no chunk runs any more, and the execution has `keep_open`."""
        self.wake()

    def result_fixed(self, by: int | str | None) -> None:
        """Hook: an execution with `keep_open` has a result, set by a run (its number), by an `end()` (its id) or from
        outside (None)."""
        self.wake()

    def _check_result(self, value: Any) -> None:
        """Check a result that has reached an `end()`, and record whether it has the declared type."""
        check, now = self.program.contract.result, self.environment.now()
        try:
            value = value if check is None else check(value)
            ingress.submit(self, events.ResultChecked(now, value))
        except (ContractError, PayloadError) as broken:  # it does not fit, or what it was converted to is not recorded
            self._failure = broken
            info = events.ErrorInfo(type(broken).__name__, str(broken))
            ingress.submit(self, events.ResultRejected(now, info))

    def closing(self) -> None:
        """Wake chunks that wait for a slow reader, because all chunks are being cancelled."""
        if self.stream is not None:
            self.stream.release_writers()

    def closed(self, close: commands.Close, error: BaseException | None) -> None:
        """Wake all callers and readers after the end of the execution. If none of them gets its failure, log it."""
        state = self.machine.state
        if state.status is Status.FAILED and error is not None:  # without `error`, the result did not fit the contract
            self._failure, self._failed_at = error, error.__traceback__
        elif state.status is Status.FAILED and self._failure is None:  # no chunk has raised: a time limit has passed
            self._failure = failure_from_record(self, state.error)
        self.shared.forget(self)
        self.observed = self.observed or self.waited_for
        if self.log is None or self.log.is_committed:
            self.driver = None
        self.wake_all(self.why_ended())
        if state.result is UNSET:
            log_end(self, close, self.program.promised)
        if self._failure is not None and not self.observed:
            logger.error("%r failed, and no caller waits for its result", self, exc_info=self._failure)
        self.durability.on_closed(self)

    def require_running(self) -> Driver:
        """Return the driver. Raises `ExecutionClosed` if the execution has ended."""
        if self.driver is None:
            raise ExecutionClosed(f"{self!r} has ended ({self.status()}) and accepts nothing more")
        return self.driver


def wake_waiter(waiter: asyncio.Future[None]) -> None:
    """Wake the waiter if it is still pending."""
    if not waiter.done():
        waiter.set_result(None)
