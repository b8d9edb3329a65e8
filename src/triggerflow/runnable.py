"""Running a flow: executions made, resumed, loaded and watched, and the data they share."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Never, Self, cast

from ._core.definition import Definition
from ._core.errors import OptionError, SnapshotError, UsageError
from .build.arguments import check_names, positive
from .defined import DefinedFlow
from .run.execution import Execution
from .run.options import Options
from .run.portal import iterate_sync, run_sync
from .run.program import Program
from .run.resources import ResourceHolder
from .run.saving import read, restore
from .run.shared import SharedData
from .run.stream import StreamReader
from .run.subflow import Link

if TYPE_CHECKING:
    from pathlib import Path

    from .durable.execution import DurableExecution
    from .durable.history import History
    from .durable.versions import Verdict
    from .stores.protocol import Store


CREATE_OPTIONS = (
    "id", "concurrency", "skip_exceptions", "max_pending", "stream_history", "journal_limit", "keep_open", "deadline",
    "runtime_resources", "store",
)  # fmt: skip


class RunnableFlow(DefinedFlow, ResourceHolder):
    """The part of `TriggerFlow` that runs; what was written comes to it as a program."""

    def __init__(self, name: str, *, skip_exceptions: bool = False) -> None:
        super().__init__(name)
        self.skip_exceptions = skip_exceptions
        self.shared = SharedData()
        self._store: Store | None = None
        self._options = Options(skip_exceptions=skip_exceptions, attended=False)
        self._options_key: tuple[int | None, bool] = (None, skip_exceptions)

    def program(self) -> Program:
        """The flow as it stands now, made ready to run."""
        raise NotImplementedError

    @property
    def definition(self) -> Definition:
        """The flow as immutable data, as it stands now."""
        return self.program().plan.definition

    @property
    def resources(self) -> dict[str, Any]:
        """What all executions of this flow are given, by name."""
        return self.shared.resources

    @property
    def own_resources(self) -> dict[str, Any]:
        """The same: a flow has no others."""
        return self.shared.resources

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
        **unknown: Never,
    ) -> Execution:
        """A new execution, not started yet.

        With a `store`, or after `set_store`, it is durable: see `durable.execution.DurableExecution`. An `id` that is
        in the store already is that execution, which goes on with its first use.

        `concurrency` bounds how many chunks run at once. `max_pending` is how many runs the signals of one chunk may
        have pending before the chunk waits, and how many items of a for_each without a limit are open at once.
        `stream_history` items and `journal_limit` records are kept for late readers. `deadline` is how long a failed or
        cancelled execution waits for its chunks' clean-up, in seconds. `runtime_resources` are added to the flow's.
        With `keep_open` it does not close when its work is done, but takes signals until `async_close`.
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

    def set_store(self, store: "Store | None") -> Self:
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
        return restore(self.make_execution, self.program(), self.shared, Options(), data, resources=runtime_resources)

    def inspect_load(self, source: "Mapping[str, Any] | str | Path", *, encoding: str = "utf-8") -> "Verdict":
        """Whether a saved execution can go on under this flow as it stands now: compatible, needs a map, or refused.

        `Verdict.reasons` says why, `Verdict.map_form` what `load_execution(operator_map=...)` has to be given.
        """
        from .durable.versions import inspect

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
