"""The flow and its blueprint, with Agently's names and defaults."""

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic
from uuid import uuid4

from triggerflow import Chunk, Definition, Process
from triggerflow import TriggerFlow as EngineFlow
from triggerflow.builder import START, Blueprint, positive
from triggerflow.config import to_json, to_yaml
from triggerflow.diagram import to_mermaid
from triggerflow.options import Options
from triggerflow.persistence import read, restore
from triggerflow.portal import iterate_sync
from triggerflow.process import root
from triggerflow.shared import SharedData

from . import config, contract
from .events import RunContext
from .execution import InputT, ResultT, StreamT, TriggerFlowExecution
from .process import TriggerFlowChunk, TriggerFlowProcess, close_blocks
from .run import DEFAULT_TIMEOUT, UNSET, Compiled, Run, end, outside
from .state import GLOBAL, Settings, StateData, data_methods, delegate, twin


def prepared(gate: Process) -> Blueprint:
    """A core with what the bridge needs in every flow; see `run`."""
    core = gate.to(outside).blueprint
    core.chunks.pop(config.OUTSIDE, None)
    core.name_handler(end, config.RESULT)
    return core


def take_over(core: Blueprint, other: Blueprint) -> None:
    """Make a core hold what another one holds."""
    core.load(Definition(core.name, tuple(other.operators)), other.nodes, other.handlers, replace=True)
    core.chunks.update(other.chunks)


class Definitions:
    """What flows and blueprints share: a `core` that holds operators and handlers, its data form and its picture."""

    core: Blueprint
    root = property(lambda self: TriggerFlowProcess(self.core, START))

    def register_chunk_handler(self, handler: Any, *, name: str | None = None) -> Any:
        """Make a handler known under a name, for flows that are loaded. A flow is registered for sub-flows."""
        if hasattr(handler, "sub_execution"):
            self.core.flows[name or handler.name] = handler
        else:
            self.core.name_handler(handler.handler if isinstance(handler, TriggerFlowChunk) else handler, name)
        return self

    register_condition_handler = register_chunk_handler

    def get_contract_metadata(self) -> dict[str, Any]:
        """What the flow promises, as data."""
        return {}

    def get_flow_config(self, *, name: str | None = None, validate_serializable: bool = True) -> dict[str, Any]:
        """The flow as data. Raises `ValueError` for handlers that no other process could know: lambdas."""
        close_blocks(self.core)
        made = config.to_config(self.core, self.get_contract_metadata(), validate=validate_serializable)
        return {**made, "name": name or made["name"]}

    def load_flow_config(self, config_: Any, *, replace: bool = True) -> Any:
        """Take over a flow from its data; its handlers have to be registered."""
        config.load(self.core, config_, replace=replace)
        return self

    def _text(self, write: Any, save_to: str | Path | None = None, *, encoding: str = "utf-8", **how: Any) -> str:
        text = write(self.get_flow_config(**how))
        if save_to is not None:
            Path(save_to).write_text(text, encoding=encoding)
        return text

    def load_json_flow(self, path_or_content: str | Path, *, replace: bool = True, encoding: str = "utf-8") -> Any:
        """Take over a flow from its text or from a file."""
        return self.load_flow_config(read(path_or_content, encoding), replace=replace)

    load_yaml_flow = load_json_flow
    get_json_flow, get_yaml_flow = functools.partialmethod(_text, to_json), functools.partialmethod(_text, to_yaml)

    def to_mermaid(self, *, mode: Any = "simplified") -> str:
        """The flow as a Mermaid flowchart, "simplified" or "detailed"."""
        flows = [getattr(it, "flow", None) for it in self.core.handlers.values()]
        subs = {it.name: config.visible(it.definition) for it in flows if it is not None}
        return to_mermaid(config.visible(self.core.freeze()), mode=mode, sub_flows=subs)


class TriggerFlowBluePrint(Definitions):
    """A flow's graph by itself. A handler can be put to a signal directly; what it returns goes nowhere."""

    def __init__(self, *, name: str | None = None, core: Blueprint | None = None) -> None:
        self.name = name or uuid4().hex
        self.core = prepared(root(Blueprint(self.name)).when(config.OUTSIDE))
        if core is not None:
            take_over(self.core, core)

    def add_handler(self, type: str, target: str, handler: Any, *, id: str | None = None) -> str:
        """Run a handler for each signal of a type ("event", "runtime_data", "flow_data") and name."""
        self.root.when({type: target}).to((id or uuid4().hex, handler))
        return self.core.operators[-1].name

    def remove_handler(self, type: str, target: str, handler: Any = None) -> None:
        """Take a handler away, by its id or itself; without one all of that signal."""
        gates = [it for it in self.core.operators if it.name == f"when:{target}"]
        heard = {it.emits[0] for it in gates if it.listens == self.core.triggers({type: target})}
        gone = [it for it in self.core.operators if heard & {*it.listens}
                and handler in (None, it.name, self.core.handlers.get(it.handler or ""))]  # fmt: skip
        self.core.operators = [it for it in self.core.operators if it not in gone]
        self.core.version += 1

    remove_all = remove_handler
    add_event_handler = functools.partialmethod(add_handler, "event")
    add_flow_data_handler = functools.partialmethod(add_handler, "flow_data")
    add_runtime_data_handler = functools.partialmethod(add_handler, "runtime_data")
    remove_event_handler = functools.partialmethod(remove_handler, "event")
    remove_flow_data_handler = functools.partialmethod(remove_handler, "flow_data")
    remove_runtime_data_handler = functools.partialmethod(remove_handler, "runtime_data")

    def copy(self, *, name: str | None = None) -> "TriggerFlowBluePrint":
        """Another one like this."""
        return TriggerFlowBluePrint(name=name or self.name, core=self.core)

    def create_execution(self, trigger_flow: "TriggerFlow", **options: Any) -> TriggerFlowExecution:
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
        self.core = prepared(EngineFlow.when(self, config.OUTSIDE))
        self._compiled_for: tuple[int, Compiled] | None = None
        self._options_for: dict[Any, Options] = {}
        self._loaded_contract: dict[str, Any] = {}
        if blue_print is not None:
            take_over(self.core, blue_print.core)

    set_settings, load_settings = delegate("settings", "set_settings"), delegate("settings", "load_settings")
    to, when, batch = delegate("root", "to"), delegate("root", "when"), delegate("root", "batch")
    for_each, side_branch = delegate("root", "for_each"), delegate("root", "side_branch")
    match, if_condition = delegate("root", "match"), delegate("root", "if_condition")
    to_sub_flow, clear_runtime_resources = delegate("root", "to_sub_flow"), delegate("_resources", "clear")
    _resources = property(lambda self: self.shared.resources)
    flow_state = property(lambda self: StateData(self.shared, self.shared.values))
    chunks = property(lambda self: {name: TriggerFlowChunk(it) for name, it in self.core.chunks.items()})

    def chunk(self, handler_or_name: Any = None, /, **options: Any) -> Any:
        """Register a chunk: `@flow.chunk("name")` or `flow.chunk(function)`; the options are the engine's."""
        made = super().chunk(handler_or_name, **options)
        return TriggerFlowChunk(made) if isinstance(made, Chunk) else lambda handler: TriggerFlowChunk(made(handler))

    def set_contract(self, **promised: Any) -> "TriggerFlow":
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
        return TriggerFlowBluePrint(name=self.name, core=self.core)

    def load_blue_print(self, new_blue_print: TriggerFlowBluePrint) -> "TriggerFlow":
        """Take over a graph; the contract is gone then."""
        take_over(self.core, new_blue_print.core)
        return self.set_contract(**dict.fromkeys((*contract.PLACES, "meta")))

    save_blueprint, load_blueprint = save_blue_print, load_blue_print

    def compiled(self) -> Compiled:
        """The flow as it stands now, made ready to run."""
        if self._compiled_for is None or self._compiled_for[0] != self.core.version:
            close_blocks(self.core)
            program = EngineFlow.create_execution(self).program
            self._compiled_for = (self.core.version, Compiled(program, self.core.handlers))
        return self._compiled_for[1]

    def make_run(
        self, *, skip_exceptions: bool | None = None, concurrency: int | None = None, runtime_resources: Any = None,
        run_context: Any = None, parent_run_context: RunContext | None = None, id: str | None = None,
    ) -> Run:  # fmt: skip
        """A run of this flow."""
        skip = self.skip_exceptions if skip_exceptions is None else skip_exceptions
        options = self._options_for.get((concurrency, skip))
        if options is None:
            limit = positive(concurrency, f"flow {self.name!r}")
            options = self._options_for[concurrency, skip] = Options(concurrency=limit, skip_exceptions=skip)
        run = Run(self, self.compiled(), self.shared, options, id, resources=runtime_resources, context=run_context)
        if parent_run_context is not None:
            meta = {**parent_run_context.meta, "flow_name": self.name}
            run.context = parent_run_context.child(config.digest(run.id), "workflow_execution", meta=meta)
        return run

    def handle_of(self, run: Run) -> TriggerFlowExecution:
        """A handle for a run."""
        return TriggerFlowExecution(run)

    def create_execution(self, **options: Any) -> TriggerFlowExecution:
        """An execution, not started yet: `skip_exceptions`, `concurrency` (how many chunks may run at once),
        `runtime_resources`, `run_context`, `parent_run_context`, `id`."""
        return TriggerFlowExecution(self.make_run(**options))

    def remove_execution(self, execution: Any) -> None:
        """Nothing: a flow does not keep its executions."""

    async def async_start_execution(
        self, initial_value: Any, *, wait_for_result: bool = False, **options: Any
    ) -> TriggerFlowExecution:
        """An execution that has started, and settled as far as it could."""
        execution = self.create_execution(**options)
        await execution.run.play(initial_value, DEFAULT_TIMEOUT, wait=wait_for_result)
        return execution

    async def async_start(
        self, initial_value: Any = None, *, wait_for_result: bool = True, timeout: float | None = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> Any:  # fmt: skip
        """Run the flow once and return its result; see `TriggerFlowExecution.async_start`.

        Cancelling the call cancels the run, and so does its timeout.
        """
        run = self.make_run(**options)
        try:
            result = await run.play(initial_value, timeout, wait=wait_for_result)
        except asyncio.CancelledError:
            await run.async_cancel("the call that ran it was cancelled")
            raise
        if not run.settled() and run.handle() is None:
            await run.async_cancel("the call that ran it has timed out")
        return TriggerFlowExecution(run).snapshot() if self.profile == "4.1" else result if wait_for_result else None

    async def get_async_runtime_stream(
        self, initial_value: Any = None, *, timeout: float | None = DEFAULT_TIMEOUT, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """Run the flow once and read its runtime stream; see `TriggerFlowExecution.get_async_runtime_stream`."""
        execution = self.create_execution(**options)
        execution.run.begin(initial_value)
        async for item in execution.get_async_runtime_stream(timeout=timeout):
            yield item

    def get_runtime_stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        """The sync twin of `get_async_runtime_stream`."""
        return iterate_sync(lambda: self.get_async_runtime_stream(*args, **options), "get_async_runtime_stream")

    start, start_execution = twin("async_start"), twin("async_start_execution")

    def _restore(self, shared: SharedData, options: Options, saved: Mapping[str, Any], **details: Any) -> Run:
        compiled = self.compiled()
        make: Callable[..., Run] = lambda _, *args, **more: Run(self, compiled, *args, **more)  # noqa: E731
        return restore(make, compiled.program, shared, options, saved, **details)

    def restored(self, shown: Mapping[str, Any], snapshot: Mapping[str, Any], resources: Mapping[str, Any]) -> Run:
        """The run that `TriggerFlowExecution.save` has written."""
        run = self._restore(self.shared, Options(), snapshot, resources=resources)
        run.result = shown["result"]["value"] if shown["result"]["ready"] else UNSET
        run.context = RunContext(**shown["run_context"])
        return run

    def sub_execution(self, *, saved: Any, runtime_data: Any, flow_data: Any, **details: Any) -> Run:
        """A run of this flow inside another one's, with its own copy of the shared data; see the engine's `subflow`."""
        shared, concurrency, id = self.shared.copy(flow_data), details.pop("concurrency"), details.pop("id")
        leases = details.pop("leases")
        options = Options(concurrency=concurrency, skip_exceptions=self.skip_exceptions, attended=False, leases=leases)
        if saved is not None:
            return self._restore(shared, options, saved, **details)
        run = Run(self, self.compiled(), shared, options, id, **details)
        for key, value in runtime_data.items():
            run.state.set(key, value, emit=False)
        return run
