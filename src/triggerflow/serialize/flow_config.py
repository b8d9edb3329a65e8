"""Writing and loading the definition of a flow, for the methods `get_*_flow` and `load_*_flow` of `TriggerFlow`.

A definition names its handlers. Loading looks them up among the chunks of the flow (`@flow.chunk`), the callables that
were registered (`register_chunk_handler`, `register_condition_handler`) and, for sub-flows, the registered flows. No
name in a config is ever imported.
"""

import builtins
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from .._core.definition import Definition, Operator, OperatorKind, completed_by
from .._core.errors import DefinitionError
from .._core.operators import compile_plan
from .._core.state import UNSET
from ..build.arguments import closest
from ..build.blueprint import Blueprint, is_stable_name
from ..build.chunk import Chunk, Handler
from ..build.retry import Retry
from ..build.subflow import SubFlow, SubFlowOptions, is_flow
from .config import MAX_TEXT, from_config, parse_json, parse_yaml, to_config, to_json, to_yaml
from .text import write_file

TextForm = Literal["json", "yaml"]

# -- writing -----------------------------------------------------------------------------------------------------------


def get_flow_config(blueprint: Blueprint, *, validate_serializable: bool = True) -> dict[str, Any]:
    """The flow as a dict.

    Raises `DefinitionError` for parts that another process could not read: a literal that JSON cannot carry, a handler
    without a stable name. `validate_serializable=False` skips that check.
    """
    definition = compile_plan(blueprint.freeze()).definition
    config = to_config(definition, validate_serializable=validate_serializable)
    if validate_serializable:
        for index, operator in enumerate(definition.operators):
            _check_handler(blueprint, operator, f"operators[{index}].handler")
    return config


def _check_handler(blueprint: Blueprint, operator: Operator, where: str) -> None:
    key = operator.handler
    if key is None:
        return
    handler = blueprint.handlers[key]
    if isinstance(handler, SubFlow):
        flow = handler.flow
        others = [it.flow for it in blueprint.handlers.values() if isinstance(it, SubFlow) and it.flow is not flow]
        if any(other.name == flow.name for other in others):
            raise DefinitionError(f"{where}: two sub-flows have the name {flow.name!r}; name one {flow.name + '_2'!r}")
    elif not is_stable_name(key, handler):
        raise DefinitionError(
            f"{where}: the handler of {operator.name!r}, {handler!r}, has the name {key!r}, by which another process "
            "could not find it; register it with another name: flow.register_chunk_handler(handler, name=...)"
        )


def to_text(
    config: Mapping[str, Any], form: TextForm, save_to: str | Path | None = None, encoding: str = "utf-8"
) -> str:
    """The config as text; with `save_to` it is also written to that file, completely or not at all.

    Missing folders are created. Raises `DefinitionError` for a value that JSON or YAML cannot hold.
    """
    text = to_json(config) if form == "json" else to_yaml(config)
    if save_to is not None:
        target = Path(save_to)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, (text.encode(encoding),))
    return text


# -- loading -----------------------------------------------------------------------------------------------------------


def register_chunk_handler(blueprint: Blueprint, handler: Any, *, name: str | None = None) -> None:
    """Register a function, a chunk or (for sub-flows) a flow by name, by default its own.

    Raises `DefinitionError` for a name that is taken or not stable.
    """
    if is_flow(handler):
        blueprint.flows[name or handler.name] = handler
    elif isinstance(handler, Chunk):
        blueprint.name_handler(handler.handler, name or handler.name)
    else:
        blueprint.name_handler(handler, name)


def register_condition_handler(blueprint: Blueprint, handler: Handler, *, name: str | None = None) -> None:
    """Register the condition of a case by name. Chunks and conditions share one set of names."""
    blueprint.name_handler(handler, name)


def load_flow_config(blueprint: Blueprint, config: Mapping[str, Any], *, replace: bool = True) -> None:
    """Load the flow that a config describes. Its steps replace those of the blueprint, or (`replace=False`) are added.

    Raises `DefinitionError`, which names the place in the config. The blueprint has not changed then.
    """
    definition = from_config(config)
    chunks, handlers = _Resolver(blueprint, definition).resolve()
    blueprint.load(definition, chunks, handlers, replace=replace)


def from_text(path_or_content: str | Path, form: TextForm, encoding: str = "utf-8") -> Any:
    """Parse a text, or the file of that path. Raises `DefinitionError` if it is not text of this form."""
    text = _text(path_or_content, encoding)
    return parse_json(text) if form == "json" else parse_yaml(text)


def _text(source: str | Path, encoding: str) -> str:
    """The text, or the content of the file of that path.

    A string is text if it has several lines, begins with a brace, or is not the path of a file.
    """
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{") or not os.path.isfile(source)):
        return source
    with Path(source).open(encoding=encoding) as file:
        try:
            return file.read(MAX_TEXT + 1)
        except ValueError as error:
            raise DefinitionError(f"the file {source} is not text in {encoding}: {error}") from None


class _RetryConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The fields that `Retry.describe()` writes."""

    attempts: int
    initial_interval: float
    backoff_coefficient: float
    maximum_interval: float
    jitter: float
    retry_on: list[str]
    non_retryable: list[str]


class _SubFlowConfig(msgspec.Struct):
    """The options that `to_sub_flow` writes."""

    capture: dict[str, str | dict[str, str]] | None
    write_back: dict[str, str | dict[str, str]] | None
    child_concurrency: Annotated[int, msgspec.Meta(ge=1)] | None


class _Resolver:
    """Finds the callables that a definition names, and makes its chunks with the policies of the definition.

    The parts of a policy that are code (exception classes, a cache) come from the registered chunk of the same name.
    """

    def __init__(self, blueprint: Blueprint, definition: Definition) -> None:
        self.blueprint = blueprint
        self.definition = definition
        registered = {name: chunk.handler for name, chunk in blueprint.chunks.items()}
        self.known: dict[str, Handler] = {**registered, **blueprint.handlers}
        attached = [it.flow for it in self.known.values() if isinstance(it, SubFlow)]
        self.flows = {**{flow.name: flow for flow in attached}, **blueprint.flows}
        self.missing: list[str] = []

    def resolve(self) -> tuple[dict[str, Chunk], dict[str, Handler]]:
        """The chunks by the name of their trigger, and the callables by name."""
        chunks: dict[str, Chunk] = {}
        occurring: dict[str, Chunk] = {}
        handlers: dict[str, Handler] = {}
        for index, operator in enumerate(self.definition.operators):
            if operator.handler is None:
                continue
            where = f"operators[{index}]"
            runs_flow = operator.kind is OperatorKind.SUB_FLOW
            handler = self.sub_flow(operator, where) if runs_flow else self.callable(operator.handler, operator, where)
            if handler is None:
                continue
            handlers[operator.handler] = handler
            if operator.kind in (OperatorKind.CHUNK, OperatorKind.SUB_FLOW):
                made = self.chunk(operator, handler, where)  # for its checks, also where the chunk is known
                chunks[operator.emits[0].name] = occurring.setdefault(made.trigger.name, made)
        if self.missing:
            raise DefinitionError(
                f"flow {self.definition.name!r} needs handlers that are not registered: {'; '.join(self.missing)}. "
                "Register them with these names before loading: flow.register_chunk_handler(function, name=...)"
            )
        return chunks, handlers

    def callable(self, name: str, operator: Operator, where: str) -> Handler | None:
        """The callable of this name. If it is missing, it is added to `missing`, and the result is None."""
        handler = self.known.get(name)
        if handler is None or isinstance(handler, SubFlow):
            self.note(f"{where} ({operator.id!r}) needs handler {name!r}", name, self.known)
            return None
        return handler

    def sub_flow(self, operator: Operator, where: str) -> SubFlow | None:
        """The handler that runs the flow of this name. None if there is no such flow; it is added to `missing` then."""
        name = operator.options["flow"]
        flow = self.flows.get(name)
        if flow is None:
            self.note(f"{where} ({operator.id!r}) needs flow {name!r}", name, self.flows)
            return None
        try:
            given = msgspec.convert(
                {key: operator.options.get(key) for key in _SubFlowConfig.__struct_fields__}, _SubFlowConfig
            )
        except msgspec.ValidationError as error:
            raise DefinitionError(f"{where}.options: {error}") from None
        options: SubFlowOptions = {
            "capture": given.capture,
            "write_back": given.write_back,
            "concurrency": given.child_concurrency,
        }
        if operator.options.get("fallback"):
            known = self.known.get(operator.handler or "")
            if not isinstance(known, SubFlow) or known.fallback is UNSET:
                raise DefinitionError(
                    f"{where}.options.fallback: a fallback cannot be loaded; this flow has no step "
                    f"{operator.handler!r} with a fallback. Call to_sub_flow(..., fallback=...) before the load"
                )
            options["fallback"] = known.fallback
        return SubFlow(flow, options, f"{where}.options")

    def note(self, what: str, name: str, known: Iterable[str]) -> None:
        near = closest(name, known)
        self.missing.append(f"{what} (did you mean {' or '.join(map(repr, near))}?)" if near else what)

    def chunk(self, operator: Operator, handler: Handler, where: str) -> Chunk:
        """The chunk as the definition describes it."""
        options = operator.options
        registered = self.blueprint.chunks.get(operator.name)
        if registered is not None and registered.handler is not handler:
            registered = None
        cache = registered.cache if registered is not None else None
        if options.get("cache") and cache is None:
            raise DefinitionError(
                f"{where}.options.cache: a cache cannot be loaded; register the chunk with one before: "
                f"flow.chunk({operator.name!r}, cache=Cache())"
            )
        fallback = UNSET if registered is None else registered.fallback
        if options.get("fallback") and fallback is UNSET and not isinstance(handler, SubFlow):
            raise DefinitionError(
                f"{where}.options.fallback: a fallback cannot be loaded; register the chunk with one before: "
                f"flow.chunk({operator.name!r}, fallback=...)"
            )
        timeout = options.get("timeout")
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            raise DefinitionError(f"{where}.options.timeout: must be a number of seconds, not {timeout!r}")
        return Chunk(
            operator.name,
            handler,
            trigger=completed_by(operator),
            concurrency=options.get("concurrency"),
            inline=options.get("inline", False),
            emits=tuple(trigger.name for trigger in operator.emits[1:]),
            retry=_retry(options["retry"], registered, f"{where}.options.retry") if "retry" in options else None,
            timeout=timeout,
            cache=cache if options.get("cache") else None,
            fallback=fallback if options.get("fallback") else UNSET,
        )


def _retry(data: Any, registered: Chunk | None, where: str) -> Retry:
    try:
        policy = msgspec.convert(data, _RetryConfig)
    except msgspec.ValidationError as error:
        raise DefinitionError(f"{where}: {error}") from None
    known = {name: it for name, it in vars(builtins).items() if isinstance(it, type) and issubclass(it, BaseException)}
    if registered is not None and registered.retry is not None:
        for classes in (registered.retry.retry_on, registered.retry.non_retryable):
            known.update((cls.__qualname__, cls) for cls in (classes if isinstance(classes, tuple) else (classes,)))
    fields = msgspec.structs.asdict(policy)
    for field in ("retry_on", "non_retryable"):
        unknown = [name for name in fields[field] if name not in known]
        if unknown:
            raise DefinitionError(
                f"{where}.{field}: the exception class {unknown[0]!r} is not known here; register the chunk "
                "with a Retry that names this class"
            )
        fields[field] = tuple(known[name] for name in fields[field])
    return Retry(**fields)
