"""The functions of a store in the database. Everything that writes is one of them.

A call is one message to the database. So a client whose network is cut leaves no transaction open, which would hold
its locks until the database notices; and values are parameters, which the database does not log with a statement that
fails.

Each write begins with `fence`: it locks the row of its owner against deletion, and fails if the row is gone or has
another incarnation. A claim deletes the rows of dead owners, which waits for the writes that they have begun; what
they send later fails.
"""

#: The code of the error that `fence` raises.
REVOKED = "TF001"
#: The code of the errors that become a `StoreConflict`.
CONFLICT = "TF002"

FUNCTIONS = (
    # -- owners --------------------------------------------------------------------------------------------------------
    """CREATE FUNCTION {s}.now_or(p_now double precision) RETURNS double precision LANGUAGE sql VOLATILE AS $$
        SELECT coalesce(p_now, extract(epoch FROM clock_timestamp())::double precision) $$""",
    """CREATE FUNCTION {s}.fence(p_owner text, p_incarnation bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM 1 FROM {s}.owners WHERE id = p_owner AND incarnation = p_incarnation FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the owner was counted as dead, or has another incarnation' USING ERRCODE = 'TF001';
        END IF;
    END $$""",
    # Begins a new incarnation of an owner. It waits for the writes of the last one; what arrives of it later fails.
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
    # The outermost executions that have work and no owner, the oldest first; NULL if there are none.
    """CREATE FUNCTION {s}.workable(p_flows text[], p_moment double precision, p_limit bigint, p_without text[])
        RETURNS bigint[] LANGUAGE sql STABLE AS $$
        SELECT array_agg(w.key ORDER BY w.created, w.key) FROM (
            SELECT e.key, e.created FROM (
                SELECT r.key FROM {s}.executions r
                    WHERE r.flow = ANY (p_flows) AND r.parent IS NULL AND r.status IN ('created', 'running')
                UNION SELECT d.key FROM {s}.executions d
                    WHERE d.flow = ANY (p_flows) AND d.parent IS NULL AND d.status = 'waiting' AND d.due <= p_moment
                UNION SELECT q.root FROM {s}.requests q WHERE q.replied IS NULL
                UNION SELECT l.execution FROM {s}.listeners l JOIN {s}.executions h ON h.key = l.execution
                    JOIN {s}.shared_changes c ON c.flow = l.flow AND c.key = l.key AND c.number > l.heard AND c.emit
                        AND c.execution IS DISTINCT FROM h.id
                    WHERE l.flow = ANY (p_flows)
            ) found JOIN {s}.executions e ON e.key = found.key
            WHERE e.flow = ANY (p_flows) AND e.parent IS NULL AND e.status NOT IN ('completed', 'failed', 'cancelled')
                AND NOT EXISTS (SELECT FROM {s}.owners o WHERE o.id = e.owner) AND e.id <> ALL (p_without)
            ORDER BY e.created, e.key LIMIT p_limit
        ) w $$""",
    # Looks before it locks: a call that finds nothing writes nothing, waits for no other claim and not for the disk.
    # Workers look with each change of the store, and most looks find nothing.
    """CREATE FUNCTION {s}.claim_work(p_owner text, p_incarnation bigint, p_token text, p_now double precision,
        p_ended text[], p_flows text[], p_limit bigint, p_without text[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
    DECLARE wanted bigint[]; moment double precision := {s}.now_or(p_now);
    BEGIN
        IF NOT EXISTS (SELECT FROM {s}.owners WHERE id <> p_owner AND (expires <= moment OR id = ANY (p_ended)))
            AND {s}.workable(p_flows, moment, 1, p_without) IS NULL
        THEN
            RETURN '{{}}';
        END IF;
        PERFORM {s}.fence(p_owner, p_incarnation);
        PERFORM {s}.purge(p_owner, p_now, p_ended);
        wanted := {s}.workable(p_flows, moment, p_limit, p_without);
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
    # -- shared data ---------------------------------------------------------------------------------------------------
    # Adds changes of the shared data of a flow. Returns the number of the last one. Locks the flow until the commit, so
    # that numbers are in the order of the commits.
    """CREATE FUNCTION {s}.add_shared(p_flow text, p_changes json, p_by text) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE last bigint;
    BEGIN
        INSERT INTO {s}.shared_flows AS f (flow, newest, floor) VALUES (p_flow, json_array_length(p_changes), 0)
            ON CONFLICT (flow) DO UPDATE SET newest = f.newest + excluded.newest RETURNING f.newest INTO last;
        INSERT INTO {s}.shared_changes (flow, number, key, op, data, emit, execution)
            SELECT p_flow, last - json_array_length(p_changes) + x.place, c.key, c.op, decode(c.data, 'base64'), c.emit,
                p_by
            FROM json_array_elements(p_changes) WITH ORDINALITY AS x (change, place),
                json_to_record(x.change) AS c (key text, op text, data text, emit boolean);
        RETURN last;
    END $$""",
    # What one append says about shared data.
    """CREATE FUNCTION {s}.share(p_execution bigint, p_part json) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE p_flow text := p_part->>'flow'; upto bigint := (p_part->>'heard')::bigint; last bigint; counted bigint;
    BEGIN
        counted := coalesce(json_array_length(p_part->'changes'), 0);
        IF p_part->'listens' IS NOT NULL THEN
            PERFORM {s}.listen(p_execution, p_flow, ARRAY(SELECT json_array_elements_text(p_part->'listens')), upto);
        ELSIF upto IS NOT NULL THEN
            UPDATE {s}.listeners SET heard = upto WHERE execution = p_execution AND heard < upto;
        END IF;
        IF counted > 0 THEN
            last := {s}.add_shared(p_flow, p_part->'changes', p_part->>'by');
            UPDATE {s}.listeners SET heard = last WHERE execution = p_execution AND heard >= last - counted;
        END IF;
        IF (p_part->>'ends')::boolean THEN
            DELETE FROM {s}.listeners WHERE execution = p_execution;
        END IF;
    END $$""",
    # Locks the flow, so that `fold_shared` sees who listens.
    """CREATE FUNCTION {s}.listen(p_execution bigint, p_flow text, p_keys text[], p_heard bigint)
        RETURNS void LANGUAGE plpgsql AS $$
    DECLARE upto bigint;
    BEGIN
        DELETE FROM {s}.listeners WHERE execution = p_execution;
        IF p_keys = '{{}}' THEN
            RETURN;
        END IF;
        SELECT newest INTO upto FROM {s}.shared_flows WHERE flow = p_flow FOR UPDATE;
        upto := greatest(coalesce(p_heard, upto, 0), (
            SELECT max(number) FROM {s}.shared_values WHERE flow = p_flow AND key = ANY (p_keys)));
        INSERT INTO {s}.listeners (execution, key, flow, heard) SELECT p_execution, unnest(p_keys), p_flow, upto;
    END $$""",
    """CREATE FUNCTION {s}.change_shared(p_owner text, p_incarnation bigint, p_token text, p_flow text, p_changes json)
        RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        INSERT INTO {s}.changes (token, flows) VALUES (p_token, ARRAY[p_flow]);
        RETURN {s}.add_shared(p_flow, p_changes, NULL);
    END $$""",
    # Returns whether the key was folded.
    """CREATE FUNCTION {s}.fold_shared(p_owner text, p_incarnation bigint, p_flow text, p_key text, p_number bigint,
        p_value bytea) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        PERFORM 1 FROM {s}.shared_flows WHERE flow = p_flow FOR UPDATE;
        IF EXISTS (
            SELECT FROM {s}.listeners l JOIN {s}.executions e ON e.key = l.execution
                JOIN {s}.shared_changes c ON c.flow = l.flow AND c.key = l.key AND c.number > l.heard AND c.emit
                    AND c.execution IS DISTINCT FROM e.id
                WHERE l.flow = p_flow AND l.key = p_key AND l.heard < p_number AND c.number <= p_number
        ) THEN
            RETURN false;
        END IF;
        DELETE FROM {s}.shared_changes WHERE flow = p_flow AND key = p_key AND number <= p_number;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        IF p_value IS NULL THEN
            DELETE FROM {s}.shared_values WHERE flow = p_flow AND key = p_key;
            UPDATE {s}.shared_flows SET floor = greatest(floor, p_number) WHERE flow = p_flow;
        ELSE
            INSERT INTO {s}.shared_values (flow, key, number, data) VALUES (p_flow, p_key, p_number, p_value)
                ON CONFLICT (flow, key) DO UPDATE SET number = excluded.number, data = excluded.data;
        END IF;
        RETURN true;
    END $$""",
    # -- schedules -----------------------------------------------------------------------------------------------------
    # Stores a schedule, if the one in the store has the version that it replaces. Returns its id.
    """CREATE FUNCTION {s}.plan(p_plan json) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE row record;
    BEGIN
        SELECT * INTO row FROM json_to_record(p_plan)
            AS x (id text, flow text, data text, due double precision, version text, replaces text);
        IF row.replaces IS NULL THEN
            INSERT INTO {s}.schedules (id, flow, data, due, version)
                VALUES (row.id, row.flow, decode(row.data, 'base64'), row.due, row.version) ON CONFLICT DO NOTHING;
        ELSE
            UPDATE {s}.schedules SET flow = row.flow, data = decode(row.data, 'base64'), due = row.due,
                version = row.version WHERE id = row.id AND version = row.replaces;
        END IF;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'schedule % was changed or deleted meanwhile; read it again', quote_literal(row.id)
                USING ERRCODE = 'TF002';
        END IF;
        RETURN row.id;
    END $$""",
    """CREATE FUNCTION {s}.delete_schedule(p_owner text, p_incarnation bigint, p_token text, p_id text)
        RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        DELETE FROM {s}.schedules WHERE id = p_id;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        INSERT INTO {s}.changes (token, schedules) VALUES (p_token, ARRAY[p_id]);
        RETURN true;
    END $$""",
    # -- records -------------------------------------------------------------------------------------------------------
    # A negative key -n is the n-th execution that this call creates. `p_more` is JSON: what only some appends have.
    # Returns the keys of what it has created, the ids of what it has released, the newest changes of shared data by
    # flow, and whether there are other owners, who have to hear of it.
    """CREATE FUNCTION {s}.append(p_owner text, p_incarnation bigint, p_token text, p_keys bigint[], p_numbers bigint[],
        p_items bigint[], p_ats double precision[], p_starts bigint[], p_lengths bigint[], p_data bytea,
        p_touched bigint[], p_flows text[], p_more json, p_blobs bytea,
        OUT created bigint[], OUT freed text[], OUT newest json, OUT has_others boolean) LANGUAGE plpgsql AS $$
    DECLARE
        entry json; made bigint; counted bigint; touched bigint[]; asked text[] := '{{}}'; flows text[] := '{{}}';
        planned text[] := '{{}}';
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        created := '{{}}';
        freed := '{{}}';
        FOR entry IN SELECT json_array_elements(p_more->'create') LOOP
            INSERT INTO {s}.executions (id, flow, definition, options, parent, forked_execution, forked_records,
                created, updated, status, due, owner, trimmed, labels, error)
            SELECT x.id, x.flow, x.definition, decode(x.options, 'base64'), x.parent, x.forked_execution,
                x.forked_records, x.created, x.updated, x.status, x.due, x.owner, x.trimmed, x.labels, x.error
            FROM json_to_record(entry) AS x (id text, flow text, definition text, options text, parent text,
                forked_execution text, forked_records bigint, created double precision, updated double precision,
                status text, due double precision, owner text, trimmed bigint, labels text, error text)
            ON CONFLICT (id) DO NOTHING RETURNING key INTO made;
            IF made IS NULL THEN
                RAISE EXCEPTION 'execution % exists already', quote_literal(entry->>'id') USING ERRCODE = 'TF002';
            END IF;
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
            DELETE FROM {s}.words
                WHERE execution IN (SELECT value::bigint FROM json_array_elements_text(p_more->'unworded'));
            INSERT INTO {s}.words (execution, word)
                SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END, x.word
                FROM json_to_recordset(p_more->'words') AS x (key bigint, word text) ON CONFLICT DO NOTHING;
            INSERT INTO {s}.labels (execution, name, value, folded)
                SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END, x.name, x.value, x.folded
                FROM json_to_recordset(p_more->'labels') AS x (key bigint, name text, value text, folded text);
            -- In order, and also those that are there: `drop_payloads` waits then.
            INSERT INTO {s}.payloads (digest, data)
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
            DELETE FROM {s}.questions
                WHERE execution IN (SELECT value::bigint FROM json_array_elements_text(p_more->'ended'));
            DELETE FROM {s}.listeners
                WHERE execution IN (SELECT value::bigint FROM json_array_elements_text(p_more->'ended'));
            INSERT INTO {s}.questions (execution, id, root, since, data)
                SELECT y.key, y.id, {s}.root(y.key), y.since, decode(y.data, 'base64') FROM (
                    SELECT CASE WHEN x.key < 0 THEN created[-x.key] ELSE x.key END AS key, x.id, x.since, x.data
                    FROM json_to_recordset(p_more->'opened')
                        AS x (key bigint, id text, since double precision, data text)
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
            ) SELECT array_agg(id) INTO asked FROM (SELECT id FROM done UNION ALL SELECT id FROM marked) of_requests;
            FOR entry IN SELECT json_array_elements(p_more->'shared') LOOP
                made := (entry->>'execution')::bigint;
                PERFORM {s}.share(CASE WHEN made < 0 THEN created[-made] ELSE made END, entry);
                IF json_array_length(entry->'changes') > 0 THEN
                    flows := flows || (entry->>'flow');
                END IF;
            END LOOP;
            IF p_more->'schedule' IS NOT NULL THEN
                planned := ARRAY[{s}.plan(p_more->'schedule'->0)];
            END IF;
            IF p_more->'releases' IS NOT NULL THEN
                freed := {s}.free(p_owner, p_token, ARRAY(
                    SELECT CASE WHEN value::bigint < 0 THEN created[-value::bigint] ELSE value::bigint END
                    FROM json_array_elements_text(p_more->'releases')));
            END IF;
        END IF;
        SELECT json_object_agg(flow, f.newest) INTO newest FROM {s}.shared_flows f WHERE flow = ANY (p_flows);
        has_others := EXISTS (SELECT FROM {s}.owners WHERE id <> p_owner);
        touched := created || p_touched;
        FOR part IN 0 .. (greatest(cardinality(touched), cardinality(asked), 1) - 1) / 500 LOOP
            INSERT INTO {s}.changes (token, executions, requests, flows, schedules) VALUES (p_token,
                touched[part * 500 + 1 : part * 500 + 500], coalesce(asked[part * 500 + 1 : part * 500 + 500], '{{}}'),
                flows, planned);
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
    """CREATE FUNCTION {s}.post(p_owner text, p_incarnation bigint, p_token text, p_id text, p_execution text,
        p_kind text, p_data bytea, p_at double precision) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE found_key bigint;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        IF EXISTS (SELECT FROM {s}.requests WHERE id = p_id) THEN
            RETURN 'known';
        END IF;
        SELECT key INTO found_key FROM {s}.executions WHERE id = p_execution FOR KEY SHARE;
        IF found_key IS NULL THEN
            RETURN 'unknown execution';
        END IF;
        INSERT INTO {s}.requests (id, execution, root, kind, data, at)
            VALUES (p_id, found_key, {s}.root(found_key), p_kind, p_data, p_at) ON CONFLICT (id) DO NOTHING;
        IF NOT FOUND THEN
            RETURN 'known';
        END IF;
        INSERT INTO {s}.changes (token, executions, requests) VALUES (p_token, ARRAY[found_key], ARRAY[p_id]);
        RETURN 'posted';
    END $$""",
    # A row with an array for each column of the requests, so that one call marks them and returns them.
    """CREATE FUNCTION {s}.fetch_requests(p_owner text, p_incarnation bigint, p_limit bigint, p_without text[],
        OUT ids text[], OUT executions text[], OUT kinds text[], OUT datas bytea[], OUT times double precision[],
        OUT are_taken boolean[]) LANGUAGE plpgsql AS $$
    DECLARE wanted bigint[];
    BEGIN
        IF NOT EXISTS (SELECT FROM {s}.requests q JOIN {s}.executions e ON e.key = q.execution
            WHERE q.replied IS NULL AND e.owner = p_owner AND q.id <> ALL (p_without))
        THEN
            RETURN; -- and has locked and written nothing
        END IF;
        PERFORM {s}.fence(p_owner, p_incarnation);
        SELECT array_agg(w.key) INTO wanted FROM (
            SELECT q.key FROM {s}.requests q JOIN {s}.executions e ON e.key = q.execution
                WHERE q.replied IS NULL AND e.owner = p_owner AND q.id <> ALL (p_without) ORDER BY q.key LIMIT p_limit
        ) w;
        UPDATE {s}.requests SET fetched = p_owner
            WHERE key = ANY (wanted) AND replied IS NULL AND fetched IS DISTINCT FROM p_owner;
        SELECT array_agg(q.id ORDER BY q.key), array_agg(e.id ORDER BY q.key), array_agg(q.kind ORDER BY q.key),
                array_agg(q.data ORDER BY q.key), array_agg(q.at ORDER BY q.key), array_agg(q.taken ORDER BY q.key)
            INTO ids, executions, kinds, datas, times, are_taken
            FROM {s}.requests q JOIN {s}.executions e ON e.key = q.execution
            WHERE q.key = ANY (wanted) AND q.replied IS NULL;
    END $$""",
    """CREATE FUNCTION {s}.withdraw(p_owner text, p_incarnation bigint, p_token text, p_id text)
        RETURNS void LANGUAGE plpgsql AS $$
    DECLARE found_key bigint;
    BEGIN
        PERFORM {s}.fence(p_owner, p_incarnation);
        DELETE FROM {s}.requests q USING {s}.executions e
            WHERE e.key = q.execution AND q.id = p_id AND q.replied IS NULL AND NOT q.taken
                AND (q.fetched IS NULL OR q.fetched IS DISTINCT FROM e.owner)
            RETURNING e.key INTO found_key;
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
            DELETE FROM {s}.listeners WHERE execution = ANY (keys);
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
