"""`Backend`: the interface that servers, command lines, clients and pages use.

All that such a program shows and does goes through it, so that it works with anything that keeps executions: a store
(`StoreBackend`), a server (`triggerflow.client`), another engine. All arguments and results are JSON-shaped (`shapes`).

Errors are exceptions of `triggerflow.errors`, and `UnknownFlow` and `BadRequest` of this package. `error_info` turns
them into data with a stable code. Every method that takes an id raises `UnknownExecution` for one that does not exist;
every method raises `StoreError` if the store cannot be read or written. Times are seconds since the epoch.
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

#: The largest page of executions or questions, and the longest `wait` of a method, in seconds.
MAX_PAGE, MAX_WAIT = 1000, 300.0
#: How many seconds an action waits for the process that runs the execution, by default.
ACTION_WAIT = 30.0


class Backend(Protocol):
    """Lists, shows and changes executions, whichever process runs them. Reading needs no code of their flows, and does
    not disturb them."""

    # -- flows -------------------------------------------------------------------------------------------------------

    async def flows(self) -> list[FlowInfo]:
        """The flows whose code this backend has or that have executions, sorted by name."""
        ...

    async def contract(self, flow: str, *, definition: str | None = None) -> Contract:
        """The types of a flow's start value, result, items, signals and state, as JSON Schema. `definition`: see
        `drawing`; only the list of signals depends on it. Raises `UnknownFlow`."""
        ...

    async def drawing(
        self, flow: str, *, definition: str | None = None, mode: Literal["simplified", "detailed"] = "simplified"
    ) -> Drawing:
        """The graph of a flow. `definition`: the fingerprint of one of its definitions (`ExecutionInfo.definition`),
        whose drawing never changes; by default that of the code, or else of the newest execution. It is needed for a
        flow without code here that ran only as a sub-flow. Raises `UnknownFlow`, also for an unknown fingerprint."""
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

        `since` (included) and `until` (not included) bound the time of creation. Without `parent` sub-flows are left
        out; with it, only the sub-flows of that execution are listed. An execution is listed if it has all `labels`,
        and if its id, one of its labels, or a word of its error begins with `text`. `after` is `next` of the page
        before; executions that are created meanwhile cause no duplicates. Raises `BadRequest`.
        """
        ...

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """The number of executions by flow and status, without sub-flows, created from `since` to before `until`."""
        ...

    async def questions(
        self, *, flow: str | None = None, execution: str | None = None, after: str | None = None, limit: int = 100
    ) -> QuestionPage:
        """A page of up to `limit` open questions, the oldest first: of all flows, of one flow with its sub-flows, or of
        one execution with its sub-flows. `after` is `next` of the page before. Raises `BadRequest`."""
        ...

    async def changes(self, after: str | None = None, *, wait: float = MAX_WAIT) -> ChangesInfo:
        """Wait until an execution has changed since the cursor `after`, for at most `wait` seconds, and return the ids
        with the next cursor. Without `after`: return the present cursor at once."""
        ...

    # -- one execution -----------------------------------------------------------------------------------------------

    async def get(self, id: str) -> ExecutionInfo:
        """One execution as `executions` shows it."""
        ...

    def frames(self, id: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[Frame]:
        """The frames after number `after`, in order and without gaps; with `follow`, also each new one until the
        execution has ended, whichever processes run it. Raises `BadRequest` if there are fewer than `after`."""
        ...

    def stream(self, id: str, *, after: int = 0, follow: bool = False, compact: bool = False) -> AsyncIterator[Item]:
        """The items of the runtime stream after number `after`; with `follow`, also each new one until the stream or
        the execution has ended. With `compact`, consecutive items that differ only in a text are merged. A failure of
        the execution is not raised."""
        ...

    async def state_at(self, id: str, moment: int | None = None) -> StateInfo:
        """The state of an execution at a moment (default: the newest). Raises `RecordsTrimmed` if its records were
        deleted, and `BadRequest` for a moment that does not exist yet."""
        ...

    async def result(self, id: str, *, wait: float = 0.0) -> ResultInfo:
        """The result. Waits up to `wait` seconds (at most `MAX_WAIT`) for the end of the execution; without an end,
        `ended` of the result is False."""
        ...

    async def diff(self, one: str, other: str) -> DifferenceInfo:
        """Compare two executions of a flow. Raises `BadRequest` if they are of different flows."""
        ...

    def export(self, id: str) -> AsyncIterator[bytes]:
        """The execution with its sub-flows as the bytes of a file (.jsonl) that `History.load` reads, in pieces."""
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
        """Have the process that runs an execution perform an action, and return when the change is in the store.

        `request` is an id for the action: a second call with the same id changes nothing and returns the outcome of the
        first one, so that a call whose answer was lost can be repeated. Raises the errors of the method of the handle
        (`ExecutionClosed`, `UnknownInterrupt`, `AlreadyAnswered`, `ContractError` ...), and `TimeoutError` if no
        process replies within `wait` seconds (at most `MAX_WAIT`); its message says whether the action may still be
        performed. `Retry` needs the code of the flow here.
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
        """Make a new execution, which a worker runs, out of the first `at` frames of another one; see `History.fork`.
        Raises `UnknownFlow` if this backend does not have the code of the flow."""
        ...
