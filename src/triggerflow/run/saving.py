"""Saving an execution as a file, text or dict, and making it again from there."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from .._core.errors import SnapshotError
from .._core.snapshot import decode, encode
from .._core.state import UNSET
from ..serialize.text import is_yaml, parse_json, parse_yaml, to_yaml, write_file
from .interrupts import check_schemas
from .options import Options
from .program import Program
from .runtime import ExecutionRuntime
from .shared import SharedData

if TYPE_CHECKING:
    from pathlib import Path

    from ..serialize.payload import Types
    from .subflow import Link

#: The largest text that is read as a snapshot, in characters; how deep it may be nested, which is more than is written.
LIMIT = 256 * 1024 * 1024
DEPTH = 1000


def snapshot(execution: ExecutionRuntime) -> dict[str, Any]:
    """The execution as JSON-shaped data. Raises `PayloadError` that names what cannot be recorded."""
    types, machine = execution.program.types, execution.machine
    check_schemas(execution)
    return {
        "kind": "triggerflow/execution",
        "id": execution.id,
        "flow": execution.program.name,
        "value": pack_start(execution.start_value, types),
        "options": execution.options.to_dict(),
        "state": encode(machine.plan, machine.state, types.pack),
        "flow_data": _own_data(execution),
        "children": {path: snapshot(child) for path, (child, number) in execution.children.items() if not number},
        "resource_keys": sorted(execution.resources),
    }


def pack_start(value: Any, types: "Types") -> list[Any]:
    """The start value as snapshots keep it: a list of it, which is empty before the start. Raises `PayloadError`."""
    return [] if value is UNSET else [types.pack(value, "the start value")]


def unpack_start(kept: Any, types: "Types") -> Any:
    """The start value of a snapshot, UNSET before the start."""
    return types.unpack(kept[0]) if kept else UNSET


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
        state = decode(program.plan, saved["state"], program.types.unpack)
        execution = make(shared, Options.from_dict(kept), str(saved["id"]), state=state, resources=resources, link=link)
        execution.restored(
            unpack_start(saved["value"], program.types),
            dict(saved["children"]),
            saved.get("broken"),
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
    if path is not None:
        written = to_yaml(data) if is_yaml(_path(path)) else json.dumps(data)
        write_file(path, (written.encode(encoding),))


def read(source: "Mapping[str, Any] | str | Path", encoding: str) -> Mapping[str, Any]:
    """A snapshot from its dict, text or file. Raises `SnapshotError`, `UsageError` where YAML needs PyYAML, or, for a
    missing file, `FileNotFoundError`."""
    if isinstance(source, Mapping):
        return source
    if (isinstance(source, str) and source.lstrip()[:1] in ("{", "[")) or "\n" in str(source):
        text, in_yaml = str(source), str(source).lstrip()[:1] not in ("{", "[")
    else:
        path = _path(source)
        if path.stat().st_size > LIMIT:
            raise SnapshotError(f"{path} is larger than {LIMIT} bytes and is not read")
        try:
            text, in_yaml = path.read_text(encoding=encoding), is_yaml(path)
        except UnicodeError as error:
            raise SnapshotError(f"{path} is no {encoding} text: {error}") from None
    if in_yaml:
        data = parse_yaml(text, SnapshotError, limit=LIMIT, depth=DEPTH)
    else:
        data = parse_json(text, SnapshotError, limit=LIMIT)
    if not isinstance(data, Mapping):
        raise SnapshotError(f"a saved execution is a mapping, this is a {type(data).__name__}")
    return cast("Mapping[str, Any]", data)


def _path(name: "str | Path") -> "Path":
    from pathlib import Path  # who saves nothing shall not pay for it when the package is imported

    return Path(name)
