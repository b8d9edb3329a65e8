"""The handle of an execution, with Agently's names and defaults."""

import asyncio
import functools
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

from triggerflow import AlreadyAnswered, ExecutionClosed, InterruptExpired, UsageError
from triggerflow.options import Options
from triggerflow.persistence import read, write
from triggerflow.portal import iterate_sync
from triggerflow.subflow import Link

from .config import OUTSIDE
from .data import PauseSignal, Signal
from .events import context_of, signal_in
from .run import DEFAULT_TIMEOUT, UNSET, Run, on_a_loop
from .state import Settings, StateData, data_methods, delegate, later, twin

InputT = TypeVar("InputT")
StreamT = TypeVar("StreamT")
ResultT = TypeVar("ResultT")
#: Where the engine's snapshot stands in what `save` gives.
SNAPSHOT = "triggerflow"


def settling(method: str) -> Any:
    """The async twin of a method that does not wait: it waits until all that the method caused has settled."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return await self.settle(lambda: getattr(self, method)(*args, **options))

    return call


def doing(attribute: str, method: str) -> Any:
    """A method that calls a method of an attribute, in a script on the loop where the execution lives."""
    return lambda self, *args, **how: self.do(lambda: getattr(getattr(self, attribute), method)(*args, **how))


@data_methods("state", "runtime_data", "state", change=doing, change_async=settling)
@data_methods("flow_state", "flow_data")
class TriggerFlowExecution(Generic[InputT, StreamT, ResultT]):
    """One run of a flow. It takes signals before its start and after its result.

    What is done to it in a running loop does not wait for what it causes; the async twins do, and in a script all do.
    """

    def __init__(self, run: Run) -> None:
        self._hold(run)

    def _hold(self, run: Run) -> None:
        self.run = run
        run.held_by(self)

    id, loop = property(lambda self: self.run.id), property(lambda self: self.run.loop)
    flow = property(lambda self: self.run.flow)
    settings = functools.cached_property(lambda self: Settings(self.flow.settings))
    set_settings, load_settings = delegate("settings", "set_settings"), delegate("settings", "load_settings")
    run_context = property(lambda self: context_of(self.run))
    run_id = property(lambda self: self.run_context.run_id)
    started = property(lambda self: self.run.start_value is not UNSET)
    get_status, cancel, async_cancel = (
        delegate("run", "get_status"),
        delegate("run", "cancel"),
        delegate("run", "async_cancel"),
    )
    get_contract, get_contract_metadata = delegate("flow", "get_contract"), delegate("flow", "get_contract_metadata")

    async def async_start(
        self, initial_value: Any = None, *, wait_for_result: bool = True, timeout: float | None = DEFAULT_TIMEOUT
    ) -> Any:
        """Start, if nobody did, wait until all that the start caused has settled, and return the result.

        Raises what a chunk raised. After `timeout` seconds it returns None with a `UserWarning`; the default bounds
        only the wait for what the outside has to bring. The profile "4.1" returns a snapshot of the state.
        """
        result = await self.run.play(initial_value, timeout, wait=wait_for_result)
        return self.snapshot() if self.flow.profile == "4.1" else result if wait_for_result else None

    async def async_get_result(self, *, timeout: float | None = None) -> Any:
        """The result as soon as it is known. Raises what a chunk raised; None with a `UserWarning` after `timeout`."""
        return await self.run.answer(timeout)

    def get_result(self, *, timeout: float | None = None) -> Any:
        """The result. Inside a running loop only if it is known."""
        known = self.run.has_ended or self.run.result is not UNSET
        return self.run.known() if known else self._wait_for_result(timeout=timeout)

    start, _wait_for_result = twin("async_start"), twin("async_get_result")

    def is_waiting(self) -> bool:
        """Whether an interrupt waits for its answer."""
        return self.get_status() == "waiting"

    def set_result(self, result: Any) -> None:
        """Set the result, also in place of one that is there."""
        self.run.on_loop(lambda: self.run.finish(result))

    def set_concurrency(self, concurrency: int | None) -> None:
        """How many chunks may run at once; to be set before the start."""
        if self.run.running is not None:
            raise UsageError(f"execution {self.id} is at work; set its concurrency before it starts")
        options = {name: getattr(self.run.options, name) for name in Options.__slots__}
        self.run.options = Options(**{**options, "concurrency": concurrency})

    def emit(self, trigger_event: str, value: Any = None, _marks: Any = None, *, trigger_type: str = "event") -> None:
        """Send a signal, before the start, during the run or after the result."""
        if self.run.sealed:
            raise UsageError(f"execution {self.id} is sealed; it takes no signals from outside")
        if trigger_type != "event":
            self.do(lambda: self.run.fire(self, trigger_type, trigger_event, value))
        else:
            self.do(lambda: self.run.emit(trigger_event, value))

    async_emit, emit_nowait, async_emit_nowait = settling("emit"), emit, later("emit")
    state = property(lambda self: StateData(self.run.state, self.run.machine.state.data))
    flow_state = property(lambda self: self.flow.flow_state)

    def on(self, event: str, handler: Any, *, trigger_type: str = "event", binding_id: str | None = None) -> str:
        """Run a handler for every signal of a name from now on, in this execution only; the id for `off`."""
        binding_id = binding_id or f"binding-{len(self.run.bindings) + 1}"
        self.run.bindings[binding_id] = (trigger_type, event, handler)
        self.run.journal.alert = True
        return binding_id

    def off(self, binding_id: str) -> None:
        """Forget a handler that was given to `on`."""
        self.run.bindings.pop(binding_id, None)

    async def get_async_runtime_stream(
        self, initial_value: Any = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> AsyncGenerator[Any, None]:
        """All items from the first on; reading them starts the execution, if nobody did.

        Ends when the stream was stopped or nothing can follow; raises the failure of the execution. A gap between two
        items longer than `timeout` seconds ends it with a `UserWarning`; what comes later, a new reader gets.
        """
        run = self.run
        if initial_value is not None and not self.started:
            run.begin(initial_value)
        reader = run.get_async_runtime_stream(timeout=timeout)
        run.wake()
        try:
            async for item in reader:
                yield self._shown(item) if type(item) is dict and item.get("type") == "interrupt" else item
        except TimeoutError:
            if run.has_ended:
                raise
            what = f"the runtime stream of execution {self.id} was left after {timeout} seconds without an item"
            warnings.warn(f"{what}; give a larger timeout, or None to wait for ever", UserWarning, stacklevel=2)

    def get_runtime_stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`."""
        make = functools.partial(self.get_async_runtime_stream, *args, **options)
        return iterate_sync(make, "get_async_runtime_stream", self.loop)

    def put_into_stream(self, stream_item: Any) -> None:
        """Put an item into the runtime stream."""
        check = self.run.program.contract.stream
        item = stream_item if check is None else check(stream_item)
        self.do(lambda: Link(self.run, 0, "").publish(item, ""))

    def stop_stream(self) -> None:
        """End the runtime stream."""
        if not self.run.has_ended:
            self.do(lambda: self.run.emit(OUTSIDE, lambda data: data.stop_stream()))

    async_put_into_stream, async_stop_stream = later("put_into_stream"), settling("stop_stream")

    def pause_for(self, *, interrupt_id: str | None = None, **question: Any) -> Any:
        """Open an interrupt from outside: `type`, `payload`, `resume_event`."""
        question["interrupt_id"] = interrupt_id or uuid4().hex
        self.do(lambda: self.run.emit(OUTSIDE, lambda data: data.pause_for(**question)))
        return PauseSignal(**question)

    def continue_with(
        self, interrupt_id: str, value: Any = None, *, resume_request_id: str | None = None, actor: Any = None
    ) -> dict[str, Any]:
        """Answer an interrupt, and return it. The same `resume_request_id` again is the same answer.

        Raises `KeyError` for an unknown interrupt, `ValueError` for one that does not wait.
        """
        if interrupt_id not in self.run.get_interrupts():
            raise KeyError(f"execution {self.id} has no interrupt {interrupt_id!r}")
        try:
            answer = functools.partial(self.run.continue_with, interrupt_id, value, request_id=resume_request_id)
            return _interrupt(self.do(answer))
        except (AlreadyAnswered, InterruptExpired, ExecutionClosed) as error:
            raise ValueError(f"execution {self.id}: interrupt {interrupt_id!r} is not waiting: {error}") from error

    async_pause_for, async_continue_with = settling("pause_for"), settling("continue_with")

    def get_interrupts(self) -> dict[str, dict[str, Any]]:
        """All interrupts by id: id, type, payload, resume_event, status, and response once there is one."""
        return {id: _interrupt(it) for id, it in self.run.get_interrupts().items()}

    def get_interrupt(self, interrupt_id: str) -> dict[str, Any] | None:
        """One of them, or None."""
        return self.get_interrupts().get(interrupt_id)

    def get_pending_interrupts(self) -> dict[str, dict[str, Any]]:
        """The interrupts that wait for their answers."""
        return {id: it for id, it in self.get_interrupts().items() if it["status"] == "waiting"}

    def _shown(self, item: dict[str, Any]) -> dict[str, Any]:
        """An interrupt item in Agently's shape."""
        interrupt, shown = item["interrupt"], {**item, "interrupt": _interrupt(item["interrupt"])}
        if item["action"] == "resume":
            return {**shown, "value": interrupt["response"]}
        known = (self.run.machine.state.interrupts or {}).get(interrupt["id"])
        return {**shown, "signal": None if known is None else {**vars(self.run.signal_of(known.run))}}

    resources = property(lambda self: self.run.resources)
    get_runtime_resource = delegate("resources", "get")
    require_runtime_resource = delegate("run", "require_resource")

    def get_runtime_resources(self) -> dict[str, Any]:
        """All resources: the flow's, and this execution's before them."""
        return dict(self.resources)

    def update_runtime_resources(self, mapping: Mapping[str, Any] | None = None, **more: Any) -> "TriggerFlowExecution":
        """Give this execution several resources."""
        self.run.own.update(mapping or {}, **more)
        return self

    def set_runtime_resource(self, key: str, value: Any) -> "TriggerFlowExecution":
        """Give it one."""
        return self.update_runtime_resources({key: value})

    def del_runtime_resource(self, key: str) -> "TriggerFlowExecution":
        """Take one away."""
        self.run.own.pop(key, None)
        return self

    def clear_runtime_resources(self) -> "TriggerFlowExecution":
        """Take all of this execution's away."""
        self.run.own.clear()
        return self

    def save(self, path: str | Path | None = None, *, encoding: str = "utf-8") -> dict[str, Any]:
        """The execution as a dict, at any moment; with a path also as a JSON or YAML file.

        Beside Agently's keys stands the engine's snapshot, from which `load` goes on with what was running. Raises
        `PayloadError` for what cannot be recorded.
        """
        run, signal, ready = self.run, self.get_last_signal(), self.run.result is not UNSET
        shown = {
            "execution_id": self.id,
            "status": self.get_status(),
            "run_context": self.run_context.model_dump(),
            "runtime_data": self.state.to_dict(),
            "flow_data": self.flow_state.to_dict(),
            "interrupts": self.get_interrupts(),
            "last_signal": signal and {**vars(signal)},
            "resource_keys": sorted(run.resources),
            "result": {"ready": ready, "value": run.result if ready else None},
        }
        saved = {**run.program.types.pack(shown, f"execution {self.id}"), SNAPSHOT: run.save()}
        write(saved, path if path is None else str(path), encoding)
        return saved

    def load(
        self, state: Any, *, encoding: str = "utf-8", runtime_resources: Mapping[str, Any] | None = None
    ) -> "TriggerFlowExecution":
        """Become the execution that `save` gave: from its dict, its text or its file. What was running runs again.

        Flow data is taken over where the flow has none of that name. Raises `TypeError` or `ValueError`.
        """
        if not isinstance(state, Mapping | str | Path):
            raise TypeError(f"an execution is loaded from a dictionary, a path or text, not from {type(state)}")
        saved, old = dict(read(state, encoding)), self.run
        if (snapshot := saved.pop(SNAPSHOT, None)) is None:
            raise ValueError(f"this is no saved execution, or one that Agently itself has saved: it lacks {SNAPSHOT!r}")
        shown = self.flow.types.unpack(saved)
        self._hold(self.flow.restored(shown, snapshot, {**old.own, **(runtime_resources or {})}))
        for key, value in shown["flow_data"].items():
            self.flow.shared.values.setdefault(key, value)
        return self

    def get_last_signal(self) -> Signal | None:
        """The last signal that was accepted, as far as the journal reaches."""
        journal: Any = self.run.journal
        for index, record in reversed([*enumerate(journal.records, journal.first)]):
            if (signal := signal_in(record)) is not None:
                return Signal(f"{self.id}:{index}", signal[1], signal[0], record.value)
            if type(record).__name__ == "Started":
                return Signal(f"{self.id}:{index}", "START", "event", record.value, "start")
        return None

    def seal(self, reason: str = "sealed") -> None:
        """Take no more signals from outside."""
        self.run.sealed = True

    def unseal(self) -> None:
        """Take them again."""
        self.run.sealed = False

    async def async_close(
        self,
        *,
        reason: str = "manual",
        timeout: float | None = None,
        seal: bool = True,
        pending_interrupts: Any = "error",
    ) -> dict[str, Any]:
        """Wait until all has settled, end the execution and return a snapshot of its state.

        Open interrupts are an error, or (`"cancel"`) are cancelled with the execution.
        """
        self.run.sealed = self.run.sealed or seal
        if (asked := self.run.asked()) and pending_interrupts != "cancel":
            raise UsageError(f"execution {self.id} has open interrupts: {list(self.get_pending_interrupts())}")
        async with asyncio.timeout(timeout):
            await (self.run.async_cancel(reason) if asked else self.run.async_close())
        return self.snapshot()

    async_seal, close = later("seal"), twin("async_close")

    def snapshot(self) -> dict[str, Any]:
        """The state by key, and the result, if there is one, as "$final_result"."""
        result = {} if self.run.result is UNSET else {"$final_result": self.run.result}
        return {**self.state.to_dict(), **result}

    def get_lifecycle_state(self) -> str:
        """open, sealed or closed."""
        return "closed" if self.run.has_ended else "sealed" if self.run.sealed else "open"

    is_open = property(lambda self: self.get_lifecycle_state() == "open")
    is_sealed = property(lambda self: self.get_lifecycle_state() == "sealed")
    is_closed = property(lambda self: self.get_lifecycle_state() == "closed")
    is_idle = property(lambda self: self.run.settled())
    result = property(lambda self: ExecutionResult(self))

    def do(self, deed: Callable[[], Any]) -> Any:
        """Do something: at once where a loop runs; in a script on its loop, and then wait for what it caused."""
        if not on_a_loop():
            return self._settle(deed)
        if self.run.loop is None and not self.run.has_ended:
            self.run.driver  # noqa: B018 - the first use on a loop makes the driver
        return deed()

    async def settle(self, deed: Callable[[], Any]) -> Any:
        """Do something; wait until what it caused has settled, unless that could wait for us. Raises its failure."""
        run, task = self.run, asyncio.current_task()
        runs, since, over = run.machine.state.runs.values(), max(1, run.machine.state.records), run.has_ended
        inside = any(it.handle is task for it in runs) or (run.options.concurrency is not None and len(runs) > 0)
        answer = self.do(deed)
        if not inside:
            await run.until(lambda: run.settled(since), alert=True)
        if not over and run.has_ended:
            run.known()
        return answer

    _settle = twin("settle")


class ExecutionResult:
    """What came out of an execution, in one place (4.1)."""

    def __init__(self, execution: TriggerFlowExecution) -> None:
        self.execution, self.state = execution, execution.state

    get_state, async_get_final_result = delegate("state", "to_dict"), delegate("execution", "async_get_result")

    def get_meta(self) -> dict[str, Any]:
        """Who it was: execution id, status, run context."""
        held = self.execution
        return {"execution_id": held.id, "status": held.get_status(), "run": held.run_context.model_dump()}


def _interrupt(interrupt: Mapping[str, Any]) -> dict[str, Any]:
    """An interrupt in Agently's shape."""
    hidden = {"expires"} if interrupt["status"] == "resumed" else {"expires", "response"}
    return {key: value for key, value in interrupt.items() if key not in hidden}
