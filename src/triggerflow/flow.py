"""The flow: where chunks are registered and wired, and executions are made."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, overload

from ._core.definition import Definition
from ._core.errors import SnapshotError, UsageError
from ._core.machine import compile_plan
from ._core.signals import ANY_CHUNK
from ._core.state import UNSET
from .builder import positive
from .chunk import Chunk, ChunkOptions, Handler
from .contract import Check, Contract, checker
from .defined import DefinedFlow
from .execution import Execution
from .lazy import Source, source_of
from .options import Options
from .payload import Types
from .persistence import read, restore
from .portal import iterate_sync, run_sync
from .process import MatchMode, Process, WhenMode, root
from .program import Program
from .resources import ResourceHolder
from .shared import SharedData
from .stream import StreamReader
from .subflow import Link, SubFlowOptions
from .typed import Reducer, Signal, StateModel

if TYPE_CHECKING:
    from pathlib import Path

    from .durable.execution import DurableExecution
    from .durable.history import History
    from .stores.protocol import Store
    from .versions import Verdict

T = TypeVar("T")


class TriggerFlow(DefinedFlow, ResourceHolder):
    """A workflow of chunks wired by signals.

    Write it once, run it any number of times at once; every execution sees the flow as it was when it was created.
    `skip_exceptions` lets a failing chunk end only its branch.
    """

    def __init__(self, *, name: str | None = None, skip_exceptions: bool = False) -> None:
        super().__init__(name or "flow")
        self.skip_exceptions = skip_exceptions
        self.shared = SharedData()
        self.types = Types()
        self._contract = Contract()
        self._signals: dict[str, Check] = {}
        self._state: StateModel | None = None
        self._store: Store | None = None
        self._options = Options(skip_exceptions=skip_exceptions, attended=False)
        self._options_key: tuple[int | None, bool] = (None, skip_exceptions)
        self._compiled: tuple[int, Program] | None = None

    # -- writing -----------------------------------------------------------------------------------------------------

    @overload
    def chunk(self, name: str | None = None, /, **options: Unpack[ChunkOptions]) -> Callable[[Handler], Chunk]: ...

    @overload
    def chunk(self, handler: Handler, /, **options: Unpack[ChunkOptions]) -> Chunk: ...

    def chunk(
        self, name_or_handler: str | Handler | None = None, /, **options: Unpack[ChunkOptions]
    ) -> Chunk | Callable[[Handler], Chunk]:
        """Register a chunk: `@flow.chunk("name")`, `@flow.chunk`, or `flow.chunk(function)`.

        The options: `concurrency` bounds how many runs of this chunk go on at once in an execution. A sync function
        runs in a thread; `inline=True` says that it is cheap and may run on the loop. `emits` names events that its
        code does not show. `retry`, `timeout` (seconds) and `cache` are its policies.
        Raises `DefinitionError` if the name belongs to another function, or an option makes no sense.
        """
        positive(options.get("concurrency"), f"flow {self.name!r}: chunk {name_or_handler!r}")
        if name_or_handler is None or isinstance(name_or_handler, str):
            return lambda handler: self.blueprint.register(name_or_handler, handler, **options)
        return self.blueprint.register(None, name_or_handler, **options)

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None) -> Process:
        """Begin a chain at the start of the execution; see `Process.to`."""
        return self.root.to(chunk, side_branch, name)

    def side_branch(self, chunk: Any, *, name: str | None = None) -> Process:
        """Run a chunk at the start, beside the chain that goes on here."""
        return self.root.side_branch(chunk, name=name)

    def when(self, trigger_or_triggers: Any, *, mode: WhenMode = "and") -> Process:
        """Begin a chain at one or several signals; see `Process.when`."""
        return self.root.when(trigger_or_triggers, mode=mode)

    def batch(self, *chunks: Any, side_branch: bool = False, concurrency: int | None = None) -> Process:
        """Begin with several chunks at once; see `Process.batch`."""
        return self.root.batch(*chunks, side_branch=side_branch, concurrency=concurrency)

    def for_each(self, *, concurrency: int | None = None) -> Process:
        """Begin by going through the items of the start value; see `Process.for_each`."""
        return self.root.for_each(concurrency=concurrency)

    def match(self, *, mode: MatchMode = "hit_first") -> Process:
        """Begin by choosing on the start value; see `Process.match`."""
        return self.root.match(mode=mode)

    def if_condition(self, condition: Any) -> Process:
        """Begin with a condition on the start value; see `Process.if_condition`."""
        return self.root.if_condition(condition)

    def to_sub_flow(self, trigger_flow: "TriggerFlow", **options: Unpack[SubFlowOptions]) -> Process:
        """Begin by running another flow; see `Process.to_sub_flow`."""
        return self.root.to_sub_flow(trigger_flow, **options)

    def on_error(self, chunk: Any) -> Process:
        """Run a chunk for every failure that has no error route of its own: `when({"error": "*"}).to(chunk)`.

        Failures of chunks count when their policy has given up, those of for_each sources at once; not those of the
        route itself and what follows it. The chunk gets `{"chunk", "type", "message", "value"}`: the name of what
        failed, of which class and text the error was, and the value that the failed chunk had. The branch in which it
        failed has ended then; the execution goes on.
        """
        return self.when({"error": ANY_CHUNK}).to(chunk)

    def signal(self, name: str, expected: "type[T]") -> "Signal[T]":
        """Declare the type of an event's value: it is checked wherever the event is emitted.

        The returned signal can be used wherever the name can: in `when`, and in `async_emit`, where a type checker
        checks the value too.
        """
        self._signals[name] = checker(expected, f"signal {name}")
        self.blueprint.version += 1
        return Signal(name)

    def set_state(self, model: type, *, reducers: "Mapping[str, Reducer] | None" = None) -> "TriggerFlow":
        """Declare the state: a dataclass, msgspec struct or Pydantic model whose fields are the keys.

        Every change is checked, fields start with their defaults, and `state.reduce(key, value)` combines with the
        field's reducer (`append`, `extend`, `merge`, `maximum`, `minimum`, `add`, or any function of two values).
        """
        self._state = StateModel(model, reducers or {})
        self.blueprint.version += 1
        return self

    def set_contract(
        self, *, initial_input: Any = UNSET, stream: Any = UNSET, result: Any = UNSET, meta: Any = UNSET
    ) -> "TriggerFlow":
        """Promise types for the start value, the stream's items and the result; what is left out stays as it is."""
        for place, expected in (("initial_input", initial_input), ("stream", stream), ("result", result)):
            if expected is not UNSET:
                self._contract.set(place, expected)
        if meta is not UNSET:
            self._contract.meta = meta
        self.blueprint.version += 1
        return self

    def get_contract(self) -> Contract:
        """What the flow promises."""
        return self._contract

    def register_type(self, cls: "type[T]", name: str | None = None) -> "type[T]":
        """Allow instances of a class to be recorded; see `payload.Types.register`. Usable as a decorator."""
        return self.types.register(cls, name)

    def source(self, function: Callable[..., Any], /, *, name: str | None = None) -> Callable[..., Source]:
        """Register a function that gives the items of a lazy `for_each`; usable as a decorator.

        It is a generator function, sync or async. Calling the result makes a `Source`, which a chunk can return, and
        which can be recorded: after a crash the function is called again with the same arguments, and the items that
        were taken before are passed over.
        """
        name = name or function.__qualname__
        self.types.register_source(function, name)
        return lambda *arguments, **options: source_of(name, function, arguments, options)

    @property
    def resources(self) -> dict[str, Any]:
        """What all executions of this flow are given, by name."""
        return self.shared.resources

    @property
    def own_resources(self) -> dict[str, Any]:
        """The same: a flow has no others."""
        return self.shared.resources

    @property
    def root(self) -> Process:
        """Where chains begin: the start of the execution."""
        return root(self.blueprint)

    @property
    def chunks(self) -> dict[str, Chunk]:
        """The chunks of this flow by name."""
        return self.blueprint.chunks

    @property
    def definition(self) -> Definition:
        """The flow as immutable data, as it stands now."""
        return self.program().plan.definition

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
        keep_open: bool = False,
        deadline: float = 5.0,
        runtime_resources: Mapping[str, Any] | None = None,
        store: "Store | None" = None,
    ) -> Execution:
        """A new execution, not started yet.

        With a `store`, or after `set_store`, it is durable: see `durable.execution.DurableExecution`. An `id` that is
        in the store already is that execution, which goes on with its first use.

        `concurrency` bounds how many chunks run at once. `max_pending` is how many runs the signals of one chunk may
        have pending before the chunk waits, and how many items of a for_each without a limit are open at once.
        `stream_history` items and `journal_limit` records are kept for late readers. `deadline` is how long a failed or
        cancelled execution waits for its chunks' clean-up, in seconds. `runtime_resources` are added to the flow's.
        With `keep_open` it does not close when its work is done, but takes signals until `async_close`.
        """
        options = Options(
            concurrency=positive(concurrency, f"flow {self.name!r}: create_execution()"),
            skip_exceptions=self.skip_exceptions if skip_exceptions is None else skip_exceptions,
            max_pending=max_pending,
            stream_history=stream_history,
            journal_limit=journal_limit,
            keep_open=keep_open,
            deadline=deadline,
        )
        store = store or self._store
        if store is not None:
            return self._durable(store, options, id, resources=runtime_resources)
        return self.make_execution(self.shared, options, id, resources=runtime_resources)

    async def async_resume(
        self,
        id: str,
        *,
        store: "Store | None" = None,
        runtime_resources: Mapping[str, Any] | None = None,
        operator_map: Mapping[str, str | None] | None = None,
    ) -> "DurableExecution":
        """A durable execution out of its store, and it goes on: what was running is run again, under the same run id.

        Resources are not recorded: give them again. `operator_map` tells where operators that were renamed since are
        now; see `load_execution`. Raises `UnknownExecution`, `ExecutionLeased` while another process runs it,
        `SnapshotError` if it cannot go on under this definition, and `StoreError`.
        """
        store = store or self._store
        if store is None:
            raise UsageError(f"flow {self.name!r}: async_resume needs a store; give one, or flow.set_store(store)")
        found = self._durable(
            store, Options(), id, resources=runtime_resources, must_exist=True, operator_map=operator_map
        )
        return await found.async_open()

    def resume(self, id: str, *, store: "Store | None" = None, **options: Any) -> "DurableExecution":
        """See `async_resume`."""
        return run_sync(lambda: self.async_resume(id, store=store, **options), "async_resume")

    def history(self, store: "Store | None" = None) -> "History":
        """What a store knows of this flow's executions: list, read, fork, compare, prune, export; see `History`."""
        from .durable.history import History

        store = store or self._store
        if store is None:
            raise UsageError(f"flow {self.name!r}: history needs a store; give one, or flow.set_store(store)")
        return History(self.program(), self.shared, store)

    def set_store(self, store: "Store | None") -> "TriggerFlow":
        """Make all executions of this flow durable from now on: their records are kept in the store, which is open."""
        self._store = store
        return self

    def _durable(self, store: "Store", options: Options, id: str | None, **details: Any) -> "DurableExecution":
        from .durable.execution import durable_execution  # who keeps nothing shall not pay for it

        return durable_execution(self.program(), self.shared, options, store, id, **details)

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
            return execution.outcome(timeout, "it is cancelled")
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

    def make_execution(self, shared: SharedData, options: Options, id: str | None = None, **details: Any) -> Execution:
        """An execution of this flow as it stands now. All that this flow makes come from here."""
        return Execution(self.program(), shared, options, id, **details)

    async def sub_execution(
        self,
        *,
        id: str,
        concurrency: int | None,
        leases: bool,
        link: Link,
        saved: Any,
        attempt: int,
        runtime_data: Mapping[str, Any],
        flow_data: Mapping[str, Any],
        resources: Mapping[str, Any],
    ) -> tuple[Execution, bool]:
        """An execution of this flow inside another one's, with its own copy of the shared data; see `subflow`.

        Whether it goes on from an earlier attempt of its step comes with it.
        """
        shared = self.shared.copy(flow_data)
        options = Options(concurrency=concurrency, skip_exceptions=self.skip_exceptions, attended=False, leases=leases)
        child, goes_on = await link.parent.new_child(
            self.program(), shared, options, id, saved=saved, attempt=attempt, resources=resources, link=link,
            make=self.make_execution,
        )  # fmt: skip
        if not goes_on:
            for key, value in runtime_data.items():
                child.state.set(key, value, emit=False)
        return child, goes_on

    def load_execution(
        self,
        source: "Mapping[str, Any] | str | Path",
        *,
        runtime_resources: Mapping[str, Any] | None = None,
        operator_map: Mapping[str, str | None] | None = None,
        encoding: str = "utf-8",
    ) -> Execution:
        """The execution that `Execution.save` wrote: from its dict, its JSON or YAML text, or the path of such a file.

        It goes on with its first use on a loop (`async_get_result`, `async_continue_with`, a reader ...): what was
        running is run again, under the same run id and with the next attempt number. Resources are not recorded: give
        them again. `operator_map` tells where operators that were renamed since are now; see `inspect_load`.
        Raises `SnapshotError` for what cannot be read or cannot go on here, and changes nothing then.
        """
        from .versions import apply_map

        data = dict(read(source, encoding))
        if isinstance(state := data.get("state"), Mapping):
            try:
                data["state"] = apply_map(cast("Mapping[str, Any]", state), self.definition, operator_map)
            except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
                if isinstance(error, SnapshotError):
                    raise
                text = f"the saved execution is damaged: {type(error).__name__}: {error}"
                raise SnapshotError(text) from error
        return restore(self.make_execution, self.program(), self.shared, Options(), data, resources=runtime_resources)

    def inspect_load(self, source: "Mapping[str, Any] | str | Path", *, encoding: str = "utf-8") -> "Verdict":
        """Whether a saved execution can go on under this flow as it stands now: compatible, needs a map, or refused.

        `Verdict.reasons` says why, `Verdict.map_form` what `load_execution(operator_map=...)` has to be given.
        """
        from .versions import inspect

        state = read(source, encoding).get("state")
        if not isinstance(state, Mapping):
            raise SnapshotError("this is no saved execution: it has no state")
        return inspect(cast("Mapping[str, Any]", state), self.definition)

    def _unattended(self, concurrency: int | None) -> Execution:
        """An execution that only the call which makes it knows of."""
        key = (concurrency, self.skip_exceptions)
        if key != self._options_key:
            positive(concurrency, f"flow {self.name!r}: start()")
            self._options = Options(concurrency=concurrency, skip_exceptions=self.skip_exceptions, attended=False)
            self._options_key = key
        if self._store is not None:
            return self._durable(self._store, self._options, None)
        return self.make_execution(self.shared, self._options)

    def program(self) -> Program:
        """The flow as it stands now, made ready to run; made anew only after a change."""
        compiled = self._compiled
        if compiled is None or compiled[0] != self.blueprint.version:
            blueprint = self.executable()
            program = Program(
                compile_plan(blueprint.freeze()), blueprint, self.types, self._contract, self._signals, self._state
            )
            compiled = self._compiled = (self.blueprint.version, program)
        return compiled[1]

    def __repr__(self) -> str:
        return f"<TriggerFlow {self.name!r}, {len(self.blueprint.operators)} operators>"


__all__ = ["UNSET", "TriggerFlow"]
