-- catch_up, finish_backfill, abandon_backfill: what changed in the source while it was copied. The functions run as the invoker, as in
-- partition_plan.sql.

CREATE FUNCTION eventkit.apply_changes(
  source regclass, parent regclass, batch_rows bigint, deletes boolean, replace boolean, lock_timeout interval, caller_search_path text,
  passed_over timestamp[] DEFAULT '{}', alone timestamp DEFAULT NULL, OUT taken bigint, OUT copied_periods int)
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET enable_hashjoin = on SET enable_mergejoin = on
AS $$
DECLARE
  backfill eventkit.backfills;
  planned record;
  batch tid[];
  hours bigint[];
  next_period timestamp;
  detail text;
  hint text;
BEGIN
  taken := 0;
  copied_periods := 0;
  SELECT b.* INTO backfill FROM eventkit.backfills b WHERE b.source = $1 AND b.parent = $2;
  -- A batch is small beside the parent: its rows are looked up, partition by partition, where an index can do that.
  IF EXISTS (
    SELECT FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    JOIN pg_attribute c ON c.attrelid = backfill.changes AND c.attname = a.attname AND c.attnum > 0
    WHERE i.indrelid = $2 AND i.indisvalid AND i.indpred IS NULL)
  THEN
    PERFORM set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);
  END IF;
  FOR planned IN
    SELECT p.* FROM eventkit.plan_catch_up(source, parent, batch_rows, deletes, replace, backfill.from_time, backfill.to_time, passed_over, alone) p
    ORDER BY p.step
  LOOP
    IF planned.step = 1 THEN
      EXECUTE planned.statement INTO batch;
      EXIT WHEN batch IS NULL;
    ELSIF planned.step = 2 THEN
      EXECUTE planned.statement INTO hours USING batch;
      -- A period that is not dealt with yet is copied as a whole, which its changes are a part of. They are applied all the
      -- same, which does no harm.
      FOR next_period IN
        SELECT s.period FROM eventkit.source_periods_of_hours(source, parent, hours) s (period)
        WHERE NOT EXISTS (
          SELECT FROM eventkit.backfill_periods p WHERE p.source = $1 AND p.parent = $2 AND p.period = s.period)
        -- An hour may be part of two periods.
        AND s.period <> ALL (passed_over) AND (alone IS NULL OR s.period = alone)
      LOOP
        BEGIN
          PERFORM eventkit.copy_period(source, parent, next_period, 'count', lock_timeout, caller_search_path);
        EXCEPTION WHEN unique_violation OR exclusion_violation THEN
          -- No rows that trade values: the period would be copied again and again for the same end.
          GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
          RAISE EXCEPTION USING ERRCODE = 'data_exception', MESSAGE = SQLERRM, DETAIL = detail, HINT = hint;
        END;
        copied_periods := copied_periods + 1;
      END LOOP;
      IF copied_periods > 0 THEN
        RETURN;
      END IF;
    ELSE
      -- Functions of the user's see the path that they would see without us; all names in the statement are qualified.
      PERFORM pg_catalog.set_config('search_path', caller_search_path, true);
      EXECUTE planned.statement USING batch;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END IF;
  END LOOP;
  taken := coalesce(cardinality(batch), 0);
END
$$;

COMMENT ON FUNCTION eventkit.apply_changes(regclass, regclass, bigint, boolean, boolean, interval, text, timestamp[], timestamp) IS
'Applies one batch of captured changes, or copies the periods that it needs first; returns the changes taken and the periods copied. Changes of periods passed over wait on; of one alone only its own are applied. SELECT * FROM eventkit.apply_changes(''public.events'', ''app.events'', 10000, true, false, ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.apply_by_period(
  source regclass, parent regclass, batch_rows bigint, deletes boolean, replace boolean, lock_timeout interval, caller_search_path text,
  INOUT passed_over timestamp[], INOUT failures jsonb[], OUT taken bigint, OUT copied_periods int)
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  backfill eventkit.backfills;
  statements text[];
  batch tid[];
  hours bigint[];
  one timestamp;
  done record;
  message text;
  detail text;
  hint text;
BEGIN
  taken := 0;
  copied_periods := 0;
  SELECT b.* INTO backfill FROM eventkit.backfills b WHERE b.source = $1 AND b.parent = $2;
  statements := ARRAY(
    SELECT p.statement FROM eventkit.plan_catch_up(source, parent, batch_rows, deletes, replace, backfill.from_time, backfill.to_time, passed_over) p
    WHERE p.step <= 2 ORDER BY p.step);
  EXECUTE statements[1] INTO batch;
  EXECUTE statements[2] INTO hours USING batch;
  FOR one IN
    SELECT s.period FROM eventkit.source_periods_of_hours(source, parent, hours) s (period) WHERE s.period <> ALL (passed_over) ORDER BY s.period
  LOOP
    BEGIN
      IF EXISTS (SELECT FROM eventkit.backfill_periods p WHERE p.source = $1 AND p.parent = $2 AND p.period = one) THEN
        SELECT a.* INTO done FROM eventkit.apply_changes(source, parent, batch_rows, deletes, replace, lock_timeout, caller_search_path, '{}', one) a;
        taken := taken + done.taken;
      ELSE
        PERFORM eventkit.copy_period(source, parent, one, 'count', lock_timeout, caller_search_path);
        copied_periods := copied_periods + 1;
      END IF;
    -- What a row or a partition of this period is to blame for stops no other, as in backfill.
    EXCEPTION WHEN foreign_key_violation OR not_null_violation OR unique_violation OR check_violation OR exclusion_violation OR data_exception OR invalid_object_definition THEN
      -- A row that is deleted may be needed still: then the call goes on without deletes.
      IF SQLSTATE = '23503' AND deletes THEN
        RAISE;
      END IF;
      GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      detail := coalesce(nullif(detail, ''), format('Applying the changes of %s to %s.', source, parent));
      message := CASE WHEN NOT starts_with(SQLERRM, 'period ') THEN format('period %s: ', eventkit.period_label(one)) ELSE '' END || SQLERRM;
      hint := coalesce(nullif(hint, ''), CASE SQLSTATE WHEN '23503' THEN format('Catch up the referenced table first, then: CALL eventkit.catch_up(%L, %L).', source, parent) END, format('Its changes wait, those of other periods are applied; remove the cause, then call again: CALL eventkit.catch_up(%L, %L).', source, parent));
      passed_over := array_append(passed_over, one);
      failures := array_append(failures, jsonb_build_object('state', SQLSTATE, 'message', message, 'detail', detail, 'hint', hint));
      RAISE WARNING USING ERRCODE = SQLSTATE, MESSAGE = message, DETAIL = detail, HINT = hint;
    END;
  END LOOP;
END
$$;

COMMENT ON FUNCTION eventkit.apply_by_period(regclass, regclass, bigint, boolean, boolean, interval, text, timestamp[], jsonb[]) IS
'Applies the periods of a batch of captured changes one by one; a period whose rows break a constraint is passed over with a warning and its error added to the failures. SELECT * FROM eventkit.apply_by_period(''public.events'', ''app.events'', 10000, true, false, ''2 seconds'', current_setting(''search_path''), ''{}'', ''{}'')';

CREATE FUNCTION eventkit.catch_up_next(
  source regclass, parent regclass, batch_rows bigint, lock_timeout interval, caller_search_path text,
  INOUT deletes boolean, INOUT tries int, INOUT passed_over timestamp[], INOUT failures jsonb[], OUT taken bigint, OUT ended boolean)
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
-- Nobody waits for a batch but who wants its rows: whoever has them is waited for, whatever the session would do. Locks of tables have theirs.
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
DECLARE
  done record;
  message text;
  detail text;
  hint text;
  state text;
  blamed boolean := false;
BEGIN
  taken := 0;
  ended := false;
  BEGIN
    -- Rows that pass a unique value on fit only together: then the batch is all that waits, and if need be its rows make room first.
    SELECT a.* INTO done FROM eventkit.apply_changes(source, parent,
      CASE WHEN tries > 0 THEN 9223372036854775807 ELSE batch_rows END, deletes, tries > 1, lock_timeout, caller_search_path, passed_over) a;
    taken := done.taken;
    ended := done.copied_periods = 0 AND (tries > 0 OR done.taken < batch_rows);
    tries := 0;
  EXCEPTION
    WHEN foreign_key_violation THEN
      GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      state := '23503';
      hint := coalesce(nullif(hint, ''), 'Catch up the referenced table first, then call again.');
      blamed := NOT deletes;
      -- What rows of another table still refer to is deleted by a later call.
      deletes := false;
    WHEN unique_violation OR exclusion_violation OR serialization_failure OR deadlock_detected THEN
      GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      tries := tries + 1;
      hint := coalesce(nullif(hint, ''), format('A row of %s stands in the way of one of %s: remove it, then call again: CALL eventkit.catch_up(%L, %L).', parent, source, source, parent));
      blamed := tries > 10;
    WHEN not_null_violation OR check_violation OR data_exception OR invalid_object_definition THEN
      GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
      blamed := true;
  END;
  IF blamed THEN
    BEGIN
      SELECT a.* INTO done FROM eventkit.apply_by_period(source, parent,
        CASE WHEN tries > 0 THEN 9223372036854775807 ELSE batch_rows END, deletes, tries > 1, lock_timeout, caller_search_path, passed_over, failures) a;
    EXCEPTION WHEN foreign_key_violation THEN
      IF NOT deletes THEN
        RAISE;
      END IF;
      deletes := false;
      RETURN;
    END;
    IF done.taken = 0 AND done.copied_periods = 0 AND cardinality(done.failures) = cardinality(failures) THEN
      RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail, HINT = hint;
    END IF;
    taken := done.taken;
    passed_over := done.passed_over;
    failures := done.failures;
    tries := 0;
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  PERFORM eventkit.release_backfill(source, parent);
  RAISE;
END
$$;

COMMENT ON FUNCTION eventkit.catch_up_next(regclass, regclass, bigint, interval, text, boolean, int, timestamp[], jsonb[]) IS
'Applies the next batch of captured changes and says how to go on; catch_up calls it until it has ended. SELECT * FROM eventkit.catch_up_next(''public.events'', ''app.events'', 10000, ''2 seconds'', current_setting(''search_path''), true, 0, ''{}'', ''{}'')';

CREATE FUNCTION eventkit.waiting_changes(source regclass, parent regclass) RETURNS bigint
STABLE PARALLEL SAFE COST 10000 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT eventkit.captured_changes(b.changes) FROM eventkit.backfills b WHERE b.source = $1 AND b.parent = $2 $$;

COMMENT ON FUNCTION eventkit.waiting_changes(regclass, regclass) IS
'Counts the captured changes of a pair that catch_up has not applied. SELECT eventkit.waiting_changes(''public.events'', ''app.events'')';

CREATE FUNCTION eventkit.open_catch_up(source regclass, parent regclass, batch_rows bigint, lock_timeout interval) RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  -- The plan refuses what cannot be applied.
  PERFORM FROM eventkit.plan_catch_up(source, parent, batch_rows);
  PERFORM eventkit.lock_backfill(source, parent);
  RETURN eventkit.waiting_changes(source, parent);
END
$$;

COMMENT ON FUNCTION eventkit.open_catch_up(regclass, regclass, bigint, interval) IS
'Checks the arguments of catch_up, takes its lock and counts the changes that wait. SELECT eventkit.open_catch_up(''public.events'', ''app.events'', 10000, ''2 seconds'')';

CREATE FUNCTION eventkit.close_catch_up(source regclass, parent regclass, taken bigint, deletes boolean) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  waiting CONSTANT bigint := eventkit.waiting_changes(source, parent);
BEGIN
  IF NOT deletes THEN
    RAISE WARNING USING
      MESSAGE = format('rows that left %s stay in %s: rows of another table refer to them', source, parent),
      DETAIL = format('%s changes wait.', waiting),
      HINT = format('Catch up the referencing table, then: CALL eventkit.catch_up(%L, %L).', source, parent);
  END IF;
  PERFORM eventkit.release_backfill(source, parent);
  RAISE NOTICE '% changes of % applied to %, % wait', taken, source, parent, waiting;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  PERFORM eventkit.release_backfill(source, parent);
  RAISE;
END
$$;

COMMENT ON FUNCTION eventkit.close_catch_up(regclass, regclass, bigint, boolean) IS
'Tells what catch_up has done and gives back its lock. SELECT eventkit.close_catch_up(''public.events'', ''app.events'', 0, true)';

CREATE PROCEDURE eventkit.apply_waiting_changes(
  source regclass, parent regclass, batch_rows bigint, lock_timeout interval, caller_search_path text)
LANGUAGE plpgsql
AS $$
DECLARE
  deletes pg_catalog.bool := true;
  tries pg_catalog.int4 := 0;
  passed_over pg_catalog.timestamp[] := '{}';
  failures pg_catalog.jsonb[] := '{}';
  taken pg_catalog.int8 := 0;
  waiting pg_catalog.int8;
  done pg_catalog.record;
BEGIN
  waiting := eventkit.open_catch_up(source, parent, batch_rows, lock_timeout);
  COMMIT;
  LOOP
    -- The source as one snapshot shows it, so that the parent agrees with it also across rows.
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
    SELECT n.* INTO done FROM eventkit.catch_up_next(source, parent, batch_rows, lock_timeout, caller_search_path, deletes, tries, passed_over, failures) n;
    COMMIT;
    deletes := done.deletes;
    tries := done.tries;
    passed_over := done.passed_over;
    failures := done.failures;
    taken := taken OPERATOR(pg_catalog.+) done.taken;
    -- Writers that are faster than we do not keep us for ever.
    EXIT WHEN done.ended OR taken OPERATOR(pg_catalog.>=) waiting;
    -- The lines above have taken a snapshot; the next batch needs a transaction without one.
    COMMIT;
  END LOOP;
  COMMIT;
  PERFORM eventkit.refuse_failed_periods(failures);
  PERFORM eventkit.close_catch_up(source, parent, taken, deletes);
END
$$;

COMMENT ON PROCEDURE eventkit.apply_waiting_changes(regclass, regclass, bigint, interval, text) IS
'Does the work of catch_up, for finish_backfill too. CALL eventkit.apply_waiting_changes(''public.events'', ''app.events'', 10000, ''2 seconds'', current_setting(''search_path''))';

CREATE PROCEDURE eventkit.catch_up(
  source regclass, parent regclass, batch_rows bigint DEFAULT 10000, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
BEGIN
  PERFORM eventkit.refuse_transaction_block('catch_up');
  COMMIT;
  CALL eventkit.apply_waiting_changes(source, parent, batch_rows, lock_timeout, caller_search_path);
END
$$;

COMMENT ON PROCEDURE eventkit.catch_up(regclass, regclass, bigint, interval) IS
'Applies the changes of a source that were captured since a backfill began, a transaction a batch: afterwards the parent holds what the source holds, up to what changed meanwhile; call it as often as you like. Changes of a period with a row that breaks a constraint, or whose partition cannot be made, wait on with a warning, the others are applied, and the error that names it comes at the end. CALL eventkit.catch_up(''public.events'', ''app.events'')';

REVOKE EXECUTE ON PROCEDURE eventkit.catch_up(regclass, regclass, bigint, interval) FROM PUBLIC;

CREATE FUNCTION eventkit.apply_last_changes(source regclass, parent regclass, lock_timeout interval, caller_search_path text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
DECLARE
  backfill eventkit.backfills;
  done record;
  planned record;
  first_left timestamp;
  hint text;
  detail text;
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting($3), true);
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('finish_backfill cannot run in a transaction of isolation level %s', current_setting('transaction_isolation')),
      DETAIL = 'Its snapshot may be older than the last changes.',
      HINT = 'Begin the transaction with: BEGIN ISOLATION LEVEL READ COMMITTED.';
  END IF;
  SELECT b.* INTO backfill FROM eventkit.backfills b WHERE b.source = $1 AND b.parent = $2;
  -- A period that is copied at the end needs it; who holds rows of the parent waits for nobody.
  PERFORM eventkit.lock_period(parent, NULL, lock_timeout);
  -- Twice: early, before anybody waits for us, and when nobody else can write.
  FOR round IN 1..2 LOOP
    IF round = 2 THEN
      FOR planned IN SELECT p.* FROM eventkit.plan_finish_backfill(source, parent) p WHERE p.step = 1 LOOP
        PERFORM eventkit.execute_with_retries(ARRAY[planned.statement]);
      END LOOP;
      LOOP
        BEGIN
          SELECT a.* INTO done FROM eventkit.apply_changes(source, parent, 9223372036854775807, true, false, lock_timeout, caller_search_path) a;
        EXCEPTION WHEN unique_violation OR exclusion_violation THEN
          SELECT a.* INTO done FROM eventkit.apply_changes(source, parent, 9223372036854775807, true, true, lock_timeout, caller_search_path) a;
        END;
        EXIT WHEN done.taken = 0 AND done.copied_periods = 0;
      END LOOP;
    END IF;
    SELECT l.period INTO first_left FROM eventkit.periods_left(source, parent, backfill.from_time, backfill.to_time) l (period) LIMIT 1;
    IF first_left IS NOT NULL AND (round = 2 OR eventkit.captured_changes(backfill.changes) = 0) THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('the backfill from %s into %s is not done', source, parent),
        DETAIL = format('Period %s is not copied yet.', eventkit.period_label(first_left)),
        HINT = format('Call first: CALL eventkit.backfill(%L, %L).', source, parent);
    END IF;
  END LOOP;
  PERFORM eventkit.run_sequence_plan(source, parent, lock_timeout);
  FOR planned IN SELECT p.* FROM eventkit.plan_finish_backfill(source, parent) p ORDER BY p.step LOOP
    EXIT WHEN planned.statement = 'COMMIT';
    IF starts_with(planned.statement, 'ALTER TABLE ') THEN
      EXECUTE planned.statement;
    END IF;
  END LOOP;
  UPDATE eventkit.backfills b SET finished_at = clock_timestamp() WHERE b.source = $1 AND b.parent = $2;
EXCEPTION WHEN foreign_key_violation THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = SQLERRM, DETAIL = detail,
    HINT = coalesce(nullif(hint, ''), 'Catch up the tables that a foreign key ties to this one, then call again.');
END
$$;

COMMENT ON FUNCTION eventkit.apply_last_changes(regclass, regclass, interval, text) IS
'Applies the last changes while nobody writes to the source, carries the sequences and ends the capture, in one transaction; finish_backfill calls it. SELECT eventkit.apply_last_changes(''public.events'', ''app.events'', ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.remove_capture(source regclass, parent regclass, lock_timeout interval) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
DECLARE
  statements CONSTANT text[] := ARRAY(SELECT p.statement FROM eventkit.plan_abandon_backfill(source, parent) p ORDER BY p.step);
BEGIN
  PERFORM set_config('lock_timeout', eventkit.lock_timeout_setting($3), true);
  IF statements <> '{}' THEN
    PERFORM eventkit.execute_with_retries(statements);
  END IF;
  UPDATE eventkit.backfills b SET changes = NULL WHERE b.source = $1 AND b.parent = $2;
END
$$;

COMMENT ON FUNCTION eventkit.remove_capture(regclass, regclass, interval) IS
'Drops the triggers, the trigger function and the table of changes of a pair, with what it holds. SELECT eventkit.remove_capture(''public.events'', ''app.events'', ''2 seconds'')';

CREATE FUNCTION eventkit.finish_step(step text, source regclass, parent regclass, lock_timeout interval, caller_search_path text) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF step = 'apply' THEN
    PERFORM eventkit.open_catch_up(source, parent, 10000, lock_timeout);
    PERFORM eventkit.apply_last_changes(source, parent, lock_timeout, caller_search_path);
  ELSE
    PERFORM eventkit.warn_differences(source, parent, true);
    PERFORM eventkit.remove_capture(source, parent, lock_timeout);
    PERFORM eventkit.warn_left_behind(source, parent);
    PERFORM eventkit.release_backfill(source, parent);
    RAISE NOTICE 'backfill from % into % is finished', source, parent;
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  PERFORM eventkit.release_backfill(source, parent);
  RAISE;
END
$$;

COMMENT ON FUNCTION eventkit.finish_step(text, regclass, regclass, interval, text) IS
'Does one of the two steps of finish_backfill, apply or remove, and gives the lock back when it fails. SELECT eventkit.finish_step(''apply'', ''public.events'', ''app.events'', ''2 seconds'', current_setting(''search_path''))';

CREATE FUNCTION eventkit.is_captured(source regclass, parent regclass) RETURNS boolean
STABLE PARALLEL SAFE COST 10 LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (
    SELECT FROM eventkit.backfills b WHERE b.source = $1 AND b.parent = $2 AND b.changes IS NOT NULL AND b.finished_at IS NOT NULL)
$$;

COMMENT ON FUNCTION eventkit.is_captured(regclass, regclass) IS
'Tells whether changes of a pair have still to be applied; false when finish_backfill has only the removal of the capture left. SELECT eventkit.is_captured(''public.events'', ''app.events'')';

CREATE PROCEDURE eventkit.finish_backfill(source regclass, parent regclass, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
DECLARE
  caller_search_path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
  alone CONSTANT pg_catalog.bool := NOT eventkit.in_transaction_block();
  waiting pg_catalog.int8;
  waited pg_catalog.int8;
BEGIN
  PERFORM eventkit.refuse_read_only('finish_backfill');
  -- A call that was stopped before the removal has nothing left to apply.
  IF eventkit.is_captured(source, parent) THEN
    IF alone THEN
      -- Again while that leaves less to do under the lock.
      LOOP
        CALL eventkit.apply_waiting_changes(source, parent, 10000, lock_timeout, caller_search_path);
        waited := waiting;
        waiting := eventkit.waiting_changes(source, parent);
        EXIT WHEN waiting OPERATOR(pg_catalog.<) 1000 OR waiting OPERATOR(pg_catalog.>=) waited;
      END LOOP;
      COMMIT;
      -- Each statement sees what was committed before the lock was granted.
      SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    PERFORM eventkit.finish_step('apply', source, parent, lock_timeout, caller_search_path);
    IF alone THEN
      COMMIT;
    END IF;
  END IF;
  PERFORM eventkit.finish_step('remove', source, parent, lock_timeout, caller_search_path);
END
$$;

COMMENT ON PROCEDURE eventkit.finish_backfill(regclass, regclass, interval) IS
'Ends a backfill: catches up, applies the last changes while nobody writes to the source, carries sequences, removes the capture. In a transaction block of yours the source stays locked until your COMMIT, so that you can put the parent in its place. CALL eventkit.finish_backfill(''public.events'', ''app.events'')';

REVOKE EXECUTE ON PROCEDURE eventkit.finish_backfill(regclass, regclass, interval) FROM PUBLIC;

CREATE FUNCTION eventkit.warn_abandoned(source regclass, parent regclass) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  copied CONSTANT bigint := (SELECT count(*) FROM eventkit.backfill_periods p WHERE p.source = $1 AND p.parent = $2 AND p.row_count IS NOT NULL);
BEGIN
  IF copied > 0 AND EXISTS (SELECT FROM pg_class c WHERE c.oid = $1) AND EXISTS (SELECT FROM pg_class c WHERE c.oid = $2) THEN
    RAISE WARNING USING
      MESSAGE = format('%s periods that were copied from %s stay in %s', copied, source, parent),
      DETAIL = 'What changes in the source from now on does not follow, and another backfill leaves them as they are.',
      HINT = format('Before another backfill drop their partitions: SELECT partition, from_time, to_time FROM eventkit.partitions WHERE parent = %L::regclass.', parent);
  END IF;
END
$$;

COMMENT ON FUNCTION eventkit.warn_abandoned(regclass, regclass) IS
'Warns of the periods that a backfill has copied which is given up; abandon_backfill calls it. SELECT eventkit.warn_abandoned(''public.events'', ''app.events'')';

CREATE PROCEDURE eventkit.abandon_backfill(source regclass, parent regclass DEFAULT NULL, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  given CONSTANT regclass := parent;
  stray CONSTANT boolean := EXISTS (SELECT FROM eventkit.stray_captures(source));
  abandoned record;
  any_found boolean := false;
BEGIN
  PERFORM eventkit.refuse_read_only('abandon_backfill');
  PERFORM eventkit.lock_timeout_setting(lock_timeout);
  PERFORM eventkit.check_owner(given, 'parent');
  FOR abandoned IN
    SELECT b.source, b.parent, b.changes IS NOT NULL OR stray AS captured, b.finished_at IS NULL AS unfinished
      FROM eventkit.backfills b WHERE b.source = $1 AND (given IS NULL OR b.parent = given)
    UNION ALL
    -- What is left of a capture that no backfill knows; nobody else can be at work on it.
    SELECT $1, given, true, true
      WHERE stray AND NOT EXISTS (SELECT FROM eventkit.backfills b WHERE b.source = $1 AND (given IS NULL OR b.parent = given))
  LOOP
    any_found := true;
    PERFORM eventkit.check_owner(abandoned.parent, 'parent');
    IF abandoned.captured THEN
      PERFORM eventkit.check_owner(source, 'source');
    END IF;
    IF abandoned.parent IS NOT NULL THEN
      PERFORM eventkit.lock_backfill(abandoned.source, abandoned.parent);
    END IF;
    BEGIN
      IF abandoned.unfinished THEN
        PERFORM eventkit.warn_abandoned(abandoned.source, abandoned.parent);
      END IF;
      PERFORM eventkit.remove_capture(abandoned.source, abandoned.parent, lock_timeout);
      DELETE FROM eventkit.backfill_periods p WHERE p.source = abandoned.source AND p.parent = abandoned.parent;
      DELETE FROM eventkit.backfills b WHERE b.source = abandoned.source AND b.parent = abandoned.parent;
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
      PERFORM eventkit.release_backfill(abandoned.source, abandoned.parent);
      RAISE;
    END;
    PERFORM eventkit.release_backfill(abandoned.source, abandoned.parent);
  END LOOP;
  IF NOT any_found THEN
    IF given IS NULL THEN
      PERFORM eventkit.check_owner(source, 'source');
    END IF;
    RAISE NOTICE USING MESSAGE = format('there is no backfill of %s%s', source, ' into ' || given::text),
      HINT = 'See those that there are with: SELECT * FROM eventkit.backfill_progress.';
  END IF;
END
$$;

COMMENT ON PROCEDURE eventkit.abandon_backfill(regclass, regclass, interval) IS
'Ends a backfill without applying what changed: the capture goes, copied periods stay. Without a parent it ends all of the source, also those whose parent was dropped, and removes the triggers of a capture whose table or backfill is gone; the number of a dropped source does for its name. CALL eventkit.abandon_backfill(''public.events'', ''app.events'')';

REVOKE EXECUTE ON PROCEDURE eventkit.abandon_backfill(regclass, regclass, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_catch_up(regclass, regclass, bigint, boolean, boolean, timestamptz, timestamptz, timestamp[], timestamp) IS
'Shows the steps of one transaction of catch_up without doing them; $1 stands for what the first one gives. SELECT * FROM eventkit.plan_catch_up(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.plan_finish_backfill(regclass, regclass) IS
'Shows the steps of finish_backfill after it has caught up without doing them. SELECT * FROM eventkit.plan_finish_backfill(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.plan_abandon_backfill(regclass, regclass) IS
'Shows the steps by which abandon_backfill, and finish_backfill at last, removes a capture without doing them; without a parent those of all backfills of the source. SELECT * FROM eventkit.plan_abandon_backfill(''public.events'', ''app.events'')';
COMMENT ON FUNCTION eventkit.source_periods_of_hours(regclass, regclass, bigint[]) IS
'Lists the periods of some hours (numbers since 1970) in which a source has rows. SELECT * FROM eventkit.source_periods_of_hours(''public.events'', ''app.events'', ARRAY[473352])';
