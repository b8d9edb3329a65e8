"""The flow and its blueprint, with Agently's names and defaults."""

# The engine's methods of these names take other parameters.
# pyright: reportIncompatibleMethodOverride=false

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from types import CodeType
from typing import Any, Generic
from uuid import uuid4

from triggerflow import Chunk, Definition
from triggerflow import TriggerFlow as EngineFlow
from triggerflow.builder import START, Blueprint, positive
from triggerflow.defined import DefinedFlow
from triggerflow.diagram import to_mermaid
from triggerflow.options import Options
from triggerflow.portal import iterate_sync
from triggerflow.program import Program
from triggerflow.shared import SharedData

from . import config, contract
from .data import Data
from .events import RunContext
from .execution import DEFAULT_TIMEOUT, InputT, ResultT, StreamT, TriggerFlowExecution, outside
from .process import TriggerFlowChunk, TriggerFlowProcess, close_blocks, unwrapped
from .state import GLOBAL, Settings, StateData, data_methods, delegate, is_a, method, twin, view


class Definitions(DefinedFlow):
    """What flows and blueprints share: a `blueprint` that holds operators and handlers, its data form and picture."""

    root = view(lambda self: TriggerFlowProcess(self.blueprint, START))

    def prepare(self, other: "Definitions | None") -> None:
        """Put in what the bridge needs in every flow; see `execution`. And what another one holds."""
        self.root.when(config.OUTSIDE).to(outside)
        self.blueprint.chunks.pop(config.OUTSIDE, None)
        if other is not None:
            self.take_over(other.blueprint)

    def take_over(self, other: Blueprint) -> None:
        """Hold what another one holds."""
        core = self.blueprint
        core.load(Definition(core.name, tuple(other.operators)), other.nodes, other.handlers, replace=True)
        core.chunks.update(other.chunks)

    def register_chunk_handler(self, handler: Any, *, name: str | None = None) -> Any:
        """Make a handler known under a name, for flows that are loaded. A flow is registered for sub-flows."""
        return super().register_chunk_handler(unwrapped(handler), name=name)

    register_condition_handler = register_chunk_handler

    def get_contract_metadata(self) -> dict[str, Any]:
        """What the flow promises, as data."""
        return {}

    def get_flow_config(self, *, name: str | None = None, validate_serializable: bool = True) -> dict[str, Any]:
        """The flow as data. Raises `ValueError` for handlers that no other process could know: lambdas."""
        close_blocks(self.blueprint)
        made = config.to_config(self.blueprint, self.get_contract_metadata(), validate=validate_serializable)
        return {**made, "name": name or made["name"]}

    def load_flow_config(self, config_: Any, *, replace: bool = True) -> Any:
        """Take over a flow from its data; its handlers have to be registered."""
        config.load(self.blueprint, config_, replace=replace)
        return self

    def to_mermaid(self, *, mode: Any = "simplified", run: Any = None) -> str:
        """The flow as a Mermaid flowchart, "simplified" or "detailed"."""
        flows = [getattr(it, "flow", None) for it in self.blueprint.handlers.values()]
        subs = {it.name: config.visible(it.definition) for it in flows if it is not None}
        return to_mermaid(config.visible(self.blueprint.freeze()), mode=mode, run=run, sub_flows=subs)


class TriggerFlowBluePrint(Definitions):
    """A flow's graph by itself. A handler can be put to a signal directly; what it returns goes nowhere."""

    def __init__(self, *, name: str | None = None, of: Definitions | None = None) -> None:
        self.name = name or uuid4().hex
        self.blueprint = Blueprint(self.name)
        self.prepare(of)

    def add_handler(self, type: str, target: str, handler: Any, *, id: str | None = None) -> str:
        """Run a handler for each signal of a type ("event", "runtime_data", "flow_data") and name."""
        self.root.when({type: target}).to((id or uuid4().hex, handler))
        return self.blueprint.operators[-1].name

    def remove_handler(self, type: str, target: str, handler: Any = None) -> None:
        """Take a handler away, by its id or itself; without one all of that signal."""
        core = self.blueprint
        gates = [it for it in core.operators if it.name == f"when:{target}"]
        heard = {it.emits[0] for it in gates if it.listens == core.triggers({type: target})}
        gone = [it for it in core.operators if heard & {*it.listens}
                and handler in (None, it.name, core.handlers.get(it.handler or ""))]  # fmt: skip
        core.operators = [it for it in core.operators if it not in gone]
        core.version += 1

    remove_all = remove_handler
    add_event_handler = functools.partialmethod(add_handler, "event")
    add_flow_data_handler = functools.partialmethod(add_handler, "flow_data")
    add_runtime_data_handler = functools.partialmethod(add_handler, "runtime_data")
    remove_event_handler = functools.partialmethod(remove_handler, "event")
    remove_flow_data_handler = functools.partialmethod(remove_handler, "flow_data")
    remove_runtime_data_handler = functools.partialmethod(remove_handler, "runtime_data")

    def copy(self, *, name: str | None = None) -> "TriggerFlowBluePrint":
        """Another one like this."""
        return TriggerFlowBluePrint(name=name or self.name, of=self)

    def create_execution(self, trigger_flow: "TriggerFlow[Any, Any, Any]", **options: Any) -> TriggerFlowExecution:
        """An execution of this graph, with the data and resources of a flow."""
        return trigger_flow.load_blue_print(self).create_execution(**options)


@data_methods("flow_state", "flow_data")
class TriggerFlow(Definitions, EngineFlow, Generic[InputT, StreamT, ResultT]):
    """A workflow of chunks wired by signals. `profile="4.1"` lets a start return a snapshot of the state."""

    def __init__(
        self, blue_print: TriggerFlowBluePrint | None = None, *, name: str | None = None, skip_exceptions: bool = False,
        profile: str = "4.0",
    ) -> None:  # fmt: skip
        super().__init__(name=name or uuid4().hex, skip_exceptions=skip_exceptions)
        self.profile, self.settings = profile, Settings(GLOBAL)
        self._made: tuple[int, Any] = (-1, None)
        self._options_for: dict[Any, Options] = {}
        self._loaded_contract: dict[str, Any] = {}
        self.prepare(blue_print)

    set_settings, load_settings = delegate("settings", "set_settings"), delegate("settings", "load_settings")
    flow_state = view(lambda self: StateData(self.shared, self.shared.values))
    chunks = view(lambda self: {name: TriggerFlowChunk(it) for name, it in self.blueprint.chunks.items()})

    def chunk(self, handler_or_name: Any = None, /, **options: Any) -> Any:
        """Register a chunk: `@flow.chunk("name")` or `flow.chunk(function)`; the options are the engine's."""
        made: Any = super().chunk(handler_or_name, **options)
        named: Callable[[Any], Any] = lambda handler: TriggerFlowChunk(made(handler))  # noqa: E731
        return TriggerFlowChunk(made) if is_a(made, Chunk) else named

    def set_contract(self, **promised: Any) -> Any:
        """Promise types, any that Pydantic knows: `initial_input`, `stream`, `result`; `meta` is replaced."""
        contract.promise(super().get_contract(), promised)
        self._loaded_contract = {}
        return self

    def get_contract(self) -> Any:
        """What the flow promises."""
        own = super().get_contract()
        promised = {place: own.types.get(place) for place in contract.PLACES}
        return contract.TriggerFlowContractSpec(**promised, meta=own.meta or {})

    def get_contract_metadata(self) -> dict[str, Any]:
        """What the flow promises, as data: labels and JSON schemas; {} if it promises nothing."""
        return self._loaded_contract or contract.metadata(super().get_contract())

    def load_flow_config(self, config_: Any, *, replace: bool = True) -> Any:
        """Take over a flow from its data; its handlers have to be registered. A contract comes without its checks."""
        super().load_flow_config(config_, replace=replace)
        self.name, self._loaded_contract = config_.get("name") or self.name, dict(config_.get("contract") or {})
        return self

    def save_blue_print(self) -> TriggerFlowBluePrint:
        """A copy of the graph."""
        return TriggerFlowBluePrint(name=self.name, of=self)

    def load_blue_print(self, new_blue_print: TriggerFlowBluePrint) -> "TriggerFlow[Any, Any, Any]":
        """Take over a graph; the contract is gone then."""
        self.take_over(new_blue_print.blueprint)
        return self.set_contract(**dict.fromkeys((*contract.PLACES, "meta")))

    save_blueprint, load_blueprint = save_blue_print, load_blue_print

    def compiled(self) -> tuple[Program, config.Names, frozenset[str]]:
        """The flow as it stands now, made ready to run; the names of its parts; the events it awaits from outside."""
        if self._made[0] != self.blueprint.version:
            close_blocks(self.blueprint)
            program = self.program()
            program.invokers = tuple(_call(node, program.invokers[node.index], self.blueprint.handlers)
                                     for node in program.plan.nodes)  # fmt: skip
            awaited = program.plan.outside - {config.OUTSIDE, config.RESTART.name}
            made = program, config.Names(program.plan.definition), awaited
            self._made = (self.blueprint.version, made)
        return self._made[1]

    def make_execution(
        self, shared: SharedData, options: Options, id: str | None = None, **details: Any
    ) -> TriggerFlowExecution:
        """An execution of this flow as it stands now."""
        return TriggerFlowExecution(self, shared, options, id, **details)

    def create_execution(
        self, *, skip_exceptions: bool | None = None, concurrency: int | None = None, runtime_resources: Any = None,
        run_context: Any = None, parent_run_context: RunContext | None = None, id: str | None = None,
    ) -> TriggerFlowExecution:  # fmt: skip
        """An execution, not started yet; `concurrency` is how many chunks may run at once."""
        skip = self.skip_exceptions if skip_exceptions is None else skip_exceptions
        options = self._options_for.get((concurrency, skip))
        if options is None:
            limit = positive(concurrency, f"flow {self.name!r}")
            options = Options(concurrency=limit, skip_exceptions=skip, keep_open=True)
            self._options_for[concurrency, skip] = options
        execution = TriggerFlowExecution(self, self.shared, options, id, resources=runtime_resources)
        if run_context is not None:
            execution.context = run_context
        if parent_run_context is not None:
            meta = {**parent_run_context.meta, "flow_name": self.name}
            run_id = config.digest(execution.id)
            execution.context = parent_run_context.child(run_id, "workflow_execution", meta=meta)
        return execution

    remove_execution = method(lambda self, execution: None)  # a flow does not keep its executions

    async def async_start_execution(
        self, initial_value: Any, *, wait_for_result: bool = False, **options: Any
    ) -> TriggerFlowExecution:
        """An execution that has started, and settled as far as it could."""
        execution = self.create_execution(**options)
        await execution.play(initial_value, DEFAULT_TIMEOUT, wait=wait_for_result)
        return execution

    async def async_start(
        self, initial_value: Any = None, *, wait_for_result: bool = True, timeout: float | None = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> Any:  # fmt: skip
        """Run the flow once and return its result; see `TriggerFlowExecution.async_start`.

        Cancelling the call cancels the run, and so does its timeout.
        """
        execution = self.create_execution(**options)
        try:
            result = await execution.play(initial_value, timeout, wait=wait_for_result)
        except asyncio.CancelledError:
            await execution.async_cancel("the call that ran it was cancelled")
            raise
        if execution.machine.state.runs and not execution.is_settled():
            await execution.async_cancel("the call that ran it has timed out")
        return execution.snapshot() if self.profile == "4.1" else result if wait_for_result else None

    async def get_async_runtime_stream(
        self, initial_value: Any = None, *, timeout: float | None = DEFAULT_TIMEOUT, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """Run the flow once and read its runtime stream; see `TriggerFlowExecution.get_async_runtime_stream`."""
        execution = self.create_execution(**options)
        execution.begin(initial_value)
        async for item in execution.get_async_runtime_stream(timeout=timeout):
            yield item

    def get_runtime_stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`."""
        return iterate_sync(lambda: self.get_async_runtime_stream(*args, **options), "get_async_runtime_stream")

    start, start_execution = twin("async_start"), twin("async_start_execution")


def _call(node: Any, call: Any, handlers: Any) -> Any:
    """How an operator's handler is called: one that speaks of `pause_for` goes on after that, up to its return."""
    if node.kind != "chunk" or not _pauses(getattr(inspect.unwrap(handlers[node.handler]), "__code__", None)):
        return call

    async def pausing(data: Data) -> Any:
        data.question = None
        value = await call(data)
        question = data.question
        del data.question  # from here on, a pause ends the chunk
        return value if question is None else data.pause_for(**question)

    return pausing


def _pauses(code: CodeType | None) -> bool:
    if code is None or not {"pause_for", "async_pause_for"}.isdisjoint(code.co_names):
        return code is not None
    return any(_pauses(it) for it in code.co_consts if isinstance(it, CodeType))
