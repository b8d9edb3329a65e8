"""Saves an execution as a snapshot (dict, JSON or YAML text, file), and restores it from one."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from .._core.errors import SnapshotError, UsageError, without_values
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

#: Limits for reading a snapshot: characters of text, and levels of nesting. No snapshot is written that deep.
LIMIT = 256 * 1024 * 1024
DEPTH = 1000


def snapshot(execution: ExecutionRuntime) -> dict[str, Any]:
    """The execution as JSON-shaped data. Raises `PayloadError`, which names the value that cannot be recorded."""
    types, machine = execution.program.types, execution.machine
    if execution.durability.runs_elsewhere(execution) and execution.children:
        raise UsageError(
            f"{execution!r} runs in another process, and its sub-flows with it; `history.export` writes all of them"
        )
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
    """The start value as a snapshot stores it: `[value]`, or `[]` before the start. Raises `PayloadError`."""
    return [] if value is UNSET else [types.pack(value, "the start value")]


def unpack_start(kept: Any, types: "Types") -> Any:
    """The start value of a snapshot, UNSET before the start."""
    return types.unpack(kept[0]) if kept else UNSET


def _own_data(execution: ExecutionRuntime) -> dict[str, Any]:
    """The changes of a sub-flow in its copy of the shared data: `[value]` by key, `[]` for a deleted key."""
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
    """Make the execution from a snapshot. Raises `SnapshotError`."""
    if saved.get("kind") != "triggerflow/execution":
        raise SnapshotError("this is not a saved execution: its key 'kind' is not 'triggerflow/execution'")
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
        raise SnapshotError(f"the saved execution is damaged: {without_values(error)}") from None
    return execution


def write(data: Mapping[str, Any], path: "str | Path | None", encoding: str) -> None:
    """Write a snapshot to a file: YAML if the name ends in .yaml or .yml, else JSON. The file is never half written."""
    if path is not None:
        written = to_yaml(data) if is_yaml(_path(path)) else json.dumps(data)
        write_file(path, (written.encode(encoding),), private=True)


def read(source: "Mapping[str, Any] | str | Path", encoding: str) -> Mapping[str, Any]:
    """Read a snapshot from a dict, text or file.

    Raises `SnapshotError`, `FileNotFoundError`, or `UsageError` for YAML without PyYAML.
    """
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
            raise SnapshotError(f"{path} is not {encoding} text: {error}") from None
    if in_yaml:
        data = parse_yaml(text, SnapshotError, limit=LIMIT, depth=DEPTH)
    else:
        data = parse_json(text, SnapshotError, limit=LIMIT)
    if not isinstance(data, Mapping):
        raise SnapshotError(f"a saved execution must be a mapping, this is a {type(data).__name__}")
    return cast("Mapping[str, Any]", data)


def _path(name: "str | Path") -> "Path":
    from pathlib import Path  # imported late: only needed to save or load a file

    return Path(name)
