"""Queries. Each is one statement, so that it reads one consistent state."""

from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any, cast

import msgspec

from ..._core.errors import StoreDamaged, UnknownExecution
from ..protocol import ExecutionRow, Question, StatusName, payload_digest
from ..searching import folded, words
from .connections import Database, Row
from .text import begins, read, write

#: The time of the database, or of the clock of a test.
NOW = "{s}.now_or(%(now)s::double precision)"

_ROW = f"""
    SELECT e.key, e.id, e.flow, e.definition, e.options, e.parent, e.forked_execution, e.forked_records, e.created,
        e.status, e.due, greatest(e.updated, last.at), greatest(e.trimmed, last.number + 1),
        coalesce((SELECT max(item) FROM {{s}}.records WHERE execution = e.key AND item IS NOT NULL), 0),
        (SELECT o.id FROM {{s}}.owners o WHERE o.id = e.owner AND o.expires > {NOW}),
        e.labels, e.error, (SELECT count(*) FROM {{s}}.questions WHERE execution = e.key),
        (SELECT max(heard) FROM {{s}}.listeners WHERE execution = e.key)
    FROM {{s}}.executions e
    LEFT JOIN LATERAL (
        SELECT at, number FROM {{s}}.records WHERE execution = e.key ORDER BY number DESC LIMIT 1
    ) last ON true """


def _row(values: Row) -> ExecutionRow:
    _, id, flow, definition, options, parent, forked, forked_records, created, status, due, *rest = values
    updated, records, items, owner, labels, error, questions, heard = rest
    return ExecutionRow(
        id=read(id),
        flow=read(flow),
        definition=read(definition),
        options=options,
        parent=None if parent is None else read(parent),
        forked_from=None if forked is None else (read(forked), forked_records),
        created=created,
        updated=updated,
        status=status,
        due=due,
        records=records,
        items=items,
        owner=None if owner is None else read(owner),
        labels={} if labels is None else msgspec.json.decode(read(labels), type=dict[str, str]),
        error=None if error is None else read(error),
        questions=questions,
        heard=heard,
    )


async def find(database: Database, execution: str, *, nested: bool = False) -> ExecutionRow | None:
    """See `Store.find`, and `Database.read` for `nested`."""
    found = await find_with_key(database, execution, nested=nested)
    return found and found[1]


async def find_with_key(database: Database, execution: str, *, nested: bool = False) -> tuple[int, ExecutionRow] | None:
    """An execution, and its key in the tables."""
    values = {"now": database.settings.now(), "id": write(execution)}
    rows = await database.read(_ROW + "WHERE e.id = %(id)s", values, nested=nested)
    return (rows[0][0], _row(rows[0])) if rows else None


async def by_keys(database: Database, keys: Collection[int]) -> list[tuple[int, ExecutionRow]]:
    """Outermost executions by their keys, the oldest first."""
    values = {"now": database.settings.now(), "keys": list(keys)}
    text = _ROW + "WHERE e.key = ANY (%(keys)s) AND e.parent IS NULL ORDER BY e.created, e.key"
    return [(row[0], _row(row)) for row in await database.read(text, values)]


async def executions(
    database: Database,
    *,
    flow: str | None,
    status: Collection[str] | None,
    since: float | None,
    until: float | None,
    parent: str | None,
    labels: Mapping[str, str] | None,
    text: str | None,
    after: str | None,
    limit: int,
) -> list[ExecutionRow]:
    """See `Store.executions`."""
    terms = ["e.parent IS NULL" if parent is None else "e.parent = %(parent)s"]
    values: dict[str, Any] = {"now": database.settings.now(), "limit": limit, "since": since, "until": until}
    values |= {name: None if value is None else write(value) for name, value in (("parent", parent), ("flow", flow))}
    terms += [
        term
        for value, term in (
            (flow, "e.flow = %(flow)s"),
            (since, "e.created >= %(since)s"),
            (until, "e.created < %(until)s"),
        )
        if value is not None
    ]
    if status is not None:
        terms.append("e.status = ANY (%(status)s)")
        values["status"] = list(status)
    for number, (name, value) in enumerate((labels or {}).items()):
        terms.append(
            f"""EXISTS (SELECT FROM {{s}}.labels l WHERE l.execution = e.key AND l.name = %(name{number})s
            AND md5(l.value) = md5(%(value{number})s) AND l.value = %(value{number})s)"""
        )
        values |= {f"name{number}": write(name), f"value{number}": write(value)}
    if text:
        terms.append(_search(text, values))
    if after is not None:
        last = await database.read("SELECT created, key FROM {s}.executions WHERE id = %s", (write(after),))
        if not last:
            raise UnknownExecution(f"there is no execution {after!r} to list after (after=...); was it deleted?")
        terms.append("(e.created, e.key) < (%(last_created)s, %(last_key)s)")
        values["last_created"], values["last_key"] = last[0]
    query = f"{_ROW} WHERE {' AND '.join(terms)} ORDER BY e.created DESC, e.key DESC LIMIT %(limit)s"
    return [_row(row) for row in await database.read(query, values)]


def _search(text: str, values: dict[str, Any]) -> str:
    """The term for a search, whose values are added to `values`."""
    values |= {"id_text": begins(text), "label_text": begins(folded(text))}
    found = [
        "SELECT key FROM {s}.executions WHERE id LIKE %(id_text)s",
        "SELECT execution FROM {s}.labels WHERE folded LIKE %(label_text)s",
    ]
    worded: list[str] = []
    for number, word in enumerate(words(text)):
        values[f"word{number}"] = begins(word)
        worded.append(f"SELECT execution FROM {{s}}.words WHERE word LIKE %(word{number})s")
    if worded:
        found.append(" INTERSECT ".join(worded))
    return f"e.key IN ({' UNION '.join(f'({one})' for one in found)})"


async def counts(database: Database, since: float | None, until: float | None) -> dict[str, dict[StatusName, int]]:
    """See `Store.counts`."""
    text = """SELECT flow, status, count(*) FROM {s}.executions WHERE parent IS NULL
        AND (%(since)s::double precision IS NULL OR created >= %(since)s::double precision)
        AND (%(until)s::double precision IS NULL OR created < %(until)s::double precision) GROUP BY flow, status"""
    found: dict[str, dict[StatusName, int]] = {}
    for flow, status, count in await database.read(text, {"since": since, "until": until}):
        found.setdefault(read(flow), {})[cast(StatusName, status)] = count
    return found


async def questions(
    database: Database, flow: str | None, execution: str | None, after: Question | None, limit: int
) -> list[Question]:
    """See `Store.questions`."""
    terms, values = ["true"], dict[str, Any](limit=limit)
    if flow is not None:
        terms.append("r.flow = %(flow)s")
        values["flow"] = write(flow)
    if execution is not None:
        terms.append(
            """e.key IN (SELECT t.key FROM {s}.executions x, {s}.tree(ARRAY[x.key]) t WHERE x.id = %(execution)s)"""
        )
        values["execution"] = write(execution)
    if after is not None:
        terms.append("(q.since, e.id, q.id) > (%(after_since)s, %(after_execution)s, %(after_id)s)")
        values |= {
            "after_since": after.since,
            "after_execution": write(after.execution),
            "after_id": write(after.id),
        }
    rows = await database.read(
        f"""SELECT e.id, r.id, r.flow, q.id, q.since, q.data FROM {{s}}.questions q
        JOIN {{s}}.executions e ON e.key = q.execution JOIN {{s}}.executions r ON r.key = q.root
        WHERE {" AND ".join(terms)} ORDER BY q.since, e.id, q.id LIMIT %(limit)s""",
        values,
    )
    return [
        Question(execution=read(asker), root=read(root), flow=read(name), id=read(id), since=since, data=data)
        for asker, root, name, id, since, data in rows
    ]


async def records(database: Database, execution: str, first: int, limit: int) -> list[tuple[int, bytes]]:
    """See `Store.records`."""
    rows = await database.read(
        """SELECT number, data FROM {s}.records
        WHERE execution = (SELECT key FROM {s}.executions WHERE id = %s) AND number >= %s ORDER BY number LIMIT %s""",
        (write(execution), first, limit),
    )
    return cast(list[tuple[int, bytes]], rows)


async def items(database: Database, execution: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    """See `Store.items`."""
    rows = await database.read(
        """SELECT item, data FROM {s}.records
        WHERE execution = (SELECT key FROM {s}.executions WHERE id = %s) AND item > %s ORDER BY item LIMIT %s""",
        (write(execution), after, limit),
    )
    return cast(list[tuple[int, bytes]], rows)


async def payloads(database: Database, digests: Iterable[str]) -> dict[str, bytes]:
    """See `Store.payloads`."""
    found: dict[str, bytes] = {}
    for digest in digests:
        rows = await database.read("SELECT data FROM {s}.payloads WHERE digest = %s", (write(digest),))
        if not rows:
            raise StoreDamaged(f"the payload {digest} is missing; was the execution that refers to it deleted?")
        if payload_digest(rows[0][0]) != digest:
            raise StoreDamaged(f"the payload {digest} does not match its digest; restore a copy of the database")
        found[digest] = rows[0][0]
    return found


async def snapshot(database: Database, execution: str, records: int | None) -> tuple[int, str, bytes] | None:
    """See `Store.snapshot`."""
    rows = await database.read(
        """SELECT records, definition, data FROM {s}.snapshots
        WHERE execution = (SELECT key FROM {s}.executions WHERE id = %s) AND records <= coalesce(%s::bigint, records)
        ORDER BY records DESC LIMIT 1""",
        (write(execution), records),
    )
    return (rows[0][0], read(rows[0][1]), rows[0][2]) if rows else None


async def definition(database: Database, fingerprint: str) -> bytes | None:
    """See `Store.definition`."""
    rows = await database.read("SELECT data FROM {s}.definitions WHERE fingerprint = %s", (write(fingerprint),))
    return rows[0][0] if rows else None


async def next_due(database: Database, flows: Iterable[str], without: Set[str]) -> float | None:
    """See `Store.next_due`."""
    rows = await database.read(
        f"""SELECT min(due) FROM {{s}}.executions e
        WHERE flow = ANY (%(flows)s) AND parent IS NULL AND status = 'waiting' AND due IS NOT NULL
            AND id <> ALL (%(without)s)
            AND NOT EXISTS (SELECT FROM {{s}}.owners o WHERE o.id = e.owner AND o.expires > {NOW})""",
        {
            "flows": [write(flow) for flow in flows],
            "without": [write(id) for id in without],
            "now": database.settings.now(),
        },
    )
    return rows[0][0]
