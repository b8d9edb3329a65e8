"""`Backend`: the interface on which servers, command lines, clients and pages stand.

Everything that such a program shows and does goes through it, so that each works on whatever keeps the executions: a
store (`StoreBackend`), a server somewhere else, another engine. All arguments and results are JSON-shaped (`shapes`).

Errors are exceptions of `triggerflow.errors`, and `UnknownFlow` and `BadRequest` of this package. `error_info` makes
data of them, with a stable code. Every method that takes an id raises `UnknownExecution` for one that does not exist;
every method raises `StoreError` if the store cannot be read or written.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Literal, Protocol

from .._core.state import UNSET, StatusName
from .shapes import (
    AnyAction,
    ChangesInfo,
    Contract,
    DifferenceInfo,
    Done,
    Drawing,
    ExecutionInfo,
    ExecutionPage,
    FlowInfo,
    Frame,
    Item,
    QuestionPage,
    ResultInfo,
    Reuse,
    StateInfo,
)

#: The largest page of executions or questions, and the longest wait for a result or a change, in seconds.
MAX_PAGE, MAX_WAIT = 1000, 300.0
#: How many seconds an action waits for whoever runs the execution, by default.
ACTION_WAIT = 30.0


class Backend(Protocol):
    """Lists, shows and changes executions, whoever runs them. Reading disturbs no execution and needs no code."""

    # -- flows -------------------------------------------------------------------------------------------------------

    async def flows(self) -> list[FlowInfo]:
        """The flows whose code is here or that have executions, by name."""
        ...

    async def contract(self, flow: str, *, definition: str | None = None) -> Contract:
        """What a flow takes and gives, as JSON Schema; with a fingerprint, the signals are those of that definition of
        it, as in `drawing`. Raises `UnknownFlow`."""
        ...

    async def drawing(
        self, flow: str, *, definition: str | None = None, mode: Literal["simplified", "detailed"] = "simplified"
    ) -> Drawing:
        """The graph of a flow; with a fingerprint (`ExecutionInfo.definition`), of that definition of it, which never
        changes. A flow whose code is not here and that ran only as a sub-flow needs a fingerprint. Raises
        `UnknownFlow`, also for a fingerprint that the store lacks."""
        ...

    # -- lists -------------------------------------------------------------------------------------------------------

    async def executions(
        self,
        *,
        flow: str | None = None,
        status: StatusName | Collection[StatusName] | None = None,
        since: float | None = None,
        until: float | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        text: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> ExecutionPage:
        """A page of up to `limit` (at most `MAX_PAGE`) executions, the newest first.

        `since` and `until` (not included) limit the time of creation. Without `parent` sub-flows are left out; with it,
        only those of that execution are listed. With `labels` an execution needs all of them; with `text` its id or a
        label begins with it, or a word of its error does. `after` is `next` of the page before: no execution comes
        twice, whatever is created meanwhile. Raises `BadRequest`.
        """
        ...

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """How many executions each flow has in each status, without sub-flows."""
        ...

    async def questions(
        self, *, flow: str | None = None, execution: str | None = None, after: str | None = None, limit: int = 100
    ) -> QuestionPage:
        """The open questions, the oldest first: of all flows, of one flow (its sub-flows included), or of one execution
        and its sub-flows."""
        ...

    async def changes(self, after: str | None = None, *, wait: float = MAX_WAIT) -> ChangesInfo:
        """Wait until an execution has changed since a cursor, at most `wait` seconds, and tell which. Without a cursor:
        the present one at once."""
        ...

    # -- one execution -----------------------------------------------------------------------------------------------

    async def get(self, id: str) -> ExecutionInfo:
        """One execution as `executions` shows it."""
        ...

    def frames(self, id: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[Frame]:
        """The frames after number `after`, in order and without a gap; with `follow`, also each new one, until the
        execution has ended. It may run in any process, and change its owner. Raises `BadRequest` if there are fewer
        than `after`."""
        ...

    def stream(self, id: str, *, after: int = 0, follow: bool = False, compact: bool = False) -> AsyncIterator[Item]:
        """The items of the runtime stream after number `after`; with `follow`, also each new one, until the stream or
        the execution has ended. With `compact` items are merged that differ only in a text. A failure of the
        execution is not raised."""
        ...

    async def state_at(self, id: str, moment: int | None = None) -> StateInfo:
        """The execution as it was at a moment (default: now). Raises `RecordsTrimmed`, and `BadRequest` for a moment
        that has not come."""
        ...

    async def result(self, id: str, *, wait: float = 0.0) -> ResultInfo:
        """The result; if the execution has not ended, after up to `wait` seconds (at most `MAX_WAIT`)."""
        ...

    async def diff(self, one: str, other: str) -> DifferenceInfo:
        """Compare two executions of a flow. Raises `BadRequest` for two flows."""
        ...

    def export(self, id: str) -> AsyncIterator[bytes]:
        """The execution with its sub-flows as a file (.jsonl) that `History.load` reads, in pieces."""
        ...

    # -- changes -----------------------------------------------------------------------------------------------------

    async def start(
        self,
        flow: str,
        value: Any = None,
        *,
        id: str | None = None,
        reuse: Reuse = "reject",
        labels: Mapping[str, str] | None = None,
        delay: float | None = None,
    ) -> ExecutionInfo:
        """Create an execution and start it, at once or after `delay` seconds. Returns when the start is in the store.

        With an `id` that exists, `reuse` decides: "reject" raises `ExecutionExists`, "existing" returns it as it is,
        and "new_after_end" starts a new one under the id `id.2`, `id.3` ... if the newest has ended. Raises
        `UnknownFlow`, `ContractError`, `PayloadError`, `DefinitionError` and `BadRequest`.
        """
        ...

    async def act(self, id: str, action: AnyAction, *, request: str | None = None, wait: float = ACTION_WAIT) -> Done:
        """Do something to an execution, whoever runs it, and return when it is in the store.

        A second call with the same `request` does nothing and returns what the first one has: give one to each intent
        of a person, and a call that broke off can be repeated. Raises what the method of the handle raises
        (`ExecutionClosed`, `UnknownInterrupt`, `AlreadyAnswered`, `ContractError` ...), and `TimeoutError` if nobody
        replies for `wait` seconds, which says whether it was surely not done. A retry needs the code of the flow here.
        """
        ...

    async def fork(
        self,
        id: str,
        *,
        at: int,
        new_id: str | None = None,
        state: Mapping[str, Any] | None = None,
        value: Any = UNSET,
    ) -> ExecutionInfo:
        """Make a new execution out of the first `at` frames of another one; see `History.fork`. It is run like one that
        was started here. Raises `UnknownFlow` without its code."""
        ...
