"""What a store has of an execution in addition to its records: its row, its options, and the definition of its flow.

Records can be replayed only with the definition under which they were written. So each definition is stored, too. When
an execution continues under a newer definition, its state is first restored under the old one, then migrated as
`versions` says, and stored as a snapshot. The records after that snapshot belong to the newer definition.
"""

from collections.abc import Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from ..._core.definition import Definition, Operator
from ..._core.errors import StoreDamaged, UsageError, without_values
from ..._core.events import DECLARED, RULES
from ...run.options import Options
from ...run.program import Program
from ...serialize.payload import Types
from ...stores.protocol import ExecutionCopy, ExecutionRow
from .payloads import UNREADABLE

#: The option of an execution whose open questions are in the store. Those of earlier versions are not, until they are
#: opened.
LISTS_QUESTIONS = "lists_questions"

#: How many characters the id of an execution may have; that of a sub-flow may be longer.
MAX_ID = 1024

# -- rows ------------------------------------------------------------------------------------------------------------


def first_row(
    id: str,
    program: Program,
    options: Options,
    parent: str | None,
    now: float,
    labels: Mapping[str, str] | None = None,
) -> ExecutionRow:
    """The row of a new execution. Raises `UsageError` if the id cannot be one."""
    if parent is None:  # a sub-flow has the id of its parent in its own
        check_id(id)
    return ExecutionRow(
        id=id,
        flow=program.name,
        definition=program.plan.definition.fingerprint,
        options=write_options(options),
        parent=parent,
        created=now,
        updated=now,
        labels=dict(labels) if labels else {},
    )


def write_options(options: Options) -> bytes:
    """The options of a new execution as its row has them."""
    return _written_options(*_values_of(options))


_values_of = attrgetter(*Options.__slots__)


@lru_cache(maxsize=64, typed=True)  # most executions of a process have the same options
def _written_options(*values: Any) -> bytes:
    options = dict(zip(Options.__slots__, values, strict=True))
    return msgspec.json.encode({**options, "rules": RULES, LISTS_QUESTIONS: True})


def check_id(id: str, longest: int | None = MAX_ID) -> None:
    """Raise `UsageError` if a store or an archive could not hold an execution of this id."""
    why = ""
    if not id or (longest is not None and len(id) > longest):
        why = f"it has {len(id):,} characters, and may have 1 to {MAX_ID:,}"
    elif "\0" in id:
        why = "it contains a zero character"
    elif not id.isascii():
        try:
            id.encode()
        except UnicodeEncodeError:
            why = "it contains half of a surrogate pair"
    if why:
        raise UsageError(f"{id[:50]!r} cannot be the id of an execution: {why}")


def of_another_flow(id: str, owner: str, flow: str) -> UsageError:
    """The error of a call that wants an execution of another flow."""
    return UsageError(f"execution {id!r} belongs to flow {owner!r}, but this is flow {flow!r}")


def numbered_id(id: str, number: int) -> str:
    """The id of one of several executions under the same id: `id`, `id.2`, `id.3` ... They are the attempts of a
    sub-flow step, or what `reuse="new_after_end"` has made."""
    return id if number == 1 else f"{id}.{number}"


def predates_declared_events(row: ExecutionRow) -> bool:
    """Whether an execution was made before external events were declared: see `events.RULES`."""
    rules = _options(row.options).get("rules", 0)
    if not isinstance(rules, int):
        raise StoreDamaged(f"the stored options of an execution cannot be read: rules={rules!r}")
    return rules < DECLARED


def lists_questions(row: ExecutionRow) -> bool:
    """Whether the open questions of an execution are in the store."""
    return row.questions > 0 or bool(_options(row.options).get(LISTS_QUESTIONS))


def with_listed_questions(copy: ExecutionCopy) -> ExecutionCopy:
    """The copy of an execution whose questions are about to be listed."""
    options = msgspec.json.encode({**_options(copy.row.options), LISTS_QUESTIONS: True})
    return msgspec.structs.replace(copy, row=msgspec.structs.replace(copy.row, options=options))


def _options(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except UNREADABLE as error:
        raise StoreDamaged(f"the stored options of an execution cannot be read: {error}") from error


@lru_cache(maxsize=64)  # most executions of a process have the same options
def read_options(data: bytes) -> Options:
    """The options of an execution out of its row; nobody changes the object. Raises `StoreDamaged`."""
    try:
        return Options.from_dict(_options(data))
    except (TypeError, ValueError) as error:
        raise StoreDamaged(f"the stored options of an execution cannot be read: {error}") from error


# -- definitions -----------------------------------------------------------------------------------------------------


def write_definition(definition: Definition, types: Types) -> bytes:
    """The definition as JSON. Raises `PayloadError` for a literal of a case that cannot be encoded."""
    operators: list[dict[str, Any]] = []
    for operator in definition.operators:
        plain = msgspec.to_builtins(msgspec.structs.replace(operator, options={}))
        operators.append({**plain, "options": types.pack(dict(operator.options), f"an option of {operator.id!r}")})
    return msgspec.json.encode({"name": definition.name, "external": definition.external, "operators": operators})


def read_definition(data: bytes | None, fingerprint: str, types: Types) -> Definition:
    """Decode a definition. Raises `StoreDamaged` if it is missing, or does not match its fingerprint.

    If `types` marks values of unknown classes, the fingerprint is not compared, because literals of cases count for
    it: the definition gets the one under which it is stored."""
    if data is None:
        raise StoreDamaged(f"the store lacks the definition {fingerprint!r}, under which this execution was recorded")
    try:
        stored = msgspec.json.decode(data)
        operators = [
            msgspec.structs.replace(
                msgspec.convert({**operator, "options": {}}, Operator), options=types.unpack(operator["options"])
            )
            for operator in stored["operators"]
        ]
        external = msgspec.convert(stored.get("external", ()), tuple[str, ...])
        definition = Definition(str(stored["name"]), tuple(operators), external)
    except (*UNREADABLE, LookupError, TypeError, ValueError) as error:
        raise StoreDamaged(f"the stored definition {fingerprint!r} cannot be read: {without_values(error)}") from None
    if types.marks:
        vars(definition)["fingerprint"] = fingerprint  # a cached property: the marked values would give another one
    elif definition.fingerprint != fingerprint:
        raise StoreDamaged(f"the stored definition {fingerprint!r} has the fingerprint {definition.fingerprint!r}")
    return definition
