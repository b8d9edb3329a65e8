"""A flow as a step of another flow: the values that go in and come back. `run.subflow` runs it."""

import re
from collections.abc import Mapping
from typing import Any, Protocol, TypedDict, cast

from .._core.errors import DefinitionError, OptionError, UsageError
from .._core.state import UNSET
from .arguments import text
from .chunk import check_handler

_SEGMENT = r"[A-Za-z_]\w*"
_SOURCES = {"value", "runtime_data", "flow_data", "resources"}
_CAPTURE = {"input", "runtime_data", "flow_data", "resources"}
_WRITE_BACK = {"value", "runtime_data", "flow_data"}

Paths = Mapping[str, str | Mapping[str, str]]


class SubFlowOptions(TypedDict, total=False):
    """The options of `to_sub_flow`.

    `capture` maps targets in the child to sources in the parent:
    `{"input": "value.topic", "runtime_data": {"lang": "runtime_data.lang"}}`. Targets are `input` (the start value),
    `runtime_data`, `flow_data` and `resources`. Sources are dotted paths that begin with `value`, `runtime_data`,
    `flow_data` or `resources`. The default is `{"input": "value"}`; without `input` the child starts with None.

    `write_back` maps targets in the parent, `value`, `runtime_data` and `flow_data`, to paths that begin with `result`,
    the child's result. The default is `{"value": "result"}`; without `value` the chain keeps its value.
    `{"value": {"key": "result"}}` sets a key in a copy of that value.

    `concurrency` limits how many chunks of the child run at once (default: no limit). With `side_branch` the chain
    continues at once with its own value. `name` is the name of the step (default: that of the flow).

    If the child fails, the step fails like a chunk. `fallback` is then used in place of the child's result: a value, or
    a callable as for `flow.chunk`. It must have the result type that the child declares.
    """

    side_branch: bool
    name: str | None
    capture: Paths | None
    write_back: Paths | None
    concurrency: int | None
    fallback: Any


class SubFlowTarget(Protocol):
    """What the builder needs of a flow that runs as a step."""

    @property
    def name(self) -> str:
        """The name of the flow."""
        ...

    def __flow_runtime__(self) -> Any:
        """The runtime that makes its executions (`run.flow_runtime.FlowRuntime`)."""
        ...


def is_flow(it: Any) -> bool:
    """Whether an object is a flow. This looks at its class, because a mock object has every attribute."""
    return hasattr(cast("Any", type(it)), "__flow_runtime__")


class SubFlow:
    """The handler of a sub-flow step: the flow and its parsed paths. `run.subflow.run_sub_flow` runs it.

    `capture` and `write_back` map targets to keys ("" for the whole target), and keys to their source paths, split.
    """

    def __init__(self, flow: SubFlowTarget, options: SubFlowOptions, where: str) -> None:
        self.flow = flow
        self.runner = flow.__flow_runtime__()
        self.concurrency = options.get("concurrency")
        self.fallback = options.get("fallback", UNSET)
        if callable(self.fallback):
            check_handler(self.fallback, f"{where}: fallback")
        given, back = options.get("capture"), options.get("write_back")
        self.capture = _paths({"input": "value"} if given is None else given, _CAPTURE, _SOURCES, f"{where}: capture")
        back = {"value": "result"} if back is None else back
        self.write_back = _paths(back, _WRITE_BACK, {"result"}, f"{where}: write_back")

    def same_step(self, other: "SubFlow") -> bool:
        """Whether another step runs the same flow with the same options."""
        from .alike import same

        about = [(it.concurrency, it.capture, it.write_back) for it in (self, other)]
        return self.flow is other.flow and about[0] == about[1] and same(self.fallback, other.fallback)

    def __call__(self, data: Any) -> Any:
        """Raise `UsageError`: only the engine can run a step that is a flow."""
        raise UsageError(
            f"the step that runs flow {self.flow.name!r} cannot be called by itself; call flow.start() or async_start()"
        )


def _paths(wanted: Paths, targets: set[str], sources: set[str], where: str) -> dict[str, dict[str, list[str]]]:
    """Check and split the paths: for each target, its keys ("" for the whole target) to source paths."""
    found: dict[str, dict[str, list[str]]] = {}
    for target, paths in _mapping(wanted, where).items():
        target, paths = text(target), text(paths)
        scope, _, rest = target.partition(".")
        if scope not in targets:
            raise DefinitionError(f"{where}: {target!r} is not a target; use one of {sorted(targets)}")
        pairs: Mapping[str, str] = {rest: paths} if isinstance(paths, str) else _mapping(paths, where)
        for key, source in pairs.items():
            key, source = text(key), text(source)
            if not key and scope not in ("input", "value"):
                error = OptionError if isinstance(paths, str) else DefinitionError
                raise error(
                    f"{where}: the target {scope!r} needs a mapping of keys to paths, such as "
                    f"{{{scope!r}: {{'key': {source!r}}}}}"
                )
            if not isinstance(source, str):
                raise OptionError(f"{where}: a path is a string of names joined by dots; got {source!r}")
            segments = source.split(".")
            if segments[0] not in sources:
                raise DefinitionError(f"{where}: {source!r} does not begin with one of {sorted(sources)}")
            for segment in (*segments, *(key.split(".") if key else ())):
                if not re.fullmatch(_SEGMENT, segment):
                    raise DefinitionError(f"{where}: {segment!r} is not a name; a path is names joined by dots")
            known = found.setdefault(scope, {})
            for other in known:
                if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") or not (key and other):
                    raise DefinitionError(f"{where}: {scope}.{key} and {scope}.{other} overlap; keep one of them")
            known[key] = segments
    return found


def _mapping(wanted: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(wanted, Mapping):
        raise OptionError(
            f"{where} must be a mapping from each target to a path, or to a mapping of keys to paths; got {wanted!r}"
        )
    return cast("Mapping[str, Any]", wanted)
