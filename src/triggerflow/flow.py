"""The flow: where chunks are registered and wired, and how executions are made, resumed, loaded and watched.

`TriggerFlow` is a thin handle. What is written goes into its blueprint (`build`); how it runs is its runtime (`run`).
What only exports, diagrams and stores need is imported on use: a program that only runs flows does not pay for it.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Never, Self, TypeVar, Unpack, cast, overload

from ._core.definition import Definition
from ._core.errors import DefinitionError, OptionError, SnapshotError, UsageError
from ._core.signals import ANY_CHUNK
from ._core.state import UNSET
from .build.arguments import check_names, flag, positive
from .build.blueprint import Blueprint
from .build.chain import Chain, MatchMode, WhenMode, root
from .build.chunk import Chunk, ChunkOptions, Handler, check_options
from .build.contract import Contract, checker
from .build.sources import Source, source_of
from .build.subflow import SubFlowOptions
from .build.typed import Reducer, Signal, StateModel
from .drivers.asyncio import REAL
from .run.environment import Environment
from .run.execution import Execution
from .run.flow_runtime import FlowRuntime
from .run.former_names import FLOW, refuse
from .run.options import Options
from .run.portal import iterate_sync, run_sync
from .run.resources import ResourceHolder
from .run.runtime import ExecutionRuntime
from .run.saving import read
from .run.stream import StreamReader

if TYPE_CHECKING:
    from pathlib import Path

    from .diagram import RunView
    from .diagram.graph import Mode
    from .durable.history import History
    from .durable.versions import Verdict
    from .stores.protocol import Store

T = TypeVar("T")


#: The options of `create_execution`.
CREATE_OPTIONS = (
    "id", "concurrency", "skip_exceptions", "max_pending", "stream_history", "journal_limit", "keep_open",
    "cleanup_timeout", "runtime_resources", "store",
)  # fmt: skip


class TriggerFlow(ResourceHolder):
    """A workflow of chunks wired by signals.

    Write it once, run it any number of times at once; every execution sees the flow as it was when it was created.
    `name` is what diagrams, logs and stores call it; a flow with a store needs one. `skip_exceptions` lets a failing
    chunk end only its branch. `environment` gives its executions time, ids and chance; the default is real time.
    """

    def __init__(
        self, name: str | None = None, *, skip_exceptions: bool = False, environment: Environment = REAL
    ) -> None:
        given: Any = name
        if not isinstance(given, str | None):
            raise OptionError(f"TriggerFlow: name must be a string, got {given!r}")
        flag(skip_exceptions, "TriggerFlow", "skip_exceptions")
        self._runtime = FlowRuntime(Blueprint(name or "flow"), environment, _stored, skip_exceptions=skip_exceptions)
        self._runtime.is_named = bool(name)

    @property
    def _blueprint(self) -> Blueprint:
        return self._runtime.blueprint

    def __flow_runtime__(self) -> FlowRuntime:
        """What the engine and its extensions find behind this handle."""
        return self._runtime

    @property
    def name(self) -> str:
        """The name of the flow; "flow" if it was given none."""
        return self._blueprint.name

    @property
    def skip_exceptions(self) -> bool:
        """Whether a failing chunk ends only its branch."""
        return self._runtime.skip_exceptions

    @property
    def definition(self) -> Definition:
        """The flow as immutable data, as it is now."""
        return self._runtime.program().plan.definition

    @property
    def chunks(self) -> dict[str, Chunk]:
        """The chunks of this flow by name."""
        return dict(self._blueprint.chunks)

    def __repr__(self) -> str:
        return f"<TriggerFlow {self.name!r}, {len(self._blueprint.operators)} operators>"

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            refuse(self, name, FLOW)

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
        runs in a thread; `inline=True` says that it is cheap and may run on the loop. What it returns is awaited if
        that is an awaitable. `emits` names an event, or several, that its code does not show, for diagrams and checks.
        `retry`, `timeout` (seconds) and `cache` are its policies. A sync chunk that times out fails at once; its thread
        cannot be stopped and goes on: what it returns is dropped, its next call into the engine raises `UsageError`,
        its permit is free, the next attempt may run beside it, and the process does not wait for it at its end.
        Raises `DefinitionError` if the name belongs to another function, or an option makes no sense.
        """
        check_options(options, f"flow {self.name!r}: chunk {name_or_handler!r}")
        if name_or_handler is None or isinstance(name_or_handler, str):
            return lambda handler: self._blueprint.register(name_or_handler, handler, **options)
        return self._blueprint.register(None, name_or_handler, **options)

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None) -> Chain:
        """Begin a chain at the start of the execution; see `Chain.to`."""
        return root(self._blueprint).to(chunk, side_branch, name)

    def side_branch(self, chunk: Any, *, name: str | None = None) -> Chain:
        """Run a chunk at the start, beside the chain that goes on here."""
        return root(self._blueprint).side_branch(chunk, name=name)

    def when(self, trigger_or_triggers: Any, *, mode: WhenMode = "and") -> Chain:
        """Begin a chain at one or several signals; see `Chain.when`."""
        return root(self._blueprint).when(trigger_or_triggers, mode=mode)

    def batch(self, *chunks: Any, side_branch: bool = False, concurrency: int | None = None) -> Chain:
        """Begin with several chunks at once; see `Chain.batch`."""
        return root(self._blueprint).batch(*chunks, side_branch=side_branch, concurrency=concurrency)

    def for_each(self, *, concurrency: int | None = None) -> Chain:
        """Begin by going through the items of the start value; see `Chain.for_each`."""
        return root(self._blueprint).for_each(concurrency=concurrency)

    def match(self, *, mode: MatchMode = "hit_first") -> Chain:
        """Begin by choosing on the start value; see `Chain.match`."""
        return root(self._blueprint).match(mode=mode)

    def if_condition(self, condition: Any) -> Chain:
        """Begin with a condition on the start value; see `Chain.if_condition`."""
        return root(self._blueprint).if_condition(condition)

    def to_sub_flow(self, trigger_flow: "TriggerFlow", **options: Unpack[SubFlowOptions]) -> Chain:
        """Begin by running another flow; see `Chain.to_sub_flow`."""
        return root(self._blueprint).to_sub_flow(trigger_flow, **options)

    def on_error(self, chunk: Any) -> Chain:
        """Run a chunk for every failure that has no error route of its own: `when({"error": "*"}).to(chunk)`.

        Failures of chunks count when their policy has given up, those of for_each sources at once; not those of the
        route itself and what follows it. The chunk gets `{"chunk", "type", "message", "value"}`: the name of what
        failed, of which class and text the error was, and the value that the failed chunk had. The branch in which it
        failed has ended then; the execution goes on.
        """
        return self.when({"error": ANY_CHUNK}).to(chunk)

    @overload
    def signal(self, name: str, *, external: bool = False) -> "Signal[Any]": ...

    @overload
    def signal(self, name: str, expected: "type[T]", *, external: bool = False) -> "Signal[T]": ...

    def signal(self, name: str, expected: Any = UNSET, *, external: bool = False) -> "Signal[Any]":
        """Declare an event: the type of its value, and whether it comes from outside.

        A value of the `expected` type is checked wherever the event is emitted. An execution that somebody holds (one
        of `create_execution`) stays open for an `external` event: until it has a result, or `async_close` says that
        nothing more comes. For an event that is not declared so, it does not wait. Chunks may emit an external event
        too; that changes nothing.

        The returned signal can be used wherever the name can: in `when`, and in `async_emit`, where a type checker
        checks the value too. What a second declaration of a name leaves out stays as it was. Raises `DefinitionError`
        for a name that is no text or empty, and for a second, different type; an external event that nothing listens
        to is refused before the first run.
        """
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"flow {self.name!r}: a signal's name must be a non-empty string, got {name!r}")
        if expected is not UNSET:
            types = self._runtime.signal_types
            known = types.get(name, expected)
            if known is not expected and known != expected:
                raise DefinitionError(
                    f"flow {self.name!r}: signal {name!r} is declared with the type {known!r} already, and now with "
                    f"{expected!r}; an event has one type, so give the other event another name"
                )
            self._runtime.signals[name] = checker(expected, f"signal {name}")
            types[name] = expected
        if external:
            self._blueprint.external.add(str(name))
        self._blueprint.version += 1
        return Signal(name)

    def set_state(self, model: type, *, reducers: "Mapping[str, Reducer] | None" = None) -> Self:
        """Declare the state: a dataclass, msgspec struct or Pydantic model whose fields are the keys.

        Every change is checked, fields start with their defaults, and `state.reduce(key, value)` combines with the
        field's reducer (`append`, `extend`, `merge`, `maximum`, `minimum`, `add`, or any function of two values).
        """
        self._runtime.state = StateModel(model, reducers or {})
        self._blueprint.version += 1
        return self

    def set_contract(
        self, *, initial_input: Any = UNSET, stream: Any = UNSET, result: Any = UNSET, meta: Any = UNSET
    ) -> Self:
        """Promise types for the start value, the stream's items and the result; what is left out stays as it is."""
        for place, expected in (("initial_input", initial_input), ("stream", stream), ("result", result)):
            if expected is not UNSET:
                self._runtime.contract.set(place, expected)
        if meta is not UNSET:
            self._runtime.contract.meta = meta
        self._blueprint.version += 1
        return self

    def get_contract(self) -> Contract:
        """What the flow promises."""
        return self._runtime.contract

    def register_type(self, cls: "type[T]", name: str | None = None) -> "type[T]":
        """Allow instances of a class to be recorded; see `payload.Types.register`. Usable as a decorator."""
        return self._runtime.types.register(cls, name)

    def source(self, function: Callable[..., Any], /, *, name: str | None = None) -> Callable[..., Source]:
        """Register a function that gives the items of a lazy `for_each`; usable as a decorator.

        It is a generator function, sync or async. Calling the result makes a `Source`, which a chunk can return, and
        which can be recorded: after a crash the function is called again with the same arguments, and the items that
        were taken before are passed over.
        """
        name = name or function.__qualname__
        self._runtime.types.register_source(function, name)
        return lambda *arguments, **options: source_of(name, function, arguments, options)

    # -- running -----------------------------------------------------------------------------------------------------

    def create_execution(
        self,
        *,
        id: str | None = None,
        concurrency: int | None = None,
        skip_exceptions: bool | None = None,
        max_pending: int = 1024,
        stream_history: int = 4096,
        journal_limit: int | None = None,
        keep_open: bool = False,
        cleanup_timeout: float = 5.0,
        runtime_resources: Mapping[str, Any] | None = None,
        store: "Store | None" = None,
        **unknown: Never,
    ) -> Execution:
        """A new execution, not started yet.

        With a `store`, or after `set_store`, it is durable: see `Execution`. An `id` that is in the store already is
        that execution, which goes on with its first use.

        `concurrency` bounds how many chunks run at once. `max_pending` is how many runs the signals of one chunk may
        have pending before the chunk waits, and how many items of a for_each without a limit are open at once.
        `stream_history` items are kept for late readers. `journal_limit` records are kept for `Execution.records`;
        without a number the newest, while their values take little room. `cleanup_timeout` is for how many seconds a
        failed or cancelled execution waits for its chunks' clean-up. `runtime_resources` are added to the flow's.
        It closes as soon as nothing is left to do; while it has no result, it waits for the events that the flow
        declares external (see `signal`). With `keep_open` it does not close, but takes signals until `async_close`.
        Raises `DefinitionError` for an option that does not exist, or cannot have the value.
        """
        where = f"flow {self.name!r}: create_execution()"
        if unknown:
            check_names(unknown, CREATE_OPTIONS, where)
        given: Any = runtime_resources
        if not isinstance(given, Mapping | None):
            raise OptionError(f"{where}: runtime_resources must be a mapping of names to objects")
        options = Options(
            concurrency=positive(concurrency, where),
            skip_exceptions=self._runtime.skip_exceptions if skip_exceptions is None else skip_exceptions,
            max_pending=max_pending,
            stream_history=stream_history,
            journal_limit=journal_limit,
            keep_open=keep_open,
            cleanup_timeout=cleanup_timeout,
        )
        return self._runtime.make_handle(self._runtime.new(options, id, store=store, resources=runtime_resources))

    async def async_resume(
        self,
        id: str,
        *,
        store: "Store | None" = None,
        runtime_resources: Mapping[str, Any] | None = None,
        operator_map: Mapping[str, str | None] | None = None,
    ) -> Execution:
        """A durable execution out of its store, and it goes on: what was running is run again, under the same run id.

        Resources are not recorded: give them again. `operator_map` tells where operators that were renamed since are
        now; see `load_execution`. Raises `UnknownExecution`, `ExecutionLeased` while another process runs it,
        `SnapshotError` if it cannot go on under this definition, and `StoreError`.
        """
        runtime = self._runtime.stored(
            self._store(store, "flow.async_resume"),
            Options(),
            id,
            resources=runtime_resources,
            must_exist=True,
            operator_map=operator_map,
        )
        return await self._runtime.make_handle(runtime).async_open()

    def resume(self, id: str, *, store: "Store | None" = None, **options: Any) -> Execution:
        """See `async_resume`."""
        return run_sync(lambda: self.async_resume(id, store=store, **options), "flow.async_resume")

    def history(self, store: "Store | None" = None) -> "History":
        """What a store knows of this flow's executions: list, read, fork, compare, prune, export; see `History`."""
        from .durable.history import History

        return History(self._runtime, self._store(store, "history"))

    def set_store(self, store: "Store | None") -> Self:
        """Make all executions of this flow durable from now on: their records are kept in the store, which is open."""
        if store is not None:
            self._runtime.require_name()
        self._runtime.store = store
        return self

    def _store(self, store: "Store | None", call: str) -> "Store":
        store = store or self._runtime.store
        if store is None:
            raise UsageError(f"flow {self.name!r}: {call} needs a store; give one, or flow.set_store(store)")
        return store

    async def async_start(
        self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None
    ) -> Any:
        """Run the flow once: start, wait until all work has settled, return the result.

        Nobody outside holds this execution, so it does not wait for signals from outside. Cancelling this call, or its
        `timeout` (seconds), cancels the execution. Raises what a chunk raised, or `TimeoutError`.
        """
        execution = self._runtime.unattended(concurrency)
        try:
            execution.begin(value)
            ended = execution.ended(timeout)
            if ended is not None:
                await ended
            return execution.outcome(timeout, "it is cancelled")
        except (asyncio.CancelledError, TimeoutError):
            await Execution(execution).async_cancel("the call that ran it was cancelled or timed out")
            raise

    def start(self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None) -> Any:
        """The sync twin of `async_start`, for scripts. Raises `BlockingCallError` inside a running loop."""
        return run_sync(lambda: self.async_start(value, timeout=timeout, concurrency=concurrency), "flow.async_start")

    def get_async_runtime_stream(
        self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None
    ) -> StreamReader[Any]:
        """Run the flow once and read its runtime stream; see `Execution.get_async_runtime_stream`.

        A reader that leaves early does not stop the execution.
        """
        execution = self._runtime.make_handle(self._runtime.unattended(concurrency))
        return execution.get_async_runtime_stream(value, timeout=timeout)

    def get_runtime_stream(
        self, value: Any = None, *, timeout: float | None = None, concurrency: int | None = None
    ) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`."""
        return iterate_sync(
            lambda: self.get_async_runtime_stream(value, timeout=timeout, concurrency=concurrency),
            "flow.get_async_runtime_stream",
        )

    # -- resources and shared data -------------------------------------------------------------------------------------

    @property
    def resources(self) -> dict[str, Any]:
        """What all executions of this flow are given, by name."""
        return self._runtime.shared.resources

    def get_flow_data(self, key: str, default: Any = None) -> Any:
        """A value shared by all executions of this flow."""
        return self._runtime.shared.values.get(key, default)

    def set_flow_data(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace a shared value; triggers `when({"flow_data": key})` in every running execution."""
        self._runtime.shared.set(key, value, emit=emit)

    def append_flow_data(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to a shared list."""
        self._runtime.shared.append(key, value, emit=emit)

    def del_flow_data(self, key: str, *, emit: bool = True) -> None:
        """Remove a shared value."""
        self._runtime.shared.delete(key, emit=emit)

    # -- saved executions ----------------------------------------------------------------------------------------------

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
        from .durable.versions import apply_map

        data = dict(read(source, encoding))
        if isinstance(state := data.get("state"), Mapping):
            try:
                data["state"] = apply_map(cast("Mapping[str, Any]", state), self.definition, operator_map)
            except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
                if isinstance(error, SnapshotError):
                    raise
                text = f"the saved execution is damaged: {type(error).__name__}: {error}"
                raise SnapshotError(text) from error
        return self._runtime.make_handle(self._runtime.restored(data, runtime_resources))

    def inspect_load(self, source: "Mapping[str, Any] | str | Path", *, encoding: str = "utf-8") -> "Verdict":
        """Whether a saved execution can go on under this flow as it stands now: compatible, needs a map, or refused.

        `Verdict.reasons` says why, `Verdict.map_form` what `load_execution(operator_map=...)` has to be given.
        """
        from .durable.versions import inspect

        state = read(source, encoding).get("state")
        if not isinstance(state, Mapping):
            raise SnapshotError("this is no saved execution: it has no state")
        return inspect(cast("Mapping[str, Any]", state), self.definition)

    # -- the flow as data ----------------------------------------------------------------------------------------------

    def get_flow_config(self, *, validate_serializable: bool = True) -> dict[str, Any]:
        """The flow as a dict in the format `triggerflow/v1`; see `flow_config`."""
        from .serialize import flow_config

        return flow_config.get_flow_config(self._blueprint, validate_serializable=validate_serializable)

    def get_json_flow(self, save_to: "str | Path | None" = None, *, encoding: str = "utf-8", **options: Any) -> str:
        """The flow as JSON text, which is also written to a file if one is named; options of `get_flow_config`."""
        from .serialize import flow_config

        return flow_config.to_text(self.get_flow_config(**options), "json", save_to, encoding)

    def get_yaml_flow(self, save_to: "str | Path | None" = None, *, encoding: str = "utf-8", **options: Any) -> str:
        """The flow as YAML text, which is also written to a file if one is named; options of `get_flow_config`."""
        from .serialize import flow_config

        return flow_config.to_text(self.get_flow_config(**options), "yaml", save_to, encoding)

    def register_chunk_handler(self, handler: Any, *, name: str | None = None) -> Self:
        """Make a function known by name, so that a definition that is loaded later can use it as a chunk."""
        from .serialize import flow_config

        flow_config.register_chunk_handler(self._blueprint, handler, name=name)
        return self

    def register_condition_handler(self, handler: Handler, *, name: str | None = None) -> Self:
        """Make a function known by name, so that a definition that is loaded later can use it as a condition."""
        from .serialize import flow_config

        flow_config.register_condition_handler(self._blueprint, handler, name=name)
        return self

    def load_flow_config(self, config: Mapping[str, Any], *, replace: bool = True) -> Self:
        """Take a definition over from a dict: in place of this flow's, or after it. Its handlers must be registered.

        Raises `DefinitionError` that names the place; nothing has changed then.
        """
        from .serialize import flow_config

        flow_config.load_flow_config(self._blueprint, config, replace=replace)
        self._runtime.is_named = True
        return self

    def load_json_flow(self, path_or_content: "str | Path", *, replace: bool = True, encoding: str = "utf-8") -> Self:
        """`load_flow_config` from JSON text or a file."""
        from .serialize import flow_config

        return self.load_flow_config(flow_config.from_text(path_or_content, "json", encoding), replace=replace)

    def load_yaml_flow(self, path_or_content: "str | Path", *, replace: bool = True, encoding: str = "utf-8") -> Self:
        """`load_flow_config` from YAML text or a file."""
        from .serialize import flow_config

        return self.load_flow_config(flow_config.from_text(path_or_content, "yaml", encoding), replace=replace)

    def to_mermaid(self, *, mode: "Mode" = "simplified", run: "RunView | None" = None) -> str:
        """The flow as a Mermaid flowchart, coloured by a run if one is given; see `diagram`."""
        from .diagram import to_mermaid

        return to_mermaid(self.definition, mode=mode, run=run)

    def to_dot(self, *, run: "RunView | None" = None) -> str:
        """The flow as a graph for Graphviz's `dot`."""
        from .diagram import to_dot

        return to_dot(self.definition, run=run)


def _stored(*arguments: Any, **details: Any) -> ExecutionRuntime:
    """The runtime of a durable execution."""
    from .durable.stored import stored_runtime

    return stored_runtime(*arguments, **details)


__all__ = ["UNSET", "TriggerFlow"]
