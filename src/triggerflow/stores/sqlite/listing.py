"""Lists executions and open questions, and counts executions. Each function runs inside one transaction.

A page has to cost little, however many executions there are. SQLite cannot merge several parts of an index by itself:
so a list that is filtered by flow or status asks for the newest rows of each flow and status, and merges them here. A
search for a label or a text begins with what is found, if that is little; otherwise it goes through the list.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..._core.errors import UnknownExecution
from ..protocol import STATUSES, ExecutionRow, Question, StatusName
from ..searching import folded, words
from . import reading
from .changes import chunks

#: A search that finds more executions than this goes through the list.
_FEW = 1000

#: Greater than every other character: ends a range of texts that begin alike.
_LAST = "\U0010ffff"

_FLOWS = """WITH RECURSIVE flows (flow) AS (
        SELECT min(flow) FROM executions WHERE parent IS NULL
        UNION ALL SELECT (SELECT min(flow) FROM executions WHERE parent IS NULL AND flow > flows.flow)
        FROM flows WHERE flows.flow IS NOT NULL
    ) SELECT flow FROM flows WHERE flow IS NOT NULL"""


class _Filter:
    """The terms of a WHERE clause, and their values by name."""

    def __init__(self) -> None:
        self.terms: list[str] = []
        self.values: dict[str, Any] = {}

    def add(self, term: str, **values: Any) -> None:
        self.terms.append(term)
        self.values.update(values)

    def add_value(self, value: Any) -> str:
        """A name for a value in a term."""
        name = f"value{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def add_range(self, column: str, beginning: str) -> str:
        """A term: the column begins with this text."""
        return f"{column} >= {self.add_value(beginning)} AND {column} < {self.add_value(beginning + _LAST)}"

    def keys(self, connection: sqlite3.Connection, source: str, *more: str, **values: Any) -> list[tuple[float, int]]:
        """Time of creation and key of the newest executions."""
        where = " AND ".join((*self.terms, *more))
        return connection.execute(
            f"SELECT e.created, e.key FROM {source} WHERE {where} ORDER BY e.created DESC, e.key DESC LIMIT :limit",
            {**self.values, **values},
        ).fetchall()


def executions(
    connection: sqlite3.Connection,
    now: float,
    *,
    flow: str | None,
    status: Collection[str] | None,
    since: float | None,
    until: float | None,
    parent: str | None,
    labels: Mapping[str, str],
    text: str | None,
    after: str | None,
    limit: int,
) -> list[ExecutionRow]:
    """See `Store.executions`."""
    terms = _Filter()
    terms.add("e.parent IS NULL" if parent is None else "e.parent = :parent", parent=parent, limit=limit)
    if since is not None:
        terms.add("e.created >= :since", since=since)
    if until is not None:
        terms.add("e.created < :until", until=until)
    if after is not None:
        last = connection.execute("SELECT created, key FROM executions WHERE id = ?", (after,)).fetchone()
        if last is None:
            raise UnknownExecution(f"there is no execution {after!r} to list after (after=...); was it deleted?")
        terms.add("e.created <= :last AND (e.created, e.key) < (:last, :last_key)", last=last[0], last_key=last[1])
    found: list[int] | None = None
    for name, value in labels.items():
        found = _fewer(found, _with_label(connection, terms, name, value))
    if text:
        found = _fewer(found, _with_text(connection, terms, text))
    if found is None and parent is None and (flow is not None or status is not None):
        flows = [flow] if flow is not None else [each for (each,) in connection.execute(_FLOWS)]
        keys = [
            key
            for flow in flows
            for name in (STATUSES if status is None else set(status))
            for key in terms.keys(connection, _LISTED, "e.flow = :flow", "e.status = :status", flow=flow, status=name)
        ]
    else:
        if flow is not None:
            terms.add("e.flow = :flow", flow=flow)
        if status is not None:
            terms.add(f"e.status IN ({', '.join([terms.add_value(name) for name in status])})")
        if found is None:
            keys = terms.keys(connection, "executions e")
        else:
            keys = [
                key
                for part in chunks(found)
                for key in terms.keys(connection, "executions e", f"e.key IN ({', '.join(map(str, part))})")
            ]
    keys.sort(reverse=True)
    return reading.rows(connection, now, [key for _, key in keys[:limit]])


_LISTED = "executions e INDEXED BY executions_listed"


def _fewer(one: list[int] | None, other: list[int] | None) -> list[int] | None:
    return min((each for each in (one, other) if each is not None), key=len, default=None)


def _with_label(connection: sqlite3.Connection, terms: _Filter, name: str, value: str) -> list[int] | None:
    """Add the term of a label. The executions that have it, if they are few."""
    marks = f"name = {terms.add_value(name)} AND value = {terms.add_value(value)}"
    terms.add(f"EXISTS (SELECT 1 FROM labels WHERE execution = e.key AND {marks})")
    return _few(connection, ["SELECT execution FROM labels WHERE name = ? AND value = ?"], [(name, value)])


def _with_text(connection: sqlite3.Connection, terms: _Filter, text: str) -> list[int] | None:
    """Add the term of a search. The executions that it may find, if they are few."""
    beginning, wanted = folded(text), words(text)
    of_kind = "EXISTS (SELECT 1 FROM words WHERE execution = e.key AND kind = {} AND {})"
    found = [terms.add_range("e.id", text), of_kind.format(0, terms.add_range("word", beginning))]
    if wanted:
        found.append(" AND ".join(of_kind.format(1, terms.add_range("word", word)) for word in wanted))
    terms.add(f"({' OR '.join(f'({each})' for each in found)})")
    of_word = "SELECT execution FROM words WHERE kind = {} AND word >= ? AND word < ?"
    queries = ["SELECT key FROM executions WHERE id >= ? AND id < ?", of_word.format(0)]
    ranges = [(text, text + _LAST), (beginning, beginning + _LAST)]
    if wanted:
        longest = max(wanted, key=len)
        queries.append(of_word.format(1))
        ranges.append((longest, longest + _LAST))
    return _few(connection, queries, ranges)


def _few(connection: sqlite3.Connection, queries: Iterable[str], values: Iterable[tuple[str, str]]) -> list[int] | None:
    """The keys that these queries find; None if they are too many."""
    keys: set[int] = set()
    for query, pair in zip(queries, values, strict=True):
        keys.update(key for (key,) in connection.execute(f"{query} LIMIT ?", (*pair, _FEW + 1)))
        if len(keys) > _FEW:
            return None
    return list(keys)


def counts(
    connection: sqlite3.Connection, since: float | None, until: float | None
) -> dict[str, dict[StatusName, int]]:
    """See `Store.counts`."""
    terms = _Filter()
    terms.add("parent IS NULL")
    if since is not None:
        terms.add("created >= :since", since=since)
    if until is not None:
        terms.add("created < :until", until=until)
    found: dict[str, dict[StatusName, int]] = {}
    for flow, status, count in connection.execute(
        f"""SELECT flow, status, count(*) FROM executions INDEXED BY executions_listed
        WHERE {" AND ".join(terms.terms)} GROUP BY flow, status""",
        terms.values,
    ):
        found.setdefault(flow, {})[status] = count
    return found


def questions(
    connection: sqlite3.Connection, flow: str | None, execution: str | None, after: Question | None, limit: int
) -> list[Question]:
    """See `Store.questions`."""
    terms = _Filter()
    if flow is not None:
        terms.add("flow = :flow", flow=flow)
    if execution is not None:
        terms.add(
            """execution IN (WITH RECURSIVE tree (id) AS (
                VALUES (:execution) UNION SELECT e.id FROM executions e JOIN tree ON e.parent = tree.id
            ) SELECT id FROM tree)""",
            execution=execution,
        )
    if after is not None:
        order = "(since, execution, id) > (:since, :after, :id)"
        terms.add(f"since >= :since AND {order}", since=after.since, after=after.execution, id=after.id)
    where = f"WHERE {' AND '.join(terms.terms)}" if terms.terms else ""
    rows = connection.execute(
        f"""SELECT execution, root, flow, id, since, data FROM questions {where}
        ORDER BY since, execution, id LIMIT :limit""",
        {**terms.values, "limit": limit},
    )
    return [
        Question(execution=execution, root=root, flow=flow, id=id, since=since, data=data)
        for execution, root, flow, id, since, data in rows
    ]


def put_words(connection: sqlite3.Connection, key: int, labels: Mapping[str, str], error: str | None) -> None:
    """Store what a search finds: the labels of a new execution, or the words of its error."""
    if labels:
        connection.executemany(
            "INSERT INTO labels (execution, name, value) VALUES (?, ?, ?)",
            [(key, name, value) for name, value in labels.items()],
        )
    found = [(key, 0, value) for value in {folded(value) for value in labels.values()}]
    found += [(key, 1, word) for word in words(error)]
    if found:
        connection.executemany("INSERT INTO words (execution, kind, word) VALUES (?, ?, ?)", found)
