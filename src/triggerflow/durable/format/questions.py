"""Open questions as data: what a store lists of an interrupt, so that nobody has to read the execution for it.

They are stored by the commit that opens or closes the interrupt. Executions of earlier versions have none in the store
until they are opened: then all that are open are added.
"""

from typing import Any

import msgspec

from ..._core.errors import PayloadError, SnapshotError, StoreDamaged
from ..._core.state import Interrupt, RunState, Status
from ...build.contract import json_schema
from ...run.program import Program
from ...serialize.marked import plain
from .payloads import UNREADABLE

#: The longest payload of a question that is listed, as JSON in bytes.
MAX_PAYLOAD = 64 * 1024
#: The longest line that says why an execution has failed.
MAX_LINE = 300


class QuestionData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`stores.Question.data`. `answer` is the id of the interrupt in the outermost execution; `cut` says that the
    payload was too long to be listed. `since` and `expires` are seconds since the epoch."""

    answer: str
    chunk: str
    type: str
    payload: Any = None
    cut: bool = False
    schema: dict[str, Any] = {}
    since: float | None = None
    expires: float | None = None


def question(program: Program, interrupt: Interrupt, path: str) -> QuestionData:
    """An open interrupt as data. `path` leads from the outermost execution to the one that asks; "" for itself."""
    try:
        payload = plain(program.types.pack(interrupt.payload, "a payload"))
        cut = len(msgspec.json.encode(payload)) > MAX_PAYLOAD
    except (PayloadError, ValueError):
        payload, cut = None, True
    return QuestionData(
        answer=f"{path}/{interrupt.id}" if path else str(interrupt.id),
        chunk=interrupt.run.node.name,
        type=interrupt.type,
        payload=None if cut else payload,
        cut=cut,
        schema=_schema(program, interrupt),
        since=interrupt.asked,
        expires=interrupt.expires,
    )


write_question = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(QuestionData).decode


def read_question(data: bytes) -> QuestionData:
    """The question in the data of a store. Raises `StoreDamaged`."""
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise StoreDamaged(f"a stored question cannot be read: {error}") from error


def _schema(program: Program, interrupt: Interrupt) -> dict[str, Any]:
    """What an answer has to be: by the schema of the question, else by the type of the event that it becomes."""
    if interrupt.schema is not None:
        try:
            return json_schema(program.types.named(interrupt.schema))
        except SnapshotError:  # the class is not registered here
            return {"title": interrupt.schema}
    expected = program.signal_types.get(interrupt.resume_event or "")
    return {} if expected is None else json_schema(expected)


def asked_here(state: RunState) -> dict[str, Interrupt]:
    """The open interrupts of an execution, without those of its sub-flows."""
    found = (state.interrupts or {}).items()
    return {str(id): it for id, it in found if it.status == "waiting" and not it.holds}


def why_ended(state: RunState) -> str | None:
    """One line that says why an execution has failed or was cancelled; None if it was not."""
    if state.status is Status.CANCELLED:
        text = state.reason
    elif state.status is Status.FAILED and state.error is not None:
        text = ": ".join(filter(None, (state.error.chunk, state.error.type, state.error.message)))
    else:
        return None
    line = " ".join(text.split())
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 2]} …"
