"""One run of a flow as the engine hosts it, and what Agently keeps of it beyond what the engine does.

An Agently execution takes signals before its start and after its result; an execution of the engine closes once its
result is there and it is at rest. So the result is kept here and the engine is given none, and a chunk that listens to
an event which only the outside sends (`config.OUTSIDE`) holds the execution open. At rest, the engine does not refer to
it: it is gone when nobody does.
"""

import asyncio
import inspect
import warnings
import weakref
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

from triggerflow import Execution, TriggerFlowRuntimeData
from triggerflow.execution import UNSET
from triggerflow.journal import RingJournal
from triggerflow.program import Program

from . import events
from .config import OUTSIDE, RESULT, Names, digest
from .data import Data, Signal

#: The hooks that are registered now.
HOOKS = events.CENTER.hooks
#: The default of every `timeout` of Agently's. It bounds the wait for a result that only the outside can bring; work
#: that goes on is bounded by a timeout that was asked for. An object of its own, to be told from a 10.0 that was given.
DEFAULT_TIMEOUT = float("10")


async def outside(data: Data) -> Any:
    """Let the holder of a handle act in a chunk's place: the value of the event is what he wants to do."""
    answer = data.value(data)
    return await answer if inspect.isawaitable(answer) else answer


async def end(data: Data) -> Any:
    """Fix the result, if none is fixed."""
    data.host.finish(data.value, override=False, by=data.run)
    return data.value


outside.__name__, end.__name__ = OUTSIDE, RESULT


class Compiled:
    """A version of a flow made ready to run: the engine's program, and handlers as the bridge calls them."""

    def __init__(self, program: Program, handlers: Mapping[str, Any]) -> None:
        self.program = program
        self.calls = [_call(node, program.invokers[node.index], handlers) for node in program.plan.nodes]
        #: events that the flow listens to, and that none of its chunks is known to emit
        self.outside: frozenset[str] = program.plan.outside - {OUTSIDE}
        self.names = Names(program.plan.definition)


def _call(node: Any, call: Any, handlers: Mapping[str, Any]) -> Any:
    if node.kind == "sub_flow":  # the engine's own handler, which knows the engine's data only
        return lambda data: call(TriggerFlowRuntimeData(data.host, data.run))
    if node.kind != "chunk" or not _pauses(getattr(inspect.unwrap(handlers[node.handler]), "__code__", None)):
        return call

    async def pausing(data: Data) -> Any:
        data.question = None
        value = await call(data)
        return value if data.question is None else TriggerFlowRuntimeData.pause_for(data, **data.question)

    return pausing


def _pauses(code: CodeType | None) -> bool:
    """Whether code speaks of `pause_for`: then it may go on after that call, up to its return."""
    if code is None or not {"pause_for", "async_pause_for"}.isdisjoint(code.co_names):
        return code is not None
    return any(_pauses(it) for it in code.co_consts if isinstance(it, CodeType))


class Records(RingJournal):
    """The journal of a run, which tells its run what is recorded while somebody wants to know, and when it rests."""

    __slots__ = ("alert", "run", "runs")

    def __init__(self, limit: int, run: "Run") -> None:
        super().__init__(limit)
        self.run, self.runs, self.alert = run, run.machine.state.runs, False

    def append(self, record: Any) -> None:
        """Add the next record. (The hot path: what the engine's journal does stands here once more.)"""
        records = self.records
        records.append(record)
        if len(records) > 2 * self.limit:
            del records[: -self.limit]
            self.first += self.limit + 1
        if self.alert or not self.runs:
            self.run.recorded(record)


class Run(Execution):
    """One run of a flow. `context` is its lineage, `handle` a weak reference to the handle that somebody may have,
    `own` the resources of this execution only, which the engine reads in that very dict."""

    __slots__ = ("bindings", "calls", "compiled", "context", "flow", "handle", "own", "result", "sealed", "watchers")

    def __init__(
        self, flow: Any, compiled: Compiled, *args: Any, resources: Any = None, context: Any = None, **details: Any
    ) -> None:
        self.own: dict[str, Any] = dict(resources or {})
        super().__init__(compiled.program, *args, resources=self.own, **details)
        self.flow, self.compiled, self.calls = flow, compiled, compiled.calls
        self.context: events.RunContext | None = context
        self.journal = Records(self.options.journal_limit, self)
        self.result: Any = UNSET
        self.sealed = False
        self.watchers: list[tuple[Callable[[], bool], asyncio.Future[None], bool]] = []
        self.bindings: dict[str, tuple[str, str, Any]] = {}
        self.handle: Callable[[], Any] = lambda: None
        if (link := details.get("link")) is not None and isinstance(link.parent, Run):
            parent = events.chunk_context(link.parent, link.parent.machine.state.runs[link.run])
            meta = {**parent.meta, "flow_name": flow.name}
            self.context = parent.child(digest(self.id), "workflow_execution", execution_id=self.id, meta=meta)

    def held_by(self, handle: Any) -> None:
        """Note the handle, which chunks see as `data.execution`."""
        self.handle = weakref.ref(handle)

    def invoke(self, run: Any) -> Any:
        """Call the handler of a run of a chunk."""
        data = Data(self, run)
        data.run = run
        call = self.calls[run.node.index]
        if HOOKS and run.node.kind in ("chunk", "sub_flow") and run.node.name != OUTSIDE:
            return events.observed(self, data, call)
        return call(data)

    def begin(self, value: Any = UNSET) -> None:
        """Start; a second start is none."""
        if self.start_value is UNSET:
            if HOOKS:
                self.journal.alert = True
                events.started(self, None if value is UNSET else value)
            super().begin(value)

    def recorded(self, record: Any) -> None:
        """A record was accepted: tell who waits for what it brought about."""
        if HOOKS:
            events.recorded(self, record)
        for kind, event, handler in list(self.bindings.values()):
            if events.signal_in(record) == (kind, event):
                asyncio.get_running_loop().call_soon(self.emit, OUTSIDE, _bound(handler, record))
        self.wake()

    def wake(self) -> None:
        """Let those go on whose condition holds now; end the stream of a run that is done."""
        for holds, future, _ in self.watchers:
            if not future.done() and holds():
                future.set_result(None)
        if self.stream is not None and not (self.machine.state.runs or self.has_ended) and self.concluded():
            self.stream.end()

    def notice(self, command: Any) -> None:
        """What an observer is told. A question of a sub-flow leaves its run at work, and is as good as a rest."""
        super().notice(command)
        if type(command).__name__ == "OpenInterrupt":
            self.wake()

    def closed(self, close: Any, error: BaseException | None) -> None:
        """The engine's execution has ended."""
        close.unfilled = close.unfilled if self.result is UNSET else ()
        super().closed(close, error)
        if error is not None and HOOKS:
            events.tell(self, "workflow.execution_failed", "failed", {}, "ERROR", error)

    def outcome(self, timeout: float | None = None, then: str = "it goes on running") -> Any:
        """The result; raises why there is none."""
        value = super().outcome(timeout, then)
        return value if self.result is UNSET else self.result

    def check_loop(self) -> None:
        """A run at rest outlives the event loop that it lived on: it goes on where it is used next."""
        if self.running is not None and self.running.loop.is_closed() and not self.machine.state.runs:
            self.running = None
        super().check_loop()

    @property
    def has_ended(self) -> bool:
        """Whether the engine takes nothing any more."""
        self.check_loop()
        return self.machine.state.status.value in ("completed", "failed", "cancelled")

    def settled(self, since: int = 0) -> bool:
        """Whether nothing runs that was caused by record `since` or a later one."""
        state = self.machine.state
        if since:
            return not any(run.signal >= since for run in state.runs.values())
        if state.runs:
            return self.asked() and super().get_status() == "waiting"
        return not (state.pulls or any(it.what != "expiry" for it in (state.timers or {}).values()))

    def asked(self) -> bool:
        """Whether an interrupt waits for its answer."""
        return any(it.status == "waiting" for it in (self.machine.state.interrupts or {}).values())

    def concluded(self) -> bool:
        """Whether all is done that does not depend on new signals from outside."""
        state = self.machine.state
        awaited = self.result is UNSET and bool(self.compiled.outside - (state.emitted or frozenset()))
        return self.has_ended or (state.started and not awaited and not self.asked() and self.settled())

    def answered(self) -> bool:
        """Whether it is known what the result is."""
        return self.result is not UNSET or self.concluded()

    def get_status(self) -> Any:
        """created, running, waiting (for an answer), completed, failed or cancelled."""
        if self.has_ended:
            status = super().get_status()
            return "completed" if status == "cancelled" and self.result is not UNSET else status
        known = "completed" if self.answered() else "running" if self.machine.state.started else "created"
        return "waiting" if self.asked() else known

    async def until(self, holds: Callable[[], bool], timeout: float | None = None, *, alert: bool = False) -> bool:
        """Wait until a condition holds; False after `timeout` seconds. It is looked at when the run comes to rest and
        when it has its result; with `alert` at every record."""
        if not holds() and (future := self.ended(timeout)) is not None:
            entry = (holds, future, alert)
            self.watchers.append(entry)
            self.journal.alert = self.journal.alert or alert
            try:
                await future
            finally:
                self.watchers.remove(entry)
                self.journal.alert = bool(HOOKS or self.bindings or any(it[2] for it in self.watchers))
        return holds()

    async def play(self, value: Any, timeout: float | None, *, wait: bool = True) -> Any:
        """Start, wait until everything has settled, and give the result, which is waited for: None with a warning after
        `timeout`."""
        self.begin(value)
        now = asyncio.get_running_loop().time
        bound = None if timeout is None or timeout is DEFAULT_TIMEOUT else now() + timeout
        await self.until(self.settled, None if bound is None else timeout)
        if wait or self.has_ended:
            return await self.answer(timeout if bound is None else max(0.0, bound - now()), timeout)
        return None

    async def answer(self, timeout: float | None, told: float | None = None) -> Any:
        """The result, as soon as it is known; None with a `UserWarning` after `timeout` seconds."""
        if not self.answered() and not await self.until(self.answered, timeout):
            what = f"the result of execution {self.id} of flow {self.flow.name!r} took longer than {told or timeout} s"
            warnings.warn(f"{what}; give a larger timeout, or None to wait for ever", UserWarning, stacklevel=2)
            return None
        if events.CENTER.tasks:
            await events.CENTER.drain()
        return self.known()

    def known(self) -> Any:
        """The result of a run that has one or will have none; raises its failure."""
        if self.machine.state.status.value in ("failed", "cancelled") and self.get_status() != "completed":
            return self.outcome()
        return None if self.result is UNSET else self.result

    def finish(self, value: Any, *, override: bool = True, by: Any = None) -> None:
        """Fix the result: `.end()` only where there is none, `set_result` in any case."""
        if self.result is UNSET or override:
            check = self.program.contract.result
            self.result = value if check is None else check(value)
            if HOOKS:
                payload = {"result": self.result, "origin_chunk": events.origin(self, by)}
                events.tell(self, "workflow.result_set", "set a result", payload)
                events.tell(self, "workflow.execution_completed", "completed", payload)
            if self.watchers or not self.machine.state.runs:
                self.wake()

    def fire(self, by: Any, kind: str, key: str, value: Any) -> None:
        """Trigger what waits for a change of data, and change nothing."""
        state = by.state if kind == "runtime_data" else by.flow_state
        held = state.get(key)
        state.set(key, value)
        state.set(key, held, emit=False)

    def signal_of(self, run: Any) -> Signal:
        """What triggered a run of a chunk."""
        signal = self.compiled.names.signal(run.trigger)
        place = run.signal - self.journal.first
        cause: Any = self.journal.records[place] if 0 <= place < len(self.journal.records) else None
        why: Any = ("start" if run.trigger.kind == "start" else "runtime", {})
        if type(cause).__name__ == "Resumed":
            why = ("interrupt", {"interrupt_id": cause.interrupt})
        return Signal(f"{self.id}:{run.signal}", signal["trigger_event"], signal["trigger_type"], run.value, *why)


def _bound(handler: Any, record: Any) -> Callable[[Data], Any]:
    def call(data: Data) -> Any:
        data.value = record.value
        return handler(data)

    return call


def on_a_loop() -> bool:
    """Whether a loop runs in this thread."""
    try:
        return asyncio.get_running_loop() is not None
    except RuntimeError:
        return False
