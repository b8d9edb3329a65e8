"""What a store knows of a flow's executions: list them, read them, go back in them, compare, and put them in order."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from .._core import events
from .._core.state import UNSET
from ..run.execution import Execution
from ..run.flow_runtime import FlowRuntime
from ..run.options import Options
from ..run.portal import iterate_sync, run_sync
from ..stores.protocol import ExecutionRow, StatusName, Store
from .archive import Target, export, load_archive
from .copying import renamed
from .diff import Difference, difference
from .following import StoreReader
from .fork import fork_of
from .reader import ExecutionReader
from .retention import Compacted, Pruned, compact, prune
from .text import line
from .view import StateView, view

P = ParamSpec("P")
T = TypeVar("T")

#: The largest file that is read as an execution, in bytes.
LIMIT = 256 * 1024 * 1024


class History:
    """The executions of one flow in one store. Made by `flow.history(store)`.

    Reading disturbs nobody: executions may be run meanwhile, by this process or another one. Every method raises
    `UnknownExecution` for an id that is not in the store, `UsageError` for one of another flow, and `StoreError`.
    """

    def __init__(self, flow: FlowRuntime, store: Store) -> None:
        flow.require_name()
        self._flow = flow
        self._past = ExecutionReader(flow.program(), store, flow.environment.now)

    @property
    def sync(self) -> "SyncHistory":
        """The same for scripts."""
        return SyncHistory(self)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def executions(
        self,
        *,
        status: StatusName | Iterable[StatusName] | None = None,
        since: float | datetime | None = None,
        until: float | datetime | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[ExecutionRow]:
        """Executions of this flow, the newest first; sub-flows are not among them.

        `since` and `until` (not included) bound when they were created: seconds since the epoch, or a datetime. A page
        has `limit` rows; the next one begins `after` the id of the last.
        """
        return await self._past.store.executions(
            flow=self._past.program.name,
            status=(status,) if isinstance(status, str) else status,
            since=_seconds(since),
            until=_seconds(until),
            limit=limit,
            after=after,
        )

    async def journal(self, id: str, *, first: int = 0) -> AsyncIterator[tuple[int, events.Record]]:
        """The records with their numbers, as far as they are held, from number `first` on."""
        row = await self._past.row(id)
        async for found in self._past.journal(row, first, row.records):
            yield found

    async def lines(self, id: str, *, first: int = 0) -> AsyncIterator[str]:
        """The journal for a person: number, seconds since the first record, chunk and run, what happened."""
        row = await self._past.row(id)
        since: float | None = None
        earliest = await self._past.earliest(row)
        async for number, record in self._past.journal(row, first, earliest):  # items that a compaction has left
            since = record.at if since is None else since
            yield line(number, record, "", since)
        async for step in self._past.steps(row, first):
            since = step.record.at if since is None else since
            yield line(step.number, step.record, step.chunk, since)

    async def state_at(self, id: str, records: int | None = None) -> StateView:
        """How the execution stood after its first `records` records, by default after all.

        Raises `RecordsTrimmed` if a compaction has forgotten what that would take.
        """
        row = await self._past.row(id)
        return view(id, row.flow, await self._past.loaded(row, row.records if records is None else records))

    def stream(
        self,
        id: str,
        *,
        after: int = 0,
        follow: bool = True,
        compact: bool = False,
        timeout: float | None = None,
        poll: float = 0.25,
    ) -> StoreReader:
        """An async iterator over the runtime stream, whoever runs the execution.

        It begins after item number `after`, goes on with new items as they reach the store (looking every `poll`
        seconds at most) and ends as a reader of the execution does; without `follow` it ends with what is there. With
        `compact` what is there comes merged; see `run.stream`. `timeout`: the longest gap between two items in seconds.
        """
        return StoreReader(self._past, id, after=after, follow=follow, compact=compact, timeout=timeout, poll=poll)

    async def diff(self, one: str, other: str) -> Difference:
        """Where two executions part, and how they differ by chunk, state, stream and result; print it."""
        return await difference(self._past, await self._past.row(one), await self._past.row(other))

    # -- going back --------------------------------------------------------------------------------------------------

    async def fork(
        self,
        id: str,
        *,
        at: int,
        new_id: str | None = None,
        state: Mapping[str, Any] | None = None,
        value: Any = UNSET,
        runtime_resources: Mapping[str, Any] | None = None,
    ) -> Execution:
        """A new execution that begins as this one was after its first `at` records; the old one stays as it is.

        `value` takes the place of the value in the last of these records: the start value, the result of a chunk, the
        value of a signal, an answer. `state` sets keys of the state; nothing that listens to them is started. Sub-flows
        that were running come with it. The fork is this store's owner's, and goes on with its first use.

        Raises `UsageError` where it makes no sense (the execution has ended there, that record has no value),
        `RecordsTrimmed`, `PayloadError`, `ContractError`, and `StoreConflict` if `new_id` exists.
        """
        past = self._past
        copies = await fork_of(past, await past.row(id), at, state or {}, value)
        name = self._flow.environment.new_id() if new_id is None else new_id
        await past.store.put_copies(renamed(copies, name))
        runtime = self._flow.stored(past.store, Options(), name, resources=runtime_resources, must_exist=True)
        return self._flow.make_handle(runtime)

    # -- keeping house -----------------------------------------------------------------------------------------------

    async def compact(self, id: str) -> Compacted:
        """Put a snapshot at its end and forget the records before it; stream items stay. Its sub-flows likewise.

        It can go on and be read from there; what it was before cannot be told any more. Raises `ExecutionLeased` while
        another process runs it.
        """
        return await compact(self._past, await self._past.row(id))

    async def prune(self, *, older_than: float | timedelta | None = None, keep: int | None = None) -> Pruned:
        """Forget executions that have ended, with their sub-flows.

        Those whose last record is `older_than` so many seconds, those beyond the newest `keep`; with both, those that
        are both. One that has not ended, or has a sub-flow that has not, is never touched.
        """
        return await prune(self._past, older_than, keep)

    async def export(self, id: str, target: Target) -> int:
        """Write the execution with its sub-flows to a .jsonl file, a path or an open binary file; how many records.

        A path gets the whole file or stays as it was. The execution may be running: it is written as it stands now.
        """
        return await export(self._past, await self._past.row(id), target)

    async def load(self, source: Target, *, id: str | None = None, limit: int = LIMIT) -> ExecutionRow:
        """Read a file that `export` has written into the store, whole or not at all, under its own id or another one.

        The file may come from anywhere: it cannot run code. Raises `SnapshotError` for one that is larger than `limit`
        bytes, damaged, made up, of another flow, or holds types that are not registered; `StoreConflict` if the id
        exists. If it has not ended, it goes on with `flow.async_resume(id)`.
        """
        return await load_archive(self._past, source, id, limit)


def _waiting(
    method: Callable[Concatenate[History, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncHistory", P], T]:
    """The sync twin of a coroutine method."""

    @wraps(method)
    def call(self: "SyncHistory", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_sync(lambda: method(self.history, *args, **kwargs), method.__name__)

    return call


def _iterating(
    method: Callable[Concatenate[History, P], AsyncIterator[T]],
) -> Callable[Concatenate["SyncHistory", P], Iterator[T]]:
    """The sync twin of a method that gives an async iterator."""

    @wraps(method)
    def call(self: "SyncHistory", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return iterate_sync(lambda: method(self.history, *args, **kwargs), method.__name__)

    return call


class SyncHistory:
    """`History` in a script, which has opened the store with a plain `with`: `flow.history(store).sync`.

    Each method is the twin of the one of that name. Raises `BlockingCallError` inside a running loop.
    """

    def __init__(self, history: History) -> None:
        #: whose twin it is
        self.history = history

    executions = _waiting(History.executions)
    journal = _iterating(History.journal)
    lines = _iterating(History.lines)
    state_at = _waiting(History.state_at)
    stream = _iterating(History.stream)
    diff = _waiting(History.diff)
    fork = _waiting(History.fork)
    compact = _waiting(History.compact)
    prune = _waiting(History.prune)
    export = _waiting(History.export)
    load = _waiting(History.load)


def _seconds(moment: float | datetime | None) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else moment
