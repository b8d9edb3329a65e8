"""The flow and its blueprint, with Agently's names and defaults."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import lru_cache, partial, partialmethod
from typing import Any, Generic, NamedTuple, cast
from uuid import uuid4

from triggerflow import Chunk
from triggerflow import TriggerFlow as EngineFlow
from triggerflow.diagram import to_mermaid
from triggerflow.extension import (
    START,
    UNSET,
    ExtendedRuntime,
    Options,
    Program,
    blueprint_of,
    extend,
    flow_runtime_of,
    from_text,
    iterate_sync,
    on_a_loop,
    register_chunk_handler,
    to_text,
)

from . import config, contract
from .adapt import delegate, delegates, doing, settling, twin
from .config import load
from .data import asking, may_ask
from .events import RunContext
from .execution import DEFAULT_TIMEOUT, InputT, ResultT, StreamT, TriggerFlowExecution, outside
from .graph import Graph, TriggerFlowChunk
from .observed import lineage
from .outside_events import OutsideEvents, outside_events_of
from .process import TriggerFlowProcess, limit
from .settings import GLOBAL, Settings
from .state import ResourceMethods, StateData, data_methods

#: The versions that the starts of a flow can be like.
PROFILES = ("4.0", "4.1")


class Definitions:
    """The common methods of flows and blueprints: registering handlers, exports and diagrams of `blueprint`."""

    name: str = ""
    blueprint: Graph
    root = property(lambda self: TriggerFlowProcess(self.blueprint, START))
    chunks = property(lambda self: self.blueprint.named_chunks)

    def register_chunk_handler(self, handler: Any, *, name: str | None = None) -> Any:
        """Register a handler by name, for definitions that are loaded. A flow is registered as a sub-flow."""
        known = handler.chunk if isinstance(handler, TriggerFlowChunk) else handler
        register_chunk_handler(self.blueprint, known, name=name)
        return self

    register_condition_handler = register_chunk_handler
    get_contract_metadata = lambda self: {}

    def get_flow_config(self, *, name: str | None = None, validate_serializable: bool = True) -> dict[str, Any]:
        """The flow as data. Raises `ValueError` for handlers without a stable name, such as lambdas."""
        graph, contract = self.blueprint.complete(), self.get_contract_metadata()
        made = config.Names(graph.freeze(), graph).config(contract, self.blueprint, validate_serializable)
        return {**made, "name": name or made["name"]}

    def load_flow_config(self, config: Any, *, replace: bool = True) -> Any:
        """Load a flow from its data. Its handlers must be registered before."""
        load(self.blueprint, config, self._sub_flow, replace=replace)
        return self

    def _text_form(self, form: Any, save_to: Any = None, *, encoding: str = "utf-8", **options: Any) -> str:
        """The flow as text. `save_to` also writes it to that file; `options` are those of `get_flow_config`."""
        return to_text(self.get_flow_config(**options), form, save_to, encoding)

    def _load_text(self, form: Any, path_or_content: Any, *, encoding: str = "utf-8", **options: Any) -> Any:
        """Load a flow from a text, or from the file at a path. See `load_flow_config`."""
        return self.load_flow_config(from_text(path_or_content, form, encoding), **options)

    get_json_flow, get_yaml_flow = partialmethod(_text_form, "json"), partialmethod(_text_form, "yaml")
    load_json_flow, load_yaml_flow = partialmethod(_load_text, "json"), partialmethod(_load_text, "yaml")

    def _sub_flow(self, nested: Any) -> Any:
        """Make a sub-flow from its data, with the handlers that are registered in this flow."""
        made = TriggerFlow(name=nested["name"])
        made.blueprint.handlers.update(self.blueprint.handlers)
        made.blueprint.chunks.update(self.blueprint.chunks)
        return made.load_flow_config(nested)

    def to_mermaid(self, *, mode: Any = "simplified", name: str | None = None, run: Any = None) -> str:
        """The flow as a Mermaid flowchart, "simplified" or "detailed"."""
        flows = [getattr(it, "flow", None) for it in self.blueprint.handlers.values()]
        subs = {it.name: blueprint_of(it).freeze() for it in flows if it is not None}
        return to_mermaid(self.blueprint.freeze(), mode=mode, run=run, sub_flows=subs)


class TriggerFlowBluePrint(Definitions):
    """The graph of a flow, without data and executions.

    `add_handler` adds a handler for a signal; what such a handler returns is ignored.
    """

    def __init__(self, *, name: str | None = None, of: Definitions | None = None) -> None:
        self.name = name or f"BluePrint-{uuid4().hex}"
        self.blueprint = Graph(self.name, of and of.blueprint)

    def add_handler(
        self, type: str, target: str = "", handler: Any = None, *, id: str | None = None, event: str = "", key: str = ""
    ) -> str:
        """Run a handler for each signal of a type ("event", "runtime_data", "flow_data") and name. Returns its id."""
        self.root.when({type: target or event or key}).to((id or uuid4().hex, handler))
        return self.blueprint.operators[-1].name

    def remove_handler(
        self, type: str, target: str = "", handler: Any = None, *, event: str = "", key: str = ""
    ) -> None:
        """Remove a handler of a signal, given by its id or as the function; without `handler` all of that signal."""
        core, wanted = self.blueprint, self.blueprint.triggers({type: target or event or key})
        heard = {it.emits[0] for it in core.operators if it.kind == "signal_gate" and it.listens == wanted}
        gone = [it for it in core.operators if heard & {*it.listens}
                and handler in (None, it.name, core.handlers.get(it.handler or ""))]  # fmt: skip
        core.operators = [it for it in core.operators if it not in gone]
        core.version += 1

    remove_all = remove_handler
    copy = lambda self, name=None: TriggerFlowBluePrint(name=name or self.name, of=self)

    def create_execution(
        self, trigger_flow: "TriggerFlow[Any, Any, Any]", *, execution_id: str | None = None, **options: Any
    ) -> TriggerFlowExecution:
        """Create an execution of this graph, with the data and resources of a flow."""
        return trigger_flow.load_blue_print(self).create_execution(id=execution_id, **options)


for _type in ("event", "flow_data", "runtime_data"):
    for _verb in ("add", "remove"):
        _short = partialmethod(getattr(TriggerFlowBluePrint, f"{_verb}_handler"), _type)
        setattr(TriggerFlowBluePrint, f"{_verb}_{_type}_handler", _short)


@lru_cache
def _options(concurrency: int | None, skip_exceptions: bool) -> Options:
    return Options(concurrency=limit(concurrency), skip_exceptions=skip_exceptions, keep_open=True)


class Made(NamedTuple):
    """The present version of a flow, prepared for its executions."""

    program: Program
    #: Agently's names for the operators of the program
    names: config.Names
    #: the events that come from outside
    outside: OutsideEvents
    #: the function that runs each operator, by the index of the operator
    calls: tuple[Callable[[Any], Any], ...]


@data_methods("flow_state", "flow_data", change=doing, change_async=settling)
@delegates("root", "to", "side_branch", "when", "batch", "for_each", "match", "if_condition", "to_sub_flow")
class TriggerFlow(Definitions, ResourceMethods, EngineFlow, Generic[InputT, StreamT, ResultT]):
    """A workflow of chunks wired by signals.

    `profile="4.1"` lets a start return a snapshot of the state. The setting "triggerflow.profile", of the flow or of
    `Agently` for all flows, says it for a flow that does not; without any it is "4.0".
    """

    def __init__(
        self, blue_print: TriggerFlowBluePrint | None = None, *, name: str | None = None, skip_exceptions: bool = False,
        profile: str | None = None, blueprint: TriggerFlowBluePrint | None = None,
    ) -> None:  # fmt: skip
        blue_print = blue_print or blueprint
        self.name = name or uuid4().hex
        super().__init__(self.name, skip_exceptions=skip_exceptions)
        written = blue_print.blueprint if blue_print else Graph(self.name)
        extend(self, execution=partial(TriggerFlowExecution, self), blueprint=written, executable=self.executable)
        self.settings = Settings(GLOBAL)
        if profile is not None:
            self.settings.set("triggerflow.profile", profile)
        self.profile  # noqa: B018 - raises here, where the flow is made, if the global profile has an unknown value
        self._made: Made | None = None
        self._loaded_contract: dict[str, Any] = {}

    set_settings, load_settings = delegate("settings", "set_settings"), delegate("settings", "load_settings")

    @property
    def profile(self) -> str:
        """The version that starts are like. Raises `ValueError` for one that there is not."""
        profile = str(self.settings.get("triggerflow.profile", PROFILES[0]))
        if profile not in PROFILES:
            raise ValueError(f"flow {self.name!r}: there is no profile {profile!r}; write one of {PROFILES}")
        return profile

    @property
    def blueprint(self) -> Graph:
        return cast("Graph", blueprint_of(self))

    @property
    def flow_state(self) -> StateData:
        shared = flow_runtime_of(self).shared
        return StateData(shared, shared.values, shared.locked)

    def chunk(self, handler_or_name: Any = None, **options: Any) -> Any:
        """Register a chunk: `@flow.chunk("name")` or `flow.chunk(function)`; the options are the engine's."""
        made: Any = super().chunk(handler_or_name, **options)
        named: Callable[[Any], Any] = lambda handler: self.chunks[made(handler).name]
        return self.chunks[made.name] if isinstance(made, Chunk) else named

    def set_contract(self, **promised: Any) -> Any:
        """Declare the types of `initial_input`, `stream` and `result`, as Pydantic knows them. `meta` is replaced."""
        contract.promise(super().get_contract(), promised)
        self.blueprint.version += 1  # so that executions created later use the new contract
        self._loaded_contract = {}
        return self

    def get_contract(self) -> Any:
        own = super().get_contract()
        promised = {place: own.types.get(place) for place in contract.PLACES}
        return contract.TriggerFlowContractSpec(**promised, meta=own.meta or {})

    def get_contract_metadata(self) -> dict[str, Any]:
        """The contract as data: labels and JSON schemas. {} if the flow declares no types."""
        return self._loaded_contract or contract.metadata(super().get_contract())

    def load_flow_config(self, config: Any, *, replace: bool = True) -> Any:
        """Load a flow from its data. Its handlers must be registered before.

        With `replace=False` its steps are added to those of this flow, which keeps its name if it has steps. A contract
        in the data is shown by `get_contract_metadata`, but values are not checked against it.
        """
        takes_over = replace or not self.blueprint.operators
        super().load_flow_config(config, replace=replace)
        self.set_contract(**dict.fromkeys((*contract.PLACES, "meta")))
        self.name = (config.get("name") if takes_over else None) or self.name
        self._loaded_contract = dict(config.get("contract") or {})
        return self

    def save_blue_print(self) -> TriggerFlowBluePrint:
        return TriggerFlowBluePrint(of=self)

    def load_blue_print(self, new_blue_print: TriggerFlowBluePrint) -> "TriggerFlow[Any, Any, Any]":
        """Replace the graph of this flow by the one of a blueprint. This removes the contract."""
        new_blue_print.blueprint.version += (
            self.blueprint.version + 1
        )  # so that a program of the old graph does not count as current
        extend(self, blueprint=new_blue_print.blueprint)
        return self.set_contract(**dict.fromkeys((*contract.PLACES, "meta")))

    save_blueprint, load_blueprint = save_blue_print, load_blue_print

    def executable(self) -> Graph:
        return self.blueprint.executable(outside)

    def made_of(self, program: Program) -> Made:
        """The `Made` of a program of this flow. The last one is kept."""
        if self._made is None or self._made.program is not program:
            names, calls = config.Names(program.plan.definition), [*program.invokers]
            for node in program.plan.nodes:
                handler = self.blueprint.handlers.get(node.handler or "")
                if node.kind == "chunk" and may_ask(getattr(inspect.unwrap(handler or outside), "__code__", None)):
                    calls[node.index] = partial(asking, calls[node.index])
            self._made = Made(program, names, outside_events_of(program, names), tuple(calls))
        return self._made

    def new_runtime(self, options: Options, id: str | None, resources: Any) -> ExtendedRuntime:
        """Make the runtime, and with it the handle, of a new execution."""
        runtime = flow_runtime_of(self)
        made = runtime.make_runtime(
            runtime.program(), runtime.shared, options, runtime.environment, id, resources=resources
        )
        return cast("ExtendedRuntime", made)

    def create_execution(
        self, *, skip_exceptions: bool | None = None, concurrency: int | None = None, runtime_resources: Any = None,
        run_context: RunContext | None = None, parent_run_context: RunContext | None = None, id: str | None = None,
        auto_close: bool | None = None, auto_close_timeout: Any = UNSET,
    ) -> TriggerFlowExecution:  # fmt: skip
        """Create an execution without starting it. `concurrency` limits how many chunks run at once.

        With `auto_close` or `auto_close_timeout` (seconds; None: never) it is as in 4.1: a start waits until no chunk
        has run for that time, by default 10 seconds, closes the execution and returns a snapshot of the state. With
        `auto_close=False` a start returns the execution, which stays open.
        """
        options = _options(concurrency, self.skip_exceptions if skip_exceptions is None else skip_exceptions)
        execution = cast("TriggerFlowExecution", self.new_runtime(options, id, runtime_resources).execution)
        execution.context = run_context
        if auto_close is not None or auto_close_timeout is not UNSET:
            execution.auto_close = auto_close is not False
            execution.auto_close_timeout = DEFAULT_TIMEOUT if auto_close_timeout is UNSET else auto_close_timeout
        if parent_run_context is not None:
            lineage(execution, parent_run_context)
        execution.listen()
        return execution

    def remove_execution(self, execution: TriggerFlowExecution | str) -> None:
        """Send changes of flow data no more to an execution, or the one of this id. There is nothing else to remove: a
        flow does not keep its executions."""
        shared = flow_runtime_of(self).shared
        known = [it for it in shared.listeners() if execution in (it.execution, it.execution.id)]
        for runtime in known:
            runtime.execution.removed = True
            shared.forget(runtime)
        if not isinstance(execution, str):
            execution.removed = True  # it may have nothing to listen to yet

    async def async_start_execution(
        self, initial_value: Any, *, wait_for_result: bool = False, **options: Any
    ) -> TriggerFlowExecution:
        """Create an execution, start it, and wait until no chunk runs any more. Returns the execution."""
        execution = self.create_execution(**options)
        await execution.play(initial_value, DEFAULT_TIMEOUT, wait=wait_for_result)
        return execution

    async def async_start(
        self, initial_value: Any = None, *, wait_for_result: bool = True, timeout: float | None = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> Any:  # fmt: skip
        """Run the flow once and return its result; see `TriggerFlowExecution.async_start`.

        The execution is cancelled if this call is cancelled or takes longer than `timeout`. With `auto_close_timeout`
        (seconds) or `auto_close=True` it is closed, and a snapshot of its state is returned. Then an interrupt is a
        `UsageError`, since no caller has the execution to answer it; for the same reason `auto_close=False` is a
        `ValueError`.
        """
        closes = "auto_close" in options or "auto_close_timeout" in options
        if closes and not options.setdefault("auto_close", True):
            raise ValueError(
                f"flow {self.name!r}: a start with auto_close=False does not return the execution, and no caller could "
                "close it; use async_start_execution(...) or create_execution(...)"
            )
        if closes:
            options.setdefault("auto_close_timeout", 0.0)
        execution = self.create_execution(**options)
        try:
            if closes:
                return await execution.live_alone(initial_value, timeout)
            result = await execution.play(initial_value, timeout, wait=wait_for_result)
        except asyncio.CancelledError:
            await execution.async_cancel("the call that ran it was cancelled")
            raise
        if not execution.runtime.machine.state.idle() and not execution.runtime.is_settled():
            await execution.async_cancel("the call that ran it has timed out")
        return execution.snapshot() if self.profile == "4.1" else result if wait_for_result else None

    def get_async_runtime_stream(
        self, initial_value: Any = None, *, timeout: float | None = DEFAULT_TIMEOUT, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """Run the flow once and read its runtime stream; see `TriggerFlowExecution.get_async_runtime_stream`."""
        return self.create_execution(**options).get_async_runtime_stream(initial_value, timeout=timeout)

    def get_runtime_stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        return iterate_sync(lambda: self.get_async_runtime_stream(*args, **options), "get_async_runtime_stream")

    def do(self, deed: Callable[[], Any]) -> Any:
        """Call a function that changes flow data. In a script, wait for the chunks that the change starts."""
        return deed() if on_a_loop() else self._settle(deed)

    async def settle(self, deed: Callable[[], Any]) -> Any:
        """Call a function that changes flow data, and wait for the chunks that it started on this event loop."""
        here = (None, asyncio.get_running_loop())
        told: list[TriggerFlowExecution] = [it.execution for it in flow_runtime_of(self).shared.listeners()]
        waiting = [(it, it.next_record()) for it in told if it.loop in here and it.can_wait()]
        answer = deed()
        for execution, since in waiting:
            await execution.settled_since(since)
        return answer

    _settle = twin("settle")
    start, start_execution = twin("async_start"), twin("async_start_execution")
