"""A store in memory: for tests, and for durable executions that need not outlive their process."""

import asyncio
import secrets
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

import msgspec

from .._core.errors import ExecutionLeased, StoreConflict, StoreDamaged, UnknownExecution
from ..run.environment import machine_time
from .lifecycle import Lifecycle, OpenedInScripts
from .memory_shared import SharedTables
from .protocol import (
    FINAL_STATUSES,
    REPLY_KEPT,
    RETRIABLE_STATUSES,
    Append,
    ChangeKind,
    Changes,
    ExecutionCopy,
    ExecutionRow,
    NewRecord,
    Question,
    Request,
    ScheduleRow,
    SharedChange,
    SharedLog,
    StatusName,
    changed_meanwhile,
    not_retriable,
    payload_digest,
)
from .searching import checked_statuses, matches
from .thinning import superseded

_FIRST = itemgetter(0)

#: How many ids one call of `wait_changes` returns, of executions and of requests.
_CHANGES = 1000

#: How many changes of executions and requests that are not in the store any more are kept.
_GONE = 10_000


class _Entry(msgspec.Struct):
    """One execution. Its row is what the last write has left: readers need `MemoryStore._row`, which adds what changes
    without a write of the execution, and the number of questions."""

    row: ExecutionRow
    #: orders executions that were created at the same moment
    order: int
    records: list[tuple[int, NewRecord]] = []
    items: list[tuple[int, bytes]] = []
    snapshots: dict[int, tuple[int, str, bytes]] = {}
    payloads: set[str] = set()
    #: the open questions, by the id of the interrupt: since when it is open, and its data
    questions: dict[str, tuple[float, bytes]] = {}


class _Log:
    """The newest change of each execution, request and so on, by number."""

    def __init__(self) -> None:
        #: marks the cursors of this data
        self.name = secrets.token_hex(4)
        self.number = 0
        #: the changes up to this number may have been forgotten
        self.floor = 0
        #: by kind, name and writer, the oldest change first. The writer is "" unless it is the owner of the execution
        self._changes: dict[tuple[ChangeKind, str, str], int] = {}
        #: each with the owner whose own appends do not wake it; "" if all do
        self._waiters: dict[asyncio.Future[None], str] = {}

    def add(self, kind: ChangeKind, names: Iterable[str], writer: str = "") -> None:
        """Note that these have changed, and wake waiters. `writer` is the owner that has appended to them."""
        changes, before = self._changes, self.number
        for name in names:
            self.number += 1
            key = (kind, name, writer)
            changes.pop(key, None)
            changes[key] = self.number
        if self.number > before:
            self.wake(writer)

    def wake(self, writer: str = "") -> None:
        """Wake all waiters except those that the appends of this owner do not concern."""
        for future in [it for it, ignored in self._waiters.items() if not writer or ignored != writer]:
            del self._waiters[future]
            if not future.done():
                future.set_result(None)

    async def wait(self, ignored: str) -> None:
        """Wait for the next change that is no append of the `ignored` owner."""
        future = asyncio.get_running_loop().create_future()
        self._waiters[future] = ignored
        try:
            await future
        finally:
            self._waiters.pop(future, None)

    def shrink(self, limit: int) -> None:
        """Forget the oldest changes if there are more than `limit`."""
        for key in list(islice(self._changes, max(0, len(self._changes) - limit))):
            self.floor = self._changes.pop(key)

    def since(self, cursor: str | None, ignored: str) -> Changes | None:
        """What has changed after the cursor; None if nothing has. Appends of the `ignored` owner are left out."""
        after = self._number(cursor)
        if after is None:
            return Changes(cursor=self._cursor(self.number), resync=cursor is not None)
        found: list[tuple[int, tuple[ChangeKind, str]]] = []
        for (kind, name, writer), number in reversed(self._changes.items()):
            if number <= after:
                break
            if not ignored or writer != ignored:
                found.append((number, (kind, name)))
        if not found:
            return None
        found = found[-_CHANGES:]
        names: dict[str, Any] = {
            kind: tuple(dict.fromkeys(name for _, (each, name) in found if each == kind))
            for kind in {key[0] for _, key in found}
        }
        return Changes(cursor=self._cursor(found[0][0]), **names)

    def _cursor(self, number: int) -> str:
        return f"{self.name}.{number}"

    def _number(self, cursor: str | None) -> int | None:
        """The number in a cursor; None if it is no cursor of this data, or too old."""
        name, _, number = (cursor or "").partition(".")
        with suppress(ValueError):
            if name == self.name and self.floor <= int(number) <= self.number:
                return int(number)
        return None


class MemoryData:
    """The data that one or more `MemoryStore`s share, as `SQLiteStore`s share a file. Each store is an owner.

    Use it on one thread only.
    """

    def __init__(self) -> None:
        self.executions: dict[str, _Entry] = {}
        #: the ids of sub-flows, by the id of their parent
        self.children: dict[str, set[str]] = {}
        self.payloads: dict[str, bytes] = {}
        self.definitions: dict[str, bytes] = {}
        self.schedules: dict[str, ScheduleRow] = {}
        #: until when each owner counts as alive; infinity while its store is open
        self.owners: dict[str, float] = {}
        #: the requests without and with a reply, by id, in the order in which they were posted or got the reply
        self.inbox: dict[str, Request] = {}
        self.replied: dict[str, Request] = {}
        #: which owner has fetched an open request
        self.fetched: dict[str, str] = {}
        self.log = _Log()
        self.shared = SharedTables()
        #: how many stores were opened with this data, and how many executions were created
        self.opened = 0
        self.created = 0

    def add(self, entry: _Entry) -> None:
        """Add a new execution."""
        self.executions[entry.row.id] = entry
        if entry.row.parent is not None:
            self.children.setdefault(entry.row.parent, set()).add(entry.row.id)


class MemoryStore(OpenedInScripts):
    """A store in memory, over `data` (by default new, empty data). It is deterministic: the same calls, with a `clock`
    that returns the same times, have the same results.

    An open store needs no renewals to keep its owner alive. `lease` is how many seconds after a `crash` other owners
    have to wait until they can claim its executions. `clock` returns seconds since the epoch. See `Store` for the
    methods and the errors that they raise.
    """

    def __init__(
        self, data: MemoryData | None = None, *, lease: float = 30.0, clock: Callable[[], float] = machine_time
    ) -> None:
        self.data = MemoryData() if data is None else data
        self._lease = lease
        self._clock = clock
        self._lifecycle = Lifecycle("this MemoryStore")
        self._owner = ""

    def __repr__(self) -> str:
        return f"<MemoryStore {self._owner or 'not opened yet'}>"

    @property
    def owner(self) -> str:
        """The id under which this opened store claims executions: "memory-1" for the first one over its data."""
        self._lifecycle.check()
        return self._owner

    async def __aenter__(self) -> Self:
        """Open the store. From here on it has an owner id. Raises `UsageError` if it is open already."""
        self._lifecycle.open()
        self.data.opened += 1
        self._owner = f"memory-{self.data.opened}"
        self.data.owners[self._owner] = float("inf")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store: release all executions of this owner."""
        if not self._lifecycle.is_open:
            return
        kept = await self._lifecycle.stopped()
        if not self._lifecycle.is_open:  # it was closed a second time, or has crashed, meanwhile
            return
        self._lifecycle.close()
        owned = [it for it in self.data.executions.values() if it.row.owner == self._owner and it.row.id not in kept]
        if kept:
            self.data.owners[self._owner] = self._clock() + self._lease
            for entry in owned:
                entry.row = msgspec.structs.replace(entry.row, owner=None)
        else:
            self.data.owners.pop(self._owner, None)
        self.data.log.add("executions", [entry.row.id for entry in owned])
        self.data.log.wake()  # also who waits for changes of this store

    def crash(self) -> None:
        """Simulate the death of the process: close without a release. Other owners can claim its executions after the
        lease."""
        self._lifecycle.check()
        self._lifecycle.close()
        self.data.owners[self._owner] = self._clock() + self._lease
        self.data.log.wake()

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        """See `Store.append`."""
        self._begin()
        data = self.data
        rows: dict[str, ExecutionRow] = {}  # as they will be if all appends are accepted
        for add in appends:
            row = rows.get(add.execution)
            if add.create is not None:
                row = self._created(add, add.create, rows)
            elif row is None:
                row = self._required(add.execution, reopens=add.reopens).row
            elif row.status in FINAL_STATUSES:
                raise _ended_error(row)
            elif row.owner is None:
                raise self._not_owned(row)
            rows[add.execution] = _row_after(row, add, self._owner)
        requests: list[str] = []
        released: list[str] = []
        flows, of = set[str](), set[str]()
        for add in appends:
            if add.create is not None:
                data.created += 1
                data.add(_Entry(rows[add.execution], data.created))
            entry = data.executions[add.execution]
            _extend(entry, add)
            flow = entry.row.flow
            of.add(flow)
            if add.shared:
                flows.add(flow)
            if add.listens is not None or add.shared or data.shared.has(flow):
                data.shared.apply(flow, add)
            for digest, payload in add.payloads.items():
                data.payloads.setdefault(digest, bytes(payload))
            if add.replies or add.taken:
                requests += self._reply(add)
        for name, row in rows.items():
            data.executions[name].row = row
        for add in appends:
            if add.releases:
                released += self._free_tree(data.executions[add.execution])
        data.log.add("executions", rows, "" if any(add.releases for add in appends) else self._owner)
        data.log.add("executions", released)
        data.log.add("requests", requests)
        data.log.add("flows", flows)
        return {flow: number for flow in of if (number := data.shared.newest(flow))}

    def _reply(self, add: Append) -> Iterator[str]:
        """Mark and answer the requests of an append. The ids of those that have changed."""
        inbox = self.data.inbox
        for id in add.taken:
            if (found := inbox.get(id)) and found.execution == add.execution and not found.taken:
                inbox[id] = msgspec.structs.replace(found, taken=True)
                yield id
        for reply in add.replies:
            if (found := inbox.get(reply.request)) and found.execution == add.execution:
                del inbox[found.id]
                self.data.fetched.pop(found.id, None)
                self.data.replied[found.id] = msgspec.structs.replace(found, reply=reply)
                yield found.id

    def _created(self, add: Append, row: ExecutionRow, others: Collection[str]) -> ExecutionRow:
        if row.id != add.execution:
            raise ValueError(f"the append is for execution {add.execution!r}, but creates {row.id!r}")
        if row.id in self.data.executions or row.id in others:
            raise StoreConflict(f"execution {row.id!r} exists already")
        return msgspec.structs.replace(row, updated=add.at, records=0, items=0, questions=0)

    async def put_snapshot(self, execution: str, records: int, definition: str, data: bytes) -> None:
        """See `Store.put_snapshot`."""
        self._begin()
        entry = self.data.executions.get(execution)
        if entry is None or entry.row.status not in FINAL_STATUSES:
            entry = self._required(execution)
        elif (records, definition) != (entry.row.records, entry.row.definition):
            raise _ended_error(entry.row)
        if records > entry.row.records:
            raise StoreConflict(
                f"execution {execution!r} has {entry.row.records} records: there is no state after {records}"
            )
        entry.snapshots[records] = (records, definition, data)
        for number in superseded(sorted(it[:2] for it in entry.snapshots.values())):
            del entry.snapshots[number]
        if entry.row.definition != definition:
            entry.row = msgspec.structs.replace(entry.row, definition=definition)
            self.data.log.add("executions", [execution])

    async def put_copies(self, copies: Sequence[ExecutionCopy]) -> None:
        """See `Store.put_copies`."""
        self._begin()
        names: set[str] = set()
        for copy in copies:
            if copy.row.id in self.data.executions or copy.row.id in names:
                raise StoreConflict(f"execution {copy.row.id!r} exists already")
            names.add(copy.row.id)
        for copy in copies:
            self.data.created += 1
            row = copy.row
            entry = _Entry(
                msgspec.structs.replace(row, owner=None if row.status in FINAL_STATUSES else self._owner, questions=0),
                self.data.created,
                list(copy.records),
                [(record.item, record.data) for _, record in copy.records if record.item],
                {snapshot[0]: snapshot for snapshot in copy.snapshots},
                set(copy.payloads),
            )
            self.data.add(entry)
            if row.status not in FINAL_STATUSES:
                self.data.shared.listen(row.flow, row.id, copy.listens, None)
            for digest, data in copy.payloads.items():
                self.data.payloads.setdefault(digest, bytes(data))
        self.data.log.add("executions", names)

    async def put_definition(self, fingerprint: str, data: bytes) -> None:
        """See `Store.put_definition`."""
        self._begin()
        self.data.definitions.setdefault(fingerprint, data)

    # -- the inbox ---------------------------------------------------------------------------------------------------

    async def post(self, request: Request) -> Request:
        """See `Store.post`."""
        self._begin()
        data, now = self.data, self._clock()
        for old in list(data.replied.values()):
            if old.reply is None or old.reply.at >= now - REPLY_KEPT:
                break
            del data.replied[old.id]
            self._shrink_log()
        if known := data.inbox.get(request.id) or data.replied.get(request.id):
            return known
        if request.execution not in data.executions:
            raise UnknownExecution(f"there is no execution {request.execution!r} in the store")
        data.inbox[request.id] = request = msgspec.structs.replace(request, taken=False, reply=None)
        data.log.add("executions", [request.execution])
        data.log.add("requests", [request.id])
        return request

    async def requests(
        self, ids: Iterable[str] | None = None, *, limit: int = 100, without: Collection[str] = ()
    ) -> list[Request]:
        """See `Store.requests`."""
        self._lifecycle.check()
        data = self.data
        if ids is not None:
            return [found for id in ids if (found := data.inbox.get(id) or data.replied.get(id))]
        skipped = set(without)
        ours = (
            request
            for request in data.inbox.values()
            if request.id not in skipped and data.executions[request.execution].row.owner == self._owner
        )
        found = list(islice(ours, limit))
        if found:
            self._begin()
        data.fetched.update((request.id, self._owner) for request in found)
        return found

    async def withdraw(self, request: str) -> Request | None:
        """See `Store.withdraw`."""
        self._begin()
        data = self.data
        if (found := data.inbox.get(request)) is None:
            return data.replied.get(request)
        owner = data.executions[found.execution].row.owner
        if found.taken or (owner is not None and data.fetched.get(request) == owner):
            return found
        del data.inbox[request]
        data.fetched.pop(request, None)
        data.log.add("executions", [found.execution])
        data.log.add("requests", [request])
        self._shrink_log()
        return None

    async def wait_changes(
        self, cursor: str | None = None, *, timeout: float | None = None, own: bool = True
    ) -> Changes:
        """See `Store.wait_changes`."""
        log, found = self.data.log, None
        self._lifecycle.check()
        ignored = "" if own else self._owner
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (found := log.since(cursor, ignored)) is None:
                    await log.wait(ignored)
                    self._lifecycle.check()
        return found or Changes(cursor=cursor or "")

    # -- shared data -------------------------------------------------------------------------------------------------

    async def change_shared(self, flow: str, changes: Sequence[SharedChange]) -> int:
        """See `Store.change_shared`."""
        self._begin()
        number = self.data.shared.change(flow, changes)
        self.data.log.add("flows", [flow])
        return number

    async def shared(self, flow: str, *, after: int = 0, limit: int = 1000) -> SharedLog:
        """See `Store.shared`."""
        self._lifecycle.check()
        return self.data.shared.log(flow, after, limit)

    async def fold_shared(self, flow: str, values: Mapping[str, tuple[int, bytes | None]]) -> list[str]:
        """See `Store.fold_shared`."""
        self._begin()
        return self.data.shared.fold(flow, values)

    # -- schedules ---------------------------------------------------------------------------------------------------

    async def put_schedule(
        self, schedule: ScheduleRow, *, replaces: str | None = None, starts: Sequence[Append] = ()
    ) -> None:
        """See `Store.put_schedule`."""
        self._begin()
        before = self.data.schedules.get(schedule.id)
        if (None if before is None else before.version) != replaces:
            raise changed_meanwhile(schedule.id)
        await self.append(starts)  # it does not wait for anything, so that nobody comes in between
        self.data.schedules[schedule.id] = schedule
        self.data.log.add("schedules", [schedule.id])
        self._shrink_log()

    async def delete_schedule(self, schedule: str) -> bool:
        """See `Store.delete_schedule`."""
        self._begin()
        if self.data.schedules.pop(schedule, None) is None:
            return False
        self.data.log.add("schedules", [schedule])
        self._shrink_log()
        return True

    async def schedule(self, schedule: str) -> ScheduleRow | None:
        """See `Store.schedule`."""
        self._lifecycle.check()
        return self.data.schedules.get(schedule)

    async def schedules(
        self, *, flow: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """See `Store.schedules`."""
        self._lifecycle.check()
        found = [
            row
            for row in self.data.schedules.values()
            if (flow is None or row.flow == flow) and (after is None or row.id > after)
        ]
        return sorted(found, key=lambda row: row.id)[:limit]

    async def next_schedules(
        self, flows: Iterable[str], *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """See `Store.next_schedules`."""
        self._lifecycle.check()
        wanted = set(flows)
        found = [
            (row.due, row.id)
            for row in self.data.schedules.values()
            if row.due is not None and row.flow in wanted and (after is None or (row.due, row.id) > after)
        ]
        return [self.data.schedules[id] for _, id in sorted(found)[:limit]]

    # -- reading -----------------------------------------------------------------------------------------------------

    async def find(self, execution: str) -> ExecutionRow | None:
        """See `Store.find`."""
        self._lifecycle.check()
        entry = self.data.executions.get(execution)
        return entry and self._row(entry)

    async def executions(
        self,
        *,
        flow: str | None = None,
        status: Iterable[StatusName] | None = None,
        since: float | None = None,
        until: float | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        text: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[ExecutionRow]:
        """See `Store.executions`."""
        self._lifecycle.check()
        statuses = checked_statuses(status)
        wanted = set((labels or {}).items())
        last = None
        if after is not None:
            if after not in self.data.executions:
                raise UnknownExecution(f"there is no execution {after!r} to list after (after=...); was it deleted?")
            last = _age(self.data.executions[after])
        found = [
            entry
            for entry in self.data.executions.values()
            if entry.row.parent == parent
            and (flow is None or entry.row.flow == flow)
            and (statuses is None or entry.row.status in statuses)
            and (since is None or entry.row.created >= since)
            and (until is None or entry.row.created < until)
            and (last is None or _age(entry) < last)
            and wanted <= entry.row.labels.items()
            and (not text or matches(entry.row, text))
        ]
        return [self._row(entry) for entry in sorted(found, key=_age, reverse=True)[:limit]]

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """See `Store.counts`."""
        self._lifecycle.check()
        rows = (entry.row for entry in self.data.executions.values() if entry.row.parent is None)
        found: dict[str, Counter[StatusName]] = {}
        for row in rows:
            if (since is None or row.created >= since) and (until is None or row.created < until):
                found.setdefault(row.flow, Counter())[row.status] += 1
        return {flow: dict(count) for flow, count in found.items()}

    async def questions(
        self,
        *,
        flow: str | None = None,
        execution: str | None = None,
        after: Question | None = None,
        limit: int = 100,
    ) -> list[Question]:
        """See `Store.questions`."""
        self._lifecycle.check()
        data = self.data.executions
        if execution is None:
            entries = list(data.values())
        else:
            entries = list(self._tree(data[execution])) if execution in data else []
        found: list[Question] = []
        for entry in entries:
            if entry.questions:
                root = self._root(entry).row
                for id, (since, asked) in entry.questions.items():
                    found.append(
                        Question(execution=entry.row.id, root=root.id, flow=root.flow, id=id, since=since, data=asked)
                    )
        rest = (it for it in found if flow in (None, it.flow) and (after is None or _order(it) > _order(after)))
        return sorted(rest, key=_order)[:limit]

    async def records(self, execution: str, *, first: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """See `Store.records`."""
        self._lifecycle.check()
        if not (entry := self.data.executions.get(execution)):
            return []
        start = bisect_left(entry.records, first, key=_FIRST)
        return [(number, record.data) for number, record in entry.records[start : start + limit]]

    async def items(self, execution: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """See `Store.items`."""
        self._lifecycle.check()
        if not (entry := self.data.executions.get(execution)):
            return []
        start = bisect_left(entry.items, after + 1, key=_FIRST)
        return entry.items[start : start + limit]

    async def payloads(self, digests: Iterable[str]) -> dict[str, bytes]:
        """See `Store.payloads`."""
        self._lifecycle.check()
        found: dict[str, bytes] = {}
        for digest in digests:
            if digest not in self.data.payloads:
                raise StoreDamaged(f"the payload {digest} is missing; was the execution that refers to it deleted?")
            found[digest] = self.data.payloads[digest]
            if payload_digest(found[digest]) != digest:
                raise StoreDamaged(f"the payload {digest} does not match its digest")
        return found

    async def snapshot(self, execution: str, *, records: int | None = None) -> tuple[int, str, bytes] | None:
        """See `Store.snapshot`."""
        self._lifecycle.check()
        if not (entry := self.data.executions.get(execution)):
            return None
        numbers = [number for number in entry.snapshots if records is None or number <= records]
        return entry.snapshots[max(numbers)] if numbers else None

    async def definition(self, fingerprint: str) -> bytes | None:
        """See `Store.definition`."""
        self._lifecycle.check()
        return self.data.definitions.get(fingerprint)

    # -- ownership ---------------------------------------------------------------------------------------------------

    async def claim(self, execution: str) -> ExecutionRow:
        """See `Store.claim`."""
        self._begin()
        self._purge()
        if not (entry := self.data.executions.get(execution)):
            raise UnknownExecution(f"there is no execution {execution!r} in the store")
        if entry.row.owner in self.data.owners and entry.row.owner != self._owner:
            raise ExecutionLeased(f"execution {execution!r} is run by owner {entry.row.owner} now")
        return self._take(entry)

    async def claim_work(
        self, flows: Iterable[str], *, limit: int = 100, without: Collection[str] = ()
    ) -> list[ExecutionRow]:
        """See `Store.claim_work`."""
        self._begin()
        self._purge()
        now, executions = self._clock(), self.data.executions
        asked = {self._root(executions[request.execution]).row.id for request in self.data.inbox.values()}
        behind = {id for flow in set(flows) for id in self.data.shared.behind(flow)}
        free = [
            entry
            for entry in self._free(set(flows), set(without))
            if entry.row.status in ("created", "running")
            or (entry.row.status == "waiting" and entry.row.due is not None and entry.row.due <= now)
            or (entry.row.id in asked and entry.row.status not in FINAL_STATUSES)
            or entry.row.id in behind
        ]
        return [self._take(entry) for entry in sorted(free, key=_age)[:limit]]

    async def next_due(self, flows: Iterable[str], *, without: Collection[str] = ()) -> float | None:
        """See `Store.next_due`."""
        self._lifecycle.check()
        free = self._free(set(flows), set(without))
        dues = [entry.row.due for entry in free if entry.row.status == "waiting" and entry.row.due is not None]
        return min(dues, default=None)

    async def release(self, executions: Iterable[str]) -> None:
        """See `Store.release`."""
        self._begin()
        for execution in executions:
            entry = self.data.executions.get(execution)
            if entry is not None and entry.row.owner == self._owner:
                self.data.log.add("executions", self._free_tree(entry))

    def _free_tree(self, entry: _Entry) -> list[str]:
        """Give up an execution with its sub-flows. Returns their ids."""
        freed = [one for one in self._tree(entry) if one.row.owner == self._owner]
        for one in freed:
            one.row = msgspec.structs.replace(one.row, owner=None)
        return [one.row.id for one in freed]

    # -- retention ---------------------------------------------------------------------------------------------------

    async def trim(self, execution: str, records: int, *, payloads: Collection[str] | None = None) -> int:
        """See `Store.trim`."""
        self._begin()
        if not (entry := self.data.executions.get(execution)):
            raise UnknownExecution(f"there is no execution {execution!r} in the store")
        if not any(number >= records for number in entry.snapshots):
            raise StoreConflict(f"execution {execution!r} has no snapshot after {records} records or more")
        entry.snapshots = {number: found for number, found in entry.snapshots.items() if number >= records}
        before = len(entry.records)
        entry.records = [(number, record) for number, record in entry.records if number >= records or record.item]
        if payloads is not None and entry.row.records <= records:
            entry.payloads.intersection_update(payloads)
            self._sweep()
        self.data.log.add("executions", [execution])
        return before - len(entry.records)

    async def delete(self, executions: Iterable[str]) -> int:
        """See `Store.delete`."""
        self._begin()
        deleted: list[_Entry] = []
        for execution in executions:
            if not (entry := self.data.executions.get(execution)):
                continue
            tree = list(self._tree(entry))
            if all(one.row.status in FINAL_STATUSES for one in tree):
                for one in tree:
                    del self.data.executions[one.row.id]
                    self.data.children.pop(one.row.id, None)
                    if one.row.parent in self.data.children:
                        self.data.children[one.row.parent].discard(one.row.id)
                deleted += tree
        if any(entry.payloads for entry in deleted):
            self._sweep()
        data, names = self.data, {entry.row.id for entry in deleted}
        requests = [it.id for it in (*data.inbox.values(), *data.replied.values()) if it.execution in names]
        for id in requests:
            data.inbox.pop(id, None)
            data.replied.pop(id, None)
            data.fetched.pop(id, None)
        data.log.add("executions", names)
        data.log.add("requests", requests)
        self._shrink_log()
        return len(deleted)

    async def shrink(self) -> int:
        """See `Store.shrink`: Python frees the memory of deleted data by itself."""
        self._lifecycle.check()
        return 0

    def _shrink_log(self) -> None:
        data = self.data
        data.log.shrink(len(data.executions) + len(data.inbox) + len(data.replied) + _GONE)

    def _sweep(self) -> None:
        """Delete the payloads to which no execution refers any more."""
        used = set[str]().union(*(entry.payloads for entry in self.data.executions.values()))
        self.data.payloads = {digest: data for digest, data in self.data.payloads.items() if digest in used}

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin a write. The owner counts as alive again, even if other owners have counted it as dead."""
        self._lifecycle.check()
        self.data.owners[self._owner] = float("inf")

    def _purge(self) -> None:
        now = self._clock()
        alive = {name: until for name, until in self.data.owners.items() if until > now or name == self._owner}
        self.data.owners = alive

    def _required(self, execution: str, *, reopens: bool = False) -> _Entry:
        entry = self.data.executions.get(execution)
        if entry is None:
            raise StoreConflict(f"there is no execution {execution!r} in the store; was it deleted?")
        if reopens:
            if entry.row.status not in RETRIABLE_STATUSES:
                raise not_retriable(execution, entry.row.status)
        elif entry.row.status in FINAL_STATUSES:
            raise _ended_error(entry.row)
        if entry.row.owner != self._owner:
            raise self._not_owned(entry.row)
        return entry

    def _not_owned(self, row: ExecutionRow) -> StoreConflict:
        now_with = f"owner {row.owner} has it now" if row.owner else "no owner has it now"
        return StoreConflict(f"execution {row.id!r} is not run by owner {self._owner} any more: {now_with}")

    def _row(self, entry: _Entry) -> ExecutionRow:
        row, questions = entry.row, len(entry.questions)
        heard = self.data.shared.heard(row.flow, row.id)
        if row.owner is not None and self.data.owners.get(row.owner, 0) <= self._clock():
            return msgspec.structs.replace(row, owner=None, heard=heard, questions=questions)
        if heard is None and not questions:
            return row
        return msgspec.structs.replace(row, heard=heard, questions=questions)

    def _free(self, flows: set[str], without: set[str]) -> Iterator[_Entry]:
        for entry in self.data.executions.values():
            row = entry.row
            if row.flow in flows and row.parent is None and row.id not in without and self._row(entry).owner is None:
                yield entry

    def _take(self, entry: _Entry) -> ExecutionRow:
        taken = [one for one in self._tree(entry) if one.row.owner not in self.data.owners]
        for one in taken:
            one.row = msgspec.structs.replace(one.row, owner=self._owner)
        self.data.log.add("executions", [one.row.id for one in taken])
        return self._row(entry)

    def _tree(self, entry: _Entry) -> Iterator[_Entry]:
        yield entry
        for name in self.data.children.get(entry.row.id, ()):
            yield from self._tree(self.data.executions[name])

    def _root(self, entry: _Entry) -> _Entry:
        """The outermost execution."""
        while (parent := self.data.executions.get(entry.row.parent or "")) is not None:
            entry = parent
        return entry


def _age(entry: _Entry) -> tuple[float, int]:
    return entry.row.created, entry.order


def _order(question: Question) -> tuple[float, str, str]:
    return question.since, question.execution, question.id


def _row_after(row: ExecutionRow, add: Append, owner: str) -> ExecutionRow:
    """The row of an execution after an append. Raises `StoreConflict` if the append does not follow what is there."""
    if add.first != row.records:
        raise StoreConflict(
            f"execution {row.id!r} has {row.records} records: the next one is number {row.records}, not {add.first}"
        )
    items = row.items
    for record in add.records:
        if record.item:
            if record.item <= items:
                raise StoreConflict(f"execution {row.id!r} has stream item {record.item} already")
            items = record.item
    ends = add.status in FINAL_STATUSES
    changed = add.records or add.status != row.status or add.due != row.due
    return msgspec.structs.replace(
        row,
        status=add.status,
        due=add.due,
        updated=max(row.updated, add.at) if changed else row.updated,
        records=row.records + len(add.records),
        items=items,
        owner=None if ends or add.releases else owner,
        error=add.error if ends else None,
    )


def _extend(entry: _Entry, add: Append) -> None:
    """Add what an accepted append has besides the row."""
    entry.records += enumerate(add.records, add.first)
    entry.items += [(record.item, record.data) for record in add.records if record.item]
    entry.payloads |= add.payloads.keys()
    for id, data in add.questions.items():
        if data is None:
            entry.questions.pop(id, None)
        else:
            entry.questions[id] = (entry.questions[id][0] if id in entry.questions else add.at, data)
    if add.status in FINAL_STATUSES:
        entry.questions.clear()


def _ended_error(row: ExecutionRow) -> StoreConflict:
    return StoreConflict(f"execution {row.id!r} has ended ({row.status}); no more records can be added")
