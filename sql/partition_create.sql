-- create_partition and what runs a day's plan. The functions here run as the invoker and can do nothing that their
-- caller could not type himself: EXECUTE stays with PUBLIC, so that a grant on the procedure is enough.

CREATE FUNCTION eventkit.execute_with_retries(statements text[]) RETURNS void
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  statement text;
  reason text;
BEGIN
  FOR attempt IN 1..20 LOOP
    -- All or none: a timeout gives back the locks taken so far, so that nobody queues behind a half-taken set.
    BEGIN
      FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
      END LOOP;
      RETURN;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      reason := SQLERRM;
    END;
    -- Longer each time, and never in step with another caller.
    PERFORM pg_sleep(0.05 * attempt * (0.5 + random()));
  END LOOP;
  RAISE EXCEPTION USING
    ERRCODE = 'lock_not_available',
    MESSAGE = format('could not get the locks in 20 attempts: %s', reason),
    DETAIL = format('The statement that waited: %s. Nothing was changed by this step.', statement),
    HINT = 'See who holds them with: SELECT pid, state, query FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start; then call again, with a longer lock_timeout if need be.';
END
$$;

COMMENT ON FUNCTION eventkit.execute_with_retries(text[]) IS
'Executes statements together, again up to 20 times while lock_timeout ends the wait. SELECT eventkit.execute_with_retries(ARRAY[''LOCK TABLE app.events IN SHARE MODE''])';

CREATE FUNCTION eventkit.run_partition_plan(source regclass, parent regclass, day date, lock_timeout interval, caller_search_path text)
RETURNS bigint
VOLATILE PARALLEL UNSAFE LANGUAGE plpgsql
-- These settings end with the function; the values given here are replaced below or kept.
SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 SET default_tablespace = ''
AS $$
#variable_conflict use_variable
DECLARE
  planned record;
  waiting text[] := '{}';
  copied bigint := 0;
  counted bigint;
  day_key CONSTANT bigint := hashtextextended(format('eventkit.partition %s %s', parent::oid, encode(date_send(day), 'hex')), 0);
BEGIN
  IF parent IS NULL OR day IS NULL OR lock_timeout IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
      MESSAGE = format('argument "%s" must not be NULL', CASE WHEN parent IS NULL THEN 'parent' WHEN day IS NULL THEN 'day' ELSE 'lock_timeout' END),
      DETAIL = 'Every argument needs a value.',
      HINT = 'Name it, as in: CALL eventkit.create_partition(''app.events'', current_date).';
  END IF;
  IF lock_timeout < interval '1 millisecond' OR lock_timeout > interval '1 day' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('argument "lock_timeout" is out of range: %s', lock_timeout),
      DETAIL = 'A wait takes between 1 millisecond and 1 day.',
      HINT = 'Give a short one, as in: lock_timeout => ''2 seconds''.';
  END IF;
  PERFORM set_config('lock_timeout', ceil(extract(epoch FROM lock_timeout) * 1000)::bigint::text, true);

  -- Two callers of one day: the second one waits here and then finds the first one's partition. A backfill has its
  -- snapshot already and would not find it: it gives way.
  IF source IS NULL THEN
    PERFORM eventkit.execute_with_retries(ARRAY[format('SELECT pg_advisory_xact_lock(%s)', day_key)]);
  ELSIF NOT pg_try_advisory_xact_lock(day_key) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use',
      MESSAGE = format('%s of %s is being made by another session', to_char(day, 'YYYY-MM-DD'), parent),
      DETAIL = 'One session at a time makes a partition.',
      HINT = format('Call again when it is done: CALL eventkit.backfill(%L, %L).', source, parent);
  END IF;

  FOR planned IN
    SELECT p.* FROM eventkit.plan_create_partition(parent, day) p WHERE source IS NULL
    UNION ALL
    SELECT p.* FROM eventkit.plan_backfill_day(source, parent, day) p WHERE source IS NOT NULL
    ORDER BY 1
  LOOP
    IF planned.statement IS NULL THEN
      RAISE NOTICE '%', planned.reason;
      RETURN NULL;
    ELSIF starts_with(planned.statement, 'LOCK TABLE ') THEN
      waiting := waiting || planned.statement;
      CONTINUE;
    ELSIF waiting <> '{}' THEN
      PERFORM eventkit.execute_with_retries(waiting);
      waiting := '{}';
    END IF;
    IF starts_with(planned.statement, 'INSERT INTO ') THEN
      -- Functions of the user's in constraints and generated columns see the path that they would see without us;
      -- every name and operator up to the next set_config is qualified.
      PERFORM pg_catalog.set_config('search_path', caller_search_path, true);
      EXECUTE planned.statement;
      GET DIAGNOSTICS copied = ROW_COUNT;
      PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    ELSIF starts_with(planned.statement, 'SELECT pg_catalog.count(*) ') THEN
      EXECUTE planned.statement INTO counted;
      IF counted <> copied THEN
        RAISE EXCEPTION USING ERRCODE = 'data_corrupted',
          MESSAGE = format('%s rows of %s were copied from %s, which holds %s', copied, to_char(day, 'YYYY-MM-DD'), source, counted),
          DETAIL = 'Both numbers are of one snapshot: an index of the source may be damaged.',
          HINT = 'Check the indexes of the source with amcheck: SELECT bt_index_check(indexrelid, true) FROM pg_index; then call again.';
      END IF;
    ELSIF planned.lock IS NOT NULL THEN
      PERFORM eventkit.execute_with_retries(ARRAY[planned.statement]);
    ELSE
      EXECUTE planned.statement;
    END IF;
  END LOOP;
  RETURN copied;
END
$$;

COMMENT ON FUNCTION eventkit.run_partition_plan(regclass, regclass, date, interval, text) IS
'Runs the plan of one day, with rows when a source is given, and returns the rows copied; NULL when there was nothing to do. SELECT eventkit.run_partition_plan(NULL, ''app.events'', current_date, ''2 seconds'', current_setting(''search_path''))';

CREATE PROCEDURE eventkit.create_partition(parent regclass, day date, lock_timeout interval DEFAULT '2 seconds')
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM eventkit.run_partition_plan(NULL, parent, day, lock_timeout, pg_catalog.current_setting('search_path'));
END
$$;

COMMENT ON PROCEDURE eventkit.create_partition(regclass, date, interval) IS
'Creates the partition of a UTC day like its parent in every respect and attaches it without a scan; does nothing when it exists. Works inside a transaction. CALL eventkit.create_partition(''app.events'', current_date)';

REVOKE EXECUTE ON PROCEDURE eventkit.create_partition(regclass, date, interval) FROM PUBLIC;

COMMENT ON FUNCTION eventkit.plan_create_partition(regclass, date) IS
'Shows the steps of create_partition without doing them: statement, the lock that others may wait for (NULL: nobody sees the table), target, reason. SELECT * FROM eventkit.plan_create_partition(''app.events'', current_date)';
