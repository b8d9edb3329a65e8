"""A flow as a step of another: what goes in and what comes back. How it is run stands in `run.subflow`."""

import re
from collections.abc import Mapping
from typing import Any, Protocol, TypedDict, cast

from .._core.errors import DefinitionError, OptionError, UsageError

_SEGMENT = re.compile(r"[A-Za-z_]\w*")
_SOURCES = {"value", "runtime_data", "flow_data", "resources"}
_CAPTURE = {"input", "runtime_data", "flow_data", "resources"}
_WRITE_BACK = {"value", "runtime_data", "flow_data"}

Paths = Mapping[str, str | Mapping[str, str]]


class SubFlowOptions(TypedDict, total=False):
    """The options of `to_sub_flow`.

    `capture` says what the child gets: `{"input": "value.topic", "runtime_data": {"lang": "runtime_data.lang"}}`; its
    targets are `input`, `runtime_data`, `flow_data`, `resources`, its sources `value`, `runtime_data`, `flow_data`,
    `resources` of the parent, each a dotted path. `write_back` says what comes back: targets `value`, `runtime_data`,
    `flow_data`, source `result`. By default the value goes in and the result comes out; once said, nothing else does:
    without `input` the child starts with None, and without `value` the value of the chain stays as it is. A
    `{"value": {"key": "result"}}` sets a key in a copy of that value.
    """

    side_branch: bool
    name: str | None
    capture: Paths | None
    write_back: Paths | None
    concurrency: int | None


class SubFlowTarget(Protocol):
    """What can be a step of a flow: another flow."""

    @property
    def name(self) -> str:
        """The name of the flow."""
        ...

    def __flow_runtime__(self) -> Any:
        """How executions of this flow are made (`run.flow_runtime.FlowRuntime`)."""
        ...


def is_flow(it: Any) -> bool:
    """Whether this is a flow; asked of its class, since a mock has any attribute."""
    return hasattr(cast("Any", type(it)), "__flow_runtime__")


class SubFlow:
    """The handler of a sub-flow step: the flow, and its paths, split. `run.subflow.run_sub_flow` runs it.

    `capture` and `write_back` map each target to its keys ("" for the whole), and those to segments of their source.
    """

    def __init__(self, flow: SubFlowTarget, options: SubFlowOptions, where: str) -> None:
        self.flow = flow
        self.runner = flow.__flow_runtime__()
        self.concurrency = options.get("concurrency")
        given, back = options.get("capture"), options.get("write_back")
        self.capture = _paths({"input": "value"} if given is None else given, _CAPTURE, _SOURCES, f"{where}: capture")
        back = {"value": "result"} if back is None else back
        self.write_back = _paths(back, _WRITE_BACK, {"result"}, f"{where}: write_back")

    def __call__(self, data: Any) -> Any:
        """Not supported: only the engine can run a step that is a flow."""
        raise UsageError(
            f"the step that runs flow {self.flow.name!r} cannot be called by itself; call flow.start() or async_start()"
        )


def _paths(wanted: Paths, targets: set[str], sources: set[str], where: str) -> dict[str, dict[str, list[str]]]:
    """The paths, split: per target scope, target key ("" for the whole) to source path."""
    found: dict[str, dict[str, list[str]]] = {}
    for target, paths in _mapping(wanted, where).items():
        scope, _, rest = target.partition(".")
        if scope not in targets:
            raise DefinitionError(f"{where}: {target!r} is no target; use {sorted(targets)}")
        pairs: Mapping[str, str] = {rest: paths} if isinstance(paths, str) else _mapping(paths, where)
        for key, source in pairs.items():
            if not key and scope not in ("input", "value"):
                error = OptionError if isinstance(paths, str) else DefinitionError
                raise error(f"{where}: {scope!r} takes keys only: {{{scope!r}: {{'key': {source!r}}}}}")
            if not isinstance(source, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise OptionError(f"{where}: a path is a string of names joined by dots; got {source!r}")
            segments = source.split(".")
            if segments[0] not in sources:
                raise DefinitionError(f"{where}: {source!r} does not begin with one of {sorted(sources)}")
            for segment in (*segments, *(key.split(".") if key else ())):
                if not _SEGMENT.fullmatch(segment):
                    raise DefinitionError(f"{where}: {segment!r} is no name; paths are names joined by dots")
            known = found.setdefault(scope, {})
            for other in known:
                if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") or not (key and other):
                    raise DefinitionError(f"{where}: {scope}.{key} and {scope}.{other} overlap")
            known[key] = segments
    return found


def _mapping(wanted: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(wanted, Mapping):
        raise OptionError(f"{where} maps targets to paths, or to a mapping of keys to paths; got {wanted!r}")
    return cast("Mapping[str, Any]", wanted)
