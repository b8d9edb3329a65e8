"""What a store is: the place where the records of durable executions outlive their process.

A store knows nothing of flows. It keeps numbered records as bytes, and says who may add some:

* Records of an execution are numbered 0, 1, 2 ... without a gap. `append` adds to several executions *atomically*, and
  returns when everything is on disk: that is the only promise the durable driver builds on.
* An *owner* is one opened store, which is one process or one part of it. An execution that is being run belongs to one
  owner, and its sub-flows with it. A store that is open keeps its owner alive; an owner that was not heard of for
  `lease` seconds is dead, or earlier if its store can prove it, and what it had can be claimed by others. To what was
  claimed the old owner can append nothing any more; what nobody has claimed is still its own when it comes back.
* Large payloads are kept once, under the digest of their content (`payload_digest`). A payload lives as long as an
  execution that has referred to it, or until that is trimmed.
* What has begun is done wholly or not at all: cancelling who waits for it neither stops nor tears it.
* Of an execution that is not there, there are no records, items and snapshots: reading them gives none.

`triggerflow.testing.StoreConformance` is the contract as tests; a store of your own has to pass them.
"""

from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from .._core.state import StatusName

#: Executions that take no record any more.
FINAL_STATUSES: frozenset[StatusName] = frozenset(("completed", "failed", "cancelled"))


def payload_digest(data: bytes) -> str:
    """The name of a payload: SHA-256 of its bytes, in hexadecimal."""
    from hashlib import sha256  # most executions have no large payload, and this import costs milliseconds

    return sha256(data).hexdigest()


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows of one execution without reading its records. Times are seconds since the epoch."""

    id: str
    flow: str
    #: fingerprint of the definition under which its newest records were written
    definition: str
    #: options of the execution, as JSON
    options: bytes = b"{}"
    #: the execution of which it is a sub-flow; such a one is run by whoever runs its parent
    parent: str | None = None
    #: where it was forked from: an execution, and how many of its records were taken
    forked_from: tuple[str, int] | None = None
    created: float
    #: `at` of its newest `Append` that brought records or another status or due time
    updated: float
    status: StatusName = "created"
    #: when its next timer is due
    due: float | None = None
    #: how many records it has had, and the number of its newest stream item; trimming changes neither
    records: int = 0
    items: int = 0
    #: the living owner that runs it now; None if nobody does
    owner: str | None = None


class NewRecord(msgspec.Struct, frozen=True):
    """One record to append. `item` is its number in the runtime stream, 1, 2, 3 ..., or 0 if it is no stream item."""

    data: bytes
    item: int = 0


class Append(msgspec.Struct, kw_only=True):
    """What one execution adds in one commit. `first` is the number of the first of `records`.

    It must not be changed before the append has returned. A final status gives the execution back.
    """

    execution: str
    first: int
    records: list[NewRecord]
    #: large payloads that these records refer to, by `payload_digest`; also those that the store has already
    payloads: dict[str, bytes] = {}
    #: where the execution stands after the last record
    status: StatusName
    due: float | None = None
    at: float
    #: makes the execution, owned by this store's owner; its id must be new. What an append tells (status, due, at,
    #: records) is taken from the append, the rest from here
    create: ExecutionRow | None = None


class ExecutionCopy(msgspec.Struct, kw_only=True):
    """One whole execution as `Store.put_copies` takes it. Its row tells everything but the owner.

    `records` come with their numbers: where others were trimmed there are gaps, and a snapshot says what stood before.
    """

    row: ExecutionRow
    records: list[tuple[int, NewRecord]]
    #: how many records, the definition, the data
    snapshots: list[tuple[int, str, bytes]] = []
    payloads: dict[str, bytes] = {}


class Store(Protocol):
    """A place for records. Open it with `async with`; all methods may be called from one event loop at a time.

    Every method raises `StoreUnavailable` when it cannot read or write now (disk full, locked, read-only, closed) and
    `StoreDamaged` when what it reads is not what was written. Nothing has changed then. It raises `UsageError` before
    the store was opened, and `WrongLoopError` on another event loop than the one it was opened on.
    """

    @property
    def owner(self) -> str:
        """The id under which this opened store claims executions."""
        ...

    async def __aenter__(self) -> Self:
        """Open: after this the owner is known and kept alive."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close: what was begun is completed, then what this owner has is released."""
        ...

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> None:
        """Add all of it, or nothing, and return when it is on disk.

        Raises `StoreConflict` if one of the executions is not this owner's, does not exist, exists already (`create`),
        has ended, does not have exactly `first` records, or has one of the stream items already. Several for one
        execution are taken in their order.
        """
        ...

    async def put_snapshot(self, execution: str, records: int, definition: str, data: bytes) -> None:
        """Keep the state after the first `records` records, written under the definition of that fingerprint.

        It also becomes the definition of the execution. Only the owner may do so, and of records that are there:
        raises `StoreConflict`. Of an execution that has ended anybody may, at its end and under the definition it has.
        """
        ...

    async def put_copies(self, copies: Sequence[ExecutionCopy]) -> None:
        """Make whole executions out of others, with their numbers: all of them or none.

        Those that have not ended are this owner's. Raises `StoreConflict` if one of the ids exists.
        """
        ...

    async def put_definition(self, fingerprint: str, data: bytes) -> None:
        """Keep a definition; a known one stays as it is."""
        ...

    # -- reading -----------------------------------------------------------------------------------------------------

    async def find(self, execution: str) -> ExecutionRow | None:
        """The execution of that id, or None."""
        ...

    async def executions(
        self,
        *,
        flow: str | None = None,
        status: Iterable[StatusName] | None = None,
        since: float | None = None,
        until: float | None = None,
        parent: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[ExecutionRow]:
        """Executions, the newest first, created from `since` up to (not including) `until`.

        Without `parent` those that are no sub-flow, with it the sub-flows of that execution. `after` is the id of the
        last one of the page before. Raises `UnknownExecution` (a `LookupError`) if there is no execution `after`.
        """
        ...

    async def records(self, execution: str, *, first: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Up to `limit` records with their numbers, from number `first` on."""
        ...

    async def items(self, execution: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Up to `limit` stream items: their number in the stream, and their record."""
        ...

    async def payloads(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The payloads of these digests. Raises `StoreDamaged` if one is missing or is not what its digest says."""
        ...

    async def snapshot(self, execution: str, *, records: int | None = None) -> tuple[int, str, bytes] | None:
        """The newest snapshot after at most `records` records: how many records, the definition, the data."""
        ...

    async def definition(self, fingerprint: str) -> bytes | None:
        """A definition that was kept."""
        ...

    # -- who runs what -----------------------------------------------------------------------------------------------

    async def claim(self, execution: str) -> ExecutionRow:
        """Take an execution with its sub-flows, whatever their status.

        Raises `ExecutionLeased` while another living owner has it, and `UnknownExecution`.
        """
        ...

    async def claim_work(
        self, flows: Iterable[str], *, limit: int = 100, without: Collection[str] = ()
    ) -> list[ExecutionRow]:
        """Take executions of these flows that have something to do and no living owner, the oldest first.

        Those are the ones with status "created" or "running", and those "waiting" whose `due` has come. Sub-flows are
        not among them; they come with the one they belong to, as in `claim`. Executions `without` are left alone, and
        do not count towards `limit`.
        """
        ...

    async def next_due(self, flows: Iterable[str], *, without: Collection[str] = ()) -> float | None:
        """When the next waiting execution of these flows is due that nobody has, not counting those `without`; None if
        there is none."""
        ...

    async def release(self, executions: Iterable[str]) -> None:
        """Give executions back, with their sub-flows. Those that are not this owner's are left alone."""
        ...

    # -- keeping house -----------------------------------------------------------------------------------------------

    async def trim(self, execution: str, records: int, *, payloads: Collection[str] | None = None) -> int:
        """Forget records before number `records` that are no stream items; how many were forgotten.

        Snapshots after fewer records go with them. One after at least that many must be there: raises `StoreConflict`
        otherwise, and `UnknownExecution`. Who owns the execution does not matter.

        `payloads` are those that the stream items still refer to. With them, the execution gives up all others, unless
        it has had more than `records` records: those may refer to some.
        """
        ...

    async def delete(self, executions: Iterable[str]) -> int:
        """Forget executions that have ended, with their sub-flows and all they refer to.

        Those that have not ended, or that have a sub-flow that has not ended, are left alone. Returns how many were
        forgotten, sub-flows included.
        """
        ...
