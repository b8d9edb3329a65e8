"""The handle of an execution, with Agently's names and defaults.

The execution accepts signals before its start and after its result, because the engine keeps it open (`keep_open`).
While no chunk runs, the engine holds no reference to it, so it is freed when the program drops its last reference.
"""

import asyncio
import functools
import inspect
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

import msgspec

from triggerflow import Execution, records
from triggerflow.errors import DefinitionError, PayloadError, UsageError
from triggerflow.extension import (
    UNSET,
    ExtendedRuntime,
    Options,
    async_call_on_thread,
    await_on_loop,
    call_on_thread,
    flow_runtime_of,
    iterate_sync,
    on_a_loop,
    read_saved,
    write_saved,
)

from . import observed
from .adapt import carried, delegate, delegates, doing, settling, twin
from .config import OUTSIDE
from .data import Data
from .events import CENTER, RunContext
from .lifecycle import Lifecycle
from .outside_events import EMITTED, emitted_in
from .process import limit
from .settings import Settings
from .signals import PauseSignal, Signal, shown_interrupt
from .state import ResourceMethods, StateData, data_methods

InputT = TypeVar("InputT")
StreamT = TypeVar("StreamT")
ResultT = TypeVar("ResultT")
#: The registered hooks by name. The event centre changes this dict in place.
HOOKS = CENTER.hooks
#: The key of the engine's snapshot in the dict that `save` returns.
SNAPSHOT = "triggerflow"
#: The default of every `timeout`. It limits only the wait for events and answers from outside; running chunks are
#: limited only by a timeout that the caller gives. `is` tells this object from a 10.0 that the caller gives.
DEFAULT_TIMEOUT = float("10")


async def outside(data: Data) -> Any:
    """The chunk that runs calls from outside. The value of its event is a function, called with the runtime data."""
    answer = data.value(data)
    return await answer if inspect.isawaitable(answer) else answer


@data_methods("state", "runtime_data", "state", change=doing, change_async=settling)
@delegates(
    "flow", "get_flow_data", *(f"{way}{verb}_flow_data" for way in ("", "async_") for verb in ("set", "append", "del"))
)
class TriggerFlowExecution(ResourceMethods, Lifecycle, Generic[InputT, StreamT, ResultT]):
    """One run of a flow.

    A sync method called in a running event loop returns at once. Its async twin, and a sync method called in a script,
    return when all chunks that the call started have ended.
    """

    context: RunContext | None = None
    #: the run of a chunk that was started last
    latest: Any = None
    #: the observer that reports this execution to the hooks
    told: observed.Observer | None = None
    #: whether `remove_execution` was called for it: its flow sends it no changes of flow data
    removed: bool = False
    #: the events that its chunks have emitted; the execution does not wait for these from outside
    emitted: frozenset[str] = frozenset()
    #: functions that end the bindings made by `on`, by the id of the binding
    bindings: Mapping[str, Callable[[], None]] = {}

    def __init__(self, flow: Any, runtime: ExtendedRuntime) -> None:
        super().__init__(runtime)
        self.flow, self.made = flow, flow.made_of(runtime.program)
        self.names, self.calls = self.made.names, self.made.calls
        runtime.keep_records()  # also for sub-flows, because `signal_of` reads the records

    settings = functools.cached_property(lambda self: Settings(self.flow.settings))
    set_settings, load_settings = delegate("settings", "set_settings"), delegate("settings", "load_settings")
    run_context = property(observed.lineage)
    run_id = property(lambda self: self.run_context.run_id)
    started = property(lambda self: self.runtime.start_value is not UNSET)
    loop = property(lambda self: self.runtime.loop)
    get_contract, get_contract_metadata = delegate("flow", "get_contract"), delegate("flow", "get_contract_metadata")

    def invoke(self, run: Any) -> Any:
        self.latest = run
        data = Data(self.runtime, run)
        data.execution, call = self, self.calls[run.node.index]
        if HOOKS and run.node.kind in ("chunk", "sub_flow") and run.node.name != OUTSIDE:
            return self.observer().watch(data, call)
        return call(data)

    def begin(self, value: Any = UNSET) -> None:
        """Start the execution. Does nothing if it has started."""
        if not self.started:
            super().begin(value)
            if self.removed:
                self.runtime.shared.forget(self.runtime)
            self.close_when_idle()

    def observer(self, *, concluding: bool = False) -> observed.Observer:
        """The observer that reports this execution to the hooks. It is made when it is first needed."""
        runtime = self.runtime
        if self.told is None or self.told.journal is not runtime.journal:
            self.told = observed.Observer(self, runtime.machine.state.result is not UNSET and not concluding)
        return self.told

    def starting(self, value: Any) -> None:
        if HOOKS:
            self.observer().began(value)

    def entering(self) -> None:
        if HOOKS:
            self.observer()

    def rested(self) -> None:
        """Called when no chunk runs any more: ends the stream, unless the flow listens to events from outside."""
        runtime = self.runtime
        if runtime.stream is not None and self.concluded():
            asked = {it.resume_event for it in (runtime.machine.state.interrupts or {}).values()}
            if runtime.has_ended or not self.made.outside.foreign - asked:
                runtime.stream.end()

    def result_fixed(self, by: Any) -> None:
        if HOOKS:
            self.observer(concluding=True).concluded(by)

    def closed(self) -> None:
        if HOOKS and self.get_status() == "failed":
            self.observer().failed()
        elif HOOKS:
            self.observer(concluding=True).concluded(None)

    def concluded(self) -> bool:
        """Whether the execution has ended, or can go on only with a new signal from outside."""
        runtime, state = self.runtime, self.runtime.machine.state
        awaits = state.result is UNSET and not self.made.outside.awaited <= self.emitted
        idle = state.started and not awaits and not self.get_pending_interrupts() and runtime.is_settled()
        return runtime.has_ended or idle

    def answered(self) -> bool:
        """Whether the result is fixed, or no result can come any more."""
        return self.runtime.machine.state.result is not UNSET or self.concluded()

    def get_status(self) -> Any:
        """The status: created, running, waiting (an interrupt is open), completed, failed or cancelled."""
        status, state = super().get_status(), self.runtime.machine.state
        if status == "failed" or (self.runtime.has_ended and state.result is UNSET):
            return status
        known = "completed" if self.answered() else "running" if state.started else "created"
        return "waiting" if self.is_waiting() else known

    def known(self) -> Any:
        """The result; None without one. Raises the failure of an execution that failed before it had a result."""
        runtime, result = self.runtime, self.runtime.machine.state.result
        return result if result is not UNSET else runtime.outcome() if runtime.has_ended else None

    async def async_start(
        self, initial_value: Any = None, *, wait_for_result: bool = True, timeout: float | None = DEFAULT_TIMEOUT
    ) -> Any:
        """Start the execution if it has not started, wait until its chunks have ended, and return the result.

        Raises the exception of a failed chunk. After `timeout` seconds it returns None with a `UserWarning`; the
        default limits only the wait for events and answers from outside. With the profile "4.1" it returns a snapshot
        of the state.
        """
        if not self.runtime.options.keep_open:  # the execution of a sub-flow ends by itself
            self.begin(initial_value)
            return await super().async_start()
        if self.auto_close is not None:
            return await self.live(initial_value, timeout)
        result = await self.play(initial_value, timeout, wait=wait_for_result)
        return self.snapshot() if self.flow.profile == "4.1" else result if wait_for_result else None

    async def live(self, value: Any, timeout: float | None) -> Any:
        """Start as 4.1 does. With `auto_close` wait until the execution has closed and return a snapshot of its
        state; otherwise return the execution once its chunks have ended. A `timeout` that is given becomes its
        `auto_close_timeout`.
        """
        if timeout is not None and timeout is not DEFAULT_TIMEOUT:
            self.auto_close_timeout = timeout
        if self.auto_close:
            self.begin(value)
            return await self.closed_snapshot()
        await self.play(value, None, wait=False)
        return self

    async def live_alone(self, value: Any, timeout: float | None) -> Any:
        """`live` for a caller that does not have the execution: an interrupt, which it cannot answer, is an error."""
        living = asyncio.ensure_future(self.live(value, timeout))
        try:
            await self.runtime.until(lambda: self.is_waiting() or living.done())
            if self.is_waiting():
                raise UsageError(
                    f"execution {self.id} of flow {self.flow.name!r} waits for the answer to an interrupt, and "
                    "this call does not return the execution to answer it; use async_start_execution(...) or "
                    "create_execution(...), then continue_with(...)"
                )
            return await living
        finally:
            living.cancel()
            if not self.runtime.has_ended:
                await self.async_cancel("the call that ran it has ended")

    async def play(self, value: Any, timeout: float | None, *, wait: bool = True) -> Any:
        """Start, wait until all chunks have ended, and with `wait` wait for the result and return it."""
        self.begin(value)
        now = asyncio.get_running_loop().time
        bound = None if timeout is None or timeout is DEFAULT_TIMEOUT else now() + timeout
        runtime = self.runtime
        await runtime.until(runtime.is_settled, None if bound is None else timeout)
        if runtime.has_ended:
            runtime.outcome()
        if wait:
            left = timeout if bound is None else max(0.0, bound - now())
            return await self.async_get_result(timeout=left, told=timeout)
        return None

    async def async_get_result(self, *, timeout: float | None = None, told: float | None = None) -> Any:
        """Wait for the result. Raises the exception of a failed chunk.

        After `timeout` seconds it returns None with a `UserWarning`. `told` is the timeout that the warning names.
        """
        if not self.answered() and not await self.runtime.until(self.answered, timeout):
            what = f"the result of execution {self.id} of flow {self.flow.name!r} took longer than {told or timeout} s"
            warnings.warn(f"{what}; give a larger timeout, or None to wait for ever", UserWarning, stacklevel=2)
            return None
        if CENTER.tasks:
            await CENTER.drain()
        return self.known()

    def get_result(self, *, timeout: float | None = None) -> Any:
        """The result. In a running loop it raises `BlockingCallError` if the result is not known yet."""
        known = self.runtime.has_ended or self.runtime.machine.state.result is not UNSET
        return self.known() if known else self._wait_for_result(timeout=timeout)

    _start, _wait_for_result = twin("async_start"), twin("async_get_result")

    def start(self, *args: Any, **options: Any) -> Any:
        """See `async_start`. Raises `ValueError` with `auto_close=False`: no loop would keep the execution going."""
        if self.auto_close is False:
            raise ValueError(
                f"execution {self.id} of flow {self.flow.name!r} has auto_close=False, which needs an event loop: "
                "write `await execution.async_start(...)` and close it with `await execution.async_close()`"
            )
        return self._start(*args, **options)

    def set_result(self, result: Any) -> None:
        """Set the result. It replaces an earlier result."""
        super().set_result(result, replace=True)

    async def async_set_result(self, result: Any, *, replace: bool = True) -> None:
        """Set the result. By default it replaces an earlier result."""
        await super().async_set_result(result, replace=replace)

    def set_concurrency(self, concurrency: int | None) -> Any:
        """Limit how many chunks run at once; None means no limit. Raises `UsageError` after the start."""
        runtime, allowed = self.runtime, limit(concurrency)
        if runtime.driver is not None:
            raise UsageError(f"{self!r} has started; call set_concurrency() before it starts")
        if allowed is not None and type(allowed) is not int:
            raise DefinitionError(f"{self!r}: concurrency must be a whole number, or None; got {concurrency!r}")
        options: dict[str, Any] = {name: getattr(runtime.options, name) for name in Options.__slots__}
        options["concurrency"] = allowed
        runtime.options = Options(**options)
        return self

    def emit(
        self, trigger_event: str, value: Any = None, _layer_marks: Any = None, *, trigger_type: str = "event"
    ) -> None:
        """Send a signal, before the start, during the run or after the result."""
        if self.sealed:
            raise UsageError(f"execution {self.id} is sealed against signals from outside; call unseal() first")
        changes: dict[str, Any] = {"runtime_data": self.state, "flow_data": self.flow_state}
        send = super().emit if trigger_type == "event" else changes[trigger_type].fire
        self.do(lambda: send(trigger_event, value))

    async_emit, emit_nowait, async_emit_nowait = settling("emit"), emit, carried("emit")
    engine_state = Execution.state
    state = property(
        lambda self: StateData(self.engine_state, self.runtime.machine.state.data, self.on_loop, self.carry)
    )
    flow_state = property(lambda self: self.flow.flow_state)

    def on(
        self, event: str, handler: Any, *, trigger_type: str = "event", binding_id: str | None = None, **_: Any
    ) -> str:
        """Run a handler for every later signal of this name in this execution. Returns the id that `off` takes."""
        wanted, binding_id, emit = (trigger_type, event), binding_id or uuid4().hex, super().emit

        def heard(record: Any) -> None:
            if observed.named_in(record) == wanted:
                asyncio.get_running_loop().call_soon(emit, OUTSIDE, functools.partial(_bound, handler, record))

        self.bindings = {**self.bindings, binding_id: self.add_observer(heard)}
        return binding_id

    off = lambda self, binding_id: self.bindings.get(binding_id, bool)()

    async def get_async_runtime_stream(
        self, initial_value: Any = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> AsyncGenerator[Any, None]:
        """Read all items of the runtime stream from the first one. Starts the execution if it has not started.

        The reader ends when the stream was stopped, or when no further item can come; a reader that started the
        execution then waits for its chunks. It raises the failure of the execution. If no item comes for `timeout`
        seconds, the reader ends with a `UserWarning`; a new reader gets the later items.
        """
        starts = not self.started
        if initial_value is not None:
            self.begin(initial_value)
        reader = super().get_async_runtime_stream(timeout=timeout)
        runtime = self.runtime
        if runtime.machine.state.idle():
            runtime.rested()
        try:
            async for item in reader:
                yield self.shown(item) if item.__class__ is dict else item
            if (starts and not await runtime.until(runtime.is_settled)) or runtime.has_ended:
                runtime.outcome()
        except TimeoutError:
            if runtime.has_ended:
                raise
            what = f"the runtime stream of execution {self.id} ended after {timeout} seconds without an item"
            warnings.warn(f"{what}; give a larger timeout, or None to wait for ever", UserWarning, stacklevel=2)

    def get_runtime_stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        make = functools.partial(self.get_async_runtime_stream, *args, **options)
        return iterate_sync(make, "get_async_runtime_stream", self.loop)

    def stop_stream(self) -> None:
        if not self.runtime.has_ended:
            super().stop_stream()

    async_stop_stream, async_put_into_stream = carried("stop_stream"), carried("put_into_stream")

    def pause_for(self, *, interrupt_id: str | None = None, **question: Any) -> Any:
        """Open an interrupt from outside. `question` may hold `type`, `payload` and `resume_event`."""
        question["interrupt_id"] = interrupt_id or uuid4().hex
        ask: Callable[[Any], Any] = lambda data: data.pause_for(**question)
        self.do(functools.partial(super().emit, OUTSIDE, ask))
        return PauseSignal(**question)

    def continue_with(
        self, interrupt_id: str, value: Any = None, *, resume_request_id: str | None = None, actor: Any = None,
        request_id: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Answer an interrupt and return it. A repeated call with the same `resume_request_id` changes nothing.

        Raises `KeyError` for an unknown interrupt, and `ValueError` for one that is not waiting.
        """
        if interrupt_id not in self.get_interrupts():
            raise KeyError(f"execution {self.id} has no interrupt {interrupt_id!r}")
        if self.runtime.has_ended:
            raise ValueError(f"execution {self.id} has ended; interrupt {interrupt_id!r} is not waiting")
        answer = functools.partial(super().continue_with, interrupt_id, value)
        return shown_interrupt(self.do(lambda: answer(request_id=resume_request_id or request_id)))

    async_pause_for, async_continue_with = settling("pause_for"), settling("continue_with")

    def get_interrupts(self) -> dict[str, dict[str, Any]]:
        """All interrupts by id, as dicts: id, type, payload, resume_event, status, and response after the answer."""
        return {id: shown_interrupt(it) for id, it in super().get_interrupts().items()}

    get_interrupt: Any = lambda self, interrupt_id: self.get_interrupts().get(interrupt_id)

    def shown(self, item: dict[str, Any]) -> dict[str, Any]:
        """A stream item as Agently shows it: the engine's items about interrupts are converted, others unchanged."""
        if item.get("type") != "interrupt" or item.get("execution_id") != self.id:
            return item
        interrupt, shown = item["interrupt"], {**item, "interrupt": shown_interrupt(item["interrupt"])}
        if item["action"] == "resume":
            return {**shown, "value": interrupt["response"]}
        known = (self.runtime.machine.state.interrupts or {}).get(interrupt["id"])
        return {**shown, "signal": None if known is None else self.signal_of(known.run).to_state_dict()}

    require_runtime_resource = Execution.require_resource
    get_runtime_resources = lambda self: dict(self.resources)

    def save(self, path: Any = None, *, encoding: str = "utf-8") -> dict[str, Any]:
        """The execution as a dict; with a path it is also written to a JSON or YAML file. Works while chunks run.

        The dict has Agently's keys, and the engine's snapshot, from which `load` continues running chunks. If the
        snapshot cannot hold some object, it is left out if no chunk runs; else `save` raises `PayloadError`.
        """
        signal, result = self.get_last_signal(), self.runtime.machine.state.result
        shown = {
            "execution_id": self.id,
            "status": self.get_status(),
            "run_context": self.run_context.model_dump(),
            "runtime_data": self.state.to_dict(),
            "flow_data": self.flow_state.to_dict(),
            "interrupts": self.get_interrupts(),
            "last_signal": signal and signal.to_state_dict(),
            "resource_keys": sorted(self.resources),
            "result": {"ready": result is not UNSET, "value": None if result is UNSET else result},
        }
        saved = _plain(shown)
        try:
            saved[SNAPSHOT] = {**super().save(), EMITTED: sorted(self.emitted)}
        except PayloadError:
            if not self.runtime.is_settled():
                raise
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_saved(saved, str(path), encoding)
        return saved

    def load(
        self, state: Any, *, encoding: str = "utf-8", runtime_resources: Mapping[str, Any] | None = None
    ) -> "TriggerFlowExecution":
        """Replace this execution by a saved one, given as the dict, the text or the file of `save`.

        Chunks that were running run again. If the engine's snapshot is missing (Agently wrote the state, or a person),
        no chunk runs after the load. A saved value of flow data is set only if the flow has no value of that name.
        Raises `TypeError` or `ValueError` if `state` cannot be read, and `UsageError` if this execution has started.
        """
        if not self.runtime.machine.state.idle():
            raise UsageError(f"execution {self.id} has started; load into a new execution")
        try:
            saved = read_saved(state if isinstance(state, Mapping | Path) else str(state or "."), encoding)
        except OSError as error:
            raise TypeError(f"Can not load TriggerFlow execution state from {state!r}: {error}") from error
        own = {**(self.runtime.own_resources or {}), **(runtime_resources or {})}
        if SNAPSHOT in saved:
            snapshot = dict(saved[SNAPSHOT])
            if saved.get("execution_id"):
                snapshot["id"] = saved["execution_id"]
            self.become(flow_runtime_of(self.flow).restored(snapshot, own))
            self.emitted = emitted_in(snapshot)
        else:
            self.become(self.flow.new_runtime(self.runtime.options, saved.get("execution_id") or self.id, own))
            for asked in saved.get("interrupts", {}).values():
                if asked["status"] == "waiting":
                    question = {name: asked.get(name) for name in ("type", "payload", "resume_event")}
                    self.pause_for(interrupt_id=asked["id"], **question)
            if (result := saved.get("result") or {}).get("ready"):
                self.set_result(result["value"])
        for key, value in saved.get("runtime_data", {}).items():
            if value != _plain(self.state.get(key)):
                self.do(functools.partial(self.state.set, key, value, emit=False))
        for key, value in saved.get("flow_data", {}).items():
            self.runtime.shared.values.setdefault(key, value)
        self.context = RunContext(**saved["run_context"]) if "run_context" in saved else None
        return self

    def become(self, runtime: Any) -> None:
        """Make this object the handle of another execution."""
        self.runtime.shared.forget(self.runtime)
        TriggerFlowExecution.__init__(self, self.flow, runtime)
        self.emitted = frozenset()
        self.listen()

    def listen(self) -> None:
        """Make the execution receive changes of flow data, also before its start."""
        if self.runtime.program.plan.flow_data:
            self.runtime.shared.listen(self.runtime)

    def __eq__(self, other: object) -> bool:
        return self is other  # not the engine's comparison by execution, which `load` would change

    def __hash__(self) -> int:
        return object.__hash__(self)

    def signal_of(self, run: Any) -> Signal:
        """The signal that triggered a run of a chunk. For a branch of a batch, the signal that triggered the batch."""
        trigger, listener, known = run.trigger, self.names.by_id.get(run.node.id), self.names.by_id
        while trigger.kind == "operator" and known[trigger.name].kind == "batch_fanout":
            trigger, listener = known[trigger.name].listens[0], known[trigger.name]
        journal: Any = self.runtime.journal
        signal, place = self.names.signal(trigger, listener), run.signal - journal.first
        cause: Any = journal.records[place] if 0 <= place < len(journal.records) else None
        source, meta = "start" if trigger.kind == "start" else "runtime", dict[str, Any]()
        if isinstance(cause, records.Resumed):
            source, meta = "interrupt", {"interrupt_id": cause.interrupt}
        number = f"{self.id}:{run.signal}"
        return Signal(number, signal["trigger_event"], signal["trigger_type"], run.value, source, meta)

    def get_last_signal(self) -> Signal | None:
        """The last accepted signal; None if no record that the journal still holds is a signal."""
        journal: Any = self.runtime.journal
        newest = reversed([*enumerate(journal.records, journal.first)])
        return next((it for index, record in newest if (it := observed.signal_in(self, record, index))), None)

    def do(self, deed: Callable[[], Any]) -> Any:
        """Call a function: at once in a running loop; in a script on the execution's loop, waiting for its effects."""
        return deed() if on_a_loop() else self._settle(deed)

    async def settle(self, deed: Callable[[], Any]) -> Any:
        """Call a function and wait until the chunks that it started have ended. Raises the failure of the execution.

        It does not wait if the execution could be waiting for this caller (see `can_wait`).
        """
        return await await_on_loop(self.runtime, lambda: self._settled(deed))

    async def _settled(self, deed: Callable[[], Any]) -> Any:
        runtime, waits = self.runtime, self.can_wait()
        since, over = self.next_record(), runtime.has_ended
        answer = deed()
        if waits:
            await self.settled_since(since)
        if not over and runtime.has_ended:
            runtime.outcome()
        return answer

    def next_record(self) -> int:
        """The number of the next record. At least 1, because the first record is that of the creation or the start."""
        return max(1, self.runtime.machine.state.records)

    async def settled_since(self, number: int) -> None:
        """Wait until all chunks have ended that were started by the record of this number or by a later one."""
        state = self.runtime.machine.state
        await self.runtime.until(lambda: all(run.signal < number for run in state.runs.values()), every_record=True)

    def on_loop(self, deed: Callable[[], Any]) -> Any:
        """Call a function on the thread of the execution. No other change of the execution happens meanwhile."""
        return call_on_thread(self.runtime, deed, "async_...")

    async def carry(self, deed: Callable[[], Any]) -> Any:
        """Call a function on the thread of the execution, from any event loop."""
        return await async_call_on_thread(self.runtime, deed)

    def can_wait(self) -> bool:
        """Whether the calling task may wait for chunks of this execution without a deadlock.

        It may not if it is itself a chunk of the execution, or if chunks run under a concurrency limit.
        """
        task, runs = asyncio.current_task(), self.runtime.machine.state.runs.values()
        return not any(it.handle is task for it in runs) and (self.runtime.options.concurrency is None or not runs)

    _settle = twin("settle")


def _bound(handler: Any, record: Any, data: Data) -> Any:
    data.value = record.value
    return handler(data)


def _plain(value: Any) -> Any:
    """A value as JSON data for Agently's keys of a saved execution. The engine's snapshot holds the exact value."""

    def described(object: Any) -> Any:
        return (
            object.model_dump(mode="json")
            if hasattr(object, "model_dump")
            else getattr(object, "__dict__", str(object))
        )

    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=described))
