"""The protocol of a store: it holds the records of durable executions, so that they outlive their process.

A store knows nothing of flows. It holds numbered records as bytes, and decides which owner may add records:

* The records of an execution are numbered 0, 1, 2 ... without a gap. `append` adds records to several executions
  *atomically*, and returns when all of them are in the store. Durable executions rely on this promise only.
* An *owner* is one open store object: a process, or a part of one. A running execution has exactly one owner, which
  owns its sub-flows as well. An open store renews its *lease*. An owner that has not renewed it for `lease` seconds is
  dead; a store may find out earlier that the process of an owner has ended. Other owners can claim the executions of a
  dead owner. After a claim, every append of the former owner raises `StoreConflict`. If a dead owner renews its lease
  before another owner has claimed anything, it stays the owner.
* Any process can ask the owner of an execution for something: it *posts* a request into the inbox of the execution. The
  owner performs it, and stores its reply in the same transaction as the records that the request has caused. So a
  request is performed once, also if its owner dies before it has replied: the next owner takes it.
* All executions of a flow share data: values by key. The store numbers its changes, and the executions that *listen* to
  a key get every change of it once, in the order of these numbers. See `SharedChange`.
* Every change is announced to all open stores: see `wait_changes`.
* A large payload is stored once, under the digest of its content (`payload_digest`). It is deleted when no execution
  refers to it any more.
* Operations are atomic. Cancelling the caller does not interrupt an operation that has begun.
* Reading the records, items or snapshots of an unknown execution returns none; it raises no error.

`triggerflow.testing.StoreConformance` tests all of this. Run it on every store that you write.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self, get_args

import msgspec

from .._core.errors import StoreConflict
from .._core.state import StatusName

#: All statuses of executions.
STATUSES: tuple[StatusName, ...] = get_args(StatusName)

#: The statuses of executions that have ended. Only a retry adds more records to them: see `Append.reopens`.
FINAL_STATUSES: frozenset[StatusName] = frozenset(("completed", "failed", "cancelled"))

#: The statuses of executions that have not ended.
UNFINISHED_STATUSES: tuple[StatusName, ...] = ("created", "running", "waiting")

#: The statuses of executions that can run again: see `Append.reopens`.
RETRIABLE_STATUSES: frozenset[StatusName] = frozenset(("failed", "cancelled"))

#: How many seconds a request stays in the store after its reply, at least.
REPLY_KEPT = 24 * 3600.0


def not_retriable(execution: str, status: str) -> StoreConflict:
    """The error of an append that reopens an execution which has another status."""
    return StoreConflict(f"execution {execution!r} is {status}; only a failed or cancelled one can be reopened")


def changed_meanwhile(schedule: str) -> StoreConflict:
    """The error of a schedule that has another version in the store than its writer has read."""
    return StoreConflict(f"schedule {schedule!r} was changed or deleted meanwhile; read it again")


def payload_digest(data: bytes) -> str:
    """The digest under which a payload is stored: SHA-256 of its bytes, in hexadecimal."""
    from hashlib import sha256  # imported here: it costs milliseconds, and most executions have no large payload

    return sha256(data).hexdigest()


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows about one execution, except its records. Times are seconds since the epoch."""

    id: str
    flow: str
    #: fingerprint of the definition under which its newest records were written
    definition: str
    #: options of the execution, as JSON
    options: bytes = b"{}"
    #: the id of its parent, if it is a sub-flow; the owner of the parent owns it as well
    parent: str | None = None
    #: for a fork: the id of the original execution, and after how many of its records the fork begins
    forked_from: tuple[str, int] | None = None
    created: float
    #: time of the last change: `at` of the newest `Append` that added records or changed the status or the due time
    updated: float
    status: StatusName = "created"
    #: when its next timer is due; None if no timer is open
    due: float | None = None
    #: how many records were ever appended, and the number of the newest stream item; trimming changes neither
    records: int = 0
    items: int = 0
    #: its owner; None if it has no owner, or a dead one
    owner: str | None = None
    #: what the creator has attached to it, to find it again: a value by key
    labels: dict[str, str] = {}
    #: for one that has failed or was cancelled: one line that says why
    error: str | None = None
    #: how many questions it has asked that nobody has answered yet; without those of its sub-flows
    questions: int = 0
    #: if it listens to the shared data of its flow: up to which change it has taken them; else None
    heard: int | None = None


class NewRecord(msgspec.Struct, frozen=True):
    """One record to append. `item` is its number in the runtime stream (1, 2, 3 ...), or 0 if it is no stream item."""

    data: bytes
    item: int = 0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a process asks the owner of an execution to do; an entry in the inbox of that execution.

    The store does not look into `kind` and `data`.
    """

    #: unique in the store; a second request with the same id is the same request, whatever its other fields say
    id: str
    execution: str
    kind: str
    data: bytes
    #: when it was posted
    at: float
    #: whether its owner has recorded what it asks for, and has not replied yet; see `Append.taken`
    taken: bool = False
    #: the owner's reply; None while the request is open
    reply: "Reply | None" = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of an execution replies to a request. With `ok` false, `data` holds the error."""

    #: the id of the request
    request: str
    ok: bool
    data: bytes
    at: float


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One open question (interrupt) of an execution, as `Store.questions` lists it."""

    #: the execution that asks; its outermost execution (itself, or the parent of its parent ...), and the flow of that
    execution: str
    root: str
    flow: str
    #: the id of the interrupt, and since when it is open: `at` of the append that has opened it
    id: str
    since: float
    #: what is asked, as JSON; the store does not look into it
    data: bytes


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows about one schedule: executions of a flow that workers start at given times."""

    #: unique in the store
    id: str
    flow: str
    #: what is started, and when, as JSON; the store does not look into it
    data: bytes
    #: when a worker has to look at it next, in seconds since the epoch; None if never
    due: float | None = None
    #: another text after each change, so that two processes cannot both act on the same state of the schedule
    version: str


class SharedChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the data that all executions of a flow share. The store does not look into `data`."""

    key: str
    op: Literal["set", "append", "delete"]
    #: the new value, or the item to append, as JSON; empty for "delete"
    data: bytes = b""
    #: whether the executions that listen to this key have to take the change
    emit: bool = True
    #: given by the store: 1, 2, 3 ... for each flow, in the order of the commits
    number: int = 0
    #: given by the store: the execution that has made the change; None for one of `Store.change_shared`
    by: str | None = None


class SharedLog(msgspec.Struct, frozen=True, kw_only=True):
    """The shared data of a flow, as far as it differs from what a caller has; see `Store.shared`."""

    #: the number of the newest change; 0 if there was none
    newest: int
    #: True if the caller has to drop what it has: too much was folded since
    whole: bool
    #: for keys whose changes were folded: up to which number, and the value that they give
    values: dict[str, tuple[int, bytes]] = {}
    #: the changes that were not folded, in the order of their numbers
    changes: list[SharedChange] = []


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed in a store since a cursor; see `Store.wait_changes`.

    A change may be reported again, but none is left out. The order has no meaning. These are hints: read the store to
    find out what has changed. That an owner has died is no change; that another owner has claimed its executions is.
    """

    #: the cursor for the next call
    cursor: str
    #: ids of the executions that are new, were deleted or trimmed, or have new records, another status, due time or
    #: definition, another owner or none, other questions, or a new request or reply
    executions: tuple[str, ...] = ()
    #: ids of the requests that were posted, taken, replied to or withdrawn, or whose execution was deleted
    requests: tuple[str, ...] = ()
    #: ids of the schedules that were put or deleted
    schedules: tuple[str, ...] = ()
    #: names of the flows whose shared data has changed
    flows: tuple[str, ...] = ()
    #: True if the changes after the cursor are not known: they are too old, or the cursor comes from another store.
    #: Everything may have changed then
    resync: bool = False


#: The fields of `Changes` with names of what has changed.
ChangeKind = Literal["executions", "requests", "schedules", "flows"]
CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


class Append(msgspec.Struct, kw_only=True):
    """What one commit adds to one execution. `first` is the number of the first of `records`.

    The caller must not change it before `Store.append` has returned. With a final status, the execution has ended and
    has no owner any more.
    """

    execution: str
    first: int
    records: list[NewRecord]
    #: the large payloads that these records refer to, by `payload_digest`; the store may have some of them already
    payloads: dict[str, bytes] = {}
    #: status and next due time of the execution after the last record
    status: StatusName
    due: float | None = None
    at: float
    #: for a new execution: its row. Its id must be new, and this store becomes its owner. Status, due time, times and
    #: numbers of records come from the append, everything else from this row
    create: ExecutionRow | None = None
    #: the execution has failed or was cancelled, and runs again. This store has to be its owner (`claim`)
    reopens: bool = False
    #: the execution and its sub-flows have no owner after this append, as after `release`; with `create` it is left to
    #: the workers
    releases: bool = False
    #: replies to requests of this execution. One for a request that is unknown, was withdrawn, is one of another
    #: execution, or has a reply already, is skipped
    replies: Sequence[Reply] = ()
    #: ids of requests of this execution whose records are in this append, and whose reply comes later: an owner that
    #: takes over finds them marked as `Request.taken`
    taken: Sequence[str] = ()
    #: the questions that were opened (their data) and closed (None), by the id of the interrupt. One that is open
    #: already gets the new data, and stays as old as it is. An execution that has ended has no open questions
    questions: dict[str, bytes | None] = {}
    #: changes of the shared data of its flow, in their order
    shared: Sequence[SharedChange] = ()
    #: from now on the execution listens to exactly these keys of the shared data. One that has ended listens to none
    listens: Collection[str] | None = None
    #: for one that listens: up to which change it has taken them. Default: as before, and for one that begins to listen
    #: the newest one before this append. It has heard of its own changes, too, if nothing comes between
    heard: int | None = None
    #: with the status "failed" or "cancelled": one line that says why. It is forgotten when the execution is reopened
    error: str | None = None


class ExecutionCopy(msgspec.Struct, kw_only=True):
    """One whole execution for `Store.put_copies`. The owner in its row is ignored.

    `records` are pairs of number and record. Where records were trimmed, numbers are missing, and a snapshot holds the
    state instead.
    """

    row: ExecutionRow
    records: list[tuple[int, NewRecord]]
    #: (after how many records, fingerprint of the definition, data)
    snapshots: list[tuple[int, str, bytes]] = []
    payloads: dict[str, bytes] = {}
    #: to which keys of the shared data it listens, from the moment of the copy on
    listens: Collection[str] = ()


class Store(Protocol):
    """Holds the records of durable executions. Open it with `async with`, and use it on that event loop only.

    Every method raises `StoreUnavailable` if it cannot read or write now (disk full, locked, read-only, closed),
    `StoreDamaged` if the data it reads is not the data that was written, `UsageError` if the store was never opened,
    and `WrongLoopError` on another event loop than the one it was opened on. A method that raises has changed nothing.
    Times are seconds since the epoch.
    """

    @property
    def owner(self) -> str:
        """The id of this open store as an owner of executions."""
        ...

    async def __aenter__(self) -> Self:
        """Open the store. From here on it has an owner id, and renews its lease."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store: complete the operations that have begun, then release all executions of this owner."""
        ...

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        """Add all of these appends, or none, and return when they are stored durably.

        Returns the number of the newest change of shared data by flow, for those flows of these executions that have
        shared data.

        Several appends for one execution are applied in their order. Raises `StoreConflict` if one of the executions
        belongs to another owner or to none, does not exist, exists already (`create`), has ended, does not have exactly
        `first` records, or has one of the stream items already. With `reopens`, it has to have failed or to have been
        cancelled, instead.
        """
        ...

    async def put_snapshot(self, execution: str, records: int, definition: str, data: bytes) -> None:
        """Store the state after the first `records` records, written under the definition of that fingerprint.

        That definition becomes the definition of the execution. Older snapshots that `thinning.superseded` names are
        deleted. Raises `StoreConflict` if this store is not the owner, or the execution has fewer records. Any owner
        can add a snapshot to an execution that has ended, but only after all its records and under its own definition.
        """
        ...

    async def put_copies(self, copies: Sequence[ExecutionCopy]) -> None:
        """Add whole executions with their records, snapshots and payloads: all of them or none.

        This store becomes the owner of those that have not ended. Raises `StoreConflict` if one of the ids exists.
        """
        ...

    async def put_definition(self, fingerprint: str, data: bytes) -> None:
        """Store a definition under its fingerprint. If the fingerprint is known, nothing changes."""
        ...

    # -- schedules ---------------------------------------------------------------------------------------------------

    async def put_schedule(
        self, schedule: ScheduleRow, *, replaces: str | None = None, starts: Sequence[Append] = ()
    ) -> None:
        """Store a schedule, and in the same transaction these appends, as `append` does: all of it, or nothing.

        `replaces` is the version that the schedule has in the store now; None if its id is new. Raises `StoreConflict`
        if it has another version, or for one of the appends.
        """
        ...

    async def delete_schedule(self, schedule: str) -> bool:
        """Delete a schedule. The executions that it has started remain. Returns whether there was one."""
        ...

    async def schedule(self, schedule: str) -> ScheduleRow | None:
        """The schedule with this id, or None."""
        ...

    async def schedules(
        self, *, flow: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """Up to `limit` schedules of all flows or of one, in the order of their ids, those after the id `after`."""
        ...

    async def next_schedules(
        self, flows: Iterable[str], *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> list[ScheduleRow]:
        """Up to `limit` schedules of these flows that have a due time, in the order of due time and id.

        For the next page, pass the due time and the id of the last one as `after`.
        """
        ...

    # -- the inbox ---------------------------------------------------------------------------------------------------

    async def post(self, request: Request) -> Request:
        """Put a request into the inbox of an execution, whoever owns it. Returns it as it is in the store.

        If its id is known, nothing changes, and the stored request is returned, with its reply if it has one. Raises
        `UnknownExecution`. A request to an execution that has ended stays open until it is withdrawn or the execution
        runs again. A request is deleted with its execution, and may be deleted `REPLY_KEPT` seconds after its reply.
        """
        ...

    async def requests(
        self, ids: Iterable[str] | None = None, *, limit: int = 100, without: Collection[str] = ()
    ) -> list[Request]:
        """The requests with these ids that are in the store, open or not.

        Without ids: up to `limit` open requests of the executions that this store owns, in the order in which they were
        posted. The ids in `without` are skipped, and do not count towards `limit`. This store has *fetched* them then:
        as long as it owns the execution, nobody can withdraw them.
        """
        ...

    async def withdraw(self, request: str) -> Request | None:
        """Delete an open request, so that nobody performs it. Returns None if it is not in the store any more.

        If it has a reply, was taken, or the present owner of its execution has fetched it (see `requests`), nothing
        changes, and it is returned as it is: it was performed, or may be.
        """
        ...

    async def wait_changes(
        self, cursor: str | None = None, *, timeout: float | None = None, own: bool = True
    ) -> Changes:
        """Wait until something has changed after the cursor, in this process or another one, and return what.

        Without a cursor it returns the present one at once. After `timeout` seconds it returns with no changes. A
        cursor stays valid when the store is closed and opened again, in any process; a cursor that is too old, or of
        another store, is answered at once with `resync`. Up to about 1,000 ids are returned by one call; the next call
        has the others. Raises `StoreUnavailable` when the store is closed.

        With `own` false, it does not wake for the records that this open store appends to its own executions, and may
        leave them out. An append that `releases` its execution is not one of these.
        """
        ...

    # -- shared data -------------------------------------------------------------------------------------------------

    async def change_shared(self, flow: str, changes: Sequence[SharedChange]) -> int:
        """Change the shared data of a flow from outside of its executions. Returns the number of the last change."""
        ...

    async def shared(self, flow: str, *, after: int = 0, limit: int = 1000) -> SharedLog:
        """The shared data of a flow, as far as it was changed after change number `after`: folded values, and up to
        `limit` changes. There are more changes only if there are `limit` of them."""
        ...

    async def fold_shared(self, flow: str, values: Mapping[str, tuple[int, bytes | None]]) -> list[str]:
        """Replace the changes of keys by their result: for each key, up to which number, and its value (None if it was
        deleted). Returns the keys that were folded.

        Skips a key that was folded as far already, and one with a listening execution that has not heard of a change up
        to that number.
        """
        ...

    # -- reading -----------------------------------------------------------------------------------------------------

    async def find(self, execution: str) -> ExecutionRow | None:
        """The row of an execution, or None if the id is unknown."""
        ...

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
        """Up to `limit` rows, the newest execution first, of those created from `since` up to (not including) `until`.

        Without `parent`, sub-flows are left out; with it, only the sub-flows of that execution are listed. With
        `labels`, an execution needs all of these labels. With `text`, its id begins with the text, or the value of one
        of its labels does, or its error has a word that does; of a text of several words, each one has to begin a word
        of the error. Labels and errors are compared without regard to case: see `stores.searching`. For the next page,
        pass the id of the last row as `after`. Raises `UnknownExecution` (a `LookupError`) if `after` is unknown.
        """
        ...

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """How many executions each flow has in each status, without sub-flows. A status without any is left out."""
        ...

    async def questions(
        self,
        *,
        flow: str | None = None,
        execution: str | None = None,
        after: Question | None = None,
        limit: int = 100,
    ) -> list[Question]:
        """Up to `limit` open questions, of all flows, or of one outermost flow, or of one execution and its sub-flows.

        The oldest question comes first; of those that are equally old, in the order of execution and id. For the next
        page, pass the last question as `after`, open or not."""
        ...

    async def records(self, execution: str, *, first: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Up to `limit` records as (number, data), from number `first` on. Trimmed records are skipped."""
        ...

    async def items(self, execution: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Up to `limit` stream items as (number in the stream, data of the record), from item `after` + 1 on."""
        ...

    async def payloads(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The payloads by digest. Raises `StoreDamaged` if one is missing, or does not match its digest."""
        ...

    async def snapshot(self, execution: str, *, records: int | None = None) -> tuple[int, str, bytes] | None:
        """The newest snapshot after at most `records` records (default: the newest of all), or None.

        It is (after how many records, fingerprint of the definition, data).
        """
        ...

    async def definition(self, fingerprint: str) -> bytes | None:
        """The definition stored under this fingerprint, or None."""
        ...

    # -- ownership ---------------------------------------------------------------------------------------------------

    async def claim(self, execution: str) -> ExecutionRow:
        """Become the owner of an execution and its sub-flows, whatever their status. Returns its row.

        Raises `ExecutionLeased` if another living owner has it, and `UnknownExecution`.
        """
        ...

    async def claim_work(
        self, flows: Iterable[str], *, limit: int = 100, without: Collection[str] = ()
    ) -> list[ExecutionRow]:
        """Claim up to `limit` executions of these flows that have work to do and no living owner, the oldest first; of
        those that are due, a store may prefer the ones that have been due longest.

        An execution has work to do if its status is "created" or "running", or "waiting" with a `due` time that has
        come, or if it has not ended and it or one of its sub-flows has an open request, or if it listens to a key of
        shared data and has not heard of a change of it that another execution has made with `emit`. Sub-flows are
        claimed with their parent, as in `claim`, and are not listed. The ids in `without` are skipped, and do not count
        towards `limit`.
        """
        ...

    async def next_due(self, flows: Iterable[str], *, without: Collection[str] = ()) -> float | None:
        """The earliest due time among waiting executions of these flows without a living owner; None if there is none.

        The ids in `without` are skipped.
        """
        ...

    async def release(self, executions: Iterable[str]) -> None:
        """Give up the ownership of executions and their sub-flows. Executions of other owners are ignored."""
        ...

    # -- retention ---------------------------------------------------------------------------------------------------

    async def trim(self, execution: str, records: int, *, payloads: Collection[str] | None = None) -> int:
        """Delete the records before number `records` that are no stream items, and return how many were deleted.

        Snapshots after fewer records are deleted, too. Any owner may trim. Raises `StoreConflict` if there is no
        snapshot after at least `records` records, and `UnknownExecution`.

        `payloads` are the digests that the stream items still refer to. If they are given, the references of this
        execution to all other payloads are dropped, unless it has more than `records` records, which may need them.
        """
        ...

    async def delete(self, executions: Iterable[str]) -> int:
        """Delete executions that have ended, with their sub-flows and everything that only they refer to.

        An execution that has not ended, or has a sub-flow that has not ended, is skipped. Returns how many were
        deleted, sub-flows included.
        """
        ...

    async def shrink(self) -> int:
        """Give the space of deleted data back to the system, in small steps, between which others can write.

        Returns how many bytes were given back; 0 if the store cannot do that, or need not.
        """
        ...
