"""The tables and functions of a store, and their migration.

Every write is one call of a function here, so one message to the database. A client whose network is cut leaves no
transaction open, which would hold its locks until the database notices; and values are parameters, which the database
does not log with a statement that fails.

Each write begins with `fence`: it locks the row of its owner against deletion, and fails if the row is gone or has
another incarnation. A claim deletes the rows of dead owners, which waits for the writes that they have begun; what
they send later fails.
"""

from collections.abc import Sequence

Steps = Sequence[Sequence[str]]

#: The code of the error that `fence` raises.
REVOKED = "TF001"
#: The code of the error when an execution was deleted while it was changed.
DELETED = "TF002"

# Deleting the row of an owner releases its executions: `executions.owner` may refer to a missing row on purpose. Foreign
# keys would cost a look-up for each record, and every write goes through the functions below.
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
    "CREATE INDEX labels_value ON {s}.labels (name, md5(value))", # a long value does not fit into an index
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
    "ALTER TABLE {s}.records ALTER COLUMN data SET STORAGE EXTERNAL", # compressing would cost a commit its time
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
        PRIMARY KEY (xid, key)
    )""",
    # `floor` is the newest transaction whose row in `changes` was deleted.
    "CREATE TABLE {s}.feed (id text NOT NULL, floor xid8 NOT NULL)",
    "INSERT INTO {s}.feed (id, floor) VALUES (replace(gen_random_uuid()::text, '-', ''), '0')",
)

_FUNCTIONS = (
    # -- owners --------------------------------------------------------------------------------------------------------
    """CREATE FUNCTION {s}.now_or(p_now double precision) RETURNS double precision LANGUAGE sql VOLATILE AS $$
        SELECT coalesce(p_now, extract(epoch FROM clock_timestamp())::double precision) $$""",
    """CREATE FUNCTION {s}.fence(p_owner text, p_incarnation bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM 1 FROM {s}.owners WHERE id = p_owner AND incarnation = p_incarnation FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the owner was counted as dead, or has another incarnation' USING ERRCODE = 'TF001';
        END IF;
    END $$""",
    # Begins a new incarnation of an owner. It waits for the writes of the last one; what arrives of it later is refused.
    # Returns whether the owner was alive up to now, so that it still has what it had.
    """CREATE FUNCTION {s}.enter(p_owner text, p_now double precision, p_lease double precision,
        OUT incarnation bigint, OUT alive boolean) LANGUAGE plpgsql AS $$
    DECLARE ends double precision := {s}.now_or(p_now) + p_lease;
    BEGIN
        UPDATE {s}.owners o SET incarnation = nextval('{s}.incarnations'), expires = greatest(o.expires, ends)
            WHERE o.id = p_owner RETURNING o.incarnation INTO incarnation;
        alive := FOUND;
        IF NOT alive THEN
            INSERT INTO {s}.owners AS o (id, incarnation, expires) VALUES (p_owner, nextval('{s}.incarnations'), ends)
                RETURNING o.incarnation INTO incarnation;
        END IF;
    END $$""",
    """CREATE FUNCTION {s}.renew(p_owner text, p_incarnation bigint, p_now double precision, p_lease double precision)
        RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        UPDATE {s}.owners SET expires = {s}.now_or(p_now) + p_lease WHERE id = p_owner AND incarnation = p_incarnation;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the owner was counted as dead, or has another incarnation' USING ERRCODE = 'TF001';
        END IF;
    END $$""",
    """CREATE FUNCTION {s}.tree(p_keys bigint[]) RETURNS TABLE (key bigint, id text, status text, owner text)
        LANGUAGE sql STABLE AS $$
        WITH RECURSIVE tree AS (
            SELECT e.key, e.id, e.status, e.owner FROM {s}.executions e WHERE e.key = ANY (p_keys)
            UNION SELECT e.key, e.id, e.status, e.owner FROM {s}.executions e JOIN tree ON e.parent = tree.id
        ) SELECT * FROM tree $$""",
    """CREATE FUNCTION {s}.root(p_key bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
        WITH RECURSIVE up AS (
            SELECT e.key, e.parent, 0 AS height FROM {s}.executions e WHERE e.key = p_key
            UNION ALL SELECT e.key, e.parent, up.height + 1 FROM {s}.executions e JOIN up ON e.id = up.parent
        ) SELECT key FROM up ORDER BY height DESC LIMIT 1 $$""",
    # Claims wait for each other, and no commit waits for them: a commit takes no advisory lock.
    """CREATE FUNCTION {s}.purge(p_owner text, p_now double precision, p_ended text[])
        RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock(1413893207, hashtext('{s}'));
        DELETE FROM {s}.owners WHERE id <> p_owner AND (expires <= {s}.now_or(p_now) OR id = ANY (p_ended));
    END $$""",
    """CREATE FUNCTION {s}.take(p_owner text, p_token text, p_keys bigint[]) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE taken bigint[];
    BEGIN
        WITH mine AS (
            UPDATE {s}.executions e SET owner = p_owner WHERE e.key IN (SELECT t.key FROM {s}.tree(p_keys) t)
                AND NOT EXISTS (SELECT FROM {s}.owners o WHERE o.id = e.owner) RETURNING e.key
        ) SELECT coalesce(array_agg(key), '{{}}') INTO taken FROM mine;
        IF taken <> '{{}}' THEN
            INSERT INTO {s}.changes (token, executions) VALUES (p_token, taken);
        END IF;
    END $$""",
    # Returns the owner of an execution afterwards; NULL if there is no such execution.
    """CREATE FUNCTION {s}.claim(p_owner text, p_incarnation bigint, p_token text, p_now double precision,
        p_ended text[], p_id text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE found_key bigint; holder text;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        PERFORM {s}.purge(p_owner, p_now, p_ended);
        SELECT e.key, o.id INTO found_key, holder FROM {s}.executions e LEFT JOIN {s}.owners o ON o.id = e.owner
            WHERE e.id = p_id;
        IF found_key IS NULL OR holder <> p_owner THEN
            RETURN holder;
        END IF;
        PERFORM {s}.take(p_owner, p_token, ARRAY[found_key]);
        RETURN p_owner;
    END $$""",
    """CREATE FUNCTION {s}.claim_work(p_owner text, p_incarnation bigint, p_token text, p_now double precision,
        p_ended text[], p_flows text[], p_limit bigint, p_without text[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
    DECLARE wanted bigint[]; moment double precision := {s}.now_or(p_now);
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        PERFORM {s}.purge(p_owner, p_now, p_ended);
        SELECT array_agg(w.key ORDER BY w.created, w.key) INTO wanted FROM (
            SELECT e.key, e.created FROM (
                SELECT r.key FROM {s}.executions r
                    WHERE r.flow = ANY (p_flows) AND r.parent IS NULL AND r.status IN ('created', 'running')
                UNION SELECT d.key FROM {s}.executions d
                    WHERE d.flow = ANY (p_flows) AND d.parent IS NULL AND d.status = 'waiting' AND d.due <= moment
                UNION SELECT q.root FROM {s}.requests q WHERE q.replied IS NULL
            ) found JOIN {s}.executions e ON e.key = found.key
            WHERE e.flow = ANY (p_flows) AND e.parent IS NULL AND e.status NOT IN ('completed', 'failed', 'cancelled')
                AND NOT EXISTS (SELECT FROM {s}.owners o WHERE o.id = e.owner) AND e.id <> ALL (p_without)
            ORDER BY e.created, e.key LIMIT p_limit
        ) w;
        IF wanted IS NOT NULL THEN
            PERFORM {s}.take(p_owner, p_token, wanted);
        END IF;
        RETURN coalesce(wanted, '{{}}');
    END $$""",
    # Returns the ids of what was released, sub-flows included.
    """CREATE FUNCTION {s}.free(p_owner text, p_token text, p_keys bigint[]) RETURNS text[] LANGUAGE plpgsql AS $$
    DECLARE freed bigint[]; names text[];
    BEGIN
        WITH mine AS (
            UPDATE {s}.executions e SET owner = NULL WHERE e.owner = p_owner
                AND e.key IN (SELECT t.key FROM {s}.tree(p_keys) t) RETURNING e.key, e.id
        ) SELECT array_agg(key), array_agg(id) INTO freed, names FROM mine;
        IF freed IS NOT NULL THEN
            INSERT INTO {s}.changes (token, executions) VALUES (p_token, freed);
        END IF;
        RETURN coalesce(names, '{{}}');
    END $$""",
    """CREATE FUNCTION {s}.release(p_owner text, p_incarnation bigint, p_token text, p_ids text[])
        RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        RETURN {s}.free(p_owner, p_token, ARRAY(
            SELECT key FROM {s}.executions WHERE id = ANY (p_ids) AND owner = p_owner));
    END $$""",
    # Releases what a claim got whose answer was lost.
    """CREATE FUNCTION {s}.release_claimed(p_owner text, p_incarnation bigint, p_token text, p_claimed text)
        RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        RETURN {s}.free(p_owner, p_token, ARRAY(
            SELECT unnest(executions) FROM {s}.changes WHERE token = p_claimed));
    END $$""",
    """CREATE FUNCTION {s}.leave(p_owner text, p_token text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        DELETE FROM {s}.owners WHERE id = p_owner;
        INSERT INTO {s}.changes (token, executions)
            SELECT p_token, array_agg(key) FROM {s}.executions WHERE owner = p_owner HAVING count(*) > 0;
    END $$""",
    # -- records -------------------------------------------------------------------------------------------------------
    # A negative key -n is the n-th execution that this call creates. `p_more` is JSON: what only some appends have.
    # Returns the keys of what it has created, and the ids of what it has released.
    """CREATE FUNCTION {s}.append(p_owner text, p_incarnation bigint, p_token text, p_keys bigint[], p_numbers bigint[],
        p_items bigint[], p_ats double precision[], p_starts bigint[], p_lengths bigint[], p_data bytea, p_touched bigint[],
        p_more json, p_blobs bytea, OUT created bigint[], OUT freed text[]) LANGUAGE plpgsql AS $$
    DECLARE entry json; made bigint; counted bigint; asked text[] := '{{}}'; touched bigint[];
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        created := '{{}}';
        freed := '{{}}';
        FOR entry IN SELECT json_array_elements(p_more->'create') LOOP
            INSERT INTO {s}.executions (id, flow, definition, options, parent, forked_execution, forked_records, created,
                updated, status, due, owner, trimmed, labels, error)
            SELECT x.id, x.flow, x.definition, decode(x.options, 'base64'), x.parent, x.forked_execution,
                x.forked_records, x.created, x.updated, x.status, x.due, x.owner, x.trimmed, x.labels, x.error
            FROM json_to_record(entry) AS x (id text, flow text, definition text, options text, parent text,
                forked_execution text, forked_records bigint, created double precision, updated double precision,
                status text, due double precision, owner text, trimmed bigint, labels text, error text)
            RETURNING key INTO made;
            created := created || made;
        END LOOP;
        INSERT INTO {s}.records (execution, number, item, at, data)
            SELECT CASE WHEN r.key < 0 THEN created[-r.key] ELSE r.key END, r.number, nullif(r.item, 0), r.at,
                substring(p_data FROM r.start::integer FOR r.length::integer)
            FROM unnest(p_keys, p_numbers, p_items, p_ats, p_starts, p_lengths)
                AS r (key, number, item, at, start, length);
        IF p_more IS NOT NULL THEN
            IF p_more->'change' IS NOT NULL THEN
                UPDATE {s}.executions e SET status = x.status, due = x.due, updated = greatest(e.updated, x.at),
                    owner = x.owner, error = x.error
                FROM json_to_recordset(p_more->'change') AS x (key bigint, status text, due double precision,
                    at double precision, owner text, error text) WHERE e.key = x.key;
                GET DIAGNOSTICS counted = ROW_COUNT;
                IF counted <> json_array_length(p_more->'change') THEN
                    RAISE EXCEPTION 'one of the executions was deleted' USING ERRCODE = 'TF002';
                END IF;
            END IF;
            DELETE FROM {s}.words WHERE execution IN (SELECT value::bigint FROM json_array_elements_text(p_more->'unworded'));
            INSERT INTO {s}.words (execution, word)
                SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END, x.word
                FROM json_to_recordset(p_more->'words') AS x (key bigint, word text) ON CONFLICT DO NOTHING;
            INSERT INTO {s}.labels (execution, name, value, folded)
                SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END, x.name, x.value, x.folded
                FROM json_to_recordset(p_more->'labels') AS x (key bigint, name text, value text, folded text);
            INSERT INTO {s}.payloads (digest, data) -- in order, and also if it is there: `drop_payloads` waits for it then
                SELECT x.digest, substring(p_blobs FROM x.start FOR x.length)
                FROM json_to_recordset(p_more->'payloads') AS x (digest text, start integer, length integer)
                ORDER BY x.digest ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest;
            INSERT INTO {s}.payload_uses (execution, digest)
                SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END, x.digest
                FROM json_to_recordset(p_more->'uses') AS x (key bigint, digest text) ON CONFLICT DO NOTHING;
            INSERT INTO {s}.snapshots (execution, records, definition, data)
                SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END, x.records, x.definition,
                    substring(p_blobs FROM x.start FOR x.length)
                FROM json_to_recordset(p_more->'snapshots')
                    AS x (key bigint, records bigint, definition text, start integer, length integer);
            DELETE FROM {s}.questions q USING json_to_recordset(p_more->'closed') AS x (key bigint, id text)
                WHERE q.execution = x.key AND q.id = x.id;
            DELETE FROM {s}.questions WHERE execution IN (SELECT value::bigint FROM json_array_elements_text(p_more->'ended'));
            INSERT INTO {s}.questions (execution, id, root, since, data)
                SELECT y.key, y.id, {s}.root(y.key), y.since, decode(y.data, 'base64') FROM (
                    SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END AS key, x.id, x.since, x.data
                    FROM json_to_recordset(p_more->'opened') AS x (key bigint, id text, since double precision, data text)
                ) y ON CONFLICT (execution, id) DO UPDATE SET data = excluded.data;
            WITH done AS (
                UPDATE {s}.requests q SET ok = x.ok, reply = decode(x.data, 'base64'), replied = x.at, fetched = NULL
                FROM json_to_recordset(p_more->'replies')
                    AS x (key bigint, id text, ok boolean, data text, at double precision)
                WHERE q.id = x.id AND q.execution = x.key AND q.replied IS NULL RETURNING q.id
            ), marked AS (
                UPDATE {s}.requests q SET taken = true
                FROM json_to_recordset(p_more->'taken') AS x (key bigint, id text)
                WHERE q.id = x.id AND q.execution = x.key AND q.replied IS NULL AND NOT q.taken RETURNING q.id
            ) SELECT array_agg(id) INTO asked FROM (SELECT id FROM done UNION ALL SELECT id FROM marked) touched_requests;
            IF p_more->'releases' IS NOT NULL THEN
                freed := {s}.free(p_owner, p_token, ARRAY(
                    SELECT CASE WHEN value::bigint < 0 THEN created[-value::bigint] ELSE value::bigint END
                    FROM json_array_elements_text(p_more->'releases')));
            END IF;
        END IF;
        touched := created || p_touched;
        FOR part IN 0 .. (greatest(cardinality(touched), cardinality(asked), 1) - 1) / 500 LOOP
            INSERT INTO {s}.changes (token, executions, requests) VALUES (p_token,
                touched[part * 500 + 1 : part * 500 + 500], coalesce(asked[part * 500 + 1 : part * 500 + 500], '{{}}'));
        END LOOP;
    END $$""",
    """CREATE FUNCTION {s}.put_snapshot(p_owner text, p_incarnation bigint, p_token text, p_id text, p_records bigint,
        p_definition text, p_data bytea) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE found_key bigint;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        SELECT key INTO found_key FROM {s}.executions WHERE id = p_id FOR UPDATE;
        IF found_key IS NULL THEN
            RAISE EXCEPTION 'the execution was deleted' USING ERRCODE = 'TF002';
        END IF;
        INSERT INTO {s}.snapshots (execution, records, definition, data)
            VALUES (found_key, p_records, p_definition, p_data)
            ON CONFLICT (execution, records) DO UPDATE SET definition = excluded.definition, data = excluded.data;
        UPDATE {s}.executions SET definition = p_definition WHERE key = found_key AND definition <> p_definition;
        IF FOUND THEN
            INSERT INTO {s}.changes (token, executions) VALUES (p_token, ARRAY[found_key]);
        END IF;
    END $$""",
    """CREATE FUNCTION {s}.put_definition(p_owner text, p_incarnation bigint, p_fingerprint text, p_data bytea)
        RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        INSERT INTO {s}.definitions (fingerprint, data) VALUES (p_fingerprint, p_data) ON CONFLICT DO NOTHING;
    END $$""",
    # -- the inbox -----------------------------------------------------------------------------------------------------
    # Returns false if there is no such execution.
    """CREATE FUNCTION {s}.post(p_owner text, p_incarnation bigint, p_token text, p_id text, p_execution text, p_kind text,
        p_data bytea, p_at double precision) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE found_key bigint;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        IF EXISTS (SELECT FROM {s}.requests WHERE id = p_id) THEN
            RETURN true;
        END IF;
        SELECT key INTO found_key FROM {s}.executions WHERE id = p_execution FOR KEY SHARE;
        IF found_key IS NULL THEN
            RETURN false;
        END IF;
        INSERT INTO {s}.requests (id, execution, root, kind, data, at)
            VALUES (p_id, found_key, {s}.root(found_key), p_kind, p_data, p_at) ON CONFLICT (id) DO NOTHING;
        IF FOUND THEN
            INSERT INTO {s}.changes (token, executions, requests) VALUES (p_token, ARRAY[found_key], ARRAY[p_id]);
        END IF;
        RETURN true;
    END $$""",
    """CREATE FUNCTION {s}.fetch_requests(p_owner text, p_incarnation bigint, p_limit bigint, p_without text[])
        RETURNS bigint[] LANGUAGE plpgsql AS $$
    DECLARE wanted bigint[];
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        SELECT array_agg(w.key) INTO wanted FROM (
            SELECT q.key FROM {s}.requests q JOIN {s}.executions e ON e.key = q.execution
                WHERE q.replied IS NULL AND e.owner = p_owner AND q.id <> ALL (p_without) ORDER BY q.key LIMIT p_limit
        ) w;
        UPDATE {s}.requests SET fetched = p_owner
            WHERE key = ANY (wanted) AND replied IS NULL AND fetched IS DISTINCT FROM p_owner;
        RETURN coalesce(wanted, '{{}}');
    END $$""",
    """CREATE FUNCTION {s}.withdraw(p_owner text, p_incarnation bigint, p_token text, p_id text)
        RETURNS void LANGUAGE plpgsql AS $$
    DECLARE found_key bigint;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        DELETE FROM {s}.requests q USING {s}.executions e WHERE e.key = q.execution AND q.id = p_id AND q.replied IS NULL
            AND NOT q.taken AND (q.fetched IS NULL OR q.fetched IS DISTINCT FROM e.owner) RETURNING e.key INTO found_key;
        IF FOUND THEN
            INSERT INTO {s}.changes (token, executions, requests) VALUES (p_token, ARRAY[found_key], ARRAY[p_id]);
        END IF;
    END $$""",
    # -- retention -----------------------------------------------------------------------------------------------------
    # Locks the payloads first: an append that refers to one of them either has committed, so that its reference is seen
    # by the statement that deletes, or waits and stores the payload again.
    """CREATE FUNCTION {s}.drop_payloads(p_keys bigint[], p_digests text[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM 1 FROM {s}.payloads WHERE digest = ANY (p_digests) ORDER BY digest FOR UPDATE;
        DELETE FROM {s}.payload_uses WHERE execution = ANY (p_keys) AND digest = ANY (p_digests);
        DELETE FROM {s}.payloads p WHERE p.digest = ANY (p_digests)
            AND NOT EXISTS (SELECT FROM {s}.payload_uses u WHERE u.digest = p.digest);
    END $$""",
    # Returns how many records were deleted; -1 if there is no such execution, -2 if it has no such snapshot.
    """CREATE FUNCTION {s}.trim(p_owner text, p_incarnation bigint, p_token text, p_id text, p_records bigint,
        p_payloads text[]) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE found_key bigint; counted bigint; was_updated double precision;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        SELECT e.key, greatest(e.trimmed, coalesce(
                (SELECT max(number) + 1 FROM {s}.records WHERE execution = e.key), 0))
            INTO found_key, counted FROM {s}.executions e WHERE e.id = p_id FOR UPDATE;
        IF found_key IS NULL THEN
            RETURN -1;
        END IF;
        IF NOT EXISTS (SELECT FROM {s}.snapshots WHERE execution = found_key AND records >= p_records) THEN
            RETURN -2;
        END IF;
        DELETE FROM {s}.snapshots WHERE execution = found_key AND records < p_records;
        -- The last record may be deleted below, so that its number and time are copied into the row of the execution.
        UPDATE {s}.executions SET trimmed = greatest(trimmed, p_records), updated = greatest(updated, coalesce(
            (SELECT at FROM {s}.records WHERE execution = found_key ORDER BY number DESC LIMIT 1), updated))
            WHERE key = found_key;
        IF p_payloads IS NOT NULL AND counted <= p_records THEN
            PERFORM {s}.drop_payloads(ARRAY[found_key], ARRAY(
                SELECT digest FROM {s}.payload_uses WHERE execution = found_key AND digest <> ALL (p_payloads)));
        END IF;
        DELETE FROM {s}.records WHERE execution = found_key AND number < p_records AND item IS NULL;
        GET DIAGNOSTICS counted = ROW_COUNT;
        INSERT INTO {s}.changes (token, executions) VALUES (p_token, ARRAY[found_key]);
        RETURN counted;
    END $$""",
    """CREATE FUNCTION {s}.delete(p_owner text, p_incarnation bigint, p_token text, p_ids text[])
        RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE wanted text; keys bigint[]; names text[]; asked text[]; counted bigint := 0;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        FOREACH wanted IN ARRAY p_ids LOOP
            keys := ARRAY(SELECT t.key FROM {s}.executions e, {s}.tree(ARRAY[e.key]) t WHERE e.id = wanted);
            PERFORM 1 FROM {s}.executions WHERE key = ANY (keys) ORDER BY key FOR UPDATE;
            SELECT array_agg(e.key), array_agg(e.id) INTO keys, names FROM {s}.executions e WHERE e.key = ANY (keys)
                HAVING bool_and(e.status IN ('completed', 'failed', 'cancelled'));
            CONTINUE WHEN keys IS NULL;
            PERFORM {s}.drop_payloads(keys, ARRAY(
                SELECT DISTINCT digest FROM {s}.payload_uses WHERE execution = ANY (keys)));
            DELETE FROM {s}.labels WHERE execution = ANY (keys);
            DELETE FROM {s}.words WHERE execution = ANY (keys);
            DELETE FROM {s}.snapshots WHERE execution = ANY (keys);
            DELETE FROM {s}.records WHERE execution = ANY (keys);
            DELETE FROM {s}.questions WHERE execution = ANY (keys);
            WITH old AS (DELETE FROM {s}.requests WHERE execution = ANY (keys) RETURNING id)
                SELECT coalesce(array_agg(id), '{{}}') INTO asked FROM old;
            DELETE FROM {s}.executions WHERE key = ANY (keys);
            INSERT INTO {s}.changes (token, gone, requests) VALUES (p_token, names, asked);
            counted := counted + cardinality(keys);
        END LOOP;
        RETURN counted;
    END $$""",
    # Deletes old replies, and changes that no reader waits for any more. A change is kept while a transaction that was
    # open before it may still be: so no cursor of the present is ever below the floor.
    """CREATE FUNCTION {s}.tidy(p_now double precision, p_replies double precision, p_changes double precision)
        RETURNS void LANGUAGE plpgsql AS $$
    DECLARE moment double precision := {s}.now_or(p_now); newest xid8;
    BEGIN
        IF NOT pg_try_advisory_xact_lock(1413893208, hashtext('{s}')) THEN
            RETURN;
        END IF;
        DELETE FROM {s}.requests WHERE replied < moment - p_replies;
        WITH old AS (
            DELETE FROM {s}.changes WHERE at < extract(epoch FROM clock_timestamp()) - p_changes
                AND xid < pg_snapshot_xmin(pg_current_snapshot()) RETURNING xid
        ) SELECT xid INTO newest FROM old ORDER BY xid DESC LIMIT 1;
        IF newest IS NOT NULL THEN
            UPDATE {s}.feed SET floor = greatest(floor, newest);
        END IF;
    END $$""",
)

#: `STEPS[n]` makes a schema of version n + 1 out of one of version n. A step that was released is never changed. Stores of
#: an older release go on using the functions while others open the schema: a step that changes the parameters or the
#: meaning of a function gives it another name.
STEPS: Steps = ((*_TABLES, *_FUNCTIONS),)
