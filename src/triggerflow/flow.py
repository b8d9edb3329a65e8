"""The flow: registers and wires chunks, and creates, resumes, loads and inspects executions.

`TriggerFlow` is a thin handle. Its blueprint (`build`) holds the chunks and operators; its runtime (`run`) makes
executions. Modules that only exports, diagrams and stores need are imported on first use, to keep the import fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Never, ParamSpec, Self, TypeVar, Unpack, cast, overload

from ._core.definition import Definition
from ._core.errors import DefinitionError, OptionError, SnapshotError, UsageError
from ._core.signals import ANY_CHUNK
from ._core.state import UNSET
from .build.arguments import check_names, flag, positive, seconds, text
from .build.blueprint import Blueprint
from .build.chain import Chain, MatchMode, OnError, WhenMode, root
from .build.chunk import Chunk, ChunkOptions, Handler, check_options
from .build.contract import Contract, checker
from .build.former_names import FLOW, refuse
from .build.sources import Source, source_of
from .drivers.asyncio import REAL
from .run.environment import Environment
from .run.execution import Execution
from .run.flow_runtime import FlowRuntime
from .run.ingress import check_delay, check_patience
from .run.options import Options, Reuse, check_labels, check_reuse
from .run.portal import iterate_sync, run_sync
from .run.resources import ResourceHolder
from .run.runtime import ExecutionRuntime

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from typing_extensions import TypeVar as DefaultTypeVar

    from .build.subflow import SubFlowOptions
    from .build.typed import Reducer, Signal
    from .diagram import RunView
    from .diagram.graph import Mode
    from .durable.executions.shared import SharedView
    from .durable.format.versions import Verdict
    from .durable.history.history import History
    from .durable.schedules.schedule_state import Missed, Overlap
    from .durable.schedules.schedules import Schedule, Schedules
    from .run.shared import Operation
    from .run.stream import StreamReader
    from .stores.protocol import Store

    InputT = DefaultTypeVar("InputT", default=Any)
    OutputT = DefaultTypeVar("OutputT", default=Any)
else:
    InputT, OutputT = TypeVar("InputT"), TypeVar("OutputT")

T = TypeVar("T")
P = ParamSpec("P")


#: The options of `create_execution`.
CREATE_OPTIONS = (
    "id", "concurrency", "skip_exceptions", "max_pending", "stream_history", "journal_limit", "keep_open",
    "execution_timeout", "cleanup_timeout", "max_losses", "runtime_resources", "store", "reuse", "labels",
)  # fmt: skip


#: The options of `TriggerFlow`, with the one that a message about another time limit names.
FLOW_OPTIONS = ("name", "skip_exceptions", "execution_timeout", "environment")


class TriggerFlow(ResourceHolder, Generic[InputT, OutputT]):
    """A workflow of chunks wired by signals. `TriggerFlow[str, Report]` tells type checkers its start value and result.

    Any number of executions of a flow can run at the same time. An execution uses the flow as it was when the execution
    was created. Diagrams, logs and stores show `name` (default: "flow"); a flow with a store needs a name of its own.
    With `skip_exceptions` a failing chunk ends only its branch; without it, the default, it fails the execution.
    `execution_timeout` is the longest time in seconds that an execution may take from its start, pauses and waits
    included; then it fails with `ExecutionTimedOut`. It counts where the flow runs as a sub-flow, too.
    `environment` supplies the clock, ids and random numbers of the executions; the default is real time.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        skip_exceptions: bool = False,
        execution_timeout: float | None = None,
        environment: Environment = REAL,
        **unknown: Never,
    ) -> None:
        if unknown:
            check_names(unknown, FLOW_OPTIONS, "TriggerFlow")
        given: Any = text(name)
        name = given
        if not isinstance(given, str | None):
            raise OptionError(f"TriggerFlow: name must be a string, got {given!r}")
        flag(skip_exceptions, "TriggerFlow", "skip_exceptions")
        if execution_timeout is not None:
            seconds(execution_timeout, "TriggerFlow", "execution_timeout", above=True)
        self._runtime = FlowRuntime(
            Blueprint(name or "flow"),
            environment,
            _stored,
            skip_exceptions=skip_exceptions,
            execution_timeout=execution_timeout,
        )
        self._runtime.is_named = bool(name)

    @property
    def _blueprint(self) -> Blueprint:
        return self._runtime.blueprint

    def __flow_runtime__(self) -> FlowRuntime:
        """The runtime behind this handle, for the engine and its extensions."""
        return self._runtime

    @property
    def name(self) -> str:
        """The name of the flow; "flow" if no name was given."""
        return self._blueprint.name

    @property
    def skip_exceptions(self) -> bool:
        """Whether a failing chunk ends only its branch instead of the execution."""
        return self._runtime.skip_exceptions

    @property
    def definition(self) -> Definition:
        """The flow as immutable data. Later changes to the flow do not change it."""
        return self._runtime.program().plan.definition

    @property
    def chunks(self) -> dict[str, Chunk]:
        """The chunks of this flow by name."""
        return dict(self._blueprint.chunks)

    def __repr__(self) -> str:
        return f"<TriggerFlow {self.name!r}, {len(self._blueprint.operators)} operators>"

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters):
            from types import GenericAlias

            return GenericAlias(cls, parameters)

        def __getattr__(self, name):
            refuse(self, name, FLOW)

    # -- writing -----------------------------------------------------------------------------------------------------

    @overload
    def chunk(
        self, name: str | None = None, /, **options: Unpack[ChunkOptions]
    ) -> Callable[[Callable[P, T]], Chunk[P, T]]: ...

    @overload
    def chunk(self, handler: Callable[P, T], /, **options: Unpack[ChunkOptions]) -> Chunk[P, T]: ...

    def chunk(self, name_or_handler: str | Callable[..., Any] | None = None, /, **options: Unpack[ChunkOptions]) -> Any:
        """Register a chunk: `@flow.chunk("name")`, `@flow.chunk`, or `flow.chunk(function)`.

        `concurrency` limits how many runs of this chunk may be active at once in one execution (default: no limit). A
        sync function runs in a thread; with `inline=True` it runs on the event loop, so it must be quick. `emits` names
        events that the chunk emits and its code does not show; diagrams and checks use it. `retry`, `timeout` (seconds
        per attempt) and `cache` are its policies; by default it has none. If the chunk fails for good, `fallback` is
        used in place of its result, and the chain continues: a value, or a callable, sync or async, which gets the
        runtime data with the failure as `data.failure`. A sync chunk that times out fails at
        once. Its thread cannot be stopped: what it returns is dropped, its next call into the engine raises
        `UsageError`, its permit is free, and the process does not wait for it at its end.
        Raises `DefinitionError` if the name belongs to another function, or an option has an impossible value.
        """
        name_or_handler = text(name_or_handler)
        check_options(options, f"flow {self.name!r}: chunk {name_or_handler!r}")
        if name_or_handler is None or isinstance(name_or_handler, str):

            def register(handler: Handler) -> Chunk:
                return self._blueprint.register(name_or_handler, handler, **options)

            return register
        return self._blueprint.register(None, name_or_handler, **options)

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None, **unknown: Never) -> Chain:
        """Begin a chain: run a chunk with the start value. See `Chain.to`."""
        return root(self._blueprint).to(chunk, side_branch, name, **unknown)

    def side_branch(self, chunk: Any, *, name: str | None = None, **unknown: Never) -> Chain:
        """Begin a chain with a side branch: run a chunk, and ignore what it returns. See `Chain.side_branch`."""
        return root(self._blueprint).side_branch(chunk, name=name, **unknown)

    def when(self, trigger_or_triggers: Any, *, mode: WhenMode = "and", **unknown: Never) -> Chain:
        """Begin a chain at one or several signals. See `Chain.when`."""
        return root(self._blueprint).when(trigger_or_triggers, mode=mode, **unknown)

    def batch(
        self,
        *chunks: Any,
        side_branch: bool = False,
        concurrency: int | None = None,
        on_error: OnError = "raise",
        **unknown: Never,
    ) -> Chain:
        """Begin a chain: run several chunks with the start value. See `Chain.batch`."""
        return root(self._blueprint).batch(
            *chunks, side_branch=side_branch, concurrency=concurrency, on_error=on_error, **unknown
        )

    def for_each(self, *, concurrency: int | None = None, on_error: OnError = "raise", **unknown: Never) -> Chain:
        """Begin a chain: run its steps once per item of the start value. See `Chain.for_each`."""
        return root(self._blueprint).for_each(concurrency=concurrency, on_error=on_error, **unknown)

    def match(self, *, mode: MatchMode = "hit_first", on_error: OnError = "raise", **unknown: Never) -> Chain:
        """Begin a chain: choose a case by the start value. See `Chain.match`."""
        return root(self._blueprint).match(mode=mode, on_error=on_error, **unknown)

    def if_condition(self, condition: Any, *, on_error: OnError = "raise", **unknown: Never) -> Chain:
        """Begin a chain: test a condition on the start value. See `Chain.if_condition`."""
        return root(self._blueprint).if_condition(condition, on_error=on_error, **unknown)

    def to_sub_flow(self, trigger_flow: TriggerFlow, **options: Unpack[SubFlowOptions]) -> Chain:
        """Begin a chain: run another flow with the start value. See `Chain.to_sub_flow`."""
        return root(self._blueprint).to_sub_flow(trigger_flow, **options)

    def on_error(self, chunk: Any) -> Chain:
        """Run a chunk for every failure without an error route of its own: `when({"error": "*"}).to(chunk)`.

        A chunk has failed when its last retry failed and it has no `fallback`; the source of a for_each, when it
        raises. `chunk` gets the dict `{"chunk", "type", "message", "value"}`: the name of
        the failed chunk, the class name and the text of its exception, and the value that the failed chunk was run
        with. The failed branch ends without a value, so that a block around it does not continue; other branches and
        the items of a for_each do. A route takes no failure of the work that it has started itself, directly or by
        signals, timers and answers; another route can.
        """
        return self.when({"error": ANY_CHUNK}).to(chunk)

    @overload
    def signal(self, name: str, *, external: bool = False) -> Signal[Any]: ...

    @overload
    def signal(self, name: str, expected: type[T], *, external: bool = False) -> Signal[T]: ...

    def signal(self, name: str, expected: Any = UNSET, *, external: bool = False, **unknown: Never) -> Signal[Any]:
        """Declare an event: the type of its value, and whether code outside the execution emits it.

        Every emit of the event checks that its value has the `expected` type. An execution made by `create_execution`
        stays open for `external` events: until it has a result, or `async_close` is called. It does not wait for other
        events. Chunks may emit an external event too.

        The returned `Signal` can be used in place of the name: in `when`, and in `async_emit`, where type checkers
        check the value. A second declaration of the same name changes only the arguments that it gives.
        Raises `DefinitionError` if the name is not a non-empty string, or was declared with another type. An external
        event without a listener raises `DefinitionError` when an execution is created.
        """
        check_names(unknown, ("expected", "external"), f"flow {self.name!r}: signal()")
        flag(external, f"flow {self.name!r}: signal()", "external")
        name = text(name)
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"flow {self.name!r}: a signal's name must be a non-empty string, got {name!r}")
        if expected is not UNSET:
            from .build.annotations import resolve, user_names  # it takes a millisecond, and few flows declare types

            expected = resolve(expected, f"flow {self.name!r}: signal {name!r}", user_names())
            types = self._runtime.signal_types
            known = types.get(name, expected)
            if known is not expected and known != expected:
                raise DefinitionError(
                    f"flow {self.name!r}: signal {name!r} is declared with the type {known!r} already, and now with "
                    f"{expected!r}; an event has one type, so give the other event another name"
                )
            self._runtime.signals[name] = checker(expected, f"signal {name}")
            types[name] = expected
            self._runtime.types.find(expected)
        if external:
            self._blueprint.external.add(name)
        self._blueprint.signals.add(name)
        self._blueprint.version += 1
        from .build.typed import Signal

        return Signal(name)

    def set_state(self, model: type, *, reducers: Mapping[str, Reducer] | None = None, **unknown: Never) -> Self:
        """Declare the keys of the runtime data: the fields of a dataclass, msgspec struct or Pydantic model.

        Every change of a value is checked against the field's type. Fields start with their defaults.
        `state.reduce(key, value)` combines the stored value with a new one by the field's reducer: `append`, `extend`,
        `merge`, `maximum`, `minimum` or `add` of `triggerflow.reducers`, or any function of the old and new value.
        Raises `DefinitionError` for any other class, and for a reducer of an unknown field.
        """
        check_names(unknown, ("reducers",), f"flow {self.name!r}: set_state()")
        from .build.annotations import user_names
        from .build.typed import StateModel

        self._runtime.state = StateModel(model, reducers or {}, user_names())
        self._runtime.types.find(model)
        self._blueprint.version += 1
        return self

    def set_contract(
        self,
        *,
        initial_input: Any = UNSET,
        stream: Any = UNSET,
        result: Any = UNSET,
        meta: Any = UNSET,
        **unknown: Never,
    ) -> Self:
        """Declare the types of the start value, the stream's items and the result; arguments left out change nothing.

        A value of another type raises `ContractError` where it appears. `meta` is data of your own, kept unchecked.
        """
        check_names(unknown, ("initial_input", "stream", "result", "meta"), f"flow {self.name!r}: set_contract()")
        for place, expected in (("initial_input", initial_input), ("stream", stream), ("result", result)):
            if expected is not UNSET:
                from .build.annotations import resolve, user_names  # see `signal`

                expected = resolve(expected, f"flow {self.name!r}: the contract's {place}", user_names())
                self._runtime.contract.set(place, expected)
                self._runtime.types.find(expected)
        if meta is not UNSET:
            self._runtime.contract.meta = meta
        self._blueprint.version += 1
        return self

    def get_contract(self) -> Contract:
        """The declared types, and `meta`; see `set_contract`."""
        return self._runtime.contract

    def register_type(self, cls: type[T], name: str | None = None) -> type[T]:
        """Allow instances of a class to be saved and stored: a dataclass, msgspec struct, named tuple, Pydantic model
        or enum. The classes in its fields are registered with it.

        The types of signals, contract and state need no call. Usable as a decorator. `name` is written into records
        (default: the class's own name); keep it when the class moves. docs/values.md lists which values come back, and
        which are refused. Raises `DefinitionError` for any other class, and for a name that another class has.
        """
        if isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]
            from .build.annotations import resolve, user_names  # see `signal`

            resolve(cls, f"flow {self.name!r}: register_type({cls.__name__})", user_names())
        return self._runtime.types.register(cls, name)

    def source(self, function: Callable[..., Any], /, *, name: str | None = None) -> Callable[..., Source]:
        """Register a generator function, sync or async, as a source of items for `for_each`. Usable as a decorator.

        The result is a function: calling it makes a `Source`, which a chunk can return as the input of a `for_each`. A
        source can be recorded: after a crash the function is called again with the same arguments, and the items that
        were already taken are skipped. So it must yield the same items in the same order.
        Raises `DefinitionError` if the name belongs to another function.
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
        execution_timeout: float | None = None,
        cleanup_timeout: float = 5.0,
        max_losses: int = 5,
        runtime_resources: Mapping[str, Any] | None = None,
        store: Store | None = None,
        reuse: Reuse = "existing",
        labels: Mapping[str, str] | None = None,
        **unknown: Never,
    ) -> Execution[OutputT]:
        """Create an execution without starting it.

        With a `store`, or after `set_store`, it is durable: see `Execution`. `reuse` says what happens on the first use
        if the store already has an execution with this `id`, see `async_submit`. By default the handle is for that
        execution, which continues with the options that it was created with; a warning names those that differ.
        `labels` are texts by name, to find the execution again (`history.executions(labels=...)`).

        `concurrency` limits how many chunks run at once (default: no limit). `max_pending` limits how many runs caused
        by one chunk's signals may be pending before its next emit waits, and how many items of a for_each without a
        limit are open at once. Late readers can still read the last `stream_history` items of the stream and the last
        `journal_limit` records (default: the newest, while their values take little memory).
        `execution_timeout` is the longest time in seconds from the start to the end, pauses and waits included; then
        the execution fails with `ExecutionTimedOut`. The default is that of the flow; `math.inf` is no limit. After a
        failure or a cancellation, chunks have `cleanup_timeout` seconds to clean up.
        If the process ends while a chunk of a durable execution runs, the chunk runs again. After `max_losses`
        processes it fails with `RunLost` instead, because it may be what ends them. So does the source of a `for_each`.
        `runtime_resources` are added to the resources of the flow.
        The execution closes when no work is left, and either it has a result or the flow declares no external event
        (see `signal`). With `keep_open` it accepts signals until `async_close`.
        Raises `DefinitionError` for an unknown option, or an impossible value.
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
            execution_timeout=self._runtime.execution_timeout if execution_timeout is None else execution_timeout,
            cleanup_timeout=cleanup_timeout,
            max_losses=max_losses,
        )
        details: dict[str, Any] = {"resources": runtime_resources}
        if check_reuse(reuse, where) != "existing":
            details["reuse"] = reuse
        if labels is not None:
            details["labels"] = check_labels(labels, where)
        if len(details) > 1 and (store or self._runtime.store) is None:
            raise UsageError(f"{where}: reuse= and labels= need a store; an execution in memory is found by its handle")
        return self._runtime.make_handle(self._runtime.new(options, id, store=store, **details))

    async def async_submit(
        self,
        value: InputT | None = None,
        *,
        id: str | None = None,
        store: Store | None = None,
        reuse: Reuse = "reject",
        labels: Mapping[str, str] | None = None,
        delay: float | None = None,
        concurrency: int | None = None,
        skip_exceptions: bool | None = None,
        max_pending: int = 1024,
        keep_open: bool = False,
        execution_timeout: float | None = None,
        cleanup_timeout: float = 5.0,
        max_losses: int = 5,
    ) -> Execution[OutputT]:
        """Start a durable execution that a `Worker` runs, of this process or another one. Returns when it is stored.

        The handle does not run the execution, see `async_attach`. `reuse` is the policy for an `id` that is in the
        store: "reject" raises `ExecutionExists`; "existing" returns a handle of that execution, whatever its value and
        its state are; "new_after_end" does so while it has not ended, and then starts a new execution under the id
        `id.2`, after that `id.3`. Of several processes that submit an id at the same time, one creates it. `delay` is
        that of `async_start`, the other options are those of `create_execution`.

        Raises `ContractError` or `PayloadError` for a value of another type than the declared one, or that cannot be
        recorded; `DefinitionError` for an impossible option; `UsageError` without a store, or if the id belongs to
        another flow; `StoreError`.
        """
        where = f"flow {self.name!r}: submit()"
        store = self._store(store, "flow.async_submit")
        self._runtime.require_name()
        if id is not None and not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{where}: the id of an execution is a string; got {id!r}")
        if delay is not None:
            check_delay(delay)
        options = Options(
            concurrency=positive(concurrency, where),
            skip_exceptions=self._runtime.skip_exceptions if skip_exceptions is None else skip_exceptions,
            max_pending=max_pending,
            keep_open=keep_open,
            execution_timeout=self._runtime.execution_timeout if execution_timeout is None else execution_timeout,
            cleanup_timeout=cleanup_timeout,
            max_losses=max_losses,
        )
        from .durable.executions.submission import submit

        made = await submit(
            self._runtime, store, options, value,
            id=id, reuse=check_reuse(reuse, where), labels=check_labels(labels, where), delay=delay,
        )  # fmt: skip
        return await self.async_attach(made, store=store)

    def submit(self, value: InputT | None = None, *, store: Store | None = None, **options: Any) -> Execution[OutputT]:
        """The sync twin of `async_submit`."""
        return run_sync(lambda: self.async_submit(value, store=store, **options), "flow.async_submit")

    async def async_resume(
        self,
        id: str,
        *,
        store: Store | None = None,
        runtime_resources: Mapping[str, Any] | None = None,
        operator_map: Mapping[str, str | None] | None = None,
    ) -> Execution[OutputT]:
        """Open a durable execution from its store and continue it.

        Chunks that were running are run again, with the same run id. Resources are not stored: pass them again.
        If another process runs the execution, it goes on there, and the handle works all the same: it shows what
        happens there, and asks that process to do what its methods say. When that process has died, this one continues
        the execution, as soon as the handle is used.
        `operator_map` maps the ids of renamed operators, old to new; see `inspect_load`. Raises `UnknownExecution`;
        `SnapshotError` if the execution does not fit this
        definition; `StoreError` if the store cannot be read or written; `UsageError` without a store.
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

    def resume(self, id: str, *, store: Store | None = None, **options: Any) -> Execution[OutputT]:
        """The sync twin of `async_resume`."""
        return run_sync(lambda: self.async_resume(id, store=store, **options), "flow.async_resume")

    async def async_attach(self, id: str, *, store: Store | None = None) -> Execution[OutputT]:
        """A handle of a durable execution that this process does not run, whether another one runs it or none.

        It works like that of `async_resume`: it shows what happens to the execution, and what its methods say is asked
        of the process that runs it. While no process runs it, they wait until one does, such as a worker. If the
        execution runs in this process already, this is another handle of it. Raises `UnknownExecution`; `StoreError`;
        `UsageError` without a store.
        """
        runtime = self._runtime.stored(
            self._store(store, "flow.async_attach"), Options(), id, must_exist=True, may_run=False
        )
        return await self._runtime.make_handle(runtime).async_open()

    def attach(self, id: str, *, store: Store | None = None) -> Execution[OutputT]:
        """The sync twin of `async_attach`."""
        return run_sync(lambda: self.async_attach(id, store=store), "flow.async_attach")

    async def async_retry(
        self,
        id: str,
        *,
        store: Store | None = None,
        runtime_resources: Mapping[str, Any] | None = None,
        operator_map: Mapping[str, str | None] | None = None,
        force: bool = False,
    ) -> Execution[OutputT]:
        """Run a durable execution again that has failed, from its state before the failure.

        What had completed stays completed. The chunk that failed runs again with the next attempt number, and so do the
        chunks that were cancelled with it, also in sub-flows. The id stays, and records and stream items are numbered
        on: a reader goes on with `after=` its position. The state is as it was left. The journal has a record
        `retried`. An interrupt that has expired is asked again; open ones expire later by the time since the failure.

        Raises `UsageError` if the execution has not failed, if it is a sub-flow (retry its parent), and, unless `force`
        is true, if an error route was running and some of its chunks had completed. Raises `RecordsTrimmed` if it was
        compacted after the failure that ended it, `SnapshotError` if it or a sub-flow does not fit this definition; it
        is still failed then. Also raises what `async_resume` raises. If that, or a cancellation, comes after the record
        was written, the execution is `running` and has no owner: `async_resume` or a worker continues it. The other
        parameters are those of `async_resume`.
        """
        store = self._store(store, "flow.async_retry")
        self._runtime.require_name()
        from .durable.executions.retrying import released_on_error, reopen

        resources = None if runtime_resources is None else dict(runtime_resources)
        now = self._runtime.environment.now()
        await reopen(self._runtime.program(), store, id, now, force=force, operator_map=operator_map)
        async with released_on_error(store, id):
            return await self.async_resume(id, store=store, runtime_resources=resources, operator_map=operator_map)

    def retry(self, id: str, *, store: Store | None = None, **options: Any) -> Execution[OutputT]:
        """The sync twin of `async_retry`."""
        return run_sync(lambda: self.async_retry(id, store=store, **options), "flow.async_retry")

    def history(self, store: Store | None = None) -> History:
        """The stored executions of this flow: list, read, fork, compare, prune and export them. See `History`."""
        from .durable.history.history import History

        return History(self._runtime, self._store(store, "history"))

    def schedules(self, store: Store | None = None) -> Schedules:
        """The schedules of this flow: list, read, change, pause, trigger and delete them. See `Schedules`."""
        from .durable.schedules.schedules import Schedules

        return Schedules(self._runtime, self._store(store, "schedules"))

    async def async_schedule(
        self,
        id: str,
        *,
        store: Store | None = None,
        cron: str | None = None,
        every: float | timedelta | None = None,
        zone: str = "UTC",
        anchor: float | datetime | None = None,
        value: InputT | None = None,
        overlap: Overlap = "skip",
        missed: Missed = "latest",
        window: float | timedelta | None = None,
        jitter: float | timedelta = 0,
        since: float | datetime | None = None,
        until: float | datetime | None = None,
        limit: int | None = None,
        labels: Mapping[str, str] | None = None,
        paused: bool | None = None,
        **unknown: Never,
    ) -> Schedule:
        """Let workers start an execution with `value` at each *tick*: by a cron expression in a time zone, or `every`
        so many seconds. It is stored under its id; any `Worker` of this flow on the store starts each tick once.

        `cron` has five fields (minute, hour, day of the month, month, day of the week), and needs the extra
        `[schedules]`. A time of day that does not exist on a day (a clock is put forward) comes as the first minute
        after it; of one that exists twice, the first counts. An expression whose minute or hour begins with `*` is a
        pace, and has its ticks in both of two equal hours. `every` counts seconds (1 or more) from `anchor` (default:
        now), whatever clocks show.

        `overlap` says what happens at a tick while an earlier execution is running: "skip" the tick, "queue" it until
        none is running, "cancel_running" and then start it, or "allow" both. `missed` says which ticks are made up for
        after a time without a worker: the "latest", "all", or none ("skip": those more than a minute late). A tick
        that is more than `window` seconds late is not started. `jitter` delays each tick by up to so many seconds.
        There are no ticks before `since` and after `until`, and `limit` executions at most.

        The execution that a tick starts has an id made of the id of the schedule and the time ("nightly@2026-03-29T
        01:00:00Z"), the given `labels`, and the labels "schedule" (the id) and "tick" (the time, in UTC).

        If the id is known, the options are replaced, and what the schedule has done stays: a service may call this at
        each start. Ticks that were changed count from now on. A pause goes on, unless `paused` is given.

        Raises `OptionError` and `DefinitionError` for an option that is not valid, `ContractError` and `PayloadError`
        for such a value, `UsageError` without a store or a name of the flow, if the id belongs to another flow, or
        without `[schedules]`, and `StoreError`.
        """
        return await self.schedules(store).put(
            id, cron=cron, every=every, zone=zone, anchor=anchor, value=value, overlap=overlap, missed=missed,
            window=window, jitter=jitter, since=since, until=until, limit=limit, labels=labels, paused=paused, **unknown
        )  # fmt: skip

    def schedule(self, id: str, *, store: Store | None = None, **options: Any) -> Schedule:
        """The sync twin of `async_schedule`."""
        return run_sync(lambda: self.async_schedule(id, store=store, **options), "flow.async_schedule")

    def set_store(self, store: Store | None) -> Self:
        """Store the records of all executions that are created from now on; None ends that. The store must be open.

        Raises `UsageError` if the flow has no name of its own, and for anything that is no store.
        """
        if store is not None:
            from .durable.executions.commit import require_store

            self._runtime.require_name()
            require_store(store)
        self._runtime.store = store
        return self

    def _store(self, store: Store | None, call: str) -> Store:
        store = store or self._runtime.store
        if store is None:
            raise UsageError(
                f"flow {self.name!r}: {call} needs a store; pass store=, or call flow.set_store(store) first"
            )
        return store

    async def async_start(
        self,
        value: InputT | None = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        delay: float | None = None,
        execution_timeout: float | None = None,
    ) -> OutputT:
        """Run the flow once: start it, wait until it has ended, return its result. With `delay` its work begins after
        so many seconds; `execution_timeout` (see `create_execution`) counts from then, `timeout` from this call.

        No handle of this execution exists, so it does not wait for external events. If this call is cancelled, or takes
        longer than `timeout` seconds, the execution is cancelled. Raises the exception of a failed chunk,
        `ExecutionTimedOut`, or `TimeoutError`.
        """
        if timeout is not None:
            check_patience(timeout, f"flow {self.name!r}: start()")
        execution = self._runtime.without_handle(concurrency, execution_timeout)
        try:
            execution.begin(value, delay)
            if timeout is None:
                while (ended := execution.ended()) is not None:  # `until`, inlined: thousands may wait here
                    await ended
            else:
                await execution.until(lambda: execution.has_ended, timeout)
            return execution.outcome(timeout, "it is cancelled")
        except (asyncio.CancelledError, TimeoutError):
            await Execution(execution).async_cancel("the call that ran it was cancelled or timed out")
            raise

    def start(
        self,
        value: InputT | None = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        delay: float | None = None,
        execution_timeout: float | None = None,
    ) -> OutputT:
        """The sync twin of `async_start`, for scripts. Raises `BlockingCallError` inside a running loop."""
        make = lambda: self.async_start(  # noqa: E731
            value, timeout=timeout, concurrency=concurrency, delay=delay, execution_timeout=execution_timeout
        )
        return run_sync(make, "flow.async_start")

    def get_async_runtime_stream(
        self,
        value: InputT | None = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        execution_timeout: float | None = None,
    ) -> StreamReader[Any]:
        """Run the flow once and read its runtime stream. See `Execution.get_async_runtime_stream`.

        The execution continues when the reader stops reading. `timeout` is the longest wait for one item, in seconds.
        """
        execution = self._runtime.make_handle(self._runtime.without_handle(concurrency, execution_timeout))
        return execution.get_async_runtime_stream(value, timeout=timeout)

    def get_runtime_stream(
        self,
        value: InputT | None = None,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        execution_timeout: float | None = None,
    ) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`."""
        return iterate_sync(
            lambda: self.get_async_runtime_stream(
                value, timeout=timeout, concurrency=concurrency, execution_timeout=execution_timeout
            ),
            "flow.get_async_runtime_stream",
        )

    # -- resources and shared data -------------------------------------------------------------------------------------

    @property
    def resources(self) -> dict[str, Any]:
        """The resources that every execution of this flow gets, by name."""
        return self._runtime.shared.resources

    def get_flow_data(self, key: str, default: Any = None, *, store: Store | None = None) -> Any:
        """A value that all executions of this flow share; `default` if there is none under this key.

        Durable executions share their data in their store. `store` (default: the store of the flow) says in which one.
        Without a store this is the data that executions in memory share in this process; a durable execution reads it
        where its store has no value. Raises `BlockingCallError` inside a running event loop if there is a store.
        """
        if (store or self._runtime.store) is None:
            return self._runtime.shared.get(text(key), default)
        return run_sync(lambda: self.async_get_flow_data(key, default, store=store), "flow.async_get_flow_data")

    def set_flow_data(self, key: str, value: Any, *, emit: bool = True, store: Store | None = None) -> None:
        """Set a shared value. With `emit` it triggers `when({"flow_data": key})` in every execution that has not ended.

        `store`: see `get_flow_data`.
        """
        self._change_flow_data("set", key, value, emit, store)

    def append_flow_data(self, key: str, value: Any, *, emit: bool = True, store: Store | None = None) -> None:
        """Append to a shared list, which is created if the key has no value. `store`: see `get_flow_data`."""
        self._change_flow_data("append", key, value, emit, store)

    def del_flow_data(self, key: str, *, emit: bool = True, store: Store | None = None) -> None:
        """Remove a shared value. Does nothing if the key has no value. `store`: see `get_flow_data`."""
        self._change_flow_data("delete", key, None, emit, store)

    async def async_get_flow_data(self, key: str, default: Any = None, *, store: Store | None = None) -> Any:
        """See `get_flow_data`. Of a store it returns what was committed before the call."""
        key, view = text(key), self._shared_view(store)
        if view is None:
            return self._runtime.shared.get(key, default)
        await view.refresh()
        return view.get(key, default)

    async def async_set_flow_data(self, key: str, value: Any, *, emit: bool = True, store: Store | None = None) -> None:
        """See `set_flow_data`. The change is in the store when this returns."""
        await self._async_change_flow_data("set", key, value, emit, store)

    async def async_append_flow_data(
        self, key: str, value: Any, *, emit: bool = True, store: Store | None = None
    ) -> None:
        """See `append_flow_data`. The change is in the store when this returns."""
        await self._async_change_flow_data("append", key, value, emit, store)

    async def async_del_flow_data(self, key: str, *, emit: bool = True, store: Store | None = None) -> None:
        """See `del_flow_data`. The change is in the store when this returns."""
        await self._async_change_flow_data("delete", key, None, emit, store)

    def _shared_view(self, store: Store | None) -> SharedView | None:
        store = store or self._runtime.store
        if store is None:
            return None
        self._runtime.require_name()
        from .durable.executions.commit import session_of

        return session_of(store).shared_view(self._runtime.program())

    def _change_flow_data(self, op: Operation, key: str, value: Any, emit: bool, store: Store | None) -> None:
        shared, key = self._runtime.shared, text(key)
        if (store or self._runtime.store) is not None:
            name = f"flow.async_{'del' if op == 'delete' else op}_flow_data"
            run_sync(lambda: self._async_change_flow_data(op, key, value, emit, store), name)
        elif op == "set":
            shared.set(key, value, emit=emit)
        elif op == "append":
            shared.append(key, value, emit=emit)
        else:
            shared.delete(key, emit=emit)

    async def _async_change_flow_data(
        self, op: Operation, key: str, value: Any, emit: bool, store: Store | None
    ) -> None:
        view = self._shared_view(store)
        if view is None:
            self._change_flow_data(op, key, value, emit, store)
        else:
            await view.change(op, text(key), value, emit)

    # -- saved executions ----------------------------------------------------------------------------------------------

    def load_execution(
        self,
        source: Mapping[str, Any] | str | Path,
        *,
        runtime_resources: Mapping[str, Any] | None = None,
        operator_map: Mapping[str, str | None] | None = None,
        encoding: str = "utf-8",
    ) -> Execution[OutputT]:
        """Load an execution that `Execution.save` wrote: its dict, its JSON or YAML text, or the path of its file.

        The execution continues on its first use on an event loop, such as `async_get_result`, `async_continue_with` or
        a reader. Chunks that were running are run again, with the same run id and the next attempt number. Resources
        are not saved: pass them again. `operator_map` maps the ids of renamed operators, old to new; see
        `inspect_load`. Raises `SnapshotError` if the source is damaged or does not fit this definition.
        """
        from .durable.format.versions import apply_map
        from .run.saving import read  # not needed to run a flow, and slow to import

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

    def inspect_load(self, source: Mapping[str, Any] | str | Path, *, encoding: str = "utf-8") -> Verdict:
        """Check whether a saved execution can continue under this flow: compatible, needs a map, or refused.

        `Verdict.reasons` says why; `Verdict.map_form` is a template for the `operator_map` of `load_execution`.
        Raises `SnapshotError` if the source is not a saved execution.
        """
        from .durable.format.versions import inspect
        from .run.saving import read

        state = read(source, encoding).get("state")
        if not isinstance(state, Mapping):
            raise SnapshotError(
                "inspect_load(): this is not a saved execution: it has no 'state'; pass what save() wrote"
            )
        return inspect(cast("Mapping[str, Any]", state), self.definition)

    # -- the flow as data ----------------------------------------------------------------------------------------------

    def get_flow_config(self, *, validate_serializable: bool = True) -> dict[str, Any]:
        """The flow as a dict in the format `triggerflow/v1`.

        Raises `DefinitionError` for a literal that JSON cannot carry and for a handler without a stable name, unless
        `validate_serializable` is False.
        """
        from .serialize import flow_config

        return flow_config.get_flow_config(self._blueprint, validate_serializable=validate_serializable)

    def get_json_flow(self, save_to: str | Path | None = None, *, encoding: str = "utf-8", **options: Any) -> str:
        """The flow as JSON text; `save_to` also writes it to that file. `options` are those of `get_flow_config`."""
        from .serialize import flow_config

        return flow_config.to_text(self.get_flow_config(**options), "json", save_to, encoding)

    def get_yaml_flow(self, save_to: str | Path | None = None, *, encoding: str = "utf-8", **options: Any) -> str:
        """The flow as YAML text; `save_to` also writes it to that file. `options` are those of `get_flow_config`."""
        from .serialize import flow_config

        return flow_config.to_text(self.get_flow_config(**options), "yaml", save_to, encoding)

    def register_chunk_handler(self, handler: Any, *, name: str | None = None) -> Self:
        """Register a function, chunk or flow by name, so that a loaded definition can use it as a step.

        The default name is that of the object. Raises `DefinitionError` if another object has the name, or if the name
        is not the same in every process (that of a lambda).
        """
        from .serialize import flow_config

        flow_config.register_chunk_handler(self._blueprint, handler, name=name)
        return self

    def register_condition_handler(self, handler: Handler, *, name: str | None = None) -> Self:
        """Register a function by name, so that a loaded definition can use it as the condition of a case.

        The default name is that of the function. Raises `DefinitionError` if another function has the name, or if the
        name is not the same in every process (that of a lambda).
        """
        from .serialize import flow_config

        flow_config.register_condition_handler(self._blueprint, handler, name=name)
        return self

    def load_flow_config(self, config: Mapping[str, Any], *, replace: bool = True) -> Self:
        """Load a definition from a dict: it replaces the steps of this flow, or (`replace=False`) is added to them.

        The handlers that it names must be registered before. Raises `DefinitionError` that names the place in the dict;
        the flow is unchanged then.
        """
        from .serialize import flow_config

        flow_config.load_flow_config(self._blueprint, config, replace=replace)
        self._runtime.is_named = True
        return self

    def load_json_flow(self, path_or_content: str | Path, *, replace: bool = True, encoding: str = "utf-8") -> Self:
        """Load a definition from JSON text, or from the JSON file at a path. See `load_flow_config`."""
        from .serialize import flow_config

        return self.load_flow_config(flow_config.from_text(path_or_content, "json", encoding), replace=replace)

    def load_yaml_flow(self, path_or_content: str | Path, *, replace: bool = True, encoding: str = "utf-8") -> Self:
        """Load a definition from YAML text, or from the YAML file at a path. See `load_flow_config`."""
        from .serialize import flow_config

        return self.load_flow_config(flow_config.from_text(path_or_content, "yaml", encoding), replace=replace)

    def to_mermaid(self, *, mode: Mode = "simplified", run: RunView | None = None) -> str:
        """The flow as a Mermaid flowchart; a `run` adds colours, counts and times. See `triggerflow.diagram`."""
        from .diagram import to_mermaid

        return to_mermaid(self.definition, mode=mode, run=run)

    def to_dot(self, *, run: RunView | None = None) -> str:
        """The flow as a graph for Graphviz's `dot`; a `run` adds colours, counts and times."""
        from .diagram import to_dot

        return to_dot(self.definition, run=run)


def _stored(*arguments: Any, **details: Any) -> ExecutionRuntime:
    """The runtime of a durable execution."""
    from .durable.executions.stored import stored_runtime

    return stored_runtime(*arguments, **details)


__all__ = ["UNSET", "TriggerFlow"]
