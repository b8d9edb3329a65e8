"""`History`: list, read, compare, fork, compact, prune, export and load the durable executions of one flow."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ..._core import events
from ..._core.state import UNSET
from ...build.arguments import whole
from ...run.execution import Execution
from ...run.flow_runtime import FlowRuntime
from ...run.options import Options
from ...run.portal import sync_iterator, sync_method
from ...stores.protocol import ExecutionRow, StatusName, Store
from ...stores.searching import checked_statuses
from ..format.reader import ExecutionReader
from ..format.text import line
from ..schedules.ticks import in_seconds
from .archive import LIMIT, Target, export, load_archive
from .copying import renamed
from .diff import Difference, difference
from .following import StoreReader
from .fork import fork_of
from .listing import put_copies
from .retention import Compacted, Pruned, compact, prune
from .view import StateView, view


class History:
    """The executions of one flow in one store. Made by `flow.history(store)`.

    It can read executions while they run, in this process or another one, and does not disturb them. Ids are those of
    executions or of their sub-flows; times are seconds since the epoch. Every method raises `UnknownExecution` for an
    id that is not in the store, `UsageError` for an execution of another flow, and `StoreError` if the store fails.
    """

    def __init__(self, flow: FlowRuntime, store: Store) -> None:
        flow.require_name()
        self._flow = flow
        self._reader = ExecutionReader(flow.program(), store, flow.environment.now)

    @property
    def sync(self) -> "SyncHistory":
        """The same methods for scripts, without `await`."""
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
        """List executions of this flow, the newest first, without sub-flows.

        `status` is one status or several. `since` and `until` (not included) limit the time of creation; each is a
        datetime with a time zone, or seconds since the epoch. A page has up to `limit` rows; for the next page, pass
        the id of the last row as `after`. Raises `UnknownExecution` if there is no execution `after`, and
        `OptionError` for a datetime without a time zone, anything else that is no time, and an unknown status.
        """
        return await self._reader.store.executions(
            flow=self._reader.program.name,
            status=checked_statuses(status),
            since=_seconds(since, "since"),
            until=_seconds(until, "until"),
            limit=whole(limit, "history.executions()", "limit", 1),
            after=after,
        )

    async def journal(self, id: str, *, first: int = 0) -> AsyncIterator[tuple[int, events.Record]]:
        """Read the records as (number, record), from number `first` on. Trimmed records are skipped."""
        row = await self._reader.row(id)
        async for found in self._reader.journal(row, first, row.records):
            yield found

    async def lines(self, id: str, *, first: int = 0) -> AsyncIterator[str]:
        """Read the journal as text, one line for each record from number `first` on.

        A line has the number, the seconds since the first line, the chunk and its run, and what happened.
        """
        row = await self._reader.row(id)
        since: float | None = None
        earliest = await self._reader.earliest(row)
        # Before the earliest state, only stream items are left: a compaction does not delete them.
        async for number, record in self._reader.journal(row, first, earliest):
            since = record.at if since is None else since
            yield line(number, record, "", since)
        async for step in self._reader.steps(row, first):
            since = step.record.at if since is None else since
            yield line(step.number, step.record, step.chunk, since)

    async def state_at(self, id: str, records: int | None = None) -> StateView:
        """Return the state of the execution after its first `records` records (default: after all of them).

        Raises `RecordsTrimmed` if a compaction has deleted what that state needs, and `UsageError` if the execution
        has fewer records.
        """
        row = await self._reader.row(id)
        return view(id, row.flow, await self._reader.restore(row, row.records if records is None else records))

    def stream(
        self,
        id: str,
        *,
        after: int = 0,
        follow: bool = True,
        compact: bool = False,
        timeout: float | None = None,
        poll: float | None = None,
    ) -> StoreReader:
        """Return an async iterator over the items of the runtime stream. The execution may run in any process.

        It begins after item number `after`. It ends when the stream was stopped or the execution has ended, and raises
        the error of a failed execution. With `follow=False` it ends after the items that are in the store. With
        `compact=True`, consecutive items that are already in the store are merged if they differ in their text only;
        see `run.stream`. It raises `TimeoutError` if no item comes for `timeout` seconds (default: no limit), and
        `UsageError` for a negative `after` or a `poll` that is not positive.

        The store tells when there are new items, and readers of one execution share what they read. So they must not
        change the items. `poll`, in seconds, was the pause between two queries; it has no meaning any more.
        """
        return StoreReader(self._reader, id, after=after, follow=follow, compact=compact, timeout=timeout, poll=poll)

    async def diff(self, one: str, other: str) -> Difference:
        """Compare two executions: their first different record, and their chunks, state, stream and result.

        Print the result to read it as text.
        """
        return await difference(self._reader, await self._reader.row(one), await self._reader.row(other))

    # -- forking -----------------------------------------------------------------------------------------------------

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
        """Make a new execution from the first `at` records of execution `id`, which does not change.

        `value` replaces the value in the last of these records: the start value, the result of a chunk, the value of a
        signal, or an answer. `state` sets keys of the state; chunks that listen to these keys are not started. Running
        sub-flows are forked, too. This store becomes the owner of the fork. The fork continues when it is used for the
        first time.

        Raises `UsageError` if the execution has ended after these records, or the last record has no value to replace;
        `RecordsTrimmed`, `PayloadError`, `ContractError`; and `StoreConflict` if `new_id` exists.
        """
        reader = self._reader
        copies = await fork_of(reader, await reader.row(id), at, state or {}, value)
        name = self._flow.environment.new_id() if new_id is None else new_id
        await put_copies(reader, renamed(copies, name))
        runtime = self._flow.stored(reader.store, Options(), name, resources=runtime_resources, must_exist=True)
        return self._flow.make_handle(runtime)

    # -- retention, files --------------------------------------------------------------------------------------------

    async def compact(self, id: str) -> Compacted:
        """Store a snapshot of the newest state and delete the records before it, also for the sub-flows.

        Stream items are not deleted. The execution can continue, and be read from the snapshot on; earlier states can
        not be read any more. Raises `ExecutionLeased` while another owner runs it.
        """
        return await compact(self._reader, await self._reader.row(id))

    async def prune(
        self, *, older_than: float | timedelta | None = None, keep: int | None = None, shrink: bool = False
    ) -> Pruned:
        """Delete executions that have ended, with their sub-flows.

        `older_than` (seconds, or a timedelta) selects those whose last record is older; `keep` selects all but the
        newest `keep` of them; with both arguments, an execution must be selected by both. An execution that has not
        ended, or has a sub-flow that has not ended, is never deleted. With `shrink`, the store then gives the space
        back to the system (`Store.shrink`); otherwise it uses it again. Raises `UsageError` without `older_than` and
        `keep`, or if `keep` is negative.
        """
        return await prune(self._reader, older_than, keep, shrink)

    async def export(self, id: str, target: Target, *, limit: int = LIMIT) -> int:
        """Write the execution with its sub-flows to a .jsonl file, and return the number of records.

        `target` is a path or an open binary file. A file at a path is replaced as a whole, or not at all. If the
        execution is running, its present state is written. `load` takes every file that is written, with the same
        `limit`. Raises `UsageError` for a sub-flow, and if the file would exceed a limit of `load`; `RecordsTrimmed`,
        and `OSError` if the file cannot be written.
        """
        return await export(self._reader, await self._reader.row(id), target, limit)

    async def load(self, source: Target, *, id: str | None = None, limit: int = LIMIT) -> ExecutionRow:
        """Load a file that `export` has written into the store, whole or not at all, and return the row.

        The execution gets its own id, or `id`. The file may come from an untrusted source: it cannot run code, and is
        checked and replayed before the store changes. A thread does that; it calls the constructors of registered
        classes.

        Raises `SnapshotError` if the file is larger than `limit` bytes (default: 256 MiB), if a value in it has more
        parts than a file of its size can have (2,000,000 at least, more with a larger `limit`), or if it is damaged,
        forged, of another flow, or has types that are not registered; `StoreConflict` if the id exists; `OSError` if
        the file cannot be read. Continue the execution with `flow.async_resume(id)`.
        """
        return await load_archive(self._reader, source, id, limit)


class SyncHistory:
    """`History` for a script that has opened its store with a plain `with`: `flow.history(store).sync`.

    Each method does what the method of the same name in `History` does. Raises `BlockingCallError` inside a running
    event loop.
    """

    def __init__(self, history: History) -> None:
        #: the async methods that this object calls
        self.history = history

    executions = sync_method(History.executions, "history")
    journal = sync_iterator(History.journal, "history")
    lines = sync_iterator(History.lines, "history")
    state_at = sync_method(History.state_at, "history")
    stream = sync_iterator(History.stream, "history")
    diff = sync_method(History.diff, "history")
    fork = sync_method(History.fork, "history")
    compact = sync_method(History.compact, "history")
    prune = sync_method(History.prune, "history")
    export = sync_method(History.export, "history")
    load = sync_method(History.load, "history")


def _seconds(moment: float | datetime | None, name: str) -> float | None:
    return None if moment is None else in_seconds(moment, "history.executions()", name)
