"""What another front end builds on: the inside of flows and executions, under names that are kept stable.

Programs that use flows do not need this. A front end of its own (the bridge to Agently is one) has a subclass of
`TriggerFlow`, and tells it with `extend` which handle its executions have, which blueprint its user writes, and which
blueprint they run. The handle is an `ExtendedExecution`: the engine calls its methods at the points that stand there.
Everything else stays the engine's. `docs/extension.md` shows a front end.

From a handle to the inside: `runtime_of` (or `ExtendedExecution.runtime`), `run_of`, `flow_runtime_of`,
`blueprint_of`; to do something on its thread or loop, `call_on_thread`, `async_call_on_thread`, `await_on_loop`. What
is written: `Blueprint`, `Trigger`, `START`,
`OperatorKind`, `WHEN_KEYS`, `is_stable_name`, `Contract`, `checker`. How it runs: `Program`, `Options`, `RunChunk`,
`UNSET`. A flow as data: `get_flow_config`, `load_flow_config`, `FORMAT`, `to_text`, `from_text`,
`register_chunk_handler`. Saved executions: `read_saved`, `write_saved`. Scripts: `run_sync`, `iterate_sync`,
`on_a_loop`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ._core.definition import OperatorKind
from ._core.signals import START, Trigger
from ._core.state import UNSET, RunChunk
from .build.blueprint import WHEN_KEYS, Blueprint, is_stable_name
from .build.contract import Contract, checker
from .run.data import TriggerFlowRuntimeData, run_of
from .run.execution import Execution, runtime_of
from .run.flow_runtime import FlowRuntime
from .run.ingress import call as call_on_thread
from .run.ingress import from_outside as await_on_loop
from .run.ingress import here_or_carried as async_call_on_thread
from .run.options import Options
from .run.portal import iterate_sync, on_a_loop, run_sync
from .run.program import Program
from .run.runtime import ExecutionRuntime
from .run.saving import read as read_saved
from .run.saving import write as write_saved
from .serialize.config import FORMAT
from .serialize.flow_config import from_text, get_flow_config, load_flow_config, register_chunk_handler, to_text

if TYPE_CHECKING:
    from .flow import TriggerFlow


class ExtendedExecution(Execution):
    """The handle of an execution of an extended flow. There is one for each execution; chunks get it as
    `data.execution`.

    The engine calls the methods below, on the thread of the execution. By default they do what it does without them.
    They must not block. Those that return nothing may use the execution as any holder of a handle may.
    """

    __slots__ = ("runtime",)

    def __init__(self, runtime: "ExtendedRuntime") -> None:
        super().__init__(runtime)
        #: what this handle holds: the machine with its state, the program, the options, the journal
        self.runtime = runtime
        runtime.execution = self
        runtime.invoke = self.invoke  # called for each run, and therefore without a method in between

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        """Call the handler of a chunk, a condition or a sub-flow step; the result is awaited. When its policy tries
        again, the same run comes again, with another `run.attempt`."""
        return self.runtime.program.invokers[run.node.index](TriggerFlowRuntimeData(self.runtime, run))

    def starting(self, value: Any) -> None:
        """The execution is about to start with a value, which the contract has not checked yet."""

    def entering(self) -> None:
        """Somebody outside is about to start it, change it, or wait for it. What a chunk does is not told here."""

    def rested(self) -> None:
        """It is kept open (`Options.keep_open`), and no chunk runs any more."""

    def result_fixed(self, by: int | str | None) -> None:
        """It is kept open and has a result: by a run (its number), an `end()` (its id) or from outside (None)."""

    def closed(self) -> None:
        """It has ended, and everybody who waited for that was woken."""


class ExtendedRuntime(ExecutionRuntime):
    """The runtime of an execution of an extended flow. It calls its handle, which puts itself there."""

    __slots__ = ("execution", "invoke")

    execution: ExtendedExecution
    invoke: Callable[..., Awaitable[Any]]

    def begin(self, value: Any = UNSET, delay: float | None = None) -> None:
        """See `ExtendedExecution.starting`."""
        if self.start_value is UNSET:
            value = None if value is UNSET else value
            self.execution.starting(value)
        super().begin(value, delay)

    def entering(self) -> None:
        """See `ExtendedExecution.entering`."""
        self.execution.entering()

    def handle_for(self, run: RunChunk) -> Execution:
        """What a chunk gets as `data.execution`."""
        return self.execution

    def rested(self) -> None:
        """See `ExtendedExecution.rested`."""
        super().rested()
        self.execution.rested()

    def result_fixed(self, by: int | str | None) -> None:
        """See `ExtendedExecution.result_fixed`."""
        super().result_fixed(by)
        self.execution.result_fixed(by)

    def closed(self, close: Any, error: BaseException | None) -> None:
        """See `ExtendedExecution.closed`."""
        super().closed(close, error)
        self.execution.closed()


def flow_runtime_of(flow: "TriggerFlow") -> FlowRuntime:
    """The running side of a flow: its program, shared data, types, and how its executions are made."""
    return flow.__flow_runtime__()


def blueprint_of(flow: "TriggerFlow") -> Blueprint:
    """What has been written of a flow so far."""
    return flow.__flow_runtime__().blueprint


def extend(
    flow: "TriggerFlow",
    *,
    execution: Callable[[ExtendedRuntime], ExtendedExecution] | None = None,
    blueprint: Blueprint | None = None,
    executable: Callable[[], Blueprint] | None = None,
) -> None:
    """Give a flow, before it is used, handles of another class, another blueprint to write, or another one to run.

    `execution` makes the handle of each execution: also of one that runs as a sub-flow, is loaded, or comes out of a
    store. `executable` gives the blueprint that executions run; it is asked once after each change of the written one
    (`Blueprint.version`). A flow can be given another `blueprint` at any time; its version has to be a new one then.
    """
    runtime = flow_runtime_of(flow)
    if execution is not None:
        runtime.make_runtime = partial(_make, execution)
        runtime.make_handle = attrgetter("execution")
    if blueprint is not None:
        runtime.blueprint = blueprint
    if executable is not None:
        runtime.executable = executable


def _make(execution: Callable[[ExtendedRuntime], ExtendedExecution], *details: Any, **more: Any) -> ExtendedRuntime:
    runtime = ExtendedRuntime(*details, **more)
    execution(runtime)
    return runtime


__all__ = [
    "FORMAT",
    "START",
    "UNSET",
    "WHEN_KEYS",
    "Blueprint",
    "Contract",
    "ExtendedExecution",
    "ExtendedRuntime",
    "OperatorKind",
    "Options",
    "Program",
    "RunChunk",
    "Trigger",
    "async_call_on_thread",
    "await_on_loop",
    "blueprint_of",
    "call_on_thread",
    "checker",
    "extend",
    "flow_runtime_of",
    "from_text",
    "get_flow_config",
    "is_stable_name",
    "iterate_sync",
    "load_flow_config",
    "on_a_loop",
    "read_saved",
    "register_chunk_handler",
    "run_of",
    "run_sync",
    "runtime_of",
    "to_text",
    "write_saved",
]
