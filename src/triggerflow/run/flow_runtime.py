"""What all executions of one flow share, and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._core.errors import ContractError, DefinitionError, UsageError
from .._core.operators import compile_plan
from ..build.arguments import positive, seconds
from ..build.blueprint import Blueprint
from ..build.contract import Check, Contract
from ..serialize.payload import Types
from .environment import Environment
from .execution import Execution
from .options import Options
from .program import Program
from .runtime import ExecutionRuntime
from .shared import SharedData

if TYPE_CHECKING:
    from ..build.typed import StateModel
    from .subflow import Link

#: Makes the runtime of an execution in memory: an `ExecutionRuntime`, or the subclass of an extension.
MakeRuntime = Callable[..., ExecutionRuntime]
#: Makes the runtime of a durable execution. `flow` passes it in, so that this module does not import the store code.
MakeStored = Callable[..., ExecutionRuntime]


class FlowRuntime:
    """What all executions of one flow share: program, contract, shared data, store. `blueprint` is the flow as written
    so far."""

    def __init__(
        self,
        blueprint: Blueprint,
        environment: Environment,
        make_stored: MakeStored,
        *,
        skip_exceptions: bool = False,
        execution_timeout: float | None = None,
    ) -> None:
        self.blueprint = blueprint
        self.environment = environment
        self.skip_exceptions = skip_exceptions
        self.execution_timeout = execution_timeout
        #: whether the user has named the flow; a store finds executions by the name of their flow
        self.is_named = False
        #: the registered classes and sources whose objects can be recorded
        self.types = Types()
        self.contract = Contract()
        self.signals: dict[str, Check] = {}
        #: the types of the signals, as they were declared
        self.signal_types: dict[str, Any] = {}
        self.state: StateModel | None = None
        self.shared = SharedData()
        self.store: Any = None
        #: returns the blueprint that executions run; an extension can add to what the user wrote
        self.executable: Callable[[], Blueprint] = lambda: self.blueprint
        self.make_runtime: MakeRuntime = ExecutionRuntime
        #: makes the handle of an execution; an extension can use a class of its own
        self.make_handle: Callable[[ExecutionRuntime], Execution] = Execution
        self.make_stored = make_stored
        self._compiled: tuple[int, Program] | None = None
        self._options = Options(skip_exceptions=skip_exceptions, attended=False, execution_timeout=execution_timeout)
        self._options_key: tuple[Any, ...] = (None, skip_exceptions, execution_timeout)

    @property
    def name(self) -> str:
        """The name of the flow."""
        return self.blueprint.name

    def program(self) -> Program:
        """The program of the flow as it is now. It is compiled again only after a change of the flow."""
        compiled = self._compiled
        if compiled is None or compiled[0] != self.blueprint.version:
            blueprint = self.executable()
            plan = compile_plan(blueprint.freeze())
            if self.state is not None:
                for key in plan.state:
                    try:
                        self.state.require(key)
                    except ContractError as unknown:
                        raise DefinitionError(
                            f"flow {self.name!r}: when() listens to an unknown key: {unknown}"
                        ) from None
            signals, types = dict(self.signals), dict(self.signal_types)
            program = Program(plan, blueprint, self.types, self.contract.copy(), signals, self.state, types)
            compiled = self._compiled = (self.blueprint.version, program)
        return compiled[1]

    def new(self, options: Options, id: str | None = None, *, store: Any = None, **details: Any) -> ExecutionRuntime:
        """Make a new execution: durable if there is a store, else in memory."""
        store = store or self.store
        if store is None:
            return self.make_runtime(self.program(), self.shared, options, self.environment, id, **details)
        return self.stored(store, options, id, **details)

    def stored(self, store: Any, options: Options, id: str | None = None, **details: Any) -> ExecutionRuntime:
        """The execution with this id in an opened store, or a new one. Raises `UsageError` if the flow has no name."""
        self.require_name()
        return self.make_stored(
            self.program(), self.shared, options, self.environment, store, id, make=self.make_runtime, **details
        )

    def require_name(self) -> None:
        """Raise `UsageError` unless the flow was named."""
        if not self.is_named:
            raise UsageError(
                "a flow with a store needs a name: after a restart the store finds its executions by that name. For "
                "example: TriggerFlow('brief')"
            )

    def without_handle(self, concurrency: int | None, execution_timeout: float | None = None) -> ExecutionRuntime:
        """Make an execution without a handle, for `flow.start` and `flow.async_start`."""
        limit = self.execution_timeout if execution_timeout is None else execution_timeout
        key = (concurrency, self.skip_exceptions, limit)
        if key != self._options_key:
            where = f"flow {self.name!r}: start()"
            positive(concurrency, where)
            if limit is not None:
                seconds(limit, where, "execution_timeout", above=True)
            self._options = Options(
                concurrency=concurrency,
                skip_exceptions=self.skip_exceptions,
                attended=False,
                execution_timeout=limit,
            )
            self._options_key = key
        return self.new(self._options)

    def restored(self, saved: Mapping[str, Any], resources: Mapping[str, Any] | None) -> ExecutionRuntime:
        """Make an execution from the snapshot `saved`. Raises `SnapshotError`."""
        from .saving import restore  # imported late: not needed to run a flow, and slow to import

        return restore(self._remake, self.program(), self.shared, Options(), saved, resources=resources)

    def _remake(self, shared: SharedData, options: Options, id: str | None, **details: Any) -> ExecutionRuntime:
        return self.make_runtime(self.program(), shared, options, self.environment, id, **details)

    async def new_child(
        self,
        *,
        id: str,
        concurrency: int | None,
        leases: bool,
        link: Link,
        saved: Mapping[str, Any] | None,
        attempt: int,
        runtime_data: Mapping[str, Any],
        flow_data: Mapping[str, Any],
        resources: Mapping[str, Any],
    ) -> tuple[ExecutionRuntime, bool]:
        """Make an execution of this flow as a sub-flow, with its own copy of the shared data; see `subflow`.

        Also returns whether that execution continues from an earlier attempt of its step.
        """
        shared = self.shared.copy(flow_data)
        options = Options(
            concurrency=concurrency,
            skip_exceptions=self.skip_exceptions,
            attended=False,
            leases=leases,
            execution_timeout=self.execution_timeout,
            max_losses=link.parent.options.max_losses,
        )
        child = _Child(self, shared, options, id, link, resources)
        parent = link.parent
        made, goes_on = await parent.durability.new_child(parent, child, saved, attempt)
        if not goes_on:
            handle = self.make_handle(made)
            if made.log is not None:  # a copy in memory has them already
                for key, value in flow_data.items():
                    made.shared.set(key, value, emit=False)
            for key, value in runtime_data.items():
                handle.state.set(key, value, emit=False)
        return made, goes_on


class _Child:
    """Makes the execution of a sub-flow; see `interfaces.NewChild`."""

    def __init__(
        self,
        flow: FlowRuntime,
        shared: SharedData,
        options: Options,
        id: str,
        link: Link,
        resources: Mapping[str, Any],
    ) -> None:
        self.flow, self.program = flow, flow.program()
        self.shared, self.options, self.id, self.link, self.resources = shared, options, id, link, resources

    @property
    def path(self) -> str:
        """The path of the sub-flow within its parent."""
        return self.link.path

    def make(self) -> ExecutionRuntime:
        """Make a new execution in memory."""
        environment, details = self.link.parent.environment, {"resources": self.resources, "link": self.link}
        return self.flow.make_runtime(self.program, self.shared, self.options, environment, self.id, **details)

    def restored(self, saved: Mapping[str, Any]) -> ExecutionRuntime:
        """Make the execution from its snapshot in the saved parent."""

        def make(shared: SharedData, options: Options, id: str, **details: Any) -> ExecutionRuntime:
            environment = self.link.parent.environment
            return self.flow.make_runtime(self.program, shared, options, environment, id, **details)

        from .saving import restore

        return restore(make, self.program, self.shared, self.options, saved, resources=self.resources, link=self.link)

    def stored(self, store: Any, id: str) -> ExecutionRuntime:
        """The execution with this id in a store, or a new one."""
        self.flow.require_name()
        make, environment = self.flow.make_stored, self.link.parent.environment
        details: dict[str, Any] = {"resources": self.resources, "link": self.link, "make": self.flow.make_runtime}
        return make(self.program, self.shared, self.options, environment, store, id, **details)
