"""What another front end builds on: the inside of flows and executions, under names that are kept stable.

Programs that use flows do not need this. A front end of its own (the bridge to Agently is one) makes its handles a
subclass of `Execution`, its chunks' argument a subclass of `TriggerFlowRuntimeData`, and gives the flow an `Extension`:
`extend(flow, ...)`. Everything else stays the engine's.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ._core.definition import Definition, Operator, OperatorKind
from ._core.signals import START, Trigger
from ._core.state import UNSET, RunChunk
from .build.blueprint import WHEN_KEYS, Blueprint, is_stable_name
from .build.chain import Chain
from .build.contract import Contract, checker
from .run import ingress
from .run.data import TriggerFlowRuntimeData, run_of
from .run.execution import Execution, runtime_of
from .run.flow_runtime import FlowRuntime
from .run.options import Options
from .run.portal import iterate_sync, on_a_loop, run_sync
from .run.program import Program
from .run.runtime import ExecutionRuntime
from .run.saving import read, restore, write
from .run.shared import SharedData
from .run.subflow import Link
from .serialize.config import FORMAT
from .serialize.flow_config import get_flow_config, load_flow_config


class Extension(Protocol):
    """What an execution calls at the points where a front end may add something. Most is done by `super()` of
    `ExtendedRuntime` already; these calls come beside it."""

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        """Call the handler of a run, in place of the engine: `program.invokers[run.node.index](data)`."""
        ...

    def starting(self, value: Any) -> None:
        """The execution is about to start."""
        ...

    def entering(self) -> None:
        """Something is about to be recorded from outside, or by the start."""
        ...

    def rested(self) -> None:
        """It is kept open, and no chunk runs any more."""
        ...

    def result_fixed(self, by: int | str | None) -> None:
        """It is kept open and has a result: by a run (its number), an `end()` (its id) or from outside (None)."""
        ...

    def closed(self) -> None:
        """It has ended, and everybody who waits was woken."""
        ...


class ExtendedRuntime(ExecutionRuntime):
    """The runtime of an execution that calls an `Extension`, which has to be set before the execution is used."""

    __slots__ = ("extension",)

    extension: Extension

    def begin(self, value: Any = UNSET) -> None:
        """Start; a second start does nothing."""
        if self.start_value is UNSET:
            value = None if value is UNSET else value
            self.extension.starting(value)
            super().begin(value)

    def entering(self) -> None:
        """See `Extension.entering`."""
        self.extension.entering()

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        """See `Extension.invoke`."""
        return self.extension.invoke(run)

    def rested(self) -> None:
        """See `Extension.rested`."""
        super().rested()
        self.extension.rested()

    def result_fixed(self, by: int | str | None) -> None:
        """See `Extension.result_fixed`."""
        super().result_fixed(by)
        self.extension.result_fixed(by)

    def closed(self, close: Any, error: BaseException | None) -> None:
        """See `Extension.closed`."""
        super().closed(close, error)
        self.extension.closed()


def flow_runtime_of(flow: Any) -> FlowRuntime:
    """The running side of a flow: its program, shared data, types, and how its executions are made."""
    return flow.__flow_runtime__()


def blueprint_of(flow: Any) -> Blueprint:
    """What has been written of a flow so far."""
    return flow_runtime_of(flow).blueprint


def extend(
    flow: Any,
    *,
    executable: Callable[[], Blueprint] | None = None,
    make_runtime: Callable[..., ExecutionRuntime] | None = None,
) -> None:
    """Let a flow run another blueprint than the one its user wrote (`executable`), or make other runtimes
    (`make_runtime(program, shared, options, environment, id, *, state, resources, link)`)."""
    runtime = flow_runtime_of(flow)
    if executable is not None:
        runtime.executable = executable
    if make_runtime is not None:
        runtime.make_runtime = make_runtime


__all__ = [
    "FORMAT",
    "START",
    "UNSET",
    "WHEN_KEYS",
    "Blueprint",
    "Chain",
    "Contract",
    "Definition",
    "Execution",
    "ExecutionRuntime",
    "ExtendedRuntime",
    "Extension",
    "FlowRuntime",
    "Link",
    "Operator",
    "OperatorKind",
    "Options",
    "Program",
    "SharedData",
    "Trigger",
    "TriggerFlowRuntimeData",
    "blueprint_of",
    "checker",
    "extend",
    "flow_runtime_of",
    "get_flow_config",
    "ingress",
    "is_stable_name",
    "iterate_sync",
    "load_flow_config",
    "on_a_loop",
    "read",
    "restore",
    "run_of",
    "run_sync",
    "runtime_of",
    "write",
]
