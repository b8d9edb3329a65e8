"""Writes records, payloads, snapshots, definitions and schedules. Each write is one statement: see `functions`."""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..._core.errors import StoreConflict, StoreUnavailable
from ..protocol import FINAL_STATUSES, Append, ExecutionCopy, ExecutionRow, NewRecord, ScheduleRow
from ..searching import folded, words
from ..thinning import superseded
from . import reading, shared
from .connections import Committed
from .ownership import Claim, Ownership
from .text import base64, read, write


class _Call:
    """The arguments of one call of the function `append`."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._owner = write(ownership.database.owner)
        #: by id, what is known of each execution after this call; a negative key -n is the n-th new one
        self.claims: dict[str, Claim] = {}
        self._created: list[dict[str, Any]] = []
        self._changed: dict[int, dict[str, Any]] = {}
        self._keys: list[int] = []
        self._numbers: list[int] = []
        self._items: list[int] = []
        self._ats: list[float] = []
        self._data: list[bytes] = []
        self._blobs: list[bytes] = []
        self._blob_end = 1
        self._payloads: dict[str, tuple[int, int]] = {}
        self._more: dict[str, list[Any]] = {}
        self._opened: dict[tuple[int, str], dict[str, Any]] = {}
        self._replied: set[str] = set()

    async def add(self, add: Append) -> None:
        """Add an append. Raises `StoreConflict`."""
        name = add.execution
        held = self.claims.get(name)
        if add.create is not None:
            if held is not None:
                raise StoreConflict(f"execution {name!r} exists already")
            if add.create.id != name:
                raise ValueError(f"the append is for execution {name!r}, but creates {add.create.id!r}")
            held = self._create(add.create, at=add.at, status=add.status, due=add.due, error=_error(add))
        elif held is None:
            held = await self._ownership.require(name, reopens=add.reopens)
        elif held.status in FINAL_STATUSES or add.reopens or held.key in self._more.get("releases", ()):
            raise StoreConflict(f"execution {name!r} has ended or was released earlier in the same call")
        if add.first != held.records:
            raise StoreConflict(
                f"execution {name!r} has {held.records} records: the next one is number {held.records}, not {add.first}"
            )
        self.records(held.key, enumerate(add.records, held.records), add.at)
        ends, error = add.status in FINAL_STATUSES, _error(add)
        changes = add.status != held.status or add.due != held.due or error or held.failed or add.reopens
        if add.create is None and changes:
            self._change(held.key, add, ends, error)
        if error:
            self._put_words(held.key, error)
        elif held.failed:
            self._put("unworded", held.key)
        if add.payloads:
            self.payloads(held.key, add.payloads)
        self._questions(held.key, add, ends)
        for reply in add.replies:
            if reply.request not in self._replied:
                self._replied.add(reply.request)
                entry = {"key": held.key, "id": write(reply.request), "ok": reply.ok, "at": reply.at}
                self._put("replies", entry | {"data": base64(reply.data)})
        for request in add.taken:
            if request not in self._replied:
                self._put("taken", {"key": held.key, "id": write(request)})
        self._shared(held, add, ends)
        if add.releases and not ends:
            self._put("releases", held.key)
        self.claims[name] = held._replace(
            records=held.records + len(add.records), status=add.status, due=add.due, failed=error is not None
        )

    def copy(self, copy: ExecutionCopy) -> None:
        """Add a whole execution. Raises `StoreConflict`."""
        row = copy.row
        if row.id in self.claims:
            raise StoreConflict(f"execution {row.id!r} exists already")
        # The newest records may have been trimmed, so that the number of records has to come from the row.
        held = self._create(row, at=row.updated, status=row.status, due=row.due, error=row.error, trimmed=row.records)
        if row.error:
            self._put_words(held.key, row.error)
        self.records(held.key, copy.records, row.updated)
        for records, definition, data in copy.snapshots:
            start, length = self._blob(data)
            entry = {"key": held.key, "records": records, "definition": write(definition)}
            self._put("snapshots", entry | {"start": start, "length": length})
        self.payloads(held.key, copy.payloads)
        if copy.listens and row.status not in FINAL_STATUSES:
            listens = [write(key) for key in copy.listens]
            self._put("shared", {"execution": held.key, "flow": write(row.flow), "listens": listens})
        self.claims[row.id] = held._replace(records=row.records)

    def _create(
        self, row: ExecutionRow, *, at: float, status: str, due: float | None, error: str | None, trimmed: int = 0
    ) -> Claim:
        key = -1 - len(self._created)
        forked, forked_records = row.forked_from or (None, None)
        labels = write(msgspec.json.encode(row.labels).decode()) if row.labels else None
        self._created.append(
            {
                "id": write(row.id),
                "flow": write(row.flow),
                "definition": write(row.definition),
                "options": base64(row.options),
                "parent": None if row.parent is None else write(row.parent),
                "forked_execution": None if forked is None else write(forked),
                "forked_records": forked_records,
                "created": row.created,
                "updated": at,
                "status": status,
                "due": due,
                "owner": None if status in FINAL_STATUSES else self._owner,
                "trimmed": trimmed,
                "labels": labels,
                "error": None if error is None else write(error),
            }
        )
        for name, value in row.labels.items():
            entry = {"key": key, "name": write(name), "value": write(value), "folded": write(folded(value))}
            self._put("labels", entry)
        return Claim(key, row.flow, 0, status, due, error is not None)

    def _change(self, key: int, add: Append, ends: bool, error: str | None) -> None:
        """Change the row of an execution; the last change of a call counts."""
        text = None if error is None else write(error)
        owner = None if ends else self._owner
        if key < 0:
            row = self._created[-1 - key]
            row |= {"status": add.status, "due": add.due, "owner": owner, "error": text}
            row["updated"] = max(row["updated"], add.at)
        else:
            at = max(add.at, self._changed[key]["at"]) if key in self._changed else add.at
            self._changed[key] = {
                "key": key,
                "status": add.status,
                "due": add.due,
                "at": at,
                "owner": owner,
                "error": text,
            }

    def _questions(self, key: int, add: Append, ends: bool) -> None:
        for id, data in add.questions.items():
            if data is None:
                self._opened.pop((key, id), None)
                self._put("closed", {"key": key, "id": write(id)})
            else:
                entry = self._opened.setdefault((key, id), {"key": key, "id": write(id), "since": add.at})
                entry["data"] = base64(data)
        if ends:
            self._opened = {place: entry for place, entry in self._opened.items() if place[0] != key}
            self._put("ended", key)

    def _shared(self, held: Claim, add: Append, ends: bool) -> None:
        if not add.shared and add.listens is None and add.heard is None:
            return
        entry: dict[str, Any] = {"execution": held.key, "flow": write(held.flow), "by": write(add.execution)}
        entry |= {"heard": add.heard, "ends": ends, "changes": shared.changes(add.shared)}
        if add.listens is not None:
            entry["listens"] = [write(key) for key in add.listens]
        self._put("shared", entry)

    def schedule(self, schedule: ScheduleRow, replaces: str | None) -> None:
        """Store a schedule in the same transaction."""
        entry = {"id": write(schedule.id), "flow": write(schedule.flow), "data": base64(schedule.data)}
        entry |= {"due": schedule.due, "version": write(schedule.version)}
        self._put("schedule", entry | {"replaces": None if replaces is None else write(replaces)})

    def _put_words(self, key: int, error: str) -> None:
        self._put("unworded", key)
        self._more["words"] = [entry for entry in self._more.get("words", []) if entry["key"] != key]
        for word in words(error):
            self._put("words", {"key": key, "word": write(word)})

    def _put(self, kind: str, entry: Any) -> None:
        self._more.setdefault(kind, []).append(entry)

    def records(self, key: int, records: Iterable[tuple[int, NewRecord]], at: float) -> None:
        """Add records with their numbers."""
        for number, record in records:
            self._keys.append(key)
            self._numbers.append(number)
            self._items.append(record.item)
            self._ats.append(at)
            self._data.append(record.data)

    def payloads(self, key: int, payloads: Mapping[str, bytes]) -> None:
        """Add payloads to which an execution refers."""
        for digest, data in payloads.items():
            if digest not in self._payloads:
                self._payloads[digest] = self._blob(data)
            self._put("uses", {"key": key, "digest": write(digest)})

    def _blob(self, data: bytes) -> tuple[int, int]:
        self._blobs.append(data)
        start = self._blob_end
        self._blob_end += len(data)
        return start, len(data)

    def arguments(self, token: str) -> tuple[Any, ...]:
        """What is passed to the function, after the owner and its incarnation."""
        starts: list[int] = []
        end = 1
        for data in self._data:
            starts.append(end)
            end += len(data)
        more: dict[str, list[Any]] = {
            **self._more,
            "create": self._created,
            "change": list(self._changed.values()),
            "opened": list(self._opened.values()),
            "payloads": [
                {"digest": write(digest), "start": start, "length": length}
                for digest, (start, length) in self._payloads.items()
            ],
        }
        more = {kind: entries for kind, entries in more.items() if entries}
        return (
            token,
            *(_array(numbers) for numbers in (self._keys, self._numbers, self._items, self._ats, starts)),
            _array([len(data) for data in self._data]),
            b"".join(self._data),
            _array([claim.key for claim in self.claims.values() if claim.key > 0]),
            list({write(claim.flow) for claim in self.claims.values()}),
            msgspec.json.encode(more).decode() if more else None,
            b"".join(self._blobs),
        )


def _array(numbers: Sequence[float]) -> str:
    """An array as the database reads it; several times as fast as having psycopg write a list."""
    return f"{{{','.join(map(repr, numbers))}}}"


def _error(add: Append) -> str | None:
    return add.error if add.status in FINAL_STATUSES else None


async def append(ownership: Ownership, appends: Sequence[Append]) -> dict[str, int]:
    """See `Store.append`."""

    async def fill(call: _Call) -> None:
        for add in appends:
            await call.add(add)

    own = not any(add.releases for add in appends)
    return await _run(ownership, fill, [add.execution for add in appends], own=own)


async def put_copies(ownership: Ownership, copies: Sequence[ExecutionCopy]) -> None:
    """See `Store.put_copies`."""

    async def fill(call: _Call) -> None:
        for copy in copies:
            call.copy(copy)

    await _run(ownership, fill, [copy.row.id for copy in copies])


async def put_schedule(
    ownership: Ownership, schedule: ScheduleRow, replaces: str | None, starts: Sequence[Append]
) -> None:
    """See `Store.put_schedule`."""

    async def fill(call: _Call) -> None:
        call.schedule(schedule, replaces)
        for add in starts:
            await call.add(add)

    await _run(ownership, fill, [add.execution for add in starts])


async def _run(
    ownership: Ownership, fill: Callable[[_Call], Awaitable[None]], names: Sequence[str], *, own: bool = False
) -> dict[str, int]:
    """Send a call, and remember afterwards what it has changed. Returns the numbers of shared data by flow."""
    sent: list[_Call] = []
    token = secrets.token_hex(8)

    async def values() -> tuple[Any, ...]:
        call = _Call(ownership)
        await fill(call)
        sent[:] = [call]
        return call.arguments(token)

    database = ownership.database
    try:
        created, freed, newest, _ = await database.write("append", values, token=token, reserved=True, own=own)
    except (Committed, StoreUnavailable) as error:  # what it has created is not known here: the next append looks
        for name in names:
            ownership.forget(name)
        if not isinstance(error, Committed):
            raise
        flows = {write(held.flow) for held in sent[0].claims.values()} if sent else set[str]()
        return await shared.newest(database, flows)
    for name, held in sent[0].claims.items():
        ownership.remember(name, held if held.key > 0 else held._replace(key=created[-1 - held.key]))
    for name in freed:
        ownership.forget(read(name))
    numbers: dict[str, int] = newest or {}
    return {read(flow): number for flow, number in numbers.items()}


async def put_snapshot(ownership: Ownership, execution: str, records: int, definition: str, data: bytes) -> None:
    """See `Store.put_snapshot`."""
    token = secrets.token_hex(8)

    async def values() -> tuple[Any, ...]:
        row = await reading.find(ownership.database, execution, nested=True)
        if row is None or row.status not in FINAL_STATUSES:
            count = (await ownership.require(execution)).records
            if records > count:
                raise StoreConflict(f"execution {execution!r} has {count} records: there is no state after {records}")
        elif (records, definition) != (row.records, row.definition):
            raise StoreConflict(
                f"execution {execution!r} has ended ({row.status}); only a snapshot after its last record can be added"
            )
        return token, write(execution), records, write(definition), data

    database = ownership.database
    await database.write("put_snapshot", values)
    rows = await database.read(
        """SELECT execution, records, definition FROM {s}.snapshots
        WHERE execution = (SELECT key FROM {s}.executions WHERE id = %s) ORDER BY records""",
        (write(execution),),
    )
    dropped = superseded([(count, name) for _, count, name in rows]) if rows else []
    if dropped:
        drop = "DELETE FROM {s}.snapshots WHERE execution = %s AND records = ANY (%s) RETURNING 1"
        await database.read(drop, (rows[0][0], dropped))


async def put_definition(ownership: Ownership, fingerprint: str, data: bytes) -> None:
    """See `Store.put_definition`."""
    await ownership.database.write("put_definition", lambda: (write(fingerprint), data), announces=False)
