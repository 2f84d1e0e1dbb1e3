-- maintain: premake, drain and retire of every managed parent, each in transactions of its own, with a history of what ran.
-- EXECUTE on all but the two at the end stays with PUBLIC, as in partition_plan.sql.

CREATE TABLE eventkit.run_history (
  id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  action      text        NOT NULL,
  parent      regclass,
  parent_name text,
  started_at  timestamptz NOT NULL,
  duration    interval    NOT NULL,
  partitions  int         NOT NULL,
  rows        bigint      NOT NULL,
  sqlstate    text,
  message     text,
  run_by      regrole     NOT NULL,
  CHECK (action OPERATOR(pg_catalog.=) ANY (ARRAY['maintain', 'premake', 'drain', 'retire'])),
  CHECK ((action OPERATOR(pg_catalog.=) 'maintain') OPERATOR(pg_catalog.=) (parent IS NULL))
);
CREATE INDEX run_history_started_at_idx ON eventkit.run_history (started_at);

ALTER TABLE eventkit.run_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY runner ON eventkit.run_history FOR SELECT USING (pg_catalog.pg_has_role(run_by::pg_catalog.oid, 'USAGE'));
CREATE POLICY owner ON eventkit.run_history FOR SELECT USING (eventkit.owns_table(parent));
CREATE POLICY reader ON eventkit.run_history FOR SELECT USING (parent IS NULL);
CREATE POLICY remover ON eventkit.run_history FOR DELETE USING (pg_catalog.pg_has_role(run_by::pg_catalog.oid, 'USAGE'));
CREATE POLICY writer ON eventkit.run_history FOR INSERT WITH CHECK (
  pg_catalog.pg_has_role(run_by::pg_catalog.oid, 'USAGE') AND (parent IS NULL OR eventkit.owns_table(parent))
  AND pg_catalog.isfinite(started_at) AND started_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()
);
GRANT SELECT, DELETE ON eventkit.run_history TO PUBLIC;
-- The number is given by the server alone: one that is still to come would stop the run that gets it.
GRANT INSERT (action, parent, parent_name, started_at, duration, partitions, rows, sqlstate, message, run_by) ON eventkit.run_history TO PUBLIC;

COMMENT ON SEQUENCE eventkit.run_history_id_seq IS 'The numbers of run_history.';
COMMENT ON TABLE eventkit.run_history IS
'What maintain has done and what failed, a row for each run and for each action of a parent that did something; seen by who ran it and by the parent''s owner, that of a whole run by everybody.';
COMMENT ON COLUMN eventkit.run_history.id IS 'Rises with time.';
COMMENT ON COLUMN eventkit.run_history.action IS 'maintain for a whole run; premake, drain or retire.';
COMMENT ON COLUMN eventkit.run_history.parent IS 'The partitioned table; NULL for a whole run.';
COMMENT ON COLUMN eventkit.run_history.parent_name IS 'Its name at that time.';
COMMENT ON COLUMN eventkit.run_history.started_at IS 'When it began.';
COMMENT ON COLUMN eventkit.run_history.duration IS 'How long it took.';
COMMENT ON COLUMN eventkit.run_history.partitions IS 'Partitions made, filled or retired; for a whole run the sum of all.';
COMMENT ON COLUMN eventkit.run_history.rows IS 'Rows moved.';
COMMENT ON COLUMN eventkit.run_history.sqlstate IS 'The SQLSTATE of the first failure; NULL when all went well.';
COMMENT ON COLUMN eventkit.run_history.message IS 'Its message; for a whole run how many parents failed.';
COMMENT ON COLUMN eventkit.run_history.run_by IS 'The role that ran it.';
COMMENT ON POLICY runner ON eventkit.run_history IS 'Whoever ran it, or has his rights, sees it.';
COMMENT ON POLICY reader ON eventkit.run_history IS 'That all was maintained, and when, is seen by everybody: the owners of parents that another role maintains need to know.';
COMMENT ON POLICY remover ON eventkit.run_history IS 'Whoever ran it, or has his rights, removes it.';
COMMENT ON POLICY writer ON eventkit.run_history IS 'Rows are of the writer''s own runs, of parents of his own, and not of the future.';
COMMENT ON POLICY owner ON eventkit.run_history IS 'The owner of a parent sees what was done to it.';

CREATE FUNCTION eventkit.note_run(action text, parent regclass, started_at timestamptz, partitions int, rows bigint, failure jsonb) RETURNS void
VOLATILE PARALLEL UNSAFE COST 1000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO eventkit.run_history (action, parent, parent_name, started_at, duration, partitions, rows, sqlstate, message, run_by)
    SELECT $1, $2, $2::text, $3, clock_timestamp() - $3, $4, $5, $6 ->> 'state', $6 ->> 'message', current_user::regrole
    -- A parent that was dropped or has another owner since the run began has no history here, and stops no other.
    WHERE $2 IS NULL OR eventkit.owns_table($2);
END
$$;

COMMENT ON FUNCTION eventkit.note_run(text, regclass, timestamptz, int, bigint, jsonb) IS
'Writes a row of run_history. SELECT eventkit.note_run(''premake'', ''app.events'', now(), 1, 0, NULL)';

CREATE FUNCTION eventkit.clean_run_history(keep interval) RETURNS void
VOLATILE PARALLEL UNSAFE COST 1000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM eventkit.run_history h WHERE h.started_at < clock_timestamp() - $1;
END
$$;

COMMENT ON FUNCTION eventkit.clean_run_history(interval) IS
'Removes rows of run_history that are older. SELECT eventkit.clean_run_history(''30 days'')';

CREATE FUNCTION eventkit.due_work(parent regclass, as_of timestamptz, OUT missing timestamp[], OUT cut timestamp[], OUT rows_in_default boolean, OUT expired boolean)
STABLE PARALLEL RESTRICTED COST 100000 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rest oid;
BEGIN
  SELECT coalesce(array_agg(u.period ORDER BY u.period) FILTER (WHERE u.partition IS NULL), '{}'),
      coalesce(array_agg(u.period ORDER BY u.period) FILTER (WHERE u.partition IS NOT NULL), '{}')
    INTO missing, cut FROM eventkit.upcoming_partitions(parent, as_of) u;
  SELECT p.partdefid INTO rest FROM pg_partitioned_table p WHERE p.partrelid = parent AND p.partdefid <> 0;
  rows_in_default := rest IS NOT NULL AND eventkit.has_rows(rest);
  expired := EXISTS (SELECT FROM eventkit.partition_departures d WHERE d.parent = due_work.parent)
    OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = due_work.parent AND i.inhdetachpending);
  IF NOT expired AND EXISTS (SELECT FROM eventkit.partition_settings s WHERE s.parent = due_work.parent AND s.retention IS NOT NULL) THEN
    expired := EXISTS (SELECT FROM eventkit.expired_partitions(parent, NULL, as_of));
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.due_work(regclass, timestamptz) IS
'Tells what maintain has to do for a parent: periods to make, those of which another partition has a part, whether the default partition has rows, whether partitions have expired or are leaving. SELECT * FROM eventkit.due_work(''app.events'', now())';

CREATE PROCEDURE eventkit.maintain_parent(
  parent regclass, as_of timestamptz, lock_timeout interval, caller_search_path text, INOUT partitions int, INOUT rows bigint, INOUT failure jsonb)
LANGUAGE plpgsql
AS $$
DECLARE
  began pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  done pg_catalog.record;
  due pg_catalog.jsonb;
  period pg_catalog.text;
  free pg_catalog.bool;
  made pg_catalog.int4 := 0;
  moved pg_catalog.int8;
  failed pg_catalog.jsonb;
BEGIN
  partitions := 0;
  rows := 0;
  SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
    pg_catalog.format('SELECT pg_catalog.to_jsonb(d)::pg_catalog.text FROM eventkit.due_work(%L, %L) d', parent::pg_catalog.oid, eventkit.exact_time(as_of)),
    pg_catalog.format('%s is not maintained', parent)) t;
  COMMIT;
  failure := done.failure;
  IF failure IS NOT NULL THEN
    PERFORM eventkit.note_run('premake', parent, began, 0, 0, failure);
    COMMIT;
    RETURN;
  END IF;
  due := done.result::pg_catalog.jsonb;
  FOR period, free IN
    SELECT e.*, true FROM pg_catalog.jsonb_array_elements_text(due OPERATOR(pg_catalog.->) 'missing') e
    UNION ALL SELECT e.*, false FROM pg_catalog.jsonb_array_elements_text(due OPERATOR(pg_catalog.->) 'cut') e
  LOOP
    SELECT t.result, t.failure INTO done FROM eventkit.try_as_owner(parent,
      pg_catalog.format('SELECT eventkit.premake_partition(%L, %L, %L, %L, %L)::pg_catalog.text', parent::pg_catalog.oid, period, free, lock_timeout, caller_search_path),
      pg_catalog.format('no partition was made for %s', period)) t;
    COMMIT;
    failed := COALESCE(failed, done.failure);
    made := made OPERATOR(pg_catalog.+) CASE WHEN done.result::pg_catalog.bool THEN 1 ELSE 0 END;
  END LOOP;
  IF made OPERATOR(pg_catalog.>) 0 OR failed IS NOT NULL THEN
    PERFORM eventkit.note_run('premake', parent, began, made, 0, failed);
    COMMIT;
    partitions := made;
    failure := failed;
  END IF;
  IF (due OPERATOR(pg_catalog.->>) 'rows_in_default')::pg_catalog.bool THEN
    began := pg_catalog.clock_timestamp();
    CALL eventkit.drain_periods(parent, 10000, lock_timeout, caller_search_path, made, moved, failed);
    IF made OPERATOR(pg_catalog.>) 0 OR failed IS NOT NULL THEN
      PERFORM eventkit.note_run('drain', parent, began, made, moved, failed);
      partitions := partitions OPERATOR(pg_catalog.+) made;
      rows := moved;
      failure := COALESCE(failure, failed);
    END IF;
    COMMIT;
  END IF;
  IF (due OPERATOR(pg_catalog.->>) 'expired')::pg_catalog.bool THEN
    began := pg_catalog.clock_timestamp();
    CALL eventkit.retire_partitions(parent, eventkit.never_before(parent), as_of, eventkit.archive_of(parent), lock_timeout, caller_search_path, made, failed);
    IF made OPERATOR(pg_catalog.>) 0 OR failed IS NOT NULL THEN
      PERFORM eventkit.note_run('retire', parent, began, made, 0, failed);
      partitions := partitions OPERATOR(pg_catalog.+) made;
      failure := COALESCE(failure, failed);
    END IF;
    COMMIT;
  END IF;
END
$$;

COMMENT ON PROCEDURE eventkit.maintain_parent(regclass, timestamptz, interval, text, int, bigint, jsonb) IS
'Does the work of maintain for one parent and tells partitions, rows and the first failure. CALL eventkit.maintain_parent(''app.events'', now(), ''2 seconds'', current_setting(''search_path''), NULL, NULL, NULL)';

CREATE FUNCTION eventkit.never_before(parent regclass) RETURNS timestamptz
STABLE PARALLEL RESTRICTED COST 100 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  -- Without a retention only what was begun is ended.
  SELECT CASE WHEN EXISTS (SELECT FROM eventkit.partition_settings s WHERE s.parent = $1 AND s.retention IS NOT NULL) THEN NULL ELSE '-infinity'::timestamptz END
$$;

COMMENT ON FUNCTION eventkit.never_before(regclass) IS
'Tells the limit of a parent that has no retention, before which nothing is; NULL for one that has. SELECT eventkit.never_before(''app.events'')';

CREATE FUNCTION eventkit.premake_partition(parent regclass, period timestamp, seen_free boolean, lock_timeout interval, caller_search_path text) RETURNS boolean
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  waiting bigint;
BEGIN
  PERFORM eventkit.lock_period(parent, period, lock_timeout);
  -- Of rows in the default partition the drain makes a partition.
  BEGIN
    waiting := eventkit.default_period_rows(parent, period);
    RAISE EXCEPTION 'the rows are counted'; -- The lock on them is given back, as in run_partition_plan.
  EXCEPTION WHEN raise_exception THEN
    IF waiting IS NULL THEN
      RAISE;
    END IF;
  END;
  IF waiting > 0 THEN
    RETURN false;
  END IF;
  RETURN eventkit.run_partition_plan(NULL, parent, period, lock_timeout, caller_search_path, seen_free) IS NOT NULL;
END
$$;

COMMENT ON FUNCTION eventkit.premake_partition(regclass, timestamp, boolean, interval, text) IS
'Makes the partition of one period; false when it is left to the drain or exists. SELECT eventkit.premake_partition(''app.events'', ''2024-01-01'', false, ''2 seconds'', current_setting(''search_path''))';

CREATE PROCEDURE eventkit.maintain(
  as_of timestamptz DEFAULT pg_catalog.now(), keep_history interval DEFAULT '30 days', lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  what CONSTANT pg_catalog.text := pg_catalog.format('maintain %s', CURRENT_USER);
  began CONSTANT pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  parents pg_catalog.regclass[];
  parent pg_catalog.regclass;
  partitions pg_catalog.int4;
  rows pg_catalog.int8;
  failure pg_catalog.jsonb;
  all_partitions pg_catalog.int4 := 0;
  all_rows pg_catalog.int8 := 0;
  failures pg_catalog.int4 := 0;
  first_failure pg_catalog.jsonb;
  told pg_catalog.text;
BEGIN
  -- The primary does it; the standby gets it from there.
  IF pg_catalog.pg_is_in_recovery() THEN
    RETURN;
  END IF;
  PERFORM eventkit.refuse_transaction_block('maintain');
  COMMIT;
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  IF as_of IS NULL OR NOT pg_catalog.isfinite(as_of) OR keep_history IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = pg_catalog.format('argument "%s" must be a finite value', CASE WHEN keep_history IS NULL THEN 'keep_history' ELSE 'as_of' END),
      DETAIL = 'The work is that which is due at a time.',
      HINT = 'Leave it out: CALL eventkit.maintain().';
  END IF;
  PERFORM eventkit.sweep_dropped_parents();
  COMMIT;
  IF NOT eventkit.take_session_lock(what) THEN
    RAISE NOTICE 'maintain is running in another session; nothing was done';
    RETURN;
  END IF;
  parents := ARRAY(
    SELECT s.parent FROM eventkit.partition_settings s JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) s.parent
    WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY s.parent::pg_catalog.oid USING OPERATOR(pg_catalog.<));
  FOREACH parent IN ARRAY parents LOOP
    COMMIT;
    CALL eventkit.maintain_parent(parent, as_of, lock_timeout, caller_search_path, partitions, rows, failure);
    all_partitions := all_partitions OPERATOR(pg_catalog.+) partitions;
    all_rows := all_rows OPERATOR(pg_catalog.+) rows;
    IF failure IS NOT NULL THEN
      failures := failures OPERATOR(pg_catalog.+) 1;
      first_failure := COALESCE(first_failure, failure);
    END IF;
  END LOOP;
  COMMIT;
  told := pg_catalog.format('%s of %s parents could not be maintained in full', failures, pg_catalog.cardinality(parents));
  -- Everybody sees this row, and a message may name what is not for everybody.
  PERFORM eventkit.note_run('maintain', NULL, began, all_partitions, all_rows, first_failure OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('message', told));
  PERFORM eventkit.clean_run_history(keep_history);
  COMMIT;
  PERFORM eventkit.release_session_lock(what);
  IF failures OPERATOR(pg_catalog.>) 0 THEN
    RAISE WARNING USING
      MESSAGE = told,
      HINT = 'See why with: SELECT * FROM eventkit.run_history WHERE sqlstate IS NOT NULL ORDER BY id DESC.';
  END IF;
END
$$;

COMMENT ON PROCEDURE eventkit.maintain(timestamptz, interval, interval) IS
'Does what is due for every managed parent of the caller''s: makes partitions ahead, drains default partitions, retires what has expired (as of a time that is still to come: what has expired by now). Each step is a transaction of its own, one that fails stops no other, and run_history tells what was done. Does nothing on a standby. CALL eventkit.maintain()';

REVOKE EXECUTE ON PROCEDURE eventkit.maintain(timestamptz, interval, interval) FROM PUBLIC;

CREATE FUNCTION eventkit.crontab_line(schedule text) RETURNS text
STABLE STRICT PARALLEL SAFE COST 10 LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  database text := current_database();
BEGIN
  -- A name that the shell, psql or crontab would read as more than a name. No backslash is written here: it is read with the
  -- session's standard_conforming_strings.
  IF database !~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' THEN
    database := format('dbname=%1$s%2$s%1$s', chr(39), replace(replace(database, chr(92), chr(92) || chr(92)), chr(39), chr(92) || chr(39)));
    database := chr(39) || replace(database, chr(39), chr(39) || chr(92) || chr(39) || chr(39)) || chr(39);
    database := replace(database, '%', chr(92) || '%');
  END IF;
  RETURN format('%s psql -X -d %s -c %L', schedule, database, 'CALL eventkit.maintain()');
END
$$;

COMMENT ON FUNCTION eventkit.crontab_line(text) IS
'Writes the line for crontab that maintains the parents of this database. SELECT eventkit.crontab_line(''5 * * * *'')';

CREATE FUNCTION eventkit.schedule_maintenance(schedule text DEFAULT '5 * * * *') RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  job bigint;
BEGIN
  IF schedule IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'argument "schedule" must not be NULL',
      DETAIL = 'It says when, as crontab does.', HINT = 'SELECT eventkit.schedule_maintenance(''5 * * * *'').';
  ELSIF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
    RAISE WARNING USING
      MESSAGE = format('nothing is scheduled: extension pg_cron is not in database %I', current_database()),
      DETAIL = 'pg_cron starts commands by the clock; without it something else has to.',
      HINT = format('Where pg_cron is in another database, there: SELECT cron.schedule_in_database(''eventkit.maintain'', %L, ''CALL eventkit.maintain()'', %L). Without pg_cron, a line for crontab: %s',
        schedule, current_database(), eventkit.crontab_line(schedule));
    RETURN NULL;
  END IF;
  EXECUTE 'SELECT cron.schedule(''eventkit.maintain'', $1, ''CALL eventkit.maintain()'')' INTO job USING schedule;
  RETURN job;
END
$$;

COMMENT ON FUNCTION eventkit.schedule_maintenance(text) IS
'Registers CALL eventkit.maintain() in pg_cron, by its clock (GMT; later versions have a setting cron.timezone), and returns the job''s number; again changes the schedule. Without pg_cron it warns, says what to run instead, and returns NULL. SELECT eventkit.schedule_maintenance(''5 * * * *'')';

REVOKE EXECUTE ON FUNCTION eventkit.schedule_maintenance(text) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.upcoming_partitions(regclass, timestamptz) IS
'Lists the periods from that of a time (NULL: now) to premake ahead that have no partition, or one for a part of them only: what the clocks show at the beginning, how many periods ahead, that partition, the name that a new one would have, whether another relation has it. SELECT * FROM eventkit.upcoming_partitions(''app.events'')';
