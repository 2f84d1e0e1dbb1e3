-- convert_table: a live table becomes a partitioned one under its own name. Each transaction of the plan is committed; what
-- fails before the hand-over takes back the CHECK that it added.

CREATE FUNCTION eventkit.expect_unchanged("table" regclass, key name, fingerprint text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF eventkit.conversion_fingerprint("table", key) IS DISTINCT FROM fingerprint THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = format('%s was changed meanwhile', "table"),
      DETAIL = 'A column, constraint, index, right, trigger, view or another thing that hangs on it is not what was planned with.',
      HINT = 'Call again; the plan is then made anew.';
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.expect_unchanged(regclass, name, text) IS
'Raises an error when a table, or what hangs on it, has changed since its conversion was planned. SELECT eventkit.expect_unchanged(''app.orders'', ''at'', eventkit.conversion_fingerprint(''app.orders'', ''at''))';
COMMENT ON FUNCTION eventkit.conversion_fingerprint(regclass, name) IS
'Tells a text by which a change of a table, or of what hangs on it, is seen. SELECT eventkit.conversion_fingerprint(''app.orders'', ''at'')';

CREATE PROCEDURE eventkit.convert_table(
  "table" regclass, key name, period interval DEFAULT '1 day', time_zone text DEFAULT 'UTC', premake int DEFAULT 7,
  retention interval DEFAULT NULL, on_expiry text DEFAULT 'detach', expired_schema name DEFAULT NULL, key_unit text DEFAULT NULL,
  adopt_until timestamptz DEFAULT NULL, extend_keys boolean DEFAULT false, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  -- The name is another table's after the hand-over.
  named CONSTANT pg_catalog.text := (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.oid OPERATOR(pg_catalog.=) "table");
  what CONSTANT pg_catalog.text := pg_catalog.format('change %s', "table"::pg_catalog.oid);
  planned eventkit.plan_step[];
  step eventkit.plan_step;
  phase eventkit.plan_step[] := '{}';
  failure pg_catalog.jsonb;
BEGIN
  -- Where COMMIT is not allowed, these two say so before there is anything to lose.
  PERFORM eventkit.refuse_transaction_block('convert_table');
  COMMIT;
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  planned := eventkit.plan_alone(what, pg_catalog.format('eventkit.plan_convert_table(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L)',
    "table"::pg_catalog.oid, key, period, time_zone, premake, retention, on_expiry, expired_schema, key_unit, eventkit.exact_time(adopt_until), extend_keys));
  COMMIT;
  FOREACH step IN ARRAY planned LOOP
    IF step.statement IS NULL THEN
      PERFORM eventkit.release_session_lock(what);
      RAISE NOTICE '%', step.reason;
      RETURN;
    ELSIF pg_catalog.starts_with(step.statement, 'CALL eventkit.manage_partitions(') THEN
      -- The table has been handed over; what follows may be done by several.
      PERFORM eventkit.release_session_lock(what);
      CALL eventkit.manage_parent(named::pg_catalog.regclass, period, time_zone, premake, retention, on_expiry, expired_schema, key_unit, lock_timeout, NULL, caller_search_path);
      CONTINUE;
    ELSIF step.statement OPERATOR(pg_catalog.<>) 'COMMIT' THEN
      phase := pg_catalog.array_append(phase, step);
      CONTINUE;
    END IF;
    failure := eventkit.try_plan(phase, lock_timeout, '', together => true);
    phase := '{}';
    COMMIT;
    IF failure IS NOT NULL THEN
      failure := eventkit.with_unfit_rows(failure, "table");
      PERFORM eventkit.abandon_attach("table", lock_timeout);
      COMMIT;
      PERFORM eventkit.release_session_lock(what);
      PERFORM eventkit.raise_failure(failure, pg_catalog.format('Converting %s.', named),
        'Remove the cause, then call again: what is done stays, what was begun is undone.');
    END IF;
  END LOOP;
  PERFORM eventkit.release_session_lock(what);
END
$$;

COMMENT ON PROCEDURE eventkit.convert_table(regclass, name, interval, text, int, interval, text, name, text, timestamptz, boolean, interval) IS
'Converts a live table of any size into a partitioned one of the same name without copying a row: the old table is proved, then becomes the first partition in one short transaction; indexes, keys, foreign keys, triggers, policies, rights, sequences, views and functions go over. Partitions for later periods are made and managed. Commits step by step; a call that was stopped can be repeated. CALL eventkit.convert_table(''app.orders'', ''at'', period => ''1 day'')';

REVOKE EXECUTE ON PROCEDURE eventkit.convert_table(regclass, name, interval, text, int, interval, text, name, text, timestamptz, boolean, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_convert_table(regclass, name, interval, text, int, interval, text, text, text, timestamptz, boolean) IS
'Shows the steps of convert_table without doing them, COMMIT behind each transaction. SELECT * FROM eventkit.plan_convert_table(''app.orders'', ''at'')';
