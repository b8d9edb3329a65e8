"""The argument of a chunk: the value, and the methods by which the chunk acts on its execution.

Every method that changes something exists with and without `async_`. Both do the same, and neither waits for the chunks
that it triggers. The async one waits where a limit requires it (a slow reader, too many pending signals), so prefer it.
All methods can be called from any thread, and awaited on any event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, Unpack, overload

from .._core import events
from .._core.definition import OperatorKind
from .._core.errors import UsageError
from .._core.events import Failure
from .._core.provisional import signals_around
from .._core.signals import PUBLIC_KIND, FieldPlace, FieldTrigger
from .._core.state import RunChunk
from ..build.arguments import text
from ..build.former_names import DATA, refuse
from . import ingress
from .attempts import repeatable
from .ingress import emit, put
from .interrupts import ChunkPaused, describe_interrupt, prepare_interrupt, refuse_pause
from .portal import run_sync
from .state import FlowState, State

SignalT = TypeVar("SignalT")

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    from ..build.typed import ChunkEmitOptions, EmitOptions, Signal
    from .dispatch import FieldSource
    from .execution import Execution
    from .runtime import ExecutionRuntime

    ValueT = DefaultTypeVar("ValueT", default=Any)
    StreamT = DefaultTypeVar("StreamT", default=Any)
    ResultT = DefaultTypeVar("ResultT", default=Any)
else:
    # At run time the class only has to accept one to three type parameters.
    ValueT, StreamT, ResultT = TypeVar("ValueT"), TypeVar("StreamT"), TypeVar("ResultT")


class TriggerFlowRuntimeData(Generic[ValueT, StreamT, ResultT]):
    """The argument of every chunk and condition.

    `value` is the value of the signal that triggered the run. The type parameters are the types of the value, of the
    stream items and of the flow's result.
    """

    __slots__ = ("_repeated", "_run", "_runtime", "value")

    def __init__(self, runtime: ExecutionRuntime, run: RunChunk) -> None:
        self._runtime = runtime
        self._run = run
        # A repeated attempt does not record again the same effects that an earlier attempt of this run has recorded.
        self._repeated = repeatable(runtime, run)
        self.value: ValueT = run.value

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters):
            from types import GenericAlias

            return GenericAlias(cls, parameters)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            refuse(self, name, DATA)

    # -- the run -----------------------------------------------------------------------------------------------------

    @property
    def execution(self) -> Execution:
        """The handle of this execution."""
        return self._runtime.handle_for(self._run)

    @property
    def execution_id(self) -> str:
        """The id of this execution."""
        return self._runtime.id

    @property
    def run_id(self) -> str:
        """The id of this run of the chunk, "execution id:number".

        It is the same in every attempt, also after a crash: use it as an idempotency key.
        """
        return f"{self._runtime.id}:{self._run.id}"

    @property
    def attempt(self) -> int:
        """1 for the first try of this run, 2 for the second, and so on."""
        return self._run.attempt

    def now(self) -> float:
        """The time on the clock of the execution, in seconds since the epoch: due times are on the same clock.

        It goes on while no process runs the execution, and jumps in virtual time.
        """
        return self._runtime.environment.now()

    @property
    def chunk_name(self) -> str:
        """The name of the chunk that is running."""
        return self._run.node.name

    @property
    def failure(self) -> Failure | None:
        """In a `fallback`: the failure of its chunk. None elsewhere."""
        return None

    @property
    def trigger_event(self) -> str:
        """The name of the event, chunk or state key that triggered this run; "START" at the start of the execution."""
        return self._run.trigger.name or "START"

    @property
    def trigger_type(self) -> str:
        """The type of the trigger: "event" (also for chunks), "runtime_data", "flow_data" or "collect"."""
        kind = PUBLIC_KIND[self._run.trigger.kind]
        return kind if kind in ("runtime_data", "flow_data", "collect") else "event"

    @property
    def field(self) -> FieldPlace | None:
        """Where the value is in a model's answer: `path`, `wildcard_path`, `indexes` and `keys`.

        None if the run was not triggered by a field: by a signal of `async_emit_fields`, or as the first chunk of an
        item of `response.fields`.
        """
        trigger = self._run.trigger
        return trigger.field if isinstance(trigger, FieldTrigger) else None

    @property
    def signal_id(self) -> int:
        """The number of the record that caused this run, counted from 0 within the execution."""
        return self._run.signal

    @property
    def provisional_signals(self) -> tuple[int, ...]:
        """The numbers of the provisional signals in which this run is, the innermost first: a retraction of any of them
        takes this run back. Its item in the runtime stream has that number as `signal`.

        Empty if no signal of this execution can take this run back any more. Signals of the execution around a sub-flow
        are not in it. Keep it with what has to be undone after a retraction.
        """
        return signals_around(self._runtime.machine.state, self._run.group)

    @property
    def path(self) -> tuple[tuple[str, int, int], ...]:
        """The branches that contain this run, outermost first. Empty outside all blocks.

        Each branch is a tuple: operator id, number of the block instance, index of the branch.
        """
        return self._run.scope.path if self._run.scope else ()

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of this execution, by key."""
        return State(self._runtime, self._run, self._repeated)

    @property
    def flow_state(self) -> FlowState:
        """The data shared by all executions of this flow, by key."""
        return FlowState(self._runtime, self._run, self._repeated)

    # -- signals -----------------------------------------------------------------------------------------------------

    @overload
    def async_emit(
        self, name: Signal[SignalT], value: SignalT, **options: Unpack[ChunkEmitOptions]
    ) -> Coroutine[Any, Any, int]: ...

    @overload
    def async_emit(self, name: Signal[None], **options: Unpack[ChunkEmitOptions]) -> Coroutine[Any, Any, int]: ...

    @overload
    def async_emit(
        self, name: str, value: Any = None, **options: Unpack[ChunkEmitOptions]
    ) -> Coroutine[Any, Any, int]: ...

    def async_emit(
        self,
        name: Any,
        value: Any = None,
        *,
        settle: bool = False,
        delay: float | None = None,
        id: str | None = None,
        keeps_open: bool = True,
        provisional: bool = False,
    ) -> Coroutine[Any, Any, int]:
        """Emit a signal. Returns the signal's number once it is accepted; the chunks that it triggers run concurrently.

        `delay` (seconds): the signal is emitted after that time, and the execution does not end before. With
        `keeps_open=False` the execution can end before; the signal is then dropped. `async_cancel_signal` cancels
        a delayed signal by its name or its `id`; several signals may have the same id.

        `settle`: return when everything that the signal caused has settled: chunks, what those caused in turn, retries,
        delayed signals, items that a lazy `for_each` has not read yet. An open interrupt (`pause_for`) counts as
        settled, and the runs that its answer starts are not waited for. A sub-flow counts until it has ended.

        `provisional`: before a call of `async_confirm(number)`, `async_retract(number, reason)` cancels all that the
        signal started.

        The call also waits while more than `max_pending` signals of this chunk, or runs that they caused, are pending.
        A chunk that waits here gives up its permits in concurrency limits.

        A repeated attempt of the chunk does not emit again a signal that a failed attempt has emitted with an equal
        value, and that was not retracted. With `settle` it waits for that signal. It returns the number of that signal
        while the signal has work left or can be retracted, else -1. A signal with another value is emitted.

        Raises `ExecutionClosed`, or `ContractError` if the value does not have the declared type of the signal.
        """
        return emit(
            self._runtime, name, value, self._run, self._repeated,
            settle=settle, delay=delay, id=id, keeps_open=keeps_open, provisional=provisional,
        )  # fmt: skip

    @overload
    def emit(self, name: Signal[SignalT], value: SignalT, **options: Unpack[EmitOptions]) -> None: ...

    @overload
    def emit(self, name: Signal[None], **options: Unpack[EmitOptions]) -> None: ...

    @overload
    def emit(self, name: str, value: Any = None, **options: Unpack[EmitOptions]) -> None: ...

    def emit(
        self,
        name: Any,
        value: Any = None,
        *,
        settle: bool = False,
        delay: float | None = None,
        id: str | None = None,
        keeps_open: bool = True,
    ) -> None:
        """Emit a signal; see `async_emit`. In an async chunk it never waits, and `settle` is an error."""
        ingress.emit_now(
            self._runtime, name, value, self._run, self._repeated,
            settle=settle, delay=delay, id=id, keeps_open=keeps_open,
        )  # fmt: skip

    async def async_cancel_signal(self, name_or_id: str | Signal[Any]) -> int:
        """See `cancel_signal`."""
        return await ingress.here_or_carried(self._runtime, lambda: self.cancel_signal(name_or_id))

    def cancel_signal(self, name_or_id: str | Signal[Any]) -> int:
        """Cancel the delayed signals of this execution that are pending and have this name or id; returns how many.

        0 if there are none, because they were emitted, cancelled or never sent. A repeated attempt of the chunk does
        not cancel again, and gets the number of the first time. Raises `ExecutionClosed` if the execution has ended.
        """
        return ingress.cancel_signal(self._runtime, name_or_id, self._run, self._repeated)

    async def async_emit_fields(self, response: FieldSource, fields: Mapping[str, str | Signal[Any]]) -> Any:
        """Emit a signal for each field of a model's response as soon as the field is complete.

        `fields` maps paths to signal names: `{"queries[*]": "query_ready"}`. Returns the data of the response. A value
        has the type that the response's description has at its path, and the chunks that it triggers find its place in
        `data.field`. If the response is retried, cut off or not valid, its signals are retracted: all that they started
        is cancelled. Raises the error of the response, and an error for a path that the answer can never have.
        """
        from .dispatch import FieldSignals, emit_fields

        signals = FieldSignals(self._runtime, self._run, self._repeated)
        return await emit_fields(signals, response, {path: str(name) for path, name in fields.items()})

    async def async_confirm(self, number: int) -> None:
        """Make a provisional signal final: it can no longer be retracted."""
        await self._on_loop(lambda: ingress.confirm(self._runtime, self._run, self._repeated, number))

    async def async_retract(self, number: int, reason: str) -> None:
        """Retract a provisional signal: all that it started is cancelled, and a result that came of it does not count.

        It does not wait for the clean-up of what was cancelled.

        Readers of the runtime stream get the item `{"type": "retraction", "signal": number, "reason": reason}`.
        """
        await self._on_loop(lambda: ingress.retract(self._runtime, self._run, self._repeated, number, reason))

    # -- runtime stream ----------------------------------------------------------------------------------------------

    async def async_put_into_stream(self, stream_item: StreamT) -> None:
        """Put an item into the runtime stream.

        Waits first while a blocking reader lags by its whole buffer. The chunk gives up its permits in concurrency
        limits while it waits.
        """
        runtime, item = self._runtime, stream_item
        if runtime.is_plain and self._repeated is None and runtime.thread == get_ident():
            # `put` without its waits: a chunk may put a hundred thousand items, and a call less is a tenth of the time.
            stream = runtime.stream
            if stream is None or stream.last < stream.ceiling:
                if runtime.check_item is not None:
                    item = runtime.check_item(item)
                ingress.submit_item(runtime, events.StreamPut(runtime.environment.now(), self._run.id, item))
                return
        await put(runtime, item, self._run, self._repeated)

    def put_into_stream(self, stream_item: StreamT) -> None:
        """Put an item into the runtime stream. In an async chunk it never waits: a slow reader may lose items."""
        if ingress.is_here(self._runtime):
            ingress.put_now(self._runtime, stream_item, self._run, self._repeated)
        else:
            run_sync(lambda: self.async_put_into_stream(stream_item), "data.async_put_into_stream", self._runtime.loop)

    async def async_stop_stream(self) -> None:
        """See `stop_stream`."""
        await self._on_loop(self.stop_stream)

    def stop_stream(self) -> None:
        """End the runtime stream. Its readers stop after the last item; the execution continues."""
        ingress.stop_stream(self._runtime, self._run, self._repeated)

    # -- for_each ----------------------------------------------------------------------------------------------------

    async def async_stop_for_each(self) -> None:
        """See `stop_for_each`."""
        await self._on_loop(self.stop_for_each)

    def stop_for_each(self) -> None:
        """Stop the innermost for_each around this chunk: no further item is started, and its source is closed.

        Items that were started run to their end, and the chain continues with their results. If the items are fields of
        a model's answer, it continues when the answer is valid. This is how a for_each over an endless source can end.
        Raises `UsageError` outside of a for_each, also in a sub-flow that runs in an
        item of one.
        """
        self._record(events.ItemsStopped(self.now(), self._run.id))

    # -- result ------------------------------------------------------------------------------------------------------

    async def async_set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """See `set_result`."""
        await self._on_loop(lambda: self.set_result(value, replace=replace))

    def set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """Set the result of the execution. Ignored if the execution has a result, unless `replace` is true.

        A repeated attempt of the chunk replaces the result that an earlier attempt has set.

        `replace` is for executions with `keep_open`. Raises `ExecutionClosed` if the execution has ended.
        """
        ingress.set_result(self._runtime, value, replace, self._run, self._repeated)

    # -- pause -------------------------------------------------------------------------------------------------------

    def pause_for(
        self,
        *,
        type: str = "pause",
        payload: Any = None,
        resume_event: str | Signal[Any] | None = None,
        interrupt_id: str | None = None,
        resume_to: Literal["next", "self"] | dict[str, str] = "next",
        schema: Any = None,
        expires: float | None = None,
    ) -> NoReturn:
        """End this chunk and open an interrupt: a question to the outside, with a `type` and a `payload`.

        `execution.continue_with(id, answer)` answers it. `resume_to` says where the answer goes:
        "next" (default): to the chunks that follow this one;
        "self": to this chunk, which runs again with the answer as its value (`resume` has the question);
        `{"event": name}`, or `resume_event=name`: the answer is emitted as an event.

        `interrupt_id` is the id of the interrupt, by default one made from the number of the run. `schema` is the type
        of the answer; an answer of another type is refused with `ContractError`. After `expires` seconds without an
        answer the chunk fails with `InterruptExpired`. Other chunks continue meanwhile.

        Raises `UsageError` if no caller has a handle to answer with (`flow.async_start`), if an interrupt of that id
        is open, in a condition, and in a task other than that of the chunk (`asyncio.gather`, a `TaskGroup`).
        """
        refuse_pause(self._run)
        if isinstance(resume_to, dict):
            if list(resume_to) != ["event"]:
                raise UsageError(f"pause_for: resume_to must be 'next', 'self' or {{'event': name}}, not {resume_to!r}")
            resume_event, resume_to = resume_to["event"], "next"
        resume_event = text(resume_event)
        if resume_to not in ("next", "self"):
            raise UsageError(f"pause_for: resume_to must be 'next', 'self' or {{'event': name}}, not {resume_to!r}")
        number = text(interrupt_id) or f"interrupt-{self._run.id}"
        event: Any = resume_event
        name = prepare_interrupt(self._runtime, number, schema)
        if expires is not None:
            ingress.check_delay(expires)
        until = None if expires is None else self.now() + expires
        raise ChunkPaused(events.Paused(self.now(), self._run.id, number, type, payload, event, resume_to, name, until))

    async def async_pause_for(self, **question: Any) -> NoReturn:
        """See `pause_for`."""
        self.pause_for(**question)

    @property
    def resume(self) -> dict[str, Any] | None:
        """The interrupt whose answer runs this chunk again (`resume_to="self"`); None in any other run.

        It is the dict of `execution.get_interrupt`, with the value of the chunk before the interrupt as `value`.
        """
        trigger = self._run.trigger
        if trigger.kind != "resume":
            return None
        interrupt = (self._runtime.machine.state.interrupts or {})[trigger.name]
        return {**describe_interrupt(interrupt), "value": interrupt.run.value}

    # -- resources ---------------------------------------------------------------------------------------------------

    @property
    def resources(self) -> Mapping[str, Any]:
        """The resources of this execution and its flow, by name. They are never recorded."""
        return self._runtime.resources

    def require_resource(self, key: str) -> Any:
        """Return a resource. Raises `KeyError`, which lists the known names, if it is missing."""
        return require_resource(self._runtime, key)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _record(self, event: events.Event) -> None:
        ingress.record(self._runtime, event, self._run, self._repeated, "data.async_retract")

    async def _on_loop(self, function: Callable[[], Any]) -> None:
        await ingress.here_or_carried(self._runtime, function)

    def __repr__(self) -> str:
        kind = "condition" if self._run.node.kind is OperatorKind.MATCH_CASE else "chunk"
        return f"<TriggerFlowRuntimeData of {kind} {self.chunk_name!r}, run {self.run_id}>"


class FallbackData(TriggerFlowRuntimeData[Any, Any, Any]):
    """The argument of a `fallback`: that of the chunk that has failed, with the failure."""

    __slots__ = ("_failure",)

    def __init__(self, runtime: ExecutionRuntime, run: RunChunk, failure: Failure) -> None:
        super().__init__(runtime, run)
        # The recorded effects are those of the chunk. Those of the fallback are others, also where the names are equal.
        self._repeated = None
        self._failure = failure

    @property
    def failure(self) -> Failure | None:
        """The failure of the chunk whose fallback runs."""
        return self._failure

    def pause_for(self, *, expires: float | None = None, **question: Any) -> NoReturn:
        """See `TriggerFlowRuntimeData.pause_for`. Takes no `expires`: an expired question would call the fallback
        again."""
        if expires is not None:
            raise UsageError(
                f"the fallback of chunk {self.chunk_name!r} cannot pause with expires=; let the fallback emit an "
                "event, and ask in the chain that listens to it"
            )
        super().pause_for(**question)


async def finishing(data: TriggerFlowRuntimeData[Any, Any, Any], call: Any) -> Any:
    """See `ingress.finishing`."""
    runtime, run, attempt = data._runtime, data._run, data._repeated  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    assert attempt is not None
    return await ingress.finishing(runtime, attempt, run, call)


def run_of(data: TriggerFlowRuntimeData[Any, Any, Any]) -> tuple[ExecutionRuntime, RunChunk]:
    """The execution and the run behind the argument of a chunk, for the engine and its extensions."""
    return data._runtime, data._run  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the only access from outside the class


def require_resource(runtime: ExecutionRuntime, key: str) -> Any:
    """Return a resource of an execution. Raises `MissingResource`, which lists the known names, if it is missing."""
    return runtime.resources[key]
