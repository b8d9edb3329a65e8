"""What a store is: the place where the records of durable executions outlive their process.

A store knows nothing of flows. It keeps numbered records as bytes, and says who may add some:

* Records of an execution are numbered 0, 1, 2 ... without a gap. `append` adds to several executions *atomically*, and
  returns when everything is on disk: that is the only promise the durable driver builds on.
* An *owner* is one opened store, which is one process or one part of it. An execution that is being run belongs to one
  owner. A store that is open keeps its owner alive; an owner that was not heard of for `lease` seconds is dead, and
  what it had can be claimed by others. Once that has happened the old owner can append nothing any more.
* Large payloads are kept once, under the digest of their content. A payload lives as long as an execution that has
  referred to it.

`triggerflow.testing.StoreConformance` is the contract as tests; a store of your own has to pass them.
"""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

StatusName = Literal["created", "running", "waiting", "completed", "failed", "cancelled"]

#: Executions that take no record any more.
FINAL_STATUSES: frozenset[StatusName] = frozenset(("completed", "failed", "cancelled"))


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
    updated: float
    status: StatusName = "created"
    #: when its next timer is due
    due: float | None = None
    #: how many records and stream items it has
    records: int = 0
    items: int = 0
    #: the owner that runs it now; None if nobody does
    owner: str | None = None


class NewRecord(msgspec.Struct, frozen=True):
    """One record to append. `item` is its number in the runtime stream, 0 if it is no stream item."""

    data: bytes
    item: int = 0


class Append(msgspec.Struct, kw_only=True):
    """What one execution adds in one commit. `first` is the number of the first of `records`."""

    execution: str
    first: int
    records: list[NewRecord]
    #: large payloads that these records refer to, by digest
    payloads: dict[str, bytes] = {}
    #: where the execution stands after the last record
    status: StatusName
    due: float | None = None
    at: float
    #: makes the execution, owned by this store's owner; its id must be new
    create: ExecutionRow | None = None


class Store(Protocol):
    """A place for records. Open it with `async with`; all methods may be called from one event loop at a time.

    Every method raises `StoreUnavailable` when it cannot read or write now (disk full, locked, read-only) and
    `StoreDamaged` when what it reads is not what was written. Nothing has changed then.
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
        """Close: what this owner has is released."""
        ...

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> None:
        """Add all of it, or nothing, and return when it is on disk.

        Raises `StoreConflict` if one of the executions is not this owner's, does not exist, exists already (`create`),
        or does not have exactly `first` records.
        """
        ...

    async def put_snapshot(self, execution: str, records: int, definition: str, data: bytes) -> None:
        """Keep the state after the first `records` records, written under the definition of that fingerprint.

        It also becomes the definition of the execution. Only the owner may do so: raises `StoreConflict`.
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
        last one of the page before. Raises `LookupError` if there is no execution `after`.
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
        """Take an execution, whatever its status. Raises `ExecutionLeased` while another living owner has it, and
        `UnknownExecution`."""
        ...

    async def claim_work(self, flows: Iterable[str], *, limit: int = 100) -> list[ExecutionRow]:
        """Take executions of these flows that have something to do and no living owner, the oldest first.

        Those are the ones with status "created" or "running", and those "waiting" whose `due` has come. Sub-flows are
        not among them.
        """
        ...

    async def next_due(self, flows: Iterable[str]) -> float | None:
        """When the next waiting execution of these flows is due that nobody has; None if there is none."""
        ...

    async def release(self, executions: Iterable[str]) -> None:
        """Give executions back. Those that are not this owner's are left alone."""
        ...

    # -- keeping house -----------------------------------------------------------------------------------------------

    async def trim(self, execution: str, records: int) -> int:
        """Forget records before number `records` that are no stream items; how many were forgotten.

        A snapshot after at least that many records must be kept: raises `StoreConflict` otherwise.
        """
        ...

    async def delete(self, executions: Iterable[str]) -> int:
        """Forget executions that have ended, with their sub-flows and all they refer to; how many were forgotten.

        Those that have not ended are left alone.
        """
        ...
