"""The shapes of the arguments and results of a backend. All are JSON data: `msgspec.json` encodes and decodes them.

Times are seconds since the epoch. *Values* (of starts, results, signals, states, stream items, answers) are JSON, too.
A value that JSON lacks is shown in this way: tuples and sets as lists; bytes (base64), dates, times, decimals, UUIDs
and floats that are not finite as texts; an object of a registered class as `{"$type": name, field: value ...}`, a
member of an enum as `{"$type": name, "value": value}`, and a dict with keys that are not strings as
`{"$type": "dict", "items": [[key, value] ...]}`. A program without the class gets the same.

A *moment* of an execution is the number of its records that have happened. Moment 0 is before the first record, and the
frame of number n leads to moment n.
"""

from typing import Any, Literal

import msgspec

from .._core.state import StatusName
from ..run.options import Reuse as Reuse

#: A JSON Schema (draft 2020-12). `{}` takes any JSON.
Schema = dict[str, Any]
#: What a run does. ready: it waits for a permit; waiting: for what it has started, or for something outside; backoff:
#: for its next attempt.
Phase = Literal["ready", "running", "waiting", "backoff"]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the results of a backend."""


# -- executions --------------------------------------------------------------------------------------------------------


class ExecutionInfo(Shape, frozen=True):
    """One execution in a list, without its state."""

    id: str
    flow: str
    status: StatusName
    created: float
    #: when its newest record was added
    updated: float
    #: when its next timer is due, None if no timer is open
    due: float | None
    #: how many frames and stream items it has, trimmed ones included
    frames: int
    items: int
    #: whether it has an owner: a process that runs it
    owned: bool
    labels: dict[str, str]
    #: one line about why it failed or was cancelled
    error: str | None
    #: how many open questions it has, without those of its sub-flows
    questions: int
    #: for a sub-flow: the id of its parent
    parent: str | None
    #: for a fork: the id of the original, and the moment of it at which the fork begins
    forked_from: tuple[str, int] | None
    #: the fingerprint of its definition, for `Backend.drawing`
    definition: str


class ExecutionPage(Shape, frozen=True):
    """Some executions, the newest first. `next` is the `after` for the next page, None on the last one."""

    executions: list[ExecutionInfo]
    next: str | None = None


class Failed(Shape, frozen=True):
    """Why something failed: the name of the exception's class, its text, and the chunk ("" if it was none)."""

    type: str
    message: str
    chunk: str = ""


class ResultInfo(Shape, frozen=True):
    """The result of an execution. Unless `ended`, only `status` has a meaning."""

    status: StatusName
    ended: bool
    has_result: bool = False
    result: Any = None
    error: Failed | None = None
    #: for a cancelled one: why
    reason: str = ""


# -- frames and states -------------------------------------------------------------------------------------------------


class RunChange(Shape, frozen=True, omit_defaults=True):
    """A change of one run by a record: it is new, has another phase or attempt, or (`phase` "ended") has ended."""

    run: int
    phase: Phase | Literal["ended"]
    #: the id of the operator in the definition, and the name of the chunk, sub-flow or condition
    operator: str
    chunk: str
    attempt: int = 1
    #: how many of its attempts were lost with their process
    losses: int = 0
    #: the number of the frame that has caused the run
    cause: int = 0
    #: the run that made the record of this frame, if this frame has caused the run; else None
    by: int | None = None
    #: for the step of a sub-flow: the id of its first execution. Those after a failure have ".2", ".3" ... appended
    sub_flow: str | None = None


class QuestionChange(Shape, frozen=True, omit_defaults=True):
    """An interrupt that a record has opened or closed."""

    id: str
    open: bool
    #: whether a sub-flow asks it: then the sub-flow's execution has the question as well
    inside: bool = False


class RunInfo(Shape, frozen=True):
    """One open run. The fields are those of `RunChange`; `value` is its input."""

    run: int
    phase: Phase
    operator: str
    chunk: str
    attempt: int
    losses: int
    cause: int
    value: Any = None
    sub_flow: str | None = None


class OpenQuestion(Shape, frozen=True):
    """One open interrupt in a state."""

    id: str
    type: str
    chunk: str
    payload: Any
    #: when it was asked (None in executions of earlier versions), and when it expires (None: never)
    since: float | None
    expires: float | None
    inside: bool = False
    #: the name of the event as which the answer is emitted, if there is one
    resume_event: str | None = None


class StateInfo(Shape, frozen=True):
    """An execution at one moment."""

    id: str
    flow: str
    definition: str
    moment: int
    status: StatusName
    #: whether it was started, and the start value
    started: bool
    value: Any
    #: the state of the execution by key
    state: dict[str, Any]
    has_result: bool
    result: Any
    error: Failed | None
    reason: str
    questions: list[OpenQuestion]
    runs: list[RunInfo]
    #: when its timers are due, the next first
    timers: list[float]
    #: how many items its stream has
    items: int
    #: whether a source is being read, or a timer is open that counts as work: besides the runs,
    #: `Execution.async_settled` waits for these
    working: bool = False


class Frame(Shape, frozen=True, omit_defaults=True):
    """One record of an execution, and what it has changed. The fold of all frames up to one is a `Moment`.

    `kind` and `record` are the record as it is stored, see `triggerflow.records`: `record` has the fields that differ
    from their default, without the time. Numbers of records in these fields (`signal`, `wait`, `failed`) count from 0:
    they are one less than the number of the frame.

    If earlier records were deleted (`compact`), the first frame has the kind "moment", no record, and the whole state
    at its moment. A reader also gets such a frame if a compaction deletes records that it has not read yet.
    """

    number: int
    at: float
    kind: str
    #: the status of the execution after the record. An execution that only waits for sub-flows, which wait themselves,
    #: is "running" here and "waiting" in lists
    status: StatusName
    record: dict[str, Any] = {}
    runs: list[RunChange] = []
    questions: list[QuestionChange] = []
    #: its number in the runtime stream, 0 if it is no item
    item: int = 0
    #: for a timer that has fired: the number of the frame that has started it; 0 if the reader began after that frame
    follows: int = 0
    #: the numbers of the timers that the record has started; a record of a fired timer names it as `timer`
    timers: list[int] = []
    #: the fingerprint of the definition, in the first frame and where the execution moves to another definition
    definition: str = ""
    #: with the status "completed": whether there is a result, and the result
    has_result: bool = False
    result: Any = None
    #: with the status "failed": why
    error: Failed | None = None
    #: for the kind "moment"
    state: StateInfo | None = None


class Item(Shape, frozen=True, omit_defaults=True):
    """An item of the runtime stream. With `compact`, `number` is that of the last item merged into it.

    `path` is the path of the sub-flow that has put it, "" for the execution itself.
    """

    number: int
    item: Any
    path: str = ""


# -- questions ---------------------------------------------------------------------------------------------------------


class QuestionInfo(Shape, frozen=True):
    """An open question: `Backend.act(execution, Answer(question=id, value=...))` answers it."""

    #: the outermost execution, which takes the answer, its flow, and the id of the question there
    execution: str
    flow: str
    id: str
    #: the execution whose chunk asks, perhaps a sub-flow, and the id of the question there
    asked_by: str
    own_id: str
    chunk: str
    type: str
    payload: Any
    #: whether the payload was too large to be listed; `state_at(asked_by)` has it
    cut: bool
    #: the schema of an answer; `{}` takes any JSON
    schema: Schema
    since: float
    expires: float | None


class QuestionPage(Shape, frozen=True):
    """Some open questions, the oldest first. `next` is the `after` for the next page, None on the last one."""

    questions: list[QuestionInfo]
    next: str | None = None


# -- actions -----------------------------------------------------------------------------------------------------------


class Action(msgspec.Struct, tag_field="action", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the actions on an execution."""


class Answer(Action, tag="answer", frozen=True):
    """Answer an open question with a value that fits its schema."""

    question: str
    value: Any = None


class Emit(Action, tag="emit", frozen=True):
    """Send a signal from outside, at once or after `delay` seconds."""

    name: str
    value: Any = None
    delay: float | None = None


class CancelSignal(Action, tag="cancel_signal", frozen=True):
    """Cancel the delayed signals that are pending and have this name or id. The outcome is how many."""

    name: str


class Put(Action, tag="put", frozen=True):
    """Put an item into the runtime stream."""

    item: Any


class SetState(Action, tag="set_state", frozen=True):
    """Set a key of the state. Chunks that listen to it are started."""

    key: str
    value: Any


class DeleteState(Action, tag="delete_state", frozen=True):
    """Delete a key of the state."""

    key: str


class SetResult(Action, tag="set_result", frozen=True):
    """Set the result. Ignored if there is one, unless `replace`."""

    value: Any
    replace: bool = False


class Close(Action, tag="close", frozen=True):
    """Accept no more signals from outside, so that the execution ends when it is idle. Does not wait for the end."""


class Cancel(Action, tag="cancel", frozen=True):
    """Cancel the execution."""

    reason: str = "cancelled by its owner"


class Retry(Action, tag="retry", frozen=True):
    """Run a failed execution again from its state before the failure; `force`: see `TriggerFlow.async_retry`."""

    force: bool = False


AnyAction = (
    Answer | Emit | CancelSignal | Put | SetState | DeleteState | SetResult | Close | Cancel | Retry
)  # fmt: skip


class Done(Shape, frozen=True):
    """The outcome of an action, now or by an earlier call with the same request id.

    `value`: for `cancel_signal` the number of cancelled signals, for `answer` the question as `Execution.get_interrupt`
    shows it, else None. `status` is the present status of the execution in the store.
    """

    status: StatusName
    value: Any = None


# -- flows -------------------------------------------------------------------------------------------------------------


class FlowInfo(Shape, frozen=True):
    """A flow of which the backend has the code, or the store has executions."""

    name: str
    #: whether the backend has its code, and so can start, retry and fork executions
    has_code: bool
    #: the fingerprint of its definition: of the code, or of the newest execution
    definition: str
    #: how many executions there are by status, without sub-flows
    counts: dict[StatusName, int]


class SignalInfo(Shape, frozen=True):
    """An event that chunks of a flow listen to. `external`: an idle execution stays open for it."""

    name: str
    external: bool
    schema: Schema


class Contract(Shape, frozen=True):
    """The types of a flow; `{}` where none is declared, or the backend does not have the code of the flow."""

    flow: str
    has_code: bool
    definition: str
    start: Schema
    result: Schema
    item: Schema
    #: the events that callers may send: those that chunks listen to, declared external ones first
    signals: list[SignalInfo]
    #: the keys of the state, if a model of it is declared
    state: Schema


class DrawnBox(Shape, frozen=True):
    """A box of a drawing, with its label in lines and the key of the block around it.

    `operators` are the ids of the operators that it stands for; empty for what is no operator, such as a signal.
    """

    key: str
    shape: str
    lines: list[str]
    operators: list[str]
    block: str | None
    #: for the step of a sub-flow: the name of its flow
    flow: str | None


class DrawnBlock(Shape, frozen=True):
    """A border around boxes and other blocks: a batch, a for_each or a match, which `operator` opens."""

    key: str
    parent: str | None
    operator: str


class DrawnLine(Shape, frozen=True):
    """An arrow between boxes. `style` is "solid", "emit" for an emitted signal, or "side" for a side branch.

    `operators` are the ids of those without a box that the line passes through: conditions, lone gates, ways back.
    """

    source: str
    target: str
    label: str
    style: str
    operators: list[str]


class Drawing(Shape, frozen=True):
    """The graph of a definition. Each operator of it is in `operators` of a box or of at least one line."""

    flow: str
    definition: str
    boxes: list[DrawnBox]
    blocks: list[DrawnBlock]
    lines: list[DrawnLine]


# -- the rest ----------------------------------------------------------------------------------------------------------


class Parted(Shape, frozen=True):
    """The first frame in which two executions differ: its number, and kind and record of each; None if it has none."""

    number: int
    kinds: tuple[str | None, str | None]
    records: tuple[dict[str, Any] | None, dict[str, Any] | None]


class Pair(Shape, frozen=True, omit_defaults=True):
    """Two values that differ. `missing`: which of the two executions has no value, if one has none."""

    one: Any = None
    other: Any = None
    missing: Literal["", "one", "other"] = ""


class DifferenceInfo(Shape, frozen=True):
    """How two executions of a flow differ. The times of records are not compared."""

    ids: tuple[str, str]
    same: bool
    frames: tuple[int, int]
    parted: Parted | None
    status: tuple[StatusName, StatusName]
    result: Pair | None
    #: the outcomes of the runs of each chunk whose outcomes differ, in order; `Failed` where a run failed
    chunks: dict[str, tuple[list[Any], list[Any]]]
    #: the state keys whose values differ
    state: dict[str, Pair]
    #: the number of the first stream item that differs, and both items
    stream: tuple[int, Pair] | None
    items: tuple[int, int]


class ChangesInfo(Shape, frozen=True):
    """The executions that have changed since a cursor, by id; an id may come twice. With `resync` some may be missing:
    read anew all that you show."""

    cursor: str
    executions: list[str]
    resync: bool = False
