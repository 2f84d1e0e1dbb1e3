-- Deduplicating a whole table in batches: the plan, the progress, the procedure.

-- One row for each run that has not ended yet, so that the next CALL goes on where the last one was stopped. The file
-- node tells whether the rows still lie where they did: VACUUM FULL, CLUSTER and rewrites start the table anew.
CREATE TABLE dedupe_progress (
    relation     oid         NOT NULL,
    column_name  name        NOT NULL,
    options      text        NOT NULL,
    file_node    oid         NOT NULL,
    next_row     tid         NOT NULL,
    pass         int         NOT NULL,
    since        xid,
    began        xid         NOT NULL,
    pass_changed bigint      NOT NULL,
    rows_read    bigint      NOT NULL,
    rows_changed bigint      NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (relation, column_name, options)
);
ALTER TABLE dedupe_progress ENABLE ROW LEVEL SECURITY;
CREATE POLICY updater ON dedupe_progress USING (
    pg_catalog.has_table_privilege(relation, 'UPDATE')
    OR COALESCE((
        SELECT pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE') FROM pg_catalog.pg_attribute a
        WHERE a.attrelid OPERATOR(pg_catalog.=) relation AND a.attname OPERATOR(pg_catalog.=) column_name AND NOT a.attisdropped
    ), false)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON dedupe_progress TO PUBLIC;

-- The tables that hold the rows: the table itself, or the partitions of a partitioned one. Refuses what cannot be done.
CREATE FUNCTION dedupe_targets("table" regclass, column_name name) RETURNS SETOF regclass
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 1000 ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation pg_class;
    type_name text;
    generated text;
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
    IF relation.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = "table") THEN
        RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
            MESSAGE = format('argument "table": other tables inherit from %s', "table"),
            DETAIL = 'Their rows would be left as they are.',
            HINT = 'CALL eventkit.dedupe_table for each of the tables that hold rows; \d+ lists them.';
    END IF;
    SELECT format_type(atttypid, NULL), attgenerated INTO type_name, generated
    FROM pg_attribute WHERE attrelid = "table" AND attname = column_name AND attnum > 0 AND NOT attisdropped;
    IF type_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column',
            MESSAGE = format('argument "column_name": column %I of table %s does not exist', column_name, "table"),
            DETAIL = 'The column has to hold the event arrays.',
            HINT = format('Look at the columns with \d %s in psql.', "table");
    END IF;
    IF generated <> '' THEN
        RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
            MESSAGE = format('argument "column_name": column %I of table %s is generated', column_name, "table"),
            DETAIL = 'The server computes it; nobody can write it.',
            HINT = 'Put eventkit.dedupe_events into the expression that generates it.';
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

-- The options as one text, the key of a run's progress. Refuses what the run would refuse, also of an empty table.
CREATE FUNCTION dedupe_options(
    id_key text, keep text, id_type text, on_missing text, place text, batch_rows int
) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF batch_rows IS NULL OR batch_rows < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('invalid value for argument "batch_rows": %s', COALESCE(batch_rows::text, 'NULL')),
            DETAIL = 'A batch has at least one row; each batch is one transaction.',
            HINT = 'Leave batch_rows out to get its default of 1000.';
    END IF;
    PERFORM eventkit.dedupe_events('[]'::jsonb, id_key, keep, id_type, on_missing, place);
    RETURN jsonb_build_array(id_key, keep, id_type, on_missing, place)::text;
END
$$;

-- The statement of one batch: rows behind $1 up to $2, of transactions from $3 on, only those that lose an event. A row
-- that somebody else changes meanwhile is looked at again by the server in its new version, so nobody's change is
-- overwritten. Or, counting, the statement that tells what all batches together would do.
CREATE FUNCTION dedupe_statement(
    relation regclass, column_name name, id_key text, keep text, id_type text, on_missing text, place text, counting bool
) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home text;
    stored text := format('t.%I', column_name);
    kept text := format(
        'eventkit.dedupe_events(t.%I, id_key => %L, keep => %L, id_type => %L, on_missing => %L, place => %L)',
        column_name, id_key, keep, id_type, on_missing, place
    );
    length text;
BEGIN
    -- Written out, since a regclass shows no schema for what the present path finds, a temporary table for one.
    SELECT format('%I.%I', n.nspname, c.relname) INTO home FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    SELECT CASE a.atttypid WHEN 'jsonb'::regtype THEN 'pg_catalog.jsonb_array_length' ELSE 'pg_catalog.cardinality' END INTO length
    FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = column_name;
    IF counting THEN
        RETURN format(
            'SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE s.dropped OPERATOR(pg_catalog.>) 0),'
            ' COALESCE(pg_catalog.sum(s.dropped), 0)'
            ' FROM (SELECT %1$s(%2$s) OPERATOR(pg_catalog.-) %1$s(%3$s) AS dropped FROM ONLY %4$s t) s',
            length, stored, kept, home
        );
    END IF;
    RETURN format(
        'UPDATE ONLY %1$s t SET %2$I = %3$s'
        ' WHERE t.ctid OPERATOR(pg_catalog.>) $1 AND t.ctid OPERATOR(pg_catalog.<=) $2'
        ' AND ($3 IS NULL OR pg_catalog.age(t.xmin) OPERATOR(pg_catalog.<=) pg_catalog.age($3))'
        ' AND %4$s(%3$s) OPERATOR(pg_catalog.<) %4$s(%5$s)',
        home, column_name, kept, length, stored
    );
END
$$;

-- The work is a read of the whole table: it cannot take part in a parallel plan, since the table may be temporary.
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
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 1000000 ROWS 10
AS $$
BEGIN
    PERFORM eventkit.dedupe_options(id_key, keep, id_type, on_missing, place, batch_rows);
    FOR relation IN SELECT eventkit.dedupe_targets("table", column_name) LOOP
        statement := eventkit.dedupe_statement(relation, column_name, id_key, keep, id_type, on_missing, place, false);
        EXECUTE eventkit.dedupe_statement(relation, column_name, id_key, keep, id_type, on_missing, place, true)
            INTO rows_read, rows_to_change, events_to_drop;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Where a run goes on with a table. Rows of dropped tables that their owner left go on the way.
CREATE FUNCTION dedupe_resume(
    relation regclass, column_name name, options text,
    OUT next_row tid, OUT pass int, OUT since xid, OUT began xid, OUT pass_changed bigint, OUT rows_read bigint, OUT rows_changed bigint
)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT p.next_row, p.pass, p.since, p.began, p.pass_changed, p.rows_read, p.rows_changed
    INTO next_row, pass, since, began, pass_changed, rows_read, rows_changed
    FROM eventkit.dedupe_progress p
    WHERE p.relation = dedupe_resume.relation AND p.column_name = dedupe_resume.column_name AND p.options = dedupe_resume.options
      AND p.file_node = pg_relation_filenode(dedupe_resume.relation);
    IF next_row IS NULL THEN
        next_row := '(0,0)';
        pass := 1;
        began := pg_snapshot_xmin(pg_current_snapshot())::xid;
        pass_changed := 0;
        rows_read := 0;
        rows_changed := 0;
    END IF;
END
$$;

-- The last row of the next batch; none at the table's present end. Rows come in the order in which they lie: by a range
-- of row addresses, in this process, from the start.
CREATE FUNCTION dedupe_batch(relation regclass, first_row tid, batch_rows int, OUT last_row tid, OUT rows_in_batch bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET synchronize_seqscans = off SET max_parallel_workers_per_gather = 0
AS $$
DECLARE
    home text;
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname) INTO home FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    EXECUTE format(
        'SELECT max(b.at), count(*) FROM (SELECT t.ctid AS at FROM ONLY %s t WHERE t.ctid > $1 LIMIT $2) b', home
    ) INTO last_row, rows_in_batch USING first_row, batch_rows;
END
$$;

-- The first row of a batch whose value the batch's statement cannot read; none when all can be read.
CREATE FUNCTION dedupe_unreadable(
    relation regclass, column_name name, id_key text, keep text, id_type text, on_missing text, place text,
    first_row tid, last_row tid
) RETURNS tid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home text;
    candidate tid;
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname) INTO home FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    FOR candidate IN EXECUTE format('SELECT t.ctid FROM ONLY %s t WHERE t.ctid > $1 AND t.ctid <= $2', home) USING first_row, last_row LOOP
        BEGIN
            EXECUTE format(
                'SELECT eventkit.dedupe_events(t.%I, id_key => %L, keep => %L, id_type => %L, on_missing => %L, place => %L) IS NULL'
                ' FROM ONLY %s t WHERE t.ctid = $1',
                column_name, id_key, keep, id_type, on_missing, place, home
            ) USING candidate;
        EXCEPTION WHEN data_exception OR program_limit_exceeded OR data_corrupted THEN
            RETURN candidate;
        END;
    END LOOP;
    RETURN NULL;
END
$$;

-- Writes down how far a run has come.
CREATE FUNCTION dedupe_note(
    relation regclass, column_name name, options text, next_row tid, pass int, since xid, began xid,
    pass_changed bigint, rows_read bigint, rows_changed bigint
) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO eventkit.dedupe_progress AS p
    VALUES (relation, column_name, options, pg_relation_filenode(relation), next_row, pass, since, began,
            pass_changed, rows_read, rows_changed, clock_timestamp())
    ON CONFLICT ON CONSTRAINT dedupe_progress_pkey DO UPDATE SET
        file_node = EXCLUDED.file_node, next_row = EXCLUDED.next_row, pass = EXCLUDED.pass, since = EXCLUDED.since,
        began = EXCLUDED.began, pass_changed = EXCLUDED.pass_changed, rows_read = EXCLUDED.rows_read,
        rows_changed = EXCLUDED.rows_changed, updated_at = EXCLUDED.updated_at;
END
$$;

-- Forgets a run that has ended.
CREATE FUNCTION dedupe_forget(relation regclass, column_name name, options text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM eventkit.dedupe_progress p
    WHERE p.relation = dedupe_forget.relation AND p.column_name = dedupe_forget.column_name AND p.options = dedupe_forget.options;
END
$$;

-- The first pass reads all rows. Rows that others moved behind its back, to a page already read, are met by the next,
-- which looks only at rows written since the one before began; a pass that finds nothing to do is the last.
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
    options pg_catalog.text;
    run pg_catalog.record;
    batch pg_catalog.record;
    changed pg_catalog.int8;
    started pg_catalog.timestamptz;
    unreadable pg_catalog.tid;
    sqlstate_found pg_catalog.text;
    message_found pg_catalog.text;
    detail_found pg_catalog.text;
    hint_found pg_catalog.text;
BEGIN
    -- Where COMMIT is not allowed, these two say so before there is anything to lose.
    PERFORM eventkit.refuse_transaction_block('dedupe_table');
    COMMIT;
    options := eventkit.dedupe_options(id_key, keep, id_type, on_missing, place, batch_rows);
    targets := ARRAY(SELECT eventkit.dedupe_targets("table", column_name));
    FOREACH target IN ARRAY targets LOOP
        SELECT * INTO run FROM eventkit.dedupe_resume(target, column_name, options);
        LOOP
            started := pg_catalog.clock_timestamp();
            SELECT * INTO batch FROM eventkit.dedupe_batch(target, run.next_row, batch_rows);
            IF batch.last_row IS NULL THEN
                EXIT WHEN run.pass OPERATOR(pg_catalog.>) 1 AND run.pass_changed OPERATOR(pg_catalog.=) 0;
                run.since := run.began;
                run.began := pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid;
                run.pass := run.pass OPERATOR(pg_catalog.+) 1;
                run.pass_changed := 0;
                run.next_row := '(0,0)';
                CONTINUE;
            END IF;
            BEGIN
                EXECUTE eventkit.dedupe_statement(target, column_name, id_key, keep, id_type, on_missing, place, false)
                    USING run.next_row, batch.last_row, run.since;
                GET DIAGNOSTICS changed = ROW_COUNT;
            EXCEPTION WHEN data_exception OR program_limit_exceeded OR data_corrupted THEN
                GET STACKED DIAGNOSTICS sqlstate_found = RETURNED_SQLSTATE, message_found = MESSAGE_TEXT,
                    detail_found = PG_EXCEPTION_DETAIL, hint_found = PG_EXCEPTION_HINT;
                unreadable := eventkit.dedupe_unreadable(
                    target, column_name, id_key, keep, id_type, on_missing, place, run.next_row, batch.last_row);
                -- The error of a trigger for example: no value is to blame.
                IF unreadable IS NULL THEN
                    RAISE;
                END IF;
                RAISE EXCEPTION USING ERRCODE = sqlstate_found, MESSAGE = message_found, HINT = hint_found,
                    DETAIL = pg_catalog.format('%s It is in the row of %s with the ctid %s.', detail_found, target, unreadable);
            END;
            run.next_row := batch.last_row;
            run.pass_changed := run.pass_changed OPERATOR(pg_catalog.+) changed;
            run.rows_changed := run.rows_changed OPERATOR(pg_catalog.+) changed;
            IF run.pass OPERATOR(pg_catalog.=) 1 THEN
                run.rows_read := run.rows_read OPERATOR(pg_catalog.+) batch.rows_in_batch;
            END IF;
            PERFORM eventkit.dedupe_note(target, column_name, options, run.next_row, run.pass, run.since, run.began,
                run.pass_changed, run.rows_read, run.rows_changed);
            COMMIT;
            IF run.pass OPERATOR(pg_catalog.=) 1 OR changed OPERATOR(pg_catalog.>) 0 THEN
                RAISE NOTICE '%: % row versions read, % rewritten (% ms)', target, run.rows_read, run.rows_changed,
                    pg_catalog.round(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) started)
                        OPERATOR(pg_catalog.*) 1000::pg_catalog.float8);
            END IF;
        END LOOP;
        PERFORM eventkit.dedupe_forget(target, column_name, options);
        COMMIT;
    END LOOP;
END
$$;
REVOKE EXECUTE ON PROCEDURE dedupe_table FROM PUBLIC;
