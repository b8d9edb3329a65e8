"""What a chunk receives: the value, and everything it may do to its execution.

Every method that changes something exists with and without `async_`. Both do the same and neither waits for what it
triggers; the async one gives way where a limit asks for it (a slow reader, too many pending signals), so prefer it.
"""

import math
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar

from ._core import events
from ._core.definition import OperatorKind
from ._core.errors import BlockingCallError, UsageError
from ._core.groups import kept_at
from ._core.signals import PUBLIC_KIND
from ._core.state import RunChunk
from .answers import expect_answer
from .drivers.ports import ChunkPaused
from .portal import run_sync
from .views import FlowState, State

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    from .drivers.local import LocalDriver
    from .execution import Execution
    from .models.response import Response

    ValueT = DefaultTypeVar("ValueT", default=Any)
    StreamT = DefaultTypeVar("StreamT", default=Any)
    ResultT = DefaultTypeVar("ResultT", default=Any)
else:
    # At run time the parameters only have to be accepted, one to three of them.
    ValueT, StreamT, ResultT = TypeVar("ValueT"), TypeVar("StreamT"), TypeVar("ResultT")


class TriggerFlowRuntimeData(Generic[ValueT, StreamT, ResultT]):
    """The argument of every chunk and condition.

    `value` is what the signal brought. The type parameters are the value, the stream items and the flow's result.
    """

    __slots__ = ("_driver", "_execution", "_repeated", "_run", "value")

    def __init__(self, execution: Any, run: RunChunk) -> None:
        self._execution: Execution = execution
        self._driver: LocalDriver = execution.running
        self._run = run
        # Effects that an earlier attempt of this run has recorded are not recorded again: the first one stands.
        self._repeated = dict(run.effects) if run.attempt > 1 and run.effects else None
        self.value: ValueT = run.value

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters):
            from types import GenericAlias

            return GenericAlias(cls, parameters)

    # -- who and why -------------------------------------------------------------------------------------------------

    @property
    def execution(self) -> "Execution":
        """The handle of this execution."""
        return self._execution

    @property
    def execution_id(self) -> str:
        """The id of this execution."""
        return self._execution.id

    @property
    def run(self) -> RunChunk:
        """This run of the chunk, as the core knows it: its operator, trigger, scope."""
        return self._run

    @property
    def run_id(self) -> str:
        """The stable id of this run of the chunk: the same when it is repeated after a crash."""
        return f"{self._execution.id}:{self._run.id}"

    @property
    def attempt(self) -> int:
        """1 for the first try of this run, 2 for the second, and so on."""
        return self._run.attempt

    @property
    def chunk_name(self) -> str:
        """The name of the chunk that is running."""
        return self._run.node.name

    @property
    def trigger_event(self) -> str:
        """The name of what triggered this run: an event, a chunk, or a key of state; "START" at the start."""
        return self._run.trigger.name or "START"

    @property
    def trigger_type(self) -> str:
        """The type of what triggered this run: "event" (also for chunks), "runtime_data", "flow_data", "collect"."""
        kind = PUBLIC_KIND[self._run.trigger.kind]
        return kind if kind in ("runtime_data", "flow_data", "collect") else "event"

    @property
    def signal_id(self) -> int:
        """The number of the record that caused this run, counted from 0 within the execution."""
        return self._run.signal

    @property
    def path(self) -> tuple[tuple[str, int, int], ...]:
        """The branches this run is in, outermost first: (operator, opening, index) each. Empty outside all blocks."""
        return self._run.scope.path if self._run.scope else ()

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> "State":
        """The state of this execution, by key."""
        return State(self._execution, self)

    @property
    def flow_state(self) -> "FlowState":
        """The data shared by all executions of this flow, by key."""
        return FlowState(self._execution, self)

    # -- signals -----------------------------------------------------------------------------------------------------

    async def async_emit(
        self,
        name: str,
        value: Any = None,
        *,
        settle: bool = False,
        delay: float | None = None,
        provisional: bool = False,
    ) -> int:
        """Emit a signal. Returns its number once it is accepted; what it triggers runs beside this chunk.

        What a `provisional` signal starts can be taken back with `async_retract(number)`, until
        `async_confirm(number)`.

        With `delay` (seconds) the signal is fired when the time has come; the execution waits for it. With `settle`
        it returns when everything that the signal caused has settled: chunks, what they caused in turn, retries,
        delayed signals, items that a lazy `for_each` has still to take. A question to the outside (`pause_for`) counts
        as settled, and what its answer starts is not waited for; a sub-flow counts until it has ended. It also waits
        while more than `max_pending` signals of this chunk, or runs that they caused, are pending. A chunk that waits
        here gives up its place in concurrency limits. A repeated attempt does not emit again what an earlier one has
        emitted: it waits for that, and gets its number where it can still be taken back, else -1. Raises
        `ExecutionClosed`, or `ContractError` for a declared signal's value of another type.
        """
        number = self._execution.machine.state.records
        if delay is not None:
            check_delay(delay)
        event = events.Emitted(
            time(), self._run.id, name, self._execution.checked(name, value), settle, delay, provisional
        )
        if self._repeated and self.repeats(event.effect):
            return await self._emitted_before(event.effect, settle)
        await self._driver.submit_and_settle(event)
        return number

    async def _emitted_before(self, effect: str, settle: bool) -> int:
        """The number of the signal that an earlier attempt has emitted here, once it has settled if that is asked."""
        run = self._run
        place = (run.effects or {})[effect] - (self._repeated or {})[effect]
        kept = kept_at(self._execution.machine.state, run, effect, place)
        if kept is None:
            return -1
        if settle:
            await self._driver.submit_and_settle(events.AwaitedAgain(time(), run.id, kept.signal))
        return kept.signal

    def emit(self, name: str, value: Any = None, *, settle: bool = False, delay: float | None = None) -> None:
        """Emit a signal; see `async_emit`. In an async chunk it never waits, and `settle` is an error."""
        execution = self._execution
        if delay is not None:
            check_delay(delay)
        if execution.on_loop_thread:
            if settle:
                raise BlockingCallError("emit(settle=True) would block the loop; write `await data.async_emit(...)`")
            self.record(
                events.Emitted(time(), self._run.id, name, execution.checked(name, value), False, delay, may_wait=False)
            )
        else:
            run_sync(lambda: self.async_emit(name, value, settle=settle, delay=delay), "async_emit", execution.loop)

    async def async_emit_fields(self, response: "Response", fields: Mapping[str, str]) -> Any:
        """Emit a signal for each field of a model's response as soon as it is complete; returns the response's data.

        `fields` maps paths to events: `{"queries[*]": "query_ready"}`. What the signals start is taken back if the
        answer is retried, cut off or not valid; see `triggerflow.dispatch`.
        """
        from .dispatch import emit_fields  # the model side is loaded by those who use it only

        return await emit_fields(self, response, fields)

    async def async_confirm(self, number: int) -> None:
        """A provisional signal stands; what it started cannot be taken back any more."""
        self.record(events.Confirmed(time(), self._run.id, number))

    async def async_retract(self, number: int, reason: str) -> None:
        """Take a provisional signal back: what it started is cancelled, and the stream is told."""
        known = number in (self._execution.machine.state.provisional or ())
        self.record(events.Retracted(time(), self._run.id, number, reason))
        if not known:
            return
        # No effect of its own: an attempt that repeats the retraction finds nothing to tell of.
        item = {"type": "retraction", "signal": number, "reason": reason}
        self._execution.submit(events.StreamPut(time(), None, item))

    # -- runtime stream ----------------------------------------------------------------------------------------------

    async def async_put_into_stream(self, stream_item: StreamT) -> None:
        """Put an item into the runtime stream; waits while a blocking reader lags by its whole buffer."""
        execution = self._execution
        if self._repeated and self.repeats(events.STREAM):
            return
        check = execution.program.contract.stream
        item = stream_item if check is None else check(stream_item)
        self._driver.submit(events.StreamPut(time(), self._run.id, item))
        stream = execution.stream
        if stream is not None and stream.last >= stream.ceiling and stream.full:
            await self._driver.without_place(self._run, stream.room)

    def put_into_stream(self, stream_item: StreamT) -> None:
        """Put an item into the runtime stream. In an async chunk it never waits, so that a slow reader may lose
        items."""
        execution = self._execution
        if execution.on_loop_thread:
            check = execution.program.contract.stream
            self.record(events.StreamPut(time(), self._run.id, stream_item if check is None else check(stream_item)))
        else:
            run_sync(lambda: self.async_put_into_stream(stream_item), "async_put_into_stream", execution.loop)

    async def async_stop_stream(self) -> None:
        """End the runtime stream; its readers stop after the last item. The execution goes on."""
        self.record(events.StreamStopped(time(), self._run.id))

    def stop_stream(self) -> None:
        """End the runtime stream; see `async_stop_stream`."""
        self.record(events.StreamStopped(time(), self._run.id))

    # -- result ------------------------------------------------------------------------------------------------------

    async def async_set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """See `set_result`."""
        self.set_result(value, replace=replace)

    def set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """Fix the result of the execution, if none was fixed before; with `replace` in any case.

        What has ended keeps its result, so that `replace` is for executions that are kept open.
        """
        check = self._execution.program.contract.result
        self.record(events.ResultSet(time(), self._run.id, value if check is None else check(value), replace))

    # -- pause -------------------------------------------------------------------------------------------------------

    def pause_for(
        self,
        *,
        type: str = "pause",
        payload: Any = None,
        resume_event: str | None = None,
        interrupt_id: str | None = None,
        resume_to: "Literal['next', 'self'] | dict[str, str]" = "next",
        schema: Any = None,
        expires: float | None = None,
    ) -> NoReturn:
        """End this chunk here and open an interrupt: a question of some `type` with a `payload`, to whoever watches.

        `execution.continue_with(id, answer)` answers it: the answer goes to what follows this chunk ("next"), to this
        chunk again ("self", as its value; `resume` has the question), or out as an event (`resume_event`, or
        `resume_to={"event": name}`). `schema` is the type of the answer, checked when it comes. After `expires` seconds
        without an answer the chunk fails with `InterruptExpired`. Other chunks go on meanwhile.
        Raises `UsageError` where nobody could answer, or if an interrupt of that id is open.
        """
        if isinstance(resume_to, dict):
            resume_event, resume_to = resume_to["event"], "next"
        if resume_to not in ("next", "self"):
            raise UsageError(f"pause_for: resume_to is 'next', 'self' or {{'event': name}}, not {resume_to!r}")
        number = interrupt_id or f"interrupt-{self._run.id}"
        name = expect_answer(self._execution, number, schema)
        if expires is not None:
            check_delay(expires)
        until = None if expires is None else time() + expires
        raise ChunkPaused(
            events.Paused(time(), self._run.id, number, type, payload, resume_event, resume_to, name, until)
        )

    async def async_pause_for(self, **question: Any) -> NoReturn:
        """See `pause_for`."""
        self.pause_for(**question)

    @property
    def resume(self) -> "dict[str, Any] | None":
        """The interrupt whose answer runs this chunk again (`resume_to="self"`), with the value it had then as
        `value`."""
        trigger = self._run.trigger
        if trigger.kind != "resume":
            return None
        interrupt = (self._execution.machine.state.interrupts or {})[trigger.name]
        return {**self._execution.get_interrupt(trigger.name), "value": interrupt.run.value}

    # -- resources ---------------------------------------------------------------------------------------------------

    @property
    def resources(self) -> "Mapping[str, Any]":
        """The resources of this execution and its flow, by name. They are never recorded."""
        return self._execution.resources

    def get_resource(self, key: str, default: Any = None) -> Any:
        """A resource, or the default."""
        return self._execution.resources.get(key, default)

    def require_resource(self, key: str) -> Any:
        """A resource; raises `KeyError` that lists the known names if it is missing."""
        return self._execution.require_resource(key)

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def run_number(self) -> int:
        """The number of this run within its execution."""
        return self._run.id

    def repeats(self, effect: str) -> bool:
        """Whether the next effect of this kind is one that an earlier attempt of this run has recorded; counts it."""
        if not self._repeated or not self._repeated.get(effect):
            return False
        self._repeated[effect] -= 1
        return True

    def record(self, event: events.Event) -> None:
        """Record an effect of this run, from any thread, unless an earlier attempt has recorded it."""
        if not self._repeated or not self.repeats(event.effect):
            self._execution.submit(event)

    def get_status(self) -> str:
        """The status of the execution; see `Execution.get_status`."""
        return self._execution.get_status()

    def __repr__(self) -> str:
        kind = "condition" if self._run.node.kind is OperatorKind.MATCH_CASE else "chunk"
        return f"<TriggerFlowRuntimeData of {kind} {self.chunk_name!r}, run {self.run_id}>"


def check_delay(delay: Any) -> None:
    """Raise `UsageError` unless this is a time that can be waited for."""
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        raise UsageError(f"a delay is a number of seconds from 0 on, got {delay!r}")
