"""What a chunk receives: the value, and everything it may do to its execution.

Every method that changes something exists with and without `async_`. Both do the same, and neither waits for what it
triggers. The async one waits where a limit asks for it (a slow reader, too many pending signals), so prefer it. All can
be called from any thread, and awaited on any event loop.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar

from .._core import events
from .._core.definition import OperatorKind
from .._core.errors import UsageError
from .._core.signals import PUBLIC_KIND
from .._core.state import RunChunk
from . import ingress
from .former_names import DATA, refuse
from .ingress import emit, put
from .interrupts import ChunkPaused, describe_interrupt, prepare_interrupt
from .portal import run_sync
from .state import FlowState, State

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    from .dispatch import FieldSource
    from .execution import Execution
    from .runtime import ExecutionRuntime

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

    __slots__ = ("_repeated", "_run", "_runtime", "value")

    def __init__(self, runtime: "ExecutionRuntime", run: RunChunk) -> None:
        self._runtime = runtime
        self._run = run
        # Effects that an earlier attempt of this run has recorded are not recorded again: the first one counts.
        self._repeated = dict(run.effects) if run.attempt > 1 and run.effects else None
        self.value: ValueT = run.value

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters):
            from types import GenericAlias

            return GenericAlias(cls, parameters)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            refuse(self, name, DATA)

    # -- who and why -------------------------------------------------------------------------------------------------

    @property
    def execution(self) -> "Execution":
        """The handle of this execution."""
        return self._runtime.handle_for(self._run)

    @property
    def execution_id(self) -> str:
        """The id of this execution."""
        return self._runtime.id

    @property
    def run_id(self) -> str:
        """The stable id of this run of the chunk: the same when it is repeated after a crash."""
        return f"{self._runtime.id}:{self._run.id}"

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
    def state(self) -> State:
        """The state of this execution, by key."""
        return State(self._runtime, self._run, self._repeated)

    @property
    def flow_state(self) -> FlowState:
        """The data shared by all executions of this flow, by key."""
        return FlowState(self._runtime, self._run, self._repeated)

    # -- signals -----------------------------------------------------------------------------------------------------

    def async_emit(
        self,
        name: str,
        value: Any = None,
        *,
        settle: bool = False,
        delay: float | None = None,
        provisional: bool = False,
    ) -> Coroutine[Any, Any, int]:
        """Emit a signal. Returns its number once it is accepted; what it triggers runs beside this chunk.

        What a `provisional` signal starts can be taken back with `async_retract(number)`, until
        `async_confirm(number)`.

        With `delay` (seconds) the signal is fired when the time has come; the execution waits for it. With `settle`
        it returns when everything that the signal caused has settled: chunks, what they caused in turn, retries,
        delayed signals, items that a lazy `for_each` has still to take. An open interrupt (`pause_for`) counts as
        settled, and what its answer starts is not waited for; a sub-flow counts until it has ended. It also waits while
        more than `max_pending` signals of this chunk, or runs that they caused, are pending. A chunk that waits here
        gives up its permits in concurrency limits. A repeated attempt does not emit again what an earlier one has
        emitted: it waits for that, and gets its number where it can still be taken back, else -1. Raises
        `ExecutionClosed`, or `ContractError` for a declared signal's value of another type.
        """
        return emit(
            self._runtime, name, value, self._run, self._repeated, settle=settle, delay=delay, provisional=provisional
        )

    def emit(self, name: str, value: Any = None, *, settle: bool = False, delay: float | None = None) -> None:
        """Emit a signal; see `async_emit`. In an async chunk it never waits, and `settle` is an error."""
        ingress.emit_now(self._runtime, name, value, self._run, self._repeated, settle, delay)

    async def async_emit_fields(self, response: "FieldSource", fields: Mapping[str, str]) -> Any:
        """Emit a signal for each field of a model's response as soon as it is complete; returns the response's data.

        `fields` maps paths to events: `{"queries[*]": "query_ready"}`. What the signals start is taken back if the
        answer is retried, cut off or not valid; see `run.dispatch`.
        """
        from .dispatch import emit_fields

        return await emit_fields(self, response, fields)

    async def async_confirm(self, number: int) -> None:
        """Let a provisional signal stand; what it started cannot be taken back any more."""
        await self._on_loop(lambda: self._record(events.Confirmed(self._now(), self._run.id, number)))

    async def async_retract(self, number: int, reason: str) -> None:
        """Take a provisional signal back: what it started is cancelled, and readers of the stream get a
        `{"type": "retraction", "signal": number, "reason": reason}`."""

        def retract() -> None:
            known = number in (self._runtime.machine.state.provisional or ())
            self._record(events.Retracted(self._now(), self._run.id, number, reason))
            if known:
                # Not an effect of its own: an attempt that repeats the retraction finds nothing to report.
                item = {"type": "retraction", "signal": number, "reason": reason}
                ingress.submit(self._runtime, events.StreamPut(self._now(), None, item))

        await self._on_loop(retract)

    # -- runtime stream ----------------------------------------------------------------------------------------------

    def async_put_into_stream(self, stream_item: StreamT) -> Coroutine[Any, Any, None]:
        """Put an item into the runtime stream. It waits first while a blocking reader lags by its whole buffer; the
        chunk gives up its permits in concurrency limits meanwhile."""
        return put(self._runtime, stream_item, self._run, self._repeated)

    def put_into_stream(self, stream_item: StreamT) -> None:
        """Put an item into the runtime stream. In an async chunk it never waits, so that a slow reader may lose
        items."""
        if ingress.is_here(self._runtime):
            ingress.put_now(self._runtime, stream_item, self._run, self._repeated)
        else:
            run_sync(lambda: self.async_put_into_stream(stream_item), "data.async_put_into_stream", self._runtime.loop)

    async def async_stop_stream(self) -> None:
        """See `stop_stream`."""
        await self._on_loop(self.stop_stream)

    def stop_stream(self) -> None:
        """End the runtime stream; its readers stop after the last item. The execution goes on."""
        ingress.stop_stream(self._runtime, self._run, self._repeated)

    # -- result ------------------------------------------------------------------------------------------------------

    async def async_set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """See `set_result`."""
        await self._on_loop(lambda: self.set_result(value, replace=replace))

    def set_result(self, value: ResultT, *, replace: bool = False) -> None:
        """Fix the result of the execution, if none was fixed before; with `replace` in any case.

        What has ended keeps its result, so that `replace` is for executions that are kept open.
        """
        ingress.set_result(self._runtime, value, replace, self._run, self._repeated)

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
        name = prepare_interrupt(self._runtime, number, schema)
        if expires is not None:
            ingress.check_delay(expires)
        until = None if expires is None else self._now() + expires
        raise ChunkPaused(
            events.Paused(self._now(), self._run.id, number, type, payload, resume_event, resume_to, name, until)
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
        interrupt = (self._runtime.machine.state.interrupts or {})[trigger.name]
        return {**describe_interrupt(interrupt), "value": interrupt.run.value}

    # -- resources ---------------------------------------------------------------------------------------------------

    @property
    def resources(self) -> Mapping[str, Any]:
        """The resources of this execution and its flow, by name. They are never recorded."""
        return self._runtime.resources

    def require_resource(self, key: str) -> Any:
        """A resource; raises `KeyError` that lists the known names if it is missing."""
        return require_resource(self._runtime, key)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._runtime.environment.now()

    def _record(self, event: events.Event) -> None:
        ingress.record(self._runtime, event, self._run, self._repeated, "data.async_retract")

    async def _on_loop(self, function: Callable[[], Any]) -> None:
        await ingress.here_or_carried(self._runtime, function)

    def __repr__(self) -> str:
        kind = "condition" if self._run.node.kind is OperatorKind.MATCH_CASE else "chunk"
        return f"<TriggerFlowRuntimeData of {kind} {self.chunk_name!r}, run {self.run_id}>"


def run_of(data: TriggerFlowRuntimeData[Any, Any, Any]) -> "tuple[ExecutionRuntime, RunChunk]":
    """The execution and the run that a chunk's argument stands for, for the engine and its extensions."""
    return data._runtime, data._run  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the one way to it


def require_resource(runtime: "ExecutionRuntime", key: str) -> Any:
    """A resource of an execution. Raises `KeyError` with the known names if it is missing."""
    resources = runtime.resources
    if key not in resources:
        raise KeyError(f"missing required runtime resource {key!r} in {runtime!r}; it has {sorted(resources)}")
    return resources[key]
