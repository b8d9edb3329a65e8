"""The flow: where chunks are registered and wired, and executions are made."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, overload

from ._core.definition import Definition, OperatorKind
from ._core.machine import compile_plan
from ._core.plan import Plan
from ._core.state import UNSET
from .builder import Blueprint, positive
from .chunk import Chunk, Handler
from .execution import Execution, Options
from .invoke import Invoker, invoker
from .portal import iterate_sync, run_sync
from .process import MatchMode, Process, WhenMode, root
from .shared import SharedData
from .stream import StreamReader


class TriggerFlow:
    """A workflow of chunks wired by signals.

    Write it once, run it any number of times at once; every execution sees the flow as it was when it was created.
    `skip_exceptions` lets a failing chunk end only its branch.
    """

    def __init__(self, *, name: str | None = None, skip_exceptions: bool = False) -> None:
        self.name = name or "flow"
        self.skip_exceptions = skip_exceptions
        self.shared = SharedData()
        self._blueprint = Blueprint(self.name)
        self._options = Options(skip_exceptions=skip_exceptions, attended=False)
        self._options_key: tuple[int | None, bool] = (None, skip_exceptions)
        self._compiled: tuple[int, Plan, tuple[Invoker, ...]] | None = None

    # -- writing -----------------------------------------------------------------------------------------------------

    @overload
    def chunk(
        self,
        name_or_handler: str | None = None,
        /,
        *,
        concurrency: int | None = None,
        inline: bool = False,
        emits: tuple[str, ...] = (),
    ) -> Callable[[Handler], Chunk]: ...

    @overload
    def chunk(
        self,
        name_or_handler: Handler,
        /,
        *,
        concurrency: int | None = None,
        inline: bool = False,
        emits: tuple[str, ...] = (),
    ) -> Chunk: ...

    def chunk(
        self,
        name_or_handler: str | Handler | None = None,
        /,
        *,
        concurrency: int | None = None,
        inline: bool = False,
        emits: tuple[str, ...] = (),
    ) -> Chunk | Callable[[Handler], Chunk]:
        """Register a chunk: `@flow.chunk("name")`, `@flow.chunk`, or `flow.chunk(function)`.

        `concurrency` bounds how many runs of this chunk go on at once in an execution. A sync function runs in a
        thread; `inline=True` says that it is cheap and may run on the loop. `emits` names events that its code does not
        show. Raises `DefinitionError` if the name belongs to another function.
        """
        positive(concurrency, f"flow {self.name!r}: chunk {name_or_handler!r}")
        options = {"concurrency": concurrency, "inline": inline, "emits": tuple(emits)}
        if name_or_handler is None or isinstance(name_or_handler, str):
            return lambda handler: self._blueprint.register(name_or_handler, handler, **options)
        return self._blueprint.register(None, name_or_handler, **options)

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None) -> Process:
        """Begin a chain at the start of the execution; see `Process.to`."""
        return root(self._blueprint).to(chunk, side_branch, name)

    def side_branch(self, chunk: Any, *, name: str | None = None) -> Process:
        """Run a chunk at the start, beside the chain that goes on here."""
        return root(self._blueprint).side_branch(chunk, name=name)

    def when(self, trigger_or_triggers: Any, *, mode: WhenMode = "and") -> Process:
        """Begin a chain at one or several signals; see `Process.when`."""
        return root(self._blueprint).when(trigger_or_triggers, mode=mode)

    def batch(self, *chunks: Any, side_branch: bool = False, concurrency: int | None = None) -> Process:
        """Begin with several chunks at once; see `Process.batch`."""
        return root(self._blueprint).batch(*chunks, side_branch=side_branch, concurrency=concurrency)

    def for_each(self, *, concurrency: int | None = None) -> Process:
        """Begin by going through the items of the start value; see `Process.for_each`."""
        return root(self._blueprint).for_each(concurrency=concurrency)

    def match(self, *, mode: MatchMode = "hit_first") -> Process:
        """Begin by choosing on the start value; see `Process.match`."""
        return root(self._blueprint).match(mode=mode)

    def if_condition(self, condition: Any) -> Process:
        """Begin with a condition on the start value; see `Process.if_condition`."""
        return root(self._blueprint).if_condition(condition)

    @property
    def chunks(self) -> dict[str, Chunk]:
        """The chunks of this flow by name."""
        return self._blueprint.chunks

    @property
    def definition(self) -> Definition:
        """The flow as immutable data, as it stands now."""
        return self._plan().definition

    # -- running -----------------------------------------------------------------------------------------------------

    def create_execution(
        self,
        *,
        id: str | None = None,
        concurrency: int | None = None,
        skip_exceptions: bool | None = None,
        max_pending: int = 1024,
        stream_history: int = 4096,
        journal_limit: int = 1024,
        deadline: float = 5.0,
    ) -> Execution:
        """A new execution, not started yet.

        `concurrency` bounds how many chunks run at once. `max_pending` is how many runs the signals of one chunk may
        have pending before the chunk waits, and how many items of a for_each without a limit are open at once.
        `stream_history` items and `journal_limit` records are kept for late readers. `deadline` is how long a failed or
        cancelled execution waits for its chunks' clean-up, in seconds.
        """
        options = Options(
            concurrency=positive(concurrency, f"flow {self.name!r}: create_execution()"),
            skip_exceptions=self.skip_exceptions if skip_exceptions is None else skip_exceptions,
            max_pending=max_pending,
            stream_history=stream_history,
            journal_limit=journal_limit,
            deadline=deadline,
        )
        return Execution(self.name, *self._ready(), self.shared, options, id)

    async def async_start(
        self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None
    ) -> Any:
        """Run the flow once: start, wait until all work has settled, return the result.

        Nobody outside holds this execution, so it does not wait for signals from outside. Cancelling this call, or its
        `timeout` (seconds), cancels the execution. Raises what a chunk raised, or `TimeoutError`.
        """
        execution = self._unattended(concurrency)
        try:
            execution.begin(value)
            ended = execution.ended(timeout)
            if ended is not None:
                await ended
            return execution.outcome(timeout)
        except (asyncio.CancelledError, TimeoutError):
            await execution.async_cancel("the call that ran it was cancelled or timed out")
            raise

    def start(self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None) -> Any:
        """The sync twin of `async_start`, for scripts. Raises `BlockingCallError` inside a running loop."""
        return run_sync(lambda: self.async_start(value, timeout=timeout, concurrency=concurrency), "async_start")

    def get_async_runtime_stream(
        self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None
    ) -> StreamReader[Any]:
        """Run the flow once and read its runtime stream; see `Execution.get_async_runtime_stream`.

        A reader that leaves early does not stop the execution.
        """
        return self._unattended(concurrency).get_async_runtime_stream(value, timeout=timeout)

    def get_runtime_stream(
        self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None
    ) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`."""
        return iterate_sync(
            lambda: self.get_async_runtime_stream(value, timeout=timeout, concurrency=concurrency),
            "get_async_runtime_stream",
        )

    # -- shared data -------------------------------------------------------------------------------------------------

    def get_flow_data(self, key: str, default: Any = None) -> Any:
        """A value shared by all executions of this flow."""
        return self.shared.values.get(key, default)

    def set_flow_data(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace a shared value; triggers `when({"flow_data": key})` in every running execution."""
        self.shared.set(key, value, emit=emit)

    def append_flow_data(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to a shared list."""
        self.shared.append(key, value, emit=emit)

    def del_flow_data(self, key: str, *, emit: bool = True) -> None:
        """Remove a shared value."""
        self.shared.delete(key, emit=emit)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _unattended(self, concurrency: int | None) -> Execution:
        """An execution that only the call which makes it knows of."""
        key = (concurrency, self.skip_exceptions)
        if key != self._options_key:
            positive(concurrency, f"flow {self.name!r}: start()")
            self._options = Options(concurrency=concurrency, skip_exceptions=self.skip_exceptions, attended=False)
            self._options_key = key
        return Execution(self.name, *self._ready(), self.shared, self._options)

    def _plan(self) -> Plan:
        return self._ready()[0]

    def _ready(self) -> tuple[Plan, tuple[Invoker, ...]]:
        compiled = self._compiled
        if compiled is None or compiled[0] != self._blueprint.version:
            plan = compile_plan(self._blueprint.freeze())
            compiled = (
                self._blueprint.version,
                plan,
                tuple(self._invoker(plan, index) for index in range(len(plan.nodes))),
            )
            self._compiled = compiled
        return compiled[1], compiled[2]

    def _invoker(self, plan: Plan, index: int) -> Invoker:
        node = plan.nodes[index]
        if node.handler is None:
            return _no_handler
        handler = self._blueprint.handlers[node.handler]
        inline = bool(node.operator.options.get("inline"))
        return invoker(handler, inline=inline, condition=node.kind is OperatorKind.MATCH_CASE)

    def __repr__(self) -> str:
        return f"<TriggerFlow {self.name!r}, {len(self._blueprint.operators)} operators>"


async def _no_handler(data: Any) -> Any:
    raise NotImplementedError(f"{data!r} has no handler")


__all__ = ["UNSET", "TriggerFlow"]
