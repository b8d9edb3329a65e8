"""A store in memory: for tests, and for what shall run as durable executions do but need not outlive its process."""

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from types import TracebackType
from typing import Self

import msgspec

from .._core.errors import ExecutionLeased, StoreConflict, StoreDamaged, UnknownExecution
from .lifecycle import Lifecycle, OpenedInScripts
from .protocol import FINAL_STATUSES, Append, ExecutionCopy, ExecutionRow, NewRecord, StatusName, payload_digest

_FIRST = itemgetter(0)


class _Kept(msgspec.Struct):
    """One execution. `row` is complete but for its owner's being alive."""

    row: ExecutionRow
    #: orders executions that were created at the same moment
    place: int
    records: list[tuple[int, NewRecord]] = []
    items: list[tuple[int, bytes]] = []
    snapshots: dict[int, tuple[int, str, bytes]] = {}
    payloads: set[str] = set()


class MemoryData:
    """What a file is to other stores. Every `MemoryStore` over the same data is another owner. For one thread."""

    def __init__(self) -> None:
        self.kept: dict[str, _Kept] = {}
        #: the ids of sub-flows, by the id of what they belong to
        self.children: dict[str, set[str]] = {}
        self.payloads: dict[str, bytes] = {}
        self.definitions: dict[str, bytes] = {}
        #: until when each owner counts as alive; infinity while its store is open
        self.owners: dict[str, float] = {}
        self.opened = 0
        self.created = 0

    def add(self, kept: _Kept) -> None:
        """An execution that is new."""
        self.kept[kept.row.id] = kept
        if kept.row.parent is not None:
            self.children.setdefault(kept.row.parent, set()).add(kept.row.id)


class MemoryStore(OpenedInScripts):
    """A store over `data`. With the same calls and the same `clock` it does the same.

    An open store keeps its owner alive without doing anything for it. `lease` and `clock` are in seconds.
    """

    def __init__(
        self, data: MemoryData | None = None, *, lease: float = 30.0, clock: Callable[[], float] = time.time
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
        """Open: after this the owner is known and kept alive."""
        self._lifecycle.open()
        self.data.opened += 1
        self._owner = f"memory-{self.data.opened}"
        self.data.owners[self._owner] = float("inf")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close: what this owner has is released."""
        if self._lifecycle.is_open:
            self._lifecycle.close()
            self.data.owners.pop(self._owner, None)

    def crash(self) -> None:
        """Do as if the process had died: close, but release nothing; others have to wait for the lease to end."""
        self._lifecycle.check()
        self._lifecycle.close()
        self.data.owners[self._owner] = self._clock() + self._lease

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append]) -> None:
        """See `Store.append`."""
        self._begin()
        changed: dict[str, _Kept] = {}
        for add in appends:
            kept = changed.get(add.execution)
            if add.create is not None:
                kept = changed[add.execution] = self._created(add, add.create, changed)
            elif kept is None:
                now = self._required(add.execution)
                kept = changed[add.execution] = msgspec.structs.replace(now, records=[], items=[], payloads=set())
            elif kept.row.status in FINAL_STATUSES:
                raise _ended(kept.row)
            _extend(kept, add, self._owner)
        for name, kept in changed.items():
            if not (before := self.data.kept.get(name)):
                self.data.add(kept)
            else:
                before.row = kept.row
                before.records += kept.records
                before.items += kept.items
                before.payloads |= kept.payloads
        for add in appends:
            for digest, data in add.payloads.items():
                self.data.payloads.setdefault(digest, bytes(data))

    def _created(self, add: Append, row: ExecutionRow, changed: dict[str, _Kept]) -> _Kept:
        if row.id != add.execution:
            raise ValueError(f"the append is for execution {add.execution!r}, but creates {row.id!r}")
        if row.id in self.data.kept or row.id in changed:
            raise StoreConflict(f"execution {row.id!r} exists already")
        self.data.created += 1
        return _Kept(msgspec.structs.replace(row, updated=add.at, records=0, items=0), self.data.created)

    async def put_snapshot(self, execution: str, records: int, definition: str, data: bytes) -> None:
        """See `Store.put_snapshot`."""
        self._begin()
        kept = self.data.kept.get(execution)
        if kept is None or kept.row.status not in FINAL_STATUSES:
            kept = self._required(execution)
        elif (records, definition) != (kept.row.records, kept.row.definition):
            raise _ended(kept.row)
        if records > kept.row.records:
            raise StoreConflict(
                f"execution {execution!r} has {kept.row.records} records: there is no state after {records}"
            )
        kept.snapshots[records] = (records, definition, data)
        kept.row = msgspec.structs.replace(kept.row, definition=definition)

    async def put_copies(self, copies: Sequence[ExecutionCopy]) -> None:
        """See `Store.put_copies`."""
        self._begin()
        names: set[str] = set()
        for copy in copies:
            if copy.row.id in self.data.kept or copy.row.id in names:
                raise StoreConflict(f"execution {copy.row.id!r} exists already")
            names.add(copy.row.id)
        for copy in copies:
            self.data.created += 1
            row = copy.row
            kept = _Kept(
                msgspec.structs.replace(row, owner=None if row.status in FINAL_STATUSES else self._owner),
                self.data.created,
                list(copy.records),
                [(record.item, record.data) for _, record in copy.records if record.item],
                {snapshot[0]: snapshot for snapshot in copy.snapshots},
                set(copy.payloads),
            )
            self.data.add(kept)
            for digest, data in copy.payloads.items():
                self.data.payloads.setdefault(digest, bytes(data))

    async def put_definition(self, fingerprint: str, data: bytes) -> None:
        """See `Store.put_definition`."""
        self._begin()
        self.data.definitions.setdefault(fingerprint, data)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def find(self, execution: str) -> ExecutionRow | None:
        """See `Store.find`."""
        self._lifecycle.check()
        kept = self.data.kept.get(execution)
        return kept and self._row(kept)

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
        """See `Store.executions`."""
        self._lifecycle.check()
        statuses = None if status is None else set(status)
        last = None
        if after is not None:
            if after not in self.data.kept:
                raise UnknownExecution(f"there is no execution {after!r} to go on after; was it deleted?")
            last = _age(self.data.kept[after])
        found = [
            kept
            for kept in self.data.kept.values()
            if kept.row.parent == parent
            and (flow is None or kept.row.flow == flow)
            and (statuses is None or kept.row.status in statuses)
            and (since is None or kept.row.created >= since)
            and (until is None or kept.row.created < until)
            and (last is None or _age(kept) < last)
        ]
        return [self._row(kept) for kept in sorted(found, key=_age, reverse=True)[:limit]]

    async def records(self, execution: str, *, first: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """See `Store.records`."""
        self._lifecycle.check()
        if not (kept := self.data.kept.get(execution)):
            return []
        start = bisect_left(kept.records, first, key=_FIRST)
        return [(number, record.data) for number, record in kept.records[start : start + limit]]

    async def items(self, execution: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """See `Store.items`."""
        self._lifecycle.check()
        if not (kept := self.data.kept.get(execution)):
            return []
        start = bisect_left(kept.items, after + 1, key=_FIRST)
        return kept.items[start : start + limit]

    async def payloads(self, digests: Iterable[str]) -> dict[str, bytes]:
        """See `Store.payloads`."""
        self._lifecycle.check()
        found: dict[str, bytes] = {}
        for digest in digests:
            if digest not in self.data.payloads:
                raise StoreDamaged(f"the payload {digest} is missing; was the execution that refers to it deleted?")
            found[digest] = self.data.payloads[digest]
            if payload_digest(found[digest]) != digest:
                raise StoreDamaged(f"the payload {digest} is not what its digest says")
        return found

    async def snapshot(self, execution: str, *, records: int | None = None) -> tuple[int, str, bytes] | None:
        """See `Store.snapshot`."""
        self._lifecycle.check()
        if not (kept := self.data.kept.get(execution)):
            return None
        numbers = [number for number in kept.snapshots if records is None or number <= records]
        return kept.snapshots[max(numbers)] if numbers else None

    async def definition(self, fingerprint: str) -> bytes | None:
        """See `Store.definition`."""
        self._lifecycle.check()
        return self.data.definitions.get(fingerprint)

    # -- who runs what -----------------------------------------------------------------------------------------------

    async def claim(self, execution: str) -> ExecutionRow:
        """See `Store.claim`."""
        self._begin()
        self._purge()
        if not (kept := self.data.kept.get(execution)):
            raise UnknownExecution(f"there is no execution {execution!r} in the store")
        if kept.row.owner in self.data.owners and kept.row.owner != self._owner:
            raise ExecutionLeased(f"execution {execution!r} is run by owner {kept.row.owner} now")
        return self._take(kept)

    async def claim_work(
        self, flows: Iterable[str], *, limit: int = 100, without: Collection[str] = ()
    ) -> list[ExecutionRow]:
        """See `Store.claim_work`."""
        self._begin()
        self._purge()
        now = self._clock()
        free = [
            kept
            for kept in self._free(set(flows), set(without))
            if kept.row.status in ("created", "running")
            or (kept.row.status == "waiting" and kept.row.due is not None and kept.row.due <= now)
        ]
        return [self._take(kept) for kept in sorted(free, key=_age)[:limit]]

    async def next_due(self, flows: Iterable[str], *, without: Collection[str] = ()) -> float | None:
        """See `Store.next_due`."""
        self._lifecycle.check()
        free = self._free(set(flows), set(without))
        dues = [kept.row.due for kept in free if kept.row.status == "waiting" and kept.row.due is not None]
        return min(dues, default=None)

    async def release(self, executions: Iterable[str]) -> None:
        """See `Store.release`."""
        self._begin()
        for execution in executions:
            kept = self.data.kept.get(execution)
            if kept is None or kept.row.owner != self._owner:
                continue
            for one in self._tree(kept):
                if one.row.owner == self._owner:
                    one.row = msgspec.structs.replace(one.row, owner=None)

    # -- keeping house -----------------------------------------------------------------------------------------------

    async def trim(self, execution: str, records: int, *, payloads: Collection[str] | None = None) -> int:
        """See `Store.trim`."""
        self._begin()
        if not (kept := self.data.kept.get(execution)):
            raise UnknownExecution(f"there is no execution {execution!r} in the store")
        if not any(number >= records for number in kept.snapshots):
            raise StoreConflict(f"execution {execution!r} has no snapshot after {records} records or more")
        kept.snapshots = {number: found for number, found in kept.snapshots.items() if number >= records}
        before = len(kept.records)
        kept.records = [(number, record) for number, record in kept.records if number >= records or record.item]
        if payloads is not None and kept.row.records <= records:
            kept.payloads.intersection_update(payloads)
            self._sweep()
        return before - len(kept.records)

    async def delete(self, executions: Iterable[str]) -> int:
        """See `Store.delete`."""
        self._begin()
        forgotten: list[_Kept] = []
        for execution in executions:
            if not (kept := self.data.kept.get(execution)):
                continue
            tree = list(self._tree(kept))
            if all(one.row.status in FINAL_STATUSES for one in tree):
                for one in tree:
                    del self.data.kept[one.row.id]
                    if one.row.parent is not None:
                        self.data.children[one.row.parent].discard(one.row.id)
                forgotten += tree
        if any(kept.payloads for kept in forgotten):
            self._sweep()
        return len(forgotten)

    def _sweep(self) -> None:
        """Forget the payloads that nobody refers to any more."""
        used = set[str]().union(*(kept.payloads for kept in self.data.kept.values()))
        self.data.payloads = {digest: data for digest, data in self.data.payloads.items() if digest in used}

    # -- what several of them need -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """What everything begins with that writes. An owner that was counted as dead and comes back is alive again."""
        self._lifecycle.check()
        self.data.owners[self._owner] = float("inf")

    def _purge(self) -> None:
        now = self._clock()
        alive = {name: until for name, until in self.data.owners.items() if until > now or name == self._owner}
        self.data.owners = alive

    def _required(self, execution: str) -> _Kept:
        kept = self.data.kept.get(execution)
        if kept is None:
            raise StoreConflict(f"there is no execution {execution!r} in the store; was it deleted?")
        if kept.row.status in FINAL_STATUSES:
            raise _ended(kept.row)
        if kept.row.owner != self._owner:
            now_with = f"owner {kept.row.owner} has it now" if kept.row.owner else "nobody has it now"
            raise StoreConflict(f"execution {execution!r} is not run by owner {self._owner} any more: {now_with}")
        return kept

    def _row(self, kept: _Kept) -> ExecutionRow:
        owner = kept.row.owner
        if owner is not None and self.data.owners.get(owner, 0) <= self._clock():
            return msgspec.structs.replace(kept.row, owner=None)
        return kept.row

    def _free(self, flows: set[str], without: set[str]) -> Iterator[_Kept]:
        for kept in self.data.kept.values():
            row = kept.row
            if row.flow in flows and row.parent is None and row.id not in without and self._row(kept).owner is None:
                yield kept

    def _take(self, kept: _Kept) -> ExecutionRow:
        for one in self._tree(kept):
            if one.row.owner not in self.data.owners:
                one.row = msgspec.structs.replace(one.row, owner=self._owner)
        return kept.row

    def _tree(self, kept: _Kept) -> Iterator[_Kept]:
        yield kept
        for name in self.data.children.get(kept.row.id, ()):
            yield from self._tree(self.data.kept[name])


def _age(kept: _Kept) -> tuple[float, int]:
    return kept.row.created, kept.place


def _extend(kept: _Kept, add: Append, owner: str) -> None:
    """Add to a draft of what is kept, which nobody sees unless everything else can be added too."""
    row = kept.row
    if add.first != row.records:
        raise StoreConflict(
            f"execution {row.id!r} has {row.records} records: the next one is number {row.records}, not {add.first}"
        )
    items = row.items
    for number, record in enumerate(add.records, add.first):
        kept.records.append((number, record))
        if record.item:
            if record.item <= items:
                raise StoreConflict(f"execution {row.id!r} has stream item {record.item} already")
            items = record.item
            kept.items.append((items, record.data))
    kept.payloads |= add.payloads.keys()
    told = bool(add.records) or (add.status, add.due) != (row.status, row.due)
    kept.row = msgspec.structs.replace(
        row,
        status=add.status,
        due=add.due,
        updated=max(row.updated, add.at) if told else row.updated,
        records=row.records + len(add.records),
        items=items,
        owner=None if add.status in FINAL_STATUSES else owner,
    )


def _ended(row: ExecutionRow) -> StoreConflict:
    return StoreConflict(f"execution {row.id!r} has ended ({row.status}); it takes no record any more")
