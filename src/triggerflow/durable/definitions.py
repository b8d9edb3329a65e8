"""Definitions in a store: under which the records of an execution were written, and how they are read under another.

Records mean something under their definition only. So each definition is kept beside them, and an execution that goes
on under a newer one is first brought to where it stands under the old; that state is then moved over as `versions`
says, and kept as a snapshot. Records after it belong to the new definition.
"""

from typing import Any

import msgspec

from .._core.definition import Definition, Operator
from .._core.errors import StoreDamaged
from ..serialize.payload import Types


def write_definition(definition: Definition, types: Types) -> bytes:
    """The definition as JSON. Raises `PayloadError` for a case whose literal cannot be recorded."""
    operators: list[dict[str, Any]] = []
    for operator in definition.operators:
        plain = msgspec.to_builtins(msgspec.structs.replace(operator, options={}))
        operators.append({**plain, "options": types.pack(dict(operator.options), f"an option of {operator.id!r}")})
    return msgspec.json.encode({"name": definition.name, "external": definition.external, "operators": operators})


def read_definition(data: bytes | None, fingerprint: str, types: Types) -> Definition:
    """The definition again. Raises `StoreDamaged` if it is missing, or is not what its fingerprint says."""
    if data is None:
        raise StoreDamaged(f"the store lacks the definition {fingerprint!r}, under which this execution was recorded")
    try:
        kept = msgspec.json.decode(data)
        operators = [
            msgspec.structs.replace(
                msgspec.convert({**operator, "options": {}}, Operator), options=types.unpack(operator["options"])
            )
            for operator in kept["operators"]
        ]
        external = msgspec.convert(kept.get("external", ()), tuple[str, ...])
        definition = Definition(str(kept["name"]), tuple(operators), external)
    except (LookupError, TypeError, ValueError) as error:
        raise StoreDamaged(f"the stored definition {fingerprint!r} cannot be read: {error}") from error
    if definition.fingerprint != fingerprint:
        raise StoreDamaged(f"the stored definition {fingerprint!r} has the fingerprint {definition.fingerprint!r}")
    return definition
