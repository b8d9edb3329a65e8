"""What an execution is inside: the machine, its driver, and everybody who is told how it goes.

`HostedExecution` joins a program with a machine and is the host that the driver calls. What a user calls stands in
`execution.Execution`, which is one.
"""

import asyncio
import logging
import os
from collections import ChainMap
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from .._core import commands, events
from .._core.definition import OperatorKind
from .._core.errors import AlreadyStarted, ContractError, ExecutionCancelled, PayloadError, UsageError, WrongLoopError
from .._core.machine import FINAL, Machine
from .._core.rarely import Rarely
from .._core.state import UNSET, RunChunk, RunState, Status, StatusName
from ..build.contract import Check
from ..build.policies import pause_before_retry
from ..drivers.asyncio import LocalDriver
from .data import TriggerFlowRuntimeData
from .interrupts import admit
from .journal import RingJournal
from .logs import describe_interrupt, log_notice, told_failure
from .loop import LoopBoundExecution
from .options import Options, same_value
from .program import Program
from .shared import SharedData
from .stream import RuntimeStream
from .subflow import Link, hand_down

logger = logging.getLogger("triggerflow")
EMPTY: dict[str, Any] = {}


class HostedExecution(LoopBoundExecution):
    """One run of a flow, as the engine sees it."""

    __slots__ = (
        "_link",
        "_observed",
        "_value",
        "_waiter",
        "journal",
        "program",
        "rare",
        "stream",
    )

    #: the id, once there is one
    _id: Rarely[str | None] = Rarely(None)
    _resources: Rarely[dict[str, Any] | None] = Rarely(None)
    #: who else waits beside `_waiter`, in the order of their coming
    _others: Rarely[tuple[asyncio.Future[None], ...]] = Rarely(())
    _failure: Rarely[BaseException | None] = Rarely(None)
    _children: Rarely["dict[str, tuple[HostedExecution, str]] | None"] = Rarely(None)
    #: snapshots of sub-flows that were running when this execution was saved, by path
    saved_children: Rarely[dict[str, Any]] = Rarely(EMPTY)
    #: the checks of answers, by interrupt
    schemas: Rarely[dict[str, Check] | None] = Rarely(None)

    def __init__(
        self,
        program: Program,
        shared: SharedData,
        options: Options,
        id: str | None = None,
        *,
        state: RunState | None = None,
        resources: Mapping[str, Any] | None = None,
        link: Link | None = None,
    ) -> None:
        super().__init__(Machine(program.plan, state), shared, options)
        self.rare: dict[str, Any] | None = None
        #: the records of this execution, as far as they are held
        self.journal = RingJournal(options.journal_limit)
        self.journal.first = self.machine.state.records
        self.stream: RuntimeStream | None = None
        if id is not None:
            self._id = id
        #: the flow this execution runs, as it was when the execution was created
        self.program = program
        if resources:
            self._resources = dict(resources)
        self._link = link
        self._value: Any = UNSET
        self._waiter: asyncio.Future[None] | None = None
        self._observed = False

    @property
    def id(self) -> str:
        """The one it was given, or a random one."""
        if self._id is None:
            self._id = os.urandom(8).hex()
        return self._id

    @property
    def start_value(self) -> Any:
        """What it was started with; UNSET before."""
        return self._value

    def restored(self, value: Any, children: dict[str, Any], broken: str | None) -> None:
        """Take over what a snapshot keeps beside the state."""
        self._value, self.saved_children = value, children
        if broken is not None:
            self._failure = ContractError(broken)

    @property
    def broken(self) -> str | None:
        """How the result broke the contract, if it did: the execution has completed, and failed all the same."""
        completed = self.machine.state.status is Status.COMPLETED
        return None if self._failure is None or not completed else str(self._failure)

    def begin(self, value: Any = UNSET) -> None:
        """Start the execution without waiting for it. A second start is none, but must not bring another value."""
        if self._value is not UNSET:
            if value is not UNSET and not same_value(value, self._value):
                raise AlreadyStarted(
                    f"{self!r} was started with {self._value!r} and cannot start again with {value!r}; "
                    "create another execution for another value"
                )
            return
        options, program = self.options, self.program
        value = None if value is UNSET else value
        started = value if program.contract.initial_input is None else program.contract.initial_input(value)
        driver = self.drive(starting=program.state is None)
        if program.state is not None:
            for key, default in program.state.initial().items():
                if key not in self.machine.state.data:
                    driver.submit(events.StateChanged(time(), None, "set", key, default, emit=False))
        self._value = value
        try:
            driver.start(events.Started(time(), started, *options.course()))
        except PayloadError:  # it has not started, and may be started with another value
            self._value = UNSET
            raise

    def ended(self, timeout: float | None = None) -> "asyncio.Future[None] | None":
        """A future that is done when the execution has ended or `timeout` seconds have passed; None if it has ended.

        Raises `WrongLoopError` where the future would never be done.
        """
        if self.has_ended:
            return None
        loop = asyncio.get_running_loop()
        driver = self.driver if self.running is None else self.running
        if driver.loop is not loop:
            raise WrongLoopError(f"{self!r} lives on another event loop; wait for it there, or use the sync methods")
        waiter: asyncio.Future[None] = loop.create_future()
        others = tuple(other for other in self._others if not other.done())
        if self._waiter is None or (self._waiter.done() and not others):
            self._waiter = waiter
        else:
            self._others = (*others, waiter)
        if timeout is not None:
            timer = loop.call_later(timeout, finish, waiter)
            waiter.add_done_callback(lambda _: timer.cancel())
        return waiter

    def outcome(self, timeout: float | None = None, then: str = "it goes on running") -> Any:
        """The result of the execution. Raises why there is none, or `TimeoutError` if it has to be waited for."""
        self._observed = True
        state = self.machine.state
        ready = state.status is Status.COMPLETED or (state.keep_open and state.result is not UNSET)
        if ready and self._failure is None:
            return None if state.result is UNSET else state.result
        if state.status not in FINAL and self._failure is None:
            self._observed = False
            raise TimeoutError(f"{self!r} has not ended after {timeout} s; {then}")
        raise self._failed()

    def get_status(self) -> StatusName:
        """Where it stands; see `LoopBoundExecution.get_status`."""
        status = super().get_status()
        if self._failure is not None and status in ("completed", "cancelled"):  # the result broke the contract
            return "failed"
        if status == "running" and self._children and self._only_children_wait():
            return "waiting"
        return status

    # -- for the driver ----------------------------------------------------------------------------------------------

    def make_driver(self) -> LocalDriver:
        """A driver for this execution on the running loop."""
        return LocalDriver(self.machine, self.journal, self)

    def invoke(self, run: RunChunk) -> Any:
        """Call the handler of a run."""
        return self.program.invokers[run.node.index](TriggerFlowRuntimeData(self, run))

    def retry_delay(self, run: RunChunk, error: BaseException) -> float | None:
        """In how many seconds the chunk's policy tries again."""
        retry = self.program.retries[run.node.index]
        return None if retry is None else pause_before_retry(retry, run.attempt, error)

    def publish(self, number: int, item: Any, path: str) -> None:
        """Hand an item to the readers."""
        if self.stream is None:
            self.stream = self._new_stream(number - 1)
        self.stream.publish(number, item, path)
        if self._link is not None:
            self._link.publish(item, path)

    def notice(self, command: commands.AnyCommand) -> None:
        """What an observer is told; see `notices`."""
        match command:
            case commands.StopStream():
                self.stream = self.stream or self._new_stream()
                self.stream.end()
            case commands.CloseInterrupt(interrupt=interrupt) if self.schemas and interrupt.id in self.schemas:
                del self.schemas[interrupt.id]
                self.notice(command)
            case commands.OpenInterrupt(interrupt=interrupt) if self._link is None:
                self._tell_interrupt("pause", describe_interrupt(interrupt))
            case commands.GrantPlaces() | commands.Answer():
                hand_down(self, command)
            case _:
                if self._link is None or not self._link.take(self, command):
                    log_notice(self, command, self.machine.plan.events)

    @property
    def deadline(self) -> float:
        """How long chunks that are told to stop have for their clean-up, in seconds."""
        return self.options.deadline

    def closing(self) -> None:
        """Chunks are being stopped: no reader holds them up any more."""
        if self.stream is not None:
            self.stream.release_writers()

    def closed(self, close: commands.Close, error: BaseException | None) -> None:
        """The execution has ended: tell everybody who waits."""
        state = self.machine.state
        if state.status is Status.FAILED:
            self._failure = error
        self.check_result()
        self.shared.forget(self)
        self._observed = self._observed or self.waited_for
        self.tell_waiters(self._why_ended())
        if close.unfilled and state.result is UNSET:
            logger.warning("%r ended without a result; these joins still waited: %s", self, ", ".join(close.unfilled))
        if self._failure is not None and not self._observed:
            logger.error("%r failed and nobody waits for it", self, exc_info=self._failure)

    def check_result(self) -> None:
        """A result that breaks the contract is a failure, although all chunks have done their work."""
        state, check = self.machine.state, self.program.contract.result
        if check is not None and state.status is Status.COMPLETED and state.result is not UNSET:
            try:
                state.result = check(state.result)
            except ContractError as broken:
                self._failure = broken

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for its end or reads its stream now."""
        waiting = any(not waiter.done() for waiter in (self._waiter, *self._others) if waiter is not None)
        return waiting or bool(self.stream and self.stream.observed)

    def tell_waiters(self, failure: Callable[[], BaseException] | None) -> None:
        """Nothing more will come: those who wait look for the outcome, readers get the failure after the last item."""
        self.wake()
        if self.stream is not None:
            self.stream.end(failure)

    def wake(self) -> None:
        """Let those who wait look at how it stands now."""
        waiters = (self._waiter, *self._others)
        self._waiter, self._others = None, ()
        for waiter in waiters:
            if waiter is not None:
                finish(waiter)

    # -- what chunks and sub-flows need ------------------------------------------------------------------------------

    @property
    def children(self) -> "dict[str, tuple[HostedExecution, str]]":
        """The sub-flows that run now, by path; and their open interrupts, with the id each has in the child."""
        if self._children is None:
            self._children = {}
        return self._children

    def answer(self, interrupt_id: str, value: Any, request_id: str | None) -> dict[str, Any]:
        """Answer an interrupt, from any thread; see `Execution.async_continue_with`. Returns when it is accepted."""
        return self.on_loop(lambda: self._answer(interrupt_id, value, request_id))

    def _answer(self, id: str, value: Any, request: str | None) -> dict[str, Any]:
        """In one piece: of several answers that come at once only one is told."""
        event = events.Resumed(time(), id, value, request)
        interrupt, new = admit(self, event)
        if new and self._link is None:
            answer = {**describe_interrupt(interrupt), "status": "resumed", "response": event.value}
            self._tell_interrupt("resume", answer)
        if new:
            self.driver.submit(event)
            (self.schemas or {}).pop(id, None)
        return describe_interrupt(interrupt)

    @property
    def answerable(self) -> bool:
        """Whether somebody outside could answer an interrupt: whoever holds the handle of it or of its parent."""
        return self.options.attended if self._link is None else self._link.parent.answerable

    def checked(self, name: str, value: Any) -> Any:
        """The value for an event, checked if its type was declared. Raises `ContractError`."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{self!r}: an event goes by its name, a string; got {name!r}")
        check = self.program.signals.get(name)
        return value if check is None else check(value)

    @property
    def resources(self) -> Mapping[str, Any]:
        """The resources by name: this execution's before its flow's."""
        return ChainMap(self._resources or {}, self.shared.resources)

    def _new_stream(self, last: int | None = None) -> RuntimeStream:
        stream = RuntimeStream(self.options.stream_history, self.machine.state.stream if last is None else last)
        if self.machine.state.status in FINAL:
            stream.end(self._why_ended())
        return stream

    def _only_children_wait(self) -> bool:
        busy = [run for run in self.machine.state.runs.values() if run.node.kind is not OperatorKind.SUB_FLOW]
        return not busy and all(child.get_status() == "waiting" for child, of in self.children.values() if not of)

    def _tell_interrupt(self, action: str, interrupt: dict[str, Any]) -> None:
        item = {"type": "interrupt", "action": action, "execution_id": self.id, "interrupt": interrupt}
        self.submit(events.StreamPut(time(), None, item))

    def _why_ended(self) -> Callable[[], BaseException] | None:
        """What readers are told after the last item: None for a good end."""
        return None if self.get_status() == "completed" else self._failed

    def _failed(self) -> BaseException:
        """The exception that tells why there is no result; the object that a chunk raised where there is one."""
        state = self.machine.state
        self._observed = True
        if state.status is Status.CANCELLED and self._failure is None:
            return ExecutionCancelled(state.reason, self.id)
        if self._failure is None:  # it failed before it was loaded here: only the record is left
            self._failure = told_failure(self, state.error)
        return self._failure

    def __repr__(self) -> str:
        return f"<Execution {self.id} of flow {self.program.name!r}>"


def finish(waiter: "asyncio.Future[None]") -> None:
    """Let go on who waits for this."""
    if not waiter.done():
        waiter.set_result(None)
