"""The interface for other front ends: the internal parts of flows and executions, under stable names.

Programs that only use flows do not need it. A front end, such as the bridge to Agently, defines a subclass of
`TriggerFlow`. In its constructor it calls `extend`, which sets the class of the execution handles, the blueprint that
users write, and the blueprint that executions run. A handle is an `ExtendedExecution`; the docstring of each of its
methods says when the engine calls it. `docs/extension.md` shows a front end.

- From a handle to its internals: `runtime_of` (or `ExtendedExecution.runtime`), `run_of`, `flow_runtime_of`,
  `blueprint_of`.
- To run code on the thread or event loop of an execution: `call_on_thread`, `async_call_on_thread`, `await_on_loop`.
- What users write: `Blueprint`, `Trigger`, `START`, `OperatorKind`, `WHEN_KEYS`, `is_stable_name`, `Contract`,
  `checker`.
- What executions run: `Program`, `Options`, `RunChunk`, `UNSET`.
- A flow as data: `get_flow_config`, `load_flow_config`, `FORMAT`, `to_text`, `from_text`, `register_chunk_handler`.
- Saved executions: `read_saved`, `write_saved`.
- The types of lists, dicts and sets that a state holds, with the plain type of each: `PLAIN_TYPES`.
- Scripts without an event loop: `run_sync`, `iterate_sync`, `on_a_loop`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ._core.definition import OperatorKind
from ._core.frozen import PLAIN as PLAIN_TYPES
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
    """The handle of an execution of an extended flow. Each execution has one; chunks get it as `data.execution`.

    The engine calls the methods below on the thread of the execution. They must not block. Overriding them is optional:
    the default `invoke` calls the handler as the engine does for other flows, and the other methods do nothing.
    A method that returns nothing may call every method of this handle.
    """

    __slots__ = ("runtime",)

    def __init__(self, runtime: "ExtendedRuntime") -> None:
        super().__init__(runtime)
        #: the internal parts of the execution: the machine with its state, the program, the options, the journal
        self.runtime = runtime
        runtime.execution = self
        runtime.invoke = self.invoke  # directly, because it is called for each run and a method in between costs time

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        """Call the handler of a chunk, condition or sub-flow step, and return an awaitable of its result.

        A retry calls this again with the same run, whose `run.attempt` is then larger by 1.
        """
        return self.runtime.program.invokers[run.node.index](TriggerFlowRuntimeData(self.runtime, run))

    def starting(self, value: Any) -> None:
        """Called before the execution starts. The contract has not checked `value`, the start value, yet."""

    def entering(self) -> None:
        """Called before code outside the execution (not one of its chunks) starts it, changes it, or waits for it."""

    def rested(self) -> None:
        """Called when no chunk runs any more, if the execution is kept open (`Options.keep_open`)."""

    def result_fixed(self, by: int | str | None) -> None:
        """Called when an execution that is kept open gets its result.

        `by` says what set it: the number of a run, the id of an `end()` operator, or None for a call from outside.
        """

    def closed(self) -> None:
        """Called when the execution has ended, after all callers and readers that waited for it were woken."""


class ExtendedRuntime(ExecutionRuntime):
    """The runtime of an execution of an extended flow. It calls the methods of its handle.

    The constructor of the handle sets `execution` and `invoke`.
    """

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
        """The object that a chunk gets as `data.execution`."""
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
    """The runtime of a flow: it holds the program, the shared data and the types, and creates executions."""
    return flow.__flow_runtime__()


def blueprint_of(flow: "TriggerFlow") -> Blueprint:
    """The blueprint of a flow: the chunks and operators that were added so far."""
    return flow.__flow_runtime__().blueprint


def extend(
    flow: "TriggerFlow",
    *,
    execution: Callable[[ExtendedRuntime], ExtendedExecution] | None = None,
    blueprint: Blueprint | None = None,
    executable: Callable[[], Blueprint] | None = None,
) -> None:
    """Set how a flow makes handles and blueprints. Call this before the flow is used.

    `execution` is called with the runtime of each execution and returns its handle, also for executions that run as a
    sub-flow, are loaded, or are resumed from a store. `blueprint` is what the methods of the flow (`to`, `when` and so
    on) add to. `executable` returns the blueprint that executions run; it is called again when the `version` of the
    written blueprint has changed. `blueprint` may also be replaced later; the new one must have a `version` that the
    old one never had.
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
    "PLAIN_TYPES",
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
