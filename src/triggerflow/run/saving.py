"""Saving an execution as a file, text or dict, and making it again from there."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from .._core.errors import PayloadError, SnapshotError
from .._core.snapshot import decode, encode
from .._core.state import UNSET
from .interrupts import check_schemas
from .options import Options
from .program import Program
from .runtime import ExecutionRuntime
from .shared import SharedData

if TYPE_CHECKING:
    from pathlib import Path

    from .subflow import Link

#: The largest text that is read as a snapshot, in characters.
LIMIT = 256 * 1024 * 1024


def snapshot(execution: ExecutionRuntime) -> dict[str, Any]:
    """The execution as JSON-shaped data. Raises `PayloadError` that names what cannot be recorded."""
    types, machine = execution.program.types, execution.machine
    check_schemas(execution)
    value = execution.start_value
    return {
        "kind": "triggerflow/execution",
        "id": execution.id,
        "flow": execution.program.name,
        "value": [] if value is UNSET else [types.pack(value, "the start value")],
        "options": {name: getattr(execution.options, name) for name in Options.__slots__},
        "state": encode(machine.plan, machine.state, types.pack),
        "broken": execution.broken,
        "flow_data": _own_data(execution),
        "children": {path: snapshot(child) for path, (child, number) in execution.children.items() if not number},
        "resource_keys": sorted(execution.resources),
    }


def _own_data(execution: ExecutionRuntime) -> dict[str, Any]:
    """What a sub-flow has changed in its copy of the shared data: per key a list of the value, empty if it is gone."""
    shared, pack = execution.shared, execution.program.types.pack
    return {
        key: [pack(shared.values[key], f"flow_data[{key!r}]")] if key in shared.values else []
        for key in sorted(shared.own or ())
    }


def restore(
    make: Callable[..., ExecutionRuntime],
    program: Program,
    shared: SharedData,
    options: Options,
    saved: Mapping[str, Any],
    *,
    resources: Mapping[str, Any] | None = None,
    link: "Link | None" = None,
) -> ExecutionRuntime:
    """The execution that a snapshot describes. Raises `SnapshotError`."""
    if saved.get("kind") != "triggerflow/execution":
        raise SnapshotError("this is no saved execution: it lacks kind = 'triggerflow/execution'")
    try:
        kept: dict[str, Any] = dict(saved["options"])
        known = {name: kept[name] for name in Options.__slots__ if name in kept}
        state = decode(program.plan, saved["state"], program.types.unpack)
        execution = make(shared, Options(**known), str(saved["id"]), state=state, resources=resources, link=link)
        execution.restored(
            program.types.unpack(saved["value"][0]) if saved["value"] else UNSET,
            dict(saved["children"]),
            saved["broken"],
        )
        for key, value in saved["flow_data"].items() if link is not None else ():
            if value:
                shared.set(key, program.types.unpack(value[0]), emit=False)
            else:
                shared.delete(key, emit=False)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"the saved execution is damaged: {type(error).__name__}: {error}") from error
    return execution


def write(data: Mapping[str, Any], path: "str | Path | None", encoding: str) -> None:
    """Write a snapshot to a file, as YAML if its name says so, else as JSON; whole or not at all."""
    if path is None:
        return
    target = _path(path)
    text = _yaml().safe_dump(dict(data), sort_keys=False, allow_unicode=True) if _is_yaml(target) else json.dumps(data)
    draft = target.with_name(target.name + ".part")
    draft.write_text(text, encoding=encoding)
    draft.replace(target)


def read(source: "Mapping[str, Any] | str | Path", encoding: str) -> Mapping[str, Any]:
    """A snapshot from its dict, text or file. Raises `SnapshotError` or, for a missing file, `FileNotFoundError`."""
    if isinstance(source, Mapping):
        return source
    if (isinstance(source, str) and source.lstrip()[:1] in ("{", "[")) or "\n" in str(source):
        text, is_yaml = str(source), str(source).lstrip()[:1] not in ("{", "[")
    else:
        path = _path(source)
        if path.stat().st_size > LIMIT:
            raise SnapshotError(f"{path} is larger than {LIMIT} bytes and is not read")
        try:
            text, is_yaml = path.read_text(encoding=encoding), _is_yaml(path)
        except UnicodeError as error:
            raise SnapshotError(f"{path} is no {encoding} text: {error}") from None
    try:
        data = _yaml().safe_load(text) if is_yaml else json.loads(text)
    except ValueError as error:
        raise SnapshotError(f"this is no JSON: {error}") from error
    except Exception as error:  # the YAML library's own errors
        if isinstance(error, PayloadError | SnapshotError):
            raise
        raise SnapshotError(f"this is no YAML: {error}") from error
    if not isinstance(data, Mapping):
        raise SnapshotError(f"a saved execution is a mapping, this is a {type(data).__name__}")
    return cast("Mapping[str, Any]", data)


def _path(name: "str | Path") -> "Path":
    from pathlib import Path  # who saves nothing shall not pay for it when the package is imported

    return Path(name)


def _is_yaml(path: "Path") -> bool:
    return path.suffix in (".yaml", ".yml")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise SnapshotError("reading and writing YAML needs PyYAML: pip install 'triggerflow-engine[yaml]'") from None
    return yaml
