"""Writes records, payloads, snapshots and definitions. Each function runs inside one transaction."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from ..._core.errors import StoreConflict
from ..protocol import FINAL_STATUSES, Append, ExecutionCopy, ExecutionRow
from ..thinning import superseded
from . import claims, inbox, listing, reading, shared
from .changes import note
from .ownership import Claim, Ownership


class _Batch:
    """What the appends of one call write. One statement inserts the records of all executions, in their order."""

    def __init__(self, connection: sqlite3.Connection, ownership: Ownership) -> None:
        self._connection = connection
        self._ownership = ownership
        self._records: list[tuple[Any, ...]] = []
        self._changed: list[tuple[Any, ...]] = []
        #: ids of executions that have changed, but have no new record
        self._noted: list[str] = []
        #: the appends that change more than records, status and due time, with the keys of their executions
        self._more: list[tuple[int, Append]] = []
        #: the appends that concern shared data, with the keys and flows of their executions
        self._shared: list[tuple[int, str, Append]] = []
        #: the keys of the executions that have ended, by flow
        self._ended: dict[str, list[int]] = {}
        #: the flows of the executions
        self.flows: set[str] = set()
        #: the executions that have ended or were released
        self._left: set[str] = set()
        #: whether some were released
        self.releases = False

    def add(self, appends: Sequence[Append]) -> None:
        """Add appends, in their order. Raises `StoreConflict`."""
        connection, ownership, held_then = self._connection, self._ownership, self._ownership.changes
        records, left, flows = self._records, self._left, self.flows
        for add in appends:
            name, at, new_status, create = add.execution, add.at, add.status, add.create
            if name in left:  # the tables have to say so, so that the next append is refused
                self.write()
            if create is None:
                held = ownership.require(connection, name, reopens=add.reopens)
            else:
                held = _create(connection, ownership, add, create)
            key, count, status, due, asks, flow = held
            flows.add(flow)
            if add.first != count:
                raise StoreConflict(
                    f"execution {name!r} has {count} records: the next one is number {count}, not {add.first}"
                )
            for record in add.records:
                records.append((key, count, record.item or None, at, record.data))
                count += 1
            ends, changes = new_status in FINAL_STATUSES, new_status != status or add.due != due
            if changes:
                self._changed.append((new_status, add.due, at, None if ends else ownership.owner, key))
            if ends or add.releases:
                left.add(name)
                self.releases = self.releases or add.releases
                if ends:
                    self._ended.setdefault(flow, []).append(key)
            if add.payloads:
                _store_payloads(connection, key, add.payloads)
            if add.questions or add.replies or add.taken or add.error or add.reopens or add.releases or (asks and ends):
                self._more.append((key, add))
                asks = asks or bool(add.questions)
            elif not add.records and (changes or create is not None):
                self._noted.append(name)
            if add.shared or add.heard is not None or add.listens is not None:
                self._shared.append((key, flow, add))
            claim = Claim(key, count, new_status, add.due, asks, flow)
            held_then[name] = None if ends else claim

    def write(self) -> None:
        """Write what was added since the last call."""
        connection = self._connection
        if self._records:
            connection.executemany(
                "INSERT INTO records (execution, number, item, at, data) VALUES (?, ?, ?, ?, ?)", self._records
            )
            last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
            self._ownership.appended(last - len(self._records), last)
        if self._changed:
            connection.executemany(
                "UPDATE executions SET status = ?, due = ?, updated = max(updated, ?), owner = ? WHERE key = ?",
                self._changed,
            )
        if self._more or self._noted or (self._shared and any(add.shared for _, _, add in self._shared)):
            self._ownership.concerns_others()
        if self._more:
            self._write_more()
        if self._noted:
            note(connection, "executions", self._noted)
        if self._shared:
            shared.write(connection, self._shared)
        if self._ended:
            shared.forget_ended(connection, self._ended)
        for written in (self._records, self._changed, self._noted, self._more, self._shared, self._ended, self._left):
            written.clear()

    def _write_more(self) -> None:
        connection = self._connection
        for key, add in self._more:
            ends = add.status in FINAL_STATUSES
            if add.reopens:
                connection.execute("UPDATE executions SET error = NULL WHERE key = ?", (key,))
                connection.execute("DELETE FROM words WHERE execution = ? AND kind = 1", (key,))
                if ends:  # again, in the same way: the row does not change, but for the owner that reopened it
                    connection.execute("UPDATE executions SET owner = NULL WHERE key = ?", (key,))
            if ends and add.error:
                connection.execute("UPDATE executions SET error = ? WHERE key = ?", (add.error, key))
                listing.put_words(connection, key, {}, add.error)
            if ends:
                connection.execute("DELETE FROM questions WHERE execution = ?", (add.execution,))
            elif add.questions:
                _put_questions(connection, add)
        inbox.reply(connection, self._more)
        note(connection, "executions", dict.fromkeys(add.execution for _, add in self._more if not add.records))
        for key, add in self._more:
            if add.releases:
                if add.create is None:
                    claims.release_tree(connection, self._ownership, add.execution)
                else:
                    connection.execute("UPDATE executions SET owner = NULL WHERE key = ?", (key,))
                    self._ownership.forget(add.execution)


def append(connection: sqlite3.Connection, ownership: Ownership, appends: Sequence[Append]) -> dict[str, int]:
    """See `Store.append`."""
    batch = _Batch(connection, ownership)
    batch.add(appends)
    batch.write()
    if batch.releases:
        ownership.concerns_others(releases=True)
    return shared.newest(connection, batch.flows)


def _put_questions(connection: sqlite3.Connection, add: Append) -> None:
    found = inbox.root_of(connection, add.execution)
    assert found is not None  # the execution was looked up in this transaction
    for id, data in add.questions.items():
        if data is None:
            connection.execute("DELETE FROM questions WHERE execution = ? AND id = ?", (add.execution, id))
        else:
            connection.execute(
                """INSERT INTO questions (execution, id, root, flow, since, data) VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (execution, id) DO UPDATE SET data = excluded.data""",
                (add.execution, id, found[2], found[3], add.at, data),
            )


def _create(connection: sqlite3.Connection, ownership: Ownership, add: Append, row: ExecutionRow) -> Claim:
    if row.id != add.execution:
        raise ValueError(f"the append is for execution {add.execution!r}, but creates {row.id!r}")
    forked_execution, forked_records = row.forked_from or (None, None)
    owner = None if add.status in FINAL_STATUSES else ownership.owner
    cursor = connection.execute(
        """INSERT INTO executions (id, flow, definition, options, parent, forked_execution, forked_records, created,
            updated, status, due, owner, labels, trimmed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
        ON CONFLICT (id) DO NOTHING""",
        (
            *(row.id, row.flow, row.definition, row.options, row.parent, forked_execution, forked_records),
            *(row.created, add.at, add.status, add.due, owner, json.dumps(row.labels) if row.labels else None),
        ),
    )
    if not cursor.rowcount or cursor.lastrowid is None:
        raise StoreConflict(f"execution {row.id!r} exists already")
    if row.labels:
        listing.put_words(connection, cursor.lastrowid, row.labels, None)
    return Claim(cursor.lastrowid, 0, add.status, add.due, asks=False, flow=row.flow)


def _store_payloads(connection: sqlite3.Connection, key: int, payloads: dict[str, bytes]) -> None:
    connection.executemany(
        "INSERT INTO payloads (digest, data) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING", payloads.items()
    )
    connection.executemany(
        "INSERT INTO payload_uses (execution, digest) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(key, digest) for digest in payloads],
    )


def put_snapshot(
    connection: sqlite3.Connection, ownership: Ownership, execution: str, records: int, definition: str, data: bytes
) -> None:
    """See `Store.put_snapshot`."""
    row = reading.find(connection, ownership.clock(), execution)
    if row is None or row.status not in FINAL_STATUSES:
        count = ownership.require(connection, execution).records
        if records > count:
            raise StoreConflict(f"execution {execution!r} has {count} records: there is no state after {records}")
    elif (records, definition) != (row.records, row.definition):
        raise StoreConflict(
            f"execution {execution!r} has ended ({row.status}); only a snapshot after its last record can be added"
        )
    connection.execute(
        """INSERT OR REPLACE INTO snapshots (execution, records, definition, data)
        SELECT key, ?, ?, ? FROM executions WHERE id = ?""",
        (records, definition, data, execution),
    )
    kept = connection.execute(
        """SELECT records, definition FROM snapshots WHERE execution = (SELECT key FROM executions WHERE id = ?)
        ORDER BY records""",
        (execution,),
    )
    connection.executemany(
        "DELETE FROM snapshots WHERE execution = (SELECT key FROM executions WHERE id = ?) AND records = ?",
        [(execution, number) for number in superseded(kept.fetchall())],
    )
    moved = connection.execute(
        "UPDATE executions SET definition = ? WHERE id = ? AND definition != ?", (definition, execution, definition)
    )
    if moved.rowcount:
        note(connection, "executions", [execution])


def put_copies(connection: sqlite3.Connection, ownership: Ownership, copies: Sequence[ExecutionCopy]) -> None:
    """See `Store.put_copies`."""
    for copy in copies:
        row = copy.row
        first = Append(execution=row.id, first=0, records=[], status=row.status, due=row.due, at=row.updated)
        key = _create(connection, ownership, first, row).key
        connection.executemany(
            "INSERT INTO records (execution, number, item, at, data) VALUES (?, ?, ?, ?, ?)",
            [(key, number, record.item or None, row.updated, record.data) for number, record in copy.records],
        )
        connection.executemany(
            "INSERT INTO snapshots (execution, records, definition, data) VALUES (?, ?, ?, ?)",
            [(key, *snapshot) for snapshot in copy.snapshots],
        )
        # The newest records may have been trimmed, so that the number of records has to come from the row.
        connection.execute("UPDATE executions SET trimmed = ? WHERE key = ?", (row.records, key))
        _store_payloads(connection, key, copy.payloads)
        if row.status not in FINAL_STATUSES:
            shared.listen(connection, key, row.flow, copy.listens, None)
        if row.error:
            connection.execute("UPDATE executions SET error = ? WHERE key = ?", (row.error, key))
            listing.put_words(connection, key, {}, row.error)
        ownership.remember(row.id, Claim(key, row.records, row.status, row.due, asks=False, flow=row.flow))
    note(connection, "executions", [copy.row.id for copy in copies])
    ownership.renew_now(connection)


def put_definition(connection: sqlite3.Connection, ownership: Ownership, fingerprint: str, data: bytes) -> None:
    """See `Store.put_definition`."""
    connection.execute(
        "INSERT INTO definitions (fingerprint, data) VALUES (?, ?) ON CONFLICT (fingerprint) DO NOTHING",
        (fingerprint, data),
    )
