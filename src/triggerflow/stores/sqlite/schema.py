"""The tables of the file, their migration, and the check of a file before it is used.

Foreign keys are not enforced. Every write goes through this package; a check would cost a look-up for each record; and
`executions.owner` may refer to a missing row on purpose, since deleting the row of an owner releases its executions.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..._core.errors import StoreDamaged, StoreUnavailable
from . import schedules, shared

#: The application id in the header of the file, which marks it as a store of this library: "TFLW".
APPLICATION_ID = 0x54464C57

_STEP_1 = (
    """CREATE TABLE owners (
        id TEXT NOT NULL PRIMARY KEY,
        expires REAL NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE executions (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        flow TEXT NOT NULL,
        definition TEXT NOT NULL,
        options BLOB NOT NULL,
        parent TEXT,
        forked_execution TEXT,
        forked_records INTEGER,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        status TEXT NOT NULL,
        due REAL,
        owner TEXT,
        trimmed INTEGER NOT NULL
    )""",
    "CREATE INDEX executions_created ON executions (created) WHERE parent IS NULL",
    "CREATE INDEX executions_parent ON executions (parent, created) WHERE parent IS NOT NULL",
    """CREATE INDEX executions_ready ON executions (flow, created)
        WHERE parent IS NULL AND status IN ('created', 'running')""",
    """CREATE INDEX executions_due ON executions (flow, due)
        WHERE parent IS NULL AND status = 'waiting' AND due IS NOT NULL""",
    # Decision 0008: rows are in order of arrival, not clustered by execution, so that a commit writes few pages.
    """CREATE TABLE records (
        key INTEGER PRIMARY KEY,
        execution INTEGER NOT NULL,
        number INTEGER NOT NULL,
        item INTEGER,
        at REAL NOT NULL,
        data BLOB NOT NULL
    )""",
    "CREATE UNIQUE INDEX records_number ON records (execution, number)",
    "CREATE UNIQUE INDEX records_item ON records (execution, item) WHERE item IS NOT NULL",
    """CREATE TABLE snapshots (
        execution INTEGER NOT NULL,
        records INTEGER NOT NULL,
        definition TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (execution, records)
    )""",
    "CREATE TABLE definitions (fingerprint TEXT NOT NULL PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE payloads (digest TEXT NOT NULL PRIMARY KEY, data BLOB NOT NULL)",
    """CREATE TABLE payload_uses (
        execution INTEGER NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (execution, digest)
    ) WITHOUT ROWID""",
    "CREATE INDEX payload_uses_digest ON payload_uses (digest)",
)

_STEP_2 = (
    # Decision 0030. As JSON; NULL if there are none.
    "ALTER TABLE executions ADD COLUMN labels TEXT",
    "ALTER TABLE executions ADD COLUMN error TEXT",
    "DROP INDEX executions_ready",
    "CREATE INDEX executions_listed ON executions (flow, status, created) WHERE parent IS NULL",
    """CREATE TABLE labels (
        execution INTEGER NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (execution, name)
    ) WITHOUT ROWID""",
    "CREATE INDEX labels_value ON labels (name, value)",
    # What a search for a text finds: the values of labels (kind 0) and the words of the error (kind 1).
    """CREATE TABLE words (
        execution INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        word TEXT NOT NULL,
        PRIMARY KEY (execution, kind, word)
    ) WITHOUT ROWID""",
    "CREATE INDEX words_word ON words (kind, word)",
    """CREATE TABLE questions (
        execution TEXT NOT NULL,
        id TEXT NOT NULL,
        root TEXT NOT NULL,
        flow TEXT NOT NULL,
        since REAL NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (execution, id)
    ) WITHOUT ROWID""",
    "CREATE INDEX questions_since ON questions (since)",
    "CREATE INDEX questions_flow ON questions (flow, since)",
    "CREATE INDEX questions_root ON questions (root)",
    # `root` is the outermost execution; `fetched` is the owner that has fetched the request.
    """CREATE TABLE requests (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        execution INTEGER NOT NULL,
        root INTEGER NOT NULL,
        kind TEXT NOT NULL,
        data BLOB NOT NULL,
        at REAL NOT NULL,
        taken INTEGER NOT NULL,
        fetched TEXT,
        ok INTEGER,
        reply BLOB,
        replied REAL
    )""",
    "CREATE INDEX requests_execution ON requests (execution)",
    "CREATE INDEX requests_open ON requests (root) WHERE replied IS NULL",
    "CREATE INDEX requests_replied ON requests (replied) WHERE replied IS NOT NULL",
    # Changes that leave no record: see `changes`. The newest note is never deleted, so that no key is given twice.
    """CREATE TABLE notes (
        key INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        name TEXT NOT NULL
    )""",
    "CREATE TABLE store (id TEXT NOT NULL)",
    "INSERT INTO store (id) VALUES (lower(hex(randomblob(8))))",
)

_Object = tuple[str, str, str, str | None]

# Tables that ANALYZE adds. They only influence which index a query uses.
_STATISTICS: set[_Object] = {
    ("table", "sqlite_stat1", "sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
    ("table", "sqlite_stat4", "sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
}

Steps = Sequence[Sequence[str]]

#: `STEPS[n]` makes a file of version n + 1 out of one of version n. A step that was released is never changed.
STEPS: Steps = (_STEP_1, (*_STEP_2, *schedules.TABLES, *shared.TABLES))


def check(connection: sqlite3.Connection, path: Path, steps: Steps = STEPS) -> None:
    """Raises `StoreDamaged` unless the file is empty, or has a known version with exactly our tables.

    Other tables, triggers and views are refused: a trigger of another program would run with our statements.
    """
    found = _objects(connection)
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if not found and not version and application in (0, APPLICATION_ID):
        return
    if application != APPLICATION_ID:
        raise StoreDamaged(
            f"store {path}: this SQLite file was made by another program (application id {application}); "
            "it was not touched; choose another path"
        )
    if version > len(steps):
        raise StoreDamaged(
            f"store {path}: the file has version {version}, but this release reads only up to version {len(steps)}; "
            "it was not touched; install a newer triggerflow-engine"
        )
    with closing(sqlite3.connect(":memory:")) as model:
        _apply(model, steps[:version])
        expected = _objects(model)
    if strange := found ^ expected:
        names = ", ".join(sorted({f"{kind} {name!r}" for kind, name, _, _ in strange}))
        raise StoreDamaged(
            f"store {path}: the tables are not those of version {version}; missing, changed or added: {names}; "
            "it was not touched; restore a copy, or drop what was added"
        )


def require_newest(connection: sqlite3.Connection, path: Path, steps: Steps = STEPS) -> None:
    """Raises `StoreUnavailable` for a file that would have to be migrated before it can be read."""
    version = _pragma(connection, "user_version")
    if version < len(steps):
        raise StoreUnavailable(
            f"store {path}: the file has version {version}, and reading alone does not migrate it to version "
            f"{len(steps)}; open it once without `read_only`"
            if version
            else f"store {path}: the file is empty; nothing was stored in it yet"
        )


def migrate(connection: sqlite3.Connection, steps: Steps = STEPS) -> None:
    """Migrate a file that passed `check` to the newest version. Call it in an immediate transaction."""
    version = _pragma(connection, "user_version")
    if version < len(steps):
        _apply(connection, steps[version:])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def _apply(connection: sqlite3.Connection, steps: Steps) -> None:
    for step in steps:
        for statement in step:
            connection.execute(statement)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _objects(connection: sqlite3.Connection) -> set[_Object]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")) - _STATISTICS
