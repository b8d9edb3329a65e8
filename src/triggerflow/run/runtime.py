"""One execution of a flow while it lives in this process: what the handles of users hold, and what a driver works for.

`ExecutionRuntime` joins a program with a machine. What changes it goes through `ingress`; this module makes it, starts
it, publishes what the core says, and wakes everybody who waits for its end.
"""

import asyncio
import logging
from collections import ChainMap
from collections.abc import Awaitable, Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from .._core import commands, events
from .._core.definition import OperatorKind
from .._core.errors import (
    AlreadyStarted,
    ContractError,
    ExecutionCancelled,
    ExecutionClosed,
    PayloadError,
    WrongLoopError,
)
from .._core.machine import FINAL, Machine
from .._core.sparse import SparseAttribute
from .._core.state import UNSET, RunChunk, RunState, Status, StatusName
from ..build.contract import Check
from ..build.retry import pause_before_retry
from . import ingress
from .data import TriggerFlowRuntimeData
from .environment import Environment
from .interfaces import IN_MEMORY, CommitLog, Driver, Durability
from .interrupts import describe_interrupt
from .journal import Observer, RingJournal
from .logs import failure_from_record, log_end, log_notice
from .options import Options, same_value
from .program import Program
from .shared import SharedData
from .stream import RuntimeStream
from .subflow import Link, perform_in_child

if TYPE_CHECKING:
    from .execution import Execution

logger = logging.getLogger("triggerflow")
EMPTY: dict[str, Any] = {}

#: Held while an execution that was given no id gets one: sync chunks may ask from several threads at once.
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
    _children: SparseAttribute["dict[str, tuple[ExecutionRuntime, str]] | None"] = SparseAttribute(None)
    #: resources of this execution only
    own_resources: SparseAttribute[dict[str, Any] | None] = SparseAttribute(None)
    #: whether it has ended but for its sources, which are being closed
    closes_sources: SparseAttribute[bool] = SparseAttribute(False)
    #: how its records are kept
    durability: SparseAttribute[Durability] = SparseAttribute(IN_MEMORY)
    #: snapshots of sub-flows that were running when this execution was saved, by path
    saved_children: SparseAttribute[dict[str, Any]] = SparseAttribute(EMPTY)
    #: the checks of answers, by interrupt
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
        #: the data it shares with the other executions of its flow
        self.shared = shared
        #: what it was created with
        self.options = options
        #: where it gets time, ids and chance from
        self.environment = environment
        self.machine = Machine(program.plan, state)
        #: its newest records; None where nobody can ask for them
        self.journal: RingJournal | None = None
        if options.attended:
            self.keep_records()
        #: where its records wait for their store; None in memory
        self.log: CommitLog | None = None
        #: its driver, while it lives on an event loop
        self.driver: Driver | None = None
        #: the number of the thread that drives it (one object for all, where `get_ident` makes one for each); None for
        #: any thread
        self.thread: int | None = None
        #: its runtime stream, once something was put or somebody reads
        self.stream: RuntimeStream | None = None
        #: how it shows in its parent; None for what is no sub-flow
        self.link = link
        #: whether it is neither a sub-flow nor durable, so that an item only has to be numbered and published
        self.is_plain = link is None
        #: whether somebody has seen, or will see, how it ended
        self.observed = False
        self._value: Any = UNSET
        self._waiter: asyncio.Future[None] | None = None
        #: all but the first that wait; one that is done leaves by itself
        self._others: dict[asyncio.Future[None], None] | None = None
        if id is not None:
            self._id = id
        if resources:
            self.own_resources = dict(resources)

    def use(self, program: Program) -> None:
        """Run this program; to be said before the execution is opened."""
        #: the flow this execution runs, as it was when the execution was created
        self.program = program
        #: what the flow promises of stream items
        self.check_item = program.contract.stream

    # -- who it is ---------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The one it was given, or one of the environment's."""
        if self._id is None:
            with _giving_id:
                if self._id is None:
                    self._id = self.environment.new_id()
        return self._id

    @property
    def start_value(self) -> Any:
        """What it was started with; UNSET before."""
        return self._value

    @start_value.setter
    def start_value(self, value: Any) -> None:
        self._value = value

    @property
    def resources(self) -> ChainMap[str, Any]:
        """The resources by name: this execution's before its flow's. What is set there is this execution's own."""
        if self.own_resources is None:
            self.own_resources = dict[str, Any]()
        return ChainMap(self.own_resources, self.shared.resources)

    @property
    def children(self) -> "dict[str, tuple[ExecutionRuntime, str]]":
        """The sub-flows that run now, by path; and their open interrupts, with the id that each has in the child."""
        if self._children is None:
            self._children = {}
        return self._children

    def forget_children(self) -> None:
        """The sub-flows do not run here any more."""
        self._children = None

    @property
    def answerable(self) -> bool:
        """Whether somebody outside could answer an interrupt: the holder of the handle of it or of its parent."""
        return self.options.attended if self.link is None else self.link.parent.answerable

    def __repr__(self) -> str:
        return f"<Execution {self.id} of flow {self.program.name!r}>"

    # -- its life ----------------------------------------------------------------------------------------------------

    def begin(self, value: Any = UNSET) -> None:
        """Start the execution without waiting for it. A second start does nothing, but must not bring another value."""
        contract = self.program.contract.initial_input
        if self._value is not UNSET:
            if value is UNSET:
                return
            if contract is not None and self.durability.outlives_loop:
                value = contract(value)  # the recorded value was checked before
            if not same_value(value, self._value):
                raise AlreadyStarted(
                    f"{self!r} was started with {self._value!r} and cannot start again with {value!r}; "
                    "create another execution for another value"
                )
            return
        value = None if value is UNSET else value
        started = value if contract is None else contract(value)
        model = self.program.state
        driver = ingress.driver_of(self, starting=model is None)
        now = self.environment.now
        if model is not None:
            for key, default in model.initial().items():
                if key not in self.machine.state.data:
                    ingress.submit(self, events.StateChanged(now(), None, "set", key, default, emit=False))
        self._value = value
        try:
            driver.start(events.Started(now(), started, *self.recorded_options()))
        except PayloadError:  # it has not started, and may be started with another value
            self._value = UNSET
            raise

    def recorded_options(self) -> tuple[Any, ...]:
        """What its first record says beside the start value: all that changes the course of the execution."""
        return (*self.options.recorded(), self.program.contract.result is not None)

    async def result(self, timeout: float | None = None) -> Any:
        """Wait until the execution has ended and return its result; one that is kept open gives it as soon as it has
        one. Raises what a chunk raised, `ExecutionCancelled`, or `TimeoutError` after `timeout` seconds."""
        ended = self.ended(timeout)
        if ended is not None:
            await (self.until(self.has_answer, timeout) if self.options.keep_open else ended)
        return self.outcome(timeout)

    async def cancel(self, reason: str) -> None:
        """Stop all chunks, wait for their clean-up, and end as cancelled. What has ended stays as it ended."""
        if self.machine.state.status not in FINAL:
            self.observed = True
            ingress.driver_of(self)
            ingress.submit(self, events.CancelRequested(self.environment.now(), reason))
        await self.until(lambda: self.has_ended)

    async def close(self) -> Any:
        """Take no more signals from outside; wait for the end and its result."""
        if self.machine.state.status not in FINAL:
            ingress.driver_of(self)
            ingress.submit(self, events.CloseRequested(self.environment.now()))
        await self.until(lambda: self.has_ended)
        return self.outcome()

    @property
    def has_ended(self) -> bool:
        """Whether it takes nothing any more, and its sources are closed; of a durable one, whether that is in the
        store."""
        ingress.check_loop(self)
        if self.machine.state.status not in FINAL or (self.log is not None and not self.log.is_committed):
            return False
        if self.closes_sources and self.driver is not None and self.environment.is_closed(self.driver.loop):
            self.closes_sources = False  # nothing closes them any more
        return not self.closes_sources

    def status(self) -> StatusName:
        """created, running, waiting (for something from outside), completed, failed or cancelled."""
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
        """The event loop it lives on; None before the start, where its next use moves it, and after the end once that
        is in the store."""
        ingress.check_loop(self)
        driver = self.driver
        if driver is None or ingress.moves_here(self):
            return None
        if self.closes_sources or (self.log is not None and self.log.suspended is None and not self.log.is_committed):
            return driver.loop
        return None if self.machine.state.status in FINAL else driver.loop

    def is_settled(self) -> bool:
        """Whether nothing is at work: no chunk, source or timer. An open interrupt is not work."""
        state = self.machine.state
        if state.runs:
            return bool(state.interrupts) and self.status() == "waiting"
        return not (state.pulls or (state.timers and any(it.what != "expiry" for it in state.timers.values())))

    def has_answer(self) -> bool:
        """Whether it has ended, or is kept open and has a result."""
        state = self.machine.state
        return (state.keep_open and state.result is not UNSET) or state.status in FINAL

    def restored(self, value: Any, children: dict[str, Any], broken: str | None) -> None:
        """Take over what a snapshot keeps beside the state."""
        self._value, self.saved_children = value, children
        if broken is not None:
            self._failure = ContractError(broken)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def ended(self, timeout: float | None = None) -> "asyncio.Future[None] | None":
        """A future that is done when the execution has ended or `timeout` seconds have passed; None if it has ended.

        Raises `WrongLoopError` on another event loop, where the future would never be done, and for a durable execution
        that was suspended here the reason for that.
        """
        if self.log is not None and self.log.suspended is not None:
            raise self.log.suspended
        if self.has_ended:
            return None
        loop = asyncio.get_running_loop()
        driver = self.driver if self.machine.state.status in FINAL else ingress.driver_of(self)
        if driver is not None and driver.loop is not loop:
            raise WrongLoopError(f"{self!r} lives on another event loop; wait for it there, or use the sync methods")
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

        The condition is looked at when the execution ends; if it is kept open also when it comes to rest, opens an
        interrupt or has its result; with `every_record` after each record.
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

    def outcome(self, timeout: float | None = None, then: str = "it goes on running") -> Any:
        """The result of the execution. Raises why there is none, or `TimeoutError` if it has to be waited for."""
        if self.log is not None and self.log.suspended is not None:
            raise self.log.suspended
        self.observed = True
        state = self.machine.state
        ready = state.status is Status.COMPLETED or (state.keep_open and state.result is not UNSET)
        if ready and self._failure is None:
            check = self.program.contract.result
            if check is not None and not state.checks_result and state.result is not UNSET:
                return check(state.result)  # it was started by a version that did not record the check
            return None if state.result is UNSET else state.result
        if state.status not in FINAL and self._failure is None:
            self.observed = False
            raise TimeoutError(f"{self!r} has not ended after {timeout} s; {then}")
        raise self._why_failed()

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for its end or reads its stream now."""
        waiting = any(not waiter.done() for waiter in (self._waiter, *(self._others or ())) if waiter is not None)
        return waiting or bool(self.stream and self.stream.observed)

    def wake(self) -> None:
        """Wake those who wait for the execution, so that they look at its state."""
        waiter, others = self._waiter, self._others
        self._waiter = self._others = None
        if waiter is not None:
            wake_waiter(waiter)
        for other in others or ():
            wake_waiter(other)

    def wake_all(self, failure: Callable[[], BaseException] | None) -> None:
        """Nothing more will come: wake those who wait, and end the stream, with a failure after the last item."""
        self.wake()
        if self.stream is not None:
            self.stream.end(failure)

    def why_ended(self) -> Callable[[], BaseException] | None:
        """What readers get after the last item: None for a good end."""
        return None if self.status() == "completed" else self._why_failed

    def _why_failed(self) -> BaseException:
        """The exception that says why there is no result; the object that a chunk raised, where there is one."""
        state = self.machine.state
        self.observed = True
        if state.status is Status.CANCELLED and self._failure is None:
            return ExecutionCancelled(state.reason, self.id)
        if self._failure is None:  # it failed before it was loaded here: only the record is left
            self._failure = failure_from_record(self, state.error)
        return self._failure

    # -- observers and readers ---------------------------------------------------------------------------------------

    def keep_records(self) -> RingJournal:
        """The journal, which holds the newest records from now on, where it was not needed so far."""
        journal = self.journal
        return self._new_journal(self.options.journal_limit) if journal is None or not journal.limit else journal

    def _new_journal(self, limit: int | None) -> RingJournal:
        observers = () if self.journal is None else self.journal.observers
        journal = self.journal = RingJournal(limit, observers)
        journal.first = self.machine.state.records
        return journal

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Call a function with every record from now on; returns what ends that."""
        journal = self._new_journal(0) if self.journal is None else self.journal
        journal.observers = (*journal.observers, observer)

        def remove() -> None:
            journal = self.journal
            if journal is not None:
                journal.observers = tuple(it for it in journal.observers if it is not observer)

        return remove

    def open_stream(self, last: int | None = None) -> RuntimeStream:
        """The runtime stream, made on first use; `last` is the number of the item before the first one it will get."""
        stream = self.stream
        if stream is None:
            if last is None:
                last = self.machine.state.stream if self.log is None else self.log.items
            stream = self.stream = RuntimeStream(self.options.stream_history, last)
            self.durability.prepare_stream(self, stream)
            if self.has_ended:
                stream.end(self.why_ended())
        return stream

    def begin_reading(self, value: Any) -> Awaitable[None] | None:
        """What the first step of a reader does: start the execution, or let it go on."""
        if self.durability.outlives_loop:
            return self._open_and_read(value)
        return self._begin_reading(value)

    async def _open_and_read(self, value: Any) -> None:
        await self.durability.open(self)
        begun = self._begin_reading(value)
        if begun is not None:
            await begun

    def _begin_reading(self, value: Any) -> Awaitable[None] | None:
        if self.loop not in (None, asyncio.get_running_loop()):
            raise WrongLoopError(f"{self!r} lives on another event loop; read it there, or use the sync methods")
        if value is not UNSET:
            self.begin(value)
        elif self.driver is None and self.machine.state.started and self.machine.state.status not in FINAL:
            ingress.driver_of(self)  # it was loaded: with its first reader it goes on
        elif self._value is UNSET and self.machine.state.status not in FINAL:
            return self._begin_soon()
        return None

    async def _begin_soon(self) -> None:
        """Start it in the next turn of the loop, if nobody has started it until then; raises what that raises."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._begin_for, begun)
        await begun

    def _begin_for(self, reader: "asyncio.Future[None]") -> None:
        try:
            self.begin()
        except Exception as error:
            if not reader.done():
                reader.set_exception(error)
        else:
            wake_waiter(reader)

    def flow_data_changed(self, run: int | None, key: str, value: Any) -> None:
        """Record a change of shared data, from any thread and without waiting; see `shared.Listener`."""
        ingress.post(self, events.FlowDataChanged(self.environment.now(), run, key, value))

    # -- for its driver ----------------------------------------------------------------------------------------------

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        """Call the handler of a run."""
        return self.program.invokers[run.node.index](TriggerFlowRuntimeData(self, run))

    def handle_for(self, run: RunChunk) -> "Execution":
        """The handle that a chunk gets as `data.execution`."""
        from .execution import Execution

        return Execution(self, run)

    def retry_delay(self, run: RunChunk, error: BaseException) -> float | None:
        """In how many seconds the chunk's policy tries again; None if it does not."""
        retry = self.program.retries[run.node.index]
        return None if retry is None else pause_before_retry(retry, run.attempt, error, self.environment.random)

    def publish(self, number: int, item: Any, path: str) -> None:
        """Hand an item to the readers, and to the parent of a sub-flow."""
        stream = self.stream
        if stream is None:
            stream = self.open_stream(number - 1)
        stream.publish(number, item, path)
        if self.link is not None and self.log is None:  # a durable parent got it with the record
            self.link.publish(item, path)

    def notice(self, command: commands.AnyCommand) -> None:
        """Act on a command that needs no task and no timer."""
        match command:
            case commands.StopStream():
                self.open_stream().end()
            case commands.Rested():
                self.rested()
            case commands.CheckResult(value=value):
                self._check_result(value)
            case commands.ResultFixed(by=by):
                self.result_fixed(by)
            case commands.CloseInterrupt(interrupt=interrupt) if self.schemas and interrupt.id in self.schemas:
                del self.schemas[interrupt.id]
                self.notice(command)
            case commands.OpenInterrupt(interrupt=interrupt) if self.link is None:
                ingress.put_interrupt(self, "pause", describe_interrupt(interrupt))
                if self.options.keep_open:
                    self.wake()
            case commands.GrantPermits() | commands.Answer():
                perform_in_child(self, command)
            case _:
                if self.link is None or not self.link.perform(self, command):
                    log_notice(self, command, self.machine.plan.events)

    def entering(self) -> None:
        """Something is about to be recorded from outside, or by the start; for extensions."""

    def rested(self) -> None:
        """It is kept open, and no chunk runs any more."""
        self.wake()

    def result_fixed(self, by: int | str | None) -> None:
        """It is kept open, and has a result: by a run (its number), an `end()` (its id) or from outside (None)."""
        self.wake()

    def _check_result(self, value: Any) -> None:
        """Check a result that has reached an `end()`, and record whether it fits."""
        check, now = self.program.contract.result, self.environment.now()
        try:
            value = value if check is None else check(value)
        except ContractError as broken:
            self._failure = broken
            info = events.ErrorInfo(type(broken).__name__, str(broken))
            ingress.submit(self, events.ResultRejected(now, info))
        else:
            ingress.submit(self, events.ResultChecked(now, value))

    def closing(self) -> None:
        """Chunks are being stopped: no reader holds them up any more."""
        if self.stream is not None:
            self.stream.release_writers()

    def closed(self, close: commands.Close, error: BaseException | None) -> None:
        """The execution has ended: wake everybody who waits."""
        state = self.machine.state
        if state.status is Status.FAILED and error is not None:  # else the result broke the contract
            self._failure = error
        self.shared.forget(self)
        self.observed = self.observed or self.waited_for
        if self.log is None or self.log.is_committed:
            self.driver = None
        self.wake_all(self.why_ended())
        if state.result is UNSET:
            log_end(self, close, self.program.promised)
        if self._failure is not None and not self.observed:
            logger.error("%r failed and nobody waits for it", self, exc_info=self._failure)
        self.durability.on_closed(self)

    def require_running(self) -> Driver:
        """The driver. Raises `ExecutionClosed` if there is none any more."""
        if self.driver is None:
            raise ExecutionClosed(f"{self!r} has ended ({self.status()}); it takes nothing any more")
        return self.driver


def wake_waiter(waiter: "asyncio.Future[None]") -> None:
    """Wake the waiter if it is still pending."""
    if not waiter.done():
        waiter.set_result(None)
