"""The tables of a store, and their migration.

The functions that write are in `functions`.
"""

from collections.abc import Sequence

from .functions import FUNCTIONS

Steps = Sequence[Sequence[str]]

# Deleting the row of an owner releases its executions: `executions.owner` may refer to a missing row on purpose.
# Foreign keys would cost a look-up for each record, and every write goes through the functions.
_TABLES = (
    "CREATE SEQUENCE {s}.incarnations",
    """CREATE TABLE {s}.owners (
        id text COLLATE "C" NOT NULL,
        incarnation bigint NOT NULL,
        expires double precision NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (id, incarnation) -- so that a change of the incarnation waits for writes that have locked the row
    )""",
    """CREATE TABLE {s}.executions (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text COLLATE "C" NOT NULL CONSTRAINT executions_id UNIQUE,
        flow text COLLATE "C" NOT NULL,
        definition text COLLATE "C" NOT NULL,
        options bytea NOT NULL,
        parent text COLLATE "C",
        forked_execution text COLLATE "C",
        forked_records bigint,
        created double precision NOT NULL,
        updated double precision NOT NULL,
        status text COLLATE "C" NOT NULL,
        due double precision,
        owner text COLLATE "C",
        trimmed bigint NOT NULL,
        labels text COLLATE "C",
        error text COLLATE "C"
    )""",
    "CREATE INDEX executions_created ON {s}.executions (created, key) WHERE parent IS NULL",
    "CREATE INDEX executions_flow ON {s}.executions (flow, created, key) WHERE parent IS NULL",
    "CREATE INDEX executions_status ON {s}.executions (status, created, key) WHERE parent IS NULL",
    "CREATE INDEX executions_parent ON {s}.executions (parent, created) WHERE parent IS NOT NULL",
    """CREATE INDEX executions_ready ON {s}.executions (flow, created)
        WHERE parent IS NULL AND status IN ('created', 'running')""",
    """CREATE INDEX executions_due ON {s}.executions (flow, due)
        WHERE parent IS NULL AND status = 'waiting' AND due IS NOT NULL""",
    "CREATE INDEX executions_owner ON {s}.executions (owner) WHERE owner IS NOT NULL",
    # What a search finds: see `stores.searching`.
    """CREATE TABLE {s}.labels (
        execution bigint NOT NULL,
        name text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        folded text COLLATE "C" NOT NULL,
        PRIMARY KEY (execution, name)
    )""",
    "CREATE INDEX labels_value ON {s}.labels (name, md5(value))",  # a long value does not fit into an index
    "CREATE INDEX labels_folded ON {s}.labels (folded)",
    """CREATE TABLE {s}.words (
        execution bigint NOT NULL,
        word text COLLATE "C" NOT NULL,
        PRIMARY KEY (execution, word)
    )""",
    "CREATE INDEX words_word ON {s}.words (word)",
    """CREATE TABLE {s}.records (
        execution bigint NOT NULL,
        number bigint NOT NULL,
        item bigint,
        at double precision NOT NULL,
        data bytea NOT NULL,
        CONSTRAINT records_number PRIMARY KEY (execution, number)
    )""",
    "ALTER TABLE {s}.records ALTER COLUMN data SET STORAGE EXTERNAL",  # compressing would cost a commit its time
    "CREATE UNIQUE INDEX records_item ON {s}.records (execution, item) WHERE item IS NOT NULL",
    """CREATE TABLE {s}.snapshots (
        execution bigint NOT NULL,
        records bigint NOT NULL,
        definition text COLLATE "C" NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (execution, records)
    )""",
    'CREATE TABLE {s}.definitions (fingerprint text COLLATE "C" PRIMARY KEY, data bytea NOT NULL)',
    'CREATE TABLE {s}.payloads (digest text COLLATE "C" PRIMARY KEY, data bytea NOT NULL)',
    """CREATE TABLE {s}.payload_uses (
        execution bigint NOT NULL,
        digest text COLLATE "C" NOT NULL,
        PRIMARY KEY (execution, digest)
    )""",
    "CREATE INDEX payload_uses_digest ON {s}.payload_uses (digest)",
    """CREATE TABLE {s}.requests (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text COLLATE "C" NOT NULL UNIQUE,
        execution bigint NOT NULL,
        root bigint NOT NULL,
        kind text COLLATE "C" NOT NULL,
        data bytea NOT NULL,
        at double precision NOT NULL,
        taken boolean NOT NULL DEFAULT false,
        fetched text COLLATE "C",
        ok boolean,
        reply bytea,
        replied double precision
    )""",
    "CREATE INDEX requests_open ON {s}.requests (root) WHERE replied IS NULL",
    "CREATE INDEX requests_execution ON {s}.requests (execution)",
    "CREATE INDEX requests_replied ON {s}.requests (replied) WHERE replied IS NOT NULL",
    """CREATE TABLE {s}.questions (
        execution bigint NOT NULL,
        id text COLLATE "C" NOT NULL,
        root bigint NOT NULL,
        since double precision NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (execution, id)
    )""",
    "CREATE INDEX questions_since ON {s}.questions (since)",
    """CREATE TABLE {s}.schedules (
        id text COLLATE "C" PRIMARY KEY,
        flow text COLLATE "C" NOT NULL,
        data bytea NOT NULL,
        due double precision,
        version text COLLATE "C" NOT NULL
    )""",
    "CREATE INDEX schedules_due ON {s}.schedules (due, id) WHERE due IS NOT NULL",
    # The shared data of flows: changes are numbered by flow, and kept until they are folded into values. `floor`: up
    # to which number keys were folded that have no value any more. `listeners` has a row for each key to which an
    # execution listens.
    """CREATE TABLE {s}.shared_flows (
        flow text COLLATE "C" PRIMARY KEY,
        newest bigint NOT NULL,
        floor bigint NOT NULL
    )""",
    """CREATE TABLE {s}.shared_changes (
        flow text COLLATE "C" NOT NULL,
        number bigint NOT NULL,
        key text COLLATE "C" NOT NULL,
        op text COLLATE "C" NOT NULL,
        data bytea NOT NULL,
        emit boolean NOT NULL,
        execution text COLLATE "C",
        PRIMARY KEY (flow, number)
    )""",
    "CREATE INDEX shared_changes_key ON {s}.shared_changes (flow, key, number)",
    """CREATE TABLE {s}.shared_values (
        flow text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        number bigint NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (flow, key)
    )""",
    """CREATE TABLE {s}.listeners (
        execution bigint NOT NULL,
        key text COLLATE "C" NOT NULL,
        flow text COLLATE "C" NOT NULL,
        heard bigint NOT NULL,
        PRIMARY KEY (execution, key)
    )""",
    "CREATE INDEX listeners_heard ON {s}.listeners (flow, key, heard)",
    # One row for each write that others have to hear of. `token` is the client's name for the write, by which it finds
    # out whether the write was done if it lost the connection. `gone` are executions that were deleted.
    """CREATE TABLE {s}.changes (
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        key bigint GENERATED ALWAYS AS IDENTITY,
        at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
        token text COLLATE "C" NOT NULL,
        executions bigint[] NOT NULL DEFAULT '{{}}',
        gone text[] NOT NULL DEFAULT '{{}}',
        requests text[] NOT NULL DEFAULT '{{}}',
        schedules text[] NOT NULL DEFAULT '{{}}',
        flows text[] NOT NULL DEFAULT '{{}}',
        PRIMARY KEY (xid, key)
    )""",
    # `floor` is the newest transaction whose row in `changes` was deleted.
    "CREATE TABLE {s}.feed (id text NOT NULL, floor xid8 NOT NULL)",
    "INSERT INTO {s}.feed (id, floor) VALUES (replace(gen_random_uuid()::text, '-', ''), '0')",
)

#: `STEPS[n]` makes a schema of version n + 1 out of one of version n. A step that was released is never changed. Stores
#: of an older release go on using the functions while others open the schema: a step that changes the parameters or the
#: meaning of a function gives it another name.
STEPS: Steps = ((*_TABLES, *FUNCTIONS),)

#: After a restore from a dump, the feed has transaction numbers of another server, which this one has not given yet:
#: those changes would seem to happen all the time. Cursors from before do not count any more then. Otherwise it changes
#: nothing.
FORGET_ANOTHER_SERVER = """
    WITH later AS (
        DELETE FROM {s}.changes WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) RETURNING xid
    )
    UPDATE {s}.feed SET id = replace(gen_random_uuid()::text, '-', ''), floor = '0'
        WHERE floor >= pg_snapshot_xmax(pg_current_snapshot()) OR EXISTS (SELECT FROM later)"""
