-- Saved funnels: what is saved, what each refresh found, the commands, and who may see and do what.

-- The source is held by its identity, which a rename or a move to another schema does not change and which a dump writes
-- as a name. A query is text, read with the path that its writer had.
CREATE TABLE saved_funnels (
    name             text        PRIMARY KEY,
    owner            regrole     NOT NULL,
    definition       jsonb       NOT NULL,
    source           regclass,
    events_column    name,
    breakdown_column name,
    filter           text,
    query            text,
    search_path      text        NOT NULL,
    keep             interval    CHECK (keep OPERATOR(pg_catalog.>) '0'::interval),
    saved_at         timestamptz NOT NULL,
    CHECK ((source IS NULL) OPERATOR(pg_catalog.<>) (query IS NULL)),
    CHECK ((source IS NULL) OPERATOR(pg_catalog.=) (events_column IS NULL)),
    CHECK (query IS NULL OR (breakdown_column IS NULL AND filter IS NULL))
);

CREATE TABLE funnel_refreshes (
    funnel       text        NOT NULL REFERENCES saved_funnels ON DELETE CASCADE,
    refreshed_at timestamptz NOT NULL,
    refreshed_by name        NOT NULL,
    took         interval    NOT NULL,
    fingerprint  text,
    users        bigint,
    sqlstate     text,
    message      text,
    detail       text,
    hint         text,
    PRIMARY KEY (funnel, refreshed_at),
    CHECK ((sqlstate IS NULL) OPERATOR(pg_catalog.=) (users IS NOT NULL))
);

CREATE TABLE funnel_summaries (
    funnel       text           NOT NULL,
    refreshed_at timestamptz    NOT NULL,
    breakdown    text,
    summary      funnel_summary NOT NULL,
    UNIQUE NULLS NOT DISTINCT (funnel, refreshed_at, breakdown),
    FOREIGN KEY (funnel, refreshed_at) REFERENCES funnel_refreshes ON DELETE CASCADE
);

CREATE TABLE funnel_results (
    funnel               text        NOT NULL,
    refreshed_at         timestamptz NOT NULL,
    breakdown            text,
    step                 int         NOT NULL,
    label                text        NOT NULL,
    users                bigint      NOT NULL,
    share_of_first       float8,
    share_of_previous    float8,
    drop_off             bigint,
    median_from_previous interval,
    p90_from_previous    interval,
    mean_from_previous   interval,
    median_from_start    interval,
    p90_from_start       interval,
    mean_from_start      interval,
    UNIQUE NULLS NOT DISTINCT (funnel, refreshed_at, breakdown, step),
    FOREIGN KEY (funnel, refreshed_at) REFERENCES funnel_refreshes ON DELETE CASCADE
);

-- The one place that builds what is run: the saved query, or the query of the table form.
CREATE FUNCTION funnel_query(source regclass, events_column name, breakdown_column name, filter text, query text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home text;
BEGIN
    IF query IS NOT NULL THEN
        RETURN funnel_query.query;
    END IF;
    -- Written out, since a regclass shows no schema for what the present path finds.
    SELECT format('%I.%I', n.nspname, c.relname) INTO home FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = source;
    IF home IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_table',
            MESSAGE = format('the source of the saved funnel is gone: no relation with OID %s', source::oid),
            DETAIL = 'The table was dropped.',
            HINT = 'Save the funnel again with its new source, or drop it with eventkit.drop_funnel.';
    END IF;
    PERFORM eventkit.check_funnel_filter(filter);
    RETURN format('SELECT %I AS events', events_column)
        || CASE WHEN breakdown_column IS NULL THEN '' ELSE format(', %I AS breakdown', breakdown_column) END
        || format(' FROM %s', home)
        || CASE WHEN filter IS NULL THEN '' ELSE format(E' WHERE (\n%s\n)', filter) END;
END
$$;

-- Refuses what is no source of a funnel, with the rights and the path of the owner. Reads no row.
CREATE FUNCTION check_funnel_source(query text, definition jsonb, owner oid, search_path text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 10000
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found record;
    names text[] := '{}';
BEGIN
    FOR found IN SELECT d.column_name, d.column_type FROM eventkit.describe_funnel_query(query, owner, search_path) d LOOP
        IF found.column_name NOT IN ('events', 'breakdown') OR found.column_name = ANY (names) THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = format('argument "query" yields a column %I', found.column_name)
                    || CASE WHEN found.column_name = ANY (names) THEN ' twice' ELSE '' END,
                DETAIL = 'It may yield events and, as you like, breakdown, each once.',
                HINT = 'SELECT events, country AS breakdown FROM user_events';
        END IF;
        IF found.column_name = 'events' AND NOT EXISTS (
            SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = 'eventkit' AND p.proname = 'funnel_level' AND p.proargtypes[0] = found.column_type
        ) THEN
            RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch',
                MESSAGE = format('the column of events is of type %s', format_type(found.column_type, NULL)),
                DETAIL = 'An event array is hstore[], jsonb[], or a jsonb array.',
                HINT = 'Name the column that holds the event arrays.';
        END IF;
        names := names || found.column_name;
    END LOOP;
    IF NOT 'events' = ANY (names) THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column',
            MESSAGE = 'argument "query" yields no column events',
            DETAIL = 'Each row of it is one user, and events holds the array of this user.',
            HINT = 'SELECT events, country AS breakdown FROM user_events';
    END IF;
    -- The server checks the rights when a query starts; this one ends before its first row.
    PERFORM FROM eventkit.run_funnel_query(query, definition, owner, search_path, true);
END
$$;

-- Writes down a funnel after all of it was checked. The schemas are the writer's path.
CREATE FUNCTION store_funnel(
    name text, definition jsonb, source regclass, events_column name, breakdown_column name, filter text, query text,
    keep interval, schemas name[]
) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    relation pg_class;
    owner oid;
    -- A temporary table of some session's must not stand before the one that was meant.
    path text := (SELECT COALESCE(string_agg(quote_ident(s), ', ' ORDER BY at) || ', ', '') FROM unnest(schemas) WITH ORDINALITY AS u (s, at)
                  WHERE s !~ '^pg_temp') || 'pg_temp';
BEGIN
    IF name IS NULL OR definition IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
            MESSAGE = format('argument "%s" must not be NULL', CASE WHEN name IS NULL THEN 'name' ELSE 'definition' END),
            DETAIL = 'A saved funnel has a name and a definition.',
            HINT = 'SELECT eventkit.save_funnel(''signup'', ''{"steps": ["visit", "sign_up"]}'', source => ''user_events'');';
    END IF;
    IF name = '' OR octet_length(name) > 200 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('invalid value for argument "name": %L', left(name, 60)),
            DETAIL = 'A name has 1 to 200 bytes.',
            HINT = 'SELECT eventkit.save_funnel(''signup'', …);';
    END IF;
    IF (source IS NULL) = (query IS NULL) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('%s of the arguments "source" and "query" given', CASE WHEN source IS NULL THEN 'neither' ELSE 'both' END),
            DETAIL = 'The events come from a table or from a query.',
            HINT = 'Write source => ''user_events'', or query => ''SELECT events FROM user_events''.';
    END IF;
    IF query IS NOT NULL AND (events_column IS NOT NULL OR breakdown_column IS NOT NULL OR filter IS NOT NULL) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('argument "%s" does not go with a query', CASE WHEN events_column IS NOT NULL THEN 'events_column'
                WHEN breakdown_column IS NOT NULL THEN 'breakdown_column' ELSE 'filter' END),
            DETAIL = 'A query names its columns events and breakdown, and has a WHERE of its own.',
            HINT = 'SELECT my_events AS events, country AS breakdown FROM t WHERE …';
    END IF;
    IF keep <= '0' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('invalid value for argument "keep": %s', keep),
            DETAIL = 'Results are kept for a time; the newest is kept in any case.',
            HINT = 'Write keep => ''1 year'', or leave it out to keep all.';
    END IF;
    IF source IS NOT NULL THEN
        events_column := COALESCE(events_column, 'events');
        SELECT * INTO relation FROM pg_class c WHERE c.oid = source;
        IF relation.relkind NOT IN ('r', 'p', 'v', 'm', 'f') OR relation.relpersistence = 't' THEN
            RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
                MESSAGE = format('argument "source": %s is %s', source, CASE WHEN relation.relpersistence = 't' THEN 'temporary' ELSE 'not a table' END),
                DETAIL = 'A later refresh, maybe in another session, reads it.',
                HINT = 'Name a table, a view or a materialized view.';
        END IF;
        PERFORM eventkit.check_funnel_column(source, 'events_column', events_column);
        PERFORM eventkit.check_funnel_column(source, 'breakdown_column', breakdown_column);
    END IF;
    -- Somebody else's is not to be seen here, and is met below.
    SELECT f.owner INTO owner FROM eventkit.saved_funnels f WHERE f.name = name;
    owner := COALESCE(owner, (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user));
    -- The definition first, since its errors are the more likely ones.
    PERFORM eventkit.funnel_agg(NULL::jsonb, definition);
    PERFORM eventkit.check_funnel_source(
        eventkit.funnel_query(source, events_column, breakdown_column, filter, query), definition, owner, path);
    BEGIN
        INSERT INTO eventkit.saved_funnels AS f
        VALUES (name, owner::regrole, definition, source, events_column, breakdown_column, filter, query, path, keep, clock_timestamp())
        ON CONFLICT ON CONSTRAINT saved_funnels_pkey DO UPDATE SET
            definition = EXCLUDED.definition, source = EXCLUDED.source, events_column = EXCLUDED.events_column,
            breakdown_column = EXCLUDED.breakdown_column, filter = EXCLUDED.filter, query = EXCLUDED.query,
            search_path = EXCLUDED.search_path, keep = EXCLUDED.keep, saved_at = EXCLUDED.saved_at;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('permission denied to save a funnel under the name %L', name),
            DETAIL = 'Another role has a funnel of this name, or you may not execute save_funnel.',
            HINT = 'Choose another name.';
    END;
END
$$;

CREATE FUNCTION check_funnel_column(source regclass, argument text, column_name name) RETURNS void
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 100
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = source AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped) THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column',
            MESSAGE = format('argument "%s": column %I of %s does not exist', argument, column_name, source),
            DETAIL = 'The columns of the source hold the event arrays and what to break down by.',
            HINT = format('Look at the columns with \d %s in psql.', source);
    END IF;
END
$$;

-- The body is bound to its objects when it is made, so that the caller's path decides about nothing but itself.
CREATE FUNCTION save_funnel(
    name             text,
    definition       jsonb,
    source           regclass DEFAULT NULL,
    events_column    name     DEFAULT NULL,
    breakdown_column name     DEFAULT NULL,
    filter           text     DEFAULT NULL,
    query            text     DEFAULT NULL,
    keep             interval DEFAULT NULL
) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 10000
    RETURN eventkit.store_funnel(name, definition, source, events_column, breakdown_column, filter, query, keep,
                                 pg_catalog.current_schemas(false));

CREATE FUNCTION drop_funnel(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM eventkit.saved_funnels f WHERE f.name = drop_funnel.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object',
            MESSAGE = format('there is no saved funnel %L', name),
            DETAIL = 'Those of other roles are not seen.',
            HINT = 'SELECT name, owner FROM eventkit.saved_funnels;';
    END IF;
END
$$;

-- One refresh, whole or not at all; a failure is written down and told, not raised. The row of the funnel is locked
-- until the transaction ends, so that two refreshes of it never run at a time.
CREATE FUNCTION try_refresh_funnel(
    name text, OUT users bigint, OUT took interval, OUT state text, OUT message text, OUT detail text, OUT hint text
)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000000
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    began timestamptz := clock_timestamp();
    at timestamptz;
    saved eventkit.saved_funnels;
    nobody eventkit.funnel_summary;
BEGIN
    BEGIN
        SELECT * INTO saved FROM eventkit.saved_funnels f WHERE f.name = try_refresh_funnel.name FOR NO KEY UPDATE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        state := '55006';
        message := format('the saved funnel %L is being refreshed or changed', try_refresh_funnel.name);
        detail := 'Another session holds it until its transaction ends.';
        hint := 'Try again when it is done.';
        RETURN;
    END;
    IF saved.name IS NULL THEN
        state := '42704';
        message := format('there is no saved funnel %L', try_refresh_funnel.name);
        detail := 'Those of other roles are not seen.';
        hint := 'SELECT name, owner FROM eventkit.saved_funnels;';
        RETURN;
    END IF;
    -- A clock that was set back must not take the place of an older refresh.
    SELECT greatest(began, max(r.refreshed_at) + interval '1 microsecond') INTO at
    FROM eventkit.funnel_refreshes r WHERE r.funnel = saved.name;
    BEGIN
        nobody := eventkit.funnel_agg(NULL::jsonb, saved.definition);
        INSERT INTO eventkit.funnel_refreshes (funnel, refreshed_at, refreshed_by, took, fingerprint, users)
        VALUES (saved.name, at, current_user, '0', nobody::text::jsonb ->> 'funnel', 0);
        INSERT INTO eventkit.funnel_summaries (funnel, refreshed_at, breakdown, summary)
        SELECT saved.name, at, f.breakdown, f.summary
        FROM eventkit.run_funnel_query(
            eventkit.funnel_query(saved.source, saved.events_column, saved.breakdown_column, saved.filter, saved.query),
            saved.definition, saved.owner, saved.search_path, false) f;
        IF NOT FOUND THEN
            INSERT INTO eventkit.funnel_summaries (funnel, refreshed_at, breakdown, summary) VALUES (saved.name, at, NULL, nobody);
        END IF;
        INSERT INTO eventkit.funnel_results
        SELECT s.funnel, s.refreshed_at, s.breakdown, t.step, t.label, t.users, t.share_of_first, t.share_of_previous, t.drop_off,
               t.median_from_previous, t.p90_from_previous, t.mean_from_previous,
               t.median_from_start, t.p90_from_start, t.mean_from_start
        FROM eventkit.funnel_summaries s, eventkit.funnel_table(s.summary) t
        WHERE s.funnel = saved.name AND s.refreshed_at = at;
        took := clock_timestamp() - began;
        UPDATE eventkit.funnel_refreshes r SET took = try_refresh_funnel.took, users = (
            SELECT sum((s.summary::text::jsonb ->> 'users')::bigint) FROM eventkit.funnel_summaries s
            WHERE s.funnel = r.funnel AND s.refreshed_at = r.refreshed_at)
        WHERE r.funnel = saved.name AND r.refreshed_at = at
        RETURNING r.users INTO try_refresh_funnel.users;
    -- OTHERS leaves the second out, and what runs for a low-privileged role can raise it like any other.
    EXCEPTION WHEN OTHERS OR assert_failure THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
            hint = PG_EXCEPTION_HINT;
        took := clock_timestamp() - began;
        message := left(message, 1000);
        detail := COALESCE(NULLIF(left(detail, 1000), ''), 'The failure is recorded in eventkit.funnel_refreshes.');
        hint := COALESCE(NULLIF(left(hint, 1000), ''), 'Save the funnel again with a source that its owner can read.');
        INSERT INTO eventkit.funnel_refreshes (funnel, refreshed_at, refreshed_by, took, sqlstate, message, detail, hint)
        VALUES (saved.name, at, current_user, took, state, message, detail, hint);
    END;
    -- The newest result stays whatever its age.
    DELETE FROM eventkit.funnel_refreshes r
    WHERE r.funnel = saved.name AND r.refreshed_at < at - saved.keep AND (state IS NULL OR r.sqlstate IS NOT NULL);
END
$$;

CREATE PROCEDURE refresh_funnel(name text)
    LANGUAGE plpgsql
AS $$
DECLARE
    refresh pg_catalog.record;
BEGIN
    -- Where COMMIT is not allowed, these two say so before there is anything to lose.
    PERFORM eventkit.refuse_transaction_block('refresh_funnel');
    COMMIT;
    SELECT * INTO refresh FROM eventkit.try_refresh_funnel(name);
    COMMIT;
    IF refresh.state IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = refresh.state, MESSAGE = refresh.message, DETAIL = refresh.detail, HINT = refresh.hint;
    END IF;
END
$$;

CREATE PROCEDURE refresh_funnels()
    LANGUAGE plpgsql
AS $$
DECLARE
    names pg_catalog.text[];
    one pg_catalog.text;
    refresh pg_catalog.record;
BEGIN
    PERFORM eventkit.refuse_transaction_block('refresh_funnels');
    COMMIT;
    names := ARRAY(SELECT f.name FROM eventkit.saved_funnels f WHERE eventkit.may_become(f.owner) ORDER BY f.name);
    FOREACH one IN ARRAY names LOOP
        SELECT * INTO refresh FROM eventkit.try_refresh_funnel(one);
        COMMIT;
        IF refresh.state IS NOT NULL THEN
            RAISE WARNING USING ERRCODE = refresh.state, DETAIL = refresh.detail, HINT = refresh.hint,
                MESSAGE = pg_catalog.format('saved funnel %L: %s', one, refresh.message);
        END IF;
    END LOOP;
END
$$;

CREATE VIEW funnel_latest WITH (security_invoker = true) AS
SELECT r.*
FROM eventkit.saved_funnels f
CROSS JOIN LATERAL (
    SELECT n.refreshed_at FROM eventkit.funnel_refreshes n
    WHERE n.funnel OPERATOR(pg_catalog.=) f.name AND n.sqlstate IS NULL ORDER BY n.refreshed_at DESC LIMIT 1
) AS newest
JOIN eventkit.funnel_results r
    ON r.funnel OPERATOR(pg_catalog.=) f.name AND r.refreshed_at OPERATOR(pg_catalog.=) newest.refreshed_at;

-- What is run with a role's rights is written by those who may become it. Row security says so too, but not to those
-- who bypass it.
CREATE FUNCTION guard_saved_funnel() RETURNS trigger
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 100
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF eventkit.may_become(NEW.owner) AND (TG_OP = 'INSERT' OR eventkit.may_become(OLD.owner)) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = format('permission denied for saved funnel %L', NEW.name),
        DETAIL = 'It runs with the rights of its owner, so only those who may become that role can write it.',
        HINT = 'Ask for a membership of the role.';
END
$$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON saved_funnels FOR EACH ROW EXECUTE FUNCTION guard_saved_funnel();

-- Whoever may execute save_funnel has funnels of his own; whoever may become a role has those of the role.
ALTER TABLE saved_funnels ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner ON saved_funnels USING (may_become(owner)) WITH CHECK (
    may_become(owner) AND pg_catalog.has_function_privilege(
        'eventkit.save_funnel(text, jsonb, regclass, name, name, text, text, interval)'::pg_catalog.regprocedure, 'EXECUTE')
);
ALTER TABLE funnel_refreshes ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner ON funnel_refreshes USING (funnel OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.name FROM eventkit.saved_funnels f)));
-- A breakdown may be NULL, so that no primary key tells a publication which row was deleted.
ALTER TABLE funnel_summaries REPLICA IDENTITY FULL;
ALTER TABLE funnel_results REPLICA IDENTITY FULL;
ALTER TABLE funnel_summaries ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner ON funnel_summaries USING (funnel OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.name FROM eventkit.saved_funnels f)));
ALTER TABLE funnel_results ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner ON funnel_results USING (funnel OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.name FROM eventkit.saved_funnels f)));
GRANT SELECT, INSERT, UPDATE, DELETE ON saved_funnels, funnel_refreshes, funnel_summaries, funnel_results TO PUBLIC;
GRANT SELECT ON funnel_latest TO PUBLIC;
REVOKE EXECUTE ON FUNCTION save_funnel, drop_funnel FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE refresh_funnel, refresh_funnels FROM PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('saved_funnels', '');
SELECT pg_catalog.pg_extension_config_dump('funnel_refreshes', '');
SELECT pg_catalog.pg_extension_config_dump('funnel_summaries', '');
SELECT pg_catalog.pg_extension_config_dump('funnel_results', '');
