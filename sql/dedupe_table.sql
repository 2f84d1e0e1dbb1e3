-- Deduplicating a whole table in batches: the plan, the progress, the procedure.

-- One row for each run that has not ended yet, so that the next CALL goes on where the last one was stopped. The file
-- node tells whether the rows still lie where they did: VACUUM FULL, CLUSTER and rewrites start the table anew.
CREATE TABLE dedupe_progress (
    relation     oid         NOT NULL,
    column_name  name        NOT NULL,
    options      text        NOT NULL,
    file_node    oid         NOT NULL,
    next_row     tid         NOT NULL,
    rows_read    bigint      NOT NULL,
    rows_changed bigint      NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (relation, column_name, options)
);
ALTER TABLE dedupe_progress ENABLE ROW LEVEL SECURITY;
CREATE POLICY updater ON dedupe_progress
    USING (pg_catalog.has_any_column_privilege(relation, 'UPDATE'));
GRANT SELECT, INSERT, UPDATE, DELETE ON dedupe_progress TO PUBLIC;

-- The tables that hold the rows: the table itself, or the partitions of a partitioned one. Refuses what cannot be done.
CREATE FUNCTION dedupe_targets("table" regclass, column_name name) RETURNS SETOF regclass
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000 ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation pg_class;
    type_name text;
BEGIN
    IF "table" IS NULL OR column_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
            MESSAGE = format('argument "%s" must not be NULL', CASE WHEN "table" IS NULL THEN 'table' ELSE 'column_name' END),
            DETAIL = 'The table and its column of events have to be named.',
            HINT = 'CALL eventkit.dedupe_table(''user_events'', ''events'');';
    END IF;
    SELECT * INTO relation FROM pg_class WHERE oid = "table";
    IF relation.oid IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_table',
            MESSAGE = format('argument "table": no relation with OID %s', "table"::oid),
            DETAIL = 'The table was dropped.', HINT = 'Look for it with \d in psql.';
    END IF;
    IF relation.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
            MESSAGE = format('argument "table": %s is not a table', "table"),
            DETAIL = 'Only the rows of tables and partitioned tables can be rewritten.',
            HINT = 'Name the table that the rows are stored in.';
    END IF;
    SELECT format_type(atttypid, NULL) INTO type_name
    FROM pg_attribute WHERE attrelid = "table" AND attname = column_name AND attnum > 0 AND NOT attisdropped;
    IF type_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column',
            MESSAGE = format('argument "column_name": column %I of table %s does not exist', column_name, "table"),
            DETAIL = 'The column has to hold the event arrays.',
            HINT = format('Look at the columns with \d %s in psql.', "table");
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_attribute a JOIN pg_proc p ON p.proargtypes[0] = a.atttypid
        JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE a.attrelid = "table" AND a.attname = column_name AND n.nspname = 'eventkit' AND p.proname = 'dedupe_events'
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch',
            MESSAGE = format('argument "column_name": column %I of table %s is of type %s', column_name, "table", type_name),
            DETAIL = 'An event array is hstore[], jsonb[], or a jsonb array.',
            HINT = CASE WHEN type_name IN ('text', 'json', 'character varying')
                THEN format('If it holds JSON: ALTER TABLE %s ALTER COLUMN %I TYPE jsonb USING %2$I::jsonb;', "table", column_name)
                ELSE 'Name the column that holds the event arrays.' END;
    END IF;
    IF NOT has_table_privilege("table", 'UPDATE') AND NOT has_column_privilege("table", column_name, 'UPDATE') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('permission denied for table %s', "table"),
            DETAIL = format('UPDATE on column %I is required.', column_name),
            HINT = format('GRANT SELECT, UPDATE (%I) ON %s TO %I;', column_name, "table", current_user);
    END IF;
    IF relation.relkind = 'p' THEN
        RETURN QUERY SELECT t.relid FROM pg_partition_tree("table") t JOIN pg_class c ON c.oid = t.relid
            WHERE t.isleaf AND c.relkind = 'r' ORDER BY t.relid;
    ELSE
        RETURN NEXT "table";
    END IF;
END
$$;

-- The call of dedupe_events on the column, every name qualified, every option a literal.
CREATE FUNCTION dedupe_expression(
    column_name name, id_key text, keep text, id_type text, on_missing text, place text
) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE COST 10
    SET search_path = pg_catalog, pg_temp
RETURN format(
    'eventkit.dedupe_events(t.%I, id_key => %L, keep => %L, id_type => %L, on_missing => %L, place => %L)',
    column_name, id_key, keep, id_type, on_missing, place
);

-- How many elements an array has, as an expression for a column of one of the three types.
CREATE FUNCTION dedupe_length(expression text, "table" regclass, column_name name) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE COST 10
    SET search_path = pg_catalog, pg_temp
RETURN format(
    CASE WHEN (SELECT atttypid FROM pg_attribute WHERE attrelid = "table" AND attname = column_name) = 'jsonb'::regtype
    THEN 'pg_catalog.jsonb_array_length(%s)' ELSE 'pg_catalog.cardinality(%s)' END, expression
);

CREATE FUNCTION plan_dedupe_table(
    "table"     regclass,
    column_name name,
    id_key      text DEFAULT 'event_id',
    keep        text DEFAULT 'last',
    id_type     text DEFAULT 'text',
    on_missing  text DEFAULT 'keep',
    place       text DEFAULT 'kept',
    batch_rows  int  DEFAULT 1000
) RETURNS TABLE (relation regclass, rows_read bigint, rows_to_change bigint, events_to_drop bigint, statement text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 ROWS 10
AS $$
DECLARE
    kept pg_catalog.text := eventkit.dedupe_expression(column_name, id_key, keep, id_type, on_missing, place);
    whole pg_catalog.text := pg_catalog.format('t.%I', column_name);
BEGIN
    FOR relation IN SELECT eventkit.dedupe_targets("table", column_name) LOOP
        statement := eventkit.dedupe_statement(relation, column_name, id_key, keep, id_type, on_missing, place);
        EXECUTE pg_catalog.format(
            'SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE s.dropped OPERATOR(pg_catalog.>) 0),'
            ' COALESCE(pg_catalog.sum(s.dropped), 0)'
            ' FROM (SELECT %s OPERATOR(pg_catalog.-) %s AS dropped FROM ONLY %s t) s',
            eventkit.dedupe_length(whole, relation, column_name), eventkit.dedupe_length(kept, relation, column_name), relation
        ) INTO rows_read, rows_to_change, events_to_drop;
        RETURN NEXT;
    END LOOP;
END
$$;

-- The statement of one batch: rows behind $1 up to $2, only those that lose an event. A row that somebody else changes
-- meanwhile is looked at again by the server in its new version, so nobody's change is overwritten.
CREATE FUNCTION dedupe_statement(
    relation regclass, column_name name, id_key text, keep text, id_type text, on_missing text, place text
) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE COST 100
    SET search_path = pg_catalog, pg_temp
RETURN format(
    'UPDATE ONLY %1$s t SET %2$I = %3$s'
    ' WHERE t.ctid OPERATOR(pg_catalog.>) $1 AND t.ctid OPERATOR(pg_catalog.<=) $2'
    ' AND %4$s OPERATOR(pg_catalog.<) %5$s',
    relation, column_name, eventkit.dedupe_expression(column_name, id_key, keep, id_type, on_missing, place),
    eventkit.dedupe_length(eventkit.dedupe_expression(column_name, id_key, keep, id_type, on_missing, place), relation, column_name),
    eventkit.dedupe_length(format('t.%I', column_name), relation, column_name)
);

-- Where the next batch starts and how far it goes, and what is known of it so far. Ends at the table's present end.
CREATE FUNCTION dedupe_batch(
    relation regclass, column_name name, options text, batch_rows int,
    OUT first_row tid, OUT last_row tid, OUT rows_in_batch bigint, OUT rows_read bigint, OUT rows_changed bigint
)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT p.next_row, p.rows_read, p.rows_changed INTO first_row, rows_read, rows_changed
    FROM eventkit.dedupe_progress p
    WHERE p.relation = dedupe_batch.relation AND p.column_name = dedupe_batch.column_name AND p.options = dedupe_batch.options
      AND p.file_node = pg_relation_filenode(dedupe_batch.relation);
    IF first_row IS NULL THEN
        first_row := '(0,0)';
        rows_read := 0;
        rows_changed := 0;
    END IF;
    EXECUTE format(
        'SELECT max(b.at), count(*) FROM (SELECT t.ctid AS at FROM ONLY %s t WHERE t.ctid > $1 LIMIT $2) b', relation
    ) INTO last_row, rows_in_batch USING first_row, batch_rows;
    rows_read := rows_read + rows_in_batch;
END
$$;

-- Writes down how far a run has come; forgets it when there is nothing left.
CREATE FUNCTION dedupe_note(
    relation regclass, column_name name, options text, next_row tid, rows_read bigint, rows_changed bigint
) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM eventkit.dedupe_progress p
    WHERE p.relation = dedupe_note.relation AND p.column_name = dedupe_note.column_name AND p.options = dedupe_note.options;
    IF next_row IS NOT NULL THEN
        INSERT INTO eventkit.dedupe_progress
        VALUES (relation, column_name, options, pg_relation_filenode(relation), next_row, rows_read, rows_changed, clock_timestamp());
    END IF;
END
$$;

CREATE PROCEDURE dedupe_table(
    "table"     regclass,
    column_name name,
    id_key      text DEFAULT 'event_id',
    keep        text DEFAULT 'last',
    id_type     text DEFAULT 'text',
    on_missing  text DEFAULT 'keep',
    place       text DEFAULT 'kept',
    batch_rows  int  DEFAULT 1000
)
    LANGUAGE plpgsql
AS $$
DECLARE
    target pg_catalog.regclass;
    targets pg_catalog.regclass[];
    options pg_catalog.text := pg_catalog.jsonb_build_array(id_key, keep, id_type, on_missing, place)::pg_catalog.text;
    batch pg_catalog.record;
    changed pg_catalog.int8;
    done pg_catalog.bool;
    started pg_catalog.timestamptz;
BEGIN
    -- Where COMMIT is not allowed, these two say so before there is anything to lose.
    PERFORM eventkit.refuse_transaction_block('dedupe_table');
    COMMIT;
    IF batch_rows IS NULL OR batch_rows OPERATOR(pg_catalog.<) 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('invalid value for argument "batch_rows": %s', COALESCE(batch_rows::pg_catalog.text, 'NULL')),
            DETAIL = 'A batch has at least one row; each batch is one transaction.',
            HINT = 'Leave batch_rows out to get its default of 1000.';
    END IF;
    -- Reads the options once, so that a wrong one is an error even of an empty table.
    PERFORM eventkit.dedupe_events('[]'::pg_catalog.jsonb, id_key, keep, id_type, on_missing, place);
    targets := ARRAY(SELECT eventkit.dedupe_targets("table", column_name));
    FOREACH target IN ARRAY targets LOOP
        LOOP
            started := pg_catalog.clock_timestamp();
            SELECT * INTO batch FROM eventkit.dedupe_batch(target, column_name, options, batch_rows);
            EXIT WHEN batch.last_row IS NULL;
            EXECUTE eventkit.dedupe_statement(target, column_name, id_key, keep, id_type, on_missing, place)
                USING batch.first_row, batch.last_row;
            GET DIAGNOSTICS changed = ROW_COUNT;
            PERFORM eventkit.dedupe_note(
                target, column_name, options, batch.last_row, batch.rows_read, batch.rows_changed OPERATOR(pg_catalog.+) changed
            );
            COMMIT;
            RAISE NOTICE '%: % row versions read, % rewritten (% ms)', target, batch.rows_read,
                batch.rows_changed OPERATOR(pg_catalog.+) changed,
                pg_catalog.round(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) started)
                    OPERATOR(pg_catalog.*) 1000::pg_catalog.float8);
        END LOOP;
        PERFORM eventkit.dedupe_note(target, column_name, options, NULL, 0, 0);
        COMMIT;
    END LOOP;
END
$$;
REVOKE EXECUTE ON PROCEDURE dedupe_table FROM PUBLIC;
